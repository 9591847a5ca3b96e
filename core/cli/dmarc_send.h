/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_send.h - between the files of `tern dmarc send`: rows of days that have ended, what DNS says of where reports
 * go, mails, and the journal of what was sent.
 */
#ifndef TERN_CLI_DMARC_SEND_H
#define TERN_CLI_DMARC_SEND_H

#include <lib/dmarc_report.h>
#include <lib/dmarc_rows.h>
#include <lib/dmarc_rua.h>

#include "base/arena.h"
#include "base/buf.h"
#include "dns/dns.h"

#define DMARC_DAY_SECONDS 86400

/* ---- configuration: dmarc_config.c ---- */

struct dmarc_config;
/* NULL after it was said what is wrong: with the configuration, or that no step has `reports`. */
struct dmarc_config *dmarc_config_open(const char *path);
void dmarc_config_close(struct dmarc_config *config);
const struct dmarc_reports_conf *dmarc_config_reports(const struct dmarc_config *config);
const char *dmarc_config_hostname(const struct dmarc_config *config);
int dmarc_config_dns(const struct dmarc_config *config, struct loop *loop, struct dns **ret);

/* ---- rows: dmarc_days.c ---- */

#define DMARC_DAYS_MAX       64
#define DMARC_DAY_OCTETS_MAX (1ull << 30)

struct dmarc_line {
    struct dmarc_row_line is;
    int64_t day;
    size_t order; /* in which it was written */
};
struct dmarc_days {
    int64_t days[DMARC_DAYS_MAX]; /* of the files, oldest first */
    struct buf texts[DMARC_DAYS_MAX];
    unsigned day_count;
    struct dmarc_line *lines; /* by domain, then by what happened */
    size_t line_count;
    size_t broken; /* lines that are none */
};
/*
 * Files of the folder whose day is before `today`; of those before `oldest` only the day, their rows are given up. Of
 * more than DMARC_DAYS_MAX the newest. 0 or a negative errno.
 */
int dmarc_days_read(int folder_fd, int64_t oldest, int64_t today, struct dmarc_days *ret);
void dmarc_days_free(struct dmarc_days *days);
/* Lines of one domain from `at` on. */
size_t dmarc_days_domain(const struct dmarc_days *days, size_t at);
/*
 * A report of these lines that are of days behind `through`; NULL: there are none. The caller frees it. What the
 * options say (org_name, ...) is not filled in, nor the id.
 */
struct dmarc_report *dmarc_days_report(const struct dmarc_line *lines, size_t count, int64_t through);

/* ---- DNS: dmarc_where.c ---- */

struct dmarc_asker {
    struct loop *loop;
    struct dns *dns;
    uint64_t until_ms; /* of clock_now_ms(): then what is not known is NOT_NOW */
};
enum dmarc_found { DMARC_FOUND, DMARC_NOTHING, DMARC_NOT_NOW };
struct dmarc_where {
    struct dmarc_rua to[DMARC_RUA_MAX]; /* addresses in one spelling, none twice, all verified */
    unsigned count;
    bool later;       /* some could not be verified now */
    struct buf said;  /* why some are left out: a line each */
};
/* Where the present record wants reports. NOT_NOW: DNS did not answer. */
enum dmarc_found dmarc_where_ask(const struct dmarc_asker *asker, tern_str domain, struct dmarc_where *ret);
void dmarc_where_free(struct dmarc_where *where);

/* ---- all domains: dmarc_ask.c ---- */

#define DMARC_ASKERS_MAX 16    /* domains that are asked about at a time */
#define DMARC_LOOKUP_MS  20000 /* for all questions about one */

/* One domain's lines, and where reports of them go. On any thread, one at a time. */
typedef void (*dmarc_found_fn)(void *arg, const struct dmarc_line *lines, size_t count, enum dmarc_found found,
                               const struct dmarc_where *where);
/* Asks about each domain, and is back when all is said. 0, or a negative errno: there is no name server. */
int dmarc_ask_all(const struct dmarc_config *config, const struct dmarc_days *days, dmarc_found_fn done, void *arg);

/* ---- mails: dmarc_compose.c ---- */

struct dmarc_mail {
    const struct dmarc_reports_conf *conf;
    const char *submitter, *address;
    int64_t now_s;
    struct buf body; /* the parts so far */
    struct buf names; /* domains in them, for the text */
    char id[40], domain[256]; /* of the first report */
    unsigned count;
};
/* Fills in who reports, and the id: the same for the same report, however often it is made (RFC 9990 3.5.2). */
void dmarc_report_sign(struct dmarc_report *report, const struct dmarc_reports_conf *conf, const char *submitter);
/* One more part, unless the mail would have more than `octets_max`. -EFBIG: it would; -EIO: it cannot be made. */
int dmarc_mail_add(struct dmarc_mail *mail, const struct dmarc_report *report, uint64_t octets_max);
/* The whole of it. */
void dmarc_mail_end(struct dmarc_mail *mail, struct buf *ret);
void dmarc_mail_free(struct dmarc_mail *mail);

/* ---- SMTP: dmarc_submit.c ---- */

struct dmarc_submitter;
struct dmarc_submitter *dmarc_submitter_new(struct loop *loop, const tern_address *to, const char *helo);
void dmarc_submitter_free(struct dmarc_submitter *submitter);
/* The reply's code, with its text in `ret_text`: 2xx, taken. Never less than 200. */
unsigned dmarc_submit(struct dmarc_submitter *submitter, const char *sender, const char *rcpt, const struct buf *mail,
                      char *ret_text, size_t octets);

/* ---- the journal: dmarc_journal.c ---- */

/*
 * What was sent to whom, in the file `sent` of the folder: a line is durable before the next mail leaves. A kill
 * between the server's 250 and the line sends that one mail again, under the same identifiers, so that its reader
 * knows it for the same (RFC 9990 3.5.4).
 */
struct dmarc_sent {
    int64_t at_s, through; /* the last day that was reported */
    const char *address, *domain;
};
struct dmarc_journal {
    int folder_fd, fd;
    struct buf text;
    struct dmarc_sent *items; /* by address and domain; of equal ones the newest last */
    size_t count;
    bool torn;
};
int dmarc_journal_open(int folder_fd, struct dmarc_journal *ret);
void dmarc_journal_close(struct dmarc_journal *journal);
/* The last day reported, -1: none. */
int64_t dmarc_journal_through(const struct dmarc_journal *journal, const char *address, const char *domain);
/* Whether a mail went to the address since then; `domain`: only with that one's report, NULL: any. */
bool dmarc_journal_since(const struct dmarc_journal *journal, const char *address, const char *domain,
                         int64_t since_s);
/* Appends all lines at once and makes them durable. */
int dmarc_journal_add(struct dmarc_journal *journal, const struct dmarc_sent *items, size_t count);
/* Drops what is older. */
int dmarc_journal_compact(struct dmarc_journal *journal, int64_t since_s);

#endif
