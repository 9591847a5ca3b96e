#!/usr/bin/python3
"""Thousands of clients that are a burden, each in a way of its own (test_abuse): a new one is greeted as soon as ever.

Runs alone: it measures how soon.
"""
import os
import resource
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, certificates_for, free_port, run

CONFIG = """
hostname: mx.test
loops: 2
drain: 0s
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { local: [example.org], recipients: [alice@example.org] } ] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
"""
MANY = int(os.environ.get("TERN_ABUSERS", "300"))
GREETED_S = 0.1


def client_hello():
    """what a client that can do TLS says first"""
    out = ssl.MemoryBIO()
    c = ssl.create_default_context()
    try:
        c.wrap_bio(ssl.MemoryBIO(), out, server_hostname="mx.test").do_handshake()
    except ssl.SSLWantReadError:
        return out.read()


CLIENT_HELLO = client_hello()


def connect(t, host="127.0.0.1"):
    s = socket.create_connection(("127.0.0.1", t.port), 20 * SLOW, source_address=(host, 0))
    s.settimeout(20 * SLOW)
    return s


def test_others_are_greeted():
    """Senders of an octet a second, silent ones, deaf ones, handshakes that stand still: a new client is greeted within 100 ms."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 4 * MANY + 200
    if hard != resource.RLIM_INFINITY and hard < want:
        print("     at most %d descriptors here: left out" % hard)
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, want), hard))
    config = CONFIG.replace("listeners: {", 'certificates: [ { cert: mx.pem, key: mx.key } ]\n'
                            'listeners: { mxs: { bind: "127.0.0.1:{tls}", policy: inbound, tls: implicit },')
    config += "limits: { sessions: 20000, sessions_per_address: 20000, commands: 1000000 }\nlog: { level: warning }\n"
    t = Tern(config, tls=free_port())
    certificates_for(config, t.dir)
    with t.start():
        stuck = []
        for n in range(MANY):
            s = socket.create_connection(("127.0.0.1", t.values["tls"]), 20 * SLOW)
            s.send(CLIENT_HELLO[:n % len(CLIENT_HELLO)])
            stuck.append(s)
        slow = [connect(t) for _ in range(MANY)]
        silent = [connect(t) for _ in range(MANY)]
        deaf = []
        for _ in range(MANY):
            s = connect(t)
            s.setblocking(False)
            deaf.append(s)
        for s in slow:
            assert s.recv(200).startswith(b"220 ")
        for s in deaf:
            try:
                s.send(b"EHLO deaf.example\r\n" * 5000)
            except OSError:
                pass
        def greet():
            took = []
            for second in range(3):
                for s in slow:
                    s.send(b"N")
                for _ in range(10):
                    start = time.monotonic()
                    c = Client(t.port)
                    took.append(time.monotonic() - start)
                    assert c.cmd("QUIT")[0] == 221
                    c.close()
                    time.sleep(0.05)
            took.sort()
            return took[len(took) * 9 // 10 - 1], took[-1], took
        # The machine may be busy with other work: it may spoil a measurement, hardly four.
        for tries in range(4):
            usual, worst, took = greet()
            if usual < GREETED_S * SLOW and worst < 10 * GREETED_S * SLOW:
                break
        print("     %d slow, %d silent, %d deaf, %d handshakes that stand still: nine of ten greeted within %.1f ms, the last within %.1f ms" %
              (MANY, MANY, MANY, MANY, usual * 1000, worst * 1000))
        assert usual < GREETED_S * SLOW and worst < 10 * GREETED_S * SLOW, took
        assert t.status()["sessions"] >= 4 * MANY, "and nobody was thrown out for it"
        for s in slow + silent + deaf + stuck:
            s.close()


if __name__ == "__main__":
    run([test_others_are_greeted])
