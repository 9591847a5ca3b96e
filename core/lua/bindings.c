/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bindings.c - the one table of what scripts can name (see binding.h).
 *
 * To add something: a row here and its function. The reference and the stub come from this
 * table, so
 * `args`, `result` and `doc` are written for somebody with a mail server, not for us.
 */
#include "lua/binding.h"

#define FN(owner, name, run, when, args, result, doc)                                              \
    {                                                                                              \
        OWNER_##owner, KIND_FUNCTION, name, run, when, args, result, doc                           \
    }
#define METHOD(owner, name, run, when, args, result, doc)                                          \
    {                                                                                              \
        OWNER_##owner, KIND_METHOD, name, run, when, args, result, doc                             \
    }
#define FIELD(owner, name, run, when, result, doc)                                                 \
    {                                                                                              \
        OWNER_##owner, KIND_FIELD, name, run, when, "", result, doc                                \
    }

#define AT_EDIT   (AT(MESSAGE) | AT(QUEUE))
#define AT_REFUSE (AT_HOOKS & ~(AT(RESULT) | AT(CLOSE) | AT(TLS)))

const struct lua_binding lua_bindings[] = {
    /* -- what a script says of itself -- */
    FN(TERN, "options", lua_tern_options, AT_LOAD, "types: table<string, tern.type>", "table",
       "Declares the script's options, once. Inside a hook the returned table shows the options of "
       "the "
       "running step; it is read only."),
    FN(TERN, "on", lua_tern_on, AT_LOAD,
       "hook: string, f: function, how?: { claims?: boolean, once?: boolean, answers?: string[], "
       "mechanisms?: string[], form?: string }",
       "",
       "Calls `f` at that hook. `claims`: at rcpt, it may claim recipients. `once`: at message, "
       "once for all "
       "recipients and not per group. `answers`: the only answers it gives; by default all that "
       "the hook allows. At auth `form` is \"verify\" (unless said: user and password are there) or "
       "\"lookup\" (answers with the user's keys), and `mechanisms` are other ones than PLAIN and LOGIN, or "
       "SCRAM; or it is \"exchange\": the script leads mechanisms of its own by tern.challenge."),
    FN(TERN, "result", lua_tern_result, AT_LOAD,
       "result: { name: string, values?: string[], doc?: string }", "",
       "Declares a result that the script sets, so that `when` of later steps may name it."),
    FN(TERN, "tag", lua_tern_tag, AT_LOAD, "tag: { name: string, doc?: string }", "",
       "Declares a tag that the script sets."),
    FN(TERN, "string", lua_type_string, AT_LOAD, "how?: { default?: string, doc?: string }",
       "tern.type", "An option that is a text. Without `default` it must be given."),
    FN(TERN, "int", lua_type_int, AT_LOAD,
       "how?: { default?: integer, min?: integer, max?: integer, doc?: string }", "tern.type",
       "An option that is a whole number."),
    FN(TERN, "uint", lua_type_uint, AT_LOAD,
       "how?: { default?: integer, min?: integer, max?: integer, doc?: string }", "tern.type",
       "An option that is a whole number from 0 on."),
    FN(TERN, "bool", lua_type_bool, AT_LOAD, "how?: { default?: boolean, doc?: string }",
       "tern.type", "An option that is true or false."),
    FN(TERN, "duration", lua_type_duration, AT_LOAD,
       "how?: { default?: string|integer, min?: integer, max?: integer, doc?: string }",
       "tern.type", "A duration, as in 90, 5m, 4h, 5d; read as seconds."),
    FN(TERN, "size", lua_type_size, AT_LOAD,
       "how?: { default?: string|integer, min?: integer, max?: integer, doc?: string }",
       "tern.type", "A size, as in 64KB, 10MB; read as octets."),
    FN(TERN, "enum", lua_type_enum, AT_LOAD,
       "values: string[], how?: { default?: string, doc?: string }", "tern.type",
       "One of some words."),
    FN(TERN, "list", lua_type_list, AT_LOAD,
       "of: \"string\", how?: { default?: string[], min?: integer, max?: integer, doc?: string }",
       "tern.type",
       "A list of texts: `#opt.x`, `opt.x[1]`, `ipairs(opt.x)`, `tern.contains(opt.x, \"a\")`."),
    FN(TERN, "map", lua_type_map, AT_LOAD,
       "how?: { default?: table<string, string>, doc?: string }", "tern.type",
       "Texts by name: `opt.x.name`, `pairs(opt.x)`."),
    FN(TERN, "table", lua_type_table, AT_LOAD,
       "how?: { default?: string[]|table<string, string>, doc?: string }", "tern.type",
       "A table to look things up in: `{ table: NAME }` or written in place."),
    FN(TERN, "cidrs", lua_type_cidrs, AT_LOAD, "how?: { default?: string[], doc?: string }",
       "tern.type", "A list of networks, as in 192.0.2.0/24."),

    /* -- answers -- */
    FN(TERN, "reject", lua_tern_reject, AT_REFUSE,
       "code?: integer, enhanced?: string, text: string", "tern.answer",
       "Refuses for good: 5xx, by default 550 5.7.1; at route and deliver the sender gets a "
       "bounce."),
    FN(TERN, "defer", lua_tern_defer, AT_REFUSE, "code?: integer, enhanced?: string, text: string",
       "tern.answer", "Refuses for now: 4xx, by default 451 4.7.1; the other side tries again."),
    FN(TERN, "close", lua_tern_close, AT_REFUSE, "code?: integer, enhanced?: string, text: string",
       "tern.answer", "Replies 421 and ends the connection."),
    FN(TERN, "hold", lua_tern_hold, AT_REFUSE, "reason: string", "tern.answer",
       "Accepts the message and keeps it in quarantine. Later steps still run and may refuse."),
    FN(TERN, "discard", lua_tern_discard, AT_REFUSE, "reason?: string", "tern.answer",
       "Accepts the message and drops it. Later steps still run and may refuse."),
    FN(TERN, "route", lua_tern_route, AT(ROUTE) | AT(DELIVER),
       "route: { transport?: string, to?: string|string[], fallback?: string|string[], source?: "
       "string, "
       "discard?: string }",
       "tern.answer",
       "At route: the way for the recipient. At deliver: changes the way that was found. Hosts are "
       "written "
       "\"host\", \"host:port\", \"[addr]:port\" or \"unix:/path\"."),
    FN(TERN, "accept", lua_tern_accept, AT(ROUTE) | AT(AUTH), "what?: string|table", "tern.answer",
       "At auth: that is who it says; the session's user is `what`, or else credentials.user. With form "
       "= \"lookup\" `what` is the user's keys: { password = ... } in clear, or { hash = \"SHA-256\", "
       "salt, iterations, stored_key, server_key }, and maybe user = ... With form = \"exchange\" `what` is the "
       "user's name. At route: the same as tern.route."),
    FN(TERN, "confirm", lua_tern_confirm, AT(VRFY), "code?: integer, enhanced?: string, text: string", "tern.answer",
       "That is whom VRFY or EXPN asks for: 250 2.1.5 unless said, or 251 or 252, and a text with the address in "
       "brackets. A list is a text of several lines, at most 4000 octets, and makes a reply of as many."),
    FN(TERN, "challenge", lua_tern_challenge, AT(AUTH), "challenge: string", "string",
       "With form = \"exchange\": asks the client (334, in base64) and waits for its response. When it cancels or "
       "leaves, the call ends here."),

    /* -- helpers -- */
    FN(TERN, "contains", lua_tern_contains, AT_ALWAYS, "list: table, value: any", "boolean",
       "Whether a list has that value."),
    FN(TERN, "note", lua_tern_note, AT_HOOKS, "key: string, value: any", "",
       "Adds to the decision record why the script decided so; `tern why` shows it."),
    FN(TERN, "now", lua_tern_now, AT_ALWAYS, "", "integer", "Seconds since 1970."),
    FN(TERN, "hostname", lua_tern_hostname, AT_ALWAYS, "", "string",
       "The `hostname:` of the configuration."),
    FN(TERN, "set_result", lua_tern_set_result, AT_HOOKS & ~(AT(RESULT) | AT(CLOSE) | AT(TLS)),
       "name: string, value: string", "",
       "Sets a result that the script declared with tern.result."),
    FN(TERN, "dns", lua_tern_dns, AT_HOOKS & ~AT(CLOSE), "name: string, type?: string",
       "table|nil, string|nil, boolean|nil",
       "Asks the DNS for A (unless said), AAAA, MX, TXT, PTR, NS, CNAME or TLSA. A list of texts "
       "(for MX of { host, "
       "preference }; `.authentic`: DNSSEC); or nil, the reason, and true if it could not be found "
       "out (time-out, "
       "SERVFAIL) rather than certainly not being there."),
    FN(LOG, "error", lua_log_error, AT_ALWAYS, "text: any", "",
       "Writes a line to the log: an operator must act."),
    FN(LOG, "warning", lua_log_warning, AT_ALWAYS, "text: any", "", "An operator should look."),
    FN(LOG, "info", lua_log_info, AT_ALWAYS, "text: any", "",
       "For information; `print` does the same."),
    FN(LOG, "debug", lua_log_debug, AT_ALWAYS, "text: any", "", "Shown with log level debug only."),
    FN(KV, "get", lua_kv_get, AT_HOOKS & ~AT(CLOSE), "key: string", "string|integer|nil",
       "What is stored, or nil. Each script has keys of its own. All of tern.kv raise an error if "
       "the store fails."),
    FN(KV, "put", lua_kv_put, AT_HOOKS & ~AT(CLOSE),
       "key: string, value: string|integer, expire_s?: integer", "",
       "Stores a value, for an hour unless said."),
    FN(KV, "put_new", lua_kv_put_new, AT_HOOKS & ~AT(CLOSE),
       "key: string, value: integer, expire_s?: integer", "integer|nil",
       "Stores a number unless the key is there. Returns what was there before, or nil."),
    FN(KV, "add", lua_kv_add, AT_HOOKS & ~AT(CLOSE),
       "key: string, amount: integer, expire_s?: integer", "integer",
       "Adds, and returns the sum. A key that is not there begins at 0 and expires after "
       "expire_s."),
    FN(KV, "remove", lua_kv_remove, AT_HOOKS & ~AT(CLOSE), "key: string", "", "Removes a key."),

    /* -- session -- */
    FIELD(SESSION, "id", lua_session_id, AT_HOOKS, "string", "Names the session in the log."),
    FIELD(SESSION, "client", lua_session_client, AT_HOOKS, "string|nil", "The client's address."),
    FIELD(SESSION, "listener", lua_session_listener, AT_HOOKS, "string|nil",
          "The listener's name."),
    FIELD(SESSION, "policy", lua_session_policy, AT_HOOKS, "string|nil", "The policy's name."),
    FIELD(SESSION, "helo", lua_session_helo, AT_HOOKS, "string|nil",
          "What the client said in HELO or EHLO."),
    FIELD(SESSION, "user", lua_session_user, AT_HOOKS, "string|nil", "Who logged in."),
    FIELD(SESSION, "esmtp", lua_session_esmtp, AT_HOOKS, "boolean", "Whether it was EHLO."),
    FIELD(SESSION, "early_octets", lua_session_early_octets, AT_HOOKS, "integer",
          "At connect: what the client has said before it was greeted, in octets; 0 elsewhere."),
    FIELD(SESSION, "tls", lua_session_tls, AT_HOOKS, "boolean",
          "Whether the connection is encrypted."),
    FIELD(SESSION, "tls_version", lua_session_tls_version, AT_HOOKS, "string|nil",
          "\"TLSv1.3\", or nil without TLS."),
    FIELD(SESSION, "tls_cipher", lua_session_tls_cipher, AT_HOOKS, "string|nil",
          "\"TLS_AES_256_GCM_SHA384\", or nil without TLS."),
    FIELD(SESSION, "tls_sni", lua_session_tls_sni, AT_HOOKS, "string|nil",
          "The host name that the client asked for."),
    FIELD(SESSION, "tls_client", lua_session_tls_client, AT_HOOKS, "string|nil",
          "Who the client is by a certificate that `client_ca` of the listener vouches for."),
    FIELD(SESSION, "tls_subject", lua_session_tls_subject, AT_HOOKS, "string|nil",
          "Whom the certificate says it is for, verified or not."),
    FIELD(SESSION, "tls_fingerprint", lua_session_tls_fingerprint, AT_HOOKS, "string|nil",
          "SHA-256 of the client's certificate, in hex."),
    FIELD(SESSION, "tls_error", lua_session_tls_error, AT_HOOKS, "string|nil",
          "Why the client's certificate is not verified."),
    FIELD(
        SESSION, "vars", lua_session_vars, AT_HOOKS, "table<string, string|number|boolean>",
        "What steps want to remember of the session; assigned at connect, ehlo and auth, read anywhere."),
    FIELD(SESSION, "results", lua_any_results, AT_HOOKS, "table<string, string>",
          "What earlier steps found; \"not_run\" before."),
    METHOD(SESSION, "withhold", lua_session_withhold, AT(EHLO), "keyword: string", "",
           "Leaves a keyword (\"SIZE\") out of the reply to EHLO."),
    METHOD(SESSION, "tag", lua_any_tag, AT(CONNECT) | AT(EHLO) | AT(AUTH), "name: string", "",
           "Sets a declared tag on the session."),
    METHOD(SESSION, "has_tag", lua_any_has_tag, AT_HOOKS, "name: string", "boolean",
           "Whether a tag is set."),

    /* -- credentials, the second argument at auth -- */
    FIELD(CREDENTIALS, "user", lua_credentials_user, AT(AUTH), "string",
          "Who wants to log in, empty with form = \"exchange\"; with EXTERNAL a name of the client's certificate, "
          "which was verified."),
    FIELD(CREDENTIALS, "password", lua_credentials_password, AT(AUTH), "string",
          "The password, or the token; empty with form = \"lookup\" or \"exchange\"."),
    FIELD(CREDENTIALS, "response", lua_credentials_response, AT(AUTH), "string|nil",
          "The initial response, with form = \"exchange\"; nil: the client sent none."),
    FIELD(CREDENTIALS, "mechanism", lua_credentials_mechanism, AT(AUTH), "string",
          "\"PLAIN\", \"SCRAM-SHA-256\", ..."),

    /* -- asked, the second argument at vrfy -- */
    FIELD(ASKED, "verb", lua_asked_verb, AT(VRFY), "string", "\"vrfy\" or \"expn\"."),
    FIELD(ASKED, "argument", lua_asked_argument, AT(VRFY), "string", "What is asked for, as it was said."),
    FIELD(ASKED, "address", lua_asked_address, AT(VRFY), "string",
          "The same if it is an address, without brackets; else this and the next two are empty."),
    FIELD(ASKED, "local_part", lua_asked_local_part, AT(VRFY), "string", "What stands before the @."),
    FIELD(ASKED, "domain", lua_asked_domain, AT(VRFY), "string",
          "In lower case and A-labels; empty for a bare postmaster."),

    /* -- transaction or message -- */
    FIELD(TXN, "id", lua_txn_id, AT_TXN, "string", "The queue id."),
    FIELD(TXN, "session", lua_txn_session, AT_TXN, "tern.session", "The session it came by."),
    FIELD(TXN, "sender", lua_txn_sender, AT_TXN, "tern.mailbox",
          "The sender; all three fields empty for a bounce."),
    FIELD(TXN, "sender_original", lua_txn_sender_original, AT_TXN, "tern.mailbox",
          "The sender as given in MAIL FROM."),
    FIELD(TXN, "smtputf8", lua_txn_smtputf8, AT_TXN, "boolean",
          "Whether the client asked for SMTPUTF8."),
    FIELD(TXN, "declared_size", lua_txn_declared_size, AT_TXN, "integer",
          "SIZE= of MAIL FROM, or 0."),
    FIELD(TXN, "rcpt_count", lua_txn_rcpt_count, AT_TXN, "integer",
          "Recipients accepted so far; from message on those of the group."),
    FIELD(TXN, "size", lua_txn_size, AT_MESSAGE, "integer", "Octets of the message."),
    FIELD(TXN, "vars", lua_txn_vars, AT_TXN, "table<string, string|number|boolean>",
          "What steps want to remember of the transaction; kept with the message in the queue."),
    FIELD(TXN, "results", lua_any_results, AT_TXN, "table<string, string>",
          "What earlier steps found; \"not_run\" before."),
    FIELD(TXN, "outcome", lua_txn_outcome, AT(RESULT), "string",
          "delivered, deferred, bounced or expired."),
    FIELD(TXN, "outcome_text", lua_txn_outcome_text, AT(RESULT), "string|nil",
          "What the other side said."),
    METHOD(TXN, "rcpts", lua_txn_rcpts, AT_TXN, "", "fun(): tern.rcpt",
           "`for rcpt in txn:rcpts() do`."),
    METHOD(TXN, "header", lua_txn_header, AT_MESSAGE,
           "name: string, how?: { nth?: integer, raw?: boolean }", "string|nil",
           "The first (or nth) field of that name, decoded to UTF-8 on one line, or as it stands."),
    METHOD(TXN, "headers", lua_txn_headers, AT_MESSAGE, "how?: { raw?: boolean }",
           "fun(): string, string", "`for name, value in txn:headers() do`."),
    METHOD(TXN, "body", lua_txn_body, AT_MESSAGE, "offset?: integer, octets?: integer", "string",
           "Octets of the body, by default the first 64 KB, at most 4 MB at once."),
    METHOD(TXN, "parts", lua_txn_parts, AT_MESSAGE, "", "fun(): tern.part",
           "`for part in txn:parts() do`: the leaves "
           "of the MIME tree, in order."),
    METHOD(TXN, "tag", lua_any_tag, AT(MAIL) | AT(RCPT) | AT(DATA) | AT_MESSAGE, "name: string", "",
           "Sets a declared tag; at rcpt on the recipient in question."),
    METHOD(TXN, "has_tag", lua_any_has_tag, AT_TXN, "name: string", "boolean",
           "Whether a tag is set."),
    METHOD(TXN, "rewrite_sender", lua_txn_rewrite_sender, AT(MAIL) | AT(QUEUE), "address: string",
           "", "Replaces the sender."),
    METHOD(TXN, "add_rcpt", lua_txn_add_rcpt, AT(MESSAGE), "address: string", "",
           "Adds a recipient."),
    METHOD(TXN, "add_header", lua_txn_add_header, AT_MESSAGE, "name: string, value: string", "",
           "Puts a field on top of the header."),
    METHOD(TXN, "append_header", lua_txn_append_header, AT_EDIT, "name: string, value: string", "",
           "Puts a field below the last of the header."),
    METHOD(TXN, "replace_header", lua_txn_replace_header, AT_EDIT,
           "name: string, value: string, nth?: integer", "",
           "Replaces the first (or nth) field of that name."),
    METHOD(TXN, "remove_header", lua_txn_remove_header, AT_EDIT, "name: string, nth?: integer", "",
           "Removes the first (or nth) field of that name."),

    /* -- recipient -- */
    FIELD(RCPT, "address", lua_rcpt_address, AT_TXN, "string",
          "local@domain, as rewritten so far."),
    FIELD(RCPT, "local_part", lua_rcpt_local_part, AT_TXN, "string",
          "What stands before the @, unquoted."),
    FIELD(RCPT, "domain", lua_rcpt_domain, AT_TXN, "string",
          "In lower case and A-labels; empty for <postmaster>."),
    FIELD(RCPT, "original", lua_rcpt_original, AT_TXN, "tern.mailbox", "As given in RCPT TO."),
    FIELD(RCPT, "class", lua_rcpt_class, AT_TXN, "string|nil",
          "local, relay, forward or client, once claimed."),
    FIELD(RCPT, "claimed_by", lua_rcpt_claimed_by, AT_TXN, "string|nil",
          "The step that claimed it."),
    METHOD(
        RCPT, "claim", lua_rcpt_claim, AT(RCPT), "class?: string", "",
        "Says that the recipient is ours to take: local (unless said), relay, forward or client."),
    METHOD(RCPT, "rewrite", lua_rcpt_rewrite, AT(RCPT), "address: string", "",
           "Replaces the recipient."),
    METHOD(RCPT, "expand", lua_rcpt_expand, AT(RCPT), "addresses: string[]", "",
           "Replaces the recipient by several."),
    METHOD(RCPT, "tag", lua_any_tag, AT(RCPT), "name: string", "",
           "Sets a declared tag on the recipient."),

    FIELD(MAILBOX, "address", lua_mailbox_address, AT_HOOKS, "string",
          "local@domain; empty for the null sender."),
    FIELD(MAILBOX, "local_part", lua_mailbox_local_part, AT_HOOKS, "string",
          "What stands before the @."),
    FIELD(MAILBOX, "domain", lua_mailbox_domain, AT_HOOKS, "string", "In lower case and A-labels."),

    FIELD(PART, "type", lua_part_type, AT_MESSAGE, "string", "\"text/plain\", in lower case."),
    FIELD(PART, "charset", lua_part_charset, AT_MESSAGE, "string|nil", "As declared."),
    FIELD(PART, "filename", lua_part_filename, AT_MESSAGE, "string|nil", "Decoded to UTF-8."),
    FIELD(PART, "encoding", lua_part_encoding, AT_MESSAGE, "string|nil",
          "\"base64\", ... in lower case."),
    FIELD(PART, "size", lua_part_size, AT_MESSAGE, "integer", "Octets, as encoded."),
    FIELD(PART, "depth", lua_part_depth, AT_MESSAGE, "integer", "How deep in the MIME tree."),

    METHOD(TABLE, "find", lua_table_find, AT_HOOKS & ~AT(CLOSE), "key: string", "string|nil",
           "The value of a key (empty where the table has keys only), or nil. Raises an error if "
           "the table fails."),
    METHOD(TABLE, "empty", lua_table_empty, AT_HOOKS, "", "boolean",
           "Whether it has no entry at all."),
    METHOD(CIDRS, "contains", lua_cidrs_contains, AT_HOOKS, "address: string|nil", "boolean",
           "Whether an address is in one of the networks."),
};
const unsigned lua_binding_count = sizeof(lua_bindings) / sizeof(lua_bindings[0]);
