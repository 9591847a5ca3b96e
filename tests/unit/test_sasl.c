/* SPDX-License-Identifier: Apache-2.0 */
/* test_sasl.c - mechanisms by the vectors of their RFCs, both ends against each other, and rubbish. */
#include <CUnit/Basic.h>
#include <stdio.h>

#include "sasl/base64.h"
#include "sasl/client.h"
#include "sasl/server.h"

#define OCTETS(text) { text, sizeof(text) - 1 }

/* ---- base64 ---- */

static void test_base64(void)
{
    static const struct {
        struct slice plain, text;
    } good[] = {
        { OCTETS(""), OCTETS("") },
        { OCTETS("f"), OCTETS("Zg==") },
        { OCTETS("fo"), OCTETS("Zm8=") },
        { OCTETS("foo"), OCTETS("Zm9v") },
        { OCTETS("foobar"), OCTETS("Zm9vYmFy") },
        { OCTETS("\0\xff\xfe"), OCTETS("AP/+") },
    };
    static const char *const bad[] = { "Z",    "Zg",   "Zg=",  "=",     "====",     "Zg==Zg==", "Z===",
                                       "Zh==", "Zm9=", "Zm 9", "Zm9v ", "Zm9v\r\n", "Zm9-",     "*" };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        base64_add(&out, good[i].plain);
        CU_ASSERT_TRUE(slice_equal(buf_slice(&out), good[i].text));
        buf_clear(&out);
        CU_ASSERT_TRUE(base64_decode(&out, good[i].text));
        CU_ASSERT_TRUE(slice_equal(buf_slice(&out), good[i].plain));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        CU_ASSERT_FALSE(base64_decode(&out, slice_cstr(bad[i])));
        CU_ASSERT_EQUAL(out.len, 0);
    }
}

/* ---- names ---- */

static void test_prep(void)
{
    static const struct {
        const char *what, *in, *want; /* NULL: refused */
    } rows[] = {
        { "RFC 4013: soft hyphen", "I\xc2\xadX", "IX" },
        { "RFC 4013: nothing to do", "user", "user" },
        { "RFC 4013: case stays", "USER", "USER" },
        { "RFC 4013: feminine ordinal", "\xc2\xaa", "a" },
        { "RFC 4013: roman nine", "\xe2\x85\xa8", "IX" },
        { "RFC 4013: a control", "\x07", NULL },
        { "RFC 4013: mixed directions", "\xd8\xa7" "1", NULL },
        { "right to left throughout", "\xd8\xa7\xd8\xa8", "\xd8\xa7\xd8\xa8" },
        { "a digit between", "\xd8\xa7" "1" "\xd8\xa8", "\xd8\xa7" "1" "\xd8\xa8" },
        { "a letter from left to right between", "\xd8\xa7" "a" "\xd8\xa8", NULL },
        { "a blank of another kind", "a\xc2\xa0" "b", "a b" },
        { "a line end", "a\nb", NULL },
        { "a C1 control", "a\xc2\x85" "b", NULL },
        { "not UTF-8", "a\xff", NULL },
        { "left-to-right mark", "a\xe2\x80\x8e", NULL },
        { "only what is nothing", "\xc2\xad", NULL },
        { "empty", "", NULL },
        { "composed", "e\xcc\x81", "\xc3\xa9" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        bool fit = sasl_prep(slice_cstr(rows[i].in), 64, &out);
        if (fit != (rows[i].want != NULL))
            fprintf(stderr, "  %s\n", rows[i].what);
        CU_ASSERT_EQUAL(fit, rows[i].want != NULL);
        if (fit && rows[i].want != NULL)
            CU_ASSERT_TRUE(slice_equal(buf_slice(&out), slice_cstr(rows[i].want)));
    }
    char at_bound[66];
    memset(at_bound, 'a', sizeof(at_bound));
    CLEANUP_BUF struct buf out = BUF_INIT;
    CU_ASSERT_TRUE(sasl_prep(slice_make(at_bound, 64), 64, &out));
    CU_ASSERT_FALSE(sasl_prep(slice_make(at_bound, 65), 64, &out));
}

/* RFC 3454 A.1: its first and last code points, and those beside them; what came with later versions of Unicode. */
static void test_unassigned(void)
{
    static const struct {
        const char *text;
        bool unassigned;
    } rows[] = {
        { "plain", false }, { "", false }, { "\xc8\xa0", false }, { "\xc8\xa1", true }, { "\xc8\xa2", false },
        { "a\xf0\x9f\x98\x80", true }, { "\xe1\xba\x9e", true }, { "\xf3\xaf\xbf\xbd", true },
        { "\xf3\xaf\xbf\xbe", false }, { "a\xff", true },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (sasl_has_unassigned(slice_cstr(rows[i].text)) != rows[i].unassigned)
            fprintf(stderr, "  row %zu\n", i);
        CU_ASSERT_EQUAL(sasl_has_unassigned(slice_cstr(rows[i].text)), rows[i].unassigned);
    }
}

static void test_fold(void)
{
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "alice", "alice" },
        { "ALICE@Example.ORG", "alice@example.org" },
        { "  al  ice ", "al ice" },
        { "  ", "" },
        { "", "" },
        { "\xc3\x84LICE", "\xc3\xa4lice" },
        { "A\xcc\x88lice", "\xc3\xa4lice" },
        { "STRASSE", "strasse" },
        { "stra\xc3\x9f" "e", "strasse" },
        { "\xce\xa3\xce\xa3\xcf\x82", "\xcf\x83\xcf\x83\xcf\x83" },
        { "A\xff  B", "a\xff b" }, /* no UTF-8 */
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        buf_add_cstr(&out, "x ");
        sasl_name_fold(slice_cstr(rows[i].in), &out);
        if (!slice_equal(slice_from(buf_slice(&out), 2), slice_cstr(rows[i].want)))
            fprintf(stderr, "  \"%s\" became \"%.*s\"\n", rows[i].in, (int)out.len - 2, out.data + 2);
        CU_ASSERT_TRUE(slice_equal(slice_from(buf_slice(&out), 2), slice_cstr(rows[i].want)));
    }
}

/* ---- SCRAM: RFC 5802 5, RFC 7677 3 ---- */

static const struct vector {
    enum sasl_mechanism mechanism;
    const char *client_nonce, *server_nonce, *salt;
    const char *client_first, *server_first, *client_final, *server_final;
} vectors[] = {
    { SASL_SCRAM_SHA_1, "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92",
      "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
      "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
      "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
      "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=" },
    { SASL_SCRAM_SHA_256, "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
      "W22ZaJ0SNY7soEsUEjb6gQ==", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
      "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
      "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
      "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" },
};

static void make_keys(enum sasl_mechanism mechanism, const char *salt, const char *password,
                      struct sasl_keys *keys)
{
    CLEANUP_BUF struct buf octets = BUF_INIT;

    memset(keys, 0, sizeof(*keys));
    CU_ASSERT_TRUE_FATAL(base64_decode(&octets, slice_cstr(salt)));
    memcpy(keys->salt, octets.data, octets.len);
    keys->salt_octets = octets.len;
    keys->iterations = SASL_ITERATIONS_DEFAULT;
    CU_ASSERT_TRUE(sasl_scram_keys(sasl_scram_hash(mechanism), slice_cstr(password), keys));
}

static bool out_is(const struct buf *out, const char *want)
{
    bool same = slice_equal(buf_slice(out), slice_cstr(want));

    if (!same)
        fprintf(stderr, "  got \"%s\", want \"%s\"\n", out->data != NULL ? out->data : "", want);
    return same;
}

static void test_scram_server(void)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *v = &vectors[i];
        struct sasl_server_options o = { .mechanism = v->mechanism, .nonce = slice_cstr(v->server_nonce) };
        struct slice first = slice_cstr(v->client_first);
        struct sasl_server s;
        struct sasl_keys keys;

        make_keys(v->mechanism, v->salt, "pencil", &keys);
        sasl_server_init(&s, &o);
        CU_ASSERT_EQUAL(sasl_server_begin(&s, &first), SASL_STEP_LOOKUP);
        CU_ASSERT_TRUE(out_is(&s.user, "user"));
        CU_ASSERT_EQUAL(sasl_server_keys(&s, &keys, NULL), SASL_STEP_CHALLENGE);
        CU_ASSERT_TRUE(out_is(&s.out, v->server_first));
        CU_ASSERT_EQUAL(sasl_server_input(&s, slice_cstr(v->client_final)), SASL_STEP_CHALLENGE);
        CU_ASSERT_TRUE(out_is(&s.out, v->server_final));
        CU_ASSERT_EQUAL(sasl_server_input(&s, SLICE("")), SASL_STEP_OK);
        sasl_server_fini(&s);
    }
}

static void test_scram_client(void)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *v = &vectors[i];
        CLEANUP_BUF struct buf out = BUF_INIT;
        struct sasl_client c;
        bool initial = false;

        CU_ASSERT_EQUAL(sasl_client_begin(&c, v->mechanism, SLICE("user"), SLICE("pencil"),
                                          slice_cstr(v->client_nonce), &out, &initial),
                        0);
        CU_ASSERT_TRUE(initial);
        CU_ASSERT_TRUE(out_is(&out, v->client_first));
        buf_clear(&out);
        CU_ASSERT_EQUAL(sasl_client_input(&c, slice_cstr(v->server_first), &out), 0);
        CU_ASSERT_TRUE(out_is(&out, v->client_final));
        CU_ASSERT_FALSE(sasl_client_may_end(&c)); /* a 235 now would come from who knows nothing */
        buf_clear(&out);
        CU_ASSERT_EQUAL(sasl_client_input(&c, slice_cstr(v->server_final), &out), 0);
        CU_ASSERT_TRUE(sasl_client_may_end(&c));
        sasl_client_fini(&c);
    }
}

static int give_binding(void *arg, struct slice name, unsigned char out[SASL_BINDING_OCTETS_MAX])
{
    if (!slice_equal(name, SLICE("tls-exporter")))
        return -1;
    memset(out, *(const char *)arg, 32);
    return 32;
}

/* A client's side of SCRAM-PLUS, by hand. */
static enum sasl_step plus(const char *gs2, char bound_to, char server_has)
{
    struct sasl_server_options o = { .mechanism = SASL_SCRAM_SHA_256_PLUS, .binding = give_binding,
                                     .binding_arg = &server_has, .nonce = SLICE("S") };
    CLEANUP_BUF struct buf first = BUF_INIT;
    CLEANUP_BUF struct buf final = BUF_INIT;
    CLEANUP_BUF struct buf auth = BUF_INIT;
    CLEANUP_BUF struct buf binding = BUF_INIT;
    struct sasl_keys keys;
    struct sasl_server s;
    unsigned char salted[32], client[32], stored[32], signature[32];

    make_keys(SASL_SCRAM_SHA_256, "W22ZaJ0SNY7soEsUEjb6gQ==", "pencil", &keys);
    sasl_server_init(&s, &o);
    buf_printf(&first, "%sn=user,r=C", gs2);
    struct slice message = buf_slice(&first);
    enum sasl_step step = sasl_server_begin(&s, &message);
    if (step != SASL_STEP_LOOKUP) {
        sasl_server_fini(&s);
        return step;
    }
    CU_ASSERT_EQUAL(sasl_server_keys(&s, &keys, NULL), SASL_STEP_CHALLENGE);
    buf_add_cstr(&binding, gs2);
    for (unsigned i = 0; i < 32; i++)
        buf_add_char(&binding, bound_to);
    buf_add_cstr(&final, "c=");
    base64_add(&final, buf_slice(&binding));
    buf_add_cstr(&final, ",r=CS");
    buf_printf(&auth, "n=user,r=C,%s,%s", s.out.data, final.data);
    CU_ASSERT_TRUE(sasl_scram_salted(SASL_SHA_256, SLICE("pencil"),
                                     slice_make((char *)keys.salt, keys.salt_octets), 4096, salted));
    sasl_hmac(SASL_SHA_256, slice_make((char *)salted, 32), SLICE("Client Key"), client);
    sasl_digest(SASL_SHA_256, slice_make((char *)client, 32), stored);
    sasl_hmac(SASL_SHA_256, slice_make((char *)stored, 32), buf_slice(&auth), signature);
    for (unsigned i = 0; i < 32; i++)
        client[i] ^= signature[i];
    buf_add_cstr(&final, ",p=");
    base64_add(&final, slice_make((char *)client, 32));
    step = sasl_server_input(&s, buf_slice(&final));
    if (step == SASL_STEP_CHALLENGE)
        step = sasl_server_input(&s, SLICE(""));
    sasl_server_fini(&s);
    return step;
}

static void test_scram_plus(void)
{
    CU_ASSERT_EQUAL(plus("p=tls-exporter,,", 'x', 'x'), SASL_STEP_OK);
    CU_ASSERT_EQUAL(plus("p=tls-exporter,,", 'x', 'y'), SASL_STEP_WRONG); /* somebody between us */
    CU_ASSERT_EQUAL(plus("p=tls-unique,,", 'x', 'x'), SASL_STEP_WRONG);
    CU_ASSERT_EQUAL(plus("n,,", 'x', 'x'), SASL_STEP_WRONG);
    CU_ASSERT_EQUAL(plus("y,,", 'x', 'x'), SASL_STEP_WRONG);
    CU_ASSERT_EQUAL(plus("x,,", 'x', 'x'), SASL_STEP_MALFORMED);
}

/* RFC 5802 6: "y" where we do offer -PLUS is a list that was shortened on the way. */
static void test_scram_downgrade(void)
{
    char has = 'x';
    struct sasl_server_options o = { .mechanism = SASL_SCRAM_SHA_256, .binding_arg = &has };
    struct slice y = SLICE("y,,n=user,r=C"), p = SLICE("p=tls-exporter,,n=user,r=C");
    struct sasl_server s;

    sasl_server_init(&s, &o);
    CU_ASSERT_EQUAL(sasl_server_begin(&s, &y), SASL_STEP_LOOKUP);
    sasl_server_fini(&s);
    o.binding = give_binding;
    sasl_server_init(&s, &o);
    CU_ASSERT_EQUAL(sasl_server_begin(&s, &y), SASL_STEP_WRONG);
    sasl_server_fini(&s);
    sasl_server_init(&s, &o);
    CU_ASSERT_EQUAL(sasl_server_begin(&s, &p), SASL_STEP_MALFORMED);
    sasl_server_fini(&s);
}

/* Nothing but the end tells a stranger from a wrong password. */
static void test_scram_unknown(void)
{
    const struct vector *v = &vectors[1];
    struct sasl_server_options o = { .mechanism = v->mechanism, .nonce = slice_cstr(v->server_nonce) };
    struct slice first = slice_cstr(v->client_first);
    struct sasl_server s;
    struct sasl_keys keys;

    make_keys(v->mechanism, v->salt, "pencil", &keys);
    sasl_server_init(&s, &o);
    CU_ASSERT_EQUAL(sasl_server_begin(&s, &first), SASL_STEP_LOOKUP);
    CU_ASSERT_EQUAL(sasl_server_keys(&s, NULL, &keys), SASL_STEP_CHALLENGE);
    CU_ASSERT_EQUAL(sasl_server_input(&s, slice_cstr(v->client_final)), SASL_STEP_WRONG);
    sasl_server_fini(&s);
}

/* ---- the others ---- */

static void test_messages(void)
{
    static const struct {
        const char *what;
        enum sasl_mechanism mechanism;
        struct slice initial;
        enum sasl_step step;
        const char *user, *password;
    } rows[] = {
        { "PLAIN", SASL_PLAIN, OCTETS("\0tim\0tanstaaftanstaaf"), SASL_STEP_VERIFY, "tim", "tanstaaftanstaaf" },
        { "PLAIN for oneself", SASL_PLAIN, OCTETS("tim\0tim\0x"), SASL_STEP_VERIFY, "tim", "x" },
        { "PLAIN for another", SASL_PLAIN, OCTETS("Ursel\0Kurt\0xipj3plmq"), SASL_STEP_WRONG, NULL, NULL },
        { "PLAIN with one NUL", SASL_PLAIN, OCTETS("tim\0x"), SASL_STEP_MALFORMED, NULL, NULL },
        { "PLAIN with three NULs", SASL_PLAIN, OCTETS("\0tim\0x\0y"), SASL_STEP_MALFORMED, NULL, NULL },
        { "PLAIN without a name", SASL_PLAIN, OCTETS("\0\0x"), SASL_STEP_WRONG, NULL, NULL },
        { "PLAIN without a password", SASL_PLAIN, OCTETS("\0tim\0"), SASL_STEP_WRONG, NULL, NULL },
        { "PLAIN with a line end in the name", SASL_PLAIN, OCTETS("\0t\nim\0x"), SASL_STEP_WRONG, NULL, NULL },
        { "PLAIN, not UTF-8", SASL_PLAIN, OCTETS("\0t\xff\0x"), SASL_STEP_WRONG, NULL, NULL },
        { "PLAIN, empty", SASL_PLAIN, OCTETS(""), SASL_STEP_MALFORMED, NULL, NULL },
        { "EXTERNAL, as the certificate says", SASL_EXTERNAL, OCTETS(""), SASL_STEP_VERIFY, "", "" },
        { "EXTERNAL as somebody", SASL_EXTERNAL, OCTETS("tim"), SASL_STEP_VERIFY, "tim", "" },
        { "OAUTHBEARER (RFC 7628 4.1)", SASL_OAUTHBEARER,
          OCTETS("n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer vF9d==\1\1"),
          SASL_STEP_VERIFY, "user@example.com", "vF9d==" },
        { "OAUTHBEARER without a token", SASL_OAUTHBEARER, OCTETS("n,a=user,\1host=x\1\1"), SASL_STEP_MALFORMED, NULL, NULL },
        { "OAUTHBEARER without a name", SASL_OAUTHBEARER, OCTETS("n,,\1auth=Bearer x\1\1"), SASL_STEP_MALFORMED, NULL, NULL },
        { "OAUTHBEARER cut short", SASL_OAUTHBEARER, OCTETS("n,a=u,\1auth=Bearer x"), SASL_STEP_MALFORMED, NULL, NULL },
        { "XOAUTH2", SASL_XOAUTH2, OCTETS("user=someuser@example.com\1auth=Bearer ya29.vF9\1\1"), SASL_STEP_VERIFY,
          "someuser@example.com", "ya29.vF9" },
        { "XOAUTH2 without a user", SASL_XOAUTH2, OCTETS("auth=Bearer ya29.vF9\1\1"), SASL_STEP_MALFORMED, NULL, NULL },
        { "XOAUTH2 of another kind", SASL_XOAUTH2, OCTETS("user=a\1auth=Basic x\1\1"), SASL_STEP_MALFORMED, NULL, NULL },
        { "CRAM-MD5 has no initial response", SASL_CRAM_MD5, OCTETS("tim 0"), SASL_STEP_MALFORMED, NULL, NULL },
        { "SCRAM for another", SASL_SCRAM_SHA_1, OCTETS("n,a=x,n=user,r=a"), SASL_STEP_WRONG, NULL, NULL },
        { "SCRAM, an unknown mandatory extension", SASL_SCRAM_SHA_1, OCTETS("n,,m=x,n=user,r=a"), SASL_STEP_MALFORMED, NULL, NULL },
        { "SCRAM, escaped name", SASL_SCRAM_SHA_1, OCTETS("n,,n=a=2Cb=3D,r=a"), SASL_STEP_LOOKUP, "a,b=", "" },
        { "SCRAM, badly escaped name", SASL_SCRAM_SHA_1, OCTETS("n,,n=a=2cb,r=a"), SASL_STEP_MALFORMED, NULL, NULL },
        { "SCRAM without a nonce", SASL_SCRAM_SHA_1, OCTETS("n,,n=user,r="), SASL_STEP_MALFORMED, NULL, NULL },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sasl_server_options o = { .mechanism = rows[i].mechanism, .hostname = SLICE("h") };
        struct sasl_server s;

        sasl_server_init(&s, &o);
        enum sasl_step step = sasl_server_begin(&s, &rows[i].initial);
        if (step != rows[i].step)
            fprintf(stderr, "  %s: step %d, want %d\n", rows[i].what, step, rows[i].step);
        CU_ASSERT_EQUAL(step, rows[i].step);
        if (rows[i].user != NULL) {
            CU_ASSERT_TRUE(out_is(&s.user, rows[i].user));
            CU_ASSERT_TRUE(out_is(&s.password, rows[i].password));
        }
        sasl_server_fini(&s);
    }
}

static void test_login(void)
{
    struct sasl_server_options o = { .mechanism = SASL_LOGIN };
    struct sasl_server s;
    struct slice name = SLICE("tim");

    sasl_server_init(&s, &o);
    CU_ASSERT_EQUAL(sasl_server_begin(&s, NULL), SASL_STEP_CHALLENGE);
    CU_ASSERT_TRUE(out_is(&s.out, "Username:"));
    CU_ASSERT_EQUAL(sasl_server_input(&s, name), SASL_STEP_CHALLENGE);
    CU_ASSERT_TRUE(out_is(&s.out, "Password:"));
    CU_ASSERT_EQUAL(sasl_server_input(&s, SLICE("secret")), SASL_STEP_VERIFY);
    CU_ASSERT_TRUE(out_is(&s.user, "tim"));
    CU_ASSERT_TRUE(out_is(&s.password, "secret"));
    CU_ASSERT_EQUAL(sasl_server_verified(&s, true), SASL_STEP_OK);
    sasl_server_fini(&s);
    sasl_server_init(&s, &o);
    CU_ASSERT_EQUAL(sasl_server_begin(&s, &name), SASL_STEP_CHALLENGE); /* the name as initial response */
    CU_ASSERT_TRUE(out_is(&s.out, "Password:"));
    sasl_server_fini(&s);
}

/* RFC 2195 2. */
static void test_cram(void)
{
    struct sasl_server_options o = { .mechanism = SASL_CRAM_MD5, .nonce = SLICE("1896.697170952"),
                                     .hostname = SLICE("postoffice.reston.mci.net") };
    static const struct {
        const char *password;
        enum sasl_step step;
    } rows[] = { { "tanstaaftanstaaf", SASL_STEP_OK }, { "tanstaaf", SASL_STEP_WRONG }, { NULL, SASL_STEP_WRONG } };

    for (size_t i = 0; i < 3; i++) {
        struct sasl_server s;
        sasl_server_init(&s, &o);
        CU_ASSERT_EQUAL(sasl_server_begin(&s, NULL), SASL_STEP_CHALLENGE);
        CU_ASSERT_TRUE(out_is(&s.out, "<1896.697170952@postoffice.reston.mci.net>"));
        CU_ASSERT_EQUAL(sasl_server_input(&s, SLICE("tim b913a602c7eda7a495b4e6e7334d3890")), SASL_STEP_LOOKUP);
        CU_ASSERT_TRUE(out_is(&s.user, "tim"));
        CU_ASSERT_EQUAL(sasl_server_cram(&s, slice_cstr(rows[i].password)), rows[i].step);
        sasl_server_fini(&s);
    }
}

/* RFC 7628 3.2.3: the reason, an answer that means nothing, the end. */
static void test_token_refused(void)
{
    struct sasl_server_options o = { .mechanism = SASL_OAUTHBEARER };
    struct slice message = OCTETS("n,a=u,\1auth=Bearer x\1\1");
    struct sasl_server s;

    sasl_server_init(&s, &o);
    CU_ASSERT_EQUAL(sasl_server_begin(&s, &message), SASL_STEP_VERIFY);
    CU_ASSERT_EQUAL(sasl_server_verified(&s, false), SASL_STEP_CHALLENGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(s.out.data, "\"invalid_token\""));
    CU_ASSERT_EQUAL(sasl_server_input(&s, SLICE("\1")), SASL_STEP_WRONG);
    sasl_server_fini(&s);
}

/* A server that is not the one that has the keys. */
static void test_client_hostile(void)
{
    static const struct {
        const char *what, *first, *final;
        int want_first, want_final;
    } rows[] = {
        { "another nonce", "r=xyko,s=QSXCR+Q6sek8bf92,i=4096", "", -EPROTO, 0 },
        { "nothing added to the nonce", "r=fyko,s=QSXCR+Q6sek8bf92,i=4096", "", -EPROTO, 0 },
        { "too few iterations", "r=fykoX,s=QSXCR+Q6sek8bf92,i=4095", "", -EPROTO, 0 },
        { "as many iterations as may be", "r=fykoX,s=QSXCR+Q6sek8bf92,i=100000", "e=other-error", 0, -EPROTO },
        { "one iteration more", "r=fykoX,s=QSXCR+Q6sek8bf92,i=100001", "", -EPROTO, 0 },
        { "no salt", "r=fykoX,s=,i=4096", "", -EPROTO, 0 },
        { "a wrong proof", "r=fykoX,s=QSXCR+Q6sek8bf92,i=4096", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=", 0, -EACCES },
        { "an error", "r=fykoX,s=QSXCR+Q6sek8bf92,i=4096", "e=other-error", 0, -EPROTO },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        struct sasl_client c;
        bool initial;
        CU_ASSERT_EQUAL(sasl_client_begin(&c, SASL_SCRAM_SHA_1, SLICE("user"), SLICE("pencil"), SLICE("fyko"), &out,
                                          &initial),
                        0);
        int r = sasl_client_input(&c, slice_cstr(rows[i].first), &out);
        if (r != rows[i].want_first)
            fprintf(stderr, "  %s: %d\n", rows[i].what, r);
        CU_ASSERT_EQUAL(r, rows[i].want_first);
        if (r == 0)
            CU_ASSERT_EQUAL(sasl_client_input(&c, slice_cstr(rows[i].final), &out), rows[i].want_final);
        CU_ASSERT_FALSE(sasl_client_may_end(&c));
        sasl_client_fini(&c);
    }
}

static void test_client_plain(void)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct sasl_client c;
    bool initial;

    CU_ASSERT_EQUAL(sasl_client_begin(&c, SASL_PLAIN, SLICE("tim"), SLICE("pw"), SLICE(""), &out, &initial), 0);
    CU_ASSERT_TRUE(initial && slice_equal(buf_slice(&out), SLICE("\0tim\0pw")));
    sasl_client_fini(&c);
    buf_clear(&out);
    CU_ASSERT_EQUAL(sasl_client_begin(&c, SASL_LOGIN, SLICE("tim"), SLICE("pw"), SLICE(""), &out, &initial), 0);
    CU_ASSERT_FALSE(initial);
    CU_ASSERT_EQUAL(sasl_client_input(&c, SLICE("Username:"), &out), 0);
    CU_ASSERT_FALSE(sasl_client_may_end(&c));
    CU_ASSERT_EQUAL(sasl_client_input(&c, SLICE("Password:"), &out), 0);
    CU_ASSERT_TRUE(sasl_client_may_end(&c) && out_is(&out, "timpw"));
    CU_ASSERT_EQUAL(sasl_client_input(&c, SLICE("More:"), &out), -EPROTO);
    sasl_client_fini(&c);
    CU_ASSERT_EQUAL(sasl_client_begin(&c, SASL_PLAIN, SLICE("t\nim"), SLICE("pw"), SLICE(""), &out, &initial), -EINVAL);
    sasl_client_fini(&c);
}

static void test_plaintext(void)
{
    static const struct {
        const char *name;
        bool plain;
    } rows[] = { { "PLAIN", true },          { "LOGIN", true },  { "XOAUTH2", true },   { "OAUTHBEARER", true },
                 { "SCRAM-SHA-256", false }, { "NTLM", false },  { "CRAM-MD5", false }, { "GSSAPI", false },
                 { "SECURID", true },        { "X-OWN", true } };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(sasl_is_plaintext(slice_cstr(rows[i].name)), rows[i].plain);
    for (unsigned m = 0; m < SASL_MECHANISM_COUNT; m++)
        CU_ASSERT_EQUAL(sasl_mechanism_find(slice_cstr(sasl_mechanism_name(m))), m);
    CU_ASSERT_EQUAL(sasl_mechanism_find(SLICE("plain")), SASL_MECHANISM_COUNT);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("sasl", NULL, NULL);
    CU_add_test(suite, "base64", test_base64);
    CU_add_test(suite, "names and passwords are prepared", test_prep);
    CU_add_test(suite, "what is not to be stored", test_unassigned);
    CU_add_test(suite, "names are folded", test_fold);
    CU_add_test(suite, "the server's SCRAM by the RFCs", test_scram_server);
    CU_add_test(suite, "the client's SCRAM by the RFCs", test_scram_client);
    CU_add_test(suite, "SCRAM with channel binding", test_scram_plus);
    CU_add_test(suite, "SCRAM: a list that was shortened", test_scram_downgrade);
    CU_add_test(suite, "SCRAM: an unknown user", test_scram_unknown);
    CU_add_test(suite, "what clients send", test_messages);
    CU_add_test(suite, "LOGIN", test_login);
    CU_add_test(suite, "CRAM-MD5", test_cram);
    CU_add_test(suite, "a token that is refused", test_token_refused);
    CU_add_test(suite, "a client and hostile servers", test_client_hostile);
    CU_add_test(suite, "a client's PLAIN and LOGIN", test_client_plain);
    CU_add_test(suite, "which need TLS", test_plaintext);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
