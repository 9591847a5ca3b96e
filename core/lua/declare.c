/* SPDX-License-Identifier: Apache-2.0 */
/*
 * declare.c - tern.options, tern.on, tern.result, tern.tag: what a script says of itself.
 *
 * The first run of the top level, while the configuration is loaded, fills the descriptor. Each
 * loop's own run declares the same again: hooks get their functions there, the rest is compared.
 */
#include "lua/binding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND_KEY           "option type" /* in the tables that tern.int { } and the like return */
#define DEFAULT_OCTETS_MAX 65536

static struct lua_script *script_of(lua_State *L)
{
    return lua_vm_of(L)->script;
}

static char *keep(lua_State *L, const char *text)
{
    return arena_dup(&script_of(L)->arena, slice_cstr(text));
}

/* ---- types: a table with its kind ---- */

static void check_keys(lua_State *L, int arg, const char *const *allowed)
{
    lua_pushnil(L);
    while (lua_next(L, arg) != 0) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        unsigned i = 0;

        while (allowed[i] != NULL && strcmp(allowed[i], key) != 0)
            i++;
        if (allowed[i] == NULL)
            luaL_error(L, "\"%s\" is not known here", key);
        lua_pop(L, 1);
    }
}

/* The table of argument `arg`, or a new one, goes on top, with its kind. */
static int typed(lua_State *L, int arg, unsigned kind)
{
    static const char *const keys[] = { "default", "doc", "min", "max", NULL };

    if (lua_isnoneornil(L, arg)) {
        lua_newtable(L);
    } else {
        luaL_checktype(L, arg, LUA_TTABLE);
        check_keys(L, arg, keys);
        lua_pushvalue(L, arg);
    }
    lua_pushinteger(L, kind);
    lua_setfield(L, -2, KIND_KEY);
    return 1;
}

#define TYPE(name, kind)                                                                           \
    int lua_type_##name(lua_State *L)                                                              \
    {                                                                                              \
        return typed(L, 1, TERN_TYPE_##kind);                                                      \
    }
TYPE(string, STRING)
TYPE(int, INT)
TYPE(uint, UINT)
TYPE(bool, BOOL)
TYPE(duration, SECONDS)
TYPE(size, SIZE)
TYPE(map, MAP)
TYPE(table, TABLE)
TYPE(cidrs, CIDRS)
#undef TYPE

int lua_type_list(lua_State *L)
{
    if (strcmp(luaL_checkstring(L, 1), "string") != 0)
        return luaL_argerror(L, 1, "only lists of \"string\" are supported");
    return typed(L, 2, TERN_TYPE_LIST);
}

int lua_type_enum(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    (void)typed(L, 2, TERN_TYPE_ENUM);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "values");
    return 1;
}

/* ---- defaults, as the user would write them ---- */

static void add_quoted(lua_State *L, luaL_Buffer *b, int arg)
{
    size_t len;
    const char *s = lua_tolstring(L, arg, &len);

    luaL_addchar(b, '"');
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"' || s[i] == '\\')
            luaL_addchar(b, '\\');
        luaL_addchar(b, s[i]);
    }
    luaL_addchar(b, '"');
}

static void check_plain(lua_State *L, int index)
{
    size_t len = 0;
    const char *s = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &len) : NULL;

    if (s == NULL)
        luaL_error(L, "a default of strings is expected, not a %s", luaL_typename(L, index));
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 32)
            luaL_error(L, "a default has a control character in it");
}

/* [ "a", "b" ] from the table on top; leaves the text instead. */
static void list_text(lua_State *L)
{
    int table = lua_gettop(L);
    lua_Integer count = luaL_len(L, table);
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    luaL_addchar(&b, '[');
    for (lua_Integer i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addstring(&b, ", ");
        /* a buffer wants the stack as it left it: the element is fetched under it */
        lua_geti(L, table, i);
        check_plain(L, -1);
        lua_replace(L, 1);
        add_quoted(L, &b, 1);
    }
    luaL_addchar(&b, ']');
    luaL_pushresult(&b);
    lua_replace(L, table);
    lua_settop(L, table);
}

static void map_text(lua_State *L)
{
    int table = lua_gettop(L);

    lua_pushliteral(L, "{");
    lua_pushnil(L);
    for (bool first = true; lua_next(L, table) != 0; first = false) {
        luaL_Buffer b;

        check_plain(L, -1);
        check_plain(L, -2);
        lua_replace(L, 1);
        lua_pushvalue(L, -1);
        lua_replace(L, 2);
        luaL_buffinit(L, &b);
        luaL_addstring(&b, first ? "" : ", ");
        add_quoted(L, &b, 2);
        luaL_addstring(&b, ": ");
        add_quoted(L, &b, 1);
        luaL_pushresult(&b);
        lua_pushvalue(L, -3); /* what there is, then this */
        lua_insert(L, -2);
        lua_concat(L, 2);
        lua_replace(L, -3);
    }
    lua_pushliteral(L, "}");
    lua_concat(L, 2);
    lua_replace(L, table);
}

static const char *scalar_text(lua_State *L, unsigned type)
{
    if (type == TERN_TYPE_BOOL) {
        luaL_checktype(L, -1, LUA_TBOOLEAN);
        return lua_toboolean(L, -1) ? "true" : "false";
    }
    if (lua_type(L, -1) == LUA_TNUMBER)
        return luaL_tolstring(L, -1, NULL); /* stays on the stack until the caller has copied it */
    check_plain(L, -1);
    return lua_tostring(L, -1);
}

/* The default of the type table at `index` as text: NULL = required. */
static const char *default_text(lua_State *L, int index, unsigned type)
{
    int top = lua_gettop(L);
    int kind = lua_getfield(L, index, "default");
    const char *text;

    if (kind == LUA_TNIL)
        text = NULL;
    else if (type == TERN_TYPE_MAP ||
             (type == TERN_TYPE_TABLE && kind == LUA_TTABLE && luaL_len(L, -1) == 0))
        text = (luaL_checktype(L, -1, LUA_TTABLE), map_text(L), lua_tostring(L, -1));
    else if (type == TERN_TYPE_LIST || type == TERN_TYPE_CIDRS ||
             (type == TERN_TYPE_TABLE && kind == LUA_TTABLE))
        text = (luaL_checktype(L, -1, LUA_TTABLE), list_text(L), lua_tostring(L, -1));
    else
        text = scalar_text(L, type);
    if (text != NULL && (strcmp(text, "[]") == 0 || strcmp(text, "{}") == 0))
        text = "";
    if (text != NULL && strlen(text) > DEFAULT_OCTETS_MAX)
        luaL_error(L, "a default is longer than %d octets", DEFAULT_OCTETS_MAX);
    if (text != NULL)
        text = keep(L, text);
    lua_settop(L, top);
    return text;
}

/* ---- options ---- */

static const size_t sizes[] = {
    [TERN_TYPE_BOOL] = sizeof(bool),
    [TERN_TYPE_INT] = sizeof(int64_t),
    [TERN_TYPE_UINT] = sizeof(unsigned),
    [TERN_TYPE_SIZE] = sizeof(uint64_t),
    [TERN_TYPE_SECONDS] = sizeof(uint64_t),
    [TERN_TYPE_STRING] = sizeof(tern_str),
    [TERN_TYPE_ENUM] = sizeof(int),
    [TERN_TYPE_LIST] = sizeof(struct tern_list),
    [TERN_TYPE_MAP] = sizeof(struct tern_map),
    [TERN_TYPE_CIDRS] = sizeof(void *),
    [TERN_TYPE_TABLE] = sizeof(void *),
};

/* The strings of the list on top, NULL-terminated, kept. */
static const char *const *keep_values(lua_State *L)
{
    lua_Integer count = luaL_len(L, -1);

    if (count < 1 || count > SCRIPT_VALUES_MAX)
        luaL_error(L, "1 to %d values are expected", SCRIPT_VALUES_MAX);
    const char **values = arena_zalloc(&script_of(L)->arena, ((size_t)count + 1) * sizeof(*values));
    for (lua_Integer i = 1; i <= count; i++) {
        (void)lua_geti(L, -1, i);
        check_plain(L, -1);
        values[i - 1] = keep(L, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return values;
}

static bool is_name(const char *s)
{
    size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return s[0] >= 'a' && s[0] <= 'z' && len <= 64 && s[len] == '\0';
}

static void check_key(lua_State *L, const struct lua_script *s, const char *key)
{
    static const char *const reserved[] = { "name",      "timeout", "on_error", "when",    "mode",
                                            "refuse_at", "step",    "script",   "trusted", NULL };

    if (!is_name(key))
        luaL_error(L, "an option's name is of a-z, 0-9 and _, not \"%s\"", key);
    for (unsigned i = 0; reserved[i] != NULL; i++)
        if (strcmp(reserved[i], key) == 0)
            luaL_error(L, "the option \"%s\" is the server's own", key);
    for (unsigned i = 0; i < s->own_options; i++)
        if (strcmp(s->options[i].key, key) == 0)
            luaL_error(L, "the option \"%s\" is one that every script has", key);
}

static int64_t bound(lua_State *L, int index, const char *name)
{
    int64_t value = 0;

    if (lua_getfield(L, index, name) != LUA_TNIL)
        value = luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return value;
}

/* The type table is at `index`. */
static void add_option(lua_State *L, struct lua_script *s, const char *key, int index)
{
    check_key(L, s, key);
    if (s->option_count == SCRIPT_OPTIONS_MAX + s->own_options)
        luaL_error(L, "a script has at most %d options", SCRIPT_OPTIONS_MAX);
    if (!lua_istable(L, index) || lua_getfield(L, index, KIND_KEY) != LUA_TNUMBER)
        luaL_error(
            L, "the option \"%s\" needs a type: tern.string { }, tern.list(\"string\", { }), ...",
            key);
    unsigned type = (unsigned)lua_tointeger(L, -1);
    lua_pop(L, 1);
    struct tern_option o = { .size = sizeof(o), .key = keep(L, key), .type = type };
    o.text = default_text(L, index, type);
    o.min = bound(L, index, "min");
    o.max = bound(L, index, "max");
    if (o.max == 0 && o.min > 0)
        o.max = type == TERN_TYPE_UINT ? (int64_t)UINT32_MAX : INT64_MAX;
    if (lua_getfield(L, index, "doc") != LUA_TNIL)
        o.doc = keep(L, luaL_checkstring(L, -1));
    lua_pop(L, 1);
    if (type == TERN_TYPE_ENUM) {
        (void)lua_getfield(L, index, "values");
        o.values = keep_values(L);
        lua_pop(L, 1);
    }
    size_t align = sizes[type] < 8 ? sizes[type] : 8;
    o.offset = (s->module.conf_size + align - 1) / align * align;
    s->module.conf_size = o.offset + sizes[type];
    s->options[s->option_count++] = o;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In the order of their names: a table of Lua has none. */
static void add_options(lua_State *L, struct lua_script *s)
{
    const char *keys[SCRIPT_OPTIONS_MAX];
    size_t count = 0;

    lua_pushnil(L);
    for (; lua_next(L, 1) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "tern.options takes a table of name = type");
        if (count == SCRIPT_OPTIONS_MAX)
            luaL_error(L, "a script has at most %d options", SCRIPT_OPTIONS_MAX);
        keys[count++] = lua_tostring(L, -2); /* lives in the table */
    }
    qsort(keys, count, sizeof(keys[0]), compare_keys);
    for (size_t i = 0; i < count; i++) {
        (void)lua_getfield(L, 1, keys[i]);
        /* two slots below for the texts of defaults */
        lua_pushnil(L);
        lua_insert(L, 1);
        lua_pushnil(L);
        lua_insert(L, 1);
        add_option(L, s, keys[i], lua_gettop(L));
        lua_pop(L, 1);
        lua_remove(L, 1);
        lua_remove(L, 1);
    }
}

int lua_tern_options(lua_State *L)
{
    struct lua_vm *vm = lua_vm_of(L);

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (vm->has_options)
        return luaL_error(L, "tern.options is called once in a script");
    vm->has_options = true;
    if (!vm->script->sealed)
        add_options(L, vm->script);
    return lua_options_push(L);
}

/* ---- hooks ---- */

static unsigned check_hook(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    for (unsigned i = 0; i < TERN_HOOK_COUNT; i++) {
        if (strcmp(lua_hook_name(i), name) == 0)
            return i;
    }
    luaL_error(L, "there is no hook \"%s\"", name);
    return 0;
}

static bool flag(lua_State *L, const char *name)
{
    bool set = lua_getfield(L, 3, name) != LUA_TNIL;

    if (set)
        luaL_checktype(L, -1, LUA_TBOOLEAN);
    set = set && lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

/* { answers = { "reject", "defer" } }: all that the hook allows unless said. */
static unsigned check_answers(lua_State *L, unsigned hook)
{
    static const char *const names[] = { "next",  "accept", "reject",  "defer",
                                         "close", "hold",   "discard", NULL };
    unsigned answers = 0;

    if (lua_getfield(L, 3, "answers") == LUA_TNIL) {
        lua_pop(L, 1);
        return lua_hook_answers(hook);
    }
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, -1);
    for (lua_Integer i = 1; i <= count && i <= 16; i++) {
        (void)lua_geti(L, -1, i);
        int verdict = luaL_checkoption(L, -1, NULL, names);
        if (verdict != TERN_NEXT && (lua_hook_answers(hook) & (1u << verdict)) == 0)
            luaL_error(L, "%s cannot be answered at %s", names[verdict], lua_hook_name(hook));
        answers |= verdict != TERN_NEXT ? 1u << verdict : 0;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return answers;
}

/* { form = "lookup", mechanisms = { "SCRAM-SHA-256" } } */
static void check_auth(lua_State *L, struct tern_hook *h)
{
    static const char *const forms[] = { "verify", "lookup", "exchange", NULL };

    h->auth_form = TERN_AUTH_VERIFY;
    if (lua_isnoneornil(L, 3))
        return;
    if (lua_getfield(L, 3, "form") != LUA_TNIL)
        h->auth_form = TERN_AUTH_VERIFY + (unsigned)luaL_checkoption(L, -1, NULL, forms);
    lua_pop(L, 1);
    if (lua_getfield(L, 3, "mechanisms") != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TTABLE);
        h->mechanisms = keep_values(L);
    }
    lua_pop(L, 1);
    if (h->auth_form == TERN_AUTH_EXCHANGE && h->mechanisms == NULL)
        luaL_error(L, "form = \"exchange\" needs mechanisms = { \"...\" }");
}

static void add_hook(lua_State *L, struct lua_script *s, unsigned hook)
{
    static const char *const keys[] = { "claims", "once", "answers", "mechanisms", "form", NULL };
    struct tern_hook h = { .size = sizeof(h), .hook = hook, .answers = lua_hook_answers(hook) };

    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        check_keys(L, 3, keys);
        h.answers = check_answers(L, hook);
        if (flag(L, "claims"))
            h.flags |= TERN_CLAIMS;
        if (flag(L, "once"))
            h.flags |= TERN_ONCE;
    }
    if ((h.flags & TERN_CLAIMS) != 0 && hook != TERN_HOOK_RCPT)
        luaL_error(L, "only rcpt can have claims = true");
    if ((h.flags & TERN_ONCE) != 0 && hook != TERN_HOOK_MESSAGE)
        luaL_error(L, "only message can have once = true");
    if (hook == TERN_HOOK_AUTH)
        check_auth(L, &h);
    else if (!lua_isnoneornil(L, 3) &&
             (lua_getfield(L, 3, "form") != LUA_TNIL || lua_getfield(L, 3, "mechanisms") != LUA_TNIL))
        luaL_error(L, "only auth can have form and mechanisms");
    h.on_abort = lua_run_abort;
    s->hooks[s->hook_count++] = h;
}

int lua_tern_on(lua_State *L)
{
    struct lua_vm *vm = lua_vm_of(L);
    unsigned hook = check_hook(L);

    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (vm->hook_refs[hook] != LUA_NOREF)
        return luaL_error(L, "%s is registered twice", lua_hook_name(hook));
    if (!vm->script->sealed)
        add_hook(L, vm->script, hook);
    lua_pushvalue(L, 2);
    vm->hook_refs[hook] = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* ---- results and tags ---- */

static int declare_note(lua_State *L, unsigned kind)
{
    static const char *const keys[] = { "name", "values", "doc", NULL };
    struct lua_script *s = script_of(L);
    struct tern_note note = { .size = sizeof(note), .kind = kind };

    luaL_checktype(L, 1, LUA_TTABLE);
    check_keys(L, 1, keys);
    (void)lua_getfield(L, 1, "name");
    const char *name = luaL_checkstring(L, -1);
    if (!is_name(name))
        return luaL_error(L, "the name of a result or tag is of a-z, 0-9 and _, not \"%s\"", name);
    if (s->sealed) {
        if (lua_script_note(s, kind, name) == NULL)
            return luaL_error(L, "\"%s\" was not declared when the configuration was loaded", name);
        return 0;
    }
    if (s->note_count == SCRIPT_NOTES_MAX)
        return luaL_error(L, "a script declares at most %d results and tags", SCRIPT_NOTES_MAX);
    if (lua_script_note(s, kind, name) != NULL)
        return luaL_error(L, "\"%s\" is declared twice", name);
    note.name = keep(L, name);
    if (lua_getfield(L, 1, "values") != LUA_TNIL)
        note.values = keep_values(L);
    if (lua_getfield(L, 1, "doc") != LUA_TNIL)
        note.doc = keep(L, luaL_checkstring(L, -1));
    s->notes[s->note_count++] = note;
    return 0;
}

int lua_tern_result(lua_State *L)
{
    return declare_note(L, TERN_NOTE_RESULT);
}

int lua_tern_tag(lua_State *L)
{
    return declare_note(L, TERN_NOTE_TAG);
}
