/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialogue.h - the SMTP protocol (smtp/) and the policy (module/engine.h) wired into each other,
 * without socket and without disk: session.c gives it those, `tern test` gives it none.
 *
 * Decides nothing itself: the protocol asks, the engine answers, the owner stores. Loop thread.
 */
#ifndef TERN_SERVER_DIALOGUE_H
#define TERN_SERVER_DIALOGUE_H

#include "module/engine.h"
#include "server/generation.h"
#include "smtp/session.h"

struct dialogue;

enum dialogue_reply { DIALOGUE_ACCEPTED, DIALOGUE_REFUSED, DIALOGUE_DEFERRED };

struct dialogue_ops {
    void (*send)(void *owner, struct slice octets);
    /* Everything that was to be said was sent. No further call follows. */
    void (*close)(void *owner);
    void (*expect)(void *owner, enum smtp_phase phase);
    /* An answer came later than its question: octets kept were gone through, reading may go on. */
    void (*resumed)(void *owner);
    /* Before a late answer is sent: gather what follows until resumed(). */
    void (*gather)(void *owner);
    /* True, or the reply that MAIL (RCPT) gets instead of being asked about. may_add may be NULL. */
    bool (*may_begin)(void *owner, struct smtp_answer *ret);
    bool (*may_add)(void *owner, struct smtp_answer *ret);
    /* As in struct smtp_ops: ended by dialogue_breathed(), dialogue_go_on(). May be NULL. */
    void (*pause)(void *owner, uint32_t ms);
    bool (*full)(void *owner);
    /* Octets that came before the banner and nobody has read. May be NULL. */
    uint64_t (*early)(void *owner);
    void (*new_id)(void *owner, char out[], size_t octets);
    struct body *(*new_body)(void *owner);
    /* Store the message; answered once by dialogue_stored(), from inside or later. */
    void (*store)(void *owner, const struct session_facts *session, const struct engine_message_result *result);
    /* ETRN: the mail for `domain` is to be sent now. 0, or a negative errno: not now. May be NULL. */
    int (*etrn)(void *owner, struct slice client, struct slice domain, bool or_below);
    void (*count)(void *owner, enum dialogue_reply reply);
    /* XCLIENT: whose session it is now. False, and the reply: that one has too many. May be NULL. */
    bool (*moved)(void *owner, const tern_address *client, struct smtp_answer *ret);
    /* As in struct smtp_ops; asked of listeners with tls only. */
    bool (*tls_ready)(void *owner);
    void (*begin_tls)(void *owner);
    /* Every decision of the policy, before its reply is sent. May be NULL. */
    void (*decided)(void *owner, const struct decision *decision);
};

struct dialogue_options {
    struct engine *engine;
    struct generation *generation; /* a reference is taken */
    const struct listener_conf *listener; /* of that generation */
    const struct policy *policy;
    struct session_facts *facts;   /* ownership moves here */
    const struct dialogue_ops *ops;
    void *owner;
};

struct dialogue *dialogue_new(const struct dialogue_options *options);
void dialogue_start(struct dialogue *d); /* hook connect, banner */
void dialogue_input(struct dialogue *d, struct slice octets);
bool dialogue_take_secret(struct dialogue *d);   /* one was in what was fed: the owner wipes its octets */
/* The handshake that begin_tls began is done. `binding` as of engine_auth_set_binding(), or NULL; `arg` outlives d. */
void dialogue_secured(struct dialogue *d, const struct engine_tls *tls,
                      int (*binding)(void *arg, struct slice name, unsigned char *out), void *arg);
bool dialogue_waiting(const struct dialogue *d); /* a question is not answered yet: do not feed more */
/* Octets wait until the owner is no longer full: dialogue_go_on() then. */
bool dialogue_stalled(const struct dialogue *d);
void dialogue_go_on(struct dialogue *d);
void dialogue_breathed(struct dialogue *d); /* the pause is over */
/* Of the transaction, else of the session: for the log. */
const char *dialogue_id(const struct dialogue *d);
struct slice dialogue_client(const struct dialogue *d); /* its address as text */
bool dialogue_in_transaction(const struct dialogue *d);
/* As in smtp/session.h. */
bool dialogue_in_chunks(const struct dialogue *d);
uint64_t dialogue_mail_octets(const struct dialogue *d);
/* status: 0 durable, else a negative errno of the spool. */
void dialogue_stored(struct dialogue *d, int status);
/* The same after dialogue_stop(): the client has gone, the message is ours all the same. */
void dialogue_stored_unheard(struct dialogue *d, int status);
/* Says `code enhanced text` and closes: 421. */
void dialogue_end(struct dialogue *d, unsigned code, const char *enhanced, const char *text);
/* No answer of the engine reaches the dialogue any more; dialogue_free() comes soon, from the loop. */
void dialogue_stop(struct dialogue *d);
void dialogue_free(struct dialogue *d);

void dialogue_ref_generation(void *generation);
void dialogue_unref_generation(void *generation);

#endif
