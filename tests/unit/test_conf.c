/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_conf.c - the server's own keys: each one seen in what is parsed, errors with their place, and
 * generations: who holds them and when they go.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/metrics.h"
#include "net/conn.h"
#include "server/conf.h"
#include "server/generation.h"

#define LISTENERS "listeners: { mx: { bind: \"127.0.0.1:2525\", policy: in } }\n"
#define CERTIFICATES "certificates: [{ cert: c.pem, key: k.pem }]\n"
#define LEAST     "spool: /var/spool/tern\n" LISTENERS

struct parsed {
    struct arena arena;
    struct config_errors errors;
    struct server_conf conf;
    int r;
};

static void parse(struct parsed *p, const char *yaml)
{
    memset(p, 0, sizeof(*p));
    arena_init(&p->arena);
    p->errors.text = (struct buf)BUF_INIT;
    struct yaml_node *root = yaml_load_text(&p->arena, slice_cstr(yaml), "t.yaml", "/etc/tern", &p->errors);
    struct schema_env env = { .arena = &p->arena, .errors = &p->errors };
    p->r = root != NULL ? server_conf_parse(&env, root, &p->conf) : -1;
    buf_add_char(&p->errors.text, '\0');
}

static void parsed_end(struct parsed *p)
{
    config_errors_free(&p->errors);
    arena_fini(&p->arena);
}

/* ---- each key ---- */

static const struct {
    const char *section, *key, *value; /* as written: not the default */
    const char *seen;                  /* as held: numbers in the field's unit */
} keys[] = {
    { "", "hostname", "mx.test", "mx.test" },
    { "", "control", "run/control", "/etc/tern/run/control" },
    { "", "module_path", "/opt/modules", "/opt/modules" },
    { "", "loops", "64", "64" },
    { "", "pool_threads", "256", "256" },
    { "", "drain", "0", "0" },
    { "", "watchdog", "1m", "60" },
    { "", "sandbox", "required", "2" },
    { "", "sandbox_read", "[/a, /b]", "/a,/b" },
    { "", "sandbox_write", "[/c]", "/c" },
    { "", "soft_bounce", "true", "1" },
    { "", "split", "false", "0" },
    { "", "delivery", "false", "0" },
    { "", "node", "255", "255" },
    { "", "temp", "big", "/etc/tern/big" },
    { "", "certificates", "[{ cert: c.pem, key: k.pem }]", "1: /etc/tern/c.pem /etc/tern/k.pem" },
    { "spool", "path", "queue", "/etc/tern/queue" },
    { "spool", "segment_size", "64KB", "65536" },
    { "spool", "min_free", "1MB", "1048576" },
    { "spool", "reserve", "0", "0" },
    { "spool", "spares", "64", "64" },
    { "limits", "command_line", "1200", "1200" },
    { "limits", "data_line", "1000", "1000" },
    { "limits", "message_size", "64KB", "65536" },
    { "limits", "recipients", "100", "100" },
    { "limits", "messages", "0", "0" },
    { "limits", "errors", "1", "1" },
    { "limits", "commands", "10", "10" },
    { "limits", "received", "30", "30" },
    { "limits", "sessions", "1", "1" },
    { "limits", "sessions_per_address", "1", "1" },
    { "limits", "groups", "1", "1" },
    { "limits", "connection_rate", "60/1m", "60/60000" },
    { "limits", "message_rate", "1/1h", "1/3600000" },
    { "limits", "recipient_rate", "100/1s", "100/1000" },
    { "limits", "ipv4_mask", "24", "24" },
    { "limits", "ipv6_mask", "128", "128" },
    { "limits", "rate_exempt", "[127.0.0.0/8]", "has 127.0.0.1" },
    { "limits", "memory", "1GB", "1073741824" },
    { "limits", "descriptors", "1000", "1000" },
    { "limits", "min_data_rate", "0", "0" },
    { "limits", "min_data_window", "1s", "1" },
    { "limits", "errors_free", "0", "0" },
    { "limits", "error_delay", "250ms", "250" },
    { "timeouts", "command", "1", "1" },
    { "timeouts", "proxy", "1h", "3600" },
    { "timeouts", "tls", "1s", "1" },
    { "timeouts", "milter", "1d", "86400" },
    { "timeouts", "line", "2m", "120" },
    { "timeouts", "data_start", "1h", "3600" },
    { "timeouts", "data_block", "2s", "2" },
    { "dns", "servers", "[127.0.0.1, \"[::1]:5353\"]", "127.0.0.1,[::1]:5353" },
    { "dns", "timeout", "50ms", "50" },
    { "dns", "tries", "10", "10" },
    { "dns", "cache", "0", "0" },
    { "log", "level", "debug", "3" },
    { "log", "format", "json", "1" },
    { "log", "to", "syslog", "2" },
    { "log", "file", "log", "/etc/tern/log" },
    { "log", "decisions", "/d", "/d" },
    { "log", "decisions_size", "64KB", "65536" },
    { "log", "decisions_days", "3650", "3650" },
    { "retry", "min", "1", "1" },
    { "retry", "max", "7d", "604800" },
    { "retry", "factor", "100", "100" },
    { "retry", "jitter", "0", "0" },
    { "retry", "expire", "30d", "2592000" },
    { "retry", "expire_bounce", "1h", "3600" },
    { "retry", "notify_delay", "30d", "2592000" },
    { "hold", "expire", "1h", "3600" },
    { "hold", "then", "bounce", "1" },
    { "kv", "provider", "kv_lmdb", "kv_lmdb" },
    { "kv", "entries", "1000", "1000" },
    { "listeners.NAME", "bind", "[\"127.0.0.1:25\", \"[::]:25\"]", "127.0.0.1:25,[::]:25" },
    { "listeners.NAME", "socket_mode", "\"0666\"", "0666" },
    { "listeners.NAME", "socket_group", "mail", "mail" },
    { "listeners.NAME", "policy", "other", "other" },
    { "listeners.NAME", "protocol", "lmtp", "1" },
    { "listeners.NAME", "etrn", "[127.0.0.1]", "has 127.0.0.1" },
    { "listeners.NAME", "vrfy", "policy", "2" },
    { "listeners.NAME", "expn", "policy", "1" },
    { "listeners.NAME", "withhold", "[SIZE, chunking]", "SIZE,chunking" },
    { "listeners.NAME", "binarymime", "true", "1" },
    { "listeners.NAME", "proxy", "[127.0.0.0/8]", "has 127.0.0.1" },
    { "listeners.NAME", "xclient", "[127.0.0.1]", "has 127.0.0.1" },
    { "listeners.NAME", "xforward", "[127.0.0.1]", "has 127.0.0.1" },
    { "listeners.NAME", "auth", "required", "2" },
    { "listeners.NAME", "auth_plaintext", "true", "1" },
    { "auth", "cram_md5", "true", "1" },
    { "auth", "iterations", "10000", "10000" },
    { "auth", "delay", "0", "0" },
    { "auth", "delay_max", "1m", "60000" },
    { "auth", "remember", "1h", "3600" },
    { "listeners.NAME", "tls", "required", "2" },
    { "listeners.NAME", "client_certificates", "true, tls: starttls", "1" },
    { "listeners.NAME", "client_ca", "ca.pem, client_certificates: true, tls: implicit", "/etc/tern/ca.pem" },
    { "tls", "min_version", "1.3", "1" },
    { "tls", "ciphers", "HIGH", "HIGH" },
    { "tls", "tickets", "0", "0" },
    { "tls", "warn_before", "1d", "86400" },
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static const void *base_of(const struct server_conf *c, const char *section)
{
    const struct {
        const char *path;
        const void *base;
    } bases[] = { { "", c },           { "spool", &c->spool }, { "listeners.NAME", &c->listeners[0] },
                  { "limits", &c->limits }, { "timeouts", &c->timeouts }, { "dns", &c->dns },
                  { "log", &c->log },  { "retry", &c->retry }, { "hold", &c->hold }, { "kv", &c->kv },
                  { "auth", &c->auth }, { "tls", &c->tls } };

    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
        if (strcmp(bases[i].path, section) == 0)
            return bases[i].base;
    return NULL;
}

static void show(const struct tern_option *o, const void *base, struct buf *out)
{
    const void *field = (const char *)base + o->offset;
    const struct tern_list *list = field;

    switch (o->type) {
    case TERN_TYPE_BOOL: buf_printf(out, "%d", *(const bool *)field); break;
    case TERN_TYPE_ENUM: buf_printf(out, "%d", *(const int *)field); break;
    case TERN_TYPE_UINT: buf_printf(out, "%u", *(const unsigned *)field); break;
    case TERN_TYPE_SIZE:
    case TERN_TYPE_SECONDS:
    case TERN_TYPE_MS: buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)field); break;
    case TERN_TYPE_STRING:
    case TERN_TYPE_PATH: buf_add_cstr(out, ((const tern_str *)field)->ptr); break;
    case TERN_TYPE_LIST:
        for (size_t i = 0; i < list->count; i++)
            buf_printf(out, "%s%s", i > 0 ? "," : "", list->items[i].ptr);
        break;
    case TERN_TYPE_CIDRS:
        buf_add_cstr(out, cidrs_match(*(const struct tern_cidrs *const *)field, &(tern_address){ 4, { 127, 0, 0, 1 }, 0 })
                              ? "has 127.0.0.1" : "has it not");
        break;
    case TERN_TYPE_RECORDS: {
        const struct tern_records *records = field;
        const struct certificate_conf *first = records->items;
        buf_printf(out, "%zu: %s %s", records->count, first->cert.ptr, first->key.ptr);
        break;
    }
    case TERN_TYPE_RATE:
        buf_printf(out, "%llu/%llu", (unsigned long long)((const struct tern_rate *)field)->count,
                   (unsigned long long)((const struct tern_rate *)field)->per_ms);
        break;
    default: CU_FAIL("a type this test does not know");
    }
    buf_add_char(out, '\0');
}

static void write_key(struct buf *yaml, size_t i)
{
    const char *section = keys[i].section;
    bool spool = strcmp(section, "spool") == 0, listener = strcmp(section, "listeners.NAME") == 0;

    if (!spool)
        buf_add_cstr(yaml, "spool: /s\n");
    else
        buf_printf(yaml, "spool: { %s: %s%s }\n", keys[i].key, keys[i].value,
                   strcmp(keys[i].key, "path") == 0 ? "" : ", path: /s");
    if (!listener)
        buf_add_cstr(yaml, LISTENERS);
    else
        buf_printf(yaml, "listeners: { mx: { %s: %s, %s } }\n", keys[i].key, keys[i].value,
                   strcmp(keys[i].key, "bind") == 0     ? "policy: in"
                   : strcmp(keys[i].key, "policy") == 0 ? "bind: \"127.0.0.1:2525\""
                                                        : "bind: \"127.0.0.1:2525\", policy: in");
    if (listener && strstr(keys[i].value, "tls") != NULL)
        buf_add_cstr(yaml, CERTIFICATES);
    if (listener && strcmp(keys[i].key, "tls") == 0)
        buf_add_cstr(yaml, CERTIFICATES);
    if (section[0] == '\0')
        buf_printf(yaml, "%s: %s\n", keys[i].key, keys[i].value);
    else if (!spool && !listener)
        buf_printf(yaml, "%s: { %s: %s }\n", section, keys[i].key, keys[i].value);
    buf_add_char(yaml, '\0');
}

static void check_key(const char *section, const struct tern_option *o)
{
    size_t i = 0;

    while (i < KEYS && (strcmp(keys[i].section, section) != 0 || strcmp(keys[i].key, o->key) != 0))
        i++;
    if (i == KEYS) {
        fprintf(stderr, "  %s.%s has no row here\n", section, o->key);
        CU_FAIL("an option without a row");
        return;
    }
    struct buf yaml = BUF_INIT, seen = BUF_INIT;
    struct parsed p;
    write_key(&yaml, i);
    parse(&p, yaml.data);
    if (p.r != 0)
        fprintf(stderr, "%s%s", yaml.data, p.errors.text.data);
    CU_ASSERT_EQUAL(p.r, 0);
    if (p.r == 0) {
        show(o, base_of(&p.conf, section), &seen);
        CU_ASSERT_STRING_EQUAL(seen.data, keys[i].seen);
        if (o->text != NULL)
            CU_ASSERT_STRING_NOT_EQUAL(keys[i].value, o->text); /* else nothing is shown */
    }
    parsed_end(&p);
    buf_free(&yaml);
    buf_free(&seen);
}

static void test_keys(void)
{
    size_t count = 0;

    for (const struct conf_section *s = server_conf_sections(); s->path != NULL; s++) {
        for (const struct tern_option *o = s->options; o->key != NULL; o = schema_next(o)) {
            check_key(s->path, o);
            count++;
        }
    }
    CU_ASSERT_EQUAL(count, KEYS);
}

static void test_defaults(void)
{
    struct smtp_limits limits;
    struct parsed p;

    parse(&p, LEAST);
    CU_ASSERT_EQUAL_FATAL(p.r, 0);
    CU_ASSERT_STRING_EQUAL(p.conf.spool.path.ptr, "/var/spool/tern");
    CU_ASSERT_STRING_EQUAL(p.conf.control.ptr, "/var/spool/tern/control");
    CU_ASSERT_STRING_EQUAL(p.conf.log.decisions.ptr, "/var/spool/tern/decisions");
    CU_ASSERT_TRUE(p.conf.hostname.len > 0);
    CU_ASSERT_TRUE(p.conf.split && p.conf.delivery && !p.conf.soft_bounce);
    limits = p.conf.smtp_limits;
    CU_ASSERT_EQUAL(limits.command_line_octets, 2048);
    CU_ASSERT_EQUAL(limits.data_line_octets, 65536);
    CU_ASSERT_EQUAL(limits.message_octets, 50u << 20);
    CU_ASSERT_EQUAL(limits.rcpts, 1000);
    CU_ASSERT_EQUAL(limits.messages, 1000);
    CU_ASSERT_EQUAL(limits.errors, 20);
    CU_ASSERT_EQUAL(limits.commands, 1000);
    CU_ASSERT_EQUAL(limits.received_fields, 100);
    /* RFC 5321 4.5.3.2 */
    CU_ASSERT_EQUAL(p.conf.timeouts.command_s, 300);
    CU_ASSERT_EQUAL(p.conf.timeouts.data_start_s, 120);
    CU_ASSERT_EQUAL(p.conf.timeouts.data_block_s, 180);
    parsed_end(&p);
}

/* Without a queue nothing lies below it; what is named is where it is named. */
static void test_milters_alone(void)
{
    struct parsed p;

    parse(&p, "listeners: { m: { bind: \"unix:/run/m\", protocol: milter, policy: in } }\n");
    CU_ASSERT_EQUAL_FATAL(p.r, 0);
    CU_ASSERT(p.conf.only_milters && !p.conf.control_given);
    CU_ASSERT_EQUAL(p.conf.spool.path.len, 0);
    CU_ASSERT_EQUAL(p.conf.control.len, 0);
    CU_ASSERT_EQUAL(p.conf.log.decisions.len, 0);
    CU_ASSERT_STRING_EQUAL(p.conf.temp.ptr, "/var/tmp");
    CU_ASSERT_EQUAL(p.conf.timeouts.milter_s, 7200);
    CU_ASSERT(p.conf.hostname.len > 0);
    parsed_end(&p);
    parse(&p, "listeners: { m: { bind: \"unix:/run/m\", protocol: milter, policy: in } }\nspool: /s\ncontrol: /c\n");
    CU_ASSERT_EQUAL_FATAL(p.r, 0);
    CU_ASSERT(p.conf.control_given);
    CU_ASSERT_STRING_EQUAL(p.conf.log.decisions.ptr, "/s/decisions");
    parsed_end(&p);
}

static void test_addresses(void)
{
    char text[NET_ADDRESS_TEXT_MAX];
    struct parsed p;

    parse(&p, "spool: /s\nlisteners:\n  a: { bind: \"127.0.0.1:25\", policy: x }\n"
              "  b: { bind: [\"[::1]:2525\", \"0.0.0.0:1\"], policy: y }\ndns: { servers: [127.0.0.1, \"[::1]:53\"] }\n");
    CU_ASSERT_EQUAL_FATAL(p.r, 0);
    CU_ASSERT_EQUAL_FATAL(p.conf.listener_count, 2);
    CU_ASSERT_EQUAL(p.conf.listeners[0].bind_count, 1);
    CU_ASSERT_EQUAL_FATAL(p.conf.listeners[1].bind_count, 2);
    CU_ASSERT_EQUAL(p.conf.listeners[1].place.line, 4);
    net_address_print(&p.conf.listeners[1].binds[0].address, true, text);
    CU_ASSERT_STRING_EQUAL(text, "[::1]:2525");
    CU_ASSERT_EQUAL_FATAL(p.conf.dns.address_count, 2);
    CU_ASSERT_EQUAL(p.conf.dns.addresses[0].port, 53);
    parsed_end(&p);
}

/* ---- what is wrong ---- */

static const struct {
    const char *yaml, *errors;
} wrong[] = {
    { LISTENERS, "t.yaml:1:1: error: spool: is missing: the folder of the queue\n" },
    { "listeners: { m: { bind: \"127.0.0.1:8891\", protocol: milter, policy: in, tls: starttls } }\n" CERTIFICATES,
      "t.yaml:1:78: error: tls: is nothing for protocol: milter: it is the business of the mail server in front\n" },
    { "listeners:\n  m: { bind: \"127.0.0.1:8891\", protocol: milter, policy: in }\n"
      "  s: { bind: \"127.0.0.1:25\", policy: in }\n",
      "t.yaml:1:1: error: spool: is missing: the folder of the queue\n" },
    { "spool: /s\n",
      "t.yaml:1:1: error: listeners: expected a map of 1 to 64 listeners, name: { bind: ..., policy: ... }\n" },
    { "spool: /s\nlisteners: {}\n",
      "t.yaml:2:12: error: listeners: expected a map of 1 to 64 listeners, name: { bind: ..., policy: ... }\n" },
    { "spool: /s\nlisteners: [a]\n",
      "t.yaml:2:12: error: listeners: expected a map of 1 to 64 listeners, name: { bind: ..., policy: ... }\n" },
    { LEAST "hostname: mx..example.org\n",
      "t.yaml:3:11: error: hostname: expected a domain name such as mx1.example.org (xn--... for what is not ASCII), "
      "got \"mx..example.org\"\n" },
    { LEAST "hostname: b\303\274cher.example\n",
      "t.yaml:3:11: error: hostname: expected a domain name such as mx1.example.org (xn--... for what is not ASCII), "
      "got \"b\303\274cher.example\"\n" },
    { LEAST "hostnam: x\n", "t.yaml:3:1: error: unknown option \"hostnam\"; did you mean \"hostname\"?\n" },
    { LEAST "limits: { recipients: 99 }\n", "t.yaml:3:23: error: recipients: expected a whole number: 100 to 100000; got \"99\"\n" },
    { LEAST "loops: 65\n", "t.yaml:3:8: error: loops: expected a whole number: 0 to 64; got \"65\"\n" },
    { LEAST "soft_bounce: maybe\n", "t.yaml:3:14: error: soft_bounce: expected true or false; got \"maybe\"\n" },
    { LEAST "log: { level: loud }\n",
      "t.yaml:3:15: error: level: expected one of error, warning, info, debug; got \"loud\"\n" },
    { LEAST "tenants: {}\n", "t.yaml:3:10: error: tenants: tenants: not supported yet\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"127.0.0.1:25\", policy: in, protocol: lmtp } }\n",
      "t.yaml:2:26: error: protocol: lmtp may not use port 25 (RFC 2033); 24 is usual\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"127.0.0.1\", policy: in } }\n",
      "t.yaml:2:26: error: expected an address with port such as \"0.0.0.0:25\" or \"[::1]:2525\", or \"unix:/path\" of "
      "at most 107 octets, got \"127.0.0.1\"\n" },
    { "spool: /s\nlisteners: { mx: { bind: [\"127.0.0.1:25\", \"localhost:25\"], policy: in } }\n",
      "t.yaml:2:43: error: expected an address with port such as \"0.0.0.0:25\" or \"[::1]:2525\", or \"unix:/path\" of "
      "at most 107 octets, got \"localhost:25\"\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"unix:/s/x\", socket_mode: \"0466\", policy: in } }\n",
      "t.yaml:2:18: error: socket_mode: expected a mode such as \"0660\", from 0600 to 0777, got \"0466\"\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"unix:/s/x\", socket_group: a12345678901234567890123456789012, policy: in } }\n",
      "t.yaml:2:18: error: socket_group: expected the name of a group, at most 32 octets\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"127.0.0.1:25\", policy: in, withhold: [SIZE, chunks] } }\n",
      "t.yaml:2:64: error: withhold: expected keywords of EHLO such as SIZE or CHUNKING, got \"chunks\"\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"127.0.0.1:25\", policy: in, tls: implicit } }\n",
      "t.yaml:2:59: error: tls: implicit needs a certificate at the top level: certificates: [ { cert: FILE, key: FILE } ]\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"127.0.0.1:25\", policy: in, tls: maybe } }\n" CERTIFICATES,
      "t.yaml:2:59: error: tls: expected one of off, starttls, required, implicit; got \"maybe\"\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"127.0.0.1:25\", policy: in, client_certificates: true } }\n",
      "t.yaml:2:75: error: client_certificates: needs tls: starttls, required or implicit\n" },
    { "spool: /s\nlisteners: { mx: { bind: \"127.0.0.1:25\", policy: in, tls: starttls, client_ca: x } }\n" CERTIFICATES,
      "t.yaml:2:80: error: client_ca: needs client_certificates: true\n" },
    { "spool: /s\nlisteners:\n  a: { bind: [\"127.0.0.1:25\", \"[::]:25\"], policy: in }\n"
      "  b: { bind: [\"127.0.0.1:26\", \"[0::0]:25\"], policy: in }\n",
      "t.yaml:4:31: error: bind: listener \"a\" (line 3) has the address [0::0]:25 already\n" },
    { "spool: /s\nlisteners: { mx: { bind: [\"unix:/run/a\", \"unix:/run/b\", \"unix:/run/a\"], policy: in } }\n",
      "t.yaml:2:57: error: bind: listener \"mx\" (line 2) has the address unix:/run/a already\n" },
    { LEAST "certificates: [ { cert: c.pem } ]\n", "t.yaml:3:17: error: option \"key\" is missing (path)\n" },
    { LEAST "tls: { min_version: 1.1 }\n", "t.yaml:3:21: error: min_version: expected one of 1.2, 1.3; got \"1.1\"; did you mean \"1.2\"?\n" },
};

static void test_wrong(void)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct parsed p;

        parse(&p, wrong[i].yaml);
        CU_ASSERT_EQUAL(p.r, -EINVAL);
        CU_ASSERT_STRING_EQUAL(p.errors.text.data, wrong[i].errors);
        if (strcmp(p.errors.text.data, wrong[i].errors) != 0)
            fprintf(stderr, "  want %s  said %s", wrong[i].errors, p.errors.text.data);
        parsed_end(&p);
    }
}

static void test_listener_bounds(void)
{
    for (unsigned n = LISTENERS_MAX; n <= LISTENERS_MAX + 1; n++) {
        struct buf yaml = BUF_INIT;
        struct parsed p;

        buf_add_cstr(&yaml, "spool: /s\nlisteners:\n");
        for (unsigned i = 0; i < n; i++)
            buf_printf(&yaml, "  l%u: { bind: \"127.0.0.1:%u\", policy: in }\n", i, 2000 + i);
        buf_add_char(&yaml, '\0');
        parse(&p, yaml.data);
        CU_ASSERT_EQUAL(p.r, n <= LISTENERS_MAX ? 0 : -EINVAL);
        parsed_end(&p);
        buf_clear(&yaml);

        buf_add_cstr(&yaml, "spool: /s\nlisteners: { mx: { policy: in, bind: [");
        for (unsigned i = 0; i < n; i++)
            buf_printf(&yaml, "%s\"127.0.0.1:%u\"", i > 0 ? ", " : "", 2000 + i);
        buf_add_cstr(&yaml, "] } }\n");
        buf_add_char(&yaml, '\0');
        parse(&p, yaml.data);
        CU_ASSERT_EQUAL(p.r, n <= LISTENER_BINDS_MAX ? 0 : -EINVAL);
        parsed_end(&p);
        buf_free(&yaml);
    }
}

/* ---- generations ---- */

static char folder[64] = "/tmp/tern-conf-XXXXXX";
static struct modules *modules;

static struct generation *build(const char *yaml, struct config_errors *errors)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/tern.yaml", folder);
    FILE *f = fopen(path, "we");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    (void)fputs(yaml, f);
    (void)fclose(f);
    *errors = (struct config_errors){ .text = BUF_INIT };
    struct generation *g = generation_build(path, modules, 7, errors);
    buf_add_char(&errors->text, '\0');
    return g;
}

static int64_t alive(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    metrics_print(&text);
    buf_add_char(&text, '\0');
    const char *at = strstr(text.data, "\ntern_generations ");
    return at != NULL ? atoll(at + strlen("\ntern_generations ")) : -1;
}

#define POLICIES "policies: { in: [] }\n"

static void test_references(void)
{
    struct config_errors errors;
    struct generation *a = build(LEAST POLICIES, &errors);

    if (a == NULL)
        fprintf(stderr, "%s", errors.text.data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    config_errors_free(&errors);
    CU_ASSERT_EQUAL(a->number, 7);
    CU_ASSERT_EQUAL(alive(), 1);
    CU_ASSERT_PTR_NULL(generation_present());
    generation_set_present(a);
    struct generation *seen = generation_present();
    CU_ASSERT_PTR_EQUAL(seen, a);
    CU_ASSERT_EQUAL(atomic_load(&a->retired_ms), 0);

    struct generation *b = build(LEAST POLICIES, &errors);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    config_errors_free(&errors);
    generation_set_present(b);
    CU_ASSERT_EQUAL(alive(), 2); /* a session still sees the first */
    CU_ASSERT_TRUE(atomic_load(&a->retired_ms) > 0);
    CU_ASSERT_EQUAL(atomic_load(&b->retired_ms), 0);
    generation_unref(seen);
    CU_ASSERT_EQUAL(alive(), 1);
    generation_set_present(NULL);
    CU_ASSERT_EQUAL(alive(), 0);
    generation_unref(NULL);
}

static void test_listeners_of_a_generation(void)
{
    const struct policy *policy = NULL;
    struct config_errors errors;
    struct generation *g = build(LEAST POLICIES, &errors);

    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    config_errors_free(&errors);
    const struct listener_conf *l = generation_listener(g, SLICE("mx"), &policy);
    CU_ASSERT_PTR_NOT_NULL_FATAL(l);
    CU_ASSERT_PTR_NOT_NULL(policy);
    policy = NULL;
    CU_ASSERT_PTR_NULL(generation_listener(g, SLICE("m"), &policy));
    CU_ASSERT_PTR_NULL(policy);
    generation_unref(g);
}

static const struct {
    const char *yaml, *error; /* behind the path */
} broken[] = {
    { "spool: /s\nlisteners:\n  mx: { bind: \"127.0.0.1:25\", policy: inn }\n" POLICIES,
      ":3:3: error: listener \"mx\": there is no policy \"inn\"\n" },
    { LEAST POLICIES "kv: { provider: nosuch }\n", ":4:5: error: kv: provider: " },
    { LEAST POLICIES "kv: { provider: memory, path: /x }\n", ":4:25: error: unknown option \"path\"" },
    { LEAST "policies: { in: [nosuch: {}] }\n", ":3:" },
    { "spool: [\n", ":" },
};

static void test_broken(void)
{
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct config_errors errors;
        struct generation *g = build(broken[i].yaml, &errors);
        char want[512];

        (void)snprintf(want, sizeof(want), "%s/tern.yaml%s", folder, broken[i].error);
        CU_ASSERT_PTR_NULL(g);
        CU_ASSERT_PTR_NOT_NULL(strstr(errors.text.data, want)); /* there may be warnings, too */
        if (strstr(errors.text.data, want) == NULL)
            fprintf(stderr, "  want %s\n  said %s", want, errors.text.data);
        config_errors_free(&errors);
        CU_ASSERT_EQUAL(alive(), 0);
    }
}

int main(void)
{
    const struct modules_env env = { .path = folder, .trust_group = true };

    if (mkdtemp(folder) == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    modules = modules_new(&env);
    CU_pSuite suite = CU_add_suite("conf", NULL, NULL);
    CU_add_test(suite, "each key is seen", test_keys);
    CU_add_test(suite, "defaults", test_defaults);
    CU_add_test(suite, "milters alone", test_milters_alone);
    CU_add_test(suite, "addresses", test_addresses);
    CU_add_test(suite, "errors", test_wrong);
    CU_add_test(suite, "listeners and binds, at their bound and above", test_listener_bounds);
    CU_add_test(suite, "a generation goes with its last reference", test_references);
    CU_add_test(suite, "listeners of a generation", test_listeners_of_a_generation);
    CU_add_test(suite, "broken ones leave nothing", test_broken);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    modules_free(modules);
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) != 0 || failed != 0;
}
