/* SPDX-License-Identifier: Apache-2.0 */
#include "spoolwork.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "state/envelope.h"

#define LIVE_TARGET 90
#define HEAD "Received: by tern\r\n"
#define DUE 5000

struct work_job {
    struct spool_job job; /* first */
    struct work *w;
    uint32_t created[2], changed;
    unsigned created_count;
    bool has_change;
    struct spool_message messages[2];
    struct spool_change change;
    struct spool_rcpt_change rcpts[WORK_RCPTS_MAX];
    struct buf envelopes[2];
};

/* ---- contents ---- */

/* A body's octets from `at`, a multiple of 8; `room` is `len` rounded up to 8. */
static void fill(uint64_t txn, uint64_t at, char *room, size_t len)
{
    assert(at % 8 == 0);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t x = (txn ^ ((at + i) << 20)) * 0x9e3779b97f4a7c15ull;
        x ^= x >> 29;
        memcpy(room + i, &x, 8);
    }
}

static struct body *make_body(struct simdisk *disk, struct spool *spool, uint64_t txn, uint32_t octets)
{
    struct body *body = body_new_on(simdisk_body_io(disk), spool_tmp_dir(spool));
    char chunk[4096];

    for (uint32_t at = 0; at < octets;) {
        uint32_t n = octets - at < sizeof(chunk) ? octets - at : (uint32_t)sizeof(chunk);
        fill(txn, at, chunk, n);
        if (body_append(body, slice_make(chunk, n)) < 0)
            break; /* the error comes back from the commit */
        at += n;
    }
    return body;
}

static void make_envelope(const struct work_message *m, struct buf *out)
{
    struct envelope_rcpt rcpts[WORK_RCPTS_MAX];
    struct envelope e = { .origin = SLICE("smtp"), .sender = SLICE("a@example.org"), .rcpts = rcpts,
                          .rcpt_count = m->rcpt_count, .arrival_ms = m->key.txn };

    for (unsigned i = 0; i < m->rcpt_count; i++)
        rcpts[i] = (struct envelope_rcpt){ .address = SLICE("b@example.net"), .class_ = 1 };
    envelope_encode(&e, out);
}

/* ---- jobs ---- */

static bool all_settled(const uint8_t *states, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (states[i] == SPOOL_RCPT_QUEUED)
            return false;
    return true;
}

static void remove_live(struct work *w, uint32_t index)
{
    for (uint32_t i = 0; i < w->live; i++) {
        if (w->live_list[i] != index)
            continue;
        w->live_list[i] = w->live_list[--w->live];
        return;
    }
}

static void settle_created(struct work *w, const struct work_job *j, int status)
{
    for (unsigned i = 0; i < j->created_count; i++) {
        struct work_message *m = &w->messages[j->created[i]];
        m->state = status == 0 ? WORK_LIVE : WORK_FAILED;
        m->failed_batch = w->spool->next_batch;
        if (status != 0)
            continue;
        w->acknowledged++;
        if (!m->stays)
            w->live_list[w->live++] = j->created[i];
    }
}

static void settle_changed(struct work *w, struct work_message *m, uint32_t index, int status)
{
    struct work_change c = m->change;

    m->change.under_way = false;
    if (status != 0) {
        m->doubtful = true;
        m->change = c; /* what might have happened */
        m->change.under_way = false;
        return;
    }
    memcpy(m->states, c.states, sizeof(m->states));
    m->due_ms = c.due_ms;
    m->attempts = c.attempts;
    m->held = c.held;
    w->outcomes++;
    if (c.finishes) {
        m->state = WORK_FINISHED;
        remove_live(w, index);
    }
}

static void on_done(struct spool_job *job)
{
    struct work_job *j = (struct work_job *)job;
    struct work *w = j->w;

    settle_created(w, j, job->status);
    if (j->has_change)
        settle_changed(w, &w->messages[j->changed], j->changed, job->status);
    w->failures += job->status != 0;
    w->under_way--;
    body_unref(job->body);
    buf_free(&j->envelopes[0]);
    buf_free(&j->envelopes[1]);
    free(j);
}

static uint32_t some_octets(struct work *w)
{
    uint64_t dice = simrandom_below(&w->random, 1000);

    if (w->big_every > 0 && dice < 1000 / w->big_every)
        return BODY_MEMORY_MAX + 1 + (uint32_t)simrandom_below(&w->random, 5000);
    if (dice > 990)
        return 20000 + (uint32_t)simrandom_below(&w->random, 90000); /* some need a segment of their own */
    return (uint32_t)simrandom_below(&w->random, 2500);
}

static uint32_t add_message(struct work *w, struct work_job *j, struct spool_key key, uint32_t octets)
{
    uint32_t index = w->count++;
    struct work_message *m = &w->messages[index];
    unsigned n = j->created_count++;

    *m = (struct work_message){ .key = key, .state = WORK_UNDER_WAY, .octets = octets, .due_ms = DUE,
                                .rcpt_count = (uint8_t)(1 + simrandom_below(&w->random, WORK_RCPTS_MAX)),
                                .stays = simrandom_below(&w->random, 60) == 0 };
    j->created[n] = index;
    make_envelope(m, &j->envelopes[n]);
    j->messages[n] = (struct spool_message){
        .key = key, .envelope = buf_slice(&j->envelopes[n]), .head = SLICE(HEAD), .rcpt_count = m->rcpt_count,
        .arrival_ms = 77, .due_ms = DUE,
    };
    j->job.messages = j->messages;
    j->job.message_count = j->created_count;
    return index;
}

static struct work_job *new_job(struct work *w)
{
    struct work_job *j = mem_zalloc(sizeof(*j));

    j->w = w;
    j->job.done = on_done;
    return j;
}

static void submit(struct work *w, struct work_job *j)
{
    w->under_way++;
    spool_submit(w->spool, &j->job);
}

static void submit_message(struct work *w)
{
    struct work_job *j = new_job(w);
    struct spool_key key = { spool_id_new(w->spool), 1 };
    uint32_t octets = some_octets(w);
    uint32_t first = add_message(w, j, key, octets);

    if (simrandom_below(&w->random, 16) == 0) {
        key.group = 2;
        uint32_t second = add_message(w, j, key, octets);
        w->messages[second].partner = first + 1;
        w->messages[first].partner = second + 1;
        w->messages[first].other_group = w->messages[second].other_group = true;
    }
    if (octets > 0)
        j->job.body = make_body(w->disk, w->spool, key.txn, octets);
    submit(w, j);
}

/* Decides what becomes of a live message. */
static void plan_change(struct work *w, struct work_message *m, struct work_job *j, uint32_t index)
{
    struct work_change *c = &m->change;
    uint64_t dice = simrandom_below(&w->random, 10);
    unsigned n = 0;

    *c = (struct work_change){ .under_way = true, .due_ms = m->due_ms, .attempts = m->attempts, .held = m->held };
    memcpy(c->states, m->states, sizeof(c->states));
    j->has_change = true;
    j->changed = index;
    j->change = (struct spool_change){ .key = m->key, .kind = SPOOL_ATTEMPTED, .rcpts = j->rcpts };
    if (dice == 0) {
        j->change.kind = m->held ? SPOOL_RELEASED : SPOOL_HELD;
        c->held = !m->held;
    } else if (dice == 1 && !m->stays) {
        j->change.kind = SPOOL_DELETED;
        for (unsigned i = 0; i < m->rcpt_count; i++)
            if (c->states[i] == SPOOL_RCPT_QUEUED)
                c->states[i] = SPOOL_RCPT_DISCARDED;
    } else {
        c->attempts = m->attempts + 1;
        for (unsigned i = 0; i < m->rcpt_count; i++) {
            bool keep = m->stays && i == 0;
            if (c->states[i] != SPOOL_RCPT_QUEUED)
                continue;
            if (!keep && simrandom_below(&w->random, 4) != 0)
                c->states[i] = SPOOL_RCPT_DELIVERED;
            j->rcpts[n++] = (struct spool_rcpt_change){ i, (enum spool_rcpt_state)c->states[i],
                                                        SLICE("451 4.2.1 mailbox busy, try later") };
        }
    }
    if (j->change.kind == SPOOL_ATTEMPTED || j->change.kind == SPOOL_RELEASED)
        c->due_ms = DUE + 1 + simrandom_below(&w->random, 1000);
    c->finishes = all_settled(c->states, m->rcpt_count);
    j->change.due_ms = c->due_ms;
    j->change.attempts = c->attempts;
    j->change.rcpt_count = n;
    j->job.changes = &j->change;
    j->job.change_count = 1;
}

/* A bounced outcome and the notice that it causes are one unit. */
static void add_notice(struct work *w, struct work_job *j, struct work_message *m, uint32_t index)
{
    struct work_change *c = &m->change;
    unsigned n = 0;

    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (m->states[i] == SPOOL_RCPT_QUEUED) {
            c->states[i] = SPOOL_RCPT_BOUNCED;
            j->rcpts[n++] = (struct spool_rcpt_change){ i, SPOOL_RCPT_BOUNCED, SLICE("550 5.1.1 no such user") };
        }
    j->change.kind = SPOOL_ATTEMPTED;
    j->change.rcpt_count = n;
    j->change.attempts = c->attempts;
    j->change.due_ms = c->due_ms;
    c->held = m->held;
    c->finishes = true;
    struct spool_key key = { spool_id_new(w->spool), 1 };
    uint32_t notice = add_message(w, j, key, 300);
    w->messages[notice].notice = true;
    w->messages[notice].partner = index + 1;
    j->messages[0].bounce = true;
    j->job.body = make_body(w->disk, w->spool, key.txn, 300);
}

static void submit_change(struct work *w, uint32_t index)
{
    struct work_message *m = &w->messages[index];

    if (m->state != WORK_LIVE || m->change.under_way || m->doubtful)
        return;
    struct work_job *j = new_job(w);
    plan_change(w, m, j, index);
    if (j->change.kind == SPOOL_ATTEMPTED && !m->stays && simrandom_below(&w->random, 8) == 0 &&
        w->count < w->target)
        add_notice(w, j, m, index);
    submit(w, j);
}

/* ---- running ---- */

int spoolwork_open(struct simdisk *disk, struct spool **ret, char *error, size_t octets)
{
    struct spool_options o = { .path = "/sim", .segment_octets = WORK_SEGMENT_OCTETS, .io = simdisk_io(disk),
                               .node = 3 };
    int r = spool_open(&o, ret, error, octets);

    if (r == 0) {
        (*ret)->index_delay_ms = 0;
        (*ret)->copy_slack_segments = 2;
        (*ret)->copy_slack_factor = 2;
    }
    return r;
}

void spoolwork_init(struct work *w, struct simdisk *disk, uint64_t seed, uint32_t target)
{
    *w = (struct work){ .disk = disk, .random = { seed }, .target = target, .big_every = 150 };
    w->messages = mem_zalloc((target + 64) * sizeof(w->messages[0]));
    w->live_list = mem_zalloc((target + 64) * sizeof(w->live_list[0]));
}

void spoolwork_fini(struct work *w)
{
    free(w->messages);
    free(w->live_list);
}

static void touch_staying(struct work *w)
{
    uint32_t index = w->count > 0 ? (uint32_t)simrandom_below(&w->random, w->count) : 0;

    struct work_message *m = &w->messages[index];
    if (w->count == 0 || !m->stays)
        return;
    if (m->state == WORK_LIVE && simrandom_below(&w->random, 12) == 0) {
        m->stays = false; /* long enough: by now it was copied forward, perhaps more than once */
        w->live_list[w->live++] = index;
        return;
    }
    submit_change(w, index);
}

bool spoolwork_round(struct work *w)
{
    unsigned jobs = 2 + (unsigned)simrandom_below(&w->random, 24);

    for (unsigned i = 0; i < jobs; i++) {
        bool full = w->live > LIVE_TARGET || w->count >= w->target;
        if (w->live > 0 && simrandom_below(&w->random, 10) < (full ? 8u : 3u))
            submit_change(w, w->live_list[simrandom_below(&w->random, w->live)]);
        else if (w->count < w->target)
            submit_message(w);
        touch_staying(w);
    }
    /* What the maker copies forward may have changed in what waits already. */
    if (simrandom_below(&w->random, 3) == 0)
        (void)spool_maker_run(w->spool);
    (void)spool_step(w->spool);
    if (simrandom_below(&w->random, 3) == 0)
        (void)spool_step(w->spool);
    return w->count < w->target;
}

void spoolwork_drain(struct work *w)
{
    for (unsigned i = 0; i < 100000 && (spool_step(w->spool) || w->under_way > 0); i++)
        ;
}

/* ---- checking ---- */

static unsigned complain(struct buf *out, const struct work_message *m, const char *what)
{
    char id[SPOOL_ID_TEXT_MAX];

    spool_key_print(m->key, id);
    buf_printf(out, "message %s (state %d, %u octets, %u recipients): %s\n", id, m->state, m->octets, m->rcpt_count,
               what);
    return 1;
}

static bool content_is(struct spool_loaded *loaded, const struct work_message *m)
{
    const size_t head = sizeof(HEAD) - 1;
    char chunk[8192], want[8192];
    uint64_t at = 0;

    if (spool_read(loaded, 0, chunk, head) != (int64_t)head || memcmp(chunk, HEAD, head) != 0 ||
        spool_loaded_octets(loaded) != head + m->octets)
        return false;
    while (at < m->octets) {
        int64_t n = spool_read(loaded, head + at, chunk, sizeof(chunk));
        size_t expect = m->octets - at < sizeof(chunk) ? m->octets - at : sizeof(chunk);
        if (n != (int64_t)expect)
            return false;
        fill(m->key.txn, at, want, expect);
        if (memcmp(chunk, want, expect) != 0)
            return false;
        at += expect;
    }
    return spool_read(loaded, head + at, chunk, sizeof(chunk)) == 0;
}

static bool state_is(const struct spool_loaded *l, const uint8_t *states, uint64_t due, uint32_t attempts, bool held)
{
    for (uint32_t i = 0; i < l->entry.rcpt_count; i++)
        if (l->rcpts[i].state != states[i])
            return false;
    return l->entry.due_ms == due && l->entry.attempts == attempts && l->entry.held == held;
}

static unsigned check_present(const struct work_message *m, struct spool *spool, struct buf *out, bool *changed)
{
    CLEANUP_BUF struct buf envelope = BUF_INIT;
    struct spool_loaded *l;
    unsigned findings = 0;

    if (spool_load(spool, m->key, &l) < 0)
        return complain(out, m, "cannot be loaded");
    make_envelope(m, &envelope);
    if (!content_is(l, m))
        findings += complain(out, m, "its octets differ");
    if (!slice_equal(l->envelope, buf_slice(&envelope)))
        findings += complain(out, m, "its envelope differs");
    bool old = l->entry.rcpt_count == m->rcpt_count && state_is(l, m->states, m->due_ms, m->attempts, m->held);
    bool fresh = l->entry.rcpt_count == m->rcpt_count &&
                 state_is(l, m->change.states, m->change.due_ms, m->change.attempts, m->change.held);
    *changed = !old;
    if (!old && !(fresh && (m->change.under_way || m->doubtful) && !m->change.finishes))
        findings += complain(out, m, "its state is neither the old nor the new one");
    spool_unload(l);
    return findings;
}

/* Findings of one message; *present and *changed for the unit it came in. */
static unsigned check_message(const struct work *w, const struct work_message *m, struct spool *spool,
                              struct buf *out, bool *present, bool *changed)
{
    struct spool_entry e;
    bool may_finish = (m->change.under_way || m->doubtful) && m->change.finishes;

    *present = spool_entry_of(spool, m->key, &e);
    *changed = false;
    if (*present && m->state == WORK_FINISHED)
        return complain(out, m, "was finished and is back");
    /* State S7: until a later batch is durable a batch whose sync failed may be found. */
    if (*present && m->state == WORK_FAILED && m->failed_batch != w->spool->next_batch)
        return complain(out, m, "was refused and is here");
    if (!*present && m->state == WORK_LIVE && !may_finish)
        return complain(out, m, "was acknowledged and is lost");
    if (!*present) {
        *changed = m->state == WORK_LIVE;
        return 0;
    }
    return check_present(m, spool, out, changed);
}

unsigned spoolwork_check(const struct work *w, struct spool *spool, struct buf *out)
{
    CLEANUP_FREE bool *present = mem_zalloc(w->count + 1);
    CLEANUP_FREE bool *changed = mem_zalloc(w->count + 1);
    struct spool_stats stats;
    unsigned findings = 0;
    uint64_t there = 0;

    for (uint32_t i = 0; i < w->count; i++) {
        findings += check_message(w, &w->messages[i], spool, out, &present[i], &changed[i]);
        there += present[i];
    }
    for (uint32_t i = 0; i < w->count; i++) {
        const struct work_message *m = &w->messages[i];
        if (m->state != WORK_UNDER_WAY || m->partner == 0)
            continue;
        if (m->other_group && present[i] != present[m->partner - 1])
            findings += complain(out, m, "is there without the other group of its unit");
        if (m->notice && present[i] != changed[m->partner - 1])
            findings += complain(out, m, "the notice and its outcome are not there together");
    }
    spool_get_stats(spool, &stats);
    if (stats.messages != there) {
        buf_printf(out, "%llu messages in the spool, %llu are known\n", (unsigned long long)stats.messages,
                   (unsigned long long)there);
        findings++;
    }
    if (stats.damaged_batches > 0) {
        buf_printf(out, "%llu damaged batches\n", (unsigned long long)stats.damaged_batches);
        findings++;
    }
    return findings;
}

unsigned spoolwork_use(const struct work *w, struct simdisk *disk, struct spool *spool, struct buf *out)
{
    struct work fresh;
    unsigned findings = 0;
    uint64_t highest = 0;

    spoolwork_init(&fresh, disk, 99, 40);
    fresh.spool = spool;
    fresh.big_every = 20;
    for (uint32_t i = 0; i < w->count; i++)
        if (w->messages[i].key.txn > highest)
            highest = w->messages[i].key.txn;
    /* Ids drawn but never stored count, too. */
    if (spool_id_new(spool) <= highest) {
        buf_add_cstr(out, "an id is drawn again\n");
        findings++;
    }
    while (spoolwork_round(&fresh))
        ;
    spoolwork_drain(&fresh);
    for (uint32_t i = 0; i < fresh.count; i++) {
        bool present, changed;
        findings += check_message(&fresh, &fresh.messages[i], spool, out, &present, &changed);
    }
    if (fresh.failures > 0) {
        buf_add_cstr(out, "a job failed after recovery\n");
        findings++;
    }
    spoolwork_fini(&fresh);
    return findings;
}

unsigned spoolwork_fsck(struct simdisk *disk, struct buf *out)
{
    struct spool_options o = { .path = "/sim", .segment_octets = WORK_SEGMENT_OCTETS, .io = simdisk_io(disk) };
    int r = spool_fsck(&o, false, out);

    if (r < 0)
        buf_printf(out, "fsck: %s\n", strerror(-r));
    return r < 0 ? 1 : (unsigned)r;
}
