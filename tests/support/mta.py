"""mta.py - the other end of a milter: sends packets as a mail server does, good ones and others."""
import socket
import struct

from ternlib import SLOW

ACTIONS, STEPS = 0x1FF, 0x1FFFFF  # all that version 6 knows


def packet(code, data=b""):
    return struct.pack(">I", len(data) + 1) + code + data


class Mta:
    def __init__(self, port, negotiate=True, **options):
        self.sock = socket.create_connection(("127.0.0.1", port), 30 * SLOW)
        self.sock.settimeout(60 * SLOW)
        self.rest = b""
        if negotiate:
            self.negotiate(**options)

    def send(self, code, data=b""):
        self.sock.sendall(packet(code, data))

    def raw(self, octets):
        self.sock.sendall(octets)

    def read(self):
        """(code, data) of one packet; EOFError at the end."""
        while len(self.rest) < 4 or len(self.rest) < 4 + struct.unpack(">I", self.rest[:4])[0]:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("closed, with %r unread" % self.rest)
            self.rest += data
        n = struct.unpack(">I", self.rest[:4])[0]
        got, self.rest = self.rest[4:4 + n], self.rest[4 + n:]
        return got[:1], got[1:]

    def ask(self, code, data=b""):
        self.send(code, data)
        return self.read()

    def negotiate(self, version=6, actions=ACTIONS, steps=STEPS):
        code, data = self.ask(b"O", struct.pack(">III", version, actions, steps))
        assert code == b"O", (code, data)
        self.version, self.actions, self.steps = struct.unpack(">III", data[:12])
        self.symbols = data[12:]
        return self

    def macros(self, command, **values):
        data = command.encode()
        for name, value in values.items():
            data += (name if len(name) == 1 else "{%s}" % name).encode() + b"\0" + value.encode() + b"\0"
        self.send(b"D", data)

    def connect(self, host="client.example", address="192.0.2.1", port=40000):
        family = b"6" if ":" in address else b"4"
        return self.ask(b"C", host.encode() + b"\0" + family + struct.pack(">H", port) + address.encode() + b"\0")

    def helo(self, name="client.example"):
        return self.ask(b"H", name.encode() + b"\0")

    def mail(self, sender="<a@client.example>", *params):
        return self.ask(b"M", b"".join(w.encode() + b"\0" for w in (sender,) + params))

    def rcpt(self, rcpt="<bob@home.example>", *params):
        return self.ask(b"R", b"".join(w.encode() + b"\0" for w in (rcpt,) + params))

    def header(self, name, value):
        self.send(b"L", name.encode() + b"\0" + value.encode() + b"\0")
        return None if self.steps & 0x80 else self.read()

    def begin(self):
        """Up to a recipient that was taken."""
        for got in (self.connect(), self.helo(), self.mail(), self.rcpt()):
            assert got == (b"c", b""), got
        return self

    def body(self, octets):
        for i in range(0, len(octets), 65535):
            self.send(b"B", octets[i:i + 65535])
            if not self.steps & 0x80000:
                assert self.read() == (b"c", b"")

    def end(self):
        """What comes at the end of the mail: [(code, data), ...], the decision last."""
        self.send(b"E")
        got = [self.read()]
        while got[-1][0] in b"+-hime2lqbp":
            got.append(self.read())
        return got

    def whole(self, fields=(("Subject", " x"),), body=b"body\r\n"):
        for name, value in fields:
            self.header(name, value)
        self.send(b"N")
        if not self.steps & 0x40000:
            assert self.read() == (b"c", b"")
        self.body(body)
        return self.end()

    def is_closed(self):
        try:
            self.read()
        except (EOFError, ConnectionError):
            return True
        return False

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
