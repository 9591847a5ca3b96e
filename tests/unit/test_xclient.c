/* SPDX-License-Identifier: Apache-2.0 */
/* test_xclient.c - the attributes of XCLIENT and XFORWARD: xtext, each attribute, bounds. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "smtp/xclient.h"

static void add_address(struct buf *out, const char *name, const tern_address *a)
{
    buf_printf(out, " %s%u:", name, a->family);
    for (unsigned i = 0; i < (a->family == 6 ? 16u : a->family); i++)
        buf_printf(out, "%02x", a->octets[i]);
    buf_printf(out, "#%u", a->port);
}

static void show(const struct smtp_xattrs *x, bool read, const struct smtp_xclient *c, struct buf *out)
{
    for (unsigned i = 0; i < SMTP_XATTR_COUNT; i++)
        if ((x->given & 1u << i) != 0)
            buf_printf(out, "%s=%s%s ", smtp_xattr_name((enum smtp_xattr)i), x->text[i].ptr,
                       (x->unavailable & 1u << i) != 0 ? "-" : "");
    if (!read) {
        buf_add_cstr(out, "bad");
        return;
    }
    buf_printf(out, "name=%s%s", c->name.ptr, c->name_forged ? "?" : "");
    add_address(out, "c", &c->client);
    add_address(out, "l", &c->local);
}

/* NULL: bad syntax. */
static const struct {
    const char *name, *in, *want;
} rows[] = {
    { "an address", "ADDR=192.0.2.1", "ADDR=192.0.2.1 name= c4:c0000201#0 l0:#0" },
    { "IPv6", "addr=IPV6:2001:db8::1 PORT=65535",
      "ADDR=IPV6:2001:db8::1 PORT=65535 name= c6:20010db8000000000000000000000001#65535 l0:#0" },
    { "IPv6 without its prefix", "ADDR=::1", "ADDR=::1 name= c6:00000000000000000000000000000001#0 l0:#0" },
    { "a mapped address is IPv4", "ADDR=ipv6:::ffff:192.0.2.1", "ADDR=ipv6:::ffff:192.0.2.1 name= c4:c0000201#0 l0:#0" },
    { "unavailable", "ADDR=[unavailable] NAME=[TEMPUNAVAIL] PORT=[UNAVAILABLE] PROTO=[UNAVAILABLE]",
      "NAME=- ADDR=- PORT=- PROTO=- name= c0:#0 l0:#0" },
    { "all, and blanks", "  NAME=a.b   REVERSE_NAME=c PROTO=esmtp HELO=h LOGIN=u DESTADDR=127.0.0.1 DESTPORT=25 ",
      "NAME=a.b PROTO=esmtp HELO=h LOGIN=u DESTADDR=127.0.0.1 DESTPORT=25 REVERSE_NAME=c name=a.b c0:#0 l4:7f000001#25" },
    { "the reverse name only where there is no other", "NAME=[UNAVAILABLE] REVERSE_NAME=c",
      "NAME=- REVERSE_NAME=c name=c? c0:#0 l0:#0" },
    { "xtext", "LOGIN=a+2Bb+3Dc+40d", "LOGIN=a+b=c@d name= c0:#0 l0:#0" },
    { "a '=' in a value is no xtext", "LOGIN=a=b", NULL },
    { "UTF-8 in a login", "LOGIN=b+C3+BCcher", "LOGIN=b\303\274cher name= c0:#0 l0:#0" },
    { "not in a name", "NAME=b+C3+BCcher", NULL },
    { "broken UTF-8", "LOGIN=b+C3cher", NULL },
    { "nothing", "", NULL },
    { "no value", "NAME=", NULL },
    { "no '='", "NAME", NULL },
    { "no name", "=x", NULL },
    { "twice", "NAME=a NAME=b", NULL },
    { "unknown", "COLOUR=red", NULL },
    { "of XFORWARD", "IDENT=x", NULL },
    { "a lone plus", "NAME=a+", NULL },
    { "half a pair", "NAME=a+4", NULL },
    { "small letters in hexadecimal", "NAME=a+4a", NULL },
    { "CR LF", "NAME=a+0D+0A250", NULL },
    { "NUL", "LOGIN=root+00x", NULL },
    { "a blank", "HELO=a+20b", NULL },
    { "an address that is none", "ADDR=192.0.2", "ADDR=192.0.2 bad" },
    { "an address that is a name", "ADDR=localhost", "ADDR=localhost bad" },
    { "NAME and brackets", "ADDR=[192.0.2.1]", "ADDR=[192.0.2.1] bad" },
    { "a port too high", "PORT=65536", "PORT=65536 bad" },
    { "a port that is none", "DESTPORT=smtp", "DESTPORT=smtp bad" },
    { "a protocol that is none", "PROTO=LMTP", "PROTO=LMTP bad" },
};

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct smtp_xattrs x = { .given = 4242 };
        struct smtp_xclient c;
        struct buf got = BUF_INIT;
        struct arena memory;

        arena_init(&memory);
        if (smtp_xattrs_parse(slice_cstr(rows[i].in), SMTP_XCLIENT_ATTRS, &memory, &x))
            show(&x, smtp_xclient_read(&x, &c), &c, &got);
        else
            CU_ASSERT_EQUAL(x.given, 4242); /* untouched */
        buf_add_char(&got, '\0');
        const char *want = rows[i].want != NULL ? rows[i].want : "";
        if (strcmp(got.data, want) != 0)
            printf("%s: %s\n", rows[i].name, got.data);
        CU_ASSERT_STRING_EQUAL(got.data, want);
        buf_free(&got);
        arena_fini(&memory);
    }
}

static void test_xforward(void)
{
    struct smtp_xattrs x;
    struct arena memory;

    arena_init(&memory);
    CU_ASSERT_TRUE(smtp_xattrs_parse(SLICE("NAME=a ADDR=not/an/ip IDENT=X1 SOURCE=REMOTE"), SMTP_XFORWARD_ATTRS, &memory, &x));
    CU_ASSERT_STRING_EQUAL(x.text[SMTP_XATTR_IDENT].ptr, "X1");
    CU_ASSERT_FALSE(smtp_xattrs_parse(SLICE("NAME=a LOGIN=x"), SMTP_XFORWARD_ATTRS, &memory, &x));
    arena_fini(&memory);
}

static void test_bounds(void)
{
    char text[3 * SMTP_XATTR_OCTETS_MAX + 16] = "NAME=";
    struct smtp_xattrs x;
    struct arena memory;

    arena_init(&memory);
    memset(text + 5, 'a', SMTP_XATTR_OCTETS_MAX);
    CU_ASSERT_TRUE(smtp_xattrs_parse(slice_make(text, 5 + SMTP_XATTR_OCTETS_MAX), SMTP_XCLIENT_ATTRS, &memory, &x));
    CU_ASSERT_EQUAL(x.text[SMTP_XATTR_NAME].len, SMTP_XATTR_OCTETS_MAX);
    text[5 + SMTP_XATTR_OCTETS_MAX] = 'a';
    CU_ASSERT_FALSE(smtp_xattrs_parse(slice_make(text, 6 + SMTP_XATTR_OCTETS_MAX), SMTP_XCLIENT_ATTRS, &memory, &x));
    for (unsigned i = 0; i < SMTP_XATTR_OCTETS_MAX; i++)
        memcpy(text + 5 + 3 * i, "+41", 3);
    CU_ASSERT_TRUE(smtp_xattrs_parse(slice_make(text, 5 + 3 * SMTP_XATTR_OCTETS_MAX), SMTP_XCLIENT_ATTRS, &memory, &x));
    arena_fini(&memory);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("xclient", NULL, NULL);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "XFORWARD", test_xforward);
    CU_add_test(suite, "bounds", test_bounds);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
