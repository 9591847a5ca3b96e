/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_auth.c - hook auth: what the client said, what a step knows of the user, and the exchange
 * that a step leads itself.
 *
 * What stands behind the view is a secret: it lives in memory of its own (struct auth_secret), which
 * is wiped with the last reference, and never goes into record or log.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "module/api.h"
#include "module/chain.h"
#include "sasl/sasl.h"

/* ---- secrets ---- */

struct auth_secret {
    _Atomic unsigned refs;
    size_t octets;
    struct auth_view view;
    char data[];
};

static tern_str put(char **at, struct slice s)
{
    char *to = *at;

    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    to[s.len] = '\0';
    *at += s.len + 1;
    return (tern_str){ to, s.len };
}

struct auth_secret *auth_secret_new(struct slice mechanism, struct slice user,
                                    struct slice password, const struct slice *response)
{
    size_t octets = mechanism.len + user.len + password.len + 4;

    if (response != NULL)
        octets += response->len;
    struct auth_secret *s = mem_zalloc(sizeof(*s) + octets);
    char *at = s->data;

    atomic_init(&s->refs, 1);
    s->octets = octets;
    s->view.mechanism = put(&at, mechanism);
    s->view.user = put(&at, user);
    s->view.password = put(&at, password);
    if (response != NULL)
        s->view.response = put(&at, *response);
    return s;
}

struct auth_secret *auth_secret_ref(struct auth_secret *s)
{
    if (s != NULL)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void auth_secret_unref(struct auth_secret *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1)
        return;
    explicit_bzero(s->data, s->octets);
    free(s);
}

const struct auth_view *auth_secret_view(const struct auth_secret *s)
{
    return &s->view;
}

/* ---- the view ---- */

static const struct auth_view nothing = { { "", 0 }, { "", 0 }, { "", 0 }, { NULL, 0 } };

static const struct auth_view *view_of(const tern_call *call)
{
    return call->view.auth != NULL ? auth_secret_view(call->view.auth) : &nothing;
}

tern_str api_auth_mechanism(const tern_call *call)
{
    return view_of(call)->mechanism;
}

tern_str api_auth_user(const tern_call *call)
{
    return view_of(call)->user;
}

tern_str api_fold_name(tern_call *call, tern_str name)
{
    CLEANUP_BUF struct buf folded = BUF_INIT;

    sasl_name_fold(slice_of(name), &folded);
    return tern_str_dup(&call->arena, buf_slice(&folded));
}

tern_str api_auth_password(const tern_call *call)
{
    return view_of(call)->password;
}

tern_str api_auth_response(const tern_call *call)
{
    return view_of(call)->response;
}

/* ---- the journal ---- */

int api_auth_login(tern_call *call, tern_str user)
{
    struct journal_writer w = call_writer(call);

    return journal_login(&w, slice_of(user));
}

int api_auth_keys(tern_call *call, const struct tern_auth_keys *keys)
{
    struct journal_writer w = call_writer(call);

    return journal_keys(&w, slice_of(view_of(call)->mechanism), keys);
}

/* ---- the exchange ---- */

/* NULL: it may be asked. */
static const char *challenge_fault(const tern_call *call, tern_str challenge)
{
    if (call->point != TERN_HOOK_AUTH || call->hook->auth_form != TERN_AUTH_EXCHANGE)
        return "a challenge is possible at hook auth and in form EXCHANGE only";
    if (call->challenge_op != NULL)
        return "the step sends a second challenge before the first was answered";
    if (challenge.len > AUTH_CHALLENGE_OCTETS_MAX)
        return "the challenge is too long";
    if (call->challenge_count >= AUTH_CHALLENGES_MAX)
        return "the step sends too many challenges";
    return NULL;
}

tern_verdict api_auth_challenge(tern_call *call, tern_str challenge, tern_auth_fn done)
{
    struct journal_writer w = call_writer(call);
    const char *fault = challenge_fault(call, challenge);

    if (fault != NULL) {
        journal_fail(&w, fault);
        return TERN_ERROR;
    }
    if (!call_wants_answers(call))
        return TERN_ERROR;
    struct call_op *op = call_op_new(call, CALL_OP_AUTH);
    if (op == NULL) {
        journal_fail(&w, "the step waits for too much at once");
        return TERN_ERROR;
    }
    op->auth_done = done;
    call->challenge_op = op;
    call->challenge_count++;
    call->challenge = arena_slice(&call->arena, slice_of(challenge));
    if (call->run != NULL) /* from a callback; from the handler it is sent when that has returned */
        run_challenge(call->run);
    return TERN_WAIT;
}
