/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maildir - a transport: writes each recipient's copy into a Maildir, as the server's user, or by tern-local as the
 * user whom the option `user` names.
 *
 * A copy is written to tmp/, synced, renamed to new/, and new/ is synced, before the recipient
 * counts as delivered. Return-Path and Delivered-To go on top (RFC 5321 4.4: final delivery).
 * Lines end in LF, as mail readers on Unix expect, unless line_ends says crlf or the mail is
 * binary (BODY=BINARYMIME): then no octet of it is changed.
 *
 * What a client may choose goes into the path only if it is a plain file name: a local part with
 * a slash, a NUL or a leading dot is refused for good.
 *
 * Source: https://cr.yp.to/proto/maildir.html
 */
#include <tern/module.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lib/local_outcome.h>
#include <lib/maildir.h>

#define HEAD_OCTETS_MAX  2048
#define USER_OCTETS_MAX  256
#define LOCAL_TIMEOUT_MS 120000

static const struct tern_api *tern;
static const char *const ends[] = { "lf", "crlf", NULL };

struct maildir_conf {
    tern_str path, user, delimiter;
    bool create;
    int line_ends;
};

struct copy {
    const struct maildir_conf *conf;
    tern_delivery *delivery;
    unsigned index;
    bool lf;
    char dir[MAILDIR_PATH_OCTETS_MAX];
    char user[USER_OCTETS_MAX];
};

static void outcome(const struct copy *c, tern_verdict v, unsigned code, const char *enhanced, const char *what,
                    int error)
{
    tern->delivery_outcome(c->delivery, c->index, v, code, enhanced, "%s%s%s", what, error != 0 ? ": " : "",
                           error != 0 ? strerror(error) : "");
}

static void disk_trouble(const struct copy *c, const char *what, int error)
{
    bool full = error == ENOSPC || error == EDQUOT;

    outcome(c, TERN_DEFER, full ? 452 : 451, full ? "4.2.2" : "4.3.0", what, error);
}

/* ---- the path ---- */

static bool is_plain_name(tern_str s)
{
    return s.len > 0 && s.len < 256 && s.ptr[0] != '.' && memchr(s.ptr, '/', s.len) == NULL &&
           memchr(s.ptr, '\0', s.len) == NULL;
}

static tern_str base_of(const struct maildir_conf *c, tern_str local)
{
    for (size_t i = 1; i < local.len; i++)
        if (c->delimiter.len > 0 && memchr(c->delimiter.ptr, local.ptr[i], c->delimiter.len) != NULL)
            return (tern_str){ local.ptr, i };
    return local;
}

static bool append(char *out, size_t size, size_t *n, tern_str s, bool lower)
{
    if (*n + s.len + 1 > size)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.ptr[i];
        out[(*n)++] = lower && ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
    }
    out[*n] = '\0';
    return true;
}

/* %{user}: local part without +tag, lower case; %{local}: as given; %{domain}. %{home} is for tern-local to know. */
static bool expand(const struct maildir_conf *c, tern_str text, const struct tern_mailbox *m, char *out, size_t size)
{
    tern_str user = base_of(c, m->local);
    tern_str domain = m->domain.len > 0 ? m->domain : tern->hostname();
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < text.len;) {
        const char *p = text.ptr + i;
        bool ok = true;
        if (strncmp(p, "%{user}", 7) == 0 && (i += 7))
            ok = is_plain_name(user) && append(out, size, &n, user, true);
        else if (strncmp(p, "%{local}", 8) == 0 && (i += 8))
            ok = is_plain_name(m->local) && append(out, size, &n, m->local, false);
        else if (strncmp(p, "%{domain}", 9) == 0 && (i += 9))
            ok = is_plain_name(domain) && append(out, size, &n, domain, true);
        else
            ok = append(out, size, &n, (tern_str){ p, 1 }, false) && ++i;
        if (!ok)
            return false;
    }
    return true;
}

/* ---- as the server's user ---- */

struct source {
    tern_delivery *delivery;
    uint64_t offset;
};

static int64_t read_next(void *arg, void *buffer, size_t octets)
{
    struct source *s = arg;
    int64_t n = tern->delivery_read(s->delivery, s->offset, buffer, octets);

    s->offset += n > 0 ? (uint64_t)n : 0;
    return n;
}

static void store(struct copy *c, tern_str head)
{
    struct source source = { c->delivery, 0 };
    const char *what = "";
    struct maildir_mail mail = { .folder = c->dir, .hostname = tern->hostname().ptr, .head = head,
                                 .create = c->conf->create, .lf = c->lf, .read = read_next, .arg = &source };
    int r = maildir_store(&mail, &what);

    if (r < 0)
        disk_trouble(c, what, -r);
    else
        outcome(c, TERN_ACCEPT, 250, "2.0.0", c->dir, 0);
}

/* ---- as the mailbox's user ---- */

static void store_as(struct copy *c, tern_str head)
{
    struct tern_local local = { .size = sizeof(local), .op = TERN_LOCAL_MAILDIR, .path = { c->dir, strlen(c->dir) },
                                .head = head, .create = c->conf->create, .lf = c->lf, .timeout_ms = LOCAL_TIMEOUT_MS };
    struct tern_local_answer answer;
    bool chosen = strchr(c->conf->user.ptr, '%') != NULL; /* by the address, not by the operator */

    local.user = (tern_str){ c->user, strlen(c->user) };
    tern->delivery_local(c->delivery, &local, &answer);
    struct local_outcome o = local_outcome(&answer, chosen);
    outcome(c, o.verdict, o.code, o.enhanced, o.text, 0);
}

static void deliver_one(const struct maildir_conf *conf, tern_delivery *delivery, unsigned index)
{
    struct copy c = { .conf = conf, .delivery = delivery, .index = index };
    const struct tern_mailbox *m = &tern->delivery_rcpt(delivery, index)->mailbox;
    char head[HEAD_OCTETS_MAX];

    c.lf = conf->line_ends == 0 && !tern->delivery_is_binary(delivery);
    const char *end = c.lf ? "\n" : "\r\n";
    int n = snprintf(head, sizeof(head), "Return-Path: <%s>%sDelivered-To: %s%s",
                     tern->delivery_sender(delivery)->address.ptr, end, m->address.ptr, end);

    if (n >= (int)sizeof(head) || !expand(conf, conf->path, m, c.dir, sizeof(c.dir)) ||
        !expand(conf, conf->user, m, c.user, sizeof(c.user)))
        outcome(&c, TERN_REJECT, 550, "5.1.3", "This address cannot name a mailbox", 0);
    else if (c.user[0] != '\0')
        store_as(&c, (tern_str){ head, (size_t)n });
    else
        store(&c, (tern_str){ head, (size_t)n });
}

static void deliver(tern_delivery *delivery, const void *conf)
{
    for (unsigned i = 0; i < tern->delivery_rcpt_count(delivery); i++)
        deliver_one(conf, delivery, i);
}

/* A slip would be a folder, or a user, of that very name: the mail of everybody in one; so would Dovecot's %d. */
static void check_variables(struct tern_config *config, const char *key, tern_str text)
{
    bool path = strcmp(key, "path") == 0;
    const char *words = path ? "%{user}, %{local}, %{domain}, and %{home} at the beginning" : "%{user} and %{local}";

    for (const char *p = strchr(text.ptr, '%'); p != NULL; p = strchr(p + 1, '%')) {
        if (strncmp(p, "%{user}", 7) == 0 || strncmp(p, "%{local}", 8) == 0 ||
            (path && (strncmp(p, "%{domain}", 9) == 0 || (p == text.ptr && strncmp(p, "%{home}", 7) == 0))))
            continue;
        if (p[1] == '{')
            tern->config_error(config, key, "\"%.20s\" is no variable; there are %s", p, words);
        else if (p[1] != '\0' && strchr("dnuh", p[1]) != NULL)
            tern->config_warning(config, key, "\"%.2s\" stands for itself; variables are %s", p, words);
    }
}

static int check(void *conf, struct tern_config *config)
{
    const struct maildir_conf *c = conf;

    check_variables(config, "path", c->path);
    check_variables(config, "user", c->user);
    if (c->user.len == 0 && strncmp(c->path.ptr, "%{home}", 7) == 0)
        tern->config_error(config, "path", "%%{home} is that of `user`, which is not given");
    if (c->user.len > 0 && strcmp(c->user.ptr, "root") == 0)
        tern->config_error(config, "user", "root gets no mail; an alias to somebody does");
    else
        tern->config_local(config, "user", TERN_LOCAL_USER, c->user);
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_PATH(struct maildir_conf, path, NULL,
                     "The Maildir, with %{user} (without +tag, lower case), %{local}, %{domain}; %{home} of `user`."),
    TERN_OPTION_STRING(struct maildir_conf, user, "",
                       "Deliver as this user of the system, by tern-local; %{user} and %{local} as in path."),
    TERN_OPTION_STRING(struct maildir_conf, delimiter, "+", "Characters that begin a tag in the local part."),
    TERN_OPTION_BOOL(struct maildir_conf, create, "true", "Make folders that are missing."),
    TERN_OPTION_ENUM(struct maildir_conf, line_ends, "lf", ends, "Line ends in the files: lf or crlf."),
    TERN_OPTIONS_END,
};

static const struct tern_transport transport = {
    .size = sizeof(struct tern_transport), .type = "maildir", .summary = "Into Maildirs on this machine.",
    .options = options, .conf_size = sizeof(struct maildir_conf), .deliver = deliver,
    .binary = true, .check = check,
};
static const struct tern_transport *const transports[] = { &transport, NULL };

TERN_MODULE(.name = "maildir", .summary = "Transport: deliver into Maildirs.", .init = init,
            .transports = transports)
