/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_srs.c - local parts of SRS, read and made.
 *
 * Promises: what is read without our secret is never an address of ours; what is made is read back as what it was made of,
 * whatever local part it had; texts end with a NUL within their room.
 */
#include <assert.h>
#include <string.h>

#include <lib/hmac.h>
#include <lib/mailbox.h>
#include <lib/secrets.h>
#include <srs/address.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const struct srs_text *t)
{
    assert(t->len < sizeof(t->text) && t->text[t->len] == '\0');
}

static void check_round(const struct srs_keys *keys, tern_str local, int64_t day)
{
    struct srs_text made;
    struct srs_mailbox back;

    if (srs_encode(keys, local, TERN_STR("far.example"), day, &made) != SRS_OK)
        return;
    check_text(&made);
    enum srs_outcome r = srs_decode(keys, (tern_str){ made.text, made.len }, day, &back);
    if (r == SRS_BROKEN) { /* nothing can stand for an empty one */
        assert(local.len == 0);
        return;
    }
    assert(r == SRS_OK);
    check_text(&back.local);
    check_text(&back.domain);
    if (made.text[3] == '0')
        assert(back.local.len == local.len && memcmp(back.local.text, local.ptr, local.len) == 0);
    else
        assert(srs_is_srs((tern_str){ back.local.text, back.local.len }));
}

static void check_mailbox(tern_str local)
{
    struct mailbox_text m;

    if (!mailbox_compose(local, TERN_STR("far.example"), &m))
        return;
    assert(m.len <= MAILBOX_OCTETS_MAX && m.text[m.len] == '\0' && m.local_len < m.len && m.text[m.local_len] == '@');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char separators[] = "=-+";
    tern_str text = { size > 0 ? (const char *)data : "", size };
    tern_str secrets[SRS_SECRETS_MAX];
    struct srs_keys keys = { .secrets = { TERN_STR("nobody in the corpus has this secret") }, .secret_count = 1,
                             .hash_length = 20, .hash_min = 20, .age_days = 21,
                             .separator = separators[size % 3], .plain = size % 2 == 1 };
    struct srs_mailbox back;

    if (hmac_init() < 0)
        return 0;
    enum srs_outcome r = srs_decode(&keys, text, (int64_t)size, &back);
    assert(r != SRS_OK && (r == SRS_NONE) == !srs_is_srs(text));
    check_round(&keys, text, (int64_t)size);
    check_mailbox(text);
    assert(secrets_split(text, secrets, SRS_SECRETS_MAX) <= SRS_SECRETS_MAX + 1);
    return 0;
}
