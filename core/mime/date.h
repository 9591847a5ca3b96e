/* SPDX-License-Identifier: Apache-2.0 */
/* date.h - dates of RFC 5322 3.3, printed and read. Pure: the zone is the caller's. */
#ifndef TERN_MIME_DATE_H
#define TERN_MIME_DATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define DATE_SIZE 40 /* room for any date and its NUL */

/* "Sat, 21 Nov 2026 21:59:33 +0000" into out[DATE_SIZE]; returns its length. Years 1 to 9999;
 * beyond them the nearest of these. offset_minutes: east of UTC, -1439 to 1439. */
size_t date_print(char *out, int64_t unix_s, int offset_minutes);
/*
 * Any date of RFC 5322 3.3 and 4.3: comments, folding, two-digit years, zone names. False if it
 * is none.
 */
bool date_parse(struct slice text, int64_t *ret_unix_s, int *ret_offset_minutes);

#endif
