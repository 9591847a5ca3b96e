#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`log: { to, file }` in the real server: syslog, the journal's priorities on standard error, a file, and what contradicts."""
import os
import re
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import Client, Tern, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners: {{ mx: {{ bind: "127.0.0.1:{{port}}", policy: inbound }} }}
log: {log}
policies:
  inbound:
    - domains: {{ local: [home.example], recipients: [bob@home.example] }}
transports:
  mailboxes: {{ type: maildir, path: "{{dir}}/mail/%{{user}}" }}
routes:
  - {{ domain: [home.example], transport: mailboxes }}
"""
# A /dev of its own, with the socket of this test as /dev/log.
NAMESPACE = """set -e
mount --make-rprivate /
mkdir "$1/dev"
mount -t tmpfs tmpfs "$1/dev"
for n in null zero full random urandom log; do touch "$1/dev/$n"; done
for n in null zero full random urandom; do mount --bind /dev/$n "$1/dev/$n"; done
mount --bind "$1/log.sock" "$1/dev/log"
mount --move "$1/dev" /dev
shift
exec "$@"
"""


def send(t):
    c = Client(t.port)
    code, text = c.mail("a@far.example", ["bob@home.example"], "Subject: x\n\nhello\n")
    c.close()
    assert code == 250, (code, text)
    wait_for(lambda: t.maildir("bob"))
    return queue_id(text)


def server(log):
    return Tern(CONFIG.format(log=log))


class Syslog:
    """Datagrams sent to a socket."""

    def __init__(self, path):
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            data = self.socket.recv(65536)
            self.lines.append(data.decode("utf-8", "replace"))


def test_syslog():
    with server("{ to: syslog }") as t:
        log = Syslog(os.path.join(t.dir, "log.sock"))
        wrap = ["unshare", "-m", "sh", "-c", NAMESPACE, "sh", t.dir]
        try:
            subprocess.run([*wrap, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as e:
            print("     no private /dev here, syslog not seen: %s" % getattr(e, "stderr", e))
            return
        os.rmdir(os.path.join(t.dir, "dev"))
        t.start(wrap=wrap)
        ident = send(t)
        line = wait_for(lambda: next((l for l in log.lines if ident + " delivered " in l), None))
        # mail is facility 2, info is 6; the daemon's time, our name, the worker's id, the line
        assert re.match(r"<22>\w{3} [ \d]\d [\d:]{8} tern\[%d\]: %s delivered to=bob@home.example" % (t.worker_pid(), ident),
                        line), line
        assert all("\n" not in l for l in log.lines), log.lines
        assert ident not in t.log_text(), t.log_text()
        t.cli("reload")
        send(t)
        t.stop()
        assert all(re.match(r"<2[0-3]>", l) for l in log.lines), log.lines


def test_journal():
    with server("{ level: debug }") as t:
        open(t.log, "ab").close()
        st = os.stat(t.log)
        os.environ["JOURNAL_STREAM"] = "%d:%d" % (st.st_dev, st.st_ino)
        try:
            t.start()
            ident = send(t)
            wait_for(lambda: ident + " delivered" in t.log_text())
            t.stop()
        finally:
            del os.environ["JOURNAL_STREAM"]
        levels = {"error": "<3>", "warning": "<4>", "info": "<6>", "debug": "<7>"}
        lines = t.log_text().splitlines()
        for line in lines:
            m = re.match(r"(<\d>)\d{4}-\d\d-\d\dT[\d:.]+Z (\w+) ", line)
            assert m and levels[m.group(2)] == m.group(1), line
        assert any("<6>" in l and " delivered " in l for l in lines)


def test_stderr_is_plain():
    with server("{ to: stderr }").start() as t:
        ident = send(t)
        wait_for(lambda: re.search(r"^20\S+ info %s delivered " % ident, t.log_text(), re.M))


def test_file():
    for log in ("{ file: %s/mail.log }", "{ to: file, file: %s/mail.log }"):
        t = Tern(CONFIG.format(log=log % "{{dir}}").replace("{{dir}}", "{dir}"))
        with t:
            t.start()
            ident = send(t)
            path = os.path.join(t.dir, "mail.log")
            wait_for(lambda: ident + " delivered " in open(path).read())
            assert ident not in t.log_text(), t.log_text()
            os.rename(path, path + ".1")
            t.cli("reload")
            ident = send(t)
            wait_for(lambda: os.path.exists(path) and ident + " delivered " in open(path).read())


def test_contradictions():
    for log, says in (("{ to: syslog, file: /tmp/x.log }", "log.to: syslog contradicts log.file"),
                      ("{ to: stderr, file: /tmp/x.log }", "log.to: stderr contradicts log.file"),
                      ("{ to: file }", "log.to: file needs log.file"), ("{ to: printer }", "printer")):
        with server(log) as t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and says in r.stdout + r.stderr, (log, r)


def test_change_needs_a_restart():
    with server("{ to: stderr }").start() as t:
        t.write_config(CONFIG.format(log="{ to: syslog }"))
        r = t.cli("reload")
        assert "log.to: the change takes effect at the next start" in r.stdout + r.stderr, r


run([test_syslog, test_journal, test_stderr_is_plain, test_file, test_contradictions, test_change_needs_a_restart])
