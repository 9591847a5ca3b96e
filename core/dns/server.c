/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - one DNS server behind one c-ares channel: packets out, packets in, UDP
 * with TCP where an answer is cut.
 *
 * Of c-ares only ares_send() is used: it sends our octets, matches the answer by id,
 * sender and question, and falls back to TCP. ares_getaddrinfo() and the parsers are not
 * (CVE-2026-33630; no TTL for MX). Traps of 1.18: without NOCHECKRESP an answer such as SERVFAIL
 * is thrown away; a callback may come from inside ares_send().
 */
#include <ares.h>
#include <arpa/nameser.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "dns/private.h"

#define EDNS_OCTETS 1232 /* of a UDP answer: never fragmented (DNS flag day 2020) */
#define DNS_PORT    53

struct dns_server {
    struct loop *loop;
    ares_channel channel;
    struct loop_timer timer;
    struct list watches;
    uint64_t down_until_ms;
    bool loopback;
    bool without_edns;
};

/* One socket of the channel. */
struct watch {
    struct list link;
    struct dns_server *server;
    struct loop_watch *watch;
    int fd;
};

static pthread_once_t ares_once = PTHREAD_ONCE_INIT;

static void init_ares(void)
{
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS || sodium_init() < 0)
        abort(); /* no randomness or no memory: query ids could be guessed */
}

/* Sets the timer to the channel's next time-out. */
static void arm(struct dns_server *server)
{
    struct timeval tv;

    if (ares_timeout(server->channel, NULL, &tv) == NULL) {
        loop_timer_stop(&server->timer);
        return;
    }
    loop_timer_start(server->loop, &server->timer,
                     (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1);
}

static void on_timer(struct loop_timer *timer)
{
    struct dns_server *server = list_entry(timer, struct dns_server, timer);

    ares_process_fd(server->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(server);
}

static void on_ready(void *arg, int events)
{
    struct watch *watch = arg;
    struct dns_server *server = watch->server; /* the watch may be gone after the call */
    int fd = watch->fd;

    ares_process_fd(server->channel, events & (LOOP_READ | LOOP_HUP) ? fd : ARES_SOCKET_BAD,
                    events & LOOP_WRITE ? fd : ARES_SOCKET_BAD);
    arm(server);
}

static struct watch *find_watch(struct dns_server *server, int fd)
{
    list_each (link, &server->watches) {
        struct watch *watch = list_entry(link, struct watch, link);
        if (watch->fd == fd)
            return watch;
    }
    return NULL;
}

/* c-ares opened a socket, wants something else of it, or is about to close it. */
static void on_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns_server *server = arg;
    struct watch *watch = find_watch(server, fd);
    int events = (readable ? LOOP_READ : 0) | (writable ? LOOP_WRITE : 0);

    if (events == 0) {
        if (watch == NULL)
            return;
        list_remove(&watch->link);
        loop_watch_free(watch->watch);
        free(watch);
        return;
    }
    if (watch == NULL) {
        watch = mem_zalloc(sizeof(*watch));
        watch->server = server;
        watch->fd = fd;
        watch->watch = loop_watch_new(server->loop, fd, on_ready, watch);
        list_push(&server->watches, &watch->link);
    }
    if (watch->watch != NULL) /* else the question times out */
        loop_watch_set(watch->watch, events);
}

static bool is_loopback(const tern_address *a)
{
    static const uint8_t v6[16] = { [15] = 1 };

    return a->family == 4 ? a->octets[0] == 127 : memcmp(a->octets, v6, sizeof(v6)) == 0;
}

static int set_address(ares_channel channel, const tern_address *address)
{
    int port = address->port != 0 ? address->port : DNS_PORT;
    struct ares_addr_port_node node = {
        .family = address->family == 4 ? AF_INET : AF_INET6,
        .udp_port = port,
        .tcp_port = port,
    };

    if (address->family == 4)
        memcpy(&node.addr.addr4, address->octets, 4);
    else
        memcpy(&node.addr.addr6, address->octets, 16);
    return ares_set_servers_ports(channel, &node);
}

struct dns_server *dns_server_new(struct loop *loop, const tern_address *address,
                                  unsigned timeout_ms)
{
    (void)pthread_once(&ares_once, init_ares);
    struct dns_server *server = mem_zalloc(sizeof(*server));
    struct in_addr nobody = { 0 }; /* replaced below; keeps c-ares from resolv.conf */
    char lookups[] = "b";
    struct ares_options options = {
        .flags = ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
        .timeout = (int)timeout_ms,
        .tries = 1,
        .ednspsz = EDNS_OCTETS,
        .servers = &nobody,
        .nservers = 1,
        .lookups = lookups,
        .sock_state_cb = on_socket,
        .sock_state_cb_data = server,
    };

    server->loop = loop;
    server->loopback = is_loopback(address);
    list_init(&server->watches);
    loop_timer_init(&server->timer, on_timer);
    if (ares_init_options(&server->channel, &options,
                          ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
                              ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS |
                              ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) {
        free(server);
        return NULL;
    }
    if (set_address(server->channel, address) != ARES_SUCCESS) {
        dns_server_free(server);
        return NULL;
    }
    return server;
}

void dns_server_free(struct dns_server *server)
{
    if (server == NULL)
        return;
    ares_destroy(server->channel); /* closes the sockets by on_socket() */
    assert(list_empty(&server->watches));
    loop_timer_stop(&server->timer);
    free(server);
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *packet, int len)
{
    (void)timeouts;
    dns_question_answered(
        arg, status, slice_make((const char *)packet, packet != NULL && len > 0 ? (size_t)len : 0));
}

void dns_server_send(struct dns_server *server, struct dns_question *question)
{
    unsigned char *packet = NULL;
    int len = 0;
    unsigned short id = (unsigned short)randombytes_random();
    int r = ares_create_query(question->name, ns_c_in, (int)question->type, id, 1, &packet, &len,
                              server->without_edns ? 0 : EDNS_OCTETS);

    if (r != ARES_SUCCESS) {
        dns_question_answered(question, r, slice_make(NULL, 0));
        return;
    }
    packet[3] |= 0x20; /* AD in a question: "tell me if you validated it" (RFC 6840 5.7) */
    ares_send(server->channel, packet, len, on_answer, question);
    ares_free_string(packet);
    arm(server);
}

bool dns_server_is_loopback(const struct dns_server *server)
{
    return server->loopback;
}

bool dns_server_without_edns(struct dns_server *server)
{
    bool news = !server->without_edns;

    server->without_edns = true;
    return news;
}

void dns_server_mark_down(struct dns_server *server, bool down)
{
    server->down_until_ms = down ? clock_now_ms() + DNS_DOWN_MS : 0;
}

bool dns_server_is_down(const struct dns_server *server)
{
    return clock_now_ms() < server->down_until_ms;
}

int dns_servers_of_system(tern_address out[DNS_SERVERS_MAX])
{
    ares_channel channel;
    struct ares_addr_port_node *nodes = NULL;
    int count = 0;

    (void)pthread_once(&ares_once, init_ares);
    if (ares_init(&channel) != ARES_SUCCESS)
        return -EIO;
    if (ares_get_servers_ports(channel, &nodes) != ARES_SUCCESS)
        nodes = NULL;
    for (const struct ares_addr_port_node *n = nodes; n != NULL && count < DNS_SERVERS_MAX;
         n = n->next) {
        tern_address *a = &out[count++];
        *a =
            (tern_address){ .family = n->family == AF_INET ? 4 : 6, .port = (uint16_t)n->udp_port };
        memcpy(a->octets, &n->addr, n->family == AF_INET ? 4 : 16);
    }
    if (nodes != NULL)
        ares_free_data(nodes);
    ares_destroy(channel);
    return count;
}
