/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_smtpt.c - any octets as a .smtpt file.
 *
 * Promised: a tree or one sentence with a line that exists; texts lie in the file or the arena and hold no line
 * end (blocks: only whole lines); line numbers rise; what is parsed is inside the bounds.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/smtpt.h"

static unsigned count_lines(struct slice text)
{
    unsigned n = 0;

    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '\n' || i + 1 == text.len;
    return n;
}

static void check_test(const struct smtpt_test *t, struct slice file, unsigned lines)
{
    unsigned before = t->line_no;

    assert(t->count <= SMTPT_LINES_MAX && t->count <= t->size);
    for (unsigned i = 0; i < t->count; i++) {
        const struct smtpt_line *l = &t->lines[i];
        assert(l->kind <= SMTPT_TABLE);
        assert(l->line_no > before && l->line_no <= lines);
        before = l->line_no;
        if (l->kind == SMTPT_MESSAGE) {
            assert(l->text.len == 0 || l->text.ptr[l->text.len - 1] == '\n');
            continue;
        }
        assert(l->text.ptr >= file.ptr && l->text.ptr + l->text.len <= file.ptr + file.len);
        assert(slice_find(l->text, '\n') < 0);
        struct slice rest = l->text;
        for (size_t words = 0; smtpt_word(&rest).len > 0; words++)
            assert(words <= l->text.len);
        assert(rest.len == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of the exact size: a step outside is seen. */
    char *copy = memcpy(malloc(size > 0 ? size : 1), data, size);
    struct slice text = slice_make(copy, size);
    const unsigned lines = count_lines(text);
    struct smtpt_file f;
    struct arena arena;
    unsigned line = UINT32_MAX;
    const char *error = NULL;

    arena_init(&arena);
    if (smtpt_parse(text, &arena, &f, &line, &error) < 0) {
        assert(error != NULL && line <= lines);
    } else {
        assert(error == NULL && f.config_line > 0 && f.count > 0 && f.count <= SMTPT_TESTS_MAX);
        assert(f.config_path.len == 0 || f.config_text.len == 0);
        check_test(&f.common, text, lines);
        for (unsigned i = 0; i < f.count; i++)
            check_test(&f.tests[i], text, lines);
    }
    /* The pattern of the first half on the second: no more than that it ends, and that * fits all. */
    (void)smtpt_match(slice_head(text, size < 64 ? size / 2 : 32), slice_from(text, size / 2));
    assert(smtpt_match(SLICE("*"), text));
    arena_fini(&arena);
    free(copy);
    return 0;
}
