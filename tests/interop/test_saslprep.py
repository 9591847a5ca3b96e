#!/usr/bin/python3
"""Names and passwords that are not ASCII: SCRAM, with gsasl as the peer, and PLAIN agree on what they are (RFC 4013)."""
import os
import re
import stringprep
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from logins import code
from ternlib import BINARY, ROOT, SLOW, Tern, need, run

CONFIG = """
hostname: mx.test
delivery: false
auth: { delay: 0 }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: submission, auth_plaintext: true } }
policies:
  submission:
    - auth_file: { path: users.yaml, mechanisms: [PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1], cache: 0 }
    - domains: { local: [example.org], recipients: [alice@example.org] }
routes: [{ class: local, transport: smtp, to: ["127.0.0.1:25"] }]
"""
COMPOSED, DECOMPOSED = "gr\u00fcn", "gru\u0308n"


def passwd(user, password, scheme):
    return subprocess.run([BINARY, "passwd", "--scheme", scheme, user], input=password + "\n", capture_output=True, text=True, timeout=60 * SLOW)


def entry(user, password, scheme="SCRAM-SHA-256"):
    r = passwd(user, password, scheme)
    assert r.returncode == 0, r.stderr
    return r.stdout


def server(entries):
    t = Tern(CONFIG, {"users.yaml": "".join(entries)})
    os.chmod(os.path.join(t.dir, "users.yaml"), 0o600)
    return t.start()


def gsasl(t, user, password, mechanism):
    """Whether it is let in; also false if gsasl itself refuses the password."""
    r = subprocess.run(["gsasl", "--smtp", "--connect=127.0.0.1:%d" % t.port, "-m", mechanism, "-a", user, "-p", password, "--no-cb",
                        "--no-starttls", "-d"], input=b"", capture_output=True, timeout=60 * SLOW, env=dict(os.environ, LC_ALL="C.UTF-8"))
    assert (b"235 2.7.0" in r.stdout) == (r.returncode == 0), r.stdout
    return r.returncode == 0


def test_both_agree():
    """Stored one way, said the other: it is the same name and the same password."""
    need("gsasl")
    for scheme in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"):
        for stored_user, stored in ((COMPOSED, "\u00fc\u2168 \u00aa"), (DECOMPOSED, "u\u0308IX\u00a0a"), (COMPOSED, "\u00ad\u00fcIX a")):
            with server([entry(stored_user, stored, scheme)]) as t:
                for user in (COMPOSED, DECOMPOSED):
                    for password in ("\u00fcIX a", "u\u0308\u2168 \u00aa", "\u00fcI\u00adX\u00a0a"):
                        what = (scheme, stored, user, password)
                        assert code(t, user, password) == 235, what
                        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1"):
                            if scheme in (mechanism, "PLAIN"):
                                assert gsasl(t, user, password, mechanism), (mechanism, *what)
                assert code(t, COMPOSED, "uIX a") == 535 and code(t, "grun", "\u00fcIX a") == 535
                if scheme != "SCRAM-SHA-1":
                    assert not gsasl(t, COMPOSED, "uIX a", "SCRAM-SHA-256")


def test_what_is_refused():
    """RFC 4013's own examples of what is not to be used, at each end."""
    need("gsasl")
    for password in ("\u0627" + "1", "a\u200eb"):
        r = passwd("alice", password, "SCRAM-SHA-256")
        assert r.returncode != 0 and "RFC 4013" in r.stderr, r.stderr
        with server([entry("alice", password, "SHA512-CRYPT")]) as t:
            assert code(t, "alice", password) == 235 and code(t, "alice", "1") == 535
    assert passwd("a\u200eb", "x", "PLAIN").returncode != 0 and passwd("\u0627" + "1", "x", "PLAIN").returncode != 0
    with server([entry("alice", "\u0627\u0628", "PLAIN")]) as t:
        assert gsasl(t, "alice", "\u0627\u0628", "SCRAM-SHA-256")
        assert not gsasl(t, "alice", "\u0627" + "1", "SCRAM-SHA-256")
        assert code(t, "\u0627" + "1", "x") == 535


def test_what_is_not_stored():
    """RFC 3454 7: younger than Unicode 3.2. May be asked for, and be behind a hash that PLAIN is checked against."""
    for password in ("p\U0001f600", "\u0221"):
        for scheme in ("SCRAM-SHA-256", "scram-sha-1"):
            r = passwd("alice", password, scheme)
            assert r.returncode != 0 and "Unicode 3.2" in r.stderr and r.stdout == "", r
        with server([entry("alice", password, "SHA512-CRYPT")]) as t:
            assert code(t, "alice", password) == 235 and code(t, "alice", "p") == 535
    for scheme in ("SCRAM-SHA-256", "SHA512-CRYPT"):
        r = passwd("al\u0221ce", "x", scheme)
        assert r.returncode != 0 and "Unicode 3.2" in r.stderr and r.stdout == "", r
    with server([entry("alice", "x")]) as t:
        assert code(t, "al\u0221ce", "x") == 535 and code(t, "alice", "x") == 235


def test_the_table_is_that_of_the_rfc():
    with open(os.path.join(ROOT, "core", "sasl", "unassigned.c")) as f:
        ranges = [(int(a, 16), int(b, 16)) for a, b in re.findall(r"\{ 0x([0-9a-f]+), 0x([0-9a-f]+) \}", f.read())]
    assert len(ranges) == 396 and ranges == sorted(ranges)
    ours = {c for first, last in ranges for c in range(first, last + 1)}
    surrogates = range(0xd800, 0xe000)
    theirs = {c for c in range(0x110000) if c not in surrogates and stringprep.in_table_a1(chr(c))}
    assert ours == theirs, sorted(ours ^ theirs)[:10]


def test_hashes_from_elsewhere():
    """Software that prepares nothing has hashed what was typed: PLAIN takes it, as it did there."""
    need("openssl")
    for typed, other in (("m\u00b2", "m2"), ("u\u0308", "\u00fc"), ("\u00b4x", "x")):
        made = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=typed.encode() + b"\n", capture_output=True, check=True).stdout
        with server(['alice: "{SHA512-CRYPT}%s"\n' % made.decode().strip()]) as t:
            assert code(t, "alice", typed) == 235, typed
            assert code(t, "alice", other) == 535, typed
            assert "auth_failures" not in t.log_text()


if __name__ == "__main__":
    run([test_both_agree, test_what_is_refused, test_what_is_not_stored, test_the_table_is_that_of_the_rfc, test_hashes_from_elsewhere])
