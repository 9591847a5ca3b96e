/* SPDX-License-Identifier: Apache-2.0 */
/* dkim_message.c - fields and hash of a message. See dkim_message.h. Source: RFC 6376 3.8, 5. */
#include "dkim_message.h"

#include <errno.h>
#include <string.h>

#define READ_OCTETS 16384

int dkim_header_cut(const struct tern_api *api, tern_call *call, bool original, struct dkim_field **ret,
                    tern_str *ret_header)
{
    tern_str header;
    int r = api->header_octets(call, original, &header);

    *ret = NULL;
    if (r < 0)
        return r;
    size_t max = dkim_fields_count(header);
    max = max < DKIM_FIELDS_MAX ? max : DKIM_FIELDS_MAX;
    *ret = api->alloc(call, max * sizeof(**ret));
    if (ret_header != NULL)
        *ret_header = header;
    return dkim_fields_cut(header, *ret, max);
}

static int hash_body(const struct tern_api *api, tern_call *call, bool relaxed, uint8_t out[DKIM_HASH_OCTETS])
{
    struct dkim_body *body = api->alloc(call, sizeof(*body));
    char *buffer = api->alloc(call, READ_OCTETS);
    struct dkim_hash hash;
    uint64_t at = 0;
    int64_t n;

    if (dkim_hash_init(&hash) < 0)
        return -ENOMEM;
    dkim_body_init(body, relaxed, UINT64_MAX, dkim_hash_add, &hash);
    while ((n = api->body_read(call, at, buffer, READ_OCTETS)) > 0) {
        dkim_body_add(body, buffer, (size_t)n);
        at += (uint64_t)n;
    }
    dkim_body_end(body);
    dkim_hash_end(&hash, out);
    return n < 0 ? (int)n : 0;
}

/* What the server looks at ends at 1 MB and 10,000 fields; nobody would find our hash of the rest. NULL: fine. */
static const char *header_trouble(const struct tern_api *api, tern_call *call, const struct dkim_message *m,
                                  size_t header_octets)
{
    uint64_t body = api->body_octets(call);

    if (body > 0 && header_octets + body == api->message_octets(call)) /* no empty line between them */
        return "the header is too long";
    /* RFC 6376 3.8: nobody would take it. */
    return dkim_fields_named(m->fields, m->field_count, "from") == 1 ? NULL : "there is not one From field";
}

int dkim_message_read(const struct tern_api *api, tern_call *call, bool relaxed, struct dkim_message *m)
{
    tern_str header;
    struct dkim_field *fields;
    int r = dkim_header_cut(api, call, false, &fields, &header);

    if (r < 0 && r != -E2BIG) {
        (void)api->fail(call, "the header could not be read: errno %d", -r);
        return r;
    }
    m->fields = fields;
    m->field_count = r < 0 ? 0 : (size_t)r;
    const char *trouble = r < 0 ? "the header has too many fields" : header_trouble(api, call, m, header.len);
    if (trouble != NULL) {
        api->note(call, "not signed", dkim_str(trouble, strlen(trouble)));
        return 1;
    }
    m->now_s = api->now_s(call);
    r = hash_body(api, call, relaxed, m->body_hash);
    if (r < 0)
        (void)api->fail(call, "the body could not be read: errno %d", -r);
    return r;
}
