/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_local.c - any packet: what the parser takes is sound, lies in the packet, and comes out the same when it is
 * written anew. A second use of the input: an answer, as the worker shows it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "local/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_in(struct slice s, const char *packet, size_t size)
{
    assert(s.ptr >= packet && s.ptr + s.len < packet + size && s.ptr[s.len] == '\0' && strlen(s.ptr) == s.len);
}

static void try_request(const char *packet, size_t size)
{
    static char again[LOCAL_REQUEST_OCTETS_MAX];
    struct local_request r;

    if (local_request_parse(packet, size, &r) < 0)
        return;
    is_in(r.user, packet, size);
    is_in(r.place, packet, size);
    is_in(r.name, packet, size);
    is_in(r.head, packet, size);
    is_in(r.secret, packet, size);
    assert(r.args_count <= LOCAL_ARGS_MAX && r.env_count <= LOCAL_ENV_MAX && r.timeout_ms > 0 && r.user.len > 0);
    for (unsigned i = 0; i < r.args_count; i++)
        is_in(r.args[i], packet, size);
    for (unsigned i = 0; i < r.env_count; i++)
        is_in(r.env[i], packet, size);
    assert(r.op != LOCAL_PIPE || (r.args_count > 0 && r.args[0].ptr[0] == '/'));
    assert(r.op != LOCAL_PAM || strchr(r.place.ptr, '/') == NULL);
    assert(local_request_put(&r, again, sizeof(again)) == (int)size && memcmp(again, packet, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *packet = malloc(size + 1);
    struct local_answer answer;

    assert(packet != NULL);
    memcpy(packet, data, size);
    try_request(packet, size);
    if (size >= sizeof(answer)) {
        memcpy(&answer, data, sizeof(answer));
        local_answer_clean(&answer);
        assert(strlen(answer.text) < sizeof(answer.text) && answer.status >= LOCAL_DELIVERED &&
               answer.status <= LOCAL_REFUSED);
    }
    free(packet);
    return 0;
}
