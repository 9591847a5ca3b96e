/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smtp_peer_auth.h - the part of smtp_peer.h that answers AUTH; included by it alone.
 *
 * Without an initial response: 334 "what?"; "ok": 235; "more...": 334 "what?"; else 535.
 */
#ifndef TERN_TESTS_SMTP_PEER_AUTH_H
#define TERN_TESTS_SMTP_PEER_AUTH_H

static void peer_login(struct peer *p, const struct slice *response)
{
    static const struct smtp_answer more = { 334, "", SLICE("what?") };
    static const struct smtp_answer ok = { 235, "2.7.0", SLICE("Hello") };
    static const struct smtp_answer no = { 535, "5.7.8", SLICE("No") };

    if (response != NULL)
        buf_printf(&p->asked, " %zu", response->len);
    buf_add_char(&p->asked, '\n');
    peer_decide(p, response == NULL || slice_starts_nocase(*response, SLICE("more")) ? &more
                   : slice_equal(*response, SLICE("ok"))                             ? &ok
                                                                                     : &no);
}

static void peer_auth(void *owner, struct slice mechanism, const struct slice *initial)
{
    struct peer *p = owner;

    buf_printf(&p->asked, "auth %.*s", (int)mechanism.len, mechanism.ptr);
    peer_login(p, initial);
}

static void peer_auth_response(void *owner, struct slice response)
{
    struct peer *p = owner;

    buf_add_cstr(&p->asked, "response");
    peer_login(p, &response);
}

static void peer_auth_cancel(void *owner)
{
    buf_add_cstr(&((struct peer *)owner)->asked, "cancel\n");
}

static void peer_auth_offer(void *owner, struct buf *out)
{
    if (((struct peer *)owner)->mechanisms != NULL)
        buf_add_cstr(out, ((struct peer *)owner)->mechanisms);
}

#define PEER_AUTH_OPS                                                                              \
    .on_auth = peer_auth, .on_auth_response = peer_auth_response, .on_auth_cancel = peer_auth_cancel, \
    .auth_offer = peer_auth_offer

#endif
