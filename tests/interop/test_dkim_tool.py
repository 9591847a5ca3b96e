#!/usr/bin/python3
"""`tern dkim keygen` and `tern dkim check`: keys that others can use, records that DNS has or has not."""
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dkimpy, Dns, Key, crlf, need_peers
from peers import Sink
from ternlib import BINARY, ROOT, SLOW, Client, Tern, run, wait_for

FOLDER = tempfile.mkdtemp(prefix="tern-dkim-")
MESSAGE = crlf("From: bob@example.net\n\nhello\n")


def dkim(*words):
    return subprocess.run([BINARY, "dkim", *words], capture_output=True, text=True, timeout=120 * SLOW)


def path(name):
    return os.path.join(FOLDER, name)


def keygen(name, *options, domain="example.net", selector="s1"):
    """The strings of the record that it prints."""
    r = dkim("keygen", *options, domain, selector, path(name))
    assert r.returncode == 0, r.stderr
    line = r.stdout.strip()
    assert "PRIVATE" not in line and re.fullmatch(r'%s\._domainkey\.%s\. IN TXT \((?: "[^"]{1,255}")+ \)' % (selector, domain), line), line
    return re.findall(r'"([^"]*)"', line)


class Made:
    """A key that keygen made, as dkimpeers has keys."""

    def __init__(self, name, kind):
        self.kind, self.path = kind, path(name)
        with open(self.path, "rb") as f:
            self.pem = f.read()

    seed = Key.seed


def test_keygen():
    for name, options, kind in (("rsa", (), "rsa"), ("rsa4096", ("--bits", "4096"), "rsa"), ("ed", ("--type", "ed25519"), "ed25519")):
        strings = keygen(name, *options)
        assert len(strings) == {"rsa": 2, "rsa4096": 3, "ed": 1}[name] and all(len(s) == 255 for s in strings[:-1]), strings
        assert stat.S_IMODE(os.stat(path(name)).st_mode) == 0o600
        signed = Dkimpy.sign(MESSAGE, Made(name, kind))
        assert Dkimpy.verify(signed, {"s1._domainkey.example.net": "".join(strings)}) == [True], name
    r = dkim("keygen", "example.net", "s1", path("rsa"))
    assert r.returncode == 1 and "File exists" in r.stderr and r.stdout == "", r.stderr  # never over a key that is there
    for words in (("example", "s1", "x"), ("example.net", "s 1", "x"), ("../etc.x", "s1", "x")):
        r = dkim("keygen", *words[:2], path(words[2]))
        assert r.returncode == 1 and "is no name of a key" in r.stderr and not os.path.exists(path(words[2])), r.stderr
    for words in ((), ("keygen",), ("keygen", "--bits", "512", "a.example", "s", path("x")), ("keygen", "--type", "dsa", "a.example", "s", path("x")),
                  ("check", "--dns", "nowhere", "a.example", "s", path("rsa"))):
        assert dkim(*words).returncode == 2, words


def test_check():
    record = "".join(keygen("one"))
    other = "".join(keygen("other"))
    ed = "".join(keygen("edkey", "--type", "ed25519"))
    weak = "".join(keygen("weak", "--bits", "1024"))
    name = "s1._domainkey.example.net"
    rows = [("one", record, 0, "matches"), ("edkey", ed, 0, "matches"), ("weak", weak, 0, "is weak"),
            ("one", record.replace("v=DKIM1;", "v=DKIM1; t=y;"), 0, "t=y says"),
            ("one", other, 1, "p= is another key"), ("one", ed, 1, "k= is not"), ("one", "v=DKIM1; p=", 1, "revoked"),
            ("one", record + "=", 1, "p= is no"), ("one", "v=spf1 -all", 1, "v= is not"), ("one", [record, record], 1, "several"),
            ("one", record.replace("k=rsa;", "k=rsa; h=sha1;"), 1, "sha256"), ("one", None, 1, "no TXT record"),
            ("one", "!SERVFAIL", 75, "SERVFAIL")]
    for file, text, status, says in rows:
        with Dns({name: text} if text is not None else {}) as dns:
            r = dkim("check", "--dns", "127.0.0.1:%d" % dns.port, "example.net", "s1", path(file))
            assert r.returncode == status and says in r.stdout + r.stderr, (file, text, r.returncode, r.stdout, r.stderr)
            assert name in dns.asked
    os.chmod(path("one"), 0o644)
    with Dns({name: record}) as dns:
        r = dkim("check", "--dns", "127.0.0.1:%d" % dns.port, "example.net", "s1", path("one"))
        assert r.returncode == 0 and "chmod 600" in r.stderr, r.stderr


def recipe():
    """The configuration of docs/dkim.md, for a test's ports and folders."""
    with open(os.path.join(ROOT, "docs", "dkim.md")) as f:
        config = re.search(r"```yaml\n(.*?)```", f.read(), re.S).group(1)
    config = config.replace("127.0.0.1:2525", "127.0.0.1:{port}").replace("spool: /var/spool/tern\n", "")
    return config.replace("routes:\n  - { transport: smtp }", 'routes: [{ transport: far }]\ntransports: { far: { type: smtp, to: ["127.0.0.1:{sink}"] } }')


def test_the_recipe():
    """docs/dkim.md: two algorithms, a wildcard, and a rotation without a restart."""
    line = "example.org: example.org:%s:example.org/%s.pem example.org:e1:example.org/e1.pem\n*.example.org: example.org:r1:example.org/r1.pem\n"
    with Sink() as sink, Tern(recipe(), files={"dkim-keys.txt": line % ("r1", "r1")}, sink=sink.port) as t:
        os.makedirs(os.path.join(t.dir, "dkim", "example.org"))
        txt = {}
        for selector, options in (("r1", ()), ("r2", ()), ("e1", ("--type", "ed25519"))):
            file = os.path.join(t.dir, "dkim", "example.org", selector + ".pem")
            txt[selector + "._domainkey.example.org"] = "".join(keygen(file, *options, domain="example.org", selector=selector))
        t.start()

        def selectors(address):
            count = len(sink.mails)
            c = Client(t.port)
            code, text = c.mail("bob@example.org", ["alice@far.example"], "From: %s\n\nhello\n" % address)
            c.close()
            assert code == 250, text
            wait_for(lambda: len(sink.mails) > count, 20)
            mail = sink.mails[count].data
            verdicts = Dkimpy.verify(mail, txt)
            assert all(v is True for v in verdicts), verdicts
            head = re.sub(rb"\s", b"", mail.split(b"\r\n\r\n")[0])
            return sorted(s.decode() for s in re.findall(rb";s=(\w+);", head))

        assert selectors("bob@example.org") == ["e1", "r1"]
        assert selectors("bob@news.example.org") == ["r1"]
        assert selectors("bob@stranger.example") == []
        t.write("dkim-keys.txt", line % ("r2", "r2"))
        wait_for(lambda: selectors("bob@example.org") == ["e1", "r2"], 30)


if __name__ == "__main__":
    need_peers()
    try:
        run([test_keygen, test_check, test_the_recipe])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
