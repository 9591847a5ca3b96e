/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_print.c - what `tern hooks` shows: for every policy and hook who is asked, in order.
 */
#include <string.h>

#include "module/policy_internal.h"

static const char *const mode_words[] = { "enforce", "shadow", "off" };

struct row {
    unsigned number;
    const struct step *step;
    const struct step_source *source;
    const struct tern_hook *hook;
};

static const char *kind_of(const struct tern_hook *hook)
{
    return (hook->flags & TERN_BLOCKING) != 0 ? "blocking" : "plain";
}

static void add_answers(struct buf *out, unsigned answers, const char *quote)
{
    const char *gap = "";

    for (unsigned v = TERN_ACCEPT; v <= TERN_DISCARD; v++)
        if ((answers & (1u << v)) != 0) {
            buf_printf(out, "%s%s%s%s", gap, quote, descriptor_verdict_name(v), quote);
            gap = *quote != '\0' ? "," : " ";
        }
}

static void row_text(struct buf *out, const struct row *r)
{
    const struct settings *s = &r->source->settings;

    buf_printf(out, "    %2u  %-20s %-14s %s:%u  %s", r->number, r->step->name.ptr,
               r->source->module_name, r->step->place.file, r->step->place.line, kind_of(r->hook));
    if ((r->hook->flags & TERN_CLAIMS) != 0)
        buf_add_cstr(out, " claims");
    if ((r->hook->flags & TERN_ONCE) != 0)
        buf_add_cstr(out, " once");
    if (r->hook->answers != 0) {
        buf_add_cstr(out, "  ");
        add_answers(out, r->hook->answers, "");
    }
    if (s->mode != STEP_ENFORCE)
        buf_printf(out, "  mode: %s", mode_words[s->mode]);
    if (s->when.len > 0)
        buf_printf(out, "  when: %s", s->when.ptr);
    buf_add_char(out, '\n');
}

static void row_json(struct buf *out, const struct row *r)
{
    const struct settings *s = &r->source->settings;

    buf_printf(out, "{\"number\":%u,\"step\":", r->number);
    buf_add_json(out, slice_of(r->step->name));
    buf_add_cstr(out, ",\"module\":");
    buf_add_json(out, slice_cstr(r->source->module_name));
    buf_add_cstr(out, ",\"file\":");
    buf_add_json(out, slice_cstr(r->step->place.file));
    buf_printf(out, ",\"line\":%u,\"kind\":\"%s\",\"claims\":%s,\"once\":%s,\"answers\":[",
               r->step->place.line, kind_of(r->hook),
               (r->hook->flags & TERN_CLAIMS) != 0 ? "true" : "false",
               (r->hook->flags & TERN_ONCE) != 0 ? "true" : "false");
    add_answers(out, r->hook->answers, "\"");
    buf_printf(out, "],\"mode\":\"%s\",\"when\":", mode_words[s->mode]);
    buf_add_json(out, slice_of(s->when));
    buf_add_char(out, '}');
}

static const struct tern_hook *entry_for(const struct step *step, unsigned hook)
{
    for (const struct tern_hook *h = step->module->hooks; h->size != 0; h++)
        if (h->hook == hook)
            return h;
    return NULL;
}

/* The steps of one hook; returns how many there are. An empty hook prints nothing. */
static unsigned print_hook(struct buf *out, const struct policy *policy, unsigned hook, bool json,
                           bool first)
{
    unsigned number = 0;

    for (unsigned i = 0; i < policy->step_count; i++) {
        struct row r = { number + 1, &policy->steps[i], &policy->sources[i],
                         entry_for(&policy->steps[i], hook) };

        if (r.hook == NULL)
            continue;
        if (number++ == 0)
            buf_printf(out, json ? "%s\"%s\":[" : "%s  %s\n", json && !first ? "," : "",
                       descriptor_hook_name(hook));
        else if (json)
            buf_add_char(out, ',');
        (json ? row_json : row_text)(out, &r);
    }
    if (json && number > 0)
        buf_add_char(out, ']');
    return number;
}

static void print_policy(struct buf *out, const struct policy *policy, bool json)
{
    unsigned printed = 0;

    if (json) {
        buf_add_json(out, slice_of(policy->name));
        buf_add_cstr(out, ":{");
    } else {
        buf_printf(out, "policy %s\n", policy->name.ptr);
    }
    for (unsigned hook = 0; hook < TERN_HOOK_COUNT; hook++)
        printed += print_hook(out, policy, hook, json, printed == 0);
    if (json)
        buf_add_char(out, '}');
    else if (printed == 0)
        buf_add_cstr(out, "  no steps\n");
}

void policies_print(const struct policies *policies, struct buf *out, bool json)
{
    if (json)
        buf_add_char(out, '{');
    for (unsigned i = 0; i < policies->count; i++) {
        if (json && i > 0)
            buf_add_char(out, ',');
        print_policy(out, policies->list[i], json);
    }
    if (json)
        buf_add_cstr(out, "}\n");
}
