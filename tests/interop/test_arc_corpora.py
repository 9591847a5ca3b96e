#!/usr/bin/python3
"""ARC by other people's material: every case of the validation suite, from its file, through the real server.

What differs from the suite stands here with its reason.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dns, crlf
from ternlib import SHARED, Client, Tern, need_shared, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 300ms, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - arc_verify: { trusted_sealers: [example.org] }
    - lua: { script: tell.lua }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf } }
routes: [{ class: local, transport: boxes }]
"""
TELL = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local r = txn.results
  txn:add_header("X-Result", r.arc .. " " .. r.arc_trusted .. " [" .. r.arc_domains .. "] " .. r.arc_detail)
end)
"""
DIFFERENT = {}  # name: (what Tern says, why)


def load(name):
    import yaml
    with open(os.path.join(SHARED, "corpora", "arc", name)) as f:
        return list(yaml.safe_load_all(f))


def results(t, mails):
    """name -> what the step behind arc_verify has read."""
    c, taken = Client(t.port), {}
    c.cmd("EHLO client.example")
    for name, message in mails:
        code, text = c.mail("bob@example.net", ["alice@example.org"], message, helo=None)
        assert code == 250, (name, code, text)
        taken[queue_id(text)] = name
    c.close()
    folder = os.path.join(t.dir, "mail", "alice", "new")
    wait_for(lambda: os.path.isdir(folder) and len(os.listdir(folder)) == len(taken), 60)
    found = {}
    for mail in t.maildir("alice"):
        ident = re.search(rb"\bid ([\w.-]+)", mail).group(1).decode()
        found[taken[ident]] = re.search(rb"^X-Result: (.*?)\r\n(?![ \t])", mail, re.M | re.S).group(1).decode()
    return found


def test_validation():
    need_shared("corpora", "arc")
    cases = wrong = 0
    for scenario in load("arc-validation.part.yml"):
        txt = {name: re.sub(r"\s*\n\s*", "", text) for name, text in (scenario["txt-records"] or {}).items()}
        tests = scenario["tests"]
        with Dns(txt) as dns, Tern(CONFIG, files={"tell.lua": TELL}, dns=dns.port) as t:
            t.start()
            # A message without a header field begins with its empty line, in the file and here.
            got = results(t, [(name, crlf(case["message"])) for name, case in tests.items()])
        for name, case in tests.items():
            want = DIFFERENT[name][0] if name in DIFFERENT else str(case["cv"] or "none").lower()
            cases += 1
            if got[name].split()[0] != want:
                wrong += 1
                print("     %s (%s): wanted %s, got %s" % (name, case["description"], want, got[name]))
    print("     %d cases" % cases)
    assert cases == 93 and not wrong, (cases, wrong)


if __name__ == "__main__":
    run([test_validation])
