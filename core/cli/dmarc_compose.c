/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_compose.c - the mail that carries reports.
 *
 * Source: RFC 9990 3.5.2 (parts, file name, subject, identifiers), RFC 3834 5 (nobody should answer it).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cli/dmarc_send.h"
#include "mime/date.h"
#include "sasl/base64.h"

#define LINE_OCTETS    76   /* RFC 2045 6.8 */
#define HEADER_RESERVE 4096 /* header, text and boundaries */
#define NAMES_MAX      10   /* domains named in the text */

static void hash_text(char out[33], const char *text)
{
    XXH128_canonical_t digest;

    XXH128_canonicalFromHash(&digest, XXH3_128bits(text, strlen(text)));
    for (unsigned i = 0; i < 16; i++)
        (void)snprintf(out + 2 * (size_t)i, 3, "%02x", digest.digest[i]);
}

void dmarc_report_sign(struct dmarc_report *report, const struct dmarc_reports_conf *conf, const char *submitter)
{
    CLEANUP_BUF struct buf what = BUF_INIT;
    char id[33];

    /* Letters and digits alone: it stands in the file's name, too, and must be the same there. */
    buf_printf(&what, "%s\n%s\n%" PRId64 "\n%" PRId64, submitter, report->domain.ptr, report->begin_s, report->end_s);
    hash_text(id, what.data);
    report->id = dmarc_report_copy(report, (tern_str){ id, 32 });
    report->org_name = conf->org_name;
    report->email = conf->email;
    report->contact = conf->contact;
    report->generator = TERN_STR("Tern " TERN_VERSION);
}

static void add_base64(struct buf *out, const char *octets, size_t count)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    base64_add(&text, slice_make(octets, count));
    for (size_t i = 0; i < text.len; i += LINE_OCTETS) {
        buf_add(out, slice_head(slice_from(buf_slice(&text), i), LINE_OCTETS));
        buf_add_cstr(out, "\r\n");
    }
}

static void add_part(struct dmarc_mail *m, const struct dmarc_report *r, const char *octets, size_t count)
{
    char name[1024];

    (void)snprintf(name, sizeof(name), "%s!%s!%" PRId64 "!%" PRId64 "!%s.xml.gz", m->submitter, r->domain.ptr,
                   r->begin_s, r->end_s, r->id.ptr);
    buf_printf(&m->body,
               "--=_tern_dmarc\r\nContent-Type: application/gzip;\r\n name=\"%s\"\r\n"
               "Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n filename=\"%s\"\r\n\r\n",
               name, name);
    add_base64(&m->body, octets, count);
    if (m->count < NAMES_MAX)
        buf_printf(&m->names, "  %s\r\n", r->domain.ptr);
    else if (m->count == NAMES_MAX)
        buf_add_cstr(&m->names, "  and others\r\n");
    if (m->count++ == 0) {
        (void)snprintf(m->id, sizeof(m->id), "%s", r->id.ptr);
        (void)snprintf(m->domain, sizeof(m->domain), "%s", r->domain.ptr);
    }
}

int dmarc_mail_add(struct dmarc_mail *mail, const struct dmarc_report *report, uint64_t octets_max)
{
    char *xml = NULL, *packed = NULL;
    size_t octets = 0, packed_octets = 0;
    int r = -EIO;

    if (dmarc_report_xml(report, &xml, &octets) && dmarc_report_gzip(xml, octets, &packed, &packed_octets))
        r = mail->body.len + packed_octets / 3 * 4 + packed_octets / 28 + HEADER_RESERVE > octets_max ? -EFBIG : 0;
    if (r == 0)
        add_part(mail, report, packed, packed_octets);
    free(packed);
    free(xml);
    return r;
}

/* A name for people, if it can stand in quotes as it is. */
static void add_from(struct buf *out, const struct dmarc_reports_conf *conf)
{
    bool plain = conf->org_name.len <= 60;

    for (size_t i = 0; i < conf->org_name.len; i++)
        plain &= conf->org_name.ptr[i] >= 0x20 && conf->org_name.ptr[i] < 0x7f && conf->org_name.ptr[i] != '"' &&
                 conf->org_name.ptr[i] != '\\';
    buf_add_cstr(out, "From: ");
    if (plain)
        buf_printf(out, "\"%s\"\r\n ", conf->org_name.ptr);
    buf_printf(out, "<%s>\r\n", conf->email.ptr);
}

void dmarc_mail_end(struct dmarc_mail *mail, struct buf *ret)
{
    char date[DATE_SIZE], hash[33];

    (void)date_print(date, mail->now_s, 0);
    hash_text(hash, mail->address);
    hash[8] = '\0'; /* the same report to somebody else is another mail */
    add_from(ret, mail->conf);
    buf_printf(ret, "To: <%s>\r\nSubject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>\r\n", mail->address,
               mail->domain, mail->submitter, mail->id);
    buf_printf(ret, "Date: %s\r\nMessage-ID: <%s.%s@%s>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n",
               date, mail->id, hash, mail->submitter);
    buf_add_cstr(ret, "Content-Type: multipart/mixed; boundary=\"=_tern_dmarc\"\r\n\r\n"
                      "--=_tern_dmarc\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
    buf_printf(ret, "DMARC aggregate report%s from %s about\r\n\r\n", mail->count == 1 ? "" : "s", mail->submitter);
    buf_add(ret, buf_slice(&mail->names));
    buf_add_cstr(
        ret, "\r\nThis mail was made by a program, because the DMARC record of the domain asks for it by rua=.\r\n");
    buf_add(ret, buf_slice(&mail->body));
    buf_add_cstr(ret, "--=_tern_dmarc--\r\n");
}

void dmarc_mail_free(struct dmarc_mail *mail)
{
    buf_free(&mail->body);
    buf_free(&mail->names);
}
