/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim.c - `tern dkim keygen`: a key file for dkim_sign and the record to publish; `tern dkim check`: whether the
 * record that DNS has is the one of a key file.
 *
 * The key goes into a new file of mode 0600 and nowhere else. Sources: RFC 6376 3.6.1, RFC 8301 3.2, RFC 8463 4;
 * RFC 1035 3.3.14: a string of a TXT record has 255 octets at most.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lib/dkim.h>

#include "cli/cli.h"
#include "config/value.h"
#include "dns/dns.h"

#define STRING_OCTETS_MAX 255
#define PEM_OCTETS_MAX    16384
#define RSA_BITS_DEFAULT  2048

struct request {
    const char *domain, *selector, *file;
    char name[2 * DKIM_NAME_OCTETS_MAX + 16]; /* of the record */
};

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: tern dkim keygen [--type rsa|ed25519] [--bits N] DOMAIN SELECTOR FILE\n"
                  "       makes a key, writes it to the new FILE (mode 0600), prints the TXT record to publish\n"
                  "       tern dkim check [--dns ADDRESS[:PORT]] DOMAIN SELECTOR FILE\n"
                  "       asks DNS whether the record matches the key\n");
    return CLI_USAGE;
}

static int fail(const char *file, const char *why)
{
    (void)fprintf(stderr, "tern dkim: %s: %s\n", file, why);
    return CLI_NO;
}

static bool take_words(char **words, struct request *r)
{
    *r = (struct request){ .domain = words[0], .selector = words[1], .file = words[2] };
    int len = snprintf(r->name, sizeof(r->name), "%s._domainkey.%s", r->selector, r->domain);

    if (dkim_name_is_valid(dkim_str(r->domain, strlen(r->domain)), 2) &&
        dkim_name_is_valid(dkim_str(r->selector, strlen(r->selector)), 1) && len <= DKIM_NAME_OCTETS_MAX)
        return true;
    (void)fprintf(stderr, "tern dkim: \"%s\" is no name of a key: DOMAIN as example.org, SELECTOR as s1\n", r->name);
    return false;
}

/* ---- keygen ---- */

static int write_file(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -errno;
    int r = fchmod(fd, 0600) == 0 && write(fd, text, len) == (ssize_t)len && fsync(fd) == 0 ? 0 : -EIO;
    if (close(fd) < 0 || r < 0) {
        (void)unlink(path);
        return -EIO;
    }
    return 0;
}

/* As a zone file has it: every string in quotes. Ours hold nothing that would need escaping. */
static void print_record(const struct request *r, const struct dkim_private *key, const char *p)
{
    char text[4096];
    bool ed25519 = dkim_private_algorithm(key) == DKIM_ED25519_SHA256;
    int len = snprintf(text, sizeof(text), "v=DKIM1; k=%s; p=%s", ed25519 ? "ed25519" : "rsa", p);

    printf("%s. IN TXT (", r->name);
    for (int at = 0; at < len; at += STRING_OCTETS_MAX)
        printf(" \"%.*s\"", STRING_OCTETS_MAX, text + at);
    printf(" )\n");
}

static int make(const struct request *r, unsigned bits)
{
    char pem[PEM_OCTETS_MAX], p[3072];
    struct dkim_private *key = NULL;
    const char *wrong = dkim_private_generate(bits, &key);

    if (wrong != NULL)
        return fail(r->file, wrong);
    int len = dkim_private_pem(key, pem, sizeof(pem));
    int status = len > 0 && dkim_private_public(key, p, sizeof(p)) > 0 ? 0 : -EIO;
    if (status == 0)
        status = write_file(r->file, pem, (size_t)len);
    explicit_bzero(pem, sizeof(pem));
    if (status == 0)
        print_record(r, key, p);
    dkim_private_unref(key);
    return status == 0 ? 0 : fail(r->file, strerror(-status));
}

static int keygen(int argc, char **argv)
{
    static const struct option longs[] = { { "type", required_argument, NULL, 't' },
                                           { "bits", required_argument, NULL, 'b' },
                                           { NULL, 0, NULL, 0 } };
    unsigned long bits = RSA_BITS_DEFAULT;
    bool ed25519 = false;
    struct request r;
    char *end;
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "t:b:", longs, NULL)) != -1) {
        if (c == 'b') {
            bits = strtoul(optarg, &end, 10);
            if (*end != '\0' || bits < DKIM_RSA_BITS_MIN || bits > DKIM_RSA_BITS_MAX) {
                (void)fprintf(stderr, "tern dkim: --bits: expected a number from %d to %d; got \"%s\"\n",
                              DKIM_RSA_BITS_MIN, DKIM_RSA_BITS_MAX, optarg);
                return usage();
            }
        } else if (c == 't' && (strcmp(optarg, "rsa") == 0 || strcmp(optarg, "ed25519") == 0)) {
            ed25519 = optarg[0] == 'e';
        } else {
            return usage();
        }
    }
    if (optind + 3 != argc)
        return usage();
    return take_words(argv + optind, &r) ? make(&r, ed25519 ? 0 : (unsigned)bits) : CLI_NO;
}

/* ---- check ---- */

struct asked {
    const struct request *request;
    const struct dkim_private *key;
    bool done;
    int status;
};

/* NULL: what the key signs is verified by what is published. */
static const char *compare(const struct dkim_private *key, tern_str text, bool *ret_testing)
{
    uint8_t hash[DKIM_HASH_OCTETS] = { 't', 'e', 'r', 'n' }, b[DKIM_B_OCTETS_MAX];
    struct dkim_record record;
    struct dkim_key *public = NULL;
    const char *wrong = dkim_record_parse(text, &record);
    int octets;

    if (wrong != NULL)
        return wrong;
    if (record.revoked)
        return "it is revoked: p= is empty";
    if (record.ed25519 != (dkim_private_algorithm(key) == DKIM_ED25519_SHA256))
        return "k= is not what the key is";
    if (!record.sha256 || !record.email)
        return record.email ? "h= does not allow sha256" : "s= does not allow email";
    if ((wrong = dkim_key_make(&record, &public)) != NULL)
        return wrong;
    octets = dkim_sign_hash(key, hash, b);
    if (octets < 0 || !dkim_verify_hash(public, hash, b, (size_t)octets))
        wrong = "p= is another key";
    dkim_key_unref(public);
    *ret_testing = record.testing;
    return wrong;
}

static int judge(const struct asked *a, const struct tern_dns_answer *answer)
{
    const char *name = a->request->name, *wrong = NULL;
    bool testing = false;

    if (answer->status == TERN_FAILED) {
        (void)fprintf(stderr, "tern dkim: %s: DNS did not answer: %s\n", name, answer->error);
        return CLI_OFFLINE;
    }
    if (answer->status == TERN_ABSENT || answer->count == 0)
        return fail(name, "there is no TXT record");
    if (answer->count > 1)
        return fail(name, "there are several TXT records: what others make of them is anybody's guess");
    wrong = compare(a->key, answer->records[0].text, &testing);
    if (wrong != NULL)
        return fail(name, wrong);
    printf("%s: the record matches %s (%u bits)\n", name, a->request->file, dkim_private_bits(a->key));
    if (testing)
        printf("%s: t=y says that you are testing: others may treat your mail as unsigned\n", name);
    if (dkim_private_algorithm(a->key) == DKIM_RSA_SHA256 && dkim_private_bits(a->key) < DKIM_RSA_BITS_GOOD)
        printf("%s: a key of less than %d bits is weak\n", name, DKIM_RSA_BITS_GOOD);
    return 0;
}

static void on_answer(void *arg, const struct tern_dns_answer *answer)
{
    struct asked *a = arg;

    a->status = judge(a, answer);
    a->done = true;
}

static int ask(const struct request *r, const struct dkim_private *key, const tern_address *server)
{
    struct dns_options options = { .servers = server, .server_count = server->family != 0 };
    struct asked a = { .request = r, .key = key };
    struct loop *loop = loop_new(0);
    struct dns *dns = NULL;

    if (dns_new(loop, &options, &dns) < 0) {
        loop_free(loop);
        return fail(r->name, "no name server can be asked: --dns ADDRESS");
    }
    (void)dns_ask(dns, r->name, TERN_DNS_TXT, false, on_answer, &a);
    while (!a.done)
        loop_turn(loop, true); /* the resolver gives up by itself */
    dns_free(dns);
    loop_free(loop);
    return a.status;
}

static const char *read_key(const char *path, struct dkim_private **ret)
{
    char text[PEM_OCTETS_MAX];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return strerror(errno);
    if (fstat(fd, &st) == 0 && (st.st_mode & 07) != 0)
        (void)fprintf(stderr, "tern dkim: %s: everybody may read or write it, so dkim_sign refuses it: chmod 600\n",
                      path);
    ssize_t len = read(fd, text, sizeof(text));
    (void)close(fd);
    const char *wrong = len < 0 ? "it cannot be read" : dkim_private_parse(dkim_str(text, (size_t)len), ret);
    explicit_bzero(text, sizeof(text));
    return wrong;
}

static int check(int argc, char **argv)
{
    static const struct option longs[] = { { "dns", required_argument, NULL, 'd' }, { NULL, 0, NULL, 0 } };
    tern_address server = { .family = 0 };
    struct dkim_private *key = NULL;
    struct request r;
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "d:", longs, NULL)) != -1)
        if (c != 'd' || !value_address(slice_cstr(optarg), &server))
            return usage();
    if (optind + 3 != argc)
        return usage();
    if (!take_words(argv + optind, &r))
        return CLI_NO;
    const char *wrong = read_key(r.file, &key);
    if (wrong != NULL)
        return fail(r.file, wrong);
    int status = ask(&r, key, &server);
    dkim_private_unref(key);
    return status;
}

int cmd_dkim(int argc, char **argv)
{
    if (dkim_crypto_init() < 0)
        return fail("OpenSSL", "it has no SHA-256");
    if (argc >= 2 && strcmp(argv[1], "keygen") == 0)
        return keygen(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "check") == 0)
        return check(argc - 1, argv + 1);
    return usage();
}
