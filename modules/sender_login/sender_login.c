/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender_login - which user may send under which addresses, in MAIL FROM and in the fields From and Sender.
 *
 * Without it whoever has logged in can write as anybody else here, and it goes out with our good name
 * and signature. Sessions without a user are not its business: who may send then is for others.
 */
#include <string.h>
#include <strings.h>

#include "../lib/from.h"

/* Fields From, or Sender, of one mail; RFC 5322 3.6 knows one. Ten thousand of them would keep a loop busy. */
#define FIELDS_MAX 10

static const struct tern_api *tern;

struct sender_login_conf {
    const struct tern_table *senders;
    bool own, header, null_sender;
};

/* The user's own address: his name is one, and no list or pattern of them. */
static bool is_own(const struct sender_login_conf *c, tern_call *call, tern_str address)
{
    tern_str user = tern->user(call);

    return c->own && memchr(user.ptr, '@', user.len) != NULL && user.len == address.len &&
           strncasecmp(user.ptr, address.ptr, user.len) == 0;
}

static tern_verdict refuse(tern_call *call, tern_str address)
{
    tern->note(call, "address", address);
    tern->note(call, "user", tern->user(call));
    return tern->reply(call, TERN_REJECT, 553, "5.7.1", "Sender address %.*s is not owned by this user",
                       (int)(address.len < 200 ? address.len : 200), address.ptr);
}

/* ---- MAIL FROM ---- */

static void sender_found(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    tern_str address = tern->sender(call)->address;

    (void)conf;
    if (answer->status == TERN_FAILED)
        tern->complete(call, TERN_ERROR);
    else if (answer->status == TERN_FOUND && from_is_allowed(answer->value, address))
        tern->complete(call, TERN_NEXT);
    else
        tern->complete(call, refuse(call, address));
}

static tern_verdict on_mail(tern_call *call, const void *conf)
{
    const struct sender_login_conf *c = conf;
    tern_str address = tern->sender(call)->address;

    if (tern->user(call).len == 0)
        return TERN_NEXT;
    if (address.len == 0)
        return c->null_sender ? TERN_NEXT
                              : tern->reply(call, TERN_REJECT, 553, "5.7.1", "The null sender is not for users");
    if (is_own(c, call, address))
        return TERN_NEXT;
    return tern->table_find(call, c->senders, tern->user(call), sender_found);
}

/* ---- From ---- */

struct looking {
    const struct sender_login_conf *conf;
    tern_call *call;
    tern_str patterns; /* of the user */
    char wrong[FROM_ADDRESS_OCTETS_MAX + 1];
};

static bool is_fine(void *arg, tern_str address)
{
    struct looking *l = arg;

    if (is_own(l->conf, l->call, address) || from_is_allowed(l->patterns, address))
        return true;
    memcpy(l->wrong, address.ptr, address.len);
    l->wrong[address.len] = '\0';
    return false;
}

/* False: refused, with *ret. */
static bool is_field_fine(struct looking *l, const char *name, tern_verdict *ret)
{
    const struct tern_header *field;

    for (unsigned nth = 0; (field = tern->header(l->call, name, nth)) != NULL; nth++) {
        if (nth < FIELDS_MAX && from_each(field->value, is_fine, l))
            continue;
        if (nth == FIELDS_MAX)
            *ret = tern->reply(l->call, TERN_REJECT, 553, "5.7.1", "The %s field is there more than %d times", name,
                               FIELDS_MAX);
        else if (l->wrong[0] != '\0')
            *ret = refuse(l->call, (tern_str){ l->wrong, strlen(l->wrong) });
        else
            *ret = tern->reply(l->call, TERN_REJECT, 553, "5.7.1", "The %s field is not a plain list of addresses",
                               name);
        return false;
    }
    return true;
}

/* Readers show Sender beside From ("on behalf of"), and in its place where there is none. */
static void from_found(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    struct looking l = { conf, call, { "", 0 }, "" };
    tern_verdict verdict = TERN_NEXT;

    if (answer->status == TERN_FAILED) {
        tern->complete(call, TERN_ERROR);
        return;
    }
    if (answer->status == TERN_FOUND)
        l.patterns = answer->value;
    if (is_field_fine(&l, "From", &verdict))
        (void)is_field_fine(&l, "Sender", &verdict);
    tern->complete(call, verdict);
}

static tern_verdict on_message(tern_call *call, const void *conf)
{
    const struct sender_login_conf *c = conf;

    if (!c->header || tern->user(call).len == 0)
        return TERN_NEXT;
    return tern->table_find(call, c->senders, tern->user(call), from_found);
}

/* ---- the module ---- */

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_TABLE(struct sender_login_conf, senders, "",
                      "User -> addresses, with commas or blanks between them; * is any run of characters."),
    TERN_OPTION_BOOL(struct sender_login_conf, own, "true",
                     "A user whose name is an address may use that address."),
    TERN_OPTION_BOOL(struct sender_login_conf, header, "true", "Check the fields From and Sender, too."),
    TERN_OPTION_BOOL(struct sender_login_conf, null_sender, "true",
                     "Users may send with the null sender, as replies by a program do."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MAIL, on_mail), .answers = TERN_MAY_REJECT },
    { TERN_HOOK(MESSAGE, on_message), .answers = TERN_MAY_REJECT },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "sender_login", .summary = "Which user may send under which addresses.",
            .options = options, .hooks = hooks, .conf_size = sizeof(struct sender_login_conf),
            .init = init);
