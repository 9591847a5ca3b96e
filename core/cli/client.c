/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - one HTTP/1.0 request over the control socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"

#define ANSWER_OCTETS_MAX (256u << 20)

static int connect_to(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(un.sun_path))
        return -ENAMETOOLONG;
    memcpy(un.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    return fd;
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        char *at = buf_reserve(out, 65536);
        ssize_t n = read(fd, at, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        if (out->len > ANSWER_OCTETS_MAX)
            return -EMSGSIZE;
    }
}

/* "HTTP/1.1 200 OK ... CRLF CRLF body" */
static int split_answer(struct buf *answer, struct buf *ret_body)
{
    const char *end = answer->len > 0 ? memmem(answer->data, answer->len, "\r\n\r\n", 4) : NULL;
    int status = 0;

    if (end == NULL || sscanf(answer->data, "HTTP/%*d.%*d %d", &status) != 1)
        return -EPROTO;
    buf_add(ret_body, slice_from(buf_slice(answer), (size_t)(end - answer->data) + 4));
    return status;
}

int cli_request(const char *socket_path, const char *method, const char *target, struct buf *ret_body)
{
    CLEANUP_BUF struct buf request = BUF_INIT;
    CLEANUP_BUF struct buf answer = BUF_INIT;
    int fd = connect_to(socket_path);
    int r = fd;

    if (fd >= 0) {
        buf_printf(&request, "%s %s HTTP/1.0\r\nHost: tern\r\nContent-Length: 0\r\n\r\n", method, target);
        r = send(fd, request.data, request.len, MSG_NOSIGNAL) == (ssize_t)request.len ? 0 : -errno;
        if (r == 0)
            r = read_all(fd, &answer);
        (void)close(fd);
    }
    if (r == 0)
        r = split_answer(&answer, ret_body);
    if (r < 0)
        (void)fprintf(stderr, "tern: no answer from the server at %s: %s%s\n", socket_path, strerror(-r),
                      r == -ENOENT || r == -ECONNREFUSED ? "; is it running, with this configuration?"
                      : r == -EACCES || r == -EPERM      ? "; ask as root or as the user it runs as"
                                                         : "");
    return r;
}
