/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.c - the key-value table in memory, in shards with a lock each, and the thread that
 * expires its entries and hands changes down to the store.
 *
 * Memory is the truth while the process runs; the store is a copy that is at most a second or
 * two behind. So no answer waits for a disk, and a store that fails costs durability, never
 * an answer: what could not be written stays marked and is tried again.
 *
 * A changed entry hangs in its shard's list `dirty`. A removed one leaves the table at
 * once; if there is a store its key waits in the list `gone`. Removals are written before
 * the entries of the same shard, so a key that was removed and put again ends up there.
 */
#include "state/kv.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/table.h"

#define SHARDS_MAX        64
#define SHARD_ENTRIES_MIN 64  /* fewer shards rather than smaller ones */
#define ENTRY_OCTETS_MEAN 512 /* a shard holds at most this times its entries */
#define EVICT_SAMPLE      8
#define ROWS_MIN          16
#define GONE_MAX          65536 /* removals of all shards that wait for a store which fails */
#define BATCH_CHANGES     1024
#define BATCH_OCTETS      (1u << 20)
#define FLUSH_EVERY_MS    1000
#define SWEEP_SHARE       60 /* each second one 60th of the rows is looked at for expired entries */
#define SMALL_VALUE       512

struct entry {
    struct entry *next; /* in its row, or in `gone` */
    struct list dirty;  /* linked to itself unless in shard->dirty */
    uint64_t hash;
    uint64_t expires_ms; /* wall clock; UINT64_MAX: never */
    int64_t number;
    char *value; /* with a NUL behind; NULL: empty */
    uint32_t value_octets;
    uint32_t key_octets;
    char key[]; /* space NUL key */
};

struct shard {
    pthread_mutex_t lock;
    struct entry **rows;
    size_t row_count, count, octets;
    size_t swept; /* row where the next sweep begins */
    uint64_t random;
    struct list dirty;
    struct entry *gone;
    size_t gone_count;
};

struct kv {
    struct shard shards[SHARDS_MAX];
    unsigned shard_count;
    size_t shard_entries_max, shard_octets_max, shard_gone_max;
    const struct tern_kv_store *store_type;
    void *store;
    pthread_t thread;
    pthread_mutex_t wake_lock;
    pthread_cond_t wake;
    bool closing; /* wake_lock */
    bool hurry;   /* wake_lock */
    bool failing; /* flush thread only: the last write failed */
    struct metric *ops[5], *entries, *evicted, *expired, *lost, *writes, *failures;
};

struct batch {
    struct tern_kv_change changes[BATCH_CHANGES];
    size_t count, octets;
};

static const char *const op_names[] = { "get", "put", "put_new", "add", "remove" };

/* ---- keys -------------------------------------------------------------------------- */

/*
 * Space and key as one, a NUL between: no space holds NUL, so two pairs never meet.
 * False: too long.
 */
static bool join_key(const struct kv_request *r, char key[KV_KEY_OCTETS_MAX], struct slice *ret)
{
    size_t octets = r->space.len + 1 + r->key.len;

    if (r->key.len == 0 || r->key.len > KV_KEY_OCTETS_MAX || r->space.len >= KV_KEY_OCTETS_MAX ||
        octets > KV_KEY_OCTETS_MAX || slice_find(r->space, '\0') >= 0)
        return false;
    if (r->space.len > 0)
        memcpy(key, r->space.ptr, r->space.len);
    key[r->space.len] = '\0';
    memcpy(key + r->space.len + 1, r->key.ptr, r->key.len);
    *ret = slice_make(key, octets);
    return true;
}

static struct shard *shard_of(struct kv *kv, uint64_t hash)
{
    return &kv->shards[(hash >> 32) & (kv->shard_count - 1)];
}

static uint64_t expires_at(uint64_t now_ms, uint64_t expire_s)
{
    uint64_t ms;

    if (expire_s == 0 || __builtin_mul_overflow(expire_s, 1000, &ms) ||
        __builtin_add_overflow(ms, now_ms, &ms))
        return UINT64_MAX;
    return ms;
}

/* ---- rows of a shard; the caller holds its lock --------------------------------------- */

static size_t entry_octets(const struct entry *e)
{
    return e->key_octets + e->value_octets;
}

static struct entry **find(const struct shard *s, struct slice key, uint64_t hash)
{
    struct entry **at = &s->rows[hash & (s->row_count - 1)];

    while (*at != NULL &&
           ((*at)->hash != hash || !slice_equal(slice_make((*at)->key, (*at)->key_octets), key)))
        at = &(*at)->next;
    return at;
}

static void grow(struct shard *s)
{
    size_t row_count = s->row_count * 2;
    struct entry **rows = mem_zalloc(row_count * sizeof(rows[0]));

    for (size_t i = 0; i < s->row_count; i++) {
        for (struct entry *e = s->rows[i]; e != NULL;) {
            struct entry *next = e->next;
            e->next = rows[e->hash & (row_count - 1)];
            rows[e->hash & (row_count - 1)] = e;
            e = next;
        }
    }
    free(s->rows);
    s->rows = rows;
    s->row_count = row_count;
}

static void entry_free(struct entry *e)
{
    free(e->value);
    free(e);
}

static void mark(struct kv *kv, struct shard *s, struct entry *e)
{
    if (kv->store != NULL && list_empty(&e->dirty))
        list_push(&s->dirty, &e->dirty);
}

/*
 * Another removal for the store. Past the bound it is forgotten: after a restart the
 * entry is there again.
 */
static void add_gone(struct kv *kv, struct shard *s, struct entry *e)
{
    free(e->value);
    e->value = NULL;
    if (s->gone_count >= kv->shard_gone_max) {
        metric_add(kv->lost, 1);
        entry_free(e);
        return;
    }
    e->next = s->gone;
    s->gone = e;
    s->gone_count++;
}

static void drop(struct kv *kv, struct shard *s, struct entry **at)
{
    struct entry *e = *at;

    *at = e->next;
    list_remove(&e->dirty);
    s->count--;
    s->octets -= entry_octets(e);
    metric_shift(kv->entries, -1);
    if (kv->store != NULL)
        add_gone(kv, s, e);
    else
        entry_free(e);
}

static uint64_t next_random(struct shard *s)
{
    s->random ^= s->random << 13; /* xorshift: good enough to choose victims */
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

/* Of a few entries from some row on, the one that expires first goes. */
static void evict(struct kv *kv, struct shard *s, const struct entry *keep)
{
    size_t row = next_random(s) & (s->row_count - 1);
    struct entry **victim = NULL;
    unsigned seen = 0;

    for (size_t i = 0; i < s->row_count && seen < EVICT_SAMPLE;
         i++, row = (row + 1) & (s->row_count - 1)) {
        for (struct entry **at = &s->rows[row]; *at != NULL; at = &(*at)->next) {
            if (*at == keep)
                continue;
            if (victim == NULL || (*at)->expires_ms < (*victim)->expires_ms)
                victim = at;
            seen++;
        }
    }
    if (victim == NULL)
        return;
    metric_add(kv->evicted, 1);
    drop(kv, s, victim);
}

/* Makes room for one entry more, or for `keep` having grown. */
static void make_room(struct kv *kv, struct shard *s, size_t more_entries, size_t more_octets,
                      const struct entry *keep)
{
    while (s->count > 0 && (s->count + more_entries > kv->shard_entries_max ||
                            s->octets + more_octets > kv->shard_octets_max)) {
        size_t before = s->count;
        evict(kv, s, keep);
        if (s->count == before)
            return; /* `keep` alone is left */
    }
}

static struct entry *insert(struct kv *kv, struct shard *s, struct slice key, uint64_t hash)
{
    struct entry *e = mem_zalloc(sizeof(*e) + key.len);

    make_room(kv, s, 1, key.len, NULL);
    if (s->count >= s->row_count)
        grow(s);
    list_init(&e->dirty);
    e->hash = hash;
    e->key_octets = (uint32_t)key.len;
    memcpy(e->key, key.ptr, key.len);
    struct entry **row = &s->rows[hash & (s->row_count - 1)];
    e->next = *row;
    *row = e;
    s->count++;
    s->octets += key.len;
    metric_shift(kv->entries, 1);
    return e;
}

static void set_value(struct kv *kv, struct shard *s, struct entry *e, struct slice value)
{
    s->octets -= e->value_octets;
    free(e->value);
    e->value = value.len > 0 ? mem_dup(value.ptr, value.len) : NULL;
    e->value_octets = (uint32_t)value.len;
    make_room(kv, s, 0, value.len, e);
    s->octets += value.len;
}

/* ---- operations; the caller holds the shard's lock -------------------------------------- */

static int64_t add_saturating(int64_t a, int64_t b)
{
    int64_t sum;

    if (!__builtin_add_overflow(a, b, &sum))
        return sum;
    return b > 0 ? INT64_MAX : INT64_MIN;
}

/*
 * What a request does to the entry `e` (NULL: not there). Returns the entry that the
 * answer shows.
 */
static struct entry *apply(struct kv *kv, struct shard *s, const struct kv_request *r,
                           struct slice key, uint64_t hash, struct entry *e, uint64_t now_ms)
{
    bool was_there = e != NULL;

    if (r->op == KV_GET || (r->op == KV_PUT_NEW && was_there))
        return e;
    if (!was_there) {
        e = insert(kv, s, key, hash);
        e->expires_ms = expires_at(now_ms, r->expire_s);
    }
    if (r->op == KV_ADD) {
        e->number = add_saturating(e->number, r->number);
    } else {
        e->number = r->number;
        e->expires_ms = expires_at(now_ms, r->expire_s);
        set_value(kv, s, e, r->value);
    }
    mark(kv, s, e);
    return r->op == KV_PUT_NEW ? NULL : e; /* it answers what was there before: nothing */
}

/* A copy of the value, so that `done` runs without the lock. */
static char *copy_value(const struct entry *e, char small[SMALL_VALUE])
{
    char *copy = e->value_octets < SMALL_VALUE ? small : mem_alloc(e->value_octets + 1);

    if (e->value_octets > 0)
        memcpy(copy, e->value, e->value_octets);
    copy[e->value_octets] = '\0';
    return copy;
}

void kv_do(struct kv *kv, const struct kv_request *r, kv_fn done, void *arg)
{
    struct tern_kv_answer answer = { .status = TERN_FAILED, .value = { "", 0 } };
    char key_octets[KV_KEY_OCTETS_MAX], small[SMALL_VALUE];
    char *value = small;
    struct slice key;

    assert((unsigned)r->op <= KV_REMOVE);
    metric_add(kv->ops[r->op], 1);
    if (!join_key(r, key_octets, &key) || r->value.len > KV_VALUE_OCTETS_MAX) {
        done(arg, &answer);
        return;
    }
    uint64_t hash = table_hash(key);
    struct shard *s = shard_of(kv, hash);
    uint64_t now_ms = clock_wall_ms();
    (void)pthread_mutex_lock(&s->lock);
    struct entry **at = find(s, key, hash);
    if (*at != NULL && (*at)->expires_ms <= now_ms) {
        metric_add(kv->expired, 1);
        drop(kv, s, at);
        at = find(s, key, hash);
    }
    struct entry *e = r->op == KV_REMOVE ? *at : apply(kv, s, r, key, hash, *at, now_ms);
    answer.status = e != NULL ? TERN_FOUND : TERN_ABSENT;
    if (e != NULL) {
        answer.number = e->number;
        value = copy_value(e, small);
        answer.value = (tern_str){ value, e->value_octets };
    }
    if (r->op == KV_REMOVE && e != NULL)
        drop(kv, s, at);
    bool hurry = s->gone_count == kv->shard_gone_max / 2;
    (void)pthread_mutex_unlock(&s->lock);
    if (hurry) {
        (void)pthread_mutex_lock(&kv->wake_lock);
        kv->hurry = true;
        (void)pthread_cond_signal(&kv->wake);
        (void)pthread_mutex_unlock(&kv->wake_lock);
    }
    done(arg, &answer);
    if (value != small)
        free(value);
}

uint64_t kv_count(const struct kv *kv)
{
    struct kv *open = (struct kv *)(uintptr_t)kv; /* the locks change, the contents do not */
    uint64_t count = 0;

    for (unsigned i = 0; i < open->shard_count; i++) {
        (void)pthread_mutex_lock(&open->shards[i].lock);
        count += open->shards[i].count;
        (void)pthread_mutex_unlock(&open->shards[i].lock);
    }
    return count;
}

/* ---- the store ---------------------------------------------------------------------------- */

static void batch_add(struct batch *b, const struct entry *e, bool remove)
{
    struct tern_kv_change *c = &b->changes[b->count++];

    *c = (struct tern_kv_change){ .key = { mem_dup(e->key, e->key_octets), e->key_octets },
                                  .value = { "", 0 } };
    b->octets += e->key_octets;
    if (remove)
        return;
    c->number = e->number;
    c->expires_ms = e->expires_ms;
    if (e->value_octets > 0)
        c->value = (tern_str){ mem_dup(e->value, e->value_octets), e->value_octets };
    b->octets += e->value_octets;
}

static bool batch_full(const struct batch *b)
{
    return b->count == BATCH_CHANGES || b->octets >= BATCH_OCTETS;
}

static void batch_free(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        free((char *)(uintptr_t)b->changes[i].key.ptr);
        if (b->changes[i].value.len > 0)
            free((char *)(uintptr_t)b->changes[i].value.ptr);
    }
    b->count = b->octets = 0;
}

/* Takes changes of one shard; true: more are waiting. */
static bool take_changes(struct shard *s, struct batch *b)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->gone != NULL && !batch_full(b)) {
        struct entry *e = s->gone;
        s->gone = e->next;
        s->gone_count--;
        batch_add(b, e, true);
        entry_free(e);
    }
    while (!list_empty(&s->dirty) && !batch_full(b)) {
        struct entry *e = list_entry(list_pop(&s->dirty), struct entry, dirty);
        batch_add(b, e, false);
    }
    bool more = s->gone != NULL || !list_empty(&s->dirty);
    (void)pthread_mutex_unlock(&s->lock);
    return more;
}

/* The store did not take it: mark it all again, unless it has changed since (and so is marked). */
static void put_back(struct kv *kv, const struct batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct tern_kv_change *c = &b->changes[i];
        struct slice key = { c->key.ptr, c->key.len };
        uint64_t hash = table_hash(key);
        struct shard *s = shard_of(kv, hash);
        (void)pthread_mutex_lock(&s->lock);
        struct entry *e = *find(s, key, hash);
        if (e != NULL) {
            mark(kv, s, e);
        } else {
            e = mem_zalloc(sizeof(*e) + key.len);
            e->key_octets = (uint32_t)key.len;
            memcpy(e->key, key.ptr, key.len);
            add_gone(kv, s, e);
        }
        (void)pthread_mutex_unlock(&s->lock);
    }
}

static bool write_batch(struct kv *kv, struct batch *b)
{
    if (b->count == 0)
        return true;
    int r = kv->store_type->write(kv->store, b->changes, b->count);
    if (r < 0) {
        metric_add(kv->failures, 1);
        if (!kv->failing)
            log_event(LOG_ERROR, LOG_EV_kv, NULL, "%s cannot write: %s; trying again each second",
                      kv->store_type->type, strerror(-r));
        put_back(kv, b);
    } else {
        metric_add(kv->writes, b->count);
        if (kv->failing)
            log_event(LOG_INFO, LOG_EV_kv, NULL, "%s writes again", kv->store_type->type);
    }
    kv->failing = r < 0;
    batch_free(b);
    return r >= 0;
}

/* All that waits, in batches; ends at the first that fails. */
static void flush(struct kv *kv, struct batch *b)
{
    for (unsigned i = 0; kv->store != NULL && i < kv->shard_count; i++) {
        bool more = true;
        while (more) {
            more = take_changes(&kv->shards[i], b);
            if (batch_full(b) && !write_batch(kv, b))
                return;
        }
    }
    if (kv->store != NULL)
        (void)write_batch(kv, b);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void sweep(struct kv *kv, struct shard *s, uint64_t now_ms)
{
    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->row_count / SWEEP_SHARE + 1; i++) {
        s->swept = (s->swept + 1) & (s->row_count - 1);
        for (struct entry **at = &s->rows[s->swept]; *at != NULL;) {
            if ((*at)->expires_ms > now_ms) {
                at = &(*at)->next;
                continue;
            }
            metric_add(kv->expired, 1);
            drop(kv, s, at);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* True: closing. */
static bool wait_a_second(struct kv *kv)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += FLUSH_EVERY_MS / 1000;
    (void)pthread_mutex_lock(&kv->wake_lock);
    while (!kv->closing && !kv->hurry)
        if (pthread_cond_timedwait(&kv->wake, &kv->wake_lock, &until) != 0)
            break;
    bool closing = kv->closing;
    kv->hurry = false;
    (void)pthread_mutex_unlock(&kv->wake_lock);
    return closing;
}

static void *run(void *arg)
{
    struct kv *kv = arg;
    struct batch *b = mem_zalloc(sizeof(*b));

    while (!wait_a_second(kv)) {
        for (unsigned i = 0; i < kv->shard_count; i++)
            sweep(kv, &kv->shards[i], clock_wall_ms());
        flush(kv, b);
    }
    flush(kv, b);
    free(b);
    return NULL;
}

/* ---- open and close ---- */

static void load_one(void *arg, const struct tern_kv_change *c)
{
    struct kv *kv = arg;
    struct slice key = { c->key.ptr, c->key.len };

    if (key.len == 0 || key.len > KV_KEY_OCTETS_MAX || c->value.len > KV_VALUE_OCTETS_MAX ||
        c->expires_ms <= clock_wall_ms())
        return;
    uint64_t hash = table_hash(key);
    struct shard *s = shard_of(kv, hash);
    (void)pthread_mutex_lock(&s->lock);
    struct entry *e = *find(s, key, hash);
    if (e == NULL)
        e = insert(kv, s, key, hash);
    e->number = c->number;
    e->expires_ms = c->expires_ms;
    set_value(kv, s, e, slice_make(c->value.ptr, c->value.len));
    (void)pthread_mutex_unlock(&s->lock);
}

static void make_metrics(struct kv *kv)
{
    for (size_t i = 0; i < sizeof(op_names) / sizeof(op_names[0]); i++) {
        char label[32];
        (void)snprintf(label, sizeof(label), "op=\"%s\"", op_names[i]);
        kv->ops[i] = metric_counter("tern_kv_ops_total", label, "Requests to the key-value table.");
    }
    kv->entries = metric_gauge("tern_kv_entries", "", "Entries of the key-value table.");
    kv->evicted = metric_counter("tern_kv_evicted_total", "",
                                 "Entries that went because the table was full.");
    kv->expired = metric_counter("tern_kv_expired_total", "", "Entries that expired.");
    kv->lost =
        metric_counter("tern_kv_removals_lost_total", "", "Removals a failing store never saw.");
    kv->writes = metric_counter("tern_kv_store_changes_total", "", "Changes written to the store.");
    kv->failures =
        metric_counter("tern_kv_store_failures_total", "", "Batches the store did not take.");
}

static struct kv *kv_new(uint64_t entries_max)
{
    struct kv *kv = mem_zalloc(sizeof(*kv));
    struct slice seed = { (const char *)&kv, sizeof(kv) };

    kv->shard_count = 1;
    while (kv->shard_count < SHARDS_MAX && entries_max / (kv->shard_count * 2) >= SHARD_ENTRIES_MIN)
        kv->shard_count *= 2;
    kv->shard_entries_max = entries_max / kv->shard_count;
    kv->shard_gone_max = GONE_MAX / kv->shard_count;
    kv->shard_octets_max = kv->shard_entries_max * ENTRY_OCTETS_MEAN;
    if (kv->shard_octets_max < 2 * (KV_KEY_OCTETS_MAX + KV_VALUE_OCTETS_MAX))
        kv->shard_octets_max = 2 * (KV_KEY_OCTETS_MAX + KV_VALUE_OCTETS_MAX);
    for (unsigned i = 0; i < kv->shard_count; i++) {
        struct shard *s = &kv->shards[i];
        (void)pthread_mutex_init(&s->lock, NULL);
        s->row_count = ROWS_MIN;
        s->rows = mem_zalloc(ROWS_MIN * sizeof(s->rows[0]));
        s->random = (table_hash(seed) + i) | 1;
        list_init(&s->dirty);
    }
    make_metrics(kv);
    return kv;
}

static void kv_free(struct kv *kv)
{
    for (unsigned i = 0; i < kv->shard_count; i++) {
        struct shard *s = &kv->shards[i];
        for (size_t row = 0; row < s->row_count; row++) {
            for (struct entry *e = s->rows[row]; e != NULL;) {
                struct entry *next = e->next;
                entry_free(e);
                e = next;
            }
        }
        for (struct entry *e = s->gone; e != NULL;) {
            struct entry *next = e->next;
            entry_free(e);
            e = next;
        }
        metric_shift(kv->entries, -(int64_t)s->count);
        free(s->rows);
        (void)pthread_mutex_destroy(&s->lock);
    }
    free(kv);
}

static int open_store(struct kv *kv, const struct tern_kv_store *type, const void *conf,
                      char *error, size_t error_octets)
{
    error[0] = '\0';
    int r = type->open(conf, &kv->store, error, error_octets);
    if (r < 0) {
        if (error[0] == '\0')
            (void)snprintf(error, error_octets, "%s cannot be opened: %s", type->type,
                           strerror(-r));
        return r;
    }
    kv->store_type = type;
    r = type->load(kv->store, load_one, kv);
    if (r < 0) {
        (void)snprintf(error, error_octets, "%s cannot be read: %s", type->type, strerror(-r));
        type->close(kv->store);
        kv->store = NULL;
    }
    return r;
}

int kv_open(const struct tern_kv_store *store, const void *conf, uint64_t entries_max,
            struct kv **ret, char *error, size_t error_octets)
{
    pthread_condattr_t monotonic;

    assert(entries_max > 0 && error_octets > 0);
    struct kv *kv = kv_new(entries_max);
    int r = store != NULL ? open_store(kv, store, conf, error, error_octets) : 0;
    if (r < 0) {
        kv_free(kv);
        return r;
    }
    (void)pthread_mutex_init(&kv->wake_lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&kv->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    r = -pthread_create(&kv->thread, NULL, run, kv);
    if (r < 0) {
        (void)snprintf(error, error_octets, "no thread for the key-value table: %s", strerror(-r));
        if (kv->store != NULL)
            store->close(kv->store);
        kv_free(kv);
        return r;
    }
    *ret = kv;
    return 0;
}

void kv_close(struct kv *kv)
{
    if (kv == NULL)
        return;
    (void)pthread_mutex_lock(&kv->wake_lock);
    kv->closing = true;
    (void)pthread_cond_signal(&kv->wake);
    (void)pthread_mutex_unlock(&kv->wake_lock);
    (void)pthread_join(kv->thread, NULL);
    if (kv->store != NULL)
        kv->store_type->close(kv->store);
    (void)pthread_cond_destroy(&kv->wake);
    (void)pthread_mutex_destroy(&kv->wake_lock);
    kv_free(kv);
}
