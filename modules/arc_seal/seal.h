/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.h - the fields of a new ARC set. Pure: octets in, octets out. Source: RFC 8617 4.1, 5.1.
 *
 * Tags stand in the order of their names with one blank between them, so that what is signed does not depend on where a
 * line is folded, but in h= and b=.
 */
#ifndef MODULES_ARC_SEAL_SEAL_H
#define MODULES_ARC_SEAL_SEAL_H

#include <tern/module.h>

#include <lib/arc.h>
#include <lib/dkim_write.h>

#define SEAL_OCTETS_MAX 4096 /* of a field but for the names in h= */

struct seal_spec {
    const struct dkim_field *fields; /* of the message */
    size_t field_count;
    const uint8_t *body_hash;      /* relaxed */
    const struct arc_chain *chain; /* that is there; nothing is wrong with it but where cv is FAIL */
    unsigned instance;
    enum arc_cv cv;
    tern_str domain, selector;
    const struct dkim_private *key;
    struct dkim_names names;
    int64_t now_s;
    tern_str results; /* value of the ARC-Authentication-Results field */
    size_t line_max;  /* as of struct dkim_write */
};

/* 0; -ENOMEM; -EIO: OpenSSL did not sign. The values, with NUL, into `out`. `used`: field_count zeroed octets. */
int seal_message(const struct seal_spec *s, uint8_t *used, char *out, size_t room, tern_str *ret);
/* `signature`: the value that seal_message() has made. */
int seal_chain(const struct seal_spec *s, tern_str signature, char *out, size_t room, tern_str *ret);
size_t seal_room(const struct dkim_names *names);

#endif
