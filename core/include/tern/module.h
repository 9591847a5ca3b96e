/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tern/module.h - the whole contract between the core and a loadable module.
 *
 * A module is one shared object that exports one function, tern_module_entry().
 * The core reads the descriptor it returns, hands init() a table of functions, and
 * then calls the hooks it names. A module includes <tern/...> and nothing else
 * from core/, and links to nothing of the server (a lint test checks both).
 *
 * Conventions used by every function below
 *   strings    tern_str: pointer and length, with a NUL behind it; a body view may
 *              hold NUL inside. Borrowed unless the comment says "owned".
 *   times      the unit ends the name: _ms, _s. Sizes are octets.
 *   errors     0 on success, a negative errno value on failure. On failure an
 *              out-parameter (ret_*) is left as it was.
 *   threads    "loop thread" = the one loop that owns this session, or the pool
 *              thread that runs a BLOCKING step in its stead; no lock is needed
 *              there. "any thread" is said where it is true. Callbacks of the
 *              asynchronous calls run on the loop thread.
 *   lifetimes  what a view returns lives until the step has answered. Options (conf)
 *              live as long as the generation, which outlives every call made with them.
 *
 * Growth: structs and the function table are only ever appended to. Every
 * descriptor entry begins with its own size; TERN_HAS tests for a newer function.
 */
#ifndef TERN_MODULE_H
#define TERN_MODULE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_ABI_MAGIC 0x4e524554u /* "TERN" in memory on little endian */
#define TERN_ABI_MAJOR 1
#define TERN_ABI_MINOR 1

#define TERN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define TERN_EXPORT            __attribute__((visibility("default")))

/* ---- Words ------------------------------------------------------------- */

typedef struct tern_str {
    const char *ptr;
    size_t len;
} tern_str;

#define TERN_STR(literal) ((tern_str){ ("" literal), sizeof(literal) - 1 })

/* One step at work on one event: a read-only view, and the journal of its wishes. */
typedef struct tern_call tern_call;

/* A network address. IPv4 is kept as IPv4, never as ::ffff:a.b.c.d. */
typedef struct tern_address {
    uint8_t family;    /* 4, 6; 0 = a unix socket or none */
    uint8_t octets[16]; /* network order; the first 4 for IPv4 */
    uint16_t port;     /* host order */
} tern_address;

typedef enum tern_verdict {
    TERN_NEXT = 0,    /* no opinion; the next step runs */
    TERN_ACCEPT = 1,  /* "first" hooks only: auth, route, vrfy */
    TERN_REJECT = 2,  /* permanent: 5xx, a bounce */
    TERN_DEFER = 3,   /* temporary: 4xx, try again */
    TERN_CLOSE = 4,   /* 421 and disconnect */
    TERN_HOLD = 5,    /* quarantine; the chain goes on */
    TERN_DISCARD = 6, /* accept and drop; the chain goes on */
    TERN_WAIT = 7,    /* the answer comes by complete() */
    TERN_ERROR = 8,   /* the step failed; the core applies its on_error */
} tern_verdict;

enum tern_hook_point {
    TERN_HOOK_CONNECT,
    TERN_HOOK_TLS,
    TERN_HOOK_EHLO,
    TERN_HOOK_AUTH,
    TERN_HOOK_MAIL,
    TERN_HOOK_RCPT,
    TERN_HOOK_DATA,
    TERN_HOOK_MESSAGE,
    TERN_HOOK_QUEUE,
    TERN_HOOK_SIGN,
    TERN_HOOK_ROUTE,
    TERN_HOOK_DELIVER,
    TERN_HOOK_RESULT,
    TERN_HOOK_CLOSE,
    TERN_HOOK_VRFY, /* since 1.1 */
    TERN_HOOK_COUNT,
};

/* What an entry may answer (struct tern_hook.answers). NEXT and WAIT are always allowed. */
#define TERN_MAY_ACCEPT  (1u << TERN_ACCEPT)
#define TERN_MAY_REJECT  (1u << TERN_REJECT)
#define TERN_MAY_DEFER   (1u << TERN_DEFER)
#define TERN_MAY_CLOSE   (1u << TERN_CLOSE)
#define TERN_MAY_HOLD    (1u << TERN_HOLD)
#define TERN_MAY_DISCARD (1u << TERN_DISCARD)

/* Flags of an entry. */
#define TERN_BLOCKING (1u << 0) /* runs on a pool thread; may block */
/* rcpt: may call claim(). Such an entry is also asked about recipients that no client named: of
 * Tern's own notices, and added by add_rcpt(). Then there is no RCPT to answer, of a notice not even a
 * client (its address has family 0), and class CLIENT does not count. */
#define TERN_CLAIMS   (1u << 1)
#define TERN_ONCE     (1u << 2) /* message: runs once for the transaction, not per group */

/* Classes of a claimed recipient. */
enum tern_class {
    TERN_CLASS_NONE,
    TERN_CLASS_LOCAL,
    TERN_CLASS_RELAY,
    TERN_CLASS_FORWARD,
    TERN_CLASS_CLIENT,
};

enum tern_log_level { TERN_LOG_ERROR, TERN_LOG_WARNING, TERN_LOG_INFO, TERN_LOG_DEBUG };

/* ---- Options ----------------------------------------------------------- */

enum tern_option_type {
    TERN_TYPE_BOOL,     /* bool */
    TERN_TYPE_INT,      /* int64_t */
    TERN_TYPE_UINT,     /* unsigned */
    TERN_TYPE_SIZE,     /* uint64_t octets: 64KB, 10MB */
    TERN_TYPE_SECONDS,  /* uint64_t seconds; key without the field's _s: 90, 5m, 4h, 5d */
    TERN_TYPE_MS,       /* uint64_t milliseconds; key without the field's _ms: 300ms, 5s */
    TERN_TYPE_RATE,     /* struct tern_rate: 100/1m */
    TERN_TYPE_PERCENT,  /* unsigned, 0 to 100: 20% */
    TERN_TYPE_STRING,   /* tern_str */
    TERN_TYPE_ENUM,     /* int, an index into values */
    TERN_TYPE_LIST,     /* struct tern_list of strings */
    TERN_TYPE_MAP,      /* struct tern_map string -> string */
    TERN_TYPE_CIDRS,    /* const struct tern_cidrs *, for cidrs_match() */
    TERN_TYPE_ADDRESS,  /* tern_address; port 0 when not given */
    TERN_TYPE_PATH,     /* tern_str; absolute, relative ones resolved against the config file */
    TERN_TYPE_SECRET,   /* tern_str; !env or !file, or in clear; never printed */
    TERN_TYPE_REGEX,    /* reserved: refused as not supported yet */
    TERN_TYPE_TABLE,    /* const struct tern_table *: { table: NAME }, or an inline list or map */
    TERN_TYPE_RECORDS,  /* struct tern_records: a list of maps, each by a table of its own */
};

struct tern_rate {
    uint64_t count;
    uint64_t per_ms;
};
struct tern_list {
    const tern_str *items;
    size_t count;
};
struct tern_map {
    const tern_str *keys;
    const tern_str *values;
    size_t count;
};
struct tern_records {
    const void *items; /* count structs of the entry's record_size, back to back */
    size_t count;
};
struct tern_cidrs; /* opaque */
struct tern_table; /* opaque: a named look-up key -> value */

/*
 * One option. `text` is the default as the user would write it; NULL means
 * required, "" means none (zero, an empty string or list, a NULL table).
 */
struct tern_option {
    size_t size; /* of this struct */
    const char *key;
    unsigned type;
    size_t offset;
    const char *text;
    int64_t min, max; /* numbers; for lists the count; 0, 0 = any */
    const char *doc;
    const char *const *values;         /* ENUM: NULL-terminated */
    const struct tern_option *records; /* RECORDS: the table of one record */
    size_t record_size;
};

#define TERN_TYPED_(s, f, ctype)                                                                  \
    (offsetof(s, f) + 0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((s *)0)->f), ctype) ? 1 : -1]))
#define TERN_OPTION_(k, t, s, f, ctype, dflt, lo, hi, text_)                                      \
    { .size = sizeof(struct tern_option), .key = k, .type = t,                                    \
      .offset = TERN_TYPED_(s, f, ctype), .text = dflt, .min = lo, .max = hi, .doc = text_ }

#define TERN_OPTION_BOOL(s, f, dflt, doc)  TERN_OPTION_(#f, TERN_TYPE_BOOL, s, f, bool, dflt, 0, 0, doc)
#define TERN_OPTION_INT(s, f, dflt, lo, hi, doc) \
    TERN_OPTION_(#f, TERN_TYPE_INT, s, f, int64_t, dflt, lo, hi, doc)
#define TERN_OPTION_UINT(s, f, dflt, lo, hi, doc) \
    TERN_OPTION_(#f, TERN_TYPE_UINT, s, f, unsigned, dflt, lo, hi, doc)
#define TERN_OPTION_SIZE(s, f, dflt, lo, hi, doc) \
    TERN_OPTION_(#f, TERN_TYPE_SIZE, s, f, uint64_t, dflt, lo, hi, doc)
#define TERN_OPTION_SECONDS(s, f, dflt, lo, hi, doc) \
    TERN_OPTION_(#f, TERN_TYPE_SECONDS, s, f##_s, uint64_t, dflt, lo, hi, doc)
#define TERN_OPTION_MS(s, f, dflt, lo, hi, doc) \
    TERN_OPTION_(#f, TERN_TYPE_MS, s, f##_ms, uint64_t, dflt, lo, hi, doc)
#define TERN_OPTION_RATE(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_RATE, s, f, struct tern_rate, dflt, 0, 0, doc)
#define TERN_OPTION_PERCENT(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_PERCENT, s, f, unsigned, dflt, 0, 100, doc)
#define TERN_OPTION_STRING(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_STRING, s, f, tern_str, dflt, 0, 0, doc)
#define TERN_OPTION_LIST(s, f, dflt, lo, hi, doc) \
    TERN_OPTION_(#f, TERN_TYPE_LIST, s, f, struct tern_list, dflt, lo, hi, doc)
#define TERN_OPTION_MAP(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_MAP, s, f, struct tern_map, dflt, 0, 0, doc)
#define TERN_OPTION_CIDRS(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_CIDRS, s, f, const struct tern_cidrs *, dflt, 0, 0, doc)
#define TERN_OPTION_ADDRESS(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_ADDRESS, s, f, tern_address, dflt, 0, 0, doc)
#define TERN_OPTION_PATH(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_PATH, s, f, tern_str, dflt, 0, 0, doc)
/* One that is only read; what is not said to be may be written to, and the sandbox lets it. */
#define TERN_PATH_READ_ONLY 1
#define TERN_OPTION_PATH_READ(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_PATH, s, f, tern_str, dflt, TERN_PATH_READ_ONLY, 0, doc)
#define TERN_OPTION_SECRET(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_SECRET, s, f, tern_str, dflt, 0, 0, doc)
#define TERN_OPTION_TABLE(s, f, dflt, doc) \
    TERN_OPTION_(#f, TERN_TYPE_TABLE, s, f, const struct tern_table *, dflt, 0, 0, doc)
#define TERN_OPTION_ENUM(s, f, dflt, names, text_)                                                \
    { .size = sizeof(struct tern_option), .key = #f, .type = TERN_TYPE_ENUM,                      \
      .offset = TERN_TYPED_(s, f, int), .text = dflt, .doc = text_, .values = names }
#define TERN_OPTION_RECORDS(s, f, table_, record_, lo, hi, text_)                                 \
    { .size = sizeof(struct tern_option), .key = #f, .type = TERN_TYPE_RECORDS,                   \
      .offset = TERN_TYPED_(s, f, struct tern_records), .text = "", .min = lo, .max = hi,         \
      .doc = text_, .records = table_, .record_size = sizeof(record_) }
#define TERN_OPTIONS_END { .size = 0 }

/* A result or a tag that a step may set, declared so that `when` and `tern check` know it. */
enum tern_note_kind { TERN_NOTE_RESULT, TERN_NOTE_TAG };
struct tern_note {
    size_t size;
    unsigned kind;
    const char *name;          /* a result's name is what follows `results.` */
    const char *const *values; /* NULL-terminated, or NULL for any */
    const char *doc;
};
#define TERN_RESULT(n, v, d) \
    { .size = sizeof(struct tern_note), .kind = TERN_NOTE_RESULT, .name = n, .values = v, .doc = d }
#define TERN_TAG(n, d) \
    { .size = sizeof(struct tern_note), .kind = TERN_NOTE_TAG, .name = n, .doc = d }
#define TERN_NOTES_END { .size = 0 }

/* ---- Hooks ------------------------------------------------------------- */

typedef tern_verdict (*tern_handler)(tern_call *call, const void *conf);

struct tern_hook {
    size_t size; /* of this struct */
    unsigned hook;
    tern_handler run;
    unsigned answers; /* TERN_MAY_* */
    unsigned flags;   /* TERN_BLOCKING, TERN_CLAIMS, TERN_ONCE */
    /* Runs exactly once if a waiting call ends without complete(): time-out,
     * disconnect, shutdown. Loop thread. May be NULL. */
    void (*on_abort)(tern_call *call, const void *conf);
    /* Since 1.1. Hook auth only: how it answers, and for which mechanisms. */
    unsigned auth_form;            /* enum tern_auth_form */
    const char *const *mechanisms; /* upper case, NULL-terminated; NULL: what the form serves by itself */
    /* Hook auth: whether the step, with these options, serves that one of them; NULL: all. So EHLO
     * announces what can succeed, and the step is asked about no other. Pure; any thread. */
    bool (*serves)(const void *conf, const char *mechanism);
};
#define TERN_HOOK(point, fn) \
    .size = sizeof(struct tern_hook), .hook = TERN_HOOK_##point, .run = fn
#define TERN_HOOKS_END { .size = 0 }

/*
 * What an entry for hook auth does. A module may have several such entries, one of each form or for
 * other mechanisms; EHLO announces the union of all steps.
 *
 * Answers: ACCEPT = that is who it says (auth_login() if the session's user is called otherwise);
 * REJECT = certainly not (535 5.7.8); NEXT = this step does not know the user, ask the next;
 * DEFER, ERROR = could not find out (454 4.7.0). A wrong password is REJECT; an unknown user, NEXT.
 */
enum tern_auth_form {
    /* Asked with user and password. By itself PLAIN and LOGIN. With XOAUTH2 and OAUTHBEARER the
     * password is the token; with EXTERNAL it is empty. */
    TERN_AUTH_VERIFY = 1,
    /* Asked with the user and the mechanism; answers ACCEPT behind auth_keys(), once in an
     * exchange. The core runs the mechanism. By itself SCRAM-SHA-1 and SCRAM-SHA-256, with -PLUS
     * under TLS, and CRAM-MD5 if the server's `auth.cram_md5` allows it: that needs keys.password. */
    TERN_AUTH_LOOKUP,
    /* The step owns challenge and response; `mechanisms` must be named. */
    TERN_AUTH_EXCHANGE,
};

/* ---- Answers of asynchronous calls -------------------------------------- */

enum tern_status {
    TERN_FOUND,
    TERN_ABSENT, /* certainly not there: NXDOMAIN, no such key */
    TERN_FAILED, /* could not find out: SERVFAIL, time-out, store down */
};

struct tern_kv_answer {
    unsigned status; /* enum tern_status */
    int64_t number;
    tern_str value;
};

enum tern_dns_type {
    TERN_DNS_A = 1,
    TERN_DNS_NS = 2,
    TERN_DNS_CNAME = 5,
    TERN_DNS_PTR = 12,
    TERN_DNS_MX = 15,
    TERN_DNS_TXT = 16,
    TERN_DNS_AAAA = 28,
    TERN_DNS_TLSA = 52,
};

struct tern_dns_record {
    tern_str text;    /* A, AAAA: printed address; MX, PTR, NS, CNAME: name without final dot;
                         TXT: strings joined; else the octets */
    unsigned number;  /* MX: preference */
    uint32_t ttl_s;
};

struct tern_dns_answer {
    unsigned status;  /* FOUND, ABSENT (NXDOMAIN or no data), FAILED */
    const char *error; /* FAILED: "SERVFAIL", "timeout", "refused", ...; ABSENT: "NXDOMAIN", "NODATA" */
    const struct tern_dns_record *records;
    size_t count;
    bool authentic; /* AD bit of a trusted resolver */
    /*
     * Since 1.1, in what was padding: how long it may be kept, rounded down, an ABSENT one, too (RFC 2308). 0: not at
     * all, as when it FAILED, and what `tern test` says.
     */
    uint32_t ttl_s;
};

struct tern_table_answer {
    unsigned status;
    tern_str value; /* empty where the table has keys only */
};

typedef void (*tern_kv_fn)(tern_call *call, const void *conf, const struct tern_kv_answer *answer);
typedef void (*tern_dns_fn)(tern_call *call, const void *conf, const struct tern_dns_answer *answer,
                            void *arg);
typedef void (*tern_table_fn)(tern_call *call, const void *conf,
                              const struct tern_table_answer *answer);
typedef void (*tern_timer_fn)(tern_call *call, const void *conf);
/* Since 1.1. The client's answer to a challenge, decoded. */
typedef void (*tern_auth_fn)(tern_call *call, const void *conf, tern_str response);

/* ---- Views -------------------------------------------------------------- */

/* A mailbox of RFC 5321. The null reverse-path has all three empty. */
struct tern_mailbox {
    tern_str address; /* local@domain as sent, quoting kept; without angle brackets */
    tern_str local;   /* unquoted, case kept */
    tern_str domain;  /* A-labels, lower case; [literals] kept; empty for <postmaster> */
};

struct tern_recipient {
    struct tern_mailbox mailbox;  /* as rewritten so far */
    struct tern_mailbox original; /* as given in RCPT TO */
    unsigned class_;              /* enum tern_class */
    tern_str claimed_by;          /* name of the step, or empty */
};

struct tern_header {
    tern_str name;
    tern_str value; /* raw: folding kept, without the final CRLF and the blank behind the colon */
};

/* One leaf of the MIME tree, in order of appearance. */
struct tern_part {
    tern_str type;     /* "text/plain", lower case */
    tern_str charset;  /* or empty */
    tern_str filename; /* RFC 2231 and 2047 decoded to UTF-8, or empty */
    tern_str encoding; /* "base64", "7bit", ... lower case */
    uint64_t offset, size; /* of its body in the message's body view */
    unsigned depth;
};

struct tern_config; /* the step or transport being checked, see tern_module.check */

/* A way for a recipient, given by a `route` step. Strings are copied. */
struct tern_route {
    size_t size;
    tern_str transport;        /* name from `transports:`, or a built-in type: smtp, lmtp, maildir */
    struct tern_list to;       /* "host", "host:port", "[addr]:port", "unix:/path"; empty = by MX */
    struct tern_list fallback; /* tried when all of `to` failed */
    tern_str source;           /* local address to bind, or empty */
    tern_str discard_reason;   /* not empty: accept and drop */
};

/* One delivery of one message to some recipients, as a module's transport sees it. */
typedef struct tern_delivery tern_delivery;

/*
 * A transport that a module offers. `deliver` runs on a pool thread and may
 * block; it gives each recipient an outcome by delivery_outcome(); one without an
 * outcome is deferred. After some minutes the server waits no longer: what has no outcome by then
 * is deferred, what is said later is not heard, and the thread is occupied until it comes back. So
 * bound whatever may block; mail that is handed on later is handed on twice.
 */
struct tern_transport {
    size_t size;
    const char *type; /* what `transports: { x: { type: ... } }` names */
    const char *summary;
    const struct tern_option *options;
    size_t conf_size;
    void (*deliver)(tern_delivery *delivery, const void *conf);
    /* It stores octets that are not lines (BODY=BINARYMIME, RFC 3030) as they are; such mail is
     * bounced with 5.6.3 where this is not set. */
    bool binary;
    /* As tern_module.check, of a transport of transports:. May be NULL. */
    int (*check)(void *conf, struct tern_config *config);
};

/*
 * A store below the kv table: what must survive a restart. The core keeps the
 * table in memory and hands changes down in batches, from one thread of its own, so
 * none of these needs a lock. Losing the last seconds in a crash is acceptable.
 */
struct tern_kv_change {
    tern_str key;
    tern_str value;      /* empty and expires_ms 0: remove */
    int64_t number;
    uint64_t expires_ms; /* wall clock */
};
struct tern_kv_store {
    size_t size;
    const char *type; /* what `kv: { provider: ... }` names */
    const struct tern_option *options;
    size_t conf_size;
    /* Opens or makes the store. On failure writes a sentence of at most error_octets to error. */
    int (*open)(const void *conf, void **ret_store, char *error, size_t error_octets);
    /* Calls `each` for every entry that has not expired. */
    int (*load)(void *store, void (*each)(void *arg, const struct tern_kv_change *), void *arg);
    int (*write)(void *store, const struct tern_kv_change *changes, size_t count);
    void (*close)(void *store);
};

/*
 * Since 1.1. The keys of a user, as a LOOKUP step knows them: stored ones (salt, iterations, stored_key,
 * server_key: RFC 5802 3), or the password in clear, from which the core computes them.
 */
struct tern_auth_keys {
    size_t size;      /* of this struct */
    const char *hash; /* "SHA-1" or "SHA-256": that of the stored keys */
    tern_str salt;
    unsigned iterations;
    tern_str stored_key, server_key;
    tern_str password; /* UTF-8, or empty */
};

/*
 * Since 1.1. A provider of tables: `tables: { NAME: { TYPE: { options } } }`, and the same wherever an option
 * takes a table. The server looks for it in the module table_TYPE. The core keeps answers for a while,
 * merges equal questions, and calls open, find and close on threads of its own, each with a connection
 * of its own: they may block, but come back within timeout_ms. On failure they return a negative
 * errno and write a sentence without secrets of at most error_octets to error; after
 * one the connection is closed, and the next is opened after a pause. -EBADMSG says that this answer
 * alone is of no use: the connection stays. After -ECONNRESET on a connection that has served before
 * the question is put once more at once: the server was restarted.
 */
struct tern_table_provider {
    size_t size;
    const char *type;
    const struct tern_option *options; /* of any type but TABLE */
    size_t conf_size;
    /* What the options say together; 0, or negative with a sentence. Writes nothing. May be NULL. */
    int (*check)(const void *conf, char *error, size_t error_octets);
    int (*open)(const void *conf, uint64_t timeout_ms, void **ret_connection, char *error,
                size_t error_octets);
    /* The key is in ASCII lower case and may hold any octet, NUL too. ret->status is FOUND or ABSENT;
     * the value is borrowed until the next call with this connection. */
    int (*find)(void *connection, tern_str key, uint64_t timeout_ms, struct tern_table_answer *ret,
                char *error, size_t error_octets);
    void (*close)(void *connection);
};

/*
 * Since 1.1. What tern-local, the process that may become another user, is asked to do with the mail of a delivery.
 * It runs in a process of its own, as that user, within timeout_ms. What supervisor.conf does not allow (users below
 * uid_min, folders, programs) is refused, and root always. Strings hold no NUL.
 */
enum tern_local_op {
    TERN_LOCAL_MAILDIR = 1, /* into the Maildir `path` */
    TERN_LOCAL_PIPE,        /* to the standard input of the program argv[0] */
};
struct tern_local {
    size_t size; /* of this struct */
    unsigned op;
    tern_str user;          /* a name of the system's, see passwd(5) */
    tern_str path;          /* MAILDIR: absolute; "%{home}" at its beginning is the user's home */
    bool create;            /* MAILDIR: make folders that are missing */
    bool lf;                /* CRLF of the message becomes LF */
    tern_str head;          /* octets put before the message, as they are */
    struct tern_list argv;  /* PIPE: at most 64, the first is the absolute path of the program */
    struct tern_list env;   /* PIPE: at most 32 NAME=value; nothing else is in its environment */
    uint64_t timeout_ms;    /* 1 to an hour; the delivery's own bound cuts it short */
    unsigned output_octets; /* PIPE: so much of what it says is kept, at most 350 */
};

enum tern_local_status {
    TERN_LOCAL_DONE = 1, /* delivered; of a login: yes */
    TERN_LOCAL_DEFERRED, /* for now: no answer, no time, no space, exit status 75 */
    TERN_LOCAL_FAILED,   /* for good */
    TERN_LOCAL_NO_USER,  /* the system knows no such user, or supervisor.conf lets him have no mail */
    TERN_LOCAL_REFUSED,  /* supervisor.conf does not allow the folder, the program, the service */
};
struct tern_local_answer {
    unsigned status;
    char enhanced[12]; /* RFC 3463, fits the status; for NO_USER and REFUSED "5.1.1", "5.7.1" */
    char text[1024];   /* one line: the file's folder, what the program said, or why not */
};

/* Since 1.1. What config_local() asks about. */
enum tern_local_need {
    TERN_LOCAL_USER = 1, /* as whom it is done */
    TERN_LOCAL_COMMAND,  /* the absolute path of a program */
    TERN_LOCAL_SERVICE,  /* of PAM */
};

/* Since 1.1. Who logs in, for PAM. */
struct tern_pam {
    size_t size;       /* of this struct */
    tern_str service;  /* one that `pam` of supervisor.conf names */
    tern_str user;     /* at most 255 octets */
    tern_str password;
    tern_str address;  /* the client's: PAM_RHOST */
    uint64_t timeout_ms;
};

struct tern_script; /* see tern_module.script */

struct tern_vrfy {
    bool expand;       /* EXPN, not VRFY */
    tern_str argument; /* as it was said */
    struct tern_mailbox mailbox; /* if that is an address, with or without brackets; else all is empty */
};

/* ---- The functions of the core ------------------------------------------ */

struct tern_api {
    size_t size; /* of this struct as the server knows it */
    unsigned abi_major, abi_minor;

    /* -- session view. Valid at every hook with a session; else empty, 0 or NULL. -- */

    /* The client's address, as PROXY or XCLIENT gave it if the listener trusts them. */
    const tern_address *(*client_address)(const tern_call *call);
    tern_str (*client_address_text)(const tern_call *call);
    tern_str (*session_id)(const tern_call *call);
    tern_str (*listener_name)(const tern_call *call);
    tern_str (*policy_name)(const tern_call *call);
    tern_str (*helo_name)(const tern_call *call);   /* as sent; empty before */
    tern_str (*user)(const tern_call *call);        /* authenticated user, or empty */
    bool (*is_esmtp)(const tern_call *call);
    bool (*is_tls)(const tern_call *call);

    /* -- transaction or message view -- */

    tern_str (*queue_id)(const tern_call *call);    /* from MAIL on */
    const struct tern_mailbox *(*sender)(const tern_call *call);
    const struct tern_mailbox *(*sender_original)(const tern_call *call);
    bool (*is_smtputf8)(const tern_call *call);
    uint64_t (*declared_size)(const tern_call *call); /* SIZE=, or 0 */
    /* Recipients accepted so far; at `message` and later those of the group; at
     * route, deliver and result those concerned. */
    unsigned (*rcpt_count)(const tern_call *call);
    const struct tern_recipient *(*rcpt)(const tern_call *call, unsigned index);
    /* At `rcpt`: the recipient in question (not yet counted in rcpt_count). Else NULL. */
    const struct tern_recipient *(*current_rcpt)(const tern_call *call);

    /* -- the message: hooks message, queue, sign; deliver, route and result see no body -- */

    uint64_t (*message_octets)(const tern_call *call);
    unsigned (*header_count)(const tern_call *call);
    /* NULL past the end. */
    const struct tern_header *(*header_at)(const tern_call *call, unsigned index);
    /* The nth field of that name, from 0, case ignored; NULL if there is none. */
    const struct tern_header *(*header)(const tern_call *call, const char *name, unsigned nth);
    /* Copies up to `octets` of the body (behind the blank line) from `offset`; returns
     * the number copied, 0 at the end, or a negative errno. May read from disk. */
    int64_t (*body_read)(const tern_call *call, uint64_t offset, void *buffer, size_t octets);
    uint64_t (*body_octets)(const tern_call *call);
    /* MIME leaves, at most 1000 and 20 levels deep; parsed on first use. */
    unsigned (*part_count)(tern_call *call);
    const struct tern_part *(*part)(tern_call *call, unsigned index);

    /* -- notes -- */

    /* "not_run" until the step set it. */
    tern_str (*result)(const tern_call *call, const char *name);
    bool (*has_tag)(const tern_call *call, const char *name);
    /* Typed as text; empty if unset. Session or transaction variable: kept over spool. */
    tern_str (*var)(const tern_call *call, const char *name);

    /* -- at `result` -- */
    tern_str (*outcome)(const tern_call *call); /* delivered, deferred, bounced, expired */
    tern_str (*outcome_text)(const tern_call *call);

    /* -- the journal: applied with the answer, or dropped. Loop or pool thread of the step. -- */

    /*
     * Refuse, with a reply. `verdict` is TERN_REJECT, TERN_DEFER or TERN_CLOSE; the core
     * answers on_error and logs the step if the first digit of `code` contradicts it or the
     * text holds CR, LF or a control. Goes into the journal of `call`: nothing is sent
     * unless the step's answer comes in time. Returns `verdict`, so that a step can end
     * in `return tern->reply(...)`.
     * Source: RFC 5321 4.2 (reply codes), RFC 3463 (enhanced codes).
     */
    tern_verdict (*reply)(tern_call *call, tern_verdict verdict, unsigned code, const char *enhanced,
                          const char *format, ...) TERN_PRINTF(5, 6);
    /* Hold with a reason shown in the queue. Returns TERN_HOLD. */
    tern_verdict (*hold)(tern_call *call, const char *format, ...) TERN_PRINTF(2, 3);
    int (*claim)(tern_call *call, enum tern_class class_);
    int (*tag)(tern_call *call, const char *name);
    int (*set_result)(tern_call *call, const char *name, tern_str value);
    /* -E2BIG: 64 KB of a value, 2000 names of a transaction, or of a session before one. */
    int (*set_var)(tern_call *call, const char *name, tern_str value);
    /* Adds an input of the decision (a DNS answer, a list entry) to the record. */
    void (*note)(tern_call *call, const char *key, tern_str value);
    int (*rewrite_sender)(tern_call *call, tern_str address);   /* mail, queue */
    int (*rewrite_rcpt)(tern_call *call, tern_str address);     /* rcpt: the current one */
    int (*expand_rcpt)(tern_call *call, tern_str address);      /* rcpt: one child more; replaces it */
    int (*add_rcpt)(tern_call *call, tern_str address);         /* message: one more; see TERN_CLAIMS */
    int (*header_prepend)(tern_call *call, const char *name, tern_str value); /* on top */
    int (*header_append)(tern_call *call, const char *name, tern_str value);  /* below the last */
    int (*header_replace)(tern_call *call, const char *name, unsigned nth, tern_str value);
    int (*header_remove)(tern_call *call, const char *name, unsigned nth);
    int (*withhold)(tern_call *call, const char *capability);   /* ehlo */
    /* route: the way for the recipient; answer TERN_ACCEPT. deliver: replaces what is set. */
    int (*set_route)(tern_call *call, const struct tern_route *route);

    /*
     * -- asynchronous: each returns TERN_WAIT, or TERN_ERROR if it could not start. Several
     * may be under way in one call (a fan-out); what is left when it ends is cancelled. --
     */

    /*
     * The answer of a waiting step; any thread; later ones are ignored. But a call that has ended
     * (time-out, disconnect) may be gone: a thread of the module's own may touch it only with a
     * reference, which the handler takes before it hands the call over, and which is given back
     * behind complete(). Callbacks of the core need none.
     */
    void (*complete)(tern_call *call, tern_verdict verdict);
    /* Keeps the call and its view, beyond the step's answer and end, too. Any thread. */
    tern_call *(*call_ref)(tern_call *call);
    void (*call_unref)(tern_call *call);
    tern_verdict (*dns)(tern_call *call, const char *name, unsigned type, tern_dns_fn done,
                        void *arg);
    /* Stores `number` for at least expire_s unless the key is there; answers FOUND with what was
     * stored before, or ABSENT. `space` separates modules; shadow steps get a space of their own. */
    tern_verdict (*kv_put_new)(tern_call *call, const char *space, tern_str key, int64_t number,
                               uint64_t expire_s, tern_kv_fn done);
    tern_verdict (*kv_get)(tern_call *call, const char *space, tern_str key, tern_kv_fn done);
    tern_verdict (*kv_put)(tern_call *call, const char *space, tern_str key, int64_t number,
                           tern_str value, uint64_t expire_s, tern_kv_fn done);
    /* Adds and answers the sum; a key that is not there begins at 0 and expires after expire_s. */
    tern_verdict (*kv_add)(tern_call *call, const char *space, tern_str key, int64_t amount,
                           uint64_t expire_s, tern_kv_fn done);
    tern_verdict (*kv_remove)(tern_call *call, const char *space, tern_str key, tern_kv_fn done);
    tern_verdict (*table_find)(tern_call *call, const struct tern_table *table, tern_str key,
                               tern_table_fn done);
    /* For tables in memory (inline, file): answers at once, 0; -EAGAIN: use table_find. */
    int (*table_peek)(tern_call *call, const struct tern_table *table, tern_str key,
                      struct tern_table_answer *ret);
    tern_verdict (*after_ms)(tern_call *call, uint64_t ms, tern_timer_fn done);
    /* The twins for BLOCKING steps: wait on the pool thread. */
    int (*dns_sync)(tern_call *call, const char *name, unsigned type, struct tern_dns_answer *ret);
    int (*kv_get_sync)(tern_call *call, const char *space, tern_str key, struct tern_kv_answer *ret);
    int (*kv_put_sync)(tern_call *call, const char *space, tern_str key, int64_t number,
                       tern_str value, uint64_t expire_s);
    int (*table_find_sync)(tern_call *call, const struct tern_table *table, tern_str key,
                           struct tern_table_answer *ret);

    /* -- helpers -- */

    int64_t (*now_s)(const tern_call *call); /* wall clock; virtual under `tern test` */
    int64_t (*now_ms)(const tern_call *call);
    /* Zeroed memory that lives until the call has ended; freed by the core. */
    void *(*alloc)(tern_call *call, size_t octets);
    tern_str (*format)(tern_call *call, const char *format, ...) TERN_PRINTF(2, 3);
    /* A pointer of the step's own, NULL at first: from the handler to its callbacks and on_abort. */
    void **(*slot)(tern_call *call);
    void *(*state)(const tern_call *call); /* what init() returned */
    tern_str (*step_name)(const tern_call *call);
    bool (*cidrs_match)(const struct tern_cidrs *set, const tern_address *address);
    bool (*table_empty)(const struct tern_table *table); /* true for NULL */
    tern_str (*hostname)(void);                          /* `hostname:` of the config. Any thread */
    /* Any thread. `call` may be NULL. */
    void (*log)(const tern_call *call, enum tern_log_level level, const char *format, ...)
        TERN_PRINTF(3, 4);
    /* Numbers in /metrics. The handle is made in init(); adding is for any thread. */
    void *(*counter)(const char *name, const char *doc);
    void (*counter_add)(void *counter, uint64_t amount);
    void *(*histogram)(const char *name, const char *doc);
    void (*histogram_observe)(void *histogram, uint64_t microseconds);

    /* -- while a generation is built: check() only -- */

    /* Adds an error or a warning at the option `key` of the step (NULL: at the step); for
     * records write "rules[2].host". */
    void (*config_error)(struct tern_config *config, const char *key, const char *format, ...)
        TERN_PRINTF(3, 4);
    void (*config_warning)(struct tern_config *config, const char *key, const char *format, ...)
        TERN_PRINTF(3, 4);
    /* Memory of the generation, zeroed; for what check() computes from the options. */
    void *(*config_alloc)(struct tern_config *config, size_t octets);
    /* Whether `transports:` has that name, or it is a built-in type. */
    bool (*config_has_transport)(struct tern_config *config, tern_str name);

    /* -- for a transport's deliver(). Pool thread. -- */

    tern_str (*delivery_id)(const tern_delivery *delivery);
    const struct tern_mailbox *(*delivery_sender)(const tern_delivery *delivery);
    unsigned (*delivery_rcpt_count)(const tern_delivery *delivery);
    const struct tern_recipient *(*delivery_rcpt)(const tern_delivery *delivery, unsigned index);
    uint64_t (*delivery_octets)(const tern_delivery *delivery);
    /* The message as it goes out, CRLF line ends, no Return-Path; from `offset`. Returns octets
     * read, 0 at the end, negative errno. */
    int64_t (*delivery_read)(tern_delivery *delivery, uint64_t offset, void *buffer, size_t octets);
    /* verdict: TERN_ACCEPT = delivered, TERN_DEFER, TERN_REJECT. */
    void (*delivery_outcome)(tern_delivery *delivery, unsigned index, tern_verdict verdict,
                             unsigned code, const char *enhanced, const char *format, ...)
        TERN_PRINTF(6, 7);

    /* == Since 1.1 == */

    /* -- hook auth; loop or pool thread of the step. What these return lives until the step has
     * answered and is wiped then. Empty at other hooks. -- */

    tern_str (*auth_mechanism)(const tern_call *call); /* "PLAIN", upper case */
    /* VERIFY, LOOKUP: who logs in, UTF-8 without NUL and controls. EXTERNAL: a name of the client's
     * certificate, which was verified. */
    tern_str (*auth_user)(const tern_call *call);
    tern_str (*auth_password)(const tern_call *call); /* VERIFY: password or token */
    /* Journal: the session's user if this step's ACCEPT holds; else it is auth_user(). */
    int (*auth_login)(tern_call *call, tern_str user);
    int (*auth_keys)(tern_call *call, const struct tern_auth_keys *keys); /* LOOKUP: journal, copied */
    /* EXCHANGE: the initial response, decoded; ptr NULL: the client sent none. */
    tern_str (*auth_response)(const tern_call *call);
    /*
     * EXCHANGE, not BLOCKING: sends `challenge` and returns TERN_WAIT; done() is given the answer.
     * The step's time-out stands still meanwhile. When the client cancels (`*`) or hangs up the call
     * ends: on_abort. Loop thread.
     */
    tern_verdict (*auth_challenge)(tern_call *call, tern_str challenge, tern_auth_fn done);

    /*
     * From a thread of the module's own, which holds a reference (call_ref): runs done() on the
     * call's loop, where all of the above is allowed, if the step still waits then; else not. For
     * steps on the loop, not BLOCKING ones. False: it never will. Any thread.
     */
    bool (*wake)(tern_call *call, tern_timer_fn done);

    /*
     * connect, not BLOCKING: octets that the client has sent before it was greeted; 0 elsewhere, and where
     * it speaks first by right (TLS from the start). Loop thread.
     */
    uint64_t (*early_octets)(const tern_call *call);

    /* For a transport's deliver(): the mail was BODY=BINARYMIME, so CR and LF in it may be data.
     * Only a transport with `binary` sees such mail. */
    bool (*delivery_is_binary)(const tern_delivery *delivery);

    /*
     * The step failed: one sentence for log and decision record (what could not be done, with
     * whom; no secret). Returns TERN_ERROR, so that a step can end in `return tern->fail(...)` or
     * `tern->complete(call, tern->fail(...))`. Loop or pool thread of the step.
     */
    tern_verdict (*fail)(tern_call *call, const char *format, ...) TERN_PRINTF(2, 3);

    /* -- session view under TLS (is_tls()); else empty -- */

    tern_str (*tls_version)(const tern_call *call); /* "TLSv1.3" */
    tern_str (*tls_cipher)(const tern_call *call);  /* IANA name: "TLS_AES_256_GCM_SHA384" */
    tern_str (*tls_sni)(const tern_call *call);     /* host name the client asked for, lower case */
    /* Who the client is by a certificate that an authority of the listener's client_ca vouches for:
     * a mailbox of it, else its CN, else a host name. */
    tern_str (*tls_client)(const tern_call *call);
    /* Of any certificate that the client showed: who it says it is for (RFC 2253; not to be
     * believed while tls_client() is empty), its SHA-256 in hex, and why it is not verified. */
    tern_str (*tls_subject)(const tern_call *call);
    tern_str (*tls_fingerprint)(const tern_call *call);
    tern_str (*tls_error)(const tern_call *call);

    /*
     * Hooks message, queue, sign: the header octet for octet, fields with their final CRLF, without the empty
     * line and at most 1 MB: as it goes out, with Received and what steps have changed so far; or `original`,
     * as the client sent it, which is what others have signed. No NUL stands behind it. 0, or the
     * negative errno of a body that cannot be read. Any thread.
     */
    int (*header_octets)(const tern_call *call, bool original, tern_str *ret);
    /*
     * The rest of a step on the loop, which has nothing under way, on a pool thread: `run` may do there what
     * a BLOCKING step may and gives the answer, not WAIT. Returns WAIT, or ERROR if the pool is full; the loop
     * touches the call no more. on_abort is not called for it. Timers and questions of DNS may be under way: they
     * are let go of, their callbacks do not run.
     */
    tern_verdict (*offload)(tern_call *call, tern_handler run);

    /* -- tern-local; pool thread, which waits for the answer -- */

    /* For a transport's deliver(): the mail, as `local` says. Fills *ret, whatever happens; gives no
     * recipient an outcome. */
    void (*delivery_local)(tern_delivery *delivery, const struct tern_local *local,
                           struct tern_local_answer *ret);
    /*
     * For a BLOCKING step: whether PAM lets that user in; account and password are looked at. Fills *ret: DONE = yes,
     * with the name in text that PAM's modules gave the user, if they did; FAILED = no; NO_USER; else nobody knows,
     * and text says why. What *ret holds is no secret.
     */
    void (*pam_sync)(tern_call *call, const struct tern_pam *pam, struct tern_local_answer *ret);

    /*
     * Hook vrfy: what VRFY or EXPN asks for; NULL elsewhere. A step that knows answers by reply(): ACCEPT with 250,
     * 251 or 252 (a text of several lines, \n between them, makes a reply of as many), REJECT or DEFER. Any thread.
     */
    const struct tern_vrfy *(*vrfy)(const tern_call *call);

    /* check(): whether a step that stands before this one declares that result. */
    bool (*config_has_result)(struct tern_config *config, const char *name);
    /*
     * The step decides for the record only: it is in shadow mode, or this is `tern test`. What has an effect beyond
     * the journal (a file, a message to somebody else) is then left out. Any thread.
     */
    bool (*is_rehearsal)(const tern_call *call);

    /*
     * For tern_module.check: tern-local will be asked for that with these options. A warning at `key` if
     * supervisor.conf does not allow it; nothing where the rules are not known, or the name depends on the mail.
     */
    void (*config_local)(struct tern_config *config, const char *key, enum tern_local_need need, tern_str name);

    /*
     * A user's name as a directory compares it that heeds neither case nor blanks (RFC 4518): case folded, no blanks in
     * front and behind, one between. In the call's memory. Of a BLOCKING step also the pool's thread.
     */
    tern_str (*fold_name)(tern_call *call, tern_str name);

    /* check(): whether the operator wrote the option, `key` as in config_error(), and not only its default counts. */
    bool (*config_is_given)(struct tern_config *config, const char *key);
};

/* True if the server's table has this function. */
#define TERN_HAS(api, fn) \
    ((api)->size >= offsetof(struct tern_api, fn) + sizeof((api)->fn) && (api)->fn != NULL)

/* ---- The descriptor ------------------------------------------------------ */

struct tern_module {
    uint32_t magic; /* these four are frozen for ever */
    uint32_t size;
    uint16_t abi_major;
    uint16_t abi_minor; /* the least the module needs */

    const char *name;
    const char *summary;
    const struct tern_option *options;
    size_t conf_size;
    const struct tern_hook *hooks;
    const struct tern_note *notes;
    const char *const *after;  /* names of modules that must stand before this one, if used */
    const char *const *before;
    /* Once per process, before any session. Supervisor's privileges are gone. */
    int (*init)(const struct tern_api *api, void **ret_state);
    void (*fini)(void *state);
    /* Per step and generation, after the options are parsed; `conf` may still be written.
     * Reports by config_error(); returns 0, or a negative errno for "already reported". */
    int (*check)(void *conf, struct tern_config *config);
    const struct tern_transport *const *transports; /* NULL-terminated */
    const struct tern_kv_store *kv_store;
    /*
     * For a module that runs scripts: given the value of the step's option `script`, returns
     * the descriptor of that script (own options beside the module's, own hooks, name). Called
     * once per script file and generation, from the thread that builds it; `error` gets one
     * sentence with file:line. The descriptor lives until script_free.
     */
    int (*script)(tern_str path, bool trusted, const struct tern_module **ret, char *error,
                  size_t error_octets);
    void (*script_free)(const struct tern_module *script);
    void *user; /* the module's own */
    const struct tern_table_provider *const *tables; /* NULL-terminated */
};

#define TERN_MODULE(...)                                                                          \
    static const struct tern_module tern_module_ = { .magic = TERN_ABI_MAGIC,                     \
                                                     .size = sizeof(struct tern_module),          \
                                                     .abi_major = TERN_ABI_MAJOR,                 \
                                                     .abi_minor = TERN_ABI_MINOR, __VA_ARGS__ };  \
    TERN_EXPORT const struct tern_module *tern_module_entry(void);                                \
    TERN_EXPORT const struct tern_module *tern_module_entry(void) { return &tern_module_; }

#ifdef __cplusplus
}
#endif
#endif
