"""logins.py - an SMTP client that logs in: PLAIN, LOGIN, and SCRAM by RFC 5802 with Python's own hashes."""
import base64
import hashlib
import hmac
import os

from ternlib import Client, wait_for

HOSTILE = ["*", "a*", "alice)(uid=*", "*)(&", "\\2a", "alice\\", "' OR '1'='1", "x' OR 1=1 --", "'; DROP TABLE users; --",
           '" OR ""="', "alice%", "%s%n", "$1", "a,dc=test", "alice,dc=test", "cn=root,dc=test", "alice+uid=x", "#61", "%00",
           "a" * 300, "m\u00fcller", "alice;", "../alice", "\\00", "(|(uid=*))"]


def b64(octets):
    return base64.b64encode(octets if isinstance(octets, bytes) else octets.encode()).decode()


def unb64(text):
    return base64.b64decode(text, validate=True)


def greeted(t):
    c = Client(t.port)
    code, c.words = c.cmd("EHLO client.example")
    assert code == 250
    return c


def plain(t, user, password, c=None):
    """The reply to AUTH PLAIN as (code, text)."""
    own = c or greeted(t)
    reply = own.cmd("AUTH PLAIN " + b64(b"\0" + (user if isinstance(user, bytes) else user.encode()) + b"\0" +
                                        (password if isinstance(password, bytes) else password.encode())))
    if c is None:
        own.close()
    return reply


def code(t, user, password):
    return plain(t, user, password)[0]


def login(t, user, password):
    c = greeted(t)
    assert c.cmd("AUTH LOGIN")[0] == 334
    assert c.cmd(b64(user))[0] == 334
    reply = c.cmd(b64(password))
    c.close()
    return reply


def scram(t, user, password, name="sha256"):
    """The last code of AUTH SCRAM-SHA-256 or -1; checks that the server knows the keys, too."""
    mechanism = {"sha256": "SCRAM-SHA-256", "sha1": "SCRAM-SHA-1"}[name]
    c = greeted(t)
    nonce = b64(os.urandom(12))
    first = "n=%s,r=%s" % (user.replace("=", "=3D").replace(",", "=2C"), nonce)
    status, text = c.cmd("AUTH %s %s" % (mechanism, b64("n,," + first)))
    if status != 334:
        return status
    challenge = unb64(text).decode()
    parts = dict(p.split("=", 1) for p in challenge.split(","))
    assert parts["r"].startswith(nonce)
    salted = hashlib.pbkdf2_hmac(name, password.encode(), unb64(parts["s"]), int(parts["i"]))
    mac = lambda key, message: hmac.new(key, message.encode() if isinstance(message, str) else message, name).digest()
    bare = "c=%s,r=%s" % (b64("n,,"), parts["r"])
    said = "%s,%s,%s" % (first, challenge, bare)
    key = mac(salted, "Client Key")
    proof = bytes(a ^ b for a, b in zip(key, mac(hashlib.new(name, key).digest(), said)))
    status, text = c.cmd(b64("%s,p=%s" % (bare, b64(proof))))
    if status == 334:
        assert unb64(text).decode() == "v=" + b64(mac(mac(salted, "Server Key"), said)), "the server does not know the keys"
        status, text = c.cmd("")
    c.close()
    return status


def said(t, text):
    """The log's thread may come a moment later."""
    wait_for(lambda: text in t.log_text(), 5)


def session_user(t, user, password):
    """The name the session is known by: what `sender` of a queued mail's record says."""
    c = greeted(t)
    assert plain(t, user, password, c)[0] == 235
    code, text = c.mail("a@example.org", ["bob@elsewhere.example"], "Subject: x\n\nx\n", helo=None)
    assert code == 250, text
    c.close()
    return t.why(text.rsplit(" ", 1)[-1])
