/* SPDX-License-Identifier: Apache-2.0 */
/* dmarc_rows_read.c - lines of rows, read again by `tern dmarc send`. See dmarc_rows.h. */
#include <string.h>

#include "dmarc_rows.h"

/* What stands before the next `separator`; *rest moves behind it. False: nothing is left. */
static bool cut(tern_str *rest, char separator, tern_str *ret)
{
    if (rest->ptr == NULL)
        return false;
    const char *end = memchr(rest->ptr, separator, rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->ptr) : rest->len;

    *ret = (tern_str){ rest->ptr, len };
    *rest = end != NULL ? (tern_str){ end + 1, rest->len - len - 1 } : (tern_str){ NULL, 0 };
    return true;
}

static int digit(char c)
{
    const char *at = c != '\0' ? strchr("0123456789ABCDEF", c) : NULL;

    return at != NULL ? (int)(at - "0123456789ABCDEF") : -1;
}

static bool take_word(struct dmarc_report *report, tern_str text, tern_str *ret)
{
    char word[DMARC_ROW_WORD_MAX];
    size_t len = 0;

    *ret = (tern_str){ "", 0 };
    if (text.len == 0)
        return false;
    if (text.len == 1 && text.ptr[0] == '-')
        return true;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (len == sizeof(word) || c <= 0x20 || c > 0x7e)
            return false;
        if (c == '%') {
            int high = i + 2 < text.len ? digit(text.ptr[i + 1]) : -1,
                low = i + 2 < text.len ? digit(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        word[len++] = c;
    }
    *ret = dmarc_report_copy(report, (tern_str){ word, len });
    return true;
}

/* Exactly that many words. */
static bool take_words(struct dmarc_report *report, tern_str text, tern_str *const *to, size_t count)
{
    tern_str word;

    for (size_t i = 0; i < count; i++)
        if (!cut(&text, ' ', &word) || !take_word(report, word, to[i]))
            return false;
    return text.ptr == NULL;
}

bool dmarc_row_split(tern_str line, struct dmarc_row_line *ret)
{
    tern_str version, rest = line;

    if (!cut(&rest, '\t', &version) || version.len != 1 || version.ptr[0] != DMARC_ROW_VERSION[0])
        return false;
    if (!cut(&rest, '\t', &ret->domain) || !cut(&rest, '\t', &ret->policy) || rest.ptr == NULL)
        return false;
    ret->what = rest;
    for (size_t i = 0; i < ret->domain.len; i++)
        if (ret->domain.ptr[i] <= 0x20 || ret->domain.ptr[i] > 0x7e || ret->domain.ptr[i] == '%')
            return false;
    return ret->domain.len > 0;
}

bool dmarc_row_policy(tern_str policy, struct dmarc_report *r)
{
    tern_str *const to[] = { &r->p, &r->sp, &r->np, &r->adkim, &r->aspf, &r->testing, &r->discovery, &r->fo };

    return take_words(r, policy, to, 8);
}

static bool take_auth(struct dmarc_report *report, tern_str text, bool is_dkim, struct dmarc_report_auth *ret)
{
    tern_str *const to[] = { &ret->domain, is_dkim ? &ret->selector : &ret->scope, &ret->result, &ret->human };

    return take_words(report, text, to, 4);
}

static bool take_dkims(tern_str rest, struct dmarc_report *report, struct dmarc_report_row *row)
{
    struct dmarc_report_auth dkims[DMARC_ROW_DKIMS_MAX] = { 0 };
    tern_str field;

    while (cut(&rest, '\t', &field))
        if (row->dkim_count == DMARC_ROW_DKIMS_MAX || !take_auth(report, field, true, &dkims[row->dkim_count++]))
            return false;
    if (row->dkim_count == 0)
        return true;
    row->dkims = dmarc_report_alloc(report, row->dkim_count * sizeof(dkims[0]));
    memcpy(row->dkims, dkims, row->dkim_count * sizeof(dkims[0]));
    return true;
}

bool dmarc_row_what(tern_str what, struct dmarc_report *report, struct dmarc_report_row *ret)
{
    struct dmarc_report_row row = { .count = 1 };
    struct dmarc_report_reason *reason = dmarc_report_alloc(report, sizeof(*reason));
    tern_str *const head[] = { &row.source_ip, &row.disposition, &row.dkim, &row.spf };
    tern_str *const why[] = { &reason->type, &reason->comment };
    tern_str *const ids[] = { &row.header_from, &row.envelope_from, &row.envelope_to };
    tern_str field;

    row.spfs = dmarc_report_alloc(report, sizeof(*row.spfs));
    if (!cut(&what, '\t', &field) || !take_words(report, field, head, 4) || !cut(&what, '\t', &field) ||
        !take_words(report, field, why, 2) || !cut(&what, '\t', &field) || !take_words(report, field, ids, 3) ||
        !cut(&what, '\t', &field) || !take_auth(report, field, false, row.spfs) || !take_dkims(what, report, &row))
        return false;
    row.reasons = reason;
    row.reason_count = reason->type.len > 0;
    row.spf_count = row.spfs->domain.len > 0;
    *ret = row;
    return row.source_ip.len > 0 && row.header_from.len > 0;
}
