/* SPDX-License-Identifier: Apache-2.0 */
/*
 * charset.c - octets of a named charset to UTF-8, by iconv.
 *
 * Only charsets of this table reach iconv: the name comes from a stranger, some of glibc's
 * converters have had holes (ISO-2022-CN-EXT, CVE-2024-2961), and a name with "//" would carry
 * options. Labels that are mostly meant otherwise are taken as meant: ISO-8859-1 as Windows-1252,
 * GB2312 as GB18030, Shift_JIS as CP932, and US-ASCII as UTF-8 (RFC 6532 mail, and 8-bit under a
 * 7-bit label). Where the converters are not installed (a bare chroot) the charset counts as
 * unknown.
 */
#include <errno.h>
#include <iconv.h>

#include "base/utf8.h"
#include "mime/charset.h"
#include "mime/header.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static const struct {
    struct slice label;
    const char *iconv_name; /* NULL: UTF-8 */
} charsets[] = {
    { SLICE("utf-8"), NULL },
    { SLICE("utf8"), NULL },
    { SLICE("us-ascii"), NULL },
    { SLICE("ascii"), NULL },
    { SLICE("iso-8859-1"), "CP1252" },
    { SLICE("iso8859-1"), "CP1252" },
    { SLICE("latin1"), "CP1252" },
    { SLICE("windows-1252"), "CP1252" },
    { SLICE("cp1252"), "CP1252" },
    { SLICE("iso-8859-2"), "ISO-8859-2" },
    { SLICE("iso-8859-3"), "ISO-8859-3" },
    { SLICE("iso-8859-4"), "ISO-8859-4" },
    { SLICE("iso-8859-5"), "ISO-8859-5" },
    { SLICE("iso-8859-6"), "ISO-8859-6" },
    { SLICE("iso-8859-7"), "ISO-8859-7" },
    { SLICE("iso-8859-8"), "ISO-8859-8" },
    { SLICE("iso-8859-8-i"), "ISO-8859-8" },
    { SLICE("iso-8859-9"), "ISO-8859-9" },
    { SLICE("iso-8859-10"), "ISO-8859-10" },
    { SLICE("iso-8859-13"), "ISO-8859-13" },
    { SLICE("iso-8859-14"), "ISO-8859-14" },
    { SLICE("iso-8859-15"), "ISO-8859-15" },
    { SLICE("iso-8859-16"), "ISO-8859-16" },
    { SLICE("windows-1250"), "CP1250" },
    { SLICE("windows-1251"), "CP1251" },
    { SLICE("cp1251"), "CP1251" },
    { SLICE("windows-1253"), "CP1253" },
    { SLICE("windows-1254"), "CP1254" },
    { SLICE("windows-1255"), "CP1255" },
    { SLICE("windows-1256"), "CP1256" },
    { SLICE("windows-1257"), "CP1257" },
    { SLICE("windows-1258"), "CP1258" },
    { SLICE("windows-874"), "CP874" },
    { SLICE("tis-620"), "CP874" },
    { SLICE("koi8-r"), "KOI8-R" },
    { SLICE("koi8-u"), "KOI8-U" },
    { SLICE("macintosh"), "MACINTOSH" },
    { SLICE("gb2312"), "GB18030" },
    { SLICE("gbk"), "GB18030" },
    { SLICE("gb18030"), "GB18030" },
    { SLICE("big5"), "BIG5-HKSCS" },
    { SLICE("big5-hkscs"), "BIG5-HKSCS" },
    { SLICE("euc-jp"), "EUC-JP" },
    { SLICE("shift_jis"), "CP932" },
    { SLICE("windows-31j"), "CP932" },
    { SLICE("iso-2022-jp"), "ISO-2022-JP" },
    { SLICE("euc-kr"), "CP949" },
    { SLICE("ks_c_5601-1987"), "CP949" },
    { SLICE("cp949"), "CP949" },
    { SLICE("iso-2022-kr"), "ISO-2022-KR" },
};
#define CHARSET_COUNT (sizeof(charsets) / sizeof(charsets[0]))

enum charset_kind charset_kind(struct slice charset)
{
    for (size_t i = 0; i < CHARSET_COUNT; i++)
        if (slice_equal_nocase(charset, charsets[i].label))
            return charsets[i].iconv_name == NULL ? CHARSET_BUILT_IN : CHARSET_ICONV;
    return CHARSET_UNKNOWN;
}

/* False when `octets` more would pass the bound. */
static bool add_bounded(struct buf *out, struct slice s, size_t len_max)
{
    if (out->len + s.len > len_max)
        return false;
    buf_add(out, s);
    return true;
}

static void copy_utf8(struct slice octets, struct buf *out, size_t len_max)
{
    while (octets.len > 0) {
        size_t len = utf8_len(octets);
        struct slice s = len > 0 ? slice_head(octets, len) : SLICE(REPLACEMENT);
        if (!add_bounded(out, s, len_max))
            return;
        octets = slice_from(octets, len > 0 ? len : 1);
    }
}

/* Through a small block, so that the bound is met at a whole character and memory stays flat. */
static void convert(iconv_t cd, struct slice octets, struct buf *out, size_t len_max)
{
    char *in = (char *)octets.ptr; /* iconv's interface is older than const */
    size_t left = octets.len;

    while (left > 0) {
        char block[256];
        char *to = block;
        size_t room = sizeof(block), before = left;
        bool failed = iconv(cd, &in, &left, &to, &room) == (size_t)-1 && errno != E2BIG;
        struct slice s = slice_make(block, sizeof(block) - room);
        size_t fits = len_max - out->len;
        copy_utf8(s, out, len_max);
        if (s.len > fits)
            return;
        if (failed || left == before) { /* bad, or cut off at the end: one octet is passed over */
            if (!add_bounded(out, SLICE(REPLACEMENT), len_max) || left == 0)
                return;
            in++;
            left--;
        }
    }
}

bool header_charset_decode(struct slice charset, struct slice octets, struct buf *out,
                           size_t octets_max)
{
    for (size_t i = 0; i < CHARSET_COUNT; i++) {
        if (!slice_equal_nocase(charset, charsets[i].label))
            continue;
        if (charsets[i].iconv_name == NULL) {
            copy_utf8(octets, out, out->len + octets_max);
            return true;
        }
        iconv_t cd = iconv_open("UTF-8", charsets[i].iconv_name);
        if (cd == (iconv_t)-1)
            return false;
        convert(cd, octets, out, out->len + octets_max);
        (void)iconv_close(cd);
        return true;
    }
    return false;
}
