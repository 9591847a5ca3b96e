/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simdisk.h - a disk in memory behind struct spool_io. It keeps what was written apart from what was
 * synced, file by file and name by name, and can be crashed at any moment into a new disk that
 * holds what a real one might: all that was synced, and of the rest any subset, torn at 512 octets.
 *
 * Every call asks `before` first, which may let it pass, fail it, cut a write short, or
 * make a crashed copy. One thread.
 */
#ifndef TERN_TESTS_SIMDISK_H
#define TERN_TESTS_SIMDISK_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/io.h"
#include "state/body.h"

struct simdisk;

enum sim_call {
    SIM_OPEN,   /* reading, or of what is there */
    SIM_CREATE,
    SIM_READ,
    SIM_WRITE,
    SIM_SYNC,
    SIM_SYNC_DIR,
    SIM_ALLOCATE,
    SIM_TRUNCATE,
    SIM_RENAME,
    SIM_UNLINK,
    SIM_LINK,
    SIM_LIST,
    SIM_STAT,
    SIM_CALL_COUNT,
};
const char *sim_call_name(enum sim_call call);
bool sim_call_changes(enum sim_call call); /* what a crash can tell apart */

#define SIM_SHORT 1 /* from `before`: write only a part, cut at a random octet */

struct simdisk *simdisk_new(uint64_t seed, uint64_t capacity);
void simdisk_free(struct simdisk *disk);
const struct spool_io *simdisk_io(struct simdisk *disk);
const struct body_io *simdisk_body_io(struct simdisk *disk);
/* 0, a negative errno, or SIM_SHORT (writes only). NULL: everything passes. */
void simdisk_set_before(struct simdisk *disk, int (*before)(void *arg, enum sim_call call), void *arg);

/* What a loss of power at this moment may leave. Equal seeds give equal disks. */
struct simdisk *simdisk_crash(const struct simdisk *disk, uint64_t seed);
/* Everything is as the page cache has it: kill -9. */
struct simdisk *simdisk_kill(const struct simdisk *disk);

/* Octets of a file in the folder, for tests that damage it; NULL if there is none. Durable at once. */
uint8_t *simdisk_file(struct simdisk *disk, const char *name, uint64_t *ret_octets);
void simdisk_put(struct simdisk *disk, const char *name, const void *octets, uint64_t len);
void simdisk_names(struct simdisk *disk, void (*each)(void *arg, const char *name), void *arg);
unsigned simdisk_big_count(const struct simdisk *disk); /* files in big/ */
void simdisk_remove(struct simdisk *disk, const char *name);
unsigned simdisk_open_count(const struct simdisk *disk); /* descriptors */
void simdisk_set_capacity(struct simdisk *disk, uint64_t capacity);

struct simrandom {
    uint64_t state;
};
uint64_t simrandom_next(struct simrandom *r);
uint64_t simrandom_below(struct simrandom *r, uint64_t n); /* n > 0 */

#endif
