/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_file - users and their stored passwords from a file.
 *
 * Checking a password is made to be slow, so both entries are BLOCKING; the step's share of the pool
 * is the bound of how many are checked, and how much memory they take, at once. Who logged in a moment ago
 * is remembered, by the stored entry too: a changed password holds from the moment the file is read.
 *
 * A user that is not in the file costs as much as one who is: some entry of the file, always the same
 * for a name, is checked in its stead.
 */
#include <tern/module.h>

#include <lib/auth_entry.h>

#include <sodium.h>
#include <string.h>

#include "users_file.h"

static const struct tern_api *tern;
static struct auth_entries entries;

struct auth_file_conf {
    tern_str path;
    struct auth_entry_conf entry;
    struct users_file *file; /* set by check() */
};

/* The users as the file has them now. NULL: it could never be read, which check() does not let happen. */
static struct users *users_now(const tern_call *call, const struct auth_file_conf *c)
{
    char error[512];
    bool failed;
    struct users *users = users_file_users(c->file, &failed, error, sizeof(error));

    if (failed)
        tern->log(call, TERN_LOG_ERROR, "%s; the users as they were stay", error);
    return users;
}

/* Any of the user's entries will do; *ret_index: which. */
static enum password_answer try_entries(tern_call *call, const struct users *users, const struct users_entry *e,
                                        tern_str password, unsigned *ret_index)
{
    enum password_answer answer = PASSWORD_WRONG;
    const char *why = "";
    unsigned i = 0;

    for (; i < e->count && answer == PASSWORD_WRONG; i++)
        answer = password_verify(users_stored(users, e, i), password, &why);
    if (answer == PASSWORD_FAILED)
        tern->log(call, TERN_LOG_ERROR, "the password of %s %s", users_name(users, e).ptr, why);
    *ret_index = i - 1;
    return answer;
}

/* The entry is part of the key: a changed one does not fit what is remembered. */
static bool is_remembered(tern_call *call, const struct auth_file_conf *c, const struct users *users,
                          const struct users_entry *e, tern_str password)
{
    char login[AUTH_CACHE_LOGIN_OCTETS + 1];

    for (unsigned i = 0; i < e->count && c->entry.cache_s > 0; i++) {
        struct auth_cache_key key = { c->entry.realm, users_name(users, e), password, users_stored(users, e, i) };
        if (auth_cache_find(entries.cache, &key, tern->now_s(call), login))
            return true;
    }
    return false;
}

static tern_verdict verify(tern_call *call, const struct auth_file_conf *c, const struct users *users, tern_str user)
{
    const struct users_entry *e = users_find(users, user);
    tern_str password = tern->auth_password(call);
    unsigned index;

    if (e == NULL) {
        e = users_decoy(users, user);
        if (e != NULL)
            (void)try_entries(call, users, e, password, &index);
        tern->note(call, "user", TERN_STR("unknown"));
        return TERN_NEXT;
    }
    if (!is_remembered(call, c, users, e, password)) {
        enum password_answer answer = try_entries(call, users, e, password, &index);
        if (answer != PASSWORD_RIGHT)
            return answer == PASSWORD_WRONG ? TERN_REJECT : TERN_ERROR;
        struct auth_cache_key key = { c->entry.realm, users_name(users, e), password, users_stored(users, e, index) };
        auth_cache_put(entries.cache, &key, tern->now_s(call), c->entry.cache_s, users_name(users, e));
    }
    return tern->auth_login(call, users_name(users, e)) < 0 ? TERN_ERROR : TERN_ACCEPT;
}

static tern_verdict on_verify(tern_call *call, const void *conf)
{
    const struct auth_file_conf *c = conf;
    struct users *users = users_now(call, c);

    if (users == NULL)
        return TERN_ERROR;
    tern_verdict verdict = verify(call, c, users, auth_entry_user(&entries, call, &c->entry));
    users_unref(users);
    return verdict;
}

/* ---- keys ---- */

static bool give_one(tern_call *call, const struct users *users, const struct users_entry *e)
{
    bool given = false;

    for (unsigned i = 0; i < e->count && !given; i++) {
        struct password_stored s;
        const char *why = NULL;
        if (password_parse(users_stored(users, e, i), &s, &why) < 0)
            continue;
        given = auth_entry_give(&entries, call, &s);
        password_wipe(&s);
    }
    return given;
}

static tern_verdict on_lookup(tern_call *call, const void *conf)
{
    const struct auth_file_conf *c = conf;
    struct users *users = users_now(call, c);

    if (users == NULL)
        return TERN_ERROR;
    const struct users_entry *e = users_find(users, auth_entry_user(&entries, call, &c->entry));
    tern_verdict verdict = TERN_NEXT;
    if (e == NULL)
        tern->note(call, "user", TERN_STR("unknown"));
    else if (!give_one(call, users, e))
        tern->note(call, "keys", TERN_STR("none for this mechanism"));
    else
        verdict = tern->auth_login(call, users_name(users, e)) < 0 ? TERN_ERROR : TERN_ACCEPT;
    users_unref(users);
    return verdict;
}

/* ---- options ---- */

static bool serves(const void *conf, const char *mechanism)
{
    return auth_entry_serves(&((const struct auth_file_conf *)conf)->entry, mechanism);
}

static int check(void *conf, struct tern_config *config)
{
    struct auth_file_conf *c = conf;
    char error[512];

    auth_entry_check(&entries, &c->entry, config);
    c->file = users_file_get(c->path.ptr);
    if (c->file == NULL) {
        tern->config_error(config, "path", "more than %d files of users", USERS_FILES_MAX);
        return -ENOMEM;
    }
    if (!users_file_read(c->file, error, sizeof(error)))
        tern->config_error(config, "path", "%s", error);
    else if (users_file_is_writable_by_all(c->file))
        tern->config_error(config, "path", "%s can be written by everybody on this machine: chmod o-w it", c->path.ptr);
    else if (users_file_is_readable_by_all(c->file))
        tern->config_warning(config, "path", "%s can be read by everybody on this machine: chmod o-r it",
                             c->path.ptr);
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return auth_entries_init(&entries, api);
}

static const struct tern_option options[] = {
    TERN_OPTION_PATH_READ(struct auth_file_conf, path, NULL,
                     "The file of users: YAML if it is named .yaml or .yml, else lines of user:entry."),
    AUTH_ENTRY_OPTIONS(struct auth_file_conf,
                       "What clients are offered; add SCRAM-SHA-256 when the entries are SCRAM keys or in clear.",
                       "5m", "Time for which a successful password is not computed again; 0: never remembered."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    AUTH_ENTRY_HOOKS(on_verify, on_lookup, serves),
};

TERN_MODULE(.name = "auth_file", .summary = "Users and passwords from a file.", .options = options, .hooks = hooks,
            .conf_size = sizeof(struct auth_file_conf), .init = init, .check = check)
