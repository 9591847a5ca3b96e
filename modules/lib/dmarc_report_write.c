/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_report_write.c - an aggregate report as XML of RFC 9990, and gzip of it.
 *
 * Domains and comments in it were chosen by whoever sent the mail: what XML does not allow is replaced, and words that
 * the schema does not know never leave, so that one hostile message cannot make a report that nobody can read.
 * Sources: RFC 9990 3.1.1 (order and number of elements), Appendix A; XML 1.0 2.2 (characters); RFC 1952.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "dmarc_report.h"

#define GZIP_BITS (16 + MAX_WBITS)

/* ---- text ---- */

static unsigned sequence_octets(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first < 0xe0)
        return 2;
    if (first >= 0xe0 && first < 0xf0)
        return 3;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* Octets of the character at the beginning; 0: there is none that XML allows (XML 1.0 2.2). */
static unsigned character(const unsigned char *s, size_t len)
{
    unsigned count = sequence_octets(s[0]);
    uint32_t code;

    if (count == 0 || count > len)
        return 0;
    if (count == 1)
        return s[0] >= 0x20 || s[0] == '\t' || s[0] == '\n' ? 1 : 0;
    code = s[0] & (0x7fu >> count);
    for (unsigned i = 1; i < count; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (code < least[count] || (code >= 0xd800 && code < 0xe000) || code == 0xfffe || code == 0xffff ||
        code > 0x10ffff)
        return 0;
    return count;
}

static void put_text(FILE *out, tern_str text)
{
    const unsigned char *s = (const unsigned char *)text.ptr;

    for (size_t i = 0; i < text.len;) {
        unsigned n = character(s + i, text.len - i);
        if (n == 0)
            (void)fputs("\xef\xbf\xbd", out);
        else if (s[i] == '&')
            (void)fputs("&amp;", out);
        else if (s[i] == '<')
            (void)fputs("&lt;", out);
        else if (s[i] == '>')
            (void)fputs("&gt;", out);
        else
            (void)fwrite(s + i, 1, n, out);
        i += n > 0 ? n : 1;
    }
}

static void put(FILE *out, unsigned depth, const char *name, tern_str text)
{
    (void)fprintf(out, "%*s<%s>", (int)(2 * depth), "", name);
    put_text(out, text);
    (void)fprintf(out, "</%s>\n", name);
}

static void put_unless_empty(FILE *out, unsigned depth, const char *name, tern_str text)
{
    if (text.len > 0)
        put(out, depth, name, text);
}

/* ---- words of the schema ---- */

static const char *const policies[] = { "none", "quarantine", "reject", NULL };
static const char *const dispositions[] = { "none", "pass", "quarantine", "reject", NULL };
static const char *const pass_or_fail[] = { "fail", "pass", NULL };
static const char *const alignments[] = { "r", "s", NULL };
static const char *const yes_or_no[] = { "n", "y", NULL };
static const char *const methods[] = { "treewalk", "psl", NULL };
static const char *const reasons[] = {
    "other", "local_policy", "mailing_list", "policy_test_mode", "trusted_forwarder", NULL
};
static const char *const dkim_results[] = { "permerror", "none",    "pass",      "fail",
                                            "policy",    "neutral", "temperror", NULL };
static const char *const spf_results[] = { "permerror", "none",    "pass",      "fail", "softfail",
                                           "policy",    "neutral", "temperror", NULL };

static bool is_of(tern_str text, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++)
        if (text.len == strlen(words[i]) && memcmp(text.ptr, words[i], text.len) == 0)
            return true;
    return false;
}

/* A required word: the first of the list stands for what the schema does not know. */
static void put_word(FILE *out, unsigned depth, const char *name, tern_str text, const char *const *words)
{
    put(out, depth, name, is_of(text, words) ? text : (tern_str){ words[0], strlen(words[0]) });
}

static void put_word_if(FILE *out, unsigned depth, const char *name, tern_str text, const char *const *words)
{
    if (is_of(text, words))
        put(out, depth, name, text);
}

/* ---- the report ---- */

static void put_metadata(FILE *out, const struct dmarc_report *r)
{
    (void)fputs("  <report_metadata>\n", out);
    put(out, 2, "org_name", r->org_name);
    put(out, 2, "email", r->email);
    put_unless_empty(out, 2, "extra_contact_info", r->contact);
    put(out, 2, "report_id", r->id);
    (void)fprintf(
        out, "    <date_range>\n      <begin>%" PRId64 "</begin>\n      <end>%" PRId64 "</end>\n    </date_range>\n",
        r->begin_s, r->end_s);
    put_unless_empty(out, 2, "error", r->error);
    put_unless_empty(out, 2, "generator", r->generator);
    (void)fputs("  </report_metadata>\n", out);
}

static void put_policy(FILE *out, const struct dmarc_report *r)
{
    (void)fputs("  <policy_published>\n", out);
    put(out, 2, "domain", r->domain);
    put_word_if(out, 2, "discovery_method", r->discovery, methods);
    put_word(out, 2, "p", r->p, policies);
    put_word_if(out, 2, "sp", r->sp, policies);
    put_word_if(out, 2, "np", r->np, policies);
    put_unless_empty(out, 2, "fo", r->fo);
    put_word_if(out, 2, "adkim", r->adkim, alignments);
    put_word_if(out, 2, "aspf", r->aspf, alignments);
    put_word_if(out, 2, "testing", r->testing, yes_or_no);
    (void)fputs("  </policy_published>\n", out);
}

static void put_row(FILE *out, const struct dmarc_report_row *row)
{
    (void)fputs("    <row>\n", out);
    put(out, 3, "source_ip", row->source_ip);
    (void)fprintf(out, "      <count>%" PRIu64 "</count>\n      <policy_evaluated>\n", row->count);
    put_word(out, 4, "disposition", row->disposition, dispositions);
    put_word(out, 4, "dkim", row->dkim, pass_or_fail);
    put_word(out, 4, "spf", row->spf, pass_or_fail);
    for (unsigned i = 0; i < row->reason_count; i++) {
        (void)fputs("        <reason>\n", out);
        put_word(out, 5, "type", row->reasons[i].type, reasons);
        put_unless_empty(out, 5, "comment", row->reasons[i].comment);
        (void)fputs("        </reason>\n", out);
    }
    (void)fputs("      </policy_evaluated>\n    </row>\n", out);
}

static void put_auth(FILE *out, const char *kind, const struct dmarc_report_auth *a, bool is_dkim)
{
    if (a->domain.len == 0) /* nothing was checked, and the schema wants a domain */
        return;
    (void)fprintf(out, "      <%s>\n", kind);
    put(out, 4, "domain", a->domain);
    if (is_dkim)
        put(out, 4, "selector", a->selector);
    else if (a->scope.len == 5 && memcmp(a->scope.ptr, "mfrom", 5) == 0)
        put(out, 4, "scope", a->scope);
    put_word(out, 4, "result", a->result, is_dkim ? dkim_results : spf_results);
    put_unless_empty(out, 4, "human_result", a->human);
    (void)fprintf(out, "      </%s>\n", kind);
}

static void put_record(FILE *out, const struct dmarc_report_row *row)
{
    (void)fputs("  <record>\n", out);
    put_row(out, row);
    (void)fputs("    <identifiers>\n", out);
    put(out, 3, "header_from", row->header_from);
    put_unless_empty(out, 3, "envelope_from", row->envelope_from);
    put_unless_empty(out, 3, "envelope_to", row->envelope_to);
    (void)fputs("    </identifiers>\n    <auth_results>\n", out);
    for (unsigned i = 0; i < row->dkim_count; i++)
        put_auth(out, "dkim", &row->dkims[i], true);
    if (row->spf_count > 0) /* one, in RFC 9990 */
        put_auth(out, "spf", &row->spfs[0], false);
    (void)fputs("    </auth_results>\n  </record>\n", out);
}

bool dmarc_report_xml(const struct dmarc_report *report, char **ret, size_t *ret_octets)
{
    char *text = NULL;
    size_t octets = 0;
    FILE *out = report->row_count > 0 ? open_memstream(&text, &octets) : NULL;

    if (out == NULL)
        return false;
    (void)fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                "<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\n  <version>1.0</version>\n", out);
    put_metadata(out, report);
    put_policy(out, report);
    for (unsigned i = 0; i < report->row_count; i++)
        put_record(out, &report->rows[i]);
    (void)fputs("</feedback>\n", out);
    if (fclose(out) != 0) {
        free(text);
        return false;
    }
    *ret = text;
    *ret_octets = octets;
    return true;
}

bool dmarc_report_gzip(const char *octets, size_t count, char **ret, size_t *ret_octets)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)octets, .avail_in = (uInt)count };
    char *out = NULL;

    if (count > UINT32_MAX ||
        deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t room = deflateBound(&z, count);
    out = malloc(room);
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)room;
    bool good = out != NULL && deflate(&z, Z_FINISH) == Z_STREAM_END;
    if (good) {
        *ret = out;
        *ret_octets = room - z.avail_out;
    } else {
        free(out);
    }
    (void)deflateEnd(&z);
    return good;
}
