#!/usr/bin/python3
"""The main path: swaks and smtplib through a C module and a Lua script, spool, Maildir, decision record."""
import os
import signal
import smtplib
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, need, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org, bob@example.org] }
    - rcpt_limit: { max: 2 }
    - lua: { script: subject.lua }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { class: local, transport: mailboxes }
"""
SCRIPT = """local tern = require "tern"
tern.on("message", function(txn)
  if (txn:header("Subject") or ""):find("lottery") then
    return tern.reject(550, "5.7.1", "No lotteries here")
  end
end)
"""


def server():
    return Tern(CONFIG, files={"subject.lua": SCRIPT}).start()


def test_swaks_to_maildir():
    need("swaks")
    with server() as t:
        r = subprocess.run(["swaks", "--server", "127.0.0.1:%d" % t.port, "--from", "sender@client.example",
                            "--to", "alice@example.org", "--body", "hello"], capture_output=True, text=True)
        assert r.returncode == 0, r.stdout
        wait_for(lambda: t.maildir("alice"))
        mail = t.maildir("alice")[0]
        assert mail.startswith(b"Return-Path: <sender@client.example>\n"), mail
        assert b"\nReceived: from " in mail and b"\nhello\n" in mail
        wait_for(lambda: t.queue() == [])


def test_module_refuses():
    with server() as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")
        code, text = c.cmd("RCPT TO:<nobody@example.org>")
        assert code == 550 and text.startswith("5.1.1"), (code, text)
        code, text = c.cmd("RCPT TO:<x@elsewhere.example>")
        assert code == 550 and text.startswith("5.7.1"), (code, text)
        c.close()


def test_script_refuses_and_why_names_it():
    with server() as t:
        c = Client(t.port)
        code, text = c.mail("a@client.example", ["alice@example.org"], "Subject: a lottery\n\nx\n")
        c.close()
        assert code == 550 and "No lotteries here" in text, (code, text)
        ident = text[text.rindex("[") + 1:-1]
        wait_for(lambda: t.cli("why", ident, check=False).returncode == 0)
        steps = [s for r in t.why(ident) for s in r["steps"]]
        assert any(s["hook"] == "message" and "No lotteries" in s.get("reply", "") for s in steps), steps
        assert t.queue() == []


def test_smtplib():
    with server() as t:
        with smtplib.SMTP("127.0.0.1", t.port, timeout=60 * SLOW) as s:
            s.sendmail("a@client.example", ["alice@example.org", "bob@example.org"], "Subject: x\r\n\r\n..dots\r\n.\r\n")
        wait_for(lambda: t.maildir("alice") and t.maildir("bob"))
        assert t.maildir("bob")[0].endswith(b"\n\n..dots\n.\n")


def test_restart_keeps_the_queue():
    with Tern(CONFIG + "delivery: false\n", files={"subject.lua": SCRIPT}).start() as t:
        code, text = Client(t.port).mail("a@client.example", ["alice@example.org"], "Subject: x\n\nkept\n")
        assert code == 250, text
        t.stop(signal.SIGKILL)
        t.write_config(CONFIG)
        t.start()
        wait_for(lambda: t.maildir("alice"))
        assert len(t.maildir("alice")) == 1
        assert queue_id(text)


if __name__ == "__main__":
    run([test_swaks_to_maildir, test_module_refuses, test_script_refuses_and_why_names_it, test_smtplib,
         test_restart_keeps_the_queue])
