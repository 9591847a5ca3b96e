/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_dns_answer.c - one DNS answer from the network. The first octet picks the type, the rest is
 * the packet. Promises: records are bounded, NUL-terminated and of one TTL; names print and are
 * no longer than they can be; a packet that is refused changes nothing.
 */
#include <assert.h>
#include <string.h>

#include "dns/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(tern_str text)
{
    assert(text.len < DNS_NAME_TEXT_MAX);
    for (size_t i = 0; i < text.len; i++)
        assert(text.ptr[i] > ' ' && text.ptr[i] < 0x7f);
}

static void check(const struct dns_wire *w, unsigned type)
{
    assert((w->kind == DNS_WIRE_DATA) == (w->count > 0));
    assert((w->kind == DNS_WIRE_DATA) == (w->error == NULL));
    assert(w->count <= DNS_RECORDS_MAX && w->ttl_s <= INT32_MAX);
    for (size_t i = 0; i < w->count; i++) {
        const struct tern_dns_record *r = &w->records[i];
        assert(r->text.ptr != NULL && r->text.ptr[r->text.len] == '\0' &&
               r->text.len <= UINT16_MAX);
        assert(r->ttl_s == w->ttl_s);
        if (type == TERN_DNS_MX || type == TERN_DNS_NS || type == TERN_DNS_CNAME ||
            type == TERN_DNS_PTR || type == TERN_DNS_A || type == TERN_DNS_AAAA)
            check_name(r->text);
    }
}

static void check_names(struct slice packet)
{
    char name[DNS_NAME_TEXT_MAX];

    for (size_t at = 0; at < packet.len && at < 64; at++) {
        size_t end = at;
        if (!dns_wire_name(packet, &end, name)) {
            assert(end == at);
            continue;
        }
        assert(end > at && end <= packet.len);
        check_name((tern_str){ .ptr = name, .len = strlen(name) });
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned types[] = { TERN_DNS_A,  TERN_DNS_NS,  TERN_DNS_CNAME, TERN_DNS_PTR,
                                      TERN_DNS_MX, TERN_DNS_TXT, TERN_DNS_AAAA,  TERN_DNS_TLSA };
    const struct dns_wire untouched = { .count = 77 };
    struct dns_wire w = untouched;
    struct arena arena;

    if (size == 0)
        return 0;
    unsigned type = types[data[0] % 8];
    struct slice packet = slice_make((const char *)data + 1, size - 1);
    arena_init(&arena);
    if (dns_wire_parse(packet, "a.test", type, &arena, &w) == 0)
        check(&w, type);
    else
        assert(w.count == untouched.count && w.records == NULL);
    arena_fini(&arena);
    check_names(packet);
    return 0;
}
