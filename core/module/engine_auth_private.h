/* SPDX-License-Identifier: Apache-2.0 */
/* engine_auth_private.h - one exchange, for the three files that lead it. Inside module/ only. */
#ifndef TERN_MODULE_ENGINE_AUTH_PRIVATE_H
#define TERN_MODULE_ENGINE_AUTH_PRIVATE_H

#include "module/engine_auth.h"
#include "module/engine_private.h"
#include "module/pool.h"
#include "module/port.h"
#include "sasl/server.h"

#define AUTH_MECHANISM_OCTETS_MAX 20 /* RFC 4422 3.1 */
#define AUTH_ROUNDS_MAX           AUTH_CHALLENGES_MAX
#define AUTH_SALT_OCTETS          16
#define AUTH_DERIVE_PARALLEL      2  /* threads of the pool that make SCRAM keys */
#define AUTH_DELAY_SHIFT_MAX      20 /* doublings of the delay; the rest is delay_max */
#define AUTH_WAIT_MS_MAX          240000u /* behind others who wait; clients wait five minutes (RFC 5321 4.5.3.2) */
#define AUTH_WAITING_EXPIRE_S     600

struct auth_round {
    struct buf challenge, response;
};

struct engine_auth {
    struct engine_session *session;
    engine_auth_done done; /* NULL while the client is to answer */
    void *arg;
    char mechanism[AUTH_MECHANISM_OCTETS_MAX + 1]; /* upper case */
    enum sasl_mechanism known;                     /* COUNT: a step's own */
    bool sasl_leads;                               /* not a step of form EXCHANGE */
    bool has_initial, left_out, refused;
    struct buf initial;
    struct sasl_server sasl;
    struct auth_secret *secret; /* what steps see */
    struct run_auth pick;
    struct auth_round rounds[AUTH_ROUNDS_MAX];
    unsigned round_count, replayed;
    tern_call *lookup; /* whose journal has the keys; counted */
    struct auth_derive *derive; /* keys are being made */
    struct sasl_keys found;     /* meanwhile: what a LOOKUP step gave, with `is_found` */
    bool is_found, is_password;
    tern_str login;
    const struct plan_step *step; /* who answered last */
    struct refusal refusal;       /* of a step, told in the end: `refused` */
    /* the end, while it waits */
    struct loop_timer timer;
    bool is_accepted;
    bool is_waiting; /* counted as such */
    bool is_failed;  /* `result` says how */
    bool is_told;    /* by a challenge; the client is to answer that, whatever it says */
    struct engine_auth_result result;
};

void auth_free(struct engine_auth *a); /* in the midst of it; NULL is allowed */
struct slice auth_user(const struct engine_auth *a);
void auth_tell(struct engine_auth *a, struct engine_auth_result *result);
void auth_challenge(struct engine_auth *a, struct slice challenge);

/*
 * engine_auth_keys.c: makes the keys of `password` with salt and iterations of `keys`, then calls auth_derived(),
 * NULL if it could not. False: too many wait for that already.
 */
bool auth_derive(struct engine_auth *a, struct slice password, const struct sasl_keys *keys);
void auth_derived(struct engine_auth *a, const struct sasl_keys *made);
void auth_derive_give_up(struct engine_auth *a);

/* engine_auth_fail.c: counts it, waits, tells. 4xx: at once. */
void auth_fail(struct engine_auth *a, const struct refusal *refusal);
/* auth_accept(): at once, or as late as the last failure of this address was told. */
void auth_accept_when_due(struct engine_auth *a);
void auth_accept(struct engine_auth *a);
/* What was decided, when it is due: by a challenge first, where the mechanism has one that tells it. */
void auth_end(struct engine_auth *a);
void auth_timer_init(struct engine_auth *a);
void auth_wait_no_more(struct engine_auth *a); /* the client is gone; does nothing if it does not wait */
struct slice auth_salt_key(void);

#endif
