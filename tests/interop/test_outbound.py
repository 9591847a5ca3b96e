#!/usr/bin/python3
"""What leaves by a next hop that wants to know who we are: AUTH, CHUNKING."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from relay import Relay
from ternlib import Client, Tern, dotted, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
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


def server(relay, options="", files=SECRET, **values):
    values.setdefault("to", "127.0.0.1:%d" % relay.port)
    return Tern(CONFIG.replace("{options}", options), files=files, **values).start()


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


def test_a_wrong_password_is_the_operators_to_mend():
    """Deferred, not returned; one error line that says where; the site is left alone."""
    with Relay(users={"tern@example.org": "another"}) as relay:
        with server(relay, AUTH) as t:
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


if __name__ == "__main__":
    run([test_auth_by_each_mechanism, test_auth_scram_is_the_first_choice, test_no_password_in_clear_without_tls,
         test_a_wrong_password_is_the_operators_to_mend, test_auth_put_off, test_a_server_that_does_not_know_the_password,
         test_chunking])
