/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_mail.c - the report in a file: as it is, or in a part of a mail.
 *
 * Which part it is, the octets say and not the type: reports come as application/gzip, x-gzip, zip,
 * octet-stream and text/xml, under any name. The first part that begins like one is it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/dmarc.h"
#include "mime/header.h"
#include "mime/parts.h"
#include "mime/transfer.h"

struct view {
    struct slice body;
};

static int64_t read_view(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    const struct view *v = arg;
    struct slice rest = offset < v->body.len ? slice_from(v->body, (size_t)offset) : SLICE("");
    size_t n = rest.len < octets ? rest.len : octets;

    if (n > 0)
        memcpy(buffer, rest.ptr, n);
    return (int64_t)n;
}

/* As mail is by SMTP: a mail in a file commonly has LF alone. */
static void add_with_crlf(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\n' && (i == 0 || s.ptr[i - 1] != '\r'))
            buf_add_char(out, '\r');
        buf_add_char(out, s.ptr[i]);
    }
}

static bool is_text_for_people(const struct tern_part *part)
{
    struct slice type = slice_make(part->type.ptr, part->type.len);

    return slice_equal_nocase(type, SLICE("text/plain")) || slice_equal_nocase(type, SLICE("text/html"));
}

/* False: the part is no report. Else *ret_r is what reading it gave. */
static bool try_part(const struct tern_part *part, struct slice body, struct dmarc_report **ret, char *error,
                     int *ret_r)
{
    CLEANUP_BUF struct buf octets = BUF_INIT;
    struct slice text = slice_head(slice_from(body, (size_t)part->offset), (size_t)part->size);

    if (is_text_for_people(part) && part->filename.len == 0)
        return false;
    transfer_decode(slice_make(part->encoding.ptr, part->encoding.len), text, &octets);
    tern_str found = { octets.data != NULL ? octets.data : "", octets.len };
    if (!dmarc_report_is_one(found))
        return false;
    *ret_r = dmarc_report_read(found, NULL, ret, error);
    return true;
}

static int read_mail(struct slice octets, struct dmarc_report **ret, char *error)
{
    CLEANUP_BUF struct buf mail = BUF_INIT;
    struct arena arena;
    struct parts parts = { NULL, 0, false };
    size_t header = 0, body = 0;
    int r = -EBADMSG;

    if (slice_starts_nocase(octets, SLICE("From ")) && slice_find(octets, '\n') >= 0) /* of an mbox */
        octets = slice_from(octets, (size_t)slice_find(octets, '\n') + 1);
    add_with_crlf(&mail, octets);
    bool has_body = header_end(buf_slice(&mail), &header, &body);
    struct view view = { slice_from(buf_slice(&mail), body) };
    struct header_field field;
    struct slice fields = slice_head(buf_slice(&mail), header);
    (void)snprintf(error, DMARC_REPORT_ERROR_OCTETS, "it is no report: neither XML, gzip, zip nor a mail");
    if (!has_body || !header_find(fields, SLICE("From"), 0, &field))
        return -EBADMSG;
    (void)snprintf(error, DMARC_REPORT_ERROR_OCTETS, "the mail carries no aggregate report");
    arena_init(&arena);
    (void)parts_parse(fields, read_view, &view, &arena, &parts);
    for (unsigned i = 0; i < parts.count; i++)
        if (try_part(&parts.items[i], view.body, ret, error, &r))
            break;
    arena_fini(&arena);
    return r;
}

int dmarc_source_read(struct slice octets, struct dmarc_report **ret, char *error)
{
    tern_str text = { octets.ptr != NULL ? octets.ptr : "", octets.len };

    if (octets.len > DMARC_REPORT_OCTETS_MAX) {
        (void)snprintf(error, DMARC_REPORT_ERROR_OCTETS, "it has more than %u octets", DMARC_REPORT_OCTETS_MAX);
        return -EBADMSG;
    }
    if (dmarc_report_is_one(text))
        return dmarc_report_read(text, NULL, ret, error);
    return read_mail(octets, ret, error);
}
