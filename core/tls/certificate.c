/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certificate.c - a chain and its key from PEM files, and the names it is for.
 *
 * The octets of a key are wiped here; what OpenSSL keeps of it is OpenSSL's to wipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tls/private.h"

#define NAMES_MAX 1000 /* of one certificate */

struct file {
    char *data;
    size_t len;
};

static int fail(char error[TLS_ERROR_OCTETS], const char *path, const char *why)
{
    (void)snprintf(error, TLS_ERROR_OCTETS, "%s: %s", path, why);
    return -EINVAL;
}

static int open_file(const char *path, const struct tls_opener *opener)
{
    if (opener != NULL && opener->open != NULL)
        return opener->open(opener->arg, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static int read_fd(int fd, const char *path, struct file *f, char error[TLS_ERROR_OCTETS])
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return fail(error, path, "is no file");
    if (st.st_size > TLS_FILE_OCTETS_MAX)
        return fail(error, path, "is larger than 1 MB, this is no certificate or key");
    f->data = mem_alloc((size_t)st.st_size + 1);
    while (f->len < (size_t)st.st_size) {
        ssize_t n = read(fd, f->data + f->len, (size_t)st.st_size - f->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(error, path, strerror(errno));
        if (n == 0)
            break;
        f->len += (size_t)n;
    }
    return 0;
}

static void wipe(struct file *f)
{
    if (f->data != NULL)
        explicit_bzero(f->data, f->len);
    free(f->data);
    *f = (struct file){ NULL, 0 };
}

static int read_file(const char *path, const struct tls_opener *opener, struct file *f, char error[TLS_ERROR_OCTETS])
{
    int fd = open_file(path, opener);

    if (fd < 0) {
        (void)fail(error, path, strerror(-fd));
        return fd;
    }
    int r = read_fd(fd, path, f, error);
    (void)close(fd);
    if (r < 0)
        wipe(f);
    return r;
}

/* Nobody can be asked for a passphrase. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out, (void)size, (void)writing;
    *(bool *)arg = true;
    return -1;
}

static int load_chain(struct tls_certificate *c, BIO *bio, const char *path, char error[TLS_ERROR_OCTETS])
{
    bool asked = false;

    c->leaf = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, &asked);
    if (c->leaf == NULL)
        return fail(error, path, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
    c->chain = sk_X509_new_null();
    for (X509 *next; (next = PEM_read_bio_X509(bio, NULL, no_passphrase, &asked)) != NULL;) {
        if (sk_X509_num(c->chain) >= TLS_CHAIN_MAX || sk_X509_push(c->chain, next) == 0) {
            X509_free(next);
            return fail(error, path, "holds more than 11 certificates; one server's chain belongs here");
        }
    }
    unsigned long last = ERR_peek_last_error();
    if (last != 0 && ERR_GET_REASON(last) != PEM_R_NO_START_LINE)
        return fail(error, path, "a certificate behind the first one is damaged");
    ERR_clear_error();
    return 0;
}

static int load_key(struct tls_certificate *c, BIO *bio, const char *path, char error[TLS_ERROR_OCTETS])
{
    bool asked = false;

    c->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
    if (c->key != NULL)
        return 0;
    return fail(error, path, asked ? "is encrypted; a key without a passphrase is needed, readable by root only"
                                   : "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)");
}

static void add_name(struct tls_certificate *c, const char *name, size_t octets)
{
    char folded[TLS_HOST_OCTETS_MAX];

    /* A NUL inside: a name for the one who looks at all of it, and another for who does not. */
    if (strlen(name) != octets || c->name_count >= NAMES_MAX || !tls_name_fold(name, folded))
        return;
    c->names = mem_realloc(c->names, (c->name_count + 1) * sizeof(c->names[0]));
    c->names[c->name_count++] = mem_strdup(folded);
}

static void find_names(struct tls_certificate *c)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
    char common[TLS_HOST_OCTETS_MAX];

    for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(all, i);
        if (n->type == GEN_DNS)
            add_name(c, (const char *)ASN1_STRING_get0_data(n->d.dNSName), (size_t)ASN1_STRING_length(n->d.dNSName));
    }
    GENERAL_NAMES_free(all);
    if (c->name_count > 0)
        return;
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(c->leaf), NID_commonName, common, sizeof(common));
    if (len > 0)
        add_name(c, common, (size_t)len);
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static int load(struct tls_certificate *c, const struct file files[2], const char *cert_path, const char *key_path,
                char error[TLS_ERROR_OCTETS])
{
    BIO *cert = BIO_new_mem_buf(files[0].data, (int)files[0].len);
    BIO *key = BIO_new_mem_buf(files[1].data, (int)files[1].len);
    int r = load_chain(c, cert, cert_path, error);

    if (r == 0)
        r = load_key(c, key, key_path, error);
    if (r == 0 && X509_check_private_key(c->leaf, c->key) != 1)
        r = fail(error, key_path, "is not the key of the certificate");
    if (r == 0) {
        find_names(c);
        c->from_s = seconds_of(X509_get0_notBefore(c->leaf));
        c->until_s = seconds_of(X509_get0_notAfter(c->leaf));
    }
    BIO_free(cert);
    BIO_free(key);
    ERR_clear_error();
    return r;
}

struct tls_certificate *tls_certificate_load(const char *cert_path, const char *key_path,
                                             const struct tls_opener *opener, char error[TLS_ERROR_OCTETS])
{
    struct tls_certificate *c = mem_zalloc(sizeof(*c));
    struct file files[2] = { { NULL, 0 }, { NULL, 0 } };

    tls_library();
    ERR_clear_error();
    int r = read_file(cert_path, opener, &files[0], error);
    if (r == 0)
        r = read_file(key_path, opener, &files[1], error);
    if (r == 0)
        r = load(c, files, cert_path, key_path, error);
    wipe(&files[0]);
    wipe(&files[1]);
    if (r == 0)
        return c;
    tls_certificate_free(c);
    errno = -r;
    return NULL;
}

void tls_certificate_free(struct tls_certificate *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->name_count; i++)
        free(c->names[i]);
    free(c->names);
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
    free(c);
}

bool tls_certificate_covers(const struct tls_certificate *c, struct slice name)
{
    for (unsigned i = 0; i < c->name_count; i++)
        if (tls_name_matches(slice_cstr(c->names[i]), name))
            return true;
    return false;
}

void tls_certificate_validity(const struct tls_certificate *c, int64_t *ret_from_s, int64_t *ret_until_s)
{
    *ret_from_s = c->from_s;
    *ret_until_s = c->until_s;
}
