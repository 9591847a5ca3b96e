/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy_fixture.h"
#include "state/tables.h"

struct tern_mailbox fake_mailbox(struct arena *arena, const char *local, const char *domain)
{
    const char *at = *domain != '\0' ? "@" : "";
    const char *address = arena_printf(arena, "%s%s%s", local, at, domain);

    return (struct tern_mailbox){ { address, strlen(address) },
                                  { local, strlen(local) },
                                  { domain, strlen(domain) } };
}

static const struct tern_recipient *rcpt(const tern_call *call, unsigned index)
{
    return index == 0 ? &call->rcpt : NULL;
}

static const struct tern_mailbox *sender(const tern_call *call)
{
    return &call->sender;
}

static const tern_address *client_address(const tern_call *call)
{
    return &call->client;
}

static unsigned rcpt_count(const tern_call *call)
{
    return call->rcpt_count;
}

static tern_str helo_name(const tern_call *call)
{
    return (tern_str){ call->helo, strlen(call->helo) };
}

static bool has_tag(const tern_call *call, const char *name)
{
    char word[80];

    (void)snprintf(word, sizeof(word), " %s ", name);
    return call->tags != NULL && strstr(call->tags, word) != NULL;
}

static tern_verdict fail(tern_call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(call->text, sizeof(call->text), format, args);
    va_end(args);
    return TERN_ERROR;
}

static tern_verdict reply(tern_call *call, tern_verdict verdict, unsigned code,
                          const char *enhanced, const char *format, ...)
{
    va_list args;

    call->code = code;
    (void)snprintf(call->enhanced, sizeof(call->enhanced), "%s", enhanced);
    va_start(args, format);
    (void)vsnprintf(call->text, sizeof(call->text), format, args);
    va_end(args);
    return verdict;
}

static void note(tern_call *call, const char *key, tern_str value)
{
    (void)snprintf(call->note, sizeof(call->note), "%s=%s", key, value.ptr);
}

static int set_route(tern_call *call, const struct tern_route *route)
{
    call->route = *route;
    return 0;
}

static int header_prepend(tern_call *call, const char *name, tern_str value)
{
    (void)snprintf(call->header, sizeof(call->header), "%s: %s", name, value.ptr);
    return 0;
}

static void look_up(const struct tern_table *table, struct slice key, struct tern_table_answer *ret)
{
    struct table_hold *hold = NULL;

    ret->status = table_lookup(table, key, &ret->value, &hold);
    if (ret->status == TERN_FOUND)
        table_hold_release(hold);
}

static int table_peek(tern_call *call, const struct tern_table *table, tern_str key,
                      struct tern_table_answer *ret)
{
    if (call->table_down || call->table_slow)
        return -EAGAIN;
    look_up(table, slice_make(key.ptr, key.len), ret);
    return 0;
}

static tern_verdict table_find(tern_call *call, const struct tern_table *table, tern_str key,
                               tern_table_fn done)
{
    call->asked = table;
    call->answer_to = done;
    (void)snprintf(call->asked_key, sizeof(call->asked_key), "%s", key.ptr);
    return TERN_WAIT;
}

void fake_call_answer(tern_call *call, const void *conf)
{
    struct tern_table_answer answer = { .status = TERN_FAILED };

    if (!call->table_down)
        look_up(call->asked, slice_cstr(call->asked_key), &answer);
    call->answer_to(call, conf, &answer);
}

static void complete(tern_call *call, tern_verdict verdict)
{
    call->completed = verdict;
}

static void *alloc_zeroed(tern_call *call, size_t octets)
{
    return arena_zalloc(&call->arena, octets);
}

static void **slot(tern_call *call)
{
    return &call->slot;
}

static tern_str format_text(tern_call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const char *text = arena_vprintf(&call->arena, format, args);
    va_end(args);
    return (tern_str){ text, strlen(text) };
}

static void log_nothing(const tern_call *call, enum tern_log_level level, const char *format, ...)
{
    (void)call;
    (void)level;
    (void)format;
}

void fake_call_install(void)
{
    fixture_api.rcpt = rcpt;
    fixture_api.sender = sender;
    fixture_api.client_address = client_address;
    fixture_api.rcpt_count = rcpt_count;
    fixture_api.helo_name = helo_name;
    fixture_api.has_tag = has_tag;
    fixture_api.reply = reply;
    fixture_api.fail = fail;
    fixture_api.note = note;
    fixture_api.set_route = set_route;
    fixture_api.header_prepend = header_prepend;
    fixture_api.table_peek = table_peek;
    fixture_api.table_find = table_find;
    fixture_api.complete = complete;
    fixture_api.alloc = alloc_zeroed;
    fixture_api.slot = slot;
    fixture_api.format = format_text;
    fixture_api.log = log_nothing;
}
