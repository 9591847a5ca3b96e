/* SPDX-License-Identifier: Apache-2.0 */
/* test_dns.c - questions, cache and mail domains against a DNS server of the test's own. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "dns/private.h"
#include "dns_server.h"
#include "net/conn.h"

#define SOA "test 300 SOA 60"

static const struct dns_row zone[] = {
    { "a.test", TERN_DNS_A, 0, "a.test 60 A 192.0.2.1\na.test 60 A 192.0.2.2", NULL, 0 },
    { "secure.test", TERN_DNS_A, 0, "secure.test 60 A 192.0.2.1", NULL, DNS_AD },
    { "secure-no.test", TERN_DNS_A, 3, NULL, SOA, DNS_AD },
    { "six.test", TERN_DNS_AAAA, 0, "six.test 60 AAAA 2001:db8::1", NULL, 0 },
    { "nodata.test", TERN_DNS_A, 0, NULL, SOA, 0 },
    { "nosoa.test", TERN_DNS_A, 0, NULL, NULL, 0 },
    { "servfail.test", TERN_DNS_A, 2, NULL, NULL, 0 },
    { "refused.test", TERN_DNS_A, 5, NULL, NULL, 0 },
    { "notimp.test", TERN_DNS_A, 4, NULL, NULL, 0 },
    { "odd.test", TERN_DNS_A, 9, NULL, NULL, 0 },
    { "silent.test", TERN_DNS_A, 0, NULL, NULL, DNS_SILENT },
    { "wrongid.test", TERN_DNS_A, 0, "wrongid.test 60 A 192.0.2.3", NULL, DNS_WRONG_ID },
    { "wrongq.test", TERN_DNS_A, 0, "wrongq.test 60 A 192.0.2.3", NULL, DNS_WRONG_Q },
    { "twice.test", TERN_DNS_A, 0, "twice.test 60 A 192.0.2.4", NULL, DNS_AGAIN },
    { "tcp.test", TERN_DNS_A, 0, "tcp.test 60 A 192.0.2.5", NULL, DNS_TRUNCATED },
    { "tcphang.test", TERN_DNS_A, 0, NULL, NULL, DNS_TRUNCATED | DNS_HANG_TCP },
    { "garbage.test", TERN_DNS_A, 0, NULL, NULL, DNS_GARBAGE },
    { "loop.test", TERN_DNS_A, 0, NULL, NULL, DNS_LOOP },
    { "cut.test", TERN_DNS_A, 0, "cut.test 60 A 192.0.2.4", NULL, DNS_CUT },
    { "noedns.test", TERN_DNS_A, 0, "noedns.test 60 A 192.0.2.6", NULL, DNS_NO_EDNS },
    { "noedns2.test", TERN_DNS_A, 0, "noedns2.test 60 A 192.0.2.6", NULL, DNS_NO_EDNS },
    { "alias.test", TERN_DNS_A, 0,
      "alias.test 60 CNAME b.test\nb.test 30 CNAME c.test\nc.test 90 A 192.0.2.7", NULL, 0 },
    { "unordered.test", TERN_DNS_A, 0,
      "c.test 90 A 192.0.2.7\nb.test 30 CNAME c.test\nunordered.test 60 CNAME b.test", NULL, 0 },
    { "circle.test", TERN_DNS_A, 0, "circle.test 60 CNAME b.test\nb.test 60 CNAME circle.test",
      NULL, 0 },
    { "dangling.test", TERN_DNS_A, 3, "dangling.test 60 CNAME gone.test", SOA, 0 },
    { "aliasnodata.test", TERN_DNS_A, 0, "aliasnodata.test 60 CNAME b.test", SOA, 0 },
    { "unfinished.test", TERN_DNS_A, 0, "unfinished.test 60 CNAME b.example", NULL, DNS_NO_RA },
    { "referral.test", TERN_DNS_A, 0, NULL, "test 60 NS ns.test", DNS_NO_RA },
    { "other.test", TERN_DNS_A, 0, "elsewhere.test 60 A 192.0.2.9", NULL, 0 },
    { "mx.test", TERN_DNS_MX, 0, "mx.test 60 MX 10 A.mx.Test", NULL, 0 },
    { "txt.test", TERN_DNS_TXT, 0, "txt.test 60 TXT v=spf1 -all", NULL, 0 },
    { "bigtxt.test", TERN_DNS_TXT, 0, "bigtxt.test 60 TXT *65000", NULL, DNS_TRUNCATED },
    { "a+b=c/d:%e.test", TERN_DNS_A, 0, "a+b=c/d:%e.test 60 A 192.0.2.8", NULL, 0 },
    { "ptr.test", TERN_DNS_PTR, 0, "ptr.test 60 PTR host.test", NULL, 0 },
    { "ttl0.test", TERN_DNS_A, 0, "ttl0.test 0 A 192.0.2.1", NULL, 0 },
    { "ttlbig.test", TERN_DNS_A, 0, "ttlbig.test 86400 A 192.0.2.1", NULL, 0 },
    { "ttlbad.test", TERN_DNS_A, 0, "ttlbad.test 4294967295 A 192.0.2.1", NULL, 0 },
    { "negbig.test", TERN_DNS_A, 3, NULL, "test 90000 SOA 90000", 0 },
    { "negsoa.test", TERN_DNS_A, 3, NULL, "test 90000 SOA 30", 0 },

    /* mail domains */
    { "one.test", TERN_DNS_MX, 0, "one.test 60 MX 10 mail.test", NULL, 0 },
    { "mail.test", TERN_DNS_A, 0, "mail.test 60 A 192.0.2.25", NULL, 0 },
    { "mail.test", TERN_DNS_AAAA, 0, "mail.test 60 AAAA 2001:db8::25", NULL, 0 },
    { "v4.test", TERN_DNS_A, 0, "v4.test 60 A 192.0.2.26", NULL, 0 },
    { "v4.test", TERN_DNS_AAAA, 0, NULL, SOA, 0 },
    { "half.test", TERN_DNS_A, 0, "half.test 60 A 192.0.2.27", NULL, 0 },
    { "half.test", TERN_DNS_AAAA, 2, NULL, NULL, 0 },
    { "broken.test", TERN_DNS_A, 2, NULL, NULL, 0 },
    { "broken.test", TERN_DNS_AAAA, 0, NULL, SOA, 0 },
    { "sorted.test", TERN_DNS_MX, 0,
      "sorted.test 60 MX 30 v4.test\nsorted.test 60 MX 10 mail.test\nsorted.test 60 MX 20 "
      "half.test",
      NULL, 0 },
    { "equal.test", TERN_DNS_MX, 0,
      "equal.test 60 MX 10 mail.test\nequal.test 60 MX 10 v4.test\nequal.test 60 MX 10 half.test",
      NULL, 0 },
    { "same.test", TERN_DNS_MX, 0, "same.test 60 MX 20 V4.test\nsame.test 60 MX 10 v4.test", NULL,
      0 },
    { "null.test", TERN_DNS_MX, 0, "null.test 60 MX 0 .", NULL, 0 },
    { "nullandone.test", TERN_DNS_MX, 0,
      "nullandone.test 60 MX 0 .\nnullandone.test 60 MX 10 v4.test", NULL, 0 },
    { "implicit.test", TERN_DNS_MX, 0, NULL, SOA, 0 },
    { "implicit.test", TERN_DNS_A, 0, "implicit.test 60 A 192.0.2.28", NULL, 0 },
    { "implicit.test", TERN_DNS_AAAA, 0, NULL, SOA, 0 },
    { "nothing.test", TERN_DNS_MX, 0, NULL, SOA, 0 },
    { "nothing.test", TERN_DNS_A, 0, NULL, SOA, 0 },
    { "nothing.test", TERN_DNS_AAAA, 0, NULL, SOA, 0 },
    { "mxfail.test", TERN_DNS_MX, 2, NULL, NULL, 0 },
    { "mxfail.test", TERN_DNS_A, 0, "mxfail.test 60 A 192.0.2.29", NULL, 0 },
    { "toalias.test", TERN_DNS_MX, 0, "toalias.test 60 CNAME one.test\none.test 60 MX 10 mail.test",
      NULL, 0 },
    { "mxtogone.test", TERN_DNS_MX, 0, "mxtogone.test 60 MX 10 gone.test", NULL, 0 },
    { "mxtobroken.test", TERN_DNS_MX, 0,
      "mxtobroken.test 60 MX 10 broken.test\nmxtobroken.test 60 MX 20 gone.test", NULL, 0 },
    { "brokenandgood.test", TERN_DNS_MX, 0,
      "brokenandgood.test 60 MX 10 broken.test\nbrokenandgood.test 60 MX 20 v4.test", NULL, 0 },
    { "badname.test", TERN_DNS_MX, 0, "badname.test 60 MX 10 a@b.test", NULL, 0 },
};
#define ZONE_COUNT (sizeof(zone) / sizeof(zone[0]))

/* ---- one loop, one resolver ---- */

struct world {
    struct dns_server_fake *server;
    struct loop *loop;
    struct dns *dns;
    struct buf heard;
    unsigned wanted, answers, ttl_s; /* ttl_s: of the last answer */
    struct loop_timer timer;
};

static void on_world_timer(struct loop_timer *timer)
{
    loop_stop(list_entry(timer, struct world, timer)->loop);
}

static void world_init(struct world *w, unsigned entries_max)
{
    *w = (struct world){ .server = dns_fake_start(zone, ZONE_COUNT), .loop = loop_new(0) };
    tern_address address = dns_fake_address(w->server);
    struct dns_options options = { .servers = &address,
                                   .server_count = 1,
                                   .timeout_ms = 3000,
                                   .tries = 2,
                                   .cache_entries_max = entries_max };

    loop_timer_init(&w->timer, on_world_timer);
    CU_ASSERT_EQUAL_FATAL(dns_new(w->loop, &options, &w->dns), 0);
}

static void world_fini(struct world *w)
{
    loop_timer_stop(&w->timer);
    dns_free(w->dns);
    loop_free(w->loop);
    dns_fake_stop(w->server);
    buf_free(&w->heard);
}

static void print_answer(struct buf *out, const struct tern_dns_answer *a)
{
    static const char *const words[] = { "FOUND", "ABSENT", "FAILED" };

    buf_add_cstr(out, words[a->status]);
    if (a->authentic)
        buf_add_cstr(out, " AD");
    if (a->error != NULL)
        buf_printf(out, " %s", a->error);
    for (size_t i = 0; i < a->count; i++) {
        const struct tern_dns_record *r = &a->records[i];
        CU_ASSERT_EQUAL(r->text.ptr[r->text.len], '\0');
        buf_printf(out, " %u:%u:%.60s", r->ttl_s, r->number, r->text.ptr);
        if (r->text.len > 60)
            buf_printf(out, "...%zu", r->text.len);
    }
    buf_add_char(out, '\n');
}

static void hear(void *arg, const struct tern_dns_answer *a)
{
    struct world *w = arg;

    print_answer(&w->heard, a);
    w->ttl_s = a->ttl_s;
    if (++w->answers == w->wanted)
        loop_stop(w->loop);
}

static void run_until(struct world *w, unsigned wanted)
{
    w->wanted = wanted;
    if (w->answers < wanted)
        loop_run(w->loop);
}

static const char *ask(struct world *w, const char *name, unsigned type)
{
    buf_clear(&w->heard);
    w->answers = 0;
    CU_ASSERT_PTR_NOT_NULL(dns_ask(w->dns, name, type, false, hear, w));
    CU_ASSERT_EQUAL(w->answers, 0); /* never from inside */
    run_until(w, 1);
    return w->heard.data;
}

static void test_answers(void)
{
    static const struct {
        const char *name;
        unsigned type;
        const char *want;
    } cases[] = {
        { "a.test", TERN_DNS_A, "FOUND 60:0:192.0.2.1 60:0:192.0.2.2\n" },
        { "A.Test.", TERN_DNS_A, "FOUND 60:0:192.0.2.1 60:0:192.0.2.2\n" },
        { "secure.test", TERN_DNS_A, "FOUND AD 60:0:192.0.2.1\n" },
        { "secure-no.test", TERN_DNS_A, "ABSENT AD NXDOMAIN\n" },
        { "six.test", TERN_DNS_AAAA, "FOUND 60:0:2001:db8::1\n" },
        { "nothere.test", TERN_DNS_A, "ABSENT NXDOMAIN\n" },
        { "nodata.test", TERN_DNS_A, "ABSENT NODATA\n" },
        { "nosoa.test", TERN_DNS_A, "ABSENT NODATA\n" },
        { "servfail.test", TERN_DNS_A, "FAILED SERVFAIL\n" },
        { "refused.test", TERN_DNS_A, "FAILED refused\n" },
        { "notimp.test", TERN_DNS_A, "FAILED NOTIMP\n" },
        { "odd.test", TERN_DNS_A, "FAILED server error\n" },
        { "silent.test", TERN_DNS_A, "FAILED timeout\n" },
        { "wrongid.test", TERN_DNS_A, "FOUND 60:0:192.0.2.3\n" },
        { "wrongq.test", TERN_DNS_A, "FOUND 60:0:192.0.2.3\n" },
        { "twice.test", TERN_DNS_A, "FOUND 60:0:192.0.2.4\n" },
        { "tcp.test", TERN_DNS_A, "FOUND 60:0:192.0.2.5\n" },
        { "tcphang.test", TERN_DNS_A, "FAILED timeout\n" },
        { "garbage.test", TERN_DNS_A, "FAILED bad answer\n" },
        { "loop.test", TERN_DNS_A, "FAILED bad answer\n" },
        { "cut.test", TERN_DNS_A, "FAILED bad answer\n" },
        { "alias.test", TERN_DNS_A, "FOUND 30:0:192.0.2.7\n" },
        { "unordered.test", TERN_DNS_A, "FOUND 30:0:192.0.2.7\n" },
        { "alias.test", TERN_DNS_CNAME, "ABSENT NXDOMAIN\n" },
        { "circle.test", TERN_DNS_A, "FAILED bad answer\n" },
        { "dangling.test", TERN_DNS_A, "ABSENT NXDOMAIN\n" },
        { "aliasnodata.test", TERN_DNS_A, "ABSENT NODATA\n" },
        { "unfinished.test", TERN_DNS_A, "FAILED the server does not recurse\n" },
        { "referral.test", TERN_DNS_A, "FAILED the server does not recurse\n" },
        { "other.test", TERN_DNS_A, "ABSENT NODATA\n" },
        { "mx.test", TERN_DNS_MX, "FOUND 60:10:A.mx.Test\n" },
        { "txt.test", TERN_DNS_TXT, "FOUND 60:0:v=spf1-all\n" },
        { "bigtxt.test", TERN_DNS_TXT,
          "FOUND 60:0:tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt...65000\n" },
        { "A+b=c/d:%e.test", TERN_DNS_A, "FOUND 60:0:192.0.2.8\n" },
        { "a\\046b.test", TERN_DNS_A, "FAILED bad name\n" },
        { "ptr.test", TERN_DNS_PTR, "FOUND 60:0:host.test\n" },
        { "", TERN_DNS_A, "FAILED bad name\n" },
        { ".", TERN_DNS_A, "FAILED bad name\n" },
        { "a..test", TERN_DNS_A, "FAILED bad name\n" },
        { "a b.test", TERN_DNS_A, "FAILED bad name\n" },
        { "b\xc3\xbc.test", TERN_DNS_A, "FAILED bad name\n" },
        { "a.test", 0, "FAILED bad name\n" },
        { "a.test", 255, "FAILED bad name\n" },
        { "a.test", 65536 + 1, "FAILED bad name\n" },
        /* Last: c-ares asks again without EDNS the first time only, then Tern does. */
        { "noedns.test", TERN_DNS_A, "FOUND 60:0:192.0.2.6\n" },
        { "noedns2.test", TERN_DNS_A, "FOUND 60:0:192.0.2.6\n" },
        { "_dmarc.noedns.test", TERN_DNS_TXT, "ABSENT NXDOMAIN\n" },
    };
    struct world w;

    world_init(&w, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *got = ask(&w, cases[i].name, cases[i].type);
        if (strcmp(got, cases[i].want) != 0)
            fprintf(stderr, "  %s %u: got %s  want %s", cases[i].name, cases[i].type, got, cases[i].want);
        CU_ASSERT_STRING_EQUAL(got, cases[i].want);
    }
    world_fini(&w);
}

static void test_host_names(void)
{
    char label[80], name[300], out[DNS_HOST_TEXT_MAX + 1];

    memset(label, 'a', sizeof(label));
    CU_ASSERT_TRUE(dns_host_name(slice_make(label, 63), out));
    CU_ASSERT_FALSE(dns_host_name(slice_make(label, 64), out));
    memset(name, 'b', sizeof(name));
    for (size_t i = 50; i < sizeof(name); i += 50)
        name[i] = '.';
    CU_ASSERT_TRUE(dns_host_name(slice_make(name, DNS_HOST_TEXT_MAX), out));
    CU_ASSERT_FALSE(dns_host_name(slice_make(name, DNS_HOST_TEXT_MAX + 1), out));
    CU_ASSERT_FALSE(dns_host_name(SLICE("a\0b"), out));
    CU_ASSERT_FALSE(dns_host_name(SLICE("a+b.test"), out)); /* no host is called so, but SPF asks for it */
    CU_ASSERT_TRUE(dns_question_name(SLICE("a+b.test"), out));
    CU_ASSERT_FALSE(dns_question_name(SLICE("a\0b"), out));
}

/* ---- the cache ---- */

static unsigned packets_for(struct world *w, const char *name)
{
    unsigned before = dns_fake_questions(w->server);

    (void)ask(w, name, TERN_DNS_A);
    return dns_fake_questions(w->server) - before;
}

static void test_cache_times(void)
{
    static const struct {
        const char *name;
        uint64_t kept_s;
    } cases[] = {
        { "a.test", 60 },
        { "ttl0.test", DNS_TTL_MIN_S },
        { "ttlbig.test", DNS_TTL_MAX_S },
        { "ttlbad.test", DNS_TTL_MIN_S },
        { "negbig.test", DNS_NEGATIVE_MAX_S },
        { "negsoa.test", 30 },
        { "nosoa.test", DNS_TTL_MIN_S },
        { "servfail.test", DNS_FAILED_S },
        { "alias.test", 30 },
    };
    struct world w;

    clock_virtual_start(1000000000000);
    world_init(&w, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CU_ASSERT_EQUAL(packets_for(&w, cases[i].name), 1);
        CU_ASSERT_EQUAL(w.ttl_s, cases[i].kept_s == DNS_FAILED_S ? 0 : cases[i].kept_s); /* for who asks, too */
        clock_virtual_advance(cases[i].kept_s * 1000 - 1);
        CU_ASSERT_EQUAL(packets_for(&w, cases[i].name), 0);
        CU_ASSERT_EQUAL(w.ttl_s, 0);
        clock_virtual_advance(1);
        CU_ASSERT_EQUAL(packets_for(&w, cases[i].name), 1);
    }
    clock_virtual_advance(100000);
    (void)ask(&w, "a.test", TERN_DNS_A);
    clock_virtual_advance(20500);
    CU_ASSERT_STRING_EQUAL(ask(&w, "a.test", TERN_DNS_A), "FOUND 40:0:192.0.2.1 40:0:192.0.2.2\n");
    CU_ASSERT_EQUAL(w.ttl_s, 39); /* 39.5, never longer than it is kept here */
    world_fini(&w);
    clock_virtual_stop();
}

static void test_cache_bounds(void)
{
    struct world w;
    char name[30];

    world_init(&w, 10);
    for (unsigned i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "n%u.test", i);
        CU_ASSERT_EQUAL(packets_for(&w, name), 1);
    }
    CU_ASSERT_EQUAL(packets_for(&w, "n0.test"), 0);
    CU_ASSERT_EQUAL(packets_for(&w, "n10.test"), 1); /* n1 goes: n0 was used since */
    CU_ASSERT_EQUAL(packets_for(&w, "n0.test"), 0);
    CU_ASSERT_EQUAL(packets_for(&w, "n1.test"), 1);
    world_fini(&w);
}

static void test_cache_octets(void)
{
    struct dns_cache cache;
    char key[20];
    unsigned found = 0;

    dns_cache_init(&cache, 1000, 40000);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "16 n%u", i);
        struct dns_entry *e = dns_entry_new(key);
        (void)arena_alloc(&e->arena, 5000);
        dns_cache_put(&cache, e, 0, 60);
        dns_entry_unref(e);
        CU_ASSERT_TRUE(cache.octets <= 40000);
    }
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "16 n%u", i);
        struct dns_entry *e = dns_cache_get(&cache, key, 1);
        found += e != NULL;
        dns_entry_unref(e);
    }
    CU_ASSERT_EQUAL(found, 7);
    struct dns_entry *huge = dns_entry_new("16 huge");
    (void)arena_alloc(&huge->arena, 40001);
    dns_cache_put(&cache, huge, 0, 60);
    CU_ASSERT_PTR_NULL(dns_cache_get(&cache, "16 huge", 1));
    dns_entry_unref(huge);
    dns_cache_fini(&cache);
    CU_ASSERT_EQUAL(cache.octets, 0);
}

/* What the cache has, without a question; it stays when the cache has forgotten it, and when there is none any more. */
static void test_kept(void)
{
    struct world w;

    clock_virtual_start(1000000000000);
    world_init(&w, 1);
    CU_ASSERT_PTR_NULL(dns_kept(w.dns, "a.test", TERN_DNS_A));
    CU_ASSERT_PTR_NOT_NULL(dns_ask(w.dns, "a.test", TERN_DNS_A, true, hear, &w));
    CU_ASSERT_EQUAL(w.answers, 0); /* not in the cache */
    run_until(&w, 1);
    CU_ASSERT_PTR_NULL(dns_ask(w.dns, "a.test", TERN_DNS_A, true, hear, &w));
    CU_ASSERT_EQUAL(w.answers, 2);
    struct dns_entry *kept = dns_kept(w.dns, "A.test.", TERN_DNS_A), *absent;
    CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
    CU_ASSERT_PTR_NULL(dns_kept(w.dns, "a.test", TERN_DNS_TXT));
    CU_ASSERT_PTR_NULL(dns_kept(w.dns, "a..test", TERN_DNS_A));
    (void)ask(&w, "nosoa.test", TERN_DNS_A); /* takes its place */
    CU_ASSERT_PTR_NULL(dns_kept(w.dns, "a.test", TERN_DNS_A));
    absent = dns_kept(w.dns, "nosoa.test", TERN_DNS_A);
    CU_ASSERT_PTR_NOT_NULL_FATAL(absent);
    CU_ASSERT_EQUAL(dns_kept_answer(absent)->status, TERN_ABSENT);
    clock_virtual_advance(100000);
    CU_ASSERT_PTR_NULL(dns_kept(w.dns, "nosoa.test", TERN_DNS_A)); /* too old */
    world_fini(&w);
    CU_ASSERT_EQUAL(dns_kept_answer(kept)->count, 2);
    CU_ASSERT_STRING_EQUAL(dns_kept_answer(kept)->records[0].text.ptr, "192.0.2.1");
    dns_kept_release(kept);
    dns_kept_release(absent);
    clock_virtual_stop();
}

/* ---- merging, cancelling, ending ---- */

static struct dns_request *requests[100];

static void hear_and_cancel(void *arg, const struct tern_dns_answer *a)
{
    struct world *w = arg;

    /* Of the same answer's readers, the next ones; and a new question from inside. */
    for (unsigned i = 50; i < 100; i++)
        dns_cancel(requests[i]);
    (void)dns_ask(w->dns, "six.test", TERN_DNS_AAAA, true, hear, w);
    hear(arg, a);
}

static void test_merging(void)
{
    struct world w;

    world_init(&w, 0);
    for (unsigned i = 0; i < 100; i++)
        requests[i] = dns_ask(w.dns, "a.test", TERN_DNS_A, true, i == 49 ? hear_and_cancel : hear, &w);
    for (unsigned i = 0; i < 10; i++)
        dns_cancel(requests[i]);
    run_until(&w, 41); /* 40 and six.test */
    CU_ASSERT_EQUAL(w.answers, 41);
    CU_ASSERT_EQUAL(dns_fake_questions(w.server), 2);
    dns_cancel(NULL);
    world_fini(&w);
}

static void test_all_cancelled(void)
{
    struct world w;

    world_init(&w, 0);
    dns_cancel(dns_ask(w.dns, "a.test", TERN_DNS_A, true, hear, &w));
    dns_cancel(dns_ask(w.dns, "silent.test", TERN_DNS_A, true, hear, &w));
    loop_timer_start(w.loop, &w.timer, 60);
    loop_run(w.loop);
    CU_ASSERT_EQUAL(w.answers, 0);
    CU_ASSERT_PTR_NULL(dns_ask(w.dns, "a.test", TERN_DNS_A, true, hear, &w)); /* kept all the same */
    world_fini(&w);                                            /* silent.test is still under way */
}

static void hear_and_ask(void *arg, const struct tern_dns_answer *a)
{
    struct world *w = arg;

    hear(arg, a);
    if (w->answers < 4)
        (void)dns_ask(w->dns, "again.test", TERN_DNS_A, false, hear_and_ask, w);
}

static void test_shutdown(void)
{
    struct world w;

    world_init(&w, 0);
    w.wanted = 100;
    (void)dns_ask(w.dns, "silent.test", TERN_DNS_A, false, hear, &w);
    (void)dns_ask(w.dns, "bad name", TERN_DNS_A, false, hear, &w);
    (void)dns_ask(w.dns, "a.test", TERN_DNS_A, false, hear_and_ask, &w);
    struct dns *dns = w.dns;
    w.dns = NULL;
    struct world *arg = &w;
    arg->dns = dns;
    dns_free(dns);
    w.dns = NULL;
    CU_ASSERT_EQUAL(w.answers, 4);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.heard.data, "FAILED shutdown"));
    CU_ASSERT_PTR_NOT_NULL(strstr(w.heard.data, "FAILED bad name"));
    world_fini(&w);
}

static void test_too_many(void)
{
    struct world w;
    char name[40];

    world_init(&w, 0);
    w.wanted = DNS_QUESTIONS_MAX + 1;
    for (unsigned i = 0; i <= DNS_QUESTIONS_MAX; i++) {
        snprintf(name, sizeof(name), "q%u.test", i);
        (void)dns_ask(w.dns, name, TERN_DNS_A, false, hear, &w);
    }
    dns_free(w.dns);
    w.dns = NULL;
    CU_ASSERT_EQUAL(w.answers, DNS_QUESTIONS_MAX + 1);
    const char *first = strstr(w.heard.data, "too many questions");
    CU_ASSERT_PTR_NOT_NULL(first);
    CU_ASSERT_PTR_NULL(first != NULL ? strstr(first + 1, "too many questions") : NULL);
    world_fini(&w);
}

/* ---- several servers ---- */

static void test_servers(void)
{
    static const struct dns_row bad[] = {
        { "a.test", TERN_DNS_A, 2, NULL, NULL, 0 },
        { "secure.test", TERN_DNS_A, 0, NULL, NULL, DNS_SILENT },
        { "servfail.test", TERN_DNS_A, 5, NULL, NULL, 0 },
        { "six.test", TERN_DNS_AAAA, 0, NULL, NULL, DNS_SILENT },
    };
    struct dns_server_fake *first = dns_fake_start(bad, 4);
    struct world w;

    world_init(&w, 0);
    dns_free(w.dns);
    tern_address servers[2] = { dns_fake_address(first), dns_fake_address(w.server) };
    struct dns_options options = {
        .servers = servers, .server_count = 2, .timeout_ms = 3000, .tries = 2
    };
    CU_ASSERT_EQUAL_FATAL(dns_new(w.loop, &options, &w.dns), 0);

    CU_ASSERT_STRING_EQUAL(ask(&w, "a.test", TERN_DNS_A), "FOUND 60:0:192.0.2.1 60:0:192.0.2.2\n");
    CU_ASSERT_STRING_EQUAL(ask(&w, "servfail.test", TERN_DNS_A), "FAILED SERVFAIL\n");
    CU_ASSERT_EQUAL(dns_fake_questions(first), 2);
    CU_ASSERT_STRING_EQUAL(ask(&w, "secure.test", TERN_DNS_A), "FOUND AD 60:0:192.0.2.1\n");
    CU_ASSERT_EQUAL(dns_fake_questions(first), 3);
    /* It did not answer, so it is not asked first any more. */
    CU_ASSERT_STRING_EQUAL(ask(&w, "six.test", TERN_DNS_AAAA), "FOUND 60:0:2001:db8::1\n");
    CU_ASSERT_EQUAL(dns_fake_questions(first), 3);
    world_fini(&w);
    dns_fake_stop(first);
}

static void test_no_server(void)
{
    struct world w;

    world_init(&w, 0);
    dns_free(w.dns);
    tern_address address = dns_fake_address(w.server);
    dns_fake_stop(w.server); /* the port is closed now */
    struct dns_options options = {
        .servers = &address, .server_count = 1, .timeout_ms = 3000, .tries = 2
    };
    CU_ASSERT_EQUAL_FATAL(dns_new(w.loop, &options, &w.dns), 0);
    CU_ASSERT_STRING_EQUAL(ask(&w, "a.test", TERN_DNS_A), "FAILED server unreachable\n");
    w.server = dns_fake_start(NULL, 0);
    world_fini(&w);
}

static void test_system_servers(void)
{
    tern_address servers[DNS_SERVERS_MAX];
    struct loop *loop = loop_new(0);
    struct dns_options options = { 0 };
    struct dns *dns = NULL;

    CU_ASSERT_TRUE(dns_servers_of_system(servers) >= 1);
    CU_ASSERT_EQUAL(dns_new(loop, &options, &dns), 0);
    dns_free(dns);
    loop_free(loop);
}

/* ---- stub ---- */

static bool answer_stub(void *arg, const char *name, unsigned type, struct tern_dns_answer *ret)
{
    static struct tern_dns_record record;

    if (strcmp(name, "stub.test") != 0)
        return false;
    record = (struct tern_dns_record){ .text = { arg, strlen(arg) }, .number = type };
    *ret = (struct tern_dns_answer){ .status = TERN_FOUND, .records = &record, .count = 1 };
    return true;
}

static void test_stub(void)
{
    struct world w;
    char text[] = "first";

    world_init(&w, 0);
    dns_set_stub(answer_stub, text);
    CU_ASSERT_STRING_EQUAL(ask(&w, "STUB.test", TERN_DNS_TXT), "FOUND 0:16:first\n");
    memcpy(text, "other", 5);
    CU_ASSERT_STRING_EQUAL(ask(&w, "stub.test", TERN_DNS_TXT), "FOUND 0:16:other\n");
    CU_ASSERT_STRING_EQUAL(ask(&w, "a.test", TERN_DNS_A), "ABSENT NXDOMAIN\n");
    dns_set_stub(NULL, NULL);
    CU_ASSERT_STRING_EQUAL(ask(&w, "mx.test", TERN_DNS_MX), "FOUND 60:10:A.mx.Test\n");
    CU_ASSERT_EQUAL(dns_fake_questions(w.server), 1);
    world_fini(&w);
}

/* ---- mail domains ---- */

static void hear_mx(void *arg, const struct mx_answer *a)
{
    static const char *const words[] = { "FOUND", "NULL", "NO_DOMAIN", "NO_ADDRESS", "FAILED" };
    struct world *w = arg;
    char text[NET_ADDRESS_TEXT_MAX];

    buf_add_cstr(&w->heard, words[a->status]);
    if (a->status != MX_FOUND)
        buf_printf(&w->heard, " (%s)", a->error);
    for (unsigned i = 0; i < a->count; i++) {
        const struct mx_host *h = &a->hosts[i];
        buf_printf(&w->heard, " %s/%u%s", h->name, h->preference, h->failed ? "!" : "");
        for (unsigned k = 0; k < h->address_count; k++) {
            net_address_print(&h->addresses[k], false, text);
            buf_printf(&w->heard, ",%s", text);
        }
    }
    w->answers++;
    loop_stop(w->loop);
}

static const char *ask_mx(struct world *w, const char *name, bool host)
{
    buf_clear(&w->heard);
    w->answers = 0;
    (void)(host ? host_ask : mx_ask)(w->dns, name, hear_mx, w);
    CU_ASSERT_EQUAL(w->answers, 0);
    if (w->answers == 0)
        loop_run(w->loop);
    return w->heard.data;
}

static void test_mx(void)
{
    static const struct {
        const char *name, *want;
        bool host;
    } cases[] = {
        { "one.test", "FOUND mail.test/10,2001:db8::25,192.0.2.25", false },
        { "ONE.test.", "FOUND mail.test/10,2001:db8::25,192.0.2.25", false },
        { "sorted.test",
          "FOUND mail.test/10,2001:db8::25,192.0.2.25 half.test/20!,192.0.2.27 "
          "v4.test/30,192.0.2.26",
          false },
        { "same.test", "FOUND v4.test/10,192.0.2.26", false },
        { "null.test", "NULL (null.test accepts no mail (null MX))", false },
        { "nullandone.test", "FOUND v4.test/10,192.0.2.26", false },
        { "implicit.test", "FOUND implicit.test/0,192.0.2.28", false },
        { "nothing.test", "NO_ADDRESS (nothing.test has neither MX nor address)", false },
        { "gone.test", "NO_DOMAIN (gone.test does not exist (NXDOMAIN))", false },
        { "mxfail.test", "FAILED (SERVFAIL for MX of mxfail.test)", false },
        { "toalias.test", "FOUND mail.test/10,2001:db8::25,192.0.2.25", false },
        { "mxtogone.test", "NO_ADDRESS (none of the mail hosts of mxtogone.test has an address)",
          false },
        { "mxtobroken.test", "FAILED (SERVFAIL for A of broken.test)", false },
        { "brokenandgood.test", "FOUND broken.test/10! v4.test/20,192.0.2.26", false },
        { "badname.test", "NO_ADDRESS (no MX of badname.test is a host name)", false },
        { "[192.0.2.99]", "FOUND [192.0.2.99]/0,192.0.2.99", false },
        { "[IPv6:2001:db8::9]", "FOUND [IPv6:2001:db8::9]/0,2001:db8::9", false },
        { "a b", "NO_DOMAIN (a b is no host name)", false },
        { "", "NO_DOMAIN ( is no host name)", false },
        { "one.test", "NO_DOMAIN (one.test does not exist (NXDOMAIN))", true },
        { "mail.test", "FOUND mail.test/0,2001:db8::25,192.0.2.25", true },
        { "half.test", "FOUND half.test/0!,192.0.2.27", true },
        { "broken.test", "FAILED (SERVFAIL for A of broken.test)", true },
        { "127.0.0.1", "FOUND 127.0.0.1/0,127.0.0.1", true },
        { "::1", "FOUND ::1/0,::1", true },
        { "localhost", "FOUND localhost/0,127.0.0.1,::1", true },
    };
    struct world w;

    world_init(&w, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *got = ask_mx(&w, cases[i].name, cases[i].host);
        if (strcmp(got, cases[i].want) != 0)
            fprintf(stderr, "  %s: got  %s\n  want %s\n", cases[i].name, got, cases[i].want);
        CU_ASSERT_STRING_EQUAL(got, cases[i].want);
    }
    world_fini(&w);
}

/* Hosts of equal preference come in every order, and all of them each time. */
static void test_mx_shuffle(void)
{
    struct world w;
    unsigned first[3] = { 0 };

    world_init(&w, 0);
    for (unsigned i = 0; i < 60; i++) {
        const char *got = ask_mx(&w, "equal.test", false);
        first[0] += strncmp(got, "FOUND mail", 10) == 0;
        first[1] += strncmp(got, "FOUND v4", 8) == 0;
        first[2] += strncmp(got, "FOUND half", 10) == 0;
        CU_ASSERT_TRUE(strstr(got, "mail.test") && strstr(got, "v4.test") && strstr(got, "half.test"));
    }
    CU_ASSERT_TRUE(first[0] > 0 && first[1] > 0 && first[2] > 0); /* fails once in 10^10 runs */
    world_fini(&w);
}

static void mx_bound_stub_records(unsigned type, struct tern_dns_answer *ret)
{
    static struct tern_dns_record records[100];
    static char names[100][40];

    for (unsigned i = 0; i < 100; i++) {
        if (type == TERN_DNS_MX)
            snprintf(names[i], sizeof(names[i]), "h%u.test", 99 - i);
        else if (type == TERN_DNS_A)
            snprintf(names[i], sizeof(names[i]), "192.0.2.%u", i + 1);
        else
            snprintf(names[i], sizeof(names[i]), "2001:db8::%u", i + 1);
        records[i] = (struct tern_dns_record){ .text = { names[i], strlen(names[i]) }, .number = 99 - i };
    }
    *ret = (struct tern_dns_answer){ .status = TERN_FOUND, .records = records, .count = 100 };
}

static bool mx_bound_stub(void *arg, const char *name, unsigned type, struct tern_dns_answer *ret)
{
    mx_bound_stub_records(type, ret);
    return true;
}

static void check_bounds(void *arg, const struct mx_answer *a)
{
    CU_ASSERT_EQUAL(a->count, MX_HOSTS_MAX);
    for (unsigned i = 0; i < a->count; i++) {
        unsigned six = 0;
        CU_ASSERT_EQUAL(a->hosts[i].preference, i); /* the best are kept */
        CU_ASSERT_EQUAL(a->hosts[i].address_count, MX_ADDRESSES_MAX);
        for (unsigned k = 0; k < MX_ADDRESSES_MAX; k++)
            six += a->hosts[i].addresses[k].family == 6;
        CU_ASSERT_EQUAL(six, MX_ADDRESSES_MAX / 2); /* neither family pushes out the other */
    }
    loop_stop(((struct world *)arg)->loop);
}

static void test_mx_bounds(void)
{
    struct world w;

    world_init(&w, 0);
    dns_set_stub(mx_bound_stub, NULL);
    (void)mx_ask(w.dns, "many.test", check_bounds, &w);
    loop_run(w.loop);
    dns_set_stub(NULL, NULL);
    world_fini(&w);
}

/* At every turn of the loop up to the answer. */
static void test_mx_cancel(void)
{
    struct world w;

    world_init(&w, 0);
    for (unsigned ms = 0; ms < 4; ms++) {
        struct mx_request *r[3] = { mx_ask(w.dns, "sorted.test", hear_mx, &w),
                                    mx_ask(w.dns, "localhost", hear_mx, &w),
                                    mx_ask(w.dns, "silent.test", hear_mx, &w) };
        buf_clear(&w.heard);
        w.answers = 0;
        if (ms == 0) {
            for (unsigned i = 0; i < 3; i++)
                mx_cancel(r[i]);
            loop_timer_start(w.loop, &w.timer, 60);
            loop_run(w.loop);
            CU_ASSERT_EQUAL(w.answers, 0);
        } else {
            mx_cancel(r[0]);
            loop_run(w.loop); /* localhost, or silent.test's NXDOMAIN for MX */
            if (w.answers < 2)
                loop_run(w.loop);
            CU_ASSERT_EQUAL(w.answers, 2);
        }
    }
    (void)mx_ask(w.dns, "sorted.test", hear_mx, &w);
    buf_clear(&w.heard);
    struct dns *dns = w.dns;
    dns_free(dns);
    w.dns = NULL;
    CU_ASSERT_PTR_NOT_NULL(strstr(w.heard.data, "FAILED"));
    world_fini(&w);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("dns", NULL, NULL);
    CU_add_test(suite, "answers", test_answers);
    CU_add_test(suite, "host names", test_host_names);
    CU_add_test(suite, "times in the cache", test_cache_times);
    CU_add_test(suite, "entries of the cache", test_cache_bounds);
    CU_add_test(suite, "octets of the cache", test_cache_octets);
    CU_add_test(suite, "kept answers", test_kept);
    CU_add_test(suite, "merging", test_merging);
    CU_add_test(suite, "all cancelled", test_all_cancelled);
    CU_add_test(suite, "shutdown", test_shutdown);
    CU_add_test(suite, "too many", test_too_many);
    CU_add_test(suite, "several servers", test_servers);
    CU_add_test(suite, "no server", test_no_server);
    CU_add_test(suite, "system servers", test_system_servers);
    CU_add_test(suite, "stub", test_stub);
    CU_add_test(suite, "mail domains", test_mx);
    CU_add_test(suite, "equal preference", test_mx_shuffle);
    CU_add_test(suite, "bounds of a mail domain", test_mx_bounds);
    CU_add_test(suite, "cancelled mail domains", test_mx_cancel);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
