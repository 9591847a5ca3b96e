/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.c - an ARC-Message-Signature and an ARC-Seal. See seal.h. Source: RFC 8617 4.1.2, 4.1.3, 5.1.1, 5.1.2.
 */
#include "seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char aar_name[] = "ARC-Authentication-Results: ";
static const char ams_name[] = "ARC-Message-Signature: ", seal_name[] = "ARC-Seal: ";

size_t seal_room(const struct dkim_names *names)
{
    return SEAL_OCTETS_MAX + dkim_names_room(names);
}

/* ---- the text ---- */

/* All behind b= begins a line: where it is folded does not depend on what b= is. */
static void write_begin(struct dkim_write *w, const struct seal_spec *s, const char *name, const char *b)
{
    const char *algorithm = dkim_algorithm_name(dkim_private_algorithm(s->key));

    dkim_write(w, name, strlen(name));
    dkim_write(w, "a=", 2);
    dkim_write(w, algorithm, strlen(algorithm));
    dkim_write(w, ";", 1);
    dkim_write_tag(w, "b=");
    dkim_write_base64(w, b);
    dkim_write(w, ";", 1);
    if (!dkim_write_fold(w))
        dkim_write(w, " ", 1);
}

static void write_end(struct dkim_write *w, const struct seal_spec *s)
{
    dkim_write_tag(w, "i=%u;", s->instance);
    dkim_write_tag(w, "s=%.*s;", (int)s->selector.len, s->selector.ptr);
    dkim_write_tag(w, "t=%lld", (long long)s->now_s);
}

static void write_domain(struct dkim_write *w, const struct seal_spec *s)
{
    dkim_write_tag(w, "d=%.*s;", (int)s->domain.len, s->domain.ptr);
}

/* What h= names is *ret_names. */
static void write_ams(struct dkim_write *w, const struct seal_spec *s, const char *b, tern_str *ret_names)
{
    char hash[DKIM_WRITE_B64_OCTETS];

    write_begin(w, s, ams_name, b);
    (void)dkim_base64_encode(s->body_hash, DKIM_HASH_OCTETS, hash, sizeof(hash));
    dkim_write(w, "bh=", 3);
    dkim_write(w, hash, strlen(hash));
    dkim_write(w, ";", 1);
    dkim_write_tag(w, "c=relaxed/relaxed;");
    write_domain(w, s);
    dkim_write_tag(w, "h=");
    size_t begin = w->len;
    dkim_write_names(w, &s->names, s->fields, s->field_count);
    *ret_names = dkim_str(w->at + begin, w->len - begin);
    dkim_write(w, ";", 1);
    write_end(w, s);
}

static void write_seal(struct dkim_write *w, const struct seal_spec *s, const char *b)
{
    write_begin(w, s, seal_name, b);
    dkim_write(w, "cv=", 3);
    dkim_write(w, arc_cv_name(s->cv), 4);
    dkim_write(w, ";", 1);
    write_domain(w, s);
    write_end(w, s);
}

/* ---- signing ---- */

static int sign(const struct seal_spec *s, const uint8_t *digest, char text[DKIM_WRITE_B64_OCTETS])
{
    uint8_t b[DKIM_B_OCTETS_MAX];
    int octets = dkim_sign_hash(s->key, digest, b);

    return octets < 0 || dkim_base64_encode(b, (size_t)octets, text, DKIM_WRITE_B64_OCTETS) < 0 ? -EIO : 0;
}

static tern_str value_of(const struct dkim_write *w, size_t name_octets)
{
    return dkim_str(w->at + name_octets, w->len - name_octets);
}

int seal_message(const struct seal_spec *s, uint8_t *used, char *out, size_t room, tern_str *ret)
{
    uint8_t digest[DKIM_HASH_OCTETS];
    char text[DKIM_WRITE_B64_OCTETS];
    struct dkim_write w;
    struct dkim_hash hash;
    tern_str names;
    int r = dkim_hash_init(&hash);

    if (r < 0)
        return r;
    dkim_write_init(&w, out, room, s->line_max);
    write_ams(&w, s, "", &names);
    dkim_canon_headers(s->fields, s->field_count, names, true, used, dkim_hash_add, &hash);
    dkim_canon_field(dkim_str(w.at, w.len), true, true, dkim_hash_add, &hash);
    dkim_hash_end(&hash, digest);
    r = sign(s, digest, text);
    if (r < 0)
        return r;
    dkim_write_init(&w, out, room, s->line_max);
    write_ams(&w, s, text, &names);
    *ret = value_of(&w, sizeof(ams_name) - 1);
    return 0;
}

/* A field of ours as one of a message. The caller frees it. */
static int make_field(const char *name, tern_str value, struct dkim_field *ret)
{
    char *whole;
    int octets = asprintf(&whole, "%s%.*s\r\n", name, (int)value.len, value.ptr);

    if (octets < 0)
        return -ENOMEM;
    *ret = (struct dkim_field){ .whole = { whole, (size_t)octets } };
    return 0;
}

/* RFC 8617 5.1.2: of a broken chain nobody can say what it is, so that the seal is of its own set alone. */
static int hash_chain(const struct seal_spec *s, const struct arc_set *own, uint8_t out[DKIM_HASH_OCTETS])
{
    struct dkim_hash hash;
    uint8_t all[DKIM_HASH_OCTETS];
    int r = dkim_hash_init(&hash);

    if (r < 0)
        return r;
    for (unsigned i = 0; s->cv == ARC_CV_PASS && i < s->chain->count && r == 0; i++)
        r = arc_seal_hash(&s->chain->sets[i], &hash, out);
    if (r == 0)
        r = arc_seal_hash(own, &hash, out);
    dkim_hash_end(&hash, all); /* frees */
    return r;
}

static int digest_of(const struct seal_spec *s, tern_str signature, tern_str seal, uint8_t out[DKIM_HASH_OCTETS])
{
    struct dkim_field aar = { 0 }, ams = { 0 }, field = { .whole = seal };
    struct arc_set *own = calloc(1, sizeof(*own));
    int r = own != NULL ? make_field(aar_name, s->results, &aar) : -ENOMEM;

    if (r == 0)
        r = make_field(ams_name, signature, &ams);
    if (r == 0) {
        own->fields[ARC_AAR] = &aar;
        own->fields[ARC_AMS] = &ams;
        own->fields[ARC_SEAL] = &field;
        own->seal.s.b_raw = dkim_str(seal.ptr + seal.len, 0); /* it is empty as yet */
        r = hash_chain(s, own, out);
    }
    free((char *)ams.whole.ptr);
    free((char *)aar.whole.ptr);
    free(own);
    return r;
}

int seal_chain(const struct seal_spec *s, tern_str signature, char *out, size_t room, tern_str *ret)
{
    uint8_t digest[DKIM_HASH_OCTETS];
    char text[DKIM_WRITE_B64_OCTETS];
    struct dkim_write w;

    dkim_write_init(&w, out, room, s->line_max);
    write_seal(&w, s, "");
    int r = digest_of(s, signature, dkim_str(w.at, w.len), digest);
    if (r == 0)
        r = sign(s, digest, text);
    if (r < 0)
        return r;
    dkim_write_init(&w, out, room, s->line_max);
    write_seal(&w, s, text);
    *ret = value_of(&w, sizeof(seal_name) - 1);
    return 0;
}
