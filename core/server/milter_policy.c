/* SPDX-License-Identifier: Apache-2.0 */
/*
 * milter_policy.c - the milter protocol and the policy wired into each other: the protocol asks, the engine
 * answers, the MTA delivers. What dialogue.c is for SMTP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "mime/address.h"
#include "module/header_edit.h"
#include "server/dialogue.h"
#include "server/milter.h"
#include "smtp/data.h"
#include "smtp/params.h"

/* What a client's greetings and logins leave behind lives as long as its session. */
#define SESSION_MEMORY_MAX 32768
#define EXTENSIONS                                                                        \
    (SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_SMTPUTF8 | SMTP_EXT_BINARYMIME |         \
     SMTP_EXT_CHUNKING | SMTP_EXT_DSN | SMTP_EXT_AUTH)
#define ADDRESS_OCTETS_MAX 1024

struct milter_policy {
    struct milter_session *milter;
    struct engine *loop_engine;
    struct engine_session *engine; /* NULL: there is no client */
    struct generation *generation;
    const struct listener_conf *listener; /* of the generation */
    const struct policy *policy;
    const struct milter_policy_ops *ops;
    void *owner;
    struct body *body;
    int body_error;
    uint64_t octets;
    uint32_t fields;
    uint64_t header_octets;
    bool header_ended, data_asked, ending;
    /* The connection, or the last greeting, was refused at once: a server that goes on all the same hears it again. */
    unsigned away_code;
    bool refused_at_connect;
    char away_enhanced[12];
    struct buf away_text;
    struct milter_rcpts rcpts; /* those that were taken */
    struct buf rcpt;           /* the one in question */
};

static bool is_refusal(const struct decision *d)
{
    return d->verdict == TERN_REJECT || d->verdict == TERN_DEFER || d->verdict == TERN_CLOSE;
}

static const char *macro(const struct milter_policy *p, enum milter_macro which)
{
    return milter_macro(milter_session_macros(p->milter), which);
}

/* ---- log ---- */

static void log_common(struct log_line *l, const struct milter_policy *p)
{
    const struct txn_facts *t = engine_txn(p->engine);

    log_str(l, "client", slice_of(engine_session_facts(p->engine)->client_text));
    if (t != NULL)
        log_str(l, "from", slice_of(t->sender.address));
    if (t != NULL && macro(p, MILTER_MACRO_i)[0] != '\0')
        log_cstr(l, "mta_id", macro(p, MILTER_MACRO_i));
}

static const char *log_id(const struct milter_policy *p)
{
    const struct txn_facts *t = engine_txn(p->engine);

    return t != NULL ? t->id.ptr : engine_session_facts(p->engine)->id.ptr;
}

static void log_refusal(const struct milter_policy *p, unsigned code, const char *enhanced, struct slice text,
                        struct slice step)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, code >= 500 ? LOG_EV_reject : LOG_EV_defer, log_id(p));
    log_common(&l, p);
    if (step.len > 0)
        log_str(&l, "step", step);
    log_textf(&l, "reply", "%u %s %.*s", code, enhanced, (int)text.len, text.ptr);
    log_end(&l);
}

static void log_taken(const struct milter_policy *p, const struct milter_edits *edits)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, edits->discard ? LOG_EV_discarded : edits->held ? LOG_EV_held : LOG_EV_accepted, log_id(p));
    log_common(&l, p);
    log_uint(&l, "rcpts", p->rcpts.count);
    log_uint(&l, "size", p->octets);
    if (edits->held) /* Postfix does not tell it */
        log_str(&l, "reason", edits->reason);
    log_end(&l);
}

/* ---- answers ---- */

/* The last thing that is done: the next packets may end everything. */
static void answer(struct milter_policy *p, const struct milter_answer *a)
{
    if (a->code >= 400)
        p->ops->count(p->owner, a->code);
    milter_session_answer(p->milter, a);
    p->ops->resumed(p->owner);
}

static void on_decided(void *arg, const struct decision *d)
{
    struct milter_policy *p = arg;
    struct milter_answer a = { .code = 0 };

    if (p->ending)
        return;
    if (is_refusal(d)) {
        log_refusal(p, d->code, d->enhanced, d->text, d->step);
        a = (struct milter_answer){ .code = d->code, .enhanced = d->enhanced, .text = d->text };
    }
    answer(p, &a);
}

static void on_client_decided(void *arg, const struct decision *d)
{
    struct milter_policy *p = arg;

    p->away_code = is_refusal(d) ? d->code : 0;
    buf_clear(&p->away_text);
    if (p->away_code != 0) {
        (void)snprintf(p->away_enhanced, sizeof(p->away_enhanced), "%s", d->enhanced);
        buf_add(&p->away_text, d->text);
    }
    on_decided(arg, d);
}

static void on_connect_decided(void *arg, const struct decision *d)
{
    ((struct milter_policy *)arg)->refused_at_connect = is_refusal(d);
    on_client_decided(arg, d);
}

/* Of the edge itself: the policy was not asked. */
static void refuse(struct milter_policy *p, unsigned code, const char *enhanced, const char *text)
{
    struct milter_answer a = { .code = code, .enhanced = enhanced, .text = slice_cstr(text) };

    log_refusal(p, code, enhanced, a.text, SLICE(""));
    answer(p, &a);
}

static void refuse_again(struct milter_policy *p)
{
    struct milter_answer a = { .code = p->away_code, .enhanced = p->away_enhanced, .text = buf_slice(&p->away_text) };

    answer(p, &a);
}

/* ---- the client ---- */

static tern_address address_of(struct slice text, unsigned port)
{
    tern_address a = { 0 };

    if (slice_starts_nocase(text, SLICE("IPv6:")))
        text = slice_from(text, 5);
    if (!net_address_parse(text, port, &a))
        a = (tern_address){ 0 };
    return a;
}

static tern_address own_address(const struct milter_policy *p)
{
    tern_address a = address_of(slice_cstr(macro(p, MILTER_MACRO_if_addr)), 0);

    return a.family != 0 ? a : address_of(slice_cstr(macro(p, MILTER_MACRO_daemon_addr)), 0);
}

/* "[192.0.2.1]" and "unknown" are what an MTA says of one without a name. */
static bool is_name(struct slice host)
{
    return host.len > 0 && host.len <= 255 && host.ptr[0] != '[' && !slice_equal_nocase(host, SLICE("unknown"));
}

static struct session_facts *new_facts(struct milter_policy *p, const struct milter_connect *c)
{
    struct session_facts *f = session_facts_new();
    struct arena *arena = &f->memory->arena;
    struct relayed_facts *relayed = ARENA_NEW(arena, struct relayed_facts);
    char id[48], text[NET_ADDRESS_TEXT_MAX] = "";

    f->client = address_of(c->family == '4' || c->family == '6' ? c->address : SLICE(""), c->port);
    f->local = own_address(p);
    net_address_print(&f->client, false, text);
    f->client_text = tern_str_dup(arena, slice_cstr(text));
    p->ops->new_session_id(p->owner, id, sizeof(id));
    f->id = tern_str_dup(arena, slice_cstr(id));
    f->listener = (tern_str){ p->listener->name.ptr, p->listener->name.len };
    f->policy = p->listener->policy;
    f->helo = f->user = (tern_str){ "", 0 };
    *relayed = *f->relayed;
    if (is_name(c->host))
        relayed->client_name = tern_str_dup(arena, c->host);
    relayed->client_name_forged = strcmp(macro(p, MILTER_MACRO_client_resolve), "FORGED") == 0;
    f->relayed = relayed;
    return f;
}

static void set_var(struct milter_policy *p, const char *name, enum milter_macro which)
{
    if (macro(p, which)[0] != '\0')
        engine_set_var(p->engine, slice_cstr(name), slice_cstr(macro(p, which)));
}

static void end_client(struct milter_policy *p)
{
    if (p->engine != NULL)
        engine_session_free(p->engine);
    p->engine = NULL;
    p->away_code = 0;
    p->refused_at_connect = false;
    buf_free(&p->away_text);
}

static void op_connect(void *owner, const struct milter_connect *c)
{
    struct milter_policy *p = owner;
    const struct server_conf *conf = &p->generation->conf;
    struct engine_session_options o = {
        .policy = p->policy, .generation_ref = dialogue_ref_generation,
        .generation_unref = dialogue_unref_generation, .generation = p->generation,
        .soft_bounce = conf->soft_bounce, .split = true, .others_deliver = true, .facts = new_facts(p, c),
    };

    end_client(p);
    p->engine = engine_session_new(p->loop_engine, &o);
    set_var(p, "mta_name", MILTER_MACRO_j);
    set_var(p, "mta_version", MILTER_MACRO_v);
    set_var(p, "mta_daemon", MILTER_MACRO_daemon_name);
    if (c->family != 'U' && c->family != 'L' && engine_session_facts(p->engine)->client.family == 0)
        refuse(p, 451, "4.3.0", "The mail server has given no valid address for the client");
    else
        engine_connect(p->engine, on_connect_decided, p);
}

static void op_client_gone(void *owner)
{
    end_client(owner);
}

/* STARTTLS is followed by a new greeting, with which these come. */
static void tell_tls(struct milter_policy *p)
{
    CLEANUP_BUF struct buf subject = BUF_INIT;
    struct engine_tls t = { .version = slice_cstr(macro(p, MILTER_MACRO_tls_version)),
                            .cipher = slice_cstr(macro(p, MILTER_MACRO_cipher)), .sni = SLICE(""),
                            .client = SLICE(""), .fingerprint = SLICE(""), .error = SLICE("") };

    milter_macro_name(milter_session_macros(p->milter), MILTER_MACRO_cert_subject, &subject);
    t.subject = buf_slice(&subject);
    if (t.version.len > 0 && !engine_session_facts(p->engine)->tls)
        engine_tls(p->engine, &t);
}

static bool is_full(const struct milter_policy *p)
{
    return engine_session_facts(p->engine)->memory->arena.octets > SESSION_MEMORY_MAX;
}

static void op_helo(void *owner, struct slice name)
{
    struct milter_policy *p = owner;

    if (is_full(p)) {
        refuse(p, 421, "4.7.0", "Too many different greetings in this session");
        return;
    }
    engine_txn_end(p->engine, SLICE(""), 0); /* of a MAIL that was refused */
    tell_tls(p);
    if (p->refused_at_connect)
        refuse_again(p);
    else
        engine_helo(p->engine, slice_head(name, 255), true, on_client_decided, p);
}

/* ---- the transaction ---- */

/*
 * The MTA has taken the address, and may have taken what the grammar of RFC 5321 does not know: a local part alone
 * is of its own domain, and brackets may be missing. What is still no address then cannot be asked about.
 */
static bool parse(const struct milter_policy *p, struct slice address, unsigned flags, struct arena *arena,
                  struct tern_mailbox *ret)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct slice inner = address, rest;
    const char *j = macro(p, MILTER_MACRO_j);

    if (address.len > ADDRESS_OCTETS_MAX)
        return false;
    if (inner.len >= 2 && inner.ptr[0] == '<' && inner.ptr[inner.len - 1] == '>')
        inner = slice_make(inner.ptr + 1, inner.len - 2);
    buf_add_char(&text, '<');
    buf_add(&text, inner);
    if (inner.len > 0 && memchr(inner.ptr, '@', inner.len) == NULL)
        buf_printf(&text, "@%s", j[0] != '\0' ? j : p->generation->conf.hostname.ptr);
    buf_add_char(&text, '>');
    return address_parse_path(buf_slice(&text), flags, arena, ret, &rest) == 0 && rest.len == 0;
}

/* Each word alone: one that is unknown here is the MTA's business. */
static void take_params(struct slice params, struct txn_facts *t)
{
    struct arena *arena = &t->memory->arena;
    struct slice word;

    while (milter_take_string(&params, &word)) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        struct smtp_mail_options o = { .size = 0 };
        buf_add_char(&text, ' ');
        buf_add(&text, word);
        if (smtp_params_mail(buf_slice(&text), EXTENSIONS, &o) != SMTP_PARAM_OK)
            continue;
        t->declared_octets = o.size != 0 ? o.size : t->declared_octets;
        t->body = o.body != BODY_7BIT ? o.body : t->body;
        t->smtputf8 |= o.smtputf8;
        if (o.envid.len > 0)
            t->envid = tern_str_dup(arena, o.envid);
        if (o.ret.len > 0)
            t->ret = tern_str_dup(arena, o.ret);
    }
}

static void forget_mail(struct milter_policy *p)
{
    body_unref(p->body);
    p->body = NULL;
    p->body_error = 0;
    p->octets = p->header_octets = 0;
    p->fields = 0;
    p->header_ended = p->data_asked = false;
    milter_rcpts_clear(&p->rcpts);
    buf_free(&p->rcpt);
}

static void set_user(struct milter_policy *p)
{
    CLEANUP_BUF struct buf user = BUF_INIT;

    milter_macro_name(milter_session_macros(p->milter), MILTER_MACRO_auth_authen, &user);
    engine_set_user(p->engine, journal_user_is_valid(buf_slice(&user)) ? buf_slice(&user) : SLICE(""));
}

static void op_mail(void *owner, const struct milter_path *path)
{
    struct milter_policy *p = owner;
    struct milter_answer refusal = { 0 };
    char id[32];

    forget_mail(p);
    if (p->away_code != 0) {
        refuse_again(p);
        return;
    }
    if (is_full(p)) {
        refuse(p, 421, "4.7.0", "Too many different logins in this session");
        return;
    }
    if (!p->ops->may_begin(p->owner, &refusal)) {
        answer(p, &refusal);
        return;
    }
    struct txn_facts *t = txn_facts_new();
    struct arena *arena = &t->memory->arena;
    if (!parse(p, path->address, ADDRESS_ALLOW_NULL | ADDRESS_SMTPUTF8, arena, &t->sender)) {
        txn_facts_unref(t);
        refuse(p, 553, "5.1.7", "The sender is no address that the policy could be asked about");
        return;
    }
    t->sender_original = t->sender;
    p->ops->new_id(p->owner, id, sizeof(id));
    t->id = tern_str_dup(arena, slice_cstr(id));
    t->envid = t->ret = t->forwarded = (tern_str){ "", 0 };
    take_params(path->params, t);
    set_user(p);
    engine_mail(p->engine, t, on_decided, p);
}

static void on_rcpt_decided(void *arg, const struct decision *d)
{
    struct milter_policy *p = arg;

    if (!p->ending && !is_refusal(d))
        milter_rcpts_add(&p->rcpts, buf_slice(&p->rcpt));
    on_decided(arg, d);
}

static void take_rcpt_params(struct slice params, struct arena *arena, struct smtp_rcpt_options *ret)
{
    struct slice word;

    while (milter_take_string(&params, &word)) {
        struct smtp_rcpt_options o = { { NULL, 0 }, { NULL, 0 } };
        const char *text = arena_printf(arena, " %.*s", (int)word.len, word.ptr);
        if (smtp_params_rcpt(slice_cstr(text), EXTENSIONS, &o) != SMTP_PARAM_OK)
            continue;
        ret->notify = o.notify.len > 0 ? o.notify : ret->notify;
        ret->orcpt = o.orcpt.len > 0 ? o.orcpt : ret->orcpt;
    }
}

static void op_rcpt(void *owner, const struct milter_path *path)
{
    struct milter_policy *p = owner;
    struct smtp_rcpt_options o = { { NULL, 0 }, { NULL, 0 } };
    struct tern_mailbox rcpt;
    struct arena arena;

    buf_clear(&p->rcpt);
    buf_add(&p->rcpt, slice_head(path->address, ADDRESS_OCTETS_MAX + 1));
    if (p->rcpts.count >= p->generation->conf.limits.recipients) {
        refuse(p, 452, "4.5.3", "Too many recipients");
        return;
    }
    arena_init(&arena);
    if (parse(p, path->address, ADDRESS_ALLOW_NO_DOMAIN | ADDRESS_SMTPUTF8, &arena, &rcpt)) {
        take_rcpt_params(path->params, &arena, &o);
        engine_rcpt(p->engine, &rcpt, o.orcpt, o.notify, on_rcpt_decided, p);
    } else {
        refuse(p, 553, "5.1.3", "The recipient is no address that the policy could be asked about");
    }
    arena_fini(&arena);
}

static void op_data(void *owner)
{
    struct milter_policy *p = owner;

    p->data_asked = true;
    engine_data(p->engine, on_decided, p);
}

/* ---- the mail ---- */

static void store(struct milter_policy *p, struct slice octets)
{
    uint64_t max = p->generation->conf.limits.message_size;

    p->octets += octets.len;
    if (p->body_error < 0 || p->octets > max)
        return; /* it is refused at its end */
    if (p->body == NULL)
        p->body = p->ops->new_body(p->owner);
    p->body_error = body_append(p->body, octets);
}

/*
 * Folded lines come with LF, whatever they had in the mail. One that does not begin with a blank would be another
 * field for whoever reads it next, so that it gets one; a lone CR becomes a blank.
 */
static void add_value(struct buf *out, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i], next = i + 1 < value.len ? value.ptr[i + 1] : '\0';
        if (c == '\n') {
            buf_add_cstr(out, "\r\n");
            if (next != ' ' && next != '\t')
                buf_add_char(out, '\t');
        } else if (c != '\r') {
            buf_add_char(out, c);
        } else if (next != '\n') {
            buf_add_char(out, ' ');
        }
    }
}

static bool header_is_too_big(const struct milter_policy *p)
{
    return p->fields > SMTP_HEADER_FIELDS_MAX || p->header_octets > SMTP_HEADER_OCTETS_MAX;
}

static void op_header(void *owner, struct slice name, struct slice value)
{
    struct milter_policy *p = owner;
    CLEANUP_BUF struct buf field = BUF_INIT;

    buf_add(&field, name);
    buf_add_char(&field, ':');
    if (value.len > 0 && !milter_session_leading_space(p->milter))
        buf_add_char(&field, ' ');
    add_value(&field, value);
    buf_add_cstr(&field, "\r\n");
    p->fields++;
    p->header_octets += field.len;
    if (!header_is_too_big(p))
        store(p, buf_slice(&field));
}

static void end_header(struct milter_policy *p)
{
    if (!p->header_ended)
        store(p, SLICE("\r\n"));
    p->header_ended = true;
}

static void op_body(void *owner, struct slice octets)
{
    struct milter_policy *p = owner;

    end_header(p);
    store(p, octets);
}

static void op_abort(void *owner)
{
    struct milter_policy *p = owner;

    forget_mail(p);
    if (p->engine != NULL)
        engine_txn_end(p->engine, SLICE(""), 0);
}

/* ---- the end of the mail ---- */

/* Ends the transaction; the words of `a` may be the engine's. */
static void conclude(struct milter_policy *p, const struct milter_answer *a, bool taken)
{
    struct milter_answer mine = *a;
    struct arena arena;

    arena_init(&arena);
    mine.enhanced = a->enhanced != NULL ? arena_dup(&arena, slice_cstr(a->enhanced)) : NULL;
    mine.text = arena_slice(&arena, a->text);
    engine_txn_end(p->engine, taken ? slice_of(engine_txn(p->engine)->id) : SLICE(""), taken ? 250 : a->code);
    forget_mail(p);
    answer(p, &mine);
    arena_fini(&arena);
}

static void conclude_with(struct milter_policy *p, unsigned code, const char *enhanced, const char *text)
{
    struct milter_answer a = { .code = code, .enhanced = enhanced, .text = slice_cstr(text) };

    log_refusal(p, code, enhanced, a.text, SLICE(""));
    conclude(p, &a, false);
}

static void take(struct milter_policy *p, const struct engine_message_result *result)
{
    struct milter_edits edits;
    int r = milter_edits_make(p->milter, engine_txn(p->engine), &p->rcpts, result, &edits);

    if (r < 0 || edits.missing != NULL) {
        log_event(LOG_ERROR, LOG_EV_milter, log_id(p), "listener %.*s: %s%s", (int)p->listener->name.len,
                  p->listener->name.ptr, r < 0 ? strerror(-r) : "the mail server does not let a milter ",
                  r < 0 ? "" : edits.missing);
        conclude_with(p, 451, "4.3.0", "What the policy wants cannot be done");
    } else {
        struct milter_answer a = { .discard = edits.discard, .edits = buf_slice(&edits.packets) };
        log_taken(p, &edits);
        p->ops->count(p->owner, 250);
        conclude(p, &a, true);
    }
    buf_free(&edits.packets);
}

static void on_message_decided(void *arg, const struct engine_message_result *result)
{
    struct milter_policy *p = arg;
    const struct decision *d = &result->decision;

    if (p->ending)
        return;
    if (!is_refusal(d)) {
        take(p, result);
        return;
    }
    struct milter_answer a = { .code = d->code, .enhanced = d->enhanced, .text = d->text };
    log_refusal(p, d->code, d->enhanced, d->text, d->step);
    conclude(p, &a, false);
}

static void ask_message(struct milter_policy *p)
{
    if (p->body == NULL)
        p->body = p->ops->new_body(p->owner);
    engine_message(p->engine, p->body, SLICE(""), on_message_decided, p);
}

static void on_late_data(void *arg, const struct decision *d)
{
    struct milter_policy *p = arg;

    if (p->ending)
        return;
    if (!is_refusal(d)) {
        ask_message(p);
        return;
    }
    struct milter_answer a = { .code = d->code, .enhanced = d->enhanced, .text = d->text };
    log_refusal(p, d->code, d->enhanced, d->text, d->step);
    conclude(p, &a, false);
}

static void op_message(void *owner)
{
    struct milter_policy *p = owner;

    end_header(p);
    if (p->rcpts.count == 0) {
        conclude_with(p, 554, "5.5.1", "No valid recipients");
    } else if (header_is_too_big(p)) {
        conclude_with(p, 552, "5.3.4", "Message header too big");
    } else if (p->octets > p->generation->conf.limits.message_size) {
        conclude_with(p, 552, "5.3.4", "Message too big");
    } else if (p->body_error < 0) {
        log_event(LOG_ERROR, LOG_EV_disk, log_id(p), "the mail could not be kept: %s", strerror(-p->body_error));
        conclude_with(p, 452, "4.3.1", "Not enough room, please try again later");
    } else {
        set_var(p, "mta_id", MILTER_MACRO_i);
        if (p->data_asked)
            ask_message(p);
        else /* the MTA knows no such step, or was told to leave it out */
            engine_data(p->engine, on_late_data, p);
    }
}

/* ---- the owner's side ---- */

static void op_send(void *owner, struct slice octets)
{
    struct milter_policy *p = owner;

    p->ops->send(p->owner, octets);
}

static void op_close(void *owner, const char *why)
{
    struct milter_policy *p = owner;

    p->ending = true;
    p->ops->close(p->owner, why);
}

static const struct milter_ops milter_ops = {
    .send = op_send, .close = op_close, .on_connect = op_connect, .on_helo = op_helo, .on_mail = op_mail,
    .on_rcpt = op_rcpt, .on_data = op_data, .on_message = op_message, .on_header = op_header, .on_body = op_body,
    .on_abort = op_abort, .on_client_gone = op_client_gone,
};

struct milter_policy *milter_policy_new(const struct milter_policy_options *o)
{
    struct milter_policy *p = mem_zalloc(sizeof(*p));
    struct milter_session_options so = {
        .ops = &milter_ops, .owner = p,
        .wants_data = policy_may_act_at(o->policy, TERN_HOOK_DATA),
        .wants_message = policy_may_act_at(o->policy, TERN_HOOK_MESSAGE) ||
                         policy_may_act_at(o->policy, TERN_HOOK_QUEUE) ||
                         policy_may_act_at(o->policy, TERN_HOOK_SIGN),
    };

    p->loop_engine = o->engine;
    p->generation = generation_ref(o->generation);
    p->listener = o->listener;
    p->policy = o->policy;
    p->ops = o->ops;
    p->owner = o->owner;
    p->milter = milter_session_new(&so);
    return p;
}

void milter_policy_free(struct milter_policy *p)
{
    if (p == NULL)
        return;
    p->ending = true;
    forget_mail(p);
    end_client(p);
    milter_session_free(p->milter);
    generation_unref(p->generation);
    free(p);
}

struct milter_session *milter_policy_session(struct milter_policy *p)
{
    return p->milter;
}

void milter_policy_stop(struct milter_policy *p)
{
    p->ending = true;
}
