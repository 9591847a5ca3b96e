/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local_socket.h - listening sockets that have a name in the file system. The supervisor's: made with the mode they are
 * to have, in folders that nobody else may change, and taken away in the end.
 */
#ifndef TERN_SERVER_LOCAL_SOCKET_H
#define TERN_SERVER_LOCAL_SOCKET_H

#include <sys/types.h>

#include "server/bind.h"
#include "server/rules.h"

struct local_socket {
    dev_t device; /* of the name: only what we made is removed */
    ino_t inode;
};

/*
 * The descriptor, or a negative errno with why. -EADDRINUSE: somebody listens there. What a dead server left behind is
 * removed. As root only below the `sockets` folders of the rules.
 */
int local_socket_listen(const struct rules *rules, const struct bind_address *where, int backlog,
                        struct local_socket *ret, char *error, size_t octets);
/* Mode and group may be others than when it was made. 0, or a negative errno with why. */
int local_socket_set_access(const struct rules *rules, const struct bind_address *where, char *error, size_t octets);
void local_socket_remove(const struct local_socket *s, const char *path);

#endif
