#!/usr/bin/python3
"""XCLIENT by swaks and by hand, XFORWARD by Postfix's smtp client: in Received, log, record and limits."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Postfix
from ternlib import SLOW, Client, Tern, need, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound, xclient: {xclient}, xforward: {xforward} }
limits: { sessions_per_address: 2 }
policies:
  inbound:
    - domains: { local: [example.org], networks: [192.0.2.0/24] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: mailboxes }, { transport: mailboxes }]
"""


def server(xclient='["127.0.0.1"]', xforward='["127.0.0.1"]'):
    return Tern(CONFIG, xclient=xclient, xforward=xforward).start()


def swaks(t, *words):
    return subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(t.port), "--helo", "client.example", "--from", "a@client.example",
                           "--suppress-data", *words], capture_output=True, text=True, timeout=60 * SLOW)


def test_swaks():
    """Whom XCLIENT names is the client: for relaying, in Received, in the record; the log says by whom it came."""
    need("swaks")
    with server() as t:
        r = swaks(t, "--to", "x@elsewhere.example")
        assert "550 5.7.1" in r.stdout, r.stdout
        r = swaks(t, "--to", "x@elsewhere.example", "--xclient-addr", "192.0.2.9", "--xclient-name", "nine.example",
                  "--xclient-port", "4711", "--xclient-proto", "ESMTP", "--xclient-helo", "nine", "--xclient-login", "user+nine")
        assert r.returncode == 0 and "XCLIENT" in r.stdout, r.stdout
        mail = wait_for(lambda: t.maildir("x"))[0]
        assert b"from client.example (nine.example [192.0.2.9])" in mail, mail
        wait_for(lambda: "client=192.0.2.9 via=127.0.0.1" in t.log_text())
        ident = [l for l in r.stdout.splitlines() if "queued as" in l][0].split()[-1]
        record = wait_for(lambda: t.why(ident))[0]
        assert record["client"] == "192.0.2.9" and record["via"] == "127.0.0.1" and record["user"] == "user+nine", record
        assert record["client_name"] == "nine.example", record
        r = swaks(t, "--to", "x@elsewhere.example", "--xclient-addr", "IPV6:2001:db8::9", "--xclient-name", "[UNAVAILABLE]")
        assert "550 5.7.1" in r.stdout, r.stdout
        wait_for(lambda: "client=2001:db8::9" in t.log_text())


def test_not_from_strangers():
    need("swaks")
    with server('["127.0.0.2"]', "[]") as t:
        r = swaks(t, "--to", "x@elsewhere.example", "--xclient-addr", "192.0.2.9")
        assert r.returncode != 0 and not t.maildir("x") and "192.0.2.9" not in t.log_text(), r.stdout
        c = Client(t.port)
        _, text = c.cmd("EHLO client.example")
        assert "XCLIENT" not in text and "XFORWARD" not in text
        assert c.cmd("XCLIENT ADDR=192.0.2.9")[0] == 550
        assert c.cmd("XFORWARD ADDR=192.0.2.9")[0] == 550


def test_limits_are_the_clients():
    """Who speaks for others has any number of sessions; each other one has his own."""
    with server() as t:
        held = []
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
            held.append(Client(t.port))
            assert held[-1].cmd("XCLIENT ADDR=" + address)[0] == 220
        c = Client(t.port)
        assert c.cmd("XCLIENT ADDR=192.0.2.1")[0] == 421
        held[0].close()
        def has_room():
            n = Client(t.port)
            try:
                return n.cmd("XCLIENT ADDR=192.0.2.1")[0] == 220
            finally:
                n.close()
        wait_for(has_room)
        # Back and forth in one session: nothing is left behind.
        for i in range(20):
            assert held[2].cmd("XCLIENT ADDR=192.0.2.%d" % (100 + i % 2))[0] == 220
        assert Client(t.port).cmd("XCLIENT ADDR=192.0.2.2")[0] == 220


def test_too_many_in_one_session():
    """What they leave behind is bounded."""
    with server() as t:
        c = Client(t.port)
        codes = []
        for i in range(900):
            codes.append(c.cmd("XCLIENT NAME=%s%d" % ("a" * 200, i))[0])
            if codes[-1] != 220:
                break
        assert codes[-1] == 421 and 50 < len(codes) < 900, (len(codes), codes[-1])


def test_postfix_forwards():
    """Postfix tells by XFORWARD from whom it had the mail."""
    need("postfix")
    with server() as t, Postfix("smtp", t.port, "smtp_send_xforward_command = yes\nsmtpd_authorized_xforward_hosts = 127.0.0.0/8") as p:
        c = Client(p.port)
        c.cmd("EHLO first.example")
        assert c.cmd("XFORWARD NAME=first.example ADDR=192.0.2.77 HELO=first SOURCE=REMOTE")[0] == 250
        assert c.mail("a@client.example", ["bob@example.org"], "Subject: x\n\nx\n", helo=None)[0] == 250
        mail = wait_for(lambda: t.maildir("bob"), 20)[0]
        line = wait_for(lambda: [l for l in t.log_text().splitlines() if " accepted " in l])[0]
        assert 'forwarded="first.example[192.0.2.77]' in line and "helo=first" in line, line
        assert "client=127.0.0.1" in line and b"192.0.2.77" not in mail.split(b"Received:")[1], line
        ident = line.split(" accepted ")[0].split()[-1]
        assert wait_for(lambda: t.why(ident))[0]["forwarded"].startswith("first.example[192.0.2.77]")
        # The next mail does not inherit it.
        c = Client(t.port)
        got = c.mail("a@client.example", ["bob@example.org"], "Subject: y\n\ny\n")
        line = wait_for(lambda: [l for l in t.log_text().splitlines() if queue_id(got[1]) in l and " accepted " in l])[0]
        assert "forwarded" not in line, line


def test_tern_forwards():
    """By the transport's `xforward: true` the next hop, as behind a filter, hears whose the mail was."""
    with server() as t:
        for wanted in (True, False):
            first = Tern("""
hostname: first.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound, xclient: [127.0.0.1] } }
policies: { inbound: [{ domains: { local: [example.org] } }] }
transports: { filter: { type: smtp, tls: off, to: ["127.0.0.1:%d"], xforward: %s } }
routes: [{ class: local, transport: filter }]
""" % (t.port, str(wanted).lower())).start()
            with first:
                for address, name in (("192.0.2.77", "one.example"), ("IPV6:2001:db8::9", "two.example")):
                    c = Client(first.port)
                    assert c.cmd("XCLIENT ADDR=%s HELO=%s PROTO=ESMTP" % (address, name))[0] == 220
                    before = len([l for l in t.log_text().splitlines() if " accepted " in l])
                    assert c.mail("a@client.example", ["bob@example.org"], "Subject: x\n\nx\n", helo=name)[0] == 250
                    c.close()
                    line = wait_for(lambda: [l for l in t.log_text().splitlines() if " accepted " in l][before:], 30)[0]
                    assert ('[%s]' % address in line and "helo=" + name in line) == wanted, line
                    assert ("forwarded" in line) == wanted and "client=127.0.0.1" in line, line


if __name__ == "__main__":
    run([f for n, f in list(globals().items()) if n.startswith("test_")])
