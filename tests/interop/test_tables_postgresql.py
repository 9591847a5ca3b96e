#!/usr/bin/python3
"""Tables whose entries are in a real PostgreSQL: found, absent, hostile keys; stopped, restarted, slow, talking rubbish."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from logins import plain
from peers import Mute, Postgres
from ternlib import ROOT, SLOW, Client, Tern, fill, free_port, need, run, wait_for

need("setpriv")
if Postgres.folder() is None:
    print("SKIP: PostgreSQL is not installed")
    sys.exit(77)

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
tables:
  mailboxes:
    sql:
      driver: postgresql
      connect: !file connect
      query: "%s"
      cache: 1s
      cache_absent: 1s
      timeout: {wait}
policies:
  inbound:
    - domains: { local: [example.org], recipients: { table: mailboxes } }
routes:
  - { class: local, transport: lmtp, to: ["127.0.0.1:1"] }
"""
QUERY = "SELECT path FROM mailboxes WHERE address = $1"
SCHEMA = """
CREATE TABLE mailboxes (address text PRIMARY KEY, path text);
INSERT INTO mailboxes VALUES ('alice@example.org', '/a'), ('o''brien@example.org', NULL), ('100%@example.org', ''),
  ('long@example.org', repeat('x', 65536)), ('most@example.org', repeat('x', 65535)), ('m\u00fcller@example.org', '');
"""


WAIT, BRIEF = "20s", "%ds" % (2 * SLOW)  # for who answers, on a busy machine; for who does not


def server(connect, query=QUERY, wait=WAIT):
    t = Tern(fill(CONFIG, query), files={"connect": connect}, wait=wait)
    os.chmod(os.path.join(t.dir, "connect"), 0o600)
    return t.start()


def rcpts(t, *addresses):
    c = Client(t.port)
    c.cmd("EHLO client.example")
    c.cmd("MAIL FROM:<a@client.example> SMTPUTF8")
    codes = [c.cmd(("RCPT TO:<%s>" % a).encode())[0] for a in addresses]
    c.close()
    return codes


def said(t, text):
    wait_for(lambda: text in t.log_text(), 5)


def silent_about(t, secret):
    assert secret not in t.log_text(), "the log has the password"


def test_rows_and_hostile_keys():
    with server(pg.connect()) as t:
        assert rcpts(t, "alice@example.org", "Alice@EXAMPLE.org", "bob@example.org", "o'brien@example.org", "100%@example.org",
                     "%@example.org", "'or'1'='1@example.org", '"\'); DROP TABLE mailboxes;--"@example.org', "\\\\'@example.org",
                     "m\u00fcller@example.org", "$1@example.org") == [250, 250, 550, 250, 250, 550, 550, 550, 501, 250, 550]
        assert pg.sql("SELECT count(*) FROM mailboxes") == "6\n"
        silent_about(t, pg.password)


def test_by_tcp():
    with server(pg.connect("127.0.0.1")) as t:
        assert rcpts(t, "alice@example.org", "bob@example.org") == [250, 550]


def test_a_value_that_is_too_long():
    with server(pg.connect()) as t:
        assert rcpts(t, "most@example.org", "long@example.org", "alice@example.org") == [250, 451, 250]
        said(t, "a value is too long")


def test_a_wrong_password():
    with server(pg.connect().replace(pg.password, "sesam12")) as t:
        assert rcpts(t, "alice@example.org") == [451]
        said(t, "password authentication failed")
        silent_about(t, "sesam12")


def test_a_query_that_is_wrong():
    for query, text in (("SELEKT $1", "syntax error"), ("SELECT path FROM nothing WHERE address = $1", "does not exist"),
                        ("UPDATE mailboxes SET path = '' WHERE address = $1", "expected a SELECT"),
                        ("SELECT 1 FROM mailboxes WHERE address = $1 AND path = $2", "PostgreSQL"),
                        ("SELECT 1 WHERE $1 = ''; DROP TABLE mailboxes", "cannot insert multiple commands")):
        with server(pg.connect(), query) as t:
            assert rcpts(t, "alice@example.org") == [451], query
            said(t, text)


def test_a_key_that_the_query_cannot_take():
    """A data exception is that key's fault: others are answered at once."""
    with server(pg.connect(), "SELECT 1 WHERE split_part($1, '@', 1)::int > 5") as t:
        assert rcpts(t, "alice@example.org", "7@example.org", "3@example.org") == [451, 250, 451]  # the last by @example.org


def test_slow():
    with server(pg.connect(), "SELECT pg_sleep(60), $1", BRIEF) as t:
        began = time.monotonic()
        assert rcpts(t, "alice@example.org") == [451]
        assert time.monotonic() - began < 60 * SLOW
        said(t, "no answer in time")
        wait_for(lambda: pg.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' "
                                "AND application_name = 'tern' AND state = 'active'") == "0\n", 10)


def test_stopped_and_started_again():
    own = Postgres(SCHEMA)
    with own, server(own.connect()) as t:
        assert rcpts(t, "alice@example.org", "bob@example.org") == [250, 550]
        own.stop()
        time.sleep(1.1)
        assert rcpts(t, "alice@example.org", "bob@example.org") == [451, 451]
        said(t, "table mailboxes: PostgreSQL:")
        own.go()
        wait_for(lambda: rcpts(t, "alice@example.org", "bob@example.org") == [250, 550], 30, 0.5)
        said(t, "table mailboxes: answers again")


def test_restarted_between_two_questions():
    own = Postgres(SCHEMA)
    with own, server(own.connect()) as t:
        assert rcpts(t, "alice@example.org") == [250]
        own.stop()
        own.go()
        assert rcpts(t, "bob@example.org", "100%@example.org") == [550, 250]


def test_the_recipe():
    """What the module's page says about virtual users, with its own SQL and YAML."""
    with open(os.path.join(ROOT, "modules", "table_sql", "README.md")) as f:
        page = f.read().split("## Virtual users from PostgreSQL")[1]
    schema, yaml = re.search(r"```sql\n(.*?)```", page, re.S).group(1), re.search(r"```yaml\n(.*?)```", page, re.S).group(1)
    own = Postgres(schema.replace("CREATE ROLE tern LOGIN", "CREATE ROLE reader LOGIN PASSWORD 'lesen'").replace("TO tern", "TO reader"))
    own.sql("INSERT INTO domains VALUES ('example.org', 'relaxed'), ('example.net', NULL); "
            "INSERT INTO users VALUES ('alice@example.org', '{PLAIN}se cret', true), ('bob@example.net', NULL, true), ('eve@example.org', NULL, false)")
    yaml = yaml.replace("host=/run/postgresql dbname=mail user=tern", own.connect().replace("user=tern", "user=reader")
                        .replace(own.password, "lesen")).replace("transport: dovecot", "transport: lmtp, to: [\"127.0.0.1:1\"]")
    with own, Tern("hostname: mx.test\nauth: { delay: 0 }\nlisteners:\n  mx: { bind: \"127.0.0.1:{port}\", policy: inbound }\n"
                   "  submission: { bind: \"127.0.0.1:{other}\", policy: outbound, auth: required, auth_plaintext: true }\n" + yaml,
                   other=free_port()).start() as t:
        assert rcpts(t, "alice@example.org", "eve@example.org", "x@elsewhere.example") == [250, 550, 550]
        assert rcpts(t, "bob@example.net") == [451]  # greylisted: only example.org is relaxed
        c = Client(t.values["other"])
        c.cmd("EHLO client.example")
        assert c.cmd("MAIL FROM:<alice@example.org>")[0] == 530
        assert plain(t, "Alice@example.org", "falsch", c)[0] == 535
        assert plain(t, "Alice@example.org", "se cret", c)[0] == 235
        assert c.cmd("MAIL FROM:<alice@example.org>")[0] == 250
        assert c.cmd("RCPT TO:<x@elsewhere.example>")[0] == 250
        assert c.cmd("RCPT TO:<eve@example.org>")[0] == 550
        c.close()


def test_rubbish_and_silence():
    for words, close in ((b"", False), (b"", True), (b"E", False), (b"I am no database at all\r\n" * 100, False),
                         (b"R\xff\xff\xff\xff\0\0\0\0", False), (b"N", True), (os.urandom(4096), True)):
        with Mute(words, close) as mute, \
                server("host=127.0.0.1 port=%d user=tern dbname=postgres password=x" % mute.port, wait=BRIEF) as t:
            began = time.monotonic()
            assert rcpts(t, "alice@example.org") == [451], words
            assert time.monotonic() - began < 60 * SLOW, words
            c = Client(t.port)
            assert c.cmd("NOOP")[0] == 250


with Postgres(SCHEMA) as pg:
    try:
        run([v for k, v in list(globals().items()) if k.startswith("test_")])
    finally:
        pg.__exit__()
