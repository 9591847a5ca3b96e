/* SPDX-License-Identifier: Apache-2.0 */
/* test_lua.c - what scripts can say and do, at which hook, and what they are told when they cannot. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include <CUnit/Basic.h>

#include "lua/lua.h"
#include "lua/vm.h"
#include "lua_fixture.h"

#define TERN                 "local tern = require 'tern' "
#define ON(hook, args, body) TERN "tern.on('" hook "', function(" args ") " body " end)"

/* ---- one hook, one script, what it did ---- */

static const char *const headers[] = {
    "From: a@example.net",
    "Subject: =?utf-8?Q?caf=C3=A9?= au\r\n lait",
    "X-Spam: one",
    "X-Spam: two",
    NULL,
};
static const struct fake_dns dns[] = {
    { "listed.example", "127.0.0.2 127.0.0.4" },
    { "slow.example", "!timeout" },
    { NULL, NULL },
};

static void fill(tern_call *call)
{
    call->rcpt = "bob@example.org";
    call->rcpts[0] = "carol@example.org";
    call->rcpts[1] = "dave@example.com";
    call->headers = headers;
    call->body = "hello, world\r\nthis is the body\r\n";
    call->octets = 2000;
    call->parts[0] = (struct tern_part){ .type = TERN_STR("text/plain"),
                                         .charset = TERN_STR("utf-8"),
                                         .size = 20 };
    call->parts[1] = (struct tern_part){
        .type = TERN_STR("application/x"), .filename = TERN_STR("setup.EXE"), .size = 99, .depth = 1
    };
    call->part_count = 2;
    call->tags = " vip ";
    call->results[0] = (struct fake_note){ "spf", "pass" };
    call->dns = dns;
    call->outcome = "bounced";
}

static const struct {
    const char *name;
    enum tern_hook_point hook;
    const char *script;
    tern_verdict verdict;
    const char *did; /* what must be among the lines */
} cases[] = {
    { "nothing returned is no opinion", TERN_HOOK_RCPT, ON("rcpt", "txn, rcpt", ""), TERN_NEXT,
      "" },
    { "a refusal with all three", TERN_HOOK_RCPT,
      ON("rcpt", "txn, rcpt", "return tern.reject(553, '5.1.8', 'not ' .. rcpt.address)"),
      TERN_REJECT, "reply reject 553 5.1.8 not bob@example.org\n" },
    { "a refusal with a text alone", TERN_HOOK_MESSAGE,
      ON("message", "txn", "return tern.reject('no')"), TERN_REJECT,
      "reply reject 550 5.7.1 no\n" },
    { "a refusal with code and text", TERN_HOOK_DATA,
      ON("data", "txn", "return tern.defer(452, 'later')"), TERN_DEFER,
      "reply defer 452 4.7.1 later\n" },
    { "a percent sign is no format", TERN_HOOK_DATA,
      ON("data", "txn", "return tern.defer('100%s %n')"), TERN_DEFER,
      "reply defer 451 4.7.1 100%s %n\n" },
    { "close", TERN_HOOK_CONNECT,
      ON("connect", "session", "return tern.close('go away ' .. session.client)"), TERN_CLOSE,
      "reply close 421 4.7.0 go away 192.0.2.1\n" },
    { "hold", TERN_HOOK_MESSAGE, ON("message", "txn", "return tern.hold('looks odd')"), TERN_HOLD,
      "hold looks odd\n" },
    { "discard", TERN_HOOK_QUEUE, ON("queue", "txn", "return tern.discard('trap')"), TERN_DISCARD,
      "note discard=trap\n" },
    { "a code of the wrong class", TERN_HOOK_RCPT,
      ON("rcpt", "txn", "return tern.reject(450, '4.0.0', 'x')"), TERN_ERROR,
      "note error=test.lua:1: tern.reject takes a code of 500 to 599, not 450\n" },
    { "an enhanced code of the wrong class", TERN_HOOK_RCPT,
      ON("rcpt", "txn", "return tern.reject(550, '4.0.0', 'x')"), TERN_ERROR,
      "\"4.0.0\" is no enhanced code for a reply 550" },
    { "a line end in a reply", TERN_HOOK_RCPT,
      ON("rcpt", "txn", "return tern.reject('a\\r\\n250 ok')"), TERN_ERROR,
      "has a line end or another control character in it" },
    { "an answer the hook does not allow", TERN_HOOK_MESSAGE,
      ON("message", "txn", "return tern.close('x')"), TERN_ERROR,
      "note error=test.lua:1: close cannot be answered at message\n" },
    { "something else returned", TERN_HOOK_RCPT, ON("rcpt", "txn", "return 550"), TERN_ERROR,
      "a hook returns tern.reject(...) or the like, or nothing; at rcpt it returned a number" },

    { "session fields", TERN_HOOK_EHLO,
      ON("ehlo", "s",
         "return tern.reject(s.helo .. ' ' .. s.listener .. ' ' .. tostring(s.esmtp) .. "
         "tostring(s.user))"),
      TERN_REJECT, "client.example mx truenil\n" },
    { "withhold at ehlo", TERN_HOOK_EHLO, ON("ehlo", "s", "s:withhold('SIZE')"), TERN_NEXT,
      "withhold SIZE\n" },
    { "withhold elsewhere", TERN_HOOK_RCPT, ON("rcpt", "txn", "txn.session:withhold('SIZE')"),
      TERN_ERROR, "session:withhold is not allowed at rcpt" },
    { "an unknown field", TERN_HOOK_RCPT, ON("rcpt", "txn", "return txn.sendr"), TERN_ERROR,
      "test.lua:1: txn has no field \"sendr\"\n" },
    { "an unknown function", TERN_HOOK_RCPT, ON("rcpt", "txn", "return tern.rejct('x')"),
      TERN_ERROR, "tern has no function \"rejct\"" },
    { "assigning to a field", TERN_HOOK_RCPT, ON("rcpt", "txn", "txn.sender = 'x'"), TERN_ERROR,
      "txn.sender cannot be assigned to" },
    { "sender and recipients", TERN_HOOK_DATA,
      ON("data", "txn",
         "local l = txn.sender.local_part .. '|' .. txn.sender.domain .. '|' .. txn.rcpt_count "
         "for r in txn:rcpts() do l = l .. '|' .. r.domain end return tern.reject(l)"),
      TERN_REJECT, "alice|example.net|2|example.org|example.com\n" },
    { "the current recipient", TERN_HOOK_RCPT,
      ON("rcpt", "txn, r",
         "return tern.reject(r.local_part .. r.original.domain .. tostring(r.class))"),
      TERN_REJECT, "bobexample.orgnil\n" },
    { "body at rcpt", TERN_HOOK_RCPT, ON("rcpt", "txn", "return txn:body()"), TERN_ERROR,
      "txn:body is not allowed at rcpt" },

    { "claim without claims", TERN_HOOK_RCPT, ON("rcpt", "txn, r", "r:claim('local')"), TERN_ERROR,
      "to claim, register with" },
    { "claim", TERN_HOOK_RCPT,
      TERN "tern.on('rcpt', function(t, r) r:claim('relay') end, { claims = true })", TERN_NEXT,
      "claim 2\n" },
    { "rewrite and expand", TERN_HOOK_RCPT,
      ON("rcpt", "t, r", "r:rewrite('x@y.example') r:expand{ 'a@b.example', 'c@d.example' }"),
      TERN_NEXT, "rewrite_rcpt x@y.example\nexpand_rcpt a@b.example\nexpand_rcpt c@d.example\n" },
    { "an errno is a sentence", TERN_HOOK_RCPT, ON("rcpt", "t, r", "r:rewrite('nobody')"),
      TERN_ERROR, "rcpt:rewrite: Invalid argument" },
    { "rewrite the sender", TERN_HOOK_MAIL, ON("mail", "t", "t:rewrite_sender('x@y.example')"),
      TERN_NEXT, "rewrite_sender x@y.example\n" },
    { "an undeclared tag", TERN_HOOK_MAIL, ON("mail", "t", "t:tag('bulk')"), TERN_ERROR,
      "the tag \"bulk\" was not declared" },
    { "a declared tag", TERN_HOOK_MAIL,
      TERN "tern.tag{ name = 'bulk' } tern.on('mail', function(t) t:tag('bulk') end)", TERN_NEXT,
      "tag bulk\n" },
    { "has_tag", TERN_HOOK_MAIL,
      ON("mail", "t", "return tern.reject(tostring(t:has_tag('vip')) .. tostring(t:has_tag('x')))"),
      TERN_REJECT, "truefalse\n" },
    { "results", TERN_HOOK_MAIL,
      ON("mail", "t", "return tern.reject(t.results.spf .. t.results.dkim)"), TERN_REJECT,
      "passnot_run\n" },
    { "a declared result", TERN_HOOK_MAIL,
      TERN "tern.result{ name = 'x', values = { 'a', 'b' } } tern.on('mail', function(t) "
           "tern.set_result('x', 'b') end)",
      TERN_NEXT, "result x=b\n" },
    { "a value that was not declared", TERN_HOOK_MAIL,
      TERN "tern.result{ name = 'x', values = { 'a', 'b' } } tern.on('mail', function(t) "
           "tern.set_result('x', 'c') end)",
      TERN_ERROR, "\"c\" is not among the declared values" },
    { "variables keep their type", TERN_HOOK_MAIL,
      ON("mail", "t",
         "local v = t.vars v.n = 5 v.s = '5' v.b = true v.f = 1.5 v.t = 'true' v.q = \"'x\" v.e = "
         "'' "
         "assert(v.n == 5 and v.s == '5' and v.b == true and v.f == 1.5 and v.t == 'true' and v.q "
         "== \"'x\") "
         "assert(v.e == '' and v.never == nil) v.n = nil assert(v.n == nil)"),
      TERN_NEXT, "var s='5\n" },
    { "a table is no variable", TERN_HOOK_MAIL, ON("mail", "t", "t.vars.x = {}"), TERN_ERROR,
      "a variable holds a string, a number, a boolean or nil, not a table" },
    { "session.vars later", TERN_HOOK_MAIL, ON("mail", "t", "t.session.vars.x = 1"), TERN_ERROR,
      "session.vars can be assigned at connect and ehlo only; at mail use txn.vars" },
    { "session.vars", TERN_HOOK_EHLO,
      ON("ehlo", "s", "s.vars.x = 1 return tern.reject('' .. s.vars.x + 1)"), TERN_REJECT,
      "reply reject 550 5.7.1 2\n" },

    { "header fields, decoded and raw", TERN_HOOK_MESSAGE,
      ON("message", "t",
         "assert(t:header('subject') == 'caf\\xc3\\xa9 au lait', t:header('subject')) "
         "assert(t:header('Subject', { raw = true }):find('=?utf', 1, true) == 1) "
         "assert(t:header('x-spam', { nth = 2 }) == 'two' and t:header('x-spam', { nth = 3 }) == "
         "nil)"
         "local n = 0 for k, v in t:headers() do n = n + 1 end assert(n == 4)"),
      TERN_NEXT, "" },
    { "header edits", TERN_HOOK_MESSAGE,
      ON("message", "t",
         "t:add_header('X-A', 'b') t:append_header('X-C', 'd') t:replace_header('Subject', 'new') "
         "t:remove_header('X-Spam', 2) t:add_rcpt('z@example.org')"),
      TERN_NEXT,
      "prepend X-A: b\nappend X-C: d\nreplace Subject[0]: new\nremove X-Spam[1]\nadd_rcpt "
      "z@example.org\n" },
    { "a header that would inject", TERN_HOOK_MESSAGE,
      ON("message", "t", "t:add_header('X-A', 'b\\r\\n\\r\\nbody')"), TERN_ERROR,
      "is no value for a header field" },
    { "a header name with a colon", TERN_HOOK_MESSAGE,
      ON("message", "t", "t:add_header('X:A', 'b')"), TERN_ERROR, "is no name for a header field" },
    { "sign may only prepend", TERN_HOOK_SIGN,
      ON("sign", "t", "t:add_header('A', 'b') t:remove_header('X-Spam')"), TERN_ERROR,
      "txn:remove_header is not allowed at sign" },
    { "body", TERN_HOOK_MESSAGE,
      ON("message", "t",
         "assert(t:body():sub(1, 5) == 'hello' and #t:body() == 32 and t:body(7, 5) == 'world') "
         "assert(t:body(1000) == '' and t.size == 2000)"),
      TERN_NEXT, "" },
    { "parts", TERN_HOOK_MESSAGE,
      ON("message", "t",
         "local l = {} for p in t:parts() do l[#l + 1] = p.type .. tostring(p.filename) .. p.size "
         "end "
         "return tern.reject(table.concat(l, ' '))"),
      TERN_REJECT, "text/plainnil20 application/xsetup.EXE99\n" },
    { "queue id and note", TERN_HOOK_QUEUE,
      ON("queue", "t", "tern.note('why', t.id .. tern.now() .. tern.hostname())"), TERN_NEXT,
      "note why=T11000000mx.example\n" },

    { "dns", TERN_HOOK_CONNECT,
      ON("connect", "s",
         "local l = tern.dns('listed.example', 'A') return tern.reject(#l .. l[2] .. "
         "tostring(l.authentic))"),
      TERN_REJECT, "reply reject 550 5.7.1 2127.0.0.4false\n" },
    { "dns, certainly not there", TERN_HOOK_CONNECT,
      ON("connect", "s",
         "local l, why, temporary = tern.dns('nowhere.example') assert(not l and not temporary) "
         "return tern.reject(why)"),
      TERN_REJECT, "NXDOMAIN\n" },
    { "dns, could not find out", TERN_HOOK_CONNECT,
      ON("connect", "s",
         "local l, why, temporary = tern.dns('slow.example') assert(not l and temporary) "
         "return tern.reject(why)"),
      TERN_REJECT, "timeout\n" },
    { "mx", TERN_HOOK_CONNECT,
      ON("connect", "s",
         "local l = tern.dns('listed.example', 'MX') return tern.reject(l[1].host .. "
         "l[1].preference)"),
      TERN_REJECT, "127.0.0.210\n" },
    { "dns behind pcall", TERN_HOOK_CONNECT,
      ON("connect", "s",
         "local fine, l = pcall(tern.dns, 'listed.example') assert(fine) "
         "local ok, e = pcall(function() local l = tern.dns('listed.example') error(l[1]) end) "
         "return tern.reject(e)"),
      TERN_REJECT, "127.0.0.2\n" },
    { "dns in a sort", TERN_HOOK_CONNECT,
      ON("connect", "s",
         "table.sort({ 1, 2 }, function(a, b) tern.dns('x.example') return a < b end)"),
      TERN_ERROR, "this cannot wait inside a sort, a gsub or a metamethod" },
    { "kv", TERN_HOOK_RCPT,
      ON("rcpt", "t",
         "assert(tern.kv.get('a') == nil) tern.kv.put('a', 'text') assert(tern.kv.get('a') == "
         "'text') "
         "tern.kv.put('a', 7, 60) assert(tern.kv.get('a') == 7) assert(tern.kv.add('n', 2) == 2 "
         "and tern.kv.add('n', 3) == 5) "
         "assert(tern.kv.put_new('new', 1) == nil and tern.kv.put_new('new', 2) == 1) "
         "tern.kv.remove('a') assert(tern.kv.get('a') == nil)"),
      TERN_NEXT, "" },
    { "an empty key", TERN_HOOK_RCPT, ON("rcpt", "t", "tern.kv.get('')"), TERN_ERROR,
      "a key is not empty" },

    { "a route", TERN_HOOK_ROUTE,
      ON("route", "m, rcpts",
         "return tern.route{ transport = 'smtp', to = { 'a.example:25', '[192.0.2.9]' }, "
         "fallback = 'b.example', source = '192.0.2.7', }"),
      TERN_ACCEPT,
      "route smtp to=2 fallback=1 source=192.0.2.7 discard=\nto a.example:25\nto [192.0.2.9]\n" },
    { "a route not returned is none", TERN_HOOK_ROUTE,
      ON("route", "m", "tern.route{ transport = 'smtp' }"), TERN_NEXT, "" },
    { "a route without transport", TERN_HOOK_ROUTE,
      ON("route", "m", "return tern.route{ to = 'x' }"), TERN_ERROR, "tern.route needs transport" },
    { "a route with a wrong key", TERN_HOOK_ROUTE,
      ON("route", "m", "return tern.route{ host = 'x' }"), TERN_ERROR, "not \"host\"" },
    { "route sees its recipients", TERN_HOOK_ROUTE,
      ON("route", "m, rcpts", "return tern.reject(#rcpts .. rcpts[2].address .. m.sender.address)"),
      TERN_REJECT, "2dave@example.comalice@example.net\n" },
    { "deliver changes the way", TERN_HOOK_DELIVER,
      ON("deliver", "m, rcpts", "return tern.route{ source = '192.0.2.7' }"), TERN_NEXT,
      "route  to=0 fallback=0 source=192.0.2.7" },
    { "result", TERN_HOOK_RESULT,
      ON("result", "m, rcpts", "tern.note('o', m.outcome .. m.outcome_text .. #rcpts)"), TERN_NEXT,
      "note o=bounced250 taken2\n" },
    { "tls", TERN_HOOK_TLS, ON("tls", "s", "tern.log.info('shook ' .. s.client .. ' ' .. tostring(s.tls_version))"),
      TERN_NEXT, "" },
    { "close", TERN_HOOK_CLOSE, ON("close", "s", "tern.log.info('bye ' .. s.client) print('a', 1)"),
      TERN_NEXT, "" },

    { "an object after its call", TERN_HOOK_RCPT,
      TERN
      "local kept tern.on('rcpt', function(t) kept = kept or t return tern.reject(kept.id) end)",
      TERN_REJECT, "T1\n" },
    { "answers that were not announced", TERN_HOOK_RCPT,
      TERN "tern.on('rcpt', function(t) return tern.defer('x') end, { answers = { 'reject' } })",
      TERN_ERROR, "defer is not among the answers" },
    { "an error has its place", TERN_HOOK_RCPT, ON("rcpt", "t", "\n\n local x = nil + 1"),
      TERN_ERROR, "note error=test.lua:3: attempt to perform arithmetic on a nil value\n" },
    { "an error with a table", TERN_HOOK_RCPT, ON("rcpt", "t", "\nerror({})"), TERN_ERROR,
      "note error=test.lua:2: error with a table value\n" },
};

static void run_case(size_t i, bool inside)
{
    const struct tern_module *script = lua_fixture_load(cases[i].script, false);
    tern_call call;

    fake_kv_clear();
    if (script == NULL) {
        fprintf(stderr, "  case \"%s\": %s\n", cases[i].name, lua_fixture_error);
        CU_FAIL("does not load");
        return;
    }
    fake_call_init(&call, fake_conf(script, NULL));
    fill(&call);
    call.inside = inside;
    tern_verdict verdict = fake_run(&call, script, cases[i].hook);
    const char *did = call.did.data != NULL ? call.did.data : "";
    if (verdict != cases[i].verdict || strstr(did, cases[i].did) == NULL)
        fprintf(stderr, "  case \"%s\": got %d: %s", cases[i].name, (int)verdict, did);
    CU_ASSERT_EQUAL(verdict, cases[i].verdict);
    CU_ASSERT_PTR_NOT_NULL(strstr(did, cases[i].did));
    CU_ASSERT_TRUE(call.completed <= 1);
    fake_call_fini(&call);
    lua_fixture_unload(script);
}

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        run_case(i, false);
}

static void test_cases_answered_at_once(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        run_case(i, true);
}

/* ---- what is wrong with a script is said when it is loaded ---- */

static const struct {
    const char *name, *script, *error;
} wrong[] = {
    { "syntax", "local x =\n\nreturn )", "test.lua:3: unexpected symbol near" },
    { "bytecode", "\033Lua", "attempt to load a binary chunk" },
    { "an unknown hook", TERN "\ntern.on('recipient', print)",
      "test.lua:2: there is no hook \"recipient\"" },
    { "a form that there is not", TERN "tern.on('auth', print, { form = 'exchanges' })",
      "invalid option 'exchanges'" },
    { "an exchange by no mechanism", TERN "tern.on('auth', print, { form = 'exchange' })",
      "form = \"exchange\" needs mechanisms" },
    { "a form elsewhere", TERN "tern.on('rcpt', print, { form = 'verify' })",
      "only auth can have form and mechanisms" },
    { "a hook twice", TERN "tern.on('rcpt', print) tern.on('rcpt', print)",
      "rcpt is registered twice" },
    { "no function", TERN "tern.on('rcpt', 'f')", "function expected, got string" },
    { "an unknown flag", TERN "tern.on('rcpt', print, { claim = true })",
      "\"claim\" is not known here" },
    { "claims at mail", TERN "tern.on('mail', print, { claims = true })",
      "only rcpt can have claims" },
    { "once at rcpt", TERN "tern.on('rcpt', print, { once = true })",
      "only message can have once" },
    { "an answer that cannot be", TERN "tern.on('data', print, { answers = { 'hold' } })",
      "hold cannot be answered at data" },
    { "dns at load", TERN "tern.dns('x')", "tern.dns can be used inside a hook only" },
    { "an option without type", TERN "tern.options{ a = 5 }", "the option \"a\" needs a type" },
    { "an option of the server", TERN "tern.options{ timeout = tern.int{} }",
      "the option \"timeout\" is the server's own" },
    { "an option that scripts have", TERN "tern.options{ memory = tern.int{} }",
      "is one that every script has" },
    { "an option with a bad name", TERN "tern.options{ ['A-b'] = tern.int{} }",
      "an option's name is of a-z" },
    { "an unknown key of a type", TERN "tern.options{ a = tern.int{ defalt = 1 } }",
      "\"defalt\" is not known here" },
    { "options twice", TERN "tern.options{} tern.options{}", "tern.options is called once" },
    { "options read at load",
      TERN "local o = tern.options{ a = tern.int{ default = 1 } } local x = o.a",
      "options can be read inside a hook only" },
    { "a list of numbers", TERN "tern.list('number')", "only lists of \"string\"" },
    { "a tag without name", TERN "tern.tag{ doc = 'x' }", "string expected, got nil" },
    { "a result twice", TERN "tern.result{ name = 'a' } tern.result{ name = 'a' }",
      "\"a\" is declared twice" },
    { "a path in require", "require '../../etc/passwd'",
      "require takes \"tern\" or the name of a .lua file" },
    { "a file that is not there", "require 'nowhere'", "nowhere.lua" },
    { "no end", "while true do end", "test.lua:1: used up its 10000000 instructions" },
    { "no end, behind pcall", "while true do pcall(function() while true do end end) end",
      "used up its 10000000 instructions" },
};

/* On a machine that is busy with others its time may be over before its instructions are. */
static bool is_said(const char *text, const char *wanted)
{
    return strstr(text, wanted) != NULL ||
           (strstr(wanted, "used up its") != NULL && strstr(text, "test.lua:1: ran for longer than") != NULL);
}

static void test_wrong_scripts(void)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct tern_module *script = lua_fixture_load(wrong[i].script, false);

        if (script != NULL || !is_said(lua_fixture_error, wrong[i].error))
            fprintf(stderr, "  case \"%s\": %s\n", wrong[i].name, lua_fixture_error);
        CU_ASSERT_PTR_NULL(script);
        CU_ASSERT_TRUE(is_said(lua_fixture_error, wrong[i].error));
    }
}

/* ---- options ---- */

#define OPTIONS                                                                                    \
    TERN "local o = tern.options{ words = tern.list('string', { default = { 'exe', 'a \"b\\\\' } " \
         "}), "                                                                                    \
         "n = tern.int{ default = 5, min = 1, max = 9 }, u = tern.uint{ default = 7 }, b = "       \
         "tern.bool{ default = true }, "                                                           \
         "d = tern.duration{ default = '5m' }, s = tern.size{ default = '64KB' }, e = "            \
         "tern.enum({ 'x', 'y' }, { default = 'y' }), "                                            \
         "m = tern.map{ default = { k = 'v' } }, t = tern.table{ default = {} }, c = tern.cidrs{ " \
         "default = { '192.0.2.0/24' } }, "                                                        \
         "w = tern.string{ default = 'say \"hi\"' } } "                                            \
         "tern.on('rcpt', function(txn, r) "                                                       \
         "local l = {} for i, v in ipairs(o.words) do l[i] = v end "                               \
         "local m = {} for k, v in pairs(o.m) do m[#m + 1] = k .. v end "                          \
         "return tern.reject(table.concat({ #o.words, table.concat(l, '+'), o.n, o.u, "            \
         "tostring(o.b), o.d, o.s, o.e, "                                                          \
         "table.concat(m), tostring(o.m.k), o.w, tostring(o.c:contains(txn.session.client)), "     \
         "tostring(tern.contains(o.words, 'exe')) }, ' ')) end)"

static void test_options(void)
{
    static const struct {
        const char *yaml, *want;
    } rows[] = {
        { NULL, "2 exe+a \"b\\ 5 7 true 300 65536 y kv v say \"hi\" true true\n" },
        { "words: [com]\nn: 9\nu: 0\nb: no\nd: 1h\ns: 1MB\ne: x\nm: { k: w }\nw: hi\nc: "
          "[10.0.0.0/8]\n",
          "1 com 9 0 false 3600 1048576 x kw w hi false false\n" },
    };
    const struct tern_module *script = lua_fixture_load(OPTIONS, false);

    CU_ASSERT_PTR_NOT_NULL_FATAL(script);
    for (size_t i = 0; i < 2; i++) {
        tern_call call;

        fake_call_init(&call, fake_conf(script, rows[i].yaml));
        if (call.conf == NULL)
            fprintf(stderr, "  %s", fake_config_text.data);
        CU_ASSERT_PTR_NOT_NULL_FATAL(call.conf);
        CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_RCPT), TERN_REJECT);
        if (strstr(call.did.data, rows[i].want) == NULL)
            fprintf(stderr, "  got %s", call.did.data);
        CU_ASSERT_PTR_NOT_NULL(strstr(call.did.data, rows[i].want));
        fake_call_fini(&call);
    }
    CU_ASSERT_PTR_NULL(fake_conf(script, "n: 10"));
    CU_ASSERT_PTR_NULL(fake_conf(script, "script_id: 1"));
    CU_ASSERT_PTR_NULL(fake_conf(script, "wrods: [com]"));
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_config_text.data, "words"));
    lua_fixture_unload(script);
}

static void test_tables(void)
{
    const struct tern_module *script = lua_fixture_load(
        TERN
        "local o = tern.options{ t = tern.table{ default = {} } } tern.on('rcpt', function(txn, r) "
        "if o.t == nil or o.t:empty() then return tern.defer('empty') end "
        "return tern.reject(tostring(o.t:find('bob')) .. tostring(o.t:find('nobody'))) end)",
        false);
    tern_call call;

    CU_ASSERT_PTR_NOT_NULL_FATAL(script);
    for (int how = 0; how < 3; how++) {
        fake_call_init(&call, fake_conf(script, how == 2 ? NULL : "t: { bob: yes }"));
        call.table_waits = how == 1;
        tern_verdict verdict = fake_run(&call, script, TERN_HOOK_RCPT);
        CU_ASSERT_EQUAL(verdict, how == 2 ? TERN_DEFER : TERN_REJECT);
        CU_ASSERT_PTR_NOT_NULL(strstr(call.did.data, how == 2 ? "empty" : "yesnil"));
        fake_call_fini(&call);
    }
    for (int waits = 0; waits < 2; waits++) {
        fake_call_init(&call, fake_conf(script, "t: { bob: yes }"));
        call.table_waits = waits == 1;
        call.table_down = true;
        CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_RCPT), TERN_ERROR);
        fake_call_fini(&call);
    }
    lua_fixture_unload(script);
}

/* ---- over several calls ---- */

static void test_store_down_fails_closed(void)
{
    const struct tern_module *script =
        lua_fixture_load(ON("rcpt", "t", "if tern.kv.get('x') == nil then return end"), false);
    tern_call call;

    fake_call_init(&call, fake_conf(script, NULL));
    call.kv_down = true;
    CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_RCPT), TERN_ERROR);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(call.logged.data, "test.lua:1: tern.kv: the store does not answer"));
    fake_call_fini(&call);
    lua_fixture_unload(script);
}

static void test_objects_end_with_their_call(void)
{
    const struct tern_module *script =
        lua_fixture_load(TERN "local kept, parts, answer, vars tern.on('message', function(t) "
                              "local k, p, a, v = kept, parts, answer, vars "
                              "kept, parts, answer, vars = t, t:parts(), tern.reject('x'), t.vars "
                              "if not k then return end "
                              "local _, e1 = pcall(function() return k.id end) local _, e2 = "
                              "pcall(k.body, k) local _, e3 = pcall(p) "
                              "local _, e4 = pcall(function() return v.x end) "
                              "tern.note('e', e1 .. e2 .. e3 .. e4) return a end)",
                         false);

    CU_ASSERT_PTR_NOT_NULL_FATAL(script);
    for (int i = 0; i < 2; i++) {
        tern_call call;

        fake_call_init(&call, fake_conf(script, NULL));
        CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_MESSAGE),
                        i == 0 ? TERN_NEXT : TERN_ERROR);
        if (i == 1) {
            CU_ASSERT_PTR_NOT_NULL(
                strstr(call.did.data, "this txn belongs to a call that has ended"));
            CU_ASSERT_PTR_NOT_NULL(strstr(call.did.data, "this iterator belongs"));
            CU_ASSERT_PTR_NOT_NULL(strstr(call.did.data, "these variables belong"));
            CU_ASSERT_PTR_NOT_NULL(
                strstr(call.logged.data,
                       "the answer returned at message was made in a call that has ended"));
        }
        fake_call_fini(&call);
    }
    lua_fixture_unload(script);
}

static void test_interleaved_calls(void)
{
    enum { CALLS = 100 };
    const struct tern_module *script =
        lua_fixture_load(ON("rcpt", "t, r",
                            "local n = 0 for i = 1, 5 do n = tern.kv.add(r.address, 1) end return "
                            "tern.reject(r.address .. n)"),
                         false);
    static tern_call calls[CALLS];
    static char names[CALLS][32];
    const void *conf = fake_conf(script, NULL);
    unsigned open = CALLS;

    for (int i = 0; i < CALLS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "user%d@example.org", i);
        fake_call_init(&calls[i], conf);
        calls[i].rcpt = names[i];
        CU_ASSERT_EQUAL(script->hooks[0].run(&calls[i], conf), TERN_WAIT);
    }
    for (int turn = 0; open > 0 && turn < 10; turn++)
        for (int i = CALLS - 1; i >= 0; i -= 1 + turn % 2)
            if (fake_step(&calls[i]) && calls[i].completed == 1)
                open--;
    CU_ASSERT_EQUAL(open, 0);
    for (int i = 0; i < CALLS; i++) {
        char want[64];

        (void)snprintf(want, sizeof(want), "reply reject 550 5.7.1 %s5\n", names[i]);
        CU_ASSERT_PTR_NOT_NULL(strstr(calls[i].did.data, want));
        fake_call_fini(&calls[i]);
    }
    lua_fixture_unload(script);
}

static void test_abort(void)
{
    const struct tern_module *script =
        lua_fixture_load(ON("rcpt", "t",
                            "local x <close> = setmetatable({}, { __close = function() "
                            "tern.note('closed', 1) end }) "
                            "tern.kv.get('x') return tern.reject('never')"),
                         false);
    tern_call call;

    for (int i = 0; i < 200; i++) {
        fake_call_init(&call, fake_conf(script, NULL));
        CU_ASSERT_EQUAL(script->hooks[0].run(&call, call.conf), TERN_WAIT);
        script->hooks[0].on_abort(&call, call.conf);
        CU_ASSERT_TRUE(fake_step(&call)); /* an answer that comes too late is ignored */
        CU_ASSERT_EQUAL(call.completed, 0);
        CU_ASSERT_EQUAL(call.did.len, 0);
        fake_call_fini(&call);
    }
    lua_fixture_unload(script);
}

/* ---- loops ---- */

struct loop_work {
    const struct tern_module *script;
    const void *conf;
    unsigned good;
};

static void *work(void *arg)
{
    struct loop_work *w = arg;

    for (int i = 0; i < 300; i++) {
        tern_call call;

        fake_call_init(&call, w->conf);
        fill(&call);
        w->good += fake_run(&call, w->script, TERN_HOOK_RCPT) == TERN_REJECT &&
                   strstr(call.did.data, "pass5\n") != NULL;
        fake_call_fini(&call);
    }
    return NULL;
}

/* Four loops run one script, each in a state of its own, while configurations come and go. */
static void test_loops(void)
{
    const struct tern_module *script = lua_fixture_load(
        TERN "local o = tern.options{ n = tern.int{ default = 5 } } local calls = 0 "
             "tern.on('rcpt', function(t) calls = calls + 1 "
             "for i = 1, 1000 do end return tern.reject(t.results.spf .. o.n) end)",
        false);
    struct loop_work loops[4];
    pthread_t threads[4];

    for (int i = 0; i < 4; i++) {
        loops[i] = (struct loop_work){ script, fake_conf(script, "time: 60s"), 0 };
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, work, &loops[i]), 0);
    }
    for (int i = 0; i < 100; i++)
        lua_fixture_unload(lua_fixture_load(ON("rcpt", "t", ""), false));
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(pthread_join(threads[i], NULL), 0);
        CU_ASSERT_EQUAL(loops[i].good, 300);
    }
    lua_fixture_unload(script);
}

/* A hundred reloads: the states of scripts that are gone go too. */
static void test_reloads(void)
{
    for (int i = 0; i < 100; i++) {
        const struct tern_module *script =
            lua_fixture_load(ON("rcpt", "t", "return tern.reject('x')"), false);
        tern_call call;

        fake_call_init(&call, fake_conf(script, NULL));
        CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_RCPT), TERN_REJECT);
        fake_call_fini(&call);
        lua_fixture_unload(script);
        unsigned states = 0;
        list_each (link, &lua_thread()->vms)
            states++;
        CU_ASSERT_EQUAL(states, 1);
    }
}

/* ---- files ---- */

static void test_require(void)
{
    tern_call call;

    (void)lua_fixture_write("helper.lua",
                            "local m = {} function m.twice(x) return x * 2 end return m");
    const char *path = lua_fixture_write(
        "main.lua",
        TERN "local h = require 'helper' tern.on('rcpt', function(t) "
             "assert(require 'helper' == h) return tern.reject(tostring(h.twice(21))) end)");
    const struct tern_module *script = lua_fixture_load_file(path, false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(script);
    CU_ASSERT_STRING_EQUAL(script->name, "main");
    /* The file changes under the loaded configuration: what was checked is what runs. */
    (void)lua_fixture_write("helper.lua", "error('changed')");
    fake_call_init(&call, fake_conf(script, NULL));
    CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_RCPT), TERN_REJECT);
    CU_ASSERT_PTR_NOT_NULL(strstr(call.did.data, " 42\n"));
    fake_call_fini(&call);
    lua_fixture_unload(script);
    CU_ASSERT_PTR_NULL(lua_fixture_load_file(path, false));
    CU_ASSERT_PTR_NOT_NULL(strstr(lua_fixture_error, "helper.lua:1: changed"));
}

static void test_writable_script_is_refused(void)
{
    const char *path = lua_fixture_write("loose.lua", "");

    CU_ASSERT_EQUAL(chmod(path, 0666), 0);
    CU_ASSERT_PTR_NULL(lua_fixture_load_file(path, false));
    CU_ASSERT_PTR_NOT_NULL(strstr(lua_fixture_error, "loose.lua"));
    CU_ASSERT_PTR_NULL(lua_fixture_load_file("/tmp/policy.txt", false));
}

/* ---- the sandbox ---- */

static void test_sandbox(void)
{
    static const char *const gone[] = { "io",         "package",      "debug",      "coroutine",
                                        "dofile",     "loadfile",     "warn",       "os.execute",
                                        "os.exit",    "os.getenv",    "os.remove",  "os.rename",
                                        "os.tmpname", "os.setlocale", "string.dump" };
    char text[512];

    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
        (void)snprintf(text, sizeof(text), "assert(%s == nil)", gone[i]);
        const struct tern_module *script = lua_fixture_load(text, false);
        if (script == NULL)
            fprintf(stderr, "  %s\n", lua_fixture_error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(script);
        lua_fixture_unload(script);
    }
    static const char *const fails[] = {
        "setmetatable({}, { __gc = function() end })",
        "setmetatable({}, { __gc = true })",
        "getmetatable('').__index = nil",
        "assert(getmetatable('') ~= false)",
        "assert(getmetatable(require('tern')) ~= false)",
        "assert(load('\\27Lua'))",
        "assert(load(function() end))",
        "load(('x'):rep(65537))",
        "collectgarbage()",
        "collectgarbage('stop')",
        "setmetatable(require('tern'), {})",
        "setmetatable('', {})",
        "table.move({}, 1, 1e9, 1)",
        "table.insert(setmetatable({}, { __len = function() return 1e15 end }), 1, 1)",
        "local t = {} for i = 1, 300000 do t[i] = i end table.sort(t)",
        "('x'):rep(1e10)",
        "string.format('%1000d', 1)",
    };
    for (size_t i = 0; i < sizeof(fails) / sizeof(fails[0]); i++) {
        const struct tern_module *script = lua_fixture_load(fails[i], false);
        if (script != NULL)
            fprintf(stderr, "  went through: %s\n", fails[i]);
        CU_ASSERT_PTR_NULL(script);
    }
    const struct tern_module *script = lua_fixture_load(
        "assert(load('return 1 + 1')() == 2) assert(load('return x', 'n', 't', { x = 5 })() == 5) "
        "assert(collectgarbage('count') > 0 and os.time() > 0 and #os.date('%Y') == 4 and "
        "os.clock() >= 0) "
        "local function bad() error('e', 0) end local a, b, c = xpcall(bad, function(e) return e "
        ".. '!', 2 end) assert(not a and b == 'e!' and not c) "
        "assert(select('#', xpcall(function(...) return ... end, print, 1, nil)) == 3) a, b = "
        "xpcall(bad, bad) assert(not a and b == 'e') "
        "assert((''):rep(1e15) == '' and ('ab'):rep(3, ',') == 'ab,ab,ab') "
        "local t = { 3, 1, 2 } table.sort(t) assert(table.concat(t) == '123') table.insert(t, 1, "
        "0) assert(table.remove(t, 1) == 0) "
        "assert(utf8.len('\\u{e9}') == 1 and math.max(1, 2) == 2 and not load('1 +'))",
        false);
    if (script == NULL)
        fprintf(stderr, "  %s\n", lua_fixture_error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(script);
    lua_fixture_unload(script);
    script = lua_fixture_load("assert(io.open and os.getenv and not os.exit and not debug)", true);
    CU_ASSERT_PTR_NOT_NULL_FATAL(script);
    lua_fixture_unload(script);
}

int main(void)
{
    lua_fixture_start();
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lua", NULL, NULL);
    CU_add_test(suite, "what a script does", test_cases);
    CU_add_test(suite, "the same, answered at once", test_cases_answered_at_once);
    CU_add_test(suite, "wrong scripts", test_wrong_scripts);
    CU_add_test(suite, "options", test_options);
    CU_add_test(suite, "tables", test_tables);
    CU_add_test(suite, "a store that is down fails closed", test_store_down_fails_closed);
    CU_add_test(suite, "objects end with their call", test_objects_end_with_their_call);
    CU_add_test(suite, "calls take turns", test_interleaved_calls);
    CU_add_test(suite, "abort", test_abort);
    CU_add_test(suite, "several loops", test_loops);
    CU_add_test(suite, "a hundred reloads", test_reloads);
    CU_add_test(suite, "require", test_require);
    CU_add_test(suite, "a script that others can write", test_writable_script_is_refused);
    CU_add_test(suite, "sandbox", test_sandbox);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int failed = CU_get_number_of_failures() != 0;
    CU_cleanup_registry();
    lua_fixture_end();
    return failed;
}
