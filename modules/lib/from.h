/* SPDX-License-Identifier: Apache-2.0 */
/*
 * from.h - the addresses in a From field, and whether a pattern allows one. Pure.
 *
 * Stricter than a reader needs to be: what two programs might read in two ways is no address here, so
 * that nobody sends under a name by writing it oddly.
 */
#ifndef MODULES_LIB_FROM_H
#define MODULES_LIB_FROM_H

#include <stdbool.h>
#include <stddef.h>

#include <tern/module.h>

#define FROM_ADDRESSES_MAX       20 /* of one field */
#define FROM_ADDRESS_OCTETS_MAX  320
#define FROM_COMMENTS_DEEP_MAX   10
#define FROM_PATTERNS_OCTETS_MAX 65536 /* of one user */

/*
 * Calls each() with every address of the field's value (raw, folding kept): local@domain without
 * comments and blanks. False: it is no list of 1 to FROM_ADDRESSES_MAX mailboxes, or each() said false.
 */
bool from_each(tern_str value, bool (*each)(void *arg, tern_str address), void *arg);
/*
 * Whether one of the patterns, with commas or blanks between them, allows the address: an address, or
 * with '*' for any run of characters. Case does not count. '*' does not reach over the last '@'.
 */
bool from_is_allowed(tern_str patterns, tern_str address);

#endif
