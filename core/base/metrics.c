/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum kind { COUNTER, GAUGE, HISTOGRAM };

static const uint64_t bucket_us[] = { 50,     100,    250,    500,     1000,    2500,     5000,    10000,
                                      25000,  50000,  100000, 250000,  500000,  1000000,  2500000, 10000000,
                                      60000000 };
#define BUCKETS (sizeof(bucket_us) / sizeof(bucket_us[0]))

#define SECOND_US UINT64_C(1000000)
#define HOUR_US   (3600 * SECOND_US)
static const uint64_t slow_us[] = { SECOND_US / 10, SECOND_US / 2, SECOND_US,      5 * SECOND_US,  15 * SECOND_US,
                                    60 * SECOND_US, 300 * SECOND_US, 900 * SECOND_US, HOUR_US,      4 * HOUR_US,
                                    12 * HOUR_US,   24 * HOUR_US,  48 * HOUR_US,   120 * HOUR_US };

struct metric {
    struct metric *next; /* of the same family, or the next family's first */
    char *name, *labels, *help;
    enum kind kind;
    _Atomic int64_t value; /* HISTOGRAM: the sum in us */
    const uint64_t *bounds; /* HISTOGRAM, in us */
    size_t bound_count;
    _Atomic uint64_t *buckets;
    _Atomic uint64_t count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *first;
static unsigned series;

static struct metric *find(const char *name, const char *labels)
{
    for (struct metric *m = first; m != NULL; m = m->next)
        if (strcmp(m->name, name) == 0 && strcmp(m->labels, labels) == 0)
            return m;
    return NULL;
}

/* Members of a family stand together: Prometheus wants one HELP and TYPE before all of them. */
static void insert(struct metric *m)
{
    struct metric **at = &first;

    while (*at != NULL && strcmp((*at)->name, m->name) != 0)
        at = &(*at)->next;
    while (*at != NULL && strcmp((*at)->name, m->name) == 0)
        at = &(*at)->next;
    m->next = *at;
    *at = m;
}

static struct metric *get(enum kind kind, const char *name, const char *labels, const char *help)
{
    (void)pthread_mutex_lock(&lock);
    struct metric *m = find(name, labels);
    if (m == NULL && series >= METRIC_SERIES_MAX) {
        name = "tern_metrics_overflow_total";
        m = find(name, labels = "");
        kind = COUNTER;
    }
    if (m == NULL) {
        m = mem_zalloc(sizeof(*m));
        m->name = mem_strdup(name);
        m->labels = mem_strdup(labels);
        m->help = mem_strdup(help);
        m->kind = kind;
        insert(m);
        series++;
    }
    (void)pthread_mutex_unlock(&lock);
    return m;
}

struct metric *metric_counter(const char *name, const char *labels, const char *help)
{
    return get(COUNTER, name, labels, help);
}

struct metric *metric_gauge(const char *name, const char *labels, const char *help)
{
    return get(GAUGE, name, labels, help);
}

/* Bounds are those of whoever made it. */
static struct metric *histogram(const char *name, const char *labels, const char *help,
                                const uint64_t *bounds, size_t count)
{
    struct metric *m = get(HISTOGRAM, name, labels, help);

    (void)pthread_mutex_lock(&lock);
    if (m->kind == HISTOGRAM && m->buckets == NULL) {
        m->bounds = bounds;
        m->bound_count = count;
        m->buckets = mem_zalloc(sizeof(m->buckets[0]) * count);
    }
    (void)pthread_mutex_unlock(&lock);
    return m;
}

struct metric *metric_histogram(const char *name, const char *labels, const char *help)
{
    return histogram(name, labels, help, bucket_us, BUCKETS);
}

struct metric *metric_histogram_slow(const char *name, const char *labels, const char *help)
{
    return histogram(name, labels, help, slow_us, sizeof(slow_us) / sizeof(slow_us[0]));
}

void metric_add(struct metric *m, uint64_t amount)
{
    if (m != NULL)
        atomic_fetch_add_explicit(&m->value, (int64_t)amount, memory_order_relaxed);
}

void metric_set(struct metric *m, int64_t value)
{
    if (m != NULL)
        atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

void metric_shift(struct metric *m, int64_t delta)
{
    if (m != NULL)
        atomic_fetch_add_explicit(&m->value, delta, memory_order_relaxed);
}

void metric_observe_us(struct metric *m, uint64_t us)
{
    if (m == NULL || m->kind != HISTOGRAM)
        return;
    for (size_t i = 0; i < m->bound_count; i++) {
        if (us <= m->bounds[i]) {
            atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
            break;
        }
    }
    atomic_fetch_add_explicit(&m->value, (int64_t)us, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->count, 1, memory_order_relaxed);
}

uint64_t metric_value(const struct metric *m)
{
    return m != NULL ? (uint64_t)atomic_load_explicit(&m->value, memory_order_relaxed) : 0;
}

static void print_histogram(struct buf *out, const struct metric *m)
{
    const char *comma = m->labels[0] != '\0' ? "," : "";
    uint64_t sum = 0;
    uint64_t count = atomic_load(&m->count);

    for (size_t i = 0; i < m->bound_count; i++) {
        sum += atomic_load(&m->buckets[i]);
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", m->name, m->labels, comma,
                   (double)m->bounds[i] / 1e6, (unsigned long long)sum);
    }
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", m->name, m->labels, comma,
               (unsigned long long)count);
    buf_printf(out, "%s_sum{%s} %.6f\n", m->name, m->labels, (double)metric_value(m) / 1e6);
    buf_printf(out, "%s_count{%s} %llu\n", m->name, m->labels, (unsigned long long)count);
}

void metrics_print(struct buf *out)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    const char *family = "";

    (void)pthread_mutex_lock(&lock);
    for (const struct metric *m = first; m != NULL; m = m->next) {
        if (strcmp(family, m->name) != 0)
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, kinds[m->kind]);
        family = m->name;
        if (m->kind == HISTOGRAM)
            print_histogram(out, m);
        else if (m->labels[0] != '\0')
            buf_printf(out, "%s{%s} %lld\n", m->name, m->labels, (long long)metric_value(m));
        else
            buf_printf(out, "%s %lld\n", m->name, (long long)metric_value(m));
    }
    (void)pthread_mutex_unlock(&lock);
}
