/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_needs.c - whether a message needs what came with it. Many clients say BODY=8BITMIME or SMTPUTF8 with each
 * mail; one that is ASCII throughout, from and to addresses that are, may go to any server (RFC 6152 3, RFC 6531 3.2).
 * It is looked into only where the server does not offer what was said, a piece at a time.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "delivery/client_private.h"

bool client_envelope_is_ascii(const struct client_message *m)
{
    if (!slice_is_ascii(m->sender))
        return false;
    for (unsigned i = 0; i < m->rcpt_count; i++)
        if (!slice_is_ascii(m->rcpts[i].address) || !slice_is_ascii(m->rcpts[i].orcpt))
            return false;
    return true;
}

enum client_look client_look_further(struct client *c)
{
    struct client_transaction *t = &c->t;
    const struct client_message *m = t->message;
    char *piece = mem_alloc(CLIENT_CHUNK);
    enum client_look look = CLIENT_LOOK_MORE;

    for (uint64_t first = t->looked; look == CLIENT_LOOK_MORE && t->looked - first < CLIENT_BURST;) {
        uint64_t left = m->octets - t->looked;
        int64_t n = 0;
        if (left > 0)
            n = m->read(m->arg, t->looked, piece, left < CLIENT_CHUNK ? left : CLIENT_CHUNK);
        if (left == 0)
            look = CLIENT_LOOK_ASCII;
        else if (n <= 0)
            look = CLIENT_LOOK_FAILED;
        else if (!slice_is_ascii(slice_make(piece, (size_t)n)))
            look = CLIENT_LOOK_OTHER;
        t->looked += n > 0 ? (uint64_t)n : 0;
    }
    free(piece);
    return look;
}
