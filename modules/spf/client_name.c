/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_name.c - the names of the client that have its address, for ptr and %{p}. See check.h.
 * Source: RFC 7208 5.5, 7.3.
 *
 * The names are asked for once in a check; whether one has the address only when it would be of use.
 */
#include "evaluate.h"

enum rank { THE_DOMAIN, BELOW_IT, ANY };

static tern_str str(const char *s)
{
    return spf_str(s, strlen(s));
}

static bool has_rank(const char *name, tern_str domain, enum rank rank)
{
    if (rank == ANY)
        return true;
    return rank == THE_DOMAIN ? spf_equal_nocase(str(name), domain) : spf_name_is_within(str(name), domain);
}

static enum outcome go_through_names(struct spf_check *c)
{
    bool ptr = c->purpose == SPF_FOR_PTR;
    tern_str domain = str(ptr ? c->target : c->frames[c->depth - 1].domain);

    for (enum rank rank = THE_DOMAIN; rank <= (ptr ? BELOW_IT : ANY); rank++) {
        for (unsigned i = 0; i < c->ptr_count; i++) {
            if (!has_rank(c->ptr[i], domain, rank) || c->ptr_state[i] == SPF_PTR_BAD)
                continue;
            if (c->ptr_state[i] == SPF_PTR_GOOD)
                return spf_client_name_found(c, c->ptr[i]);
            c->ptr_at = i;
            return spf_ask(c, SPF_ASKED_PTR_ADDRESS, c->ptr[i], spf_address_type(c));
        }
    }
    return spf_client_name_found(c, NULL);
}

enum outcome spf_find_client_name(struct spf_check *c, enum spf_purpose purpose)
{
    c->purpose = purpose;
    if (c->ptr_known)
        return go_through_names(c);
    if ((purpose == SPF_FOR_TERM || purpose == SPF_FOR_REDIRECT) && !spf_count_term(c))
        return spf_end(c, SPF_PERMERROR, "more than 10 terms that ask DNS");
    address_reverse_name(&c->in.client, c->name);
    return spf_ask(c, SPF_ASKED_PTR, c->name, TERN_DNS_PTR);
}

enum outcome spf_on_ptr(struct spf_check *c, const struct tern_dns_answer *a)
{
    c->ptr_known = true;
    if (c->purpose == SPF_FOR_PTR && !spf_count_void(c, a))
        return spf_end(c, SPF_PERMERROR, "too many terms that DNS has nothing for");
    for (size_t i = 0; a->status == TERN_FOUND && i < a->count && i < SPF_PTR_MAX; i++) {
        tern_str name = a->records[i].text;
        if (!address_name_is_valid(name))
            continue;
        memcpy(c->ptr[c->ptr_count], name.ptr, name.len);
        c->ptr[c->ptr_count++][name.len] = '\0';
    }
    return go_through_names(c);
}

/* 5.5: a name that DNS says nothing of is passed over. */
enum outcome spf_on_ptr_address(struct spf_check *c, const struct tern_dns_answer *a)
{
    c->ptr_state[c->ptr_at] = address_is_among(&c->in.client, a) ? SPF_PTR_GOOD : SPF_PTR_BAD;
    return go_through_names(c);
}
