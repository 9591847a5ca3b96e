/* SPDX-License-Identifier: Apache-2.0 */
/* proxied.h - connections from the proxies of a listener, up to the header that names the client. Loop thread. */
#ifndef TERN_SERVER_PROXIED_H
#define TERN_SERVER_PROXIED_H

#include "server/serve.h"

/*
 * Takes over descriptor and generation, and calls session_begin() with them once the header is there. False, and
 * takes nothing: limits.sessions is reached.
 */
bool proxied_accept(const struct session_start *start);
/* Those that wait, when the server stops. */
void proxied_drop_all(struct serve_loop *l);

#endif
