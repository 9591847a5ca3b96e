#!/usr/bin/python3
"""`tern queue`, status, metrics, hooks and why against the running server, and fsck after it."""
import json
import os
import re
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Sink
from ternlib import Client, Tern, free_port, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
retry: { min: 1h, max: 1h }
policies:
  inbound:
    - domains: { local: [home.example], recipients: [sender@home.example, bob@home.example], networks: [127.0.0.0/8] }
    - lua: { script: hold.lua, name: quarantine }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
  far: { type: smtp, to: ["127.0.0.1:{sink}"] }
routes:
  - { domain: [home.example], transport: mailboxes }
  - { transport: far }
"""
HOLD = """local tern = require "tern"
tern.on("message", function(txn)
  local subject = txn:header("Subject") or ""
  if subject:find("suspect") then return tern.hold("looks suspect") end
  if subject:find("refuse") then return tern.reject(550, "5.7.1", "Not this one") end
end)
"""
LATER = {"*": ["451 4.2.1 Busy", "250 2.1.5 Ok"]}
ALWAYS = {"*": "451 4.2.1 Busy"}


def server(sink):
    return up(Tern(CONFIG, files={"hold.lua": HOLD}, sink=sink.port))


def up(t):
    """Starts it, and waits for the control socket too: the supervisor listens on the others earlier."""
    t.start()
    wait_for(lambda: t.cli("status", check=False).returncode == 0, 20)
    return t


def send(t, rcpts, subject="x"):
    c = Client(t.port)
    code, text = c.mail("sender@home.example", rcpts, "Subject: %s\n\nhello\n" % subject)
    c.close()
    assert code == 250, (code, text)
    return queue_id(text)


def deferred(t, ident):
    def tried():
        rows = [m for m in t.queue() if m["id"] == ident]
        return rows and rows[0]["attempts"] == 1 and rows[0]
    return wait_for(tried)


def test_list_and_show():
    with Sink(ALWAYS) as sink, server(sink) as t:
        assert t.cli("queue", "list").stdout == "0 messages\n"
        ident = send(t, ["x@far.example", "y@far.example"])
        row = deferred(t, ident)
        assert row["from"] == "sender@home.example" and row["held"] is False and row["pending"] == 2, row
        assert [r["address"] for r in row["rcpts"]] == ["x@far.example", "y@far.example"]
        assert all(r["state"] == "queued" and r["class"] == "client" and "Busy" in r["reply"] for r in row["rcpts"]), row
        wait = row["due_ms"] / 1000 - time.time()
        assert 2800 < wait < 4400, wait
        text = t.cli("queue", "list").stdout
        assert ident in text and "<x@far.example>" in text and "451 4.2.1 Busy" in text, text
        assert "1 so far" in text and text.endswith("\n1 message\n"), text
        text = t.cli("queue", "show", ident).stdout
        for part in ("origin: smtp", "policy: inbound", "listener: mx", "client: 127.0.0.1", "helo: client.example",
                     "Received: from client.example", "\nSubject: x"):
            assert part in text, (part, text)
        shown = json.loads(t.cli("queue", "--json", "show", ident).stdout)
        assert shown["header"].endswith("Subject: x\r\n") and shown["policy"] == "inbound", shown


def control(t, path):
    """What the control socket says, without a process in between."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(t.dir, "spool", "control"))
        s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
        return b"".join(iter(lambda: s.recv(1 << 20), b"")).decode()


def test_what_is_acknowledged_is_listed():
    """The list knows it as soon as the client does, though the loop tells the scheduler a moment later."""
    with Sink(ALWAYS) as sink, server(sink) as t:
        c = Client(t.port)
        for n in range(200):
            code, text = c.mail("sender@home.example", ["x@far.example"], "Subject: suspect\n\nhello\n")
            assert code == 250, text
            assert queue_id(text) in control(t, "/queue?max=1000"), "%s, the %d." % (text, n + 1)
        c.close()


def test_retry():
    with Sink(LATER) as sink, server(sink) as t:
        ident = send(t, ["x@far.example"])
        deferred(t, ident)
        assert t.cli("queue", "retry", ident).stdout == "%s: retry\n" % ident
        wait_for(lambda: sink.mails and t.queue() == [])


def test_retry_of_a_site_that_could_not_be_reached():
    """The operator's word counts, not the time for which the site is left alone."""
    port = free_port()
    with Tern(CONFIG, files={"hold.lua": HOLD}, sink=port) as t:
        up(t)
        ident = send(t, ["x@far.example"])
        deferred(t, ident)
        with Sink(port=port) as sink:
            t.cli("queue", "retry", ident)
            wait_for(lambda: sink.mails and t.queue() == [])


def test_a_reload_changes_the_way():
    with Sink(ALWAYS) as sink, Sink() as other, server(sink) as t:
        ident = send(t, ["x@far.example"])
        deferred(t, ident)
        t.values["sink"] = other.port
        t.write_config(CONFIG)
        t.cli("reload")
        t.cli("queue", "retry", ident)
        wait_for(lambda: other.mails and t.queue() == [])
        t.write_config(CONFIG.replace("{ transport: far }", "{ transport: mailboxes }"))
        t.cli("reload")
        send(t, ["late@far.example"])
        wait_for(lambda: t.maildir("late"))


def test_hold_and_release():
    with Sink(LATER) as sink, server(sink) as t:
        ident = send(t, ["x@far.example"])
        deferred(t, ident)
        t.cli("queue", "hold", ident)
        assert t.queue()[0]["held"] and "HELD" in t.cli("queue", "list").stdout
        assert t.status()["held"] == 1
        for verb in ("hold", "retry"):
            r = t.cli("queue", verb, ident, check=False)
            assert r.returncode == 1 and "is held" in r.stderr, r
        time.sleep(0.3)
        assert not sink.mails
        t.cli("queue", "release", ident)
        wait_for(lambda: sink.mails and t.queue() == [])
        r = t.cli("queue", "release", ident, check=False)
        assert r.returncode == 1 and "not in the queue" in r.stderr, r


def test_delete():
    with Sink(ALWAYS) as sink, server(sink) as t:
        idents = [send(t, ["x@far.example"]) for _ in range(3)]
        for i in idents:
            deferred(t, i)
        t.cli("queue", "hold", idents[1])
        assert t.cli("queue", "delete", *idents[:2]).stdout == "".join("%s: delete\n" % i for i in idents[:2])
        assert [m["id"] for m in t.queue()] == idents[2:]
        assert t.maildir("sender") == []
        r = t.cli("queue", "delete", idents[0], idents[2], check=False)
        assert r.returncode == 1 and t.queue() == [], r


def test_changes_as_json():
    with Sink(ALWAYS) as sink, server(sink) as t:
        ident = send(t, ["x@far.example"])
        deferred(t, ident)

        def change(verb, *idents, code=0):
            r = t.cli("queue", "--json", verb, *idents, check=False)
            assert r.returncode == code and not r.stderr, r
            return [json.loads(line) for line in r.stdout.splitlines()]

        for verb in ("hold", "release", "retry"):
            assert change(verb, ident) == [{"id": ident, "verb": verb, "done": True}]
        gone, done = change("delete", "0000000000000", ident, code=1)
        assert gone["done"] is False and gone["id"] == "0000000000000" and "not in the queue" in gone["error"], gone
        assert done == {"id": ident, "verb": "delete", "done": True}, done
        assert not gone["error"].endswith("\n") and t.queue() == []


def test_wrong_words():
    with Sink() as sink, server(sink) as t:
        for words, code in ((["show", "0000000000000"], 1), (["show", "not an id/../.."], 1), (["retry", "nonsense"], 1),
                            (["release", "0000000000000"], 1), (["explode", "x"], 2), (["hold"], 2), ([], 2)):
            r = t.cli("queue", *words, check=False)
            assert r.returncode == code and r.stderr, (words, r)


def test_held_by_a_step_survives_restarts():
    with Sink() as sink, server(sink) as t:
        ident = send(t, ["bob@home.example"], "suspect")
        for how in (signal.SIGTERM, signal.SIGKILL):
            row = wait_for(t.queue)[0]
            assert row["id"] == ident and row["held"] and row["hold_reason"] == "looks suspect", row
            assert "hold_step: quarantine" in t.cli("queue", "show", ident).stdout
            t.stop(how)
            up(t)
        assert t.maildir("bob") == []
        t.cli("queue", "release", ident)
        wait_for(lambda: t.maildir("bob"))
        wait_for(lambda: t.queue() == [])


def test_held_by_the_operator_survives_a_restart():
    with Sink(LATER) as sink, server(sink) as t:
        ident = send(t, ["x@far.example"])
        deferred(t, ident)
        t.cli("queue", "hold", ident)
        t.stop(signal.SIGKILL)
        up(t)
        row = wait_for(t.queue)[0]
        assert row["held"] and row["attempts"] == 1 and "Busy" in row["rcpts"][0]["reply"], row
        t.cli("queue", "release", ident)
        wait_for(lambda: sink.mails and t.queue() == [])


def test_fsck():
    with Sink(ALWAYS) as sink, server(sink) as t:
        for i in range(5):
            send(t, ["x%d@far.example" % i, "y%d@far.example" % i])
        send(t, ["bob@home.example"], "suspect")
        wait_for(lambda: all(m["held"] or m["attempts"] == 1 for m in t.queue()))
        r = t.cli("queue", "fsck", check=False)
        assert r.returncode not in (0, 2), (r, "the server has the spool")
        before = {m["id"] for m in t.queue()}
        t.stop()
        assert t.cli("queue", "fsck").stdout.endswith(": 0 findings\n")
        up(t)
        wait_for(lambda: {m["id"] for m in t.queue()} == before)
        assert len(before) == 6
        t.stop(signal.SIGKILL)
        # The worker ends by itself, a moment later.
        wait_for(lambda: t.cli("queue", "fsck", check=False).returncode != 75)
        assert t.cli("queue", "fsck").stdout.endswith(": 0 findings\n")
        r = t.cli("queue", "list", check=False)
        assert r.returncode not in (0, 1, 2) and r.stderr, r


def test_many():
    """More than one page of the list; text and JSON name each once."""
    with Sink(ALWAYS) as sink, server(sink) as t:
        c = Client(t.port)
        c.cmd("EHLO me")
        for i in range(1100):
            c.send("MAIL FROM:<sender@home.example>\r\nRCPT TO:<bob@home.example>\r\nDATA\r\n")
            assert [c.reply()[0] for _ in range(3)] == [250, 250, 354]
            c.send("Subject: suspect\r\n\r\nx\r\n.\r\n")
            code, text = c.reply()
            assert code == 250, text
            if i == 900:  # limits.messages of one session
                c.cmd("QUIT")
                c = Client(t.port)
                c.cmd("EHLO me")
        ids = [m["id"] for m in t.queue()]
        assert len(ids) == len(set(ids)) == 1100 and ids == sorted(ids)
        assert t.cli("queue", "list").stdout.endswith("\n1100 messages\n")
        assert t.status()["held"] == 1100 and t.metric("tern_queue_held") == 1100


def test_status_metrics_hooks():
    with Sink(LATER) as sink, server(sink) as t:
        later = send(t, ["x@far.example"])
        send(t, ["bob@home.example"])
        wait_for(lambda: t.maildir("bob"))
        deferred(t, later)
        s = wait_for(lambda: next((s for s in [t.status()] if s["queued"] == 1 and s["sessions"] == 0), None))
        assert s["generation"] == 1 and s["pid"] == t.worker_pid(), s
        text = t.cli("status").stdout
        assert re.match(r"up        \d+ s, pid %d, configuration 1\nsessions  0, in \d+ loops\n"
                        r"queue     1 messages, 0 held, 0 being routed\n" % s["pid"], text), text
        text = t.cli("metrics").stdout
        values = {}
        for line in text.splitlines():
            if line.startswith("#"):
                assert re.match(r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))$", line), line
            else:
                m = re.match(r"([a-z_]+(?:\{[^}]*\})?) (-?[0-9.]+(?:e[+-]?\d+)?|\+Inf)$", line)
                assert m, line
                values[m.group(1)] = float(m.group(2))
        assert values["tern_queue_messages"] == 1, values
        assert values['tern_delivery_recipients_total{outcome="delivered"}'] == 1
        assert values['tern_delivery_recipients_total{outcome="deferred"}'] == 1
        assert values['tern_delivery_seconds_count{transport="mailboxes"}'] == 1
        assert values['tern_delivery_seconds_bucket{transport="mailboxes",le="3600"}'] == 1
        assert values['tern_delivery_seconds_bucket{transport="mailboxes",le="432000"}'] == 1
        assert values['tern_delivery_seconds_count{transport="far"}'] == 0
        wait_for(lambda: t.metric("tern_queue_oldest_seconds") >= 2, 20)
        t.cli("queue", "delete", later)
        wait_for(lambda: t.metric("tern_queue_oldest_seconds") == 0, 20)
        text = t.cli("hooks").stdout
        for word in ("inbound", "rcpt", "domains", "message", "quarantine", "route"):
            assert word in text, (word, text)
        assert text.index("domains") < text.index("quarantine")
        assert json.loads(t.cli("hooks", "--json").stdout)


def why(t, ident, sub):
    """The text of `tern why`, once it holds `sub`."""
    def found():
        r = t.cli("why", ident, check=False)
        return sub in r.stdout and r.stdout
    try:
        return wait_for(found)
    except AssertionError:
        raise AssertionError("no %r in:\n%s" % (sub, t.cli("why", ident, check=False).stdout))


def test_why():
    answers = {"no@far.example": "550 5.1.1 No such user", "later@far.example": "451 4.2.1 Busy"}
    with Sink(answers) as sink, server(sink) as t:
        delivered = send(t, ["yes@far.example"])
        text = why(t, delivered, "delivered")
        assert "from <sender@home.example>" in text and "<yes@far.example>" in text and "Taken" in text, text
        assert "client 127.0.0.1 (client.example)" in text, text
        bounced = send(t, ["no@far.example"])
        text = why(t, bounced, "bounced")
        assert "550 5.1.1 No such user" in text, text
        later = send(t, ["later@far.example"])
        text = why(t, later, "deferred")
        assert "451 4.2.1 Busy" in text, text
        c = Client(t.port)
        code, text = c.mail("sender@home.example", ["bob@home.example"], "Subject: refuse\n\nx\n")
        assert code == 550, text
        refused = re.search(r"\[(\w+)\]", text).group(1)
        text = why(t, refused, "Not this one")
        assert "quarantine" in text and "tern.yaml:" in text and "message" in text, text
        code, text = c.mail("sender@home.example", ["nobody@home.example"], "x\n", helo=None)
        assert code == 550, text
        refused = re.search(r"\[(\w+)\]", text).group(1)
        assert c.cmd("QUIT")[0] == 221
        text = why(t, refused, "<nobody@home.example>")
        assert "5.1.1" in text and "domains" in text, text
        for record in t.why(refused) + t.why(delivered):
            assert record["type"] and record["time"] and isinstance(record["steps"], list), record
        r = t.cli("why", "0000000000000", check=False)
        assert r.returncode == 1 and "no record" in r.stderr, r


if __name__ == "__main__":
    run([test_list_and_show, test_what_is_acknowledged_is_listed, test_retry, test_a_reload_changes_the_way,
         test_retry_of_a_site_that_could_not_be_reached, test_hold_and_release, test_delete, test_changes_as_json, test_wrong_words,
         test_held_by_a_step_survives_restarts, test_held_by_the_operator_survives_a_restart, test_fsck, test_many,
         test_status_metrics_hooks, test_why])
