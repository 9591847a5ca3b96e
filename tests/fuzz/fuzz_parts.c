/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_parts.c - MIME leaves: in order, inside the body, bounded, the same however it is read. */
#include <assert.h>

#include "base/utf8.h"
#include "mime/header.h"
#include "mime/parts.h"

struct source {
    struct slice body;
    size_t step;
};

static int64_t read_source(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    struct source *s = arg;
    struct slice part = slice_head(slice_head(slice_from(s->body, offset), octets), s->step);

    if (part.len > 0)
        memcpy(buffer, part.ptr, part.len);
    return (int64_t)part.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = slice_make((const char *)data, size);
    struct parts p, again;
    struct arena arena;
    uint64_t end = 0;
    size_t header, body;

    (void)header_end(all, &header, &body);
    struct source s = { slice_from(all, body), SIZE_MAX };
    arena_init(&arena);
    assert(parts_parse(slice_head(all, header), read_source, &s, &arena, &p) == 0);
    s.step = 3;
    assert(parts_parse(slice_head(all, header), read_source, &s, &arena, &again) == 0);
    assert(p.count == again.count && p.truncated == again.truncated && p.count <= PARTS_MAX);
    for (unsigned i = 0; i < p.count; i++) {
        const struct tern_part *l = &p.items[i];
        assert(l->offset >= end && l->depth <= PARTS_DEPTH_MAX && l->type.len >= 3);
        end = l->offset + l->size;
        assert(end <= s.body.len);
        assert(l->filename.len <= PARTS_TEXT_OCTETS_MAX);
        assert(utf8_valid(slice_make(l->filename.ptr, l->filename.len)));
        assert(l->offset == again.items[i].offset && l->size == again.items[i].size);
    }
    arena_fini(&arena);
    return 0;
}
