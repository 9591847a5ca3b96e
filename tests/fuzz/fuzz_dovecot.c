/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_dovecot.c - any octets as lines of an auth server. Promised: what is taken lies inside the line; a yes names
 * a user that is one clean word; what is refused leaves the out-parameter alone.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/auth_dovecot/protocol.h"

static void check_inside(const char *line, size_t octets, tern_str s)
{
    assert(s.len == 0 || (s.ptr >= line && s.ptr + s.len <= line + octets));
}

static void take(char *line, size_t octets)
{
    struct dovecot_line got = { .number = 77 };

    if (dovecot_parse(line, octets, &got) < 0) {
        assert(got.number == 77 && got.user.ptr == NULL);
        return;
    }
    check_inside(line, octets, got.user);
    check_inside(line, octets, got.challenge);
    check_inside(line, octets, got.name);
    assert(got.challenge.len <= DOVECOT_CHALLENGE_OCTETS_MAX);
    if (got.word != DOVECOT_OK)
        return;
    assert(got.user.len > 0 && got.user.len <= DOVECOT_USER_OCTETS_MAX);
    for (size_t i = 0; i < got.user.len; i++)
        assert((unsigned char)got.user.ptr[i] >= ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1), *at = copy;

    memcpy(copy, data, size);
    copy[size] = '\n';
    while (at < copy + size) {
        char *end = memchr(at, '\n', (size_t)(copy + size - at) + 1);
        char *line = malloc((size_t)(end - at) + 1); /* its own, so that reading past it is seen */
        memcpy(line, at, (size_t)(end - at));
        take(line, (size_t)(end - at));
        free(line);
        at = end + 1;
    }
    free(copy);
    return 0;
}
