/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_arc_suite.c - the signing suite of ARC from its own file: arc_seal's fields, octet for octet but for blanks.
 *
 * What we have found is what the suite's Authentication-Results fields of that server say, and cv= is their `arc=`.
 */
#include <CUnit/Basic.h>
#include <ctype.h>
#include <yaml.h>

#include <arc_seal/seal.h>
#include <lib/authres.h>

#include "corpora.h"

#define FIELDS_MAX 100
#define ROOM       65536

static unsigned run_count, wrong_count;

static tern_str scalar(yaml_document_t *d, int index)
{
    yaml_node_t *n = yaml_document_get_node(d, index);

    if (n == NULL || n->type != YAML_SCALAR_NODE)
        return TERN_STR("");
    return dkim_str((const char *)n->data.scalar.value, n->data.scalar.length);
}

static yaml_node_t *member(yaml_document_t *d, yaml_node_t *map, const char *key)
{
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++)
        if (strcmp(scalar(d, p->key).ptr, key) == 0)
            return yaml_document_get_node(d, p->value);
    return NULL;
}

static tern_str text_of(yaml_document_t *d, yaml_node_t *map, const char *key)
{
    yaml_node_t *n = member(d, map, key);

    return n != NULL ? dkim_str((const char *)n->data.scalar.value, n->data.scalar.length) : TERN_STR("");
}

/* ---- a case ---- */

static struct {
    struct dkim_field fields[FIELDS_MAX];
    struct arc_set sets[ARC_SETS_MAX];
    struct arc_chain chain;
    struct seal_spec spec;
    tern_str names[FIELDS_MAX], texts[AUTHRES_RESULTS_MAX];
    char name_text[1024], results[AUTHRES_FIELD_OCTETS_MAX + 1], ams[ROOM], seal[ROOM];
    uint8_t body_hash[DKIM_HASH_OCTETS], used[FIELDS_MAX];
    unsigned text_count;
} now;

static void take_results(const struct dkim_field *field, tern_str server)
{
    const char *colon = memchr(field->whole.ptr, ':', field->whole.len);
    tern_str value = { colon + 1, field->whole.len - (size_t)(colon + 1 - field->whole.ptr) - 2 }, id;
    struct authres_reader reader;
    struct authres_read_result result;
    unsigned version;

    if (!authres_open(&reader, value, false, false, &id, &version) || !dkim_equal_nocase(id, server))
        return;
    while (authres_next(&reader, &result)) {
        if (authres_is(result.method, "arc"))
            now.spec.cv = authres_is(result.result, "pass") ? ARC_CV_PASS
                          : authres_is(result.result, "fail") ? ARC_CV_FAIL : ARC_CV_NONE;
        now.texts[now.text_count++] = result.whole;
    }
}

static void read_names(tern_str text)
{
    size_t count = 0;

    (void)snprintf(now.name_text, sizeof(now.name_text), "%.*s", (int)text.len, text.ptr);
    for (char *name = strtok(now.name_text, ":"); name != NULL; name = strtok(NULL, ":"))
        now.names[count++] = dkim_str(name, strlen(name));
    now.spec.names.headers = (struct tern_list){ now.names, count };
}

static void hash_body(tern_str body)
{
    static struct dkim_body canon;
    struct dkim_hash hash;

    CU_ASSERT_EQUAL_FATAL(dkim_hash_init(&hash), 0);
    dkim_body_init(&canon, true, UINT64_MAX, dkim_hash_add, &hash);
    dkim_body_add(&canon, body.ptr, body.len);
    dkim_body_end(&canon);
    dkim_hash_end(&hash, now.body_hash);
}

static void read_message(const struct buf *message, tern_str server)
{
    const char *end = memmem(message->data, message->len, "\r\n\r\n", 4);
    size_t octets = (size_t)(end - message->data) + 2;
    int count = dkim_fields_cut(dkim_str(message->data, octets), now.fields, FIELDS_MAX);

    CU_ASSERT_FATAL(count > 0);
    hash_body(dkim_str(message->data + octets + 2, message->len - octets - 2));
    now.spec.fields = now.fields;
    now.spec.field_count = (size_t)count;
    now.spec.body_hash = now.body_hash;
    for (int i = 0; i < count; i++)
        if (dkim_equal_nocase(now.fields[i].name, TERN_STR("authentication-results")))
            take_results(&now.fields[i], server);
    arc_chain_read(now.fields, (size_t)count, false, now.sets, &now.chain);
    now.spec.chain = &now.chain;
    now.spec.instance = now.chain.count + 1;
}

static void compose_results(tern_str server)
{
    char before[16];
    struct authres_field field = { .name = TERN_STR("ARC-Authentication-Results"), .id = server, .texts = now.texts,
                                   .count = now.text_count };
    unsigned left_out;

    (void)snprintf(before, sizeof(before), "i=%u; ", now.spec.instance);
    field.before = dkim_str(before, strlen(before));
    now.spec.results = dkim_str(now.results, authres_compose(&field, now.results, &left_out));
    CU_ASSERT_EQUAL(left_out, 0);
}

/* Blanks do not count: the suite's file has its lines folded. */
static bool same(const char *what, tern_str got, tern_str wanted)
{
    size_t a = 0, b = 0;

    for (;; a++, b++) {
        while (a < got.len && isspace((unsigned char)got.ptr[a]))
            a++;
        while (b < wanted.len && isspace((unsigned char)wanted.ptr[b]))
            b++;
        if (a == got.len || b == wanted.len || got.ptr[a] != wanted.ptr[b])
            break;
    }
    if (a == got.len && b == wanted.len)
        return true;
    fprintf(stderr, "  %s\n    got    %.*s\n    wanted %.*s\n", what, (int)got.len, got.ptr, (int)wanted.len, wanted.ptr);
    return false;
}

static bool run_case(yaml_document_t *d, yaml_node_t *test)
{
    CLEANUP_BUF struct buf message = BUF_INIT;
    tern_str text = text_of(d, test, "message"), server = text_of(d, test, "srv-id"), ams = TERN_STR(""), seal = ams;
    tern_str wanted = text_of(d, test, "AS");

    corpora_to_crlf((struct slice){ text.ptr, text.len }, &message);
    now.spec.now_s = atoll(text_of(d, test, "t").ptr);
    now.spec.line_max = SIZE_MAX;
    read_names(text_of(d, test, "sig-headers"));
    read_message(&message, server);
    if (now.chain.ended) /* nothing is added to that: see decide() in arc_seal.c */
        return wanted.len < 3;
    compose_results(server);
    CU_ASSERT_EQUAL(seal_message(&now.spec, now.used, now.ams, ROOM, &ams), 0);
    CU_ASSERT_EQUAL(seal_chain(&now.spec, ams, now.seal, ROOM, &seal), 0);
    bool results_are = same("ARC-Authentication-Results", now.spec.results, text_of(d, test, "AAR"));
    bool ams_is = same("ARC-Message-Signature", ams, text_of(d, test, "AMS"));
    return same("ARC-Seal", seal, wanted) && ams_is && results_are;
}

static void run_document(yaml_document_t *d)
{
    yaml_node_t *root = yaml_document_get_root_node(d), *tests = member(d, root, "tests");
    struct dkim_private *key = NULL;

    CU_ASSERT_PTR_NULL_FATAL(dkim_private_parse(text_of(d, root, "privatekey"), &key));
    for (yaml_node_pair_t *p = tests->data.mapping.pairs.start; p < tests->data.mapping.pairs.top; p++) {
        memset(&now, 0, sizeof(now));
        now.spec.key = key;
        now.spec.domain = text_of(d, root, "domain");
        now.spec.selector = text_of(d, root, "sel");
        run_count++;
        if (run_case(d, yaml_document_get_node(d, p->value)))
            continue;
        wrong_count++;
        fprintf(stderr, "  in %s\n", scalar(d, p->key).ptr);
    }
    dkim_private_unref(key);
}

static void test_signing(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    yaml_parser_t parser;
    yaml_document_t document;
    bool more = true;

    if (!corpora_read("arc/arc-sign.part.yml", &text))
        return;
    (void)yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.len);
    while (more) {
        CU_ASSERT_TRUE_FATAL(yaml_parser_load(&parser, &document));
        more = yaml_document_get_root_node(&document) != NULL;
        if (more)
            run_document(&document);
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    printf("%u cases\n", run_count);
    CU_ASSERT_EQUAL(run_count, 8);
    CU_ASSERT_EQUAL(wrong_count, 0);
}

int main(void)
{
    if (dkim_crypto_init() < 0)
        return 1;
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("arc suite", NULL, NULL);
    CU_add_test(suite, "signing", test_signing);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
