/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.h - the header that a proxy sends ahead of a connection's own octets, to say whose it is:
 * PROXY protocol, versions 1 and 2 ("The PROXY protocol", W. Tarreau, 2020). Pure.
 *
 * Whether such a header must come is known before, from who connects. Nobody guesses here: octets
 * that do not begin one are an error, at the first of them that differs.
 */
#ifndef TERN_NET_PROXY_H
#define TERN_NET_PROXY_H

#include <tern/module.h> /* tern_address */

#include "base/slice.h"

#define PROXY_V1_OCTETS_MAX 107  /* section 2.1, with the CRLF */
#define PROXY_V2_OCTETS_MAX 4096 /* its length field could say 64 KB; a TLV of TLS takes a few hundred */
#define PROXY_OCTETS_MAX    PROXY_V2_OCTETS_MAX

enum proxy_parse { PROXY_MORE, PROXY_DONE, PROXY_BAD };

struct proxy_header {
    size_t octets; /* of the header; what follows is the connection's own */
    /*
     * Whose connection it is. False: the proxy speaks for itself (LOCAL), or for somebody without an IP
     * address (UNKNOWN, UNSPEC, a unix socket); then the connection's own addresses count.
     */
    bool has_addresses;
    tern_address client, local;
};

/* `in`: all that came so far. BAD: *ret_error is a part of a sentence. ret is set with DONE. */
enum proxy_parse proxy_parse(struct slice in, struct proxy_header *ret, const char **ret_error);

#endif
