/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - see session.h. One table says what may come (state.c), one function for each command does it.
 */
#include "milter/session.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "milter/state.h"

#define REASON_OCTETS 160

enum question { NOTHING, CONNECT, HELO, MAIL, RCPT, DATA, MESSAGE };

struct milter_session {
    const struct milter_ops *ops;
    void *owner;
    enum milter_state state;
    enum question question;
    uint32_t version, actions, steps; /* as negotiated */
    bool wants_message, wants_data;
    bool busy;   /* input is being gone through, further up the stack */
    bool closed;
    bool mail_open; /* the owner was told of it, and neither of its end nor that it is given up */
    uint64_t packets;
    struct buf held; /* octets that are not gone through: a packet that is not complete, or what follows a question */
    struct buf asked; /* the packet that the question is about */
    struct milter_macros macros;
};

/* The one assignment of state. */
static void move(struct milter_session *s, enum milter_state state)
{
    assert(state != MILTER_STATE_REFUSED);
    s->state = state;
}

static void say(struct milter_session *s, const struct buf *packets)
{
    if (packets->len > 0)
        s->ops->send(s->owner, buf_slice(packets));
}

static void say_code(struct milter_session *s, char code)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    milter_put(&out, code);
    say(s, &out);
}

bool milter_session_in_transaction(const struct milter_session *s)
{
    return s->state >= MILTER_STATE_MAIL && s->state <= MILTER_STATE_BODY;
}

/* The mail is over, whatever became of it. */
static void forget_mail(struct milter_session *s)
{
    s->mail_open = false;
    milter_macros_end_mail(&s->macros);
}

static void give_up_mail(struct milter_session *s)
{
    bool open = s->mail_open;

    forget_mail(s);
    if (open)
        s->ops->on_abort(s->owner);
}

static void finish(struct milter_session *s, const char *why)
{
    give_up_mail(s);
    move(s, MILTER_STATE_CLOSING);
    s->closed = true;
    s->ops->close(s->owner, why);
}

static void fail(struct milter_session *s, const char *format, const char *word)
{
    char why[REASON_OCTETS];

    (void)snprintf(why, sizeof(why), format, word);
    finish(s, why);
}

/* ---- questions ---- */

/* The packet is kept, as what the question points at lies in it. */
static struct slice ask(struct milter_session *s, enum question question, struct slice data)
{
    s->question = question;
    buf_clear(&s->asked);
    buf_add(&s->asked, data);
    return buf_slice(&s->asked);
}

static void answer_mail(struct milter_session *s, bool refused)
{
    if (refused) {
        forget_mail(s);
        move(s, MILTER_STATE_CLIENT); /* the MTA begins another or says good-bye: neither with an abort */
    }
}

static void go_on(struct milter_session *s);

void milter_session_answer(struct milter_session *s, const struct milter_answer *a)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    enum question question = s->question;

    assert(question != NOTHING && !s->closed);
    s->question = NOTHING;
    if (a->code != 0) {
        milter_put_reply(&out, a->code, a->enhanced, a->text);
    } else {
        buf_add(&out, a->edits);
        milter_put(&out, a->discard ? 'd' : 'c');
    }
    if (question == MAIL)
        answer_mail(s, a->code != 0);
    if (question == DATA && a->code != 0)
        move(s, MILTER_STATE_RCPT); /* the transaction stays (RFC 5321 3.3) */
    if (question == MESSAGE)
        forget_mail(s);
    say(s, &out);
    if (!s->busy)
        go_on(s);
}

/* ---- commands ---- */

static void negotiate(struct milter_session *s, struct slice data)
{
    struct milter_negotiation theirs, ours;
    CLEANUP_BUF struct buf out = BUF_INIT;
    char version[16];

    if (!milter_parse_negotiation(data, &theirs)) {
        finish(s, "the negotiation is too short");
        return;
    }
    if (theirs.version < MILTER_VERSION_MIN) {
        (void)snprintf(version, sizeof(version), "%u", (unsigned)theirs.version);
        fail(s, "protocol version %s is offered, and 2 is the oldest that is spoken here", version);
        return;
    }
    uint32_t steps = MILTER_NO_UNKNOWN | MILTER_NO_REPLY_HEADER | MILTER_NO_REPLY_EOH | MILTER_NO_REPLY_BODY |
                     MILTER_LEADING_SPACE;
    if (!s->wants_data)
        steps |= MILTER_NO_DATA;
    if (!s->wants_message)
        steps |= MILTER_NO_BODY | MILTER_NO_HEADERS | MILTER_NO_EOH;
    ours.version = theirs.version < MILTER_VERSION_MAX ? theirs.version : MILTER_VERSION_MAX;
    ours.actions = theirs.actions & (MILTER_ADD_HEADERS | MILTER_CHANGE_HEADERS | MILTER_ADD_RCPT | MILTER_DELETE_RCPT |
                                     MILTER_QUARANTINE | MILTER_CHANGE_SENDER | MILTER_ADD_RCPT_PARAMS |
                                     MILTER_SET_MACROS);
    ours.steps = theirs.steps & steps;
    s->version = ours.version;
    s->actions = ours.actions;
    s->steps = ours.steps;
    milter_put_negotiation(&out, &ours, (ours.actions & MILTER_SET_MACROS) != 0);
    say(s, &out);
}

static void connect_(struct milter_session *s, struct slice data)
{
    struct milter_connect c;

    if (!milter_parse_connect(ask(s, CONNECT, data), &c)) {
        s->question = NOTHING;
        finish(s, "the connect packet is malformed");
        return;
    }
    s->ops->on_connect(s->owner, &c);
}

static void helo(struct milter_session *s, struct slice data)
{
    struct slice rest = ask(s, HELO, data), name;

    if (!milter_take_string(&rest, &name)) {
        s->question = NOTHING;
        finish(s, "the name in a helo packet has no NUL behind it");
        return;
    }
    s->ops->on_helo(s->owner, name);
}

/* Every string must have its end, not only the address. */
static bool take_path(struct slice data, struct milter_path *ret)
{
    struct slice rest = data, word;

    if (!milter_take_string(&rest, &ret->address))
        return false;
    ret->params = rest;
    while (rest.len > 0)
        if (!milter_take_string(&rest, &word))
            return false;
    return true;
}

static void path(struct milter_session *s, enum question question, struct slice data)
{
    struct milter_path p;

    if (!take_path(ask(s, question, data), &p)) {
        s->question = NOTHING;
        fail(s, "a string in a %s packet has no NUL behind it", question == MAIL ? "mail" : "rcpt");
        return;
    }
    s->mail_open = true;
    if (question == MAIL)
        s->ops->on_mail(s->owner, &p);
    else
        s->ops->on_rcpt(s->owner, &p);
}

/* A field that could be taken for two, or for none, would make what was checked another mail than what is delivered. */
static bool is_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] == '\r' || name.ptr[i] == '\n' || name.ptr[i] == ':')
            return false;
    return name.len > 0;
}

static void header(struct milter_session *s, struct slice data)
{
    struct slice name, value;

    if (!milter_take_string(&data, &name) || !milter_take_string(&data, &value) || data.len > 0 || !is_name(name)) {
        finish(s, "a header packet is malformed");
        return;
    }
    s->ops->on_header(s->owner, name, value);
    if ((s->steps & MILTER_NO_REPLY_HEADER) == 0)
        say_code(s, 'c');
}

static void body(struct milter_session *s, struct slice data)
{
    s->ops->on_body(s->owner, data);
    if ((s->steps & MILTER_NO_REPLY_BODY) == 0)
        say_code(s, 'c');
}

static void macros(struct milter_session *s, struct slice data)
{
    if (!milter_macros_take(&s->macros, data))
        finish(s, "a packet of macros is malformed");
}

static void run(struct milter_session *s, const struct milter_packet *p)
{
    switch (p->command) {
    case MILTER_NEGOTIATE: negotiate(s, p->data); break;
    case MILTER_CONNECT: connect_(s, p->data); break;
    case MILTER_HELO: helo(s, p->data); break;
    case MILTER_MAIL: path(s, MAIL, p->data); break;
    case MILTER_RCPT: path(s, RCPT, p->data); break;
    case MILTER_DATA:
        (void)ask(s, DATA, p->data);
        s->ops->on_data(s->owner);
        break;
    case MILTER_HEADER: header(s, p->data); break;
    case MILTER_EOH:
        if ((s->steps & MILTER_NO_REPLY_EOH) == 0)
            say_code(s, 'c');
        break;
    case MILTER_BODY: body(s, p->data); break;
    case MILTER_END: /* libmilter lets the last piece of the body come with it */
        if (p->data.len > 0)
            s->ops->on_body(s->owner, p->data);
        s->mail_open = false;
        (void)ask(s, MESSAGE, SLICE(""));
        s->ops->on_message(s->owner);
        break;
    case MILTER_UNKNOWN: say_code(s, 'c'); break;
    case MILTER_MACROS: macros(s, p->data); break;
    default: break; /* abort, quit: told by the state they lead to */
    }
}

/* What ends a mail before its end, and the client's session. */
static void leave(struct milter_session *s, enum milter_command command)
{
    if (command == MILTER_ABORT || command == MILTER_QUIT_NEW)
        give_up_mail(s);
    if (command != MILTER_QUIT_NEW)
        return;
    milter_macros_clear(&s->macros);
    if (s->state != MILTER_STATE_READY)
        s->ops->on_client_gone(s->owner);
}

static void take(struct milter_session *s, const struct milter_packet *p)
{
    enum milter_state next = milter_state_next(s->state, p->command);

    if (next == MILTER_STATE_REFUSED) {
        char why[REASON_OCTETS];
        unsigned char code = (unsigned char)p->code;
        (void)snprintf(why, sizeof(why), "%s (0x%02x) may not come at %s", milter_command_name(p->command), code,
                       milter_state_name(s->state));
        finish(s, why);
        return;
    }
    if (p->command == MILTER_QUIT) {
        finish(s, NULL);
        return;
    }
    leave(s, p->command);
    move(s, next);
    run(s, p);
}

/* Goes through what is held until a question is open. */
static void go_on(struct milter_session *s)
{
    size_t done = 0;

    s->busy = true;
    while (!s->closed && s->question == NOTHING) {
        struct milter_packet p;
        size_t octets;
        enum milter_parse r = milter_packet_parse(slice_from(buf_slice(&s->held), done), &p, &octets);
        if (r == MILTER_PARSE_MORE)
            break;
        if (r == MILTER_PARSE_DONE) {
            done += octets;
            s->packets++;
            take(s, &p);
        } else {
            finish(s, r == MILTER_PARSE_EMPTY ? "a packet of length 0" : "a packet is too long");
        }
    }
    s->busy = false;
    if (s->closed || done == s->held.len)
        buf_free(&s->held);
    else
        buf_consume(&s->held, done);
}

/* ---- the owner's side ---- */

struct milter_session *milter_session_new(const struct milter_session_options *o)
{
    struct milter_session *s = mem_zalloc(sizeof(*s));

    s->ops = o->ops;
    s->owner = o->owner;
    s->wants_message = o->wants_message;
    s->wants_data = o->wants_data;
    s->state = MILTER_STATE_NEW;
    return s;
}

void milter_session_free(struct milter_session *s)
{
    if (s == NULL)
        return;
    assert(!s->busy);
    buf_free(&s->held);
    buf_free(&s->asked);
    milter_macros_clear(&s->macros);
    free(s);
}

void milter_session_input(struct milter_session *s, struct slice octets)
{
    if (s->closed)
        return;
    buf_add(&s->held, octets);
    if (!s->busy && s->question == NOTHING)
        go_on(s);
}

bool milter_session_waiting(const struct milter_session *s)
{
    return s->question != NOTHING;
}

bool milter_session_partial(const struct milter_session *s)
{
    return s->held.len > 0;
}

uint64_t milter_session_packets(const struct milter_session *s)
{
    return s->packets;
}

/* Sendmail looks for it at the end of the mail only, Postfix always. */
void milter_session_progress(struct milter_session *s)
{
    const char *mta = milter_macro(&s->macros, MILTER_MACRO_v);

    if (s->question == MESSAGE || (s->question != NOTHING && strncmp(mta, "Postfix", 7) == 0))
        say_code(s, 'p');
}

bool milter_session_may(const struct milter_session *s, enum milter_action action)
{
    return (s->actions & (uint32_t)action) != 0;
}

bool milter_session_leading_space(const struct milter_session *s)
{
    return (s->steps & MILTER_LEADING_SPACE) != 0;
}

const struct milter_macros *milter_session_macros(const struct milter_session *s)
{
    return &s->macros;
}

const char *milter_session_state_name(const struct milter_session *s)
{
    return milter_state_name(s->state);
}
