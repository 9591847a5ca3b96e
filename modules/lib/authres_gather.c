/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authres_gather.c - the texts that the steps of a call have left. See authres.h. Source: RFC 8601 2.7.4 (auth).
 */
#include <lib/authres.h>

#include <string.h>

#define METHOD_OCTETS_MAX 64
#define AUTH_OCTETS       (3 * AUTHRES_VALUE_OCTETS_MAX)

/* RFC 4954 5: who has logged in; that nobody has is no result. */
static tern_str auth_text(const struct tern_api *tern, tern_call *call, bool show_user)
{
    tern_str user = tern->user(call);

    if (user.len == 0)
        return user;
    struct authres_text t = { .at = tern->alloc(call, AUTH_OCTETS), .room = AUTH_OCTETS };
    if (authres_result(&t, "auth", "pass") && show_user)
        (void)authres_property(&t, "smtp.auth", user, tern->is_smtputf8(call));
    return (tern_str){ t.at, t.len };
}

unsigned authres_gather(const struct tern_api *tern, tern_call *call, const tern_str *methods, unsigned count,
                        bool show_user, tern_str *texts)
{
    static const char end[] = "_detail";
    char name[METHOD_OCTETS_MAX + sizeof(end)];
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++) {
        tern_str text;
        if (authres_is(methods[i], "auth")) {
            text = auth_text(tern, call, show_user);
        } else {
            if (methods[i].len > METHOD_OCTETS_MAX)
                continue;
            memcpy(name, methods[i].ptr, methods[i].len);
            memcpy(name + methods[i].len, end, sizeof(end));
            text = tern->result(call, name);
            if (strcmp(text.ptr, "not_run") == 0)
                continue;
        }
        if (text.len > 0)
            texts[n++] = text;
    }
    return n;
}
