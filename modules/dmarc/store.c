/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - see store.h.
 *
 * The file is opened with O_APPEND and whole lines are written at once, so that two workers, as there are for a moment
 * when one takes over from the other, do not mix theirs. `tern dmarc send` deletes files of days that have ended: a
 * file without a name is not written to any more.
 */
#include "store.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lib/dmarc_rows.h>

#define FIRST_OCTETS 65536

/* Before each line in the buffer. */
struct head {
    int64_t day;
    size_t octets;
};

struct folder {
    char *path;
    void *lost;
    /* under the lock */
    uint64_t day_size, keep_s;
    char *waiting;
    size_t octets, room;
    /* the thread's */
    uint64_t size_max, days_max;
    int fd;
    int64_t fd_day, told_day;
    bool torn; /* the file ends within a line */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    pthread_t thread;
    const struct tern_api *tern;
    struct folder *folders[STORE_FOLDERS_MAX];
    unsigned count;
    bool started, closing, has_some;
} store = { .lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER };

/* ---- the thread ---- */

static void tell(struct folder *f, int64_t day, const char *what, const char *why)
{
    if (f->told_day != day)
        store.tern->log(NULL, TERN_LOG_WARNING, "dmarc: %s: %s: %s; some mail of today will not be reported", f->path,
                        what, why);
    f->told_day = day;
}

/* What nobody has sent. */
static void drop_old(const struct folder *f, int dir, int64_t day)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;

    if (list == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    for (struct dirent *e = readdir(list); e != NULL; e = readdir(list)) {
        int64_t old = dmarc_rows_day(e->d_name);
        if (old < 0 || old + (int64_t)f->days_max >= day || unlinkat(dir, e->d_name, 0) < 0)
            continue;
        store.tern->log(NULL, TERN_LOG_WARNING,
                        "dmarc: %s/%s is older than `keep` and gone: does nobody run tern dmarc send?", f->path,
                        e->d_name);
    }
    (void)closedir(list);
}

/* Negative: the rows of that day cannot be written. */
static int open_day(struct folder *f, int64_t day)
{
    char name[DMARC_ROWS_FILE_OCTETS];
    struct stat st;

    if (f->fd >= 0 && f->fd_day == day && fstat(f->fd, &st) == 0 && st.st_nlink > 0)
        return f->fd;
    if (f->fd >= 0)
        (void)close(f->fd);
    f->fd = -1;
    f->torn = false;
    if (mkdir(f->path, 0700) < 0 && errno != EEXIST)
        return -errno;
    int dir = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    drop_old(f, dir, day);
    dmarc_rows_file(day, name);
    f->fd = openat(dir, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    f->fd_day = day;
    int r = f->fd >= 0 ? f->fd : -errno;
    (void)close(dir);
    return r;
}

static void lose(struct folder *f, const char *lines, size_t octets)
{
    for (size_t i = 0; i < octets; i++)
        if (lines[i] == '\n')
            store.tern->counter_add(f->lost, 1);
}

/* Octets of the lines that end within the first `room` octets. */
static size_t whole_lines(const char *lines, size_t room)
{
    const char *end = room > 0 ? memrchr(lines, '\n', room) : NULL;

    return end != NULL ? (size_t)(end + 1 - lines) : 0;
}

static void write_lines(struct folder *f, int64_t day, const char *lines, size_t octets)
{
    struct stat st;
    int fd = open_day(f, day);

    if (fd < 0 || fstat(fd, &st) < 0) {
        tell(f, day, "rows cannot be written", strerror(fd < 0 ? -fd : errno));
        lose(f, lines, octets);
        return;
    }
    uint64_t room = (uint64_t)st.st_size < f->size_max ? f->size_max - (uint64_t)st.st_size : 0;
    if (octets > room) {
        size_t fits = whole_lines(lines, (size_t)room);
        tell(f, day, "the day's rows have no room", "reports.day_size is reached");
        lose(f, lines + fits, octets - fits);
        octets = fits;
    }
    if (octets == 0)
        return;
    if (f->torn && write(fd, "\n", 1) == 1)
        f->torn = false;
    ssize_t n = write(fd, lines, octets);
    if (n == (ssize_t)octets)
        return;
    tell(f, day, "rows cannot be written", n < 0 ? strerror(errno) : "the disk is full");
    f->torn = n > 0;
    lose(f, lines + (n > 0 ? n : 0), octets - (size_t)(n > 0 ? n : 0));
}

/* Lines of one day that follow each other are one write. They move together within the buffer. */
static void write_all(struct folder *f, char *waiting, size_t octets)
{
    size_t at = 0, len = 0;
    int64_t day = 0;

    while (at < octets) {
        struct head head;
        memcpy(&head, waiting + at, sizeof(head));
        at += sizeof(head);
        if (len > 0 && head.day != day) {
            write_lines(f, day, waiting, len);
            len = 0;
        }
        day = head.day;
        memmove(waiting + len, waiting + at, head.octets);
        len += head.octets;
        at += head.octets;
    }
    if (len > 0)
        write_lines(f, day, waiting, len);
}

/* The caller holds the lock; it is let go meanwhile. */
static void write_waiting(void)
{
    store.has_some = false;
    for (unsigned i = 0; i < store.count; i++) {
        struct folder *f = store.folders[i];
        char *waiting = f->waiting;
        size_t octets = f->octets;

        f->size_max = f->day_size;
        f->days_max = f->keep_s / 86400 + 1;
        f->waiting = NULL;
        f->octets = f->room = 0;
        (void)pthread_mutex_unlock(&store.lock);
        write_all(f, waiting, octets);
        free(waiting);
        (void)pthread_mutex_lock(&store.lock);
    }
}

/* A second, so that many rows are one write; shorter if the server ends. */
static void gather(void)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    while (!store.closing && pthread_cond_timedwait(&store.some, &store.lock, &until) == 0)
        ;
}

static void *run(void *arg)
{
    (void)arg;
    (void)pthread_mutex_lock(&store.lock);
    while (!store.closing || store.has_some) {
        if (!store.has_some) {
            (void)pthread_cond_wait(&store.some, &store.lock);
            continue;
        }
        gather();
        write_waiting();
    }
    (void)pthread_mutex_unlock(&store.lock);
    return NULL;
}

/* ---- for the loops; the caller holds the lock ---- */

static bool start(const struct tern_api *tern)
{
    sigset_t all, old;

    if (store.started || store.closing)
        return store.started;
    store.tern = tern;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    store.started = pthread_create(&store.thread, NULL, run, NULL) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return store.started;
}

/* After a reload a folder may have another size. NULL: there are too many. */
static struct folder *find(const struct dmarc_reports_conf *conf, void *lost)
{
    struct folder *f = NULL;

    for (unsigned i = 0; i < store.count && f == NULL; i++)
        if (strcmp(store.folders[i]->path, conf->path.ptr) == 0)
            f = store.folders[i];
    if (f == NULL && store.count < STORE_FOLDERS_MAX && (f = calloc(1, sizeof(*f))) != NULL) {
        f->path = strdup(conf->path.ptr);
        f->fd = -1;
        f->told_day = -1;
        f->lost = lost;
        store.folders[store.count++] = f;
    }
    if (f != NULL) {
        f->day_size = conf->day_size;
        f->keep_s = conf->keep_s;
    }
    return f;
}

static bool append(struct folder *f, const struct head *head, const char *line)
{
    size_t more = sizeof(*head) + head->octets;

    if (f->octets + more > STORE_WAITING_OCTETS_MAX)
        return false;
    if (f->octets + more > f->room) {
        size_t room = f->room == 0 ? FIRST_OCTETS : 2 * f->room;
        char *waiting = realloc(f->waiting, room);
        if (waiting == NULL)
            return false;
        f->waiting = waiting;
        f->room = room;
    }
    memcpy(f->waiting + f->octets, head, sizeof(*head));
    memcpy(f->waiting + f->octets + sizeof(*head), line, head->octets);
    f->octets += more;
    return true;
}

void store_add(const struct tern_api *tern, const struct dmarc_reports_conf *conf, int64_t day, const char *line,
               size_t octets, void *lost)
{
    struct head head = { day, octets };

    (void)pthread_mutex_lock(&store.lock);
    struct folder *f = start(tern) ? find(conf, lost) : NULL;
    bool kept = f != NULL && f->path != NULL && append(f, &head, line);
    if (kept && !store.has_some) {
        store.has_some = true;
        (void)pthread_cond_signal(&store.some);
    }
    (void)pthread_mutex_unlock(&store.lock);
    if (!kept)
        tern->counter_add(lost, 1);
}

void store_close(void)
{
    (void)pthread_mutex_lock(&store.lock);
    bool started = store.started;
    store.closing = true;
    (void)pthread_cond_signal(&store.some);
    (void)pthread_mutex_unlock(&store.lock);
    if (started)
        (void)pthread_join(store.thread, NULL);
    for (unsigned i = 0; i < store.count; i++) {
        struct folder *f = store.folders[i];
        if (f->fd >= 0)
            (void)close(f->fd);
        free(f->waiting);
        free(f->path);
        free(f);
    }
    store.count = 0;
    store.started = store.closing = false;
}
