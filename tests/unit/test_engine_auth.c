/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_auth.c - hook auth: backends in a row, the three forms, what counts as certain, what
 * becomes of an exchange when somebody goes away in the midst of it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine_fixture.h"
#include "module/engine_auth_private.h"
#include "sasl/base64.h"
#include "sasl/client.h"

/* What a step of the test does. */
struct backend {
    const char *user, *password; /* of the one it knows */
    const char *login;           /* accepts as */
    tern_verdict always;         /* not NEXT: its answer, whoever asks */
    const char *hash;            /* LOOKUP: keys of that hash instead of the password */
    bool hangs;
};

static bool same(tern_str s, const char *text)
{
    return text != NULL && slice_equal(slice_of(s), slice_cstr(text));
}

static tern_verdict verify(tern_call *call, const void *conf)
{
    const struct backend *b = conf;

    if (b->hangs)
        return TERN_WAIT;
    if (b->always != TERN_NEXT)
        return b->always;
    if (!same(tern->auth_user(call), b->user))
        return TERN_NEXT;
    if (!same(tern->auth_password(call), b->password))
        return TERN_REJECT;
    (void)tern->tag(call, "a");
    if (b->login != NULL && tern->auth_login(call, (tern_str){ b->login, strlen(b->login) }) < 0)
        return TERN_ERROR;
    return TERN_ACCEPT;
}

static tern_verdict lookup(tern_call *call, const void *conf)
{
    const struct backend *b = conf;
    struct tern_auth_keys keys = { .size = sizeof(keys), .hash = b->hash };
    static const char octets[32] = "0123456789";

    if (b->always != TERN_NEXT)
        return b->always;
    if (!same(tern->auth_user(call), b->user))
        return TERN_NEXT;
    CU_ASSERT_EQUAL(tern->auth_password(call).len, 0);
    if (b->hash != NULL) {
        keys.salt = keys.stored_key = keys.server_key = (tern_str){ octets, 32 };
        keys.iterations = 4096;
    } else {
        keys.password = (tern_str){ b->password, strlen(b->password) };
    }
    (void)tern->tag(call, "b");
    (void)tern->auth_keys(call, &keys);
    return TERN_ACCEPT;
}

/* Its own mechanism: the name, then the password behind a challenge. */
static void told(tern_call *call, const void *conf, tern_str response)
{
    const struct backend *b = conf;

    if (!same(response, b->password)) {
        tern->complete(call, TERN_REJECT);
        return;
    }
    (void)tern->auth_login(call, (tern_str){ b->user, strlen(b->user) });
    tern->complete(call, TERN_ACCEPT);
}

static void named(tern_call *call, const void *conf, tern_str response)
{
    const struct backend *b = conf;

    if (!same(response, b->user))
        tern->complete(call, TERN_NEXT);
    else if (tern->auth_challenge(call, TERN_STR("Password:"), told) != TERN_WAIT)
        tern->complete(call, TERN_ERROR);
}

static tern_verdict exchange(tern_call *call, const void *conf)
{
    const struct backend *b = conf;

    if (b->always != TERN_NEXT)
        return b->always;
    if (tern->auth_response(call).ptr != NULL && b->password == NULL)
        return same(tern->auth_response(call), b->user) ? TERN_ACCEPT : TERN_REJECT;
    return tern->auth_challenge(call, TERN_STR("Username:"), named);
}

static void accept_all_the_same(tern_call *call, const void *conf)
{
    (void)conf;
    (void)tern->auth_login(call, TERN_STR("eve"));
    tern->complete(call, TERN_ACCEPT);
}

/* Asks the client, and does not wait for the answer. */
static tern_verdict exchange_impatiently(tern_call *call, const void *conf)
{
    (void)conf;
    (void)tern->after_ms(call, 1, accept_all_the_same);
    return tern->auth_challenge(call, TERN_STR("Who?"), told);
}

static void gone(tern_call *call, const void *conf)
{
    (void)call;
    (void)conf;
    w.aborts++;
}

static const char *const own[] = { "X-OWN", "LOGIN", NULL };
static const char *const tokens[] = { "OAUTHBEARER", "XOAUTH2", NULL };
static const struct tern_note notes[] = { TERN_TAG("a", ""), TERN_TAG("b", ""), TERN_NOTES_END };
#define MAY (TERN_MAY_ACCEPT | TERN_MAY_REJECT | TERN_MAY_DEFER)
#define BACKEND(name_, run_, form, ...)                                                            \
    static const struct tern_hook name_##_hooks[] = {                                              \
        { TERN_HOOK(AUTH, run_), .answers = MAY, .on_abort = gone, .auth_form = form, __VA_ARGS__ }, \
        TERN_HOOKS_END,                                                                            \
    };                                                                                             \
    static const struct tern_module name_ = { .magic = TERN_ABI_MAGIC, .name = #name_,             \
                                              .hooks = name_##_hooks, .notes = notes }
BACKEND(verifier, verify, TERN_AUTH_VERIFY, .flags = 0);
BACKEND(pooled, verify, TERN_AUTH_VERIFY, .flags = TERN_BLOCKING);
BACKEND(bearer, verify, TERN_AUTH_VERIFY, .mechanisms = tokens);
BACKEND(keeper, lookup, TERN_AUTH_LOOKUP, .flags = 0);
BACKEND(leader, exchange, TERN_AUTH_EXCHANGE, .mechanisms = own);
BACKEND(impatient, exchange_impatiently, TERN_AUTH_EXCHANGE, .mechanisms = own);

static bool serves_plain(const void *conf, const char *mechanism)
{
    (void)conf;
    return strcmp(mechanism, "PLAIN") == 0;
}
BACKEND(plain_only, verify, TERN_AUTH_VERIFY, .serves = serves_plain);

/* ---- asking ---- */

static struct engine_auth_options options;
static struct said {
    unsigned count;
    tern_verdict verdict;
    unsigned code;
    struct buf challenge, user;
    uint64_t delay_ms;
} said;

static void on_auth(void *arg, const struct engine_auth_result *r)
{
    (void)arg;
    said.count++;
    said.verdict = r->decision.verdict;
    said.code = r->decision.code;
    said.delay_ms = r->delay_ms;
    buf_clear(&said.challenge);
    buf_add(&said.challenge, r->challenge);
    buf_clear(&said.user);
    buf_add(&said.user, r->user);
}

static void add(const char *name, const struct tern_module *module, const struct backend *b)
{
    (void)testplan_add(w.policy, name, module, b);
}

static void open_session(void)
{
    options = (struct engine_auth_options){ .plaintext = true, .cram_md5 = true, .iterations = 4096,
                                            .remember_s = 60 };
    begin();
    w.session->auth_options = &options;
}

static void await(unsigned before)
{
    run_until(&said.count, before + 1);
}

/* The code of the reply; 334 for a challenge. */
static unsigned answered(void)
{
    return said.verdict == TERN_NEXT ? 334 : said.code;
}

static unsigned auth(const char *mechanism, struct slice initial)
{
    unsigned before = said.count;

    engine_auth(w.session, slice_cstr(mechanism), initial.ptr != NULL ? &initial : NULL, on_auth, NULL);
    await(before);
    return answered();
}

static unsigned respond(struct slice response)
{
    unsigned before = said.count;

    engine_auth_response(w.session, response, on_auth, NULL);
    await(before);
    return answered();
}

static unsigned plain(const char *user, const char *password)
{
    CLEANUP_BUF struct buf message = BUF_INIT;

    buf_add_char(&message, '\0');
    buf_add_cstr(&message, user);
    buf_add_char(&message, '\0');
    buf_add_cstr(&message, password);
    return auth("PLAIN", buf_slice(&message));
}

static bool user_is(const char *name)
{
    return same(w.session->facts->user, name) || (name[0] == '\0' && w.session->facts->user.len == 0);
}

static struct slice nothing(void)
{
    return slice_make(NULL, 0);
}

/* ---- backends in a row ---- */

static const struct backend alice = { "alice", "secret", NULL, TERN_NEXT, NULL, false };
static const struct backend bob = { "bob", "geheim", "bob@example.org", TERN_NEXT, NULL, false };
static const struct backend down = { .always = TERN_DEFER };
static const struct backend broken = { .always = TERN_ERROR };
static const struct backend rubbish = { .always = TERN_HOLD };
static const struct backend knows_none = { "nobody", "", NULL, TERN_NEXT, NULL, false };

static void test_rows(void)
{
    static const struct {
        const char *what;
        const struct backend *first, *second;
        const char *user, *password;
        unsigned code;
        const char *is; /* the session's user then */
    } rows[] = {
        { "right", &alice, &bob, "alice", "secret", 235, "alice" },
        { "right at the second, under another name", &alice, &bob, "bob", "geheim", 235, "bob@example.org" },
        { "wrong", &alice, &bob, "alice", "geheim", 535, "" },
        { "wrong at the second", &alice, &bob, "bob", "secret", 535, "" },
        { "known to none", &alice, &bob, "carol", "secret", 535, "" },
        { "the first is down", &down, &alice, "alice", "secret", 454, "" },
        { "the second is down, the first knows", &alice, &down, "alice", "secret", 235, "alice" },
        { "the second is down, the first does not know", &alice, &down, "bob", "geheim", 454, "" },
        { "the second is down, the first says no", &alice, &down, "alice", "x", 535, "" },
        { "an error", &broken, &alice, "alice", "secret", 454, "" },
        { "a verdict that there is not", &rubbish, &alice, "alice", "secret", 454, "" },
        { "case counts", &alice, &bob, "Alice", "secret", 535, "" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int pool = 0; pool < 2; pool++) {
            world_open("inbound", NULL);
            add("one", pool ? &pooled : &verifier, rows[i].first);
            add("two", &verifier, rows[i].second);
            open_session();
            unsigned code = plain(rows[i].user, rows[i].password);
            if (code != rows[i].code)
                fprintf(stderr, "  %s: %u\n", rows[i].what, code);
            CU_ASSERT_EQUAL(code, rows[i].code);
            CU_ASSERT_TRUE(user_is(rows[i].is));
            CU_ASSERT_PTR_NULL(w.session->auth);
            world_close();
        }
}

static void test_which_there_are(void)
{
    static const struct {
        const char *what;
        const struct tern_module *module;
        bool tls, plaintext, cram;
        const char *offer;
    } rows[] = {
        { "verify", &verifier, false, true, false, "PLAIN LOGIN" },
        { "verify without TLS", &verifier, false, false, false, "" },
        { "verify under TLS", &verifier, true, false, false, "PLAIN LOGIN" },
        { "lookup", &keeper, false, false, false, "SCRAM-SHA-256 SCRAM-SHA-1" },
        { "lookup, CRAM-MD5 allowed", &keeper, false, false, true, "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5" },
        { "tokens", &bearer, true, false, false, "OAUTHBEARER XOAUTH2" },
        { "a mechanism of its own", &leader, true, false, false, "LOGIN X-OWN" },
        { "a mechanism of its own without TLS", &leader, false, false, false, "" },
        { "what the options leave", &plain_only, true, false, false, "PLAIN" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        world_open("inbound", NULL);
        add("one", rows[i].module, &alice);
        open_session();
        options.plaintext = rows[i].plaintext;
        options.cram_md5 = rows[i].cram;
        w.session->facts->tls = rows[i].tls;
        engine_auth_offer(w.session, &out);
        bool right = slice_equal(buf_slice(&out), slice_cstr(rows[i].offer));
        if (!right)
            fprintf(stderr, "  %s: %s\n", rows[i].what, out.data != NULL ? out.data : "");
        CU_ASSERT_TRUE(right);
        world_close();
    }
}

/* What is not announced is not taken either. */
static void test_refused_at_once(void)
{
    world_open("inbound", NULL);
    add("one", &verifier, &alice);
    open_session();
    options.plaintext = false;
    CU_ASSERT_EQUAL(plain("alice", "secret"), 538);
    CU_ASSERT_EQUAL(auth("SCRAM-SHA-256", SLICE("n,,n=alice,r=a")), 504);
    CU_ASSERT_EQUAL(auth("EXTERNAL", SLICE("alice")), 504);
    CU_ASSERT_EQUAL(auth("ABCDEFGHIJKLMNOPQRSTUVWXYZ", nothing()), 504);
    CU_ASSERT_EQUAL(auth("", nothing()), 504);
    w.session->auth_options = NULL;
    CU_ASSERT_EQUAL(plain("alice", "secret"), 502);
    CU_ASSERT_TRUE(user_is(""));
    world_close();
}

/* ---- forms ---- */

static unsigned scram(enum sasl_mechanism mechanism, const char *user, const char *password)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct sasl_client c;
    bool initial;

    CU_ASSERT_EQUAL(sasl_client_begin(&c, mechanism, slice_cstr(user), slice_cstr(password), SLICE(""), &out, &initial), 0);
    unsigned code = auth(sasl_mechanism_name(mechanism), buf_slice(&out));
    while (code == 334) {
        buf_clear(&out);
        if (sasl_client_input(&c, buf_slice(&said.challenge), &out) < 0)
            break;
        code = respond(slice_make(out.data != NULL ? out.data : "", out.len));
    }
    CU_ASSERT_TRUE(code != 235 || sasl_client_may_end(&c));
    sasl_client_fini(&c);
    return code;
}

static void test_lookup(void)
{
    static const struct backend stored = { "carol", NULL, NULL, TERN_NEXT, "SHA-256", false };

    for (int kind = 0; kind < 2; kind++) {
        enum sasl_mechanism mechanism = kind == 0 ? SASL_SCRAM_SHA_256 : SASL_SCRAM_SHA_1;
        world_open("inbound", NULL);
        add("one", &keeper, &alice);
        add("two", &keeper, &stored);
        open_session();
        CU_ASSERT_EQUAL(scram(mechanism, "alice", "wrong"), 535);
        CU_ASSERT_PTR_NULL(w.session->facts->tags); /* nothing was proved */
        CU_ASSERT_EQUAL(scram(mechanism, "mallory", "secret"), 535);
        /* Keys of another hash than the mechanism's are the step's mistake. */
        CU_ASSERT_EQUAL(scram(mechanism, "carol", "x"), kind == 0 ? 535 : 454);
        CU_ASSERT_EQUAL(scram(mechanism, "alice", "secret"), 235);
        CU_ASSERT_TRUE(user_is("alice"));
        CU_ASSERT_PTR_NOT_NULL(w.session->facts->tags);
        world_close();
    }
    world_open("inbound", NULL);
    add("one", &keeper, &down);
    open_session();
    CU_ASSERT_EQUAL(scram(SASL_SCRAM_SHA_256, "alice", "secret"), 454);
    world_close();
}

/* The salt of who does not exist stays, so that it tells nothing. */
static void test_made_up_salt(void)
{
    char salts[3][200];
    static const char *const users[] = { "mallory", "mallory", "trent" };

    world_open("inbound", NULL);
    add("one", &keeper, &alice);
    open_session();
    for (int i = 0; i < 3; i++) {
        CLEANUP_BUF struct buf first = BUF_INIT;
        buf_printf(&first, "n,,n=%s,r=abc", users[i]);
        CU_ASSERT_EQUAL(auth("SCRAM-SHA-256", buf_slice(&first)), 334);
        const char *salt = strstr(said.challenge.data, ",s=");
        CU_ASSERT_PTR_NOT_NULL_FATAL(salt);
        (void)snprintf(salts[i], sizeof(salts[i]), "%s", salt);
        engine_auth_cancel(w.session);
    }
    CU_ASSERT_STRING_EQUAL(salts[0], salts[1]);
    CU_ASSERT_STRING_NOT_EQUAL(salts[0], salts[2]);
    world_close();
}

static void test_exchange(void)
{
    world_open("inbound", NULL);
    add("one", &leader, &alice);
    add("two", &leader, &bob);
    open_session();
    CU_ASSERT_EQUAL(auth("X-OWN", nothing()), 334);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&said.challenge), SLICE("Username:")));
    CU_ASSERT_EQUAL(respond(SLICE("alice")), 334);
    CU_ASSERT_EQUAL(respond(SLICE("wrong")), 535);
    /* The second step asks the same and is told what the client said: it is not asked twice. */
    CU_ASSERT_EQUAL(auth("x-own", nothing()), 334);
    CU_ASSERT_EQUAL(respond(SLICE("bob")), 334);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&said.challenge), SLICE("Password:")));
    CU_ASSERT_EQUAL(respond(SLICE("geheim")), 235);
    CU_ASSERT_TRUE(user_is("bob"));
    world_close();
}

/* LOGIN led by the core for the first step, and led again by the second. */
static void test_verify_and_exchange(void)
{
    world_open("inbound", NULL);
    add("one", &verifier, &alice);
    add("two", &leader, &bob);
    open_session();
    CU_ASSERT_EQUAL(auth("LOGIN", nothing()), 334);
    CU_ASSERT_EQUAL(respond(SLICE("bob")), 334);
    CU_ASSERT_EQUAL(respond(SLICE("geheim")), 235);
    CU_ASSERT_TRUE(user_is("bob"));
    world_close();
}

/* It accepts and does not say whom. */
static void test_nobody_is_accepted(void)
{
    static const struct backend nameless = { "x", NULL, NULL, TERN_NEXT, NULL, false };

    world_open("inbound", NULL);
    add("one", &leader, &nameless);
    open_session();
    CU_ASSERT_EQUAL(auth("X-OWN", SLICE("x")), 454);
    CU_ASSERT_TRUE(user_is(""));
    CU_ASSERT_EQUAL(auth("X-OWN", SLICE("y")), 535);
    world_close();
}

static void test_tokens(void)
{
    static const struct backend token = { "alice", "ya29", NULL, TERN_NEXT, NULL, false };
    struct slice right = SLICE("n,a=alice,\1auth=Bearer ya29\1\1"), wrong = SLICE("user=alice\1auth=Bearer no\1\1");

    world_open("inbound", NULL);
    add("one", &bearer, &token);
    open_session();
    CU_ASSERT_EQUAL(auth("XOAUTH2", wrong), 334); /* why, then the end */
    CU_ASSERT_EQUAL(respond(SLICE("")), 535);
    CU_ASSERT_EQUAL(auth("OAUTHBEARER", right), 235);
    CU_ASSERT_TRUE(user_is("alice"));
    world_close();
}

static const char *const external[] = { "EXTERNAL", NULL };
BACKEND(by_certificate, verify, TERN_AUTH_VERIFY, .mechanisms = external);

/* The name of a verified certificate, and no other. */
static void test_external(void)
{
    static const struct {
        const char *asked; /* NULL: nothing */
        unsigned code;
        const char *is;
    } rows[] = {
        { "", 235, "alice" },
        { "alice", 235, "alice" },
        { "ALICE", 535, "" }, /* of the certificate, but no user here */
        { "bob", 535, "" },
        { "mail.example", 535, "" },
        { "example", 535, "" },
    };
    static const struct backend knows_alice = { "alice", "", NULL, TERN_NEXT, NULL, false };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        world_open("inbound", NULL);
        add("one", &by_certificate, &knows_alice);
        open_session();
        struct session_facts *f = w.session->facts;
        CU_ASSERT_EQUAL(auth("EXTERNAL", slice_cstr(rows[i].asked)), 504); /* no certificate */
        f->tls = true;
        struct handshake_facts h = *f->handshake;
        h.client = TERN_STR("alice");
        h.names = notes_add(&f->memory->arena, NULL, SLICE("dns:mail.example"), SLICE(""));
        f->handshake = &h;
        CU_ASSERT_EQUAL(auth("EXTERNAL", slice_cstr(rows[i].asked)), rows[i].code);
        CU_ASSERT_TRUE(user_is(rows[i].is));
        world_close();
    }
}

/* ---- going away ---- */

static void test_timeout(void)
{
    static const struct backend hangs = { .hangs = true };

    world_open("inbound", NULL);
    testplan_add(w.policy, "one", &verifier, &hangs)->timeout_ms = 30;
    add("two", &verifier, &alice);
    open_session();
    CU_ASSERT_EQUAL(plain("alice", "secret"), 454);
    CU_ASSERT_EQUAL(w.aborts, 1);
    world_close();
}

/* The client's time is not the step's. */
static void test_slow_client(void)
{
    world_open("inbound", NULL);
    testplan_add(w.policy, "one", &leader, &alice)->timeout_ms = 30;
    open_session();
    CU_ASSERT_EQUAL(auth("X-OWN", nothing()), 334);
    run_for_ms(120);
    CU_ASSERT_EQUAL(respond(SLICE("alice")), 334);
    run_for_ms(120);
    CU_ASSERT_EQUAL(respond(SLICE("secret")), 235);
    CU_ASSERT_EQUAL(w.aborts, 0);
    world_close();
}

static void test_cancel(void)
{
    world_open("inbound", NULL);
    add("one", &leader, &alice);
    open_session();
    CU_ASSERT_EQUAL(auth("X-OWN", nothing()), 334);
    engine_auth_cancel(w.session);
    CU_ASSERT_EQUAL(w.aborts, 1);
    CU_ASSERT_PTR_NULL(w.session->auth);
    CU_ASSERT_EQUAL(auth("X-OWN", nothing()), 334);
    CU_ASSERT_EQUAL(respond(SLICE("alice")), 334);
    world_close(); /* a hang-up */
    CU_ASSERT_EQUAL(w.aborts, 2);
}

static void test_hang_up_while_a_step_waits(void)
{
    static const struct backend hangs = { .hangs = true };

    world_open("inbound", NULL);
    add("one", &verifier, &hangs);
    open_session();
    struct slice message = SLICE("\0alice\0secret");
    engine_auth(w.session, SLICE("PLAIN"), &message, on_auth, NULL);
    run_for_ms(5);
    world_close();
    CU_ASSERT_EQUAL(w.aborts, 1);
}

/* A step that answers when it is the client's turn: nothing is said out of turn, and nobody is let in. */
static void test_answered_out_of_turn(void)
{
    world_open("inbound", NULL);
    add("one", &impatient, &alice);
    open_session();
    CU_ASSERT_EQUAL(auth("X-OWN", nothing()), 334);
    unsigned before = said.count;
    run_for_ms(50);
    CU_ASSERT_EQUAL(said.count, before);
    CU_ASSERT_TRUE(user_is(""));
    CU_ASSERT_EQUAL(respond(SLICE("me")), 454);
    CU_ASSERT_TRUE(user_is(""));
    CU_ASSERT_EQUAL(auth("X-OWN", nothing()), 334);
    run_for_ms(50);
    engine_auth_cancel(w.session);
    CU_ASSERT_TRUE(user_is(""));
    CU_ASSERT_EQUAL(auth("X-OWN", nothing()), 334);
    run_for_ms(50); /* and the client is gone */
    world_close();
}

/* ---- each failure takes longer ---- */

static void test_delay(void)
{
    static const struct {
        const char *user;
        uint64_t delay_ms;
    } rows[] = { { "alice", 20 }, { "bob", 40 }, { "alice", 80 }, { "carol", 100 }, { "alice", 100 } };

    world_open("inbound", NULL);
    add("one", &verifier, &alice);
    open_session();
    options.delay_ms = 20;
    options.delay_max_ms = 100;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t began = clock_now_ms();
        CU_ASSERT_EQUAL(plain(rows[i].user, "wrong"), 535);
        CU_ASSERT_EQUAL(said.delay_ms, rows[i].delay_ms);
        CU_ASSERT_TRUE(clock_now_ms() - began + 20 >= rows[i].delay_ms); /* the wheel turns by 16 ms */
    }
    CU_ASSERT_TRUE(same(notes_get(w.session->facts->results, SLICE("auth_failures")), "5"));
    uint64_t began = clock_now_ms();
    CU_ASSERT_EQUAL(plain("alice", "secret"), 235); /* as late as the last failure */
    CU_ASSERT_TRUE(clock_now_ms() - began + 20 >= 100);
    world_close();
}

/* The right password: late from where wrong ones came, and then forgiven; at once from anywhere else. */
static void test_delay_of_success(void)
{
    world_open("inbound", NULL);
    add("one", &verifier, &alice);
    open_session();
    options.delay_ms = options.delay_max_ms = 3000; /* a busy machine has its own delays */
    CU_ASSERT_EQUAL(plain("alice", "wrong"), 535);
    w.session->facts->client.octets[3]++;
    uint64_t began = clock_now_ms();
    CU_ASSERT_EQUAL(plain("alice", "secret"), 235);
    CU_ASSERT_TRUE(clock_now_ms() - began < 2500);
    w.session->facts->client.octets[3]--;
    began = clock_now_ms();
    CU_ASSERT_EQUAL(plain("alice", "secret"), 235);
    CU_ASSERT_TRUE(clock_now_ms() - began + 20 >= 3000);
    began = clock_now_ms();
    CU_ASSERT_EQUAL(plain("alice", "secret"), 235);
    CU_ASSERT_TRUE(clock_now_ms() - began < 2500);
    world_close();
}

/* Behind those of the address, or of the user, who wait already: at the bound, and one above it. Right ones, too. */
static void test_delay_behind_others(void)
{
    static const struct {
        bool right;
        int64_t of_address, of_user;
        uint64_t delay_ms, wait_ms;
    } rows[] = {
        { false, 0, 0, 1000, 1000 },     { false, 3, 0, 1000, 4000 },     { false, 3, 5, 1000, 6000 },
        { false, 238, 0, 1000, 239000 }, { false, 239, 0, 1000, 240000 }, { false, 240, 0, 1000, 240000 },
        { false, 9, 0, 239999, 240000 }, { false, 9, 0, 240001, 240001 }, { false, INT32_MAX, 0, 1, 240000 },
        { true, 3, 0, 1000, 4000 },      { true, 0, 7, 1000, 1000 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slice message = rows[i].right ? SLICE("\0alice\0secret") : SLICE("\0alice\0wrong"), user = SLICE("alice");

        world_open("inbound", NULL);
        add("one", &verifier, &alice);
        open_session();
        struct slice address = slice_make((const char *)w.session->facts->client.octets, 4);
        options.delay_ms = options.delay_max_ms = rows[i].delay_ms;
        (void)world_kv("auth.address", address, KV_PUT, rows[i].right ? 1 : 0); /* it has failed before */
        (void)world_kv("auth.waiting.address", address, KV_PUT, rows[i].of_address);
        (void)world_kv("auth.waiting.user", user, KV_PUT, rows[i].of_user);
        uint64_t from = clock_now_ms() + rows[i].wait_ms;
        engine_auth(w.session, SLICE("PLAIN"), &message, on_auth, NULL);
        uint64_t due = w.session->auth->timer.due_ms;
        CU_ASSERT_TRUE(due >= from && due <= clock_now_ms() + rows[i].wait_ms);
        CU_ASSERT_EQUAL(world_kv("auth.waiting.address", address, KV_GET, 0), rows[i].of_address + 1);
        engine_auth_cancel(w.session); /* it hung up, and waits no more */
        CU_ASSERT_EQUAL(world_kv("auth.waiting.address", address, KV_GET, 0), rows[i].of_address);
        CU_ASSERT_EQUAL(world_kv("auth.waiting.user", user, KV_GET, 0), rows[i].of_user);
        world_close();
    }
}
/* From many addresses, each writing the name in a way of its own: it is one user all the same. */
static void test_delay_by_user(void)
{
    static const char *const names[] = { "alice", "ALICE", "aLiCe", " alice", "Alice  " };

    world_open("inbound", NULL);
    add("one", &verifier, &alice);
    open_session();
    options.delay_ms = 1;
    options.delay_max_ms = 100;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        w.session->facts->client.octets[3]++;
        CU_ASSERT_EQUAL(plain(names[i], "wrong"), 535);
        CU_ASSERT_EQUAL(said.delay_ms, 1u << i);
    }
    world_close();
}

/* What could not be found out counts for nobody. */
static void test_no_delay_for_a_fault(void)
{
    world_open("inbound", NULL);
    add("one", &verifier, &down);
    open_session();
    options.delay_ms = options.delay_max_ms = 60000;
    CU_ASSERT_EQUAL(plain("alice", "secret"), 454);
    CU_ASSERT_EQUAL(auth("PLAIN", SLICE("rubbish")), 501);
    CU_ASSERT_PTR_NULL(notes_get(w.session->facts->results, SLICE("auth_failures")).ptr);
    world_close();
}

static void test_hang_up_while_it_takes_longer(void)
{
    struct slice message = SLICE("\0alice\0wrong");

    world_open("inbound", NULL);
    add("one", &verifier, &alice);
    open_session();
    options.delay_ms = options.delay_max_ms = 60000;
    engine_auth(w.session, SLICE("PLAIN"), &message, on_auth, NULL);
    run_for_ms(5);
    world_close();
}

/* soft_bounce makes the reply temporary; it counts all the same. */
static void test_soft_bounce(void)
{
    world_open("inbound", NULL);
    w.soft_bounce = true;
    add("one", &verifier, &knows_none);
    open_session();
    CU_ASSERT_EQUAL(plain("alice", "wrong"), 454);
    CU_ASSERT_TRUE(same(notes_get(w.session->facts->results, SLICE("auth_failures")), "1"));
    world_close();
}

/* RFC 4616 2, 4013; docs/decisions/0009 */
static void test_prepared_then_as_given(void)
{
    static const struct {
        const char *what, *stored, *said;
        unsigned code;
    } rows[] = {
        { "composed here and there", "\xc3\xa9", "\xc3\xa9", 235 },
        { "decomposed by the client", "\xc3\xa9", "e\xcc\x81", 235 },
        { "of software that prepares nothing", "m\xc2\xb2", "m\xc2\xb2", 235 },
        { "prepared there, as it is by SCRAM", "m2", "m\xc2\xb2", 235 },
        { "the other way round it is another", "m\xc2\xb2", "m2", 535 },
        { "neither", "m3", "m\xc2\xb2", 535 },
        { "mixed directions, as given", "\xd8\xa7" "1", "\xd8\xa7" "1", 235 },
        { "what is nothing is nothing", "ab", "a\xc2\xad" "b", 235 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int pool = 0; pool < 2; pool++) {
            struct backend b = { "alice", rows[i].stored, NULL, TERN_NEXT, NULL, false };
            world_open("inbound", NULL);
            add("one", pool ? &pooled : &verifier, &b);
            open_session();
            unsigned code = plain("alice", rows[i].said);
            if (code != rows[i].code)
                fprintf(stderr, "  case \"%s\": %u\n", rows[i].what, code);
            CU_ASSERT_EQUAL(code, rows[i].code);
            /* two questions, but one failure */
            tern_str failures = notes_get(w.session->facts->results, SLICE("auth_failures"));
            CU_ASSERT_TRUE(rows[i].code == 535 ? same(failures, "1") : failures.ptr == NULL);
            world_close();
        }
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("engine auth", NULL, NULL);
    CU_add_test(suite, "backends in a row", test_rows);
    CU_add_test(suite, "prepared, then as given", test_prepared_then_as_given);
    CU_add_test(suite, "which mechanisms there are", test_which_there_are);
    CU_add_test(suite, "what is refused at once", test_refused_at_once);
    CU_add_test(suite, "lookup", test_lookup);
    CU_add_test(suite, "a salt for who does not exist", test_made_up_salt);
    CU_add_test(suite, "exchange", test_exchange);
    CU_add_test(suite, "verify and exchange", test_verify_and_exchange);
    CU_add_test(suite, "nobody is accepted", test_nobody_is_accepted);
    CU_add_test(suite, "tokens", test_tokens);
    CU_add_test(suite, "external", test_external);
    CU_add_test(suite, "a step that hangs", test_timeout);
    CU_add_test(suite, "a slow client", test_slow_client);
    CU_add_test(suite, "cancelled", test_cancel);
    CU_add_test(suite, "a hang-up while a step waits", test_hang_up_while_a_step_waits);
    CU_add_test(suite, "answered out of turn", test_answered_out_of_turn);
    CU_add_test(suite, "each failure takes longer", test_delay);
    CU_add_test(suite, "success takes as long where failures came from", test_delay_of_success);
    CU_add_test(suite, "each waits behind those who wait", test_delay_behind_others);
    CU_add_test(suite, "a user is one, however written", test_delay_by_user);
    CU_add_test(suite, "no delay for a fault", test_no_delay_for_a_fault);
    CU_add_test(suite, "a hang-up while it takes longer", test_hang_up_while_it_takes_longer);
    CU_add_test(suite, "soft_bounce", test_soft_bounce);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    buf_free(&said.challenge);
    buf_free(&said.user);
    return failures != 0;
}
