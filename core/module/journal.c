/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.c - which wish is allowed where, what it must look like, and how the record tells it.
 *
 * Nothing here touches a session or a transaction: the owners of a chain apply.
 */
#include "module/journal.h"

#include <ctype.h>
#include <stdio.h>

#include "base/utf8.h"
#include "mime/address.h"
#include "mime/header.h"
#include "module/descriptor.h"
#include "state/facts.h"

#define AT(point)          (1u << TERN_HOOK_##point)
#define PRINTED_ITEMS_MAX  20
#define PRINTED_OCTETS_MAX 100
#define PRINTED_NAME_OCTETS_MAX 64
#define ROUTE_HOSTS_MAX    64

#define AT_SESSION         (AT(CONNECT) | AT(EHLO) | AT(AUTH))
#define AT_CHECKS          (AT_SESSION | AT(MAIL) | AT(RCPT) | AT(DATA) | AT(MESSAGE) | AT(QUEUE))

/* DESIGN 3.1, column "may also". SRS rewrites the sender at `queue`. */
static const struct {
    const char *name;
    unsigned hooks;
} kinds[JOURNAL_KIND_COUNT] = {
    [JOURNAL_TAG] = { "tag", AT_CHECKS },
    [JOURNAL_RESULT] = { "result", AT_CHECKS },
    [JOURNAL_VAR] = { "var", AT_CHECKS },
    [JOURNAL_NOTE] = { "note", ~0u },
    [JOURNAL_REWRITE_SENDER] = { "rewrite sender", AT(MAIL) | AT(QUEUE) },
    [JOURNAL_REWRITE_RCPT] = { "rewrite recipient", AT(RCPT) },
    [JOURNAL_EXPAND_RCPT] = { "expand recipient", AT(RCPT) },
    [JOURNAL_ADD_RCPT] = { "add recipient", AT(MESSAGE) },
    [JOURNAL_WITHHOLD] = { "withhold", AT(EHLO) },
    [JOURNAL_HEADER_PREPEND] = { "prepend", AT(MESSAGE) | AT(QUEUE) | AT(SIGN) },
    [JOURNAL_HEADER_APPEND] = { "append", AT(MESSAGE) | AT(QUEUE) },
    [JOURNAL_HEADER_REPLACE] = { "replace", AT(MESSAGE) | AT(QUEUE) },
    [JOURNAL_HEADER_REMOVE] = { "remove", AT(MESSAGE) | AT(QUEUE) },
};

unsigned journal_hooks(enum journal_kind kind)
{
    return kinds[kind].hooks;
}

void journal_fail(const struct journal_writer *w, const char *sentence)
{
    if (w->journal->error == NULL)
        w->journal->error = sentence;
}

static int fail(const struct journal_writer *w, int r, const char *sentence)
{
    journal_fail(w, sentence);
    return r;
}

static int may(const struct journal_writer *w, enum journal_kind kind)
{
    if ((kinds[kind].hooks & (1u << w->point)) != 0)
        return 0;
    journal_fail(w, arena_printf(w->arena, "\"%s\" is not possible at hook %s", kinds[kind].name,
                                 descriptor_hook_name(w->point)));
    return -EPERM;
}

/* Most differ early: no length is counted first. */
static bool is(struct slice s, const char *word)
{
    for (size_t i = 0; i < s.len; i++)
        if (word[i] == '\0' || word[i] != s.ptr[i])
            return false;
    return word[s.len] == '\0';
}

/* Whether the module declared that tag or result, and the value among its values. */
static bool declared(const struct journal_writer *w, enum journal_kind kind, struct slice name,
                     struct slice value)
{
    unsigned wanted = kind == JOURNAL_TAG ? TERN_NOTE_TAG : TERN_NOTE_RESULT;

    for (const struct tern_note *n = w->module->notes; n != NULL && n->size != 0; n++) {
        if (n->kind != wanted || !is(name, n->name))
            continue;
        if (n->values == NULL)
            return true;
        for (const char *const *v = n->values; *v != NULL; v++)
            if (is(value, *v))
                return true;
        return false;
    }
    return false;
}

static int check_words(const struct journal_writer *w, enum journal_kind kind, struct slice name,
                       struct slice value)
{
    if (value.len > JOURNAL_VALUE_OCTETS_MAX)
        return fail(w, -E2BIG, "a value in the journal is too long");
    switch (kind) {
    case JOURNAL_TAG:
    case JOURNAL_RESULT:
        if (declared(w, kind, name, value))
            return 0;
        return fail(w, -EINVAL,
                    arena_printf(w->arena, "%s \"%.*s\" = \"%.*s\" was not declared",
                                 kinds[kind].name, (int)name.len, name.ptr,
                                 (int)slice_head(value, 64).len, value.ptr));
    case JOURNAL_VAR:
    case JOURNAL_WITHHOLD:
        return name.len > 0 && name.len <= 64 ? 0 : fail(w, -EINVAL, "a name is empty or too long");
    case JOURNAL_HEADER_PREPEND:
    case JOURNAL_HEADER_APPEND:
    case JOURNAL_HEADER_REPLACE:
        if (!header_value_is_valid(value))
            return fail(w, -EINVAL, "the value of a header field is malformed");
        /* fall through */
    case JOURNAL_HEADER_REMOVE:
        return header_name_is_valid(name)
                   ? 0
                   : fail(w, -EINVAL, "the name of a header field is malformed");
    default: return 0;
    }
}

static struct journal_item *push(const struct journal_writer *w, enum journal_kind kind)
{
    struct journal *j = w->journal;

    if (j->count == JOURNAL_ITEMS_MAX) {
        journal_fail(w, "the step asks for too much at once");
        return NULL;
    }
    struct journal_item *item = ARENA_NEW(w->arena, struct journal_item);
    item->kind = kind;
    if (j->last != NULL)
        j->last->next = item;
    else
        j->first = item;
    j->last = item;
    j->count++;
    return item;
}

static tern_str dup(struct arena *arena, struct slice s)
{
    return (tern_str){ arena_dup(arena, s), s.len };
}

int journal_add(const struct journal_writer *w, enum journal_kind kind, unsigned nth,
                struct slice name, struct slice value)
{
    int r = may(w, kind);

    if (r == 0)
        r = check_words(w, kind, name, value);
    if (r < 0)
        return r;
    struct journal_item *item = push(w, kind);
    if (item == NULL)
        return -E2BIG;
    item->nth = nth;
    item->name = dup(w->arena, name);
    item->value = dup(w->arena, value);
    return 0;
}

static unsigned count_of(const struct journal *j, enum journal_kind kind)
{
    unsigned n = 0;

    for (const struct journal_item *i = j->first; i != NULL; i = i->next)
        n += i->kind == kind;
    return n;
}

int journal_add_address(const struct journal_writer *w, enum journal_kind kind,
                        struct slice address)
{
    unsigned flags = ADDRESS_SMTPUTF8 | ADDRESS_ALLOW_NO_DOMAIN;
    int r = may(w, kind);

    if (r < 0)
        return r;
    if (kind == JOURNAL_REWRITE_SENDER)
        flags |= ADDRESS_ALLOW_NULL;
    if (kind == JOURNAL_EXPAND_RCPT && w->journal->count >= JOURNAL_CHILDREN_MAX &&
        count_of(w->journal, kind) >= JOURNAL_CHILDREN_MAX)
        return fail(w, -E2BIG, "a recipient expands to too many");
    if (kind == JOURNAL_ADD_RCPT && count_of(w->journal, kind) >= JOURNAL_ADDED_RCPTS_MAX)
        return fail(w, -E2BIG, "too many recipients are added");
    struct tern_mailbox *mailbox = ARENA_NEW(w->arena, struct tern_mailbox);
    r = address_parse(address, flags, w->arena, mailbox);
    if (r < 0)
        return fail(
            w, r,
            arena_printf(w->arena, "\"%s\" with something that is no address", kinds[kind].name));
    struct journal_item *item = push(w, kind);
    if (item == NULL)
        return -E2BIG;
    item->mailbox = mailbox;
    item->value = mailbox->address;
    return 0;
}

int journal_claim(const struct journal_writer *w, enum tern_class class_)
{
    if (w->point != TERN_HOOK_RCPT || (w->hook->flags & TERN_CLAIMS) == 0)
        return fail(w, -EPERM, "claims a recipient without having declared it");
    if (class_ <= TERN_CLASS_NONE || class_ > TERN_CLASS_CLIENT)
        return fail(w, -EINVAL, "claims a recipient for a class that does not exist");
    w->journal->claim = class_;
    return 0;
}

static struct tern_list dup_list(struct arena *arena, struct tern_list list)
{
    tern_str *items = arena_alloc(arena, (list.count + 1) * sizeof(items[0]));

    for (size_t i = 0; i < list.count; i++)
        items[i] = dup(arena, slice_make(list.items[i].ptr, list.items[i].len));
    return (struct tern_list){ items, list.count };
}

static tern_str dup_str(struct arena *arena, tern_str s)
{
    return dup(arena, slice_make(s.ptr, s.len));
}

struct tern_route journal_route_dup(struct arena *arena, const struct tern_route *route)
{
    return (struct tern_route){
        .size = sizeof(struct tern_route),
        .transport = dup_str(arena, route->transport),
        .to = dup_list(arena, route->to),
        .fallback = dup_list(arena, route->fallback),
        .source = dup_str(arena, route->source),
        .discard_reason = dup_str(arena, route->discard_reason),
    };
}

int journal_route(const struct journal_writer *w, const struct tern_route *route)
{
    struct tern_route mine = { 0 };

    if (w->point != TERN_HOOK_ROUTE && w->point != TERN_HOOK_DELIVER)
        return fail(w, -EPERM, "sets a route where none can be set");
    if (route == NULL || route->size == 0)
        return fail(w, -EINVAL, "sets a route without its size");
    /* A module of another minor version has a shorter or longer struct. */
    memcpy(&mine, route, route->size < sizeof(mine) ? route->size : sizeof(mine));
    if (mine.to.count > ROUTE_HOSTS_MAX || mine.fallback.count > ROUTE_HOSTS_MAX)
        return fail(w, -E2BIG, "sets a route with too many hosts");
    w->journal->route = journal_route_dup(w->arena, &mine);
    w->journal->routed = true;
    return 0;
}

void journal_note(const struct journal_writer *w, struct slice key, struct slice value)
{
    if (w->journal->count >= JOURNAL_ITEMS_MAX)
        return; /* a note too many is no reason to fail */
    struct journal_item *item = push(w, JOURNAL_NOTE);
    item->name = dup(w->arena, slice_head(key, 64));
    item->value = dup(w->arena, slice_head(value, JOURNAL_NOTE_OCTETS_MAX));
}

/* ---- reply and hold ---- */

bool journal_enhanced_is_valid(const char *enhanced, char first)
{
    unsigned dots = 0, digits = 0;

    if (strlen(enhanced) > 9 || enhanced[0] != first || enhanced[1] != '.')
        return false;
    for (const char *p = enhanced; *p != '\0'; p++) {
        if (*p == '.' && digits > 0) {
            dots++;
            digits = 0;
        } else if (*p >= '0' && *p <= '9' && digits < 3) {
            digits++;
        } else {
            return false;
        }
    }
    return dots == 2 && digits > 0;
}

static bool is_printable_line(const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < 32 || (unsigned char)*p == 127)
            return false;
    return true;
}

/* Hook vrfy: an address, or a list of them on as many lines. */
static const char *found_fault(const struct journal_writer *w, unsigned code, const char *enhanced, const char *text)
{
    if (w->point != TERN_HOOK_VRFY)
        return "a reply to something that is no refusal";
    if (code < 250 || code > 252)
        return "the code of the reply contradicts the verdict";
    if (enhanced != NULL && enhanced[0] != '\0' && !journal_enhanced_is_valid(enhanced, '2'))
        return "the enhanced code of the reply is malformed or contradicts the verdict";
    if (strlen(text) > JOURNAL_LIST_OCTETS_MAX)
        return "the list is too long for a reply";
    for (const char *p = text; *p != '\0'; p++)
        if (((unsigned char)*p < 32 && *p != '\n') || *p == 127)
            return "the text of the reply holds control characters";
    return text[0] == '\0' ? "the reply has no text" : NULL;
}

static const char *reply_fault(tern_verdict verdict, unsigned code, const char *enhanced,
                               const char *text)
{
    char first = verdict == TERN_REJECT ? '5' : '4';

    if (verdict != TERN_REJECT && verdict != TERN_DEFER && verdict != TERN_CLOSE)
        return "a reply to something that is no refusal";
    if (code < 400 || code > 599 || (char)('0' + code / 100) != first)
        return "the code of the reply contradicts the verdict";
    if (enhanced != NULL && enhanced[0] != '\0' && !journal_enhanced_is_valid(enhanced, first))
        return "the enhanced code of the reply is malformed or contradicts the verdict";
    return is_printable_line(text) ? NULL : "the text of the reply holds control characters";
}

tern_verdict journal_reply(const struct journal_writer *w, tern_verdict verdict, unsigned code,
                           const char *enhanced, const char *text)
{
    struct journal *j = w->journal;
    bool found = verdict == TERN_ACCEPT;
    const char *fault = found ? found_fault(w, code, enhanced, text) : reply_fault(verdict, code, enhanced, text);

    if (fault != NULL) {
        journal_fail(w, fault);
        return TERN_ERROR;
    }
    if (enhanced == NULL || enhanced[0] == '\0')
        enhanced = found ? "2.1.5" : verdict == TERN_REJECT ? "5.7.1" : "4.7.1";
    j->reply_verdict = verdict;
    j->code = verdict == TERN_CLOSE ? 421 : code;
    (void)snprintf(j->enhanced, sizeof(j->enhanced), "%s", enhanced);
    j->text = dup(w->arena, slice_head(slice_cstr(text), found ? JOURNAL_LIST_OCTETS_MAX : JOURNAL_REPLY_OCTETS_MAX));
    return verdict;
}

tern_verdict journal_hold(const struct journal_writer *w, const char *text)
{
    if (!is_printable_line(text)) {
        journal_fail(w, "the reason of a hold holds control characters");
        return TERN_ERROR;
    }
    w->journal->hold_reason = dup(w->arena, slice_head(slice_cstr(text), JOURNAL_NOTE_OCTETS_MAX));
    return TERN_HOLD;
}

void journal_report(const struct journal_writer *w, const char *text)
{
    tern_str sentence = dup(w->arena, slice_head(slice_cstr(text), JOURNAL_NOTE_OCTETS_MAX));
    char *p = (char *)(uintptr_t)sentence.ptr; /* our copy */

    for (; *p != '\0'; p++)
        if ((unsigned char)*p < 32 || (unsigned char)*p == 127)
            *p = '?';
    journal_fail(w, sentence.ptr);
}

bool journal_has_edits(const struct journal *j)
{
    for (const struct journal_item *i = j->first; i != NULL; i = i->next)
        if (i->kind >= JOURNAL_HEADER_PREPEND)
            return true;
    return false;
}

/* ---- for the record ---- */

const char *journal_class_name(enum tern_class class_)
{
    static const char *const names[] = { "none", "local", "relay", "forward", "client" };

    return (unsigned)class_ < sizeof(names) / sizeof(names[0]) ? names[class_] : "?";
}

static void print_item(const struct journal_item *i, struct buf *out)
{
    buf_add_char(out, '"');
    buf_add_cstr(out, kinds[i->kind].name);
    if (i->name.len > 0) {
        buf_add_char(out, ' ');
        buf_add_escaped(out, slice_head(slice_make(i->name.ptr, i->name.len), PRINTED_NAME_OCTETS_MAX));
    }
    if (i->value.len > 0) {
        buf_add_char(out, ' ');
        buf_add_escaped(out, slice_head(slice_make(i->value.ptr, i->value.len), PRINTED_OCTETS_MAX));
    }
    buf_add_char(out, '"');
}

bool journal_print(const struct journal *j, struct buf *out)
{
    unsigned printed = 0;

    if (j->claim != TERN_CLASS_NONE) {
        buf_add_cstr(out, "[\"claim ");
        buf_add_cstr(out, journal_class_name(j->claim));
        buf_add_char(out, '"');
        printed++;
    }
    if (j->routed) {
        buf_add_char(out, printed++ > 0 ? ',' : '[');
        CLEANUP_BUF struct buf text = BUF_INIT;
        buf_printf(&text, "route %.*s", (int)j->route.transport.len, j->route.transport.ptr);
        if (j->route.to.count > 0)
            buf_printf(&text, " %.*s", (int)j->route.to.items[0].len, j->route.to.items[0].ptr);
        if (j->route.discard_reason.len > 0)
            buf_add_cstr(&text, " discard");
        buf_add_json(out, slice_head(buf_slice(&text), 2 * PRINTED_OCTETS_MAX));
    }
    for (const struct journal_item *i = j->first; i != NULL && printed < PRINTED_ITEMS_MAX;
         i = i->next) {
        if (i->kind == JOURNAL_NOTE)
            continue;
        buf_add_char(out, printed++ > 0 ? ',' : '[');
        print_item(i, out);
    }
    if (printed > 0)
        buf_add_char(out, ']');
    return printed > 0;
}

static const struct journal_item *next_note(const struct journal_item *i, tern_str name)
{
    for (; i != NULL; i = i->next)
        if (i->kind == JOURNAL_NOTE &&
            slice_equal(slice_make(i->name.ptr, i->name.len), slice_make(name.ptr, name.len)))
            return i;
    return NULL;
}

/* A key noted several times (three lists, three answers) has a list of values. */
static void print_note(const struct journal_item *first, struct buf *out)
{
    const struct journal_item *second = next_note(first->next, first->name);
    unsigned printed = 0;

    buf_add_json(out, slice_make(first->name.ptr, first->name.len));
    buf_add_cstr(out, second != NULL ? ":[" : ":");
    for (const struct journal_item *i = first; i != NULL && printed < PRINTED_ITEMS_MAX;
         i = next_note(i->next, first->name)) {
        if (printed++ > 0)
            buf_add_char(out, ',');
        buf_add_json(out, slice_make(i->value.ptr, i->value.len));
    }
    if (second != NULL)
        buf_add_char(out, ']');
}

bool journal_print_notes(const struct journal *j, struct buf *out)
{
    unsigned printed = 0;

    for (const struct journal_item *i = j->first; i != NULL && printed < PRINTED_ITEMS_MAX;
         i = i->next) {
        if (i->kind != JOURNAL_NOTE || next_note(j->first, i->name) != i)
            continue;
        if (printed++ > 0)
            buf_add_char(out, ',');
        print_note(i, out);
    }
    return printed > 0;
}

/* ---- hook auth ---- */

bool journal_user_is_valid(struct slice user)
{
    if (user.len == 0 || user.len > AUTH_USER_OCTETS_MAX || !utf8_valid(user))
        return false;
    for (size_t i = 0; i < user.len; i++)
        if ((unsigned char)user.ptr[i] < 0x20 || user.ptr[i] == 0x7f)
            return false;
    return true;
}

int journal_login(const struct journal_writer *w, struct slice user)
{
    if (w->point != TERN_HOOK_AUTH)
        return fail(w, -EPERM, "a login is possible at hook auth only");
    if (!journal_user_is_valid(user))
        return fail(w, -EINVAL, "the name of the user is empty, too long or malformed");
    w->journal->login = dup(w->arena, user);
    return 0;
}

/* NULL: they fit the mechanism. */
static const char *keys_fault(struct slice mechanism, const struct tern_auth_keys *k)
{
    bool cram = slice_equal(mechanism, SLICE("CRAM-MD5"));
    bool sha1 = slice_starts_nocase(mechanism, SLICE("SCRAM-SHA-1"));
    size_t octets = sha1 ? 20 : 32;

    if (k == NULL || k->size < offsetof(struct tern_auth_keys, password) + sizeof(k->password))
        return "its keys have no proper size";
    if (k->password.len > AUTH_PASSWORD_OCTETS_MAX)
        return "the password it gives is too long";
    if (k->password.len > 0)
        return NULL;
    if (cram)
        return "CRAM-MD5 needs the password in clear";
    if (k->hash == NULL || strcmp(k->hash, sha1 ? "SHA-1" : "SHA-256") != 0)
        return "its keys are not of the hash that the mechanism needs";
    if (k->stored_key.len != octets || k->server_key.len != octets)
        return "its keys are not as long as the hash";
    if (k->salt.len == 0 || k->salt.len > AUTH_SALT_OCTETS_MAX)
        return "its keys have no salt, or one that is too long";
    if (k->iterations == 0 || k->iterations > AUTH_ITERATIONS_MAX)
        return "its keys have no iterations, or too many";
    return NULL;
}

int journal_keys(const struct journal_writer *w, struct slice mechanism,
                 const struct tern_auth_keys *keys)
{
    if (w->point != TERN_HOOK_AUTH || w->hook->auth_form != TERN_AUTH_LOOKUP)
        return fail(w, -EPERM, "keys are possible at hook auth and in form LOOKUP only");
    if (w->journal->keys != NULL)
        return fail(w, -EINVAL, "keys are given twice");
    const char *fault = keys_fault(mechanism, keys);
    if (fault != NULL)
        return fail(w, -EINVAL, fault);
    struct tern_auth_keys *copy = ARENA_NEW(w->arena, struct tern_auth_keys);
    copy->size = sizeof(*copy);
    copy->iterations = keys->iterations;
    copy->salt = dup(w->arena, slice_of(keys->salt));
    copy->stored_key = dup(w->arena, slice_of(keys->stored_key));
    copy->server_key = dup(w->arena, slice_of(keys->server_key));
    copy->password = dup(w->arena, slice_of(keys->password));
    w->journal->keys = copy;
    return 0;
}

static void wipe(tern_str s)
{
    if (s.len > 0)
        explicit_bzero((char *)s.ptr, s.len);
}

void journal_wipe(struct journal *j)
{
    if (j->keys == NULL)
        return;
    wipe(j->keys->stored_key);
    wipe(j->keys->server_key);
    wipe(j->keys->password);
    j->keys = NULL;
}
