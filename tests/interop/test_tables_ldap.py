#!/usr/bin/python3
"""Tables whose entries are in a real slapd: found, absent, hostile keys; TLS; stopped, restarted, frozen, talking rubbish."""
import os
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Mute, Slapd
from ternlib import SLOW, Client, Tern, fill, freeze, need, run, wait_for

need("slapd", "ldapadd", "openssl", "setpriv")

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
tables:
  mailboxes:
    ldap:
      uri: %s
      base: %s
      filter: "%s"
      attribute: uid
      bind_dn: "cn=reader,dc=test"
      bind_password: !file secret
      cache: 1s
      cache_absent: 1s
      timeout: {wait}%s
policies:
  inbound:
    - domains: { local: [example.org], recipients: { table: mailboxes } }
routes:
  - { class: local, transport: lmtp, to: ["127.0.0.1:1"] }
"""
FILTER = "(&(objectClass=inetOrgPerson)(mail=%{key}))"
LDIF = """dn: cn=reader,dc=test
objectClass: person
cn: reader
sn: reader
userPassword: lesen

""" + "\n".join("dn: uid=%s,dc=test\nobjectClass: inetOrgPerson\ncn: x\nsn: x\nuid: %s\nmail: %s\n" % (u, u, m) for u, m in (
    ("alice", "alice@example.org"), ("obrien", "o'brien@example.org"), ("percent", "100%@example.org"),
    ("star", "a*b@example.org"), ("paren", "(x)@example.org"), ("back", "b\\\\s@example.org")))


WAIT, BRIEF = "20s", "%ds" % (2 * SLOW)  # for who answers, on a busy machine; for who does not


def server(uri=None, base="dc=test", filter=FILTER, more="", secret="lesen", wait=WAIT):
    t = Tern(fill(CONFIG, uri or ldap.uri(), base, filter, more), files={"secret": secret}, wait=wait)
    shutil.copy(ldap.ca, os.path.join(t.dir, "ca.pem"))
    return t.start()


def rcpts(t, *addresses):
    c = Client(t.port)
    c.cmd("EHLO client.example")
    c.cmd("MAIL FROM:<a@client.example>")
    codes = [c.cmd("RCPT TO:<%s>" % a)[0] for a in addresses]
    c.close()
    return codes


def said(t, text):
    wait_for(lambda: text in t.log_text(), 5)


def test_entries_and_hostile_keys():
    with server() as t:
        assert rcpts(t, "alice@example.org", "Alice@EXAMPLE.org", "bob@example.org", "o'brien@example.org", "100%@example.org",
                     "a*b@example.org") == [250, 250, 550, 250, 250, 250]
        for a in ("*@example.org", "a*@example.org", '"*)(mail=*"@example.org', '"alice)(|(mail=*"@example.org', '"\\2a"@example.org',
                  '"*))\\00"@example.org', "%@example.org", "aXb@example.org", '")(uid=*"@example.org'):
            assert rcpts(t, a) == [550], a
        assert rcpts(t, '"(x)"@example.org') == [250]
        assert "lesen" not in t.log_text()


def test_ways_to_it():
    ca = '\n      ca_file: ca.pem'
    for uri, more in ((ldap.uri("ldapi"), ""), (ldap.uri("ldaps"), ca), (ldap.uri(), ca + "\n      starttls: true")):
        with server(uri, more=more) as t:
            assert rcpts(t, "alice@example.org", "bob@example.org") == [250, 550], uri


def test_a_certificate_nobody_vouches_for():
    for uri, more in ((ldap.uri("ldaps"), ""), (ldap.uri(), "\n      starttls: true")):
        with server(uri, more=more) as t:
            assert rcpts(t, "alice@example.org") == [451], uri
            said(t, "table mailboxes: LDAP:")


def test_parts_of_the_key():
    with server(filter="(&(mail=%{local}@%{domain})(uid=%{local}))") as t:
        assert rcpts(t, "alice@example.org", "o'brien@example.org") == [250, 550]


def test_a_wrong_password_and_a_wrong_base():
    with server(secret="sesam12") as t:
        assert rcpts(t, "alice@example.org") == [451]
        said(t, "Invalid credentials")
        assert "sesam12" not in t.log_text()
    with server(base="dc=elsewhere") as t:
        assert rcpts(t, "alice@example.org") == [451]
        said(t, "No such object")


def test_a_filter_that_the_server_does_not_understand():
    with server(filter="(mail=%{key}") as t:
        assert rcpts(t, "alice@example.org") == [451]
        said(t, "Bad search filter")


def test_what_the_configuration_may_not_say():
    good = fill(CONFIG, ldap.uri(), "dc=test", FILTER, "")
    for old, new, text in ((ldap.uri(), "http://x", "expected ldap://host"),
                           ("%{key}", "%{user}", "there are %{key}, %{local}, %{domain}"), ("%{key}", "%s", "there are"),
                           ("%{key}", "x", "there is no %{key} in it"), ("attribute: uid", "attribut: uid", 'did you mean "attribute"?'),
                           ("attribute: uid", "scope: half", "one of sub, one, base"),
                           ('bind_dn: "cn=reader,dc=test"', "scope: one", "go together")):
        assert old in good, old
        t = Tern(good.replace(old, new), files={"secret": "lesen"}, wait=WAIT)
        r = t.cli("check", check=False)
        assert r.returncode != 0 and text in r.stderr + r.stdout, (new, r.stdout, r.stderr)
        assert "lesen" not in r.stderr + r.stdout
        shutil.rmtree(t.dir)


def test_stopped_and_started_again():
    own = Slapd(LDIF)
    with own, server(own.uri()) as t:
        assert rcpts(t, "alice@example.org", "bob@example.org") == [250, 550]
        own.stop()
        time.sleep(1.1)
        assert rcpts(t, "alice@example.org", "bob@example.org") == [451, 451]
        said(t, "table mailboxes: LDAP: Can't contact LDAP server")
        own.go()
        wait_for(lambda: rcpts(t, "alice@example.org", "bob@example.org") == [250, 550], 30, 0.5)
        said(t, "table mailboxes: answers again")


def test_restarted_between_two_questions():
    own = Slapd(LDIF)
    with own, server(own.uri()) as t:
        assert rcpts(t, "alice@example.org") == [250]
        own.stop()
        own.go()
        assert rcpts(t, "bob@example.org", "100%@example.org") == [550, 250]


def test_frozen():
    own = Slapd(LDIF)
    with own, server(own.uri(), wait=BRIEF) as t:
        wait_for(lambda: rcpts(t, "alice@example.org") == [250])
        freeze(own.process.pid)
        try:
            began = time.monotonic()
            assert rcpts(t, "bob@example.org") == [451]
            assert time.monotonic() - began < 60 * SLOW
            said(t, "no answer in time")
        finally:
            own.process.send_signal(signal.SIGCONT)
        wait_for(lambda: rcpts(t, "bob@example.org", "alice@example.org") == [550, 250], 30, 0.5)


def test_rubbish_and_silence():
    huge = b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01"  # a message of 2 GB begins
    ok = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"  # the bind succeeds, then nothing
    for words, close in ((b"", False), (b"", True), (b"I am no directory\r\n" * 100, False), (huge, False), (ok, False),
                         (ok + b"\x30\x05\x02\x01\x02\x65", False), (ok + b"\x30\x80" * 1000, False), (os.urandom(4096), True)):
        one(words, close, "ldap", "")
    for words, close in ((b"", False), (b"", True), (b"\x16\x03\x03\x40\x00half a record", False), (b"no TLS at all\n" * 99, False)):
        one(words, close, "ldaps", "")
    extended = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"  # STARTTLS: go on
    for words in (b"", extended, extended + b"\x16\x03\x03\x40\x00half a record"):
        one(words, False, "ldap", "\n      starttls: true")


def one(words, close, kind, more):
    with Mute(words, close) as mute, server("%s://127.0.0.1:%d" % (kind, mute.port), more=more, wait=BRIEF) as t:
        began = time.monotonic()
        assert rcpts(t, "alice@example.org") == [451], words
        assert time.monotonic() - began < 60 * SLOW, words
        c = Client(t.port)
        assert c.cmd("NOOP")[0] == 250


with Slapd(LDIF) as ldap:
    try:
        run([v for k, v in list(globals().items()) if k.startswith("test_")])
    finally:
        ldap.__exit__()
