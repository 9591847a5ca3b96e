#!/usr/bin/python3
"""Modules with what only the real server has: greylist over a restart with kv_lmdb, dnsbl asking a real DNS server."""
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Knot, Silent
from ternlib import SLOW, Client, Tern, fill, need, run, wait_for

HEAD = """
hostname: mx.test
delivery: false
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: boxes }]
"""
GREY = HEAD + """
kv: { provider: %s }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org, bob@example.org] }
    - greylist: { delay: 1s, retry: 1h, keep: 1h }
"""
BL = HEAD + """
dns: { servers: ["127.0.0.1:{dns}"], timeout: {wait}, tries: 1 }
policies:
  inbound:
    - dnsbl: { zones: [%s], exempt: [192.0.2.0/24]%s }
    - domains: { local: [example.org], recipients: [alice@example.org] }
"""


class From(Client):
    """A client that connects from one of 127.0.0.0/8."""

    def __init__(self, port, source):
        self.sock = socket.create_connection(("127.0.0.1", port), 30 * SLOW, source_address=(source, 0))
        self.sock.settimeout(60 * SLOW)
        self.rest = b""
        self.banner = self.reply()


def rcpt(t, to="alice@example.org", source="127.0.0.1", sender="a@client.example"):
    c = From(t.port, source)
    try:
        c.cmd("EHLO client.example")
        assert c.cmd("MAIL FROM:<%s>" % sender)[0] == 250
        return c.cmd("RCPT TO:<%s>" % to)
    finally:
        c.close()


def passes_after_the_delay(t):
    code, text = rcpt(t)
    assert code == 451 and text.startswith("4.7.1"), (code, text)
    time.sleep(1.2)
    code, text = rcpt(t)
    assert code == 250, (code, text)


def test_greylist_over_a_restart():
    with Tern(fill(GREY, "kv_lmdb, path: kv")).start() as t:
        passes_after_the_delay(t)
        assert t.stop() == 0
        t.start()
        code, text = rcpt(t)
        assert code == 250, "forgotten over a restart: %s" % text
        code, text = rcpt(t, "bob@example.org")
        assert code == 451, "another triplet: %s" % text


def handed_down(t):
    """Batches go to the store about once a second; on a busy machine they may be late. Behind three more of them all is there."""
    for n in range(3):
        before = t.metric("tern_kv_store_changes_total")
        rcpt(t, sender="later%d@client.example" % n)
        wait_for(lambda: t.metric("tern_kv_store_changes_total") > before)


def test_greylist_over_kill_9():
    with Tern(fill(GREY, "kv_lmdb, path: kv")).start() as t:
        passes_after_the_delay(t)
        handed_down(t)
        os.kill(t.worker_pid(), signal.SIGKILL)
        t.stop(signal.SIGKILL)
        t.start()
        code, text = rcpt(t)
        assert code == 250, "forgotten over kill -9: %s" % text


def test_memory_forgets():
    """Without a provider that keeps, a restart begins anew."""
    with Tern(fill(GREY, "memory")).start() as t:
        passes_after_the_delay(t)
        assert t.stop() == 0
        t.start()
        assert rcpt(t)[0] == 451


def test_kv_path_that_cannot_be():
    with Tern(fill(GREY, "kv_lmdb, path: '/dev/null/kv'")) as t:
        t.start(wait=False)
        assert t.process.wait(60 * SLOW) != 0
        t.process = None
        assert "/dev/null/kv" in t.log_text(), t.log_text()


def test_dnsbl_with_a_real_server():
    need("knotd")
    zones = {"a.bl.test": "2.0.0.127 A 127.0.0.2\n5.0.0.127 A 127.255.255.254\n",
             "b.bl.test": "3.0.0.127 A 127.0.0.4\n"}
    with Knot(zones) as k, Tern(fill(BL, "a.bl.test, b.bl.test", ""), dns=k.port, wait="10s").start() as t:
        code, text = rcpt(t, source="127.0.0.2")
        assert (code, text.startswith("5.7.1 Client [127.0.0.2] is listed by a.bl.test")) == (550, True), text
        code, text = rcpt(t, source="127.0.0.3")
        assert code == 550 and "b.bl.test" in text, text
        code, text = rcpt(t, source="127.0.0.4")
        assert code == 250, text
        code, text = rcpt(t, source="127.0.0.5")  # "you may not ask": no listing
        assert code == 250, text
        sent = t.metric("tern_dns_packets_total")
        assert sent >= 8, sent
        rcpt(t, source="127.0.0.2")  # known: asked again only after its 5 s
        assert t.metric("tern_dns_packets_total") <= sent + 2


def test_dnsbl_codes_and_tag():
    need("knotd")
    with Knot({"a.bl.test": "2.0.0.127 A 127.0.0.2\n3.0.0.127 A 127.0.0.9\n"}) as k:
        with Tern(fill(BL, "a.bl.test", ", codes: [127.0.0.2]"), dns=k.port, wait="10s").start() as t:
            assert rcpt(t, source="127.0.0.2")[0] == 550
            assert rcpt(t, source="127.0.0.3")[0] == 250
        with Tern(fill(BL, "a.bl.test", ", reject: false"), dns=k.port, wait="10s").start() as t:
            assert rcpt(t, source="127.0.0.2")[0] == 250


def test_dnsbl_silence_is_a_451():
    with Silent() as dns, Tern(fill(BL, "a.bl.test", ""), dns=dns.port, wait="300ms").start() as t:
        code, text = rcpt(t, source="127.0.0.2")
        assert code == 451 and text.startswith("4.3.0"), (code, text)


def test_dnsbl_one_of_two_answers():
    """A list that does not answer does not hide one that does."""
    need("knotd")
    with Knot({"a.bl.test": "2.0.0.127 A 127.0.0.2\n", "b.bl.test": None}) as k:
        with Tern(fill(BL, "b.bl.test, a.bl.test", ""), dns=k.port, wait="10s").start() as t:
            code, text = rcpt(t, source="127.0.0.2")
            assert code == 550 and "a.bl.test" in text, (code, text)
            assert rcpt(t, source="127.0.0.4")[0] == 250


if __name__ == "__main__":
    run([test_greylist_over_a_restart, test_greylist_over_kill_9, test_memory_forgets, test_kv_path_that_cannot_be,
         test_dnsbl_with_a_real_server, test_dnsbl_codes_and_tag, test_dnsbl_silence_is_a_451,
         test_dnsbl_one_of_two_answers])
