/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.c - the MIME tree, seen line by line.
 *
 * The body is read in blocks; only whole lines are looked at, the rest of a block is read again
 * with the next one. Of a line longer than a block the first octets decide, for a boundary is
 * short. A boundary of an outer multipart ends all inner ones, so a message whose inner
 * multipart is not closed still gives its later parts.
 *
 * No recursion: the open multiparts are a stack of at most PARTS_DEPTH_MAX. Memory: a block, a
 * header of at most PARTS_HEADER_OCTETS_MAX, and the leaves.
 */
#include "mime/parts.h"

#include "base/mem.h"
#include "mime/header.h"
#include "mime/lex.h"
#include "mime/params.h"

#define BLOCK_OCTETS 65536
#define LEAVES_FIRST 8

struct boundary {
    struct slice text; /* without "--" */
    unsigned depth;    /* of the multipart */
    bool digest;       /* its parts are message/rfc822 unless they say else (RFC 2046 5.1.5) */
};

enum mode {
    MODE_HEADER, /* of a part */
    MODE_LEAF,
    MODE_SKIP, /* preamble, epilogue */
};

struct scan {
    struct arena *arena;
    struct arena scratch; /* of one header */
    struct tern_part *leaves;
    unsigned count, size;
    bool truncated, full;
    enum mode mode;
    struct boundary open[PARTS_DEPTH_MAX];
    unsigned open_count;
    unsigned depth;    /* of the entity under way */
    bool digest_child; /* its default type is message/rfc822 */
    struct buf header;
};

static tern_str keep(struct scan *s, struct slice text)
{
    return (tern_str){ arena_dup(s->arena, text), text.len };
}

static tern_str keep_lower(struct scan *s, struct slice text)
{
    char *copy = arena_dup(s->arena, text);

    for (size_t i = 0; i < text.len; i++)
        copy[i] = ascii_lower(copy[i]);
    return (tern_str){ copy, text.len };
}

/* ---- Entities ------------------------------------------------------------ */

struct entity {
    struct slice type, subtype, encoding;
    struct mime_params params, disposition;
};

static struct slice field_value(struct slice header, struct slice name)
{
    struct header_field f;

    return header_find(header, name, 0, &f) ? f.value : SLICE("");
}

/* "type/subtype" off the front; false if it is none. */
static bool take_type(struct slice *s, struct entity *e)
{
    if (!lex_skip_blank(s))
        return false;
    e->type = lex_token(s);
    if (e->type.len == 0 || !lex_skip_blank(s) || !lex_take(s, '/') || !lex_skip_blank(s))
        return false;
    e->subtype = lex_token(s);
    return e->subtype.len > 0;
}

static void read_entity(struct scan *s, struct slice header, struct entity *e)
{
    struct slice type = field_value(header, SLICE("Content-Type"));
    struct slice encoding = field_value(header, SLICE("Content-Transfer-Encoding"));
    struct slice rest = type;

    if (!take_type(&rest, e)) { /* RFC 2045 5.2: absent or broken */
        e->type = s->digest_child ? SLICE("message") : SLICE("text");
        e->subtype = s->digest_child ? SLICE("rfc822") : SLICE("plain");
    }
    mime_params_parse(type, &s->scratch, &e->params);
    mime_params_parse(field_value(header, SLICE("Content-Disposition")), &s->scratch,
                      &e->disposition);
    e->encoding = lex_skip_blank(&encoding) ? lex_token(&encoding) : SLICE("");
    if (e->encoding.len == 0)
        e->encoding = SLICE("7bit");
    s->truncated = s->truncated || e->params.truncated || e->disposition.truncated;
}

static bool is_message(const struct entity *e)
{
    return slice_equal_nocase(e->type, SLICE("message")) &&
           (slice_equal_nocase(e->subtype, SLICE("rfc822")) ||
            slice_equal_nocase(e->subtype, SLICE("global")));
}

/* RFC 2046 5.2.1 forbids other encodings there; if one is there we do not decode it. */
static bool is_identity(struct slice encoding)
{
    return slice_equal_nocase(encoding, SLICE("7bit")) ||
           slice_equal_nocase(encoding, SLICE("8bit")) ||
           slice_equal_nocase(encoding, SLICE("binary"));
}

/* A multipart that can be opened: with a boundary. *ret is in the scratch arena or the header. */
static bool is_multipart(struct scan *s, const struct entity *e, struct slice *ret)
{
    if (!slice_equal_nocase(e->type, SLICE("multipart")))
        return false;
    *ret = mime_params_raw(&e->params, SLICE("boundary"), &s->scratch);
    return ret->len > 0 && ret->len <= PARTS_BOUNDARY_MAX;
}

static void open_multipart(struct scan *s, const struct entity *e, struct slice boundary)
{
    s->open[s->open_count++] = (struct boundary){
        .text = arena_slice(s->arena, boundary),
        .depth = s->depth,
        .digest = slice_equal_nocase(e->subtype, SLICE("digest")),
    };
    s->mode = MODE_SKIP;
}

static void grow(struct scan *s)
{
    unsigned size = s->size > 0 ? s->size * 2 : LEAVES_FIRST;
    struct tern_part *leaves = arena_alloc(s->arena, size * sizeof(*leaves));

    if (s->count > 0)
        memcpy(leaves, s->leaves, s->count * sizeof(*leaves));
    s->leaves = leaves;
    s->size = size;
}

static void add_leaf(struct scan *s, const struct entity *e, uint64_t offset)
{
    if (s->count == PARTS_MAX) {
        s->truncated = s->full = true;
        s->mode = MODE_SKIP;
        return;
    }
    if (s->count == s->size)
        grow(s);
    char *type = arena_printf(s->arena, "%.*s/%.*s", (int)e->type.len, e->type.ptr,
                              (int)e->subtype.len, e->subtype.ptr);
    struct slice name = mime_params_text(&e->disposition, SLICE("filename"), &s->scratch);
    if (name.len == 0)
        name = mime_params_text(&e->params, SLICE("name"), &s->scratch);
    struct slice charset = mime_params_raw(&e->params, SLICE("charset"), &s->scratch);
    s->leaves[s->count++] = (struct tern_part){
        .type = keep_lower(s, slice_cstr(type)),
        .charset = keep_lower(s, lex_token(&charset)),
        .filename = keep(s, name),
        .encoding = keep_lower(s, e->encoding),
        .offset = offset,
        .depth = s->depth,
    };
    s->mode = MODE_LEAF;
}

/* The header of an entity is complete; its body begins at `offset`. */
static void begin_entity(struct scan *s, struct slice header, uint64_t offset)
{
    struct entity e;
    struct slice boundary;

    read_entity(s, header, &e);
    bool message = is_message(&e) && is_identity(e.encoding);
    bool multipart = is_multipart(s, &e, &boundary);
    if ((!message && !multipart) || s->depth == PARTS_DEPTH_MAX) {
        s->truncated = s->truncated || message || multipart;
        add_leaf(s, &e, offset);
    } else if (multipart) {
        open_multipart(s, &e, boundary);
    } else {
        s->depth++;
        s->digest_child = false;
        s->mode = MODE_HEADER;
    }
    arena_fini(&s->scratch);
    buf_clear(&s->header);
}

/* The octets of the entity under way end at `end`. */
static void end_entity(struct scan *s, uint64_t end)
{
    while (s->mode == MODE_HEADER) /* no blank line came: all of it was header */
        begin_entity(s, buf_slice(&s->header), end);
    if (s->mode == MODE_LEAF) {
        struct tern_part *leaf = &s->leaves[s->count - 1];
        leaf->size = end > leaf->offset ? end - leaf->offset : 0;
    }
    s->mode = MODE_SKIP;
}

/* ---- Lines --------------------------------------------------------------- */

/* Whether `line` (no CRLF) is this delimiter; *ret_close: the closing one. */
static bool is_delimiter(struct slice line, const struct boundary *b, bool *ret_close)
{
    struct slice rest = slice_from(line, 2); /* "--" was seen */

    if (rest.len < b->text.len || memcmp(rest.ptr, b->text.ptr, b->text.len) != 0)
        return false;
    rest = slice_from(rest, b->text.len);
    *ret_close = rest.len >= 2 && rest.ptr[0] == '-' && rest.ptr[1] == '-';
    if (*ret_close)
        rest = slice_from(rest, 2);
    return slice_trim(rest).len == 0;
}

/* A delimiter of any open multipart, the innermost first. */
static bool take_delimiter(struct scan *s, struct slice line, uint64_t offset)
{
    bool close;

    if (line.len < 2 || line.ptr[0] != '-' || line.ptr[1] != '-')
        return false;
    for (unsigned i = s->open_count; i-- > 0;) {
        if (!is_delimiter(line, &s->open[i], &close))
            continue;
        end_entity(s, offset >= 2 ? offset - 2 : 0); /* the CRLF before it is its own */
        s->open_count = close ? i : i + 1;
        if (!close) {
            s->depth = s->open[i].depth + 1;
            s->digest_child = s->open[i].digest;
            s->mode = MODE_HEADER;
        }
        return true;
    }
    return false;
}

/* `whole`: with its CRLF if it has one. */
static void read_line(struct scan *s, struct slice whole, uint64_t offset)
{
    struct slice line = whole;

    if (line.len >= 2 && memcmp(line.ptr + line.len - 2, "\r\n", 2) == 0)
        line.len -= 2;
    if (take_delimiter(s, line, offset) || s->mode != MODE_HEADER)
        return;
    if (line.len == 0 && whole.len == 2)
        begin_entity(s, buf_slice(&s->header), offset + 2);
    else if (s->header.len + whole.len <= PARTS_HEADER_OCTETS_MAX)
        buf_add(&s->header, whole);
    else
        s->truncated = true;
}

/* ---- Blocks -------------------------------------------------------------- */

struct block {
    parts_read_fn read;
    void *arg;
    uint64_t offset; /* of data[0] */
    size_t len;
    char *data;
};

/* Fills the block from its offset; short only at the end. */
static int fill(struct block *b)
{
    b->len = 0;
    while (b->len < BLOCK_OCTETS) {
        int64_t n = b->read(b->arg, b->offset + b->len, b->data + b->len, BLOCK_OCTETS - b->len);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        b->len += (size_t)n;
    }
    return 0;
}

/* Octets of the line at `at` with its CRLF, 0 if that is not in the block. */
static size_t line_octets(const struct block *b, size_t at)
{
    ptrdiff_t line = at < b->len ? slice_find_crlf(slice_make(b->data + at, b->len - at)) : -1;

    return line >= 0 ? (size_t)line + 2 : 0;
}

/* Reads the lines of a block; returns octets used. *in_line: the block begins within a line. */
static size_t read_lines(struct scan *s, const struct block *b, bool *in_line)
{
    size_t at = 0, octets;

    while (!s->full && (octets = line_octets(b, at)) > 0) {
        if (!*in_line)
            read_line(s, slice_make(b->data + at, octets), b->offset + at);
        *in_line = false;
        at += octets;
    }
    bool last = b->len < BLOCK_OCTETS;
    if (s->full || (!last && at > 0))
        return s->full ? b->len : at;
    /* The last line, or one longer than a block: its CR may be the block's last octet. */
    octets = b->len - at;
    if (!last && b->data[b->len - 1] == '\r')
        octets--;
    if (octets > 0 && !*in_line)
        read_line(s, slice_make(b->data + at, octets), b->offset + at);
    *in_line = !last;
    return at + octets;
}

static int read_body(struct scan *s, struct block *b)
{
    bool in_line = false;

    for (;;) {
        int r = fill(b);
        if (r < 0)
            return r;
        size_t used = read_lines(s, b, &in_line);
        b->offset += used;
        if (b->len < BLOCK_OCTETS || s->full)
            return 0;
    }
}

int parts_parse(struct slice header, parts_read_fn read, void *arg, struct arena *arena,
                struct parts *ret)
{
    struct scan s = { .arena = arena, .mode = MODE_HEADER };
    CLEANUP_FREE char *data = mem_alloc(BLOCK_OCTETS);
    struct block b = { .read = read, .arg = arg, .data = data };

    arena_init(&s.scratch);
    begin_entity(&s, slice_head(header, PARTS_HEADER_OCTETS_MAX), 0);
    int r = read_body(&s, &b);
    if (r == 0) {
        end_entity(&s, b.offset);
        *ret = (struct parts){ s.leaves, s.count, s.truncated };
    }
    buf_free(&s.header);
    arena_fini(&s.scratch);
    return r;
}
