/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kv_lmdb.c - the LMDB store as the server loads it: dlopen, options by the schema,
 * the core's table above it; over restarts, kill -9, a full map, and paths that are
 * something else.
 */
#include <CUnit/Basic.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "config/schema.h"
#include "state/kv.h"

static const struct tern_kv_store *type;
static struct arena arena;
static char folder[] = "/tmp/tern-lmdb-XXXXXX";

static const char *path_of(const char *name)
{
    return arena_printf(&arena, "%s/%s", folder, name);
}

static void *options_for(const char *name, const char *more)
{
    struct config_errors errors = { .errors = 0 };
    struct schema_env env = { .arena = &arena, .errors = &errors };
    const char *text = arena_printf(&arena, "path: %s\n%s", name, more);
    struct yaml_node *root = yaml_load_text(&arena, slice_cstr(text), "t.yaml", folder, &errors);
    void *conf = arena_zalloc(&arena, type->conf_size);

    CU_ASSERT_EQUAL_FATAL(
        schema_parse(&env, root, root->place, type->options, conf, NULL, NULL, NULL), 0);
    config_errors_free(&errors);
    return conf;
}

static struct kv *open_kv(const char *name)
{
    struct kv *kv = NULL;
    char error[300] = "";

    if (kv_open(type, options_for(name, ""), 100000, &kv, error, sizeof(error)) < 0)
        fprintf(stderr, "  %s\n", error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(kv);
    return kv;
}

struct got {
    unsigned status;
    int64_t number;
    size_t octets;
    char first;
};

static void keep_answer(void *arg, const struct tern_kv_answer *answer)
{
    *(struct got *)arg =
        (struct got){ answer->status, answer->number, answer->value.len, answer->value.ptr[0] };
}

static struct got do_kv(struct kv *kv, enum kv_op op, struct slice key, int64_t number,
                        struct slice value, uint64_t expire_s)
{
    struct kv_request r = { op, SLICE("test"), key, number, value, expire_s };
    struct got got;

    kv_do(kv, &r, keep_answer, &got);
    return got;
}

static void test_restart(void)
{
    static char value[KV_VALUE_OCTETS_MAX];
    static char long_keys[3][KV_KEY_OCTETS_MAX - 5];
    struct kv *kv = open_kv("restart");

    memset(value, 'v', sizeof(value));
    (void)do_kv(kv, KV_PUT, SLICE("a"), 7, SLICE("text"), 0);
    (void)do_kv(kv, KV_PUT, SLICE("big"), -1, slice_make(value, sizeof(value)), 3600);
    (void)do_kv(kv, KV_PUT, SLICE("gone"), 1, SLICE(""), 3600);
    (void)do_kv(kv, KV_REMOVE, SLICE("gone"), 0, SLICE(""), 0);
    (void)do_kv(kv, KV_PUT, SLICE("brief"), 1, SLICE(""), 1);
    for (unsigned i = 0; i < 3; i++) { /* longer than LMDB's keys, alike but for the end */
        memset(long_keys[i], 'k', sizeof(long_keys[i]));
        long_keys[i][sizeof(long_keys[i]) - 1] = (char)('0' + i);
        (void)do_kv(kv, KV_PUT, slice_make(long_keys[i], sizeof(long_keys[i])), i, SLICE("x"), 0);
    }
    (void)do_kv(kv, KV_REMOVE, slice_make(long_keys[1], sizeof(long_keys[1])), 0, SLICE(""), 0);
    kv_close(kv);
    (void)usleep(1100000);
    kv = open_kv("restart");
    CU_ASSERT_EQUAL(kv_count(kv), 4);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, SLICE("a"), 0, SLICE(""), 0).number, 7);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, SLICE("big"), 0, SLICE(""), 0).octets, sizeof(value));
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, SLICE("gone"), 0, SLICE(""), 0).status, TERN_ABSENT);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, SLICE("brief"), 0, SLICE(""), 0).status, TERN_ABSENT);
    CU_ASSERT_EQUAL(
        do_kv(kv, KV_GET, slice_make(long_keys[2], sizeof(long_keys[2])), 0, SLICE(""), 0).number,
        2);
    CU_ASSERT_EQUAL(
        do_kv(kv, KV_GET, slice_make(long_keys[1], sizeof(long_keys[1])), 0, SLICE(""), 0).status,
        TERN_ABSENT);
    kv_close(kv);
}

/* Keys at and above the longest that LMDB takes whole. */
static void test_key_lengths(void)
{
    static char key[KV_KEY_OCTETS_MAX];

    memset(key, 'q', sizeof(key));
    for (unsigned round = 0; round < 2; round++) {
        struct kv *kv = open_kv("lengths");
        for (size_t len = 500; len < 512; len++) {
            if (round == 0)
                (void)do_kv(kv, KV_PUT, slice_make(key, len), (int64_t)len, SLICE(""), 0);
            CU_ASSERT_EQUAL(do_kv(kv, KV_GET, slice_make(key, len), 0, SLICE(""), 0).number,
                            (int64_t)len);
        }
        CU_ASSERT_EQUAL(kv_count(kv), 12);
        kv_close(kv);
    }
}

/* ---- paths that are something else --------------------------------------------------------- */

static void check_refused(const char *name, const char *want)
{
    struct kv *kv = NULL;
    char error[300] = "";

    CU_ASSERT_TRUE(kv_open(type, options_for(name, ""), 100, &kv, error, sizeof(error)) < 0);
    CU_ASSERT_PTR_NULL(kv);
    if (strstr(error, want) == NULL)
        fprintf(stderr, "  %s: %s\n", name, error);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, want));
}

static void write_file(const char *name, const void *data, size_t octets)
{
    FILE *f = fopen(path_of(name), "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(data, 1, octets, f), octets);
    (void)fclose(f);
}

static void test_refused(void)
{
    static const char zeros[8192];
    struct kv *kv;

    write_file("plain", "x", 1);
    check_refused("plain", "/plain is not a folder");
    (void)mkdir(path_of("home"), 0700);
    write_file("home/mail.txt", "x", 1);
    check_refused("home", "/home holds other files; a new store needs a folder of its own");
    check_refused("no/such/parent", "cannot make the folder");
    (void)mkdir(path_of("garbage"), 0700);
    write_file("garbage/data.mdb", zeros, sizeof(zeros));
    check_refused("garbage", "/garbage/data.mdb is not an LMDB file of this version");
    kv = open_kv("open");
    check_refused("open", "/open is open already");
    kv_close(kv);
    kv = open_kv("open");
    kv_close(kv);
}

/* What a power cut can leave: the first page knows of more pages than the file has. */
static void test_cut_short(void)
{
    struct kv *kv = open_kv("short");
    char key[32];
    struct stat st;

    for (unsigned i = 0; i < 2000; i++) {
        int n = snprintf(key, sizeof(key), "key%u", i);
        (void)do_kv(kv, KV_PUT, slice_make(key, (size_t)n), 1, SLICE("some text to fill pages"), 0);
    }
    kv_close(kv);
    CU_ASSERT_EQUAL(stat(path_of("short/data.mdb"), &st), 0);
    CU_ASSERT_EQUAL(truncate(path_of("short/data.mdb"), st.st_size / 2), 0);
    check_refused("short", "/short/data.mdb is cut short; remove it to begin anew");
}

/* Changes every `from` in the file of a store, which stays a good LMDB file. */
static void change_mark(const char *name, struct slice from, struct slice to)
{
    char data[65536];
    unsigned changed = 0;
    FILE *f = fopen(path_of(name), "r+");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    size_t octets = fread(data, 1, sizeof(data), f);
    for (size_t i = 0; i + from.len <= octets; i++) {
        if (memcmp(data + i, from.ptr, from.len) != 0)
            continue;
        (void)fseek(f, (long)i, SEEK_SET);
        (void)fwrite(to.ptr, 1, to.len, f);
        changed++;
    }
    (void)fclose(f);
    CU_ASSERT_TRUE(changed > 0);
}

/* A store of another program, and one of a later format. */
static void test_strange_formats(void)
{
    kv_close(open_kv("later"));
    change_mark("later/data.mdb", SLICE("tern kv 1"), SLICE("tern kv 2"));
    check_refused("later", "has the format \"tern kv 2\", this module knows \"tern kv 1\"");
    kv_close(open_kv("other"));
    change_mark("other/data.mdb", SLICE("\0terntern kv"), SLICE("\0otherern kv"));
    check_refused("other", "/other is an LMDB store, but not one of Tern's");
}

/* ---- a full map ---- */

static int fill(void *store, unsigned from, unsigned count)
{
    static char value[60000];
    int r = 0;

    for (unsigned i = from; i < from + count && r == 0; i++) {
        char key[32];
        int n = snprintf(key, sizeof(key), "key%u", i);
        struct tern_kv_change c = { { key, (size_t)n }, { value, sizeof(value) }, 1, UINT64_MAX };
        r = type->write(store, &c, 1);
    }
    return r;
}

static void count_one(void *arg, const struct tern_kv_change *change)
{
    ++*(unsigned *)arg;
}

static void test_growth(void)
{
    void *store = NULL;
    char error[300] = "";
    unsigned count = 0;
    struct tern_kv_change gone = { { "key1", 4 }, { "", 0 }, 0, 0 };

    /* 16 MB to begin with, 64 MB at most: 60,000 octets a value. */
    void *conf = options_for("growth", "size_max: 64MB\nsync: 0\n");
    CU_ASSERT_EQUAL_FATAL(type->open(conf, &store, error, sizeof(error)), 0);
    CU_ASSERT_EQUAL(fill(store, 0, 900), 0);
    CU_ASSERT_EQUAL(fill(store, 900, 900), -ENOSPC);
    CU_ASSERT_EQUAL(type->write(store, &gone, 1), 0); /* a full store still forgets */
    CU_ASSERT_EQUAL(type->write(store, &gone, 1), 0); /* what is not there, too */
    type->close(store);
    CU_ASSERT_EQUAL_FATAL(type->open(conf, &store, error, sizeof(error)),
                          0); /* a file larger than the first map */
    CU_ASSERT_EQUAL(type->load(store, count_one, &count), 0);
    CU_ASSERT_TRUE(count >= 899);
    type->close(store);
}

/* ---- kill -9 ---- */

/* Writes batches for ever; each puts the same number into all of ten keys. */
static void write_on(int said)
{
    void *store = NULL;
    char error[300];

    if (type->open(options_for("killed", ""), &store, error, sizeof(error)) < 0)
        _exit(1);
    for (int64_t round = 1;; round++) {
        struct tern_kv_change changes[10];
        char keys[10][8];
        for (unsigned i = 0; i < 10; i++) {
            int n = snprintf(keys[i], sizeof(keys[i]), "key%u", i);
            changes[i] = (struct tern_kv_change){
                { keys[i], (size_t)n }, { "value", 5 }, round, UINT64_MAX
            };
        }
        if (type->write(store, changes, 10) < 0 ||
            write(said, &round, sizeof(round)) != sizeof(round))
            _exit(1);
    }
}

struct seen {
    int64_t least, most;
    unsigned count;
};

static void see(void *arg, const struct tern_kv_change *c)
{
    struct seen *s = arg;

    s->least = s->count == 0 || c->number < s->least ? c->number : s->least;
    s->most = c->number > s->most ? c->number : s->most;
    s->count++;
}

static void test_killed(void)
{
    for (unsigned round = 0; round < 10; round++) {
        int pipes[2], status;
        int64_t written = 0, number;
        CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
        pid_t pid = fork();
        CU_ASSERT_TRUE_FATAL(pid >= 0);
        if (pid == 0) {
            (void)close(pipes[0]);
            write_on(pipes[1]);
        }
        (void)close(pipes[1]);
        (void)fcntl(pipes[0], F_SETPIPE_SZ, 1 << 20);
        (void)usleep(20000 + round * 3000);
        CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
        CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
        while (read(pipes[0], &number, sizeof(number)) == sizeof(number))
            written = number;
        (void)close(pipes[0]);
        void *store = NULL;
        char error[300] = "";
        struct seen seen = { 0, 0, 0 };
        CU_ASSERT_TRUE(WIFSIGNALED(status));
        int r = type->open(options_for("killed", ""), &store, error, sizeof(error));
        CU_ASSERT_EQUAL_FATAL(r, 0);
        CU_ASSERT_EQUAL(type->load(store, see, &seen), 0);
        CU_ASSERT_EQUAL(seen.least, seen.most); /* all of a batch or nothing of it */
        CU_ASSERT_TRUE(seen.most >= written);   /* what was committed is in the page cache */
        CU_ASSERT_TRUE(seen.count == 10 || written == 0);
        type->close(store);
    }
}

static void remove_folder(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static bool load_module(void)
{
    void *handle = dlopen(TERN_MODULE_DIR "/kv_lmdb.so", RTLD_NOW | RTLD_LOCAL);
    const struct tern_module *(*entry)(void);

    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return false;
    }
    *(void **)&entry = dlsym(handle, "tern_module_entry");
    const struct tern_module *module = entry != NULL ? entry() : NULL;
    if (module == NULL || module->magic != TERN_ABI_MAGIC || module->kv_store == NULL)
        return false;
    type = module->kv_store;
    return strcmp(type->type, "kv_lmdb") == 0;
}

int main(void)
{
    if (!load_module() || mkdtemp(folder) == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    arena_init(&arena);
    CU_pSuite suite = CU_add_suite("kv_lmdb", NULL, NULL);
    CU_add_test(suite, "killed", test_killed); /* first: it forks, the others start threads */
    CU_add_test(suite, "restart", test_restart);
    CU_add_test(suite, "lengths of keys", test_key_lengths);
    CU_add_test(suite, "refused paths", test_refused);
    CU_add_test(suite, "cut short", test_cut_short);
    CU_add_test(suite, "strange formats", test_strange_formats);
    CU_add_test(suite, "growth", test_growth);
    CU_add_test(suite, "clean up", remove_folder);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    arena_fini(&arena);
    return failures != 0;
}
