#!/usr/bin/python3
"""Who decides who logs in: auth_file and `tern passwd`, Dovecot's auth server, a web service. A wrong secret never gets in."""
import base64
import concurrent.futures
import hashlib
import hmac
import http.server
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import DovecotAuth, Mute, UnixServer
from ternlib import BINARY, SLOW, Client, Tern, free_port, need, run, wait_for

SUBMISSION = """
hostname: mx.test
delivery: false
auth: { delay: 0, cram_md5: true }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: submission, auth_plaintext: true } }
policies:
  submission:
    - %s
    - domains: { local: [example.org], recipients: [alice@example.org] }
routes: [{ class: local, transport: smtp, to: ["127.0.0.1:25"] }]
"""


def passwd(*words, password="se cret"):
    return subprocess.run([BINARY, "passwd", *words], input=password + "\n", capture_output=True, text=True, timeout=60 * SLOW)
USERS = {"alice": "{PLAIN}open sesame", "bob": "{SHA512-CRYPT}$6$7F1rz4ukzLoR0PO1$e/00/Ao3FVzLaF.xqBHxEE6yvcqs.NqvWvKTx7GOwrTR3kPsR"
         "rEADBwGI/vGoq1411nO9CG5AXg2JPM4sqYlz0",  # "pass word"
         "gr\u00fcn": "{PLAIN}\u00fc\u00f6", "a'b": "{PLAIN}quote", "o*": "{PLAIN}star",
         "scram": "{SCRAM-SHA-256}4096,LUyyq8DBYYJUzhQvJNN4HQ==,fMY05bKX8Mp1J2ayFDuqcd7N/5Z9XFnTKu3XPxGxRv0=,"
                  "caAO0ljGhN2XguDrFiXaY8XlmLPc6BT0Ee+QFbKNlSw="}
RIGHT = [("alice", "open sesame"), ("bob", "pass word"), ("gr\u00fcn", "\u00fc\u00f6"), ("a'b", "quote"), ("o*", "star")]
WRONG = [("alice", "open sesam"), ("alice", "open sesame "), ("alice", "pass word"), ("bob", "open sesame"), ("bob", "x"),
         ("alice", "{PLAIN}open sesame"), ("bob", USERS["bob"]), ("o*", "open sesame")]
UNKNOWN = [("mallory", "open sesame"), ("alic", "open sesame"), ("alicea", "open sesame"), ("*", "open sesame")]
INJECTION = [("*", "*"), ("alice)(|(uid=*", "x"), ("alice' OR '1'='1", "x"), ("alice\" OR \"\"=\"", "x"), ("alice;--", "x"),
             ("%u", "%w"), ("alice%00", "x"), ("alice\\", "open sesame"), ("\",\"user\":\"alice", "x"),
             ("alice", "x\",\"ok\":true,\"y\":\""), ("alice\tresp=x", "open sesame"), ("alice\nOK\t1\tuser=alice", "x"),
             ("alice", "x\tnologin\nOK\t1\tuser=alice"), ("alice", "x\r\n\r\nPOST /"), ("alice\x01t", "x")]


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def hello(t):
    c = Client(t.port)
    code, text = c.cmd("EHLO client.example")
    assert code == 250, text
    c.ehlo = text
    return c


def login(t, user, password, mechanism="PLAIN", client=None):
    """The code of the last reply. The session goes on behind it."""
    c = client or hello(t)
    try:
        if mechanism == "PLAIN":
            code, text = c.cmd("AUTH PLAIN " + b64("\0%s\0%s" % (user, password)))
        elif mechanism == "PLAIN-later":
            assert c.cmd("AUTH PLAIN")[0] == 334
            code, text = c.cmd(b64("\0%s\0%s" % (user, password)))
        elif mechanism == "LOGIN":
            code, text = c.cmd("AUTH LOGIN")
            assert code == 334, text
            code, text = c.cmd(b64(user))
            if code == 334:
                code, text = c.cmd(b64(password))
        elif mechanism == "CRAM-MD5":
            code, text = c.cmd("AUTH CRAM-MD5")
            assert code == 334, text
            code, text = c.cmd(b64("%s %s" % (user, hmac.new(password.encode(), base64.b64decode(text), "md5").hexdigest())))
        elif mechanism == "SCRAM-SHA-256":
            code, text = scram(c, user, password)
        else:
            code, text = c.cmd("AUTH %s %s" % (mechanism, b64("user=%s\x01auth=Bearer %s\x01\x01" % (user, password))))
            if code == 334:
                code, text = c.cmd("")
        assert c.cmd("NOOP")[0] == 250, "the session does not go on behind %d %s" % (code, text)
        return code
    finally:
        if client is None:
            c.close()


def scram(c, user, password):
    """RFC 7677, as a client; checks the server's proof."""
    mac = lambda key, text: hmac.new(key, text.encode(), "sha256").digest()
    first = "n=%s,r=clientnonce" % user.replace("=", "=3D").replace(",", "=2C")
    code, text = c.cmd("AUTH SCRAM-SHA-256 " + b64("n,," + first))
    if code != 334:
        return code, text
    server = base64.b64decode(text).decode()
    fields = dict(f.split("=", 1) for f in server.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    last = "c=biws,r=" + fields["r"]
    whole = ",".join((first, server, last))
    key = mac(salted, "Client Key")
    proof = bytes(a ^ b for a, b in zip(key, mac(hashlib.sha256(key).digest(), whole)))
    code, text = c.cmd(b64("%s,p=%s" % (last, b64(proof))))
    if code == 334:
        said = base64.b64decode(text).decode()
        if said == "v=" + b64(mac(mac(salted, "Server Key"), whole)):
            return c.cmd("")
        return c.cmd("*") if not said.startswith("e=") else c.cmd("")
    return code, text


def the_table(t, mechanisms=("PLAIN", "LOGIN", "PLAIN-later"), right=RIGHT):
    """right, wrong, unknown user, injection"""
    rows = [(m, user, password, (235,)) for m in mechanisms for user, password in right]
    rows += [(m, user, password, (535,)) for m in mechanisms for user, password in WRONG + UNKNOWN]
    rows += [(m, user, password, (535, 501)) for m in mechanisms for user, password in INJECTION]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # a refusal takes some its time
        codes = list(pool.map(lambda row: login(t, row[1], row[2], row[0]), rows))
    for row, code in zip(rows, codes):
        assert code in row[3], (code, row)


# ---- auth_file ----

def test_auth_file():
    text = "".join("%s: %s\n" % (json.dumps(k, ensure_ascii=False), json.dumps(v, ensure_ascii=False)) for k, v in USERS.items())
    with Tern(SUBMISSION.replace("%s", "auth_file: { path: users.yaml }"), {"users.yaml": text}).start() as t:
        c = hello(t)
        assert "SCRAM" not in c.ehlo and "AUTH PLAIN LOGIN" in c.ehlo, c.ehlo
        c.close()
        the_table(t)
        the_table(t)  # what is remembered lets nobody else in
        assert login(t, "ALICE", "open sesame") == 235
        assert login(t, "scram", "pass word") == 235 and login(t, "scram", "pass worD") == 535


def test_auth_file_changes():
    with Tern(SUBMISSION.replace("%s", "auth_file: { path: users }"), {"users": "alice:{PLAIN}one\n"}).start() as t:
        assert login(t, "alice", "one") == 235
        t.write("users", "alice:{PLAIN}two\nbob:!\n")
        wait_for(lambda: login(t, "alice", "two") == 235, 10)
        assert login(t, "alice", "one") == 535, "remembered beyond its change"
        assert login(t, "bob", "!") == 535
        t.write("users", "alice:two\n")
        wait_for(lambda: login(t, "alice", "two") == 235 and "users:1: the stored password names no scheme" in t.log_text(), 10)
        os.unlink(os.path.join(t.dir, "users"))
        wait_for(lambda: login(t, "alice", "two") == 235 and "users: No such file" in t.log_text(), 10)
        assert login(t, "alice", "one") == 535
        t.write("users", "carol:{PLAIN}three\n")
        wait_for(lambda: login(t, "carol", "three") == 235, 10)
        assert login(t, "alice", "two") == 535, "a user who was taken out logs in"


def test_auth_file_in_trouble():
    """Gone, slow or rubbish: those who were known log in as before, nobody else, and nobody waits for the file."""
    good = "alice:{PLAIN}one\n"
    for what in ("gone", "a pipe that nobody writes to", "a folder", "rubbish", "rubbish that looks like YAML", "empty"):
        with Tern(SUBMISSION.replace("%s", "auth_file: { path: users }"), {"users": good}).start() as t:
            path = os.path.join(t.dir, "users")
            assert [login(t, "alice", "one"), login(t, "bob", "x")] == [235, 535]
            os.unlink(path)
            if what == "a pipe that nobody writes to":
                os.mkfifo(path, 0o600)
            elif what == "a folder":
                os.mkdir(path)
            elif what.startswith("rubbish"):
                t.write("users", os.urandom(5000) + b"\n" if what == "rubbish" else "alice: {PLAIN}two\nbob: [\n")
            elif what == "empty":
                t.write("users", "")
            if what == "empty":  # that is a file without users, as somebody wrote it
                wait_for(lambda: login(t, "alice", "one") == 535, 20)
                continue
            # it is looked at by a login, once a second
            wait_for(lambda: login(t, "alice", "one") == 235 and "/users" in t.log_text().split(" start ", 1)[1], 20)
            start = time.monotonic()
            assert [login(t, "alice", "one"), login(t, "alice", "two"), login(t, "bob", "x"), login(t, "", "")] == [235, 535, 535, 535], what
            assert time.monotonic() - start < 30 * SLOW and t.status()["sessions"] >= 0, what


def test_auth_file_scram():
    text = "scram: '%s'\nalice: '%s'\n" % (USERS["scram"], USERS["alice"])
    step = "auth_file: { path: users.yaml, mechanisms: [SCRAM-SHA-256, CRAM-MD5], domain: '' }"
    with Tern(SUBMISSION.replace("%s", step), {"users.yaml": text}).start() as t:
        c = hello(t)
        assert "SCRAM-SHA-256" in c.ehlo and "PLAIN" not in c.ehlo.replace("-PLUS", ""), c.ehlo
        assert c.cmd("AUTH PLAIN " + b64("\0alice\0open sesame"))[0] == 504
        c.close()
        assert login(t, "scram", "pass word", "SCRAM-SHA-256") == 235
        assert login(t, "alice", "open sesame", "SCRAM-SHA-256") == 235
        assert login(t, "scram", "pass worD", "SCRAM-SHA-256") == 535
        assert login(t, "nobody", "pass word", "SCRAM-SHA-256") == 535
        assert login(t, "alice", "open sesame", "CRAM-MD5") == 235
        assert login(t, "alice", "open sesamE", "CRAM-MD5") == 535
        assert login(t, "scram", "pass word", "CRAM-MD5") == 535


def test_keys_are_made_off_the_loop():
    """SCRAM with a million rounds, which the server does for a stored password and for nobody: the loop goes on meanwhile.

    A busy machine may give a thread that derives a whole turn before a NOOP gets its one; a loop that derives always does."""
    config = SUBMISSION.replace("auth: { ", "loops: 1\nauth: { iterations: 1000000, ")
    step = "auth_file: { path: users.yaml, mechanisms: [SCRAM-SHA-256], domain: '' }"
    with Tern(config.replace("%s", step), {"users.yaml": "alice: '%s'\n" % USERS["alice"]}).start() as t:
        other = hello(t)
        for last in (False, False, False, False, True):
            clients = [hello(t) for _ in range(4)]
            for i, c in enumerate(clients):
                c.send("AUTH SCRAM-SHA-256 %s\r\n" % b64("n,,n=%s,r=nonce" % ("alice" if i % 2 else "nobody")))
            assert other.cmd("NOOP")[0] == 250
            if select.select([c.sock for c in clients], [], [], 0)[0] == []:
                break
            assert not last, "a NOOP took longer than a derivation, five times"
            for c in clients:
                c.close()
        clients.pop().close()  # gone in the midst of it
        for c in clients:
            code, text = c.reply()
            assert code == 334 and base64.b64decode(text).endswith(b",i=1000000"), (code, text)
        assert login(t, "alice", "open sesame", "SCRAM-SHA-256") == 235
        assert login(t, "alice", "open sesamE", "SCRAM-SHA-256") == 535


def test_auth_file_domain():
    with Tern(SUBMISSION.replace("%s", "auth_file: { path: users, domain: example.org, cache: 0 }"),
              {"users": "Alice@example.org:{PLAIN}x\n"}).start() as t:
        assert login(t, "alice", "x") == 235 and login(t, "alice@example.org", "x") == 235
        assert login(t, "alice@example.com", "x") == 535


# ---- auth_dovecot ----

DOVECOT = "auth_dovecot: { socket: '%s'%s }"


def test_auth_dovecot():
    need("dovecot")
    with DovecotAuth(USERS) as d:
        with Tern(SUBMISSION.replace("%s", DOVECOT % (d.socket, ", mechanisms: [PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256]"))).start() as t:
            the_table(t, right=[r for r in RIGHT if r[0] != "a'b"])  # which its passwd-file cannot name
            for m in ("CRAM-MD5", "SCRAM-SHA-256"):
                assert login(t, "alice", "open sesame", m) == 235, m
                assert login(t, "alice", "open sesamE", m) == 535, m
                assert login(t, "nobody", "open sesame", m) == 535, m
            assert login(t, "x" * 2500, "y" * 3200) == 535, "near Dovecot's line length"
            assert login(t, "x" * 2800, "y" * 3200) == 454, "above it"
            assert login(t, "alice", "open sesame") == 235
            c = hello(t)
            assert c.cmd("AUTH LOGIN")[0] == 334
            assert c.cmd("*")[0] == 501
            assert login(t, "alice", "open sesame", client=c) == 235
            c.close()


def test_auth_dovecot_stops():
    need("dovecot")
    with DovecotAuth(USERS) as d:
        with Tern(SUBMISSION.replace("%s", DOVECOT % (d.socket, ""))).start() as t:
            assert login(t, "alice", "open sesame") == 235
            d.end()
            wait_for(lambda: login(t, "alice", "open sesame") == 454, 20)
            c = hello(t)
            assert login(t, "alice", "wrong", client=c) == 454
            d.begin()
            wait_for(lambda: login(t, "alice", "open sesame") == 235, 20)
            assert login(t, "alice", "open sesame", client=c) == 235
            c.close()
            assert login(t, "alice", "wrong") == 535


def test_auth_dovecot_hangs_up_between():
    """In the midst of an exchange: the client hears it when it is its turn to hear."""
    def talk(s):
        s.sendall(GREETING)
        for line in lines_of(s):
            if line.startswith(b"AUTH\t"):
                s.sendall(b"CONT\t%s\tVXNlcm5hbWU6\n" % line.split(b"\t")[1])
                heard.wait(60 * SLOW)
                s.shutdown(socket.SHUT_RDWR)
                gone.set()
                return
    heard, gone = threading.Event(), threading.Event()
    with UnixServer(talk) as server:
        with Tern(SUBMISSION.replace("%s", DOVECOT % (server.socket, ""))).start() as t:
            c = hello(t)
            assert c.cmd("AUTH LOGIN") == (334, "VXNlcm5hbWU6")
            heard.set()
            assert gone.wait(60 * SLOW)
            t.settle()  # it has dealt with that
            heard.clear()
            assert c.cmd(b64("alice"))[0] == 454
            assert c.cmd("NOOP")[0] == 250
            assert c.cmd("AUTH LOGIN")[0] == 334  # another connection is made
            assert c.cmd("*")[0] == 501
            c.close()


def test_auth_dovecot_many_at_once():
    """One connection serves all; nobody gets another's answer."""
    need("dovecot")
    with DovecotAuth(USERS) as d:
        with Tern(SUBMISSION.replace("%s", DOVECOT % (d.socket, ""))).start() as t:
            wrong = []

            def one(n):
                user, password, want = ("alice", "open sesame", 235) if n % 2 else ("alice", "no%d" % n, 535)
                for m in ("PLAIN", "LOGIN"):
                    got = login(t, user, password, m)
                    if got != want:
                        wrong.append((n, m, got))
            threads = [threading.Thread(target=one, args=(n,)) for n in range(40)]
            for x in threads:
                x.start()
            for x in threads:
                x.join(120 * SLOW)
            assert wrong == [], wrong


GREETING = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tabc\nDONE\n"


def lines_of(s):
    rest = b""
    while True:
        while b"\n" not in rest:
            data = s.recv(65536)
            if not data:
                raise EOFError
            rest += data
        line, rest = rest.split(b"\n", 1)
        yield line


def scripted(answer, greeting=GREETING):
    """An auth server that says answer(id) to each request."""
    def talk(s):
        s.sendall(greeting)
        for line in lines_of(s):
            if line.startswith((b"AUTH\t", b"CONT\t")):
                said = answer(line.split(b"\t")[1])
                if said is None:
                    return
                s.sendall(said)
    return talk


def silent(s):
    time.sleep(60 * SLOW)


def test_auth_dovecot_that_is_none():
    """Rubbish, silence and lies are a 454, and in time."""
    rows = [
        ("another protocol", scripted(lambda i: b"", b"220 mx.test ESMTP\r\n"), 454),
        ("another version", scripted(lambda i: b"OK\t%s\tuser=alice\n" % i, GREETING.replace(b"VERSION\t1", b"VERSION\t2")), 454),
        ("no version", scripted(lambda i: b"OK\t%s\tuser=alice\n" % i, b"DONE\n"), 454),
        ("silence", silent, 454),
        ("silence behind the greeting", scripted(lambda i: b""), 454),
        ("it hangs up", scripted(lambda i: None), 454),
        ("a yes to another", scripted(lambda i: b"OK\t%d\tuser=alice\n" % (int(i) + 1)), 454),
        ("a yes to nobody", scripted(lambda i: b"OK\t%s\n" % i), 454),
        ("a yes to a user with a line end", scripted(lambda i: b"OK\t%s\tuser=a\001nb\n" % i), 454),
        ("a line without an end", scripted(lambda i: b"OK\t%s\tuser=alice" % i + b"x" * 20000), 454),
        ("rubbish", scripted(lambda i: os.urandom(300).replace(b"O", b"x") + b"\n"), 454),
        ("a challenge that is no base64", scripted(lambda i: b"CONT\t%s\t***\n" % i), 454),
        ("a temporary failure", scripted(lambda i: b"FAIL\t%s\tuser=alice\ttemp\n" % i), 454),
        ("a temporary failure by code", scripted(lambda i: b"FAIL\t%s\tuser=alice\tcode=temp_fail\n" % i), 454),
        ("right, but no login", scripted(lambda i: b"OK\t%s\tuser=alice\tnologin\n" % i), 535),
        ("no", scripted(lambda i: b"FAIL\t%s\tuser=alice\n" % i), 535),
        ("yes", scripted(lambda i: b"FROB\tx\nOK\t%s\tuser=alice\n" % i), 235),
    ]
    for what, talk, want in rows:
        with UnixServer(talk) as server:
            # Who is waited for in vain is so for a second; who answers may take his time.
            with Tern(SUBMISSION.replace("%s", DOVECOT % (server.socket, ", timeout: " + ("1s" if want == 454 else "60s")))).start() as t:
                start = time.monotonic()
                got = login(t, "alice", "open sesame")
                assert got == want, (what, got)
                assert time.monotonic() - start < 30 * SLOW, what
    with Tern(SUBMISSION.replace("%s", DOVECOT % ("/nonexistent/auth-client", ""))).start() as t:
        assert login(t, "alice", "open sesame") == 454
        assert "/nonexistent/auth-client" in t.log_text()


def test_auth_dovecot_yes_out_of_turn():
    """A yes while the client is being asked is none."""
    def talk(s):
        s.sendall(GREETING)
        for line in lines_of(s):
            if line.startswith(b"AUTH\t"):
                i = line.split(b"\t")[1]
                s.sendall(b"CONT\t%s\t\n" % i)
                heard.wait(60 * SLOW)
                s.sendall(b"OK\t%s\tuser=alice\n" % i)
                said.set()
    heard, said = threading.Event(), threading.Event()
    with UnixServer(talk) as server:
        with Tern(SUBMISSION.replace("%s", DOVECOT % (server.socket, ""))).start() as t:
            c = hello(t)
            assert c.cmd("AUTH LOGIN")[0] == 334
            heard.set()
            assert said.wait(60 * SLOW)
            t.settle()  # it has dealt with that
            assert c.cmd(b64("alice"))[0] == 454
            assert c.cmd("NOOP")[0] == 250
            c.close()


# ---- auth_http ----

class Service:
    """A web service: `decide(path, headers, body)` gives (status, body)."""

    def __init__(self, decide, certificate=None):
        service = self
        self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.asked.append((self.path, self.headers, body))
                status, text = decide(self.path, self.headers, body)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/yes")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                try:
                    self.wfile.write(text)
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass
        self.server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate + ".pem", certificate + ".key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def by_users(path, headers, body):
    asked = json.loads(body)
    stored = dict(RIGHT).get(asked["user"])
    assert set(asked) == {"user", "password", "mechanism", "client", "listener", "session", "tls"}, asked
    return (200, b"{}") if stored is not None and asked["password"] == stored else (403, b"no")


def test_auth_http():
    with Service(by_users) as service:
        step = "auth_http: { url: 'http://127.0.0.1:%d/login', token: t0ken, request_timeout: 20s }" % service.port
        with Tern(SUBMISSION.replace("%s", step)).start() as t:
            the_table(t, ("PLAIN", "LOGIN"))
            the_table(t, ("PLAIN",))
            c = hello(t)
            assert "XOAUTH2" not in c.ehlo, c.ehlo
            c.close()
            path, headers, body = service.asked[0]
            asked = json.loads(body)
            assert path == "/login" and headers["Authorization"] == "Bearer t0ken" and asked["mechanism"] == "PLAIN"
            assert (asked["client"], asked["listener"], asked["tls"]) == ("127.0.0.1", "mx", False), asked
            count = len(service.asked)
            assert login(t, "alice", "open sesame") == 235 and len(service.asked) == count  # remembered
            assert "open sesame" not in t.log_text() and "t0ken" not in t.log_text()


def test_auth_http_that_is_none():
    def sleepy(*_):
        time.sleep(3 * SLOW)
        return 200, b"{}"
    rows = [
        ("500", lambda *_: (500, b""), 454),
        ("404", lambda *_: (404, b""), 454),
        ("401", lambda *_: (401, b""), 454),
        ("201", lambda *_: (201, b"{}"), 454),
        ("a redirect", lambda path, *_: (200, b"{}") if path == "/yes" else (302, b""), 454),
        ("a start page", lambda *_: (200, b"<html>welcome</html>"), 454),
        ("a yes of 64 KB", lambda *_: (200, b"{}" + b" " * 65534), 235),
        ("a yes that is larger", lambda *_: (200, b"{}" + b" " * 65535), 454),
        ("a user that is none", lambda *_: (200, b'{"user": "a\\nb"}'), 454),
        ("slow", sleepy, 454),
        ("403", lambda *_: (403, b"<html>"), 535),
        ("yes", lambda *_: (200, b'{"user": "alice@example.org"}'), 235),
    ]
    for what, decide, want in rows:
        with Service(decide) as service:
            step = "auth_http: { url: 'http://localhost:%d/login', request_timeout: %ds, cache: 0 }" % (service.port, 1 if want == 454 else 20)
            with Tern(SUBMISSION.replace("%s", step)).start() as t:
                start = time.monotonic()
                got = login(t, "alice", "open sesame")
                assert got == want, (what, got)
                assert time.monotonic() - start < 30 * SLOW, what
    with Tern(SUBMISSION.replace("%s", "auth_http: { url: 'http://127.0.0.1:1/login' }")).start() as t:
        assert login(t, "alice", "open sesame") == 454
    for words, close in ((b"", False), (b"", True), (b"I am no web server\r\n" * 100, False), (b"HTTP/1.1 200 OK\r\nContent-Le", False),
                         (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", False), (b"HTTP/1.1 999999 OK\r\n\r\n", True), (os.urandom(4096), True)):
        with Mute(words, close) as mute:
            step = "auth_http: { url: 'http://127.0.0.1:%d/login', request_timeout: 1s, cache: 0 }" % mute.port
            with Tern(SUBMISSION.replace("%s", step)).start() as t:
                assert login(t, "alice", "open sesame") == 454, words


def test_auth_http_that_hangs_starves_nobody():
    """pool_threads: 4, and ten logins at a service that does not answer: other BLOCKING steps have their threads"""
    config = """
hostname: mx.test
delivery: false
pool_threads: 4
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: web, auth_plaintext: true }
  files: { bind: "127.0.0.1:{other}", policy: files, auth_plaintext: true }
policies:
  web: [ %s ]
  files: [ auth_file: { path: users.yaml, cache: 0 } ]
"""
    gate = threading.Event()

    def hangs(*_):
        gate.wait(60 * SLOW)
        return 200, b"{}"
    with Service(hangs) as service:
        step = "auth_http: { url: 'http://localhost:%d/login', request_timeout: 60s, cache: 0, timeout: 60s }" % service.port
        with Tern(config.replace("%s", step), {"users.yaml": "bob: '%s'\n" % USERS["bob"]}, other=free_port()).start() as t:
            stuck = [hello(t) for _ in range(10)]
            for c in stuck:
                c.send("AUTH PLAIN %s\r\n" % b64("\0alice\0open sesame"))
            wait_for(lambda: service.asked, 20)
            for _ in range(5):
                c = Client(t.values["other"])
                assert c.cmd("EHLO client.example")[0] == 250
                assert login(t, "bob", "pass word", client=c) == 235
                c.close()
            assert select.select([c.sock for c in stuck], [], [], 0)[0] == [], "they were to hang meanwhile"
            gate.set()
            assert [c.reply()[0] for c in stuck] == [235] * 10


def certificate(folder, name, host):
    path = os.path.join(folder, name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=" + host, "-addext", "subjectAltName=" + ("IP:" if host[0].isdigit() else "DNS:") + host,
                    "-keyout", path + ".key", "-out", path + ".pem"], check=True, capture_output=True, timeout=60 * SLOW)
    return path


def test_auth_http_tls():
    """A service without a good certificate is not asked: 454, and no password leaves."""
    need("openssl")
    with tempfile.TemporaryDirectory() as folder:
        good, other = certificate(folder, "good", "127.0.0.1"), certificate(folder, "other", "other.example")
        for what, cert, ca, want in (("good", good, good, 235), ("unknown signer", good, other, 454), ("another name", other, other, 454)):
            with Service(by_users, cert) as service:
                step = "auth_http: { url: 'https://127.0.0.1:%d/login', ca_file: %s.pem, request_timeout: 20s }" % (service.port, ca)
                with Tern(SUBMISSION.replace("%s", step)).start() as t:
                    assert login(t, "alice", "open sesame") == want, what
                    assert (len(service.asked) > 0) == (want == 235), what


def test_auth_http_options():
    for step, want in (("auth_http", "needs url"), ("auth_http: { url: 'http://auth.example/x' }", "http: would send passwords in clear"),
                       ("auth_http: { url: 'ftp://auth.example/x' }", "expected https:"),
                       ("auth_http: { url: 'https://u:p@auth.example/x' }", "have options of their own"),
                       ("auth_http: { url: 'http://127.0.0.1.evil.example/x' }", "http: would send passwords in clear"),
                       ("auth_http: { url: 'https://a.example', scope: x }", "are for introspect"),
                       ("auth_http: { url: 'https://a.example', token: 'a b' }", "has a blank or a control character"),
                       ("auth_dovecot: { service: 'smtp\\tx' }", "expected 1 to 32 of"),
                       ("auth_dovecot: { mechanisms: [PLAINTEXT] }", "is none of PLAIN"),
                       ("auth_dovecot: { socket: '/%s' }" % ("x" * 120), "at most 107 octets"),
                       ("auth_file: { path: users, mechanisms: [GSSAPI] }", "is none of PLAIN")):
        with Tern(SUBMISSION.replace("%s", step), {"users": "a:!\n"}) as t:
            r = t.cli("check", check=False)
            assert r.returncode != 0 and want in r.stderr, (step, r.stderr)


def test_introspection():
    """XOAUTH2 and OAUTHBEARER: the token is what counts, and whose it is."""
    tokens = {"good": {"active": True, "username": "alice", "scope": "imap smtp", "exp": int(time.time()) + 600},
              "bobs": {"active": True, "username": "bob", "scope": "smtp"},
              "old": {"active": True, "username": "alice", "scope": "smtp", "exp": int(time.time()) - 1},
              "narrow": {"active": True, "username": "alice", "scope": "imap"},
              "odd": {"active": "yes", "username": "alice", "scope": "smtp"}}

    def decide(path, headers, body):
        assert headers["Authorization"] == "Basic " + b64("tern:s3cret") and body.startswith(b"token="), headers
        token = body.split(b"&")[0][6:].decode()
        return 200, json.dumps(tokens.get(token, {"active": False})).encode()
    with Service(decide) as service:
        step = "auth_http: { introspect: 'http://127.0.0.1:%d/introspect', client_id: tern, client_secret: s3cret, scope: smtp, request_timeout: 20s }" % service.port
        with Tern(SUBMISSION.replace("%s", step)).start() as t:
            c = hello(t)
            assert "XOAUTH2" in c.ehlo and "OAUTHBEARER" in c.ehlo and "PLAIN" not in c.ehlo, c.ehlo
            c.close()
            for user, token, want in (("alice", "good", 235), ("alice", "good", 235), ("bob", "good", 535), ("alice", "bobs", 535),
                                      ("bob", "bobs", 235), ("alice", "old", 535), ("alice", "narrow", 535), ("alice", "none", 535),
                                      ("alice", "x&token=good", 535), ("alice", "%67ood", 535), ("alice", "x\r\n\r\ngood", 535), ("alice", "good&", 535),
                                      ("alice\",\"x", "bobs", 535), ("*", "good", 535), ("alice%00", "good", 535),
                                      ("alice", "odd", 454)):
                assert login(t, user, token, "XOAUTH2") == want, (user, token)
            assert "s3cret" not in t.log_text()


def test_passwd():
    """Every scheme makes an entry that the module takes; what is no password or user is refused."""
    entries = []
    for n, scheme in enumerate(("ARGON2ID", "YESCRYPT", "BLF-CRYPT", "sha512-crypt", "SHA256-CRYPT", "SCRAM-SHA-256",
                                "SCRAM-SHA-1", "PLAIN")):
        r = passwd("--scheme", scheme, "user%d" % n)
        assert r.returncode == 0 and r.stdout.startswith("user%d: \"{" % n), (scheme, r.stdout, r.stderr)
        assert scheme == "PLAIN" or "se cret" not in r.stdout
        entries.append(r.stdout)
    odd = passwd("--scheme", "PLAIN", 'a "b":', password="x\"y\\\\")
    assert odd.returncode == 0, odd.stderr
    lines = [passwd("--line", "a@example.org").stdout, passwd("-l", "-s", "SCRAM-SHA-256", "b").stdout]
    for name, text in (("users.yaml", "".join(entries) + odd.stdout), ("users", "".join(lines))):
        with Tern(SUBMISSION.replace("%s", "auth_file: { path: %s }" % name), {name: text}) as t:
            os.chmod(os.path.join(t.dir, name), 0o640)
            r = t.cli("check", check=False)
            assert r.returncode == 0 and "warning" not in r.stderr, r.stderr
    for words, password in ((("x", "y"), "p"), (("--scheme", "ROT13", "x"), "p"), (("x",), ""), (("x",), "a\tb"),
                            (("x",), "p" * 512), (("a\nb",), "p"), (("-l", "a:b"), "p"), (("-l", "-s", "PLAIN", "x"), "p:q")):
        r = passwd(*words, password=password)
        assert r.returncode != 0 and r.stdout == "" and r.stderr != "", (words, r.stdout)
        assert len(password) < 3 or password not in r.stderr


def test_passwd_at_a_terminal():
    """Asked twice, not echoed; two different ones are refused."""
    import pty
    for again, want in (("geheim\n", 0), ("geheimer\n", 1)):
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(BINARY, [BINARY, "passwd", "--scheme", "SHA512-CRYPT", "alice"])
        seen = b""
        for prompt, answer in ((b"Password: ", "geheim\n"), (b"Again: ", again)):
            while not seen.endswith(prompt):
                seen += os.read(fd, 1000)
            os.write(fd, answer.encode())
        try:
            while True:
                data = os.read(fd, 1000)
                if not data:
                    break
                seen += data
        except OSError:
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(fd)
        assert status == want and b"geheim" not in seen, (status, seen)
        assert (b'alice: "{SHA512-CRYPT}$6$' in seen) == (want == 0), seen
        assert seen.count(b"tern passwd:") == want and (b"two different passwords" in seen) == (want == 1), seen


def test_file_that_is_wrong():
    """Said with file and line, never with a part of the entry; who may write it is looked at."""
    for text, want in (("a: '!'\nb: secret99\n", "users.yaml:2: the stored password names no scheme"),
                       ("a: {PLAIN}secret99\n", "users.yaml:1: expected an entry"), (None, "users.yaml: No such file")):
        with Tern(SUBMISSION.replace("%s", "auth_file: { path: users.yaml }"), {"users.yaml": text} if text else {}) as t:
            r = t.cli("check", check=False)
            assert r.returncode != 0 and want in r.stderr and "secret99" not in r.stderr, r.stderr
            assert "tern.yaml:8" in r.stderr, r.stderr
    with Tern(SUBMISSION.replace("%s", "auth_file: { path: users }"), {"users": "a:!\n"}) as t:
        r = t.cli("check", check=False)
        assert r.returncode == 0 and "can be read by everybody" in r.stderr, r.stderr
        os.chmod(os.path.join(t.dir, "users"), 0o646)
        r = t.cli("check", check=False)
        assert r.returncode != 0 and "can be written by everybody" in r.stderr, r.stderr


if __name__ == "__main__":
    run([test_passwd, test_passwd_at_a_terminal, test_file_that_is_wrong, test_auth_file, test_auth_file_changes, test_auth_file_in_trouble, test_auth_file_scram, test_keys_are_made_off_the_loop, test_auth_file_domain,
         test_auth_dovecot, test_auth_dovecot_stops, test_auth_dovecot_hangs_up_between,
         test_auth_dovecot_many_at_once, test_auth_dovecot_that_is_none,
         test_auth_dovecot_yes_out_of_turn, test_auth_http, test_auth_http_that_is_none, test_auth_http_that_hangs_starves_nobody, test_auth_http_tls,
         test_auth_http_options, test_introspection])
