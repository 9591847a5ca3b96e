/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mx.c - from a mail domain to hosts and addresses.
 *
 * First the MX records, then A and AAAA of every host at once. Sources: RFC 5321 5.1, RFC 7505
 * (null MX), RFC 6761 6.3 (localhost). A permanent answer needs certainty: only NXDOMAIN,
 * NODATA and a null MX give one; a server that failed gives MX_FAILED, unless another
 * question brought an address that can be used now.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "dns/private.h"
#include "net/conn.h"

#define ERROR_OCTETS 400

struct lookup {
    struct mx_request *request;
    struct dns_request *under_way;
    unsigned host;
    unsigned type;
    tern_address addresses[MX_ADDRESSES_MAX];
    unsigned count;
    bool failed, no_domain;
    const char *error; /* of a failed one: static or in the arena */
};

struct mx_request {
    struct dns *dns;
    mx_fn done;
    void *arg;
    struct arena arena;
    struct dns_request *under_way; /* for the MX */
    struct loop_task task;         /* the answer is known without asking */
    struct mx_host hosts[MX_HOSTS_MAX];
    unsigned host_count;
    struct lookup lookups[MX_HOSTS_MAX * 2]; /* of each host AAAA, then A */
    unsigned waiting;
    bool implicit; /* the domain has no MX, or is a host */
    char name[DNS_HOST_TEXT_MAX + 1];
    char error[ERROR_OCTETS];
    enum mx_status status;
};

struct mx_choice {
    const struct tern_dns_record *record;
    uint32_t random;
};

static void request_free(struct mx_request *m)
{
    arena_fini(&m->arena);
    free(m);
}

static void answer(struct mx_request *m, enum mx_status status)
{
    struct mx_answer a = { .status = status, .error = m->error };

    if (status == MX_FOUND) {
        a.hosts = m->hosts;
        a.count = m->host_count;
    }
    m->done(m->arg, &a);
    request_free(m);
}

/* ---- addresses ---- */

static void shuffle(tern_address *a, unsigned count)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned j = randombytes_uniform(i);
        tern_address t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
}

/* One of each family in turn, so that the bound never cuts off a whole family. */
static void merge(struct mx_request *m, struct mx_host *host, const struct lookup *v6,
                  const struct lookup *v4)
{
    unsigned max = v6->count + v4->count, n = 0;
    tern_address *out = arena_zalloc(&m->arena, sizeof(*out) * (max + 1));

    for (unsigned i = 0; n < max && n < MX_ADDRESSES_MAX; i++) {
        if (i < v6->count)
            out[n++] = v6->addresses[i];
        if (i < v4->count && n < MX_ADDRESSES_MAX)
            out[n++] = v4->addresses[i];
    }
    host->addresses = out;
    host->address_count = n;
    host->failed = v6->failed || v4->failed;
}

static void finish(struct mx_request *m)
{
    bool found = false, no_domain = true;
    const struct lookup *failed = NULL;

    for (unsigned i = 0; i < m->host_count; i++) {
        struct lookup *v6 = &m->lookups[2 * i], *v4 = v6 + 1;
        merge(m, &m->hosts[i], v6, v4);
        found = found || m->hosts[i].address_count > 0;
        no_domain = no_domain && v6->no_domain && v4->no_domain;
        if (failed == NULL && (v6->failed || v4->failed))
            failed = v4->failed ? v4 : v6;
    }
    if (found) {
        answer(m, MX_FOUND);
        return;
    }
    if (failed != NULL) {
        (void)snprintf(m->error, sizeof(m->error), "%s for %s of %s", failed->error,
                       failed->type == TERN_DNS_A ? "A" : "AAAA", m->hosts[failed->host].name);
        answer(m, MX_FAILED);
        return;
    }
    if (m->implicit && no_domain)
        (void)snprintf(m->error, sizeof(m->error), "%s does not exist (NXDOMAIN)", m->name);
    else
        (void)snprintf(m->error, sizeof(m->error),
                       m->implicit ? "%s has neither MX nor address"
                                   : "none of the mail hosts of %s has an address",
                       m->name);
    answer(m, m->implicit && no_domain ? MX_NO_DOMAIN : MX_NO_ADDRESS);
}

static bool read_address(unsigned type, tern_str text, tern_address *ret)
{
    *ret = (tern_address){ .family = type == TERN_DNS_A ? 4 : 6 };
    return inet_pton(type == TERN_DNS_A ? AF_INET : AF_INET6, text.ptr, ret->octets) == 1;
}

static void on_address(void *arg, const struct tern_dns_answer *a)
{
    struct lookup *l = arg;
    struct mx_request *m = l->request;

    l->under_way = NULL;
    l->failed = a->status == TERN_FAILED;
    l->no_domain =
        a->status == TERN_ABSENT && a->error != NULL && strcmp(a->error, "NXDOMAIN") == 0;
    if (l->failed)
        l->error = arena_dup(&m->arena, slice_cstr(a->error != NULL ? a->error : "no answer"));
    /* All are shuffled before the bound cuts: no host is left out for ever. */
    size_t count = a->status == TERN_FOUND ? a->count : 0;
    size_t first = count > 0 ? randombytes_uniform((uint32_t)count) : 0;
    for (size_t i = 0; i < count && l->count < MX_ADDRESSES_MAX; i++)
        if (read_address(l->type, a->records[(first + i) % count].text, &l->addresses[l->count]))
            l->count++;
    shuffle(l->addresses, l->count);
    if (--m->waiting == 0)
        finish(m);
}

static void look_up_hosts(struct mx_request *m)
{
    m->waiting = m->host_count * 2;
    for (unsigned i = 0; i < m->host_count * 2; i++) {
        struct lookup *l = &m->lookups[i];
        l->request = m;
        l->host = i / 2;
        l->type = i % 2 == 0 ? TERN_DNS_AAAA : TERN_DNS_A;
        l->under_way = dns_ask(m->dns, m->hosts[l->host].name, l->type, false, on_address, l);
    }
}

static void only_host(struct mx_request *m)
{
    m->implicit = true;
    m->hosts[0] = (struct mx_host){ .name = m->name };
    m->host_count = 1;
    look_up_hosts(m);
}

/* ---- MX ---- */

static int compare_choices(const void *a, const void *b)
{
    const struct mx_choice *x = a, *y = b;

    if (x->record->number != y->record->number)
        return x->record->number < y->record->number ? -1 : 1;
    return x->random < y->random ? -1 : x->random > y->random;
}

static void add_host(struct mx_request *m, const struct tern_dns_record *record)
{
    char name[DNS_HOST_TEXT_MAX + 1];

    if (m->host_count == MX_HOSTS_MAX ||
        !dns_host_name(slice_make(record->text.ptr, record->text.len), name))
        return;
    for (unsigned i = 0; i < m->host_count; i++)
        if (strcmp(m->hosts[i].name, name) == 0)
            return; /* the better preference stands already */
    m->hosts[m->host_count++] = (struct mx_host){
        .name = arena_dup(&m->arena, slice_cstr(name)),
        .preference = record->number,
    };
}

/* Best preference first; equal ones in random order, as RFC 5321 5.1 demands. */
static void choose_hosts(struct mx_request *m, const struct tern_dns_answer *a)
{
    struct mx_choice *choices = mem_alloc(sizeof(choices[0]) * (a->count + 1));

    for (size_t i = 0; i < a->count; i++)
        choices[i] = (struct mx_choice){ &a->records[i], randombytes_random() };
    qsort(choices, a->count, sizeof(choices[0]), compare_choices);
    for (size_t i = 0; i < a->count; i++)
        add_host(m, choices[i].record);
    free(choices);
}

static void on_mx(void *arg, const struct tern_dns_answer *a)
{
    struct mx_request *m = arg;

    m->under_way = NULL;
    if (a->status == TERN_FAILED) {
        (void)snprintf(m->error, sizeof(m->error), "%s for MX of %s",
                       a->error != NULL ? a->error : "no answer", m->name);
        answer(m, MX_FAILED);
        return;
    }
    if (a->status == TERN_ABSENT && a->error != NULL && strcmp(a->error, "NXDOMAIN") == 0) {
        (void)snprintf(m->error, sizeof(m->error), "%s does not exist (NXDOMAIN)", m->name);
        answer(m, MX_NO_DOMAIN);
        return;
    }
    if (a->status == TERN_ABSENT || a->count == 0) {
        only_host(m);
        return;
    }
    if (a->count == 1 && a->records[0].text.len == 0) {
        (void)snprintf(m->error, sizeof(m->error), "%s accepts no mail (null MX)", m->name);
        answer(m, MX_NULL);
        return;
    }
    choose_hosts(m, a);
    if (m->host_count > 0) {
        look_up_hosts(m);
        return;
    }
    (void)snprintf(m->error, sizeof(m->error), "no MX of %s is a host name", m->name);
    answer(m, MX_NO_ADDRESS);
}

/* ---- asking ---- */

static void answer_now(struct loop_task *task)
{
    struct mx_request *m = list_entry(task, struct mx_request, task);

    answer(m, m->status);
}

static struct mx_request *request_new(struct dns *dns, const char *name, mx_fn done, void *arg)
{
    struct mx_request *m = mem_zalloc(sizeof(*m));

    m->dns = dns;
    m->done = done;
    m->arg = arg;
    list_init(&m->task.link);
    m->task.run = answer_now;
    arena_init(&m->arena);
    if (!dns_host_name(slice_cstr(name), m->name))
        m->name[0] = '\0';
    return m;
}

static struct mx_request *answer_later(struct mx_request *m, enum mx_status status)
{
    m->status = status;
    loop_at_end(dns_loop(m->dns), &m->task);
    return m;
}

static struct mx_request *known(struct mx_request *m, const char *name, const tern_address *address,
                                unsigned count)
{
    tern_address *copy = arena_zalloc(&m->arena, sizeof(*copy) * count);

    memcpy(copy, address, sizeof(*copy) * count);
    m->hosts[0] = (struct mx_host){ .name = arena_dup(&m->arena, slice_cstr(name)),
                                    .addresses = copy,
                                    .address_count = count };
    m->host_count = 1;
    return answer_later(m, MX_FOUND);
}

static bool read_literal(struct slice text, tern_address *ret)
{
    if (text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']')
        text = slice_make(text.ptr + 1, text.len - 2); /* RFC 5321 4.1.3 */
    if (slice_starts_nocase(text, SLICE("IPv6:")))
        text = slice_from(text, 5);
    return net_address_parse(text, 0, ret) && ret->port == 0 && ret->family != 0;
}

/* An address, or localhost, which is never asked of the network. */
static bool is_known(struct mx_request *m, const char *name)
{
    static const tern_address local[2] = {
        { .family = 4, .octets = { 127, 0, 0, 1 } },
        { .family = 6, .octets = { [15] = 1 } },
    };
    tern_address literal;

    if (read_literal(slice_cstr(name), &literal)) {
        (void)known(m, name, &literal, 1);
        return true;
    }
    if (strcmp(m->name, "localhost") == 0) {
        (void)known(m, name, local, 2);
        return true;
    }
    return false;
}

static struct mx_request *begin(struct dns *dns, const char *name, bool mx, mx_fn done, void *arg)
{
    struct mx_request *m = request_new(dns, name, done, arg);

    if (is_known(m, name))
        return m;
    if (m->name[0] == '\0') {
        (void)snprintf(m->error, sizeof(m->error), "%.200s is no host name", name);
        return answer_later(m, MX_NO_DOMAIN);
    }
    if (mx)
        m->under_way = dns_ask(dns, m->name, TERN_DNS_MX, false, on_mx, m);
    else
        only_host(m);
    return m;
}

struct mx_request *mx_ask(struct dns *dns, const char *domain, mx_fn done, void *arg)
{
    return begin(dns, domain, true, done, arg);
}

struct mx_request *host_ask(struct dns *dns, const char *host, mx_fn done, void *arg)
{
    return begin(dns, host, false, done, arg);
}

void mx_cancel(struct mx_request *m)
{
    if (m == NULL)
        return;
    list_remove(&m->task.link);
    dns_cancel(m->under_way);
    for (unsigned i = 0; i < m->host_count * 2; i++)
        dns_cancel(m->lookups[i].under_way);
    request_free(m);
}
