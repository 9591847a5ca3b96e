#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hold:` in the real server: a held message that nobody releases is discarded or bounced when it has expired.

Begins early: it waits for long.
"""
import json
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
hold: { expire: {expire}, then: {then} }
policies:
  inbound:
    - domains: { local: [home.example], recipients: [sender@home.example, bob@home.example, eve@home.example] }
    - lua: { script: hold.lua, name: quarantine }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { domain: [home.example], transport: mailboxes }
"""
HOLD = """local tern = require "tern"
tern.on("message", function() return tern.hold("looks suspect") end)
"""


EXPIRE_S = 6 + 2 * SLOW  # what a test has to do before that takes a busy machine a while


def server(then, expire="%ds" % EXPIRE_S):
    return Tern(CONFIG, files={"hold.lua": HOLD}, then=then, expire=expire).start()


def send(t, sender="sender@home.example", rcpts=("bob@home.example", "eve@home.example")):
    c = Client(t.port)
    code, text = c.mail(sender, list(rcpts), "Subject: held\n\nhello\n")
    c.close()
    assert code == 250, (code, text)
    return queue_id(text)


def row(t, ident):
    """Its line of the list; a server that has just started may not list it yet."""
    return wait_for(lambda: next((m for m in t.queue() if m["id"] == ident), None))


def lines(t, ident, event):
    return [l for l in t.log_text().splitlines() if re.search(r" %s %s " % (ident, event), l)]


def nowhere(t):
    return t.maildir("bob") == [] and t.maildir("eve") == []


def test_discard():
    with server("discard", "1h") as t:
        ident = send(t)
        m = row(t, ident)
        assert m["held"] and -50 < m["hold_until"] - m["arrival_ms"] - 3600000 < 30000, m
        text = t.cli("queue", "show", ident).stdout
        assert "held: looks suspect" in text and "    until 20" in text, text
        t.write_config(CONFIG.replace("{expire}", "1s"))
        t.cli("reload")
        wait_for(lambda: t.queue() == [])
        assert t.status()["held"] == 0 and nowhere(t) and t.maildir("sender") == []
        got = wait_for(lambda: len(lines(t, ident, "discarded")) == 2 and lines(t, ident, "discarded"))
        assert "held by quarantine: looks suspect; not released in time" in got[0], t.log_text()
        t.stop()
        assert t.cli("queue", "fsck").stdout.endswith(": 0 findings\n")


def test_bounce():
    with server("bounce") as t:
        ident = send(t)
        notice = wait_for(lambda: t.maildir("sender"), 20)
        wait_for(lambda: t.queue() == [])
        assert len(notice) == 1 and nowhere(t), notice
        text = notice[0] if isinstance(notice[0], str) else notice[0].decode()
        text = re.sub(r"\r?\n[ \t]+", " ", text)
        for part in ("Final-Recipient: rfc822; bob@home.example", "Final-Recipient: rfc822; eve@home.example",
                     "Action: failed", "Status: 5.7.1", "held by quarantine: looks suspect"):
            assert part in text, (part, text)
        wait_for(lambda: len(lines(t, ident, "expired")) == 2)


def test_null_sender_gets_no_notice():
    with server("bounce") as t:
        ident = send(t, sender="")
        wait_for(lambda: t.queue() == [])
        wait_for(lambda: len(lines(t, ident, "expired")) == 2)
        assert "origin=dsn" not in t.log_text(), t.log_text()
        assert nowhere(t) and t.maildir("sender") == []


def test_no_notice_no_bounce():
    """A notice that the policy does not take leaves the mail held since the same time; it can still be released."""
    later = "  generated:\n    - lua: { script: later.lua, name: later }\ntransports:"
    with server("bounce") as t:
        t.write("later.lua", 'local tern = require "tern"\ntern.on("queue", function() return tern.defer("not now") end)\n')
        t.stop()
        t.write_config(CONFIG.replace("transports:", later))
        t.start()
        ident = send(t)
        until = row(t, ident)["hold_until"]
        wait_for(lambda: lines(t, ident, "deferred"))
        time.sleep(0.5)
        m = row(t, ident)
        assert m["held"] and m["hold_until"] == until and m["pending"] == 2 and t.maildir("sender") == [], m
        assert t.status()["held"] == 1 and lines(t, ident, "expired") == []
        t.cli("queue", "release", ident)
        wait_for(lambda: t.maildir("bob") and t.maildir("eve"))
        wait_for(lambda: t.queue() == [])


def test_released_in_time_and_deleted():
    with server("discard") as t:
        ident, other = send(t), send(t)
        t.cli("queue", "release", ident)
        t.cli("queue", "delete", other)
        wait_for(lambda: t.maildir("bob") and t.maildir("eve"))
        wait_for(lambda: t.queue() == [])
        time.sleep(EXPIRE_S + 0.5)
        assert lines(t, ident, "discarded") == [] and len(t.maildir("bob")) == 1


def test_reload_and_restart():
    """A longer or shorter expiry takes effect by a reload; what expired while the server was down ends at its start."""
    with server("discard", "1h") as t:
        first = send(t)
        time.sleep(1)
        assert row(t, first)["held"]
        t.write_config(CONFIG.replace("{expire}", "1s"))
        t.cli("reload")
        wait_for(lambda: t.queue() == [])
        t.write_config(CONFIG.replace("{expire}", "1h"))
        t.cli("reload")
        second = send(t)
        since = row(t, second)["hold_until"]
        t.stop(signal.SIGKILL)
        t.write_config(CONFIG.replace("{expire}", "20m"))
        t.start()
        m = row(t, second)
        assert m["held"] and since - m["hold_until"] == 40 * 60 * 1000, (since, m)
        t.stop()
        t.write_config(CONFIG.replace("{expire}", "1s"))
        t.start()
        wait_for(lambda: len(lines(t, second, "discarded")) == 2)
        wait_for(lambda: t.queue() == [])
        assert nowhere(t)


def test_the_operators_hold_counts_from_then():
    with server("discard") as t:
        ident = send(t)
        t.cli("queue", "release", ident)
        wait_for(lambda: t.queue() == [])
        t.write_config(CONFIG.replace("hostname: mx.test", "hostname: mx.test\ndelivery: false"))
        t.cli("reload")
        ident = send(t)
        t.cli("queue", "release", ident)
        time.sleep(1)
        t.cli("queue", "hold", ident)
        m = json.loads(t.cli("queue", "--json", "show", ident).stdout)
        assert m["hold_reason"] == "operator" and "hold_step" not in m, m
        assert m["hold_until"] - m["arrival_ms"] > 1000 * EXPIRE_S + 900, m
        t.stop(signal.SIGKILL)
        t.start()
        row(t, ident)
        again = json.loads(t.cli("queue", "--json", "show", ident).stdout)
        assert again["hold_reason"] == "operator" and again["hold_until"] == m["hold_until"], (m, again)
        time.sleep(max(0, m["hold_until"] / 1000 - time.time()) + 0.5)
        assert row(t, ident)["held"], "nothing ends while delivery is off"
        t.write_config(CONFIG)
        t.cli("reload")
        wait_for(lambda: t.queue() == [])
        got = wait_for(lambda: lines(t, ident, "discarded"))
        assert "held by the operator; not released in time" in got[0], t.log_text()
        assert len(t.maildir("bob")) == 1


run([test_discard, test_bounce, test_null_sender_gets_no_notice, test_no_notice_no_bounce,
     test_released_in_time_and_deleted,
     test_reload_and_restart, test_the_operators_hold_counts_from_then])
