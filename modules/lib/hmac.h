/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hmac.h - HMAC-SHA1 (RFC 2104), which the formats of SRS and BATV want. Not for anything new.
 */
#ifndef MODULES_LIB_HMAC_H
#define MODULES_LIB_HMAC_H

#include <tern/module.h>

#define HMAC_SHA1_OCTETS 20

/* Once, from init(): 0, or -ENOSYS if the library has no HMAC. */
int hmac_init(void);
/* The digest of the parts, one behind the other. 0, or a negative errno. Any thread. */
int hmac_sha1(tern_str key, const tern_str *parts, unsigned count, uint8_t ret[HMAC_SHA1_OCTETS]);

#endif
