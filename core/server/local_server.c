/* SPDX-License-Identifier: Apache-2.0 */
/* local_server.c - the worker's way to tern-local: the supervisor starts it, and hands over a socket to it. */
#include <stdio.h>

#include "local/client.h"
#include "server/ipc.h"
#include "server/serve.h"

/* A pool thread. The lock keeps our answer from being taken for another's, and for the supervisor's end. */
static int open_local(void *arg, char *error, size_t octets)
{
    struct serve *s = arg;
    struct ipc_wish wish = { .op = IPC_LOCAL };
    struct ipc_answer answer = { .status = 0 };

    (void)pthread_mutex_lock(&s->reload_lock);
    int fd = ipc_ask(s->start->supervisor_fd, &wish, &answer);
    (void)pthread_mutex_unlock(&s->reload_lock);
    if (fd < 0)
        (void)snprintf(error, octets, "%s", answer.text);
    return fd;
}

void serve_use_local(struct serve *s)
{
    local_client_set(open_local, s);
}
