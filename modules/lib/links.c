/* SPDX-License-Identifier: Apache-2.0 */
#include <lib/links.h>

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define IDLE_MS      60000
#define PAUSE_MS_MIN 250
#define PAUSE_MS_MAX 10000

struct idle {
    void *link;
    uint64_t since_ms;
};

struct links {
    struct links *next;
    const struct links_ops *ops;
    uint8_t digest[32];
    struct idle idle[LINKS_IDLE_MAX]; /* the one used last at the end */
    unsigned count;
    uint64_t try_ms, pause_ms;
    bool failing;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all of them */
static struct links *all;
static unsigned all_count;

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void digest_of(const tern_str *texts, size_t count, uint8_t ret[32])
{
    crypto_generichash_state state;

    (void)crypto_generichash_init(&state, NULL, 0, 32);
    for (size_t i = 0; i < count; i++) {
        uint64_t len = texts[i].len;
        (void)crypto_generichash_update(&state, (const uint8_t *)&len, sizeof(len));
        if (len > 0)
            (void)crypto_generichash_update(&state, (const uint8_t *)texts[i].ptr, len);
    }
    (void)crypto_generichash_final(&state, ret, 32);
    sodium_memzero(&state, sizeof(state));
}

struct links *links_get(const struct links_ops *ops, const tern_str *texts, size_t count)
{
    uint8_t digest[32];
    struct links *l;

    if (sodium_init() < 0)
        return NULL;
    digest_of(texts, count, digest);
    (void)pthread_mutex_lock(&lock);
    for (l = all; l != NULL; l = l->next)
        if (l->ops == ops && memcmp(l->digest, digest, sizeof(digest)) == 0)
            break;
    if (l == NULL && all_count < LINKS_SETS_MAX && (l = calloc(1, sizeof(*l))) != NULL) {
        l->ops = ops;
        memcpy(l->digest, digest, sizeof(digest));
        l->next = all;
        all = l;
        all_count++;
    }
    (void)pthread_mutex_unlock(&lock);
    return l;
}

/* Takes one that has been idle for too long out of any set; NULL: there is none. Caller holds the lock. */
static void *stale(uint64_t now, const struct links_ops **ret_ops)
{
    for (struct links *l = all; l != NULL; l = l->next)
        if (l->count > 0 && now - l->idle[0].since_ms >= IDLE_MS) {
            void *link = l->idle[0].link;
            l->count--;
            memmove(l->idle, l->idle + 1, l->count * sizeof(l->idle[0]));
            *ret_ops = l->ops;
            return link;
        }
    return NULL;
}

static void close_stale(void)
{
    const struct links_ops *ops;

    for (;;) { /* ends: each turn takes one */
        (void)pthread_mutex_lock(&lock);
        void *link = stale(now_ms(), &ops);
        (void)pthread_mutex_unlock(&lock);
        if (link == NULL)
            return;
        ops->close(link);
    }
}

static void *take(struct links *l)
{
    void *link = NULL;

    (void)pthread_mutex_lock(&lock);
    if (l->count > 0)
        link = l->idle[--l->count].link;
    (void)pthread_mutex_unlock(&lock);
    return link;
}

static void give_back(struct links *l, void *link)
{
    bool room;

    (void)pthread_mutex_lock(&lock);
    room = l->count < LINKS_IDLE_MAX;
    if (room)
        l->idle[l->count++] = (struct idle){ link, now_ms() };
    (void)pthread_mutex_unlock(&lock);
    if (!room)
        l->ops->close(link);
}

bool links_is_pausing(struct links *l)
{
    (void)pthread_mutex_lock(&lock);
    bool pausing = now_ms() < l->try_ms;
    (void)pthread_mutex_unlock(&lock);
    return pausing;
}

bool links_note(struct links *l, bool failed)
{
    (void)pthread_mutex_lock(&lock);
    bool news = l->failing != failed;
    l->failing = failed;
    l->pause_ms = !failed ? 0 : l->pause_ms == 0 ? PAUSE_MS_MIN : l->pause_ms * 2;
    if (l->pause_ms > PAUSE_MS_MAX)
        l->pause_ms = PAUSE_MS_MAX;
    l->try_ms = failed ? now_ms() + l->pause_ms : 0;
    (void)pthread_mutex_unlock(&lock);
    return news;
}

/* With `link`, or a new one; it is given back or closed. */
static int ask_once(struct links *l, void *link, const void *conf, void *question, uint64_t end_ms, char *error,
                    size_t octets)
{
    uint64_t now = now_ms();
    int r = 0;

    if (link == NULL)
        r = l->ops->open(conf, end_ms > now ? end_ms - now : 1, &link, error, octets);
    if (r < 0)
        return r;
    now = now_ms();
    r = l->ops->ask(link, conf, question, end_ms > now ? end_ms - now : 1, error, octets);
    if (r == 0 || r == -EBADMSG)
        give_back(l, link);
    else
        l->ops->close(link);
    return r;
}

int links_ask(struct links *l, const void *conf, void *question, uint64_t timeout_ms, bool *ret_news, char *error,
              size_t octets)
{
    uint64_t end_ms = now_ms() + timeout_ms;

    *ret_news = false;
    close_stale();
    if (links_is_pausing(l))
        return -EAGAIN;
    void *link = take(l);
    bool old = link != NULL;
    int r = ask_once(l, link, conf, question, end_ms, error, octets);
    if (r == -ECONNRESET && old) /* the server was restarted */
        r = ask_once(l, NULL, conf, question, end_ms, error, octets);
    *ret_news = links_note(l, r < 0 && r != -EBADMSG) || r == -EBADMSG;
    return r;
}
