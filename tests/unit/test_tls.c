/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tls.c - both ends of core/tls on one loop: handshakes, names, verification, resumption,
 * bindings, and what is no TLS at all. The certificates are made by the openssl command.
 */
#include "base/clock.h"
#include "tls_world.h"

static void check_secured(const struct world *w)
{
    if (w->s.secured != 1 || w->c.secured != 1)
        printf("server: %s, client: %s\n", w->s.reason, w->c.reason);
    CU_ASSERT_EQUAL_FATAL(w->s.secured, 1);
    CU_ASSERT_EQUAL_FATAL(w->c.secured, 1);
}

static bool c_has_5(const struct world *w)
{
    return w->c.got.len >= 5 || w->c.ends > 0;
}

static bool s_has_5(const struct world *w)
{
    return w->s.got.len >= 5 || w->s.ends > 0;
}

/* A few octets each way. */
static void check_talk(struct world *w)
{
    conn_write(w->c.conn, SLICE("hello"));
    turns(w, s_has_5);
    conn_write(w->s.conn, SLICE("there"));
    turns(w, c_has_5);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&w->s.got), SLICE("hello")));
    CU_ASSERT_TRUE(slice_equal(buf_slice(&w->c.got), SLICE("there")));
}

/* ---- tests ---- */

static void test_handshake(void)
{
    struct tls_target target = { .sni = "A.example." };
    struct world w;

    begin(&w, "a", NULL);
    new_server(&w, NULL);
    new_client(&w, NULL);
    shake(&w, &target);
    check_secured(&w);
    check_talk(&w);
    const struct tls *s = tls_of(w.s.conn);
    CU_ASSERT_STRING_EQUAL(tls_version(s), "TLSv1.3");
    CU_ASSERT_STRING_EQUAL(tls_sni(s), "a.example");
    CU_ASSERT_EQUAL(strncmp(tls_cipher(s), "TLS_", 4), 0);
    CU_ASSERT_TRUE(tls_cipher_bits(s) >= 128);
    CU_ASSERT_FALSE(tls_resumed(s));
    CU_ASSERT_STRING_EQUAL(tls_reason(s), "");
    /* close_notify ends the other end in order. */
    conn_close(w.s.conn, 1000);
    w.s.conn = NULL;
    for (int i = 0; i < WAIT_TURNS && w.c.ends == 0; i++)
        loop_turn(w.loop, true);
    CU_ASSERT_EQUAL(w.c.ends, 1);
    CU_ASSERT_EQUAL(w.c.status, 0);
    finish(&w);
}

static bool s_has_all(const struct world *w)
{
    return w->s.got.len >= 3000000 || w->s.ends > 0;
}

/* Far more than the socket takes, past a pause of the reader; then octet by octet. */
static void test_bulk(void)
{
    CLEANUP_BUF struct buf big = BUF_INIT;
    struct world w;

    for (unsigned i = 0; i < 3000000; i++)
        buf_add_char(&big, (char)(i * 7 + i / 251));
    begin(&w, "a", NULL);
    new_server(&w, NULL);
    new_client(&w, NULL);
    shake(&w, NULL);
    check_secured(&w);
    w.s.paused_at_first = true;
    conn_write(w.c.conn, buf_slice(&big));
    for (int i = 0; i < 50; i++)
        loop_turn(w.loop, false);
    CU_ASSERT_TRUE(w.s.got.len > 0 && w.s.got.len < 100000);
    CU_ASSERT_TRUE(conn_unsent(w.c.conn) > 0);
    conn_resume(w.s.conn);
    turns(&w, s_has_all);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&w.s.got), buf_slice(&big)));
    buf_clear(&w.s.got);
    for (unsigned i = 0; i < 5; i++)
        conn_write(w.c.conn, slice_head(slice_from(SLICE("hello"), i), 1));
    turns(&w, s_has_5);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&w.s.got), SLICE("hello")));
    finish(&w);
}

/* What was said before stays plain and comes first; what is said during the handshake comes behind it. */
static void test_start_behind_words(void)
{
    struct tls_target target = { .sni = NULL };
    struct world w;

    begin(&w, "a", NULL);
    new_server(&w, NULL);
    new_client(&w, NULL);
    connect_pair(&w);
    conn_cork(w.s.conn);
    conn_write(w.s.conn, SLICE("220 go\r\n"));
    tls_start(tls_server_side(w.server), w.s.conn, SLICE(""));
    conn_write(w.s.conn, SLICE("under TLS"));
    conn_uncork(w.s.conn);
    for (int i = 0; i < WAIT_TURNS && w.c.got.len < 8; i++)
        loop_turn(w.loop, true);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&w.c.got), SLICE("220 go\r\n")));
    buf_clear(&w.c.got);
    tls_start(tls_client_side(w.client, &target), w.c.conn, SLICE(""));
    turns(&w, settled);
    check_secured(&w);
    turns(&w, c_has_5);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&w.c.got), SLICE("under TLS")));
    finish(&w);
}

/* Octets of the handshake that the owner read before it knew. */
static void test_ahead(void)
{
    struct tls_target target = { .sni = NULL };
    struct world w;

    begin(&w, "a", NULL);
    new_server(&w, NULL);
    new_client(&w, NULL);
    connect_pair(&w);
    tls_start(tls_client_side(w.client, &target), w.c.conn, SLICE(""));
    for (int i = 0; i < WAIT_TURNS && w.s.got.len == 0; i++)
        loop_turn(w.loop, true);
    CU_ASSERT_TRUE(w.s.got.len > 100);
    CLEANUP_BUF struct buf hello = BUF_INIT;
    buf_add(&hello, buf_slice(&w.s.got));
    buf_clear(&w.s.got);
    tls_start(tls_server_side(w.server), w.s.conn, buf_slice(&hello));
    turns(&w, settled);
    check_secured(&w);
    check_talk(&w);
    finish(&w);
}

/* Which of the two certificates a client gets. */
static void test_names(void)
{
    static const struct {
        const char *first, *second, *sni, *want;
    } rows[] = {
        { "a", "b", "a.example", "a" },
        { "a", "b", "b.example", "b" },
        { "a", "b", "x.B.example", "b" },
        { "a", "b", "x.y.b.example", "a" }, /* a wildcard is for one label; unknown: as the first */
        { "b", "a", "unknown.example", "b" },
        { "b", "a", "a.example", "a" },
        { "b", "a", NULL, "a" },           /* share a name: both kinds are on offer, ECDSA is preferred */
        { "b", "a", "both.example", "a" },
        { "b", "self", NULL, "b" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_target target = { .sni = rows[i].sni };
        struct tls_peer peer;
        struct world w;
        begin(&w, rows[i].first, rows[i].second);
        new_server(&w, NULL);
        new_client(&w, NULL);
        shake(&w, &target);
        check_secured(&w);
        tls_peer(tls_of(w.c.conn), &peer);
        if (strcmp(peer.common_name, rows[i].want) != 0 && i != 4)
            printf("row %zu: %s\n", i, peer.common_name);
        CU_ASSERT_TRUE(peer.present);
        CU_ASSERT_TRUE(i == 4 || strcmp(peer.common_name, rows[i].want) == 0);
        finish(&w);
    }
}

static void test_name_rows(void)
{
    static const struct {
        const char *pattern, *name;
        bool want;
    } rows[] = {
        { "a.example", "a.example", true },         { "a.example", "b.example", false },
        { "*.example.org", "a.example.org", true }, { "*.example.org", "example.org", false },
        { "*.example.org", "a.b.example.org", false }, { "*.example.org", ".example.org", false },
        { "*.org", "example.org", false },          { "*", "a", false },
        { "a*.example.org", "ab.example.org", false },
    };
    char out[TLS_HOST_OCTETS_MAX], longest[TLS_HOST_OCTETS_MAX + 1];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(tls_name_matches(slice_cstr(rows[i].pattern), slice_cstr(rows[i].name)), rows[i].want);
    CU_ASSERT_TRUE(tls_name_fold("MX.Example.", out));
    CU_ASSERT_STRING_EQUAL(out, "mx.example");
    CU_ASSERT_FALSE(tls_name_fold("", out));
    CU_ASSERT_FALSE(tls_name_fold("a b", out));
    memset(longest, 'a', sizeof(longest));
    longest[TLS_HOST_OCTETS_MAX] = '\0';
    CU_ASSERT_FALSE(tls_name_fold(longest, out));
    longest[TLS_HOST_OCTETS_MAX - 1] = '\0';
    CU_ASSERT_TRUE(tls_name_fold(longest, out));
}

static void test_verify(void)
{
    static const struct {
        const char *certificate, *name;
        bool verify, own_ca, want;
        const char *reason;
    } rows[] = {
        { "a", "a.example", true, true, true, "" },
        { "a", "wrong.example", true, true, false, "hostname mismatch" },
        { "a", "a.example", true, false, false, "certificate verify failed" },
        { "self", "self.example", true, true, false, "self-signed" },
        { "self", "wrong.example", false, false, true, "" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_client_options o = { .verify = rows[i].verify, .ca_file = rows[i].own_ca ? path("ca.pem") : NULL };
        struct tls_target target = { .sni = "a.example", .name = rows[i].name };
        struct tls_peer peer;
        struct world w;
        begin(&w, rows[i].certificate, NULL);
        new_server(&w, NULL);
        new_client(&w, &o);
        shake(&w, &target);
        CU_ASSERT_EQUAL(w.c.secured, rows[i].want);
        if (rows[i].want) {
            tls_peer(tls_of(w.c.conn), &peer);
            CU_ASSERT_EQUAL(peer.verified, rows[i].verify);
        } else {
            if (strstr(w.c.reason, rows[i].reason) == NULL)
                printf("row %zu: %s\n", i, w.c.reason);
            CU_ASSERT_PTR_NOT_NULL(strstr(w.c.reason, rows[i].reason));
            CU_ASSERT_TRUE(w.c.status < 0);
        }
        finish(&w);
    }
}

/* Sessions are resumed over a reload, that is by another server with the same tickets. */
static void test_resumption(void)
{
    struct tls_tickets *tickets = tls_tickets_new(3600);
    struct tls_server_options so = { .tickets = tickets };
    struct tls_client_options co = { .sessions_max = 2 };
    struct tls_target target = { .sni = "a.example", .key = "a.example:25" };
    struct world w;

    begin(&w, "a", NULL);
    new_server(&w, &so);
    new_client(&w, &co);
    for (int i = 0; i < 4; i++) {
        unsigned char theirs[TLS_BINDING_OCTETS_MAX], ours[TLS_BINDING_OCTETS_MAX];
        shake(&w, &target);
        check_secured(&w);
        if (tls_resumed(tls_of(w.s.conn)) != (i == 1 || i == 2))
            printf("round %d\n", i);
        CU_ASSERT_EQUAL(tls_resumed(tls_of(w.s.conn)), i == 1 || i == 2);
        check_talk(&w);
        int len = tls_channel_binding(tls_of(w.c.conn), TLS_BINDING_SERVER_END_POINT, theirs);
        CU_ASSERT_EQUAL(len, 32);
        CU_ASSERT_EQUAL(tls_channel_binding(tls_of(w.s.conn), TLS_BINDING_SERVER_END_POINT, ours), len);
        CU_ASSERT_EQUAL(memcmp(theirs, ours, (size_t)len), 0);
        hang_up(&w);
        if (i == 1) { /* a reload */
            tls_server_free(w.server);
            new_server(&w, &so);
        }
        if (i == 2) { /* the client forgets the one longest unused */
            for (int other = 0; other < 2; other++) {
                struct tls_target o = { .key = other == 0 ? "b:25" : "c:25" };
                shake(&w, &o);
                check_secured(&w);
                check_talk(&w);
                hang_up(&w);
            }
        }
    }
    finish(&w);
    tls_tickets_free(tickets);
}

/* A key seals for an hour and opens for three: what comes back each time is resumed by the next one, what stays away is not. */
static void test_resumption_by_rotating_keys(void)
{
    static const struct {
        unsigned minute;
        bool resumed;
    } rounds[] = { { 0, false }, { 30, true }, { 150, true }, { 210, true }, { 389, true }, { 570, false } };
    struct tls_tickets *tickets = tls_tickets_new(3600);
    struct tls_server_options so = { .tickets = tickets };
    struct tls_client_options co = { .sessions_max = 2 };
    struct tls_target target = { .key = "a:25" };
    uint64_t now_ms = clock_wall_ms();
    struct world w;

    begin(&w, "a", NULL);
    new_server(&w, &so);
    new_client(&w, &co);
    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        clock_virtual_start(now_ms + rounds[i].minute * 60000);
        shake(&w, &target);
        check_secured(&w);
        CU_ASSERT_EQUAL(tls_resumed(tls_of(w.s.conn)), rounds[i].resumed);
        check_talk(&w);
        hang_up(&w);
    }
    finish(&w);
    clock_virtual_stop();
    tls_tickets_free(tickets);
}

/* What one listener's authority vouched for is nothing to another's, although they share the tickets. */
static void test_resumption_by_authority(void)
{
    static const struct {
        const char *ca; /* NULL: no certificate is asked for */
        bool resumed;
    } rounds[] = { { "ca.pem", false }, { "self.pem", false }, { "ca.pem", false }, { "same.pem", true }, { NULL, false } };
    struct tls_tickets *tickets = tls_tickets_new(3600);
    struct tls_client_options co = { .sessions_max = 2 };
    struct tls_target target = { .sni = "a.example", .key = "a.example:25" };
    struct world w;

    sh("cp ca.pem same.pem");
    begin(&w, "a", NULL);
    new_client(&w, &co);
    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        struct tls_server_options so = { .tickets = tickets, .ask_client = rounds[i].ca != NULL,
                                         .client_ca = rounds[i].ca != NULL ? path(rounds[i].ca) : NULL };
        tls_server_free(w.server);
        new_server(&w, &so);
        shake(&w, &target);
        check_secured(&w);
        CU_ASSERT_EQUAL(tls_resumed(tls_of(w.s.conn)), rounds[i].resumed);
        check_talk(&w);
        hang_up(&w);
    }
    finish(&w);
    tls_tickets_free(tickets);
}

#define DAY_MS 86400000ull

/* In all later handshakes of w->client. */
static void show(struct world *w, const char *name)
{
    char pem[64], key[64];

    (void)snprintf(pem, sizeof(pem), "%s.pem", name);
    (void)snprintf(key, sizeof(key), "%s.key", name);
    CU_ASSERT_EQUAL_FATAL(SSL_CTX_use_certificate_file(w->client->context, path(pem), SSL_FILETYPE_PEM), 1);
    CU_ASSERT_EQUAL_FATAL(SSL_CTX_use_PrivateKey_file(w->client->context, path(key), SSL_FILETYPE_PEM), 1);
}

/* ca.pem with a list of those it has revoked, which is good for `days`. */
static void make_list(const char *out, const char *revoked, unsigned days)
{
    sh("printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index.txt\\ncertificate=ca.pem\\nprivate_key=ca.key\\n"
       "default_md=sha256\\n' >list.cnf; : >index.txt; rm -f index.txt.attr; "
       "if [ -n '%s' ]; then openssl ca -config list.cnf -revoke '%s.pem'; fi && "
       "openssl ca -config list.cnf -gencrl -crldays %u -out list.pem && cat ca.pem list.pem >%s; rm index.txt*",
       revoked, revoked, days, out);
}

/* Whether the client was verified lasts over a resumption, but not longer than what it rests on: all of it 30 days here. */
static void test_resumption_of_a_verified_client(void)
{
    static const struct {
        const char *name, *ca, *client;
        unsigned version, day;
        bool fresh, resumed, verified; /* fresh: a client who was never here */
    } rounds[] = {
        { "a handshake", "ca.pem", "client", TLS_VERSION_1_3, 0, true, false, true },
        { "before the end", "ca.pem", "client", TLS_VERSION_1_3, 29, false, true, true },
        { "behind it, by a ticket that was renewed", "ca.pem", "client", TLS_VERSION_1_3, 31, false, false, true },
        { "1.2", "ca.pem", "client", TLS_VERSION_1_2, 0, true, false, true },
        { "1.2, before the end", "ca.pem", "client", TLS_VERSION_1_2, 29, false, true, true },
        { "1.2, once more", "ca.pem", "client", TLS_VERSION_1_2, 0, true, false, true },
        { "1.2, behind it", "ca.pem", "client", TLS_VERSION_1_2, 31, false, false, true },
        { "nobody's", "ca.pem", "self", TLS_VERSION_1_3, 0, true, false, false },
        { "nobody's is nothing later, either", "ca.pem", "self", TLS_VERSION_1_3, 31, false, true, false },
        { "with a list", "none.pem", "client", TLS_VERSION_1_3, 0, true, false, true },
        { "before the list's end", "none.pem", "client", TLS_VERSION_1_3, 9, false, true, true },
        { "behind the list's end", "none.pem", "client", TLS_VERSION_1_3, 11, false, false, true },
        { "before a reload", "none.pem", "client", TLS_VERSION_1_3, 0, true, false, true },
        { "revoked by a reload", "revoked.pem", "client", TLS_VERSION_1_3, 0, false, false, false },
    };
    struct tls_tickets *tickets = tls_tickets_new(100 * 86400);
    struct tls_target target = { .key = "x" };
    struct tls_client_options co = { .sessions_max = 2 };
    uint64_t now_ms = clock_wall_ms();
    struct world w;

    sh("openssl x509 -req -in a.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile a.ext -out lasting.pem && "
       "cp a.key lasting.key");
    make_list("none.pem", "", 10);
    make_list("revoked.pem", "client", 10);
    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        struct tls_peer peer;
        if (i > 0 && rounds[i].fresh)
            finish(&w);
        clock_virtual_start(now_ms + rounds[i].day * DAY_MS);
        if (rounds[i].fresh) {
            begin(&w, "lasting", NULL);
            new_client(&w, &co);
            show(&w, rounds[i].client);
            CU_ASSERT_EQUAL(SSL_CTX_set_max_proto_version(w.client->context, (int)rounds[i].version), 1);
        }
        struct tls_server_options so = { .tickets = tickets, .ask_client = true, .client_ca = path(rounds[i].ca) };
        tls_server_free(w.server);
        new_server(&w, &so);
        shake(&w, &target);
        check_secured(&w);
        tls_peer(tls_of(w.s.conn), &peer);
        if (tls_resumed(tls_of(w.s.conn)) != rounds[i].resumed || peer.verified != rounds[i].verified)
            printf("%s: %s\n", rounds[i].name, peer.error);
        CU_ASSERT_EQUAL(tls_resumed(tls_of(w.s.conn)), rounds[i].resumed);
        CU_ASSERT_EQUAL(peer.verified, rounds[i].verified);
        check_talk(&w);
        hang_up(&w);
    }
    finish(&w);
    clock_virtual_stop();
    tls_tickets_free(tickets);
}

/* The client's end believes a server by its session, but not longer than the server's certificate is good. */
static void test_resumption_of_a_verified_server(void)
{
    static const struct {
        unsigned day;
        bool resumed;
    } rounds[] = { { 0, false }, { 29, true }, { 31, false } };
    struct tls_tickets *tickets = tls_tickets_new(100 * 86400);
    struct tls_server_options so = { .tickets = tickets };
    struct tls_client_options co = { .sessions_max = 2, .verify = true, .ca_file = path("ca.pem") };
    struct tls_target target = { .name = "a.example", .key = "x" };
    uint64_t now_ms = clock_wall_ms();
    struct world w;

    clock_virtual_start(now_ms);
    begin(&w, "a", NULL);
    new_client(&w, &co);
    new_server(&w, &so);
    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        clock_virtual_start(now_ms + rounds[i].day * DAY_MS);
        shake(&w, &target);
        check_secured(&w);
        CU_ASSERT_EQUAL(tls_resumed(tls_of(w.c.conn)), rounds[i].resumed);
        check_talk(&w);
        hang_up(&w);
    }
    finish(&w);
    clock_virtual_stop();
    tls_tickets_free(tickets);
}

/* Without tickets, and with keys that have gone, a whole handshake is made. */
static void test_no_resumption(void)
{
    struct tls_tickets *tickets = tls_tickets_new(1);
    struct tls_client_options co = { .sessions_max = 10 };
    struct tls_target target = { .key = "x" };

    for (int with = 0; with < 2; with++) {
        struct tls_server_options so = { .tickets = with ? tickets : NULL };
        struct world w;
        begin(&w, "a", NULL);
        new_server(&w, &so);
        new_client(&w, &co);
        for (int i = 0; i < 2; i++) {
            shake(&w, &target);
            check_secured(&w);
            CU_ASSERT_FALSE(tls_resumed(tls_of(w.s.conn)));
            check_talk(&w);
            hang_up(&w);
            tls_tickets_free(tickets); /* a restart: keys are in memory only */
            tickets = tls_tickets_new(1);
            tls_server_free(w.server);
            so.tickets = with ? tickets : NULL;
            new_server(&w, &so);
        }
        finish(&w);
    }
    tls_tickets_free(tickets);
}

static void test_bindings(void)
{
    for (int old = 0; old < 2; old++) {
        static const char *const certificates[] = { "a", "b" };
        struct world w;
        begin(&w, certificates[old], NULL);
        new_server(&w, NULL);
        new_client(&w, NULL);
        shake(&w, NULL);
        check_secured(&w);
        for (int kind = TLS_BINDING_EXPORTER; kind <= TLS_BINDING_SERVER_END_POINT; kind++) {
            unsigned char ours[TLS_BINDING_OCTETS_MAX], theirs[TLS_BINDING_OCTETS_MAX];
            int len = tls_channel_binding(tls_of(w.s.conn), (enum tls_binding)kind, ours);
            CU_ASSERT_EQUAL(len, 32);
            CU_ASSERT_EQUAL(tls_channel_binding(tls_of(w.c.conn), (enum tls_binding)kind, theirs), len);
            CU_ASSERT_EQUAL(memcmp(ours, theirs, 32), 0);
        }
        finish(&w);
    }
}

/* Without a certificate, and with one that nobody vouches for, the handshake goes on all the same. */
static void test_client_without_certificate(void)
{
    struct tls_server_options so = { .ask_client = true, .client_ca = path("ca.pem") };
    struct tls_peer peer;
    struct world w;

    begin(&w, "a", NULL);
    new_server(&w, &so);
    new_client(&w, NULL);
    shake(&w, NULL);
    check_secured(&w);
    tls_peer(tls_of(w.s.conn), &peer);
    CU_ASSERT_FALSE(peer.present);
    CU_ASSERT_FALSE(peer.verified);
    check_talk(&w);
    finish(&w);
}

/* No TLS at all, half a record, a hang-up: a reason each, and nothing is said in the clear. */
static void test_garbage(void)
{
    static const struct {
        struct slice octets;
        const char *reason;
    } rows[] = {
        { SLICE("EHLO client.example\r\n"), "wrong version number" },
        { SLICE("GET / HTTP/1.0\r\n\r\n"), "http request" },
        { SLICE("\x16\x03\x01\x02"), "closed by the peer" },
        { SLICE(""), "closed by the peer" },
        { SLICE("\x16\x03\x01\xff\xff"), "" },
        { SLICE("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10\x00\x00\x01\x02\x03"), "" },
        { SLICE("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"), "" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        begin(&w, "a", NULL);
        new_server(&w, NULL);
        new_client(&w, NULL);
        connect_pair(&w);
        tls_start(tls_server_side(w.server), w.s.conn, SLICE(""));
        for (size_t k = 0; k < rows[i].octets.len && w.c.conn != NULL; k++) {
            conn_write(w.c.conn, slice_head(slice_from(rows[i].octets, k), 1));
            loop_turn(w.loop, false);
        }
        conn_free(w.c.conn);
        w.c.conn = NULL;
        w.c.ends = 1;
        turns(&w, both_ended);
        CU_ASSERT_EQUAL(w.s.ends, 1);
        CU_ASSERT_TRUE(w.s.status < 0);
        CU_ASSERT_EQUAL(w.s.secured, 0);
        CU_ASSERT_TRUE(w.s.reason[0] != '\0');
        if (strstr(w.s.reason, rows[i].reason) == NULL)
            printf("row %zu: %s\n", i, w.s.reason);
        CU_ASSERT_PTR_NOT_NULL(strstr(w.s.reason, rows[i].reason));
        finish(&w);
    }
}

/* Freed at any moment: before, during and after the handshake. */
static void test_hang_up_at_any_turn(void)
{
    for (int at = 0; at < 12; at++) {
        struct tls_target target = { .sni = NULL };
        struct world w;
        begin(&w, "a", NULL);
        new_server(&w, NULL);
        new_client(&w, NULL);
        connect_pair(&w);
        tls_start(tls_server_side(w.server), w.s.conn, SLICE(""));
        tls_start(tls_client_side(w.client, &target), w.c.conn, SLICE(""));
        for (int i = 0; i < at; i++)
            loop_turn(w.loop, false);
        struct end *gone = at % 2 == 0 ? &w.s : &w.c;
        conn_close(gone->conn, 1000);
        gone->conn = NULL;
        gone->ends = 1;
        turns(&w, both_ended);
        CU_ASSERT_TRUE(both_ended(&w));
        finish(&w);
    }
}

#define CROWD 60

static unsigned answered(const int fds[CROWD])
{
    unsigned count = 0;
    char c;

    for (unsigned i = 0; i < CROWD; i++)
        count += recv(fds[i], &c, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    return count;
}

/* Many hellos at once: a turn of the loop answers some, so that others come in between; in the end all are. */
static void test_crowd(void)
{
    static struct end ends[CROWD];
    struct tls_target target = { .sni = NULL };
    int fds[CROWD], pair[2];
    unsigned turns_taken = 0, most = 0;
    struct world w;

    begin(&w, "b", NULL);
    new_server(&w, NULL);
    new_client(&w, NULL);
    connect_pair(&w);
    tls_start(tls_client_side(w.client, &target), w.c.conn, SLICE(""));
    for (int i = 0; i < WAIT_TURNS && w.s.got.len == 0; i++)
        loop_turn(w.loop, true);
    for (unsigned i = 0; i < CROWD; i++) {
        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
        ends[i] = (struct end){ .conn = conn_new(w.loop, pair[0], &ops, &ends[i]) };
        tls_start(tls_server_side(w.server), ends[i].conn, SLICE(""));
        fds[i] = pair[1];
    }
    loop_turn(w.loop, false); /* they begin: nothing is there yet */
    for (unsigned i = 0; i < CROWD; i++)
        CU_ASSERT_EQUAL(write(fds[i], w.s.got.data, w.s.got.len), (ssize_t)w.s.got.len);
    hang_up(&w);
    for (unsigned before = 0, now; before < CROWD && turns_taken < WAIT_TURNS; before = now, turns_taken++) {
        loop_turn(w.loop, true);
        now = answered(fds);
        most = now - before > most ? now - before : most;
    }
    CU_ASSERT_EQUAL(answered(fds), CROWD);
    shake(&w, &target); /* and who comes behind them is served, too */
    check_secured(&w);
    CU_ASSERT_TRUE(most < CROWD); /* 60 signatures by RSA take 15 ms at the least */
    CU_ASSERT_TRUE(turns_taken > 1);
    for (unsigned i = 0; i < CROWD; i++) {
        (void)close(fds[i]);
        conn_free(ends[i].conn);
    }
    finish(&w);
}

/* Clients that begin all at once speak first: none of them is forgotten. */
static void test_crowd_of_clients(void)
{
    static struct end ends[CROWD];
    struct tls_target target = { .sni = NULL };
    int fds[CROWD], pair[2];
    struct world w;

    begin(&w, "a", NULL);
    new_client(&w, NULL);
    for (unsigned i = 0; i < CROWD; i++) {
        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
        ends[i] = (struct end){ .conn = conn_new(w.loop, pair[0], &ops, &ends[i]) };
        tls_start(tls_client_side(w.client, &target), ends[i].conn, SLICE(""));
        fds[i] = pair[1];
    }
    for (int i = 0; i < WAIT_TURNS && answered(fds) < CROWD; i++)
        loop_turn(w.loop, true);
    CU_ASSERT_EQUAL(answered(fds), CROWD);
    for (unsigned i = 0; i < CROWD; i++) {
        (void)close(fds[i]);
        conn_free(ends[i].conn);
    }
    finish(&w);
}

static void test_old_version_is_refused(void)
{
    struct tls_server_options so = { .version_min = TLS_VERSION_1_3 };
    struct world w;

    begin(&w, "a", NULL);
    new_server(&w, &so);
    new_client(&w, NULL);
    SSL_CTX_set_max_proto_version(w.client->context, TLS1_2_VERSION);
    shake(&w, NULL);
    CU_ASSERT_EQUAL(w.s.secured + w.c.secured, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.s.reason, "unsupported protocol"));
    finish(&w);
    begin(&w, "a", NULL);
    new_server(&w, NULL);
    new_client(&w, NULL);
    SSL_CTX_set_max_proto_version(w.client->context, TLS1_2_VERSION);
    shake(&w, NULL);
    check_secured(&w);
    CU_ASSERT_STRING_EQUAL(tls_version(tls_of(w.s.conn)), "TLSv1.2");
    check_talk(&w);
    finish(&w);
}

static void test_files(void)
{
    static const struct {
        const char *cert, *key, *error;
    } rows[] = {
        { "a.pem", "b.key", "b.key: is not the key of the certificate" },
        { "a.pem", "locked.key", "locked.key: is encrypted" },
        { "a.pem", "gone.key", "gone.key: No such file or directory" },
        { "gone.pem", "a.key", "gone.pem: No such file or directory" },
        { "a.key", "a.key", "a.key: holds no certificate" },
        { "a.pem", "a.pem", "a.pem: holds no private key" },
        { "a.pem", ".", "/.: is no file" },
    };
    char error[TLS_ERROR_OCTETS];
    int64_t from, until;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        error[0] = '\0';
        CU_ASSERT_PTR_NULL(tls_certificate_load(path(rows[i].cert), path(rows[i].key), NULL, error));
        if (strstr(error, rows[i].error) == NULL)
            printf("row %zu: %s\n", i, error);
        CU_ASSERT_PTR_NOT_NULL(strstr(error, rows[i].error));
    }
    struct tls_certificate *c = load("b");
    tls_certificate_validity(c, &from, &until);
    CU_ASSERT_EQUAL(until - from, 30 * 86400);
    CU_ASSERT_TRUE(tls_certificate_covers(c, SLICE("x.b.example")));
    CU_ASSERT_FALSE(tls_certificate_covers(c, SLICE("a.example")));
    tls_certificate_free(c);
    c = load("self"); /* its CN, as it has no other names */
    CU_ASSERT_TRUE(tls_certificate_covers(c, SLICE("self.example")));
    tls_certificate_free(c);
    tls_certificate_free(NULL);
}

static void test_bad_settings(void)
{
    struct tls_client_options co = { .version_min = TLS_VERSION_1_2, .ca_file = path("a.key") };
    char error[TLS_ERROR_OCTETS] = "";
    struct world w;

    CU_ASSERT_PTR_NULL(tls_client_new(&co, error));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "a.key"));
    begin(&w, "a", NULL);
    struct tls_server_options so = { .certificates = w.certificates, .count = 1, .version_min = TLS_VERSION_1_2,
                                     .ciphers = "NOSUCH" };
    CU_ASSERT_PTR_NULL(tls_server_new(&so, error));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "NOSUCH"));
    so.ciphers = NULL;
    so.ask_client = true;
    so.client_ca = path("gone.pem");
    CU_ASSERT_PTR_NULL(tls_server_new(&so, error));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "gone.pem"));
    finish(&w);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("tls", set_up, tear_down);
    CU_add_test(suite, "a handshake", test_handshake);
    CU_add_test(suite, "much, past a pause, and octet by octet", test_bulk);
    CU_add_test(suite, "begun behind words in the clear", test_start_behind_words);
    CU_add_test(suite, "begun with octets read before", test_ahead);
    CU_add_test(suite, "which certificate", test_names);
    CU_add_test(suite, "names", test_name_rows);
    CU_add_test(suite, "whom the client believes", test_verify);
    CU_add_test(suite, "resumption", test_resumption);
    CU_add_test(suite, "resumption by rotating keys", test_resumption_by_rotating_keys);
    CU_add_test(suite, "no resumption", test_no_resumption);
    CU_add_test(suite, "resumption by authority", test_resumption_by_authority);
    CU_add_test(suite, "resumption of a verified client", test_resumption_of_a_verified_client);
    CU_add_test(suite, "resumption of a verified server", test_resumption_of_a_verified_server);
    CU_add_test(suite, "channel bindings", test_bindings);
    CU_add_test(suite, "a client without a certificate", test_client_without_certificate);
    CU_add_test(suite, "no TLS at all", test_garbage);
    CU_add_test(suite, "a hang-up at any turn", test_hang_up_at_any_turn);
    CU_add_test(suite, "a crowd of hellos", test_crowd);
    CU_add_test(suite, "a crowd of clients", test_crowd_of_clients);
    CU_add_test(suite, "versions", test_old_version_is_refused);
    CU_add_test(suite, "files", test_files);
    CU_add_test(suite, "bad settings", test_bad_settings);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
