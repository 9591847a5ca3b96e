/* SPDX-License-Identifier: Apache-2.0 */
/* fakeapi.c - see fakeapi.h. */
#include "fakeapi.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/table.h"
#include "config/schema.h"
#include "config/yaml.h"
#include "state/tables.h"

enum { ASK_KV, ASK_DNS, ASK_TABLE, ASK_TIMER };
struct ask {
    struct list link;
    int kind;
    tern_kv_fn kv;
    tern_dns_fn dns;
    tern_table_fn table;
    tern_timer_fn timer;
    void *arg;
    struct tern_kv_answer kv_answer;
    struct tern_dns_answer dns_answer;
    struct tern_table_answer table_answer;
};

static struct table kv; /* "space key" -> struct tern_kv_answer */
struct buf fake_config_text;

static tern_str str(const char *s)
{
    return (tern_str){ s != NULL ? s : "", s != NULL ? strlen(s) : 0 };
}

static void did(tern_call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(&call->did, format, args);
    va_end(args);
    buf_add_char(&call->did, '\n');
}

/* ---- views ---- */

static const tern_address *client_address(const tern_call *call)
{
    static _Thread_local tern_address a;

    memset(&a, 0, sizeof(a));
    if (call->client != NULL && inet_pton(AF_INET, call->client, a.octets) == 1)
        a.family = 4;
    return &a;
}
#define TEXT(name, value)                                                                          \
    static tern_str name(const tern_call *call)                                                    \
    {                                                                                              \
        return str(value);                                                                         \
    }
TEXT(client_address_text, call->client)
TEXT(session_id, "s1")
TEXT(listener_name, call->listener)
TEXT(policy_name, "inbound")
TEXT(helo_name, call->helo)
TEXT(user, call->user)
TEXT(queue_id, call->id)
TEXT(outcome, call->outcome)
TEXT(outcome_text, "250 taken")
TEXT(step_name, "step")
static bool yes(const tern_call *call)
{
    return true;
}
static bool no(const tern_call *call)
{
    return false;
}

static struct tern_mailbox mailbox(const char *address)
{
    struct tern_mailbox m = { str(address), str(""), str("") };
    const char *at = address != NULL ? strrchr(address, '@') : NULL;

    if (at != NULL) {
        m.local = (tern_str){ address, (size_t)(at - address) };
        m.domain = str(at + 1);
    }
    return m;
}
static const struct tern_mailbox *sender(const tern_call *call)
{
    struct tern_mailbox *m = arena_alloc((struct arena *)&call->arena, sizeof(*m));

    *m = mailbox(call->sender);
    return m;
}
static uint64_t declared_size(const tern_call *call)
{
    return 1000;
}
static unsigned rcpt_count(const tern_call *call)
{
    unsigned n = 0;

    while (n < 16 && call->rcpts[n] != NULL)
        n++;
    return n;
}
static const struct tern_recipient *recipient(const tern_call *call, const char *address)
{
    struct tern_recipient *r = arena_zalloc((struct arena *)&call->arena, sizeof(*r));

    r->mailbox = r->original = mailbox(address);
    r->claimed_by = str("");
    return r;
}
static const struct tern_recipient *rcpt(const tern_call *call, unsigned index)
{
    return index < rcpt_count(call) ? recipient(call, call->rcpts[index]) : NULL;
}
static const struct tern_recipient *current_rcpt(const tern_call *call)
{
    return call->rcpt != NULL ? recipient(call, call->rcpt) : NULL;
}
static uint64_t message_octets(const tern_call *call)
{
    return call->octets;
}
static const struct tern_header *header_at(const tern_call *call, unsigned index)
{
    struct tern_header *h = arena_alloc((struct arena *)&call->arena, sizeof(*h));

    for (unsigned i = 0; call->headers != NULL && call->headers[i] != NULL; i++) {
        const char *colon = strchr(call->headers[i], ':');
        h->name = (tern_str){ call->headers[i], (size_t)(colon - call->headers[i]) };
        h->value = str(colon + 2);
        if (i == index)
            return h;
    }
    return NULL;
}
static unsigned header_count(const tern_call *call)
{
    unsigned n = 0;

    while (header_at(call, n) != NULL)
        n++;
    return n;
}
static const struct tern_header *header(const tern_call *call, const char *name, unsigned nth)
{
    const struct tern_header *h;

    for (unsigned i = 0; (h = header_at(call, i)) != NULL; i++)
        if (h->name.len == strlen(name) && strncasecmp(h->name.ptr, name, h->name.len) == 0 &&
            nth-- == 0)
            return h;
    return NULL;
}
static uint64_t body_octets(const tern_call *call)
{
    return call->body != NULL ? strlen(call->body) : 0;
}
static int64_t body_read(const tern_call *call, uint64_t offset, void *buffer, size_t octets)
{
    uint64_t all = body_octets(call);
    size_t n = offset >= all ? 0 : all - offset < octets ? all - offset : octets;

    n = n > 7 ? 7 : n; /* a short read, as from a file that is being read */
    memcpy(buffer, call->body + (offset < all ? offset : 0), n);
    return (int64_t)n;
}
static unsigned part_count(tern_call *call)
{
    return call->part_count;
}
static const struct tern_part *part(tern_call *call, unsigned index)
{
    return index < call->part_count ? &call->parts[index] : NULL;
}

/* ---- notes ---- */

static struct fake_note *find(struct fake_note *notes, const char *name)
{
    for (unsigned i = 0; i < 16; i++)
        if (notes[i].name == NULL || strcmp(notes[i].name, name) == 0)
            return &notes[i];
    abort();
}
static tern_str result(const tern_call *call, const char *name)
{
    const struct fake_note *n = find((struct fake_note *)call->results, name);

    return n->name != NULL ? str(n->value) : str("not_run");
}
static tern_str var(const tern_call *call, const char *name)
{
    return str(find((struct fake_note *)call->vars, name)->value);
}
static bool has_tag(const tern_call *call, const char *name)
{
    const char *word = arena_printf((struct arena *)&call->arena, " %s ", name);

    return call->tags != NULL && strstr(call->tags, word) != NULL;
}
static void set_note(tern_call *call, struct fake_note *notes, const char *name, tern_str value)
{
    struct fake_note *n = find(notes, name);

    n->name = arena_dup(&call->arena, slice_cstr(name));
    n->value = arena_dup(&call->arena, slice_make(value.ptr, value.len));
}

/* ---- journal ---- */

static const char *const verdicts[] = { "next", "accept",  "reject", "defer", "close",
                                        "hold", "discard", "wait",   "error" };

static tern_verdict reply(tern_call *call, tern_verdict verdict, unsigned code,
                          const char *enhanced, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    did(call, "reply %s %u %s %s", verdicts[verdict], code, enhanced,
        arena_vprintf(&call->arena, format, args));
    va_end(args);
    return verdict;
}
static tern_verdict hold(tern_call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    did(call, "hold %s", arena_vprintf(&call->arena, format, args));
    va_end(args);
    return TERN_HOLD;
}
static tern_verdict fail(tern_call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    did(call, "fail %s", arena_vprintf(&call->arena, format, args));
    va_end(args);
    return TERN_ERROR;
}
static int claim(tern_call *call, enum tern_class class_)
{
    did(call, "claim %d", (int)class_);
    return 0;
}
static int tag(tern_call *call, const char *name)
{
    did(call, "tag %s", name);
    return 0;
}
static int set_result(tern_call *call, const char *name, tern_str value)
{
    did(call, "result %s=%s", name, value.ptr);
    return 0;
}
static int set_var(tern_call *call, const char *name, tern_str value)
{
    did(call, "var %s=%s", name, value.ptr);
    set_note(call, call->vars, name, value);
    return 0;
}
static void note(tern_call *call, const char *key, tern_str value)
{
    did(call, "note %s=%.*s", key, (int)value.len, value.ptr);
}
#define ADDRESS(name)                                                                              \
    static int name(tern_call *call, tern_str address)                                             \
    {                                                                                              \
        if (strchr(address.ptr, '@') == NULL)                                                      \
            return -EINVAL;                                                                        \
        did(call, #name " %s", address.ptr);                                                       \
        return 0;                                                                                  \
    }
ADDRESS(rewrite_sender)
ADDRESS(rewrite_rcpt)
ADDRESS(expand_rcpt)
ADDRESS(add_rcpt)
static int header_prepend(tern_call *call, const char *name, tern_str value)
{
    did(call, "prepend %s: %s", name, value.ptr);
    return 0;
}
static int header_append(tern_call *call, const char *name, tern_str value)
{
    did(call, "append %s: %s", name, value.ptr);
    return 0;
}
static int header_replace(tern_call *call, const char *name, unsigned nth, tern_str value)
{
    did(call, "replace %s[%u]: %s", name, nth, value.ptr);
    return header(call, name, nth) != NULL ? 0 : -ENOENT;
}
static int header_remove(tern_call *call, const char *name, unsigned nth)
{
    did(call, "remove %s[%u]", name, nth);
    return header(call, name, nth) != NULL ? 0 : -ENOENT;
}
static int withhold(tern_call *call, const char *capability)
{
    did(call, "withhold %s", capability);
    return 0;
}
static int set_route(tern_call *call, const struct tern_route *route)
{
    call->route = *route;
    did(call, "route %s to=%zu fallback=%zu source=%s discard=%s", route->transport.ptr,
        route->to.count, route->fallback.count, route->source.ptr, route->discard_reason.ptr);
    for (size_t i = 0; i < route->to.count; i++)
        did(call, "to %s", route->to.items[i].ptr);
    return 0;
}

/* ---- asynchronous ---- */

static void complete(tern_call *call, tern_verdict verdict)
{
    call->completed++;
    call->verdict = verdict;
}

static void answer(tern_call *call, struct ask *a)
{
    switch (a->kind) {
    case ASK_KV: a->kv(call, call->conf, &a->kv_answer); break;
    case ASK_DNS: a->dns(call, call->conf, &a->dns_answer, a->arg); break;
    case ASK_TABLE: a->table(call, call->conf, &a->table_answer); break;
    default: a->timer(call, call->conf);
    }
}

static tern_verdict put_off(tern_call *call, struct ask *a)
{
    if (call->inside && a->kind != ASK_TIMER)
        answer(call, a);
    else
        list_push(&call->waiting, &a->link);
    return TERN_WAIT;
}

bool fake_step(tern_call *call)
{
    struct list *link = list_pop(&call->waiting);

    if (link != NULL)
        answer(call, list_entry(link, struct ask, link));
    return link != NULL;
}

static struct ask *ask(tern_call *call, int kind)
{
    struct ask *a = ARENA_NEW(&call->arena, struct ask);

    a->kind = kind;
    return a;
}

static struct slice kv_name(tern_call *call, const char *space, tern_str key)
{
    return slice_cstr(arena_printf(&call->arena, "%s %s", space, key.ptr));
}

static struct ask *kv_ask(tern_call *call, const char *space, tern_str key, tern_kv_fn done,
                          struct tern_kv_answer **ret)
{
    struct ask *a = ask(call, ASK_KV);

    a->kv = done;
    *ret = table_get(&kv, kv_name(call, space, key));
    a->kv_answer.status = call->kv_down ? TERN_FAILED : *ret != NULL ? TERN_FOUND : TERN_ABSENT;
    a->kv_answer.value = str("");
    if (*ret != NULL)
        a->kv_answer = **ret;
    return a;
}

static void kv_store(tern_call *call, const char *space, tern_str key, int64_t number,
                     tern_str value)
{
    struct tern_kv_answer *e = mem_zalloc(sizeof(*e));

    e->number = number;
    e->value = (tern_str){ mem_dup(value.ptr, value.len), value.len };
    struct tern_kv_answer *old = table_put(&kv, kv_name(call, space, key), e);
    if (old != NULL) {
        free((void *)old->value.ptr);
        free(old);
    }
}

static tern_verdict kv_put_new(tern_call *call, const char *space, tern_str key, int64_t number,
                               uint64_t expire_s, tern_kv_fn done)
{
    struct tern_kv_answer *e;
    struct ask *a = kv_ask(call, space, key, done, &e);

    if (e == NULL)
        kv_store(call, space, key, number, str(""));
    return put_off(call, a);
}
static tern_verdict kv_get(tern_call *call, const char *space, tern_str key, tern_kv_fn done)
{
    struct tern_kv_answer *e;

    return put_off(call, kv_ask(call, space, key, done, &e));
}
static tern_verdict kv_put(tern_call *call, const char *space, tern_str key, int64_t number,
                           tern_str value, uint64_t expire_s, tern_kv_fn done)
{
    struct tern_kv_answer *e;
    struct ask *a = kv_ask(call, space, key, done, &e);

    a->kv_answer.value = str("");
    kv_store(call, space, key, number, value);
    return put_off(call, a);
}
static tern_verdict kv_add(tern_call *call, const char *space, tern_str key, int64_t amount,
                           uint64_t expire_s, tern_kv_fn done)
{
    struct tern_kv_answer *e;
    struct ask *a = kv_ask(call, space, key, done, &e);
    int64_t sum = (e != NULL ? e->number : 0) + amount;

    if (!call->kv_down)
        a->kv_answer.status = TERN_FOUND;
    a->kv_answer.value = str("");
    kv_store(call, space, key, sum, str(""));
    a->kv_answer.number = sum;
    return put_off(call, a);
}
static tern_verdict kv_remove(tern_call *call, const char *space, tern_str key, tern_kv_fn done)
{
    struct tern_kv_answer *e;
    struct ask *a = kv_ask(call, space, key, done, &e);

    a->kv_answer.value = str("");
    e = table_remove(&kv, kv_name(call, space, key));
    if (e != NULL) {
        free((void *)e->value.ptr);
        free(e);
    }
    return put_off(call, a);
}

static void free_entry(void *value)
{
    free((void *)((struct tern_kv_answer *)value)->value.ptr);
    free(value);
}

void fake_kv_clear(void)
{
    table_free(&kv, free_entry);
    table_init(&kv);
}

static tern_verdict dns(tern_call *call, const char *name, unsigned type, tern_dns_fn done,
                        void *arg)
{
    struct ask *a = ask(call, ASK_DNS);
    const struct fake_dns *d = call->dns;
    struct tern_dns_record *records = arena_zalloc(&call->arena, 8 * sizeof(*records));

    a->dns = done;
    a->arg = arg;
    a->dns_answer = (struct tern_dns_answer){ TERN_ABSENT, "NXDOMAIN", records, 0, false };
    while (d != NULL && d->name != NULL && strcmp(d->name, name) != 0)
        d++;
    if (d == NULL || d->name == NULL || d->text == NULL)
        return put_off(call, a);
    if (d->text[0] == '!') {
        a->dns_answer.status = TERN_FAILED;
        a->dns_answer.error = d->text + 1;
        return put_off(call, a);
    }
    a->dns_answer.status = TERN_FOUND;
    char *words = arena_dup(&call->arena, slice_cstr(d->text));
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        records[a->dns_answer.count].text = str(word);
        records[a->dns_answer.count++].number = 10;
    }
    return put_off(call, a);
}

static void look_up(tern_call *call, const struct tern_table *table, tern_str key,
                    struct tern_table_answer *ret)
{
    struct table_hold *hold = NULL;
    tern_str value = str("");

    ret->status = call->table_down
                      ? TERN_FAILED
                      : (unsigned)table_lookup(table, slice_make(key.ptr, key.len), &value, &hold);
    ret->value = str(arena_dup(&call->arena, slice_make(value.ptr, value.len)));
    table_hold_release(hold);
}
static tern_verdict table_find(tern_call *call, const struct tern_table *table, tern_str key,
                               tern_table_fn done)
{
    struct ask *a = ask(call, ASK_TABLE);

    a->table = done;
    look_up(call, table, key, &a->table_answer);
    return put_off(call, a);
}
static int table_peek(tern_call *call, const struct tern_table *table, tern_str key,
                      struct tern_table_answer *ret)
{
    if (call->table_waits)
        return -EAGAIN;
    look_up(call, table, key, ret);
    return 0;
}
static tern_verdict after_ms(tern_call *call, uint64_t ms, tern_timer_fn done)
{
    struct ask *a = ask(call, ASK_TIMER);

    a->timer = done;
    return put_off(call, a);
}

/* ---- helpers ---- */

static int64_t now_s(const tern_call *call)
{
    return call->now_s;
}
static int64_t now_ms(const tern_call *call)
{
    return call->now_s * 1000;
}
static void *alloc(tern_call *call, size_t octets)
{
    return arena_zalloc(&call->arena, octets);
}
static tern_str hostname(void)
{
    return str("mx.example");
}
static void write_log(const tern_call *call, enum tern_log_level level, const char *format, ...)
{
    va_list args;

    if (call == NULL)
        return;
    va_start(args, format);
    buf_vprintf((struct buf *)&call->logged, format, args);
    va_end(args);
    buf_add_char((struct buf *)&call->logged, '\n');
}
static void config_error(struct tern_config *config, const char *key, const char *format, ...)
{
    buf_printf(&fake_config_text, "%s: %s\n", key, format);
}

/* In the clear: nothing is known of TLS. */
static tern_str no_tls(const tern_call *call)
{
    (void)call;
    return (tern_str){ "", 0 };
}

struct tern_api fake_api = {
    .size = sizeof(fake_api),
    .abi_major = TERN_ABI_MAJOR,
    .abi_minor = TERN_ABI_MINOR,
    .client_address = client_address,
    .client_address_text = client_address_text,
    .session_id = session_id,
    .listener_name = listener_name,
    .policy_name = policy_name,
    .helo_name = helo_name,
    .user = user,
    .is_esmtp = yes,
    .is_tls = no,
    .queue_id = queue_id,
    .sender = sender,
    .sender_original = sender,
    .is_smtputf8 = no,
    .declared_size = declared_size,
    .rcpt_count = rcpt_count,
    .rcpt = rcpt,
    .current_rcpt = current_rcpt,
    .message_octets = message_octets,
    .header_count = header_count,
    .header_at = header_at,
    .header = header,
    .body_read = body_read,
    .body_octets = body_octets,
    .part_count = part_count,
    .part = part,
    .result = result,
    .has_tag = has_tag,
    .var = var,
    .outcome = outcome,
    .outcome_text = outcome_text,
    .reply = reply,
    .hold = hold,
    .fail = fail,
    .claim = claim,
    .tag = tag,
    .set_result = set_result,
    .set_var = set_var,
    .note = note,
    .rewrite_sender = rewrite_sender,
    .rewrite_rcpt = rewrite_rcpt,
    .expand_rcpt = expand_rcpt,
    .add_rcpt = add_rcpt,
    .header_prepend = header_prepend,
    .header_append = header_append,
    .header_replace = header_replace,
    .header_remove = header_remove,
    .withhold = withhold,
    .set_route = set_route,
    .complete = complete,
    .dns = dns,
    .kv_put_new = kv_put_new,
    .kv_get = kv_get,
    .kv_put = kv_put,
    .kv_add = kv_add,
    .kv_remove = kv_remove,
    .table_find = table_find,
    .table_peek = table_peek,
    .after_ms = after_ms,
    .now_s = now_s,
    .now_ms = now_ms,
    .alloc = alloc,
    .step_name = step_name,
    .cidrs_match = cidrs_match,
    .table_empty = table_is_empty,
    .hostname = hostname,
    .log = write_log,
    .config_error = config_error,
    .config_warning = config_error,
    .tls_version = no_tls,
    .tls_cipher = no_tls,
    .tls_sni = no_tls,
    .tls_client = no_tls,
    .tls_subject = no_tls,
    .tls_fingerprint = no_tls,
    .tls_error = no_tls,
};

/* ---- calls ---- */

void fake_call_init(tern_call *call, const void *conf)
{
    memset(call, 0, sizeof(*call));
    arena_init(&call->arena);
    list_init(&call->waiting);
    call->conf = conf;
    call->client = "192.0.2.1";
    call->helo = "client.example";
    call->listener = "mx";
    call->id = "T1";
    call->sender = "alice@example.net";
    call->now_s = 1000000;
}

void fake_call_fini(tern_call *call)
{
    arena_fini(&call->arena);
    buf_free(&call->did);
    buf_free(&call->logged);
}

tern_verdict fake_run(tern_call *call, const struct tern_module *module, enum tern_hook_point hook)
{
    const struct tern_hook *h = module->hooks;

    while (h->size != 0 && h->hook != (unsigned)hook)
        h++;
    if (h->size == 0)
        abort();
    call->verdict = h->run(call, call->conf);
    while (call->verdict == TERN_WAIT && fake_step(call))
        continue;
    return call->verdict;
}

static struct arena conf_arena;
static struct tables *conf_tables;

static const struct tern_table *resolve(void *arg, const struct yaml_node *node)
{
    return tables_resolve(arg, node);
}

const void *fake_conf(const struct tern_module *module, const char *yaml)
{
    struct config_errors errors = { 0 };
    struct yaml_node *map = NULL;
    void *conf = arena_zalloc(&conf_arena, module->conf_size + 1);

    buf_clear(&fake_config_text);
    if (conf_tables == NULL)
        conf_tables = tables_new(&conf_arena, NULL, NULL, &errors);
    struct schema_env env = { &conf_arena, &errors, resolve, conf_tables };
    if (yaml != NULL)
        map = yaml_load_text(&conf_arena, slice_cstr(yaml), "test.yaml", ".", &errors);
    int r = schema_parse(&env, map, (struct place){ "test.yaml", 1, 1 }, module->options, conf,
                         NULL, NULL, NULL);
    if (r == 0 && module->check != NULL)
        r = module->check(conf, NULL);
    buf_add(&fake_config_text, buf_slice(&errors.text));
    config_errors_free(&errors);
    return r == 0 ? conf : NULL;
}

void fake_conf_free(void)
{
    if (conf_tables != NULL)
        tables_free(conf_tables);
    conf_tables = NULL;
    arena_fini(&conf_arena);
    buf_free(&fake_config_text);
}
