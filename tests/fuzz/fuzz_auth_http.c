/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_auth_http.c - the first octet says what the rest is: an answer, an answer of introspection, or what a client
 * said. Promised: a login name is one clean word; a question is JSON of one member, and says what was said.
 */
#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "../../modules/auth_http/question.h"

static void check_login(const char *login)
{
    assert(strlen(login) <= QUESTION_LOGIN_OCTETS_MAX);
    for (; *login != '\0'; login++)
        assert((unsigned char)*login >= ' ' && *login != 0x7f);
}

static void ask(const char *text, size_t octets)
{
    static struct question q;
    json_error_t error;

    question_begin(&q);
    question_text(&q, "user", (tern_str){ text, octets });
    question_end(&q);
    if (q.bad)
        return;
    json_t *root = json_loadb(q.text, q.octets, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    const json_t *user = json_object_get(root, "user");
    assert(root != NULL && json_object_size(root) == 1 && json_string_length(user) == octets);
    assert(memcmp(json_string_value(user), text, octets) == 0);
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char body[65537];
    char login[QUESTION_LOGIN_OCTETS_MAX + 1] = "";
    struct token token = { .login = "" };

    if (size == 0 || size > 65536)
        return 0;
    memcpy(body, data + 1, size - 1);
    body[size - 1] = '\0';
    if (data[0] % 3 == 0 && answer_read(body, size - 1, login))
        check_login(login);
    else if (data[0] % 3 == 1 && token_read(body, size - 1, "username", "smtp", 1000, &token) == TOKEN_ACTIVE)
        check_login(token.login);
    else if (data[0] % 3 == 2)
        ask(body, size - 1);
    return 0;
}
