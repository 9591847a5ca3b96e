/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dkim_rsa.c - what our RSA takes is what OpenSSL's EVP_PKEY_verify() takes: good signatures, and all ways of being none,
 * among them those that are right but for a part of the padding or of the DigestInfo.
 */
#include <CUnit/Basic.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lib/dkim_rsa.h>

#define OCTETS_MAX 1024

struct pair {
    EVP_PKEY *pkey;
    struct dkim_rsa *rsa;
    size_t octets;
};

static EVP_PKEY *generate(unsigned bits, unsigned long e)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
    EVP_PKEY *pkey = NULL;
    BIGNUM *number = BN_new();

    CU_ASSERT_TRUE_FATAL(BN_set_word(number, e) == 1 && EVP_PKEY_keygen_init(ctx) == 1);
    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits), 1);
    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, number), 1);
    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_generate(ctx, &pkey), 1);
    BN_free(number);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static bool theirs(const struct pair *p, const uint8_t *hash, const uint8_t *b, size_t octets)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, p->pkey, NULL);

    CU_ASSERT_TRUE_FATAL(EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                         EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1);
    bool good = EVP_PKEY_verify(ctx, b, octets, hash, 32) == 1;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

static void compare(const char *what, const struct pair *p, const uint8_t *hash, const uint8_t *b, size_t octets, bool want)
{
    bool is = dkim_rsa_verify(p->rsa, hash, b, octets), other = theirs(p, hash, b, octets);

    if (is != want || other != want)
        fprintf(stderr, "  %s, %zu octets: %d, OpenSSL %d\n", what, p->octets, is, other);
    CU_ASSERT_EQUAL(is, want);
    CU_ASSERT_EQUAL(other, want);
    CU_ASSERT_EQUAL(ERR_peek_error(), 0);
}

/* em^d: the signature that opens to these octets, whatever they are. */
static void sign_raw(const struct pair *p, const uint8_t *em, uint8_t *b)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, p->pkey, NULL);
    size_t octets = OCTETS_MAX;

    CU_ASSERT_TRUE_FATAL(EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1);
    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_sign(ctx, b, &octets, em, p->octets), 1);
    CU_ASSERT_EQUAL_FATAL(octets, p->octets);
    EVP_PKEY_CTX_free(ctx);
}

static void encode(const uint8_t *hash, uint8_t *em, size_t octets)
{
    static const uint8_t info[] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                    0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };

    memset(em, 0xff, octets);
    em[0] = 0;
    em[1] = 1;
    em[octets - 52] = 0;
    memcpy(em + octets - 51, info, sizeof(info));
    memcpy(em + octets - 32, hash, 32);
}

/* Each octet of what a signature opens to counts, and nothing may stand behind a shorter padding. */
static void try_encodings(const struct pair *p, const uint8_t *hash)
{
    uint8_t em[OCTETS_MAX], b[OCTETS_MAX];

    for (size_t i = 1; i < p->octets; i += i < 20 || i > p->octets - 60 ? 1 : 17) {
        encode(hash, em, p->octets);
        em[i] ^= (uint8_t)(1 + rand() % 255);
        sign_raw(p, em, b);
        compare("an octet inside is another", p, hash, b, p->octets, false);
    }
    memset(em, 0, p->octets); /* 00 01 FF*8 00 DigestInfo hash, and a tail that is the attacker's */
    em[1] = 1;
    memset(em + 2, 0xff, 8);
    uint8_t whole[OCTETS_MAX];
    encode(hash, whole, p->octets);
    memcpy(em + 10, whole + p->octets - 52, 52);
    sign_raw(p, em, b);
    compare("a short padding", p, hash, b, p->octets, false);
    encode(hash, em, p->octets); /* DigestInfo without its NULL: RFC 8017 lets who verifies take it, OpenSSL and we do not */
    memset(em + 2, 0xff, p->octets - 52);
    uint8_t *info = em + p->octets - 49;
    em[p->octets - 50] = 0;
    memcpy(info, "\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20", 17);
    sign_raw(p, em, b);
    compare("no NULL", p, hash, b, p->octets, false);
}

static void try_key(unsigned bits, unsigned long e)
{
    struct pair p = { .pkey = generate(bits, e), .octets = (bits + 7) / 8 };
    uint8_t hash[32], em[OCTETS_MAX], b[OCTETS_MAX + 1] = { 0 }, other[OCTETS_MAX];

    p.rsa = dkim_rsa_new(p.pkey);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p.rsa);
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < sizeof(hash); i++)
            hash[i] = (uint8_t)rand();
        encode(hash, em, p.octets);
        sign_raw(&p, em, b);
        compare("a good one", &p, hash, b, p.octets, true);
        compare("too short", &p, hash, b, p.octets - 1, false);
        compare("too long", &p, hash, b, p.octets + 1, false);
        memcpy(other, b, p.octets);
        other[(size_t)rand() % p.octets] ^= (uint8_t)(1 << rand() % 8);
        compare("a bit is another", &p, hash, other, p.octets, false);
        hash[rand() % 32] ^= 1;
        compare("of something else", &p, hash, b, p.octets, false);
    }
    memset(other, 0, sizeof(other));
    compare("nothing", &p, hash, other, p.octets, false);
    other[p.octets - 1] = 1;
    compare("one", &p, hash, other, p.octets, false);
    memset(other, 0xff, sizeof(other));
    compare("more than the modulus", &p, hash, other, p.octets, false);
    try_encodings(&p, hash);
    dkim_rsa_free(p.rsa);
    EVP_PKEY_free(p.pkey);
}

static void test_keys(void)
{
    static const struct {
        unsigned bits;
        unsigned long e;
    } rows[] = { { 1024, 65537 }, { 1025, 3 }, { 1031, 17 }, { 2048, 65537 }, { 2048, 3 }, { 1536, 65539 }, { 1024, 0x100000007 } };

    srand(1);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        try_key(rows[i].bits, rows[i].e);
}

/* A signature s is one, s + n is none, though the arithmetic is the same. */
static void test_beyond_the_modulus(void)
{
    struct pair p = { .octets = 128 };
    uint8_t hash[32] = { 7 }, em[OCTETS_MAX], b[OCTETS_MAX];
    BIGNUM *n = NULL, *s = NULL;
    bool found = false;

    for (unsigned i = 0; i < 20 && !found; i++) {
        dkim_rsa_free(p.rsa);
        EVP_PKEY_free(p.pkey);
        p.pkey = generate(1024, 65537);
        p.rsa = dkim_rsa_new(p.pkey);
        CU_ASSERT_EQUAL_FATAL(EVP_PKEY_get_bn_param(p.pkey, OSSL_PKEY_PARAM_RSA_N, &n), 1);
        for (unsigned k = 0; k < 50 && !found; k++) {
            hash[1] = (uint8_t)k;
            encode(hash, em, p.octets);
            sign_raw(&p, em, b);
            s = BN_bin2bn(b, 128, s);
            BN_add(s, s, n);
            found = BN_num_bits(s) <= 1024 && BN_bn2binpad(s, b, 128) == 128;
        }
    }
    CU_ASSERT_TRUE(found);
    compare("past the modulus", &p, hash, b, p.octets, false);
    BN_free(n);
    BN_free(s);
    dkim_rsa_free(p.rsa);
    EVP_PKEY_free(p.pkey);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("RSA of DKIM", NULL, NULL);
    CU_add_test(s, "keys", test_keys);
    CU_add_test(s, "beyond the modulus", test_beyond_the_modulus);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
