/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.c - esmtp-param lists.
 *
 * A keyword that comes twice is refused: two servers on the way might each believe another one.
 * Sources: RFC 5321 4.1.2, 4.1.1.11; RFC 1870 (SIZE); RFC 6152, 3030 (BODY); RFC 6531 (SMTPUTF8);
 * draft-hall-prdr-00 (PRDR); RFC 3461 (RET, ENVID, NOTIFY, ORCPT).
 */
#include "smtp/params.h"

#include "mime/xtext.h"

#define SIZE_DIGITS_MAX 20 /* RFC 1870 section 4: size-value ::= 1*20DIGIT */

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool keyword_is_valid(struct slice s)
{
    if (s.len == 0 || !is_alnum(s.ptr[0]))
        return false;
    for (size_t i = 1; i < s.len; i++)
        if (!is_alnum(s.ptr[i]) && s.ptr[i] != '-')
            return false;
    return true;
}

/* 33 to 126 without '='; RFC 6531 3.3 adds UTF-8, which none of our parameters takes. */
static bool value_is_valid(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= 0x20 || s.ptr[i] > 0x7e || s.ptr[i] == '=')
            return false;
    return s.len > 0;
}

enum smtp_params smtp_params_next(struct slice *rest, struct smtp_param *ret)
{
    struct smtp_param p = { .value = SLICE("") };

    if (rest->len > 0 && rest->ptr[0] != ' ')
        return SMTP_PARAMS_BAD;
    struct slice s = slice_trim(*rest);
    if (s.len == 0)
        return SMTP_PARAMS_END;
    ptrdiff_t blank = slice_find(s, ' ');
    struct slice word = blank < 0 ? s : slice_head(s, (size_t)blank);
    ptrdiff_t equals = slice_find(word, '=');
    p.has_value = equals >= 0;
    p.keyword = p.has_value ? slice_head(word, (size_t)equals) : word;
    if (p.has_value)
        p.value = slice_from(word, (size_t)equals + 1);
    if (!keyword_is_valid(p.keyword) || (p.has_value && !value_is_valid(p.value)))
        return SMTP_PARAMS_BAD;
    *rest = slice_from(s, word.len);
    *ret = p;
    return SMTP_PARAMS_ONE;
}

static enum smtp_param_fault take_size(const struct smtp_param *p, unsigned extensions,
                                       struct smtp_mail_options *o)
{
    if (!p->has_value || p->value.len > SIZE_DIGITS_MAX)
        return SMTP_PARAM_SYNTAX;
    for (size_t i = 0; i < p->value.len; i++)
        if (p->value.ptr[i] < '0' || p->value.ptr[i] > '9')
            return SMTP_PARAM_SYNTAX;
    if (!slice_to_u64(p->value, &o->size))
        o->size = UINT64_MAX; /* 20 digits can say more than 64 bits hold: too big in any case */
    return SMTP_PARAM_OK;
}

static enum smtp_param_fault take_body(const struct smtp_param *p, unsigned extensions,
                                       struct smtp_mail_options *o)
{
    static const struct {
        struct slice word;
        unsigned extension; /* BODY itself is of 8BITMIME or BINARYMIME (RFC 3030 section 3) */
    } types[] = {
        [BODY_7BIT] = { SLICE("7BIT"), SMTP_EXT_8BITMIME | SMTP_EXT_BINARYMIME },
        [BODY_8BITMIME] = { SLICE("8BITMIME"), SMTP_EXT_8BITMIME },
        [BODY_BINARYMIME] = { SLICE("BINARYMIME"), SMTP_EXT_BINARYMIME },
    };

    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (!slice_equal_nocase(p->value, types[i].word))
            continue;
        o->body = (enum body_type)i;
        return (types[i].extension & extensions) != 0 ? SMTP_PARAM_OK : SMTP_PARAM_UNKNOWN;
    }
    return SMTP_PARAM_SYNTAX;
}

static enum smtp_param_fault take_smtputf8(const struct smtp_param *p, unsigned extensions,
                                           struct smtp_mail_options *o)
{
    o->smtputf8 = true;
    return p->has_value ? SMTP_PARAM_SYNTAX : SMTP_PARAM_OK;
}

static enum smtp_param_fault take_prdr(const struct smtp_param *p, unsigned extensions,
                                       struct smtp_mail_options *o)
{
    o->prdr = true;
    return p->has_value ? SMTP_PARAM_SYNTAX : SMTP_PARAM_OK;
}

/*
 * RFC 4954 5: who handed the message in first, as a server tells it that we trust. We trust none: its
 * shape is checked, and what it says is taken for "<>".
 */
static enum smtp_param_fault take_auth(const struct smtp_param *p, unsigned extensions,
                                       struct smtp_mail_options *o)
{
    (void)o;
    return p->has_value && p->value.len > 0 && xtext_is_valid(p->value) ? SMTP_PARAM_OK : SMTP_PARAM_SYNTAX;
}

static enum smtp_param_fault take_ret(const struct smtp_param *p, unsigned extensions,
                                      struct smtp_mail_options *o)
{
    static const struct slice words[] = { SLICE("FULL"), SLICE("HDRS") };

    for (size_t i = 0; i < 2; i++)
        if (slice_equal_nocase(p->value, words[i]))
            o->ret = words[i];
    return o->ret.len > 0 ? SMTP_PARAM_OK : SMTP_PARAM_SYNTAX;
}

static enum smtp_param_fault take_envid(const struct smtp_param *p, unsigned extensions,
                                        struct smtp_mail_options *o)
{
    o->envid = p->value;
    return p->value.len > 0 && p->value.len <= SMTP_ENVID_OCTETS_MAX &&
                   xtext_is_printable(p->value)
               ? SMTP_PARAM_OK
               : SMTP_PARAM_SYNTAX;
}

/* "NEVER", or a list of the others, each once. */
static enum smtp_param_fault take_notify(const struct smtp_param *p, struct smtp_rcpt_options *o)
{
    static const struct slice words[] = { SLICE("SUCCESS"), SLICE("FAILURE"), SLICE("DELAY") };
    static const struct slice lists[] = {
        SLICE(""),
        SLICE("SUCCESS"),
        SLICE("FAILURE"),
        SLICE("SUCCESS,FAILURE"),
        SLICE("DELAY"),
        SLICE("SUCCESS,DELAY"),
        SLICE("FAILURE,DELAY"),
        SLICE("SUCCESS,FAILURE,DELAY"),
    };
    struct slice rest = p->value;
    unsigned set = 0;

    o->notify = SLICE("NEVER");
    if (slice_equal_nocase(rest, o->notify))
        return SMTP_PARAM_OK;
    for (;;) {
        ptrdiff_t comma = slice_find(rest, ',');
        struct slice word = comma < 0 ? rest : slice_head(rest, (size_t)comma);
        unsigned bit = 0;
        for (unsigned i = 0; i < 3; i++)
            if (slice_equal_nocase(word, words[i]))
                bit = 1u << i;
        if (bit == 0 || (set & bit) != 0)
            return SMTP_PARAM_SYNTAX;
        set |= bit;
        if (comma < 0)
            break;
        rest = slice_from(rest, (size_t)comma + 1);
    }
    o->notify = lists[set];
    return SMTP_PARAM_OK;
}

/* addr-type ";" xtext; the type is an atom, of which we take what IANA has: letters, digits, '-'. */
static enum smtp_param_fault take_orcpt(const struct smtp_param *p, struct smtp_rcpt_options *o)
{
    ptrdiff_t semicolon = slice_find(p->value, ';');

    if (semicolon < 0 || p->value.len > SMTP_ORCPT_OCTETS_MAX ||
        !keyword_is_valid(slice_head(p->value, (size_t)semicolon)))
        return SMTP_PARAM_SYNTAX;
    struct slice address = slice_from(p->value, (size_t)semicolon + 1);
    if (address.len == 0 || !xtext_is_printable(address))
        return SMTP_PARAM_SYNTAX;
    o->orcpt = p->value;
    return SMTP_PARAM_OK;
}

static const struct {
    struct slice keyword;
    unsigned extension;
    enum smtp_param_fault (*take)(const struct smtp_param *p, unsigned extensions,
                                  struct smtp_mail_options *o);
} known[] = {
    { SLICE("SIZE"), SMTP_EXT_SIZE, take_size },
    { SLICE("BODY"), SMTP_EXT_8BITMIME | SMTP_EXT_BINARYMIME, take_body },
    { SLICE("SMTPUTF8"), SMTP_EXT_SMTPUTF8, take_smtputf8 },
    { SLICE("PRDR"), SMTP_EXT_PRDR, take_prdr },
    { SLICE("AUTH"), SMTP_EXT_AUTH, take_auth },
    { SLICE("RET"), SMTP_EXT_DSN, take_ret },
    { SLICE("ENVID"), SMTP_EXT_DSN, take_envid },
};
#define KNOWN_COUNT (sizeof(known) / sizeof(known[0]))

static enum smtp_param_fault take(const struct smtp_param *p, unsigned extensions, unsigned *seen,
                                  struct smtp_mail_options *o)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (!slice_equal_nocase(p->keyword, known[i].keyword))
            continue;
        if ((extensions & known[i].extension) == 0)
            return SMTP_PARAM_UNKNOWN;
        if ((*seen & (1u << i)) != 0)
            return SMTP_PARAM_SYNTAX;
        *seen |= 1u << i;
        return known[i].take(p, extensions, o);
    }
    return SMTP_PARAM_UNKNOWN;
}

enum smtp_param_fault smtp_params_mail(struct slice rest, unsigned extensions,
                                       struct smtp_mail_options *ret)
{
    struct smtp_mail_options o = { 0 };
    struct smtp_param p;
    unsigned seen = 0;

    for (;;) {
        enum smtp_params r = smtp_params_next(&rest, &p);
        if (r == SMTP_PARAMS_BAD)
            return SMTP_PARAM_SYNTAX;
        if (r == SMTP_PARAMS_END)
            break;
        enum smtp_param_fault fault = take(&p, extensions, &seen, &o);
        if (fault != SMTP_PARAM_OK)
            return fault;
    }
    *ret = o;
    return SMTP_PARAM_OK;
}

enum smtp_param_fault smtp_params_rcpt(struct slice rest, unsigned extensions,
                                       struct smtp_rcpt_options *ret)
{
    struct smtp_rcpt_options o = { 0 };
    struct smtp_param p;

    for (;;) {
        enum smtp_params r = smtp_params_next(&rest, &p);
        enum smtp_param_fault fault = SMTP_PARAM_SYNTAX; /* given twice */
        if (r == SMTP_PARAMS_BAD)
            return SMTP_PARAM_SYNTAX;
        if (r == SMTP_PARAMS_END)
            break;
        bool notify = slice_equal_nocase(p.keyword, SLICE("NOTIFY"));
        if ((extensions & SMTP_EXT_DSN) == 0 ||
            (!notify && !slice_equal_nocase(p.keyword, SLICE("ORCPT"))))
            return SMTP_PARAM_UNKNOWN;
        if (notify && o.notify.len == 0)
            fault = take_notify(&p, &o);
        else if (!notify && o.orcpt.len == 0)
            fault = take_orcpt(&p, &o);
        if (fault != SMTP_PARAM_OK)
            return fault;
    }
    *ret = o;
    return SMTP_PARAM_OK;
}
