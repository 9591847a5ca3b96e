#!/usr/bin/python3
"""Logins by SQLite and PostgreSQL: right, wrong, unknown user, stopped, slow, rubbish, injection. A wrong secret never gets in."""
import hashlib
import os
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from logins import HOSTILE, b64, code, greeted, login, plain, said, scram
from peers import Mute, Postgres
from ternlib import BINARY, SLOW, Tern, fill, need, run, wait_for

need("setpriv")
if Postgres.folder() is None:
    print("SKIP: PostgreSQL is not installed")
    sys.exit(77)

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: outbound, auth_plaintext: true } }
auth: { delay: 0 }
policies:
  outbound:
    - auth_sql:
        driver: %s
        %s
        query: "%s"
        server_timeout: {wait}%s
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - relay_authenticated
routes:
  - { class: local, transport: lmtp, to: ["127.0.0.1:1"] }
  - { transport: smtp, to: ["127.0.0.1:1"] }
"""
QUERY = "SELECT password, login FROM users WHERE name = $1"


def entry(scheme, password):
    r = subprocess.run([BINARY, "passwd", "--line", "--scheme", scheme, "u"], input=password + "\n", capture_output=True, text=True,
                       timeout=60 * SLOW, check=True)
    return r.stdout.strip().split(":", 1)[1]


ROWS = [("alice", entry("SHA512-CRYPT", "se cret"), "alice@example.org"), ("bob", entry("ARGON2ID", "geheim"), None),
        ("scram", entry("SCRAM-SHA-256", "pencil"), None), ("clear", "{PLAIN}klar7text", None), ("none", None, None),
        ("locked", "!", None), ("odd", "{ROT13}x", None), ("bare", "no scheme", None), ("o'brien", "{PLAIN}dash", None)]
SCHEMA = "CREATE TABLE users (name TEXT PRIMARY KEY, password TEXT, login TEXT);\n" + "".join(
    "INSERT INTO users VALUES (%s);\n" % ", ".join("NULL" if v is None else "'%s'" % v.replace("'", "''") for v in row)
    for row in ROWS)


WAIT, BRIEF = "20s", "%ds" % (2 * SLOW)  # for who answers, on a busy machine; for who does not


def sqlite(more="", query=QUERY, schema=SCHEMA, wait=WAIT):
    t = Tern(fill(CONFIG, "sqlite", "path: users.db", query, more), wait=wait)
    t.db = sqlite3.connect(os.path.join(t.dir, "users.db"))
    t.db.executescript(schema)
    t.db.commit()
    os.chmod(os.path.join(t.dir, "users.db"), 0o644)
    return t.start()


def postgres(connect, more="", query=QUERY, wait=WAIT):
    t = Tern(fill(CONFIG, "postgresql", "connect: !file connect", query, more), files={"connect": connect}, wait=wait)
    return t.start()


def servers():
    return [lambda *a: sqlite(*a), lambda *a: postgres(pg.connect(), *a)]


def test_right_wrong_and_unknown():
    for server in servers():
        with server() as t:
            assert [code(t, *p) for p in (("alice", "se cret"), ("bob", "geheim"), ("scram", "pencil"), ("clear", "klar7text"),
                                          ("o'brien", "dash"))] == [235] * 5
            assert [code(t, *p) for p in (("alice", "se cre"), ("alice", "secret"), ("alice", "geheim"), ("alice", "x" * 600),
                                          ("alice", ROWS[0][1]), ("bob", "Geheim"), ("scram", "pencil2"), ("clear", "{PLAIN}klar7text"),
                                          ("none", "x"), ("locked", "!"), ("nobody", "se cret"), ("ALICE", "se cret"))] == [535] * 12
            assert login(t, "alice", "se cret")[0] == 235 and login(t, "alice", "falsch")[0] == 535
            assert [code(t, *p) for p in (("odd", "x"), ("bare", "no scheme"))] == [454, 454]
            for secret in ("se cret", "geheim", "klar7text", pg.password, ROWS[0][1]):
                assert secret not in t.log_text(), "the log has a secret"


def test_the_session_is_the_second_column():
    with sqlite() as t:
        c = greeted(t)
        assert plain(t, "alice", "se cret", c)[0] == 235
        assert c.cmd("MAIL FROM:<alice@example.org>")[0] == 250
        assert c.cmd("RCPT TO:<bob@elsewhere.example>")[0] == 250
        c.close()
        wait_for(lambda: "user=alice@example.org" in t.log_text(), 5)
        c = greeted(t)
        assert c.cmd("MAIL FROM:<alice@example.org>")[0] == 250
        assert c.cmd("RCPT TO:<bob@elsewhere.example>")[0] == 550
        c.close()


def test_scram():
    for server in servers():
        with server("\n        mechanisms: [PLAIN, SCRAM-SHA-256, SCRAM-SHA-1]") as t:
            assert "SCRAM-SHA-256" in greeted(t).words and "LOGIN" not in greeted(t).words
            assert [scram(t, "scram", "pencil"), scram(t, "clear", "klar7text"), scram(t, "clear", "klar7text", "sha1")] == [235] * 3
            assert [scram(t, "scram", "pencil2"), scram(t, "nobody", "pencil"), scram(t, "scram", "pencil", "sha1"),
                    scram(t, "alice", "se cret"), scram(t, "none", "")] == [535] * 5


def test_injection():
    for server in servers():
        with server() as t:
            assert code(t, "alice", "se cret") == 235  # unknown users cost what she costs from now on
            for user in HOSTILE:
                assert code(t, user, "se cret") == 535, user
            assert code(t, b"alice\nx", "se cret") in (501, 535)
            assert code(t, b"al\0ice", "se cret") in (501, 535)
            assert code(t, "alice", "se cret") == 235
    assert pg.sql("SELECT count(*) FROM users") == "%d\n" % len(ROWS)


def test_a_changed_password_holds_at_once():
    with sqlite() as t:
        assert [code(t, "alice", "se cret"), code(t, "alice", "neu")] == [235, 535]
        t.db.execute("UPDATE users SET password = '{PLAIN}neu' WHERE name = 'alice'")
        t.db.commit()
        assert [code(t, "alice", "se cret"), code(t, "alice", "neu")] == [535, 235]


def test_stopped_and_started_again():
    own = Postgres(SCHEMA)
    with own, postgres(own.connect()) as t:
        assert [code(t, "alice", "se cret"), code(t, "alice", "x")] == [235, 535]
        own.stop()
        assert [code(t, "alice", "se cret"), code(t, "alice", "x"), code(t, "nobody", "x")] == [454] * 3
        said(t, "logins by it get 454")
        own.go()
        wait_for(lambda: code(t, "alice", "se cret") == 235, 30, 0.5)
        assert code(t, "alice", "x") == 535
        said(t, "answers again")
        own.stop()
        own.go()
        assert code(t, "alice", "se cret") == 235


def test_a_file_that_is_gone_or_wrong():
    t = Tern(fill(CONFIG, "sqlite", "path: users.db", QUERY, ""), wait=WAIT)
    with t.start():
        assert code(t, "alice", "se cret") == 454
        t.write("users.db", os.urandom(8192))
        time.sleep(0.6)
        assert code(t, "alice", "se cret") == 454
        said(t, "unable to open database file")
    for query in ("SELECT password FROM nobody WHERE name = $1", "SELEKT $1", "SELECT password FROM users WHERE name = $1 AND $2"):
        with sqlite(query=query) as t:
            assert code(t, "alice", "se cret") == 454


def test_slow():
    with postgres(pg.connect(), "", "SELECT pg_sleep(60)::text, $1", BRIEF) as t:
        began = time.monotonic()
        assert code(t, "alice", "se cret") == 454
        assert time.monotonic() - began < 60 * SLOW
    with sqlite(wait=BRIEF) as t:
        t.db.isolation_level = None
        t.db.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert code(t, "alice", "se cret") == 454
        assert time.monotonic() - began < 60 * SLOW
        t.db.execute("COMMIT")
        wait_for(lambda: code(t, "alice", "se cret") == 235, 20, 0.5)


def test_rubbish():
    for words, close in ((b"", False), (b"", True), (b"I am no database\r\n" * 100, False), (b"R\0\0\0\x08\0\0\0\0", False),
                         (b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", False), (os.urandom(4096), True)):
        with Mute(words, close) as mute, postgres("host=127.0.0.1 port=%d user=tern dbname=postgres password=x" % mute.port, wait=BRIEF) as t:
            began = time.monotonic()
            assert code(t, "alice", "se cret") == 454, words
            assert time.monotonic() - began < 60 * SLOW, words


def test_what_the_configuration_may_not_say():
    good = fill(CONFIG, "sqlite", "path: users.db", QUERY, "\n        mechanisms: [PLAIN]")
    for old, new, text in (("[PLAIN]", "[PLAIN, GSSAPI]", "is none of PLAIN, LOGIN"), ("name = $1", "name = 'x'", "has no $1"),
                           ("name = $1", "name = '$1'", "without quotes"), ("path: users.db", "connect: x", "takes path:"),
                           ("driver: sqlite", "driver: mysql", "one of sqlite, postgresql"),
                           ("mechanisms: [PLAIN]", "server_timeut: 1s", "did you mean")):
        assert old in good, old
        with Tern(good.replace(old, new), wait=WAIT) as t:
            r = t.cli("check", check=False)
            assert r.returncode != 0 and text in r.stderr + r.stdout, (new, r.stdout, r.stderr)


with Postgres(SCHEMA) as pg:
    try:
        run([v for k, v in list(globals().items()) if k.startswith("test_")])
    finally:
        pg.__exit__()
