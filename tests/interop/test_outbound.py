#!/usr/bin/python3
"""What leaves by TLS, and by a next hop that wants to know who we are: TLS, AUTH, CHUNKING; each also done wrong."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Postfix, Process, program
from relay import Certificates, Relay
from ternlib import ROOT, SLOW, Client, Tern, can_connect, free_port, need, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound, binarymime: true } }
retry: { min: 1s, max: 1s, factor: 100, jitter: 0 }
policies:
  inbound:
    - domains: { networks: [127.0.0.0/8] }
transports:
  smarthost:
    type: smtp
    to: ["{to}"]
{options}
routes:
  - { transport: smarthost }
"""
USERS = {"tern@example.org": "correct horse"}
AUTH = "    auth: { user: tern@example.org, password: !file secret }\n"
SECRET = {"secret": "correct horse\n"}


def server(relay, options="", files=SECRET, config=CONFIG, **values):
    values.setdefault("to", "127.0.0.1:%d" % relay.port)
    return Tern(config.replace("{options}", options), files=files, **values).start()


def send(t, rcpts=("someone@far.example",), body="Subject: test\n\nhello\n"):
    c = Client(t.port)
    code, text = c.mail("me@home.example", list(rcpts), body)
    c.close()
    assert code == 250, (code, text)
    return queue_id(text)


def lines(t, ident, word):
    return [l for l in t.log_text().splitlines() if ident in l and " %s " % word in l]


def delivered(t, relay, count=1):
    ident = send(t)
    wait_for(lambda: len(relay.mails) >= count and lines(t, ident, "delivered"), 20)
    return lines(t, ident, "delivered")[0]


def deferred(t):
    """The log line of a message that has to wait."""
    ident = send(t)
    wait_for(lambda: lines(t, ident, "deferred"), 20)
    return lines(t, ident, "deferred")[0]


# ---- TLS ----

FOLDER = tempfile.mkdtemp(prefix="tern-outbound-")
CERTIFICATES = None


def certificates():
    global CERTIFICATES
    CERTIFICATES = CERTIFICATES or Certificates(FOLDER)
    return CERTIFICATES


def good():
    return certificates().leaf("good", "IP:127.0.0.1,DNS:relay.test")


def verified():
    return "    tls: verify\n    ca_file: %s\n" % certificates().ca


def relay_tls(log_line):
    return log_line.split('tls="')[1].split('"')[0] if 'tls="' in log_line else None


def test_starttls_whatever_the_certificate():
    """may, the default: encrypted though nobody vouches for it; EHLO again behind the handshake."""
    with Relay(tls="starttls", certificate=certificates().leaf("other", "DNS:somebody.else")) as relay:
        with server(relay) as t:
            line = delivered(t, relay)
            assert relay.mails[0].encrypted and relay_tls(line).startswith("TLSv1.3 TLS_"), line
            assert "unverified" in line, line
            assert relay.said("EHLO", False) and relay.said("EHLO", True) and not relay.said("MAIL", False)
            ident = send(t)
            wait_for(lambda: lines(t, ident, "delivered"), 20)
            outcomes = wait_for(lambda: [o for r in t.why(ident) for o in r.get("outcomes", [])], 20)
            assert outcomes[0]["tls"].startswith("TLSv1.3 "), outcomes
            assert "by TLSv1.3" in t.cli("why", ident).stdout


def test_tls_off():
    with Relay(tls="starttls", certificate=good()) as relay:
        with server(relay, "    tls: off\n") as t:
            line = delivered(t, relay)
            assert not relay.mails[0].encrypted and relay.said("STARTTLS") == [] and relay_tls(line) is None


def test_verify():
    with Relay(tls="starttls", certificate=good()) as relay:
        with server(relay, verified() + "    idle: 5m\n") as t:
            line = delivered(t, relay)
            assert relay.mails[0].encrypted and " verified" in line and "unverified" not in line, line
            delivered(t, relay, 2)
            assert relay.connections == 1, "a connection under TLS is kept for the next message, too"


def test_a_big_mail_under_tls():
    """More than any buffer holds, by DATA and by BDAT, octet for octet."""
    line = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ\n.\n"
    body = "Subject: big\n\n" + line * 40000
    for options, by in (("", "DATA"), ("    chunking: true\n", "BDAT")):
        with Relay(tls="starttls", certificate=good(), ehlo=("PIPELINING", "CHUNKING")) as relay:
            with server(relay, verified() + options) as t:
                send(t, body=body)
                wait_for(lambda: relay.mails, 60)
                got = relay.mails[0]
                assert got.by == by and got.data.endswith(body.split("\n\n", 1)[1].replace("\n", "\r\n").encode()), (by, len(got.data))


def test_verify_by_name():
    """The name is asked for (SNI) and verified; tls_name is another one than that of the address."""
    with Relay(tls="starttls", certificate=certificates().leaf("named", "DNS:smtp.provider.test")) as relay:
        with server(relay, verified() + "    tls_name: smtp.provider.test\n") as t:
            delivered(t, relay)
            assert relay.names == ["smtp.provider.test"], relay.names


def refused(certificate, why, options=None, **values):
    with Relay(tls="starttls", certificate=certificate, users=USERS, **values) as relay:
        with server(relay, (options or verified()) + AUTH) as t:
            line = deferred(t)
            assert why in line, line
            assert relay.said("MAIL") == [] and relay.said("AUTH") == [], relay.commands
            warnings = [l for l in t.log_text().splitlines() if " warning " in l and " outbound " in l]
            assert warnings and "transport smarthost" in warnings[0], t.log_text()


def test_verify_refuses_another_name():
    refused(certificates().leaf("wrong", "DNS:somebody.else"), "mismatch")


def test_verify_refuses_an_expired_certificate():
    refused(certificates().leaf("expired", "IP:127.0.0.1", expired=True), "expired")


def test_verify_refuses_an_unknown_issuer():
    with tempfile.TemporaryDirectory() as folder:
        refused(Certificates(folder).leaf("foreign", "IP:127.0.0.1"), "certificate")


def test_required_takes_no_clear_text():
    """Not offered, refused, or a handshake that fails: the mail waits."""
    with Relay(ehlo=("PIPELINING",)) as relay:
        with server(relay, "    tls: required\n") as t:
            line = deferred(t)
            assert "4.7.4" in line and "not offered" in line and relay.said("MAIL") == [], line
    for how, why in (("454 4.7.0 TLS is broken", "454 4.7.0"), ("close", "TLS failed"), ("plain", "TLS")):
        with Relay(tls="starttls", certificate=good(), starttls=how) as relay:
            with server(relay, "    tls: required\n    tls_timeout: 1s\n") as t:
                line = deferred(t)
                assert why in line and relay.said("MAIL") == [], (how, line)


def test_may_goes_on_in_clear_where_starttls_is_refused():
    for reply in ("454 4.7.0 TLS is broken", "502 5.5.1 Not really"):
        with Relay(tls="starttls", certificate=good(), starttls=reply) as relay:
            with server(relay) as t:
                line = delivered(t, relay)
                assert not relay.mails[0].encrypted and relay.connections == 1, (relay.connections, line)


def test_may_falls_back_on_a_new_connection():
    """A handshake that is broken, hangs, or is answered in clear: the mail goes in clear at once, and for a while without trying."""
    for how in ("close", "hang", "plain"):
        with Relay(tls="starttls", certificate=good(), starttls=how) as relay:
            with server(relay, "    tls_timeout: 500ms\n    idle: 0s\n") as t:
                delivered(t, relay)
                assert relay.connections == 2 and len(relay.said("STARTTLS")) == 1, (how, relay.commands)
                delivered(t, relay, 2)
                assert relay.connections == 3 and len(relay.said("STARTTLS")) == 1, (how, relay.commands)
                assert [l for l in t.log_text().splitlines() if " outbound " in l and "in clear" in l], t.log_text()


def test_may_bounces_nothing_where_tls_is_wanted():
    """A handshake that failed once, or a STARTTLS put off, and a server that takes no mail or login in clear: the next attempt is by TLS."""
    for how, options in (("close", ""), ("454 4.7.0 TLS is broken", ""), ("close", AUTH)):
        users = USERS if options else None
        with Relay(tls="starttls", certificate=good(), starttls=how, needs_tls=True, users=users) as relay:
            with server(relay, options + "    idle: 0s\n") as t:
                line = deferred(t)
                assert ("AUTH" if options else "530 5.7.0 Must issue") in line, line
                relay.starttls = None
                wait_for(lambda: relay.mails)
                assert relay.mails[0].encrypted and " bounced " not in t.log_text(), t.log_text()


def test_a_reply_injected_behind_the_220():
    """CVE-2021-38371 and its like: what came in clear is never taken for a reply under TLS."""
    with Relay(tls="starttls", certificate=good(), starttls="inject") as relay:
        with server(relay, "    tls: required\n") as t:
            line = deferred(t)
            assert "in clear behind the reply to STARTTLS" in line, line
            assert relay.said("MAIL") == []


def test_what_was_offered_in_clear_is_forgotten():
    """AUTH and SIZE stood in the first EHLO; in TLS there is nothing: no AUTH, no SIZE=."""
    with Relay(tls="starttls", certificate=good(), starttls="empty", ehlo=("PIPELINING", "SIZE 1000000")) as relay:
        with server(relay) as t:
            delivered(t, relay)
            assert relay.mails[0].encrypted and "SIZE" not in relay.mails[0].mail_line, relay.mails[0].mail_line
    with Relay(tls="starttls", certificate=good(), starttls="empty", users=USERS, auth_in_clear=True) as relay:
        with server(relay, AUTH) as t:
            assert "does not offer AUTH" in deferred(t)
            assert relay.said("AUTH") == []


def test_implicit():
    with Relay(tls="implicit", certificate=good()) as relay:
        with server(relay, verified() + "    implicit: true\n") as t:
            line = delivered(t, relay)
            assert relay.mails[0].encrypted and relay_tls(line) and not relay.said("STARTTLS")
    # A server that greets in clear there: there is nothing to fall back on.
    with Relay() as relay:
        with server(relay, "    implicit: true\n    tls_timeout: 1s\n") as t:
            assert "TLS failed" in deferred(t)
            assert relay.commands == [] and relay.mails == []


def test_sessions_are_resumed():
    with Relay(tls="starttls", certificate=good()) as relay:
        with server(relay, "    idle: 0s\n") as t:
            for n in (1, 2, 3):
                line = delivered(t, relay, n)
            assert [h[1] for h in relay.handshakes] == [False, True, True], relay.handshakes
            assert "resumed" in line, line


def test_auth_under_tls_by_each_mechanism():
    for mechanism in ("SCRAM-SHA-256", "PLAIN", "LOGIN"):
        with Relay(tls="starttls", certificate=good(), users=USERS, mechanisms=(mechanism,)) as relay:
            with server(relay, verified() + AUTH) as t:
                delivered(t, relay)
                assert relay.mails[0].user == "tern@example.org" and relay.mails[0].encrypted
                assert relay.said("AUTH", True) and not relay.said("AUTH", False)


def test_the_recipe():
    """conf/smarthost.yaml as it is, but for addresses and who is believed."""
    with open(os.path.join(ROOT, "conf", "smarthost.yaml")) as f:
        config = f.read()
    users = {"host@office.example": os.environ["SMARTHOST_PASSWORD"]}
    with Relay(tls="starttls", certificate=certificates().leaf("provider", "DNS:smtp.provider.example"), users=users) as relay:
        for old, new in (("127.0.0.1:25", "127.0.0.1:{port}"), ("spool: /var/spool/tern\n", ""),
                         ("smtp.provider.example:587", "127.0.0.1:%d" % relay.port),
                         ("tls: verify", "tls: verify\n    tls_name: smtp.provider.example\n    ca_file: " + certificates().ca)):
            assert old in config, old
            config = config.replace(old, new)
        with Tern(config).start() as t:
            line = delivered(t, relay)
            assert relay.mails[0].user == "host@office.example" and " verified" in line


def test_a_reload_changes_the_policy():
    """tls: belongs to the site: what goes by the new configuration does not take the old one's connections."""
    with Relay(tls="starttls", certificate=good()) as relay:
        with server(relay, "    tls: off\n") as t:
            delivered(t, relay)
            t.write_config(CONFIG.replace("{options}", "    tls: required\n"))
            t.cli("reload")
            delivered(t, relay, 2)
            assert [m.encrypted for m in relay.mails] == [False, True]


def test_reloads_in_the_middle_of_deliveries():
    """What is under way keeps its configuration: nothing is put off, nothing is sent twice; old generations end."""
    with Relay(tls="starttls", certificate=good()) as relay:
        with server(relay, verified() + "    messages_max: 3\n") as t:
            for n in range(6):
                for rcpt in range(5):
                    send(t, ["r%d-%d@far.example" % (n, rcpt)])
                t.cli("reload")
            wait_for(lambda: t.queue() == [], 60)
            assert len(relay.mails) == 30 and all(m.encrypted for m in relay.mails), len(relay.mails)
            assert " deferred " not in t.log_text()
            wait_for(lambda: t.metric("tern_generations") == 1, 60)


# ---- the real ones ----

class DovecotAuth(Process):
    """Dovecot's auth service, for Postfix's smtpd."""

    CONFIG = """
protocols =
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
ssl = no
default_login_user = dovecot
default_internal_user = dovecot
default_internal_group = dovecot
auth_mechanisms = {mechanisms}
passdb {{
  driver = passwd-file
  args = {dir}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/nonexistent
}}
service auth {{
  unix_listener {dir}/sasl {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""

    def __init__(self, mechanisms):
        super().__init__("tern-dovecot-")
        self.socket = os.path.join(self.dir, "sasl")
        for d in ("run", "state"):
            os.mkdir(os.path.join(self.dir, d), 0o755)
        with open(os.path.join(self.dir, "users"), "w") as f:
            f.write("".join("%s:{PLAIN}%s\n" % u for u in USERS.items()))
        path = os.path.join(self.dir, "dovecot.conf")
        with open(path, "w") as f:
            f.write(self.CONFIG.format(dir=self.dir, mechanisms=mechanisms))
        self.start(program("dovecot"), "-F", "-c", path)
        wait_for(lambda: self.alive() and os.path.exists(self.socket), 30)


POSTFIX = """smtpd_tls_security_level = may
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtpd_tls_loglevel = 1
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {socket}
smtpd_tls_auth_only = yes
smtpd_sasl_security_options = noanonymous
mynetworks = 192.0.2.1/32
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"""


def test_postfix_with_tls_and_dovecots_sasl():
    """By each mechanism, over verified TLS, to Postfix, which passes it on; with DATA and with BDAT; and a wrong password."""
    need("postfix", "dovecot")
    cert, key = good()
    for mechanism, how in (("scram-sha-256 scram-sha-1 plain login", "SCRAM-SHA-256"), ("scram-sha-1 plain", "SCRAM-SHA-1"),
                           ("plain login", "PLAIN"), ("login", "LOGIN")):
        with Relay() as sink, DovecotAuth(mechanism) as d, \
                Postfix("smtp", sink.port, POSTFIX.format(cert=cert, key=key, socket=d.socket)) as p:
            with server(p, verified() + AUTH + "    chunking: true\n    idle: 1s\n") as t:
                ident = send(t, body="Subject: x\n\n.\n..\nend\n")
                wait_for(lambda: sink.mails, 20)
                line = wait_for(lambda: lines(t, ident, "delivered"), 20)[0]
                assert " verified" in line, line
                assert sink.mails[0].data.endswith(b"\r\n\r\n.\r\n..\r\nend\r\n"), sink.mails[0].data
                log = wait_for(lambda: "sasl_method=" in p.log_text() and p.log_text(), 10)
                assert "sasl_method=%s, sasl_username=tern@example.org" % how in log, log
                assert "TLS connection established from" in log
                wait_for(lambda: "bdat=1" in p.log_text(), 20)  # said at the end of the session
            with server(p, verified() + AUTH, files={"secret": "wrong\n"}) as t:
                line = deferred(t)
                assert "4.7.8" in line and "535 5.7.8" in line, line


def test_openssl_s_server_sees_the_name():
    """openssl s_server as the other end of implicit TLS: SNI, the version, and no mail where nobody speaks SMTP."""
    cert, key = certificates().leaf("sserver", "DNS:smtp.provider.test")
    port = free_port()
    log = os.path.join(FOLDER, "s_server.log")
    with open(log, "wb") as out:
        p = subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert", cert, "-key", key,
                              "-servername", "smtp.provider.test", "-cert2", cert, "-key2", key, "-tls1_2"],
                             stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: can_connect(port), 20)
        relay = type("At", (), {"port": port})
        with server(relay, verified() + "    implicit: true\n    tls_name: smtp.provider.test\n    command_timeout: 2s\n") as t:
            line = deferred(t)
            assert "waiting for the greeting" in line, line
            text = lambda: open(log, errors="replace").read()
            wait_for(lambda: 'Hostname in TLS extension: "smtp.provider.test"' in text() and "CIPHER is ECDHE-ECDSA" in text())  # of TLS 1.2
    finally:
        p.terminate()
        p.wait(60 * SLOW)


SUBMISSION = """
hostname: smtp.provider.test
listeners: { submission: { bind: "127.0.0.1:{port}", policy: outbound, tls: required, auth: required } }
certificates: [{ cert: "{cert}", key: "{key}" }]
policies:
  outbound:
    - auth_file: { path: users.yaml }
    - relay_authenticated
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { transport: mailboxes }
"""


def test_tern_is_the_smarthost():
    """Both ends of TLS, AUTH and BDAT are Tern's."""
    cert, key = certificates().leaf("tern", "DNS:smtp.provider.test")
    users = {"users.yaml": 'tern@example.org: "{PLAIN}correct horse"\n'}
    with Tern(SUBMISSION, files=users, cert=cert, key=key).start() as b:
        at = type("At", (), {"port": b.port})
        with server(at, verified() + AUTH + "    tls_name: smtp.provider.test\n    chunking: true\n") as a:
            for _ in range(2):
                ident = send(a)
                line = wait_for(lambda: lines(a, ident, "delivered"), 20)[0]
                assert " verified" in line, line
            wait_for(lambda: len(b.maildir("someone")) == 2, 20)
            assert b"with ESMTPSA" in b.maildir("someone")[0], b.maildir("someone")[0]


# ---- AUTH ----

def test_auth_by_each_mechanism():
    for mechanism in ("SCRAM-SHA-256", "PLAIN", "LOGIN"):
        with Relay(users=USERS, mechanisms=("GSSAPI", mechanism)) as relay:
            with server(relay, AUTH + "    auth_plaintext: true\n") as t:
                delivered(t, relay)
                assert relay.mails[0].user == "tern@example.org", mechanism
                assert relay.said("AUTH")[0].startswith("AUTH " + mechanism), relay.commands
                assert "correct horse" not in t.log_text()


def test_auth_scram_is_the_first_choice():
    with Relay(users=USERS) as relay:
        with server(relay, AUTH) as t:
            delivered(t, relay)
            assert relay.said("AUTH")[0].startswith("AUTH SCRAM-SHA-256 "), relay.commands


def test_no_password_in_clear_without_tls():
    with Relay(users=USERS, mechanisms=("PLAIN", "LOGIN")) as relay:
        with server(relay, AUTH) as t:
            line = deferred(t)
            assert "not encrypted" in line and "4.7.0" in line, line
            assert relay.said("AUTH") == [] and relay.mails == []


def test_no_password_in_clear_for_whoever_has_a_certificate():
    """RFC 4954 14: PLAIN is for who shows that they are the one; SCRAM shows it by itself."""
    other = certificates().leaf("another", "DNS:somebody.else")
    with Relay(tls="starttls", certificate=other, users=USERS, mechanisms=("PLAIN", "LOGIN")) as relay:
        for options in ("", "    tls: required\n"):
            with server(relay, options + AUTH) as t:
                line = deferred(t)
                assert "its certificate is not good" in line and "4.7.0" in line, line
        assert relay.said("AUTH") == [] and relay.mails == []
        with server(relay, AUTH + "    auth_plaintext: true\n") as t:
            delivered(t, relay)
    with Relay(tls="starttls", certificate=other, users=USERS) as relay:
        with server(relay, AUTH) as t:
            delivered(t, relay)
            assert relay.said("AUTH")[0].startswith("AUTH SCRAM-SHA-256 "), relay.commands
            assert "AUTH=<>" in relay.mails[0].mail_line


def test_a_wrong_password_is_the_operators_to_mend():
    """Deferred, not returned; one error line that says where; the site is left alone."""
    with Relay(users={"tern@example.org": "another"}) as relay:
        # It is left alone for as long as a message waits, at most for a minute.
        with server(relay, AUTH, config=CONFIG.replace("min: 1s, max: 1s", "min: 1h, max: 1h")) as t:
            line = deferred(t)
            assert "4.7.8" in line and "535 5.7.8 No" in line, line
            errors = [l for l in t.log_text().splitlines() if " error " in l and " outbound " in l]
            assert errors and "transport smarthost" in errors[0] and "535" in errors[0], t.log_text()
            assert "correct horse" not in t.log_text()
            assert relay.mails == [] and relay.said("MAIL") == []
            tries = relay.connections
            send(t)
            send(t)
            assert relay.connections == tries, "the site should back off"


def test_auth_put_off():
    with Relay(users=USERS, auth_reply="454 4.7.0 Not now") as relay:
        with server(relay, AUTH) as t:
            line = deferred(t)
            assert "454 4.7.0 Not now" in line, line


def test_a_server_that_does_not_know_the_password():
    """It says yes to everything: SCRAM sees that it cannot have the password, and nothing is sent."""
    with Relay(users=USERS, mechanisms=("SCRAM-SHA-256",), forge=True) as relay:
        with server(relay, AUTH) as t:
            line = deferred(t)
            assert "does not know the password" in line, line
            assert relay.mails == []


# ---- CHUNKING ----

def test_chunking():
    body = "Subject: dots\n\n.\n..\nend\n"
    with Relay(ehlo=("PIPELINING", "CHUNKING")) as relay:
        with server(relay, "    chunking: true\n") as t:
            send(t, body=body)
            wait_for(lambda: relay.mails, 20)
            mail = relay.mails[0]
            assert mail.by == "BDAT" and mail.data.endswith(b"\r\n\r\n.\r\n..\r\nend\r\n"), mail.data
    with Relay(ehlo=("PIPELINING", "CHUNKING")) as relay:
        with server(relay) as t:
            delivered(t, relay)
            assert relay.mails[0].by == "DATA"  # unless it must, or is told to


def send_binary(t, body):
    c = Client(t.port)
    assert "BINARYMIME" in c.cmd("EHLO client.example")[1]
    assert c.cmd("MAIL FROM:<me@home.example> BODY=BINARYMIME")[0] == 250
    assert c.cmd("RCPT TO:<someone@far.example>")[0] == 250
    c.send(b"BDAT %d LAST\r\n" % len(body) + body)
    code, text = c.reply()
    assert code == 250, (code, text)
    c.close()
    return queue_id(text)


def test_binary_mail():
    """As it came, by BDAT, where the next hop takes it; else a bounce, 5.6.3, and never by DATA."""
    body = b"Subject: binary\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n.\n\r\xff\r\n.\r\nend"
    with Relay(ehlo=("PIPELINING", "CHUNKING", "BINARYMIME")) as relay:
        with server(relay) as t:
            send_binary(t, body)
            wait_for(lambda: relay.mails, 20)
            assert relay.mails[0].by == "BDAT" and "BODY=BINARYMIME" in relay.mails[0].mail_line
            assert relay.mails[0].data.endswith(body), relay.mails[0].data
    with Relay(ehlo=("PIPELINING", "CHUNKING", "8BITMIME")) as relay:
        with server(relay) as t:
            ident = send_binary(t, body)
            line = wait_for(lambda: lines(t, ident, "bounced"), 20)[0]
            assert "5.6.3" in line and "BINARYMIME" in line, line
            assert all("someone@far.example" not in m.rcpts for m in relay.mails)


if __name__ == "__main__":
    need("openssl")
    try:
        run([test_starttls_whatever_the_certificate, test_tls_off, test_verify, test_a_big_mail_under_tls, test_verify_by_name,
             test_verify_refuses_another_name, test_verify_refuses_an_expired_certificate,
             test_verify_refuses_an_unknown_issuer, test_required_takes_no_clear_text,
             test_may_goes_on_in_clear_where_starttls_is_refused, test_may_falls_back_on_a_new_connection,
             test_may_bounces_nothing_where_tls_is_wanted,
             test_a_reply_injected_behind_the_220, test_what_was_offered_in_clear_is_forgotten, test_implicit,
             test_sessions_are_resumed, test_auth_under_tls_by_each_mechanism, test_the_recipe, test_a_reload_changes_the_policy,
         test_reloads_in_the_middle_of_deliveries,
             test_postfix_with_tls_and_dovecots_sasl, test_openssl_s_server_sees_the_name, test_tern_is_the_smarthost,
             test_auth_by_each_mechanism, test_auth_scram_is_the_first_choice, test_no_password_in_clear_without_tls, test_no_password_in_clear_for_whoever_has_a_certificate,
             test_a_wrong_password_is_the_operators_to_mend, test_auth_put_off,
             test_a_server_that_does_not_know_the_password, test_chunking,
             test_binary_mail])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
