/* SPDX-License-Identifier: Apache-2.0 */
/* test_routes.c - the modules routes, rcpt_limit and hello, over a call made of plain fields. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include "fake_call.h"
#include "module/plan.h"
#include "policy_fixture.h"

static struct fixture fix;

/* ---- what is said of rules ---- */

static const struct {
    const char *what, *rules, *want;
} refusals[] = {
    { "a rule that takes everything it may",
      "[ { class: local, transport: smtp }, { transport: smtp } ]", "" },
    { "no rule for our own", "[ { transport: smtp } ]",
      "t.yaml:1:9: warning: routes.rules: no rule names a class, domain, address or pattern: what "
      "a step claims as "
      "local or relay will wait for ever\n" },
    { "a rule behind one that takes all",
      "[ { class: local, transport: smtp }, { transport: smtp }, { tag: x, transport: smtp } ]",
      "t.yaml:1:67: warning: routes.rules[2]: is never reached: rules[1] takes what it could "
      "take\n" },
    { "but not what it may not take",
      "[ { transport: smtp }, { domain: [a.example], transport: smtp } ]", "" },
    { "an unknown class", "[ { class: locol, transport: smtp } ]",
      "t.yaml:1:20: error: routes.rules[0].class[0]: \"locol\" is none of local, relay, forward, "
      "client\n" },
    { "an unknown transport", "[ { class: local, transport: dovecot } ]",
      "t.yaml:1:38: error: routes.rules[0].transport: there is no transport \"dovecot\" in "
      "transports:\n" },
    { "nothing to do", "[ { class: local } ]",
      "t.yaml:1:11: error: routes.rules[0]: expected exactly one of transport (or to), discard, "
      "defer, bounce\n" },
    { "two things to do", "[ { class: local, defer: later, bounce: never } ]",
      "t.yaml:1:11: error: routes.rules[0]: expected exactly one of transport (or to), discard, "
      "defer, bounce\n" },
    { "a port for nobody", "[ { class: local, transport: smtp, port: 26 } ]",
      "t.yaml:1:11: error: routes.rules[0]: port is for the hosts in to, and there are none\n" },
    { "a source for nobody", "[ { class: local, discard: x, source: 127.0.0.1 } ]",
      "t.yaml:1:11: error: routes.rules[0]: fallback, port and source are for rules with transport "
      "or to\n" },
    { "a next hop with a bare IPv6 address", "[ { class: local, to: [\"::1\"] } ]",
      "t.yaml:1:32: error: routes.rules[0].to[0]: \"::1\" is none of host, host:port, "
      "[address]:port, unix:/path\n" },
    { "a port past the last", "[ { class: local, to: [\"a:65536\"] } ]",
      "t.yaml:1:32: error: routes.rules[0].to[0]: \"a:65536\" is none of host, host:port, "
      "[address]:port, unix:/path\n" },
    { "the last port",
      "[ { class: local, to: [\"a:65535\", \"[::1]:1\", \"[127.0.0.1]\", \"unix:/x\"] } ]", "" },
    { "a relative socket", "[ { class: local, to: [\"unix:x\"] } ]",
      "t.yaml:1:32: error: routes.rules[0].to[0]: \"unix:x\" is none of host, host:port, "
      "[address]:port, unix:/path\n" },
    { "a pattern that is none", "[ { pattern: \"*@*\", transport: smtp } ]",
      "t.yaml:1:22: error: routes.rules[0].pattern[0]: \"*@*\" fits everything; name a part of the "
      "address, or leave "
      "pattern: out\n" },
    { "text of two lines", "[ { class: local, bounce: \"a\\nb\" } ]",
      "t.yaml:1:35: error: routes.rules[0].bounce: expected one line of at most 400 octets\n" },
    { "a source that is no address", "[ { class: local, transport: smtp, source: 127.0.0 } ]",
      "t.yaml:1:52: error: routes.rules[0].source: \"127.0.0\" is no address\n" },
};

static void test_refusals(void)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct generation g;
        char yaml[1024];

        (void)snprintf(yaml, sizeof(yaml), "routes: %s\n", refusals[i].rules);
        generation_build(&g, &fix, yaml);
        const char *got = g.errors.text.len > 0 ? g.errors.text.data : "";
        if (strcmp(got, refusals[i].want) != 0)
            fprintf(stderr, "  case \"%s\":\n   got  %s\n   want %s\n", refusals[i].what, got,
                    refusals[i].want);
        CU_ASSERT_STRING_EQUAL(got, refusals[i].want);
        generation_end(&g);
    }
}

/* ---- who goes where ---- */

static const char *const rules =
    "tables: { hosted: [h1.example, h2.example] }\n"
    "transports:\n"
    "  box: { type: lmtp, to: [\"unix:/x\"] }\n"
    "routes:\n"
    "  - { address: [abuse@h1.example], discard: \"nobody reads it\" }\n"            /* 0 */
    "  - { pattern: \"list-*@*.h3.example\", defer: \"lists rest\" }\n"              /* 1 */
    "  - { domain: { table: hosted }, client: [10.0.0.0/8], bounce: \"not you\" }\n" /* 2 */
    "  - { domain: { table: hosted }, transport: box }\n"                            /* 3 */
    "  - { class: [relay], to: [\"mx.in\", \"[::1]\", \"b:26\", \"unix:/y\"], port: 2525, "
    "fallback: [last] }\n"                                                               /* 4 */
    "  - { sender: [\"<>\"], tag: [bounce, dsn], transport: smtp, source: 127.0.0.1 }\n" /* 5 */
    "  - { sender_domain: [vip.example], transport: smtp, to: [vip.out] }\n"             /* 6 */
    "  - { class: [forward, client], transport: smtp }\n";                               /* 7 */

static const struct {
    const char *what;
    const char *local, *domain;
    enum tern_class class_;
    const char *sender_local, *sender_domain, *tags;
    uint8_t net;      /* first octet of the client */
    const char *rule; /* the note */
    tern_verdict verdict;
    const char *want; /* transport and first host, or code and text */
} ways[] = {
    { "an address", "abuse", "h1.example", TERN_CLASS_LOCAL, "a", "x", NULL, 10, "rule=0",
      TERN_ACCEPT, "discard nobody reads it" },
    { "in any case", "ABUSE", "h1.example", TERN_CLASS_LOCAL, "a", "x", NULL, 10, "rule=0",
      TERN_ACCEPT, "discard nobody reads it" },
    { "a pattern", "List-a", "b.c.h3.example", TERN_CLASS_LOCAL, "a", "x", NULL, 1, "rule=1",
      TERN_DEFER, "451 4.3.2 lists rest" },
    { "a domain from a network", "x", "h2.example", TERN_CLASS_LOCAL, "a", "x", NULL, 10, "rule=2",
      TERN_REJECT, "550 5.7.1 not you" },
    { "a domain from elsewhere", "x", "h2.example", TERN_CLASS_LOCAL, "a", "x", NULL, 11, "rule=3",
      TERN_ACCEPT, "box" },
    { "a class, ports filled in", "x", "r.example", TERN_CLASS_RELAY, "a", "x", NULL, 11, "rule=4",
      TERN_ACCEPT, "smtp mx.in:2525 [::1]:2525 b:26 unix:/y | last:2525" },
    { "the null sender and a tag", "x", "out.example", TERN_CLASS_CLIENT, "", "", " dsn ", 11,
      "rule=5", TERN_ACCEPT, "smtp from 127.0.0.1" },
    { "without the tag", "x", "out.example", TERN_CLASS_CLIENT, "", "", NULL, 11, "rule=7",
      TERN_ACCEPT, "smtp" },
    { "a sender's domain", "x", "out.example", TERN_CLASS_FORWARD, "a", "vip.example", NULL, 11,
      "rule=6", TERN_ACCEPT, "smtp vip.out" },
    { "the rest", "x", "out.example", TERN_CLASS_CLIENT, "a", "b", NULL, 11, "rule=7", TERN_ACCEPT,
      "smtp" },
    { "local never by a rule that does not name it", "x", "h9.example", TERN_CLASS_LOCAL, "a",
      "vip.example", NULL, 11, "", TERN_DEFER,
      "451 4.4.4 No rule of routes: names the class local or this domain or address" },
    { "mail of our own, claimed by nobody", "x", "h9.example", TERN_CLASS_NONE, "a", "b", NULL, 11,
      "", TERN_DEFER, "451 4.4.4 No rule of routes: takes a recipient of class unclaimed" },
    { "postmaster without a domain", "postmaster", "", TERN_CLASS_LOCAL, "a", "b", NULL, 11, "",
      TERN_DEFER, "451 4.4.4 No rule of routes: names the class local or this domain or address" },
};

static void describe(const tern_call *call, tern_verdict verdict, char *out, size_t octets)
{
    const struct tern_route *r = &call->route;
    int len = 0;

    if (verdict != TERN_ACCEPT)
        (void)snprintf(out, octets, "%u %s %s", call->code, call->enhanced, call->text);
    else if (r->discard_reason.len > 0)
        (void)snprintf(out, octets, "discard %s", r->discard_reason.ptr);
    if (verdict != TERN_ACCEPT || r->discard_reason.len > 0)
        return;
    len = snprintf(out, octets, "%s", r->transport.ptr);
    for (size_t i = 0; i < r->to.count; i++)
        len += snprintf(out + len, octets - (size_t)len, " %s", r->to.items[i].ptr);
    for (size_t i = 0; i < r->fallback.count; i++)
        len += snprintf(out + len, octets - (size_t)len, " | %s", r->fallback.items[i].ptr);
    if (r->source.len > 0)
        (void)snprintf(out + len, octets - (size_t)len, " from %s", r->source.ptr);
}

static const struct plan_step *find_step(const struct generation *g, const char *policy,
                                         const char *name)
{
    const struct plan *plan = policy_plan(policies_find(g->policies, slice_cstr(policy)));

    for (unsigned i = 0; i < plan->step_count; i++)
        if (strcmp(plan->steps[i].step->name.ptr, name) == 0)
            return &plan->steps[i];
    return NULL;
}

/* The same when tables answer later; and one that cannot be asked is never a silent "no". */
static void slowly(tern_call *call, const struct plan_step *step, tern_verdict want,
                   const char *text)
{
    char got[512] = "";
    unsigned rounds = 0;

    call->table_slow = true;
    call->route = (struct tern_route){ 0 };
    call->completed = TERN_WAIT;
    CU_ASSERT_EQUAL(step->step->module->hooks[0].run(call, step->conf), TERN_WAIT);
    for (; call->completed == TERN_WAIT && rounds < 32; rounds++)
        fake_call_answer(call, step->conf);
    describe(call, call->completed, got, sizeof(got));
    CU_ASSERT_EQUAL(call->completed, want);
    CU_ASSERT_STRING_EQUAL(got, text);

    call->table_down = true;
    call->completed = TERN_WAIT;
    CU_ASSERT_EQUAL(step->step->module->hooks[0].run(call, step->conf), TERN_WAIT);
    fake_call_answer(call, step->conf);
    CU_ASSERT_EQUAL(call->completed, TERN_ERROR);
}

static void test_ways(void)
{
    struct generation g;

    generation_build(&g, &fix, rules);
    if (g.policies == NULL)
        fprintf(stderr, "%s", g.errors.text.data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    const struct plan_step *step = find_step(&g, "generated", "routes");
    CU_ASSERT_PTR_NOT_NULL_FATAL(step);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct tern_call call = { .tags = ways[i].tags,
                                  .client = { .family = 4, .octets = { ways[i].net } } };
        char got[512] = "";

        arena_init(&call.arena);
        call.rcpt.mailbox = call.rcpt.original =
            fake_mailbox(&call.arena, ways[i].local, ways[i].domain);
        call.rcpt.class_ = ways[i].class_;
        call.sender = fake_mailbox(&call.arena, ways[i].sender_local, ways[i].sender_domain);
        tern_verdict v = step->step->module->hooks[0].run(&call, step->conf);
        describe(&call, v, got, sizeof(got));
        if (v != ways[i].verdict || strcmp(got, ways[i].want) != 0 ||
            strcmp(call.note, ways[i].rule) != 0)
            fprintf(stderr, "  case \"%s\": %d %s \"%s\"\n", ways[i].what, v, call.note, got);
        CU_ASSERT_EQUAL(v, ways[i].verdict);
        CU_ASSERT_STRING_EQUAL(got, ways[i].want);
        CU_ASSERT_STRING_EQUAL(call.note, ways[i].rule);
        slowly(&call, step, ways[i].verdict, got);
        arena_fini(&call.arena);
    }
    generation_end(&g);
}

/* ---- the small ones ---- */

static void test_rcpt_limit(void)
{
    struct generation g;

    generation_build(&g, &fix, "policies:\n  in:\n    - rcpt_limit: { max: 3 }\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    const struct plan_step *step = find_step(&g, "in", "rcpt_limit");
    struct tern_call call = { .rcpt_count = 2 };
    CU_ASSERT_EQUAL(step->step->module->hooks[0].run(&call, step->conf), TERN_NEXT);
    call.rcpt_count = 3;
    CU_ASSERT_EQUAL(step->step->module->hooks[0].run(&call, step->conf), TERN_DEFER);
    CU_ASSERT_EQUAL(call.code, 452);
    CU_ASSERT_STRING_EQUAL(call.enhanced, "4.5.3");
    generation_end(&g);
    generation_build(&g, &fix, "policies:\n  in:\n    - rcpt_limit: { max: 10001 }\n");
    CU_ASSERT_PTR_NULL(g.policies);
    generation_end(&g);
}

static void test_hello(void)
{
    struct generation g;
    struct tern_call call = { .helo = "Spam.Example" };

    generation_build(&g, &fix, "policies:\n  in:\n    - hello: { forbidden: spam.example }\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    const struct plan_step *step = find_step(&g, "in", "hello");
    CU_ASSERT_EQUAL(step->step->module->hooks[0].run(&call, step->conf), TERN_REJECT);
    CU_ASSERT_STRING_EQUAL(call.text, "We do not greet spam.example here");
    call.helo = "friend.example";
    CU_ASSERT_EQUAL(step->step->module->hooks[0].run(&call, step->conf), TERN_NEXT);
    CU_ASSERT_EQUAL(step->step->module->hooks[1].run(&call, step->conf), TERN_NEXT);
    CU_ASSERT_STRING_EQUAL(call.header, "X-Hello: Hello from Tern");
    generation_end(&g);
}

int main(void)
{
    fake_call_install();
    fixture_begin(&fix, NULL);
    if (!fixture_copy(&fix, TERN_MODULE_DIR, "routes") ||
        !fixture_copy(&fix, TERN_MODULE_DIR, "hello") ||
        !fixture_copy(&fix, TERN_MODULE_DIR, "rcpt_limit") ||
        CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("routes", NULL, NULL);
    CU_add_test(suite, "what is said of rules", test_refusals);
    CU_add_test(suite, "who goes where", test_ways);
    CU_add_test(suite, "rcpt_limit", test_rcpt_limit);
    CU_add_test(suite, "hello", test_hello);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    fixture_end(&fix);
    return failures != 0;
}
