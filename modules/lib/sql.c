/* SPDX-License-Identifier: Apache-2.0 */
#include "sql_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUERY_OCTETS_MAX 65536

const char *const sql_driver_names[] = { "sqlite", "postgresql", NULL };

struct sql {
    const struct sql_driver_ops *ops;
    void *handle;
    char *query;
};

uint64_t sql_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int sql_left_ms(uint64_t end_ms)
{
    uint64_t now = sql_now_ms();

    if (now >= end_ms)
        return 0;
    return end_ms - now < INT32_MAX ? (int)(end_ms - now) : INT32_MAX;
}

int sql_say(char *error, size_t octets, int errno_, const char *what, const char *text)
{
    (void)snprintf(error, octets, "%s: %s", what, text != NULL && text[0] != '\0' ? text : strerror(errno_));
    size_t len = strlen(error);
    while (len > 0 && (error[len - 1] == '\n' || error[len - 1] == ' '))
        error[--len] = '\0';
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)error[i] < ' ')
            error[i] = ' ';
    return -errno_;
}

static const struct sql_driver_ops *ops_of(int driver)
{
    return driver == SQL_SQLITE ? sql_sqlite : sql_postgresql;
}

static int wrong(char *error, size_t octets, const char *text)
{
    (void)snprintf(error, octets, "%s", text);
    return -EINVAL;
}

int sql_check(const struct sql_conf *c, char *error, size_t octets)
{
    if (ops_of(c->driver) == NULL)
        return wrong(error, octets, c->driver == SQL_SQLITE ? "this Tern was built without SQLite"
                                                            : "this Tern was built without PostgreSQL");
    if (c->driver == SQL_SQLITE && (c->path.len == 0 || c->connect.len > 0))
        return wrong(error, octets, "driver sqlite takes path:, and no connect:");
    if (c->driver == SQL_POSTGRESQL && (c->connect.len == 0 || c->path.len > 0))
        return wrong(error, octets, "driver postgresql takes connect:, and no path:");
    if (c->query.len > QUERY_OCTETS_MAX)
        return wrong(error, octets, "query: is too long");
    if (strlen(c->query.ptr) != c->query.len || strlen(c->connect.ptr) != c->connect.len)
        return wrong(error, octets, "query: and connect: cannot hold NUL");
    if (strstr(c->query.ptr, "$1") == NULL)
        return wrong(error, octets, "query: has no $1, where the key goes");
    if (strstr(c->query.ptr, "'$1'") != NULL)
        return wrong(error, octets, "query: $1 is a parameter and stands without quotes");
    return 0;
}

int sql_open(const struct sql_conf *conf, uint64_t timeout_ms, struct sql **ret, char *error, size_t octets)
{
    struct sql *sql = calloc(1, sizeof(*sql));

    if (sql == NULL || (sql->query = strdup(conf->query.ptr)) == NULL) {
        free(sql);
        return -ENOMEM;
    }
    sql->ops = ops_of(conf->driver);
    int r = sql->ops->open(conf, sql_now_ms() + timeout_ms, &sql->handle, error, octets);
    if (r == 0) {
        *ret = sql;
        return 0;
    }
    free(sql->query);
    free(sql);
    return r;
}

int sql_ask(struct sql *sql, tern_str key, uint64_t timeout_ms, struct sql_row *ret, char *error, size_t octets)
{
    *ret = (struct sql_row){ .count = 0 };
    /* No text of either database holds NUL: there is certainly no such entry. */
    if (memchr(key.ptr, '\0', key.len) != NULL)
        return 0;
    int r = sql->ops->ask(sql->handle, sql->query, key, sql_now_ms() + timeout_ms, ret, error, octets);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < ret->count; i++) {
        tern_str c = ret->columns[i];

        if (c.len > SQL_VALUE_OCTETS_MAX)
            return sql_say(error, octets, EBADMSG, "the answer", "a value is too long");
        if (c.len > 0 && memchr(c.ptr, '\0', c.len) != NULL)
            return sql_say(error, octets, EBADMSG, "the answer", "a value holds NUL");
    }
    return 0;
}

void sql_close(struct sql *sql)
{
    if (sql == NULL)
        return;
    sql->ops->close(sql->handle);
    free(sql->query);
    free(sql);
}
