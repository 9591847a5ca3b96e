#!/usr/bin/python3
"""Forwarded mail, with the configuration of docs/forwarding.md: what others make of our SRS addresses and we of theirs, and bounces that
come back from a Postfix."""
import email
import os
import re
import shutil
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from arcpeers import Dkimpy as DkimpyArc
from dkimpeers import Dkimpy, Dns, Key, crlf, need_peers
from peers import Postfix, Sink
from srs import Postsrsd, mail_srs
from ternlib import MODULES, ROOT, Client, Tern, in_one_day, need, queue_id, run, wait_for

SECRET = "the+secret/of this test"
DOMAIN = "srs.example.org"
FILES = {"hosted.txt": "example.org\n", "mailboxes.txt": "alice@example.org\n", "srs.secrets": SECRET + "\nthe old one of it\n",
         "aliases.txt": "info@example.org: bob@provider.example\nboth@example.org: alice@example.org, bob@provider.example\n"}
SENDERS = ["user%d@far.example" % i for i in range(60)] + ["A.b+c@Far.Example", "a=b@far.example", "=a@far.example", "SRS2=x@far.example",
                                                           "SRS0=AAAA=7G=x.example=y@first.example", "SRS0+AAAA=7G=x.example=y@first.example",
                                                           "SRS1=AAAA=x.example==BBBB=7G=y.example=z@second.example"]


FOLDER = tempfile.mkdtemp(prefix="tern-srs-")
KEYS = {}
DNS = None  # of all tests


def key(name):
    if name not in KEYS:
        KEYS[name] = Key(FOLDER, name)
    return KEYS[name]


def recipe(srs="", provider="{provider}"):
    """The configuration of the page, for a test's ports and folders; mail for provider.example and for all others has a port."""
    with open(os.path.join(ROOT, "docs", "forwarding.md")) as f:
        config = re.search(r"```yaml\n(.*?)```", f.read(), re.S).group(1)
    for old, new in (("127.0.0.1:2525", "127.0.0.1:{port}"), ("spool: /var/spool/tern\n", ""), ("/var/mail/%{domain}", "{dir}/mail"),
                     ("filters/", os.path.join(ROOT, "lua", "examples") + "/"), ("srs.secrets,", "srs.secrets," + (" %s," % srs if srs else "")),
                     ("  - { transport: smtp }", '  - { domain: [provider.example], to: ["127.0.0.1:%s"] }\n  - { to: ["127.0.0.1:{sink}"] }' % provider)):
        assert old in config, old
        config = config.replace(old, new)
    return 'dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }\n' + config


def make(config, files=FILES, **values):
    t = Tern(config, files=files, dns=DNS.port, **values)
    os.chmod(t.write("keys/arc1.pem", key("arc1").pem), 0o600)
    return t


def server(sink, provider, srs="", files=FILES):
    return make(recipe(srs), files, sink=sink.port, provider=provider.port).start()


def send(t, sender, rcpt, body="From: bob@far.example\nSubject: hello\n\nhello\n"):
    c = Client(t.port)
    code, text = c.mail(sender, [rcpt], body)
    c.close()
    assert code == 250, (sender, rcpt, code, text)
    return queue_id(text)


def forwarded(t, provider, senders, rcpt="info@example.org"):
    """Under which sender each arrives at the provider."""
    before = len(provider.mails)
    c = Client(t.port)
    for i, sender in enumerate(senders):
        code, text = c.mail(sender, [rcpt], "X-Number: %d\n\nhello\n" % i)
        assert code == 250, (sender, text)
    c.close()
    wait_for(lambda: len(provider.mails) == before + len(senders), 60)
    found = {int(re.search(rb"X-Number: (\d+)", m.data).group(1)): m.sender for m in provider.mails[before:]}
    return [found[i] for i in range(len(senders))]


def returned(t, sink, addresses):
    """Where a bounce to each of them arrives: one message, so as many recipients."""
    before = len(sink.mails)
    c = Client(t.port)
    c.cmd("EHLO client.example")
    c.cmd("MAIL FROM:<>")
    for a in addresses:
        code, text = c.cmd("RCPT TO:<%s>" % a)
        assert code == 250, (a, text)
    c.cmd("DATA")
    c.send("Subject: undeliverable\r\n\r\nhello\r\n.\r\n")
    assert c.reply()[0] == 250
    c.close()
    wait_for(lambda: sum(len(m.rcpts) for m in sink.mails[before:]) == len(addresses), 60)
    assert all(m.sender == "" for m in sink.mails[before:])
    return sorted(r.rsplit("@", 1)[0] + "@" + r.rsplit("@", 1)[1].lower() for m in sink.mails[before:] for r in m.rcpts)


def as_returned(sender):
    """A sender that was SRS0 or SRS1 is reached at its first host."""
    local, domain = sender.rsplit("@", 1)
    m = re.match(r"SRS1=[^=]*=([^=]*)=(.*)", local)
    return "SRS0%s@%s" % (m.group(2), m.group(1)) if m else "%s@%s" % (local, domain.lower())


def home(senders):
    return sorted(as_returned(s) for s in senders)


def test_postsrsd():
    """Each reads what the other has made, with one secret; the second of two, too."""
    need("postsrsd")
    in_one_day()
    with Sink() as sink, Sink() as provider, server(sink, provider, "alphabet: base64") as t, \
            Postsrsd(DOMAIN, FILES["srs.secrets"]) as p, Postsrsd(DOMAIN, "the old one of it\n", "-a+", "-n8") as old:
        ours = forwarded(t, provider, SENDERS)
        assert all(a.endswith("@" + DOMAIN) for a in ours), ours
        assert any("+" in a.split("=")[1] or "/" in a.split("=")[1] for a in ours), "no hash that tells the alphabets apart"
        for sender, address in zip(SENDERS, ours):
            assert p.ask("forward", sender.split("@")[0] + "@" + sender.split("@")[1].lower()) == address, (sender, address)
            assert p.ask("reverse", address) == as_returned(sender), (sender, address)
            assert p.ask("reverse", address.lower()) == as_returned(sender).lower().replace("srs0", "SRS0", 1), address
        theirs = [old.ask("forward", s) for s in SENDERS]
        assert all(a.startswith(("SRS0+", "SRS1+")) for a in theirs), theirs
        assert returned(t, sink, theirs) == home(SENDERS)
        assert returned(t, sink, [p.ask("forward", s).replace("+", "-").replace("/", "_") for s in SENDERS[:60]]) == sorted(SENDERS[:60])


def test_mail_srs():
    need("perl", "srs")
    in_one_day()
    with Sink() as sink, Sink() as provider, server(sink, provider, "alphabet: base64, separator: '-'") as t:
        ours = forwarded(t, provider, SENDERS)
        assert mail_srs(SECRET, [(a, None) for a in ours], "-") == [as_returned(s) for s in SENDERS]
        theirs = mail_srs(SECRET, [(s, DOMAIN) for s in SENDERS], "-")
        assert [a.lower() for a in theirs] == [a.lower() for a in ours]
        assert returned(t, sink, theirs) == home(SENDERS)


def test_a_bounce_comes_back():
    """A Postfix takes the mail, is refused by the hop behind it, and bounces it to the SRS address; the writer gets it."""
    need("postfix")
    with Sink({"*": "550 5.2.2 the mailbox is full"}) as behind, Sink() as sink:
        with make(recipe(), files=FILES, sink=sink.port, provider=1) as t:
            more = "transport_maps = inline:{ { provider.example = smtp:[127.0.0.1]:%d } }" % behind.port
            with Postfix("smtp", t.port, more) as p:
                t.values["provider"] = p.port
                t.write_config(recipe())
                t.start()
                ident = send(t, "bob@far.example", "info@example.org")
                wait_for(lambda: sink.got("bob@far.example"), 60)
                bounce = sink.got("bob@far.example")[0]
                assert bounce.sender == "" and b"the mailbox is full" in bounce.data, bounce.data
                report = email.message_from_bytes(bounce.data)
                assert report.get_param("report-type") == "delivery-status" and report["To"].startswith("SRS0="), report.items()
                assert "srs.example.org" in p.log_text()
                wait_for(lambda: t.queue() == [])
                steps = {s["step"]: s for r in t.why(ident) for s in r["steps"] if s["hook"] == "queue"}
                assert "@srs.example.org" in str(steps["srs"]), steps
                assert t.metric("tern_srs_rewritten_total") == 1 and t.metric("tern_srs_decoded_total") == 1


def test_refused_at_once():
    """The next hop says no to Tern: our own notice finds the writer by the same step, without leaving the server."""
    with Sink({"bob@provider.example": "550 5.1.1 nobody of that name"}) as provider, Sink() as sink, server(sink, provider) as t:
        send(t, "bob@far.example", "info@example.org")
        wait_for(lambda: sink.got("bob@far.example"), 60)
        assert sink.mails[0].sender == "" and b"nobody of that name" in sink.mails[0].data
        assert provider.commands[1].startswith("MAIL FROM:<SRS0="), provider.commands
        send(t, "", "info@example.org")  # a bounce that is forwarded: nobody hears of it
        wait_for(lambda: t.queue() == [])
        assert len(sink.mails) == 1 and t.metric("tern_srs_refused_total") == 0


def test_two_forwarders():
    """The second makes SRS1 of our SRS0; the last hop says no; the notice goes back through both, each with secrets of its own."""
    second_files = {"hosted.txt": "provider.example\n", "mailboxes.txt": "", "srs.secrets": "a secret of the other one\n",
                    "aliases.txt": "bob@provider.example: carol@third.example\n"}
    with Sink({"carol@third.example": "550 5.1.1 nobody of that name"}) as third, Sink() as sink, \
            make(recipe(), files=FILES, sink=sink.port, provider=1) as first:
        text = recipe(provider="{third}").replace("srs.example.org", "srs.provider.example").replace("[provider.example]", "[third.example]")
        with make(text, files=second_files, sink=first.port, third=third.port) as second:
            second.start()
            first.values["provider"] = second.port
            first.write_config(recipe())
            first.start()
            send(first, "bob@far.example", "info@example.org")
            wait_for(lambda: sink.got("bob@far.example"), 60)
            line = next(c for c in third.commands if c.startswith("MAIL"))
            assert line.startswith("MAIL FROM:<SRS1=") and "=srs.example.org==" in line and "@srs.provider.example>" in line, line
            assert sink.mails[0].sender == "" and b"nobody of that name" in sink.mails[0].data
            wait_for(lambda: first.queue() == [] and second.queue() == [])
            assert [t.metric("tern_srs_decoded_total") for t in (first, second)] == [1, 1]


def test_a_copy_at_home():
    """An alias that is a mailbox, too; and mail for a mailbox keeps its sender."""
    with Sink() as provider, Sink() as sink, server(sink, provider) as t:
        send(t, "bob@far.example", "both@example.org")
        wait_for(lambda: provider.mails and t.maildir("alice"))
        assert b"Return-Path: <SRS0=" in t.maildir("alice")[0] and provider.mails[0].sender.startswith("SRS0=")
        send(t, "bob@far.example", "alice@example.org")
        wait_for(lambda: len(t.maildir("alice")) == 2)
        assert any(b"Return-Path: <bob@far.example>" in m for m in t.maildir("alice"))
        assert not sink.mails


def test_rotation():
    """A new secret on top, by a reload: old addresses are good until their line goes."""
    with Sink() as provider, Sink() as sink, server(sink, provider) as t:
        before = forwarded(t, provider, ["bob@far.example"])[0]
        t.write("srs.secrets", "a newer one of this test\n" + FILES["srs.secrets"])
        t.cli("reload")
        after = forwarded(t, provider, ["bob@far.example"])[0]
        assert after != before
        assert returned(t, sink, [before, after]) == ["bob@far.example"] * 2
        t.write("srs.secrets", "a newer one of this test\n")
        t.cli("reload")
        assert returned(t, sink, [after]) == ["bob@far.example"]
        c = Client(t.port)
        code, text = c.mail("", [before], "hello\n")
        c.close()
        assert code == 550 and "was not made here" in text, text
        for secret in SECRET, "a newer one":
            assert secret not in t.log_text()


ASKED = """
hostname: mx.test
tables:
{tables}
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - lua: { script: {aliases}, name: aliases, aliases: { info@example.org: bob@provider.example } }
    - srs: { domain: srs.example.org, secrets: !file srs.secrets, local: { table: local }, exclude: { table: exclude } }
    - batv: { local: { table: local }, secrets: !file srs.secrets, exclude: { table: exclude }, untagged_to: { table: lists }, untagged: refuse }
    - domains: { local: [example.org], recipients: ["@example.org"], networks: [127.0.0.0/8] }
routes:
  - { class: local, to: ["127.0.0.1:{sink}"] }
  - { to: ["127.0.0.1:{provider}"] }
"""


def asked(sink, provider, wrong=None):
    """A server whose tables are in SQLite; `wrong`: one that is not there."""
    rows = {"local": ["example.org"], "exclude": ["robot@example.org", "friend.example", "x@whole.example"], "lists": ["lists.example", "one@list.example"]}
    tables = "\n".join('  %s: { sql: { driver: sqlite, path: t.db, query: "SELECT 1 FROM %s WHERE k = $1" } }'
                       % (n, n if n != wrong else "nothing") for n in rows)
    t = Tern(ASKED.replace("{tables}", tables), files={"srs.secrets": SECRET}, sink=sink.port, provider=provider.port,
             aliases=os.path.join(ROOT, "lua", "examples", "aliases.lua"))
    with sqlite3.connect(os.path.join(t.dir, "t.db")) as db:
        for name, keys in rows.items():
            db.execute("CREATE TABLE %s (k TEXT)" % name)
            db.executemany("INSERT INTO %s VALUES (?)" % name, [(k,) for k in keys])
    db.close()
    return t.start()


def reply_to(t, sender, rcpt):
    c = Client(t.port)
    code, text = c.mail(sender, [rcpt], "hello\n")
    c.close()
    return code, text


def test_tables_in_a_database():
    """srs and batv with tables that are asked elsewhere; one that cannot be is a 451, never a sender that is not ours."""
    if not os.path.exists(os.path.join(MODULES, "table_sql.so")):
        print("     left out: no table_sql")
        return
    with Sink() as sink, Sink() as provider, asked(sink, provider) as t:
        senders = forwarded(t, provider, ["bob@far.example", "bob@friend.example", "x@whole.example", "y@whole.example"])
        assert [s.split("=")[0] for s in senders] == ["SRS0", "bob@friend.example", "x@whole.example", "SRS0"], senders
        for rcpt, begin in (("bob@far.example", "prvs="), ("bob@lists.example", "alice"), ("one@list.example", "alice"), ("two@list.example", "prvs=")):
            assert forwarded(t, provider, ["alice@example.org"], rcpt)[0].startswith(begin), rcpt
        tagged = provider.mails[4].sender
        assert reply_to(t, "", senders[0])[0] == 250 and reply_to(t, "", tagged)[0] == 250 and reply_to(t, "", "robot@example.org")[0] == 250
        assert reply_to(t, "", "alice@example.org")[0] == 550
        wait_for(lambda: len(sink.mails) == 2 and len(provider.mails) == 9)
        assert sorted(m.rcpts[0] for m in sink.mails) == ["alice@example.org", "robot@example.org"]
    for wrong, pairs in (("local", [("", senders[0]), ("bob@far.example", "info@example.org"), ("", "alice@example.org"), ("", tagged)]),
                         ("exclude", [("bob@far.example", "info@example.org"), ("", "alice@example.org"), ("alice@example.org", "bob@far.example")]),
                         ("lists", [("alice@example.org", "bob@far.example")])):
        with Sink() as sink, Sink() as provider, asked(sink, provider, wrong) as t:
            for sender, rcpt in pairs:
                code, text = reply_to(t, sender, rcpt)
                assert code == 451 and text.startswith("4.3.0"), (wrong, sender, rcpt, code, text)
            wait_for(lambda: "the table of %s did not answer" % ("untagged_to" if wrong == "lists" else wrong) in t.log_text())
            assert not sink.mails and not provider.mails


def test_configurations_that_are_wrong():
    for options, want in (("hash_length: 4, hash_min: 5", "hash_min: is above hash_length"), ("classes: [strangers]", 'not "strangers"'),
                          ("max_age: 2h", "max_age"), ("separator: x", "separator"), ("hash_length: 3", "hash_length")):
        t = make(recipe(options), files=FILES, sink=1, provider=1)
        with t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and want in r.stderr, (options, r.stderr)
    for files, want in (({"srs.secrets": "\n\n"}, "srs.secrets"), ({"srs.secrets": "x\n" * 9}, "at most 8 secrets")):
        with make(recipe(), files=dict(FILES, **files), sink=1, provider=1) as t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and want in r.stderr, r.stderr
    with make(recipe(), files=dict(FILES, **{"srs.secrets": "short\n" * 8}), sink=1, provider=1) as t:
        r = t.cli("check")
        assert "shorter than 16 octets" in r.stderr and '"short"' not in r.stderr, r.stderr
    config = recipe()
    step = next(l for l in config.splitlines() if l.strip().startswith("- srs:"))
    after = config.replace(step + "\n", "").replace("    - dkim_verify\n", step + "\n    - dkim_verify\n")
    for text, want in ((after, "must stand before step domains"), (config.replace("domain: srs.example.org", "domain: 'nö such'"), "expected a domain in ASCII")):
        with make(text, files=FILES, sink=1, provider=1) as t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and want in r.stderr, r.stderr


PROVIDER = """
hostname: mx.provider.example
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - spf: { exempt: [] }
    - domains: { local: [provider.example] }
    - dkim_verify
    - arc_verify: { trusted_sealers: [example.org] }
    - dmarc: { exempt: [], enforce: true }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: mailboxes }]
"""


def from_far(t, message):
    """As the host that far.example's SPF record has."""
    c = Client(t.port, greet=False)
    c.send("PROXY TCP4 203.0.113.7 127.0.0.1 40000 25\r\n")
    assert c.reply()[0] == 220
    code, text = c.mail("bob@far.example", ["info@example.org"], message)
    c.close()
    assert code == 250, text


def test_a_provider_that_enforces_dmarc():
    """Mail of p=reject without a signature: SPF passes by SRS, DMARC is excused by the seal; neither without it. A signature is enough."""
    records = {"far.example": "v=spf1 ip4:203.0.113.7 -all", "_dmarc.far.example": "v=DMARC1; p=reject", DOMAIN: "v=spf1 ip4:127.0.0.1 -all",
               "arc1._domainkey.example.org": key("arc1").record, "s1._domainkey.far.example": key("far").record}
    plain = crlf("From: bob@far.example\nTo: info@example.org\nSubject: hello\nDate: Mon, 02 Mar 2026 10:00:00 +0000\nMessage-ID: <1@far.example>\n\nhello\n")
    config = recipe().replace("policy: inbound }", "policy: inbound, proxy: [127.0.0.0/8] }")
    seal = next(l for l in config.splitlines() if "- arc_seal" in l) + "\n"
    for name, text in records.items():
        DNS.put(name, text)
    with Sink() as sink, Tern(PROVIDER, dns=DNS.port) as provider:
        provider.start()
        with make(config, sink=sink.port, provider=provider.port) as t:
            t.start()
            from_far(t, plain)
            wait_for(lambda: provider.maildir("bob"), 60)
            mail = provider.maildir("bob")[0]
            assert b"Return-Path: <SRS0=" in mail
            sealed = crlf(mail[mail.index(b"ARC-Seal:"):])
            assert DkimpyArc.verify(sealed, records) == ("pass", "success"), mail
            aar = re.sub(rb"\s+", b" ", re.search(rb"(?s)ARC-Authentication-Results:.*?\r?\n(?![ \t])", mail).group(0))
            assert b"mx1.hoster.example" in aar and b"spf=pass" in aar and b"dmarc=pass" in aar, aar
        with make(config.replace(seal, ""), sink=sink.port, provider=provider.port) as t:
            t.start()
            from_far(t, plain)
            wait_for(lambda: sink.got("bob@far.example"), 60)
            assert b"550 5.7.1" in sink.mails[0].data and b"DMARC" in sink.mails[0].data, sink.mails[0].data
            from_far(t, Dkimpy.sign(plain, key("far"), "far.example"))
            wait_for(lambda: len(provider.maildir("bob")) == 2, 60)
            assert len(sink.mails) == 1


if __name__ == "__main__":
    need_peers()
    try:
        with Dns() as DNS:
            run([test_postsrsd, test_mail_srs, test_a_bounce_comes_back, test_refused_at_once, test_two_forwarders, test_a_copy_at_home, test_rotation,
                 test_tables_in_a_database, test_a_provider_that_enforces_dmarc, test_configurations_that_are_wrong])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
