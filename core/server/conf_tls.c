/* SPDX-License-Identifier: Apache-2.0 */
#include "server/conf_tls.h"

#include <errno.h>

static const char *const versions[] = { "1.2", "1.3", NULL };

const char *const conf_tls_modes[] = { "off", "starttls", "required", "implicit", NULL };

const struct tern_option conf_certificate_options[] = {
    TERN_OPTION_PATH_READ(struct certificate_conf, cert, NULL,
                     "PEM file: the certificate, then those that lead to its authority."),
    TERN_OPTION_PATH_READ(struct certificate_conf, key, NULL, "PEM file of its private key, not encrypted."),
    TERN_OPTIONS_END,
};

const struct tern_option conf_tls_options[] = {
    TERN_OPTION_ENUM(struct tls_conf, min_version, "1.2", versions, "The oldest version of TLS that is spoken."),
    TERN_OPTION_STRING(struct tls_conf, ciphers, "",
                       "Cipher suites of TLS 1.2, as OpenSSL writes them (openssl ciphers); default: OpenSSL's."),
    TERN_OPTION_SECONDS(struct tls_conf, tickets, "12h", 0, 604800,
                        "How often the keys of session tickets change; a session can be resumed for twice as long. "
                        "0: no resumption."),
    TERN_OPTION_SECONDS(struct tls_conf, warn_before, "14d", 0, 31536000,
                        "Warn of a certificate that expires within."),
    TERN_OPTIONS_END,
};

static int check_listener(const struct schema_env *env, const struct yaml_node *node, const struct server_conf *conf,
                          const struct listener_conf *l)
{
    const struct yaml_node *tls = yaml_get(node, "tls"), *asks = yaml_get(node, "client_certificates");
    const struct yaml_node *ca = yaml_get(node, "client_ca");
    int r = 0;

    if (l->tls != SMTP_TLS_OFF && conf->certificates.count == 0) {
        config_error_at(env->errors, &tls->place,
                        "tls: %s needs a certificate at the top level: certificates: [ { cert: FILE, key: FILE } ]",
                        conf_tls_modes[l->tls]);
        r = -EINVAL;
    }
    if (l->client_certificates && l->tls == SMTP_TLS_OFF) {
        config_error_at(env->errors, &asks->place, "client_certificates: needs tls: starttls, required or implicit");
        r = -EINVAL;
    }
    if (l->client_ca.len > 0 && !l->client_certificates) {
        config_error_at(env->errors, &ca->place, "client_ca: needs client_certificates: true");
        r = -EINVAL;
    }
    return r;
}

int conf_tls_check(const struct schema_env *env, const struct yaml_node *root, const struct server_conf *conf)
{
    const struct yaml_node *listeners = yaml_get(root, "listeners");
    bool used = false;
    int r = 0;

    for (unsigned i = 0; i < conf->listener_count; i++) {
        const struct listener_conf *l = &conf->listeners[i];
        used |= l->tls != SMTP_TLS_OFF;
        if (check_listener(env, yaml_get(listeners, l->name.ptr), conf, l) < 0)
            r = -EINVAL;
    }
    if (!used && conf->certificates.count > 0)
        config_warning_at(env->errors, &conf->certificates_node->place,
                          "certificates: no listener uses them; write tls: starttls to one");
    return r;
}
