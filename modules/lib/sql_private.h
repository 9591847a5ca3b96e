/* SPDX-License-Identifier: Apache-2.0 */
/* sql_private.h - what the drivers of sql.c have in common. */
#ifndef TERN_LIB_SQL_PRIVATE_H
#define TERN_LIB_SQL_PRIVATE_H

#include <lib/sql.h>

struct sql_driver_ops {
    int (*open)(const struct sql_conf *conf, uint64_t end_ms, void **ret, char *error, size_t octets);
    int (*ask)(void *handle, const char *query, tern_str key, uint64_t end_ms, struct sql_row *ret, char *error,
               size_t octets);
    void (*close)(void *handle);
};

/* NULL: built without. */
extern const struct sql_driver_ops *const sql_sqlite, *const sql_postgresql;

uint64_t sql_now_ms(void); /* monotonic */
int sql_left_ms(uint64_t end_ms); /* 0: it is over */
/* A text of a library as one line of ours. */
int sql_say(char *error, size_t octets, int errno_, const char *what, const char *text);

#endif
