/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print.c - a table of options as text for people: the reference pages and `tern help`
 * come from the same table that parses the file, so they cannot differ from it.
 */
#include "config/schema.h"

#define NESTING_MAX 4 /* records within records */

/* In a cell of a Markdown table a bar would end the cell. */
static void add_cell(struct buf *out, const char *text)
{
    for (const char *p = text != NULL ? text : ""; *p != '\0'; p++) {
        if (*p == '|')
            buf_add_char(out, '\\');
        buf_add_char(out, *p == '\n' ? ' ' : *p);
    }
}

static void add_type(struct buf *out, const struct tern_option *option)
{
    add_cell(out, schema_type_name(option));
    if (option->type != TERN_TYPE_ENUM || option->values == NULL)
        return;
    for (size_t i = 0; option->values[i] != NULL; i++)
        buf_printf(out, "%s`%s`", i > 0 ? ", " : " ", option->values[i]);
}

static void add_row(struct buf *out, const struct tern_option *option, const char *prefix)
{
    buf_printf(out, "| `%s%s` | ", prefix, option->key);
    add_type(out, option);
    buf_add_cstr(out, " | ");
    if (option->text == NULL) {
        buf_add_cstr(out, "required");
    } else if (option->text[0] != '\0') {
        buf_add_char(out, '`');
        add_cell(out, option->text);
        buf_add_char(out, '`');
    }
    buf_add_cstr(out, " | ");
    (void)schema_print_range(option, out);
    buf_add_cstr(out, " | ");
    add_cell(out, option->doc);
    buf_add_cstr(out, " |\n");
}

static void add_rows(struct buf *out, const struct tern_option *options, const char *prefix,
                     unsigned nesting)
{
    for (const struct tern_option *o = options; o->size != 0; o = schema_next(o)) {
        add_row(out, o, prefix);
        if (o->type != TERN_TYPE_RECORDS || o->records == NULL || nesting == NESTING_MAX)
            continue;
        CLEANUP_BUF struct buf inner = BUF_INIT;
        buf_printf(&inner, "%s%s[].", prefix, o->key);
        add_rows(out, o->records, inner.data, nesting + 1);
    }
}

void schema_print_markdown(const struct tern_option *options, struct buf *out)
{
    if (options == NULL || options->size == 0) {
        buf_add_cstr(out, "No options.\n");
        return;
    }
    buf_add_cstr(out, "| key | type | default | range | |\n| --- | --- | --- | --- | --- |\n");
    add_rows(out, options, "", 1);
}
