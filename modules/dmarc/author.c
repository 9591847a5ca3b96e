/* SPDX-License-Identifier: Apache-2.0 */
/*
 * author.c - the domain of From, in the message as the client sent it. See dmarc.h. Source: RFC 9989 5.3.1, 11.5.
 *
 * Several addresses are one author if they have one domain. What two readers might read in two ways (from.h) names no
 * author.
 */
#include <lib/dkim_message.h>
#include <lib/from.h>
#include <lib/idn.h>

#include "dmarc.h"

#define tern dmarc_api

struct reading {
    tern_call *call;
    tern_str domain;
    const char *wrong;
};

/* Empty: it is no domain. */
static tern_str a_labels(tern_call *call, tern_str domain)
{
    char *out = tern->alloc(call, IDN_NAME_OCTETS_MAX + 1);
    tern_str name;

    return idn_to_ascii(domain, out, &name) && dkim_name_is_valid(name, 1) ? name : TERN_STR("");
}

static bool each(void *arg, tern_str address)
{
    struct reading *r = arg;
    const char *at = memrchr(address.ptr, '@', address.len);
    tern_str domain = a_labels(r->call, dmarc_str(at + 1, address.len - (size_t)(at + 1 - address.ptr)));

    if (domain.len == 0)
        r->wrong = "the domain of From is none";
    else if (r->domain.len > 0 && !dmarc_equal_nocase(r->domain, domain))
        r->wrong = "From has addresses of several domains";
    r->domain = domain;
    return r->wrong == NULL;
}

static const char *read_field(const struct dkim_field *field, struct reading *r)
{
    const char *colon = memchr(field->whole.ptr, ':', field->whole.len);
    tern_str value = { colon + 1, field->whole.len - (size_t)(colon + 1 - field->whole.ptr) };

    if (!from_each(value, each, r) && r->wrong == NULL)
        r->wrong = "From is no list of addresses";
    return r->wrong;
}

const char *dmarc_author(tern_call *call, tern_str *ret)
{
    struct dkim_field *fields = NULL;
    const struct dkim_field *from = NULL;
    struct reading r = { .call = call };
    int count = dkim_header_cut(tern, call, true, &fields, NULL);

    if (count < 0)
        return count == -E2BIG ? "the header has too many fields" : "the header could not be read";
    for (int i = 0; i < count; i++) {
        if (!dkim_equal_nocase(fields[i].name, TERN_STR("from")))
            continue;
        if (from != NULL)
            return "the message has several From";
        from = &fields[i];
    }
    if (from == NULL)
        return "the message has no From";
    const char *wrong = read_field(from, &r);
    if (wrong == NULL)
        *ret = r.domain;
    return wrong;
}

bool dmarc_has_list_id(tern_call *call)
{
    return tern->header(call, "List-Id", 0) != NULL;
}
