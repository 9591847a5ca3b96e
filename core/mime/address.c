/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.c - the grammar of Mailbox and Path.
 *
 * The local part is read from the left by its own grammar, so an '@' in quotes is no
 * separator and a second one outside them makes the domain invalid. Nothing is normalised in
 * the local part but the quoting: RFC 5321 2.4 leaves its case and sense to the final host.
 *
 * Sources: RFC 5321 4.1.1.3, 4.1.2, 4.5.3.1; RFC 6531 3.3.
 */
#include "mime/address.h"

#include <errno.h>

#include "base/utf8.h"
#include "mime/domain.h"

/* RFC 5322 3.2.3 atext, besides letters and digits. */
static bool is_atext(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool is_printable(char c) /* with the blank */
{
    return c >= 0x20 && c <= 0x7e;
}

static bool is_high(char c)
{
    return (unsigned char)c >= 0x80;
}

/* Octets of a Dot-string at the start of `s`; 0 if there is none. */
static size_t dot_string_octets(struct slice s)
{
    size_t i = 0, atom = 0;

    for (; i < s.len; i++) {
        if (is_atext(s.ptr[i]) || is_high(s.ptr[i])) {
            atom++;
            continue;
        }
        if (s.ptr[i] != '.')
            break;
        if (atom == 0)
            return 0;
        atom = 0;
    }
    return atom > 0 ? i : 0;
}

/* Octets of a Quoted-string with its quotes; 0 if it is not one. */
static size_t quoted_string_octets(struct slice s)
{
    for (size_t i = 1; i < s.len; i++) {
        if (s.ptr[i] == '"')
            return i + 1;
        if (s.ptr[i] == '\\') {
            if (++i == s.len || !is_printable(s.ptr[i])) /* quoted-pairSMTP: ASCII only */
                return 0;
            continue;
        }
        if (!is_printable(s.ptr[i]) && !is_high(s.ptr[i]))
            return 0;
    }
    return 0;
}

static tern_str unquoted(struct slice s, struct arena *arena)
{
    char *copy = arena_dup(arena, s);
    size_t len = 0;

    if (s.len == 0 || s.ptr[0] != '"')
        return (tern_str){ copy, s.len };
    for (size_t i = 1; i + 1 < s.len; i++) {
        if (s.ptr[i] == '\\')
            i++;
        copy[len++] = s.ptr[i];
    }
    copy[len] = '\0';
    return (tern_str){ copy, len };
}

static tern_str copied(struct slice s, struct arena *arena)
{
    return (tern_str){ arena_dup(arena, s), s.len };
}

static bool may_lack_domain(struct slice local, unsigned flags)
{
    return (flags & ADDRESS_ALLOW_ANY_LOCAL) != 0 ||
           ((flags & ADDRESS_ALLOW_NO_DOMAIN) != 0 &&
            slice_equal_nocase(local, SLICE("postmaster")));
}

static int parse_domain(struct slice text, unsigned flags, struct arena *arena, tern_str *ret)
{
    if (text.len == 0 || text.ptr[0] != '@')
        return -EBADMSG;
    return domain_parse(slice_from(text, 1), (flags & ADDRESS_SMTPUTF8) != 0, arena, ret);
}

static int check_octets(struct slice text, unsigned flags)
{
    if (slice_is_ascii(text))
        return 0;
    if (!utf8_valid(text))
        return -EBADMSG;
    return (flags & ADDRESS_SMTPUTF8) != 0 ? 0 : -EILSEQ;
}

int address_parse(struct slice text, unsigned flags, struct arena *arena, struct tern_mailbox *ret)
{
    struct tern_mailbox m = { .domain = TERN_STR("") };

    if (text.len == 0 && (flags & ADDRESS_ALLOW_NULL) != 0) {
        *ret = (struct tern_mailbox){ TERN_STR(""), TERN_STR(""), TERN_STR("") };
        return 0;
    }
    if (text.len > ADDRESS_PATH_OCTETS_MAX - 2)
        return -ENAMETOOLONG;
    int r = check_octets(text, flags);
    if (r < 0 || text.len == 0)
        return r < 0 ? r : -EBADMSG;

    size_t len = text.ptr[0] == '"' ? quoted_string_octets(text) : dot_string_octets(text);
    if (len == 0)
        return -EBADMSG;
    struct slice local = slice_head(text, len);
    if (len < text.len || !may_lack_domain(local, flags))
        r = parse_domain(slice_from(text, len), flags, arena, &m.domain);
    if (r < 0)
        return r;
    if (len > ADDRESS_LOCAL_OCTETS_MAX)
        return -ENAMETOOLONG;
    m.address = copied(text, arena);
    m.local = unquoted(local, arena);
    *ret = m;
    return 0;
}

size_t address_path_octets(struct slice text)
{
    bool quoted = false;

    if (text.len == 0 || text.ptr[0] != '<')
        return 0;
    for (size_t i = 1; i < text.len; i++) {
        char c = text.ptr[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (c == '>' && !quoted)
            return i + 1;
    }
    return 0;
}

/* Cuts "@a,@b:" off; its domains must be domains, and are not looked at again. */
static int skip_route(struct slice *text, unsigned flags, struct arena *arena)
{
    tern_str unused;

    if (text->len == 0 || text->ptr[0] != '@')
        return 0;
    for (size_t octets = 0; octets <= ADDRESS_ROUTE_OCTETS_MAX;) {
        size_t len = 0;
        bool literal = text->len > 1 && text->ptr[1] == '[';
        while (len < text->len && text->ptr[len] != ',' && (literal || text->ptr[len] != ':')) {
            literal = literal && text->ptr[len] != ']'; /* its colons are its own */
            len++;
        }
        int r = parse_domain(slice_head(*text, len), flags, arena, &unused);
        if (r < 0 || len == text->len)
            return r < 0 ? r : -EBADMSG;
        bool last = text->ptr[len] == ':';
        *text = slice_from(*text, len + 1);
        if (last)
            return 0;
        octets += len + 1;
    }
    return -ENAMETOOLONG;
}

int address_parse_path(struct slice text, unsigned flags, struct arena *arena,
                       struct tern_mailbox *ret, struct slice *ret_rest)
{
    size_t octets = address_path_octets(text);

    if (octets == 0)
        return -EBADMSG;
    struct slice inside = slice_make(text.ptr + 1, octets - 2);
    int r = skip_route(&inside, flags, arena);
    if (r == 0 && inside.len == 0 && octets > 2) /* "<@a:>" is no null path */
        r = -EBADMSG;
    if (r == 0)
        r = address_parse(inside, flags, arena, ret);
    if (r == 0)
        *ret_rest = slice_from(text, octets);
    return r;
}

tern_str address_compose(struct slice local, struct slice domain, struct arena *arena)
{
    bool plain = local.len > 0 && dot_string_octets(local) == local.len;
    char *text = arena_alloc(arena, 2 * local.len + domain.len + 4);
    size_t len = 0;

    if (!plain)
        text[len++] = '"';
    for (size_t i = 0; i < local.len; i++) {
        if (!plain && (local.ptr[i] == '"' || local.ptr[i] == '\\'))
            text[len++] = '\\';
        text[len++] = local.ptr[i];
    }
    if (!plain)
        text[len++] = '"';
    if (domain.len > 0) {
        text[len++] = '@';
        memcpy(text + len, domain.ptr, domain.len);
        len += domain.len;
    }
    text[len] = '\0';
    return (tern_str){ text, len };
}

bool address_needs_smtputf8(const struct tern_mailbox *mailbox)
{
    return !slice_is_ascii(slice_make(mailbox->local.ptr, mailbox->local.len));
}
