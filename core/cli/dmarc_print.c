/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_print.c - reports for people: per domain one line a source, added up over all reports; and as JSON, where each
 * report stays apart.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/dmarc.h"

#define SHOWN_OCTETS_MAX   80 /* of a name in the table */
#define VOUCHERS_SHOWN_MAX 4
#define JSON_OCTETS_MAX    65536 /* that wait to be written; a row more may get in */

/* ---- text ---- */

/* C1 controls, and the marks that turn the direction of what stands behind (U+202A to 202E, 2066 to 2069). */
static bool is_harmless(struct slice c)
{
    const unsigned char *s = (const unsigned char *)c.ptr;

    if (c.len == 1)
        return s[0] >= 0x20 && s[0] != 0x7f;
    if (c.len == 2 && s[0] == 0xc2)
        return s[1] >= 0xa0;
    if (c.len == 3 && s[0] == 0xe2)
        return !(s[1] == 0x80 && s[2] >= 0xa8 && s[2] <= 0xae) && !(s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9);
    return true;
}

void dmarc_print_safe(struct buf *out, tern_str text, size_t octets_max)
{
    struct slice rest = { text.ptr, text.len };
    size_t begin = out->len;

    while (rest.len > 0) {
        size_t n = utf8_len(rest);
        if (out->len - begin + (n > 0 ? n : 1) > octets_max) {
            buf_add_cstr(out, "...");
            return;
        }
        if (n == 0 || !is_harmless(slice_head(rest, n)))
            buf_add_char(out, '?');
        else
            buf_add(out, slice_head(rest, n));
        rest = slice_from(rest, n > 0 ? n : 1);
    }
}

static void add_day(struct buf *out, int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL)
        buf_add_cstr(out, "?");
    else
        buf_printf(out, "%04d-%02d-%02d %02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                   tm.tm_min);
}

/* ---- the table ---- */

struct line {
    tern_str domain; /* of the policy */
    const struct dmarc_report_row *row;
    uint64_t count;
};

static int compare(tern_str a, tern_str b)
{
    int r = memcmp(a.ptr != NULL ? a.ptr : "", b.ptr != NULL ? b.ptr : "", a.len < b.len ? a.len : b.len);

    return r != 0 ? r : (a.len > b.len) - (a.len < b.len);
}

static int by_key(const void *left, const void *right)
{
    const struct line *a = left, *b = right;
    const tern_str as[] = { a->domain,   a->row->source_ip, a->row->header_from, a->row->disposition,
                            a->row->dkim, a->row->spf };
    const tern_str bs[] = { b->domain,   b->row->source_ip, b->row->header_from, b->row->disposition,
                            b->row->dkim, b->row->spf };
    int r = 0;

    for (size_t i = 0; i < sizeof(as) / sizeof(as[0]) && r == 0; i++)
        r = compare(as[i], bs[i]);
    return r;
}

/* Of a domain, the sources with most mail first. */
static int by_count(const void *left, const void *right)
{
    const struct line *a = left, *b = right;
    int r = compare(a->domain, b->domain);

    if (r != 0)
        return r;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return by_key(left, right);
}

static size_t collect(const struct dmarc_source *sources, size_t count, struct line **ret)
{
    size_t n = 0, kept = 0;
    struct line *lines;

    for (size_t i = 0; i < count; i++)
        n += sources[i].report != NULL && !sources[i].repeated ? sources[i].report->row_count : 0;
    lines = mem_alloc((n + 1) * sizeof(lines[0]));
    n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct dmarc_report *r = sources[i].report;
        for (unsigned k = 0; r != NULL && !sources[i].repeated && k < r->row_count; k++)
            lines[n++] = (struct line){ r->domain, &r->rows[k], r->rows[k].count };
    }
    qsort(lines, n, sizeof(lines[0]), by_key);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && by_key(&lines[kept - 1], &lines[i]) == 0)
            lines[kept - 1].count += lines[i].count;
        else
            lines[kept++] = lines[i];
    }
    qsort(lines, kept, sizeof(lines[0]), by_count);
    *ret = lines;
    return kept;
}

static bool is(tern_str text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

static void add_vouchers(struct buf *out, const char *method, const struct dmarc_report_auth *auths, unsigned count)
{
    unsigned shown = 0;

    for (unsigned i = 0; i < count && shown < VOUCHERS_SHOWN_MAX; i++) {
        if (!is(auths[i].result, "pass"))
            continue;
        buf_printf(out, "%s%s=", out->len > 0 ? " " : "", method);
        dmarc_print_safe(out, auths[i].domain, SHOWN_OCTETS_MAX);
        shown++;
    }
}

static void print_line(const struct line *l)
{
    CLEANUP_BUF struct buf from = BUF_INIT, vouchers = BUF_INIT;
    const struct dmarc_report_row *row = l->row;

    dmarc_print_safe(&from, row->header_from, SHOWN_OCTETS_MAX);
    add_vouchers(&vouchers, "dkim", row->dkims, row->dkim_count);
    add_vouchers(&vouchers, "spf", row->spfs, row->spf_count);
    printf("  %8" PRIu64 "  %-24s  %-11s  %-4s  %-4s  %-24s  %s\n", l->count, row->source_ip.ptr,
           row->disposition.ptr, row->dkim.ptr, row->spf.ptr, from.data, vouchers.len > 0 ? vouchers.data : "-");
}

static void print_domain(const struct line *lines, size_t count)
{
    CLEANUP_BUF struct buf domain = BUF_INIT;
    uint64_t all = 0, good = 0;

    dmarc_print_safe(&domain, lines[0].domain, SHOWN_OCTETS_MAX);
    for (size_t i = 0; i < count; i++) {
        all += lines[i].count;
        good += is(lines[i].row->dkim, "pass") || is(lines[i].row->spf, "pass") ? lines[i].count : 0;
    }
    printf("\n%s: %" PRIu64 " message%s, %" PRIu64 " passed DMARC, %" PRIu64 " failed\n\n", domain.data, all,
           all == 1 ? "" : "s", good, all - good);
    printf("  %8s  %-24s  %-11s  %-4s  %-4s  %-24s  %s\n", "messages", "source", "disposition", "dkim", "spf", "From",
           "vouched for by");
    for (size_t i = 0; i < count; i++)
        print_line(&lines[i]);
}

static void print_source(const struct dmarc_source *s)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    const struct dmarc_report *r = s->report;

    dmarc_print_safe(&out, r->org_name.len > 0 ? r->org_name : r->email, SHOWN_OCTETS_MAX);
    buf_add_cstr(&out, " about ");
    dmarc_print_safe(&out, r->domain, SHOWN_OCTETS_MAX);
    buf_add_cstr(&out, ", ");
    add_day(&out, r->begin_s);
    buf_add_cstr(&out, " to ");
    add_day(&out, r->end_s);
    buf_printf(&out, " UTC, %u record%s%s", r->row_count, r->row_count == 1 ? "" : "s", r->p.len > 0 ? ", p=" : "");
    dmarc_print_safe(&out, r->p, SHOWN_OCTETS_MAX);
    if (s->repeated)
        buf_add_cstr(&out, " (already read: not counted again)");
    if (r->error.len > 0) {
        buf_add_cstr(&out, "\n    says: ");
        dmarc_print_safe(&out, r->error, 400);
    }
    printf("%s\n", out.data);
}

void dmarc_print_table(const struct dmarc_source *sources, size_t count)
{
    struct line *lines;
    size_t n = collect(sources, count, &lines);

    for (size_t i = 0; i < count; i++)
        if (sources[i].report != NULL)
            print_source(&sources[i]);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && compare(lines[i].domain, lines[end].domain) == 0;)
            end++;
        print_domain(lines + i, end - i);
    }
    free(lines);
}

/* ---- JSON ---- */

static void add_key(struct buf *out, const char *key, tern_str text)
{
    buf_printf(out, "\"%s\":", key);
    buf_add_json(out, slice_make(text.ptr, text.len));
    buf_add_char(out, ',');
}

static void end_list(struct buf *out)
{
    if (out->len > 0 && out->data[out->len - 1] == ',')
        out->len--;
}

/* All but the last octet, which end_list() may take back. */
static void write_most(struct buf *out)
{
    if (out->len <= JSON_OCTETS_MAX)
        return;
    (void)fwrite(out->data, 1, out->len - 1, stdout);
    out->data[0] = out->data[out->len - 1];
    buf_cut(out, 1);
}

static void add_auths(struct buf *out, const char *key, const struct dmarc_report_auth *auths, unsigned count)
{
    buf_printf(out, "\"%s\":[", key);
    for (unsigned i = 0; i < count; i++) {
        buf_add_char(out, '{');
        add_key(out, "domain", auths[i].domain);
        add_key(out, "selector", auths[i].selector);
        add_key(out, "scope", auths[i].scope);
        add_key(out, "result", auths[i].result);
        add_key(out, "human_result", auths[i].human);
        end_list(out);
        buf_add_cstr(out, "},");
    }
    end_list(out);
    buf_add_cstr(out, "]");
}

static void add_row(struct buf *out, const struct dmarc_report_row *row)
{
    buf_add_char(out, '{');
    add_key(out, "source_ip", row->source_ip);
    buf_printf(out, "\"count\":%" PRIu64 ",", row->count);
    add_key(out, "disposition", row->disposition);
    add_key(out, "dkim", row->dkim);
    add_key(out, "spf", row->spf);
    buf_add_cstr(out, "\"reasons\":[");
    for (unsigned i = 0; i < row->reason_count; i++) {
        buf_add_char(out, '{');
        add_key(out, "type", row->reasons[i].type);
        add_key(out, "comment", row->reasons[i].comment);
        end_list(out);
        buf_add_cstr(out, "},");
    }
    end_list(out);
    buf_add_cstr(out, "],");
    add_key(out, "header_from", row->header_from);
    add_key(out, "envelope_from", row->envelope_from);
    add_key(out, "envelope_to", row->envelope_to);
    add_auths(out, "auth_dkim", row->dkims, row->dkim_count);
    buf_add_char(out, ',');
    add_auths(out, "auth_spf", row->spfs, row->spf_count);
    buf_add_cstr(out, "},");
}

static void add_report(struct buf *out, const struct dmarc_source *s)
{
    const struct dmarc_report *r = s->report;

    buf_add_char(out, '{');
    add_key(out, "file", (tern_str){ s->file, strlen(s->file) });
    buf_printf(out, "\"repeated\":%s,\"schema\":\"%s\",", s->repeated ? "true" : "false",
               r->is_9990 ? "rfc9990" : "rfc7489");
    add_key(out, "org_name", r->org_name);
    add_key(out, "email", r->email);
    add_key(out, "extra_contact_info", r->contact);
    add_key(out, "report_id", r->id);
    buf_printf(out, "\"begin\":%" PRId64 ",\"end\":%" PRId64 ",", r->begin_s, r->end_s);
    add_key(out, "error", r->error);
    add_key(out, "generator", r->generator);
    buf_add_cstr(out, "\"policy\":{");
    add_key(out, "domain", r->domain);
    add_key(out, "p", r->p);
    add_key(out, "sp", r->sp);
    add_key(out, "np", r->np);
    add_key(out, "adkim", r->adkim);
    add_key(out, "aspf", r->aspf);
    add_key(out, "pct", r->pct);
    add_key(out, "fo", r->fo);
    add_key(out, "testing", r->testing);
    add_key(out, "discovery_method", r->discovery);
    end_list(out);
    buf_add_cstr(out, "},\"records\":[");
    for (unsigned i = 0; i < r->row_count; i++) {
        add_row(out, &r->rows[i]);
        write_most(out);
    }
    end_list(out);
    buf_add_cstr(out, "]},");
}

void dmarc_print_json(const struct dmarc_source *sources, size_t count)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    buf_add_cstr(&out, "{\"reports\":[");
    for (size_t i = 0; i < count; i++)
        if (sources[i].report != NULL)
            add_report(&out, &sources[i]);
    end_list(&out);
    buf_add_cstr(&out, "],\"rejected\":[");
    for (size_t i = 0; i < count; i++) {
        if (sources[i].report != NULL)
            continue;
        buf_add_char(&out, '{');
        add_key(&out, "file", (tern_str){ sources[i].file, strlen(sources[i].file) });
        add_key(&out, "reason", (tern_str){ sources[i].error, strlen(sources[i].error) });
        end_list(&out);
        buf_add_cstr(&out, "},");
    }
    end_list(&out);
    buf_add_cstr(&out, "]}\n");
    (void)fwrite(out.data, 1, out.len, stdout);
}
