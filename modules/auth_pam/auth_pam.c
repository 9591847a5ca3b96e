/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_pam - asks the system's PAM who logs in. The worker cannot: PAM needs root's files and starts programs.
 * tern-local has a process made for each question (docs/decisions/0010), and only services that supervisor.conf names.
 */
#include <tern/module.h>

#include <lib/auth_cache.h>

#include <sodium.h>
#include <string.h>
#include <strings.h>

#define USER_OCTETS_MAX     255
#define PASSWORD_OCTETS_MAX 1024

static const struct tern_api *tern;
static struct auth_cache *cache;

struct auth_pam_conf {
    tern_str service, domain;
    uint64_t request_timeout_ms, cache_s;
    uint64_t realm; /* set by check() */
};

/* Without @domain, where that is the configured one: users of PAM are users of the machine. */
static tern_str name_of(tern_call *call, const struct auth_pam_conf *c, tern_str user)
{
    const char *at = user.len > 0 ? memrchr(user.ptr, '@', user.len) : NULL;

    if (at == NULL || c->domain.len == 0 || strcasecmp(at + 1, c->domain.ptr) != 0)
        return user;
    return tern->format(call, "%.*s", (int)(at - user.ptr), user.ptr);
}

static tern_verdict accept_as(tern_call *call, const char *login)
{
    if (login[0] != '\0' && tern->auth_login(call, (tern_str){ login, strlen(login) }) < 0)
        return TERN_ERROR;
    return TERN_ACCEPT;
}

static tern_verdict ask(tern_call *call, const struct auth_pam_conf *c, char login[AUTH_CACHE_LOGIN_OCTETS + 1])
{
    struct tern_pam pam = { .size = sizeof(pam), .service = c->service, .user = name_of(call, c, tern->auth_user(call)),
                            .password = tern->auth_password(call), .address = tern->client_address_text(call),
                            .timeout_ms = c->request_timeout_ms };
    struct tern_local_answer answer;

    if (pam.user.len == 0 || pam.user.len > USER_OCTETS_MAX || pam.password.len > PASSWORD_OCTETS_MAX ||
        memchr(pam.password.ptr, '\0', pam.password.len) != NULL)
        return TERN_REJECT;
    tern->pam_sync(call, &pam, &answer);
    tern->note(call, "pam", (tern_str){ answer.text, strlen(answer.text) });
    switch (answer.status) {
    case TERN_LOCAL_DONE:
        if (strlen(answer.text) > AUTH_CACHE_LOGIN_OCTETS)
            return tern->fail(call, "PAM made a name of %zu octets of the user's", strlen(answer.text));
        (void)strcpy(login, answer.text);
        return TERN_ACCEPT;
    case TERN_LOCAL_FAILED: return TERN_REJECT;
    case TERN_LOCAL_NO_USER: return TERN_NEXT;
    default: return tern->fail(call, "service %s: %s", c->service.ptr, answer.text);
    }
}

static tern_verdict on_password(tern_call *call, const void *conf)
{
    const struct auth_pam_conf *c = conf;
    struct auth_cache_key key = { c->realm, tern->auth_user(call), tern->auth_password(call), { "", 0 } };
    char login[AUTH_CACHE_LOGIN_OCTETS + 1] = "";

    if (c->cache_s > 0 && auth_cache_find(cache, &key, tern->now_s(call), login))
        return accept_as(call, login);
    tern_verdict verdict = ask(call, c, login);
    if (verdict != TERN_ACCEPT)
        return verdict;
    auth_cache_put(cache, &key, tern->now_s(call), c->cache_s, (tern_str){ login, strlen(login) });
    return accept_as(call, login);
}

static int check(void *conf, struct tern_config *config)
{
    struct auth_pam_conf *c = conf;

    if (c->service.len == 0 || c->service.len > 64 || c->service.ptr[0] == '.' ||
        strspn(c->service.ptr, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != c->service.len)
        tern->config_error(config, "service", "expected the name of a file in /etc/pam.d");
    else
        tern->config_local(config, "service", TERN_LOCAL_SERVICE, c->service);
    c->realm = auth_cache_realm();
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    if (sodium_init() < 0)
        return -EIO;
    cache = auth_cache_new(AUTH_CACHE_ENTRIES_DEFAULT);
    return cache != NULL ? 0 : -ENOMEM;
}

static void fini(void *state)
{
    (void)state;
    auth_cache_free(cache);
    cache = NULL;
}

static const struct tern_option options[] = {
    TERN_OPTION_STRING(struct auth_pam_conf, service, "tern", "The service, a file in /etc/pam.d."),
    TERN_OPTION_STRING(struct auth_pam_conf, domain, "", "Left out of the user's name: alice@DOMAIN is alice for PAM."),
    TERN_OPTION_MS(struct auth_pam_conf, request_timeout, "10s", 100, 60000, "Time for PAM to answer."),
    TERN_OPTION_SECONDS(struct auth_pam_conf, cache, "1m", 0, 86400,
                        "Time for which a yes is not asked for again; 0: always asked."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(AUTH, on_password), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT, .flags = TERN_BLOCKING,
      .auth_form = TERN_AUTH_VERIFY },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "auth_pam", .summary = "Ask the system's PAM who logs in.", .options = options, .hooks = hooks,
            .conf_size = sizeof(struct auth_pam_conf), .init = init, .fini = fini, .check = check)
