/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_transport.c - transports: { name: { type: smtp | lmtp | MODULE, options } }.
 *
 * smtp and lmtp are there without being written, with their defaults. Any other type is the
 * name of the module that offers it.
 */
#include <stdio.h>
#include <string.h>

#include <sys/un.h>

#include "module/config_api.h"
#include "module/policy_internal.h"
#include "net/conn.h"
#include "sasl/client.h"
#include "tls/tls.h"

#define TLS_SESSIONS_MAX 1000 /* hosts of a transport whose TLS session is kept */
#define AUTH_TEXT_MAX 255 /* octets of a user or password */
#define NOT_PORT_25   "type: lmtp may not use port 25 (RFC 2033); 24 is usual"

static const struct tern_option auth_options[] = {
    TERN_OPTION_STRING(struct smtp_auth_conf, user, NULL, "Who we are there."),
    TERN_OPTION_SECRET(struct smtp_auth_conf, password, NULL,
                       "Its password: !file PATH or !env NAME."),
    TERN_OPTION_LIST(struct smtp_auth_conf, mechanisms, "[SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN]", 1, 4,
                     "What may be used; of these the first one offered is, in this order."),
    TERN_OPTIONS_END,
};

static const char *const tls_words[] = {
    [TRANSPORT_TLS_OFF] = "off",           [TRANSPORT_TLS_MAY] = "may",
    [TRANSPORT_TLS_REQUIRED] = "required", [TRANSPORT_TLS_VERIFY] = "verify",
    [TRANSPORT_TLS_VERIFY + 1] = NULL,
};

#define SMTP_OPTIONS(port_text, tls_text)                                                          \
    {                                                                                              \
        TERN_OPTION_LIST(struct smtp_transport_conf, to, "", 0, 16,                                \
                         "Fixed next hops, tried in order: host, host:port, [address]:port, "      \
                         "unix:/path. None: by MX."),                                              \
            TERN_OPTION_LIST(struct smtp_transport_conf, fallback, "", 0, 16,                      \
                             "Next hops tried when all others failed."),                           \
            TERN_OPTION_UINT(struct smtp_transport_conf, port, port_text, 1, 65535,                \
                             "The port where a next hop names none."),                             \
            TERN_OPTION_ADDRESS(struct smtp_transport_conf, source, "",                            \
                                "Local address to send from."),                                    \
            TERN_OPTION_STRING(struct smtp_transport_conf, helo, "",                               \
                               "The name given in EHLO; hostname: unless said."),                  \
            TERN_OPTION_UINT(struct smtp_transport_conf, connections_max, "20", 1, 1000,           \
                             "Connections to one site at once."),                                  \
            TERN_OPTION_UINT(struct smtp_transport_conf, rcpts_max, "100", 1, 1000,                \
                             "Recipients of one transaction (RFC 5321 4.5.3.1.8)."),               \
            TERN_OPTION_UINT(struct smtp_transport_conf, messages_max, "100", 1, 100000,           \
                             "Messages over one connection."),                                     \
            TERN_OPTION_MS(struct smtp_transport_conf, connect_timeout, "30s", 100, 600000,        \
                           "For a connection to be made."),                                        \
            TERN_OPTION_MS(struct smtp_transport_conf, command_timeout, "5m", 100, 3600000,        \
                           "For the reply to a command (RFC 5321 4.5.3.2)."),                      \
            TERN_OPTION_MS(struct smtp_transport_conf, data_timeout, "10m", 100, 3600000,          \
                           "For the reply to the final dot (RFC 5321 4.5.3.2.6)."),                \
            TERN_OPTION_MS(struct smtp_transport_conf, idle, "10s", 0, 600000,                     \
                           "How long a connection waits for the next message."),                   \
            TERN_OPTION_ENUM(struct smtp_transport_conf, tls, tls_text, tls_words,                 \
                             "off: never. may: where it is offered, with any certificate. "        \
                             "required: encrypted, with any certificate, or not at all. verify: "  \
                             "with a good certificate, or not at all. Unix sockets have none."),   \
            TERN_OPTION_BOOL(struct smtp_transport_conf, implicit, "false",                        \
                             "TLS from the first octet, as always on port 465."),                  \
            TERN_OPTION_PATH_READ(struct smtp_transport_conf, ca_file, "",                              \
                             "PEM file of those who may sign, for verify; the system's unless "    \
                             "said."),                                                             \
            TERN_OPTION_STRING(struct smtp_transport_conf, tls_name, "",                           \
                               "The name to ask for (SNI) and to verify; the next hop's unless "   \
                               "said."),                                                           \
            TERN_OPTION_MS(struct smtp_transport_conf, tls_timeout, "30s", 100, 600000,            \
                           "For a TLS handshake."),                                                \
            TERN_OPTION_RECORDS(struct smtp_transport_conf, auth, auth_options,                    \
                                struct smtp_auth_conf, 0, 1,                                       \
                                "User and password for AUTH, which then must succeed. Needs to."), \
            TERN_OPTION_BOOL(struct smtp_transport_conf, auth_plaintext, "false",                  \
                             "Lets PLAIN and LOGIN go without TLS, or where the certificate is "   \
                             "not good."),                                                         \
            TERN_OPTION_BOOL(struct smtp_transport_conf, chunking, "false",                        \
                             "BDAT instead of DATA for all mail where CHUNKING is offered; "       \
                             "binary mail needs it anyway (RFC 3030)."),                           \
            TERN_OPTION_BOOL(struct smtp_transport_conf, xforward, "false",                        \
                             "Tells a next hop that offers XFORWARD whose a mail is, for its "     \
                             "log: address and name of the client."),                              \
            TERN_OPTIONS_END,                                                                      \
    }

static const struct tern_option smtp_options[] = SMTP_OPTIONS("25", "may");
static const struct tern_option lmtp_options[] = SMTP_OPTIONS("24", "off");

struct module_transport_conf {
    uint64_t delivery_timeout_ms;
};
static const struct tern_option module_options[] = {
    TERN_OPTION_MS(struct module_transport_conf, delivery_timeout, "5m", 1000, 3600000,
                   "For one delivery by it, its own time-outs included; then its recipients are tried again later."),
    TERN_OPTIONS_END,
};

const struct tern_option *policy_transport_common(void)
{
    return module_options;
}

static const char *const builtin_types[] = { "smtp", "lmtp" };

static const struct tern_option *builtin_options(struct slice type)
{
    if (slice_equal(type, SLICE("smtp")))
        return smtp_options;
    return slice_equal(type, SLICE("lmtp")) ? lmtp_options : NULL;
}

const struct tern_option *policy_transport_options(struct slice type)
{
    return builtin_options(type);
}

const struct transport *policies_transport(const struct policies *policies, struct slice name)
{
    for (unsigned i = 0; i < policies->transport_count; i++)
        if (slice_equal(policies->transports[i].name, name))
            return &policies->transports[i];
    return NULL;
}

bool policies_has_transport(void *policies, struct slice name)
{
    return policies_transport(policies, name) != NULL;
}

static const struct tern_transport *module_transport(struct building *b,
                                                     const struct yaml_node *type)
{
    char text[SENTENCE_MAX];
    const struct tern_module *m = modules_get(b->out->modules, type->text.ptr, text, sizeof(text));

    if (m == NULL) {
        config_error_at(b->env->errors, &type->place, "type %s is neither smtp nor lmtp, and %s",
                        type->text.ptr, text);
        return NULL;
    }
    if (text[0] != '\0')
        config_warning_at(b->env->errors, &type->place, "%s", text);
    for (const struct tern_transport *const *t = m->transports; *t != NULL; t++)
        if (slice_equal(type->text, slice_cstr((*t)->type)))
            return *t;
    config_error_at(b->env->errors, &type->place, "module %s offers no transport of that type",
                    type->text.ptr);
    return NULL;
}

static void check_module(struct building *b, const struct transport *t, const struct yaml_node *map, void *conf)
{
    unsigned before = b->env->errors->errors;
    char name[128];
    struct tern_config config = { .arena = b->env->arena, .errors = b->env->errors, .step = name, .map = map,
                                  .place = t->place, .has_transport = policies_has_transport,
                                  .has_transport_arg = b->out, .modules = modules_of(b->out->modules) };

    (void)snprintf(name, sizeof(name), "transport %s", t->name.ptr);
    if (t->module->check != NULL && t->module->check(conf, &config) < 0 && b->env->errors->errors == before)
        config_api_error(&config, NULL, "its options were refused");
}

static bool read_port(struct slice text, unsigned *ret)
{
    uint64_t port;

    if (!slice_to_u64(text, &port) || port < 1 || port > 65535)
        return false;
    *ret = (unsigned)port;
    return true;
}

static bool is_host(struct slice text)
{
    bool fine = text.len > 0 && text.len <= 253; /* RFC 1035 2.3.4, without the final dot */

    for (size_t i = 0; i < text.len && fine; i++) {
        char c = ascii_lower(text.ptr[i]);
        fine = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
    }
    return fine;
}

/* host, host:port, [address]:port, unix:/path: what delivery/ will make of it. *ret_port: 0 if none is said. */
static bool read_hop(struct slice text, unsigned *ret_port)
{
    tern_address address;
    struct slice host = text, rest = { text.ptr, 0 };

    *ret_port = 0;
    if (slice_starts_nocase(text, SLICE("unix:")))
        return text.len > 6 && text.ptr[5] == '/' &&
               text.len - 5 < sizeof(((struct sockaddr_un *)0)->sun_path);
    if (net_address_parse(text, 0, &address)) {
        *ret_port = address.port;
        return true;
    }
    ptrdiff_t end = slice_find(text, text.len > 0 && text.ptr[0] == '[' ? ']' : ':');
    if (text.len > 0 && text.ptr[0] == '[') {
        if (end < 0)
            return false;
        host = slice_from(slice_head(text, (size_t)end), 1);
        rest = slice_from(text, (size_t)end + 1);
    } else if (end >= 0) {
        host = slice_head(text, (size_t)end);
        rest = slice_from(text, (size_t)end);
    }
    if (rest.len > 0 && (rest.ptr[0] != ':' || !read_port(slice_from(rest, 1), ret_port)))
        return false;
    return is_host(host) || net_address_parse(host, 0, &address);
}

static void check_hops(struct building *b, const struct yaml_node *map, const char *key,
                       struct tern_list list, bool lmtp)
{
    const struct yaml_node *node = yaml_get(map, key);

    for (size_t i = 0; node != NULL && i < list.count; i++) {
        unsigned port;
        if (!read_hop(slice_of(list.items[i]), &port))
            config_error_at(b->env->errors, &node->place,
                            "%s: \"%s\" is none of host, host:port, [address]:port, unix:/path",
                            key, list.items[i].ptr);
        else if (lmtp && port == 25)
            config_error_at(b->env->errors, &node->place, "%s: \"%s\": " NOT_PORT_25, key, list.items[i].ptr);
    }
}

static bool is_sayable(struct slice text)
{
    bool fine = text.len > 0 && text.len <= AUTH_TEXT_MAX;

    for (size_t i = 0; i < text.len && fine; i++)
        fine = (unsigned char)text.ptr[i] >= ' ' && text.ptr[i] != 0x7f;
    return fine;
}

static void check_auth(struct building *b, const struct yaml_node *map,
                       const struct smtp_transport_conf *conf)
{
    const struct yaml_node *node = yaml_get(map, "auth");
    const struct smtp_auth_conf *auth = conf->auth.items;

    if (conf->auth.count == 0)
        return;
    if (conf->to.count == 0)
        config_error_at(b->env->errors, &node->place,
                        "auth: needs to: the password is not for whatever host an MX names");
    if (!is_sayable(slice_of(auth->user)) || !is_sayable(slice_of(auth->password)))
        config_error_at(b->env->errors, &node->place,
                        "auth: user and password have 1 to %u octets each, without controls",
                        AUTH_TEXT_MAX);
    for (size_t i = 0; i < auth->mechanisms.count; i++)
        if (sasl_client_named(slice_of(auth->mechanisms.items[i])) == SASL_MECHANISM_COUNT)
            config_error_at(b->env->errors, &node->place,
                            "auth: mechanism %s is none of SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN",
                            auth->mechanisms.items[i].ptr);
}

static const struct place *place_of(const struct yaml_node *map, const char *key)
{
    const struct yaml_node *node = yaml_get(map, key);

    return node != NULL ? &node->place : &map->place;
}

/* A module that has a time-out of its own cannot get to it: its recipients would be tried again for ever. */
static void warn_of_timeout(struct building *b, const struct transport *t, const struct yaml_node *map,
                            const char *conf)
{
    for (const struct tern_option *o = t->module->options; o != NULL && o->size != 0; o = schema_next(o)) {
        uint64_t own;
        if (o->type != TERN_TYPE_MS || strcmp(o->key, "timeout") != 0)
            continue;
        memcpy(&own, conf + o->offset, sizeof(own));
        if (own >= t->timeout_ms)
            config_warning_at(b->env->errors, place_of(map, "delivery_timeout"),
                              "transport %s: its timeout (%llu s) is not below delivery_timeout (%llu s): what takes "
                              "longer is given up without its outcome and tried again", t->name.ptr,
                              (unsigned long long)own / 1000, (unsigned long long)t->timeout_ms / 1000);
    }
}

static void warn_of_passwords(struct building *b, const struct yaml_node *map,
                              const struct smtp_transport_conf *conf)
{
    bool any_plain = conf->auth_plaintext;

    if (conf->auth.count > 0 && conf->tls == TRANSPORT_TLS_VERIFY)
        return;
    for (size_t i = 0; i < conf->auth.count; i++) {
        const struct smtp_auth_conf *auth = conf->auth.items;
        for (size_t k = 0; k < auth->mechanisms.count; k++)
            any_plain |= !slice_starts_nocase(slice_of(auth->mechanisms.items[k]), SLICE("SCRAM-"));
    }
    if (conf->auth.count > 0 && any_plain)
        config_warning_at(b->env->errors, place_of(map, "auth"),
                          "auth: without tls: verify whoever stands in between can have the password");
}

static struct tls_client *check_tls(struct building *b, const struct yaml_node *map,
                                    const struct smtp_transport_conf *conf)
{
    struct config_errors *errors = b->env->errors;
    struct tls_client_options options = {
        .verify = true,
        .ca_file = conf->ca_file.len > 0 ? conf->ca_file.ptr : NULL,
        .version_min = TLS_VERSION_1_2,
        .sessions_max = TLS_SESSIONS_MAX,
    };
    char error[TLS_ERROR_OCTETS] = "";

    if (conf->implicit && conf->tls == TRANSPORT_TLS_OFF)
        config_error_at(errors, place_of(map, "implicit"), "implicit: true means TLS, and tls: is off");
    if (conf->tls_name.len > 0 && !is_host(slice_of(conf->tls_name)))
        config_error_at(errors, place_of(map, "tls_name"), "tls_name: \"%s\" is no host name",
                        conf->tls_name.ptr);
    if (conf->ca_file.len > 0 && conf->tls != TRANSPORT_TLS_VERIFY)
        config_error_at(errors, place_of(map, "ca_file"), "ca_file: is for tls: verify only");
    if (conf->tls != TRANSPORT_TLS_VERIFY)
        return NULL;
    struct tls_client *client = tls_client_new(&options, error);
    if (client == NULL)
        config_error_at(errors, place_of(map, "ca_file"), "tls: verify: %s", error);
    return client;
}

static struct metric *took_metric(const char *name)
{
    char labels[256];

    (void)snprintf(labels, sizeof(labels), "transport=\"%s\"", strpbrk(name, "\"\\\n") == NULL ? name : "?");
    return metric_histogram_slow("tern_delivery_seconds", labels,
                                 "From accept to delivery of a recipient, by transport.");
}

void transports_free(struct policies *policies)
{
    for (unsigned i = 0; i < policies->transport_count; i++)
        tls_client_unref(policies->transports[i].tls);
}

static void transport_build(struct building *b, const struct yaml_node *name,
                            const struct yaml_node *map)
{
    static const char *const reserved[] = { "type", NULL };
    const struct yaml_node *type = map->kind == YAML_MAP ? yaml_get(map, "type") : NULL;
    struct schema_env env;

    if (type == NULL || type->kind != YAML_SCALAR) {
        config_error_at(
            b->env->errors, &map->place,
            "transport %s: expected a map with type: smtp, lmtp or the name of a module",
            name->text.ptr);
        return;
    }
    struct transport *t = &b->out->transports[b->out->transport_count];
    *t = (struct transport){ .name = name->text, .type = type->text, .place = name->place,
                             .took = took_metric(name->text.ptr) };
    const struct tern_option *options = builtin_options(type->text);
    size_t octets = sizeof(struct smtp_transport_conf);
    if (options == NULL) {
        t->module = module_transport(b, type);
        if (t->module == NULL)
            return;
        options = t->module->options;
        octets = t->module->conf_size;
    }
    void *conf = arena_zalloc(b->env->arena, octets + 1);
    policy_schema_env(b->out, b->env->arena, b->env->errors, &env);
    unsigned wrong = b->env->errors->errors;
    /* After an error the name still counts, so that routes: does not complain of it too. */
    struct module_transport_conf common = { 0 };
    bool is_module = t->module != NULL;
    (void)schema_parse(&env, map, name->place, options, conf, is_module ? module_options : NULL,
                       is_module ? &common : NULL, reserved);
    t->timeout_ms = common.delivery_timeout_ms;
    if (t->module != NULL && b->env->errors->errors == wrong) {
        check_module(b, t, map, conf);
        warn_of_timeout(b, t, map, conf);
    }
    if (t->module == NULL) {
        const struct smtp_transport_conf *c = conf;

        bool lmtp = slice_equal(type->text, SLICE("lmtp"));

        if (lmtp && c->port == 25)
            config_error_at(b->env->errors, &yaml_get(map, "port")->place, "port: " NOT_PORT_25);
        check_hops(b, map, "to", c->to, lmtp);
        check_hops(b, map, "fallback", c->fallback, lmtp);
        unsigned before = b->env->errors->errors;
        check_auth(b, map, c);
        if (b->env->errors->errors == before)
            warn_of_passwords(b, map, c);
        t->tls = check_tls(b, map, c);
    }
    t->conf = conf;
    b->out->transport_count++;
}

/* smtp and lmtp under their own names, unless those are taken. */
static void add_builtin(struct building *b, const char *type)
{
    struct schema_env env;
    struct place nowhere = { "built-in", 0, 0 };
    void *conf = arena_zalloc(b->env->arena, sizeof(struct smtp_transport_conf));

    if (policies_transport(b->out, slice_cstr(type)) != NULL)
        return;
    policy_schema_env(b->out, b->env->arena, b->env->errors, &env);
    (void)schema_parse(&env, NULL, nowhere, builtin_options(slice_cstr(type)), conf, NULL, NULL,
                       NULL);
    b->out->transports[b->out->transport_count++] = (struct transport){
        .name = slice_cstr(type), .type = slice_cstr(type), .conf = conf, .place = nowhere,
        .took = took_metric(type)
    };
}

void transports_build(struct building *b)
{
    const struct yaml_node *map = yaml_get(b->env->root, "transports");
    unsigned count = map != NULL && map->kind == YAML_MAP ? map->count : 0;

    if (map != NULL && map->kind != YAML_MAP)
        config_error_at(b->env->errors, &map->place,
                        "transports: expected a map of transports by name");
    if (count > TRANSPORTS_MAX) {
        config_error_at(b->env->errors, &map->place, "transports: more than %u", TRANSPORTS_MAX);
        count = TRANSPORTS_MAX;
    }
    b->out->transports = arena_zalloc(b->env->arena, (count + 2) * sizeof(struct transport));
    for (unsigned i = 0; i < count; i++)
        transport_build(b, map->keys[i], map->items[i]);
    for (size_t i = 0; i < sizeof(builtin_types) / sizeof(builtin_types[0]); i++)
        add_builtin(b, builtin_types[i]);
}
