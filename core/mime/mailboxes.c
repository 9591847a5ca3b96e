/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailboxes.c - the addresses in From, To and the like.
 *
 * All or nothing: who asks for From wants to know whom it names (DMARC does), and a parser that
 * skips what it does not understand tells him a name that another parser would not. Display names
 * are read and dropped. Source: RFC 5322 3.4, 4.4.
 */
#include <errno.h>

#include "mime/address.h"
#include "mime/domain.h"
#include "mime/header.h"
#include "mime/lex.h"

#define WORDS_OCTETS_MAX 4096 /* of one display name or local part */

struct list {
    struct slice s; /* what is left */
    struct arena *arena;
    struct tern_mailbox *mailboxes;
    size_t count, count_max;
    bool in_group;
    struct buf words; /* the local part or display name under way */
};

/*
 * Words and dots up to a special. *ret_plain: they could be a local part, which has
 * a dot between each two words, and none at its ends.
 */
static bool read_words(struct list *l, bool *ret_plain)
{
    bool word_before = false, plain = true;

    buf_clear(&l->words);
    for (;;) {
        if (!lex_skip_blank(&l->s) || l->words.len > WORDS_OCTETS_MAX)
            return false;
        if (lex_take(&l->s, '.')) {
            plain = plain && word_before;
            word_before = false;
            buf_add_char(&l->words, '.');
            continue;
        }
        bool quoted = l->s.len > 0 && l->s.ptr[0] == '"';
        struct slice atom = quoted ? SLICE("") : lex_atom(&l->s);
        if (quoted ? !lex_quoted(&l->s, &l->words) : atom.len == 0) {
            *ret_plain = plain && word_before;
            return !quoted;
        }
        buf_add(&l->words, atom);
        plain = plain && !word_before;
        word_before = true;
    }
}

static bool read_literal(struct list *l, struct buf *out)
{
    ptrdiff_t end = slice_find(l->s, ']');

    if (end < 0 || end > DOMAIN_OCTETS_MAX)
        return false;
    buf_add(out, slice_head(l->s, (size_t)end + 1));
    l->s = slice_from(l->s, (size_t)end + 1);
    return lex_skip_blank(&l->s);
}

/* Atoms and dots, blanks and comments between them; or a literal. */
static bool read_domain(struct list *l, struct buf *out)
{
    if (!lex_skip_blank(&l->s))
        return false;
    if (l->s.len > 0 && l->s.ptr[0] == '[')
        return read_literal(l, out);
    while (out->len <= DOMAIN_OCTETS_MAX) {
        struct slice atom = lex_atom(&l->s);
        buf_add(out, atom);
        if (atom.len == 0 || !lex_skip_blank(&l->s))
            return false;
        if (!lex_take(&l->s, '.'))
            return true;
        buf_add_char(out, '.');
        if (!lex_skip_blank(&l->s))
            return false;
    }
    return false;
}

/* Behind the '@': the domain, and the mailbox is complete. */
static int add_mailbox(struct list *l)
{
    CLEANUP_BUF struct buf domain = BUF_INIT;
    struct tern_mailbox m;

    if (!read_domain(l, &domain))
        return -EBADMSG;
    if (l->count == l->count_max)
        return -E2BIG;
    tern_str text = address_compose(buf_slice(&l->words), buf_slice(&domain), l->arena);
    if (address_parse(slice_make(text.ptr, text.len), ADDRESS_SMTPUTF8, l->arena, &m) < 0)
        return -EBADMSG;
    l->mailboxes[l->count++] = m;
    return 0;
}

/* "@a,@b:" of RFC 5322 4.4; not looked at. */
static bool skip_route(struct list *l)
{
    if (!lex_skip_blank(&l->s))
        return false;
    if (l->s.len == 0 || l->s.ptr[0] != '@')
        return true;
    while (l->s.len > 0 && l->s.ptr[0] != ':' && l->s.ptr[0] != '>')
        l->s = slice_from(l->s, 1);
    return lex_take(&l->s, ':');
}

/* Behind the '<'. */
static int read_angle(struct list *l)
{
    bool plain;

    if (!skip_route(l) || !read_words(l, &plain) || !plain || !lex_take(&l->s, '@'))
        return -EBADMSG;
    int r = add_mailbox(l);
    return r < 0 ? r : lex_take(&l->s, '>') && lex_skip_blank(&l->s) ? 0 : -EBADMSG;
}

/* A mailbox, the begin or end of a group, or nothing between two commas. */
static int read_one(struct list *l)
{
    bool plain;

    if (!read_words(l, &plain))
        return -EBADMSG;
    if (lex_take(&l->s, '<'))
        return read_angle(l);
    if (lex_take(&l->s, '@'))
        return plain ? add_mailbox(l) : -EBADMSG;
    if (lex_take(&l->s, ':')) {
        bool named = l->words.len > 0 && !l->in_group;
        l->in_group = true;
        return named ? 0 : -EBADMSG;
    }
    return l->words.len == 0 ? 0 : -EBADMSG;
}

/* What may stand between two: ',' anywhere, ';' at the end of a group, nothing behind "name:". */
static bool read_separator(struct list *l, bool *ret_group_begun)
{
    bool begun = *ret_group_begun;

    *ret_group_begun = false;
    if (l->in_group && lex_take(&l->s, ';')) {
        l->in_group = false;
        return lex_skip_blank(&l->s) && (l->s.len == 0 || lex_take(&l->s, ','));
    }
    return lex_take(&l->s, ',') || begun || (l->s.len == 0 && !l->in_group);
}

int header_mailboxes(struct slice value, struct arena *arena, struct tern_mailbox *ret,
                     size_t count_max)
{
    struct list l = { .s = value, .arena = arena, .mailboxes = ret, .count_max = count_max };
    int r = lex_skip_blank(&l.s) && l.s.len > 0 ? 0 : -EBADMSG;

    while (r == 0 && l.s.len > 0) {
        bool in_group = l.in_group;
        r = read_one(&l);
        bool begun = r == 0 && l.in_group && !in_group;
        if (r == 0 && !read_separator(&l, &begun))
            r = -EBADMSG;
    }
    if (r == 0 && l.in_group)
        r = -EBADMSG;
    buf_free(&l.words);
    return r < 0 ? r : (int)l.count;
}
