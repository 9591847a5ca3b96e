/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_smtp_tls.c - what a session knows of TLS (RFC 3207, RFC 8314): when STARTTLS may come, what is
 * forgotten behind it, and that no octet sent in the clear is a command under TLS.
 */
#include <CUnit/Basic.h>

#include "smtp_peer.h"

static bool no_tls; /* not for the moment: 454 */

static bool tls_ready(void *owner)
{
    (void)owner;
    return !no_tls;
}

static void begin_tls(void *owner)
{
    buf_add_cstr(&((struct peer *)owner)->asked, "handshake\n");
}

static void peer_init_tls(struct peer *p, enum smtp_tls tls)
{
    static struct smtp_ops ops;

    ops = peer_ops;
    ops.tls_ready = tls_ready;
    ops.begin_tls = begin_tls;
    no_tls = false;
    *p = (struct peer){ 0 };
    p->session = smtp_session_new(&(struct smtp_session_options){
        .hostname = "mx.example.net", .limits = &peer_limits, .tls = tls, .ops = &ops, .owner = p });
}

/* Feeds `in` in pieces of `step` octets; a handshake succeeds at once. */
static void converse(struct peer *p, struct slice in, size_t step)
{
    smtp_session_start(p->session);
    if (slice_equal(slice_cstr(smtp_session_state_name(p->session)), SLICE("tls")))
        smtp_session_secured(p->session);
    step = step != 0 ? step : in.len;
    for (size_t i = 0; i < in.len && !p->closed; i += step) {
        smtp_session_input(p->session, slice_head(slice_from(in, i), step));
        if (!p->closed && slice_equal(slice_cstr(smtp_session_state_name(p->session)), SLICE("tls")))
            smtp_session_secured(p->session);
    }
}

struct row {
    const char *name;
    enum smtp_tls tls;
    struct slice in;
    const char *codes;
};

/* Octet by octet: nothing stands behind STARTTLS when it is run. */
static const struct row rows[] = {
    { "off: no such command", SMTP_TLS_OFF, SLICE(HELLO "STARTTLS\r\nSTARTTLS x\r\n"), "220;250;502 5.5.1;502 5.5.1;" },
    { "before EHLO", SMTP_TLS_OFFERED, SLICE("STARTTLS\r\n"), "220;503 5.5.1;" },
    { "behind EHLO", SMTP_TLS_OFFERED, SLICE(HELLO "STARTTLS\r\nNOOP\r\n"), "220;250;220 2.0.0;250 2.0.0;" },
    { "case does not matter, nor do blanks at the end", SMTP_TLS_OFFERED, SLICE(HELLO "starttls \r\n"),
      "220;250;220 2.0.0;" },
    { "no parameters", SMTP_TLS_OFFERED, SLICE(HELLO "STARTTLS now\r\nNOOP\r\n"), "220;250;501 5.5.4;250 2.0.0;" },
    { "not inside a transaction", SMTP_TLS_OFFERED, SLICE(BEGIN "STARTTLS\r\nRSET\r\nSTARTTLS\r\n"),
      "220;250;250 2.1.0;250 2.1.5;503 5.5.1;250 2.0.0;220 2.0.0;" },
    { "not twice", SMTP_TLS_OFFERED, SLICE(HELLO "STARTTLS\r\n" HELLO "STARTTLS\r\n"),
      "220;250;220 2.0.0;250;503 5.5.1;" },
    { "a new greeting is needed", SMTP_TLS_OFFERED, SLICE(HELLO "STARTTLS\r\nMAIL FROM:<>\r\n"),
      "220;250;220 2.0.0;503 5.5.1;" },
    { "required: 530 to all but EHLO, NOOP, STARTTLS and QUIT", SMTP_TLS_REQUIRED,
      SLICE("NOOP\r\nHELO x\r\n" HELLO "AUTH PLAIN AGEAYg==\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nRSET\r\nVRFY x\r\nHELP\r\nBDAT 0\r\nQUIT\r\n"),
      "220;250 2.0.0;530 5.7.0;250;530 5.7.0;530 5.7.0;530 5.7.0;530 5.7.0;530 5.7.0;530 5.7.0;530 5.7.0;530 5.7.0;221 2.0.0;" },
    { "required, and fulfilled", SMTP_TLS_REQUIRED, SLICE(HELLO "STARTTLS\r\n" BEGIN "QUIT\r\n"),
      "220;250;220 2.0.0;250;250 2.1.0;250 2.1.5;221 2.0.0;" },
    { "implicit: it is on already", SMTP_TLS_IMPLICIT, SLICE(HELLO "STARTTLS\r\nMAIL FROM:<>\r\n"),
      "220;250;503 5.5.1;250 2.1.0;" },
};

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf codes = BUF_INIT;
        struct peer p;
        peer_init_tls(&p, rows[i].tls);
        converse(&p, rows[i].in, 1);
        peer_summarize(buf_slice(&p.said), &codes);
        if (strcmp(codes.data, rows[i].codes) != 0)
            printf("%s: %s\n", rows[i].name, codes.data);
        CU_ASSERT_STRING_EQUAL(codes.data, rows[i].codes);
        peer_fini(&p);
    }
}

static bool offers(struct peer *p, const char *line)
{
    buf_clear(&p->said);
    smtp_session_input(p->session, slice_cstr(line));
    buf_add_char(&p->said, '\0');
    return strstr(p->said.data, "STARTTLS") != NULL;
}

static void test_offered(void)
{
    for (enum smtp_tls tls = SMTP_TLS_OFF; tls <= SMTP_TLS_IMPLICIT; tls++) {
        struct peer p;
        peer_init_tls(&p, tls);
        converse(&p, SLICE("NOOP\r\n"), 0);
        CU_ASSERT_EQUAL(offers(&p, HELLO), tls == SMTP_TLS_OFFERED || tls == SMTP_TLS_REQUIRED);
        p.withhold = "STARTTLS";
        CU_ASSERT_FALSE(offers(&p, HELLO));
        if (tls == SMTP_TLS_OFFERED) {
            CU_ASSERT_FALSE(offers(&p, "STARTTLS\r\n"));
            peer_check_code(&p, "withheld", 502);
            p.withhold = NULL;
            CU_ASSERT_TRUE(offers(&p, HELLO));
            smtp_session_input(p.session, SLICE("STARTTLS\r\n"));
            smtp_session_secured(p.session);
            CU_ASSERT_FALSE(offers(&p, HELLO));
        }
        peer_fini(&p);
    }
}

/* CVE-2011-0411: what is pipelined behind STARTTLS is neither kept for the time under TLS nor lost. */
static void test_pipelined_behind(void)
{
    static const struct slice in = SLICE(HELLO "STARTTLS\r\nRSET\r\nMAIL FROM:<evil@example.com>\r\n");

    for (unsigned deferred = 0; deferred < 2; deferred++) {
        CLEANUP_BUF struct buf codes = BUF_INIT;
        struct peer p;
        peer_init_tls(&p, SMTP_TLS_OFFERED);
        p.deferred = deferred; /* EHLO is answered late: all behind it is held */
        smtp_session_start(p.session);
        while (smtp_session_waiting(p.session))
            peer_answer(&p);
        smtp_session_input(p.session, in);
        while (smtp_session_waiting(p.session))
            peer_answer(&p);
        peer_summarize(buf_slice(&p.said), &codes);
        CU_ASSERT_STRING_EQUAL(codes.data, "220;250;503 5.5.1;250 2.0.0;250 2.1.0;");
        CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), "mail"); /* in the clear, as it came */
        buf_add_char(&p.asked, '\0');
        CU_ASSERT_PTR_NULL(strstr(p.asked.data, "handshake"));
        peer_fini(&p);
    }
    /* One octet behind it is enough, half a command or nothing but a line end. */
    static const struct slice one[] = { SLICE(HELLO "STARTTLS\r\nM"), SLICE(HELLO "STARTTLS\r\n\r\n"),
                                        SLICE(HELLO "STARTTLS\r\n\x16") };
    for (size_t i = 0; i < sizeof(one) / sizeof(one[0]); i++) {
        struct peer p;
        peer_init_tls(&p, SMTP_TLS_OFFERED);
        smtp_session_start(p.session);
        smtp_session_input(p.session, one[i]);
        buf_add_char(&p.asked, '\0');
        CU_ASSERT_PTR_NULL(strstr(p.asked.data, "handshake"));
        CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), "ready");
        peer_fini(&p);
    }
}

static void test_not_now(void)
{
    struct peer p;

    peer_init_tls(&p, SMTP_TLS_OFFERED);
    converse(&p, SLICE(HELLO), 0);
    no_tls = true;
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE("STARTTLS\r\n"));
    CU_ASSERT_TRUE(slice_equal(buf_slice(&p.said), SLICE("454 4.7.0 TLS is not available for the moment\r\n")));
    smtp_session_input(p.session, SLICE("MAIL FROM:<>\r\n"));
    CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), "mail");
    peer_fini(&p);
}

/* The banner comes behind the handshake; whom on_connect refuses hears nothing. */
static void test_implicit(void)
{
    static const struct smtp_answer refuse = { 550, "5.7.1", SLICE("No") };
    struct peer p;

    peer_init_tls(&p, SMTP_TLS_IMPLICIT);
    smtp_session_start(p.session);
    CU_ASSERT_EQUAL(p.said.len, 0);
    CU_ASSERT_EQUAL(p.phase, SMTP_PHASE_TLS);
    smtp_session_secured(p.session);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&p.said), SLICE("220 mx.example.net ESMTP Tern\r\n")));
    CU_ASSERT_EQUAL(p.phase, SMTP_PHASE_COMMAND);
    peer_fini(&p);
    for (unsigned i = 0; i < 2; i++) {
        peer_init_tls(&p, SMTP_TLS_IMPLICIT);
        p.connect = i == 0 ? &refuse : NULL;
        no_tls = i == 1;
        smtp_session_start(p.session);
        CU_ASSERT_EQUAL(p.said.len, 0);
        CU_ASSERT_TRUE(p.closed);
        peer_fini(&p);
    }
}

/* An end in the midst of a handshake says nothing: it would be in the clear. */
static void test_ended_during_handshake(void)
{
    struct peer p;

    peer_init_tls(&p, SMTP_TLS_OFFERED);
    smtp_session_start(p.session);
    smtp_session_input(p.session, SLICE(HELLO "STARTTLS\r\n"));
    CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), "tls");
    CU_ASSERT_EQUAL(p.phase, SMTP_PHASE_TLS);
    buf_clear(&p.said);
    smtp_session_end(p.session, 421, "4.3.2", "Service restarting");
    CU_ASSERT_EQUAL(p.said.len, 0);
    CU_ASSERT_TRUE(p.closed);
    smtp_session_secured(p.session); /* too late: nothing happens */
    CU_ASSERT_EQUAL(p.said.len, 0);
    peer_fini(&p);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("smtp tls", NULL, NULL);
    CU_add_test(suite, "when STARTTLS may come", test_rows);
    CU_add_test(suite, "when it is offered", test_offered);
    CU_add_test(suite, "pipelined behind STARTTLS", test_pipelined_behind);
    CU_add_test(suite, "not now", test_not_now);
    CU_add_test(suite, "implicit", test_implicit);
    CU_add_test(suite, "ended during a handshake", test_ended_during_handshake);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
