/* SPDX-License-Identifier: Apache-2.0 */
/* bind_txn.c - the envelope: sender, recipients, and what scripts may change of them. */
#include "lua/binding.h"

#include <string.h>

#define ADDRESS_OCTETS_MAX 1000 /* as written; the core checks what RFC 5321 4.5.3.1 allows */

static tern_call *call_of(lua_State *L)
{
    return lua_run_of(L)->call;
}

int lua_txn_id(lua_State *L)
{
    return lua_push_text(L, lua_api->queue_id(call_of(L)));
}

int lua_txn_session(lua_State *L)
{
    (void)lua_object_push(L, OWNER_SESSION, 0, 0);
    return 1;
}

int lua_txn_sender(lua_State *L)
{
    (void)lua_object_push(L, OWNER_MAILBOX, 0, MAILBOX_SENDER);
    return 1;
}

int lua_txn_sender_original(lua_State *L)
{
    (void)lua_object_push(L, OWNER_MAILBOX, 0, MAILBOX_SENDER_ORIGINAL);
    return 1;
}

int lua_txn_smtputf8(lua_State *L)
{
    lua_pushboolean(L, lua_api->is_smtputf8(call_of(L)));
    return 1;
}

int lua_txn_declared_size(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)lua_api->declared_size(call_of(L)));
    return 1;
}

int lua_txn_rcpt_count(lua_State *L)
{
    lua_pushinteger(L, lua_api->rcpt_count(call_of(L)));
    return 1;
}

static int next_rcpt(lua_State *L)
{
    unsigned index = lua_iterator_step(L);

    if (index >= lua_api->rcpt_count(call_of(L)))
        return 0;
    (void)lua_object_push(L, OWNER_RCPT, index, 0);
    return 1;
}

int lua_txn_rcpts(lua_State *L)
{
    return lua_iterator_push(L, next_rcpt, 0);
}

int lua_txn_vars(lua_State *L)
{
    return lua_vars_push(L, false);
}

int lua_txn_outcome(lua_State *L)
{
    return lua_push_text(L, lua_api->outcome(call_of(L)));
}

int lua_txn_outcome_text(lua_State *L)
{
    return lua_push_text(L, lua_api->outcome_text(call_of(L)));
}

int lua_txn_rewrite_sender(lua_State *L)
{
    tern_str address = lua_check_octets(L, 2, ADDRESS_OCTETS_MAX);

    lua_check_result(L, "txn:rewrite_sender", lua_api->rewrite_sender(call_of(L), address));
    return 0;
}

int lua_txn_add_rcpt(lua_State *L)
{
    tern_str address = lua_check_octets(L, 2, ADDRESS_OCTETS_MAX);

    lua_check_result(L, "txn:add_rcpt", lua_api->add_rcpt(call_of(L), address));
    return 0;
}

/* ---- recipients ---- */

/* NULL in `when` where there is no recipient. */
static const struct tern_recipient *rcpt_of(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);

    if (o->which == RCPT_CURRENT)
        return lua_api->current_rcpt(call_of(L));
    return lua_api->rcpt(call_of(L), o->index);
}

static const struct tern_mailbox *rcpt_mailbox(lua_State *L)
{
    static const struct tern_mailbox none = { { "", 0 }, { "", 0 }, { "", 0 } };
    const struct tern_recipient *r = rcpt_of(L);

    return r != NULL ? &r->mailbox : &none;
}

int lua_rcpt_address(lua_State *L)
{
    return lua_push_str(L, rcpt_mailbox(L)->address);
}

int lua_rcpt_local_part(lua_State *L)
{
    return lua_push_str(L, rcpt_mailbox(L)->local);
}

int lua_rcpt_domain(lua_State *L)
{
    return lua_push_str(L, rcpt_mailbox(L)->domain);
}

int lua_rcpt_original(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);
    unsigned which = o->which == RCPT_CURRENT ? MAILBOX_CURRENT_ORIGINAL : MAILBOX_RCPT_ORIGINAL;

    (void)lua_object_push(L, OWNER_MAILBOX, o->index, which);
    return 1;
}

static const char *const class_names[] = { "", "local", "relay", "forward", "client", NULL };

int lua_rcpt_class(lua_State *L)
{
    const struct tern_recipient *r = rcpt_of(L);
    unsigned class_ = r != NULL && r->class_ <= TERN_CLASS_CLIENT ? r->class_ : TERN_CLASS_NONE;

    return lua_push_text(L, (tern_str){ class_names[class_], strlen(class_names[class_]) });
}

int lua_rcpt_claimed_by(lua_State *L)
{
    const struct tern_recipient *r = rcpt_of(L);

    return lua_push_text(L, r != NULL ? r->claimed_by : (tern_str){ "", 0 });
}

static void check_current(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);

    if (o->which != RCPT_CURRENT)
        luaL_error(L, "only the recipient in question can be changed at rcpt");
}

static bool may_claim(const struct lua_run *run)
{
    const struct lua_script *s = run->vm->script;

    for (unsigned i = 0; i < s->hook_count; i++)
        if (s->hooks[i].hook == run->hook)
            return (s->hooks[i].flags & TERN_CLAIMS) != 0;
    return false;
}

int lua_rcpt_claim(lua_State *L)
{
    int class_ = luaL_checkoption(L, 2, "local", class_names + 1) + 1;

    check_current(L);
    if (!may_claim(lua_run_of(L)))
        return luaL_error(L, "to claim, register with tern.on(\"rcpt\", f, { claims = true })");
    lua_check_result(L, "rcpt:claim", lua_api->claim(call_of(L), (enum tern_class)class_));
    return 0;
}

int lua_rcpt_rewrite(lua_State *L)
{
    tern_str address = lua_check_octets(L, 2, ADDRESS_OCTETS_MAX);

    check_current(L);
    lua_check_result(L, "rcpt:rewrite", lua_api->rewrite_rcpt(call_of(L), address));
    return 0;
}

int lua_rcpt_expand(lua_State *L)
{
    check_current(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_Unsigned count = lua_rawlen(L, 2);
    if (count == 0 || count > 1000)
        return luaL_argerror(L, 2, "a list of 1 to 1000 addresses is expected");
    for (lua_Unsigned i = 1; i <= count; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i);
        tern_str address = lua_check_octets(L, -1, ADDRESS_OCTETS_MAX);
        lua_check_result(L, "rcpt:expand", lua_api->expand_rcpt(call_of(L), address));
        lua_pop(L, 1);
    }
    return 0;
}

/* ---- mailboxes ---- */

static const struct tern_mailbox *mailbox_of(lua_State *L)
{
    static const struct tern_mailbox none = { { "", 0 }, { "", 0 }, { "", 0 } };
    const struct lua_object *o = lua_touserdata(L, 1);
    const struct tern_mailbox *box = NULL;
    const struct tern_recipient *r;

    switch (o->which) {
    case MAILBOX_SENDER: box = lua_api->sender(call_of(L)); break;
    case MAILBOX_SENDER_ORIGINAL: box = lua_api->sender_original(call_of(L)); break;
    default:
        r = o->which == MAILBOX_CURRENT_ORIGINAL ? lua_api->current_rcpt(call_of(L))
                                                 : lua_api->rcpt(call_of(L), o->index);
        box = r != NULL ? &r->original : NULL;
    }
    return box != NULL ? box : &none;
}

int lua_mailbox_address(lua_State *L)
{
    return lua_push_str(L, mailbox_of(L)->address);
}

int lua_mailbox_local_part(lua_State *L)
{
    return lua_push_str(L, mailbox_of(L)->local);
}

int lua_mailbox_domain(lua_State *L)
{
    return lua_push_str(L, mailbox_of(L)->domain);
}
