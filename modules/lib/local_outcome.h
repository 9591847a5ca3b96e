/* SPDX-License-Identifier: Apache-2.0 */
/* local_outcome.h - what an answer of tern-local means for a recipient. */
#ifndef LIB_LOCAL_OUTCOME_H
#define LIB_LOCAL_OUTCOME_H

#include <tern/module.h>

#include <string.h>

struct local_outcome {
    tern_verdict verdict;
    unsigned code;
    const char *enhanced, *text;
};

/*
 * `chosen`: the user was made of the address; then one whom nobody knows, or who gets no mail, is no mailbox. One that
 * the configuration names is the operator's mistake: the mail waits for him to mend it.
 */
static inline struct local_outcome local_outcome(const struct tern_local_answer *a, bool chosen)
{
    switch (a->status) {
    case TERN_LOCAL_DONE: return (struct local_outcome){ TERN_ACCEPT, 250, a->enhanced, a->text };
    case TERN_LOCAL_FAILED: return (struct local_outcome){ TERN_REJECT, 550, a->enhanced, a->text };
    case TERN_LOCAL_NO_USER:
        if (chosen)
            return (struct local_outcome){ TERN_REJECT, 550, "5.1.1", "There is no such mailbox here" };
        return (struct local_outcome){ TERN_DEFER, 451, "4.3.5", a->text };
    case TERN_LOCAL_REFUSED: return (struct local_outcome){ TERN_DEFER, 451, "4.3.5", a->text };
    default: break;
    }
    return (struct local_outcome){ TERN_DEFER, strcmp(a->enhanced, "4.2.2") == 0 ? 452 : 451, a->enhanced, a->text };
}

#endif
