#!/usr/bin/python3
"""PROXY protocol: by hand, and with haproxy in front. The client is whom the header names, in policy, limits and log."""
import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Process, program
from ternlib import SLOW, Client, Tern, can_connect, dotted, free_port, need, run, wait_for

CONFIG = """
hostname: mx.test
listeners:
  mx: { bind: "127.0.0.1:{port}", proxy: {proxies}, policy: inbound }
limits: { sessions: {sessions}, sessions_per_address: 2 }
timeouts: { proxy: {wait} }
policies:
  inbound:
    - lua: { script: who.lua, refuse_at: now }
    - domains: { local: [example.org] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: mailboxes }]
"""
WHO = """
local tern = require "tern"
tern.on("connect", function(session)
  tern.log.info("asked about " .. (session.client or "nobody"))
  if session.client == "192.0.2.66" then
    return tern.reject(554, "5.7.1", "Not from there")
  end
end)
"""
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def server(proxies='["127.0.0.1"]', wait="10s", sessions=100):
    return Tern(CONFIG, files={"who.lua": WHO}, proxies=proxies, wait=wait, sessions=sessions).start()


def v1(client="192.0.2.7", to="198.51.100.1"):
    return b"PROXY TCP%d %s %s 40000 25\r\n" % (6 if ":" in client else 4, client.encode(), to.encode())


def v2(client="192.0.2.7", command=1, tlvs=b""):
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    body = socket.inet_pton(family, client) * 2 + struct.pack("!HH", 40000, 25) + tlvs
    return SIGNATURE + bytes([0x20 | command, 0x21 if family == socket.AF_INET6 else 0x11]) + struct.pack("!H", len(body)) + body


def connect(t, header=b"", source="127.0.0.1", byte_by_byte=False):
    c = Client.__new__(Client)
    c.sock = socket.create_connection(("127.0.0.1", t.port), 30 * SLOW, source_address=(source, 0))
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.sock.settimeout(60 * SLOW)
    c.rest = b""
    for i in range(len(header) if byte_by_byte else 1):
        c.send(header[i:i + 1] if byte_by_byte else header)
        if byte_by_byte:
            time.sleep(0.002)
    return c


def is_closed(c):
    """nothing is said, the connection ends"""
    try:
        return c.sock.recv(100) == b""
    except ConnectionResetError:
        return True


def code_of(c):
    """the reply to it"""
    try:
        return c.reply()[0]
    finally:
        c.close()


def send_mail(c):
    assert c.reply()[0] == 220
    return c.mail("a@client.example", ["bob@example.org"], "Subject: x\n\nx\n")


def test_whom_the_header_names():
    """Both versions, whole and octet by octet, also with the first commands in the same packet."""
    with server() as t:
        for number, (header, client) in enumerate([(v1(), b"[192.0.2.7]"), (v2(), b"[192.0.2.7]"), (v1("2001:db8::7", "::1"), b"[IPv6:2001:db8::7]"),
                                                   (v2("2001:db8::7", tlvs=b"\xee\0\4abcd"), b"[IPv6:2001:db8::7]"),
                                                   (b"PROXY UNKNOWN\r\n", b"[127.0.0.1]"), (v2(command=0), b"[127.0.0.1]")]):
            for slow in (False, True):
                c = connect(t, header, byte_by_byte=slow)
                assert send_mail(c)[0] == 250
                c.close()
                got = wait_for(lambda: len(t.maildir("bob")) == 2 * number + slow + 1 and t.maildir("bob"))
                assert any(client in m for m in got), (header, got)
        c = connect(t, v1() + b"EHLO client.example\r\nNOOP\r\n")
        assert [c.reply()[0] for _ in range(3)] == [220, 250, 250]
        for words in ("client=192.0.2.7 via=127.0.0.1", "client=127.0.0.1 from=", "asked about 192.0.2.7"):
            wait_for(lambda: words in t.log_text())


def test_policy_sees_the_client():
    with server() as t:
        c = connect(t, v1("192.0.2.66"))
        code, text = c.reply()
        assert code == 554 and text.startswith("5.7.1 Not from there"), text
        wait_for(lambda: "reject client=192.0.2.66 via=127.0.0.1" in t.log_text())


def test_others_are_clients_themselves():
    """Who is not in `proxy:` is not asked for a header, and cannot lie with one."""
    with server('["127.0.0.2"]') as t:
        c = Client(t.port)
        assert c.banner[0] == 220
        assert c.cmd("PROXY TCP4 192.0.2.66 127.0.0.1 1 2")[0] == 500
        c = connect(t, v1(), source="127.0.0.2")
        assert c.reply()[0] == 220
        wait_for(lambda: "asked about 192.0.2.7" in t.log_text())
        assert "asked about 127.0.0.2" not in t.log_text() and "asked about 192.0.2.66" not in t.log_text()


def test_what_is_no_header():
    """The connection ends without a word, and the log says why."""
    with server(wait="%ds" % (3 + SLOW)) as t:
        for header, why in ((b"EHLO client.example\r\n", "got something that is no PROXY header"),
                            (b"PROXY TCP4 here there 1 2\r\n", "got an address that is none"),
                            (v2()[:13] + b"\x12" + v2()[14:], "got an address family that is no stream"),
                            (b"\x16\x03\x01\x02", "got something that is no PROXY header"),
                            (v1()[:20], "got a part of one in time"), (b"", "got nothing in time")):
            begin = time.monotonic()
            assert is_closed(connect(t, header)), header
            assert time.monotonic() - begin < 30 * SLOW
            wait_for(lambda: why in t.log_text())
        c = connect(t, v1()[:20])
        c.sock.shutdown(socket.SHUT_WR)
        assert is_closed(c)
        wait_for(lambda: "got a part of one, and the end" in t.log_text())
        lines = t.log_text().count(" proxy ")
        connect(t).close()  # a health check that only connects
        assert t.metric("tern_proxy_refused_total") == 7 and t.log_text().count(" proxy ") == lines
        assert connect(t, v1()).reply()[0] == 220


def test_limits_are_the_clients():
    """sessions_per_address counts whom the header names; limits.sessions holds for those that have not said it yet, too."""
    with server(sessions=5) as t:
        wait_for(lambda: t.status()["sessions"] == 0)
        held = [connect(t, v1()) for _ in range(2)]
        assert [c.reply()[0] for c in held] == [220, 220]
        assert connect(t, v1()).reply()[0] == 421
        held.append(connect(t, v1("192.0.2.8")))
        assert held[-1].reply()[0] == 220
        held += [connect(t), connect(t)]
        wait_for(lambda: code_of(connect(t, v1("192.0.2.9"))) == 421)  # the loops may take them in any order
        for c in held:
            c.close()
        def all_gone():
            c = connect(t, v1())
            try:
                return c.reply()[0] == 220
            finally:
                c.close()
        wait_for(all_gone)


def test_stop_while_a_header_is_awaited():
    with server() as t:
        c = connect(t, v1()[:10])
        time.sleep(0.2)
        assert t.stop() == 0
        assert is_closed(c)


class Haproxy(Process):
    def __init__(self, tern_port, send):
        super().__init__("tern-haproxy-")
        self.port = free_port()
        path = os.path.join(self.dir, "haproxy.cfg")
        with open(path, "w") as f:
            f.write("""defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen mail
  bind 127.0.0.1:%d
  source 127.0.0.3
  server tern 127.0.0.1:%d %s
""" % (self.port, tern_port, send))
        self.start(program("haproxy"), "-db", "-f", path)
        wait_for(lambda: self.alive() and can_connect(self.port), 20)


def test_haproxy():
    need("haproxy")
    for send in ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id", "send-proxy-v2 check inter 200ms fall 1000"):
        with server('["127.0.0.3"]') as t, Haproxy(t.port, send) as h:
            c = Client.__new__(Client)
            c.sock = socket.create_connection(("127.0.0.1", h.port), 30 * SLOW, source_address=("127.0.0.9", 0))
            c.sock.settimeout(30 * SLOW)
            c.rest = b""
            assert send_mail(c)[0] == 250, send
            mail = wait_for(lambda: t.maildir("bob"))[0]
            assert b"([127.0.0.9])" in mail, mail
            wait_for(lambda: "client=127.0.0.9 via=127.0.0.3" in t.log_text())
            assert " proxy " not in t.log_text(), t.log_text()


if __name__ == "__main__":
    run([f for n, f in list(globals().items()) if n.startswith("test_")])
