/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dkim_octets.c - what is read many octets at a time is what one that goes octet by octet finds: canonical forms beside
 * those written down here as RFC 6376 3.4 says them, base64 beside libsodium's. Random inputs, made of what matters.
 */
#include <CUnit/Basic.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lib/dkim.h>

#include "base/buf.h"

#define ROUNDS 20000

static tern_str random_text(const char *alphabet, char *out, size_t max)
{
    size_t len = (size_t)rand() % (max + 1), letters = strlen(alphabet);

    for (size_t i = 0; i < len; i++)
        out[i] = alphabet[(size_t)rand() % letters];
    return dkim_str(out, len);
}

static bool is_line_end(tern_str s, size_t i)
{
    return i + 1 < s.len && s.ptr[i] == '\r' && s.ptr[i + 1] == '\n';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void collect(void *arg, const char *octets, size_t count)
{
    buf_add(arg, slice_make(octets, count));
}

/* ---- the slow ones ---- */

/* Line by line; empty ones at the end dropped. */
static void slow_body(tern_str s, bool relaxed, struct buf *out)
{
    size_t ends = 0;

    for (size_t i = 0; i < s.len;) {
        CLEANUP_BUF struct buf line = BUF_INIT;
        for (; i < s.len && !is_line_end(s, i); i++) {
            if (!relaxed || !is_blank(s.ptr[i]))
                buf_add_char(&line, s.ptr[i]);
            else if (line.len == 0 || line.data[line.len - 1] != ' ')
                buf_add_char(&line, ' ');
        }
        if (relaxed && line.len > 0 && line.data[line.len - 1] == ' ')
            buf_cut(&line, line.len - 1);
        if (line.len == 0) {
            ends++;
        } else {
            for (; ends > 0; ends--)
                buf_add_cstr(out, "\r\n");
            buf_add(out, buf_slice(&line));
            ends = 1;
        }
        i += 2;
    }
    if (out->len > 0 || !relaxed)
        buf_add_cstr(out, "\r\n");
}

/* "N: value" without what is left out between `hole` and `hole_end`. */
static void slow_field(tern_str s, size_t hole, size_t hole_end, struct buf *out)
{
    size_t begin;

    buf_add_cstr(out, "n:");
    begin = out->len;
    for (size_t i = 2; i < s.len; i++) {
        if (i >= hole && i < hole_end)
            continue;
        bool next_is_cut = i + 1 >= hole && i + 1 < hole_end;
        if (is_line_end(s, i) && !next_is_cut)
            i++;
        else if (!is_blank(s.ptr[i]))
            buf_add_char(out, s.ptr[i]);
        else if (out->len > begin && out->data[out->len - 1] != ' ')
            buf_add_char(out, ' ');
    }
    if (out->len > begin && out->data[out->len - 1] == ' ')
        buf_cut(out, out->len - 1);
}

/* ---- side by side ---- */

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void test_bodies(void)
{
    static const char *const alphabets[] = { "ab \t\r\n", "abcdefghijklmnopqrstuvwxyz      \r\n", "aaaaaaaaaaaaaaaaaaaa  \r\n\n\t" };
    static struct dkim_body body;
    char text[200];
    unsigned wrong = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        tern_str s = random_text(alphabets[round % 3], text, sizeof(text));
        if (round % 2 == 0) /* lines, rather than CR and LF apart */
            for (size_t i = 0; i + 1 < s.len; i++)
                if (text[i] == '\r')
                    text[i + 1] = '\n';
        for (unsigned relaxed = 0; relaxed < 2; relaxed++) {
            CLEANUP_BUF struct buf got = BUF_INIT, want = BUF_INIT;
            size_t step = 1 + (size_t)rand() % sizeof(text);
            slow_body(s, relaxed != 0, &want);
            dkim_body_init(&body, relaxed != 0, UINT64_MAX, collect, &got);
            for (size_t at = 0; at < s.len; at += step)
                dkim_body_add(&body, s.ptr + at, s.len - at < step ? s.len - at : step);
            dkim_body_end(&body);
            if (!same(&got, &want) && wrong++ == 0)
                fprintf(stderr, "  relaxed %u, by %zu: \"%.*s\"\n", relaxed, step, (int)s.len, s.ptr);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void test_fields(void)
{
    static const char *const alphabets[] = { "ab \t\r\n", "abcdefghijklmnopqrstuvwxyz      ", "aaaaaaaaaaaaaaaaaaaaaaaa  \r\n\t" };
    char text[200] = "N:";
    unsigned wrong = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        CLEANUP_BUF struct buf got = BUF_INIT, want = BUF_INIT;
        tern_str s = dkim_str(text, 2 + random_text(alphabets[round % 3], text + 2, sizeof(text) - 2).len);
        while (s.len >= 4 && is_line_end(s, s.len - 2))
            s.len -= 2;
        size_t hole = s.len, hole_end = s.len;
        if (round % 2 == 0 && s.len > 2) {
            hole = 2 + (size_t)rand() % (s.len - 2);
            hole_end = hole + 1 + (size_t)rand() % (s.len - hole);
        }
        slow_field(s, hole, hole_end, &want);
        dkim_canon_signature(s, dkim_str(text + hole, hole_end - hole), true, collect, &got);
        if (!same(&got, &want) && wrong++ == 0)
            fprintf(stderr, "  \"%.*s\" without %zu to %zu\n", (int)s.len, s.ptr, hole, hole_end);
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* Past what is put together before it is passed on: in order, and all of it. */
static void test_long_fields(void)
{
    static char text[20000];
    static struct dkim_field fields[8];
    uint8_t used[8];

    for (size_t len = 4000; len < 4200; len++) {
        for (unsigned relaxed = 0; relaxed < 2; relaxed++) {
            CLEANUP_BUF struct buf got = BUF_INIT, want = BUF_INIT, header = BUF_INIT;
            memset(text, 'x', len);
            buf_printf(&header, "A: %.*s\r\nB: b\r\nC: %.*s\r\n", (int)len, text, (int)len, text);
            buf_printf(&want, relaxed ? "b:b\r\na:%.*s\r\nc:%.*s\r\n" : "B: b\r\nA: %.*s\r\nC: %.*s\r\n", (int)len, text,
                       (int)len, text);
            memset(used, 0, sizeof(used));
            CU_ASSERT_EQUAL_FATAL(dkim_fields_cut(dkim_str(header.data, header.len), fields, 8), 3);
            dkim_canon_headers(fields, 3, TERN_STR("b:a:c"), relaxed != 0, used, collect, &got);
            CU_ASSERT_TRUE(same(&got, &want));
        }
    }
}

static void test_base64(void)
{
    static const char *const alphabets[] = { "AQgw/+9z", "AQgw/+9zAQgw/+9zAQgw/+9zAQgw/+9z \t\r\n", "AQgw= \n", "AB=-_$@`" };
    unsigned wrong = 0, good = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        char text[80];
        uint8_t got[48], want[48];
        size_t room = (size_t)rand() % (sizeof(got) + 1), octets = 0;
        tern_str s = random_text(alphabets[round % 4], text, sizeof(text) - 2);
        for (int pad = rand() % 3; pad > 0; pad--)
            text[s.len++] = '=';
        int n = dkim_base64_decode(s, got, room);
        bool taken = sodium_base642bin(want, room, s.ptr, s.len, " \t\r\n", &octets, NULL, sodium_base64_VARIANT_ORIGINAL) == 0;
        bool alike = taken ? n >= 0 && (size_t)n == octets && memcmp(got, want, octets) == 0 : n < 0;
        if (!alike && wrong++ == 0)
            fprintf(stderr, "  \"%.*s\", room %zu: %d\n", (int)s.len, s.ptr, room, n);
        good += taken;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_TRUE(good > ROUNDS / 50);
    /* libsodium takes any octet beyond ASCII for a "/". */
    for (unsigned c = 0; c < 256; c++) {
        const char text[4] = { 'A', 'A', 'A', (char)c };
        uint8_t out[3];
        bool digit = c < 128 && c != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", (int)c) != NULL;
        CU_ASSERT_EQUAL(dkim_base64_decode(dkim_str(text, 4), out, 3), digit ? 3 : c == '=' ? 2 : -EBADMSG);
    }
}

int main(void)
{
    srand(1);
    if (sodium_init() < 0)
        return 1;
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("octets of DKIM", NULL, NULL);
    CU_add_test(s, "bodies", test_bodies);
    CU_add_test(s, "fields", test_fields);
    CU_add_test(s, "long fields", test_long_fields);
    CU_add_test(s, "base64", test_base64);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
