/* SPDX-License-Identifier: Apache-2.0 */
#include "milter/macros.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char *const names[MILTER_MACRO_COUNT] = {
    [MILTER_MACRO_j] = "j", [MILTER_MACRO_v] = "v", [MILTER_MACRO_i] = "i",
    [MILTER_MACRO_daemon_name] = "daemon_name", [MILTER_MACRO_daemon_addr] = "daemon_addr",
    [MILTER_MACRO_if_addr] = "if_addr", [MILTER_MACRO_client_addr] = "client_addr",
    [MILTER_MACRO_client_resolve] = "client_resolve", [MILTER_MACRO_tls_version] = "tls_version",
    [MILTER_MACRO_cipher] = "cipher", [MILTER_MACRO_cert_subject] = "cert_subject",
    [MILTER_MACRO_auth_authen] = "auth_authen",
};

static void drop(struct milter_macros *m, unsigned i)
{
    free(m->values[i]);
    m->values[i] = NULL;
}

static void set(struct milter_macros *m, unsigned i, char stage, struct slice value)
{
    struct slice kept = slice_head(value, MILTER_MACRO_OCTETS_MAX);
    char *copy = mem_alloc(kept.len + 1);

    if (kept.len > 0)
        memcpy(copy, kept.ptr, kept.len);
    copy[kept.len] = '\0';
    drop(m, i);
    m->values[i] = copy;
    m->stages[i] = stage;
}

/* "{auth_authen}" and "auth_authen" are one. */
static struct slice bare(struct slice name)
{
    if (name.len > 2 && name.ptr[0] == '{' && name.ptr[name.len - 1] == '}')
        return slice_make(name.ptr + 1, name.len - 2);
    return name;
}

bool milter_macros_take(struct milter_macros *m, struct slice data)
{
    struct slice name, value;

    if (data.len < 1)
        return false;
    char stage = data.ptr[0];
    for (unsigned i = 0; i < MILTER_MACRO_COUNT; i++)
        if (m->stages[i] == stage)
            drop(m, i);
    for (struct slice rest = slice_from(data, 1); rest.len > 0;) {
        if (!milter_take_string(&rest, &name) || !milter_take_string(&rest, &value))
            return false;
        for (unsigned i = 0; i < MILTER_MACRO_COUNT; i++)
            if (slice_equal(bare(name), slice_cstr(names[i])))
                set(m, i, stage, value);
    }
    return true;
}

const char *milter_macro(const struct milter_macros *m, enum milter_macro which)
{
    return m->values[which] != NULL ? m->values[which] : "";
}

/* By its version: "8.17.1.9". A login that anybody else tells is not to be changed. */
static bool is_sendmail(const struct milter_macros *m)
{
    return strncmp(milter_macro(m, MILTER_MACRO_v), "8.", 2) == 0;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Not mime/xtext.h: a '=', which may not stand in there, Sendmail leaves as it is. False: a '+' without its digits. */
static bool decode(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        int high = 0, low = 0;
        if (text.ptr[i] == '+') {
            high = i + 2 < text.len ? hex(text.ptr[i + 1]) : -1;
            low = i + 2 < text.len ? hex(text.ptr[i + 2]) : -1;
        }
        if (high < 0 || low < 0)
            return false;
        buf_add_char(out, text.ptr[i] == '+' ? (char)(high << 4 | low) : text.ptr[i]);
        i += text.ptr[i] == '+' ? 2 : 0;
    }
    return true;
}

void milter_macro_name(const struct milter_macros *m, enum milter_macro which, struct buf *out)
{
    struct slice value = slice_cstr(milter_macro(m, which));
    size_t before = out->len;

    if (is_sendmail(m) && decode(value, out))
        return;
    buf_cut(out, before);
    buf_add(out, value);
}

void milter_macros_end_mail(struct milter_macros *m)
{
    for (unsigned i = 0; i < MILTER_MACRO_COUNT; i++)
        if (m->values[i] != NULL && m->stages[i] != 'C' && m->stages[i] != 'H')
            drop(m, i);
}

void milter_macros_clear(struct milter_macros *m)
{
    for (unsigned i = 0; i < MILTER_MACRO_COUNT; i++)
        drop(m, i);
}
