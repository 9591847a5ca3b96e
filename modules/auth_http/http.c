/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static CURL *idle[HTTP_HANDLES_MAX];
static unsigned idle_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int http_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -EIO;
}

void http_fini(void)
{
    pthread_mutex_lock(&lock);
    while (idle_count > 0)
        curl_easy_cleanup(idle[--idle_count]);
    pthread_mutex_unlock(&lock);
    curl_global_cleanup();
}

static CURL *take_handle(void)
{
    pthread_mutex_lock(&lock);
    CURL *h = idle_count > 0 ? idle[--idle_count] : NULL;
    pthread_mutex_unlock(&lock);
    return h != NULL ? h : curl_easy_init();
}

/* What was set is forgotten, secrets too; connections stay. */
static void give_back(CURL *h)
{
    curl_easy_reset(h);
    pthread_mutex_lock(&lock);
    bool kept = idle_count < HTTP_HANDLES_MAX;
    if (kept)
        idle[idle_count++] = h;
    pthread_mutex_unlock(&lock);
    if (!kept)
        curl_easy_cleanup(h);
}

static size_t take_octets(char *data, size_t size, size_t count, void *arg)
{
    struct http_answer *a = arg;

    if (size * count > HTTP_ANSWER_OCTETS_MAX - a->octets)
        return 0; /* libcurl gives up */
    memcpy(a->body + a->octets, data, size * count);
    a->octets += size * count;
    return size * count;
}

static void set(CURL *h, const struct http_request *r, struct curl_slist *headers, struct http_answer *a, char *error)
{
    (void)curl_easy_setopt(h, CURLOPT_URL, r->url);
    (void)curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(h, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    (void)curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (r->ca_file[0] != '\0')
        (void)curl_easy_setopt(h, CURLOPT_CAINFO, r->ca_file);
    if (r->user[0] != '\0') {
        (void)curl_easy_setopt(h, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        (void)curl_easy_setopt(h, CURLOPT_USERNAME, r->user);
        (void)curl_easy_setopt(h, CURLOPT_PASSWORD, r->password);
    }
    (void)curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    (void)curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)r->timeout_ms);
    (void)curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, (long)r->body_octets);
    (void)curl_easy_setopt(h, CURLOPT_POSTFIELDS, r->body);
    (void)curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_octets);
    (void)curl_easy_setopt(h, CURLOPT_WRITEDATA, a);
    (void)curl_easy_setopt(h, CURLOPT_ERRORBUFFER, error);
}

static struct curl_slist *make_headers(const struct http_request *r)
{
    char line[2048];
    struct curl_slist *list = NULL;

    (void)snprintf(line, sizeof(line), "Content-Type: %s", r->content_type);
    list = curl_slist_append(list, line);
    list = curl_slist_append(list, "Accept: application/json");
    list = curl_slist_append(list, "Expect:"); /* no 100-continue: the body is small */
    if (r->token[0] != '\0') {
        (void)snprintf(line, sizeof(line), "Authorization: Bearer %s", r->token);
        list = curl_slist_append(list, line);
        explicit_bzero(line, sizeof(line));
    }
    return list;
}

static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *l = list; l != NULL; l = l->next)
        explicit_bzero(l->data, strlen(l->data));
    curl_slist_free_all(list);
}

void http_post(const struct http_request *request, struct http_answer *ret)
{
    char error[CURL_ERROR_SIZE] = "";
    CURL *h = take_handle();

    ret->status = 0;
    ret->octets = 0;
    (void)snprintf(ret->error, sizeof(ret->error), "no memory");
    if (h == NULL)
        return;
    struct curl_slist *headers = make_headers(request);
    set(h, request, headers, ret, error);
    CURLcode r = curl_easy_perform(h);
    if (r == CURLE_OK)
        (void)curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &ret->status);
    else
        (void)snprintf(ret->error, sizeof(ret->error), "%.200s",
                       r == CURLE_WRITE_ERROR ? "the answer has more than 64 KB"
                       : error[0] != '\0'     ? error
                                              : curl_easy_strerror(r));
    ret->body[ret->octets] = '\0';
    give_back(h);
    free_headers(headers);
}

/* A password in clear crosses no wire. */
static bool is_this_machine(const char *host)
{
    bool digits = strspn(host, "0123456789.") == strlen(host); /* not 127.0.0.1.example.org */

    return strcmp(host, "localhost") == 0 || (digits && strncmp(host, "127.", 4) == 0) || strcmp(host, "[::1]") == 0;
}

const char *http_url_trouble(const char *url)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *user = NULL;
    const char *why = "expected an URL, as https://auth.example.org/login";

    if (u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
        why = NULL;
        if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
            why = "expected https:";
        else if (strcmp(scheme, "http") == 0 && !is_this_machine(host))
            why = "http: would send passwords in clear; only https:, or http: to localhost";
        else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
            why = "an URL is printed in logs: user and password have options of their own";
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(u);
    return why;
}
