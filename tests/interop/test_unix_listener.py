#!/usr/bin/python3
"""Listeners on unix sockets: LMTP from Postfix and from Tern, SMTP from curl; whose the socket is, and what becomes of it."""
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Postfix
from ternlib import SLOW, Client, Tern, dotted, need, run, wait_for

CONFIG = """
hostname: mx.test
limits: { sessions_per_address: 5 }
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound }
  lmtp: { bind: "unix:{dir}/lmtp.sock", protocol: lmtp, policy: inbound, socket_mode: "0666" }
  local: { bind: ["unix:{dir}/smtp.sock"], policy: inbound }
policies:
  inbound:
    - domains: { local: [example.org], networks: [0.0.0.0/0, "::/0"] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: mailboxes }, { transport: smtp, to: ["127.0.0.1:1"] }]
"""


class Local(Client):
    """A raw client at a unix socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60 * SLOW)
        self.sock.connect(path)
        self.rest = b""
        self.banner = self.reply()


def server(config=CONFIG, rules="user root\nsockets {dir}\n"):
    t = Tern(config)
    t.write("supervisor.conf", rules.replace("{dir}", t.dir))
    os.chmod(t.rules, 0o600)
    return t


def path(t, name):
    return os.path.join(t.dir, name + ".sock")


def is_taken(t, name="lmtp"):
    """Somebody greets at the socket."""
    try:
        c = Local(path(t, name))
        c.close()
        return c.banner[0] == 220
    except OSError:
        return False


def test_lmtp_and_smtp():
    with server().start() as t:
        c = Local(path(t, "lmtp"))
        assert c.banner == (220, "mx.test LMTP Tern"), c.banner
        assert c.cmd("LHLO client.example")[0] == 250
        c.cmd("MAIL FROM:<a@client.example>")
        for who in ("bob", "eve"):
            assert c.cmd("RCPT TO:<%s@example.org>" % who)[0] == 250
        # Whatever `networks` says, who comes by the socket has none.
        assert c.cmd("RCPT TO:<x@elsewhere.example>")[0] == 550
        assert c.cmd("DATA")[0] == 354
        c.send(dotted("Subject: by a socket\n\nx\n") + b".\r\n")
        assert [c.reply()[0], c.reply()[0]] == [250, 250]
        mail = wait_for(lambda: t.maildir("bob"))[0]
        assert b"Received: from client.example ([unix])\n\tby mx.test with LMTP id " in mail, mail
        wait_for(lambda: "client=unix " in t.log_text())
        assert c.cmd("QUIT")[0] == 221
        c = Client(t.port)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")
        assert c.cmd("RCPT TO:<x@elsewhere.example>")[0] == 250  # by TCP it holds
        c.close()
        clients = [Local(path(t, "smtp")) for _ in range(20)]  # limits by address are none of theirs
        assert all(x.banner[0] == 220 and x.cmd("EHLO client.example")[0] == 250 for x in clients)
        for x in clients:
            x.close()


def test_curl():
    need("curl")
    with server().start() as t:
        r = subprocess.run(["curl", "-sS", "--unix-socket", path(t, "smtp"), "smtp://localhost/client.example", "--mail-from", "a@client.example",
                            "--mail-rcpt", "bob@example.org", "-T", "-"], input=b"Subject: curl\r\n\r\nx\r\n", capture_output=True, timeout=60 * SLOW)
        assert r.returncode == 0, r.stderr
        wait_for(lambda: t.maildir("bob"))


def test_postfix_delivers():
    """Postfix's lmtp client, as the user postfix."""
    need("postfix")
    with server().start() as t:
        to = "lmtp:unix:" + path(t, "lmtp")
        with Postfix("lmtp", 1, "default_transport = %s\nrelay_transport = %s" % (to, to)) as p:
            got = Client(p.port).mail("a@client.example", ["bob@example.org", "eve@example.org"], "Subject: by lmtp\n\nhello\n")
            assert got[0] == 250, got
            wait_for(lambda: t.maildir("bob") and t.maildir("eve"), 30)
            wait_for(lambda: p.log_text().count("status=sent") == 2, 30)
            assert b"with LMTP id" in t.maildir("bob")[0]


def test_tern_delivers():
    """From one Tern's transport to another one's listener."""
    with server().start() as t:
        first = Tern("""
hostname: first.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [{ domains: { local: [example.org] } }] }
transports: { next: { type: lmtp, to: ["unix:%s"] } }
routes: [{ class: local, transport: next }]
""" % path(t, "lmtp")).start()
        with first:
            assert Client(first.port).mail("a@client.example", ["bob@example.org"], "Subject: on\n\nx\n")[0] == 250
            mail = wait_for(lambda: t.maildir("bob"), 30)[0]
            assert b"Received: from first.test ([unix])" in mail, mail
            wait_for(lambda: first.queue() == [])


def test_whose_it_is():
    """Mode and group as they are written, also by a reload; nobody else's file is touched."""
    with server().start() as t:
        mode = lambda name: stat.S_IMODE(os.stat(path(t, name)).st_mode)
        assert (mode("lmtp"), mode("smtp")) == (0o666, 0o660)
        t.write_config(CONFIG.replace('"0666"', '"0600", socket_group: daemon' if os.geteuid() == 0 else '"0600"'))
        t.cli("reload")
        assert mode("lmtp") == 0o600
        if os.geteuid() == 0:
            import grp
            assert os.stat(path(t, "lmtp")).st_gid == grp.getgrnam("daemon").gr_gid
        assert is_taken(t)
        t.write_config(CONFIG.replace("lmtp.sock", "other.sock"))
        t.cli("reload")
        wait_for(lambda: is_taken(t, "other") and not os.path.exists(path(t, "lmtp")))
        t.write("file.sock", "mine")
        t.write_config(CONFIG.replace("lmtp.sock", "file.sock"))
        r = t.cli("reload", check=False)
        assert r.returncode != 0 and "is there, and is no socket" in r.stdout + r.stderr, (r.stdout, r.stderr)
        with open(path(t, "file")) as f:
            assert f.read() == "mine"
        assert is_taken(t, "other") and is_taken(t, "smtp")


def test_it_outlives_a_worker_and_goes_with_the_server():
    with server().start() as t:
        inode = os.stat(path(t, "lmtp")).st_ino
        worker = t.worker_pid()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: t.worker_pid() not in (None, worker) and is_taken(t), 30)
        assert os.stat(path(t, "lmtp")).st_ino == inode
        t.stop(signal.SIGKILL)  # its name stays: the next server takes it away
        assert os.path.exists(path(t, "lmtp"))
        t.start()
        assert is_taken(t) and os.stat(path(t, "lmtp")).st_mode & 0o777 == 0o666
        with server(CONFIG.replace("{dir}/lmtp.sock", path(t, "lmtp")), "user root\nsockets %s {dir}\n" % t.dir) as second:
            second.start(wait=False)
            second.process.wait(60 * SLOW)
            assert second.process.returncode != 0 and "another server listens there" in second.log_text(), second.log_text()
        assert is_taken(t)
        t.stop()
        assert not os.path.exists(path(t, "lmtp")) and not os.path.exists(path(t, "smtp"))


def test_only_where_the_rules_say():
    if os.geteuid() != 0:
        print("SKIP: without root there are no rules")
        return
    with tempfile.TemporaryDirectory() as elsewhere:
        for rules, folder in (("user root\n", "{dir}"), ("user root\nsockets {dir}/sub\n", "{dir}"), ("user root\nsockets {dir}\n", elsewhere)):
            with server(CONFIG.replace("{dir}/lmtp", folder + "/lmtp"), rules) as t:
                t.start(wait=False)
                t.process.wait(60 * SLOW)
                assert t.process.returncode != 0 and "is not below a folder of `sockets` in supervisor.conf" in t.log_text(), t.log_text()
                assert "listener lmtp" in t.log_text()


if __name__ == "__main__":
    run([test_lmtp_and_smtp, test_curl, test_postfix_delivers, test_tern_delivers, test_whose_it_is,
         test_it_outlives_a_worker_and_goes_with_the_server, test_only_where_the_rules_say])
