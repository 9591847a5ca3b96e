/* SPDX-License-Identifier: Apache-2.0 */
/* test_auth_http.c - what auth_http asks, and what answers mean. */
#include <CUnit/Basic.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "../../modules/auth_http/question.h"

static struct question q;

/* Whatever the client says comes out of a parser as it went in. */
static void test_escaping(void)
{
    static const struct {
        const char *text;
        size_t octets;
    } said[] = {
        { "alice", 5 }, { "a\"b\\c", 5 }, { "\",\"admin\":true,\"x\":\"", 20 }, { "*()\\';%\r\n\t", 10 }, { "a\0b", 3 },
        { "gr\303\274n \360\237\224\221", 10 }, { "\177\001", 2 }, { "", 0 },
    };

    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        json_error_t error;
        question_begin(&q);
        question_text(&q, "user", (tern_str){ said[i].text, said[i].octets });
        question_bool(&q, "tls", i % 2 == 0);
        question_end(&q);
        CU_ASSERT_FALSE(q.bad);
        json_t *root = json_loadb(q.text, q.octets, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(root);
        CU_ASSERT_EQUAL(json_object_size(root), 2);
        const json_t *user = json_object_get(root, "user");
        CU_ASSERT_EQUAL(json_string_length(user), said[i].octets);
        CU_ASSERT_EQUAL(memcmp(json_string_value(user), said[i].text, said[i].octets), 0);
        json_decref(root);
    }
    question_wipe(&q);
    question_form(&q, "token", (tern_str){ "a b&c=d%\n\303\274", 11 });
    question_form(&q, "hint", TERN_STR("x-._~"));
    CU_ASSERT_STRING_EQUAL(q.text, "token=a%20b%26c%3Dd%25%0A%C3%BC&hint=x-._~");
}

static void test_bad_questions(void)
{
    static const char *const no_utf8[] = { "\377", "\300\257", "\355\240\200", "\364\220\200\200", "a\303", "\200" };
    static char text[QUESTION_OCTETS_MAX];

    for (size_t i = 0; i < sizeof(no_utf8) / sizeof(no_utf8[0]); i++) {
        question_begin(&q);
        question_text(&q, "user", (tern_str){ no_utf8[i], strlen(no_utf8[i]) });
        CU_ASSERT_TRUE(q.bad);
    }
    memset(text, 'x', sizeof(text));
    for (unsigned more = 0; more <= 1; more++) { /* {"user":" and "} are eleven */
        question_begin(&q);
        question_text(&q, "user", (tern_str){ text, QUESTION_OCTETS_MAX - 11 + more });
        question_end(&q);
        CU_ASSERT_EQUAL(q.bad, more == 1);
        CU_ASSERT_TRUE(q.octets <= QUESTION_OCTETS_MAX);
    }
}

static const struct {
    const char *what, *body;
    bool yes;
    const char *login;
} answers[] = {
    { "nothing", "", true, "" },
    { "blanks", " \r\n", true, "" },
    { "an object", "{}", true, "" },
    { "a user", "{\"user\":\"alice@example.org\",\"x\":1}", true, "alice@example.org" },
    { "a start page", "<html>Welcome</html>", false, "" },
    { "ok", "ok", false, "" },
    { "a word of JSON", "true", false, "" },
    { "a list", "[]", false, "" },
    { "half an object", "{\"user\":\"al", false, "" },
    { "two objects", "{}{}", false, "" },
    { "a user twice", "{\"user\":\"a\",\"user\":\"b\"}", false, "" },
    { "an empty user", "{\"user\":\"\"}", false, "" },
    { "a user that is a number", "{\"user\":7}", false, "" },
    { "a user of null", "{\"user\":null}", false, "" },
    { "a user with a line end", "{\"user\":\"a\\nb\"}", false, "" },
    { "a user with a NUL", "{\"user\":\"a\\u0000b\"}", false, "" },
};

static void test_answers(void)
{
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        char login[QUESTION_LOGIN_OCTETS_MAX + 1];
        bool yes = answer_read(answers[i].body, strlen(answers[i].body), login);
        if (yes != answers[i].yes)
            fprintf(stderr, "  case \"%s\"\n", answers[i].what);
        CU_ASSERT_EQUAL(yes, answers[i].yes);
        CU_ASSERT_TRUE(!yes || strcmp(login, answers[i].login) == 0);
    }
    char login[QUESTION_LOGIN_OCTETS_MAX + 1];
    CU_ASSERT_FALSE(answer_read("\0{}", 3, login));
    CU_ASSERT_FALSE(answer_read(" \0", 2, login));
}

static const struct {
    const char *what, *body;
    enum token_answer want;
} tokens[] = {
    { "active", "{\"active\":true,\"username\":\"alice\",\"exp\":1001,\"scope\":\"imap smtp\"}", TOKEN_ACTIVE },
    { "the scope alone", "{\"active\":true,\"username\":\"alice\",\"scope\":\"smtp\"}", TOKEN_ACTIVE },
    { "not active", "{\"active\":false}", TOKEN_INACTIVE },
    { "expired this second", "{\"active\":true,\"username\":\"alice\",\"exp\":1000,\"scope\":\"smtp\"}", TOKEN_INACTIVE },
    { "another scope", "{\"active\":true,\"username\":\"alice\",\"scope\":\"smtps xsmtp smtp2\"}", TOKEN_INACTIVE },
    { "no scope", "{\"active\":true,\"username\":\"alice\"}", TOKEN_INACTIVE },
    { "a scope that is a list", "{\"active\":true,\"username\":\"alice\",\"scope\":[\"smtp\"]}", TOKEN_INACTIVE },
    { "active as text", "{\"active\":\"true\",\"username\":\"alice\",\"scope\":\"smtp\"}", TOKEN_RUBBISH },
    { "active as a number", "{\"active\":1,\"username\":\"alice\",\"scope\":\"smtp\"}", TOKEN_RUBBISH },
    { "no user", "{\"active\":true,\"scope\":\"smtp\"}", TOKEN_RUBBISH },
    { "an end that is text", "{\"active\":true,\"username\":\"alice\",\"scope\":\"smtp\",\"exp\":\"1001\"}", TOKEN_RUBBISH },
    { "no JSON", "active", TOKEN_RUBBISH },
    { "nothing", "", TOKEN_RUBBISH },
};

static void test_tokens(void)
{
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        struct token t = { .login = "untouched" };
        enum token_answer got = token_read(tokens[i].body, strlen(tokens[i].body), "username", "smtp", 1000, &t);
        if (got != tokens[i].want)
            fprintf(stderr, "  case \"%s\": %d\n", tokens[i].what, got);
        CU_ASSERT_EQUAL(got, tokens[i].want);
        CU_ASSERT_STRING_EQUAL(t.login, got == TOKEN_ACTIVE ? "alice" : "untouched");
    }
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("auth_http", NULL, NULL);
    CU_add_test(suite, "escaping", test_escaping);
    CU_add_test(suite, "bad questions", test_bad_questions);
    CU_add_test(suite, "answers", test_answers);
    CU_add_test(suite, "tokens", test_tokens);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
