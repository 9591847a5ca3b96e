#!/usr/bin/python3
"""TLS of listeners with openssl s_client, swaks, curl and Python's ssl: STARTTLS, required, implicit, several
certificates, reload, resumption, client certificates, and all that is no TLS."""
import os
import pwd
import select
import smtplib
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BINARY, SLOW, Client, Tern, dotted, free_port, need, rsa_key, run, wait_for

EC = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
CONFIG = """
hostname: mx.test
certificates:
  - { cert: mx.pem, key: mx.key }
  - { cert: mx-rsa.pem, key: mx-rsa.key }
  - { cert: other.pem, key: other.key }
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound, tls: starttls }
  submission: { bind: "127.0.0.1:{submission}", policy: inbound, tls: required, client_certificates: true, client_ca: ca.pem }
  submissions: { bind: "127.0.0.1:{submissions}", policy: inbound, tls: implicit }
timeouts: { tls: {timeout} }
policies:
  inbound:
    - lua: { script: facts.lua, refuse_at: now }
    - domains: { local: [home.example], recipients: [bob@home.example] }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { domain: [home.example], transport: mailboxes }
"""
SCRIPT = """
local tern = require "tern"
local function facts(s)
  return string.format("tls=%s version=%s cipher=%s sni=%s client=%s subject=%s error=%s helo=%s", s.tls, s.tls_version,
    s.tls_cipher, s.tls_sni, s.tls_client, s.tls_subject, s.tls_error, s.helo)
end
tern.on("tls", function(s) tern.log.info("hook tls: " .. facts(s)) end)
tern.on("mail", function(txn)
  tern.log.info("hook mail: " .. facts(txn.session))
  if txn.sender.local_part == "refused" then return tern.reject("Not from that one") end
end)
"""
STUCK = min(int(os.environ.get("TERN_ABUSERS", "40")), 1000)  # a descriptor each, on both sides
MAIL = b"Subject: over TLS\r\n\r\nbody\r\n"


def openssl(folder, *words):
    r = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, timeout=60 * SLOW)
    assert r.returncode == 0, r.stderr
    return r.stdout


def authority(folder):
    openssl(folder, "req", "-x509", "-newkey", *EC, "-nodes", "-keyout", "ca.key", "-subj", "/CN=authority", "-days", "30",
            "-out", "ca.pem")


def certificate(folder, name, names, rsa=False, days=30, common=None):
    """name.pem and name.key, by the authority."""
    if rsa:
        rsa_key(os.path.join(folder, name + ".key"), 0)
    key = ("-new", "-key", name + ".key") if rsa else ("-newkey", *EC, "-keyout", name + ".key")
    openssl(folder, "req", *key, "-nodes", "-subj", "/CN=" + (common or name), "-out", name + ".csr")
    with open(os.path.join(folder, name + ".ext"), "w") as f:
        f.write("subjectAltName=" + names + "\n")
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
            str(days), "-extfile", name + ".ext", "-out", name + ".pem")


def server(config=CONFIG, timeout="60s", **more):
    need("openssl")
    t = Tern(config, {"facts.lua": SCRIPT}, submission=free_port(), submissions=free_port(), timeout=timeout, **more)
    authority(t.dir)
    certificate(t.dir, "mx", "DNS:mx.test")
    certificate(t.dir, "mx-rsa", "DNS:mx.test", rsa=True)
    certificate(t.dir, "other", "DNS:other.test,DNS:*.wild.test")
    certificate(t.dir, "client", "email:me@client.example,DNS:client.example", common="client")
    return t


def context(t, verify=True, **more):
    c = ssl.create_default_context(cafile=os.path.join(t.dir, "ca.pem"))
    if not verify:
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    if "chain" in more:
        c.load_cert_chain(*(os.path.join(t.dir, f) for f in more["chain"]))
    return c


class TlsClient(Client):
    """A raw client that goes over to TLS."""

    def starttls(self, c, name="mx.test", session=None):
        assert self.cmd("STARTTLS")[0] == 220
        self.wrap(c, name, session)

    def wrap(self, c, name="mx.test", session=None):
        self.sock = c.wrap_socket(self.sock, server_hostname=name, session=session)


def starttls(t, port, c, name="mx.test", session=None):
    s = TlsClient(port)
    assert "STARTTLS" in s.cmd("EHLO client.example")[1].split("\n")
    s.starttls(c, name, session)
    return s


def logged(t, *words):
    def look():
        return [l for l in t.log_text().splitlines() if all(w in l for w in words)]
    return wait_for(look, 10)


# ---- mail ----

def arrived(t, count=1):
    wait_for(lambda: len(t.maildir("bob")) == count, 30)
    return t.maildir("bob")


def test_smtplib():
    with server() as t:
        t.start()
        with smtplib.SMTP("127.0.0.1", t.port, timeout=60 * SLOW) as s:
            s._host = "mx.test"
            s.starttls(context=context(t))
            assert not s.has_extn("starttls") or s.ehlo()[0] == 250 and not s.has_extn("starttls")
            s.sendmail("me@client.example", ["bob@home.example"], MAIL)
        mail = arrived(t)[0].decode()
        assert " with ESMTPS id " in mail and "\ttls TLS_AES_256_GCM_SHA384;" in mail, mail
        c = context(t)
        c.check_hostname = False
        with smtplib.SMTP_SSL("127.0.0.1", int(t.values["submissions"]), context=c, timeout=60 * SLOW) as s:
            s.sendmail("me@client.example", ["bob@home.example"], MAIL)
        arrived(t, 2)
        assert any("tls=TLSv1.3/TLS_AES_256_GCM_SHA384" in l for l in logged(t, " accepted "))
        ident = logged(t, " accepted ")[0].split()[2]
        assert any(r.get("tls") == "TLSv1.3" for r in t.why(ident)), t.why(ident)


def swaks(*words):
    r = subprocess.run(["swaks", *words], capture_output=True, text=True, timeout=60 * SLOW)
    if "TLS not available" in r.stdout + r.stderr:
        print("SKIP: swaks has no TLS here (libnet-ssleay-perl)")
        sys.exit(77)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def test_swaks_and_curl():
    need("swaks", "curl")
    with server() as t:
        t.start()
        to = ["--from", "me@client.example", "--to", "bob@home.example"]
        swaks("--server", "127.0.0.1:%d" % t.port, "--tls", *to)
        swaks("--server", "127.0.0.1:%s" % t.values["submission"], "--tls", *to)
        swaks("--server", "127.0.0.1:%s" % t.values["submissions"], "--tls-on-connect", *to)
        arrived(t, 3)
        for url, port, more in (("smtps", t.values["submissions"], []), ("smtp", t.port, ["--ssl-reqd"])):
            r = subprocess.run(["curl", "-sS", "--cacert", t.dir + "/ca.pem", "--resolve", "mx.test:%s:127.0.0.1" % port, *more,
                                "%s://mx.test:%s/client.example" % (url, port), "--mail-from", "me@client.example",
                                "--mail-rcpt", "bob@home.example", "-T", "-"], input=MAIL, capture_output=True,
                               timeout=60 * SLOW)
            assert r.returncode == 0, r.stderr
        arrived(t, 5)


def s_client(t, *words, say=b"EHLO x\r\nQUIT\r\n"):
    r = subprocess.run(["openssl", "s_client", "-CAfile", t.dir + "/ca.pem", "-crlf", "-ign_eof", *words],
                       input=say.replace(b"\r\n", b"\n"), capture_output=True, timeout=60 * SLOW)
    return r.stdout.decode(errors="replace") + r.stderr.decode(errors="replace")


def test_s_client():
    with server() as t:
        t.start()
        out = s_client(t, "-starttls", "smtp", "-connect", "127.0.0.1:%d" % t.port, "-servername", "mx.test", "-verify_return_error",
                       "-verify_hostname", "mx.test")
        assert "Verification: OK" in out and "Verified peername: mx.test" in out and "221 2.0.0 Bye" in out, out
        assert "Compression: NONE" in out and "TLSv1.3" in out
        out = s_client(t, "-connect", "127.0.0.1:%s" % t.values["submissions"], "-tls1_2")
        assert "220 mx.test ESMTP" in out and "Protocol  : TLSv1.2" in out and "221 2.0.0 Bye" in out, out
        out = s_client(t, "-connect", "127.0.0.1:%s" % t.values["submissions"], "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert "alert protocol version" in out, out
        assert logged(t, " tls ", "listener=submissions", "unsupported protocol")
        # Both kinds of key of one name, by what the client can do.
        for algorithm, kind in (("ECDSA+SHA256", "CN = mx\n"), ("RSA-PSS+SHA256", "CN = mx-rsa\n")):
            out = s_client(t, "-connect", "127.0.0.1:%s" % t.values["submissions"], "-servername", "mx.test", "-sigalgs", algorithm)
            assert "subject=" + kind in out, out


def shown(t, name):
    """The names of the certificate that a client gets who asks for `name`."""
    s = starttls(t, t.port, context(t), name)
    names = [v for _, v in s.sock.getpeercert()["subjectAltName"]]
    s.close()
    return names


def test_names():
    with server() as t:
        t.start()
        assert shown(t, "mx.test") == ["mx.test"]
        assert "other.test" in shown(t, "other.test")
        assert "other.test" in shown(t, "any.wild.test")
        s = starttls(t, t.port, context(t, verify=False), "unknown.test")
        assert s.cmd("EHLO x")[0] == 250
        s.close()
        assert logged(t, "hook tls: tls=true version=TLSv1.3", "sni=other.test")


# ---- the session ----

def test_state_is_discarded():
    """RFC 3207 4.2: behind the handshake the client has not said EHLO; what it said before is not known any more."""
    with server(CONFIG.replace("tls: starttls", "tls: starttls, xforward: [127.0.0.1]")) as t:
        t.start()
        s = TlsClient(t.port)
        assert s.cmd("EHLO first.example")[0] == 250
        assert s.cmd("XFORWARD NAME=ghost.example ADDR=192.0.2.66")[0] == 250
        s.starttls(context(t))
        assert s.cmd("MAIL FROM:<me@client.example>")[0] == 503
        code, text = s.cmd("EHLO second.example")
        assert code == 250 and "STARTTLS" not in text
        assert s.cmd("STARTTLS")[0] == 503
        assert s.cmd("MAIL FROM:<me@client.example>")[0] == 250
        assert logged(t, "hook tls:", "helo=nil")
        assert logged(t, "hook mail:", "helo=second.example")
        assert s.cmd("RCPT TO:<bob@home.example>")[0] == 250 and s.cmd("DATA")[0] == 354
        assert s.cmd(MAIL + b".")[0] == 250
        assert logged(t, " accepted ") and "ghost.example" not in t.log_text()
        s.close()


def test_nothing_pipelined_gets_under_tls():
    """CVE-2011-0411: in one packet STARTTLS is refused; in a later one the octets are no ClientHello."""
    with server() as t:
        t.start()
        s = Client(t.port)
        s.cmd("EHLO client.example")
        s.send("STARTTLS\r\nRSET\r\n")
        assert s.reply()[0] == 503
        assert s.reply()[0] == 250
        assert s.cmd("STARTTLS")[0] == 220  # alone it is taken
        s.send("MAIL FROM:<evil@example.com>\r\n")
        rest = b""
        try:
            while chunk := s.sock.recv(4096):
                rest += chunk
        except ConnectionResetError:
            pass
        assert b"250" not in rest, rest
        assert logged(t, " tls ", "listener=mx", "client=127.0.0.1", "wrong version number")
        assert "hook mail" not in t.log_text()


def test_behind_a_refused_mail():
    """A MAIL that the policy refuses begins nothing: STARTTLS may follow, and the server goes on."""
    with server() as t:
        t.start()
        s = TlsClient(t.port)
        s.cmd("EHLO client.example")
        assert s.cmd("MAIL FROM:<refused@client.example>")[0] == 550
        s.starttls(context(t))
        assert s.mail("me@client.example", ["bob@home.example"], "Subject: x\n\nx\n")[0] == 250
        arrived(t)


def test_required():
    with server() as t:
        t.start()
        port = int(t.values["submission"])
        s = Client(port)
        assert s.cmd("EHLO client.example")[0] == 250
        assert s.cmd("MAIL FROM:<me@client.example>") == (530, "5.7.0 Must issue a STARTTLS command first")
        assert s.cmd("NOOP")[0] == 250 and s.cmd("STARTTLS x")[0] == 501
        s.close()
        s = starttls(t, port, context(t))
        assert s.mail("me@client.example", ["bob@home.example"], "Subject: x\n\nx\n")[0] == 250
        arrived(t)


def test_resumption_over_a_reload():
    with server() as t:
        t.start()
        c = context(t)
        c.maximum_version = ssl.TLSVersion.TLSv1_2
        first = starttls(t, t.port, c)
        assert first.cmd("EHLO x")[0] == 250 and not first.sock.session_reused
        session = first.sock.session
        assert starttls(t, t.port, c, session=session).sock.session_reused
        t.cli("reload")
        assert starttls(t, t.port, c, session=session).sock.session_reused
        t.write_config(CONFIG + "tls: { tickets: 0s }\n")
        t.cli("reload")
        assert not starttls(t, t.port, c, session=session).sock.session_reused


def test_reload_takes_new_files():
    """Sessions go on; a broken file refuses the reload, and the old certificates stay."""
    with server() as t:
        t.start()
        old = starttls(t, t.port, context(t))
        certificate(t.dir, "mx", "DNS:mx.test,DNS:new.test")
        certificate(t.dir, "mx-rsa", "DNS:mx.test,DNS:new.test", rsa=True)
        assert shown(t, "mx.test") == ["mx.test"]
        t.cli("reload")
        assert shown(t, "mx.test") == ["mx.test", "new.test"]
        assert old.cmd("EHLO x")[0] == 250 and old.mail("me@client.example", ["bob@home.example"], "a: b\n\nc\n")[0] == 250
        t.write("mx.pem", "nothing\n")
        r = t.cli("reload", check=False)
        assert r.returncode != 0 and "tern.yaml:4:5: error" in r.stdout + r.stderr and "holds no certificate" in r.stdout + r.stderr, r
        assert shown(t, "new.test") == ["mx.test", "new.test"]


def test_client_certificates():
    with server() as t:
        t.start()
        port = int(t.values["submission"])
        s = starttls(t, port, context(t, chain=("client.pem", "client.key")))
        s.cmd("EHLO x")
        assert logged(t, "hook tls:", "client=me@client.example", "subject=CN=client", "error=nil")
        s.close()
        openssl(t.dir, "req", "-x509", "-newkey", *EC, "-nodes", "-keyout", "self.key", "-subj", "/CN=me@client.example", "-days",
                "3", "-out", "self.pem")
        s = starttls(t, port, context(t, chain=("self.pem", "self.key")))
        assert s.mail("me@client.example", ["bob@home.example"], "a: b\n\nc\n")[0] == 250  # no reason to refuse
        assert logged(t, "hook mail:", "client=nil", "subject=CN=me@client.example", "self-signed certificate")
        starttls(t, port, context(t)).cmd("EHLO x")
        assert logged(t, "hook tls:", "client=nil", "subject=nil")


# ---- behind a proxy ----

def test_proxy_then_tls():
    """A PROXY header comes before the handshake, also before that of implicit TLS; XCLIENT may come behind it, and takes the
    certificate with it: it was the proxy's."""
    config = CONFIG.replace("tls: required,", "tls: required, proxy: [127.0.0.1], xclient: [192.0.2.7],") \
                   .replace("tls: implicit", "tls: implicit, proxy: [127.0.0.1]")
    header = b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 465\r\n"
    with server(config) as t:
        t.start()
        s = TlsClient(int(t.values["submissions"]), greet=False)
        s.send(header)
        s.wrap(context(t))
        assert s.reply()[0] == 220
        assert s.mail("me@client.example", ["bob@home.example"], "a: b\n\nc\n")[0] == 250
        assert b"([192.0.2.7])" in arrived(t)[0] and b"with ESMTPS" in arrived(t)[0]
        s = TlsClient(int(t.values["submission"]), greet=False)
        s.send(header)
        assert s.reply()[0] == 220
        assert s.cmd("EHLO proxy.example")[0] == 250
        s.starttls(context(t, chain=("client.pem", "client.key")))
        assert s.cmd("EHLO proxy.example")[0] == 250
        assert s.cmd("XCLIENT ADDR=192.0.2.8 NAME=eight.example")[0] == 220
        assert s.mail("me@client.example", ["bob@home.example"], "a: b\n\nc\n")[0] == 250
        assert logged(t, "hook mail: tls=true", "client=nil", "subject=nil")
        assert any(b"(eight.example [192.0.2.8])" in m for m in arrived(t, 2)), arrived(t, 2)
        assert logged(t, "accepted", "client=192.0.2.8", "via=")


# ---- no TLS at all ----

def closes(s):
    """What the server sends before it closes; it must not take long."""
    s.settimeout(60 * SLOW)
    said = b""
    try:
        while chunk := s.recv(4096):
            said += chunk
    except ConnectionResetError:
        pass
    return said


def test_rubbish():
    """A reason each in one line of the log, nothing in the clear, and the server goes on."""
    with server() as t:
        t.start()
        port = int(t.values["submissions"])
        rows = [(b"EHLO client.example\r\n", "wrong version number"), (b"GET / HTTP/1.0\r\n\r\n", "http request"),
                (b"\x16\x03\x01\x40\x01" + b"x" * 100, None), (b"\x00" * 600, None), (os.urandom(3000), None),
                (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", None)]
        for n, (octets, reason) in enumerate(rows):
            s = socket.create_connection(("127.0.0.1", port), 30 * SLOW)
            s.sendall(octets)
            try:
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it was quicker
            said = closes(s)
            assert said[:1] in (b"", b"\x15"), said  # nothing, or an alert
            lines = logged(t, " tls ", "listener=submissions", "reason=")
            wait_for(lambda: len(logged(t, " tls ", "reason=")) == n + 1)
            assert reason is None or reason in logged(t, " tls ", "reason=")[n], lines
        assert smtplib.SMTP_SSL("127.0.0.1", port, context=context(t, verify=False)).ehlo()[0] == 250
        assert t.metric('tern_tls_handshakes_total{result="failed"}') == len(rows)


def test_octet_by_octet():
    """A handshake and a session whose records come one octet at a time."""
    with server() as t:
        t.start()
        raw = socket.create_connection(("127.0.0.1", int(t.values["submissions"])), 30 * SLOW)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context(t).wrap_bio(incoming, outgoing, server_hostname="mx.test")

        def flush():
            for octet in outgoing.read():
                raw.sendall(bytes([octet]))

        def step(action):
            while True:
                try:
                    result = action()
                    flush()
                    return result
                except ssl.SSLWantReadError:
                    flush()
                    incoming.write(raw.recv(65536))
        step(tls.do_handshake)
        assert step(lambda: tls.read(4096)).startswith(b"220 ")
        tls.write(b"EHLO x\r\nMAIL FROM:<me@client.example>\r\nRCPT TO:<bob@home.example>\r\nDATA\r\n")
        flush()
        said = b""
        while b"354" not in said:
            said += step(lambda: tls.read(4096))
        tls.write(dotted(MAIL) + b".\r\nQUIT\r\n")
        flush()
        while b"221" not in said:
            said += step(lambda: tls.read(4096))
        arrived(t)


def test_handshakes_that_stand_still():
    """They end after timeouts.tls, and meanwhile others are greeted."""
    limits = "limits: { sessions: 20000, sessions_per_address: 20000 }\n"
    with server(CONFIG + limits, timeout="%ds" % (10 if STUCK <= 100 else 10 * SLOW)) as t:
        t.start()
        stuck = []
        for i in range(STUCK):
            s = socket.create_connection(("127.0.0.1", int(t.values["submissions"])), 30 * SLOW)
            s.sendall(b"\x16\x03\x01\x02\x00\x01"[:i % 7])
            stuck.append(s)
        start = time.monotonic()
        assert Client(t.port).cmd("EHLO x")[0] == 250
        assert select.select(stuck[-1:], [], [], 0)[0] == [], "it was to stand still meanwhile"
        for s in stuck:
            assert closes(s) == b""
        assert 1 < time.monotonic() - start < (30 if STUCK <= 100 else 60) * SLOW
        wait_for(lambda: len(logged(t, " tls ", "timeouts.tls")) == STUCK, 30)
        wait_for(lambda: t.status()["sessions"] <= 1)


# ---- the configuration ----

def check(t, config):
    t.write_config(config)
    r = subprocess.run([BINARY, "check", "-c", t.config], capture_output=True, text=True, env=t.env(), timeout=60 * SLOW)
    return r.returncode, r.stdout + r.stderr


def test_check():
    base = CONFIG.replace("{timeout}", "60s")
    one = base.replace("  - { cert: mx-rsa.pem, key: mx-rsa.key }\n  - { cert: other.pem, key: other.key }\n", "")
    none = base.replace(base[base.index("certificates:"):base.index("listeners:")], "")
    with server() as t:
        assert check(t, base)[0] == 0
        code, text = check(t, base.replace("key: mx.key", "key: other.key"))
        assert code == 1 and "tern.yaml:4:5: error: " in text and "other.key: is not the key of the certificate" in text, text
        code, text = check(t, one.replace("mx.pem", "gone.pem"))
        assert code == 1 and "gone.pem: No such file or directory" in text, text
        code, text = check(t, none)
        assert code == 1 and "tls: starttls needs a certificate" in text and "tern.yaml:4:" in text, text
        code, text = check(t, one.replace("hostname: mx.test", "hostname: wrong.test"))
        assert code == 0 and 'warning: certificates: none is for the name "wrong.test"' in text, text
        certificate(t.dir, "mx", "DNS:mx.test", days=13)
        code, text = check(t, one)
        assert code == 0 and "tern.yaml:4:5: warning: " in text and "expires on" in text and ("in 12 days" in text or "in 13 days" in text), text
        code, text = check(t, one + "tls: { warn_before: 12d }\n")
        assert code == 0 and "expires" not in text, text
        openssl(t.dir, "x509", "-req", "-in", "mx.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "-1", "-extfile", "mx.ext",
                "-out", "mx.pem")
        code, text = check(t, one)
        assert code == 0 and "has expired on" in text, text
        for key, message in ((", client_ca: ca.pem }", "client_ca: needs client_certificates"),
                             (", client_certificates: true, client_ca: mx.key }", "mx.key: holds no certificate")):
            code, text = check(t, one.replace("tls: starttls }", "tls: starttls" + key))
            assert code == 1 and message in text, text
        code, text = check(t, one + "tls: { ciphers: NOSUCH }\n")
        assert code == 1 and 'OpenSSL knows none of "NOSUCH"' in text, text
        code, text = check(t, one.replace("tls: starttls", "tls: off").replace("tls: required, client_certificates: true, "
                           "client_ca: ca.pem", "tls: off").replace("tls: implicit", "tls: off"))
        assert code == 0 and "certificates: no listener uses them" in text, text


def test_keys_of_root():
    """A worker without rights gets keys that only root may read from the supervisor, at start and at a reload."""
    if os.geteuid() != 0:
        print("     needs root: left out")
        return
    with server() as t:
        safe = os.path.join(t.dir, "safe")
        os.mkdir(safe, 0o755)
        for name in ("mx", "mx-rsa", "other"):
            os.rename(os.path.join(t.dir, name + ".key"), os.path.join(safe, name + ".key"))
            os.chmod(os.path.join(safe, name + ".key"), 0o600)
        config = CONFIG.replace(".key }", ".key }").replace("key: ", "key: safe/").replace("key: safe/safe/", "key: safe/")
        t.write_config(config)
        os.makedirs(t.dir + "/spool", exist_ok=True)
        nobody = pwd.getpwnam("nobody")
        os.chown(t.dir + "/spool", nobody.pw_uid, nobody.pw_gid)
        t.write("supervisor.conf", "user nobody\nkeys %s\n" % safe)
        os.chmod(t.rules, 0o600)
        t.start()
        assert shown(t, "mx.test") == ["mx.test"]
        certificate(t.dir, "mx", "DNS:mx.test,DNS:new.test")
        os.rename(os.path.join(t.dir, "mx.key"), os.path.join(safe, "mx.key"))
        os.chmod(os.path.join(safe, "mx.key"), 0o600)
        t.cli("reload")
        assert shown(t, "new.test") == ["mx.test", "new.test"]
        # Elsewhere it opens nothing.
        openssl(t.dir, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "elsewhere.key")
        os.chmod(os.path.join(t.dir, "elsewhere.key"), 0o600)
        t.write_config(config.replace("safe/other.key", "elsewhere.key"))
        r = t.cli("reload", check=False)
        assert r.returncode != 0 and "`keys` in supervisor.conf" in r.stdout + r.stderr, r
        assert logged(t, "elsewhere.key was not opened", "is not below a folder")
        assert shown(t, "new.test") == ["mx.test", "new.test"]


def test_versions_and_ciphers():
    with server(CONFIG + "tls: { min_version: 1.3 }\n") as t:
        t.start()
        c = context(t)
        c.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            starttls(t, t.port, c)
            raise AssertionError("TLS 1.2 was taken")
        except ssl.SSLError:
            pass
        t.write_config(CONFIG + "tls: { ciphers: ECDHE-ECDSA-CHACHA20-POLY1305 }\n")
        t.cli("reload")
        assert starttls(t, t.port, c).sock.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"


if __name__ == "__main__":
    run([test_smtplib, test_swaks_and_curl, test_s_client, test_names, test_state_is_discarded,
         test_nothing_pipelined_gets_under_tls, test_behind_a_refused_mail, test_required, test_resumption_over_a_reload, test_reload_takes_new_files,
         test_client_certificates, test_proxy_then_tls, test_rubbish, test_octet_by_octet,
         test_handshakes_that_stand_still, test_check,
         test_keys_of_root, test_versions_and_ciphers])
