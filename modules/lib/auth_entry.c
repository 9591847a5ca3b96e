/* SPDX-License-Identifier: Apache-2.0 */
#include <lib/auth_entry.h>

#include <string.h>

const char *const auth_entry_plain[] = { "PLAIN", "LOGIN", NULL };
const char *const auth_entry_keyed[] = { "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS",
                                         "CRAM-MD5",      NULL };

int auth_entries_init(struct auth_entries *entries, const struct tern_api *api)
{
    entries->tern = api;
    if (password_init() < 0)
        return -EIO;
    entries->cache = auth_cache_new(AUTH_CACHE_ENTRIES_DEFAULT);
    return entries->cache != NULL ? 0 : -ENOMEM;
}

static bool is_known(tern_str name)
{
    for (const char *const *m = auth_entry_plain; *m != NULL; m++)
        if (strcmp(*m, name.ptr) == 0)
            return true;
    for (const char *const *m = auth_entry_keyed; *m != NULL; m++)
        if (strcmp(*m, name.ptr) == 0 && strstr(*m, "-PLUS") == NULL)
            return true;
    return false;
}

void auth_entry_check(const struct auth_entries *entries, struct auth_entry_conf *conf, struct tern_config *config)
{
    for (size_t i = 0; i < conf->mechanisms.count; i++)
        if (!is_known(conf->mechanisms.items[i]))
            entries->tern->config_error(config, "mechanisms",
                                        "\"%s\" is none of PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5",
                                        conf->mechanisms.items[i].ptr);
    conf->realm = auth_cache_realm();
}

bool auth_entry_serves(const struct auth_entry_conf *conf, const char *mechanism)
{
    const char *plus = strstr(mechanism, "-PLUS");
    size_t len = plus != NULL ? (size_t)(plus - mechanism) : strlen(mechanism);

    for (size_t i = 0; i < conf->mechanisms.count; i++)
        if (conf->mechanisms.items[i].len == len && strncmp(conf->mechanisms.items[i].ptr, mechanism, len) == 0)
            return true;
    return false;
}

tern_str auth_entry_user(const struct auth_entries *entries, tern_call *call, const struct auth_entry_conf *conf)
{
    tern_str user = entries->tern->auth_user(call);

    if (conf->domain.len == 0 || memchr(user.ptr, '@', user.len) != NULL)
        return user;
    return entries->tern->format(call, "%.*s@%s", (int)user.len, user.ptr, conf->domain.ptr);
}

static tern_verdict accept(struct auth_entries *entries, tern_call *call, tern_str user, tern_str login)
{
    return entries->tern->auth_login(call, login.len > 0 ? login : user) < 0 ? TERN_ERROR : TERN_ACCEPT;
}

tern_verdict auth_entry_verify(struct auth_entries *entries, tern_call *call, const struct auth_entry_conf *conf,
                               tern_str user, const struct auth_entry *found)
{
    const struct tern_api *tern = entries->tern;
    struct auth_cache_key key = { conf->realm, user, tern->auth_password(call), found->stored };
    char login[AUTH_CACHE_LOGIN_OCTETS + 1];
    const char *why = "";

    if (!found->known || found->stored.len == 0) {
        password_decoy_spend(&entries->decoy, key.password);
        tern->note(call, "user", found->known ? TERN_STR("without a password") : TERN_STR("unknown"));
        return found->known ? TERN_REJECT : TERN_NEXT;
    }
    password_decoy_learn(&entries->decoy, found->stored);
    if (conf->cache_s > 0 && auth_cache_find(entries->cache, &key, tern->now_s(call), login))
        return accept(entries, call, user, found->login);
    switch (password_verify(found->stored, key.password, &why)) {
    case PASSWORD_RIGHT:
        auth_cache_put(entries->cache, &key, tern->now_s(call), conf->cache_s, user);
        return accept(entries, call, user, found->login);
    case PASSWORD_WRONG: return TERN_REJECT;
    case PASSWORD_FAILED: break;
    }
    tern->log(call, TERN_LOG_ERROR, "the stored password of %.*s %s", (int)user.len, user.ptr, why);
    return TERN_ERROR;
}

/* ---- keys ---- */

static bool begins(tern_str s, const char *prefix)
{
    return s.len >= strlen(prefix) && strncmp(s.ptr, prefix, strlen(prefix)) == 0;
}

bool auth_entry_give(const struct auth_entries *entries, tern_call *call, const struct password_stored *s)
{
    tern_str mechanism = entries->tern->auth_mechanism(call);
    bool sha1 = begins(mechanism, "SCRAM-SHA-1");
    struct tern_auth_keys keys = { .size = sizeof(keys), .hash = sha1 ? "SHA-1" : "SHA-256" };

    if (s->kind == PASSWORD_CLEAR) {
        keys.password = (tern_str){ s->text, s->text_octets };
    } else if (s->kind == PASSWORD_SCRAM && begins(mechanism, "SCRAM-") &&
               strcmp(s->digest, sha1 ? "SHA1" : "SHA256") == 0) {
        keys.salt = (tern_str){ (const char *)s->salt, s->salt_octets };
        keys.iterations = s->iterations;
        keys.stored_key = (tern_str){ (const char *)s->key, s->key_octets };
        keys.server_key = (tern_str){ (const char *)s->server_key, s->key_octets };
    } else {
        return false;
    }
    return entries->tern->auth_keys(call, &keys) == 0;
}

tern_verdict auth_entry_lookup(struct auth_entries *entries, tern_call *call, tern_str user,
                               const struct auth_entry *found)
{
    struct password_stored s;
    const char *why = "";

    if (!found->known || found->stored.len == 0) {
        entries->tern->note(call, "user", found->known ? TERN_STR("without a password") : TERN_STR("unknown"));
        return TERN_NEXT;
    }
    if (password_parse(found->stored, &s, &why) < 0) {
        entries->tern->log(call, TERN_LOG_ERROR, "the stored password of %.*s %s", (int)user.len, user.ptr, why);
        return TERN_ERROR;
    }
    bool given = auth_entry_give(entries, call, &s);
    password_wipe(&s);
    if (given)
        return accept(entries, call, user, found->login);
    entries->tern->note(call, "keys", TERN_STR("none for this mechanism"));
    return TERN_NEXT;
}
