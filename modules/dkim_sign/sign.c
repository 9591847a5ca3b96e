/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sign.c - a DKIM-Signature field. See dkim_sign.h. Sources: RFC 6376 3.5, 5.4, 8.15 (a name once more in h= than
 * the header has it: nobody may add one), RFC 8463.
 */
#include "dkim_sign.h"

#define tern sign_api

#define LINE_OCTETS 74 /* where a line is folded */

/* A value as it grows, folded. Its room is counted before. */
struct value {
    char *at;
    size_t len, line, room;
};

static void put(struct value *v, const char *text, size_t len)
{
    if (v->len + len >= v->room)
        return; /* asked for by nobody: room is for the longest */
    memcpy(v->at + v->len, text, len);
    v->len += len;
    v->line += len;
    v->at[v->len] = '\0';
}

/* In one piece, on a line of its own if this one is full. */
static void put_word(struct value *v, const char *text, size_t len)
{
    if (v->line + len > LINE_OCTETS) {
        put(v, "\r\n\t", 3);
        v->line = 8;
    }
    put(v, text, len);
}

static void put_tag(struct value *v, tern_str tag)
{
    put(v, " ", 1);
    put_word(v, tag.ptr, tag.len);
}

/* Octets that may be folded anywhere. */
static void put_base64(struct value *v, const char *text)
{
    size_t len = strlen(text), at = 0;

    while (at < len) {
        size_t room = v->line < LINE_OCTETS ? LINE_OCTETS - v->line : 0;
        size_t n = len - at < room ? len - at : room;
        put(v, text + at, n);
        at += n;
        if (at == len)
            break;
        put(v, "\r\n\t", 3);
        v->line = 8;
    }
}

static bool lists(struct tern_list list, tern_str name, size_t until)
{
    for (size_t i = 0; i < until; i++)
        if (dkim_equal_nocase(list.items[i], name))
            return true;
    return false;
}

/* How often the name stands in h=. */
static unsigned times(const struct sign_conf *c, const struct sign_message *m, tern_str name)
{
    return dkim_fields_named(m->fields, m->field_count, name.ptr) + lists(c->oversign, name, c->oversign.count);
}

static void put_names(struct value *v, const struct sign_conf *c, const struct sign_message *m, struct tern_list list,
                      struct tern_list unless, unsigned *count)
{
    for (size_t i = 0; i < list.count; i++) {
        tern_str name = list.items[i];
        if (lists(list, name, i) || lists(unless, name, unless.count))
            continue;
        for (unsigned n = times(c, m, name); n > 0 && *count < SIGN_NAMES_MAX; n--) {
            if ((*count)++ > 0)
                put(v, ":", 1);
            put_word(v, name.ptr, name.len);
        }
    }
}

static size_t room_for(const struct sign_conf *c)
{
    size_t longest = 8;

    for (size_t i = 0; i < c->headers.count; i++)
        longest = c->headers.items[i].len > longest ? c->headers.items[i].len : longest;
    for (size_t i = 0; i < c->oversign.count; i++)
        longest = c->oversign.items[i].len > longest ? c->oversign.items[i].len : longest;
    return 4096 + SIGN_NAMES_MAX * (longest + 4);
}

static void hash_value(const struct sign_conf *c, const struct sign_message *m, tern_str names, tern_str whole,
                       uint8_t *used, struct dkim_hash *hash)
{
    bool relaxed = sign_header_relaxed(c);

    dkim_canon_headers(m->fields, m->field_count, names, relaxed, used, dkim_hash_add, hash);
    dkim_canon_field(whole, relaxed, true, dkim_hash_add, hash);
}

tern_str sign_field(tern_call *call, const struct sign_conf *c, const struct sign_message *m,
                    const struct sign_spec *spec, const struct dkim_private *key)
{
    static const char name[] = "DKIM-Signature: ";
    struct value v = { .room = room_for(c), .line = sizeof(name) - 1 };
    char text[DKIM_B_OCTETS_MAX * 4 / 3 + 8];
    uint8_t digest[DKIM_HASH_OCTETS], b[DKIM_B_OCTETS_MAX];
    struct dkim_hash hash;
    unsigned count = 0;

    v.at = tern->alloc(call, v.room);
    put(&v, name, sizeof(name) - 1);
    v.line = sizeof(name) - 1;
    put(&v, "v=1;", 4);
    put_tag(&v, tern->format(call, "a=%s;", dkim_algorithm_name(dkim_private_algorithm(key))));
    put_tag(&v, tern->format(call, "c=%s/%s;", sign_header_relaxed(c) ? "relaxed" : "simple",
                             sign_body_relaxed(c) ? "relaxed" : "simple"));
    put_tag(&v, tern->format(call, "d=%.*s;", (int)spec->domain.len, spec->domain.ptr));
    put_tag(&v, tern->format(call, "s=%.*s;", (int)spec->selector.len, spec->selector.ptr));
    put_tag(&v, tern->format(call, "t=%lld;", (long long)m->now_s));
    if (c->expire_s > 0)
        put_tag(&v, tern->format(call, "x=%lld;", (long long)(m->now_s + (int64_t)c->expire_s)));
    put_tag(&v, TERN_STR("h="));
    size_t names = v.len;
    put_names(&v, c, m, c->headers, (struct tern_list){ NULL, 0 }, &count);
    put_names(&v, c, m, c->oversign, c->headers, &count);
    size_t names_end = v.len;
    put(&v, ";", 1);
    (void)dkim_base64_encode(m->body_hash, DKIM_HASH_OCTETS, text, sizeof(text));
    put_tag(&v, tern->format(call, "bh=%s;", text));
    put_tag(&v, TERN_STR("b="));
    if (dkim_hash_init(&hash) < 0)
        return dkim_str(NULL, 0);
    hash_value(c, m, dkim_str(v.at + names, names_end - names), dkim_str(v.at, v.len),
               tern->alloc(call, m->field_count + 1), &hash);
    dkim_hash_end(&hash, digest);
    int octets = dkim_sign_hash(key, digest, b);
    if (octets < 0 || dkim_base64_encode(b, (size_t)octets, text, sizeof(text)) < 0)
        return dkim_str(NULL, 0);
    put_base64(&v, text);
    return dkim_str(v.at + sizeof(name) - 1, v.len - (sizeof(name) - 1));
}
