/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bounce.c - composes a notice: words for people, fields for machines, the original's headers.
 *
 * Sources: RFC 3461 6 (what is told of which request), RFC 3464 (fields), RFC 6522
 * (multipart/report), RFC 6533 (SMTPUTF8), RFC 3834 (Auto-Submitted), RFC 5322 2.1.1 (line lengths).
 * Everything that came from the network goes through clean(), so no text can end a line, forge a
 * field or leave the character set; the boundary is chosen after the parts are known.
 */
#include "delivery/bounce.h"

#include <assert.h>
#include <stdio.h>

#include "base/utf8.h"
#include "mime/date.h"
#include "mime/xtext.h"

#define COLUMNS      76  /* lines are folded at the blank before this */
#define WORD_MAX     500 /* longer ones are cut in two, so that no line passes 998 */
#define HEADER_LINE  900 /* longer lines of the original's headers are folded */
#define HOST_MAX     253
#define LINE_OCTETS_MAX 998 /* RFC 5322 2.1.1 */
#define ID_MAX       40
#define BOUNDARY_MAX 70 /* RFC 2046 5.1.1 */

/* ---- text ---- */

/* Octets of the next character of `s` if it may stand in the notice, else 0. */
static size_t fine_len(struct slice s, bool utf8)
{
    unsigned char c = (unsigned char)s.ptr[0];

    if (c < 0x80)
        return c >= ' ' && c != 0x7f;
    return utf8 ? utf8_len(s) : 0;
}

/* Blanks, tabs and line ends become one blank, what may not stand there '?'. Bounded. */
static void clean(struct buf *out, struct slice s, bool utf8, size_t max)
{
    size_t start = out->len;

    for (size_t i = 0; i < s.len;) {
        char c = s.ptr[i];
        bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
        size_t len = blank ? 0 : fine_len(slice_from(s, i), utf8);

        if (out->len - start + (len > 0 ? len : 1) > max)
            break;
        if (len > 0)
            buf_add(out, slice_make(s.ptr + i, len));
        else if (!blank)
            buf_add_char(out, '?');
        else if (out->len > start && out->data[out->len - 1] != ' ')
            buf_add_char(out, ' ');
        i += len > 0 ? len : 1;
    }
    while (out->len > start && out->data[out->len - 1] == ' ')
        out->len--;
}

/* Where a piece of at most `max` octets may end without cutting a character. */
static size_t cut_at(struct slice s, size_t max)
{
    if (s.len <= max)
        return s.len;
    while (max > 1 && ((unsigned char)s.ptr[max] & 0xc0) == 0x80)
        max--;
    return max;
}

/* Adds clean `text` to a line that has begun, folding with `indent`, and ends the line. */
static void add_folded(struct buf *out, const char *indent, struct slice text)
{
    size_t line = 0; /* octets in the present one */
    bool first = true;

    for (size_t i = out->len; i > 0 && out->data[i - 1] != '\n'; i--)
        line++;
    while (text.len > 0) {
        ptrdiff_t blank = slice_find(text, ' ');
        struct slice word = slice_head(text, blank >= 0 ? (size_t)blank : text.len);
        word = slice_head(word, cut_at(word, WORD_MAX));
        if (!first && line + 1 + word.len > COLUMNS) {
            buf_printf(out, "\r\n%s", indent);
            line = strlen(indent);
        } else if (!first) {
            buf_add_char(out, ' ');
            line++;
        }
        buf_add(out, word);
        line += word.len;
        text = slice_from(text, word.len);
        while (text.len > 0 && text.ptr[0] == ' ')
            text = slice_from(text, 1);
        first = false;
    }
    buf_add_cstr(out, "\r\n");
}

/* "Name: type; text", or nothing where there is no text. */
static void add_field(struct buf *out, const struct bounce *b, const char *head, struct slice text)
{
    struct buf words CLEANUP_BUF = BUF_INIT;

    clean(&words, text, b->smtputf8, BOUNCE_TEXT_MAX);
    if (words.len == 0)
        return;
    buf_add_cstr(out, head);
    add_folded(out, " ", buf_slice(&words));
}

static void add_date(struct buf *out, const char *head, uint64_t wall_ms)
{
    char date[DATE_SIZE];

    (void)date_print(date, (int64_t)(wall_ms / 1000), 0);
    buf_printf(out, "%s%s\r\n", head, date);
}

/* Only letters, digits and what else a name has: safe in any header field. */
static void add_token(struct buf *out, struct slice s, const char *also, size_t max)
{
    size_t start = out->len;

    for (size_t i = 0; i < s.len && out->len - start < max; i++) {
        char c = ascii_lower(s.ptr[i]);
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            (c != '\0' && strchr(also, c) != NULL))
            buf_add_char(out, s.ptr[i]);
    }
}

static void add_host(struct buf *out, const struct bounce *b)
{
    size_t start = out->len;

    add_token(out, b->hostname, ".-_", HOST_MAX);
    if (out->len == start)
        buf_add_cstr(out, "localhost");
}

/* ---- for people ---- */

/* What a status means, for somebody who never read RFC 3463. The first that is a prefix counts. */
static const struct {
    const char *status, *words;
} meanings[] = {
    { "5.1.10", "The domain of this address takes no mail at all." },
    { "5.1.1", "There is no such address. Please check how it is spelled." },
    { "5.1.2", "The domain of this address does not exist. Please check how it is spelled." },
    { "5.1.3", "This is not a valid address. Please check how it is spelled." },
    { "5.1.6", "The recipient has moved and left no new address." },
    { "5.2.1", "The mailbox is disabled." },
    { "5.2.2", "The mailbox is full." },
    { "5.2.3", "The message is too large for this mailbox." },
    { "5.3.4", "The message is too large for the server of this address." },
    { "5.4.4", "No mail server was found for the domain of this address." },
    { "5.4.6", "The message went round in a circle: mail for this address is configured wrongly." },
    { "5.4.7", "It could not be delivered in time." },
    { "4.4.7", "It could not be delivered in time." },
    { "5.6.3",
      "The next server cannot take 8-bit or binary messages, and this one may not be changed." },
    { "5.6.7", "The next server cannot take addresses or headers that are not ASCII." },
    { "5.7.", "It was refused by a rule of the server of this address." },
    { "4.4.", "The mail server of this address cannot be reached at present." },
    { "4.2.2", "The mailbox is full at present." },
};

/* What each action is called, and which class its status has (RFC 3464 2.3.3, 2.3.4). */
static const struct {
    const char *name, *status, *words;
} actions[] = {
    [BOUNCE_FAILED] = { "failed", "5.0.0",
                        "Your message could not be delivered to the following recipients,\r\n"
                        "and no further attempt will be made:" },
    [BOUNCE_DELAYED] = { "delayed", "4.0.0",
                         "Your message could not yet be delivered to the following recipients.\r\n"
                         "It is being tried again; you need not send it once more:" },
    [BOUNCE_DELIVERED] = { "delivered", "2.0.0",
                           "Your message was delivered to the following recipients:" },
    [BOUNCE_RELAYED] = { "relayed", "2.0.0",
                         "Your message was handed on to the mail server of the following recipients,\r\n"
                         "which does not tell whether it reaches them:" },
};
#define ACTION_COUNT (sizeof(actions) / sizeof(actions[0]))

/* "X.Y.Z" of RFC 3463. */
static bool is_status(struct slice s)
{
    unsigned dots = 0, digits = 0;

    if (s.len < 5 || s.len > 9 || memchr("245", s.ptr[0], 3) == NULL || s.ptr[1] != '.')
        return false;
    for (size_t i = 1; i < s.len; i++) {
        bool dot = s.ptr[i] == '.';
        if (!dot && (s.ptr[i] < '0' || s.ptr[i] > '9'))
            return false;
        if (dot && i > 1 && digits == 0)
            return false;
        dots += dot;
        digits = dot ? 0 : digits + 1;
        if (digits > 3)
            return false;
    }
    return dots == 2 && digits > 0;
}

static struct slice status_of(const struct bounce_rcpt *r)
{
    bool good = actions[r->action].status[0] == '2';

    /* What has failed by age keeps the 4.x.x of its last attempt. */
    if (is_status(r->status) && (r->status.ptr[0] == '2') == good)
        return r->status;
    return slice_cstr(actions[r->action].status);
}

static const char *meaning_of(struct slice status)
{
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        struct slice want = slice_cstr(meanings[i].status);
        bool prefix = want.ptr[want.len - 1] == '.';
        if (prefix ? slice_starts_nocase(status, want) : slice_equal(status, want))
            return meanings[i].words;
    }
    return NULL;
}

static void tell_rcpt(struct buf *out, const struct bounce *b, const struct bounce_rcpt *r)
{
    struct buf words CLEANUP_BUF = BUF_INIT;
    const char *meaning = meaning_of(status_of(r));

    buf_add_cstr(&words, "<");
    clean(&words, r->original.len > 0 ? r->original : r->address, b->smtputf8, BOUNCE_TEXT_MAX);
    buf_add_cstr(&words, ">");
    buf_add_cstr(out, "  ");
    add_folded(out, "  ", buf_slice(&words));
    if (meaning != NULL) {
        buf_add_cstr(out, "    ");
        add_folded(out, "    ", slice_cstr(meaning));
    }
    buf_clear(&words);
    clean(&words, r->diagnostic, b->smtputf8, BOUNCE_TEXT_MAX);
    if (words.len > 0) {
        struct buf said CLEANUP_BUF = BUF_INIT;
        clean(&said, r->remote_mta, b->smtputf8, HOST_MAX);
        buf_add_cstr(&said, said.len > 0 ? " said: " : "Reason: ");
        buf_add(&said, buf_slice(&words));
        buf_add_cstr(out, "    ");
        add_folded(out, "    ", buf_slice(&said));
    }
    buf_add_cstr(out, "\r\n");
}

static unsigned count_of(const struct bounce *b, enum bounce_action action)
{
    unsigned count = 0;

    for (unsigned i = 0; i < b->rcpt_count; i++)
        count += b->rcpts[i].action == action;
    return count;
}

static void tell_action(struct buf *out, const struct bounce *b, enum bounce_action action)
{
    unsigned count = count_of(b, action), told = 0;

    if (count == 0)
        return;
    buf_printf(out, "%s\r\n\r\n", actions[action].words);
    for (unsigned i = 0; i < b->rcpt_count && told < BOUNCE_RCPTS_MAX; i++) {
        if (b->rcpts[i].action != action)
            continue;
        tell_rcpt(out, b, &b->rcpts[i]);
        told++;
    }
    if (told < count)
        buf_printf(out, "  and %u more\r\n\r\n", count - told);
}

static void begin_part(struct buf *out, const struct bounce *b, const char *type)
{
    buf_printf(out, "Content-Type: %s\r\n%s\r\n", type,
               b->smtputf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
}

static void add_words(struct buf *out, const struct bounce *b)
{
    begin_part(out, b, b->smtputf8 ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii");
    buf_add_cstr(out, "This is the mail server at ");
    add_host(out, b);
    buf_add_cstr(out, ".\r\n\r\n");
    for (unsigned action = 0; action < ACTION_COUNT; action++)
        tell_action(out, b, (enum bounce_action)action);
    if (b->retry_until_wall_ms != 0 && count_of(b, BOUNCE_DELAYED) > 0)
        add_date(out, "Attempts end at ", b->retry_until_wall_ms);
    buf_add_cstr(out, b->full.len > 0
                          ? "Your message follows.\r\n"
                          : "The headers of your message follow, so that you can see which one it is.\r\n");
}

/* ---- for machines ---- */

/* RFC 3461 6.3 (d): the ORCPT that came, decoded; without one the field must not appear. */
static void add_original(struct buf *out, const struct bounce *b, const struct bounce_rcpt *r)
{
    CLEANUP_BUF struct buf head = BUF_INIT, address = BUF_INIT;
    ptrdiff_t semicolon = r->orcpt.len > 0 ? slice_find(r->orcpt, ';') : -1;

    if (semicolon <= 0 || !xtext_decode(slice_from(r->orcpt, (size_t)semicolon + 1), &address))
        return;
    buf_add_cstr(&head, "Original-Recipient: ");
    add_token(&head, slice_head(r->orcpt, (size_t)semicolon), "-", ID_MAX);
    buf_add_cstr(&head, "; ");
    buf_add_char(&head, '\0');
    add_field(out, b, head.data, buf_slice(&address));
}

static void add_envid(struct buf *out, const struct bounce *b)
{
    CLEANUP_BUF struct buf envid = BUF_INIT;

    if (xtext_decode(b->envid, &envid))
        add_field(out, b, "Original-Envelope-Id: ", buf_slice(&envid));
}

/* Whether a server said it: by SMTP, or by LMTP over a socket; else it was a transport of ours. */
static bool is_from_server(struct slice said_by)
{
    return slice_find(said_by, '[') >= 0 || (said_by.len > 0 && said_by.ptr[0] == '/');
}

/* RFC 3464 2.1.2: of "mx.example[192.0.2.1]:25" the name, of "[2001:db8::1]:25" the literal. A socket has neither. */
static void add_remote_mta(struct buf *out, const struct bounce *b, struct slice said_by)
{
    ptrdiff_t bracket = slice_find(said_by, '['), end = slice_find(said_by, ']');
    struct buf name CLEANUP_BUF = BUF_INIT;

    if (bracket > 0) {
        buf_add(&name, slice_head(said_by, (size_t)bracket));
    } else if (bracket == 0 && end > 0) {
        struct slice address = slice_from(slice_head(said_by, (size_t)end), 1);
        buf_add_cstr(&name, slice_find(address, ':') >= 0 ? "[IPv6:" : "[");
        buf_add(&name, address);
        buf_add_char(&name, ']');
    }
    add_field(out, b, "Remote-MTA: dns; ", buf_slice(&name));
}

static void add_rcpt_fields(struct buf *out, const struct bounce *b, const struct bounce_rcpt *r)
{
    struct slice status = status_of(r);

    buf_add_cstr(out, "\r\n");
    add_original(out, b, r);
    add_field(out, b, b->smtputf8 ? "Final-Recipient: utf-8; " : "Final-Recipient: rfc822; ",
              r->address);
    buf_printf(out, "Action: %s\r\nStatus: %.*s\r\n",
               actions[r->action].name, (int)status.len, status.ptr);
    add_remote_mta(out, b, r->remote_mta);
    add_field(out, b, is_from_server(r->remote_mta) ? "Diagnostic-Code: smtp; " : "Diagnostic-Code: x-tern; ",
              r->diagnostic);
    if (r->action == BOUNCE_DELAYED && b->retry_until_wall_ms != 0)
        add_date(out, "Will-Retry-Until: ", b->retry_until_wall_ms);
}

static void add_fields(struct buf *out, const struct bounce *b)
{
    begin_part(out, b, b->smtputf8 ? "message/global-delivery-status" : "message/delivery-status");
    add_envid(out, b);
    buf_add_cstr(out, "Reporting-MTA: dns; ");
    add_host(out, b);
    buf_add_cstr(out, "\r\n");
    add_field(out, b, "X-Tern-Queue-ID: ", b->queue_id);
    add_date(out, "Arrival-Date: ", b->arrival_wall_ms);
    for (unsigned i = 0; i < b->rcpt_count && i < BOUNCE_RCPTS_MAX; i++)
        add_rcpt_fields(out, b, &b->rcpts[i]);
}

/* ---- the original's headers ---- */

/* The next line of `rest` without its end; only LF ends one here, so a bare one is repaired. */
static struct slice next_line(struct slice *rest)
{
    ptrdiff_t lf = slice_find(*rest, '\n');
    struct slice line = slice_head(*rest, lf >= 0 ? (size_t)lf : rest->len);

    *rest = slice_from(*rest, line.len + (lf >= 0));
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

static void add_header_line(struct buf *out, struct slice line, bool utf8)
{
    size_t start = out->len;

    for (size_t i = 0; i < line.len;) {
        size_t len = fine_len(slice_from(line, i), utf8);
        if (out->len - start + (len > 0 ? len : 1) > HEADER_LINE) {
            buf_add_cstr(out, "\r\n ");
            start = out->len - 1;
        }
        if (len > 0)
            buf_add(out, slice_make(line.ptr + i, len));
        else
            buf_add_char(out, line.ptr[i] == '\t' ? '\t' : '?');
        i += len > 0 ? len : 1;
    }
    buf_add_cstr(out, "\r\n");
}

bool bounce_may_return(struct slice original, bool *ret_eight_bit)
{
    *ret_eight_bit = !slice_is_ascii(original);
    if (original.len == 0 || original.len > BOUNCE_FULL_MAX || slice_find(original, '\0') >= 0)
        return false;
    while (original.len > 0) {
        ptrdiff_t cr = slice_find(original, '\r');
        size_t len = cr < 0 ? original.len : (size_t)cr;
        struct slice line = slice_head(original, len);
        if (cr < 0 || len > LINE_OCTETS_MAX || slice_find(line, '\n') >= 0 ||
            original.len < len + 2 || original.ptr[len + 1] != '\n')
            return false;
        original = slice_from(original, len + 2);
    }
    return true;
}

static bool is_eight_bit(const struct bounce *b)
{
    return b->smtputf8 || !slice_is_ascii(b->full);
}

static void add_full(struct buf *out, const struct bounce *b)
{
    buf_printf(out, "Content-Type: %s\r\n%s\r\n", b->smtputf8 ? "message/global" : "message/rfc822",
               is_eight_bit(b) ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    buf_add(out, b->full);
}

static void add_headers(struct buf *out, const struct bounce *b)
{
    struct slice rest = b->headers;

    begin_part(out, b, b->smtputf8 ? "message/global-headers" : "text/rfc822-headers");
    size_t start = out->len;
    while (rest.len > 0) {
        struct slice line = next_line(&rest);
        size_t before = out->len;
        if (line.len == 0)
            break;
        add_header_line(out, line, b->smtputf8);
        if (out->len - start > BOUNCE_HEADERS_MAX) {
            out->len = before; /* whole lines only */
            break;
        }
    }
}

/* ---- the whole ---- */

static bool has(const struct buf *part, const char *boundary)
{
    return part->len > 0 && memmem(part->data, part->len, boundary, strlen(boundary)) != NULL;
}

/* Each try fails for an occurrence of its own in the parts, so their length bounds the tries. */
static void choose_boundary(const struct bounce *b, const struct buf parts[3],
                            char out[BOUNDARY_MAX + 1])
{
    struct buf id CLEANUP_BUF = BUF_INIT;

    add_token(&id, b->notice_id, "", ID_MAX);
    for (unsigned n = 0;; n++) {
        (void)snprintf(out, BOUNDARY_MAX + 1, "=_%s_%u", id.len > 0 ? id.data : "tern", n);
        if (!has(&parts[0], out) && !has(&parts[1], out) && !has(&parts[2], out))
            return;
    }
}

static const char *subject_of(const struct bounce *b)
{
    if (count_of(b, BOUNCE_FAILED) > 0)
        return "Your message could not be delivered";
    if (count_of(b, BOUNCE_DELAYED) > 0)
        return "Your message is delayed";
    return count_of(b, BOUNCE_DELIVERED) > 0 ? "Your message was delivered"
                                             : "Your message was handed on";
}

static void add_top(struct buf *out, const struct bounce *b, const char *boundary)
{
    struct buf to CLEANUP_BUF = BUF_INIT;

    clean(&to, b->sender, b->smtputf8, HEADER_LINE);
    add_date(out, "Date: ", b->now_wall_ms);
    buf_add_cstr(out, "From: Mail Delivery System <MAILER-DAEMON@");
    add_host(out, b);
    buf_add_cstr(out, ">\r\nTo: <");
    buf_add(out, buf_slice(&to));
    buf_printf(out, ">\r\nSubject: %s\r\nMessage-ID: <",
               subject_of(b));
    add_token(out, b->notice_id, "", ID_MAX);
    buf_printf(out, ".%llu.notice@", (unsigned long long)b->now_wall_ms);
    add_host(out, b);
    buf_add_cstr(out, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                      "Content-Type: multipart/report; report-type=delivery-status;\r\n");
    buf_printf(out, " boundary=\"%s\"\r\n", boundary);
    if (is_eight_bit(b))
        buf_add_cstr(out, "Content-Transfer-Encoding: 8bit\r\n");
    buf_add_cstr(out, "\r\n");
}

void bounce_compose(const struct bounce *b, struct buf *out)
{
    struct buf parts[3] = { BUF_INIT, BUF_INIT, BUF_INIT };
    char boundary[BOUNDARY_MAX + 1];

    assert(b->sender.len > 0); /* never a bounce of a bounce: RFC 5321 6.1 */
    assert(b->rcpt_count > 0);
    add_words(&parts[0], b);
    add_fields(&parts[1], b);
    if (b->full.len > 0)
        add_full(&parts[2], b);
    else
        add_headers(&parts[2], b);
    choose_boundary(b, parts, boundary);
    add_top(out, b, boundary);
    for (unsigned i = 0; i < 3; i++) {
        buf_printf(out, "--%s\r\n", boundary);
        buf_add(out, buf_slice(&parts[i]));
        buf_add_cstr(out, "\r\n");
        buf_free(&parts[i]);
    }
    buf_printf(out, "--%s--\r\n", boundary);
}
