/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sql.h - one question to a database: a query of the operator's with one bound parameter, $1.
 *
 * What modules by SQL share: SQLite (a file, read only) and PostgreSQL (libpq). The key travels
 * beside the query, never inside it. A connection belongs to one thread at a time. Functions come back
 * within timeout_ms, except for the resolver's time when a host is named. Failures are a
 * negative errno and a sentence without secrets: -EBADMSG for an answer that is of no use,
 * -ECONNRESET when the server is gone.
 */
#ifndef TERN_LIB_SQL_H
#define TERN_LIB_SQL_H

#include <tern/module.h>

#define SQL_COLUMNS_MAX      8
#define SQL_VALUE_OCTETS_MAX 65535
#define SQL_ROWS_SEEN_MAX    1 /* the first counts; no other is read */

enum sql_driver { SQL_SQLITE, SQL_POSTGRESQL };

struct sql_conf {
    int driver;       /* enum sql_driver */
    tern_str path;    /* SQLite */
    tern_str connect; /* PostgreSQL: a connection string of libpq; secret */
    tern_str query;
};

/* The options of a struct `s` that has such fields; NAMES of drivers in sql_driver_names. */
extern const char *const sql_driver_names[];
#define SQL_OPTIONS(s, query_doc)                                                                                     \
    TERN_OPTION_ENUM(s, driver, NULL, sql_driver_names, "The database."),                                             \
        TERN_OPTION_PATH(s, path, "", "sqlite: the file. It is opened for reading only."),                            \
        TERN_OPTION_SECRET(s, connect, "",                                                                            \
                           "postgresql: a connection string of libpq, such as \"host=/run/postgresql dbname=mail\"; " \
                           "by !env or !file if it has a password."),                                                 \
        TERN_OPTION_STRING(s, query, NULL, query_doc)

/* One row. A NULL of the database has ptr NULL. Borrowed until the next call. */
struct sql_row {
    tern_str columns[SQL_COLUMNS_MAX];
    unsigned count; /* 0: there is no row */
};

struct sql;

/* 0, or -EINVAL with a sentence about the options. */
int sql_check(const struct sql_conf *conf, char *error, size_t octets);
int sql_open(const struct sql_conf *conf, uint64_t timeout_ms, struct sql **ret, char *error, size_t octets);
int sql_ask(struct sql *sql, tern_str key, uint64_t timeout_ms, struct sql_row *ret, char *error, size_t octets);
void sql_close(struct sql *sql);

#endif
