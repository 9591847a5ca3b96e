/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_table.c - any octets as lines of a table file.
 *
 * Promised: an entry's key and value lie inside the line, are UTF-8 without controls and
 * have no blanks around them; a key has no blank in it unless it is quoted; a bad line has
 * a reason; what is put into a snapshot is found there, in any case of letters.
 */
#include <assert.h>
#include <ctype.h>
#include <stdint.h>

#include "base/utf8.h"
#include "state/table_file.h"

static void check_part(struct slice line, struct slice part)
{
    assert(part.ptr >= line.ptr && part.ptr + part.len <= line.ptr + line.len);
    assert(utf8_valid(part));
    assert(slice_equal(slice_trim(part), part));
    for (size_t i = 0; i < part.len; i++)
        assert((unsigned char)part.ptr[i] >= 0x20 || part.ptr[i] == '\t');
}

static void take_line(struct slice line, struct snapshot_build *build)
{
    struct slice key, value;
    const char *why = NULL;

    switch (table_line_parse(line, &key, &value, &why)) {
    case TABLE_LINE_EMPTY: return;
    case TABLE_LINE_BAD: assert(why != NULL); return;
    case TABLE_LINE_ENTRY: break;
    }
    assert(key.len > 0 && key.len <= SNAPSHOT_KEY_OCTETS_MAX &&
           value.len <= SNAPSHOT_VALUE_OCTETS_MAX);
    check_part(line, key);
    check_part(line, value);
    assert(key.ptr[0] == '"' || (slice_find(key, ' ') < 0 && slice_find(key, '\t') < 0));
    assert(snapshot_add(build, key, value) == 0);
}

static void find_line(struct slice line, const struct snapshot *s)
{
    char upper[SNAPSHOT_KEY_OCTETS_MAX], folded[SNAPSHOT_KEY_OCTETS_MAX];
    struct slice key, value, wanted;
    const char *why;
    tern_str found;

    if (table_line_parse(line, &key, &value, &why) != TABLE_LINE_ENTRY)
        return;
    for (size_t i = 0; i < key.len; i++)
        upper[i] = (unsigned char)key.ptr[i] < 0x80 ? (char)toupper(key.ptr[i]) : key.ptr[i];
    assert(snapshot_fold(slice_make(upper, key.len), folded, &wanted));
    assert(snapshot_find(s, wanted, &found));
    assert(found.ptr[found.len] == '\0');
}

static struct slice next_line(struct slice *rest)
{
    ptrdiff_t end = slice_find(*rest, '\n');
    struct slice line = slice_head(*rest, end < 0 ? rest->len : (size_t)end);

    *rest = slice_from(*rest, end < 0 ? rest->len : (size_t)end + 1);
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = { (const char *)data, size };
    struct snapshot_build build = SNAPSHOT_BUILD_INIT;

    for (struct slice rest = text; rest.len > 0;)
        take_line(next_line(&rest), &build);
    size_t added = build.count;
    struct snapshot *s = snapshot_finish(&build);
    assert(snapshot_count(s) + build.twice == added);
    for (struct slice rest = text; rest.len > 0;)
        find_line(next_line(&rest), s);
    snapshot_free(s);
    return 0;
}
