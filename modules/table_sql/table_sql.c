/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table_sql - tables whose entries are in a database: SQLite or PostgreSQL.
 *
 * `tables: { x: { sql: { driver: sqlite, path: mail.db, query: "..." } } }`. A row is an entry; its first
 * column is the value. Threads, cache and pauses are the core's; the databases are lib/sql.c's.
 */
#include <tern/module.h>

#include <lib/sql.h>

static int check(const void *conf, char *error, size_t octets)
{
    return sql_check(conf, error, octets);
}

static int open_(const void *conf, uint64_t timeout_ms, void **ret, char *error, size_t octets)
{
    struct sql *sql;
    int r = sql_open(conf, timeout_ms, &sql, error, octets);

    if (r == 0)
        *ret = sql;
    return r;
}

static int find(void *connection, tern_str key, uint64_t timeout_ms, struct tern_table_answer *ret, char *error,
                size_t octets)
{
    struct sql_row row;
    int r = sql_ask(connection, key, timeout_ms, &row, error, octets);

    if (r < 0)
        return r;
    ret->status = row.count > 0 ? TERN_FOUND : TERN_ABSENT;
    ret->value = row.count > 0 && row.columns[0].ptr != NULL ? row.columns[0] : TERN_STR("");
    return 0;
}

static void close_(void *connection)
{
    sql_close(connection);
}

static const struct tern_option options[] = {
    SQL_OPTIONS(struct sql_conf, "One SELECT with $1 where the key goes, without quotes. The first column of the first "
                                 "row is the value; no row: no entry."),
    TERN_OPTIONS_END,
};

static const struct tern_table_provider sql = {
    .size = sizeof(struct tern_table_provider),
    .type = "sql",
    .options = options,
    .conf_size = sizeof(struct sql_conf),
    .check = check,
    .open = open_,
    .find = find,
    .close = close_,
};

TERN_MODULE(.name = "table_sql", .summary = "Tables whose entries are in SQLite or PostgreSQL.",
            .tables = (const struct tern_table_provider *const[]){ &sql, NULL });
