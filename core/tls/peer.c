/* SPDX-License-Identifier: Apache-2.0 */
/* peer.c - the certificate that the other end showed, as text. */
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls/private.h"

/* What would let a name look like another one is left out altogether: NUL, controls, what does not fit. */
static bool copy_text(char out[TLS_NAME_OCTETS], const char *prefix, const ASN1_STRING *s)
{
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, s);
    size_t before = strlen(prefix);
    bool ok = len > 0 && before + (size_t)len < TLS_NAME_OCTETS;

    for (int i = 0; i < len && ok; i++)
        ok = text[i] >= ' ' && text[i] != 0x7f;
    if (ok) {
        memcpy(out, prefix, before);
        memcpy(out + before, text, (size_t)len);
        out[before + (size_t)len] = '\0';
    }
    OPENSSL_free(text);
    return ok;
}

static void add_names(const X509 *x, struct tls_peer *ret)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all) && ret->name_count < TLS_NAMES_MAX; i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(all, i);
        bool is_dns = n->type == GEN_DNS;
        if (is_dns || n->type == GEN_EMAIL)
            ret->name_count += copy_text(ret->names[ret->name_count], is_dns ? "dns:" : "email:", n->d.ia5);
    }
    GENERAL_NAMES_free(all);
}

/* The last CN: the most specific. */
static void add_common_name(const X509_NAME *subject, struct tls_peer *ret)
{
    int at = -1;

    for (int next; (next = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;)
        at = next;
    if (at >= 0 && !copy_text(ret->common_name, "", X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))))
        ret->common_name[0] = '\0';
}

static void add_subject(const X509_NAME *subject, struct tls_peer *ret)
{
    BIO *bio = BIO_new(BIO_s_mem());

    if (bio != NULL && X509_NAME_print_ex(bio, subject, 0, XN_FLAG_RFC2253) >= 0) {
        int n = BIO_read(bio, ret->subject, sizeof(ret->subject) - 1);
        ret->subject[n > 0 ? n : 0] = '\0';
    }
    BIO_free(bio);
}

static void add_fingerprint(const X509 *x, struct tls_peer *ret)
{
    unsigned char octets[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    if (X509_digest(x, EVP_sha256(), octets, &len) != 1)
        return;
    for (unsigned i = 0; i < len && 2 * i + 2 < sizeof(ret->fingerprint); i++)
        (void)snprintf(ret->fingerprint + 2 * i, 3, "%02x", octets[i]);
}

void tls_peer(const struct tls *tls, struct tls_peer *ret)
{
    const X509 *x = SSL_get0_peer_certificate(tls->ssl);
    long verdict = SSL_get_verify_result(tls->ssl);

    memset(ret, 0, sizeof(*ret));
    if (x == NULL)
        return;
    ERR_clear_error();
    ret->present = true;
    ret->verified = verdict == X509_V_OK;
    if (!ret->verified)
        (void)snprintf(ret->error, sizeof(ret->error), "%s", X509_verify_cert_error_string(verdict));
    add_subject(X509_get_subject_name(x), ret);
    add_common_name(X509_get_subject_name(x), ret);
    add_names(x, ret);
    add_fingerprint(x, ret);
    ERR_clear_error();
}
