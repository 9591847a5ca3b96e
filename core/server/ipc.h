/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc.h - what the worker asks of the supervisor over their socketpair (SOCK_SEQPACKET):
 * one packet a wish, one packet an answer, a descriptor beside it where one was asked for.
 */
#ifndef TERN_SERVER_IPC_H
#define TERN_SERVER_IPC_H

#include <stdbool.h>

#include "server/bind.h"

enum ipc_op {
    IPC_LISTEN,  /* a listening socket for `bind`; kept by the supervisor over restarts */
    IPC_RELEASE, /* close the one for `bind` */
    IPC_READY,   /* everything is loaded; no answer */
    IPC_OPEN,    /* `path` for reading: a key that only root may read */
    IPC_LOCAL,   /* a socket to tern-local, which is started if it does not run */
};

#define IPC_PATH_OCTETS 1024

struct ipc_wish {
    uint32_t op;
    struct bind_address bind; /* IPC_LISTEN, IPC_RELEASE */
    char path[IPC_PATH_OCTETS]; /* IPC_OPEN: absolute, with a NUL behind it */
};

struct ipc_answer {
    int32_t status; /* 0, or a negative errno */
    char text[256]; /* why not, for people */
};

/* Worker's side. A descriptor (IPC_LISTEN, IPC_OPEN, IPC_LOCAL), 0, or a negative errno with *answer filled. */
int ipc_ask(int fd, const struct ipc_wish *wish, struct ipc_answer *answer);
int ipc_tell(int fd, const struct ipc_wish *wish);
/* Supervisor's side. -1: the worker is gone. */
int ipc_receive(int fd, struct ipc_wish *ret);
int ipc_answer(int fd, const struct ipc_answer *answer, int pass_fd);

#endif
