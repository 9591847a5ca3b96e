/* SPDX-License-Identifier: Apache-2.0 */
/* test_policy.c - YAML in, policies or exact errors out. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "module/plan.h"
#include "policy_fixture.h"

static struct fixture fix;

/* ---- modules that do nothing, each in its place ---- */

static tern_verdict run(tern_call *call, const void *conf)
{
    (void)call;
    (void)conf;
    return TERN_NEXT;
}

struct conf {
    unsigned max;
    tern_str word;
    const struct tern_table *names;
};

static const struct tern_option some_options[] = {
    TERN_OPTION_UINT(struct conf, max, "10", 1, 100, "A number."),
    TERN_OPTION_STRING(struct conf, word, "plain", "A word."),
    TERN_OPTION_TABLE(struct conf, names, "", "Names."),
    TERN_OPTIONS_END,
};
static int check_word(void *conf, struct tern_config *config)
{
    const struct conf *c = conf;

    if (c->word.ptr != NULL && strcmp(c->word.ptr, "evil") == 0) {
        fixture_api.config_error(config, "word", "evil is not a word");
        return -EINVAL;
    }
    if (c->word.ptr != NULL && strcmp(c->word.ptr, "many") == 0 && c->max < 5)
        return -EINVAL; /* and says nothing: the core has to */
    return 0;
}

#define MODULE(id, ...)                                                                            \
    static const struct tern_module id = { .magic = TERN_ABI_MAGIC,                                \
                                           .size = sizeof(struct tern_module),                     \
                                           .abi_major = TERN_ABI_MAJOR,                            \
                                           .abi_minor = TERN_ABI_MINOR,                            \
                                           .name = #id,                                            \
                                           .options = some_options,                                \
                                           .check = check_word,                                    \
                                           .conf_size = sizeof(struct conf),                       \
                                           __VA_ARGS__ }
#define ACTS(id, ...) static const struct tern_hook id##_hooks[] = { __VA_ARGS__, TERN_HOOKS_END }

ACTS(claimer, { TERN_HOOK(RCPT, run), .answers = TERN_MAY_REJECT, .flags = TERN_CLAIMS });
MODULE(claimer, .hooks = claimer_hooks);
ACTS(limit, { TERN_HOOK(RCPT, run), .answers = TERN_MAY_DEFER });
MODULE(limit, .hooks = limit_hooks);
ACTS(early, { TERN_HOOK(CONNECT, run), .answers = TERN_MAY_REJECT }, { TERN_HOOK(RCPT, run) });
MODULE(early, .hooks = early_hooks);
ACTS(verify, { TERN_HOOK(MESSAGE, run), .flags = TERN_ONCE });
static const char *const spf_values[] = { "pass", "fail", NULL };
static const struct tern_note verify_notes[] = { TERN_RESULT("spf", spf_values, "SPF."),
                                                 TERN_TAG("seen", "Seen."), TERN_NOTES_END };
MODULE(verify, .hooks = verify_hooks, .notes = verify_notes);
ACTS(filter, { TERN_HOOK(MESSAGE, run), .answers = TERN_MAY_HOLD, .flags = TERN_BLOCKING });
static const char *const filter_after[] = { "verify", NULL };
MODULE(filter, .hooks = filter_hooks, .after = filter_after);
ACTS(ahead, { TERN_HOOK(RCPT, run) });
static const char *const ahead_before[] = { "limit", NULL };
MODULE(ahead, .hooks = ahead_hooks, .before = ahead_before);
ACTS(login, { TERN_HOOK(AUTH, run), .answers = TERN_MAY_ACCEPT, .auth_form = TERN_AUTH_VERIFY });
MODULE(login, .hooks = login_hooks);
ACTS(router, { TERN_HOOK(ROUTE, run), .answers = TERN_MAY_ACCEPT });
MODULE(router, .hooks = router_hooks);

MODULE(domains, .hooks = claimer_hooks);

static void deliver(tern_delivery *delivery, const void *conf)
{
    (void)delivery;
    (void)conf;
}
static const struct tern_transport box_transport = { .size = sizeof(struct tern_transport),
                                                     .type = "box",
                                                     .options = some_options,
                                                     .conf_size = sizeof(struct conf),
                                                     .deliver = deliver };
static const struct tern_transport *const box_transports[] = { &box_transport, NULL };
MODULE(box, .transports = box_transports);

struct slow_conf {
    uint64_t timeout_ms;
};
static const struct tern_option slow_options[] = {
    TERN_OPTION_MS(struct slow_conf, timeout, "60s", 1000, 240000, "A time."),
    TERN_OPTIONS_END,
};
static const struct tern_transport slow_transport = { .size = sizeof(struct tern_transport),
                                                      .type = "slow",
                                                      .options = slow_options,
                                                      .conf_size = sizeof(struct slow_conf),
                                                      .deliver = deliver };
static const struct tern_transport *const slow_transports[] = { &slow_transport, NULL };
MODULE(slow, .transports = slow_transports);

/* A module that runs "scripts": the file's name decides. */
struct script_conf {
    tern_str list;
};
static const struct tern_option script_options[] = {
    TERN_OPTION_STRING(struct script_conf, list, "exe", "Endings."), TERN_OPTIONS_END
};
static const struct tern_module script_module = {
    .magic = TERN_ABI_MAGIC,
    .size = sizeof(struct tern_module),
    .abi_major = TERN_ABI_MAJOR,
    .options = script_options,
    .conf_size = sizeof(struct script_conf),
    .hooks = filter_hooks,
};
static int scripts_alive;
static int run_script(tern_str path, bool trusted, const struct tern_module **ret, char *error,
                      size_t octets)
{
    (void)trusted;
    if (strstr(path.ptr, "broken") != NULL) {
        (void)snprintf(error, octets, "broken.lua:1: it is broken");
        return -EINVAL;
    }
    scripts_alive++;
    *ret = &script_module;
    return 0;
}
static void free_script(const struct tern_module *script)
{
    (void)script;
    scripts_alive--;
}
MODULE(lua, .script = run_script, .script_free = free_script);

static const struct tern_module *const builtin[] = { &claimer, &domains, &limit, &early,
                                                     &verify,  &filter,  &ahead, &login,
                                                     &router,  &box,     &slow,  &lua,   NULL };

/* ---- the table: YAML and all that is said about it ---- */

#define IN(steps) "policies:\n  in:\n" steps
#define NOT_25    "type: lmtp may not use port 25 (RFC 2033); 24 is usual\n"
static const struct {
    const char *what, *yaml, *want;
} cases[] = {
    { "nothing at all", "", "" },
    { "a policy that claims and routes", IN("    - claimer\n    - router\n"), "" },
    { "a policy that claims nothing is warned of", IN("    - limit\n"),
      "t.yaml:2:3: warning: policy in accepts no recipient: none of its steps claims any\n" },
    { "a policy that routes nothing is warned of", IN("    - claimer\n"),
      "t.yaml:2:3: warning: mail of policy in goes nowhere: there is no routes: and no step that "
      "routes\n" },
    { "a list is wanted", "policies:\n  in: claimer\n",
      "t.yaml:2:7: error: policy in: expected a list of steps\n" },
    { "two names in one item", IN("    - claimer:\n      max: 5\n    - router\n"),
      "t.yaml:4:7: error: a step has one name: \"max\" stands beside \"claimer\"; its options are "
      "indented below it\n"
      "t.yaml:2:3: warning: policy in accepts no recipient: none of its steps claims any\n" },
    { "an unknown option has a neighbour", IN("    - claimer: { mux: 5 }\n    - router\n"),
      "t.yaml:3:18: error: unknown option \"mux\"; did you mean \"max\"?\n" },
    { "a module's own word", IN("    - claimer: { word: evil }\n    - router\n"),
      "t.yaml:3:24: error: claimer.word: evil is not a word\n" },
    { "an unknown module", IN("    - claimer\n    - router\n    - nonesuch\n"),
      "t.yaml:5:7: error: module nonesuch: FOLDER/nonesuch.so: No such file or directory\n" },
    { "a name twice", IN("    - claimer\n    - router\n    - limit\n    - limit: { max: 3 }\n"),
      "t.yaml:6:7: error: policy in has a step limit already, at t.yaml:5; give one of them "
      "another name by name:\n" },
    { "a name of its own",
      IN("    - claimer\n    - router\n    - limit\n    - limit: { name: limit2 }\n"), "" },
    { "a bad name", IN("    - claimer\n    - router\n    - limit: { name: \"Li mit\" }\n"),
      "t.yaml:5:7: error: \"Li mit\" is no name of a step: a small letter, then small letters, "
      "digits, _ and -; "
      "give it one by name:\n" },
    { "a claim cannot be skipped", IN("    - claimer: { on_error: skip }\n    - router\n"),
      "t.yaml:3:7: error: claimer claims recipients, so on_error: skip is not allowed: a failure "
      "would become a permanent no\n" },
    { "a claim has no shadow", IN("    - claimer: { mode: shadow }\n    - router\n"),
      "t.yaml:3:7: error: claimer claims recipients, so mode: shadow is not allowed\n" },
    { "nor has auth", IN("    - claimer\n    - router\n    - login: { mode: shadow }\n"),
      "t.yaml:5:7: error: login answers auth, so mode: shadow is not allowed\n" },
    { "nor may a failure of auth be a permanent no",
      IN("    - claimer\n    - router\n    - login: { on_error: reject }\n"),
      "t.yaml:5:7: error: login answers auth, so on_error: reject is not allowed: a failure would "
      "become a permanent no\n" },
    { "off is neither", IN("    - claimer\n    - router\n    - login: off\n"), "" },
    { "order: after",
      IN("    - claimer\n    - router\n    - filter: { mode: off }\n    - verify\n"),
      "t.yaml:6:7: error: step verify must stand before step filter (at t.yaml:5): filter says "
      "so\n" },
    { "order: before", IN("    - claimer\n    - router\n    - limit\n    - ahead\n"),
      "t.yaml:6:7: error: step ahead must stand before step limit (at t.yaml:5): ahead says so\n" },
    { "ONCE behind a step for each group",
      IN("    - claimer\n    - router\n    - lua: { script: a.lua }\n    - verify\n"),
      "t.yaml:6:7: error: step verify runs once for the whole message, so it must stand before "
      "step a "
      "(at t.yaml:5), which runs for each group of recipients\n" },
    { "no hook", IN("    - claimer\n    - router\n    - box\n"),
      "t.yaml:5:7: error: box acts on no hook, so it is no step of a policy; a transport is named "
      "by type: in transports:\n" },
    { "refuse_at for nobody", IN("    - claimer\n    - router\n    - limit: { refuse_at: now }\n"),
      "t.yaml:5:7: error: refuse_at: is for steps that act at connect, ehlo or mail; limit does "
      "not\n" },
    { "refuse_at for an early one",
      IN("    - claimer\n    - router\n    - early: { refuse_at: now }\n"), "" },
    { "a client is not that patient",
      IN("    - claimer\n    - router\n    - limit: { timeout: 6m }\n"),
      "t.yaml:5:7: warning: timeout: clients wait 5 minutes for a reply (RFC 5321 4.5.3.2)\n" },
    { "when knows declared results and tags",
      IN("    - claimer\n    - router\n    - verify\n    - limit: { when: spf }\n    - early: { "
         "when: seen }\n"),
      "" },
    { "when knows nothing else", IN("    - claimer\n    - router\n    - limit: { when: spf }\n"),
      "t.yaml:5:7: error: when: unknown name spf\n" },
    { "a script has its options beside the module's",
      IN("    - claimer\n    - router\n    - lua: { script: a.lua, list: com, max: 3 }\n"), "" },
    { "a script needs one", IN("    - claimer\n    - router\n    - lua\n"),
      "t.yaml:5:7: error: lua needs script: and the path of a script\n" },
    { "a script that is not there",
      IN("    - claimer\n    - router\n    - lua: { script: none.lua }\n"),
      "t.yaml:5:7: error: script: FOLDER/none.lua: No such file or directory\n" },
    { "a script with an error",
      IN("    - claimer\n    - router\n    - lua: { script: broken.lua }\n"),
      "t.yaml:5:7: error: broken.lua:1: it is broken\n" },
    { "only scripts have script:",
      IN("    - claimer\n    - router\n    - limit: { script: a.lua }\n"),
      "t.yaml:5:16: error: unknown option \"script\"; known here: max, word, names\n" },
    { "tenants come later", "tenants: {}\n",
      "t.yaml:1:10: error: tenants: is not supported yet\n" },
    { "a transport of a module", "transports:\n  mine: { type: box, max: 3 }\n", "" },
    { "a transport's own time-out is reached",
      "transports:\n  a: { type: slow }\n  b: { type: slow, delivery_timeout: 61s }\n", "" },
    { "a transport's own time-out is never reached", "transports:\n  a: { type: slow, delivery_timeout: 60s }\n",
      "t.yaml:2:38: warning: transport a: its timeout (60 s) is not below delivery_timeout (60 s): what takes longer "
      "is given up without its outcome and tried again\n" },
    { "a transport of nobody", "transports:\n  mine: { type: tape }\n",
      "t.yaml:2:17: error: type tape is neither smtp nor lmtp, and module tape: FOLDER/tape.so: No "
      "such file or directory\n" },
    { "a transport without a type", "transports:\n  mine: { to: [a.example] }\n",
      "t.yaml:2:9: error: transport mine: expected a map with type: smtp, lmtp or the name of a "
      "module\n" },
    { "transport tls", "transports:\n  a: { type: smtp, tls: off }\n  b: { type: smtp, tls: required }\n"
      "  c: { type: lmtp, tls: verify, tls_name: mx.example, implicit: true, tls_timeout: 5s }\n", "" },
    { "transport tls of another kind", "transports:\n  mine: { type: smtp, tls: always }\n",
      "t.yaml:2:28: error: tls: expected one of off, may, required, verify; got \"always\"\n" },
    { "transport tls: implicit and off",
      "transports:\n  mine: { type: smtp, tls: off, implicit: true }\n",
      "t.yaml:2:43: error: implicit: true means TLS, and tls: is off\n" },
    { "transport tls: a file that nothing reads",
      "transports:\n  mine: { type: smtp, ca_file: ca.pem }\n",
      "t.yaml:2:32: error: ca_file: is for tls: verify only\n" },
    { "transport tls: a file that is not there",
      "transports:\n  mine: { type: smtp, tls: verify, ca_file: /nonexistent/ca.pem }\n",
      "t.yaml:2:45: error: tls: verify: /nonexistent/ca.pem: No such file or directory: calling "
      "fopen(/nonexistent/ca.pem, r)\n" },
    { "transport tls: a name that is none",
      "transports:\n  mine: { type: smtp, tls_name: \"mx example\" }\n",
      "t.yaml:2:33: error: tls_name: \"mx example\" is no host name\n" },
    { "auth at a smarthost",
      "transports:\n  mine: { type: smtp, to: [a.example], tls: verify, auth: { user: u, password: p } }\n"
      "  other: { type: lmtp, tls: verify, to: [a.example], auth: { user: u, password: p, mechanisms: [login] },\n"
      "           auth_plaintext: true, chunking: true }\n",
      "" },
    { "auth for whatever host an MX names",
      "transports:\n  mine: { type: smtp, auth: { user: u, password: p } }\n",
      "t.yaml:2:29: error: auth: needs to: the password is not for whatever host an MX names\n" },
    { "auth without a password", "transports:\n  mine: { type: smtp, to: [a], auth: { user: u } }\n",
      "t.yaml:2:38: error: option \"password\" is missing (secret)\n" },
    { "auth with a user of no octets",
      "transports:\n  mine: { type: smtp, to: [a], auth: { user: \"\", password: p } }\n",
      "t.yaml:2:38: error: auth: user and password have 1 to 255 octets each, without controls\n" },
    { "auth by a mechanism that is not there",
      "transports:\n  mine: { type: smtp, to: [a], auth: { user: u, password: p, mechanisms: [cram-md5] } }\n",
      "t.yaml:2:38: error: auth: mechanism cram-md5 is none of SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN\n" },
    { "two of auth",
      "transports:\n  mine: { type: smtp, to: [a], auth: [{ user: u, password: p }, { user: v, password: p }] }\n",
      "t.yaml:2:38: error: auth: expected 0 to 1 entry; got 2\n" },
    { "next hops of every kind",
      "transports:\n  mine: { type: smtp, to: [a.example, \"a:65535\", \"[::1]:1\", \"::1\", "
      "\"[127.0.0.1]\", "
      "\"unix:/x\"] }\n",
      "" },
    { "a port above the last", "transports:\n  mine: { type: smtp, to: [\"a:65536\"] }\n",
      "t.yaml:2:27: error: to: \"a:65536\" is none of host, host:port, [address]:port, "
      "unix:/path\n" },
    { "LMTP on port 25",
      "transports:\n  a: { type: lmtp, port: 25 }\n"
      "  b: { type: lmtp, to: [\"mx:25\", \"[mx]:25\", \"192.0.2.1:25\", \"[::1]:25\"] }\n"
      "  c: { type: lmtp, fallback: [\"mx:25\"] }\n"
      "  d: { type: lmtp, port: 26, to: [\"mx\", \"mx:2525\", \"unix:/x:25\", \"2001:db8::25\"] }\n"
      "  e: { type: smtp, port: 25, to: [\"mx:25\"] }\n",
      "t.yaml:2:26: error: port: " NOT_25 "t.yaml:3:24: error: to: \"mx:25\": " NOT_25
      "t.yaml:3:24: error: to: \"[mx]:25\": " NOT_25 "t.yaml:3:24: error: to: \"192.0.2.1:25\": " NOT_25
      "t.yaml:3:24: error: to: \"[::1]:25\": " NOT_25 "t.yaml:4:30: error: fallback: \"mx:25\": " NOT_25 },
    { "a socket without a path",
      "transports:\n  mine: { type: lmtp, fallback: [\"unix:x\", \"[::1\"] }\n",
      "t.yaml:2:33: error: fallback: \"unix:x\" is none of host, host:port, [address]:port, "
      "unix:/path\n"
      "t.yaml:2:33: error: fallback: \"[::1\" is none of host, host:port, [address]:port, "
      "unix:/path\n" },
    { "a profile",
      IN("    - claimer\n    - router\n    - limit\n") "profiles:\n  big: { limit: { max: 50 } }\n",
      "" },
    { "a profile of an unknown step",
      IN("    - claimer\n    - router\n    - limit\n") "profiles:\n  big: { limits: { max: 50 } "
                                                       "}\n",
      "t.yaml:7:10: error: profile big: no policy has a step \"limits\"; did you mean limit?\n" },
    { "a profile with an unknown option",
      IN("    - claimer\n    - router\n    - limit\n") "profiles:\n  big: { limit: { mux: 50 } }\n",
      "t.yaml:7:19: error: unknown option \"mux\"; did you mean \"max\"?\n" },
    { "a profile out of range",
      IN("    - claimer\n    - router\n    - limit\n") "profiles:\n  big: { limit: { word: evil } "
                                                       "}\n",
      "t.yaml:7:25: error: limit.word: evil is not a word\n" },
    { "a profile may not shadow a claim",
      IN("    - claimer\n    - router\n") "profiles:\n  big: { claimer: { mode: shadow } }\n",
      "t.yaml:6:19: error: claimer claims recipients, so mode: shadow is not allowed\n" },
    { "a profile may not touch ONCE",
      IN("    - claimer\n    - router\n    - verify\n") "profiles:\n  big: { verify: off }\n",
      "t.yaml:7:18: error: profile big: step verify runs once for the whole message, so no profile "
      "may change it\n" },
    { "a profile may not rename",
      IN("    - claimer\n    - router\n    - limit\n") "profiles:\n  big: { limit: { name: x } }\n",
      "t.yaml:7:25: error: profile big: name: of step limit cannot differ between profiles\n" },
    { "a domain's profile of an early step: mode only",
      IN("    - claimer\n    - router\n    - early\n") "profiles:\n  big: { early: { max: 3 } "
                                                       "}\nprofile_for: { domain: { a.example: big "
                                                       "} }\n",
      "t.yaml:7:17: error: profile big: step early acts before the recipient is known, so the "
      "profile of a domain may set its mode only\n" },
    { "a domain's profile of an early step: off",
      IN("    - claimer\n    - router\n    - early\n") "profiles:\n  big: { early: off "
                                                       "}\nprofile_for: { domain: { a.example: big "
                                                       "} }\n",
      "" },
    { "a domain's profile by file: perhaps mode only",
      IN("    - claimer\n    - router\n    - early\n") "tables: { d: { file: domains.txt } }\n"
                                                       "profiles:\n  big: { early: { max: 3 } "
                                                       "}\nprofile_for: { domain: { table: d } }\n",
      "t.yaml:8:17: warning: profile big: step early acts before the recipient is known; where a "
      "domain has this profile only its mode counts\n" },
    { "a profile of a step that was refused is no second error",
      IN("    - claimer\n    - router\n    - nonesuch\n    - lua: { script: none.lua }\n") "profile"
                                                                                           "s:\n  "
                                                                                           "big: { "
                                                                                           "nonesuc"
                                                                                           "h: "
                                                                                           "off, "
                                                                                           "none: "
                                                                                           "off "
                                                                                           "}\n",
      "t.yaml:5:7: error: module nonesuch: FOLDER/nonesuch.so: No such file or directory\n"
      "t.yaml:6:7: error: script: FOLDER/none.lua: No such file or directory\n" },
    { "one policy knows our mailboxes, the other does not",
      "policies:\n  in: [ domains, router ]\n  out: [ claimer, router ]\n",
      "t.yaml:3:3: warning: policy out takes recipients without a step domains, which in has: mail "
      "for mailboxes that do not exist will bounce instead of being refused\n" },
    { "profile_for names no profile",
      IN("    - claimer\n    - router\n    - limit\n") "profiles:\n  big: { limit: off "
                                                       "}\nprofile_for: { user: { a@a.example: bag "
                                                       "} }\n",
      "t.yaml:8:37: error: there is no profile \"bag\"; did you mean big?\n" },
    { "profile_for of tenants comes later", "profile_for: { tenant: {} }\n",
      "t.yaml:1:16: error: profile_for.tenant: is not supported yet\n" },
};

/* FOLDER stands for the fixture's. */
static void expand(const char *text, char *ret, size_t octets)
{
    struct buf out = BUF_INIT;

    for (const char *at = strstr(text, "FOLDER"); at != NULL; at = strstr(text, "FOLDER")) {
        buf_printf(&out, "%.*s%s", (int)(at - text), text, fix.folder);
        text = at + strlen("FOLDER");
    }
    buf_add_cstr(&out, text);
    (void)snprintf(ret, octets, "%s", out.data);
    buf_free(&out);
}

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct generation g;
        char want[2048];

        expand(cases[i].want, want, sizeof(want));
        generation_build(&g, &fix, cases[i].yaml);
        const char *got = g.errors.text.len > 0 ? g.errors.text.data : "";
        if (strcmp(got, want) != 0)
            fprintf(stderr, "  case \"%s\":\n   got  %s\n   want %s\n", cases[i].what, got, want);
        CU_ASSERT_STRING_EQUAL(got, want);
        CU_ASSERT_EQUAL(g.policies == NULL, g.errors.errors > 0);
        generation_end(&g);
        CU_ASSERT_EQUAL(scripts_alive, 0);
    }
}

/* ---- plans ---- */

static const char *const profiled =
    "policies:\n"
    "  in:\n"
    "    - early\n"
    "    - claimer\n"
    "    - limit: { max: 20 }\n"
    "    - filter\n"
    "    - lua: { script: a.lua, list: com }\n"
    "    - router\n"
    "  other:\n"
    "    - claimer\n"
    "    - router\n"
    "profiles:\n"
    "  big: { limit: { max: 90, word: big } }\n"
    "  small: { limit: { max: 2 }, early: off }\n"
    "  loose: { filter: off }\n"
    "  quiet: { filter: { mode: off } }\n"
    "  exes: { a: { list: exe, max: 4 } }\n"
    "  same: { a: { list: com } }\n"
    "  clash: { limit: { word: many } }\n"
    "  patient: { filter: { timeout: 5s } }\n"
    "  lenient: { filter: { on_error: skip } }\n"
    "  choosy: { filter: { when: \"true\" } }\n"
    "  watched: { filter: { mode: shadow } }\n"
    "profile_for:\n"
    "  domain: { big.example: big, small.example: small, loose.example: loose, quiet.example: "
    "quiet,\n"
    "            exes.example: exes, same.example: same, patient.example: patient, "
    "lenient.example: lenient,\n"
    "            choosy.example: choosy, watched.example: watched }\n"
    "  user: { joe: small, ann@big.example: loose, tom@small.example: clash }\n";
static const char *const by_file = "policies:\n  in: [ early, claimer, limit, router ]\n"
                                   "profiles: { big: { limit: { max: 90 }, early: { max: 7, "
                                   "timeout: 1s, mode: shadow } } }\n"
                                   "tables: { domains: { file: domains.txt } }\n"
                                   "profile_for: { domain: { table: domains } }\n";

static struct tern_mailbox mailbox(const char *address)
{
    struct tern_mailbox m = { .address = { address, strlen(address) } };
    const char *at = strchr(address, '@');

    m.local = (tern_str){ address, (size_t)(at - address) };
    m.domain = (tern_str){ at + 1, strlen(at + 1) };
    return m;
}

static const struct plan_step *step_of(const struct plan *plan, const char *name)
{
    for (unsigned i = 0; i < plan->step_count; i++)
        if (strcmp(plan->steps[i].step->name.ptr, name) == 0)
            return &plan->steps[i];
    return NULL;
}

static const struct plan *ask(const struct policy *policy, const char *user, const char *rcpt)
{
    const struct plan *plan = NULL;
    struct tern_mailbox m = mailbox(rcpt != NULL ? rcpt : "x@x");

    CU_ASSERT_EQUAL(plan_for(policy, slice_cstr(user), rcpt != NULL ? &m : NULL, &plan), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(plan);
    return plan;
}

static unsigned limit_of(const struct plan *plan)
{
    return ((const struct conf *)step_of(plan, "limit")->conf)->max;
}

static void test_profiles(void)
{
    struct generation g;

    generation_build(&g, &fix, profiled);
    if (g.errors.errors > 0)
        fprintf(stderr, "%s", g.errors.text.data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    const struct policy *in = policies_find(g.policies, SLICE("in"));
    const struct policy *other = policies_find(g.policies, SLICE("other"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(in);
    CU_ASSERT_PTR_NOT_NULL(policies_find(g.policies, SLICE("generated")));
    CU_ASSERT_PTR_NULL(policies_find(g.policies, SLICE("nowhere")));
    const struct plan *base = policy_plan(in);

    CU_ASSERT_EQUAL(limit_of(base), 20);
    CU_ASSERT_PTR_EQUAL(ask(in, "", "a@nobody.example"), base);
    CU_ASSERT_PTR_EQUAL(ask(in, "", NULL), base);
    const struct plan *big = ask(in, "", "a@big.example");
    CU_ASSERT_EQUAL(limit_of(big), 90);
    CU_ASSERT_STRING_EQUAL(((const struct conf *)step_of(big, "limit")->conf)->word.ptr, "big");
    CU_ASSERT_PTR_EQUAL(ask(in, "", "b@big.example"), big); /* interned */
    CU_ASSERT_STRING_EQUAL(big->profiles.ptr, "domain:big");
    CU_ASSERT_EQUAL(big->late_id, base->late_id); /* limit acts at rcpt: the same group */

    /* The user's stands over the domain's. */
    const struct plan *joe = ask(in, "joe", "a@big.example");
    CU_ASSERT_EQUAL(limit_of(joe), 2);
    CU_ASSERT_STRING_EQUAL(((const struct conf *)step_of(joe, "limit")->conf)->word.ptr, "big");
    CU_ASSERT_STRING_EQUAL(joe->profiles.ptr, "user:small domain:big");
    CU_ASSERT_EQUAL(step_of(joe, "early")->mode, STEP_OFF);
    CU_ASSERT_EQUAL(joe->chains[TERN_HOOK_CONNECT].count, 0);
    CU_ASSERT_EQUAL(base->chains[TERN_HOOK_CONNECT].count, 1);
    CU_ASSERT_STRING_EQUAL(ask(in, "joe", NULL)->profiles.ptr, "user:small");
    /* Without a login the user is the mailbox as given. */
    CU_ASSERT_STRING_EQUAL(ask(in, "", "ann@big.example")->profiles.ptr, "user:loose domain:big");
    CU_ASSERT_STRING_EQUAL(ask(in, "joe", "ann@big.example")->profiles.ptr,
                           "user:small domain:big");

    /* late_id: equal for equal options, however they were written. */
    const struct plan *loose = ask(in, "", "a@loose.example");
    CU_ASSERT_NOT_EQUAL(loose->late_id, base->late_id);
    CU_ASSERT_EQUAL(ask(in, "", "a@quiet.example")->late_id, loose->late_id);
    const struct plan *exes = ask(in, "", "a@exes.example");
    CU_ASSERT_NOT_EQUAL(exes->late_id, base->late_id);
    CU_ASSERT_STRING_EQUAL(((const struct script_conf *)step_of(exes, "a")->conf)->list.ptr, "exe");
    CU_ASSERT_EQUAL(((const struct conf *)step_of(exes, "a")->host_conf)->max, 4);
    CU_ASSERT_EQUAL(ask(in, "", "a@same.example")->late_id, base->late_id);
    /* What the runner reads of a late step makes groups, too. */
    static const char *const others[] = { "a@patient.example", "a@lenient.example",
                                          "a@choosy.example", "a@watched.example" };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        CU_ASSERT_NOT_EQUAL(ask(in, "", others[i])->late_id, base->late_id);

    /* A profile that changes no step of a policy is none there. */
    CU_ASSERT_PTR_EQUAL(ask(other, "joe", "a@big.example"), policy_plan(other));
    /* claims_until is behind the claimer. */
    CU_ASSERT_EQUAL(base->chains[TERN_HOOK_RCPT].count, 3);
    CU_ASSERT_EQUAL(base->chains[TERN_HOOK_RCPT].claims_until, 2);
    CU_ASSERT_EQUAL(base->chains[TERN_HOOK_MESSAGE].count, 2);
    generation_end(&g);
}

static void test_uncertain(void)
{
    struct generation g;
    const struct plan *plan = NULL;
    struct tern_mailbox tom = mailbox("tom@small.example"), odd = mailbox("a@odd.example");

    generation_build(&g, &fix, profiled);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    const struct policy *in = policies_find(g.policies, SLICE("in"));
    /* Each profile is fine alone; together they are not, which no check of the file can see. */
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(plan_for(in, SLICE(""), &tom, &plan), -EAGAIN);
    CU_ASSERT_PTR_NULL(plan);
    generation_end(&g);

    generation_build(&g, &fix, by_file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    in = policies_find(g.policies, SLICE("in"));
    const struct plan *by_domain = ask(in, "", "a@file.example");
    CU_ASSERT_EQUAL(limit_of(by_domain), 90);
    /* What acts before rcpt cannot know the domain: of its profile only the mode counts. */
    const struct plan_step *early_step = step_of(by_domain, "early");
    CU_ASSERT_EQUAL(early_step->mode, STEP_SHADOW);
    CU_ASSERT_EQUAL(early_step->timeout_ms, 30000);
    CU_ASSERT_EQUAL(((const struct conf *)early_step->conf)->max, 10);
    CU_ASSERT_EQUAL(plan_for(in, SLICE(""), &odd, &plan), -EAGAIN); /* the file names no profile */
    CU_ASSERT_PTR_NULL(plan);
    generation_end(&g);
}

/* ---- many threads, one plan for each pair ---- */

#define THREADS 4
static const char *const whos[] = { "", "joe", "nobody" };
static const char *const rcpts[] = { "a@big.example",  "a@small.example", "a@loose.example",
                                     "a@exes.example", "a@same.example",  "a@none.example" };
struct asker {
    pthread_t thread;
    const struct policy *policy;
    const struct plan *plans[3][6];
};

static void *ask_all(void *arg)
{
    struct asker *a = arg;

    for (int round = 0; round < 50; round++)
        for (size_t u = 0; u < 3; u++)
            for (size_t d = 0; d < 6; d++) {
                struct tern_mailbox m = mailbox(rcpts[d]);
                const struct plan *plan = NULL;

                if (plan_for(a->policy, slice_cstr(whos[u]), &m, &plan) < 0 ||
                    (a->plans[u][d] != NULL && a->plans[u][d] != plan))
                    return a;
                a->plans[u][d] = plan;
            }
    return NULL;
}

static void test_threads(void)
{
    struct generation g;
    struct asker askers[THREADS];

    generation_build(&g, &fix, profiled);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    for (int i = 0; i < THREADS; i++) {
        askers[i] = (struct asker){ .policy = policies_find(g.policies, SLICE("in")) };
        CU_ASSERT_EQUAL(pthread_create(&askers[i].thread, NULL, ask_all, &askers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *wrong = NULL;

        CU_ASSERT_EQUAL(pthread_join(askers[i].thread, &wrong), 0);
        CU_ASSERT_PTR_NULL(wrong);
        CU_ASSERT_EQUAL(memcmp(askers[i].plans, askers[0].plans, sizeof(askers[0].plans)), 0);
    }
    generation_end(&g);
}

/* ---- bounds ---- */

/* `count` lines made of `line`, which has one %u. */
static void add_lines(struct buf *yaml, const char *line, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        buf_printf(yaml, line, i);
}

static void test_bounds(void)
{
    static const struct {
        const char *what, *head, *line;
        unsigned limit;
        const char *want;
    } rows[] = {
        { "steps", "policies:\n  in:\n    - claimer\n    - router\n",
          "    - limit: { name: l%u }\n", 97, "policy in has 100 steps, at most 99 are allowed" },
        { "policies", "policies:\n", "  p%u: []\n", 100, "policies: more than 100" },
        { "profiles", "policies: { in: [ claimer, router, limit ] }\nprofiles:\n",
          "  p%u: { limit: off }\n", 1000, "profiles: more than 1000" },
        { "transports", "transports:\n", "  t%u: { type: smtp }\n", 1000,
          "transports: more than 1000" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (unsigned above = 0; above < 2; above++) {
            CLEANUP_BUF struct buf yaml = BUF_INIT;
            struct generation g;

            buf_add_cstr(&yaml, rows[i].head);
            add_lines(&yaml, rows[i].line, rows[i].limit + above);
            generation_build(&g, &fix, yaml.data);
            bool said = g.errors.text.len > 0 && strstr(g.errors.text.data, rows[i].want) != NULL;
            if ((g.policies != NULL) != (above == 0) || said != (above == 1))
                fprintf(stderr, "  %s, %u above: %s\n", rows[i].what, above,
                        g.errors.text.len > 0 ? g.errors.text.data : "");
            CU_ASSERT_EQUAL(g.policies != NULL, above == 0);
            CU_ASSERT_EQUAL(said, above == 1);
            generation_end(&g);
        }
}

/* ---- tern hooks ---- */

static void test_print(void)
{
    static const char *const text =
        "policy in\n"
        "  connect\n"
        "     1  early                early          t.yaml:3  plain  REJECT  mode: shadow\n"
        "  rcpt\n"
        "     1  early                early          t.yaml:3  plain  mode: shadow\n"
        "     2  claimer              claimer        t.yaml:4  plain claims  REJECT\n"
        "  message\n"
        "     1  verify               verify         t.yaml:5  plain once\n"
        "     2  pics                 lua            t.yaml:6  blocking  HOLD  when: spf\n"
        "  route\n"
        "     1  router               router         t.yaml:7  plain  ACCEPT\n"
        "policy generated\n"
        "  no steps\n";
    static const char *const json = "{\"in\":{\"connect\":[{\"number\":1,\"step\":\"early\","
                                    "\"module\":\"early\",\"file\":\"t.yaml\",\"line\":3,"
                                    "\"kind\":\"plain\",\"claims\":false,\"once\":false,"
                                    "\"answers\":[\"REJECT\"],\"mode\":\"shadow\",\"when\":\"\"}],"
                                    "\"rcpt\":[{\"number\":1,\"step\":\"early\",";
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct generation g;

    generation_build(
        &g, &fix,
        "policies:\n  in:\n    - early: { mode: shadow }\n    - claimer\n    - verify\n"
        "    - lua: { script: a.lua, name: pics, when: spf }\n    - router\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    policies_print(g.policies, &out, false);
    if (strcmp(out.data, text) != 0)
        fprintf(stderr, "%s", out.data);
    CU_ASSERT_STRING_EQUAL(out.data, text);
    buf_clear(&out);
    policies_print(g.policies, &out, true);
    CU_ASSERT_EQUAL(strncmp(out.data, json, strlen(json)), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "]},\"generated\":{}}\n"));
    generation_end(&g);
}

static void test_transports(void)
{
    struct generation g;

    generation_build(
        &g, &fix,
        "transports:\n  mx2: { type: smtp, port: 2525, rcpts_max: 7, source: 127.0.0.9 }\n"
        "  lmtp: { type: lmtp, to: [\"unix:/x\"] }\n  mine: { type: box, max: 3 }\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    const struct transport *t = policies_transport(g.policies, SLICE("mx2"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    const struct smtp_transport_conf *c = t->conf;
    CU_ASSERT_EQUAL(c->port, 2525);
    CU_ASSERT_EQUAL(c->rcpts_max, 7);
    CU_ASSERT_EQUAL(c->connections_max, 20);
    CU_ASSERT_EQUAL(c->source.octets[3], 9);
    CU_ASSERT_EQUAL(c->data_timeout_ms, 600000);
    /* The built-in ones are there, under their names unless those were taken. */
    c = policies_transport(g.policies, SLICE("smtp"))->conf;
    CU_ASSERT_EQUAL(c->port, 25);
    c = policies_transport(g.policies, SLICE("lmtp"))->conf;
    CU_ASSERT_EQUAL(c->port, 24);
    CU_ASSERT_EQUAL(c->to.count, 1);
    t = policies_transport(g.policies, SLICE("mine"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(t->module);
    CU_ASSERT_PTR_EQUAL(t->module->deliver, deliver);
    CU_ASSERT_EQUAL(((const struct conf *)t->conf)->max, 3);
    CU_ASSERT_PTR_NULL(policies_transport(g.policies, SLICE("nobody")));
    generation_end(&g);
}

int main(void)
{
    char path[160];

    fixture_begin(&fix, builtin);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = { "a.lua", "broken.lua", "domains.txt" };
        fixture_path(&fix, names[i], path);
        FILE *file = fopen(path, "w");
        (void)fprintf(file, i == 2 ? "file.example: big\nodd.example: nonesuch\n" : "\n");
        (void)fclose(file);
    }
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("policy", NULL, NULL);
    CU_add_test(suite, "what is said of each YAML", test_cases);
    CU_add_test(suite, "profiles and groups", test_profiles);
    CU_add_test(suite, "what is not certain is put off", test_uncertain);
    CU_add_test(suite, "threads find the same plans", test_threads);
    CU_add_test(suite, "bounds", test_bounds);
    CU_add_test(suite, "what tern hooks prints", test_print);
    CU_add_test(suite, "transports", test_transports);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    fixture_end(&fix);
    return failures != 0;
}
