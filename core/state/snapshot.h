/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - the contents of a table at one moment: immutable, counted, read without a lock.
 *
 * Keys are folded to ASCII lower case when added; who looks up folds first (snapshot_fold).
 */
#ifndef TERN_STATE_SNAPSHOT_H
#define TERN_STATE_SNAPSHOT_H

#include <tern/module.h>

#include "base/buf.h"
#include "base/slice.h"

#define SNAPSHOT_KEY_OCTETS_MAX   1024
#define SNAPSHOT_VALUE_OCTETS_MAX 65535
#define SNAPSHOT_OCTETS_MAX       (UINT32_C(2) << 30)

struct snapshot;

/* Begin with SNAPSHOT_BUILD_INIT; ends with snapshot_finish() or snapshot_drop(). */
struct snapshot_build {
    struct buf entries;
    size_t count;
    size_t twice; /* set by snapshot_finish(): keys that were there already; the first stays */
};
#define SNAPSHOT_BUILD_INIT                                                                        \
    {                                                                                              \
        BUF_INIT, 0, 0                                                                             \
    }

/* -EINVAL: empty key, or key or value too long; -ENOSPC: too many entries or octets. */
int snapshot_add(struct snapshot_build *build, struct slice key, struct slice value);
struct snapshot *snapshot_finish(struct snapshot_build *build); /* empties `build` */
void snapshot_drop(struct snapshot_build *build);

size_t snapshot_count(const struct snapshot *s);
/* Writes the folded key to `folded`; false: too long to be in any table. */
bool snapshot_fold(struct slice key, char folded[SNAPSHOT_KEY_OCTETS_MAX], struct slice *ret);
/* The value is borrowed from the snapshot. */
bool snapshot_find(const struct snapshot *s, struct slice folded, tern_str *ret);
void snapshot_free(struct snapshot *s); /* one that was never published */

/* The place where readers find the snapshot of the day. Zeroed memory is an empty place. */
struct snapshot_place {
    _Atomic uint64_t word;
};
/*
 * Puts `s` (or nothing, NULL) there; what was there before is freed once its last reader
 * lets go. One writer at a time. -ENOSPC: too many snapshots are alive; nothing has
 * changed.
 */
int snapshot_publish(struct snapshot_place *place, struct snapshot *s);
/* The snapshot of now, counted, or NULL. Any thread; never waits. */
struct snapshot *snapshot_take(struct snapshot_place *place);
void snapshot_release(struct snapshot *s);

#endif
