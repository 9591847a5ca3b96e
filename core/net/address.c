/* SPDX-License-Identifier: Apache-2.0 */
/* address.c - network addresses as text, listening and accepting. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/conn.h"
#include "net/sockaddr.h"

#define NET_REPLIES_OCTETS 32768 /* the kernel takes twice that, for its own book-keeping */

void net_address_print(const tern_address *a, bool with_port, char out[NET_ADDRESS_TEXT_MAX])
{
    char text[INET6_ADDRSTRLEN] = "unix";

    if (a->family == 4)
        (void)inet_ntop(AF_INET, a->octets, text, sizeof(text));
    else if (a->family == 6)
        (void)inet_ntop(AF_INET6, a->octets, text, sizeof(text));
    if (!with_port || a->family == 0)
        (void)snprintf(out, NET_ADDRESS_TEXT_MAX, "%s", text);
    else
        (void)snprintf(out, NET_ADDRESS_TEXT_MAX, a->family == 6 ? "[%s]:%u" : "%s:%u", text,
                       a->port);
}

static bool parse_port(struct slice text, uint16_t *ret)
{
    uint64_t port;

    if (!slice_to_u64(text, &port) || port == 0 || port > 65535)
        return false;
    *ret = (uint16_t)port;
    return true;
}

static bool parse_host(struct slice host, tern_address *a)
{
    char text[INET6_ADDRSTRLEN];

    if (host.len == 0 || host.len >= sizeof(text))
        return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (inet_pton(AF_INET, text, a->octets) == 1) {
        a->family = 4;
        return true;
    }
    if (inet_pton(AF_INET6, text, a->octets) != 1)
        return false;
    a->family = 6;
    return true;
}

bool net_address_equal(const tern_address *a, const tern_address *b)
{
    return a->family == b->family && a->port == b->port && memcmp(a->octets, b->octets, sizeof(a->octets)) == 0;
}

bool net_address_parse(struct slice text, unsigned port, tern_address *ret)
{
    tern_address a = { .port = (uint16_t)port };
    struct slice host = text;
    ptrdiff_t colon = slice_find(text, ':');

    if (text.len > 0 && text.ptr[0] == '[') {
        ptrdiff_t end = slice_find(text, ']');
        if (end < 0)
            return false;
        host = slice_make(text.ptr + 1, (size_t)end - 1);
        struct slice rest = slice_from(text, (size_t)end + 1);
        if (rest.len > 0 && (rest.ptr[0] != ':' || !parse_port(slice_from(rest, 1), &a.port)))
            return false;
    } else if (colon >= 0 && slice_find(slice_from(text, (size_t)colon + 1), ':') < 0) {
        host = slice_head(text, (size_t)colon);
        if (!parse_port(slice_from(text, (size_t)colon + 1), &a.port))
            return false;
    }
    if (!parse_host(host, &a))
        return false;
    *ret = a;
    return true;
}

socklen_t net_to_sockaddr(const tern_address *a, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (a->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->octets, 4);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    memcpy(&in6->sin6_addr, a->octets, 16);
    return sizeof(*in6);
}

void net_from_sockaddr(const struct sockaddr_storage *from, tern_address *a)
{
    *a = (tern_address){ .family = 0 };
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        a->family = 4;
        a->port = ntohs(in->sin_port);
        memcpy(a->octets, &in->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
        a->port = ntohs(in6->sin6_port);
        a->family = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? 4 : 6;
        if (a->family == 4)
            memcpy(a->octets, in6->sin6_addr.s6_addr + 12, 4);
        else
            memcpy(a->octets, &in6->sin6_addr, 16);
    }
}

int net_listen(const tern_address *address, int backlog)
{
    struct sockaddr_storage sa;
    socklen_t len = net_to_sockaddr(address, &sa);
    int one = 1, replies = NET_REPLIES_OCTETS;
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (sa.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    /* Replies are short. Without this the kernel would keep megabytes for each client that does not read. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &replies, sizeof(replies));
    if (bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, backlog) < 0) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    return fd;
}

int net_accept(int listen_fd, tern_address *ret_peer, tern_address *ret_local)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int one = 1;
    int fd = accept4(listen_fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return -errno;
    net_from_sockaddr(&sa, ret_peer);
    len = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        net_from_sockaddr(&sa, ret_local);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}
