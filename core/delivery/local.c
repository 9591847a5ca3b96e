/* SPDX-License-Identifier: Apache-2.0 */
#include "delivery/local.h"

#include <stdio.h>

#include "base/clock.h"
#include "module/local_answer.h"

#define TIME_MIN_MS 1000 /* less is not worth a beginning: what is cut off is delivered twice */

_Static_assert((int)TERN_LOCAL_MAILDIR == (int)LOCAL_MAILDIR && (int)TERN_LOCAL_PIPE == (int)LOCAL_PIPE,
               "the words of the ABI are those of the protocol");

static struct slice of(tern_str s)
{
    return slice_make(s.ptr, s.len);
}

static bool fill(const struct tern_local *local, uint64_t octets, struct local_request *r)
{
    if (local->size < sizeof(*local) || local->argv.count > LOCAL_ARGS_MAX || local->env.count > LOCAL_ENV_MAX)
        return false;
    *r = (struct local_request){ .op = local->op, .octets = octets, .user = of(local->user), .place = of(local->path),
                                 .head = of(local->head), .output_max = local->output_octets };
    r->flags = (local->create ? LOCAL_CREATE : 0) | (local->lf ? LOCAL_LF : 0);
    r->args_count = (unsigned)local->argv.count;
    r->env_count = (unsigned)local->env.count;
    for (unsigned i = 0; i < r->args_count; i++)
        r->args[i] = of(local->argv.items[i]);
    for (unsigned i = 0; i < r->env_count; i++)
        r->env[i] = of(local->env.items[i]);
    return true;
}

void delivery_local_ask(const struct delivery_local *d, struct tern_local_answer *ret)
{
    struct local_answer answer = { LOCAL_DEFERRED, "4.3.0", "no request that tern-local would take" };
    struct local_request request;
    uint64_t now = clock_now_ms(), most = LOCAL_TIMEOUT_MS_MAX;
    uint64_t least = now + LOCAL_CLIENT_GRACE_MS + TIME_MIN_MS;
    uint64_t left_ms = d->deadline_ms > least ? d->deadline_ms - now - LOCAL_CLIENT_GRACE_MS : 0;

    if (left_ms == 0) {
        (void)snprintf(answer.text, sizeof(answer.text), "no time was left for this recipient");
    } else if (fill(d->local, d->octets, &request)) {
        most = left_ms < most ? left_ms : most;
        request.timeout_ms = (uint32_t)(d->local->timeout_ms < most ? d->local->timeout_ms : most);
        request.name = d->local->op == TERN_LOCAL_MAILDIR ? of(d->hostname) : SLICE("");
        local_client_ask(&request, &d->message, &answer);
    }
    local_answer_tell(ret, &answer);
}
