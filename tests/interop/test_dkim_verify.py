#!/usr/bin/python3
"""dkim_verify in the real server: what dkimpy, Mail::DKIM and OpenDKIM have signed, and what is wrong with a signature.

Each mail goes through SMTP; a Lua step behind writes what it reads of the results into the header.
"""
import base64
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dkimpy, Dns, Key, MailDkim, OpenDkim, crlf, need_peers
from results import Session
from ternlib import SLOW, Client, Tern, dotted, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: {wait}, tries: 1 }
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


def server(dns, options="", wait="10s"):
    return Tern(CONFIG.replace("{options}", options), files={"tell.lua": TELL}, dns=dns.port, wait=wait).start()


def parts(text):
    """result, domains, detail"""
    return re.match(r"(\w+) \[(.*?)\] (.*)", text, re.S).groups()


def test_dkimpy_and_why():
    with Dns({"s1._domainkey.example.net": key().record}) as dns, server(dns) as t:
        s = Session(t, parts)
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
        s = Session(t, parts)
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
        got = Session(t, parts).send(signed)
        assert got[0] == "temperror" and "header.d=example.net" in got[2], got
    with Dns({name: "!timeout"}) as dns, server(dns, "temperror: defer", "%ds" % (4 + SLOW)) as t:
        c = Client(t.port)
        code, text = c.mail("bob@example.net", ["alice@example.org"], signed)
        assert code == 451 and text.startswith("4.7.5"), (code, text)
        two = Dkimpy.sign(signed, ed(), selector="e1")  # one that passes is enough
        dns.put("e1._domainkey.example.net", ed().record)
        assert Session(t, parts).send(two)[:2] == ("pass", "example.net")
    with Dns() as dns, server(dns) as t:
        got = Session(t, parts).send(signed)
        assert got[0] == "permerror" and "there is no key" in got[2], got


def test_time():
    """Keys that do not come within lookup_time are temperror, and not the step's error; who has his is judged, on the pool, too."""
    signed = Dkimpy.sign(MESSAGE, key())
    silent = {"s1._domainkey.example.net": "!timeout", "e1._domainkey.example.net": ed().record}
    with Dns(silent) as dns:
        with server(dns, "lookup_time: %ds" % (4 + SLOW), "60s") as t:  # a question would take 60 s, the step may take 30
            large = crlf("From: bob@example.net\nSubject: large\n\n" + ("x" * 70 + "\n") * 2000)
            got = Session(t, parts).send(Dkimpy.sign(Dkimpy.sign(large, key()), ed(), selector="e1"))
            assert got[:2] == ("pass", "example.net") and got[2].count("temperror (DNS took too long)") == 1, got
            assert t.metric("tern_dkim_verify_temperror_total") == 1
        with server(dns, "lookup_time: %ds, temperror: defer" % (4 + SLOW), "60s") as t:
            code, text = Client(t.port).mail("bob@example.net", ["alice@example.org"], signed)
            assert code == 451 and text.startswith("4.7.5"), (code, text)


def by_hand(tags, message=MESSAGE, body=None, drop=()):
    """An Ed25519 signature of From and the body (simple/simple) with whatever tags."""
    import nacl.signing
    head, _, rest = message.partition(b"\r\n\r\n")
    body = re.sub(rb"(\r\n)*$", b"", rest) + b"\r\n" if body is None else body
    all_tags = dict({"v": "1", "a": "ed25519-sha256", "d": "example.net", "s": "e1", "h": "From",
                     "bh": base64.b64encode(hashlib.sha256(body).digest()).decode()}, **tags)
    text = "; ".join("%s=%s" % t for t in all_tags.items() if t[0] not in drop) + "; b="
    sender = re.search(rb"^From: [^\r]*\r\n", message, re.M).group(0)
    digest = hashlib.sha256(sender + b"DKIM-Signature: " + text.encode()).digest()
    b = nacl.signing.SigningKey(base64.b64decode(ed().seed())).sign(digest).signature
    return ("DKIM-Signature: " + text + base64.b64encode(b).decode() + "\r\n").encode() + message


def test_tags():
    """Each tag that may keep a signature, good by its arithmetic, from passing."""
    now = int(time.time())
    body = re.sub(rb"(\r\n)*$", b"", MESSAGE.partition(b"\r\n\r\n")[2]) + b"\r\n"
    rows = [
        ({}, "pass", "256-bit ed25519 key"),
        ({"t": now - 100, "x": now + 1000}, "pass", ""),
        ({"t": now - 10000, "x": now - 1000}, "permerror", "expired"),
        ({"x": now - 10}, "pass", ""),  # within the skew, which is minutes
        ({"t": now + 10000}, "policy", "signed in the future"),
        ({"t": now + 100}, "pass", ""),
        ({"i": "me@sub.example.net"}, "pass", "header.i=me@sub.example.net"),
        ({"i": "me=3Bspf=3Dpass@example.net"}, "pass", 'header.i="me;spf=pass"@example.net'),
        ({"i": '"a=5C=22b"@example.net'}, "pass", 'header.i="a\\"b"@example.net'),
        ({"i": "me@sub.example.com"}, "neutral", "i= is not below"),
        ({"q": "http"}, "neutral", "q= is not"),
        ({"q": "dns/txt"}, "pass", ""),
        ({"d": "net"}, "policy", "top-level domain"),
        ({"v": "2"}, "neutral", "v= is not"),
        ({"a": "rsa-sha256"}, "permerror", "another algorithm"),
        ({"a": "rsa-sha1"}, "permerror", "rsa-sha1"),
        ({"a": "ed25519-sha512"}, "neutral", "a= is not known"),
        ({"c": "simple/loose"}, "neutral", "c= is not"),
        ({"h": "From:From"}, "pass", ""),
        ({"l": len(body)}, "pass", ""),
        ({"l": len(body) + 1}, "fail", "l= is more"),
        ({"s": "old"}, "permerror", "revoked"),
        ({"s": "web"}, "permerror", "not for mail"),
        ({"s": "sha1"}, "permerror", "not for sha256"),
        ({"s": "strict"}, "pass", ""),
        ({"s": "strict", "i": "@sub.example.net"}, "permerror", "not for subdomains"),
        ({"s": "test"}, "pass", "test mode"),
        ({"s": "none"}, "permerror", "there is no key"),
        ({"s": "text"}, "permerror", "a tag without"),
        ({"s": "two"}, "pass", ""),  # the one that will do, of two
        ({"s": "x" * 63, "d": ".".join(["y" * 60] * 3) + ".example.net"}, "neutral", "too long"),
    ]
    record = ed().record
    txt = {"e1": record, "old": "v=DKIM1; k=ed25519; p=", "web": record + "; s=web", "sha1": record + "; h=sha1", "text": "hello",
           "strict": record + "; t=s", "test": record + "; t=y", "two": ["v=spf1 -all", record]}
    txt = {"%s._domainkey.example.net" % k: v for k, v in txt.items()}
    txt["e1._domainkey.net"] = record
    with Dns(txt) as dns, server(dns) as t:
        s = Session(t, parts)
        for tags, want, says in rows:
            result, domains, detail = s.send(by_hand(tags))
            assert result == want and says in detail, (tags, want, says, result, detail)
            assert (domains != "") == (want == "pass"), (tags, domains)
        changed = by_hand({"s": "test"}).replace(b"Alice", b"Carol")
        result, _, detail = s.send(changed)  # who tests is treated as who does not sign
        assert result == "neutral" and "the body was changed" in detail and "test mode" in detail, detail


def test_part_of_the_body():
    """l=: somebody may have written the rest."""
    body = MESSAGE.partition(b"\r\n\r\n")[2]
    part = body[:10]
    mail = by_hand({"l": "10"}, body=part)
    txt = {"e1._domainkey.example.net": ed().record}
    with Dns(txt) as dns, server(dns) as t:
        result, domains, detail = Session(t, parts).send(mail)
        assert (result, domains) == ("policy", "") and "l= leaves the end" in detail, detail
    with Dns(txt) as dns, server(dns, "partial_body: pass") as t:
        result, domains, detail = Session(t, parts).send(mail)
        assert (result, domains) == ("pass", "example.net") and "unsafe: l= leaves 2" in detail, detail


def test_weak_keys():
    rows = [(768, "1024", "policy", "the key is too short"), (1024, "1024", "pass", "1024-bit rsa key, weak"),
            (1024, "2048", "policy", "the key is too short"), (2048, "2048", "pass", "2048-bit rsa key)"),
            (4096, "1024", "pass", "4096-bit rsa key)")]
    for bits, least, want, says in rows:
        k = key("rsa%d" % bits, bits=bits)
        with Dns({"s1._domainkey.example.net": k.record}) as dns, server(dns, "min_bits: " + least) as t:
            result, domains, detail = Session(t, parts).send(Dkimpy.sign(MESSAGE, k))
            assert result == want and says in detail, (bits, least, detail)


def test_many_signatures():
    """Eight are looked at; one good one among them is enough, a ninth is not seen."""
    txt = {"e1._domainkey.example.net": ed().record}
    bad = b"".join(b"DKIM-Signature: v=1; a=rsa-sha256; d=d%d.example; s=s; h=From; b=AAAA; bh=%s\r\n" % (n, b"A" * 43 + b"=")
                   for n in range(7))
    with Dns(txt) as dns, server(dns) as t:
        s = Session(t, parts)
        result, domains, detail = s.send(bad + by_hand({}))
        assert (result, domains) == ("pass", "example.net") and detail.count("dkim=") == 8, detail
        result, domains, detail = s.send(bad + bad[:bad.index(b"\r\n") + 2] + by_hand({}))
        assert (result, domains) == ("permerror", "") and detail.count("dkim=") == 8, detail


def test_headers_that_are_no_message():
    """What a reader is shown is what was signed, or it is no pass."""
    signed = by_hand({})
    with Dns({"e1._domainkey.example.net": ed().record}) as dns, server(dns) as t:
        s = Session(t, parts)
        for mail in (b"From: eve@example.com\r\n" + signed, signed.replace(b"\r\nTo:", b"\r\nfrom : eve@example.com\r\nTo:")):
            result, domains, detail = s.send(mail)
            assert (result, domains) == ("permerror", "") and "several From" in detail, detail
        assert s.send(b"".join(b"X: %d\r\n" % n for n in range(9994)) + signed)[0] == "pass"  # all that the server takes
        assert s.send(signed)[0] == "pass"


def test_large_bodies_go_to_the_pool():
    body = b"".join(b"line %d of a long mail\r\n" % n for n in range(200000))
    mail = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
    with Dns({"s1._domainkey.example.net": key().record, "e1._domainkey.example.net": ed().record}) as dns, server(dns) as t:
        s = Session(t, parts)
        assert s.send(Dkimpy.sign(mail, key()))[:2] == ("pass", "example.net")
        signed = by_hand({}, mail)
        assert s.send(signed)[0] == "pass"
        assert s.send(signed.replace(b"line 199999", b"line 199998"))[0] == "fail"


def slow_key(bits, exponent_bits):
    """The record of an RSA key that nobody has, but which takes as long to try as one of that length may."""
    def der(tag, data):
        size = len(data).to_bytes(2, "big")
        return bytes([tag, 0x82]) + size + data

    def number(n, length):
        return der(2, n.to_bytes(length + 1, "big"))
    n, e = (1 << bits) - 12345 | 1, (1 << exponent_bits) - 1
    key_of = der(0x30, number(n, bits // 8) + number(e, exponent_bits // 8))
    whole = der(0x30, bytes.fromhex("300d06092a864886f70d0101010500") + der(3, b"\0" + key_of))
    return "v=DKIM1; k=rsa; p=" + base64.b64encode(whole).decode()


def test_long_keys_go_to_the_pool():
    """Eight keys of 4096 bits with long exponents take milliseconds, which the loop has not."""
    names = ["s%d" % i for i in range(8)]
    head, body = MESSAGE.split(b"\r\n\r\n", 1)
    digest = base64.b64encode(hashlib.sha256(body.rstrip(b"\r\n") + b"\r\n").digest()).decode()
    b = base64.b64encode(b"\1" + bytes(range(255)) + b"\2" * 256).decode()
    fields = "".join("DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=%s; h=from; bh=%s;\r\n b=%s\r\n"
                     % (s, digest, "\r\n ".join(b[i:i + 72] for i in range(0, len(b), 72))) for s in names).encode()
    record = slow_key(4096, 64)
    with Dns({s + "._domainkey.example.net": record for s in names}) as dns, server(dns) as t:
        s = Session(t, parts)
        for _ in range(10):
            result, _, detail = s.send(fields + head + b"\r\n\r\n" + body)
            assert result == "fail" and detail.count("the header was changed, or the key is another, 4096-bit rsa key") == 8, detail
        slow = t.metric("tern_step_slow_total") or 0
        assert SLOW > 1 or slow < 10, slow  # now and then another process has the processor


def test_a_client_that_leaves():
    """While DNS is asked: nobody waits for the answer, and nothing is kept (ASan would tell)."""
    with Dns({}, "!timeout") as dns, server(dns) as t:
        for n in range(5):
            signed = Dkimpy.sign(MESSAGE, key(), selector="s%d" % n)
            c = Client(t.port)
            c.cmd("EHLO client.example")
            c.cmd("MAIL FROM:<bob@example.net>")
            c.cmd("RCPT TO:<alice@example.org>")
            c.cmd("DATA")
            asked = len(dns.asked)
            c.send(dotted(signed) + b".\r\n")
            wait_for(lambda: len(dns.asked) > asked, 20)
            c.close()
        assert Session(t, parts).send(MESSAGE)[0] == "none"


if __name__ == "__main__":
    need_peers()
    try:
        run([test_dkimpy_and_why, test_all_three_sign, test_dns_that_does_not_answer, test_time, test_tags, test_part_of_the_body,
             test_weak_keys, test_many_signatures, test_headers_that_are_no_message, test_large_bodies_go_to_the_pool, test_long_keys_go_to_the_pool,
             test_a_client_that_leaves])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
