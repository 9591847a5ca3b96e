/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prep.c - SASLprep (RFC 4013) over libunistring's NFKC and writing directions.
 *
 * The tables are those of RFC 3454 that the profile names. Unassigned code points pass, as they may in what is asked
 * for (RFC 3454 7): today's Unicode assigns what that of 2002 did not, and people's passwords have them. Who
 * stores a string asks sasl_has_unassigned(), too.
 */
#include <stdlib.h>
#include <unicase.h>
#include <uninorm.h>
#include <unictype.h>
#include <unistr.h>

#include "base/utf8.h"
#include "sasl/sasl.h"

struct range {
    uint32_t first, last;
};

static bool is_in(uint32_t c, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}
#define IS_IN(c, table) is_in(c, table, sizeof(table) / sizeof((table)[0]))

/* C.1.2: other blanks, which become U+0020. */
static const struct range blanks[] = { { 0xa0, 0xa0 },     { 0x1680, 0x1680 }, { 0x2000, 0x200b },
                                       { 0x202f, 0x202f }, { 0x205f, 0x205f }, { 0x3000, 0x3000 } };
/* B.1: commonly mapped to nothing. U+200B stands in both; RFC 4013 2.1 maps blanks first. */
static const struct range nothing[] = { { 0xad, 0xad },     { 0x34f, 0x34f },   { 0x1806, 0x1806 },
                                        { 0x180b, 0x180d }, { 0x200c, 0x200d }, { 0x2060, 0x2060 },
                                        { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff } };
/* C.2.1, C.2.2, C.3 to C.9. */
static const struct range prohibited[] = {
    { 0, 0x1f },           { 0x7f, 0x9f },         { 0x340, 0x341 },       { 0x6dd, 0x6dd },
    { 0x70f, 0x70f },      { 0x180e, 0x180e },     { 0x200e, 0x200f },     { 0x2028, 0x202e },
    { 0x2061, 0x2063 },    { 0x206a, 0x206f },     { 0x2ff0, 0x2ffb },     { 0xd800, 0xf8ff },
    { 0xfdd0, 0xfdef },    { 0xfff9, 0xffff },     { 0x1d173, 0x1d17a },   { 0x1fffe, 0x1ffff },
    { 0x2fffe, 0x2ffff },  { 0xe0001, 0xe0001 },   { 0xe0020, 0xe007f },   { 0xefffe, 0x10ffff },
};

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] > 127)
            return false;
    return true;
}

/* Blanks and what is nothing; octets_max is not exceeded by it. */
static bool map(struct slice text, struct buf *out)
{
    const uint8_t *at = (const uint8_t *)text.ptr;

    (void)buf_reserve(out, text.len);
    for (size_t i = 0; i < text.len;) {
        ucs4_t c;
        int octets = u8_mbtoucr(&c, at + i, text.len - i);
        if (octets <= 0)
            return false;
        if (IS_IN(c, blanks))
            buf_add_char(out, ' ');
        else if (!IS_IN(c, nothing))
            buf_add(out, slice_make(text.ptr + i, (size_t)octets));
        i += (size_t)octets;
    }
    return true;
}

static bool has_prohibited(struct slice text)
{
    const uint8_t *at = (const uint8_t *)text.ptr;

    for (size_t i = 0; i < text.len;) {
        ucs4_t c;
        int octets = u8_mbtoucr(&c, at + i, text.len - i);
        if (octets <= 0 || IS_IN(c, prohibited))
            return true;
        i += (size_t)octets;
    }
    return false;
}

/*
 * RFC 3454 6: where something is written from right to left, nothing is from left to right, and the first and
 * the last character are from right to left.
 */
static bool is_one_direction(struct slice text)
{
    const uint8_t *at = (const uint8_t *)text.ptr;
    bool right = false, left = false, first = false, last = false;

    for (size_t i = 0; i < text.len;) {
        ucs4_t c;
        int octets = u8_mbtoucr(&c, at + i, text.len - i);
        if (octets <= 0)
            return false;
        int class = uc_bidi_class(c);
        last = class == UC_BIDI_R || class == UC_BIDI_AL;
        first = i == 0 ? last : first;
        right = right || last;
        left = left || class == UC_BIDI_L;
        i += (size_t)octets;
    }
    return !right || (!left && first && last);
}

bool sasl_prep(struct slice text, size_t octets_max, struct buf *out)
{
    struct buf mapped = BUF_INIT;
    size_t octets = 0;

    if (text.len == 0 || text.len > octets_max || !utf8_valid(text))
        return false;
    if (is_ascii(text)) {
        if (!sasl_text_is_fit(text, octets_max))
            return false;
        buf_add(out, text);
        return true;
    }
    uint8_t *normal = NULL;
    if (map(text, &mapped) && mapped.len > 0)
        normal = u8_normalize(UNINORM_NFKC, (const uint8_t *)mapped.data, mapped.len, NULL, &octets);
    bool fit = normal != NULL && octets > 0 && octets <= octets_max &&
               !has_prohibited(slice_make((const char *)normal, octets)) &&
               is_one_direction(slice_make((const char *)normal, octets));
    if (fit)
        buf_add(out, slice_make((const char *)normal, octets));
    if (normal != NULL)
        explicit_bzero(normal, octets);
    free(normal);
    buf_wipe(&mapped);
    return fit;
}

/* ---- comparing names ---- */

static void squeeze(struct slice text, struct buf *out)
{
    size_t begin = out->len;

    for (size_t i = 0; i < text.len; i++) {
        bool blank = text.ptr[i] == ' ';
        if (!blank || (out->len > begin && out->data[out->len - 1] != ' '))
            buf_add_char(out, ascii_lower(text.ptr[i]));
    }
    if (out->len > begin && out->data[out->len - 1] == ' ')
        buf_cut(out, out->len - 1);
}

void sasl_name_fold(struct slice name, struct buf *out)
{
    size_t octets = 0;
    uint8_t *folded = NULL;

    if (!is_ascii(name) && utf8_valid(name))
        folded = u8_casefold((const uint8_t *)name.ptr, name.len, NULL, UNINORM_NFKC, NULL, &octets);
    squeeze(folded != NULL ? slice_make((const char *)folded, octets) : name, out);
    free(folded);
}
