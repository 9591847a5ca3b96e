/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpora.h - mails and vectors that others wrote, kept beside the repository and not in it:
 * $TERN_CORPORA, or ../shared/corpora. A test that wants them skips, saying so, when they are
 * absent.
 */
#ifndef TERN_TESTS_CORPORA_H
#define TERN_TESTS_CORPORA_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"

static inline void corpora_path(char *out, size_t size, const char *name)
{
    const char *dir = getenv("TERN_CORPORA");

    (void)snprintf(out, size, "%s/%s", dir != NULL ? dir : TERN_SOURCE_DIR "/../shared/corpora",
                   name);
}

static inline bool corpora_read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL)
        return false;
    for (;;) {
        char *at = buf_reserve(out, 65536);
        size_t n = fread(at, 1, 65536, f);
        out->len += n;
        if (n == 0)
            break;
    }
    out->data[out->len] = '\0';
    (void)fclose(f);
    return true;
}

/* False, with a line that says so, if the corpora are not there. */
static inline bool corpora_read(const char *name, struct buf *out)
{
    char path[4096];

    corpora_path(path, sizeof(path), name);
    if (corpora_read_file(path, out))
        return true;
    printf("SKIPPED: no %s\n", path);
    return false;
}

/* Calls `each` for every file below the folder; returns how many. */
static inline unsigned corpora_walk(const char *path,
                                    void (*each)(const char *path, struct slice octets))
{
    CLEANUP_BUF struct buf octets = BUF_INIT;
    DIR *dir = opendir(path);
    unsigned count = 0;

    if (dir == NULL) {
        if (!corpora_read_file(path, &octets))
            return 0;
        each(path, buf_slice(&octets));
        return 1;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char below[4096];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
        count += corpora_walk(below, each);
    }
    (void)closedir(dir);
    return count;
}

/* The next line without its LF; false at the end. */
static inline bool corpora_line(struct slice *rest, struct slice *ret)
{
    if (rest->len == 0)
        return false;
    ptrdiff_t lf = slice_find(*rest, '\n');
    *ret = lf < 0 ? *rest : slice_head(*rest, (size_t)lf);
    *rest = slice_from(*rest, ret->len + 1);
    return true;
}

/* Line ends of a file (LF, CRLF, CR) as they come by SMTP. */
static inline void corpora_to_crlf(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '\r' && s.ptr[i] != '\n') {
            buf_add_char(out, s.ptr[i]);
            continue;
        }
        buf_add_cstr(out, "\r\n");
        if (s.ptr[i] == '\r' && i + 1 < s.len && s.ptr[i + 1] == '\n')
            i++;
    }
}

#endif
