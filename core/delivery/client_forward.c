/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_forward.c - XFORWARD (Postfix's XFORWARD_README): tells a filter, or whoever is behind it, whose the mail is
 * that comes next, for its log. Said before each MAIL, since it holds for one mail only.
 */
#include <string.h>

#include "delivery/client_private.h"

#define VALUE_OCTETS_MAX 255 /* of an attribute, as it is written */
#define UNAVAILABLE      "[UNAVAILABLE]"

static const struct {
    const char *name;
    unsigned bit;
} attributes[] = { { "ADDR", CLIENT_FORWARD_ADDR },
                   { "HELO", CLIENT_FORWARD_HELO },
                   { "SOURCE", CLIENT_FORWARD_SOURCE } };

unsigned client_forward_read(struct slice names)
{
    unsigned bits = 0;

    while (names.len > 0) {
        ptrdiff_t blank = slice_find(names, ' ');
        struct slice name = blank >= 0 ? slice_head(names, (size_t)blank) : names;
        for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
            if (slice_equal_nocase(name, slice_cstr(attributes[i].name)))
                bits |= attributes[i].bit;
        names = slice_trim(slice_from(names, name.len));
    }
    return bits;
}

/* xtext (RFC 3461 4): what a client says of itself ends no command and no attribute. */
static void add_xtext(struct buf *out, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char ch = (unsigned char)value.ptr[i];
        if (ch > ' ' && ch < 0x7f && ch != '+' && ch != '=')
            buf_add_char(out, (char)ch);
        else
            buf_printf(out, "+%02X", ch);
    }
}

static void add(struct buf *out, const char *name, const char *prefix, struct slice value)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    add_xtext(&text, value);
    buf_printf(out, " %s=%s%s", name, text.len > 0 && text.len <= VALUE_OCTETS_MAX ? prefix : "",
               text.len > 0 && text.len <= VALUE_OCTETS_MAX ? text.data : UNAVAILABLE);
}

bool client_forward(struct client *c)
{
    const struct client_message *m = c->t.message;
    unsigned offered = c->features.forward;
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct slice address = m->client_address;
    bool remote = slice_find(address, '.') >= 0 || slice_find(address, ':') >= 0;

    if (!c->forward || offered == 0)
        return false;
    if (!remote) /* Tern's own, or by a unix socket */
        address = SLICE("");
    if ((offered & CLIENT_FORWARD_ADDR) != 0)
        add(&out, "ADDR", slice_find(address, ':') >= 0 ? "IPV6:" : "", address);
    if ((offered & CLIENT_FORWARD_HELO) != 0)
        add(&out, "HELO", "", m->client_helo);
    if ((offered & CLIENT_FORWARD_SOURCE) != 0)
        add(&out, "SOURCE", "", remote ? SLICE("REMOTE") : SLICE("LOCAL"));
    client_expect(c, EXPECT_FORWARD, 0);
    client_command(c, "XFORWARD%s", out.data);
    return true;
}
