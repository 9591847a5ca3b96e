/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ipc.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int ipc_tell(int fd, const struct ipc_wish *wish)
{
    ssize_t n;

    do {
        n = send(fd, wish, sizeof(*wish), MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(*wish) ? 0 : -EPIPE;
}

static int receive_answer(int fd, struct ipc_answer *answer, int *ret_fd)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { answer, sizeof(*answer) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                          .msg_controllen = sizeof(control) };
    ssize_t n;

    do {
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(*answer))
        return -EPIPE;
    answer->text[sizeof(answer->text) - 1] = '\0';
    const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c != NULL && c->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    return 0;
}

int ipc_ask(int fd, const struct ipc_wish *wish, struct ipc_answer *answer)
{
    int passed = 0;
    int r = ipc_tell(fd, wish);

    if (r == 0)
        r = receive_answer(fd, answer, &passed);
    if (r < 0) {
        *answer = (struct ipc_answer){ .status = r, .text = "the supervisor does not answer" };
        return r;
    }
    return answer->status < 0 ? answer->status : passed;
}

int ipc_receive(int fd, struct ipc_wish *ret)
{
    ssize_t n;

    /* MSG_TRUNC: the size of the whole packet; one that is too long is no wish. */
    do {
        n = recv(fd, ret, sizeof(*ret), MSG_TRUNC);
    } while (n < 0 && errno == EINTR);

    return n == (ssize_t)sizeof(*ret) ? 0 : -1;
}

int ipc_answer(int fd, const struct ipc_answer *answer, int pass_fd)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { (void *)answer, sizeof(*answer) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (pass_fd >= 0) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
    }
    /* It asks one thing at a time: who asks and does not read must not stop us. */
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}
