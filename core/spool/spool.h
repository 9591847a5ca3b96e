/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.h - the durable store: a segment log with group commit. docs/queue.md is its law.
 *
 * One spool thread writes; everybody else submits jobs and hears when they are durable.
 * Reading (spool_load) is for any thread.
 */
#ifndef TERN_SPOOL_SPOOL_H
#define TERN_SPOOL_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "state/body.h"

struct spool;
struct spool_io; /* spool/io.h: every system call the spool makes; tests put a simulated disk there */

/*
 * A message: transaction and group. The text form is 13 characters of Crockford base32 of txn
 * (lower case, sorts by time), and ".2", ".3" for group 2 and up: "06c2k3nm7d0g4", "06c2k3nm7d0g4.2".
 * txn: 40 bit milliseconds since 2026-01-01, 8 bit node, 16 bit counter; never reused.
 */
struct spool_key {
    uint64_t txn;
    uint16_t group; /* 1 = the first */
};
#define SPOOL_ID_TEXT_MAX 24
void spool_key_print(struct spool_key key, char out[SPOOL_ID_TEXT_MAX]);
bool spool_key_parse(struct slice text, struct spool_key *ret);
uint64_t spool_key_wall_ms(struct spool_key key);
/* A new txn; any thread. Strictly rising within the process and, after spool_open(), above all on disk. */
uint64_t spool_id_new(struct spool *spool);
/* The same without a spool: by the clock and a counter of the process, 0 at its start. Any thread. */
uint64_t spool_id_draw(_Atomic uint64_t *last_id, unsigned node);

/* ---- opening ---- */

struct spool_options {
    const char *path;
    uint64_t segment_octets;   /* 64 KB to 1 GB; 0: 64 MB */
    uint64_t min_free_octets;  /* below it spool_has_room() is false */
    uint64_t reserve_octets;   /* kept back for outcomes */
    unsigned spare_max;        /* finished segments kept for reuse; 0: 3 */
    unsigned node;
    const struct spool_io *io; /* NULL: the real disk */
    unsigned lock_wait_ms;     /* how long to wait for another owner's lock */
};

struct spool_stats {
    uint64_t messages, segments, spares, replayed_records, torn_octets, damaged_batches;
};

/* Locks, recovers, makes spares. On failure a sentence in error. Runs no thread yet. */
int spool_open(const struct spool_options *options, struct spool **ret, char *error, size_t octets);
int spool_start(struct spool *spool); /* the spool thread and the spare maker */
/* Ends the threads, finishes what was submitted since; false: there was nothing. What was loaded stays. */
bool spool_finish(struct spool *spool);
void spool_close(struct spool *spool); /* spool_finish(), and unlocks: nothing that was loaded is used any more */
void spool_get_stats(struct spool *spool, struct spool_stats *ret);
bool spool_has_room(struct spool *spool); /* any thread; cheap */
/* When the oldest live message came, wall clock; 0: there is none. Looks at all rows, a few at a time. Any thread. */
uint64_t spool_oldest_ms(struct spool *spool);
int spool_tmp_dir(struct spool *spool);   /* for body_new() */

/* ---- what is known of a live message without reading it ---- */

enum spool_rcpt_state { SPOOL_RCPT_QUEUED, SPOOL_RCPT_DELIVERED, SPOOL_RCPT_BOUNCED, SPOOL_RCPT_DISCARDED };

struct spool_entry {
    struct spool_key key;
    uint64_t arrival_ms; /* wall */
    uint64_t due_ms;     /* wall; next attempt; of a held one: since when it is held */
    uint64_t octets;
    uint32_t attempts;
    uint32_t rcpt_count, pending_count;
    bool held;
    bool operator_held; /* not by the policy */
    bool bounce;        /* null reverse-path */
};
/* Every live message, after spool_open(), before spool_start(). */
void spool_each(struct spool *spool, void (*each)(void *arg, const struct spool_entry *e), void *arg);

/* ---- jobs ---- */

/* One message of a commit. Slices are copied by spool_submit(). */
struct spool_message {
    struct spool_key key;
    struct slice envelope;  /* envelope_encode() */
    struct slice head;      /* octets that go before the body from body_offset on */
    uint64_t body_offset;
    uint32_t rcpt_count;
    uint64_t arrival_ms, due_ms;
    bool held, bounce;
};

enum spool_change_kind {
    SPOOL_ATTEMPTED, /* rcpts got outcomes; the rest is due again at due_ms */
    SPOOL_HELD,      /* since due_ms */
    SPOOL_RELEASED,  /* due at due_ms */
    SPOOL_RETRY,     /* due_ms only; 0: nothing, the state is written once more */
    SPOOL_DELETED,   /* all pending recipients are discarded */
};

#define SPOOL_RCPT_NONE UINT32_MAX /* with SPOOL_HELD: the text is why the whole message is held */
struct spool_rcpt_change {
    uint32_t rcpt;
    enum spool_rcpt_state state;
    struct slice text; /* last reply, shown in the queue; at most 512 octets are kept */
};

struct spool_change {
    struct spool_key key;
    enum spool_change_kind kind;
    uint64_t due_ms;
    bool operator_held; /* SPOOL_HELD */
    uint32_t attempts;
    const struct spool_rcpt_change *rcpts;
    uint32_t rcpt_count;
};

/*
 * One append unit, all or none: a body with its messages, or changes, or both (a bounced
 * outcome and its notice). The spool takes a reference to the body until done.
 */
struct spool_job {
    struct list link;                 /* the spool's */
    struct body *body;                /* or NULL */
    const struct spool_message *messages; /* group numbers 1..n refer to the one body */
    unsigned message_count;
    const struct spool_change *changes;
    unsigned change_count;
    int status;                       /* when done: 0, -ENOSPC, -EIO, ... nothing is half stored */
    void (*done)(struct spool_job *job); /* on the spool thread, after the sync; must be short */
    void *arg;
    void *spool_private;
};

/* Any thread. `job` stays the caller's and must live until `done`; what it points to is copied here
 * (the body is shared). The order of submission of one thread is the order on disk. */
void spool_submit(struct spool *spool, struct spool_job *job);

/* ---- reading ---- */

struct spool_rcpt_status {
    enum spool_rcpt_state state;
    struct slice text;
};
struct spool_loaded {
    struct spool_entry entry;
    struct slice envelope; /* owned by this */
    struct slice head;
    uint64_t body_octets;
    const struct spool_rcpt_status *rcpts; /* entry.rcpt_count */
    struct slice held_text; /* what came with SPOOL_HELD; a release ends it */
    void *private_;
};
/* -ENOENT if it is not live. Pins segment and body until spool_unload(). Reads the envelope, not the body. */
int spool_load(struct spool *spool, struct spool_key key, struct spool_loaded **ret);
struct spool_loaded *spool_loaded_ref(struct spool_loaded *loaded);
void spool_unload(struct spool_loaded *loaded);
/* The message as it goes out: head, then body from body_offset. From `offset`; octets copied, 0 at the end. */
int64_t spool_read(struct spool_loaded *loaded, uint64_t offset, void *buffer, size_t octets);
uint64_t spool_loaded_octets(const struct spool_loaded *loaded);
/*
 * From now on a body that has a file of its own is held open; each success is ended by one spool_body_close().
 * A negative errno (-ENOENT: it is missing, -EBADMSG: it is not as long as the message says), with the words for it
 * in `why` unless that is NULL. spool_read() works without, and then opens for one call. Any thread.
 */
#define SPOOL_WHY_MAX 128
int spool_body_open(struct spool_loaded *loaded, char why[SPOOL_WHY_MAX]);
void spool_body_close(struct spool_loaded *loaded);
bool spool_entry_of(struct spool *spool, struct spool_key key, struct spool_entry *ret);

/* ---- offline ---- */

/* Proves the invariants of docs/queue.md; one line a finding to `out`. Returns the number of findings or a
 * negative errno. Takes the lock; `repair` writes a fresh side index and sets damaged segments aside. */
int spool_fsck(const struct spool_options *options, bool repair, struct buf *out);

#endif
