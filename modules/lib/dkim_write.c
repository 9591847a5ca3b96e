/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_write.c - a signature field as it grows. See dkim_write.h. Sources: RFC 6376 3.5, 5.4, 8.15 (a name once more in
 * h= than the header has it: nobody may add one).
 */
#include "dkim_write.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TAG_OCTETS_MAX 1024 /* of one that is not folded inside */

void dkim_write_init(struct dkim_write *w, char *out, size_t room, size_t line_max)
{
    *w = (struct dkim_write){ .at = out, .room = room, .line_max = line_max };
    out[0] = '\0';
}

void dkim_write(struct dkim_write *w, const char *text, size_t len)
{
    if (w->len + len >= w->room)
        return; /* asked for by nobody: room is for the longest */
    memcpy(w->at + w->len, text, len);
    w->len += len;
    w->line += len;
    w->at[w->len] = '\0';
}

bool dkim_write_fold(struct dkim_write *w)
{
    if (w->line_max == SIZE_MAX)
        return false;
    /* Blanks, not a tab: dkimpy looks for " i=" in a set of ARC. */
    dkim_write(w, "\r\n    ", 6);
    w->line = 4;
    return true;
}

static bool is_full(const struct dkim_write *w, size_t len)
{
    return w->line_max != SIZE_MAX && w->line + len > w->line_max;
}

void dkim_write_word(struct dkim_write *w, const char *text, size_t len)
{
    if (is_full(w, len))
        (void)dkim_write_fold(w);
    dkim_write(w, text, len);
}

void dkim_write_tag(struct dkim_write *w, const char *format, ...)
{
    char text[TAG_OCTETS_MAX];
    va_list args;

    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(text))
        return; /* two names of 253 octets fit */
    if (is_full(w, (size_t)len + 1))
        (void)dkim_write_fold(w);
    else
        dkim_write(w, " ", 1);
    dkim_write(w, text, (size_t)len);
}

void dkim_write_base64(struct dkim_write *w, const char *text)
{
    size_t len = strlen(text), at = 0;

    while (at < len) {
        size_t room = w->line < w->line_max ? w->line_max - w->line : 0;
        size_t n = len - at < room ? len - at : room;
        dkim_write(w, text + at, n);
        at += n;
        if (at < len)
            (void)dkim_write_fold(w);
    }
}

static bool lists(struct tern_list list, tern_str name, size_t until)
{
    for (size_t i = 0; i < until; i++)
        if (dkim_equal_nocase(list.items[i], name))
            return true;
    return false;
}

/* Those of `list` that are not in `unless`. */
static void write_list(struct dkim_write *w, const struct dkim_names *names, const struct dkim_field *fields,
                       size_t field_count, struct tern_list list, struct tern_list unless, unsigned *count)
{
    for (size_t i = 0; i < list.count; i++) {
        tern_str name = list.items[i];
        if (lists(list, name, i) || lists(unless, name, unless.count))
            continue;
        unsigned times = dkim_fields_named(fields, field_count, name.ptr) +
                         lists(names->oversign, name, names->oversign.count);
        for (; times > 0 && *count < DKIM_WRITE_NAMES_MAX; times--) {
            if ((*count)++ > 0)
                dkim_write(w, ":", 1);
            dkim_write_word(w, name.ptr, name.len);
        }
    }
}

void dkim_write_names(struct dkim_write *w, const struct dkim_names *names, const struct dkim_field *fields,
                      size_t count)
{
    unsigned written = 0;

    write_list(w, names, fields, count, names->headers, (struct tern_list){ NULL, 0 }, &written);
    write_list(w, names, fields, count, names->oversign, names->headers, &written);
}

static size_t longest(struct tern_list list, size_t octets)
{
    for (size_t i = 0; i < list.count; i++)
        octets = list.items[i].len > octets ? list.items[i].len : octets;
    return octets;
}

size_t dkim_names_room(const struct dkim_names *names)
{
    return DKIM_WRITE_NAMES_MAX * (longest(names->headers, longest(names->oversign, 8)) + 8);
}
