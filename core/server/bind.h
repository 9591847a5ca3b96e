/* SPDX-License-Identifier: Apache-2.0 */
/* bind.h - where a listener listens: an address with port, or a unix socket, and who may use that. Pure. */
#ifndef TERN_SERVER_BIND_H
#define TERN_SERVER_BIND_H

#include <stdbool.h>

#include <tern/module.h>

#include "base/slice.h"

#define BIND_PATH_OCTETS  108 /* of sun_path, with its NUL */
#define BIND_GROUP_OCTETS 33
#define BIND_TEXT_MAX     (BIND_PATH_OCTETS + 8)

/* Zero where nothing is said: it goes to the supervisor as it is. */
struct bind_address {
    tern_address address; /* family 0: the path */
    char path[BIND_PATH_OCTETS];
    char group[BIND_GROUP_OCTETS]; /* of the socket; empty: that of the worker's user */
    uint32_t mode;
};

/* "192.0.2.1:25", "[::1]:2525", "unix:/run/tern/lmtp". False: it is none of these. */
bool bind_parse(struct slice text, struct bind_address *ret);
/* Whether it can be from bind_parse(): the supervisor believes no worker. */
bool bind_is_sane(const struct bind_address *a);
/* Whether one socket serves both, whatever mode and group. */
bool bind_is_same(const struct bind_address *a, const struct bind_address *b);
void bind_print(const struct bind_address *a, char out[BIND_TEXT_MAX]);
/* "0660" as a number. False: it is no mode of a socket that its owner can use, or lets anybody set it. */
bool bind_parse_mode(struct slice text, uint32_t *ret);

#endif
