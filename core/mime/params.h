/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.h - "; name=value" behind Content-Type and Content-Disposition (RFC 2045, 2231). For
 * this folder.
 */
#ifndef TERN_MIME_PARAMS_H
#define TERN_MIME_PARAMS_H

#include "base/arena.h"
#include "base/slice.h"

struct mime_param {
    struct slice name;  /* "filename", "filename*", "filename*0*" as written */
    struct slice value; /* unquoted */
};

struct mime_params {
    struct mime_param *items; /* room for PARTS_PARAMS_MAX */
    unsigned count;
    bool truncated;
};

/* `rest`: the field behind its first word. What does not parse is passed over to the next ';'. */
void mime_params_parse(struct slice rest, struct arena *arena, struct mime_params *ret);
/* As written, unquoted; continuations (name*0, name*1 ...) joined, not decoded; empty if absent. */
struct slice mime_params_raw(const struct mime_params *p, struct slice name, struct arena *arena);
/* For people: RFC 2231 charset and percent decoding, or RFC 2047; UTF-8 without controls. */
struct slice mime_params_text(const struct mime_params *p, struct slice name, struct arena *arena);

#endif
