/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_password.c - any octets as an entry. Promised: what is taken apart is within its bounds and whole; what
 * is refused has a reason and leaves the out-parameter alone; a cheap entry never fits an empty password.
 */
#include <assert.h>
#include <string.h>

#include <lib/password.h>

static void check_parts(const struct password_stored *s)
{
    assert(s->text_octets <= PASSWORD_STORED_OCTETS_MAX && strlen(s->text) == s->text_octets);
    assert(s->salt_octets <= PASSWORD_SALT_OCTETS_MAX && s->key_octets <= PASSWORD_KEY_OCTETS_MAX);
    if (s->kind == PASSWORD_CLEAR)
        assert(s->text_octets > 0 && s->text_octets <= PASSWORD_OCTETS_MAX);
    if (s->kind == PASSWORD_DIGEST || s->kind == PASSWORD_SCRAM)
        assert(s->digest != NULL && s->key_octets >= 16);
    if (s->kind == PASSWORD_SCRAM)
        assert(s->iterations >= PASSWORD_ITERATIONS_MIN && s->iterations <= PASSWORD_ITERATIONS_MAX && s->salt_octets > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct password_stored untouched;
    struct password_stored stored = { .iterations = 77 };
    const char *why = NULL;

    (void)password_init();
    untouched = stored;
    if (password_parse((tern_str){ (const char *)data, size }, &stored, &why) < 0) {
        assert(why != NULL && memcmp(&stored, &untouched, sizeof(stored)) == 0);
        return 0;
    }
    check_parts(&stored);
    assert(password_fits(&stored, (tern_str){ "", 0 }) == PASSWORD_WRONG);
    if (stored.kind == PASSWORD_CLEAR)
        assert(password_fits(&stored, (tern_str){ stored.text, stored.text_octets }) == PASSWORD_RIGHT);
    if (stored.kind == PASSWORD_DIGEST)
        assert(password_fits(&stored, (tern_str){ "x", 1 }) != PASSWORD_FAILED);
    return 0;
}
