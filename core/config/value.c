/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.c - one word of YAML as a typed value.
 *
 * Strict: a unit that is not known, a sign, a fraction or an overflow is refused; none of
 * them is rounded or cut into something the user did not write.
 */
#include "config/value.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "config/schema.h"

#define SHOWN_TEXT_OCTETS 60

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit time_units[] = {
    { "ms", 1 },
    { "s", 1000 },
    { "", 1000 },
    { "m", 60 * 1000 },
    { "h", 3600 * 1000 },
    { "d", 86400 * 1000 },
    { "w", 7 * 86400 * 1000 },
    { NULL, 0 },
};

static const struct unit size_units[] = {
    { "", 1 },           { "B", 1 },         { "KB", 1024 },
    { "K", 1024 },       { "MB", 1u << 20 }, { "M", 1u << 20 },
    { "GB", 1u << 30 },  { "G", 1u << 30 },  { "TB", 1ull << 40 },
    { "T", 1ull << 40 }, { NULL, 0 },
};

/* Digits and a unit, together at most `max`. */
static bool parse_amount(struct slice text, const struct unit *units, uint64_t max, uint64_t *ret)
{
    size_t digits = 0;
    uint64_t number, product;

    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
        digits++;
    if (digits == 0 || !slice_to_u64(slice_head(text, digits), &number))
        return false;
    struct slice name = slice_from(text, digits);
    for (const struct unit *u = units; u->name != NULL; u++) {
        if (!slice_equal_nocase(name, slice_cstr(u->name)))
            continue;
        if (__builtin_mul_overflow(number, u->factor, &product) || product > max)
            return false;
        *ret = product;
        return true;
    }
    return false;
}

bool schema_duration_ms(struct slice text, uint64_t *ret)
{
    return parse_amount(text, time_units, VALUE_DURATION_MS_MAX, ret);
}

bool schema_size(struct slice text, uint64_t *ret)
{
    return parse_amount(text, size_units, VALUE_SIZE_MAX, ret);
}

bool value_bool(struct slice text, bool *ret)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = { { "true", true },   { "yes", true }, { "on", true },
                  { "false", false }, { "no", false }, { "off", false } };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_equal_nocase(text, slice_cstr(words[i].word))) {
            *ret = words[i].value;
            return true;
        }
    }
    return false;
}

bool value_int(struct slice text, int64_t *ret)
{
    bool minus = text.len > 0 && text.ptr[0] == '-';
    uint64_t number;

    if (!slice_to_u64(slice_from(text, minus), &number) || number > (uint64_t)INT64_MAX + minus)
        return false;
    *ret = (int64_t)(minus ? 0 - number : number);
    return true;
}

bool value_rate(struct slice text, struct tern_rate *ret)
{
    ptrdiff_t slash = slice_find(text, '/');
    struct tern_rate rate;

    if (slash < 0 || !slice_to_u64(slice_head(text, (size_t)slash), &rate.count) || rate.count == 0)
        return false;
    struct slice per = slice_from(text, (size_t)slash + 1);
    char one[8] = "1"; /* "100/m" is 100/1m */
    if (per.len > 0 && per.len < sizeof(one) - 1 && (per.ptr[0] < '0' || per.ptr[0] > '9')) {
        memcpy(one + 1, per.ptr, per.len);
        per = slice_make(one, per.len + 1);
    }
    if (!schema_duration_ms(per, &rate.per_ms) || rate.per_ms == 0)
        return false;
    *ret = rate;
    return true;
}

bool value_percent(struct slice text, uint64_t *ret)
{
    if (text.len > 0 && text.ptr[text.len - 1] == '%')
        text.len--;
    return slice_to_u64(text, ret);
}

bool value_host(struct slice text, tern_address *ret)
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    char copy[INET6_ADDRSTRLEN];
    tern_address a = { .family = 4 };

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (strlen(copy) != text.len) /* a NUL inside */
        return false;
    if (inet_pton(AF_INET, copy, a.octets) != 1) {
        a.family = 6;
        if (inet_pton(AF_INET6, copy, a.octets) != 1)
            return false;
        if (memcmp(a.octets, mapped, sizeof(mapped)) == 0) {
            memcpy(a.octets, a.octets + 12, 4);
            memset(a.octets + 4, 0, 12);
            a.family = 4;
        }
    }
    *ret = a;
    return true;
}

bool value_address(struct slice text, tern_address *ret)
{
    struct slice host = text, port = { NULL, 0 };
    tern_address a;
    uint64_t number = 0;

    if (text.len > 0 && text.ptr[0] == '[') {
        ptrdiff_t close = slice_find(text, ']');
        if (close < 0)
            return false;
        host = slice_make(text.ptr + 1, (size_t)close - 1);
        port = slice_from(text, (size_t)close + 1);
        if (slice_find(host, ':') < 0 || (port.len > 0 && (port.ptr[0] != ':' || port.len == 1)))
            return false;
        port = slice_from(port, 1);
    } else if (!value_host(text, &a)) { /* not all of it is an address: a port may follow */
        ptrdiff_t colon = slice_find(text, ':');
        if (colon < 0 || (size_t)colon + 1 == text.len)
            return false;
        host = slice_head(text, (size_t)colon);
        port = slice_from(text, (size_t)colon + 1);
    }
    if (port.len > 0 && (!slice_to_u64(port, &number) || number == 0 || number > 65535))
        return false;
    if (!value_host(host, &a))
        return false;
    a.port = (uint16_t)number;
    *ret = a;
    return true;
}

const char *value_show(const struct yaml_node *node, char shown[VALUE_SHOWN_OCTETS])
{
    if (node->kind == YAML_LIST)
        return "a list";
    if (node->kind == YAML_MAP)
        return "a map";
    if (node->secret)
        return "(secret)";
    if (node->text.len == 0)
        return node->quoted ? "\"\"" : "nothing";
    size_t len = 0;
    while (len < node->text.len) { /* whole characters only */
        size_t octets = utf8_len(slice_from(node->text, len));
        if (octets == 0 || len + octets > SHOWN_TEXT_OCTETS)
            break;
        len += octets;
    }
    (void)snprintf(shown, VALUE_SHOWN_OCTETS, "\"%.*s%s\"", (int)len, node->text.ptr,
                   len < node->text.len ? "..." : "");
    return shown;
}

static void print_amount(struct buf *out, uint64_t amount, const struct unit *units,
                         const char *const *names)
{
    const char *name = names[0];
    uint64_t factor = 1;

    for (; *names != NULL; names++) {
        for (const struct unit *u = units; u->name != NULL; u++) {
            if (strcmp(u->name, *names) == 0 && amount > 0 && amount % u->factor == 0) {
                name = *names;
                factor = u->factor;
            }
        }
    }
    buf_printf(out, "%" PRIu64 "%s", amount / factor, name);
}

void value_print_ms(struct buf *out, uint64_t ms)
{
    static const char *const names[] = { "ms", "s", "m", "h", "d", NULL };

    if (ms == 0)
        buf_add_char(out, '0');
    else
        print_amount(out, ms, time_units, names);
}

void value_print_size(struct buf *out, uint64_t octets)
{
    static const char *const names[] = { "", "KB", "MB", "GB", "TB", NULL };
    print_amount(out, octets, size_units, names);
}
