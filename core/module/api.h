/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - the table of functions that modules are given, and what others fill in of it.
 *
 * Internal twin of <tern/module.h>: the functions themselves are in api_*.c by subject,
 * each group under the heading it has in that header.
 */
#ifndef TERN_MODULE_API_H
#define TERN_MODULE_API_H

#include <tern/module.h>

/* The one table of this process. */
const struct tern_api *api_table(void);

/* What delivery/, a layer above, gives to transports of modules. Set once, before any is used. */
struct api_delivery {
    tern_str (*id)(const tern_delivery *delivery);
    const struct tern_mailbox *(*sender)(const tern_delivery *delivery);
    unsigned (*rcpt_count)(const tern_delivery *delivery);
    const struct tern_recipient *(*rcpt)(const tern_delivery *delivery, unsigned index);
    uint64_t (*octets)(const tern_delivery *delivery);
    int64_t (*read)(tern_delivery *delivery, uint64_t offset, void *buffer, size_t octets);
    void (*outcome)(tern_delivery *delivery, unsigned index, tern_verdict verdict, unsigned code,
                    const char *enhanced, const char *text);
    bool (*is_binary)(const tern_delivery *delivery);
    void (*local)(tern_delivery *delivery, const struct tern_local *local, tern_str hostname,
                  struct tern_local_answer *ret);
};
void api_set_delivery(const struct api_delivery *fns);
/* What hostname() answers. Kept for ever (one copy a name): a module may hold it. Any thread. */
void api_set_hostname(const char *hostname);

/* api_local.c */
void api_pam_sync(tern_call *call, const struct tern_pam *pam, struct tern_local_answer *ret);

/* api_view.c */
const tern_address *api_client_address(const tern_call *call);
tern_str api_client_address_text(const tern_call *call);
tern_str api_session_id(const tern_call *call);
tern_str api_listener_name(const tern_call *call);
tern_str api_policy_name(const tern_call *call);
tern_str api_helo_name(const tern_call *call);
tern_str api_user(const tern_call *call);
bool api_is_esmtp(const tern_call *call);
bool api_is_tls(const tern_call *call);
tern_str api_tls_version(const tern_call *call);
tern_str api_tls_cipher(const tern_call *call);
tern_str api_tls_sni(const tern_call *call);
tern_str api_tls_client(const tern_call *call);
tern_str api_tls_subject(const tern_call *call);
tern_str api_tls_fingerprint(const tern_call *call);
tern_str api_tls_error(const tern_call *call);
tern_str api_queue_id(const tern_call *call);
const struct tern_mailbox *api_sender(const tern_call *call);
const struct tern_mailbox *api_sender_original(const tern_call *call);
bool api_is_smtputf8(const tern_call *call);
uint64_t api_declared_size(const tern_call *call);
unsigned api_rcpt_count(const tern_call *call);
const struct tern_recipient *api_rcpt(const tern_call *call, unsigned index);
const struct tern_recipient *api_current_rcpt(const tern_call *call);
uint64_t api_message_octets(const tern_call *call);
unsigned api_header_count(const tern_call *call);
const struct tern_header *api_header_at(const tern_call *call, unsigned index);
const struct tern_header *api_header(const tern_call *call, const char *name, unsigned nth);
int64_t api_body_read(const tern_call *call, uint64_t offset, void *buffer, size_t octets);
uint64_t api_body_octets(const tern_call *call);
int api_header_octets(const tern_call *call, bool original, tern_str *ret);
unsigned api_part_count(tern_call *call);
const struct tern_part *api_part(tern_call *call, unsigned index);
tern_str api_result(const tern_call *call, const char *name);
bool api_has_tag(const tern_call *call, const char *name);
tern_str api_var(const tern_call *call, const char *name);
tern_str api_outcome(const tern_call *call);
tern_str api_outcome_text(const tern_call *call);

/* api_journal.c */
tern_verdict api_reply(tern_call *call, tern_verdict verdict, unsigned code, const char *enhanced,
                       const char *format, ...) TERN_PRINTF(5, 6);
tern_verdict api_fail(tern_call *call, const char *format, ...) TERN_PRINTF(2, 3);
tern_verdict api_hold(tern_call *call, const char *format, ...) TERN_PRINTF(2, 3);
int api_claim(tern_call *call, enum tern_class class_);
int api_tag(tern_call *call, const char *name);
int api_set_result(tern_call *call, const char *name, tern_str value);
int api_set_var(tern_call *call, const char *name, tern_str value);
void api_note(tern_call *call, const char *key, tern_str value);
int api_rewrite_sender(tern_call *call, tern_str address);
int api_rewrite_rcpt(tern_call *call, tern_str address);
int api_expand_rcpt(tern_call *call, tern_str address);
int api_add_rcpt(tern_call *call, tern_str address);
int api_header_prepend(tern_call *call, const char *name, tern_str value);
int api_header_append(tern_call *call, const char *name, tern_str value);
int api_header_replace(tern_call *call, const char *name, unsigned nth, tern_str value);
int api_header_remove(tern_call *call, const char *name, unsigned nth);
int api_withhold(tern_call *call, const char *capability);
int api_set_route(tern_call *call, const struct tern_route *route);

/* api_async.c */
tern_verdict api_dns(tern_call *call, const char *name, unsigned type, tern_dns_fn done, void *arg);
tern_verdict api_kv_put_new(tern_call *call, const char *space, tern_str key, int64_t number,
                            uint64_t expire_s, tern_kv_fn done);
tern_verdict api_kv_get(tern_call *call, const char *space, tern_str key, tern_kv_fn done);
tern_verdict api_kv_put(tern_call *call, const char *space, tern_str key, int64_t number,
                        tern_str value, uint64_t expire_s, tern_kv_fn done);
tern_verdict api_kv_add(tern_call *call, const char *space, tern_str key, int64_t amount,
                        uint64_t expire_s, tern_kv_fn done);
tern_verdict api_kv_remove(tern_call *call, const char *space, tern_str key, tern_kv_fn done);
tern_verdict api_table_find(tern_call *call, const struct tern_table *table, tern_str key,
                            tern_table_fn done);
int api_table_peek(tern_call *call, const struct tern_table *table, tern_str key,
                   struct tern_table_answer *ret);
tern_verdict api_after_ms(tern_call *call, uint64_t ms, tern_timer_fn done);
bool api_wake(tern_call *call, tern_timer_fn done);
tern_verdict api_offload(tern_call *call, tern_handler run);
uint64_t api_early_octets(const tern_call *call);

/* engine_vrfy.c */
const struct tern_vrfy *api_vrfy(const tern_call *call);
bool api_is_rehearsal(const tern_call *call);
/* api_auth.c */
tern_str api_auth_mechanism(const tern_call *call);
tern_str api_auth_user(const tern_call *call);
tern_str api_fold_name(tern_call *call, tern_str name);
tern_str api_auth_password(const tern_call *call);
int api_auth_login(tern_call *call, tern_str user);
int api_auth_keys(tern_call *call, const struct tern_auth_keys *keys);
tern_str api_auth_response(const tern_call *call);
tern_verdict api_auth_challenge(tern_call *call, tern_str challenge, tern_auth_fn done);

/* api_sync.c */
int api_dns_sync(tern_call *call, const char *name, unsigned type, struct tern_dns_answer *ret);
int api_kv_get_sync(tern_call *call, const char *space, tern_str key, struct tern_kv_answer *ret);
int api_kv_put_sync(tern_call *call, const char *space, tern_str key, int64_t number,
                    tern_str value, uint64_t expire_s);
int api_table_find_sync(tern_call *call, const struct tern_table *table, tern_str key,
                        struct tern_table_answer *ret);

#endif
