/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy is written to tmp/, synced, renamed to new/, and new/ is synced, before it counts as delivered.
 */
#include <lib/maildir.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lib/line_ends.h>

#define BLOCK_OCTETS 65536

static _Atomic unsigned counter;

struct copy {
    const struct maildir_mail *mail;
    char name[256];
    int dir_fd;
};

static int sync_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -1;
    r = fsync(fd);
    int error = errno;
    (void)close(fd);
    errno = error;
    return r;
}

/* Makes one folder, if it is not there, and its name durable: else a crash could take the mailbox with all its mail. */
static int make_folder(char *path, char *end)
{
    if (mkdir(path, 0700) < 0)
        return errno == EEXIST ? 0 : -1;
    char *slash = memrchr(path, '/', (size_t)(end - path));
    if (slash == NULL || slash == path)
        return sync_dir(AT_FDCWD, slash == NULL ? "." : "/");
    *slash = '\0';
    int r = sync_dir(AT_FDCWD, path);
    *slash = '/';
    if (r < 0) {
        int error = errno;
        (void)rmdir(path); /* or the next one would take it for made */
        errno = error;
    }
    return r;
}

static int make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int r = make_folder(path, slash);
        *slash = '/';
        if (r < 0)
            return -1;
    }
    return make_folder(path, path + strlen(path));
}

static int make_maildir(struct copy *c)
{
    static const char *const sub[] = { "tmp", "new", "cur" };

    if (c->mail->create && make_folders(c->mail->folder) < 0)
        return -1;
    c->dir_fd = open(c->mail->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->dir_fd < 0)
        return -1;
    for (unsigned i = 0; i < 3; i++)
        if (c->mail->create && mkdirat(c->dir_fd, sub[i], 0700) < 0 && errno != EEXIST)
            return -1;
    return fsync(c->dir_fd);
}

static void make_name(struct copy *c)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    /* ':' and '/' have a meaning in names of a Maildir. */
    (void)snprintf(c->name, sizeof(c->name), "%lld.M%ldP%dQ%u.%.200s", (long long)t.tv_sec, t.tv_nsec / 1000,
                   (int)getpid(), atomic_fetch_add(&counter, 1), c->mail->hostname);
}

/* ---- the octets ---- */

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_message(const struct copy *c, int fd)
{
    char in[BLOCK_OCTETS], out[BLOCK_OCTETS + 1];
    bool held = false;

    for (;;) {
        int64_t n = c->mail->read(c->mail->arg, in, sizeof(in));
        if (n < 0) {
            errno = (int)-n;
            return -1;
        }
        if (n == 0)
            return held ? write_all(fd, "\r", 1) : 0;
        size_t len = c->mail->lf ? line_ends_lf(in, (size_t)n, &held, out) : (size_t)n;
        if (write_all(fd, c->mail->lf ? out : in, len) < 0)
            return -1;
    }
}

static int store(struct copy *c)
{
    char tmp[300], new_[300];
    int fd, r;

    make_name(c);
    (void)snprintf(tmp, sizeof(tmp), "tmp/%s", c->name);
    (void)snprintf(new_, sizeof(new_), "new/%s", c->name);
    fd = openat(c->dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    r = write_all(fd, c->mail->head.ptr, c->mail->head.len) < 0 || write_message(c, fd) < 0 || fsync(fd) < 0 ? -1 : 0;
    int error = errno;
    if (close(fd) < 0 && r == 0) {
        r = -1;
        error = errno;
    }
    if (r == 0 && renameat(c->dir_fd, tmp, c->dir_fd, new_) == 0) {
        /* The name must survive a crash too, or the mail is gone although the queue forgot it. */
        if (sync_dir(c->dir_fd, "new") == 0)
            return 0;
        /* It will be delivered again: this copy goes, if nobody has taken it already. */
        error = errno;
        (void)unlinkat(c->dir_fd, new_, 0);
        errno = error;
        return -1;
    }
    if (r == 0)
        error = errno;
    (void)unlinkat(c->dir_fd, tmp, 0);
    errno = error;
    return -1;
}

int maildir_store(const struct maildir_mail *mail, const char **ret_what)
{
    struct copy c = { .mail = mail, .dir_fd = -1 };
    int r = 0;

    *ret_what = mail->folder;
    if (make_maildir(&c) < 0)
        r = -errno;
    if (r == 0 && store(&c) < 0) {
        r = -errno;
        *ret_what = "cannot write the mailbox";
    }
    if (c.dir_fd >= 0)
        (void)close(c.dir_fd);
    return r;
}
