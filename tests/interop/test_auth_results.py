#!/usr/bin/python3
"""auth_results in the real server: its field by other people's parsers, with hostile values, and with every step together.

Peers: authres of Python (the grammar of RFC 8601), Mail::AuthenticationResults of Perl.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from arcpeers import Dkimpy as Sealer
from dkimpeers import Dkimpy, Key, crlf
from spfzone import Server, Zone
from ternlib import SLOW, Client, Tern, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound, proxy: 127.0.0.1 } }
policies:
  inbound:
{steps}
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf } }
routes: [{ class: local, transport: boxes }]
{more}
"""
STEPS = """
    - spf: { exempt: [] }
    - domains: { local: [example.org], recipients: [alice@example.org, bob@example.org] }
    - dkim_verify
    - auth_results
"""
ALL_STEPS = """
    - iprev: { exempt: [] }
    - spf: { exempt: [] }
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - dkim_verify
    - arc_verify
    - dmarc: { exempt: [] }
    - auth_results
    - lua: { script: tell.lua }
"""
TELL = r"""
local tern = require "tern"
tern.on("message", function(txn)
  for _, name in ipairs { "iprev", "spf", "dkim", "arc", "dmarc" } do
    txn:add_header("X-" .. name, (txn.results[name .. "_detail"]:gsub("; ", ";\r\n\t")))
  end
end)
"""
FOLDER = tempfile.mkdtemp(prefix="tern-authres-")
MESSAGE = crlf("From: Bob <bob@example.net>\nTo: alice@example.org\nSubject: hello\n"
               "Date: Mon, 02 Mar 2026 10:00:00 +0000\nMessage-ID: <1@example.net>\n\nHello Alice\n")
NAME = "Authentication-Results"
KEYS = {}


def key(kind):
    if kind not in KEYS:
        KEYS[kind] = Key(FOLDER, kind, kind)
    return KEYS[kind]


def zone():
    return Zone({"example.net": [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}],
                 "s1._domainkey.example.net": [{"TXT": key("rsa").record}],
                 "e1._domainkey.example.net": [{"TXT": key("ed25519").record}]})


def server(dns, steps=STEPS, more="", files=None):
    return Tern(CONFIG.replace("{steps}", steps).replace("{more}", more), dns=dns.port, files=files or {}).start()


def connect(tern, address="192.0.2.1"):
    c = Client(tern.port, greet=False)
    c.send("PROXY TCP%d %s %s 40000 25\r\n" % ((6, address, "::1") if ":" in address else (4, address, "127.0.0.1")))
    assert c.reply()[0] == 220
    return c


def deliver(tern, message, helo="client.example", sender="bob@example.net", address="192.0.2.1", to="alice"):
    """The mail as it was delivered."""
    c = connect(tern, address)
    code, text = c.mail(sender, ["%s@example.org" % to], message, helo=helo)
    c.close()
    assert code == 250, (code, text)
    ident = queue_id(text).encode()
    return wait_for(lambda: next((m for m in tern.maildir(to) if ident in m), None), 30)


def fields(mail, name=NAME):
    header = mail.partition(b"\r\n\r\n")[0] + b"\r\n"
    return [v.decode("utf-8") for v in re.findall(rb"^" + name.encode() + rb"[ \t]*:[ \t]?(.*?)\r\n(?![ \t])", header, re.M | re.S | re.I)]


def by_authres(value):
    """It leaves the backslashes of quoted strings in."""
    import authres
    h = authres.AuthenticationResultsHeader.parse("%s: %s" % (NAME, value))
    return h.authserv_id, [(r.method, r.result, [("%s.%s" % (p.type, p.name), re.sub(r"\\(.)", r"\1", p.value))
                                                  for p in r.properties]) for r in h.results]


PERL = """use Mail::AuthenticationResults::Parser; local $/; my $v = <STDIN>;
print Mail::AuthenticationResults::Parser->new->parse($v)->as_json;"""


def by_perl(value):
    r = subprocess.run(["perl", "-e", PERL], input=value.encode(), capture_output=True, timeout=60 * SLOW)
    assert r.returncode == 0, r.stderr
    got = json.loads(r.stdout)
    return got["authserv_id"]["value"], [(e["key"], e["value"], [(s["key"], s["value"]) for s in e["children"] if s["type"] == "subentry"])
                                         for e in got["children"]]


def signed(kind="rsa", message=MESSAGE):
    return Dkimpy.sign(message, key(kind), selector="s1" if kind == "rsa" else "e1")


def begin_of_b(message):
    field = re.search(rb"^DKIM-Signature:.*?\r\n(?![ \t])", message, re.M | re.S).group(0)
    return re.sub(rb"\s", b"", re.search(rb"\bb=([^;]+)", field).group(1))[:8].decode()


def unfolded(value):
    return re.sub(r"\r\n\t", " ", value)


def quoted(b):
    return '"%s"' % b if re.search("[/=]", b) else b


def test_all_together():
    """Every step in one policy, with real signatures and a real chain: the whole field, and what a script reads."""
    z = zone()
    z.put("1.2.0.192.in-addr.arpa", "PTR", "mail.example.net.")
    z.put("mail.example.net", "A", "192.0.2.1")
    z.put("_dmarc.example.net", "TXT", "v=DMARC1; p=reject; sp=quarantine")
    z.put("s1._domainkey.list.test", "TXT", key("rsa").record)
    with Server(z) as dns, server(dns, ALL_STEPS, files={"tell.lua": TELL}) as t:
        own = signed()  # once: dkimpy signs the time
        both = signed("ed25519", own)
        mail = Sealer.seal(both, key("rsa"), "list.test", "spf=pass")
        forged = b"Authentication-Results: mx.test; dmarc=pass header.from=bank.example\r\n"
        got = deliver(t, forged + mail)
        value, mine, _ = fields(got) + [""] * (3 - len(fields(got)))
        want = [
            "iprev=pass (mail.example.net) policy.iprev=192.0.2.1",
            "spf=pass (ip4:192.0.2.0/24 matched) smtp.mailfrom=example.net",
            "spf=none (no SPF record) smtp.helo=client.example",
            "dkim=pass (256-bit ed25519 key) header.d=example.net header.i=@example.net header.s=e1 header.a=ed25519-sha256 header.b="
            + quoted(begin_of_b(both)),
            "dkim=pass (2048-bit rsa key) header.d=example.net header.i=@example.net header.s=s1 header.a=rsa-sha256 header.b="
            + quoted(begin_of_b(own)),
            "arc=pass (i=1) header.oldest-pass=0 smtp.remote-ip=192.0.2.1",
            "dmarc=pass (p=reject) header.from=example.net",
        ]
        lines = unfolded(value).split("; ")
        assert lines[0] == "mx.test", value
        assert lines[1:] == want, "\n".join(["told:"] + lines + ["wanted:"] + want)
        assert all(len(l) <= 78 for l in ("%s: %s" % (NAME, value)).split("\r\n")), value
        assert unfolded(value) == "mx.test; " + "; ".join(
            unfolded(fields(got, "X-" + name)[0]) for name in ("iprev", "spf", "dkim", "arc", "dmarc")), got
        assert "bank.example" not in got.decode() and mine == "", got
        assert by_authres(value)[1] and len(by_authres(value)[1]) == 7, value


def why_of(tern, text):
    ident = re.search(r"\[(\w+)\]$", text).group(1)
    return wait_for(lambda: tern.cli("why", ident, check=False).stdout, 30)


def test_why_a_mail_was_refused():
    """The record or key that decided, and DNS's answers, for refusals by spf, by a script that reads results.dkim, and by dmarc."""
    z = zone()
    z.put("_dmarc.example.net", "TXT", "v=DMARC1; p=reject")
    other = Key(FOLDER, "other", "rsa")
    steps = ALL_STEPS.replace("spf: { exempt: [] }", "spf: { exempt: [], fail: reject, identity: mail }")
    with Server(z) as dns, server(dns, steps, files={"tell.lua": TELL}) as t:
        c = connect(t, "203.0.113.1")
        code, text = c.mail("bob@example.net", ["alice@example.org"], MESSAGE)
        assert code == 550 and text.startswith("5.7.23"), (code, text)
        c.cmd("RSET")
        why = why_of(t, text)
        assert "example.net TXT: v=spf1 ip4:192.0.2.0/24 -all" in why and "spf=fail (-all matched) smtp.mailfrom=example.net" in why, why
        c.close()
    lua = 'local tern = require "tern"\ntern.on("message", function(txn)\n' \
          '  if txn.results.dkim ~= "pass" then return tern.reject(550, "5.7.20", "No good signature") end\nend)\n'
    steps = ALL_STEPS.replace("tell.lua", "strict.lua").replace("    - auth_results\n", "")
    with Server(z) as dns, server(dns, steps, files={"strict.lua": lua}) as t:
        for mail, says in ((Dkimpy.sign(MESSAGE, other, selector="s1"), "dkim=fail (the header was changed"),
                           (signed().replace(b"Hello", b"Hallo"), "dkim=fail (the body was changed"),
                           (Dkimpy.sign(MESSAGE, other, selector="gone"), "dkim=permerror (there is no key")):
            c = connect(t)
            code, text = c.mail("bob@example.net", ["alice@example.org"], mail)
            assert code == 550 and text.startswith("5.7.20"), (code, text)
            why = why_of(t, text)
            assert says in why and "REJECT" in why and "No good signature" in why, why
            assert ("gone._domainkey.example.net: no TXT record" if b"gone" in mail else
                    "s1._domainkey.example.net: " + key("rsa").record[:60]) in why, why
            c.close()
    steps = ALL_STEPS.replace("dmarc: { exempt: [] }", "dmarc: { exempt: [], enforce: true }")
    with Server(z) as dns, server(dns, steps, files={"tell.lua": TELL}) as t:
        c = connect(t, "203.0.113.1")
        code, text = c.mail("bob@example.net", ["alice@example.org"], signed().replace(b"Hello", b"Hallo"))
        assert code == 550 and text.startswith("5.7.1"), (code, text)
        why = why_of(t, text)
        for part in ("v=DMARC1; p=reject", "v=spf1 ip4:192.0.2.0/24 -all", "s1._domainkey.example.net: v=DKIM1",
                     "dkim=fail (the body was changed", "spf=fail (-all matched)", "dmarc=fail"):
            assert part in why, (part, why)
        c.close()


def test_peers_read_what_was_meant():
    hostile = 'x";dkim=pass(header.d=bank.example\\'
    rows = [
        ("client.example", [("smtp.helo", "client.example")]),
        (hostile, [("smtp.helo", hostile)]),
        ("x;dkim=pass(", [("smtp.helo", "x;dkim=pass(")]),
        ("[192.0.2.1]", [("smtp.helo", "[192.0.2.1]")]),
        ("[IPv6:2001:db8::1]", [("smtp.helo", "[ipv6:2001:db8::1]")]),
        ("a=b/c,d", [("smtp.helo", "a=b/c,d")]),
        ("x" * 60 + "." + "y" * 60 + "." + "z" * 60 + ".example", [("smtp.helo", "x" * 60 + "." + "y" * 60 + "." + "z" * 60 + ".example")]),
    ]
    with Server(zone()) as dns, server(dns) as t:
        for helo, properties in rows:
            value, = fields(deliver(t, MESSAGE, helo=helo, sender=""))
            want = ("mx.test", [("spf", "none", properties), ("dkim", "none", [])])
            assert by_authres(value) == want, (value, by_authres(value))
            if "\\" not in value:  # Perl's reader dies of an escaped quote
                assert by_perl(value) == want, (value, by_perl(value))
        value, = fields(deliver(t, signed().replace(b"Hello", b"Hallo")))
        assert by_authres(value) == by_perl(value), value
        ident, results = by_authres(value)
        assert (ident, [r[:2] for r in results]) == ("mx.test", [("spf", "pass"), ("spf", "none"), ("dkim", "fail")]), value
        assert dict(results[2][2])["header.d"] == "example.net", value
        # A local part that would be a result of its own. Perl's reader knows no quoted local parts.
        value, = fields(deliver(t, b'DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=s1; h=From; bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=;'
                                b' b=AAAA; i=me=3B=20spf=3Dpass@example.net\r\n' + MESSAGE, sender=""))
        results = by_authres(value)[1]
        assert [r[:2] for r in results] == [("spf", "none"), ("dkim", "fail")], value
        assert ("header.i", '"me; spf=pass"@example.net') in results[1][2], value


def test_many_forged():
    """1,000 are removed, with all else left as it was; with one more the mail is refused."""
    other = b"Authentication-Results: mx.example.net; spf=pass\r\nX-Other: 1\r\n"
    forged = b"AUTHENTICATION-Results :\r\n (a\r\n comment) \"mx.\\test\"; dkim=pass header.d=bank.example\r\n"
    with Server(zone()) as dns, server(dns) as t:
        for count in (101, 1000):
            mail = deliver(t, forged * (count - 1) + other + forged + MESSAGE)
            values = fields(mail)
            assert len(values) == 2 and values[1] == "mx.example.net; spf=pass", values
            assert mail.endswith(other + MESSAGE) or (other + MESSAGE) in mail, mail[-600:]
        assert t.metric("tern_auth_results_removed_total") == 1101
        c = connect(t)
        code, text = c.mail("bob@example.net", ["alice@example.org"], forged * 1001 + MESSAGE)
        assert code == 550 and text.startswith("5.7.1 More than 1000 fields"), (code, text)


def test_forged_at_the_end_of_the_longest_header():
    """As many fields as a mail may have, the last one forged: what steps before add does not hide it."""
    steps = STEPS.replace("    - auth_results\n", "    - dmarc: { exempt: [] }\n    - auth_results\n")
    head, body = MESSAGE.split(b"\r\n\r\n", 1)
    forged = b"Authentication-Results: mx.test; dmarc=pass header.from=bank.example\r\n"
    fill = b"X-A: 1\r\n" * (10000 - 1 - len(head.split(b"\r\n")) - 1)
    mail = b"X-DMARC-Quarantine: no\r\n" + fill + head + b"\r\n" + forged + b"\r\n" + body
    known = zone()
    known.put("_dmarc.example.net", "TXT", "v=DMARC1; p=quarantine")
    with Server(known) as dns, server(dns, steps) as t:
        got = deliver(t, mail, address="198.51.100.1")
        values = fields(got)
        assert len(values) == 1 and "dmarc=fail" in values[0], values
        assert [v[:10] for v in fields(got, "X-DMARC-Quarantine")] == ["dmarc=fail"], fields(got, "X-DMARC-Quarantine")
        assert got.count(b"X-A: 1\r\n") == fill.count(b"X-A"), got.count(b"X-A: 1\r\n")
        code, text = connect(t).mail("bob@example.net", ["alice@example.org"], b"X-A: 1\r\n" + mail)
        assert code == 552, (code, text)


def test_every_group_has_the_field():
    """Two groups of recipients: one verification, the same field in both."""
    steps = STEPS + "    - lua: { script: mark.lua, mark: one }\n"
    mark = 'local tern = require "tern"\nlocal opt = tern.options { mark = tern.string({ default = "" }) }\n' \
           'tern.on("message", function(txn) txn:add_header("X-Mark", opt.mark) end)\n'
    more = "split: false\nprofiles: { other: { mark: { mark: two } } }\nprofile_for: { user: { bob@example.org: other } }\n"
    with Server(zone()) as dns, server(dns, steps, more, {"mark.lua": mark}) as t:
        c = connect(t)
        code, text = c.mail("bob@example.net", ["alice@example.org", "bob@example.org"], signed())
        assert code == 250, (code, text)
        boxes = [wait_for(lambda who=who: t.maildir(who), 30)[0] for who in ("alice", "bob")]
        assert [fields(b, "X-Mark") for b in boxes] == [["one"], ["two"]], boxes
        assert fields(boxes[0]) == fields(boxes[1]) and len(fields(boxes[0])) == 1, boxes


def check(steps):
    r = Tern(CONFIG.replace("{steps}", steps).replace("{more}", ""), dns=1).cli("check", check=False)
    return r.returncode, r.stdout + r.stderr


def test_configurations_that_are_wrong():
    domains = "    - domains: { local: [example.org], recipients: [alice@example.org] }\n"
    rows = [
        (domains + "    - auth_results\n", 0, "auth_results: no step that verifies stands before it"),
        (domains + "    - auth_results: { methods: [auth] }\n", 0, None),
        (domains + "    - auth_results: { methods: [dkim] }\n    - spf\n", 1, "step spf must stand before step auth_results"),
        (domains + "    - spf\n    - auth_results: { methods: [dkim] }\n", 0, "no step that verifies stands before it"),
        (domains + "    - spf\n    - auth_results: { authserv_id: \"a b\" }\n", 1, "auth_results.authserv_id: is a name of this service"),
        (domains + "    - spf\n    - auth_results: { methods: [\"a b\"] }\n", 1, "a b is no name of a method"),
        (domains + "    - spf\n    - auth_results: { methods: [] }\n", 1, "methods"),
        (domains + "    - spf\n    - auth_results: { ours: [\"*x\"] }\n", 1, "neither a name"),
        (domains + "    - spf\n    - auth_results: { remove: all, ours: [a.example] }\n", 1, "counts with remove: ours only"),
        (domains + "    - spf\n    - auth_results: { remove: none, keep_from: [192.0.2.0/24] }\n", 1, "nobody's fields are removed"),
        (domains + "    - spf\n    - auth_results: { methods: [%s] }\n" % ", ".join(["spf"] + ["m%d" % i for i in range(15)]), 0, None),
        (domains + "    - spf\n    - auth_results: { methods: [spf, dkim, spf] }\n", 1, "spf is named twice"),
        (domains + "    - spf\n    - auth_results: { methods: [%s] }\n" % ", ".join(["spf"] * 17), 1, "methods: expected 1 to 16 entries; got 17"),
        (domains + "    - spf\n    - auth_results: { ours: [%s] }\n" % ", ".join(["a.example"] * 100), 0, None),
        (domains + "    - spf\n    - auth_results: { ours: [%s] }\n" % ", ".join(["a.example"] * 101), 1, "ours: expected "),
        (STEPS, 0, None),
    ]
    for steps, status, says in rows:
        got, text = check(steps)
        assert got == status, (steps, got, text)
        assert says in text if says else "auth_results" not in text, (steps, text)


if __name__ == "__main__":
    run([test_all_together, test_why_a_mail_was_refused, test_peers_read_what_was_meant, test_many_forged,
         test_forged_at_the_end_of_the_longest_header, test_every_group_has_the_field,
         test_configurations_that_are_wrong])
