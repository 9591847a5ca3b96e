/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - the thread of a connection. One lock over everything of a link; it is never held while
 * waiting, and no function of the core that could come back to us is called under it.
 */
#include "link.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define OUT_OCTETS_MAX (1u << 20)

enum stage { IDLE, GREETING, READY };

struct exchange {
    struct exchange *next;
    struct link *link;
    tern_call *call; /* counted while in the link's list */
    tern_timer_fn answered;
    unsigned id, refs; /* of link and call */
    bool listed, server_turn;
    enum link_answer answer;
    size_t octets;
    char text[DOVECOT_CHALLENGE_OCTETS_MAX];
};

struct link {
    struct link *next;
    const struct tern_api *tern;
    struct sockaddr_un address;
    pthread_t thread;
    pthread_mutex_t lock;
    int wake_fd;
    bool started, closing;
    /* the connection */
    enum stage stage;
    int fd;
    int64_t deadline_ms, retry_ms; /* of the greeting; before which nothing is tried */
    bool version_seen;
    unsigned last_id;
    char *out; /* what waits to be written; wiped behind itself */
    size_t out_octets;
    size_t in_octets;
    char in[DOVECOT_LINE_OCTETS_MAX + 1];
    /* the exchanges */
    struct exchange *first;
    unsigned count;
    bool wanted; /* somebody waits for a connection */
};

static struct link *links;
static unsigned link_count;
static pthread_mutex_t links_lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nudge(const struct link *link)
{
    uint64_t one = 1;

    (void)!write(link->wake_fd, &one, sizeof(one)); /* full: it is awake anyway */
}

/* ---- exchanges; the caller holds the lock ---- */

static void unref(struct exchange *x)
{
    if (--x->refs > 0)
        return;
    sodium_memzero(x->text, sizeof(x->text));
    free(x);
}

static void unlist(struct exchange *x)
{
    struct exchange **at = &x->link->first;

    if (!x->listed)
        return;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    x->listed = false;
    x->link->count--;
    x->link->tern->call_unref(x->call);
    x->call = NULL;
    unref(x);
}

/* Gives an answer to the call; a last one takes the exchange out of the list. */
static void answer(struct exchange *x, enum link_answer what, tern_str text)
{
    x->answer = what;
    x->server_turn = false;
    x->octets = text.len < sizeof(x->text) ? text.len : sizeof(x->text);
    memcpy(x->text, text.ptr, x->octets);
    (void)x->link->tern->wake(x->call, x->answered);
    if (what != LINK_MORE)
        unlist(x);
}

static struct exchange *find(const struct link *link, unsigned id)
{
    struct exchange *x = link->first;

    while (x != NULL && x->id != id)
        x = x->next;
    return x;
}

/* ---- output; the caller holds the lock ---- */

static bool add(struct link *link, const char *text, size_t octets)
{
    if (link->out_octets + octets > OUT_OCTETS_MAX)
        return false;
    if (link->out == NULL && (link->out = malloc(OUT_OCTETS_MAX)) == NULL)
        return false;
    memcpy(link->out + link->out_octets, text, octets);
    link->out_octets += octets;
    return true;
}

/* "HEAD[base64]\n" as one line, or nothing. */
static bool add_line(struct link *link, const char *head, tern_str response)
{
    char line[DOVECOT_REQUEST_OCTETS_MAX + 1];
    size_t head_octets = strlen(head);
    bool ok = false;

    if (head_octets + sodium_base64_ENCODED_LEN(response.len, sodium_base64_VARIANT_ORIGINAL) < sizeof(line)) {
        memcpy(line, head, head_octets);
        line[head_octets] = '\0';
        if (response.ptr != NULL)
            (void)sodium_bin2base64(line + head_octets, sizeof(line) - head_octets, (const uint8_t *)response.ptr,
                                    response.len, sodium_base64_VARIANT_ORIGINAL);
        size_t octets = strlen(line);
        line[octets] = '\n';
        ok = add(link, line, octets + 1);
    }
    sodium_memzero(line, sizeof(line));
    return ok;
}

/* ---- the connection; thread of the link, with the lock ---- */

static void fail(struct link *link, const char *why, bool loud)
{
    if (loud)
        link->tern->log(NULL, TERN_LOG_ERROR, "auth_dovecot: %s: %s", link->address.sun_path, why);
    if (link->fd >= 0)
        (void)close(link->fd);
    link->fd = -1;
    link->stage = IDLE;
    link->wanted = false;
    link->in_octets = 0;
    if (link->out != NULL)
        sodium_memzero(link->out, link->out_octets);
    link->out_octets = 0;
    while (link->first != NULL) {
        /* The client is being asked: it shall not hear a reply before it has spoken. link_continue() will fail. */
        if (!link->first->server_turn && link->first->answer == LINK_NONE)
            unlist(link->first);
        else
            answer(link->first, LINK_FAILED, (tern_str){ why, strlen(why) });
    }
}

static void try_again_later(struct link *link, const char *why)
{
    link->retry_ms = now_ms() + LINK_RETRY_MS;
    fail(link, why, true);
}

static void start(struct link *link)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    link->wanted = false;
    if (fd < 0 || connect(fd, (struct sockaddr *)&link->address, sizeof(link->address)) < 0) {
        const char *why = strerror(errno);
        if (fd >= 0)
            (void)close(fd);
        try_again_later(link, why);
        return;
    }
    link->fd = fd;
    link->stage = GREETING;
    link->version_seen = false;
    link->deadline_ms = now_ms() + LINK_HANDSHAKE_MS;
}

static void greet(struct link *link)
{
    char line[64];

    /* In front of what waits: exchanges may have been added while the server greeted. */
    int n = snprintf(line, sizeof(line), "VERSION\t1\t1\nCPID\t%u\n", (unsigned)getpid());
    if (link->out == NULL && (link->out = malloc(OUT_OCTETS_MAX)) == NULL)
        return;
    if (link->out_octets + (size_t)n > OUT_OCTETS_MAX)
        return;
    memmove(link->out + n, link->out, link->out_octets);
    memcpy(link->out, line, (size_t)n);
    link->out_octets += (size_t)n;
    link->stage = READY;
}

/* False: this is not the protocol. */
static bool take_answer(struct link *link, const struct dovecot_line *l)
{
    struct exchange *x = find(link, l->number);

    if (link->stage != READY)
        return false;
    if (x == NULL)
        return true; /* cancelled meanwhile */
    if (!x->server_turn)
        return false; /* an answer to nothing: a yes to who has not spoken is none */
    if (l->word == DOVECOT_CONT)
        answer(x, LINK_MORE, l->challenge);
    else if (l->word == DOVECOT_FAIL)
        answer(x, l->temporary ? LINK_FAILED : LINK_NO, TERN_STR("the auth server has a temporary problem"));
    else
        answer(x, l->no_login ? LINK_NO : LINK_YES, l->user);
    return true;
}

static bool take_line(struct link *link, char *text, size_t octets)
{
    struct dovecot_line l;

    if (dovecot_parse(text, octets, &l) < 0)
        return false;
    switch (l.word) {
    case DOVECOT_VERSION: link->version_seen = l.number == 1; return link->version_seen;
    case DOVECOT_DONE:
        if (!link->version_seen || link->stage != GREETING)
            return false;
        greet(link);
        return true;
    case DOVECOT_OK:
    case DOVECOT_CONT:
    case DOVECOT_FAIL: return take_answer(link, &l);
    case DOVECOT_MECH:
    case DOVECOT_OTHER: return true;
    }
    return false;
}

static void take_lines(struct link *link)
{
    size_t used = 0;

    while (used < link->in_octets) {
        char *start = link->in + used;
        char *end = memchr(start, '\n', link->in_octets - used);
        if (end == NULL)
            break;
        used += (size_t)(end - start) + 1;
        if (!take_line(link, start, (size_t)(end - start))) {
            try_again_later(link, "what it says is not Dovecot's auth protocol");
            return;
        }
    }
    memmove(link->in, link->in + used, link->in_octets - used);
    link->in_octets -= used;
    if (link->in_octets == sizeof(link->in))
        try_again_later(link, "it sent a line of more than 16384 octets");
}

static void receive(struct link *link)
{
    ssize_t n = recv(link->fd, link->in + link->in_octets, sizeof(link->in) - link->in_octets, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        /* An idle connection may end: Dovecot was restarted. */
        fail(link, n == 0 ? "it has hung up" : strerror(errno), link->first != NULL || link->stage != READY);
        return;
    }
    link->in_octets += (size_t)n;
    take_lines(link);
}

static void transmit(struct link *link)
{
    ssize_t n = send(link->fd, link->out, link->out_octets, MSG_NOSIGNAL);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        fail(link, strerror(errno), true);
        return;
    }
    size_t rest = link->out_octets - (size_t)n;
    memmove(link->out, link->out + n, rest);
    sodium_memzero(link->out + rest, (size_t)n);
    link->out_octets = rest;
}

/* ---- the thread ---- */

static int wait_ms(const struct link *link)
{
    if (link->stage != GREETING)
        return -1;
    int64_t left = link->deadline_ms - now_ms();
    return left > 0 ? (int)left : 0;
}

static void step(struct link *link, short events)
{
    if (link->fd >= 0 && (events & (POLLIN | POLLHUP | POLLERR)) != 0)
        receive(link);
    if (link->fd >= 0 && link->stage == READY && link->out_octets > 0)
        transmit(link);
    if (link->fd >= 0 && link->stage == GREETING && now_ms() >= link->deadline_ms)
        try_again_later(link, "it accepts and does not greet");
    if (link->fd < 0 && link->wanted)
        start(link);
}

static void *thread_main(void *arg)
{
    struct link *link = arg;
    uint64_t ignored;

    pthread_mutex_lock(&link->lock);
    while (!link->closing) {
        struct pollfd fds[2] = { { .fd = link->wake_fd, .events = POLLIN }, { .fd = link->fd, .events = POLLIN } };
        if (link->stage == READY && link->out_octets > 0)
            fds[1].events |= POLLOUT;
        int ms = wait_ms(link);
        pthread_mutex_unlock(&link->lock);
        (void)poll(fds, 2, ms);
        (void)!read(link->wake_fd, &ignored, sizeof(ignored));
        pthread_mutex_lock(&link->lock);
        step(link, fds[1].revents);
    }
    fail(link, "the server stops", false);
    pthread_mutex_unlock(&link->lock);
    return NULL;
}

/* With the lock. */
static bool start_thread(struct link *link)
{
    sigset_t all, old;

    if (link->started)
        return true;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old);
    link->started = pthread_create(&link->thread, NULL, thread_main, link) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return link->started;
}

/* ---- for the module ---- */

static struct link *make(const struct tern_api *tern, const char *path)
{
    struct link *link = link_count < LINKS_MAX ? calloc(1, sizeof(*link)) : NULL;

    if (link == NULL)
        return NULL;
    link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->wake_fd < 0) {
        free(link);
        return NULL;
    }
    link->tern = tern;
    link->fd = -1;
    link->address.sun_family = AF_UNIX;
    (void)snprintf(link->address.sun_path, sizeof(link->address.sun_path), "%s", path);
    pthread_mutex_init(&link->lock, NULL);
    link->next = links;
    links = link;
    link_count++;
    return link;
}

struct link *link_get(const struct tern_api *tern, const char *path)
{
    pthread_mutex_lock(&links_lock);
    struct link *link = links;
    while (link != NULL && strcmp(link->address.sun_path, path) != 0)
        link = link->next;
    if (link == NULL)
        link = make(tern, path);
    pthread_mutex_unlock(&links_lock);
    return link;
}

void link_end_all(void)
{
    pthread_mutex_lock(&links_lock);
    struct link *rest = links;
    links = NULL;
    link_count = 0;
    pthread_mutex_unlock(&links_lock);
    while (rest != NULL) {
        struct link *link = rest;
        rest = link->next;
        pthread_mutex_lock(&link->lock);
        link->closing = true;
        pthread_mutex_unlock(&link->lock);
        nudge(link);
        if (link->started)
            (void)pthread_join(link->thread, NULL);
        (void)close(link->wake_fd);
        pthread_mutex_destroy(&link->lock);
        free(link->out);
        free(link);
    }
}

static const char *refusal(struct link *link)
{
    if (link->closing)
        return "the server stops";
    if (link->count >= LINK_EXCHANGES_MAX)
        return "1000 logins are under way already";
    if (link->fd < 0 && now_ms() < link->retry_ms)
        return "the auth server was not there a moment ago";
    return start_thread(link) ? NULL : "no thread could be started";
}

struct exchange *link_begin(struct link *link, tern_call *call, tern_timer_fn answered, const char *mechanism,
                            const char *parameters, tern_str response, const char **ret_why)
{
    char head[1024];
    struct exchange *x = calloc(1, sizeof(*x));

    *ret_why = "no memory";
    if (x == NULL)
        return NULL;
    pthread_mutex_lock(&link->lock);
    *ret_why = refusal(link);
    if (*ret_why == NULL) {
        unsigned id = ++link->last_id;
        int n = snprintf(head, sizeof(head), "AUTH\t%u\t%s\t%s%s", id, mechanism, parameters,
                         response.ptr != NULL ? "\tresp=" : "");
        if (n >= (int)sizeof(head) || !add_line(link, head, response))
            *ret_why = "what the client says is too long";
        *x = (struct exchange){ .next = link->first, .link = link, .call = call, .answered = answered, .id = id,
                                .refs = 2, .listed = true, .server_turn = true };
    }
    if (*ret_why == NULL) {
        x->call = link->tern->call_ref(call);
        link->first = x;
        link->count++;
        link->wanted = link->fd < 0;
    } else {
        free(x);
        x = NULL;
    }
    pthread_mutex_unlock(&link->lock);
    nudge(link);
    return x;
}

enum link_answer link_take(struct exchange *x, tern_call *call, tern_str *ret_text)
{
    struct link *link = x->link;

    pthread_mutex_lock(&link->lock);
    enum link_answer what = x->answer;
    x->answer = LINK_NONE;
    char *copy = link->tern->alloc(call, x->octets + 1);
    if (copy == NULL)
        what = LINK_FAILED;
    else
        memcpy(copy, x->text, x->octets);
    *ret_text = copy != NULL ? (tern_str){ copy, x->octets } : TERN_STR("no memory");
    pthread_mutex_unlock(&link->lock);
    return what;
}

bool link_continue(struct exchange *x, tern_str response)
{
    struct link *link = x->link;
    char head[32];

    pthread_mutex_lock(&link->lock);
    (void)snprintf(head, sizeof(head), "CONT\t%u\t", x->id);
    bool ok = x->listed && !x->server_turn && add_line(link, head, response);
    x->server_turn |= ok;
    pthread_mutex_unlock(&link->lock);
    nudge(link);
    return ok;
}

void link_end(struct exchange *x)
{
    struct link *link = x->link;
    char head[32];

    pthread_mutex_lock(&link->lock);
    (void)snprintf(head, sizeof(head), "CANCEL\t%u", x->id);
    if (x->listed)
        (void)add_line(link, head, (tern_str){ NULL, 0 });
    unlist(x);
    unref(x);
    pthread_mutex_unlock(&link->lock);
    nudge(link);
}
