/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_sign - signs messages of our own domains with DKIM.
 *
 * At `sign`, behind the last edit: what is signed is what is sent. On a thread of the pool, for keys are
 * read from files, tables may be asked, and RSA takes its millisecond.
 *
 * Sources: RFC 6376 (5), RFC 8301 (rsa-sha256, 1024 bits and more), RFC 8463 (Ed25519).
 */
#include "dkim_sign.h"

const struct tern_api *sign_api;
#define tern sign_api

static void *signed_total, *missing_total;

/* ---- one signature ---- */

static tern_verdict no_key(tern_call *call, const struct sign_conf *c, const struct sign_spec *spec, int r,
                           const char *error)
{
    tern->counter_add(missing_total, 1);
    if (r != -ENOENT || c->missing_key != SIGN_MISSING_SKIP)
        return tern->fail(call, "no key to sign with: %s", error);
    tern->note(call, "not signed", tern->format(call, "%.*s: there is no %s", (int)spec->domain.len, spec->domain.ptr,
                                                 spec->path));
    return TERN_NEXT;
}

static tern_verdict sign(tern_call *call, const struct sign_conf *c, const struct dkim_message *m,
                         const struct sign_spec *spec)
{
    char error[512] = "";
    struct dkim_private *key = NULL;
    int r = dkim_file_key(spec->path, c->generation, &key, error, sizeof(error));

    if (r < 0)
        return no_key(call, c, spec, r, error);
    tern_str value = sign_field(call, c, m, spec, key);
    tern_str what = tern->format(call, "d=%.*s s=%.*s a=%s, %u bits", (int)spec->domain.len, spec->domain.ptr,
                                 (int)spec->selector.len, spec->selector.ptr,
                                 dkim_algorithm_name(dkim_private_algorithm(key)), dkim_private_bits(key));
    dkim_private_unref(key);
    if (value.ptr == NULL)
        return tern->fail(call, "OpenSSL did not sign with %s", spec->path);
    if (tern->header_prepend(call, "DKIM-Signature", value) < 0)
        return TERN_ERROR;
    tern->note(call, "signed", what);
    tern->counter_add(signed_total, 1);
    return TERN_NEXT;
}

static tern_verdict on_sign(tern_call *call, const void *conf)
{
    const struct sign_conf *c = conf;
    struct sign_spec *specs = tern->alloc(call, SIGN_SIGNATURES_MAX * sizeof(specs[0]));
    struct dkim_message *m = tern->alloc(call, sizeof(*m));
    int count = sign_who(call, c, specs);

    if (count <= 0)
        return count < 0 ? TERN_ERROR : TERN_NEXT;
    int r = dkim_message_read(tern, call, sign_body_relaxed(c), m);
    if (r != 0)
        return r < 0 ? TERN_ERROR : TERN_NEXT;
    for (int i = 0; i < count; i++) {
        tern_verdict v = sign(call, c, m, &specs[i]);
        if (v != TERN_NEXT)
            return v;
    }
    return TERN_NEXT;
}

/* ---- the options ---- */

static void check_names(struct tern_config *config, const char *key, struct tern_list list)
{
    for (size_t i = 0; i < list.count; i++) {
        tern_str name = list.items[i];
        bool plain = name.len > 0 && name.len <= 64;
        for (size_t k = 0; k < name.len; k++)
            plain &= name.ptr[k] > 32 && name.ptr[k] < 127 && name.ptr[k] != ':' && name.ptr[k] != ';';
        if (!plain)
            tern->config_error(config, key, "\"%s\" is no name of a header field", name.ptr);
        if (dkim_equal_nocase(name, TERN_STR("dkim-signature")) || dkim_equal_nocase(name, TERN_STR("return-path")) ||
            dkim_equal_nocase(name, TERN_STR("received")))
            tern->config_error(config, key, "\"%s\" changes on the way and is not signed", name.ptr);
    }
}

static bool lists_from(struct tern_list list)
{
    for (size_t i = 0; i < list.count; i++)
        if (dkim_equal_nocase(list.items[i], TERN_STR("from")))
            return true;
    return false;
}

static void check_selector(struct tern_config *config, const char *key, tern_str selector)
{
    if (selector.len > 0 && !dkim_name_is_valid(selector, 1))
        tern->config_error(config, key, "\"%s\" is no selector: letters, digits, \"-\" and dots", selector.ptr);
}

static void check_source(struct tern_config *config, const struct sign_conf *c)
{
    bool keys = c->keys != NULL;

    if ((c->selector.len > 0) != (c->key.len > 0))
        tern->config_error(config, c->key.len > 0 ? "key" : "selector", "needs %s as well",
                           c->key.len > 0 ? "selector" : "key");
    if (keys && (c->selector.len > 0 || c->also.count > 0))
        tern->config_error(config, "keys",
                           "the table names selectors and files: not together with selector, key, also");
    if (keys != (c->folder.len > 0))
        tern->config_error(config, keys ? "keys" : "folder", "needs %s as well", keys ? "folder" : "keys");
    if (!keys && c->selector.len == 0)
        tern->config_error(config, NULL, "nothing to sign with: selector and key, or keys and folder");
}

/* A slip there would be a file that is not there, and with missing_key: skip all mail unsigned. */
static void check_variables(struct tern_config *config, const char *key, tern_str text)
{
    for (const char *p = strstr(text.ptr, "%{"); p != NULL; p = strstr(p + 2, "%{"))
        if (strncmp(p, "%{domain}", 9) != 0)
            tern->config_error(config, key, "\"%.20s\": there is %%{domain} only", p);
}

static int check(void *conf, struct tern_config *config)
{
    static _Atomic uint64_t generation;
    struct sign_conf *c = conf;
    const struct sign_also *also = c->also.items;

    check_source(config, c);
    check_selector(config, "selector", c->selector);
    check_variables(config, "key", c->key);
    for (size_t i = 0; i < c->also.count; i++) {
        check_selector(config, "also", also[i].selector);
        check_variables(config, "also", also[i].key);
    }
    check_names(config, "headers", c->headers);
    check_names(config, "oversign", c->oversign);
    if (!lists_from(c->headers) && !lists_from(c->oversign))
        tern->config_error(config, "headers", "From must be signed (RFC 6376 5.4)");
    c->generation = ++generation;
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    if (dkim_crypto_init() < 0)
        return -ENOSYS;
    signed_total = api->counter("tern_dkim_sign_signatures_total", "DKIM signatures made");
    missing_total = api->counter("tern_dkim_sign_no_key_total", "times a key to sign with was not there or not good");
    *ret_state = NULL;
    return 0;
}

static void fini(void *state)
{
    (void)state;
    dkim_files_free();
}

static const char *const by_values[] = { "from", "sender", "user", NULL };
static const char *const canon_values[] = {
    "relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple", NULL,
};
static const char *const missing_values[] = { "defer", "skip", NULL };

static const struct tern_option also_options[] = {
    TERN_OPTION_STRING(struct sign_also, selector, NULL, "Selector of one more signature."),
    TERN_OPTION_PATH_READ(struct sign_also, key, NULL, "Its key file, with %{domain}."),
    TERN_OPTIONS_END,
};

static const struct tern_option options[] = {
    TERN_OPTION_ENUM(struct sign_conf, by, "from", by_values,
                     "Whose domain signs: of the From field, of MAIL FROM, of the user who has logged in."),
    TERN_OPTION_STRING(struct sign_conf, selector, "", "Selector of the key."),
    TERN_OPTION_PATH_READ(struct sign_conf, key, "", "Key file in PEM, with %{domain}; mode 0600."),
    TERN_OPTION_RECORDS(struct sign_conf, also, also_options, struct sign_also, 0, SIGN_SIGNATURES_MAX - 1,
                        "One more signature for each: another selector and key."),
    TERN_OPTION_TABLE(struct sign_conf, signers, "",
                      "Who signs: address, domain, *.domain or * to names in keys, or to domains."),
    TERN_OPTION_TABLE(struct sign_conf, keys, "", "Name, domain, *.domain or * to DOMAIN:SELECTOR:FILE."),
    TERN_OPTION_PATH_READ(struct sign_conf, folder, "", "Where the files are that keys names."),
    TERN_OPTION_ENUM(struct sign_conf, missing_key, "defer", missing_values,
                     "A key file that is not there: put the mail off, or send it unsigned."),
    TERN_OPTION_ENUM(struct sign_conf, canonicalization, "relaxed/relaxed", canon_values, "Of header and body."),
    TERN_OPTION_LIST(struct sign_conf, headers,
                     "[From, To, Cc, Subject, Date, Message-ID, Reply-To, Sender, In-Reply-To, References, "
                     "MIME-Version, Content-Type, Content-Transfer-Encoding, "
                     "List-Id, List-Unsubscribe, List-Unsubscribe-Post]",
                     1, 100, "Fields that are signed, as many as there are of each."),
    TERN_OPTION_LIST(struct sign_conf, oversign, "[From, To, Cc, Subject, Date, Message-ID, Content-Type]", 0, 100,
                     "Fields of which none may be added behind us."),
    TERN_OPTION_SECONDS(struct sign_conf, expire, "0", 0, 31536000, "x=: how long the signature counts; 0: for ever."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(SIGN, on_sign), .flags = TERN_BLOCKING },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "dkim_sign", .summary = "Sign messages with DKIM.", .options = options, .hooks = hooks,
            .conf_size = sizeof(struct sign_conf), .init = init, .fini = fini, .check = check)
