/* SPDX-License-Identifier: Apache-2.0 */
/*
 * new.c - `tern new module NAME`, `tern new filter NAME`: a skeleton that passes its own test.
 *
 * Writes into a new folder NAME of the present one, and never over anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/new_templates.h"
#include "module/descriptor.h"

struct template_file {
    const char *path; /* in the folder; @NAME@ as in the text */
    const char *text;
};

static const struct template_file module_files[] = {
    { "@NAME@.c", module_c },
    { "CMakeLists.txt", module_cmake },
    { "test_@NAME@.c", module_test },
    { "README.md", module_readme },
    { NULL, NULL },
};

static const struct template_file filter_files[] = {
    { "@NAME@.lua", filter_lua },
    { "@NAME@.smtpt", filter_test },
    { NULL, NULL },
};

static const struct {
    const char *kind;
    const struct template_file *files;
    const char *next;
} kinds[] = {
    { "module", module_files,
      "next: cd @NAME@ && cmake -S . -B build && cmake --build build && ctest --test-dir build\n" },
    { "filter", filter_files, "next: tern test @NAME@/@NAME@.smtpt\n"
      "then: a step in a policy, - lua: { script: @NAME@/@NAME@.lua }\n" },
};

/* Puts what they stand for in the place of @NAME@, and of the two folders where this tern was installed. */
static void expand(struct buf *out, const char *text, const char *name)
{
    const struct {
        const char *mark, *means;
    } marks[] = {
        { "@NAME@", name },
        { "@INCLUDE@", TERN_INSTALL_INCLUDE_DIR },
        { "@MODULES@", TERN_INSTALL_MODULE_DIR },
    };

    while (*text != '\0') {
        size_t i = 0, count = sizeof(marks) / sizeof(marks[0]);
        while (i < count && strncmp(text, marks[i].mark, strlen(marks[i].mark)) != 0)
            i++;
        if (i < count) {
            buf_add_cstr(out, marks[i].means);
            text += strlen(marks[i].mark);
        } else {
            buf_add_char(out, *text++);
        }
    }
}

static int write_all(int fd, struct slice text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text = slice_from(text, (size_t)n);
    }
    return 0;
}

static int write_file(int folder, const struct template_file *file, const char *name)
{
    CLEANUP_BUF struct buf path = BUF_INIT, text = BUF_INIT;

    expand(&path, file->path, name);
    expand(&text, file->text, name);
    int fd = openat(folder, path.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int r = fd >= 0 ? write_all(fd, buf_slice(&text)) : -errno;
    if (fd >= 0 && close(fd) < 0 && r == 0)
        r = -errno;
    if (r < 0)
        (void)fprintf(stderr, "tern new: %s/%s: %s\n", name, path.data, strerror(-r));
    else
        printf("%s/%s\n", name, path.data);
    return r;
}

static int write_files(const struct template_file *files, const char *name)
{
    int r = 0;

    if (mkdir(name, 0755) < 0) {
        (void)fprintf(stderr, "tern new: %s: %s\n", name, strerror(errno));
        return CLI_NO;
    }
    int folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        (void)fprintf(stderr, "tern new: %s: %s\n", name, strerror(errno));
        return CLI_NO;
    }
    for (; files->path != NULL && r == 0; files++)
        r = write_file(folder, files, name);
    (void)close(folder);
    return r == 0 ? 0 : CLI_NO;
}

int cmd_new(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        CLEANUP_BUF struct buf next = BUF_INIT;

        if (strcmp(argv[1], kinds[i].kind) != 0)
            continue;
        if (!descriptor_is_name(slice_cstr(argv[2]))) {
            (void)fprintf(
                stderr,
                "tern new: \"%s\" is no name: a small letter, then small letters, digits and _\n",
                argv[2]);
            return CLI_USAGE;
        }
        int r = write_files(kinds[i].files, argv[2]);
        expand(&next, kinds[i].next, argv[2]);
        if (r == 0)
            (void)fputs(next.data, stdout);
        return r;
    }
    (void)fprintf(stderr, "usage: tern new module NAME\n"
                          "       tern new filter NAME\n");
    return CLI_USAGE;
}
