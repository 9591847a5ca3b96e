/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_client_reply.c - the replies of a server. The first octet picks how the rest is cut. Promises: the
 * same replies however they are cut; texts are one line of printable UTF-8, bounded; enhanced codes fit
 * the code; a dead parser was given its reason within the bounds.
 */
#include <assert.h>
#include <string.h>

#include "base/utf8.h"
#include "delivery/client_reply.h"

#define REPLIES_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reply(const struct client_parser *p, const struct buf *text, const char *enhanced)
{
    assert(p->code >= 200 && p->code <= 599 && p->line_count <= CLIENT_LINES_MAX);
    assert(text->len >= 3 && text->len <= CLIENT_TEXT_MAX && utf8_valid(buf_slice(text)));
    for (size_t i = 0; i < text->len; i++)
        assert((unsigned char)text->data[i] >= ' ' && text->data[i] != 0x7f);
    assert(strlen(enhanced) >= 5 && strlen(enhanced) <= 9 && enhanced[0] == text->data[0]);
}

static void describe(const struct client_parser *p, struct buf *out)
{
    struct buf text CLEANUP_BUF = BUF_INIT;
    struct client_features f;
    char enhanced[12];

    client_parser_text(p, &text);
    client_parser_enhanced(p, enhanced);
    client_parser_features(p, &f);
    check_reply(p, &text, enhanced);
    assert(f.auth || f.auth_mechanisms == 0);
    assert(f.rcpts_max <= 999999 && f.mails_max <= 999999);
    assert(client_parser_first_line(p).len <= CLIENT_LINE_MAX);
    buf_printf(out, "%u %s %d%d%d%d%d%d%d%d %llu %x %x %u %u ", p->code, enhanced, f.pipelining, f.eight_bit,
               f.smtputf8, f.size, f.chunking, f.binary, f.starttls, f.auth,
               (unsigned long long)f.size_max, f.auth_mechanisms, f.forward, f.rcpts_max, f.mails_max);
    buf_add(out, buf_slice(&text));
    buf_add_char(out, '\n');
}

/* Everything the parser says of `input`, given in pieces of `step` octets (0: in one). */
static void run(struct slice input, size_t step, struct buf *out)
{
    struct client_parser p = { 0 };
    enum client_parse r = CLIENT_PARSE_MORE;

    for (unsigned replies = 0; input.len > 0 && replies < REPLIES_MAX;) {
        struct slice piece = slice_head(input, step > 0 ? step : input.len);
        size_t given = piece.len;
        r = client_parser_feed(&p, &piece);
        assert(piece.len <= given && (r != CLIENT_PARSE_MORE || piece.len == 0));
        assert(p.line.len <= CLIENT_LINE_MAX && p.lines.len <= CLIENT_REPLY_MAX);
        if (r == CLIENT_PARSE_NOT_SMTP || r == CLIENT_PARSE_TOO_LONG)
            break;
        input = slice_from(input, given - piece.len);
        if (r == CLIENT_PARSE_DONE) {
            assert(!client_parser_is_midway(&p));
            describe(&p, out);
            replies++;
        }
    }
    buf_printf(out, "%s\n",
               r == CLIENT_PARSE_NOT_SMTP || r == CLIENT_PARSE_TOO_LONG ? "dead" : "alive");
    client_parser_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole CLEANUP_BUF = BUF_INIT, cut CLEANUP_BUF = BUF_INIT,
                     single CLEANUP_BUF = BUF_INIT;

    if (size == 0)
        return 0;
    struct slice input = slice_make((const char *)data + 1, size - 1);
    run(input, 0, &whole);
    run(input, data[0] + 1u, &cut);
    run(input, 1, &single);
    assert(slice_equal(buf_slice(&whole), buf_slice(&cut)));
    assert(slice_equal(buf_slice(&whole), buf_slice(&single)));
    return 0;
}
