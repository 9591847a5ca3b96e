/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idn.c - see idn.h. U-labels are mapped by UTS 46 (non-transitional), as the core maps those of addresses, so that a
 * domain has one spelling wherever it stands. Sources: RFC 5890, RFC 6532, RFC 8616.
 */
#include "idn.h"

#include <idn2.h>
#include <string.h>

bool idn_is_ascii(tern_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] >= 0x80)
            return false;
    return true;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

/* UTS 46 would take these for dots; RFC 6532 has but one dot. */
static bool has_foreign_dot(tern_str name)
{
    static const char *const dots[] = { "\xe3\x80\x82", "\xef\xbc\x8e", "\xef\xbd\xa1" };

    for (size_t i = 0; i < sizeof(dots) / sizeof(dots[0]); i++)
        if (memmem(name.ptr, name.len, dots[i], 3) != NULL)
            return true;
    return false;
}

static bool ascii_is_plain(tern_str name)
{
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.ptr[i] < 0x80 && !is_plain(name.ptr[i]))
            return false;
    return true;
}

static bool copy_lowered(tern_str name, char *out, tern_str *ret)
{
    if (name.len == 0 || name.len > IDN_NAME_OCTETS_MAX)
        return false;
    memmove(out, name.ptr, name.len);
    out[name.len] = '\0';
    for (size_t i = 0; i < name.len; i++)
        if (out[i] >= 'A' && out[i] <= 'Z')
            out[i] = (char)(out[i] + 32);
    *ret = (tern_str){ out, name.len };
    return true;
}

bool idn_to_ascii(tern_str name, char out[IDN_NAME_OCTETS_MAX + 1], tern_str *ret)
{
    char text[4 * IDN_NAME_OCTETS_MAX + 1]; /* a label is never longer in UTF-8 than that */
    uint8_t *ascii = NULL;

    if (idn_is_ascii(name))
        return copy_lowered(name, out, ret);
    if (name.len >= sizeof(text) || !ascii_is_plain(name) || has_foreign_dot(name))
        return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    /*
     * Not IDN2_USE_STD3_ASCII_RULES: with it libidn2 leaves out what stands for an octet that no name may have, so
     * that "b<full-width />.example" would be b.example. Without it the octet is there, and what is looked at below.
     */
    int r = idn2_lookup_u8((const uint8_t *)text, &ascii,
                           IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (r != IDN2_OK)
        return false;
    tern_str got = { (const char *)ascii, strlen((const char *)ascii) };
    bool good = ascii_is_plain(got) && copy_lowered(got, out, ret);
    idn2_free(ascii);
    return good;
}
