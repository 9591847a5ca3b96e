/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_abi.c - a module built from the first header is loaded and called by this build.
 *
 * Each function of the table that it is given writes its own name and arguments down, so a function or
 * field that moved shows at once. The kept shared object (x86-64) and a fresh build of the same
 * source must leave the same trace.
 */
#include <CUnit/Basic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "module/descriptor.h"
#include "module/plan.h"
#include "policy_fixture.h"

struct tern_call {
    int unused;
};
struct tern_delivery {
    int unused;
};

static struct buf trace;
static void *slot_value;
static void *module_state;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(&trace, format, args);
    va_end(args);
    buf_add_char(&trace, '\n');
}

static tern_str str(const char *text)
{
    return (tern_str){ text, strlen(text) };
}

/* ---- the table ---- */

#define BOX(l, d)                                                                                  \
    {                                                                                              \
        { l "@" d, sizeof(l "@" d) - 1 }, { l, sizeof(l) - 1 },                                    \
        {                                                                                          \
            d, sizeof(d) - 1                                                                       \
        }                                                                                          \
    }
static const struct tern_mailbox boxes[] = { BOX("s", "s.example"), BOX("o", "o.example") };
static const struct tern_recipient one_rcpt = {
    BOX("r", "r.example"), BOX("o", "o.example"), TERN_CLASS_FORWARD, { "who", 3 }
};
static const struct tern_address one_address = { 4, { 192, 0, 2, 1 }, 25 };
static const struct tern_header one_header = { { "Name", 4 }, { "value", 5 } };
static const struct tern_part one_part = {
    { "text/plain", 10 }, { "utf-8", 5 }, { "f.txt", 5 }, { "7bit", 4 }, 101, 102, 103
};

#define TEXT(name)                                                                                 \
    static tern_str f_##name(const tern_call *call)                                                \
    {                                                                                              \
        (void)call;                                                                                \
        return str(#name);                                                                         \
    }
#define VALUE(type, name, value)                                                                   \
    static type f_##name(const tern_call *call)                                                    \
    {                                                                                              \
        (void)call;                                                                                \
        return value;                                                                              \
    }
#define EDIT(name)                                                                                 \
    static int f_##name(tern_call *call, tern_str address)                                         \
    {                                                                                              \
        (void)call;                                                                                \
        say(#name " %s", address.ptr);                                                             \
        return 1;                                                                                  \
    }

VALUE(const tern_address *, client_address, &one_address)
TEXT(client_address_text)
TEXT(session_id)
TEXT(listener_name)
TEXT(policy_name)
TEXT(helo_name)
TEXT(user)
VALUE(bool, is_esmtp, true)
VALUE(bool, is_tls, false)
TEXT(queue_id)
VALUE(const struct tern_mailbox *, sender, &boxes[0])
VALUE(const struct tern_mailbox *, sender_original, &boxes[1])
VALUE(bool, is_smtputf8, true)
VALUE(uint64_t, declared_size, 1234)
VALUE(unsigned, rcpt_count, 2)
VALUE(const struct tern_recipient *, current_rcpt, NULL)
VALUE(uint64_t, message_octets, 5000)
VALUE(unsigned, header_count, 9)
VALUE(uint64_t, body_octets, 4000)
TEXT(outcome)
TEXT(outcome_text)
TEXT(step_name)
VALUE(int64_t, now_s, 77)
VALUE(int64_t, now_ms, 78)
VALUE(void *, state, module_state)
EDIT(rewrite_sender)
EDIT(rewrite_rcpt)
EDIT(expand_rcpt)
EDIT(add_rcpt)

static const struct tern_recipient *f_rcpt(const tern_call *call, unsigned index)
{
    (void)call;
    say("rcpt %u", index);
    return &one_rcpt;
}
static const struct tern_header *f_header_at(const tern_call *call, unsigned index)
{
    (void)call;
    say("header_at %u", index);
    return &one_header;
}
static const struct tern_header *f_header(const tern_call *call, const char *name, unsigned nth)
{
    (void)call;
    say("header %s %u", name, nth);
    return &one_header;
}
static int64_t f_body_read(const tern_call *call, uint64_t offset, void *buffer, size_t octets)
{
    (void)call;
    say("body_read %llu %zu", (unsigned long long)offset, octets);
    memcpy(buffer, "body", 5);
    return 4;
}
static unsigned f_part_count(tern_call *call)
{
    (void)call;
    return 1;
}
static const struct tern_part *f_part(tern_call *call, unsigned index)
{
    (void)call;
    say("part %u", index);
    return &one_part;
}
static tern_str f_result(const tern_call *call, const char *name)
{
    (void)call;
    say("result %s", name);
    return str("not_run");
}
static bool f_has_tag(const tern_call *call, const char *name)
{
    (void)call;
    say("has_tag %s", name);
    return true;
}
static tern_str f_var(const tern_call *call, const char *name)
{
    (void)call;
    say("var %s", name);
    return str("var");
}
static void say_format(const char *name, const char *format, va_list args)
{
    char text[1024];

    (void)vsnprintf(text, sizeof(text), format, args);
    say("%s %s", name, text);
}
static tern_verdict f_reply(tern_call *call, tern_verdict verdict, unsigned code,
                            const char *enhanced, const char *format, ...)
{
    va_list args;

    (void)call;
    say("reply %d %u %s", (int)verdict, code, enhanced);
    va_start(args, format);
    say_format("text", format, args);
    va_end(args);
    return verdict;
}
static tern_verdict f_hold(tern_call *call, const char *format, ...)
{
    va_list args;

    (void)call;
    va_start(args, format);
    say_format("hold", format, args);
    va_end(args);
    return TERN_HOLD;
}
static int f_claim(tern_call *call, enum tern_class class_)
{
    (void)call;
    say("claim %d", (int)class_);
    return 1;
}
static int f_tag(tern_call *call, const char *name)
{
    (void)call;
    say("tag %s", name);
    return 1;
}
static int f_set_result(tern_call *call, const char *name, tern_str value)
{
    (void)call;
    say("set_result %s %s", name, value.ptr);
    return 1;
}
static int f_set_var(tern_call *call, const char *name, tern_str value)
{
    (void)call;
    say("set_var %s %s", name, value.ptr);
    return 1;
}
static void f_note(tern_call *call, const char *key, tern_str value)
{
    (void)call;
    say("note %s %s", key, value.ptr);
}
static int f_header_prepend(tern_call *call, const char *name, tern_str value)
{
    (void)call;
    say("header_prepend %s %s", name, value.ptr);
    return 1;
}
static int f_header_append(tern_call *call, const char *name, tern_str value)
{
    (void)call;
    say("header_append %s %s", name, value.ptr);
    return 1;
}
static int f_header_replace(tern_call *call, const char *name, unsigned nth, tern_str value)
{
    (void)call;
    say("header_replace %s %u %s", name, nth, value.ptr);
    return 1;
}
static int f_header_remove(tern_call *call, const char *name, unsigned nth)
{
    (void)call;
    say("header_remove %s %u", name, nth);
    return 1;
}
static int f_withhold(tern_call *call, const char *capability)
{
    (void)call;
    say("withhold %s", capability);
    return 1;
}
static int f_set_route(tern_call *call, const struct tern_route *route)
{
    (void)call;
    say("set_route %s %s %s %s %zu", route->transport.ptr, route->to.items[0].ptr,
        route->fallback.items[1].ptr, route->source.ptr, route->discard_reason.len);
    return 0;
}
static void f_complete(tern_call *call, tern_verdict verdict)
{
    (void)call;
    say("complete %d", (int)verdict);
}
static tern_call *f_call_ref(tern_call *call)
{
    say("call_ref");
    return call;
}
static void f_call_unref(tern_call *call)
{
    (void)call;
    say("call_unref");
}
static tern_verdict f_dns(tern_call *call, const char *name, unsigned type, tern_dns_fn done,
                          void *arg)
{
    const struct tern_dns_record record = { str("text"), 10, 300 };
    const struct tern_dns_answer answer = { TERN_ABSENT, "NXDOMAIN", &record, 1, true };

    say("dns %s %u", name, type);
    done(call, NULL, &answer, arg);
    return TERN_WAIT;
}
static const struct tern_kv_answer kv_answer = { TERN_FOUND, 21, { "kv", 2 } };
static tern_verdict f_kv_put_new(tern_call *call, const char *space, tern_str key, int64_t number,
                                 uint64_t expire_s, tern_kv_fn done)
{
    say("kv_put_new %s %s %lld %llu", space, key.ptr, (long long)number,
        (unsigned long long)expire_s);
    done(call, NULL, &kv_answer);
    return TERN_WAIT;
}
static tern_verdict f_kv_get(tern_call *call, const char *space, tern_str key, tern_kv_fn done)
{
    say("kv_get %s %s", space, key.ptr);
    done(call, NULL, &kv_answer);
    return TERN_WAIT;
}
static tern_verdict f_kv_put(tern_call *call, const char *space, tern_str key, int64_t number,
                             tern_str value, uint64_t expire_s, tern_kv_fn done)
{
    say("kv_put %s %s %lld %s %llu", space, key.ptr, (long long)number, value.ptr,
        (unsigned long long)expire_s);
    done(call, NULL, &kv_answer);
    return TERN_WAIT;
}
static tern_verdict f_kv_add(tern_call *call, const char *space, tern_str key, int64_t amount,
                             uint64_t expire_s, tern_kv_fn done)
{
    say("kv_add %s %s %lld %llu", space, key.ptr, (long long)amount, (unsigned long long)expire_s);
    done(call, NULL, &kv_answer);
    return TERN_WAIT;
}
static tern_verdict f_kv_remove(tern_call *call, const char *space, tern_str key, tern_kv_fn done)
{
    say("kv_remove %s %s", space, key.ptr);
    done(call, NULL, &kv_answer);
    return TERN_WAIT;
}
static tern_verdict f_table_find(tern_call *call, const struct tern_table *table, tern_str key,
                                 tern_table_fn done)
{
    const struct tern_table_answer answer = { TERN_FOUND, str("found") };

    say("table_find %d %s", table != NULL, key.ptr);
    done(call, NULL, &answer);
    return TERN_WAIT;
}
static int f_table_peek(tern_call *call, const struct tern_table *table, tern_str key,
                        struct tern_table_answer *ret)
{
    (void)call;
    say("table_peek %d %s", table != NULL, key.ptr);
    ret->status = TERN_FOUND;
    return 1;
}
static tern_verdict f_after_ms(tern_call *call, uint64_t ms, tern_timer_fn done)
{
    say("after_ms %llu", (unsigned long long)ms);
    done(call, NULL);
    return TERN_WAIT;
}
static int f_dns_sync(tern_call *call, const char *name, unsigned type, struct tern_dns_answer *ret)
{
    (void)call;
    say("dns_sync %s %u", name, type);
    ret->status = TERN_ABSENT;
    return 1;
}
static int f_kv_get_sync(tern_call *call, const char *space, tern_str key,
                         struct tern_kv_answer *ret)
{
    (void)call;
    say("kv_get_sync %s %s", space, key.ptr);
    ret->status = TERN_FOUND;
    return 1;
}
static int f_kv_put_sync(tern_call *call, const char *space, tern_str key, int64_t number,
                         tern_str value, uint64_t expire_s)
{
    (void)call;
    say("kv_put_sync %s %s %lld %s %llu", space, key.ptr, (long long)number, value.ptr,
        (unsigned long long)expire_s);
    return 1;
}
static int f_table_find_sync(tern_call *call, const struct tern_table *table, tern_str key,
                             struct tern_table_answer *ret)
{
    (void)call;
    (void)ret;
    say("table_find_sync %d %s", table != NULL, key.ptr);
    return 1;
}
static void *f_alloc(tern_call *call, size_t octets)
{
    (void)call;
    say("alloc %zu", octets);
    return &trace;
}
static tern_str f_format(tern_call *call, const char *format, ...)
{
    static char text[256];
    va_list args;

    (void)call;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return str(text);
}
static void **f_slot(tern_call *call)
{
    (void)call;
    return &slot_value;
}
static bool f_cidrs_match(const struct tern_cidrs *set, const tern_address *address)
{
    say("cidrs_match %d %u", set != NULL, address->family);
    return true;
}
static tern_str f_hostname(void)
{
    return str("hostname");
}
static void f_log(const tern_call *call, enum tern_log_level level, const char *format, ...)
{
    va_list args;

    say("log %d %d", call != NULL, (int)level);
    va_start(args, format);
    say_format("-", format, args);
    va_end(args);
}
static void f_counter_add(void *counter, uint64_t amount)
{
    say("counter_add %d %llu", counter != NULL, (unsigned long long)amount);
}
static void *f_histogram(const char *name, const char *doc)
{
    (void)doc;
    say("histogram %s", name);
    return &trace;
}
static void f_histogram_observe(void *histogram, uint64_t us)
{
    say("histogram_observe %d %llu", histogram == &trace, (unsigned long long)us);
}
static tern_str f_delivery_id(const tern_delivery *delivery)
{
    (void)delivery;
    return str("delivery_id");
}
static const struct tern_mailbox *f_delivery_sender(const tern_delivery *delivery)
{
    (void)delivery;
    return &boxes[0];
}
static unsigned f_delivery_rcpt_count(const tern_delivery *delivery)
{
    (void)delivery;
    return 1;
}
static const struct tern_recipient *f_delivery_rcpt(const tern_delivery *delivery, unsigned index)
{
    (void)delivery;
    say("delivery_rcpt %u", index);
    return &one_rcpt;
}
static uint64_t f_delivery_octets(const tern_delivery *delivery)
{
    (void)delivery;
    return 6000;
}
static int64_t f_delivery_read(tern_delivery *delivery, uint64_t offset, void *buffer,
                               size_t octets)
{
    (void)delivery;
    say("delivery_read %llu %zu", (unsigned long long)offset, octets);
    memcpy(buffer, "abc", 3);
    return 3;
}
static void f_delivery_outcome(tern_delivery *delivery, unsigned index, tern_verdict verdict,
                               unsigned code, const char *enhanced, const char *format, ...)
{
    va_list args;

    (void)delivery;
    say("delivery_outcome %u %d %u %s", index, (int)verdict, code, enhanced);
    va_start(args, format);
    say_format("text", format, args);
    va_end(args);
}

#define SET(name) fixture_api.name = f_##name
static void install(void)
{
    SET(client_address), SET(client_address_text), SET(session_id), SET(listener_name);
    SET(policy_name), SET(helo_name), SET(user), SET(is_esmtp), SET(is_tls), SET(queue_id);
    SET(sender), SET(sender_original), SET(is_smtputf8), SET(declared_size), SET(rcpt_count);
    SET(rcpt), SET(current_rcpt), SET(message_octets), SET(header_count), SET(header_at);
    SET(header), SET(body_read), SET(body_octets), SET(part_count), SET(part), SET(result);
    SET(has_tag), SET(var), SET(outcome), SET(outcome_text), SET(reply), SET(hold), SET(claim);
    SET(tag), SET(set_result), SET(set_var), SET(note), SET(rewrite_sender), SET(rewrite_rcpt);
    SET(expand_rcpt), SET(add_rcpt), SET(header_prepend), SET(header_append);
    SET(header_replace), SET(header_remove), SET(withhold), SET(set_route), SET(complete);
    SET(call_ref), SET(call_unref), SET(dns), SET(kv_put_new), SET(kv_get), SET(kv_put);
    SET(kv_add), SET(kv_remove), SET(table_find), SET(table_peek), SET(after_ms), SET(dns_sync);
    SET(kv_get_sync), SET(kv_put_sync), SET(table_find_sync), SET(now_s), SET(now_ms);
    SET(alloc), SET(format), SET(slot), SET(state), SET(step_name), SET(cidrs_match);
    SET(hostname), SET(log), SET(counter_add), SET(histogram), SET(histogram_observe);
    SET(delivery_id), SET(delivery_sender), SET(delivery_rcpt_count), SET(delivery_rcpt);
    SET(delivery_octets), SET(delivery_read), SET(delivery_outcome);
}

/* ---- the run ---- */

static const char *const yaml =
    "policies:\n"
    "  in:\n"
    "    - abi_v1: { flag: false, offset: -9, count: 99, room: 3MB, delay: 2h, pause: 7s,\n"
    "        rate: 5/1s, share: 33%, word: wild, colour: blue, list: [l1, l2], map: { mk: mv },\n"
    "        nets: [10.0.0.0/8], address: \"192.0.2.9:26\", file: x/some.txt, key: k3y,\n"
    "        names: [n1], records: [ { host: h1 }, { host: h2, port: 9 } ] }\n"
    "transports:\n"
    "  box: { type: abi_v1, path: /tmp/box }\n";

static void each_change(void *arg, const struct tern_kv_change *change)
{
    (void)arg;
    say("change %s %s %lld %llu", change->key.ptr, change->value.ptr, (long long)change->number,
        (unsigned long long)change->expires_ms);
}

/* Part of the trace, because make.sh runs this without CUnit. */
static void expect(bool fine, int line)
{
    if (!fine)
        say("line %d: not as expected", line);
}

static void use_store(const struct tern_kv_store *store)
{
    const struct tern_kv_change change = { str("k"), str("v"), 13, 14 };
    char error[64];
    void *open = NULL;

    expect(store->open(NULL, &open, error, sizeof(error)) == 0, __LINE__);
    expect(store->load(open, each_change, NULL) == 0, __LINE__);
    expect(store->write(open, &change, 1) == 0, __LINE__);
    store->close(open);
}

/* All hooks, the transport and the store; the trace tells. */
static void use(const struct generation *g, const struct tern_module *m)
{
    const struct plan *plan = policy_plan(policies_find(g->policies, SLICE("in")));
    const struct plan_step *step = &plan->steps[0];
    struct tern_delivery delivery = { 0 };
    struct tern_call call = { 0 };
    unsigned hooks = 0;

    for (const struct tern_hook *h = m->hooks; h->size != 0; h++, hooks++) {
        tern_verdict v = h->run(&call, step->conf);

        say("%s: %s, answers %x, flags %x, %d", descriptor_hook_name(h->hook),
            descriptor_verdict_name(v), h->answers, h->flags, h->on_abort != NULL);
    }
    expect(hooks == TERN_HOOK_COUNT - 2, __LINE__); /* all but auth and vrfy */
    m->hooks[4].on_abort(&call, step->conf);
    const struct transport *t = policies_transport(g->policies, SLICE("box"));
    expect(t != NULL, __LINE__);
    t->module->deliver(&delivery, t->conf);
    use_store(m->kv_store);
    say("%s %s %s %s %s", m->notes[0].name, m->notes[0].values[1], m->notes[1].name, m->after[0],
        m->before[0]);
}

/* Loads `from`/abi_v1.so and leaves what it did in `trace`; false if there is none. */
static bool run_module(const char *from)
{
    struct fixture f;
    struct generation g;
    char error[512];

    buf_clear(&trace);
    install();
    fixture_begin(&f, NULL);
    bool there = fixture_copy(&f, from, "abi_v1");
    const struct tern_module *m =
        there ? modules_get(f.modules, "abi_v1", error, sizeof(error)) : NULL;
    if (there && m == NULL)
        fprintf(stderr, "  %s: %s\n", from, error);
    if (m != NULL) {
        module_state = modules_state(f.modules, m);
        generation_build(&g, &f, yaml);
        buf_add(&trace, buf_slice(&g.errors.text));
        expect(g.policies != NULL, __LINE__);
        if (g.policies != NULL)
            use(&g, m);
        generation_end(&g);
    }
    fixture_end(&f);
    return m != NULL;
}

static char *read_expected(void)
{
    static char text[16384];
    FILE *file = fopen(TERN_SOURCE_DIR "/tests/abi/v1/trace.txt", "r");
    size_t len = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

    if (file != NULL)
        (void)fclose(file);
    text[len] = '\0';
    return text;
}

static void same_trace(const char *what)
{
    const char *want = read_expected();

    if (strcmp(trace.data, want) != 0)
        fprintf(stderr, "  %s left another trace than tests/abi/v1/trace.txt:\n%s", what,
                trace.data);
    CU_ASSERT_STRING_EQUAL(trace.data, want);
}

static void test_source(void)
{
    CU_ASSERT_TRUE_FATAL(run_module(TERN_ABI_BUILD_DIR));
    same_trace("a fresh build of tests/abi/v1/abi_v1.c");
}

static void test_binary(void)
{
#if defined __x86_64__
    CU_ASSERT_TRUE_FATAL(run_module(TERN_SOURCE_DIR "/tests/abi/v1"));
    same_trace("tests/abi/v1/abi_v1.so");
#else
    fprintf(stderr, "  skipped: the kept module is for x86-64\n");
#endif
}

int main(int argc, char **argv)
{
    /* For tests/abi/make.sh: the trace of a fresh module in that folder. */
    if (argc == 2 && run_module(argv[1]))
        return fwrite(trace.data, 1, trace.len, stdout) == trace.len ? 0 : 1;
    if (argc != 1 || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("abi", NULL, NULL);
    CU_add_test(suite, "the source of the first header's time, built today", test_source);
    CU_add_test(suite, "the module that was built then", test_binary);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    buf_free(&trace);
    return failures != 0;
}
