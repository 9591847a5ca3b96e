/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_auth.c - hook auth and the exchange around it.
 *
 * The core takes the mechanism apart (sasl/) and asks the steps: VERIFY is this the password, LOOKUP
 * what are the keys. A step of form EXCHANGE leads the exchange itself. In a policy with several
 * backends each is asked in turn; one that leads an exchange which the client has already been
 * through is given the same answers again (the rounds), as long as it asks the same.
 *
 * "535" needs certainty: it is said only if every step that serves the mechanism has answered.
 * Not here: how slow the next try gets (engine_auth_fail.c).
 */
#include "module/engine_auth_private.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

#define FORM(name) (1u << TERN_AUTH_##name)

/* ---- which mechanisms there are ---- */

static bool any_serves(const struct engine_session *s, struct slice mechanism, unsigned forms)
{
    const struct chain *chain = &policy_plan(s->scope.policy)->chains[TERN_HOOK_AUTH];
    struct run_auth pick = { forms, mechanism };

    for (unsigned i = 0; i < chain->count; i++)
        if (run_auth_serves(&pick, &chain->entries[i]))
            return true;
    return false;
}

/* Whether this connection may use it at all, whoever serves it. */
static bool is_possible(const struct engine_session *s, struct slice name)
{
    switch (sasl_mechanism_find(name)) {
    case SASL_SCRAM_SHA_256_PLUS:
    case SASL_SCRAM_SHA_1_PLUS: return s->binding != NULL;
    case SASL_CRAM_MD5: return s->auth_options->cram_md5;
    case SASL_EXTERNAL: return s->facts->handshake->client.len > 0; /* of a verified certificate */
    default: return true;
    }
}

static bool needs_tls(const struct engine_session *s, struct slice name)
{
    return sasl_is_plaintext(name) && !s->facts->tls && !s->auth_options->plaintext;
}

#define ALL_FORMS (FORM(VERIFY) | FORM(LOOKUP) | FORM(EXCHANGE))

static void add_mechanism(struct buf *out, struct slice name)
{
    if (out->len > 0)
        buf_add_char(out, ' ');
    buf_add(out, name);
}

/* Mechanisms of EXCHANGE steps that the core does not know, each once. */
static void add_others(const struct engine_session *s, struct buf *out)
{
    const struct chain *chain = &policy_plan(s->scope.policy)->chains[TERN_HOOK_AUTH];

    for (unsigned i = 0; i < chain->count; i++) {
        const char *const *names = chain->entries[i].hook->mechanisms;
        for (; names != NULL && *names != NULL; names++) {
            struct slice name = slice_cstr(*names), rest = buf_slice(out);
            bool there = sasl_mechanism_find(name) != SASL_MECHANISM_COUNT;
            while (!there && rest.len > 0) {
                ptrdiff_t end = slice_find(rest, ' ');
                size_t octets = end >= 0 ? (size_t)end : rest.len;
                there = slice_equal(slice_head(rest, octets), name);
                rest = slice_from(rest, octets + 1);
            }
            if (!there && !needs_tls(s, name) && any_serves(s, name, FORM(EXCHANGE)))
                add_mechanism(out, name);
        }
    }
}

void engine_auth_offer(const struct engine_session *s, struct buf *out)
{
    if (s->auth_options == NULL)
        return;
    for (unsigned m = 0; m < SASL_MECHANISM_COUNT; m++) {
        struct slice name = slice_cstr(sasl_mechanism_name((enum sasl_mechanism)m));
        if (is_possible(s, name) && !needs_tls(s, name) && any_serves(s, name, ALL_FORMS))
            add_mechanism(out, name);
    }
    add_others(s, out);
}

void engine_auth_set_binding(struct engine_session *s,
                             int (*binding)(void *arg, struct slice name, unsigned char *out),
                             void *arg)
{
    s->binding = binding;
    s->binding_arg = arg;
}

/* ---- the object ---- */

/* The session may be gone. */
static void auth_wipe(struct engine_auth *a)
{
    sasl_server_fini(&a->sasl);
    auth_secret_unref(a->secret);
    explicit_bzero(&a->found, sizeof(a->found));
    if (a->lookup != NULL)
        call_unref(a->lookup);
    buf_wipe(&a->initial);
    for (unsigned i = 0; i < AUTH_ROUNDS_MAX; i++) {
        buf_wipe(&a->rounds[i].challenge);
        buf_wipe(&a->rounds[i].response);
    }
    free(a);
}

void auth_free(struct engine_auth *a)
{
    if (a == NULL)
        return;
    run_give_back(a->session);
    auth_derive_give_up(a);
    loop_timer_stop(&a->timer);
    auth_wait_no_more(a);
    a->session->auth = NULL;
    auth_wipe(a);
}

const struct engine_auth_result *engine_auth_failure(const struct engine_session *s)
{
    return s->auth != NULL && s->auth->is_failed ? &s->auth->result : NULL;
}

void engine_auth_cancel(struct engine_session *s)
{
    auth_free(s->auth);
}

struct slice auth_user(const struct engine_auth *a)
{
    return a->login.len > 0 ? slice_of(a->login) : buf_slice(&a->sasl.user);
}

/* The last thing that is done: the owner may free the session. */
void auth_tell(struct engine_auth *a, struct engine_auth_result *result)
{
    struct engine_session *s = a->session;
    engine_auth_done done = a->done;
    void *arg = a->arg;
    bool over = result->decision.verdict != TERN_NEXT;

    result->mechanism = slice_cstr(a->mechanism);
    a->done = NULL;
    if (!session_is_asked(s)) /* else it is the step that leads the exchange */
        run_give_back(s);
    if (!over) {
        done(arg, result);
        return;
    }
    s->auth = NULL; /* what the result points at lives until it was told */
    done(arg, result);
    auth_wipe(a);
}

void auth_challenge(struct engine_auth *a, struct slice challenge)
{
    struct engine_auth_result r = { .decision = { .verdict = TERN_NEXT }, .challenge = challenge };

    auth_tell(a, &r);
}

/* A reply that says nothing of who it is: what was asked for cannot be done. */
static void tell_fault(struct engine_auth *a, unsigned code, const char *enhanced, const char *text)
{
    struct engine_session *s = a->session;
    struct refusal refusal = refusal_make(code >= 500 ? TERN_REJECT : TERN_DEFER, code, enhanced,
                                          slice_cstr(text), false);
    struct engine_auth_result r = {
        .decision = decision_of(&refusal, slice_of(s->facts->id), s->facts->memory),
        .user = auth_user(a),
    };

    auth_tell(a, &r);
}

static void could_not_tell(struct engine_auth *a)
{
    struct refusal refusal = refusal_auth(TERN_DEFER, false);

    auth_fail(a, &refusal);
}

static void wrong(struct engine_auth *a)
{
    struct refusal refusal = refusal_auth(TERN_REJECT, false);

    if (a->left_out)
        refusal = refusal_auth(TERN_DEFER, false);
    else if (a->refused)
        refusal = a->refusal;
    auth_fail(a, &refusal);
}

/* ---- success ---- */

static void accept(struct engine_auth *a)
{
    if (!journal_user_is_valid(auth_user(a))) /* a step accepted somebody without a name */
        could_not_tell(a);
    else
        auth_accept_when_due(a);
}

void auth_accept(struct engine_auth *a)
{
    struct engine_session *s = a->session;
    struct refusal ok = refusal_make(TERN_ACCEPT, 235, "2.7.0", SLICE("Authentication successful"), false);
    struct slice user = auth_user(a);

    if (a->lookup != NULL)
        session_apply_notes(s, a->lookup);
    s->facts = session_facts_own(s->facts);
    s->facts->user = tern_str_dup(&s->facts->memory->arena, user);
    ok.step = a->step;
    struct engine_auth_result r = {
        .decision = decision_of(&ok, SLICE(""), s->facts->memory),
        .user = slice_of(s->facts->user),
    };
    record_reply(session_record(s), 235, "2.7.0", r.decision.text);
    auth_tell(a, &r);
}

/* ---- the steps ---- */

static struct engine_auth *auth_of(struct run *run)
{
    return session_of_run(run)->auth;
}

static void view(struct run *run, struct call_view *ret)
{
    struct engine_auth *a = auth_of(run);

    ret->session = session_facts_ref(a->session->facts);
    ret->auth = auth_secret_ref(a->secret);
    a->replayed = 0;
}

static void apply(struct run *run, tern_call *call)
{
    struct engine_auth *a = auth_of(run);
    struct arena *arena = &a->session->facts->memory->arena;

    a->login = tern_str_dup(arena, slice_of(call->journal.login));
    a->step = call->step;
    if (call->journal.keys == NULL) {
        session_apply_notes(a->session, call);
        return;
    }
    /* Keys prove nothing yet: what else the step wishes waits until the client has proved itself. */
    if (a->lookup != NULL)
        call_unref(a->lookup);
    a->lookup = call_ref(call);
}

static void fail_step(struct engine_auth *a, const char *error)
{
    tern_call *call = a->session->asked->run.call;

    if (call->journal.error == NULL)
        call->journal.error = error;
    call->challenge_op = NULL; /* the client is not asked */
    call_complete(call, TERN_ERROR);
}

/* An answer that the client has given before, or the client's turn. */
static void challenge(struct run *run, struct slice octets)
{
    struct engine_auth *a = auth_of(run);
    bool login = a->known == SASL_LOGIN; /* its prompts are worded as everybody likes */

    if (a->replayed < a->round_count) {
        struct auth_round *round = &a->rounds[a->replayed++];
        if (!login && !slice_equal(buf_slice(&round->challenge), octets))
            fail_step(a, "asks the client something else than the step before it did");
        else
            run_auth_response(run, buf_slice(&round->response));
        return;
    }
    if (a->sasl_leads || a->round_count == AUTH_ROUNDS_MAX) {
        fail_step(a, "asks the client more than the mechanism has");
        return;
    }
    buf_add(&a->rounds[a->round_count].challenge, octets);
    auth_challenge(a, octets);
}

static void take_step(struct engine_auth *a, enum sasl_step step);
static void ask_steps(struct engine_auth *a, unsigned forms);

static void verified(struct engine_auth *a, const struct run *run)
{
    tern_verdict verdict = run->refusal.verdict;

    if (verdict == TERN_REJECT && a->sasl_leads &&
        any_serves(a->session, slice_cstr(a->mechanism), FORM(VERIFY)) && sasl_server_as_given(&a->sasl)) {
        ask_steps(a, FORM(VERIFY));
        return;
    }
    a->refused = verdict == TERN_REJECT;
    a->refusal = run->refusal;
    if (!a->sasl_leads) { /* an exchange: it is over */
        if (verdict == TERN_ACCEPT)
            accept(a);
        else
            wrong(a);
        return;
    }
    take_step(a, sasl_server_verified(&a->sasl, verdict == TERN_ACCEPT));
}

/* The same for the same name as long as the process lives, and looks like a user's. */
static void make_up(const struct engine_auth *a, struct sasl_keys *keys)
{
    unsigned char mac[SASL_HASH_OCTETS_MAX];
    CLEANUP_BUF struct buf name = BUF_INIT;

    buf_printf(&name, "%u ", (unsigned)sasl_scram_hash(a->known));
    buf_add(&name, buf_slice(&a->sasl.user));
    sasl_hmac(SASL_SHA_256, auth_salt_key(), buf_slice(&name), mac);
    memset(keys, 0, sizeof(*keys));
    keys->salt_octets = AUTH_SALT_OCTETS;
    memcpy(keys->salt, mac, AUTH_SALT_OCTETS);
    keys->iterations = a->session->auth_options->iterations;
}

static void copy_keys(const struct engine_auth *a, const struct tern_auth_keys *from,
                      struct sasl_keys *keys)
{
    size_t octets = sasl_hash_octets(sasl_scram_hash(a->known));

    memcpy(keys->salt, from->salt.ptr, from->salt.len);
    keys->salt_octets = from->salt.len;
    keys->iterations = from->iterations;
    memcpy(keys->stored_key, from->stored_key.ptr, octets);
    memcpy(keys->server_key, from->server_key.ptr, octets);
}

/* Salt and count are told, and what `found` says of them, or those of a user that nobody knows. */
void auth_derived(struct engine_auth *a, const struct sasl_keys *made)
{
    struct sasl_keys made_up;
    bool known = a->is_found;

    make_up(a, &made_up);
    if (a->is_password) {
        known = made != NULL;
        if (known)
            a->found = *made;
    }
    a->left_out = a->left_out && !known; /* who knows the user has the last word */
    enum sasl_step step = sasl_server_keys(&a->sasl, known ? &a->found : NULL, &made_up);
    explicit_bzero(&a->found, sizeof(a->found));
    take_step(a, step);
}

/*
 * Keys as stored, or made of the password. Whether the user is there, and how the keys are stored, must not
 * show in the time: each exchange pays for one derivation.
 */
static void looked_up(struct engine_auth *a, const struct run *run)
{
    const struct tern_auth_keys *found = NULL;
    CLEANUP_SECRET struct buf password = BUF_INIT;
    struct sasl_keys made_up;

    if (run->refusal.verdict == TERN_ACCEPT && a->lookup != NULL)
        found = a->lookup->journal.keys;
    if (a->known == SASL_CRAM_MD5) {
        take_step(a, sasl_server_cram(&a->sasl, found != NULL ? slice_of(found->password)
                                                              : slice_make(NULL, 0)));
        return;
    }
    a->is_found = found != NULL && found->password.len == 0;
    if (a->is_found)
        copy_keys(a, found, &a->found);
    if (found != NULL && !a->is_found) {
        (void)buf_reserve(&password, found->password.len);
        a->is_password = sasl_prep(slice_of(found->password), SASL_PASSWORD_OCTETS_MAX, &password);
    }
    make_up(a, &made_up);
    if (!auth_derive(a, a->is_password ? buf_slice(&password) : SLICE("nobody"), &made_up))
        could_not_tell(a);
}

static void done(struct run *run)
{
    struct engine_auth *a = auth_of(run);
    tern_verdict verdict = run->refusal.verdict;

    if (verdict == TERN_DEFER || (verdict == TERN_NEXT && run->uncertain)) {
        struct refusal refusal = run->refusal;
        if (verdict == TERN_NEXT)
            refusal = refusal_auth(TERN_DEFER, false);
        auth_fail(a, &refusal);
    } else if (a->sasl_leads && a->pick.forms == FORM(LOOKUP)) {
        looked_up(a, run);
    } else {
        verified(a, run);
    }
}

static const struct run_ops auth_ops = {
    .view = view, .apply = apply, .challenge = challenge, .done = done
};

/*
 * EXTERNAL: the client is who its certificate says, and asks for no other name than one of those. False:
 * it does.
 */
static bool take_certificate(struct engine_auth *a)
{
    const struct session_facts *f = a->session->facts;
    struct slice user = buf_slice(&a->sasl.user);

    if (user.len == 0) {
        buf_add(&a->sasl.user, slice_of(f->handshake->client));
        return true;
    }
    if (slice_equal_nocase(user, slice_of(f->handshake->client)))
        return true;
    for (const struct note *n = f->handshake->names; n != NULL; n = n->next) {
        struct slice name = slice_of(n->name); /* "dns:...", "email:..." */
        if (slice_equal_nocase(user, slice_from(name, (size_t)(slice_find(name, ':') + 1))))
            return true;
    }
    return false;
}

static void ask_steps(struct engine_auth *a, unsigned forms)
{
    struct engine_session *s = a->session;
    struct slice initial = buf_slice(&a->initial);

    auth_secret_unref(a->secret);
    a->secret = auth_secret_new(slice_cstr(a->mechanism), buf_slice(&a->sasl.user),
                                buf_slice(&a->sasl.password), a->has_initial ? &initial : NULL);
    a->pick = (struct run_auth){ forms, slice_cstr(a->mechanism) };
    struct run *run = &run_borrow(s)->run; /* that of a chain which has just ended may be there still */
    scope_lend(&s->scope, run, policy_plan(s->scope.policy), TERN_HOOK_AUTH, RUN_AUTH);
    run->ops = &auth_ops;
    run->auth = &a->pick;
    run->record = session_record(s);
    run->memory = s->facts->memory;
    run->smtputf8 = false;
    run->soft_bounce = false; /* what fails is counted first: engine_auth_fail.c */
    run_start(run);
}

/* ---- the exchange ---- */

static void take_step(struct engine_auth *a, enum sasl_step step)
{
    switch (step) {
    case SASL_STEP_CHALLENGE:
        if (sasl_server_tells(&a->sasl, SASL_STEP_OK)) /* who hears it need not wait for the 235 */
            accept(a);
        else if (sasl_server_tells(&a->sasl, SASL_STEP_WRONG))
            wrong(a);
        else
            auth_challenge(a, buf_slice(&a->sasl.out));
        break;
    case SASL_STEP_VERIFY:
        if (a->known == SASL_EXTERNAL && !take_certificate(a))
            wrong(a);
        else
            ask_steps(a, FORM(VERIFY) | FORM(EXCHANGE));
        break;
    case SASL_STEP_LOOKUP:
        a->left_out = any_serves(a->session, slice_cstr(a->mechanism), FORM(EXCHANGE));
        ask_steps(a, FORM(LOOKUP));
        break;
    case SASL_STEP_OK: accept(a); break;
    case SASL_STEP_WRONG: wrong(a); break;
    case SASL_STEP_MALFORMED:
        tell_fault(a, 501, "5.5.2", "That is not what the mechanism prescribes");
        break;
    }
}

static int binding(void *arg, struct slice name, unsigned char out[SASL_BINDING_OCTETS_MAX])
{
    struct engine_session *s = arg;

    return s->binding(s->binding_arg, name, out);
}

static void begin_sasl(struct engine_auth *a, const struct slice *initial)
{
    struct engine_session *s = a->session;
    const char *hostname = s->scope.engine->env.hostname;
    struct sasl_server_options o = {
        .mechanism = a->known,
        .hostname = slice_cstr(hostname != NULL ? hostname : "localhost"),
        .binding = s->binding != NULL ? binding : NULL,
        .binding_arg = s,
    };

    if (initial != NULL && a->known == SASL_CRAM_MD5) { /* RFC 4954 4: the server begins */
        tell_fault(a, 501, "5.7.0", "This mechanism takes no initial response");
        return;
    }
    a->sasl_leads = true;
    sasl_server_init(&a->sasl, &o);
    take_step(a, sasl_server_begin(&a->sasl, initial));
}

static struct engine_auth *auth_new(struct engine_session *s, struct slice mechanism)
{
    struct engine_auth *a = mem_zalloc(sizeof(*a));
    size_t octets = mechanism.len < AUTH_MECHANISM_OCTETS_MAX ? mechanism.len
                                                              : AUTH_MECHANISM_OCTETS_MAX;

    a->session = s;
    for (size_t i = 0; i < octets; i++)
        a->mechanism[i] = mechanism.ptr[i] >= 'a' && mechanism.ptr[i] <= 'z'
                              ? (char)(mechanism.ptr[i] - 32)
                              : mechanism.ptr[i];
    a->known = sasl_mechanism_find(slice_cstr(a->mechanism));
    auth_timer_init(a);
    s->auth = a;
    return a;
}

void engine_auth(struct engine_session *s, struct slice mechanism, const struct slice *initial,
                 engine_auth_done done_, void *arg)
{
    struct engine_auth *a = auth_new(s, mechanism);
    struct slice name = slice_cstr(a->mechanism);
    unsigned core = a->known < SASL_MECHANISM_COUNT ? FORM(VERIFY) | FORM(LOOKUP) : 0;

    a->done = done_;
    a->arg = arg;
    if (s->auth_options == NULL || policy_plan(s->scope.policy)->chains[TERN_HOOK_AUTH].count == 0) {
        tell_fault(a, 502, "5.5.1", "Nobody can log in here");
        return;
    }
    if (mechanism.len != name.len || !is_possible(s, name) || !any_serves(s, name, ALL_FORMS)) {
        tell_fault(a, 504, "5.5.4", "Unrecognized authentication type");
        return;
    }
    if (needs_tls(s, name)) {
        tell_fault(a, 538, "5.7.11", "Encryption required for this authentication mechanism");
        return;
    }
    a->has_initial = initial != NULL;
    if (initial != NULL)
        buf_add(&a->initial, *initial);
    if (core != 0 && any_serves(s, name, core))
        begin_sasl(a, initial);
    else
        ask_steps(a, FORM(EXCHANGE));
}

/* What a later step of form EXCHANGE will be given again. */
static struct auth_round *remember(struct engine_auth *a, struct slice response)
{
    struct auth_round *round = &a->rounds[a->round_count];

    if (a->round_count == AUTH_ROUNDS_MAX)
        return NULL;
    a->round_count++;
    (void)buf_reserve(&round->response, response.len);
    buf_add(&round->response, response);
    return round;
}

void engine_auth_response(struct engine_session *s, struct slice response, engine_auth_done done_,
                          void *arg)
{
    struct engine_auth *a = s->auth;

    assert(a != NULL && a->done == NULL);
    a->done = done_;
    a->arg = arg;
    if (a->is_told) {
        auth_end(a);
        return;
    }
    if (!a->sasl_leads) {
        struct auth_round *round = remember(a, response);
        a->replayed = a->round_count;
        run_auth_response(&s->asked->run, buf_slice(&round->response));
        return;
    }
    /* Mechanisms of one message: it does for the initial response that it was not. */
    if (a->known == SASL_LOGIN) {
        (void)remember(a, response);
    } else if (!a->has_initial) {
        a->has_initial = true;
        buf_add(&a->initial, response);
    }
    take_step(a, sasl_server_input(&a->sasl, response));
}
