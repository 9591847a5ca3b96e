/* SPDX-License-Identifier: Apache-2.0 */
/* dmarc.c - `tern dmarc`; and `tern dmarc report`: what others report about our mail. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/dmarc.h"

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: tern dmarc report [--json] FILE...\n"
                  "       reads aggregate reports that were received: XML, .gz, .zip, or mails that carry them;\n"
                  "       - is standard input\n"
                  "       tern dmarc send [-c FILE] [--dry-run] [--verbose]\n"
                  "       sends what was collected on days that have ended to those who ask for it; once a day\n");
    return CLI_USAGE;
}

/* NULL, or why the file cannot be read. One octet above the bound is read, and no more. */
static const char *read_file(const char *path, struct buf *out)
{
    bool is_input = strcmp(path, "-") == 0;
    FILE *f = is_input ? stdin : fopen(path, "rb");
    size_t n = 1;

    if (f == NULL)
        return strerror(errno);
    while (n > 0 && out->len <= DMARC_REPORT_OCTETS_MAX) {
        n = fread(buf_reserve(out, 65536), 1, 65536, f);
        out->len += n;
    }
    const char *wrong = ferror(f) != 0 ? strerror(errno) : NULL;
    if (!is_input)
        (void)fclose(f);
    return wrong;
}

static void read_source(const char *path, struct dmarc_source *source)
{
    CLEANUP_BUF struct buf octets = BUF_INIT;
    const char *wrong = read_file(path, &octets);

    *source = (struct dmarc_source){ .file = path };
    if (wrong != NULL)
        (void)snprintf(source->error, sizeof(source->error), "%s", wrong);
    else
        (void)dmarc_source_read(buf_slice(&octets), &source->report, source->error);
}

void dmarc_source_count(struct dmarc_source *source, uint64_t *left)
{
    if (source->report == NULL)
        return;
    if (source->report->held_octets <= *left) {
        *left -= source->report->held_octets;
        return;
    }
    dmarc_report_free(source->report);
    source->report = NULL;
    (void)snprintf(source->error, sizeof(source->error),
                   "the reports before it hold nearly %u MB of memory: read fewer files at a time",
                   DMARC_SOURCES_OCTETS_MAX >> 20);
}

static bool same(tern_str a, tern_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* A report that comes twice has the same identifiers (RFC 9990 3.5.4); one without an id is never taken for another. */
static void mark_repeated(struct dmarc_source *sources, size_t at)
{
    const struct dmarc_report *r = sources[at].report;

    for (size_t i = 0; i < at && r != NULL && r->id.len > 0; i++) {
        const struct dmarc_report *o = sources[i].report;
        if (o != NULL && same(o->id, r->id) && same(o->org_name, r->org_name) && same(o->domain, r->domain) &&
            o->begin_s == r->begin_s)
            sources[at].repeated = true;
    }
}

int dmarc_cmd_report(int argc, char **argv)
{
    static const struct option longs[] = { { "json", no_argument, NULL, 'j' }, { NULL, 0, NULL, 0 } };
    bool json = false;
    int c, rejected = 0;

    optind = 1;
    while ((c = getopt_long(argc, argv, "j", longs, NULL)) != -1) {
        if (c != 'j')
            return usage();
        json = true;
    }
    if (optind == argc)
        return usage();
    size_t count = (size_t)(argc - optind);
    uint64_t left = DMARC_SOURCES_OCTETS_MAX;
    struct dmarc_source *sources = mem_zalloc(count * sizeof(sources[0]));
    for (size_t i = 0; i < count; i++) {
        read_source(argv[optind + (int)i], &sources[i]);
        dmarc_source_count(&sources[i], &left);
        mark_repeated(sources, i);
        rejected += sources[i].report == NULL;
        if (sources[i].report == NULL)
            (void)fprintf(stderr, "tern dmarc: %s: %s\n", sources[i].file, sources[i].error);
    }
    if (json)
        dmarc_print_json(sources, count);
    else
        dmarc_print_table(sources, count);
    for (size_t i = 0; i < count; i++)
        dmarc_report_free(sources[i].report);
    free(sources);
    return rejected > 0 ? CLI_NO : 0;
}

int cmd_dmarc(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "report") == 0)
        return dmarc_cmd_report(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "send") == 0)
        return dmarc_cmd_send(argc - 1, argv + 1);
    return usage();
}
