/* SPDX-License-Identifier: Apache-2.0 */
/*
 * milter.h - listeners with protocol: milter: the policy in front of somebody else's MTA. The protocol is milter/'s;
 * here it is wired to the engine (milter_policy.c), to a connection (milter.c), and what the policy did to a mail
 * is put into packets (milter_edits.c). Inside server/ only. Loop thread.
 */
#ifndef TERN_SERVER_MILTER_H
#define TERN_SERVER_MILTER_H

#include "milter/session.h"
#include "module/engine.h"
#include "server/serve.h"

/* ---- the connection (milter.c) ---- */

/* Takes over fd and generation of `start`. */
void milter_accept(const struct session_start *start);
/* Closes connections without a mail; all of them when `now`. */
void milters_drain(struct serve_loop *l, bool now);
void milters_free(struct serve_loop *l);

/* ---- the policy of one connection (milter_policy.c) ---- */

struct milter_policy;

struct milter_policy_ops {
    void (*send)(void *owner, struct slice octets);
    void (*close)(void *owner, const char *why); /* the last call */
    /* An answer came later than its question. */
    void (*resumed)(void *owner);
    /* True, or the reply that MAIL gets instead of being asked about. */
    bool (*may_begin)(void *owner, struct milter_answer *ret);
    void (*new_id)(void *owner, char out[], size_t octets);
    void (*new_session_id)(void *owner, char out[], size_t octets);
    struct body *(*new_body)(void *owner);
    void (*count)(void *owner, unsigned code); /* a message was taken (250), or something refused */
};

struct milter_policy_options {
    struct engine *engine;
    struct generation *generation; /* a reference is taken */
    const struct listener_conf *listener;
    const struct policy *policy;
    const struct milter_policy_ops *ops;
    void *owner;
};

struct milter_policy *milter_policy_new(const struct milter_policy_options *options);
void milter_policy_free(struct milter_policy *p);
struct milter_session *milter_policy_session(struct milter_policy *p);
/* No answer of the engine reaches the MTA any more; milter_policy_free() comes soon. */
void milter_policy_stop(struct milter_policy *p);

/* ---- what the policy did to a mail, in packets (milter_edits.c) ---- */

/* Recipients as the MTA has named them, in the order of their families. */
struct milter_rcpts {
    struct buf text; /* each ends with NUL */
    size_t *at;      /* where each begins */
    unsigned count, size;
};
void milter_rcpts_add(struct milter_rcpts *r, struct slice address);
void milter_rcpts_clear(struct milter_rcpts *r); /* frees */

struct milter_edits {
    struct buf packets;
    bool discard, held;
    struct slice reason; /* of held; the engine's */
    const char *missing; /* what the MTA does not let us do, or NULL; then there is nothing else */
};
/* `before`: the transaction as it came. 0, or a negative errno: the mail cannot be read. */
int milter_edits_make(const struct milter_session *session, const struct txn_facts *before,
                      const struct milter_rcpts *rcpts, const struct engine_message_result *result,
                      struct milter_edits *ret);

#endif
