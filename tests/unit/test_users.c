/* SPDX-License-Identifier: Apache-2.0 */
/* test_users.c - the file of auth_file: what its lines and its YAML say, what is wrong with them, and how it is watched. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lib/password.h>

#include "../../modules/auth_file/users_file.h"

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

/* ---- formats ---- */

static const struct {
    const char *what;
    enum users_format format;
    const char *text, *user, *name, *stored; /* name NULL: not found */
} good[] = {
    { "a line", USERS_LINES, "alice:{PLAIN}x\nbob:{PLAIN}y\n", "bob", "bob", "{PLAIN}y" },
    { "a line without an end", USERS_LINES, "alice:{PLAIN}x", "alice", "alice", "{PLAIN}x" },
    { "CRLF", USERS_LINES, "alice:{PLAIN}x\r\n", "alice", "alice", "{PLAIN}x" },
    { "comments and blanks", USERS_LINES, "# users\n\n \t\n  alice : {PLAIN}x \n", "alice", "alice", "{PLAIN}x" },
    { "fields of passwd(5)", USERS_LINES, "alice:{PLAIN}x:1000:1000:Alice A.:/home/alice:/bin/sh\n", "alice", "alice",
      "{PLAIN}x" },
    { "empty fields", USERS_LINES, "alice:{PLAIN}x::::::\n", "alice", "alice", "{PLAIN}x" },
    { "another case of letters", USERS_LINES, "Alice@Example.ORG:{PLAIN}x\n", "aLICE@example.org", "Alice@Example.ORG",
      "{PLAIN}x" },
    { "nobody", USERS_LINES, "alice:{PLAIN}x\n", "alic", NULL, NULL },
    { "the empty name", USERS_LINES, "alice:{PLAIN}x\n", "", NULL, NULL },
    { "an empty file", USERS_LINES, "", "alice", NULL, NULL },
    { "locked", USERS_LINES, "alice:!\n", "alice", "alice", "!" },
    { "YAML", USERS_YAML, "alice: \"{PLAIN}x\"\nbob: '{PLAIN}y'\n", "bob", "bob", "{PLAIN}y" },
    { "YAML without quotes", USERS_YAML, "alice: $1$Pa6fPTPi$p5rdOhKzJMisn2zBWLKIv1\n", "alice", "alice",
      "$1$Pa6fPTPi$p5rdOhKzJMisn2zBWLKIv1" },
    { "YAML's no is a name", USERS_YAML, "no: '{PLAIN}x'\n", "no", "no", "{PLAIN}x" },
    { "YAML with a list", USERS_YAML, "alice: ['{PLAIN}x', '{PLAIN}y']\n", "alice", "alice", "{PLAIN}x {PLAIN}y" },
    { "YAML with a colon in it", USERS_YAML, "'a:b': '{PLAIN}x:y'\n", "a:b", "a:b", "{PLAIN}x:y" },
    { "YAML with escapes that grow", USERS_YAML, "alice: \"{PLAIN}\\L\\L\\L\\L\\L\\L\"\n", "alice", "alice",
      "{PLAIN}\xe2\x80\xa8\xe2\x80\xa8\xe2\x80\xa8\xe2\x80\xa8\xe2\x80\xa8\xe2\x80\xa8" },
    { "an empty YAML", USERS_YAML, "# nobody yet\n", "alice", NULL, NULL },
};

static void test_good(void)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct users_error error = { 0 };
        struct users *u = users_parse(good[i].text, strlen(good[i].text), good[i].format, &error);
        if (u == NULL)
            fprintf(stderr, "  case \"%s\": line %u: %s\n", good[i].what, error.line, error.what);
        CU_ASSERT_PTR_NOT_NULL_FATAL(u);
        const struct users_entry *e = users_find(u, str(good[i].user));
        char all[256] = "";
        for (unsigned n = 0; e != NULL && n < e->count; n++) {
            (void)strcat(all, n > 0 ? " " : "");
            (void)strcat(all, users_stored(u, e, n).ptr);
        }
        CU_ASSERT_EQUAL(e != NULL, good[i].name != NULL);
        if (e != NULL && good[i].name != NULL) {
            CU_ASSERT_STRING_EQUAL(users_name(u, e).ptr, good[i].name);
            CU_ASSERT_STRING_EQUAL(all, good[i].stored);
        }
        users_unref(u);
    }
}

static const struct {
    const char *what;
    enum users_format format;
    const char *text;
    unsigned line;
    const char *want;
} bad[] = {
    { "no colon", USERS_LINES, "alice:{PLAIN}x\nbob\n", 2, "expected user:entry" },
    { "no name", USERS_LINES, ":{PLAIN}x\n", 1, "a user without a name" },
    { "no password", USERS_LINES, "alice:\n", 1, "the password is missing; write ! for a user who may not log in" },
    { "no scheme", USERS_LINES, "alice:secret\n", 1,
      "the stored password names no scheme: write {PLAIN} in front of a password in clear" },
    { "a shadowed password", USERS_LINES, "alice:x:1000:1000::/:/bin/sh\n", 1,
      "the stored password names no scheme: write {PLAIN} in front of a password in clear" },
    { "a colon in the password", USERS_LINES, "alice:{PLAIN}se:cret\n", 1,
      "a colon inside the entry (use YAML), or a uid that is no number" },
    { "twice", USERS_LINES, "alice:{PLAIN}x\n\nALICE:{PLAIN}y\n", 3, "this user stands in line 1 already" },
    { "a control", USERS_LINES, "al\033ice:{PLAIN}x\n", 1, "a control character in a user's name" },
    { "a control in the entry", USERS_LINES, "alice:!\033x\n", 1, "a control character in the stored password" },
    { "a NUL in the entry", USERS_YAML, "alice: \"*\\0x\"\n", 1, "a control character in the stored password" },
    { "YAML that is none", USERS_YAML, "alice: \"x\n", 2, "found unexpected end of stream" },
    { "YAML, a list at the top", USERS_YAML, "- alice\n", 1, "expected a map: user: entry" },
    { "YAML, a word at the top", USERS_YAML, "alice\n", 1, "expected a map: user: entry" },
    { "YAML, braces without quotes", USERS_YAML, "alice: {PLAIN}x\n", 1,
      "expected an entry, or a list of entries; one in braces needs quotes" },
    { "YAML, nothing", USERS_YAML, "bob: '!'\nalice:\n", 2, "the password is missing; write ! for a user who may not log in" },
    { "YAML, an empty list", USERS_YAML, "alice: []\n", 1, "an empty list; write \"!\" for a user who may not log in" },
    { "YAML, five entries", USERS_YAML, "alice: ['!', '!', '!', '!', '!']\n", 1, "more than 4 entries for one user" },
    { "YAML, a list in a list", USERS_YAML, "alice: [['!']]\n", 1, "expected a map: user: entry" },
    { "YAML, an alias", USERS_YAML, "alice: &a '!'\nbob: *a\n", 2, "aliases are not for this file" },
    { "YAML, two documents", USERS_YAML, "alice: '!'\n---\nbob: '!'\n", 2, "expected one document" },
    { "YAML, twice", USERS_YAML, "alice: '!'\nalice: '!'\n", 2, "this user stands in line 1 already" },
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct users_error error = { 0 };
        struct users *u = users_parse(bad[i].text, strlen(bad[i].text), bad[i].format, &error);
        if (u != NULL || error.line != bad[i].line || strcmp(error.what, bad[i].want) != 0)
            fprintf(stderr, "  case \"%s\": line %u: %s\n", bad[i].what, error.line, error.what);
        CU_ASSERT_PTR_NULL(u);
        CU_ASSERT_EQUAL(error.line, bad[i].line);
        CU_ASSERT_STRING_EQUAL(error.what, bad[i].want);
        users_unref(u);
    }
}

static void test_bounds(void)
{
    struct users_error error;
    char text[600];

    for (unsigned octets = USERS_NAME_OCTETS_MAX; octets <= USERS_NAME_OCTETS_MAX + 1; octets++) {
        memset(text, 'n', octets);
        (void)strcpy(text + octets, ":!\n");
        struct users *u = users_parse(text, strlen(text), USERS_LINES, &error);
        CU_ASSERT_EQUAL(u != NULL, octets == USERS_NAME_OCTETS_MAX);
        CU_ASSERT_TRUE(u == NULL || users_find(u, (tern_str){ text, octets }) != NULL);
        users_unref(u);
        (void)strcpy(text + octets, ": '!'\n");
        u = users_parse(text, strlen(text), USERS_YAML, &error);
        CU_ASSERT_EQUAL(u != NULL, octets == USERS_NAME_OCTETS_MAX);
        users_unref(u);
    }
    CU_ASSERT_PTR_NULL(users_parse("", (size_t)USERS_FILE_OCTETS_MAX + 1, USERS_LINES, &error));
    CU_ASSERT_STRING_EQUAL(error.what, "larger than 64 MB");
}

/* A thousand: all are found, and each stranger has a likeness, always the same one. */
static void test_many(void)
{
    char *text = NULL, name[32];
    size_t octets;
    FILE *f = open_memstream(&text, &octets);
    struct users_error error;
    unsigned likenesses = 0;

    for (unsigned i = 0; i < 1000; i++)
        (void)fprintf(f, "user%u:{PLAIN}p%u\n", i, i);
    (void)fclose(f);
    struct users *u = users_parse(text, octets, USERS_LINES, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(u);
    CU_ASSERT_EQUAL(users_count(u), 1000);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof(name), "USER%u", i);
        CU_ASSERT_PTR_NOT_NULL(users_find(u, str(name)));
        (void)snprintf(name, sizeof(name), "stranger%u", i);
        CU_ASSERT_PTR_NULL(users_find(u, str(name)));
        const struct users_entry *e = users_decoy(u, str(name));
        CU_ASSERT_TRUE(e != NULL && e == users_decoy(u, str(name)));
        likenesses += e != users_decoy(u, str("stranger0"));
    }
    CU_ASSERT_TRUE(likenesses > 900);
    users_unref(u);
    free(text);
}

/* ---- the file ---- */

static char folder[64], path[96], new_path[96];

static void write_file(const char *text)
{
    FILE *f = fopen(new_path, "w");

    (void)fputs(text, f);
    (void)fclose(f);
    (void)rename(new_path, path);
}

/* What `user` has now: an entry, "nobody", or "never read"; what was said of it in `error`. */
static const char *look(struct users_file *f, const char *user, char error[256])
{
    static char got[128];
    bool failed;

    error[0] = '\0';
    struct users *u = users_file_users(f, &failed, error, 256);
    const struct users_entry *e = u != NULL ? users_find(u, str(user)) : NULL;
    (void)snprintf(got, sizeof(got), "%s", u == NULL ? "never read" : e == NULL ? "nobody" : users_stored(u, e, 0).ptr);
    CU_ASSERT_EQUAL(failed, error[0] != '\0');
    users_unref(u);
    return got;
}

static void test_watch(void)
{
    char error[256];
    struct users_file *f = users_file_get(path);

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_PTR_EQUAL(users_file_get(path), f);
    CU_ASSERT_STRING_EQUAL(look(f, "alice", error), "never read");
    CU_ASSERT_FALSE(users_file_read(f, error, sizeof(error)));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, ": No such file"));
    struct timespec began, now;
    (void)clock_gettime(CLOCK_MONOTONIC, &began);
    write_file("alice:{PLAIN}one\n");
    CU_ASSERT_TRUE(users_file_read(f, error, sizeof(error)));
    CU_ASSERT_STRING_EQUAL(look(f, "alice", error), "{PLAIN}one");
    write_file("alice:{PLAIN}two\n");
    bool still = strcmp(look(f, "alice", error), "{PLAIN}one") == 0; /* once a second */
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    CU_ASSERT_TRUE(still || now.tv_sec > began.tv_sec); /* a busy machine may take that long */
    (void)usleep(1100000);
    CU_ASSERT_STRING_EQUAL(look(f, "alice", error), "{PLAIN}two");
    write_file("alice:{PLAIN}three\nbob\n");
    (void)usleep(1100000);
    CU_ASSERT_STRING_EQUAL(look(f, "alice", error), "{PLAIN}two"); /* a broken one changes nothing ... */
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "users:2: expected user:entry"));
    (void)usleep(1100000);
    CU_ASSERT_STRING_EQUAL(look(f, "alice", error), "{PLAIN}two"); /* ... and is told once */
    CU_ASSERT_STRING_EQUAL(error, "");
    (void)unlink(path);
    (void)usleep(1100000);
    CU_ASSERT_STRING_EQUAL(look(f, "alice", error), "{PLAIN}two");
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "No such file"));
    write_file("alice:{PLAIN}four\n");
    (void)usleep(1100000);
    CU_ASSERT_STRING_EQUAL(look(f, "alice", error), "{PLAIN}four");
}

static void test_no_file(void)
{
    char error[256];
    struct users_file *f = users_file_get(folder);

    CU_ASSERT_FALSE(users_file_read(f, error, sizeof(error)));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, ": is no file"));
}

int main(void)
{
    strcpy(folder, "/tmp/tern-test-XXXXXX");
    if (password_init() < 0 || mkdtemp(folder) == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    (void)snprintf(path, sizeof(path), "%s/users", folder);
    (void)snprintf(new_path, sizeof(new_path), "%s/new", folder);
    CU_pSuite suite = CU_add_suite("users", NULL, NULL);
    CU_add_test(suite, "what files say", test_good);
    CU_add_test(suite, "what is wrong with files", test_bad);
    CU_add_test(suite, "bounds", test_bounds);
    CU_add_test(suite, "many users", test_many);
    CU_add_test(suite, "a file that changes", test_watch);
    CU_add_test(suite, "a folder is no file", test_no_file);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    (void)unlink(path);
    (void)rmdir(folder);
    return failures != 0;
}
