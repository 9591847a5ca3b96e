/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch_world.c - the world: set-up and end, and the spool in memory. The rest is in
 * dispatch_fakes.c. */
#include "dispatch_world.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/inbox.h"
#include "base/log.h"
#include "base/mem.h"
#include "dispatch_fakes.h"
#include "module/pool.h"
#include "state/envelope.h"

struct world_message *world_messages[WORLD_MESSAGES_MAX];
_Atomic unsigned world_message_count;
_Atomic bool world_disk_full;
_Atomic unsigned world_body_opens, world_bodies_open, world_body_open_fails;
_Atomic unsigned world_jobs, world_jobs_failed, world_generations;

static struct world_options options;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over the messages */
static pthread_t spool_thread;
static struct inbox spool_inbox;
static _Atomic uint64_t last_id;

static struct scheduler *scheduler;
static struct dispatch_set *set;
static struct pool *pool;
static struct {
    struct loop *loop;
    pthread_t thread;
    struct dispatch *dispatch;
    struct loop_task drain;
    _Atomic bool drained;
} loops[4];

static const char body_text[] = "Subject: test\r\nX-Long: yes\r\n\r\nHello.\r\n";

/* ---- the spool ---- */

static struct world_message *find(struct spool_key key)
{
    unsigned count = atomic_load(&world_message_count);

    for (unsigned i = 0; i < count; i++)
        if (world_messages[i]->key.txn == key.txn && world_messages[i]->key.group == key.group)
            return world_messages[i];
    return NULL;
}

static struct spool_entry entry_of(const struct world_message *m)
{
    return (struct spool_entry){ .key = m->key,
                                 .arrival_ms = m->arrival_ms,
                                 .due_ms = m->due_ms,
                                 .octets = sizeof(body_text) - 1,
                                 .attempts = m->attempts,
                                 .rcpt_count = m->rcpt_count,
                                 .pending_count = m->pending,
                                 .held = m->held,
                                 .bounce = m->bounce };
}

static unsigned store(struct world_message *m)
{
    m->states = mem_zalloc(m->rcpt_count);
    m->texts = mem_zalloc(m->rcpt_count * sizeof(m->texts[0]));
    m->carried = mem_zalloc(m->rcpt_count * sizeof(m->carried[0]));
    m->pending = m->rcpt_count;
    unsigned n = atomic_load(&world_message_count);
    if (n == WORLD_MESSAGES_MAX)
        abort();
    world_messages[n] = m;
    atomic_store(&world_message_count, n + 1);
    return n;
}

static void apply_change(struct world_message *m, const struct spool_change *c)
{
    m->changes++;
    for (uint32_t i = 0; i < c->rcpt_count; i++) {
        const struct spool_rcpt_change *r = &c->rcpts[i];
        if (r->rcpt == SPOOL_RCPT_NONE) {
            (void)snprintf(m->held_text, sizeof(m->held_text), "%.*s", (int)r->text.len, r->text.ptr);
            continue;
        }
        if (m->states[r->rcpt] != SPOOL_RCPT_QUEUED)
            continue;
        m->states[r->rcpt] = (uint8_t)r->state;
        (void)snprintf(m->texts[r->rcpt], sizeof(m->texts[0]), "%.*s", (int)r->text.len,
                       r->text.len > 0 ? r->text.ptr : "");
        m->pending -= r->state != SPOOL_RCPT_QUEUED;
    }
    if (c->kind == SPOOL_ATTEMPTED) {
        m->attempts = c->attempts;
        m->due_ms = c->due_ms;
    }
    m->held = c->kind == SPOOL_HELD || (m->held && c->kind != SPOOL_RELEASED);
    if (c->kind == SPOOL_DELETED)
        m->pending = 0;
}

static int apply(const struct spool_job *job)
{
    if (atomic_load(&world_disk_full))
        return -ENOSPC;
    for (unsigned i = 0; i < job->change_count; i++) {
        const struct world_message *m = find(job->changes[i].key);
        if (m == NULL || m->pending == 0)
            return -ENOENT;
        for (unsigned k = 0; k < i; k++)
            if (job->changes[k].key.txn == job->changes[i].key.txn)
                return -EINVAL; /* the spool's own rule */
    }
    for (unsigned i = 0; i < job->change_count; i++)
        apply_change(find(job->changes[i].key), &job->changes[i]);
    for (unsigned i = 0; i < job->message_count; i++) {
        const struct spool_message *from = &job->messages[i];
        struct world_message *m = mem_zalloc(sizeof(*m));
        struct slice body = body_memory(job->body);
        *m = (struct world_message){ .key = from->key,
                                     .rcpt_count = from->rcpt_count,
                                     .due_ms = from->due_ms,
                                     .arrival_ms = from->arrival_ms,
                                     .bounce = from->bounce,
                                     .envelope_len = from->envelope.len };
        m->envelope = mem_dup(from->envelope.ptr, from->envelope.len);
        m->body = mem_dup(body.ptr, body.len);
        (void)store(m);
    }
    return 0;
}

static void *run_spool(void *arg)
{
    struct list jobs, *at;

    (void)arg;
    list_init(&jobs);
    while (inbox_wait(&spool_inbox, &jobs, -1)) {
        while ((at = list_pop(&jobs)) != NULL) {
            struct spool_job *job = list_entry(at, struct spool_job, link);
            (void)pthread_mutex_lock(&lock);
            job->status = apply(job);
            (void)pthread_mutex_unlock(&lock);
            atomic_fetch_add(job->status < 0 ? &world_jobs_failed : &world_jobs, 1);
            job->done(job);
        }
    }
    return NULL;
}

void spool_submit(struct spool *spool, struct spool_job *job)
{
    (void)spool;
    CU_ASSERT_FATAL(job->change_count > 0);
    (void)inbox_put(&spool_inbox, &job->link);
}

struct fake_loaded {
    struct spool_loaded view;
    _Atomic unsigned refs;
    struct spool_rcpt_status *rcpts;
    char *envelope;
};

int spool_load(struct spool *spool, struct spool_key key, struct spool_loaded **ret)
{
    struct fake_loaded *l;

    (void)spool;
    (void)pthread_mutex_lock(&lock);
    const struct world_message *m = find(key);
    if (m == NULL || m->pending == 0) {
        (void)pthread_mutex_unlock(&lock);
        return -ENOENT;
    }
    l = mem_zalloc(sizeof(*l));
    atomic_init(&l->refs, 1);
    l->view.entry = entry_of(m);
    l->envelope = mem_dup(m->envelope, m->envelope_len);
    l->view.envelope = slice_make(l->envelope, m->envelope_len);
    l->rcpts = mem_zalloc(m->rcpt_count * sizeof(l->rcpts[0]));
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        l->rcpts[i] = (struct spool_rcpt_status){ m->states[i], slice_cstr(mem_strdup(m->texts[i])) };
    l->view.rcpts = l->rcpts;
    (void)pthread_mutex_unlock(&lock);
    *ret = &l->view;
    return 0;
}

struct spool_loaded *spool_loaded_ref(struct spool_loaded *loaded)
{
    atomic_fetch_add(&((struct fake_loaded *)loaded)->refs, 1);
    return loaded;
}

void spool_unload(struct spool_loaded *loaded)
{
    struct fake_loaded *l = (struct fake_loaded *)loaded;

    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < l->view.entry.rcpt_count; i++)
        free((void *)(uintptr_t)l->rcpts[i].text.ptr);
    free(l->rcpts);
    free(l->envelope);
    free(l);
}

int spool_body_open(struct spool_loaded *loaded, char why[SPOOL_WHY_MAX])
{
    (void)loaded;
    if (atomic_fetch_add(&world_body_opens, 1) + 1 == atomic_load(&world_body_open_fails)) {
        (void)snprintf(why, SPOOL_WHY_MAX, "big/x: %s", strerror(EMFILE));
        return -EMFILE;
    }
    atomic_fetch_add(&world_bodies_open, 1);
    return 0;
}

void spool_body_close(struct spool_loaded *loaded)
{
    (void)loaded;
    atomic_fetch_sub(&world_bodies_open, 1);
}

int64_t spool_read(struct spool_loaded *loaded, uint64_t offset, void *buffer, size_t octets)
{
    size_t left = offset < sizeof(body_text) - 1 ? sizeof(body_text) - 1 - offset : 0;
    size_t n = octets < left ? octets : left;

    (void)loaded;
    memcpy(buffer, body_text + offset, n);
    return (int64_t)n;
}

uint64_t spool_loaded_octets(const struct spool_loaded *loaded)
{
    (void)loaded;
    return sizeof(body_text) - 1;
}

uint64_t spool_id_new(struct spool *spool)
{
    (void)spool;
    return atomic_fetch_add(&last_id, 1) + 1;
}

void spool_key_print(struct spool_key key, char out[SPOOL_ID_TEXT_MAX])
{
    (void)snprintf(out, SPOOL_ID_TEXT_MAX, "id%llu.%u", (unsigned long long)key.txn % 100000000u,
                   key.group);
}

bool spool_entry_of(struct spool *spool, struct spool_key key, struct spool_entry *ret)
{
    (void)spool;
    (void)pthread_mutex_lock(&lock);
    const struct world_message *m = find(key);
    bool live = m != NULL && m->pending > 0;
    if (live)
        *ret = entry_of(m);
    (void)pthread_mutex_unlock(&lock);
    return live;
}

void world_carried(const char *id, uint32_t rcpt)
{
    struct spool_key key = { strtoull(id + 2, NULL, 10), 1 };

    (void)pthread_mutex_lock(&lock);
    struct world_message *m = find(key);
    if (m != NULL)
        atomic_fetch_add(&m->carried[rcpt], 1);
    (void)pthread_mutex_unlock(&lock);
}

/* ---- mail ---- */

unsigned world_send_aged(const char *sender, const char *rcpts, uint64_t age_ms, const char *notify)
{
    struct envelope_rcpt *list = mem_zalloc(WORLD_RCPTS_MAX * sizeof(*list));
    struct world_message *m = mem_zalloc(sizeof(*m));
    struct buf out = BUF_INIT;
    char *text = mem_strdup(rcpts), *save = NULL;
    unsigned count = 0;

    for (char *word = strtok_r(text, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        list[count].address = list[count].original = slice_cstr(word);
        list[count].notify = slice_cstr(notify);
        list[count].class_ = TERN_CLASS_LOCAL;
        count++;
    }
    const struct envelope e = { .origin = SLICE("smtp"),
                                .policy = SLICE("inbound"),
                                .sender = slice_cstr(sender),
                                .sender_original = slice_cstr(sender),
                                .client_address = SLICE("192.0.2.9"),
                                .rcpts = list,
                                .rcpt_count = count };
    envelope_encode(&e, &out);
    *m = (struct world_message){ .key = { spool_id_new(NULL), 1 },
                                 .rcpt_count = count,
                                 .arrival_ms = clock_wall_ms() - age_ms,
                                 .due_ms = clock_wall_ms(),
                                 .bounce = sender[0] == '\0',
                                 .envelope = out.data,
                                 .envelope_len = out.len };
    (void)pthread_mutex_lock(&lock);
    unsigned n = store(m);
    const struct spool_entry entry = entry_of(m);
    (void)pthread_mutex_unlock(&lock);
    scheduler_add(scheduler, &entry);
    free(list);
    free(text);
    return n;
}

unsigned world_send(const char *sender, const char *rcpts)
{
    return world_send_aged(sender, rcpts, 0, "");
}

bool world_wait(unsigned message, uint32_t attempts)
{
    for (unsigned i = 0; i < 60000; i++) { /* a minute: for what never comes */
        (void)pthread_mutex_lock(&lock);
        const struct world_message *m = world_messages[message];
        bool done = m->pending == 0 || (attempts > 0 && m->attempts >= attempts);
        (void)pthread_mutex_unlock(&lock);
        if (done)
            return true;
        (void)usleep(1000);
    }
    return false;
}

bool world_wait_for(bool (*is_so)(void))
{
    for (unsigned i = 0; i < 60000; i++) { /* a minute: for what never comes */
        if (is_so())
            return true;
        (void)usleep(1000);
    }
    return false;
}

enum spool_rcpt_state world_state(unsigned message, uint32_t rcpt)
{
    (void)pthread_mutex_lock(&lock);
    enum spool_rcpt_state state = world_messages[message]->states[rcpt];
    (void)pthread_mutex_unlock(&lock);
    return state;
}

bool world_held(unsigned message)
{
    (void)pthread_mutex_lock(&lock);
    bool held = world_messages[message]->held;
    (void)pthread_mutex_unlock(&lock);
    return held;
}

bool world_has_text(unsigned message, uint32_t rcpt)
{
    (void)pthread_mutex_lock(&lock);
    bool has = world_messages[message]->texts[rcpt][0] != '\0';
    (void)pthread_mutex_unlock(&lock);
    return has;
}

const char *world_text(unsigned message, uint32_t rcpt)
{
    return world_messages[message]->texts[rcpt];
}

const char *world_notice(void)
{
    const char *body = "";

    (void)pthread_mutex_lock(&lock);
    for (unsigned i = atomic_load(&world_message_count); i-- > 0;)
        if (world_messages[i]->body != NULL)
            body = world_messages[i]->body;
    (void)pthread_mutex_unlock(&lock);
    return body;
}

unsigned world_notices(void)
{
    unsigned n = 0;

    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < atomic_load(&world_message_count); i++)
        n += world_messages[i]->body != NULL;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

struct scheduler *world_scheduler(void)
{
    return scheduler;
}

struct spool *world_spool(void)
{
    return NULL;
}

void world_stats(struct dispatch_stats *ret)
{
    dispatch_set_stats(set, ret);
}

/* ---- set-up and end ---- */

static void generation_ref(void *generation)
{
    (void)generation;
    atomic_fetch_add(&world_generations, 1);
}

static void generation_unref(void *generation)
{
    (void)generation;
    atomic_fetch_sub(&world_generations, 1);
}

static void present_generation(void *arg, struct dispatch_generation *ret)
{
    (void)arg;
    *ret = (struct dispatch_generation){ .policies = fake_policies(),
                                         .soft_bounce = options.soft_bounce,
                                         .generation = &world_generations,
                                         .ref = generation_ref,
                                         .unref = generation_unref };
    generation_ref(NULL);
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

void world_start(const struct world_options *o)
{
    options = *o;
    if (options.loops == 0)
        options.loops = 1;
    fakes_start(&options);
    atomic_store(&world_message_count, 0);
    atomic_store(&world_disk_full, false);
    atomic_store(&world_body_opens, 0);
    atomic_store(&world_body_open_fails, 0);
    atomic_store(&world_jobs, 0);
    atomic_store(&world_jobs_failed, 0);
    atomic_store(&last_id, 1000);
    log_set_level(LOG_ERROR);
    inbox_init(&spool_inbox);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&spool_thread, NULL, run_spool, NULL), 0);
    const struct pool_options pool_options = { .threads = 4 };
    pool = pool_new(&pool_options);
    const tern_address own = { .family = 4, .octets = { 192, 0, 2, 77 }, .port = 25 };
    const struct dispatch_set_options set_options = {
        .loops = options.loops,
        .hostname = "me.test",
        .own = &own,
        .own_count = 1,
        .generation = present_generation,
        .pool = pool,
        .module_timeout_ms = options.module_timeout_ms,
    };
    set = dispatch_set_new(&set_options);
    const struct scheduler_options scheduler_options = {
        .loops = options.loops,
        .ops = dispatch_set_ops(),
        .arg = set,
        .retry_min_ms = options.retry_min_ms,
        .ready_max = options.ready_max,
        .expire_ms = options.expire_ms,
    };
    scheduler = scheduler_new(&scheduler_options);
    dispatch_set_scheduler(set, scheduler);
    for (unsigned i = 0; i < options.loops; i++) {
        loops[i].loop = loop_new(i);
        loops[i].dispatch = dispatch_new(set, i, loops[i].loop, NULL, NULL);
        atomic_store(&loops[i].drained, false);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&loops[i].thread, NULL, run_loop, loops[i].loop), 0);
    }
    CU_ASSERT_EQUAL_FATAL(scheduler_start(scheduler), 0);
}

static void on_drained(void *arg)
{
    atomic_store((_Atomic bool *)arg, true);
}

static void drain(struct loop_task *task)
{
    for (unsigned i = 0; i < options.loops; i++)
        if (&loops[i].drain == task)
            dispatch_drain(loops[i].dispatch, on_drained, (void *)&loops[i].drained);
}

static bool all_drained(void)
{
    for (unsigned i = 0; i < options.loops; i++)
        if (!atomic_load(&loops[i].drained))
            return false;
    return true;
}

static void free_messages(void)
{
    for (unsigned i = 0; i < atomic_load(&world_message_count); i++) {
        struct world_message *m = world_messages[i];
        free(m->envelope);
        free(m->states);
        free(m->texts);
        free((void *)m->carried);
        free(m->body);
        free(m);
    }
}

void world_stop(void)
{
    scheduler_pause(scheduler, SCHEDULER_DRAINS, true);
    for (unsigned i = 0; i < options.loops; i++) {
        list_init(&loops[i].drain.link);
        loops[i].drain.run = drain;
        loop_post(loops[i].loop, &loops[i].drain);
    }
    if (atomic_load(&world_disk_full))
        (void)usleep(50000); /* what cannot be made durable does not drain */
    else
        CU_ASSERT(world_wait_for(all_drained));
    for (unsigned i = 0; i < options.loops; i++) {
        loop_stop(loops[i].loop);
        (void)pthread_join(loops[i].thread, NULL);
    }
    CU_ASSERT_EQUAL(pool_free(pool, 60000), 0);
    scheduler_stop(scheduler);
    inbox_close(&spool_inbox);
    (void)pthread_join(spool_thread, NULL);
    inbox_fini(&spool_inbox);
    for (unsigned i = 0; i < options.loops; i++)
        dispatch_free(loops[i].dispatch);
    for (unsigned i = 0; i < options.loops; i++)
        loop_free(loops[i].loop);
    dispatch_set_free(set);
    scheduler_free(scheduler);
    free_messages();
    CU_ASSERT_EQUAL(atomic_load(&world_generations), 0);
}
