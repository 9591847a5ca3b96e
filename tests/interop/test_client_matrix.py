#!/usr/bin/python3
"""Every client submits mail over TLS, by STARTTLS and on a port with TLS from the start, by each mechanism that it knows."""
import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import termios

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from logins import b64, unb64
from ternlib import SLOW, Client, Tern, free_port, need, run, some, wait_for
from test_auth import certificate

CONFIG = """
hostname: mx.test
certificates: [{ cert: mx.pem, key: mx.key }]
listeners:
  starttls: { bind: "127.0.0.1:{port}", policy: outbound, auth: required, tls: required, client_certificates: true, client_ca: ca.pem }
  implicit: { bind: "127.0.0.1:{implicit}", policy: outbound, auth: required, tls: implicit, client_certificates: true, client_ca: ca.pem }
auth: { cram_md5: true, delay: 0 }
policies:
  outbound:
    - auth_file: { path: users.yaml, mechanisms: [PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5] }
    - lua: { script: tokens.lua, name: tokens }
    - lua: { script: external.lua, name: external }
    - relay_authenticated
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ transport: boxes, class: client }]
"""
USER, PASSWORD, TOKEN = "alice@example.org", "s3cret, or=not", "ya29.token"
FILES = {
    "users.yaml": 'alice@example.org: "{PLAIN}%s"\n' % PASSWORD,
    "tokens.lua": """
local tern = require "tern"
tern.on("auth", function(session, credentials)
  if credentials.user ~= "alice@example.org" then return nil end
  if credentials.password == "ya29.token" then return tern.accept() end
  return tern.reject("bad token")
end, { mechanisms = { "XOAUTH2", "OAUTHBEARER" } })
""",
    "external.lua": """
local tern = require "tern"
tern.on("auth", function(session, credentials)
  if credentials.user == "alice@example.org" then return tern.accept() end
end, { mechanisms = { "EXTERNAL" } })
"""}
MAIL = b"From: <alice@example.org>\r\nTo: <bob@far.example>\r\nSubject: by %s\r\n\r\nHello.\r\n"

# All mechanisms that Tern has. A cell is tried (x), or left out because the client
#   1 does not know the mechanism
#   2 has no way to say EXTERNAL, though it may have a certificate
#   3 knows STARTTLS only
#   4 hands its SASL library no channel binding
#   5 says XOAUTH2 where it is told oauthbearer
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "XOAUTH2",
              "OAUTHBEARER", "EXTERNAL"]
TABLE = """
client      STARTTLS TLS  PLAIN LOGIN CRAM-MD5 SCRAM-1 SCRAM-256 1-PLUS 256-PLUS XOAUTH2 OAUTHBEARER EXTERNAL
s_client    x        x    x     x     x        x       x         x      x        x       x           x
swaks       x        x    x     x     x        1       1         1      1        1       1           2
curl        x        x    x     x     x        1       1         1      1        x       x           x
msmtp       x        x    x     x     x        x       x         1      1        x       x           x
mutt        x        x    x     x     x        x       x         4      4        x       x           x
s_nail      x        x    x     x     x        1       1         1      1        x       5           x
nodemailer  x        x    x     x     x        1       1         1      1        x       1           2
smtplib     x        x    x     x     x        1       1         1      1        1       1           2
gsasl       x        3    x     x     x        x       x         x      x        1       1           x
"""
ROWS = {words[0]: words[1:] for words in (line.split() for line in TABLE.strip().split("\n")[1:])}


class World:
    """A server, and one login at a time."""

    def __init__(self, **more):
        self.files = dict(FILES, **more)

    def __enter__(self):
        self.t = Tern(CONFIG, files=self.files, implicit=free_port())
        certificate(self.t.dir, "mx", "localhost", "-addext", "subjectAltName=DNS:mx.test,DNS:localhost,IP:127.0.0.1")
        certificate(self.t.dir, "client", USER)
        certificate(self.t.dir, "stranger", "mallory@example.org")
        os.chmod(os.path.join(self.t.dir, "users.yaml"), 0o600)
        self.t.start()
        self.count = 0
        return self

    def __exit__(self, *why):
        self.t.__exit__(*why)

    def file(self, name):
        return os.path.join(self.t.dir, name)

    def port(self, implicit):
        return self.t.values["implicit"] if implicit else self.t.port

    def run(self, *words, input=b"", ok=True, **env):
        r = subprocess.run([str(w) for w in words], input=input, capture_output=True, timeout=60 * SLOW,
                           env=dict(os.environ, HOME=self.t.dir, LC_ALL="C.UTF-8", **env), cwd=self.t.dir)
        assert (r.returncode == 0) == ok, (words, r.returncode, r.stdout[-3000:], r.stderr[-3000:])
        return r

    def matrix(self, client, submit, mechanisms=MECHANISMS):
        """submit(mechanism, implicit, secret, certificate, mail) is true if the client says that the mail is sent."""
        row = ROWS[client]
        for implicit, way in ((False, row[0]), (True, row[1])):
            for n, (mechanism, cell) in enumerate(zip(MECHANISMS, row[2:])):
                if way != "x" or cell != "x" or mechanism not in mechanisms or n % 2 == some(2, int(implicit)):
                    continue
                right = TOKEN if mechanism in ("XOAUTH2", "OAUTHBEARER") else "" if mechanism == "EXTERNAL" else PASSWORD
                wrong = "" if mechanism == "EXTERNAL" else "wr0ng"
                what = "%s %s %s" % (client, mechanism, "TLS" if implicit else "STARTTLS")
                self.one(what, mechanism, implicit, submit, wrong, "stranger", False)
                self.one(what, mechanism, implicit, submit, right, "client", True)
        nothing_secret(self.t)

    def tries(self, before):
        """(mechanism, user, result) of the logins in the log behind `before`."""
        return re.findall(r" auth .*mechanism=(\S+) user=(\S+) result=(\w+)", self.t.log_text()[before:])

    def one(self, what, mechanism, implicit, submit, secret, certificate_name, ok):
        before = len(self.t.log_text())
        name = certificate_name if mechanism == "EXTERNAL" else None
        said = submit(mechanism, implicit, secret, name, MAIL % what.encode())
        assert said == ok, (what, "a wrong secret gets in" if said else "a right one does not")
        if ok:
            wait_for(lambda: (mechanism, USER, "ok") in self.tries(before), 10)
        else:  # it was the server that said no
            wait_for(lambda: self.tries(before), 10)
        tries = self.tries(before)
        assert all(m == mechanism for m, _, _ in tries), (what, tries)
        assert any(result == "ok" for _, _, result in tries) == ok, (what, tries)
        self.count += 1 if ok else 0
        wait_for(lambda: len(self.t.maildir("bob")) == self.count, 30)
        if ok:
            mails = [m for m in self.t.maildir("bob") if b"\nSubject: by %s\n" % what.encode() in m]
            assert len(mails) == 1, (what, self.t.maildir("bob"))
            head = mails[0].split(b"\n\n")[0]
            assert b"with ESMTPSA id" in head and b"Return-Path: <alice@example.org>" in head, head


def nothing_secret(t):
    text = t.log_text()
    for name in os.listdir(os.path.join(t.dir, "spool", "decisions")):
        with open(os.path.join(t.dir, "spool", "decisions", name)) as f:
            text += f.read()
    for word in (PASSWORD, "wr0ng", TOKEN, b64(PASSWORD)):
        assert word not in text, word


# ---- the mechanisms by hand, for openssl s_client, which knows no AUTH ----

def scram(c, mechanism, secret, binding):
    plus, name = mechanism.endswith("-PLUS"), "sha1" if "SHA-1" in mechanism else "sha256"
    header = b"p=%s,," % binding[0] if plus else b"n,,"
    first = b"n=%s,r=abcdefgh" % USER.encode()
    code, text = c.cmd("AUTH %s %s" % (mechanism, b64(header + first)))
    if code != 334:
        return code
    server = unb64(text)
    nonce, salt, count = (x[2:] for x in server.split(b","))
    salted = hashlib.pbkdf2_hmac(name, secret.encode(), base64.b64decode(salt), int(count))
    final = b"c=" + base64.b64encode(header + (binding[1] if plus else b"")) + b",r=" + nonce
    key = hmac.digest(salted, b"Client Key", name)
    whole = first + b"," + server + b"," + final
    proof = bytes(a ^ b for a, b in zip(key, hmac.digest(hashlib.new(name, key).digest(), whole, name)))
    code, text = c.cmd(b64(final + b",p=" + base64.b64encode(proof)))
    if code == 334:
        assert unb64(text) == b"v=" + base64.b64encode(hmac.digest(hmac.digest(salted, b"Server Key", name), whole, name))
        code = c.cmd("")[0]
    return code


def by_hand(c, mechanism, secret, binding):
    """The code of the last reply to AUTH."""
    if mechanism == "PLAIN":
        return c.cmd("AUTH PLAIN " + b64("\0%s\0%s" % (USER, secret)))[0]
    if mechanism == "EXTERNAL":
        return c.cmd("AUTH EXTERNAL " + b64(USER))[0]
    if mechanism.startswith("SCRAM"):
        return scram(c, mechanism, secret, binding)
    if mechanism in ("XOAUTH2", "OAUTHBEARER"):
        head = "user=%s\x01" % USER if mechanism == "XOAUTH2" else "n,a=%s,\x01" % USER
        code = c.cmd("AUTH %s %s" % (mechanism, b64("%sauth=Bearer %s\x01\x01" % (head, secret))))[0]
        return c.cmd("AQ==")[0] if code == 334 else code
    code, text = c.cmd("AUTH " + mechanism)
    assert code == 334, text
    if mechanism == "CRAM-MD5":
        return c.cmd(b64("%s %s" % (USER, hmac.new(secret.encode(), unb64(text), "md5").hexdigest())))[0]
    assert c.cmd(b64(USER))[0] == 334
    return c.cmd(b64(secret))[0]


class SClient(Client):
    """A raw client whose octets go through openssl s_client."""

    def __init__(self, *words):
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(60 * SLOW)
        self.rest = b""
        self.process = subprocess.Popen(["openssl", "s_client", "-quiet", *words], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        theirs.close()

    def close(self):
        self.sock.close()
        self.process.terminate()
        self.process.wait(30 * SLOW)


def test_s_client():
    need("openssl")
    with World() as w:
        der = subprocess.run(["openssl", "x509", "-in", w.file("mx.pem"), "-outform", "DER"], check=True, capture_output=True).stdout
        binding = (b"tls-server-end-point", hashlib.sha256(der).digest())

        def submit(mechanism, implicit, secret, name, mail):
            c = SClient("-connect", "127.0.0.1:%d" % w.port(implicit), "-CAfile", w.file("ca.pem"), "-verify_return_error",
                        "-verify_hostname", "mx.test", *(() if implicit else ("-starttls", "smtp")),
                        *(("-cert", w.file(name + ".pem"), "-key", w.file(name + ".key")) if name else ()))
            if implicit:
                c.reply()  # else s_client has read the greeting
            assert c.cmd("EHLO client.example")[0] == 250
            ok = by_hand(c, mechanism, secret, binding) == 235
            if ok:
                assert c.mail(USER, ["bob@far.example"], mail, helo=None)[0] == 250
            c.close()
            return ok
        w.matrix("s_client", submit)


def test_swaks():
    need("swaks")
    with World() as w:
        def submit(mechanism, implicit, secret, name, mail):
            r = w.run("swaks", "--server", "127.0.0.1", "--port", w.port(implicit), "--tls-on-connect" if implicit else "--tls",
                      "--tls-verify", "--tls-ca-path", w.file("ca.pem"), "--from", USER, "--to", "bob@far.example", "--auth", mechanism,
                      "--auth-user", USER, "--auth-password", secret, "--data", "-", input=mail.replace(b"\r\n", b"\n"), ok=secret == PASSWORD)
            return r.returncode == 0
        w.matrix("swaks", submit)


def test_curl():
    need("curl")
    # It takes OAUTHBEARER wherever that is offered, whatever --login-options say.
    for files, mechanisms in (({}, [m for m in MECHANISMS if m != "XOAUTH2"]),
                              ({"tokens.lua": FILES["tokens.lua"].replace(', "OAUTHBEARER"', "")}, ["XOAUTH2"])):
        with World(**files) as w:
            curl(w, mechanisms)


def curl(w, mechanisms):
    def submit(mechanism, implicit, secret, name, mail):
        token = mechanism in ("XOAUTH2", "OAUTHBEARER")
        who = ["--oauth2-bearer", secret, "--user", USER] if token else ["--user", "%s:%s" % (USER, secret)]
        if name:
            who += ["--cert", w.file(name + ".pem"), "--key", w.file(name + ".key")]
        r = w.run("curl", "-sS", "--ssl-reqd", "--cacert", w.file("ca.pem"), "--connect-to", "::127.0.0.1:", "--mail-from", USER, "--mail-rcpt",
                  "bob@far.example", "--login-options", "AUTH=" + mechanism, *who, "-T", "-",
                  "smtp%s://mx.test:%d/client.example" % ("s" if implicit else "", w.port(implicit)),
                  input=mail, ok=secret not in ("wr0ng",) and name != "stranger")
        return r.returncode == 0
    w.matrix("curl", submit, mechanisms)


def test_msmtp():
    need("msmtp")
    with World() as w:
        def submit(mechanism, implicit, secret, name, mail):
            more = ["--tls-cert-file=" + w.file(name + ".pem"), "--tls-key-file=" + w.file(name + ".key")] if name else \
                ["--passwordeval=printf %%s '%s'" % secret]
            r = w.run("msmtp", "--host=localhost", "--port=%d" % w.port(implicit), "--auth=" + mechanism.lower(), "--user=" + USER,
                      "--tls=on", "--tls-starttls=" + ("off" if implicit else "on"),
                      "--tls-trust-file=" + w.file("ca.pem"), *more, "--from=" + USER, "bob@far.example", input=mail,
                      ok=secret not in ("wr0ng",) and name != "stranger")
            return r.returncode == 0
        w.matrix("msmtp", submit)


def test_mutt():
    need("mutt")
    with World() as w:
        def submit(mechanism, implicit, secret, name, mail):
            scheme = "smtps" if implicit else "smtp"
            token = mechanism in ("XOAUTH2", "OAUTHBEARER")
            w.t.write("token", secret)
            if name:
                w.t.write("both.pem", "".join(open(w.file(name + end)).read() for end in (".pem", ".key")))
            w.t.write("muttrc", "\n".join((
                'set from="%s"' % USER, 'set use_from=yes', 'set use_envelope_from=yes', 'set envelope_from_address="%s"' % USER,
                'set copy=no', 'set ssl_force_tls=yes', 'set ssl_starttls=yes', 'set certificate_file="%s"' % w.file("ca.pem"),
                'set smtp_url="%s://%s@localhost:%d/"' % (scheme, USER.replace("@", "%40"), w.port(implicit)),
                'set smtp_authenticators="%s"' % mechanism.lower(),
                'set ssl_client_cert="%s"' % w.file("both.pem") if name else
                'set smtp_oauth_refresh_command="cat %s"' % w.file("token") if token else 'set smtp_pass="%s"' % secret)) + "\n")
            w.t.write("draft", mail.replace(b"\r\n", b"\n"))
            r = w.run("mutt", "-n", "-F", w.file("muttrc"), "-H", w.file("draft"),
                      ok=secret != "wr0ng" and name != "stranger", TERM="dumb")
            return r.returncode == 0
        w.matrix("mutt", submit)


def test_s_nail():
    need("s-nail")
    with World() as w:
        def submit(mechanism, implicit, secret, name, mail):
            words = {"mta": "%s://localhost:%d" % ("smtps" if implicit else "smtp", w.port(implicit)), "smtp-auth": "oauthbearer" if mechanism == "XOAUTH2" else mechanism.lower(),
                     "user": USER, "password": secret, "from": USER, "tls-ca-file": w.file("ca.pem"), "tls-ca-no-defaults": None,
                     "tls-verify": "strict", "v15-compat": "yes", "sendwait": None, "hostname": "client.example",
                     "DEAD": "/dev/null"}
            if not implicit:
                words["smtp-use-starttls"] = None
            if name:
                words["tls-config-pairs"] = "Certificate=%s,PrivateKey=%s" % (w.file(name + ".pem"), w.file(name + ".key"))
            body = mail.replace(b"\r\n", b"\n").split(b"\n\n", 1)
            subject = re.search(rb"Subject: (.*)", body[0]).group(1).decode()
            r = w.run("s-nail", "-:/", *(x for k, v in words.items() for x in ("-S", k if v is None else "%s=%s" % (k, v))), "-s", subject,
                      "bob@far.example", input=body[1], ok=secret not in ("wr0ng",) and name != "stranger")
            return r.returncode == 0
        w.matrix("s_nail", submit)


NODE = """
const nodemailer = require("/usr/share/nodejs/nodemailer");
const o = JSON.parse(require("fs").readFileSync(0, "utf8"));
const auth = o.mechanism === "XOAUTH2" ? { type: "OAuth2", user: o.user, accessToken: o.secret } : { user: o.user, pass: o.secret };
const t = nodemailer.createTransport({ host: "127.0.0.1", port: o.port, secure: o.implicit, requireTLS: true, auth,
                                       authMethod: o.mechanism, tls: { ca: require("fs").readFileSync(o.ca) } });
t.sendMail({ envelope: { from: o.user, to: "bob@far.example" }, raw: o.mail }, (e) => { if (e) console.error(e.message); process.exit(e ? 1 : 0); });
"""


def test_nodemailer():
    need("node")
    if not os.path.isdir("/usr/share/nodejs/nodemailer"):
        print("SKIP: Debian's node-nodemailer is not installed")
        sys.exit(77)
    with World() as w:
        w.t.write("send.js", NODE)

        def submit(mechanism, implicit, secret, name, mail):
            o = {"mechanism": mechanism, "user": USER, "secret": secret, "port": w.port(implicit), "implicit": implicit, "ca": w.file("ca.pem"),
                 "mail": mail.decode()}
            return w.run("node", w.file("send.js"), input=json.dumps(o).encode(), ok=secret != "wr0ng").returncode == 0
        w.matrix("nodemailer", submit)


def test_smtplib():
    with World() as w:
        def submit(mechanism, implicit, secret, name, mail):
            context = ssl.create_default_context(cafile=w.file("ca.pem"))
            s = smtplib.SMTP_SSL("localhost", w.port(True), timeout=60 * SLOW, context=context) if implicit else \
                smtplib.SMTP("localhost", w.port(False), timeout=60 * SLOW)
            with s:
                if not implicit:
                    s.starttls(context=context)
                s.ehlo()
                s.user, s.password = USER, secret
                try:
                    s.auth(mechanism, getattr(s, "auth_" + mechanism.lower().replace("-", "_")))
                except smtplib.SMTPAuthenticationError as e:
                    assert e.smtp_code == 535 and e.smtp_error.startswith(b"5.7.8 "), e
                    return False
                s.sendmail(USER, ["bob@far.example"], mail)
                return True
        w.matrix("smtplib", submit)


def test_gsasl():
    need("gsasl")
    with World() as w:
        def submit(mechanism, implicit, secret, name, mail):
            more = ["--x509-cert-file=" + w.file(name + ".pem"), "--x509-key-file=" + w.file(name + ".key")] if name else []
            who = ["-z", USER] if mechanism == "EXTERNAL" else ["-a", USER, "-p", secret]
            if not mechanism.endswith("-PLUS"):
                more.append("--no-cb")  # else it would say that it could bind and was not offered to: somebody took it out on the way
            theirs, ours = os.pipe()
            p = subprocess.Popen(["gsasl", "--smtp", "--connect=localhost:%d" % w.port(False), "--x509-ca-file=" + w.file("ca.pem"), *more,
                                  "-m", mechanism, *who], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            try:
                if secret != "wr0ng" and name != "stranger":
                    talk = b"MAIL FROM:<%s>\r\nRCPT TO:<bob@far.example>\r\nDATA\r\n%s.\r\nQUIT\r\n" % (USER.encode(), mail)
                    for line in talk.splitlines(True):  # it polls, and then reads one line
                        os.write(ours, line)
                        wait_for(lambda: unread(theirs) == 0 or p.poll() is not None, 30)
                else:
                    os.close(ours)
                    ours = None
                out = p.communicate(timeout=60 * SLOW)[0]
            finally:
                for fd in (ours, theirs):
                    if fd is not None:
                        os.close(fd)
                if p.poll() is None:
                    p.kill()
            return b"235 2.7.0" in out
        w.matrix("gsasl", submit)


def unread(fd):
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]


if __name__ == "__main__":
    run([test_s_client, test_swaks, test_curl, test_msmtp, test_mutt, test_s_nail, test_nodemailer, test_smtplib, test_gsasl])
