#!/usr/bin/python3
"""kill -9 of worker or supervisor at a random moment, under load and with delivery running.

TERN_ROUNDS rounds (20) of one server and one spool. Promised: what got its 250 reaches the sink; the
sink sees a recipient twice only if its own 250 left less than 100 ms before a kill or was never read. Where a
sync of the disk took longer than NOISE_S in that round the window is longer by two of the longest, as it is a
group commit, which may have to wait for the one before it; the last line says how often that was needed.
Under sanitizers the window is $TERN_SLOW times as long.
TERN_SEED repeats a run's choices (the moments are the machine's).
"""
import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from sink import Sink
from ternlib import SLOW, Client, Tern, run, wait_for

ROUNDS = int(os.environ.get("TERN_ROUNDS", "20"))
SEED = int(os.environ.get("TERN_SEED", random.SystemRandom().randrange(1 << 32)))
SENDERS = 3
WINDOW_S = 0.1  # the promise
NOISE_S = 0.05
CONFIG = """
hostname: mx.test
loops: 2
spool: { path: "{dir}/spool", min_free: 1MB, segment_size: 256KB }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { local: [example.org] } ] }
limits: { messages: 0, commands: 1000000 }
retry: { min: 1s, max: 2s }
transports: { out: { type: smtp, to: [127.0.0.1], port: {sink} } }
routes: [ { class: local, transport: out } ]
log: { level: warning }
"""


class Load:
    """Senders that never give up; what they heard a 250 for is in `acknowledged`."""

    def __init__(self, port, seed):
        self.port = port
        self.acknowledged = set()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.send, args=(n, random.Random(seed + n))) for n in range(SENDERS)]
        for t in self.threads:
            t.start()

    def send(self, sender, rng):
        n = 0
        while not self.stop.is_set():
            try:
                n = self.session(sender, n, rng)
            except (OSError, EOFError, ValueError, IndexError):
                time.sleep(0.02)

    def session(self, sender, n, rng):
        client = Client(self.port)
        try:
            client.cmd("EHLO load.example")
            while not self.stop.is_set():
                n += 1
                ident = "%d-%d" % (sender, n)
                rcpts = ["a@example.org", "b@example.org"][:rng.choice((1, 2))]
                body = "X-Id: %s\n\n%s\n" % (ident, "x" * rng.choice((10, 3000, 30000)))
                try:
                    code, _ = client.mail("", rcpts, body, helo=None)
                except (OSError, EOFError, ValueError, IndexError):
                    return n
                if code == 250:
                    self.acknowledged.update((ident, r) for r in rcpts)
                elif code == 421:
                    return n
                time.sleep(0.005)
            return n
        finally:
            client.close()

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()


def kill_worker(t, kills):
    """The worker dies; the supervisor starts another."""
    pid = t.worker_pid()
    if pid is None:
        return
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: dead(pid), 5, every=0.0005)
    kills.append((begun, time.monotonic()))
    wait_for(lambda: t.worker_pid() not in (None, pid), 20)


def kill_supervisor(t, kills):
    """The supervisor dies, the worker with it; another is started."""
    worker = t.worker_pid()
    begun = time.monotonic()
    t.process.kill()
    t.process.wait()
    if worker is not None:
        wait_for(lambda: dead(worker), 5, every=0.0005)
    kills.append((begun, time.monotonic()))
    t.start(wait=False)
    wait_for(lambda: t.worker_pid() is not None, 20)


def dead(pid):
    """A zombie waits for whoever adopted it."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


class Disk:
    """How long a sync, and a thread that wants to run, take at this moment: on a busy machine it may be longer than the window."""

    def __init__(self, folder):
        self.took = []  # (begun, seconds) of each that took long
        self.stop = False
        self.fd = os.open(os.path.join(folder, "probe"), os.O_WRONLY | os.O_CREAT, 0o600)
        self.thread = threading.Thread(target=self.probe)
        self.thread.start()

    def probe(self):
        while not self.stop:
            begun = time.monotonic()
            os.pwrite(self.fd, b"x" * 4096, 0)
            os.fdatasync(self.fd)
            seconds = time.monotonic() - begun
            time.sleep(0.03)
            late = time.monotonic() - begun - seconds - 0.03  # threads wait for the processor, those of the server too
            if seconds + late > 0.01:
                self.took.append((begun, seconds + late))

    def longest(self, since, until):
        return max((s for begun, s in self.took if begun < until and begun + s > since), default=0)

    def end(self):
        self.stop = True
        self.thread.join()
        os.close(self.fd)


def window(d, kills, n, disk):
    """How long before the n-th kill its 250 may have left."""
    begun, since = kills[n][0], kills[n - 1][0] if n > 0 else 0
    slow = disk.longest(min(since, d.answered), begun) >= NOISE_S
    return WINDOW_S * SLOW + (2 * disk.longest(d.answered, begun) if slow else 0)


def has_excuse(d, kills, disk):
    """A kill came within the window after its 250, or ended the connection before that was read. By how much it needed a
    longer window than was promised; None: no excuse.

    A kill is an interval: threads run on for a moment, a worker until it has heard of its supervisor's death.
    A worker that lives says QUIT or the next command; octets of a dead one may still be in the socket.
    """
    if d.heard is None:
        return 0 if any(gone >= d.connected for _, gone in kills) else None
    for n, (begun, gone) in enumerate(kills):
        if gone >= d.answered and begun - d.answered < window(d, kills, n, disk):
            return max(0, begun - d.answered - WINDOW_S * SLOW)
    return None


def judge_twice(sink, kills, disk):
    """How many came twice; the ones that must not; for each that was excused by a slow disk only, by how much."""
    twice, wrong, slow = 0, [], []
    for key, deliveries in sink.got.items():
        for d in deliveries[:-1]:
            twice += 1
            over = has_excuse(d, kills, disk)
            if over is None:
                nearest = min((begun - d.answered for begun, gone in kills if gone >= d.answered), default=None)
                wrong.append((key, len(deliveries), nearest, d.heard - d.answered if d.heard else None))
            elif over > 0:
                slow.append(over)
    return twice, wrong, slow


def test_the_judge():
    """What is an excuse of a 250 that was read, and left so long before the kill."""
    class Told:
        def __init__(self, seconds):
            self.connected, self.answered, self.heard = 4, 10 - seconds, 10 - seconds

    disk = Disk.__new__(Disk)
    w = WINDOW_S * SLOW
    for name, before, sync, want in (("within the window", w - 0.01, 0, 0), ("one before the window", w + 0.02, 0, None),
                                     ("a sync that is no excuse", w + 0.02, NOISE_S - 0.01, None),
                                     ("a sync of that round", w + 0.02, NOISE_S + 0.01, 0.02),
                                     ("longer than two syncs", w + 0.2, NOISE_S + 0.01, None)):
        disk.took = [(10 - before, sync)]
        got = has_excuse(Told(before), [(1, 1.01), (10, 10.01)], disk)
        assert got == want or (got and want and abs(got - want) < 1e-6), (name, got, want)
    disk.took = [(5, 1)]  # long over when its 250 left: the round was slow, the window is none the longer
    assert has_excuse(Told(w + 0.02), [(1, 1.01), (10, 10.01)], disk) is None


def test_kill():
    print("TERN_SEED=%d TERN_ROUNDS=%d" % (SEED, ROUNDS), flush=True)
    rng = random.Random(SEED)
    chance = random.Random(SEED + 1000)
    sink = Sink(defer=lambda rcpt: chance.random() < 0.03)
    kills = []
    with Tern(CONFIG, sink=sink.port) as t:
        with open(t.rules, "a") as f:
            f.write("restart_ms 50 100\n")
        t.start()
        disk = Disk(t.dir)
        load = Load(t.port, SEED)
        try:
            for n in range(ROUNDS):
                time.sleep(rng.uniform(0, 0.6))  # often in the middle of recovery, too
                if n % 3 == 0:  # on a busy machine always in the middle of it: there has to be something to lose
                    before = len(load.acknowledged)
                    wait_for(lambda: len(load.acknowledged) > before + 3)
                (kill_worker if rng.random() < 0.6 else kill_supervisor)(t, kills)
        finally:
            load.end()
            disk.end()
        missing = lambda: [k for k in load.acknowledged if not sink.has(k)]
        try:
            wait_for(lambda: t.is_up() and not missing(), 60, every=0.2)
        except AssertionError:
            raise AssertionError("lost: %s of %d" % (sorted(missing())[:10], len(load.acknowledged)))
        wait_for(lambda: t.queue() == [], 60, every=0.5)
        assert t.stop() == 0
        fsck = t.cli("queue", "fsck", check=False)
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr
        twice, wrong, slow = judge_twice(sink, kills, disk)
        sink.close()
        print("%d kills, %d recipients acknowledged, %d delivered, %d twice; the longest sync took %d ms" %
              (len(kills), len(load.acknowledged), len(sink.got), twice, disk.longest(0, time.monotonic()) * 1000),
              flush=True)
        print("excused by a sync of more than %d ms: %d%s" %
              (NOISE_S * 1000, len(slow), ", the 250 up to %d ms before the kill" % ((WINDOW_S * SLOW + max(slow)) * 1000) if slow else ""),
              flush=True)
        assert len(load.acknowledged) > ROUNDS, "too little load to mean anything"
        assert not wrong, "twice without excuse: %s" % wrong[:10]


if __name__ == "__main__":
    run([test_the_judge, test_kill])
