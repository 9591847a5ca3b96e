/* SPDX-License-Identifier: Apache-2.0 */
/* dmarc.h - between the files of `tern dmarc`. */
#ifndef TERN_CLI_DMARC_H
#define TERN_CLI_DMARC_H

#include <lib/dmarc_report.h>

#include "base/buf.h"

int dmarc_cmd_report(int argc, char **argv);
int dmarc_cmd_send(int argc, char **argv);

/* One report read, or why not; in the order of the files. */
struct dmarc_source {
    const char *file;
    struct dmarc_report *report; /* NULL: rejected */
    bool repeated;               /* the same report stood in an earlier file: not counted again */
    char error[DMARC_REPORT_ERROR_OCTETS];
};
/*
 * The report in `octets`: XML, gzip, zip, or a mail that carries one of them in a part. 0, or -EBADMSG with the
 * reason in `error`.
 */
int dmarc_source_read(struct slice octets, struct dmarc_report **ret, char *error);

/* All reports of a run are held until its end: one for which *left octets are too few is rejected. */
#define DMARC_SOURCES_OCTETS_MAX (512u << 20)
void dmarc_source_count(struct dmarc_source *source, uint64_t *left);

void dmarc_print_table(const struct dmarc_source *sources, size_t count);
void dmarc_print_json(const struct dmarc_source *sources, size_t count);
/* `octets` is what a stranger wrote: controls, and what turns the direction of writing, never reach a terminal. */
void dmarc_print_safe(struct buf *out, tern_str text, size_t octets_max);

#endif
