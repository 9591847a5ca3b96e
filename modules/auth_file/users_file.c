/* SPDX-License-Identifier: Apache-2.0 */
#include "users_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 1000

struct users_file {
    struct users_file *next;
    char *path;
    enum users_format format;
    pthread_mutex_t lock; /* of what follows; not held while the file is read */
    struct users *users;
    struct stat seen; /* of the last one read, or tried */
    int64_t looked_ms;
    bool reading;
};

static struct users_file *files;
static unsigned file_count;
static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;

static bool ends_in(const char *path, const char *ending)
{
    size_t a = strlen(path), b = strlen(ending);

    return a > b && strcmp(path + a - b, ending) == 0;
}

static struct users_file *make(const char *path)
{
    struct users_file *f = file_count < USERS_FILES_MAX ? calloc(1, sizeof(*f)) : NULL;

    if (f == NULL || (f->path = strdup(path)) == NULL) {
        free(f);
        return NULL;
    }
    f->format = ends_in(path, ".yaml") || ends_in(path, ".yml") ? USERS_YAML : USERS_LINES;
    pthread_mutex_init(&f->lock, NULL);
    f->next = files;
    files = f;
    file_count++;
    return f;
}

struct users_file *users_file_get(const char *path)
{
    pthread_mutex_lock(&files_lock);
    struct users_file *f = files;
    while (f != NULL && strcmp(f->path, path) != 0)
        f = f->next;
    if (f == NULL)
        f = make(path);
    pthread_mutex_unlock(&files_lock);
    return f;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* All octets of a regular file; NULL with errno. The caller wipes and frees. */
static char *read_all(const char *path, struct stat *ret_stat)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = NULL;
    size_t len = 0;
    int error = 0;

    if (fd < 0)
        return NULL;
    if (fstat(fd, ret_stat) < 0)
        error = errno;
    else if (!S_ISREG(ret_stat->st_mode))
        error = EINVAL;
    else if (ret_stat->st_size > (off_t)USERS_FILE_OCTETS_MAX)
        error = EFBIG;
    else if ((text = calloc(1, (size_t)ret_stat->st_size + 1)) == NULL)
        error = ENOMEM;
    while (error == 0 && len < (size_t)ret_stat->st_size) {
        ssize_t n = read(fd, text + len, (size_t)ret_stat->st_size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            error = n < 0 ? errno : EAGAIN; /* shorter than it was: it is being written */
            break;
        }
        len += (size_t)n;
    }
    (void)close(fd);
    if (error != 0 && text != NULL) {
        sodium_memzero(text, len);
        free(text);
        text = NULL;
    }
    errno = error;
    return text;
}

static struct users *read_users(const struct users_file *f, struct stat *ret_stat, char *error, size_t error_octets)
{
    struct users_error why = { 0 };
    char *text = read_all(f->path, ret_stat);

    if (text == NULL) {
        (void)snprintf(error, error_octets, "%s: %s", f->path,
                       errno == EFBIG ? "larger than 64 MB" : errno == EINVAL ? "is no file" : strerror(errno));
        return NULL;
    }
    struct users *users = users_parse(text, (size_t)ret_stat->st_size, f->format, &why);
    sodium_memzero(text, (size_t)ret_stat->st_size);
    free(text);
    if (users == NULL && why.line > 0)
        (void)snprintf(error, error_octets, "%s:%u: %s", f->path, why.line, why.what);
    else if (users == NULL)
        (void)snprintf(error, error_octets, "%s: %s", f->path, why.what);
    return users;
}

/* With f->lock not held. What was read before stays if this fails. */
static bool read_again(struct users_file *f, char *error, size_t error_octets)
{
    struct stat st = { 0 };
    struct users *users = read_users(f, &st, error, error_octets), *old = users;

    pthread_mutex_lock(&f->lock);
    f->seen = st;
    f->looked_ms = now_ms();
    f->reading = false;
    if (users != NULL) {
        old = f->users;
        f->users = users;
    }
    pthread_mutex_unlock(&f->lock);
    users_unref(old);
    return users != NULL;
}

bool users_file_read(struct users_file *f, char *error, size_t error_octets)
{
    return read_again(f, error, error_octets);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Whether this thread shall read it: it has changed, and nobody else does. Caller holds f->lock. */
static bool is_due(struct users_file *f)
{
    struct stat st = { 0 };
    int64_t now = now_ms();

    if (f->reading || now - f->looked_ms < LOOK_MS)
        return false;
    f->looked_ms = now;
    (void)stat(f->path, &st); /* gone: all zero, as it is remembered then */
    f->reading = !is_same(&st, &f->seen);
    return f->reading;
}

struct users *users_file_users(struct users_file *f, bool *ret_failed, char *error, size_t error_octets)
{
    pthread_mutex_lock(&f->lock);
    bool due = is_due(f);
    pthread_mutex_unlock(&f->lock);
    *ret_failed = due && !read_again(f, error, error_octets);
    pthread_mutex_lock(&f->lock);
    struct users *users = f->users != NULL ? users_ref(f->users) : NULL;
    pthread_mutex_unlock(&f->lock);
    return users;
}

bool users_file_is_readable_by_all(const struct users_file *f)
{
    return (f->seen.st_mode & S_IROTH) != 0;
}

bool users_file_is_writable_by_all(const struct users_file *f)
{
    return (f->seen.st_mode & S_IWOTH) != 0;
}
