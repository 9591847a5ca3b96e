/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header_edit.h - a message as steps see and change it: a head that may be edited, a body that
 * may not.
 *
 * A head is immutable and counted; an edit makes a new one and the old stays valid for whoever
 * still looks at it, on any thread. Nothing is parsed before somebody asks: a
 * message that only gets Received on top is never looked into.
 */
#ifndef TERN_MODULE_HEADER_EDIT_H
#define TERN_MODULE_HEADER_EDIT_H

#include <tern/module.h>

#include "base/slice.h"
#include "module/journal.h"
#include "state/body.h"

/* What of a message's start is taken for its header; a field behind it counts as body. */
#define MESSAGE_HEADER_OCTETS_MAX (1u << 20)
#define MESSAGE_FIELDS_MAX        10000

struct message_head;

/*
 * What was done to the header, for who keeps the message and can only be told of edits (a milter's MTA): first what
 * happened to fields that came with it, the last of a name first, so that no change moves another's number; then what
 * goes on top, the lowest first; then what goes to the end.
 */
enum header_change_kind { HEADER_CHANGED, HEADER_REMOVED, HEADER_ON_TOP, HEADER_AT_END };
struct header_change {
    enum header_change_kind kind;
    unsigned nth; /* among the fields of that name as they came, from 0; CHANGED, REMOVED */
    struct slice name, value;
};

/* `received` goes on top. Takes a reference to the body, which is complete. */
struct message_head *message_head_new(struct body *body, struct slice received);
struct message_head *message_head_ref(struct message_head *head);
void message_head_unref(struct message_head *head); /* NULL is allowed */
/* A new head with the journal's header edits, in their order; the same one, counted, if it has
 * none.
 * -EIO and the like if the body cannot be read. Loop thread. */
int message_head_edit(struct message_head *head, const struct journal *journal,
                      struct message_head **ret);
struct body *message_head_body(const struct message_head *head);
/*
 * What goes before the body's octets from *ret_offset on. Prepended fields only: offset 0.
 * Else: the whole
 * header without the empty line, and where that stands in the body.
 */
struct slice message_head_octets(struct message_head *head, uint64_t *ret_offset);
/* *ret in `arena`; it points into the head. Returns how many there are, or -EIO and the like. Loop thread. */
int message_head_changes(struct message_head *head, struct arena *arena, struct header_change **ret);
/* The header octet for octet without the empty line, as it is or as it came. -EIO and the like. Any thread. */
int message_head_header(struct message_head *head, bool original, struct slice *ret);

/* The view of tern/module.h. Any thread. */
unsigned message_head_count(struct message_head *head);
const struct tern_header *message_head_at(struct message_head *head, unsigned index);
const struct tern_header *message_head_find(struct message_head *head, struct slice name,
                                            unsigned nth);
uint64_t message_octets(struct message_head *head);
uint64_t message_body_octets(struct message_head *head);
int64_t message_body_read(struct message_head *head, uint64_t offset, void *buffer, size_t octets);
unsigned message_part_count(struct message_head *head);
const struct tern_part *message_part(struct message_head *head, unsigned index);

#endif
