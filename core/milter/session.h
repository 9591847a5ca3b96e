/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - our half of a milter connection: octets of the MTA in, packets out, questions up.
 *
 * No socket, timer or policy in here: the owner feeds octets and hands in a struct of functions. A question is
 * answered once by milter_session_answer(), from inside the call or later; until then nothing further is taken apart.
 * Whatever is malformed or out of order ends the connection with a sentence: what was decided about a
 * half-understood mail would be worth nothing, and the MTA has its milter_default_action for that.
 */
#ifndef TERN_MILTER_SESSION_H
#define TERN_MILTER_SESSION_H

#include "milter/macros.h"
#include "milter/wire.h"

struct milter_session;

struct milter_answer {
    unsigned code; /* 0: go on; else the reply that the client of the MTA gets */
    const char *enhanced;
    struct slice text;
    bool discard;       /* end of the mail: the MTA drops it */
    struct slice edits; /* end of the mail, code 0: packets that change it */
};

/* The words behind MAIL or RCPT: the address as the MTA has it, with or without <>, and the parameters. */
struct milter_path {
    struct slice address;
    struct slice params; /* each ends with NUL */
};

struct milter_ops {
    void (*send)(void *owner, struct slice octets);
    /* The last call. `why` is NULL when the MTA said good-bye. milter_session_free() not from inside. */
    void (*close)(void *owner, const char *why);

    /* Questions. What they point at lives until the answer. */
    void (*on_connect)(void *owner, const struct milter_connect *connect);
    void (*on_helo)(void *owner, struct slice name);
    void (*on_mail)(void *owner, const struct milter_path *path);
    void (*on_rcpt)(void *owner, const struct milter_path *path);
    void (*on_data)(void *owner);
    void (*on_message)(void *owner); /* the end of the mail: the transaction is over with the answer */

    /* The mail: fields of its header, then its body. `name` and `value` are as the MTA has them. */
    void (*on_header)(void *owner, struct slice name, struct slice value);
    void (*on_body)(void *owner, struct slice octets);
    /* The transaction is gone, also before close and on_client_gone. Not behind an answer to on_message. */
    void (*on_abort)(void *owner);
    void (*on_client_gone)(void *owner); /* another client's on_connect may follow */
};

struct milter_session_options {
    const struct milter_ops *ops;
    void *owner;
    /* What nothing here asks for is switched off where the MTA can do that. */
    bool wants_message, wants_data;
};

struct milter_session *milter_session_new(const struct milter_session_options *options);
void milter_session_free(struct milter_session *session);
/* Not from inside an op. */
void milter_session_input(struct milter_session *session, struct slice octets);
void milter_session_answer(struct milter_session *session, const struct milter_answer *answer);
bool milter_session_waiting(const struct milter_session *session);
/* A packet has begun and is not complete. */
bool milter_session_partial(const struct milter_session *session);
uint64_t milter_session_packets(const struct milter_session *session); /* complete ones, so far */
/* The MTA is told that the question takes time, if it can hear that now (SMFIR_PROGRESS). */
void milter_session_progress(struct milter_session *session);
bool milter_session_in_transaction(const struct milter_session *session);
/* MILTER_* of what both sides can. */
bool milter_session_may(const struct milter_session *session, enum milter_action action);
bool milter_session_leading_space(const struct milter_session *session);
const struct milter_macros *milter_session_macros(const struct milter_session *session);
const char *milter_session_state_name(const struct milter_session *session);

#endif
