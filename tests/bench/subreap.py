#!/usr/bin/python3
"""subreap.py COMMAND...: runs it and adopts every daemon it makes, so that the CPU of all of them, living or reaped,
is in this process's tree and in its own children's times. Ends when stdin is closed: then it stops all of the tree."""
import ctypes
import os
import select
import signal
import subprocess
import sys

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
if os.environ.get("TERN_BENCH_CGROUP"):
    with open(os.path.join(os.environ["TERN_BENCH_CGROUP"], "cgroup.procs"), "w") as f:
        f.write(str(os.getpid()))
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
while True:
    ready, _, _ = select.select([0], [], [], 0.2)
    if ready and not os.read(0, 1):
        break
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def children():
    with open("/proc/%d/task/%d/children" % (os.getpid(), os.getpid())) as f:
        return [int(p) for p in f.read().split()]


for sig in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
    for pid in children():
        os.kill(pid, sig)
    for _ in range(100):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            sys.exit(0)
        select.select([], [], [], 0.05)
