/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_scan.h - where a message has octets above 127: in a header, its own or that of a MIME part, or elsewhere.
 *
 * Those in headers make it an internationalized message (RFC 6532), which needs SMTPUTF8; the others need 8BITMIME
 * (RFC 6531 3.6: to know, all MIME header fields in the body have to be read). Pure, in pieces of any size. In doubt
 * it is a header: below a multipart each block behind a line that begins like a delimiter is one, whatever the
 * boundary, and so is what comes behind the header of a message in a message.
 */
#ifndef TERN_DELIVERY_CLIENT_SCAN_H
#define TERN_DELIVERY_CLIENT_SCAN_H

#include <stdbool.h>

#include "base/slice.h"

enum { CLIENT_SCAN_MULTIPART, CLIENT_SCAN_MESSAGE, CLIENT_SCAN_WORDS };

struct client_scan {
    bool header, body; /* such octets have come there; header is the last word */
    bool in_header;
    bool parts;  /* a header has said that there are parts */
    bool nested; /* this one has said that a message follows */
    bool cr;     /* the last octet was one */
    unsigned char matched[CLIENT_SCAN_WORDS]; /* octets of each word */
    unsigned dashes; /* that the line begins with, up to 2 */
    size_t column;   /* octets of the line */
};

void client_scan_begin(struct client_scan *scan);
void client_scan_add(struct client_scan *scan, struct slice octets);
/* Whether nothing that may come changes the answer. */
bool client_scan_is_over(const struct client_scan *scan);

#endif
