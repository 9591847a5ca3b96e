/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - reading a live message: its newest snapshot, the newest change over it, and its
 * octets as they go out. Any thread; the segment stays while somebody holds a loaded message.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "spool/internal.h"

struct loaded {
    struct spool_loaded view; /* first */
    struct spool *spool;
    _Atomic unsigned refs;
    struct segment *segment;  /* used, for the body */
    int fd;
    struct big_body *big;     /* its file stays; NULL while recovering */
    pthread_mutex_t big_lock; /* over the next two */
    int big_fd;               /* open while somebody reads */
    unsigned big_readers;
    uint64_t body_at;         /* of the body in the file */
    uint64_t body_offset, body_octets;
    struct format_message message;
    struct format_state state;
    struct buf record, change;
    struct spool_rcpt_status *rcpts;
    struct slice held_text;
};

int spool_read_record(struct spool *spool, struct segment *segment, int fd, uint64_t offset, uint64_t payload,
                      struct buf *out)
{
    size_t want = FORMAT_RECORD_HEADER + payload, got = 0;
    struct format_record header;
    char *at = buf_reserve(out, want);

    while (got < want) {
        ssize_t n = spool->io->pread(spool->io->ctx, fd, at + got, want - got, offset + got);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        got += (size_t)n;
    }
    if (!format_record_decode(at, segment->seed, offset, &header) || header.octets != payload ||
        header.payload_check !=
            format_check(segment->seed, offset + FORMAT_RECORD_HEADER, at + FORMAT_RECORD_HEADER, payload))
        return -EBADMSG;
    memmove(at, at + FORMAT_RECORD_HEADER, payload);
    out->len += payload;
    return 0;
}

/* Where a row's records are, taken under the lock so that they belong together. */
struct places {
    struct segment *snap, *change;
    uint32_t snap_offset, snap_octets, change_offset, change_octets;
    struct big_body *big;
    struct spool_entry entry;
};

static int find_places(struct spool *spool, struct spool_key key, struct places *p)
{
    int r = -ENOENT;

    (void)pthread_mutex_lock(&spool->lock);
    struct row *row = key.group != 0 ? spool_index_find(&spool->index, key) : NULL;
    if (row != NULL && (row->flags & ROW_STAGED) == 0) {
        *p = (struct places){
            .snap = spool_segment_find(spool, row->snap_seq),
            .change = row->change_seq != 0 ? spool_segment_find(spool, row->change_seq) : NULL,
            .snap_offset = row->snap_offset,
            .snap_octets = row->snap_octets,
            .change_offset = row->change_offset,
            .change_octets = row->change_octets,
        };
        spool_row_entry(row, &p->entry);
        assert(p->snap != NULL);
        /* Counted here, while the row proves that they are there; the descriptors come after. */
        p->snap->users++;
        if (p->change != NULL)
            p->change->users++;
        p->big = row->extra != NULL ? row->extra->body : NULL;
        if (p->big != NULL)
            p->big->refs++;
        r = 0;
    }
    (void)pthread_mutex_unlock(&spool->lock);
    return r;
}

static int read_change(struct spool *spool, const struct places *p, struct loaded *l)
{
    struct format_change c;
    int fd = spool_segment_use(spool, p->change);

    if (fd < 0)
        return fd;
    int r = spool_read_record(spool, p->change, fd, p->change_offset, p->change_octets, &l->change);
    spool_segment_unuse(spool, p->change);
    if (r < 0)
        return r;
    if (!format_change_decode(buf_slice(&l->change), &c) || c.rcpt_count != l->message.rcpt_count)
        return -EBADMSG;
    l->state = c.state;
    return 0;
}

static bool is_big(const struct loaded *l)
{
    return (l->message.flags & FORMAT_BIG) != 0;
}

static int find_body(const struct places *p, struct loaded *l)
{
    const struct format_message *m = &l->message;

    l->body_offset = m->body_offset;
    l->body_octets = m->body_octets;
    if (is_big(l))
        return 0;
    if (m->body_back > p->snap_offset || m->body_octets > FORMAT_UNIT_OCTETS_MAX)
        return -EBADMSG;
    l->body_at = p->snap_offset - m->body_back;
    return 0;
}

static void fill_rcpts(struct loaded *l)
{
    uint32_t count = l->message.rcpt_count, rcpt;
    struct slice texts = l->state.texts, text;

    l->rcpts = mem_zalloc(count * sizeof(l->rcpts[0]));
    for (uint32_t i = 0; i < count && l->state.states.len > 0; i++)
        l->rcpts[i].state =
            (enum spool_rcpt_state)format_states_get((const uint8_t *)l->state.states.ptr, i);
    while (format_text_next(&texts, &rcpt, &text)) {
        if (rcpt < count)
            l->rcpts[rcpt].text = text;
        else
            l->held_text = text;
    }
}

static int load_records(struct spool *spool, const struct places *p, struct loaded *l)
{
    l->fd = spool_segment_use(spool, p->snap);
    if (l->fd < 0)
        return l->fd;
    l->segment = p->snap;
    int r = spool_read_record(spool, p->snap, l->fd, p->snap_offset, p->snap_octets, &l->record);
    if (r == 0 && !format_message_decode(buf_slice(&l->record), false, &l->message))
        r = -EBADMSG;
    if (r < 0)
        return r;
    l->state = l->message.state;
    if (p->change != NULL)
        r = read_change(spool, p, l);
    return r < 0 ? r : find_body(p, l);
}

static void free_loaded(struct loaded *l)
{
    struct spool *spool = l->spool;

    if (l->segment != NULL)
        spool_segment_unuse(spool, l->segment);
    assert(l->big_readers == 0);
    if (l->big != NULL) {
        (void)pthread_mutex_lock(&spool->lock);
        spool_big_unref(spool, l->big);
        (void)pthread_mutex_unlock(&spool->lock);
    }
    (void)pthread_mutex_destroy(&l->big_lock);
    buf_free(&l->record);
    buf_free(&l->change);
    free(l->rcpts);
    free(l);
}

/* A live message whose file is not there is damage, and must not look as if it had been delivered. */
static int what_is_missing(struct spool *spool, struct spool_key key)
{
    struct spool_entry entry;

    return spool_entry_of(spool, key, &entry) ? -EIO : -ENOENT;
}

int spool_load(struct spool *spool, struct spool_key key, struct spool_loaded **ret)
{
    struct places p;
    int r = find_places(spool, key, &p);

    if (r < 0)
        return r;
    struct loaded *l = mem_zalloc(sizeof(*l));
    l->spool = spool;
    l->big = p.big;
    l->big_fd = -1;
    (void)pthread_mutex_init(&l->big_lock, NULL);
    atomic_init(&l->refs, 1);
    r = load_records(spool, &p, l);
    spool_segment_unuse(spool, p.snap);
    if (p.change != NULL)
        spool_segment_unuse(spool, p.change);
    if (r < 0) {
        free_loaded(l);
        return r == -ENOENT ? what_is_missing(spool, key) : r;
    }
    fill_rcpts(l);
    l->view = (struct spool_loaded){
        .entry = p.entry,
        .envelope = l->message.envelope,
        .head = l->message.head,
        .body_octets = l->body_octets - l->body_offset,
        .rcpts = l->rcpts,
        .held_text = l->held_text,
        .private_ = l,
    };
    *ret = &l->view;
    return 0;
}

struct spool_loaded *spool_loaded_ref(struct spool_loaded *loaded)
{
    struct loaded *l = loaded->private_;

    (void)atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return loaded;
}

void spool_unload(struct spool_loaded *loaded)
{
    struct loaded *l = loaded != NULL ? loaded->private_ : NULL;

    if (l != NULL && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        free_loaded(l);
}

uint64_t spool_loaded_octets(const struct spool_loaded *loaded)
{
    return loaded->head.len + loaded->body_octets;
}

/* ---- the body ---- */

static int open_big(const struct loaded *l, const char *name, char why[SPOOL_WHY_MAX])
{
    const struct spool_io *io = l->spool->io;
    int fd = io->open(io->ctx, l->spool->big_dir, name, O_RDONLY);

    if (fd < 0) {
        (void)snprintf(why, SPOOL_WHY_MAX, "big/%s: %s", name, strerror(-fd));
        return fd;
    }
    int64_t size = io->size(io->ctx, fd);
    if (size == (int64_t)l->body_octets)
        return fd;
    io->close(io->ctx, fd);
    if (size < 0)
        (void)snprintf(why, SPOOL_WHY_MAX, "big/%s: %s", name, strerror((int)-size));
    else
        (void)snprintf(why, SPOOL_WHY_MAX, "big/%s has %llu octets, expected %llu", name, (unsigned long long)size,
                       (unsigned long long)l->body_octets);
    return size < 0 ? (int)size : -EBADMSG;
}

int spool_body_open(struct spool_loaded *loaded, char why[SPOOL_WHY_MAX])
{
    struct loaded *l = loaded->private_;
    char name[SPOOL_ID_TEXT_MAX], words[SPOOL_WHY_MAX];
    int r = 0;

    if (!is_big(l))
        return 0;
    spool_key_print(l->message.body_key, name);
    (void)pthread_mutex_lock(&l->big_lock);
    if (l->big_readers == 0)
        r = l->big_fd = open_big(l, name, why != NULL ? why : words);
    if (r >= 0)
        l->big_readers++;
    (void)pthread_mutex_unlock(&l->big_lock);
    return r < 0 ? r : 0;
}

void spool_body_close(struct spool_loaded *loaded)
{
    struct loaded *l = loaded->private_;

    if (!is_big(l))
        return;
    (void)pthread_mutex_lock(&l->big_lock);
    assert(l->big_readers > 0);
    if (--l->big_readers == 0)
        l->spool->io->close(l->spool->io->ctx, l->big_fd);
    (void)pthread_mutex_unlock(&l->big_lock);
}

static ssize_t read_body(struct spool_loaded *loaded, uint64_t at, void *buffer, size_t octets)
{
    struct loaded *l = loaded->private_;
    const struct spool_io *io = l->spool->io;
    int r = spool_body_open(loaded, NULL);

    if (r < 0)
        return r;
    ssize_t n = io->pread(io->ctx, is_big(l) ? l->big_fd : l->fd, buffer, octets, l->body_at + l->body_offset + at);
    spool_body_close(loaded);
    return n != 0 ? n : -EIO; /* the message is longer than its file */
}

int64_t spool_read(struct spool_loaded *loaded, uint64_t offset, void *buffer, size_t octets)
{
    size_t done = 0;

    if (offset < loaded->head.len) {
        struct slice head = slice_head(slice_from(loaded->head, offset), octets);
        memcpy(buffer, head.ptr, head.len);
        done = head.len;
        offset += head.len;
    }
    uint64_t at = offset - loaded->head.len;
    if (at >= loaded->body_octets || done == octets)
        return (int64_t)done;
    size_t want = octets - done;
    if (want > loaded->body_octets - at)
        want = (size_t)(loaded->body_octets - at);
    ssize_t n = read_body(loaded, at, (char *)buffer + done, want);
    if (n < 0)
        return done > 0 ? (int64_t)done : n;
    return (int64_t)(done + (size_t)n);
}

bool spool_entry_of(struct spool *spool, struct spool_key key, struct spool_entry *ret)
{
    bool found = false;

    (void)pthread_mutex_lock(&spool->lock);
    struct row *row = key.group != 0 ? spool_index_find(&spool->index, key) : NULL;
    if (row != NULL && (row->flags & ROW_STAGED) == 0) {
        spool_row_entry(row, ret);
        found = true;
    }
    (void)pthread_mutex_unlock(&spool->lock);
    return found;
}

/* What copy-forward needs beyond the view. */
void spool_loaded_copy(const struct spool_loaded *loaded, struct unit_copy *copy, struct format_state *state)
{
    const struct loaded *l = loaded->private_;

    *state = l->state;
    copy->version = state->version++;
    copy->state = state;
    copy->big = is_big(l);
    copy->body_key = l->message.body_key;
    copy->body_octets = l->body_octets;
}

uint64_t spool_loaded_body_offset(const struct spool_loaded *loaded)
{
    const struct loaded *l = loaded->private_;

    return l->body_offset;
}
