/* SPDX-License-Identifier: Apache-2.0 */
/*
 * question.h - the bodies that are sent, and what the bodies that come back mean. Pure. What a client said stands in
 * them as data only: escaped for JSON, percent-encoded for a form.
 */
#ifndef AUTH_HTTP_QUESTION_H
#define AUTH_HTTP_QUESTION_H

#include <tern/module.h>

#define QUESTION_OCTETS_MAX 65536
#define QUESTION_LOGIN_OCTETS_MAX 320

/* Holds secrets: question_wipe() when done. */
struct question {
    size_t octets;
    bool bad; /* too long, or not UTF-8 */
    char text[QUESTION_OCTETS_MAX + 1];
};

void question_begin(struct question *q);                                    /* { */
void question_text(struct question *q, const char *key, tern_str value);    /* "key":"value" */
void question_bool(struct question *q, const char *key, bool value);
void question_end(struct question *q);                                      /* } */
void question_form(struct question *q, const char *key, tern_str value);    /* key=value, & between */
void question_wipe(struct question *q);

/*
 * A yes (status 200): the body is empty or a JSON object; its "user", if there is one, is the login name. False:
 * it is neither, so whoever sent it did not understand the question.
 */
bool answer_read(const char *body, size_t octets, char ret_login[QUESTION_LOGIN_OCTETS_MAX + 1]);

enum token_answer { TOKEN_RUBBISH, TOKEN_INACTIVE, TOKEN_ACTIVE };
struct token {
    char login[QUESTION_LOGIN_OCTETS_MAX + 1];
    int64_t expires_s; /* 0: not said */
};
/* An answer of token introspection (RFC 7662 2.2). `scope` "": none is asked for. */
enum token_answer token_read(const char *body, size_t octets, const char *claim, const char *scope, int64_t now_s,
                             struct token *ret);

#endif
