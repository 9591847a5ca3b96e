/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passwd.c - `tern passwd [--scheme NAME] [--line] USER`: an entry for the file of auth_file, or for a
 * database: made here, printed, stored nowhere.
 *
 * The password comes from the terminal, without echo and twice, or else is the first line of standard
 * input. It is no argument: those can be seen by everybody on the machine.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include <lib/password.h>

#include "cli/cli.h"
#include "sasl/sasl.h"

#define USER_OCTETS_MAX 255

static int usage(void)
{
    (void)fprintf(stderr, "usage: tern passwd [--scheme NAME] [--line] USER\n"
                          "       prints  USER: \"entry\"  for a YAML file, with --line  USER:entry\n"
                          "       schemes:");
    for (const char *const *s = password_schemes(); *s != NULL; s++)
        (void)fprintf(stderr, " %s", *s);
    (void)fprintf(stderr, " (%s unless said)\n", PASSWORD_SCHEME_DEFAULT);
    return CLI_USAGE;
}

/* Octets of the line read, without its end; -1: none, or too long. */
static ssize_t read_line(char *out, size_t octets)
{
    size_t len = 0;
    char c = '\0';

    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n') {
        if (len + 1 == octets)
            return -1;
        out[len++] = c;
    }
    if (len > 0 && out[len - 1] == '\r')
        len--;
    out[len] = '\0';
    return len == 0 && c != '\n' ? -1 : (ssize_t)len;
}

/* Signals wait until the terminal is as it was: a shell without echo is no fun. */
static ssize_t ask(const char *prompt, char *out, size_t octets)
{
    struct termios before, silent;
    sigset_t all, old;

    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return read_line(out, octets);
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, &old);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    (void)fprintf(stderr, "%s", prompt); /* what is typed before it is thrown away */
    ssize_t len = read_line(out, octets);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    (void)fprintf(stderr, "\n");
    return len;
}

static ssize_t read_password(char *out, size_t octets, const char **reterr_why)
{
    char again[PASSWORD_OCTETS_MAX + 2];
    ssize_t len = ask("Password: ", out, octets);

    if (len < 0 || isatty(STDIN_FILENO) == 0)
        return len;
    ssize_t len2 = ask("Again: ", again, sizeof(again));
    bool same = len2 == len && memcmp(out, again, (size_t)len) == 0;
    explicit_bzero(again, sizeof(again));
    if (!same)
        *reterr_why = "these are two different passwords";
    return same ? len : -1;
}

static bool is_plain_word(const char *s)
{
    size_t plain = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._+-");

    return s[plain] == '\0' && strchr("@.+-", s[0]) == NULL;
}

/* In the double quotes of YAML. */
static void print_quoted(const char *s)
{
    (void)putchar('"');
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            (void)putchar('\\');
        (void)putchar(*s);
    }
    (void)putchar('"');
}

static void print_entry(const char *user, const char *entry, bool line)
{
    if (line) {
        printf("%s:%s\n", user, entry);
        return;
    }
    if (is_plain_word(user))
        printf("%s", user);
    else
        print_quoted(user);
    printf(": ");
    print_quoted(entry);
    printf("\n");
}

/* The name as the server will look for it, into `out`. */
static const char *user_trouble(const char *user, bool line, struct buf *out)
{
    if (user[0] == '\0' || strlen(user) > USER_OCTETS_MAX)
        return "a user's name has 1 to 255 octets";
    if (!sasl_prep(slice_cstr(user), USER_OCTETS_MAX, out))
        return "a user's name is UTF-8 without control characters, in one direction of writing (RFC 4013)";
    if (sasl_has_unassigned(slice_cstr(user)))
        return "a character of this name is younger than Unicode 3.2, so that it cannot be stored (RFC 4013 2.5)";
    user = out->data;
    return line && (strchr(user, ':') != NULL || user[0] == '#') ? "this name needs the YAML format" : NULL;
}

/*
 * The password as the server will check it. What SASLprep refuses can be used with hashes, as it is, but
 * clients of SCRAM refuse it, too.
 */
static const char *prepare(const char *scheme, char *password, ssize_t *len)
{
    struct slice given = slice_make(password, (size_t)*len);
    CLEANUP_SECRET struct buf prepared = BUF_INIT;
    bool is_scram = strncasecmp(scheme, "SCRAM-", 6) == 0;

    if (!sasl_text_is_fit(given, PASSWORD_OCTETS_MAX))
        return "a password has 1 to 511 octets, of UTF-8 without control characters";
    if (is_scram && sasl_has_unassigned(given))
        return "a character of this password is younger than Unicode 3.2: clients refuse it with SCRAM (RFC 5802 2.2)";
    (void)buf_reserve(&prepared, given.len);
    if (!sasl_prep(given, PASSWORD_OCTETS_MAX, &prepared))
        return is_scram ? "clients refuse this password with SCRAM (RFC 4013)"
                        : NULL;
    memcpy(password, prepared.data, prepared.len);
    *len = (ssize_t)prepared.len;
    return NULL;
}

static int make(const char *scheme, const char *user, bool line)
{
    char password[PASSWORD_OCTETS_MAX + 2], entry[PASSWORD_STORED_OCTETS_MAX + 1];
    const char *why = "no password, or one of more than 511 octets";
    ssize_t len = read_password(password, sizeof(password), &why);
    const char *trouble = len >= 0 ? prepare(scheme, password, &len) : NULL;
    bool ok = len >= 0 && trouble == NULL &&
              password_make(scheme, (tern_str){ password, (size_t)len }, entry, &why) == 0;

    explicit_bzero(password, sizeof(password));
    why = trouble != NULL ? trouble : why;
    if (ok && line && strchr(entry, ':') != NULL) {
        ok = false;
        why = "a colon in a password in clear needs the YAML format";
    }
    if (ok)
        print_entry(user, entry, line);
    else
        (void)fprintf(stderr, "tern passwd: %s\n", why);
    explicit_bzero(entry, sizeof(entry));
    return ok ? 0 : CLI_NO;
}

int cmd_passwd(int argc, char **argv)
{
    static const struct option longs[] = { { "scheme", required_argument, NULL, 's' },
                                           { "line", no_argument, NULL, 'l' },
                                           { NULL, 0, NULL, 0 } };
    const char *scheme = PASSWORD_SCHEME_DEFAULT;
    bool line = false;
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "s:l", longs, NULL)) != -1) {
        if (c == 's')
            scheme = optarg;
        else if (c == 'l')
            line = true;
        else
            return usage();
    }
    if (optind + 1 != argc)
        return usage();
    CLEANUP_BUF struct buf user = BUF_INIT;
    const char *trouble = user_trouble(argv[optind], line, &user);
    if (trouble != NULL || password_init() < 0) {
        (void)fprintf(stderr, "tern passwd: %s\n", trouble != NULL ? trouble : "no source of random numbers");
        return CLI_NO;
    }
    return make(scheme, user.data, line);
}
