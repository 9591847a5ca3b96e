/* SPDX-License-Identifier: Apache-2.0 */
/* test_bind.c - where a listener listens, and unix sockets in folders of any kind. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/local_socket.h"

static char top[] = "/tmp/tern-bind-XXXXXX";
static struct rules rules;

static struct bind_address at(const char *name, uint32_t mode)
{
    struct bind_address a = { .mode = mode };

    (void)snprintf(a.path, sizeof(a.path), "%s/%s", top, name);
    return a;
}

static void test_text(void)
{
    static const char longest[] = "unix:/"
                                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const struct {
        const char *text;
        bool fine;
    } rows[] = {
        { "127.0.0.1:25", true },  { "[::1]:25", true },      { "127.0.0.1", false },   { "", false },
        { "unix:", false },        { "unix:/", false },       { "unix:run/x", false },  { "unix:/run/x", true },
        { "UNIX:/run/x", true },   { "unix:/run/", false },   { "unix:/run/../x", false }, { "unix:/run/..", false },
        { "unix:/run/.", false },  { "unix:/run/..x", true }, { "unix:/a\nb", false },  { "unix:/..", false },
        { "/run/x", false },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bind_address a;
        char text[BIND_TEXT_MAX];
        bool fine = bind_parse(slice_cstr(rows[i].text), &a);
        if (fine != rows[i].fine)
            fprintf(stderr, "  %s\n", rows[i].text);
        CU_ASSERT_EQUAL(fine, rows[i].fine);
        if (!fine)
            continue;
        CU_ASSERT_TRUE(bind_is_sane(&a) && bind_is_same(&a, &a));
        struct bind_address padded = a;
        ((unsigned char *)&padded.address)[offsetof(tern_address, port) - 1] ^= 0xff; /* between octets and port */
        CU_ASSERT_TRUE(bind_is_same(&a, &padded));
        bind_print(&a, text);
        CU_ASSERT_TRUE(slice_equal_nocase(slice_cstr(text), slice_cstr(rows[i].text)));
    }
    struct bind_address a;
    CU_ASSERT_EQUAL_FATAL(strlen(longest), 5 + 107); /* sun_path has 108 with its NUL */
    CU_ASSERT_TRUE(bind_parse(slice_cstr(longest), &a));
    char longer[sizeof(longest) + 1];
    (void)snprintf(longer, sizeof(longer), "%sa", longest);
    CU_ASSERT_FALSE(bind_parse(slice_cstr(longer), &a));
}

/* What a worker that was taken over may say. */
static void test_insane(void)
{
    struct bind_address a = at("x", 0660);

    CU_ASSERT_TRUE(bind_is_sane(&a));
    a.mode = 04660;
    CU_ASSERT_FALSE(bind_is_sane(&a));
    a = at("../x", 0660);
    CU_ASSERT_FALSE(bind_is_sane(&a));
    a = at("x", 0660);
    a.address.port = 25;
    CU_ASSERT_FALSE(bind_is_sane(&a));
    a.address.family = 7;
    CU_ASSERT_FALSE(bind_is_sane(&a));
    a = at("x", 0660);
    memset(a.path, 'a', sizeof(a.path));
    CU_ASSERT_FALSE(bind_is_sane(&a));
    a = at("x", 0660);
    memset(a.group, 'a', sizeof(a.group));
    CU_ASSERT_FALSE(bind_is_sane(&a));
    memset(&a, 0, sizeof(a));
    CU_ASSERT_FALSE(bind_is_sane(&a));
}

static void test_mode(void)
{
    static const char *const wrong[] = { "", "6", "66", "0466", "1660", "04660", "668", "a660", "0x66", "066", " 660" };
    uint32_t mode = 0;

    CU_ASSERT_TRUE(bind_parse_mode(SLICE("0660"), &mode) && mode == 0660);
    CU_ASSERT_TRUE(bind_parse_mode(SLICE("777"), &mode) && mode == 0777);
    CU_ASSERT_TRUE(bind_parse_mode(SLICE("0600"), &mode) && mode == 0600);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CU_ASSERT_FALSE(bind_parse_mode(slice_cstr(wrong[i]), &mode));
}

/* The descriptor or a negative errno; what was said, if it was to be said. */
static int listen_at(const struct bind_address *a, struct local_socket *s, const char *want)
{
    char error[256] = "";
    int fd = local_socket_listen(&rules, a, 5, s, error, sizeof(error));

    if (want != NULL && strstr(error, want) == NULL)
        fprintf(stderr, "  said: %s\n", error);
    CU_ASSERT_TRUE(want == NULL ? fd >= 0 : fd < 0 && strstr(error, want) != NULL);
    if (want == NULL && fd < 0)
        fprintf(stderr, "  said: %s\n", error);
    return fd;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static void test_socket(void)
{
    struct bind_address a = at("s", 0620);
    struct local_socket s, other;
    int fd = listen_at(&a, &s, NULL);

    CU_ASSERT_EQUAL(mode_of(a.path), 0620);
    CU_ASSERT_EQUAL(listen_at(&a, &other, "another server listens there"), -EADDRINUSE);
    a.mode = 0666;
    char error[256];
    CU_ASSERT_EQUAL(local_socket_set_access(&rules, &a, error, sizeof(error)), 0);
    CU_ASSERT_EQUAL(mode_of(a.path), 0666);
    (void)close(fd); /* as if killed: the name stays, and the next one takes its place */
    fd = listen_at(&a, &other, NULL);
    local_socket_remove(&s, a.path); /* the one of the dead: not there any more, unless it got the same inode */
    local_socket_remove(&other, a.path);
    CU_ASSERT_EQUAL(mode_of(a.path), 0);
    (void)close(fd);
    memcpy(a.group, "no such group", 14);
    CU_ASSERT_EQUAL(listen_at(&a, &s, "no such group"), -ENOENT);
    CU_ASSERT_EQUAL(mode_of(a.path), 0);
}

static void test_folders(void)
{
    char line[400];
    struct local_socket s;

    (void)snprintf(line, sizeof(line), "cd %s && mkdir open sticky in && chmod 777 open && chmod 1777 sticky && echo x >in/file && "
                   "ln -s file in/link && mkfifo in/pipe && ln -s in alias", top);
    CU_ASSERT_EQUAL_FATAL(system(line), 0);
    static const struct {
        const char *name, *want;
    } rows[] = {
        { "in/s", NULL },
        { "alias/t", NULL },
        { "sticky/s", NULL },
        { "open/s", "must belong to root and be writable by nobody else" },
        { "gone/s", "No such file" },
        { "in/file", "is there, and is no socket" },
        { "in/link", "is there, and is no socket" },
        { "in/pipe", "is there, and is no socket" },
        { "in", "is there, and is no socket" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bind_address a = at(rows[i].name, 0600);
        int fd = listen_at(&a, &s, rows[i].want);
        if (fd >= 0)
            (void)close(fd);
    }
    if (geteuid() != 0)
        return;
    struct rules none;
    rules_default(&none);
    struct bind_address a = at("in/u", 0600);
    char error[256] = "";
    CU_ASSERT_EQUAL(local_socket_listen(&none, &a, 5, &s, error, sizeof(error)), -EACCES);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "is not below a folder of `sockets`"));
}

int main(void)
{
    char line[64];

    if (CU_initialize_registry() != CUE_SUCCESS || mkdtemp(top) == NULL)
        return 1;
    rules_default(&rules);
    (void)snprintf(rules.sockets[0], sizeof(rules.sockets[0]), "%s", top);
    rules.socket_count = 1;
    CU_pSuite suite = CU_add_suite("bind", NULL, NULL);
    CU_add_test(suite, "what it may say", test_text);
    CU_add_test(suite, "what a worker may not say", test_insane);
    CU_add_test(suite, "modes", test_mode);
    CU_add_test(suite, "a socket and who finds it there", test_socket);
    CU_add_test(suite, "folders", test_folders);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    (void)snprintf(line, sizeof(line), "rm -r %s", top);
    return system(line) != 0 || failures != 0;
}
