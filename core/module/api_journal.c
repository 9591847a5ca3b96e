/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_journal.c - what a step may wish for; the rules are in journal.c.
 *
 * The thread that holds the call. Texts longer than their bound are cut, never refused.
 */
#include <stdarg.h>

#include "module/api.h"
#include "module/call.h"

static struct slice given(const char *text)
{
    return slice_cstr(text);
}

tern_verdict api_reply(tern_call *call, tern_verdict verdict, unsigned code, const char *enhanced,
                       const char *format, ...)
{
    struct journal_writer w = call_writer(call);
    va_list args;

    va_start(args, format);
    const char *text = arena_vprintf(&call->arena, format, args);
    va_end(args);
    return journal_reply(&w, verdict, code, enhanced, text);
}

tern_verdict api_hold(tern_call *call, const char *format, ...)
{
    struct journal_writer w = call_writer(call);
    va_list args;

    va_start(args, format);
    const char *text = arena_vprintf(&call->arena, format, args);
    va_end(args);
    return journal_hold(&w, text);
}

tern_verdict api_fail(tern_call *call, const char *format, ...)
{
    struct journal_writer w = call_writer(call);
    va_list args;

    va_start(args, format);
    const char *text = arena_vprintf(&call->arena, format, args);
    va_end(args);
    journal_report(&w, text);
    return TERN_ERROR;
}

int api_claim(tern_call *call, enum tern_class class_)
{
    struct journal_writer w = call_writer(call);

    return journal_claim(&w, class_);
}

static int add(tern_call *call, enum journal_kind kind, unsigned nth, const char *name,
               tern_str value)
{
    struct journal_writer w = call_writer(call);

    return journal_add(&w, kind, nth, given(name), slice_of(value));
}

static int add_address(tern_call *call, enum journal_kind kind, tern_str address)
{
    struct journal_writer w = call_writer(call);

    return journal_add_address(&w, kind, slice_of(address));
}

int api_tag(tern_call *call, const char *name)
{
    return add(call, JOURNAL_TAG, 0, name, TERN_STR(""));
}

int api_set_result(tern_call *call, const char *name, tern_str value)
{
    return add(call, JOURNAL_RESULT, 0, name, value);
}

int api_set_var(tern_call *call, const char *name, tern_str value)
{
    struct journal_writer w = call_writer(call);
    const struct note *vars = call->view.txn != NULL ? call->view.txn->vars : call->view.session->vars;

    if (notes_get(vars, given(name)).ptr == NULL && notes_names(vars) + ++call->journal.new_vars > JOURNAL_VARS_MAX) {
        journal_fail(&w, "there are too many variables");
        return -E2BIG;
    }
    return add(call, JOURNAL_VAR, 0, name, value);
}

void api_note(tern_call *call, const char *key, tern_str value)
{
    struct journal_writer w = call_writer(call);

    journal_note(&w, given(key), slice_of(value));
}

int api_rewrite_sender(tern_call *call, tern_str address)
{
    return add_address(call, JOURNAL_REWRITE_SENDER, address);
}

int api_rewrite_rcpt(tern_call *call, tern_str address)
{
    return add_address(call, JOURNAL_REWRITE_RCPT, address);
}

int api_expand_rcpt(tern_call *call, tern_str address)
{
    return add_address(call, JOURNAL_EXPAND_RCPT, address);
}

int api_add_rcpt(tern_call *call, tern_str address)
{
    return add_address(call, JOURNAL_ADD_RCPT, address);
}

int api_header_prepend(tern_call *call, const char *name, tern_str value)
{
    return add(call, JOURNAL_HEADER_PREPEND, 0, name, value);
}

int api_header_append(tern_call *call, const char *name, tern_str value)
{
    return add(call, JOURNAL_HEADER_APPEND, 0, name, value);
}

int api_header_replace(tern_call *call, const char *name, unsigned nth, tern_str value)
{
    return add(call, JOURNAL_HEADER_REPLACE, nth, name, value);
}

int api_header_remove(tern_call *call, const char *name, unsigned nth)
{
    return add(call, JOURNAL_HEADER_REMOVE, nth, name, TERN_STR(""));
}

int api_withhold(tern_call *call, const char *capability)
{
    return add(call, JOURNAL_WITHHOLD, 0, capability, TERN_STR(""));
}

int api_set_route(tern_call *call, const struct tern_route *route)
{
    struct journal_writer w = call_writer(call);

    return journal_route(&w, route);
}
