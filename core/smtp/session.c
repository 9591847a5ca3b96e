/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - octets into lines, lines to verbs, answers to the verb that asked.
 *
 * One loop reads while no question is open. An answer given inside the question only records
 * what follows from it and returns to that loop, so 1000 pipelined commands are 1000 rounds and not
 * 1000 stack frames; an answer given later starts the loop again on the octets that were held.
 *
 * Memory: nothing is held but a partial command line, or what came behind an open question.
 * Mail data goes through without being kept.
 *
 * Not here: time-outs (the owner arms them by expect()), policy, the handshake of TLS.
 */
#include "smtp/private.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

typedef void (*command_fn)(struct smtp_session *s, const struct smtp_command *c);
typedef void (*answered_fn)(struct smtp_session *s, const struct smtp_answer *answer);

/* A hole is a verb that we know and do not implement: 502. */
static const command_fn commands[SMTP_VERB_COUNT] = {
    [SMTP_VERB_EHLO] = smtp_cmd_helo, [SMTP_VERB_HELO] = smtp_cmd_helo,
    [SMTP_VERB_LHLO] = smtp_cmd_helo,
    [SMTP_VERB_MAIL] = smtp_cmd_mail, [SMTP_VERB_RCPT] = smtp_cmd_rcpt,
    [SMTP_VERB_DATA] = smtp_cmd_data, [SMTP_VERB_RSET] = smtp_cmd_rset,
    [SMTP_VERB_NOOP] = smtp_cmd_noop, [SMTP_VERB_QUIT] = smtp_cmd_quit,
    [SMTP_VERB_STARTTLS] = smtp_cmd_starttls,
    [SMTP_VERB_BDAT] = smtp_cmd_bdat, [SMTP_VERB_VRFY] = smtp_cmd_vrfy, [SMTP_VERB_HELP] = smtp_cmd_help,
    [SMTP_VERB_ETRN] = smtp_cmd_etrn,           [SMTP_VERB_EXPN] = smtp_cmd_vrfy,
    [SMTP_VERB_XCLIENT] = smtp_cmd_xclient, [SMTP_VERB_XFORWARD] = smtp_cmd_xforward,
    [SMTP_VERB_AUTH] = smtp_cmd_auth,
};

static void pause_is_over(struct smtp_session *s, const struct smtp_answer *answer)
{
    (void)s;
    (void)answer;
}

static const answered_fn answered[SMTP_QUESTION_COUNT] = {
    [SMTP_QUESTION_CONNECT] = smtp_connect_answered,
    [SMTP_QUESTION_HELO] = smtp_helo_answered,
    [SMTP_QUESTION_MAIL] = smtp_mail_answered,
    [SMTP_QUESTION_RCPT] = smtp_rcpt_answered,
    [SMTP_QUESTION_DATA] = smtp_data_answered,
    [SMTP_QUESTION_MESSAGE] = smtp_message_answered,
    [SMTP_QUESTION_PAUSE] = pause_is_over,
    [SMTP_QUESTION_XCLIENT] = smtp_xclient_answered,
    [SMTP_QUESTION_AUTH] = smtp_auth_answered,
    [SMTP_QUESTION_VRFY] = smtp_vrfy_answered,
};

/* ---- Doors -------------------------------------------------------------- */

void smtp_session_move(struct smtp_session *s, enum smtp_state next)
{
    if (s->state == SMTP_STATE_CLOSING)
        return; /* ended or freed inside of an op: there is no way back */
    assert(next > SMTP_STATE_CONNECTED && next < SMTP_STATE_COUNT);
    assert(next != SMTP_STATE_DATA || s->state == SMTP_STATE_RCPT); /* no DATA without RCPT */
    assert(next != SMTP_STATE_BDAT || s->state == SMTP_STATE_RCPT);
    assert(next != SMTP_STATE_MAIL || s->state == SMTP_STATE_READY);
    assert(next != SMTP_STATE_AUTH || s->state == SMTP_STATE_READY || s->state == SMTP_STATE_AUTH);
    s->state = next;
}

void smtp_session_send(struct smtp_session *s, struct slice octets)
{
    if (s->state != SMTP_STATE_CLOSING && s->state != SMTP_STATE_TLS) /* in the midst of a handshake: a silent end */
        s->ops->send(s->owner, octets);
}

void smtp_session_say(struct smtp_session *s, unsigned code, const char *enhanced,
                      struct slice text)
{
    CLEANUP_BUF struct buf line = BUF_INIT;

    if (s->state == SMTP_STATE_CLOSING)
        return;
    /* One reply per command: 421 stands in for the refusal that goes past the limit. The
     * verdict on a whole message is too dear to be replaced; the next refusal is. */
    if (code / 100 == 5 && s->error_count >= s->limits->errors && !(s->mail != NULL && s->mail->intake.whole)) {
        smtp_session_reply(s, SMTP_REPLY_TOO_MANY_ERRORS);
        return;
    }
    if (code / 100 == 5) {
        s->error_count++;
        s->erred = true;
    }
    if ((s->withheld & SMTP_EXT_ENHANCED) != 0)
        enhanced = "";
    smtp_reply_print(&line, code, enhanced, text, s->smtputf8);
    smtp_session_send(s, buf_slice(&line));
    if (code == 421)
        smtp_session_close(s);
}

void smtp_session_reply(struct smtp_session *s, enum smtp_reply_id id)
{
    const struct smtp_reply *r = smtp_reply_get(id);

    smtp_session_say(s, r->code, r->enhanced, slice_cstr(r->text));
}

const char *smtp_answer_enhanced(const struct smtp_answer *answer)
{
    static const char *const general[6] = { [2] = "2.0.0", [4] = "4.0.0", [5] = "5.0.0" };

    if (answer->enhanced != NULL && answer->enhanced[0] != '\0')
        return answer->enhanced;
    return general[answer->code / 100];
}

bool smtp_answer_is_refusal(const struct smtp_answer *answer)
{
    unsigned class = answer->code / 100;

    assert(answer->code == 0 || class == 2 || class == 4 || class == 5);
    return class >= 4;
}

void smtp_session_refuse(struct smtp_session *s, const struct smtp_answer *answer)
{
    assert(smtp_answer_is_refusal(answer));
    smtp_session_say(s, answer->code, smtp_answer_enhanced(answer), answer->text);
}

void smtp_session_confirm(struct smtp_session *s, const struct smtp_answer *answer,
                          enum smtp_reply_id id)
{
    if (answer->code != 0 && answer->text.len > 0)
        smtp_session_say(s, answer->code, smtp_answer_enhanced(answer), answer->text);
    else
        smtp_session_reply(s, id);
}

void smtp_session_drop_transaction(struct smtp_session *s)
{
    if (!smtp_session_in_transaction(s))
        return;
    smtp_session_move(s, SMTP_STATE_READY);
    s->smtputf8 = s->each = s->binary = false;
    s->ops->on_abort(s->owner);
}

void smtp_session_close(struct smtp_session *s)
{
    if (s->state == SMTP_STATE_CLOSING)
        return;
    smtp_session_drop_transaction(s);
    if (s->state == SMTP_STATE_CLOSING) /* on_abort ended the session */
        return;
    smtp_session_move(s, SMTP_STATE_CLOSING);
    s->question = SMTP_QUESTION_NONE;
    s->ops->close(s->owner);
}

void smtp_session_ask(struct smtp_session *s, enum smtp_question question)
{
    assert(s->question == SMTP_QUESTION_NONE && question != SMTP_QUESTION_NONE);
    s->question = question;
}

/* ---- Commands ----------------------------------------------------------- */

enum smtp_reply_id smtp_session_out_of_order(const struct smtp_session *s, enum smtp_verb verb)
{
    if (s->state == SMTP_STATE_TURNED_AWAY)
        return SMTP_REPLY_TURNED_AWAY;
    if (s->state == SMTP_STATE_GREETED)
        return s->lmtp ? SMTP_REPLY_NEED_LHLO : SMTP_REPLY_NEED_HELO;
    if (verb == SMTP_VERB_MAIL)
        return SMTP_REPLY_NESTED_MAIL;
    if (s->state == SMTP_STATE_READY)
        return SMTP_REPLY_NEED_MAIL;
    if (s->state == SMTP_STATE_MAIL && (verb == SMTP_VERB_DATA || verb == SMTP_VERB_BDAT))
        return s->lmtp ? SMTP_REPLY_NEED_RCPT_LMTP : SMTP_REPLY_NEED_RCPT;
    return SMTP_REPLY_BAD_SEQUENCE;
}

static enum smtp_reply_id bad_arg(enum smtp_verb verb)
{
    switch (verb) {
    case SMTP_VERB_EHLO:
    case SMTP_VERB_HELO:
    case SMTP_VERB_LHLO: return SMTP_REPLY_BAD_HELO;
    case SMTP_VERB_MAIL: return SMTP_REPLY_MAIL_SYNTAX;
    case SMTP_VERB_RCPT: return SMTP_REPLY_RCPT_SYNTAX;
    case SMTP_VERB_AUTH: return SMTP_REPLY_AUTH_SYNTAX;
    default: return SMTP_REPLY_BAD_ARG;
    }
}

/* RFC 2033 4.1: LMTP knows neither HELO nor EHLO, and SMTP no LHLO. */
static bool is_foreign(const struct smtp_session *s, enum smtp_verb verb)
{
    if (verb == SMTP_VERB_LHLO)
        return !s->lmtp;
    return s->lmtp && (verb == SMTP_VERB_EHLO || verb == SMTP_VERB_HELO);
}

/* RFC 4954 6, 530: whatever does something for the client. */
static bool needs_login(enum smtp_verb verb)
{
    return verb == SMTP_VERB_MAIL || verb == SMTP_VERB_VRFY || verb == SMTP_VERB_EXPN || verb == SMTP_VERB_ETRN;
}

/* A verb that we do not know how to do, or not in this session: 502 in any state. */
static bool is_implemented(const struct smtp_session *s, enum smtp_verb verb)
{
    return commands[verb] != NULL && (verb != SMTP_VERB_STARTTLS || s->tls != SMTP_TLS_OFF) &&
           (verb != SMTP_VERB_EXPN || s->asks_expn);
}

static void run_line(struct smtp_session *s, struct slice line)
{
    struct smtp_command c = { .verb = SMTP_VERB_COUNT };
    enum smtp_parse parse = smtp_command_parse(line, &c);
    bool known = parse == SMTP_PARSE_OK || parse == SMTP_PARSE_BAD_ARG;

    s->awaits_last &= c.verb == SMTP_VERB_BDAT;
    /* An accepted MAIL, RCPT or DATA is taken back out of the count when it is answered. */
    if (++s->command_count > s->limits->commands && c.verb != SMTP_VERB_QUIT)
        smtp_session_reply(s, SMTP_REPLY_TOO_MANY_COMMANDS);
    else if (parse == SMTP_PARSE_BAD_OCTET)
        smtp_session_reply(s, SMTP_REPLY_BAD_OCTET);
    else if (!known)
        smtp_session_reply(s, SMTP_REPLY_UNKNOWN);
    else if (is_foreign(s, c.verb))
        smtp_session_reply(s, s->lmtp ? SMTP_REPLY_NOT_LMTP : SMTP_REPLY_UNKNOWN);
    else if (c.verb == SMTP_VERB_BDAT)
        smtp_cmd_bdat(s, &c); /* whatever is wrong with it, its octets are read */
    else if (!is_implemented(s, c.verb))
        smtp_session_reply(s, SMTP_REPLY_NOT_IMPLEMENTED);
    else if (smtp_needs_tls(s, c.verb))
        smtp_session_reply(s, SMTP_REPLY_NEED_TLS);
    else if (smtp_state_next(s->state, c.verb) == SMTP_STATE_REFUSED)
        smtp_session_reply(s, smtp_session_out_of_order(s, c.verb));
    else if (parse == SMTP_PARSE_BAD_ARG)
        smtp_session_reply(s, bad_arg(c.verb));
    else if (s->auth_required && !s->authenticated && needs_login(c.verb))
        smtp_session_reply(s, SMTP_REPLY_AUTH_NEEDED);
    else
        commands[c.verb](s, &c);
}

/* ---- Lines -------------------------------------------------------------- */

/* Octets of the line with its CRLF, 0 if there is none. Nothing ends before `from`. */
static size_t find_line(struct slice in, size_t from)
{
    while (from < in.len) {
        const char *lf = memchr(in.ptr + from, '\n', in.len - from);
        if (lf == NULL)
            return 0;
        from = (size_t)(lf - in.ptr) + 1;
        if (from >= 2 && lf[-1] == '\r')
            return from;
    }
    return 0;
}

static void skip_line(struct smtp_session *s, struct slice *in)
{
    size_t octets = s->line_skipped_cr && in->ptr[0] == '\n' ? 1 : find_line(*in, 0);

    if (octets == 0) {
        s->line_skipped_cr = in->ptr[in->len - 1] == '\r';
        *in = slice_from(*in, in->len);
        return;
    }
    s->line_skipped = false;
    s->progress = true;
    *in = slice_from(*in, octets);
    s->command_count++;
    if (s->state == SMTP_STATE_AUTH)
        smtp_auth_long(s);
    else
        smtp_session_reply(s, SMTP_REPLY_LONG_COMMAND);
}

/* RFC 4954 4: what belongs to AUTH may be longer than other commands. With the CRLF. */
static size_t line_limit(const struct smtp_session *s, struct slice in)
{
    size_t limit = s->limits->command_line_octets;
    bool auth = s->state == SMTP_STATE_AUTH || slice_starts_nocase(in, SLICE("AUTH "));

    return auth && limit < SMTP_AUTH_LINE_OCTETS_MAX + 2 ? SMTP_AUTH_LINE_OCTETS_MAX + 2 : limit;
}

/* False if more octets are needed. */
static bool read_line(struct smtp_session *s, struct slice *in)
{
    if (s->line_skipped) {
        skip_line(s, in);
        return true;
    }
    size_t octets = find_line(*in, s->line_scanned);
    size_t limit = line_limit(s, *in);
    if (octets == 0 && in->len < limit) {
        s->line_scanned = in->len;
        return false;
    }
    s->line_scanned = 0;
    if (octets == 0 || octets > limit) {
        s->line_skipped = true;
        s->line_skipped_cr = false;
        skip_line(s, in);
        return true;
    }
    struct slice line = slice_head(*in, octets - 2);
    *in = slice_from(*in, octets);
    s->progress = true;
    s->behind = in->len;
    if (s->state == SMTP_STATE_AUTH)
        smtp_auth_line(s, line);
    else
        run_line(s, line);
    return true;
}

/*
 * Who errs and errs is kept waiting, longer each time, and no thread waits with him. The reply has
 * been said: what waits is his next command, and the pipelined ones behind it.
 */
static void pause_after_error(struct smtp_session *s)
{
    bool erred = s->erred;

    s->erred = false;
    if (!erred || s->question != SMTP_QUESTION_NONE || s->state == SMTP_STATE_CLOSING || s->ops->pause == NULL)
        return;
    if (s->limits->error_delay_ms == 0 || s->error_count <= s->limits->errors_free)
        return;
    uint32_t times = s->error_count - s->limits->errors_free;
    smtp_session_ask(s, SMTP_QUESTION_PAUSE);
    s->ops->pause(s->owner, s->limits->error_delay_ms * (times < SMTP_PAUSES_MAX ? times : SMTP_PAUSES_MAX));
}

static bool may_read(struct smtp_session *s)
{
    if (s->question != SMTP_QUESTION_NONE || s->state == SMTP_STATE_CONNECTED ||
        s->state == SMTP_STATE_TLS || s->state == SMTP_STATE_CLOSING)
        return false;
    s->stalled = s->ops->full != NULL && s->ops->full(s->owner);
    return !s->stalled;
}

static void run(struct smtp_session *s, struct slice *in)
{
    bool more = true;

    assert(!s->running);
    s->running = true;
    s->stalled = false;
    while (more && in->len > 0 && may_read(s)) {
        if (smtp_chunk_is_open(s))
            smtp_chunk_read(s, in);
        else if (s->state == SMTP_STATE_DATA)
            smtp_intake_read(s, in);
        else
            more = read_line(s, in);
        pause_after_error(s);
    }
    s->running = false;
    if (s->state == SMTP_STATE_CLOSING)
        *in = slice_from(*in, in->len);
}

/* ---- Octets held --------------------------------------------------------- */

static void run_held(struct smtp_session *s)
{
    struct slice in = slice_from(buf_slice(&s->held), s->held_used);

    run(s, &in);
    s->held_used = s->held.len - in.len;
    if (s->held_used <= s->held.len / 2 && in.len > 0)
        return;                 /* a move each time would cost the square */
    struct buf rest = BUF_INIT; /* a new one: a partial line is not to keep 128 KB */
    if (in.len > 0)
        buf_add(&rest, in);
    if (s->secret)
        buf_wipe(&s->held);
    buf_free(&s->held);
    s->held = rest;
    s->held_used = 0;
}

static void enter(struct smtp_session *s)
{
    s->depth++;
}

static enum smtp_phase phase_now(const struct smtp_session *s)
{
    if (s->question != SMTP_QUESTION_NONE)
        return SMTP_PHASE_ANSWER;
    if (smtp_chunk_is_open(s))
        return SMTP_PHASE_DATA_BLOCK;
    if (s->state == SMTP_STATE_TLS)
        return SMTP_PHASE_TLS;
    if (s->state != SMTP_STATE_DATA) {
        bool begun = s->line_skipped || s->held.len > s->held_used;
        return begun && !s->stalled ? SMTP_PHASE_LINE : SMTP_PHASE_COMMAND;
    }
    return s->mail->intake.begun ? SMTP_PHASE_DATA_BLOCK : SMTP_PHASE_DATA_START;
}

void smtp_mail_need(struct smtp_session *s)
{
    if (s->mail != NULL)
        return;
    s->mail = mem_alloc(sizeof(*s->mail));
    *s->mail = (struct smtp_mail){ .intake = { .hops = SMTP_HOPS_INIT } };
}

static void free_mail(struct smtp_session *s)
{
    buf_free(&s->mail->chunk.text);
    free(s->mail);
    s->mail = NULL;
}

static bool mail_is_over(const struct smtp_session *s)
{
    return s->state != SMTP_STATE_DATA && s->state != SMTP_STATE_BDAT && !s->mail->chunk.open;
}

/* At the end of the outermost call: tell what is awaited, and free if that was asked for. */
static void leave(struct smtp_session *s)
{
    if (s->depth == 1 && s->mail != NULL && mail_is_over(s))
        free_mail(s);
    if (s->depth == 1 && s->state > SMTP_STATE_CONNECTED && s->state != SMTP_STATE_CLOSING) {
        enum smtp_phase phase = phase_now(s);
        bool anew = s->progress && phase != SMTP_PHASE_ANSWER;
        bool changed = phase != s->phase;
        s->phase = phase;
        s->progress = false;
        if (changed || anew)
            s->ops->expect(s->owner, phase);
    }
    if (--s->depth == 0 && s->doomed)
        smtp_session_free(s);
}

/* ---- The contract -------------------------------------------------------- */

struct smtp_session *smtp_session_new(const struct smtp_session_options *options)
{
    struct smtp_session *s = mem_zalloc(sizeof(*s));

    s->hostname = options->hostname;
    s->ops = options->ops;
    s->owner = options->owner;
    s->limits = options->limits;
    s->auth_required = options->auth_required;
    s->lmtp = options->lmtp;
    s->prdr = options->prdr && !options->lmtp;
    s->xclient = options->xclient;
    s->etrn = options->etrn;
    s->may_etrn = options->may_etrn;
    s->no_vrfy = options->no_vrfy;
    s->asks_vrfy = options->asks_vrfy;
    s->asks_expn = options->asks_expn;
    s->xforward = options->xforward;
    s->never = options->withhold;
    s->tls = options->tls;
    s->state = SMTP_STATE_CONNECTED;
    s->phase = SMTP_PHASE_ANSWER; /* on_connect is the first thing awaited */
    arena_init(&s->memory);
    return s;
}

void smtp_session_free(struct smtp_session *s)
{
    if (s == NULL)
        return;
    if (s->depth > 0) { /* asked for by an op that we called: not under our own feet */
        s->doomed = true;
        s->question = SMTP_QUESTION_NONE;
        s->state = SMTP_STATE_CLOSING;
        return;
    }
    buf_wipe(&s->held); /* half an answer to a challenge may stand in it */
    if (s->mail != NULL)
        free_mail(s);
    arena_fini(&s->memory);
    free(s);
}

void smtp_session_start(struct smtp_session *s)
{
    assert(s->state == SMTP_STATE_CONNECTED && s->question == SMTP_QUESTION_NONE);
    enter(s);
    smtp_session_ask(s, SMTP_QUESTION_CONNECT);
    s->ops->on_connect(s->owner);
    run_held(s);
    leave(s);
}

void smtp_session_input(struct smtp_session *s, struct slice octets)
{
    if (s->state == SMTP_STATE_CLOSING || octets.len == 0)
        return;
    assert(s->state != SMTP_STATE_TLS);
    enter(s);
    if (s->state == SMTP_STATE_AUTH && s->held.len == 0) /* at once: growing leaves copies behind */
        (void)buf_reserve(&s->held, SMTP_AUTH_LINE_OCTETS_MAX + 2);
    if (s->held.len > 0) {
        buf_add(&s->held, octets);
        run_held(s);
    } else {
        run(s, &octets);
        if (octets.len > 0)
            buf_add(&s->held, octets);
    }
    if (s->held.len - s->held_used > SMTP_HELD_OCTETS_MAX) {
        s->question = SMTP_QUESTION_NONE;
        smtp_session_reply(s, SMTP_REPLY_TOO_MUCH_INPUT);
    }
    leave(s);
}

void smtp_session_answer(struct smtp_session *s, const struct smtp_answer *answer)
{
    enum smtp_question question = s->question;

    if (s->state == SMTP_STATE_CLOSING)
        return; /* ended while the owner was still thinking */
    assert(question != SMTP_QUESTION_NONE);
    enter(s);
    s->question = SMTP_QUESTION_NONE;
    answered[question](s, answer);
    arena_fini(&s->memory);
    pause_after_error(s);
    if (s->depth == 1)
        run_held(s);
    leave(s);
}

bool smtp_session_take_secret(struct smtp_session *s)
{
    bool secret = s->secret;

    s->secret = false;
    return secret;
}

void smtp_session_set_authenticated(struct smtp_session *s, bool authenticated)
{
    s->authenticated = authenticated;
}

bool smtp_session_waiting(const struct smtp_session *s)
{
    return s->question != SMTP_QUESTION_NONE;
}

bool smtp_session_stalled(const struct smtp_session *s)
{
    return s->stalled && s->question == SMTP_QUESTION_NONE && s->state != SMTP_STATE_CLOSING;
}

void smtp_session_go_on(struct smtp_session *s)
{
    if (!smtp_session_stalled(s))
        return;
    enter(s);
    run_held(s);
    leave(s);
}

void smtp_session_end(struct smtp_session *s, unsigned code, const char *enhanced, const char *text)
{
    enter(s);
    s->question = SMTP_QUESTION_NONE;
    smtp_session_say(s, code, enhanced != NULL ? enhanced : "", slice_cstr(text));
    smtp_session_close(s);
    leave(s);
}

bool smtp_session_in_transaction(const struct smtp_session *s)
{
    return s->state == SMTP_STATE_MAIL || s->state == SMTP_STATE_RCPT ||
           s->state == SMTP_STATE_DATA || s->state == SMTP_STATE_BDAT;
}

bool smtp_session_in_chunks(const struct smtp_session *s)
{
    return s->state == SMTP_STATE_BDAT;
}

uint64_t smtp_session_mail_octets(const struct smtp_session *s)
{
    return s->mail_octets;
}

const char *smtp_session_state_name(const struct smtp_session *s)
{
    return smtp_state_name(s->state);
}

/* ---- The banner ---------------------------------------------------------- */

static void greet(struct smtp_session *s)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    buf_printf(&text, "%s %s Tern", s->hostname, s->lmtp ? "LMTP" : "ESMTP");
    s->greeted = true;
    smtp_session_move(s, SMTP_STATE_GREETED);
    smtp_session_say(s, 220, "", buf_slice(&text));
}

void smtp_session_secured(struct smtp_session *s)
{
    if (s->state == SMTP_STATE_CLOSING)
        return;
    assert(s->state == SMTP_STATE_TLS && s->held.len == s->held_used);
    enter(s);
    s->secured = true;
    s->withheld = s->withholding = 0;
    s->esmtp = s->auth_offered = s->authenticated = false;
    s->progress = true;
    if (s->greeted)
        smtp_session_move(s, SMTP_STATE_GREETED);
    else
        greet(s);
    leave(s);
}

static void begin_implicit_tls(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (smtp_answer_is_refusal(answer) || !s->ops->tls_ready(s->owner)) {
        smtp_session_close(s); /* no client here understands words in the clear */
        return;
    }
    smtp_session_move(s, SMTP_STATE_TLS);
    s->ops->begin_tls(s->owner);
}

/* RFC 5321 3.1 and 4.3.2 know two refusals here: 554, then QUIT is awaited; and 421. */
static void turn_away(struct smtp_session *s, const struct smtp_answer *answer)
{
    struct smtp_answer refusal = *answer;

    refusal.code = answer->code / 100 == 4 ? 421 : 554;
    smtp_session_refuse(s, &refusal);
    if (refusal.code == 554)
        smtp_session_move(s, SMTP_STATE_TURNED_AWAY);
}

void smtp_connect_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (s->tls == SMTP_TLS_IMPLICIT && !s->secured)
        begin_implicit_tls(s, answer);
    else if (smtp_answer_is_refusal(answer))
        turn_away(s, answer);
    else
        greet(s);
}

void smtp_session_restart(struct smtp_session *s)
{
    assert(!smtp_session_in_transaction(s));
    s->withheld = s->withholding = 0;
    s->esmtp = s->auth_offered = s->authenticated = false;
    smtp_session_move(s, SMTP_STATE_GREETED);
}

void smtp_xclient_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (smtp_answer_is_refusal(answer))
        turn_away(s, answer);
    else
        greet(s);
}
