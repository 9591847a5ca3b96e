/* SPDX-License-Identifier: Apache-2.0 */
/* test_dmarc_sources.c - what the reports of one run of `tern dmarc report` hold together: at the bound and one above. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <string.h>

#include "cli/dmarc.h"

static const char text[] =
    "<feedback><report_metadata><date_range><begin>1</begin><end>2</end></date_range></report_metadata>"
    "<policy_published><domain>example.org</domain></policy_published><record><row><source_ip>::1</source_ip>"
    "<count>1</count><policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>pass</spf>"
    "</policy_evaluated></row><identifiers><header_from>example.org</header_from></identifiers></record></feedback>";

static void test_bound_of_sources(void)
{
    for (unsigned less = 0; less < 2; less++) {
        struct dmarc_source sources[4] = { { .file = "a" }, { .file = "b" }, { .file = "c" }, { .file = "d" } };
        uint64_t left = 0;

        for (unsigned i = 0; i < 4; i++) { /* c is none */
            struct slice octets = i == 2 ? SLICE("nothing") : slice_cstr(text);
            (void)dmarc_source_read(octets, &sources[i].report, sources[i].error);
            left += sources[i].report != NULL ? sources[i].report->held_octets : 0;
        }
        CU_ASSERT_TRUE_FATAL(left > 3 * sizeof(struct dmarc_report_row) && sources[3].report != NULL);
        left -= less;
        for (unsigned i = 0; i < 4; i++)
            dmarc_source_count(&sources[i], &left);
        CU_ASSERT_TRUE(sources[0].report != NULL && sources[1].report != NULL);
        CU_ASSERT_PTR_NOT_NULL(strstr(sources[2].error, "it is no report"));
        CU_ASSERT_EQUAL(sources[3].report == NULL, less == 1);
        CU_ASSERT_EQUAL(strstr(sources[3].error, "fewer files") != NULL, less == 1);
        for (unsigned i = 0; i < 4; i++)
            dmarc_report_free(sources[i].report);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("dmarc_sources", NULL, NULL);

    CU_add_test(s, "the bound of all reports", test_bound_of_sources);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
