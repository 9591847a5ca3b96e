/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - the table itself, and the helpers that belong to no subject.
 *
 * The table is constant: every module of the process is given the same one. Its order is the
 * header's; functions are only ever appended.
 */
#include "module/api.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "config/schema.h"
#include "module/call.h"
#include "module/config_api.h"
#include "module/descriptor.h"
#include "state/tables.h"

/* ---- hostname ---- */

struct name {
    struct name *next;
    char text[];
};

static _Atomic(struct name *) hostname;
static pthread_mutex_t hostname_lock = PTHREAD_MUTEX_INITIALIZER;

/* Names are never freed: a module may hold one. A reload that changes it is a rare thing. */
void api_set_hostname(const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;

    pthread_mutex_lock(&hostname_lock);
    struct name *now = atomic_load(&hostname);
    if (len > 0 && (now == NULL || strcmp(now->text, text) != 0)) {
        struct name *name = mem_alloc(sizeof(*name) + len + 1);
        memcpy(name->text, text, len + 1);
        name->next = now;
        atomic_store(&hostname, name);
    }
    pthread_mutex_unlock(&hostname_lock);
}

static tern_str api_hostname(void)
{
    const struct name *name = atomic_load(&hostname);

    return name != NULL ? (tern_str){ name->text, strlen(name->text) } : TERN_STR("localhost");
}

/* ---- helpers ---- */

static int64_t api_now_ms(const tern_call *call)
{
    (void)call;
    return (int64_t)clock_wall_ms();
}

static int64_t api_now_s(const tern_call *call)
{
    return api_now_ms(call) / 1000;
}

static void *api_alloc(tern_call *call, size_t octets)
{
    struct journal_writer w = call_writer(call);

    if (octets > CALL_ALLOC_OCTETS_MAX || call->arena.octets > CALL_ALLOC_OCTETS_MAX - octets) {
        journal_fail(&w, "the step asked for too much memory");
        return NULL;
    }
    return arena_zalloc(&call->arena, octets);
}

static tern_str api_format(tern_call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    char *text = arena_vprintf(&call->arena, format, args);
    va_end(args);
    return (tern_str){ text, strlen(text) };
}

static void **api_slot(tern_call *call)
{
    return &call->slot;
}

static void *api_state(const tern_call *call)
{
    return call->step->step->state;
}

static tern_str api_step_name(const tern_call *call)
{
    return call->step->step->name;
}

static bool api_table_empty(const struct tern_table *table)
{
    return table_is_empty(table);
}

static void api_log(const tern_call *call, enum tern_log_level level, const char *format, ...)
{
    static const enum log_level levels[] = { [TERN_LOG_ERROR] = LOG_ERROR,
                                             [TERN_LOG_WARNING] = LOG_WARNING,
                                             [TERN_LOG_INFO] = LOG_INFO,
                                             [TERN_LOG_DEBUG] = LOG_DEBUG };
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct log_line line;
    char id[64] = "";
    va_list args;

    if (call != NULL)
        (void)snprintf(id, sizeof(id), "%.*s", (int)slice_head(call_id(call), sizeof(id) - 1).len,
                       call_id(call).len > 0 ? call_id(call).ptr : "");
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    log_begin(&line, (unsigned)level <= TERN_LOG_DEBUG ? levels[level] : LOG_INFO, LOG_EV_module,
              id);
    if (call != NULL) {
        log_str(&line, "step", slice_of(call->step->step->name));
        log_cstr(&line, "hook", descriptor_hook_name(call->point));
    }
    log_str(&line, "text", buf_slice(&text));
    log_end(&line);
}

static void *api_counter(const char *name, const char *doc)
{
    return metric_counter(name, "", doc);
}

static void api_counter_add(void *counter, uint64_t amount)
{
    metric_add(counter, amount);
}

static void *api_histogram(const char *name, const char *doc)
{
    return metric_histogram(name, "", doc);
}

static void api_histogram_observe(void *histogram, uint64_t microseconds)
{
    if (histogram != NULL)
        metric_observe_us(histogram, microseconds);
}

/* ---- transports of modules: delivery/ answers ---- */

static struct api_delivery delivery_fns;

void api_set_delivery(const struct api_delivery *fns)
{
    delivery_fns = *fns;
}

static tern_str api_delivery_id(const tern_delivery *delivery)
{
    return delivery_fns.id != NULL ? delivery_fns.id(delivery) : TERN_STR("");
}

static const struct tern_mailbox *api_delivery_sender(const tern_delivery *delivery)
{
    return delivery_fns.sender != NULL ? delivery_fns.sender(delivery) : NULL;
}

static unsigned api_delivery_rcpt_count(const tern_delivery *delivery)
{
    return delivery_fns.rcpt_count != NULL ? delivery_fns.rcpt_count(delivery) : 0;
}

static const struct tern_recipient *api_delivery_rcpt(const tern_delivery *delivery, unsigned index)
{
    return delivery_fns.rcpt != NULL ? delivery_fns.rcpt(delivery, index) : NULL;
}

static uint64_t api_delivery_octets(const tern_delivery *delivery)
{
    return delivery_fns.octets != NULL ? delivery_fns.octets(delivery) : 0;
}

static int64_t api_delivery_read(tern_delivery *delivery, uint64_t offset, void *buffer,
                                 size_t octets)
{
    return delivery_fns.read != NULL ? delivery_fns.read(delivery, offset, buffer, octets)
                                     : -ENOSYS;
}

static bool api_delivery_is_binary(const tern_delivery *delivery)
{
    return delivery_fns.is_binary != NULL && delivery_fns.is_binary(delivery);
}

static void api_delivery_local(tern_delivery *delivery, const struct tern_local *local,
                               struct tern_local_answer *ret)
{
    *ret = (struct tern_local_answer){ TERN_LOCAL_DEFERRED, "4.3.0", "there is no tern-local here" };
    if (delivery_fns.local != NULL)
        delivery_fns.local(delivery, local, api_hostname(), ret);
}

static void api_delivery_outcome(tern_delivery *delivery, unsigned index, tern_verdict verdict,
                                 unsigned code, const char *enhanced, const char *format, ...)
    TERN_PRINTF(6, 7);
static void api_delivery_outcome(tern_delivery *delivery, unsigned index, tern_verdict verdict,
                                 unsigned code, const char *enhanced, const char *format, ...)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    va_list args;

    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    if (delivery_fns.outcome != NULL)
        delivery_fns.outcome(delivery, index, verdict, code, enhanced,
                             text.data != NULL ? text.data : "");
}

/* ---- the table ---- */

static const struct tern_api table = {
    .size = sizeof(struct tern_api),
    .abi_major = TERN_ABI_MAJOR,
    .abi_minor = TERN_ABI_MINOR,

    .client_address = api_client_address,
    .client_address_text = api_client_address_text,
    .session_id = api_session_id,
    .listener_name = api_listener_name,
    .policy_name = api_policy_name,
    .helo_name = api_helo_name,
    .user = api_user,
    .is_esmtp = api_is_esmtp,
    .is_tls = api_is_tls,

    .queue_id = api_queue_id,
    .sender = api_sender,
    .sender_original = api_sender_original,
    .is_smtputf8 = api_is_smtputf8,
    .declared_size = api_declared_size,
    .rcpt_count = api_rcpt_count,
    .rcpt = api_rcpt,
    .current_rcpt = api_current_rcpt,

    .message_octets = api_message_octets,
    .header_count = api_header_count,
    .header_at = api_header_at,
    .header = api_header,
    .body_read = api_body_read,
    .body_octets = api_body_octets,
    .part_count = api_part_count,
    .part = api_part,

    .result = api_result,
    .has_tag = api_has_tag,
    .var = api_var,
    .outcome = api_outcome,
    .outcome_text = api_outcome_text,

    .reply = api_reply,
    .hold = api_hold,
    .claim = api_claim,
    .tag = api_tag,
    .set_result = api_set_result,
    .set_var = api_set_var,
    .note = api_note,
    .rewrite_sender = api_rewrite_sender,
    .rewrite_rcpt = api_rewrite_rcpt,
    .expand_rcpt = api_expand_rcpt,
    .add_rcpt = api_add_rcpt,
    .header_prepend = api_header_prepend,
    .header_append = api_header_append,
    .header_replace = api_header_replace,
    .header_remove = api_header_remove,
    .withhold = api_withhold,
    .set_route = api_set_route,

    .complete = call_complete,
    .call_ref = call_ref,
    .call_unref = call_unref,
    .dns = api_dns,
    .kv_put_new = api_kv_put_new,
    .kv_get = api_kv_get,
    .kv_put = api_kv_put,
    .kv_add = api_kv_add,
    .kv_remove = api_kv_remove,
    .table_find = api_table_find,
    .table_peek = api_table_peek,
    .after_ms = api_after_ms,
    .dns_sync = api_dns_sync,
    .kv_get_sync = api_kv_get_sync,
    .kv_put_sync = api_kv_put_sync,
    .table_find_sync = api_table_find_sync,

    .now_s = api_now_s,
    .now_ms = api_now_ms,
    .alloc = api_alloc,
    .format = api_format,
    .slot = api_slot,
    .state = api_state,
    .step_name = api_step_name,
    .cidrs_match = cidrs_match,
    .table_empty = api_table_empty,
    .hostname = api_hostname,
    .log = api_log,
    .counter = api_counter,
    .counter_add = api_counter_add,
    .histogram = api_histogram,
    .histogram_observe = api_histogram_observe,

    .config_error = config_api_error,
    .config_warning = config_api_warning,
    .config_alloc = config_api_alloc,
    .config_has_transport = config_api_has_transport,

    .delivery_id = api_delivery_id,
    .delivery_sender = api_delivery_sender,
    .delivery_rcpt_count = api_delivery_rcpt_count,
    .delivery_rcpt = api_delivery_rcpt,
    .delivery_octets = api_delivery_octets,
    .delivery_read = api_delivery_read,
    .delivery_outcome = api_delivery_outcome,

    .auth_mechanism = api_auth_mechanism,
    .auth_user = api_auth_user,
    .auth_password = api_auth_password,
    .auth_login = api_auth_login,
    .auth_keys = api_auth_keys,
    .auth_response = api_auth_response,
    .auth_challenge = api_auth_challenge,

    .wake = api_wake,

    .early_octets = api_early_octets,

    .tls_version = api_tls_version,
    .tls_cipher = api_tls_cipher,
    .tls_sni = api_tls_sni,
    .tls_client = api_tls_client,
    .tls_subject = api_tls_subject,
    .tls_fingerprint = api_tls_fingerprint,
    .tls_error = api_tls_error,

    .delivery_is_binary = api_delivery_is_binary,

    .fail = api_fail,

    .header_octets = api_header_octets,
    .offload = api_offload,

    .delivery_local = api_delivery_local,
    .pam_sync = api_pam_sync,

    .vrfy = api_vrfy,
    .config_has_result = config_api_has_result,

    .is_rehearsal = api_is_rehearsal,
    .config_local = config_api_local,
    .fold_name = api_fold_name,
    .config_is_given = config_api_is_given,
};

const struct tern_api *api_table(void)
{
    return &table;
}
