#!/usr/bin/python3
"""arc_verify in the real server: chains that dkimpy and Mail::DKIM have made, and all that may be wrong with one.

Each mail goes through SMTP; a Lua step behind writes what it reads of the results into the header.
"""
import base64
import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from arcpeers import Chain, Dkimpy, MailDkim, need_peers
from dkimpeers import Dns, Key, crlf
from results import Session
from ternlib import MODULES, SLOW, Client, Tern, dotted, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: {wait}, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
tables: { sealers: { file: sealers.txt } }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - arc_verify: { {options} }
    - lua: { script: tell.lua }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf } }
routes: [{ class: local, transport: boxes }]
"""
TELL = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local r = txn.results
  txn:add_header("X-Result", table.concat({ r.arc, r.arc_trusted, r.arc_dmarc, r.arc_spf, r.arc_dkim, "[" .. r.arc_domains .. "]",
    r.arc_detail }, " "))
end)
"""
TRUST = "trusted_sealers: [list.example, two.example]"
FOLDER = tempfile.mkdtemp(prefix="tern-arc-")
KEYS = {}
MESSAGE = crlf("From: Bob <bob@example.net>\nTo: alice@example.org\nSubject:  a   question\n of length\n"
               "Date: Mon, 02 Mar 2026 10:00:00 +0000\nMessage-ID: <1@example.net>\n\nHello  Alice,  \n\n. a dot\nbye\n\n\n")


def key(name="rsa", kind="rsa", bits=2048):
    if name not in KEYS:
        KEYS[name] = Key(FOLDER, name, kind, bits)
    return KEYS[name]


def ed():
    return key("ed", "ed25519")


def records(selector="e1", record=None, domains=("list.example", "two.example", "evil.example")):
    return {"%s._domainkey.%s" % (selector, d): record or ed().record for d in domains}


def server(dns, options=TRUST, sealers="", wait="10s"):
    files = {"tell.lua": TELL, "sealers.txt": sealers}
    return Tern(CONFIG.replace("{options}", options), files=files, dns=dns.port, wait=wait).start()


class Result:
    def __init__(self, text):
        m = re.match(r"(\w+) (\w+) (\w+) (\w+) (\w+) \[(.*?)\] (.*)", text, re.S)
        self.arc, self.trusted, self.dmarc, self.spf, self.dkim, self.domains, self.detail = m.groups()
        self.text = text

    def __repr__(self):
        return self.text


def chain():
    return Chain(ed(), MESSAGE)


def test_peers():
    """Chains of one set and of two, by both; the second has changed what the first has signed, or not."""
    txt = records("s1", key().record)
    with Dns(txt) as dns, server(dns) as t:
        s = Session(t, Result)
        for one in (Dkimpy, MailDkim):
            first = one.seal(MESSAGE, key(), "list.example", "spf=pass smtp.mailfrom=example.net; dkim=pass header.d=example.net; dmarc=pass header.from=example.net")
            got = s.send(first)
            assert (got.arc, got.trusted, got.dmarc, got.domains) == ("pass", "yes", "pass", "list.example"), (one.name, got)
            assert got.detail == "arc=pass (i=1) header.oldest-pass=0 smtp.remote-ip=127.0.0.1", got
            for two in (Dkimpy, MailDkim):
                second = two.seal(first, key(), "two.example", "spf=fail smtp.mailfrom=example.net", cv="pass")
                got = s.send(second)
                assert (got.arc, got.trusted, got.spf, got.domains) == ("pass", "yes", "pass", "list.example two.example"), got
                assert "(i=2) header.oldest-pass=0" in got.detail, got
                changed = first.replace(b"question", b"Question")
                second = two.seal(changed, key(), "two.example", "dkim=fail header.d=example.net", cv="pass")
                got = s.send(second)
                assert got.arc == "pass" and "(i=2) header.oldest-pass=2" in got.detail, (two.name, got)
                got = s.send(second.replace(b"Hello", b"Hallo"))
                assert got.arc == "fail" and "i=2: ARC-Message-Signature: the body was changed" in got.detail, got


def test_why():
    with Dns(records()) as dns, server(dns) as t:
        s = Session(t, Result)
        s.send(chain().add().edit(b"Hello", b"Hallo").add("evil.example").message)
        why = json.dumps(t.why(s.ident))
        for wanted in ("e1._domainkey.evil.example", ed().p[:40], "i=2: ARC-Seal pass (256-bit key) d=evil.example s=e1",
                       "i=1: ARC-Seal pass", "ARC-Message-Signature fail (the body was changed)", "no: not evil.example"):
            assert wanted in why, (wanted, why)
        s.send(chain().add(seal={"s": "gone"}).message)
        why = json.dumps(t.why(s.ident))
        assert "i=1: ARC-Seal: there is no key" in why and "no TXT record" in why, why


def test_who_is_trusted():
    """Every sealer must be: who has sealed below the newest one could have written the mail."""
    def three(*domains):
        c = chain()
        for d in domains:
            c.add(d)
        return c.message

    rows = [(("list.example",), "yes"), (("evil.example",), "no"), (("list.example", "two.example"), "yes"),
            (("LIST.Example", "two.example"), "yes"), (("list.example", "evil.example"), "no"),
            (("evil.example", "list.example"), "no"), (("list.example", "evil.example", "two.example"), "no")]
    with Dns(records()) as dns:
        for options, sealers in ((TRUST, ""), ("trusted_sealers: { table: sealers }", "list.example\ntwo.example\n")):
            with server(dns, options, sealers) as t:
                s = Session(t, Result)
                for domains, want in rows:
                    got = s.send(three(*domains))
                    assert (got.arc, got.trusted) == ("pass", want), (domains, got)
                    assert got.domains == " ".join(domains).lower(), got
        with server(dns, "") as t:
            assert Session(t, Result).send(three("list.example")).trusted == "no"
        with server(dns, "trusted_sealers: { table: sealers }", "") as t:
            assert Session(t, Result).send(three("list.example")).trusted == "no"


def test_good_chains_that_prove_too_little():
    """They pass, for their signatures do; nobody trusts them."""
    two_from = chain().add().message
    rows = [(chain().add(ams={"h": "Subject"}).message, "not of From"), (chain().add(ams={"h": ""}).message, "not of From"),
            (b"From: eve@example.com\r\n" + two_from, "several From")]
    body = MESSAGE.partition(b"\r\n\r\n")[2]
    bh = base64.b64encode(hashlib.sha256(body[:10]).digest()).decode()
    rows.append((chain().add(ams={"l": 10, "bh": bh}).message, "l= leaves"))
    with Dns(records()) as dns, server(dns) as t:
        s = Session(t, Result)
        for message, says in rows:
            got = s.send(message)
            assert (got.arc, got.trusted) == ("pass", "no"), got
            assert says in json.dumps(t.why(s.ident)), (says, t.why(s.ident))


def test_what_the_first_sealer_found():
    rows = [("mx.test; dmarc=Pass header.from=a.example; spf=softfail smtp.mailfrom=a; dkim=fail; dkim=pass header.d=b.example",
             ("pass", "softfail", "pass")),
            ("mx.test 1; dkim=fail (a; dkim=pass) header.d=x.example", ("none", "none", "fail")),
            ("mx.test; x=\"; dmarc=pass\"; spf=none", ("none", "none", "none")),
            ("mx.test; dmarc=fail; dmarc=pass", ("fail", "none", "none")), ("mx.test; none", ("none", "none", "none")),
            ("mx.test", ("none", "none", "none")), ("mx.test; dmarc=" + "p" * 17, ("none", "none", "none")),
            ("mx.test; dmarc=" + "p" * 16, ("p" * 16, "none", "none"))]
    with Dns(records()) as dns, server(dns) as t:
        s = Session(t, Result)
        for results, want in rows:
            got = s.send(chain().add(results=results).add("two.example", "mx; dmarc=temperror; spf=neutral").message)
            assert got.arc == "pass" and (got.dmarc, got.spf, got.dkim) == want, (results, got)


def test_tags_and_keys():
    now = int(time.time())
    body = MESSAGE.partition(b"\r\n\r\n")[2]
    octets = len(re.sub(rb"(\r\n)*$", b"", body) + b"\r\n")
    rows = [
        (dict(), "pass", "(i=1)"),
        (dict(ams={"t": now - 10000, "x": now - 1000}), "fail", "ARC-Message-Signature: expired"),
        (dict(ams={"x": now - 10}), "pass", ""),  # within the skew, which is minutes
        (dict(ams={"h": "From:ARC-Seal"}), "fail", "h= names ARC-Seal"),
        (dict(ams={"v": "1"}), "pass", ""),
        (dict(ams={"a": "rsa-sha1"}), "fail", "rsa-sha1 proves nothing"),
        (dict(ams={"a": "rsa-sha256"}), "fail", "another algorithm"),
        (dict(ams={"l": octets + 1}), "fail", "l= is more than"),
        (dict(ams={"i": "1x"}), "fail", "i= is not a number"),
        (dict(ams={"q": "http"}), "fail", "q= is not dns/txt"),
        (dict(seal={"h": "From"}), "fail", "ARC-Seal: a seal has no h="),
        (dict(cv="pass"), "fail", "cv= is not none"),
        (dict(cv="PASSED"), "fail", "cv= is not none, fail or pass"),
        (dict(cv="fail"), "fail", "the chain was broken before"),
        (dict(drop=("cv",)), "fail", "no cv="),
        (dict(n=2), "fail", "i=1: ARC-Authentication-Results: it is missing"),
        (dict(n=50), "fail", "i=49: ARC-Authentication-Results: it is missing"),
        (dict(n=51), "fail", "i= is not a number from 1 to 50"),
        (dict(n=0), "fail", "i= is not a number from 1 to 50"),
        (dict(domain="example"), "fail", "signed by a top-level domain"),
        (dict(seal={"s": "old"}), "fail", "revoked"),
        (dict(seal={"s": "web"}), "fail", "not for mail"),
        (dict(seal={"s": "none"}), "fail", "there is no key"),
        (dict(seal={"s": "test"}), "pass", ""),
        (dict(ams={"s": "x" * 63, "d": ".".join(["y" * 60] * 3) + ".list.example"}), "fail", "too long"),
    ]
    txt = dict(records(), **records("test", ed().record + "; t=y"))
    txt.update(records("old", "v=DKIM1; k=ed25519; p="))
    txt.update(records("web", ed().record + "; s=web"))
    txt["e1._domainkey.example"] = ed().record
    with Dns(txt) as dns, server(dns) as t:
        s = Session(t, Result)
        for how, want, says in rows:
            got = s.send(chain().add(**how).message)
            assert got.arc == want and says in got.detail, (how, want, says, got)
            assert (got.domains != "") == (want == "pass") and (got.dmarc == "pass") == (want == "pass"), got


def test_broken_chains():
    good = chain().add().add("two.example")
    first = chain().add().message
    aar = b"ARC-Authentication-Results: i=1; mx; dmarc=pass\r\n"
    rows = [(aar + good.message, "i=1: ARC-Authentication-Results: it is there twice"),
            (good.message.replace(b"spf=pass", b"spf=fail", 1), "i=2: ARC-Seal: the header was changed"),
            (good.message.replace(b"; spf=pass; dkim=pass; dmarc=pass\r\nARC-Seal", b"; spf=none\r\nARC-Seal"), "i=2: ARC-Seal: the header was changed"),
            (good.message.replace(b"question", b"answer"), "i=2: ARC-Message-Signature: the header was changed"),
            (re.sub(rb"ARC-Seal: i=2.*?\r\n", b"", good.message), "i=2: ARC-Seal: it is missing"),
            (re.sub(rb"ARC-[\w-]+: i=1.*?\r\n", b"", good.message), "i=1: ARC-Authentication-Results: it is missing"),
            (b"ARC-Seal: rubbish\r\n" + first, "ARC-Seal: a tag without"),
            (b"ARC-Seal: i=1" + b"; a=b" * 1000 + b"\r\n" + first, "ARC-Seal: a tag stands there twice"),
            (chain().add().add("two.example", cv="none").message, "cv= is not pass"),
            (chain().add(cv="fail").add("two.example").message, "i=1: ARC-Seal: cv= is not none"),
            # Its maker has seen a broken chain: nothing else of it is looked at.
            (chain().add().add("two.example", cv="fail", alone=True).message, "cv=fail: the chain was broken before"),
            (chain().add(n=2).add("two.example", n=2).message, "it is there twice")]
    with Dns(records()) as dns, server(dns) as t:
        s = Session(t, Result)
        for n, (message, says) in enumerate(rows):
            got = s.send(message)
            assert (got.arc, got.trusted, got.domains) == ("fail", "no", "") and says in got.detail, (n, says, got)
        assert s.send(good.message).arc == "pass"
        assert s.send(MESSAGE).text.startswith("none no none none none [] arc=none smtp.remote-ip=127.0.0.1")


def test_fifty_sets():
    """As many as there may be, and one more; each of them has changed the mail."""
    c = chain()
    for n in range(50):
        c.add(domain="list.example" if n % 2 else "two.example").edit(b"Hello", b"Hello!")
    c.edit(b"!" * 50, b"!" * 49)
    with Dns(records()) as dns, server(dns) as t:
        s = Session(t, Result)
        got = s.send(c.message)
        assert (got.arc, got.trusted) == ("pass", "yes") and "(i=50) header.oldest-pass=50" in got.detail, got
        assert len([n for n in dns.asked if n.startswith("e1.")]) == 2, dns.asked  # once for each key
        got = s.send(c.add().message)
        assert got.arc == "fail" and "i= is not a number from 1 to 50" in got.detail, got


def test_a_hundred_keys():
    """Each field of each set by a key of its own: all are asked for, and one that is gone is the end of it."""
    c, names = chain(), []
    for n in range(50):
        names += ["a%d" % n, "b%d" % n]
        c.add(ams={"s": "a%d" % n}, seal={"s": "b%d" % n})
    txt = {"%s._domainkey.list.example" % name: ed().record for name in names}
    with Dns(txt) as dns, server(dns) as t:
        got = Session(t, Result).send(c.message)
        assert got.arc == "pass" and "header.oldest-pass=0" in got.detail, got
        assert sorted(set(dns.asked)) == sorted(txt), dns.asked
    del txt["b7._domainkey.list.example"]
    with Dns(txt) as dns, server(dns) as t:
        got = Session(t, Result).send(c.message)
        assert got.arc == "fail" and "i=8: ARC-Seal: there is no key" in got.detail, got


def test_weak_keys():
    rows = [(768, "1024", "fail", "the key is too short"), (1024, "1024", "pass", ""), (1024, "2048", "fail", "the key is too short"),
            (2048, "2048", "pass", "")]
    for bits, least, want, says in rows:
        k = key("rsa%d" % bits, bits=bits)
        with Dns(records("s1", k.record)) as dns, server(dns, "min_bits: " + least) as t:
            got = Session(t, Result).send(Dkimpy.seal(MESSAGE, k, "list.example", "spf=pass"))
            assert got.arc == want and says in got.detail, (bits, least, got)


def test_skew():
    late = chain().add(ams={"x": int(time.time()) - 100}).message
    with Dns(records()) as dns, server(dns, "clock_skew: 0s") as t:
        assert "expired" in Session(t, Result).send(late).detail


def test_dns_that_does_not_answer():
    """All failures are permanent (RFC 8617 5.2.1), but a mail that is not taken yet can come again."""
    good = chain().add().message
    for value, wait in (("!SERVFAIL", "10s"), ("!timeout", "%ds" % SLOW)):
        for options, sealers in (("temperror: next, " + TRUST, ""), (TRUST.replace("list.example, ", ""), ""), ("", ""),
                                 ("trusted_sealers: { table: sealers }", "two.example\n")):
            with Dns(records(record=value)) as dns, server(dns, options, sealers, wait) as t:
                got = Session(t, Result).send(good)
                assert got.arc == "fail" and "DNS did not answer" in got.detail, got
        with Dns(records(record=value)) as dns, server(dns, wait=wait) as t:  # one that we trust comes again
            c = Client(t.port)
            assert c.mail("bob@example.net", ["alice@example.org"], good)[0] == 451
            both = chain().add().add("evil.example").message
            assert c.mail("bob@example.net", ["alice@example.org"], both, helo=None)[0] == 250
            c.close()
        with Dns(records(record=value)) as dns, server(dns, "temperror: defer", wait=wait) as t:
            c = Client(t.port)
            code, text = c.mail("bob@example.net", ["alice@example.org"], good)
            assert code == 451 and text.startswith("4.7.5"), (code, text)
            assert c.mail("bob@example.net", ["alice@example.org"], MESSAGE, helo=None)[0] == 250
            broken = good.replace(b"Hello", b"Hallo")  # no key would mend that
            assert c.mail("bob@example.net", ["alice@example.org"], broken, helo=None)[0] == 250
            c.close()


def test_trusted_sealers_in_a_database():
    """Asked on the pool; one that cannot be asked puts the mail off, for nobody knows whom it would have named."""
    if not os.path.exists(os.path.join(MODULES, "table_sql.so")):
        print("     left out: no table_sql")
        return
    table = 'trusted_sealers: { sql: { driver: sqlite, path: sealers.db, query: "SELECT 1 FROM names WHERE name = $1" } }'
    with Dns(records()) as dns:
        t = Tern(CONFIG.replace("{options}", table), files={"tell.lua": TELL, "sealers.txt": ""}, dns=dns.port, wait="10s")
        with t:
            with sqlite3.connect(os.path.join(t.dir, "sealers.db")) as db:
                db.execute("CREATE TABLE names (name TEXT)")
                db.execute("INSERT INTO names VALUES ('list.example')")
            db.close()
            t.start()
            s = Session(t, Result)
            assert s.send(chain().add("List.Example").message).trusted == "yes"
            assert s.send(chain().add("evil.example").message).trusted == "no"
            dns.put("e1._domainkey.two.example", "!SERVFAIL")
            assert s.send(chain().add("two.example").message).arc == "fail"
    with Dns(records()) as dns, server(dns, table) as t:  # without a database
        c = Client(t.port)
        assert c.mail("bob@example.net", ["alice@example.org"], chain().add().message)[0] == 451
        assert c.mail("bob@example.net", ["alice@example.org"], MESSAGE, helo=None)[0] == 250
        c.close()
        assert "trusted sealers could not be asked about list.example" in t.log_text()


def test_large_bodies_go_to_the_pool():
    body = b"".join(b"line %d of a long mail\r\n" % n for n in range(200000))
    c = Chain(ed(), MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body).add()
    with Dns(records()) as dns, server(dns, "trusted_sealers: { table: sealers }", "list.example\n") as t:
        s = Session(t, Result)
        got = s.send(c.message)
        assert (got.arc, got.trusted) == ("pass", "yes"), got
        assert s.send(c.message.replace(b"line 199999", b"line 199998")).arc == "fail"


def test_a_client_that_leaves():
    """While DNS is asked: nobody waits for the answer, and nothing is kept (ASan would tell)."""
    good = chain().add().add("two.example").message
    with Dns({}, "!timeout") as dns, server(dns) as t:
        for n in range(5):
            c = Client(t.port)
            for line in ("EHLO client.example", "MAIL FROM:<bob@example.net>", "RCPT TO:<alice@example.org>", "DATA"):
                c.cmd(line)
            asked = len(dns.asked)
            c.send(dotted(good) + b".\r\n")
            wait_for(lambda: len(dns.asked) > asked or n > 0, 20)  # what did not answer is remembered
            c.close()
        assert Session(t, Result).send(MESSAGE).arc == "none"


def test_metrics():
    with Dns(records()) as dns, server(dns) as t:
        s = Session(t, Result)
        for message in (MESSAGE, chain().add().message, chain().add(cv="fail").message):
            s.send(message)
        text = t.cli("metrics").stdout
        for name in ("none", "pass", "fail"):
            assert "tern_arc_verify_%s_total 1" % name in text, text


if __name__ == "__main__":
    need_peers()
    try:
        run([test_peers, test_why, test_who_is_trusted, test_good_chains_that_prove_too_little, test_what_the_first_sealer_found,
             test_tags_and_keys, test_broken_chains, test_fifty_sets, test_a_hundred_keys, test_weak_keys, test_skew, test_dns_that_does_not_answer, test_trusted_sealers_in_a_database,
             test_large_bodies_go_to_the_pool, test_a_client_that_leaves, test_metrics])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
