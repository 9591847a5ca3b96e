/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tag.h - the tag that an envelope sender is signed with: Bounce Address Tag Validation. Pure.
 *
 *     prvs=KDDDSSSSSS=local@domain
 *
 * K is the number of a key, DDD the day when the address expires (days since 1970, modulo 1000), SSSSSS the first three
 * octets, in hex, of HMAC-SHA1 over KDDD and the address without tag.
 *
 * Source: draft-levine-smtp-batv-01, 4 and 5; and Exim's ${prvs}.
 */
#ifndef MODULES_BATV_TAG_H
#define MODULES_BATV_TAG_H

#include <tern/module.h>

#include "../lib/mailbox.h"

#define BATV_SECRETS_MAX  8
#define BATV_DAYS         1000 /* a tag knows the day modulo this */
#define BATV_AGE_DAYS_MAX 300
#define BATV_TAG_OCTETS   16 /* from prvs= to the second = */

enum batv_outcome {
    BATV_OK,
    BATV_FORGED, /* no secret of ours has made it */
    BATV_EXPIRED,
    BATV_FAILED, /* no hash could be made */
};

struct batv_keys {
    tern_str secrets[BATV_SECRETS_MAX]; /* the first signs, all verify */
    unsigned secret_count;
    unsigned number;   /* of the first one, 0 to 9 */
    unsigned age_days; /* from making to expiry */
};

struct batv_tag {
    tern_str day;  /* KDDD */
    tern_str hash; /* SSSSSS */
    tern_str core; /* the local part without the tag */
};

/* Whether that is a tagged local part, whosoever made it; parts point into it. */
bool batv_split(tern_str local, struct batv_tag *ret);
/* Whether local@domain can be tagged: with the tag it is no longer than everybody has to take. */
bool batv_fits(tern_str local, tern_str domain);
/* The address with a tag. `today` is in days since 1970. The caller has asked batv_fits(). BATV_OK or BATV_FAILED. */
enum batv_outcome batv_make(const struct batv_keys *keys, tern_str local, tern_str domain, int64_t today,
                            struct mailbox_text *ret);
enum batv_outcome batv_check(const struct batv_keys *keys, const struct batv_tag *tag, tern_str domain, int64_t today);

#endif
