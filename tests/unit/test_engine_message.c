/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine_message.c - groups, the reply at the dot, header edits, expansion. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine_fixture.h"
#include "module/header_edit.h"

#define AT(point) (1 + TERN_HOOK_##point)

/* ---- groups ---- */

/* Domains claims; profiles of rN@example.org differ in their late options by N. */
static char addresses[TESTPLAN_PROFILES_MAX][32];

static void many_profiles(unsigned count)
{
    testplan_build(w.policy);
    for (unsigned i = 1; i < count; i++) {
        (void)snprintf(addresses[i], sizeof(addresses[i]), "r%u@example.org", i);
        (void)testplan_profile(w.policy, addresses[i], i);
    }
}

static tern_verdict ask_nth(unsigned i)
{
    char address[32];

    (void)snprintf(address, sizeof(address), "r%u@example.org", i);
    return ask_rcpt(address);
}

static void test_split(void)
{
    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    many_profiles(3);
    reach_mail();
    CU_ASSERT_EQUAL(ask_nth(1), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_nth(2), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 452);
    CU_ASSERT_STRING_EQUAL(w.decision.enhanced, "4.5.3");
    CU_ASSERT_EQUAL(ask_nth(1), TERN_NEXT); /* the same kind */
    CU_ASSERT_EQUAL(engine_txn(w.session)->rcpt_count, 2);
    world_close();
}

static void test_no_split(void)
{
    world_open("inbound", NULL);
    w.split = false;
    (void)step("domains", &claiming_module, &claim_local);
    many_profiles(18);
    reach_mail();
    for (unsigned i = 1; i <= 16; i++)
        CU_ASSERT_EQUAL(ask_nth(i), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_nth(17), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 452);
    CU_ASSERT_EQUAL(ask_nth(16), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), TERN_NEXT);
    CU_ASSERT_EQUAL(w.result->group_count, 16);
    for (unsigned i = 0; i < 16; i++) {
        CU_ASSERT_EQUAL(w.result->groups[i].number, i + 1);
        CU_ASSERT_EQUAL(w.result->groups[i].facts->rcpt_count, i == 15 ? 2 : 1);
    }
    world_close();
}

/* Class, tags and disposition make groups too; the order of tags does not. */
static tern_verdict by_name(tern_call *call, const struct script *s)
{
    const char *local = tern->current_rcpt(call)->mailbox.local.ptr;

    (void)s;
    for (; *local != '\0'; local++) {
        if (*local == 'a' || *local == 'b')
            (void)tern->tag(call, *local == 'a' ? "a" : "b");
        if (*local == 'R')
            return tern->claim(call, TERN_CLASS_RELAY) == 0 ? TERN_NEXT : TERN_ERROR;
        if (*local == 'H')
            return tern->hold(call, "for a look");
        if (*local == 'D')
            return TERN_DISCARD;
    }
    (void)tern->claim(call, TERN_CLASS_LOCAL);
    return TERN_NEXT;
}
static const struct script names = { .only_at = AT(RCPT), .more = by_name };

static void test_group_keys(void)
{
    static const char *const to[] = { "x@e.org",   "ab@e.org", "ba@e.org",
                                      "aab@e.org", "a@e.org",  "R@e.org" };

    world_open("inbound", NULL);
    w.split = false;
    (void)step("n", &every_module, &names);
    reach_mail();
    for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++)
        CU_ASSERT_EQUAL(ask_rcpt(to[i]), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), TERN_NEXT);
    CU_ASSERT_EQUAL(w.result->group_count, 4);
    CU_ASSERT_EQUAL(w.result->groups[1].facts->rcpt_count, 3);
    world_close();
}

static void test_rcpt_dispositions(void)
{
    world_open("inbound", NULL);
    w.split = false;
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("n", &every_module, &names);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("D@e.org"), TERN_DISCARD);
    CU_ASSERT_EQUAL(ask_rcpt("H@e.org"), TERN_HOLD);
    CU_ASSERT_EQUAL(ask_rcpt("x@e.org"), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), TERN_NEXT);
    CU_ASSERT_EQUAL_FATAL(w.result->group_count, 3);
    const struct engine_group *g = w.result->groups; /* what is stored has numbers without a gap */
    CU_ASSERT_EQUAL(g[0].disposition, DISPOSE_HOLD);
    CU_ASSERT_TRUE(slice_equal(g[0].hold_reason, SLICE("for a look")));
    CU_ASSERT_TRUE(slice_equal(g[0].hold_step, SLICE("n")));
    CU_ASSERT_EQUAL(g[1].disposition, DISPOSE_DELIVER);
    CU_ASSERT_EQUAL(g[2].disposition, DISPOSE_DISCARD);
    CU_ASSERT_EQUAL(g[2].number, 3);
    world_close();
}

/* ---- the reply at the dot ---- */

static const struct {
    const char *answers; /* by group: n, r, d, h, x = discard */
    tern_verdict verdict;
    unsigned code;
    const char *kept; /* dispositions of the groups: d(eliver), h, l(ate), x */
} dots[] = {
    { "nn", TERN_NEXT, 0, "dd" },   { "nd", TERN_DEFER, 451, "" },  { "rd", TERN_DEFER, 451, "" },
    { "nr", TERN_NEXT, 0, "dl" },   { "hr", TERN_NEXT, 0, "hl" },   { "rr", TERN_REJECT, 550, "" },
    { "xr", TERN_NEXT, 0, "lx" },   { "hx", TERN_NEXT, 0, "hx" },   { "r", TERN_REJECT, 550, "" },
    { "rnh", TERN_NEXT, 0, "ldh" }, { "nnd", TERN_DEFER, 451, "" },
};

static const char *plan_of_answers;
static unsigned asked_hook;

static tern_verdict by_group(tern_call *call, const struct script *s)
{
    (void)s;
    if (call->point != asked_hook)
        return TERN_NEXT;
    unsigned group = (unsigned)atoi(tern->rcpt(call, 0)->mailbox.local.ptr + 1);
    switch (plan_of_answers[group - 1]) {
    case 'r': return tern->reply(call, TERN_REJECT, 550, "5.6.0", "group %u", group);
    case 'd': return TERN_DEFER;
    case 'h': return tern->hold(call, "held");
    case 'x': return TERN_DISCARD;
    default: return TERN_NEXT;
    }
}

static char kind_of(const struct engine_group *g)
{
    if (g->disposition == DISPOSE_DISCARD)
        return 'x';
    if (g->disposition == DISPOSE_DELIVER)
        return 'd';
    return slice_equal(g->hold_reason, SLICE("late-refusal")) ? 'l' : 'h';
}

static void check_dot(size_t i, unsigned hook, unsigned groups)
{
    static const struct script s = { .more = by_group };

    plan_of_answers = dots[i].answers;
    asked_hook = hook;
    world_open("inbound", NULL);
    w.split = false;
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("s", &meek_module, &s);
    many_profiles(groups + 1);
    reach_mail();
    for (unsigned g = 1; g <= groups; g++)
        CU_ASSERT_EQUAL(ask_nth(g), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), dots[i].verdict);
    CU_ASSERT_EQUAL(w.decision.code, dots[i].code);
    CU_ASSERT_EQUAL(w.result->group_count, strlen(dots[i].kept));
    for (unsigned g = 0; g < w.result->group_count; g++)
        CU_ASSERT_EQUAL(kind_of(&w.result->groups[g]), dots[i].kept[g]);
    world_close();
}

static void test_dots(void)
{
    for (size_t i = 0; i < sizeof(dots) / sizeof(dots[0]); i++) {
        unsigned groups = (unsigned)strlen(dots[i].answers);
        check_dot(i, TERN_HOOK_MESSAGE, groups);
        check_dot(i, TERN_HOOK_QUEUE, groups);
    }
}

static void test_soft_dot(void)
{
    static const struct script s = { .answer = TERN_REJECT, .only_at = AT(MESSAGE) };

    world_open("inbound", NULL);
    w.soft_bounce = true;
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("s", &meek_module, &s);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 450);
    CU_ASSERT_TRUE(last_text_has("[06c2k3nm7d0g4]"));
    world_close();
}

/* ---- ONCE ---- */

static tern_verdict mark_once(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_EQUAL(tern->rcpt_count(call), 2);
    (void)tern->set_result(call, "word", TERN_STR("pass"));
    return tern->header_prepend(call, "X-Once", TERN_STR("1")) == 0 ? TERN_NEXT : TERN_ERROR;
}

static tern_verdict see_once(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_EQUAL(tern->rcpt_count(call), 1);
    CU_ASSERT_STRING_EQUAL(tern->result(call, "word").ptr, "pass");
    CU_ASSERT_STRING_EQUAL(tern->header_at(call, 0)->name.ptr, "X-Once");
    return TERN_NEXT;
}

static void test_once(void)
{
    static const struct script once = { .only_at = AT(MESSAGE), .more = mark_once };
    static const struct script each = { .only_at = AT(MESSAGE), .more = see_once };

    world_open("inbound", NULL);
    w.split = false;
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("verify", &once_module, &once);
    (void)step("each", &meek_module, &each);
    many_profiles(3);
    reach_mail();
    CU_ASSERT_EQUAL(ask_nth(1), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_nth(2), TERN_NEXT);
    buf_clear(&w.trace);
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), TERN_NEXT);
    CU_ASSERT_STRING_EQUAL(w.trace.data, "message:verify message:each message:each "
                                         "queue:verify queue:each queue:verify queue:each "
                                         "sign:verify sign:each sign:verify sign:each ");
    world_close();
}

static void test_once_refuses(void)
{
    static const struct script once = { .answer = TERN_REJECT, .only_at = AT(MESSAGE) };

    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("milter", &once_module, &once);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), TERN_REJECT);
    CU_ASSERT_PTR_NULL(strstr(w.trace.data, "queue:"));
    world_close();
}

/* ---- expansion, added recipients ---- */

static unsigned children;

static tern_verdict expand(tern_call *call, const struct script *s)
{
    (void)s;
    for (unsigned i = 0; i < children; i++) {
        tern_str child = tern->format(call, "c%u@example.net", i);
        if (tern->expand_rcpt(call, child) < 0)
            return TERN_NEXT; /* the journal remembers */
    }
    return tern->tag(call, "b") == 0 ? TERN_NEXT : TERN_ERROR;
}

static void test_expand(void)
{
    static const struct script s = { .only_at = AT(RCPT), .more = expand };

    for (children = 2; children <= 1001; children = children == 2 ? 1000 : children + 1) {
        world_open("inbound", NULL);
        (void)step("domains", &claiming_module, &claim_local);
        (void)step("alias", &meek_module, &s);
        reach_mail();
        tern_verdict v = ask_rcpt("list@example.org");
        CU_ASSERT_EQUAL(v, children <= 1000 ? TERN_NEXT : TERN_DEFER);
        const struct txn_facts *t = engine_txn(w.session);
        CU_ASSERT_EQUAL(t->rcpt_count, children <= 1000 ? children : 0);
        if (v == TERN_NEXT) {
            const struct rcpt_facts *last = t->rcpts[children - 1];
            CU_ASSERT_EQUAL(last->view.class_, TERN_CLASS_LOCAL);
            CU_ASSERT_PTR_NOT_NULL(notes_get(last->tags, SLICE("b")).ptr);
            CU_ASSERT_STRING_EQUAL(last->view.original.address.ptr, "list@example.org");
            CU_ASSERT_EQUAL(last->family, t->rcpts[0]->family);
            CU_ASSERT_EQUAL(ask_rcpt("list2@example.org"), TERN_NEXT);
        }
        world_close();
    }
}

/* Two steps that expand: the bound holds for their sum. */
static void test_expand_twice(void)
{
    static const struct script s = { .only_at = AT(RCPT), .more = expand };

    children = 501;
    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("one", &meek_module, &s);
    (void)step("two", &meek_module, &s);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("list@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 452);
    world_close();
}

static tern_verdict add_archive(tern_call *call, const struct script *s)
{
    (void)s;
    return tern->add_rcpt(call, TERN_STR("archive@example.net")) == 0 ? TERN_NEXT : TERN_ERROR;
}

/* Ours are those at example.org; nobody@ is no mailbox there, and later@ cannot be known now. */
static tern_verdict claim_ours(tern_call *call, const struct script *s)
{
    const struct tern_mailbox *m = &tern->current_rcpt(call)->mailbox;

    (void)s;
    if (strncmp(m->address.ptr, "later@", 6) == 0)
        return TERN_ERROR;
    if (strncmp(m->address.ptr, "nobody@", 7) == 0)
        return tern->reply(call, TERN_REJECT, 550, "5.1.1", "no such mailbox");
    if (strcmp(m->domain.ptr, "example.org") == 0)
        (void)tern->claim(call, TERN_CLASS_LOCAL);
    return TERN_NEXT;
}
static const struct script ours = { .only_at = AT(RCPT), .more = claim_ours };

static tern_verdict add_named(tern_call *call, const struct script *s)
{
    return tern->add_rcpt(call, (tern_str){ s->text, strlen(s->text) }) == 0 ? TERN_NEXT
                                                                             : TERN_ERROR;
}

static const struct {
    const char *added;
    tern_verdict verdict;
    unsigned count; /* recipients of the group */
    enum tern_class class_;
    const char *claimed_by;
} added_cases[] = {
    { "archive@example.net", TERN_NEXT, 2, TERN_CLASS_FORWARD, "archive" },
    { "archive@example.org", TERN_NEXT, 2, TERN_CLASS_LOCAL, "domains" },
    { "nobody@example.org", TERN_NEXT, 1, 0, "" }, /* the log says so */
    { "later@example.org", TERN_DEFER, 0, 0, "" },
};

static void check_added(size_t i, const struct tern_module *module)
{
    struct script s = { .only_at = AT(MESSAGE), .more = add_named, .text = added_cases[i].added };

    world_open("inbound", NULL);
    (void)step("domains", &every_module, &ours);
    (void)step("archive", module, &s);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), added_cases[i].verdict);
    if (added_cases[i].verdict == TERN_NEXT) {
        const struct txn_facts *facts = w.result->groups[0].facts;
        CU_ASSERT_EQUAL_FATAL(facts->rcpt_count, added_cases[i].count);
        CU_ASSERT_STRING_EQUAL(facts->rcpts[0]->view.mailbox.local.ptr, "r1");
        if (facts->rcpt_count > 1) {
            CU_ASSERT_EQUAL(facts->rcpts[1]->view.class_, added_cases[i].class_);
            CU_ASSERT_STRING_EQUAL(facts->rcpts[1]->view.claimed_by.ptr, added_cases[i].claimed_by);
        }
    } else {
        CU_ASSERT_EQUAL(w.decision.code, 451);
    }
    CU_ASSERT_EQUAL(engine_txn(w.session)->rcpt_count, 1);
    world_close();
}

/* By a step for each group, and by a ONCE step: whose it is says who may claim. */
static void test_add_rcpt(void)
{
    for (size_t i = 0; i < sizeof(added_cases) / sizeof(added_cases[0]); i++) {
        check_added(i, &meek_module);
        check_added(i, &once_module);
    }
}

/* A ONCE step adds for the message, not for each group: one copy, in a group that goes out. */
static void test_once_adds_rcpt(void)
{
    static const struct script s = { .only_at = AT(MESSAGE), .more = add_archive };

    for (unsigned groups = 1; groups <= 3; groups++) {
        unsigned copies = 0;
        world_open("inbound", NULL);
        w.split = false;
        (void)step("domains", &claiming_module, &claim_local);
        (void)step("archive", &once_module, &s);
        many_profiles(4);
        reach_mail();
        for (unsigned n = 1; n <= groups; n++)
            CU_ASSERT_EQUAL(ask_nth(n), TERN_NEXT);
        CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"), TERN_NEXT);
        CU_ASSERT_EQUAL(w.result->group_count, groups);
        for (unsigned g = 0; g < w.result->group_count; g++)
            copies += w.result->groups[g].facts->rcpt_count - 1;
        CU_ASSERT_EQUAL(copies, 1);
        world_close();
    }
}

/* There is no room for the archive: the client hears so, and its mail is not stored without it. */
static void test_no_room_for_added(void)
{
    static const struct script s = { .only_at = AT(MESSAGE), .more = add_archive };
    const struct tern_module *modules[] = { &meek_module, &once_module };

    for (unsigned i = 0; i < 4; i++) {
        unsigned fill = ENGINE_TXN_RCPTS_MAX - i % 2;
        world_open("inbound", NULL);
        (void)step("domains", &claiming_module, &claim_local);
        (void)step("archive", modules[i / 2], &s);
        reach_mail();
        for (unsigned n = 0; n < fill; n++)
            if (ask_rcpt("a@example.org") != TERN_NEXT)
                CU_FAIL_FATAL("not taken");
        CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nb\r\n"),
                        i % 2 == 0 ? TERN_DEFER : TERN_NEXT);
        CU_ASSERT_EQUAL(w.result->decision.code, i % 2 == 0 ? 452 : 0);
        world_close();
    }
}

/* ---- header edits ---- */

static const struct edit_case {
    const char *what, *message, *whole; /* "Received: here" on top of what comes out */
    int offset;                         /* of the result */
    struct {
        enum journal_kind kind;
        const char *name;
        unsigned nth;
        const char *value;
    } edits[4];
} edit_cases[] = {
    { "nothing", "A: 1\r\n\r\nb\r\n", "Received: here\r\nA: 1\r\n\r\nb\r\n", 0, { { 0 } } },
    { "prepend",
      "A: 1\r\n\r\nb\r\n",
      "Y: 2\r\nX: 1\r\nReceived: here\r\nA: 1\r\n\r\nb\r\n",
      0,
      { { JOURNAL_HEADER_PREPEND, "X", 0, "1" }, { JOURNAL_HEADER_PREPEND, "Y", 0, "2" } } },
    { "append",
      "A: 1\r\n\r\nb\r\n",
      "Received: here\r\nA: 1\r\nX: 1\r\nY: 2\r\n\r\nb\r\n",
      6,
      { { JOURNAL_HEADER_APPEND, "X", 0, "1" }, { JOURNAL_HEADER_APPEND, "Y", 0, "2" } } },
    { "remove the second",
      "A: 1\r\na: 2\r\nA: 3\r\n\r\nb\r\n",
      "Received: here\r\nA: 1\r\nA: 3\r\n\r\nb\r\n",
      18,
      { { JOURNAL_HEADER_REMOVE, "A", 1, "" } } },
    { "replace a folded one",
      "A: 1\r\n\t2\r\nB:x\r\n\r\nb\r\n",
      "Received: here\r\na: n\r\nB:x\r\n\r\nb\r\n",
      15,
      { { JOURNAL_HEADER_REPLACE, "a", 0, "n" } } },
    { "our own Received",
      "A: 1\r\n\r\n",
      "A: 1\r\n\r\n",
      6,
      { { JOURNAL_HEADER_REMOVE, "Received", 0, "" } } },
    { "what is not there",
      "A: 1\r\n\r\nb\r\n",
      "Received: here\r\nA: 1\r\n\r\nb\r\n",
      6,
      { { JOURNAL_HEADER_REPLACE, "Z", 0, "n" } } },
    { "malformed lines stay",
      "A: 1\r\nthis is none\r\nB: 2\r\n\r\nb\r\n",
      "Received: here\r\nthis is none\r\nB: 2\r\nX: 1\r\n\r\nb\r\n",
      26,
      { { JOURNAL_HEADER_REMOVE, "A", 0, "" }, { JOURNAL_HEADER_APPEND, "X", 0, "1" } } },
    { "no header",
      "\r\nb\r\n",
      "Received: here\r\nX: 1\r\n\r\nb\r\n",
      0,
      { { JOURNAL_HEADER_APPEND, "X", 0, "1" } } },
    { "no body",
      "A: 1\r\n",
      "Received: here\r\nX: 1\r\n",
      6,
      { { JOURNAL_HEADER_REMOVE, "A", 0, "" }, { JOURNAL_HEADER_APPEND, "X", 0, "1" } } },
    { "nothing at all",
      "",
      "Received: here\r\nX: 1\r\n",
      0,
      { { JOURNAL_HEADER_APPEND, "X", 0, "1" } } },
    { "a new one, then gone",
      "A: 1\r\n\r\n",
      "Received: here\r\nA: 1\r\n\r\n",
      6,
      { { JOURNAL_HEADER_PREPEND, "X", 0, "1" }, { JOURNAL_HEADER_REMOVE, "X", 0, "" } } },
    { "a long value",
      "A: 1\r\n\r\n",
      "X: 1\r\n 2\r\nReceived: here\r\nA: 1\r\n\r\n",
      0,
      { { JOURNAL_HEADER_PREPEND, "X", 0, "1\r\n 2" } } },
};

static tern_verdict edit_all(tern_call *call, const struct script *s)
{
    const struct edit_case *c = (const struct edit_case *)(const void *)s->text;

    for (size_t i = 0; i < 4 && c->edits[i].name != NULL; i++) {
        tern_str value = { c->edits[i].value, strlen(c->edits[i].value) };
        const char *name = c->edits[i].name;
        unsigned nth = c->edits[i].nth;
        int r = c->edits[i].kind == JOURNAL_HEADER_PREPEND ? tern->header_prepend(call, name, value)
                : c->edits[i].kind == JOURNAL_HEADER_APPEND ? tern->header_append(call, name, value)
                : c->edits[i].kind == JOURNAL_HEADER_REPLACE
                    ? tern->header_replace(call, name, nth, value)
                    : tern->header_remove(call, name, nth);
        CU_ASSERT_EQUAL(r, 0);
    }
    return TERN_NEXT;
}

static struct buf seen;

/* A later step sees the message as edited. */
static tern_verdict see_edited(tern_call *call, const struct script *s)
{
    (void)s;
    buf_clear(&seen);
    for (unsigned i = 0; i < tern->header_count(call); i++)
        buf_printf(&seen, "%s=%s;", tern->header_at(call, i)->name.ptr,
                   tern->header_at(call, i)->value.ptr);
    CU_ASSERT_PTR_NULL(tern->header_at(call, tern->header_count(call)));
    char body[64];
    int64_t n = tern->body_read(call, 0, body, sizeof(body));
    CU_ASSERT_EQUAL(n, (int64_t)tern->body_octets(call));
    buf_printf(&seen, "|%.*s|%llu", (int)n, body, (unsigned long long)tern->message_octets(call));
    tern_str header, came;
    CU_ASSERT_EQUAL(tern->header_octets(call, false, &header), 0);
    CU_ASSERT_EQUAL(tern->header_octets(call, true, &came), 0);
    uint64_t rest = tern->message_octets(call) - header.len - (uint64_t)n;
    CU_ASSERT_TRUE(rest == 2 || (rest == 0 && n == 0)); /* the empty line, if there is one */
    CU_ASSERT_PTR_NULL(memmem(came.ptr, came.len, "Received: ", 10));
    CU_ASSERT_PTR_NOT_NULL(memmem(header.ptr, header.len, tern->header_at(call, 0)->name.ptr,
                                  tern->header_at(call, 0)->name.len));
    return TERN_NEXT;
}

static void test_edits(void)
{
    for (size_t i = 0; i < sizeof(edit_cases) / sizeof(edit_cases[0]); i++) {
        const struct edit_case *c = &edit_cases[i];
        const struct script edits = { .only_at = AT(MESSAGE),
                                      .more = edit_all,
                                      .text = (const char *)c };
        const struct script sees = { .only_at = AT(QUEUE), .more = see_edited };
        world_open("inbound", NULL);
        (void)step("domains", &claiming_module, &claim_local);
        (void)step("e", &meek_module, &edits);
        (void)step("s", &meek_module, &sees);
        reach_rcpt();
        CU_ASSERT_EQUAL(ask_message(c->message), TERN_NEXT);
        const struct engine_group *g = w.result->groups;
        CU_ASSERT_EQUAL(g->body_offset, (uint64_t)c->offset);
        CLEANUP_BUF struct buf out = BUF_INIT;
        buf_add(&out, g->head);
        buf_add(&out, slice_from(slice_cstr(c->message), (size_t)g->body_offset));
        buf_add_cstr(&out, "");
        if (strcmp(out.data, c->whole) != 0)
            fprintf(stderr, "%s: %s\n", c->what, out.data);
        CU_ASSERT_STRING_EQUAL(out.data, c->whole);
        char length[32];
        (void)snprintf(length, sizeof(length), "|%zu", strlen(c->whole));
        CU_ASSERT_PTR_NOT_NULL(strstr(seen.data, length)); /* message_octets() is what goes out */
        world_close();
    }
    buf_free(&seen);
}

/* A body in a file, with a header above the bound: nothing is lost, the rest counts as body. */
static void test_large_header(void)
{
    struct body *body = body_new(-1);
    struct journal j = { 0 };
    struct arena arena;
    struct message_head *head, *edited;
    char line[1002];
    uint64_t offset;

    memset(line, 'x', 1000);
    memcpy(line, "L: ", 3);
    memcpy(line + 998, "\r\n", 3);
    for (unsigned i = 0; i < 1100; i++)
        CU_ASSERT_EQUAL(body_append(body, slice_make(line, 1000)), 0);
    CU_ASSERT_EQUAL(body_append(body, SLICE("\r\nbody\r\n")), 0);
    head = message_head_new(body, SLICE("R: x\r\n"));
    CU_ASSERT_EQUAL(message_head_count(head), 1 + MESSAGE_HEADER_OCTETS_MAX / 1000);
    CU_ASSERT_EQUAL(message_body_octets(head),
                    1100 * 1000 + 8 - MESSAGE_HEADER_OCTETS_MAX / 1000 * 1000);
    arena_init(&arena);
    struct journal_writer writer = { &j, &arena, TERN_HOOK_MESSAGE, NULL, NULL };
    CU_ASSERT_EQUAL(journal_add(&writer, JOURNAL_HEADER_APPEND, 0, SLICE("Z"), SLICE("1")), 0);
    CU_ASSERT_EQUAL(message_head_edit(head, &j, &edited), 0);
    CU_ASSERT_EQUAL(message_head_octets(edited, &offset).len, 6 + offset + 6);
    CU_ASSERT_EQUAL(message_octets(edited), body_octets(body) + 12);
    message_head_unref(edited);
    message_head_unref(head);
    arena_fini(&arena);
    body_unref(body);
}

static tern_verdict look_at_parts(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_EQUAL(tern->part_count(call), 2);
    CU_ASSERT_STRING_EQUAL(tern->part(call, 1)->filename.ptr, "x.exe");
    CU_ASSERT_PTR_NULL(tern->part(call, 2));
    CU_ASSERT_STRING_EQUAL(tern->header(call, "SUBJECT", 0)->value.ptr, "hi");
    CU_ASSERT_PTR_NULL(tern->header(call, "Subject", 1));
    return TERN_NEXT;
}

static void test_parts(void)
{
    static const struct script s = { .only_at = AT(MESSAGE), .more = look_at_parts };

    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("p", &meek_module, &s);
    reach_rcpt();
    CU_ASSERT_EQUAL(
        ask_message(
            "Subject: hi\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\ntext\r\n"
            "--q\r\nContent-Disposition: attachment; filename=x.exe\r\n\r\nMZ\r\n--q--\r\n"),
        TERN_NEXT);
    world_close();
}

/* ---- what the table allows ---- */

static void test_table(void)
{
    /* rows: journal kinds; columns: connect .. vrfy, as DESIGN 3.1 says */
    static const struct {
        enum journal_kind kind;
        const char *hooks; /* c t e a m r d M q s R D o x v */
    } rows[] = {
        { JOURNAL_TAG, "c eamrdMq      " },
        { JOURNAL_RESULT, "c eamrdMq      " },
        { JOURNAL_VAR, "c eamrdMq      " },
        { JOURNAL_REWRITE_SENDER, "    m   q      " },
        { JOURNAL_REWRITE_RCPT, "     r         " },
        { JOURNAL_EXPAND_RCPT, "     r         " },
        { JOURNAL_ADD_RCPT, "       M       " },
        { JOURNAL_WITHHOLD, "  e            " },
        { JOURNAL_HEADER_PREPEND, "       Mqs     " },
        { JOURNAL_HEADER_APPEND, "       Mq      " },
        { JOURNAL_HEADER_REPLACE, "       Mq      " },
        { JOURNAL_HEADER_REMOVE, "       Mq      " },
    };
    struct arena arena;

    arena_init(&arena);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (unsigned hook = 0; hook < TERN_HOOK_COUNT; hook++) {
            bool address =
                rows[i].kind >= JOURNAL_REWRITE_SENDER && rows[i].kind <= JOURNAL_ADD_RCPT;
            struct slice name = rows[i].kind == JOURNAL_RESULT ? SLICE("word") : SLICE("a");
            struct journal j = { 0 };
            struct journal_writer writer = { &j, &arena, hook, NULL, &every_module };
            bool may = rows[i].hooks[hook] != ' ';
            int r = address ? journal_add_address(&writer, rows[i].kind, SLICE("x@example.org"))
                            : journal_add(&writer, rows[i].kind, 0, name, SLICE(""));
            CU_ASSERT_EQUAL(r, may ? 0 : -EPERM);
            CU_ASSERT_EQUAL(j.error == NULL, may);
            CU_ASSERT_EQUAL(j.count, may);
        }
    }
    arena_fini(&arena);
}

static void test_journal_bounds(void)
{
    struct arena arena;
    struct journal j = { 0 };
    struct tern_hook hook = { 0 };
    struct journal_writer writer = { &j, &arena, TERN_HOOK_MESSAGE, &hook, &every_module };
    char *long_value = mem_zalloc(JOURNAL_VALUE_OCTETS_MAX + 2);

    arena_init(&arena);
    memset(long_value, 'v', JOURNAL_VALUE_OCTETS_MAX + 1);
    for (unsigned i = 0; i < JOURNAL_ITEMS_MAX; i++)
        CU_ASSERT_EQUAL(journal_add(&writer, JOURNAL_TAG, 0, SLICE("a"), SLICE("")), 0);
    CU_ASSERT_EQUAL(journal_add(&writer, JOURNAL_TAG, 0, SLICE("a"), SLICE("")), -E2BIG);
    j = (struct journal){ 0 };
    CU_ASSERT_EQUAL(journal_add(&writer, JOURNAL_VAR, 0, SLICE("v"),
                                slice_make(long_value, JOURNAL_VALUE_OCTETS_MAX)),
                    0);
    CU_ASSERT_EQUAL(journal_add(&writer, JOURNAL_VAR, 0, SLICE("v"),
                                slice_make(long_value, JOURNAL_VALUE_OCTETS_MAX + 1)),
                    -E2BIG);
    j = (struct journal){ 0 };
    CU_ASSERT_EQUAL(journal_add(&writer, JOURNAL_TAG, 0, SLICE("unknown"), SLICE("")), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(j.error, "not declared"));
    j = (struct journal){ 0 };
    CU_ASSERT_EQUAL(journal_add(&writer, JOURNAL_RESULT, 0, SLICE("colour"), SLICE("blue")),
                    -EINVAL);
    CU_ASSERT_EQUAL(journal_add(&writer, JOURNAL_HEADER_PREPEND, 0, SLICE("X Y"), SLICE("")),
                    -EINVAL);
    CU_ASSERT_EQUAL(
        journal_add(&writer, JOURNAL_HEADER_PREPEND, 0, SLICE("X"), SLICE("a\r\nBcc: b")), -EINVAL);
    CU_ASSERT_EQUAL(journal_add_address(&writer, JOURNAL_ADD_RCPT, SLICE("no address")), -EBADMSG);
    j = (struct journal){ 0 };
    for (unsigned i = 0; i < JOURNAL_ADDED_RCPTS_MAX; i++)
        CU_ASSERT_EQUAL(journal_add_address(&writer, JOURNAL_ADD_RCPT, SLICE("x@example.org")), 0);
    CU_ASSERT_EQUAL(journal_add_address(&writer, JOURNAL_ADD_RCPT, SLICE("x@example.org")), -E2BIG);
    CU_ASSERT_EQUAL(journal_claim(&writer, TERN_CLASS_LOCAL), -EPERM);
    CU_ASSERT_EQUAL(
        journal_route(&writer, &(struct tern_route){ .size = sizeof(struct tern_route) }), -EPERM);
    CU_ASSERT_TRUE(journal_enhanced_is_valid("5.7.1", '5'));
    CU_ASSERT_TRUE(journal_enhanced_is_valid("4.999.999", '4'));
    CU_ASSERT_FALSE(journal_enhanced_is_valid("4.1000.1", '4'));
    CU_ASSERT_FALSE(journal_enhanced_is_valid("5.7", '5'));
    CU_ASSERT_FALSE(journal_enhanced_is_valid("5.7.1", '4'));
    CU_ASSERT_FALSE(journal_enhanced_is_valid("5.7.1.1", '5'));
    free(long_value);
    arena_fini(&arena);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("engine, messages", NULL, NULL);
    CU_add_test(s, "split: a second group is put off", test_split);
    CU_add_test(s, "split: false: 16 groups, not 17", test_no_split);
    CU_add_test(s, "what makes a group", test_group_keys);
    CU_add_test(s, "dispositions of recipients", test_rcpt_dispositions);
    CU_add_test(s, "the reply at the dot", test_dots);
    CU_add_test(s, "the reply at the dot, softly", test_soft_dot);
    CU_add_test(s, "ONCE steps", test_once);
    CU_add_test(s, "a ONCE step refuses", test_once_refuses);
    CU_add_test(s, "expansion to 1000, not 1001", test_expand);
    CU_add_test(s, "two steps expand", test_expand_twice);
    CU_add_test(s, "added recipients", test_add_rcpt);
    CU_add_test(s, "a ONCE step adds a recipient", test_once_adds_rcpt);
    CU_add_test(s, "no room for an added recipient", test_no_room_for_added);
    CU_add_test(s, "header edits", test_edits);
    CU_add_test(s, "a header above the bound", test_large_header);
    CU_add_test(s, "parts", test_parts);
    CU_add_test(s, "the journal's table", test_table);
    CU_add_test(s, "the journal's bounds", test_journal_bounds);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
