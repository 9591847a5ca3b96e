/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_record.c - the key record that a domain publishes. See dkim.h. Sources: RFC 6376 3.6.1, RFC 8463 4.
 *
 * g= of RFC 4871 means nothing any more: RFC 6376 dropped it.
 */
#include "dkim.h"

#include <string.h>

static bool lists(const struct dkim_tags *tags, const char *name, const char *word, bool otherwise)
{
    const struct dkim_tag *tag = dkim_tags_find(tags, name);
    tern_str rest, item;

    if (tag == NULL)
        return otherwise;
    rest = tag->value;
    while (dkim_list_next(&rest, ':', &item))
        if (dkim_equal_nocase(item, dkim_str(word, strlen(word))))
            return true;
    return false;
}

const char *dkim_record_parse(tern_str text, struct dkim_record *ret)
{
    struct dkim_tags tags;
    const char *wrong;

    *ret = (struct dkim_record){ .key = { "", 0 } };
    if (text.len > DKIM_RECORD_OCTETS_MAX)
        return "it is too long";
    if ((wrong = dkim_tags_parse(text, &tags)) != NULL)
        return wrong;
    const struct dkim_tag *v = dkim_tags_find(&tags, "v");
    if (v != NULL && (v != tags.items || v->value.len != 5 || memcmp(v->value.ptr, "DKIM1", 5) != 0))
        return "v= is not DKIM1, or not the first tag";
    const struct dkim_tag *k = dkim_tags_find(&tags, "k"), *p = dkim_tags_find(&tags, "p");
    ret->ed25519 = k != NULL && dkim_equal_nocase(k->value, TERN_STR("ed25519"));
    if (k != NULL && !ret->ed25519 && !dkim_equal_nocase(k->value, TERN_STR("rsa")))
        return "k= is not known";
    if (p == NULL)
        return "no p=";
    ret->sha256 = lists(&tags, "h", "sha256", true);
    ret->email = lists(&tags, "s", "email", true) || lists(&tags, "s", "*", false);
    ret->testing = lists(&tags, "t", "y", false);
    ret->strict = lists(&tags, "t", "s", false);
    ret->revoked = p->value.len == 0;
    ret->key = p->value;
    return NULL;
}
