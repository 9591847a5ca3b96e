/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/smtpt_dns.h"

#include <string.h>

#include "base/arena.h"
#include "cli/smtpt.h"

#define ANSWERS_MAX 64 /* records of one answer */

struct row {
    struct slice name;
    unsigned type;
    const char *error; /* "SERVFAIL" ...; NULL: a record */
    struct tern_dns_record record;
};

static struct arena memory;
static struct row rows[SMTPT_DNS_MAX];
static unsigned row_count;
static struct tern_dns_record answer[ANSWERS_MAX];

static const struct {
    const char *name;
    unsigned type;
} types[] = { { "A", TERN_DNS_A },     { "AAAA", TERN_DNS_AAAA }, { "MX", TERN_DNS_MX }, { "TXT", TERN_DNS_TXT },
              { "PTR", TERN_DNS_PTR }, { "CNAME", TERN_DNS_CNAME }, { "NS", TERN_DNS_NS } };

void smtpt_dns_clear(void)
{
    arena_fini(&memory);
    row_count = 0;
}

static const char *error_of(struct slice value)
{
    static const char *const errors[] = { "NXDOMAIN", "NODATA", "SERVFAIL", "TIMEOUT" };

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (slice_equal(value, slice_cstr(errors[i])))
            return i == 3 ? "timeout" : errors[i];
    return NULL;
}

/* A record as a zone file has it, "v=DKIM1; " "p=...": its strings are one text. False: a quote is missing. */
static bool join_strings(struct slice *text)
{
    char *out = arena_alloc(&memory, text->len + 1);
    size_t n = 0;
    bool inside = false;

    for (size_t i = 0; i < text->len; i++) {
        char c = text->ptr[i];
        if (c == '"')
            inside = !inside;
        else if (inside)
            out[n++] = c == '\\' && i + 1 < text->len ? text->ptr[++i] : c;
        else if (c != ' ' && c != '\t')
            return false;
    }
    out[n] = '\0';
    *text = slice_make(out, n);
    return !inside;
}

const char *smtpt_dns_add(struct slice text)
{
    struct row row = { .name = arena_slice(&memory, smtpt_word(&text)) };
    struct slice type = smtpt_word(&text);
    uint64_t preference = 0;

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (slice_equal(type, slice_cstr(types[i].name)))
            row.type = types[i].type;
    if (row.type == 0 || text.len == 0)
        return "expected dns NAME A|AAAA|MX|TXT|PTR|CNAME|NS VALUE, or NXDOMAIN, NODATA, SERVFAIL, TIMEOUT";
    row.error = error_of(text);
    if (row.error == NULL && row.type == TERN_DNS_MX) {
        if (!slice_to_u64(smtpt_word(&text), &preference) || preference > 65535 || text.len == 0)
            return "expected dns NAME MX PREFERENCE HOST";
        if (slice_equal(text, SLICE(".")))
            text.len = 0;
    }
    if (row.type == TERN_DNS_TXT && text.ptr[0] == '"' && !join_strings(&text))
        return "expected the strings of a TXT record, each in quotes, or a text without quotes";
    row.record = (struct tern_dns_record){ .text = { arena_dup(&memory, text), text.len },
                                           .number = (unsigned)preference, .ttl_s = 300 };
    if (row_count == SMTPT_DNS_MAX)
        return "more than 10000 dns lines";
    rows[row_count++] = row;
    return NULL;
}

bool smtpt_dns_stub(void *arg, const char *name, unsigned type, struct tern_dns_answer *ret)
{
    bool known = false;

    (void)arg;
    *ret = (struct tern_dns_answer){ .status = TERN_ABSENT, .error = "NODATA", .records = answer };
    for (unsigned i = 0; i < row_count; i++) {
        if (!slice_equal_nocase(rows[i].name, slice_cstr(name)))
            continue;
        known = true;
        if (rows[i].type != type)
            continue;
        if (rows[i].error != NULL) {
            ret->error = rows[i].error;
            ret->status = strncmp(rows[i].error, "NO", 2) == 0 || strncmp(rows[i].error, "NX", 2) == 0 ? TERN_ABSENT
                                                                                                         : TERN_FAILED;
            return strcmp(rows[i].error, "NXDOMAIN") != 0;
        }
        if (ret->count < ANSWERS_MAX)
            answer[ret->count++] = rows[i].record;
        ret->status = TERN_FOUND;
        ret->error = NULL;
    }
    return known;
}
