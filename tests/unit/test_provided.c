/* SPDX-License-Identifier: Apache-2.0 */
/* test_provided.c - tables that a module serves: what is asked, kept, merged and told when it fails. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "state/provided.h"
#include "state/tables.h"

/* ---- a server: "k..." has its key as value, "b..." 65,535 octets, "big1" one more ---- */

struct fake_conf {
    tern_str word;
};

static _Atomic unsigned opened, asked, closed;
static _Atomic unsigned live; /* connections */
static _Atomic int open_error, find_error;
static _Atomic unsigned find_errors; /* how many of find_error are left */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: nobody is answered */
static char big[65536];

static int fake_check(const void *conf, char *error, size_t octets)
{
    const struct fake_conf *c = conf;

    if (strcmp(c->word.ptr, "bad") != 0)
        return 0;
    (void)snprintf(error, octets, "word: cannot be bad");
    return -EINVAL;
}

static int fake_open(const void *conf, uint64_t timeout_ms, void **ret, char *error, size_t octets)
{
    CU_ASSERT_TRUE(timeout_ms > 0);
    opened++;
    if (open_error != 0) {
        (void)snprintf(error, octets, "nobody is there");
        return open_error;
    }
    live++;
    *ret = strdup(((const struct fake_conf *)conf)->word.ptr);
    return 0;
}

static int fake_find(void *connection, tern_str key, uint64_t timeout_ms, struct tern_table_answer *ret, char *error,
                     size_t octets)
{
    CU_ASSERT_PTR_NOT_NULL(connection);
    CU_ASSERT_EQUAL(key.ptr[key.len], '\0');
    asked++;
    (void)pthread_mutex_lock(&gate);
    (void)pthread_mutex_unlock(&gate);
    if (find_errors > 0) {
        find_errors--;
        return find_error;
    }
    ret->status = key.ptr[0] == 'k' || key.ptr[0] == 'b' ? TERN_FOUND : TERN_ABSENT;
    ret->value = key.ptr[0] == 'b' ? (tern_str){ big, strcmp(key.ptr, "big1") == 0 ? 65536 : 65535 } : key;
    return 0;
}

static void fake_close(void *connection)
{
    free(connection);
    closed++;
    live--;
}

static const struct tern_option fake_options[] = {
    TERN_OPTION_STRING(struct fake_conf, word, "good", "A word."),
    TERN_OPTIONS_END,
};

static const struct tern_table_provider fake = {
    .size = sizeof(fake),
    .type = "fake",
    .options = fake_options,
    .conf_size = sizeof(struct fake_conf),
    .check = fake_check,
    .open = fake_open,
    .find = fake_find,
    .close = fake_close,
};

static const struct tern_table_provider *provider(void *arg, const char *word, char *error, size_t octets)
{
    if (strcmp(word, "fake") == 0)
        return &fake;
    (void)snprintf(error, octets, "there is no module table_%s", word);
    return NULL;
}

/* ---- a generation ---- */

struct world {
    struct arena arena;
    struct config_errors errors;
    struct tables *tables;
    const struct tern_table *table;
};

static void world_init(struct world *w, const char *text)
{
    static const struct tables_env env = { .provider = provider };

    memset(w, 0, sizeof(*w));
    arena_init(&w->arena);
    struct yaml_node *root = yaml_load_text(&w->arena, slice_cstr(text), "t.yaml", "/tmp", &w->errors);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    w->tables = tables_new(&w->arena, yaml_get(root, "tables"), &env, &w->errors);
    w->table = tables_get(w->tables, SLICE("x"));
}

static void world_fini(struct world *w)
{
    tables_free(w->tables);
    config_errors_free(&w->errors);
    arena_fini(&w->arena);
}

static void fresh(struct world *w, const char *options)
{
    static unsigned number; /* so that no test finds what another one's threads keep */
    char text[256];

    for (int i = 0; i < 60000 && live > 0; i++)
        (void)usleep(1000);
    opened = asked = closed = 0;
    open_error = find_error = 0;
    find_errors = 0;
    (void)snprintf(text, sizeof(text), "tables: { x: { fake: { word: w%u%s } } }\n", number++, options);
    world_init(w, text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->table);
}

/* ---- asking ---- */

struct question {
    struct table_wait wait;
    _Atomic bool done;
    enum tern_status status;
    char value[64];
};

static void answered(struct table_wait *wait, enum tern_status status, tern_str value, struct table_hold *hold)
{
    struct question *q = list_entry(wait, struct question, wait);

    q->status = status;
    (void)snprintf(q->value, sizeof(q->value), "%.*s", value.len < 60 ? (int)value.len : 60, value.ptr);
    table_hold_release(hold);
    q->done = true;
}

static void ask(const struct world *w, struct question *q, const char *key)
{
    q->done = false;
    q->wait.done = answered;
    table_ask(w->table, slice_cstr(key), &q->wait);
}

static bool is_true(_Atomic bool *what)
{
    for (int i = 0; i < 60000; i++) {
        if (*what)
            return true;
        (void)usleep(1000);
    }
    return false;
}

/* "value", "(absent)" or "(failed)". */
static const char *look(const struct world *w, const char *key)
{
    static struct question q;

    ask(w, &q, key);
    CU_ASSERT_TRUE_FATAL(is_true(&q.done));
    return q.status == TERN_FOUND ? q.value : q.status == TERN_ABSENT ? "(absent)" : "(failed)";
}

static void test_found_absent_and_kept(void)
{
    struct world w;

    fresh(&w, ", cache: 60, cache_absent: 10");
    clock_virtual_start(UINT64_C(1800000000000));
    CU_ASSERT_FALSE(table_is_empty(w.table));
    CU_ASSERT_TRUE(table_is_provided(w.table));
    CU_ASSERT_STRING_EQUAL(look(&w, "Key@Example.ORG"), "key@example.org");
    CU_ASSERT_STRING_EQUAL(look(&w, "kEY@example.org"), "key@example.org");
    CU_ASSERT_EQUAL(asked, 1);
    CU_ASSERT_STRING_EQUAL(look(&w, "nobody"), "(absent)");
    CU_ASSERT_STRING_EQUAL(look(&w, "nobody"), "(absent)");
    CU_ASSERT_STRING_EQUAL(look(&w, ""), "(absent)");
    CU_ASSERT_EQUAL(asked, 2);
    clock_virtual_advance(9999);
    CU_ASSERT_STRING_EQUAL(look(&w, "nobody"), "(absent)");
    CU_ASSERT_EQUAL(asked, 2);
    clock_virtual_advance(1);
    CU_ASSERT_STRING_EQUAL(look(&w, "nobody"), "(absent)");
    CU_ASSERT_EQUAL(asked, 3);
    clock_virtual_advance(49999);
    CU_ASSERT_STRING_EQUAL(look(&w, "key@example.org"), "key@example.org");
    CU_ASSERT_EQUAL(asked, 3);
    clock_virtual_advance(1);
    CU_ASSERT_STRING_EQUAL(look(&w, "key@example.org"), "key@example.org");
    CU_ASSERT_EQUAL(asked, 4);
    CU_ASSERT_EQUAL(opened, 1);
    clock_virtual_stop();
    world_fini(&w);
}

static void test_look_up_without_waiting(void)
{
    struct table_hold *hold;
    enum tern_status status;
    tern_str value = { "", 0 };
    struct world w;

    fresh(&w, "");
    CU_ASSERT_EQUAL(table_try(w.table, SLICE("key"), &status, &value, &hold), -EAGAIN);
    CU_ASSERT_EQUAL(table_lookup(w.table, SLICE("key"), &value, &hold), TERN_FAILED);
    CU_ASSERT_STRING_EQUAL(look(&w, "key"), "key");
    CU_ASSERT_EQUAL(table_try(w.table, SLICE("KEY"), &status, &value, &hold), 0);
    CU_ASSERT_EQUAL(status, TERN_FOUND);
    world_fini(&w);
    CU_ASSERT_STRING_EQUAL(value.ptr, "key"); /* the hold outlives its table */
    table_hold_release(hold);
}

static void test_equal_questions_are_put_once(void)
{
    struct question q[20];
    struct world w;

    fresh(&w, ", connections: 2");
    (void)pthread_mutex_lock(&gate);
    for (int i = 0; i < 20; i++)
        ask(&w, &q[i], i % 2 != 0 ? "kone" : "ktwo");
    (void)pthread_mutex_unlock(&gate);
    for (int i = 0; i < 20; i++) {
        CU_ASSERT_TRUE(is_true(&q[i].done));
        CU_ASSERT_STRING_EQUAL(q[i].value, i % 2 != 0 ? "kone" : "ktwo");
    }
    CU_ASSERT_EQUAL(asked, 2);
    CU_ASSERT_TRUE(opened <= 2);
    world_fini(&w);
}

static void test_as_many_connections_as_allowed(void)
{
    struct question q[10];
    char key[16];
    struct world w;

    fresh(&w, ", connections: 3");
    (void)pthread_mutex_lock(&gate);
    for (int i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        ask(&w, &q[i], key);
    }
    for (int i = 0; i < 60000 && asked < 3; i++)
        (void)usleep(1000);
    (void)usleep(20000);
    CU_ASSERT_EQUAL(asked, 3);
    (void)pthread_mutex_unlock(&gate);
    for (int i = 0; i < 10; i++)
        CU_ASSERT_TRUE(is_true(&q[i].done));
    CU_ASSERT_EQUAL(asked, 10);
    CU_ASSERT_EQUAL(opened, 3);
    world_fini(&w);
}

static void test_a_failure_and_the_pause_behind_it(void)
{
    struct world w;

    fresh(&w, ", connections: 1");
    clock_virtual_start(UINT64_C(1800000000000));
    open_error = -ECONNREFUSED;
    CU_ASSERT_STRING_EQUAL(look(&w, "key"), "(failed)");
    CU_ASSERT_EQUAL(opened, 1);
    CU_ASSERT_STRING_EQUAL(look(&w, "kother"), "(failed)"); /* nobody is asked meanwhile */
    clock_virtual_advance(249);
    CU_ASSERT_STRING_EQUAL(look(&w, "kthird"), "(failed)");
    CU_ASSERT_EQUAL(opened, 1);
    clock_virtual_advance(1);
    CU_ASSERT_STRING_EQUAL(look(&w, "kfourth"), "(failed)");
    CU_ASSERT_EQUAL(opened, 2);
    clock_virtual_advance(499); /* the pause has doubled */
    CU_ASSERT_STRING_EQUAL(look(&w, "kfifth"), "(failed)");
    CU_ASSERT_EQUAL(opened, 2);
    open_error = 0;
    clock_virtual_advance(1);
    CU_ASSERT_STRING_EQUAL(look(&w, "ksixth"), "ksixth");
    CU_ASSERT_STRING_EQUAL(look(&w, "key"), "(failed)"); /* kept for a second: who was told finds it */
    clock_virtual_advance(1000);
    CU_ASSERT_STRING_EQUAL(look(&w, "key"), "key");
    clock_virtual_stop();
    world_fini(&w);
}

static void test_a_server_that_was_restarted(void)
{
    struct world w;

    fresh(&w, ", connections: 1");
    CU_ASSERT_STRING_EQUAL(look(&w, "k1"), "k1");
    find_error = -ECONNRESET;
    find_errors = 1;
    CU_ASSERT_STRING_EQUAL(look(&w, "k2"), "k2"); /* put again, on a new connection */
    CU_ASSERT_EQUAL(opened, 2);
    CU_ASSERT_EQUAL(closed, 1);
    find_errors = 2;
    CU_ASSERT_STRING_EQUAL(look(&w, "k3"), "(failed)"); /* but once only */
    CU_ASSERT_EQUAL(opened, 3);
    CU_ASSERT_EQUAL(closed, 3);
    world_fini(&w);
}

static void test_an_answer_of_no_use(void)
{
    struct world w;

    fresh(&w, ", connections: 1");
    find_error = -EBADMSG;
    find_errors = 1;
    CU_ASSERT_STRING_EQUAL(look(&w, "k1"), "(failed)");
    CU_ASSERT_STRING_EQUAL(look(&w, "k2"), "k2"); /* at once, on the same connection */
    CU_ASSERT_EQUAL(opened, 1);
    CU_ASSERT_NOT_EQUAL(strcmp(look(&w, "big"), "(failed)"), 0); /* 65,535 octets */
    CU_ASSERT_STRING_EQUAL(look(&w, "big1"), "(failed)");          /* and one more */
    CU_ASSERT_STRING_EQUAL(look(&w, "k3"), "k3");
    CU_ASSERT_EQUAL(opened, 1);
    world_fini(&w);
}

static void test_too_many_wait(void)
{
    size_t count = PROVIDED_QUEUE_MAX + 2; /* one is being asked */
    struct question *q = calloc(count + 1, sizeof(*q));
    char key[32];
    struct world w;

    fresh(&w, ", connections: 1, timeout: 60s");
    (void)pthread_mutex_lock(&gate);
    ask(&w, &q[0], "kfirst");
    for (int i = 0; i < 60000 && asked < 1; i++)
        (void)usleep(1000);
    for (size_t i = 1; i < count; i++) {
        (void)snprintf(key, sizeof(key), "k%zu", i);
        ask(&w, &q[i], key);
    }
    CU_ASSERT_FALSE(q[count - 2].done);
    CU_ASSERT_TRUE(q[count - 1].done);
    CU_ASSERT_EQUAL(q[count - 1].status, TERN_FAILED);
    ask(&w, &q[count], "k1"); /* one that is asked already has room */
    CU_ASSERT_FALSE(q[count].done);
    (void)pthread_mutex_unlock(&gate);
    for (size_t i = 0; i <= count; i++)
        CU_ASSERT_TRUE(is_true(&q[i].done));
    CU_ASSERT_STRING_EQUAL(q[count].value, "k1");
    free(q);
    world_fini(&w);
}

static void test_who_waited_too_long(void)
{
    struct question q[2];
    struct world w;

    fresh(&w, ", connections: 1, timeout: 100ms");
    (void)pthread_mutex_lock(&gate);
    ask(&w, &q[0], "k1");
    for (int i = 0; i < 60000 && asked < 1; i++)
        (void)usleep(1000);
    ask(&w, &q[1], "k2");
    (void)usleep(150000);
    (void)pthread_mutex_unlock(&gate);
    CU_ASSERT_TRUE(is_true(&q[0].done) && is_true(&q[1].done));
    CU_ASSERT_EQUAL(q[1].status, TERN_FAILED);
    CU_ASSERT_EQUAL(asked, 1);
    world_fini(&w);
}

static void test_what_is_kept_has_a_bound(void)
{
    struct world w;

    fresh(&w, ", cache_entries: 2, connections: 1");
    (void)look(&w, "k1");
    (void)look(&w, "k2");
    (void)look(&w, "k1"); /* k2 is now the one not used for longest */
    CU_ASSERT_EQUAL(asked, 2);
    (void)look(&w, "k3");
    (void)look(&w, "k1");
    CU_ASSERT_EQUAL(asked, 3);
    (void)look(&w, "k2");
    CU_ASSERT_EQUAL(asked, 4);
    world_fini(&w);

    fresh(&w, ", connections: 1"); /* 16 MB: 65,535 octets fit about 255 times */
    for (int i = 0; i < 270; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "b%03d", i);
        (void)look(&w, key);
    }
    asked = 0;
    (void)look(&w, "b269");
    CU_ASSERT_EQUAL(asked, 0);
    (void)look(&w, "b000"); /* went first */
    CU_ASSERT_EQUAL(asked, 1);
    world_fini(&w);
}

static void test_two_generations_are_one_table(void)
{
    static const char text[] = "tables: { x: { fake: { word: shared, connections: 1 } } }\n";
    struct world a, b, c;

    for (int i = 0; i < 60000 && live > 0; i++)
        (void)usleep(1000);
    opened = asked = closed = 0;
    world_init(&a, text);
    CU_ASSERT_STRING_EQUAL(look(&a, "key"), "key");
    world_init(&b, text);
    world_init(&c, "tables: { x: { fake: { word: other, connections: 1 } } }\n");
    world_fini(&a);
    CU_ASSERT_STRING_EQUAL(look(&b, "key"), "key");
    CU_ASSERT_EQUAL(asked, 1);
    CU_ASSERT_STRING_EQUAL(look(&c, "key"), "key");
    CU_ASSERT_EQUAL(asked, 2);
    world_fini(&b);
    world_fini(&c);
    for (int i = 0; i < 60000 && closed < 2; i++)
        (void)usleep(1000);
    CU_ASSERT_EQUAL(closed, 2); /* the last generation closes */
}

static const struct {
    const char *text, *want;
} wrong[] = {
    { "tables: { x: { fake: { word: bad } } }\n", "t.yaml:1:22: error: fake: word: cannot be bad\n" },
    { "tables: { x: { fake: { wort: x } } }\n",
      "t.yaml:1:24: error: unknown option \"wort\"; did you mean \"word\"?\n" },
    { "tables: { x: { fake: { timeout: 99ms } } }\n",
      "t.yaml:1:33: error: timeout: expected a duration: 100ms to 1m; got \"99ms\"\n" },
    { "tables: { x: { fake: { connections: 65 } } }\n",
      "t.yaml:1:37: error: connections: expected a whole number: 1 to 64; got \"65\"\n" },
    { "tables: { x: { fake: { cache: 0 } } }\n",
      "t.yaml:1:31: error: cache: expected a duration: 1s to 1d; got \"0\"\n" },
    { "tables: { x: { fake: {}, y: z } }\n",
      "t.yaml:1:26: error: unknown key \"y\" beside \"fake\" (an entry of that name is written in quotes)\n" },
    { "tables: { x: { ldap: {} } }\n", "t.yaml:1:16: error: a table by ldap: there is no module table_ldap\n" },
};

static void test_what_is_said(void)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct world w;

        world_init(&w, wrong[i].text);
        const char *said = w.errors.text.len > 0 ? w.errors.text.data : "";
        if (strcmp(said, wrong[i].want) != 0)
            fprintf(stderr, "  case \"%s\": got\n%s  want\n%s", wrong[i].text, said, wrong[i].want);
        CU_ASSERT_STRING_EQUAL(said, wrong[i].want);
        CU_ASSERT_TRUE(w.table == NULL || i == 5);
        world_fini(&w);
    }
}

/* The end of the process: a thread that is asked by nobody any more may still be in its module. */
static void test_the_end_waits_for_threads(void)
{
    struct world w;
    struct question q;

    fresh(&w, "");
    (void)pthread_mutex_lock(&gate);
    ask(&w, &q, "k1");
    for (int i = 0; i < 60000 && asked == 0; i++)
        (void)usleep(1000);
    world_fini(&w);
    CU_ASSERT_EQUAL(provided_wait(20), 1); /* stuck: who ends the process is told so */
    (void)pthread_mutex_unlock(&gate);
    CU_ASSERT_EQUAL(provided_wait(60000), 0);
    CU_ASSERT_EQUAL(live, 0); /* its connection is closed */
    CU_ASSERT_EQUAL(closed, opened);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("provided", NULL, NULL);
    memset(big, 'b', sizeof(big));
    log_set_level(LOG_ERROR);
    CU_add_test(s, "found and absent are kept", test_found_absent_and_kept);
    CU_add_test(s, "look up without waiting", test_look_up_without_waiting);
    CU_add_test(s, "equal questions are put once", test_equal_questions_are_put_once);
    CU_add_test(s, "as many connections as allowed", test_as_many_connections_as_allowed);
    CU_add_test(s, "a failure and the pause behind it", test_a_failure_and_the_pause_behind_it);
    CU_add_test(s, "a server that was restarted", test_a_server_that_was_restarted);
    CU_add_test(s, "an answer of no use", test_an_answer_of_no_use);
    CU_add_test(s, "too many wait", test_too_many_wait);
    CU_add_test(s, "who waited too long", test_who_waited_too_long);
    CU_add_test(s, "what is kept has a bound", test_what_is_kept_has_a_bound);
    CU_add_test(s, "two generations are one table", test_two_generations_are_one_table);
    CU_add_test(s, "the end waits for threads", test_the_end_waits_for_threads);
    CU_add_test(s, "what is said", test_what_is_said);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
