#!/usr/bin/python3
"""Mail by BDAT (RFC 3030) through the real server: octet for octet, binary mail, what cannot take it, what is withheld."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SHARED, Client, Tern, free_port, run, wait_for
from peers import Exim, Sink

CONFIG = """
hostname: mx.test
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound, binarymime: true }
  plain: { bind: "127.0.0.1:{plain}", policy: inbound, withhold: [Chunking, SIZE] }
  lines: { bind: "127.0.0.1:{lines}", policy: inbound }
limits: { message_size: 3MB }
policies:
  inbound:
    - domains: { local: [example.org], relay: [far.example], recipients: [alice@example.org] }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
  far: { type: smtp, to: ["127.0.0.1:{sink}"] }
routes:
  - { class: local, transport: mailboxes }
  - { class: relay, transport: far }
"""
HEAD = b"Subject: chunks\r\nContent-Type: application/octet-stream\r\n\r\n"


def server(sink=None):
    return Tern(CONFIG, sink=sink.port if sink else 1, plain=free_port(), lines=free_port()).start()


def begin(port, sender="a@client.example", rcpt="alice@example.org", params=""):
    c = Client(port)
    keywords = c.cmd("EHLO client.example")[1].split("\n")[1:]
    assert c.cmd("MAIL FROM:<%s>%s" % (sender, params))[0] == 250
    assert c.cmd("RCPT TO:<%s>" % rcpt)[0] == 250
    return c, keywords


def chunk(c, octets, last=False):
    c.send(b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets)
    return c.reply()


def below_received(mail):
    """the mail from its Subject on"""
    return mail[mail.index(b"Subject:"):]


def test_text_octet_for_octet():
    body = b".\r\n..\r\n.x\r\n\r\nMAIL FROM:<smuggled@client.example>\r\n.\r\n" * 2000
    with server() as t:
        c, keywords = begin(t.port)
        assert "CHUNKING" in keywords and "BINARYMIME" in keywords, keywords
        mail = HEAD + body
        for at in range(0, len(mail), 999):
            assert chunk(c, mail[at:at + 999]) == (250, "2.0.0 %d octets received" % len(mail[at:at + 999]))
        code, text = chunk(c, b"", last=True)
        assert code == 250 and "queued as" in text, text
        assert c.cmd("QUIT")[0] == 221
        got = wait_for(lambda: t.maildir("alice"), 20)
        assert len(got) == 1 and below_received(got[0]) == mail.replace(b"\r\n", b"\n")


def test_binary_to_a_maildir_octet_for_octet():
    body = bytes(range(256)) * 8000 + b"\r.\n\r\n.\r\n\n.\n"
    with server() as t:
        c, _ = begin(t.port, params=" BODY=BINARYMIME")
        assert c.cmd("DATA")[0] == 503
        assert chunk(c, HEAD)[0] == 250
        assert chunk(c, body, last=True)[0] == 250
        got = wait_for(lambda: t.maildir("alice"), 20)[0]
        assert below_received(got) == HEAD + body
        assert got.startswith(b"Return-Path: <a@client.example>\r\n"), got[:80]


def test_binary_bounces_where_it_cannot_go():
    with Sink() as sink, server(sink) as t:
        c, _ = begin(t.port, sender="alice@example.org", rcpt="bob@far.example", params=" BODY=BINARYMIME")
        assert chunk(c, HEAD + b"\0\n", last=True)[0] == 250
        notice = wait_for(lambda: t.maildir("alice"), 20)[0]
        assert b"Status: 5.6.3" in notice and b"BINARYMIME" in notice, notice
        assert b"chunks" in notice and b"\0" not in notice
        assert sink.mails == []


def test_all_in_one_write():
    with server() as t:
        c = Client(t.port)
        c.send(b"EHLO x\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\nBDAT 15\r\nSubject: one\r\n\r"
               b"BDAT 1 LAST\r\n\nMAIL FROM:<a@client.example>\r\nRCPT TO:<nobody@example.org>\r\nBDAT 6\r\nQUIT\r\n"
               b"BDAT 6 LAST\r\nQUIT\r\nRSET\r\nQUIT\r\n")
        codes = [c.reply()[0] for _ in range(11)]
        assert codes == [250, 250, 250, 250, 250, 250, 550, 554, 554, 250, 221], codes
        assert len(wait_for(lambda: t.maildir("alice"), 20)) == 1


def test_too_big():
    with server() as t:
        c, _ = begin(t.port)
        assert chunk(c, HEAD)[0] == 250
        code, text = chunk(c, b"x" * 3000000 + b"QUIT\r\n" * 50000)
        assert code == 552, (code, text)
        assert chunk(c, b"QUIT\r\n", last=True)[0] == 503
        assert c.cmd("NOOP")[0] == 250


def test_withheld():
    with server() as t:
        c, keywords = begin(int(t.values["plain"]))
        assert not {"CHUNKING", "BINARYMIME"} & set(keywords) and not [k for k in keywords if k.startswith("SIZE")], keywords
        assert chunk(c, b"QUIT\r\n", last=True)[0] == 502
        assert c.cmd("RSET")[0] == 250
        assert c.cmd("MAIL FROM:<a@client.example> BODY=BINARYMIME")[0] == 555
        assert c.cmd("MAIL FROM:<a@client.example> SIZE=1")[0] == 555
        c, keywords = begin(int(t.values["lines"]))
        assert "CHUNKING" in keywords and "BINARYMIME" not in keywords, keywords
        assert chunk(c, b"Subject: x\r\n\r\n", last=True)[0] == 250
        assert c.cmd("MAIL FROM:<a@client.example> BODY=BINARYMIME")[0] == 555


def test_binary_passes_to_a_server_that_takes_it():
    """BDAT in, BDAT out: the octets of a chunk reach a server that offers BINARYMIME, such as this one"""
    body = bytes(range(256)) * 300 + b"\r.\n"
    with server() as last:
        config = CONFIG.replace("mailboxes: {", "last: { type: smtp, to: [\"127.0.0.1:{last}\"] }\n  mailboxes: {").replace(
            "{ class: local, transport: mailboxes }", "{ class: local, transport: last }")
        with Tern(config, sink=1, last=last.port, plain=free_port(), lines=free_port()).start() as first:
            c, _ = begin(first.port, params=" BODY=BINARYMIME")
            assert chunk(c, HEAD + body, last=True)[0] == 250
            c.close()
            got = wait_for(lambda: last.maildir("alice"), 20)[0]
            assert below_received(got) == HEAD + body


def test_exim_sends_chunks():
    """Exim uses CHUNKING where it is offered (K in its log)"""
    if not os.path.exists(os.path.join(Exim.FOLDER, "usr", "sbin", "exim4")) or os.geteuid() != 0:
        print("SKIP: Exim is not unpacked in %s (tests/support/packages.sh), or this is not root" % Exim.FOLDER)
        return
    text = "Subject: by exim\n\n" + ".\n..\nhello\n" * 20000
    with server() as t, Exim(t.port) as e:
        said = e.send("a@client.example", ["alice@example.org"], text)
        log = e.log_text()
        assert re.search(r"=> alice@example.org .* K ", log), (said, log)
        got = wait_for(lambda: t.maildir("alice"), 20)[0]
        assert got.endswith(text[text.index("\n\n"):].encode()), got[-100:]


def lone(octets):
    """a CR or LF that is not part of a CRLF"""
    return b"\r" in octets.replace(b"\r\n", b"") or b"\n" in octets.replace(b"\r\n", b"")


def test_false_ends_of_data():
    """each sequence as the end of DATA and inside of a chunk, in one write and byte by byte, with a MAIL behind it"""
    path = os.path.join(SHARED, "corpora", "smtp", "end-of-data-sequences.json")
    if not os.path.exists(path):
        print("SKIP: %s is not there" % path)
        return
    rows = json.load(open(path))
    smuggled = b"MAIL FROM:<smuggled@client.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"
    with server() as t:
        for row in rows:
            inner = b"Subject: x\r\n\r\nbody" + bytes.fromhex(row["bytes_hex"]) + smuggled
            for by in (len(inner) + 100, 1):
                c, _ = begin(t.port)
                octets = b"BDAT %d LAST\r\n" % len(inner) + inner + b"NOOP\r\n"
                for at in range(0, len(octets), by):
                    c.send(octets[at:at + by])
                codes = [c.reply()[0] for _ in range(2)]
                assert codes == [554 if lone(inner) else 250, 250], (row, codes)
                c.close()
                # the same in two chunks, the cut in each place of the sequence
                c, _ = begin(t.port)
                cut = len(b"Subject: x\r\n\r\nbody") + (1 if by == 1 else len(row["bytes_hex"]) // 2 - 1)
                octets = b"BDAT %d\r\n%sBDAT %d LAST\r\n%sNOOP\r\n" % (cut, inner[:cut], len(inner) - cut, inner[cut:])
                for at in range(0, len(octets), by):
                    c.send(octets[at:at + by])
                codes = [c.reply()[0] for _ in range(3)]
                assert codes[1:] in ([250, 250], [554, 250], [503, 250]) and (codes[1] == 250) == (not lone(inner)), (row, codes)
                c.close()
                c, _ = begin(t.port)
                assert c.cmd("DATA")[0] == 354
                octets = inner + b"\r\n.\r\nNOOP\r\n"
                for at in range(0, len(octets), by):
                    c.send(octets[at:at + by])
                codes = [c.reply()[0] for _ in range(5 if row["is_end_of_data"] else 2)]
                # the one true end: the MAIL behind it is one that the client did mean, its DATA is ours to read
                true_end = row["is_end_of_data"]
                assert codes == ([250, 250, 250, 354, 250] if true_end else [554 if lone(inner) else 250, 250]), (row, codes)
                c.close()
        wait_for(lambda: t.log_text().count("smuggled") >= 2)
        smuggled_ones = [l for l in t.log_text().splitlines() if " accepted " in l and "smuggled" in l]
        assert len(smuggled_ones) == 2, smuggled_ones  # behind the true end, twice


if __name__ == "__main__":
    run([test_text_octet_for_octet, test_binary_to_a_maildir_octet_for_octet, test_binary_bounces_where_it_cannot_go,
         test_all_in_one_write, test_too_big, test_withheld, test_binary_passes_to_a_server_that_takes_it, test_exim_sends_chunks, test_false_ends_of_data])
