/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_log_lines.c - what a line looks like whatever is in it, as text and as JSON; the log file renamed and
 * reopened; decision records by day, bounded by days and by octets.
 */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define DAY_MS UINT64_C(86400000)
#define T0     UINT64_C(1767225600000) /* 2026-01-01 */

static char folder[64] = "/tmp/tern-log-XXXXXX";
static char log_path[128], decisions[128], text[1 << 20];

static void start(enum log_format format, unsigned days, uint64_t octets)
{
    struct log_options o = { .level = LOG_INFO, .format = format, .path = log_path,
                             .decisions_path = decisions, .decisions_octets_max = octets,
                             .decisions_days_max = days };

    CU_ASSERT_EQUAL_FATAL(log_start(&o), 0);
}

static const char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

    text[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        (void)close(fd);
    return text;
}

/* ---- lines ---- */

static const struct {
    const char *name;
    struct slice value;
    const char *as_text, *as_json;
} values[] = {
    { "a word", SLICE("a@b.example"), "k=a@b.example", "\"k\":\"a@b.example\"" },
    { "nothing", SLICE(""), "k=\"\"", "\"k\":\"\"" },
    { "a blank", SLICE("a b"), "k=\"a b\"", "\"k\":\"a b\"" },
    { "quotes and backslashes", SLICE("\"\\"), "k=\"\\\"\\\\\"", "\"k\":\"\\\"\\\\\"" },
    { "an equals sign", SLICE("a=b"), "k=\"a=b\"", "\"k\":\"a=b\"" },
    { "no line of its own", SLICE("x\r\n2026 forged"), "k=\"x\\x0d\\x0a2026 forged\"",
      "\"k\":\"x\\u000d\\u000a2026 forged\"" },
    { "a NUL hides nothing", SLICE("a\0b"), "k=\"a\\x00b\"", "\"k\":\"a\\u0000b\"" },
    { "an escape sequence", SLICE("\033[2J\x7f"), "k=\"\\x1b[2J\\x7f\"", "\"k\":\"\\u001b[2J" },
    { "C1: CSI steers a terminal, too, and NEL ends a line", SLICE("\xc2\x9b" "2J\xc2\x85x"),
      "k=\"\\xc2\\x9b2J\\xc2\\x85x\"", "\"k\":\"\\u009b2J\\u0085x\"" },
    { "what ends a line for some", SLICE("a\xe2\x80\xa8" "b\xe2\x80\xa9"), "k=\"a\\xe2\\x80\\xa8b\\xe2\\x80\\xa9\"",
      "\"k\":\"a\\u2028b\\u2029\"" },
    { "no UTF-8", SLICE("a\xff\xc3"), "k=\"a\\xff\\xc3\"", "\"k\":\"a\xef\xbf\xbd\xef\xbf\xbd\"" },
    { "UTF-8 stays", SLICE("\xc3\xa4"), "k=\"\xc3\xa4\"", "\"k\":\"\xc3\xa4\"" },
};

static void write_values(void)
{
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct log_line l;
        log_begin(&l, LOG_INFO, LOG_EV_start, "ID");
        log_str(&l, "k", values[i].value);
        log_uint(&l, "n", UINT64_MAX);
        log_end(&l);
    }
}

static void check_values(bool json)
{
    const char *all = read_file(log_path);

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        const char *end = strchr(all, '\n'), *want = json ? values[i].as_json : values[i].as_text;
        CU_ASSERT_PTR_NOT_NULL_FATAL(end);
        CLEANUP_BUF struct buf line = BUF_INIT;
        buf_add(&line, slice_make(all, (size_t)(end - all)));
        buf_add_char(&line, '\0');
        if (strstr(line.data, want) == NULL)
            fprintf(stderr, "  %s: %s\n", values[i].name, line.data);
        CU_ASSERT_PTR_NOT_NULL(strstr(line.data, want));
        CU_ASSERT_PTR_NOT_NULL(strstr(line.data, json ? ",\"n\":18446744073709551615}" : " n=18446744073709551615"));
        CU_ASSERT_PTR_NOT_NULL(strstr(line.data, json ? "\"level\":\"info\",\"id\":\"ID\",\"event\":\"start\"" :
                                                        "Z info ID start k="));
        all = end + 1;
    }
    CU_ASSERT_STRING_EQUAL(all, ""); /* a line a value, no more */
}

static void test_text(void)
{
    start(LOG_TEXT, 1, 1);
    write_values();
    log_stop();
    check_values(false);
    (void)unlink(log_path);
}

static void test_json(void)
{
    start(LOG_JSON, 1, 1);
    write_values();
    log_stop();
    check_values(true);
    (void)unlink(log_path);
}

/* A line is bounded whatever is put into it, and stays a line of its format. */
static void test_long(void)
{
    static char big[100000];

    for (int json = 0; json < 2; json++) {
        for (int fill = 0; fill < 2; fill++) {
            struct log_line l;

            memset(big, fill ? '\001' : 'x', sizeof(big));
            start(json ? LOG_JSON : LOG_TEXT, 1, 1);
            log_begin(&l, LOG_INFO, LOG_EV_start, NULL);
            for (unsigned i = 0; i < 100; i++)
                log_str(&l, "k", slice_make(big, sizeof(big)));
            log_end(&l);
            log_stop();
            const char *line = read_file(log_path);
            size_t len = strlen(line);
            CU_ASSERT_TRUE(len > 100 && len < LOG_LINE_OCTETS_MAX + 100);
            CU_ASSERT_EQUAL(strchr(line, '\n'), line + len - 1);
            if (json)
                CU_ASSERT_EQUAL(line[len - 2], '}');
            (void)unlink(log_path);
        }
    }
}

static void test_level(void)
{
    struct log_line l;

    start(LOG_TEXT, 1, 1);
    log_set_level(LOG_WARNING);
    log_begin(&l, LOG_INFO, LOG_EV_start, NULL);
    CU_ASSERT_TRUE(l.off);
    log_cstr(&l, "k", "v");
    log_textf(&l, "k", "%d", 1);
    log_end(&l);
    log_event(LOG_WARNING, LOG_EV_start, NULL, "seen %d", 1);
    log_stop();
    CU_ASSERT_PTR_NOT_NULL(strstr(read_file(log_path), " warning - start text=\"seen 1\"\n"));
    CU_ASSERT_EQUAL(strchr(text, '\n'), text + strlen(text) - 1);
    (void)unlink(log_path);
    log_set_level(LOG_INFO);
}

/* ---- the file ---- */

static bool wait_for_line(const char *path, const char *what)
{
    for (unsigned i = 0; i < 6000; i++) { /* a minute */
        if (strstr(read_file(path), what) != NULL)
            return true;
        (void)usleep(10000);
    }
    return false;
}

static void test_reopen(void)
{
    char old[160];

    (void)snprintf(old, sizeof(old), "%s.1", log_path);
    start(LOG_TEXT, 1, 1);
    log_event(LOG_INFO, LOG_EV_start, NULL, "first");
    CU_ASSERT_TRUE(wait_for_line(log_path, "text=first"));
    CU_ASSERT_EQUAL(rename(log_path, old), 0);
    log_reopen();
    log_event(LOG_INFO, LOG_EV_start, NULL, "second");
    log_stop();
    CU_ASSERT_PTR_NOT_NULL(strstr(read_file(log_path), "text=second"));
    CU_ASSERT_PTR_NULL(strstr(text, "first"));
    CU_ASSERT_PTR_NOT_NULL(strstr(read_file(old), "text=first"));
    (void)unlink(old);
    (void)unlink(log_path);
}

static void *write_many(void *arg)
{
    for (unsigned i = 0; i < 500; i++)
        log_event(LOG_INFO, LOG_EV_start, arg, "line %u", i);
    return NULL;
}

static void test_threads(void)
{
    static char names[4][2] = { "a", "b", "c", "d" };
    pthread_t t[4];
    unsigned lines = 0;

    start(LOG_TEXT, 1, 1);
    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, write_many, names[i]), 0);
    for (unsigned i = 0; i < 4; i++)
        (void)pthread_join(t[i], NULL);
    log_stop();
    for (const char *at = strchr(read_file(log_path), '\n'); at != NULL; at = strchr(at + 1, '\n'))
        lines++;
    CU_ASSERT_EQUAL(lines, 2000);
    CU_ASSERT_EQUAL(log_dropped(), 0);
    (void)unlink(log_path);
}

/* ---- decision records ---- */

static void decide(uint64_t wall_ms, const char *what)
{
    struct buf json = BUF_INIT;

    buf_printf(&json, "{\"x\":\"%s\"}", what);
    log_decision(wall_ms, &json);
    CU_ASSERT_PTR_NULL(json.data); /* taken over */
}

static const char *day_path(const char *day)
{
    static char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s.jsonl", decisions, day);
    return path;
}

static unsigned count_days(void)
{
    DIR *dir = opendir(decisions);
    unsigned n = 0;

    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir))
        n += strstr(e->d_name, ".jsonl") != NULL;
    if (dir != NULL)
        (void)closedir(dir);
    return n;
}

static void clear(void)
{
    char command[256];

    (void)snprintf(command, sizeof(command), "rm -rf %s %s", decisions, log_path);
    CU_ASSERT_EQUAL(system(command), 0);
}

/* Records of both sides of midnight in one batch: each in the file of its day, nobody else may read them. */
static void test_midnight(void)
{
    struct stat st;

    start(LOG_TEXT, 30, 1 << 20);
    decide(T0 + DAY_MS - 2, "one");
    decide(T0 + DAY_MS - 1, "two");
    decide(T0 + DAY_MS, "three");
    log_stop();
    CU_ASSERT_STRING_EQUAL(read_file(day_path("2026-01-01")), "{\"x\":\"one\"}\n{\"x\":\"two\"}\n");
    CU_ASSERT_STRING_EQUAL(read_file(day_path("2026-01-02")), "{\"x\":\"three\"}\n");
    CU_ASSERT_EQUAL(stat(day_path("2026-01-01"), &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
    CU_ASSERT_EQUAL(stat(decisions, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0700);
    clear();
}

/* Three days are kept: by the calendar, not by the number of files. */
static void test_days(void)
{
    start(LOG_TEXT, 3, 1 << 20);
    for (unsigned day = 0; day < 10; day++)
        decide(T0 + day * DAY_MS, "x");
    log_stop();
    CU_ASSERT_EQUAL(count_days(), 3);
    CU_ASSERT_EQUAL(access(day_path("2026-01-08"), F_OK), 0);
    CU_ASSERT_NOT_EQUAL(access(day_path("2026-01-07"), F_OK), 0);
    start(LOG_TEXT, 3, 1 << 20);
    decide(T0 + 11 * DAY_MS, "x"); /* nothing on the 11th */
    log_stop();
    CU_ASSERT_EQUAL(count_days(), 2); /* the 10th and the 12th */
    CU_ASSERT_EQUAL(access(day_path("2026-01-10"), F_OK), 0);
    clear();
}

/* The oldest day goes first, the present one never; what is not a day's file is left alone. */
static void test_octets(void)
{
    char big[400];
    char other[256];

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    (void)mkdir(decisions, 0700);
    (void)snprintf(other, sizeof(other), "%s/notes.txt", decisions);
    (void)close(open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    start(LOG_TEXT, 3650, 1000);
    for (unsigned day = 0; day < 5; day++)
        decide(T0 + day * DAY_MS, big);
    log_stop();
    /* Looked at when a day begins: two full ones beside it are below 1000 octets. */
    CU_ASSERT_EQUAL(count_days(), 3);
    CU_ASSERT_EQUAL(access(day_path("2026-01-05"), F_OK), 0);
    CU_ASSERT_NOT_EQUAL(access(day_path("2026-01-02"), F_OK), 0);
    CU_ASSERT_EQUAL(access(other, F_OK), 0);
    start(LOG_TEXT, 3650, 1);
    decide(T0 + 5 * DAY_MS, "y");
    log_stop();
    CU_ASSERT_EQUAL(count_days(), 1);
    CU_ASSERT_STRING_EQUAL(read_file(day_path("2026-01-06")), "{\"x\":\"y\"}\n");
    clear();
}

static void test_no_decisions(void)
{
    struct log_options o = { .level = LOG_INFO, .path = log_path };

    CU_ASSERT_EQUAL_FATAL(log_start(&o), 0);
    decide(T0, "nobody keeps it");
    log_stop();
    CU_ASSERT_EQUAL(count_days(), 0);
    o.path = "/nonexistent/log";
    CU_ASSERT_TRUE(log_start(&o) < 0);
    (void)unlink(log_path);
}

int main(void)
{
    if (mkdtemp(folder) == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    (void)snprintf(log_path, sizeof(log_path), "%s/log", folder);
    (void)snprintf(decisions, sizeof(decisions), "%s/decisions", folder);
    CU_pSuite suite = CU_add_suite("log", NULL, NULL);
    CU_add_test(suite, "values as text", test_text);
    CU_add_test(suite, "values as JSON", test_json);
    CU_add_test(suite, "long values", test_long);
    CU_add_test(suite, "levels", test_level);
    CU_add_test(suite, "renamed and reopened", test_reopen);
    CU_add_test(suite, "four threads", test_threads);
    CU_add_test(suite, "decisions around midnight", test_midnight);
    CU_add_test(suite, "days of decisions", test_days);
    CU_add_test(suite, "octets of decisions", test_octets);
    CU_add_test(suite, "no decisions, no file", test_no_decisions);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) != 0 || failed != 0;
}
