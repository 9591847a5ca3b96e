/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dmarc_suite.c - DMARC by the vectors of mailauth and mox, and by the public suffix list, from their files
 * (corpora.h).
 *
 * What differs is in `differs`, with the reason; a row there that agrees is an error, too.
 */
#include <CUnit/Basic.h>

#include <ctype.h>
#include <jansson.h>

#include <lib/idn.h>

#include "corpora.h"
#include "dmarc/dmarc.h"
#include "dmarc_zone.h"

static struct dmarc_zone zone;
static struct dmarc_check check;

static const struct {
    const char *name, *why;
} differs[] = {
    { "does not inherit the org policy when the author domain publishes multiple records",
      "RFC 9989 4.10 discards several records of one name and walks on (steps 2 and 3, 4.10.1: no valid record by the first "
      "query); that the search ends there is RFC 7489 6.6.3, and so it is with compat: rfc7489 (below)" },
    { "Should return false for headerFrom array with multiple elements",
      "two addresses of one domain; RFC 9989 5.3.1 counts domains, of which there is one" },
};

static const char *difference(const char *name)
{
    for (size_t i = 0; i < sizeof(differs) / sizeof(differs[0]); i++)
        if (strncmp(name, differs[i].name, strlen(differs[i].name)) == 0)
            return differs[i].why;
    return NULL;
}

static json_t *load(const char *name)
{
    struct buf text = { .data = NULL };
    json_error_t error;

    if (!corpora_read(name, &text))
        return NULL;
    json_t *root = json_loadb(text.data, text.len, 0, &error);
    if (root == NULL)
        fprintf(stderr, "  %s:%d: %s\n", name, error.line, error.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    buf_free(&text);
    return root;
}

/* ---- mailauth: zone and input in, what is expected by paths into its own result ---- */

static void put_zone(const json_t *names)
{
    const char *name, *type;
    json_t *types, *rows, *row;
    size_t i;

    zone.count = 0;
    json_object_foreach((json_t *)names, name, types)
        json_object_foreach(types, type, rows)
            json_array_foreach(rows, i, row) {
                struct dmarc_zone_row *r = &zone.rows[zone.count++];
                const char *text = json_string_value(json_array_get(row, 0));
                CU_ASSERT_TRUE_FATAL(zone.count <= DMARC_ZONE_ROWS_MAX);
                *r = (struct dmarc_zone_row){ .name = dmarc_zone_str(name), .text = dmarc_zone_str(text != NULL ? text : "") };
                r->other = strcmp(type, "TXT") != 0;
            }
}

static const char *domain_of(const json_t *entry)
{
    return json_is_string(entry) ? json_string_value(entry) : json_string_value(json_object_get(entry, "domain"));
}

static void put_identifiers(struct dmarc_input *in, const json_t *list, bool is_dkim)
{
    json_t *entry;
    size_t i;

    json_array_foreach((json_t *)list, i, entry) {
        struct dmarc_identifier *id = &in->identifiers[in->identifier_count++];
        *id = (struct dmarc_identifier){ .domain = dmarc_zone_str(domain_of(entry)), .is_dkim = is_dkim };
    }
}

static void evaluate(const json_t *call, tern_str (*registrable)(void *, tern_str))
{
    json_t *in = json_object_get(call, "input"), *from = json_object_get(in, "headerFrom");
    const char *address = json_string_value(json_is_array(from) ? json_array_get(from, 0) : from);
    struct dmarc_input input = { .author = dmarc_zone_str(strchr(address, '@') + 1), .registrable = registrable };

    put_zone(json_object_get(call, "zone"));
    put_identifiers(&input, json_object_get(in, "spfDomains"), false);
    put_identifiers(&input, json_object_get(in, "dkimDomains"), true);
    (void)dmarc_zone_check(&zone, &check, input);
}

/* The value at that path, in our words; NULL: nothing of ours answers to it. */
static const char *ours(const char *path, char *room, size_t octets)
{
    const struct dmarc_record *r = check.policy_seen != NULL ? &check.policy_seen->record : NULL;
    tern_str value = TERN_STR("");

    if (strcmp(path, "result.status.result") == 0 || strcmp(path, "result2.status.result") == 0)
        value = dmarc_result_name(check.result);
    else if (strcmp(path, "result.policy") == 0)
        return r != NULL ? dmarc_policy_name(check.asked) : "";
    else if (strcmp(path, "result.domain") == 0 || strcmp(path, "result.status.header.d") == 0)
        value = r != NULL ? check.policy_seen->domain : value;
    else if (strcmp(path, "result.status.header.from") == 0)
        value = check.in.author;
    else if (strcmp(path, "result.alignment.dkim.strict") == 0)
        return r != NULL && r->dkim_strict ? "true" : "false";
    else if (strcmp(path, "result.alignment.spf.strict") == 0)
        return r != NULL && r->spf_strict ? "true" : "false";
    else if (strcmp(path, "result.rr") == 0)
        value = r != NULL ? check.policy_seen->text : value;
    else
        return NULL;
    (void)snprintf(room, octets, "%.*s", (int)value.len, value.ptr != NULL ? value.ptr : "");
    return room;
}

static unsigned compared;

static bool agrees(const json_t *expected)
{
    const char *path = json_string_value(json_array_get(expected, 0));
    const char *how = json_string_value(json_array_get(expected, 1));
    const char *wanted = json_string_value(json_array_get(expected, 2));
    char room[512];
    const char *got = ours(path, room, sizeof(room));

    if (strcmp(path, "result") == 0 && strcmp(how, "false") == 0)
        return check.policy_seen == NULL; /* no DMARC at all */
    if (strcmp(how, "not property") == 0 && strcmp(wanted, "policy") == 0)
        return check.policy_seen == NULL;
    if (got == NULL)
        return true; /* its info line, l= of DKIM: not of DMARC; see dialogue/dmarc and dkim_verify */
    compared++;
    if (strcmp(how, "equal") == 0)
        return strcmp(got, wanted) == 0;
    if (strcmp(how, "contain") == 0)
        return strstr(got, wanted) != NULL;
    return strcmp(got, how) == 0; /* "true", "false" */
}

static bool run_case(const json_t *item)
{
    json_t *calls = json_object_get(item, "calls"), *list = json_object_get(item, "expect"), *expected;
    bool good = true;
    size_t i;

    for (size_t n = 0; n < json_array_size(calls); n++) {
        evaluate(json_array_get(calls, n), NULL);
        json_array_foreach(list, i, expected) {
            bool second = strncmp(json_string_value(json_array_get(expected, 0)), "result2", 7) == 0;
            if (second == (n == 1))
                good &= agrees(expected);
        }
    }
    return good;
}

static void run_file(const char *path, size_t count)
{
    json_t *root = load(path), *item;
    size_t i;

    if (root == NULL)
        return;
    CU_ASSERT_EQUAL(json_array_size(root), count);
    compared = 0;
    json_array_foreach(root, i, item) {
        const char *name = json_string_value(json_object_get(item, "name")), *why = difference(name);
        bool good = run_case(item);
        if (good != (why == NULL))
            fprintf(stderr, "  %s: %s, policy %d, asked for %d\n", name, dmarc_result_name(check.result).ptr, check.policy,
                    check.asked);
        CU_ASSERT_EQUAL(good, why == NULL);
    }
    CU_ASSERT_TRUE(compared >= count);
    json_decref(root);
}

static void test_mailauth(void)
{
    run_file("dmarc/vectors/dmarc-verify-test.part.json", 19);
}

static void test_mailauth_rfc9989(void)
{
    run_file("dmarc/vectors/rfc9989-compliance-test.part.json", 12);
}

static tern_str two_labels(void *unused, tern_str domain)
{
    (void)unused;
    return dmarc_suffix(domain, 2);
}

/* What is of RFC 7489 there holds with it. */
static void test_several_records_by_rfc7489(void)
{
    json_t *root = load("dmarc/vectors/rfc9989-compliance-test.part.json"), *item;
    unsigned found = 0;
    size_t i;

    if (root == NULL)
        return;
    json_array_foreach(root, i, item)
        if (strncmp(json_string_value(json_object_get(item, "name")), differs[0].name, strlen(differs[0].name)) == 0) {
            evaluate(json_array_get(json_object_get(item, "calls"), 0), two_labels);
            CU_ASSERT_EQUAL(check.result, DMARC_RESULT_NONE);
            CU_ASSERT_PTR_NULL(check.policy_seen);
            found++;
        }
    CU_ASSERT_EQUAL(found, 1);
    json_decref(root);
}

/* ---- mox: records that it takes or not; we may be more patient, but no bad one has a policy ---- */

static void test_mox(void)
{
    json_t *root = load("dmarc/vectors/mox-dmarc-parse.part.json"), *item;
    unsigned good = 0, bad = 0;
    size_t i;

    if (root == NULL)
        return;
    json_array_foreach(root, i, item) {
        const char *text = json_string_value(json_array_get(json_object_get(item, "args"), 0));
        bool valid = strcmp(json_string_value(json_object_get(item, "case")), "valid") == 0;
        struct dmarc_record r = { .wrong = "no record" };
        if (dmarc_is_record(dmarc_zone_str(text)))
            dmarc_record_parse(dmarc_zone_str(text), &r);
        if ((r.wrong == NULL) != valid)
            fprintf(stderr, "  %s: %s\n", text, r.wrong != NULL ? r.wrong : "taken");
        CU_ASSERT_EQUAL(r.wrong == NULL, valid);
        good += valid;
        bad += !valid;
        if (!valid)
            continue;
        CU_ASSERT_TRUE(r.p == DMARC_REJECT && r.sp == DMARC_NONE && r.dkim_strict && r.spf_strict && r.pct == 0);
    }
    CU_ASSERT_TRUE(good == 1 && bad == 16);
    json_decref(root);
}

/* ---- the public suffix list: the organizational domain below each of its rules ---- */

#ifdef TERN_DMARC_PSL
struct rules {
    char **lines;
    size_t count;
};

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has_rule(const struct rules *rules, const char *format, const char *name)
{
    char text[600], *key = text;

    (void)snprintf(text, sizeof(text), format, name);
    return bsearch(&key, rules->lines, rules->count, sizeof(char *), compare) != NULL;
}

static struct rules read_rules(struct buf *text)
{
    struct rules rules = { .lines = calloc(text->len / 2 + 1, sizeof(char *)) };

    for (char *save = NULL, *line = strtok_r(text->data, "\r\n", &save); line != NULL; line = strtok_r(NULL, "\r\n", &save))
        if (strncmp(line, "//", 2) != 0 && *line != ' ' && *line != '\0')
            rules.lines[rules.count++] = line;
    qsort(rules.lines, rules.count, sizeof(char *), compare);
    return rules;
}

/* `rule` as a name whose public suffix it is, and what stands in front of it there. */
static bool is_right(const struct rules *rules, const char *rule)
{
    char text[700], ascii[IDN_NAME_OCTETS_MAX + 1];
    tern_str name;
    unsigned more = rule[0] == '!' ? 0 : 1; /* labels of the organizational domain beyond the rule's */
    const char *base = rule[0] == '!' ? rule + 1 : strncmp(rule, "*.", 2) == 0 ? rule + 2 : rule;

    if (base == rule + 2 || has_rule(rules, "*.%s", base))
        more = 2; /* the label of "*" */
    (void)snprintf(text, sizeof(text), "un-known.un-known.un-known.%s", base);
    if (!idn_to_ascii(dmarc_zone_str(text), ascii, &name))
        return false;
    tern_str org = dmarc_registrable(NULL, name);
    bool good = dmarc_labels(org) == dmarc_labels(name) - 3 + more && dmarc_name_is_within(name, org);
    if (!good)
        fprintf(stderr, "  %s: %s: %.*s\n", rule, text, (int)org.len, org.ptr);
    return good;
}

static void test_suffixes(void)
{
    char path[1024];
    struct buf text = { .data = NULL };

    if (!corpora_read("dmarc/psl/public_suffix_list.dat", &text))
        return;
    corpora_path(path, sizeof(path), "dmarc/psl/public_suffix_list.dat");
    CU_ASSERT_PTR_NULL_FATAL(dmarc_suffixes_load(path));
    struct rules rules = read_rules(&text);
    CU_ASSERT_TRUE(rules.count > 9000);
    for (size_t i = 0; i < rules.count; i++)
        CU_ASSERT_TRUE(is_right(&rules, rules.lines[i]));
    tern_str suffix = TERN_STR("co.uk"), nobody = TERN_STR("a.b.nobody-knows-it");
    CU_ASSERT_TRUE(dmarc_equal_nocase(dmarc_registrable(NULL, suffix), suffix));
    CU_ASSERT_TRUE(dmarc_equal_nocase(dmarc_registrable(NULL, nobody), TERN_STR("b.nobody-knows-it")));
    free(rules.lines);
    buf_free(&text);
}
#endif

int main(void)
{
    CU_initialize_registry();
    arena_init(&zone.arena);
    CU_pSuite suite = CU_add_suite("dmarc by others", NULL, NULL);
    CU_add_test(suite, "mailauth", test_mailauth);
    CU_add_test(suite, "mailauth on RFC 9989", test_mailauth_rfc9989);
    CU_add_test(suite, "several records by RFC 7489", test_several_records_by_rfc7489);
    CU_add_test(suite, "mox's records", test_mox);
#ifdef TERN_DMARC_PSL
    CU_add_test(suite, "the public suffix list", test_suffixes);
#endif
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    arena_fini(&zone.arena);
    CU_cleanup_registry();
    return failed > 0;
}
