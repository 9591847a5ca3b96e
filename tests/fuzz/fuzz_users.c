/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_users.c - a file of users; the first octet says which format. Promised: what is wrong has a reason; of
 * what is right every user is found, in any case of letters, and has entries that can be checked.
 */
#include <assert.h>
#include <ctype.h>
#include <string.h>

#include <lib/password.h>

#include "../../modules/auth_file/users.h"

static void check_entry(const struct users *users, const struct users_entry *e)
{
    assert(e->count >= 1 && e->count <= USERS_ENTRIES_MAX);
    for (unsigned i = 0; i < e->count; i++) {
        struct password_stored stored;
        const char *why;
        assert(strlen(users_stored(users, e, i).ptr) == users_stored(users, e, i).len);
        assert(password_parse(users_stored(users, e, i), &stored, &why) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct users_error error = { 0 };

    (void)password_init();
    if (size == 0)
        return 0;
    struct users *users = users_parse((const char *)data + 1, size - 1, data[0] & 1 ? USERS_YAML : USERS_LINES, &error);
    if (users == NULL) {
        assert(error.what[0] != '\0');
        return 0;
    }
    const struct users_entry *e = users_decoy(users, (tern_str){ "anybody", 7 });
    assert((e != NULL) == (users_count(users) > 0));
    if (e != NULL) {
        char name[USERS_NAME_OCTETS_MAX];
        tern_str n = users_name(users, e);
        assert(n.len > 0 && n.len <= sizeof(name));
        for (size_t i = 0; i < n.len; i++)
            name[i] = (unsigned char)n.ptr[i] < 0x80 ? (char)toupper(n.ptr[i]) : n.ptr[i];
        assert(users_find(users, (tern_str){ name, n.len }) == e);
        check_entry(users, e);
    }
    users_unref(users);
    return 0;
}
