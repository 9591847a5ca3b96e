#!/usr/bin/python3
"""spf in the real server, its DNS by a server that knows the zone of a test: the openspf suite, and pyspf beside it.

A client's address is told by a PROXY header; a Lua step behind answers RCPT with what it reads of the results.
"""
import json
import os
import random
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from spfzone import Server, ServFail, Zone
from ternlib import MODULES, SLOW, Client, Tern, need_shared, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", proxy: [127.0.0.1], policy: inbound } }
policies:
  inbound:
    - spf: { {options} }
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - lua: { script: tell.lua }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: boxes }]
"""
TELL = r"""
local tern = require "tern"
tern.on("rcpt", function(txn, rcpt)
  local r = txn.results
  return tern.reject(550, "5.7.1", r.spf .. " [" .. r.spf_domain .. "] " .. r.spf_detail)
end)
"""
SUITE = "identity: mail, exempt: [], fail: reject, refuse_at: now"
# What SMTP cannot say, or a DNS name cannot hold.
NOT_BY_SMTP = {
    "toolonglabel": "MAIL FROM with such a domain is refused as it is",
    "nolocalpart": "MAIL FROM:<@example.net> is no address",
    "macro-mania-in-domain": "a name with a blank in it is not asked about",
}
CASE_FREE = {"v-macro-ip6"}  # test_spf_suite.c says why


def server(dns, options):
    return Tern(CONFIG.replace("{options}", options), files={"tell.lua": TELL}, dns=dns.port).start()


def ask(tern, host, helo, sender, refused=550):
    """(result, explanation or None, reply) of a sender."""
    c = Client(tern.port, greet=False)
    six = ":" in host
    c.send("PROXY TCP%d %s %s 40000 25\r\n" % (6 if six else 4, host, "::1" if six else "127.0.0.1"))
    assert c.reply()[0] == 220
    assert c.cmd("EHLO " + helo)[0] == 250
    code, text = c.cmd("MAIL FROM:<%s>" % sender)
    if code == 250:
        code, text = c.cmd("RCPT TO:<alice@example.org>")
        assert code == refused, (code, text)
        result = re.match(r"\d\.\d\.\d+ (\w+)", text).group(1)
        why = None
    else:
        assert code == 550 and text.startswith("5.7.23 "), (code, text)
        result = "fail"
        why = re.search(r"That domain says: (.*?)(?: \[\w+\])?$", text.replace("\n", " "))
        why = why.group(1) if why else "DEFAULT"
    c.close()
    return result, why, text


def address(sender):
    local, _, domain = sender.rpartition("@")
    return '"%s"@%s' % (local, domain) if " " in local else sender


def test_suite():
    """The whole suite, through SMTP and DNS."""
    path = need_shared("corpora", "spf", "rfc7208-tests.part.yml")
    import yaml
    with open(path) as f:
        scenarios = list(yaml.safe_load_all(f))
    wrong, count, left = [], 0, set()
    for scenario in scenarios:
        with Server(Zone(scenario["zonedata"])) as dns, server(dns, SUITE) as t:
            for name, case in scenario["tests"].items():
                if name in NOT_BY_SMTP:
                    left.add(name)
                    continue
                count += 1
                wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
                got, why, text = ask(t, case["host"], case["helo"], address(case["mailfrom"]))
                good = got in wanted
                if good and got == "fail" and "explanation" in case:
                    good = why == case["explanation"] or (name in CASE_FREE and why.lower() == case["explanation"].lower())
                if not good:
                    wrong.append("%s: %s, not %s; %s" % (name, got, wanted, text))
    print("     %d cases" % count)
    assert left == set(NOT_BY_SMTP), left
    assert count + len(left) == 118 and not wrong, "\n".join(wrong)


# ---- pyspf beside it ----

HOSTS = ["192.0.2.1", "192.0.2.130", "198.51.100.7", "2001:db8::1"]
FIXED = {
    "one.test": [{"A": "192.0.2.1"}, {"AAAA": "2001:db8::1"}, {"MX": [10, "mx.one.test"]}, {"MX": [20, "two.test"]}],
    "mx.one.test": [{"A": "198.51.100.7"}],
    "two.test": [{"A": "192.0.2.130"}],
    "1.2.0.192.in-addr.arpa": [{"PTR": "one.test"}],
    "130.2.0.192.in-addr.arpa": [{"PTR": "liar.test"}, {"PTR": "two.test"}],
    "bob.one.test": [{"A": "127.0.0.2"}],
    "1.2.0.192.in-addr.one.test": [{"A": "127.0.0.2"}],
    "bob+tag.two.test": [{"A": "127.0.0.2"}],
    "down.test": ["TIMEOUT"],
    "why.test": [{"TXT": "%{i} is not %{d}"}],
}
TERMS = ["a:one.test", "a:two.test/25", "mx:one.test", "mx", "a", "ptr", "ptr:one.test", "exists:%{l}.one.test", "exists:%{ir}.%{v}.one.test",
         "exists:%{L}.two.test", "ip4:192.0.2.0/25", "ip4:198.51.100.7", "ip6:2001:db8::/32", "ip6:2001:db8::2", "a:no.test", "a:down.test",
         "include:%{d1r}.rec0.test", "include:rec1.test", "include:rec2.test", "include:norec.test", "all", "a:one.test//64", "x=y",
         "a:%{p}", "exists:%{o2}.no.test", "a/33", "ip4:1.2", "mx:one.test/24//32", "a:%{h}"]
ENDS = ["", " -all", " ~all", " ?all", " redirect=rec1.test", " redirect=norec.test", " -all exp=why.test", " redirect=rec2.test exp=why.test"]


def made_up(rng):
    rows = dict(FIXED)
    for i in range(3):
        rows["rec%d.test" % i] = [{"TXT": "v=spf1 " + " ".join(rng.choice("+-~?") + rng.choice(TERMS[:16]) for _ in range(rng.randint(1, 2)))}]
    names = []
    for i in range(60):
        terms = [rng.choice(TERMS) for _ in range(rng.randint(0, 4))]
        terms = [t if "=" in t.split(":")[0] else rng.choice(["", "", "-", "~", "?"]) + t for t in terms]
        rows["t%d.test" % i] = [{"TXT": "v=spf1 " + " ".join(terms) + rng.choice(ENDS)}]
        names.append("t%d.test" % i)
    return rows, names


def pyspf(spf, host, sender):
    result, _, text = spf.query(i=host, s=sender, h="one.test", receiver="mx.test").check()
    if "Void" not in text:
        return [result]
    limit, spf.MAX_VOID_LOOKUPS = spf.MAX_VOID_LOOKUPS, 100
    try:
        return [result, spf.query(i=host, s=sender, h="one.test", receiver="mx.test").check()[0]]
    finally:
        spf.MAX_VOID_LOOKUPS = limit


def test_pyspf():
    """The same result as pyspf's, over made-up records; but it counts void look-ups where RFC 7208 4.6.4 counts terms."""
    try:
        import spf
    except ImportError:
        print("     left out: no python3-spf")
        return
    rng = random.Random(7208)
    rows, names = made_up(rng)
    zone = Zone(rows)

    def look_up(name, kind, strict=True, timeout=None, **_):
        try:
            _, values = zone.find(name, kind)
        except ServFail as e:
            raise spf.TempError("DNS " + str(e))
        if kind == "TXT":
            values = [[v.encode()] for v in values]
        return [((name, kind), tuple(v) if kind == "MX" else v) for v in values]

    spf.DNSLookup = look_up
    wrong, seen = [], {}
    with Server(zone) as dns, server(dns, SUITE) as t:
        for name in names:
            for host in HOSTS:
                sender = rng.choice(["bob", "bob+tag"]) + "@" + name
                theirs = pyspf(spf, host, sender)
                ours, _, text = ask(t, host, "one.test", sender)
                seen[ours] = seen.get(ours, 0) + 1
                if ours not in theirs:
                    wrong.append("%s from %s: %s, pyspf %s; %s; %s" % (sender, host, ours, " or ".join(theirs), rows[name], text))
    print("     %s" % json.dumps(seen, sort_keys=True))
    assert len(seen) >= 6, seen
    assert not wrong, "%d:\n%s" % (len(wrong), "\n".join(wrong))


def test_why_and_time():
    """tern why names record and result; DNS that says nothing is temperror when lookup_time is over, not the step's error."""
    zone = Zone({"x.test": [{"TXT": "v=spf1 ip4:203.0.113.0/24 a:silent.test -all"}], "y.test": [{"TXT": "v=spf1 ip4:203.0.113.0/24 -all"}]})
    with Server(zone) as dns, server(dns, "exempt: [], fail: reject, temperror: defer") as t:
        c = Client(t.port, greet=False)
        c.send("PROXY TCP4 192.0.2.1 127.0.0.1 40000 25\r\n")
        assert c.reply()[0] == 220
        c.cmd("EHLO client.test")
        assert c.cmd("MAIL FROM:<bob@y.test>")[0] == 250
        code, text = c.cmd("RCPT TO:<alice@example.org>")
        assert code == 550 and text.startswith("5.7.23 SPF: 192.0.2.1 is not allowed to send mail for y.test"), (code, text)
        ident = re.search(r"\[(\w+)\]$", text).group(1)
        c.cmd("RSET")
        c.close()
        why = wait_for(lambda: t.cli("why", "--json", ident, check=False).stdout)  # written by another thread
        assert "y.test TXT" in why and "v=spf1 ip4:203.0.113.0/24 -all" in why, why
        assert "spf=fail (-all matched) smtp.mailfrom=y.test" in why, why
        assert t.metric("tern_spf_fail_total") == 1
    with Server(zone) as dns:
        dns.silent.add("silent.test")
        config = CONFIG.replace("{options}", "exempt: [], temperror: defer, identity: mail, lookup_time: %ds" % (4 + SLOW))
        config = config.replace("timeout: 10s", "timeout: 60s")  # so that it is over first
        with Tern(config, files={"tell.lua": TELL}, dns=dns.port).start() as t:
            c = Client(t.port, greet=False)
            c.send("PROXY TCP4 192.0.2.1 127.0.0.1 40000 25\r\n")
            assert c.reply()[0] == 220
            c.cmd("EHLO client.test")
            assert c.cmd("MAIL FROM:<bob@x.test>")[0] == 250
            code, text = c.cmd("RCPT TO:<alice@example.org>")
            assert code == 451 and text.startswith("4.7.24 SPF: DNS does not answer for silent.test"), (code, text)
            c.close()
        config = config.replace(", identity: mail", "")
        with Tern(config, files={"tell.lua": TELL}, dns=dns.port).start() as t:  # the HELO name has used up the time
            assert ask(t, "192.0.2.1", "silent.test", "bob@[192.0.2.1]")[0] == "none"
            with_time = ask(t, "192.0.2.1", "silent.test", "bob@y.test", 451)[2]
            assert with_time.startswith("4.7.24 SPF: DNS does not answer for y.test"), with_time


def test_forwarders_in_a_database():
    """A table that is asked elsewhere; when it cannot be, the step has failed."""
    if not os.path.exists(os.path.join(MODULES, "table_sql.so")):
        print("     left out: no table_sql")
        return
    zone = Zone({"y.test": [{"TXT": "v=spf1 ip4:203.0.113.0/24 -all"}]})
    table = 'identity: mail, fail: reject, refuse_at: now, exempt: [], ' \
            'forwarders: { sql: { driver: sqlite, path: hosts.db, query: "SELECT 1 FROM hosts WHERE address = $1" } }'
    with Server(zone) as dns:
        t = Tern(CONFIG.replace("{options}", table), files={"tell.lua": TELL}, dns=dns.port)
        with sqlite3.connect(os.path.join(t.dir, "hosts.db")) as db:
            db.execute("CREATE TABLE hosts (address TEXT)")
            db.execute("INSERT INTO hosts VALUES ('198.51.100.7'), ('2001:db8::7')")
        db.close()
        with t.start():
            for host, wanted in (("198.51.100.7", "not_run"), ("2001:db8::7", "not_run"), ("198.51.100.8", "fail")):
                assert ask(t, host, "client.test", "bob@y.test")[0] == wanted, host
        t = Tern(CONFIG.replace("{options}", table.replace("hosts WHERE", "nothing WHERE")), files={"tell.lua": TELL}, dns=dns.port)
        sqlite3.connect(os.path.join(t.dir, "hosts.db")).execute("CREATE TABLE hosts (address TEXT)").connection.close()
        with t.start():
            c = Client(t.port, greet=False)
            c.send("PROXY TCP4 198.51.100.7 127.0.0.1 40000 25\r\n")
            assert c.reply()[0] == 220 and c.cmd("EHLO client.test")[0] == 250
            code, text = c.cmd("MAIL FROM:<bob@y.test>")
            assert code == 451 and text.startswith("4.3.0"), (code, text)
            c.close()


if __name__ == "__main__":
    run([test_suite, test_pyspf, test_why_and_time, test_forwarders_in_a_database])
