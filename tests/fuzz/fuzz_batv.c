/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_batv.c - tags of BATV, read and made.
 *
 * Promises: what is a tag has its parts inside of the local part; without our secret it is never ours; what is made is read
 * back as what it was made of, and is ours.
 */
#include <assert.h>
#include <string.h>

#include <batv/tag.h>
#include <lib/hmac.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The local part as it was meant, of one that was quoted or not. */
static tern_str unquoted(const struct mailbox_text *m, char *room)
{
    tern_str s = { room, 0 };

    if (m->text[0] != '"')
        return (tern_str){ m->text, m->local_len };
    for (size_t i = 1; i + 1 < m->local_len; i++) {
        i += m->text[i] == '\\';
        room[s.len++] = m->text[i];
    }
    return s;
}

static void check_round(const struct batv_keys *keys, tern_str local, int64_t today)
{
    char room[MAILBOX_OCTETS_MAX];
    struct mailbox_text made;
    struct batv_tag tag;

    if (batv_make(keys, local, TERN_STR("far.example"), today, &made) != BATV_OK)
        return;
    assert(made.len <= MAILBOX_OCTETS_MAX && made.text[made.len] == '\0');
    assert(!batv_fits(local, TERN_STR("far.example")) == (made.local_len > MAILBOX_LOCAL_OCTETS_MAX));
    assert(batv_split(unquoted(&made, room), &tag));
    assert(tag.core.len == local.len && memcmp(tag.core.ptr, local.ptr, local.len) == 0);
    assert(batv_check(keys, &tag, TERN_STR("far.example"), today) == BATV_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct batv_keys nobodys = { .age_days = 7 };
    struct batv_keys keys = { .secrets = { TERN_STR("nobody in the corpus has this secret") }, .secret_count = 1,
                              .number = (unsigned)size % 10, .age_days = (unsigned)size % BATV_AGE_DAYS_MAX };
    tern_str text = { size > 0 ? (const char *)data : "", size };
    struct batv_tag tag;

    if (hmac_init() < 0)
        return 0;
    if (batv_split(text, &tag)) {
        assert(tag.day.ptr + tag.day.len == tag.hash.ptr && tag.hash.ptr + tag.hash.len + 1 == tag.core.ptr);
        assert(tag.core.len > 0 && tag.core.ptr + tag.core.len == text.ptr + text.len);
        assert(batv_check(&nobodys, &tag, TERN_STR("far.example"), (int64_t)size) == BATV_FORGED);
        (void)batv_check(&keys, &tag, TERN_STR("far.example"), (int64_t)size);
    }
    check_round(&keys, text, (int64_t)size);
    return 0;
}
