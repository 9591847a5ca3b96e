/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_smtp_session.c - whole dialogues. The first two octets choose the limits and how the input
 * is cut; the rest is what the client sends. Promises: whatever the cuts, and whether questions
 * are answered at once or later, the same is said and asked and the same mail comes out; every
 * reply line is well-formed; nothing is said and asked during a handshake; a mail that is taken has no lone CR or LF, unless it is binary; a transaction ends once.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "smtp/session.h"

struct owner {
    struct smtp_limits limits;
    struct smtp_session *session;
    struct buf log; /* all said, asked and handed on */
    struct buf body;
    bool deferred, closed, open, shaking, secured, binary;
    bool asked, known; /* AUTH: a challenge is open; it has succeeded */
};

static struct smtp_answer choose(struct slice text)
{
    char c = text.len > 0 ? text.ptr[0] : 'a';

    switch (c) {
    case 'r': return (struct smtp_answer){ 550, "5.7.1", SLICE("Refused") };
    case 'l': return (struct smtp_answer){ 450, NULL, SLICE("Later") };
    case 'c': return (struct smtp_answer){ 421, "4.7.0", SLICE("Closed") };
    default: return (struct smtp_answer){ 0 };
    }
}

static struct smtp_answer next_answer;

static void decide(struct owner *o, struct slice text)
{
    next_answer = choose(text);
    if (!o->deferred)
        smtp_session_answer(o->session, &next_answer);
}

static void on_send(void *owner, struct slice octets)
{
    struct owner *o = owner;

    assert(!o->closed && !o->shaking && octets.len > 0);
    for (struct slice rest = octets; rest.len > 0;) {
        ptrdiff_t lf = slice_find(rest, '\n');
        assert(lf >= 4 && lf < 512 && rest.ptr[lf - 1] == '\r');
        assert(rest.ptr[0] >= '2' && rest.ptr[0] <= '5' &&
               (rest.ptr[3] == ' ' || rest.ptr[3] == '-'));
        rest = slice_from(rest, (size_t)lf + 1);
    }
    buf_add(&o->log, octets);
}

static void on_close(void *owner)
{
    struct owner *o = owner;

    assert(!o->closed && !o->open);
    o->closed = true;
}

static void on_expect(void *owner, enum smtp_phase phase)
{
    assert(!((struct owner *)owner)->closed);
    (void)phase;
}

static void on_connect(void *owner)
{
    decide(owner, SLICE(""));
}

static void on_helo(void *owner, struct slice name, bool esmtp)
{
    struct owner *o = owner;

    assert(name.len > 0 && name.len <= 255);
    buf_printf(&o->log, "[helo %.*s %d]", (int)name.len, name.ptr, esmtp);
    decide(o, name);
}

static void on_mail(void *owner, const struct smtp_mail_params *m)
{
    struct owner *o = owner;

    assert(!o->open);
    buf_printf(&o->log, "[mail %s %llu %d %d]", m->sender.address.ptr, (unsigned long long)m->size,
               (int)m->body, m->smtputf8);
    o->open = choose(slice_make(m->sender.local.ptr, m->sender.local.len)).code == 0;
    o->binary = m->body == BODY_BINARYMIME;
    decide(o, slice_make(m->sender.local.ptr, m->sender.local.len));
}

static void on_rcpt(void *owner, const struct tern_mailbox *m, struct slice orcpt,
                    struct slice notify)
{
    struct owner *o = owner;

    assert(o->open && m->local.len + m->domain.len > 0);
    buf_printf(&o->log, "[rcpt %s]", m->address.ptr);
    decide(o, slice_make(m->local.ptr, m->local.len));
}

/* "v..." is found, on two lines. */
static void on_vrfy(void *owner, bool expand, struct slice argument, const struct tern_mailbox *m)
{
    struct owner *o = owner;

    assert(argument.len > 0 && (m->address.len == 0 || m->local.len > 0));
    buf_printf(&o->log, "[vrfy %d %.*s]", expand, (int)argument.len, argument.ptr);
    if (argument.ptr[0] != 'v') {
        decide(o, argument);
        return;
    }
    next_answer = (struct smtp_answer){ 250, "2.1.5", SLICE("<a@x>\n<b@x>") };
    if (!o->deferred) {
        struct smtp_answer a = next_answer;
        smtp_session_answer(o->session, &a);
    }
}

static void on_data(void *owner)
{
    struct owner *o = owner;

    assert(o->open);
    buf_clear(&o->body);
    decide(o, SLICE(""));
}

static void on_message(void *owner)
{
    struct owner *o = owner;

    assert(o->open);
    assert(o->binary || o->body.len == 0 || o->body.data[o->body.len - 1] == '\n');
    for (size_t i = 0; i < o->body.len && !o->binary; i++) {
        if (o->body.data[i] == '\n')
            assert(i > 0 && o->body.data[i - 1] == '\r');
        if (o->body.data[i] == '\r')
            assert(o->body.data[i + 1] == '\n');
    }
    buf_add_cstr(&o->log, "[message ");
    buf_add(&o->log, buf_slice(&o->body));
    buf_add_cstr(&o->log, "]");
    /* 421 here is followed by on_abort; other answers end the transaction. */
    o->open = choose(buf_slice(&o->body)).code == 421;
    decide(o, buf_slice(&o->body));
}

static int on_body(void *owner, struct slice octets)
{
    struct owner *o = owner;

    assert(o->open && octets.len > 0);
    buf_add(&o->body, octets);
    return 0;
}

static void on_abort(void *owner)
{
    struct owner *o = owner;

    assert(o->open);
    o->open = false;
    buf_add_cstr(&o->log, "[abort]");
}

static void on_xclient(void *owner, const struct smtp_xclient *client)
{
    struct owner *o = owner;

    assert(!o->open && client->given != 0);
    o->known = false;
    buf_printf(&o->log, "[xclient %x %s]", client->given, client->login.ptr);
    decide(o, client->login);
}

static void on_xforward(void *owner, const struct smtp_xattrs *attrs)
{
    struct owner *o = owner;

    assert(!o->open && attrs->given != 0);
    buf_printf(&o->log, "[xforward %x]", attrs->given);
}

/* What is decoded decides: nothing or "m..." a challenge, "y..." success, else a refusal. */
static void login(struct owner *o, const struct slice *said)
{
    char first = said != NULL && said->len > 0 ? said->ptr[0] : 'm';

    assert(!o->open && !o->known);
    o->asked = first == 'm';
    o->known = first == 'y';
    next_answer = o->asked   ? (struct smtp_answer){ 334, "", SLICE("?") }
                  : o->known ? (struct smtp_answer){ 235, "2.7.0", SLICE("Hello") }
                             : (struct smtp_answer){ 535, "5.7.8", SLICE("No") };
    if (!o->deferred) {
        struct smtp_answer a = next_answer;
        smtp_session_answer(o->session, &a);
    }
}

static void on_auth(void *owner, struct slice mechanism, const struct slice *initial)
{
    struct owner *o = owner;

    assert(!o->asked && mechanism.len > 0);
    buf_printf(&o->log, "[auth %.*s %zu]", (int)mechanism.len, mechanism.ptr,
               initial != NULL ? initial->len : 0);
    login(o, initial);
}

static void on_auth_response(void *owner, struct slice response)
{
    struct owner *o = owner;

    assert(o->asked && response.len <= 12288 / 4 * 3);
    buf_printf(&o->log, "[response %zu]", response.len);
    login(o, &response);
}

static void on_auth_cancel(void *owner)
{
    struct owner *o = owner;

    assert(o->asked);
    o->asked = false;
    buf_add_cstr(&o->log, "[cancel]");
}

static void auth_offer(void *owner, struct buf *out)
{
    (void)owner;
    buf_add_cstr(out, "PLAIN");
}

static bool on_tls_ready(void *owner)
{
    assert(!((struct owner *)owner)->secured);
    return true;
}

static void on_begin_tls(void *owner)
{
    struct owner *o = owner;

    assert(!o->open && !o->secured && !o->asked);
    buf_add_cstr(&o->log, "[tls]");
    o->shaking = true;
}

static const struct smtp_ops ops = {
    .send = on_send,         .close = on_close, .expect = on_expect,       .on_connect = on_connect,
    .on_helo = on_helo,      .on_mail = on_mail, .on_rcpt = on_rcpt,       .on_data = on_data,
    .on_message = on_message, .on_body = on_body, .on_abort = on_abort,    .tls_ready = on_tls_ready,
    .begin_tls = on_begin_tls, .on_xclient = on_xclient, .on_xforward = on_xforward,
    .on_auth = on_auth, .on_auth_response = on_auth_response, .on_auth_cancel = on_auth_cancel,
    .auth_offer = auth_offer, .on_vrfy = on_vrfy,
};

static void secure(struct owner *o)
{
    if (!o->shaking || o->closed)
        return;
    o->shaking = false;
    o->secured = true;
    o->known = false; /* who it was is forgotten, too */
    smtp_session_secured(o->session);
}

/* With TLS a piece ends where a line does: whether octets follow STARTTLS makes the difference there. */
static size_t piece(struct slice rest, size_t step, bool tls)
{
    ptrdiff_t lf = tls ? slice_find(rest, '\n') : -1;

    return lf >= 0 && (size_t)lf < step ? (size_t)lf + 1 : step;
}

static void answer_all(struct owner *o)
{
    while (smtp_session_waiting(o->session)) {
        struct smtp_answer a = next_answer;
        smtp_session_answer(o->session, &a);
    }
}

static void run(struct owner *o, struct slice in, unsigned limits, size_t step, bool deferred)
{
    *o = (struct owner){ .deferred = deferred };
    bool tight = (limits & 1) != 0;
    enum smtp_tls tls = (limits & 128) == 0 ? SMTP_TLS_OFF
                        : (limits & 2) != 0 ? SMTP_TLS_REQUIRED
                        : tight             ? SMTP_TLS_IMPLICIT
                                            : SMTP_TLS_OFFERED;
    o->limits = (struct smtp_limits){ .command_line_octets = tight ? 40 : 2048,
                                      .data_line_octets = tight ? 30 : 65536,
                                      .message_octets = tight ? 100 : 1 << 20,
                                      .rcpts = tight ? 2 : 1000,
                                      .messages = tight ? 3 : 0,
                                      .errors = (limits & 2) != 0 ? 3 : 1000,
                                      .commands = (limits & 2) != 0 ? 6 : 1000,
                                      .received_fields = tight ? 1 : 100 };
    o->session = smtp_session_new(&(struct smtp_session_options){
        .hostname = "mx.example.net",
        .limits = &o->limits,
        .lmtp = (limits & 8) != 0,
        .prdr = (limits & 16) != 0,
        .asks_vrfy = (limits & 16) != 0,
        .asks_expn = (limits & 16) != 0,
        .xclient = (limits & 32) != 0,
        .xforward = (limits & 32) != 0,
        .auth_required = (limits & 64) != 0,
        .tls = tls,
        .ops = &ops,
        .owner = o,
    });
    smtp_session_start(o->session);
    answer_all(o);
    secure(o);
    while (in.len > 0) {
        size_t octets = piece(in, step, tls != SMTP_TLS_OFF);
        smtp_session_input(o->session, slice_head(in, octets));
        answer_all(o);
        secure(o);
        in = slice_from(in, octets);
    }
    smtp_session_free(o->session);
}

static void fini(struct owner *o)
{
    buf_free(&o->log);
    buf_free(&o->body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 65536)
        return 0;
    struct slice in = slice_make((const char *)data + 2, size - 2);
    struct owner whole, cut;

    run(&whole, in, data[0], in.len + 1, false);
    run(&cut, in, data[0], data[1] % 64 + 1, (data[0] & 4) != 0);
    assert(slice_equal(buf_slice(&whole.log), buf_slice(&cut.log)));
    assert(whole.closed == cut.closed);
    fini(&whole);
    fini(&cut);
    return 0;
}
