/* SPDX-License-Identifier: Apache-2.0 */
#include "module/local_answer.h"

#include <stdio.h>

_Static_assert((int)TERN_LOCAL_DONE == (int)LOCAL_DELIVERED && (int)TERN_LOCAL_DEFERRED == (int)LOCAL_DEFERRED &&
                   (int)TERN_LOCAL_FAILED == (int)LOCAL_FAILED && (int)TERN_LOCAL_NO_USER == (int)LOCAL_NO_USER &&
                   (int)TERN_LOCAL_REFUSED == (int)LOCAL_REFUSED,
               "the words of the ABI are those of the protocol");
_Static_assert(sizeof(((struct tern_local_answer *)0)->text) == LOCAL_TEXT_OCTETS_MAX, "one text fits the other");

static const char *const enhanced[] = { [LOCAL_DELIVERED] = "2.0.0", [LOCAL_DEFERRED] = "4.3.0",
                                        [LOCAL_FAILED] = "5.3.0",    [LOCAL_NO_USER] = "5.1.1",
                                        [LOCAL_REFUSED] = "5.7.1" };

void local_answer_tell(struct tern_local_answer *ret, const struct local_answer *a)
{
    const char *plain = enhanced[a->status];

    ret->status = a->status;
    (void)snprintf(ret->enhanced, sizeof(ret->enhanced), "%s", a->enhanced[0] == plain[0] ? a->enhanced : plain);
    (void)snprintf(ret->text, sizeof(ret->text), "%s", a->text);
}
