/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_report.h - an aggregate report of DMARC: read from what came by mail, written as XML and gzip.
 *
 * One struct for both ways, so that what is written can be read back and compared. Reads RFC 9990, RFC 7489
 * Appendix C and the drafts before it, which name no namespace; writes RFC 9990. Knows no mail and no files.
 *
 * A report comes from strangers: no DOCTYPE is taken, so there are no entities to expand or fetch; octets as they
 * came, octets expanded, rows, depth and the memory for all of it are bounded, and what is compressed is parsed as it
 * expands and never held.
 * Sources: RFC 9990 3 and Appendix A; RFC 7489 Appendix C; RFC 1952; APPNOTE.TXT (zip).
 */
#ifndef MODULES_LIB_DMARC_REPORT_H
#define MODULES_LIB_DMARC_REPORT_H

#include <tern/module.h>

#define DMARC_REPORT_OCTETS_MAX      (25u << 20) /* of a file or mail as it came */
#define DMARC_REPORT_XML_OCTETS_MAX  (64u << 20) /* of the XML, expanded */
#define DMARC_REPORT_ROWS_MAX        200000
#define DMARC_REPORT_DEPTH_MAX       32   /* of elements; the schema needs 6 */
#define DMARC_REPORT_TEXT_OCTETS_MAX 1024 /* of one element; texts for people are cut there */
#define DMARC_REPORT_TOKEN_OCTETS_MAX (256u << 10) /* of a tag or a comment; a block more may get through */
#define DMARC_REPORT_PARSER_OCTETS_MAX (8u << 20) /* of memory for the XML parser: it keeps each name it has seen */
#define DMARC_REPORT_HELD_OCTETS_MAX (128u << 20) /* of memory for what a report says */
#define DMARC_REPORT_AUTHS_MAX       100  /* signatures of a row: RFC 9990 3.1.3 */
#define DMARC_REPORT_REASONS_MAX     16   /* of a row */
#define DMARC_REPORT_MEMBERS_MAX     100  /* files in one zip */
#define DMARC_REPORT_ERROR_OCTETS    256

/* 0 in a field: the bound above. Tests set smaller ones. */
struct dmarc_report_limits {
    uint64_t octets, xml_octets, parser_octets, held_octets;
    unsigned rows, depth;
};

struct dmarc_report_auth {
    tern_str domain, selector, scope, result, human; /* selector: dkim; scope: spf. May be empty */
};
struct dmarc_report_reason {
    tern_str type, comment;
};
struct dmarc_report_row {
    tern_str source_ip;
    uint64_t count;
    tern_str disposition; /* none, pass, quarantine, reject */
    tern_str dkim, spf;   /* alignment: pass, fail */
    tern_str header_from, envelope_from, envelope_to;
    struct dmarc_report_reason *reasons;
    struct dmarc_report_auth *dkims, *spfs;
    unsigned reason_count, dkim_count, spf_count;
};

struct dmarc_report {
    tern_str version, org_name, email, contact, id, error, generator;
    int64_t begin_s, end_s;
    /* The policy as published. Empty where the report does not say. */
    tern_str domain, p, sp, np, adkim, aspf, pct, fo, testing, discovery;
    bool is_9990; /* it has that namespace */
    struct dmarc_report_row *rows;
    unsigned row_count;
    uint64_t held_octets;              /* of memory that its rows and texts take */
    struct dmarc_report_chunk *chunks; /* where all of it is */
};

/*
 * XML, gzip of it, or a zip with one in it; which one is seen from the first octets. 0 and *ret to be freed, or
 * -EBADMSG with a sentence in `error` (DMARC_REPORT_ERROR_OCTETS) that says what is wrong and in which line.
 */
int dmarc_report_read(tern_str octets, const struct dmarc_report_limits *limits, struct dmarc_report **ret,
                      char *error);
/* Whether the octets begin as something that dmarc_report_read() looks into. */
bool dmarc_report_is_one(tern_str octets);
void dmarc_report_free(struct dmarc_report *report); /* NULL is allowed */

/* An empty report, and memory that lives as long as it does. Strings get a NUL behind them. */
struct dmarc_report *dmarc_report_new(void);
void *dmarc_report_alloc(struct dmarc_report *report, size_t octets); /* zeroed */
tern_str dmarc_report_copy(struct dmarc_report *report, tern_str text);

/*
 * The report as XML of RFC 9990, which validates against its schema whatever the strings hold: octets that XML does
 * not allow become U+FFFD, words that the schema does not know are left out or replaced by the nearest it does. The
 * caller frees *ret. False: there is no memory, or it has no rows.
 */
bool dmarc_report_xml(const struct dmarc_report *report, char **ret, size_t *ret_octets);
bool dmarc_report_gzip(const char *octets, size_t count, char **ret, size_t *ret_octets);

#endif
