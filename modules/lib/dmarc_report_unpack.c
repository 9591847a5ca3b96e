/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_report_unpack.c - the XML out of gzip and zip, block by block.
 *
 * What expands is counted as it comes out, so that a bomb costs one block more than it may. Sources: RFC 1952;
 * APPNOTE.TXT 4.3; RFC 9990 3.5.2 wants gzip, most reports before it came as zip.
 */
#include <string.h>
#include <strings.h>
#include <zip.h>
#include <zlib.h>

#include "dmarc_report_private.h"

#define BLOCK_OCTETS 65536
#define GZIP_BITS    (16 + MAX_WBITS) /* zlib: gzip, and nothing else */

static const char too_much[] = "it expands to more than is taken";

static bool is_gzip(tern_str s)
{
    return s.len >= 2 && memcmp(s.ptr, "\x1f\x8b", 2) == 0;
}

static bool is_zip(tern_str s)
{
    return s.len >= 4 && memcmp(s.ptr, "PK\3\4", 4) == 0;
}

/* Behind the mark of a text file and blanks. */
static tern_str behind_blanks(tern_str s)
{
    if (s.len >= 3 && memcmp(s.ptr, "\xef\xbb\xbf", 3) == 0)
        s = (tern_str){ s.ptr + 3, s.len - 3 };
    while (s.len > 0 && memchr(" \t\r\n", s.ptr[0], 4) != NULL)
        s = (tern_str){ s.ptr + 1, s.len - 1 };
    return s;
}

bool dmarc_report_is_one(tern_str octets)
{
    tern_str text = behind_blanks(octets);

    return is_gzip(octets) || is_zip(octets) || (text.len > 0 && text.ptr[0] == '<') ||
           (octets.len >= 4 &&
            (memcmp(octets.ptr, "\xff\xfe<\0", 4) == 0 || memcmp(octets.ptr, "\xfe\xff\0<", 4) == 0));
}

struct outlet {
    dmarc_report_sink sink;
    struct dmarc_report_parser *parser;
    uint64_t left; /* octets that may still come */
    bool closed;   /* the sink has enough */
};

/* NULL, or too_much. */
static const char *put(struct outlet *o, const char *octets, size_t count)
{
    if (count > o->left)
        return too_much;
    o->left -= count;
    if (count > 0 && !o->sink(o->parser, octets, count))
        o->closed = true;
    return NULL;
}

/* One member; *ret_done: its end was there. */
static const char *inflate_member(z_stream *z, struct outlet *o)
{
    char block[BLOCK_OCTETS];
    int r = Z_OK;

    while (r != Z_STREAM_END && !o->closed) {
        z->next_out = (Bytef *)block;
        z->avail_out = sizeof(block);
        r = inflate(z, Z_NO_FLUSH);
        if (r == Z_BUF_ERROR || (r == Z_OK && z->avail_in == 0 && z->avail_out == sizeof(block)))
            return "its gzip data breaks off";
        if (r != Z_OK && r != Z_STREAM_END)
            return "its gzip data is damaged";
        const char *wrong = put(o, block, sizeof(block) - z->avail_out);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

/* Members one behind the other are one text (RFC 1952 2.2); what else stands behind is ignored, as gzip does. */
static const char *ungzip(tern_str octets, struct outlet *o)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)octets.ptr, .avail_in = (uInt)octets.len };
    const char *wrong = NULL;

    if (inflateInit2(&z, GZIP_BITS) != Z_OK)
        return "zlib has no memory";
    do {
        wrong = inflate_member(&z, o);
    } while (wrong == NULL && !o->closed && is_gzip((tern_str){ (const char *)z.next_in, z.avail_in }) &&
             inflateReset(&z) == Z_OK);
    (void)inflateEnd(&z);
    return wrong;
}

static bool ends_in_xml(const char *name)
{
    size_t len = strlen(name);

    return len > 4 && strcasecmp(name + len - 4, ".xml") == 0;
}

/* The first file that is called .xml, else the first. */
static zip_int64_t choose(zip_t *zip, zip_int64_t count)
{
    for (zip_int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(zip, (zip_uint64_t)i, 0);
        if (name != NULL && ends_in_xml(name) && strncmp(name, "__MACOSX/", 9) != 0)
            return i;
    }
    return 0;
}

static const char *unzip_member(zip_t *zip, zip_uint64_t index, struct outlet *o)
{
    char block[BLOCK_OCTETS];
    zip_file_t *file = zip_fopen_index(zip, index, 0);
    const char *wrong =
        file == NULL ? "a file in the zip cannot be read: damaged, encrypted, or of an unknown method" : NULL;
    zip_int64_t n = 1;

    while (wrong == NULL && n > 0 && !o->closed) {
        n = zip_fread(file, block, sizeof(block));
        wrong = n < 0 ? "its zip data is damaged" : put(o, block, (size_t)n);
    }
    if (file != NULL)
        (void)zip_fclose(file);
    return wrong;
}

static const char *unzip(tern_str octets, struct outlet *o)
{
    zip_source_t *source = zip_source_buffer_create(octets.ptr, octets.len, 0, NULL);
    zip_t *zip = source != NULL ? zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, NULL) : NULL;
    const char *wrong;

    if (zip == NULL) {
        zip_source_free(source);
        return "it is no zip, or a damaged one";
    }
    zip_int64_t count = zip_get_num_entries(zip, 0);
    if (count <= 0)
        wrong = "the zip is empty";
    else if (count > DMARC_REPORT_MEMBERS_MAX)
        wrong = "the zip holds too many files";
    else
        wrong = unzip_member(zip, (zip_uint64_t)choose(zip, count), o);
    zip_discard(zip);
    return wrong;
}

const char *dmarc_report_unpack(tern_str octets, uint64_t expanded_max, dmarc_report_sink sink,
                                struct dmarc_report_parser *parser)
{
    struct outlet o = { sink, parser, expanded_max, false };

    if (is_gzip(octets))
        return ungzip(octets, &o);
    if (is_zip(octets))
        return unzip(octets, &o);
    octets = octets.len > 0 && (unsigned char)octets.ptr[0] >= 0xfe ? octets : behind_blanks(octets);
    return put(&o, octets.ptr, octets.len);
}
