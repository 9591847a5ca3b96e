/* SPDX-License-Identifier: Apache-2.0 */
/* password_private.h - what the parts of password.h share. */
#ifndef MODULES_LIB_PASSWORD_PRIVATE_H
#define MODULES_LIB_PASSWORD_PRIVATE_H

#include "password.h"

/* Costs and shapes of crypt(3) and argon2 strings: NULL, or what is wrong. Pure. */
const char *password_crypt_trouble(const char *text);
const char *password_argon2_trouble(const char *text);

/* The part behind the prefix `iterations,salt,stored,server` or `iterations:salt$stored:server`. */
int password_scram_parse(tern_str text, struct password_stored *ret, const char **ret_why);
/* StoredKey and ServerKey of a password; false: OpenSSL failed. */
bool password_scram_keys(const struct password_stored *scram, tern_str password, uint8_t *ret_stored,
                         uint8_t *ret_server);

/* Standard base64, padded or not; false if it is none or does not fit. */
bool password_base64(tern_str text, void *out, size_t octets, size_t *ret_len);

#endif
