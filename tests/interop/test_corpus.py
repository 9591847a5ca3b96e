#!/usr/bin/python3
"""Every mail of a corpus comes out as it went in, by hash, or gets the reply that docs/rfc.md states.

Each goes in twice: with CRLF line ends throughout, as a client would send it, and as the file is, bare line feeds and all.
"""
import hashlib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Dovecot, Sink
from ternlib import SHARED, Client, Tern, need, run, wait_for

LINE_MAX = 65536  # limits.data_line, with its CRLF
RECEIVED_MAX = 100
SIZE_MAX = 50 * 1000 * 1000

CONFIG = """
hostname: {name}
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { networks: [127.0.0.0/8] }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: {ends} }
  far: { type: smtp, to: ["127.0.0.1:{sink}"] }
  dove: { type: lmtp, to: ["127.0.0.1:{sink}"] }
routes:
  - { transport: {transport} }
"""


def server(transport, ends="lf", sink=9, name="mx.test"):
    return Tern(CONFIG, transport=transport, ends=ends, sink=sink, name=name).start()


def corpus():
    folder = os.path.join(SHARED, "corpora", "messages")
    for path, _, names in sorted(os.walk(folder)):
        for n in sorted(names):
            with open(os.path.join(path, n), "rb") as f:
                yield os.path.join(os.path.relpath(path, folder), n), f.read()


def as_sent(data):
    """CRLF for LF; a CR that stands alone stays one."""
    data = re.sub(rb"\r?\n", b"\r\n", data)
    return data if data.endswith(b"\r\n") or not data else data + b"\r\n"


def raw(data):
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def stuffed(data):
    return re.sub(rb"(^|\r\n)\.", rb"\1..", data)


def expected(data):
    """The reply that docs/rfc.md, "In a mail", states: the first row that fits."""
    if re.search(rb"\r(?!\n)|(?<!\r)\n", data):
        return 554, "5.6.0"
    if max(map(len, data.split(b"\r\n"))) + 2 > LINE_MAX:
        return 554, "5.6.0"
    header = data.split(b"\r\n\r\n")[0]
    if len(re.findall(rb"(?im)^received[ \t]*:", header)) > RECEIVED_MAX:
        return 554, "5.4.6"
    if len(data) > SIZE_MAX:
        return 552, "5.3.4"
    return 250, "2.0.0"


def send_all(t, mails):
    """Sends (number, octets); the numbers that were taken. Checks each reply."""
    taken = []
    c = Client(t.port)
    c.cmd("EHLO client.example")
    for number, data in mails:
        assert c.cmd("MAIL FROM:<s@client.example> BODY=8BITMIME")[0] == 250
        assert c.cmd("RCPT TO:<m%d@home.example>" % number)[0] == 250
        assert c.cmd("DATA")[0] == 354
        c.send(stuffed(data) + b".\r\n")
        code, text = c.reply()
        want = expected(data)
        assert code == want[0] and text.startswith(want[1]), (number, want, code, text)
        if code == 250:
            taken.append(number)
    assert c.cmd("QUIT")[0] == 221
    return taken


def digest(data):
    return hashlib.sha256(data).hexdigest()


def check(number, got, want, hops, end=b"\r\n"):
    """`got` is `want` behind what the hops put on top: one Received each, and at a mailbox two lines."""
    top, rest = got[:len(got) - len(want)], got[len(got) - len(want):]
    assert digest(rest) == digest(want), (number, top[-200:], rest[:200], want[:200])
    names = re.findall(rb"(?m)^([A-Za-z-]+):", top)
    assert top.endswith(end) and [n for n in names if n == b"Received"] == [b"Received"] * hops, (number, top)
    assert set(names) <= {b"Return-Path", b"Delivered-To", b"Received"}, (number, top)


def through_maildir(prepare, ends):
    mails = [(i, prepare(data)) for i, (_, data) in enumerate(corpus())]
    assert len(mails) > 100
    end = b"\r\n" if ends == "crlf" else b"\n"
    with server("mailboxes", ends) as t:
        taken = send_all(t, mails)
        wait_for(lambda: t.queue() == [], 60)
        for i in taken:
            got = t.maildir("m%d" % i)
            assert len(got) == 1, (i, len(got))
            check(i, got[0], mails[i][1].replace(b"\r\n", end), 1, end)
        assert len(os.listdir(os.path.join(t.dir, "mail"))) == len(taken)
    return len(taken), len(mails)


def test_to_maildir():
    print("%d of %d taken" % through_maildir(as_sent, "lf"))


def test_as_the_file_is_to_maildir_with_crlf():
    print("%d of %d taken" % through_maildir(raw, "crlf"))


def test_through_two_servers():
    """Tern, Tern, sink: two Received lines on top, nothing else changed."""
    mails = [(i, as_sent(data)) for i, (_, data) in enumerate(corpus())]
    with Sink(ehlo=("PIPELINING", "8BITMIME", "SIZE 100000000")) as sink, server("far", sink=sink.port) as second, \
            server("far", sink=second.port, name="first.test") as first:
        taken = send_all(first, mails)
        wait_for(lambda: len(sink.mails) == len(taken), 90)
        for m in sink.mails:
            number = int(m.rcpts[0][1:m.rcpts[0].index("@")])
            check(number, m.data, mails[number][1], 2)
        assert sorted(r for m in sink.mails for r in m.rcpts) == sorted("m%d@home.example" % i for i in taken)
        wait_for(lambda: first.queue() == [] and second.queue() == [])


def test_limits_of_a_mail():
    """At the bound and one above, as the corpus has none there."""
    line = b"Subject: x\r\n\r\n" + b"y" * (LINE_MAX - 2) + b"\r\n"
    many = b"Received: from a by b\r\n" * RECEIVED_MAX + b"\r\nx\r\n"
    mails = [line, line.replace(b"y\r\n", b"yy\r\n"), many, b"received : x\r\n" + many, b"\r\n", b".\r\n", b"..\r\n",
             b"x\r\n.\n", b"a\x00b\r\n", b"\xff\xfe\r\n", b"x\ry\r\n", b"\r\n.\r\n"[2:] * 3]
    with server("mailboxes", "crlf") as t:
        mails = list(enumerate(m if m.endswith(b"\r\n") else m + b"\r\n" for m in mails))
        taken = send_all(t, mails)
        assert taken == [0, 2, 4, 5, 6, 8, 9, 11], taken
        wait_for(lambda: t.queue() == [])
        for i in taken:
            check(i, t.maildir("m%d" % i)[0], mails[i][1], 1)


def test_large():
    """Around the size from which a body has a file of its own, and far above it, through two servers."""
    line = b"0123456789abcdef" * 4 + b"\r\n"
    mails = [(i, b"Subject: large\r\n\r\n" + line * (octets // len(line)) + b"z" * (octets % len(line)) + b"\r\n")
             for i, octets in enumerate((1000000, 1048000, 1048576, 1049000, 3000000, 20000000))]
    with server("mailboxes", "crlf") as second, server("far", sink=second.port, name="first.test") as first:
        assert send_all(first, mails) == [i for i, _ in mails]
        wait_for(lambda: first.queue() == [] and second.queue() == [], 60)
        for i, data in mails:
            check(i, second.maildir("m%d" % i)[0], data, 2)


def test_to_dovecot():
    need("dovecot")
    mails = [(i, as_sent(data)) for i, (_, data) in enumerate(corpus())]
    with Dovecot(*["m%d" % i for i, _ in mails]) as d, server("dove", sink=d.port) as t:
        taken = send_all(t, mails)
        wait_for(lambda: t.queue() == [], 90)
        for i in taken:
            got = d.mailbox("m%d" % i)
            assert len(got) == 1, (i, len(got))
            check(i, got[0], mails[i][1].replace(b"\r\n", b"\n"), 2, b"\n")


if __name__ == "__main__":
    tests = [test_large, test_limits_of_a_mail]
    if os.path.exists(os.path.join(SHARED, "corpora", "messages")):
        tests += [test_to_dovecot, test_to_maildir, test_as_the_file_is_to_maildir_with_crlf, test_through_two_servers]
    else:
        print("SKIP: the mails of %s/corpora/messages are not there" % SHARED)
    run(tests)
