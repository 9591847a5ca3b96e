/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binding.c - channel bindings: octets that both ends compute from the connection and nobody between
 * them can. Sources: RFC 5929 4 (tls-server-end-point), RFC 9266 (tls-exporter).
 */
#include <errno.h>
#include <string.h>

#include "tls/private.h"

/*
 * In TLS 1.2 without the extended master secret two connections can be made to share their keys,
 * and so their binding (RFC 9266 4.2). The empty context is left out, as all peers do.
 */
static int exporter(const struct tls *tls, unsigned char out[TLS_BINDING_OCTETS_MAX])
{
    static const char label[] = "EXPORTER-Channel-Binding";

    if (SSL_version(tls->ssl) < TLS1_3_VERSION && SSL_get_extms_support(tls->ssl) != 1)
        return -ENOTSUP;
    if (SSL_export_keying_material(tls->ssl, out, 32, label, sizeof(label) - 1, NULL, 0, 0) != 1) {
        ERR_clear_error();
        return -ENOTSUP;
    }
    return 32;
}

/* RFC 5929 4.1: the digest of the certificate's own signature, but SHA-256 where that is MD5 or SHA-1. */
static int digest(const X509 *certificate, unsigned char out[TLS_BINDING_OCTETS_MAX])
{
    int kind = NID_undef;
    unsigned len = 0;

    if (X509_get_signature_info((X509 *)certificate, &kind, NULL, NULL, NULL) != 1 || kind == NID_undef ||
        kind == NID_md5 || kind == NID_sha1)
        kind = NID_sha256;
    const EVP_MD *md = EVP_get_digestbynid(kind);
    if (md == NULL || EVP_MD_get_size(md) > TLS_BINDING_OCTETS_MAX || X509_digest(certificate, md, out, &len) != 1) {
        ERR_clear_error();
        return -ENOTSUP;
    }
    return (int)len;
}

static int end_point(const struct tls *tls, unsigned char out[TLS_BINDING_OCTETS_MAX])
{
    if (tls->client != NULL) {
        const X509 *theirs = SSL_get0_peer_certificate(tls->ssl);
        return theirs != NULL ? digest(theirs, out) : -ENOTSUP;
    }
    if (!SSL_session_reused(tls->ssl)) {
        const X509 *ours = SSL_get_certificate(tls->ssl);
        return ours != NULL ? digest(ours, out) : -ENOTSUP;
    }
    struct slice kept = tls_sealed_binding(tls);
    if (kept.len == 0 || kept.len > TLS_BINDING_OCTETS_MAX)
        return -ENOTSUP;
    memcpy(out, kept.ptr, kept.len);
    return (int)kept.len;
}

int tls_channel_binding(const struct tls *tls, enum tls_binding binding, unsigned char out[TLS_BINDING_OCTETS_MAX])
{
    return binding == TLS_BINDING_EXPORTER ? exporter(tls, out) : end_point(tls, out);
}
