/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header_edit.c - heads over one body: what stands on top, or the whole header rewritten.
 *
 * What the sender wrote is never reformatted: an edit keeps every other octet of the header,
 * malformed lines too, because a signature may cover them. Sources: RFC 5322 2.2, 3.6; RFC 5321
 * 4.4.
 */
#include "module/header_edit.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "mime/header.h"
#include "mime/parts.h"
#include "state/facts.h"

#define READ_STEP_OCTETS 16384

/* Fields for steps to see: each ends with a NUL. */
struct field_index {
    bool made;
    struct tern_header *fields;
    unsigned count;
};

/* The message as it came; shared by its heads. All that is found later is written under the
 * lock. */
struct original {
    _Atomic unsigned refs;
    pthread_mutex_t lock;
    struct body *body;
    bool loaded;
    int error;
    struct buf own;      /* the header of a body in a file */
    struct slice header; /* its fields, without the empty line */
    uint64_t body_start; /* behind the empty line */
    bool parts_known;
    struct field_index index;
    struct arena arena;
    struct parts parts;
};

struct message_head {
    _Atomic unsigned refs;
    struct original *original;
    bool whole; /* top is all of the header, else it stands before the original's */
    /* Of a whole one: where each field of top comes from, see struct piece. */
    unsigned *origins;
    unsigned origin_count;
    struct buf top;
    struct field_index index; /* of top; under the original's lock, as all below */
    struct slice joined; /* top and the original's header, once somebody wanted it in one piece */
    struct arena arena;
};

/* ---- the original ---- */

static struct original *original_new(struct body *body)
{
    struct original *o = mem_zalloc(sizeof(*o));

    atomic_init(&o->refs, 1);
    pthread_mutex_init(&o->lock, NULL);
    o->body = body_ref(body);
    arena_init(&o->arena);
    return o;
}

static void original_unref(struct original *o)
{
    if (atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) > 1)
        return;
    body_unref(o->body);
    buf_free(&o->own);
    arena_fini(&o->arena);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

/* Up to the last line end: what does not fit is left to the body, whole lines of it. */
static size_t cut_at_line(struct slice octets)
{
    for (size_t i = octets.len; i >= 2; i--)
        if (octets.ptr[i - 1] == '\n' && octets.ptr[i - 2] == '\r')
            return i;
    return 0;
}

static void found_header(struct original *o, struct slice octets, bool more)
{
    size_t header = 0, body = 0;

    if (!header_end(octets, &header, &body) && more)
        header = body = cut_at_line(octets);
    o->header = slice_head(octets, header);
    o->body_start = body;
}

static int read_header(struct original *o)
{
    size_t header, body;

    for (;;) {
        char *to = buf_reserve(&o->own, READ_STEP_OCTETS);
        int64_t n = body_read(o->body, o->own.len, to, READ_STEP_OCTETS);
        if (n < 0)
            return (int)n;
        o->own.len += (size_t)n;
        bool full = o->own.len >= MESSAGE_HEADER_OCTETS_MAX;
        if (n == 0 || full || header_end(buf_slice(&o->own), &header, &body)) {
            found_header(o, buf_slice(&o->own), n > 0 && full);
            return 0;
        }
    }
}

/* Under the lock. */
static int load(struct original *o)
{
    if (o->loaded)
        return o->error;
    struct slice memory = body_memory(o->body);
    o->loaded = true;
    if (memory.ptr != NULL || body_octets(o->body) == 0)
        found_header(o, slice_head(memory, MESSAGE_HEADER_OCTETS_MAX),
                     memory.len > MESSAGE_HEADER_OCTETS_MAX);
    else
        o->error = read_header(o);
    return o->error;
}

static int load_locked(struct original *o)
{
    pthread_mutex_lock(&o->lock);
    int r = load(o);
    pthread_mutex_unlock(&o->lock);
    return r;
}

/* ---- heads ---- */

static struct message_head *head_new(struct original *o)
{
    struct message_head *head = mem_zalloc(sizeof(*head));

    atomic_init(&head->refs, 1);
    head->original = o;
    arena_init(&head->arena);
    return head;
}

static struct message_head *head_beside(const struct message_head *other)
{
    atomic_fetch_add_explicit(&other->original->refs, 1, memory_order_relaxed);
    return head_new(other->original);
}

struct message_head *message_head_new(struct body *body, struct slice received)
{
    struct message_head *head = head_new(original_new(body));

    buf_add(&head->top, received);
    return head;
}

struct message_head *message_head_ref(struct message_head *head)
{
    atomic_fetch_add_explicit(&head->refs, 1, memory_order_relaxed);
    return head;
}

void message_head_unref(struct message_head *head)
{
    if (head == NULL || atomic_fetch_sub_explicit(&head->refs, 1, memory_order_acq_rel) > 1)
        return;
    original_unref(head->original);
    buf_free(&head->top);
    free(head->origins);
    arena_fini(&head->arena);
    free(head);
}

struct body *message_head_body(const struct message_head *head)
{
    return head->original->body;
}

struct slice message_head_octets(struct message_head *head, uint64_t *ret_offset)
{
    /* A whole head was made from a loaded original. */
    *ret_offset = head->whole ? head->original->header.len : 0;
    return buf_slice(&head->top);
}

int message_head_header(struct message_head *head, bool original, struct slice *ret)
{
    struct original *o = head->original;
    int r = 0;

    pthread_mutex_lock(&o->lock);
    if (original || !head->whole)
        r = load(o);
    if (r == 0 && original) {
        *ret = o->header;
    } else if (r == 0 && head->whole) {
        *ret = buf_slice(&head->top);
    } else if (r == 0) {
        if (head->joined.ptr == NULL) {
            size_t octets = head->top.len + o->header.len;
            char *p = arena_alloc(&head->arena, octets + 1);
            if (head->top.len > 0)
                memcpy(p, head->top.data, head->top.len);
            if (o->header.len > 0)
                memcpy(p + head->top.len, o->header.ptr, o->header.len);
            head->joined = slice_make(p, octets);
        }
        *ret = head->joined;
    }
    pthread_mutex_unlock(&o->lock);
    return r;
}

/* ---- editing ---- */

/*
 * A run of the header: a field, or lines that are none (their name is empty). origin: 0, a step has written it; else
 * the number of the field as it came, from 1, and ORIGIN_REPLACED if its value is a step's.
 */
#define ORIGIN_REPLACED (1u << 31)
struct piece {
    struct slice octets, name;
    unsigned origin;
};
struct pieces {
    struct arena arena; /* of new fields */
    struct piece *items;
    size_t first, end;
    /* Those of the name that was looked for last, so that an answer that removes a thousand of one name looks once. */
    struct piece **same;
    struct slice same_name; /* empty: none */
    size_t same_count;
};

static unsigned count_kind(const struct journal *j, enum journal_kind kind)
{
    unsigned n = 0;

    for (const struct journal_item *i = j->first; i != NULL; i = i->next)
        n += i->kind == kind;
    return n;
}

static struct slice print_field(struct arena *arena, const struct journal_item *i)
{
    size_t len = i->name.len + 2 + i->value.len + 2;
    char *p = arena_alloc(arena, len + 1), *at = p;

    memcpy(at, i->name.ptr, i->name.len);
    at += i->name.len;
    memcpy(at, ": ", 2);
    at += 2;
    if (i->value.len > 0)
        memcpy(at, i->value.ptr, i->value.len);
    at += i->value.len;
    memcpy(at, "\r\n", 3);
    return slice_make(p, len);
}

enum cut_origin { CUT_NEW, CUT_ORIGINAL, CUT_KNOWN };

/*
 * The bound is one of fields that come. Were it one of an edited header too, whatever steps add would push the last of
 * those out of their sight: a message with as many as it may have could keep there what is to be removed.
 */
static unsigned most_fields(enum cut_origin origin)
{
    return origin == CUT_ORIGINAL ? MESSAGE_FIELDS_MAX : UINT_MAX;
}

/* Lines that are not folded. */
static unsigned fields_at_most(struct slice header, enum cut_origin origin)
{
    unsigned lines = 1, most = most_fields(origin);

    for (size_t i = 0; i < header.len && lines < most; i++)
        lines += header.ptr[i] == '\n' && i + 1 < header.len && header.ptr[i + 1] != ' ' && header.ptr[i + 1] != '\t';
    return lines;
}

static unsigned origin_of(const struct message_head *head, enum cut_origin origin, unsigned n)
{
    if (origin == CUT_ORIGINAL)
        return n + 1;
    return origin == CUT_KNOWN && n < head->origin_count ? head->origins[n] : 0;
}

/* Cuts a header into pieces behind p->end; two for each field at most, and one for the rest. */
static void cut(struct pieces *p, const struct message_head *head, struct slice header, enum cut_origin origin)
{
    struct slice rest = header;
    struct header_field field;
    const char *done = header.ptr;
    const char *end = header.ptr + header.len;

    for (unsigned n = 0; n < most_fields(origin) && header_next(&rest, &field); n++) {
        if (field.whole.ptr > done)
            p->items[p->end++] =
                (struct piece){ .octets = slice_make(done, (size_t)(field.whole.ptr - done)) };
        p->items[p->end++] = (struct piece){ field.whole, field.name, origin_of(head, origin, n) };
        done = field.whole.ptr + field.whole.len;
    }
    if (end > done)
        p->items[p->end++] = (struct piece){ .octets = slice_make(done, (size_t)(end - done)) };
}

static void look_for(struct pieces *p, struct slice name)
{
    p->same_name = name;
    p->same_count = 0;
    for (size_t i = p->first; i < p->end; i++)
        if (p->items[i].name.len > 0 && slice_equal_nocase(p->items[i].name, name))
            p->same[p->same_count++] = &p->items[i];
}

static struct piece *find(struct pieces *p, struct slice name, unsigned nth)
{
    if (p->same_name.len == 0 || !slice_equal_nocase(p->same_name, name))
        look_for(p, name);
    return nth < p->same_count ? p->same[nth] : NULL;
}

/* It was found. */
static void remove_found(struct pieces *p, unsigned nth)
{
    *p->same[nth] = (struct piece){ .octets = { NULL, 0 } };
    p->same_count--;
    memmove(p->same + nth, p->same + nth + 1, (p->same_count - nth) * sizeof(p->same[0]));
}

static void append(struct pieces *p, struct piece piece)
{
    const struct slice crlf = SLICE("\r\n");

    if (p->end > p->first) {
        struct slice last = p->items[p->end - 1].octets;
        if (last.len > 0 && (last.len < 2 || !slice_equal(slice_from(last, last.len - 2), crlf)))
            p->items[p->end++] = (struct piece){ .octets = crlf };
    }
    p->items[p->end++] = piece;
}

static void apply(struct pieces *p, const struct journal_item *i)
{
    struct slice name = slice_of(i->name);
    struct piece *found;

    if (i->kind == JOURNAL_HEADER_PREPEND || i->kind == JOURNAL_HEADER_APPEND)
        p->same_name = slice_make(NULL, 0);
    switch (i->kind) {
    case JOURNAL_HEADER_PREPEND:
        p->items[--p->first] = (struct piece){ print_field(&p->arena, i), name, 0 };
        break;
    case JOURNAL_HEADER_APPEND: append(p, (struct piece){ print_field(&p->arena, i), name, 0 }); break;
    case JOURNAL_HEADER_REPLACE: /* one that is not there is left alone: nothing to replace */
        found = find(p, name, i->nth);
        if (found != NULL)
            *found = (struct piece){ print_field(&p->arena, i), name,
                                     found->origin != 0 ? found->origin | ORIGIN_REPLACED : 0 };
        break;
    case JOURNAL_HEADER_REMOVE:
        if (find(p, name, i->nth) != NULL)
            remove_found(p, i->nth);
        break;
    default: break;
    }
}

static void pieces_init(struct pieces *p, const struct message_head *head, const struct journal *j)
{
    struct slice top = buf_slice(&head->top);
    unsigned before = count_kind(j, JOURNAL_HEADER_PREPEND);
    size_t room = before + 2 * (size_t)count_kind(j, JOURNAL_HEADER_APPEND) +
                  2 * (size_t)fields_at_most(top, CUT_KNOWN) + 1;

    *p = (struct pieces){ .same_count = 0 };
    arena_init(&p->arena);
    if (!head->whole)
        room += 2 * (size_t)fields_at_most(head->original->header, CUT_ORIGINAL) + 1;
    p->items = mem_alloc(room * sizeof(p->items[0]));
    p->same = mem_alloc(room * sizeof(p->same[0]));
    p->first = p->end = before;
    cut(p, head, top, head->whole ? CUT_KNOWN : CUT_NEW);
    if (!head->whole)
        cut(p, head, head->original->header, CUT_ORIGINAL);
}

static struct message_head *edit_whole(struct message_head *head, const struct journal *j)
{
    struct message_head *made = head_beside(head);
    struct pieces p;

    pieces_init(&p, head, j);
    for (const struct journal_item *i = j->first; i != NULL; i = i->next)
        apply(&p, i);
    made->origins = mem_alloc((p.end - p.first + 1) * sizeof(made->origins[0]));
    for (size_t i = p.first; i < p.end; i++) {
        buf_add(&made->top, p.items[i].octets);
        if (p.items[i].name.len > 0)
            made->origins[made->origin_count++] = p.items[i].origin;
    }
    made->whole = true;
    arena_fini(&p.arena);
    free(p.items);
    free(p.same);
    return made;
}

static struct message_head *edit_top(struct message_head *head, const struct journal *j)
{
    struct message_head *made = head_beside(head);
    unsigned count = count_kind(j, JOURNAL_HEADER_PREPEND), n = count;
    size_t octets = head->top.len;
    struct arena scratch;

    arena_init(&scratch);
    struct slice *fields = arena_alloc(&scratch, count * sizeof(fields[0]));
    for (const struct journal_item *i = j->first; i != NULL; i = i->next)
        if (i->kind == JOURNAL_HEADER_PREPEND)
            fields[--n] = print_field(&scratch, i); /* the last one asked for is on top */
    for (unsigned i = 0; i < count; i++)
        octets += fields[i].len;
    (void)buf_reserve(&made->top, octets);
    for (unsigned i = 0; i < count; i++)
        buf_add(&made->top, fields[i]);
    buf_add(&made->top, buf_slice(&head->top));
    made->whole = head->whole;
    if (head->whole) {
        made->origin_count = count + head->origin_count;
        made->origins = mem_zalloc((made->origin_count + 1) * sizeof(made->origins[0]));
        for (unsigned i = 0; i < head->origin_count; i++)
            made->origins[count + i] = head->origins[i];
    }
    arena_fini(&scratch);
    return made;
}

int message_head_edit(struct message_head *head, const struct journal *journal,
                      struct message_head **ret)
{
    bool other = false, any = false;

    for (const struct journal_item *i = journal->first; i != NULL; i = i->next) {
        any |= i->kind >= JOURNAL_HEADER_PREPEND;
        other |= i->kind > JOURNAL_HEADER_PREPEND;
    }
    if (!any) {
        *ret = message_head_ref(head);
        return 0;
    }
    if (!other) {
        *ret = edit_top(head, journal);
        return 0;
    }
    int r = load_locked(head->original);
    if (r < 0)
        return r;
    *ret = edit_whole(head, journal);
    return 0;
}

/* ---- what was edited ---- */

struct changes {
    const struct header_field *came; /* the fields of the original */
    unsigned came_count;
    struct header_change *list;
    unsigned count;
};

static unsigned fields_of(struct slice header, enum cut_origin origin, struct arena *arena, struct header_field **ret)
{
    unsigned most = fields_at_most(header, origin), n = 0;
    struct header_field *fields = arena_alloc(arena, most * sizeof(*fields));

    while (n < most && header_next(&header, &fields[n]))
        n++;
    *ret = fields;
    return n;
}

static void add_change(struct changes *c, enum header_change_kind kind, unsigned nth, const struct header_field *f)
{
    c->list[c->count++] = (struct header_change){ kind, nth, f->name, f->value };
}

static unsigned nth_of(const struct changes *c, unsigned index)
{
    unsigned nth = 0;

    for (unsigned i = 0; i < index; i++)
        nth += slice_equal_nocase(c->came[i].name, c->came[index].name);
    return nth;
}

/* now[i]: the field of the edited header that the i-th original one has become; NULL: it is gone. */
static void add_kept(struct changes *c, const struct header_field *const *now, const bool *replaced)
{
    for (unsigned i = c->came_count; i-- > 0;) {
        if (now[i] == NULL)
            add_change(c, HEADER_REMOVED, nth_of(c, i), &c->came[i]);
        else if (replaced[i])
            add_change(c, HEADER_CHANGED, nth_of(c, i), now[i]);
    }
}

static void changes_of_whole(struct message_head *head, struct arena *arena, struct changes *c)
{
    struct header_field *fields;
    unsigned n = fields_of(buf_slice(&head->top), CUT_KNOWN, arena, &fields), first = n;
    const struct header_field **now = arena_zalloc(arena, (c->came_count + 1) * sizeof(*now));
    bool *replaced = arena_zalloc(arena, c->came_count + 1);

    c->list = arena_alloc(arena, (n + c->came_count + 1) * sizeof(c->list[0]));
    for (unsigned i = 0; i < n; i++) {
        unsigned origin = origin_of(head, CUT_KNOWN, i), at = (origin & ~ORIGIN_REPLACED) - 1;
        if (origin == 0 || at >= c->came_count)
            continue;
        first = first < i ? first : i;
        now[at] = &fields[i];
        replaced[at] = (origin & ORIGIN_REPLACED) != 0;
    }
    add_kept(c, now, replaced);
    for (unsigned i = first; i-- > 0;)
        add_change(c, HEADER_ON_TOP, 0, &fields[i]);
    for (unsigned i = first; i < n; i++)
        if (origin_of(head, CUT_KNOWN, i) == 0)
            add_change(c, HEADER_AT_END, 0, &fields[i]);
}

static void changes_of_top(const struct message_head *head, struct arena *arena, struct changes *c)
{
    struct header_field *fields;
    unsigned n = fields_of(buf_slice(&head->top), CUT_KNOWN, arena, &fields);

    c->list = arena_alloc(arena, (n + 1) * sizeof(c->list[0]));
    while (n-- > 0)
        add_change(c, HEADER_ON_TOP, 0, &fields[n]);
}

int message_head_changes(struct message_head *head, struct arena *arena, struct header_change **ret)
{
    struct changes c = { 0 };
    int r = load_locked(head->original);

    if (r < 0)
        return r;
    if (head->whole) {
        struct header_field *came;
        c.came_count = fields_of(head->original->header, CUT_ORIGINAL, arena, &came);
        c.came = came;
        changes_of_whole(head, arena, &c);
    } else {
        changes_of_top(head, arena, &c);
    }
    *ret = c.list;
    return (int)c.count;
}

/* ---- the view ---- */

static void index_fields(struct field_index *index, struct slice header, enum cut_origin origin, struct arena *arena)
{
    struct header_field field;

    if (index->made) /* before anything that looks at the octets: it is asked for each field */
        return;
    unsigned size = fields_at_most(header, origin);
    index->fields = arena_alloc(arena, size * sizeof(index->fields[0]));
    while (index->count < size && header_next(&header, &field)) {
        struct tern_header *h = &index->fields[index->count++];
        h->name = tern_str_dup(arena, field.name);
        h->value = tern_str_dup(arena, field.value);
    }
    index->made = true;
}

/* The original's fields are found once, however often what stands before them is edited. Returns how many there are. */
static unsigned index_head(struct message_head *head)
{
    struct original *o = head->original;
    unsigned count;

    pthread_mutex_lock(&o->lock);
    index_fields(&head->index, buf_slice(&head->top), CUT_KNOWN, &head->arena);
    if (!head->whole && load(o) == 0)
        index_fields(&o->index, o->header, CUT_ORIGINAL, &o->arena);
    count = head->index.count + (head->whole ? 0 : o->index.count);
    pthread_mutex_unlock(&o->lock);
    return count;
}

static const struct tern_header *field_at(const struct message_head *head, unsigned index)
{
    unsigned own = head->index.count;

    return index < own ? &head->index.fields[index] : &head->original->index.fields[index - own];
}

unsigned message_head_count(struct message_head *head)
{
    return index_head(head);
}

const struct tern_header *message_head_at(struct message_head *head, unsigned index)
{
    return index < index_head(head) ? field_at(head, index) : NULL;
}

const struct tern_header *message_head_find(struct message_head *head, struct slice name,
                                            unsigned nth)
{
    unsigned count = index_head(head);

    for (unsigned i = 0; i < count; i++) {
        const struct tern_header *h = field_at(head, i);
        if (slice_equal_nocase(slice_of(h->name), name) && nth-- == 0)
            return h;
    }
    return NULL;
}

uint64_t message_octets(struct message_head *head)
{
    uint64_t offset;
    struct slice top = message_head_octets(head, &offset);

    return top.len + body_octets(head->original->body) - offset;
}

uint64_t message_body_octets(struct message_head *head)
{
    if (load_locked(head->original) < 0)
        return 0;
    return body_octets(head->original->body) - head->original->body_start;
}

int64_t message_body_read(struct message_head *head, uint64_t offset, void *buffer, size_t octets)
{
    int r = load_locked(head->original);

    if (r < 0)
        return r;
    if (offset > UINT64_MAX - head->original->body_start)
        return 0;
    return body_read(head->original->body, head->original->body_start + offset, buffer, octets);
}

static int64_t read_part(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    const struct original *o = arg;

    return body_read(o->body, o->body_start + offset, buffer, octets);
}

/* By the header as it came: no edit changes where the parts lie. */
static const struct parts *parts_of(struct message_head *head)
{
    struct original *o = head->original;

    pthread_mutex_lock(&o->lock);
    if (!o->parts_known && load(o) == 0)
        (void)parts_parse(o->header, read_part, o, &o->arena, &o->parts);
    o->parts_known = true;
    pthread_mutex_unlock(&o->lock);
    return &o->parts;
}

unsigned message_part_count(struct message_head *head)
{
    return parts_of(head)->count;
}

const struct tern_part *message_part(struct message_head *head, unsigned index)
{
    const struct parts *parts = parts_of(head);

    return index < parts->count ? &parts->items[index] : NULL;
}
