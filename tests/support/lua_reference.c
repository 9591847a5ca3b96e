/* SPDX-License-Identifier: Apache-2.0 */
/* lua_reference.c - see lua_reference.h. */
#include "lua_reference.h"

#include <string.h>

#include "lua/binding.h"

static const struct {
    const char *title, *prefix, *class_, *intro;
} owners[OWNER_COUNT] = {
    [OWNER_TERN] = { "tern", "tern.", "tern", "`local tern = require \"tern\"`." },
    [OWNER_LOG] = { "tern.log", "tern.log.", "tern.log",
                    "Lines in the log, with session and queue id." },
    [OWNER_KV] = { "tern.kv", "tern.kv.", "tern.kv",
                   "A store that outlives calls and, with kv_lmdb, restarts." },
    [OWNER_SESSION] = { "session", "session.", "tern.session",
                        "The argument at connect, ehlo, vrfy and close; `txn.session` elsewhere." },
    [OWNER_TXN] = { "txn", "txn.", "tern.txn",
                    "The transaction; at route, deliver and result the message." },
    [OWNER_RCPT] = { "rcpt", "rcpt.", "tern.rcpt", "A recipient." },
    [OWNER_MAILBOX] = { "mailbox", "mailbox.", "tern.mailbox", "An address in its parts." },
    [OWNER_PART] = { "part", "part.", "tern.part", "A part of a MIME message." },
    [OWNER_TABLE] = { "table option", "opt.x.", "tern.table",
                      "What an option of type `tern.table` is." },
    [OWNER_CREDENTIALS] = { "credentials", "credentials.", "tern.credentials",
                            "What a client says to log in: the second argument at auth." },
    [OWNER_ASKED] = { "asked", "asked.", "tern.asked", "What VRFY or EXPN asks for: the second argument at vrfy." },
    [OWNER_CIDRS] = { "cidrs option", "opt.x.", "tern.cidrs",
                      "What an option of type `tern.cidrs` is." },
};

static void add_places(const struct lua_binding *b, struct buf *out)
{
    const char *between = "";

    if (b->when == AT_ALWAYS || b->when == AT_HOOKS || b->when == AT_LOAD) {
        buf_add_cstr(out, b->when == AT_ALWAYS ? "anywhere"
                          : b->when == AT_LOAD ? "at load"
                                               : "any hook");
        return;
    }
    for (unsigned i = 0; i < TERN_HOOK_COUNT; i++) {
        if ((b->when & (1u << i)) == 0)
            continue;
        buf_printf(out, "%s%s", between, lua_hook_name(i));
        between = ", ";
    }
}

/* A pipe would end the cell. */
static void add_cell(const char *text, struct buf *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            buf_add_char(out, '\\');
        buf_add_char(out, *text);
    }
}

static void add_row(const struct lua_binding *b, struct buf *out)
{
    struct buf prefix = BUF_INIT;

    buf_add_cstr(&prefix, owners[b->owner].prefix);
    if (b->kind == KIND_METHOD)
        prefix.data[prefix.len - 1] = ':';
    buf_printf(out, "| `%.*s%s", (int)prefix.len, prefix.data, b->name);
    buf_free(&prefix);
    if (b->kind != KIND_FIELD) {
        buf_add_char(out, '(');
        add_cell(b->args, out);
        buf_add_char(out, ')');
    }
    buf_add_cstr(out, "` | ");
    if (b->result[0] != '\0') {
        buf_add_char(out, '`');
        add_cell(b->result, out);
        buf_add_char(out, '`');
    }
    buf_add_cstr(out, " | ");
    add_places(b, out);
    buf_add_cstr(out, " | ");
    add_cell(b->doc, out);
    buf_add_cstr(out, " |\n");
}

void lua_reference_markdown(struct buf *out)
{
    for (unsigned owner = 0; owner < OWNER_COUNT; owner++) {
        buf_printf(out, "\n### %s\n\n%s\n\n| what | gives | where | |\n| --- | --- | --- | --- |\n",
                   owners[owner].title, owners[owner].intro);
        for (unsigned i = 0; i < lua_binding_count; i++)
            if (lua_bindings[i].owner == owner)
                add_row(&lua_bindings[i], out);
    }
    buf_add_char(out, '\n');
}

/* ---- the stub ---- */

/* "a: integer, b?: { x: string, y: string }" into lines of @param; commas inside brackets do not count. */
static void add_params(const char *args, struct buf *out, struct buf *names)
{
    while (*args != '\0') {
        const char *colon = strchr(args, ':');
        int depth = 0;
        const char *end = args;

        for (; *end != '\0' && (depth > 0 || *end != ','); end++)
            depth += (*end == '{' || *end == '<' || *end == '(') -
                     (*end == '}' || *end == '>' || *end == ')');
        bool optional = colon[-1] == '?';
        int name_len = (int)(colon - args) - (optional ? 1 : 0);
        buf_printf(out, "---@param %.*s%s %.*s\n", name_len, args, optional ? "?" : "",
                   (int)(end - colon - 2), colon + 2);
        buf_printf(names, "%s%.*s", names->len > 0 ? ", " : "", name_len, args);
        args = *end == ',' ? end + 2 : end;
    }
}

static void add_function(const struct lua_binding *b, struct buf *out)
{
    struct buf names = BUF_INIT;
    const char *class_ = owners[b->owner].class_;
    const char *at = strrchr(class_, '.');

    buf_printf(out, "\n---%s\n---Where: ", b->doc);
    add_places(b, out);
    buf_add_cstr(out, ".\n");
    add_params(b->args, out, &names);
    if (b->result[0] != '\0')
        buf_printf(out, "---@return %s\n", b->result);
    if (b->kind == KIND_METHOD)
        buf_printf(out, "function %s_class:%s(", at + 1, b->name);
    else
        buf_printf(out, "function %s.%s(", class_, b->name);
    buf_add(out, buf_slice(&names));
    buf_add_cstr(out, ") end\n");
    buf_free(&names);
}

static void add_class(unsigned owner, struct buf *out)
{
    const char *class_ = owners[owner].class_;

    buf_printf(out, "\n---%s\n---@class %s\n", owners[owner].intro, class_);
    for (unsigned i = 0; i < lua_binding_count; i++)
        if (lua_bindings[i].owner == owner && lua_bindings[i].kind == KIND_FIELD)
            buf_printf(out, "---@field %s %s # %s\n", lua_bindings[i].name, lua_bindings[i].result,
                       lua_bindings[i].doc);
    if (owner >= OWNER_SESSION)
        buf_printf(out, "local %s_class = {}\n", strrchr(class_, '.') + 1);
    else
        buf_printf(out, "%s%s = {}\n", owner == OWNER_TERN ? "local " : "", class_);
    for (unsigned i = 0; i < lua_binding_count; i++)
        if (lua_bindings[i].owner == owner && lua_bindings[i].kind != KIND_FIELD)
            add_function(&lua_bindings[i], out);
}

void lua_reference_stub(struct buf *out)
{
    buf_add_cstr(out, "---@meta tern\n-- For editors with the Lua language server. Made from "
                      "core/lua/bindings.c; do not edit.\n\n"
                      "---@class tern.type\n---@class tern.answer\n");
    for (unsigned owner = 0; owner < OWNER_COUNT; owner++)
        add_class(owner, out);
    buf_add_cstr(out, "\nreturn tern\n");
}
