#!/usr/bin/python3
"""idle.py - what idle sessions cost: clients that greet and then say nothing, in a process of their own.

    idle.py PORT COUNT plain|starttls    the clients: says "ready" when all have greeted, and leaves when stdin ends

bench.py measures with it: the worker's PSS before and SETTLE_S behind the last greeting, and how long a new client waits for
its own meanwhile. Each process needs a descriptor a session. The handshakes are whole ones; no session is resumed.
"""
import os
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time

SETTLE_S = 30
GREETED = 50
THREADS = 4
PER_ADDRESS = 5000  # clients from one loopback address: ports are not without end


def hello(sock):
    """EHLO, and the whole of its reply."""
    sock.sendall(b"EHLO client.example\r\n")
    said = b""
    while not (said.endswith(b"\r\n") and said.rsplit(b"\r\n", 2)[-2].startswith(b"250 ")):
        got = sock.recv(4096)
        assert got, said
        said += got


def session(port, n, tls):
    s = socket.create_connection(("127.0.0.1", port), 60, source_address=("127.0.0.%d" % (2 + n // PER_ADDRESS), 0))
    assert s.recv(200).startswith(b"220 ")
    hello(s)
    if tls is not None:
        s.sendall(b"STARTTLS\r\n")
        assert s.recv(200).startswith(b"220 ")
        s = tls.wrap_socket(s)
        hello(s)
    return s


def run_clients(port, count, kind):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tls = None
    if kind == "starttls":
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    socks, numbers, lock = [], iter(range(count)), threading.Lock()

    def some():
        while True:
            with lock:
                n = next(numbers, None)
            if n is None:
                return
            socks.append(session(port, n, tls))
    threads = [threading.Thread(target=some) for _ in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if len(socks) != count:
        sys.exit("only %d of %d" % (len(socks), count))
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)  # closing them one by one takes longer


def pss_kb(pid):
    """In all, and without the pages of files: these are shared with whoever uses the same libraries, and count more
    when another process on the machine ends."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        kb = {line.split(":")[0]: int(line.split()[1]) for line in f if line.startswith("Pss")}
    return kb["Pss"], kb.get("Pss_Anon", kb["Pss"])


def greeting_ms(port):
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 30) as s:
        assert s.recv(200).startswith(b"220 ")
        return (time.monotonic() - begin) * 1000


def measure(port, worker, count, kind, settle_s=SETTLE_S):
    """A server on `port` with the process `worker`: {"kb": a session, "pss_kb": with files, "greeted_ms", "greeted_worst_ms"}."""
    for _ in range(20):
        greeting_ms(port)
    time.sleep(1)
    before = pss_kb(worker)
    clients = subprocess.Popen([sys.executable, os.path.abspath(__file__), str(port), str(count), kind], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        if clients.stdout.readline() != "ready\n":
            raise SystemExit("idle.py: the clients did not get ready")
        time.sleep(settle_s)
        grown = [now - then for now, then in zip(pss_kb(worker), before)]
        waits = [greeting_ms(port) for _ in range(GREETED)]
    finally:
        clients.stdin.close()
        clients.wait()
    return {"sessions": count, "kb": grown[1] / count, "pss_kb": grown[0] / count, "before_kb": before[0], "greeted_ms": statistics.median(waits),
            "greeted_worst_ms": max(waits)}


if __name__ == "__main__":
    run_clients(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
