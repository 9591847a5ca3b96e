/* SPDX-License-Identifier: Apache-2.0 */
/* log_syslog.c - facility mail, with the process id, one call a line (RFC 5424 6.2.1). */
#include "base/log_syslog.h"

#include <assert.h>
#include <syslog.h>

int log_syslog_priority(unsigned level)
{
    static const int priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

    assert(level < sizeof(priorities) / sizeof(priorities[0]));
    return priorities[level];
}

void log_syslog_open(void)
{
    openlog("tern", LOG_PID | LOG_NDELAY, LOG_MAIL);
}

void log_syslog_close(void)
{
    closelog();
}

static void send_syslog(int priority, struct slice text)
{
    syslog(priority, "%.*s", (int)text.len, text.ptr);
}

void (*log_syslog_send)(int priority, struct slice text) = send_syslog;
