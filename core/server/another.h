/* SPDX-License-Identifier: Apache-2.0 */
/* another.h - what a trusted client says of another one, XCLIENT and XFORWARD, in the words of engine and log. Pure. */
#ifndef TERN_SERVER_ANOTHER_H
#define TERN_SERVER_ANOTHER_H

#include "base/buf.h"
#include "module/engine.h"
#include "smtp/xclient.h"

/*
 * The client that a session has from now on: what XCLIENT says, and for the rest what is known. `login`: an earlier
 * XCLIENT gave the user that is known; one who logged in himself is gone with his session. Borrows from all, and
 * from `memory`.
 */
void another_client(const struct session_facts *known, bool login, const struct smtp_xclient *said,
                    struct arena *memory, struct engine_client *ret);
/* "name[address]:port helo=... proto=... ident=... source=...", of what there is. */
void another_forwarded(const struct smtp_xattrs *attrs, struct buf *out);

#endif
