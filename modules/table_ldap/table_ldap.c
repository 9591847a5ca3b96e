/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table_ldap - tables whose entries are in an LDAP directory.
 *
 * `tables: { x: { ldap: { uri: ..., base: ..., filter: "(mail=%{key})", attribute: mailHost } } }`. An entry
 * that the filter finds is an entry of the table; the value is the attribute's first. Threads, cache and pauses are
 * the core's; the protocol is lib/directory.c's.
 */
#include <tern/module.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lib/directory.h>

struct ldap_conf {
    struct directory_conf d;
    tern_str attribute;
};

struct link {
    const struct ldap_conf *conf;
    struct directory *d;
    struct directory_row row;
};

static int check(const void *conf, char *error, size_t octets)
{
    return directory_check(&((const struct ldap_conf *)conf)->d, "key", error, octets);
}

static int open_(const void *conf, uint64_t timeout_ms, void **ret, char *error, size_t octets)
{
    struct link *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return -ENOMEM;
    l->conf = conf;
    int r = directory_open(&l->conf->d, timeout_ms, &l->d, error, octets);
    if (r == 0)
        *ret = l;
    else
        free(l);
    return r;
}

static int find(void *connection, tern_str key, uint64_t timeout_ms, struct tern_table_answer *ret, char *error,
                size_t octets)
{
    struct link *l = connection;
    const char *attribute = l->conf->attribute.len > 0 ? l->conf->attribute.ptr : NULL;

    directory_row_fini(&l->row);
    int r = directory_search(l->d, &l->conf->d, key, attribute, NULL, timeout_ms, &l->row, error, octets);
    if (r < 0)
        return r;
    ret->status = l->row.entries > 0 ? TERN_FOUND : TERN_ABSENT;
    ret->value = l->row.value.ptr != NULL ? l->row.value : TERN_STR("");
    return 0;
}

static void close_(void *connection)
{
    struct link *l = connection;

    directory_row_fini(&l->row);
    directory_close(l->d);
    free(l);
}

static const struct tern_option options[] = {
    DIRECTORY_OPTIONS(struct directory_conf, "key"),
    TERN_OPTION_STRING(struct ldap_conf, attribute, "",
                       "Whose first value is the table's value. None: that the entry is there is all."),
    TERN_OPTIONS_END,
};

static const struct tern_table_provider ldap = {
    .size = sizeof(struct tern_table_provider),
    .type = "ldap",
    .options = options,
    .conf_size = sizeof(struct ldap_conf),
    .check = check,
    .open = open_,
    .find = find,
    .close = close_,
};

TERN_MODULE(.name = "table_ldap", .summary = "Tables whose entries are in an LDAP directory.",
            .tables = (const struct tern_table_provider *const[]){ &ldap, NULL });
