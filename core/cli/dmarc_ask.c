/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_ask.c - where the reports of all domains go: several are asked about at a time, each on a thread with a
 * loop and a resolver of its own, so that name servers that are dead hold nobody else's reports.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "cli/dmarc_send.h"

struct questions {
    const struct dmarc_config *config;
    const struct dmarc_days *days;
    dmarc_found_fn done;
    void *arg;
    pthread_mutex_t lock; /* for what is below, and while `done` runs */
    size_t at;            /* the next domain's first line */
    int error;            /* a resolver could not be made */
};

static bool next(struct questions *q, const struct dmarc_line **ret, size_t *ret_count)
{
    (void)pthread_mutex_lock(&q->lock);
    bool more = q->error == 0 && q->at < q->days->line_count;
    if (more) {
        *ret = q->days->lines + q->at;
        *ret_count = dmarc_days_domain(q->days, q->at);
        q->at += *ret_count;
    }
    (void)pthread_mutex_unlock(&q->lock);
    return more;
}

static void *work(void *arg)
{
    struct questions *q = arg;
    struct dmarc_asker asker = { .loop = loop_new(0) };
    const struct dmarc_line *lines;
    struct dmarc_where where;
    size_t count;
    int r = dmarc_config_dns(q->config, asker.loop, &asker.dns);

    while (r == 0 && next(q, &lines, &count)) {
        asker.until_ms = clock_now_ms() + DMARC_LOOKUP_MS;
        enum dmarc_found found = dmarc_where_ask(&asker, lines[0].is.domain, &where);
        (void)pthread_mutex_lock(&q->lock);
        q->done(q->arg, lines, count, found, &where);
        (void)pthread_mutex_unlock(&q->lock);
        dmarc_where_free(&where);
    }
    if (r < 0) {
        (void)pthread_mutex_lock(&q->lock);
        q->error = r;
        (void)pthread_mutex_unlock(&q->lock);
    }
    dns_free(asker.dns);
    loop_free(asker.loop);
    return NULL;
}

/* One thread for each domain, up to the bound. */
static unsigned askers(const struct dmarc_days *days)
{
    unsigned count = 0;

    for (size_t at = 0; at < days->line_count && count < DMARC_ASKERS_MAX; count++)
        at += dmarc_days_domain(days, at);
    return count;
}

int dmarc_ask_all(const struct dmarc_config *config, const struct dmarc_days *days, dmarc_found_fn done, void *arg)
{
    struct questions q = { .config = config, .days = days, .done = done, .arg = arg };
    pthread_t threads[DMARC_ASKERS_MAX];
    unsigned count = 0, wanted = askers(days);

    (void)pthread_mutex_init(&q.lock, NULL);
    while (count + 1 < wanted && pthread_create(&threads[count], NULL, work, &q) == 0)
        count++; /* with fewer than wanted it takes longer */
    (void)work(&q);
    for (unsigned i = 0; i < count; i++)
        (void)pthread_join(threads[i], NULL);
    (void)pthread_mutex_destroy(&q.lock);
    return q.error;
}
