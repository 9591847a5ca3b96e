#!/usr/bin/python3
"""ETRN (RFC 1985): who may have a queue started, and that it is started; VRFY as the listener wants it."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import Client, Tern, free_port, run, wait_for
from peers import Sink

CONFIG = """
hostname: mx.test
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound, etrn: [127.0.0.1] }
  strangers: { bind: "127.0.0.1:{strangers}", policy: inbound, etrn: [192.0.2.0/24], vrfy: refuse }
  closed: { bind: "127.0.0.1:{closed}", policy: inbound }
  withheld: { bind: "127.0.0.1:{withheld}", policy: inbound, etrn: [127.0.0.1], withhold: [ETRN] }
retry: { min: 1h, max: 1h, jitter: 0 }
policies:
  inbound:
    - domains: { relay: [far.example, sub.far.example, other.example] }
transports:
  far: { type: smtp, to: ["127.0.0.1:{sink}"] }
routes:
  - { class: relay, transport: far }
"""


def server(sink):
    return Tern(CONFIG, sink=sink.port, strangers=free_port(), closed=free_port(), withheld=free_port()).start()


def fill(t, sink, *rcpts):
    """one mail each, deferred once"""
    c = Client(t.port)
    c.cmd("EHLO x")
    for r in rcpts:
        assert c.mail("a@client.example", [r], "Subject: x\n\nx\n", helo=None)[0] == 250
    c.close()
    wait_for(lambda: sum(c.startswith("RCPT") for c in sink.commands) >= len(rcpts), 20)
    wait_for(lambda: t.log_text().count(" deferred ") >= len(rcpts), 20)


def etrn(port, *nodes):
    """Whether it is announced, and the code for each, which are asked for at once."""
    c = Client(port)
    keywords = c.cmd("EHLO x")[1].split("\n")
    c.send("".join("ETRN %s\r\n" % node for node in nodes))
    codes = [c.reply()[0] for _ in nodes]
    assert c.cmd("NOOP")[0] == 250
    c.close()
    return ("ETRN" in keywords, *codes)


def test_the_queue_of_a_domain_is_started():
    later = ["451 4.2.1 later", "250 2.1.5 Ok"]
    with Sink({r: later for r in ("a@far.example", "b@sub.far.example", "c@other.example")}) as sink, server(sink) as t:
        fill(t, sink, "a@far.example", "b@sub.far.example", "c@other.example")
        assert etrn(t.port, "FAR.example", "far.example") == (True, 250, 458)  # too soon
        wait_for(lambda: sink.got("a@far.example"), 20)
        assert wait_for(lambda: [l for l in t.log_text().splitlines() if " etrn " in l])[0].endswith(
            'text="127.0.0.1 asked for far.example: 1 of 3 messages made due"')
        time.sleep(5)
        assert not sink.got("b@sub.far.example") and not sink.got("c@other.example")
        assert etrn(t.port, "@far.example") == (True, 250)
        wait_for(lambda: sink.got("b@sub.far.example"), 20)
        assert not sink.got("c@other.example")


def test_who_may_and_what_is_no_node():
    with Sink() as sink, server(sink) as t:
        v = lambda name: int(t.values[name])
        assert etrn(v("strangers"), "far.example") == (False, 459)
        assert etrn(v("closed"), "far.example") == (False, 502)
        assert etrn(v("withheld"), "far.example") == (False, 459)
        assert etrn(t.port, "#queue") == (True, 458)
        for node in ("", "@", "far..example", "a@far.example", "-x", "[", "x" * 256):
            assert etrn(t.port, node) == (True, 501), node
        c = Client(t.port)
        assert c.cmd("ETRN far.example")[0] == 503  # before EHLO
        c.cmd("EHLO x")
        c.cmd("MAIL FROM:<>")
        assert c.cmd("ETRN far.example")[0] == 503
        c.close()
        assert " etrn " not in t.log_text()


def test_vrfy_and_expn():
    with Sink() as sink, server(sink) as t:
        for port, vrfy in ((t.port, 252), (int(t.values["strangers"]), 502)):
            c = Client(port)
            c.cmd("EHLO x")
            assert (c.cmd("VRFY postmaster")[0], c.cmd("EXPN staff")[0]) == (vrfy, 502)
            c.close()



ASKED = """
hostname: mx.test
limits: { errors: 4, errors_free: 1, error_delay: 300ms }
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound, vrfy: policy, expn: policy }
policies:
  inbound:
    - domains: { local: [here.example], recipients: [alice@here.example] }
routes:
  - { class: local, transport: smtp, to: ["127.0.0.1:9"] }
"""


def test_vrfy_by_policy_slows_who_guesses():
    with Tern(ASKED).start() as t:
        c = Client(t.port)
        assert "EXPN" in c.cmd("EHLO x")[1].split("\n")
        began = time.monotonic()
        assert c.cmd("VRFY alice@here.example") == (250, "2.1.5 <alice@here.example>")
        assert [c.cmd("VRFY %s@here.example" % name)[0] for name in ("a", "b", "c", "d", "e")] == [550] * 4 + [421]
        assert time.monotonic() - began >= 0.3 + 0.6 + 0.9 - 0.1  # behind b, c and d; a clock of a loop is coarse
        c.close()
        wait_for(lambda: t.log_text().count("550 5.1.1 <") == 5, 20)  # what the policy said to e, too


if __name__ == "__main__":
    run([test_the_queue_of_a_domain_is_started, test_who_may_and_what_is_no_node, test_vrfy_and_expn,
         test_vrfy_by_policy_slows_who_guesses])
