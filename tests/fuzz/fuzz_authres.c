/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_authres.c - Authentication-Results: whatever is read is in bounds, and a field made of hostile texts and values
 * is one that our strict reader takes, with lines that fit and no line of somebody else's in it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <lib/authres.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned read_all(struct authres_reader *r)
{
    struct authres_read_result result;
    char out[64];
    size_t len;

    while (authres_next(r, &result)) {
        assert(result.method.len > 0 && result.result.len > 0 && result.count <= AUTHRES_PROPERTIES_MAX);
        assert(result.whole.len >= result.method.len + result.result.len + 1);
        for (unsigned i = 0; i < result.count; i++) {
            assert(result.properties[i].value.len > 0);
            if (authres_unquote(result.properties[i].value, out, sizeof(out), &len))
                assert(len < sizeof(out) && out[len] == '\0');
        }
    }
    assert(r->results <= AUTHRES_RESULTS_MAX);
    return r->results;
}

static void check_lines(const char *value, size_t len)
{
    size_t line = strlen("Authentication-Results: ");

    for (size_t i = 0; i < len; i++, line++) {
        assert(value[i] != '\0');
        if (value[i] == '\r') {
            assert(line <= 998 && i + 3 < len && value[i + 1] == '\n' && value[i + 2] == '\t' &&
                   (unsigned char)value[i + 3] > ' ');
            line = 0;
            i++;
        } else {
            assert(value[i] == '\t' || (unsigned char)value[i] >= ' ');
        }
    }
    assert(line <= 998);
}

static void compose(const tern_str *texts, unsigned count, bool utf8)
{
    static char out[AUTHRES_FIELD_OCTETS_MAX + 1];
    struct authres_field field = {
        .name = TERN_STR("Authentication-Results"), .id = TERN_STR("mx.example"), .texts = texts, .count = count,
        .utf8 = utf8,
    };
    struct authres_reader r;
    unsigned left_out, version;
    tern_str id;

    /* Where it says what it needs it gets no less done. */
    static char exact[AUTHRES_FIELD_OCTETS_MAX + 1];
    unsigned left_out_exact;
    size_t len = authres_compose(&field, out, &left_out);
    field.room = authres_room(&field);
    assert(field.room <= sizeof(exact));
    assert(authres_compose(&field, exact, &left_out_exact) == len && left_out_exact == left_out);
    assert(memcmp(exact, out, len) == 0);
    assert(len <= AUTHRES_FIELD_OCTETS_MAX && out[len] == '\0');
    check_lines(out, len);
    assert(authres_open(&r, (tern_str){ out, len }, true, utf8, &id, &version));
    assert(id.len == field.id.len && memcmp(id.ptr, field.id.ptr, id.len) == 0);
    (void)read_all(&r);
    assert(!r.broken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[4096];
    struct authres_text t = { .at = text, .room = sizeof(text) };
    char *copy = malloc(size + 1);
    struct authres_reader r;
    unsigned version;
    tern_str id;

    memcpy(copy, data, size);
    copy[size] = '\0';
    tern_str input = { copy, size };
    for (unsigned kind = 0; kind < 4; kind++) {
        if (authres_open(&r, input, kind & 1, kind & 2, &id, &version))
            (void)read_all(&r);
        authres_open_text(&r, input, kind & 1, kind & 2);
        (void)read_all(&r);
    }
    text[0] = '\0';
    assert(authres_result(&t, "spf", "fail") && authres_comment(&t, input));
    (void)authres_property(&t, "smtp.helo", input, false);
    (void)authres_mailbox(&t, "smtp.mailfrom", input, TERN_STR("a.example"), false);
    (void)authres_mailbox(&t, "smtp.mailfrom", TERN_STR("a"), input, false);
    tern_str ours = { text, t.len }, both[2] = { input, ours };
    authres_open_text(&r, ours, true, false);
    assert(read_all(&r) == 1 && !r.broken); /* one result, whatever the value */
    compose(both, 2, false);
    compose(both, 2, true);
    free(copy);
    return 0;
}
