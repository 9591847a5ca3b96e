/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suffix.c - organizational domains by the public suffix list, as RFC 7489 3.2 has it. See dmarc.h.
 *
 * The list is the newer of the one in libpsl and the system's, as it is when a configuration wants it first.
 */
#include "dmarc.h"

#ifdef TERN_DMARC_PSL
#include <libpsl.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static psl_ctx_t *list; /* for as long as the process lives */

const char *dmarc_suffixes_load(const char *file)
{
    (void)pthread_mutex_lock(&lock);
    if (list == NULL)
        list = file != NULL ? psl_load_file(file) : psl_latest(psl_dist_filename());
    bool there = list != NULL;
    (void)pthread_mutex_unlock(&lock);
    return there ? NULL : "needs a public suffix list, and there is none: install publicsuffix";
}

tern_str dmarc_registrable(void *unused, tern_str domain)
{
    char name[DMARC_NAME_OCTETS_MAX + 1];

    (void)unused;
    if (domain.len >= sizeof(name))
        return domain;
    memcpy(name, domain.ptr, domain.len);
    name[domain.len] = '\0';
    const char *found = psl_registrable_domain(list, name);
    return found != NULL ? dmarc_str(domain.ptr + (found - name), domain.len - (size_t)(found - name)) : domain;
}
#else
const char *dmarc_suffixes_load(const char *file)
{
    (void)file;
    return "needs libpsl, and this Tern was built without it (libpsl-dev)";
}

tern_str dmarc_registrable(void *unused, tern_str domain)
{
    (void)unused;
    return domain;
}
#endif
