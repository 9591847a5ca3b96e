/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the operators' door: HTTP over a unix socket, on a thread of its own.
 *
 * Who may: root and the server's own user everything; others, if the socket's mode lets them
 * connect, may read. Each change is logged with its uid.
 */
#ifndef TERN_SERVER_CONTROL_H
#define TERN_SERVER_CONTROL_H

#include "server/serve.h"

struct control;

int control_new(struct serve *serve, const char *path, struct control **ret, char *error, size_t octets);
void control_free(struct control *control); /* NULL is allowed */

/* control_queue.c: the verbs of `tern queue`. Fill `out`, return the HTTP status. */
unsigned control_queue_list(struct serve *serve, struct slice after, unsigned max, struct buf *out);
unsigned control_queue_show(struct serve *serve, struct slice id, struct buf *out);
unsigned control_queue_change(struct serve *serve, struct slice verb, struct slice id, struct buf *out);

#endif
