/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_message.h - the message at hook sign, as who signs it needs it: of dkim_sign and arc_seal.
 */
#ifndef MODULES_LIB_DKIM_MESSAGE_H
#define MODULES_LIB_DKIM_MESSAGE_H

#include "dkim.h"

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
