/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns.h - asynchronous DNS for one loop: a stub resolver over c-ares with a TTL cache.
 *
 * One `struct dns` per loop thread, used by that thread only. Equal questions under way are
 * merged. The AD bit counts only where the server is on loopback.
 */
#ifndef TERN_DNS_DNS_H
#define TERN_DNS_DNS_H

#include <tern/module.h>

#include "net/loop.h"

struct dns;
struct dns_request;
struct dns_entry;

struct dns_options {
    const tern_address *servers; /* port 0 = 53; count 0: /etc/resolv.conf */
    size_t server_count;
    unsigned timeout_ms;         /* per try; 0: 5000 */
    unsigned tries;              /* 0: 3 */
    unsigned cache_entries_max;  /* 0: 10000 */
};

/* The answer is borrowed during the call. */
typedef void (*dns_fn)(void *arg, const struct tern_dns_answer *answer);

int dns_new(struct loop *loop, const struct dns_options *options, struct dns **ret);
void dns_free(struct dns *dns); /* ends all questions with FAILED "shutdown" */
/*
 * Asks. `done` is called exactly once, later, from the loop; never from inside this
 * call, except with a cached answer when `inline_ok`. Returns a handle for dns_cancel()
 * or NULL when it was already answered. A name that is no host name: FAILED "bad name".
 */
struct dns_request *dns_ask(struct dns *dns, const char *name, unsigned type, bool inline_ok,
                            dns_fn done, void *arg);
void dns_cancel(struct dns_request *request); /* `done` is not called any more */
/*
 * What the cache has, without a question: NULL if nothing. Stays as it is until it is given back, which may be behind
 * dns_free(); on the loop's thread, too.
 */
struct dns_entry *dns_kept(struct dns *dns, const char *name, unsigned type);
const struct tern_dns_answer *dns_kept_answer(const struct dns_entry *entry);
void dns_kept_release(struct dns_entry *entry); /* NULL is allowed */

/*
 * The way to a mail domain (RFC 5321 5.1, RFC 7505): MX sorted by preference, hosts of equal
 * preference shuffled, else the domain itself; then A and AAAA of each.
 */
struct mx_host {
    const char *name;
    unsigned preference;
    const tern_address *addresses; /* port 0 */
    unsigned address_count;
    bool failed; /* its addresses could not be looked up for now */
};
enum mx_status {
    MX_FOUND,
    MX_NULL,       /* null MX: 556 5.1.10 */
    MX_NO_DOMAIN,  /* NXDOMAIN: 550 5.1.2 */
    MX_NO_ADDRESS, /* neither MX nor address, or none of the MX has one: 550 5.1.2/5.4.4 */
    MX_FAILED,     /* for now: 451 4.4.3 */
};
struct mx_answer {
    enum mx_status status;
    const char *error; /* for people: "SERVFAIL for MX of example.org" */
    const struct mx_host *hosts;
    unsigned count; /* at most MX_HOSTS_MAX */
};
#define MX_HOSTS_MAX     20
#define MX_ADDRESSES_MAX 10 /* per host */
typedef void (*mx_fn)(void *arg, const struct mx_answer *answer);
struct mx_request;
struct mx_request *mx_ask(struct dns *dns, const char *domain, mx_fn done, void *arg);
/* A/AAAA of one host only, for fixed hosts: an answer with one host. */
struct mx_request *host_ask(struct dns *dns, const char *host, mx_fn done, void *arg);
void mx_cancel(struct mx_request *request);

/* Tests: every question of this process is answered by `stub` instead of the network. The stub
 * fills *ret (memory of its own, valid until the next call) or returns false for NXDOMAIN. */
typedef bool (*dns_stub)(void *arg, const char *name, unsigned type, struct tern_dns_answer *ret);
void dns_set_stub(dns_stub stub, void *arg);

#endif
