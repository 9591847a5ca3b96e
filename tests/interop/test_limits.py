#!/usr/bin/python3
"""Limits and time-outs of a session as the outside sees them, at each bound and one above it."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, dotted, run, soon_once, wait_for

CONFIG = """
hostname: mx.test
loops: 2
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { local: [example.org], recipients: [alice@example.org] } ] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
"""


def server(more):
    return Tern(CONFIG + more).start()


def free_of_probes(t):
    """the connection with which the start was noticed is gone"""
    wait_for(lambda: t.status()["sessions"] == 0)


def refused(t, host="127.0.0.1"):
    """The 421 and the end of a connection that is one too many."""
    s = socket.create_connection(("127.0.0.1", t.port), 20 * SLOW, source_address=(host, 0))
    s.settimeout(20 * SLOW)
    data = b""
    while True:
        try:
            got = s.recv(4096)
        except ConnectionResetError:
            got = b""
        if not got:
            return data.decode()
        data += got


def test_sessions():
    with server("limits: { sessions: 5 }\n") as t:
        free_of_probes(t)
        all_of_them = [Client(t.port) for _ in range(5)]
        assert refused(t).startswith("421 4.3.2 ")
        assert t.metric("tern_sessions_refused_total") == 1
        all_of_them[0].cmd("QUIT")
        wait_for(lambda: t.status()["sessions"] == 4)
        assert Client(t.port).cmd("NOOP")[0] == 250


def test_sessions_per_address():
    with server("limits: { sessions_per_address: 3 }\n") as t:
        free_of_probes(t)
        kept = [Client(t.port) for _ in range(3)]
        assert refused(t).startswith("421 4.7.0 ")
        other = socket.create_connection(("127.0.0.1", t.port), 20 * SLOW, source_address=("127.0.0.2", 0))
        assert other.recv(100).startswith(b"220 "), "another address is another client"
        kept.pop().sock.close()
        wait_for(lambda: t.status()["sessions"] == 3)
        kept.append(Client(t.port))
        assert "limits.sessions_per_address is reached" in t.log_text()


def test_errors():
    with server("limits: { errors: 5 }\n") as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        codes = [c.cmd("NONSENSE")[0]]
        while codes[-1] != 421 and len(codes) < 20:
            codes.append(c.cmd("NONSENSE")[0])
        assert codes[-1] == 421 and codes[:-1] == [500] * (len(codes) - 1) and len(codes) in (5, 6), codes
        assert c.sock.recv(1) == b""


def test_commands():
    with server("limits: { commands: 10 }\n") as t:
        c = Client(t.port)
        codes = [c.cmd("NOOP")[0] for _ in range(10)]
        assert codes == [250] * 10, codes
        assert c.cmd("NOOP")[0] == 421
        c = Client(t.port)  # a message in between starts the count anew
        for _ in range(3):
            assert c.mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250


def test_messages():
    with server("limits: { messages: 2 }\n") as t:
        c = Client(t.port)
        for _ in range(2):
            assert c.mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250
        assert c.cmd("MAIL FROM:<a@client.example>")[0] == 421


def test_command_line():
    with server("limits: { command_line: 1200 }\n") as t:
        c = Client(t.port)
        assert c.cmd("NOOP " + "x" * (1200 - 7))[0] == 250, "1200 octets with CRLF"
        code, text = c.cmd("NOOP " + "x" * (1200 - 6))
        assert code == 500 and text.startswith("5.5.2"), (code, text)
        code, text = c.cmd("NOOP " + "x" * 100000)
        assert code == 500, "and the rest of the line is skipped"
        assert c.cmd("NOOP")[0] == 250


def test_message_size():
    with server("limits: { message_size: 64KB }\n") as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        assert c.cmd("MAIL FROM:<a@client.example> SIZE=65536")[0] == 250
        c.cmd("RSET")
        code, text = c.cmd("MAIL FROM:<a@client.example> SIZE=65537")
        assert code == 552 and text.startswith("5.3.4"), (code, text)
        head = "Subject: x\r\n\r\n"
        lines = ("x" * 62 + "\r\n") * 1023
        rest = 65536 - len(head) - len(lines)
        fits = head + lines + "y" * (rest - 2) + "\r\n"
        assert len(fits) == 65536
        assert c.mail("a@client.example", ["alice@example.org"], fits, helo=None)[0] == 250
        code, text = c.mail("a@client.example", ["alice@example.org"], head + "z" + fits[len(head):], helo=None)
        assert code == 552 and text.startswith("5.3.4"), (code, text)
        assert c.cmd("NOOP")[0] == 250


def test_recipients():
    with server("limits: { recipients: 100 }\n") as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")
        for _ in range(100):
            assert c.cmd("RCPT TO:<alice@example.org>")[0] == 250
        code, text = c.cmd("RCPT TO:<alice@example.org>")
        assert code == 452 and text.startswith("4.5.3"), (code, text)
        assert c.cmd("DATA")[0] == 354
        c.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert c.reply()[0] == 250, "those before go their way"


def test_received():
    with server("limits: { received: 30 }\n") as t:
        c = Client(t.port)
        field = "Received: from a by b; Thu, 1 Jan 2026 00:00:00 +0000\n"
        assert c.mail("a@client.example", ["alice@example.org"], field * 29 + "Subject: x\n\nx\n")[0] == 250
        code, text = c.mail("a@client.example", ["alice@example.org"], field * 31 + "Subject: x\n\nx\n")
        assert code == 554 and text.startswith("5.4.6"), (code, text)


def timed_421(c, seconds, start):
    """`start`: before what was said last, so that no busy machine makes it too soon"""
    code, text = c.reply()
    waited = time.monotonic() - start
    assert code == 421 and text.startswith("4.4.2"), (code, text)
    assert seconds - 0.1 < waited < seconds + 20 * SLOW, waited
    assert c.sock.recv(1) == b""


def test_timeouts():
    with server("timeouts: { command: %ds, data_start: 3s, data_block: 3s }\n" % (4 + SLOW)) as t:
        c = Client(t.port)
        start = time.monotonic()
        c.cmd("EHLO client.example")
        timed_421(c, 4 + SLOW, start)
        for text in ("", "Subject: x\r\n"):
            c = Client(t.port)
            start = time.monotonic()
            c.send("EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n")
            assert [c.reply()[0] for _ in range(4)] == [250, 250, 250, 354]
            c.send(text)
            timed_421(c, 3, start)
        assert t.queue() == [] and t.maildir("alice") == []
        wait_for(lambda: t.status()["sessions"] == 0)


def test_command_octet_by_octet_does_not_renew_the_time():
    """Who sends half a command each second is not given for ever."""
    with server("timeouts: { command: 2s }\n") as t:
        c = Client(t.port)
        start = time.monotonic()
        c.sock.settimeout(0.3)
        try:
            while time.monotonic() - start < 20 * SLOW:
                c.send("N")
                try:
                    if c.sock.recv(100).startswith(b"421 4.4.2"):
                        break
                except socket.timeout:
                    pass
        except OSError:
            pass
        assert time.monotonic() - start < 15 * SLOW


def test_slow_client_gets_through():
    with server("") as t:
        c = Client(t.port)
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        text = ("EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"
                "Subject: slow\r\n\r\n..dot\r\nend\r\n.\r\nQUIT\r\n")
        for octet in text:
            c.send(octet)
            time.sleep(0.002)
        codes = [c.reply()[0] for _ in range(6)]
        assert codes == [250, 250, 250, 354, 250, 221], codes
        wait_for(lambda: t.maildir("alice"))
        assert t.maildir("alice")[0].endswith(b"\n\n.dot\nend\n")


def test_client_that_does_not_read():
    """Replies nobody reads are bounded, and others do not wait for them."""
    with server("limits: { commands: 1000000 }\ntimeouts: { command: 6s }\n") as t:
        deaf = Client(t.port)
        deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sock.settimeout(0.5)
        sent = 0
        try:
            while sent < 50 << 20:
                sent += deaf.sock.send(b"NOOP\r\n" * 1000)
        except OSError:
            pass
        assert sent < 50 << 20, "it reads on although nobody takes its replies"
        c = Client(t.port)
        assert soon_once(1, lambda: c.cmd("NOOP"))
        wait_for(lambda: t.status()["sessions"] <= 1, 30)


def test_half_close_is_no_disconnect():
    with server("") as t:
        c = Client(t.port)
        c.send(b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" +
               dotted("Subject: x\n\nx\n") + b".\r\nQUIT\r\n")
        c.sock.shutdown(socket.SHUT_WR)
        codes = [c.reply()[0] for _ in range(6)]
        assert codes == [250, 250, 250, 354, 250, 221], codes


def test_cut_off_in_data_leaves_nothing():
    with server("") as t:
        for text in ("Subject: x\r\n\r\nhalf", "Subject: x\r\n\r\nwhole\r\n.\r"):
            c = Client(t.port)
            c.cmd("EHLO client.example")
            c.cmd("MAIL FROM:<a@client.example>")
            c.cmd("RCPT TO:<alice@example.org>")
            c.cmd("DATA")
            c.send(text)
            c.close()
        wait_for(lambda: t.status()["sessions"] == 0)
        assert t.queue() == [] and t.maildir("alice") == []


def test_soft_bounce():
    with server("soft_bounce: true\n") as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")
        for rcpt in ("nobody@example.org", "x@elsewhere.example"):
            code, text = c.cmd("RCPT TO:<%s>" % rcpt)
            assert 400 <= code < 500 and text.startswith("4."), (code, text)
        assert c.cmd("RCPT TO:<alice@example.org>")[0] == 250
        c.close()


def clients_by_loop(pid, ports):
    """{an epoll of the process: the ports of clients whose connections it watches}"""
    peers = {}  # inode of our end -> port of the client's
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            words = line.split()
            peers[words[9]] = int(words[2].split(":")[1], 16)
    loops = {}
    for fd in os.listdir("/proc/%d/fdinfo" % pid):
        try:
            with open("/proc/%d/fdinfo/%s" % (pid, fd)) as f:
                watched = [line.split()[1] for line in f if line.startswith("tfd:")]
            links = [os.readlink("/proc/%d/fd/%s" % (pid, n)) for n in watched]
        except FileNotFoundError:
            continue
        found = {peers.get(link[8:-1]) for link in links if link.startswith("socket:")} & ports
        if found:
            loops[fd] = found
    return loops


def test_loops_share():
    """A loop with clearly more sessions than the mean leaves accepting to the other one, whoever is faster."""
    with server("limits: { sessions_per_address: 1000 }") as t:
        clients = {c.sock.getsockname()[1]: c for c in (Client(t.port) for _ in range(200))}
        loops = clients_by_loop(t.worker_pid(), set(clients))
        assert len(loops) == 2 and sum(len(p) for p in loops.values()) == 200, loops
        full, empty = sorted(loops, key=lambda fd: -len(loops[fd]))
        for port in loops[empty]:
            clients.pop(port).close()
        wait_for(lambda: t.status()["sessions"] == len(clients), 20)
        more = {c.sock.getsockname()[1]: c for c in (Client(t.port) for _ in range(40))}
        loops = clients_by_loop(t.worker_pid(), set(more))
        # It takes at most what was under way when it saw that it is ahead.
        assert len(loops.get(full, ())) <= 2 and len(loops[empty]) >= 38, {fd: len(p) for fd, p in loops.items()}
        for c in [*clients.values(), *more.values()]:
            c.close()


if __name__ == "__main__":
    run([test_sessions, test_sessions_per_address, test_errors, test_commands, test_messages, test_command_line,
         test_message_size, test_recipients, test_received, test_timeouts,
         test_command_octet_by_octet_does_not_renew_the_time, test_slow_client_gets_through,
         test_client_that_does_not_read, test_half_close_is_no_disconnect, test_cut_off_in_data_leaves_nothing,
         test_soft_bounce, test_loops_share])
