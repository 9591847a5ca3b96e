/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sql_postgresql.c - PostgreSQL by libpq, in its asynchronous form with a deadline for each wait.
 *
 * The query goes as one unnamed statement with the key beside it (PQsendQueryParams), so that a pooler
 * between us and the server does not matter. Sources: PostgreSQL 15, libpq, "Asynchronous Command
 * Processing" and "Database Connection Control Functions".
 */
#include "sql_private.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if TERN_HAVE_POSTGRESQL
#include <libpq-fe.h>

struct handle {
    PGconn *connection;
    PGresult *result; /* whose row was given out */
};

static void forget_row(struct handle *h)
{
    PQclear(h->result);
    h->result = NULL;
}

static void handle_close(void *handle)
{
    struct handle *h = handle;

    forget_row(h);
    PQfinish(h->connection);
    free(h);
}

/* 0, or -ETIMEDOUT. */
static int wait_for(const struct handle *h, bool writing, uint64_t end_ms)
{
    struct pollfd p = { .fd = PQsocket(h->connection), .events = (short)(writing ? POLLIN | POLLOUT : POLLIN) };
    int r;

    do {
        int left = sql_left_ms(end_ms);
        if (left == 0)
            return -ETIMEDOUT;
        r = poll(&p, 1, left);
    } while (r < 0 && errno == EINTR);
    return r > 0 ? 0 : -ETIMEDOUT;
}

static int too_late(char *error, size_t octets)
{
    return sql_say(error, octets, ETIMEDOUT, "PostgreSQL", "no answer in time");
}

/* What libpq says of a connection names host and user, never the password. */
static int say(const struct handle *h, int errno_, char *error, size_t octets)
{
    return sql_say(error, octets, errno_, "PostgreSQL", PQerrorMessage(h->connection));
}

static int connect_(struct handle *h, uint64_t end_ms, char *error, size_t octets)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    while (status != PGRES_POLLING_OK) {
        if (PQstatus(h->connection) == CONNECTION_BAD || status == PGRES_POLLING_FAILED)
            return say(h, ECONNREFUSED, error, octets);
        if (wait_for(h, status == PGRES_POLLING_WRITING, end_ms) < 0)
            return too_late(error, octets);
        status = PQconnectPoll(h->connection);
    }
    if (PQsetnonblocking(h->connection, 1) != 0)
        return say(h, EIO, error, octets);
    return 0;
}

static void ignore_notice(void *arg, const PGresult *notice)
{
    (void)arg;
    (void)notice;
}

static int handle_open(const struct sql_conf *conf, uint64_t end_ms, void **ret, char *error, size_t octets)
{
    static const char *const keys[] = { "fallback_application_name", "dbname", "client_encoding", NULL };
    const char *const values[] = { "tern", conf->connect.ptr, "UTF8", NULL };
    struct handle *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return -ENOMEM;
    h->connection = PQconnectStartParams(keys, values, 1);
    if (h->connection == NULL) {
        free(h);
        return -ENOMEM;
    }
    (void)PQsetNoticeReceiver(h->connection, ignore_notice, NULL);
    int r = connect_(h, end_ms, error, octets);
    if (r < 0) {
        handle_close(h);
        return r;
    }
    *ret = h;
    return 0;
}

static int flush(struct handle *h, uint64_t end_ms, char *error, size_t octets)
{
    for (int r; (r = PQflush(h->connection)) != 0;) {
        if (r < 0)
            return say(h, ECONNRESET, error, octets);
        if (wait_for(h, true, end_ms) < 0)
            return too_late(error, octets);
        if (PQconsumeInput(h->connection) == 0)
            return say(h, ECONNRESET, error, octets);
    }
    return 0;
}

/* The next result, or NULL behind the last. */
static int next_result(struct handle *h, uint64_t end_ms, PGresult **ret, char *error, size_t octets)
{
    while (PQisBusy(h->connection)) {
        if (wait_for(h, false, end_ms) < 0)
            return too_late(error, octets);
        if (PQconsumeInput(h->connection) == 0)
            return say(h, ECONNRESET, error, octets);
    }
    *ret = PQgetResult(h->connection);
    return 0;
}

/* The server goes on with a query that nobody waits for, unless it is told. */
static void cancel(struct handle *h)
{
    char unused[256];
    PGcancel *c = PQgetCancel(h->connection);

    if (c != NULL)
        (void)PQcancel(c, unused, sizeof(unused));
    PQfreeCancel(c);
}

static int read_row(struct handle *h, struct sql_row *ret)
{
    int columns = PQnfields(h->result);

    if (PQntuples(h->result) == 0)
        return 0;
    for (int i = 0; i < columns && i < SQL_COLUMNS_MAX; i++) {
        bool null = PQgetisnull(h->result, 0, i);
        ret->columns[ret->count++] = (tern_str){ null ? NULL : PQgetvalue(h->result, 0, i),
                                                 null ? 0 : (size_t)PQgetlength(h->result, 0, i) };
    }
    return 0;
}

/* SQLSTATE class 22 is "data exception": this key's or this row's fault. */
static int judge(struct handle *h, struct sql_row *ret, char *error, size_t octets)
{
    ExecStatusType status = PQresultStatus(h->result);
    const char *state = PQresultErrorField(h->result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(h->result, PG_DIAG_MESSAGE_PRIMARY);

    if (status == PGRES_TUPLES_OK || status == PGRES_SINGLE_TUPLE)
        return PQnfields(h->result) > 0 ? read_row(h, ret)
                                        : sql_say(error, octets, EIO, "query", "expected a SELECT with a column");
    if (status == PGRES_COMMAND_OK)
        return sql_say(error, octets, EIO, "query", "expected a SELECT");
    if (PQstatus(h->connection) == CONNECTION_BAD || (state != NULL && strncmp(state, "57P", 3) == 0))
        return sql_say(error, octets, ECONNRESET, "PostgreSQL", text != NULL ? text : PQerrorMessage(h->connection));
    return sql_say(error, octets, state != NULL && strncmp(state, "22", 2) == 0 ? EBADMSG : EIO, "PostgreSQL",
                   text != NULL ? text : PQerrorMessage(h->connection));
}

static int receive(struct handle *h, uint64_t end_ms, struct sql_row *ret, char *error, size_t octets)
{
    PGresult *result = NULL;
    int r = next_result(h, end_ms, &h->result, error, octets);

    if (r < 0)
        return r;
    if (h->result == NULL)
        return say(h, ECONNRESET, error, octets);
    int verdict = judge(h, ret, error, octets);
    if (verdict < 0 && verdict != -EBADMSG)
        return verdict;
    /* One row is asked for; what a query has more is read, with a bound of time, and dropped. */
    while ((r = next_result(h, end_ms, &result, error, octets)) == 0 && result != NULL)
        PQclear(result);
    return r < 0 ? r : verdict;
}

static int handle_ask(void *handle, const char *query, tern_str key, uint64_t end_ms, struct sql_row *ret,
                      char *error, size_t octets)
{
    struct handle *h = handle;
    const char *values[] = { key.ptr };
    char *copy = strndup(key.ptr, key.len); /* libpq reads texts up to their NUL */

    if (copy == NULL)
        return -ENOMEM;
    forget_row(h);
    values[0] = copy;
    int sent = PQsendQueryParams(h->connection, query, 1, NULL, values, NULL, NULL, 0);
    free(copy);
    if (sent == 0)
        return say(h, ECONNRESET, error, octets);
    (void)PQsetSingleRowMode(h->connection);
    int r = flush(h, end_ms, error, octets);
    if (r == 0)
        r = receive(h, end_ms, ret, error, octets);
    if (r == -ETIMEDOUT)
        cancel(h);
    return r;
}

static const struct sql_driver_ops ops = { handle_open, handle_ask, handle_close };
const struct sql_driver_ops *const sql_postgresql = &ops;
#else
const struct sql_driver_ops *const sql_postgresql = NULL;
#endif
