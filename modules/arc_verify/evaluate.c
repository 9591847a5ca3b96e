/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate.c - from the keys to the verdict on a chain whose form is right. See verify.h. Source: RFC 8617 5.2.
 */
#include "verify.h"

#define tern verify_api

#define READ_OCTETS 16384
#define BODIES_MAX  3 /* relaxed, simple, and that of the newest signature if it has an l= */

struct dkim_keys *verify_keys;

struct body_hash {
    struct dkim_body canon;
    struct dkim_hash hash;
    uint8_t digest[DKIM_HASH_OCTETS];
};
struct evaluation {
    tern_call *call;
    const struct verify_conf *c;
    struct verify_work *w;
    struct body_hash *bodies[BODIES_MAX];
    unsigned body_count;
    uint8_t *used;
    int error;
};

/* ---- bodies ---- */

static uint64_t limit_of(const struct dkim_signature *s)
{
    return s->has_length ? s->length : UINT64_MAX;
}

static struct body_hash *body_for(const struct evaluation *e, const struct dkim_signature *s)
{
    for (unsigned i = 0; i < e->body_count; i++)
        if (e->bodies[i]->canon.relaxed == s->body_relaxed && e->bodies[i]->canon.limit == limit_of(s))
            return e->bodies[i];
    return NULL;
}

static void want_body(struct evaluation *e, const struct dkim_signature *s)
{
    if (e->error < 0 || e->body_count == BODIES_MAX || body_for(e, s) != NULL)
        return;
    struct body_hash *body = tern->alloc(e->call, sizeof(*body));
    dkim_body_init(&body->canon, s->body_relaxed, limit_of(s), dkim_hash_add, &body->hash);
    e->error = dkim_hash_init(&body->hash);
    if (e->error == 0)
        e->bodies[e->body_count++] = body;
}

static void hash_bodies(struct evaluation *e)
{
    char *buffer = tern->alloc(e->call, READ_OCTETS);
    uint64_t at = 0;
    int64_t n = 0;

    while (e->error == 0 && (n = tern->body_read(e->call, at, buffer, READ_OCTETS)) > 0) {
        for (unsigned i = 0; i < e->body_count; i++)
            dkim_body_add(&e->bodies[i]->canon, buffer, (size_t)n);
        at += (uint64_t)n;
    }
    if (n < 0)
        e->error = (int)n;
    for (unsigned i = 0; i < e->body_count; i++) {
        dkim_body_end(&e->bodies[i]->canon);
        dkim_hash_end(&e->bodies[i]->hash, e->bodies[i]->digest);
    }
}

/*
 * Older signatures decide nothing but oldest-pass, so that one of them with an l= of its own is not worth another
 * reading of the body: it counts as one that does not pass.
 */
static void read_bodies(struct evaluation *e)
{
    const struct arc_chain *chain = &e->w->chain;

    want_body(e, &chain->sets[chain->count - 1].ams.s);
    for (unsigned i = 0; i + 1 < chain->count; i++)
        if (!chain->sets[i].ams.s.has_length)
            want_body(e, &chain->sets[i].ams.s);
    hash_bodies(e);
}

/* ---- one signature ---- */

static const char *signature_trouble(const struct verify_conf *c, const struct dkim_signature *s, int64_t now_s)
{
    if (s->algorithm == DKIM_RSA_SHA1)
        return "rsa-sha1 proves nothing any more";
    if (!dkim_name_is_valid(s->domain, 2))
        return "signed by a top-level domain";
    return s->expires >= 0 && now_s > s->expires + (int64_t)c->clock_skew_s ? "expired" : NULL;
}

/* Checks the digest by the key of `look`. */
static const char *check_digest(struct evaluation *e, struct verify_look *look, const uint8_t *digest)
{
    const struct dkim_signature *s = &look->signature->s;
    struct dkim_key *key = NULL;
    bool testing = false;
    const char *trouble = signature_trouble(e->c, s, tern->now_s(e->call));

    if (trouble == NULL)
        trouble = dkim_lookup_key(look->lookup, s, verify_keys, &key, &testing);
    if (trouble != NULL)
        return trouble;
    look->bits = dkim_key_bits(key);
    if (!dkim_key_is_ed25519(key) && look->bits < e->c->min_bits)
        trouble = "the key is too short";
    else if (!dkim_verify_hash(key, digest, s->b, s->b_octets))
        trouble = "the header was changed, or the key is another";
    dkim_key_unref(key);
    return trouble;
}

static int hash_header(struct evaluation *e, const struct arc_set *set, uint8_t out[DKIM_HASH_OCTETS])
{
    const struct dkim_signature *s = &set->ams.s;
    struct verify_work *w = e->w;
    struct dkim_hash hash;
    int r = dkim_hash_init(&hash);

    if (r < 0)
        return r;
    memset(e->used, 0, w->field_count);
    e->used[set->fields[ARC_AMS] - w->fields] = 1; /* it is not among what it signs */
    if (s->headers.len > 0)
        dkim_canon_headers(w->fields, w->field_count, s->headers, s->header_relaxed, e->used, dkim_hash_add, &hash);
    dkim_canon_signature(set->fields[ARC_AMS]->whole, s->b_raw, s->header_relaxed, dkim_hash_add, &hash);
    dkim_hash_end(&hash, out);
    return 0;
}

static const char *ams_trouble(struct evaluation *e, unsigned index)
{
    const struct arc_set *set = &e->w->chain.sets[index];
    const struct dkim_signature *s = &set->ams.s;
    const struct body_hash *body = body_for(e, s);
    uint8_t digest[DKIM_HASH_OCTETS];

    if (body == NULL)
        return "an l= of its own is not looked at in an older set";
    if (s->has_length && s->length > body->canon.total)
        return "l= is more than the body has";
    if (memcmp(body->digest, s->body_hash, DKIM_HASH_OCTETS) != 0)
        return "the body was changed";
    int r = hash_header(e, set, digest);
    if (r < 0) {
        e->error = r;
        return "no memory";
    }
    if (index + 1 == e->w->chain.count && s->has_length)
        e->w->unsigned_octets = body->canon.total - s->length;
    return check_digest(e, &e->w->ams[index], digest);
}

static bool ams_passes(struct evaluation *e, unsigned index)
{
    struct verify_look *look = &e->w->ams[index];

    look->looked_at = true;
    look->trouble = ams_trouble(e, index);
    return look->trouble == NULL && e->error == 0;
}

/* ---- the chain ---- */

static int hash_seals(const struct arc_chain *chain, uint8_t digests[][DKIM_HASH_OCTETS])
{
    struct dkim_hash running;
    uint8_t all[DKIM_HASH_OCTETS];
    int r = dkim_hash_init(&running);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < chain->count && r == 0; i++)
        r = arc_seal_hash(&chain->sets[i], &running, digests[i]);
    dkim_hash_end(&running, all); /* frees */
    return r;
}

/* Step 6. */
static bool seals_pass(struct evaluation *e)
{
    struct verify_work *w = e->w;
    uint8_t(*digests)[DKIM_HASH_OCTETS] = tern->alloc(e->call, w->chain.count * sizeof(digests[0]));

    e->error = hash_seals(&w->chain, digests);
    if (e->error < 0)
        return false;
    for (unsigned i = w->chain.count; i-- > 0;) {
        struct verify_look *look = &w->seals[i];
        look->looked_at = true;
        look->trouble = check_digest(e, look, digests[i]);
        if (look->trouble != NULL) {
            w->temporary = look->lookup->temporary;
            return false;
        }
    }
    return true;
}

/* Step 5: how far down the message is as it was. Below the first that fails nobody looks. */
static void find_oldest_pass(struct evaluation *e)
{
    struct verify_work *w = e->w;

    w->oldest_pass = 0;
    for (unsigned i = w->chain.count - 1; i-- > 0;) {
        if (ams_passes(e, i))
            continue;
        w->oldest_pass = i + 2;
        return;
    }
}

const char *verify_distrust(const struct verify_work *w)
{
    unsigned from = dkim_fields_named(w->fields, w->field_count, "from");

    if (from != 1)
        return from == 0 ? "the message has no From" : "the message has several From";
    if (!w->chain.sets[w->chain.count - 1].ams.signs_from)
        return "the newest signature is not of From";
    return w->unsigned_octets > 0 ? "l= leaves the end of the body unsigned" : NULL;
}

static void take_word(struct verify_work *w, const struct authres_read_result *result)
{
    static const char *const methods[] = { "dmarc", "spf", "dkim" };

    for (unsigned m = 0; m < VERIFY_METHOD_COUNT; m++) {
        char *word = w->words[m];
        /* The first one counts; but of several signatures it takes one that passes. */
        bool better = word[0] == '\0' || (m == VERIFY_DKIM && authres_is(result->result, "pass"));
        if (!authres_is(result->method, methods[m]) || !better || result->result.len > VERIFY_WORD_OCTETS_MAX)
            continue;
        for (size_t i = 0; i < result->result.len; i++) {
            char c = result->result.ptr[i];
            word[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        }
        word[result->result.len] = '\0';
    }
}

/* Of a field that is malformed, what stands before. */
static void read_words(struct verify_work *w, bool utf8)
{
    struct authres_reader reader;
    struct authres_read_result result;
    unsigned version;
    tern_str id;

    if (!authres_open(&reader, w->chain.sets[0].results, false, utf8, &id, &version))
        return;
    while (authres_next(&reader, &result))
        take_word(w, &result);
}

int verify_evaluate(tern_call *call, const struct verify_conf *c, struct verify_work *w)
{
    struct evaluation e = { .call = call, .c = c, .w = w };
    unsigned last = w->chain.count - 1;

    w->result = ARC_CV_FAIL;
    e.used = tern->alloc(call, w->field_count + 1);
    read_bodies(&e);
    if (e.error < 0)
        return e.error;
    if (!ams_passes(&e, last)) {
        w->temporary = w->ams[last].trouble == w->ams[last].lookup->trouble && w->ams[last].lookup->temporary;
        return e.error;
    }
    if (!seals_pass(&e))
        return e.error;
    find_oldest_pass(&e);
    if (e.error < 0)
        return e.error;
    w->result = ARC_CV_PASS;
    w->distrust = verify_distrust(w);
    read_words(w, tern->is_smtputf8(call));
    return 0;
}
