/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox.c - quoting of a local part. See mailbox.h.
 */
#include "mailbox.h"

#include <string.h>

static bool is_atext(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 128 ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* RFC 5321 4.1.2 Dot-string, with UTF-8 (RFC 6531 3.3). */
static bool is_dot_string(tern_str local)
{
    bool after_dot = true;

    for (size_t i = 0; i < local.len; i++) {
        bool dot = local.ptr[i] == '.';
        if (dot ? after_dot : !is_atext((unsigned char)local.ptr[i]))
            return false;
        after_dot = dot;
    }
    return !after_dot;
}

static bool put(struct mailbox_text *m, char c)
{
    if (m->len == MAILBOX_OCTETS_MAX)
        return false;
    m->text[m->len++] = c;
    return true;
}

static bool put_quoted(struct mailbox_text *m, tern_str local)
{
    bool fits = put(m, '"');

    for (size_t i = 0; i < local.len && fits; i++) {
        if (local.ptr[i] == '"' || local.ptr[i] == '\\')
            fits = put(m, '\\');
        fits = fits && put(m, local.ptr[i]);
    }
    return fits && put(m, '"');
}

static bool put_all(struct mailbox_text *m, tern_str s)
{
    bool fits = true;

    for (size_t i = 0; i < s.len && fits; i++)
        fits = put(m, s.ptr[i]);
    return fits;
}

bool mailbox_compose(tern_str local, tern_str domain, struct mailbox_text *ret)
{
    struct mailbox_text m = { .len = 0 };

    if (local.len == 0 || domain.len == 0)
        return false;
    if (!(is_dot_string(local) ? put_all(&m, local) : put_quoted(&m, local)))
        return false;
    m.local_len = m.len;
    if (!put(&m, '@') || !put_all(&m, domain))
        return false;
    m.text[m.len] = '\0';
    *ret = m;
    return true;
}
