#!/usr/bin/python3
"""dmarc in the real server, behind spf, dkim_verify and arc_verify; its DNS by a server that knows the zone of a test.

A client's address is told by a PROXY header; a Lua step behind answers the message with what it reads of the results.
"""
import json
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from arcpeers import Chain
from dkimpeers import Dkimpy, Key, crlf
from dmarcpeers import OpenDmarc
from spfzone import Server, Zone
from ternlib import MODULES, ROOT, SLOW, Client, Tern, need_shared, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", proxy: [127.0.0.1], policy: inbound } }
policies:
  inbound:
    - spf: { exempt: [] }
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - dkim_verify
    - arc_verify: { trusted_sealers: [list.test] }
    - dmarc: { {options} }
    - lua: { script: tell.lua }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: boxes }]
"""
TELL = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local r = txn.results
  return tern.reject(550, "5.7.0", table.concat({ r.dmarc, r.dmarc_policy, r.dmarc_disposition, "[" .. r.dmarc_override .. "]",
    "[" .. r.dmarc_policy_domain .. "]", r.dmarc_detail }, " "))
end)
"""
FOLDER = tempfile.mkdtemp(prefix="tern-dmarc-")
KEYS = {}
PASS = [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}]
SUFFIXES = "/usr/share/publicsuffix/public_suffix_list.dat"


def key(kind="ed25519"):
    if kind not in KEYS:
        KEYS[kind] = Key(FOLDER, kind, kind)
    return KEYS[kind]


def server(dns, options, **files):
    return Tern(CONFIG.replace("{options}", options), files=dict({"tell.lua": TELL}, **files), dns=dns.port).start()


def zone(rows, signers=()):
    rows = {k: v if isinstance(v, list) else [{"TXT": v}] for k, v in rows.items()}
    rows.update({"s1._domainkey." + d: [{"TXT": key().record}] for d in signers})
    return Zone(rows)


def mail(author, *signers, extra=""):
    """A message from that domain, signed by those; "x!" signs and is changed behind."""
    message = crlf("From: Bob <bob@%s>\nTo: alice@example.org\nSubject: hello\nMessage-ID: <1@example.net>\n%s\nHello\n" % (author, extra))
    for s in signers:
        signed = Dkimpy.sign(message, key(), domain=s.rstrip("!"))
        message = signed.replace(b"bh=", b"bh=AAAA", 1) if s.endswith("!") else signed
    return message


class Told:
    def __init__(self, code, text):
        self.code, self.text = code, text.replace("\n", " ")
        m = re.match(r"5\.7\.0 (\w+) (\w+) (\w+) \[(\w*)\] \[(.*?)\] (.*?)(?: \[\w+\])?$", self.text)
        self.ident = re.search(r"\[(\w+)\]$", self.text)
        self.result, self.policy, self.disposition, self.override, self.domain, self.detail = m.groups() if m else [None] * 6

    def __repr__(self):
        return "%d %s" % (self.code, self.text)


def send(t, message, sender="bob@spf.test", host="192.0.2.1", helo="client.test"):
    c = Client(t.port, greet=False)
    c.send("PROXY TCP4 %s 127.0.0.1 40000 25\r\n" % host)
    assert c.reply()[0] == 220
    code, text = c.mail(sender, ["alice@example.org"], message, helo=helo)
    c.close()
    return Told(code, text)


# ---- alignment by real signatures ----

def test_signatures():
    """Aligned or not, relaxed and strict, one of several, one that fails, one whose key cannot be had."""
    rows = {"_dmarc.a.test": "v=DMARC1; p=reject", "_dmarc.b.test": "v=DMARC1; p=reject; adkim=s", "spf.test": PASS, "a.test": PASS,
            "s1._domainkey.down.a.test": ["TIMEOUT"], "s1._domainkey.down.test": ["TIMEOUT"]}
    cases = [
        # author, signers, sender, result
        ("a.test", ["a.test"], "", "pass"),
        ("a.test", ["mail.a.test"], "", "pass"),
        ("mail.a.test", ["a.test"], "", "pass"),
        ("x.a.test", ["y.a.test"], "", "pass"),
        ("a.test", ["c.test"], "", "fail"),
        ("a.test", ["c.test", "mail.a.test", "b.test"], "", "pass"),
        ("a.test", ["a.test!"], "", "fail"),
        ("a.test", ["a.test!", "a.test"], "", "pass"),
        ("a.test", [], "", "fail"),
        ("a.test", [], "bob@a.test", "pass"),
        ("a.test", ["a.test!"], "bob@a.test", "pass"),
        ("A.Test", ["A.test"], "", "pass"),
        ("b.test", ["mail.b.test"], "", "fail"),
        ("b.test", ["b.test"], "", "pass"),
        ("mail.b.test", ["b.test"], "", "fail"),
        ("a.test", ["down.a.test"], "", "temperror"),
        ("a.test", ["down.test"], "", "fail"),
        ("a.test", ["down.a.test", "a.test"], "", "pass"),
        ("x_y.a.test", ["x_y.a.test"], "", "pass"),
        ("a.test", ["c.test!", "x_y.a.test"], "", "pass"),
    ]
    with Server(zone(rows, ["a.test", "mail.a.test", "y.a.test", "c.test", "b.test", "mail.b.test", "x_y.a.test"])) as dns, \
            server(dns, "exempt: []") as t:
        for author, signers, sender, wanted in cases:
            got = send(t, mail(author, *signers), sender=sender or "bob@spf.test")
            assert got.result == wanted, (author, signers, sender, wanted, got)
            assert "header.from=" + author.lower() in got.detail, got


def test_eight_signatures():
    """The last of eight vouches; a ninth is not looked at. Behind SPF, which has nothing to say."""
    rows = {"_dmarc.a.test": "v=DMARC1; p=reject", "spf.test": PASS}
    others = ["o%d.test" % i for i in range(8)]
    with Server(zone(rows, ["a.test"] + others)) as dns, server(dns, "exempt: []") as t:
        assert send(t, mail("a.test", "a.test", *others[:7])).result == "pass"  # the first to sign is the lowest
        assert send(t, mail("a.test", "a.test", *others)).result == "fail"


def test_enforced():
    """What is refused says so in the reply, in tern why, and in the counters."""
    rows = {"_dmarc.a.test": "v=DMARC1; p=none; sp=reject", "spf.test": PASS}
    with Server(zone(rows, ["c.test"])) as dns, server(dns, "exempt: [], enforce: true") as t:
        got = send(t, mail("deep.mail.a.test", "c.test"))
        assert got.code == 550 and got.text.startswith("5.7.1 Email rejected per DMARC policy for deep.mail.a.test"), got
        why = wait_for(lambda: t.cli("why", "--json", got.ident.group(1), check=False).stdout)
        notes = json.dumps(json.loads(why))
        for part in ("_dmarc.deep.mail.a.test TXT", "NXDOMAIN", "_dmarc.a.test TXT", "v=DMARC1; p=none; sp=reject", "_dmarc.test TXT",
                     "organizational domain", "spf.test: not aligned", "c.test: not aligned", "reject, by sp= of a.test",
                     "dmarc=fail (p=none sp=reject dis=reject) header.from=deep.mail.a.test policy.dmarc=reject",
                     "reject (dkim not aligned, spf not aligned)"):
            assert part in notes, (part, why)
        text = t.cli("why", got.ident.group(1)).stdout
        assert "reject, by sp= of a.test" in text, text
        assert t.metric("tern_dmarc_fail_total") == 1 and t.metric("tern_dmarc_disposition_reject_total") == 1
        assert send(t, mail("nobody.test")).result == "none"
        assert t.metric("tern_dmarc_none_total") == 1


def test_time():
    """DNS that says nothing is temperror when lookup_time is over, not the step's error."""
    with Server(zone({"spf.test": PASS})) as dns:
        dns.silent.add("_dmarc.silent.test")
        with server(dns, "exempt: [], temperror: defer, lookup_time: %ds" % SLOW) as t:
            got = send(t, mail("silent.test"))
            assert got.code == 451 and got.text.startswith("4.7.1 The DMARC policy of silent.test cannot be looked up now"), got
            assert t.metric("tern_dmarc_temperror_total") == 1


# ---- ARC ----

def test_arc():
    """A list has changed the mail and sealed what it had found: spared if it is trusted, and if DMARC had passed there."""
    try:
        import nacl  # noqa: F401
    except ImportError:
        print("     left out: no python3-nacl")
        return
    rows = {"_dmarc.a.test": "v=DMARC1; p=reject", "spf.test": PASS}
    rows.update({"e1._domainkey." + d: key().record for d in ("list.test", "evil.test")})
    message = mail("a.test")
    passed, failed = ("mx.list.test; dmarc=%s header.from=a.test" % w for w in ("pass", "fail"))
    cases = [
        (lambda c: c.add("list.test", passed), "none", "local_policy"),
        (lambda c: c.add("list.test", failed), "reject", ""),
        (lambda c: c.add("evil.test", passed), "reject", ""),
        (lambda c: c.add("evil.test", passed).add("list.test", passed), "reject", ""),
        (lambda c: c.add("list.test", passed).edit(b"Hello", b"Hallo"), "reject", ""),
    ]
    with Server(zone(rows)) as dns:
        with server(dns, "exempt: [], enforce: true") as t:
            for make, disposition, override in cases:
                got = send(t, make(Chain(key(), message)).message)
                if disposition == "reject":
                    assert got.code == 550 and got.text.startswith("5.7.1 Email rejected"), got
                else:
                    assert (got.result, got.disposition, got.override) == ("fail", disposition, override), got
            assert t.metric("tern_dmarc_disposition_none_total") == 1
        with server(dns, "exempt: [], enforce: true, arc: false") as t:
            got = send(t, cases[0][0](Chain(key(), message)).message)
            assert got.code == 550 and got.text.startswith("5.7.1 Email rejected"), got


# ---- fields that are not theirs to write ----

COUNT = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local count, last = 0, ""
  for name, value in txn:headers() do
    if name:lower() == "x-dmarc-quarantine" then count, last = count + 1, value end
  end
  return tern.reject(550, "5.7.0", count .. " " .. last)
end)
"""


def test_fields_of_its_name():
    """A thousand of them that came are taken off; with one more the mail is refused."""
    rows = {"_dmarc.a.test": "v=DMARC1; p=quarantine", "spf.test": PASS}
    field = b"x-dmarc-quarantine: no\r\n"
    with Server(zone(rows)) as dns, server(dns, "exempt: []", **{"tell.lua": COUNT}) as t:
        assert send(t, field * 1000 + mail("a.test")).text.startswith("5.7.0 1 dmarc=fail")
        assert send(t, field * 1000 + mail("nobody.test")).text.startswith("5.7.0 0")
        for count in (1001, 9000):
            got = send(t, field * count + mail("a.test"))
            assert got.code == 550 and got.text.startswith("5.7.1 More than 1000 fields X-DMARC-Quarantine"), got


# ---- tables ----

def test_lists_in_a_database():
    """A table that is asked elsewhere; when it cannot be, the step has failed."""
    if not os.path.exists(os.path.join(MODULES, "table_sql.so")):
        print("     left out: no table_sql")
        return
    table = 'exempt: [], enforce: true, %s: { sql: { driver: sqlite, path: lists.db, query: "SELECT 1 FROM %s WHERE name = $1" } }'
    rows = {"_dmarc.a.test": "v=DMARC1; p=reject", "spf.test": PASS}
    with Server(zone(rows, ["list.test", "a.test"])) as dns:
        for option, name, override in (("lists", "list.test", "mailing_list"), ("lists", "spf.test", "mailing_list"),
                                       ("domains", "a.test", "local_policy"), ("forwarders", "192.0.2.1", "trusted_forwarder")):
            t = Tern(CONFIG.replace("{options}", table % (option, "names")), files={"tell.lua": TELL}, dns=dns.port)
            with sqlite3.connect(os.path.join(t.dir, "lists.db")) as db:
                db.execute("CREATE TABLE names (name TEXT)")
                db.execute("INSERT INTO names VALUES (?)", (name,))
            db.close()
            with t.start():
                got = send(t, mail("sub.a.test", "list.test"))
                assert (got.result, got.disposition, got.override) == ("fail", "none", override), (option, got)
                assert send(t, mail("a.test", "a.test")).result == "pass"
        t = Tern(CONFIG.replace("{options}", table % ("lists", "nothing")), files={"tell.lua": TELL}, dns=dns.port)
        sqlite3.connect(os.path.join(t.dir, "lists.db")).execute("CREATE TABLE names (name TEXT)").connection.close()
        with t.start():
            got = send(t, mail("a.test", "list.test"))
            assert got.code == 451 and got.text.startswith("4.3.0"), got
            assert send(t, mail("a.test", "a.test")).result == "pass"  # nobody has to be asked


# ---- the recipe ----

def recipe():
    """The configuration of docs/dmarc.md, for a test's ports and folders."""
    with open(os.path.join(ROOT, "docs", "dmarc.md")) as f:
        config = re.search(r"```yaml\n(.*?)```", f.read(), re.S).group(1)
    for old, new in (("0.0.0.0:25\"", "127.0.0.1:{port}\", proxy: [127.0.0.1]"), ("spool: /var/spool/tern\n", ""),
                     ("servers: [127.0.0.1]", 'servers: ["127.0.0.1:{dns}"], timeout: 20s'), ("/var/mail/%{domain}", "{dir}/mail")):
        assert old in config, old
        config = config.replace(old, new)
    return config


def test_the_recipe():
    """docs/dmarc.md, row by row of its table."""
    files = {"hosted.txt": "example.org\n", "mailboxes.txt": "alice@example.org\n", "sealers.txt": "list.test\n", "lists.txt": "talk.test\n",
             "forwarders.txt": "198.51.100.7\n", "spared.txt": "shop.test\n"}
    rows = {"_dmarc.bank.test": "v=DMARC1; p=reject", "_dmarc.shop.test": "v=DMARC1; p=reject", "_dmarc.careful.test": "v=DMARC1; p=quarantine",
            "_dmarc.none.test": "v=DMARC1; p=none; rua=mailto:d@none.test", "spf.test": PASS, "talk.test": PASS, "bank.test": PASS,
            "_dmarc.down.test": ["TIMEOUT"], "e1._domainkey.list.test": key().record}
    sealed = Chain(key(), mail("bank.test")).add("list.test", "mx.list.test; dmarc=pass header.from=bank.test").message
    two = mail("bank.test").replace(b"<bob@bank.test>", b"<bob@bank.test>, eve@none.test")
    cases = [  # message, more of send(), reply, marked
        (mail("bank.test"), {"sender": "bob@bank.test"}, 250, False),
        (mail("news.bank.test", "bank.test"), {}, 250, False),
        (mail("none.test"), {}, 250, False),
        (mail("nowhere.test"), {}, 250, False),
        (mail("bank.test"), {}, "550 5.7.1 Email rejected per DMARC policy for bank.test", None),
        (mail("careful.test"), {}, 250, True),
        (sealed, {}, 250, False),
        (mail("bank.test"), {"sender": "talk-bounces@talk.test"}, 250, False),
        (mail("bank.test", "talk.test"), {}, 250, False),
        (mail("bank.test"), {"sender": "talk-bounces@talk.test", "host": "203.0.113.1"}, "550 5.7.1 Email rejected", None),
        (mail("bank.test"), {"host": "198.51.100.7"}, 250, False),
        (mail("www.shop.test"), {}, 250, False),
        (mail("bank.test", extra="List-Id: <x.test>\n"), {}, 250, True),
        (two, {}, "550 5.7.1 DMARC needs one From with one domain", None),
        (mail("down.test"), {}, "451 4.7.1", None),
    ]
    with Server(zone(rows, ["bank.test", "talk.test"])) as dns, Tern(recipe(), files=files, dns=dns.port).start() as t:
        count = 0
        for message, more, wanted, marked in cases:
            got = send(t, message, **more)
            assert str(got).startswith(str(wanted)), (message, more, got)
            if marked is None:
                continue
            count += 1
            box = wait_for(lambda: (lambda b: b if len(b) == count else None)(t.maildir("alice")), 20)
            last = next(m for m in box if queue_id(got.text).encode() in m)
            assert (b"X-DMARC-Quarantine: dmarc=fail" in last) == marked, last
            assert b"Authentication-Results: mx1.hoster.example;" in last and b"dmarc=" in last, last
        rehearsal = recipe().replace("        enforce: true\n", "        enforce: true\n        mode: shadow\n")
        assert "mode: shadow" in rehearsal
        with Tern(rehearsal, files=files, dns=dns.port).start() as s:
            got = send(s, mail("bank.test"))
            assert got.code == 250, got
            assert s.metric("tern_dmarc_disposition_reject_total") == 1
            why = wait_for(lambda: s.cli("why", "--json", queue_id(got.text), check=False).stdout)
            assert "Email rejected per DMARC policy for bank.test" in why and "shadow" in why, why
            mails = wait_for(lambda: s.maildir("alice"), 20)
            assert b"X-DMARC-Quarantine" not in mails[0] and b"dmarc=" not in mails[0], mails


def test_configurations_that_are_wrong():
    rows = [("- spf\n    - dkim_verify\n    - dmarc: { quarantine: hold }", "hold needs enforce: true", 1),
            ("- spf\n    - dkim_verify\n    - dmarc: { header: 'X: Y' }", "is no name of a header field", 1),
            ("- spf\n    - dkim_verify\n    - dmarc: { header: %s }" % ("x" * 77), "is no name of a header field", 1),
            ("- spf\n    - dkim_verify\n    - dmarc: { header: %s }" % ("x" * 76), "ok", 0),
            ("- dmarc", "needs spf and dkim_verify before it", 1),
            ("- dmarc\n    - spf\n    - dkim_verify", "dmarc", 1),
            ("- spf\n    - dmarc", "without dkim_verify before it no message ever fails", 0),
            ("- dkim_verify\n    - dmarc", "without spf before it no message ever fails", 0),
            ("- spf\n    - dkim_verify\n    - dmarc: { enforce: true }", "dmarc.bad_from: enforce does not reach a From that cannot be judged", 0)]
    silent = ["", ": { enforce: false }", ": { enforce: true, bad_from: reject }", ": { enforce: true, bad_from: next }"]
    rows += [("- spf\n    - dkim_verify\n    - dmarc" + options, None, 0) for options in silent]
    head, tail = CONFIG.split("  inbound:\n")[0], CONFIG[CONFIG.index("transports:"):]
    for steps, wanted, code in rows:
        text = head + "  inbound:\n    - domains: { local: [example.org], recipients: [alice@example.org] }\n    " + steps + "\n" + tail
        t = Tern(text, dns=1)
        r = t.cli("check", check=False)
        t.__exit__(None, None, None)
        said = r.stdout + r.stderr
        assert r.returncode == code and (wanted in said if wanted else "bad_from" not in said), (steps, r.returncode, said)
        assert said.count("does not reach a From") <= 1, said


# ---- what others wrote ----

def test_spamassassin():
    """Its mails, from the addresses that they name. Their signatures are rsa-sha1, so that SPF has to vouch; their records were
    live in DNS and are taken from what its test wants of them."""
    folder = need_shared("corpora", "dmarc")
    found = {}
    for path, _, names in os.walk(folder):
        if "/spamassassin" in path:
            for n in names:
                with open(os.path.join(path, n), "rb") as f:
                    found[n] = f.read()
    wanted = {  # file: (domain, its record or None, result, policy)
        "noneok.eml": ("dmarc1", "v=DMARC1; p=none", "pass", "none"), "quarok.eml": ("dmarc2", "v=DMARC1; p=quarantine", "pass", "quarantine"),
        "rejectok.eml": ("dmarc3", "v=DMARC1; p=reject", "pass", "reject"),
        "strictrejectko.eml": ("dmarc4", "v=DMARC1; p=reject; adkim=s; aspf=s", "fail", "reject"),
        "spf1": ("dnsbltest", None, "none", "none"), "spf2": ("dnsbltest", None, "none", "none"), "spf4": ("txttcp", None, "none", "none"),
    }
    assert set(found) == set(wanted), sorted(found)
    rows = {}
    for label, record, _, _ in wanted.values():
        domain = label + ".spamassassin.org"
        rows[domain] = "v=spf1 ip4:64.142.3.173 -all"
        if record:
            rows["_dmarc." + domain] = record
    with Server(zone(rows)) as dns, server(dns, "exempt: []") as t:
        for name, (label, _, result, policy) in wanted.items():
            host = "1.2.3.4" if result == "fail" else "64.142.3.173"
            text = crlf(found[name]).decode("latin-1")
            got = send(t, text.encode("latin-1"), sender=re.search(r"Return-Path: <(.*?)>", text).group(1), host=host)
            assert (got.result, got.policy) == (result, policy), (name, got)
            assert "header.from=%s.spamassassin.org" % label in got.detail, (name, got)


RECORDS = ["v=DMARC1; p=reject", "v=DMARC1; p=quarantine; sp=reject", "v=DMARC1; p=none; sp=quarantine", "v=DMARC1; p=none",
           "v=DMARC1; p=reject; adkim=s", "v=DMARC1; p=reject; aspf=s; adkim=s", "v=DMARC1; p=quarantine; aspf=s; sp=none",
           "v=DMARC1;p=reject;sp=none;rua=mailto:a@example.net;ruf=mailto:b@example.net;fo=1;ri=3600;rf=afrf", None, None]


def is_lax(author, records, spf, dkim):
    """libopendmarc takes a name below the author's for the same in strict mode, too (RFC 7489 3.1.1, 3.1.2 do not)."""
    text = records.get(author) or ""
    return ("aspf=s" in text and spf.endswith("." + author)) or ("adkim=s" in text and any(d.endswith("." + author) for d in dkim))


def test_opendmarc():
    """compat: rfc7489 and libopendmarc: the same for made-up zones, authors and identifiers."""
    if not OpenDmarc.is_there() or not os.path.exists(SUFFIXES):
        print("     left out: no libopendmarc2 or no publicsuffix")
        return
    rng = random.Random(7489)
    peer = OpenDmarc(SUFFIXES)
    bases = ["one.co.uk", "two.co.uk", "one.org", "one.com", "three.co.jp"]  # its wildcards differ: kawasaki.jp
    names = bases + [p + "." + b for b in bases for p in ("mail", "a.b")]
    rows = {"spf." + n: PASS for n in names}
    rows.update({n: PASS for n in names})
    records = {}
    for n in names:
        text = rng.choice(RECORDS)
        if text:
            rows["_dmarc." + n] = records[n] = text
    wrong, seen = [], {}
    with Server(zone(rows, names)) as dns, server(dns, "exempt: [], compat: rfc7489") as t:
        for author in names * 6:
            base = author if author in bases else next(b for b in bases if author.endswith("." + b))
            near = [n for n in names if n.endswith(base)]
            spf = rng.choice(near) if rng.random() < 0.4 else rng.choice(names)
            dkim = [rng.choice(near if rng.random() < 0.4 else names) for _ in range(rng.randint(0, 2))]
            got = send(t, mail(author, *dkim), sender="bob@" + spf)
            theirs = peer.judge(author, records, spf, dkim)
            ours = {"pass": "pass", "none": "none"}.get(got.result) or {"none": "no policy"}.get(got.policy, got.policy)
            seen[ours] = seen.get(ours, 0) + 1
            if ours != theirs and not (theirs == "pass" and is_lax(author, records, spf, dkim)):
                wrong.append("%s by %s, %s: %s, opendmarc %s; %s" % (author, spf, dkim, got, theirs, records))
    print("     %s" % json.dumps(seen, sort_keys=True))
    assert len(seen) == 5, seen
    assert not wrong, "%d:\n%s" % (len(wrong), "\n".join(wrong))


def test_suffixes():
    """The list says where organizations begin; RFC 9989 does not need it, and finds the same by records."""
    rows = {"_dmarc.one.co.uk": "v=DMARC1; p=reject", "_dmarc.co.uk": "v=DMARC1; p=none", "a.one.co.uk": PASS, "two.co.uk": PASS, "spf.test": PASS}
    for options, neighbour in (("exempt: [], compat: rfc7489", "fail"), ("exempt: []", "pass")):  # co.uk lacks psd=y
        with Server(zone(rows)) as dns, server(dns, options) as t:
            got = send(t, mail("b.one.co.uk"), sender="bob@a.one.co.uk")
            assert got.result == "pass", got
            got = send(t, mail("one.co.uk"), sender="bob@two.co.uk")
            assert got.result == neighbour, (options, got)
    rows["_dmarc.co.uk"] = "v=DMARC1; p=none; psd=y"
    with Server(zone(rows)) as dns, server(dns, "exempt: []") as t:
        assert send(t, mail("one.co.uk"), sender="bob@two.co.uk").result == "fail"


if __name__ == "__main__":
    try:
        import dkim  # noqa: F401
        import nacl  # noqa: F401
    except ImportError as e:
        print("SKIP: %s" % e)
        sys.exit(77)
    try:
        run([test_signatures, test_eight_signatures, test_enforced, test_time, test_arc, test_fields_of_its_name, test_lists_in_a_database, test_the_recipe,
             test_configurations_that_are_wrong, test_spamassassin, test_opendmarc, test_suffixes])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
