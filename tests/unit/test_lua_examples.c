/* SPDX-License-Identifier: Apache-2.0 */
/* test_lua_examples.c - each script of lua/examples/, on mail that it acts on and mail that it leaves alone. */
#include <stdio.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "lua_fixture.h"

static const char *const subject[] = { "Subject: hello", NULL };
static const char *const marked[] = { "Subject: Re: [external] hello", NULL };
static const char *const none[] = { "From: a@b", NULL };
static const struct fake_dns dns[] = {
    { "good.example", "mx.good.example" },
    { "slow.example", "!SERVFAIL" },
    { NULL, NULL },
};

static const struct {
    const char *file, *yaml;
    enum tern_hook_point hook;
    const char *sender, *rcpt, *user, *client, *filename;
    const char *const *headers;
    int calls; /* how often; the last one counts */
    tern_verdict verdict;
    const char *did;
} cases[] = {
    { "attachments", NULL, TERN_HOOK_MESSAGE, .filename = "Setup.EXE", .verdict = TERN_REJECT,
      .did = "note filename=Setup.EXE\nresult attachments=refused\nreply reject 550 5.7.1 "
             "Attachments ending in .EXE are not accepted here\n" },
    { "attachments", "extensions: [com]", TERN_HOOK_MESSAGE, .filename = "setup.exe",
      .did = "result attachments=clean\n" },
    { "attachments", NULL, TERN_HOOK_MESSAGE, .filename = NULL,
      .did = "result attachments=clean\n" },
    { "five_at_a_time", "{ domain: example.org, max: 2 }", TERN_HOOK_RCPT, .rcpt = "x@example.org",
      .verdict = TERN_DEFER, .did = "reply defer 452 4.5.3 Only 2 at a time here, please\n" },
    { "five_at_a_time", "{ domain: example.org, max: 3 }", TERN_HOOK_RCPT, .rcpt = "x@example.org",
      .did = "" },
    { "five_at_a_time", "{ domain: example.org, max: 1 }", TERN_HOOK_RCPT, .rcpt = "x@example.com",
      .did = "" },
    { "subject_tag", NULL, TERN_HOOK_MESSAGE, .headers = subject,
      .did = "tag external\nreplace Subject[0]: [external] hello\n" },
    { "subject_tag", NULL, TERN_HOOK_MESSAGE, .headers = marked, .did = "tag external\n" },
    { "subject_tag", NULL, TERN_HOOK_MESSAGE, .headers = none,
      .did = "tag external\nprepend Subject: [external]\n" },
    { "subject_tag", "networks: [10.0.0.0/8]", TERN_HOOK_MESSAGE, .headers = subject,
      .client = "10.1.2.3", .did = "" },
    { "subject_tag", NULL, TERN_HOOK_MESSAGE, .headers = subject, .user = "alice", .did = "" },
    { "catchall_claim", "domains: { all.example: box@all.example }", TERN_HOOK_RCPT,
      .rcpt = "any@all.example", .did = "claim 1\nrewrite_rcpt box@all.example\n" },
    { "catchall_claim", "domains: { all.example: box@all.example }", TERN_HOOK_RCPT,
      .rcpt = "box@all.example", .did = "claim 1\n" },
    { "catchall_claim", "domains: { all.example: box@all.example }", TERN_HOOK_RCPT,
      .rcpt = "x@other.example", .did = "" },
    { "dns_check", NULL, TERN_HOOK_MAIL, .sender = "a@good.example",
      .did = "result sender_domain=found\n" },
    { "dns_check", NULL, TERN_HOOK_MAIL, .sender = "a@nowhere.example", .verdict = TERN_REJECT,
      .did = "result sender_domain=missing\nreply reject 550 5.1.8 The domain nowhere.example "
             "takes no mail\n" },
    { "dns_check", NULL, TERN_HOOK_MAIL, .sender = "a@slow.example", .verdict = TERN_DEFER,
      .did = "result sender_domain=unknown\nreply defer 451 4.1.8 The domain slow.example cannot "
             "be looked up at the moment\n" },
    { "dns_check", NULL, TERN_HOOK_MAIL, .sender = "", .did = "" },
    { "dns_check", NULL, TERN_HOOK_MAIL, .sender = "a@[192.0.2.1]", .did = "" },
    { "quota", "max: 3", TERN_HOOK_RCPT, .user = "alice", .calls = 3, .did = "" },
    { "quota", "max: 3", TERN_HOOK_RCPT, .user = "alice", .calls = 4, .verdict = TERN_DEFER,
      .did =
          "note count=4\nreply defer 450 4.7.1 Over 3 recipients in a short time; please wait\n" },
    { "quota", "{ max: 3, exempt: [alice] }", TERN_HOOK_RCPT, .user = "alice", .calls = 9,
      .did = "" },
    { "quota", "max: 3", TERN_HOOK_RCPT, .calls = 9, .did = "" },
    { "forward", "hosts: { example.org: 'a.example:26 b.example' }", TERN_HOOK_ROUTE,
      .verdict = TERN_ACCEPT,
      .did = "route smtp to=1 fallback=1 source= discard=\nto a.example:26\n" },
    { "aliases", "aliases: { x@example.org: 'bob@far.example, y@example.org  z@far.example' }", TERN_HOOK_RCPT,
      .did = "claim 3\nexpand_rcpt bob@far.example\nexpand_rcpt y@example.org\nexpand_rcpt z@far.example\n" },
    { "aliases", "aliases: { y@example.org: bob@far.example }", TERN_HOOK_RCPT, .did = "" },
    { "forward", "{ hosts: { example.net: x }, source: 192.0.2.5 }", TERN_HOOK_ROUTE, .did = "" },
};

static void fill(tern_call *call, size_t i)
{
    call->rcpt = cases[i].rcpt != NULL ? cases[i].rcpt : "x@example.org";
    call->rcpts[0] = "a@example.org";
    call->rcpts[1] = "b@example.org";
    call->headers = cases[i].headers;
    call->dns = dns;
    if (cases[i].sender != NULL)
        call->sender = cases[i].sender;
    call->user = cases[i].user;
    if (cases[i].client != NULL)
        call->client = cases[i].client;
    call->parts[0].type = TERN_STR("application/octet-stream");
    if (cases[i].filename != NULL)
        call->parts[0].filename = (tern_str){ cases[i].filename, strlen(cases[i].filename) };
    call->part_count = 1;
}

static void test_examples(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[512];

        (void)snprintf(path, sizeof(path), "%s/lua/examples/%s.lua", TERN_SOURCE_DIR,
                       cases[i].file);
        const struct tern_module *script = lua_fixture_load_file(path, false);
        if (script == NULL)
            fprintf(stderr, "  %s\n", lua_fixture_error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(script);
        const void *conf = fake_conf(script, cases[i].yaml);
        if (conf == NULL)
            fprintf(stderr, "  %s: %s\n", cases[i].file, fake_config_text.data);
        CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
        fake_kv_clear();
        for (int turn = cases[i].calls > 0 ? cases[i].calls : 1; turn > 0; turn--) {
            tern_call call;

            fake_call_init(&call, conf);
            fill(&call, i);
            tern_verdict verdict = fake_run(&call, script, cases[i].hook);
            const char *did = call.did.data != NULL ? call.did.data : "";
            if (turn == 1) {
                if (verdict != cases[i].verdict || strcmp(did, cases[i].did) != 0)
                    fprintf(stderr, "  case %zu, %s: %d %s", i, cases[i].file, (int)verdict, did);
                CU_ASSERT_EQUAL(verdict, cases[i].verdict);
                CU_ASSERT_STRING_EQUAL(did, cases[i].did);
            }
            fake_call_fini(&call);
        }
        lua_fixture_unload(script);
    }
}

int main(void)
{
    lua_fixture_start();
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lua examples", NULL, NULL);
    CU_add_test(suite, "examples", test_examples);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int failed = CU_get_number_of_failures() != 0;
    CU_cleanup_registry();
    lua_fixture_end();
    return failed;
}
