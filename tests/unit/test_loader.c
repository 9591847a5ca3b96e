/* SPDX-License-Identifier: Apache-2.0 */
/* test_loader.c - a module that is wrong in one way is refused with one sentence; a good one is not. */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "module/descriptor.h"
#include "policy_fixture.h"

static struct fixture fix;

/* A row a way; `want` is a part of the sentence. tests/unit/bad_modules/bad.c makes them. */
static const struct {
    const char *name, *want;
} refusals[] = {
    { "bad_magic", "its descriptor begins with 0x464c457f, a module's with 0x4e524554" },
    { "bad_major", "needs module ABI 2.3, this server has 1." },
    { "bad_minor", "needs module ABI 1.9, this server has 1." },
    { "bad_size", "its descriptor has 40 octets; one of ABI 1.0 has at least 144" },
    { "bad_size_huge", "its descriptor has 1073741824 octets" },
    { "bad_name", "calls itself \"somebody_else\", not \"bad_name\"" },
    { "bad_entry_missing", "is no module of this server: it has no tern_module_entry()" },
    { "bad_entry_null", "its tern_module_entry() returned nothing" },
    { "bad_init", "its init() failed: Input/output error" },
    { "bad_undefined", "undefined symbol: there_is_no_such_function" },
    { "bad_option_outside", "its option number lies at octets 6 to 10 of options that have 8" },
    { "bad_option_far", "of options that have 8" },
    { "bad_option_crooked", "its option number lies at octet 3, where its type cannot" },
    { "bad_option_type", "its option number is of type 99, this server knows 0 to 18" },
    { "bad_option_regex",
      "its option number is of type regex, which this server does not support yet" },
    { "bad_option_enum", "its option number is an enum without values" },
    { "bad_option_reserved", "its option when has a name that the server keeps for itself" },
    { "bad_option_name", "an option has no proper name (Big Number)" },
    { "bad_option_twice", "its option flag is there twice" },
    { "bad_option_stride",
      "entry 1 of its table of options has 12 octets; one of ABI 1.0 has at least 88" },
    { "bad_hook_unknown", "it registers for hook 77, this server knows 0 to 14" },
    { "bad_hook_empty", "its entry for hook rcpt has no function" },
    { "bad_hook_stride",
      "entry 0 of its table of hooks has 8 octets; one of ABI 1.0 has at least 40" },
    { "bad_hook_twice", "it registers twice for hook rcpt" },
    { "bad_hook_verdict",
      "its entry for hook sign may answer REJECT, which that hook does not allow" },
    { "bad_hook_report", "its entry for hook close may answer DEFER, but that hook only reports" },
    { "bad_hook_claims", "its entry for hook mail claims recipients, which only rcpt may" },
    { "bad_hook_once", "its entry for hook queue is ONCE, which only message may be" },
    { "bad_hook_flags", "its entry for hook message has flags 0x100000, this server knows 0x7" },
    { "bad_auth_form", "its entry for hook auth has form 0, this server knows 1 to 3" },
    { "bad_auth_exchange", "is of form EXCHANGE and names no mechanism" },
    { "bad_auth_blocking", "is of form EXCHANGE, which cannot be BLOCKING" },
    { "bad_auth_name", "has \"plain\", which names no mechanism" },
    { "bad_auth_mechanism", "its entry for hook auth cannot serve SCRAM-SHA-1 by form VERIFY" },
    { "bad_auth_elsewhere", "names a form or mechanisms, which only auth has" },
    { "bad_note", "it declares a tag without a proper name" },
    { "no_such_module", "No such file or directory" },
    { "../etc/passwd", "is no name of a module" },
    { "Upper", "is no name of a module" },
    { "", "is no name of a module" },
    { "a234567890123456789012345678901234567890123456789012345678901234x",
      "is no name of a module" },
};

static void test_refusals(void)
{
    char error[1024];

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (strncmp(refusals[i].name, "bad_", 4) == 0)
            CU_ASSERT_TRUE_FATAL(fixture_copy(&fix, TERN_BAD_MODULE_DIR, refusals[i].name));
        /* Twice: a refused file stays mapped, and must be refused again. */
        for (int round = 0; round < 2; round++) {
            const struct tern_module *m =
                modules_get(fix.modules, refusals[i].name, error, sizeof(error));

            CU_ASSERT_PTR_NULL(m);
            CU_ASSERT_PTR_NOT_NULL(strstr(error, refusals[i].want));
            if (m != NULL || strstr(error, refusals[i].want) == NULL)
                fprintf(stderr, "  %s: got \"%s\", want \"%s\"\n", refusals[i].name, error,
                        refusals[i].want);
        }
    }
}

static void test_good(void)
{
    char error[1024];

    CU_ASSERT_TRUE_FATAL(fixture_copy(&fix, TERN_BAD_MODULE_DIR, "good"));
    CU_ASSERT_TRUE_FATAL(fixture_copy(&fix, TERN_BAD_MODULE_DIR, "good_longer"));
    CU_ASSERT_TRUE_FATAL(fixture_copy(&fix, TERN_BAD_MODULE_DIR, "good_auth"));
    CU_ASSERT_PTR_NOT_NULL(modules_get(fix.modules, "good_auth", error, sizeof(error)));
    const struct tern_module *good = modules_get(fix.modules, "good", error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(good);
    CU_ASSERT_STRING_EQUAL(error, "");
    CU_ASSERT_PTR_EQUAL(modules_get(fix.modules, "good", error, sizeof(error)), good);
    CU_ASSERT_PTR_NOT_NULL(modules_state(fix.modules, good));
    /* Another object under, maybe, the number that a refused one had: it must be the right one. */
    const struct tern_module *longer =
        modules_get(fix.modules, "good_longer", error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(longer);
    CU_ASSERT_STRING_EQUAL(longer->name, "good_longer");
    CU_ASSERT_EQUAL(longer->hooks[0].size, sizeof(struct tern_hook));
    CU_ASSERT_EQUAL(longer->hooks[0].hook, TERN_HOOK_RCPT);
    CU_ASSERT_EQUAL(longer->hooks[1].hook, TERN_HOOK_MESSAGE);
    CU_ASSERT_EQUAL(longer->hooks[1].flags, TERN_ONCE);
    CU_ASSERT_EQUAL(longer->hooks[2].size, 0);
}

/* The same module file under modes and owners; the folder likewise. */
static void test_trust(void)
{
    static const struct {
        const char *what;
        mode_t file, folder;
        bool trust_group;
        const char *want; /* NULL: loaded without a word */
        bool loaded;
    } rows[] = {
        { "only its owner writes", 0644, 0755, true, NULL, true },
        { "everyone may write the file", 0646, 0755, true, "writable by everyone (mode 0646)",
          false },
        { "a group may write: a warning without root", 0664, 0755, true, "writable by its group",
          true },
        { "a group may write: refused as root", 0664, 0755, false, "writable by its group", false },
        { "everyone may write the folder", 0644, 0777, true, "its folder", false },
        { "a sticky folder is not good enough for the file itself", 0644, 01777, true, "its folder",
          false },
        { "a group may write the folder", 0644, 0775, true, "its folder", true },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        char path[160], error[1024];

        if (!rows[i].trust_group && geteuid() != 0)
            continue; /* the file would belong to us, not to root */
        fixture_begin(&f, NULL);
        modules_free(f.modules);
        struct modules_env env = { .path = f.folder,
                                   .trust_group = rows[i].trust_group,
                                   .api = &fixture_api };
        f.modules = modules_new(&env);
        CU_ASSERT_TRUE_FATAL(fixture_copy(&f, TERN_BAD_MODULE_DIR, "good"));
        fixture_path(&f, "good.so", path);
        CU_ASSERT_EQUAL(chmod(path, rows[i].file), 0);
        CU_ASSERT_EQUAL(chmod(f.folder, rows[i].folder), 0);
        bool loaded = modules_get(f.modules, "good", error, sizeof(error)) != NULL;
        bool said = rows[i].want != NULL ? strstr(error, rows[i].want) != NULL : error[0] == '\0';
        if (loaded != rows[i].loaded || !said)
            fprintf(stderr, "  case \"%s\": loaded %d, \"%s\"\n", rows[i].what, loaded, error);
        CU_ASSERT_EQUAL(loaded, rows[i].loaded);
        CU_ASSERT_TRUE(said);
        fixture_end(&f);
    }
}

/* The defaults of a table, as if nothing were written; required options are left out. */
static void parse_defaults(const char *module, const struct tern_option *options, size_t conf_size)
{
    struct config_errors errors = { .text = BUF_INIT };
    struct tern_option kept[DESCRIPTOR_OPTIONS_MAX + 1] = { { 0 } };
    struct arena arena;
    size_t count = 0;

    for (const struct tern_option *o = options; o->size != 0; o++)
        if (o->text != NULL)
            kept[count++] = *o;
    arena_init(&arena);
    struct schema_env env = { .arena = &arena, .errors = &errors };
    struct place place = { module, 1, 1 };
    void *conf = arena_zalloc(&arena, conf_size + 1);
    CU_ASSERT_EQUAL(schema_parse(&env, NULL, place, kept, conf, NULL, NULL, NULL), 0);
    if (errors.errors + errors.warnings > 0)
        fprintf(stderr, "  %s: %s", module, errors.text.data);
    CU_ASSERT_EQUAL(errors.errors + errors.warnings, 0);
    config_errors_free(&errors);
    arena_fini(&arena);
}

/* All that we ship: loaded as the server would, and each default is a value of its type. */
static void test_shipped(void)
{
    DIR *dir = opendir(TERN_MODULE_DIR);
    unsigned count = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        size_t len = strlen(e->d_name);
        char name[80], error[512];

        if (len < 4 || len > sizeof(name) || strcmp(e->d_name + len - 3, ".so") != 0)
            continue;
        (void)snprintf(name, sizeof(name), "%.*s", (int)len - 3, e->d_name);
        CU_ASSERT_TRUE(fixture_copy(&fix, TERN_MODULE_DIR, name));
        const struct tern_module *m = modules_get(fix.modules, name, error, sizeof(error));
        if (m == NULL)
            fprintf(stderr, "  %s: %s\n", name, error);
        CU_ASSERT_PTR_NOT_NULL(m);
        if (m == NULL)
            continue;
        count++;
        CU_ASSERT_PTR_NOT_NULL(m->summary);
        parse_defaults(name, m->options, m->conf_size);
        for (const struct tern_transport *const *t = m->transports; *t != NULL; t++)
            parse_defaults(name, (*t)->options, (*t)->conf_size);
        if (m->kv_store != NULL)
            parse_defaults(name, m->kv_store->options, m->kv_store->conf_size);
    }
    (void)closedir(dir);
    CU_ASSERT_TRUE(count >= 3);
}

/* A new file under an old name: the code that was loaded goes on. */
static void test_replaced(void)
{
    char path[160], error[512];
    const struct tern_module *before = modules_get(fix.modules, "good", error, sizeof(error));

    fixture_path(&fix, "good.so", path);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_TRUE_FATAL(fixture_copy(&fix, TERN_BAD_MODULE_DIR, "good"));
    CU_ASSERT_PTR_EQUAL(modules_get(fix.modules, "good", error, sizeof(error)), before);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_PTR_EQUAL(modules_get(fix.modules, "good", error, sizeof(error)), before);
}

static void refused_as(const char *name, const char *want)
{
    char error[1024];
    const struct tern_module *m = modules_get(fix.modules, name, error, sizeof(error));

    if (m != NULL || strstr(error, want) == NULL)
        fprintf(stderr, "  %s: got \"%s\"\n", name, error);
    CU_ASSERT_PTR_NULL(m);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, want));
}

static void test_odd_files(void)
{
    char path[160], other[160];

    fixture_path(&fix, "a_folder.so", path);
    CU_ASSERT_EQUAL(mkdir(path, 0755), 0);
    refused_as("a_folder", "is not a regular file");
    CU_ASSERT_EQUAL(rmdir(path), 0);
    fixture_path(&fix, "a_fifo.so", path);
    CU_ASSERT_EQUAL(mkfifo(path, 0644), 0);
    refused_as("a_fifo", "is not a regular file"); /* and the test does not hang */
    fixture_path(&fix, "a_text.so", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    CU_ASSERT_EQUAL(write(fd, "not a shared object\n", 20), 20);
    (void)close(fd);
    refused_as("a_text", "cannot be loaded");

    /* A symbolic link in good hands to a file in a folder that everyone may write. */
    struct fixture elsewhere;
    fixture_begin(&elsewhere, NULL);
    CU_ASSERT_TRUE_FATAL(fixture_copy(&elsewhere, TERN_BAD_MODULE_DIR, "good"));
    CU_ASSERT_EQUAL(chmod(elsewhere.folder, 0777), 0);
    fixture_path(&elsewhere, "good.so", other);
    fixture_path(&fix, "linked.so", path);
    CU_ASSERT_EQUAL(symlink(other, path), 0);
    refused_as("linked", "writable by everyone");
    fixture_end(&elsewhere);
}

int main(void)
{
    fixture_begin(&fix, NULL);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("loader", NULL, NULL);
    CU_add_test(suite, "each way to be wrong has its sentence", test_refusals);
    CU_add_test(suite, "a good module is loaded once, entries of any length", test_good);
    CU_add_test(suite, "every module that is shipped, and its defaults", test_shipped);
    CU_add_test(suite, "a module whose file is replaced stays", test_replaced);
    CU_add_test(suite, "files and folders that others may write", test_trust);
    CU_add_test(suite, "what is no module file at all", test_odd_files);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    fixture_end(&fix);
    return failures != 0;
}
