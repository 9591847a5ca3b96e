/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sessions.c - load that smtp-source cannot make; SESSIONS at once, COUNT in all, a connection each. Loopback only.
 *
 *     sessions refused  PORT SESSIONS COUNT RCPT           connect, EHLO, MAIL, a refused RCPT, QUIT
 *     sessions starttls PORT SESSIONS COUNT RCPT OCTETS    EHLO, STARTTLS with a full handshake, EHLO, one mail, QUIT
 *
 * TLS by GnuTLS: OpenSSL 3.0 needs half a millisecond to read a certificate, as much as a handshake costs the
 * server; what is to be measured must not wait for the one who measures.
 *
 * Exits 1 if any command got another reply than it should.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSIONS_MAX 500
#define OCTETS_MAX   (1u << 20)
#define LINE_OCTETS  80

struct link {
    int fd;
    gnutls_session_t tls; /* NULL: in clear */
};

static unsigned port, count;
static bool with_tls;
static char rcpt[512];
static char *mail; /* with its end of data */
static gnutls_certificate_credentials_t nobody; /* no certificate is verified */
static gnutls_priority_t priority;
static _Atomic unsigned next_session, wrong;

static ssize_t link_read(struct link *l, char *to, size_t size)
{
    ssize_t n;

    if (l->tls == NULL)
        return read(l->fd, to, size);
    do
        n = gnutls_record_recv(l->tls, to, size); /* a ticket is told as GNUTLS_E_AGAIN */
    while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
    return n;
}

static bool link_write(struct link *l, const char *from, size_t octets)
{
    while (octets > 0) {
        ssize_t n = l->tls != NULL ? gnutls_record_send(l->tls, from, octets) : write(l->fd, from, octets);
        if (n <= 0)
            return false;
        from += n;
        octets -= (size_t)n;
    }
    return true;
}

/* The code of one reply; the last line's. */
static int reply(struct link *l)
{
    char text[4096];
    size_t n = 0;

    while (n < sizeof(text) - 1) {
        ssize_t got = link_read(l, text + n, sizeof(text) - 1 - n);
        if (got <= 0)
            return -1;
        n += (size_t)got;
        text[n] = '\0';
        char *line = text;
        for (char *end = strchr(line, '\n'); end != NULL; line = end + 1, end = strchr(line, '\n'))
            if (end - line > 3 && line[3] != '-')
                return atoi(line);
    }
    return -1;
}

static int command(struct link *l, const char *text)
{
    return link_write(l, text, strlen(text)) ? reply(l) : -1;
}

static bool open_link(struct link *l)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    return l->fd >= 0 && connect(l->fd, (struct sockaddr *)&to, sizeof(to)) == 0 && reply(l) == 220 &&
           command(l, "EHLO client.example\r\n") == 250;
}

static bool start_tls(struct link *l)
{
    if (command(l, "STARTTLS\r\n") != 220)
        return false;
    if (gnutls_init(&l->tls, GNUTLS_CLIENT) < 0 || gnutls_priority_set(l->tls, priority) < 0 ||
        gnutls_credentials_set(l->tls, GNUTLS_CRD_CERTIFICATE, nobody) < 0)
        return false;
    gnutls_transport_set_int(l->tls, l->fd);
    int r;
    do
        r = gnutls_handshake(l->tls);
    while (r < 0 && !gnutls_error_is_fatal(r));
    return r == 0 && command(l, "EHLO client.example\r\n") == 250;
}

static bool talk(struct link *l)
{
    if (!open_link(l) || (with_tls && !start_tls(l)) || command(l, "MAIL FROM:<foo@client.example>\r\n") != 250)
        return false;
    int code = command(l, rcpt);
    if (!with_tls)
        return code / 100 == 5 && command(l, "QUIT\r\n") == 221;
    return code == 250 && command(l, "DATA\r\n") == 354 && command(l, mail) == 250 && command(l, "QUIT\r\n") == 221;
}

static void *client(void *arg)
{
    (void)arg;
    while (atomic_fetch_add(&next_session, 1) < count) {
        struct link l = { -1, NULL };
        if (!talk(&l))
            wrong++;
        if (l.tls != NULL)
            gnutls_deinit(l.tls);
        if (l.fd >= 0)
            (void)close(l.fd);
    }
    return NULL;
}

static char *make_mail(size_t octets)
{
    static const char head[] = "From: <foo@client.example>\r\nTo: <user@sink.example>\r\nSubject: load\r\n\r\n";
    char *text = malloc(sizeof(head) + octets + 2 * LINE_OCTETS);
    size_t n = sizeof(head) - 1;

    memcpy(text, head, n);
    while (n < octets) {
        memset(text + n, 'x', LINE_OCTETS - 2);
        memcpy(text + n + LINE_OCTETS - 2, "\r\n", 2);
        n += LINE_OCTETS;
    }
    memcpy(text + n, ".\r\n", 4);
    return text;
}

int main(int argc, char **argv)
{
    pthread_t threads[SESSIONS_MAX];
    unsigned sessions = argc >= 6 ? (unsigned)atoi(argv[3]) : 0;
    size_t octets = argc == 7 ? (size_t)atoi(argv[6]) : 0;

    if (sessions == 0 || sessions > SESSIONS_MAX || octets > OCTETS_MAX) {
        (void)fprintf(stderr, "usage: sessions refused|starttls PORT SESSIONS COUNT RCPT [OCTETS]\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    with_tls = strcmp(argv[1], "starttls") == 0;
    port = (unsigned)atoi(argv[2]);
    count = (unsigned)atoi(argv[4]);
    (void)snprintf(rcpt, sizeof(rcpt), "RCPT TO:<%s>\r\n", argv[5]);
    mail = make_mail(octets);
    if (gnutls_certificate_allocate_credentials(&nobody) < 0 ||
        gnutls_priority_init(&priority, "NORMAL:-GROUP-ALL:+GROUP-X25519", NULL) < 0)
        return 2;
    for (unsigned i = 0; i < sessions; i++)
        if (pthread_create(&threads[i], NULL, client, NULL) != 0)
            return 2;
    for (unsigned i = 0; i < sessions; i++)
        (void)pthread_join(threads[i], NULL);
    printf("%u wrong\n", wrong);
    return wrong > 0;
}
