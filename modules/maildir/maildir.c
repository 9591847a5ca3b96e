/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maildir - a transport: writes each recipient's copy into a Maildir, as the server's user.
 *
 * A copy is written to tmp/, synced, renamed to new/, and new/ is synced, before the recipient
 * counts as delivered. Return-Path and Delivered-To go on top (RFC 5321 4.4: final delivery).
 * Lines end in LF, as mail readers on Unix expect, unless line_ends says crlf or the mail is
 * binary (BODY=BINARYMIME): then no octet of it is changed.
 *
 * What a client may choose goes into the path only if it is a plain file name: a local part with
 * a slash, a NUL or a leading dot is refused for good.
 *
 * Source: https://cr.yp.to/proto/maildir.html
 */
#include <tern/module.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_OCTETS 65536
#define PATH_OCTETS_MAX 4096

static const struct tern_api *tern;
static _Atomic unsigned counter;
static const char *const ends[] = { "lf", "crlf", NULL };

struct maildir_conf {
    tern_str path, delimiter;
    bool create;
    int line_ends;
};

struct copy {
    const struct maildir_conf *conf;
    tern_delivery *delivery;
    unsigned index;
    bool lf;
    char dir[PATH_OCTETS_MAX];
    char name[256];
    int dir_fd;
};

static void outcome(const struct copy *c, tern_verdict v, unsigned code, const char *enhanced, const char *what,
                    int error)
{
    tern->delivery_outcome(c->delivery, c->index, v, code, enhanced, "%s%s%s", what, error != 0 ? ": " : "",
                           error != 0 ? strerror(error) : "");
}

static void disk_trouble(const struct copy *c, const char *what)
{
    int error = errno;
    bool full = error == ENOSPC || error == EDQUOT;

    outcome(c, TERN_DEFER, full ? 452 : 451, full ? "4.2.2" : "4.3.0", what, error);
}

/* ---- the path ---- */

static bool is_plain_name(tern_str s)
{
    return s.len > 0 && s.len < 256 && s.ptr[0] != '.' && memchr(s.ptr, '/', s.len) == NULL &&
           memchr(s.ptr, '\0', s.len) == NULL;
}

static tern_str base_of(const struct maildir_conf *c, tern_str local)
{
    for (size_t i = 1; i < local.len; i++)
        if (c->delimiter.len > 0 && memchr(c->delimiter.ptr, local.ptr[i], c->delimiter.len) != NULL)
            return (tern_str){ local.ptr, i };
    return local;
}

static bool append(char *out, size_t *n, tern_str s, bool lower)
{
    if (*n + s.len + 1 > PATH_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.ptr[i];
        out[(*n)++] = lower && ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
    }
    out[*n] = '\0';
    return true;
}

/* %{user}: local part without +tag, lower case; %{local}: as given; %{domain}. */
static bool expand(const struct maildir_conf *c, const struct tern_mailbox *m, char *out)
{
    tern_str user = base_of(c, m->local);
    tern_str domain = m->domain.len > 0 ? m->domain : tern->hostname();
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < c->path.len;) {
        const char *p = c->path.ptr + i;
        bool ok = true;
        if (strncmp(p, "%{user}", 7) == 0 && (i += 7))
            ok = is_plain_name(user) && append(out, &n, user, true);
        else if (strncmp(p, "%{local}", 8) == 0 && (i += 8))
            ok = is_plain_name(m->local) && append(out, &n, m->local, false);
        else if (strncmp(p, "%{domain}", 9) == 0 && (i += 9))
            ok = is_plain_name(domain) && append(out, &n, domain, true);
        else
            ok = append(out, &n, (tern_str){ p, 1 }, false) && ++i;
        if (!ok)
            return false;
    }
    return true;
}

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

    if (c->conf->create && make_folders(c->dir) < 0)
        return -1;
    c->dir_fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->dir_fd < 0)
        return -1;
    for (unsigned i = 0; i < 3; i++)
        if (c->conf->create && mkdirat(c->dir_fd, sub[i], 0700) < 0 && errno != EEXIST)
            return -1;
    return fsync(c->dir_fd);
}

static void make_name(struct copy *c)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    /* ':' and '/' have a meaning in names of a Maildir. */
    (void)snprintf(c->name, sizeof(c->name), "%lld.M%ldP%dQ%u.%.200s", (long long)t.tv_sec, t.tv_nsec / 1000,
                   (int)getpid(), atomic_fetch_add(&counter, 1), tern->hostname().ptr);
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

/* CRLF becomes LF; a CR that is not before LF stays. *held: the last block ended in CR. */
static size_t to_lf(char *data, size_t len, bool *held, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (*held && data[i] != '\n')
            out[n++] = '\r';
        *held = data[i] == '\r';
        if (!*held)
            out[n++] = data[i];
    }
    return n;
}

static int write_head(const struct copy *c, int fd)
{
    const char *end = c->lf ? "\n" : "\r\n";
    const struct tern_recipient *r = tern->delivery_rcpt(c->delivery, c->index);
    char text[2048];
    int n = snprintf(text, sizeof(text), "Return-Path: <%s>%sDelivered-To: %s%s",
                     tern->delivery_sender(c->delivery)->address.ptr, end, r->mailbox.address.ptr, end);

    return n < (int)sizeof(text) ? write_all(fd, text, (size_t)n) : -1;
}

static int write_message(const struct copy *c, int fd)
{
    char in[BLOCK_OCTETS], out[BLOCK_OCTETS + 1];
    uint64_t offset = 0;
    bool held = false;

    for (;;) {
        int64_t n = tern->delivery_read(c->delivery, offset, in, sizeof(in));
        if (n < 0) {
            errno = (int)-n;
            return -1;
        }
        if (n == 0)
            return held ? write_all(fd, "\r", 1) : 0;
        offset += (uint64_t)n;
        size_t len = c->lf ? to_lf(in, (size_t)n, &held, out) : (size_t)n;
        if (write_all(fd, c->lf ? out : in, len) < 0)
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
    r = write_head(c, fd) < 0 || write_message(c, fd) < 0 || fsync(fd) < 0 ? -1 : 0;
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

static void deliver_one(const struct maildir_conf *conf, tern_delivery *delivery, unsigned index)
{
    struct copy c = { .conf = conf, .delivery = delivery, .index = index, .dir_fd = -1 };

    c.lf = conf->line_ends == 0 && !tern->delivery_is_binary(delivery);

    if (!expand(conf, &tern->delivery_rcpt(delivery, index)->mailbox, c.dir)) {
        outcome(&c, TERN_REJECT, 550, "5.1.3", "This address cannot name a mailbox", 0);
        return;
    }
    if (make_maildir(&c) < 0)
        disk_trouble(&c, c.dir);
    else if (store(&c) < 0)
        disk_trouble(&c, "cannot write the mailbox");
    else
        outcome(&c, TERN_ACCEPT, 250, "2.0.0", c.dir, 0);
    if (c.dir_fd >= 0)
        (void)close(c.dir_fd);
}

static void deliver(tern_delivery *delivery, const void *conf)
{
    for (unsigned i = 0; i < tern->delivery_rcpt_count(delivery); i++)
        deliver_one(conf, delivery, i);
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_PATH(struct maildir_conf, path, NULL,
                     "The Maildir, with %{user} (without +tag, lower case), %{local} or %{domain}."),
    TERN_OPTION_STRING(struct maildir_conf, delimiter, "+", "Characters that begin a tag in the local part."),
    TERN_OPTION_BOOL(struct maildir_conf, create, "true", "Make folders that are missing."),
    TERN_OPTION_ENUM(struct maildir_conf, line_ends, "lf", ends, "Line ends in the files: lf or crlf."),
    TERN_OPTIONS_END,
};

static const struct tern_transport transport = {
    .size = sizeof(struct tern_transport), .type = "maildir", .summary = "Into Maildirs on this machine.",
    .options = options, .conf_size = sizeof(struct maildir_conf), .deliver = deliver,
    .binary = true,
};
static const struct tern_transport *const transports[] = { &transport, NULL };

TERN_MODULE(.name = "maildir", .summary = "Transport: deliver into Maildirs.", .init = init,
            .transports = transports)
