#!/usr/bin/python3
"""Clients that want to be a burden: too many, too fast, too slow, deaf, wrong again and again. That others do not notice: test_greeted."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, fill, run, soon_once, wait_for

CONFIG = """
hostname: mx.test
loops: 2
drain: 0s
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { local: [example.org], recipients: [alice@example.org] } ] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
"""


def server(more="", config=CONFIG):
    t = Tern(config + more).start()
    wait_for(lambda: t.status()["sessions"] == 0)  # the connection with which the start was noticed is gone
    return t


def connect(t, host="127.0.0.1"):
    s = socket.create_connection(("127.0.0.1", t.port), 20 * SLOW, source_address=(host, 0))
    s.settimeout(20 * SLOW)
    return s


def all_of(s):
    """what the server says until it closes"""
    data = b""
    while True:
        try:
            got = s.recv(4096)
        except ConnectionResetError:
            got = b""
        if not got:
            return data.decode()
        data += got


def with_rcpt(t):
    c = Client(t.port)
    c.cmd("EHLO client.example")
    c.cmd("MAIL FROM:<a@client.example>")
    c.cmd("RCPT TO:<alice@example.org>")
    return c


def in_data(t):
    c = with_rcpt(t)
    assert c.cmd("DATA")[0] == 354
    return c


# ---- rates ----

def test_connection_rate():
    with server("limits: { connection_rate: 5/1h, ipv4_mask: 31, rate_exempt: [127.0.0.9] }\n") as t:
        began = t.metric("tern_sessions_refused_total")
        # The probes of the start came from 127.0.0.1: another network.
        for n in range(5):
            c = connect(t, "127.0.0.%d" % (4 + n % 2))
            assert c.recv(100).startswith(b"220 "), n
            c.close()
        assert all_of(connect(t, "127.0.0.4")).startswith("421 4.7.0 ")
        assert all_of(connect(t, "127.0.0.5")).startswith("421 4.7.0 "), "one network by ipv4_mask"
        assert connect(t, "127.0.0.6").recv(100).startswith(b"220 "), "another network"
        for _ in range(7):
            assert connect(t, "127.0.0.9").recv(100).startswith(b"220 "), "exempt"
        assert t.metric("tern_sessions_refused_total") == began + 2
        assert "127.0.0.4 refused: limits.connection_rate is reached" in t.log_text()


def test_message_and_recipient_rate():
    with server("limits: { message_rate: 2/1h, recipient_rate: 3/1h }\n") as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        assert c.cmd("MAIL FROM:<a@client.example>")[0] == 250
        codes = [c.cmd("RCPT TO:<%s@example.org>" % who)[0] for who in ("alice", "nobody", "alice")]
        assert codes == [250, 550, 250], codes
        code, text = c.cmd("RCPT TO:<alice@example.org>")
        assert code == 450 and text.startswith("4.7.1 "), (code, text)
        c.cmd("RSET")
        assert c.cmd("MAIL FROM:<a@client.example>")[0] == 250
        c.close()
        c = Client(t.port)  # another session, the same network
        c.cmd("EHLO client.example")
        code, text = c.cmd("MAIL FROM:<a@client.example>")
        assert code == 450 and text.startswith("4.7.1 "), (code, text)
        assert c.cmd("NOOP")[0] == 250, "the session goes on"
        assert t.metric("tern_rate_limited_total") == 2


# ---- time ----

def test_slow_message_is_cut():
    with server("limits: { min_data_rate: 100, min_data_window: 2s }\n") as t:
        slow, quick = in_data(t), in_data(t)
        start = time.monotonic()
        slow.sock.settimeout(0.1)
        said = b""
        while time.monotonic() - start < 20 * SLOW and not said:
            try:
                quick.send("x" * 78 + "\r\n")
                slow.send("x")
                said = slow.sock.recv(200)
            except socket.timeout:
                pass
        took = time.monotonic() - start
        assert said.startswith(b"421 4.4.2 "), said
        assert 1.5 < took < 20 * SLOW, took
        quick.send(".\r\n")
        assert quick.reply()[0] == 250, "800 octets a second are enough"
        assert "limits.min_data_rate" in t.log_text()


def test_slow_chunks_are_cut():
    """The chunks of a message count together, with the time between them and without their commands."""
    with server("limits: { min_data_rate: 100, min_data_window: 4s }\n") as t:
        slow, quick = with_rcpt(t), with_rcpt(t)
        start = time.monotonic()
        code = 250
        while time.monotonic() - start < 30 * SLOW and code == 250:
            quick.send("BDAT 1000\r\n" + ("x" * 98 + "\r\n") * 10)
            assert quick.reply()[0] == 250
            slow.send("BDAT 1\r\nx")
            code, text = slow.reply()
            time.sleep(0.05)
        took = time.monotonic() - start
        assert code == 421 and text.startswith("4.4.2 "), (code, text)
        assert 3.5 < took < 30 * SLOW, took
        quick.send("BDAT 0 LAST\r\n")
        assert quick.reply()[0] == 250, "enough octets came"
        assert t.log_text().count("limits.min_data_rate") == 1


def test_slow_line_is_cut():
    with server("timeouts: { line: 1s, command: 1m }\n") as t:
        c = Client(t.port)
        start = time.monotonic()
        c.sock.settimeout(0.2)
        said = b""
        while time.monotonic() - start < 20 * SLOW and not said:
            try:
                c.send("N")
                said = c.sock.recv(200)
            except socket.timeout:
                pass
        took = time.monotonic() - start
        assert said.startswith(b"421 4.4.2 ") and 0.8 < took < 20 * SLOW, (said, took)
        idle = Client(t.port)
        time.sleep(2)
        assert idle.cmd("NOOP")[0] == 250, "between two lines the time of a command counts"


def test_errors_are_slowed_down():
    with server("limits: { errors_free: 2, error_delay: 300ms }\n") as t:
        other = Client(t.port)
        for tries in range(5):  # a busy machine may make a client wait, hardly five
            c, waits = Client(t.port), []
            for _ in range(5):
                start = time.monotonic()
                assert c.cmd("NONSENSE")[0] == 500
                waits.append(time.monotonic() - start)
                assert other.cmd("NOOP")[0] == 250
            # The reply comes at once, and the next command waits: 0.3 s behind the third, 0.6 s behind the fourth.
            assert waits[3] >= 0.25 and waits[4] >= 0.55, waits
            if max(waits[:3]) < 0.25:
                break
        assert max(waits[:3]) < 0.25, waits


# ---- who talks first ----

def test_pregreet():
    policy = "- pregreet: { wait: 1500ms, remember: %s, action: %s }"
    config = CONFIG.replace("inbound: [ domains", "inbound: [ " + policy[2:] + ", domains")
    with server(config=fill(config, "1h", "refuse")) as t:
        quick = connect(t, "127.0.0.2")
        start = time.monotonic()
        quick.sendall(b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\n")
        data = b""
        while b"554 5.5.1 " not in data:
            got = quick.recv(4096)
            assert got, data
            data += got
        assert time.monotonic() - start > 1.4 and data.startswith(b"220 "), data
        quiet = connect(t, "127.0.0.3")
        start = time.monotonic()
        assert quiet.recv(100).startswith(b"220 ")
        assert time.monotonic() - start > 1.4
        kept = []

        def again():
            kept.append(connect(t, "127.0.0.3"))
            assert kept[-1].recv(100).startswith(b"220 ")
        assert soon_once(1, again), "it was quiet before"
        for s in kept[1:]:
            s.close()
        gone = connect(t, "127.0.0.4")
        gone.close()
        wait_for(lambda: t.metric("tern_sessions") == 3)
        assert t.metric("tern_pregreet_talked_total") == 1
    with Tern(fill(config, "0", "close")).start() as t:
        quick = connect(t)
        quick.sendall(b"QUIT\r\n")
        assert all_of(quick).startswith("421 4.5.1 ")


# ---- memory and descriptors ----

def test_memory():
    with server("limits: { memory: 1MB }\n") as t:
        # So little is always used: nobody is taken on, and everything else works.
        assert all_of(connect(t)).startswith("421 4.3.2 ")
        assert "limits.memory is reached" in t.log_text()
        assert t.log_text().count("limits.memory is reached") == 1, "said once, not for each"
        t.write_config(CONFIG)
        t.cli("reload")
        wait_for(lambda: connect(t).recv(100).startswith(b"220 "))
        c = Client(t.port)
        assert c.mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250


def test_memory_of_many_messages():
    """Bodies fill the memory, new messages are put off, those under way are taken, and it recovers by itself."""
    with server(config=CONFIG.replace("drain: 0s\n", "")) as t:
        base = Client(t.port)
        base.cmd("NOOP")
        t.cli("reload")  # what a reload costs is there already
        time.sleep(0.2)
        Client(t.port).close()
        used = t.metric("tern_memory_octets")
        room = (12 if SLOW == 1 else 24) << 20  # a sanitizer needs some of it
        t.write_config(CONFIG.replace("drain: 0s\n", "drain: 60s\n") + "limits: { memory: %d, min_data_rate: 0 }\n" % (used + room))
        t.cli("reload")
        senders = []
        block = b"x" * 70 + b"\r\n"
        refused = None
        for n in range(40):
            try:
                c = in_data(t)
            except (EOFError, AssertionError, ConnectionResetError):
                refused = n
                break
            c.send(b"\r\n" + block * 13000)  # 0.9 MB, in memory
            senders.append(c)
            time.sleep(0.12)
        assert refused is not None and refused >= 8, refused
        waiting = base.cmd("EHLO client.example")
        assert waiting[0] == 250
        code, text = base.cmd("MAIL FROM:<a@client.example>")
        assert code == 452 and text.startswith("4.3.1 "), (code, text)
        for c in senders:
            c.send(".\r\n")
            reply = c.reply()
            assert reply[0] == 250, reply
            c.close()
        wait_for(lambda: base.cmd("MAIL FROM:<a@client.example>")[0] == 250, 20, every=0.3)
        wait_for(lambda: "there is room again" in t.log_text())
        base.close()


def test_descriptors():
    with server("limits: { descriptors: 100, sessions_per_address: 1000 }\n") as t:
        kept, refused = [], 0
        for _ in range(100):
            s = connect(t)
            if s.recv(200).startswith(b"421 4.3.2 "):
                refused += 1
                s.close()
                break
            kept.append(s)
        assert refused == 1 and 20 < len(kept) < 85, (refused, len(kept))
        assert t.status()["sessions"] == len(kept), "those who are in stay in"
        kept[0].sendall(b"EHLO client.example\r\n")
        assert b"250" in kept[0].recv(1000)
        wait_for(lambda: mail_from(kept[0]).startswith(b"452 4.3.1 "))
        for s in kept[1:]:
            s.close()
        wait_for(lambda: t.status()["sessions"] == 1)
        wait_for(lambda: connect(t).recv(200).startswith(b"220 "))
        wait_for(lambda: mail_from(kept[0]).startswith(b"250 "))


def mail_from(s):
    """the reply to MAIL"""
    for line in (b"RSET\r\n", b"MAIL FROM:<a@client.example>\r\n"):
        s.sendall(line)
        reply = s.recv(1000)
    return reply


def test_deaf_pipeliner_is_held_small():
    """Commands with long replies that nobody reads: 64 KB a session, not the replies to all that was sent."""
    with server("limits: { commands: 1000000 }\ntimeouts: { command: 5s }\n") as t:
        c = Client(t.port)
        c.cmd("NOOP")
        time.sleep(0.2)
        Client(t.port).close()
        before = t.metric("tern_memory_octets")
        deaf = []
        for _ in range(40):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", t.port))
            s.settimeout(0.05)
            deaf.append(s)
        for _ in range(5):
            for s in deaf:
                try:
                    for n in range(100):
                        s.send(b"EHLO x%d\r\n" % n * 4000)
                except OSError:
                    pass
        time.sleep(0.2)
        Client(t.port).close()
        grown = t.metric("tern_memory_octets") - before
        print("     %d deaf sessions: %.1f KB each" % (len(deaf), grown / len(deaf) / 1024))
        assert SLOW > 1 or grown / len(deaf) <= 64 << 10, grown
        for s in deaf:
            s.close()


if __name__ == "__main__":
    run([test_connection_rate, test_message_and_recipient_rate, test_slow_message_is_cut, test_slow_chunks_are_cut,
         test_slow_line_is_cut, test_errors_are_slowed_down, test_pregreet, test_memory, test_memory_of_many_messages, test_descriptors,
         test_deaf_pipeliner_is_held_small])
