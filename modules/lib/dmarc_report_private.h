/* SPDX-License-Identifier: Apache-2.0 */
/* dmarc_report_private.h - between the files of dmarc_report: expanding feeds parsing. */
#ifndef MODULES_LIB_DMARC_REPORT_PRIVATE_H
#define MODULES_LIB_DMARC_REPORT_PRIVATE_H

#include <expat.h>

#include "dmarc_report.h"

struct dmarc_report_parser;

/* False: parsing is over, the reason is with the parser. */
typedef bool (*dmarc_report_sink)(struct dmarc_report_parser *parser, const char *octets, size_t count);

/* NULL, or what is wrong with the container. What the sink refuses is no fault of the container: NULL. */
const char *dmarc_report_unpack(tern_str octets, uint64_t expanded_max, dmarc_report_sink sink,
                                struct dmarc_report_parser *parser);

/* For one parser of the present thread, until it is freed: memory up to `octets`. */
const XML_Memory_Handling_Suite *dmarc_report_budget(uint64_t octets);
bool dmarc_report_budget_spent(void); /* it wanted more */

#endif
