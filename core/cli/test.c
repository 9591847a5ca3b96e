/* SPDX-License-Identifier: Apache-2.0 */
/* test.c - `tern test FILE...`: unit tests of a policy. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/smtpt_run.h"
#include "server/serve.h"

static bool read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    size_t n;

    if (f == NULL)
        return false;
    do {
        n = fread(buf_reserve(out, 65536), 1, 65536, f);
        out->len += n;
    } while (n > 0 && out->len <= SMTPT_FILE_OCTETS_MAX);
    (void)fclose(f);
    return true;
}

static int run_file(const char *path, struct modules *modules, struct smtpt_result *sum)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct smtpt_result result = { 0, 0 };
    struct smtpt_file file;
    struct arena arena;
    const char *error = NULL;
    unsigned line = 0;
    int r = 0;

    if (!read_file(path, &text)) {
        (void)fprintf(stderr, "%s: cannot be read: %s\n", path, strerror(errno));
        sum->failed++;
        return CLI_NO;
    }
    arena_init(&arena);
    if (smtpt_parse(buf_slice(&text), &arena, &file, &line, &error) < 0) {
        (void)fprintf(stderr, "%s:%u: %s\n", path, line, error);
        r = CLI_NO;
    } else if (smtpt_run(path, &file, modules, &out, &result) < 0) {
        r = CLI_NO;
    }
    if (out.len > 0)
        (void)fwrite(out.data, 1, out.len, stderr);
    if (r == 0)
        printf("%s: %u passed, %u failed\n", path, result.passed, result.failed);
    sum->passed += result.passed;
    sum->failed += result.failed + (r != 0);
    arena_fini(&arena);
    return r;
}

int cmd_test(int argc, char **argv)
{
    struct smtpt_result sum = { 0, 0 };

    /* No -c: which configuration is tested stands in the file. */
    if (argc < 2 || argv[1][0] == '-') {
        (void)fprintf(stderr, "usage: tern test FILE.smtpt...\n"
                              "       the configuration is the one that the file names (docs/testing.md)\n");
        return CLI_USAGE;
    }
    log_set_level(LOG_WARNING);
    struct modules *modules = serve_modules(cli_module_path(), geteuid() != 0, NULL, 0);
    for (int i = 1; i < argc; i++)
        (void)run_file(argv[i], modules, &sum);
    modules_free(modules);
    printf("%u passed, %u failed\n", sum.passed, sum.failed);
    return sum.failed > 0 ? CLI_NO : 0;
}
