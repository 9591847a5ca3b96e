/* SPDX-License-Identifier: Apache-2.0 */
#include "server/another.h"

#include "net/conn.h"

static bool has(const struct smtp_xclient *said, unsigned bit)
{
    return (said->given & bit) != 0;
}

static struct slice address_text(const tern_address *a, struct arena *memory)
{
    char text[NET_ADDRESS_TEXT_MAX];

    if (a->family == 0)
        return SLICE("unknown");
    net_address_print(a, false, text);
    return arena_slice(memory, slice_cstr(text));
}

/* An address that is not named keeps its octets, a port that is not named its number. */
static tern_address merge(tern_address known, tern_address said, bool address, bool port)
{
    tern_address a = address ? said : known;

    a.port = port ? said.port : address ? 0 : known.port;
    return a;
}

void another_client(const struct session_facts *known, bool login, const struct smtp_xclient *said,
                    struct arena *memory, struct engine_client *ret)
{
    bool addr = has(said, SMTP_XATTR_BIT(ADDR));
    bool name = has(said, SMTP_XATTR_BIT(NAME) | SMTP_XATTR_BIT(REVERSE_NAME));

    *ret = (struct engine_client){
        .client = merge(known->client, said->client, addr, has(said, SMTP_XATTR_BIT(PORT))),
        .local = merge(known->local, said->local, has(said, SMTP_XATTR_BIT(DESTADDR)),
                       has(said, SMTP_XATTR_BIT(DESTPORT))),
        .client_text = slice_of(known->client_text),
        .via = slice_of(known->relayed->via),
        .name = name ? said->name : addr ? SLICE("") : slice_of(known->relayed->client_name),
        .name_forged = name ? said->name_forged : known->relayed->client_name_forged,
        .helo = has(said, SMTP_XATTR_BIT(HELO)) ? said->helo : slice_of(known->helo),
        .user = has(said, SMTP_XATTR_BIT(LOGIN)) ? said->login : login ? slice_of(known->user) : SLICE(""),
        .esmtp = has(said, SMTP_XATTR_BIT(PROTO)) ? said->esmtp : known->esmtp,
    };
    if (!addr)
        return;
    ret->client_text = address_text(&ret->client, memory);
    if (known->relayed->via.len == 0)
        ret->via = slice_of(known->client_text);
}

static void add(struct buf *out, const struct smtp_xattrs *x, enum smtp_xattr attr, const char *before,
                const char *behind)
{
    if (x->text[attr].len == 0)
        return;
    buf_add_cstr(out, before);
    buf_add(out, x->text[attr]);
    buf_add_cstr(out, behind);
}

void another_forwarded(const struct smtp_xattrs *x, struct buf *out)
{
    if ((x->given & SMTP_XATTR_BIT(NAME)) != 0 && x->text[SMTP_XATTR_NAME].len + x->text[SMTP_XATTR_ADDR].len == 0)
        buf_add_cstr(out, "unknown");
    add(out, x, SMTP_XATTR_NAME, "", "");
    add(out, x, SMTP_XATTR_ADDR, "[", "]");
    add(out, x, SMTP_XATTR_PORT, ":", "");
    add(out, x, SMTP_XATTR_HELO, " helo=", "");
    add(out, x, SMTP_XATTR_PROTO, " proto=", "");
    add(out, x, SMTP_XATTR_IDENT, " ident=", "");
    add(out, x, SMTP_XATTR_SOURCE, " source=", "");
}
