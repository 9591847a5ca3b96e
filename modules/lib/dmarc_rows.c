/* SPDX-License-Identifier: Apache-2.0 */
/* dmarc_rows.c - see dmarc_rows.h. Source: RFC 9990 3.1.1 (what a row says). */
#include "dmarc_rows.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_SECONDS 86400

/* ---- writing ---- */

struct line {
    char *out;
    size_t len;
    bool full;
};

static void put_octet(struct line *l, char c)
{
    if (l->len + 1 >= DMARC_ROW_OCTETS_MAX) /* the last one is the LF's */
        l->full = true;
    else
        l->out[l->len++] = c;
}

static void put_word(struct line *l, tern_str word)
{
    static const char digits[] = "0123456789ABCDEF";

    if (word.len == 0 || (word.len == 1 && word.ptr[0] == '-')) {
        put_octet(l, '-');
        return;
    }
    for (size_t i = 0; i < word.len && i < DMARC_ROW_WORD_MAX; i++) {
        unsigned char c = (unsigned char)word.ptr[i];
        if (c > 0x20 && c < 0x7f && c != '%') {
            put_octet(l, (char)c);
        } else {
            put_octet(l, '%');
            put_octet(l, digits[c >> 4]);
            put_octet(l, digits[c & 15]);
        }
    }
}

static void put_words(struct line *l, char before, const tern_str *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put_octet(l, i == 0 ? before : ' ');
        put_word(l, words[i]);
    }
}

static void put_auth(struct line *l, const struct dmarc_report_auth *a, bool is_dkim)
{
    const tern_str words[] = { a->domain, is_dkim ? a->selector : a->scope, a->result, a->human };

    put_words(l, '\t', words, 4);
}

size_t dmarc_row_print(const struct dmarc_report *policy, const struct dmarc_report_row *row, char *out)
{
    const tern_str published[] = { policy->p,    policy->sp,      policy->np,        policy->adkim,
                                   policy->aspf, policy->testing, policy->discovery, policy->fo };
    const tern_str head[] = { row->source_ip, row->disposition, row->dkim, row->spf };
    const tern_str ids[] = { row->header_from, row->envelope_from, row->envelope_to };
    const struct dmarc_report_reason *reason = row->reason_count > 0 ? &row->reasons[0] : NULL;
    struct line l = { .out = out };

    if (policy->domain.len == 0 || row->source_ip.len == 0 || row->header_from.len == 0)
        return 0;
    put_word(&l, TERN_STR(DMARC_ROW_VERSION));
    put_words(&l, '\t', &policy->domain, 1);
    put_words(&l, '\t', published, 8);
    put_words(&l, '\t', head, 4);
    put_words(
        &l, '\t',
        (tern_str[]){ reason != NULL ? reason->type : TERN_STR(""), reason != NULL ? reason->comment : TERN_STR("") },
        2);
    put_words(&l, '\t', ids, 3);
    put_auth(&l, row->spf_count > 0 ? &row->spfs[0] : &(struct dmarc_report_auth){ { NULL, 0 } }, false);
    if (l.full)
        return 0;
    for (unsigned i = 0; i < row->dkim_count && i < DMARC_ROW_DKIMS_MAX; i++) {
        size_t before = l.len;
        put_auth(&l, &row->dkims[i], true);
        if (l.full)
            l.len = before;
    }
    out[l.len++] = '\n';
    return l.len;
}

/* ---- files ---- */

void dmarc_rows_file(int64_t day, char *out)
{
    time_t t = (time_t)(day * DAY_SECONDS);
    struct tm tm = { 0 };

    (void)gmtime_r(&t, &tm);
    (void)snprintf(out, DMARC_ROWS_FILE_OCTETS, DMARC_ROWS_FILE "%04u-%02u-%02u",
                   (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_mon + 1, (unsigned)tm.tm_mday);
}

int64_t dmarc_rows_day(const char *file)
{
    char again[DMARC_ROWS_FILE_OCTETS];
    struct tm tm = { 0 };

    if (strncmp(file, DMARC_ROWS_FILE, sizeof(DMARC_ROWS_FILE) - 1) != 0 ||
        sscanf(file + sizeof(DMARC_ROWS_FILE) - 1, "%4d-%2d-%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday) != 3)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int64_t day = timegm(&tm) / DAY_SECONDS;
    if (day < 0)
        return -1;
    dmarc_rows_file(day, again);
    return strcmp(again, file) == 0 ? day : -1;
}

/* ---- options ---- */

static const char *const mails_values[] = { "per_address", "per_domain", NULL };

const struct tern_option dmarc_reports_options[] = {
    TERN_OPTION_PATH(struct dmarc_reports_conf, path, NULL,
                     "A folder of the server's user, where rows are kept until `tern dmarc send` reports them."),
    TERN_OPTION_STRING(struct dmarc_reports_conf, org_name, NULL,
                       "Who reports, for people: the name of your organisation."),
    TERN_OPTION_STRING(struct dmarc_reports_conf, email, NULL,
                       "From of the reports, and whom their readers may write to. Its domain must pass DMARC."),
    TERN_OPTION_STRING(struct dmarc_reports_conf, contact, "",
                       "More about how to reach you, such as the address of a page."),
    TERN_OPTION_STRING(struct dmarc_reports_conf, domain, "",
                       "The name of the reporter in subjects and files; else the domain of email."),
    TERN_OPTION_STRING(
        struct dmarc_reports_conf, sender, "",
        "MAIL FROM of the reports; else email. \"<>\": the null sender, so that no bounce comes back."),
    TERN_OPTION_ADDRESS(struct dmarc_reports_conf, submit, "127.0.0.1:25",
                        "The server that takes the reports by SMTP, lets them out and signs them."),
    TERN_OPTION_SIZE(struct dmarc_reports_conf, day_size, "64MB", 4096, 1 << 30,
                     "Rows of a day; what is more is not reported."),
    TERN_OPTION_SIZE(struct dmarc_reports_conf, mail_size, "10MB", 4096, 100 << 20,
                     "The largest mail that is sent, whatever the receiver would take."),
    TERN_OPTION_SECONDS(struct dmarc_reports_conf, keep, "7d", 86400, 31 * 86400,
                        "How long rows are kept that could not be reported."),
    TERN_OPTION_ENUM(struct dmarc_reports_conf, mails, "per_address", mails_values,
                     "per_address: at most one mail a day to an address, with the reports of all its domains. "
                     "per_domain: one a day for "
                     "each domain."),
    TERN_OPTIONS_END,
};
