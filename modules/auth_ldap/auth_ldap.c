/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_ldap - users and passwords from an LDAP directory, in one of three ways.
 *
 *   dn                          a bind as the entry that the name stands for: nothing is searched
 *   base, filter                a search for the user's entry, then a bind as that entry
 *   ... and password_attribute  a search for the stored password, which is checked here
 *
 * All entries are BLOCKING. Connections that search are kept (lib/links.c); each bind has one of its own, since
 * a bind changes who asks. A server takes an empty password for an anonymous bind and says yes, so none is ever
 * sent (RFC 4513 5.1.2). Two entries that fit are nobody's: it is not known whose password would be asked.
 *
 * A directory that finds "Alice" finds "alice" and " ALICE " (caseIgnoreMatch): unless an attribute says what the user
 * is called, all these are one name to us, too.
 */
#include <tern/module.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lib/auth_entry.h>
#include <lib/directory.h>
#include <lib/links.h>
#include <lib/template.h>

static struct auth_entries entries;

struct auth_ldap_conf {
    struct directory_conf d;
    tern_str dn, password_attribute, login_attribute;
    struct auth_entry_conf entry;
    uint64_t server_timeout_ms;
    struct links *links; /* set by check() */
};

/* What is asked, and the answer in the call's memory. */
struct question {
    tern_call *call;
    tern_str user;
    const char *dn; /* of the entry */
    struct auth_entry found;
};

static tern_str keep(tern_call *call, tern_str s)
{
    char *copy = s.len > 0 ? entries.tern->alloc(call, s.len + 1) : NULL;

    if (copy == NULL)
        return TERN_STR("");
    memcpy(copy, s.ptr, s.len);
    return (tern_str){ copy, s.len };
}

/* ---- a search ---- */

static int link_open(const void *conf, uint64_t timeout_ms, void **ret, char *error, size_t octets)
{
    struct directory *d;
    int r = directory_open(&((const struct auth_ldap_conf *)conf)->d, timeout_ms, &d, error, octets);

    if (r == 0)
        *ret = d;
    return r;
}

static const char *name_or_none(tern_str s)
{
    return s.len > 0 ? s.ptr : NULL;
}

static int link_ask(void *link, const void *conf, void *arg, uint64_t timeout_ms, char *error, size_t octets)
{
    const struct auth_ldap_conf *c = conf;
    struct question *q = arg;
    struct directory_row row;
    int r = directory_search(link, &c->d, q->user, name_or_none(c->password_attribute),
                             name_or_none(c->login_attribute), timeout_ms, &row, error, octets);

    if (r < 0 || row.entries == 0)
        return r;
    if (row.entries > 1) {
        (void)snprintf(error, octets, "the filter fits more than one entry");
        r = -EBADMSG;
    } else {
        q->found.known = true;
        q->found.stored = keep(q->call, row.value);
        q->found.login = row.second.len > 0 ? keep(q->call, row.second) : entries.tern->fold_name(q->call, q->user);
        q->dn = keep(q->call, (tern_str){ row.dn, strlen(row.dn) }).ptr;
        if (q->found.stored.len < row.value.len || strlen(q->dn) < strlen(row.dn))
            r = -ENOMEM;
    }
    directory_row_fini(&row);
    return r;
}

static void link_close(void *link)
{
    directory_close(link);
}

static const struct links_ops ops = { link_open, link_ask, link_close };

static void tell(tern_call *call, bool failed, const char *error)
{
    const char *name = entries.tern->step_name(call).ptr;

    if (failed)
        entries.tern->log(call, TERN_LOG_ERROR, "%s: %s; logins by it get 454 until it answers again", name, error);
    else
        entries.tern->log(call, TERN_LOG_INFO, "%s: answers again", name);
}

/* True: found or certainly not there. */
static bool search(tern_call *call, const struct auth_ldap_conf *c, struct question *q)
{
    char error[512] = "";
    bool news;
    int r = links_ask(c->links, c, q, c->server_timeout_ms, &news, error, sizeof(error));

    if (news)
        tell(call, r < 0, error);
    return r == 0;
}

/* ---- a bind ---- */

static tern_verdict bind_(tern_call *call, const struct auth_ldap_conf *c, const char *dn)
{
    char error[512] = "";

    if (links_is_pausing(c->links))
        return TERN_ERROR;
    int r = directory_is_password(&c->d, dn, entries.tern->auth_password(call), c->server_timeout_ms, error,
                                  sizeof(error));
    if (links_note(c->links, r < 0))
        tell(call, r < 0, error);
    return r < 0 ? TERN_ERROR : r > 0 ? TERN_ACCEPT : TERN_REJECT;
}

/* What is remembered does not know what the server has now: a changed password holds from the end of `cache`. */
static tern_verdict bind_or_remember(tern_call *call, const struct auth_ldap_conf *c, const struct question *q)
{
    const struct tern_api *tern = entries.tern;
    struct auth_cache_key key = { c->entry.realm, q->user, tern->auth_password(call), { q->dn, strlen(q->dn) } };
    char login[AUTH_CACHE_LOGIN_OCTETS + 1];
    tern_verdict verdict = TERN_ACCEPT;

    if (c->entry.cache_s == 0 || !auth_cache_find(entries.cache, &key, tern->now_s(call), login)) {
        verdict = bind_(call, c, q->dn);
        if (verdict == TERN_ACCEPT)
            auth_cache_put(entries.cache, &key, tern->now_s(call), c->entry.cache_s, q->user);
    }
    if (verdict != TERN_ACCEPT)
        return verdict;
    return tern->auth_login(call, q->found.login) < 0 ? TERN_ERROR : TERN_ACCEPT;
}

static tern_verdict verify_by_dn(tern_call *call, const struct auth_ldap_conf *c, struct question *q)
{
    char dn[TEMPLATE_OCTETS_MAX];

    if (q->user.len == 0 || template_fill(c->dn, TEMPLATE_DN, q->user, dn) < 0)
        return TERN_NEXT; /* no name of an entry comes out: certainly nobody here */
    q->dn = dn;
    q->found.login = entries.tern->fold_name(call, q->user);
    return bind_or_remember(call, c, q);
}

static tern_verdict verify_by_search(tern_call *call, const struct auth_ldap_conf *c, struct question *q)
{
    if (!search(call, c, q))
        return TERN_ERROR;
    if (c->password_attribute.len > 0)
        return auth_entry_verify(&entries, call, &c->entry, q->user, &q->found);
    if (q->found.known)
        return bind_or_remember(call, c, q);
    entries.tern->note(call, "user", TERN_STR("unknown"));
    /* Costs what a known one costs, so that time does not tell who is there. */
    tern_str nobody = entries.tern->format(call, "cn=tern-nobody%s%s", c->d.base.len > 0 ? "," : "", c->d.base.ptr);
    char error[512];
    (void)directory_is_password(&c->d, nobody.ptr, TERN_STR("nobody's"), c->server_timeout_ms, error, sizeof(error));
    return TERN_NEXT;
}

/* ---- the step ---- */

static void question_init(tern_call *call, const struct auth_ldap_conf *c, struct question *q)
{
    *q = (struct question){ .call = call, .user = auth_entry_user(&entries, call, &c->entry), .dn = "" };
}

static void wipe(struct question *q)
{
    if (q->found.stored.len > 0)
        explicit_bzero((char *)(uintptr_t)q->found.stored.ptr, q->found.stored.len);
}

static tern_verdict on_verify(tern_call *call, const void *conf)
{
    const struct auth_ldap_conf *c = conf;
    struct question q;

    question_init(call, c, &q);
    tern_verdict verdict = c->dn.len > 0 ? verify_by_dn(call, c, &q) : verify_by_search(call, c, &q);
    wipe(&q);
    return verdict;
}

static tern_verdict on_lookup(tern_call *call, const void *conf)
{
    const struct auth_ldap_conf *c = conf;
    struct question q;

    question_init(call, c, &q);
    if (!search(call, c, &q))
        return TERN_ERROR;
    tern_verdict verdict = auth_entry_lookup(&entries, call, q.user, &q.found);
    wipe(&q);
    return verdict;
}

static bool serves(const void *conf, const char *mechanism)
{
    const struct auth_ldap_conf *c = conf;
    bool plain = strcmp(mechanism, "PLAIN") == 0 || strcmp(mechanism, "LOGIN") == 0;

    return (plain || c->password_attribute.len > 0) && auth_entry_serves(&c->entry, mechanism);
}

/* ---- options ---- */

static bool is_near(tern_str uri)
{
    static const char *const near[] = { "ldaps:", "ldapi:", "ldap://127.", "ldap://localhost", "ldap://[::1]" };

    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++)
        if (strncmp(uri.ptr, near[i], strlen(near[i])) == 0)
            return true;
    return false;
}

static void check_ways(const struct auth_ldap_conf *c, struct tern_config *config)
{
    const struct tern_api *tern = entries.tern;
    char error[512];

    if ((c->dn.len > 0) == (c->d.filter.len > 0))
        tern->config_error(config, NULL, "expected either dn:, or base: and filter:");
    if (c->dn.len > 0 && template_check(c->dn, "user", error, sizeof(error)) < 0)
        tern->config_error(config, "dn", "dn: %s", error);
    if (c->dn.len > 0 && (c->password_attribute.len > 0 || c->login_attribute.len > 0))
        tern->config_error(config, NULL, "password_attribute: and login_attribute: need a search: base: and filter:");
    if (directory_check(&c->d, c->d.filter.len > 0 ? "user" : NULL, error, sizeof(error)) < 0)
        tern->config_error(config, NULL, "%s", error);
    if (!c->d.starttls && !is_near(c->d.uri))
        tern->config_warning(config, "uri", "passwords travel in clear to this server; use ldaps: or starttls: true");
    for (size_t i = 0; i < c->entry.mechanisms.count && c->password_attribute.len == 0; i++)
        if (strcmp(c->entry.mechanisms.items[i].ptr, "PLAIN") != 0 &&
            strcmp(c->entry.mechanisms.items[i].ptr, "LOGIN") != 0)
            tern->config_error(config, "mechanisms", "%s needs password_attribute:", c->entry.mechanisms.items[i].ptr);
}

static int check(void *conf, struct tern_config *config)
{
    struct auth_ldap_conf *c = conf;
    const tern_str tls = { c->d.starttls ? "1" : "0", 1 };
    const tern_str texts[] = { c->d.uri, tls, c->d.ca_file, c->d.bind_dn, c->d.bind_password };

    auth_entry_check(&entries, &c->entry, config);
    check_ways(c, config);
    c->links = links_get(&ops, texts, sizeof(texts) / sizeof(texts[0]));
    if (c->links != NULL)
        return 0;
    entries.tern->config_error(config, NULL, "more than %d directories since the start", LINKS_SETS_MAX);
    return -ENOMEM;
}

static int init(const struct tern_api *api, void **ret_state)
{
    *ret_state = NULL;
    return auth_entries_init(&entries, api);
}

static const struct tern_option options[] = {
    DIRECTORY_OPTIONS(struct directory_conf, "user"),
    TERN_OPTION_STRING(struct auth_ldap_conf, dn, "",
                       "The user's entry, such as uid=%{user},ou=people,dc=example: a bind without a search."),
    TERN_OPTION_STRING(struct auth_ldap_conf, password_attribute, "",
                       "The attribute that has the stored password, to be checked here. None: a bind as the entry."),
    TERN_OPTION_STRING(struct auth_ldap_conf, login_attribute, "",
                       "The attribute that has the name the session is known by. None: as given, in lower case."),
    AUTH_ENTRY_OPTIONS(struct auth_ldap_conf,
                       "What clients are offered; SCRAM-SHA-256 needs password_attribute.",
                       "1m",
                       "Time for which a right password is taken without a bind, even if it was changed; 0: never."),
    TERN_OPTION_MS(struct auth_ldap_conf, server_timeout, "5s", 100, 60000, "For an answer of the server. Then: 454."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    AUTH_ENTRY_HOOKS(on_verify, on_lookup, serves),
};

TERN_MODULE(.name = "auth_ldap", .summary = "Users and passwords from an LDAP directory.", .options = options,
            .hooks = hooks, .conf_size = sizeof(struct auth_ldap_conf), .init = init, .check = check)
