#!/usr/bin/python3
"""Milters of others behind `tern milter` in one Postfix: OpenDMARC judges by the field that auth_results wrote, OpenDKIM knows whose it is."""
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dkimpy, Key, need_peers
from milterpeers import Milter, need_milter
from peers import Postfix, Sink
from spfzone import Server, Zone
from ternlib import Client, need, run, wait_for
from test_milter import CONFIG, arrived, server

need("postfix")
need_peers()
STEPS = """    - spf
    - dkim_verify
    - auth_results
"""
CHECKS = CONFIG.replace("    - lua: { script: filter.lua }\n", STEPS).replace("temp:", 'dns: { servers: ["127.0.0.1:{dns}"], timeout: 20s, tries: 1 }\ntemp:')
OPENDMARC = """Socket inet:{port}@[127.0.0.1]
AuthservID opendmarc.test
TrustedAuthservIDs mx.test
HistoryFile {dir}/history
RecordAllMessages true
PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat
RejectFailures false
SPFSelfValidate false
Syslog false
"""
MAIL = b"From: Bob <bob@example.net>\r\nTo: alice@example.org\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n" \
       b"Message-ID: <1@example.net>\r\nSubject: hello\r\n\r\nHello\r\n"
FORGED = b"Authentication-Results: mx.test; dkim=pass header.d=example.net; spf=pass smtp.mailfrom=example.net\r\n"


def fields(mail, name="Authentication-Results"):
    head = re.sub(r"\r\n[ \t]+", " ", mail.data.decode().split("\r\n\r\n")[0])
    return [l.split(":", 1)[1].strip() for l in head.split("\r\n") if l.lower().startswith(name.lower() + ":")]


class Chain:
    """Postfix with Tern and another milter behind it; next hop is a sink."""

    def __init__(self, name, config, folder, **zone):
        self.key = Key(folder, "s1")
        self.zone = Zone({"example.net": [{"TXT": "v=spf1 ip4:192.0.2.77 -all"}], "s1._domainkey.example.net": [{"TXT": self.key.record}],
                          "client.example": [{"TXT": "v=spf1 -all"}]})  # as OpenDMARC keeps the last result of SPF, if none is pass
        self.parts = [Sink(), Server(self.zone)]
        self.parts.append(server(CHECKS, files={"x": ""}, dns=self.parts[1].port))
        self.parts.append(Milter(name, config))
        self.sink, _, self.tern, self.milter = self.parts

    def __enter__(self):
        for part in self.parts[:2] + self.parts[3:]:
            part.__enter__()
        self.parts.append(Postfix("smtp", self.sink.port, "smtpd_milters = inet:127.0.0.1:%d, inet:127.0.0.1:%d\nmilter_default_action = tempfail\n"
                                  "smtpd_authorized_xclient_hosts = 127.0.0.1\nmynetworks = 127.0.0.0/8 192.0.2.0/24\n" %
                                  (self.tern.port, self.milter.port)))
        self.postfix = self.parts[-1].__enter__()
        return self

    def __exit__(self, *rest):
        for part in reversed(self.parts):
            part.__exit__(*rest)

    def send(self, address, rcpt, mail):
        c = Client(self.postfix.port)
        c.cmd("EHLO proxy.example")
        assert c.cmd("XCLIENT ADDR=%s" % address)[0] == 220
        got = c.mail("bob@example.net", [rcpt], mail)
        c.close()
        assert got[0] == 250, (got, self.milter.output())
        return arrived(self.sink, rcpt)[0]


def records(history):
    """What OpenDMARC keeps of each mail: [{word: [values]}]; results are numbers, 0 is pass."""
    got = []
    for line in history.splitlines():
        word, _, value = line.partition(" ")
        if word == "job":
            got.append({})
        got[-1].setdefault(word, []).append(value)
    return got


def test_opendmarc():
    """pass and fail of dkim and spf as the field has them, and its own verdict; what a sender forged in our name is not believed."""
    need_milter("opendmarc")
    with tempfile.TemporaryDirectory() as folder:
        zone = os.path.join(folder, "zone")
        os.chmod(folder, 0o755)
        with open(zone, "w") as f:
            f.write("_dmarc.example.net v=DMARC1; p=reject\n")
        with Chain("opendmarc", OPENDMARC + "TestDNSData %s\n" % zone, folder) as chain:
            signed = Dkimpy.sign(MAIL, chain.key)
            broken = signed.replace(b"Hello", b"Hullo")
            cases = (("both", "192.0.2.77", signed, 0, 0, "pass"), ("spf-only", "192.0.2.77", MAIL, None, 0, "pass"),
                     ("dkim-only", "192.0.2.78", signed, 0, 7, "pass"), ("broken", "192.0.2.78", broken, 7, 7, "fail"),
                     ("forged", "192.0.2.78", FORGED + broken, 7, 7, "fail"), ("forged-plain", "192.0.2.78", FORGED + MAIL, None, 7, "fail"))
            for name, address, mail, dkim, spf, dmarc in cases:
                got = chain.send(address, name + "@example.org", mail)
                ours = [f for f in fields(got) if f.startswith("mx.test;")]
                theirs = [f for f in fields(got) if f.startswith("opendmarc.test;")]
                assert len(ours) == len(theirs) == 1 and "dmarc=" + dmarc in theirs[0], (name, fields(got), chain.milter.output())
            kept = wait_for(lambda: (lambda r: r if len(r) == len(cases) else None)(records(chain.milter.read("history"))), 30)
            for (name, address, mail, dkim, spf, dmarc), r in zip(cases, kept):
                assert r["spf"] == [str(spf)] and r["mfrom"] == r["from"] == ["example.net"] and r["ipaddr"] == [address], (name, r)
                assert r.get("dkim", []) == ([] if dkim is None else ["example.net s1 %d" % dkim]), (name, r)


OPENDKIM = """Socket inet:{port}@[127.0.0.1]
Mode v
AuthservID opendkim.test
RemoveARFrom mx.test,third.example
On-Default accept
AlwaysAddARHeader yes
Syslog false
"""


def test_opendkim():
    """It takes away fields of servers that it is told of, if they have a DKIM result: ours is one, and one without stays."""
    need_milter("opendkim")
    with tempfile.TemporaryDirectory() as folder, Chain("opendkim", OPENDKIM, folder) as chain:
        more = b"Authentication-Results: third.example; spf=pass smtp.mailfrom=example.net\r\n" \
               b"Authentication-Results: fourth.example; dkim=pass header.d=example.net\r\n"
        got = fields(chain.send("192.0.2.77", "alice@example.org", more + MAIL))
        assert [f.split(";")[0] for f in got] == ["opendkim.test", "third.example", "fourth.example"], got
        wait_for(lambda: " accepted " in chain.tern.log_text(), 30)


if __name__ == "__main__":
    run([f for n, f in sorted(globals().items()) if n.startswith("test_")])
