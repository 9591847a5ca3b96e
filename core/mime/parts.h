/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.h - the MIME leaves of a message: where each body lies, its type, charset, file name.
 *
 * Streaming over a reader, so that a message in a file is never in memory: what is held is one
 * block of 64 KB, one part's header and the open boundaries. Descends into multipart/... and into
 * message/rfc822 and message/global that are not encoded; their containers are no leaves. Broken
 * input gives leaves too: a multipart without boundary is a leaf of its own type, one that is
 * never closed ends with the message or with the boundary of an outer one. Decoding is the
 * caller's business.
 *
 * Sources: RFC 2045, 2046, 2183, 2231, 2047.
 */
#ifndef TERN_MIME_PARTS_H
#define TERN_MIME_PARTS_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/slice.h"

#define PARTS_MAX               1000
#define PARTS_DEPTH_MAX         20
#define PARTS_BOUNDARY_MAX      250   /* RFC 2046 5.1.1 says 70; some write more */
#define PARTS_HEADER_OCTETS_MAX 65536 /* of a part's header is looked at */
#define PARTS_PARAMS_MAX        64    /* parameters of one field */
#define PARTS_TEXT_OCTETS_MAX   1024  /* of one file name, decoded */

struct parts {
    const struct tern_part *items; /* in the arena */
    unsigned count;
    bool truncated; /* one of the limits was reached; the leaves up to there are given */
};

/* Copies up to `octets` from `offset` of the body view; how many, 0 at the end, negative errno. */
typedef int64_t (*parts_read_fn)(void *arg, uint64_t offset, void *buffer, size_t octets);

/*
 * `header`: the message's header block; `read` gives the octets behind its blank line, and
 * offsets count from there. Returns 0 or what read() failed with (*ret is left as it was). A
 * message that is not multipart is one leaf of depth 0. May read a disk: not on a loop when the
 * body is in a file.
 */
int parts_parse(struct slice header, parts_read_fn read, void *arg, struct arena *arena,
                struct parts *ret);

#endif
