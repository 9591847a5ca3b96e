#!/usr/bin/python3
"""Tables whose entries are in SQLite, asked by the real server: domains, recipients, routes, profiles; and what goes wrong."""
import os
import shutil
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
tables:
  hosted:
    sql: { driver: sqlite, path: mail.db, query: "SELECT 1 FROM domains WHERE name = $1" }
  mailboxes:
    sql:
      driver: sqlite
      path: mail.db
      query: "SELECT path FROM mailboxes WHERE address = $1"
      cache: 1s
      cache_absent: 1s
      timeout: %ds
policies:
  inbound:
    - domains: { local: { table: hosted }, recipients: { table: mailboxes } }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { class: local, transport: mailboxes }
""".replace("%ds", "20s")  # for who answers, on a busy machine
BRIEF = CONFIG.replace("timeout: 20s", "timeout: %ds" % (2 * SLOW))  # for who does not
SCHEMA = """
CREATE TABLE domains (name TEXT PRIMARY KEY);
CREATE TABLE mailboxes (address TEXT PRIMARY KEY, path TEXT);
INSERT INTO domains VALUES ('example.org'), ('example.net');
INSERT INTO mailboxes VALUES ('alice@example.org', '/a'), ('o''brien@example.org', NULL), ('100%@example.org', '');
"""


def database(path, schema=SCHEMA):
    db = sqlite3.connect(path)
    db.executescript(schema)
    db.commit()
    os.chmod(path, 0o644)
    return db


def rcpts(t, *addresses):
    c = Client(t.port)
    c.cmd("EHLO client.example")
    c.cmd("MAIL FROM:<a@client.example>")
    codes = [c.cmd("RCPT TO:<%s>" % a)[0] for a in addresses]
    c.close()
    return codes


def said(t, text):
    """The log's thread may come a moment later."""
    wait_for(lambda: text in t.log_text(), 5)


def server(config=CONFIG, schema=SCHEMA):
    t = Tern(config)
    t.db = database(os.path.join(t.dir, "mail.db"), schema) if schema is not None else None
    return t.start()


def test_domains_and_recipients_are_rows():
    with server() as t:
        assert rcpts(t, "alice@example.org", "ALICE@Example.ORG", "bob@example.org", "x@elsewhere.example") == \
            [250, 250, 550, 550]
        c = Client(t.port)
        code, text = c.mail("a@client.example", ["alice@example.org"], "Subject: x\n\nhello\n")
        c.close()
        assert code == 250, text
        wait_for(lambda: t.maildir("alice"), 20)


def test_a_key_is_never_part_of_the_query():
    with server() as t:
        assert rcpts(t, "o'brien@example.org", "100%@example.org", "%@example.org", "_lice@example.org",
                     "'or'1'='1@example.org", '"\' OR 1=1 --"@example.org', '"\'); DROP TABLE mailboxes;--"@example.org',
                     "alice@example.org") == [250, 250, 550, 550, 550, 550, 550, 250]
        assert t.db.execute("SELECT count(*) FROM mailboxes").fetchone() == (3,)


def test_changes_are_seen_when_the_answer_is_old():
    with server() as t:
        assert rcpts(t, "bob@example.org", "alice@example.org") == [550, 250]
        t.db.executescript("INSERT INTO mailboxes VALUES ('bob@example.org', '/b'); "
                           "DELETE FROM mailboxes WHERE address = 'alice@example.org'")
        wait_for(lambda: rcpts(t, "bob@example.org", "alice@example.org") == [250, 550], 10, 0.3)


def test_no_database_is_a_temporary_refusal():
    with server(schema=None) as t:
        assert rcpts(t, "alice@example.org", "x@elsewhere.example") == [451, 451]
        said(t, "table hosted: SQLite:")
        t.db = database(os.path.join(t.dir, "mail.db"))
        wait_for(lambda: rcpts(t, "alice@example.org", "x@elsewhere.example") == [250, 550], 20, 0.3)
        said(t, "table hosted: answers again")


def test_a_file_that_is_no_database():
    with server(schema=None) as t:
        t.write("mail.db", b"this is no database, although it is long enough to look like one\n" * 100)
        assert rcpts(t, "alice@example.org") == [451]
        said(t, "file is not a database")


def test_a_table_that_is_not_there():
    with server(schema="CREATE TABLE other (x)") as t:
        assert rcpts(t, "alice@example.org") == [451]
        said(t, "no such table: domains")


def test_a_writer_that_holds_the_file():
    """A locked database answers nobody for longer than `timeout`, and then all again."""
    with server(BRIEF) as t:
        wait_for(lambda: rcpts(t, "alice@example.org") == [250])
        time.sleep(1.2)
        t.db.isolation_level = None
        t.db.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert rcpts(t, "alice@example.org") == [451]
        assert 0.5 < time.monotonic() - began < 60 * SLOW, time.monotonic() - began
        said(t, "no answer in time")
        t.db.execute("COMMIT")
        wait_for(lambda: rcpts(t, "alice@example.org") == [250], 20, 0.3)


def test_a_query_that_never_ends():
    slow = BRIEF.replace("SELECT path FROM mailboxes WHERE address = $1",
                          "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
                          "SELECT count(*) FROM n WHERE $1 <> ''")
    with server(slow) as t:
        began = time.monotonic()
        assert rcpts(t, "alice@example.org") == [451]
        assert time.monotonic() - began < 60 * SLOW
        said(t, "no answer in time")


def test_what_the_configuration_may_not_say():
    ask = 'query: "SELECT path FROM mailboxes WHERE address = $1"'
    for old, new, said in (
            ("driver: sqlite\n", "driver: oracle\n", "expected one of sqlite, postgresql"),
            ("driver: sqlite\n", "driver: postgresql\n", "takes connect:"),
            (ask, 'query: "SELECT path FROM mailboxes"', "has no $1"),
            (ask, "query: \"SELECT path FROM mailboxes WHERE address = '$1'\"", "stands without quotes"),
            ("timeout: 20s", "timeuot: 1s", 'did you mean "timeout"?'),
            ("timeout: 20s", "timeout: 1ms", "100ms to 1m"),
            ("    sql:\n      driver", "    sqll:\n      driver", "table_sqll"),
            ("path: mail.db\n", "path: mail.db\n      connect: x\n", "no connect:")):
        assert old in CONFIG, old
        t = Tern(CONFIG.replace(old, new))
        r = t.cli("check", check=False)
        assert r.returncode != 0 and said in r.stderr + r.stdout, (new, r.stdout, r.stderr)
        assert "tern.yaml:" in r.stderr + r.stdout
        shutil.rmtree(t.dir)


def test_a_query_that_writes_is_refused():
    for query in ("DELETE FROM mailboxes WHERE address = $1 RETURNING path", "SELECT 1 FROM mailboxes; SELECT $1",
                  "SELECT path FROM mailboxes WHERE address = $1 AND path = $2"):
        with server(CONFIG.replace("SELECT path FROM mailboxes WHERE address = $1", query)) as t:
            assert rcpts(t, "alice@example.org") == [451]
            said(t, "expected")
            assert t.db.execute("SELECT count(*) FROM mailboxes").fetchone() == (3,)


PROFILES = CONFIG.replace("- domains:", "- rcpt_limit: { max: 1 }\n    - domains:") + """
profiles:
  many: { rcpt_limit: { max: 3 } }
profile_for:
  domain:
    sql: { driver: sqlite, path: mail.db, query: "SELECT profile FROM profiles WHERE name = $1", cache: 1s, cache_absent: 1s }
  user: { sql: { driver: sqlite, path: mail.db, query: "SELECT profile FROM profiles WHERE name = $1", cache: 1s, cache_absent: 1s } }
"""
PEOPLE = SCHEMA + """
CREATE TABLE profiles (name TEXT PRIMARY KEY, profile TEXT);
INSERT INTO mailboxes VALUES ('b@example.org', ''), ('c@example.org', ''), ('a@example.net', ''), ('b@example.net', '');
"""


def test_profiles_are_rows():
    with server(PROFILES, PEOPLE) as t:
        org = ("alice@example.org", "b@example.org", "c@example.org")
        assert rcpts(t, *org) == [250, 452, 452]
        t.db.executescript("INSERT INTO profiles VALUES ('example.org', 'many')")
        wait_for(lambda: rcpts(t, *org) == [250, 250, 250], 10, 0.3)
        assert rcpts(t, "a@example.net", "b@example.net") == [250, 452]
        t.db.executescript("INSERT INTO profiles VALUES ('b@example.net', 'many')")
        wait_for(lambda: rcpts(t, "a@example.net", "b@example.net") == [250, 250], 10, 0.3)
        t.db.executescript("UPDATE profiles SET profile = 'unknown' WHERE name = 'example.org'")
        wait_for(lambda: rcpts(t, "alice@example.org") == [451], 10, 0.3)
        c = Client(t.port)  # the whole way: rcpt, message, queue, route, deliver
        code, text = c.mail("a@client.example", ["b@example.net"], "Subject: x\n\nhello\n")
        c.close()
        assert code == 250, text
        wait_for(lambda: t.maildir("b"), 20)


def test_profiles_that_cannot_be_looked_up():
    with server(PROFILES, PEOPLE) as t:
        t.db.executescript("DROP TABLE profiles")
        assert rcpts(t, "alice@example.org") == [451]
        said(t, "no such table: profiles")
        t.db.executescript("CREATE TABLE profiles (name TEXT PRIMARY KEY, profile TEXT)")
        wait_for(lambda: rcpts(t, "alice@example.org") == [250], 20, 0.3)


def test_profiles_at_vrfy():
    """A row switches the step off that would answer; a table that is gone is no answer to VRFY and 451 to EXPN; nobody need wait."""
    config = PROFILES.replace("policy: inbound }", "policy: inbound, vrfy: policy, expn: policy }", 1)
    config = config.replace("profiles:\n", "profiles:\n  mute: { domains: off }\n", 1)
    with server(config, PEOPLE) as t:
        def answers(*lines):
            c = Client(t.port)
            c.cmd("EHLO client.example")
            codes = [c.cmd(line)[0] for line in lines]
            c.close()
            return codes
        both = ("VRFY alice@example.org", "VRFY nobody@example.org")
        assert answers(*both) == [250, 550]
        t.db.executescript("INSERT INTO profiles VALUES ('example.org', 'mute')")
        wait_for(lambda: answers(*both) == [252, 252], 10, 0.3)
        t.db.executescript("DROP TABLE profiles")
        wait_for(lambda: answers(*both, "EXPN alice@example.org") == [252, 252, 451], 10, 0.3)
        for i in range(20):
            c = Client(t.port)
            c.cmd("EHLO client.example")
            c.send("VRFY x%d@example.org\r\n" % i)
            c.close()
        t.db.executescript("CREATE TABLE profiles (name TEXT PRIMARY KEY, profile TEXT)")
        wait_for(lambda: answers(*both) == [250, 550], 20, 0.3)


def test_a_client_that_leaves_while_a_profile_is_asked_for():
    slow = PROFILES.replace("SELECT profile FROM profiles WHERE name = $1",
                            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n WHERE $1 <> ''")
    with server(slow.replace("cache: 1s, cache_absent: 1s", "timeout: 500ms"), PEOPLE) as t:
        for _ in range(20):
            c = Client(t.port)
            c.cmd("EHLO client.example")
            c.cmd("MAIL FROM:<a@client.example>")
            c.send("RCPT TO:<alice@example.org>\r\n")
            c.close()
        assert rcpts(t, "alice@example.org") == [451]
        t.cli("reload")
        assert rcpts(t, "b@example.org") == [451]


def test_many_ask_for_the_same_at_once():
    with server(CONFIG.replace("cache: 1s", "cache: 5m").replace("cache_absent: 1s", "cache_absent: 5m")) as t:
        clients = [Client(t.port) for _ in range(30)]
        for c in clients:
            c.cmd("EHLO client.example")
            c.send("MAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\n")
        for c in clients:
            assert c.reply()[0] == 250 and c.reply()[0] == 250
            c.close()
        assert t.metric('tern_table_questions_total{type="sql"}') < 30


def test_a_reload_keeps_what_is_known():
    with server(CONFIG.replace("cache: 1s", "cache: 5m").replace("cache_absent: 1s", "cache_absent: 5m")) as t:
        assert rcpts(t, "alice@example.org") == [250]
        before = t.metric('tern_table_questions_total{type="sql"}')
        t.cli("reload")
        assert rcpts(t, "x@example.net") == [550]
        assert rcpts(t, "x@example.net") == [550]
        after = t.metric('tern_table_questions_total{type="sql"}')
        assert after - before <= 3, (before, after)  # example.net and x@example.net are new


run([v for k, v in list(globals().items()) if k.startswith("test_")])
