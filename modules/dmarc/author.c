/* SPDX-License-Identifier: Apache-2.0 */
/*
 * author.c - the domains of From, in the message as the client sent it. See dmarc.h. Source: RFC 9989 5.3.1, 11.5.
 *
 * Several addresses are one author if they have one domain. What two readers might read in two ways (from.h) names no
 * author.
 */
#include <lib/dkim.h>
#include <lib/field.h>
#include <lib/from.h>
#include <lib/idn.h>

#include "dmarc.h"

#define tern dmarc_api

struct reading {
    tern_call *call;
    struct dmarc_work *work;
    unsigned domains_max;
    const char *wrong;
};

/* Empty: it is no domain. */
static tern_str a_labels(tern_call *call, tern_str domain)
{
    char *out = tern->alloc(call, IDN_NAME_OCTETS_MAX + 1);
    tern_str name;

    return idn_to_ascii(domain, out, &name) && dkim_name_is_valid(name, 1) ? name : TERN_STR("");
}

static bool is_known(const struct dmarc_work *w, tern_str domain)
{
    for (unsigned i = 0; i < w->author_count; i++)
        if (dmarc_equal_nocase(w->authors[i], domain))
            return true;
    return false;
}

static bool each(void *arg, tern_str address)
{
    struct reading *r = arg;
    const char *at = memrchr(address.ptr, '@', address.len);
    tern_str domain = a_labels(r->call, dmarc_str(at + 1, address.len - (size_t)(at + 1 - address.ptr)));

    if (domain.len == 0)
        r->wrong = "the domain of From is none";
    else if (is_known(r->work, domain))
        return true;
    else if (r->work->author_count == r->domains_max)
        r->wrong = r->domains_max == 1 ? "From has addresses of several domains"
                                       : "From has addresses of too many domains";
    else
        r->work->authors[r->work->author_count++] = domain;
    return r->wrong == NULL;
}

static const char *read_field(tern_str whole, struct reading *r)
{
    const char *colon = memchr(whole.ptr, ':', whole.len);
    tern_str value = { colon + 1, whole.len - (size_t)(colon + 1 - whole.ptr) };

    if (!from_each(value, each, r) && r->wrong == NULL)
        r->wrong = "From is no list of addresses";
    return r->wrong;
}

const char *dmarc_authors(tern_call *call, bool several, struct dmarc_work *w)
{
    struct reading r = { .call = call, .work = w, .domains_max = several ? DMARC_AUTHORS_MAX : 1 };
    tern_str header, from;

    if (tern->header_octets(call, true, &header) < 0)
        return "the header could not be read";
    int count = field_only(header, "from", &from);
    if (count < 0)
        return "the header has too many fields";
    if (count != 1)
        return count == 0 ? "the message has no From" : "the message has several From";
    return read_field(from, &r);
}

bool dmarc_has_list_id(tern_call *call)
{
    return tern->header(call, "List-Id", 0) != NULL;
}
