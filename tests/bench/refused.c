/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refused.c - load of sessions that end in a refused recipient, which smtp-source cannot make:
 * connect, EHLO, MAIL, RCPT, QUIT; SESSIONS at once, COUNT in all. Loopback only.
 *
 *     refused PORT SESSIONS COUNT RCPT
 *
 * Exits 1 if any RCPT got something other than 5xx.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSIONS_MAX 500

static unsigned port, count;
static const char *rcpt;
static _Atomic unsigned next_session, wrong;

/* The code of one reply; the last line's. */
static int reply(int fd)
{
    char text[4096];
    size_t n = 0;

    while (n < sizeof(text) - 1) {
        ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);
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

static int command(int fd, const char *text)
{
    return write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? reply(fd) : -1;
}

static void session(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char text[512];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || reply(fd) != 220 ||
        command(fd, "EHLO client.example\r\n") != 250 || command(fd, "MAIL FROM:<a@client.example>\r\n") != 250) {
        wrong++;
    } else {
        (void)snprintf(text, sizeof(text), "RCPT TO:<%s>\r\n", rcpt);
        if (command(fd, text) / 100 != 5)
            wrong++;
        (void)command(fd, "QUIT\r\n");
    }
    if (fd >= 0)
        (void)close(fd);
}

static void *client(void *arg)
{
    (void)arg;
    while (atomic_fetch_add(&next_session, 1) < count)
        session();
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[SESSIONS_MAX];
    unsigned sessions = argc == 5 ? (unsigned)atoi(argv[2]) : 0;

    if (sessions == 0 || sessions > SESSIONS_MAX) {
        (void)fprintf(stderr, "usage: refused PORT SESSIONS COUNT RCPT\n");
        return 2;
    }
    port = (unsigned)atoi(argv[1]);
    count = (unsigned)atoi(argv[3]);
    rcpt = argv[4];
    for (unsigned i = 0; i < sessions; i++)
        if (pthread_create(&threads[i], NULL, client, NULL) != 0)
            return 2;
    for (unsigned i = 0; i < sessions; i++)
        (void)pthread_join(threads[i], NULL);
    printf("%u wrong\n", wrong);
    return wrong > 0;
}
