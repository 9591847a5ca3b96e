/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply.c - every reply that the session makes on its own account.
 *
 * One table, so that code, enhanced code and sentence do not drift apart. The owner's replies
 * (policy, queue id) come through smtp_session_answer() and are laid out by the same function.
 *
 * Sources: RFC 5321 4.2 (codes), 4.5.3.1.5 (line length), 4.5.3.1.10; RFC 2034 (enhanced codes on
 * every 2xx, 4xx and 5xx but the greeting and EHLO); RFC 3463, RFC 5248 (what they mean).
 */
#include "smtp/reply.h"

#include <assert.h>
#include <string.h>

#include "base/utf8.h"

static const struct smtp_reply replies[SMTP_REPLY_COUNT] = {
    [SMTP_REPLY_OK] = { 250, "2.0.0", "Ok" },
    [SMTP_REPLY_SENDER_OK] = { 250, "2.1.0", "Ok" },
    [SMTP_REPLY_RCPT_OK] = { 250, "2.1.5", "Ok" },
    [SMTP_REPLY_QUEUED] = { 250, "2.0.0", "Ok: queued" },
    [SMTP_REPLY_START_DATA] = { 354, "", "End data with <CR><LF>.<CR><LF>" },
    [SMTP_REPLY_EACH_FOLLOWS] = { 353, "", "A reply for each recipient follows" },
    [SMTP_REPLY_BYE] = { 221, "2.0.0", "Bye" },
    [SMTP_REPLY_HELP] = { 214, "2.0.0",
                          "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP; see RFC 5321" },
    [SMTP_REPLY_VRFY] = { 252, "2.0.0", "Cannot VRFY, but will take mail for it and try" },
    [SMTP_REPLY_BAD_OCTET] = { 500, "5.5.2", "Control octet or bare CR or LF in command" },
    [SMTP_REPLY_LONG_COMMAND] = { 500, "5.5.2", "Line too long" },
    [SMTP_REPLY_UNKNOWN] = { 500, "5.5.2", "Command not recognized" },
    [SMTP_REPLY_BAD_ARG] = { 501, "5.5.4", "Syntax error in arguments" },
    [SMTP_REPLY_XCLIENT_SYNTAX] = { 501, "5.5.4", "Bad attribute" },
    [SMTP_REPLY_NOT_TRUSTED] = { 550, "5.7.0", "Insufficient authorization" },
    [SMTP_REPLY_NOT_IMPLEMENTED] = { 502, "5.5.1", "Command not implemented" },
    [SMTP_REPLY_TURNED_AWAY] = { 503, "5.5.1", "No service for you; send QUIT" },
    [SMTP_REPLY_BAD_HELO] = { 501, "5.5.4", "Syntax: EHLO hostname" },
    [SMTP_REPLY_NEED_HELO] = { 503, "5.5.1", "Send EHLO or HELO first" },
    [SMTP_REPLY_NEED_LHLO] = { 503, "5.5.1", "Send LHLO first" },
    [SMTP_REPLY_NOT_LMTP] = { 500, "5.5.1", "This is LMTP: send LHLO" },
    [SMTP_REPLY_NESTED_MAIL] = { 503, "5.5.1", "Nested MAIL command" },
    [SMTP_REPLY_NEED_MAIL] = { 503, "5.5.1", "Need MAIL command" },
    [SMTP_REPLY_NEED_RCPT] = { 554, "5.5.1", "No valid recipients" },
    [SMTP_REPLY_NEED_RCPT_LMTP] = { 503, "5.5.1", "No valid recipients" }, /* RFC 2033 4.2 */
    /* RFC 1985 5.3 */
    [SMTP_REPLY_ETRN_SYNTAX] = { 501, "5.5.4", "Syntax: ETRN domain" },
    [SMTP_REPLY_ETRN_CANNOT] = { 458, "4.3.2", "Unable to queue messages for that node now" },
    [SMTP_REPLY_ETRN_FORBIDDEN] = { 459, "4.7.1", "That node is not allowed to you" },
    [SMTP_REPLY_NEED_BDAT] = { 503, "5.5.1", "BODY=BINARYMIME needs BDAT" },
    [SMTP_REPLY_BDAT_SYNTAX] = { 501, "5.5.4", "Syntax: BDAT octets [LAST]" },
    [SMTP_REPLY_BAD_SEQUENCE] = { 503, "5.5.1", "Bad sequence of commands" },
    [SMTP_REPLY_MAIL_SYNTAX] = { 501, "5.5.4", "Syntax: MAIL FROM:<address>" },
    [SMTP_REPLY_RCPT_SYNTAX] = { 501, "5.5.4", "Syntax: RCPT TO:<address>" },
    [SMTP_REPLY_BAD_SENDER] = { 501, "5.1.7", "Bad sender address syntax" },
    [SMTP_REPLY_BAD_RCPT] = { 501, "5.1.3", "Bad recipient address syntax" },
    [SMTP_REPLY_LONG_SENDER] = { 501, "5.1.7", "Path too long" },
    [SMTP_REPLY_LONG_RCPT] = { 501, "5.1.3", "Path too long" },
    [SMTP_REPLY_NEED_SMTPUTF8] = { 553, "5.6.7", "Non-ASCII address needs SMTPUTF8" },
    [SMTP_REPLY_PARAM_SYNTAX] = { 501, "5.5.4", "Bad parameter" },
    [SMTP_REPLY_PARAM_UNKNOWN] = { 555, "5.5.4", "Parameter not recognized" },
    [SMTP_REPLY_TOO_BIG_DECLARED] = { 552, "5.3.4", "Message size exceeds limit" },
    [SMTP_REPLY_TOO_MANY_RCPTS] = { 452, "4.5.3", "Too many recipients" },
    [SMTP_REPLY_BARE_CR_LF] = { 554, "5.6.0", "Bare CR or LF in message" },
    [SMTP_REPLY_LONG_DATA_LINE] = { 554, "5.6.0", "Line too long in message" },
    [SMTP_REPLY_LOOP] = { 554, "5.4.6", "Too many hops" },
    [SMTP_REPLY_BIG_HEADER] = { 552, "5.3.4", "Message header too big" },
    [SMTP_REPLY_TOO_BIG] = { 552, "5.3.4", "Message too big" },
    [SMTP_REPLY_NO_STORAGE] = { 452, "4.3.1", "Insufficient system storage" },
    [SMTP_REPLY_TOO_MANY_ERRORS] = { 421, "4.7.0", "Too many errors" },
    [SMTP_REPLY_TOO_MANY_COMMANDS] = { 421, "4.7.0", "Too many commands without a message" },
    [SMTP_REPLY_TOO_MANY_MESSAGES] = { 421, "4.7.0", "Too many messages in this session" },
    [SMTP_REPLY_TOO_MUCH_INPUT] = { 421, "4.7.0", "Too much input ahead of the replies" },
    [SMTP_REPLY_NEED_EHLO] = { 503, "5.5.1", "Send EHLO first" },
    [SMTP_REPLY_AUTH_SYNTAX] = { 501, "5.5.4", "Syntax: AUTH mechanism [initial-response]" },
    [SMTP_REPLY_AUTH_OK] = { 235, "2.7.0", "Authentication successful" },
    [SMTP_REPLY_AUTH_AGAIN] = { 503, "5.5.1", "Already authenticated" },
    [SMTP_REPLY_AUTH_NEEDED] = { 530, "5.7.0", "Authentication required" },
    [SMTP_REPLY_AUTH_CANCELLED] = { 501, "5.7.0", "Authentication cancelled" },
    [SMTP_REPLY_AUTH_BASE64] = { 501, "5.5.2", "Cannot decode base64" },
    [SMTP_REPLY_AUTH_LONG] = { 500, "5.5.6", "Authentication exchange line is too long" },
    [SMTP_REPLY_START_TLS] = { 220, "2.0.0", "Ready to start TLS" },
    [SMTP_REPLY_TLS_NOT_NOW] = { 454, "4.7.0", "TLS is not available for the moment" },
    [SMTP_REPLY_TLS_ALREADY] = { 503, "5.5.1", "TLS is on already" },
    [SMTP_REPLY_TLS_NOT_LAST] = { 503, "5.5.1", "STARTTLS must be the last command sent before its reply" },
    [SMTP_REPLY_NEED_TLS] = { 530, "5.7.0", "Must issue a STARTTLS command first" },
};

const struct smtp_reply *smtp_reply_get(enum smtp_reply_id id)
{
    assert(id < SMTP_REPLY_COUNT);
    return &replies[id];
}

static bool is_number(const char **at, char end)
{
    int digits = 0;

    while (**at >= '0' && **at <= '9' && digits <= 3) {
        (*at)++;
        digits++;
    }
    return digits >= 1 && digits <= 3 && *(*at)++ == end;
}

bool smtp_reply_is_coherent(unsigned code, const char *enhanced)
{
    unsigned class = code / 100;

    if (code == 353 || code == 354)
        return enhanced[0] == '\0';
    if (class != 2 && class != 4 && class != 5)
        return false;
    if (enhanced[0] == '\0')
        return true;
    if (enhanced[0] != (char)('0' + class) || enhanced[1] != '.')
        return false;
    const char *at = enhanced + 2;
    return is_number(&at, '.') && is_number(&at, '\0');
}

/* How much of `text` goes on this line: all, or up to a blank, or what fits. */
static size_t line_octets(struct slice text, size_t room, bool utf8)
{
    if (text.len <= room)
        return text.len;
    for (size_t i = room; i > room / 2; i--)
        if (text.ptr[i] == ' ')
            return i;
    while (utf8 && room > 1 && ((unsigned char)text.ptr[room] & 0xc0) == 0x80)
        room--; /* no character is torn */
    return room;
}

static void print_text(struct buf *out, struct slice text, bool utf8)
{
    char *to = buf_reserve(out, text.len);

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        to[i] = c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8) ? '?' : (char)c;
    }
    out->len += text.len;
    out->data[out->len] = '\0';
}

/* "250-2.0.0 " or "250-"; both numbers have three digits at most. */
#define PREFIX_OCTETS_MAX 16

static size_t print_prefix(char out[U64_DIGITS_MAX + PREFIX_OCTETS_MAX], unsigned code, const char *enhanced)
{
    size_t len = u64_print(out, code), more = strnlen(enhanced, PREFIX_OCTETS_MAX - 1);

    out[len++] = '-';
    if (more > 0) {
        memcpy(out + len, enhanced, more);
        out[len + more++] = ' ';
    }
    return len + more;
}

/* `last`: the reply ends with this text. */
static void print_lines(struct buf *out, unsigned code, const char *enhanced, struct slice text, bool utf8, bool last)
{
    char prefix[U64_DIGITS_MAX + PREFIX_OCTETS_MAX];
    size_t len = print_prefix(prefix, code, enhanced);

    do {
        size_t octets = line_octets(text, SMTP_REPLY_LINE_OCTETS_MAX - 2 - len, utf8);
        if (last && octets == text.len)
            prefix[3] = ' ';
        buf_add(out, slice_make(prefix, len));
        print_text(out, slice_head(text, octets), utf8);
        buf_add(out, SLICE("\r\n"));
        text = slice_from(text, octets);
        if (text.len > 0 && text.ptr[0] == ' ')
            text = slice_from(text, 1);
    } while (text.len > 0);
}

void smtp_reply_print(struct buf *out, unsigned code, const char *enhanced, struct slice text,
                      bool utf8)
{
    assert(smtp_reply_is_coherent(code, enhanced));
    text = slice_head(text, SMTP_REPLY_TEXT_OCTETS_MAX);
    print_lines(out, code, enhanced, text, utf8 && utf8_valid(text), true);
}

void smtp_reply_print_list(struct buf *out, unsigned code, const char *enhanced, struct slice text)
{
    const char *end;

    assert(smtp_reply_is_coherent(code, enhanced));
    text = slice_head(text, SMTP_REPLY_TEXT_OCTETS_MAX);
    while (text.len > 0 && (end = memchr(text.ptr, '\n', text.len)) != NULL) {
        size_t octets = (size_t)(end - text.ptr);
        print_lines(out, code, enhanced, slice_head(text, octets), false, octets + 1 == text.len);
        text = slice_from(text, octets + 1);
        if (text.len == 0) /* it ended with a line end */
            return;
    }
    print_lines(out, code, enhanced, text, false, true);
}
