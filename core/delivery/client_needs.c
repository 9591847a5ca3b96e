/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_needs.c - whether a message needs what came with it. Many clients say BODY=8BITMIME or SMTPUTF8 with each
 * mail; one that is ASCII throughout, from and to addresses that are, may go to any server (RFC 6152 3, RFC 6531 3.2).
 * One whose headers are ASCII needs 8BITMIME alone (RFC 6531 3.6). It is looked into only where the server does not
 * offer what was said, a piece at a time.
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

static enum client_look what_it_is(const struct client_scan *scan)
{
    return scan->header ? CLIENT_LOOK_OTHER : scan->body ? CLIENT_LOOK_BODY : CLIENT_LOOK_ASCII;
}

enum client_look client_look_further(struct client *c)
{
    struct client_transaction *t = &c->t;
    const struct client_message *m = t->message;
    char *piece = mem_alloc(CLIENT_CHUNK);
    enum client_look look = CLIENT_LOOK_MORE;

    if (t->looked == 0)
        client_scan_begin(&t->scan);
    for (uint64_t first = t->looked; look == CLIENT_LOOK_MORE && t->looked - first < CLIENT_BURST;) {
        uint64_t left = m->octets - t->looked;
        int64_t n = 0;
        if (left > 0)
            n = m->read(m->arg, t->looked, piece, left < CLIENT_CHUNK ? left : CLIENT_CHUNK);
        if (left > 0 && n <= 0) {
            look = CLIENT_LOOK_FAILED;
            break;
        }
        client_scan_add(&t->scan, slice_make(piece, (size_t)n));
        t->looked += (uint64_t)n;
        if (left == 0 || client_scan_is_over(&t->scan))
            look = what_it_is(&t->scan);
    }
    free(piece);
    return look;
}
