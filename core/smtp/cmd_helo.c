/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_helo.c - EHLO and HELO (RFC 5321 4.1.1.1), LHLO (RFC 2033 4.1), and the extensions on offer.
 *
 * The argument is taken as Postfix takes it by default: any one word of printable ASCII up to 255
 * octets, because names with underscores, bare host names and addresses without brackets are what
 * much of the world's gear sends, and 4.1.4 forbids refusing mail for a name that does not
 * verify. No argument, two words or octets above 127 are 501. Policy can be stricter: on_helo.
 */
#include "mime/domain.h"
#include "smtp/private.h"

static const struct {
    unsigned extension;
    struct slice keyword;
} offers[] = {
    { SMTP_EXT_PIPELINING, SLICE("PIPELINING") },
    { SMTP_EXT_SIZE, SLICE("SIZE") },
    { SMTP_EXT_8BITMIME, SLICE("8BITMIME") },
    { SMTP_EXT_SMTPUTF8, SLICE("SMTPUTF8") },
    { SMTP_EXT_STARTTLS, SLICE("STARTTLS") },
    { SMTP_EXT_ENHANCED, SLICE("ENHANCEDSTATUSCODES") },
    { SMTP_EXT_PRDR, SLICE("PRDR") },
    { SMTP_EXT_CHUNKING, SLICE("CHUNKING") },
    { SMTP_EXT_BINARYMIME, SLICE("BINARYMIME") },
    { SMTP_EXT_DSN, SLICE("DSN") },
    { SMTP_EXT_ETRN, SLICE("ETRN") },
    { SMTP_EXT_HELP, SLICE("HELP") },
    { SMTP_EXT_EXPN, SLICE("EXPN") },
    { SMTP_EXT_LIMITS, SLICE("LIMITS") },
    { SMTP_EXT_XCLIENT, SLICE("XCLIENT") },
    { SMTP_EXT_XFORWARD, SLICE("XFORWARD") },
    { SMTP_EXT_AUTH, SLICE("AUTH") },
};
#define OFFER_COUNT (sizeof(offers) / sizeof(offers[0]))

unsigned smtp_session_extensions(const struct smtp_session *s)
{
    unsigned all = 0;

    for (size_t i = 0; i < OFFER_COUNT; i++)
        all |= offers[i].extension;
    if (!s->may_etrn)
        all &= ~SMTP_EXT_ETRN;
    if (!s->asks_expn)
        all &= ~SMTP_EXT_EXPN;
    if (!s->prdr)
        all &= ~SMTP_EXT_PRDR;
    if (!s->xclient)
        all &= ~SMTP_EXT_XCLIENT;
    if (!s->xforward)
        all &= ~SMTP_EXT_XFORWARD;
    if (!s->auth_offered)
        all &= ~SMTP_EXT_AUTH;
    if (s->secured || (s->tls != SMTP_TLS_OFFERED && s->tls != SMTP_TLS_REQUIRED))
        all &= ~SMTP_EXT_STARTTLS;
    all &= ~(s->withheld | s->never);
    if ((all & SMTP_EXT_CHUNKING) == 0)
        all &= ~SMTP_EXT_BINARYMIME; /* RFC 3030 section 3: not without */
    return all;
}

unsigned smtp_extension_of(struct slice keyword)
{
    for (size_t i = 0; i < OFFER_COUNT; i++)
        if (slice_equal_nocase(keyword, offers[i].keyword))
            return offers[i].extension;
    return 0;
}

void smtp_session_withhold(struct smtp_session *s, struct slice keyword)
{
    s->withholding |= smtp_extension_of(keyword);
}

static bool name_is_fit(struct slice name)
{
    if (name.len > DOMAIN_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] <= 0x20 || name.ptr[i] > 0x7e)
            return false;
    return name.len > 0;
}

void smtp_cmd_helo(struct smtp_session *s, const struct smtp_command *c)
{
    if (!name_is_fit(c->arg)) {
        smtp_session_reply(s, SMTP_REPLY_BAD_HELO);
        return;
    }
    s->ehlo = c->verb != SMTP_VERB_HELO;
    s->withholding = 0;
    smtp_session_ask(s, SMTP_QUESTION_HELO);
    s->ops->on_helo(s->owner, arena_slice(&s->memory, c->arg), s->ehlo);
}

static void offer_attributes(unsigned attributes, struct buf *out)
{
    for (unsigned i = 0; i < SMTP_XATTR_COUNT; i++)
        if ((attributes & 1u << i) != 0)
            buf_printf(out, " %s", smtp_xattr_name((enum smtp_xattr)i));
}

/* What stands behind the keyword. */
static void offer_values(const struct smtp_session *s, unsigned extension, struct buf *out)
{
    if (extension == SMTP_EXT_SIZE) /* RFC 1870 4: 0 is "no fixed maximum" */
        buf_printf(out, " %llu", (unsigned long long)s->limits->message_octets);
    if (extension == SMTP_EXT_LIMITS) /* RFC 9422 4: those that we keep */
        buf_printf(out, " RCPTMAX=%u", s->limits->rcpts);
    if (extension == SMTP_EXT_LIMITS && s->limits->messages != 0)
        buf_printf(out, " MAILMAX=%u", s->limits->messages);
    if (extension == SMTP_EXT_XCLIENT)
        offer_attributes(SMTP_XCLIENT_ATTRS, out);
    if (extension == SMTP_EXT_XFORWARD)
        offer_attributes(SMTP_XFORWARD_ATTRS, out);
}

static void offer(const struct smtp_session *s, struct slice mechanisms, struct buf *out)
{
    unsigned left = smtp_session_extensions(s);

    buf_printf(out, "250%c%s\r\n", left != 0 ? '-' : ' ', s->hostname);
    for (size_t i = 0; i < OFFER_COUNT; i++) {
        if ((left & offers[i].extension) == 0)
            continue;
        left &= ~offers[i].extension;
        buf_printf(out, "250%c%s", left != 0 ? '-' : ' ', offers[i].keyword.ptr);
        offer_values(s, offers[i].extension, out);
        if (offers[i].extension == SMTP_EXT_AUTH) {
            buf_add_char(out, ' ');
            buf_add(out, mechanisms);
        }
        buf_add(out, SLICE("\r\n"));
    }
}

void smtp_helo_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    CLEANUP_BUF struct buf lines = BUF_INIT;
    CLEANUP_BUF struct buf mechanisms = BUF_INIT;

    if (smtp_answer_is_refusal(answer)) {
        smtp_session_refuse(s, answer); /* 4.1.4: the state stays, and so does a transaction */
        return;
    }
    smtp_session_drop_transaction(s);
    s->esmtp = s->ehlo;
    s->withheld = s->withholding;
    if (s->esmtp && s->ops->auth_offer != NULL && !smtp_needs_tls(s, SMTP_VERB_AUTH))
        s->ops->auth_offer(s->owner, &mechanisms);
    s->auth_offered = mechanisms.len > 0;
    if (s->esmtp) {
        offer(s, buf_slice(&mechanisms), &lines);
        smtp_session_send(s, buf_slice(&lines));
    } else {
        smtp_session_say(s, 250, "", slice_cstr(s->hostname));
    }
    smtp_session_move(s, SMTP_STATE_READY);
}
