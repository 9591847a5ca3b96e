/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_auth_fail.c - a login that failed: counted for its address and its user, told later each time.
 *
 * Failures are counted in kv, so that other sessions, loops and (with a store below) the next
 * start know of them. Of the two counts the higher one decides: one address that tries many users and one
 * user that is tried from many addresses both get slow. No thread waits, only the session.
 *
 * A login that succeeds waits as long, if its own address has failed before: who guesses would otherwise not
 * wait for the answer, as no answer would be one. Then the address is forgiven.
 *
 * Some mechanisms tell the outcome by a challenge, behind which the client need not stay: it is counted and waited for
 * before that.
 *
 * Who guesses on many connections at once gets no more answers by that: how many of an address, and of a user, wait
 * now is counted, too, and the next one waits behind them, up to AUTH_WAIT_MS_MAX.
 */
#include <assert.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>

#include "module/engine_auth_private.h"

#define KV_ADDRESS "auth.address"
#define KV_USER    "auth.user"
/* How many wait; a crash leaves some, for AUTH_WAITING_EXPIRE_S. */
#define KV_WAITING_ADDRESS "auth.waiting.address"
#define KV_WAITING_USER    "auth.waiting.user"

/* ---- salts of users that do not exist ---- */

static unsigned char salt_key[32];
static pthread_once_t salt_once = PTHREAD_ONCE_INIT;

static void make_salt_key(void)
{
    int r = RAND_bytes(salt_key, sizeof(salt_key));

    assert(r == 1);
}

struct slice auth_salt_key(void)
{
    (void)pthread_once(&salt_once, make_salt_key);
    return slice_make((const char *)salt_key, sizeof(salt_key));
}

/* ---- counting ---- */

static void take_sum(void *arg, const struct tern_kv_answer *answer)
{
    int64_t *most = arg;

    if (answer->status == TERN_FOUND && answer->number > *most)
        *most = answer->number;
}

/* An IPv6 host has a /64 to itself: it counts as one. */
static struct slice address_key(const tern_address *address)
{
    return slice_make((const char *)address->octets, address->family == 6 ? 8 : 4);
}

/* "Alice" and " ALICE " are one to most who know users: nobody is to be guessed anew by writing him otherwise. */
static struct slice user_key(struct slice user, struct buf *out)
{
    sasl_name_fold(slice_head(user, SASL_USER_OCTETS_MAX), out);
    return slice_head(buf_slice(out), SASL_USER_OCTETS_MAX);
}

static void ask(const struct engine_auth *a, const struct kv_request *request, int64_t *most)
{
    struct kv *kv = a->session->scope.engine->env.kv;

    if (kv != NULL && request->key.len > 0)
        kv_do(kv, request, take_sum, most);
}

static void ask_kv(const struct engine_auth *a, enum kv_op op, struct slice space, struct slice key, int64_t *most)
{
    ask(a, &(struct kv_request){ .op = op, .number = 1, .space = space, .key = key,
                                 .expire_s = a->session->auth_options->remember_s }, most);
}

/* A client on a unix socket has none. */
static void ask_address(const struct engine_auth *a, enum kv_op op, int64_t *most)
{
    const tern_address *client = &a->session->facts->client;

    if (client->family != 0)
        ask_kv(a, op, SLICE(KV_ADDRESS), address_key(client), most);
}

static int64_t count(const struct engine_auth *a)
{
    int64_t most = 1;
    CLEANUP_BUF struct buf name = BUF_INIT;

    ask_address(a, KV_ADD, &most);
    ask_kv(a, KV_ADD, SLICE(KV_USER), user_key(auth_user(a), &name), &most);
    return most;
}

static uint64_t delay_for(const struct engine_auth_options *o, int64_t failures)
{
    unsigned shift = failures > AUTH_DELAY_SHIFT_MAX ? AUTH_DELAY_SHIFT_MAX : (unsigned)failures - 1;

    if (o->delay_ms > o->delay_max_ms >> shift)
        return o->delay_max_ms;
    return o->delay_ms << shift;
}

/* ---- who waits now ---- */

static void add_waiting(const struct engine_auth *a, struct slice space, struct slice key, int64_t number,
                        int64_t *most)
{
    struct kv_request request = { .op = KV_ADD, .number = number, .space = space, .key = key,
                                  .expire_s = AUTH_WAITING_EXPIRE_S };
    int64_t now = INT64_MIN;

    ask(a, &request, &now);
    request.op = KV_REMOVE;
    if (number < 0 && now <= 0) /* below: it had expired meanwhile */
        ask(a, &request, most);
    if (now > *most)
        *most = now;
}

/* The most that wait of this address or user, this one among them. */
static int64_t count_waiting(const struct engine_auth *a, int64_t number)
{
    CLEANUP_BUF struct buf name = BUF_INIT;
    const tern_address *client = &a->session->facts->client;
    int64_t most = 1;

    if (client->family != 0)
        add_waiting(a, SLICE(KV_WAITING_ADDRESS), address_key(client), number, &most);
    if (!a->is_accepted) /* of a user whom others guess the one who knows waits no longer */
        add_waiting(a, SLICE(KV_WAITING_USER), user_key(auth_user(a), &name), number, &most);
    return most;
}

/* Behind those who wait already; but no longer than a client waits for a reply. */
static uint64_t behind(uint64_t delay_ms, int64_t waiting)
{
    if (delay_ms >= AUTH_WAIT_MS_MAX)
        return delay_ms;
    return (uint64_t)waiting > AUTH_WAIT_MS_MAX / delay_ms ? AUTH_WAIT_MS_MAX : delay_ms * (uint64_t)waiting;
}

static uint64_t wait_for_turn(struct engine_auth *a, uint64_t delay_ms)
{
    a->is_waiting = true;
    delay_ms = behind(delay_ms, count_waiting(a, 1));
    loop_timer_start(a->session->scope.engine->env.loop, &a->timer, delay_ms);
    return delay_ms;
}

void auth_wait_no_more(struct engine_auth *a)
{
    if (a->is_waiting)
        (void)count_waiting(a, -1);
    a->is_waiting = false;
}

/* For `when` of later steps: results.auth_failures. */
static void set_result(struct engine_session *s, int64_t failures)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%lld", (long long)failures);

    s->facts = session_facts_own(s->facts);
    s->facts->results = notes_add(&s->facts->memory->arena, s->facts->results,
                                  SLICE(AUTH_RESULT), slice_make(text, (size_t)len));
}

/* ---- telling ---- */

static void accept_and_forgive(struct engine_auth *a)
{
    int64_t failures = 0;

    ask_address(a, KV_REMOVE, &failures);
    auth_accept(a);
}

void auth_end(struct engine_auth *a)
{
    if (!a->is_told && sasl_server_tells(&a->sasl, a->is_failed ? SASL_STEP_WRONG : SASL_STEP_OK)) {
        a->is_told = true;
        auth_challenge(a, buf_slice(&a->sasl.out));
    } else if (a->is_failed) {
        auth_tell(a, &a->result);
    } else if (a->is_accepted) {
        accept_and_forgive(a);
    } else {
        auth_accept(a);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct engine_auth *a = list_entry(timer, struct engine_auth, timer);

    auth_wait_no_more(a);
    auth_end(a);
}

void auth_accept_when_due(struct engine_auth *a)
{
    struct engine_session *s = a->session;
    int64_t failures = 0;

    ask_address(a, KV_GET, &failures);
    uint64_t delay_ms = failures > 0 ? delay_for(s->auth_options, failures) : 0;
    if (delay_ms == 0) {
        auth_end(a);
        return;
    }
    a->is_accepted = true;
    (void)wait_for_turn(a, delay_ms);
}

void auth_timer_init(struct engine_auth *a)
{
    loop_timer_init(&a->timer, on_timer);
}

void auth_fail(struct engine_auth *a, const struct refusal *why)
{
    struct engine_session *s = a->session;
    struct refusal refusal = *why;

    if (refusal.verdict == TERN_REJECT && s->scope.soft_bounce)
        refusal = refusal_auth(TERN_DEFER, true);
    struct engine_auth_result *r = &a->result;

    *r = (struct engine_auth_result){
        .decision = decision_of(&refusal, slice_of(s->facts->id), s->facts->memory),
        .user = auth_user(a),
        .mechanism = slice_cstr(a->mechanism),
    };
    a->is_failed = true;
    record_reply(session_record(s), r->decision.code, r->decision.enhanced, r->decision.text);
    /* What could not be found out is nobody's guess, and must not lock anybody out. */
    r->counted = why->verdict == TERN_REJECT;
    if (r->counted) {
        r->failures = count(a);
        r->delay_ms = delay_for(s->auth_options, r->failures);
        set_result(s, r->failures);
        metric_add(metric_counter("tern_auth_failures_total", "", "Logins that were refused."), 1);
    }
    if (r->delay_ms == 0)
        auth_end(a);
    else
        r->delay_ms = wait_for_turn(a, r->delay_ms);
}
