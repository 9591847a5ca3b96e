/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_auth.h - who the client is: hook auth and the exchange around it.
 *
 * The protocol hands in what the client said, decoded; this answers with a challenge, or with
 * how it ended. Which mechanisms exist is what the steps of the policy serve.
 */
#ifndef TERN_MODULE_ENGINE_AUTH_H
#define TERN_MODULE_ENGINE_AUTH_H

#include "module/engine.h"

#define AUTH_RESULT "auth_failures" /* the result of the core's own; `when` may name it */

/* Of a listener; without them its sessions cannot log in. Lives as long as the generation. */
struct engine_auth_options {
    bool plaintext;          /* PLAIN and the like without TLS, too */
    bool cram_md5;
    unsigned iterations;     /* SCRAM, where the core makes the keys */
    uint64_t delay_ms;       /* before the first 535 of an address or user; each one more doubles it */
    uint64_t delay_max_ms;
    uint64_t remember_s;     /* failures are forgotten after */
};

struct engine_auth_result {
    /* ACCEPT: it is who it says. NEXT: send `challenge`. REJECT, DEFER: reply. */
    struct decision decision;
    struct slice challenge; /* borrowed during the call */
    struct slice user, mechanism;
    bool counted;     /* a failure that was counted: `failures`, `delay_ms` */
    int64_t failures; /* of this address or user, whichever has more */
    uint64_t delay_ms;
};
typedef void (*engine_auth_done)(void *arg, const struct engine_auth_result *result);

/*
 * AUTH. `initial`: NULL if there was none. What is pointed at may hold secrets and is copied where it
 * can be wiped. done() is called once for this and for each engine_auth_response().
 */
void engine_auth(struct engine_session *session, struct slice mechanism,
                 const struct slice *initial, engine_auth_done done, void *arg);
void engine_auth_response(struct engine_session *session, struct slice response,
                          engine_auth_done done, void *arg);
/* The client gave up: nothing was decided. Between a challenge and its response. */
void engine_auth_cancel(struct engine_session *session);
/* A login that has failed and whose end was not told yet: the client waits, or may still answer. Else NULL. */
const struct engine_auth_result *engine_auth_failure(const struct engine_session *session);
/* Appends the mechanisms for EHLO, "SCRAM-SHA-256 PLAIN"; nothing if none can be used now. */
void engine_auth_offer(const struct engine_session *session, struct buf *out);
/* Channel bindings of the connection's TLS, by name: octets written, or a negative errno. */
void engine_auth_set_binding(struct engine_session *session,
                             int (*binding)(void *arg, struct slice name, unsigned char *out),
                             void *arg);

#endif
