/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_journal.c - the file `sent`: a line for each report that was sent,
 *
 *   when (seconds) TAB address TAB domain TAB last day reported (days since 1970)
 *
 * A last line without its LF was torn by a crash: that report counts as not sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/dmarc_send.h"

#define FILE_NAME  "sent"
#define NEW_NAME   "sent.new"
#define OCTETS_MAX (256u << 20)

static int by_key(const void *left, const void *right)
{
    const struct dmarc_sent *a = left, *b = right;
    int r = strcmp(a->address, b->address);

    if (r == 0)
        r = strcmp(a->domain, b->domain);
    return r != 0 ? r : (a->at_s > b->at_s) - (a->at_s < b->at_s);
}

/* Cuts in place: "12\tA\tB\t34". False: it is no line of ours. */
static bool parse(char *line, struct dmarc_sent *ret)
{
    char *address = strchr(line, '\t'), *domain = address != NULL ? strchr(address + 1, '\t') : NULL;
    char *through = domain != NULL ? strchr(domain + 1, '\t') : NULL, *end;

    if (through == NULL)
        return false;
    *address = *domain = *through = '\0';
    *ret = (struct dmarc_sent){ .address = address + 1, .domain = domain + 1 };
    ret->at_s = strtoll(line, &end, 10);
    if (end == line || *end != '\0')
        return false;
    ret->through = strtoll(through + 1, &end, 10);
    return end != through + 1 && *end == '\0';
}

static int read_all(int fd, struct buf *out)
{
    ssize_t n = 1;

    while (n > 0 && out->len <= OCTETS_MAX) {
        n = read(fd, buf_reserve(out, 65536), 65536);
        out->len += n > 0 ? (size_t)n : 0;
    }
    if (n < 0)
        return -errno;
    buf_add_char(out, '\0');
    return out->len > OCTETS_MAX ? -EFBIG : 0;
}

static void index_lines(struct dmarc_journal *j)
{
    size_t room = 0;
    char *line = j->text.data, *end;

    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        struct dmarc_sent item;
        *end = '\0';
        if (!parse(line, &item))
            continue;
        if (j->count == room) {
            room = room == 0 ? 256 : 2 * room;
            j->items = mem_realloc(j->items, room * sizeof(j->items[0]));
        }
        j->items[j->count++] = item;
    }
    j->torn = *line != '\0';
    if (j->count > 0)
        qsort(j->items, j->count, sizeof(j->items[0]), by_key);
}

int dmarc_journal_open(int folder_fd, struct dmarc_journal *ret)
{
    *ret = (struct dmarc_journal){ .folder_fd = folder_fd, .text = BUF_INIT };
    ret->fd = openat(folder_fd, FILE_NAME, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ret->fd < 0)
        return -errno;
    int r = read_all(ret->fd, &ret->text);
    if (r == 0)
        index_lines(ret);
    /* The file's name must be on the disk before anything that is written into it counts. */
    if (r == 0 && fsync(folder_fd) < 0)
        r = -errno;
    return r;
}

void dmarc_journal_close(struct dmarc_journal *journal)
{
    if (journal->fd >= 0)
        (void)close(journal->fd);
    free(journal->items);
    buf_free(&journal->text);
}

/* The first of that address; count: none. */
static size_t find(const struct dmarc_journal *j, const char *address)
{
    size_t low = 0, high = j->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(j->items[middle].address, address) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t dmarc_journal_through(const struct dmarc_journal *journal, const char *address, const char *domain)
{
    int64_t through = -1;

    for (size_t i = find(journal, address); i < journal->count && strcmp(journal->items[i].address, address) == 0;
         i++)
        if (strcmp(journal->items[i].domain, domain) == 0 && journal->items[i].through > through)
            through = journal->items[i].through;
    return through;
}

bool dmarc_journal_since(const struct dmarc_journal *journal, const char *address, const char *domain,
                         int64_t since_s)
{
    for (size_t i = find(journal, address); i < journal->count && strcmp(journal->items[i].address, address) == 0;
         i++)
        if (journal->items[i].at_s >= since_s && (domain == NULL || strcmp(journal->items[i].domain, domain) == 0))
            return true;
    return false;
}

static int write_whole(int fd, const struct buf *text)
{
    size_t at = 0;

    while (at < text->len) {
        ssize_t n = write(fd, text->data + at, text->len - at);
        if (n < 0)
            return -errno;
        at += (size_t)n;
    }
    return fdatasync(fd) < 0 ? -errno : 0;
}

static void add_line(struct buf *out, const struct dmarc_sent *s)
{
    buf_printf(out, "%" PRId64 "\t%s\t%s\t%" PRId64 "\n", s->at_s, s->address, s->domain, s->through);
}

int dmarc_journal_add(struct dmarc_journal *journal, const struct dmarc_sent *items, size_t count)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    if (journal->torn)
        buf_add_char(&text, '\n');
    for (size_t i = 0; i < count; i++)
        add_line(&text, &items[i]);
    journal->torn = false;
    return write_whole(journal->fd, &text);
}

int dmarc_journal_compact(struct dmarc_journal *journal, int64_t since_s)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct dmarc_journal now = { .text = BUF_INIT };
    size_t dropped = 0;
    int r = lseek(journal->fd, 0, SEEK_SET) < 0 ? -errno : read_all(journal->fd, &now.text);

    if (r == 0)
        index_lines(&now);
    for (size_t i = 0; i < now.count; i++) {
        if (now.items[i].at_s >= since_s)
            add_line(&text, &now.items[i]);
        else
            dropped++;
    }
    if (r == 0 && dropped > 0) {
        int fd = openat(journal->folder_fd, NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        r = fd < 0 ? -errno : write_whole(fd, &text);
        if (fd >= 0)
            (void)close(fd);
        if (r == 0 && (renameat(journal->folder_fd, NEW_NAME, journal->folder_fd, FILE_NAME) < 0 ||
                       fsync(journal->folder_fd) < 0))
            r = -errno;
    }
    free(now.items);
    buf_free(&now.text);
    return r;
}
