/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_where.c - where the reports of a domain go, by what DNS says now.
 *
 * A destination of another organisation must agree, else anybody could have reports sent to anybody (RFC 9990 4). Whose
 * a name is, the tree walk of RFC 9989 4.10 says. Questions about one domain are asked one after the other: other
 * domains have askers of their own.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/dmarc_send.h"
#include "mime/address.h"
#include "mime/domain.h"

#define NAME_OCTETS    256
#define RECORD_OCTETS  4096
#define WALK_QUERIES   8 /* RFC 9989 4.10 */
#define WALK_LABELS    7
#define DNS_NAME_MAX   253
#define AGREEMENTS_MAX 10 /* records of a destination that are looked at */

/* ---- one question ---- */

struct answer {
    bool done;
    enum dmarc_found found;
    unsigned records;         /* of DMARC */
    char text[RECORD_OCTETS]; /* of the first */
    bool overrides;           /* one has a rua= */
    char rua[RECORD_OCTETS];
};

static void keep(char *out, tern_str text)
{
    size_t len = text.len < RECORD_OCTETS ? text.len : RECORD_OCTETS - 1;

    memcpy(out, text.ptr, len);
    out[len] = '\0';
}

static void on_answer(void *arg, const struct tern_dns_answer *answer)
{
    struct answer *a = arg;

    a->done = true;
    a->found = answer->status == TERN_FAILED ? DMARC_NOT_NOW : DMARC_NOTHING;
    for (size_t i = 0; answer->status == TERN_FOUND && i < answer->count && a->records < AGREEMENTS_MAX; i++) {
        tern_str text = answer->records[i].text;
        if (text.len >= RECORD_OCTETS || !dmarc_text_is_record(text))
            continue;
        if (a->records++ == 0)
            keep(a->text, text);
        a->found = DMARC_FOUND;
        if (!a->overrides && dmarc_text_tag(text, "rua").len > 0) {
            a->overrides = true;
            keep(a->rua, dmarc_text_tag(text, "rua"));
        }
    }
}

static enum dmarc_found ask(const struct dmarc_asker *asker, const char *name, struct answer *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (strlen(name) > DNS_NAME_MAX)
        return DMARC_NOTHING;
    struct dns_request *request = dns_ask(asker->dns, name, TERN_DNS_TXT, true, on_answer, ret);
    while (!ret->done && clock_now_ms() < asker->until_ms)
        loop_turn(asker->loop, true);
    if (ret->done)
        return ret->found;
    dns_cancel(request);
    return DMARC_NOT_NOW;
}

/* ---- organisations: the tree walk ---- */

static unsigned labels(const char *name)
{
    unsigned n = 1;

    for (; *name != '\0'; name++)
        n += *name == '.';
    return n;
}

static const char *last_labels(const char *name, unsigned count)
{
    unsigned have = labels(name);

    for (; have > count; have--)
        name = strchr(name, '.') + 1;
    return name;
}

/* The organizational domain, an end of `name`. NOTHING: no record says anything, so it is the name itself. */
static enum dmarc_found organisation(const struct dmarc_asker *asker, const char *name, const char **ret)
{
    char question[NAME_OCTETS + 8];
    const char *at = name, *found = NULL;
    struct answer a;

    for (unsigned i = 0; i < WALK_QUERIES && at != NULL; i++) {
        (void)snprintf(question, sizeof(question), "_dmarc.%s", at);
        enum dmarc_found r = ask(asker, question, &a);
        if (r == DMARC_NOT_NOW)
            return r;
        if (r == DMARC_FOUND && a.records == 1) {
            tern_str psd = dmarc_text_tag((tern_str){ a.text, strlen(a.text) }, "psd");
            if (psd.len == 1 && psd.ptr[0] == 'y' &&
                at != name) { /* a public suffix: one label more is whose it is */
                *ret = last_labels(name, labels(at) + 1);
                return DMARC_FOUND;
            }
            found = at;
            if (psd.len == 1 && psd.ptr[0] == 'n')
                break;
        }
        const char *dot = strchr(at, '.');
        at = dot == NULL ? NULL : i == 0 && labels(at) > WALK_LABELS + 1 ? last_labels(at, WALK_LABELS) : dot + 1;
    }
    *ret = found != NULL ? found : name;
    return found != NULL ? DMARC_FOUND : DMARC_NOTHING;
}

/* NOT_NOW, FOUND: the same; NOTHING: another. */
static enum dmarc_found same_organisation(const struct dmarc_asker *asker, const char *domain, const char *host)
{
    const char *one, *other;

    if (strcmp(domain, host) == 0)
        return DMARC_FOUND;
    if (organisation(asker, domain, &one) == DMARC_NOT_NOW || organisation(asker, host, &other) == DMARC_NOT_NOW)
        return DMARC_NOT_NOW;
    return strcmp(one, other) == 0 ? DMARC_FOUND : DMARC_NOTHING;
}

/* ---- destinations ---- */

/* One spelling: the domain in A-labels and lower case. Its host; NULL: it is no address that mail can go to. */
static const char *normalise(struct dmarc_rua *rua)
{
    struct tern_mailbox mailbox;
    struct arena arena;
    bool good;

    arena_init(&arena);
    good = address_parse(slice_cstr(rua->address), 0, &arena, &mailbox) == 0 && mailbox.domain.len > 0 &&
           mailbox.domain.ptr[0] != '[' && mailbox.address.len >= mailbox.domain.len;
    if (good) {
        const char *at = strrchr(rua->address, '@');
        char copy[DMARC_RUA_ADDRESS_MAX + 1];
        int n = snprintf(copy, sizeof(copy), "%.*s@%.*s", (int)(at - rua->address), rua->address,
                         (int)mailbox.domain.len, mailbox.domain.ptr);
        good = n > 0 && (size_t)n < sizeof(copy) && strpbrk(copy, "\t\n") == NULL;
        if (good)
            memcpy(rua->address, copy, (size_t)n + 1);
    }
    arena_fini(&arena);
    return good ? strrchr(rua->address, '@') + 1 : NULL;
}

static void add(struct dmarc_where *w, const struct dmarc_rua *rua)
{
    for (unsigned i = 0; i < w->count; i++)
        if (strcmp(w->to[i].address, rua->address) == 0)
            return;
    if (w->count < DMARC_RUA_MAX)
        w->to[w->count++] = *rua;
}

/* The destination may name others, of its own host only (RFC 9990 4, step 9). */
static void add_overriding(struct dmarc_where *w, const char *rua, const char *host)
{
    struct dmarc_rua others[DMARC_RUA_MAX];
    unsigned count = dmarc_rua_parse((tern_str){ rua, strlen(rua) }, others);

    for (unsigned i = 0; i < count; i++) {
        const char *other = normalise(&others[i]);
        if (other == NULL || strcmp(other, host) != 0) {
            buf_printf(&w->said, "%s answers with another host, so nothing is sent there\n", host);
            return;
        }
    }
    for (unsigned i = 0; i < count; i++)
        add(w, &others[i]);
}

static void verify(const struct dmarc_asker *asker, const char *domain, struct dmarc_rua *rua, struct dmarc_where *w)
{
    char question[2 * NAME_OCTETS + 32];
    const char *host = normalise(rua);
    struct answer a;

    if (host == NULL) {
        buf_printf(&w->said, "%s is no address\n", rua->address);
        return;
    }
    enum dmarc_found same = same_organisation(asker, domain, host);
    if (same == DMARC_FOUND) {
        add(w, rua);
        return;
    }
    (void)snprintf(question, sizeof(question), "%s._report._dmarc.%s", domain, host);
    enum dmarc_found r = same == DMARC_NOT_NOW ? same : ask(asker, question, &a);
    if (r == DMARC_NOT_NOW) {
        w->later = true;
        buf_printf(&w->said, "%s: DNS does not say whether it takes reports about others\n", rua->address);
    } else if (r == DMARC_NOTHING) {
        buf_printf(&w->said, "%s: there is no record %s, so it does not want them\n", rua->address, question);
    } else if (a.overrides) {
        add_overriding(w, a.rua, host);
    } else {
        add(w, rua);
    }
}

enum dmarc_found dmarc_where_ask(const struct dmarc_asker *asker, tern_str domain, struct dmarc_where *ret)
{
    char name[NAME_OCTETS], question[NAME_OCTETS + 8];
    struct dmarc_rua wanted[DMARC_RUA_MAX];
    struct answer a;

    *ret = (struct dmarc_where){ .said = BUF_INIT };
    if (domain.len >= sizeof(name))
        return DMARC_NOTHING;
    memcpy(name, domain.ptr, domain.len);
    name[domain.len] = '\0';
    (void)snprintf(question, sizeof(question), "_dmarc.%s", name);
    enum dmarc_found r = ask(asker, question, &a);
    if (r != DMARC_FOUND)
        return r;
    if (a.records > 1) /* as if there were none: RFC 9989 4.10 */
        return DMARC_NOTHING;
    unsigned count = dmarc_rua_parse(dmarc_text_tag((tern_str){ a.text, strlen(a.text) }, "rua"), wanted);
    for (unsigned i = 0; i < count; i++)
        verify(asker, name, &wanted[i], ret);
    return ret->count > 0 ? DMARC_FOUND : ret->later ? DMARC_NOT_NOW : DMARC_NOTHING;
}

void dmarc_where_free(struct dmarc_where *where)
{
    buf_free(&where->said);
}
