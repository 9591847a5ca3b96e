/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_syslog.h - the door to syslog(3), apart from log.h: <syslog.h> gives its priorities the
 * names that our levels have.
 *
 * For the logger's thread alone; it may wait for the daemon, which loops must not.
 */
#ifndef TERN_BASE_LOG_SYSLOG_H
#define TERN_BASE_LOG_SYSLOG_H

#include "base/slice.h"

/* By level, as enum log_level counts: error, warning, info, debug. */
int log_syslog_priority(unsigned level);

void log_syslog_open(void);
void log_syslog_close(void);
/* One message without line end. Tests put a recorder here. */
extern void (*log_syslog_send)(int priority, struct slice text);

#endif
