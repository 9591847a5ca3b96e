/* SPDX-License-Identifier: Apache-2.0 */
/*
 * submission - what RFC 6409 asks of a server that takes mail from its users: whole domains, Date and Message-ID.
 *
 * 8.2 and 8.3 let it add the two fields; an MX must not, since they belong to the author and are
 * often signed. So this is a step of the policies of ports 587 and 465 and of no other. It runs at hook `message`,
 * before anything is signed (hook `sign`). Nothing that is there is changed, be it wrong or twice.
 *
 * Addresses with a domain of one label (a@localhost) are refused, as 4.2 demands: who is meant depends on who asks.
 *
 * Message-ID: the queue id is never given twice by this server, and the host name makes it unique among servers.
 */
#include <tern/module.h>

#include <string.h>
#include <time.h>

static const struct tern_api *tern;
static void *added_count;

struct submission_conf {
    bool date, message_id, qualified;
    tern_str domain;
};

/* UTC, like the Received field on top: the server knows the time, not where the user is. */
static tern_str date_now(tern_call *call)
{
    static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    time_t now = (time_t)tern->now_s(call);
    struct tm t;

    (void)gmtime_r(&now, &t);
    return tern->format(call, "%s, %d %s %d %02d:%02d:%02d +0000", days[t.tm_wday], t.tm_mday, months[t.tm_mon],
                        t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

static tern_str new_message_id(tern_call *call, const struct submission_conf *c)
{
    tern_str domain = c->domain.len > 0 ? c->domain : tern->hostname();

    return tern->format(call, "<%lld.%s@%s>", (long long)tern->now_s(call), tern->queue_id(call).ptr, domain.ptr);
}

static int add(tern_call *call, const char *name, tern_str value)
{
    tern->counter_add(added_count, 1);
    return tern->header_append(call, name, value);
}

static tern_verdict on_message(tern_call *call, const void *conf)
{
    const struct submission_conf *c = conf;

    if (c->date && tern->header(call, "Date", 0) == NULL && add(call, "Date", date_now(call)) < 0)
        return TERN_ERROR;
    if (c->message_id && tern->header(call, "Message-ID", 0) == NULL &&
        add(call, "Message-ID", new_message_id(call, c)) < 0)
        return TERN_ERROR;
    return TERN_NEXT;
}

static bool is_qualified(tern_str domain)
{
    return domain.len == 0 || domain.ptr[0] == '[' || memchr(domain.ptr, '.', domain.len) != NULL;
}

static tern_verdict on_mail(tern_call *call, const void *conf)
{
    const struct submission_conf *c = conf;
    tern_str domain = tern->sender(call)->domain;

    if (!c->qualified || is_qualified(domain))
        return TERN_NEXT;
    return tern->reply(call, TERN_REJECT, 554, "5.1.8", "The sender's domain %s is not fully qualified", domain.ptr);
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    const struct submission_conf *c = conf;
    tern_str domain = tern->current_rcpt(call)->original.domain;

    if (!c->qualified || is_qualified(domain))
        return TERN_NEXT;
    return tern->reply(call, TERN_REJECT, 554, "5.1.2", "The domain %s is not fully qualified", domain.ptr);
}

static int check(void *conf, struct tern_config *config)
{
    const struct submission_conf *c = conf;

    if (!c->date && !c->message_id && !c->qualified)
        tern->config_error(config, NULL, "does nothing: date, message_id and qualified are all false");
    for (size_t i = 0; i < c->domain.len; i++) {
        char ch = c->domain.ptr[i];
        if ((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '.' || ch == '-')
            continue;
        tern->config_error(config, "domain", "expected a domain name in ASCII (IDNA: xn--...)");
        break;
    }
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    added_count = tern->counter("tern_submission_added_total", "Date and Message-ID fields that were added.");
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_BOOL(struct submission_conf, date, "true", "Add Date where it is missing."),
    TERN_OPTION_BOOL(struct submission_conf, message_id, "true", "Add Message-ID where it is missing."),
    TERN_OPTION_BOOL(struct submission_conf, qualified, "true", "Refuse addresses with a domain of one label."),
    TERN_OPTION_STRING(struct submission_conf, domain, "",
                       "What stands behind the @ of a new Message-ID; default: the hostname."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MAIL, on_mail), .answers = TERN_MAY_REJECT },
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_REJECT },
    { TERN_HOOK(MESSAGE, on_message) },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "submission", .summary = "Submitted mail: whole domains, Date and Message-ID.", .options = options,
            .hooks = hooks, .conf_size = sizeof(struct submission_conf), .init = init, .check = check)
