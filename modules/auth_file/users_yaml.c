/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_yaml.c - `user: entry` and `user: [entry, entry]` by libyaml's events. No aliases, no nesting: there
 * is nothing to repeat in a list of users, and nothing to expand without a bound.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "users.h"

struct reading {
    struct users *users;
    struct users_error *error;
    enum { AT_START, AT_NAME, AT_ENTRY, IN_LIST, AT_END } state;
    bool again; /* the next entry is one more of the same user */
    size_t name_octets;
    char name[USERS_NAME_OCTETS_MAX + 2];
};

static bool wrong(struct reading *r, unsigned line, const char *what)
{
    r->error->line = line;
    (void)snprintf(r->error->what, sizeof(r->error->what), "%s", what);
    return false;
}

static bool take_scalar(struct reading *r, tern_str s, unsigned line)
{
    if (r->state == AT_NAME) {
        r->name_octets = s.len < sizeof(r->name) ? s.len : sizeof(r->name); /* too long is found by users_add() */
        memcpy(r->name, s.ptr, r->name_octets);
        r->state = AT_ENTRY;
        r->again = false;
        return true;
    }
    if (r->state != AT_ENTRY && r->state != IN_LIST)
        return wrong(r, line, "expected a map: user: entry");
    if (!users_add(r->users, (tern_str){ r->name, r->name_octets }, s, line, r->again, r->error))
        return false;
    r->again = true;
    if (r->state == AT_ENTRY)
        r->state = AT_NAME;
    return true;
}

static bool take_event(struct reading *r, const yaml_event_t *e)
{
    unsigned line = (unsigned)e->start_mark.line + 1;

    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return take_scalar(r, (tern_str){ (const char *)e->data.scalar.value, e->data.scalar.length }, line);
    case YAML_MAPPING_START_EVENT:
        if (r->state != AT_START)
            return wrong(r, line, "expected an entry, or a list of entries; one in braces needs quotes");
        r->state = AT_NAME;
        return true;
    case YAML_MAPPING_END_EVENT:
        r->state = AT_END;
        return true;
    case YAML_SEQUENCE_START_EVENT:
        if (r->state != AT_ENTRY)
            return wrong(r, line, "expected a map: user: entry");
        r->state = IN_LIST;
        return true;
    case YAML_SEQUENCE_END_EVENT:
        if (!r->again)
            return wrong(r, line, "an empty list; write \"!\" for a user who may not log in");
        r->state = AT_NAME;
        return true;
    case YAML_ALIAS_EVENT: return wrong(r, line, "aliases are not for this file");
    case YAML_DOCUMENT_START_EVENT:
        return r->state == AT_START || wrong(r, line, "expected one document");
    default: return true;
    }
}

bool users_parse_yaml(struct users *users, const char *text, size_t octets, struct users_error *reterr)
{
    struct reading r = { .users = users, .error = reterr, .state = AT_START };
    yaml_parser_t parser;
    yaml_event_t event;
    bool ok, more = true;

    if (yaml_parser_initialize(&parser) == 0)
        return wrong(&r, 0, "no memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, octets);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    for (ok = true; ok && more;) {
        if (yaml_parser_parse(&parser, &event) == 0) {
            ok = wrong(&r, (unsigned)parser.problem_mark.line + 1,
                       parser.problem != NULL ? parser.problem : "this is no YAML");
            break;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        ok = take_event(&r, &event);
        if (event.type == YAML_SCALAR_EVENT && event.data.scalar.value != NULL)
            sodium_memzero(event.data.scalar.value, event.data.scalar.length);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return ok;
}
