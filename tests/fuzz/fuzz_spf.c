/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_spf.c - SPF records, macros, and whole checks whose DNS is the input.
 *
 * Promises: terms lie inside of the record; a name that is asked for is one; a check ends within the questions that
 * RFC 7208 4.6.4 allows; an explanation is printable; whatever is answered, there is one of seven results; and where no
 * text has a macro of the mail's own, another sender of that domain at another time comes to the same.
 *
 * A line of the input is the answer to the next question: TXT and names as they are, addresses and failures by their
 * first octet. The first line is the sender, the second the HELO name.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <spf/check.h>

#define RECORDS_MAX 12
/* Ten terms, ten names each, the names of the client, and the records themselves. */
#define QUESTIONS_MAX ((SPF_TERMS_MAX + 2) * (SPF_MX_MAX + 2) + 2 * SPF_PTR_MAX)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *blocks[2 * QUESTIONS_MAX + 8]; /* of two checks */
static unsigned block_count;

static void *allocate(void *arg, size_t octets)
{
    (void)arg;
    assert(block_count < sizeof(blocks) / sizeof(blocks[0]));
    blocks[block_count] = calloc(1, octets);
    assert(blocks[block_count] != NULL);
    return blocks[block_count++];
}

static tern_str next_line(tern_str *rest)
{
    const char *lf = memchr(rest->ptr, '\n', rest->len);
    size_t len = lf != NULL ? (size_t)(lf - rest->ptr) : rest->len;
    tern_str line = { rest->ptr, len };

    len += lf != NULL;
    *rest = (tern_str){ rest->ptr + len, rest->len - len };
    return line;
}

static void check_record(tern_str text)
{
    struct spf_record record;
    struct spf_term term;
    tern_str rest;

    if (!spf_is_record(text) || spf_record_parse(text, &record) != NULL)
        return;
    for (rest = record.terms; spf_directive_next(&rest, &term);) {
        assert(term.text.ptr >= text.ptr && term.text.ptr + term.text.len <= text.ptr + text.len);
        assert(term.kind < SPF_REDIRECT && term.bits4 <= 128 && term.bits6 <= 128);
        assert(term.spec.len == 0 || spf_domain_spec_is_valid(term.spec));
    }
}

static void check_macros(tern_str text)
{
    struct spf_macros m = { .local = text, .sender_domain = text, .domain = text, .helo = text, .receiver = text,
                            .client_name = text, .client = { .family = text.len % 2 == 0 ? 4 : 6 } };
    char name[SPF_NAME_OCTETS_MAX + 1], room[64];

    if (spf_macro_is_valid(text, true)) {
        struct spf_text out = { .at = room, .room = sizeof(room) };
        spf_macro_expand(text, &m, &out);
        assert(out.len <= sizeof(room));
    }
    if (spf_macro_is_valid(text, true) && spf_macro_uses_local(text))
        assert(spf_macro_is_personal(text));
    if (spf_domain_spec_is_valid(text) && spf_macro_expand_name(text, &m, name))
        assert(address_name_is_valid(spf_str(name, strlen(name))));
}

/* What the input says to the question. */
static struct tern_dns_answer answer(tern_str line, unsigned type, struct tern_dns_record *records)
{
    static const char *const v4[] = { "192.0.2.1", "198.51.100.1", "192.0.2.129", "x" };
    static const char *const v6[] = { "2001:db8::1", "2001:db8:1::1", "::ffff:192.0.2.1", "" };
    struct tern_dns_answer a = { .status = TERN_FOUND, .records = records, .count = 1 };
    unsigned char first = line.len > 0 ? (unsigned char)line.ptr[0] : 0;

    if (first == '!' || first == '-') {
        a.status = first == '!' ? TERN_FAILED : TERN_ABSENT;
        a.count = 0;
    } else if (type == TERN_DNS_A || type == TERN_DNS_AAAA) {
        const char *text = type == TERN_DNS_A ? v4[first % 4] : v6[first % 4];
        records[0].text = spf_str(text, strlen(text));
    } else {
        a.count = 0; /* several of them have a tab between */
        for (const char *at = line.ptr, *end = line.ptr + line.len; a.count < RECORDS_MAX && at <= end;) {
            const char *tab = at < end ? memchr(at, '\t', (size_t)(end - at)) : NULL;
            records[a.count++].text = spf_str(at, (size_t)((tab != NULL ? tab : end) - at));
            at = tab != NULL ? tab + 1 : end + 1;
        }
    }
    return a;
}

static bool is_personal(const struct spf_check *check, const struct tern_dns_answer *a)
{
    bool text = check->asked == SPF_ASKED_RECORD || check->asked == SPF_ASKED_EXPLANATION;

    for (size_t i = 0; text && i < a->count; i++)
        if (spf_macro_is_personal(a->records[i].text))
            return true;
    return false;
}

static void check_same(const struct spf_check *a, const struct spf_check *b)
{
    assert(a->result == b->result && a->reason == b->reason && (a->depth > 0) == (b->depth > 0));
    assert(strcmp(a->where, b->where) == 0 && strcmp(a->explanation, b->explanation) == 0);
    assert(a->mechanism.len == b->mechanism.len);
    assert(a->mechanism.len == 0 || memcmp(a->mechanism.ptr, b->mechanism.ptr, a->mechanism.len) == 0);
}

static void check_host(tern_str input, bool six)
{
    static struct spf_check check, other;
    struct tern_dns_record records[RECORDS_MAX] = { 0 };
    struct spf_input in = { .local = next_line(&input), .helo = next_line(&input), .domain = TERN_STR("x.example"),
                            .sender_domain = TERN_STR("x.example"), .receiver = TERN_STR("mx.test"), .explain = true,
                            .voids_max = SPF_VOIDS_MAX, .alloc = allocate };
    unsigned questions = 0;
    bool personal = false;

    memset(&check, 0, sizeof(check));
    memset(&other, 0, sizeof(other));
    assert(address_parse(six ? TERN_STR("2001:db8::1") : TERN_STR("192.0.2.1"), six ? 6 : 4, &in.client));
    bool more = spf_start(&check, &in);
    in.local = TERN_STR("\303\244 else");
    in.receiver = TERN_STR("else.example");
    in.now_s = 1;
    bool other_more = spf_start(&other, &in);
    while (more) {
        assert(++questions <= QUESTIONS_MAX);
        assert(address_name_is_valid(spf_str(check.name, strlen(check.name))));
        struct tern_dns_answer a = answer(next_line(&input), check.type, records);
        personal = personal || is_personal(&check, &a);
        assert(personal || (other_more && other.type == check.type && strcmp(other.name, check.name) == 0));
        more = spf_answer(&check, &a);
        if (!personal)
            other_more = spf_answer(&other, &a);
    }
    if (!personal)
        check_same(&check, &other);
    assert(check.result < SPF_RESULT_COUNT && check.depth <= SPF_FRAMES_MAX);
    assert((check.reason != NULL) == (check.result == SPF_PERMERROR || check.result == SPF_TEMPERROR));
    assert(check.explanation[0] == '\0' || check.result == SPF_FAIL);
    for (const char *c = check.explanation; *c != '\0'; c++)
        assert(*c >= ' ' && *c <= '~');
    while (block_count > 0)
        free(blocks[--block_count]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_str text = { size > 0 ? (const char *)data : "", size };

    check_record(text);
    check_macros(text);
    check_host(text, false);
    check_host(text, true);
    return 0;
}
