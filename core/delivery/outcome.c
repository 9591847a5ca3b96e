/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcome.c - what became of recipients: on disk first, then told to scheduler, policy and log.
 *
 * A message has one job with the spool at a time, so that its changes follow one another. What
 * was delivered is written as soon as a shipment is home: the window in which a crash makes a
 * duplicate is one group commit. What was deferred or failed is written when all are home, with
 * one due time and one notice for all; the notice and the failures it tells of are one append
 * unit. Until then these recipients are queued.
 *
 * An outcome that cannot be written (disk full) stays here and is written again, with back-off,
 * until it can; meanwhile nothing new is tried (delivery_undurable), so that a full disk makes
 * no duplicates.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "delivery/notice.h"
#include "delivery/owed.h"
#include "delivery/visit.h"

static bool is_final_fate(enum fate fate)
{
    return fate == FATE_DELIVERED || fate == FATE_FAILED || fate == FATE_DISCARDED;
}

static bool any_of(const struct message *m, enum fate fate)
{
    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (m->rcpts[i].fate == fate)
            return true;
    return false;
}

/* ---- deciding, once all shipments are home ---- */

static void expire(struct message *m)
{
    for (unsigned i = 0; i < m->rcpt_count; i++) {
        struct delivery_rcpt *r = &m->rcpts[i];
        if (r->fate == FATE_OPEN && m->busy)
            delivery_rcpt_settle(m, r, FATE_DEFERRED, 451, "4.3.2",
                                 SLICE("too many wait for the next hop"));
        if (r->fate != FATE_DEFERRED)
            continue;
        r->fate = FATE_FAILED;
        r->expired = true;
        /* RFC 3463 3.5: delivery time expired */
        (void)snprintf(r->enhanced, sizeof(r->enhanced), "4.4.7");
    }
}

/* soft_bounce: nothing fails for good but by age. */
static void soften(struct message *m)
{
    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (m->rcpts[i].fate == FATE_FAILED)
            m->rcpts[i].fate = FATE_DEFERRED;
}

/* Of a very long list: whether this visit's window was not the last one of the round. */
static bool more_windows(const struct message *m)
{
    uint64_t window = visit_rcpts(m->entry.rcpt_count);
    uint64_t at = m->entry.attempts * window;

    return m->unvisited > 0 && at % m->entry.pending_count + window < m->entry.pending_count;
}

/* A sender who asked for it hears of a delay in time: an attempt is made when he is to. */
static uint64_t before_delay_notice(const struct message *m, uint64_t retry_ms, uint64_t now_ms)
{
    for (unsigned i = 0; i < m->rcpt_count; i++) {
        const struct delivery_rcpt *r = &m->rcpts[i];
        uint64_t at_ms = r->fate == FATE_DEFERRED ? delivery_notice_delay_at(m, r) : 0;
        if (at_ms > now_ms + NOTICE_DELAY_SLACK_MS && at_ms < retry_ms)
            retry_ms = at_ms;
    }
    return retry_ms;
}

static uint64_t due_at(struct message *m, uint64_t now_ms)
{
    uint64_t retry_ms = scheduler_retry_at(m->dispatch->set->scheduler, &m->entry, now_ms);

    if (retry_ms == 0) {
        m->too_old = true;
        expire(m);
        retry_ms = now_ms + NOTICE_WAIT_MS;
    }
    if (more_windows(m))
        return now_ms;
    if (any_of(m, FATE_DEFERRED) || any_of(m, FATE_FAILED))
        return before_delay_notice(m, retry_ms, now_ms);
    return m->busy ? now_ms + BUSY_WAIT_MS : now_ms;
}

static void decide(struct message *m)
{
    m->decided = true;
    m->decided_ms = clock_wall_ms();
    if (m->hold_over) {
        m->attempts = m->entry.attempts;
        m->due_ms = clock_wall_ms() + (m->unvisited > 0 ? 0 : NOTICE_WAIT_MS);
        return;
    }
    if (m->generation.soft_bounce)
        soften(m);
    m->attempts = m->entry.attempts + (any_of(m, FATE_DEFERRED) || any_of(m, FATE_FAILED));
    m->due_ms = due_at(m, m->decided_ms);
}

static bool needs_notice(const struct message *m)
{
    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (delivery_notice_wanted(m, &m->rcpts[i]))
            return true;
    return false;
}

/* Delivered, and the sender is to hear of it before that is the end of it. */
static bool is_owed(const struct message *m, const struct delivery_rcpt *r)
{
    return r->fate == FATE_DELIVERED && !m->too_old && delivery_notice_wanted(m, r);
}

static bool any_owed(const struct message *m)
{
    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (is_owed(m, &m->rcpts[i]))
            return true;
    return false;
}

/* Delayed, and the sender was to hear of it now. */
static bool is_late(const struct message *m, const struct delivery_rcpt *r)
{
    return r->fate == FATE_DEFERRED && delivery_notice_wanted(m, r);
}

static bool any_late(const struct message *m)
{
    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (is_late(m, &m->rcpts[i]))
            return true;
    return false;
}

/*
 * No notice, no bounce: the failed recipients stay queued and are tried once more. For those who were
 * delivered the notice alone is tried again, until the message is too old for that; of those who wait it is told
 * at the next attempt, if they wait on.
 */
static void take_back_failures(struct message *m)
{
    bool again = any_of(m, FATE_FAILED) || any_owed(m) || any_late(m);

    log_event(LOG_WARNING, LOG_EV_deferred, m->id,
              again ? "the policy did not take the notice to the sender; tried again"
                    : "the policy did not take the notice to the sender; it is dropped");
    delivery_notice_free(m->notice);
    m->notice = NULL;
    if (m->hold_over)
        m->due_ms = clock_wall_ms() + NOTICE_WAIT_MS;
    if (any_owed(m) && !any_of(m, FATE_DEFERRED) && !any_of(m, FATE_FAILED)) {
        m->attempts = m->entry.attempts + 1; /* the window of a long list moves on */
        if (!more_windows(m))
            m->due_ms = clock_wall_ms() + NOTICE_WAIT_MS;
    }
    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (m->rcpts[i].fate == FATE_FAILED && delivery_notice_wanted(m, &m->rcpts[i])) {
            m->rcpts[i].fate = FATE_DEFERRED;
            m->rcpts[i].expired = false;
        }
}

/* ---- the job ---- */

static enum spool_rcpt_state state_of(enum fate fate)
{
    switch (fate) {
    case FATE_DELIVERED: return SPOOL_RCPT_DELIVERED;
    case FATE_FAILED: return SPOOL_RCPT_BOUNCED;
    case FATE_DISCARDED: return SPOOL_RCPT_DISCARDED;
    default: return SPOOL_RCPT_QUEUED;
    }
}

static struct slice owed_text(struct message *m, const struct delivery_rcpt *r)
{
    struct buf text = BUF_INIT;
    enum owed_for what = r->owes_delay ? OWED_DELAY : r->handed == HANDED_ON ? OWED_RELAYED : OWED_DELIVERED;

    owed_encode(&(struct owed){ what, slice_cstr(r->enhanced), r->host, r->text }, &text);
    struct slice kept = arena_slice(&m->memory->arena, buf_slice(&text));
    buf_free(&text);
    return kept;
}

static struct spool_rcpt_change change_of(struct message *m, const struct delivery_rcpt *r)
{
    if (r->owes || r->owes_delay)
        return (struct spool_rcpt_change){ r->index, SPOOL_RCPT_QUEUED, owed_text(m, r) };
    return (struct spool_rcpt_change){ r->index, state_of(r->fate), r->text };
}

static unsigned gather(struct message *m, bool final)
{
    bool with_notice = final && m->notice != NULL;
    unsigned count = 0;

    if (m->rcpt_changes == NULL)
        m->rcpt_changes = mem_alloc((m->rcpt_count + 1) * sizeof(m->rcpt_changes[0]));
    for (unsigned i = 0; i < m->rcpt_count; i++) {
        struct delivery_rcpt *r = &m->rcpts[i];
        bool now =
            final ? r->fate != FATE_OPEN : r->fate == FATE_DELIVERED || r->fate == FATE_DISCARDED;
        r->owes = !with_notice && is_owed(m, r);
        r->owes_delay = !with_notice && is_late(m, r);
        r->in_job = now && !r->stored && !(r->owes && r->owed);
        if (r->in_job)
            m->rcpt_changes[count++] = change_of(m, r);
    }
    return count;
}

static void on_job_done(struct spool_job *job)
{
    struct message *m = job->arg;

    (void)port_put(m->dispatch->port, &m->job_item);
}

static void after_job(struct port_item *item, bool gone);

/* Of a held message: since when it is held. */
static uint64_t durable_due_ms(const struct message *m, enum outcome_job kind)
{
    if (m->hold_over)
        return m->entry.due_ms;
    return kind == JOB_FINAL ? m->due_ms : clock_wall_ms();
}

static void submit(struct message *m, enum outcome_job kind, unsigned count)
{
    bool partial = kind == JOB_PARTIAL;

    m->change = (struct spool_change){
        .key = m->entry.key,
        .kind = kind == JOB_HOLD ? SPOOL_HELD : SPOOL_ATTEMPTED,
        .due_ms = durable_due_ms(m, kind),
        .attempts = partial ? m->entry.attempts : m->attempts,
        .rcpts = kind == JOB_HOLD ? &m->hold_change : m->rcpt_changes,
        .rcpt_count = kind == JOB_HOLD ? 1 : count,
    };
    m->job = (struct spool_job){
        .changes = &m->change, .change_count = kind == JOB_FINAL && count == 0 ? 0 : 1, .done = on_job_done, .arg = m
    };
    if (kind == JOB_FINAL && m->notice != NULL)
        delivery_notice_fill(m->notice, &m->job);
    m->job_active = true;
    m->job_kind = kind;
    m->job_item.run = after_job;
    spool_submit(m->dispatch->set->options.spool, &m->job);
}

/* ---- after the disk ---- */

static struct slice outcome_name(const struct delivery_rcpt *r)
{
    switch (r->fate) {
    case FATE_DELIVERED: return SLICE("delivered");
    case FATE_FAILED: return r->expired ? SLICE("expired") : SLICE("bounced");
    case FATE_DISCARDED: return SLICE("discarded");
    default: return SLICE("deferred");
    }
}

static enum log_event event_of(const struct delivery_rcpt *r)
{
    switch (r->fate) {
    case FATE_DELIVERED: return LOG_EV_delivered;
    case FATE_FAILED: return r->expired ? LOG_EV_expired : LOG_EV_bounced;
    case FATE_DISCARDED: return LOG_EV_discarded;
    default: return LOG_EV_deferred;
    }
}

static void count_outcome(const struct delivery_rcpt *r)
{
    static const char help[] = "Recipients by what became of an attempt.";
    static struct metric *_Atomic metrics[LOG_EV_COUNT];
    enum log_event event = event_of(r);
    struct metric *metric = atomic_load_explicit(&metrics[event], memory_order_acquire);
    char labels[64];

    if (metric == NULL) {
        (void)snprintf(labels, sizeof(labels), "outcome=\"%s\"", outcome_name(r).ptr);
        metric = metric_counter("tern_delivery_recipients_total", labels, help);
        atomic_store_explicit(&metrics[event], metric, memory_order_release);
    }
    metric_add(metric, 1);
}

static void tell_log(const struct message *m, const struct delivery_rcpt *r, uint64_t now_ms)
{
    struct log_line line;
    uint64_t delay_ms = now_ms > m->entry.arrival_ms ? now_ms - m->entry.arrival_ms : 0;

    count_outcome(r);
    if (r->fate == FATE_DELIVERED)
        metric_observe_us(r->took, delay_ms * 1000);
    log_begin(&line, LOG_INFO, event_of(r), m->id);
    log_str(&line, "to", m->envelope.rcpts[r->index].address);
    if (r->host.len > 0)
        log_str(&line, "host", r->host);
    if (r->tried.len > 0)
        log_str(&line, "tried", r->tried);
    if (r->tls.len > 0)
        log_str(&line, "tls", r->tls);
    log_str(&line, "reply", r->text);
    log_uint(&line, "delay_ms", delay_ms);
    log_end(&line);
}

static bool alike(const struct delivery_rcpt *a, const struct delivery_rcpt *b)
{
    return a->fate == b->fate && a->expired == b->expired && slice_equal(a->text, b->text) &&
           slice_equal(a->tls, b->tls) && slice_equal(a->host, b->host) && slice_equal(a->tried, b->tried);
}

static bool is_news(const struct delivery_rcpt *r)
{
    return r->in_job && !r->told;
}

/* Record and hook `result`, once for each run of recipients with the same outcome. */
static void tell_policy(struct message *m)
{
    unsigned *run = mem_alloc((m->rcpt_count + 1) * sizeof(*run));

    for (unsigned i = 0; i < m->rcpt_count; i++) {
        const struct delivery_rcpt *first = &m->rcpts[i];
        unsigned count = 0;
        if (!is_news(first))
            continue;
        run[count++] = first->index;
        while (i + 1 < m->rcpt_count && is_news(&m->rcpts[i + 1]) && alike(first, &m->rcpts[i + 1]))
            run[count++] = m->rcpts[++i].index;
        const struct engine_outcome outcome = {
            .name = outcome_name(first),
            .text = first->text,
            .host = first->host,
            .tls = first->tls,
            .tried = first->tried,
        };
        engine_result(m->delivery, run, count, &outcome);
    }
    free(run);
}

static uint32_t still_pending(const struct message *m)
{
    uint32_t pending = m->entry.pending_count;

    for (unsigned i = 0; i < m->rcpt_count; i++)
        pending -= m->rcpts[i].stored && is_final_fate(m->rcpts[i].fate);
    return pending;
}

static void finish(struct message *m, uint32_t pending)
{
    scheduler_done(m->dispatch->set->scheduler, m->entry.key, pending, m->attempts, m->due_ms,
                   m->must_hold || m->hold_over);
    delivery_message_free(m);
}

static void durable(struct message *m)
{
    uint64_t now_ms = clock_wall_ms();

    if (m->is_undurable) {
        m->is_undurable = false;
        m->undurable_wait_ms = 0;
        delivery_undurable(m->dispatch->set, false);
        log_event(LOG_INFO, LOG_EV_disk, m->id, "the outcome is on disk now");
    }
    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (is_news(&m->rcpts[i]))
            tell_log(m, &m->rcpts[i], now_ms);
    if (m->delivery != NULL)
        tell_policy(m);
    for (unsigned i = 0; i < m->rcpt_count; i++) {
        struct delivery_rcpt *r = &m->rcpts[i];
        r->stored |= r->in_job && !r->owes;
        r->owed |= r->in_job && r->owes;
        r->told |= r->in_job;
        r->in_job = false;
    }
}

static void log_hold(const struct message *m)
{
    log_event(LOG_INFO, LOG_EV_held, m->id, "%.*s", (int)m->hold_reason.len,
              m->hold_reason.len > 0 ? m->hold_reason.ptr : "");
}

static void write_again(struct loop_timer *timer)
{
    struct message *m = list_entry(timer, struct message, retry);

    m->is_waiting = false;
    delivery_outcome_advance(m);
}

static void undurable(struct message *m)
{
    for (unsigned i = 0; i < m->rcpt_count; i++)
        m->rcpts[i].in_job = false;
    if (!m->is_undurable) {
        m->is_undurable = true;
        delivery_undurable(m->dispatch->set, true);
        log_event(LOG_ERROR, LOG_EV_disk, m->id,
                  "an outcome cannot be made durable: %s; nothing new is tried",
                  strerror(-m->job.status));
    }
    m->undurable_wait_ms = m->undurable_wait_ms > 0 ? m->undurable_wait_ms * 2 : UNDURABLE_WAIT_MS;
    if (m->undurable_wait_ms > UNDURABLE_WAIT_MAX_MS)
        m->undurable_wait_ms = UNDURABLE_WAIT_MAX_MS;
    m->is_waiting = true;
    loop_timer_init(&m->retry, write_again);
    loop_timer_start(m->dispatch->loop, &m->retry, m->undurable_wait_ms);
}

/*
 * Removed by an operator meanwhile: nothing was stored, and nothing need be. A notice on its way
 * is waited for: the policy's answer to it may stand in line behind this one.
 */
static void was_removed(struct message *m)
{
    m->job.status = 0;
    if (m->notice != NULL && delivery_notice_ready(m->notice)) {
        delivery_notice_free(m->notice);
        m->notice = NULL;
    }
    m->must_hold = false;
}

static void after_job(struct port_item *item, bool gone)
{
    struct message *m = list_entry(item, struct message, job_item);

    if (gone)
        return;
    m->job_active = false;
    if (m->job.status == -ENOENT)
        was_removed(m);
    if (m->job.status < 0) {
        undurable(m);
        return;
    }
    durable(m);
    if (m->job_kind == JOB_FINAL) {
        m->attempt_stored = true;
        if (m->notice != NULL)
            delivery_notice_stored(m->notice, m);
    } else if (m->job_kind == JOB_HOLD) {
        log_hold(m);
        finish(m, still_pending(m));
        return;
    }
    delivery_outcome_advance(m);
}

/* ---- the next thing ---- */

static void store_delivered(struct message *m)
{
    unsigned count = gather(m, false);

    if (count > 0)
        submit(m, JOB_PARTIAL, count);
}

/* An operator was quicker: he was told that it goes out. */
static bool was_released(const struct message *m)
{
    struct spool_entry now;

    return spool_entry_of(m->dispatch->set->options.spool, m->entry.key, &now) && !now.held;
}

/* The last of the visit: the rest of the outcomes, then the hold, then the scheduler. */
static void advance_home(struct message *m)
{
    unsigned count = 0;

    if (!m->decided)
        decide(m);
    if (!m->attempt_stored && m->notice == NULL && needs_notice(m))
        m->notice = delivery_notice_new(m);
    if (m->notice != NULL && !delivery_notice_ready(m->notice)) {
        store_delivered(m); /* does not wait for what the policy thinks of the notice */
        return;
    }
    if (m->notice != NULL && !delivery_notice_ok(m->notice))
        take_back_failures(m);
    if (!m->attempt_stored && m->hold_over && was_released(m)) {
        m->hold_over = false;
        m->due_ms = clock_wall_ms();
        finish(m, m->entry.pending_count);
        return;
    }
    if (!m->attempt_stored)
        count = gather(m, true);
    if (count > 0 || (m->notice != NULL && !m->attempt_stored)) /* 0: it tells what is stored already */
        submit(m, JOB_FINAL, count);
    else if (m->must_hold && still_pending(m) > 0)
        submit(m, JOB_HOLD, 0);
    else
        finish(m, still_pending(m));
}

void delivery_outcome_advance(struct message *m)
{
    if (!m->prepared || m->job_active || m->is_waiting)
        return;
    if (list_empty(&m->shipments))
        advance_home(m);
    else
        store_delivered(m);
}

void delivery_outcome_free(struct message *m)
{
    loop_timer_stop(&m->retry);
    if (m->is_undurable)
        delivery_undurable(m->dispatch->set, false);
    delivery_notice_free(m->notice);
    free(m->rcpt_changes);
}
