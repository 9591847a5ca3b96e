/* SPDX-License-Identifier: Apache-2.0 */
#include "server/received.h"

#include "mime/date.h"

/* RFC 3848 names the protocols, RFC 6531 4.3 those with UTF8. */
static void add_protocol(struct buf *out, const struct session_facts *s, const struct txn_facts *t)
{
    if (t->smtputf8 && s->esmtp)
        buf_add_cstr(out, s->lmtp ? "UTF8LMTP" : "UTF8SMTP");
    else
        buf_add_cstr(out, s->lmtp ? "LMTP" : s->esmtp ? "ESMTP" : "SMTP");
    if (s->tls && s->esmtp)
        buf_add_char(out, 'S');
    if (s->user.len > 0 && s->esmtp) /* RFC 3848 */
        buf_add_char(out, 'A');
}

/* What the client said of itself was checked by the grammar of EHLO; it may still hold UTF-8. */
static void add_helo(struct buf *out, struct slice helo)
{
    if (helo.len == 0)
        buf_add_cstr(out, "unknown");
    for (size_t i = 0; i < helo.len; i++) {
        char c = helo.ptr[i];
        buf_add_char(out, c > ' ' && c != '(' && c != ')' && c != '\\' && (unsigned char)c < 0x7f ? c : '?');
    }
}

/* As a proxy or a mail server in front has told it; else as a step has found that it is (RFC 8601 3). */
static struct slice client_name(const struct session_facts *session)
{
    if (session->relayed->client_name.len > 0)
        return slice_of(session->relayed->client_name);
    tern_str found = notes_get(session->results, SLICE("iprev_name"));
    return found.ptr != NULL ? slice_of(found) : slice_make(NULL, 0);
}

void received_add(struct buf *out, const struct session_facts *session, const struct txn_facts *txn,
                  const char *hostname, uint64_t wall_ms)
{
    char date[DATE_SIZE];

    buf_add_cstr(out, "Received: from ");
    add_helo(out, slice_of(session->helo));
    buf_add_cstr(out, " (");
    struct slice name = client_name(session);
    if (name.len > 0) {
        add_helo(out, name);
        buf_add_char(out, ' ');
    }
    buf_add_cstr(out, session->client.family == 6 ? "[IPv6:" : "[");
    buf_add(out, slice_of(session->client_text));
    buf_add_cstr(out, session->relayed->client_name_forged ? "] (may be forged))\r\n\tby " : "])\r\n\tby ");
    buf_add_cstr(out, hostname);
    buf_add_cstr(out, " with ");
    add_protocol(out, session, txn);
    buf_add_cstr(out, " id ");
    buf_add(out, slice_of(txn->id));
    if (txn->rcpt_count == 1) {
        struct slice to = slice_of(txn->rcpts[0]->view.original.address);
        buf_add_cstr(out, "\r\n\tfor <");
        buf_add(out, to);
        buf_add_cstr(out, ">");
    }
    if (session->handshake->cipher.len > 0) /* RFC 8314 4.3: among the additional clauses, the last of all */
        buf_printf(out, "\r\n\ttls %s", session->handshake->cipher.ptr);
    (void)date_print(date, (int64_t)(wall_ms / 1000), 0);
    buf_add_cstr(out, ";\r\n\t");
    buf_add_cstr(out, date);
    buf_add_cstr(out, "\r\n");
}
