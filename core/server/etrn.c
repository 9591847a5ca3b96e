/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etrn.c - reads every envelope of the queue and makes due what has a pending recipient in the domain.
 *
 * There is no index by domain: a row of the queue has 200 octets and no addresses, and a client's wish is worth
 * a pass over the disk, not memory for each message. So passes are rare (ETRN_GAP_MS) and one at a time, on a
 * thread that may block, and end when the server does.
 */
#include "server/etrn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/verbs.h"
#include "state/envelope.h"

#define PAGE_ENTRIES 256u

struct etrn {
    struct pool_job job;
    struct serve *serve;
    char *client, *domain;
    bool or_below;
    uint64_t seen, due;
};

static _Atomic unsigned running;
static _Atomic bool busy;
static _Atomic uint64_t begun_ms;

static bool is_of_domain(const struct etrn *e, struct slice address)
{
    const char *at = address.len > 0 ? memrchr(address.ptr, '@', address.len) : NULL;
    struct slice want = slice_cstr(e->domain);

    if (at == NULL)
        return false;
    struct slice domain = slice_from(address, (size_t)(at - address.ptr) + 1);
    if (slice_equal_nocase(domain, want))
        return true;
    return e->or_below && domain.len > want.len + 1 && domain.ptr[domain.len - want.len - 1] == '.' &&
           slice_equal_nocase(slice_from(domain, domain.len - want.len), want);
}

static bool waits_for_domain(const struct etrn *e, const struct spool_loaded *m)
{
    struct envelope envelope;
    struct arena arena;
    bool found = false;

    arena_init(&arena);
    if (envelope_decode(m->envelope, &arena, &envelope) == 0)
        for (unsigned i = 0; i < envelope.rcpt_count && i < m->entry.rcpt_count && !found; i++)
            found = m->rcpts[i].state == SPOOL_RCPT_QUEUED && is_of_domain(e, envelope.rcpts[i].address);
    arena_fini(&arena);
    return found;
}

static void visit(struct etrn *e, struct spool_key key)
{
    struct spool_loaded *m;

    if (spool_load(e->serve->spool, key, &m) < 0)
        return; /* gone meanwhile */
    bool wanted = !m->entry.held && waits_for_domain(e, m);
    spool_unload(m);
    e->seen++;
    if (wanted && queue_verb(e->serve->spool, e->serve->scheduler, QUEUE_RETRY, key) == 0)
        e->due++;
}

static void run(struct pool_job *job)
{
    struct etrn *e = list_entry(job, struct etrn, job);
    struct spool_entry *page = mem_alloc(PAGE_ENTRIES * sizeof(page[0]));
    struct spool_key after = { 0, 0 };
    unsigned n;

    while ((n = scheduler_list(e->serve->scheduler, after, page, PAGE_ENTRIES)) > 0) {
        for (unsigned i = 0; i < n && !atomic_load(&e->serve->draining); i++)
            visit(e, page[i].key);
        if (atomic_load(&e->serve->draining))
            break;
        after = page[n - 1].key;
    }
    free(page);
    log_event(LOG_INFO, LOG_EV_etrn, NULL, "%s asked for %s%s: %llu of %llu messages made due", e->client,
              e->or_below ? "@" : "", e->domain, (unsigned long long)e->due, (unsigned long long)e->seen);
}

static void done(struct pool_job *job)
{
    struct etrn *e = list_entry(job, struct etrn, job);

    free(e->client);
    free(e->domain);
    free(e);
    atomic_store(&busy, false);
}

static char *copy(struct slice s)
{
    char *text = mem_zalloc(s.len + 1);

    memcpy(text, s.ptr, s.len);
    return text;
}

int etrn_start(struct serve *serve, struct slice client, struct slice domain, bool or_below)
{
    uint64_t now_ms = clock_now_ms(), last_ms = atomic_load(&begun_ms);

    if ((last_ms != 0 && now_ms - last_ms < ETRN_GAP_MS) || atomic_exchange(&busy, true))
        return -EBUSY;
    struct etrn *e = mem_zalloc(sizeof(*e));
    e->serve = serve;
    e->client = copy(client);
    e->domain = copy(domain);
    e->or_below = or_below;
    e->job.running = &running;
    e->job.share = 1;
    e->job.run = run;
    e->job.done = done;
    int r = pool_submit(serve->pool, &e->job);
    if (r < 0)
        done(&e->job);
    else
        atomic_store(&begun_ms, now_ms);
    return r;
}
