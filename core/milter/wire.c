/* SPDX-License-Identifier: Apache-2.0 */
#include "milter/wire.h"

#include <stdio.h>
#include <string.h>

static const struct {
    char code;
    const char *name;
} commands[MILTER_COMMAND_COUNT] = {
    [MILTER_NEGOTIATE] = { 'O', "negotiate" }, [MILTER_CONNECT] = { 'C', "connect" },
    [MILTER_HELO] = { 'H', "helo" },           [MILTER_MAIL] = { 'M', "mail" },
    [MILTER_RCPT] = { 'R', "rcpt" },           [MILTER_DATA] = { 'T', "data" },
    [MILTER_HEADER] = { 'L', "header" },       [MILTER_EOH] = { 'N', "eoh" },
    [MILTER_BODY] = { 'B', "body" },           [MILTER_END] = { 'E', "eom" },
    [MILTER_ABORT] = { 'A', "abort" },         [MILTER_MACROS] = { 'D', "macros" },
    [MILTER_UNKNOWN] = { 'U', "unknown" },     [MILTER_QUIT] = { 'Q', "quit" },
    [MILTER_QUIT_NEW] = { 'K', "quit-new-connection" },
};

/* Stages of a list of macros: SMFIM_* of libmilter. */
static const struct {
    uint32_t stage;
    const char *macros;
} wanted_macros[] = {
    { 0, "j v _ {daemon_name} {daemon_addr} {if_addr} {client_resolve}" },
    { 1, "{tls_version} {cipher} {cert_subject}" },
    { 2, "i {auth_authen} {auth_type}" },
    { 4, "i" },
    { 5, "i" },
};

static uint32_t u32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

enum milter_parse milter_packet_parse(struct slice octets, struct milter_packet *ret, size_t *ret_octets)
{
    if (octets.len < MILTER_LENGTH_OCTETS)
        return MILTER_PARSE_MORE;
    uint32_t len = u32(octets.ptr);
    if (len == 0)
        return MILTER_PARSE_EMPTY;
    if (len > MILTER_PACKET_OCTETS_MAX)
        return MILTER_PARSE_TOO_LONG;
    if (octets.len - MILTER_LENGTH_OCTETS < len)
        return MILTER_PARSE_MORE;
    ret->code = octets.ptr[MILTER_LENGTH_OCTETS];
    ret->data = slice_make(octets.ptr + MILTER_LENGTH_OCTETS + 1, len - 1);
    ret->command = MILTER_COMMAND_COUNT;
    for (unsigned i = 0; i < MILTER_COMMAND_COUNT; i++)
        if (commands[i].code == ret->code)
            ret->command = (enum milter_command)i;
    *ret_octets = MILTER_LENGTH_OCTETS + len;
    return MILTER_PARSE_DONE;
}

const char *milter_command_name(enum milter_command command)
{
    return command < MILTER_COMMAND_COUNT ? commands[command].name : "no command of the protocol";
}

bool milter_take_u32(struct slice *rest, uint32_t *ret)
{
    if (rest->len < 4)
        return false;
    *ret = u32(rest->ptr);
    *rest = slice_from(*rest, 4);
    return true;
}

bool milter_take_string(struct slice *rest, struct slice *ret)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, '\0', rest->len) : NULL;

    if (end == NULL)
        return false;
    *ret = slice_make(rest->ptr, (size_t)(end - rest->ptr));
    *rest = slice_from(*rest, ret->len + 1);
    return true;
}

bool milter_parse_negotiation(struct slice data, struct milter_negotiation *ret)
{
    struct milter_negotiation n;

    /* What stands behind belongs to a version that we do not know. */
    if (!milter_take_u32(&data, &n.version) || !milter_take_u32(&data, &n.actions) || !milter_take_u32(&data, &n.steps))
        return false;
    *ret = n;
    return true;
}

bool milter_parse_connect(struct slice data, struct milter_connect *ret)
{
    struct milter_connect c = { .address = { "", 0 } };

    if (!milter_take_string(&data, &c.host) || data.len < 1)
        return false;
    c.family = data.ptr[0];
    data = slice_from(data, 1);
    if (c.family == 'U') {
        *ret = c;
        return true;
    }
    if ((c.family != 'L' && c.family != '4' && c.family != '6') || data.len < 2)
        return false;
    c.port = (unsigned)((unsigned char)data.ptr[0] << 8 | (unsigned char)data.ptr[1]);
    data = slice_from(data, 2);
    if (!milter_take_string(&data, &c.address))
        return false;
    *ret = c;
    return true;
}

/* ---- what is sent ---- */

static void add_u32(struct buf *out, uint32_t n)
{
    char octets[4] = { (char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n };

    buf_add(out, slice_make(octets, sizeof(octets)));
}

/* Where the packet begins; its length is known at its end. */
static size_t begin(struct buf *out, char code)
{
    size_t at = out->len;

    add_u32(out, 0);
    buf_add_char(out, code);
    return at;
}

static void end(struct buf *out, size_t at)
{
    uint32_t len = (uint32_t)(out->len - at - MILTER_LENGTH_OCTETS);

    for (unsigned i = 0; i < 4; i++)
        out->data[at + i] = (char)(len >> (24 - 8 * i));
}

/* A string cannot hold its own end. */
static void add_string(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != '\0')
            buf_add_char(out, text.ptr[i]);
    buf_add_char(out, '\0');
}

void milter_put(struct buf *out, char code)
{
    end(out, begin(out, code));
}

void milter_put_reply(struct buf *out, unsigned code, const char *enhanced, struct slice text)
{
    size_t at = begin(out, 'y');

    buf_printf(out, "%03u ", code);
    if (enhanced != NULL && enhanced[0] != '\0')
        buf_printf(out, "%s ", enhanced);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%')
            buf_add_char(out, '%');
        buf_add_char(out, c == '\0' || c == '\r' || c == '\n' ? ' ' : c);
    }
    buf_add_char(out, '\0');
    end(out, at);
}

void milter_put_string(struct buf *out, char code, struct slice text)
{
    size_t at = begin(out, code);

    add_string(out, text);
    end(out, at);
}

void milter_put_rcpt(struct buf *out, struct slice address, struct slice params)
{
    size_t at = begin(out, '2');

    add_string(out, address);
    add_string(out, params);
    end(out, at);
}

void milter_put_header(struct buf *out, char code, uint32_t index, struct slice name, struct slice value, bool leading)
{
    size_t at = begin(out, code);

    if (code != 'h')
        add_u32(out, index);
    add_string(out, name);
    if (leading && value.len > 0)
        buf_add_char(out, ' ');
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] != '\r' && value.ptr[i] != '\0')
            buf_add_char(out, value.ptr[i]);
    buf_add_char(out, '\0');
    end(out, at);
}

void milter_put_negotiation(struct buf *out, const struct milter_negotiation *n, bool macros)
{
    size_t at = begin(out, 'O');

    add_u32(out, n->version);
    add_u32(out, n->actions);
    add_u32(out, n->steps);
    for (size_t i = 0; i < sizeof(wanted_macros) / sizeof(wanted_macros[0]) && macros; i++) {
        add_u32(out, wanted_macros[i].stage);
        add_string(out, slice_cstr(wanted_macros[i].macros));
    }
    end(out, at);
}
