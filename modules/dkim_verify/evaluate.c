/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate.c - from the key record to the verdict on a signature. See verify.h. Source: RFC 6376 6.1.2, 6.1.3.
 */
#include "verify.h"

#define tern verify_api

#define READ_OCTETS 16384

struct dkim_keys *verify_keys;

/* A hash of the body, for all signatures that want the same. */
struct body_hash {
    struct dkim_body canon;
    struct dkim_hash hash;
    uint8_t digest[DKIM_HASH_OCTETS];
};
struct ready {
    struct verify_look *look;
    struct dkim_key *key;
    struct body_hash *body;
};
/* On the stack, and not zeroed: most messages need a small part of it. */
struct evaluation {
    unsigned ready_count, body_count;
    struct ready ready[VERIFY_SIGNATURES_MAX];
    struct body_hash bodies[VERIFY_SIGNATURES_MAX];
    char octets[READ_OCTETS];
};

static void judge(struct verify_look *look, enum verify_outcome outcome, const char *reason)
{
    look->outcome = outcome;
    look->reason = reason;
}

static void take_key(struct evaluation *e, const struct verify_conf *c, struct verify_look *look)
{
    struct dkim_key *key = NULL;
    const char *trouble = dkim_lookup_key(&look->lookup, &look->signature, verify_keys, &key, &look->testing);

    if (trouble != NULL) {
        judge(look, VERIFY_PERMERROR, trouble);
        return;
    }
    look->bits = dkim_key_bits(key);
    if (!dkim_key_is_ed25519(key) && look->bits < c->min_bits) {
        judge(look, VERIFY_POLICY, "the key is too short");
        dkim_key_unref(key);
        return;
    }
    e->ready[e->ready_count++] = (struct ready){ .look = look, .key = key };
}

/* ---- the body ---- */

static int want_body(struct evaluation *e, struct ready *r)
{
    const struct dkim_signature *s = &r->look->signature;
    uint64_t limit = s->has_length ? s->length : UINT64_MAX;

    for (unsigned i = 0; i < e->body_count && r->body == NULL; i++)
        if (e->bodies[i].canon.relaxed == s->body_relaxed && e->bodies[i].canon.limit == limit)
            r->body = &e->bodies[i];
    if (r->body != NULL)
        return 0;
    r->body = &e->bodies[e->body_count];
    dkim_body_init(&r->body->canon, s->body_relaxed, limit, dkim_hash_add, &r->body->hash);
    int err = dkim_hash_init(&r->body->hash);
    if (err == 0)
        e->body_count++;
    return err;
}

static int hash_bodies(tern_call *call, struct evaluation *e)
{
    uint64_t at = 0;
    int64_t n;

    while ((n = tern->body_read(call, at, e->octets, sizeof(e->octets))) > 0) {
        for (unsigned i = 0; i < e->body_count; i++)
            dkim_body_add(&e->bodies[i].canon, e->octets, (size_t)n);
        at += (uint64_t)n;
    }
    for (unsigned i = 0; i < e->body_count; i++) {
        dkim_body_end(&e->bodies[i].canon);
        dkim_hash_end(&e->bodies[i].hash, e->bodies[i].digest);
    }
    return n < 0 ? (int)n : 0;
}

/* ---- the signature ---- */

static int hash_header(tern_call *call, const struct verify_work *w, const struct verify_look *look,
                       uint8_t out[DKIM_HASH_OCTETS])
{
    const struct dkim_signature *s = &look->signature;
    uint8_t *used = tern->alloc(call, w->field_count + 1);
    struct dkim_hash hash;
    int r = dkim_hash_init(&hash);

    if (r < 0)
        return r;
    /* It is not among what it signs, though h= may name others of its kind. */
    used[look->field - w->fields] = 1;
    dkim_canon_headers(w->fields, w->field_count, s->headers, s->header_relaxed, used, dkim_hash_add, &hash);
    dkim_canon_signature(look->field->whole, s->b_raw, s->header_relaxed, dkim_hash_add, &hash);
    dkim_hash_end(&hash, out);
    return 0;
}

static int decide(tern_call *call, const struct verify_conf *c, const struct verify_work *w, struct ready *r)
{
    struct verify_look *look = r->look;
    const struct dkim_signature *s = &look->signature;
    uint8_t digest[DKIM_HASH_OCTETS];

    if (s->has_length && s->length > r->body->canon.total) {
        judge(look, VERIFY_FAIL, "l= is more than the body has");
        return 0;
    }
    if (memcmp(r->body->digest, s->body_hash, DKIM_HASH_OCTETS) != 0) {
        judge(look, VERIFY_FAIL, "the body was changed");
        return 0;
    }
    int err = hash_header(call, w, look, digest);
    if (err < 0)
        return err;
    if (!dkim_verify_hash(r->key, digest, s->b, s->b_octets)) {
        judge(look, VERIFY_FAIL, "the header was changed, or the key is another");
        return 0;
    }
    if (s->has_length)
        look->unsigned_octets = r->body->canon.total - s->length;
    if (look->unsigned_octets > 0 && c->partial_body == VERIFY_PARTIAL_POLICY)
        judge(look, VERIFY_POLICY, "l= leaves the end of the body unsigned");
    else
        judge(look, VERIFY_PASS, NULL);
    return 0;
}

/* RFC 6376 3.6.1: who tests is treated as who does not sign. */
static void spare_testers(struct verify_look *look)
{
    if (look->testing && look->outcome == VERIFY_FAIL)
        look->outcome = VERIFY_NEUTRAL;
}

int verify_evaluate(tern_call *call, const struct verify_conf *c, struct verify_work *w)
{
    struct evaluation e;
    int r = 0;

    e.ready_count = e.body_count = 0;
    for (unsigned i = 0; i < w->look_count; i++)
        if (w->looks[i].outcome == VERIFY_NONE)
            take_key(&e, c, &w->looks[i]);
    for (unsigned i = 0; i < e.ready_count && r == 0; i++)
        r = want_body(&e, &e.ready[i]);
    if (e.ready_count > 0) {
        int read = hash_bodies(call, &e); /* also ends the hashes */
        r = r < 0 ? r : read;
    }
    for (unsigned i = 0; i < e.ready_count; i++) {
        if (r == 0)
            r = decide(call, c, w, &e.ready[i]);
        spare_testers(e.ready[i].look);
        dkim_key_unref(e.ready[i].key);
    }
    return r;
}
