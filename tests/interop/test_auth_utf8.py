#!/usr/bin/python3
"""RFC 8616 in the real server: DKIM and SPF for domains, selectors and local parts beyond ASCII; dkimpy is the peer."""
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dkimpy, Dns, Key, crlf, need_peers
from peers import Sink
from spfzone import Server, Zone
from ternlib import Client, Tern, dotted, queue_id, run, wait_for

VERIFY = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - spf: { exempt: [], header: true }
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - dkim_verify
    - lua: { script: tell.lua }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf } }
routes: [{ class: local, transport: boxes }]
"""
TELL = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local r = txn.results
  txn:add_header("X-Result", r.dkim .. " [" .. r.dkim_domains .. "] " .. r.spf .. " [" .. r.spf_domain .. "]")
end)
"""
SIGN = """
hostname: mx.test
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
tables:
  keys: { "xn--bcher-kva.example": "xn--bcher-kva.example:s1:keys/xn--bcher-kva.example.pem" }
  signers: { "bob@xn--bcher-kva.example": "xn--bcher-kva.example" }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: outbound } }
policies:
  outbound:
    - domains: { networks: [127.0.0.0/8] }
    - dkim_sign: { {options} }
transports: { far: { type: smtp, to: ["127.0.0.1:{sink}"] } }
routes: [{ transport: far }]
"""
U, A = "bücher.example", "xn--bcher-kva.example"
FOLDER = tempfile.mkdtemp(prefix="tern-dkim-")
_key = []


def key():
    if not _key:
        _key.append(Key(FOLDER, "rsa"))
    return _key[0]


def message(domain):
    return crlf("From: Bob <bob@%s>\nTo: alice@example.org\nSubject: Grüße\nDate: Mon, 02 Mar 2026 10:00:00 +0000\n"
                "Message-ID: <1@example.net>\n\nHallo\n" % domain)


def send(port, data, sender, rcpt="alice@example.org", utf8=True):
    c = Client(port)
    c.cmd("EHLO client.example")
    answer = c.cmd("MAIL FROM:<%s> BODY=8BITMIME%s" % (sender, " SMTPUTF8" if utf8 else ""))
    assert answer[0] == 250, answer
    assert c.cmd("RCPT TO:<%s>" % rcpt)[0] == 250
    assert c.cmd("DATA")[0] == 354
    c.send(dotted(data) + b".\r\n")
    code, text = c.reply()
    c.close()
    assert code == 250, (code, text)
    return queue_id(text)


def result(t, data, sender="bob@example.net", utf8=True):
    """(dkim, domains, spf, its domain)"""
    ident = send(t.port, data, sender, utf8=utf8)
    mail = wait_for(lambda: next((m for m in t.maildir("alice") if ident.encode() in m), None), 20)
    text = re.search(rb"^X-Result: (.*?)\r\n(?![ \t])", mail, re.M | re.S).group(1).decode()
    return re.match(r"(\w+) \[(.*?)\] (\w+) \[(.*?)\]", text).groups()


def test_dkimpy_to_tern():
    """d=, s= and i= as U-labels; DNS is asked for A-labels. Of a mail that is not by SMTPUTF8 they are no names."""
    names = {"s1._domainkey." + A: key().record, "xn--schn-7qa._domainkey." + A: key().record}
    with Dns(names) as dns, Tern(VERIFY, files={"tell.lua": TELL}, dns=dns.port).start() as t:
        for domain, selector, more in ((U, "s1", {}), (U, "schön", {}), (A, "schön", {}), ("BÜCHER.Example", "s1", {}),
                                       (U, "s1", {"identity": ("bob@mail." + U).encode()}),
                                       (U, "s1", {"identity": ("bøb@" + U).encode()})):
            signed = Dkimpy.sign(message(U), key(), domain=domain, selector=selector, **more)
            got = result(t, signed)
            assert got[:2] == ("pass", A), (domain, selector, more, got)
        assert set(dns.asked) & {n for n in names} == set(names), dns.asked
        assert result(t, signed.replace(b"Hallo", b"Hullo"))[0] == "fail"
        assert result(t, signed, utf8=False)[0] == "neutral"
        bare = Dkimpy.sign(message(U), key(), domain=A, selector="s1")
        assert result(t, bare, utf8=False)[:2] == ("pass", A)
        raw = signed.replace("ü".encode(), b"\xfc")
        assert result(t, raw)[0] == "neutral"


def test_tern_to_dkimpy():
    """The domain of From, as U-label or A-label, in small letters or capitals, finds its key by A-label and signs with it."""
    with Sink(ehlo=("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 100000000")) as sink:
        for options in ("selector: s1, key: 'keys/%{domain}.pem'", "keys: { table: keys }, folder: '.'",
                        "signers: { table: signers }, selector: s1, key: 'keys/%{domain}.pem'",
                        "by: sender, selector: s1, key: 'keys/%{domain}.pem'"):
            with Tern(SIGN.replace("{options}", options), sink=sink.port) as t:
                os.chmod(t.write("keys/%s.pem" % A, key().pem), 0o600)
                t.start()
                for domain in (U, A, "BÜCHER.Example"):
                    before = len(sink.mails)
                    send(t.port, message(domain), "bob@" + U, rcpt="alice@far.example")
                    wait_for(lambda: len(sink.mails) > before, 20)
                    mail = sink.mails[before].data
                    assert re.search(rb"\sd=xn--bcher-kva\.example;", mail), (options, domain, mail[:600])
                    assert Dkimpy.verify(mail, {"s1._domainkey." + A: key().record}) == [True], (options, domain)


def test_spf():
    """The sender's domain is asked for by A-label; a local part beyond ASCII matches no macro, and breaks none."""
    zone = Zone({A: [{"TXT": "v=spf1 ip4:127.0.0.1 -all"}],
                 "local.example": [{"TXT": "v=spf1 exists:%{l}.u.example exists:%{L}.u.example include:%{s1}.inc.example a:%{d} -all"}],
                 "bob.u.example": [{"A": "127.0.0.2"}], "local.example.": [{"A": "127.0.0.9"}]})
    with Server(zone) as dns, Tern(VERIFY, files={"tell.lua": TELL}, dns=dns.port).start() as t:
        assert result(t, message(A), "bob@" + U)[2:] == ("pass", A)
        assert result(t, message(A), "bøb@" + U)[2:] == ("pass", A)
        assert result(t, message(A), "bob@" + A, utf8=False)[2:] == ("pass", A)
        assert result(t, message(A), "bob@local.example")[2:] == ("pass", "local.example")
        dns.asked.clear()
        assert result(t, message(A), "bøb@local.example")[2:] == ("fail", "local.example")
        assert not [n for n, _ in dns.asked if n.endswith((".u.example", ".inc.example"))], dns.asked


if __name__ == "__main__":
    need_peers()
    try:
        run([test_dkimpy_to_tern, test_tern_to_dkimpy, test_spf])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
