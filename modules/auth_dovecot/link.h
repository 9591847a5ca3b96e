/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - one connection to an auth server, shared by all exchanges of the process, with a thread of its own.
 *
 * The thread connects when there is something to ask, writes, reads, and wakes the loop of the call that an answer is
 * for; it decides nothing. When the connection ends, or speaks rubbish, all that is under way ends without an
 * answer, and for a moment nothing new is begun. An exchange is held by the link while it may be
 * answered, and by its call until link_end().
 */
#ifndef AUTH_DOVECOT_LINK_H
#define AUTH_DOVECOT_LINK_H

#include <tern/module.h>

#include "protocol.h"

#define LINK_EXCHANGES_MAX 1000 /* under way at once on one connection */
#define LINKS_MAX          100
#define LINK_HANDSHAKE_MS  10000
#define LINK_RETRY_MS      1000 /* from a failure to the next attempt to connect */

struct link;
struct exchange;

enum link_answer {
    LINK_NONE,   /* not yet */
    LINK_YES,    /* text: the user */
    LINK_NO,
    LINK_MORE,   /* text: the challenge */
    LINK_FAILED, /* could not find out; text: why */
};

/* NULL: too many. `tern` stays for ever. Any thread. */
struct link *link_get(const struct tern_api *tern, const char *path);
/* Ends all threads; what is under way is dropped. */
void link_end_all(void);

/*
 * Begins an exchange for `call`, on whose loop `answered` runs for each answer. `parameters` is what stands in the line
 * behind the mechanism: TAB-separated, already safe. response.ptr NULL: none. NULL with a sentence:
 * nothing was begun.
 */
struct exchange *link_begin(struct link *link, tern_call *call, tern_timer_fn answered, const char *mechanism,
                            const char *parameters, tern_str response, const char **ret_why);
/* The answer that woke us; `ret_text` is copied into the call's memory. */
enum link_answer link_take(struct exchange *x, tern_call *call, tern_str *ret_text);
/* The client's answer to a challenge. False: it cannot be sent. */
bool link_continue(struct exchange *x, tern_str response);
/* The call is through with it: cancelled on the server if that still thinks about it. */
void link_end(struct exchange *x);

#endif
