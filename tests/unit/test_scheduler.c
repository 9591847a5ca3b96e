/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_scheduler.c - the scheduler's thread with real loops' threads around it, and an operator who
 * disturbs. Worth most under TSan. Every message must end, in any interleaving.
 */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/inbox.h"
#include "base/mem.h"
#include "queue/scheduler.h"

#define LOOPS    3
#define MESSAGES 20000

struct slot {
    struct site *site;
    bool opened;
};

struct post {
    struct list link;
    enum { PREPARE, OPEN, PARCELS, STOP } kind;
    struct spool_entry entry;
    struct site *site;
    struct slot *slot;
    struct list parcels;
};

struct fake_loop {
    pthread_t thread;
    struct inbox inbox;
    unsigned index;
    uint64_t seed;
};

struct fake_parcel {
    struct parcel parcel;
    struct spool_entry entry;
    char site[16];
};

static struct scheduler *scheduler;
static struct fake_loop loops[LOOPS];
static _Atomic unsigned finished, retried, returned;
static _Atomic unsigned char with_loop[MESSAGES + 1];

static void put(unsigned loop_index, struct post *post)
{
    (void)inbox_put(&loops[loop_index].inbox, &post->link);
}

static struct post *post_new(int kind)
{
    struct post *post = mem_zalloc(sizeof(*post));

    post->kind = kind;
    list_init(&post->parcels);
    return post;
}

static void on_prepare(void *arg, unsigned loop_index, const struct spool_entry *entry)
{
    struct post *post = post_new(PREPARE);

    (void)arg;
    post->entry = *entry;
    put(loop_index, post);
}

static void on_open(void *arg, unsigned loop_index, struct site *site, struct parcel *first)
{
    struct post *post = post_new(OPEN);

    (void)arg;
    post->site = site;
    list_push(&post->parcels, &first->link);
    put(loop_index, post);
}

static void on_parcels(void *arg, unsigned loop_index, struct site *site, void *slot,
                       struct list *parcels, struct slice text)
{
    struct post *post = post_new(PARCELS);

    (void)arg;
    (void)text;
    post->site = site;
    post->slot = slot;
    list_splice(&post->parcels, parcels);
    put(loop_index, post);
}

static const struct scheduler_ops ops = { .prepare = on_prepare,
                                          .open = on_open,
                                          .parcels = on_parcels };

static uint64_t rnd(struct fake_loop *loop, uint64_t below)
{
    loop->seed = loop->seed * 6364136223846793005u + 1442695040888963407u;
    return (loop->seed >> 33) % below;
}

static void prepare(struct fake_loop *loop, const struct spool_entry *entry)
{
    struct fake_parcel *p = mem_zalloc(sizeof(*p));
    struct list parcels;

    CU_ASSERT_EQUAL_FATAL(atomic_exchange(&with_loop[entry->key.txn], 1), 0);
    p->entry = *entry;
    (void)snprintf(p->site, sizeof(p->site), "site%u", (unsigned)(entry->key.txn % 7));
    p->parcel = (struct parcel){ .key = entry->key,
                                 .site_name = slice_cstr(p->site),
                                 .connections_max = 2,
                                 .loop_index = loop->index };
    list_init(&parcels);
    list_push(&parcels, &p->parcel.link);
    scheduler_prepared(scheduler, entry->key, &parcels);
}

static void end(struct list *at, bool carried)
{
    struct fake_parcel *p =
        list_entry(list_entry(at, struct parcel, link), struct fake_parcel, parcel);
    bool is_last = carried && p->entry.attempts > 0;

    CU_ASSERT_EQUAL_FATAL(atomic_exchange(&with_loop[p->entry.key.txn], 0), 1);
    atomic_fetch_add(is_last ? &finished : carried ? &retried : &returned, 1);
    scheduler_done(scheduler, p->entry.key, is_last ? 0 : 1, p->entry.attempts + carried,
                   clock_wall_ms() + (carried ? 3 : 1), false);
    free(p);
}

static void carry(struct fake_loop *loop, struct slot *slot, struct list *parcels)
{
    struct list *at;
    bool any = !list_empty(parcels);

    while ((at = list_pop(parcels)) != NULL)
        end(at, true);
    if (!any || rnd(loop, 50) == 0) {
        scheduler_slot_done(scheduler, slot->site, slot->opened, false, SLICE(""));
        free(slot);
        return;
    }
    scheduler_pull(scheduler, slot->site, slot, loop->index, 16);
    if (rnd(loop, 3) == 0)
        scheduler_pull_cancel(scheduler, slot->site, slot);
}

static void open_slot(struct fake_loop *loop, struct post *post)
{
    struct slot *slot = mem_zalloc(sizeof(*slot));

    slot->site = post->site;
    slot->opened = true;
    CU_ASSERT(strncmp(site_name(slot->site), "site", 4) == 0);
    scheduler_slot_opened(scheduler, slot->site);
    carry(loop, slot, &post->parcels);
}

static void *run(void *arg)
{
    struct fake_loop *loop = arg;
    struct list posts, *at;

    list_init(&posts);
    for (bool stop = false; !stop;) {
        (void)inbox_wait(&loop->inbox, &posts, -1);
        while ((at = list_pop(&posts)) != NULL) {
            struct post *post = list_entry(at, struct post, link);
            struct list *parcel;
            if (post->kind == STOP)
                stop = true;
            else if (post->kind == PREPARE)
                prepare(loop, &post->entry);
            else if (post->kind == OPEN)
                open_slot(loop, post);
            else if (post->slot != NULL)
                carry(loop, post->slot, &post->parcels);
            else
                while ((parcel = list_pop(&post->parcels)) != NULL)
                    end(parcel, false);
            free(post);
        }
    }
    return NULL;
}

static void start(struct scheduler_options options)
{
    options.loops = LOOPS;
    options.ops = &ops;
    atomic_store(&finished, 0);
    atomic_store(&retried, 0);
    atomic_store(&returned, 0);
    scheduler = scheduler_new(&options);
    for (unsigned i = 0; i < LOOPS; i++) {
        inbox_init(&loops[i].inbox);
        loops[i].index = i;
        loops[i].seed = i + 1;
        CU_ASSERT_EQUAL_FATAL(pthread_create(&loops[i].thread, NULL, run, &loops[i]), 0);
    }
    for (unsigned n = 1; n <= MESSAGES; n++)
        atomic_store(&with_loop[n], 0);
}

static void stop_loops(void)
{
    for (unsigned i = 0; i < LOOPS; i++)
        put(i, post_new(STOP));
    for (unsigned i = 0; i < LOOPS; i++) {
        struct list rest;
        (void)pthread_join(loops[i].thread, NULL);
        list_init(&rest);
        (void)inbox_take(&loops[i].inbox, &rest);
        CU_ASSERT(list_empty(&rest));
    }
}

/* Behind the scheduler, as in the server: what it put may have been taken before it has done with the inbox. */
static void free_loops(void)
{
    for (unsigned i = 0; i < LOOPS; i++)
        inbox_fini(&loops[i].inbox);
}

static struct spool_entry entry_of(unsigned n)
{
    return (struct spool_entry){ .key = { n, 1 },
                                 .arrival_ms = clock_wall_ms(),
                                 .due_ms = clock_wall_ms() + n % 5,
                                 .rcpt_count = 1,
                                 .pending_count = 1,
                                 .held = n % 100 == 0 };
}

static void test_every_message_ends(void)
{
    static struct spool_entry page[500];
    struct scheduler_stats stats;
    unsigned rounds = 0, listed = 0;

    start((struct scheduler_options){ .preparing_max = 64, .ready_max = 200 });
    for (unsigned n = 1; n <= MESSAGES / 2; n++) {
        const struct spool_entry entry = entry_of(n);
        scheduler_add(scheduler, &entry);
    }
    /* no thread, no answer */
    CU_ASSERT_EQUAL(scheduler_list(scheduler, (struct spool_key){ 0, 0 }, page, 500), 0);
    CU_ASSERT_EQUAL_FATAL(scheduler_start(scheduler), 0);
    for (unsigned n = MESSAGES / 2 + 1; n <= MESSAGES; n++) {
        const struct spool_entry entry = entry_of(n);
        scheduler_add(scheduler, &entry);
    }
    do {
        struct spool_key key = { 1 + (rounds * 7919u) % MESSAGES, 1 };
        if (rounds % 3 == 0)
            scheduler_hold(scheduler, key, true);
        else if (rounds % 3 == 1)
            scheduler_retry(scheduler, key);
        listed = scheduler_list(scheduler, (struct spool_key){ 0, 0 }, page, 500);
        for (unsigned i = 0; i < listed; i++)
            if (page[i].held)
                scheduler_hold(scheduler, page[i].key, false);
        scheduler_pause(scheduler, SCHEDULER_UNDURABLE, rounds % 8 == 0);
        if (rounds % 50 == 49) {
            const struct scheduler_options options = { .preparing_max = 8 + rounds % 64,
                                                       .ready_max = 150 };
            scheduler_set_options(scheduler, &options);
        }
        struct timespec nap = { 0, 2000000 };
        (void)nanosleep(&nap, NULL);
        scheduler_get_stats(scheduler, &stats);
        rounds++;
    } while (atomic_load(&finished) < MESSAGES && rounds < 20000);
    CU_ASSERT_EQUAL(atomic_load(&finished), MESSAGES);
    fprintf(stderr, "  %u rounds, %u retried, %u returned\n", rounds, atomic_load(&retried),
            atomic_load(&returned));
    CU_ASSERT_EQUAL(scheduler_list(scheduler, (struct spool_key){ 0, 0 }, page, 500), 0);
    scheduler_pause(scheduler, SCHEDULER_DRAINS, true); /* pulls are answered, slots come back */
    for (rounds = 0; rounds < 60000; rounds++) {
        scheduler_get_stats(scheduler, &stats);
        if (stats.slots == 0)
            break;
        (void)usleep(1000);
    }
    CU_ASSERT_EQUAL(stats.slots, 0);
    CU_ASSERT_EQUAL(stats.sites, 0);
    CU_ASSERT_EQUAL(stats.messages, 0);
    stop_loops();
    scheduler_stop(scheduler);
    scheduler_free(scheduler);
    free_loops();
}

static void test_retry_at_follows_a_reload(void)
{
    struct scheduler_options options = { .loops = 1, .ops = &ops };
    struct spool_entry entry = { .key = { 1, 1 }, .arrival_ms = 1000, .due_ms = 1000 };

    scheduler = scheduler_new(&options);
    CU_ASSERT_EQUAL(scheduler_retry_at(scheduler, &entry, 1000), 1000 + 300000);
    CU_ASSERT_EQUAL_FATAL(scheduler_start(scheduler), 0);
    options.retry_min_ms = 1000;
    scheduler_set_options(scheduler, &options);
    for (unsigned i = 0; i < 60000 && scheduler_retry_at(scheduler, &entry, 1000) != 2000; i++)
        (void)usleep(1000);
    CU_ASSERT_EQUAL(scheduler_retry_at(scheduler, &entry, 1000), 2000);
    scheduler_stop(scheduler);
    scheduler_stop(scheduler);        /* twice is once */
    scheduler_add(scheduler, &entry); /* too late: dropped */
    scheduler_free(scheduler);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("scheduler", NULL, NULL);

    CU_add_test(suite, "every message ends", test_every_message_ends);
    CU_add_test(suite, "retry_at follows a reload", test_retry_at_follows_a_reload);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
