/* SPDX-License-Identifier: Apache-2.0 */
/* client_server.h - a mail server that follows a script (client_rows.h), in a thread of its own. */
#ifndef TERN_TESTS_CLIENT_SERVER_H
#define TERN_TESTS_CLIENT_SERVER_H

#include <pthread.h>

#include "base/buf.h"
#include "net/conn.h"

#define TIMEOUT_LONG_MS 60000
#ifdef TERN_SANITIZED /* what has to be said before fits in */
#define TIMEOUT_TESTED_MS 3000
#else
#define TIMEOUT_TESTED_MS 1000
#endif

struct client_server {
    const char *script;
    bool slowly; /* one octet at a time */
    int listen_fd, fd;
    tern_address address;
    pthread_t thread;
    bool joined;
    _Atomic bool over; /* the client has ended; what it still had to send may keep its close back */
    char wrong[300]; /* what did not come as the script says */
    struct buf body; /* as it came, dots doubled */
    char input[8192];
    size_t input_len;
};

void client_server_start(struct client_server *s, const char *script, bool slowly);
void client_server_join(
    struct client_server *s); /* waits for the end of the script; wrong and body stay */
void client_server_stop(struct client_server *s);

#endif
