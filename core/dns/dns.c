/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns.c - questions: the cache, merging, which server is asked next, and who hears the answer.
 *
 * Whatever is to be done for a question is done from one list at the end of the
 * loop's iteration: so no callback comes from inside dns_ask(), a failing server is no recursion,
 * and dns_cancel() is safe anywhere.
 */
#include "dns/dns.h"

#include <ares.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "dns/private.h"

#define TIMEOUT_MS      5000
#define TRIES           3
#define CACHE_ENTRIES   10000
#define RCODE_FORMERR   1
#define TYPE_OPT        41
#define TYPE_META_FIRST 128 /* to 255: transfers, ANY and the like; RFC 6895 3.1 */
#define TYPE_META_LAST  255

struct dns {
    struct loop *loop;
    struct dns_server *servers[DNS_SERVERS_MAX];
    unsigned server_count, tries;
    struct dns_cache cache;
    struct table pending; /* key -> struct dns_question */
    struct list turn;     /* questions with an answer to tell or a packet to send */
    struct loop_task task;
    bool scheduled, closing;
    unsigned calling; /* depth of callbacks: dns_free() is forbidden then */
    size_t questions;
    struct metric *sent, *hits, *failures;
};

struct dns_request {
    struct list link;
    dns_fn done;
    void *arg;
};

/* Of tests, for all loops of the process. */
static struct {
    pthread_mutex_t lock;
    _Atomic bool on;
    dns_stub stub;
    void *arg;
} stub = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void run_turn(struct loop_task *task);

/* ---- life ---- */

static int add_servers(struct dns *dns, const struct dns_options *options)
{
    tern_address system[DNS_SERVERS_MAX];
    const tern_address *servers = options->servers;
    size_t count = options->server_count;
    unsigned timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_MS;

    if (count == 0) {
        int n = dns_servers_of_system(system);
        if (n < 0)
            return n;
        servers = system;
        count = (size_t)n;
    }
    for (size_t i = 0; i < count && dns->server_count < DNS_SERVERS_MAX; i++) {
        if (servers[i].family != 4 && servers[i].family != 6)
            return -EINVAL;
        struct dns_server *server = dns_server_new(dns->loop, &servers[i], timeout_ms);
        if (server == NULL)
            return -ENOMEM;
        dns->servers[dns->server_count++] = server;
    }
    return dns->server_count > 0 ? 0 : -ENOENT;
}

int dns_new(struct loop *loop, const struct dns_options *options, struct dns **ret)
{
    struct dns *dns = mem_zalloc(sizeof(*dns));

    dns->loop = loop;
    dns->tries = options->tries == 0 ? TRIES : options->tries;
    if (dns->tries > DNS_TRIES_MAX)
        dns->tries = DNS_TRIES_MAX;
    dns_cache_init(&dns->cache,
                   options->cache_entries_max != 0 ? options->cache_entries_max : CACHE_ENTRIES,
                   DNS_CACHE_OCTETS);
    table_init(&dns->pending);
    list_init(&dns->turn);
    list_init(&dns->task.link);
    dns->task.run = run_turn;
    dns->sent = metric_counter("tern_dns_packets_total", "", "Questions sent to DNS servers.");
    dns->hits = metric_counter("tern_dns_cache_hits_total", "", "Questions answered by the cache.");
    dns->failures = metric_counter("tern_dns_failures_total", "", "Questions that got no answer.");
    int r = add_servers(dns, options);
    if (r < 0) {
        dns_free(dns);
        return r;
    }
    *ret = dns;
    return 0;
}

struct loop *dns_loop(const struct dns *dns)
{
    return dns->loop;
}

static void schedule(struct dns *dns, struct dns_question *question)
{
    list_remove(&question->link);
    list_push(&dns->turn, &question->link);
    if (dns->scheduled || dns->closing)
        return;
    dns->scheduled = true;
    loop_at_end(dns->loop, &dns->task);
}

/* ---- one question ---- */

static struct dns_question *question_new(struct dns *dns, const char *name, unsigned type,
                                         const char *key)
{
    struct dns_question *q = mem_zalloc(sizeof(*q));

    list_init(&q->link);
    list_init(&q->waiters);
    q->dns = dns;
    q->type = type;
    (void)snprintf(q->name, sizeof(q->name), "%s", name);
    (void)snprintf(q->key, sizeof(q->key), "%s", key);
    dns->questions++;
    return q;
}

static void question_forget(struct dns_question *q)
{
    if (q->pending)
        (void)table_remove(&q->dns->pending, slice_cstr(q->key));
    q->pending = false;
}

/* Tells everybody who waits and frees the question. */
static void question_tell(struct dns_question *q)
{
    struct dns *dns = q->dns;

    assert(q->entry != NULL && !q->waiting);
    question_forget(q);
    list_remove(&q->link);
    dns->calling++;
    for (struct list *link = list_pop(&q->waiters); link != NULL; link = list_pop(&q->waiters)) {
        struct dns_request *request = list_entry(link, struct dns_request, link);
        dns_fn done = request->done;
        void *arg = request->arg;
        free(request);
        done(arg, &q->entry->answer);
    }
    dns->calling--;
    dns_entry_unref(q->entry);
    dns->questions--;
    free(q);
}

/* The server to ask next: first one that is up, in the order given, else any. -1: none is left. */
static int next_server(const struct dns_question *q)
{
    const struct dns *dns = q->dns;
    int any = -1;

    for (unsigned i = 0; i < dns->server_count; i++) {
        unsigned at = (q->server + i) % dns->server_count;
        if (q->said_no & (1u << at))
            continue;
        if (!dns_server_is_down(dns->servers[at]))
            return (int)at;
        any = any < 0 ? (int)at : any;
    }
    return any;
}

static void question_fail(struct dns_question *q)
{
    struct dns *dns = q->dns;

    metric_add(dns->failures, 1);
    q->entry = dns_entry_failed(q->key, q->error != NULL ? q->error : "no server");
    dns_cache_put(&dns->cache, q->entry, clock_now_ms(), DNS_FAILED_S);
}

/* The next packet, or the end of trying. */
static void question_try(struct dns_question *q)
{
    struct dns *dns = q->dns;
    int server = next_server(q);

    if (server < 0 || q->tries >= dns->tries * dns->server_count) {
        question_fail(q);
        question_tell(q);
        return;
    }
    q->server = (unsigned)server;
    q->tries++;
    q->waiting = true;
    metric_add(dns->sent, 1);
    dns_server_send(dns->servers[server], q);
}

static void run_turn(struct loop_task *task)
{
    struct dns *dns = list_entry(task, struct dns, task);
    struct list turn;

    dns->scheduled = false;
    list_init(&turn);
    list_splice(&turn, &dns->turn);
    for (struct list *link = list_pop(&turn); link != NULL; link = list_pop(&turn)) {
        struct dns_question *q = list_entry(link, struct dns_question, link);
        if (q->entry != NULL)
            question_tell(q);
        else
            question_try(q);
    }
}

/* ---- answers ---- */

static uint32_t clamp(uint32_t ttl_s, uint32_t max_s)
{
    if (ttl_s < DNS_TTL_MIN_S)
        return DNS_TTL_MIN_S;
    return ttl_s < max_s ? ttl_s : max_s;
}

/* The server answered, but not the question: remembered unless something more telling was. */
static void said_no(struct dns_question *q, const char *error)
{
    q->said_no |= 1u << q->server;
    q->error = error;
    q->server = (q->server + 1) % q->dns->server_count;
}

static void no_answer(struct dns_question *q, int status)
{
    const char *error = status == ARES_ETIMEOUT       ? "timeout"
                        : status == ARES_ECONNREFUSED ? "server unreachable"
                                                      : "bad answer";

    dns_server_mark_down(q->dns->servers[q->server], true);
    if (q->said_no == 0)
        q->error = error;
    q->server = (q->server + 1) % q->dns->server_count;
}

static void keep(struct dns_question *q, struct dns_entry *entry, const struct dns_wire *wire)
{
    struct dns *dns = q->dns;
    bool found = wire->kind == DNS_WIRE_DATA;
    uint32_t ttl_s = found ? clamp(wire->ttl_s, DNS_TTL_MAX_S)
                           : clamp(wire->has_ttl ? wire->ttl_s : 0, DNS_NEGATIVE_MAX_S);

    entry->records = wire->records;
    entry->answer = (struct tern_dns_answer){
        .status = found ? TERN_FOUND : TERN_ABSENT,
        .error = wire->error,
        .records = wire->records,
        .count = wire->count,
        .authentic = wire->authentic && dns_server_is_loopback(dns->servers[q->server]),
        .ttl_s = ttl_s,
    };
    dns_cache_put(&dns->cache, entry, clock_now_ms(), ttl_s);
    q->entry = entry;
}

static void read_packet(struct dns_question *q, struct slice packet)
{
    struct dns_server *server = q->dns->servers[q->server];
    struct dns_entry *entry = dns_entry_new(q->key);
    struct dns_wire wire;

    dns_server_mark_down(server, false);
    if (dns_wire_parse(packet, q->name, q->type, &entry->arena, &wire) < 0) {
        said_no(q, "bad answer");
    } else if (wire.kind != DNS_WIRE_FAILED) {
        keep(q, entry, &wire);
        return;
    } else if (wire.rcode != RCODE_FORMERR || !dns_server_without_edns(server)) {
        said_no(q, wire.error);
    }
    dns_entry_unref(entry);
}

void dns_question_answered(struct dns_question *q, int status, struct slice packet)
{
    assert(q->waiting);
    q->waiting = false;
    if (q->dns->closing)
        return;
    if (status == ARES_SUCCESS)
        read_packet(q, packet);
    else if (status == ARES_EBADRESP || status == ARES_EBADNAME || status == ARES_EBADQUERY)
        said_no(q, "bad answer");
    else
        no_answer(q, status);
    schedule(q->dns, q);
}

/* ---- asking ---- */

static struct dns_request *wait_for(struct dns_question *q, dns_fn done, void *arg)
{
    struct dns_request *request = mem_zalloc(sizeof(*request));

    request->done = done;
    request->arg = arg;
    list_push(&q->waiters, &request->link);
    return request;
}

/* Takes over the reference to `entry`: it is told later. */
static struct dns_request *tell_later(struct dns *dns, struct dns_entry *entry, dns_fn done,
                                      void *arg)
{
    struct dns_question *q = question_new(dns, "", 0, "");

    q->entry = entry;
    schedule(dns, q);
    return wait_for(q, done, arg);
}

static struct dns_entry *ask_stub(const char *name, unsigned type)
{
    struct tern_dns_answer answer = { 0 };
    struct dns_entry *entry = NULL;

    if (!atomic_load_explicit(&stub.on, memory_order_relaxed))
        return NULL;
    (void)pthread_mutex_lock(&stub.lock);
    if (stub.stub != NULL) {
        if (!stub.stub(stub.arg, name, type, &answer))
            answer = (struct tern_dns_answer){ .status = TERN_ABSENT, .error = "NXDOMAIN" };
        entry = dns_entry_copy(&answer);
    }
    (void)pthread_mutex_unlock(&stub.lock);
    return entry;
}

static bool bad_type(unsigned type)
{
    return type == 0 || type > UINT16_MAX || type == TYPE_OPT ||
           (type >= TYPE_META_FIRST && type <= TYPE_META_LAST);
}

static struct dns_request *ask_network(struct dns *dns, const char *name, unsigned type,
                                       const char *key, dns_fn done, void *arg)
{
    struct dns_question *q = table_get(&dns->pending, slice_cstr(key));

    if (q == NULL) {
        if (dns->questions >= DNS_QUESTIONS_MAX)
            return tell_later(dns, dns_entry_failed("", "too many questions"), done, arg);
        q = question_new(dns, name, type, key);
        q->pending = true;
        (void)table_put(&dns->pending, slice_cstr(key), q);
        schedule(dns, q);
    }
    return wait_for(q, done, arg);
}

/* "16 example.org". By hand: a warm cache is asked several times for each message. */
static void make_key(char key[DNS_KEY_MAX], unsigned type, const char *host)
{
    char digits[10];
    size_t n = 0, at = 0;

    do
        digits[n++] = (char)('0' + type % 10);
    while ((type /= 10) > 0);
    while (n > 0)
        key[at++] = digits[--n];
    key[at++] = ' ';
    memcpy(key + at, host, strlen(host) + 1); /* at most DNS_HOST_TEXT_MAX: it was put there by dns_question_name() */
}

struct dns_request *dns_ask(struct dns *dns, const char *name, unsigned type, bool inline_ok,
                            dns_fn done, void *arg)
{
    char host[DNS_HOST_TEXT_MAX + 1], key[DNS_KEY_MAX];
    struct dns_entry *entry;

    if (dns->closing)
        return tell_later(dns, dns_entry_failed("", "shutdown"), done, arg);
    if (bad_type(type) || !dns_question_name(slice_cstr(name), host))
        return tell_later(dns, dns_entry_failed("", "bad name"), done, arg);
    make_key(key, type, host);
    entry = ask_stub(host, type);
    if (entry == NULL) {
        entry = dns_cache_get(&dns->cache, key, clock_now_ms());
        metric_add(dns->hits, entry != NULL);
    }
    if (entry == NULL)
        return ask_network(dns, host, type, key, done, arg);
    if (!inline_ok)
        return tell_later(dns, entry, done, arg);
    dns->calling++;
    done(arg, &entry->answer);
    dns->calling--;
    dns_entry_unref(entry);
    return NULL;
}

struct dns_entry *dns_kept(struct dns *dns, const char *name, unsigned type)
{
    char host[DNS_HOST_TEXT_MAX + 1], key[DNS_KEY_MAX];

    if (dns->closing || atomic_load_explicit(&stub.on, memory_order_relaxed) || bad_type(type) ||
        !dns_question_name(slice_cstr(name), host))
        return NULL;
    make_key(key, type, host);
    struct dns_entry *entry = dns_cache_get(&dns->cache, key, clock_now_ms());
    metric_add(dns->hits, entry != NULL);
    return entry;
}

const struct tern_dns_answer *dns_kept_answer(const struct dns_entry *entry)
{
    return &entry->answer;
}

void dns_kept_release(struct dns_entry *entry)
{
    dns_entry_unref(entry);
}

void dns_cancel(struct dns_request *request)
{
    if (request == NULL)
        return;
    /* The question goes on: its answer will be wanted again soon enough. */
    list_remove(&request->link);
    free(request);
}

void dns_set_stub(dns_stub function, void *arg)
{
    (void)pthread_mutex_lock(&stub.lock);
    stub.stub = function;
    stub.arg = arg;
    atomic_store(&stub.on, function != NULL);
    (void)pthread_mutex_unlock(&stub.lock);
}

/* ---- the end ---- */

static void end_question(void *arg, struct slice key, void *value)
{
    struct dns *dns = arg;
    struct dns_question *q = value;

    (void)key;
    if (q->entry == NULL)
        q->entry = dns_entry_failed("", "shutdown");
    list_remove(&q->link);
    list_push(&dns->turn, &q->link);
}

void dns_free(struct dns *dns)
{
    if (dns == NULL)
        return;
    assert(dns->calling == 0);
    dns->closing = true;
    for (unsigned i = 0; i < dns->server_count; i++)
        dns_server_free(dns->servers[i]);
    list_remove(&dns->task.link);
    table_each(&dns->pending, end_question, dns);
    while (!list_empty(&dns->turn))
        question_tell(list_entry(dns->turn.next, struct dns_question, link));
    assert(dns->questions == 0);
    table_free(&dns->pending, NULL);
    dns_cache_fini(&dns->cache);
    free(dns);
}
