#!/usr/bin/python3
"""Mail no RCPT has asked about: a notice, or a recipient whom a step adds, gets its class of the claiming steps."""
import email
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import Client, Tern, queue_id, run, wait_for
from peers import Sink

REFUSED = {"refused@far.example": "550 5.1.1 nobody of that name"}
CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
{steps}
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
  far: { type: smtp, to: ["127.0.0.1:{sink}"] }
routes:
  - { class: local, transport: mailboxes }
  - { transport: far }
"""
DOMAINS = """
    - domains:
        local: [here.example]
        recipients: [alice@here.example, bob@here.example]
        networks: [127.0.0.0/8]
"""


def server(sink, steps=DOMAINS, config=CONFIG, files=None):
    return Tern(config, files=files, sink=sink.port, steps=steps).start()


def send(t, sender, rcpt="refused@far.example"):
    c = Client(t.port)
    code, text = c.mail(sender, [rcpt], "Subject: a letter\nX-Mark: original\n\nhello\n")
    c.close()
    assert code == 250, (code, text)
    return queue_id(text)


def lines(t, event):
    return [l for l in t.log_text().splitlines() if " %s " % event in l]


def parts(octets):
    m = email.message_from_bytes(octets)
    assert m.get_content_type() == "multipart/report", m
    assert m.get_param("report-type") == "delivery-status"
    return m, m.get_payload()


def test_notice_comes_home():
    with Sink(REFUSED) as sink, server(sink) as t:
        ident = send(t, "alice@here.example")
        wait_for(lambda: t.maildir("alice"))
        m, (human, status, original) = parts(t.maildir("alice")[0])
        assert m["Return-Path"] == "<>" and m["To"] == "<alice@here.example>", m.items()
        fields = status.get_payload()[1]
        assert fields["Action"] == "failed" and fields["Status"] == "5.1.1", fields.items()
        assert "refused@far.example" in fields["Final-Recipient"]
        assert "nobody of that name" in fields["Diagnostic-Code"]
        assert "X-Mark: original" in original.as_string()
        wait_for(lambda: t.queue() == [])
        assert sink.mails == [], "the notice went by the route of strangers"
        assert ident in [l for l in lines(t, "accepted") if "origin=dsn" in l][0]


def test_sender_of_a_stranger_goes_by_the_open_route():
    with Sink(REFUSED) as sink, server(sink) as t:
        send(t, "carol@elsewhere.example")
        wait_for(lambda: sink.mails)
        assert sink.mails[0].sender == "" and sink.mails[0].rcpts == ["carol@elsewhere.example"]
        wait_for(lambda: t.queue() == [])


def test_notice_to_an_unknown_mailbox_is_dropped():
    with Sink(REFUSED) as sink, server(sink) as t:
        ident = send(t, "nobody@here.example")
        wait_for(lambda: lines(t, "undeliverable"))
        line = lines(t, "undeliverable")[0]
        assert "to=nobody@here.example" in line and ident in line and "5.1.1" in line, line
        wait_for(lambda: t.queue() == [])
        assert sink.mails == [] and len(lines(t, "bounced")) == 1
        notice = line.split(" undeliverable ")[0].split()[-1]
        wait_for(lambda: t.cli("why", notice, check=False).returncode == 0)
        steps = [s for r in t.why(notice) for s in r["steps"]]
        assert any(s["step"] == "domains" and s["hook"] == "rcpt" for s in steps), steps


def test_outcome_of_a_dropped_notice_is_stored():
    with Sink(REFUSED) as sink, server(sink) as t:
        send(t, "nobody@here.example")
        wait_for(lambda: lines(t, "undeliverable"))
        t.stop(signal.SIGKILL)
        t.start()
        wait_for(lambda: t.cli("queue", "--json", "list", check=False).returncode == 0)
        assert t.queue() == []
        time.sleep(0.5)
        assert sink.count("RCPT") == 1 and len(lines(t, "undeliverable")) == 1


def test_null_sender_gets_none():
    with Sink(REFUSED) as sink, server(sink) as t:
        send(t, "")
        wait_for(lambda: lines(t, "bounced"))
        wait_for(lambda: t.queue() == [])
        assert sink.mails == [] and t.maildir("alice") == []
        assert not lines(t, "undeliverable") and "origin=dsn" not in t.log_text()


def test_notice_waits_until_the_step_can_tell():
    """A claiming script fails while a file is there: the failure stays queued, then the notice comes home."""
    claims = """local tern = require "tern"
tern.on("rcpt", function(txn, rcpt)
  if txn.sender.address == "" then
    error("cannot tell now")
  end
end, { claims = true })
"""
    steps = DOMAINS + "    - lua: { script: claims.lua }\n"
    with Sink(REFUSED) as sink, server(sink, steps, files={"claims.lua": claims}) as t:
        send(t, "alice@here.example")
        wait_for(lambda: "did not take the notice" in t.log_text())
        assert t.maildir("alice") == [] and not lines(t, "bounced") and not lines(t, "undeliverable")
        assert len(t.queue()) == 1
        t.write("claims.lua", 'require("tern").on("rcpt", function() end, { claims = true })\n')
        t.cli("reload")

        def home():
            """the notice is in the sender's mailbox"""
            for m in t.queue():
                t.cli("queue", "retry", m["id"], check=False)
            return t.maildir("alice")
        wait_for(home, 30, 0.3)
        parts(t.maildir("alice")[0])
        assert sink.mails == []


def test_added_recipients():
    """One of ours goes to its mailbox, a stranger by the open route, an unknown one is left out and told of."""
    add = """local tern = require "tern"
tern.on("message", function(txn)
  txn:add_rcpt("alice@here.example")
  txn:add_rcpt("carol@elsewhere.example")
  txn:add_rcpt("nobody@here.example")
end)
"""
    with Sink() as sink, server(sink, DOMAINS + "    - lua: { script: add.lua }\n", files={"add.lua": add}) as t:
        send(t, "x@elsewhere.example", "bob@here.example")
        wait_for(lambda: t.maildir("alice") and t.maildir("bob") and sink.mails)
        assert sink.mails[0].rcpts == ["carol@elsewhere.example"], sink.mails[0].rcpts
        assert "to=nobody@here.example added_by=add" in lines(t, "undeliverable")[0]
        wait_for(lambda: t.queue() == [])
        assert len(sink.mails) == 1 and not lines(t, "bounced")


if __name__ == "__main__":
    run([test_notice_comes_home, test_sender_of_a_stranger_goes_by_the_open_route,
         test_notice_to_an_unknown_mailbox_is_dropped, test_outcome_of_a_dropped_notice_is_stored,
         test_null_sender_gets_none, test_notice_waits_until_the_step_can_tell,
         test_added_recipients])
