/* SPDX-License-Identifier: Apache-2.0 */
/*
 * domain.h - mail domains: RFC 5321 4.1.2 Domain, address literals (4.1.3) and U-labels (RFC 6531).
 *
 * One domain has one spelling in Tern: A-labels in lower case. Pure; any thread.
 */
#ifndef TERN_MIME_DOMAIN_H
#define TERN_MIME_DOMAIN_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/slice.h"

#define DOMAIN_OCTETS_MAX       255 /* RFC 5321 4.5.3.1.2 */
#define DOMAIN_LABEL_OCTETS_MAX 63  /* RFC 1035 2.3.4 */

/* sub-domain *("." sub-domain): letters, digits, inner hyphens, and underscores anywhere. ASCII only. */
bool domain_is_valid(struct slice text);
/* "[192.0.2.1]" or "[IPv6:2001:db8::1]", with the brackets. A General-address-literal
 * of another tag is refused: nothing could be sent there. */
bool domain_is_literal(struct slice text);
/*
 * The one spelling of `text`: A-labels, lower case, NUL-terminated, in `arena`. Literals are kept.
 * Returns -EBADMSG if it is no domain, -EILSEQ if it has U-labels and `utf8` is false,
 * -ENAMETOOLONG above DOMAIN_OCTETS_MAX (as given or as A-labels).
 */
int domain_parse(struct slice text, bool utf8, struct arena *arena, tern_str *ret);
/* For people: A-labels as U-labels where they decode, else `domain` itself. */
tern_str domain_to_unicode(struct slice domain, struct arena *arena);

#endif
