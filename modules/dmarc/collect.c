/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect.c - keeps what aggregate reports will say. See collect.h.
 */
#include "dmarc.h"

#define tern dmarc_api

void dmarc_collect(tern_call *call, const struct dmarc_judged *judged)
{
    tern->note(call, "disposition",
               tern->format(call, "%s%s%s (dkim %s, spf %s)", dmarc_policy_name(judged->disposition),
                            judged->override[0] != '\0' ? ", " : "", judged->override,
                            judged->dkim_aligned ? "aligned" : "not aligned",
                            judged->spf_aligned ? "aligned" : "not aligned"));
}
