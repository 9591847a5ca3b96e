/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - rows on their way to the disk: a buffer that loops append to, and a thread that writes it.
 *
 * No loop waits for a disk, and no mail for a report: a row is copied under a lock, and about a second later the thread
 * appends it to the file of its day. A crash loses that second. What has no room, in the buffer or the day's file, is
 * counted and told once.
 */
#ifndef MODULES_DMARC_STORE_H
#define MODULES_DMARC_STORE_H

#include <tern/module.h>

#define STORE_WAITING_OCTETS_MAX (4u << 20) /* rows in memory: a disk that stands still costs no more */
#define STORE_FOLDERS_MAX        16

struct dmarc_reports_conf;
/*
 * Any thread. `lost` counts rows that had no room. With the first row of a day files that are older than `keep` go:
 * where nobody runs `tern dmarc send` the folder stays bounded.
 */
void store_add(const struct tern_api *tern, const struct dmarc_reports_conf *conf, int64_t day, const char *line,
               size_t octets, void *lost);
/* Writes what waits and ends the thread. */
void store_close(void);

#endif
