/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name.c - names and addresses as SPF compares them. See check.h.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include "check.h"

tern_str spf_result_name(enum spf_result result)
{
    static const char *const names[] = { "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror" };

    return spf_str(names[result], strlen(names[result]));
}

bool spf_name_is_valid(tern_str name)
{
    size_t label = 0;

    if (name.len == 0 || name.len > SPF_NAME_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c < ' ' || c > '~' || c == '\\')
            return false;
        if (c != '.' && ++label > SPF_LABEL_OCTETS_MAX)
            return false;
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        }
    }
    return label > 0;
}

bool spf_domain_is_valid(tern_str name)
{
    return spf_name_is_valid(name) && name.ptr[0] != '[' && memchr(name.ptr, '.', name.len) != NULL;
}

bool spf_name_is_within(tern_str name, tern_str domain)
{
    if (name.len < domain.len || domain.len == 0)
        return false;
    if (!spf_equal_nocase(spf_str(name.ptr + name.len - domain.len, domain.len), domain))
        return false;
    return name.len == domain.len || name.ptr[name.len - domain.len - 1] == '.';
}

bool spf_address_parse(tern_str text, unsigned family, tern_address *ret)
{
    char copy[64];
    tern_address a = { .family = (uint8_t)family };

    if (text.len >= sizeof(copy) || memchr(text.ptr, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(family == 4 ? AF_INET : AF_INET6, copy, a.octets) != 1)
        return false;
    *ret = a;
    return true;
}

bool spf_address_within(const tern_address *address, const tern_address *network, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (address->family != network->family || memcmp(address->octets, network->octets, whole) != 0)
        return false;
    return rest == 0 || (address->octets[whole] ^ network->octets[whole]) >> (8 - rest) == 0;
}

size_t spf_address_dotted(const tern_address *address, bool reversed, char out[72])
{
    static const char hex[] = "0123456789abcdef";
    unsigned count = address->family == 4 ? 4 : 32;
    size_t n = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned at = reversed ? count - 1 - i : i;
        if (i > 0)
            out[n++] = '.';
        if (address->family == 4)
            n += (size_t)sprintf(out + n, "%u", address->octets[at]);
        else
            out[n++] = hex[at % 2 == 0 ? address->octets[at / 2] >> 4 : address->octets[at / 2] & 15];
    }
    out[n] = '\0';
    return n;
}

size_t spf_address_text(const tern_address *address, char out[48])
{
    out[0] = '\0';
    (void)inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->octets, out, 48);
    return strlen(out);
}
