/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line an event: `id event key=value ...`.
 *
 *     struct log_line l;
 *     log_begin(&l, LOG_INFO, LOG_EV_accepted, queue_id);
 *     log_str(&l, "from", sender);
 *     log_uint(&l, "size", octets);
 *     log_end(&l);
 *
 * Values are escaped here, not by the caller. Any thread: lines go into a ring that the
 * logger thread writes out; when the ring is full lines are counted and dropped, mail is not.
 * Before log_start() and after log_stop() lines are written to stderr at once.
 */
#ifndef TERN_BASE_LOG_H
#define TERN_BASE_LOG_H

#include <stdint.h>

#include "base/buf.h"
#include "base/log_events.h"
#include "base/slice.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

#define LOG_LINE_OCTETS_MAX 4096

struct log_line {
    enum log_level level;
    bool off; /* below the level: nothing is gathered */
    unsigned len;
    char text[LOG_LINE_OCTETS_MAX];
};

void log_begin(struct log_line *line, enum log_level level, enum log_event event, const char *id);
void log_str(struct log_line *line, const char *key, struct slice value);
void log_cstr(struct log_line *line, const char *key, const char *value);
void log_uint(struct log_line *line, const char *key, uint64_t value);
void log_textf(struct log_line *line, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void log_errno(struct log_line *line, int negative_errno); /* error="No space left on device" */
void log_end(struct log_line *line);

/* The whole line in one call: `text` is one quoted value, text="...". */
void log_event(enum log_level level, enum log_event event, const char *id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

struct log_options {
    enum log_level level;
    enum log_format format;
    const char *path;           /* NULL: stderr. Reopened on log_reopen() */
    bool to_syslog;             /* syslog(3), facility mail; then path is NULL */
    const char *decisions_path; /* folder of decision records, or NULL: none are written */
    uint64_t decisions_octets_max; /* of all days together; the oldest day goes first */
    unsigned decisions_days_max;
};

int log_start(const struct log_options *options); /* starts the logger thread */
/*
 * Whether `fd` is the stream that systemd says it connected to the journal (JOURNAL_STREAM,
 * "device:inode"). Then each line begins with its priority, "<6>" (sd-daemon(3)).
 */
bool log_is_journal(const char *journal_stream, int fd);
void log_set_level(enum log_level level);
void log_reopen(void);
void log_stop(void); /* writes what is left */
uint64_t log_dropped(void);

/*
 * Hands one finished JSON object (without newline) to decisions/<day>, named by the UTC
 * date of wall_ms (YYYY-MM-DD.jsonl). Takes over the memory of `json` and empties it. Any thread.
 */
void log_decision(uint64_t wall_ms, struct buf *json);

#endif
