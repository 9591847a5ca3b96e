/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.c - tables of the server's options and what they fill.
 *
 * A key of its own for each limit, with the RFC that says how low it may go.
 */
#include "server/conf.h"

#include <errno.h>
#include <unistd.h>

#include "mime/domain.h"
#include "net/conn.h"
#include "server/conf_tls.h"
#include "smtp/params.h"

static const char *const sandboxes[] = { "off", "best-effort", "required", NULL };
static const char *const log_levels[] = { "error", "warning", "info", "debug", NULL };
static const char *const vrfys[] = { "neutral", "refuse", "policy", NULL };
static const char *const expns[] = { "refuse", "policy", NULL };
static const char *const hold_thens[] = { "discard", "bounce", NULL };
static const char *const log_targets[] = { "stderr", "file", "syslog", NULL };
static const char *const log_formats[] = { "text", "json", NULL };

static const char *const listener_auths[] = { "off", "allowed", "required", NULL };
static const char *const protocols[] = { "smtp", "lmtp", "milter", NULL };

static const struct tern_option top_options[] = {
    TERN_OPTION_STRING(struct server_conf, hostname, "",
                       "Name in the banner, in EHLO and in Received; default: the machine's name."),
    TERN_OPTION_PATH(struct server_conf, control, "",
                     "Unix socket for tern queue, reload, why and /metrics; empty: <spool>/control."),
    TERN_OPTION_PATH_READ(struct server_conf, module_path, "",
                     "Folder of the modules; default: where they were installed."),
    TERN_OPTION_PATH(struct server_conf, temp, "",
                     "Folder for mails above 1 MB while tern milter looks at them; default: /var/tmp. tern serve uses "
                     "its spool."),
    TERN_OPTION_UINT(struct server_conf, loops, "0", 0, 64,
                     "Threads that serve sessions; 0: one per core."),
    TERN_OPTION_UINT(struct server_conf, pool_threads, "16", 1, 256,
                     "Threads for BLOCKING steps and deliveries of modules. A step takes half of them, and 8 at most."),
    TERN_OPTION_SECONDS(struct server_conf, drain, "30s", 0, 3600,
                        "How long sessions may go on after a stop or a reload."),
    TERN_OPTION_SECONDS(struct server_conf, watchdog, "10s", 0, 3600,
                        "A loop that hangs for longer ends the worker, which is started again; time in which it was "
                        "stopped or waited for a processor does not count; 0: never."),
    TERN_OPTION_BOOL(struct server_conf, soft_bounce, "false",
                     "Turn every permanent refusal and bounce into a temporary one."),
    TERN_OPTION_BOOL(struct server_conf, split, "true",
                     "Put off a recipient whose policy differs from those before it (452 4.5.3), so "
                     "that each message has one policy."),
    TERN_OPTION_RECORDS(struct server_conf, certificates, conf_certificate_options, struct certificate_conf, 0, 10000,
                        "Certificates and their keys, for listeners with tls."),
    TERN_OPTION_BOOL(struct server_conf, delivery, "true",
                     "Deliver what is queued; false keeps everything in the queue."),
    TERN_OPTION_ENUM(struct server_conf, sandbox, "best-effort", sandboxes,
                     "Fence the worker with Landlock and seccomp: off, as far as the kernel can, or not start"
                     " without."),
    TERN_OPTION_LIST(struct server_conf, sandbox_read, "", 0, 1000,
                     "Further folders that modules and trusted scripts may read."),
    TERN_OPTION_LIST(struct server_conf, sandbox_write, "", 0, 1000,
                     "Further folders that modules and trusted scripts may write to."),
    TERN_OPTION_UINT(struct server_conf, node, "0", 0, 255,
                     "Number of this server in queue ids, when several share a name."),
    TERN_OPTIONS_END,
};

static const struct tern_option spool_options[] = {
    TERN_OPTION_PATH(struct spool_conf, path, NULL, "Folder of the queue; owned by Tern alone."),
    TERN_OPTION_SIZE(struct spool_conf, segment_size, "64MB", 65536, 1 << 30,
                     "Size of one file of the log."),
    TERN_OPTION_SIZE(struct spool_conf, min_free, "128MB", 0, 0,
                     "Below this much free space MAIL gets 452 4.3.1."),
    TERN_OPTION_SIZE(struct spool_conf, reserve, "8MB", 0, 0,
                     "Kept back so that deliveries can still be written down on a full disk."),
    TERN_OPTION_UINT(struct spool_conf, spares, "3", 1, 64,
                     "Finished files kept to be written over: syncing those is cheaper."),
    TERN_OPTIONS_END,
};

static const struct tern_option limits_options[] = {
    TERN_OPTION_UINT(struct limits_conf, command_line, "2048", 1200, 32768,
                     "Octets of a command line (RFC 5321 4.5.3.1.4: at least 512, and room for "
                     "the parameters of each extension: RFC 3461 5.4)."),
    TERN_OPTION_UINT(struct limits_conf, data_line, "65536", 1000, 1048576,
                     "Octets of a line of the message (RFC 5321 4.5.3.1.6: at least 1000)."),
    TERN_OPTION_SIZE(struct limits_conf, message_size, "50MB", 65536, 0,
                     "Octets of a message, announced by SIZE (RFC 1870; RFC 5321 4.5.3.1.7: at least 64 KB)."),
    TERN_OPTION_UINT(struct limits_conf, recipients, "1000", 100, 100000,
                     "Recipients of a message (RFC 5321 4.5.3.1.8: at least 100)."),
    TERN_OPTION_UINT(struct limits_conf, messages, "1000", 0, 1000000,
                     "Messages in one session; 0: no limit (RFC 5321 4.5.3.1)."),
    TERN_OPTION_UINT(struct limits_conf, errors, "20", 1, 10000,
                     "Refused commands before 421 (RFC 5321 4.3.2 allows it)."),
    TERN_OPTION_UINT(struct limits_conf, commands, "1000", 10, 1000000,
                     "Commands without a message in between before 421 (RFC 5321 4.5.3.1)."),
    TERN_OPTION_UINT(struct limits_conf, received, "100", 30, 1000,
                     "Received fields before a message counts as looping (RFC 5321 6.3: at least 100)."),
    TERN_OPTION_UINT(struct limits_conf, sessions, "5000", 1, 1000000,
                     "Sessions at once, in all; more get 421 4.3.2 (RFC 5321 7.8)."),
    TERN_OPTION_UINT(struct limits_conf, sessions_per_address, "50", 1, 1000000,
                     "Sessions at once from one network (ipv4_mask, ipv6_mask); more get 421 4.7.0 (RFC 5321 7.8)."),
    TERN_OPTION_RATE(struct limits_conf, connection_rate, "",
                     "Connections of one network, such as 60/1m; more get 421 4.7.0. Default: any number."),
    TERN_OPTION_RATE(struct limits_conf, message_rate, "",
                     "MAIL commands of one network; more get 450 4.7.1. Default: any number."),
    TERN_OPTION_RATE(struct limits_conf, recipient_rate, "",
                     "RCPT commands of one network, known recipients or not; more get 450 4.7.1. Default: any number."),
    TERN_OPTION_UINT(struct limits_conf, ipv4_mask, "32", 8, 32, "Bits of an IPv4 address that make a network."),
    TERN_OPTION_UINT(struct limits_conf, ipv6_mask, "64", 16, 128, "Bits of an IPv6 address that make a network."),
    TERN_OPTION_CIDRS(struct limits_conf, rate_exempt, "", "Clients to whom the three rates do not apply."),
    TERN_OPTION_SIZE(struct limits_conf, memory, "0", 0, 0,
                     "Memory of the worker; above it new sessions get 421 4.3.2 and new messages 452 4.3.1; 0: half "
                     "of the machine's, or of its container's."),
    TERN_OPTION_UINT(struct limits_conf, descriptors, "0", 0, 100000000,
                     "Descriptors of the worker, an eighth of them kept for queue and deliveries; above it as for "
                     "memory; 0: what the process may have."),
    TERN_OPTION_SIZE(struct limits_conf, min_data_rate, "20", 0, 1 << 30,
                     "Octets a second that a client must send of a message, by DATA or in chunks of BDAT (with the "
                     "time between them), on average; 421 4.4.2 if not; 0: any."),
    TERN_OPTION_SECONDS(struct limits_conf, min_data_window, "1m", 1, 3600,
                        "Time over which min_data_rate is averaged."),
    TERN_OPTION_UINT(struct limits_conf, errors_free, "10", 0, 10000,
                     "Refused commands of a session before it is slowed down."),
    TERN_OPTION_MS(struct limits_conf, error_delay, "1s", 0, 60000,
                   "Wait behind the first refused command that is not free, twice as long behind the second, and so "
                   "on up to ten times; 0: none."),
    TERN_OPTION_UINT(struct limits_conf, groups, "16", 1, 16,
                     "Recipient groups of a message with split: false."),
    TERN_OPTIONS_END,
};

static const struct tern_option timeouts_options[] = {
    TERN_OPTION_SECONDS(struct timeouts_conf, command, "5m", 1, 3600,
                        "Wait for the next command (RFC 5321 4.5.3.2.7: 5 minutes)."),
    TERN_OPTION_SECONDS(struct timeouts_conf, line, "1m", 1, 3600,
                        "Wait for the end of a command line that has begun."),
    TERN_OPTION_SECONDS(struct timeouts_conf, data_start, "2m", 1, 3600,
                        "Wait for the first octet after 354 (RFC 5321 4.5.3.2.4: 2 minutes)."),
    TERN_OPTION_SECONDS(struct timeouts_conf, data_block, "3m", 1, 3600,
                        "Wait for more of the message (RFC 5321 4.5.3.2.5: 3 minutes)."),
    TERN_OPTION_SECONDS(struct timeouts_conf, proxy, "5s", 1, 3600, "Wait for the PROXY header of a proxy."),
    TERN_OPTION_SECONDS(struct timeouts_conf, tls, "60s", 1, 3600, "Wait for the handshake of TLS, in all."),
    TERN_OPTION_SECONDS(struct timeouts_conf, milter, "2h", 1, 86400,
                        "Wait for the next packet of an MTA: as long as it lets its client be silent, and longer."),
    TERN_OPTIONS_END,
};

static const struct tern_option dns_options[] = {
    TERN_OPTION_LIST(struct dns_conf, servers, "", 0, 8,
                     "Resolvers, address or address:port; default: /etc/resolv.conf."),
    TERN_OPTION_MS(struct dns_conf, timeout, "3s", 50, 60000, "Wait for one answer."),
    TERN_OPTION_UINT(struct dns_conf, tries, "3", 1, 10, "Tries for a question."),
    TERN_OPTION_UINT(struct dns_conf, cache, "10000", 0, 10000000, "Answers kept by each loop."),
    TERN_OPTIONS_END,
};

static const struct tern_option log_options[] = {
    TERN_OPTION_ENUM(struct log_conf, level, "info", log_levels, "The least important line written."),
    TERN_OPTION_ENUM(struct log_conf, format, "text", log_formats, "Lines as text or JSON."),
    TERN_OPTION_ENUM(struct log_conf, to, "stderr", log_targets,
                     "Where the lines go; to the journal of systemd: stderr. With `file:` it is file."),
    TERN_OPTION_PATH(struct log_conf, file, "", "Log file; implies `to: file`."),
    TERN_OPTION_PATH(struct log_conf, decisions, "",
                     "Folder of decision records, one file a day; default: <spool>/decisions."),
    TERN_OPTION_SIZE(struct log_conf, decisions_size, "1GB", 65536, 0,
                     "All decision records together; the oldest day goes first."),
    TERN_OPTION_UINT(struct log_conf, decisions_days, "30", 1, 3650, "Days of decision records kept."),
    TERN_OPTIONS_END,
};

static const struct tern_option retry_options[] = {
    TERN_OPTION_SECONDS(struct retry_conf, min, "5m", 1, 86400, "Wait after the first failed attempt."),
    TERN_OPTION_SECONDS(struct retry_conf, max, "4h", 1, 604800, "The longest wait."),
    TERN_OPTION_UINT(struct retry_conf, factor, "150", 100, 1000, "Each wait in percent of the one before."),
    TERN_OPTION_UINT(struct retry_conf, jitter, "20", 0, 100, "Waits vary by so many percent."),
    TERN_OPTION_SECONDS(struct retry_conf, expire, "5d", 1, 2592000, "Give up and bounce after."),
    TERN_OPTION_SECONDS(struct retry_conf, expire_bounce, "2d", 1, 2592000, "Give up a bounce after."),
    TERN_OPTION_SECONDS(struct retry_conf, notify_delay, "4h", 1, 2592000,
                        "Tell a sender who asked for it (NOTIFY=DELAY, RFC 3461) of a delay after."),
    TERN_OPTIONS_END,
};

static const struct tern_option hold_options[] = {
    TERN_OPTION_SECONDS(struct hold_conf, expire, "30d", 1, 31536000,
                        "How long a held message waits for somebody to release it."),
    TERN_OPTION_ENUM(struct hold_conf, then, "discard", hold_thens,
                     "What then becomes of it: discard it, or bounce it to its sender."),
    TERN_OPTIONS_END,
};

static const struct tern_option auth_options[] = {
    TERN_OPTION_BOOL(struct auth_conf, cram_md5, "false",
                     "Offer CRAM-MD5 where a step knows passwords in clear; it is obsolete (RFC 6331)."),
    TERN_OPTION_UINT(struct auth_conf, iterations, "4096", 4096, 1000000,
                     "SCRAM: rounds for keys made of a password in clear, and for users that do not exist."),
    TERN_OPTION_MS(struct auth_conf, delay, "1s", 0, 60000,
                   "Wait before the first refusal of an address or user; each one more doubles it."),
    TERN_OPTION_MS(struct auth_conf, delay_max, "30s", 0, 300000,
                   "The longest wait before a refusal; several at once wait one behind the other."),
    TERN_OPTION_SECONDS(struct auth_conf, remember, "15m", 1, 86400,
                        "How long after the first failure the count begins anew."),
    TERN_OPTIONS_END,
};

static const struct tern_option kv_options[] = {
    TERN_OPTION_STRING(struct kv_conf, provider, "memory",
                       "memory, or a module that keeps entries over a restart: kv_lmdb."),
    TERN_OPTION_UINT(struct kv_conf, entries, "1000000", 1000, 1000000000, "Entries kept in memory."),
    TERN_OPTIONS_END,
};

static const struct tern_option listener_options[] = {
    TERN_OPTION_LIST(struct listener_conf, bind, NULL, 1, LISTENER_BINDS_MAX,
                     "Addresses with port: \"0.0.0.0:25\", \"[::]:25\"; or unix sockets: \"unix:/run/tern/lmtp\", "
                     "as root below a folder of `sockets` in supervisor.conf."),
    TERN_OPTION_STRING(struct listener_conf, socket_mode, "0660", "The mode of unix sockets: who may connect."),
    TERN_OPTION_STRING(struct listener_conf, socket_group, "",
                       "The group of unix sockets. None: that of the user the worker runs as."),
    TERN_OPTION_STRING(struct listener_conf, policy, NULL, "Name of the policy of its sessions."),
    TERN_OPTION_ENUM(struct listener_conf, auth, "allowed", listener_auths,
                     "AUTH: off; allowed, where the policy has steps for it; or required before MAIL."),
    TERN_OPTION_BOOL(struct listener_conf, auth_plaintext, "false",
                     "Let PLAIN and LOGIN be used without TLS, too."),
    TERN_OPTION_ENUM(struct listener_conf, protocol, "smtp", protocols,
                     "smtp; lmtp (RFC 2033): LHLO, and a reply for each recipient behind the message; or milter: a "
                     "Postfix or Sendmail asks the policy and delivers itself."),
    TERN_OPTION_LIST(struct listener_conf, withhold, "", 0, 32,
                     "Extensions that are not announced here, and not taken: [CHUNKING, DSN]."),
    TERN_OPTION_BOOL(struct listener_conf, binarymime, "false",
                     "Take BODY=BINARYMIME (RFC 3030): what the next hop cannot take bounces."),
    TERN_OPTION_CIDRS(struct listener_conf, proxy, "",
                      "Proxies: connections from there must begin with a PROXY header (version 1 or 2), which names "
                      "the client. All others are clients themselves."),
    TERN_OPTION_CIDRS(struct listener_conf, xclient, "",
                      "Clients that may speak for others by XCLIENT: set their address, name and login."),
    TERN_OPTION_CIDRS(struct listener_conf, xforward, "",
                      "Clients that may tell by XFORWARD whose a mail was on an earlier hop, for the log."),
    TERN_OPTION_ENUM(struct listener_conf, tls, "off", conf_tls_modes,
                     "off; starttls: offered; required: and 530 to MAIL before it; implicit: from the first octet, "
                     "as on port 465."),
    TERN_OPTION_BOOL(struct listener_conf, client_certificates, "false",
                     "Ask clients for a certificate. None or any other is no reason to refuse; steps see what it was."),
    TERN_OPTION_PATH(struct listener_conf, client_ca, "",
                     "PEM file of the authorities whose certificates of clients count as verified."),
    TERN_OPTION_CIDRS(struct listener_conf, etrn, "",
                      "Clients that may have the mail for a domain tried at once by ETRN (RFC 1985)."),
    TERN_OPTION_ENUM(struct listener_conf, vrfy, "neutral", vrfys,
                     "neutral: VRFY is answered 252 whatever it asks for; refuse: 502; policy: the steps of hook vrfy "
                     "are asked, and it is 252 where none of them knows."),
    TERN_OPTION_ENUM(struct listener_conf, expn, "refuse", expns,
                     "refuse: EXPN is answered 502; policy: the steps of hook vrfy are asked, and EHLO names EXPN."),
    TERN_OPTIONS_END,
};

static const struct conf_section sections[] = {
    { "", top_options, "Top level" },
    { "spool", spool_options, "The queue; a path alone is enough" },
    { "listeners.NAME", listener_options, "Where clients connect" },
    { "limits", limits_options, "What one client may ask of us" },
    { "timeouts", timeouts_options, "How long a client may keep us waiting" },
    { "tls", conf_tls_options, "TLS of all listeners" },
    { "dns", dns_options, "The resolver" },
    { "log", log_options, "Log and decision records" },
    { "retry", retry_options, "When a deferred recipient is tried again" },
    { "hold", hold_options, "What becomes of held messages that nobody releases" },
    { "auth", auth_options, "Logging in: what is the same for all listeners" },
    { "kv", kv_options, "Where greylisting and limits remember; further keys are the provider's" },
    { NULL, NULL, NULL },
};

const struct conf_section *server_conf_sections(void)
{
    return sections;
}

/* Keys of the top level that are maps of their own, or another folder's. */
static const char *const top_reserved[] = {
    "spool",    "listeners", "limits",      "timeouts",   "dns",    "log",    "retry",
    "hold",     "kv",       "tables",    "policies",    "profiles",   "profile_for",      "transports",
    "routes",   "include",   "auth",   "tenants",     "tls", NULL,
};

static const struct {
    const char *key, *what;
} not_yet[] = {
    { "tenants", "tenants" },
};

static struct place place_of(const struct yaml_node *node, const struct yaml_node *fallback)
{
    return node != NULL ? node->place : fallback->place;
}

static int parse_part(const struct schema_env *env, const struct yaml_node *root, const char *key,
                      const struct tern_option *options, void *conf, const char *const *reserved)
{
    const struct yaml_node *node = yaml_get(root, key);

    return schema_parse(env, node, place_of(node, root), options, conf, NULL, NULL, reserved);
}

/* `spool: /path` and `spool: { path: /path, ... }` mean the same. */
static int parse_spool(const struct schema_env *env, const struct yaml_node *root,
                       struct server_conf *conf)
{
    struct yaml_node *node = yaml_get(root, "spool");

    if (node == NULL && conf->only_milters)
        return 0;
    if (node == NULL) {
        config_error_at(env->errors, &root->place, "spool: is missing: the folder of the queue");
        return -EINVAL;
    }
    if (node->kind == YAML_SCALAR) {
        struct yaml_node *map = ARENA_NEW(env->arena, struct yaml_node);
        struct yaml_node *key = ARENA_NEW(env->arena, struct yaml_node);
        *key = (struct yaml_node){ .kind = YAML_SCALAR, .place = node->place, .text = SLICE("path"),
                                   .dir = node->dir };
        map->kind = YAML_MAP;
        map->place = node->place;
        map->dir = node->dir;
        map->count = 1;
        map->keys = arena_alloc(env->arena, sizeof(map->keys[0]));
        map->items = arena_alloc(env->arena, sizeof(map->items[0]));
        map->keys[0] = key;
        map->items[0] = node;
        node = map;
    }
    return schema_parse(env, node, node->place, spool_options, &conf->spool, NULL, NULL, NULL);
}

static int parse_addresses(const struct schema_env *env, const struct yaml_node *node,
                           const struct tern_list *texts, unsigned port, tern_address **ret)
{
    tern_address *a = arena_zalloc(env->arena, (texts->count + 1) * sizeof(*a));
    int r = 0;

    for (size_t i = 0; i < texts->count; i++) {
        struct place place = node->kind == YAML_LIST ? node->items[i]->place : node->place;
        tern_str t = texts->items[i];
        bool has_port = net_address_parse(slice_make(t.ptr, t.len), 0, &a[i]) && a[i].port != 0;
        if (net_address_parse(slice_make(t.ptr, t.len), port, &a[i]) && (has_port || port != 0))
            continue;
        config_error_at(env->errors, &place,
                        "expected an address with port such as \"0.0.0.0:25\" or \"[::1]:2525\", got \"%s\"",
                        t.ptr);
        r = -EINVAL;
    }
    *ret = a;
    return r;
}

static int parse_binds(const struct schema_env *env, const struct yaml_node *node, struct listener_conf *listener)
{
    const struct yaml_node *binds = yaml_get(node, "bind");
    tern_str mode = listener->socket_mode, group = listener->socket_group;
    uint32_t bits = 0;
    int r = 0;

    if (!bind_parse_mode(slice_make(mode.ptr, mode.len), &bits)) {
        config_error_at(env->errors, &node->place,
                        "socket_mode: expected a mode such as \"0660\", from 0600 to 0777, got \"%s\"", mode.ptr);
        r = -EINVAL;
    }
    if (group.len >= BIND_GROUP_OCTETS) {
        config_error_at(env->errors, &node->place, "socket_group: expected the name of a group, at most 32 octets");
        r = -EINVAL;
    }
    listener->binds = arena_zalloc(env->arena, (listener->bind.count + 1) * sizeof(listener->binds[0]));
    for (size_t i = 0; i < listener->bind.count; i++) {
        struct place place = binds->kind == YAML_LIST ? binds->items[i]->place : binds->place;
        tern_str t = listener->bind.items[i];
        struct bind_address *b = &listener->binds[i];
        if (!bind_parse(slice_make(t.ptr, t.len), b)) {
            config_error_at(env->errors, &place,
                            "expected an address with port such as \"0.0.0.0:25\" or \"[::1]:2525\", or "
                            "\"unix:/path\" of at most 107 octets, got \"%s\"", t.ptr);
            r = -EINVAL;
        } else if (b->address.family == 0 && r == 0) {
            b->mode = bits;
            memcpy(b->group, group.ptr, group.len);
        }
    }
    return r;
}

/* RFC 2033 5: LMTP must not be spoken on port 25, where everybody expects SMTP. */
static int check_protocol(const struct schema_env *env, const struct yaml_node *node,
                          const struct listener_conf *listener)
{
    for (unsigned i = 0; i < listener->bind_count && listener->protocol == LISTENER_LMTP; i++) {
        if (listener->binds[i].address.port != 25)
            continue;
        config_error_at(env->errors, &yaml_get(node, "bind")->place,
                        "protocol: lmtp may not use port 25 (RFC 2033); 24 is usual");
        return -EINVAL;
    }
    return 0;
}

static int parse_withhold(const struct schema_env *env, const struct yaml_node *node,
                          struct listener_conf *listener)
{
    int r = 0;

    for (size_t i = 0; i < listener->withhold.count; i++) {
        tern_str keyword = listener->withhold.items[i];
        unsigned extension = smtp_extension_of(slice_make(keyword.ptr, keyword.len));
        listener->withheld |= extension;
        if (extension != 0)
            continue;
        config_error_at(env->errors, &node->place,
                        "withhold: expected keywords of EHLO such as SIZE or CHUNKING, got \"%s\"",
                        keyword.ptr);
        r = -EINVAL;
    }
    return r;
}

/* Keys of a listener that say something to a client; that one speaks with the mail server in front. */
static int check_milter(const struct schema_env *env, const struct yaml_node *node,
                        const struct listener_conf *listener)
{
    static const char *const theirs[] = { "auth",     "auth_plaintext", "withhold", "binarymime",
                                          "proxy",    "xclient",        "xforward", "tls",
                                          "client_certificates", "client_ca", "etrn", "vrfy", "expn" };
    int r = 0;

    for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]) && listener->protocol == LISTENER_MILTER; i++) {
        const struct yaml_node *value = yaml_get(node, theirs[i]);
        if (value == NULL)
            continue;
        config_error_at(env->errors, &value->place, "%s: is nothing for protocol: milter: it is the business of "
                        "the mail server in front", theirs[i]);
        r = -EINVAL;
    }
    return r;
}

/* By the file alone, as it decides whether `spool:` may be missing. */
static bool are_all_milters(const struct yaml_node *root)
{
    const struct yaml_node *node = yaml_get(root, "listeners");

    if (node == NULL || node->kind != YAML_MAP || node->count == 0)
        return false;
    for (unsigned i = 0; i < node->count; i++) {
        const struct yaml_node *protocol = yaml_get(node->items[i], "protocol");
        if (protocol == NULL || protocol->kind != YAML_SCALAR || !slice_equal(protocol->text, SLICE("milter")))
            return false;
    }
    return true;
}

static int parse_listener(const struct schema_env *env, const struct yaml_node *key,
                          const struct yaml_node *node, struct listener_conf *listener)
{
    int r = 0;

    listener->name = key->text;
    listener->place = key->place;
    if (schema_parse(env, node, key->place, listener_options, listener, NULL, NULL, NULL) < 0)
        return -EINVAL;
    listener->bind_count = (unsigned)listener->bind.count;
    if (!listener->binarymime)
        listener->withheld |= SMTP_EXT_BINARYMIME;
    if (parse_withhold(env, yaml_get(node, "withhold"), listener) < 0)
        r = -EINVAL;
    if (parse_binds(env, node, listener) < 0)
        return -EINVAL;
    if (check_milter(env, node, listener) < 0)
        r = -EINVAL;
    return check_protocol(env, node, listener) < 0 ? -EINVAL : r;
}

/* The listener that has the address of this bind of listener `at` before it; NULL: none. */
static const struct listener_conf *first_there(const struct server_conf *conf, unsigned at, unsigned bind)
{
    for (unsigned i = 0; i <= at; i++) {
        const struct listener_conf *l = &conf->listeners[i];
        for (unsigned k = 0; k < (i < at ? l->bind_count : bind); k++)
            if (bind_is_same(&l->binds[k], &conf->listeners[at].binds[bind]))
                return l;
    }
    return NULL;
}

/* Of two listeners at one address either would get a client, as it happens, with its policy, TLS and AUTH. */
static int check_addresses(const struct schema_env *env, const struct yaml_node *listeners,
                           const struct server_conf *conf)
{
    int r = 0;

    for (unsigned i = 0; i < conf->listener_count; i++) {
        const struct yaml_node *binds = yaml_get(listeners->items[i], "bind");
        for (unsigned k = 0; k < conf->listeners[i].bind_count; k++) {
            const struct listener_conf *there = first_there(conf, i, k);
            if (there == NULL)
                continue;
            config_error_at(env->errors, binds->kind == YAML_LIST ? &binds->items[k]->place : &binds->place,
                            "bind: listener \"%.*s\" (line %u) has the address %s already", (int)there->name.len,
                            there->name.ptr, there->place.line, conf->listeners[i].bind.items[k].ptr);
            r = -EINVAL;
        }
    }
    return r;
}

static int parse_listeners(const struct schema_env *env, const struct yaml_node *root,
                           struct server_conf *conf)
{
    const struct yaml_node *node = yaml_get(root, "listeners");
    int r = 0;

    if (node == NULL || node->kind != YAML_MAP || node->count == 0 || node->count > LISTENERS_MAX) {
        struct place place = place_of(node, root);
        config_error_at(env->errors, &place,
                        "listeners: expected a map of 1 to %u listeners, name: { bind: ..., policy: ... }",
                        LISTENERS_MAX);
        return -EINVAL;
    }
    conf->listeners = arena_zalloc(env->arena, node->count * sizeof(conf->listeners[0]));
    conf->listener_count = node->count;
    for (unsigned i = 0; i < node->count; i++)
        if (parse_listener(env, node->keys[i], node->items[i], &conf->listeners[i]) < 0)
            r = -EINVAL;
    return r == 0 ? check_addresses(env, node, conf) : r;
}

/* Keys of `kv:` that are not ours: the provider's module checks them once it is loaded. */
static const char *const *provider_keys(struct arena *arena, const struct yaml_node *node)
{
    unsigned n = node != NULL && node->kind == YAML_MAP ? node->count : 0;
    const char **keys = arena_zalloc(arena, (n + 1) * sizeof(keys[0]));
    unsigned used = 0;

    for (unsigned i = 0; i < n; i++) {
        struct slice key = node->keys[i]->text;
        if (!slice_equal(key, SLICE("provider")) && !slice_equal(key, SLICE("entries")))
            keys[used++] = key.ptr;
    }
    return keys;
}

/* `file:` alone is enough; what contradicts it is an error. */
static void parse_log(const struct schema_env *env, const struct yaml_node *root,
                      struct server_conf *conf)
{
    const struct yaml_node *node = yaml_get(root, "log");
    const struct yaml_node *to;

    if (parse_part(env, root, "log", log_options, &conf->log, NULL) < 0)
        return;
    to = node != NULL ? yaml_get(node, "to") : NULL;
    if (conf->log.file.len > 0 && to != NULL && conf->log.to != LOG_TO_FILE)
        config_error_at(env->errors, &to->place, "log.to: %s contradicts log.file",
                        log_targets[conf->log.to]);
    else if (conf->log.file.len == 0 && conf->log.to == LOG_TO_FILE)
        config_error_at(env->errors, &to->place, "log.to: file needs log.file");
    else if (conf->log.file.len > 0)
        conf->log.to = LOG_TO_FILE;
}

/* In the banner and in EHLO stands a domain, A-labels where it is not ASCII (RFC 5321 2.3.5, RFC 6531 3.7.1). */
static void check_hostname(const struct schema_env *env, const struct yaml_node *root, tern_str name)
{
    const struct yaml_node *node = yaml_get(root, "hostname");
    bool valid = domain_is_valid(slice_of(name)) && strchr(name.ptr, '_') == NULL;

    if (node != NULL && name.len > 0 && !valid)
        config_error_at(env->errors, &node->place,
                        "hostname: expected a domain name such as mx1.example.org (xn--... for what is not "
                        "ASCII), got \"%s\"",
                        name.ptr);
}

static void check_folders(const struct schema_env *env, const struct yaml_node *root, const char *key,
                          const struct tern_list *folders)
{
    const struct yaml_node *node = yaml_get(root, key);

    for (size_t i = 0; i < folders->count; i++)
        if (folders->items[i].ptr[0] != '/')
            config_error_at(env->errors, &node->place, "%s: expected absolute paths, got \"%s\"", key,
                            folders->items[i].ptr);
}

static void default_paths(const struct schema_env *env, struct server_conf *conf)
{
    char name[256];

    if (conf->hostname.len == 0 && gethostname(name, sizeof(name)) == 0) {
        name[sizeof(name) - 1] = '\0';
        conf->hostname.ptr = arena_dup(env->arena, slice_cstr(name));
        conf->hostname.len = strlen(name);
    }
    if (conf->temp.len == 0) /* no default of the option: a server with a spool has nothing to write there */
        conf->temp = (tern_str){ "/var/tmp", 8 };
    conf->control_given = conf->control.len > 0;
    if (conf->spool.path.len == 0) /* nothing that is looked for there has a place by itself */
        return;
    if (conf->control.len == 0) {
        conf->control.ptr = arena_printf(env->arena, "%s/control", conf->spool.path.ptr);
        conf->control.len = strlen(conf->control.ptr);
    }
    if (conf->log.decisions.len == 0) {
        conf->log.decisions.ptr = arena_printf(env->arena, "%s/decisions", conf->spool.path.ptr);
        conf->log.decisions.len = strlen(conf->log.decisions.ptr);
    }
}

static void spread_auth(struct server_conf *conf)
{
    for (unsigned i = 0; i < conf->listener_count; i++)
        conf->listeners[i].auth_options = (struct engine_auth_options){
            .plaintext = conf->listeners[i].auth_plaintext,
            .cram_md5 = conf->auth.cram_md5,
            .iterations = conf->auth.iterations,
            .delay_ms = conf->auth.delay_ms,
            .delay_max_ms = conf->auth.delay_max_ms,
            .remember_s = conf->auth.remember_s,
        };
}

static void set_smtp_limits(struct server_conf *conf)
{
    conf->smtp_limits = (struct smtp_limits){
        .command_line_octets = conf->limits.command_line,
        .data_line_octets = conf->limits.data_line,
        .message_octets = conf->limits.message_size,
        .rcpts = conf->limits.recipients,
        .messages = conf->limits.messages,
        .errors = conf->limits.errors,
        .errors_free = conf->limits.errors_free,
        .error_delay_ms = (uint32_t)conf->limits.error_delay_ms,
        .commands = conf->limits.commands,
        .received_fields = conf->limits.received,
    };
}

int server_conf_parse(const struct schema_env *env, const struct yaml_node *root,
                      struct server_conf *conf)
{
    unsigned before = env->errors->errors;

    memset(conf, 0, sizeof(*conf));
    for (size_t i = 0; i < sizeof(not_yet) / sizeof(not_yet[0]); i++) {
        const struct yaml_node *n = yaml_get(root, not_yet[i].key);
        if (n != NULL)
            config_error_at(env->errors, &n->place, "%s: %s: not supported yet", not_yet[i].key,
                            not_yet[i].what);
    }
    (void)schema_parse(env, root, root->place, top_options, conf, NULL, NULL, top_reserved);
    check_hostname(env, root, conf->hostname);
    conf->only_milters = are_all_milters(root);
    (void)parse_spool(env, root, conf);
    (void)parse_part(env, root, "limits", limits_options, &conf->limits, NULL);
    conf->load = (struct load_limits){ conf->limits.memory, conf->limits.descriptors };
    (void)parse_part(env, root, "timeouts", timeouts_options, &conf->timeouts, NULL);
    parse_log(env, root, conf);
    (void)parse_part(env, root, "retry", retry_options, &conf->retry, NULL);
    (void)parse_part(env, root, "hold", hold_options, &conf->hold, NULL);
    conf->kv_node = yaml_get(root, "kv");
    (void)parse_part(env, root, "kv", kv_options, &conf->kv, provider_keys(env->arena, conf->kv_node));
    if (parse_part(env, root, "dns", dns_options, &conf->dns, NULL) == 0 && conf->dns.servers.count > 0) {
        (void)parse_addresses(env, yaml_get(yaml_get(root, "dns"), "servers"), &conf->dns.servers, 53,
                              &conf->dns.addresses);
        conf->dns.address_count = (unsigned)conf->dns.servers.count;
    }
    (void)parse_part(env, root, "tls", conf_tls_options, &conf->tls, NULL);
    conf->certificates_node = yaml_get(root, "certificates");
    (void)parse_part(env, root, "auth", auth_options, &conf->auth, NULL);
    if (parse_listeners(env, root, conf) == 0) {
        spread_auth(conf);
        (void)conf_tls_check(env, root, conf);
    }
    /* With errors, too: `tern reload` of a broken file must still find the server that refuses it. */
    if (conf->spool.path.len > 0 || conf->only_milters)
        default_paths(env, conf);
    check_folders(env, root, "sandbox_read", &conf->sandbox_read);
    check_folders(env, root, "sandbox_write", &conf->sandbox_write);
    set_smtp_limits(conf);
    return env->errors->errors > before ? -EINVAL : 0;
}

const struct tern_option *server_conf_kv_options(void)
{
    return kv_options;
}
