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
