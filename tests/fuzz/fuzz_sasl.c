/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_sasl.c - whole exchanges: the first octet chooses mechanism and what is known, the rest are
 * messages with a 0x00 0xff between them. Promised: it ends, nobody gets in without the keys, and what
 * is handed up as a user's name is one.
 */
#include <assert.h>

#include "base/utf8.h"
#include "sasl/client.h"
#include "sasl/server.h"

#define ROUNDS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice next(struct slice *rest)
{
    size_t i = 0;

    while (i + 1 < rest->len && !(rest->ptr[i] == '\0' && (unsigned char)rest->ptr[i + 1] == 0xff))
        i++;
    bool cut = i + 1 < rest->len;
    struct slice message = cut ? slice_head(*rest, i) : *rest;
    *rest = slice_from(*rest, cut ? i + 2 : rest->len);
    return message;
}

static int binding(void *arg, struct slice name, unsigned char out[SASL_BINDING_OCTETS_MAX])
{
    (void)arg;
    memset(out, 7, SASL_BINDING_OCTETS_MAX);
    return slice_equal(name, SLICE("tls-exporter")) ? 32 : -1;
}

static void check_user(const struct sasl_server *s)
{
    struct slice user = buf_slice(&s->user);

    assert(user.len <= SASL_USER_OCTETS_MAX && utf8_valid(user));
    for (size_t i = 0; i < user.len; i++)
        assert((unsigned char)user.ptr[i] >= 0x20 && user.ptr[i] != 0x7f);
}

static void serve(uint8_t how, struct slice rest)
{
    static const struct sasl_keys keys = { .salt = "salt", .salt_octets = 4, .iterations = 4096,
                                           .stored_key = "nobody has this" };
    struct sasl_server_options o = { .mechanism = (enum sasl_mechanism)(how % SASL_MECHANISM_COUNT),
                                     .hostname = SLICE("mx.example"), .nonce = SLICE("nonce"),
                                     .binding = how >= 128 ? binding : NULL };
    struct sasl_server s;
    struct slice message = next(&rest);

    sasl_server_init(&s, &o);
    enum sasl_step step = sasl_server_begin(&s, (how & 64) != 0 ? NULL : &message);
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        if (step == SASL_STEP_VERIFY || step == SASL_STEP_LOOKUP)
            check_user(&s);
        if (step == SASL_STEP_CHALLENGE)
            step = sasl_server_input(&s, next(&rest));
        else if (step == SASL_STEP_VERIFY)
            step = sasl_server_verified(&s, false);
        else if (step == SASL_STEP_LOOKUP && o.mechanism == SASL_CRAM_MD5)
            step = sasl_server_cram(&s, SLICE("secret of nobody"));
        else if (step == SASL_STEP_LOOKUP)
            step = sasl_server_keys(&s, (how & 32) != 0 ? &keys : NULL, &keys);
        else
            break;
    }
    assert(step == SASL_STEP_WRONG || step == SASL_STEP_MALFORMED);
    sasl_server_fini(&s);
}

static void connect_to(uint8_t how, struct slice rest)
{
    static const enum sasl_mechanism known[] = { SASL_PLAIN, SASL_LOGIN, SASL_SCRAM_SHA_1, SASL_SCRAM_SHA_256 };
    struct buf out = BUF_INIT;
    struct sasl_client c;
    bool initial = false;
    int r = sasl_client_begin(&c, known[how % 4], SLICE("user"), SLICE("pencil"), SLICE("nonce"), &out, &initial);

    for (unsigned round = 0; r == 0 && round < ROUNDS_MAX; round++)
        r = sasl_client_input(&c, next(&rest), &out);
    assert(r < 0);
    assert(!c.proven);
    sasl_client_fini(&c);
    buf_wipe(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 20000)
        return 0;
    struct slice rest = slice_make((const char *)data + 2, size - 2);
    /* High iteration counts are slow and nothing new. */
    if (data[0] % 2 == 0)
        serve(data[1], rest);
    else if (memmem(rest.ptr, rest.len, "i=", 2) == NULL || memmem(rest.ptr, rest.len, "i=4096", 6) != NULL)
        connect_to(data[1], rest);
    return 0;
}
