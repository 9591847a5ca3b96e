/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_write.h - a signature field as it grows, folded; and which fields it names: of dkim_sign and arc_seal. Pure.
 */
#ifndef MODULES_LIB_DKIM_WRITE_H
#define MODULES_LIB_DKIM_WRITE_H

#include "dkim.h"

#define DKIM_WRITE_NAMES_MAX    400 /* in h= */
#define DKIM_WRITE_LINE_OCTETS  74  /* where a line is folded */
#define DKIM_WRITE_B64_OCTETS   (DKIM_B_OCTETS_MAX * 4 / 3 + 8)

struct dkim_write {
    char *at;        /* there is always a NUL behind what is there */
    size_t room, len;
    size_t line;     /* octets of the line so far */
    size_t line_max; /* DKIM_WRITE_LINE_OCTETS; SIZE_MAX: never folded */
};
void dkim_write_init(struct dkim_write *w, char *out, size_t room, size_t line_max);
void dkim_write(struct dkim_write *w, const char *text, size_t len);
/* With a blank in front, or on a line of its own if this one is full. */
void dkim_write_tag(struct dkim_write *w, const char *format, ...) TERN_PRINTF(2, 3);
/* In one piece, on a line of its own if this one is full. */
void dkim_write_word(struct dkim_write *w, const char *text, size_t len);
/* Folded anywhere. */
void dkim_write_base64(struct dkim_write *w, const char *text);
/* Begins a line, unless lines are never folded; says whether. */
bool dkim_write_fold(struct dkim_write *w);

/* What h= names: `headers`, each as often as it is there, and those of `oversign` once more. */
struct dkim_names {
    struct tern_list headers, oversign;
};
void dkim_write_names(struct dkim_write *w, const struct dkim_names *names, const struct dkim_field *fields,
                      size_t count);
/* Octets that the names need at most. */
size_t dkim_names_room(const struct dkim_names *names);

#endif
