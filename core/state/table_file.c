/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table_file.c - the lines of a table file into a snapshot.
 *
 * The file is read in pieces, so that a million rows are in memory once only, as the
 * snapshot. One bad line fails the whole file: half a list of mailboxes would refuse the
 * other half's mail.
 */
#include "state/table_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"

#define PIECE_OCTETS (256u << 10)

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A # behind a blank begins a comment; inside a word it is part of it (a#b@example.org). */
static struct slice cut_comment(struct slice line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.ptr[i] == '#' && (i == 0 || is_blank(line.ptr[i - 1])))
            return slice_head(line, i);
    return line;
}

/*
 * Octets of the key: up to a blank that is not inside the quotes of a local part (RFC
 * 5321 4.1.2).
 */
static size_t key_octets(struct slice line)
{
    bool quoted = false;
    size_t i = 0;

    for (; i < line.len && (quoted || !is_blank(line.ptr[i])); i++) {
        if (quoted && line.ptr[i] == '\\' && i + 1 < line.len)
            i++;
        else if (line.ptr[i] == '"' && (quoted || i == 0))
            quoted = !quoted;
    }
    return quoted ? 0 : i;
}

static bool has_control(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
            return true;
    return false;
}

enum table_line table_line_parse(struct slice line, struct slice *ret_key, struct slice *ret_value,
                                 const char **ret_why)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    line = slice_trim(line);
    if (line.len == 0 || line.ptr[0] == '#')
        return TABLE_LINE_EMPTY;
    *ret_why = "control character";
    if (has_control(line))
        return TABLE_LINE_BAD;
    *ret_why = "not UTF-8";
    if (!utf8_valid(line))
        return TABLE_LINE_BAD;
    size_t octets = key_octets(line);
    *ret_why = "quote that does not end";
    if (octets == 0)
        return TABLE_LINE_BAD;
    struct slice key = slice_head(line, octets);
    struct slice value = slice_trim(cut_comment(slice_from(line, octets)));
    /* One colon ends the key ("key: value"); two are the end of an IPv6 address such as "::". */
    if (key.len > 1 && key.ptr[key.len - 1] == ':' && key.ptr[key.len - 2] != ':')
        key.len--;
    else if (value.len > 0 && value.ptr[0] == ':' && (value.len == 1 || is_blank(value.ptr[1])))
        value = slice_trim(slice_from(value, 1));
    *ret_why = key.len > SNAPSHOT_KEY_OCTETS_MAX ? "key longer than 1024 octets"
                                                 : "value longer than 65535 octets";
    if (key.len > SNAPSHOT_KEY_OCTETS_MAX || value.len > SNAPSHOT_VALUE_OCTETS_MAX)
        return TABLE_LINE_BAD;
    *ret_key = key;
    *ret_value = value;
    return TABLE_LINE_ENTRY;
}

struct reading {
    struct snapshot_build build;
    unsigned long line;
    char *error;
};

static int take_line(struct reading *r, struct slice line)
{
    struct slice key, value;
    const char *why = NULL;
    int result = 0;

    r->line++;
    switch (table_line_parse(line, &key, &value, &why)) {
    case TABLE_LINE_EMPTY: return 0;
    case TABLE_LINE_ENTRY: result = snapshot_add(&r->build, key, value); break;
    case TABLE_LINE_BAD: result = -EINVAL; break;
    }
    if (result == -ENOSPC)
        why = "too many entries";
    if (result < 0)
        (void)snprintf(r->error, TABLE_ERROR_OCTETS, "%s in line %lu",
                       why != NULL ? why : "bad entry", r->line);
    return result;
}

/* All whole lines of data[0..len); returns the octets used, or a negative errno. */
static ssize_t take_lines(struct reading *r, const char *data, size_t len, bool last)
{
    size_t used = 0;

    while (used < len) {
        struct slice rest = slice_make(data + used, len - used);
        ptrdiff_t end = slice_find(rest, '\n');
        if (end < 0 && !last)
            break;
        size_t octets = end < 0 ? rest.len : (size_t)end;
        int result =
            octets > TABLE_LINE_OCTETS_MAX ? -EINVAL : take_line(r, slice_head(rest, octets));
        if (octets > TABLE_LINE_OCTETS_MAX)
            (void)snprintf(r->error, TABLE_ERROR_OCTETS, "line %lu is too long", r->line + 1);
        if (result < 0)
            return result;
        used += octets + (end >= 0);
    }
    return (ssize_t)used;
}

static int read_pieces(struct reading *r, int fd)
{
    CLEANUP_FREE char *data = mem_alloc(PIECE_OCTETS);
    uint64_t total = 0;
    size_t len = 0;

    for (;;) {
        ssize_t n = read(fd, data + len, PIECE_OCTETS - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int e = -errno;
            (void)snprintf(r->error, TABLE_ERROR_OCTETS, "%s", strerror(-e));
            return e;
        }
        total += (uint64_t)n;
        len += (size_t)n;
        ssize_t used = take_lines(r, data, len, n == 0);
        if (used < 0)
            return (int)used;
        if (n == 0)
            return 0;
        len -= (size_t)used;
        memmove(data, data + used, len);
        if (len > TABLE_LINE_OCTETS_MAX || total > TABLE_FILE_OCTETS_MAX) {
            (void)snprintf(r->error, TABLE_ERROR_OCTETS,
                           len > TABLE_LINE_OCTETS_MAX ? "line %lu is too long"
                                                       : "the file is too long",
                           r->line + 1);
            return -EFBIG;
        }
    }
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int read_open_file(int fd, struct reading *r, struct stat *st)
{
    struct stat after;

    if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode)) {
        (void)snprintf(r->error, TABLE_ERROR_OCTETS, "not a regular file");
        return -EINVAL;
    }
    int result = read_pieces(r, fd);
    if (result < 0)
        return result;
    /*
     * Written in place while we read: half of the new contents, perhaps. The next poll
     * sees the rest.
     */
    if (fstat(fd, &after) < 0 || !same_file(st, &after)) {
        (void)snprintf(r->error, TABLE_ERROR_OCTETS, "the file changed while it was read");
        return -EAGAIN;
    }
    return 0;
}

int table_file_read(const char *path, struct snapshot **ret, size_t *ret_twice,
                    struct stat *ret_stat, char error[TABLE_ERROR_OCTETS])
{
    struct reading r = { .build = SNAPSHOT_BUILD_INIT, .error = error };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        int e = -errno;
        (void)snprintf(error, TABLE_ERROR_OCTETS, "%s", strerror(-e));
        return e;
    }
    int result = read_open_file(fd, &r, ret_stat);
    (void)close(fd);
    if (result < 0) {
        snapshot_drop(&r.build);
        return result;
    }
    *ret = snapshot_finish(&r.build);
    *ret_twice = r.build.twice;
    return 0;
}
