/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_results - one field Authentication-Results of ours on top of a message, none of ours below it (RFC 8601).
 *
 * It knows no method: the steps before it have left texts in results.*_detail (lib/authres.h), and what did not run
 * is not mentioned. Fields that claim to be ours are removed: they came from outside, and a reader behind us believes
 * them (RFC 8601 5). forged.h says which.
 *
 * It runs once for the transaction: what it tells was found out once, and the copies of all groups bear the same field.
 */
#include <tern/module.h>

#include <stdio.h>

#include "forged.h"

#include <lib/authres.h>

#define FIELD_NAME        "Authentication-Results"
#define REMOVED_MAX       1000 /* fields; a message with more in our name is refused */
#define OTHERS_MAX        100
#define NOTE_OCTETS       60

static const struct tern_api *tern;
static void *removed_counter, *left_out_counter;

enum { REMOVE_OURS, REMOVE_ALL, REMOVE_NONE };

struct auth_results_conf {
    tern_str authserv_id;
    struct tern_list methods, ours;
    int remove; /* enum */
    const struct tern_cidrs *keep_from;
    bool user;
};

static tern_str id_of(const struct auth_results_conf *c)
{
    return c->authserv_id.len > 0 ? c->authserv_id : tern->hostname();
}

/* ---- what others have written ---- */

struct removal {
    unsigned found, count; /* fields of that name; those to remove */
    unsigned nth[REMOVED_MAX];
};

static void look(const struct auth_results_conf *c, tern_str header, struct removal *r)
{
    struct forged_names names = { id_of(c), &c->ours };
    tern_str value;

    for (tern_str rest = header; r->count <= REMOVED_MAX && forged_next(&rest, &value); r->found++) {
        if (c->remove == REMOVE_OURS && !forged_is_ours(value, &names))
            continue;
        if (r->count < REMOVED_MAX)
            r->nth[r->count] = r->found;
        r->count++;
    }
}

static bool is_kept(tern_call *call, const struct auth_results_conf *c)
{
    const tern_address *client = tern->client_address(call);

    return c->remove == REMOVE_NONE ||
           (c->keep_from != NULL && client != NULL && client->family != 0 && tern->cidrs_match(c->keep_from, client));
}

static tern_verdict remove_forged(tern_call *call, const struct auth_results_conf *c)
{
    tern_str header, rest, value;
    int error = tern->header_octets(call, false, &header);

    if (error < 0)
        return tern->fail(call, "the header could not be read: errno %d", -error);
    rest = header;
    if (!forged_next(&rest, &value))
        return TERN_NEXT;
    struct removal *r = tern->alloc(call, sizeof(*r));
    look(c, header, r);
    if (r->count > REMOVED_MAX)
        return tern->reply(call, TERN_REJECT, 550, "5.7.1",
                           "More than %u fields " FIELD_NAME " that are not for you to write", REMOVED_MAX);
    for (unsigned i = r->count; i-- > 0;) /* from the last on: numbers count what is still there */
        (void)tern->header_remove(call, FIELD_NAME, r->nth[i]);
    if (r->count == 0)
        return TERN_NEXT;
    tern->counter_add(removed_counter, r->count);
    tern->note(call, "removed", tern->format(call, "%u of %u fields", r->count, r->found));
    if (c->remove == REMOVE_OURS)
        (void)tern->tag(call, "auth_results_forged");
    return TERN_NEXT;
}

/* ---- our own ---- */

static void add_ours(tern_call *call, const struct auth_results_conf *c)
{
    tern_str texts[AUTHRES_METHODS_MAX];
    struct authres_field field = {
        .name = TERN_STR(FIELD_NAME),
        .id = id_of(c),
        .texts = texts,
        .count = authres_gather(tern, call, c->methods.items, (unsigned)c->methods.count, c->user, texts),
        .utf8 = tern->is_smtputf8(call),
    };
    unsigned left_out;

    field.room = authres_room(&field);
    char *value = tern->alloc(call, field.room);
    size_t len = authres_compose(&field, value, &left_out);

    if (left_out > 0) {
        tern->counter_add(left_out_counter, left_out);
        tern->log(call, TERN_LOG_WARNING, "%u results are not in " FIELD_NAME ": too long, or not in RFC 8601's words",
                  left_out);
    }
    (void)tern->header_prepend(call, FIELD_NAME, (tern_str){ value, len });
}

static tern_verdict on_message(tern_call *call, const void *conf)
{
    const struct auth_results_conf *c = conf;
    tern_verdict verdict = is_kept(call, c) ? TERN_NEXT : remove_forged(call, c);

    if (verdict == TERN_NEXT)
        add_ours(call, c);
    return verdict;
}

/* ---- options ---- */

static bool is_method(tern_str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!((name.ptr[i] >= 'a' && name.ptr[i] <= 'z') || (name.ptr[i] >= '0' && name.ptr[i] <= '9') ||
              name.ptr[i] == '_' || name.ptr[i] == '-'))
            return false;
    return name.len > 0 && name.len <= 40;
}

static bool is_named_before(const struct tern_list *list, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (authres_is(list->items[i], list->items[index].ptr))
            return true;
    return false;
}

static void check_methods(const struct auth_results_conf *c, struct tern_config *config)
{
    char key[NOTE_OCTETS];
    unsigned verified = 0, wanted = 0;

    for (size_t i = 0; i < c->methods.count; i++) {
        tern_str name = c->methods.items[i];
        if (!is_method(name)) {
            tern->config_error(config, "methods", "%s is no name of a method: spf, dkim, dmarc ...", name.ptr);
            return;
        }
        if (is_named_before(&c->methods, i))
            tern->config_error(config, "methods", "%s is named twice: it would be told twice", name.ptr);
        wanted += !authres_is(name, "auth");
        (void)snprintf(key, sizeof(key), "%s_detail", name.ptr);
        verified += tern->config_has_result(config, key);
    }
    if (verified == 0 && wanted > 0)
        tern->config_warning(config, NULL,
                             "no step that verifies stands before it (spf, dkim_verify, dmarc ...): "
                             "its field can say nothing of the sender");
}

static int check(void *conf, struct tern_config *config)
{
    const struct auth_results_conf *c = conf;

    if (c->authserv_id.len > 0 && !authres_id_is_valid(c->authserv_id))
        tern->config_error(config, "authserv_id", "is a name of this service, of 1 to 255 printable ASCII characters");
    for (size_t i = 0; i < c->ours.count; i++) {
        tern_str name = c->ours.items[i];
        if (!authres_id_is_valid(name) || (name.ptr[0] == '*' && (name.len < 3 || name.ptr[1] != '.')))
            tern->config_error(config, "ours", "%s is neither a name, mx2.example.org, nor *.example.org", name.ptr);
    }
    if (c->remove != REMOVE_OURS && c->ours.count > 0)
        tern->config_error(config, "ours", "counts with remove: ours only");
    if (c->remove == REMOVE_NONE && c->keep_from != NULL)
        tern->config_error(config, "keep_from", "nobody's fields are removed with remove: none");
    check_methods(c, config);
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    removed_counter = api->counter("tern_auth_results_removed_total",
                                   "Fields Authentication-Results of others that were removed");
    left_out_counter = api->counter("tern_auth_results_left_out_total",
                                    "Results that could not be put into Authentication-Results");
    *ret_state = NULL;
    return 0;
}

static const char *const remove_values[] = { "ours", "all", "none", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_STRING(struct auth_results_conf, authserv_id, "",
                       "The name our field says it is from; empty: `hostname` of the server."),
    TERN_OPTION_LIST(struct auth_results_conf, methods, "[auth, iprev, spf, dkim, arc, dmarc]", 1, AUTHRES_METHODS_MAX,
                     "What is told, in that order, if it ran: NAME prints results.NAME_detail; auth is the login."),
    TERN_OPTION_ENUM(struct auth_results_conf, remove, "ours", remove_values,
                     "Which fields of others are removed: those that claim to be ours, all, or none."),
    TERN_OPTION_LIST(struct auth_results_conf, ours, "", 0, OTHERS_MAX,
                     "Names of your other servers, whose fields are removed too: mx2.example.org, *.example.org."),
    TERN_OPTION_CIDRS(struct auth_results_conf, keep_from, "",
                      "Clients whose fields are kept: relays of yours that check mail themselves."),
    TERN_OPTION_BOOL(struct auth_results_conf, user, "false", "Tell the name that a client has logged in with."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_TAG("auth_results_forged", "The message bore a field Authentication-Results in our name."),
    TERN_NOTES_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MESSAGE, on_message), .answers = TERN_MAY_REJECT, .flags = TERN_ONCE },
    TERN_HOOKS_END,
};

/* Those whose results it tells. */
static const char *const after[] = { "iprev", "spf", "dkim_verify", "arc_verify", "dmarc", NULL };

TERN_MODULE(.name = "auth_results", .summary = "Tell in a header field what was found out about the sender.",
            .options = options, .hooks = hooks, .notes = notes, .after = after,
            .conf_size = sizeof(struct auth_results_conf), .init = init, .check = check)
