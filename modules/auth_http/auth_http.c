/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_http - asks a web service who logs in: a POST with user and password as JSON, or token introspection.
 *
 * 200 is yes, 403 is no, all else is "could not find out". A 200 whose body is neither empty nor a JSON object is
 * no yes: a web server that answers everything with its start page would let everybody in.
 *
 * Sources: RFC 7662 (introspection), RFC 8259 (JSON).
 */
#include <tern/module.h>

#include <lib/auth_cache.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http.h"
#include "question.h"

static const struct tern_api *tern;
static struct auth_cache *cache;

struct auth_http_conf {
    tern_str url, introspect, ca_file, token, client_id, client_secret, scope, user_claim;
    uint64_t request_timeout_ms, cache_s;
    uint64_t realm; /* set by check() */
};

/* 130 KB and full of secrets: not on a stack. */
struct work {
    struct question question;
    struct http_answer answer;
};

static void end_work(struct work *w)
{
    explicit_bzero(w, sizeof(*w));
    free(w);
}

static tern_verdict unsure(tern_call *call, const char *url, const struct http_answer *a, const char *why)
{
    if (a->status == 0)
        tern->log(call, TERN_LOG_WARNING, "auth_http: %s: %s", url, a->error);
    else
        tern->log(call, TERN_LOG_WARNING, "auth_http: %s: status %ld, %s", url, a->status, why);
    tern->note(call, "http", a->status == 0 ? TERN_STR("no answer") : tern->format(call, "status %ld", a->status));
    return TERN_DEFER;
}

static tern_verdict accept_as(tern_call *call, const char *login)
{
    if (login[0] != '\0' && tern->auth_login(call, (tern_str){ login, strlen(login) }) < 0)
        return TERN_ERROR;
    return TERN_ACCEPT;
}

static struct http_request request_of(const struct auth_http_conf *c, tern_str url, const struct question *q)
{
    return (struct http_request){ .url = url.ptr, .ca_file = c->ca_file.ptr, .token = "", .user = "", .password = "",
                                  .body = q->text, .body_octets = q->octets, .timeout_ms = c->request_timeout_ms };
}

/* ---- user and password ---- */

static tern_verdict ask(tern_call *call, const struct auth_http_conf *c, struct work *w, char *login)
{
    struct question *q = &w->question;

    question_begin(q);
    question_text(q, "user", tern->auth_user(call));
    question_text(q, "password", tern->auth_password(call));
    question_text(q, "mechanism", tern->auth_mechanism(call));
    question_text(q, "client", tern->client_address_text(call));
    question_text(q, "listener", tern->listener_name(call));
    question_text(q, "session", tern->session_id(call));
    question_bool(q, "tls", tern->is_tls(call));
    question_end(q);
    if (q->bad)
        return TERN_REJECT; /* longer than any password, or not UTF-8 */
    struct http_request r = request_of(c, c->url, q);
    r.content_type = "application/json";
    r.token = c->token.ptr;
    http_post(&r, &w->answer);
    if (w->answer.status == 403)
        return TERN_REJECT;
    if (w->answer.status != 200)
        return unsure(call, c->url.ptr, &w->answer, "expected 200 or 403");
    if (!answer_read(w->answer.body, w->answer.octets, login))
        return unsure(call, c->url.ptr, &w->answer, "expected an empty body or a JSON object");
    return TERN_ACCEPT;
}

static tern_verdict on_password(tern_call *call, const void *conf)
{
    const struct auth_http_conf *c = conf;
    struct auth_cache_key key = { c->realm, tern->auth_user(call), tern->auth_password(call), { "", 0 } };
    char login[QUESTION_LOGIN_OCTETS_MAX + 1] = "";

    if (c->cache_s > 0 && auth_cache_find(cache, &key, tern->now_s(call), login))
        return accept_as(call, login);
    struct work *w = malloc(sizeof(*w));
    if (w == NULL)
        return TERN_ERROR;
    tern_verdict verdict = ask(call, c, w, login);
    end_work(w);
    if (verdict != TERN_ACCEPT)
        return verdict;
    auth_cache_put(cache, &key, tern->now_s(call), c->cache_s, (tern_str){ login, strlen(login) });
    return accept_as(call, login);
}

/* ---- tokens ---- */

static bool is_same_user(tern_str said, const char *claimed)
{
    return said.len == 0 || (said.len == strlen(claimed) && strncasecmp(said.ptr, claimed, said.len) == 0);
}

static tern_verdict introspect(tern_call *call, const struct auth_http_conf *c, struct work *w, struct token *ret)
{
    struct question *q = &w->question;

    q->octets = 0;
    q->bad = false;
    question_form(q, "token", tern->auth_password(call));
    question_form(q, "token_type_hint", TERN_STR("access_token"));
    if (q->bad)
        return TERN_REJECT;
    struct http_request r = request_of(c, c->introspect, q);
    r.content_type = "application/x-www-form-urlencoded";
    r.user = c->client_id.ptr;
    r.password = c->client_secret.ptr;
    r.token = c->client_id.len == 0 ? c->token.ptr : "";
    http_post(&r, &w->answer);
    if (w->answer.status != 200)
        return unsure(call, c->introspect.ptr, &w->answer, "expected 200");
    switch (token_read(w->answer.body, w->answer.octets, c->user_claim.ptr, c->scope.ptr, tern->now_s(call), ret)) {
    case TOKEN_INACTIVE: return TERN_REJECT;
    case TOKEN_ACTIVE: return is_same_user(tern->auth_user(call), ret->login) ? TERN_ACCEPT : TERN_REJECT;
    case TOKEN_RUBBISH: break;
    }
    return unsure(call, c->introspect.ptr, &w->answer, "expected RFC 7662's active, and the user's claim");
}

static tern_verdict on_token(tern_call *call, const void *conf)
{
    const struct auth_http_conf *c = conf;
    struct auth_cache_key key = { c->realm, tern->auth_user(call), tern->auth_password(call), TERN_STR("token") };
    struct token token = { .expires_s = 0 };
    int64_t now = tern->now_s(call);

    if (c->cache_s > 0 && auth_cache_find(cache, &key, now, token.login))
        return accept_as(call, token.login);
    struct work *w = malloc(sizeof(*w));
    if (w == NULL)
        return TERN_ERROR;
    tern_verdict verdict = introspect(call, c, w, &token);
    end_work(w);
    if (verdict != TERN_ACCEPT)
        return verdict;
    uint64_t keep_s = c->cache_s;
    if (token.expires_s != 0 && (uint64_t)(token.expires_s - now) < keep_s)
        keep_s = (uint64_t)(token.expires_s - now);
    auth_cache_put(cache, &key, now, keep_s, (tern_str){ token.login, strlen(token.login) });
    return accept_as(call, token.login);
}

/* ---- options ---- */

static bool serves_password(const void *conf, const char *mechanism)
{
    (void)mechanism;
    return ((const struct auth_http_conf *)conf)->url.len > 0;
}

static bool serves_token(const void *conf, const char *mechanism)
{
    (void)mechanism;
    return ((const struct auth_http_conf *)conf)->introspect.len > 0;
}

static void check_url(struct tern_config *config, const char *key, tern_str url)
{
    const char *why = url.len > 0 ? http_url_trouble(url.ptr) : NULL;

    if (why != NULL)
        tern->config_error(config, key, "%s", why);
}

static void check_secret(struct tern_config *config, const char *key, tern_str secret)
{
    if (secret.len > 1024)
        tern->config_error(config, key, "has more than 1024 octets");
    for (size_t i = 0; i < secret.len; i++)
        if ((unsigned char)secret.ptr[i] <= ' ' || secret.ptr[i] == 0x7f) {
            tern->config_error(config, key, "has a blank or a control character in it");
            return;
        }
}

static int check(void *conf, struct tern_config *config)
{
    struct auth_http_conf *c = conf;

    if (c->url.len == 0 && c->introspect.len == 0)
        tern->config_error(config, NULL, "auth_http needs url (for passwords), introspect (for tokens), or both");
    check_url(config, "url", c->url);
    check_url(config, "introspect", c->introspect);
    check_secret(config, "token", c->token);
    if (c->introspect.len == 0 && (c->client_id.len > 0 || c->client_secret.len > 0 || c->scope.len > 0))
        tern->config_error(config, NULL, "client_id, client_secret and scope are for introspect, which is not given");
    if (c->user_claim.len == 0)
        tern->config_error(config, "user_claim", "expected the name of a claim");
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
    return cache != NULL ? http_init() : -ENOMEM;
}

static void fini(void *state)
{
    (void)state;
    http_fini();
    auth_cache_free(cache);
    cache = NULL;
}

static const struct tern_option options[] = {
    TERN_OPTION_STRING(struct auth_http_conf, url, "",
                       "Where user and password are posted; https:, or http: to localhost."),
    TERN_OPTION_STRING(struct auth_http_conf, introspect, "",
                       "Where tokens of XOAUTH2 and OAUTHBEARER are introspected (RFC 7662)."),
    TERN_OPTION_PATH_READ(struct auth_http_conf, ca_file, "",
                     "Certificates that sign the service's; default: the system's."),
    TERN_OPTION_SECRET(struct auth_http_conf, token, "", "Sent to the service as Authorization: Bearer."),
    TERN_OPTION_STRING(struct auth_http_conf, client_id, "", "Our name at introspect (Authorization: Basic)."),
    TERN_OPTION_SECRET(struct auth_http_conf, client_secret, "", "And the secret that belongs to it."),
    TERN_OPTION_STRING(struct auth_http_conf, scope, "", "A scope that a token must have."),
    TERN_OPTION_STRING(struct auth_http_conf, user_claim, "username", "What the answer to introspect calls the user."),
    TERN_OPTION_MS(struct auth_http_conf, request_timeout, "5s", 100, 60000, "Time for a whole request."),
    TERN_OPTION_SECONDS(struct auth_http_conf, cache, "1m", 0, 86400,
                        "Time for which a yes is not asked for again; 0: always asked."),
    TERN_OPTIONS_END,
};

static const char *const tokens[] = { "XOAUTH2", "OAUTHBEARER", NULL };
static const struct tern_hook hooks[] = {
    { TERN_HOOK(AUTH, on_password), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT | TERN_MAY_DEFER,
      .flags = TERN_BLOCKING, .auth_form = TERN_AUTH_VERIFY, .serves = serves_password },
    { TERN_HOOK(AUTH, on_token), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT | TERN_MAY_DEFER,
      .flags = TERN_BLOCKING, .auth_form = TERN_AUTH_VERIFY, .mechanisms = tokens, .serves = serves_token },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "auth_http", .summary = "Ask a web service who logs in.", .options = options, .hooks = hooks,
            .conf_size = sizeof(struct auth_http_conf), .init = init, .fini = fini, .check = check)
