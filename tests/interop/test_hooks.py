#!/usr/bin/python3
"""Every hook, by a C module built out of tree and by a Lua script: called in order, with all it may do there.

Each test runs for both; what they do is said by the option `acts` (trace.c, trace.lua).
"""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dns
from peers import Sink
from ternlib import MODULES, ROOT, Client, Tern, dotted, need, queue_id, run, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
HOOKS = ["connect", "ehlo", "mail", "rcpt", "data", "message", "queue", "sign", "route", "deliver", "result", "close"]
CONFIG = """
hostname: mx.test
{more}
module_path: {dir}/modules
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
retry: { min: 1h, max: 1h }
policies:
  inbound:
{steps}
    - domains: { local: [home.example, strict.example], networks: [127.0.0.2/32] }
{marker}
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
  other: { type: maildir, path: "{dir}/mail/other" }
routes:
  - { domain: [home.example, strict.example, claimed.example], transport: mailboxes }
"""
BODY = "X-Remove: stays\nSubject: hello\nX-Remove: goes\n\nHello world\n"


class Built:
    """The modules of this test, built once a run against the public header alone."""

    paths = []

    @classmethod
    def modules(cls):
        if not cls.paths:
            cls.temp = tempfile.TemporaryDirectory(prefix="tern-trace-")
            for name in ("trace", "late"):
                path = os.path.join(cls.temp.name, name + ".so")
                subprocess.run(["gcc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared",
                                "-fvisibility=hidden", "-I", os.path.join(ROOT, "core", "include"), "-o", path,
                                os.path.join(HERE, name + ".c")], check=True)
                cls.paths.append(path)
        return cls.paths


def step(kind, acts, extra=""):
    acts = "{ " + ", ".join("%s: %s" % a for a in acts.items()) + " }"
    if kind == "c":
        return "    - trace: { acts: %s%s }\n" % (acts, extra)
    return "    - lua: { script: trace.lua, name: trace, acts: %s%s }\n" % (acts, extra)


MARKER = """    - hello: { name: marker, when: "tags.traced or results.trace == 'yes'" }"""


def server(steps, more=""):
    need("gcc")
    scripts = {}
    for name in ("trace", "late"):
        with open(os.path.join(HERE, name + ".lua")) as f:
            scripts[name + ".lua"] = f.read()
    t = Tern(CONFIG.replace("{steps}", steps).replace("{more}", more).replace("{marker}", MARKER if "trace" in steps else ""),
             files=scripts)
    folder = os.path.join(t.dir, "modules")
    os.mkdir(folder, 0o755)
    for so in [os.path.join(MODULES, n) for n in os.listdir(MODULES) if n.endswith(".so")] + Built.modules():
        os.symlink(so, os.path.join(folder, os.path.basename(so)))
    return t.start()


def both(test):
    def runs():
        for kind in ("c", "lua"):
            try:
                test(kind)
            except BaseException:
                sys.stderr.write("with the %s step:\n" % kind)
                raise
    runs.__name__ = test.__name__
    return runs


def seen(t, name="trace", since=0):
    """[(hook, what)] as the steps of that name told the log."""
    return re.findall(r'step=%s hook=\w+ text="(?:trace\.lua: )?seen (\w+) ?([^"]*)"' % name, t.log_text()[since:])


def last_seen(t, hook, name="trace"):
    return wait_for(lambda: [w for h, w in seen(t, name) if h == hook])[-1]


def transaction(t, rcpts=("bob@home.example",), body=BODY, sender="a@client.example", quit=True):
    """Replies by name: mail, rcpt (a list), data, dot; those that were got."""
    got = {"rcpt": []}
    c = Client(t.port, greet=False)
    got["connect"] = c.reply()
    if got["connect"][0] != 220:
        return got
    got["ehlo"] = c.cmd("EHLO client.example")
    if got["ehlo"][0] == 250:
        got["mail"] = c.cmd("MAIL FROM:<%s>" % sender)
    if got.get("mail", (0,))[0] == 250:
        got["rcpt"] = [c.cmd("RCPT TO:<%s>" % r) for r in rcpts]
    if any(code == 250 for code, _ in got["rcpt"]):
        got["data"] = c.cmd("DATA")
        if got["data"][0] == 354:
            c.send(dotted(body) + b".\r\n")
            got["dot"] = c.reply()
    if quit:
        try:
            c.cmd("QUIT")
        except (EOFError, OSError):
            pass
        c.close()
    else:
        got["client"] = c
    return got


def mail_of(t, user):
    return wait_for(lambda: t.maildir(user))[0]


def test_all_in_order():
    """A C step and a Lua step: each called at each hook, the C step first as the YAML says."""
    steps = step("c", {}) + "    - lua: { script: trace.lua, name: second }\n"
    with server(steps) as t:
        last_seen(t, "close", "second"), last_seen(t, "close")  # of the connection that looked whether it is up
        since = len(t.log_text())
        got = transaction(t, quit=False)
        assert got["dot"][0] == 250
        last_seen(t, "result", "second")
        got["client"].cmd("QUIT")
        wait_for(lambda: len(seen(t, "trace", since)) >= len(HOOKS) and len(seen(t, "second", since)) >= len(HOOKS))
        for name in ("trace", "second"):
            assert [h for h, _ in seen(t, name, since)] == HOOKS, (name, seen(t, name, since))
        calls = re.findall(r'step=(trace|second) hook=(\w+) text=', t.log_text()[since:])
        for hook in HOOKS[:-2]:  # reports run detached
            assert calls.index(("trace", hook)) < calls.index(("second", hook)), calls
        what = dict(seen(t, since=since))
        ident = queue_id(got["dot"][1])
        assert what == {"connect": "127.0.0.1", "ehlo": "client.example", "mail": "a@client.example",
                        "rcpt": "bob@home.example", "data": ident, "message": "hello", "queue": "a@client.example",
                        "sign": ident, "route": "bob@home.example", "deliver": "bob@home.example",
                        "result": "delivered", "close": "client.example"}, what
        assert mail_of(t, "bob").endswith(b"\n" + BODY.encode())


@both
def test_refusals_are_given_at_rcpt(kind):
    """From connect, ehlo and mail: kept, and given at RCPT; refuse_at: now and CLOSE act at once."""
    for hook in ("connect", "ehlo", "mail"):
        for act, code in (("reject", 550), ("defer", 451)):
            with server(step(kind, {hook: act})) as t:
                got = transaction(t)
                assert got["mail"][0] == 250 and got["rcpt"][0][0] == code, (hook, act, got)
                assert "trace %ss at %s" % (act, hook) in got["rcpt"][0][1], got
                assert "data" not in got and not [h for h, _ in seen(t) if h == "rcpt"], seen(t)
                ident = re.search(r"\[(\w+)\]", got["rcpt"][0][1]).group(1)
                wait_for(lambda: t.cli("why", ident, check=False).returncode == 0)
                text = t.cli("why", ident).stdout
                assert "bob@home.example" in text and "trace" in text, text
        with server(step(kind, {hook: "reject"}, ", refuse_at: now")) as t:
            got = transaction(t)
            assert got[hook][0] == (554 if hook == "connect" else 550), (hook, got)
        with server(step(kind, {hook: "close"})) as t:
            got = transaction(t)
            assert got[hook][0] == 421 and "trace closes" in got[hook][1], (hook, got)


@both
def test_ehlo_withholds(kind):
    with server(step(kind, {"ehlo": "withhold"})) as t:
        words = transaction(t)["ehlo"][1]
        assert "SIZE" not in words and "PIPELINING" in words, words


@both
def test_tags_and_results(kind):
    """A tag or result set at any hook before `message` is seen by when: of a later step."""
    for hook in ("connect", "ehlo", "mail", "rcpt", "data", "message"):
        for act in ("tag", "result"):
            with server(step(kind, {hook: act})) as t:
                got = transaction(t)
                assert got["dot"][0] == 250, (hook, act, got)
                assert b"X-Hello: " in mail_of(t, "bob"), (hook, act, mail_of(t, "bob"))
    with server(step(kind, {})) as t:
        transaction(t)
        assert b"X-Hello: " not in mail_of(t, "bob")


@both
def test_mail_rewrites_the_sender(kind):
    with server(step(kind, {"mail": "rewrite"})) as t:
        transaction(t)
        assert mail_of(t, "bob").startswith(b"Return-Path: <rewritten@home.example>\n")


@both
def test_rcpt(kind):
    with server(step(kind, {"rcpt": "claim"})) as t:
        got = transaction(t, ["x@claimed.example"])
        assert got["dot"][0] == 250, got
        mail_of(t, "x")
        got = transaction(t, ["x@nobody.example"])
        assert got["rcpt"][0][0] == 550 and got["rcpt"][0][1].startswith("5.7.1"), got
    with server(step(kind, {"rcpt": "rewrite"})) as t:
        transaction(t)
        mail_of(t, "new")
        assert t.maildir("bob") == []
    with server(step(kind, {"rcpt": "expand"})) as t:
        got = transaction(t)
        assert got["dot"][0] == 250, got
        mail_of(t, "one"), mail_of(t, "two")
        assert t.maildir("bob") == []
    for act, code in (("reject", 550), ("defer", 451), ("close", 421)):
        with server(step(kind, {"rcpt": act})) as t:
            got = transaction(t)
            assert got["rcpt"][0][0] == code and "trace %ss at rcpt" % act in got["rcpt"][0][1], got


@both
def test_hold_and_discard(kind):
    for hook in ("rcpt", "message", "queue"):
        with server(step(kind, {hook: "hold"})) as t:
            got = transaction(t)
            assert got["dot"][0] == 250, got
            row = wait_for(t.queue)[0]
            assert row["held"] and row["hold_reason"] == "trace holds at %s" % hook, row
            assert "hold_step: trace" in t.cli("queue", "show", row["id"]).stdout
            t.cli("queue", "release", row["id"])
            mail_of(t, "bob")
        with server(step(kind, {hook: "discard"})) as t:
            got = transaction(t)
            assert got["dot"][0] == 250, got
            wait_for(lambda: " discarded" in t.log_text() and t.queue() == [])
            assert t.maildir("bob") == []


@both
def test_data_message_queue_sign_refuse(kind):
    for hook, act, code in (("data", "reject", 550), ("data", "defer", 451), ("data", "close", 421),
                            ("message", "reject", 550), ("message", "defer", 451), ("queue", "reject", 550),
                            ("queue", "defer", 451), ("sign", "defer", 451)):
        with server(step(kind, {hook: act})) as t:
            got = transaction(t)
            reply = got["data" if hook == "data" else "dot"]
            assert reply[0] == code and "trace %ss at %s" % (act, hook) in reply[1], (hook, act, got)
            assert t.queue() == [] and t.maildir("bob") == []
            ident = re.search(r"\[(\w+)\]", reply[1]).group(1)
            wait_for(lambda: t.cli("why", ident, check=False).returncode == 0)
            steps = [s for r in t.why(ident) for s in r["steps"]]
            assert any(s["hook"] == hook and s["step"] == "trace" and s["verdict"] == act.upper() for s in steps), steps


@both
def test_header_edits(kind):
    for hook in ("message", "queue"):
        with server(step(kind, {hook: "edit", "sign": "header"})) as t:
            got = transaction(t)
            mail = mail_of(t, "bob")
            head, body = mail.split(b"\n\n", 1)
            lines = [l for l in head.split(b"\n") if not l.startswith(b"\t")]
            names = [l.split(b":")[0] for l in lines]
            # The signature is put on top last; our own Received was on top when `message` ran.
            assert names == [b"Return-Path", b"Delivered-To", b"X-Signature", b"X-Top", b"Received", b"X-Remove",
                             b"Subject", b"X-Bottom"], (hook, names)
            assert lines[-3:] == [b"X-Remove: stays", b"Subject: replaced", b"X-Bottom: last"], lines
            assert body == b"Hello world\n"
            if hook == "message":
                ident = queue_id(got["dot"][1])
                inputs = [s.get("inputs", {}) for r in t.why(ident) for s in r["steps"]]
                assert {"body begins": "Hello"} in inputs, inputs


@both
def test_message_adds_a_recipient(kind):
    with server(step(kind, {"message": "add"})) as t:
        transaction(t)
        mail_of(t, "bob"), mail_of(t, "added")


@both
def test_route(kind):
    """accept with next hop, reject (bounce to the sender), defer, discard."""
    with Sink() as sink:
        with server(step(kind, {"route": "route"}, ', transport: smtp, to: ["127.0.0.1:%d"]' % sink.port)) as t:
            transaction(t)
            wait_for(lambda: sink.got("bob@home.example"))
    with server(step(kind, {"route": "reject"})) as t:
        ident = queue_id(transaction(t, sender="sender@home.example")["dot"][1])
        # The notice goes by the policy `generated`, whose routes: are the same.
        assert b"trace rejects at route" in mail_of(t, "sender")
        assert wait_for(lambda: " bounced " in t.log_text()), ident
    with server(step(kind, {"route": "defer"})) as t:
        transaction(t)
        row = wait_for(lambda: t.queue() and t.queue()[0]["attempts"] == 1 and t.queue()[0])
        assert "trace defers at route" in row["rcpts"][0]["reply"], row
    with server(step(kind, {"route": "drop"})) as t:
        ident = queue_id(transaction(t)["dot"][1])
        wait_for(lambda: "trace drops it" in t.log_text() and t.queue() == [])
        wait_for(lambda: "discarded 250 2.0.0 trace drops it" in t.cli("why", ident, check=False).stdout)
        assert not [h for h, _ in seen(t) if h == "result"]
        assert " discarded " in t.log_text() and t.maildir("bob") == []


@both
def test_deliver(kind):
    with server(step(kind, {"deliver": "route"}, ", transport: other")) as t:
        transaction(t)
        mail_of(t, "other")
        assert t.maildir("bob") == []
    with server(step(kind, {"deliver": "hold"})) as t:
        transaction(t)
        row = wait_for(lambda: t.queue() and t.queue()[0]["held"] and t.queue()[0])
        assert row["pending"] == 1, row
        wait_for(lambda: "trace holds at deliver" in t.log_text())
        assert row["hold_reason"] == "trace holds at deliver", row
        ident = row["id"]
        shown = t.cli("queue", "show", ident).stdout
        assert "held: trace holds at deliver" in shown and "hold_step: trace" in shown, shown
        t.stop()
        t.start()
        assert wait_for(t.queue)[0]["hold_reason"] == "trace holds at deliver"
        t.cli("queue", "release", ident)
        row = wait_for(lambda: [r for r in t.queue() if r["id"] == ident and r["held"]], 20)[0]
        assert row["hold_reason"] == "trace holds at deliver", "and held again"
    with server(step(kind, {"deliver": "defer"})) as t:
        transaction(t)
        row = wait_for(lambda: t.queue() and t.queue()[0]["attempts"] == 1 and t.queue()[0])
        assert "trace defers at deliver" in row["rcpts"][0]["reply"], row
        assert last_seen(t, "result") == "deferred"
    with server(step(kind, {"deliver": "reject"})) as t:
        transaction(t, sender="sender@home.example")
        assert b"trace rejects at deliver" in mail_of(t, "sender")
        assert last_seen(t, "result") == "bounced"


def late(kind, act="", more=""):
    option = ", act: %s" % act if act else ""
    if kind == "c":
        return "    - late: { name: late%s%s }\n" % (option, more)
    return "    - lua: { script: late.lua, name: late%s%s }\n" % (option, more)


PROFILES = "profiles: { strict: { late: { act: %s } } }\nprofile_for: { domain: { strict.example: strict } }\n"
TWO = ["bob@home.example", "eve@strict.example"]


@both
def test_profiles_split(kind):
    """split: true: a RCPT that would open a second group is 452 4.5.3, and comes through by itself."""
    with server(late(kind), PROFILES % "reject") as t:
        got = transaction(t, TWO)
        assert [c for c, _ in got["rcpt"]] == [250, 452] and got["rcpt"][1][1].startswith("4.5.3"), got
        assert got["dot"][0] == 250
        got = transaction(t, TWO[1:])
        assert got["dot"][0] == 550 and "late rejects" in got["dot"][1], got


@both
def test_groups(kind):
    """split: false: a verdict per group."""
    with server(late(kind), PROFILES % "reject" + "split: false\n") as t:
        got = transaction(t, TWO)
        assert [c for c, _ in got["rcpt"]] == [250, 250] and got["dot"][0] == 250, got
        mail_of(t, "bob")
        row = wait_for(lambda: [m for m in t.queue() if m["held"]])[0]
        assert row["hold_reason"] == "late-refusal" and [r["address"] for r in row["rcpts"]] == TWO[1:], row
        assert row["id"] == queue_id(got["dot"][1]) + ".2", row
        wait_for(lambda: t.log_text().count("seen message 1") == 2)
        # All refused: the reply of the first group.
        got = transaction(t, TWO[1:])
        assert got["dot"][0] == 550, got
    with server(late(kind), PROFILES % "defer" + "split: false\n") as t:
        got = transaction(t, TWO)
        assert got["dot"][0] == 451 and "late defers" in got["dot"][1], got
        assert t.queue() == [] and t.maildir("bob") == []
    with server(late(kind), PROFILES % "hold" + "split: false\n") as t:
        got = transaction(t, TWO)
        assert got["dot"][0] == 250, got
        mail_of(t, "bob")
        row = wait_for(lambda: [m for m in t.queue() if m["held"]])[0]
        assert row["hold_reason"] == "late holds" and [r["address"] for r in row["rcpts"]] == TWO[1:], row
    with server(late(kind), PROFILES % "edit" + "split: false\n") as t:
        transaction(t, TWO)
        assert b"\nX-Top: first\n" in mail_of(t, "eve") and b"\nX-Top: " not in mail_of(t, "bob")


@both
def test_shadow(kind):
    """Decides and is recorded, without effect; a profile turns it on."""
    with server(late(kind, "reject", ", mode: shadow"),
                "profiles: { strict: { late: { mode: enforce } } }\n"
                "profile_for: { domain: { strict.example: strict } }\n") as t:
        ident = queue_id(transaction(t)["dot"][1])
        mail_of(t, "bob")
        text = wait_for(lambda: "shadow" in t.cli("why", ident, check=False).stdout and t.cli("why", ident).stdout)
        assert "late rejects" in text, text
        got = transaction(t, TWO[1:])
        assert got["dot"][0] == 550, got


WARM = """
local tern = require "tern"
tern.on("mail", function(txn)
  local said = {}
  for i = 1, 20 do
    local there = tern.dns("one.test", "TXT")
    local absent, why = tern.dns("two.test", "TXT")
    said[i] = there[1] .. tostring(absent) .. why
  end
  return tern.reject(550, "5.7.1", said[1] .. #said .. said[20])
end)
"""


def test_dns_answers_that_are_kept():
    """What the cache has is given to the step when its handler has returned, over and over, and is asked for once by each loop."""
    config = CONFIG.replace("{more}", 'dns: { servers: ["127.0.0.1:{dns}"], timeout: 20s }').replace("module_path: {dir}/modules\n", "")
    config = config.replace("{steps}", "    - lua: { script: warm.lua }").replace("{marker}", "")
    with Dns({"one.test": "1"}) as dns, Tern(config, files={"warm.lua": WARM}, dns=dns.port).start() as t:
        for _ in range(8):
            c = Client(t.port)
            c.cmd("EHLO client.example")
            assert c.cmd("MAIL FROM:<a@client.example>")[0] == 250
            code, text = c.cmd("RCPT TO:<b@home.example>")
            assert code == 550 and "1nilNXDOMAIN201nilNXDOMAIN" in text, (code, text)
            c.close()
        assert 1 <= dns.asked.count("one.test") <= 8, dns.asked  # of 160


if __name__ == "__main__":
    run([f for n, f in list(globals().items()) if n.startswith("test_")])
