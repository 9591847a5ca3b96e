/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_lmdb - keep the key-value table over a restart, in LMDB.
 *
 * The core holds the table in memory and hands down batches of changes; each is one LMDB
 * transaction. Commits do not wait for the disk (MDB_NOSYNC); every few seconds one does.
 * A killed process loses nothing that was handed down, since the page cache survives it; a
 * power cut loses the last seconds, which greylisting and limits can afford.
 *
 * A record: key 'k' + the core's key, or 'h' + a hash + its first octets where LMDB has no
 * room for the whole (511 octets); value: expiry, number, length of the key if it stands
 * here, key, value. Numbers are in the machine's order, as in the rest of an LMDB file.
 */
#include <tern/module.h>

#include <dirent.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define FORMAT_KEY      "\0tern"
#define FORMAT_TEXT     "tern kv 1"
#define MAP_OCTETS_MIN  ((size_t)16 << 20)
#define LMDB_KEY_MAX    511
#define LONG_KEY_PREFIX 400
#define OPEN_MAX        16
#define PATH_OCTETS     (PATH_MAX - 16)

struct kv_lmdb_conf {
    tern_str path;
    uint64_t size_max;
    uint64_t sync_s;
};

struct store {
    MDB_env *env;
    MDB_dbi dbi;
    size_t map_octets, size_max;
    uint64_t sync_ms, synced_ms;
    dev_t dev; /* of the folder */
    ino_t ino;
};

struct record {
    uint64_t expires_ms;
    int64_t number;
    uint32_t key_octets; /* 0: the whole key is LMDB's key */
    uint32_t value_octets;
};

/* LMDB's locks break if one process opens a store twice (lmdb.h, "Caveats"). */
static const struct store *open_stores[OPEN_MAX];
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;

static int to_errno(int rc)
{
    switch (rc) {
    case MDB_SUCCESS: return 0;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL: return -ENOSPC;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID: return -EBADMSG;
    default: return rc > 0 ? -rc : -EIO;
    }
}

static uint64_t now_ms(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- records ------------------------------------------------------------------ */

static uint64_t fnv1a(tern_str s, uint64_t hash)
{
    for (size_t i = 0; i < s.len; i++)
        hash = (hash ^ (unsigned char)s.ptr[i]) * UINT64_C(1099511628211);
    return hash;
}

/* The key under which LMDB has the record; true: it is the whole key. */
static bool make_key(tern_str key, char text[LMDB_KEY_MAX], MDB_val *ret)
{
    bool whole = key.len < LMDB_KEY_MAX;

    text[0] = whole ? 'k' : 'h';
    if (whole) {
        memcpy(text + 1, key.ptr, key.len);
        *ret = (MDB_val){ 1 + key.len, text };
        return true;
    }
    uint64_t hash[2] = { fnv1a(key, UINT64_C(14695981039346656037)),
                         fnv1a(key, UINT64_C(0x9e3779b97f4a7c15)) };
    memcpy(text + 1, hash, sizeof(hash));
    memcpy(text + 1 + sizeof(hash), key.ptr, LONG_KEY_PREFIX);
    *ret = (MDB_val){ 1 + sizeof(hash) + LONG_KEY_PREFIX, text };
    return false;
}

static bool read_record(const MDB_val *key, const MDB_val *data, struct tern_kv_change *ret)
{
    const char *text = key->mv_data, *rest = data->mv_data;
    struct record r;

    if (key->mv_size < 2 || data->mv_size < sizeof(r))
        return false;
    memcpy(&r, rest, sizeof(r));
    rest += sizeof(r);
    if (data->mv_size - sizeof(r) != (uint64_t)r.key_octets + r.value_octets)
        return false;
    if ((text[0] == 'k') != (r.key_octets == 0) || (text[0] != 'k' && text[0] != 'h'))
        return false;
    ret->key = r.key_octets == 0 ? (tern_str){ text + 1, key->mv_size - 1 }
                                 : (tern_str){ rest, r.key_octets };
    ret->value = (tern_str){ rest + r.key_octets, r.value_octets };
    ret->number = r.number;
    ret->expires_ms = r.expires_ms;
    return true;
}

static bool is_format(const MDB_val *key)
{
    return key->mv_size == sizeof(FORMAT_KEY) - 1 &&
           memcmp(key->mv_data, FORMAT_KEY, key->mv_size) == 0;
}

/* ---- opening -------------------------------------------------------------------- */

/* The folder is there, or made; a new store begins in an empty one only. */
static int prepare_folder(const char *path, struct stat *st, char *error, size_t error_octets)
{
    char file[PATH_MAX];
    struct stat data;

    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        int r = -errno;
        (void)snprintf(error, error_octets, "cannot make the folder %s: %s", path, strerror(-r));
        return r;
    }
    if (stat(path, st) < 0 || !S_ISDIR(st->st_mode)) {
        (void)snprintf(error, error_octets, "%s is not a folder", path);
        return -ENOTDIR;
    }
    (void)snprintf(file, sizeof(file), "%s/data.mdb", path);
    if (stat(file, &data) == 0)
        return 0;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        int r = -errno;
        (void)snprintf(error, error_octets, "cannot read the folder %s: %s", path, strerror(-r));
        return r;
    }
    bool strange = false;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        strange |= strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
                   strcmp(e->d_name, "lock.mdb") != 0;
    (void)closedir(dir);
    if (!strange)
        return 0;
    (void)snprintf(error, error_octets,
                   "%s holds other files; a new store needs a folder of its own", path);
    return -EEXIST;
}

static int claim_folder(struct store *s, const struct stat *st)
{
    int r = -EMFILE;
    unsigned at = OPEN_MAX;

    (void)pthread_mutex_lock(&open_lock);
    for (unsigned i = 0; i < OPEN_MAX; i++) {
        if (open_stores[i] == NULL)
            at = i;
        else if (open_stores[i]->dev == st->st_dev && open_stores[i]->ino == st->st_ino)
            r = -EBUSY;
    }
    if (r != -EBUSY && at < OPEN_MAX) {
        s->dev = st->st_dev;
        s->ino = st->st_ino;
        open_stores[at] = s;
        r = 0;
    }
    (void)pthread_mutex_unlock(&open_lock);
    return r;
}

static void leave_folder(const struct store *s)
{
    (void)pthread_mutex_lock(&open_lock);
    for (unsigned i = 0; i < OPEN_MAX; i++)
        if (open_stores[i] == s)
            open_stores[i] = NULL;
    (void)pthread_mutex_unlock(&open_lock);
}

/*
 * Reading pages that the file no longer has would be a SIGBUS, not an error: after a power
 * cut without a sync the file may be shorter than its first page says.
 */
static int check_length(struct store *s, const char *path, char *error, size_t error_octets)
{
    char file[PATH_MAX];
    struct stat st;
    MDB_envinfo info;
    MDB_stat stat_;

    (void)snprintf(file, sizeof(file), "%s/data.mdb", path);
    int rc = mdb_env_info(s->env, &info);
    if (rc == 0)
        rc = mdb_env_stat(s->env, &stat_);
    if (rc != 0 || stat(file, &st) < 0)
        return rc != 0 ? to_errno(rc) : -errno;
    s->map_octets = info.me_mapsize;
    if ((uint64_t)st.st_size >= ((uint64_t)info.me_last_pgno + 1) * stat_.ms_psize)
        return 0;
    (void)snprintf(error, error_octets, "%s is cut short; remove it to begin anew", file);
    return -EBADMSG;
}

/* Writes our mark into an empty store, or looks for it. */
static int check_format(struct store *s, const char *path, char *error, size_t error_octets)
{
    MDB_val key = { sizeof(FORMAT_KEY) - 1, (void *)(uintptr_t)FORMAT_KEY };
    MDB_val text = { sizeof(FORMAT_TEXT) - 1, (void *)(uintptr_t)FORMAT_TEXT };
    MDB_val found;
    MDB_stat st;
    MDB_txn *txn;

    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return to_errno(rc);
    rc = mdb_dbi_open(txn, NULL, 0, &s->dbi);
    if (rc == 0)
        rc = mdb_stat(txn, s->dbi, &st);
    if (rc == 0 && st.ms_entries == 0)
        rc = mdb_put(txn, s->dbi, &key, &text, 0);
    if (rc == 0)
        rc = mdb_get(txn, s->dbi, &key, &found);
    if (rc == MDB_NOTFOUND) {
        (void)snprintf(error, error_octets, "%s is an LMDB store, but not one of Tern's", path);
        mdb_txn_abort(txn);
        return -EEXIST;
    }
    if (rc == 0 &&
        (found.mv_size != text.mv_size || memcmp(found.mv_data, text.mv_data, text.mv_size) != 0)) {
        (void)snprintf(error, error_octets,
                       "%s has the format \"%.*s\", this module knows \"" FORMAT_TEXT "\"", path,
                       found.mv_size < 40 ? (int)found.mv_size : 40, (const char *)found.mv_data);
        mdb_txn_abort(txn);
        return -EPROTONOSUPPORT;
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return to_errno(rc);
    }
    return to_errno(mdb_txn_commit(txn));
}

static int open_env(struct store *s, const char *path, char *error, size_t error_octets)
{
    int dead = 0;
    int rc = mdb_env_create(&s->env);

    if (rc != 0)
        return to_errno(rc);
    rc = mdb_env_set_mapsize(s->env, MAP_OCTETS_MIN); /* LMDB takes the file's size if it is more */
    if (rc == 0)
        rc = mdb_env_open(s->env, path, MDB_NOSYNC | MDB_NOTLS, 0600);
    if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH) {
        (void)snprintf(error, error_octets, "%s/data.mdb is not an LMDB file of this version",
                       path);
    } else if (rc != 0) {
        (void)snprintf(error, error_octets, "cannot open %s: %s", path, mdb_strerror(rc));
    }
    if (rc == 0)
        rc = mdb_reader_check(s->env, &dead); /* slots of readers that were killed */
    int r = to_errno(rc);
    if (r == 0)
        r = check_length(s, path, error, error_octets);
    return r < 0 ? r : check_format(s, path, error, error_octets);
}

static int lmdb_open(const void *conf, void **ret_store, char *error, size_t error_octets)
{
    const struct kv_lmdb_conf *c = conf;
    struct stat st;

    if (c->path.len == 0 || c->path.len >= PATH_OCTETS) {
        (void)snprintf(error, error_octets, "path is %s",
                       c->path.len == 0 ? "missing" : "too long");
        return -EINVAL;
    }
    struct store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->size_max = c->size_max;
    s->sync_ms = c->sync_s * 1000;
    s->synced_ms = now_ms(CLOCK_MONOTONIC);
    int r = prepare_folder(c->path.ptr, &st, error, error_octets);
    if (r == 0)
        r = claim_folder(s, &st);
    if (r == -EBUSY)
        (void)snprintf(error, error_octets, "%s is open already", c->path.ptr);
    if (r < 0) {
        free(s);
        return r;
    }
    r = open_env(s, c->path.ptr, error, error_octets);
    if (r < 0) {
        if (s->env != NULL)
            mdb_env_close(s->env);
        leave_folder(s);
        free(s);
        return r;
    }
    *ret_store = s;
    return 0;
}

static void lmdb_close(void *store)
{
    struct store *s = store;

    (void)mdb_env_sync(s->env, 1); /* nobody is left to tell; the next open finds what is there */
    mdb_env_close(s->env);
    leave_folder(s);
    free(s);
}

/* ---- loading --------------------------------------------------------------------- */

static int drop_expired(struct store *s, uint64_t now)
{
    MDB_val key, data;
    MDB_cursor *cursor;
    MDB_txn *txn;
    struct tern_kv_change c;

    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return to_errno(rc);
    rc = mdb_cursor_open(txn, s->dbi, &cursor);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return to_errno(rc);
    }
    while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0)
        if (!is_format(&key) && read_record(&key, &data, &c) && c.expires_ms <= now)
            if ((rc = mdb_cursor_del(cursor, 0)) != 0)
                break;
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        return to_errno(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return to_errno(rc);
}

static int lmdb_load(void *store, void (*each)(void *arg, const struct tern_kv_change *), void *arg)
{
    struct store *s = store;
    uint64_t now = now_ms(CLOCK_REALTIME);
    size_t expired = 0;
    MDB_val key, data;
    MDB_cursor *cursor;
    MDB_txn *txn;

    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return to_errno(rc);
    rc = mdb_cursor_open(txn, s->dbi, &cursor);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return to_errno(rc);
    }
    while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
        struct tern_kv_change c;
        if (is_format(&key))
            continue;
        if (!read_record(&key, &data, &c)) {
            rc = MDB_CORRUPTED;
            break;
        }
        if (c.expires_ms <= now)
            expired++;
        else
            each(arg, &c);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    if (rc != MDB_NOTFOUND)
        return to_errno(rc);
    if (expired > 0)
        (void)drop_expired(s, now); /* they only take room: the next start tries again */
    return 0;
}

/* ---- writing ---------------------------------------------------------------------- */

static int put_change(struct store *s, MDB_txn *txn, const struct tern_kv_change *c)
{
    char text[LMDB_KEY_MAX];
    MDB_val key, data;
    bool whole = make_key(c->key, text, &key);

    if (c->expires_ms == 0 && c->value.len == 0) {
        int rc = mdb_del(txn, s->dbi, &key, NULL);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    struct record r = { c->expires_ms, c->number, whole ? 0 : (uint32_t)c->key.len,
                        (uint32_t)c->value.len };
    data.mv_size = sizeof(r) + r.key_octets + r.value_octets;
    int rc = mdb_put(txn, s->dbi, &key, &data, MDB_RESERVE);
    if (rc != 0)
        return rc;
    char *to = data.mv_data;
    memcpy(to, &r, sizeof(r));
    if (r.key_octets > 0)
        memcpy(to + sizeof(r), c->key.ptr, r.key_octets);
    if (r.value_octets > 0)
        memcpy(to + sizeof(r) + r.key_octets, c->value.ptr, r.value_octets);
    return 0;
}

static int write_once(struct store *s, const struct tern_kv_change *changes, size_t count)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = put_change(s, txn, &changes[i]);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

/* Doubles the map, up to size_max. No transaction of this process is open. */
static int grow(struct store *s)
{
    size_t octets = s->map_octets * 2;

    if (s->map_octets >= s->size_max)
        return MDB_MAP_FULL;
    if (octets > s->size_max)
        octets = s->size_max;
    int rc = mdb_env_set_mapsize(s->env, octets);
    if (rc == 0)
        s->map_octets = octets;
    return rc;
}

static int lmdb_write(void *store, const struct tern_kv_change *changes, size_t count)
{
    struct store *s = store;
    int rc = write_once(s, changes, count);

    while (rc == MDB_MAP_FULL || rc == MDB_MAP_RESIZED) { /* ends: each turn the map doubles */
        /* Another process made the file larger than our map: take its size. */
        rc = rc == MDB_MAP_RESIZED ? mdb_env_set_mapsize(s->env, 0) : grow(s);
        if (rc != 0)
            return to_errno(rc);
        rc = write_once(s, changes, count);
    }
    uint64_t now = now_ms(CLOCK_MONOTONIC);
    if (rc == 0 && now - s->synced_ms >= s->sync_ms) {
        rc = mdb_env_sync(s->env, 1);
        s->synced_ms = now;
    }
    return to_errno(rc);
}

/* ---- the module ------------------------------------------------------------------- */

static int init(const struct tern_api *api, void **ret_state)
{
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_PATH(struct kv_lmdb_conf, path, NULL,
                     "Folder of the store; made if it is not there."),
    TERN_OPTION_SIZE(struct kv_lmdb_conf, size_max, "4GB", MAP_OCTETS_MIN, INT64_C(1) << 40,
                     "Largest size of the file. It begins at 16MB and doubles."),
    TERN_OPTION_SECONDS(struct kv_lmdb_conf, sync, "5s", 0, 3600,
                        "Time between two waits for the disk: what a power cut may cost."),
    TERN_OPTIONS_END,
};

static const struct tern_kv_store kv_store = {
    .size = sizeof(struct tern_kv_store),
    .type = "kv_lmdb",
    .options = options,
    .conf_size = sizeof(struct kv_lmdb_conf),
    .open = lmdb_open,
    .load = lmdb_load,
    .write = lmdb_write,
    .close = lmdb_close,
};

TERN_MODULE(.name = "kv_lmdb", .summary = "Keep the key-value table over a restart, in LMDB.",
            .init = init, .kv_store = &kv_store);
