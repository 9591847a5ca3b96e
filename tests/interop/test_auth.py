#!/usr/bin/python3
"""swaks, curl, smtplib, msmtp and gsasl log in by each mechanism that they know; a wrong secret never gets in."""
import base64
import hashlib
import hmac
import os
import re
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, need, run, soon_once, wait_for

CONFIG = """
hostname: mx.test
listeners: { s: { bind: "127.0.0.1:{port}", policy: outbound, auth: required, auth_plaintext: true } }
auth: { cram_md5: true, delay: {delay} }
policies:
  outbound:
    - auth_file: { path: users.yaml, mechanisms: [PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5] }
    - lua: { script: tokens.lua }
    - relay_authenticated
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ transport: boxes, class: client }]
"""
USERS = 'alice@example.org: "{PLAIN}s3cret, or=not"\n'
TOKENS = """
local tern = require "tern"
tern.on("auth", function(session, credentials)
  if credentials.password == "ya29.token" then return tern.accept() end
  if credentials.password == "down" then return tern.defer("no answer") end
  return tern.reject("bad token")
end, { mechanisms = { "XOAUTH2", "OAUTHBEARER" } })
"""
USER, PASSWORD = "alice@example.org", "s3cret, or=not"
MAIL = b"From: <alice@example.org>\r\nTo: <bob@far.example>\r\nSubject: hello\r\n\r\nHello.\r\n"


TLS_CONFIG = CONFIG.replace("auth_plaintext: true", "tls: starttls, client_certificates: true, client_ca: ca.pem") + """
certificates: [{ cert: mx.pem, key: mx.key }]
"""


def server(delay="0", config=CONFIG):
    return Tern(config, files={"users.yaml": USERS, "tokens.lua": TOKENS}, delay=delay)


def start(t):
    os.chmod(os.path.join(t.dir, "users.yaml"), 0o600)
    return t.start()


def run_client(*words, input=b"", ok=True):
    r = subprocess.run([str(w) for w in words], input=input, capture_output=True, timeout=60 * SLOW)
    assert (r.returncode == 0) == ok, (words, r.returncode, r.stdout[-2000:], r.stderr[-2000:])
    return r


def arrived(t, count, *mechanisms):
    wait_for(lambda: len(t.maildir("bob")) == count, 30)
    assert all(b"with ESMTPA id" in m for m in t.maildir("bob"))
    wait_for(lambda: any("mechanism=%s user=%s result=ok" % (m, USER) in t.log_text() for m in mechanisms), 10)


def nothing_secret(t):
    """Neither log nor decision record holds what a client said."""
    text = t.log_text()
    for name in os.listdir(os.path.join(t.dir, "spool", "decisions")):
        with open(os.path.join(t.dir, "spool", "decisions", name)) as f:
            text += f.read()
    for word in (PASSWORD, "wr0ng", "ya29", base64.b64encode(PASSWORD.encode()).decode()):
        assert word not in text, word


def test_swaks():
    need("swaks")
    with server() as t:
        start(t)
        for count, mechanism in enumerate(["PLAIN", "LOGIN"], 1):
            def swaks(password, ok):
                run_client("swaks", "--server", "127.0.0.1:%d" % t.port, "--from", USER, "--to", "bob@far.example",
                           "--auth", mechanism, "--auth-user", USER, "--auth-password", password, ok=ok)
            swaks("wr0ng", False)
            swaks(PASSWORD, True)
            arrived(t, count, mechanism)
        nothing_secret(t)


def test_curl():
    need("curl")
    with server() as t:
        start(t)
        rows = [("PLAIN", []), ("LOGIN", []), ("CRAM-MD5", []), ("XOAUTH2", ["--oauth2-bearer"]),
                ("OAUTHBEARER", ["--oauth2-bearer"])]
        for count, (mechanism, bearer) in enumerate(rows, 1):
            def curl(secret, ok):
                who = [*bearer, secret, "--user", USER] if bearer else ["--user", "%s:%s" % (USER, secret)]
                run_client("curl", "-sS", "smtp://127.0.0.1:%d/client.example" % t.port, "--mail-from", USER,
                           "--mail-rcpt", "bob@far.example", "--login-options", "AUTH=" + mechanism, *who, "-T", "-",
                           input=MAIL, ok=ok)
            curl("wr0ng", False)
            if bearer:
                curl("down", False)
            curl("ya29.token" if bearer else PASSWORD, True)
            arrived(t, count, *(["XOAUTH2", "OAUTHBEARER"] if bearer else [mechanism]))  # curl takes either
        nothing_secret(t)


def test_smtplib():
    with server() as t:
        start(t)
        for count, mechanism in enumerate(["CRAM-MD5", "PLAIN", "LOGIN"], 1):
            for initial in (True, False):
                with smtplib.SMTP("127.0.0.1", t.port, timeout=60 * SLOW) as s:
                    s.ehlo()
                    s.user, s.password = USER, "wr0ng"
                    f = getattr(s, "auth_" + mechanism.lower().replace("-", "_"))
                    try:
                        s.auth(mechanism, f, initial_response_ok=initial)
                        raise AssertionError("a wrong password gets in")
                    except smtplib.SMTPAuthenticationError as e:
                        assert e.smtp_code == 535 and e.smtp_error.startswith(b"5.7.8 "), e
                    s.password = PASSWORD
                    assert s.auth(mechanism, f, initial_response_ok=initial)[0] == 235
                    if initial:
                        s.sendmail(USER, ["bob@far.example"], MAIL)
            arrived(t, count, mechanism)


def test_msmtp():
    need("msmtp")
    with server() as t:
        start(t)
        rows = [("plain", "PLAIN"), ("login", "LOGIN"), ("cram-md5", "CRAM-MD5"), ("scram-sha-1", "SCRAM-SHA-1"),
                ("scram-sha-256", "SCRAM-SHA-256"), ("xoauth2", "XOAUTH2"), ("oauthbearer", "OAUTHBEARER")]
        for count, (method, mechanism) in enumerate(rows, 1):
            token = method in ("xoauth2", "oauthbearer")
            for secret, ok in (("wr0ng", False), ("ya29.token" if token else PASSWORD, True)):
                run_client("msmtp", "--host=127.0.0.1", "--port=%d" % t.port, "--auth=" + method, "--user=" + USER,
                           "--passwordeval=printf %%s '%s'" % secret, "--tls=off", "--from=" + USER,
                           "bob@far.example", input=MAIL, ok=ok)
            arrived(t, count, mechanism)
        nothing_secret(t)


def test_gsasl():
    """The peer of our SCRAM, which checks the server's proof, too."""
    need("gsasl")
    with server() as t:
        start(t)
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"):
            for secret, ok in (("wr0ng", False), (PASSWORD, True)):
                r = run_client("gsasl", "--smtp", "--connect=127.0.0.1:%d" % t.port, "-m", mechanism, "-a", USER, "-p",
                               secret, "--no-cb", "--no-starttls", "-d", input=b"", ok=ok)
                assert (b"235 2.7.0" in r.stdout) == ok, r.stdout
            wait_for(lambda: "mechanism=%s user=%s result=ok" % (mechanism, USER) in t.log_text(), 10)


def plain(password, user=USER):
    return "AUTH PLAIN " + base64.b64encode(("\0%s\0%s" % (user, password)).encode()).decode()


def openssl(folder, *words):
    r = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, timeout=60 * SLOW)
    assert r.returncode == 0, r.stderr


def certificate(folder, name, common, *more):
    """NAME.pem and NAME.key, by ca.pem, which is made if it is not there."""
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    if not os.path.exists(os.path.join(folder, "ca.pem")):
        openssl(folder, *new, "-x509", "-keyout", "ca.key", "-subj", "/CN=authority", "-days", "30", "-out", "ca.pem")
    openssl(folder, *new, "-keyout", name + ".key", "-subj", "/CN=" + common, "-out", name + ".csr", *more)
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
            "30", "-copy_extensions", "copy", "-out", name + ".pem")


def tls_server(script=TOKENS):
    t = Tern(TLS_CONFIG, files={"users.yaml": USERS, "tokens.lua": script}, delay="0")
    certificate(t.dir, "mx", "mx.test", "-addext", "subjectAltName=DNS:mx.test,DNS:localhost")
    certificate(t.dir, "client", USER)
    return start(t)


def test_over_tls():
    """In the clear no mechanism that tells the password; under TLS all, and SCRAM bound to the connection."""
    need("swaks", "msmtp", "openssl")
    with tls_server() as t:
        c = Client(t.port)
        assert "AUTH SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5" in c.cmd("EHLO client.example")[1].split("\n")
        assert c.cmd(plain(PASSWORD))[0] == 538
        c.close()
        for method in ("scram-sha-256", "plain"):
            for secret, ok in (("wr0ng", False), (PASSWORD, True)):
                run_client("msmtp", "--host=localhost", "--port=%d" % t.port, "--auth=" + method, "--user=" + USER,
                           "--passwordeval=printf %%s '%s'" % secret, "--tls=on", "--tls-starttls=on",
                           "--tls-trust-file=" + os.path.join(t.dir, "ca.pem"), "--from=" + USER, "bob@far.example",
                           input=MAIL, ok=ok)
        run_client("swaks", "--server", "127.0.0.1:%d" % t.port, "--tls", "--from", USER, "--to", "bob@far.example",
                   "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD)
        wait_for(lambda: len(t.maildir("bob")) == 3, 30)
        assert all(b"with ESMTPSA id" in m for m in t.maildir("bob")), t.maildir("bob")
        nothing_secret(t)


EXTERNAL = """
local tern = require "tern"
tern.on("auth", function(session, credentials)
  if credentials.user == "alice@example.org" then return tern.accept() end
end, { mechanisms = { "EXTERNAL" } })
"""


def test_not_before_tls():
    """Where TLS is required AUTH has to wait for it, by any mechanism."""
    with server(config=TLS_CONFIG.replace("tls: starttls", "tls: required")) as t:
        certificate(t.dir, "mx", "mx.test", "-addext", "subjectAltName=DNS:mx.test")
        certificate(t.dir, "client", USER)
        start(t)
        c = Client(t.port)
        assert "AUTH" not in c.cmd("EHLO client.example")[1].split()
        for line in (plain(PASSWORD), "AUTH SCRAM-SHA-256", "AUTH NONSENSE"):
            assert c.cmd(line) == (530, "5.7.0 Must issue a STARTTLS command first"), line
        c.close()


def test_external():
    """Who the certificate says, and nobody else; not announced without one."""
    need("openssl")
    with tls_server(EXTERNAL) as t:
        def session(with_certificate):
            context = ssl.create_default_context(cafile=os.path.join(t.dir, "ca.pem"))
            context.check_hostname = False
            if with_certificate:
                context.load_cert_chain(os.path.join(t.dir, "client.pem"), os.path.join(t.dir, "client.key"))
            s = smtplib.SMTP("127.0.0.1", t.port, timeout=60 * SLOW)
            s.starttls(context=context)
            s.ehlo()
            return s

        s = session(False)
        assert "EXTERNAL" not in s.esmtp_features["auth"]
        assert s.docmd("AUTH", "EXTERNAL =")[0] == 504
        for said, code in (("bob@example.org", 535), (USER, 235), ("", 235)):
            s = session(True)
            assert "EXTERNAL" in s.esmtp_features["auth"], s.esmtp_features
            got = s.docmd("AUTH", "EXTERNAL " + (base64.b64encode(said.encode()).decode() or "="))
            assert got[0] == code, (said, got)
        wait_for(lambda: "mechanism=EXTERNAL user=%s result=ok" % USER in t.log_text(), 10)


def scram_plus(s, password, bound_to, name="tls-server-end-point"):
    """SCRAM-SHA-256-PLUS (RFC 5802, 5929) by hand: the code of the last reply."""
    header = ("p=%s,," % name).encode()
    first = b"n=" + USER.replace(",", "=2C").encode() + b",r=abcdefgh"
    code, text = s.docmd("AUTH", "SCRAM-SHA-256-PLUS " + base64.b64encode(header + first).decode())
    if code != 334:
        return code
    server = base64.b64decode(text)
    nonce, salt, count = (x[2:] for x in server.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(count))
    final = b"c=" + base64.b64encode(header + bound_to) + b",r=" + nonce
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), first + b"," + server + b"," + final, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature)))
    code, text = s.docmd(base64.b64encode(final + b",p=" + proof).decode())
    return s.docmd("")[0] if code == 334 else code


def test_scram_plus():
    """Bound to the certificate that this connection has shown; somebody between would show another one."""
    need("openssl")
    with tls_server() as t:
        for password, wrong_binding, name, code in ((PASSWORD, False, "tls-server-end-point", 235), ("wr0ng", False, "tls-server-end-point", 535),
                                                    (PASSWORD, True, "tls-server-end-point", 535), (PASSWORD, False, "tls-unique", 535)):
            context = ssl.create_default_context(cafile=os.path.join(t.dir, "ca.pem"))
            context.check_hostname = False
            with smtplib.SMTP("127.0.0.1", t.port, timeout=60 * SLOW) as s:
                s.starttls(context=context)
                s.ehlo()
                assert s.esmtp_features["auth"].split()[:2] == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"], s.esmtp_features
                binding = hashlib.sha256(s.sock.getpeercert(True)).digest()
                assert scram_plus(s, password, bytes(32) if wrong_binding else binding, name) == code, (password, name)


def test_a_login_in_the_clear_does_not_outlive_starttls():
    """RFC 3207 4.2: what was learnt before is forgotten, also who the client is."""
    with server(config=TLS_CONFIG.replace("tls: starttls", "tls: starttls, auth_plaintext: true")) as t:
        certificate(t.dir, "mx", "mx.test", "-addext", "subjectAltName=DNS:mx.test")
        start(t)
        context = ssl.create_default_context(cafile=os.path.join(t.dir, "ca.pem"))
        context.check_hostname = False
        s = smtplib.SMTP("127.0.0.1", t.port, timeout=60 * SLOW)
        s.ehlo()
        assert s.docmd(plain(PASSWORD))[0] == 235
        s.starttls(context=context)
        s.ehlo()
        assert s.docmd("MAIL", "FROM:<%s>" % USER)[0] == 530
        assert s.docmd(plain(PASSWORD))[0] == 235
        assert s.docmd("MAIL", "FROM:<%s>" % USER)[0] == 250
        s.close()


def scram_proof(c):
    """SCRAM-SHA-256 by hand with the right password, up to its proof, which is given back to be said."""
    first = b"n=" + USER.encode() + b",r=abcdefgh"
    code, text = c.cmd("AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,," + first).decode())
    assert code == 334, text
    said = base64.b64decode(text)
    nonce, salt, count = (x[2:] for x in said.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(salt), int(count))
    final = b"c=" + base64.b64encode(b"n,,") + b",r=" + nonce
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), first + b"," + said + b"," + final, "sha256")
    return base64.b64encode(final + b",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(key, signature)))).decode()


def test_what_a_challenge_tells_is_waited_for():
    """A token is refused, and SCRAM's proof confirmed, before the last reply: who leaves then, or earlier, has waited and is counted."""
    token = "AUTH XOAUTH2 " + base64.b64encode(b"user=%s\x01auth=Bearer wr0ng\x01\x01" % USER.encode()).decode()
    with server(delay="150ms") as t:
        start(t)
        for n, end in enumerate(("*", "hang up", "hang up early", "AQ=="), 1):
            c = Client(t.port)
            c.cmd("EHLO client.example")
            began = time.monotonic()
            c.send(token + "\r\n")
            if end == "hang up early":
                wait_for(lambda: t.metric("tern_auth_failures_total") == n)
            else:
                assert c.reply()[0] == 334
                assert time.monotonic() - began >= 0.15 * 2 ** (n - 1) - 0.05, n
            if not end.startswith("hang"):
                assert c.cmd(end)[0] == (501 if end == "*" else 535)
                assert c.cmd("NOOP")[0] == 250
            c.close()
            wait_for(lambda: t.log_text().count("mechanism=XOAUTH2 user=%s result=refused" % USER) == n)
            assert t.metric("tern_auth_failures_total") == n
        c = Client(t.port)
        c.cmd("EHLO client.example")
        proof = scram_proof(c)
        began = time.monotonic()
        assert c.cmd(proof)[0] == 334
        assert time.monotonic() - began >= 1.15, "as late as the last failure"
        assert c.cmd("")[0] == 235
        assert t.log_text().count("result=refused") == 4 and t.log_text().count("result=ok") == 1


def test_guessing_gets_slower():
    """Each failure of an address or a user, in whatever session, doubles the wait, for the right password from that address, too."""
    with server(delay="200ms") as t:
        start(t)
        took = []
        for _ in range(4):
            c = Client(t.port)
            c.cmd("EHLO client.example")
            began = time.monotonic()
            assert c.cmd(plain("wr0ng"))[0] == 535
            took.append(time.monotonic() - began)
            c.close()
        for n, seconds in enumerate(took):
            assert seconds > 0.2 * 2 ** n - 0.05, took
        slow = Client(t.port)
        slow.cmd("EHLO client.example")
        slow.send(plain("wr0ng") + "\r\n")

        def right(source):
            c = Client(t.port, source=source)
            c.cmd("EHLO client.example")
            began = time.monotonic()
            assert c.cmd(plain(PASSWORD))[0] == 235
            return time.monotonic() - began
        assert soon_once(1.5, lambda: right("127.0.0.2"))
        assert right("127.0.0.1") >= 1.55
        assert soon_once(1.5, lambda: right("127.0.0.1")), "it is forgiven"
        slow.close()
        assert t.metric("tern_auth_failures_total") >= 4
        lines = re.findall(r"auth .*result=refused.* failures=(\d+) delay_ms=(\d+)", t.log_text())
        assert lines[:4] == [("1", "200"), ("2", "400"), ("3", "800"), ("4", "1600")], lines


def test_side_by_side_is_no_faster():
    """Guesses on many connections at once wait for one another; so does the right password among them."""
    each = 6  # all four are to wait at once, on a busy machine, too
    with server(delay="%ds, delay_max: %ds" % (each, each)) as t:
        start(t)
        clients = [Client(t.port) for _ in range(4)]
        for c in clients:
            c.cmd("EHLO client.example")
        began = time.monotonic()
        for n, (c, password) in enumerate(zip(clients, ("wr0ng", "wr0ng", "wr0ng", PASSWORD)), 1):
            c.send(plain(password) + "\r\n")
            if password != PASSWORD:
                wait_for(lambda: t.metric("tern_auth_failures_total") == n)  # it waits
        codes, took = [], []
        for c in clients:
            codes.append(c.reply()[0])
            took.append(time.monotonic() - began)
            c.close()
        assert codes == [535, 535, 535, 235], codes
        assert took[3] >= 4 * each - 0.2, took
        delays = re.findall(r"auth .*result=refused.* failures=\d+ delay_ms=(\d+)", t.log_text())
        assert delays == ["%d000" % (n * each) for n in (1, 2, 3)], delays


def test_hang_up_while_it_takes_longer():
    with server(delay="30s") as t:
        start(t)
        for _ in range(5):
            c = Client(t.port)
            c.cmd("EHLO client.example")
            c.send(plain("wr0ng") + "\r\n")
            time.sleep(0.1)
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            c.close()
        wait_for(lambda: t.status()["sessions"] == 0, 10)
        c = Client(t.port, source="127.0.0.2")
        c.cmd("EHLO client.example")
        assert c.cmd(plain(PASSWORD))[0] == 235


def test_nobody_relays_without():
    with server() as t:
        start(t)
        c = Client(t.port)
        c.cmd("EHLO client.example")
        for line in ("MAIL FROM:<%s>" % USER, "MAIL FROM:<> AUTH=" + USER, "VRFY bob"):
            code, text = c.cmd(line)
            assert (code, text[:5]) == (530, "5.7.0"), (line, code, text)
        assert c.cmd("RCPT TO:<bob@far.example>")[0] == 503
        assert c.cmd("DATA")[0] in (503, 554)
        c.close()
        assert t.queue() == []


if __name__ == "__main__":
    run([test_swaks, test_curl, test_smtplib, test_msmtp, test_gsasl, test_over_tls, test_scram_plus, test_not_before_tls, test_external,
         test_a_login_in_the_clear_does_not_outlive_starttls, test_what_a_challenge_tells_is_waited_for,
         test_guessing_gets_slower, test_side_by_side_is_no_faster, test_hang_up_while_it_takes_longer, test_nobody_relays_without])
