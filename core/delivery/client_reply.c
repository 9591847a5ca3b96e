/* SPDX-License-Identifier: Apache-2.0 */
#include "delivery/client_reply.h"

#include "base/utf8.h"
#include "sasl/client.h"

#define CODE_OCTETS  3
#define ENHANCED_MAX 9 /* "5.123.123"; room for it is 12 */

void client_parser_free(struct client_parser *parser)
{
    buf_free(&parser->lines);
    buf_free(&parser->line);
    *parser = (struct client_parser){ 0 };
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The line without its end. Returns whether it was the last one (DONE), or not (MORE). */
static enum client_parse take_line(struct client_parser *parser, struct slice line)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (line.len < CODE_OCTETS || line.ptr[0] < '2' || line.ptr[0] > '5' ||
        !is_digit(line.ptr[1]) || !is_digit(line.ptr[2]))
        return CLIENT_PARSE_NOT_SMTP;
    if (line.len > CODE_OCTETS && line.ptr[3] != ' ' && line.ptr[3] != '-')
        return CLIENT_PARSE_NOT_SMTP;
    unsigned code = (unsigned)(line.ptr[0] - '0') * 100 + (unsigned)(line.ptr[1] - '0') * 10 +
                    (unsigned)(line.ptr[2] - '0');
    if (parser->line_count > 0 && code != parser->code)
        return CLIENT_PARSE_NOT_SMTP; /* RFC 5321 4.2.1: the same on every line */
    parser->code = code;
    if (++parser->line_count > CLIENT_LINES_MAX)
        return CLIENT_PARSE_TOO_LONG;
    buf_add(&parser->lines, slice_from(line, CODE_OCTETS + 1));
    buf_add_char(&parser->lines, '\n');
    return line.len > CODE_OCTETS && line.ptr[3] == '-' ? CLIENT_PARSE_MORE : CLIENT_PARSE_DONE;
}

static void begin(struct client_parser *parser)
{
    buf_clear(&parser->lines);
    buf_clear(&parser->line);
    parser->code = parser->line_count = 0;
    parser->octets = 0;
    parser->done = false;
}

/* One line, or the beginning of one. */
static enum client_parse feed_line(struct client_parser *parser, struct slice *input)
{
    ptrdiff_t lf = slice_find(*input, '\n');
    struct slice part = lf >= 0 ? slice_head(*input, (size_t)lf) : *input;
    size_t taken = part.len + (lf >= 0);

    parser->octets += taken;
    /* Counted with the LF that is there or must still come: the same however it is cut. */
    if (parser->line.len + part.len + 1 > CLIENT_LINE_MAX || parser->octets > CLIENT_REPLY_MAX)
        return CLIENT_PARSE_TOO_LONG;
    *input = slice_from(*input, taken);
    if (lf < 0) {
        buf_add(&parser->line, part);
        return CLIENT_PARSE_MORE;
    }
    if (parser->line.len == 0)
        return take_line(parser, part);
    buf_add(&parser->line, part);
    enum client_parse r = take_line(parser, buf_slice(&parser->line));
    buf_clear(&parser->line);
    return r;
}

enum client_parse client_parser_feed(struct client_parser *parser, struct slice *input)
{
    if (parser->done && input->len > 0)
        begin(parser);
    while (input->len > 0) {
        enum client_parse r = feed_line(parser, input);
        parser->done = r == CLIENT_PARSE_DONE;
        if (r != CLIENT_PARSE_MORE)
            return r;
    }
    return CLIENT_PARSE_MORE;
}

bool client_parser_is_midway(const struct client_parser *parser)
{
    return !parser->done && parser->octets > 0;
}

/* ---- what it says ---- */

/* Octets of an enhanced code at the start of `line` that fits `code`, or 0 (RFC 2034 4). */
static size_t enhanced_len(struct slice line, unsigned code)
{
    size_t at = 0;

    if (line.len < 5 || line.ptr[0] != (char)('0' + code / 100))
        return 0;
    at++;
    for (unsigned part = 0; part < 2; part++) {
        if (at >= line.len || line.ptr[at] != '.')
            return 0;
        size_t first = ++at;
        while (at < line.len && is_digit(line.ptr[at]))
            at++;
        if (at == first || at - first > 3)
            return 0;
    }
    if (at > ENHANCED_MAX || (at < line.len && line.ptr[at] != ' '))
        return 0;
    return at;
}

static struct slice next_line(struct slice *rest)
{
    ptrdiff_t lf = slice_find(*rest, '\n');
    struct slice line = slice_head(*rest, lf >= 0 ? (size_t)lf : rest->len);

    *rest = slice_from(*rest, line.len + 1);
    return line;
}

bool client_parser_has_enhanced(const struct client_parser *parser)
{
    struct slice rest = buf_slice(&parser->lines);

    return enhanced_len(next_line(&rest), parser->code) > 0;
}

void client_parser_enhanced(const struct client_parser *parser, char out[12])
{
    struct slice rest = buf_slice(&parser->lines);
    struct slice line = next_line(&rest);
    size_t len = enhanced_len(line, parser->code);

    if (len > 0) {
        memcpy(out, line.ptr, len); /* at most ENHANCED_MAX */
        out[len] = '\0';
    } else {
        memcpy(out, "0.0.0", 6);
        out[0] = (char)('0' + parser->code / 100);
    }
}

/* Adds `s` as text that may stand in a log or a notice; stops at the bound. False: it is full. */
static bool add_clean(struct buf *out, size_t end, struct slice s)
{
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.ptr[i];
        size_t len = c < 0x80 ? 1 : utf8_len(slice_from(s, i));
        bool fine = len > 0 && c >= ' ' && c != 0x7f;

        if (out->len + (fine ? len : 1) > end)
            return false;
        if (fine)
            buf_add(out, slice_make(s.ptr + i, len));
        else
            buf_add_char(out, c == '\t' ? ' ' : '?');
        i += len > 0 ? len : 1;
    }
    return true;
}

void client_parser_text(const struct client_parser *parser, struct buf *out)
{
    struct slice rest = buf_slice(&parser->lines);
    size_t end = out->len + CLIENT_TEXT_MAX;
    bool first = true;

    buf_printf(out, "%03u", parser->code);
    while (rest.len > 0) {
        struct slice line = next_line(&rest);
        if (!first)
            line = slice_from(line, enhanced_len(line, parser->code));
        first = false;
        line = slice_trim(line);
        if (line.len > 0 && (!add_clean(out, end, SLICE(" ")) || !add_clean(out, end, line)))
            return;
    }
}

struct slice client_parser_first_line(const struct client_parser *parser)
{
    struct slice rest = buf_slice(&parser->lines);

    return next_line(&rest);
}

/* RFC 4954 3: their names, with blanks between. */
static unsigned read_mechanisms(struct slice names)
{
    unsigned bits = 0;

    while (names.len > 0) {
        ptrdiff_t blank = slice_find(names, ' ');
        struct slice name = blank >= 0 ? slice_head(names, (size_t)blank) : names;
        enum sasl_mechanism m = sasl_client_named(name);
        if (m != SASL_MECHANISM_COUNT)
            bits |= 1u << m;
        names = slice_trim(slice_from(names, name.len));
    }
    return bits;
}

/* RFC 9422 4: 1 to 999999, and no zero before it. 0: it is not that. */
static unsigned read_limit(struct slice value)
{
    uint64_t limit;

    if (value.len == 0 || value.len > CLIENT_LIMIT_DIGITS_MAX || value.ptr[0] == '0' || !slice_to_u64(value, &limit))
        return 0;
    return (unsigned)limit;
}

/* RFC 9422 3.2, "NAME=VALUE" with blanks between; 3.7: what we do not know, or cannot read, says nothing. */
static void read_limits(struct slice limits, struct client_features *ret)
{
    while (limits.len > 0) {
        ptrdiff_t blank = slice_find(limits, ' ');
        struct slice limit = blank >= 0 ? slice_head(limits, (size_t)blank) : limits;
        ptrdiff_t equals = slice_find(limit, '=');
        struct slice name = slice_head(limit, equals >= 0 ? (size_t)equals : limit.len);
        unsigned value = read_limit(slice_from(limit, name.len + 1));
        if (value > 0 && slice_equal_nocase(name, SLICE("RCPTMAX")))
            ret->rcpts_max = value;
        if (value > 0 && slice_equal_nocase(name, SLICE("MAILMAX")))
            ret->mails_max = value;
        limits = slice_trim(slice_from(limits, limit.len));
    }
}

void client_parser_features(const struct client_parser *parser, struct client_features *ret)
{
    struct slice rest = buf_slice(&parser->lines);

    *ret = (struct client_features){ 0 };
    (void)next_line(&rest); /* the server's name and greeting */
    while (rest.len > 0) {
        struct slice line = slice_trim(next_line(&rest));
        ptrdiff_t blank = slice_find(line, ' ');
        struct slice word = blank >= 0 ? slice_head(line, (size_t)blank) : line;
        struct slice value = slice_trim(slice_from(line, word.len));

        if (slice_equal_nocase(word, SLICE("PIPELINING"))) {
            ret->pipelining = true;
        } else if (slice_equal_nocase(word, SLICE("8BITMIME"))) {
            ret->eight_bit = true;
        } else if (slice_equal_nocase(word, SLICE("SMTPUTF8"))) {
            ret->smtputf8 = true;
        } else if (slice_equal_nocase(word, SLICE("CHUNKING"))) {
            ret->chunking = true;
        } else if (slice_equal_nocase(word, SLICE("BINARYMIME"))) {
            ret->binary = true;
        } else if (slice_equal_nocase(word, SLICE("DSN"))) {
            ret->dsn = true;
        } else if (slice_equal_nocase(word, SLICE("STARTTLS"))) {
            ret->starttls = true;
        } else if (slice_equal_nocase(word, SLICE("AUTH"))) {
            ret->auth = true;
            ret->auth_mechanisms = read_mechanisms(value);
        } else if (slice_equal_nocase(word, SLICE("XFORWARD"))) {
            ret->forward = client_forward_read(value);
        } else if (slice_equal_nocase(word, SLICE("LIMITS"))) {
            read_limits(value, ret);
        } else if (slice_equal_nocase(word, SLICE("SIZE"))) {
            ret->size = true;
            if (!slice_to_u64(value, &ret->size_max))
                ret->size_max = 0; /* RFC 1870 4: no or an odd number says nothing */
        }
    }
}
