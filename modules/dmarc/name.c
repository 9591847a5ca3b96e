/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name.c - domains and the names that a tree walk asks for. See check.h. Source: RFC 9989 4.10.
 */
#include "check.h"

unsigned dmarc_labels(tern_str name)
{
    unsigned labels = name.len > 0;

    for (size_t i = 0; i < name.len; i++)
        labels += name.ptr[i] == '.';
    return labels;
}

tern_str dmarc_suffix(tern_str name, unsigned labels)
{
    for (unsigned has = dmarc_labels(name); has > labels; has--) {
        const char *dot = memchr(name.ptr, '.', name.len);
        name = dot != NULL ? dmarc_str(dot + 1, name.len - (size_t)(dot + 1 - name.ptr))
                           : dmarc_str(name.ptr + name.len, 0);
    }
    return name;
}

bool dmarc_name_is_within(tern_str name, tern_str domain)
{
    if (domain.len == 0 || name.len < domain.len ||
        !dmarc_equal_nocase(dmarc_str(name.ptr + name.len - domain.len, domain.len), domain))
        return false;
    return name.len == domain.len || name.ptr[name.len - domain.len - 1] == '.';
}

tern_str dmarc_walk_next(tern_str domain, tern_str target)
{
    unsigned labels = dmarc_labels(target) - 1;

    /* Step 4: at its first step a walk passes over what makes the name longer than eight questions. */
    if (target.len == domain.len && labels > DMARC_WALK_LABELS)
        labels = DMARC_WALK_LABELS;
    return dmarc_suffix(target, labels);
}
