/* SPDX-License-Identifier: Apache-2.0 */
/* conf_tls.h - `certificates:`, `tls:` and what a listener says of TLS; read by conf.c alone. */
#ifndef TERN_SERVER_CONF_TLS_H
#define TERN_SERVER_CONF_TLS_H

#include "server/conf.h"

extern const struct tern_option conf_certificate_options[];
extern const struct tern_option conf_tls_options[];
extern const char *const conf_tls_modes[]; /* by enum smtp_tls */

/* What one key alone cannot tell: a listener with TLS and nothing to show, and the like. 0 or -EINVAL. */
int conf_tls_check(const struct schema_env *env, const struct yaml_node *root, const struct server_conf *conf);

#endif
