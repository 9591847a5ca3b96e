/* SPDX-License-Identifier: Apache-2.0 */
/* address.c - see address.h. Sources: RFC 1035 3.5 and RFC 3596 2.5 (reverse names). */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <lib/address.h>

bool address_name_is_valid(tern_str name)
{
    size_t label = 0;

    if (name.len == 0 || name.len > ADDRESS_NAME_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c < ' ' || c > '~' || c == '\\')
            return false;
        if (c != '.' && ++label > ADDRESS_LABEL_OCTETS_MAX)
            return false;
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        }
    }
    return label > 0;
}

bool address_parse(tern_str text, unsigned family, tern_address *ret)
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

bool address_within(const tern_address *address, const tern_address *network, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (address->family != network->family || memcmp(address->octets, network->octets, whole) != 0)
        return false;
    return rest == 0 || (address->octets[whole] ^ network->octets[whole]) >> (8 - rest) == 0;
}

bool address_is_among(const tern_address *address, const struct tern_dns_answer *answer)
{
    unsigned bits = address->family == 4 ? 32 : 128;
    tern_address got;

    for (size_t i = 0; answer->status == TERN_FOUND && i < answer->count; i++)
        if (address_parse(answer->records[i].text, address->family, &got) && address_within(address, &got, bits))
            return true;
    return false;
}

size_t address_dotted(const tern_address *address, bool reversed, char out[ADDRESS_DOTTED_OCTETS])
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

size_t address_text(const tern_address *address, char out[ADDRESS_TEXT_OCTETS])
{
    out[0] = '\0';
    (void)inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->octets, out, ADDRESS_TEXT_OCTETS);
    return strlen(out);
}

void address_reverse_name(const tern_address *address, char out[ADDRESS_REVERSE_OCTETS])
{
    size_t n = address_dotted(address, true, out);

    strcpy(out + n, address->family == 4 ? ".in-addr.arpa" : ".ip6.arpa");
}

unsigned address_record_type(const tern_address *address)
{
    return address->family == 4 ? TERN_DNS_A : TERN_DNS_AAAA;
}
