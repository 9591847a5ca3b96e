/* SPDX-License-Identifier: Apache-2.0 */
#include "delivery/client_scan.h"

#include "base/utf8.h"

static const char *const words[CLIENT_SCAN_WORDS] = { "multipart", "message/" };

/* The line is complete: what the next one is. */
static void end_line(struct client_scan *scan)
{
    bool empty = scan->column == 0;

    scan->column = 0;
    memset(scan->matched, 0, sizeof(scan->matched));
    if (!scan->in_header || !empty)
        return;
    /* Behind the header of a message in a message comes another one. */
    scan->in_header = scan->nested;
    scan->nested = false;
}

/* What begins like a delimiter begins a header: "--" and a boundary, which is not blank (RFC 2046 5.1.1). */
static void look_for_delimiter(struct client_scan *scan, char c)
{
    if (scan->column == 0)
        scan->dashes = 0;
    if (scan->column == scan->dashes && scan->dashes < 2 && c == '-')
        scan->dashes++;
    else if (scan->dashes == 2 && c != ' ' && c != '\t' && scan->parts)
        scan->in_header = true;
}

/* "m" begins each word and stands in none again: what does not go on may only be a new begin. */
static void look_for_words(struct client_scan *scan, char c)
{
    for (unsigned i = 0; i < CLIENT_SCAN_WORDS; i++) {
        unsigned char *at = &scan->matched[i];
        *at = words[i][*at] == c ? (unsigned char)(*at + 1) : c == words[i][0];
        if (words[i][*at] != '\0')
            continue;
        *at = 0;
        scan->parts = true;
        scan->nested |= i == CLIENT_SCAN_MESSAGE;
    }
}

void client_scan_begin(struct client_scan *scan)
{
    *scan = (struct client_scan){ .in_header = true };
}

void client_scan_add(struct client_scan *scan, struct slice octets)
{
    for (size_t i = 0; i < octets.len && !scan->header; i++) {
        char c = octets.ptr[i];
        if (c == '\n' && scan->cr) {
            scan->cr = false;
            end_line(scan);
            continue;
        }
        scan->column += scan->cr; /* a lone one is an octet like others */
        scan->cr = c == '\r';
        if (scan->cr)
            continue;
        if (!scan->in_header)
            look_for_delimiter(scan, c);
        else
            look_for_words(scan, ascii_lower(c));
        if ((unsigned char)c >= 0x80) {
            scan->header |= scan->in_header;
            scan->body |= !scan->in_header;
        }
        scan->column++;
    }
}

bool client_scan_is_over(const struct client_scan *scan)
{
    return scan->header || (scan->body && !scan->in_header && !scan->parts);
}
