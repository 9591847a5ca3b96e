/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - reads one DNS answer as it came from the network.
 *
 * Pure: octets in, records out. c-ares has already matched id, sender and question; they
 * are checked here once more where it is cheap. Sources: RFC 1035 4.1, RFC 2308 (negative
 * answers), RFC 6891 (the OPT record is skipped), RFC 9267 (how name decoders go wrong).
 */
#ifndef TERN_DNS_WIRE_H
#define TERN_DNS_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include <tern/module.h>

#include "base/arena.h"
#include "base/slice.h"

#define DNS_NAME_OCTETS_MAX 255  /* on the wire, RFC 1035 2.3.4 */
#define DNS_NAME_TEXT_MAX   1024 /* each octet as \DDD, and a NUL */
#define DNS_HOST_TEXT_MAX   253  /* a host name as text, without final dot */
#define DNS_RECORDS_MAX     1000 /* of an answer section; what is past that is not read */
#define DNS_CHAIN_MAX       16   /* CNAMEs in a row */

enum dns_wire_kind {
    DNS_WIRE_DATA,
    DNS_WIRE_NODATA,
    DNS_WIRE_NXDOMAIN,
    DNS_WIRE_FAILED, /* the server could not or would not answer: see error */
};

struct dns_wire {
    enum dns_wire_kind kind;
    unsigned rcode;
    const char *error; /* NODATA, NXDOMAIN and FAILED: a word for people; static */
    struct tern_dns_record *records;
    size_t count;
    bool authentic; /* the AD bit as it came */
    bool has_ttl;   /* negative answers: there was an SOA */
    uint32_t ttl_s; /* least of the records and aliases; negative: RFC 2308 5 */
};

/*
 * Reads the answer to a question for `name` (lower case, no final dot) and `type`. Texts and
 * records are allocated from `arena`. Returns 0, or -EBADMSG when the octets make no sense
 * (then *ret is untouched). Aliases are followed inside the packet, in any order.
 */
int dns_wire_parse(struct slice packet, const char *name, unsigned type, struct arena *arena,
                   struct dns_wire *ret);

/*
 * Reads a name at *at, following compression pointers, as text without a final dot: "" is the
 * root; dots and backslashes inside a label and octets that do not print are escaped as in
 * RFC 1035 5.1. Moves *at behind the name. False if it is malformed.
 */
bool dns_wire_name(struct slice packet, size_t *at, char out[DNS_NAME_TEXT_MAX]);

/*
 * A name of a host: labels of letters, digits, '-' and '_', 1 to 63 octets each,
 * 253 in all. Writes it in lower case without final dot. False otherwise.
 */
bool dns_host_name(struct slice text, char out[DNS_HOST_TEXT_MAX + 1]);
/* A name that may be asked for: labels of anything that prints but the backslash (RFC 2181 11); SPF
 * makes names of local parts. */
bool dns_question_name(struct slice text, char out[DNS_HOST_TEXT_MAX + 1]);

#endif
