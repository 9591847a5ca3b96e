/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/wire.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "base/mem.h"

#define HEADER_OCTETS  12
#define RR_HEAD_OCTETS 10 /* type, class, ttl, rdlength */
#define LABEL_MAX      63
#define CLASS_IN       1
#define TYPE_SOA       6

#define RCODE_OK       0
#define RCODE_NXDOMAIN 3

/* One resource record of the packet. */
struct rr {
    char *owner; /* decoded only where it is kept */
    unsigned type;
    uint32_t ttl_s;
    size_t rdata, rdata_len;
};

/* The state of one reading. */
struct reader {
    struct slice packet;
    size_t at;
    unsigned type;
    struct arena *arena;
    struct arena scratch;
    struct rr *rrs; /* of the answer section: of our type, and aliases */
    size_t rr_count;
    bool has_soa, has_ns;
    uint32_t soa_ttl_s;
};

static unsigned get_u16(struct slice p, size_t at)
{
    return (unsigned)(unsigned char)p.ptr[at] << 8 | (unsigned char)p.ptr[at + 1];
}

static uint32_t get_u32(struct slice p, size_t at)
{
    return (uint32_t)get_u16(p, at) << 16 | get_u16(p, at + 2);
}

/* ---- names ---- */

static size_t put_escaped(char *out, size_t len, unsigned char c)
{
    if (c == '.' || c == '\\') {
        out[len++] = '\\';
        out[len++] = (char)c;
    } else if (c <= ' ' || c >= 0x7f) {
        len += (size_t)sprintf(out + len, "\\%03u", c);
    } else {
        out[len++] = (char)c;
    }
    return len;
}

bool dns_wire_name(struct slice packet, size_t *at, char out[DNS_NAME_TEXT_MAX])
{
    size_t pos = *at, end = 0, len = 0, octets = 1;
    /*
     * A pointer must point before the place where the present run of labels began. So every
     * jump goes back and a loop cannot be written (RFC 9267 section 2).
     */
    size_t run = pos;

    for (;;) {
        if (pos >= packet.len)
            return false;
        unsigned n = (unsigned char)packet.ptr[pos];
        if ((n & 0xc0) == 0xc0) {
            if (pos + 1 >= packet.len)
                return false;
            size_t to = get_u16(packet, pos) & 0x3fff;
            if (to >= run)
                return false;
            end = end != 0 ? end : pos + 2;
            pos = run = to;
            continue;
        }
        if (n > LABEL_MAX || packet.len - pos - 1 < n)
            return false;
        pos++;
        if (n == 0)
            break;
        octets += n + 1;
        if (octets > DNS_NAME_OCTETS_MAX)
            return false;
        if (len > 0)
            out[len++] = '.';
        for (unsigned i = 0; i < n; i++)
            len = put_escaped(out, len, (unsigned char)packet.ptr[pos + i]);
        pos += n;
    }
    assert(len < DNS_NAME_TEXT_MAX);
    out[len] = '\0';
    *at = end != 0 ? end : pos;
    return true;
}

static bool is_host_octet(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* c-ares takes a backslash for the begin of an escape; what does not print comes back escaped. */
static bool is_question_octet(char c)
{
    return c > ' ' && c <= '~' && c != '\\';
}

static bool read_name(struct slice text, bool (*is_octet)(char c), char out[DNS_HOST_TEXT_MAX + 1])
{
    size_t label = 0;

    if (text.len > 0 && text.ptr[text.len - 1] == '.')
        text.len--;
    if (text.len == 0 || text.len > DNS_HOST_TEXT_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.ptr[i]);
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (!is_octet(c) || ++label > LABEL_MAX) {
            return false;
        }
        out[i] = c;
    }
    out[text.len] = '\0';
    return label > 0;
}

bool dns_host_name(struct slice text, char out[DNS_HOST_TEXT_MAX + 1])
{
    return read_name(text, is_host_octet, out);
}

bool dns_question_name(struct slice text, char out[DNS_HOST_TEXT_MAX + 1])
{
    return read_name(text, is_question_octet, out);
}

/* ---- records ---- */

/* Reads owner and head of the record at r->at and moves behind it. */
static bool read_rr(struct reader *r, struct rr *ret, char owner[DNS_NAME_TEXT_MAX])
{
    if (!dns_wire_name(r->packet, &r->at, owner))
        return false;
    if (r->packet.len - r->at < RR_HEAD_OCTETS)
        return false;
    *ret = (struct rr){
        .type = get_u16(r->packet, r->at),
        .ttl_s = get_u32(r->packet, r->at + 4),
        .rdata = r->at + RR_HEAD_OCTETS,
        .rdata_len = get_u16(r->packet, r->at + 8),
    };
    if (get_u16(r->packet, r->at + 2) != CLASS_IN)
        ret->type = 0; /* of no interest */
    if (ret->ttl_s > INT32_MAX)
        ret->ttl_s = 0; /* RFC 2181 section 8 */
    if (r->packet.len - ret->rdata < ret->rdata_len)
        return false;
    r->at = ret->rdata + ret->rdata_len;
    return true;
}

static bool read_answers(struct reader *r, unsigned count)
{
    char owner[DNS_NAME_TEXT_MAX];
    struct rr rr;

    r->rrs = arena_alloc(&r->scratch,
                         sizeof(rr) * (count < DNS_RECORDS_MAX ? count + 1 : DNS_RECORDS_MAX));
    for (unsigned i = 0; i < count; i++) {
        if (!read_rr(r, &rr, owner))
            return false;
        if (r->rr_count == DNS_RECORDS_MAX || (rr.type != r->type && rr.type != TERN_DNS_CNAME))
            continue;
        rr.owner = arena_dup(&r->scratch, slice_cstr(owner));
        r->rrs[r->rr_count++] = rr;
    }
    return true;
}

/* RFC 2308 section 5: a negative answer lives for the lesser of the SOA's TTL and minimum. */
static bool read_soa(struct reader *r, const struct rr *rr)
{
    char name[DNS_NAME_TEXT_MAX];
    size_t at = rr->rdata;

    if (!dns_wire_name(r->packet, &at, name) || !dns_wire_name(r->packet, &at, name))
        return false;
    if (at + 20 != rr->rdata + rr->rdata_len)
        return false;
    uint32_t minimum = get_u32(r->packet, at + 16);
    r->has_soa = true;
    r->soa_ttl_s = minimum < rr->ttl_s ? minimum : rr->ttl_s;
    return true;
}

static bool read_authority(struct reader *r, unsigned count)
{
    char owner[DNS_NAME_TEXT_MAX];
    struct rr rr;

    for (unsigned i = 0; i < count; i++) {
        if (!read_rr(r, &rr, owner))
            return false;
        if (rr.type == TYPE_SOA && !read_soa(r, &rr))
            return false;
        r->has_ns = r->has_ns || rr.type == TERN_DNS_NS;
    }
    return true;
}

/* ---- data ---- */

static tern_str keep(struct reader *r, struct slice s)
{
    return (tern_str){ .ptr = arena_dup(r->arena, s), .len = s.len };
}

static bool name_data(struct reader *r, size_t at, size_t end, struct tern_dns_record *ret)
{
    char name[DNS_NAME_TEXT_MAX];

    if (at >= end || !dns_wire_name(r->packet, &at, name) || at != end)
        return false;
    ret->text = keep(r, slice_cstr(name));
    return true;
}

static bool address_data(struct reader *r, const struct rr *rr, int family, size_t octets,
                         struct tern_dns_record *ret)
{
    char text[INET6_ADDRSTRLEN];

    if (rr->rdata_len != octets)
        return false;
    if (inet_ntop(family, r->packet.ptr + rr->rdata, text, sizeof(text)) == NULL)
        return false;
    ret->text = keep(r, slice_cstr(text));
    return true;
}

/* The character-strings of a TXT record are one text (RFC 7208 3.3, RFC 6376 3.6.2.2). */
static bool txt_data(struct reader *r, const struct rr *rr, struct tern_dns_record *ret)
{
    const char *p = r->packet.ptr + rr->rdata;
    size_t len = 0;

    if (rr->rdata_len == 0)
        return false;
    char *text = arena_alloc(r->arena, rr->rdata_len + 1);
    for (size_t i = 0; i < rr->rdata_len;) {
        size_t n = (unsigned char)p[i++];
        if (rr->rdata_len - i < n)
            return false;
        memcpy(text + len, p + i, n);
        len += n;
        i += n;
    }
    text[len] = '\0';
    ret->text = (tern_str){ .ptr = text, .len = len };
    return true;
}

static bool read_data(struct reader *r, const struct rr *rr, struct tern_dns_record *ret)
{
    size_t end = rr->rdata + rr->rdata_len;

    switch (rr->type) {
    case TERN_DNS_A: return address_data(r, rr, AF_INET, 4, ret);
    case TERN_DNS_AAAA: return address_data(r, rr, AF_INET6, 16, ret);
    case TERN_DNS_NS:
    case TERN_DNS_CNAME:
    case TERN_DNS_PTR: return name_data(r, rr->rdata, end, ret);
    case TERN_DNS_MX:
        if (rr->rdata_len < 3)
            return false;
        ret->number = get_u16(r->packet, rr->rdata);
        return name_data(r, rr->rdata + 2, end, ret);
    case TERN_DNS_TXT: return txt_data(r, rr, ret);
    default: ret->text = keep(r, slice_make(r->packet.ptr + rr->rdata, rr->rdata_len)); return true;
    }
}

/* ---- the answer ---- */

/* Follows aliases from `name`; they may stand in any order. -1: malformed or too many. */
static int follow(struct reader *r, char name[DNS_NAME_TEXT_MAX], uint32_t *ttl_s)
{
    int hops = 0;

    if (r->type == TERN_DNS_CNAME)
        return 0;
    for (size_t i = 0; i < r->rr_count; i++) {
        const struct rr *rr = &r->rrs[i];
        struct tern_dns_record alias;
        if (rr->type != TERN_DNS_CNAME || strcasecmp(rr->owner, name) != 0)
            continue;
        if (++hops > DNS_CHAIN_MAX || !read_data(r, rr, &alias))
            return -1;
        (void)snprintf(name, DNS_NAME_TEXT_MAX, "%s", alias.text.ptr);
        *ttl_s = rr->ttl_s < *ttl_s ? rr->ttl_s : *ttl_s;
        i = (size_t)-1; /* from the start: at most DNS_CHAIN_MAX times */
    }
    return hops;
}

static bool collect(struct reader *r, const char *owner, struct dns_wire *ret)
{
    ret->records = arena_zalloc(r->arena, sizeof(ret->records[0]) * (r->rr_count + 1));
    for (size_t i = 0; i < r->rr_count; i++) {
        const struct rr *rr = &r->rrs[i];
        if (rr->type != r->type || strcasecmp(rr->owner, owner) != 0)
            continue;
        if (!read_data(r, rr, &ret->records[ret->count]))
            return false;
        ret->count++;
        ret->ttl_s = rr->ttl_s < ret->ttl_s ? rr->ttl_s : ret->ttl_s;
    }
    /* RFC 2181 5.2: one set has one TTL; where it has several the least counts. */
    for (size_t i = 0; i < ret->count; i++)
        ret->records[i].ttl_s = ret->ttl_s;
    return true;
}

static const char *rcode_word(unsigned rcode)
{
    static const char *const words[] = {
        "", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "refused"
    };

    return rcode < sizeof(words) / sizeof(words[0]) ? words[rcode] : "server error";
}

static void set_negative(const struct reader *r, bool recursive, int hops, struct dns_wire *ret)
{
    ret->has_ttl = r->has_soa;
    ret->ttl_s = r->has_soa && r->soa_ttl_s < ret->ttl_s ? r->soa_ttl_s : ret->ttl_s;
    ret->kind = ret->rcode == RCODE_NXDOMAIN ? DNS_WIRE_NXDOMAIN : DNS_WIRE_NODATA;
    ret->error = ret->kind == DNS_WIRE_NXDOMAIN ? "NXDOMAIN" : "NODATA";
    /*
     * A referral, or an alias that leads out of what a server that does not recurse knows:
     * nobody said that there is no data, so nothing permanent may follow from it.
     */
    if (ret->kind == DNS_WIRE_NODATA && !r->has_soa && (r->has_ns || (hops > 0 && !recursive))) {
        ret->kind = DNS_WIRE_FAILED;
        ret->error = "the server does not recurse";
    }
}

static bool read_question(struct reader *r, const char *name)
{
    char asked[DNS_NAME_TEXT_MAX];

    if (get_u16(r->packet, 4) != 1 || !dns_wire_name(r->packet, &r->at, asked))
        return false;
    if (r->packet.len - r->at < 4 || get_u16(r->packet, r->at) != r->type ||
        get_u16(r->packet, r->at + 2) != CLASS_IN)
        return false;
    r->at += 4;
    return strcasecmp(asked, name) == 0;
}

static int parse(struct reader *r, const char *name, struct dns_wire *ret)
{
    unsigned flags = get_u16(r->packet, 2);
    struct dns_wire w = { .rcode = flags & 0xf,
                          .authentic = (flags & 0x20) != 0,
                          .ttl_s = INT32_MAX };
    char owner[DNS_NAME_TEXT_MAX];

    if ((flags & 0x8000) == 0 || (flags & 0x7800) != 0) /* QR set, opcode QUERY */
        return -EBADMSG;
    if (w.rcode != RCODE_OK && w.rcode != RCODE_NXDOMAIN) {
        w.kind = DNS_WIRE_FAILED;
        w.error = rcode_word(w.rcode);
        *ret = w;
        return 0;
    }
    if (!read_question(r, name) || !read_answers(r, get_u16(r->packet, 6)) ||
        !read_authority(r, get_u16(r->packet, 8)))
        return -EBADMSG;

    (void)snprintf(owner, sizeof(owner), "%s", name);
    int hops = follow(r, owner, &w.ttl_s);
    if (hops < 0)
        return -EBADMSG;
    if (w.rcode == RCODE_OK && !collect(r, owner, &w))
        return -EBADMSG;
    if (w.count == 0)
        set_negative(r, (flags & 0x80) != 0, hops, &w);
    *ret = w;
    return 0;
}

int dns_wire_parse(struct slice packet, const char *name, unsigned type, struct arena *arena,
                   struct dns_wire *ret)
{
    struct reader r = { .packet = packet, .at = HEADER_OCTETS, .type = type, .arena = arena };

    if (packet.len < HEADER_OCTETS)
        return -EBADMSG;
    arena_init(&r.scratch);
    int result = parse(&r, name, ret);
    arena_fini(&r.scratch);
    return result;
}
