/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sql_sqlite.c - SQLite: a file of this machine, opened for reading only.
 *
 * A query that would write is refused when it is prepared. One that takes too long is interrupted by the
 * progress handler, one that waits for a writer by the busy handler; both look at the same deadline.
 */
#include "sql_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if TERN_HAVE_SQLITE
#include <sqlite3.h>

#define PROGRESS_STEPS  1000 /* instructions of its machine between two looks at the clock */
#define BUSY_PAUSE_MS   10

struct handle {
    sqlite3 *db;
    sqlite3_stmt *statement;
    uint64_t end_ms;
    char *row; /* the text of the row that was given out */
    size_t row_octets;
};

static int is_over(void *arg)
{
    const struct handle *h = arg;

    return sql_left_ms(h->end_ms) == 0;
}

static int wait_for_writer(void *arg, int tries)
{
    const struct handle *h = arg;

    (void)tries;
    if (sql_left_ms(h->end_ms) == 0)
        return 0;
    (void)sqlite3_sleep(BUSY_PAUSE_MS);
    return 1;
}

static int say(const struct handle *h, int rc, char *error, size_t octets)
{
    if (rc == SQLITE_INTERRUPT || rc == SQLITE_BUSY)
        return sql_say(error, octets, ETIMEDOUT, "SQLite", "no answer in time");
    if (rc == SQLITE_TOOBIG)
        return sql_say(error, octets, EBADMSG, "SQLite", "a value is too long");
    return sql_say(error, octets, EIO, "SQLite", h->db != NULL ? sqlite3_errmsg(h->db) : sqlite3_errstr(rc));
}

/* It may be a password's hash. */
static void forget_row(struct handle *h)
{
    if (h->row != NULL)
        explicit_bzero(h->row, h->row_octets);
    free(h->row);
    h->row = NULL;
}

static void handle_close(void *handle)
{
    struct handle *h = handle;

    forget_row(h);
    (void)sqlite3_finalize(h->statement);
    (void)sqlite3_close(h->db);
    free(h);
}

static int handle_open(const struct sql_conf *conf, uint64_t end_ms, void **ret, char *error, size_t octets)
{
    struct handle *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return -ENOMEM;
    h->end_ms = end_ms;
    int rc = sqlite3_open_v2(conf->path.ptr, &h->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        (void)sqlite3_limit(h->db, SQLITE_LIMIT_LENGTH, 1 << 20);
        (void)sqlite3_db_config(h->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        (void)sqlite3_db_config(h->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        (void)sqlite3_busy_handler(h->db, wait_for_writer, h);
        sqlite3_progress_handler(h->db, PROGRESS_STEPS, is_over, h);
        *ret = h;
        return 0;
    }
    (void)snprintf(error, octets, "SQLite: %s: %s", conf->path.ptr,
                   h->db != NULL ? sqlite3_errmsg(h->db) : sqlite3_errstr(rc));
    handle_close(h);
    return -EIO;
}

static int prepare(struct handle *h, const char *query, char *error, size_t octets)
{
    const char *rest = "";
    int rc = sqlite3_prepare_v2(h->db, query, -1, &h->statement, &rest);

    if (rc != SQLITE_OK)
        return say(h, rc, error, octets);
    if (h->statement == NULL || rest[strspn(rest, " \t\r\n;")] != '\0')
        return sql_say(error, octets, EIO, "query", "expected one statement");
    if (sqlite3_column_count(h->statement) == 0 || !sqlite3_stmt_readonly(h->statement))
        return sql_say(error, octets, EIO, "query", "expected a SELECT");
    if (sqlite3_bind_parameter_count(h->statement) != 1 || sqlite3_bind_parameter_index(h->statement, "$1") != 1)
        return sql_say(error, octets, EIO, "query", "expected $1 and no other parameter");
    return 0;
}

/* Copies the row, so that the statement need not stay open: a writer must not wait for our next mail. */
static int keep_row(struct handle *h, struct sql_row *ret)
{
    int columns = sqlite3_column_count(h->statement);
    char *at;

    h->row_octets = 1;
    for (int i = 0; i < columns && i < SQL_COLUMNS_MAX; i++)
        if (sqlite3_column_text(h->statement, i) != NULL)
            h->row_octets += (size_t)sqlite3_column_bytes(h->statement, i) + 1;
    at = h->row = malloc(h->row_octets);
    if (at == NULL)
        return SQLITE_NOMEM;
    for (int i = 0; i < columns && i < SQL_COLUMNS_MAX; i++) {
        const unsigned char *text = sqlite3_column_text(h->statement, i);
        size_t len = text != NULL ? (size_t)sqlite3_column_bytes(h->statement, i) : 0;

        ret->columns[ret->count++] = (tern_str){ text != NULL ? at : NULL, len };
        if (text != NULL) {
            memcpy(at, text, len + 1);
            at += len + 1;
        }
    }
    return SQLITE_ROW;
}

static int handle_ask(void *handle, const char *query, tern_str key, uint64_t end_ms, struct sql_row *ret,
                      char *error, size_t octets)
{
    struct handle *h = handle;

    h->end_ms = end_ms;
    if (h->statement == NULL) {
        int r = prepare(h, query, error, octets);
        if (r < 0)
            return r;
    }
    forget_row(h);
    int rc = sqlite3_bind_text(h->statement, 1, key.ptr, (int)key.len, SQLITE_TRANSIENT);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(h->statement);
    if (rc == SQLITE_ROW)
        rc = keep_row(h, ret);
    int r = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : say(h, rc, error, octets);
    (void)sqlite3_reset(h->statement);
    return r;
}

static const struct sql_driver_ops ops = { handle_open, handle_ask, handle_close };
const struct sql_driver_ops *const sql_sqlite = &ops;
#else
const struct sql_driver_ops *const sql_sqlite = NULL;
#endif
