#!/usr/bin/python3
"""Logins by LDAP, in its three ways: right, wrong, unknown user, stopped, slow, rubbish, injection. A wrong secret never gets in.

Begins early: it waits for long.
"""
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from logins import HOSTILE, code, greeted, login, plain, said, scram
from peers import Mute, Slapd
from ternlib import BINARY, SLOW, Tern, fill, freeze, need, run, wait_for

need("slapd", "ldapadd", "openssl", "setpriv")

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: outbound, auth_plaintext: true } }
auth: { delay: 0 }
policies:
  outbound:
    - auth_ldap:
        uri: %s%s
        server_timeout: {wait}
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - relay_authenticated
routes:
  - { class: local, transport: lmtp, to: ["127.0.0.1:1"] }
  - { transport: smtp, to: ["127.0.0.1:1"] }
"""
READER = '\n        bind_dn: "cn=reader,dc=test"\n        bind_password: !file secret\n        base: "dc=test"'
DN = '\n        dn: "uid=%{user},dc=test"\n        cache: 0'
SEARCH = READER + '\n        filter: "(&(objectClass=inetOrgPerson)(uid=%{user}))"\n        login_attribute: mail\n        cache: 0'
HASH = SEARCH + "\n        password_attribute: userPassword\n        mechanisms: [PLAIN, LOGIN, SCRAM-SHA-256]"
WAYS = (DN, SEARCH, HASH)


def entry(scheme, password):
    r = subprocess.run([BINARY, "passwd", "--line", "--scheme", scheme, "u"], input=password + "\n", capture_output=True, text=True,
                       timeout=60 * SLOW, check=True)
    return r.stdout.strip().split(":", 1)[1]


def person(uid, password):
    return "dn: uid=%s,dc=test\nobjectClass: inetOrgPerson\ncn: x\nsn: x\nuid: %s\nmail: %s@example.org\n%s\n" % (
        uid, uid, uid, "userPassword: %s\n" % password if password else "")


# {SSHA} of "se cret" with the salt "salz": what slapd and we both understand.
import base64
import hashlib
SSHA = "{SSHA}" + base64.b64encode(hashlib.sha1(b"se cretsalz").digest() + b"salz").decode()
LDIF = "dn: cn=reader,dc=test\nobjectClass: person\ncn: reader\nsn: reader\nuserPassword: lesen\n\n" + "".join(
    (person("alice", SSHA), person("none", None), person("o'brien", SSHA), person("scram", entry("SCRAM-SHA-256", "pencil")),
     person("twin", SSHA))) + "dn: ou=more,dc=test\nobjectClass: organizationalUnit\nou: more\n\n" + \
    person("twin", SSHA).replace("uid=twin,dc=test", "uid=twin,ou=more,dc=test")


WAIT, BRIEF = "20s", "%ds" % (2 * SLOW)  # for who answers, on a busy machine; for who does not


def server(way, uri=None, wait=WAIT):
    t = Tern(fill(CONFIG, uri or ldap.uri(), way), files={"secret": "lesen"}, wait=wait)
    shutil.copy(ldap.ca, os.path.join(t.dir, "ca.pem"))
    return t.start()


def test_right_wrong_and_unknown():
    for way in WAYS:
        with server(way) as t:
            assert [code(t, "alice", "se cret"), code(t, "o'brien", "se cret")] == [235, 235], way
            for user, password in (("alice", "se cre"), ("alice", "secret"), ("alice", "x" * 600), ("alice", SSHA), ("none", "x"),
                                   ("nobody", "se cret"), ("reader", "se cret")):
                assert code(t, user, password) == 535, (way, user)
            assert login(t, "alice", "se cret")[0] == 235 and login(t, "alice", "falsch")[0] == 535
            for secret in ("se cret", "lesen", SSHA):
                assert secret not in t.log_text(), "the log has a secret"


def test_an_empty_password_is_wrong():
    """slapd takes it for an anonymous bind and would say yes: this one is told to."""
    for way in WAYS:
        with server(way) as t:
            for user in ("alice", "none", "nobody", "reader"):
                assert code(t, user, "") in (501, 535), (way, user)


def test_injection():
    for way in WAYS:
        with server(way) as t:
            assert code(t, "alice", "se cret") == 235  # unknown users cost what she costs from now on
            for user in HOSTILE:
                assert code(t, user, "se cret") == 535, (way, user)
            assert code(t, b"alice\nx", "se cret") in (501, 535)
            assert code(t, b"al\0ice", "se cret") in (501, 535)
            assert code(t, "alice", "se cret") == 235


def test_two_entries_are_nobodys():
    for way in (SEARCH, HASH):
        with server(way) as t:
            assert code(t, "twin", "se cret") == 454
            said(t, "more than one entry")
            assert code(t, "alice", "se cret") == 235  # the others are not put off


def test_the_session_is_the_attribute():
    with server(SEARCH) as t:
        c = greeted(t)
        assert plain(t, "alice", "se cret", c)[0] == 235
        assert c.cmd("MAIL FROM:<alice@example.org>")[0] == 250
        assert c.cmd("RCPT TO:<bob@elsewhere.example>")[0] == 250
        c.close()
        wait_for(lambda: "user=alice@example.org" in t.log_text(), 5)


def test_one_user_is_one_name():
    """The directory heeds neither case nor blanks: a session is known by one name, and what may be sent goes by that."""
    for way in (DN, SEARCH.replace("        login_attribute: mail\n", ""), HASH.replace("        login_attribute: mail\n", "")):
        with server(way) as t:
            for i, user in enumerate(("alice", "ALICE", " Alice", "aLice  ")):
                c = greeted(t)
                assert plain(t, user, "se cret", c)[0] == 235, (way, user)
                assert c.cmd("MAIL FROM:<alice@example.org>")[0] == 250
                assert c.cmd("RCPT TO:<bob@elsewhere.example>")[0] == 250
                assert c.cmd("DATA")[0] == 354
                c.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
                assert c.reply()[0] == 250
                c.close()
                wait_for(lambda: t.log_now().count(" user=alice ") + t.log_now().count(" user=alice\n") > i, 10)
            assert "user=ALICE" not in t.log_text() and "user=\"" not in t.log_text(), t.log_text()


def test_scram():
    with server(HASH) as t:
        assert [scram(t, "scram", "pencil"), scram(t, "scram", "pencil2"), scram(t, "nobody", "pencil"),
                scram(t, "alice", "se cret")] == [235, 535, 535, 535]


def test_tls():
    ca = "\n        ca_file: ca.pem"
    for uri, more in ((ldap.uri("ldapi"), ""), (ldap.uri("ldaps"), ca), (ldap.uri(), ca + "\n        starttls: true")):
        for way in WAYS:
            with server(way + more, uri) as t:
                assert [code(t, "alice", "se cret"), code(t, "alice", "x")] == [235, 535], (uri, way)
    for way in WAYS:  # nobody vouches for the certificate: no password is sent
        with server(way, ldap.uri("ldaps")) as t:
            assert code(t, "alice", "se cret") == 454


def test_what_is_remembered():
    """A right password is taken for `cache` without asking; a wrong one never is."""
    own = Slapd(LDIF)
    with own, server(DN.replace("cache: 0", "cache: 5m"), own.uri()) as t:
        assert code(t, "alice", "se cret") == 235
        own.stop()
        assert [code(t, "alice", "se cret"), code(t, "alice", "x"), code(t, "o'brien", "se cret")] == [235, 454, 454]


def test_stopped_and_started_again():
    for way in WAYS:
        own = Slapd(LDIF)
        with own, server(way, own.uri()) as t:
            assert [code(t, "alice", "se cret"), code(t, "alice", "x")] == [235, 535]
            own.stop()
            assert [code(t, "alice", "se cret"), code(t, "alice", "x"), code(t, "nobody", "x")] == [454] * 3
            said(t, "logins by it get 454")
            own.go()
            wait_for(lambda: code(t, "alice", "se cret") == 235, 30, 0.5)
            assert code(t, "alice", "x") == 535
            said(t, "answers again")


def test_frozen():
    for way in WAYS:
        own = Slapd(LDIF)
        with own, server(way, own.uri(), BRIEF) as t:
            wait_for(lambda: code(t, "alice", "se cret") == 235)
            freeze(own.process.pid)
            try:
                began = time.monotonic()
                assert code(t, "alice", "se cret") == 454
                assert time.monotonic() - began < 60 * SLOW
            finally:
                own.process.send_signal(signal.SIGCONT)
            wait_for(lambda: code(t, "alice", "se cret") == 235, 30, 0.5)


def test_rubbish():
    ok = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"  # the bind succeeds
    for words, close in ((b"", False), (b"", True), (b"I am no directory\r\n" * 100, False), (b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01", False),
                         (ok[:-3], False), (os.urandom(4096), True)):
        for way in WAYS:
            with Mute(words, close) as mute, server(way, "ldap://127.0.0.1:%d" % mute.port, BRIEF) as t:
                began = time.monotonic()
                assert code(t, "alice", "se cret") == 454, (words, way)
                assert time.monotonic() - began < 60 * SLOW, (words, way)
    with Mute(ok + b"\x30\x05\x02\x01\x02\x65") as mute, server(SEARCH, "ldap://127.0.0.1:%d" % mute.port, BRIEF) as t:
        assert code(t, "alice", "se cret") == 454


def test_what_the_configuration_may_not_say():
    good = fill(CONFIG, ldap.uri(), SEARCH)
    for old, new, text in (("cache: 0", 'dn: "uid=%{user}"', "either dn:, or base: and filter:"), ("%{user}", "%{key}", "there are %{user}"),
                           ("login_attribute: mail", "mechanisms: [PLAIN, SCRAM-SHA-256]", "needs password_attribute:"),
                           ("login_attribute: mail", "mechanisms: [PLAIN, NTLM]", "is none of PLAIN"),
                           ("cache: 0", "starttls: maybe", "starttls"), (ldap.uri(), "x", "expected ldap://host")):
        assert old in good, old
        with Tern(good.replace(old, new), files={"secret": "lesen"}, wait=WAIT) as t:
            r = t.cli("check", check=False)
            assert r.returncode != 0 and text in r.stderr + r.stdout, (new, r.stdout, r.stderr)
    with Tern(good.replace(ldap.uri(), "ldap://ldap.example.org"), files={"secret": "lesen"}, wait=WAIT) as t:
        r = t.cli("check", check=False)
        assert "in clear" in r.stderr + r.stdout, (r.stdout, r.stderr)


with Slapd(LDIF) as ldap:
    try:
        run([v for k, v in list(globals().items()) if k.startswith("test_")])
    finally:
        ldap.__exit__()
