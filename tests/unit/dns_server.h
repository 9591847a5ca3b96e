/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns_server.h - a DNS server for tests: one thread, UDP and TCP on one free loopback port,
 * answers from a table of rows written like a zone file, and every kind of misbehaviour.
 */
#ifndef TERN_TESTS_DNS_SERVER_H
#define TERN_TESTS_DNS_SERVER_H

#include <tern/module.h>

#include "base/buf.h"

#define DNS_SILENT    1  /* no answer */
#define DNS_TRUNCATED 2  /* UDP: empty with TC; TCP: the answer */
#define DNS_WRONG_ID  4  /* a forged packet with another id first */
#define DNS_WRONG_Q   8  /* a forged packet for another question first */
#define DNS_NO_EDNS   16 /* FORMERR where the question has an OPT record */
#define DNS_AD        32
#define DNS_GARBAGE   64  /* the header, then octets that are no records */
#define DNS_LOOP      128 /* an owner that is a compression pointer to itself */
#define DNS_NO_RA     256
#define DNS_AGAIN     512  /* the answer twice */
#define DNS_CUT       1024 /* the last octets are missing */
#define DNS_HANG_TCP  2048 /* TCP: accepts, never answers */

struct dns_row {
    const char *name;
    unsigned type;
    unsigned rcode;
    const char *answer; /* "owner ttl TYPE data" by lines; A, AAAA, MX, CNAME, TXT, NS, SOA, PTR */
    const char *authority;
    unsigned flags;
};

struct dns_server_fake;

/* NXDOMAIN with an SOA for all that is in no row. */
struct dns_server_fake *dns_fake_start(const struct dns_row *rows, size_t count);
void dns_fake_stop(struct dns_server_fake *server);
tern_address dns_fake_address(const struct dns_server_fake *server);
unsigned dns_fake_questions(const struct dns_server_fake *server); /* that came, by UDP and TCP */

/* A name on the wire, without compression. */
void dns_put_name(struct buf *out, const char *name);
void dns_put_u16(struct buf *out, unsigned n);
void dns_put_u32(struct buf *out, uint32_t n);
/* Adds records in the lines of `text`; returns how many. */
unsigned dns_put_records(struct buf *out, const char *text);

#endif
