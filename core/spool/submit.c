/* SPDX-License-Identifier: Apache-2.0 */
/*
 * submit.c - a job becomes a unit: what it points to is copied into one block of memory, its
 * message records are laid out as they will stand on disk. Runs on the caller's thread, so that
 * the spool thread has only checks to compute. Bodies are referenced, never copied.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "spool/internal.h"

struct measure {
    size_t records;  /* record_count */
    size_t data;     /* message records with padding */
    size_t changes;  /* structs and texts */
};

static struct slice kept_text(struct slice text)
{
    return slice_head(text, FORMAT_TEXT_MAX);
}

static int measure_job(const struct spool_job *job, struct measure *m)
{
    for (unsigned i = 0; i < job->message_count; i++) {
        const struct spool_message *msg = &job->messages[i];
        if (msg->key.group == 0 || msg->rcpt_count == 0 || msg->rcpt_count > FORMAT_RCPTS_MAX)
            return -EINVAL;
        if (msg->envelope.len > FORMAT_UNIT_OCTETS_MAX || msg->head.len > FORMAT_UNIT_OCTETS_MAX)
            return -EMSGSIZE;
        /* State: fixed part now; a copy's may be longer, and comes with its octets. */
        m->data += format_pad(FORMAT_RECORD_HEADER + FORMAT_MESSAGE_FIXED + FORMAT_STATE_FIXED +
                                  msg->envelope.len + msg->head.len, 8);
        if (m->data > FORMAT_UNIT_OCTETS_MAX)
            return -EMSGSIZE;
    }
    for (unsigned i = 0; i < job->change_count; i++) {
        const struct spool_change *c = &job->changes[i];
        if (c->key.group == 0 || c->rcpt_count > FORMAT_RCPTS_MAX)
            return -EINVAL;
        m->changes += sizeof(struct spool_change) + c->rcpt_count * sizeof(struct spool_rcpt_change);
        for (uint32_t n = 0; n < c->rcpt_count; n++)
            m->changes += kept_text(c->rcpts[n].text).len;
    }
    m->records = (job->message_count > 0 ? 1 : 0) + (size_t)job->message_count + job->change_count;
    return m->records > FORMAT_UNIT_RECORDS_MAX || m->records == 0 ? -EINVAL : 0;
}

/* Structs first, then their recipients, then texts: each aligned as it must be. */
static void copy_changes(struct unit *unit, const struct spool_job *job, char *memory)
{
    struct spool_change *changes = (struct spool_change *)memory;
    struct spool_rcpt_change *rcpts = (struct spool_rcpt_change *)(changes + job->change_count);
    struct spool_rcpt_change *next = rcpts;

    for (unsigned i = 0; i < job->change_count; i++) {
        changes[i] = job->changes[i];
        changes[i].rcpts = next;
        for (uint32_t n = 0; n < job->changes[i].rcpt_count; n++)
            *next++ = job->changes[i].rcpts[n];
    }
    char *at = (char *)next;
    for (struct spool_rcpt_change *r = rcpts; r != next; r++) {
        struct slice text = kept_text(r->text);
        if (text.len > 0)
            memcpy(at, text.ptr, text.len);
        r->text = slice_make(at, text.len);
        at += text.len;
    }
    unit->changes = changes;
}

static int take_body(struct unit *unit, const struct spool_job *job)
{
    if (job->body == NULL || job->message_count == 0)
        return 0;
    int r = body_end(job->body);
    if (r < 0)
        return r;
    unit->body = body_ref(job->body);
    unit->body_octets = body_memory(job->body);
    unit->big = unit->body_octets.ptr == NULL;
    if (unit->body_octets.len > FORMAT_UNIT_OCTETS_MAX)
        return -EMSGSIZE;
    return 0;
}

/* Adds one record at `octets` of the unit; the payload follows its header. */
static struct unit_record *add_record(struct unit *unit, unsigned type, uint64_t payload, char *octets)
{
    struct unit_record *r = &unit->records[unit->record_count++];

    *r = (struct unit_record){ .at = unit->octets, .octets = octets };
    r->header.type = type;
    r->header.octets = payload;
    unit->octets += format_pad(FORMAT_RECORD_HEADER + payload, 8);
    return r;
}

static void describe(const struct unit *unit, const struct spool_message *msg, const struct unit_copy *copy,
                     struct format_message *m)
{
    bool copy_big = copy != NULL && copy->big;
    uint64_t body = copy_big ? copy->body_octets : unit->body != NULL ? body_octets(unit->body) : 0;

    *m = (struct format_message){
        .key = msg->key,
        .flags = (msg->bounce ? FORMAT_BOUNCE : 0u) | (unit->big || copy_big ? FORMAT_BIG : 0u),
        .rcpt_count = msg->rcpt_count,
        .arrival_ms = msg->arrival_ms,
        .octets = msg->head.len + body - msg->body_offset,
        .body_offset = msg->body_offset,
        .body_octets = body,
        .envelope_octets = (uint32_t)msg->envelope.len,
        .head_octets = (uint32_t)msg->head.len,
        .envelope = msg->envelope,
        .head = msg->head,
        .state = { .version = 1, .pending = msg->rcpt_count, .due_ms = msg->due_ms, .held = msg->held },
    };
    if (copy != NULL)
        m->state = *copy->state;
    if (copy_big)
        m->body_key = copy->body_key;
    else if (unit->big)
        m->body_key = unit->job->messages[0].key;
    else if (body > 0)
        m->body_back = (uint32_t)(unit->octets - FORMAT_RECORD_HEADER);
}

/* Lays the message's record down at `out`; returns where the next begins. */
static char *lay_message(struct unit *unit, const struct format_message *m, char *out)
{
    char *at = out + FORMAT_RECORD_HEADER;

    format_message_encode(m, at);
    at = format_state_encode(&m->state, at + FORMAT_MESSAGE_FIXED);
    if (m->envelope.len > 0)
        memcpy(at, m->envelope.ptr, m->envelope.len);
    at += m->envelope.len;
    if (m->head.len > 0)
        memcpy(at, m->head.ptr, m->head.len);
    at += m->head.len;
    uint64_t payload = (uint64_t)(at - out) - FORMAT_RECORD_HEADER;
    char *end = out + format_pad(FORMAT_RECORD_HEADER + payload, 8);
    memset(at, 0, (size_t)(end - at));
    (void)add_record(unit, FORMAT_MESSAGE, payload, out);
    return end;
}

static int lay_messages(struct unit *unit, const struct spool_job *job, const struct unit_copy *copy)
{
    char *at = unit->data;

    if (unit->body != NULL && !unit->big && unit->body_octets.len > 0) {
        (void)add_record(unit, FORMAT_BODY, unit->body_octets.len, at);
        /* Behind the header: the body's padding, at most 7 octets of zeros. */
        at += FORMAT_RECORD_HEADER + (format_pad(unit->body_octets.len, 8) - unit->body_octets.len);
    }
    for (unsigned i = 0; i < job->message_count; i++) {
        struct format_message m;
        describe(unit, &job->messages[i], copy, &m);
        if (m.body_offset > m.body_octets)
            return -EINVAL;
        m.state_octets = (uint32_t)format_state_octets(&m.state);
        at = lay_message(unit, &m, at);
    }
    unit->data_octets = (size_t)(at - unit->data);
    return unit->octets > FORMAT_UNIT_OCTETS_MAX ? -EMSGSIZE : 0;
}

static struct unit *new_unit(struct spool *spool, struct spool_job *job, const struct unit_copy *copy)
{
    struct measure m = { 0, 0, 0 };
    int r = measure_job(job, &m);

    if (r < 0)
        m = (struct measure){ 0, 0, 0 };
    /* A copy has one message; its state is longer than the fixed part by states and texts. */
    size_t data = FORMAT_RECORD_HEADER + 8 + m.data + (copy != NULL ? format_state_octets(copy->state) + 8 : 0);
    size_t head = format_pad(sizeof(struct unit) + (m.records) * sizeof(struct unit_record), 16);
    struct unit *unit = mem_alloc(head + format_pad(m.changes, 16) + data);
    memset(unit, 0, sizeof(*unit));
    unit->spool = spool;
    unit->job = job;
    unit->error = r;
    unit->data = (char *)unit + head + format_pad(m.changes, 16);
    memset(unit->data, 0, FORMAT_RECORD_HEADER + 8);
    job->spool_private = unit;
    if (r < 0)
        return unit;
    unit->message_count = job->message_count;
    unit->change_count = job->change_count;
    unit->error = take_body(unit, job);
    if (unit->error == 0 && job->message_count > 0)
        unit->error = lay_messages(unit, job, copy);
    copy_changes(unit, job, (char *)unit + head);
    return unit;
}

void spool_unit_free(struct unit *unit)
{
    body_unref(unit->body);
    free(unit);
}

static void put(struct spool *spool, struct unit *unit)
{
    /* Those that are wrong go the same way, so that done() is always called on the spool thread. */
    struct inbox *inbox = unit->big && unit->error == 0 && unit->kind == UNIT_JOB ? &spool->big_inbox : &spool->inbox;

    (void)inbox_put(inbox, &unit->link);
}

void spool_submit(struct spool *spool, struct spool_job *job)
{
    put(spool, new_unit(spool, job, NULL));
}

void spool_submit_copy(struct spool *spool, struct spool_job *job, const struct unit_copy *copy)
{
    struct unit *unit = new_unit(spool, job, copy);

    unit->kind = UNIT_COPY;
    unit->copy_version = copy->version;
    put(spool, unit);
}

void spool_submit_ceiling(struct spool *spool)
{
    if (atomic_exchange(&spool->ceiling_under_way, true))
        return;
    struct unit *unit = mem_zalloc(sizeof(*unit));
    unit->spool = spool;
    unit->kind = UNIT_CEILING;
    put(spool, unit);
}
