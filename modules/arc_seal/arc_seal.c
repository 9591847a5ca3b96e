/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arc_seal - seals mail that is forwarded: what we have found of it when it came, for those whom it goes to.
 *
 * At `sign`, behind the last edit and behind dkim_sign: what is sealed is what is sent. On a thread of the pool, as
 * dkim_sign is. Whether the chain was good when the mail came cannot be found out any more here, behind our own edits:
 * arc_verify has said so at `message`, of the same transaction. So Tern's own mail (bounces) is not sealed; it is
 * nothing that we have received from others.
 *
 * Source: RFC 8617 (5.1).
 */
#include <tern/module.h>

#include <stdio.h>
#include <string.h>

#include <lib/authres.h>
#include <lib/dkim_files.h>
#include <lib/dkim_message.h>

#include "seal.h"

static const struct tern_api *tern;

enum { SEAL_MISSING_DEFER, SEAL_MISSING_SKIP };
struct seal_conf {
    tern_str domain, selector, key, authserv_id;
    struct tern_list methods, classes, headers, oversign;
    int missing_key;     /* enum */
    unsigned class_mask; /* of classes: made by check() */
    uint64_t generation; /* counted by check(): the key is looked at again when it grows */
};

static void *sealed_total, *missing_total, *skipped_total;

static tern_verdict skip(tern_call *call, const char *why)
{
    tern->note(call, "not sealed", dkim_str(why, strlen(why)));
    tern->counter_add(skipped_total, 1);
    return TERN_NEXT;
}

/* ---- the chain as it goes out ---- */

static bool next_arc(const struct dkim_field *fields, size_t count, size_t *at)
{
    while (*at < count && arc_kind_of(&fields[*at]) == ARC_KIND_COUNT)
        (*at)++;
    return *at < count;
}

/* Whether its fields are those that came. 1, 0, or negative. */
static int is_as_it_came(tern_call *call, const struct dkim_message *m)
{
    struct dkim_field *came;
    size_t a = 0, b = 0;
    int count = dkim_header_cut(tern, call, true, &came, NULL);

    if (count < 0)
        return count == -E2BIG ? 0 : count;
    for (;; a++, b++) {
        bool more = next_arc(m->fields, m->field_count, &a), more_came = next_arc(came, (size_t)count, &b);
        if (!more || !more_came)
            return more == more_came;
        if (m->fields[a].whole.len != came[b].whole.len ||
            memcmp(m->fields[a].whole.ptr, came[b].whole.ptr, came[b].whole.len) != 0)
            return 0;
    }
}

/* NULL, or why it is not sealed: RFC 8617 5.1. */
static const char *decide(tern_str found, const struct arc_chain *chain, struct seal_spec *s)
{
    s->cv = strcmp(found.ptr, "pass") == 0 ? ARC_CV_PASS : strcmp(found.ptr, "none") == 0 ? ARC_CV_NONE : ARC_CV_FAIL;
    s->chain = chain;
    s->instance = chain->count + 1;
    if (chain->ended)
        return "the newest seal says cv=fail, and that is the end of it";
    if (s->instance > ARC_SETS_MAX)
        return "there are 50 sets already";
    if (s->cv == ARC_CV_PASS && (chain->wrong != NULL || chain->count == 0))
        return "the chain is not what arc_verify has seen";
    return s->cv == ARC_CV_NONE && chain->count > 0 ? "the chain is not what arc_verify has seen" : NULL;
}

/* ---- what we have found ---- */

static tern_str results_of(tern_call *call, const struct seal_conf *c, unsigned instance)
{
    tern_str texts[AUTHRES_METHODS_MAX], id = c->authserv_id.len > 0 ? c->authserv_id : tern->hostname();
    struct authres_field field = { .name = TERN_STR("ARC-Authentication-Results"),
                                   .before = tern->format(call, "i=%u; ", instance),
                                   .id = id,
                                   .texts = texts,
                                   .utf8 = tern->is_smtputf8(call) };
    unsigned left_out = 0;

    field.count = authres_gather(tern, call, c->methods.items, (unsigned)c->methods.count, false, texts);
    field.room = authres_room(&field);
    char *out = tern->alloc(call, field.room);
    size_t len = authres_compose(&field, out, &left_out);
    if (left_out > 0)
        tern->note(call, "left out", tern->format(call, "%u results", left_out));
    return dkim_str(out, len);
}

/* ---- the seal ---- */

static tern_verdict no_key(tern_call *call, const struct seal_conf *c, int r, const char *error)
{
    tern->counter_add(missing_total, 1);
    if (r == -ENOENT && c->missing_key == SEAL_MISSING_SKIP)
        return skip(call, tern->format(call, "there is no %s", c->key.ptr).ptr);
    return tern->fail(call, "no key to seal with: %s", error);
}

static tern_verdict prepend(tern_call *call, const struct seal_spec *s, tern_str ams, tern_str seal)
{
    if (tern->header_prepend(call, arc_kind_name(ARC_AAR), s->results) < 0 ||
        tern->header_prepend(call, arc_kind_name(ARC_AMS), ams) < 0 ||
        tern->header_prepend(call, arc_kind_name(ARC_SEAL), seal) < 0)
        return TERN_ERROR;
    tern->note(call, "sealed", tern->format(call, "i=%u cv=%s d=%.*s s=%.*s a=%s, %u bits", s->instance,
                                            arc_cv_name(s->cv), (int)s->domain.len, s->domain.ptr,
                                            (int)s->selector.len, s->selector.ptr,
                                            dkim_algorithm_name(dkim_private_algorithm(s->key)),
                                            dkim_private_bits(s->key)));
    tern->counter_add(sealed_total, 1);
    return TERN_NEXT;
}

static tern_verdict seal(tern_call *call, const struct seal_conf *c, struct seal_spec *s)
{
    size_t room = seal_room(&s->names);
    char *ams_text = tern->alloc(call, room), *seal_text = tern->alloc(call, room);
    tern_str ams, value;
    int r = seal_message(s, tern->alloc(call, s->field_count + 1), ams_text, room, &ams);

    if (r == 0)
        r = seal_chain(s, ams, seal_text, room, &value);
    if (r < 0)
        return tern->fail(call, "OpenSSL did not sign with %s", c->key.ptr);
    return prepend(call, s, ams, value);
}

static tern_verdict seal_with_key(tern_call *call, const struct seal_conf *c, struct seal_spec *s)
{
    char error[512] = "";
    struct dkim_private *key = NULL;
    int r = dkim_file_key(c->key.ptr, c->generation, &key, error, sizeof(error));

    if (r < 0)
        return no_key(call, c, r, error);
    s->key = key;
    tern_verdict v = seal(call, c, s);
    dkim_private_unref(key);
    return v;
}

/* ---- the handler ---- */

/* Recipients of one group have one class. */
static bool is_wanted(const tern_call *call, const struct seal_conf *c)
{
    const struct tern_recipient *rcpt = tern->rcpt(call, 0);

    return rcpt != NULL && (c->class_mask & 1u << rcpt->class_) != 0;
}

static tern_verdict on_sign(tern_call *call, const void *conf)
{
    const struct seal_conf *c = conf;
    struct dkim_message *m = tern->alloc(call, sizeof(*m));
    struct arc_chain *chain = tern->alloc(call, sizeof(*chain));
    tern_str found = tern->result(call, "arc");

    if (!is_wanted(call, c))
        return TERN_NEXT;
    if (strcmp(found.ptr, "not_run") == 0)
        return skip(call, "arc_verify did not look at it");
    int r = dkim_message_read(tern, call, true, m);
    if (r != 0)
        return r < 0 ? TERN_ERROR : TERN_NEXT;
    r = is_as_it_came(call, m);
    if (r < 0)
        return tern->fail(call, "the header could not be read: errno %d", -r);
    if (r == 0)
        return skip(call, "a step has changed the chain");
    arc_chain_read(m->fields, m->field_count, tern->is_smtputf8(call),
                   tern->alloc(call, ARC_SETS_MAX * sizeof(struct arc_set)), chain);
    struct seal_spec s = { .fields = m->fields, .field_count = m->field_count, .body_hash = m->body_hash,
                           .domain = c->domain, .selector = c->selector, .names = { c->headers, c->oversign },
                           .now_s = m->now_s, .line_max = DKIM_WRITE_LINE_OCTETS };
    const char *why = decide(found, chain, &s);
    if (why != NULL)
        return skip(call, why);
    s.results = results_of(call, c, s.instance);
    return seal_with_key(call, c, &s);
}

/* ---- the options ---- */

static bool is_unsigned(tern_str name)
{
    static const char *const names[] = { "authentication-results", "return-path", "received" };

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (dkim_equal_nocase(name, dkim_str(names[i], strlen(names[i]))))
            return true;
    return name.len > 4 && dkim_equal_nocase(dkim_str(name.ptr, 4), TERN_STR("arc-"));
}

static bool check_names(struct tern_config *config, const char *key, struct tern_list list)
{
    bool from = false;

    for (size_t i = 0; i < list.count; i++) {
        tern_str name = list.items[i];
        bool plain = name.len > 0 && name.len <= 64;
        for (size_t k = 0; k < name.len; k++)
            plain &= name.ptr[k] > 32 && name.ptr[k] < 127 && name.ptr[k] != ':' && name.ptr[k] != ';';
        if (!plain)
            tern->config_error(config, key, "\"%s\" is no name of a header field", name.ptr);
        if (is_unsigned(name))
            tern->config_error(config, key, "\"%s\" changes on the way, or is sealed anyway, and is not signed",
                               name.ptr);
        from |= dkim_equal_nocase(name, TERN_STR("from"));
    }
    return from;
}

static void check_classes(struct seal_conf *c, struct tern_config *config)
{
    static const char *const names[] = { "", "local", "relay", "forward", "client" };

    c->class_mask = 0;
    for (size_t i = 0; i < c->classes.count; i++) {
        unsigned class_ = TERN_CLASS_LOCAL;
        while (class_ <= TERN_CLASS_CLIENT && strcmp(names[class_], c->classes.items[i].ptr) != 0)
            class_++;
        if (class_ > TERN_CLASS_CLIENT)
            tern->config_error(config, "classes", "\"%s\" is no class: local, relay, forward or client",
                               c->classes.items[i].ptr);
        else
            c->class_mask |= 1u << class_;
    }
}

static int check(void *conf, struct tern_config *config)
{
    static _Atomic uint64_t generation;
    struct seal_conf *c = conf;

    if (!dkim_name_is_valid(c->domain, 2))
        tern->config_error(config, "domain", "\"%s\" is no domain", c->domain.ptr);
    if (!dkim_name_is_valid(c->selector, 1))
        tern->config_error(config, "selector", "\"%s\" is no selector: letters, digits, \"-\" and dots",
                           c->selector.ptr);
    if (strstr(c->key.ptr, "%{") != NULL)
        tern->config_error(config, "key", "one key seals all mail: there is nothing to be filled in");
    if (c->authserv_id.len > 0 && !authres_id_is_valid(c->authserv_id))
        tern->config_error(config, "authserv_id", "\"%s\" is no name of a server", c->authserv_id.ptr);
    bool from = check_names(config, "headers", c->headers);
    from |= check_names(config, "oversign", c->oversign);
    if (!from)
        tern->config_error(config, "headers", "From must be signed (RFC 6376 5.4)");
    check_classes(c, config);
    if (!tern->config_has_result(config, "arc"))
        tern->config_error(config, NULL, "arc_verify must stand before it: what has not been verified is not sealed");
    c->generation = ++generation;
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    if (dkim_crypto_init() < 0)
        return -ENOSYS;
    sealed_total = api->counter("tern_arc_seal_seals_total", "ARC sets made");
    missing_total = api->counter("tern_arc_seal_no_key_total", "times the key to seal with was not there or not good");
    skipped_total = api->counter("tern_arc_seal_skipped_total", "forwarded messages that were not sealed");
    *ret_state = NULL;
    return 0;
}

static void fini(void *state)
{
    (void)state;
    dkim_files_free();
}

static const char *const missing_values[] = { "defer", "skip", NULL };
static const char *const after[] = { "arc_verify", "dkim_sign", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_STRING(struct seal_conf, domain, NULL, "Who seals (d=): a domain of yours."),
    TERN_OPTION_STRING(struct seal_conf, selector, NULL, "Selector of the key."),
    TERN_OPTION_PATH_READ(struct seal_conf, key, NULL, "Key file in PEM; mode 0600."),
    TERN_OPTION_LIST(struct seal_conf, classes, "[forward]", 1, 4,
                     "Which recipients' mail is sealed: their classes, of forward, relay, local and client."),
    TERN_OPTION_STRING(struct seal_conf, authserv_id, "",
                       "Whose results they are said to be; empty: `hostname` of the server."),
    TERN_OPTION_LIST(struct seal_conf, methods, "[iprev, spf, dkim, arc, dmarc]", 1, AUTHRES_METHODS_MAX,
                     "What is told, in that order, if it ran: NAME prints results.NAME_detail; auth is the login."),
    TERN_OPTION_ENUM(struct seal_conf, missing_key, "defer", missing_values,
                     "A key file that is not there: put the mail off, or send it without a seal."),
    TERN_OPTION_LIST(struct seal_conf, headers,
                     "[From, To, Cc, Subject, Date, Message-ID, Reply-To, Sender, In-Reply-To, References, "
                     "MIME-Version, Content-Type, Content-Transfer-Encoding, "
                     "List-Id, List-Unsubscribe, List-Unsubscribe-Post, DKIM-Signature]",
                     1, 100, "Fields that are signed, as many as there are of each."),
    TERN_OPTION_LIST(struct seal_conf, oversign, "[From, To, Cc, Subject, Date, Message-ID, Content-Type]", 0, 100,
                     "Fields of which none may be added behind us."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(SIGN, on_sign), .flags = TERN_BLOCKING },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "arc_seal", .summary = "Seal forwarded mail with ARC.", .options = options, .hooks = hooks,
            .after = after, .conf_size = sizeof(struct seal_conf), .init = init, .fini = fini, .check = check)
