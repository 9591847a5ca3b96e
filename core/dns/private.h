/* SPDX-License-Identifier: Apache-2.0 */
/*
 * private.h - what the files of this folder share: an answer that is kept, a question
 * under way, a server.
 *
 * A question makes its tries one after the other: each is one packet to one server. Each
 * server has a c-ares channel of its own, so that Tern and not c-ares says which server is
 * asked next, knows who answered (the AD bit counts from loopback only) and sees NXDOMAIN and
 * SERVFAIL as packets.
 */
#ifndef TERN_DNS_PRIVATE_H
#define TERN_DNS_PRIVATE_H

#include "base/arena.h"
#include "base/table.h"
#include "dns/dns.h"
#include "dns/wire.h"

#define DNS_SERVERS_MAX    8
#define DNS_TRIES_MAX      10
#define DNS_QUESTIONS_MAX  10000             /* under way at once */
#define DNS_CACHE_OCTETS   (32u * 1024 * 1024) /* of all kept answers of one loop */
#define DNS_KEY_MAX        (DNS_HOST_TEXT_MAX + 16)
#define DNS_DOWN_MS        30000 /* a server that did not answer is asked last for so long */

/* How long an answer is kept, in seconds. */
#define DNS_TTL_MIN_S      1
#define DNS_TTL_MAX_S      3600
#define DNS_NEGATIVE_MAX_S 900 /* RFC 2308 section 5 allows hours; a new domain should not wait */
#define DNS_FAILED_S       5   /* RFC 9520 section 3.2: failures are kept too, for a short time */

/* ---- cache.c ---- */

struct dns_entry {
    struct list link; /* in the order of use */
    struct arena arena;
    struct tern_dns_answer answer;
    struct tern_dns_record *records; /* those of the answer */
    uint64_t expires_ms;
    unsigned refs;
    bool cached;
    char key[]; /* empty: not in the cache */
};

struct dns_cache {
    struct table entries;
    struct list used; /* newest use last */
    size_t octets, octets_max, entries_max;
};

void dns_cache_init(struct dns_cache *cache, size_t entries_max, size_t octets_max);
void dns_cache_fini(struct dns_cache *cache);
/* The entry with a reference, its TTLs counted down, or NULL. */
struct dns_entry *dns_cache_get(struct dns_cache *cache, const char *key, uint64_t now_ms);
void dns_cache_put(struct dns_cache *cache, struct dns_entry *entry, uint64_t now_ms,
                   uint32_t ttl_s);

struct dns_entry *dns_entry_new(const char *key); /* one reference; answer zero */
void dns_entry_unref(struct dns_entry *entry);    /* NULL is allowed */
struct dns_entry *dns_entry_failed(const char *key, const char *error); /* error: static */
/* Copies the answer. */
struct dns_entry *dns_entry_copy(const struct tern_dns_answer *answer);

/* ---- questions: dns.c ---- */

struct dns_question {
    struct list link; /* in dns->turn while something is to be done for it */
    struct dns *dns;
    struct list waiters; /* struct dns_request */
    struct dns_entry *entry; /* the answer, when it is there */
    const char *error;   /* the most telling failure so far */
    unsigned tries;      /* packets sent */
    unsigned said_no;    /* bits of servers that answered with a failure: not asked again */
    unsigned server;     /* the one asked now */
    unsigned type;
    bool waiting;        /* for a packet */
    bool pending;        /* in dns->pending */
    char name[DNS_HOST_TEXT_MAX + 1];
    char key[DNS_KEY_MAX];
};

/* ---- servers: server.c ---- */

struct dns_server;

/* What came of one try. `packet` is valid during the call; status is ARES_*. */
void dns_question_answered(struct dns_question *question, int status, struct slice packet);

struct dns_server *dns_server_new(struct loop *loop, const tern_address *address,
                                  unsigned timeout_ms);
void dns_server_free(struct dns_server *server); /* questions under way hear ARES_EDESTRUCTION */
/* One try; dns_question_answered() follows, perhaps from inside this call. */
void dns_server_send(struct dns_server *server, struct dns_question *question);
bool dns_server_is_loopback(const struct dns_server *server);
/* It did not understand EDNS: asked without from now on. True if this is news. */
bool dns_server_without_edns(struct dns_server *server);
void dns_server_mark_down(struct dns_server *server, bool down);
bool dns_server_is_down(const struct dns_server *server);
/* The servers of /etc/resolv.conf. Returns how many, or a negative errno. */
int dns_servers_of_system(tern_address out[DNS_SERVERS_MAX]);

struct loop *dns_loop(const struct dns *dns);

#endif
