/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - runs a policy over a session, a transaction, a message, a delivery.
 *
 * The door to module/ for everybody above: server/ wires SMTP sessions to it, delivery/ asks it
 * for routes, `tern test` runs it without sockets. All of it belongs to one loop.
 *
 * Every question is answered exactly once by its `done`, from inside the call or
 * later from the loop, unless the session is freed first: then never.
 */
#ifndef TERN_MODULE_ENGINE_H
#define TERN_MODULE_ENGINE_H

#include <tern/module.h>

#include "base/buf.h"
#include "dns/dns.h"
#include "module/policy.h"
#include "net/loop.h"
#include "state/body.h"
#include "state/facts.h"
#include "state/kv.h"

struct engine; /* one per loop */
struct pool;   /* one per process, module/pool.h: the threads of BLOCKING steps */

struct engine_env {
    struct loop *loop;
    struct dns *dns;
    struct kv *kv;
    struct pool *pool;
    const char *hostname;
    int spool_fd; /* for bodies that a step replaces; -1: memory */
    /* `when` expressions live in Lua, a layer above: evaluates a compiled one against the
     * call's view.
     * 1 true, 0 false, negative: an error, with a sentence in *ret_error. */
    int (*when)(struct engine *engine, const void *compiled, const tern_call *call,
                const char **ret_error);
    void *(*loop_data)(struct engine *engine); /* for the Lua binding: its per-loop states */
};

struct engine *engine_new(const struct engine_env *env);
void engine_free(struct engine *engine); /* all sessions are gone; detached hooks are aborted */
/* For layers above that work for a call or an engine (the Lua binding). Loop thread. */
const struct engine_env *engine_env_of(const struct engine *engine);
struct engine *engine_of_call(const tern_call *call);

/* What became of a question. */
struct decision {
    tern_verdict verdict; /* NEXT: go on. REJECT, DEFER, CLOSE: reply below. HOLD, DISCARD: go on */
    unsigned code;
    char enhanced[12];
    struct slice text; /* with the transaction id, borrowed until the next question */
    struct slice step; /* who decided, or empty */
};
typedef void (*engine_done)(void *arg, const struct decision *decision);

/* ---- a session ---- */

struct engine_session;

struct engine_session_options {
    const struct policy *policy;
    /* engine_enqueue(): whose claiming steps are asked about recipients without a class; NULL:
     * nobody is. Of the same generation. */
    const struct policy *claims;
    /* The generation: counted for as long as the session, or any call of it, lives. unref may be
     * called on any thread: a pool thread that comes back late may hold the last call. */
    void (*generation_ref)(void *generation);
    void (*generation_unref)(void *generation);
    void *generation;
    bool soft_bounce;
    /*
     * The mail stays with who asks, and he delivers it: a milter's MTA. Whether a recipient is ours is his to
     * decide, so that one that nobody claims is not refused; classes make no groups; what a step adds is not asked
     * about. With `split`, as he has one message for all.
     */
    bool others_deliver;
    bool split;          /* a RCPT that would open a second group is put off with 452 4.5.3 */
    unsigned groups_max; /* with split: false; 16 */
    struct session_facts *facts; /* client, listener, policy; ownership moves here */
    uint64_t (*early)(void *arg); /* octets that the client sent before the banner; may be NULL */
    void *early_arg;
    const struct engine_auth_options *auth; /* engine_auth.h; NULL: nobody can log in */
};
struct engine_session *engine_session_new(struct engine *engine,
                                          const struct engine_session_options *options);
/* Aborts what is under way, runs the `close` hook detached, writes the session's decision
 * record. */
void engine_session_free(struct engine_session *session);
const struct session_facts *engine_session_facts(const struct engine_session *session);

void engine_connect(struct engine_session *session, engine_done done, void *arg);
/*
 * The handshake of TLS is done: hook tls, detached. What the client said of itself before, and what steps made
 * of that, is forgotten (RFC 3207 4.2). Not during a question or a transaction.
 */
struct engine_tls {
    struct slice version, cipher, sni;
    struct slice client, subject, fingerprint, error; /* see struct session_facts */
    const struct slice *names;
    unsigned name_count;
};
void engine_tls(struct engine_session *session, const struct engine_tls *tls);
void engine_helo(struct engine_session *session, struct slice name, bool esmtp, engine_done done,
                 void *arg);
/*
 * It is another client's session from here on (XCLIENT): what was known is forgotten, and hook connect is asked.
 * All is given, also what stays as it was. Not during a question or a transaction.
 */
struct engine_client {
    tern_address client, local;
    struct slice client_text, name, via, helo, user;
    bool name_forged, esmtp;
};
void engine_reconnect(struct engine_session *session, const struct engine_client *client, engine_done done, void *arg);
/*
 * VRFY, or EXPN: hook vrfy. ACCEPT: what the reply says (lines with \n between them). NEXT: nobody knows, or it is not
 * to be told. `mailbox` is empty if the argument is no address. In a transaction, too.
 */
void engine_vrfy(struct engine_session *session, bool expand, struct slice argument,
                 const struct tern_mailbox *mailbox, engine_done done, void *arg);
/* For who knows these by other means than the protocol. Not during a question. Empty user: nobody. */
void engine_set_user(struct engine_session *session, struct slice user);
/* A variable of the transaction, or of the session outside of one. Vars are declared nowhere and stored. */
void engine_set_var(struct engine_session *session, struct slice name, struct slice value);
/* EHLO keywords withheld by steps, for the reply. */
unsigned engine_withheld_count(const struct engine_session *session);
struct slice engine_withheld(const struct engine_session *session, unsigned index);

/* Begins the transaction: `txn` has id, sender, body, smtputf8, size; ownership moves here. */
void engine_mail(struct engine_session *session, struct txn_facts *txn, engine_done done,
                 void *arg);
void engine_rcpt(struct engine_session *session, const struct tern_mailbox *rcpt,
                 struct slice orcpt, struct slice notify, engine_done done, void *arg);
void engine_data(struct engine_session *session, engine_done done, void *arg);
const struct txn_facts *engine_txn(const struct engine_session *session); /* NULL outside */

/* One message to be stored: a group of the transaction after hooks message, queue and sign. */
struct engine_group {
    unsigned number;                     /* 1.. */
    const struct txn_facts *facts;       /* sender, recipients, tags, vars of the group */
    enum disposition disposition;        /* DISCARD: do not store */
    struct slice hold_reason, hold_step; /* HOLD */
    struct slice head;                   /* goes before the body from body_offset on */
    uint64_t body_offset;
    struct message_head *edited; /* the same, for message_head_changes(); borrowed */
};
struct engine_message_result {
    /* NEXT: store the groups, then reply 250; else the refusal for the dot, and nothing is stored */
    struct decision decision;
    /*
     * The replies that `decision` sums up: one, or with txn_facts.each one for each RCPT, in their
     * order. The groups hold the recipients of those that are NEXT. engine_message() only.
     */
    const struct decision *replies;
    unsigned reply_count;
    const struct engine_group *groups;
    unsigned group_count;
    struct body *body; /* maybe replaced by a ONCE step; borrowed */
};
typedef void (*engine_message_done)(void *arg, const struct engine_message_result *result);
/* `received`: our Received field with CRLF, put on top before hook `message`. The body is
 * complete. */
void engine_message(struct engine_session *session, struct body *body, struct slice received,
                    engine_message_done done, void *arg);
/* The transaction ended: RSET, refused, or stored (`stored_id` not empty). Writes its decision
 * record. */
void engine_txn_end(struct engine_session *session, struct slice stored_id, unsigned reply_code);

/* ---- mail of other origins: hooks queue and sign only ---- */

/*
 * Before them a recipient without a class is offered to the claiming steps of options->claims: as
 * there is no client, class client is never given. If one of them cannot answer the decision is
 * DEFER; if one refuses the recipient for good, and only then in the policy `generated`, REJECT.
 */
struct engine_enqueue;
struct engine_enqueue *engine_enqueue(struct engine *engine,
                                      const struct engine_session_options *options,
                                      struct txn_facts *txn, struct body *body,
                                      engine_message_done done, void *arg);
void engine_enqueue_free(struct engine_enqueue *e); /* after done, or to abort */

/* ---- a delivery: hooks route, deliver, result ---- */

struct route_answer {
    tern_verdict verdict; /* ACCEPT with a route; REJECT, DEFER with a reply */
    unsigned code;
    char enhanced[12];
    struct slice text;
    struct slice step;
    struct tern_route route;
};
struct engine_delivery;
typedef void (*route_done)(void *arg,
                           const struct route_answer *answers); /* one per recipient asked */
/* facts: the stored message (sender, all recipients, tags, vars) and the session it came by. */
struct engine_delivery *engine_delivery_new(struct engine *engine,
                                            const struct engine_session_options *options,
                                            struct txn_facts *txn);
void engine_route(struct engine_delivery *d, const unsigned *rcpts, unsigned count, route_done done,
                  void *arg);
/* Hook `deliver` for a parcel: NEXT (with *route maybe changed), DEFER, HOLD, REJECT. */
void engine_deliver(struct engine_delivery *d, const unsigned *rcpts, unsigned count,
                    struct tern_route *route, engine_done done, void *arg);
/* What became of recipients. */
struct engine_outcome {
    struct slice name; /* delivered, deferred, bounced, expired; discarded is for the record only */
    struct slice text;
    /* For the record, each may be empty: who said so, the connection's TLS, what hosts before that one said. */
    struct slice host, tls, tried;
};
/* Hook `result`, detached; copies what it needs. */
void engine_result(struct engine_delivery *d, const unsigned *rcpts, unsigned count,
                   const struct engine_outcome *outcome);
/* Writes the attempt's decision record. */
void engine_delivery_free(struct engine_delivery *d);

#endif
