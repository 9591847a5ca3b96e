/* SPDX-License-Identifier: Apache-2.0 */
/* smtpt_dns.h - the stubbed DNS of `tern test`: what is not said does not exist. Main thread. */
#ifndef TERN_CLI_SMTPT_DNS_H
#define TERN_CLI_SMTPT_DNS_H

#include <tern/module.h>

#include "base/slice.h"

#define SMTPT_DNS_MAX 10000

void smtpt_dns_clear(void);
/* "NAME TYPE VALUE": NULL, or what was expected. VALUE may be NXDOMAIN, NODATA, SERVFAIL or TIMEOUT. */
const char *smtpt_dns_add(struct slice text);
/* For dns_set_stub(). */
bool smtpt_dns_stub(void *arg, const char *name, unsigned type, struct tern_dns_answer *ret);

#endif
