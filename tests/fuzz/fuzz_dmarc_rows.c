/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_dmarc_rows.c - lines of rows, and rua= of records.
 *
 * Promises: a line that is read and written again is the same line, or shorter by signatures; an address has an '@', no
 * blank and no control.
 */
#include <assert.h>
#include <string.h>

#include <lib/dmarc_rows.h>
#include <lib/dmarc_rua.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(tern_str text)
{
    struct dmarc_report *report = dmarc_report_new();
    struct dmarc_report_row row, again;
    struct dmarc_row_line line;
    char out[DMARC_ROW_OCTETS_MAX];

    if (dmarc_row_split(text, &line) && dmarc_row_policy(line.policy, report) &&
        dmarc_row_what(line.what, report, &row)) {
        report->domain = line.domain;
        size_t n = dmarc_row_print(report, &row, out);
        assert(n <= sizeof(out));
        if (n > 0) {
            assert(dmarc_row_split((tern_str){ out, n - 1 }, &line) && dmarc_row_what(line.what, report, &again));
            assert(again.dkim_count <= row.dkim_count && again.header_from.len == row.header_from.len);
        }
    }
    dmarc_report_free(report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dmarc_rua ruas[DMARC_RUA_MAX];
    tern_str text = { (const char *)data, size };

    check_line(text);
    (void)dmarc_text_is_record(text);
    tern_str rua = dmarc_text_tag(text, "rua");
    assert(rua.len <= size);
    unsigned n = dmarc_rua_parse(text, ruas);
    assert(n <= DMARC_RUA_MAX);
    for (unsigned i = 0; i < n; i++)
        assert(strchr(ruas[i].address, '@') != NULL && strpbrk(ruas[i].address, " \t\r\n") == NULL);
    return 0;
}
