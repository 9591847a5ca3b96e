#!/usr/bin/python3
"""Configuration as the running server reads it: includes, !env, !file, watched tables, profiles, reload."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BINARY, SLOW, Client, Tern, fill, run, wait_for

BASE = """
hostname: mx.test
delivery: false
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: boxes }]
"""
SECRET = """local tern = require "tern"
local opt = tern.options { word = tern.string { default = "", doc = "x" } }
tern.on("mail", function(txn)
  if txn.sender.local_part ~= opt.word then
    return tern.reject(550, "5.7.1", "Another word, please")
  end
end)
"""


def rcpt(t, to, sender="a@client.example"):
    c = Client(t.port)
    try:
        c.cmd("EHLO client.example")
        code, text = c.cmd("MAIL FROM:<%s>" % sender)
        return (code, text) if code != 250 else c.cmd("RCPT TO:<%s>" % to)
    finally:
        c.close()


def reload(t, check=True):
    return t.cli("reload", check=check)


def test_include_merges():
    files = {"policy.yaml": "policies:\n  inbound:\n    - domains: { local: { table: hosted }, recipients: { table: boxes } }\n",
             "tables/t.yaml": "tables:\n  boxes: [alice@example.org]\n"}
    with Tern("include: [policy.yaml, tables/t.yaml]\ntables: { hosted: [example.org] }\n" + BASE, files=files).start() as t:
        assert rcpt(t, "alice@example.org")[0] == 250
        assert rcpt(t, "bob@example.org")[0] == 550
        # A reload reads the included files again.
        t.write("tables/t.yaml", "tables:\n  boxes: [bob@example.org]\n")
        reload(t)
        assert rcpt(t, "alice@example.org")[0] == 550
        assert rcpt(t, "bob@example.org")[0] == 250
        # A broken one is named by its own name and line; the old generation stays.
        t.write("tables/t.yaml", "tables:\n  boxes: { a: [1]\n")
        r = reload(t, check=False)
        assert r.returncode != 0 and "tables/t.yaml:" in r.stdout + r.stderr, r.stdout + r.stderr
        assert rcpt(t, "bob@example.org")[0] == 250
        t.write("tables/t.yaml", "tables: {}\n")
        r = reload(t, check=False)
        assert r.returncode != 0 and "boxes" in r.stdout + r.stderr, r.stdout + r.stderr
        assert rcpt(t, "bob@example.org")[0] == 250


def test_env_and_file():
    config = BASE + """
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - lua: { script: word.lua, word: %s }
"""
    os.environ["TERN_TEST_WORD"] = "from-env"
    with Tern(fill(config, "!env TERN_TEST_WORD"), files={"word.lua": SECRET}).start() as t:
        assert rcpt(t, "alice@example.org", "from-env@client.example")[0] == 250
        assert rcpt(t, "alice@example.org", "other@client.example")[0] == 550
        assert "from-env" not in t.cli("check").stdout
    with Tern(fill(config, "!file word.txt"), files={"word.lua": SECRET, "word.txt": "from-file\n"}).start() as t:
        assert rcpt(t, "alice@example.org", "from-file@client.example")[0] == 250
        t.write("word.txt", "changed\n")
        reload(t)
        assert rcpt(t, "alice@example.org", "from-file@client.example")[0] == 550
        assert rcpt(t, "alice@example.org", "changed@client.example")[0] == 250
        os.unlink(os.path.join(t.dir, "word.txt"))
        r = reload(t, check=False)
        assert r.returncode != 0 and "word.txt" in r.stdout + r.stderr, r.stdout + r.stderr
        assert rcpt(t, "alice@example.org", "changed@client.example")[0] == 250
    del os.environ["TERN_TEST_WORD"]
    with Tern(fill(config, "!env TERN_TEST_WORD"), files={"word.lua": SECRET}) as t:
        r = t.cli("check", check=False)
        assert r.returncode == 1 and "TERN_TEST_WORD" in r.stdout + r.stderr, r.stdout + r.stderr


def test_watched_table_changes():
    config = BASE + """
tables:
  boxes: { file: boxes }
policies:
  inbound:
    - domains: { local: [example.org], recipients: { table: boxes } }
"""
    with Tern(config, files={"boxes": "alice@example.org\n"}).start() as t:
        assert rcpt(t, "alice@example.org")[0] == 250
        assert rcpt(t, "bob@example.org")[0] == 550
        before = t.status()
        t.write("boxes", "alice@example.org\nbob@example.org\n")
        wait_for(lambda: rcpt(t, "bob@example.org")[0] == 250, 15, 0.2)
        assert rcpt(t, "alice@example.org")[0] == 250
        # No reload was needed for that.
        assert before.get("generation") == t.status().get("generation"), (before, t.status())
        # A file that cannot be read leaves what is known, and says so.
        os.rename(os.path.join(t.dir, "boxes"), os.path.join(t.dir, "gone"))
        wait_for(lambda: "boxes" in t.log_text(), 15, 0.2)
        time.sleep(0.5)
        assert rcpt(t, "bob@example.org")[0] == 250
        # It comes back, with other contents.
        t.write("boxes", "carol@example.org\n")
        wait_for(lambda: rcpt(t, "carol@example.org")[0] == 250, 15, 0.2)
        assert rcpt(t, "bob@example.org")[0] == 550


def test_profiles_by_domain_and_user():
    config = BASE + """
tables: { tiers: { example.net: small } }
policies:
  inbound:
    - domains:
        local: [example.org, example.net]
        recipients: [a@example.org, b@example.org, c@example.org, vip@example.org, a@example.net, b@example.net, boss@example.net]
    - greylist: { delay: 1h }
profiles:
  open: { greylist: off }
  small: { greylist: { text: "Later, small one" } }
profile_for:
  domain: %s
  user: { vip@example.org: open, boss@example.net: open }
"""
    with Tern(fill(config, "{ table: tiers }")).start() as t:
        code, text = rcpt(t, "a@example.org")
        assert code == 451 and "Later" not in text, text
        code, text = rcpt(t, "a@example.net")
        assert code == 451 and "Later, small one" in text, text
        assert rcpt(t, "vip@example.org")[0] == 250
        assert rcpt(t, "boss@example.net")[0] == 250  # the user's beats the domain's
        assert rcpt(t, "VIP@Example.ORG")[0] == 250
        assert rcpt(t, "vip+tag@example.org")[0] in (250, 451)
        t.write_config(fill(config, "{ example.org: open }"))
        reload(t)
        assert rcpt(t, "b@example.org")[0] == 250
        code, text = rcpt(t, "b@example.net")
        assert code == 451 and "Later" not in text, text


def test_a_session_keeps_its_generation():
    config = BASE + "policies:\n  inbound:\n    - domains: { local: [example.org], recipients: [%s] }\n"
    with Tern(fill(config, "alice@example.org")).start() as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")
        assert c.cmd("RCPT TO:<alice@example.org>")[0] == 250
        t.write_config(fill(config, "bob@example.org"))
        reload(t)
        assert rcpt(t, "alice@example.org")[0] == 550  # a new session sees the new one
        assert t.metric("tern_generations") == 2
        assert c.cmd("DATA")[0] == 354
        c.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert c.reply()[0] == 250
        c.cmd("QUIT")
        c.close()
        wait_for(lambda: t.metric("tern_generations") <= 2 and rcpt(t, "bob@example.org")[0] == 250)


def test_check_warns_of_what_domains_lets_in():
    config = BASE + "policies: { inbound: [ domains: %s ] }\n"
    for options, said in (("{ local: [example.org] }", "without recipients: any address of these domains is accepted"),
                          ("{}", "neither local, relay nor networks is set: nothing is claimed"),
                          ("{ local: [example.org], recipients: [alice@example.org] }", None)):
        with Tern(fill(config, options)) as t:
            r = t.cli("check")
            lines = [l for l in (r.stdout + r.stderr).splitlines() if "domains" in l]
            if said is None:
                assert not lines, lines
            else:
                assert len(lines) == 1 and said in lines[0] and "tern.yaml:" in lines[0] and "warning" in lines[0], lines


def test_first_start_with_a_broken_file():
    with Tern("hostnam: x\nlisteners: [\n") as t:
        r = subprocess.run([BINARY, "serve", "-c", t.config, "-s", t.rules], capture_output=True, text=True,
                           env=t.env(), timeout=60 * SLOW)
        assert r.returncode == 1, (r.returncode, r.stderr)
        assert "tern.yaml:" in r.stderr, r.stderr


if __name__ == "__main__":
    run([test_include_merges, test_env_and_file, test_watched_table_changes, test_profiles_by_domain_and_user,
         test_a_session_keeps_its_generation, test_check_warns_of_what_domains_lets_in, test_first_start_with_a_broken_file])
