/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_dmarc_report.c - aggregate reports: XML, gzip and zip.
 *
 * Promises: what is read keeps its bounds; it can be written, what is written can be read, and says the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <lib/dmarc_report.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(tern_str a, tern_str b)
{
    assert(a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0));
}

static void check(const struct dmarc_report *report, const struct dmarc_report_limits *limits)
{
    char error[DMARC_REPORT_ERROR_OCTETS], *xml = NULL;
    struct dmarc_report *again = NULL;
    size_t octets = 0;

    assert(report->row_count > 0 && report->row_count <= limits->rows && report->domain.len > 0);
    assert(report->held_octets <= limits->held_octets);
    assert(report->domain.ptr[report->domain.len] == '\0');
    for (unsigned i = 0; i < report->row_count; i++)
        assert(report->rows[i].dkim_count <= DMARC_REPORT_AUTHS_MAX &&
               report->rows[i].reason_count <= DMARC_REPORT_REASONS_MAX);
    assert(dmarc_report_xml(report, &xml, &octets));
    int r = dmarc_report_read((tern_str){ xml, octets }, NULL, &again, error);
    assert(r == 0 && again->row_count == report->row_count && again->is_9990);
    same(again->domain, report->domain);
    same(again->org_name, report->org_name);
    for (unsigned i = 0; i < report->row_count; i++) {
        assert(again->rows[i].count == report->rows[i].count);
        same(again->rows[i].disposition, report->rows[i].disposition);
        same(again->rows[i].header_from, report->rows[i].header_from);
    }
    dmarc_report_free(again);
    free(xml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dmarc_report_limits limits = { .xml_octets = 1u << 20, .rows = 100, .held_octets = 1u << 18 };
    char error[DMARC_REPORT_ERROR_OCTETS];
    struct dmarc_report *report = NULL;

    if (size % 8 == 0) /* the parser runs out of memory here and there */
        limits.parser_octets = 8192 + 16 * size;
    int r = dmarc_report_read((tern_str){ (const char *)data, size }, &limits, &report, error);

    assert((r == 0) == (report != NULL) && (r == 0) == (error[0] == '\0'));
    assert(r == 0 || strlen(error) < sizeof(error));
    if (report != NULL)
        check(report, &limits);
    dmarc_report_free(report);
    return 0;
}
