/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_sql - users and their stored passwords from SQLite or PostgreSQL.
 *
 * One query by the user's name gives the stored password and, if it has a second column, the name that the session
 * is known by. Both entries are BLOCKING: a question takes a connection that waits (lib/links.c) or opens one. What is
 * stored is checked here (lib/auth_entry.c); the database never sees a password.
 */
#include <tern/module.h>

#include <errno.h>
#include <string.h>

#include <lib/auth_entry.h>
#include <lib/links.h>
#include <lib/sql.h>

static struct auth_entries entries;

struct auth_sql_conf {
    struct sql_conf sql;
    struct auth_entry_conf entry;
    uint64_t server_timeout_ms;
    struct links *links; /* set by check() */
};

/* What is asked, and the answer in the call's memory. */
struct question {
    tern_call *call;
    tern_str user;
    struct auth_entry found;
};

static int link_open(const void *conf, uint64_t timeout_ms, void **ret, char *error, size_t octets)
{
    struct sql *sql;
    int r = sql_open(&((const struct auth_sql_conf *)conf)->sql, timeout_ms, &sql, error, octets);

    if (r == 0)
        *ret = sql;
    return r;
}

static tern_str keep(tern_call *call, tern_str s)
{
    char *copy = s.len > 0 ? entries.tern->alloc(call, s.len + 1) : NULL;

    if (copy == NULL)
        return TERN_STR("");
    memcpy(copy, s.ptr, s.len);
    return (tern_str){ copy, s.len };
}

static int link_ask(void *link, const void *conf, void *arg, uint64_t timeout_ms, char *error, size_t octets)
{
    struct question *q = arg;
    struct sql_row row;
    int r = sql_ask(link, q->user, timeout_ms, &row, error, octets);

    if (r < 0 || row.count == 0)
        return r;
    q->found.known = true;
    q->found.stored = keep(q->call, row.columns[0]);
    if (row.count > 1)
        q->found.login = keep(q->call, row.columns[1]);
    if (q->found.stored.len < row.columns[0].len)
        return -ENOMEM;
    return 0;
}

static void link_close(void *link)
{
    sql_close(link);
}

static const struct links_ops ops = { link_open, link_ask, link_close };

/* True: found or certainly not there. */
static bool find(tern_call *call, const struct auth_sql_conf *c, struct question *q)
{
    char error[512] = "";
    bool news;

    *q = (struct question){ .call = call, .user = auth_entry_user(&entries, call, &c->entry) };
    int r = links_ask(c->links, c, q, c->server_timeout_ms, &news, error, sizeof(error));
    if (news && r < 0)
        entries.tern->log(call, TERN_LOG_ERROR, "%s: %s; logins by it get 454 until it answers again",
                          entries.tern->step_name(call).ptr, error);
    else if (news)
        entries.tern->log(call, TERN_LOG_INFO, "%s: answers again", entries.tern->step_name(call).ptr);
    return r == 0;
}

static void wipe(struct question *q)
{
    if (q->found.stored.len > 0)
        explicit_bzero((char *)(uintptr_t)q->found.stored.ptr, q->found.stored.len);
}

static tern_verdict on_verify(tern_call *call, const void *conf)
{
    const struct auth_sql_conf *c = conf;
    struct question q;

    if (!find(call, c, &q))
        return TERN_ERROR;
    tern_verdict verdict = auth_entry_verify(&entries, call, &c->entry, q.user, &q.found);
    wipe(&q);
    return verdict;
}

static tern_verdict on_lookup(tern_call *call, const void *conf)
{
    const struct auth_sql_conf *c = conf;
    struct question q;

    if (!find(call, c, &q))
        return TERN_ERROR;
    tern_verdict verdict = auth_entry_lookup(&entries, call, q.user, &q.found);
    wipe(&q);
    return verdict;
}

static bool serves(const void *conf, const char *mechanism)
{
    return auth_entry_serves(&((const struct auth_sql_conf *)conf)->entry, mechanism);
}

static int check(void *conf, struct tern_config *config)
{
    struct auth_sql_conf *c = conf;
    char error[512];
    tern_str driver = { (const char *)&c->sql.driver, sizeof(c->sql.driver) };
    const tern_str texts[] = { driver, c->sql.path, c->sql.connect, c->sql.query };

    auth_entry_check(&entries, &c->entry, config);
    if (sql_check(&c->sql, error, sizeof(error)) < 0)
        entries.tern->config_error(config, NULL, "%s", error);
    c->links = links_get(&ops, texts, sizeof(texts) / sizeof(texts[0]));
    if (c->links != NULL)
        return 0;
    entries.tern->config_error(config, NULL, "more than %d databases since the start", LINKS_SETS_MAX);
    return -ENOMEM;
}

static int init(const struct tern_api *api, void **ret_state)
{
    *ret_state = NULL;
    return auth_entries_init(&entries, api);
}

static const struct tern_option options[] = {
    SQL_OPTIONS(struct sql_conf, "One SELECT with $1 where the user's name goes, without quotes. Its first "
                                 "column is the stored password; a second one the name the session is known by."),
    AUTH_ENTRY_OPTIONS(struct auth_sql_conf,
                       "What clients are offered; add SCRAM-SHA-256 when what is stored are SCRAM keys or "
                       "passwords in clear.",
                       "5m", "Time for which a right password is not computed again while the same is stored; "
                       "0: never remembered."),
    TERN_OPTION_MS(struct auth_sql_conf, server_timeout, "5s", 100, 60000, "For an answer of the database. Then: 454."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    AUTH_ENTRY_HOOKS(on_verify, on_lookup, serves),
};

TERN_MODULE(.name = "auth_sql", .summary = "Users and passwords from SQLite or PostgreSQL.", .options = options,
            .hooks = hooks, .conf_size = sizeof(struct auth_sql_conf), .init = init, .check = check)
