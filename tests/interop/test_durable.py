#!/usr/bin/python3
"""No 250 at the dot before the fdatasync that covers the message: seen from outside, by strace."""
import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, need, run, wait_for

CONFIG = """
hostname: mx.test
delivery: false
loops: 1
limits: { sessions_per_address: 100 }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org] }
routes: [{ class: local, transport: lmtp, to: ["127.0.0.1:24"] }]
"""
MAILS = 20
SESSIONS = 4


def load(port, size):
    c = Client(port)
    for i in range(MAILS):
        code, text = c.mail("a@client.example", ["b@example.org"], "Subject: %d\n\n%s\n" % (i, "x" * size), helo="c" if i == 0 else None)
        assert code == 250, text
    c.close()


def all_traced(pid):
    """each thread is strace's"""
    return all("TracerPid:\t0\n" not in open("/proc/%d/task/%s/status" % (pid, task)).read() for task in os.listdir("/proc/%d/task" % pid))


def trace(size):
    """(time, thread, call) of the worker's writes, syncs and replies, in order of their end resp. begin."""
    with Tern(CONFIG) as t:
        t.start()
        out = os.path.join(t.dir, "strace")
        s = subprocess.Popen(["strace", "-f", "-tt", "-T", "-s", "200000", "-o", out, "-e",
                              "trace=pwritev,pwrite64,write,fdatasync,fsync,linkat,sendto,sendmsg", "-p", str(t.worker_pid())],
                             stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: all_traced(t.worker_pid()))
            threads = [threading.Thread(target=load, args=(t.port, size)) for _ in range(SESSIONS)]
            for th in threads:
                th.start()
            for th in threads:
                th.join()
        finally:
            s.terminate()
            s.wait(60 * SLOW)
        return open(out, errors="replace").read().splitlines()


IDS = re.compile(r"id ([0-9a-z]{13})\b")


def check(lines, big):
    """Each 250 comes after an fdatasync that began after the write of that message's record had ended."""
    written, durable, replies = set(), set(), 0
    begun = {}  # thread -> (call, what was written when it began)
    for line in lines:
        m = re.match(r"(\d+) +\S+ (.*)", line)
        if not m:
            continue
        tid, call = m.groups()
        before = set(written)
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
        if resumed:
            start, before = begun.pop(tid, ("", set()))
            call = start + resumed.group(1)
        else:
            for ident in re.findall(r"queued as ([0-9a-z]{13})", call) if call.startswith("send") else ():
                replies += 1
                assert ident in durable, "250 for %s before the fdatasync that covers it" % ident
            if "<unfinished ...>" in call:
                begun[tid] = (call.replace("<unfinished ...>", ""), before)
                continue
        if call.startswith("pwrite"):
            written |= set(IDS.findall(call))
        elif call.startswith("fdatasync") and "= 0" in call:
            durable |= before
    assert replies == MAILS * SESSIONS, "%d replies seen" % replies


def test_no_250_before_the_sync():
    need("strace")
    check(trace(2000), False)


def test_the_check_can_fail():
    """the same walk over a trace in which the sync is left out must complain"""
    try:
        check(['1 00:00 pwritev(5, "... id 0d2c1x6vg0000;", 1) = 1 <0.1>', '2 00:00 sendto(7, "250 2.0.0 Ok: queued as 0d2c1x6vg0000", 9) = 9'], False)
    except AssertionError as e:
        assert "before the fdatasync" in str(e)
        return
    raise AssertionError("it did not complain")


if __name__ == "__main__":
    run([test_no_250_before_the_sync, test_the_check_can_fail])
