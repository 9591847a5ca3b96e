/* SPDX-License-Identifier: Apache-2.0 */
/* bind_message.c - header fields, body and MIME parts. */
#include "lua/binding.h"

#include <string.h>

#include "mime/header.h"

#define BODY_READ_OCTETS_MAX    (4u << 20)
#define BODY_READ_DEFAULT       (64u << 10)
#define HEADER_VALUE_OCTETS_MAX 65536

static tern_call *call_of(lua_State *L)
{
    return lua_run_of(L)->call;
}

int lua_txn_size(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)lua_api->message_octets(call_of(L)));
    return 1;
}

/* ---- header ---- */

/* Decoded in the thread's own buffer: nothing is lost if lua_pushlstring() raises. */
static void push_value(lua_State *L, const struct tern_header *h, bool raw)
{
    struct buf *text = &lua_thread()->scratch;

    if (raw) {
        (void)lua_push_str(L, h->value);
        return;
    }
    box_charge(L, h->value.len);
    buf_clear(text);
    header_decode(slice_make(h->value.ptr, h->value.len), text, HEADER_DECODED_OCTETS_MAX);
    lua_pushlstring(L, text->data != NULL ? text->data : "", text->len);
}

/* txn:header(name, { raw = true, nth = 2 }) */
static bool header_options(lua_State *L, int arg, unsigned *ret_nth)
{
    bool raw = false;

    *ret_nth = 0;
    if (lua_isnoneornil(L, arg))
        return raw;
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_getfield(L, arg, "raw");
    raw = lua_toboolean(L, -1);
    if (lua_getfield(L, arg, "nth") != LUA_TNIL) {
        lua_Integer nth = luaL_checkinteger(L, -1);
        luaL_argcheck(L, nth >= 1 && nth <= 1000000, arg, "nth counts from 1");
        *ret_nth = (unsigned)nth - 1;
    }
    lua_pop(L, 2);
    return raw;
}

int lua_txn_header(lua_State *L)
{
    const char *name = lua_check_text(L, 2, 998);
    unsigned nth;
    bool raw = header_options(L, 3, &nth);
    const struct tern_header *h = lua_api->header(call_of(L), name, nth);

    box_charge(L, 100);
    if (h == NULL)
        lua_pushnil(L);
    else
        push_value(L, h, raw);
    return 1;
}

/* The third upvalue: raw. */
static int next_header(lua_State *L)
{
    unsigned index = lua_iterator_step(L);
    const struct tern_header *h = lua_api->header_at(call_of(L), index);

    if (h == NULL)
        return 0;
    (void)lua_push_str(L, h->name);
    push_value(L, h, lua_toboolean(L, lua_upvalueindex(3)));
    return 2;
}

int lua_txn_headers(lua_State *L)
{
    unsigned nth;
    bool raw = header_options(L, 2, &nth);

    lua_pushboolean(L, raw);
    return lua_iterator_push(L, next_header, 1);
}

static tern_str check_value(lua_State *L, int arg)
{
    tern_str value = lua_check_octets(L, arg, HEADER_VALUE_OCTETS_MAX);

    box_charge(L, value.len); /* the journal keeps it */
    if (!header_value_is_valid(slice_make(value.ptr, value.len)))
        luaL_argerror(L, arg,
                      "is no value for a header field (a line end without a blank behind it, a "
                      "NUL, or a line of more than 998 octets)");
    return value;
}

static const char *check_name(lua_State *L, int arg)
{
    const char *name = lua_check_text(L, arg, 256);

    if (!header_name_is_valid(slice_make(name, strlen(name))))
        luaL_argerror(L, arg, "is no name for a header field");
    return name;
}

static unsigned check_nth(lua_State *L, int arg)
{
    lua_Integer nth = luaL_optinteger(L, arg, 1);

    luaL_argcheck(L, nth >= 1 && nth <= 1000000, arg, "counts from 1");
    return (unsigned)nth - 1;
}

int lua_txn_add_header(lua_State *L)
{
    const char *name = check_name(L, 2);

    lua_check_result(L, "txn:add_header",
                     lua_api->header_prepend(call_of(L), name, check_value(L, 3)));
    return 0;
}

int lua_txn_append_header(lua_State *L)
{
    const char *name = check_name(L, 2);

    lua_check_result(L, "txn:append_header",
                     lua_api->header_append(call_of(L), name, check_value(L, 3)));
    return 0;
}

int lua_txn_replace_header(lua_State *L)
{
    const char *name = check_name(L, 2);

    lua_check_result(L, "txn:replace_header",
                     lua_api->header_replace(call_of(L), name, check_nth(L, 4), check_value(L, 3)));
    return 0;
}

int lua_txn_remove_header(lua_State *L)
{
    const char *name = check_name(L, 2);

    lua_check_result(L, "txn:remove_header",
                     lua_api->header_remove(call_of(L), name, check_nth(L, 3)));
    return 0;
}

/* ---- body ---- */

int lua_txn_body(lua_State *L)
{
    lua_Integer offset = luaL_optinteger(L, 2, 0);
    lua_Integer len = luaL_optinteger(L, 3, BODY_READ_DEFAULT);

    luaL_argcheck(L, offset >= 0, 2, "counts from 0");
    luaL_argcheck(L, len >= 0 && len <= BODY_READ_OCTETS_MAX, 3, "at most 4194304 octets at once");
    uint64_t all = lua_api->body_octets(call_of(L));
    if ((uint64_t)offset >= all)
        len = 0;
    else if ((uint64_t)len > all - (uint64_t)offset)
        len = (lua_Integer)(all - (uint64_t)offset);
    box_charge(L, (uint64_t)len / 8);
    luaL_Buffer b;
    char *to = luaL_buffinitsize(L, &b, (size_t)len);
    size_t have = 0;
    while (have < (size_t)len) {
        int64_t n =
            lua_api->body_read(call_of(L), (uint64_t)offset + have, to + have, (size_t)len - have);
        if (n < 0)
            lua_check_result(L, "txn:body", (int)n);
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    luaL_pushresultsize(&b, have);
    return 1;
}

/* ---- parts ---- */

static int next_part(lua_State *L)
{
    unsigned index = lua_iterator_step(L);

    if (index >= lua_api->part_count(call_of(L)))
        return 0;
    (void)lua_object_push(L, OWNER_PART, index, 0);
    return 1;
}

int lua_txn_parts(lua_State *L)
{
    return lua_iterator_push(L, next_part, 0);
}

static const struct tern_part *part_of(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);
    const struct tern_part *part = lua_api->part(call_of(L), o->index);

    if (part == NULL)
        luaL_error(L, "the message has no such part any more");
    return part;
}

int lua_part_type(lua_State *L)
{
    return lua_push_str(L, part_of(L)->type);
}

int lua_part_charset(lua_State *L)
{
    return lua_push_text(L, part_of(L)->charset);
}

int lua_part_filename(lua_State *L)
{
    return lua_push_text(L, part_of(L)->filename);
}

int lua_part_encoding(lua_State *L)
{
    return lua_push_text(L, part_of(L)->encoding);
}

int lua_part_size(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)part_of(L)->size);
    return 1;
}

int lua_part_depth(lua_State *L)
{
    lua_pushinteger(L, part_of(L)->depth);
    return 1;
}
