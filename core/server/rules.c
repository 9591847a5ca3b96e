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
    local_rules_default(&rules->local);
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

/* Absolute paths in rows of `octets` each. */
static const char *set_paths(struct slice rest, char *rows, size_t octets, unsigned most, uint32_t *count,
                             const char *too_many)
{
    *count = 0;
    for (struct slice word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        while (word.len > 1 && word.ptr[word.len - 1] == '/')
            word.len--;
        if (word.ptr[0] != '/' || word.len < 2)
            return "expected absolute paths, and not the root of all";
        if (word.len >= octets)
            return "a path is longer than 255 octets";
        if (*count == most)
            return too_many;
        char *row = rows + octets * (*count)++;
        memcpy(row, word.ptr, word.len);
        row[word.len] = '\0';
    }
    return NULL;
}

static const char *set_keys(struct rules *rules, struct slice rest)
{
    uint32_t count;
    const char *wrong = set_paths(rest, rules->keys[0], RULES_PATH_MAX, RULES_FOLDERS_MAX, &count,
                                  "too many folders, at most 16");

    rules->key_count = count;
    return wrong;
}

static const char *set_sockets(struct rules *rules, struct slice rest)
{
    return set_paths(rest, rules->sockets[0], RULES_PATH_MAX, RULES_FOLDERS_MAX, &rules->socket_count,
                     "too many folders, at most 16");
}

/* ---- for tern-local ---- */

static const char *set_uid_min(struct rules *rules, struct slice rest)
{
    uint64_t uid;

    if (!slice_to_u64(next_word(&rest), &uid) || next_word(&rest).len > 0 || uid == 0 || uid >= UINT32_MAX)
        return "expected the number of a user, 1 or more: root gets no mail";
    rules->local.uid_min = (uint32_t)uid;
    return NULL;
}

static const char *set_mailboxes(struct rules *rules, struct slice rest)
{
    return set_paths(rest, rules->local.folders[0], LOCAL_PATH_MAX, LOCAL_FOLDERS_MAX, &rules->local.folder_count,
                     "too many folders, at most 16");
}

static const char *set_commands(struct rules *rules, struct slice rest)
{
    return set_paths(rest, rules->local.commands[0], LOCAL_PATH_MAX, LOCAL_COMMANDS_MAX, &rules->local.command_count,
                     "too many programs, at most 32");
}

static bool copy_name(struct slice word, char name[LOCAL_NAME_MAX])
{
    if (word.len == 0 || word.len >= LOCAL_NAME_MAX || word.ptr[0] == '.' || slice_find(word, '/') >= 0)
        return false;
    memcpy(name, word.ptr, word.len);
    name[word.len] = '\0';
    return true;
}

static const char *set_pam(struct rules *rules, struct slice rest)
{
    rules->local.service_count = 0;
    for (struct slice word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        if (rules->local.service_count == LOCAL_SERVICES_MAX)
            return "too many services, at most 16";
        if (!copy_name(word, rules->local.services[rules->local.service_count]))
            return "expected names of services, as in /etc/pam.d";
        rules->local.service_count++;
    }
    return NULL;
}

static const char *set_pam_user(struct rules *rules, struct slice rest)
{
    return copy_name(next_word(&rest), rules->local.pam_user) && next_word(&rest).len == 0 ? NULL
                                                                                           : "expected one user name";
}

static const struct {
    const char *word;
    const char *(*set)(struct rules *rules, struct slice rest);
} words[] = {
    { "user", set_user },
    { "ports", set_ports },
    { "restart_ms", set_restart },
    { "keys", set_keys },
    { "sockets", set_sockets },
    { "uid_min", set_uid_min },
    { "mailboxes", set_mailboxes },
    { "commands", set_commands },
    { "pam", set_pam },
    { "pam_user", set_pam_user },
};

#define WORDS (sizeof(words) / sizeof(words[0]))

static const char *parse_line(struct rules *rules, struct slice line, bool seen[WORDS])
{
    bool nul = slice_find(line, '\0') >= 0;
    struct slice word = next_word(&line);

    if (nul)
        return "a NUL in the line";
    if (word.len == 0 || word.ptr[0] == '#')
        return NULL;
    for (size_t i = 0; i < WORDS; i++) {
        if (!slice_equal(word, slice_cstr(words[i].word)))
            continue;
        if (seen[i]) /* the second would take the place of the first, not add to it */
            return "this word stands twice; what belongs to it stands on one line";
        seen[i] = true;
        return words[i].set(rules, line);
    }
    return "expected user, ports, restart_ms, keys, sockets, uid_min, mailboxes, commands, pam or pam_user";
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
    bool seen[WORDS] = { false };

    if (text.len > RULES_OCTETS_MAX)
        return "the file is larger than 16384 octets";
    for (*ret_line = 0; text.len > 0 && wrong == NULL;) {
        ptrdiff_t lf = slice_find(text, '\n');
        size_t len = lf >= 0 ? (size_t)lf : text.len;
        ++*ret_line;
        wrong = parse_line(rules, slice_head(text, len), seen);
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

bool rules_allow_socket(const struct rules *rules, const char *folder)
{
    char real[PATH_MAX], there[PATH_MAX];

    if (realpath(folder, real) == NULL)
        return false;
    for (unsigned i = 0; i < rules->socket_count; i++)
        if (is_below(real, rules->sockets[i]) ||
            (realpath(rules->sockets[i], there) != NULL && strcmp(there, real) == 0))
            return true;
    return false;
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
