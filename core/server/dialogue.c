/* SPDX-License-Identifier: Apache-2.0 */
#include "server/dialogue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/cidrs.h"
#include "server/another.h"
#include "module/engine_auth.h"
#include "module/header_edit.h"
#include "server/received.h"
#include "smtp/data.h"

/* No field that a step cannot see is taken. */
_Static_assert(SMTP_HEADER_OCTETS_MAX <= MESSAGE_HEADER_OCTETS_MAX && SMTP_HEADER_FIELDS_MAX <= MESSAGE_FIELDS_MAX,
               "what is taken can be looked at");

struct dialogue {
    const struct dialogue_ops *ops;
    void *owner;
    struct smtp_session *smtp;
    struct engine_session *engine;
    struct generation *generation;
    const struct listener_conf *listener; /* of the generation */
    struct body *body;
    /* Of the message that is being stored; the engine's, until the transaction ends. */
    const struct engine_message_result *result;
    struct buf *forwarded; /* XFORWARD, for the next mail; or NULL */
    bool login;           /* the user comes by XCLIENT */
    bool ending;
};

/* ---- answers ---- */

static bool is_refusal(const struct decision *d)
{
    return d->verdict == TERN_REJECT || d->verdict == TERN_DEFER || d->verdict == TERN_CLOSE;
}

static void answer(struct dialogue *s, const struct decision *d)
{
    struct smtp_answer a = { .code = 0 };

    if (s->ending)
        return;
    if (s->ops->decided != NULL)
        s->ops->decided(s->owner, d);
    if (is_refusal(d))
        a = (struct smtp_answer){ d->code, d->enhanced, d->text };
    if (a.code >= 400)
        s->ops->count(s->owner, a.code >= 500 ? DIALOGUE_REFUSED : DIALOGUE_DEFERRED);
    smtp_session_answer(s->smtp, &a);
}

static void answer_code(struct dialogue *s, unsigned code, const char *enhanced, const char *text)
{
    struct smtp_answer a = { code, enhanced, slice_cstr(text) };

    smtp_session_answer(s->smtp, &a);
}

static void on_decided(void *arg, const struct decision *d)
{
    struct dialogue *s = arg;

    if (s->ending)
        return;
    s->ops->gather(s->owner);
    answer(s, d);
    s->ops->resumed(s->owner);
}

static void log_client(struct log_line *l, const struct dialogue *s)
{
    const struct session_facts *f = engine_session_facts(s->engine);

    log_str(l, "client", slice_of(f->client_text));
    if (f->relayed->via.len > 0)
        log_str(l, "via", slice_of(f->relayed->via));
    if (engine_txn(s->engine) != NULL && engine_txn(s->engine)->forwarded.len > 0)
        log_str(l, "forwarded", slice_of(engine_txn(s->engine)->forwarded));
}

/* `to`: the recipient that is refused beside others, or empty. */
static void log_refusal(const struct dialogue *s, const struct decision *d, struct slice to)
{
    const struct txn_facts *t = engine_txn(s->engine);
    struct log_line l;

    log_begin(&l, LOG_INFO, d->verdict == TERN_REJECT ? LOG_EV_reject : LOG_EV_defer,
              t != NULL ? t->id.ptr : engine_session_facts(s->engine)->id.ptr);
    log_client(&l, s);
    if (t != NULL)
        log_str(&l, "from", slice_of(t->sender.address));
    if (to.len > 0)
        log_str(&l, "to", to);
    log_str(&l, "step", d->step);
    log_textf(&l, "reply", "%u %s %.*s", d->code, d->enhanced, (int)d->text.len, d->text.ptr);
    log_end(&l);
}

static void on_decided_logged(void *arg, const struct decision *d)
{
    struct dialogue *s = arg;

    if (!s->ending && is_refusal(d))
        log_refusal(s, d, SLICE(""));
    on_decided(arg, d);
}

/* ---- questions of the protocol ---- */

static void op_connect(void *owner)
{
    struct dialogue *s = owner;

    engine_connect(s->engine, on_decided_logged, s);
}

static void on_helo_decided(void *arg, const struct decision *d)
{
    struct dialogue *s = arg;

    if (!s->ending)
        for (unsigned i = 0; i < engine_withheld_count(s->engine); i++)
            smtp_session_withhold(s->smtp, engine_withheld(s->engine, i));
    on_decided_logged(arg, d);
}

/* What a session's greetings leave behind lives as long as the session. */
#define SESSION_MEMORY_MAX 32768
/* For the log, where it is cut anyway; a little above, as a whole command goes in. */
#define FORWARDED_OCTETS_MAX 1024

static void op_helo(void *owner, struct slice name, bool esmtp)
{
    struct dialogue *s = owner;

    if (engine_session_facts(s->engine)->memory->arena.octets > SESSION_MEMORY_MAX) {
        answer_code(s, 421, "4.7.0", "Too many different greetings in this session");
        return;
    }
    engine_helo(s->engine, name, esmtp, on_helo_decided, s);
}

static void forget_forwarded(struct dialogue *s)
{
    if (s->forwarded == NULL)
        return;
    buf_free(s->forwarded);
    free(s->forwarded);
    s->forwarded = NULL;
}

/* A MAIL that was refused is the engine's until there is another one; what follows is none of it. */
static void forget_refused_mail(struct dialogue *s)
{
    engine_txn_end(s->engine, SLICE(""), 0);
}

static void op_xclient(void *owner, const struct smtp_xclient *said)
{
    struct dialogue *s = owner;
    struct smtp_answer refusal;
    struct engine_client client;
    struct arena memory;

    forget_refused_mail(s);
    const struct session_facts *f = engine_session_facts(s->engine);
    if (f->memory->arena.octets > SESSION_MEMORY_MAX) {
        answer_code(s, 421, "4.7.0", "Too many XCLIENT commands in this session");
        return;
    }
    if ((said->given & SMTP_XATTR_BIT(ADDR)) != 0 && s->ops->moved != NULL &&
        !s->ops->moved(s->owner, &said->client, &refusal)) {
        smtp_session_answer(s->smtp, &refusal);
        return;
    }
    arena_init(&memory);
    another_client(f, s->login, said, &memory, &client);
    if ((said->given & SMTP_XATTR_BIT(LOGIN)) != 0)
        s->login = said->login.len > 0;
    forget_forwarded(s);
    smtp_session_set_authenticated(s->smtp, client.user.len > 0);
    engine_reconnect(s->engine, &client, on_decided_logged, s);
    arena_fini(&memory);
}

static void op_xforward(void *owner, const struct smtp_xattrs *attrs)
{
    struct dialogue *s = owner;

    if ((attrs->given & (SMTP_XATTR_BIT(NAME) | SMTP_XATTR_BIT(ADDR))) != 0)
        forget_forwarded(s); /* of another mail, that was not sent */
    if (s->forwarded == NULL)
        s->forwarded = mem_zalloc(sizeof(*s->forwarded));
    if (s->forwarded->len < FORWARDED_OCTETS_MAX)
        another_forwarded(attrs, s->forwarded);
}

static struct tern_mailbox copy_mailbox(struct arena *arena, const struct tern_mailbox *m)
{
    return (struct tern_mailbox){ tern_str_dup(arena, slice_of(m->address)),
                                  tern_str_dup(arena, slice_of(m->local)),
                                  tern_str_dup(arena, slice_of(m->domain)) };
}

static struct txn_facts *new_txn(struct dialogue *s, const struct smtp_mail_params *p)
{
    struct txn_facts *t = txn_facts_new();
    struct arena *arena = &t->memory->arena;
    char id[32];

    s->ops->new_id(s->owner, id, sizeof(id));
    t->id = tern_str_dup(arena, slice_cstr(id));
    t->sender = copy_mailbox(arena, &p->sender);
    t->sender_original = t->sender;
    t->body = p->body;
    t->smtputf8 = p->smtputf8;
    t->each = p->each;
    t->declared_octets = p->size;
    t->envid = tern_str_dup(arena, p->envid);
    t->ret = tern_str_dup(arena, p->ret);
    t->forwarded = s->forwarded != NULL ? tern_str_dup(arena, buf_slice(s->forwarded)) : (tern_str){ "", 0 };
    forget_forwarded(s);
    return t;
}

static void op_mail(void *owner, const struct smtp_mail_params *params)
{
    struct dialogue *s = owner;

    struct smtp_answer refusal;

    if (!s->ops->may_begin(s->owner, &refusal)) {
        smtp_session_answer(s->smtp, &refusal);
        return;
    }
    engine_mail(s->engine, new_txn(s, params), on_decided_logged, s);
}

static void op_rcpt(void *owner, const struct tern_mailbox *rcpt, struct slice orcpt, struct slice notify)
{
    struct dialogue *s = owner;
    struct smtp_answer refusal;

    if (s->ops->may_add != NULL && !s->ops->may_add(s->owner, &refusal)) {
        smtp_session_answer(s->smtp, &refusal);
        return;
    }
    engine_rcpt(s->engine, rcpt, orcpt, notify, on_decided_logged, s);
}

static void op_data(void *owner)
{
    struct dialogue *s = owner;

    engine_data(s->engine, on_decided_logged, s);
}

static void on_vrfy_decided(void *arg, const struct decision *d)
{
    struct dialogue *s = arg;
    struct smtp_answer found = { d->code, d->enhanced, d->text, NULL, 0 };

    if (s->ending || d->verdict != TERN_ACCEPT) {
        on_decided_logged(arg, d);
        return;
    }
    s->ops->gather(s->owner);
    if (s->ops->decided != NULL)
        s->ops->decided(s->owner, d);
    smtp_session_answer(s->smtp, &found);
    s->ops->resumed(s->owner);
}

static void op_vrfy(void *owner, bool expand, struct slice argument, const struct tern_mailbox *mailbox)
{
    struct dialogue *s = owner;

    engine_vrfy(s->engine, expand, argument, mailbox, on_vrfy_decided, s);
}

/* ---- logging in ---- */

static void log_auth(const struct dialogue *s, const struct engine_auth_result *r)
{
    const struct session_facts *f = engine_session_facts(s->engine);
    struct log_line l;

    log_begin(&l, LOG_INFO, LOG_EV_auth, f->id.ptr);
    log_str(&l, "client", slice_of(f->client_text));
    log_str(&l, "mechanism", r->mechanism);
    if (r->user.len > 0)
        log_str(&l, "user", r->user);
    log_cstr(&l, "result", r->decision.verdict == TERN_ACCEPT   ? "ok"
                           : r->decision.verdict == TERN_REJECT ? "refused"
                                                                : "failed");
    log_str(&l, "step", r->decision.step);
    if (r->decision.verdict != TERN_ACCEPT)
        log_textf(&l, "reply", "%u %s %.*s", r->decision.code, r->decision.enhanced,
                  (int)r->decision.text.len, r->decision.text.ptr);
    if (r->counted) {
        log_uint(&l, "failures", (uint64_t)r->failures);
        log_uint(&l, "delay_ms", r->delay_ms);
    }
    log_end(&l);
}

static void on_auth_result(void *arg, const struct engine_auth_result *r)
{
    struct dialogue *s = arg;

    if (s->ending)
        return;
    s->ops->gather(s->owner);
    if (r->decision.verdict == TERN_NEXT) {
        struct smtp_answer a = { 334, "", r->challenge, NULL, 0 };
        smtp_session_answer(s->smtp, &a);
    } else {
        log_auth(s, r);
        if (r->decision.verdict == TERN_ACCEPT) {
            if (s->ops->decided != NULL)
                s->ops->decided(s->owner, &r->decision);
            answer_code(s, 235, "2.7.0", "Authentication successful");
        } else {
            answer(s, &r->decision);
        }
    }
    s->ops->resumed(s->owner);
}

/* A login that failed is told in the log, too, if the client does not wait for its reply. */
static void log_auth_left(const struct dialogue *s)
{
    const struct engine_auth_result *r = engine_auth_failure(s->engine);

    if (r != NULL)
        log_auth(s, r);
}

static void op_auth(void *owner, struct slice mechanism, const struct slice *initial)
{
    struct dialogue *s = owner;

    engine_auth(s->engine, mechanism, initial, on_auth_result, s);
}

static void op_auth_response(void *owner, struct slice response)
{
    struct dialogue *s = owner;

    engine_auth_response(s->engine, response, on_auth_result, s);
}

static void op_auth_cancel(void *owner)
{
    struct dialogue *s = owner;

    log_auth_left(s);
    engine_auth_cancel(s->engine);
}

static void op_auth_offer(void *owner, struct buf *out)
{
    struct dialogue *s = owner;

    engine_auth_offer(s->engine, out);
}

static int op_body(void *owner, struct slice octets)
{
    struct dialogue *s = owner;

    if (s->body == NULL)
        s->body = s->ops->new_body(s->owner);
    return body_append(s->body, octets);
}

static void drop_body(struct dialogue *s)
{
    body_unref(s->body);
    s->body = NULL;
}

static void op_abort(void *owner)
{
    struct dialogue *s = owner;

    drop_body(s);
    engine_txn_end(s->engine, SLICE(""), 0);
}

/* ---- the message ---- */

static void log_accepted(const struct dialogue *s, const char *what)
{
    const struct txn_facts *t = engine_txn(s->engine);
    struct log_line l;

    log_begin(&l, LOG_INFO, what == NULL ? LOG_EV_accepted : LOG_EV_discarded, t->id.ptr);
    log_client(&l, s);
    log_str(&l, "from", slice_of(t->sender.address));
    log_uint(&l, "rcpts", t->rcpt_count);
    log_uint(&l, "size", s->body != NULL ? body_octets(s->body) : 0);
    if (engine_session_facts(s->engine)->tls)
        log_textf(&l, "tls", "%s/%s", engine_session_facts(s->engine)->handshake->version.ptr,
                  engine_session_facts(s->engine)->handshake->cipher.ptr);
    log_end(&l);
}

/* The address that reply `index` is about, as the client gave it. */
static struct slice address_of(const struct txn_facts *t, unsigned index)
{
    for (unsigned i = 0; i < t->rcpt_count; i++)
        if (t->rcpts[i]->family == index)
            return slice_of(t->rcpts[i]->view.original.address);
    return SLICE("");
}

static struct smtp_answer answer_of(struct arena *arena, const struct decision *d, tern_str id)
{
    struct smtp_answer a = { .code = 250, .enhanced = "2.0.0" };

    if (is_refusal(d))
        return (struct smtp_answer){ d->code, arena_dup(arena, slice_cstr(d->enhanced)),
                                     arena_slice(arena, d->text) };
    a.text = slice_cstr(arena_printf(arena, "Ok: queued as %s", id.ptr));
    return a;
}

/* Logs what is refused beside something accepted. */
static struct smtp_answer *answers_of(struct dialogue *s, struct arena *arena)
{
    const struct engine_message_result *r = s->result;
    const struct txn_facts *t = engine_txn(s->engine);
    struct smtp_answer *answers = arena_alloc(arena, r->reply_count * sizeof(answers[0]));

    for (unsigned i = 0; i < r->reply_count; i++) {
        answers[i] = answer_of(arena, &r->replies[i], t->id);
        if (is_refusal(&r->replies[i]) && !is_refusal(&r->decision))
            log_refusal(s, &r->replies[i], address_of(t, i));
    }
    return answers;
}

/* Ends the transaction and tells the client what came of it. `failed`: it could not be stored. */
static void conclude(struct dialogue *s, const struct smtp_answer *failed)
{
    const struct txn_facts *t = engine_txn(s->engine);
    struct arena arena; /* the engine's words end with the transaction */
    struct smtp_answer a;

    arena_init(&arena);
    a = failed != NULL ? *failed : answer_of(&arena, &s->result->decision, t->id);
    if (failed == NULL && t->each) {
        a.rcpts = answers_of(s, &arena);
        a.rcpt_count = s->result->reply_count;
    }
    s->result = NULL;
    engine_txn_end(s->engine, a.code < 300 ? slice_of(t->id) : SLICE(""), a.code);
    drop_body(s);
    smtp_session_answer(s->smtp, &a);
    arena_fini(&arena);
}

static void accepted(struct dialogue *s, const char *discarded)
{
    log_accepted(s, discarded);
    s->ops->count(s->owner, DIALOGUE_ACCEPTED);
    conclude(s, NULL);
}

static struct smtp_answer not_stored(int status)
{
    if (status == -ENOSPC)
        return (struct smtp_answer){ 452, "4.3.1",
                                     SLICE("Not enough room in the queue, please try again later") };
    if (status == -EMSGSIZE)
        return (struct smtp_answer){ 452, "4.5.3", SLICE("Too many recipients, please send to fewer at a time") };
    return (struct smtp_answer){ 451, "4.3.0", SLICE("The queue cannot be written, please try again later") };
}

void dialogue_stored(struct dialogue *s, int status)
{
    if (s->ending)
        return;
    s->ops->gather(s->owner);
    if (status == 0) {
        accepted(s, NULL);
    } else {
        struct smtp_answer a = not_stored(status);
        log_event(LOG_ERROR, LOG_EV_disk, engine_txn(s->engine)->id.ptr, "not stored: %s",
                  strerror(-status));
        conclude(s, &a);
    }
    s->ops->resumed(s->owner);
}

/* RFC 1047: the client may send it again. Log and record say why it comes twice. */
void dialogue_stored_unheard(struct dialogue *s, int status)
{
    const struct txn_facts *t = engine_txn(s->engine);

    if (status != 0 || t == NULL)
        return;
    log_accepted(s, NULL);
    s->ops->count(s->owner, DIALOGUE_ACCEPTED);
    engine_txn_end(s->engine, slice_of(t->id), 0);
}

static bool any_stored(const struct engine_message_result *result)
{
    for (unsigned i = 0; i < result->group_count; i++)
        if (result->groups[i].disposition != DISPOSE_DISCARD && result->groups[i].facts->rcpt_count > 0)
            return true;
    return false;
}

static void on_message_decided(void *arg, const struct engine_message_result *result)
{
    struct dialogue *s = arg;

    if (s->ending)
        return;
    s->ops->gather(s->owner);
    s->result = result;
    if (s->ops->decided != NULL)
        s->ops->decided(s->owner, &result->decision);
    if (is_refusal(&result->decision)) {
        log_refusal(s, &result->decision, SLICE(""));
        s->ops->count(s->owner, result->decision.code >= 500 ? DIALOGUE_REFUSED : DIALOGUE_DEFERRED);
        conclude(s, NULL);
        s->ops->resumed(s->owner);
        return;
    }
    if (any_stored(result)) {
        s->ops->store(s->owner, engine_session_facts(s->engine), result);
        return;
    }
    accepted(s, "all recipients discarded");
    s->ops->resumed(s->owner);
}

static void op_message(void *owner)
{
    struct dialogue *s = owner;
    CLEANUP_BUF struct buf received = BUF_INIT;

    if (s->body == NULL)
        s->body = body_new(-1);
    received_add(&received, engine_session_facts(s->engine), engine_txn(s->engine),
                 s->generation->conf.hostname.ptr, clock_wall_ms());
    engine_message(s->engine, s->body, buf_slice(&received), on_message_decided, s);
}

/* ---- the owner's side ---- */

static void op_send(void *owner, struct slice octets)
{
    struct dialogue *s = owner;

    s->ops->send(s->owner, octets);
}

static void op_close(void *owner)
{
    struct dialogue *s = owner;

    s->ending = true;
    s->ops->close(s->owner);
}

static void op_expect(void *owner, enum smtp_phase phase)
{
    struct dialogue *s = owner;

    s->ops->expect(s->owner, phase);
}

static void op_pause(void *owner, uint32_t ms)
{
    struct dialogue *s = owner;

    if (s->ops->pause != NULL)
        s->ops->pause(s->owner, ms);
    else
        answer_code(s, 0, "", "");
}

static bool op_full(void *owner)
{
    struct dialogue *s = owner;

    return s->ops->full != NULL && s->ops->full(s->owner);
}

static uint64_t early(void *arg)
{
    struct dialogue *s = arg;

    return s->ops->early != NULL ? s->ops->early(s->owner) : 0;
}

static bool op_tls_ready(void *owner)
{
    struct dialogue *s = owner;

    return s->ops->tls_ready(s->owner);
}

static void op_begin_tls(void *owner)
{
    struct dialogue *s = owner;

    s->ops->begin_tls(s->owner);
}

/* Asked anew: XCLIENT may have made it another client's session. */
static int op_etrn(void *owner, struct slice domain, bool or_below)
{
    struct dialogue *s = owner;
    const struct session_facts *f = engine_session_facts(s->engine);

    if (!cidrs_match(s->listener->etrn, &f->client))
        return -EACCES;
    return s->ops->etrn != NULL ? s->ops->etrn(s->owner, slice_of(f->client_text), domain, or_below) : 0;
}

static const struct smtp_ops smtp_ops = {
    .tls_ready = op_tls_ready, .begin_tls = op_begin_tls,
    .send = op_send,       .close = op_close,   .expect = op_expect, .pause = op_pause,
    .full = op_full,       .on_connect = op_connect,
    .on_helo = op_helo,    .on_mail = op_mail,  .on_rcpt = op_rcpt,  .on_data = op_data,
    .on_message = op_message, .on_body = op_body, .on_abort = op_abort,
    .on_xclient = op_xclient, .on_xforward = op_xforward,
    .on_auth = op_auth,    .on_auth_response = op_auth_response, .on_auth_cancel = op_auth_cancel,
    .auth_offer = op_auth_offer, .on_etrn = op_etrn, .on_vrfy = op_vrfy,
};

void dialogue_ref_generation(void *generation)
{
    (void)generation_ref(generation);
}

void dialogue_unref_generation(void *generation)
{
    generation_unref(generation);
}

struct dialogue *dialogue_new(const struct dialogue_options *o)
{
    struct dialogue *s = mem_zalloc(sizeof(*s));
    const struct server_conf *conf = &o->generation->conf;
    bool milter = o->listener->protocol == LISTENER_MILTER; /* in `tern test`, which speaks SMTP to every policy */
    struct engine_session_options eo = {
        .policy = o->policy, .generation_ref = dialogue_ref_generation,
        .generation_unref = dialogue_unref_generation, .generation = o->generation,
        .soft_bounce = conf->soft_bounce, .split = conf->split || milter, .groups_max = conf->limits.groups,
        .others_deliver = milter,
        .facts = o->facts, .early = early, .early_arg = s,
        .auth = o->listener->auth != LISTENER_AUTH_OFF ? &o->listener->auth_options : NULL,
    };
    bool lmtp = o->listener->protocol == LISTENER_LMTP;
    struct smtp_session_options so = { .hostname = conf->hostname.ptr, .limits = &conf->smtp_limits,
                                       .lmtp = lmtp, .prdr = !conf->split,
                                       .tls = (enum smtp_tls)o->listener->tls,
                                       .withhold = o->listener->withheld,
                                       .xclient = cidrs_match(o->listener->xclient, &o->facts->client),
                                       .xforward = cidrs_match(o->listener->xforward, &o->facts->client),
                                       .etrn = !cidrs_are_none(o->listener->etrn),
                                       .may_etrn = cidrs_match(o->listener->etrn, &o->facts->client),
                                       .no_vrfy = o->listener->vrfy == LISTENER_VRFY_REFUSE,
                                       .asks_vrfy = o->listener->vrfy == LISTENER_VRFY_POLICY,
                                       .asks_expn = o->listener->expn == LISTENER_EXPN_POLICY,
                                       .auth_required = o->listener->auth == LISTENER_AUTH_REQUIRED,
                                       .ops = &smtp_ops, .owner = s };

    o->facts->lmtp = lmtp;
    s->ops = o->ops;
    s->owner = o->owner;
    s->generation = generation_ref(o->generation);
    s->listener = o->listener;
    s->engine = engine_session_new(o->engine, &eo);
    s->smtp = smtp_session_new(&so);
    return s;
}

void dialogue_start(struct dialogue *s)
{
    smtp_session_start(s->smtp);
}

void dialogue_input(struct dialogue *s, struct slice octets)
{
    if (!s->ending)
        smtp_session_input(s->smtp, octets);
}

bool dialogue_take_secret(struct dialogue *s)
{
    return smtp_session_take_secret(s->smtp);
}

void dialogue_secured(struct dialogue *s, const struct engine_tls *tls,
                      int (*binding)(void *arg, struct slice name, unsigned char *out), void *arg)
{
    if (s->ending)
        return;
    if (binding != NULL)
        engine_auth_set_binding(s->engine, binding, arg);
    forget_refused_mail(s);
    forget_forwarded(s);
    engine_tls(s->engine, tls);
    s->login = false;
    smtp_session_secured(s->smtp);
}

bool dialogue_waiting(const struct dialogue *s)
{
    return smtp_session_waiting(s->smtp);
}

bool dialogue_stalled(const struct dialogue *s)
{
    return !s->ending && smtp_session_stalled(s->smtp);
}

void dialogue_go_on(struct dialogue *s)
{
    if (!s->ending)
        smtp_session_go_on(s->smtp);
}

void dialogue_breathed(struct dialogue *s)
{
    if (s->ending)
        return;
    s->ops->gather(s->owner);
    answer_code(s, 0, "", "");
    s->ops->resumed(s->owner);
}

const char *dialogue_id(const struct dialogue *s)
{
    const struct txn_facts *t = engine_txn(s->engine);

    return t != NULL ? t->id.ptr : engine_session_facts(s->engine)->id.ptr;
}

struct slice dialogue_client(const struct dialogue *s)
{
    return slice_of(engine_session_facts(s->engine)->client_text);
}

bool dialogue_in_transaction(const struct dialogue *s)
{
    return smtp_session_in_transaction(s->smtp);
}

bool dialogue_in_chunks(const struct dialogue *s)
{
    return smtp_session_in_chunks(s->smtp);
}

uint64_t dialogue_mail_octets(const struct dialogue *s)
{
    return smtp_session_mail_octets(s->smtp);
}

void dialogue_end(struct dialogue *s, unsigned code, const char *enhanced, const char *text)
{
    if (!s->ending)
        smtp_session_end(s->smtp, code, enhanced, text);
}

void dialogue_stop(struct dialogue *s)
{
    s->ending = true;
}

void dialogue_free(struct dialogue *s)
{
    if (s == NULL)
        return;
    s->ending = true;
    log_auth_left(s);
    engine_session_free(s->engine);
    smtp_session_free(s->smtp);
    body_unref(s->body);
    forget_forwarded(s);
    generation_unref(s->generation);
    free(s);
}
