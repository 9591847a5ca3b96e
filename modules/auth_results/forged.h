/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forged.h - whether a field Authentication-Results that somebody else wrote is taken for one of ours. Pure.
 */
#ifndef MODULES_AUTH_RESULTS_FORGED_H
#define MODULES_AUTH_RESULTS_FORGED_H

#include <tern/module.h>

#include <string.h>

#define FORGED_NAME "authentication-results"

/* Names of ours: `id`, and those of `others`, where "*.example.org" is all below example.org. */
struct forged_names {
    tern_str id;
    const struct tern_list *others;
};

/*
 * RFC 8601 5: a reader of whatever make must not take the field for ours. `value`: what stands behind the colon. True:
 * its authserv-id is ours; or it has none that can be read, so that nobody knows what a reader makes of it; or a name
 * of ours stands as a word in front of its first `;`, or so many words beyond ASCII that they are not gone through.
 */
bool forged_is_ours(tern_str value, const struct forged_names *names);
/*
 * The next field of that name in `header`, from *rest on, which it moves behind it: true, and its value. Counts
 * fields as the server's header_remove() does.
 */
bool forged_next(tern_str *rest, tern_str *ret_value);

#endif
