/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_rows.h - what the step `dmarc` collects for aggregate reports, as it stands on disk until `tern dmarc send`
 * reports it; and the options of both.
 *
 * A folder has a file for each UTC day, rows-2026-11-22, a line for each message:
 *
 *   1 TAB policy domain TAB policy TAB what happened
 *
 * Equal lines are equal rows of a report: sorting and counting is all that aggregating is. Fields are separated by TAB,
 * words in them by blanks; controls, blanks, "%" and octets above 126 are %XX; a word that is empty is "-". A line that
 * a crash has torn, or that is of another version, is passed over. Pure but for the options.
 */
#ifndef MODULES_LIB_DMARC_ROWS_H
#define MODULES_LIB_DMARC_ROWS_H

#include "dmarc_report.h"

#define DMARC_ROW_VERSION      "1"
#define DMARC_ROW_OCTETS_MAX   4096 /* of a line; signatures that do not fit are left out, the last first */
#define DMARC_ROW_WORD_MAX     256  /* of a word, as it was; longer ones are cut */
#define DMARC_ROW_DKIMS_MAX    8
#define DMARC_ROWS_FILE        "rows-"
#define DMARC_ROWS_FILE_OCTETS 32

/* Option `reports` of the step: none, or one of them. */
struct dmarc_reports_conf {
    tern_str path, org_name, email, contact, domain, sender;
    tern_address submit;
    uint64_t day_size, mail_size, keep_s;
    int mails; /* enum dmarc_mails */
};
enum dmarc_mails { DMARC_MAILS_PER_ADDRESS, DMARC_MAILS_PER_DOMAIN };
extern const struct tern_option dmarc_reports_options[];

/*
 * A line with its LF into out[DMARC_ROW_OCTETS_MAX]; of `policy` the policy's fields. Returns its octets, or 0 if the
 * row has no domain or address to be counted by.
 */
size_t dmarc_row_print(const struct dmarc_report *policy, const struct dmarc_report_row *row, char *out);

/* The parts of a line, without its LF. False: it is none. */
struct dmarc_row_line {
    tern_str domain, policy, what;
};
bool dmarc_row_split(tern_str line, struct dmarc_row_line *ret);
/* Into the fields of `report`, and a row in its memory. False: they are not as we write them. */
bool dmarc_row_policy(tern_str policy, struct dmarc_report *report);
bool dmarc_row_what(tern_str what, struct dmarc_report *report, struct dmarc_report_row *ret);

/* "rows-2026-11-22" of the day (days since 1970) into out[DMARC_ROWS_FILE_OCTETS]; and back, -1: it is none. */
void dmarc_rows_file(int64_t day, char *out);
int64_t dmarc_rows_day(const char *file);

#endif
