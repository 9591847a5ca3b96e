#!/usr/bin/python3
"""Where passwords come from: auth_file and `tern passwd`."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BINARY, Tern, run

SUBMISSION = """
hostname: mx.test
delivery: false
listeners: { mx: { bind: "127.0.0.1:{port}", policy: submission } }
policies:
  submission:
    - %s
    - domains: { local: [example.org], recipients: [alice@example.org] }
routes: [{ class: local, transport: smtp, to: ["127.0.0.1:25"] }]
"""


def passwd(*words, password="se cret"):
    return subprocess.run([BINARY, "passwd", *words], input=password + "\n", capture_output=True, text=True, timeout=60)


def test_passwd():
    """Every scheme makes an entry that the module takes; what is no password or user is refused."""
    entries = []
    for n, scheme in enumerate(("ARGON2ID", "YESCRYPT", "BLF-CRYPT", "sha512-crypt", "SHA256-CRYPT", "SCRAM-SHA-256",
                                "SCRAM-SHA-1", "PLAIN")):
        r = passwd("--scheme", scheme, "user%d" % n)
        assert r.returncode == 0 and r.stdout.startswith("user%d: \"{" % n), (scheme, r.stdout, r.stderr)
        assert scheme == "PLAIN" or "se cret" not in r.stdout
        entries.append(r.stdout)
    odd = passwd("--scheme", "PLAIN", 'a "b":', password="x\"y\\\\")
    assert odd.returncode == 0, odd.stderr
    lines = [passwd("--line", "a@example.org").stdout, passwd("-l", "-s", "SCRAM-SHA-256", "b").stdout]
    for name, text in (("users.yaml", "".join(entries) + odd.stdout), ("users", "".join(lines))):
        with Tern(SUBMISSION.replace("%s", "auth_file: { path: %s }" % name), {name: text}) as t:
            os.chmod(os.path.join(t.dir, name), 0o640)
            r = t.cli("check", check=False)
            assert r.returncode == 0 and "warning" not in r.stderr, r.stderr
    for words, password in ((("x", "y"), "p"), (("--scheme", "ROT13", "x"), "p"), (("x",), ""), (("x",), "a\tb"),
                            (("x",), "p" * 512), (("a\nb",), "p"), (("-l", "a:b"), "p"), (("-l", "-s", "PLAIN", "x"), "p:q")):
        r = passwd(*words, password=password)
        assert r.returncode != 0 and r.stdout == "" and r.stderr != "", (words, r.stdout)
        assert len(password) < 3 or password not in r.stderr


def test_file_that_is_wrong():
    """Said with file and line, never with a part of the entry; who may write it is looked at."""
    for text, want in (("a: '!'\nb: secret99\n", "users.yaml:2: the stored password names no scheme"),
                       ("a: {PLAIN}secret99\n", "users.yaml:1: expected an entry"), (None, "users.yaml: No such file")):
        with Tern(SUBMISSION.replace("%s", "auth_file: { path: users.yaml }"), {"users.yaml": text} if text else {}) as t:
            r = t.cli("check", check=False)
            assert r.returncode != 0 and want in r.stderr and "secret99" not in r.stderr, r.stderr
            assert "tern.yaml:7" in r.stderr, r.stderr
    with Tern(SUBMISSION.replace("%s", "auth_file: { path: users }"), {"users": "a:!\n"}) as t:
        r = t.cli("check", check=False)
        assert r.returncode == 0 and "can be read by everybody" in r.stderr, r.stderr
        os.chmod(os.path.join(t.dir, "users"), 0o646)
        r = t.cli("check", check=False)
        assert r.returncode != 0 and "can be written by everybody" in r.stderr, r.stderr


if __name__ == "__main__":
    run([test_passwd, test_file_that_is_wrong])
