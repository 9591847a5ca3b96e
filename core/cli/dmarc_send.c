/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_send.c - `tern dmarc send`: reports of what the step `dmarc` collected on days that have ended.
 *
 * Run by a timer once a day. First DNS says for each policy domain who wants reports now, several at a time; then each
 * address gets one mail with the reports of all its domains (or, by `mails: per_domain`, one for each). What was sent
 * is in the journal before the next mail leaves, so a run that is killed, or started twice, sends nothing a second
 * time. What could not be sent waits for the next run and becomes one report with what has come since, until `keep` is
 * over.
 *
 * Exit status: 0, 1 when something was refused or is wrong here, 75 when something waits for the next run.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/dmarc.h"
#include "cli/dmarc_send.h"
#include "state/facts.h"

#define LOCK_NAME      "lock"
#define SETTLE_S       300  /* the server writes rows of yesterday for a moment into today */
#define PARTS_MAX      1000 /* reports in one mail */
#define REPLY_OCTETS   1024

/* A report that somebody wants. */
struct wish {
    const char *address, *domain;
    uint64_t octets_max;
    const struct dmarc_line *lines;
    size_t line_count;
    int64_t through; /* reported already */
};

struct sending {
    const struct dmarc_reports_conf *conf;
    struct loop *loop; /* of the submitter */
    struct dmarc_submitter *submitter_link;
    struct dmarc_journal journal;
    struct dmarc_days days;
    struct arena arena;
    struct wish *wishes;
    size_t wish_count, wish_room;
    const char *submitter, *sender;
    int64_t now_s, today_s; /* 0:00 UTC */
    int64_t oldest;         /* day that is still reported */
    int folder_fd;
    bool dry_run, verbose, failed, waits;
};

/* ---- who wants what ---- */

static void say_lines(const char *domain, const struct buf *said)
{
    struct slice rest = buf_slice(said);

    while (rest.len > 0) {
        ptrdiff_t end = slice_find(rest, '\n');
        size_t len = end < 0 ? rest.len : (size_t)end;
        (void)fprintf(stderr, "tern dmarc: %s: %.*s\n", domain, (int)len, rest.ptr);
        rest = slice_from(rest, len + 1);
    }
}

static void add_wish(struct sending *s, const struct wish *wish)
{
    if (s->wish_count == s->wish_room) {
        s->wish_room = s->wish_room == 0 ? 64 : 2 * s->wish_room;
        s->wishes = mem_realloc(s->wishes, s->wish_room * sizeof(s->wishes[0]));
    }
    s->wishes[s->wish_count++] = *wish;
}

static const char *keep(struct sending *s, const char *text, size_t len)
{
    return tern_str_dup(&s->arena, slice_make(text, len)).ptr;
}

static void take_domain(void *arg, const struct dmarc_line *lines, size_t count, enum dmarc_found found,
                        const struct dmarc_where *where)
{
    struct sending *s = arg;
    const char *domain = keep(s, lines[0].is.domain.ptr, lines[0].is.domain.len);

    if (found == DMARC_NOT_NOW || where->later)
        s->waits = true;
    if (found == DMARC_NOT_NOW && where->said.len == 0)
        (void)fprintf(stderr, "tern dmarc: %s: DNS does not answer for its record: tried again with the next run\n",
                      domain);
    if (s->verbose || s->dry_run || where->later)
        say_lines(domain, &where->said);
    for (unsigned i = 0; i < where->count; i++) {
        struct wish w = { keep(s, where->to[i].address, strlen(where->to[i].address)), domain,
                          where->to[i].octets_max, lines, count, -1 };
        w.through = dmarc_journal_through(&s->journal, w.address, domain);
        add_wish(s, &w);
    }
}

static int by_address(const void *left, const void *right)
{
    const struct wish *a = left, *b = right;
    int r = strcmp(a->address, b->address);

    return r != 0 ? r : strcmp(a->domain, b->domain);
}

static int ask_all(struct sending *s, const struct dmarc_config *config)
{
    int r = dmarc_ask_all(config, &s->days, take_domain, s);

    if (s->wish_count > 0)
        qsort(s->wishes, s->wish_count, sizeof(s->wishes[0]), by_address);
    return r;
}

/* ---- one mail ---- */

struct outgoing {
    struct dmarc_mail mail;
    struct dmarc_sent sent[PARTS_MAX];
    size_t sent_count;
};

static void add_sent(struct outgoing *out, const struct wish *w, int64_t now_s, int64_t through)
{
    out->sent[out->sent_count++] = (struct dmarc_sent){ now_s, through, w->address, w->domain };
}

/* One more report of the mail, if there is anything new to report. */
static void add_report(struct sending *s, struct outgoing *out, const struct wish *w)
{
    struct dmarc_report *report = dmarc_days_report(w->lines, w->line_count, w->through);
    uint64_t most = s->conf->mail_size;

    if (report == NULL)
        return;
    if (out->sent_count == PARTS_MAX) {
        s->waits = true;
        dmarc_report_free(report);
        return;
    }
    if (w->octets_max > 0 && w->octets_max < most)
        most = w->octets_max;
    dmarc_report_sign(report, s->conf, s->submitter);
    int r = dmarc_mail_add(&out->mail, report, most);
    if (r == 0) {
        add_sent(out, w, s->now_s, report->end_s / DMARC_DAY_SECONDS);
    } else if (r == -EFBIG && out->mail.count > 0) {
        s->waits = true; /* a mail of its own, another day */
    } else {
        s->failed = true;
        (void)fprintf(stderr, "tern dmarc: %s: the report about %s %s\n", w->address, w->domain,
                      r == -EFBIG ? "is larger than may be sent there" : "cannot be made");
    }
    dmarc_report_free(report);
}

static void submit(struct sending *s, struct outgoing *out)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    char reply[REPLY_OCTETS];

    dmarc_mail_end(&out->mail, &text);
    unsigned code = dmarc_submit(s->submitter_link, s->sender, out->mail.address, &text, reply, sizeof(reply));
    if (code / 100 != 2) {
        s->failed |= code / 100 == 5;
        s->waits |= code / 100 != 5;
        (void)fprintf(stderr, "tern dmarc: %s: not sent, tried again with the next run: %s\n", out->mail.address,
                      reply);
        return;
    }
    int r = dmarc_journal_add(&s->journal, out->sent, out->sent_count);
    if (r < 0) { /* going on would send what follows again and again */
        (void)fprintf(stderr, "tern dmarc: %s was sent to, but the file \"sent\" cannot be written: %s\n",
                      out->mail.address, strerror(-r));
        exit(CLI_NO);
    }
}

static void tell_mail(const struct sending *s, const struct outgoing *out)
{
    if (!s->verbose && !s->dry_run)
        return;
    for (size_t i = 0; i < out->sent_count; i++)
        printf("%s: %s about %s\n", s->dry_run ? "would send" : "sending", out->mail.address, out->sent[i].domain);
}

static void send_wishes(struct sending *s, const struct wish *wishes, size_t count)
{
    struct outgoing *out = mem_zalloc(sizeof(*out));

    out->mail = (struct dmarc_mail){ .conf = s->conf, .submitter = s->submitter, .address = wishes[0].address,
                                     .now_s = s->now_s };
    for (size_t i = 0; i < count; i++)
        add_report(s, out, &wishes[i]);
    if (out->sent_count > 0) {
        tell_mail(s, out);
        if (!s->dry_run)
            submit(s, out);
    }
    dmarc_mail_free(&out->mail);
    free(out);
}

/* Whether the address has had its mail of today. What is new waits for tomorrow; usually nothing is. */
static bool had_mail(struct sending *s, const struct wish *w, bool per_domain)
{
    if (!dmarc_journal_since(&s->journal, w->address, per_domain ? w->domain : NULL, s->today_s))
        return false;
    struct dmarc_report *rest = dmarc_days_report(w->lines, w->line_count, w->through);
    s->waits |= rest != NULL;
    dmarc_report_free(rest);
    return true;
}

static void send_all(struct sending *s)
{
    bool per_domain = s->conf->mails == DMARC_MAILS_PER_DOMAIN;

    for (size_t i = 0, end; i < s->wish_count; i = end) {
        for (end = i + 1; end < s->wish_count && strcmp(s->wishes[end].address, s->wishes[i].address) == 0;)
            end++;
        for (size_t k = i, n; k < end; k += n) {
            n = per_domain ? 1 : end - i;
            bool had = false;
            for (size_t m = k; m < k + n; m++)
                had |= had_mail(s, &s->wishes[m], per_domain);
            if (!had)
                send_wishes(s, s->wishes + k, n);
        }
    }
}

/* ---- afterwards ---- */

static void drop(struct sending *s, int64_t day)
{
    char name[DMARC_ROWS_FILE_OCTETS];

    dmarc_rows_file(day, name);
    if (unlinkat(s->folder_fd, name, 0) < 0)
        (void)fprintf(stderr, "tern dmarc: %s: %s\n", name, strerror(errno));
}

static void clean_up(struct sending *s)
{
    int64_t since = s->today_s - (int64_t)s->conf->keep_s - 2 * DMARC_DAY_SECONDS;

    for (unsigned i = 0; i < s->days.day_count; i++)
        if (s->days.days[i] < s->oldest || (!s->waits && !s->failed))
            drop(s, s->days.days[i]);
    int r = dmarc_journal_compact(&s->journal, since);
    if (r < 0) {
        (void)fprintf(stderr, "tern dmarc: the file \"sent\" cannot be written anew: %s\n", strerror(-r));
        s->failed = true;
    }
}

/* ---- the run ---- */

static int fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "tern dmarc: %s: %s\n", what, why);
    return CLI_NO;
}

/* The folder, with a lock that a second run meets; -1 after it was said why. *ret_status: then. */
static int open_folder(const char *path, int *ret_status)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *ret_status = CLI_NO;
    if (fd < 0) {
        if (errno == ENOENT) {
            *ret_status = 0; /* nothing was ever collected */
            return -1;
        }
        (void)fail(path, strerror(errno));
        return -1;
    }
    int lock = openat(fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0)
        return fd; /* the lock is let go when the process ends */
    *ret_status = lock >= 0 && errno == EWOULDBLOCK ? CLI_OFFLINE : CLI_NO;
    (void)fail(path, *ret_status == CLI_OFFLINE ? "another run is under way" : strerror(errno));
    if (lock >= 0)
        (void)close(lock);
    (void)close(fd);
    return -1;
}

static int run(struct sending *s, const struct dmarc_config *config)
{
    int r = dmarc_journal_open(s->folder_fd, &s->journal);

    if (r < 0)
        return fail("sent", strerror(-r));
    r = dmarc_days_read(s->folder_fd, s->oldest, (s->now_s - SETTLE_S) / DMARC_DAY_SECONDS, &s->days);
    if (r < 0)
        return fail(s->conf->path.ptr, strerror(-r));
    for (unsigned i = 0; i < s->days.day_count && s->days.days[i] < s->oldest; i++)
        (void)fprintf(stderr, "tern dmarc: a day %lld days ago is older than `keep` and given up\n",
                      (long long)(s->today_s / DMARC_DAY_SECONDS - s->days.days[i]));
    if (s->days.broken > 0)
        (void)fprintf(stderr, "tern dmarc: %zu lines of %s cannot be read: passed over\n", s->days.broken,
                      s->conf->path.ptr);
    tern_address to = s->conf->submit;
    to.port = to.port != 0 ? to.port : 25;
    if (ask_all(s, config) < 0)
        return fail("dns", "no name server can be asked");
    s->loop = loop_new(0);
    s->submitter_link = dmarc_submitter_new(s->loop, &to, dmarc_config_hostname(config));
    send_all(s);
    if (!s->dry_run)
        clean_up(s);
    return s->failed ? CLI_NO : s->waits ? CLI_OFFLINE : 0;
}

static void set_names(struct sending *s)
{
    const char *at = strrchr(s->conf->email.ptr, '@');

    s->submitter = s->conf->domain.len > 0 ? s->conf->domain.ptr : at != NULL ? at + 1 : s->conf->email.ptr;
    s->sender = s->conf->sender.len > 0 ? s->conf->sender.ptr : s->conf->email.ptr;
    if (strcmp(s->sender, "<>") == 0)
        s->sender = "";
}

static int send_by(const struct dmarc_config *config, bool dry_run, bool verbose)
{
    struct sending s = { .conf = dmarc_config_reports(config), .dry_run = dry_run, .verbose = verbose,
                         .journal = { .fd = -1, .text = BUF_INIT } };
    int status;

    s.now_s = time(NULL);
    s.today_s = s.now_s / DMARC_DAY_SECONDS * DMARC_DAY_SECONDS;
    s.oldest = (s.today_s - (int64_t)s.conf->keep_s) / DMARC_DAY_SECONDS;
    set_names(&s);
    s.folder_fd = open_folder(s.conf->path.ptr, &status);
    if (s.folder_fd < 0)
        return status;
    arena_init(&s.arena);
    status = run(&s, config);
    dmarc_submitter_free(s.submitter_link);
    if (s.loop != NULL)
        loop_free(s.loop);
    dmarc_journal_close(&s.journal);
    dmarc_days_free(&s.days);
    free(s.wishes);
    arena_fini(&s.arena);
    (void)close(s.folder_fd);
    return status;
}

int dmarc_cmd_send(int argc, char **argv)
{
    static const struct option longs[] = { { "config", required_argument, NULL, 'c' },
                                           { "dry-run", no_argument, NULL, 'n' },
                                           { "verbose", no_argument, NULL, 'v' },
                                           { NULL, 0, NULL, 0 } };
    const char *path = cli_default_config();
    bool dry_run = false, verbose = false;
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "c:nv", longs, NULL)) != -1) {
        if (c == '?')
            return CLI_USAGE;
        path = c == 'c' ? optarg : path;
        dry_run |= c == 'n';
        verbose |= c == 'v';
    }
    if (optind != argc) {
        (void)fprintf(stderr, "usage: tern dmarc send [-c FILE] [--dry-run] [--verbose]\n");
        return CLI_USAGE;
    }
    struct dmarc_config *config = dmarc_config_open(path);
    if (config == NULL)
        return CLI_NO;
    int status = send_by(config, dry_run, verbose);
    dmarc_config_close(config);
    return status;
}
