#!/usr/bin/python3
"""The servers of Exim's own tests, which say their part whatever comes: our client holds the conversation they expect.

Rows `client` of exim_dialogues.tsv; a row with #N is of the Nth server of the script: out, or differs, with what it waited for
and what came. A server's line is a reply, or the beginning of a command it waits for; the lines behind it say who gets mail.
"""
import os
import re
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ternlib import SLOW, Client, Tern, need_shared, run, some, wait_for
from test_exim_dialogues import octets, read, table

need_shared("corpora", "smtp", "exim")
CONFIG = """hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
retry: { min: 1h, max: 1h, jitter: 0 }
policies:
  inbound: [ domains: { networks: [127.0.0.0/8] } ]
transports:
  there: { type: {type}, to: ["127.0.0.1:{there}"], idle: 0s, command_timeout: 30s, data_timeout: 30s{more} }
routes: [{ class: client, sender: ["<>"], discard: "a notice" }, { class: client, transport: there }]
"""
AUTH = ', auth_plaintext: true, auth: { user: userx, password: secret, mechanisms: [LOGIN, PLAIN] }'


class Scripted:
    """Plays one server block; `stopped` says what it waited for and what came, None if all went as it says."""

    def __init__(self, lines):
        self.lines = list(lines)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.done, self.stopped = threading.Event(), None
        threading.Thread(target=self.play, daemon=True).start()

    def play(self):
        try:
            self.listener.settimeout(60 * SLOW)
            s, _ = self.listener.accept()
            s.settimeout(30 * SLOW)
            with s, s.makefile("rb") as f:
                self.stopped = self.talk(s, f)
        except OSError as e:
            self.stopped = "a conversation>%s" % type(e).__name__
        finally:
            self.listener.close()
            self.done.set()

    def talk(self, s, f):
        for line in self.lines:
            if re.match(r"\d{3}", line):
                self.say(s, octets(line))
            elif line.startswith(">*eof") or line.startswith("*sleep"):
                return None
            elif line.startswith(">"):
                self.say(s, octets(line[1:].lstrip()))
            elif line.startswith("*eof"):
                return None
            else:
                got = self.line(f)
                while line == "." and got and got != b".\r\n":
                    got = self.line(f)
                text = got.decode("utf-8", "replace").rstrip("\r\n")
                if not text.upper().startswith(line.upper()) and not (line == "QUIT" and not got):
                    return "%s>%s" % (line, text or "closed")
                if line == "QUIT":
                    return None
        return None

    @staticmethod
    def line(f):
        try:
            return f.readline()
        except ConnectionError:
            return b""

    @staticmethod
    def say(s, data):
        try:
            s.sendall(data + b"\r\n")
        except ConnectionError:
            pass  # what is read next says that it is closed

    def close(self):
        self.listener.close()


def blocks(name):
    """[(lines of the server, recipients, sender)]: each server that is followed by one message."""
    found, server, block = [], None, None
    for line in re.sub(r"\\\n\s*", "", read("scripts", name)).split("\n"):
        if block is not None:
            if line.strip() == "****":
                block = None
            else:
                block.append(line)
        elif line.startswith("server"):
            server = block = []
        elif re.match(r"(\d+ +)?exim", line):
            m = re.match(r"(?:\d+ +)?exim (?:-v |-D\S+ )*-odi (?:-D\S+ )*(?:-f (\S+) )?([^<-].*)", line)
            if m and server:
                rcpts = [r if "@" in r else r + "@test.ex" for r in m[2].split()]
                found.append((server, rcpts, (m[1] or "caller").strip('"')))
            server, block = None, []
    return found


def converse(name, lines, rcpts, sender):
    lmtp = any(line.startswith("LHLO") for line in lines)
    more = AUTH if "plaintext" in name else ", tls: required" if "TLS" in name else ""
    played = Scripted(lines)
    sender = sender if not sender or "@" in sender else sender + "@test.ex"
    try:
        with Tern(CONFIG, there=played.port, type="lmtp" if lmtp else "smtp", more=more).start() as t:
            c = Client(t.port)
            code = c.mail(sender, rcpts, "Subject: x\n\n.dot\nend\n")
            assert code[0] == 250, code
            c.close()
            assert played.done.wait(90 * SLOW), "%s: nobody came to the end" % lines
            if played.stopped is None and "." in lines and not any(re.match(r"[45]", l) or l[0] in ">*" for l in lines):
                wait_for(lambda: not t.queue(), 20)  # delivered to all
    finally:
        played.close()
    return played.stopped


def test_conversations():
    rows = {r[0]: r for r in table()}
    clients = [r[0] for r in rows.values() if r[1] == "client"][::some(1, 4)]
    differs, count = [], 0
    for name in clients:
        for n, (lines, rcpts, sender) in enumerate(blocks(name), 1):
            key = "%s#%d" % (name, n)
            if rows.get(key, ("", ""))[1] == "out":
                continue
            count += 1
            stopped = converse(name, lines, rcpts, sender)
            if stopped is not None:
                differs.append((key, stopped))
    known = [(r[0], r[2]) for r in rows.values() if r[1] == "differs" and r[0].split("#")[0] in clients]
    assert sorted(differs) == sorted(known), "\nnot in the table:%s\nnot so any more:%s" % tuple(
        "".join("\n%s\tdiffers\t%s" % d for d in sorted(set(a) - set(b))) for a, b in ((differs, known), (known, differs)))
    print("     %d conversations" % count)


if __name__ == "__main__":
    run([test_conversations])
