/* SPDX-License-Identifier: Apache-2.0 */
/*
 * data.h - what follows 354: finds the end of data, takes the stuffed dots out, and looks
 * for what must not be in a mail. Pure; keeps no octet of its own.
 */
#ifndef TERN_SMTP_DATA_H
#define TERN_SMTP_DATA_H

#include "base/slice.h"

#define SMTP_DATA_BARE_CR_LF (1u << 0) /* a CR or LF that is not a CRLF */
#define SMTP_DATA_LONG_LINE  (1u << 1)

enum smtp_data { SMTP_DATA_CONTENT, SMTP_DATA_MORE, SMTP_DATA_END };

struct smtp_data_reader {
    unsigned place;                        /* where in a line; private */
    unsigned flaws;                        /* SMTP_DATA_*, gathered so far */
    uint32_t line_octets, line_octets_max; /* with the CRLF, without a stuffed dot */
};

void smtp_data_init(struct smtp_data_reader *r, uint32_t line_octets_max);
/*
 * The next run of content in *input, which moves on: CONTENT with *ret, MORE when the
 * input is used up, END behind CRLF.CRLF (what follows stays in *input).
 */
enum smtp_data smtp_data_read(struct smtp_data_reader *r, struct slice *input, struct slice *ret);

/*
 * The same for octets that are counted and not ended by a dot (BDAT): all of them are content, and
 * only looked at. smtp_data_check_end() when there are no more: true if the last line has no CRLF.
 */
void smtp_data_check(struct smtp_data_reader *r, struct slice octets);
bool smtp_data_check_end(struct smtp_data_reader *r);

/*
 * Steps look at so much of a header and no more: a From field behind it would be one that nobody has checked.
 * So such a mail is refused. With the empty line; of fields whatever does not begin with a blank.
 */
#define SMTP_HEADER_OCTETS_MAX (1u << 20)
#define SMTP_HEADER_FIELDS_MAX 10000

/* Looks at the header part of the content: counts its octets, its fields, and those called Received. */
struct smtp_hops {
    uint32_t count;
    unsigned place; /* private */
    uint32_t fields;
    uint64_t octets;
};

#define SMTP_HOPS_INIT                                                                             \
    {                                                                                              \
        0, 0, 0, 0                                                                                 \
    }
/* How many of the octets belong to the header. */
size_t smtp_hops_read(struct smtp_hops *h, struct slice content);
bool smtp_hops_header_too_big(const struct smtp_hops *h);

#endif
