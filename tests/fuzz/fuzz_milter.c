/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_milter.c - whole conversations of an MTA. The first two octets choose what is wanted and how the input is cut;
 * the rest is what the MTA sends. Promises: whatever the cuts, and whether questions are answered at once or later,
 * the same is said and asked; every packet that is said is well-formed; a mail begins and ends once; nothing follows
 * a close.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "milter/session.h"

struct owner {
    struct milter_session *session;
    struct buf log;
    bool deferred, closed, client, open;
    bool mail_asked; /* the question is whether a mail begins */
    struct milter_answer next;
};

static struct milter_answer choose(struct slice text)
{
    switch (text.len > 1 ? text.ptr[1] : 'a') {
    case 'r': return (struct milter_answer){ .code = 550, .enhanced = "5.7.1", .text = SLICE("100% no\r\nway") };
    case 'l': return (struct milter_answer){ .code = 450, .text = SLICE("Later") };
    default: return (struct milter_answer){ .code = 0 };
    }
}

static void decide(struct owner *o, struct slice text)
{
    o->next = choose(text);
    o->mail_asked &= o->deferred;
    if (!o->deferred)
        milter_session_answer(o->session, &o->next);
}

static void on_send(void *owner, struct slice octets)
{
    struct owner *o = owner;

    assert(!o->closed && octets.len > MILTER_LENGTH_OCTETS);
    for (struct slice rest = octets; rest.len > 0;) {
        struct milter_packet p;
        size_t n;
        enum milter_parse r = milter_packet_parse(rest, &p, &n);
        assert(r == MILTER_PARSE_DONE);
        assert(p.code != 'y' || (p.data.len > 4 && p.data.ptr[p.data.len - 1] == '\0' &&
                                 slice_find(slice_head(p.data, p.data.len - 1), '\n') < 0));
        rest = slice_from(rest, n);
    }
    buf_add(&o->log, octets);
}

static void on_close(void *owner, const char *why)
{
    struct owner *o = owner;

    assert(!o->closed && !o->open);
    o->closed = true;
    buf_printf(&o->log, "[close %s]", why != NULL ? why : "");
}

static void on_connect(void *owner, const struct milter_connect *c)
{
    struct owner *o = owner;

    assert(!o->client && !o->open);
    o->client = true;
    buf_printf(&o->log, "[connect %.*s %c %u %.*s]", (int)c->host.len, c->host.ptr, c->family, c->port,
               (int)c->address.len, c->address.ptr);
    decide(o, c->host);
}

static void on_helo(void *owner, struct slice name)
{
    struct owner *o = owner;

    assert(o->client && !o->open);
    decide(o, name);
}

static void on_mail(void *owner, const struct milter_path *p)
{
    struct owner *o = owner;

    assert(o->client && !o->open);
    o->open = choose(p->address).code == 0 || o->deferred;
    o->mail_asked = true;
    CLEANUP_BUF struct buf user = BUF_INIT;
    milter_macro_name(milter_session_macros(o->session), MILTER_MACRO_auth_authen, &user);
    assert(user.len <= MILTER_MACRO_OCTETS_MAX);
    buf_printf(&o->log, "[mail %.*s %u]", (int)p->address.len, p->address.ptr, (unsigned)p->params.len);
    decide(o, p->address);
}

static void on_rcpt(void *owner, const struct milter_path *p)
{
    struct owner *o = owner;

    assert(o->open && !o->mail_asked);
    buf_printf(&o->log, "[rcpt %.*s %u]", (int)p->address.len, p->address.ptr, (unsigned)p->params.len);
    decide(o, p->address);
}

static void on_data(void *owner)
{
    assert(((struct owner *)owner)->open);
    decide(owner, SLICE(""));
}

static void on_message(void *owner)
{
    struct owner *o = owner;

    assert(o->open);
    o->open = false;
    buf_add_cstr(&o->log, "[message]");
    o->next = (struct milter_answer){ .discard = true };
    if (!o->deferred)
        milter_session_answer(o->session, &o->next);
}

static void on_header(void *owner, struct slice name, struct slice value)
{
    struct owner *o = owner;

    assert(o->open && name.len > 0 && slice_find(name, '\n') < 0 && slice_find(name, ':') < 0);
    buf_printf(&o->log, "[header %.*s %u]", (int)name.len, name.ptr, (unsigned)value.len);
}

static void on_body(void *owner, struct slice octets)
{
    struct owner *o = owner;

    assert(o->open);
    buf_add(&o->log, octets);
}

static void on_abort(void *owner)
{
    struct owner *o = owner;

    assert(o->open);
    o->open = false;
    buf_add_cstr(&o->log, "[abort]");
}

static void on_client_gone(void *owner)
{
    struct owner *o = owner;

    assert(o->client && !o->open);
    o->client = false;
}

static const struct milter_ops ops = {
    .send = on_send, .close = on_close, .on_connect = on_connect, .on_helo = on_helo, .on_mail = on_mail,
    .on_rcpt = on_rcpt, .on_data = on_data, .on_message = on_message, .on_header = on_header, .on_body = on_body,
    .on_abort = on_abort, .on_client_gone = on_client_gone,
};

/* The owner of a deferred answer: a refused MAIL is no mail. */
static void answer_late(struct owner *o)
{
    while (!o->closed && milter_session_waiting(o->session)) {
        struct milter_answer a = o->next;
        milter_session_progress(o->session);
        if (o->mail_asked && a.code != 0)
            o->open = false;
        o->mail_asked = false;
        milter_session_answer(o->session, &a);
    }
}

static void converse(struct owner *o, unsigned char flags, size_t step, struct slice input)
{
    struct milter_session_options so = { .ops = &ops, .owner = o, .wants_message = (flags & 1) != 0,
                                         .wants_data = (flags & 2) != 0 };

    o->session = milter_session_new(&so);
    while (input.len > 0 && !o->closed) {
        size_t n = step < input.len ? step : input.len;
        milter_session_input(o->session, slice_head(input, n));
        answer_late(o);
        input = slice_from(input, n);
    }
    milter_session_free(o->session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    struct owner whole = { .log = BUF_INIT }, cut = { .log = BUF_INIT }, late = { .log = BUF_INIT };

    if (octets < 2)
        return 0;
    struct slice input = slice_make((const char *)data + 2, octets - 2);
    converse(&whole, data[0], SIZE_MAX, input);
    converse(&cut, data[0], 1 + data[1] % 16, input);
    assert(slice_equal(buf_slice(&whole.log), buf_slice(&cut.log)));
    late.deferred = true;
    converse(&late, data[0], 1 + data[1] % 64, input);
    buf_free(&whole.log);
    buf_free(&cut.log);
    buf_free(&late.log);
    return 0;
}
