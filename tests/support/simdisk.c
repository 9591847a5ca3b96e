/* SPDX-License-Identifier: Apache-2.0 */
#include "simdisk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"

#define FDS_MAX    512
#define NAMES_MAX  4096
#define SECTOR     512u
#define DIR_ROOT   0
#define DIR_BIG    1
#define DIR_COUNT  2
#define FD_BASE    1000

const char *sim_call_name(enum sim_call call)
{
    static const char *const names[SIM_CALL_COUNT] = {
        "open", "create", "read", "write", "fdatasync", "fsync dir", "allocate",
        "truncate", "rename", "unlink", "link", "list", "stat",
    };

    return names[call];
}

bool sim_call_changes(enum sim_call call)
{
    return call != SIM_OPEN && call != SIM_READ && call != SIM_LIST && call != SIM_STAT;
}

uint64_t simrandom_next(struct simrandom *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t simrandom_below(struct simrandom *r, uint64_t n)
{
    return simrandom_next(r) % n;
}

/* ---- octets, shared between disks until one of them writes ---- */

struct blob {
    unsigned refs;
    uint64_t len, size;
    uint8_t *data;
};

static struct blob *blob_new(void)
{
    struct blob *b = mem_zalloc(sizeof(*b));

    b->refs = 1;
    return b;
}

static struct blob *blob_ref(struct blob *b)
{
    b->refs++;
    return b;
}

static void blob_unref(struct blob *b)
{
    if (--b->refs > 0)
        return;
    free(b->data);
    free(b);
}

static struct blob *blob_own(struct blob **at)
{
    struct blob *old = *at;

    if (old->refs == 1)
        return old;
    struct blob *b = blob_new();
    b->len = b->size = old->len;
    b->data = mem_alloc(old->len);
    if (old->len > 0)
        memcpy(b->data, old->data, old->len);
    blob_unref(old);
    *at = b;
    return b;
}

static void blob_resize(struct blob *b, uint64_t len)
{
    if (len > b->size) {
        b->size = len > b->size * 2 ? len : b->size * 2;
        b->data = mem_realloc(b->data, b->size);
    }
    if (len > b->len)
        memset(b->data + b->len, 0, len - b->len);
    b->len = len;
}

static void blob_write(struct blob **at, uint64_t offset, const uint8_t *octets, uint64_t len)
{
    struct blob *b = blob_own(at);

    if (offset + len > b->len)
        blob_resize(b, offset + len);
    if (len > 0)
        memcpy(b->data + offset, octets, len);
}

/* ---- files ---- */

struct pending {
    struct pending *next;
    bool is_size; /* the file's size becomes `offset` */
    uint64_t offset, len;
    uint8_t octets[];
};

struct inode {
    unsigned refs;
    struct blob *now, *durable;
    struct pending *first, **last;
};

static struct inode *inode_new(void)
{
    struct inode *i = mem_zalloc(sizeof(*i));

    i->refs = 1;
    i->now = blob_new();
    i->durable = blob_new();
    i->last = &i->first;
    return i;
}

static void pending_free(struct inode *i)
{
    while (i->first != NULL) {
        struct pending *p = i->first;
        i->first = p->next;
        free(p);
    }
    i->last = &i->first;
}

static void inode_unref(struct inode *i)
{
    if (i == NULL || --i->refs > 0)
        return;
    pending_free(i);
    blob_unref(i->now);
    blob_unref(i->durable);
    free(i);
}

static struct inode *inode_ref(struct inode *i)
{
    i->refs++;
    return i;
}

static struct pending *add_pending(struct inode *i, bool is_size, uint64_t offset, const void *octets, uint64_t len)
{
    struct pending *p = mem_alloc(sizeof(*p) + len);

    *p = (struct pending){ .is_size = is_size, .offset = offset, .len = len };
    if (len > 0)
        memcpy(p->octets, octets, len);
    *i->last = p;
    i->last = &p->next;
    return p;
}

static void apply_size(struct blob **at, uint64_t size)
{
    blob_resize(blob_own(at), size);
}

/* All of it, or, with a random source, sector by sector as it falls. */
static void apply(struct blob **at, const struct pending *p, struct simrandom *r, unsigned percent)
{
    if (p->is_size) {
        if (r == NULL || simrandom_below(r, 100) < percent)
            apply_size(at, p->offset);
        return;
    }
    for (uint64_t done = 0; done < p->len;) {
        uint64_t n = SECTOR - (p->offset + done) % SECTOR;
        if (n > p->len - done)
            n = p->len - done;
        if (r == NULL || simrandom_below(r, 100) < percent)
            blob_write(at, p->offset + done, p->octets + done, n);
        done += n;
    }
}

/* ---- names ---- */

struct entry {
    char name[40];
    struct inode *inode; /* NULL: free */
};

struct name_op {
    struct name_op *next;
    char from[40], to[40]; /* either may be empty */
    struct inode *inode;
};

struct names {
    struct entry *entries;
    unsigned count;
};

struct directory {
    struct names now, durable;
    struct name_op *first, **last;
};

static struct entry *names_find(struct names *n, const char *name)
{
    for (unsigned i = 0; i < n->count; i++)
        if (n->entries[i].inode != NULL && strcmp(n->entries[i].name, name) == 0)
            return &n->entries[i];
    return NULL;
}

static void names_remove(struct names *n, const char *name)
{
    struct entry *e = names_find(n, name);

    if (e == NULL)
        return;
    inode_unref(e->inode);
    *e = n->entries[--n->count];
}

static void names_put(struct names *n, const char *name, struct inode *inode)
{
    (void)inode_ref(inode);
    names_remove(n, name);
    assert(n->count < NAMES_MAX && strlen(name) < sizeof(n->entries->name));
    n->entries = mem_realloc(n->entries, (n->count + 1) * sizeof(n->entries[0]));
    struct entry *e = &n->entries[n->count++];
    memset(e, 0, sizeof(*e));
    strcpy(e->name, name);
    e->inode = inode;
}

static void names_free(struct names *n)
{
    for (unsigned i = 0; i < n->count; i++)
        inode_unref(n->entries[i].inode);
    free(n->entries);
}

static void apply_name(struct names *n, const struct name_op *op)
{
    if (op->from[0] != '\0')
        names_remove(n, op->from);
    if (op->to[0] != '\0')
        names_put(n, op->to, op->inode);
}

static void add_name_op(struct directory *d, const char *from, const char *to, struct inode *inode)
{
    struct name_op *op = mem_zalloc(sizeof(*op));

    if (from != NULL)
        strcpy(op->from, from);
    if (to != NULL)
        strcpy(op->to, to);
    op->inode = inode_ref(inode);
    apply_name(&d->now, op);
    *d->last = op;
    d->last = &op->next;
}

static void name_ops_free(struct directory *d)
{
    while (d->first != NULL) {
        struct name_op *op = d->first;
        d->first = op->next;
        inode_unref(op->inode);
        free(op);
    }
    d->last = &d->first;
}

/* ---- the disk ---- */

struct descriptor {
    bool used, lock;
    int dir;             /* or -1 */
    struct inode *inode;
};

struct simdisk {
    struct spool_io io;
    struct body_io body_io;
    struct directory dirs[DIR_COUNT];
    struct descriptor fds[FDS_MAX];
    struct simrandom random;
    uint64_t capacity;
    bool locked;
    int (*before)(void *arg, enum sim_call call);
    void *arg;
};

static int ask(struct simdisk *disk, enum sim_call call)
{
    return disk->before != NULL ? disk->before(disk->arg, call) : 0;
}

static int new_fd(struct simdisk *disk, int dir, struct inode *inode)
{
    for (int i = 0; i < FDS_MAX; i++) {
        if (disk->fds[i].used)
            continue;
        disk->fds[i] = (struct descriptor){ .used = true, .dir = dir, .inode = inode };
        return FD_BASE + i;
    }
    return -EMFILE;
}

static struct descriptor *of_fd(struct simdisk *disk, int fd)
{
    assert(fd >= FD_BASE && fd < FD_BASE + FDS_MAX && disk->fds[fd - FD_BASE].used);
    return &disk->fds[fd - FD_BASE];
}

static struct inode *file_of(struct simdisk *disk, int fd)
{
    struct descriptor *d = of_fd(disk, fd);

    assert(d->inode != NULL);
    return d->inode;
}

static struct directory *dir_of(struct simdisk *disk, int fd)
{
    struct descriptor *d = of_fd(disk, fd);

    assert(d->dir >= 0);
    return &disk->dirs[d->dir];
}

static uint64_t used_octets(const struct simdisk *disk)
{
    uint64_t used = 0;

    for (unsigned d = 0; d < DIR_COUNT; d++)
        for (unsigned i = 0; i < disk->dirs[d].now.count; i++)
            used += disk->dirs[d].now.entries[i].inode->now->len;
    return used;
}

/* ---- calls ---- */

static int sim_open_dir(void *ctx, const char *path)
{
    int r = ask(ctx, SIM_OPEN);

    return r < 0 ? r : new_fd(ctx, DIR_ROOT, NULL);
}

static int sim_open_subdir(void *ctx, int dir, const char *name)
{
    int r = ask(ctx, SIM_OPEN);

    assert(strcmp(name, "big") == 0);
    return r < 0 ? r : new_fd(ctx, DIR_BIG, NULL);
}

static int sim_lock(void *ctx, int dir, const char *name)
{
    struct simdisk *disk = ctx;
    int r = ask(disk, SIM_OPEN);

    if (r < 0)
        return r;
    if (disk->locked)
        return -EWOULDBLOCK;
    int fd = new_fd(disk, -1, NULL);
    if (fd >= 0) {
        disk->locked = true;
        of_fd(disk, fd)->lock = true;
    }
    return fd;
}

static int sim_open(void *ctx, int dir, const char *name, int flags)
{
    struct simdisk *disk = ctx;
    struct directory *d = dir_of(disk, dir);
    struct entry *e = names_find(&d->now, name);
    bool creates = e == NULL && (flags & O_CREAT) != 0;
    int r = ask(disk, creates || (flags & O_TRUNC) != 0 ? SIM_CREATE : SIM_OPEN);

    if (r < 0)
        return r;
    e = names_find(&d->now, name);
    if (e != NULL && (flags & O_EXCL) != 0)
        return -EEXIST;
    if (e == NULL && (flags & O_CREAT) == 0)
        return -ENOENT;
    if (e == NULL) {
        struct inode *inode = inode_new();
        add_name_op(d, NULL, name, inode);
        return new_fd(disk, -1, inode);
    }
    if ((flags & O_TRUNC) != 0) {
        (void)add_pending(e->inode, true, 0, NULL, 0);
        apply_size(&e->inode->now, 0);
    }
    return new_fd(disk, -1, inode_ref(e->inode));
}

static void sim_close(void *ctx, int fd)
{
    struct simdisk *disk = ctx;
    struct descriptor *d = of_fd(disk, fd);

    if (d->lock)
        disk->locked = false;
    inode_unref(d->inode);
    *d = (struct descriptor){ .used = false };
}

static ssize_t sim_pread(void *ctx, int fd, void *buffer, size_t octets, uint64_t offset)
{
    struct inode *i = file_of(ctx, fd);
    int r = ask(ctx, SIM_READ);

    if (r < 0)
        return r;
    if (offset >= i->now->len)
        return 0;
    if (octets > i->now->len - offset)
        octets = i->now->len - offset;
    memcpy(buffer, i->now->data + offset, octets);
    return (ssize_t)octets;
}

static ssize_t write_octets(struct simdisk *disk, struct inode *i, const uint8_t *octets, uint64_t len, uint64_t offset)
{
    int r = ask(disk, SIM_WRITE);

    if (r < 0)
        return r;
    if (r == SIM_SHORT && len > 1)
        len = 1 + simrandom_below(&disk->random, len - 1);
    uint64_t grows = offset + len > i->now->len ? offset + len - i->now->len : 0;
    if (grows > 0 && used_octets(disk) + grows > disk->capacity)
        return -ENOSPC;
    (void)add_pending(i, false, offset, octets, len);
    blob_write(&i->now, offset, octets, len);
    return (ssize_t)len;
}

static ssize_t sim_pwritev(void *ctx, int fd, const struct iovec *iov, int count, uint64_t offset)
{
    uint64_t len = 0, at = 0;

    assert(count > 0 && count <= 1024);
    for (int n = 0; n < count; n++)
        len += iov[n].iov_len;
    uint8_t *all = mem_alloc(len);
    for (int n = 0; n < count; at += iov[n++].iov_len)
        memcpy(all + at, iov[n].iov_base, iov[n].iov_len);
    ssize_t r = write_octets(ctx, file_of(ctx, fd), all, len, offset);
    free(all);
    return r;
}

static int sim_fdatasync(void *ctx, int fd)
{
    struct simdisk *disk = ctx;
    struct inode *i = file_of(disk, fd);
    int r = ask(disk, SIM_SYNC);
    unsigned percent = (unsigned)simrandom_below(&disk->random, 3) * 50;

    /* A failed sync leaves some of it on the disk, and forgets that the rest is not: that is what kernels do. */
    for (struct pending *p = i->first; p != NULL; p = p->next)
        apply(&i->durable, p, r < 0 ? &disk->random : NULL, percent);
    pending_free(i);
    return r;
}

static int sim_sync_dir(void *ctx, int dir)
{
    struct simdisk *disk = ctx;
    struct directory *d = dir_of(disk, dir);
    int r = ask(disk, SIM_SYNC_DIR);

    for (struct name_op *op = d->first; op != NULL; op = op->next)
        if (r == 0 || simrandom_below(&disk->random, 2) == 0)
            apply_name(&d->durable, op);
    name_ops_free(d);
    return r;
}

static int set_size(struct simdisk *disk, struct inode *i, uint64_t octets)
{
    uint64_t grows = octets > i->now->len ? octets - i->now->len : 0;

    if (grows > 0 && used_octets(disk) + grows > disk->capacity)
        return -ENOSPC;
    (void)add_pending(i, true, octets, NULL, 0);
    apply_size(&i->now, octets);
    return 0;
}

static int sim_allocate(void *ctx, int fd, uint64_t octets)
{
    int r = ask(ctx, SIM_ALLOCATE);

    return r < 0 ? r : set_size(ctx, file_of(ctx, fd), octets);
}

static int sim_truncate(void *ctx, int fd, uint64_t octets)
{
    int r = ask(ctx, SIM_TRUNCATE);

    return r < 0 ? r : set_size(ctx, file_of(ctx, fd), octets);
}

static int64_t sim_size(void *ctx, int fd)
{
    int r = ask(ctx, SIM_STAT);

    return r < 0 ? r : (int64_t)file_of(ctx, fd)->now->len;
}

static int sim_rename(void *ctx, int dir, const char *from, const char *to)
{
    struct directory *d = dir_of(ctx, dir);
    int r = ask(ctx, SIM_RENAME);
    struct entry *e = names_find(&d->now, from);

    if (r < 0)
        return r;
    if (e == NULL)
        return -ENOENT;
    add_name_op(d, from, to, e->inode);
    return 0;
}

static int sim_unlink(void *ctx, int dir, const char *name)
{
    struct directory *d = dir_of(ctx, dir);
    int r = ask(ctx, SIM_UNLINK);
    struct entry *e = names_find(&d->now, name);

    if (r < 0)
        return r;
    if (e == NULL)
        return -ENOENT;
    add_name_op(d, name, NULL, e->inode);
    return 0;
}

static int sim_link(void *ctx, int fd, int dir, const char *name)
{
    struct directory *d = dir_of(ctx, dir);
    int r = ask(ctx, SIM_LINK);

    if (r < 0)
        return r;
    if (names_find(&d->now, name) != NULL)
        return -EEXIST;
    add_name_op(d, NULL, name, file_of(ctx, fd));
    return 0;
}

static int sim_list(void *ctx, int dir, void (*each)(void *arg, const char *name), void *arg)
{
    struct directory *d = dir_of(ctx, dir);
    int r = ask(ctx, SIM_LIST);

    for (unsigned i = 0; r == 0 && i < d->now.count; i++)
        each(arg, d->now.entries[i].name);
    return r;
}

static int sim_free_octets(void *ctx, int dir, uint64_t *ret)
{
    struct simdisk *disk = ctx;
    uint64_t used = used_octets(disk);
    int r = ask(ctx, SIM_STAT);

    if (r < 0)
        return r;
    *ret = used < disk->capacity ? disk->capacity - used : 0;
    return 0;
}

static void sim_random(void *ctx, void *octets, size_t len)
{
    struct simdisk *disk = ctx;

    for (size_t i = 0; i < len; i++)
        ((uint8_t *)octets)[i] = (uint8_t)simrandom_next(&disk->random);
}

static int sim_open_unnamed(void *ctx, int dir)
{
    int r = ask(ctx, SIM_CREATE);

    return r < 0 ? r : new_fd(ctx, -1, inode_new());
}

static ssize_t sim_body_write(void *ctx, int fd, const void *octets, size_t len, uint64_t offset)
{
    return write_octets(ctx, file_of(ctx, fd), octets, len, offset);
}

/* ---- making, crashing, damaging ---- */

struct simdisk *simdisk_new(uint64_t seed, uint64_t capacity)
{
    struct simdisk *disk = mem_zalloc(sizeof(*disk));

    disk->io = (struct spool_io){
        .ctx = disk, .open_dir = sim_open_dir, .open_subdir = sim_open_subdir, .lock = sim_lock, .open = sim_open,
        .close = sim_close, .pread = sim_pread, .pwritev = sim_pwritev, .fdatasync = sim_fdatasync,
        .sync_dir = sim_sync_dir, .allocate = sim_allocate, .truncate = sim_truncate, .size = sim_size,
        .rename = sim_rename, .unlink = sim_unlink, .link_unnamed = sim_link, .list = sim_list,
        .free_octets = sim_free_octets, .random = sim_random,
    };
    disk->body_io = (struct body_io){ sim_open_unnamed, sim_body_write, sim_pread, sim_close, disk };
    disk->random.state = seed;
    disk->capacity = capacity;
    for (unsigned d = 0; d < DIR_COUNT; d++)
        disk->dirs[d].last = &disk->dirs[d].first;
    return disk;
}

void simdisk_free(struct simdisk *disk)
{
    for (int i = 0; i < FDS_MAX; i++)
        if (disk->fds[i].used)
            inode_unref(disk->fds[i].inode);
    for (unsigned d = 0; d < DIR_COUNT; d++) {
        name_ops_free(&disk->dirs[d]);
        names_free(&disk->dirs[d].now);
        names_free(&disk->dirs[d].durable);
    }
    free(disk);
}

const struct spool_io *simdisk_io(struct simdisk *disk)
{
    return &disk->io;
}

const struct body_io *simdisk_body_io(struct simdisk *disk)
{
    return &disk->body_io;
}

void simdisk_set_before(struct simdisk *disk, int (*before)(void *arg, enum sim_call call), void *arg)
{
    disk->before = before;
    disk->arg = arg;
}

static void shuffle(const struct pending **list, unsigned count, struct simrandom *r)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned k = (unsigned)simrandom_below(r, i);
        const struct pending *swap = list[i - 1];
        list[i - 1] = list[k];
        list[k] = swap;
    }
}

/* What became of one file: what is durable, and of the rest so many in a hundred sectors, in any order. */
static struct inode *crashed_inode(const struct inode *i, struct simrandom *r, unsigned percent)
{
    struct inode *out = inode_new();
    const struct pending *list[256];
    unsigned count = 0;

    out->refs = 0;
    blob_unref(out->durable);
    out->durable = blob_ref(i->durable);
    for (const struct pending *p = i->first; p != NULL && count < 256; p = p->next)
        list[count++] = p;
    shuffle(list, count, r);
    for (unsigned n = 0; n < count; n++)
        apply(&out->durable, list[n], r, percent);
    blob_unref(out->now);
    out->now = blob_ref(out->durable);
    return out;
}

static void copy_dir(const struct names *from, struct directory *to, struct inode **made, const struct inode **of,
                     unsigned *count, struct simrandom *r, unsigned percent)
{
    for (unsigned i = 0; i < from->count; i++) {
        struct inode *copy = NULL;
        for (unsigned n = 0; n < *count; n++)
            if (of[n] == from->entries[i].inode)
                copy = made[n];
        if (copy == NULL) {
            copy = crashed_inode(from->entries[i].inode, r, percent);
            assert(*count < NAMES_MAX);
            of[*count] = from->entries[i].inode;
            made[(*count)++] = copy;
        }
        names_put(&to->now, from->entries[i].name, copy);
        names_put(&to->durable, from->entries[i].name, copy);
    }
}

static struct simdisk *crash_with(const struct simdisk *disk, uint64_t seed, unsigned percent)
{
    struct simrandom r = { seed };
    struct simdisk *out = simdisk_new(simrandom_next(&r), disk->capacity);
    struct inode **made = mem_alloc(NAMES_MAX * sizeof(made[0]));
    const struct inode **of = mem_alloc(NAMES_MAX * sizeof(of[0]));

    for (unsigned d = 0; d < DIR_COUNT; d++) {
        struct names left = { NULL, 0 };
        unsigned count = 0;
        for (unsigned i = 0; i < disk->dirs[d].durable.count; i++)
            names_put(&left, disk->dirs[d].durable.entries[i].name, disk->dirs[d].durable.entries[i].inode);
        for (const struct name_op *op = disk->dirs[d].first; op != NULL; op = op->next)
            if (simrandom_below(&r, 100) < percent)
                apply_name(&left, op);
        copy_dir(&left, &out->dirs[d], made, of, &count, &r, percent);
        names_free(&left);
    }
    free(made);
    free(of);
    return out;
}

struct simdisk *simdisk_crash(const struct simdisk *disk, uint64_t seed)
{
    /* Nothing of what was not synced, nearly nothing, half, nearly all, all. */
    static const unsigned percents[] = { 0, 15, 50, 90, 100 };

    return crash_with(disk, seed, percents[seed % 5]);
}

struct simdisk *simdisk_kill(const struct simdisk *disk)
{
    struct simdisk *out = simdisk_new(disk->random.state, disk->capacity);

    for (unsigned d = 0; d < DIR_COUNT; d++) {
        const struct directory *from = &disk->dirs[d];
        for (unsigned i = 0; i < from->now.count; i++) {
            struct inode *copy = inode_new();
            const struct inode *old = from->now.entries[i].inode;
            blob_unref(copy->now);
            blob_unref(copy->durable);
            copy->now = blob_ref(old->now);
            copy->durable = blob_ref(old->durable);
            for (const struct pending *p = old->first; p != NULL; p = p->next)
                (void)add_pending(copy, p->is_size, p->offset, p->octets, p->len);
            struct directory *to = &out->dirs[d];
            if (names_find((struct names *)&from->durable, from->now.entries[i].name) != NULL)
                names_put(&to->durable, from->now.entries[i].name, copy);
            else
                add_name_op(to, NULL, from->now.entries[i].name, copy);
            names_put(&to->now, from->now.entries[i].name, copy);
            inode_unref(copy);
        }
    }
    return out;
}

uint8_t *simdisk_file(struct simdisk *disk, const char *name, uint64_t *ret_octets)
{
    struct entry *e = names_find(&disk->dirs[DIR_ROOT].now, name);

    if (e == NULL)
        return NULL;
    blob_unref(e->inode->durable);
    e->inode->durable = blob_ref(blob_own(&e->inode->now));
    pending_free(e->inode);
    *ret_octets = e->inode->now->len;
    return e->inode->now->data;
}

void simdisk_put(struct simdisk *disk, const char *name, const void *octets, uint64_t len)
{
    struct inode *i = inode_new();

    blob_write(&i->now, 0, octets, len);
    blob_write(&i->durable, 0, octets, len);
    names_put(&disk->dirs[DIR_ROOT].now, name, i);
    names_put(&disk->dirs[DIR_ROOT].durable, name, i);
    inode_unref(i);
}

void simdisk_names(struct simdisk *disk, void (*each)(void *arg, const char *name), void *arg)
{
    for (unsigned i = 0; i < disk->dirs[DIR_ROOT].now.count; i++)
        each(arg, disk->dirs[DIR_ROOT].now.entries[i].name);
}

unsigned simdisk_big_count(const struct simdisk *disk)
{
    return disk->dirs[DIR_BIG].now.count;
}

void simdisk_remove(struct simdisk *disk, const char *name)
{
    names_remove(&disk->dirs[DIR_ROOT].now, name);
    names_remove(&disk->dirs[DIR_ROOT].durable, name);
}

unsigned simdisk_open_count(const struct simdisk *disk)
{
    unsigned count = 0;

    for (int i = 0; i < FDS_MAX; i++)
        count += disk->fds[i].used;
    return count;
}

void simdisk_set_capacity(struct simdisk *disk, uint64_t capacity)
{
    disk->capacity = capacity;
}
