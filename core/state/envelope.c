/* SPDX-License-Identifier: Apache-2.0 */
/*
 * envelope.c - the envelope as octets: fields of tag (16 bit), length (32 bit), value.
 *
 * A recipient is a field whose value is fields. Absent and empty are the same, so empty
 * ones are not written. Unknown tags are skipped, which lets an older server read what a newer
 * one stored. Numbers are little endian. A tag is never given another meaning.
 */
#include "state/envelope.h"

#include <assert.h>
#include <endian.h>

#define FIELD_HEADER 6

enum tag {
    TAG_ORIGIN = 1,
    TAG_POLICY,
    TAG_LISTENER,
    TAG_CLIENT,
    TAG_HELO,
    TAG_USER,
    TAG_BODY,
    TAG_SMTPUTF8,
    TAG_SENDER,
    TAG_SENDER_ORIGINAL,
    TAG_ENVID,
    TAG_RET,
    TAG_ARRIVAL,
    TAG_HOLD_REASON,
    TAG_HOLD_STEP,
    TAG_TAG,
    TAG_VAR, /* length of the name (16 bit), name, value */
    TAG_RCPT,
};

enum rcpt_tag {
    RCPT_ADDRESS = 1,
    RCPT_ORIGINAL,
    RCPT_ORCPT,
    RCPT_NOTIFY,
    RCPT_CLASS,
    RCPT_CLAIMED_BY,
    RCPT_TAG,
};

static void put_header(struct buf *out, unsigned tag, size_t len)
{
    uint16_t t = htole16((uint16_t)tag);
    uint32_t l = htole32((uint32_t)len);

    assert(len <= UINT32_MAX);
    buf_add(out, slice_make((const char *)&t, sizeof(t)));
    buf_add(out, slice_make((const char *)&l, sizeof(l)));
}

static void put_always(struct buf *out, unsigned tag, struct slice value)
{
    put_header(out, tag, value.len);
    buf_add(out, value);
}

static void put(struct buf *out, unsigned tag, struct slice value)
{
    if (value.len > 0)
        put_always(out, tag, value);
}

static void put_number(struct buf *out, unsigned tag, uint64_t n)
{
    uint64_t le = htole64(n);

    if (n != 0)
        put_always(out, tag, slice_make((const char *)&le, sizeof(le)));
}

static void put_var(struct buf *out, const struct envelope_var *var)
{
    uint16_t len = htole16((uint16_t)var->name.len);

    assert(var->name.len <= UINT16_MAX);
    put_header(out, TAG_VAR, sizeof(len) + var->name.len + var->value.len);
    buf_add(out, slice_make((const char *)&len, sizeof(len)));
    buf_add(out, var->name);
    buf_add(out, var->value);
}

static void put_rcpt(struct buf *out, const struct envelope_rcpt *r)
{
    size_t start = out->len;

    put_header(out, TAG_RCPT, 0);
    put(out, RCPT_ADDRESS, r->address);
    put(out, RCPT_ORIGINAL, r->original);
    put(out, RCPT_ORCPT, r->orcpt);
    put(out, RCPT_NOTIFY, r->notify);
    put_number(out, RCPT_CLASS, r->class_);
    put(out, RCPT_CLAIMED_BY, r->claimed_by);
    for (unsigned i = 0; i < r->tag_count; i++)
        put_always(out, RCPT_TAG, r->tags[i]);
    uint32_t len = htole32((uint32_t)(out->len - start - FIELD_HEADER));
    memcpy(out->data + start + 2, &len, sizeof(len));
}

void envelope_encode(const struct envelope *e, struct buf *out)
{
    put(out, TAG_ORIGIN, e->origin);
    put(out, TAG_POLICY, e->policy);
    put(out, TAG_LISTENER, e->listener);
    put(out, TAG_CLIENT, e->client_address);
    put(out, TAG_HELO, e->helo);
    put(out, TAG_USER, e->user);
    put_number(out, TAG_BODY, e->body);
    put_number(out, TAG_SMTPUTF8, e->smtputf8);
    put(out, TAG_SENDER, e->sender);
    put(out, TAG_SENDER_ORIGINAL, e->sender_original);
    put(out, TAG_ENVID, e->envid);
    put(out, TAG_RET, e->ret);
    put_number(out, TAG_ARRIVAL, e->arrival_ms);
    put(out, TAG_HOLD_REASON, e->hold_reason);
    put(out, TAG_HOLD_STEP, e->hold_step);
    for (unsigned i = 0; i < e->tag_count; i++)
        put_always(out, TAG_TAG, e->tags[i]);
    for (unsigned i = 0; i < e->var_count; i++)
        put_var(out, &e->vars[i]);
    for (unsigned i = 0; i < e->rcpt_count; i++)
        put_rcpt(out, &e->rcpts[i]);
}

struct field {
    unsigned tag;
    struct slice value;
};

/* 1 a field, 0 the end, -EBADMSG. */
static int next_field(struct slice *in, struct field *ret)
{
    uint16_t tag;
    uint32_t len;

    if (in->len == 0)
        return 0;
    if (in->len < FIELD_HEADER)
        return -EBADMSG;
    memcpy(&tag, in->ptr, sizeof(tag));
    memcpy(&len, in->ptr + 2, sizeof(len));
    len = le32toh(len);
    if (len > in->len - FIELD_HEADER)
        return -EBADMSG;
    *ret = (struct field){ le16toh(tag), slice_make(in->ptr + FIELD_HEADER, len) };
    *in = slice_from(*in, FIELD_HEADER + len);
    return 1;
}

/* Counts the fields of each tag up to `max`; -EBADMSG on a broken one. */
static int count_fields(struct slice in, unsigned *counts, unsigned max)
{
    struct field f;
    int r;

    while ((r = next_field(&in, &f)) > 0)
        if (f.tag <= max)
            counts[f.tag]++;
    return r;
}

static int get_number(struct slice value, uint64_t max, uint64_t *ret)
{
    uint64_t n;

    if (value.len != sizeof(n))
        return -EBADMSG;
    memcpy(&n, value.ptr, sizeof(n));
    n = le64toh(n);
    if (n > max)
        return -EBADMSG;
    *ret = n;
    return 0;
}

static int decode_rcpt(struct slice in, struct arena *arena, struct envelope_rcpt *r)
{
    unsigned counts[RCPT_TAG + 1] = { 0 };
    struct field f;
    uint64_t n = 0;

    *r = (struct envelope_rcpt){ 0 };
    if (count_fields(in, counts, RCPT_TAG) < 0)
        return -EBADMSG;
    struct slice *tags = counts[RCPT_TAG] > 0 ? arena_alloc(arena, counts[RCPT_TAG] * sizeof(*tags)) : NULL;
    r->tags = tags;
    while (next_field(&in, &f) > 0) {
        switch (f.tag) {
        case RCPT_ADDRESS: r->address = f.value; break;
        case RCPT_ORIGINAL: r->original = f.value; break;
        case RCPT_ORCPT: r->orcpt = f.value; break;
        case RCPT_NOTIFY: r->notify = f.value; break;
        case RCPT_CLAIMED_BY: r->claimed_by = f.value; break;
        case RCPT_TAG: tags[r->tag_count++] = f.value; break;
        case RCPT_CLASS:
            if (get_number(f.value, UINT32_MAX, &n) < 0)
                return -EBADMSG;
            r->class_ = (unsigned)n;
            break;
        default: break;
        }
    }
    return 0;
}

static int decode_var(struct slice in, struct envelope_var *var)
{
    uint16_t len;

    if (in.len < sizeof(len))
        return -EBADMSG;
    memcpy(&len, in.ptr, sizeof(len));
    len = le16toh(len);
    if (len > in.len - sizeof(len))
        return -EBADMSG;
    var->name = slice_make(in.ptr + sizeof(len), len);
    var->value = slice_from(in, sizeof(len) + len);
    return 0;
}

static struct slice *text_field(struct envelope *e, unsigned tag)
{
    switch (tag) {
    case TAG_ORIGIN: return &e->origin;
    case TAG_POLICY: return &e->policy;
    case TAG_LISTENER: return &e->listener;
    case TAG_CLIENT: return &e->client_address;
    case TAG_HELO: return &e->helo;
    case TAG_USER: return &e->user;
    case TAG_SENDER: return &e->sender;
    case TAG_SENDER_ORIGINAL: return &e->sender_original;
    case TAG_ENVID: return &e->envid;
    case TAG_RET: return &e->ret;
    case TAG_HOLD_REASON: return &e->hold_reason;
    case TAG_HOLD_STEP: return &e->hold_step;
    default: return NULL;
    }
}

static int decode_number(struct envelope *e, const struct field *f)
{
    uint64_t n = 0;
    uint64_t max = f->tag == TAG_ARRIVAL ? UINT64_MAX : f->tag == TAG_SMTPUTF8 ? 1 : UINT32_MAX;

    if (get_number(f->value, max, &n) < 0)
        return -EBADMSG;
    if (f->tag == TAG_ARRIVAL)
        e->arrival_ms = n;
    else if (f->tag == TAG_SMTPUTF8)
        e->smtputf8 = n != 0;
    else
        e->body = (unsigned)n;
    return 0;
}

struct arrays {
    struct slice *tags;
    struct envelope_var *vars;
    struct envelope_rcpt *rcpts;
};

static int decode_field(const struct field *f, struct arena *arena, struct arrays *a, struct envelope *e)
{
    struct slice *text = text_field(e, f->tag);

    if (text != NULL) {
        *text = f->value;
        return 0;
    }
    switch (f->tag) {
    case TAG_BODY:
    case TAG_SMTPUTF8:
    case TAG_ARRIVAL: return decode_number(e, f);
    case TAG_TAG: a->tags[e->tag_count++] = f->value; return 0;
    case TAG_VAR: return decode_var(f->value, &a->vars[e->var_count++]);
    case TAG_RCPT: return decode_rcpt(f->value, arena, &a->rcpts[e->rcpt_count++]);
    default: return 0;
    }
}

int envelope_decode(struct slice octets, struct arena *arena, struct envelope *ret)
{
    unsigned counts[TAG_RCPT + 1] = { 0 };
    struct envelope e = { 0 };
    struct field f;

    if (octets.len > ENVELOPE_OCTETS_MAX || count_fields(octets, counts, TAG_RCPT) < 0 ||
        counts[TAG_RCPT] > ENVELOPE_RCPTS_MAX)
        return -EBADMSG;
    struct arrays a = {
        arena_alloc(arena, counts[TAG_TAG] * sizeof(*a.tags)),
        arena_alloc(arena, counts[TAG_VAR] * sizeof(*a.vars)),
        arena_alloc(arena, counts[TAG_RCPT] * sizeof(*a.rcpts)),
    };
    e.tags = a.tags;
    e.vars = a.vars;
    e.rcpts = a.rcpts;
    while (next_field(&octets, &f) > 0)
        if (decode_field(&f, arena, &a, &e) < 0)
            return -EBADMSG;
    *ret = e;
    return 0;
}
