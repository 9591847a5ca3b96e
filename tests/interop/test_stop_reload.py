#!/usr/bin/python3
"""Stopping and reloading a running server: drains, generations, and what a broken file changes (nothing).

Begins early: it waits for long.
"""
import os
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Mute
from ternlib import SLOW, Client, Tern, can_connect, free_port, run, some, wait_for

CONFIG = """
hostname: mx.test
loops: 2
drain: 2s
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - rcpt_limit: { max: 2 }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
"""


def closed(client, seconds=10):
    """The server closes the connection without another word."""
    client.sock.settimeout(seconds * SLOW)
    try:
        return client.rest == b"" and client.sock.recv(1) == b""
    except ConnectionResetError:
        return True


def begin(client, rcpt="alice@example.org"):
    client.cmd("EHLO client.example")
    assert client.cmd("MAIL FROM:<a@client.example>")[0] == 250
    assert client.cmd("RCPT TO:<%s>" % rcpt)[0] == 250


def test_term_ends_idle_sessions_and_lets_a_transaction_finish():
    with Tern(CONFIG.replace("drain: 2s", "drain: 10m")).start() as t:
        idle, busy = Client(t.port), Client(t.port)
        idle.cmd("EHLO client.example")
        begin(busy)
        assert busy.cmd("DATA")[0] == 354
        start = time.monotonic()
        t.process.send_signal(signal.SIGTERM)
        code, text = idle.reply()
        assert code == 421 and text.startswith("4.3.2"), (code, text)
        assert closed(idle)
        busy.send("Subject: late\r\n\r\nin time\r\n.\r\n")
        code, text = busy.reply()
        assert code == 250, (code, text)
        assert busy.reply()[0] == 421, "after its transaction the session ends"
        assert t.stop() == 0
        assert time.monotonic() - start < 60 * SLOW, "it waited for the whole drain"
        assert "the worker ends" in t.log_text()
        t.start()
        wait_for(lambda: len(t.maildir("alice")) == 1)


def test_term_ends_the_rest_after_drain():
    with Tern(CONFIG).start() as t:
        busy = Client(t.port)
        begin(busy)
        start = time.monotonic()
        t.process.send_signal(signal.SIGTERM)
        code, text = busy.reply()
        waited = time.monotonic() - start
        assert code == 421 and 1.5 < waited < 2 + 30 * SLOW, (code, text, waited)
        assert closed(busy)
        assert t.stop() == 0


def test_second_term_does_not_wait():
    with Tern(CONFIG.replace("drain: 2s", "drain: 10m")).start() as t:
        busy = Client(t.port)
        begin(busy)
        t.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "drains" in t.log_text())
        t.process.send_signal(signal.SIGTERM)
        assert busy.reply()[0] == 421
        assert t.stop() == 0


def test_a_delivery_that_hangs_is_left():
    """When `drain` is over what is under way is let go, whatever of the queue it holds; the mail is there for the next start."""
    far = 'transports: { far: { type: smtp, to: ["127.0.0.1:{far}"] } }\nroutes: [ { class: local, transport: far } ]\n'
    with Mute() as hangs, Tern(CONFIG.split("transports:")[0].replace("drain: 2s", "drain: 0s") + far, far=hangs.port).start() as t:
        assert Client(t.port).mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250
        wait_for(lambda: hangs.open)
        assert t.stop() == 0
        assert "the worker ends" in t.log_text() and "signal" not in t.log_text(), t.log_text()
        t.start()
        wait_for(lambda: len(t.queue()) == 1)


def test_hup_changes_policy_for_new_sessions():
    drain = 8 + 2 * SLOW  # for what the old session does meanwhile
    config = CONFIG.replace("drain: 2s", "drain: %ds" % drain)
    with Tern(config).start() as t:
        old = Client(t.port)
        begin(old)
        old.cmd("RSET")
        t.write_config(config.replace("alice@example.org", "bob@example.org"))
        t.process.send_signal(signal.SIGHUP)
        wait_for(lambda: t.status()["generation"] == 2)
        begin(old)  # the old session keeps its generation
        assert old.cmd("RCPT TO:<bob@example.org>")[0] == 550
        old.cmd("RSET")
        new = Client(t.port)
        begin(new, "bob@example.org")
        assert new.cmd("RCPT TO:<alice@example.org>")[0] == 550
        assert t.metric("tern_generations") == 2
        time.sleep(drain + 0.2)
        code, text = old.cmd("MAIL FROM:<a@client.example>")
        assert code == 421 and text.startswith("4.3.2"), (code, text)
        assert closed(old)
        wait_for(lambda: t.metric("tern_generations") == 1)
        new.cmd("RSET")
        assert new.cmd("MAIL FROM:<a@client.example>")[0] == 250


def test_reload_changes_limits():
    with Tern(CONFIG).start() as t:
        assert "SIZE 52428800" in Client(t.port).cmd("EHLO client.example")[1]
        t.write_config(CONFIG + "limits: { message_size: 1MB, errors: 2 }\n")
        assert "generation 2" in t.cli("reload").stdout
        c = Client(t.port)
        assert "SIZE 1048576" in c.cmd("EHLO client.example")[1]
        assert c.cmd("NONSENSE")[0] == 500
        codes = [c.cmd("NONSENSE")[0]]
        if codes[-1] == 500:
            codes.append(c.cmd("NONSENSE")[0])
        assert codes[-1] == 421, codes


BROKEN = """
hostname: mx.test
listners: {}
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbund } }
limits: { errors: 0, message_size: 12 furlongs }
policies:
  inbound:
    - domains: { lokal: [example.org] }
    - rcpt_limit: { max: many }
"""


def test_broken_file_keeps_the_old_generation():
    with Tern(CONFIG).start() as t:
        t.write_config(BROKEN)
        r = t.cli("reload", check=False)
        assert r.returncode != 0
        said = r.stdout + r.stderr
        for word in ("listners", "inbund", "errors", "message_size", "lokal", "max"):
            line = [l for l in said.splitlines() if word in l]
            assert line and re.match(r"\S*tern\.yaml:\d+:\d+: ", line[0]), (word, said)
        assert "did you mean" in said, said
        assert t.status()["generation"] == 1 and t.metric("tern_generations") == 1
        begin(Client(t.port))
        t.process.send_signal(signal.SIGHUP)
        wait_for(lambda: t.log_text().count("the old configuration stays") == 2)
        for word in ("listners", "lokal", "inbund"):
            assert word in t.log_text(), "the log names every error of a SIGHUP"
        assert "\\x0a" not in t.log_text(), t.log_text()
        t.write_config(CONFIG)
        assert "generation 2" in t.cli("reload").stdout


def test_listeners_come_and_go():
    with Tern(CONFIG, second=free_port()).start() as t:
        second = t.values["second"]
        two = CONFIG.replace('bind: "127.0.0.1:{port}"', 'bind: ["127.0.0.1:{port}", "127.0.0.1:{second}"]')
        t.write_config(two)
        t.cli("reload")
        begin(Client(second))
        begin(Client(t.port))
        held = Client(second)
        t.write_config(CONFIG)
        t.cli("reload")
        wait_for(lambda: not can_connect(second))
        assert held.cmd("NOOP")[0] == 250, "its session goes on"
        begin(Client(t.port))
        # A listener with another policy takes the freed address again.
        t.write_config(CONFIG.replace("listeners: {", "listeners: { other: { bind: \"127.0.0.1:{second}\", policy: none },")
                       .replace("policies:", "policies:\n  none: []"))
        t.cli("reload")
        c = Client(second)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<>")
        assert c.cmd("RCPT TO:<alice@example.org>")[0] == 550
        assert "may still take connections" not in t.log_text()


def test_taken_port_refuses_the_reload_whole():
    with Tern(CONFIG, second=free_port()).start() as t:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = other.getsockname()[1]
            second = t.values["second"]
            t.write_config(CONFIG.replace('bind: "127.0.0.1:{port}"',
                                          'bind: ["127.0.0.1:{port}", "127.0.0.1:{second}", "127.0.0.1:%d"]' % taken))
            start = time.monotonic()
            r = t.cli("reload", check=False)
            assert r.returncode != 0 and time.monotonic() - start < 30 * SLOW
            said = r.stdout + r.stderr
            assert "in use" in said and str(taken) in said and re.search(r"tern\.yaml:\d+:\d+: ", said), said
            assert t.status()["generation"] == 1
            assert not can_connect(second), "a socket of the refused generation is still there"
            begin(Client(t.port))
            assert "may still take connections" not in t.log_text()


def test_fixed_keys_warn():
    with Tern(CONFIG).start() as t:
        t.write_config(CONFIG.replace("loops: 2", "loops: 1"))
        said = t.cli("reload").stdout
        assert "warning: loops: the change takes effect at the next start" in said and "warning: kv:" not in said, said
        t.write_config(CONFIG + "kv: { entries: 2000 }\n")
        assert "warning: kv: the change takes effect at the next start" in t.cli("reload").stdout
    store = CONFIG + "kv: { provider: kv_lmdb, path: '{dir}/kv', size_max: SIZE }\n"
    with Tern(store.replace("SIZE", "1GB")).start() as t:
        t.write_config("# another line above it is no change\n" + store.replace("SIZE", "1GB"))
        assert "warning" not in t.cli("reload").stdout
        t.write_config(store.replace("SIZE", "2GB"))
        said = t.cli("reload").stdout
        assert "warning: kv: the change takes effect at the next start" in said, said


def pss_kb(pid):
    """Of its own memory: the share of the program's pages changes as other copies of it come and go."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return next(int(l.split()[1]) for l in f if l.startswith("Pss_Anon:"))


def settled_pss_kb(pid, enough=0, seconds=60):
    """Once the worker has given back what the old generations held: it does so every two seconds, on a busy machine later."""
    least, end = pss_kb(pid), time.monotonic() + (seconds if enough else 5)
    while least > enough and time.monotonic() < end:
        time.sleep(0.5)
        least = min(least, pss_kb(pid))
    return least


def warm(pid, load):
    """The load goes on until it makes the worker grow no more: two looks differ by less than 1 %. Whether it came to that."""
    before, end = 0, time.monotonic() + some(30, 10)
    while time.monotonic() < end:
        sessions = sum(l.done for l in load)
        wait_for(lambda: sum(l.done for l in load) >= sessions + 20)  # something was done in between, however slowly
        time.sleep(2)
        now = pss_kb(pid)
        if abs(now - before) < now / 100:
            return True
        before = now
    return False


class Steady:
    """Sessions one after the other; any that fails is kept."""

    def __init__(self, port):
        self.port, self.failed, self.done, self.stop = port, [], 0, False
        self.thread = threading.Thread(target=self.go)
        self.thread.start()

    def go(self):
        while not self.stop:
            try:
                c = Client(self.port)
                for _ in range(3):
                    code, text = c.mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n", helo="c.example")
                    assert code == 250, (code, text)
                assert c.cmd("QUIT")[0] == 221
                c.close()
                self.done += 1
            except Exception as e:
                self.failed.append(repr(e))
            time.sleep(0.01)

    def end(self):
        self.stop = True
        self.thread.join()


RELOADS = some(100, 40)
HOLES_KB = 512


def test_hundred_reloads_under_load():
    script = 'local tern = require "tern"\ntern.on("message", function(txn) end)\n'
    config = CONFIG.replace("drain: 2s", "drain: 5m").replace(
        "    - rcpt_limit", "    - lua: { script: nothing.lua }\n    - rcpt_limit") + "log: { level: error }\n"
    with Tern(config, files={"nothing.lua": script}).start() as t:
        load = [Steady(t.port), Steady(t.port)]
        worker, cold, after_tenth = t.worker_pid(), pss_kb(t.worker_pid()), None
        try:
            steady = warm(worker, load)
            warmed = pss_kb(worker)
            for n in range(1, RELOADS + 1):
                broken = n % 10 == 5
                t.write_config(BROKEN if broken else config + "limits: { errors: %d }\n" % (n + 20))
                r = t.cli("reload", check=False)
                assert (r.returncode != 0) == broken, r.stdout + r.stderr
                if n == 10:
                    wait_for(lambda: t.metric("tern_generations") == 1, 30)
                    after_tenth = settled_pss_kb(worker)
        finally:
            for l in load:
                l.end()
        assert not load[0].failed and not load[1].failed, (load[0].failed[:3], load[1].failed[:3])
        assert load[0].done + load[1].done > 10
        wait_for(lambda: t.metric("tern_generations") == 1, 60)
        assert t.status()["generation"] == RELOADS * 9 // 10 + 1 and t.worker_pid() == worker
        bound = after_tenth * 1.05
        pss = settled_pss_kb(worker, bound, some(60, 10))
        print("     PSS %d KB, %d KB after load%s, %d KB after ten reloads, %d KB at the end: %.3f; %d sessions" %
              (cold, warmed, "" if steady else " (still growing)", after_tenth, pss, pss / after_tenth, load[0].done + load[1].done))
        if SLOW == 1 and pss > bound:  # sanitizers keep what was freed
            # What is in use does not grow (malloc_info() told, over 100 reloads); what threads keep of freed memory, and the
            # holes between, do so for a while, and 5 % of a worker so small is little more than 100 KB.
            print("     excused: more than 1.05 times, by holes of the heap; 512 KB are the most")
            pss = settled_pss_kb(worker, after_tenth + HOLES_KB)
            assert pss <= after_tenth + HOLES_KB, (after_tenth, pss)


if __name__ == "__main__":
    run([test_term_ends_idle_sessions_and_lets_a_transaction_finish, test_term_ends_the_rest_after_drain,
         test_second_term_does_not_wait, test_a_delivery_that_hangs_is_left, test_hup_changes_policy_for_new_sessions, test_reload_changes_limits,
         test_broken_file_keeps_the_old_generation, test_listeners_come_and_go,
         test_taken_port_refuses_the_reload_whole, test_fixed_keys_warn, test_hundred_reloads_under_load])
