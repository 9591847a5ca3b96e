/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_canon.c - the octets that a signature covers. See dkim.h. Source: RFC 6376 3.4, 3.7, 5.4.2.
 *
 * Lines end in CRLF; a lone CR or LF is an octet like any other.
 */
#include "dkim.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static uint32_t hash_name(tern_str name)
{
    uint32_t h = 2166136261u; /* FNV-1a: it saves comparisons, no more */

    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (unsigned char)lower(name.ptr[i])) * 16777619u;
    return h;
}

/* ---- the header, in fields ---- */

static size_t line_octets(tern_str s)
{
    const char *end = s.len > 0 ? memmem(s.ptr, s.len, "\r\n", 2) : NULL;

    return end != NULL ? (size_t)(end - s.ptr) + 2 : s.len;
}

static size_t field_octets(tern_str s)
{
    size_t octets = line_octets(s);

    while (octets < s.len && is_blank(s.ptr[octets]))
        octets += line_octets(dkim_str(s.ptr + octets, s.len - octets));
    return octets;
}

static bool parse_field(tern_str whole, struct dkim_field *ret)
{
    const char *colon = memchr(whole.ptr, ':', whole.len);
    size_t len = colon != NULL ? (size_t)(colon - whole.ptr) : 0;

    while (len > 0 && is_blank(whole.ptr[len - 1]))
        len--;
    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++)
        if (whole.ptr[i] < 33 || whole.ptr[i] > 126)
            return false;
    *ret = (struct dkim_field){ .whole = whole, .name = { whole.ptr, len } };
    ret->hash = hash_name(ret->name);
    return true;
}

size_t dkim_fields_count(tern_str header)
{
    const char *at = header.ptr, *end = header.ptr + header.len;
    size_t lines = 1;

    while (at < end && lines <= DKIM_FIELDS_MAX && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        lines++;
        at++;
    }
    return lines;
}

int dkim_fields_cut(tern_str header, struct dkim_field *fields, size_t max)
{
    size_t count = 0;
    struct dkim_field field;

    while (header.len > 0) {
        tern_str whole = { header.ptr, field_octets(header) };
        header.ptr += whole.len;
        header.len -= whole.len;
        if (!parse_field(whole, &field))
            continue;
        if (count == max)
            return -E2BIG;
        fields[count++] = field;
    }
    return (int)count;
}

unsigned dkim_fields_named(const struct dkim_field *fields, size_t count, const char *name)
{
    tern_str wanted = { name, strlen(name) };
    uint32_t hash = hash_name(wanted);
    unsigned n = 0;

    for (size_t i = 0; i < count; i++)
        n += fields[i].hash == hash && dkim_equal_nocase(fields[i].name, wanted);
    return n;
}

/* ---- fields ---- */

struct writer {
    dkim_sink sink;
    void *arg;
    size_t used;
    char buffer[1024];
};

static void flush(struct writer *w)
{
    if (w->used > 0)
        w->sink(w->arg, w->buffer, w->used);
    w->used = 0;
}

static void put(struct writer *w, char c)
{
    if (w->used == sizeof(w->buffer))
        flush(w);
    w->buffer[w->used++] = c;
}

static tern_str without_end(tern_str whole)
{
    if (whole.len >= 2 && memcmp(whole.ptr + whole.len - 2, "\r\n", 2) == 0)
        whole.len -= 2;
    return whole;
}

/* The value on one line, each run of blanks one blank, none at either end. `blank` goes from piece to piece. */
static void put_relaxed(struct writer *w, tern_str value, bool *blank, bool *begun)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\r' && i + 1 < value.len && value.ptr[i + 1] == '\n') {
            i++; /* it is a fold: a field has no other line ends inside */
            continue;
        }
        if (is_blank(c)) {
            *blank = true;
            continue;
        }
        if (*blank && *begun)
            put(w, ' ');
        *blank = false;
        *begun = true;
        put(w, c);
    }
}

/* `hole`: left out; ptr NULL: nothing is. */
static void canon(tern_str whole, tern_str hole, bool relaxed, bool last, dkim_sink sink, void *arg)
{
    tern_str text = without_end(whole);
    const char *end = text.ptr + text.len, *from = text.ptr;
    bool blank = false, begun = false;
    struct writer w = { .sink = sink, .arg = arg };
    const char *hole_end = hole.ptr != NULL ? hole.ptr + hole.len : text.ptr;

    if (hole_end > end)
        hole_end = end;
    if (hole.ptr == NULL)
        hole.ptr = text.ptr;
    if (relaxed) {
        const char *colon = memchr(text.ptr, ':', text.len);
        size_t name = (size_t)(colon - text.ptr);
        while (name > 0 && is_blank(text.ptr[name - 1]))
            name--;
        for (size_t i = 0; i < name; i++)
            put(&w, lower(text.ptr[i]));
        put(&w, ':');
        from = colon + 1;
        if (hole.ptr > from)
            put_relaxed(&w, dkim_str(from, (size_t)(hole.ptr - from)), &blank, &begun);
        from = hole_end > from ? hole_end : from;
        put_relaxed(&w, dkim_str(from, (size_t)(end - from)), &blank, &begun);
    } else {
        if (hole.ptr > from)
            sink(arg, from, (size_t)(hole.ptr - from));
        if (end > hole_end)
            sink(arg, hole_end, (size_t)(end - hole_end));
    }
    if (!last) {
        put(&w, '\r');
        put(&w, '\n');
    }
    flush(&w);
}

void dkim_canon_field(tern_str whole, bool relaxed, bool last, dkim_sink sink, void *arg)
{
    canon(whole, dkim_str(NULL, 0), relaxed, last, sink, arg);
}

void dkim_canon_signature(tern_str whole, tern_str cut, bool relaxed, dkim_sink sink, void *arg)
{
    canon(whole, cut, relaxed, true, sink, arg);
}

void dkim_canon_headers(const struct dkim_field *fields, size_t count, tern_str headers, bool relaxed,
                        uint8_t *used, dkim_sink sink, void *arg)
{
    tern_str name;

    while (dkim_list_next(&headers, ':', &name)) {
        uint32_t hash = hash_name(name);
        for (size_t i = count; i-- > 0;) {
            if (fields[i].hash != hash || used[i] != 0 || !dkim_equal_nocase(fields[i].name, name))
                continue;
            used[i] = 1;
            dkim_canon_field(fields[i].whole, relaxed, false, sink, arg);
            break; /* one that is not there counts as nothing: RFC 6376 5.4.2 */
        }
    }
}

/* ---- the body ---- */

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

static void emit(struct dkim_body *b, const char *octets, size_t count)
{
    uint64_t room = b->limit > b->total ? b->limit - b->total : 0;
    size_t wanted = count < room ? count : (size_t)room;

    b->total += count;
    if (wanted > sizeof(b->buffer) - b->buffered)
        give(b);
    if (wanted > sizeof(b->buffer)) {
        b->sink(b->arg, octets, wanted);
        return;
    }
    memcpy(b->buffer + b->buffered, octets, wanted);
    b->buffered += wanted;
}

/* Something comes, so that what was held back counts. */
static void release(struct dkim_body *b)
{
    for (; b->line_ends > 0; b->line_ends--)
        emit(b, "\r\n", 2);
    if (b->blank)
        emit(b, " ", 1);
    b->blank = false;
}

static void end_line(struct dkim_body *b)
{
    b->line_ends++;
    b->blank = false; /* blanks at the end of a line count for nothing */
}

static const bool is_special[256] = { [' '] = true, ['\t'] = true, ['\r'] = true };

/* Octets from `p` on that are themselves. */
static size_t plain_octets(const struct dkim_body *b, const char *p, size_t count)
{
    size_t n = 0;

    if (!b->relaxed) {
        const char *cr = memchr(p, '\r', count);
        return cr != NULL ? (size_t)(cr - p) : count;
    }
    /* A single blank between others is itself, so that a line is one piece, and not each of its words. */
    for (;; n++) {
        while (n < count && !is_special[(unsigned char)p[n]])
            n++;
        if (n == 0 || n + 1 >= count || p[n] != ' ' || is_special[(unsigned char)p[n + 1]])
            break;
    }
    return n;
}

void dkim_body_add(struct dkim_body *b, const char *octets, size_t count)
{
    const char *p = octets, *end = octets + count;

    while (p < end) {
        if (b->cr) {
            b->cr = false;
            if (*p == '\n') {
                end_line(b);
                p++;
                continue;
            }
            release(b);
            emit(b, "\r", 1);
        }
        size_t n = plain_octets(b, p, (size_t)(end - p));
        if (n > 0) {
            release(b);
            emit(b, p, n);
            p += n;
        } else if (*p == '\r') {
            b->cr = true;
            p++;
        } else {
            b->blank = true;
            p++;
        }
    }
}

void dkim_body_end(struct dkim_body *b)
{
    if (b->cr) {
        release(b);
        emit(b, "\r", 1);
    }
    b->cr = b->blank = false;
    b->line_ends = 0;
    if (!b->relaxed || b->total > 0)
        emit(b, "\r\n", 2);
    give(b);
}
