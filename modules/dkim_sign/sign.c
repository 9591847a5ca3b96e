/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sign.c - a DKIM-Signature field. See dkim_sign.h. Sources: RFC 6376 3.5, 5.4, 8.15 (a name once more in h= than
 * the header has it: nobody may add one), RFC 8463.
 */
#include "dkim_sign.h"

#define tern sign_api

static void hash_value(const struct sign_conf *c, const struct dkim_message *m, tern_str names, tern_str whole,
                       uint8_t *used, struct dkim_hash *hash)
{
    bool relaxed = sign_header_relaxed(c);

    dkim_canon_headers(m->fields, m->field_count, names, relaxed, used, dkim_hash_add, hash);
    dkim_canon_field(whole, relaxed, true, dkim_hash_add, hash);
}

tern_str sign_field(tern_call *call, const struct sign_conf *c, const struct dkim_message *m,
                    const struct sign_spec *spec, const struct dkim_private *key)
{
    static const char name[] = "DKIM-Signature: v=1;";
    struct dkim_names names = { c->headers, c->oversign };
    size_t room = 4096 + dkim_names_room(&names), value = sizeof("DKIM-Signature: ") - 1;
    char text[DKIM_WRITE_B64_OCTETS];
    uint8_t digest[DKIM_HASH_OCTETS], b[DKIM_B_OCTETS_MAX];
    struct dkim_write w;
    struct dkim_hash hash;

    dkim_write_init(&w, tern->alloc(call, room), room, DKIM_WRITE_LINE_OCTETS);
    dkim_write(&w, name, sizeof(name) - 1);
    dkim_write_tag(&w, "a=%s;", dkim_algorithm_name(dkim_private_algorithm(key)));
    dkim_write_tag(&w, "c=%s/%s;", sign_header_relaxed(c) ? "relaxed" : "simple",
                   sign_body_relaxed(c) ? "relaxed" : "simple");
    dkim_write_tag(&w, "d=%.*s;", (int)spec->domain.len, spec->domain.ptr);
    dkim_write_tag(&w, "s=%.*s;", (int)spec->selector.len, spec->selector.ptr);
    dkim_write_tag(&w, "t=%lld;", (long long)m->now_s);
    if (c->expire_s > 0)
        dkim_write_tag(&w, "x=%lld;", (long long)(m->now_s + (int64_t)c->expire_s));
    dkim_write_tag(&w, "h=");
    size_t begin = w.len;
    dkim_write_names(&w, &names, m->fields, m->field_count);
    size_t end = w.len;
    dkim_write(&w, ";", 1);
    (void)dkim_base64_encode(m->body_hash, DKIM_HASH_OCTETS, text, sizeof(text));
    dkim_write_tag(&w, "bh=%s;", text);
    dkim_write_tag(&w, "b=");
    if (dkim_hash_init(&hash) < 0)
        return dkim_str(NULL, 0);
    hash_value(c, m, dkim_str(w.at + begin, end - begin), dkim_str(w.at, w.len),
               tern->alloc(call, m->field_count + 1), &hash);
    dkim_hash_end(&hash, digest);
    int octets = dkim_sign_hash(key, digest, b);
    if (octets < 0 || dkim_base64_encode(b, (size_t)octets, text, sizeof(text)) < 0)
        return dkim_str(NULL, 0);
    dkim_write_base64(&w, text);
    return dkim_str(w.at + value, w.len - value);
}
