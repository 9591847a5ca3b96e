/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_files.c - private keys from files. See dkim_files.h.
 *
 * A key that is kept is good for its generation; after a reload its file is looked at again, and read if
 * it is another. What is read is wiped.
 */
#include "dkim_files.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAYS 4
#define SETS (DKIM_FILES_KEPT / WAYS)

struct kept {
    char *path;
    struct dkim_private *key;
    uint64_t generation, used;
    struct timespec changed;
    ino_t inode;
    off_t octets;
};

static struct {
    pthread_mutex_t lock;
    uint64_t clock;
    struct kept sets[SETS][WAYS];
} keys = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct kept *set_of(const char *path)
{
    uint64_t h = 14695981039346656037u;

    for (; *path != '\0'; path++)
        h = (h ^ (unsigned char)*path) * 1099511628211u;
    return keys.sets[(h ^ h >> 32) % SETS];
}

static struct kept *find(struct kept *set, const char *path)
{
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].path != NULL && strcmp(set[i].path, path) == 0)
            return &set[i];
    return NULL;
}

static bool is_same_file(const struct kept *k, const struct stat *st)
{
    return k->inode == st->st_ino && k->octets == st->st_size && k->changed.tv_sec == st->st_ctim.tv_sec &&
           k->changed.tv_nsec == st->st_ctim.tv_nsec;
}

/* One that may be used as it is; with `st`, also one that is of that file still. */
static struct dkim_private *look(const char *path, uint64_t generation, const struct stat *st)
{
    struct dkim_private *key = NULL;

    pthread_mutex_lock(&keys.lock);
    struct kept *k = find(set_of(path), path);
    if (k != NULL && st != NULL && is_same_file(k, st) && k->generation < generation)
        k->generation = generation;
    if (k != NULL && k->generation >= generation) {
        k->used = ++keys.clock;
        key = dkim_private_ref(k->key);
    }
    pthread_mutex_unlock(&keys.lock);
    return key;
}

static void forget(struct kept *k)
{
    free(k->path);
    dkim_private_unref(k->key);
    memset(k, 0, sizeof(*k));
}

static void keep(const char *path, uint64_t generation, const struct stat *st, struct dkim_private *key)
{
    char *copy = strdup(path);

    if (copy == NULL)
        return;
    pthread_mutex_lock(&keys.lock);
    struct kept *set = set_of(path), *place = find(set, path);
    if (place == NULL) {
        place = set;
        for (unsigned i = 1; i < WAYS; i++)
            if (set[i].used < place->used)
                place = &set[i];
    }
    forget(place);
    *place = (struct kept){ .path = copy,
                            .key = dkim_private_ref(key),
                            .generation = generation,
                            .used = ++keys.clock,
                            .changed = st->st_ctim,
                            .inode = st->st_ino,
                            .octets = st->st_size };
    pthread_mutex_unlock(&keys.lock);
}

static int read_key(int fd, const char *path, struct dkim_private **ret, char *error, size_t octets)
{
    char text[DKIM_FILE_OCTETS_MAX + 1];
    size_t len = 0;
    ssize_t n;

    while (len < sizeof(text) && (n = read(fd, text + len, sizeof(text) - len)) > 0)
        len += (size_t)n;
    const char *wrong = len > DKIM_FILE_OCTETS_MAX ? "it is too long" : dkim_private_parse(dkim_str(text, len), ret);
    explicit_bzero(text, sizeof(text));
    if (wrong == NULL)
        return 0;
    (void)snprintf(error, octets, "%s: %s", path, wrong);
    return -EBADMSG;
}

static int load(int fd, const char *path, uint64_t generation, struct dkim_private **ret, char *error, size_t octets)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        (void)snprintf(error, octets, "%s is not a file", path);
        return -EBADMSG;
    }
    if ((st.st_mode & 07) != 0) {
        (void)snprintf(error, octets, "%s may be read or written by everybody: chmod 600", path);
        return -EPERM;
    }
    *ret = look(path, generation, &st);
    if (*ret != NULL)
        return 0;
    int r = read_key(fd, path, ret, error, octets);
    if (r == 0)
        keep(path, generation, &st, *ret);
    return r;
}

int dkim_file_key(const char *path, uint64_t generation, struct dkim_private **ret, char *error, size_t octets)
{
    *ret = look(path, generation, NULL);
    if (*ret != NULL)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        int r = -errno;
        (void)snprintf(error, octets, "%s: %s", path, strerror(-r));
        return r;
    }
    int r = load(fd, path, generation, ret, error, octets);
    (void)close(fd);
    return r;
}

void dkim_files_free(void)
{
    for (unsigned s = 0; s < SETS; s++)
        for (unsigned i = 0; i < WAYS; i++)
            forget(&keys.sets[s][i]);
}
