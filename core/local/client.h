/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the worker's end: asks tern-local and waits for the answer. Pool threads only: it blocks.
 */
#ifndef TERN_LOCAL_CLIENT_H
#define TERN_LOCAL_CLIENT_H

#include "local/protocol.h"

#define LOCAL_CLIENT_GRACE_MS 15000 /* beyond timeout_ms: then it is not waited for any more */

/*
 * Who gives the socket to tern-local: a new descriptor, or a negative errno with a sentence. Called again when the
 * one it gave is dead. Set once, before any thread asks; without it there is no tern-local. Any thread.
 */
void local_client_set(int (*open)(void *arg, char *error, size_t octets), void *arg);

struct local_message {
    int64_t (*read)(void *arg, uint64_t offset, void *buffer, size_t octets); /* as tern_api.delivery_read */
    void *arg;
};

/*
 * One request. `message` may be NULL where there is none. Always fills *ret: with LOCAL_DEFERRED and why, if there is
 * no answer, or none in time.
 */
void local_client_ask(const struct local_request *request, const struct local_message *message,
                      struct local_answer *ret);

#endif
