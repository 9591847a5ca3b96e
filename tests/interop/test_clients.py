#!/usr/bin/python3
"""swaks, curl, smtplib and smtp-source deliver to Dovecot's mailbox, a maildir and smtp-sink."""
import os
import smtplib
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Dovecot, SmtpSink, program
from ternlib import SLOW, Tern, need, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { networks: [127.0.0.0/8] }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
  dove: { type: lmtp, to: ["unix:{socket}"] }
  far: { type: smtp, to: ["127.0.0.1:{sink}"] }
routes:
  - { domain: [home.example], transport: mailboxes }
  - { domain: [dove.example], transport: dove }
  - { transport: far }
"""
RCPTS = ["bob@home.example", "alice@dove.example", "carol@far.example"]
BODY = "Subject: from %s\n\n.leading dot\n..\n\nlast line \u00e4\n"


class World:
    def __enter__(self):
        self.dove, self.sink = Dovecot("alice"), SmtpSink()
        self.t = Tern(CONFIG, socket=self.dove.socket, sink=self.sink.port).start()
        return self

    def __exit__(self, *why):
        for peer in (self.t, self.sink, self.dove):
            peer.__exit__(*why)

    def arrives(self, client, added=""):
        """The same mail at all three, once, apart from what hops prepend; `added`: what the client puts at the end."""
        want = (BODY % client + added).encode()
        # smtp-sink makes the file before it has the mail, and writes one line feed more at its end
        sunk = lambda: [m[:-1] if m.endswith(want + b"\n") else m for m in self.sink.mails()]
        for box in (lambda: self.t.maildir("bob"), lambda: self.dove.mailbox("alice"), sunk):
            settle(lambda: len(box()) == 1 and box()[0].endswith(want), lambda: (client, box()))
        head = self.t.maildir("bob")[0]
        assert head.startswith(b"Return-Path: <sender@client.example>\nDelivered-To: bob@home.example\nReceived: from "), head
        wait_for(lambda: self.t.queue() == [])


def settle(condition, seen, seconds=60):
    """Waits until the condition holds; else says what was there."""
    try:
        wait_for(condition, seconds)
    except AssertionError as e:
        raise AssertionError(seen()) from e


def run_client(*words, **more):
    r = subprocess.run(list(words), capture_output=True, timeout=60 * SLOW, **more)
    assert r.returncode == 0, (words[0], r.stdout, r.stderr)


def with_crlf(client):
    return (BODY % client).replace("\n", "\r\n").encode()


def test_swaks():
    need("swaks", "dovecot", "smtp-sink")
    with World() as w:
        run_client("swaks", "--server", "127.0.0.1:%d" % w.t.port, "--from", "sender@client.example", "--to",
                   ",".join(RCPTS), "--data", "-", input=(BODY % "swaks").encode())
        w.arrives("swaks", "\n")


def test_curl():
    need("curl", "dovecot", "smtp-sink")
    with World() as w:
        to = [x for r in RCPTS for x in ("--mail-rcpt", r)]
        run_client("curl", "-sS", "smtp://127.0.0.1:%d/client.example" % w.t.port, "--mail-from",
                   "sender@client.example", *to, "-T", "-", input=with_crlf("curl"))
        w.arrives("curl")


def test_smtplib():
    need("dovecot", "smtp-sink")
    with World() as w:
        with smtplib.SMTP("127.0.0.1", w.t.port, timeout=60 * SLOW) as s:
            s.sendmail("sender@client.example", RCPTS, with_crlf("smtplib"), ["BODY=8BITMIME"])
        w.arrives("smtplib")


def test_smtp_source():
    """200 mails over 10 sessions, several recipients each; every one arrives once everywhere."""
    need("smtp-source", "dovecot", "smtp-sink")
    with World() as w:
        for rcpt in RCPTS:
            run_client(program("smtp-source"), "-s", "10", "-m", "100", "-l", "2000", "-f", "sender@client.example",
                       "-t", rcpt, "-S", "load", "127.0.0.1:%d" % w.t.port)
        for box in (lambda: w.t.maildir("bob"), lambda: w.dove.mailbox("alice"), w.sink.mails):
            settle(lambda: len(box()) == 100 and all(b"Subject: load" in m for m in box()), lambda: len(box()))
        wait_for(lambda: w.t.queue() == [])
        assert len(w.sink.mails()) == 100 and len(w.dove.mailbox("alice")) == 100 and len(w.t.maildir("bob")) == 100


if __name__ == "__main__":
    run([test_swaks, test_curl, test_smtplib, test_smtp_source])
