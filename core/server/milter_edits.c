/* SPDX-License-Identifier: Apache-2.0 */
/*
 * milter_edits.c - a decided mail as packets: sender, recipients, header, quarantine.
 *
 * An MTA has one message for all recipients, so the policy is asked with one group (engine.h, others_deliver);
 * groups are gone through all the same, and whoever is in none that is delivered is deleted.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "module/header_edit.h"
#include "server/milter.h"

#define BEHIND_ALL 0x7fffffffu /* where a field is inserted: more than any header has */

void milter_rcpts_add(struct milter_rcpts *r, struct slice address)
{
    if (r->count == r->size) {
        r->size = r->size > 0 ? 2 * r->size : 8;
        r->at = mem_realloc(r->at, r->size * sizeof(r->at[0]));
    }
    r->at[r->count++] = r->text.len;
    buf_add(&r->text, address);
    buf_add_char(&r->text, '\0');
}

void milter_rcpts_clear(struct milter_rcpts *r)
{
    buf_free(&r->text);
    free(r->at);
    *r = (struct milter_rcpts){ .at = NULL };
}

struct edits {
    const struct milter_session *session;
    struct milter_edits *out;
};

/* False: the MTA has not offered it. */
static bool may(struct edits *e, enum milter_action action, const char *what)
{
    if (milter_session_may(e->session, action))
        return true;
    if (e->out->missing == NULL)
        e->out->missing = what;
    return false;
}

static void put_address(struct edits *e, char code, tern_str address)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    buf_add_char(&text, '<');
    buf_add(&text, slice_of(address));
    buf_add_char(&text, '>');
    milter_put_string(&e->out->packets, code, buf_slice(&text));
}

static void put_sender(struct edits *e, const struct txn_facts *before, const struct txn_facts *after)
{
    if (slice_equal(slice_of(before->sender_original.address), slice_of(after->sender.address)))
        return;
    if (may(e, MILTER_CHANGE_SENDER, "change the sender"))
        put_address(e, 'e', after->sender.address);
}

static bool is_as_it_came(const struct rcpt_facts *rcpt)
{
    return rcpt->family != RCPT_FAMILY_ADDED &&
           slice_equal(slice_of(rcpt->view.mailbox.address), slice_of(rcpt->view.original.address));
}

static bool is_delivered(const struct engine_group *g)
{
    return g->disposition != DISPOSE_DISCARD;
}

static void add_param(struct buf *out, const char *key, tern_str value)
{
    if (value.len > 0)
        buf_printf(out, "%s%s=%.*s", out->len > 0 ? " " : "", key, (int)value.len, value.ptr);
}

/*
 * Who was rewritten or expanded keeps what the client wanted to be told (RFC 3461), as in a server of our own. An
 * MTA that cannot hear that tells its client what it tells of others.
 */
static void put_added(struct edits *e, const struct rcpt_facts *rcpt)
{
    CLEANUP_BUF struct buf address = BUF_INIT, params = BUF_INIT;

    if (milter_session_may(e->session, MILTER_ADD_RCPT_PARAMS)) {
        add_param(&params, "NOTIFY", rcpt->notify);
        add_param(&params, "ORCPT", rcpt->orcpt);
    }
    if (params.len > 0) {
        buf_printf(&address, "<%.*s>", (int)rcpt->view.mailbox.address.len, rcpt->view.mailbox.address.ptr);
        milter_put_rcpt(&e->out->packets, buf_slice(&address), buf_slice(&params));
    } else if (may(e, MILTER_ADD_RCPT, "add a recipient")) {
        put_address(e, '+', rcpt->view.mailbox.address);
    }
}

static void put_rcpts(struct edits *e, const struct milter_rcpts *rcpts, const struct engine_message_result *r)
{
    bool *stays = mem_zalloc(rcpts->count + 1);

    for (unsigned i = 0; i < r->group_count; i++)
        for (unsigned k = 0; is_delivered(&r->groups[i]) && k < r->groups[i].facts->rcpt_count; k++) {
            const struct rcpt_facts *rcpt = r->groups[i].facts->rcpts[k];
            if (is_as_it_came(rcpt) && rcpt->family < rcpts->count)
                stays[rcpt->family] = true;
            else
                put_added(e, rcpt);
        }
    for (unsigned i = 0; i < rcpts->count; i++)
        if (!stays[i] && may(e, MILTER_DELETE_RCPT, "delete a recipient"))
            milter_put_string(&e->out->packets, '-', slice_cstr(rcpts->text.data + rcpts->at[i]));
    free(stays);
}

/* No other field of that name is there, or was. */
static bool is_alone(const struct engine_group *g, const struct header_change *list, int n, int at)
{
    for (int i = 0; i < n; i++)
        if (i != at && slice_equal_nocase(list[i].name, list[at].name))
            return false;
    return message_head_find(g->edited, list[at].name, 1) == NULL;
}

/*
 * h is for the end, but Sendmail puts such a field in front of the first of its name; one that is inserted behind
 * them all stands at the end everywhere. Alone it goes as h, which takes the place of a Date that Sendmail would make.
 */
static void put_at_end(struct edits *e, const struct header_change *c, bool alone)
{
    bool leading = milter_session_leading_space(e->session);

    if (may(e, MILTER_ADD_HEADERS, "add a header field"))
        milter_put_header(&e->out->packets, alone ? 'h' : 'i', BEHIND_ALL, c->name, c->value, leading);
}

static void put_change(struct edits *e, const struct header_change *c)
{
    bool leading = milter_session_leading_space(e->session);
    struct buf *out = &e->out->packets;

    switch (c->kind) {
    case HEADER_CHANGED:
        if (may(e, MILTER_CHANGE_HEADERS, "change a header field"))
            milter_put_header(out, 'm', c->nth + 1, c->name, c->value, leading);
        break;
    case HEADER_REMOVED: /* an empty value removes it */
        if (may(e, MILTER_CHANGE_HEADERS, "remove a header field"))
            milter_put_header(out, 'm', c->nth + 1, c->name, SLICE(""), false);
        break;
    case HEADER_ON_TOP:
        if (may(e, MILTER_ADD_HEADERS, "add a header field"))
            milter_put_header(out, 'i', 0, c->name, c->value, leading);
        break;
    case HEADER_AT_END: break; /* put_at_end() */
    }
}

static int put_header(struct edits *e, const struct engine_group *g)
{
    struct header_change *changes = NULL;
    struct arena arena;

    arena_init(&arena);
    int n = message_head_changes(g->edited, &arena, &changes);
    for (int i = 0; i < n; i++) {
        if (changes[i].kind == HEADER_AT_END)
            put_at_end(e, &changes[i], is_alone(g, changes, n, i));
        else
            put_change(e, &changes[i]);
    }
    arena_fini(&arena);
    return n < 0 ? n : 0;
}

static void put_quarantine(struct edits *e, const struct engine_group *g)
{
    e->out->held = true;
    e->out->reason = g->hold_reason.len > 0 ? g->hold_reason : g->hold_step;
    if (may(e, MILTER_QUARANTINE, "put a mail in quarantine"))
        milter_put_string(&e->out->packets, 'q', e->out->reason);
}

int milter_edits_make(const struct milter_session *session, const struct txn_facts *before,
                      const struct milter_rcpts *rcpts, const struct engine_message_result *result,
                      struct milter_edits *ret)
{
    const struct engine_group *first = NULL;
    struct edits e = { session, ret };
    int r = 0;

    *ret = (struct milter_edits){ .packets = BUF_INIT };
    for (unsigned i = 0; i < result->group_count && first == NULL; i++)
        if (is_delivered(&result->groups[i]))
            first = &result->groups[i];
    ret->discard = first == NULL;
    if (ret->discard)
        return 0;
    put_sender(&e, before, first->facts);
    put_rcpts(&e, rcpts, result);
    r = put_header(&e, first);
    if (first->disposition == DISPOSE_HOLD)
        put_quarantine(&e, first);
    if (r < 0 || ret->missing != NULL)
        buf_clear(&ret->packets);
    return r;
}
