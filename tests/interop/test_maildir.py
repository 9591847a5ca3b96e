#!/usr/bin/python3
"""The maildir transport in the real server: which folder an address may name, what stands in the file, what waits."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import Client, Tern, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
retry: { min: 1s, max: 1s, factor: 100, jitter: 0 }
policies:
  inbound:
    - domains: { local: [example.org] }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/{path}"{options} }
routes:
  - { class: local, transport: mailboxes }
"""
BODY = "Subject: x\n\nhello\n.dot\n"


def server(path="%{user}", options=""):
    return Tern(CONFIG, path=path, options=options).start()


def send(t, rcpt, sender="a@client.example", body=BODY):
    c = Client(t.port)
    code, text = c.mail(sender, [rcpt], body)
    c.close()
    assert code == 250, (rcpt, code, text)


def files_below(folder):
    return sorted(os.path.relpath(os.path.join(d, f), folder) for d, _, names in os.walk(folder) for f in names)


def settled(t):
    """the queue is empty"""
    return t.queue() == []


def test_addresses_that_cannot_be_a_folder_bounce():
    hostile = ['"../../escape"@example.org', '"a/b"@example.org', '"/etc/x"@example.org', '".hidden"@example.org',
               '".."@example.org', '"../alice"@example.org', '".+tag"@example.org', '"./x"@example.org']
    with server() as t:
        before = set(os.listdir(t.dir))
        for rcpt in hostile:
            send(t, rcpt, sender="")  # the null sender: no notices in between
        send(t, "alice@example.org")
        wait_for(lambda: t.maildir("alice"), 20)
        wait_for(lambda: settled(t), 20)
        assert os.listdir(os.path.join(t.dir, "mail")) == ["alice"], os.listdir(os.path.join(t.dir, "mail"))
        assert set(os.listdir(t.dir)) - before <= {"mail"}, os.listdir(t.dir)
        wait_for(lambda: t.log_text().count("5.1.3") >= len(hostile))


def test_the_sender_hears_why():
    with server() as t:
        send(t, '"a/b"@example.org', sender="alice@example.org")
        notice = wait_for(lambda: t.maildir("alice"), 20)[0]
        assert b"5.1.3" in notice and b"This address cannot name a mailbox" in notice, notice


def test_user_is_lower_case_without_tag():
    with server("%{domain}/%{user}/Maildir") as t:
        send(t, "Alice+Lists@EXAMPLE.org")
        mail = wait_for(lambda: t.maildir("example.org", "alice", "Maildir"), 20)[0]
        assert mail.startswith(b"Return-Path: <a@client.example>\nDelivered-To: Alice+Lists@"), mail
        assert sorted(os.listdir(os.path.join(t.dir, "mail/example.org/alice/Maildir"))) == ["cur", "new", "tmp"]
        assert os.listdir(os.path.join(t.dir, "mail/example.org/alice/Maildir/tmp")) == []


def test_local_is_as_given():
    with server("%{local}") as t:
        send(t, "Alice+Lists@example.org")
        wait_for(lambda: t.maildir("Alice+Lists"), 20)


def test_delimiter():
    with server(options=', delimiter: "-_"') as t:
        send(t, "alice-lists@example.org")
        send(t, "bob+x@example.org")
        wait_for(lambda: t.maildir("alice") and t.maildir("bob+x"), 20)


def test_line_ends_lf_and_crlf():
    for ends, end in (("lf", b"\n"), ("crlf", b"\r\n")):
        with server(options=", line_ends: %s" % ends) as t:
            send(t, "alice@example.org")
            mail = wait_for(lambda: t.maildir("alice"), 20)[0]
            assert mail.startswith(b"Return-Path: <a@client.example>" + end + b"Delivered-To: alice@example.org" + end), mail
            assert mail.endswith(b"Subject: x" + end + end + b"hello" + end + b".dot" + end), mail
            assert mail.count(b"\r") == (mail.count(b"\n") if ends == "crlf" else 0), mail


def test_a_crlf_across_blocks():
    """Files are written in blocks of 64 KB; a CRLF on any side of the edge comes out as one line end."""
    lines = "".join("%05d " % i + "x" * (90 + i % 7) + "\n" for i in range(2200))  # 220 KB: several edges
    with server() as t:
        send(t, "alice@example.org", body="Subject: x\n\n" + lines)
        mail = wait_for(lambda: t.maildir("alice"), 30)[0]
        assert mail.endswith(lines.encode()) and b"\r" not in mail


def test_null_sender():
    with server() as t:
        send(t, "alice@example.org", sender="")
        assert wait_for(lambda: t.maildir("alice"), 20)[0].startswith(b"Return-Path: <>\n")


def test_create_false_waits_for_the_folder():
    with server(options=", create: false") as t:
        send(t, "alice@example.org")
        wait_for(lambda: [m for m in t.queue() if m.get("attempts", 0) > 0] or "deferred" in t.log_text(), 20)
        assert not os.path.exists(os.path.join(t.dir, "mail"))
        for sub in ("tmp", "new", "cur"):
            os.makedirs(os.path.join(t.dir, "mail", "alice", sub))
        wait_for(lambda: t.maildir("alice"), 30)
        wait_for(lambda: settled(t), 20)
        assert len(t.maildir("alice")) == 1


def test_modes():
    with server() as t:
        send(t, "alice@example.org")
        wait_for(lambda: t.maildir("alice"), 20)
        folder = os.path.join(t.dir, "mail", "alice")
        assert os.stat(folder).st_mode & 0o777 == 0o700
        name = files_below(os.path.join(folder, "new"))[0]
        assert os.stat(os.path.join(folder, "new", name)).st_mode & 0o777 == 0o600
        assert name.endswith(".mx.test") and ":" not in name and "/" not in name, name


def test_a_thing_in_the_way_is_no_loss():
    """A file where the folder should be: the mail waits, and comes when it is gone."""
    with server() as t:
        t.write("mail/alice", "in the way\n")
        send(t, "alice@example.org")
        wait_for(lambda: "deferred" in t.log_text(), 20)
        assert len(t.queue()) == 1
        os.unlink(os.path.join(t.dir, "mail", "alice"))
        wait_for(lambda: t.maildir("alice"), 30)


if __name__ == "__main__":
    run([test_addresses_that_cannot_be_a_folder_bounce, test_the_sender_hears_why,
         test_user_is_lower_case_without_tag, test_local_is_as_given, test_delimiter, test_line_ends_lf_and_crlf,
         test_a_crlf_across_blocks, test_null_sender, test_create_false_waits_for_the_folder, test_modes,
         test_a_thing_in_the_way_is_no_loss])
