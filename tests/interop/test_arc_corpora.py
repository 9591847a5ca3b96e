#!/usr/bin/python3
"""ARC by other people's material: every case of the validation suite, from its file, through the real server; and every mail of the
messages corpus sealed by Tern and verified by the others, and the other way round. The signing suite is tests/unit/test_arc_suite.c.

What differs from the suite stands here with its reason.
"""
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from arcpeers import Dkimpy, MailDkim, need_peers
from dkimpeers import Dns, Key, crlf, enough, from_fields, messages
from peers import Sink
from ternlib import SHARED, Client, Tern, need_shared, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
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
SEAL = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - lua: { script: forward.lua, name: forward }
    - spf: { exempt: [] }
    - dkim_verify
    - arc_verify
    - lua: { script: edit.lua, name: edit }
    - arc_seal: { domain: seal.example, selector: s1, key: keys/seal }
transports: { far: { type: smtp, to: ["127.0.0.1:{sink}"] } }
routes: [{ transport: far }]
"""
FORWARD = """
local tern = require "tern"
tern.on("rcpt", function(txn, rcpt) rcpt:claim("forward") end, { claims = true })
"""
EDIT = """
local tern = require "tern"
tern.on("message", function(txn)
  txn:append_header("X-Below", "the last")
  txn:add_header("X-Above", "the first")
end)
"""
FOLDER = tempfile.mkdtemp(prefix="tern-arc-")
DIFFERENT = {}  # name: (what Tern says, why)


def load(name):
    import yaml
    with open(os.path.join(SHARED, "corpora", "arc", name)) as f:
        return list(yaml.safe_load_all(f))


def results(t, mails, may_refuse=False):
    """name -> what the step behind arc_verify has read."""
    c, taken = Client(t.port), {}
    c.cmd("EHLO client.example")
    for name, message in mails:
        code, text = c.mail("bob@example.net", ["alice@example.org"], message, helo=None)
        assert code == 250 or may_refuse, (name, code, text)
        if code == 250:
            taken[queue_id(text)] = name
    c.close()
    folder = os.path.join(t.dir, "mail", "alice", "new")
    wait_for(lambda: os.path.isdir(folder) and len(os.listdir(folder)) == len(taken), 300)
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


# ---- the messages corpus ----

_key = []


def key():
    if not _key:
        _key.append(Key(FOLDER, "rsa"))
    return _key[0]


def txt():
    return {"s1._domainkey." + d: key().record for d in ("seal.example", "list.example")}


def by_dkimpy(mail):
    try:
        return Dkimpy.verify(mail, txt())[0] == "pass"
    except Exception:  # it reads no header with NUL in it, and the like
        return False


def sealed_by_dkimpy(mail):
    """None where it cannot, or does not take its own seal."""
    try:
        sealed = Dkimpy.seal(mail, key(), "list.example", "spf=pass smtp.mailfrom=example.net")
    except Exception:
        return None
    return sealed if by_dkimpy(sealed) else None


def sealed_by_tern(mails):
    """name -> what the next hop gets."""
    with Dns(txt()) as dns, Sink() as sink, Tern(SEAL, files={"forward.lua": FORWARD, "edit.lua": EDIT}, sink=sink.port, dns=dns.port) as t:
        os.chmod(t.write("keys/seal", key().pem), 0o600)
        t.start()
        taken = {}
        c = Client(t.port)
        c.cmd("EHLO client.example")
        for name, data in mails:
            code, text = c.mail("bob@example.net", ["friend@far.example"], data, helo=None)
            if code == 250:
                taken[name] = queue_id(text)
        c.close()
        wait_for(lambda: len(sink.mails) >= len(taken), 300)
        found = {re.search(rb" id (\S+)", m.data).group(1).decode(): m.data for m in sink.mails}
        return {name: found[ident] for name, ident in taken.items()}


def test_messages_from_tern():
    """Each mail, edited and sealed by Tern, has a good chain; where dkimpy disagrees, it takes no seal of its own either."""
    need_shared("corpora", "messages")
    mails = {n: d for n, d in messages() if not re.search(rb"(?im)^arc-seal:", d)}  # whose keys are gone
    got = sealed_by_tern(mails.items())
    sealed = {n: m for n, m in got.items() if m.startswith(b"ARC-Seal:")}
    unsealed = [n for n in got if n not in sealed and from_fields(mails[n]) == 1]
    files, wrong, blind = [], [], 0
    for name, mail in sealed.items():
        if not by_dkimpy(mail):
            ours = sealed_by_dkimpy(mails[name]) is not None
            blind += not ours
            wrong += ["dkimpy: " + name] if ours else []
        files.append((name, os.path.join(FOLDER, "m%d" % len(files))))
        with open(files[-1][1], "wb") as f:
            f.write(mail)
    with Dns(txt()) as dns:
        wrong += ["Mail::DKIM: %s: %s" % (name, verdict)
                  for (name, _), verdict in zip(files, MailDkim.verify_files([p for _, p in files], dns.port)) if not verdict.startswith("pass")]
    print("     %d mails, %d sealed, %d that dkimpy cannot read" % (len(got), len(sealed), blind))
    assert enough(len(got), 300) and enough(len(sealed), 250) and not unsealed, (len(got), len(sealed), unsealed)
    assert not wrong and blind <= 60, "\n".join(wrong)


def test_messages_to_tern():
    """Each mail as dkimpy seals it has a good chain in Tern, where it has in itself. It sees no second From in "From :"."""
    need_shared("corpora", "messages")
    mails = [(n, m) for n, m in ((n, sealed_by_dkimpy(d)) for n, d in messages() if from_fields(d) == 1) if m is not None]
    with Dns(txt()) as dns, Tern(CONFIG, files={"tell.lua": TELL}, dns=dns.port) as t:
        t.start()
        got = results(t, mails, may_refuse=True)
    print("     %d mails" % len(got))
    wrong = ["%s: %s" % (n, r) for n, r in got.items() if not r.startswith("pass no [list.example]")]
    assert enough(len(got), 250) and not wrong, "\n".join(wrong)


if __name__ == "__main__":
    need_peers()
    try:
        run([test_validation, test_messages_from_tern, test_messages_to_tern])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
