/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_canon.c - the fields that a signature covers. See dkim.h. Source: RFC 6376 3.4.1, 3.4.2, 3.7, 5.4.2.
 *
 * Lines end in CRLF; a lone CR or LF is an octet like any other.
 */
#include "dkim.h"

#include <string.h>

#include "crlf.h"
#include "dkim_run.h"

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

static size_t field_octets(tern_str s)
{
    size_t octets = crlf_line_octets(s);

    while (octets < s.len && is_blank(s.ptr[octets]))
        octets += crlf_line_octets(dkim_str(s.ptr + octets, s.len - octets));
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

/* What a message's signed fields usually need, so that they reach the sink as one piece. Not zeroed. */
#define WRITER_OCTETS 4096
struct writer {
    dkim_sink sink;
    void *arg;
    size_t used;
    char buffer[WRITER_OCTETS];
};

static void begin(struct writer *w, dkim_sink sink, void *arg)
{
    w->sink = sink;
    w->arg = arg;
    w->used = 0;
}

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

static void put_octets(struct writer *w, const char *octets, size_t count)
{
    if (count > sizeof(w->buffer) - w->used)
        flush(w);
    if (count > sizeof(w->buffer)) {
        w->sink(w->arg, octets, count);
        return;
    }
    memcpy(w->buffer + w->used, octets, count);
    w->used += count;
}

static tern_str without_end(tern_str whole)
{
    if (whole.len >= 2 && memcmp(whole.ptr + whole.len - 2, "\r\n", 2) == 0)
        whole.len -= 2;
    return whole;
}

/* Text up to a CR or blanks that must go; 0: there are such at once. */
static size_t put_run(struct writer *w, const char *p, size_t count)
{
    if (w->used == sizeof(w->buffer))
        flush(w);
    size_t room = sizeof(w->buffer) - w->used;
    size_t n = dkim_run_copy(w->buffer + w->used, p, count < room ? count : room);
    w->used += n;
    return n;
}

static void put_blank(struct writer *w, bool *blank, bool *begun)
{
    if (*blank && *begun)
        put(w, ' ');
    *blank = false;
    *begun = true;
}

/* The value on one line, each run of blanks one blank, none at either end. `blank` goes from piece to piece. */
static void put_relaxed(struct writer *w, tern_str value, bool *blank, bool *begun)
{
    const char *p = value.ptr, *end = p + value.len;

    while (p < end) {
        if (is_blank(*p)) {
            *blank = true;
            p++;
        } else if (*p != '\r') {
            put_blank(w, blank, begun);
            p += put_run(w, p, (size_t)(end - p));
        } else if (end - p >= 2 && p[1] == '\n') {
            p += 2; /* it is a fold: a field has no other line ends inside */
        } else {
            put_blank(w, blank, begun);
            put(w, *p++);
        }
    }
}

static void put_name(struct writer *w, const char *name, size_t len)
{
    while (len > 0 && is_blank(name[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++)
        put(w, lower(name[i]));
    put(w, ':');
}

/* `hole`: left out; ptr NULL: nothing is. */
static void canon(struct writer *w, tern_str whole, tern_str hole, bool relaxed, bool last)
{
    tern_str text = without_end(whole);
    const char *end = text.ptr + text.len, *from = text.ptr;
    bool blank = false, begun = false;
    const char *hole_end = hole.ptr != NULL ? hole.ptr + hole.len : text.ptr;

    if (hole_end > end)
        hole_end = end;
    if (hole.ptr == NULL)
        hole.ptr = text.ptr;
    if (relaxed) {
        const char *colon = memchr(text.ptr, ':', text.len);
        put_name(w, text.ptr, (size_t)(colon - text.ptr));
        from = colon + 1;
        if (hole.ptr > from)
            put_relaxed(w, dkim_str(from, (size_t)(hole.ptr - from)), &blank, &begun);
        from = hole_end > from ? hole_end : from;
        put_relaxed(w, dkim_str(from, (size_t)(end - from)), &blank, &begun);
    } else {
        if (hole.ptr > from)
            put_octets(w, from, (size_t)(hole.ptr - from));
        if (end > hole_end)
            put_octets(w, hole_end, (size_t)(end - hole_end));
    }
    if (!last)
        put_octets(w, "\r\n", 2);
}

static void canon_one(tern_str whole, tern_str hole, bool relaxed, bool last, dkim_sink sink, void *arg)
{
    struct writer w;

    begin(&w, sink, arg);
    canon(&w, whole, hole, relaxed, last);
    flush(&w);
}

void dkim_canon_field(tern_str whole, bool relaxed, bool last, dkim_sink sink, void *arg)
{
    canon_one(whole, dkim_str(NULL, 0), relaxed, last, sink, arg);
}

void dkim_canon_signature(tern_str whole, tern_str cut, bool relaxed, dkim_sink sink, void *arg)
{
    canon_one(whole, cut, relaxed, true, sink, arg);
}

void dkim_canon_headers(const struct dkim_field *fields, size_t count, tern_str headers, bool relaxed,
                        uint8_t *used, dkim_sink sink, void *arg)
{
    struct writer w;
    tern_str name;

    begin(&w, sink, arg);
    while (dkim_list_next(&headers, ':', &name)) {
        uint32_t hash = hash_name(name);
        for (size_t i = count; i-- > 0;) {
            if (fields[i].hash != hash || used[i] != 0 || !dkim_equal_nocase(fields[i].name, name))
                continue;
            used[i] = 1;
            canon(&w, fields[i].whole, dkim_str(NULL, 0), relaxed, false);
            break; /* one that is not there counts as nothing: RFC 6376 5.4.2 */
        }
    }
    flush(&w);
}
