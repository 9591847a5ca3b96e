/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binding.h - everything a script can name, in one table.
 *
 * The table (bindings.c) is what the metatables are built from, what checks at which hooks
 * something is
 * allowed, and what the reference in docs/lua.md and the editor's stub lua/tern.d.lua are
 * generated from (reference.c; a test compares).
 */
#ifndef TERN_LUA_BINDING_H
#define TERN_LUA_BINDING_H

#include "base/buf.h"
#include "lua/run.h"

enum lua_owner {
    OWNER_TERN,
    OWNER_LOG,
    OWNER_KV,
    OWNER_SESSION,
    OWNER_TXN,
    OWNER_RCPT,
    OWNER_MAILBOX,
    OWNER_PART,
    OWNER_TABLE,
    OWNER_CIDRS,
    OWNER_CREDENTIALS,
    OWNER_ASKED,
    OWNER_COUNT,
};

enum lua_kind { KIND_FUNCTION, KIND_METHOD, KIND_FIELD };

#define AT(hook)   (1u << TERN_HOOK_##hook)
#define AT_LOAD    (1u << TERN_HOOK_COUNT)       /* while the script is loaded, outside any hook */
#define AT_HOOKS   ((1u << TERN_HOOK_COUNT) - 1) /* inside any hook */
#define AT_ALWAYS  (AT_HOOKS | AT_LOAD)
#define AT_SESSION (AT(CONNECT) | AT(TLS) | AT(EHLO) | AT(AUTH) | AT(CLOSE) | AT(VRFY))
#define AT_MESSAGE (AT(MESSAGE) | AT(QUEUE) | AT(SIGN))
#define AT_LATER   (AT(ROUTE) | AT(DELIVER) | AT(RESULT))
#define AT_TXN     (AT(MAIL) | AT(RCPT) | AT(DATA) | AT_MESSAGE | AT_LATER)

struct lua_binding {
    unsigned owner, kind;
    const char *name;
    lua_CFunction run; /* argument 1 of methods and fields: the object, checked */
    unsigned when;     /* AT_*: where it may be used */
    const char
        *args; /* of functions and methods, as LuaCATS writes them: "name: string, text?: string" */
    const char *result; /* type, or "" */
    const char *doc;
};
extern const struct lua_binding lua_bindings[];
extern const unsigned lua_binding_count;

/* An object of a call: no data of its own, only where to look. */
struct lua_object {
    uint64_t serial;
    unsigned owner;
    unsigned index;  /* which recipient, part, ... */
    unsigned which;  /* MAILBOX: below. RCPT: RCPT_CURRENT or 0 */
    const void *ptr; /* TABLE, CIDRS: of the options, so of no call */
};
enum { MAILBOX_SENDER, MAILBOX_SENDER_ORIGINAL, MAILBOX_RCPT_ORIGINAL, MAILBOX_CURRENT_ORIGINAL };
#define RCPT_CURRENT 1

/* Builds all metatables and leaves the table `tern` on the stack. Raises. */
void lua_bindings_open(lua_State *L);
struct lua_object *lua_object_push(lua_State *L, unsigned owner, unsigned index, unsigned which);
/* Argument `arg` as an object of that kind that belongs to the call at work. Raises. */
struct lua_object *lua_object_check(lua_State *L, int arg, unsigned owner);
/* The call at work. */
struct lua_run *lua_run_of(lua_State *L);

/* An iterator of the call at work; the `more` values on top become upvalues from 3 on. Returns
 * 1. */
int lua_iterator_push(lua_State *L, lua_CFunction next, int more);
/* In `next`: the index, from 0, and one on. Raises when the call has ended. */
unsigned lua_iterator_step(lua_State *L);

/* Text as Lua sees it: nil if empty (in `when`: the empty string). */
int lua_push_text(lua_State *L, tern_str s);
int lua_push_str(lua_State *L, tern_str s);
/* Argument: a string without NUL of at most octets_max. Raises. */
const char *lua_check_text(lua_State *L, int arg, size_t octets_max);
tern_str lua_check_octets(lua_State *L, int arg, size_t octets_max);
/* Raises "what: Operation not permitted" for a negative errno. */
void lua_check_result(lua_State *L, const char *what, int r);

/* ---- small objects with keys of the operator's choice: bind_vars.c, bind_options.c ---- */
void lua_vars_open(lua_State *L);
int lua_vars_push(lua_State *L, bool session);
int lua_results_push(lua_State *L);
int lua_tags_push(lua_State *L); /* for `when` */
void lua_options_open(lua_State *L);
int lua_options_push(lua_State *L);

/* ---- answers: bind_answer.c ---- */
#define LUA_LIST_OCTETS_MAX 4000
#define LUA_REPLY_TEXT_MAX  400 /* octets; RFC 5321 4.5.3.1.5 allows 512 for the line */
#define LUA_ROUTE_HOSTS_MAX 16
void lua_answer_open(lua_State *L);
/* enum tern_auth_form of the script's hook auth, at auth. */
unsigned lua_auth_form(lua_State *L);
/* Applies what the hook returned (on top of the stack) to the journal. Raises. */
tern_verdict lua_answer_apply(lua_State *L, struct lua_run *run);

/* ---- for the sandbox ---- */
void lua_binding_log(lua_State *L, enum tern_log_level level, const char *text);
int64_t lua_binding_now(lua_State *L);

/* ---- functions named in the table, by file ---- */
int lua_tern_options(lua_State *L); /* declare.c */
int lua_tern_on(lua_State *L);
int lua_tern_result(lua_State *L);
int lua_tern_tag(lua_State *L);
int lua_type_string(lua_State *L);
int lua_type_int(lua_State *L);
int lua_type_uint(lua_State *L);
int lua_type_bool(lua_State *L);
int lua_type_duration(lua_State *L);
int lua_type_size(lua_State *L);
int lua_type_enum(lua_State *L);
int lua_type_list(lua_State *L);
int lua_type_map(lua_State *L);
int lua_type_table(lua_State *L);
int lua_type_cidrs(lua_State *L);

int lua_tern_reject(lua_State *L); /* bind_answer.c */
int lua_tern_defer(lua_State *L);
int lua_tern_close(lua_State *L);
int lua_tern_hold(lua_State *L);
int lua_tern_discard(lua_State *L);
int lua_tern_route(lua_State *L);
int lua_tern_accept(lua_State *L);
int lua_tern_confirm(lua_State *L);

int lua_tern_contains(lua_State *L); /* bind_tern.c */
int lua_tern_note(lua_State *L);
int lua_tern_now(lua_State *L);
int lua_tern_hostname(lua_State *L);
int lua_tern_set_result(lua_State *L);
int lua_log_error(lua_State *L);
int lua_log_warning(lua_State *L);
int lua_log_info(lua_State *L);
int lua_log_debug(lua_State *L);
int lua_cidrs_contains(lua_State *L);

int lua_tern_dns(lua_State *L); /* wait.c */
int lua_kv_get(lua_State *L);
int lua_kv_put(lua_State *L);
int lua_kv_put_new(lua_State *L);
int lua_kv_add(lua_State *L);
int lua_kv_remove(lua_State *L);
int lua_table_find(lua_State *L);
int lua_table_empty(lua_State *L);
int lua_tern_challenge(lua_State *L);

int lua_session_id(lua_State *L); /* bind_session.c */
int lua_session_client(lua_State *L);
int lua_session_listener(lua_State *L);
int lua_session_policy(lua_State *L);
int lua_session_helo(lua_State *L);
int lua_session_user(lua_State *L);
int lua_session_esmtp(lua_State *L);
int lua_session_early_octets(lua_State *L);
int lua_session_tls(lua_State *L);
int lua_session_tls_version(lua_State *L);
int lua_session_tls_cipher(lua_State *L);
int lua_session_tls_sni(lua_State *L);
int lua_session_tls_client(lua_State *L);
int lua_session_tls_subject(lua_State *L);
int lua_session_tls_fingerprint(lua_State *L);
int lua_session_tls_error(lua_State *L);
int lua_session_vars(lua_State *L);
int lua_session_withhold(lua_State *L);
int lua_credentials_user(lua_State *L);
int lua_credentials_password(lua_State *L);
int lua_credentials_mechanism(lua_State *L);
int lua_credentials_response(lua_State *L);
int lua_asked_verb(lua_State *L);
int lua_asked_argument(lua_State *L);
int lua_asked_address(lua_State *L);
int lua_asked_local_part(lua_State *L);
int lua_asked_domain(lua_State *L);
int lua_any_tag(lua_State *L);
int lua_any_has_tag(lua_State *L);
int lua_any_results(lua_State *L);

int lua_txn_id(lua_State *L); /* bind_txn.c */
int lua_txn_session(lua_State *L);
int lua_txn_sender(lua_State *L);
int lua_txn_sender_original(lua_State *L);
int lua_txn_smtputf8(lua_State *L);
int lua_txn_declared_size(lua_State *L);
int lua_txn_rcpt_count(lua_State *L);
int lua_txn_rcpts(lua_State *L);
int lua_txn_vars(lua_State *L);
int lua_txn_outcome(lua_State *L);
int lua_txn_outcome_text(lua_State *L);
int lua_txn_rewrite_sender(lua_State *L);
int lua_txn_add_rcpt(lua_State *L);
int lua_rcpt_address(lua_State *L);
int lua_rcpt_local_part(lua_State *L);
int lua_rcpt_domain(lua_State *L);
int lua_rcpt_original(lua_State *L);
int lua_rcpt_class(lua_State *L);
int lua_rcpt_claimed_by(lua_State *L);
int lua_rcpt_claim(lua_State *L);
int lua_rcpt_rewrite(lua_State *L);
int lua_rcpt_expand(lua_State *L);
int lua_mailbox_address(lua_State *L);
int lua_mailbox_local_part(lua_State *L);
int lua_mailbox_domain(lua_State *L);

int lua_txn_size(lua_State *L); /* bind_message.c */
int lua_txn_header(lua_State *L);
int lua_txn_headers(lua_State *L);
int lua_txn_body(lua_State *L);
int lua_txn_parts(lua_State *L);
int lua_txn_add_header(lua_State *L);
int lua_txn_append_header(lua_State *L);
int lua_txn_replace_header(lua_State *L);
int lua_txn_remove_header(lua_State *L);
int lua_part_type(lua_State *L);
int lua_part_charset(lua_State *L);
int lua_part_filename(lua_State *L);
int lua_part_encoding(lua_State *L);
int lua_part_size(lua_State *L);
int lua_part_depth(lua_State *L);

#endif
