/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_answer.c - tern.reject(...) and the like: made, checked, and applied when the hook
 * returns one.
 *
 * What is wrong with an answer is an error at the line that makes it.
 */
#include "lua/binding.h"

#include <stdio.h>
#include <string.h>

#define AUTH_OCTETS_MAX 4096 /* of a user, password, salt or key */
#define HOST_OCTETS_MAX 300 /* a domain name, or unix: and a path, with a port */

struct answer {
    uint64_t serial;
    tern_verdict verdict;
    unsigned code;
    char enhanced[12];
    struct tern_route *route; /* in memory of the call */
    const char *list;         /* likewise: the text of confirm */
    char text[LUA_REPLY_TEXT_MAX + 1];
};

static const char *const verdict_names[] = { "",      "accept", "reject", "defer",
                                             "close", "hold",   "discard" };

static struct answer *push_answer(lua_State *L, tern_verdict verdict)
{
    const struct lua_run *run = lua_run_of(L);

    if ((lua_hook_answers(run->hook) & (1u << verdict)) == 0)
        luaL_error(L, "%s cannot be answered at %s", verdict_names[verdict],
                   lua_hook_name(run->hook));
    struct answer *a = lua_newuserdatauv(L, sizeof(*a), 0);
    memset(a, 0, offsetof(struct answer, text) + 1);
    a->serial = run->serial;
    a->verdict = verdict;
    luaL_setmetatable(L, "answer");
    return a;
}

static void set_text(lua_State *L, struct answer *a, int arg)
{
    tern_str s = lua_check_octets(L, arg, LUA_REPLY_TEXT_MAX);

    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 32 || s.ptr[i] == 127)
            luaL_argerror(L, arg, "has a line end or another control character in it");
    memcpy(a->text, s.ptr, s.len);
    a->text[s.len] = '\0';
}

/* RFC 3463: class.subject.detail, the class that of the code. */
static void set_enhanced(lua_State *L, struct answer *a, int arg)
{
    const char *s = lua_check_text(L, arg, sizeof(a->enhanced) - 1);
    unsigned class_, subject, detail;
    int end = 0;

    if (sscanf(s, "%1u.%3u.%3u%n", &class_, &subject, &detail, &end) != 3 || s[end] != '\0' ||
        class_ != a->code / 100)
        luaL_error(L, "\"%s\" is no enhanced code for a reply %d (RFC 3463)", s, (int)a->code);
    strcpy(a->enhanced, s);
}

/* (code, enhanced, text), (code, text) or (text). */
static int reply(lua_State *L, tern_verdict verdict, unsigned code, const char *enhanced)
{
    int arg = 1, count = lua_gettop(L);
    unsigned class_ = verdict == TERN_REJECT ? 5 : 4;
    struct answer *a = push_answer(L, verdict);

    if (lua_run_of(L)->hook == TERN_HOOK_AUTH) { /* RFC 4954 6 */
        code = verdict == TERN_REJECT ? 535 : 454;
        enhanced = verdict == TERN_REJECT ? "5.7.8" : "4.7.0";
    }
    a->code = code;
    if (lua_type(L, 1) == LUA_TNUMBER) {
        a->code = (unsigned)luaL_checkinteger(L, arg++);
        if (a->code / 100 != class_ || (verdict == TERN_CLOSE && a->code != 421))
            return luaL_error(L, "tern.%s takes a code of %s, not %d", verdict_names[verdict],
                              verdict == TERN_CLOSE ? "421"
                              : class_ == 5         ? "500 to 599"
                                                    : "400 to 499",
                              (int)a->code);
    }
    if (count - arg >= 1)
        set_enhanced(L, a, arg++);
    else
        strcpy(a->enhanced, enhanced);
    set_text(L, a, arg);
    return 1;
}

int lua_tern_reject(lua_State *L)
{
    return reply(L, TERN_REJECT, 550, "5.7.1");
}

int lua_tern_defer(lua_State *L)
{
    return reply(L, TERN_DEFER, 451, "4.7.1");
}

int lua_tern_close(lua_State *L)
{
    return reply(L, TERN_CLOSE, 421, "4.7.0");
}

int lua_tern_hold(lua_State *L)
{
    (void)lua_check_octets(L, 1, LUA_REPLY_TEXT_MAX);
    set_text(L, push_answer(L, TERN_HOLD), 1);
    return 1;
}

int lua_tern_discard(lua_State *L)
{
    struct answer *a = push_answer(L, TERN_DISCARD);

    if (!lua_isnoneornil(L, 1) && lua_type(L, 1) == LUA_TSTRING)
        set_text(L, a, 1);
    return 1;
}

/* ---- routes ---- */

static tern_str keep(lua_State *L, int arg, size_t octets_max)
{
    const char *text = lua_check_text(L, arg, octets_max);
    size_t len = strlen(text);
    char *copy = lua_api->alloc(lua_run_of(L)->call, len + 1);

    if (copy == NULL)
        luaL_error(L, "out of memory");
    memcpy(copy, text, len + 1);
    return (tern_str){ copy, len };
}

static tern_str route_text(lua_State *L, const char *key, size_t octets_max)
{
    tern_str s = { "", 0 };

    if (lua_getfield(L, 1, key) != LUA_TNIL)
        s = keep(L, -1, octets_max);
    lua_pop(L, 1);
    return s;
}

/* A string, or a list of strings. */
static struct tern_list route_hosts(lua_State *L, const char *key)
{
    struct tern_list list = { NULL, 0 };
    int type = lua_getfield(L, 1, key);

    if (type != LUA_TNIL) {
        size_t count = type == LUA_TTABLE ? (size_t)lua_rawlen(L, -1) : 1;
        if (count > LUA_ROUTE_HOSTS_MAX)
            luaL_error(L, "tern.route: %s takes at most %d hosts", key, LUA_ROUTE_HOSTS_MAX);
        tern_str *items = lua_api->alloc(lua_run_of(L)->call, (count + 1) * sizeof(*items));
        if (items == NULL)
            luaL_error(L, "out of memory");
        for (size_t i = 0; i < count; i++) {
            if (type == LUA_TTABLE)
                lua_rawgeti(L, -1, (lua_Integer)i + 1);
            else
                lua_pushvalue(L, -1);
            items[i] = keep(L, -1, HOST_OCTETS_MAX);
            lua_pop(L, 1);
        }
        list = (struct tern_list){ items, count };
    }
    lua_pop(L, 1);
    return list;
}

static void check_route_keys(lua_State *L)
{
    static const char *const keys[] = { "transport", "to", "fallback", "source", "discard", NULL };

    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        int i = 0;
        while (keys[i] != NULL && strcmp(keys[i], key) != 0)
            i++;
        if (keys[i] == NULL)
            luaL_error(
                L, "tern.route knows transport, to, fallback, source and discard, not \"%s\"", key);
        lua_pop(L, 1);
    }
}

int lua_tern_route(lua_State *L)
{
    const struct lua_run *run = lua_run_of(L);

    luaL_checktype(L, 1, LUA_TTABLE);
    check_route_keys(L);
    box_charge(L, 5000); /* its strings live as long as the call */
    struct tern_route *route = lua_api->alloc(run->call, sizeof(*route));
    if (route == NULL)
        return luaL_error(L, "out of memory");
    route->size = sizeof(*route);
    route->transport = route_text(L, "transport", 64);
    route->to = route_hosts(L, "to");
    route->fallback = route_hosts(L, "fallback");
    route->source = route_text(L, "source", 64);
    route->discard_reason = route_text(L, "discard", LUA_REPLY_TEXT_MAX);
    if (route->transport.len == 0 && route->discard_reason.len == 0 && run->hook == TERN_HOOK_ROUTE)
        return luaL_error(L, "tern.route needs transport = \"...\", or discard = \"reason\"");
    /* At deliver a route changes the one there is and decides nothing: NEXT. */
    struct answer *a = lua_newuserdatauv(L, sizeof(*a), 0);
    memset(a, 0, offsetof(struct answer, text) + 1);
    a->serial = run->serial;
    a->verdict = run->hook == TERN_HOOK_ROUTE ? TERN_ACCEPT : TERN_NEXT;
    a->route = route;
    luaL_setmetatable(L, "answer");
    return 1;
}

/* ---- auth ---- */

unsigned lua_auth_form(lua_State *L)
{
    const struct lua_script *s = lua_run_of(L)->vm->script;

    for (unsigned i = 0; i < s->hook_count; i++)
        if (s->hooks[i].hook == TERN_HOOK_AUTH)
            return s->hooks[i].auth_form;
    return 0;
}

/* Stays on the stack, so that there is no copy of a secret to forget. */
static tern_str keys_text(lua_State *L, const char *key)
{
    if (lua_getfield(L, 1, key) == LUA_TNIL)
        return (tern_str){ "", 0 };
    return lua_check_octets(L, -1, AUTH_OCTETS_MAX);
}

/* { password = } or { hash =, salt =, iterations =, stored_key =, server_key = }, and user =. */
static void give_keys(lua_State *L)
{
    struct tern_auth_keys keys = { .size = sizeof(keys) };

    if (lua_getfield(L, 1, "hash") != LUA_TNIL)
        keys.hash = lua_check_text(L, -1, 16);
    if (lua_getfield(L, 1, "iterations") != LUA_TNIL)
        keys.iterations = (unsigned)luaL_checkinteger(L, -1);
    keys.salt = keys_text(L, "salt");
    keys.stored_key = keys_text(L, "stored_key");
    keys.server_key = keys_text(L, "server_key");
    keys.password = keys_text(L, "password");
    lua_check_result(L, "tern.accept", lua_api->auth_keys(lua_run_of(L)->call, &keys));
    lua_settop(L, 1);
}

int lua_tern_accept(lua_State *L)
{
    const struct lua_run *run = lua_run_of(L);

    if (run->hook != TERN_HOOK_AUTH)
        return lua_tern_route(L);
    lua_settop(L, 1);
    if (lua_istable(L, 1)) {
        give_keys(L);
        (void)lua_getfield(L, 1, "user");
        lua_replace(L, 1);
    }
    if (lua_isnil(L, 1) && lua_auth_form(L) == TERN_AUTH_EXCHANGE)
        return luaL_error(L, "tern.accept of an exchange needs the user's name");
    if (!lua_isnil(L, 1))
        lua_check_result(L, "tern.accept",
                         lua_api->auth_login(run->call, lua_check_octets(L, 1, AUTH_OCTETS_MAX)));
    (void)push_answer(L, TERN_ACCEPT);
    return 1;
}

/* ---- vrfy ---- */

int lua_tern_confirm(lua_State *L)
{
    int arg = 1, count = lua_gettop(L);
    struct answer *a = push_answer(L, TERN_ACCEPT);

    a->code = 250;
    if (lua_type(L, 1) == LUA_TNUMBER)
        a->code = (unsigned)luaL_checkinteger(L, arg++);
    if (a->code < 250 || a->code > 252)
        return luaL_error(L, "tern.confirm takes a code of 250 to 252, not %d", (int)a->code);
    if (count - arg >= 1)
        set_enhanced(L, a, arg++);
    else
        strcpy(a->enhanced, "2.1.5");
    a->list = keep(L, arg, LUA_LIST_OCTETS_MAX).ptr;
    if (a->list[0] == '\0')
        return luaL_argerror(L, arg, "is empty");
    for (const char *p = a->list; *p != '\0'; p++)
        if (((unsigned char)*p < 32 && *p != '\n') || *p == 127)
            return luaL_argerror(L, arg, "has a control character in it");
    return 1;
}

/* ---- applying ---- */

static unsigned declared_answers(const struct lua_run *run)
{
    const struct lua_script *s = run->vm->script;

    for (unsigned i = 0; i < s->hook_count; i++)
        if (s->hooks[i].hook == run->hook)
            return s->hooks[i].answers;
    return 0;
}

tern_verdict lua_answer_apply(lua_State *L, struct lua_run *run)
{
    if (lua_isnil(L, -1))
        return TERN_NEXT;
    const struct answer *a = luaL_testudata(L, -1, "answer");
    if (a == NULL)
        luaL_error(L,
                   "%s.lua: a hook returns tern.reject(...) or the like, or nothing; at %s it "
                   "returned a %s",
                   run->vm->script->name, lua_hook_name(run->hook), luaL_typename(L, -1));
    if (a->serial != run->serial)
        luaL_error(L, "%s.lua: the answer returned at %s was made in a call that has ended",
                   run->vm->script->name, lua_hook_name(run->hook));
    if (a->verdict != TERN_NEXT && (declared_answers(run) & (1u << a->verdict)) == 0)
        luaL_error(L, "%s.lua: %s is not among the answers given to tern.on(\"%s\", ...)",
                   run->vm->script->name, verdict_names[a->verdict], lua_hook_name(run->hook));
    if (a->route != NULL) {
        lua_check_result(L, "tern.route", lua_api->set_route(run->call, a->route));
        return a->verdict;
    }
    if (a->list != NULL)
        return lua_api->reply(run->call, TERN_ACCEPT, a->code, a->enhanced, "%s", a->list);
    if (a->verdict == TERN_ACCEPT)
        return TERN_ACCEPT;
    if (a->verdict == TERN_HOLD)
        return lua_api->hold(run->call, "%s", a->text);
    if (a->verdict == TERN_DISCARD) {
        if (a->text[0] != '\0')
            lua_api->note(run->call, "discard", (tern_str){ a->text, strlen(a->text) });
        return TERN_DISCARD;
    }
    return lua_api->reply(run->call, a->verdict, a->code, a->enhanced, "%s", a->text);
}

static int answer_to_string(lua_State *L)
{
    const struct answer *a = lua_touserdata(L, 1);

    lua_pushfstring(L, "tern.%s: %s", a->route != NULL ? "route" : verdict_names[a->verdict],
                    a->text);
    return 1;
}

void lua_answer_open(lua_State *L)
{
    luaL_newmetatable(L, "answer");
    lua_pushcfunction(L, answer_to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
