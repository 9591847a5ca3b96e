"""sink.py - an SMTP server that takes everything and remembers who got what when; in threads of the test."""
import socket
import threading
import time


class Delivery:
    """One recipient of one message, as the sink answered it."""

    def __init__(self, rcpt, connected):
        self.rcpt = rcpt
        self.connected = connected        # when its connection began
        self.answered = time.monotonic()  # when the 250 left
        self.heard = None                 # when the client spoke again: it has read the 250


class Sink:
    """`defer(rcpt)` true: 451 to that RCPT. `ident` of a message is its X-Id field."""

    def __init__(self, defer=None, keep_bodies=False):
        self.defer = defer or (lambda rcpt: False)
        self.keep_bodies = keep_bodies
        self.bodies = []
        self.got = {}  # (X-Id, rcpt) -> [Delivery]
        self.lock = threading.Lock()
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(256)
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            self.talk(sock, sock.makefile("rb"))
        except OSError:
            pass
        finally:
            sock.close()

    def talk(self, sock, lines):
        rcpts, last, connected = [], [], time.monotonic()
        sock.sendall(b"220 sink.test ESMTP\r\n")
        for line in lines:
            for d in last:
                d.heard = time.monotonic()
            last = []
            verb = line[:4].upper()
            reply = b"250 2.0.0 ok\r\n"
            if verb == b"EHLO":
                reply = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
            elif verb in (b"MAIL", b"RSET"):
                rcpts = []
            elif verb == b"RCPT":
                rcpt = line[line.index(b"<") + 1:line.index(b">")].decode()
                if self.defer(rcpt):
                    reply = b"451 4.2.0 later\r\n"
                else:
                    rcpts.append(rcpt)
            elif verb == b"DATA":
                if not rcpts:
                    sock.sendall(b"554 5.5.1 no valid recipients\r\n")
                    continue
                sock.sendall(b"354 go on\r\n")
                last = self.take(lines, rcpts, connected)
                if last is None:
                    return
            elif verb == b"QUIT":
                sock.sendall(b"221 2.0.0 bye\r\n")
                return
            sock.sendall(reply)

    def take(self, lines, rcpts, connected):
        ident, body = None, []
        for line in lines:
            if line == b".\r\n":
                break
            if ident is None and line[:5].lower() == b"x-id:":
                ident = line[5:].strip().decode()
            if self.keep_bodies:
                body.append(line[1:] if line.startswith(b".") else line)
        else:
            return None  # cut off in the middle
        deliveries = [Delivery(r, connected) for r in rcpts]
        with self.lock:
            for d in deliveries:
                self.got.setdefault((ident, d.rcpt), []).append(d)
            if self.keep_bodies:
                self.bodies.append(b"".join(body))
        return deliveries

    def has(self, key):
        with self.lock:
            return key in self.got

    def close(self):
        self.server.close()
