/* SPDX-License-Identifier: Apache-2.0 */
/* child.h - what the kinds of request share, in the process of one request. */
#ifndef TERN_LOCAL_CHILD_H
#define TERN_LOCAL_CHILD_H

#include <stdarg.h>

#include "local/privileges.h"
#include "local/serve.h"

/* The message as the worker writes it: exactly `left` octets are still to come. */
struct local_body {
    int fd;
    uint64_t left;
};

/* Before a program is started: what it leaves behind comes to us, whatever group or session it makes itself. */
void local_adopt(void);
/* Ends the group of `pid`, and whoever came to us; some hundred of them at most. */
void local_end_all(pid_t pid);

struct local_user {
    uid_t uid;
    gid_t gid;
    char home[LOCAL_PATH_MAX];
};

/* Looks up the request's user, and becomes him for good, as the rules allow. What fails is answered, and the end. */
void local_find_user(const struct local_work *work, struct local_user *ret);
void local_become(const struct local_work *work, const struct local_user *user);
/* child_pipe.c */
_Noreturn void local_pipe(const struct local_work *work);
/* child_pam.c */
_Noreturn void local_pam(const struct local_work *work);
/* Their number, 0 behind the last, a negative errno; -EPIPE: the worker ended in the midst of it. */
int64_t local_body_read(struct local_body *body, void *buffer, size_t octets);
/* Answers. */
void local_answer_send(const struct local_work *work, const struct local_answer *answer);
/* Answers, and ends the process. */
_Noreturn void local_answer(const struct local_work *work, enum local_status status, const char *enhanced,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
