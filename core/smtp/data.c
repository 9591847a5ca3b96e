/* SPDX-License-Identifier: Apache-2.0 */
/*
 * data.c - the reader of mail data.
 *
 * Only CRLF.CRLF ends the data, and only CRLF ends a line. A lone CR or LF is refused, not
 * repaired: two servers that repair differently disagree on where a message ends, and the
 * octets between are a second message that one of them never checked ("SMTP smuggling"). The
 * refusal comes at the true end of data, so that the session stays in step.
 *
 * Content is handed out in runs as long as the input allows: cut at a stuffed dot and at the end of
 * the input, nowhere else. Every octet of a line but its first dot is content, so nothing has
 * to be kept between two inputs but the place in the line. NUL is content: RFC 5321 4.1.1.4 lets
 * all of the 128 codes through.
 *
 * Sources: RFC 5321 2.3.8, 4.1.1.4, 4.5.2, 6.3 (loops).
 */
#include "smtp/data.h"

#include <assert.h>

enum place { LINE_START, IN_LINE, SEEN_CR, SEEN_DOT, SEEN_DOT_CR };

void smtp_data_init(struct smtp_data_reader *r, uint32_t line_octets_max)
{
    *r = (struct smtp_data_reader){ .place = LINE_START, .line_octets_max = line_octets_max };
}

/* The count stops one above the limit, so that no line is long enough to wrap it. */
static void count_line(struct smtp_data_reader *r, size_t octets)
{
    uint64_t sum = (uint64_t)r->line_octets + octets;

    if (sum > r->line_octets_max) {
        r->flaws |= SMTP_DATA_LONG_LINE;
        sum = (uint64_t)r->line_octets_max + 1;
        if (sum > UINT32_MAX)
            sum = UINT32_MAX;
    }
    r->line_octets = (uint32_t)sum;
}

/* Reads from the middle of a line up to and with the CR that may end it. Returns octets read. */
static size_t read_to_cr(struct smtp_data_reader *r, struct slice s)
{
    const char *cr = memchr(s.ptr, '\r', s.len);
    size_t len = cr != NULL ? (size_t)(cr - s.ptr) : s.len;

    if (len > 0 && memchr(s.ptr, '\n', len) != NULL)
        r->flaws |= SMTP_DATA_BARE_CR_LF;
    if (cr != NULL)
        len++;
    r->place = cr != NULL ? SEEN_CR : IN_LINE;
    count_line(r, len);
    return len;
}

/*
 * One octet behind a CR. Returns how many of it belong to the line: 1, or 0 if it is yet to be
 * read.
 */
static size_t read_after_cr(struct smtp_data_reader *r, char c)
{
    if (c != '\n') {
        r->flaws |= SMTP_DATA_BARE_CR_LF;
        r->place = IN_LINE;
        return 0;
    }
    count_line(r, 1);
    r->line_octets = 0;
    r->place = LINE_START;
    return 1;
}

/* Up to the next stuffed dot or the end: how many octets of `s` are content. */
static size_t content_octets(struct smtp_data_reader *r, struct slice s)
{
    size_t i = 0;

    while (i < s.len) {
        if (r->place == LINE_START && s.ptr[i] == '.')
            break;
        i += r->place == SEEN_CR ? read_after_cr(r, s.ptr[i]) : read_to_cr(r, slice_from(s, i));
    }
    return i;
}

/* Behind a dot at the start of a line: is it the end? Uses the octets that tell. */
static bool read_dot(struct smtp_data_reader *r, struct slice *input)
{
    while (input->len > 0 && r->place >= SEEN_DOT) {
        char c = input->ptr[0];
        if (r->place == SEEN_DOT_CR && c != '\n') {
            r->flaws |= SMTP_DATA_BARE_CR_LF; /* ".<CR>x": the mail is refused, its CR may go */
            r->place = IN_LINE;
            return false;
        }
        if (r->place == SEEN_DOT && c != '\r') {
            r->place = IN_LINE;
            return false;
        }
        *input = slice_from(*input, 1);
        if (r->place == SEEN_DOT_CR)
            return true;
        r->place = SEEN_DOT_CR;
    }
    return false;
}

enum smtp_data smtp_data_read(struct smtp_data_reader *r, struct slice *input, struct slice *ret)
{
    while (input->len > 0) {
        if (r->place >= SEEN_DOT) {
            if (read_dot(r, input))
                return SMTP_DATA_END;
            continue;
        }
        if (r->place == LINE_START && input->ptr[0] == '.') {
            r->place = SEEN_DOT;
            *input = slice_from(*input, 1);
            continue;
        }
        size_t len = content_octets(r, *input);
        assert(len > 0);
        *ret = slice_head(*input, len);
        *input = slice_from(*input, len);
        return SMTP_DATA_CONTENT;
    }
    return SMTP_DATA_MORE;
}

void smtp_data_check(struct smtp_data_reader *r, struct slice octets)
{
    for (size_t i = 0; i < octets.len;)
        i += r->place == SEEN_CR ? read_after_cr(r, octets.ptr[i])
                                 : read_to_cr(r, slice_from(octets, i));
}

bool smtp_data_check_end(struct smtp_data_reader *r)
{
    if (r->place == SEEN_CR)
        r->flaws |= SMTP_DATA_BARE_CR_LF;
    return r->place != LINE_START;
}

/*
 * Places of the hop counter: how much of "received:" the line has matched so far, or one of
 * these. The header ends at the first empty line.
 */
enum { HOPS_NAME_OCTETS = 9, HOPS_OTHER_LINE = 100, HOPS_EMPTY_CR, HOPS_BODY };

static void hops_octet(struct smtp_hops *h, char c)
{
    static const char name[] = "received:";

    h->fields += h->place == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n';
    if (c == '\n') {
        h->place = h->place == HOPS_EMPTY_CR ? HOPS_BODY : 0;
    } else if (h->place == 0 && c == '\r') {
        h->place = HOPS_EMPTY_CR;
    } else if (h->place < HOPS_NAME_OCTETS && ascii_lower(c) == name[h->place]) {
        if (++h->place == HOPS_NAME_OCTETS) {
            h->count++;
            h->place = HOPS_OTHER_LINE;
        }
    } else if (h->place == HOPS_NAME_OCTETS - 1 && (c == ' ' || c == '\t')) {
        return; /* RFC 5322 4.5.7: "Received" *WSP ":" */
    } else {
        h->place = HOPS_OTHER_LINE;
    }
}

size_t smtp_hops_read(struct smtp_hops *h, struct slice content)
{
    struct slice rest = content;

    while (rest.len > 0 && h->place != HOPS_BODY) {
        ptrdiff_t lf = h->place == HOPS_OTHER_LINE ? slice_find(rest, '\n') : 0;
        if (lf >= 0)
            hops_octet(h, rest.ptr[lf]);
        rest = slice_from(rest, lf >= 0 ? (size_t)lf + 1 : rest.len);
    }
    h->octets += content.len - rest.len;
    return content.len - rest.len;
}

bool smtp_hops_header_too_big(const struct smtp_hops *h)
{
    return h->octets > SMTP_HEADER_OCTETS_MAX || h->fields > SMTP_HEADER_FIELDS_MAX;
}
