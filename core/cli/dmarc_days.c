/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_days.c - the rows of days that have ended, sorted so that equal ones stand together, and reports of them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/dmarc_send.h"
#include "mime/domain.h"

static int compare(tern_str a, tern_str b)
{
    int r = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

    return r != 0 ? r : (a.len > b.len) - (a.len < b.len);
}

static int by_row(const void *left, const void *right)
{
    const struct dmarc_line *a = left, *b = right;
    int r = compare(a->is.domain, b->is.domain);

    if (r == 0)
        r = compare(a->is.what, b->is.what);
    return r != 0 ? r : (a->order > b->order) - (a->order < b->order);
}

static int by_number(const void *left, const void *right)
{
    const int64_t *a = left, *b = right;

    return (*a > *b) - (*a < *b);
}

/* ---- files ---- */

static void keep_newest(struct dmarc_days *d, int64_t day)
{
    unsigned oldest = 0;

    if (d->day_count < DMARC_DAYS_MAX) {
        d->days[d->day_count++] = day;
        return;
    }
    for (unsigned i = 1; i < d->day_count; i++)
        if (d->days[i] < d->days[oldest])
            oldest = i;
    if (d->days[oldest] < day)
        d->days[oldest] = day;
}

static int list_days(int folder_fd, int64_t today, struct dmarc_days *d)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (dir == NULL) {
        int r = -errno;
        if (fd >= 0)
            (void)close(fd);
        return r;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        int64_t day = dmarc_rows_day(e->d_name);
        if (day >= 0 && day < today)
            keep_newest(d, day);
    }
    (void)closedir(dir);
    if (d->day_count > 0)
        qsort(d->days, d->day_count, sizeof(d->days[0]), by_number);
    return 0;
}

static int read_day(int folder_fd, int64_t day, struct buf *out)
{
    char name[DMARC_ROWS_FILE_OCTETS];
    struct stat st;
    int r = 0;

    dmarc_rows_file(day, name);
    int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > DMARC_DAY_OCTETS_MAX)
        r = -EFBIG;
    while (r == 0 && out->len < (size_t)st.st_size) {
        size_t want = (size_t)st.st_size - out->len;
        ssize_t n = read(fd, buf_reserve(out, want), want);
        if (n <= 0) {
            r = n < 0 ? -errno : 0;
            break;
        }
        out->len += (size_t)n;
    }
    (void)close(fd);
    return r;
}

static void add_lines(struct dmarc_days *d, size_t *room, int64_t day, struct slice text)
{
    while (text.len > 0) {
        ptrdiff_t end = slice_find(text, '\n');
        struct slice line = end < 0 ? text : slice_head(text, (size_t)end);
        struct dmarc_line l = { .day = day, .order = d->line_count };

        text = slice_from(text, line.len + 1);
        if (line.len == 0)
            continue;
        if (end < 0 || !dmarc_row_split((tern_str){ line.ptr, line.len }, &l.is) ||
            !domain_is_valid(slice_make(l.is.domain.ptr, l.is.domain.len))) {
            d->broken++;
            continue;
        }
        if (d->line_count == *room) {
            *room = *room == 0 ? 1024 : 2 * *room;
            d->lines = mem_realloc(d->lines, *room * sizeof(d->lines[0]));
        }
        d->lines[d->line_count++] = l;
    }
}

int dmarc_days_read(int folder_fd, int64_t oldest, int64_t today, struct dmarc_days *ret)
{
    size_t room = 0;
    int r = list_days(folder_fd, today, ret);

    for (unsigned i = 0; i < ret->day_count && r == 0; i++) {
        if (ret->days[i] < oldest)
            continue;
        r = read_day(folder_fd, ret->days[i], &ret->texts[i]);
        if (r == 0)
            add_lines(ret, &room, ret->days[i], buf_slice(&ret->texts[i]));
    }
    if (ret->line_count > 0)
        qsort(ret->lines, ret->line_count, sizeof(ret->lines[0]), by_row);
    return r;
}

void dmarc_days_free(struct dmarc_days *days)
{
    for (unsigned i = 0; i < days->day_count; i++)
        buf_free(&days->texts[i]);
    free(days->lines);
    *days = (struct dmarc_days){ .day_count = 0 };
}

size_t dmarc_days_domain(const struct dmarc_days *days, size_t at)
{
    size_t end = at;

    while (end < days->line_count && compare(days->lines[end].is.domain, days->lines[at].is.domain) == 0)
        end++;
    return end - at;
}

/* ---- reports ---- */

struct span {
    int64_t first, last; /* days */
    const struct dmarc_line *newest;
};

/* The policy of a report is the last one that was seen (RFC 9990 3.2). */
static struct span look(const struct dmarc_line *lines, size_t count, int64_t through)
{
    struct span s = { .first = INT64_MAX, .last = -1 };

    for (size_t i = 0; i < count; i++) {
        if (lines[i].day <= through)
            continue;
        s.first = lines[i].day < s.first ? lines[i].day : s.first;
        s.last = lines[i].day > s.last ? lines[i].day : s.last;
        if (s.newest == NULL || lines[i].order > s.newest->order)
            s.newest = &lines[i];
    }
    return s;
}

static void add_row(struct dmarc_report *r, unsigned *room, const struct dmarc_line *line, uint64_t count)
{
    struct dmarc_report_row row;

    if (r->row_count == DMARC_REPORT_ROWS_MAX) {
        r->error = TERN_STR("there were more rows than a report may have");
        return;
    }
    if (!dmarc_row_what(line->is.what, r, &row))
        return;
    if (r->row_count == *room) {
        *room = *room == 0 ? 16 : 2 * *room;
        r->rows = mem_realloc(r->rows, *room * sizeof(r->rows[0]));
    }
    row.count = count;
    r->rows[r->row_count++] = row;
}

struct dmarc_report *dmarc_days_report(const struct dmarc_line *lines, size_t count, int64_t through)
{
    struct span span = look(lines, count, through);
    unsigned room = 0;

    if (span.newest == NULL)
        return NULL;
    struct dmarc_report *r = dmarc_report_new();
    r->domain = dmarc_report_copy(r, lines[0].is.domain);
    r->begin_s = span.first * DMARC_DAY_SECONDS;
    r->end_s = (span.last + 1) * DMARC_DAY_SECONDS - 1;
    if (!dmarc_row_policy(span.newest->is.policy, r))
        r->p = TERN_STR("none");
    for (size_t i = 0, end; i < count; i = end) {
        uint64_t n = 0;
        for (end = i; end < count && compare(lines[end].is.what, lines[i].is.what) == 0; end++)
            n += lines[end].day > through;
        if (n > 0)
            add_row(r, &room, &lines[i], n);
    }
    if (r->row_count > 0)
        return r;
    dmarc_report_free(r);
    return NULL;
}
