#!/usr/bin/python3
"""dkim_verify in the real server: what dkimpy, Mail::DKIM and OpenDKIM have signed, and what is wrong with a signature.

Each mail goes through SMTP; a Lua step behind writes what it reads of the results into the header.
"""
import json
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dkimpy, Dns, Key, MailDkim, OpenDkim, crlf, need_peers
from ternlib import Client, Tern, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 500ms, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - dkim_verify: { {options} }
    - lua: { script: tell.lua }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf } }
routes: [{ class: local, transport: boxes }]
"""
TELL = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local r = txn.results
  local text = r.dkim .. " [" .. r.dkim_domains .. "] " .. r.dkim_detail
  txn:add_header("X-Result", (text:gsub("; ", ";\r\n ")))
end)
"""
FOLDER = tempfile.mkdtemp(prefix="tern-dkim-")
KEYS = {}
MESSAGE = crlf("From: Bob <bob@example.net>\nTo: alice@example.org\nSubject:  a   question\n of length\n"
               "Date: Mon, 02 Mar 2026 10:00:00 +0000\nMessage-ID: <1@example.net>\n\nHello  Alice,  \n\n. a dot\nbye\n\n\n")


def key(name="rsa", kind="rsa", bits=2048):
    if name not in KEYS:
        KEYS[name] = Key(FOLDER, name, kind, bits)
    return KEYS[name]


def ed():
    return key("ed", "ed25519")


def server(dns, options=""):
    return Tern(CONFIG.replace("{options}", options), files={"tell.lua": TELL}, dns=dns.port).start()


class Session:
    """Sends mails one behind the other; each one's result."""

    def __init__(self, tern):
        self.tern = tern
        self.client = Client(tern.port)
        self.client.cmd("EHLO client.example")
        self.count = 0

    def send(self, message):
        code, text = self.client.mail("bob@example.net", ["alice@example.org"], message, helo=None)
        assert code == 250, (code, text)
        self.ident = queue_id(text)
        self.count += 1
        box = wait_for(lambda: (lambda b: b if len(b) == self.count else None)(self.tern.maildir("alice")), 20)
        mail = next(m for m in box if self.ident.encode() in m)
        field = re.search(rb"^X-Result: (.*?)\r\n(?![ \t])", mail, re.M | re.S).group(1).decode()
        return re.match(r"(\w+) \[(.*?)\] (.*)", field, re.S).groups()


def test_dkimpy_and_why():
    with Dns({"s1._domainkey.example.net": key().record}) as dns, server(dns) as t:
        s = Session(t)
        result, domains, detail = s.send(Dkimpy.sign(MESSAGE, key()))
        assert (result, domains) == ("pass", "example.net"), detail
        assert detail.startswith("dkim=pass (2048-bit rsa key) header.d=example.net"), detail
        why = json.dumps(t.why(s.ident))
        assert "dkim_verify" in why and "s1._domainkey.example.net" in why and key().p[:40] in why, why
        assert "header.s=s1" in why, why
        result, domains, detail = s.send(MESSAGE)
        assert (result, domains, detail) == ("none", "", "dkim=none")


def test_all_three_sign():
    """Both algorithms, all four canonicalisations."""
    txt = {"s1._domainkey.example.net": key().record, "e1._domainkey.example.net": ed().record}
    with Dns(txt) as dns, server(dns) as t:
        s = Session(t)
        for peer in (Dkimpy, MailDkim, OpenDkim):
            for kind in (key(), ed()):
                for canon in peer.canons if kind.kind in peer.kinds else ():
                    signed = peer.sign(MESSAGE, kind, selector="s1" if kind.kind == "rsa" else "e1", canon=canon)
                    got = s.send(signed)
                    assert got[:2] == ("pass", "example.net"), (peer.name, kind.kind, canon, got)
                    got = s.send(signed.replace(b"Hello", b"Hallo"))
                    assert got[0] == "fail" and "body was changed" in got[2], (peer.name, kind.kind, canon, got)
                    got = s.send(signed.replace(b"question", b"Question"))
                    assert got[0] == "fail" and "header was changed" in got[2], (peer.name, kind.kind, canon, got)


def test_dns_that_does_not_answer():
    signed = Dkimpy.sign(MESSAGE, key())
    name = "s1._domainkey.example.net"
    with Dns({name: "!SERVFAIL"}) as dns, server(dns) as t:
        got = Session(t).send(signed)
        assert got[0] == "temperror" and "header.d=example.net" in got[2], got
    with Dns({name: "!timeout"}) as dns, server(dns, "temperror: defer") as t:
        c = Client(t.port)
        code, text = c.mail("bob@example.net", ["alice@example.org"], signed)
        assert code == 451 and text.startswith("4.7.5"), (code, text)
        two = Dkimpy.sign(signed, ed(), selector="e1")  # one that passes is enough
        dns.put("e1._domainkey.example.net", ed().record)
        assert Session(t).send(two)[:2] == ("pass", "example.net")
    with Dns() as dns, server(dns) as t:
        got = Session(t).send(signed)
        assert got[0] == "permerror" and "there is no key" in got[2], got


if __name__ == "__main__":
    need_peers()
    try:
        run([test_dkimpy_and_why, test_all_three_sign, test_dns_that_does_not_answer])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
