/* SPDX-License-Identifier: Apache-2.0 */
/* test_local.c - tern-local's packet at its bounds, and what its rules allow. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "local/protocol.h"
#include "local/rules.h"

static char packet[LOCAL_REQUEST_OCTETS_MAX + 1];
static char big[LOCAL_REQUEST_OCTETS_MAX];

static struct local_request mail(void)
{
    return (struct local_request){ .op = LOCAL_MAILDIR, .flags = LOCAL_CREATE | LOCAL_LF, .timeout_ms = 1000, .octets = 7,
                                   .user = SLICE("alice"), .place = SLICE("%{home}/Maildir"), .name = SLICE("mx.test"),
                                   .head = SLICE("Return-Path: <>\n") };
}

static struct local_request command(void)
{
    return (struct local_request){ .op = LOCAL_PIPE, .timeout_ms = 1, .octets = 7, .user = SLICE("alice"),
                                   .args_count = 1, .args = { SLICE("/bin/true") } };
}

static struct local_request login(void)
{
    return (struct local_request){ .op = LOCAL_PAM, .timeout_ms = 1, .user = SLICE("a\nb\"'"), .place = SLICE("tern"),
                                   .name = SLICE("192.0.2.1"), .secret = SLICE("\x01 secret") };
}

static bool is_taken(const struct local_request *r)
{
    struct local_request back;
    int n = local_request_put(r, packet, sizeof(packet));

    if (n < 0)
        return false;
    CU_ASSERT_EQUAL(local_request_parse(packet, (size_t)n, &back), 0);
    CU_ASSERT_TRUE(slice_equal(back.user, r->user) && slice_equal(back.place, r->place) &&
                   slice_equal(back.name, r->name) && slice_equal(back.head, r->head) &&
                   slice_equal(back.secret, r->secret));
    CU_ASSERT_TRUE(back.op == r->op && back.flags == r->flags && back.octets == r->octets &&
                   back.timeout_ms == r->timeout_ms && back.args_count == r->args_count);
    for (int i = 0; i < n; i++) /* cut anywhere it is none */
        CU_ASSERT_EQUAL(local_request_parse(packet, (size_t)i, &back), -EBADMSG);
    packet[n] = '\0';
    CU_ASSERT_EQUAL(local_request_parse(packet, (size_t)n + 1, &back), -EBADMSG);
    return true;
}

static void test_requests(void)
{
    struct local_request r = mail();
    CU_ASSERT_TRUE(is_taken(&r));
    r = command();
    CU_ASSERT_TRUE(is_taken(&r));
    r = login();
    CU_ASSERT_TRUE(is_taken(&r));
}

#define WRONG(make, change) do { struct local_request r = make(); change; CU_ASSERT_FALSE(is_taken(&r)); } while (0)
#define RIGHT(make, change) do { struct local_request r = make(); change; CU_ASSERT_TRUE(is_taken(&r)); } while (0)

static void test_refused(void)
{
    memset(big, 'x', sizeof(big));
    RIGHT(mail, r.user = slice_make(big, LOCAL_USER_OCTETS_MAX));
    WRONG(mail, r.user = slice_make(big, LOCAL_USER_OCTETS_MAX + 1));
    WRONG(mail, r.op = 0);
    WRONG(mail, r.op = 4);
    WRONG(mail, r.flags = 4);
    WRONG(mail, r.user = SLICE(""));
    WRONG(mail, r.user = SLICE("a\nb"));
    WRONG(mail, r.user = SLICE("a\0b"));
    WRONG(mail, r.place = SLICE(""));
    WRONG(mail, r.name = SLICE("../x"));
    WRONG(mail, r.secret = SLICE("x"));
    WRONG(mail, (r.args_count = 1, r.args[0] = SLICE("/bin/sh")));
    WRONG(mail, r.timeout_ms = 0);
    WRONG(mail, r.timeout_ms = LOCAL_TIMEOUT_MS_MAX + 1);
    RIGHT(mail, r.timeout_ms = LOCAL_TIMEOUT_MS_MAX);
    WRONG(command, r.args_count = 0);
    WRONG(command, r.args[0] = SLICE("true"));
    WRONG(command, r.args[0] = SLICE("/"));
    WRONG(command, r.output_max = LOCAL_OUTPUT_MAX + 1);
    RIGHT(command, r.output_max = LOCAL_OUTPUT_MAX);
    WRONG(command, (r.env_count = 1, r.env[0] = SLICE("=x")));
    WRONG(command, (r.env_count = 1, r.env[0] = SLICE("x")));
    RIGHT(command, (r.env_count = 1, r.env[0] = SLICE("x=")));
    WRONG(command, (r.env_count = 2, r.env[0] = SLICE("A=b"), r.env[1] = SLICE("LD_PRELOAD=/tmp/x.so")));
    WRONG(command, (r.env_count = 1, r.env[0] = SLICE("LD_=")));
    RIGHT(command, (r.env_count = 1, r.env[0] = SLICE("LD=")));
    WRONG(command, (r.env_count = 1, r.env[0] = SLICE("BASH_FUNC_cat%%=() { evil; }")));
    WRONG(command, (r.env_count = 1, r.env[0] = SLICE("ENV=/tmp/x")));
    RIGHT(command, (r.env_count = 1, r.env[0] = SLICE("ENVELOPE=ENV")));
    WRONG(command, (r.env_count = 1, r.env[0] = SLICE("PYTHONPATH=/tmp")));
    WRONG(login, r.place = SLICE("../shadow"));
    WRONG(login, r.place = SLICE(".x"));
    WRONG(login, r.place = SLICE(""));
    WRONG(login, r.octets = 1);
    WRONG(login, r.secret = SLICE("a\0b"));
}

static void test_bounds(void)
{
    struct local_request r = command();
    for (unsigned i = 1; i < LOCAL_ARGS_MAX; i++)
        r.args[i] = SLICE("");
    for (unsigned i = 0; i < LOCAL_ENV_MAX; i++)
        r.env[i] = SLICE("a=");
    r.args_count = LOCAL_ARGS_MAX;
    r.env_count = LOCAL_ENV_MAX;
    CU_ASSERT_TRUE(is_taken(&r));
    r.args_count = LOCAL_ARGS_MAX + 1;
    CU_ASSERT_EQUAL(local_request_put(&r, packet, sizeof(packet)), -EINVAL);
    r.args_count = 1;
    r.env_count = LOCAL_ENV_MAX + 1;
    CU_ASSERT_EQUAL(local_request_put(&r, packet, sizeof(packet)), -EINVAL);

    r = command();
    memset(big, 'x', sizeof(big));
    int empty = local_request_put(&r, packet, sizeof(packet));
    r.head = slice_make(big, LOCAL_REQUEST_OCTETS_MAX - (size_t)empty);
    CU_ASSERT_EQUAL(local_request_put(&r, packet, sizeof(packet)), LOCAL_REQUEST_OCTETS_MAX);
    CU_ASSERT_EQUAL(local_request_parse(packet, LOCAL_REQUEST_OCTETS_MAX, &r), 0);
    r = command();
    r.head = slice_make(big, LOCAL_REQUEST_OCTETS_MAX - (size_t)empty + 1);
    CU_ASSERT_EQUAL(local_request_put(&r, packet, sizeof(packet)), -EMSGSIZE);
}

static void test_rules(void)
{
    static struct local_rules rules;

    local_rules_default(&rules);
    CU_ASSERT_PTR_NULL(local_rules_refuse_user(&rules, 1000, 1000, 0));
    CU_ASSERT_PTR_NOT_NULL(local_rules_refuse_user(&rules, 999, 1000, 0));
    CU_ASSERT_PTR_NOT_NULL(local_rules_refuse_user(&rules, 0, 1000, 0));
    CU_ASSERT_PTR_NOT_NULL(local_rules_refuse_user(&rules, 1000, 0, 0));
    CU_ASSERT_PTR_NOT_NULL(local_rules_refuse_user(&rules, (uid_t)-1, 1000, 0));
    rules.uid_min = 0; /* whatever is written: never root */
    CU_ASSERT_PTR_NOT_NULL(local_rules_refuse_user(&rules, 0, 1000, 0));
    CU_ASSERT_PTR_NULL(local_rules_refuse_user(&rules, 500, 500, 500)); /* without root: oneself only */
    CU_ASSERT_PTR_NOT_NULL(local_rules_refuse_user(&rules, 501, 500, 500));

    CU_ASSERT_FALSE(local_rules_allow_command(&rules, "/bin/true"));
    (void)strcpy(rules.commands[rules.command_count++], "/bin/true");
    CU_ASSERT_TRUE(local_rules_allow_command(&rules, "/bin/true"));
    CU_ASSERT_FALSE(local_rules_allow_command(&rules, "/bin/../bin/true"));
    CU_ASSERT_FALSE(local_rules_allow_command(&rules, "/bin/tru"));
    CU_ASSERT_FALSE(local_rules_allow_service(&rules, "tern"));
    (void)strcpy(rules.services[rules.service_count++], "tern");
    CU_ASSERT_TRUE(local_rules_allow_service(&rules, "tern"));
    CU_ASSERT_FALSE(local_rules_allow_service(&rules, "Tern"));
}

static void test_folders(void)
{
    static const struct {
        const char *path, *home;
        bool allowed;
    } rows[] = {
        { "/home/a/Maildir", "/home/a", true },       { "/home/a/Maildir", "/home/a/", true },
        { "/home/a", "/home/a", false },              { "/home/ab/Maildir", "/home/a", false },
        { "/home/a/../b/Maildir", "/home/a", false }, { "/home/a/./Maildir", "/home/a", false },
        { "/home/a//Maildir", "/home/a", false },     { "/home/a/Maildir/", "/home/a", false },
        { "home/a/Maildir", "/home/a", false },       { "/etc/cron.d", "/", false },
        { "/etc/cron.d", "", false },                 { "/etc", "home", false },
        { "/srv/mail/x", "/home/a", true },           { "/srv/mail", "/home/a", false },
        { "/srv/mailx/x", "/home/a", false },         { "/srv/mail/..", "/home/a", false },
        { "/srv/mail/...", "/home/a", true },         { "", "/home/a", false },
    };
    static struct local_rules rules;

    local_rules_default(&rules);
    (void)strcpy(rules.folders[rules.folder_count++], "/srv/mail");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool allowed = local_rules_allow_folder(&rules, rows[i].path, rows[i].home);
        if (allowed != rows[i].allowed)
            fprintf(stderr, "  %s of %s\n", rows[i].path, rows[i].home);
        CU_ASSERT_EQUAL(allowed, rows[i].allowed);
    }
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("local", NULL, NULL);
    CU_add_test(suite, "requests go there and back", test_requests);
    CU_add_test(suite, "requests that are none", test_refused);
    CU_add_test(suite, "bounds", test_bounds);
    CU_add_test(suite, "rules", test_rules);
    CU_add_test(suite, "folders", test_folders);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
