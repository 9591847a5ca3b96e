/* SPDX-License-Identifier: Apache-2.0 */
#include "dns_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

#define HUNG_MAX 16

struct dns_server_fake {
    const struct dns_row *rows;
    size_t count;
    int udp, tcp, hung[HUNG_MAX];
    unsigned hung_count;
    tern_address address;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic unsigned questions;
};

void dns_put_u16(struct buf *out, unsigned n)
{
    buf_add_char(out, (char)(n >> 8));
    buf_add_char(out, (char)n);
}

void dns_put_u32(struct buf *out, uint32_t n)
{
    dns_put_u16(out, n >> 16);
    dns_put_u16(out, n & 0xffff);
}

void dns_put_name(struct buf *out, const char *name)
{
    while (*name != '\0' && strcmp(name, ".") != 0) {
        size_t len = strcspn(name, ".");
        buf_add_char(out, (char)len);
        buf_add(out, slice_make(name, len));
        name += len + (name[len] == '.');
    }
    buf_add_char(out, 0);
}

static void put_text(struct buf *out, const char *data)
{
    unsigned long n = strncmp(data, "*", 1) == 0 ? strtoul(data + 1, NULL, 10) : 0;

    if (n == 0) { /* words are character-strings */
        while (*data != '\0') {
            size_t len = strcspn(data, " ");
            buf_add_char(out, (char)len);
            buf_add(out, slice_make(data, len));
            data += len + (data[len] == ' ');
        }
        return;
    }
    for (; n > 0; n -= n < 255 ? n : 255) { /* *N: N octets of 't' */
        size_t len = n < 255 ? n : 255;
        buf_add_char(out, (char)len);
        for (size_t i = 0; i < len; i++)
            buf_add_char(out, 't');
    }
}

static unsigned put_data(struct buf *out, const char *type, const char *data)
{
    unsigned char octets[16];
    unsigned preference;
    int at = 0;

    if (strcmp(type, "A") == 0) {
        (void)inet_pton(AF_INET, data, octets);
        buf_add(out, slice_make((char *)octets, 4));
        return TERN_DNS_A;
    }
    if (strcmp(type, "AAAA") == 0) {
        (void)inet_pton(AF_INET6, data, octets);
        buf_add(out, slice_make((char *)octets, 16));
        return TERN_DNS_AAAA;
    }
    if (strcmp(type, "MX") == 0) {
        (void)sscanf(data, "%u %n", &preference, &at);
        dns_put_u16(out, preference);
        dns_put_name(out, data + at);
        return TERN_DNS_MX;
    }
    if (strcmp(type, "TXT") == 0) {
        put_text(out, data);
        return TERN_DNS_TXT;
    }
    if (strcmp(type, "SOA") == 0) { /* the data is the minimum */
        dns_put_name(out, "ns.test");
        dns_put_name(out, "hostmaster.test");
        for (unsigned i = 0; i < 4; i++)
            dns_put_u32(out, 1);
        dns_put_u32(out, (uint32_t)strtoul(data, NULL, 10));
        return 6;
    }
    dns_put_name(out, data);
    return strcmp(type, "CNAME") == 0 ? TERN_DNS_CNAME
           : strcmp(type, "NS") == 0  ? TERN_DNS_NS
                                      : TERN_DNS_PTR;
}

unsigned dns_put_records(struct buf *out, const char *text)
{
    unsigned count = 0;

    while (text != NULL && *text != '\0') {
        char owner[256], type[8], data[300];
        unsigned ttl;
        size_t len = strcspn(text, "\n");
        char line[600];
        snprintf(line, sizeof(line), "%.*s", (int)len, text);
        if (sscanf(line, "%255s %u %7s %299[^\n]", owner, &ttl, type, data) != 4)
            abort();
        struct buf rdata CLEANUP_BUF = BUF_INIT;
        unsigned number = put_data(&rdata, type, data);
        dns_put_name(out, owner);
        dns_put_u16(out, number);
        dns_put_u16(out, 1);
        dns_put_u32(out, ttl);
        dns_put_u16(out, (unsigned)rdata.len);
        buf_add(out, buf_slice(&rdata));
        text += len + (text[len] == '\n');
        count++;
    }
    return count;
}

/* The question's name as text, its type, and where the question ends; 0 if it is none. */
static size_t read_question(const unsigned char *q, size_t len, char name[256], unsigned *type)
{
    size_t at = 12, out = 0;

    while (at < len && q[at] != 0) {
        if (at + 1 + q[at] >= len || out + q[at] + 2 > 255)
            return 0;
        if (out > 0)
            name[out++] = '.';
        memcpy(name + out, q + at + 1, q[at]);
        out += q[at];
        at += q[at] + 1u;
    }
    name[out] = '\0';
    if (at + 5 > len)
        return 0;
    *type = (unsigned)q[at + 1] << 8 | q[at + 2];
    return at + 5;
}

static const struct dns_row *find_row(const struct dns_server_fake *s, const char *name,
                                      unsigned type)
{
    static const struct dns_row nothing = { .rcode = 3, .authority = "test 300 SOA 60" };

    for (size_t i = 0; i < s->count; i++)
        if (s->rows[i].type == type && strcasecmp(s->rows[i].name, name) == 0)
            return &s->rows[i];
    return &nothing;
}

static void set_u16(struct buf *out, size_t at, unsigned n)
{
    out->data[at] = (char)(n >> 8);
    out->data[at + 1] = (char)n;
}

static void compose(const struct dns_row *row, const unsigned char *q, size_t question_end,
                    bool tcp, struct buf *out)
{
    bool has_opt = (q[10] << 8 | q[11]) > 0;
    bool cut = (row->flags & DNS_TRUNCATED) && !tcp;
    unsigned rcode = (row->flags & DNS_NO_EDNS) && has_opt ? 1 : row->rcode;
    unsigned flags = 0x8100 | rcode | (cut ? 0x200 : 0) | (row->flags & DNS_NO_RA ? 0 : 0x80) |
                     (row->flags & DNS_AD ? 0x20 : 0);

    buf_add(out, slice_make((const char *)q, question_end));
    memset(out->data + 6, 0, 6);
    set_u16(out, 2, flags);
    if (cut || (rcode != 0 && rcode != 3))
        return;
    if (row->flags & DNS_LOOP) {
        set_u16(out, 6, 1);
        dns_put_u16(out, 0xc000 | (unsigned)out->len);
        dns_put_u32(out, 0x00010001);
        dns_put_u32(out, 60);
        dns_put_u16(out, 4);
        dns_put_u32(out, 0x7f000001);
        return;
    }
    if (row->flags & DNS_GARBAGE) {
        set_u16(out, 6, 3);
        buf_add_cstr(out, "\x07garbage");
        return;
    }
    set_u16(out, 6, dns_put_records(out, row->answer));
    set_u16(out, 8, dns_put_records(out, row->authority));
    if (row->flags & DNS_CUT)
        out->len -= 3;
}

static void send_forged(int fd, const struct dns_row *row, const struct buf *out,
                        const struct sockaddr_in *to)
{
    char forged[600];
    size_t len = out->len < sizeof(forged) ? out->len : sizeof(forged);

    memcpy(forged, out->data, len);
    if (row->flags & DNS_WRONG_ID)
        forged[0] ^= 0x55;
    if (row->flags & DNS_WRONG_Q)
        forged[13] ^= 0x01;
    forged[len - 1] ^= 0x7f; /* another address: it would be seen */
    (void)sendto(fd, forged, len, 0, (const struct sockaddr *)to, sizeof(*to));
}

static void serve_udp(struct dns_server_fake *s)
{
    unsigned char q[2048];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    struct buf out CLEANUP_BUF = BUF_INIT;
    char name[256];
    unsigned type;
    ssize_t n = recvfrom(s->udp, q, sizeof(q), 0, (struct sockaddr *)&from, &from_len);

    if (n < 12)
        return;
    size_t end = read_question(q, (size_t)n, name, &type);
    if (end == 0)
        return;
    atomic_fetch_add(&s->questions, 1);
    const struct dns_row *row = find_row(s, name, type);
    if (row->flags & DNS_SILENT)
        return;
    compose(row, q, end, false, &out);
    if (row->flags & (DNS_WRONG_ID | DNS_WRONG_Q))
        send_forged(s->udp, row, &out, &from);
    for (unsigned i = 0; i < (row->flags & DNS_AGAIN ? 2u : 1u); i++)
        (void)sendto(s->udp, out.data, out.len, 0, (struct sockaddr *)&from, sizeof(from));
}

/* One question on one connection; c-ares writes it at once. */
static void serve_tcp(struct dns_server_fake *s)
{
    unsigned char q[2048];
    struct buf out CLEANUP_BUF = BUF_INIT;
    char name[256];
    unsigned type;
    size_t have = 0;
    int fd = accept(s->tcp, NULL, NULL);

    if (fd < 0)
        return;
    while (have < 2 || have < 2u + (unsigned)(q[0] << 8 | q[1])) {
        ssize_t n = recv(fd, q + have, sizeof(q) - have, 0);
        if (n <= 0)
            goto done;
        have += (size_t)n;
    }
    size_t end = read_question(q + 2, have - 2, name, &type);
    if (end == 0)
        goto done;
    atomic_fetch_add(&s->questions, 1);
    const struct dns_row *row = find_row(s, name, type);
    if ((row->flags & DNS_HANG_TCP) && s->hung_count < HUNG_MAX) {
        s->hung[s->hung_count++] = fd;
        return;
    }
    compose(row, q + 2, end, true, &out);
    unsigned char head[2] = { (unsigned char)(out.len >> 8), (unsigned char)out.len };
    (void)send(fd, head, 2, MSG_NOSIGNAL);
    (void)send(fd, out.data, out.len, MSG_NOSIGNAL);
done:
    (void)close(fd);
}

static void *run(void *arg)
{
    struct dns_server_fake *s = arg;
    struct pollfd p[2] = { { .fd = s->udp, .events = POLLIN }, { .fd = s->tcp, .events = POLLIN } };

    while (!atomic_load(&s->stop)) {
        if (poll(p, 2, 20) <= 0)
            continue;
        if (p[0].revents & POLLIN)
            serve_udp(s);
        if (p[1].revents & POLLIN)
            serve_tcp(s);
    }
    return NULL;
}

/* The same port for both; another is tried where TCP has it already. */
static bool bind_both(struct dns_server_fake *s)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(in);

    s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->udp, (struct sockaddr *)&in, sizeof(in)) == 0 &&
        getsockname(s->udp, (struct sockaddr *)&in, &len) == 0 &&
        bind(s->tcp, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(s->tcp, 10) == 0) {
        s->address =
            (tern_address){ .family = 4, .octets = { 127, 0, 0, 1 }, .port = ntohs(in.sin_port) };
        return true;
    }
    (void)close(s->udp);
    (void)close(s->tcp);
    return false;
}

struct dns_server_fake *dns_fake_start(const struct dns_row *rows, size_t count)
{
    struct dns_server_fake *s = mem_zalloc(sizeof(*s));

    s->rows = rows;
    s->count = count;
    for (unsigned i = 0; !bind_both(s); i++)
        if (i == 100)
            abort();
    (void)pthread_create(&s->thread, NULL, run, s);
    return s;
}

void dns_fake_stop(struct dns_server_fake *s)
{
    atomic_store(&s->stop, true);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->udp);
    (void)close(s->tcp);
    for (unsigned i = 0; i < s->hung_count; i++)
        (void)close(s->hung[i]);
    free(s);
}

tern_address dns_fake_address(const struct dns_server_fake *s)
{
    return s->address;
}

unsigned dns_fake_questions(const struct dns_server_fake *s)
{
    return atomic_load(&s->questions);
}
