#!/usr/bin/python3
"""dkim_sign in the real server: what leaves is verified by dkimpy, Mail::DKIM and OpenDKIM, also behind edits of our own."""
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import ALL, Dkimpy, Dns, Key, MailDkim, OpenDkim, crlf, need_peers
from peers import Sink
from ternlib import SLOW, Client, Tern, need_shared, run, some, wait_for

CONFIG = """
hostname: mx.test
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: outbound } }
policies:
  outbound:
    - domains: { networks: [127.0.0.0/8] }
    - lua: { script: edit.lua }
    - dkim_sign: { {options} }
transports: { far: { type: smtp, to: ["127.0.0.1:{sink}"] } }
routes: [{ transport: far }]
"""
EDIT = r"""
local tern = require "tern"
tern.on("message", function(txn)
  if txn:header("X-Edit") then
    txn:replace_header("Subject", "edited\r\n\tand folded")
    txn:append_header("X-Below", "the last")
    txn:remove_header("X-Edit")
  end
  txn:add_header("X-Above", "the first")
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


class Server:
    """A server that signs, and the sink behind it."""

    def __init__(self, options, keys, files=None):
        self.sink = Sink()
        self.sink.__enter__()
        self.tern = Tern(CONFIG.replace("{options}", options), files=dict({"edit.lua": EDIT}, **(files or {})), sink=self.sink.port)
        for name, k in keys.items():
            self.put_key(name, k)
        self.tern.start()

    def put_key(self, name, k):
        os.chmod(self.tern.write(name, k.pem), 0o600)

    def send(self, message, sender="bob@example.net"):
        """What the next hop gets."""
        before = len(self.sink.mails)
        c = Client(self.tern.port)
        code, text = c.mail(sender, ["alice@far.example"], message)
        c.close()
        assert code == 250, (code, text)
        wait_for(lambda: len(self.sink.mails) > before, 20)
        return self.sink.mails[before].data

    def refused(self, message, sender="bob@example.net"):
        c = Client(self.tern.port)
        answer = c.mail(sender, ["alice@far.example"], message)
        c.close()
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        try:
            self.tern.__exit__(*rest)
        finally:
            self.sink.__exit__(*rest)


def signatures(mail):
    return re.findall(rb"^DKIM-Signature: .*?\r\n(?![ \t])", mail.split(b"\r\n\r\n")[0] + b"\r\n", re.M | re.S)


def tags(field):
    """The tags of a signature field, blanks left out."""
    text = re.sub(rb"\s", b"", field.split(b":", 1)[1]).decode()
    return dict(t.split("=", 1) for t in text.split(";") if t)


def verified(mail, txt, count=1):
    """By all three; Mail::DKIM and OpenDKIM know RSA only, and look at the first that they know."""
    assert Dkimpy.verify(mail, txt) == [True] * count, Dkimpy.verify(mail, txt)
    if "rsa" in "".join(txt.values()):
        assert OpenDkim.verify(mail, txt) == 0, OpenDkim.verify(mail, txt)
        with Dns(txt) as dns:
            assert "pass" in MailDkim.verify(mail, dns.port), MailDkim.verify(mail, dns.port)


def test_each_kind_and_form():
    edited = MESSAGE.replace(b"Date:", b"X-Edit: yes\r\nDate:")
    for kind in (key(), ed()):
        txt = {"s1._domainkey.example.net": kind.record}
        for canon in ALL:
            options = "selector: s1, key: 'keys/%{domain}.pem', canonicalization: " + b"/".join(canon).decode()
            with Server(options, {"keys/example.net.pem": kind}) as s:
                mail = s.send(MESSAGE)
                verified(mail, txt)
                assert len(signatures(mail)) == 1, mail
                mail = s.send(edited)
                assert b"X-Below: the last" in mail and b"edited\r\n\tand folded" in mail, mail
                verified(mail, txt)
                for changed in (mail.replace(b"edited", b"Edited"), mail.replace(b"Hello", b"Hallo"),
                                b"From: eve@example.com\r\n" + mail):
                    assert Dkimpy.verify(changed, txt) != [True], changed


def test_several_signatures():
    options = "selector: s1, key: 'k/%{domain}.rsa', also: [{ selector: e1, key: 'k/%{domain}.ed' }], expire: 7d"
    with Server(options, {"k/example.net.rsa": key(), "k/example.net.ed": ed()}) as s:
        mail = s.send(MESSAGE)
        txt = {"s1._domainkey.example.net": key().record, "e1._domainkey.example.net": ed().record}
        verified(mail, txt, 2)
        found = {tags(f)["a"]: tags(f) for f in signatures(mail)}
        assert sorted(found) == ["ed25519-sha256", "rsa-sha256"], found
        for t in found.values():
            assert int(t["x"]) - int(t["t"]) == 7 * 86400, t
            names = t["h"].split(":")
            assert names.count("From") == 2 and names.count("Subject") == 2 and names.count("References") == 0, names


def who(mail):
    """Who signed, from the top."""
    return ["%(d)s/%(s)s" % tags(f) for f in signatures(mail)]


def by(address):
    return MESSAGE.replace(b"bob@example.net", address.encode())


def test_tables():
    """Signers and keys by address, domain, wildcard and for all; what is not there is not signed."""
    files = {"signers.txt": "boss@example.net: boss\nexample.net: shop both\n*.below.example: below\n*.example.com: hosted\n",
             "keys.txt": "boss: example.net:b1:rsa\nshop: shop.example:s1:rsa\nboth: example.net:s1:rsa example.net:e1:deep/ed\n"
                         "below: %{domain}:w1:%{domain}.pem\nhosted: hoster.example:h1:rsa\n"}
    tables = "signers: { table: signers }, keys: { table: keys }, folder: keys"
    config = "tables: { signers: { file: signers.txt }, keys: { file: keys.txt } }\n"
    keys = {"keys/rsa": key(), "keys/deep/ed": ed(), "keys/a.below.example.pem": key()}
    global CONFIG
    plain, CONFIG = CONFIG, CONFIG + config
    try:
        with Server(tables, keys, files) as s:
            assert who(s.send(by("boss@example.net"))) == ["example.net/b1"]
            assert who(s.send(by("Boss@Example.NET"))) == ["example.net/b1"]
            assert who(s.send(MESSAGE)) == ["example.net/e1", "example.net/s1", "shop.example/s1"]
            mail = s.send(by("x@a.below.example"))
            assert who(mail) == ["a.below.example/w1"], mail
            verified(mail, {"w1._domainkey.a.below.example": key().record})
            assert who(s.send(by("x@example.com"))) == []
            assert who(s.send(by("x@deep.down.example.com"))) == ["hoster.example/h1"]
            assert who(s.send(by("x@stranger.example"))) == []
            assert who(s.send(by("x@.."))) == []
            code, text = s.refused(by("x@b.below.example"))
            assert code == 451, text
            assert "b.below.example.pem: No such file" in s.tern.log_text(), s.tern.log_text()
        with Server("keys: { '*': '%{domain}:s1:rsa' }, folder: keys", keys, files) as s:
            assert who(s.send(by("x@any.example"))) == ["any.example/s1"]
        with Server("signers: [example.net], selector: s1, key: keys/rsa", keys, files) as s:
            assert who(s.send(MESSAGE)) == ["example.net/s1"]
            assert who(s.send(by("x@any.example"))) == []
    finally:
        CONFIG = plain


def test_tables_that_are_empty():
    """Nobody is in them, so nobody signs."""
    global CONFIG
    plain, CONFIG = CONFIG, CONFIG + "tables: { nobody: { file: nobody.txt } }\n"
    try:
        for options in ("signers: { table: nobody }, selector: s1, key: keys/rsa", "keys: { table: nobody }, folder: keys"):
            with Server(options, {"keys/rsa": key()}, {"nobody.txt": ""}) as s:
                assert who(s.send(MESSAGE)) == [], options
    finally:
        CONFIG = plain


def test_by_sender():
    with Server("by: sender, selector: s1, key: 'keys/%{domain}'", {"keys/sender.example": key()}) as s:
        assert who(s.send(MESSAGE, "x@sender.example")) == ["sender.example/s1"]
        assert who(s.send(MESSAGE, "")) == []


def test_bounces_are_signed():
    """Mail that Tern makes, by policy `generated`."""
    global CONFIG
    step = "dkim_sign: { selector: s1, key: 'keys/%{domain}' }"
    plain, CONFIG = CONFIG, CONFIG.replace("transports:", "  generated:\n    - " + step + "\ntransports:")
    try:
        with Server("selector: s1, key: 'keys/%{domain}'", {"keys/example.net": key(), "keys/mx.test": key()}) as s:
            s.sink.answers["alice@far.example"] = "550 5.1.1 No such user"
            c = Client(s.tern.port)
            assert c.mail("bob@example.net", ["alice@far.example"], MESSAGE)[0] == 250
            c.close()
            wait_for(lambda: s.sink.got("bob@example.net"), 20)
            bounce = s.sink.got("bob@example.net")[0].data
            assert who(bounce) == ["mx.test/s1"], bounce
            verified(bounce, {"s1._domainkey.mx.test": key().record})
    finally:
        CONFIG = plain


def test_messages_that_are_not_signed():
    with Server("selector: s1, key: keys/rsa", {"keys/rsa": key()}) as s:
        assert who(s.send(MESSAGE.replace(b"From: Bob <bob@example.net>\r\n", b""))) == []
        assert who(s.send(b"From: a@example.net\r\n" + MESSAGE)) == []
        assert who(s.send(by("not an address"))) == []
        assert who(s.send(b"".join(b"X: %d\r\n" % n for n in range(9950)) + MESSAGE)) == ["example.net/s1"]
        # As many fields as the server takes, and two that it has added itself.
        assert who(s.send(b"".join(b"X: %d\r\n" % n for n in range(9995)) + MESSAGE)) == []
        assert who(s.send(MESSAGE)) == ["example.net/s1"]


def test_keys_that_are_missing_or_bad():
    with Server("selector: s1, key: 'keys/%{domain}', missing_key: skip", {"keys/example.net": key()}) as s:
        assert who(s.send(by("x@other.example"))) == []
        path = os.path.join(s.tern.dir, "keys", "open.example")
        shutil.copy(key().path, path)
        os.chmod(path, 0o644)
        assert s.refused(by("x@open.example"))[0] == 451
        assert "open.example may be read or written by everybody" in s.tern.log_text()
        os.chmod(path, 0o640)  # of the group, as docs/decisions/0012 has it
        assert who(s.send(by("x@open.example"))) == ["open.example/s1"]
        s.tern.write("keys/bad.example", "rubbish\n")
        os.chmod(os.path.join(s.tern.dir, "keys", "bad.example"), 0o600)
        assert s.refused(by("x@bad.example"))[0] == 451
        assert "bad.example: it holds no private key" in s.tern.log_text()


def test_a_new_key_by_reload():
    with Server("selector: s1, key: 'keys/%{domain}'", {"keys/example.net": key()}) as s:
        verified(s.send(MESSAGE), {"s1._domainkey.example.net": key().record})
        s.put_key("keys/example.net", key("new"))
        verified(s.send(MESSAGE), {"s1._domainkey.example.net": key().record})  # the old one is kept ...
        s.tern.cli("reload")
        wait_for(lambda: Dkimpy.verify(s.send(MESSAGE), {"s1._domainkey.example.net": key("new").record}) == [True], 20)


def test_configurations_that_are_wrong():
    rows = [("", "nothing to sign with"), ("selector: s1", "needs key as well"), ("key: k", "needs selector as well"),
            ("selector: 's 1', key: k", "is no selector"), ("selector: s1, key: k, headers: [To], oversign: []", "From must be signed"),
            ("selector: s1, key: k, headers: [From, Received]", "is not signed"), ("keys: { a: b }", "needs folder as well"),
            ("selector: s1, key: k, keys: { a: b }, folder: f", "not together with selector"),
            ("selector: s1, key: k, headers: ['a b', From]", "is no name of a header field")]
    for options, wanted in rows:
        t = Tern(CONFIG.replace("{options}", options), files={"edit.lua": EDIT}, sink=1)
        r = t.cli("check", check=False)
        t.__exit__(None, None, None)
        assert r.returncode != 0 and wanted in r.stdout + r.stderr, (options, r.stdout, r.stderr)


def test_ten_thousand_domains():
    """2 KB of memory each, at most."""
    lines = "".join("d%d.example: %%{domain}:s1:%%{domain}\n" % i for i in range(10000))
    global CONFIG
    plain, CONFIG = CONFIG, CONFIG + "tables: { keys: { file: keys.txt } }\n"
    try:
        with Server("keys: { table: keys }, folder: keys", {}, {"keys.txt": lines}) as s:
            folder = os.path.join(s.tern.dir, "keys")
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "d0.example"), "wb") as f:
                f.write(key().pem)
            os.chmod(f.name, 0o600)
            for i in range(1, 10000):
                os.link(f.name, os.path.join(folder, "d%d.example" % i))
            assert who(s.send(by("x@d0.example"))) == ["d0.example/s1"]
            before = rss(s.tern.worker_pid())
            c = Client(s.tern.port)
            c.cmd("EHLO client.example")
            for i in range(0, 10000, some(8, 80)):
                code, text = c.mail("b@example.net", ["a@far.example"], by("x@d%d.example" % i), helo=None)
                assert code == 250, text
            c.close()
            grown = rss(s.tern.worker_pid()) - before
            assert SLOW > 1 or grown <= 10000 * 2048, grown  # a sanitizer keeps what was freed
    finally:
        CONFIG = plain


def rss(pid):
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    need_peers()
    try:
        run([test_each_kind_and_form, test_several_signatures, test_tables, test_tables_that_are_empty, test_by_sender, test_bounces_are_signed, test_messages_that_are_not_signed,
             test_keys_that_are_missing_or_bad, test_a_new_key_by_reload, test_configurations_that_are_wrong,
             test_ten_thousand_domains])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
