/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_dovecot - lets Dovecot's auth server decide who logs in, by its auth client socket.
 *
 * The step owns no mechanism: what the client says goes to Dovecot and back, so that any mechanism works that
 * both know. No thread waits for it: one connection serves all sessions (link.h).
 *
 * Never a yes without Dovecot's OK to this exchange; whatever else comes is a no or "could not find out".
 *
 * Source: Dovecot's page "Authentication Protocol v1.2".
 */
#include <tern/module.h>

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "link.h"

static const struct tern_api *tern;

struct auth_dovecot_conf {
    tern_str socket, service;
    struct tern_list mechanisms;
    struct link *link; /* set by check() */
};

static void on_response(tern_call *call, const void *conf, tern_str response);

/* The exchange is over for this call, whatever Dovecot may still say. */
static void let_go(tern_call *call)
{
    struct exchange *x = *tern->slot(call);

    *tern->slot(call) = NULL;
    if (x != NULL)
        link_end(x);
}

static void finish(tern_call *call, tern_verdict verdict)
{
    let_go(call);
    tern->complete(call, verdict);
}

static void on_answer(tern_call *call, const void *conf)
{
    struct exchange *x = *tern->slot(call);
    tern_str text;

    (void)conf;
    if (x == NULL)
        return;
    switch (link_take(x, call, &text)) {
    case LINK_NONE: break;
    case LINK_YES: finish(call, tern->auth_login(call, text) == 0 ? TERN_ACCEPT : TERN_ERROR); break;
    case LINK_NO: finish(call, TERN_REJECT); break;
    case LINK_MORE:
        if (tern->auth_challenge(call, text, on_response) != TERN_WAIT)
            finish(call, TERN_ERROR);
        break;
    case LINK_FAILED:
        tern->note(call, "dovecot", text);
        finish(call, TERN_DEFER);
        break;
    }
}

static void on_response(tern_call *call, const void *conf, tern_str response)
{
    struct exchange *x = *tern->slot(call);

    (void)conf;
    if (x != NULL && !link_continue(x, response)) {
        tern->note(call, "dovecot", TERN_STR("the answer could not be sent"));
        finish(call, TERN_DEFER);
    }
}

static void on_abort(tern_call *call, const void *conf)
{
    (void)conf;
    let_go(call);
}

static tern_verdict on_auth(tern_call *call, const void *conf)
{
    const struct auth_dovecot_conf *c = conf;
    tern_str response = tern->auth_response(call);
    char parameters[256];
    const char *why;

    /* All of it is ours: the service was checked, an address is digits. */
    (void)snprintf(parameters, sizeof(parameters), "service=%s%s%s%s", c->service.ptr,
                   tern->is_tls(call) ? "\tsecured" : "", tern->client_address(call)->family != 0 ? "\trip=" : "",
                   tern->client_address(call)->family != 0 ? tern->client_address_text(call).ptr : "");
    struct exchange *x =
        link_begin(c->link, call, on_answer, tern->auth_mechanism(call).ptr, parameters, response, &why);
    if (x == NULL) {
        tern->note(call, "dovecot", (tern_str){ why, strlen(why) });
        return TERN_DEFER;
    }
    *tern->slot(call) = x;
    return TERN_WAIT;
}

/* ---- options ---- */

static const char *const mechanisms[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "DIGEST-MD5",
                                          "XOAUTH2", "OAUTHBEARER", "GSSAPI", "NTLM", NULL };

static bool serves(const void *conf, const char *mechanism)
{
    const struct auth_dovecot_conf *c = conf;

    for (size_t i = 0; i < c->mechanisms.count; i++)
        if (strcmp(c->mechanisms.items[i].ptr, mechanism) == 0)
            return true;
    return false;
}

static bool is_known(tern_str name)
{
    for (const char *const *m = mechanisms; *m != NULL; m++)
        if (strcmp(*m, name.ptr) == 0)
            return true;
    return false;
}

static int check(void *conf, struct tern_config *config)
{
    struct auth_dovecot_conf *c = conf;
    struct sockaddr_un address;

    for (size_t i = 0; i < c->mechanisms.count; i++)
        if (!is_known(c->mechanisms.items[i]))
            tern->config_error(config, "mechanisms",
                               "\"%s\" is none of PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5, DIGEST-MD5, "
                               "XOAUTH2, OAUTHBEARER, GSSAPI, NTLM", c->mechanisms.items[i].ptr);
    if (c->service.len == 0 || c->service.len > 32 ||
        strspn(c->service.ptr, "abcdefghijklmnopqrstuvwxyz0123456789-_") != c->service.len)
        tern->config_error(config, "service", "expected 1 to 32 of a-z, 0-9, - and _");
    if (c->socket.len >= sizeof(address.sun_path)) {
        tern->config_error(config, "socket", "a path of a socket has at most %zu octets", sizeof(address.sun_path) - 1);
        return 0;
    }
    c->link = link_get(tern, c->socket.ptr);
    if (c->link == NULL)
        tern->config_error(config, "socket", "more than %d auth servers", LINKS_MAX);
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return sodium_init() < 0 ? -EIO : 0;
}

static void fini(void *state)
{
    (void)state;
    link_end_all();
}

static const struct tern_option options[] = {
    TERN_OPTION_PATH_READ(struct auth_dovecot_conf, socket, "/run/dovecot/auth-client",
                          "Dovecot's auth client socket."),
    TERN_OPTION_LIST(struct auth_dovecot_conf, mechanisms, "[PLAIN, LOGIN]", 1, 10,
                     "What clients are offered; Dovecot must have them in its auth_mechanisms."),
    TERN_OPTION_STRING(struct auth_dovecot_conf, service, "smtp", "The service that Dovecot is told."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(AUTH, on_auth), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT | TERN_MAY_DEFER, .on_abort = on_abort,
      .auth_form = TERN_AUTH_EXCHANGE, .mechanisms = mechanisms, .serves = serves },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "auth_dovecot", .summary = "Ask Dovecot's auth server who logs in.", .options = options,
            .hooks = hooks, .conf_size = sizeof(struct auth_dovecot_conf), .init = init, .fini = fini, .check = check)
