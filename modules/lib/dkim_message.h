/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_message.h - a message as who verifies or signs it needs it: its fields, and at hook sign its hash.
 */
#ifndef MODULES_LIB_DKIM_MESSAGE_H
#define MODULES_LIB_DKIM_MESSAGE_H

#include "dkim.h"

/*
 * The fields of the header, as the client sent it (`original`) or as it goes out, in the call's memory. How many;
 * -E2BIG: more than DKIM_FIELDS_MAX; another negative errno: they cannot be read. *ret_header may be left out: NULL.
 */
int dkim_header_cut(const struct tern_api *api, tern_call *call, bool original, struct dkim_field **ret,
                    tern_str *ret_header);

struct dkim_message {
    const struct dkim_field *fields; /* as it goes out */
    size_t field_count;
    uint8_t body_hash[DKIM_HASH_OCTETS];
    int64_t now_s;
};
/*
 * 0; 1: it is not to be signed, and why is noted; negative: told by fail(). In the call's memory. Pool thread.
 */
int dkim_message_read(const struct tern_api *api, tern_call *call, bool relaxed, struct dkim_message *ret);

#endif
