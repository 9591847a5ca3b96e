/* SPDX-License-Identifier: Apache-2.0 */
/* client_server.h - a mail server that follows a script (client_rows.h), in a thread of its own. */
#ifndef TERN_TESTS_CLIENT_SERVER_H
#define TERN_TESTS_CLIENT_SERVER_H

#include <pthread.h>

#include "base/buf.h"
#include "net/conn.h"

struct client_server {
    const char *script;
    bool slowly; /* one octet at a time */
    int listen_fd, fd;
    tern_address address;
    pthread_t thread;
    bool joined;
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
