/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_header_changes.c - what a mail server is told of edits leads to the header that the edits made: random edits in
 * several steps, carried out by a model of a server that counts removed fields and by one that does not.
 */
#include <CUnit/Basic.h>

#include <stdio.h>
#include <stdlib.h>

#include "module/header_edit.h"

#define FIELDS_MAX 400

struct model {
    char fields[FIELDS_MAX][64]; /* "Name: value"; empty: removed, and still counted if counts_removed */
    char names[FIELDS_MAX][16];
    unsigned count;
    bool counts_removed;
};

static void insert(struct model *m, unsigned at, struct slice name, struct slice value)
{
    for (unsigned i = m->count++; i > at; i--) {
        memcpy(m->fields[i], m->fields[i - 1], sizeof(m->fields[0]));
        memcpy(m->names[i], m->names[i - 1], sizeof(m->names[0]));
    }
    (void)snprintf(m->names[at], sizeof(m->names[0]), "%.*s", (int)name.len, name.ptr);
    (void)snprintf(m->fields[at], sizeof(m->fields[0]), "%.*s: %.*s", (int)name.len, name.ptr, (int)value.len, value.ptr);
}

static void carry_out(struct model *m, const struct header_change *c)
{
    unsigned nth = 0;

    if (c->kind == HEADER_ON_TOP || c->kind == HEADER_AT_END) {
        insert(m, c->kind == HEADER_ON_TOP ? 0 : m->count, c->name, c->value);
        return;
    }
    for (unsigned i = 0; i < m->count; i++) {
        if (!slice_equal_nocase(slice_cstr(m->names[i]), c->name) || (m->fields[i][0] == '\0' && !m->counts_removed))
            continue;
        if (nth++ != c->nth)
            continue;
        m->fields[i][0] = '\0';
        if (c->kind == HEADER_CHANGED)
            (void)snprintf(m->fields[i], sizeof(m->fields[0]), "%.*s: %.*s", (int)c->name.len, c->name.ptr,
                           (int)c->value.len, c->value.ptr);
        return;
    }
    CU_FAIL("there is no such field");
}

static void print(const struct model *m, struct buf *out)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->fields[i][0] != '\0')
            buf_printf(out, "%s\r\n", m->fields[i]);
}

static const char *const names[] = { "A", "B", "a", "Subject" };

static void add_random_edits(const struct journal_writer *w, unsigned *serial)
{
    for (int n = rand() % 5; n > 0; n--) {
        char value[16];
        struct slice name = slice_cstr(names[rand() % 4]);
        enum journal_kind kind = JOURNAL_HEADER_PREPEND + (unsigned)(rand() % 4);
        (void)snprintf(value, sizeof(value), "n%u", (*serial)++);
        CU_ASSERT_EQUAL(journal_add(w, kind, (unsigned)rand() % 4, name,
                                    kind == JOURNAL_HEADER_REMOVE ? SLICE("") : slice_cstr(value)), 0);
    }
}

static struct message_head *edit_at_random(struct message_head *head, unsigned *serial)
{
    for (int steps = rand() % 4; steps > 0; steps--) {
        struct journal j = { 0 };
        struct message_head *edited;
        struct arena arena;

        arena_init(&arena);
        struct journal_writer w = { &j, &arena, TERN_HOOK_MESSAGE, NULL, NULL };
        add_random_edits(&w, serial);
        CU_ASSERT_EQUAL(message_head_edit(head, &j, &edited), 0);
        message_head_unref(head);
        head = edited;
        arena_fini(&arena);
    }
    return head;
}

static void compare(struct message_head *head, struct slice original, struct model *m)
{
    CLEANUP_BUF struct buf want = BUF_INIT, got = BUF_INIT;
    struct header_change *changes = NULL;
    struct arena arena;
    uint64_t offset;

    arena_init(&arena);
    int n = message_head_changes(head, &arena, &changes);
    CU_ASSERT(n >= 0);
    for (int i = 0; i < n; i++)
        carry_out(m, &changes[i]);
    print(m, &got);
    buf_add(&want, message_head_octets(head, &offset));
    buf_add(&want, slice_from(original, (size_t)offset));
    CU_ASSERT(slice_equal(buf_slice(&want), buf_slice(&got)));
    arena_fini(&arena);
}

static void test_random_edits(void)
{
    srand(1);
    for (unsigned round = 0; round < 4000; round++) {
        struct model m = { .counts_removed = round % 2 == 0 };
        CLEANUP_BUF struct buf original = BUF_INIT;
        unsigned serial = 0;

        for (int n = rand() % 6; n > 0; n--) {
            char value[16];
            (void)snprintf(value, sizeof(value), "o%d", rand() % 3);
            insert(&m, m.count, slice_cstr(names[rand() % 4]), slice_cstr(value));
        }
        print(&m, &original);
        struct body *body = body_new(-1);
        CU_ASSERT_EQUAL(body_append(body, buf_slice(&original)), 0);
        CU_ASSERT_EQUAL(body_append(body, SLICE("\r\nbody\r\n")), 0);
        struct message_head *head = edit_at_random(message_head_new(body, SLICE("")), &serial);
        compare(head, buf_slice(&original), &m);
        message_head_unref(head);
        body_unref(body);
    }
}

static struct message_head *edit(struct message_head *head, const char *removed, unsigned added)
{
    struct journal j = { 0 };
    struct message_head *edited;
    struct arena arena;

    arena_init(&arena);
    struct journal_writer w = { &j, &arena, TERN_HOOK_MESSAGE, NULL, NULL };
    CU_ASSERT_EQUAL(journal_add(&w, JOURNAL_HEADER_REMOVE, 0, slice_cstr(removed), SLICE("")), 0);
    while (added-- > 0)
        CU_ASSERT_EQUAL(journal_add(&w, JOURNAL_HEADER_PREPEND, 0, SLICE("Ours"), SLICE("x")), 0);
    CU_ASSERT_EQUAL(message_head_edit(head, &j, &edited), 0);
    arena_fini(&arena);
    message_head_unref(head);
    return edited;
}

/* What steps add does not push the last field of a header that is as long as it may be out of their sight. */
static void test_as_many_as_may_come(void)
{
    CLEANUP_BUF struct buf original = BUF_INIT;
    struct header_change *changes = NULL;
    struct arena arena;
    unsigned removed = 0;

    buf_add_cstr(&original, "First: x\r\n");
    for (unsigned i = 2; i < MESSAGE_FIELDS_MAX; i++)
        buf_add_cstr(&original, "A: 1\r\n");
    buf_add_cstr(&original, "Last: x\r\n\r\nbody\r\n");
    struct body *body = body_new(-1);
    CU_ASSERT_EQUAL(body_append(body, buf_slice(&original)), 0);
    struct message_head *head = edit(message_head_new(body, SLICE("Received: x\r\n")), "First", 2);
    CU_ASSERT_EQUAL(message_head_count(head), MESSAGE_FIELDS_MAX + 2);
    CU_ASSERT_PTR_NOT_NULL(message_head_find(head, SLICE("Last"), 0));
    head = edit(head, "Last", 1);
    CU_ASSERT_EQUAL(message_head_count(head), MESSAGE_FIELDS_MAX + 2);
    CU_ASSERT_PTR_NULL(message_head_find(head, SLICE("Last"), 0));
    arena_init(&arena);
    int n = message_head_changes(head, &arena, &changes);
    for (int i = 0; i < n; i++)
        removed += changes[i].kind == HEADER_REMOVED;
    CU_ASSERT_EQUAL(removed, 2);
    arena_fini(&arena);
    message_head_unref(head);
    body_unref(body);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("header changes", NULL, NULL);
    CU_add_test(suite, "random edits", test_random_edits);
    CU_add_test(suite, "as many as may come", test_as_many_as_may_come);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
