/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - tern-local itself: takes requests, starts a child for each, and does nothing else.
 *
 * The process has CAP_SETUID and CAP_SETGID and parses one thing only, the packet of protocol.h. What can hang or
 * be fooled (name services, mailboxes, commands, PAM) is the child's; of a child it hears nothing but its end.
 */
#ifndef TERN_LOCAL_SERVE_H
#define TERN_LOCAL_SERVE_H

#include "local/protocol.h"
#include "local/rules.h"

#define LOCAL_CHILDREN_MAX 256 /* at once; further requests wait in the socket */
#define LOCAL_REQUESTS_FD  3   /* what the supervisor leaves open for it */
#define LOCAL_RULES_FD     4

/* Until the other end is closed by everybody. The exit status. */
int local_serve(int requests_fd, const struct local_rules *rules);

/* child.c: does what is asked, answers on `reply_fd` and ends. body_fd: -1 if the request brought none. */
struct local_work {
    const struct local_rules *rules;
    const struct local_request *request;
    int reply_fd, body_fd;
};
_Noreturn void local_child(const struct local_work *work);

#endif
