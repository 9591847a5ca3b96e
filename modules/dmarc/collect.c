/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect.c - a row of an aggregate report for each message that was judged. See collect.h.
 *
 * Left out: domains that want no reports (no rua=); what only rehearses; and mail that is a report itself, if the
 * domain of From stands behind it: two servers would go on for ever reporting each other's reports. A forged one
 * counts, or anybody could hide his forgeries behind a subject. Which customer of ours got the mail is not told.
 *
 * Sources: RFC 9990 3.1.1 (what a row says), 3.1.3 (which signatures), 3.5.2 (what a report looks like).
 */
#include <strings.h>

#include <lib/dmarc_rows.h>

#include "dmarc.h"
#include "store.h"

#define tern dmarc_api

static void *collected, *lost;

void dmarc_collect_init(const struct tern_api *api)
{
    collected = api->counter("tern_dmarc_rows_total", "Messages that were noted for aggregate reports");
    lost = api->counter("tern_dmarc_rows_lost_total",
                        "Messages that should have been, but there was no room on the disk");
}

/* ---- never about reports ---- */

static const char *behind_blanks(const char *s)
{
    while (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n')
        s++;
    return s;
}

/* "Report Domain: example.org Submitter: ..." in any case, folded anywhere between words. */
static bool is_report_subject(tern_str value)
{
    const char *s = behind_blanks(value.ptr);

    if (strncasecmp(s, "report", 6) != 0)
        return false;
    s = behind_blanks(s + 6);
    return strncasecmp(s, "domain:", 7) == 0 && strcasestr(s, "submitter:") != NULL;
}

static bool is_report(const tern_call *call)
{
    const struct tern_header *subject = tern->header(call, "Subject", 0),
                             *type = tern->header(call, "Content-Type", 0);

    if (subject != NULL && is_report_subject(subject->value))
        return true;
    /* Failure reports of DMARC and reports of TLS: RFC 6591, RFC 8460. */
    return type != NULL && strncasecmp(behind_blanks(type->value.ptr), "multipart/report", 16) == 0 &&
           (strcasestr(type->value.ptr, "feedback-report") != NULL || strcasestr(type->value.ptr, "tlsrpt") != NULL);
}

/* To the address from which we report, and to nobody else: answers to our reports. */
static bool is_for_reporter(const tern_call *call, const struct dmarc_reports_conf *conf)
{
    const tern_str to = tern->rcpt_count(call) == 1 ? tern->rcpt(call, 0)->original.address : TERN_STR("");

    return to.len == conf->email.len && strncasecmp(to.ptr, conf->email.ptr, to.len) == 0;
}

/* ---- the row ---- */

static tern_str text(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

static tern_str policy_text(enum dmarc_policy policy, enum dmarc_policy otherwise)
{
    return text(dmarc_policy_name(policy != DMARC_UNSET ? policy : otherwise));
}

/* What is not written has its default (RFC 9990 3.1.1.4). */
static void fill_policy(const struct dmarc_judged *j, struct dmarc_report *policy)
{
    const struct dmarc_record *r = j->record;
    enum dmarc_policy p = r->p != DMARC_UNSET ? r->p : DMARC_NONE, sp = r->sp != DMARC_UNSET ? r->sp : p;

    *policy = (struct dmarc_report){ .domain = j->policy_domain, .p = policy_text(p, p), .sp = policy_text(sp, p),
                                     .np = policy_text(r->np, sp), .adkim = text(r->dkim_strict ? "s" : "r"),
                                     .aspf = text(r->spf_strict ? "s" : "r"), .testing = text(r->testing ? "y" : "n"),
                                     .discovery = text(j->by_suffix_list ? "psl" : "treewalk"), .fo = r->fo };
}

static unsigned fill_dkims(const struct dmarc_judged *j, struct dmarc_report_auth *out)
{
    unsigned count = 0;

    /* Those that pass come first: what has no room is of least interest (RFC 9990 3.1.3). */
    for (unsigned passing = 2; passing-- > 0;)
        for (unsigned i = 0; i < j->dkim_count && count < DMARC_ROW_DKIMS_MAX; i++) {
            const struct dmarc_judged_dkim *d = &j->dkim[i];
            bool passes = d->result.len == 4 && memcmp(d->result.ptr, "pass", 4) == 0;
            if (passes == (passing != 0))
                out[count++] = (struct dmarc_report_auth){ .domain = d->domain,
                                                           .selector = d->selector,
                                                           .result = d->result,
                                                           .human = passes ? TERN_STR("") : d->comment };
        }
    return count;
}

static size_t print_row(const struct dmarc_judged *j, char *out)
{
    struct dmarc_report_auth spf = { .domain = j->spf_domain, .scope = j->spf_scope, .result = j->spf_result };
    struct dmarc_report_auth dkims[DMARC_ROW_DKIMS_MAX];
    struct dmarc_report_reason reason = { text(j->override),
                                          j->override_comment.len > 0 ? j->override_comment : TERN_STR("") };
    struct dmarc_report policy;
    struct dmarc_report_row row = {
        .source_ip = j->client_text,
        .disposition = text(dmarc_policy_name(j->disposition)),
        .dkim = text(j->dkim_aligned ? "pass" : "fail"),
        .spf = text(j->spf_aligned ? "pass" : "fail"),
        .header_from = j->header_from,
        .envelope_from = j->envelope_from,
        .reasons = &reason,
        .reason_count = reason.type.len > 0,
        .spfs = &spf,
        .spf_count = j->spf_domain.len > 0,
        .dkims = dkims,
        .dkim_count = fill_dkims(j, dkims),
    };

    if (j->pass && j->policy > DMARC_NONE) /* there was something to pass: RFC 9990 Appendix A */
        row.disposition = TERN_STR("pass");
    fill_policy(j, &policy);
    return dmarc_row_print(&policy, &row, out);
}

bool dmarc_is_collected(const tern_call *call, const struct dmarc_conf *c, const struct dmarc_record *record)
{
    return c->reports.count > 0 && record->rua.len > 0 && !tern->is_rehearsal(call);
}

void dmarc_collect(tern_call *call, const struct dmarc_conf *c, const struct dmarc_judged *judged)
{
    const struct dmarc_reports_conf *conf = c->reports.items;
    char line[DMARC_ROW_OCTETS_MAX];

    if (judged->pass && (is_report(call) || is_for_reporter(call, conf)))
        return;
    size_t octets = print_row(judged, line);
    if (octets == 0)
        return;
    store_add(tern, conf, judged->now_s / 86400, line, octets, lost);
    tern->counter_add(collected, 1);
}

/* ---- options ---- */

static bool is_loopback(const tern_address *a)
{
    static const uint8_t one[16] = { [15] = 1 };

    return a->family == 4 ? a->octets[0] == 127 : a->family == 6 && memcmp(a->octets, one, 16) == 0;
}

static bool is_address(tern_str s)
{
    const char *at = memchr(s.ptr, '@', s.len);

    return at != NULL && at != s.ptr && at[1] != '\0' && strpbrk(s.ptr, " \t\r\n<>\"") == NULL &&
           strchr(at + 1, '@') == NULL;
}

void dmarc_collect_check(const struct dmarc_conf *c, struct tern_config *config)
{
    const struct dmarc_reports_conf *r = c->reports.count > 0 ? c->reports.items : NULL;

    if (r == NULL)
        return;
    if (r->path.len == 0)
        tern->config_error(config, "reports.path", "a folder is needed");
    if (!is_address(r->email))
        tern->config_error(config, "reports.email", "\"%s\" is no address", r->email.ptr);
    if (r->sender.len > 0 && strcmp(r->sender.ptr, "<>") != 0 && !is_address(r->sender))
        tern->config_error(config, "reports.sender", "\"%s\" is neither an address nor <>", r->sender.ptr);
    if (strpbrk(r->domain.ptr, " \t\r\n!/\"<>") != NULL)
        tern->config_error(config, "reports.domain", "\"%s\" is no name of a domain", r->domain.ptr);
    if (r->org_name.len == 0 || strpbrk(r->org_name.ptr, "\r\n") != NULL)
        tern->config_error(config, "reports.org_name", "a name of one line is needed");
    if (!is_loopback(&r->submit))
        tern->config_warning(config, "reports.submit",
                             "reports go there without TLS: a server on this machine is better");
}
