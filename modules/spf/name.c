/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name.c - names as SPF compares them. See check.h.
 */
#include "check.h"

tern_str spf_result_name(enum spf_result result)
{
    static const tern_str names[] = { { "none", 4 }, { "neutral", 7 },   { "pass", 4 },     { "fail", 4 },
                                      { "softfail", 8 }, { "temperror", 9 }, { "permerror", 9 } };

    return names[result];
}

bool spf_domain_is_valid(tern_str name)
{
    return address_name_is_valid(name) && name.ptr[0] != '[' && memchr(name.ptr, '.', name.len) != NULL;
}

bool spf_name_is_within(tern_str name, tern_str domain)
{
    if (name.len < domain.len || domain.len == 0)
        return false;
    if (!spf_equal_nocase(spf_str(name.ptr + name.len - domain.len, domain.len), domain))
        return false;
    return name.len == domain.len || name.ptr[name.len - domain.len - 1] == '.';
}
