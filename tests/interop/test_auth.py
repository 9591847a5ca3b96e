#!/usr/bin/python3
"""swaks, curl, smtplib, msmtp and gsasl log in by each mechanism that they know; a wrong secret never gets in."""
import base64
import os
import re
import smtplib
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, need, run, wait_for

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


def server(delay="0"):
    return Tern(CONFIG, files={"users.yaml": USERS, "tokens.lua": TOKENS}, delay=delay)


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
    assert any("mechanism=%s user=%s result=ok" % (m, USER) in t.log_text() for m in mechanisms), t.log_text()


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
            assert "mechanism=%s user=%s result=ok" % (mechanism, USER) in t.log_text()


def plain(password, user=USER):
    return "AUTH PLAIN " + base64.b64encode(("\0%s\0%s" % (user, password)).encode()).decode()


def test_guessing_gets_slower():
    """Each failure of an address or a user, in whatever session, doubles the wait; nobody else waits."""
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
        c = Client(t.port)
        began = time.monotonic()
        c.cmd("EHLO client.example")
        assert c.cmd(plain(PASSWORD))[0] == 235
        assert time.monotonic() - began < 1.5 * SLOW
        slow.close()
        assert t.metric("tern_auth_failures_total") >= 4
        lines = re.findall(r"auth .*result=refused.* failures=(\d+) delay_ms=(\d+)", t.log_text())
        assert lines[:4] == [("1", "200"), ("2", "400"), ("3", "800"), ("4", "1600")], lines


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
        c = Client(t.port)
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
    run([test_swaks, test_curl, test_smtplib, test_msmtp, test_gsasl, test_guessing_gets_slower,
         test_hang_up_while_it_takes_longer, test_nobody_relays_without])
