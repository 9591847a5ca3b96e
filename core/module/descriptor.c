/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptor.c - see descriptor.h.
 *
 * The order of the checks is part of the ABI: magic, then size, then major and minor, and only
 * then anything else, because only the first four words are the same in all versions.
 */
#include "module/descriptor.h"

#include <assert.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "state/tables.h"

/* The sizes that ABI 1.0 began with: nothing valid is shorter. */
#define SIZE_THROUGH(type, last) (offsetof(type, last) + sizeof(((type *)0)->last))
#define MODULE_OCTETS_MIN        SIZE_THROUGH(struct tern_module, user)
#define OPTION_OCTETS_MIN        SIZE_THROUGH(struct tern_option, record_size)
#define HOOK_OCTETS_MIN          SIZE_THROUGH(struct tern_hook, on_abort)
#define NOTE_OCTETS_MIN          SIZE_THROUGH(struct tern_note, doc)
#define TRANSPORT_OCTETS_MIN     SIZE_THROUGH(struct tern_transport, deliver)
#define STORE_OCTETS_MIN         SIZE_THROUGH(struct tern_kv_store, close)
#define PROVIDER_OCTETS_MIN      SIZE_THROUGH(struct tern_table_provider, close)
#define ENTRY_OCTETS_MAX         4096 /* of any struct: a larger size is rubbish */

struct reading {
    struct arena *arena;
    char *error;
    size_t octets;
};

static bool __attribute__((format(printf, 2, 3))) wrong(struct reading *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(r->error, r->octets, format, args);
    va_end(args);
    return false;
}

static const char *const hook_names[TERN_HOOK_COUNT] = {
    "connect", "tls",   "ehlo", "auth",  "mail",    "rcpt",   "data",
    "message", "queue", "sign", "route", "deliver", "result", "close",
    "vrfy",
};

#define A TERN_MAY_ACCEPT
#define R TERN_MAY_REJECT
#define D TERN_MAY_DEFER
#define C TERN_MAY_CLOSE
#define H TERN_MAY_HOLD
#define X TERN_MAY_DISCARD
static const unsigned allowed_answers[TERN_HOOK_COUNT] = {
    [TERN_HOOK_CONNECT] = R | D | C,
    [TERN_HOOK_TLS] = 0,
    [TERN_HOOK_EHLO] = R | D | C,
    [TERN_HOOK_AUTH] = A | R | D,
    [TERN_HOOK_MAIL] = R | D | C,
    [TERN_HOOK_RCPT] = R | D | C | H | X,
    [TERN_HOOK_DATA] = R | D | C,
    [TERN_HOOK_MESSAGE] = R | D | H | X,
    [TERN_HOOK_QUEUE] = R | D | H | X,
    [TERN_HOOK_SIGN] = D,
    [TERN_HOOK_ROUTE] = A | R | D,
    [TERN_HOOK_DELIVER] = R | D | H,
    [TERN_HOOK_RESULT] = 0,
    [TERN_HOOK_CLOSE] = 0,
    [TERN_HOOK_VRFY] = A | R | D,
};
#undef A
#undef R
#undef D
#undef C
#undef H
#undef X

unsigned descriptor_allowed_answers(unsigned hook)
{
    assert(hook < TERN_HOOK_COUNT);
    return allowed_answers[hook];
}

const char *descriptor_hook_name(unsigned hook)
{
    assert(hook < TERN_HOOK_COUNT);
    return hook_names[hook];
}

const char *descriptor_verdict_name(unsigned verdict)
{
    static const char *const names[] = { "NEXT", "ACCEPT",  "REJECT", "DEFER", "CLOSE",
                                         "HOLD", "DISCARD", "WAIT",   "ERROR" };

    return verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "unknown";
}

bool descriptor_is_name(struct slice name)
{
    if (name.len == 0 || name.len > 64 || name.ptr[0] < 'a' || name.ptr[0] > 'z')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

/* memcpy of what both sides know; the rest of ours stays zero. */
static void copy_known(void *to, size_t ours, const void *from, size_t theirs)
{
    memset(to, 0, ours);
    memcpy(to, from, theirs < ours ? theirs : ours);
}

/*
 * Counts the entries of a table that ends with an entry of size 0. Every kind of entry begins
 * with its size_t size, which is also the way to the next one.
 */
static bool count_entries(struct reading *r, const char *what, const void *table, size_t min,
                          unsigned limit, unsigned *ret)
{
    const char *at = table;
    unsigned count = 0;

    for (; at != NULL; count++) {
        size_t size;

        memcpy(&size, at, sizeof(size));
        if (size == 0)
            break;
        if (size < min || size > ENTRY_OCTETS_MAX || size % alignof(void *) != 0)
            return wrong(
                r, "entry %u of its table of %s has %zu octets; one of ABI %u.0 has at least %zu",
                count, what, size, TERN_ABI_MAJOR, min);
        if (count == limit)
            return wrong(r, "its table of %s is longer than %u", what, limit);
        at += size;
    }
    *ret = count;
    return true;
}

/* Copies `count` entries, each by its own size, behind one another in ours, and one of size 0. */
static void *copy_entries(struct reading *r, const void *table, unsigned count, size_t ours)
{
    char *to = arena_zalloc(r->arena, (count + 1) * ours);
    const char *from = table;

    for (unsigned i = 0; i < count; i++) {
        size_t theirs;

        memcpy(&theirs, from, sizeof(theirs));
        copy_known(to + i * ours, ours, from, theirs);
        memcpy(to + i * ours, &ours, sizeof(ours));
        from += theirs;
    }
    return to;
}

/* ---- options ---- */

/* Size and alignment of the field that an option of each type fills; 0: not supported. */
static const struct {
    size_t octets, align;
} fields[] = {
#define FIELD(type)                                                                                \
    {                                                                                              \
        sizeof(type), alignof(type)                                                                \
    }
    [TERN_TYPE_BOOL] = FIELD(bool),
    [TERN_TYPE_INT] = FIELD(int64_t),
    [TERN_TYPE_UINT] = FIELD(unsigned),
    [TERN_TYPE_SIZE] = FIELD(uint64_t),
    [TERN_TYPE_SECONDS] = FIELD(uint64_t),
    [TERN_TYPE_MS] = FIELD(uint64_t),
    [TERN_TYPE_RATE] = FIELD(struct tern_rate),
    [TERN_TYPE_PERCENT] = FIELD(unsigned),
    [TERN_TYPE_STRING] = FIELD(tern_str),
    [TERN_TYPE_ENUM] = FIELD(int),
    [TERN_TYPE_LIST] = FIELD(struct tern_list),
    [TERN_TYPE_MAP] = FIELD(struct tern_map),
    [TERN_TYPE_CIDRS] = FIELD(const struct tern_cidrs *),
    [TERN_TYPE_ADDRESS] = FIELD(tern_address),
    [TERN_TYPE_PATH] = FIELD(tern_str),
    [TERN_TYPE_SECRET] = FIELD(tern_str),
    [TERN_TYPE_REGEX] = { 0, 1 },
    [TERN_TYPE_TABLE] = FIELD(const struct tern_table *),
    [TERN_TYPE_RECORDS] = FIELD(struct tern_records),
};

/* What the chain runner reads itself; an option of that name would never see a value. */
static bool is_reserved(const char *key)
{
    static const char *const reserved[] = { "name", "timeout",   "on_error", "when",
                                            "mode", "refuse_at", "script",   "trusted" };

    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        if (strcmp(key, reserved[i]) == 0)
            return true;
    return false;
}

/* depth 0: options of a step; 1: of a transport, a store or a record of a step; and so on. */
static bool read_options(struct reading *r, const struct tern_option *raw, size_t conf_size,
                         unsigned depth, const struct tern_option **ret);

static bool check_option(struct reading *r, struct tern_option *o, size_t conf_size, unsigned depth)
{
    if (o->key == NULL || !descriptor_is_name(slice_cstr(o->key)))
        return wrong(r, "an option has no proper name (%s)", o->key != NULL ? o->key : "none");
    if (depth == 0 && is_reserved(o->key))
        return wrong(r, "its option %s has a name that the server keeps for itself", o->key);
    if (o->type >= sizeof(fields) / sizeof(fields[0]))
        return wrong(r, "its option %s is of type %u, this server knows 0 to %zu", o->key, o->type,
                     sizeof(fields) / sizeof(fields[0]) - 1);
    if (fields[o->type].octets == 0)
        return wrong(r, "its option %s is of type regex, which this server does not support yet",
                     o->key);
    if (o->offset > conf_size || conf_size - o->offset < fields[o->type].octets)
        return wrong(r, "its option %s lies at octets %zu to %zu of options that have %zu", o->key,
                     o->offset, o->offset + fields[o->type].octets, conf_size);
    if (o->offset % fields[o->type].align != 0)
        return wrong(r, "its option %s lies at octet %zu, where its type cannot", o->key,
                     o->offset);
    if (o->type == TERN_TYPE_ENUM && (o->values == NULL || o->values[0] == NULL))
        return wrong(r, "its option %s is an enum without values", o->key);
    if (o->type != TERN_TYPE_RECORDS)
        return true;
    if (o->records == NULL || o->record_size == 0)
        return wrong(r, "its option %s is a list of records without a table", o->key);
    return read_options(r, o->records, o->record_size, depth + 1, &o->records);
}

static bool read_options(struct reading *r, const struct tern_option *raw, size_t conf_size,
                         unsigned depth, const struct tern_option **ret)
{
    unsigned count = 0;

    if (depth >= DESCRIPTOR_RECORDS_DEEP_MAX)
        return wrong(r, "its options are nested deeper than %u", DESCRIPTOR_RECORDS_DEEP_MAX);
    if (conf_size > DESCRIPTOR_CONF_OCTETS_MAX)
        return wrong(r, "its options take %zu octets, more than %u", conf_size,
                     DESCRIPTOR_CONF_OCTETS_MAX);
    if (!count_entries(r, "options", raw, OPTION_OCTETS_MIN, DESCRIPTOR_OPTIONS_MAX, &count))
        return false;
    struct tern_option *options = copy_entries(r, raw, count, sizeof(*options));
    for (unsigned i = 0; i < count; i++) {
        if (!check_option(r, &options[i], conf_size, depth))
            return false;
        for (unsigned j = 0; j < i; j++)
            if (strcmp(options[i].key, options[j].key) == 0)
                return wrong(r, "its option %s is there twice", options[i].key);
    }
    *ret = options;
    return true;
}

/* ---- hooks ---- */

/* RFC 4422 3.1: 1 to 20 of A-Z, 0-9, - and _. */
static bool is_mechanism(const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

    return len >= 1 && len <= DESCRIPTOR_MECHANISM_OCTETS_MAX && name[len] == '\0';
}

/* Mechanisms that the core takes apart, for each form that leaves it to the core. */
static bool form_serves(unsigned form, const char *name)
{
    static const char *const verify[] = { "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL" };
    static const char *const lookup[] = { "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256",
                                          "SCRAM-SHA-256-PLUS", "CRAM-MD5" };
    const char *const *names = form == TERN_AUTH_VERIFY ? verify : lookup;

    for (size_t i = 0; i < 5 && form != TERN_AUTH_EXCHANGE; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return form == TERN_AUTH_EXCHANGE;
}

static bool check_auth(struct reading *r, const struct tern_hook *h)
{
    static const char *const forms[] = { "", "VERIFY", "LOOKUP", "EXCHANGE" };

    if (h->auth_form < TERN_AUTH_VERIFY || h->auth_form > TERN_AUTH_EXCHANGE)
        return wrong(r, "its entry for hook auth has form %u, this server knows 1 to 3",
                     h->auth_form);
    if (h->auth_form == TERN_AUTH_EXCHANGE && (h->mechanisms == NULL || h->mechanisms[0] == NULL))
        return wrong(r, "its entry for hook auth is of form EXCHANGE and names no mechanism");
    if ((h->flags & TERN_BLOCKING) != 0 && h->auth_form == TERN_AUTH_EXCHANGE)
        return wrong(r, "its entry for hook auth is of form EXCHANGE, which cannot be BLOCKING");
    for (unsigned i = 0; h->mechanisms != NULL && h->mechanisms[i] != NULL; i++) {
        if (i == DESCRIPTOR_MECHANISMS_MAX)
            return wrong(r, "its entry for hook auth names more than %u mechanisms",
                         DESCRIPTOR_MECHANISMS_MAX);
        if (!is_mechanism(h->mechanisms[i]))
            return wrong(r, "its entry for hook auth has \"%s\", which names no mechanism",
                         h->mechanisms[i]);
        if (!form_serves(h->auth_form, h->mechanisms[i]))
            return wrong(r, "its entry for hook auth cannot serve %s by form %s", h->mechanisms[i],
                         forms[h->auth_form]);
    }
    return true;
}

static bool check_hook(struct reading *r, const struct tern_hook *h)
{
    if (h->hook >= TERN_HOOK_COUNT)
        return wrong(r, "it registers for hook %u, this server knows 0 to %u", h->hook,
                     TERN_HOOK_COUNT - 1);
    const char *name = hook_names[h->hook];
    if (h->run == NULL)
        return wrong(r, "its entry for hook %s has no function", name);
    unsigned known = TERN_BLOCKING | TERN_CLAIMS | TERN_ONCE;
    if ((h->flags & ~known) != 0)
        return wrong(r, "its entry for hook %s has flags 0x%x, this server knows 0x%x", name,
                     h->flags, known);
    if ((h->flags & TERN_CLAIMS) != 0 && h->hook != TERN_HOOK_RCPT)
        return wrong(r, "its entry for hook %s claims recipients, which only rcpt may", name);
    if ((h->flags & TERN_ONCE) != 0 && h->hook != TERN_HOOK_MESSAGE)
        return wrong(r, "its entry for hook %s is ONCE, which only message may be", name);
    if (h->hook == TERN_HOOK_AUTH && !check_auth(r, h))
        return false;
    if (h->hook != TERN_HOOK_AUTH && (h->auth_form != 0 || h->mechanisms != NULL || h->serves != NULL))
        return wrong(r, "its entry for hook %s names a form or mechanisms, which only auth has", name);
    unsigned surplus = h->answers & ~allowed_answers[h->hook];
    if (surplus == 0)
        return true;
    unsigned verdict = (unsigned)__builtin_ctz(surplus);
    if (allowed_answers[h->hook] == 0)
        return wrong(r, "its entry for hook %s may answer %s, but that hook only reports", name,
                     descriptor_verdict_name(verdict));
    return wrong(r, "its entry for hook %s may answer %s, which that hook does not allow", name,
                 descriptor_verdict_name(verdict));
}

static bool read_hooks(struct reading *r, struct tern_module *m)
{
    unsigned count = 0, seen = 0;

    if (!count_entries(r, "hooks", m->hooks, HOOK_OCTETS_MIN, DESCRIPTOR_HOOKS_MAX, &count))
        return false;
    struct tern_hook *hooks = copy_entries(r, m->hooks, count, sizeof(*hooks));
    for (unsigned i = 0; i < count; i++) {
        if (!check_hook(r, &hooks[i]))
            return false;
        if ((seen & (1u << hooks[i].hook)) != 0 && hooks[i].hook != TERN_HOOK_AUTH)
            return wrong(r, "it registers twice for hook %s", hook_names[hooks[i].hook]);
        seen |= 1u << hooks[i].hook;
    }
    m->hooks = hooks;
    return true;
}

/* ---- the rest ---- */

static bool read_notes(struct reading *r, struct tern_module *m)
{
    unsigned count = 0;

    if (!count_entries(r, "results and tags", m->notes, NOTE_OCTETS_MIN, DESCRIPTOR_NOTES_MAX,
                       &count))
        return false;
    struct tern_note *notes = copy_entries(r, m->notes, count, sizeof(*notes));
    for (unsigned i = 0; i < count; i++) {
        if (notes[i].kind > TERN_NOTE_TAG)
            return wrong(r, "it declares a note of kind %u, this server knows results and tags",
                         notes[i].kind);
        if (notes[i].name == NULL || !descriptor_is_name(slice_cstr(notes[i].name)))
            return wrong(r, "it declares a %s without a proper name",
                         notes[i].kind == TERN_NOTE_TAG ? "tag" : "result");
    }
    m->notes = notes;
    return true;
}

static bool check_names(struct reading *r, const char *what, const char *const *names)
{
    for (unsigned i = 0; names != NULL && names[i] != NULL; i++) {
        if (i == DESCRIPTOR_NAMES_MAX)
            return wrong(r, "its list `%s` is longer than %u", what, DESCRIPTOR_NAMES_MAX);
        if (!descriptor_is_name(slice_cstr(names[i])))
            return wrong(r, "its list `%s` has \"%s\", which names no module", what, names[i]);
    }
    return true;
}

static bool read_transports(struct reading *r, struct tern_module *m)
{
    const struct tern_transport *const *raw = m->transports;
    unsigned count = 0;

    for (; raw != NULL && raw[count] != NULL; count++)
        if (count == DESCRIPTOR_NAMES_MAX)
            return wrong(r, "it offers more than %u transports", DESCRIPTOR_NAMES_MAX);
    const struct tern_transport **list = arena_zalloc(r->arena, (count + 1) * sizeof(*list));
    for (unsigned i = 0; i < count; i++) {
        struct tern_transport *t = ARENA_NEW(r->arena, struct tern_transport);

        if (raw[i]->size < TRANSPORT_OCTETS_MIN || raw[i]->size > ENTRY_OCTETS_MAX)
            return wrong(r, "its transport %u has %zu octets; one of ABI %u.0 has at least %zu", i,
                         raw[i]->size, TERN_ABI_MAJOR, TRANSPORT_OCTETS_MIN);
        copy_known(t, sizeof(*t), raw[i], raw[i]->size);
        t->size = sizeof(*t);
        if (t->type == NULL || !descriptor_is_name(slice_cstr(t->type)))
            return wrong(r, "its transport %u has no proper name", i);
        if (t->deliver == NULL)
            return wrong(r, "its transport %s has no function deliver", t->type);
        if (!read_options(r, t->options, t->conf_size, 1, &t->options))
            return false;
        list[i] = t;
    }
    m->transports = list;
    return true;
}

static bool read_store(struct reading *r, struct tern_module *m)
{
    const struct tern_kv_store *raw = m->kv_store;

    if (raw == NULL)
        return true;
    if (raw->size < STORE_OCTETS_MIN || raw->size > ENTRY_OCTETS_MAX)
        return wrong(r, "its kv store has %zu octets; one of ABI %u.0 has at least %zu", raw->size,
                     TERN_ABI_MAJOR, STORE_OCTETS_MIN);
    struct tern_kv_store *s = ARENA_NEW(r->arena, struct tern_kv_store);
    copy_known(s, sizeof(*s), raw, raw->size);
    s->size = sizeof(*s);
    if (s->type == NULL || !descriptor_is_name(slice_cstr(s->type)))
        return wrong(r, "its kv store has no proper name");
    if (s->open == NULL || s->load == NULL || s->write == NULL || s->close == NULL)
        return wrong(r, "its kv store lacks one of the functions open, load, write, close");
    m->kv_store = s;
    return read_options(r, s->options, s->conf_size, 1, &s->options);
}

static bool check_provider(struct reading *r, const struct tern_table_provider *p)
{
    if (p->type == NULL || !descriptor_is_name(slice_cstr(p->type)))
        return wrong(r, "one of its providers of tables has no proper name");
    if (p->open == NULL || p->find == NULL || p->close == NULL)
        return wrong(r, "its provider of tables %s lacks one of the functions open, find, close", p->type);
    for (const struct tern_option *o = p->options; o != NULL && o->size != 0; o++) {
        if (o->type == TERN_TYPE_TABLE || o->type == TERN_TYPE_RECORDS)
            return wrong(r, "the option %s of its provider of tables %s has a type that cannot be there", o->key,
                         p->type);
        for (const struct tern_option *core = tables_provided_options(); core->size != 0; core++)
            if (strcmp(o->key, core->key) == 0)
                return wrong(r, "the option %s of its provider %s has a name that the server keeps for itself",
                             o->key, p->type);
    }
    return true;
}

static bool read_providers(struct reading *r, struct tern_module *m)
{
    const struct tern_table_provider *const *raw = m->tables;
    unsigned count = 0;

    for (; raw != NULL && raw[count] != NULL; count++)
        if (count == DESCRIPTOR_NAMES_MAX)
            return wrong(r, "it offers more than %u providers of tables", DESCRIPTOR_NAMES_MAX);
    const struct tern_table_provider **list = arena_zalloc(r->arena, (count + 1) * sizeof(*list));
    for (unsigned i = 0; i < count; i++) {
        struct tern_table_provider *p = ARENA_NEW(r->arena, struct tern_table_provider);

        if (raw[i]->size < PROVIDER_OCTETS_MIN || raw[i]->size > ENTRY_OCTETS_MAX)
            return wrong(r, "its provider of tables %u has %zu octets; one of ABI %u.1 has at least %zu", i,
                         raw[i]->size, TERN_ABI_MAJOR, PROVIDER_OCTETS_MIN);
        copy_known(p, sizeof(*p), raw[i], raw[i]->size);
        p->size = sizeof(*p);
        if (!read_options(r, p->options, p->conf_size, 1, &p->options) || !check_provider(r, p))
            return false;
        list[i] = p;
    }
    m->tables = list;
    return true;
}

/* The four words that are the same in every version. */
static bool check_head(struct reading *r, const struct tern_module *raw)
{
    if (raw->magic != TERN_ABI_MAGIC)
        return wrong(r, "its descriptor begins with 0x%08x, a module's with 0x%08x", raw->magic,
                     TERN_ABI_MAGIC);
    if (raw->abi_major != TERN_ABI_MAJOR || raw->abi_minor > TERN_ABI_MINOR)
        return wrong(r, "needs module ABI %u.%u, this server has %u.%u", raw->abi_major,
                     raw->abi_minor, TERN_ABI_MAJOR, TERN_ABI_MINOR);
    if (raw->size < MODULE_OCTETS_MIN || raw->size > ENTRY_OCTETS_MAX)
        return wrong(r, "its descriptor has %u octets; one of ABI %u.0 has at least %zu", raw->size,
                     TERN_ABI_MAJOR, MODULE_OCTETS_MIN);
    return true;
}

const struct tern_module *descriptor_read(struct arena *arena, const struct tern_module *raw,
                                          const char *name, char *error, size_t octets)
{
    struct reading r = { arena, error, octets };

    error[0] = '\0';
    if (!check_head(&r, raw))
        return NULL;
    struct tern_module *m = ARENA_NEW(arena, struct tern_module);
    copy_known(m, sizeof(*m), raw, raw->size);
    m->size = sizeof(*m);
    if (name != NULL && (m->name == NULL || strcmp(m->name, name) != 0)) {
        (void)wrong(&r, "calls itself \"%s\", not \"%s\"", m->name != NULL ? m->name : "", name);
        return NULL;
    }
    bool fine = read_options(&r, m->options, m->conf_size, 0, &m->options) && read_hooks(&r, m) &&
                read_notes(&r, m) && check_names(&r, "after", m->after) &&
                check_names(&r, "before", m->before) && read_transports(&r, m) && read_store(&r, m) &&
                read_providers(&r, m);
    return fine ? m : NULL;
}
