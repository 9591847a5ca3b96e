/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errors.c - what is wrong with a configuration, gathered so that one run shows all of it.
 *
 * A message may quote what the user wrote; control characters are escaped here, so that a
 * broken file cannot write to the operator's terminal. Secrets never get this far: who
 * quotes a value asks value_show() for it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/yaml.h"

#define MESSAGE_OCTETS_MAX 1000
#define WORD_OCTETS_MAX    40 /* longer words get no suggestion */

static void add_escaped(struct buf *buf, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            buf_printf(buf, "\\x%02x", (unsigned char)*p);
        else
            buf_add_char(buf, *p);
    }
}

/* The last line says how many were left out; it is written anew each time that number changes. */
static void count_hidden(struct config_errors *e)
{
    unsigned told = e->errors - e->repeated, errors = told > CONFIG_ERRORS_MAX ? told - CONFIG_ERRORS_MAX : 0;
    unsigned warnings = e->warnings > CONFIG_ERRORS_MAX ? e->warnings - CONFIG_ERRORS_MAX : 0;

    if (errors > 0)
        buf_printf(&e->text, "and %u more error%s\n", errors, errors == 1 ? "" : "s");
    if (warnings > 0)
        buf_printf(&e->text, "and %u more warning%s\n", warnings, warnings == 1 ? "" : "s");
}

/* What a step of three policies has wrong (routes: is one of each) is one mistake. */
static bool take_back_if_told(struct config_errors *e, size_t from)
{
    struct slice line = slice_from(buf_slice(&e->text), from);
    const char *at = from > 0 ? memmem(e->text.data, from, line.ptr, line.len) : NULL;

    if (at == NULL || (at > e->text.data && at[-1] != '\n'))
        return false;
    buf_cut(&e->text, from);
    return true;
}

/* False: the line stands there already. */
static bool add_line(struct config_errors *e, const struct place *place, const char *kind,
                     const char *format, va_list args)
{
    char message[MESSAGE_OCTETS_MAX];
    size_t from = e->text.len;

    (void)vsnprintf(message, sizeof(message), format, args);
    if (place != NULL && place->file != NULL) {
        add_escaped(&e->text, place->file);
        if (place->line > 0)
            buf_printf(&e->text, ":%u:%u", place->line, place->col);
        buf_add_cstr(&e->text, ": ");
    }
    buf_printf(&e->text, "%s: ", kind);
    add_escaped(&e->text, message);
    buf_add_char(&e->text, '\n');
    bool is_new = !take_back_if_told(e, from);
    e->shown = e->text.len;
    return is_new;
}

void config_error_at(struct config_errors *e, const struct place *place, const char *format, ...)
{
    va_list args;

    if (e == NULL)
        return;
    e->text.len = e->shown;
    if (e->errors++ - e->repeated < CONFIG_ERRORS_MAX) {
        va_start(args, format);
        e->repeated += !add_line(e, place, "error", format, args);
        va_end(args);
    }
    count_hidden(e);
}

void config_warning_at(struct config_errors *e, const struct place *place, const char *format, ...)
{
    va_list args;

    if (e == NULL)
        return;
    e->text.len = e->shown;
    if (e->warnings++ < CONFIG_ERRORS_MAX) {
        va_start(args, format);
        e->warnings -= !add_line(e, place, "warning", format, args);
        va_end(args);
    }
    count_hidden(e);
}

void config_errors_free(struct config_errors *e)
{
    buf_free(&e->text);
    *e = (struct config_errors){ .errors = 0 };
}

static char fold(char c)
{
    return c == '-' ? '_' : ascii_lower(c);
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/*
 * Edits between two words: insert, drop, change, or swap two neighbours (the optimal string
 * alignment distance). Case, and - for _, count for nothing. Words are at most WORD_OCTETS_MAX.
 */
static unsigned distance(struct slice a, struct slice b)
{
    unsigned rows[3][WORD_OCTETS_MAX + 3];
    unsigned *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= b.len; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = fold(a.ptr[i - 1]) == fold(b.ptr[j - 1]);
            now[j] = least(last[j] + 1, now[j - 1] + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && fold(a.ptr[i - 1]) == fold(b.ptr[j - 2]) &&
                fold(a.ptr[i - 2]) == fold(b.ptr[j - 1]) && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        unsigned *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.len];
}

const char *config_did_you_mean(struct slice word, const char *const *candidates, size_t count)
{
    unsigned edits_max = word.len < 2 ? 0 : word.len <= 4 ? 1 : 2;
    unsigned best = edits_max + 1;
    const char *found = NULL;

    if (word.len == 0 || word.len > WORD_OCTETS_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct slice candidate = slice_cstr(candidates[i]);
        if (candidate.len > word.len + 2 || candidate.len + 2 < word.len)
            continue;
        unsigned edits = distance(word, candidate);
        if (edits < best) {
            best = edits;
            found = candidates[i];
        }
    }
    return found;
}
