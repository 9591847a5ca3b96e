#!/usr/bin/python3
"""arc_seal in the real server: what is forwarded is sealed, and dkimpy, Mail::DKIM and Tern itself find the chain good."""
import json
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from arcpeers import Chain, Dkimpy, MailDkim, need_peers, unfolded
from dkimpeers import Dkimpy as DkimpyDkim
from dkimpeers import Dns, Key, crlf
from peers import Postfix, Sink
from ternlib import Client, Tern, need, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - lua: { script: forward.lua, name: forward }
    - spf: { exempt: [] }
    - dkim_verify
    - arc_verify: { {verify} }
    - lua: { script: edit.lua, name: edit }
    - dkim_sign: { by: sender, selector: d1, key: "keys/%{domain}", missing_key: skip }
    - arc_seal: { domain: seal.example, selector: s1, key: keys/seal, {options} }
transports: { far: { type: smtp, to: ["127.0.0.1:{sink}"] } }
routes: [{ class: local, transport: far }, { transport: far }]
"""
FORWARD = r"""
local tern = require "tern"
tern.on("rcpt", function(txn, rcpt)
  if rcpt.domain == "far.example" then rcpt:claim("forward") end
end, { claims = true })
"""
EDIT = r"""
local tern = require "tern"
tern.on("message", function(txn)
  if txn:header("X-Edit") then
    txn:replace_header("Subject", "[list] edited\r\n\tand folded")
    txn:append_header("X-Below", "the last")
  end
  if txn:header("X-Break") then txn:remove_header("ARC-Seal") end
end)
"""
FOLDER = tempfile.mkdtemp(prefix="tern-arc-")
KEYS = {}
MESSAGE = crlf("From: Bob <bob@example.net>\nTo: alice@example.org\nSubject:  a   question\n of length\n"
               "Date: Mon, 02 Mar 2026 10:00:00 +0000\nMessage-ID: <1@example.net>\n\nHello  Alice,  \n\n. a dot\nbye\n\n\n")
EDITED = MESSAGE.replace(b"Date:", b"X-Edit: yes\r\nDate:")
FAR = "friend@far.example"


def key(name="rsa", kind="rsa", bits=2048):
    if name not in KEYS:
        KEYS[name] = Key(FOLDER, name, kind, bits)
    return KEYS[name]


def ed():
    return key("ed", "ed25519")


def txt():
    found = {"e1._domainkey." + d: ed().record for d in ("list.example", "seal.example")}
    found.update({"s1._domainkey." + d: key().record for d in ("list.example", "seal.example", "example.net")})
    found["example.net"] = "v=spf1 ip4:127.0.0.0/8 -all"
    return found


class Server:
    """Tern between a client and a sink."""

    def __init__(self, options="", verify="", config=CONFIG, seal=None):
        self.sink = Sink().__enter__()
        self.dns = Dns(txt()).__enter__()
        files = {"forward.lua": FORWARD, "edit.lua": EDIT}
        self.tern = Tern(config.replace("{options}", options).replace("{verify}", verify), files=files, sink=self.sink.port,
                         dns=self.dns.port)
        if seal is not False:
            os.chmod(self.tern.write("keys/seal", (seal or key()).pem), 0o600)
        self.tern.start()

    def send(self, message, rcpt=FAR, sender="bob@example.net"):
        """What the next hop gets."""
        before = len(self.sink.mails)
        c = Client(self.tern.port)
        code, text = c.mail(sender, [rcpt], message)
        c.close()
        assert code == 250, (code, text)
        self.ident = queue_id(text)
        wait_for(lambda: len(self.sink.mails) > before, 20)
        return self.sink.mails[before].data

    def why(self):
        return json.dumps(self.tern.why(self.ident))

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        try:
            self.tern.__exit__(*rest)
        finally:
            self.sink.__exit__(*rest)
            self.dns.__exit__(*rest)


def fields(mail, name):
    head = mail.split(b"\r\n\r\n")[0] + b"\r\n"
    return re.findall(rb"(?ims)^%s:.*?\r\n(?![ \t])" % name.encode(), head)


def tags(field):
    text = re.sub(rb"\s", b"", field.split(b":", 1)[1]).decode()
    return dict(t.split("=", 1) for t in text.split(";") if t)


def newest(mail):
    """cv and i of the seal on top; (None, None) without one."""
    seals = fields(mail, "ARC-Seal")
    t = tags(seals[0]) if seals else {}
    return t.get("cv"), t.get("i")


def assert_good(mail):
    assert Dkimpy.verify(mail, txt()) == ("pass", "success"), (Dkimpy.verify(mail, txt()), mail)
    with Dns(txt()) as dns:
        got = MailDkim.verify(mail, dns.port)
        assert got[0] == "pass", (got, mail)


def test_first_set():
    with Server() as s:
        for message in (MESSAGE, EDITED):
            mail = s.send(DkimpyDkim.sign(message, key()))
            assert newest(mail) == ("none", "1"), mail
            names = [f.split(b":")[0] for f in re.split(rb"\r\n(?![ \t])", mail.split(b"\r\n\r\n")[0])][:4]
            assert names == [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results", b"Received"], names
            assert_good(mail)
            found = unfolded(fields(mail, "ARC-Authentication-Results")[0]).decode()
            for wanted in ("arc-authentication-results:i=1; mx.test; spf=pass", "; dkim=pass (2048-bit rsa key) header.d=example.net",
                           "; arc=none smtp.remote-ip=127.0.0.1"):
                assert wanted in found, (wanted, found)
            assert max(map(len, mail.split(b"\r\n\r\n")[0].split(b"\r\n"))) <= 100, mail
            t = tags(fields(mail, "ARC-Message-Signature")[0])
            assert "DKIM-Signature" in t["h"].split(":") and t["h"].split(":").count("From") == 2, t
            for changed in (mail.replace(b"Hello", b"Hallo"), b"From: eve@example.com\r\n" + mail,
                            mail.replace(b"spf=pass", b"spf=fail")):
                assert Dkimpy.verify(changed, txt())[0] == "fail", changed
        assert "sealed" in s.why() and "i=1 cv=none d=seal.example s=s1 a=rsa-sha256, 2048 bits" in s.why(), s.why()
        assert "tern_arc_seal_seals_total 2" in s.tern.cli("metrics").stdout


def test_on_top_of_others():
    """A chain of each of them, passed on with an edit and without."""
    with Server() as s:
        for peer in (Dkimpy, MailDkim):
            for message in (MESSAGE, EDITED):
                sealed = peer.seal(message, key(), "list.example", "spf=pass smtp.mailfrom=example.net")
                mail = s.send(sealed)
                assert newest(mail) == ("pass", "2"), (peer.name, mail)
                assert_good(mail)
                found = unfolded(fields(mail, "ARC-Authentication-Results")[0]).decode()
                assert "i=2; mx.test; " in found and "arc=pass (i=1) header.oldest-pass=0" in found, found
                again = s.send(mail.replace(b"Hello", b"Hello"))  # it comes back to us
                assert newest(again) == ("pass", "3"), again
                assert_good(again)


def own_set_is_signed(mail, record):
    """RFC 8617 5.1.2, by hand: the seal is of its own set alone."""
    import base64
    import hashlib
    import nacl.signing
    seal, signature, results = (fields(mail, n)[0].rstrip(b"\r\n") for n in ("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"))
    b = tags(seal)["b"]
    bare = re.sub(rb"(\bb=)[^;]*", rb"\1", seal)
    digest = hashlib.sha256(b"\r\n".join(unfolded(f) for f in (results, signature, bare))).digest()
    nacl.signing.VerifyKey(base64.b64decode(record.split("p=")[1])).verify(digest, base64.b64decode(b))


def test_broken_chains():
    with Server("selector: e1", config=CONFIG.replace("selector: s1, key: keys/seal, ", "key: keys/seal, "), seal=ed()) as s:
        good = Dkimpy.seal(MESSAGE, key(), "list.example", "spf=pass")
        mail = s.send(good.replace(b"Hello", b"Hallo"))
        assert newest(mail) == ("fail", "2"), mail
        own_set_is_signed(mail, ed().record)
        assert "arc=fail" in unfolded(fields(mail, "ARC-Authentication-Results")[0]).decode()
        cv, reason = Dkimpy.verify(mail, txt())
        assert cv != "pass", (cv, reason)
        again = s.send(mail)  # that was the end of it
        assert newest(again) == ("fail", "2") and len(fields(again, "ARC-Seal")) == 2, again
        assert "that is the end of it" in s.why(), s.why()
        mail = s.send(re.sub(rb"(?ms)^ARC-Seal:.*?\r\n(?![ \t])", b"", good))  # parts of a set
        assert newest(mail) == ("fail", "2"), mail
        own_set_is_signed(mail, ed().record)
        s.dns.put("s1._domainkey.list.example", "!SERVFAIL")
        mail = s.send(Dkimpy.seal(EDITED, key(), "list.example", "spf=pass"))
        assert newest(mail)[1] == "2", mail  # kept by the cache, or failed for good
        assert "tern_arc_seal_skipped_total 1" in s.tern.cli("metrics").stdout


def test_fifty():
    c = Chain(ed(), MESSAGE)
    for _ in range(49):
        c.add()
    with Server() as s:
        mail = s.send(c.message)
        assert newest(mail) == ("pass", "50"), mail[:500]
        full = s.send(mail)
        assert newest(full) == ("pass", "50") and len(fields(full, "ARC-Seal")) == 50, full[:500]
        assert "there are 50 sets already" in s.why(), s.why()
        more = b"ARC-Seal: i=51; cv=pass; a=rsa-sha256; d=list.example; s=s1; b=AAAA\r\n" + MESSAGE
        assert len(fields(s.send(more), "ARC-Seal")) == 1 and "50 sets already" in s.why(), s.why()


def test_whose_mail():
    """What is ours stays as it is, unless the classes say otherwise."""
    with Server() as s:
        assert newest(s.send(MESSAGE, "alice@example.org")) == (None, None)
        assert newest(s.send(MESSAGE)) == ("none", "1")
    with Server("classes: [local]") as s:
        assert newest(s.send(MESSAGE, "alice@example.org")) == ("none", "1")
        assert newest(s.send(MESSAGE)) == (None, None)
    with Server("classes: [local, forward]") as s:
        assert newest(s.send(MESSAGE, "alice@example.org")) == ("none", "1")
        assert newest(s.send(MESSAGE)) == ("none", "1")


def test_what_is_not_sealed():
    with Server(verify="when: \"txn.sender.domain == 'elsewhere.example'\"") as s:
        assert newest(s.send(MESSAGE)) == (None, None)
        assert "arc_verify did not look at it" in s.why(), s.why()
        assert newest(s.send(MESSAGE, sender="x@elsewhere.example")) == ("none", "1")
    with Server() as s:
        sealed = Dkimpy.seal(MESSAGE.replace(b"Date:", b"X-Break: yes\r\nDate:"), key(), "list.example", "spf=pass")
        mail = s.send(sealed)
        assert newest(mail) == (None, None) and "a step has changed the chain" in s.why(), (mail, s.why())
        for message, says in ((MESSAGE.replace(b"From:", b"Form:"), "not one From"), (b"From: a@b.example\r\n" + MESSAGE, "not one From")):
            assert newest(s.send(message)) == (None, None) and says in s.why(), s.why()


def test_bounces():
    """Tern's own mail was received from nobody."""
    steps = "    - arc_verify\n    - arc_seal: { domain: seal.example, selector: s1, key: keys/seal, classes: [local, relay, forward, client] }\n"
    with Server(config=CONFIG.replace("transports:", "  generated:\n" + steps + "transports:")) as s:
        s.sink.answers[FAR] = "550 5.1.1 No such user"
        c = Client(s.tern.port)
        assert c.mail("bob@example.net", [FAR], MESSAGE)[0] == 250
        c.close()
        wait_for(lambda: s.sink.got("bob@example.net"), 20)
        assert newest(s.sink.got("bob@example.net")[0].data) == (None, None)


def test_keys():
    with Server(seal=False) as s:
        c = Client(s.tern.port)
        assert c.mail("bob@example.net", [FAR], MESSAGE)[0] == 451
        assert c.mail("bob@example.net", ["alice@example.org"], MESSAGE, helo=None)[0] == 250
        c.close()
        assert "keys/seal: No such file" in s.tern.log_text()
        assert "tern_arc_seal_no_key_total 1" in s.tern.cli("metrics").stdout
    with Server("missing_key: skip", seal=False) as s:
        assert newest(s.send(MESSAGE)) == (None, None)
        s.tern.write("keys/seal", key().pem)
        os.chmod(os.path.join(s.tern.dir, "keys", "seal"), 0o644)
        c = Client(s.tern.port)
        assert c.mail("bob@example.net", [FAR], MESSAGE)[0] == 451  # there, and not good
        c.close()
    with Server(seal=ed(), config=CONFIG.replace("selector: s1, key: keys/seal", "selector: e1, key: keys/seal")) as s:
        mail = s.send(Chain(ed(), MESSAGE).add().message)
        assert newest(mail) == ("pass", "2") and tags(fields(mail, "ARC-Seal")[0])["a"] == "ed25519-sha256", mail
        again = s.send(mail)  # dkimpy knows no such seals; we do
        assert newest(again) == ("pass", "3"), again
    with Server() as s:
        assert Dkimpy.verify(s.send(MESSAGE), txt())[0] == "pass"
        os.chmod(s.tern.write("keys/seal", key("new").pem), 0o600)
        s.tern.cli("reload")
        mail = wait_for(lambda: (lambda m: m if Dkimpy.verify(m, txt())[0] != "pass" else None)(s.send(MESSAGE)), 20)
        assert Dkimpy.verify(mail, {"s1._domainkey.seal.example": key("new").record})[0] == "pass"


def test_options():
    options = "authserv_id: forwarder.example, methods: [arc, spf], headers: [From, Subject], oversign: []"
    with Server(options) as s:
        mail = s.send(DkimpyDkim.sign(MESSAGE, key()))
        found = unfolded(fields(mail, "ARC-Authentication-Results")[0]).decode()
        assert re.fullmatch(r"arc-authentication-results:i=1; forwarder\.example; arc=none [^;]*; spf=[^;]*(; spf=[^;]*)?", found), found
        assert tags(fields(mail, "ARC-Message-Signature")[0])["h"] == "From:Subject", mail
        assert_good(mail)
    with Server("oversign: [From, X-Nobody]") as s:
        names = tags(fields(s.send(MESSAGE), "ARC-Message-Signature")[0])["h"].split(":")
        assert names.count("From") == 2 and names.count("X-Nobody") == 1 and names.count("Subject") == 1, names


def test_configurations_that_are_wrong():
    whole = "arc_seal: { domain: seal.example, selector: s1, key: keys/seal, {options} }"
    rows = [("arc_seal: { selector: s1, key: k }", "domain"), ("arc_seal: { domain: a.example, key: k }", "selector"),
            ("arc_seal: { domain: a.example, selector: s1 }", "key"),
            ("arc_seal: { domain: 'a b', selector: s1, key: k }", "\"a b\" is no domain"),
            ("arc_seal: { domain: example, selector: s1, key: k }", "\"example\" is no domain"),
            ("arc_seal: { domain: a.example, selector: 's 1', key: k }", "is no selector"),
            ("arc_seal: { domain: a.example, selector: s1, key: 'k/%{domain}' }", "nothing to be filled in"),
            ("arc_seal: { domain: a.example, selector: s1, key: k, classes: [all] }", "\"all\" is no class"),
            ("arc_seal: { domain: a.example, selector: s1, key: k, authserv_id: 'a b' }", "is no name of a server"),
            ("arc_seal: { domain: a.example, selector: s1, key: k, headers: [From, Arc-Seal] }", "is not signed"),
            ("arc_seal: { domain: a.example, selector: s1, key: k, headers: [From, Authentication-Results] }", "is not signed"),
            ("arc_seal: { domain: a.example, selector: s1, key: k, headers: [To], oversign: [] }", "From must be signed"),
            ("arc_seal: { domain: a.example, selector: s1, key: k, oversign: ['a:b'] }", "is no name of a header field")]
    for step, wanted in rows:
        t = Tern(CONFIG.replace(whole, step).replace("{verify}", ""), files={"edit.lua": EDIT, "forward.lua": FORWARD}, sink=1, dns=1)
        r = t.cli("check", check=False)
        t.__exit__(None, None, None)
        assert r.returncode != 0 and wanted in r.stdout + r.stderr, (step, r.stdout, r.stderr)
    alone = re.sub(r"    - arc_verify: .*\n", "", CONFIG)
    t = Tern(alone.replace("{options}", ""), files={"edit.lua": EDIT, "forward.lua": FORWARD}, sink=1, dns=1)
    r = t.cli("check", check=False)
    t.__exit__(None, None, None)
    assert r.returncode != 0 and "arc_verify must stand before it" in r.stdout + r.stderr, (r.stdout, r.stderr)
    before = CONFIG.replace("    - spf:", "    - " + whole + "\n    - spf:").replace("    - " + whole + "\ntransports", "transports")
    t = Tern(before.replace("{options}", "").replace("{verify}", ""), files={"edit.lua": EDIT, "forward.lua": FORWARD}, sink=1, dns=1)
    r = t.cli("check", check=False)
    t.__exit__(None, None, None)
    assert r.returncode != 0 and "arc_verify" in r.stdout + r.stderr, (r.stdout, r.stderr)


def test_tern_postfix_tern():
    """Sealed by one Tern, through Postfix, verified and sealed by another, verified by the others."""
    need("postfix")
    with Server() as last, Postfix("smtp", last.tern.port, "local_header_rewrite_clients =\n") as p:
        config = CONFIG.replace("hostname: mx.test", "hostname: mx1.test")
        with Dns(txt()) as dns, Tern(config.replace("{options}", "").replace("{verify}", ""), sink=p.port, dns=dns.port,
                                     files={"forward.lua": FORWARD, "edit.lua": EDIT}) as first:
            os.chmod(first.write("keys/seal", key().pem), 0o600)
            first.start()
            c = Client(first.port)
            for message in (DkimpyDkim.sign(MESSAGE, key()), EDITED):
                assert c.mail("bob@example.net", [FAR], message)[0] == 250
            c.close()
            wait_for(lambda: len(last.sink.mails) == 2, 60)
        for mail in last.sink.mails:
            assert newest(mail.data) == ("pass", "2"), mail.data
            assert_good(mail.data)
            found = [unfolded(f).decode() for f in fields(mail.data, "ARC-Authentication-Results")]
            assert "i=2; mx.test;" in found[0] and "i=1; mx1.test;" in found[1], found


if __name__ == "__main__":
    need_peers()
    try:
        run([test_first_set, test_on_top_of_others, test_broken_chains, test_fifty, test_whose_mail, test_what_is_not_sealed,
             test_bounces, test_keys, test_options, test_configurations_that_are_wrong, test_tern_postfix_tern])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
