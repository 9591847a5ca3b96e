/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_dmarc.c - DMARC records, URIs, and whole checks whose DNS is the input.
 *
 * Promises: values lie inside of the record; a walk asks eight times at most, and for names that get shorter; a check ends
 * within its questions, and passes only if an identifier is the author's domain or shares an end with it.
 *
 * The first line is the author's domain, the second the identifiers with blanks between them; every other line answers
 * the next question: "!" fails, "-" is absent, else TXT, several with a tab between.
 */
#include <assert.h>
#include <stdlib.h>

#include <dmarc/check.h>

#define RECORDS_MAX 4
#define BLOCKS_MAX  (2 * DMARC_QUESTIONS_MAX + 8)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *blocks[BLOCKS_MAX];
static unsigned block_count;

static void *allocate(void *arg, size_t octets)
{
    (void)arg;
    assert(block_count < BLOCKS_MAX);
    blocks[block_count] = calloc(1, octets);
    assert(blocks[block_count] != NULL);
    return blocks[block_count++];
}

static tern_str next_item(tern_str *rest, char separator)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
    size_t len = end != NULL ? (size_t)(end - rest->ptr) : rest->len;
    tern_str item = { rest->ptr, len };

    len += end != NULL;
    *rest = dmarc_str(rest->ptr + len, rest->len - len);
    return item;
}

static void inside(tern_str part, tern_str whole)
{
    assert(part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

static void check_record(tern_str text)
{
    struct dmarc_record r;
    tern_str rest = text, uri;

    dmarc_record_parse(text, &r);
    inside(r.rua, text);
    inside(r.ruf, text);
    inside(r.fo, text);
    assert(r.p >= DMARC_NONE && r.p <= DMARC_REJECT && r.pct <= 100 && strchr("ynu", r.psd) != NULL);
    assert(r.wrong == NULL || (r.p == DMARC_NONE && r.sp == DMARC_UNSET && r.np == DMARC_UNSET));
    for (rest = r.rua; dmarc_uri_next(&rest, &uri);) {
        inside(uri, text);
        assert(uri.len > 0 && memchr(uri.ptr, ',', uri.len) == NULL && memchr(uri.ptr, '!', uri.len) == NULL);
    }
}

/* What a caller promises of a domain: labels that are not empty. */
static bool is_name(tern_str name)
{
    bool label = false;

    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '.' && !label)
            return false;
        label = name.ptr[i] != '.';
    }
    return label && name.len <= DMARC_NAME_OCTETS_MAX;
}

static void check_walk(tern_str domain)
{
    unsigned count = 0;

    for (tern_str at = domain; at.len > 0; count++) {
        tern_str next = dmarc_walk_next(domain, at);
        assert(next.len < at.len && dmarc_name_is_within(domain, at));
        at = next;
    }
    assert(count <= DMARC_WALK_QUERIES_MAX);
}

static bool answer(struct dmarc_check *check, tern_str line)
{
    struct tern_dns_record records[RECORDS_MAX];
    struct tern_dns_answer a = { .status = TERN_FOUND, .records = records, .error = "NXDOMAIN" };
    char first = line.len > 0 ? line.ptr[0] : '-';

    if (first == '!' || first == '-')
        a.status = first == '!' ? TERN_FAILED : TERN_ABSENT;
    for (; a.status == TERN_FOUND && a.count < RECORDS_MAX && line.len > 0; a.count++)
        records[a.count].text = next_item(&line, '\t');
    return dmarc_answer(check, &a);
}

static void check_result(const struct dmarc_check *check)
{
    bool aligned = false;

    for (unsigned i = 0; i < check->in.identifier_count; i++) {
        const struct dmarc_identifier *id = &check->in.identifiers[i];
        aligned |= id->aligned && !id->unknown;
        assert(!id->aligned || dmarc_name_is_within(id->domain, dmarc_suffix(check->in.author, 1)));
    }
    assert(check->phase == DMARC_PHASE_END && check->seen_count <= DMARC_QUESTIONS_MAX);
    assert(check->result != DMARC_RESULT_PASS || (aligned && check->policy_seen != NULL));
    assert(check->result != DMARC_RESULT_FAIL || (!aligned && check->policy_seen != NULL));
    assert(check->asked <= check->policy);
    assert(check->policy_seen == NULL || dmarc_name_is_within(check->in.author, check->policy_seen->domain));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    tern_str text = { copy, size };

    assert(copy != NULL);
    memcpy(copy, data, size);
    copy[size] = '\0';
    check_record(text);
    struct dmarc_input in = { .alloc = allocate, .author = next_item(&text, '\n') };
    tern_str names = next_item(&text, '\n');
    while (names.len > 0 && in.identifier_count < DMARC_IDENTIFIERS_MAX) {
        tern_str name = next_item(&names, ' ');
        if (is_name(name))
            in.identifiers[in.identifier_count++] = (struct dmarc_identifier){
                .domain = name, .is_dkim = in.identifier_count > 0, .unknown = name.ptr[0] == '?'
            };
    }
    if (is_name(in.author)) {
        struct dmarc_check check = { .phase = DMARC_PHASE_AUTHOR };
        check_walk(in.author);
        for (bool more = dmarc_start(&check, &in); more;)
            more = answer(&check, next_item(&text, '\n'));
        check_result(&check);
    }
    while (block_count > 0)
        free(blocks[--block_count]);
    free(copy);
    return 0;
}
