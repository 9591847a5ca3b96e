/* SPDX-License-Identifier: Apache-2.0 */
/* api_local.c - what a BLOCKING step asks of tern-local. */
#include "local/client.h"
#include "module/api.h"
#include "module/local_answer.h"

static struct slice of(tern_str s)
{
    return slice_make(s.ptr, s.len);
}

void api_pam_sync(tern_call *call, const struct tern_pam *pam, struct tern_local_answer *ret)
{
    struct local_answer answer;
    struct local_request r = { .op = LOCAL_PAM, .place = of(pam->service), .user = of(pam->user),
                               .secret = of(pam->password), .name = of(pam->address) };

    (void)call;
    r.timeout_ms = (uint32_t)(pam->timeout_ms < LOCAL_TIMEOUT_MS_MAX ? pam->timeout_ms : LOCAL_TIMEOUT_MS_MAX);
    local_client_ask(&r, NULL, &answer);
    local_answer_tell(ret, &answer);
    explicit_bzero(&answer, sizeof(answer));
}
