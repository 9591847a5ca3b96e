/* SPDX-License-Identifier: Apache-2.0 */
/* test_rules.c - supervisor.conf: what it may say, what is refused and how. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/rules.h"

#define FILE_OCTETS_MAX 16384 /* of rules.c */

static char path[64] = "/tmp/tern-rules-XXXXXX";

static void put(const char *text, size_t len, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, text, len), (ssize_t)len);
    (void)fchmod(fd, mode);
    (void)close(fd);
}

static int load(const char *text, struct rules *rules, char error[256])
{
    error[0] = '\0';
    put(text, strlen(text), 0600);
    return rules_load(path, rules, error, 256);
}

static const struct {
    const char *text, *error; /* behind the path */
} wrong[] = {
    { "usr tern\n", ":1: expected user, ports, restart_ms, keys, sockets, uid_min, mailboxes, commands, pam or pam_user" },
    { "# a comment\n\nuser\n", ":3: expected one user name" },
    { "user a b\n", ":1: expected one user name" },
    { "user 0123456789012345678901234567890123456789012345678901234567890123\n", ":1: expected one user name" },
    { "ports 25 x\n", ":1: expected port numbers from 1 to 65535" },
    { "ports 0\n", ":1: expected port numbers from 1 to 65535" },
    { "ports 65536\n", ":1: expected port numbers from 1 to 65535" },
    { "ports -1\n", ":1: expected port numbers from 1 to 65535" },
    { "ports 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33\n",
      ":1: too many ports, at most 32" },
    { "uid_min 1000\n", NULL },
    { "uid_min 1\n", NULL },
    { "uid_min 4294967294\n", NULL },
    { "uid_min 0\n", ":1: expected the number of a user, 1 or more: root gets no mail" },
    { "uid_min 4294967295\n", ":1: expected the number of a user, 1 or more: root gets no mail" },
    { "uid_min a\n", ":1: expected the number of a user, 1 or more: root gets no mail" },
    { "uid_min\n", ":1: expected the number of a user, 1 or more: root gets no mail" },
    { "uid_min 1 2\n", ":1: expected the number of a user, 1 or more: root gets no mail" },
    { "mailboxes /var/mail/ /srv\n", NULL },
    { "mailboxes /\n", ":1: expected absolute paths, and not the root of all" },
    { "mailboxes mail\n", ":1: expected absolute paths, and not the root of all" },
    { "mailboxes /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a\n", ":1: too many folders, at most 16" },
    { "commands /bin/true\n", NULL },
    { "commands true\n", ":1: expected absolute paths, and not the root of all" },
    { "commands /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a\n", NULL },
    { "commands /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a\n",
      ":1: too many programs, at most 32" },
    { "pam tern smtp\n", NULL },
    { "pam ../tern\n", ":1: expected names of services, as in /etc/pam.d" },
    { "pam .tern\n", ":1: expected names of services, as in /etc/pam.d" },
    { "pam a a a a a a a a a a a a a a a a\n", NULL },
    { "pam a a a a a a a a a a a a a a a a a\n", ":1: too many services, at most 16" },
    { "pam_user nobody\n", NULL },
    { "pam_user\n", ":1: expected one user name" },
    { "pam_user a b\n", ":1: expected one user name" },
    { "restart_ms 100\n", ":1: expected two numbers of milliseconds, 10 <= first <= longest <= 3600000" },
    { "restart_ms 9 100\n", ":1: expected two numbers of milliseconds, 10 <= first <= longest <= 3600000" },
    { "restart_ms 200 100\n", ":1: expected two numbers of milliseconds, 10 <= first <= longest <= 3600000" },
    { "restart_ms 10 3600001\n", ":1: expected two numbers of milliseconds, 10 <= first <= longest <= 3600000" },
    { "user tern", NULL },
    { "", NULL },
    { "\t# blanks before a comment\n  user\ttern  \n", NULL },
    { "user 012345678901234567890123456789012345678901234567890123456789012\n", NULL },
    { "ports 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32\n", NULL },
    { "ports\n", NULL }, /* none at all */
    { "keys /etc/tern/tls /a/\n", NULL },
    { "keys tls\n", ":1: expected absolute paths, and not the root of all" },
    { "keys /a\nuser tern\nkeys /b\n", ":3: this word stands twice; what belongs to it stands on one line" },
    { "keys /\n", ":1: expected absolute paths, and not the root of all" },
    { "keys /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a\n", NULL },
    { "keys /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a\n", ":1: too many folders, at most 16" },
    { "restart_ms 10 3600000\n", NULL },
    { "sockets /run/tern /a/\n", NULL },
    { "sockets run\n", ":1: expected absolute paths, and not the root of all" },
    { "sockets /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a\n", NULL },
    { "sockets /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a /a\n", ":1: too many folders, at most 16" },
};

static void test_table(void)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct rules rules;
        char error[256], want[512] = "";
        int r = load(wrong[i].text, &rules, error);

        if (wrong[i].error != NULL)
            (void)snprintf(want, sizeof(want), "%s%s", path, wrong[i].error);
        CU_ASSERT_EQUAL(r, wrong[i].error != NULL ? -EINVAL : 0);
        CU_ASSERT_STRING_EQUAL(error, want);
        if (strcmp(error, want) != 0)
            fprintf(stderr, "  %s  said: %s\n", wrong[i].text, error);
    }
}

static void test_values(void)
{
    struct rules rules;
    char error[256];

    CU_ASSERT_EQUAL(load("user mail\nports 25 587\nrestart_ms 20 40\n", &rules, error), 0);
    CU_ASSERT_STRING_EQUAL(rules.user, "mail");
    CU_ASSERT_EQUAL(rules.restart_ms_min, 20);
    CU_ASSERT_EQUAL(rules.restart_ms_max, 40);
    CU_ASSERT_TRUE(rules_allow_port(&rules, 25));
    CU_ASSERT_TRUE(rules_allow_port(&rules, 587));
    CU_ASSERT_FALSE(rules_allow_port(&rules, 465)); /* the line replaces the defaults */
    CU_ASSERT_FALSE(rules_allow_port(&rules, 1023));
    CU_ASSERT_TRUE(rules_allow_port(&rules, 1024));
    CU_ASSERT_EQUAL(load("", &rules, error), 0);
    CU_ASSERT_STRING_EQUAL(rules.user, "tern");
    CU_ASSERT_TRUE(rules_allow_port(&rules, 465));
}

static void try_key(const struct rules *rules, const char *key, const char *want)
{
    char error[256] = "";
    int fd = rules_open_key(rules, key, error, sizeof(error));

    CU_ASSERT_EQUAL(fd >= 0, want == NULL);
    if (want != NULL && strstr(error, want) == NULL)
        fprintf(stderr, "  %s: %s\n", key, error);
    CU_ASSERT_TRUE(want == NULL || strstr(error, want) != NULL);
    if (fd >= 0)
        (void)close(fd);
}

/* Below the folders only, links followed first; plain files that nobody else may write. */
static void test_keys(void)
{
    char top[] = "/tmp/tern-keys-XXXXXX", text[128], name[64], line[600], error[256];
    struct rules rules;

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(top));
    (void)snprintf(line, sizeof(line), "cd %s && mkdir in in/sub out inner && echo k >in/sub/key && echo k >out/key && "
                   "ln -s ../out/key in/away && ln -s sub/key in/link && mkfifo in/pipe && echo k >inner/key && "
                   "echo k >in/open && chmod 600 in/sub/key && chmod 622 in/open && ln -s in alias", top);
    CU_ASSERT_EQUAL_FATAL(system(line), 0);
    (void)snprintf(text, sizeof(text), "keys %s/alias %s/gone\n", top, top);
    CU_ASSERT_EQUAL(load(text, &rules, error), 0);
    static const struct {
        const char *file, *want;
    } rows[] = {
        { "in/sub/key", NULL },
        { "in/link", NULL },
        { "alias/sub/../link", NULL },
        { "out/key", "is not below a folder" },
        { "in/away", "is not below a folder" },
        { "in/../out/key", "is not below a folder" },
        { "inner/key", "is not below a folder" }, /* the same beginning is not the same folder */
        { "in", "is not below a folder" },
        { "in/sub", "is no plain file" },
        { "in/pipe", "is no plain file" },
        { "in/open", "writable by nobody else" },
        { "in/gone", "No such file" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(name, sizeof(name), "%s/%s", top, rows[i].file);
        try_key(&rules, name, rows[i].want);
    }
    try_key(&rules, "in/sub/key", "Invalid argument");
    rules_default(&rules);
    (void)snprintf(name, sizeof(name), "%s/in/sub/key", top);
    try_key(&rules, name, "is not below a folder");
    (void)snprintf(line, sizeof(line), "rm -r %s", top);
    CU_ASSERT_EQUAL(system(line), 0);
}

/* A long comment does not become a rule at its 4096th octet; the largest file, and one octet more. */
static void test_size(void)
{
    static char text[FILE_OCTETS_MAX + 1];
    struct rules rules;
    char error[256] = "", want[128];

    memset(text, '#', sizeof(text));
    for (size_t at = 4000; at < 4200; at += 10)
        memcpy(text + at, " user root", 10);
    put(text, FILE_OCTETS_MAX, 0600);
    CU_ASSERT_EQUAL(rules_load(path, &rules, error, sizeof(error)), 0);
    CU_ASSERT_STRING_EQUAL(rules.user, "tern");
    put(text, FILE_OCTETS_MAX + 1, 0600);
    CU_ASSERT_EQUAL(rules_load(path, &rules, error, sizeof(error)), -EINVAL);
    (void)snprintf(want, sizeof(want), "%s:0: the file is larger than 16384 octets", path);
    CU_ASSERT_STRING_EQUAL(error, want);
    put("user a\0b\n", 9, 0600); /* no NUL hides the rest of a line */
    CU_ASSERT_EQUAL(rules_load(path, &rules, error, sizeof(error)), -EINVAL);
}

static void test_trust(void)
{
    static const mode_t modes[] = { 0620, 0602, 0666 };
    struct rules rules;
    char error[256] = "";

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        put("user root\n", 10, modes[i]);
        CU_ASSERT_EQUAL(rules_load(path, &rules, error, sizeof(error)), -EPERM);
        CU_ASSERT_PTR_NOT_NULL(strstr(error, "must belong to root and be writable by nobody else"));
        CU_ASSERT_STRING_EQUAL(rules.user, "tern");
    }
    put("user root\n", 10, 0644);
    CU_ASSERT_EQUAL(rules_load(path, &rules, error, sizeof(error)), 0);
    if (geteuid() == 0 && chown(path, 12345, (gid_t)-1) == 0) {
        CU_ASSERT_EQUAL(rules_load(path, &rules, error, sizeof(error)), -EPERM);
        (void)chown(path, 0, (gid_t)-1);
    }
    CU_ASSERT_EQUAL(rules_load("/nonexistent/rules", &rules, error, sizeof(error)), -ENOENT);
    CU_ASSERT_STRING_EQUAL(error, "/nonexistent/rules: No such file or directory");
    CU_ASSERT_STRING_EQUAL(rules.user, "tern"); /* the defaults stand */
}

int main(void)
{
    int fd = mkstemp(path);

    if (fd < 0 || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    (void)close(fd);
    CU_pSuite suite = CU_add_suite("rules", NULL, NULL);
    CU_add_test(suite, "right and wrong lines", test_table);
    CU_add_test(suite, "keys", test_keys);
    CU_add_test(suite, "values", test_values);
    CU_add_test(suite, "size", test_size);
    CU_add_test(suite, "who may write it", test_trust);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    (void)unlink(path);
    return failed != 0;
}
