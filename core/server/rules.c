/* SPDX-License-Identifier: Apache-2.0 */
#include "server/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/slice.h"

#define RULES_OCTETS_MAX 16384
#define KEY_OCTETS_MAX   (1 << 20)
#define RESTART_MS_LOW   10      /* faster would only burn the processor */
#define RESTART_MS_HIGH  3600000

void rules_default(struct rules *rules)
{
    *rules = (struct rules){ .user = "tern", .ports = { 24, 25, 465, 587 }, .port_count = 4,
                             .restart_ms_min = 100, .restart_ms_max = 30000 };
}

bool rules_allow_port(const struct rules *rules, unsigned port)
{
    if (port >= 1024)
        return true;
    for (unsigned i = 0; i < rules->port_count; i++)
        if (rules->ports[i] == port)
            return true;
    return false;
}

static struct slice next_word(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != ' ' && rest->ptr[n] != '\t')
        n++;
    struct slice word = slice_head(*rest, n);
    *rest = slice_from(*rest, n);
    return word;
}

static const char *set_user(struct rules *rules, struct slice rest)
{
    struct slice word = next_word(&rest);

    if (word.len == 0 || word.len >= sizeof(rules->user) || next_word(&rest).len > 0)
        return "expected one user name";
    memcpy(rules->user, word.ptr, word.len);
    rules->user[word.len] = '\0';
    return NULL;
}

static const char *set_ports(struct rules *rules, struct slice rest)
{
    uint64_t port;

    rules->port_count = 0;
    for (struct slice word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        if (!slice_to_u64(word, &port) || port == 0 || port > 65535)
            return "expected port numbers from 1 to 65535";
        if (rules->port_count == RULES_PORTS_MAX)
            return "too many ports, at most 32";
        rules->ports[rules->port_count++] = (uint16_t)port;
    }
    return NULL;
}

static const char *set_restart(struct rules *rules, struct slice rest)
{
    uint64_t min, max;

    if (!slice_to_u64(next_word(&rest), &min) || !slice_to_u64(next_word(&rest), &max) ||
        next_word(&rest).len > 0 || min < RESTART_MS_LOW || max < min || max > RESTART_MS_HIGH)
        return "expected two numbers of milliseconds, 10 <= first <= longest <= 3600000";
    rules->restart_ms_min = (unsigned)min;
    rules->restart_ms_max = (unsigned)max;
    return NULL;
}

static const char *set_keys(struct rules *rules, struct slice rest)
{
    rules->key_count = 0;
    for (struct slice word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        while (word.len > 1 && word.ptr[word.len - 1] == '/')
            word.len--;
        if (word.ptr[0] != '/' || word.len < 2)
            return "expected absolute paths of folders, and not the root of all";
        if (word.len >= RULES_PATH_MAX)
            return "a path is longer than 255 octets";
        if (rules->key_count == RULES_KEYS_MAX)
            return "too many folders, at most 16";
        memcpy(rules->keys[rules->key_count], word.ptr, word.len);
        rules->keys[rules->key_count++][word.len] = '\0';
    }
    return NULL;
}

static const char *parse_line(struct rules *rules, struct slice line)
{
    bool nul = slice_find(line, '\0') >= 0;
    struct slice word = next_word(&line);

    if (nul)
        return "a NUL in the line";
    if (word.len == 0 || word.ptr[0] == '#')
        return NULL;
    if (slice_equal(word, SLICE("user")))
        return set_user(rules, line);
    if (slice_equal(word, SLICE("ports")))
        return set_ports(rules, line);
    if (slice_equal(word, SLICE("uid_min")))
        return "uid_min: not supported yet; it comes with delivery as the mailbox's user";
    if (slice_equal(word, SLICE("restart_ms")))
        return set_restart(rules, line);
    if (slice_equal(word, SLICE("keys")))
        return set_keys(rules, line);
    return "expected user, ports, restart_ms or keys";
}

static int check_owner(FILE *f, const char *path, char *error, size_t octets)
{
    struct stat st;

    if (fstat(fileno(f), &st) < 0) {
        int r = -errno;
        (void)snprintf(error, octets, "%s: %s", path, strerror(-r));
        return r;
    }
    if ((st.st_uid == 0 || st.st_uid == geteuid()) && (st.st_mode & 022) == 0)
        return 0;
    (void)snprintf(error, octets,
                   "%s: must belong to root and be writable by nobody else (owner %u, mode %04o)", path,
                   (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
    return -EPERM;
}

static const char *parse_text(struct rules *rules, struct slice text, unsigned *ret_line)
{
    const char *wrong = NULL;

    if (text.len > RULES_OCTETS_MAX)
        return "the file is larger than 16384 octets";
    for (*ret_line = 0; text.len > 0 && wrong == NULL;) {
        ptrdiff_t lf = slice_find(text, '\n');
        size_t len = lf >= 0 ? (size_t)lf : text.len;
        ++*ret_line;
        wrong = parse_line(rules, slice_head(text, len));
        text = slice_from(text, len + 1);
    }
    return wrong;
}

int rules_load(const char *path, struct rules *rules, char *error, size_t octets)
{
    char text[RULES_OCTETS_MAX + 1];
    FILE *f = fopen(path, "re");
    unsigned line_no = 0;

    rules_default(rules);
    if (f == NULL) {
        int failed = -errno;
        (void)snprintf(error, octets, "%s: %s", path, strerror(-failed));
        return failed;
    }
    int r = check_owner(f, path, error, octets);
    if (r == 0) {
        const char *wrong = parse_text(rules, slice_make(text, fread(text, 1, sizeof(text), f)), &line_no);
        if (wrong != NULL) {
            (void)snprintf(error, octets, "%s:%u: %s", path, line_no, wrong);
            r = -EINVAL;
        }
    }
    (void)fclose(f);
    return r;
}

/* ---- keys ---- */

/* Folders may be links, too: /etc/letsencrypt/live leads to ../archive. */
static bool is_below(const char *real, const char *folder)
{
    char there[PATH_MAX];

    if (realpath(folder, there) == NULL)
        return false;
    size_t len = strlen(there);
    return strncmp(real, there, len) == 0 && real[len] == '/';
}

static int check_key(int fd, const char **ret_why)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size > KEY_OCTETS_MAX) {
        *ret_why = "is no plain file of at most 1 MB";
        return -EACCES;
    }
    if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0) {
        *ret_why = "must belong to root and be writable by nobody else";
        return -EACCES;
    }
    return fd;
}

static int open_below(const struct rules *rules, const char *path, const char **ret_why)
{
    char real[PATH_MAX];

    if (path[0] != '/' || realpath(path, real) == NULL)
        return path[0] != '/' ? -EINVAL : -errno;
    for (unsigned i = 0; i < rules->key_count; i++) {
        if (!is_below(real, rules->keys[i]))
            continue;
        /* Who could put a link there between these two lines may write where only root should. */
        int fd = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        int r = fd < 0 ? -errno : check_key(fd, ret_why);
        if (fd >= 0 && r < 0)
            (void)close(fd);
        return r;
    }
    *ret_why = "is not below a folder of `keys` in supervisor.conf";
    return -EACCES;
}

int rules_open_key(const struct rules *rules, const char *path, char *error, size_t octets)
{
    const char *why = NULL;
    int fd = open_below(rules, path, &why);

    if (fd < 0)
        (void)snprintf(error, octets, "%s", why != NULL ? why : strerror(-fd));
    return fd;
}
