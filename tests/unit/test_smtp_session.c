/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_smtp_session.c - whole dialogues against a recording owner.
 *
 * Each row is fed in one write, one octet at a time, in threes, and with the answers given late; all
 * must say and ask the same.
 */
#include <CUnit/Basic.h>

#include "smtp_peer.h"

struct dialogue {
    const char *name;
    const char *in;
    const char *codes; /* of the replies, the banner's too: code and enhanced code */
    const char *asked; /* NULL: not looked at */
};

#define HELLO "EHLO client.example\r\n"
#define BEGIN HELLO "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"

static const struct dialogue dialogues[] = {
    { "a mail",
      BEGIN "DATA\r\nSubject: hi\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
      "220;250;250 2.1.0;250 2.1.5;354;250 2.0.0;221 2.0.0;",
      "connect\nehlo client.example\nmail a@example.com|a|example.com size=0 body=0 utf8=0\n"
      "rcpt b@example.org|b|example.org\ndata\nmessage 21\nclose\n" },
};

/* "220 mx..." and so on to "220;250;250 2.1.0;": the last line of each reply. */
static void summarize(struct slice said, struct buf *out)
{
    while (said.len > 0) {
        ptrdiff_t lf = slice_find(said, '\n');
        if (lf < 4)
            break;
        struct slice line = slice_head(said, (size_t)lf - 1);
        said = slice_from(said, (size_t)lf + 1);
        if (line.ptr[3] == '-')
            continue;
        buf_add(out, slice_head(line, 3));
        if (line.len > 9 && line.ptr[5] == '.') {
            struct slice rest = slice_from(line, 4);
            buf_add_char(out, ' ');
            buf_add(out, slice_head(rest, (size_t)slice_find(rest, ' ')));
        }
        buf_add_char(out, ';');
    }
    buf_add_char(out, '\0');
}

static void check_dialogue(const struct dialogue *d, size_t step, bool deferred)
{
    CLEANUP_BUF struct buf codes = BUF_INIT;
    struct peer p;

    peer_init(&p, NULL);
    peer_converse(&p, slice_cstr(d->in), step, deferred);
    summarize(buf_slice(&p.said), &codes);
    if (strcmp(codes.data, d->codes) != 0)
        printf("%s (step %zu): %s\n", d->name, step, codes.data);
    CU_ASSERT_STRING_EQUAL(codes.data, d->codes);
    if (d->asked != NULL && strcmp(p.asked.data, d->asked) != 0)
        printf("%s (step %zu): %s\n", d->name, step, p.asked.data);
    if (d->asked != NULL)
        CU_ASSERT_STRING_EQUAL(p.asked.data, d->asked);
    peer_fini(&p);
}

static void test_dialogues(void)
{
    for (size_t i = 0; i < sizeof(dialogues) / sizeof(dialogues[0]); i++)
        for (int deferred = 0; deferred < 2; deferred++) {
            check_dialogue(&dialogues[i], 0, deferred);
            check_dialogue(&dialogues[i], 1, deferred);
            check_dialogue(&dialogues[i], 3, deferred);
        }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("smtp session", NULL, NULL);
    CU_add_test(suite, "dialogues", test_dialogues);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
