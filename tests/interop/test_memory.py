#!/usr/bin/python3
"""What things cost in memory: idle sessions, a big message, a long queue. Measured in the worker's PSS and VmHWM.

Runs alone: it measures memory and how soon a client is greeted.
"""
import os
import re
import resource
import signal
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BUILD, Client, Tern, certificates_for, run, wait_for

IDLE = 2000
IDLE_KB_EACH = 1.5
IDLE_PSS_KB_EACH = 2.0  # 10,000: bench/bench.py idle-10000 idle-10000-tls
IDLE_TLS = 300
IDLE_TLS_KB_EACH = 18  # 14; 23 if OpenSSL kept its buffers
BIG_OCTETS = 50 << 20
BIG_KB_MORE = 2048
DEFERRED = int(os.environ.get("TERN_DEFERRED", "20000"))
DEFERRED_KB_MORE = 60 << 10
CONFIG = """
hostname: mx.test
loops: 2
drain: 0s
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { local: [example.org] } ] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
limits: { messages: 0, commands: 1000000, sessions: 10000, sessions_per_address: 10000 }
log: { level: warning }
"""


def skip_under_sanitizers():
    with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
        if re.search(r"^TERN_SANITIZER[^=]*=.+$", f.read(), re.M):
            print("SKIP: a sanitizer's memory is not ours to measure")
            sys.exit(77)


def pss_kb(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return next(int(l.split()[1]) for l in f if l.startswith("Pss:"))


def own_kb(pid):
    """PSS without the pages of files: those count more when another process that uses the same libraries ends."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return next(int(l.split()[1]) for l in f if l.startswith("Pss_Anon:"))


def peak_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(l.split()[1]) for l in f if l.startswith("VmHWM:"))


def warm_up(t, n=20):
    c = Client(t.port)
    for _ in range(n):
        assert c.mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250
    c.cmd("QUIT")
    c.close()
    wait_for(lambda: t.status()["sessions"] == 0 and t.queue() == [])


def test_idle_sessions():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 200:
        print("     at most %d descriptors here: left out" % hard)
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + 200), hard))
    with Tern(CONFIG).start() as t:
        warm_up(t)
        worker = t.worker_pid()
        before, pss_before = own_kb(worker), pss_kb(worker)
        socks = []
        for _ in range(IDLE):
            s = socket.create_connection(("127.0.0.1", t.port), 30)
            s.settimeout(30)
            assert s.recv(200).startswith(b"220 ")
            s.sendall(b"EHLO client.example\r\n")
            assert b"250 " in s.recv(1000)
            socks.append(s)
        assert t.status()["sessions"] == IDLE
        grown, pss_grown = own_kb(worker) - before, pss_kb(worker) - pss_before
        print("     %d idle sessions: %d KB, %.2f KB each; PSS %.2f KB" % (IDLE, grown, grown / IDLE, pss_grown / IDLE))
        for s in socks:
            s.close()
        assert grown <= IDLE * IDLE_KB_EACH, grown
        assert pss_grown <= IDLE * IDLE_PSS_KB_EACH, pss_grown


def starttls(t, context):
    s = socket.create_connection(("127.0.0.1", t.port), 30)
    s.settimeout(30)
    assert s.recv(200).startswith(b"220 ")
    for said, answer in ((b"EHLO client.example\r\n", b"250 "), (b"STARTTLS\r\n", b"220 ")):
        s.sendall(said)
        assert answer in s.recv(1000)
    s = context.wrap_socket(s)
    s.sendall(b"EHLO client.example\r\n")
    assert b"250 " in s.recv(1000)
    return s


def test_idle_sessions_under_tls():
    """Behind a handshake OpenSSL gives its buffers back."""
    config = CONFIG.replace("policy: inbound }", "policy: inbound, tls: starttls }") + "certificates: [ { cert: mx.pem, key: mx.key } ]\n"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    t = Tern(config)
    certificates_for(config, t.dir)
    with t.start():
        for s in [starttls(t, context) for _ in range(40)]:
            s.close()
        wait_for(lambda: t.status()["sessions"] == 0)
        worker = t.worker_pid()
        before = own_kb(worker)
        socks = [starttls(t, context) for _ in range(IDLE_TLS)]
        assert t.status()["sessions"] == IDLE_TLS
        grown = own_kb(worker) - before
        print("     %d idle sessions under TLS: %d KB, %.2f KB each" % (IDLE_TLS, grown, grown / IDLE_TLS))
        for s in socks:
            s.close()
        assert grown <= IDLE_TLS * IDLE_TLS_KB_EACH, grown


def send_big(t, octets):
    c = Client(t.port)
    c.cmd("EHLO client.example")
    c.cmd("MAIL FROM:<a@client.example>")
    c.cmd("RCPT TO:<alice@example.org>")
    assert c.cmd("DATA")[0] == 354
    c.send("Subject: big\r\n\r\n")
    block = (b"x" * 76 + b"\r\n") * 800
    for _ in range(octets // len(block)):
        c.send(block)
    c.send(".\r\n")
    code, text = c.reply()
    assert code == 250, (code, text)
    c.cmd("QUIT")
    c.close()


def test_big_message():
    """Taken, stored, delivered; each in a server of its own, as a peak never falls."""
    peaks = []
    for octets in (62400, BIG_OCTETS - (1 << 20)):
        with Tern(CONFIG).start() as t:
            warm_up(t)
            send_big(t, octets)
            wait_for(lambda: t.queue() == [], 60)
            assert len(max(t.maildir("alice"), key=len)) > octets * 0.9
            peaks.append(peak_kb(t.worker_pid()))
    print("     peak with a small message %d KB, with %d MB %d KB" % (peaks[0], BIG_OCTETS >> 20, peaks[1]))
    assert peaks[1] - peaks[0] <= BIG_KB_MORE, peaks


def fill(t, count):
    """`count` messages of one recipient, over a few sessions, pipelined in bunches."""
    bunch = (b"MAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" +
             b"Subject: deferred\r\n\r\nx\r\n.\r\n")
    clients = [Client(t.port) for _ in range(20)]
    for c in clients:
        c.cmd("EHLO client.example")
    left = count
    while left > 0:
        for c in clients:
            c.send(bunch * 10)
        for c in clients:
            for _ in range(10):
                codes = [c.reply()[0] for _ in range(4)]
                assert codes == [250, 250, 354, 250], codes
        left -= 10 * len(clients)
    for c in clients:
        c.close()


def test_deferred_messages():
    config = CONFIG.replace("transport: mailboxes }", "defer: \"not now\" }")
    with Tern(config).start() as t:
        warm = Client(t.port)
        assert warm.mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250
        warm.close()
        before = pss_kb(t.worker_pid())
        start = time.monotonic()
        fill(t, DEFERRED)
        took = time.monotonic() - start
        wait_for(lambda: t.metric("tern_queue_messages") >= DEFERRED, 60)
        wait_for(lambda: t.status()["preparing"] == 0, 300, every=1)
        running = pss_kb(t.worker_pid()) - before
        # And as a new server finds them.
        t.stop(signal.SIGKILL)
        start = time.monotonic()
        t.start()
        restart = time.monotonic() - start
        wait_for(lambda: t.metric("tern_queue_messages") >= DEFERRED, 60)
        found = pss_kb(t.worker_pid()) - before
        print("     %d deferred: %d KB more while running, %d KB more after a restart; taken in %.1f s, found in %.1f s" %
              (DEFERRED, running, found, took, restart))
        assert max(running, found) <= DEFERRED_KB_MORE * DEFERRED // 100000, (running, found)


if __name__ == "__main__":
    skip_under_sanitizers()
    run([test_idle_sessions, test_idle_sessions_under_tls, test_big_message, test_deferred_messages])
