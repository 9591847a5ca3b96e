/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - one POST over HTTP(S) by libcurl, on the thread that calls: no redirect, no proxy, no other
 * protocol, an answer of at most HTTP_ANSWER_OCTETS_MAX. Connections are kept for the next one.
 */
#ifndef AUTH_HTTP_HTTP_H
#define AUTH_HTTP_HTTP_H

#include <tern/module.h>

#define HTTP_ANSWER_OCTETS_MAX 65536
#define HTTP_HANDLES_MAX       16 /* kept idle, with their connections */

struct http_request {
    const char *url, *ca_file; /* ca_file "": the system's */
    const char *content_type;
    const char *token;          /* "": none; else Authorization: Bearer */
    const char *user, *password; /* "": none; else Authorization: Basic */
    const char *body;
    size_t body_octets;
    uint64_t timeout_ms;
};

struct http_answer {
    long status; /* 0: there was none */
    size_t octets;
    char body[HTTP_ANSWER_OCTETS_MAX + 1]; /* a NUL behind it */
    char error[256];                       /* status 0: why */
};

int http_init(void);
void http_fini(void);
/* May block for timeout_ms. What came is in ret; the caller wipes what is secret. */
void http_post(const struct http_request *request, struct http_answer *ret);
/* NULL: https:, or http: to this very machine. Else what is wrong with the URL. */
const char *http_url_trouble(const char *url);

#endif
