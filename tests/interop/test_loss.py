#!/usr/bin/python3
"""What was answered with 250 is delivered, whole: sizes at the bounds, damage, disks that fail, two owners."""
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, dotted, need, queue_id, run, some, wait_for

RECIPIENTS = some(100000, 10000)
BASE = """
hostname: mx.test
limits: { recipients: %d, message_size: 60MB }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%%{user}" }
""" % RECIPIENTS
POLICY = """
policies:
  inbound:
    - domains: { local: [example.org] }
"""
ROUTE = """
routes:
  - { class: local, transport: mailboxes }
"""
CONFIG = BASE + POLICY + ROUTE
HELD_BACK = CONFIG + "delivery: false\n"
MEGABYTE = 1 << 20


def send(port, body, rcpts=("alice@example.org",)):
    c = Client(port)
    got = c.mail("a@client.example", rcpts, body)
    c.close()
    return got


def let_go(t, config=CONFIG):
    t.write_config(config)
    t.cli("reload")


def restart(t, config=CONFIG):
    t.stop(signal.SIGKILL)
    t.write_config(config)
    t.start()


def test_bodies_around_a_megabyte_survive_a_crash():
    """In memory up to 1 MB, above it in a file of its own."""
    fixed = len(b"Subject: 0\r\n\r\n")
    bodies = []
    with Tern(HELD_BACK) as t:
        t.start()
        for octets in (MEGABYTE - 1, MEGABYTE, MEGABYTE + 1, 3 * MEGABYTE + 7):
            lines, rest = divmod(octets - fixed, 64)
            rest += 64 if rest < 3 else 0  # the last line is at least one octet and CRLF
            lines = (octets - fixed - rest) // 64
            text = b"Subject: %d\r\n\r\n" % len(bodies) + (b"%061d!\r\n" % octets) * lines + b"." + b"e" * (rest - 3) + b"\r\n"
            assert len(text) == octets, (len(text), octets)
            code, reply = send(t.port, text)
            assert code == 250, reply
            bodies.append(text.replace(b"\r\n", b"\n"))
        restart(t)
        wait_for(lambda: len(t.maildir("alice")) == len(bodies), 30)
        got = sorted(m[m.index(b"Subject: "):] for m in t.maildir("alice"))
        assert got == bodies
        wait_for(lambda: t.queue() == [])
        wait_for(lambda: os.listdir(os.path.join(t.dir, "spool", "big")) == [])


def rcpts_of_full_length(c, count):
    domain = "@" + ".".join(["d" * 60] * 3) + ".org"
    for first in range(0, count, 500):
        c.send("".join("RCPT TO:<%064d%s>\r\n" % (n, domain) for n in range(first, first + 500)))
        for _ in range(500):
            code, text = c.reply()
            assert code == 250, text


def test_as_many_recipients_as_may_be_of_full_length():
    config = BASE + POLICY.replace("example.org", ".".join(["d" * 60] * 3) + ".org") + """
watchdog: 5m
routes:
  - { class: local, discard: "a test" }
"""
    with Tern(config) as t:  # a visit of it takes a loop a while on a busy machine
        t.start()
        c = Client(t.port)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")
        rcpts_of_full_length(c, RECIPIENTS)
        code, text = c.cmd("RCPT TO:<one.more@%s.org>" % ".".join(["d" * 60] * 3))
        assert code == 452, text
        assert c.cmd("DATA")[0] == 354
        c.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        code, text = c.reply()
        assert code == 250, text
        c.close()
        wait_for(lambda: t.log_text().count(" discarded to=") >= 2000, 60)  # two visits
        assert " error " not in t.log_text(), t.log_text()[-2000:]


MUCH = """
#include <tern/module.h>
#include <string.h>
static const struct tern_api *tern;
static tern_verdict on_data(tern_call *call, const void *conf)
{
    static char value[65000];
    (void)conf;
    memset(value, 'x', sizeof(value));
    for (unsigned i = 0; i < 122; i++)
        (void)tern->set_var(call, tern->format(call, "%.*s%u", (int)tern->step_name(call).len, tern->step_name(call).ptr, i).ptr,
                            (tern_str){ value, sizeof(value) });
    return TERN_NEXT;
}
static int init(const struct tern_api *api, void **state) { tern = api; *state = NULL; return 0; }
static const struct tern_hook hooks[] = { { TERN_HOOK(DATA, on_data) }, TERN_HOOKS_END };
TERN_MODULE(.name = "much", .summary = "Sets 8 MB of variables.", .hooks = hooks, .init = init)
"""


def test_an_envelope_that_cannot_be_read_again_is_refused():
    """Variables are stored with the message: a step sets at most 8 MB of them, nine steps more than is read."""
    steps = "".join("    - much: { name: much%d }\n" % i for i in range(9))
    with Tern('module_path: "{dir}/modules"\n' + CONFIG.replace("    - domains", steps + "    - domains")) as t:
        t.add_modules(much=MUCH)
        t.start()
        code, text = send(t.port, "Subject: x\n\nx\n")
        assert code == 452 and text.startswith("4.5.3"), (code, text)
        assert t.queue() == []


def test_a_body_that_vanished_is_told_and_stays():
    """Somebody removes a file of the queue: the message is in the queue and in the log, not silently gone."""
    with Tern(HELD_BACK) as t:
        t.start()
        code, text = send(t.port, "Subject: big\n\n" + ("y" * 70 + "\n") * 30000)
        assert code == 250, text
        big = os.path.join(t.dir, "spool", "big")
        path = os.path.join(big, os.listdir(big)[0])
        os.rename(path, os.path.join(t.dir, "aside"))
        let_go(t)
        wait_for(lambda: "%s spool text=\"a due message cannot be read" % queue_id(text) in t.log_text())
        is_listed_as_unreadable(t, queue_id(text))
        os.rename(os.path.join(t.dir, "aside"), path)
        t.cli("queue", "retry", queue_id(text))
        wait_for(lambda: t.queue() == [] and len(t.maildir("alice")) == 1)


def is_listed_as_unreadable(t, *ids):
    why = ["big/%s: No such file or directory" % i for i in ids]
    assert [(m["from"], m["rcpts"][0]["address"], m["unreadable"]) for m in t.queue()] == [
        ("a@client.example", "alice@example.org", w) for w in why], t.queue()
    for i, w in zip(ids, why):
        assert "cannot be read: " + w in t.cli("queue", "list").stdout
        shown = t.cli("queue", "show", i).stdout
        assert "cannot be read: " + w in shown and "<alice@example.org>" in shown, shown


def test_bodies_that_are_gone_at_the_start():
    """The same as while it runs: told, listed, named by fsck; delivered if the file comes back, else the operator's."""
    with Tern(CONFIG) as t:
        t.write_config(HELD_BACK)
        t.start()
        ids = [queue_id(send(t.port, "Subject: %d\n\n" % n + ("y" * 70 + "\n") * 20000)[1]) for n in range(4)]
        path = [os.path.join(t.dir, "spool", "big", i) for i in ids]
        aside = [os.path.join(t.dir, i) for i in ids]
        t.stop()
        for here, there in zip(path[1:], aside[1:]):
            os.rename(here, there)
        found = t.cli("queue", "fsck", check=False)
        assert found.returncode == 1, found
        assert all(i in found.stdout for i in ids[1:]) and ids[0] not in found.stdout, found.stdout
        t.write_config(CONFIG)
        t.start()
        wait_for(lambda: len(t.queue()) == 3)
        for i in ids[1:]:
            assert len(re.findall("message %s cannot be read: big/%s: No such file" % (i, i), t.log_text())) == 1
        is_listed_as_unreadable(t, *ids[1:])
        t.cli("queue", "delete", ids[3])
        os.rename(aside[1], path[1])
        t.cli("queue", "retry", ids[1])
        wait_for(lambda: [m["id"] for m in t.queue()] == [ids[2]])
        is_listed_as_unreadable(t, ids[2])
        t.stop()
        os.rename(aside[2], path[2])
        t.start()
        wait_for(lambda: t.queue() == [] and len(t.maildir("alice")) == 3)
        t.stop()
        assert t.cli("queue", "fsck").returncode == 0


WAITING = BASE.replace("transports:", "transports:\n  next: { type: smtp, connections_max: 1 }") + POLICY + """
routes:
  - { class: local, transport: next, to: "127.0.0.1:{next}" }
"""


def is_silent_after_data(listening):
    """A next hop that takes a message and never says whether it has it."""
    peers = []
    while True:
        try:
            peers.append(listening.accept()[0])
            peers[-1].sendall(b"220 next.test\r\n")
            for line in peers[-1].makefile("rb"):
                peers[-1].sendall(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 next.test\r\n")
                if line.startswith(b"DATA"):
                    break
        except OSError:
            return


def open_bodies(t):
    folder, count = "/proc/%d/fd" % t.worker_pid(), 0
    for name in os.listdir(folder):
        try:
            count += "/spool/big/" in os.readlink(os.path.join(folder, name))
        except OSError:
            pass  # closed meanwhile
    return count


def test_big_mails_that_wait_hold_nothing_open():
    """Behind a busy next hop: a descriptor is for who reads a body, and the others wait without."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(10)
        threading.Thread(target=is_silent_after_data, args=(listening,), daemon=True).start()
        with Tern(WAITING, next=listening.getsockname()[1]) as t:
            t.start()
            for n in range(10):
                assert send(t.port, "Subject: %d\n\n" % n + ("y" * 70 + "\n") * 15000)[0] == 250
            for _ in range(2):
                wait_for(lambda: t.metric("tern_queue_ready") == 9 and open_bodies(t) == 1, 30)
                assert len(t.queue()) == 10
                t.stop(signal.SIGKILL)
                t.start()
            t.stop(signal.SIGKILL)  # it would wait for the next hop
        listening.shutdown(socket.SHUT_RDWR)


def test_a_client_that_leaves_before_the_250():
    """Its message is delivered (RFC 1047), and log and record know of it."""
    with Tern(CONFIG) as t:
        t.start()
        accepted = lambda: re.findall(r" ([0-9a-z]{13}) accepted ", t.log_text())
        for n in range(200):
            c = Client(t.port)
            for line in ("EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<alice@example.org>"):
                assert c.cmd(line)[0] == 250
            assert c.cmd("DATA")[0] == 354
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            c.send("Subject: %d\r\n\r\nx\r\n.\r\n" % n)
            time.sleep(n // 20 * 0.002)  # a reset that is seen before the mail was read takes it along
            c.close()
            if n >= 19 and n % 20 == 19 and accepted():
                break
        wait_for(lambda: t.metric("tern_sessions") == 0 and t.queue() == [])
        delivered = lambda: re.findall(r" ([0-9a-z]{13}) delivered ", t.log_text())
        wait_for(lambda: delivered() and sorted(delivered()) == sorted(accepted()))
        wait_for(lambda: any(r.get("stored") for r in t.why(delivered()[-1])))


class Strace:
    """strace at the worker, with a filter; ends with the block."""

    def __init__(self, t, *options):
        need("strace")
        self.t, self.out = t, os.path.join(t.dir, "strace")
        self.process = subprocess.Popen(["strace", "-f", "-y", "-o", self.out, *options, "-p", str(t.worker_pid())],
                                        stderr=subprocess.PIPE, text=True)
        said = self.process.stderr.readline()
        if "attached" not in said:
            self.process.kill()
            print("SKIP: strace cannot attach here: " + said.strip())
            sys.exit(77)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60 * SLOW)
        self.process.stderr.close()

    def lines(self):
        return open(self.out, errors="replace").read().splitlines()


def test_maildir_when_the_disk_fails():
    """What could not be made durable is no copy: it is delivered again, and is there once."""
    need("strace")
    with Tern(CONFIG + "retry: { min: 1h }\n") as t:
        t.start()
        new = os.path.join(t.dir, "mail", "alice", "new")
        tmp = os.path.join(t.dir, "mail", "alice", "tmp")
        assert send(t.port, "Subject: first\n\nx\n")[0] == 250
        wait_for(lambda: len(t.maildir("alice")) == 1 and t.queue() == [])
        for n, (call, where) in enumerate((("renameat", ()), ("fsync", ("-P", new)))):
            with Strace(t, "-e", "trace=" + call, *where, "-e", "inject=%s:error=EIO" % call) as s:
                code, text = send(t.port, "Subject: %s\n\nx\n" % call)
                assert code == 250, text
                ident = queue_id(text)
                wait_for(lambda: "%s deferred" % ident in t.log_text(), 20)
                assert any("INJECTED" in line for line in s.lines()), s.lines()
            assert len(t.maildir("alice")) == n + 1 and os.listdir(tmp) == [], (call, os.listdir(new), os.listdir(tmp))
            t.cli("queue", "retry", ident)
            wait_for(lambda: t.queue() == [])
            assert len(t.maildir("alice")) == n + 2, call


def test_a_new_maildir_is_durable_with_its_name():
    """A folder that is made is nothing until the one above it is synced."""
    need("strace")
    with Tern(CONFIG) as t:
        t.start()
        mail = os.path.join(t.dir, "mail")
        with Strace(t, "-e", "trace=mkdir,mkdirat,fsync,renameat") as s:
            assert send(t.port, "Subject: x\n\nx\n")[0] == 250
            wait_for(lambda: t.queue() == [])
        lines = [line for line in s.lines() if t.dir in line]
        made = [i for i, line in enumerate(lines) if "mkdir" in line and " = 0" in line]
        renamed = next(i for i, line in enumerate(lines) if "renameat(" in line)
        for folder, above in ((mail, t.dir), (mail + "/alice", mail)):
            first = next(i for i in made if '"%s"' % folder in lines[i])
            assert any("fsync(" in line and "<%s>" % above in line for line in lines[first:renamed]), lines


def test_a_new_spool_is_durable_with_its_name():
    """As a Maildir is: the folder that holds what was acknowledged must itself be there after a crash."""
    need("strace")
    with Tern(HELD_BACK) as t:  # no Maildir is made beside it
        out = os.path.join(t.dir, "strace")
        if subprocess.run(["strace", "-D", "-o", out, "true"], capture_output=True).returncode != 0:
            print("     strace cannot trace here: not seen")
            return
        t.start(wrap=("env", "LSAN_OPTIONS=detect_leaks=0", "strace", "-D", "-f", "-y", "-o", out, "-e", "trace=mkdir,mkdirat,fsync"))
        assert send(t.port, "Subject: x\n\nx\n")[0] == 250
        t.stop()
        lines = open(out, errors="replace").read().splitlines()
        made = next(i for i, line in enumerate(lines) if '"%s/spool", ' % t.dir in line and " = 0" in line)
        assert any("fsync(" in line and "<%s>" % t.dir in line for line in lines[made:]), lines


if __name__ == "__main__":
    run([test_bodies_around_a_megabyte_survive_a_crash, test_as_many_recipients_as_may_be_of_full_length,
         test_an_envelope_that_cannot_be_read_again_is_refused, test_a_client_that_leaves_before_the_250,
         test_a_body_that_vanished_is_told_and_stays, test_bodies_that_are_gone_at_the_start,
         test_big_mails_that_wait_hold_nothing_open,
         test_maildir_when_the_disk_fails,
         test_a_new_maildir_is_durable_with_its_name, test_a_new_spool_is_durable_with_its_name])
