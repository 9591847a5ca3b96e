/* SPDX-License-Identifier: Apache-2.0 */
/* encrypt.h - which TLS a connection gets, and what follows when it fails. Inside delivery/ only. */
#ifndef TERN_DELIVERY_ENCRYPT_H
#define TERN_DELIVERY_ENCRYPT_H

#include "delivery/internal.h"

/* Fills in what `o` has of TLS. */
void delivery_tls_choose(struct dispatch *d, const struct path *path, const struct endpoint *e,
                         struct client_options *o);
/* A connection ended for TLS's sake. True: once more, in clear. */
bool delivery_tls_failed(struct dispatch *d, const struct path *path, const struct endpoint *e,
                         const char *text);
/* The host takes nothing in clear, or no login: what failed once is forgotten. */
void delivery_tls_wanted(struct dispatch *d, const struct endpoint *e);

#endif
