/* SPDX-License-Identifier: Apache-2.0 */
#include "local/protocol.h"

#include <errno.h>

#include <lib/variables.h>

#define MAGIC        0x314c4e54u /* "TNL1" */
#define FIXED_COUNT  5
#define OUR_PAM_NAME 64

struct head {
    uint32_t magic, op, flags, timeout_ms, output_max, zero;
    uint64_t octets;
    uint16_t args_count, env_count;
    uint32_t zero_too;
};

/* ---- what makes sense; asked by both sides ---- */

static bool has_control(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f)
            return true;
    return false;
}

/* A program that may be run is no use as a fence if its variables can make it run another. */
static bool are_variables(const struct local_request *r)
{
    for (unsigned i = 0; i < r->env_count; i++) {
        ptrdiff_t name = slice_find(r->env[i], '=');
        if (name < 1 || variable_is_code(r->env[i].ptr, (size_t)name))
            return false;
    }
    return true;
}

/* A service is the name of a file: nothing that leads elsewhere. */
static bool is_service(struct slice s)
{
    if (s.len == 0 || s.len > OUR_PAM_NAME || s.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.ptr[i]);
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

static bool is_maildir(const struct local_request *r)
{
    return r->args_count == 0 && r->env_count == 0 && r->place.len > 0 && !has_control(r->user) && r->name.len > 0 &&
           slice_find(r->name, '/') < 0 && !has_control(r->name) && r->secret.len == 0;
}

static bool is_pipe(const struct local_request *r)
{
    return r->args_count > 0 && r->args[0].len > 1 && r->args[0].ptr[0] == '/' && are_variables(r) &&
           !has_control(r->user) && r->secret.len == 0;
}

static bool is_pam(const struct local_request *r)
{
    return r->args_count == 0 && r->env_count == 0 && is_service(r->place) && r->octets == 0 && r->head.len == 0;
}

static bool is_sound(const struct local_request *r)
{
    if (r->user.len == 0 || r->user.len > LOCAL_USER_OCTETS_MAX || (r->flags & ~LOCAL_FLAGS) != 0 ||
        r->timeout_ms == 0 || r->timeout_ms > LOCAL_TIMEOUT_MS_MAX || r->output_max > LOCAL_OUTPUT_MAX)
        return false;
    switch (r->op) {
    case LOCAL_MAILDIR: return is_maildir(r);
    case LOCAL_PIPE: return is_pipe(r);
    case LOCAL_PAM: return is_pam(r);
    default: return false;
    }
}

/* ---- reading ---- */

static bool take(struct slice *rest, struct slice *ret)
{
    uint16_t len;

    if (rest->len < sizeof(len))
        return false;
    memcpy(&len, rest->ptr, sizeof(len));
    *rest = slice_from(*rest, sizeof(len));
    if (rest->len < (size_t)len + 1 || rest->ptr[len] != '\0' || memchr(rest->ptr, '\0', len) != NULL)
        return false;
    *ret = slice_head(*rest, len);
    *rest = slice_from(*rest, (size_t)len + 1);
    return true;
}

static bool take_all(struct slice *rest, struct local_request *r)
{
    struct slice *fixed[FIXED_COUNT] = { &r->user, &r->place, &r->name, &r->head, &r->secret };
    bool ok = true;

    for (unsigned i = 0; i < FIXED_COUNT && ok; i++)
        ok = take(rest, fixed[i]);
    for (unsigned i = 0; i < r->args_count && ok; i++)
        ok = take(rest, &r->args[i]);
    for (unsigned i = 0; i < r->env_count && ok; i++)
        ok = take(rest, &r->env[i]);
    return ok && rest->len == 0;
}

int local_request_parse(const void *packet, size_t octets, struct local_request *ret)
{
    struct slice rest = { packet, octets };
    struct local_request r = { .op = 0 };
    struct head h;

    if (octets < sizeof(h) || octets > LOCAL_REQUEST_OCTETS_MAX)
        return -EBADMSG;
    memcpy(&h, packet, sizeof(h));
    rest = slice_from(rest, sizeof(h));
    if (h.magic != MAGIC || h.args_count > LOCAL_ARGS_MAX || h.env_count > LOCAL_ENV_MAX || h.zero != 0 ||
        h.zero_too != 0)
        return -EBADMSG;
    r.op = h.op;
    r.flags = h.flags;
    r.timeout_ms = h.timeout_ms;
    r.output_max = h.output_max;
    r.octets = h.octets;
    r.args_count = h.args_count;
    r.env_count = h.env_count;
    if (!take_all(&rest, &r) || !is_sound(&r))
        return -EBADMSG;
    *ret = r;
    return 0;
}

/* ---- writing ---- */

struct out {
    char *data;
    size_t len, size;
    int error;
};

static void put(struct out *o, const void *data, size_t len)
{
    if (o->size - o->len < len) {
        o->error = -EMSGSIZE;
        return;
    }
    if (len > 0)
        memcpy(o->data + o->len, data, len);
    o->len += len;
}

static void put_text(struct out *o, struct slice s)
{
    uint16_t len = (uint16_t)s.len;

    if (s.len > UINT16_MAX)
        o->error = -EMSGSIZE;
    if (s.len > 0 && memchr(s.ptr, '\0', s.len) != NULL)
        o->error = o->error == 0 ? -EINVAL : o->error;
    if (o->error != 0)
        return;
    put(o, &len, sizeof(len));
    put(o, s.ptr, s.len);
    put(o, "", 1);
}

int local_request_put(const struct local_request *r, void *packet, size_t octets)
{
    const struct slice fixed[FIXED_COUNT] = { r->user, r->place, r->name, r->head, r->secret };
    struct out o = { packet, 0, octets < LOCAL_REQUEST_OCTETS_MAX ? octets : LOCAL_REQUEST_OCTETS_MAX, 0 };
    struct head h = { .magic = MAGIC, .op = r->op, .flags = r->flags, .timeout_ms = r->timeout_ms,
                      .output_max = r->output_max, .octets = r->octets, .args_count = (uint16_t)r->args_count,
                      .env_count = (uint16_t)r->env_count };

    if (r->args_count > LOCAL_ARGS_MAX || r->env_count > LOCAL_ENV_MAX || !is_sound(r))
        return -EINVAL;
    put(&o, &h, sizeof(h));
    for (unsigned i = 0; i < FIXED_COUNT; i++)
        put_text(&o, fixed[i]);
    for (unsigned i = 0; i < r->args_count; i++)
        put_text(&o, r->args[i]);
    for (unsigned i = 0; i < r->env_count; i++)
        put_text(&o, r->env[i]);
    return o.error != 0 ? o.error : (int)o.len;
}

void local_answer_clean(struct local_answer *answer)
{
    answer->enhanced[sizeof(answer->enhanced) - 1] = '\0';
    answer->text[sizeof(answer->text) - 1] = '\0';
    for (char *c = answer->text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    if (answer->status < LOCAL_DELIVERED || answer->status > LOCAL_REFUSED)
        answer->status = LOCAL_DEFERRED;
}
