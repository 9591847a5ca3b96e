/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of this folder share. The words are those of docs/queue.md.
 *
 * Threads: the spool thread writes the log and is the only one that changes rows; the maker prepares,
 * indexes, reclaims and copies; the syncer makes big bodies durable. `lock` guards rows and segments: the
 * spool thread changes rows under it and may read them without. Lock order: make_lock, lock.
 */
#ifndef TERN_SPOOL_INTERNAL_H
#define TERN_SPOOL_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/inbox.h"
#include "base/list.h"
#include "base/metrics.h"
#include "base/table.h"
#include "spool/format.h"
#include "spool/io.h"
#include "spool/spool.h"

#define SPOOL_NAME_MAX 32

/* ---- segments ---- */

enum segment_state { SEGMENT_READY, SEGMENT_ACTIVE, SEGMENT_SEALED, SEGMENT_VOID, SEGMENT_LIMBO };

struct segment {
    uint32_t seq;
    enum segment_state state;
    uint64_t seed, octets, used; /* octets: of the file; used: committed */
    uint64_t first_batch, last_batch, id_ceiling, prev_octets;
    uint32_t prev_seq;
    bool indexed;    /* durably */
    bool damaged;    /* set aside, not recycled */
    bool condemned;  /* a call failed on it: not recycled */
    bool stuck;      /* one in limbo pins it: nothing frees it before the next start */
    uint64_t sealed_ms;
    int fd;
    unsigned users;  /* readers; it is not reclaimed meanwhile */
    uint32_t live;   /* newest snapshots and changes of live messages in it */
    uint64_t live_octets;
    struct segment **pins; /* segments whose outcomes finish messages that have a copy here */
    unsigned pin_count, pin_size, pinned_by;
};

struct segment *spool_segment_new(struct spool *spool, const struct format_segment *header);
void spool_segment_free(struct segment *segment);
struct segment *spool_segment_find(struct spool *spool, uint32_t seq); /* caller holds lock, or is opening */
void spool_segment_insert(struct spool *spool, struct segment *segment); /* caller holds lock */
void spool_segment_remove(struct spool *spool, struct segment *segment); /* the same; frees it */
void spool_segment_pin(struct segment *holder, struct segment *outcome); /* the same */
void spool_segment_name(uint32_t seq, const char *suffix, char out[SPOOL_NAME_MAX]);
/* The descriptor, opened when it is not; counts a user. Takes lock. Negative errno. */
int spool_segment_use(struct spool *spool, struct segment *segment);
void spool_segment_unuse(struct spool *spool, struct segment *segment);
void spool_segment_seal(struct spool *spool, struct segment *segment); /* takes lock */
/* Makes one segment ready, from a spare or anew, of at least `octets`. Any thread; takes make_lock. */
int spool_segment_prepare(struct spool *spool, uint64_t octets);
struct segment *spool_segment_next(struct spool *spool); /* the first ready one, or NULL; takes lock */
unsigned spool_segment_ready(struct spool *spool);       /* how many; takes lock */
/* Renames to a spare (its number, else 0) or unlinks; the caller syncs the folder, then adds the spare, and says
 * how many he has still to add. */
int spool_segment_discard(struct spool *spool, struct segment *segment, unsigned to_add, uint64_t *ret_spare);
void spool_spare_add(struct spool *spool, uint64_t number, uint64_t octets); /* make_lock, or opening */

/* ---- rows ---- */

enum { ROW_HELD = 1, ROW_BOUNCE = 2, ROW_BIG = 4, ROW_STAGED = 8, ROW_SNAPSHOT = 16, ROW_LOST = 32,
       ROW_OPERATOR = 64 /* who holds it */ };

#define ROW_STATES_INLINE 32u /* recipients whose states fit the row */

struct row_extra {
    uint8_t *states;         /* more than ROW_STATES_INLINE recipients */
    struct spool_key body_key;
    struct big_body *body;
    uint32_t *moved;         /* segments with older copies */
    unsigned moved_count;
};

struct row {
    struct spool_key key;
    uint64_t arrival_ms, due_ms, octets;
    uint8_t states[ROW_STATES_INLINE / 4];
    struct row_extra *extra;
    uint32_t snap_seq, snap_offset, snap_octets;    /* of the record: payload octets */
    uint32_t change_seq, change_offset, change_octets;
    uint32_t version, attempts, rcpt_count, pending;
    uint32_t mark;           /* which job of the batch being built touches it; recovery: version of the snapshot */
    uint32_t next;           /* of the same hash; 0: none */
    uint16_t flags;
};

struct index {
    struct row **slabs;
    uint32_t slab_count, used; /* used: rows ever handed out; row 0 is none */
    uint32_t free_first;
    uint32_t *heads;
    uint32_t head_count;       /* a power of two */
    uint64_t count;
};

void spool_index_init(struct index *index);
void spool_index_free(struct index *index);
struct row *spool_index_find(const struct index *index, struct spool_key key);
struct row *spool_index_add(struct index *index, struct spool_key key);
void spool_index_remove(struct index *index, struct row *row);
struct row *spool_index_at(const struct index *index, uint32_t n); /* 1 .. used; NULL if free */

const uint8_t *spool_row_states(const struct row *row);
struct row_extra *spool_row_extra(struct row *row);
void spool_row_set_state(struct row *row, const struct format_state *state);
void spool_row_entry(const struct row *row, struct spool_entry *ret);
/* The newest snapshot is now there (caller holds lock, or is opening). */
void spool_row_place(struct spool *spool, struct row *row, struct segment *segment, uint64_t offset, uint64_t octets);
void spool_row_place_change(struct spool *spool, struct row *row, struct segment *segment, uint64_t offset,
                            uint64_t octets);
void spool_row_unplace(struct spool *spool, struct row *row); /* live counts only */
void spool_row_moved(struct row *row, struct spool *spool, uint32_t seq);
/* Its last outcome is durable in `outcome`: pins it, lets go the rest, removes the row. */
void spool_row_finish(struct spool *spool, struct row *row, struct segment *outcome);

/* Bodies in files, by key, with the number of live messages that have them. */
struct big_body {
    struct list link; /* spool->big_dead */
    struct spool_key key;
    uint32_t refs;
};
struct big_body *spool_big_ref(struct spool *spool, struct spool_key key);
void spool_big_unref(struct spool *spool, struct big_body *body);

/* ---- jobs on their way ---- */

enum unit_kind { UNIT_JOB, UNIT_COPY, UNIT_CEILING };

struct unit_record {
    uint64_t at;              /* from the unit's start */
    struct format_record header;
    char *octets;             /* header and payload; NULL: in the batch's scratch at scratch_at */
    size_t scratch_at;
    struct row *row;
};

struct unit {
    struct list link;
    struct spool *spool;
    struct spool_job *job;    /* NULL: UNIT_CEILING */
    struct body *body;
    struct slice body_octets; /* in memory; in the log */
    enum unit_kind kind;
    bool big, placed;         /* placed: some of it may be on disk */
    uint32_t copy_version;    /* UNIT_COPY: of the row that was read */
    int error;
    uint32_t stamp;           /* what it marks rows with while the batch is built; 0: untried */
    uint32_t number;          /* in the batch */
    char *data;               /* message records, back to back */
    size_t data_octets, scratch_at, scratch_octets;
    struct spool_change *changes; /* copied, with texts, behind the struct */
    unsigned message_count, change_count, record_count;
    uint64_t octets, offset;  /* in the segment */
    struct unit_record records[]; /* body, messages, changes */
};

void spool_unit_free(struct unit *unit);
/* A message as it was read, to be written again if its version is still `version`. */
struct unit_copy {
    uint32_t version;
    const struct format_state *state; /* with the next version */
    bool big;
    struct spool_key body_key;
    uint64_t body_octets;
};
void spool_submit_copy(struct spool *spool, struct spool_job *job, const struct unit_copy *copy);

/* An empty batch, for the id ceiling that it carries. */
void spool_submit_ceiling(struct spool *spool);

/* ---- the spool ---- */

#define BATCH_OCTETS_MAX (16u << 20)
#define BATCH_UNITS_MAX  255
#define BATCH_PIECES_MAX (BATCH_UNITS_MAX * 4 + 2) /* four each, header and padding */
_Static_assert(BATCH_PIECES_MAX <= IOV_MAX, "a batch is one pwritev");
#define COPY_MESSAGES_MAX 64 /* copied forward at a time */
#define COPY_SLACK_SEGMENTS 8
#define COPY_SLACK_FACTOR   4
#define READY_LOW 2
#define ID_RESERVE_MS 60000
#define INDEX_DELAY_MS 5000 /* many segments end sooner, and need no index */

struct spare {
    uint64_t number, octets;
};

struct batch {
    struct list units;
    unsigned count;
    uint32_t stamps;      /* units tried */
    uint64_t octets;      /* with the header, without padding */
    uint32_t records;
    struct buf scratch;   /* changes, as records */
    struct iovec iov[BATCH_PIECES_MAX];
    int iov_count;
    char header[FORMAT_BATCH_HEADER];
};

struct spool {
    const struct spool_io *io;
    int dir, big_dir, lock_fd;
    uint64_t segment_octets, min_free, reserve;
    unsigned spare_max, node;
    uint64_t index_delay_ms;
    unsigned copy_slack_segments, copy_slack_factor; /* rule 9 */

    pthread_mutex_t lock;
    struct index index;
    struct segment **segments; /* by seq */
    unsigned segment_count, segment_size;
    struct table bigs;
    struct list big_dead;
    uint64_t live_octets;

    pthread_mutex_t make_lock;
    struct spare *spares;
    unsigned spare_count;
    uint64_t next_spare, next_seq;

    /* spool thread */
    struct inbox inbox;
    struct list waiting;
    struct batch batch;
    struct segment *active, *last_good;
    uint64_t next_batch;

    struct inbox big_inbox;
    struct list syncing; /* the syncer's */
    _Atomic uint64_t free_octets, last_id, durable_ceiling;
    _Atomic unsigned copies_under_way;
    _Atomic bool ceiling_under_way, maker_due, closing;
    uint64_t prepare_failed_ms; /* make_lock */

    bool started;
    pthread_t writer, maker, syncer;
    pthread_mutex_t maker_lock;
    pthread_cond_t maker_wake;
    bool maker_stop;

    struct metric *metric_batches, *metric_units, *metric_commit_us;
    struct spool_stats stats;
    struct buf *findings; /* fsck */
    uint64_t finding_count;
    uint64_t copied, stale_copies; /* copy-forward: written, and given up for a newer version */
    uint32_t copy_seq, copy_at;    /* the maker's: the segment that it empties, the next row to be looked at */
};

void spool_wake_maker(struct spool *spool);

/* ---- parts that the threads run, and tests step by step ---- */

bool spool_writer_run(struct spool *spool); /* one batch of what waits; false: nothing did */
bool spool_syncer_run(struct spool *spool); /* big bodies that wait */
bool spool_maker_run(struct spool *spool);  /* one round of everything due */
bool spool_maker_prepare(struct spool *spool); /* of that, the segments made ready */
int spool_maker_index(struct spool *spool, struct segment *segment);
void spool_look_at_disk(struct spool *spool);
/* All three, without threads. Returns whether anything was done. Instead of spool_start(). */
bool spool_step(struct spool *spool);

/* ---- scanning ---- */

struct scan_record {
    struct format_record header;
    uint64_t offset;       /* of the header */
    struct slice payload;  /* messages and changes */
};

struct scan {
    const struct spool_io *io;
    int fd;
    uint64_t seed, octets;  /* octets: of the file */
    uint64_t limit;         /* committed length, or 0: not known */
    bool verify_bodies;
    void (*record)(void *arg, const struct scan_record *record);
    void *arg;
    /* found */
    uint64_t used, first_batch, last_batch, id_ceiling, prev_seq, prev_octets, torn_octets, damaged, records;
    int error;              /* a read failed */
    /* scratch */
    struct buf payloads;
    struct scan_record *list;
    unsigned list_count, list_size;
};
/* 0, or the errno of a read. */
int spool_scan(struct scan *scan);
void spool_scan_free(struct scan *scan);

/* ---- side index ---- */

struct side_index {
    uint64_t seq, seed, octets, used, first_batch, last_batch, id_ceiling, prev_seq, prev_octets, damaged, entries;
};
/* Scans and builds the file's octets. 0 or negative errno. */
int spool_side_build(struct spool *spool, struct segment *segment, bool verify_bodies, struct buf *out);
bool spool_side_head(struct slice file, struct side_index *ret);
/* Whether two index files say the same of a segment. Both verify. */
bool spool_side_same(struct slice a, struct slice b);
/* Calls `record` for each entry; payloads are summaries. False if one does not parse. */
bool spool_side_each(struct slice file, void (*record)(void *arg, const struct scan_record *record), void *arg);
int spool_read_file(struct spool *spool, const char *name, struct buf *out);

/* ---- opening ---- */

/* offline: for fsck; verifies everything and changes nothing. */
int spool_recover(struct spool *spool, bool offline, char *error, size_t octets);
int spool_mount(const struct spool_options *options, struct spool **ret, char *error, size_t octets);
void spool_unmount(struct spool *spool);
void spool_finding(struct spool *spool, const char *format, ...) __attribute__((format(printf, 2, 3)));
void spool_key_raise(struct spool *spool, uint64_t txn);
uint64_t spool_id_ceiling(struct spool *spool); /* for the next batch */

void spool_loaded_copy(const struct spool_loaded *loaded, struct unit_copy *copy, struct format_state *state);
uint64_t spool_loaded_body_offset(const struct spool_loaded *loaded);
int spool_read_record(struct spool *spool, struct segment *segment, int fd, uint64_t offset, uint64_t payload,
                      struct buf *out);

#endif
