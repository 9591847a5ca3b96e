#!/usr/bin/python3
"""iprev in the real server: the name of a client in Received and in the record, refusals instead of the greeting, a bound of time."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from spfzone import Server, Zone
from ternlib import SLOW, Client, Tern, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 20s, tries: 1 }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound, proxy: 127.0.0.1 } }
policies:
  inbound:
    - iprev: { {options} }
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - auth_results
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf } }
routes: [{ class: local, transport: boxes }]
"""
MESSAGE = b"From: Bob <bob@example.net>\r\n\r\nHello Alice\r\n"
ZONE = {"1.2.0.192.in-addr.arpa": [{"PTR": "other.example.net."}, {"PTR": "Mail.Example.Net."}],
        "other.example.net": [{"A": "192.0.2.9"}], "mail.example.net": [{"A": "192.0.2.1"}, {"A": "192.0.2.2"}]}


def connect(t, address="192.0.2.1"):
    c = Client(t.port, greet=False)
    c.send("PROXY TCP4 %s 127.0.0.1 40000 25\r\n" % address)
    return c, c.reply()


def server(dns, options):
    return Tern(CONFIG.replace("{options}", options), dns=dns.port).start()


def test_name_in_received_and_why():
    with Server(Zone(ZONE)) as dns, server(dns, "fail: reject") as t:
        c, (code, _) = connect(t)
        assert code == 220, code
        code, text = c.mail("bob@example.net", ["alice@example.org"], MESSAGE)
        assert code == 250, (code, text)
        mail, = wait_for(lambda: t.maildir("alice"), 30)
        assert b"Received: from client.example (mail.example.net [192.0.2.1])\r\n" in mail, mail
        assert mail.startswith(b"Return-Path") or b"iprev=pass (mail.example.net) policy.iprev=192.0.2.1" in mail, mail
        c.cmd("QUIT")
        session = re.search(r'"session":"(\w+(?:-\w+)*)"', wait_for(lambda: t.cli("why", "--json", queue_id(text), check=False).stdout)).group(1)
        why = wait_for(lambda: (lambda w: w if '"connect"' in w else None)(t.cli("why", "--json", session, check=False).stdout))
        assert "192.0.2.1 PTR" in why and "mail.example.net A" in why and "192.0.2.1 and 1 more" in why, why
        assert t.metric("tern_iprev_pass_total") == 1
        c.close()


def test_refused_and_why():
    zone = Zone({"1.2.0.192.in-addr.arpa": [{"PTR": "bank.example."}], "bank.example": [{"A": "203.0.113.1"}]})
    with Server(zone) as dns, server(dns, "fail: reject") as t:
        c, (code, _) = connect(t)
        assert code == 220, code
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<bob@example.net>")
        code, text = c.cmd("RCPT TO:<alice@example.org>")
        assert code == 550 and text.startswith("5.7.25 Client [192.0.2.1]: its name in DNS"), (code, text)
        c.cmd("RSET")
        c.close()
        ident = re.search(r"\[(\w+)\]$", text).group(1)
        why = wait_for(lambda: t.cli("why", "--json", ident, check=False).stdout)
        assert "bank.example A" in why and "203.0.113.1" in why and "iprev=fail" in why, why


def test_instead_of_the_greeting():
    with Server(Zone(ZONE)) as dns, server(dns, "permerror: reject, refuse_at: now") as t:
        c, (code, text) = connect(t, "198.51.100.1")
        assert code == 554 and text.startswith("5.7.25 Client [198.51.100.1]: it has no name in DNS"), (code, text)
        c.close()
        c, (code, _) = connect(t)
        assert code == 220, code
        c.close()


def test_a_bound_of_time():
    with Server(Zone(ZONE)) as dns:
        dns.silent.add("mail.example.net")
        with server(dns, "lookup_time: 1s, temperror: defer") as t:
            start = time.monotonic()
            c, (code, _) = connect(t)
            assert code == 220 and 0.9 <= time.monotonic() - start < 15 * SLOW, (code, time.monotonic() - start)
            c.cmd("EHLO client.example")
            c.cmd("MAIL FROM:<bob@example.net>")
            code, text = c.cmd("RCPT TO:<alice@example.org>")
            assert code == 451 and text.startswith("4.7.25 Client [192.0.2.1]: DNS does not say its name in time"), (code, text)
            c.close()


if __name__ == "__main__":
    run([test_name_in_received_and_why, test_refused_and_why, test_instead_of_the_greeting, test_a_bound_of_time])
