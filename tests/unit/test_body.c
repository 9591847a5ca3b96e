/* SPDX-License-Identifier: Apache-2.0 */
/* test_body.c - bodies in memory and in files, envelopes there and back. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "state/body.h"
#include "state/envelope.h"

static int folder(void)
{
    return open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static char octet(uint64_t at)
{
    return (char)('a' + at % 19);
}

static void fill(struct body *body, size_t octets, size_t step)
{
    char chunk[200000];

    for (size_t at = 0; at < octets; at += step) {
        size_t n = octets - at < step ? octets - at : step;
        for (size_t i = 0; i < n; i++)
            chunk[i] = octet(at + i);
        CU_ASSERT_EQUAL_FATAL(body_append(body, slice_make(chunk, n)), 0);
    }
}

static void check(const struct body *body, size_t octets)
{
    char chunk[7001];
    uint64_t at = 0;
    int64_t n;
    bool same = true;

    CU_ASSERT_EQUAL(body_octets(body), octets);
    while ((n = body_read(body, at, chunk, sizeof(chunk))) > 0) {
        for (int64_t i = 0; i < n; i++)
            same = same && chunk[i] == octet(at + (uint64_t)i);
        at += (uint64_t)n;
    }
    CU_ASSERT_TRUE(same && n == 0 && at == octets);
}

static void test_sizes(void)
{
    static const struct {
        size_t octets, step;
        bool file;
    } rows[] = {
        { 0, 1, false },
        { 1, 1, false },
        { BODY_MEMORY_MAX, 78, false },
        { BODY_MEMORY_MAX + 1, 78, true },
        { BODY_MEMORY_MAX + 1, 200000, true },
        { 3000000, 65536, true },
        { 3000000, 65537, true },
        { 3000000, 199999, true },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int dir = folder();
        struct body *body = body_new(dir);
        fill(body, rows[i].octets, rows[i].step);
        check(body, rows[i].octets); /* before the end, too, by its owner */
        CU_ASSERT_EQUAL(body_end(body), 0);
        CU_ASSERT_EQUAL(body_end(body), 0);
        CU_ASSERT_EQUAL(body_append(body, SLICE("x")), -EINVAL);
        check(body, rows[i].octets);
        CU_ASSERT_EQUAL(body_file(body) >= 0, rows[i].file);
        CU_ASSERT_EQUAL(body_memory(body).ptr == NULL, rows[i].file);
        body_unref(body_ref(body));
        body_unref(body);
        (void)close(dir);
    }
}

static void test_memory_only(void)
{
    struct body *body = body_new(-1);

    fill(body, 2 * BODY_MEMORY_MAX, 100000);
    check(body, 2 * BODY_MEMORY_MAX);
    CU_ASSERT_EQUAL(body_memory(body).len, 2 * BODY_MEMORY_MAX);
    body_unref(body);
}

/* ---- failing calls ---- */

static int writes_left;

static int fake_open(void *ctx, int dir)
{
    return writes_left < 0 ? -EMFILE : 1000;
}

static ssize_t fake_write(void *ctx, int fd, const void *octets, size_t len, uint64_t offset)
{
    if (writes_left-- <= 0)
        return -ENOSPC;
    return len > 10 ? (ssize_t)(len - len / 3) : (ssize_t)len; /* short */
}

static ssize_t fake_read(void *ctx, int fd, void *buffer, size_t octets, uint64_t offset)
{
    return -EIO;
}

static void fake_close(void *ctx, int fd)
{
    ++*(int *)ctx;
}

static void test_failures(void)
{
    int closed = 0;
    const struct body_io io = { fake_open, fake_write, fake_read, fake_close, &closed };

    for (int left = -1; left < 60; left++) {
        writes_left = left;
        struct body *body = body_new_on(&io, 3);
        char chunk[50000] = "";
        int r = 0;
        for (unsigned i = 0; i < 40 && r == 0; i++)
            r = body_append(body, slice_make(chunk, sizeof(chunk)));
        CU_ASSERT_EQUAL(r, left < 0 ? -EMFILE : -ENOSPC);
        CU_ASSERT_EQUAL(body_append(body, SLICE("x")), r);
        CU_ASSERT_EQUAL(body_end(body), r);
        CU_ASSERT_EQUAL(body_error(body), r);
        CU_ASSERT_EQUAL(body_read(body, 0, chunk, 1), r);
        body_unref(body);
    }
    CU_ASSERT_EQUAL(closed, 60);
}

/* ---- envelopes ---- */

static void test_envelope(void)
{
    const struct slice tags[] = { SLICE("spam"), SLICE("") };
    const struct envelope_var vars[] = { { SLICE("score"), SLICE("4.5") }, { SLICE("n"), SLICE("") } };
    const struct envelope_rcpt rcpts[] = {
        { .address = SLICE("b@example.net"), .original = SLICE("x@example.net"), .orcpt = SLICE("rfc822;b@c"),
          .notify = SLICE("FAILURE"), .class_ = 2, .claimed_by = SLICE("domains"), .tags = tags, .tag_count = 2 },
        { .address = SLICE("c@example.net") },
    };
    const struct envelope e = {
        .origin = SLICE("smtp"), .policy = SLICE("in"), .listener = SLICE("127.0.0.1:25"),
        .client_address = SLICE("192.0.2.1"), .helo = SLICE("h\0x"), .user = SLICE("u"), .body = 1, .smtputf8 = true,
        .sender_original = SLICE("a@b"), .envid = SLICE("e"), .ret = SLICE("HDRS"), .arrival_ms = 1795000000000,
        .hold_reason = SLICE("why"), .hold_step = SLICE("step"), .tags = tags, .tag_count = 2, .vars = vars,
        .var_count = 2, .rcpts = rcpts, .rcpt_count = 2,
    };
    struct envelope got;
    struct buf out = BUF_INIT;
    struct arena arena;

    arena_init(&arena);
    envelope_encode(&e, &out);
    CU_ASSERT_EQUAL_FATAL(envelope_decode(buf_slice(&out), &arena, &got), 0);
    CU_ASSERT_EQUAL(got.rcpt_count, 2);
    CU_ASSERT_TRUE(slice_equal(got.helo, e.helo) && slice_equal(got.hold_step, e.hold_step));
    CU_ASSERT_EQUAL(got.sender.len, 0);
    CU_ASSERT_TRUE(got.smtputf8 && got.body == 1 && got.arrival_ms == e.arrival_ms);
    CU_ASSERT_TRUE(got.tag_count == 2 && got.tags[1].len == 0);
    CU_ASSERT_TRUE(slice_equal(got.vars[0].value, SLICE("4.5")) && slice_equal(got.vars[1].name, SLICE("n")));
    CU_ASSERT_TRUE(slice_equal(got.rcpts[0].claimed_by, SLICE("domains")) && got.rcpts[0].class_ == 2);
    CU_ASSERT_TRUE(got.rcpts[0].tag_count == 2 && got.rcpts[1].tag_count == 0);
    /* A prefix either ends between two fields or is broken; it never reads on. */
    for (size_t len = 0; len < out.len; len++) {
        int r = envelope_decode(slice_make(out.data, len), &arena, &got);
        CU_ASSERT_TRUE(r == 0 || r == -EBADMSG);
    }
    buf_add(&out, slice_make("\xff\x7f\x02\0\0\0hi", 8)); /* of a later version */
    CU_ASSERT_EQUAL(envelope_decode(buf_slice(&out), &arena, &got), 0);
    buf_free(&out);
    arena_fini(&arena);
}

static void test_envelope_bounds(void)
{
    struct buf out = BUF_INIT;
    struct envelope got;
    struct arena arena;

    arena_init(&arena);
    for (unsigned i = 0; i < ENVELOPE_RCPTS_MAX; i++)
        buf_add(&out, slice_make("\x12\0\0\0\0\0", 6));
    CU_ASSERT_EQUAL(envelope_decode(buf_slice(&out), &arena, &got), 0);
    CU_ASSERT_EQUAL(got.rcpt_count, ENVELOPE_RCPTS_MAX);
    buf_add(&out, slice_make("\x12\0\0\0\0\0", 6));
    CU_ASSERT_EQUAL(envelope_decode(buf_slice(&out), &arena, &got), -EBADMSG);
    buf_clear(&out);
    memset(buf_reserve(&out, ENVELOPE_OCTETS_MAX + 1), 0, ENVELOPE_OCTETS_MAX + 1);
    uint32_t len = ENVELOPE_OCTETS_MAX - 6;
    memcpy(out.data, "\xff\x7f", 2);
    memcpy(out.data + 2, &len, 4);
    out.len = ENVELOPE_OCTETS_MAX;
    CU_ASSERT_EQUAL(envelope_decode(buf_slice(&out), &arena, &got), 0);
    len++;
    memcpy(out.data + 2, &len, 4);
    out.len++;
    CU_ASSERT_EQUAL(envelope_decode(buf_slice(&out), &arena, &got), -EBADMSG);
    buf_free(&out);
    arena_fini(&arena);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("body and envelope", NULL, NULL);
    CU_ADD_TEST(suite, test_sizes);
    CU_ADD_TEST(suite, test_memory_only);
    CU_ADD_TEST(suite, test_failures);
    CU_ADD_TEST(suite, test_envelope);
    CU_ADD_TEST(suite, test_envelope_bounds);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
