/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.h - the server's own keys of the YAML file: everything but tables, policies,
 * profiles, transports and routes, which belong to module/policy.h and state/tables.h.
 */
#ifndef TERN_SERVER_CONF_H
#define TERN_SERVER_CONF_H

#include <tern/module.h>

#include "base/log.h"
#include "config/schema.h"
#include "config/yaml.h"
#include "server/load.h"
#include "module/engine_auth.h"
#include "server/bind.h"
#include "smtp/session.h"

#define LISTENERS_MAX      64
#define LISTENER_BINDS_MAX 64

enum listener_auth { LISTENER_AUTH_OFF, LISTENER_AUTH_ALLOWED, LISTENER_AUTH_REQUIRED };
enum listener_protocol { LISTENER_SMTP, LISTENER_LMTP, LISTENER_MILTER };

enum listener_vrfy { LISTENER_VRFY_NEUTRAL, LISTENER_VRFY_REFUSE, LISTENER_VRFY_POLICY };
enum listener_expn { LISTENER_EXPN_REFUSE, LISTENER_EXPN_POLICY };

struct listener_conf {
    struct slice name;
    struct tern_list bind;
    struct bind_address *binds;
    unsigned bind_count;
    tern_str socket_mode, socket_group; /* of unix sockets */
    tern_str policy;
    int protocol; /* enum listener_protocol */
    struct tern_list withhold; /* EHLO keywords */
    bool binarymime;
    unsigned withheld;         /* the same for smtp_session_options */
    const struct tern_cidrs *proxy; /* who must send a PROXY header */
    const struct tern_cidrs *xclient, *xforward, *etrn;
    int vrfy; /* enum listener_vrfy */
    int expn; /* enum listener_expn */
    int auth;     /* enum listener_auth */
    bool auth_plaintext;
    struct engine_auth_options auth_options; /* of this listener and of `auth:` */
    int tls;      /* enum smtp_tls */
    bool client_certificates;
    tern_str client_ca;
    struct place place;
};

struct limits_conf {
    unsigned command_line;       /* octets */
    unsigned data_line;
    uint64_t message_size;
    unsigned recipients, messages, errors, commands, received;
    unsigned sessions, sessions_per_address;
    unsigned groups;
    struct tern_rate connection_rate, message_rate, recipient_rate; /* per network; count 0: none */
    unsigned ipv4_mask, ipv6_mask;
    const struct tern_cidrs *rate_exempt;
    uint64_t memory;      /* octets; 0: half of what there is */
    unsigned descriptors; /* 0: what the process may have */
    uint64_t min_data_rate, min_data_window_s; /* octets a second; 0: any */
    unsigned errors_free;
    uint64_t error_delay_ms;
};

/* RFC 5321 4.5.3.2, the server's side. */
struct timeouts_conf {
    uint64_t command_s, line_s, data_start_s, data_block_s, proxy_s, tls_s, milter_s;
};

struct certificate_conf {
    tern_str cert, key;
};

enum tls_min_version { TLS_MIN_1_2, TLS_MIN_1_3 };

struct tls_conf {
    int min_version; /* enum tls_min_version */
    tern_str ciphers;
    uint64_t tickets_s, warn_before_s;
};

struct spool_conf {
    tern_str path;
    uint64_t segment_size, min_free, reserve;
    unsigned spares;
};

struct dns_conf {
    struct tern_list servers;
    uint64_t timeout_ms;
    unsigned tries, cache;
    tern_address *addresses;
    unsigned address_count;
};

enum log_to { LOG_TO_STDERR, LOG_TO_FILE, LOG_TO_SYSLOG };

struct log_conf {
    int level, format, to; /* to: enum log_to */
    tern_str file, decisions;
    uint64_t decisions_size;
    unsigned decisions_days;
};

struct retry_conf {
    uint64_t min_s, max_s, expire_s, expire_bounce_s, notify_delay_s;
    unsigned factor, jitter;
};

enum hold_then { HOLD_THEN_DISCARD, HOLD_THEN_BOUNCE };

struct hold_conf {
    uint64_t expire_s;
    int then; /* enum hold_then */
};

struct auth_conf {
    bool cram_md5;
    unsigned iterations;
    uint64_t delay_ms, delay_max_ms, remember_s;
};

struct kv_conf {
    tern_str provider;
    unsigned entries;
};

enum sandbox_wish { SANDBOX_OFF, SANDBOX_BEST_EFFORT, SANDBOX_REQUIRED };

struct server_conf {
    tern_str hostname;
    tern_str control;       /* unix socket; empty: none */
    bool control_given;     /* not by default below the spool */
    tern_str module_path;
    tern_str temp;          /* for big bodies, without a spool */
    unsigned loops;         /* 0: one per core */
    unsigned pool_threads;
    uint64_t drain_s, watchdog_s;
    bool soft_bounce, split, delivery;
    unsigned node;
    struct tern_records certificates;
    const struct yaml_node *certificates_node;
    struct tls_conf tls;
    int sandbox; /* enum sandbox_wish */
    struct tern_list sandbox_read, sandbox_write;
    struct spool_conf spool;
    struct limits_conf limits;
    struct load_limits load; /* of limits: */
    struct smtp_limits smtp_limits; /* likewise, as a session wants them */
    struct timeouts_conf timeouts;
    struct dns_conf dns;
    struct log_conf log;
    struct retry_conf retry;
    struct hold_conf hold;
    struct kv_conf kv;
    struct auth_conf auth;
    const struct yaml_node *kv_node;
    bool only_milters; /* no listener of another protocol: a spool need not be named */
    struct listener_conf *listeners;
    unsigned listener_count;
};

/* Fills *ret from the file's root; errors go to env->errors. Returns 0 or -EINVAL. */
int server_conf_parse(const struct schema_env *env, const struct yaml_node *root,
                      struct server_conf *ret);
/* For parsing `kv:` once more together with its provider's options. */
const struct tern_option *server_conf_kv_options(void);
/* Tables of options with their place in the file, for `tern help` and docs/config.md: ends with a NULL path. */
struct conf_section {
    const char *path; /* "" is the top level, else "limits", "listeners.NAME" */
    const struct tern_option *options;
    const char *doc;
};
const struct conf_section *server_conf_sections(void);

#endif
