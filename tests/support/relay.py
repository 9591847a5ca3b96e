"""relay.py - a next hop with TLS, AUTH and CHUNKING, that can do each of them wrong; and certificates for it.

Everything that was said stands in `commands` as (encrypted, line); mails in `mails`.
"""
import base64
import hashlib
import hmac
import os
import secrets
import socket
import ssl
import subprocess
import threading


class Certificates:
    """A CA, and leaves signed by it, made by the openssl command: name -> (certificate, key)."""

    def __init__(self, folder):
        self.folder = folder
        self.ca, self.ca_key = self.path("ca.pem"), self.path("ca.key")
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                 "-subj", "/CN=Test CA", "-keyout", self.ca_key, "-out", self.ca)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *words):
        r = subprocess.run(["openssl", *words], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr

    def leaf(self, name, san, expired=False):
        """san: "DNS:mx.test" or "IP:127.0.0.1"."""
        cert, key, csr, ext = (self.path(name + e) for e in (".pem", ".key", ".csr", ".ext"))
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name,
                 "-keyout", key, "-out", csr)
        with open(ext, "w") as f:
            f.write("subjectAltName=%s\n" % san)
        days = ["-days", "-1"] if expired else ["-days", "30"]
        self.run("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial", "-extfile", ext,
                 "-out", cert, *days)
        return cert, key


class Mail:
    def __init__(self, mail_line, encrypted, user):
        self.mail_line, self.encrypted, self.user = mail_line, encrypted, user
        self.rcpts, self.data, self.by = [], b"", None


class Relay:
    """`tls`: None, "starttls" or "implicit"; `certificate`: (cert, key). `users`: {name: password}, and then AUTH by
    `mechanisms`. `starttls`: what is done instead of a handshake: a reply that refuses, "hang", "close", "plain" (220,
    and then on in clear), "inject" (a reply in the packet of the 220), "empty" (an EHLO without extensions in TLS).
    `auth_reply`: the verdict instead of the true one. `listener_tls`: ssl versions."""

    def __init__(self, tls=None, certificate=None, users=None, mechanisms=("PLAIN", "LOGIN", "SCRAM-SHA-256"),
                 starttls=None, auth_reply=None, ehlo=("PIPELINING", "8BITMIME", "SMTPUTF8"), auth_in_clear=False,
                 host="127.0.0.1", port=0, iterations=4096, forge=False, needs_tls=False):
        self.tls, self.users, self.mechanisms, self.starttls = tls, users, mechanisms, starttls
        self.auth_reply, self.ehlo, self.auth_in_clear, self.iterations = auth_reply, ehlo, auth_in_clear, iterations
        self.forge, self.needs_tls = forge, needs_tls  # needs_tls: MAIL in clear is 530
        self.commands, self.mails, self.handshakes, self.failures, self.connections = [], [], [], [], 0
        self.users_seen, self.open = [], []
        self.context = None
        self.names = []
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
            self.context.sni_callback = lambda s, name, c: self.names.append(name)
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(50)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in [self.listener, *self.open]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.listener.close()

    def said(self, verb, encrypted=None):
        return [l for e, l in list(self.commands) if l.upper().startswith(verb) and encrypted in (None, e)]

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(s)
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        try:
            Session(self, s).talk()
        except (OSError, EOFError) as e:
            self.failures.append(str(e))
        finally:
            s.close()


class Session:
    def __init__(self, relay, sock):
        self.relay, self.sock, self.rest = relay, sock, b""
        self.encrypted = False
        self.user = None
        self.mail = None
        if relay.tls == "implicit":
            self.handshake()

    def handshake(self):
        self.sock = self.relay.context.wrap_socket(self.sock, server_side=True)
        self.relay.open.append(self.sock)
        self.relay.handshakes.append((self.sock.version(), self.sock.session_reused))
        self.encrypted = True
        self.rest = b""

    def say(self, *lines):
        words = lines[0].split(" ", 1)
        code = words[0]
        texts = [words[1] if len(words) > 1 else "", *lines[1:]]
        self.sock.sendall("".join("%s%s%s\r\n" % (code, " " if i + 1 == len(texts) else "-", t)
                                  for i, t in enumerate(texts)).encode())

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.rest += data

    def line(self):
        while b"\r\n" not in self.rest:
            self.fill()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line.decode("utf-8", "replace")

    def octets(self, count):
        while len(self.rest) < count:
            self.fill()
        got, self.rest = self.rest[:count], self.rest[count:]
        return got

    def talk(self):
        self.say("220 relay.test ESMTP")
        while True:
            line = self.line()
            self.relay.commands.append((self.encrypted, line))
            verb = line.split(":")[0].split(" ")[0].upper()
            if verb == "QUIT":
                self.say("221 2.0.0 Bye")
                return
            do = getattr(self, "do_" + verb.lower(), None)
            if do is None:
                self.say("500 5.5.2 What?")
            elif do(line) == "end":
                return

    def do_ehlo(self, line):
        r = self.relay
        words = list(r.ehlo)
        if r.tls == "starttls" and not self.encrypted:
            words.append("STARTTLS")
        if r.users is not None and (self.encrypted or r.auth_in_clear or not r.tls):
            words.append("AUTH " + " ".join(r.mechanisms))
        if r.starttls == "empty" and self.encrypted:
            words = []
        self.say("250 relay.test", *words)

    def do_helo(self, line):
        self.say("250 relay.test")

    def do_starttls(self, line):
        how = self.relay.starttls
        if how and how[0] in "45":
            self.say(how)
        elif how == "inject":
            self.sock.sendall(b"220 2.0.0 Ready\r\n250 2.0.0 Injected\r\n")
            self.handshake()
        else:
            self.say("220 2.0.0 Ready")
            if how == "close":
                return "end"
            if how == "hang":
                self.sock.recv(65536)
                while self.sock.recv(65536):
                    pass
                return "end"
            if how != "plain":
                self.handshake()

    # ---- AUTH ----

    def challenge(self, octets):
        self.say("334 " + base64.b64encode(octets).decode())
        line = self.line()
        self.relay.commands.append((self.encrypted, line))
        return base64.b64decode(line)

    def do_auth(self, line):
        words = line.split(" ")
        first = base64.b64decode(words[2]) if len(words) > 2 else None
        good = {"PLAIN": self.plain, "LOGIN": self.login, "SCRAM-SHA-256": self.scram}[words[1]](first)
        if self.relay.auth_reply:
            self.say(self.relay.auth_reply)
        else:
            self.say("235 2.7.0 Welcome" if good else "535 5.7.8 No")
            self.user = good

    def plain(self, first):
        _, user, password = (first if first is not None else self.challenge(b"")).decode().split("\0")
        return user if self.relay.users.get(user) == password else None

    def login(self, first):
        user = self.challenge(b"Username:").decode()
        password = self.challenge(b"Password:").decode()
        return user if self.relay.users.get(user) == password else None

    def scram(self, first):
        bare = first.decode().split(",", 2)[2]
        user, nonce = (f[2:] for f in bare.split(",")[:2])
        password = self.relay.users.get(user, "unknown")
        salt, nonce = secrets.token_bytes(16), nonce + secrets.token_hex(8)
        server_first = "r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt).decode(), self.relay.iterations)
        final = self.challenge(server_first.encode()).decode()
        without, proof = final.rsplit(",p=", 1)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, self.relay.iterations)
        sign = lambda key, text: hmac.new(key, text, "sha256").digest()
        key = sign(salted, b"Client Key")
        message = ",".join((bare, server_first, without)).encode()
        want = bytes(a ^ b for a, b in zip(key, sign(hashlib.sha256(key).digest(), message)))
        if base64.b64decode(proof) != want and not self.relay.forge:
            return None
        signature = sign(sign(salted, b"Server Key"), message)
        self.challenge(b"v=" + base64.b64encode(bytes(32) if self.relay.forge else signature))
        return user

    # ---- mail ----

    def do_mail(self, line):
        if self.relay.needs_tls and not self.encrypted:
            self.say("530 5.7.0 Must issue a STARTTLS command first")
            return
        if self.relay.users is not None and not self.user:
            self.say("530 5.7.0 Authentication required")
            return
        self.mail = Mail(line, self.encrypted, self.user)
        self.say("250 2.1.0 Ok")

    def do_rcpt(self, line):
        if self.mail is None:
            self.say("503 5.5.1 MAIL first")
            return
        self.mail.rcpts.append(line[line.index("<") + 1:line.rindex(">")])
        self.say("250 2.1.5 Ok")

    def do_rset(self, line):
        self.mail = None
        self.say("250 2.0.0 Ok")

    def take(self, data, by):
        self.mail.data, self.mail.by = data, by
        self.relay.mails.append(self.mail)
        self.mail = None
        self.say("250 2.0.0 Ok: queued")

    def do_data(self, line):
        if self.mail is None or not self.mail.rcpts:
            self.say("503 5.5.1 RCPT first")
            return
        self.say("354 Go on")
        data = []
        while True:
            text = b""
            while b"\r\n" not in self.rest:
                self.fill()
            text, self.rest = self.rest.split(b"\r\n", 1)
            if text == b".":
                break
            data.append((text[1:] if text.startswith(b".") else text) + b"\r\n")
        self.take(b"".join(data), "DATA")

    def do_bdat(self, line):
        words = line.split(" ")
        octets = self.octets(int(words[1]))
        if self.mail is None or not self.mail.rcpts:
            self.say("503 5.5.1 RCPT first")
            return
        self.mail.data += octets
        if words[-1].upper() == "LAST":
            self.take(self.mail.data, "BDAT")
        else:
            self.say("250 2.0.0 Ok")
