/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoded.c - header values as people read them: RFC 2047.
 *
 * Liberal where mailers are careless: encoded words in quotes, in the middle of a word, longer
 * than 75 octets, and characters torn between two words of one charset. For eyes and filters
 * only; what goes on the wire is never decoded. Decoded controls become blanks, so that no
 * encoded word can put a line break where the reader does not expect one.
 */
#include "base/utf8.h"
#include "mime/charset.h"
#include "mime/header.h"

#define WORD_OCTETS_MAX    2048
#define CHARSET_OCTETS_MAX 40
#define INPUT_FACTOR       8 /* octets of a value looked at, per octet of result wanted */

struct word {
    struct slice charset, text;
    char encoding; /* 'b' or 'q' */
    size_t octets; /* of all of it */
};

struct decoder {
    struct buf *out;
    size_t len_max;
    struct slice charset; /* of what is gathered */
    struct buf gathered;  /* decoded octets of neighbours */
    unsigned converters;  /* runs that needed one */
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

static void decode_q(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i] == '_' ? ' ' : text.ptr[i];
        if (c == '=' && i + 2 < text.len && hex_digit(text.ptr[i + 1]) >= 0 &&
            hex_digit(text.ptr[i + 2]) >= 0) {
            c = (char)(hex_digit(text.ptr[i + 1]) * 16 + hex_digit(text.ptr[i + 2]));
            i += 2;
        }
        buf_add_char(out, c);
    }
}

/* Octets that are no digits are passed over (RFC 2045 6.8). */
static void decode_b(struct slice text, struct buf *out)
{
    unsigned bits = 0, count = 0;

    for (size_t i = 0; i < text.len && text.ptr[i] != '='; i++) {
        int digit = base64_digit(text.ptr[i]);
        if (digit < 0)
            continue;
        bits = (bits << 6 | (unsigned)digit) & 0xffff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            buf_add_char(out, (char)(bits >> count & 0xff));
        }
    }
}

/* "=?charset[*language]?B?text?=" at the start of `s`. */
static bool parse_word(struct slice s, struct word *ret)
{
    if (s.len < 8 || s.ptr[0] != '=' || s.ptr[1] != '?')
        return false;
    struct slice rest = slice_head(slice_from(s, 2), WORD_OCTETS_MAX);
    ptrdiff_t mark = slice_find(slice_head(rest, CHARSET_OCTETS_MAX + 1), '?');
    if (mark <= 0 || rest.len < (size_t)mark + 3 || rest.ptr[mark + 2] != '?')
        return false;
    ret->charset = slice_head(rest, (size_t)mark);
    ptrdiff_t star = slice_find(ret->charset, '*'); /* RFC 2231 5 */
    if (star >= 0)
        ret->charset = slice_head(ret->charset, (size_t)star);
    ret->encoding = ascii_lower(rest.ptr[mark + 1]);
    if (ret->encoding != 'b' && ret->encoding != 'q')
        return false;
    rest = slice_from(rest, (size_t)mark + 3);
    const char *end = rest.len > 0 ? memmem(rest.ptr, rest.len, "?=", 2) : NULL;
    if (end == NULL)
        return false;
    ret->text = slice_head(rest, (size_t)(end - rest.ptr));
    ret->octets = (size_t)(end + 2 - s.ptr);
    return true;
}

static void add_character(struct decoder *d, struct slice s)
{
    bool control = s.len == 1 && ((unsigned char)s.ptr[0] < 0x20 || s.ptr[0] == 0x7f);

    if (control && s.ptr[0] != '\t')
        s = SLICE(" ");
    if (d->out->len + s.len <= d->len_max)
        buf_add(d->out, s);
    else
        d->len_max = d->out->len; /* full: a shorter one is not to slip in behind */
}

static void add_text(struct decoder *d, struct slice s)
{
    while (s.len > 0) {
        size_t len = utf8_len(s);
        add_character(d, len > 0 ? slice_head(s, len) : SLICE("\xef\xbf\xbd"));
        s = slice_from(s, len > 0 ? len : 1);
    }
}

static void flush(struct decoder *d)
{
    struct buf text = BUF_INIT;

    if (d->charset.len == 0)
        return;
    (void)header_charset_decode(d->charset, buf_slice(&d->gathered), &text,
                                HEADER_DECODED_OCTETS_MAX);
    add_text(d, buf_slice(&text));
    buf_free(&text);
    buf_clear(&d->gathered);
    d->charset = SLICE("");
}

/*
 * Whether a word of this charset can join. Opening a converter is dear, and a header of half a
 * megabyte can ask for it forty thousand times: past the limit words are left as they stand.
 */
static bool charset_is_taken(struct decoder *d, struct slice charset)
{
    struct buf none = BUF_INIT;

    if (d->charset.len > 0 && slice_equal_nocase(charset, d->charset))
        return true;
    if (charset_kind(charset) != CHARSET_ICONV)
        return charset_kind(charset) == CHARSET_BUILT_IN;
    if (d->converters == HEADER_CONVERTERS_MAX)
        return false;
    d->converters++;
    bool known = header_charset_decode(charset, SLICE(""), &none, 0);
    buf_free(&none);
    return known;
}

static struct slice skip_blanks(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = slice_from(s, 1);
    return s;
}

static void add_word(struct decoder *d, const struct word *w)
{
    if (!slice_equal_nocase(w->charset, d->charset) ||
        d->gathered.len > HEADER_DECODED_OCTETS_MAX) {
        flush(d);
        d->charset = w->charset;
    }
    if (w->encoding == 'b')
        decode_b(w->text, &d->gathered);
    else
        decode_q(w->text, &d->gathered);
}

static void decode(struct decoder *d, struct slice s)
{
    struct word w;

    while (s.len > 0 && d->out->len < d->len_max) {
        /* Blanks between two encoded words are not text. */
        struct slice at = d->charset.len > 0 ? skip_blanks(s) : s;
        if (parse_word(at, &w) && charset_is_taken(d, w.charset)) {
            add_word(d, &w);
            s = slice_from(at, w.octets);
            continue;
        }
        flush(d);
        const char *next = s.len > 1 ? memmem(s.ptr + 1, s.len - 1, "=?", 2) : NULL;
        size_t len = next != NULL ? (size_t)(next - s.ptr) : s.len;
        add_text(d, slice_head(s, len));
        s = slice_from(s, len);
    }
    flush(d);
}

void header_decode(struct slice value, struct buf *out, size_t octets_max)
{
    CLEANUP_BUF struct buf line = BUF_INIT;
    struct decoder d = { .out = out, .len_max = out->len + octets_max, .charset = SLICE("") };

    header_unfold(slice_head(value, octets_max * INPUT_FACTOR), &line);
    decode(&d, buf_slice(&line));
    buf_free(&d.gathered);
}
