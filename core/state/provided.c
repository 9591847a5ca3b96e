/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provided.c - rows, threads and connections of one table that a module serves.
 *
 * A row is a key: waiting for a thread (QUEUED), with one (ASKED), or answered (KNOWN) until its
 * time is over. Who asks for a key that is QUEUED or ASKED joins its waiters, so equal questions
 * are put once. After a failure no connection is tried for a while, and what is asked
 * meanwhile fails at once: a server that is down costs nobody a thread. A failure is an answer too,
 * kept for a second, so that who was told of it finds it.
 */
#include "state/provided.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/table.h"
#include "state/snapshot.h"

#define TABLES_MAX      1000 /* of the process */
#define IDLE_S          30   /* then a thread closes its connection and goes */
#define FAILED_KEPT_MS  1000
#define PAUSE_MS_MIN    250
#define PAUSE_MS_MAX    10000
#define LOG_AGAIN_MS    60000

struct provided_conf {
    uint64_t timeout_ms;
    unsigned connections;
    uint64_t cache_s, cache_absent_s;
    unsigned cache_entries;
};

static const struct tern_option common_options[] = {
    TERN_OPTION_MS(struct provided_conf, timeout, "5s", 100, 60000,
                   "For an answer, waiting for a free connection included. Then the look-up has failed: 451."),
    TERN_OPTION_UINT(struct provided_conf, connections, "4", 1, 64, "Connections at once; made when needed."),
    TERN_OPTION_SECONDS(struct provided_conf, cache, "1m", 1, 86400, "How long an entry that was found is kept."),
    TERN_OPTION_SECONDS(struct provided_conf, cache_absent, "10s", 1, 86400,
                        "How long it is kept that there is no such entry."),
    TERN_OPTION_UINT(struct provided_conf, cache_entries, "10000", 1, 1000000,
                     "Answers kept, in at most 16 MB; the one not used for longest goes first."),
    TERN_OPTIONS_END,
};

const struct tern_option *tables_provided_options(void)
{
    return common_options;
}

struct provided_answer {
    _Atomic unsigned refs;
    enum tern_status status;
    tern_str value;
    char text[];
};

enum row_state { QUEUED, ASKED, KNOWN };

struct row {
    struct list link; /* QUEUED: in `queue`; KNOWN: in `known`, the one used last at the end */
    enum row_state state;
    struct provided_answer *answer; /* KNOWN */
    uint64_t until_ms, since_ms;    /* KNOWN; QUEUED */
    struct list waiting;            /* struct table_wait */
    struct slice key;
    char text[];
};

struct provided {
    struct list link;     /* of the process; all_lock */
    unsigned generations; /* all_lock */
    _Atomic unsigned refs; /* its place in the list, and its threads */
    uint64_t digest[2];
    struct arena arena;
    struct tern_table_provider type; /* a copy: threads may outlive the loader */
    void *options;
    struct provided_conf conf;
    char *name;
    struct metric *asked, *failed;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t filled;
    struct table rows;
    struct list queue, known;
    unsigned queued, known_count, threads, idle;
    size_t octets; /* of the rows that are KNOWN */
    bool closing;
    /* After failures: none before try_ms is asked; `pause_ms` doubles. */
    uint64_t try_ms, pause_ms, logged_ms, complained_ms;
    bool failing;
};

/* What one thread has. */
struct connection {
    void *handle;
    bool served; /* has answered before */
};

static struct list all = { &all, &all };
static unsigned all_count;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

/* Threads of all tables. They are detached: who ends the process waits for them here. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t fewer; /* by the wall clock: a bound of seconds, once in a process */
    unsigned count;
} crowd = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };

/* ---- answers ---- */

static struct provided_answer *answer_new(enum tern_status status, tern_str value)
{
    struct provided_answer *a = mem_alloc(sizeof(*a) + value.len + 1);

    atomic_init(&a->refs, 1);
    a->status = status;
    if (value.len > 0)
        memcpy(a->text, value.ptr, value.len);
    a->text[value.len] = '\0';
    a->value = (tern_str){ a->text, value.len };
    return a;
}

static struct provided_answer *answer_ref(struct provided_answer *a)
{
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

void provided_answer_release(struct provided_answer *a)
{
    if (atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1)
        free(a);
}

enum tern_status provided_answer_status(const struct provided_answer *answer)
{
    return answer->status;
}

tern_str provided_answer_value(const struct provided_answer *answer)
{
    return answer->value;
}

/* ---- rows: caller holds p->lock ---- */

static struct row *row_new(struct provided *p, struct slice key)
{
    struct row *row = mem_zalloc(sizeof(*row) + key.len + 1);

    memcpy(row->text, key.ptr, key.len);
    row->key = slice_make(row->text, key.len);
    list_init(&row->link);
    list_init(&row->waiting);
    (void)table_put(&p->rows, row->key, row);
    return row;
}

static size_t row_octets(const struct row *row)
{
    return sizeof(*row) + row->key.len + row->answer->value.len;
}

/* It is KNOWN no longer. */
static void forget_answer(struct provided *p, struct row *row)
{
    assert(row->state == KNOWN);
    p->octets -= row_octets(row);
    p->known_count--;
    list_remove(&row->link);
    provided_answer_release(row->answer);
    row->answer = NULL;
}

static void row_free(struct provided *p, struct row *row)
{
    assert(list_empty(&row->waiting));
    (void)table_remove(&p->rows, row->key);
    free(row);
}

static void make_room(struct provided *p)
{
    while (p->known_count > p->conf.cache_entries || p->octets > PROVIDED_CACHE_OCTETS) {
        struct row *oldest = list_entry(p->known.next, struct row, link);

        forget_answer(p, oldest);
        row_free(p, oldest);
    }
}

static uint64_t kept_ms(const struct provided *p, enum tern_status status)
{
    if (status == TERN_FAILED)
        return FAILED_KEPT_MS;
    return 1000 * (status == TERN_FOUND ? p->conf.cache_s : p->conf.cache_absent_s);
}

static struct row *fresh_row(struct provided *p, struct slice key)
{
    struct row *row = table_get(&p->rows, key);

    if (row == NULL || row->state != KNOWN || row->until_ms <= clock_now_ms())
        return NULL;
    list_remove(&row->link);
    list_push(&p->known, &row->link);
    return row;
}

/* ---- the life of a table ---- */

static void unref(struct provided *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct list *link = list_pop(&p->queue); link != NULL; link = list_pop(&p->queue))
        row_free(p, list_entry(link, struct row, link));
    while (!list_empty(&p->known)) {
        struct row *row = list_entry(p->known.next, struct row, link);

        forget_answer(p, row);
        row_free(p, row);
    }
    table_free(&p->rows, NULL);
    (void)pthread_mutex_destroy(&p->lock);
    (void)pthread_cond_destroy(&p->filled);
    arena_fini(&p->arena);
    free(p->name);
    free(p);
}

static struct provided *find(const uint64_t digest[2])
{
    list_each (link, &all) {
        struct provided *p = list_entry(link, struct provided, link);

        if (p->digest[0] == digest[0] && p->digest[1] == digest[1])
            return p;
    }
    return NULL;
}

static struct provided *provided_new(const struct tern_table_provider *type, const char *name)
{
    struct provided *p = mem_zalloc(sizeof(*p));
    pthread_condattr_t monotonic;

    arena_init(&p->arena);
    atomic_init(&p->refs, 1);
    p->generations = 1;
    p->type = *type;
    p->name = mem_strdup(name);
    list_init(&p->link);
    list_init(&p->queue);
    list_init(&p->known);
    table_init(&p->rows);
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&p->filled, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    const char *label = arena_printf(&p->arena, "type=\"%s\"", type->type);
    p->asked = metric_counter("tern_table_questions_total", label, "Look-ups that a server was asked.");
    p->failed = metric_counter("tern_table_failures_total", label, "Look-ups that failed.");
    return p;
}

static bool read_options(struct provided *p, const struct yaml_node *node, struct config_errors *errors)
{
    struct schema_env env = { .arena = &p->arena, .errors = errors };
    char error[PROVIDED_ERROR_OCTETS] = "";

    p->options = arena_zalloc(&p->arena, p->type.conf_size + 1);
    if (schema_parse(&env, node, node->place, p->type.options, p->options, common_options, &p->conf, NULL) < 0)
        return false;
    if (p->type.check == NULL || p->type.check(p->options, error, sizeof(error)) == 0)
        return true;
    config_error_at(errors, &node->place, "%s: %s", p->type.type, error);
    return false;
}

/* Text that is equal for equal options. Secrets are in it: wiped by the caller. */
static void describe(struct buf *out, const struct yaml_node *node)
{
    buf_printf(out, "%d %s %zu:", node->kind, node->dir != NULL ? node->dir : "", node->text.len);
    buf_add(out, node->text);
    for (unsigned i = 0; i < node->count; i++) {
        if (node->kind == YAML_MAP)
            describe(out, node->keys[i]);
        describe(out, node->items[i]);
    }
    buf_add_char(out, ')');
}

void tables_node_digest(const char *word, const struct yaml_node *node, uint64_t ret[2])
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    buf_printf(&text, "1 %s %d ", word, node->quoted);
    describe(&text, node);
    ret[0] = table_hash(buf_slice(&text));
    text.data[0] = '2'; /* SipHash gives 64 bits; two of them never meet by chance */
    ret[1] = table_hash(buf_slice(&text));
    explicit_bzero(text.data, text.len);
}

struct provided *provided_acquire(const struct tern_table_provider *type, const struct yaml_node *node,
                                  const char *name, struct config_errors *errors)
{
    uint64_t digest[2];

    tables_node_digest(type->type, node, digest);
    (void)pthread_mutex_lock(&all_lock);
    struct provided *p = find(digest);
    if (p != NULL) {
        p->generations++;
    } else if (all_count == TABLES_MAX) {
        config_error_at(errors, &node->place, "more than %d tables by modules", TABLES_MAX);
    } else {
        p = provided_new(type, name);
        memcpy(p->digest, digest, sizeof(digest));
        list_push(&all, &p->link);
        all_count++;
    }
    bool fresh = p != NULL && p->options == NULL;
    (void)pthread_mutex_unlock(&all_lock);
    /* One thread builds generations, so nobody else has found it meanwhile. */
    if (!fresh || read_options(p, node, errors))
        return p;
    provided_release(p);
    return NULL;
}

void provided_release(struct provided *p)
{
    (void)pthread_mutex_lock(&all_lock);
    bool last = --p->generations == 0;
    if (last) {
        list_remove(&p->link);
        all_count--;
    }
    (void)pthread_mutex_unlock(&all_lock);
    if (!last)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->closing = true;
    (void)pthread_cond_broadcast(&p->filled);
    (void)pthread_mutex_unlock(&p->lock);
    unref(p);
}

/* ---- asking the server: the thread of a connection ---- */

static void hang_up(struct provided *p, struct connection *c)
{
    if (c->handle != NULL)
        p->type.close(c->handle);
    *c = (struct connection){ NULL, false };
}

/* True if this is no time to try. */
static bool is_pausing(struct provided *p)
{
    (void)pthread_mutex_lock(&p->lock);
    bool pausing = clock_now_ms() < p->try_ms;
    (void)pthread_mutex_unlock(&p->lock);
    return pausing;
}

static void note_failure(struct provided *p, const char *error)
{
    (void)pthread_mutex_lock(&p->lock);
    uint64_t now = clock_now_ms();
    bool say = !p->failing || now - p->logged_ms >= LOG_AGAIN_MS;
    p->failing = true;
    p->pause_ms = p->pause_ms == 0 ? PAUSE_MS_MIN : p->pause_ms * 2;
    if (p->pause_ms > PAUSE_MS_MAX)
        p->pause_ms = PAUSE_MS_MAX;
    p->try_ms = now + p->pause_ms;
    if (say)
        p->logged_ms = now;
    (void)pthread_mutex_unlock(&p->lock);
    if (say)
        log_event(LOG_ERROR, LOG_EV_table, NULL, "%s: %s; its look-ups fail until it answers again", p->name, error);
}

static void note_success(struct provided *p)
{
    (void)pthread_mutex_lock(&p->lock);
    bool was = p->failing;
    p->failing = false;
    p->pause_ms = p->try_ms = 0;
    (void)pthread_mutex_unlock(&p->lock);
    if (was)
        log_event(LOG_INFO, LOG_EV_table, NULL, "%s: answers again", p->name);
}

/* One answer is of no use; the others may be. */
static void complain(struct provided *p, const char *error)
{
    (void)pthread_mutex_lock(&p->lock);
    uint64_t now = clock_now_ms();
    bool say = p->complained_ms == 0 || now - p->complained_ms >= LOG_AGAIN_MS;
    if (say)
        p->complained_ms = now;
    (void)pthread_mutex_unlock(&p->lock);
    if (say)
        log_event(LOG_ERROR, LOG_EV_table, NULL, "%s: %s; that look-up fails", p->name, error);
}

static int find_once(struct provided *p, struct connection *c, struct slice key, uint64_t end_ms,
                     struct tern_table_answer *ret, char *error)
{
    uint64_t now = clock_now_ms(), left = end_ms > now ? end_ms - now : 1;
    int r = 0;

    if (c->handle == NULL)
        r = p->type.open(p->options, left, &c->handle, error, PROVIDED_ERROR_OCTETS);
    now = clock_now_ms();
    left = end_ms > now ? end_ms - now : 1;
    if (r == 0)
        r = p->type.find(c->handle, (tern_str){ key.ptr, key.len }, left, ret, error, PROVIDED_ERROR_OCTETS);
    if (r == 0 && ret->status != TERN_FOUND && ret->status != TERN_ABSENT)
        r = -EIO;
    if (r == 0 && ret->status == TERN_FOUND && ret->value.len > SNAPSHOT_VALUE_OCTETS_MAX) {
        (void)snprintf(error, PROVIDED_ERROR_OCTETS, "a value has more than %d octets", SNAPSHOT_VALUE_OCTETS_MAX);
        r = -EBADMSG;
    }
    if (r == 0)
        c->served = true;
    else if (r != -EBADMSG)
        hang_up(p, c);
    return r;
}

static struct provided_answer *ask(struct provided *p, struct connection *c, struct slice key, uint64_t since_ms)
{
    static const tern_str nothing = { "", 0 };
    char error[PROVIDED_ERROR_OCTETS] = "";
    struct tern_table_answer found = { TERN_ABSENT, nothing };
    uint64_t end_ms = since_ms + p->conf.timeout_ms;

    metric_add(p->asked, 1);
    if (is_pausing(p)) {
        metric_add(p->failed, 1);
        return answer_new(TERN_FAILED, nothing);
    }
    int r = -ETIMEDOUT;
    if (clock_now_ms() >= end_ms) {
        (void)snprintf(error, sizeof(error), "no connection was free within %llu ms",
                       (unsigned long long)p->conf.timeout_ms);
        complain(p, error);
        metric_add(p->failed, 1);
        return answer_new(TERN_FAILED, nothing);
    }
    bool old = c->served;
    r = find_once(p, c, key, end_ms, &found, error);
    if (r == -ECONNRESET && old)
        r = find_once(p, c, key, end_ms, &found, error);
    if (r == 0) {
        note_success(p);
        return answer_new((enum tern_status)found.status, found.status == TERN_FOUND ? found.value : nothing);
    }
    metric_add(p->failed, 1);
    if (error[0] == '\0')
        (void)snprintf(error, sizeof(error), "%s", strerror(-r));
    if (r == -EBADMSG)
        complain(p, error);
    else
        note_failure(p, error);
    return answer_new(TERN_FAILED, nothing);
}

static void tell(struct list *waiting, struct provided_answer *answer)
{
    for (struct list *link = list_pop(waiting); link != NULL; link = list_pop(waiting)) {
        struct table_wait *wait = list_entry(link, struct table_wait, link);

        wait->done(wait, answer->status, answer->value, tables_hold_of(answer_ref(answer)));
    }
}

/* Puts the answer into the row and tells who waits. Gives the lock back meanwhile. */
static void settle(struct provided *p, struct row *row, struct provided_answer *answer)
{
    struct list waiting;

    list_init(&waiting);
    list_splice(&waiting, &row->waiting);
    row->state = KNOWN;
    row->answer = answer_ref(answer);
    row->until_ms = clock_now_ms() + kept_ms(p, answer->status);
    list_push(&p->known, &row->link);
    p->known_count++;
    p->octets += row_octets(row);
    make_room(p);
    (void)pthread_mutex_unlock(&p->lock);
    tell(&waiting, answer);
    provided_answer_release(answer);
    (void)pthread_mutex_lock(&p->lock);
}

/* The next question, or NULL: the thread shall go. Caller holds p->lock. */
static struct row *next_row(struct provided *p)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    p->idle++;
    while (list_empty(&p->queue) && !p->closing)
        if (pthread_cond_timedwait(&p->filled, &p->lock, &until) != 0)
            break;
    p->idle--;
    struct list *first = p->closing ? NULL : list_pop(&p->queue);
    if (first == NULL)
        return NULL;
    p->queued--;
    struct row *row = list_entry(first, struct row, link);
    row->state = ASKED;
    return row;
}

static void join_crowd(int by)
{
    (void)pthread_mutex_lock(&crowd.lock);
    crowd.count += (unsigned)by;
    (void)pthread_cond_broadcast(&crowd.fewer);
    (void)pthread_mutex_unlock(&crowd.lock);
}

unsigned provided_wait(unsigned wait_ms)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&crowd.lock);
    while (crowd.count > 0 && pthread_cond_timedwait(&crowd.fewer, &crowd.lock, &until) == 0)
        ;
    unsigned left = crowd.count;
    (void)pthread_mutex_unlock(&crowd.lock);
    return left;
}

static void *thread_main(void *arg)
{
    struct provided *p = arg;
    struct connection c = { NULL, false };

    (void)pthread_mutex_lock(&p->lock);
    for (struct row *row = next_row(p); row != NULL; row = next_row(p)) {
        (void)pthread_mutex_unlock(&p->lock);
        struct provided_answer *answer = ask(p, &c, row->key, row->since_ms);
        (void)pthread_mutex_lock(&p->lock);
        settle(p, row, answer);
    }
    p->threads--;
    (void)pthread_mutex_unlock(&p->lock);
    hang_up(p, &c);
    unref(p);
    join_crowd(-1);
    return NULL;
}

/* Caller holds p->lock. False: nobody will ever take the question. */
static bool wake_a_thread(struct provided *p)
{
    pthread_attr_t detached;
    pthread_t thread;

    if (p->idle >= p->queued || p->threads >= p->conf.connections) {
        (void)pthread_cond_signal(&p->filled);
        return true;
    }
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    join_crowd(1);
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    int r = pthread_create(&thread, &detached, thread_main, p);
    (void)pthread_attr_destroy(&detached);
    if (r == 0) {
        p->threads++;
        return true;
    }
    join_crowd(-1);
    atomic_fetch_sub_explicit(&p->refs, 1, memory_order_relaxed); /* ours is not the last */
    return p->threads > 0;
}

/* ---- the door ---- */

int provided_peek(struct provided *p, struct slice key, struct provided_answer **ret)
{
    (void)pthread_mutex_lock(&p->lock);
    struct row *row = fresh_row(p, key);
    if (row != NULL)
        *ret = answer_ref(row->answer);
    (void)pthread_mutex_unlock(&p->lock);
    return row != NULL ? 0 : -EAGAIN;
}

/* Caller holds p->lock. False: there is no room. */
static bool enqueue(struct provided *p, struct slice key, struct table_wait *wait)
{
    struct row *row = table_get(&p->rows, key);

    if (row != NULL && row->state != KNOWN) {
        list_push(&row->waiting, &wait->link);
        return true;
    }
    if (p->queued >= PROVIDED_QUEUE_MAX)
        return false;
    if (row != NULL)
        forget_answer(p, row);
    else
        row = row_new(p, key);
    row->state = QUEUED;
    row->since_ms = clock_now_ms();
    list_push(&p->queue, &row->link);
    p->queued++;
    list_push(&row->waiting, &wait->link);
    if (wake_a_thread(p))
        return true;
    list_remove(&wait->link);
    list_remove(&row->link);
    p->queued--;
    row_free(p, row);
    return false;
}

void provided_ask(struct provided *p, struct slice key, struct table_wait *wait)
{
    struct provided_answer *answer = NULL;

    (void)pthread_mutex_lock(&p->lock);
    struct row *row = fresh_row(p, key);
    bool waits = row == NULL && enqueue(p, key, wait);
    if (row != NULL)
        answer = answer_ref(row->answer);
    (void)pthread_mutex_unlock(&p->lock);
    if (waits)
        return;
    if (answer == NULL) {
        complain(p, "too many look-ups wait");
        metric_add(p->failed, 1);
        answer = answer_new(TERN_FAILED, (tern_str){ "", 0 });
    }
    wait->done(wait, answer->status, answer->value, tables_hold_of(answer));
}
