/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_body.c - the body that a signature covers. See dkim.h. Source: RFC 6376 3.4.3, 3.4.4, 3.7.
 *
 * Lines end in CRLF; a lone CR or LF is an octet like any other. What stays as it is goes through in large pieces.
 */
#include "dkim.h"

#include <string.h>

#include "dkim_run.h"

void dkim_body_init(struct dkim_body *body, bool relaxed, uint64_t limit, dkim_sink sink, void *arg)
{
    body->relaxed = relaxed;
    body->limit = limit;
    body->total = body->line_ends = 0;
    body->blank = body->cr = false;
    body->sink = sink;
    body->arg = arg;
    body->buffered = 0;
}

static void give(struct dkim_body *b)
{
    if (b->buffered > 0)
        b->sink(b->arg, b->buffer, b->buffered);
    b->buffered = 0;
}

/* As many of `count` canonical octets as l= allows. */
static size_t count_in(struct dkim_body *b, size_t count)
{
    uint64_t room = b->limit > b->total ? b->limit - b->total : 0;

    b->total += count;
    return count < room ? count : (size_t)room;
}

static void emit(struct dkim_body *b, const char *octets, size_t count)
{
    size_t wanted = count_in(b, count);

    if (wanted > sizeof(b->buffer) - b->buffered)
        give(b);
    if (wanted > sizeof(b->buffer)) {
        b->sink(b->arg, octets, wanted);
        return;
    }
    memcpy(b->buffer + b->buffered, octets, wanted);
    b->buffered += wanted;
}

static inline void emit_two(struct dkim_body *b, const char octets[2], size_t count)
{
    if (sizeof(b->buffer) - b->buffered < 2)
        give(b);
    memcpy(b->buffer + b->buffered, octets, 2); /* a size that is known takes no call */
    b->buffered += count_in(b, count);
}

/* Text up to a CR or blanks that must go: at least one octet of it is there. */
static size_t emit_run(struct dkim_body *b, const char *p, size_t count)
{
    if (b->buffered == sizeof(b->buffer))
        give(b);
    size_t room = sizeof(b->buffer) - b->buffered;
    size_t n = dkim_run_copy(b->buffer + b->buffered, p, count < room ? count : room);
    b->buffered += count_in(b, n);
    return n;
}

/* Something comes, so that what was held back counts. */
static void release(struct dkim_body *b)
{
    for (; b->line_ends > 0; b->line_ends--)
        emit_two(b, "\r\n", 2);
    if (b->blank)
        emit_two(b, " ", 1);
    b->blank = false;
}

static void end_line(struct dkim_body *b)
{
    b->line_ends++;
    b->blank = false; /* blanks at the end of a line count for nothing */
}

/* Octets that go out as they are, but for the line ends behind them. */
static void add_simple(struct dkim_body *b, const char *p, size_t count)
{
    uint64_t line_ends = 0;
    bool cr = count > 0 && p[count - 1] == '\r';

    count -= cr;
    for (; count >= 2 && memcmp(p + count - 2, "\r\n", 2) == 0; count -= 2)
        line_ends++;
    if (count > 0) {
        release(b);
        emit(b, p, count);
    }
    b->line_ends += line_ends;
    b->cr = cr;
}

static void add_relaxed(struct dkim_body *b, const char *p, const char *end)
{
    while (p < end) {
        if (*p == ' ' || *p == '\t') {
            b->blank = true;
            p++;
        } else if (*p != '\r') {
            release(b);
            p += emit_run(b, p, (size_t)(end - p));
        } else if (end - p == 1) {
            b->cr = true;
            p++;
        } else if (p[1] == '\n') {
            end_line(b);
            p += 2;
        } else {
            release(b);
            emit_two(b, "\r", 1);
            p++;
        }
    }
}

void dkim_body_add(struct dkim_body *b, const char *octets, size_t count)
{
    const char *p = octets, *end = octets + count;

    if (b->cr && p < end) {
        b->cr = false;
        if (*p == '\n') {
            end_line(b);
            p++;
        } else {
            release(b);
            emit_two(b, "\r", 1);
        }
    }
    if (p == end)
        return;
    if (b->relaxed)
        add_relaxed(b, p, end);
    else
        add_simple(b, p, (size_t)(end - p));
}

void dkim_body_end(struct dkim_body *b)
{
    if (b->cr) {
        release(b);
        emit_two(b, "\r", 1);
    }
    b->cr = b->blank = false;
    b->line_ends = 0;
    if (!b->relaxed || b->total > 0)
        emit_two(b, "\r\n", 2);
    give(b);
}
