/* SPDX-License-Identifier: Apache-2.0 */
/* test_log_targets.c - where lines go: syslog a message a line, the journal with priorities, a file plain. */
#include <CUnit/Basic.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_syslog.h"

/* ---- syslog ---- */

#define SENT_MAX 64

static struct {
    int priority;
    char text[LOG_LINE_OCTETS_MAX + 64];
} sent[SENT_MAX];
static unsigned sent_count;

static void record(int priority, struct slice text)
{
    if (sent_count == SENT_MAX)
        abort();
    sent[sent_count].priority = priority;
    (void)snprintf(sent[sent_count].text, sizeof(sent[0].text), "%.*s", (int)text.len, text.ptr);
    sent_count++;
}

static void start_syslog(enum log_format format)
{
    const struct log_options o = { .level = LOG_DEBUG, .format = format, .to_syslog = true };

    sent_count = 0;
    log_syslog_send = record;
    CU_ASSERT_EQUAL(log_start(&o), 0);
}

static void test_syslog(void)
{
    start_syslog(LOG_TEXT);
    log_event(LOG_ERROR, LOG_EV_disk, "id1", "%s", "full");
    log_event(LOG_WARNING, LOG_EV_config, NULL, "%s", "two\nlines %n %s");
    log_event(LOG_INFO, LOG_EV_accepted, "id2", "%s", "ok");
    log_event(LOG_DEBUG, LOG_EV_accepted, "id3", "%s", "x");
    log_stop();
    CU_ASSERT_EQUAL_FATAL(sent_count, 4);
    /* RFC 5424 6.2.1: err 3, warning 4, info 6, debug 7; no time, no level, no line end */
    CU_ASSERT_EQUAL(sent[0].priority, 3);
    CU_ASSERT_STRING_EQUAL(sent[0].text, "id1 disk text=full");
    CU_ASSERT_EQUAL(sent[1].priority, 4);
    CU_ASSERT_STRING_EQUAL(sent[1].text, "- config text=\"two\\x0alines %n %s\"");
    CU_ASSERT_EQUAL(sent[2].priority, 6);
    CU_ASSERT_EQUAL(sent[3].priority, 7);
}

static void test_syslog_json(void)
{
    start_syslog(LOG_JSON);
    log_event(LOG_INFO, LOG_EV_accepted, "id2", "%s", "a\nb");
    log_stop();
    CU_ASSERT_EQUAL_FATAL(sent_count, 1);
    size_t len = strlen(sent[0].text);
    CU_ASSERT_EQUAL(sent[0].text[0], '{');
    CU_ASSERT_TRUE(len > 0 && sent[0].text[len - 1] == '}');
    CU_ASSERT_PTR_NULL(strchr(sent[0].text, '\n'));
    CU_ASSERT_PTR_NOT_NULL(strstr(sent[0].text, "\"id\":\"id2\""));
}

/* The longest line is one message. */
static void test_syslog_long(void)
{
    struct log_line line;
    char value[LOG_LINE_OCTETS_MAX];

    memset(value, 'v', sizeof(value));
    start_syslog(LOG_TEXT);
    log_begin(&line, LOG_INFO, LOG_EV_accepted, "id");
    for (unsigned i = 0; i < 4; i++)
        log_str(&line, "key", slice_make(value, sizeof(value) / 2));
    log_end(&line);
    log_stop();
    CU_ASSERT_EQUAL_FATAL(sent_count, 1);
    CU_ASSERT_TRUE(strlen(sent[0].text) < LOG_LINE_OCTETS_MAX);
    CU_ASSERT_TRUE(strlen(sent[0].text) > LOG_LINE_OCTETS_MAX / 2);
}

/* ---- the journal ---- */

static void stream_name(int fd, char *out, size_t size)
{
    struct stat st = { 0 };

    (void)fstat(fd, &st);
    (void)snprintf(out, size, "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
}

static void test_is_journal(void)
{
    char path[] = "/tmp/tern-log-XXXXXX";
    char name[64];
    int fd = mkstemp(path);

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    stream_name(fd, name, sizeof(name) - 1);
    CU_ASSERT_TRUE(log_is_journal(name, fd));
    CU_ASSERT_FALSE(log_is_journal(NULL, fd));
    CU_ASSERT_FALSE(log_is_journal("", fd));
    CU_ASSERT_FALSE(log_is_journal("1", fd));
    CU_ASSERT_FALSE(log_is_journal("0:0", fd));
    strcat(name, "0");
    CU_ASSERT_FALSE(log_is_journal(name, fd));
    (void)close(fd);
    CU_ASSERT_FALSE(log_is_journal(name, fd));
    (void)unlink(path);
}

static void child(int fd, bool journal, const char *file)
{
    const struct log_options o = { .level = LOG_INFO, .path = file };
    char name[64];

    (void)dup2(fd, STDERR_FILENO);
    stream_name(fd, name, sizeof(name));
    (void)setenv("JOURNAL_STREAM", journal ? name : "1:1", 1);
    log_event(LOG_ERROR, LOG_EV_start, NULL, "before");
    if (log_start(&o) < 0)
        _exit(1);
    log_event(LOG_WARNING, LOG_EV_start, NULL, "running");
    log_event(LOG_INFO, LOG_EV_start, NULL, "running");
    log_stop();
    _exit(0);
}

/* In a process of its own, as standard error is looked at once. */
static void lines_of_child(bool journal, bool to_file, char *out, size_t size)
{
    char path[] = "/tmp/tern-log-XXXXXX", file[64];
    int fd = mkstemp(path);

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    (void)snprintf(file, sizeof(file), "%s.file", path);
    pid_t pid = fork();
    if (pid == 0)
        child(fd, journal, to_file ? file : NULL);
    (void)waitpid(pid, NULL, 0);
    int from = open(to_file ? file : path, O_RDONLY);
    CU_ASSERT_TRUE_FATAL(from >= 0);
    ssize_t n = read(from, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    CU_ASSERT_TRUE(n > 0);
    (void)close(from);
    (void)close(fd);
    (void)unlink(path);
    (void)unlink(file);
}

static void test_priorities_for_the_journal(void)
{
    char text[4096];

    lines_of_child(true, false, text, sizeof(text));
    CU_ASSERT_EQUAL(strncmp(text, "<3>20", 5), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n<4>20"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n<6>20"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " info - start text=running\n"));

    lines_of_child(false, false, text, sizeof(text));
    CU_ASSERT_PTR_NULL(strchr(text, '<'));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " warning - start text=running\n"));

    lines_of_child(true, true, text, sizeof(text)); /* a file is no journal */
    CU_ASSERT_PTR_NULL(strchr(text, '<'));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log targets", NULL, NULL);

    /* first: the process has no thread yet, and has not looked at its standard error */
    CU_add_test(suite, "priorities for the journal", test_priorities_for_the_journal);
    CU_add_test(suite, "is it the journal", test_is_journal);
    CU_add_test(suite, "syslog", test_syslog);
    CU_add_test(suite, "syslog: JSON", test_syslog_json);
    CU_add_test(suite, "syslog: a long line", test_syslog_long);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
