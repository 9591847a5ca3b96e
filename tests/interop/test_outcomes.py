#!/usr/bin/python3
"""What spf and dmarc remember of a sender: the same result, record and `tern why` without a question, and nothing once DNS, the
options or the mail say something else.
"""
import json
import os
import re
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from spfzone import Server, Zone
from ternlib import Client, Tern, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
loops: {loops}
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", proxy: [127.0.0.1], policy: inbound } }
policies:
  inbound:
    - spf: { {spf} }
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - dkim_verify
    - dmarc: { {dmarc} }
    - lua: { script: tell.lua }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: boxes }]
"""
TELL = r"""
local tern = require "tern"
local names = { "spf", "spf_helo", "spf_identity", "spf_domain", "spf_mechanism", "dmarc", "dmarc_policy", "dmarc_disposition",
                "dmarc_override", "dmarc_domain", "dmarc_policy_domain" } -- a reply has no room for the details: the record has them
tern.on("message", function(txn)
  local out = {}
  for i, name in ipairs(names) do out[i] = name .. "=" .. txn.results[name] end
  return tern.reject(550, "5.7.0", table.concat(out, "|"))
end)
"""
PASS = [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}]
SPF_HITS, DMARC_HITS = "tern_spf_cache_hits_total", "tern_dmarc_cache_hits_total"


def config(spf, dmarc, loops=1):
    return CONFIG.replace("{spf}", spf).replace("{dmarc}", dmarc).replace("{loops}", str(loops))


def server(dns, spf="exempt: []", dmarc="exempt: []", loops=1):
    return Tern(config(spf, dmarc, loops), files={"tell.lua": TELL}, dns=dns.port).start()


def send(t, sender="bob@spf.test", host="192.0.2.1", author="a.test", helo="client.test", look=True):
    """(results, inputs of the steps as `tern why` has them) of a mail."""
    c = Client(t.port, greet=False)
    c.send("PROXY TCP%d %s %s 40000 25\r\n" % (6 if ":" in host else 4, host, "::1" if ":" in host else "127.0.0.1"))
    assert c.reply()[0] == 220
    code, text = c.mail(sender, ["alice@example.org"], "From: Bob <bob@%s>\r\nSubject: hello\r\n\r\nHello\r\n" % author, helo=helo)
    c.close()
    assert code == 550, (code, text)
    text, ident = re.match(r"(.*?)(?: \[(\w+)\])?$", text.replace("\n", " ")).groups()
    results = text if not text.startswith("5.7.0 ") else dict(p.split("=", 1) for p in text.split(" ", 1)[1].split("|"))
    return results, inputs(t, ident) if ident and look else []


def inputs(t, ident):
    """The record is written by another thread."""
    def written():
        rows = [json.loads(line) for line in t.cli("why", "--json", ident, check=False).stdout.splitlines()]
        return [r for r in rows if r["type"] == "transaction"]
    return [(s["step"], s.get("inputs")) for s in wait_for(written)[0]["steps"] if s["step"] in ("spf", "dmarc")]


def hits(t):
    return t.metric(SPF_HITS), t.metric(DMARC_HITS)


def asked(dns):
    """Questions of spf and dmarc so far."""
    return len([q for q in dns.asked if q[1] != "PTR"])


def test_same():
    """The second mail asks nothing, and results and record are the same octet for octet; another client, sender, author are others."""
    rows = {"spf.test": [{"TXT": "v=spf1 include:in.test a:no.test -all exp=why.test"}], "in.test": PASS, "client.test": [{"TXT": "v=spf1 ~all"}],
            "why.test": [{"TXT": "not for %{i}"}], "_dmarc.a.test": [{"TXT": "v=DMARC1; p=reject; sp=quarantine; t=y; rua=mailto:x@a.test"}],
            "_dmarc.spf.test": [{"TXT": "v=DMARC1; p=none"}], "broken.test": [{"TXT": "v=spf1 foo"}], "two.test": PASS + PASS,
            "_dmarc.two.test": [{"TXT": "v=DMARC1; p=none"}, {"TXT": "v=DMARC1; p=none"}], "_dmarc.broken.test": [{"TXT": "v=DMARC1; p=x"}]}
    cases = [
        dict(), dict(host="192.0.2.2"), dict(host="2001:db8::1"), dict(sender="eve@spf.test"), dict(author="mail.a.test"), dict(author="spf.test"),
        dict(author="x.spf.test"), dict(sender=""), dict(sender="bob@broken.test"), dict(sender="bob@two.test"), dict(author="two.test"),
        dict(author="broken.test"), dict(author="nothing.test"), dict(sender="bob@[192.0.2.1]"), dict(helo="[192.0.2.1]"), dict(helo="SPF.Test"),
        dict(sender="bob@nothing.test"), dict(sender="bob@SPF.test", author="SPF.Test"), dict(author="spf.test", host="192.0.2.2"),
        dict(author="spf.test", sender="bob@broken.test"),
    ]
    with Server(Zone(rows)) as dns, server(dns, "exempt: []", "exempt: []") as t:
        dns.ttl = dns.negative_ttl = 600
        first = [send(t, **case) for case in cases]
        before, questions = hits(t), asked(dns)
        again = [send(t, **case) for case in cases]
        assert asked(dns) == questions
        for case, one, other in zip(cases, first, again):
            assert one == other, (case, one, other)
        after = hits(t)
        assert after[0] - before[0] == after[1] - before[1] == len(cases), (before, after)
        assert dict(first[0][1])["spf"]["result"].startswith("spf=pass (include:in.test matched) smtp.mailfrom=spf.test; spf=softfail"), first[0]
        assert first[1][0]["spf"] == "fail" and first[2][0]["spf"] == "fail" and first[3][0]["spf"] == "pass"
        assert first[5][0]["dmarc"] == "pass" and first[0][0]["dmarc"] == first[-2][0]["dmarc"] == first[-1][0]["dmarc"] == "fail"
        shown = dict(again[0][1])
        assert shown["spf"]["spf.test TXT"] == rows["spf.test"][0]["TXT"], shown
        assert shown["dmarc"]["_dmarc.a.test TXT"] == rows["_dmarc.a.test"][0]["TXT"] and "policy" in shown["dmarc"], shown
    with Server(Zone(rows)) as dns, server(dns, "exempt: [], cache: 0", "exempt: [], cache: 0") as t:  # and as it is without a cache
        dns.ttl = dns.negative_ttl = 600
        for case, one in zip(cases, first):
            for _ in range(2):
                assert send(t, **case) == one, case
        assert hits(t) == (0, 0)


def test_refused_alike():
    """A refusal from memory has the explanation, too."""
    rows = {"spf.test": [{"TXT": "v=spf1 -all exp=why.test"}], "why.test": [{"TXT": "not from %{c}, and not in the name of %{d}"}]}
    with Server(Zone(rows)) as dns, server(dns, "exempt: [], fail: reject, refuse_at: now") as t:
        said = [send(t)[0] for _ in range(2)] + [send(t, sender="eve@spf.test")[0]]
        assert said[0].endswith("That domain says: not from 192.0.2.1, and not in the name of spf.test"), said
        assert said[0] == said[1] == said[2] and t.metric(SPF_HITS) > 0, said
        assert "192.0.2.7" in send(t, host="192.0.2.7")[0]


def test_what_a_macro_brings_in():
    """A record that looks at local part, receiver or time is evaluated each time, also by way of another; one that looks at the HELO
    name, for each of those."""
    rows = {"l.test": [{"TXT": "v=spf1 exists:%{l}.ok.test -all"}], "bob.ok.test": [{"A": "127.0.0.2"}],
            "s.test": [{"TXT": "v=spf1 exists:%{S}.ok.test -all"}],
            "h.test": [{"TXT": "v=spf1 exists:%{h}.ok.test -all"}], "good.test.ok.test": [{"A": "127.0.0.2"}],
            "in.test": [{"TXT": "v=spf1 include:l.test -all"}], "to.test": [{"TXT": "v=spf1 redirect=l.test"}],
            "late.test": [{"TXT": "v=spf1 ip4:192.0.2.9 exists:%{l}.ok.test -all"}],
            "exp.test": [{"TXT": "v=spf1 -all exp=why.test"}], "why.test": [{"TXT": "no, %{l}"}]}
    with Server(Zone(rows)) as dns, server(dns, "exempt: [], identity: mail, fail: reject, refuse_at: now") as t:
        dns.ttl = dns.negative_ttl = 600
        for _ in range(2):
            for domain in ("l.test", "in.test", "to.test", "late.test"):
                for local, passes in (("bob", True), ("eve", False), ("bob", True)):
                    got = send(t, sender="%s@%s" % (local, domain))[0]
                    assert passes == (isinstance(got, dict) and got["spf"] == "pass"), (local, domain, got)
            for local in ("bob", "eve"):
                assert send(t, sender=local + "@exp.test")[0].endswith("no, " + local)
                assert send(t, sender=local + "@s.test")[0].startswith("5.7.23")
        assert t.metric(SPF_HITS) == 0
        for helo, passes in 2 * (("good.test", True), ("bad.test", False), ("Good.test", True)):
            got = send(t, sender="bob@h.test", helo=helo)[0]
            assert passes == (isinstance(got, dict) and got["spf"] == "pass"), (helo, got)
        assert t.metric(SPF_HITS) == 3


def test_until_dns_says_otherwise():
    """What the record says anew counts when its time is over; of what DNS failed to say nothing is kept."""
    zone = Zone({"spf.test": PASS, "_dmarc.a.test": [{"TXT": "v=DMARC1; p=reject"}], "down.test": ["TIMEOUT"], "_dmarc.down.test": ["TIMEOUT"]})
    with Server(zone) as dns, server(dns, "exempt: [], identity: mail") as t:
        dns.ttl = dns.negative_ttl = 2
        assert send(t)[0]["spf"] == "pass"
        zone.rows[("spf.test", "TXT")] = ["v=spf1 -all"]
        zone.rows[("_dmarc.a.test", "TXT")] = ["v=DMARC1; p=quarantine"]
        wait_for(lambda: [send(t)[0][r] for r in ("spf", "dmarc_policy")] == ["fail", "quarantine"], 30, 0.2)
        del zone.rows[("spf.test", "TXT")], zone.rows[("_dmarc.a.test", "TXT")]
        wait_for(lambda: [send(t)[0][r] for r in ("spf", "dmarc")] == ["none", "none"], 30, 0.2)
        zone.put("spf.test", "TXT", "v=spf1 ~all")  # what was not there comes to be
        zone.put("_dmarc.a.test", "TXT", "v=DMARC1; p=none")
        wait_for(lambda: [send(t)[0][r] for r in ("spf", "dmarc")] == ["softfail", "fail"], 30, 0.2)
        dns.ttl = dns.negative_ttl = 600
        before = hits(t)
        for _ in range(3):
            got = send(t, sender="bob@down.test", author="down.test")[0]
            assert (got["spf"], got["dmarc"]) == ("temperror", "temperror"), got
        assert hits(t) == before
        zone.fails.clear()
        zone.put("down.test", "TXT", "v=spf1 ip4:192.0.2.1 -all")
        zone.put("_dmarc.down.test", "TXT", "v=DMARC1; p=reject")
        wait_for(lambda: [send(t, sender="bob@down.test", author="down.test")[0][r] for r in ("spf", "dmarc")] == ["pass", "pass"], 30, 0.2)


def test_reload():
    """A new configuration begins without memory, and its options count."""
    rows = {"spf.test": [{"TXT": "v=spf1 exists:a.no.test exists:b.no.test ip4:192.0.2.1 -all"}], "_dmarc.a.test": [{"TXT": "v=DMARC1; p=reject; pct=100; t=y"}]}
    with Server(Zone(rows)) as dns, server(dns, "exempt: [], identity: mail") as t:
        dns.negative_ttl = 600
        assert send(t)[0]["spf"] == "pass" and send(t)[0]["dmarc_policy"] == "quarantine"
        assert hits(t) == (1, 1)
        t.cli("reload")
        send(t)
        assert hits(t) == (1, 1)
        send(t)
        assert hits(t) == (2, 2)
        t.write_config(config("exempt: [], identity: mail, void_lookups: 1", "exempt: [], compat: rfc7489"))
        t.cli("reload")
        for _ in range(2):
            got = send(t)[0]
            assert got["spf"] == "permerror" and got["dmarc_policy"] == "reject", got


def test_bound():
    """With room for four the fifth makes the first be asked anew; with `cache: 0` there is no memory at all."""
    rows = {"d%d.test" % i: PASS for i in range(5)}
    rows.update({"_dmarc.d%d.test" % i: [{"TXT": "v=DMARC1; p=none"}] for i in range(5)})
    with Server(Zone(rows)) as dns, server(dns, "exempt: [], identity: mail, cache: 4", "exempt: [], cache: 4") as t:
        dns.ttl = dns.negative_ttl = 600

        def each(numbers):
            before = hits(t)
            for i in numbers:
                got = send(t, sender="bob@d%d.test" % i, author="d%d.test" % i)[0]
                assert got["spf"] == got["dmarc"] == "pass", got
            return tuple(int(b - a) for a, b in zip(before, hits(t)))
        assert each(range(4)) == (0, 0)
        assert each(range(4)) == (4, 4)
        assert each([4]) == (0, 0)
        assert each([4, 3, 2, 1]) == (4, 4)
        assert each([0]) == (0, 0)


def test_at_once():
    """Several loops, more senders than there is room for, answers that end, reloads: each mail has its own result."""
    rows = {"d%d.test" % i: PASS for i in range(9)}
    rows.update({"_dmarc.d%d.test" % i: [{"TXT": "v=DMARC1; p=none"}] for i in range(9)})
    wrong, sent = [], []

    def many(t, k):
        for i in range(40):
            n, passes = (i * 7 + k) % 9, i % 2 == 0
            got = send(t, sender="bob@d%d.test" % n, author="d%d.test" % n, host="192.0.2.%d" % (1 if passes else 2), look=False)[0]
            sent.append(got)
            word = "pass" if passes else "fail"
            if (got["spf"], got["spf_domain"], got["dmarc"], got["dmarc_domain"]) != (word, "d%d.test" % n, word, "d%d.test" % n):
                wrong.append((n, passes, got))
    with Server(Zone(rows)) as dns, server(dns, "exempt: [], cache: 8", "exempt: [], cache: 8", loops=4) as t:
        dns.ttl = dns.negative_ttl = 1
        threads = [threading.Thread(target=many, args=(t, k)) for k in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            t.cli("reload")
        for thread in threads:
            thread.join()
        assert len(sent) == 8 * 40 and not wrong, (len(sent), wrong[:3])


if __name__ == "__main__":
    run([test_same, test_refused_alike, test_what_a_macro_brings_in, test_until_dns_says_otherwise, test_reload, test_bound, test_at_once])
