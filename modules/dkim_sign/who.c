/* SPDX-License-Identifier: Apache-2.0 */
/*
 * who.c - which domains sign a message, with which selectors and key files. See dkim_sign.h.
 *
 * Names of people who write mail end up in paths: a domain is letters, digits, "-", "_" and dots between
 * labels, or it does not sign. One beyond ASCII is looked for, and signs, as A-labels (RFC 8616 5 lets it).
 */
#include "dkim_sign.h"

#include "../lib/from.h"
#include "../lib/idn.h"

#define tern sign_api

struct identity {
    char address[FROM_ADDRESS_OCTETS_MAX + 1]; /* lower case; of a user it may have no domain */
    tern_str domain;                           /* its end, or empty */
    unsigned count;
};

static void lower(char *s)
{
    for (; *s != '\0'; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s + 32);
}

/* The first address of From: RFC 5322 3.6.2 has Sender where there are several, but DMARC looks at From. */
static bool take(void *arg, tern_str address)
{
    struct identity *i = arg;

    if (i->count++ == 0 && address.len < sizeof(i->address))
        memcpy(i->address, address.ptr, address.len + 1);
    return true;
}

/* The address gets the one spelling of its domain, too: it is a key of tables. */
static void find_domain_of(struct identity *i)
{
    char *at = strrchr(i->address, '@'), name[IDN_NAME_OCTETS_MAX + 1];

    i->domain = at != NULL ? dkim_str(at + 1, strlen(at + 1)) : TERN_STR("");
    if (idn_is_ascii(i->domain))
        return;
    if (!idn_to_ascii(i->domain, name, &i->domain) ||
        (size_t)(at + 1 - i->address) + i->domain.len >= sizeof(i->address)) {
        i->domain = TERN_STR("");
        return;
    }
    memcpy(at + 1, name, i->domain.len + 1);
    i->domain.ptr = at + 1;
}

static void find_identity(tern_call *call, const struct sign_conf *c, struct identity *i)
{
    tern_str text = TERN_STR("");

    memset(i, 0, sizeof(*i));
    if (c->by == SIGN_BY_FROM) {
        const struct tern_header *from = tern->header(call, "From", 0);
        if (from != NULL && !from_each(from->value, take, i))
            i->address[0] = '\0';
    } else {
        text = c->by == SIGN_BY_USER ? tern->user(call) : tern->sender(call)->address;
        if (text.len < sizeof(i->address))
            memcpy(i->address, text.ptr, text.len);
    }
    lower(i->address);
    find_domain_of(i);
    if (!dkim_name_is_valid(i->domain, 1))
        i->domain = TERN_STR("");
}

/* ---- tables ---- */

/* 1: there. 0: not. Negative: could not be asked. */
static int find(tern_call *call, const struct tern_table *table, tern_str key, tern_str *ret)
{
    struct tern_table_answer answer;
    int r = tern->table_find_sync(call, table, key, &answer);

    if (r < 0 || answer.status == TERN_FAILED)
        return r < 0 ? r : -EIO;
    if (answer.status == TERN_FOUND)
        *ret = answer.value;
    return answer.status == TERN_FOUND;
}

/* The domain, "*.above" for each above it, "*". */
static int find_domain(tern_call *call, const struct tern_table *table, tern_str domain, tern_str *ret)
{
    int r = domain.len > 0 ? find(call, table, domain, ret) : 0;
    tern_str rest = domain;

    for (unsigned i = 0; r == 0 && i < SIGN_PARENTS_MAX; i++) {
        const char *dot = rest.len > 0 ? memchr(rest.ptr, '.', rest.len) : NULL;
        if (dot == NULL)
            break;
        rest = dkim_str(dot + 1, rest.len - (size_t)(dot + 1 - rest.ptr));
        r = find(call, table, tern->format(call, "*.%.*s", (int)rest.len, rest.ptr), ret);
    }
    return r != 0 ? r : find(call, table, TERN_STR("*"), ret);
}

/* ---- specs ---- */

/* `text` with the domain for each %{domain}. */
static tern_str fill(tern_call *call, tern_str text, tern_str domain)
{
    static const char place[] = "%{domain}";
    tern_str out = TERN_STR("");
    const char *at;

    while (text.len > 0 && (at = memmem(text.ptr, text.len, place, sizeof(place) - 1)) != NULL) {
        size_t before = (size_t)(at - text.ptr);
        out = tern->format(call, "%s%.*s%.*s", out.ptr, (int)before, text.ptr, (int)domain.len, domain.ptr);
        text = dkim_str(at + sizeof(place) - 1, text.len - before - (sizeof(place) - 1));
    }
    return tern->format(call, "%s%.*s", out.ptr, (int)text.len, text.ptr);
}

struct specs {
    struct sign_spec *items;
    int count;
    bool failed;
};

static void add(struct specs *s, tern_str domain, tern_str selector, tern_str path)
{
    if (s->count < SIGN_SIGNATURES_MAX)
        s->items[s->count++] = (struct sign_spec){ domain, selector, path.ptr };
}

static void add_own(tern_call *call, const struct sign_conf *c, tern_str domain, struct specs *s)
{
    const struct sign_also *also = c->also.items;

    if (c->selector.len > 0)
        add(s, domain, c->selector, fill(call, c->key, domain));
    for (size_t i = 0; i < c->also.count; i++)
        add(s, domain, also[i].selector, fill(call, also[i].key, domain));
}

static bool is_plain_file(tern_str file)
{
    return file.len > 0 && file.ptr[0] != '/' && memmem(file.ptr, file.len, "..", 2) == NULL &&
           memchr(file.ptr, '\0', file.len) == NULL;
}

/* "DOMAIN:SELECTOR:FILE" */
static bool add_key(tern_call *call, const struct sign_conf *c, tern_str text, tern_str of, struct specs *s)
{
    tern_str part[3];
    unsigned n = 0;

    while (n < 3 && dkim_list_next(&text, ':', &part[n]))
        n++;
    if (n != 3 || text.ptr != NULL)
        return false;
    tern_str domain = fill(call, part[0], of), file = fill(call, part[2], domain);
    if (!dkim_name_is_valid(domain, 1) || !dkim_name_is_valid(part[1], 1) || !is_plain_file(file))
        return false;
    add(s, domain, part[1], tern->format(call, "%s/%s", c->folder.ptr, file.ptr));
    return true;
}

static bool next_word(tern_str *rest, tern_str *ret)
{
    while (dkim_list_next(rest, ' ', ret))
        if (ret->len > 0)
            return true;
    return false;
}

static void add_named(tern_call *call, const struct sign_conf *c, tern_str name, tern_str of, struct specs *s)
{
    tern_str value, word;
    int r;

    if (c->keys == NULL) { /* one that is empty is one still: nobody signs */
        if (dkim_name_is_valid(name, 1))
            add_own(call, c, name, s);
        return;
    }
    r = c->signers == NULL ? find_domain(call, c->keys, name, &value) : find(call, c->keys, name, &value);
    if (r < 0)
        (void)tern->fail(call, "the table of keys could not be asked");
    s->failed |= r < 0;
    while (r > 0 && next_word(&value, &word)) {
        if (add_key(call, c, word, of, s))
            continue;
        (void)tern->fail(call, "keys: \"%.*s\" of %.*s is not DOMAIN:SELECTOR:FILE", (int)word.len, word.ptr,
                         (int)name.len, name.ptr);
        s->failed = true;
    }
}

static void add_signers(tern_call *call, const struct sign_conf *c, const struct identity *i, struct specs *s)
{
    tern_str address = { i->address, strlen(i->address) }, names = TERN_STR(""), name;
    int r = find(call, c->signers, address, &names);

    if (r == 0)
        r = find_domain(call, c->signers, i->domain, &names);
    if (r < 0)
        (void)tern->fail(call, "the table of signers could not be asked");
    s->failed |= r < 0;
    if (r > 0 && names.len == 0 && i->domain.len > 0)
        add_named(call, c, i->domain, i->domain, s);
    while (r > 0 && names.len > 0 && next_word(&names, &name))
        add_named(call, c, name, i->domain, s);
}

int sign_who(tern_call *call, const struct sign_conf *c, struct sign_spec *ret)
{
    struct identity *i = tern->alloc(call, sizeof(*i));
    struct specs s = { .items = ret };

    find_identity(call, c, i);
    if (i->address[0] == '\0')
        return 0;
    if (c->signers != NULL)
        add_signers(call, c, i, &s);
    else if (i->domain.len > 0)
        add_named(call, c, i->domain, i->domain, &s);
    return s.failed ? -EIO : s.count;
}
