/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_report_read.c - XML of an aggregate report into a struct.
 *
 * Which element may stand where is one table; elements that it does not have, and those of other namespaces
 * (extensions), are passed over with all that is in them. What a row must say to be counted must be right: an
 * address, a number, words of the schema, in any case of letters. Everything else may be missing, as it often is.
 *
 * A DOCTYPE ends it: a report needs none, and without one there is no entity that could expand ("billion laughs") or
 * name a file or host. Sources: RFC 9990 3.1.1, Appendix A; RFC 7489 Appendix C; https://dmarc.org/dmarc-xml/0.1.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dmarc_report_private.h"

#define NAMESPACE_9990   "urn:ietf:params:xml:ns:dmarc-2.0"
#define NAMESPACE_7489   "http://dmarc.org/dmarc-xml/0.1"
#define SEPARATOR        '\n' /* cannot stand in a namespace's name */
#define WRAPPING         "http://www.w3.org/2001/XMLSchema\nschema"
#define CHUNK_OCTETS     65536
#define FIRST_ROWS       16
#define PARSE_BLOCK_MAX  65536

/* ---- memory ---- */

struct dmarc_report_chunk {
    struct dmarc_report_chunk *next;
    size_t used, size;
    char octets[];
};

static struct dmarc_report_chunk *chunk_new(size_t size, struct dmarc_report_chunk *next)
{
    struct dmarc_report_chunk *c = calloc(1, sizeof(*c) + size);

    if (c == NULL)
        abort(); /* as everywhere: who runs out of memory here cannot go on */
    c->size = size;
    c->next = next;
    return c;
}

struct dmarc_report *dmarc_report_new(void)
{
    struct dmarc_report_chunk *c = chunk_new(CHUNK_OCTETS, NULL);
    struct dmarc_report *report = (struct dmarc_report *)(void *)c->octets;

    c->used = (sizeof(*report) + 15) & ~(size_t)15;
    report->chunks = c;
    return report;
}

void *dmarc_report_alloc(struct dmarc_report *report, size_t octets)
{
    struct dmarc_report_chunk *c = report->chunks;

    octets = (octets + 15) & ~(size_t)15;
    if (c->size - c->used < octets) {
        c = chunk_new(octets > CHUNK_OCTETS ? octets : CHUNK_OCTETS, c);
        report->chunks = c;
    }
    c->used += octets;
    report->held_octets += octets;
    return c->octets + c->used - octets;
}

tern_str dmarc_report_copy(struct dmarc_report *report, tern_str text)
{
    char *copy = dmarc_report_alloc(report, text.len + 1);

    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    return (tern_str){ copy, text.len };
}

void dmarc_report_free(struct dmarc_report *report)
{
    struct dmarc_report_chunk *c = report != NULL ? report->chunks : NULL, *next;

    if (report != NULL)
        free(report->rows);
    for (; c != NULL; c = next) { /* the report itself is in the last one */
        next = c->next;
        free(c);
    }
}

/* ---- the parser ---- */

enum node {
    ROOT,
    WRAPPER,
    FEEDBACK,
    METADATA,
    RANGE,
    POLICY,
    RECORD,
    ROW,
    EVALUATED,
    REASON,
    IDENTIFIERS,
    AUTHS,
    DKIM,
    SPF,
    LEAF,
    PASSED_OVER
};
/* What a leaf's offset counts from. */
enum base { BASE_PARSER, BASE_REPORT, BASE_ROW, BASE_REASON, BASE_AUTH };

struct dmarc_report_parser {
    XML_Parser expat;
    struct dmarc_report *report;
    struct dmarc_report_limits limits;
    char *error;
    enum node nodes[DMARC_REPORT_DEPTH_MAX + 1];
    unsigned depth, row_room;
    /* the present ones; copied into the row or report when they end */
    struct dmarc_report_row row;
    struct dmarc_report_reason reason, reasons[DMARC_REPORT_REASONS_MAX];
    struct dmarc_report_auth auth, dkims[DMARC_REPORT_AUTHS_MAX], spfs[DMARC_REPORT_AUTHS_MAX];
    tern_str count, begin, end;
    bool has_policy, begun, done;
    uint64_t octets; /* that expat was given */
    /* the present leaf */
    const struct element *leaf;
    char text[DMARC_REPORT_TEXT_OCTETS_MAX + 1];
    size_t text_octets;
    bool text_cut;
};

struct element {
    enum node parent;
    const char *name;
    enum node node;
    enum base base;
    size_t offset;
    bool free_text; /* for people: may be long */
};

#define IN_REPORT(f) LEAF, BASE_REPORT, offsetof(struct dmarc_report, f)
#define IN_ROW(f)    LEAF, BASE_ROW, offsetof(struct dmarc_report_row, f)
#define IN_REASON(f) LEAF, BASE_REASON, offsetof(struct dmarc_report_reason, f)
#define IN_AUTH(f)   LEAF, BASE_AUTH, offsetof(struct dmarc_report_auth, f)
#define IN_PARSER(f) LEAF, BASE_PARSER, offsetof(struct dmarc_report_parser, f)

static const struct element elements[] = {
    { ROOT, "feedback", FEEDBACK },
    { ROOT, WRAPPING, WRAPPER }, /* some put a <feedback> into a <schema> that they do not close */
    { WRAPPER, "feedback", FEEDBACK },
    { FEEDBACK, "version", IN_REPORT(version), true },
    { FEEDBACK, "report_metadata", METADATA },
    { METADATA, "org_name", IN_REPORT(org_name), true },
    { METADATA, "email", IN_REPORT(email), true },
    { METADATA, "extra_contact_info", IN_REPORT(contact), true },
    { METADATA, "report_id", IN_REPORT(id), true },
    { METADATA, "date_range", RANGE },
    { METADATA, "error", IN_REPORT(error), true },
    { METADATA, "generator", IN_REPORT(generator), true },
    { RANGE, "begin", IN_PARSER(begin) },
    { RANGE, "end", IN_PARSER(end) },
    { FEEDBACK, "policy_published", POLICY },
    { POLICY, "domain", IN_REPORT(domain) },
    { POLICY, "p", IN_REPORT(p) },
    { POLICY, "sp", IN_REPORT(sp) },
    { POLICY, "np", IN_REPORT(np) },
    { POLICY, "adkim", IN_REPORT(adkim) },
    { POLICY, "aspf", IN_REPORT(aspf) },
    { POLICY, "pct", IN_REPORT(pct) },
    { POLICY, "fo", IN_REPORT(fo), true },
    { POLICY, "testing", IN_REPORT(testing) },
    { POLICY, "discovery_method", IN_REPORT(discovery) },
    { FEEDBACK, "record", RECORD },
    { RECORD, "row", ROW },
    { ROW, "source_ip", IN_ROW(source_ip) },
    { ROW, "count", IN_PARSER(count) },
    { ROW, "policy_evaluated", EVALUATED },
    { EVALUATED, "disposition", IN_ROW(disposition) },
    { EVALUATED, "dkim", IN_ROW(dkim) },
    { EVALUATED, "spf", IN_ROW(spf) },
    { EVALUATED, "reason", REASON },
    { REASON, "type", IN_REASON(type) },
    { REASON, "comment", IN_REASON(comment), true },
    { RECORD, "identifiers", IDENTIFIERS },
    { RECORD, "identities", IDENTIFIERS }, /* of drafts before RFC 7489 */
    { IDENTIFIERS, "header_from", IN_ROW(header_from) },
    { IDENTIFIERS, "envelope_from", IN_ROW(envelope_from), true },
    { IDENTIFIERS, "envelope_to", IN_ROW(envelope_to), true },
    { RECORD, "auth_results", AUTHS },
    { AUTHS, "dkim", DKIM },
    { DKIM, "domain", IN_AUTH(domain), true },
    { DKIM, "selector", IN_AUTH(selector), true },
    { DKIM, "result", IN_AUTH(result) },
    { DKIM, "human_result", IN_AUTH(human), true },
    { AUTHS, "spf", SPF },
    { SPF, "domain", IN_AUTH(domain), true },
    { SPF, "scope", IN_AUTH(scope) },
    { SPF, "result", IN_AUTH(result) },
    { SPF, "human_result", IN_AUTH(human), true },
};

/* The first reason stays. */
static void refuse(struct dmarc_report_parser *p, const char *format, ...)
{
    char text[DMARC_REPORT_ERROR_OCTETS - 32];
    va_list args;

    if (p->error[0] != '\0')
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(p->error, DMARC_REPORT_ERROR_OCTETS, "line %llu: %s",
                   (unsigned long long)XML_GetCurrentLineNumber(p->expat), text);
    (void)XML_StopParser(p->expat, XML_FALSE);
}

static tern_str *target(struct dmarc_report_parser *p, const struct element *e)
{
    char *bases[] = { [BASE_PARSER] = (char *)p, [BASE_REPORT] = (char *)p->report, [BASE_ROW] = (char *)&p->row,
                      [BASE_REASON] = (char *)&p->reason, [BASE_AUTH] = (char *)&p->auth };

    return (tern_str *)(void *)(bases[e->base] + e->offset);
}

/* ---- elements ---- */

/* Its name without a namespace that is ours; NULL: it is somebody else's. */
static const char *local_name(const char *name, bool *ret_9990)
{
    const char *end = strchr(name, SEPARATOR);
    size_t len = end != NULL ? (size_t)(end - name) : 0;

    *ret_9990 = len == sizeof(NAMESPACE_9990) - 1 && memcmp(name, NAMESPACE_9990, len) == 0;
    if (end == NULL || strcmp(name, WRAPPING) == 0)
        return name;
    if (*ret_9990 || (len == sizeof(NAMESPACE_7489) - 1 && memcmp(name, NAMESPACE_7489, len) == 0))
        return end + 1;
    return NULL;
}

static const struct element *find_element(enum node parent, const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof(elements) / sizeof(elements[0]); i++)
        if (elements[i].parent == parent && strcmp(elements[i].name, name) == 0)
            return &elements[i];
    return NULL;
}

static void on_start(void *arg, const XML_Char *whole, const XML_Char **attributes)
{
    struct dmarc_report_parser *p = arg;
    bool is_9990;
    const char *name = local_name(whole, &is_9990);
    const struct element *e = find_element(p->nodes[p->depth], name);

    (void)attributes;
    if (p->depth == p->limits.depth) {
        refuse(p, "elements are nested deeper than %u", p->limits.depth);
        return;
    }
    if (p->depth == 0 && e == NULL) {
        refuse(p, "it is XML, but no aggregate report: its first element is not <feedback>");
        return;
    }
    p->nodes[++p->depth] = e != NULL ? e->node : PASSED_OVER;
    if (e == NULL)
        return;
    if (e->node == FEEDBACK)
        p->report->is_9990 = is_9990;
    if (e->node == RECORD) {
        memset(&p->row, 0, sizeof(p->row));
        p->count = (tern_str){ NULL, 0 };
    }
    if (e->node == REASON)
        memset(&p->reason, 0, sizeof(p->reason));
    if (e->node == DKIM || e->node == SPF)
        memset(&p->auth, 0, sizeof(p->auth));
    p->leaf = e->node == LEAF ? e : NULL;
    p->text_octets = 0;
    p->text_cut = false;
}

static void on_text(void *arg, const XML_Char *octets, int count)
{
    struct dmarc_report_parser *p = arg;
    size_t room = sizeof(p->text) - 1 - p->text_octets, n = (size_t)count;

    if (p->leaf == NULL || p->nodes[p->depth] != LEAF)
        return;
    if (p->text_octets == 0) /* blanks in front do not count */
        while (n > 0 && memchr(" \t\r\n", *octets, 4) != NULL)
            octets++, n--;
    p->text_cut |= n > room;
    n = n > room ? room : n;
    for (size_t i = 0; i < n; i++) /* a CR gets in as &#13; only, and XML could not say it again */
        p->text[p->text_octets++] = octets[i] == '\r' ? ' ' : octets[i];
}

/* A character that the cut went through is dropped whole. */
static size_t whole_characters(const char *text, size_t octets)
{
    size_t at = octets;

    while (at > 0 && ((unsigned char)text[at - 1] & 0xc0) == 0x80)
        at--;
    return at > 0 && (unsigned char)text[at - 1] >= 0xc0 ? at - 1 : octets;
}

static void end_leaf(struct dmarc_report_parser *p)
{
    const struct element *e = p->leaf;
    tern_str *to = target(p, e);
    size_t len = p->text_octets;

    p->leaf = NULL;
    if (p->text_cut && !e->free_text) {
        refuse(p, "<%s> is longer than %d octets", e->name, DMARC_REPORT_TEXT_OCTETS_MAX);
        return;
    }
    if (p->text_cut)
        len = whole_characters(p->text, len);
    while (len > 0 && memchr(" \t\r\n", p->text[len - 1], 4) != NULL)
        len--;
    if (len == 0 || to->len > 0) /* the first one counts */
        return;
    *to = dmarc_report_copy(p->report, (tern_str){ p->text, len });
}

/* ---- what must be right ---- */

static const char *const dispositions[] = { "none", "pass", "quarantine", "reject", NULL };
static const char *const pass_or_fail[] = { "pass", "fail", NULL };

/* Lower case, in place: the text is ours. */
static bool is_word(tern_str *text, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++)
        if (text->len == strlen(words[i]) && strncasecmp(text->ptr, words[i], text->len) == 0) {
            *text = (tern_str){ words[i], text->len };
            return true;
        }
    return false;
}

static void lower(tern_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] >= 'A' && text.ptr[i] <= 'Z')
            ((char *)(uintptr_t)text.ptr)[i] = (char)(text.ptr[i] + 32);
}

static bool is_number(tern_str text, uint64_t max, uint64_t *ret)
{
    uint64_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)(text.ptr[i] - '0');
        if (digit > 9 || n > (max - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *ret = n;
    return text.len > 0;
}

static bool is_address(tern_str text)
{
    unsigned char octets[16];

    return text.len > 0 && (inet_pton(AF_INET, text.ptr, octets) == 1 || inet_pton(AF_INET6, text.ptr, octets) == 1);
}

static void check_row(struct dmarc_report_parser *p)
{
    struct dmarc_report_row *row = &p->row;

    if (!is_address(row->source_ip))
        refuse(p, "a record whose <source_ip> is no address");
    else if (!is_number(p->count, UINT32_MAX, &row->count))
        refuse(p, "a record whose <count> is no number");
    else if (!is_word(&row->disposition, dispositions))
        refuse(p, "a record whose <disposition> is none of none, pass, quarantine, reject");
    else if (!is_word(&row->dkim, pass_or_fail) || !is_word(&row->spf, pass_or_fail))
        refuse(p, "a record where <dkim> or <spf> of <policy_evaluated> is neither pass nor fail");
    else if (row->header_from.len == 0)
        refuse(p, "a record without <header_from>");
}

static void *keep(struct dmarc_report *report, const void *items, size_t octets)
{
    void *copy = octets > 0 ? dmarc_report_alloc(report, octets) : NULL;

    if (octets > 0)
        memcpy(copy, items, octets);
    return copy;
}

static void end_record(struct dmarc_report_parser *p)
{
    struct dmarc_report *report = p->report;
    struct dmarc_report_row *row = &p->row;

    check_row(p);
    if (report->row_count == p->limits.rows)
        refuse(p, "there are more than %u records", p->limits.rows);
    if (p->error[0] != '\0')
        return;
    lower(row->header_from);
    row->reasons = keep(report, p->reasons, row->reason_count * sizeof(p->reasons[0]));
    row->dkims = keep(report, p->dkims, row->dkim_count * sizeof(p->dkims[0]));
    row->spfs = keep(report, p->spfs, row->spf_count * sizeof(p->spfs[0]));
    if (report->row_count == p->row_room) {
        p->row_room = p->row_room == 0 ? FIRST_ROWS : 2 * p->row_room;
        report->rows = realloc(report->rows, p->row_room * sizeof(report->rows[0]));
        if (report->rows == NULL)
            abort();
    }
    report->rows[report->row_count++] = *row;
    report->held_octets += sizeof(*row);
}

static void end_auth(struct dmarc_report_parser *p, struct dmarc_report_auth *list, unsigned *count)
{
    lower(p->auth.result);
    lower(p->auth.domain);
    if (*count < DMARC_REPORT_AUTHS_MAX) /* the rest are of least interest: RFC 9990 3.1.3 */
        list[(*count)++] = p->auth;
}

static void end_policy(struct dmarc_report_parser *p)
{
    struct dmarc_report *r = p->report;

    p->has_policy = r->domain.len > 0;
    if (!p->has_policy)
        refuse(p, "<policy_published> names no <domain>");
    lower(r->domain);
    lower(r->p);
    lower(r->sp);
    lower(r->np);
}

static void end_range(struct dmarc_report_parser *p)
{
    uint64_t begin = 0, end = 0;

    if (!is_number(p->begin, INT32_MAX * 4ull, &begin) || !is_number(p->end, INT32_MAX * 4ull, &end))
        refuse(p, "<date_range> has no <begin> and <end> in seconds");
    p->report->begin_s = (int64_t)begin;
    p->report->end_s = (int64_t)end;
}

static void on_end(void *arg, const XML_Char *name)
{
    struct dmarc_report_parser *p = arg;
    enum node node = p->nodes[p->depth];

    (void)name;
    if (p->error[0] != '\0')
        return;
    p->depth--;
    switch (node) {
    case LEAF:
        if (p->leaf != NULL)
            end_leaf(p);
        break;
    case REASON:
        if (p->row.reason_count < DMARC_REPORT_REASONS_MAX)
            p->reasons[p->row.reason_count++] = p->reason;
        break;
    case DKIM: end_auth(p, p->dkims, &p->row.dkim_count); break;
    case SPF: end_auth(p, p->spfs, &p->row.spf_count); break;
    case RECORD: end_record(p); break;
    case POLICY: end_policy(p); break;
    case RANGE: end_range(p); break;
    case FEEDBACK: /* what stands behind the report is nobody's */
        p->done = true;
        (void)XML_StopParser(p->expat, XML_FALSE);
        break;
    default: break;
    }
    if (p->report->held_octets > p->limits.held_octets)
        refuse(p, "what it says takes more than %llu octets of memory", (unsigned long long)p->limits.held_octets);
}

static void refuse_long(struct dmarc_report_parser *p)
{
    refuse(p, "a tag or a comment is longer than %u octets", DMARC_REPORT_TOKEN_OCTETS_MAX);
}

static void check_came(struct dmarc_report_parser *p)
{
    if (XML_GetCurrentByteCount(p->expat) > (int)DMARC_REPORT_TOKEN_OCTETS_MAX)
        refuse_long(p);
}

static void on_tag(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    check_came(arg);
    on_start(arg, name, attributes);
}

static void on_comment(void *arg, const XML_Char *text)
{
    (void)text;
    check_came(arg);
}

static void on_instruction(void *arg, const XML_Char *target, const XML_Char *data)
{
    (void)target;
    (void)data;
    check_came(arg);
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    refuse(arg, "it has a DOCTYPE, which no report needs: it is not read");
}

/* ---- the door ---- */

/*
 * A tag or comment that is not at its end was read from its beginning again with each block: without a bound one that
 * is as long as a report may be took minutes. An expat that puts that off (Debian's since deb12u2) does not say
 * where it stands meanwhile: there the length is looked at when it has come.
 */
static void check_token(struct dmarc_report_parser *p)
{
    XML_Index begin = XML_GetCurrentByteIndex(p->expat);

    if (begin >= 0 && p->octets > (uint64_t)begin + DMARC_REPORT_TOKEN_OCTETS_MAX)
        refuse_long(p);
}

static void check_syntax(struct dmarc_report_parser *p, enum XML_Status status)
{
    if (p->error[0] == '\0' && dmarc_report_budget_spent())
        refuse(p, "its XML takes more than %llu octets of memory: too many different names, or too long a tag",
               (unsigned long long)p->limits.parser_octets);
    if (status != XML_STATUS_ERROR || p->done || p->error[0] != '\0')
        return;
    (void)snprintf(p->error, DMARC_REPORT_ERROR_OCTETS, "line %llu: it is no good XML: %s",
                   (unsigned long long)XML_GetCurrentLineNumber(p->expat),
                   XML_ErrorString(XML_GetErrorCode(p->expat)));
}

static bool feed(struct dmarc_report_parser *p, const char *octets, size_t count)
{
    if (count > 0 && !p->begun && octets[0] == '{')
        refuse(p, "it is JSON, as TLS reports are (RFC 8460), and no aggregate report");
    p->begun |= count > 0;
    while (count > 0 && !p->done && p->error[0] == '\0') {
        size_t n = count < PARSE_BLOCK_MAX ? count : PARSE_BLOCK_MAX;
        check_syntax(p, XML_Parse(p->expat, octets, (int)n, 0));
        octets += n;
        count -= n;
        p->octets += n;
        if (!p->done && p->error[0] == '\0')
            check_token(p);
    }
    return !p->done && p->error[0] == '\0';
}

static void check_whole(struct dmarc_report_parser *p)
{
    if (p->error[0] != '\0')
        return;
    if (!p->has_policy)
        refuse(p, "there is no <policy_published>");
    else if (p->begin.len == 0)
        refuse(p, "there is no <date_range>");
    else if (p->report->row_count == 0)
        refuse(p, "there is no <record>");
}

static void parse(struct dmarc_report_parser *p, tern_str octets)
{
    XML_SetUserData(p->expat, p);
    XML_SetElementHandler(p->expat, on_tag, on_end);
    XML_SetCommentHandler(p->expat, on_comment);
    XML_SetProcessingInstructionHandler(p->expat, on_instruction);
    XML_SetCharacterDataHandler(p->expat, on_text);
    XML_SetStartDoctypeDeclHandler(p->expat, on_doctype);
    const char *wrong = dmarc_report_unpack(octets, p->limits.xml_octets, feed, p);
    if (wrong != NULL && p->error[0] == '\0')
        (void)snprintf(p->error, DMARC_REPORT_ERROR_OCTETS, "%s", wrong);
    if (p->error[0] == '\0' && !p->done)
        check_syntax(p, XML_Parse(p->expat, "", 0, 1));
    check_whole(p);
}

static void set_limits(struct dmarc_report_limits *l)
{
    if (l->octets == 0)
        l->octets = DMARC_REPORT_OCTETS_MAX;
    if (l->xml_octets == 0)
        l->xml_octets = DMARC_REPORT_XML_OCTETS_MAX;
    if (l->parser_octets == 0)
        l->parser_octets = DMARC_REPORT_PARSER_OCTETS_MAX;
    if (l->held_octets == 0)
        l->held_octets = DMARC_REPORT_HELD_OCTETS_MAX;
    if (l->rows == 0)
        l->rows = DMARC_REPORT_ROWS_MAX;
    if (l->depth == 0 || l->depth > DMARC_REPORT_DEPTH_MAX)
        l->depth = DMARC_REPORT_DEPTH_MAX;
}

int dmarc_report_read(tern_str octets, const struct dmarc_report_limits *limits, struct dmarc_report **ret,
                      char *error)
{
    static const char separator[] = { SEPARATOR, '\0' };
    struct dmarc_report_parser *p = calloc(1, sizeof(*p));
    int r = -EBADMSG;

    if (p == NULL)
        abort();
    p->error = error;
    error[0] = '\0';
    if (limits != NULL)
        p->limits = *limits;
    set_limits(&p->limits);
    p->expat = XML_ParserCreate_MM(NULL, dmarc_report_budget(p->limits.parser_octets), separator);
    p->report = dmarc_report_new();
    if (octets.len > p->limits.octets)
        (void)snprintf(error, DMARC_REPORT_ERROR_OCTETS, "it has more than %llu octets",
                       (unsigned long long)p->limits.octets);
    else if (p->expat == NULL)
        (void)snprintf(error, DMARC_REPORT_ERROR_OCTETS, "the XML parser has no memory");
    else
        parse(p, octets);
    if (error[0] == '\0') {
        *ret = p->report;
        p->report = NULL;
        r = 0;
    }
    dmarc_report_free(p->report);
    XML_ParserFree(p->expat);
    free(p);
    return r;
}
