/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - lines are made by the caller's thread, written by the logger's.
 *
 * Not for: rotation of the main log (an external tool renames, SIGHUP reopens).
 */
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/inbox.h"
#include "base/log_syslog.h"
#include "base/mem.h"
#include "base/utf8.h"

#define QUEUED_OCTETS_MAX    (16u << 20)
#define DECISION_PRUNE_EVERY 1000
#define DAY_MS               UINT64_C(86400000)
#define GATHER_NS            2000000 /* how much later than it happened a line may be written */
#define FRAME_OCTETS         64 /* of a line: time, level, what closes it */

struct entry {
    struct list link;
    uint64_t wall_ms;
    bool decision;
    enum log_level level;
    size_t preface; /* time and level, which syslog writes itself */
    size_t len;
    char *text;
};

static struct {
    _Atomic int level;
    _Atomic bool running, reopen;
    _Atomic uint64_t queued, dropped;
    struct log_options options;
    struct inbox inbox;
    pthread_t thread;
    int fd, decision_fd;
    uint64_t decision_day; /* since 1970 */
    unsigned decision_count;
    _Atomic bool journal; /* stderr leads there */
    pthread_once_t journal_once;
} logger = { .level = LOG_INFO, .fd = STDERR_FILENO, .decision_fd = -1,
             .journal_once = PTHREAD_ONCE_INIT };

#define LOG_EVENT_NAME(name, text) #name,
static const char *const event_names[] = { LOG_EVENTS(LOG_EVENT_NAME) };
static const char *const level_names[] = { "error", "warning", "info", "debug" };

/* ---- making a line ---- */

static void put(struct log_line *line, struct slice s)
{
    size_t room = LOG_LINE_OCTETS_MAX - 1 - line->len;
    size_t n = s.len < room ? s.len : room;

    memcpy(line->text + line->len, s.ptr, n);
    line->len += (unsigned)n;
}

void log_begin(struct log_line *line, enum log_level level, enum log_event event, const char *id)
{
    line->level = level;
    line->off = (int)level > atomic_load_explicit(&logger.level, memory_order_relaxed);
    line->len = 0;
    if (line->off)
        return;
    if (logger.options.format == LOG_JSON) {
        put(line, SLICE("\"id\":\""));
        put(line, slice_cstr(id != NULL ? id : "-"));
        put(line, SLICE("\",\"event\":\""));
        put(line, slice_cstr(event_names[event]));
        put(line, SLICE("\""));
        return;
    }
    put(line, slice_cstr(id != NULL ? id : "-"));
    put(line, SLICE(" "));
    put(line, slice_cstr(event_names[event]));
}

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c >= 0x7f)
            return false;
    }
    return s.len > 0;
}

static void put_escaped(struct log_line *line, struct slice s)
{
    static const char hex[] = "0123456789abcdef";

    put(line, SLICE("\""));
    while (s.len > 0 && line->len < LOG_LINE_OCTETS_MAX - 16) {
        unsigned char c = (unsigned char)s.ptr[0];
        char esc[4] = { '\\', 'x', hex[c >> 4], hex[c & 15] };
        size_t len = utf8_shown_len(s);
        if (c == '"' || c == '\\')
            put(line, slice_make((char[]){ '\\', (char)c }, 2));
        else if (len == 0)
            put(line, slice_make(esc, 4));
        else
            put(line, slice_head(s, len));
        s = slice_from(s, len > 0 ? len : 1);
    }
    put(line, SLICE("\""));
}

static void put_value(struct log_line *line, const char *key, struct slice value, bool number)
{
    if (line->off || line->len > LOG_LINE_OCTETS_MAX - 64)
        return;
    if (logger.options.format == LOG_JSON) {
        CLEANUP_BUF struct buf json = BUF_INIT;
        put(line, SLICE(",\""));
        put(line, slice_cstr(key));
        put(line, SLICE("\":"));
        if (number) {
            put(line, value);
            return;
        }
        buf_add_json(&json, slice_head(value, 1024));
        if (json.len < LOG_LINE_OCTETS_MAX - 8 - line->len)
            put(line, buf_slice(&json));
        else
            put(line, SLICE("\"...\""));
        return;
    }
    put(line, SLICE(" "));
    put(line, slice_cstr(key));
    put(line, SLICE("="));
    if (is_plain(value))
        put(line, value);
    else
        put_escaped(line, value);
}

void log_str(struct log_line *line, const char *key, struct slice value)
{
    put_value(line, key, value, false);
}

void log_cstr(struct log_line *line, const char *key, const char *value)
{
    put_value(line, key, slice_cstr(value), false);
}

void log_uint(struct log_line *line, const char *key, uint64_t value)
{
    char text[U64_DIGITS_MAX];

    put_value(line, key, slice_make(text, u64_print(text, value)), true);
}

static void text_value(struct log_line *line, const char *key, const char *format, va_list args)
{
    char text[2048];
    int n = vsnprintf(text, sizeof(text), format, args);

    if (n < 0)
        n = 0;
    put_value(line, key, slice_make(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1),
              false);
}

void log_textf(struct log_line *line, const char *key, const char *format, ...)
{
    va_list args;

    if (line->off)
        return;
    va_start(args, format);
    text_value(line, key, format, args);
    va_end(args);
}

void log_errno(struct log_line *line, int negative_errno)
{
    log_cstr(line, "error", strerror(-negative_errno));
}

void log_event(enum log_level level, enum log_event event, const char *id, const char *format, ...)
{
    struct log_line line;
    va_list args;

    log_begin(&line, level, event, id);
    if (!line.off) {
        va_start(args, format);
        text_value(&line, "text", format, args);
        va_end(args);
    }
    log_end(&line);
}

/* ---- writing it ---- */

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nowhere to tell it */
        data += n;
        len -= (size_t)n;
    }
}

bool log_is_journal(const char *journal_stream, int fd)
{
    struct stat st;
    char own[64];

    if (journal_stream == NULL || fstat(fd, &st) < 0)
        return false;
    (void)snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    return strcmp(own, journal_stream) == 0;
}

static void find_journal(void)
{
    atomic_store(&logger.journal, log_is_journal(getenv("JOURNAL_STREAM"), STDERR_FILENO));
}

/* The line as a stream gets it: to the journal with its priority in front. */
static void add_line(struct buf *out, enum log_level level, struct slice line)
{
    if (logger.fd == STDERR_FILENO && atomic_load(&logger.journal))
        buf_printf(out, "<%d>", log_syslog_priority(level));
    buf_add(out, line);
}

/* Before the logger runs, and in processes that have none. */
static void write_now(enum log_level level, struct slice line)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    add_line(&out, level, line);
    write_all(logger.fd, out.data, out.len);
}

/* Takes over the memory of `text`. */
static void enqueue(struct buf *text, const struct entry *like)
{
    if (!atomic_load(&logger.running)) {
        if (!like->decision)
            write_now(like->level, buf_slice(text));
        buf_free(text);
        return;
    }
    if (atomic_load(&logger.queued) > QUEUED_OCTETS_MAX) {
        atomic_fetch_add(&logger.dropped, 1);
        buf_free(text);
        return;
    }
    struct entry *e = mem_alloc(sizeof(*e));
    *e = *like;
    e->len = text->len;
    e->text = text->data;
    *text = (struct buf)BUF_INIT;
    atomic_fetch_add(&logger.queued, e->len);
    (void)inbox_put(&logger.inbox, &e->link);
}

void log_end(struct log_line *line)
{
    static const struct frame {
        const char *before_time, *before_level, *before_text, *end;
    } plain = { "", " ", " ", "\n" }, object = { "{\"time\":\"", "\",\"level\":\"", "\",", "}\n" };
    bool json = logger.options.format == LOG_JSON;
    const struct frame *f = json ? &object : &plain;
    struct buf out = BUF_INIT;
    char when[CLOCK_TEXT_SIZE];
    uint64_t now = clock_wall_ms();
    size_t preface = 0;

    if (line->off)
        return;
    (void)pthread_once(&logger.journal_once, find_journal);
    clock_print(when, now);
    buf_reserve(&out, line->len + FRAME_OCTETS);
    buf_add_cstr(&out, f->before_time);
    buf_add_cstr(&out, when);
    buf_add_cstr(&out, f->before_level);
    buf_add_cstr(&out, level_names[line->level]);
    buf_add_cstr(&out, f->before_text);
    if (!json)
        preface = out.len;
    buf_add(&out, slice_make(line->text, line->len));
    buf_add_cstr(&out, f->end);
    enqueue(&out, &(struct entry){ .wall_ms = now, .level = line->level, .preface = preface });
}

void log_decision(uint64_t wall_ms, struct buf *json)
{
    if (logger.options.decisions_path == NULL) {
        buf_free(json);
        return;
    }
    buf_add_char(json, '\n');
    enqueue(json, &(struct entry){ .wall_ms = wall_ms, .decision = true });
}

/* ---- decision files: one a day, bounded by days and octets ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_days(int dir_fd, char *names[], size_t max, uint64_t *ret_octets)
{
    DIR *dir = fdopendir(dup(dir_fd));
    size_t n = 0;

    *ret_octets = 0;
    if (dir == NULL)
        return 0;
    rewinddir(dir);
    for (struct dirent *e = readdir(dir); e != NULL && n < max; e = readdir(dir)) {
        struct stat st;
        if (strstr(e->d_name, ".jsonl") == NULL || fstatat(dir_fd, e->d_name, &st, 0) < 0)
            continue;
        *ret_octets += (uint64_t)st.st_size;
        names[n++] = mem_strdup(e->d_name);
    }
    (void)closedir(dir);
    qsort(names, n, sizeof(names[0]), by_name);
    return n;
}

static void format_day(char out[16], uint64_t wall_ms)
{
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm;

    (void)gmtime_r(&s, &tm);
    (void)strftime(out, 16, "%Y-%m-%d", &tm);
}

/* Days by the calendar: a server with little mail has fewer files than days, and promises its users days. */
static void prune_decisions(uint64_t wall_ms)
{
    enum { DAYS_SEEN_MAX = 4096 };
    uint64_t kept_ms = (logger.options.decisions_days_max - 1) * DAY_MS;
    char first[16]; /* the first day that is kept */
    static char *names[DAYS_SEEN_MAX];
    int dir_fd = open(logger.options.decisions_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t octets;

    if (dir_fd < 0)
        return;
    format_day(first, wall_ms > kept_ms ? wall_ms - kept_ms : 0);
    size_t n = list_days(dir_fd, names, DAYS_SEEN_MAX, &octets);
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        bool too_old = strcmp(names[i], first) < 0;
        bool too_much = octets > logger.options.decisions_octets_max;
        if (i + 1 < n && (too_old || too_much) && fstatat(dir_fd, names[i], &st, 0) == 0) {
            (void)unlinkat(dir_fd, names[i], 0);
            octets -= (uint64_t)st.st_size;
        }
        free(names[i]);
    }
    (void)close(dir_fd);
}

static void flush_decisions(struct buf *text)
{
    if (text->len > 0 && logger.decision_fd >= 0)
        write_all(logger.decision_fd, text->data, text->len);
    buf_clear(text);
}

/* `text` holds records of the day that is open. */
static void open_decision_day(uint64_t wall_ms, struct buf *text)
{
    uint64_t day = wall_ms / DAY_MS;
    char name[16];
    char path[4096];

    if (logger.decision_fd >= 0 && day == logger.decision_day)
        return;
    format_day(name, wall_ms);
    flush_decisions(text);
    if (logger.decision_fd >= 0)
        (void)close(logger.decision_fd);
    (void)mkdir(logger.options.decisions_path, 0700);
    (void)snprintf(path, sizeof(path), "%s/%s.jsonl", logger.options.decisions_path, name);
    logger.decision_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    logger.decision_day = day;
    prune_decisions(wall_ms);
}

static void reopen_log(void)
{
    int fd;

    if (logger.options.path == NULL)
        return;
    fd = open(logger.options.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return; /* keep what we have rather than lose the log */
    if (logger.fd != STDERR_FILENO)
        (void)close(logger.fd);
    logger.fd = fd;
}

/* To syslog at once, a message a line; a stream gets all that wait together. */
static void write_line(const struct entry *e, struct buf *stream)
{
    struct slice line = slice_make(e->text, e->len);

    if (!logger.options.to_syslog) {
        add_line(stream, e->level, line);
        return;
    }
    line.len -= 1; /* its end */
    log_syslog_send(log_syslog_priority(e->level), slice_from(line, e->preface));
}

static void write_entries(struct list *entries)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    CLEANUP_BUF struct buf decisions = BUF_INIT;

    for (struct list *link = list_pop(entries); link != NULL; link = list_pop(entries)) {
        struct entry *e = list_entry(link, struct entry, link);
        if (!e->decision) {
            write_line(e, &text);
        } else {
            open_decision_day(e->wall_ms, &decisions);
            buf_add(&decisions, slice_make(e->text, e->len));
            if (++logger.decision_count % DECISION_PRUNE_EVERY == 0)
                prune_decisions(e->wall_ms);
        }
        atomic_fetch_sub(&logger.queued, e->len);
        free(e->text);
        free(e);
    }
    write_all(logger.fd, text.data, text.len);
    flush_decisions(&decisions);
}

/* Lets lines gather: one write for those of some milliseconds, instead of a wake-up for each. */
static void gather(bool busy)
{
    struct timespec linger = { 0, GATHER_NS };

    if (busy && atomic_load(&logger.running))
        (void)nanosleep(&linger, NULL);
}

static void *logger_main(void *arg)
{
    struct list entries;

    (void)arg;
    (void)pthread_setname_np(pthread_self(), "tern-log");
    list_init(&entries);
    for (;;) {
        bool any = inbox_wait(&logger.inbox, &entries, 1000);
        if (atomic_exchange(&logger.reopen, false))
            reopen_log();
        write_entries(&entries);
        gather(any);
        if (!any && !atomic_load(&logger.running))
            return NULL;
    }
}

int log_start(const struct log_options *options)
{
    logger.options = *options;
    logger.options.path = options->path != NULL ? mem_strdup(options->path) : NULL;
    logger.options.decisions_path =
        options->decisions_path != NULL ? mem_strdup(options->decisions_path) : NULL;
    log_set_level(options->level);
    if (options->path != NULL) {
        int fd = open(options->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd < 0)
            return -errno;
        logger.fd = fd;
    }
    if (options->to_syslog)
        log_syslog_open();
    inbox_init(&logger.inbox);
    atomic_store(&logger.running, true);
    int r = pthread_create(&logger.thread, NULL, logger_main, NULL);
    if (r != 0)
        atomic_store(&logger.running, false);
    return -r;
}

void log_set_level(enum log_level level)
{
    atomic_store(&logger.level, (int)level);
}

void log_reopen(void)
{
    atomic_store(&logger.reopen, true);
}

void log_stop(void)
{
    if (!atomic_exchange(&logger.running, false))
        return;
    inbox_close(&logger.inbox);
    (void)pthread_join(logger.thread, NULL);
    inbox_fini(&logger.inbox);
    if (logger.decision_fd >= 0)
        (void)close(logger.decision_fd);
    logger.decision_fd = -1;
    if (logger.options.to_syslog)
        log_syslog_close();
    logger.options.to_syslog = false;
    free((char *)logger.options.path);
    free((char *)logger.options.decisions_path);
    logger.options.path = logger.options.decisions_path = NULL;
}

uint64_t log_dropped(void)
{
    return atomic_load(&logger.dropped);
}
