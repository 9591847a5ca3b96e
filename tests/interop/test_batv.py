#!/usr/bin/python3
"""Tagged senders: Exim's ${prvs} and ${prvscheck} with the same secret, bounces that come back from a Postfix, and our own notices."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Exim, Postfix, Sink
from ternlib import Client, Tern, free_port, need, run, wait_for

SECRET = "the+secret/of this test"
CONFIG = """
hostname: mx.test
limits: { errors: 1000, error_delay: 0s }
listeners:
  out: { bind: "127.0.0.1:{port}", policy: outbound }
  mx: { bind: "127.0.0.1:{mx}", policy: inbound }
policies:
  outbound:
    - batv: { local: [example.org], secrets: !file batv.secrets, untagged: refuse, exclude: [robot@example.org], untagged_to: [list@far.example], key_number: 3 }
    - domains: { local: [example.org], recipients: ["@example.org"], networks: [127.0.0.0/8] }
  inbound:
    - batv: { local: [example.org], secrets: !file batv.secrets, untagged: refuse, exclude: [robot@example.org] }
    - domains: { local: [example.org], recipients: ["@example.org"] }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { class: local, transport: mailboxes }
  - { to: ["127.0.0.1:{far}"] }
"""
USERS = ["user%d@example.org" % i for i in range(40)] + ["a.b+c@example.org", "x=y@example.org"]


def server(far):
    return Tern(CONFIG, files={"batv.secrets": SECRET + "\nan older one of this test\n"}, far=far, mx=free_port()).start()


def send(t, sender, rcpts, port=None):
    c = Client(port or t.port)
    code, text = c.mail(sender, rcpts, "From: %s\n\nhello\n" % (sender or "x@far.example"))
    c.close()
    return code, text


def need_exim():
    if not os.path.exists(os.path.join(Exim.FOLDER, "usr", "sbin", "exim4")) or os.geteuid() != 0:
        print("SKIP: no Exim for tests, or not root")
        sys.exit(77)


def test_exim():
    """Each verifies what the other has made."""
    need_exim()
    with Sink() as far, server(far.port) as t, Exim(far.port) as exim:
        for user in USERS:
            assert send(t, user, ["bob@far.example"])[0] == 250
        wait_for(lambda: len(far.mails) == len(USERS), 60)
        ours = sorted(m.sender for m in far.mails)
        assert all(s.startswith("prvs=3") for s in ours), ours
        checked = exim.expand(["${prvscheck{%s}{%s}{$prvscheck_result $prvscheck_keynum $prvscheck_address}}" % (s, SECRET) for s in ours])
        assert checked == ["1 3 " + s[16:] for s in ours], checked
        assert set(exim.expand(["${prvscheck{%s}{another}{<$prvscheck_result>}}" % s for s in ours])) == {"<>"}, "another secret"
        theirs = exim.expand(["${prvs{%s}{%s}{%d}}" % (u, SECRET, i % 10) for i, u in enumerate(USERS + ["Mixed@example.org"])])
        c = Client(t.values["mx"])
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<>")
        for a in theirs:
            code, text = c.cmd("RCPT TO:<%s>" % a)
            assert code == 250, (a, text)
            code, text = c.cmd("RCPT TO:<%s>" % a.replace("@example.org", "x@example.org"))
            assert code == 550 and "was not made here" in text, (a, text)
        c.close()
        assert t.metric("tern_batv_tagged_total") == len(USERS) and t.metric("tern_batv_pass_total") == len(theirs)


def test_a_bounce_comes_back():
    """A Postfix takes the mail, is refused by the hop behind it, and bounces it to the tag; what was not ours is refused."""
    need("postfix")
    mx = free_port()
    with Sink({"*": "550 5.2.2 the mailbox is full"}) as behind:
        more = "transport_maps = inline:{ { far.example = smtp:[127.0.0.1]:%d } }" % behind.port
        with Postfix("smtp", mx, more) as p, \
                Tern(CONFIG, files={"batv.secrets": SECRET + "\n"}, far=p.port, mx=mx) as t:
            t.start()
            assert send(t, "alice@example.org", ["bob@far.example"])[0] == 250
            wait_for(lambda: t.maildir("alice"), 60)
            assert b"the mailbox is full" in t.maildir("alice")[0] and b"To: prvs=3" in t.maildir("alice")[0]
            code, text = send(t, "", ["alice@example.org"], mx)
            assert code == 550 and "5.7.1" in text and "no mail left here" in text, text
            wait_for(lambda: t.queue() == [])
            assert len(t.maildir("alice")) == 1 and t.metric("tern_batv_untagged_total") == 1


def test_our_own_notices():
    """The next hop says no to Tern: its notice comes home, with a tag and, of who has none, without."""
    with Sink({"*": "550 5.1.1 nobody of that name"}) as far, server(far.port) as t:
        for user, rcpt in ("alice", "bob"), ("robot", "bob"), ("carol", "list"):
            assert send(t, user + "@example.org", [rcpt + "@far.example"])[0] == 250
            wait_for(lambda: t.maildir(user), 60)
            assert b"nobody of that name" in t.maildir(user)[0]
        assert [c.split(":")[1][:6] for c in far.commands if c.startswith("MAIL")] == ["<prvs=", "<robot", "<carol"], far.commands
        wait_for(lambda: t.queue() == [])
        assert "undeliverable" not in t.log_text() and SECRET not in t.log_text()


def test_configurations_that_are_wrong():
    for old, new, want in (("key_number: 3", "key_number: 10", "key_number"), ("key_number: 3", "max_age: 1h", "max_age"),
                           ("untagged: refuse", "untagged: maybe", "untagged"), ("local: [example.org], secrets: !file batv.secrets, ", "secrets: x, ", "local"),
                           ("secrets: !file batv.secrets, ", "", "secrets")):
        with Tern(CONFIG.replace(old, new, 1), files={"batv.secrets": SECRET}, far=1, mx=2) as t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and want in r.stderr, (new, r.stderr)
    for secrets, code, want in (("\n\n", 1, "batv.secrets"), ("x\n" * 9, 1, "at most 8 secrets"), ("x\n" * 8, 0, "shorter than 16 octets")):
        with Tern(CONFIG, files={"batv.secrets": secrets}, far=1, mx=2) as t:
            r = t.cli("check", check=False)
            assert r.returncode == code and want in r.stderr, (secrets, r.stderr)
    batv = next(l for l in CONFIG.splitlines() if "- batv:" in l and "key_number" not in l)
    for text, want in ((CONFIG.replace(batv + "\n", "").replace("transports:", batv + "\ntransports:"), "must stand before step domains"),
                       (CONFIG.replace(batv, batv + "\n    - srs: { domain: srs.example.org, secrets: !file batv.secrets }"), "must stand before step batv")):
        with Tern(text, files={"batv.secrets": SECRET}, far=1, mx=2) as t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and want in r.stderr, r.stderr


if __name__ == "__main__":
    run([test_exim, test_a_bounce_comes_back, test_our_own_notices, test_configurations_that_are_wrong])
