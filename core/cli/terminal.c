/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/terminal.h"

#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"

static void add_shown(struct buf *out, struct slice s, bool lines)
{
    while (s.len > 0) {
        size_t len = utf8_shown_len(s);
        bool stays = lines && (s.ptr[0] == '\n' || s.ptr[0] == '\t' || slice_starts_nocase(s, SLICE("\r\n")));
        if (len == 0 && !stays)
            buf_printf(out, "\\x%02x", (unsigned char)s.ptr[0]);
        else
            buf_add(out, slice_head(s, len > 0 ? len : 1));
        s = slice_from(s, len > 0 ? len : 1);
    }
}

static json_t *shown(const json_t *v, bool lines)
{
    struct buf text CLEANUP_BUF = BUF_INIT;

    add_shown(&text, slice_make(json_string_value(v), json_string_length(v)), lines);
    return json_stringn(text.data != NULL ? text.data : "", text.len);
}

static json_t *clean(json_t *v, bool lines);

static json_t *clean_object(json_t *v)
{
    json_t *mine = json_object(), *member;
    const char *key;

    json_object_foreach(v, key, member) {
        struct buf name CLEANUP_BUF = BUF_INIT;
        add_shown(&name, slice_cstr(key), false);
        (void)json_object_set_new(mine, name.data != NULL ? name.data : "", clean(member, strcmp(key, "header") == 0));
    }
    return mine;
}

/* As deep as jansson reads: JSON_PARSER_MAX_DEPTH. */
static json_t *clean(json_t *v, bool lines)
{
    json_t *mine, *item;
    size_t i;

    if (json_is_string(v))
        return shown(v, lines);
    if (json_is_object(v))
        return clean_object(v);
    if (!json_is_array(v))
        return json_incref(v);
    mine = json_array();
    json_array_foreach(v, i, item)
        (void)json_array_append_new(mine, clean(item, false));
    return mine;
}

json_t *terminal_json(const char *text, size_t octets)
{
    json_t *v = json_loadb(text, octets, JSON_ALLOW_NUL, NULL);
    json_t *mine = v != NULL ? clean(v, false) : NULL;

    json_decref(v);
    return mine;
}
