/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_local_serve.c - tern-local's own loop in a process of its own, and a worker that was taken over at the other
 * end: rubbish, descriptors that were not asked for, mail that breaks off, more at once than it does.
 */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "local/serve.h"

#define ABOVE 4 /* so many more than LOCAL_CHILDREN_MAX */

static char top[] = "/tmp/tern-local-XXXXXX", user[64], folder[256];
static struct local_rules rules;
static int to_it;
static pid_t it;

static void begin(void)
{
    int pair[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    (void)fflush(NULL);
    it = fork();
    if (it == 0) {
        (void)close(pair[0]);
        (void)!freopen("/dev/null", "w", stderr);
        _exit(local_serve(pair[1], &rules));
    }
    (void)close(pair[1]);
    to_it = pair[0];
}

static void end(void)
{
    int status = -1;

    (void)close(to_it);
    CU_ASSERT_EQUAL(waitpid(it, &status, 0), it);
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static unsigned count_in(const char *path)
{
    unsigned n = 0;
    DIR *d = opendir(path);

    for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d))
        n += e->d_name[0] != '.';
    if (d != NULL)
        (void)closedir(d);
    return n;
}

static unsigned fds_of_it(void)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)it);
    return count_in(path);
}

static unsigned children_of_it(void)
{
    char path[64];
    unsigned n = 0;
    long pid;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)it, (int)it);
    FILE *f = fopen(path, "re");
    while (f != NULL && fscanf(f, "%ld", &pid) == 1)
        n++;
    if (f != NULL)
        (void)fclose(f);
    return n;
}

static bool put(const void *packet, size_t octets, const int *fds, size_t count)
{
    char control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
    struct iovec iov = { (void *)packet, octets };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (count > 0) {
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    return sendmsg(to_it, &msg, MSG_NOSIGNAL) == (ssize_t)octets;
}

/* One delivery: our ends of its answer and of its mail. */
struct one {
    int reply, body;
};

static struct one ask(const char *place, uint64_t octets, size_t fds_count)
{
    struct local_request r = { .op = LOCAL_MAILDIR, .flags = LOCAL_CREATE | LOCAL_LF, .timeout_ms = 60000,
                               .octets = octets, .user = slice_cstr(user), .place = slice_cstr(place),
                               .name = SLICE("mx.test"), .head = SLICE("X: y\n") };
    char packet[4096];
    int reply[2], body[2], len = local_request_put(&r, packet, sizeof(packet));

    CU_ASSERT_TRUE_FATAL(len > 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, reply), 0);
    CU_ASSERT_EQUAL_FATAL(pipe2(body, O_CLOEXEC), 0);
    int fds[8] = { reply[1], body[0], body[0], body[0], body[0], body[0], body[0], body[0] };
    CU_ASSERT_TRUE(put(packet, (size_t)len, fds, fds_count));
    (void)close(reply[1]);
    (void)close(body[0]);
    return (struct one){ reply[0], body[1] };
}

/* Its status; 0: it ended without one. */
static unsigned answer_of(struct one o, struct local_answer *ret)
{
    ssize_t n = recv(o.reply, ret, sizeof(*ret), 0);

    (void)close(o.reply);
    if (o.body >= 0)
        (void)close(o.body);
    return n == (ssize_t)sizeof(*ret) ? ret->status : 0;
}

static unsigned deliver(const char *text, uint64_t octets, struct local_answer *ret)
{
    struct one o = ask(folder, octets, 2);

    (void)!write(o.body, text, strlen(text));
    (void)close(o.body);
    o.body = -1;
    return answer_of(o, ret);
}

static unsigned files(const char *sub)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, sub);
    return count_in(path);
}

static void test_delivers(void)
{
    struct local_answer a;

    begin();
    unsigned before = files("new");
    CU_ASSERT_EQUAL(deliver("a\r\nb\r\n", 6, &a), LOCAL_DELIVERED);
    CU_ASSERT_STRING_EQUAL(a.text, folder);
    CU_ASSERT_EQUAL(files("new"), before + 1);
    end();
}

/* Half a mail is none: nothing of it stays, and it is not taken for delivered. */
static void test_breaks_off(void)
{
    struct local_answer a;

    begin();
    unsigned before = files("new");
    CU_ASSERT_EQUAL(deliver("a\r\nb\r\n", 7, &a), LOCAL_DEFERRED);
    CU_ASSERT_EQUAL(deliver("", 1, &a), LOCAL_DEFERRED);
    CU_ASSERT_EQUAL(deliver("a\r\nb\r\n", UINT64_MAX, &a), LOCAL_DEFERRED);
    CU_ASSERT_EQUAL(files("new"), before);
    CU_ASSERT_EQUAL(files("tmp"), 0);
    CU_ASSERT_EQUAL(deliver("", 0, &a), LOCAL_DELIVERED);
    CU_ASSERT_EQUAL(files("new"), before + 1);
    end();
}

static void test_rubbish(void)
{
    static char packet[LOCAL_REQUEST_OCTETS_MAX + 1000];
    struct local_answer a;
    int fds[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };

    begin();
    CU_ASSERT_EQUAL(deliver("x\r\n", 3, &a), LOCAL_DELIVERED);
    unsigned open_ = fds_of_it();
    unsigned seed = 1;
    for (size_t i = 0; i < sizeof(packet); i++)
        packet[i] = (char)(rand_r(&seed) >> 8);
    CU_ASSERT_TRUE(put("", 0, NULL, 0));
    for (size_t octets = 1; octets <= sizeof(packet); octets += 997)
        CU_ASSERT_TRUE(put(packet, octets, fds, octets % 9));
    CU_ASSERT_TRUE(put(packet, sizeof(packet), fds, 8));
    for (size_t count = 0; count <= 8; count++)
        if (count != 2 && count != 0) {
            struct one o = ask(folder, 0, count);
            CU_ASSERT_EQUAL(answer_of(o, &a), 0);
        }
    CU_ASSERT_EQUAL(deliver("x\r\n", 3, &a), LOCAL_DELIVERED); /* it has taken all before, and goes on */
    CU_ASSERT_EQUAL(fds_of_it(), open_);
    end();
}

static void test_refused(void)
{
    static const char *const places[] = { "/etc", "/etc/cron.d", "/tmp", "%{home}/../x", "%{home}", "x", "/", "//x",
                                          "/proc/self/cwd/x" };
    struct local_answer a;

    begin();
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct one o = ask(places[i], 0, 2);
        CU_ASSERT_EQUAL(answer_of(o, &a), LOCAL_REFUSED);
    }
    char detour[600];
    (void)snprintf(detour, sizeof(detour), "%s/../../etc/cron.d", folder);
    CU_ASSERT_EQUAL(answer_of(ask(detour, 0, 2), &a), LOCAL_REFUSED);
    end();
}

/* As many children as the bound; what is above waits in the socket, and is done when there is room. */
static void test_bound(void)
{
    static struct one all[LOCAL_CHILDREN_MAX + ABOVE];
    struct local_answer a;
    unsigned i, most = 0;

    begin();
    CU_ASSERT_TRUE(deliver("x\r\n", 3, &a) == LOCAL_DELIVERED);
    for (i = 0; i < LOCAL_CHILDREN_MAX + ABOVE; i++) {
        all[i] = ask(folder, 10, 2); /* they wait for ten octets that do not come */
        if (i % 32 == 0)
            (void)poll(NULL, 0, 1);
    }
    for (i = 0; i < 6000 && most < LOCAL_CHILDREN_MAX; i++) {
        unsigned now = children_of_it();
        most = now > most ? now : most;
        (void)poll(NULL, 0, 10);
    }
    (void)poll(NULL, 0, 200);
    CU_ASSERT_EQUAL(children_of_it(), LOCAL_CHILDREN_MAX);
    for (i = 0; i < LOCAL_CHILDREN_MAX + ABOVE; i++) {
        (void)!write(all[i].body, "12345678\r\n", 10);
        CU_ASSERT_EQUAL(answer_of(all[i], &a), LOCAL_DELIVERED);
    }
    end();
}

static int set_up(void)
{
    const struct passwd *pw = geteuid() == 0 ? getpwnam("nobody") : getpwuid(geteuid());

    if (pw == NULL || mkdtemp(top) == NULL || (geteuid() == 0 && chown(top, pw->pw_uid, pw->pw_gid) < 0))
        return 1;
    (void)snprintf(user, sizeof(user), "%s", pw->pw_name);
    (void)snprintf(folder, sizeof(folder), "%s/Maildir", top);
    local_rules_default(&rules);
    (void)snprintf(rules.folders[rules.folder_count++], LOCAL_PATH_MAX, "%s", top);
    (void)signal(SIGPIPE, SIG_IGN);
    return 0;
}

static int tear_down(void)
{
    char command[300];

    (void)snprintf(command, sizeof(command), "rm -rf %s", top);
    return system(command) == 0 ? 0 : 1;
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("local_serve", set_up, tear_down);
    CU_add_test(suite, "delivers", test_delivers);
    CU_add_test(suite, "mail that breaks off", test_breaks_off);
    CU_add_test(suite, "rubbish", test_rubbish);
    CU_add_test(suite, "folders", test_refused);
    CU_add_test(suite, "bound", test_bound);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
