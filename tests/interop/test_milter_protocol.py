#!/usr/bin/python3
"""The milter protocol, packet by packet: what any mail server may send, what none would, and what is heard in return."""
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from mta import Mta, packet
from ternlib import SLOW, Client, Tern, need, need_shared, run, wait_for

CONFIG = """
hostname: mx.test
control: {dir}/control
log: { decisions: {dir}/decisions }
temp: {dir}
{more}
listeners: { mta: { protocol: milter, bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [home.example], recipients: [bob@home.example, full@home.example] }
    - lua: { script: filter.lua }
"""
FILTER = r"""
local tern = require "tern"
tern.on("mail", function(txn)
  if txn.sender.address == "new@client.example" then txn:rewrite_sender("other@client.example") end
end)
tern.on("rcpt", function(txn, rcpt)
  if rcpt.local_part == "list" then rcpt:expand({ "one@home.example", "two@home.example" }) end
  if rcpt.local_part == "moved" then rcpt:rewrite("there@far.example") end
  if rcpt.local_part == "same" then rcpt:expand({ rcpt.address, "copy@home.example" }) end
  if rcpt.local_part == "void" then return tern.discard() end
end)
tern.on("message", function(txn)
  local what = txn:header("Subject") or ""
  if what:match("hold") then return tern.hold("because") end
  if what:match("discard") then return tern.discard() end
  if what:match("add") then txn:add_rcpt("added@home.example") end
  if what:match("top") then txn:add_header("X-Top", "1\r\n\tfolded") end
  if what:match("change") then txn:replace_header("X-Old", "new", 2) txn:remove_header("X-Old", 1) txn:append_header("X-End", "2") end
  if what:match("behind") then txn:append_header("X-Old", "last") end
  if what:match("ask") then local answer = tern.dns("slow.example", "A") return tern.reject(550, "5.7.1", "slow") end
  if what:match("count") then return tern.reject(550, "5.7.1", txn.size .. " octets for " .. txn.rcpt_count) end
end)
"""


def server(more="", config=CONFIG, files=None, command="milter", **values):
    return Tern(config.replace("{more}", more), files=files or {"filter.lua": FILTER}, command=command, **values).start()


def strings(data):
    return [w.decode() for w in data.split(b"\0")[:-1]]


def test_what_becomes_of_a_mail():
    """Sender, recipients, header fields, quarantine, discard: the packets, in the order in which they must be applied."""
    with server() as t, Mta(t.port) as m:
        assert m.version == 6 and m.actions == 0x1FD and m.steps == 0x1C0180 | 0x200, (m.version, hex(m.actions), hex(m.steps))
        assert b"{auth_authen}" in m.symbols and b"{tls_version}" in m.symbols
        m.begin()
        assert m.whole() == [(b"c", b"")]
        assert m.mail() == m.rcpt() == (b"c", b"")
        assert m.whole([("Subject", " top add")]) == [(b"+", b"<added@home.example>\0"), (b"i", b"\0\0\0\0X-Top\0 1\n\tfolded\0"), (b"c", b"")]
        assert m.mail("<new@client.example>") == (b"c", b"")
        for r in ("<list@x.example>", "<bob@home.example>", "<moved@x.example>", "same@x.example"):
            assert m.rcpt(r) == (b"c", b""), r
        got = m.whole()
        assert got[0] == (b"e", b"<other@client.example>\0"), got
        assert sorted(got[1:-1]) == sorted([(b"+", b"<one@home.example>\0"), (b"+", b"<two@home.example>\0"), (b"+", b"<there@far.example>\0"),
                                            (b"+", b"<copy@home.example>\0"), (b"-", b"<list@x.example>\0"), (b"-", b"<moved@x.example>\0")]), got
        assert m.mail() == m.rcpt() == (b"c", b"")
        got = m.whole([("X-Old", " a"), ("Subject", " change"), ("x-old", " b"), ("X-Old", " c")])
        assert got == [(b"m", b"\0\0\0\2X-Old\0 new\0"), (b"m", b"\0\0\0\1X-Old\0\0"), (b"h", b"X-End\0 2\0"), (b"c", b"")], got
        assert m.mail() == m.rcpt() == (b"c", b"")
        got = m.whole([("X-Old", " a"), ("Subject", " behind")])  # Sendmail would put it in front by h
        assert got == [(b"i", b"\x7f\xff\xff\xffX-Old\0 last\0"), (b"c", b"")], got
        assert m.mail() == m.rcpt() == (b"c", b"")
        assert m.whole([("Subject", " hold")]) == [(b"q", b"because\0"), (b"c", b"")]
        assert m.mail() == m.rcpt() == (b"c", b"")
        assert m.whole([("Subject", " discard")]) == [(b"d", b"")]
        # Who is rewritten or expanded keeps what the client wants to be told, if the server can hear that.
        assert m.mail() == (b"c", b"")
        assert m.rcpt("<moved@x.example>", "NOTIFY=NEVER", "ORCPT=rfc822;moved@x.example") == m.rcpt("<list@x.example>", "NOTIFY=SUCCESS,FAILURE") == (b"c", b"")
        assert m.rcpt("<bob@home.example>", "NOTIFY=NEVER") == (b"c", b"")
        want = [(b"2", b"<there@far.example>\0NOTIFY=NEVER ORCPT=rfc822;moved@x.example\0"), (b"2", b"<one@home.example>\0NOTIFY=SUCCESS,FAILURE\0"),
                (b"2", b"<two@home.example>\0NOTIFY=SUCCESS,FAILURE\0"), (b"-", b"<moved@x.example>\0"), (b"-", b"<list@x.example>\0"), (b"c", b"")]
        assert m.whole() == want
        # One who is refused, one whose copy nobody gets: a mail has one fate, so that the next of another kind waits.
        assert m.mail() == (b"c", b"")
        code, data = m.rcpt("<nobody@home.example>")
        assert code == b"y" and data.startswith(b"550 5.1.1 "), data
        assert m.rcpt("<void@x.example>") == (b"c", b"")
        code, data = m.rcpt()
        assert code == b"y" and data.startswith(b"452 4.5.3 "), data
        assert m.whole() == [(b"d", b"")]
        # Nobody left, and nobody asked for.
        assert m.mail() == (b"c", b"") and m.rcpt("<nobody@home.example>")[0] == b"y"
        assert m.end()[0][1].startswith(b"554 5.5.1 No valid recipients")
        m.send(b"Q")
        assert m.is_closed()


def test_versions_2_to_6():
    """An old server gets an answer for each packet, and no packet that it does not know."""
    with server() as t:
        for version, actions, steps in ((2, 0x3F, 0x7F), (3, 0x3F, 0x7F), (4, 0x3F, 0x3FF), (6, 0x1FF, 0x1FFFFF), (9, 0xFFFFFFFF, 0xFFFFFFFF)):
            with Mta(t.port, version=version, actions=actions, steps=steps) as m:
                assert m.version == min(version, 6) and not m.actions & ~actions and not m.steps & ~steps
                m.begin()
                want = " 1\n\tfolded" if m.steps & 0x100000 else "1\n\tfolded"
                assert m.whole([("Subject", " top")]) == [(b"i", b"\0\0\0\0X-Top\0%s\0" % want.encode()), (b"c", b"")], version
        with Mta(t.port, actions=0x1FF & ~0x80) as m:  # knows of no parameters: the recipient is added all the same
            m.connect(), m.mail()
            assert m.rcpt("<moved@x.example>", "NOTIFY=NEVER") == (b"c", b"")
            assert m.whole() == [(b"+", b"<there@far.example>\0"), (b"-", b"<moved@x.example>\0"), (b"c", b"")]
        # What the server does not let its milters do is put off, and said.
        for actions, what, sender, subject in ((0x1FF & ~0x20, "put a mail in quarantine", "<a@client.example>", " hold"), (0x3F, "change the sender", "<new@client.example>", " x"),
                                               (0x1FF & ~0x4, "add a recipient", "<a@client.example>", " add"), (0x1FF & ~0x10, "change a header field", "<a@client.example>", " change"),
                                               (0x1FF & ~0x1, "add a header field", "<a@client.example>", " top")):
            with Mta(t.port, actions=actions) as m:
                m.connect()
                assert m.mail(sender) == m.rcpt() == (b"c", b"")
                got = m.whole([("X-Old", " a"), ("X-Old", " b"), ("Subject", subject)])
                assert len(got) == 1 and got[0][1].startswith(b"451 4.3.0 "), got
            wait_for(lambda: "the mail server does not let a milter " + what in t.log_text())
        with Mta(t.port, negotiate=False) as m:
            m.send(b"O", struct.pack(">III", 1, 0x3F, 0x7F))
            assert m.is_closed()
        wait_for(lambda: "protocol version 1 is offered, and 2 is the oldest" in t.log_text())


def test_what_is_not_needed_is_not_sent():
    """A policy that looks at no mail has neither header nor body sent; one without a data step no DATA."""
    early = CONFIG.split("    - lua:")[0]
    with server(config=early) as t, Mta(t.port) as m:
        assert m.steps & 0x270 == 0x270, hex(m.steps)
        m.begin()
        assert m.end() == [(b"c", b"")]
    late = FILTER + '\ntern.on("data", function(txn) if txn.sender.address:match("^no") then return tern.reject(554, "5.7.2", "Not so") end end)\n'
    with server(files={"filter.lua": late}) as t:
        with Mta(t.port) as m:
            assert m.steps & 0x270 == 0, hex(m.steps)
            m.connect(), m.mail("<no@client.example>"), m.rcpt()
            assert m.ask(b"T")[1].startswith(b"554 5.7.2 Not so")
            assert m.rcpt() == (b"c", b"")
        with Mta(t.port, version=2, actions=0x3F, steps=0x7F) as m:  # knows no DATA: asked at the end
            m.connect(), m.mail("<no@client.example>"), m.rcpt()
            assert m.whole()[0][1].startswith(b"554 5.7.2 Not so")


def test_a_step_that_a_profile_turns_on():
    """It is off for all others: the mail is sent to us all the same, or it would see none."""
    config = CONFIG.split("    - lua:")[0] + "    - lua: { script: filter.lua, name: late, mode: off }\n" \
        "profiles: { strict: { late: { mode: enforce } } }\nprofile_for: { domain: { home.example: strict } }\n"
    with server(config=config) as t, Mta(t.port) as m:
        m.begin()
        assert m.steps & 0x70 == 0, hex(m.steps)
        assert m.whole([("Subject", " count")])[0][1].startswith(b"550 5.7.1 24 octets for 1"), "not seen"
        assert m.mail() == m.rcpt("<x@far.example>") == (b"c", b"")
        assert m.whole([("Subject", " count")]) == [(b"c", b"")]


def test_refused_at_once_stays_refused():
    """A server that goes on after a connection or a greeting that was refused hears the refusal again at MAIL."""
    tell = r"""
local tern = require "tern"
tern.on("connect", function(s) if s.client == "192.0.2.66" then return tern.reject(554, "5.7.1", "Not you") end end)
tern.on("ehlo", function(s) if s.helo == "bad.example" then return tern.reject(550, "5.7.2", "Not so") end end)
"""
    with server(files={"filter.lua": tell}, config=CONFIG.replace("{ script: filter.lua }", "{ script: filter.lua, refuse_at: now }")) as t, Mta(t.port) as m:
        for got in (m.connect(address="192.0.2.66"), m.helo(), m.mail()):
            assert got[1].startswith(b"554 5.7.1 Not you"), got
        m.send(b"K")
        assert m.connect() == (b"c", b"")
        for got in (m.helo("bad.example"), m.mail(), m.mail()):
            assert got[1].startswith(b"550 5.7.2 Not so"), got
        assert m.helo("good.example") == m.mail() == m.rcpt() == (b"c", b"")
        assert m.whole() == [(b"c", b"")]


def test_hostile():
    """What is malformed or out of order closes the connection with one line in the log, and harms nobody else."""
    start = packet(b"O", struct.pack(">III", 6, 0x1FF, 0x1FFFFF))
    client = start + packet(b"C", b"x\0004\0\x19192.0.2.1\0")
    mail = client + packet(b"M", b"<a@b.example>\0")
    rcpt = mail + packet(b"R", b"<bob@home.example>\0")
    rows = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"EHLO x\r\n", packet(b"O", b"\0\0"), start + start, start + packet(b"M", b"<a@b>\0"),
            start + packet(b"C", b"x"), start + packet(b"C", b"x\0009\0\0a\0"), client + packet(b"C", b"x\0U"), client + packet(b"E"), client + packet(b"H", b"x"),
            client + packet(b"R", b"<a@b>\0"), client + packet(b"L", b"a\0b\0"), client + packet(b"M", b""), client + packet(b"M", b"<a@b>"), mail + packet(b"E"),
            mail + packet(b"B", b"x"), mail + packet(b"M", b"<a@b>\0"), rcpt + packet(b"L", b"a\0b"), rcpt + packet(b"L", b"\0b\0"), rcpt + packet(b"L", b"a\nb: c\0d\0"),
            rcpt + packet(b"N") + packet(b"L", b"a\0b\0"), rcpt + packet(b"H", b"x\0"), client + packet(b"D"), client + packet(b"D", b"Mi\0x"), client + packet(b"Z", b"x"),
            rcpt + b"\0\x10\0\1"]
    with server() as t, Mta(t.port) as good:
        good.begin()
        for i, row in enumerate(rows):
            before = len(re.findall(r" milter text=", t.log_text()))
            with Mta(t.port, negotiate=False) as m:
                m.raw(row)
                end = time.monotonic() + 60 * SLOW
                try:
                    while True:
                        m.read()
                        assert time.monotonic() < end, row
                except (EOFError, ConnectionError):
                    pass
            wait_for(lambda: len(re.findall(r" milter text=", t.log_text())) == before + 1, 10)
        # Odd, and yet no reason to close: octet by octet; addresses that are none; a name that is long.
        with Mta(t.port, negotiate=False) as m:
            for octet in rcpt:
                m.raw(bytes([octet]))
            assert [m.read()[0] for _ in range(4)] == [b"O", b"c", b"c", b"c"]
            m.send(b"A")
            code, data = m.mail("<a b@c@d>")
            assert code == b"y" and data.startswith(b"553 5.1.7 "), data
            assert m.mail("<root>")[0] == b"c" and m.rcpt("root")[0] == b"c"
            assert m.rcpt("<>")[1].startswith(b"553 5.1.3 ") and m.rcpt("<%s@home.example>" % ("x" * 2000))[1].startswith(b"553 5.1.3 ")
            assert m.rcpt("<bob@home.example>", "NOTIFY=NEVER", "XYZ", "ORCPT=")[0] == b"c"
            m.send(b"A")
            assert m.helo("x" * 100000)[0] == b"c"
            m.send(b"U", b"XYZZY\0")
            assert m.read() == (b"c", b"")
        # A header that would be two for whoever reads it next.
        with Mta(t.port) as m:
            m.begin()
            assert m.whole([("Subject", " one\nX-Old: a\r\n\tb\rc"), ("X", "")]) == [(b"c", b"")]
        assert good.whole([("Subject", " count")])[0][1].startswith(b"550 5.7.1 ")
        assert " error - milter" not in t.log_text()


def test_bounds():
    """Fields, octets and recipients of a mail at their bounds and one above; sessions; greetings."""
    with server("limits: { message_size: 64KB, recipients: 100, sessions: 3 }") as t:
        wait_for(lambda: t.status()["sessions"] == 0)  # the connection with which the start was noticed is gone
        with Mta(t.port) as m:
            m.begin()
            for n, code in ((10000, b"550 5.7.1 "), (10001, b"552 5.3.4 Message header too big"), (50000, b"552 5.3.4 Message header too big")):
                fields = b"".join(packet(b"L", b"A\0\0") for _ in range(n - 1)) + packet(b"L", b"Subject\0 count\0")
                m.raw(fields)
                assert m.end()[0][1].startswith(code), n
                m.mail(), m.rcpt()
            # "Subject: count\r\n\r\n" is 18 octets.
            for n, code in ((65536 - 18, b"550 5.7.1 65536 octets for 1"), (65536 - 17, b"552 5.3.4 Message too big"), (3 << 20, b"552 5.3.4 Message too big")):
                assert m.whole([("Subject", " count")], b"x" * n)[0][1].startswith(code), n
                m.mail(), m.rcpt()
            for n in range(99):
                assert m.rcpt() == (b"c", b"")
            assert m.rcpt()[1].startswith(b"452 4.5.3 Too many recipients")
            assert m.whole([("Subject", " count")])[0][1].startswith(b"550 5.7.1 24 octets for 100")
            for i in range(10000):
                got = m.helo("greeting-%d.example" % i)
                if got[0] != b"c":
                    break
            assert got[1].startswith(b"421 4.7.0 Too many different greetings"), got
            a, b = Mta(t.port), Mta(t.port)
            with Mta(t.port, negotiate=False) as d:
                assert d.is_closed()
            wait_for(lambda: "limits.sessions is reached" in t.log_text())
            a.close(), b.close()
            wait_for(lambda: t.status()["sessions"] == 1)
            with Mta(t.port) as d:
                d.begin()


def test_times():
    """A server that says nothing, or half a packet and then dribbles, is not waited for longer than the two time-outs say."""
    with server("timeouts: { milter: %ds, data_block: %ds }" % (4 + SLOW, 2 * SLOW)) as t:
        with Mta(t.port) as m:
            m.begin()
            assert m.is_closed()
        wait_for(lambda: "timeouts.milter: nothing came" in t.log_text())
        with Mta(t.port) as m:
            m.raw(b"\0\0\0\x40C")
            end, closed = time.monotonic() + 60 * SLOW, []
            threading.Thread(target=lambda: closed.append(m.is_closed()), daemon=True).start()
            while not closed and time.monotonic() < end:
                try:
                    m.raw(b"x" if time.monotonic() < end - 55 * SLOW else b"")
                except OSError:
                    pass
                time.sleep(0.3)
            assert closed
        wait_for(lambda: "timeouts.data_block: the rest of a packet did not come" in t.log_text())


def test_progress():
    """While a step waits the server hears so, at the end of a mail."""
    with tempfile.TemporaryDirectory(), silent_dns() as dns, server('dns: { servers: ["127.0.0.1:%d"], timeout: 14s, tries: 1 }' % dns.port) as t, Mta(t.port) as m:
        m.begin()
        got = m.whole([("Subject", " ask")])
        assert got[0] == (b"p", b"") and got[-1][0] == b"y", got


class silent_dns:
    def __enter__(self):
        import socket
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        return self

    def __exit__(self, *_):
        self.socket.close()


def test_several_clients_on_one_connection():
    """Quit-new-connection: nothing of one client is left for the next."""
    tell = r"""
local tern = require "tern"
tern.on("rcpt", function(txn) local s = txn.session
  return tern.reject(550, "5.7.1", (s.client or "none") .. " " .. (s.helo or "none") .. " " .. (s.user or "nobody") .. " " .. (s.vars.mta_name or "-") .. " " .. tostring(s.tls)) end)
"""
    with server(files={"filter.lua": tell}, config=CONFIG.replace("    - domains: { local: [home.example], recipients: [bob@home.example, full@home.example] }\n", "")) as t, Mta(t.port) as m:
        m.macros("C", j="first.example")
        m.connect(address="192.0.2.1")
        m.macros("H", tls_version="TLSv1.3", cipher="X")
        m.helo("one.example")
        m.macros("M", auth_authen="carol")
        m.mail()
        assert m.rcpt()[1].startswith(b"550 5.7.1 192.0.2.1 one.example carol first.example true"), m.rcpt()
        m.send(b"A")
        m.mail()  # another, without a login
        assert b" nobody " in m.rcpt()[1]
        m.send(b"K")
        m.connect(address="IPv6:2001:db8::1")
        m.mail()
        assert m.rcpt()[1].startswith(b"550 5.7.1 2001:db8::1 none nobody - false"), m.rcpt()
        m.send(b"K")
        assert m.ask(b"C", b"localhost\0U") == (b"c", b"")
        m.send(b"K")
        got = m.ask(b"C", b"x\0004\0\x19not an address\0")
        assert got[1].startswith(b"451 4.3.0 "), got


def test_many_at_once():
    """Eight servers at once, some of which hang up in the middle, while the configuration is loaded anew: each hears what is due to it."""
    wrong = []

    def one(port, number):
        try:
            for i in range(6):
                with Mta(port) as m:
                    m.macros("C", j="mta%d.example" % number, v="8.17.1.9")
                    m.connect(address="192.0.2.%d" % number), m.helo()
                    for what, want in (("add", [b"+", b"c"]), ("hold", [b"q", b"c"]), ("discard", [b"d"]), ("top", [b"i", b"c"])):
                        m.macros("M", i="q%d" % i, auth_authen="user+2B%d" % number)
                        assert m.mail() == m.rcpt() == (b"c", b"")
                        got = m.whole([("Subject", " " + what)], body=b"x" * 1000 * number)
                        assert [c for c, _ in got] == want, got
                    m.mail()
                    m.rcpt()
                    if i % 2:
                        m.send(b"B", b"half a mail")
                        continue  # and hangs up
                    m.send(b"A")
                    m.send(b"Q")
                    assert m.is_closed()
        except Exception as e:
            wrong.append("%d: %r" % (number, e))

    with server("limits: { sessions: 100 }\ndrain: 10m") as t:
        threads = [threading.Thread(target=one, args=(t.port, n)) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            t.cli("reload")
        for thread in threads:
            thread.join()
        assert not wrong, wrong
        assert t.metric("tern_messages_accepted_total") == 8 * 6 * 4
        wait_for(lambda: t.metric("tern_sessions") == 0)


def test_in_a_server_with_a_queue():
    """tern serve has such listeners beside its own; what each command needs is said when it is missing."""
    config = CONFIG.replace("listeners: {", 'listeners: { mx: { bind: "127.0.0.1:{smtp}", policy: inbound },')
    from ternlib import free_port
    with server(config=config + "transports: { m: { type: maildir, path: \"{dir}/mail/%{user}\" } }\nroutes: [{ class: local, transport: m }]\n",
                command="serve", smtp=free_port()) as t:
        with Mta(t.port) as m:
            m.begin()
            assert m.whole() == [(b"c", b"")]
        c = Client(t.values["smtp"])
        assert c.mail("a@client.example", ["bob@home.example"], "Subject: x\n\nx\n")[0] == 250
        wait_for(lambda: t.maildir("bob"))
        c.close()
    t = Tern(config.replace("{more}", "spool: {dir}/spool"), files={"filter.lua": FILTER}, command="milter", smtp=free_port())
    with t.start():
        from ternlib import can_connect
        assert not can_connect(t.values["smtp"])  # the queue is another's business
        assert t.status()["milter"] is True
        r = t.cli("queue", "list", check=False)
        assert r.returncode != 0 and "no queue" in r.stdout + r.stderr, r
        t.metric("tern_sessions")
    t = Tern("""
control: {dir}/control
spool: {dir}/spool
listeners: { mx: { bind: "127.0.0.1:{port}", policy: p } }
policies: { p: [hello] }
""", command="milter")
    with t:
        t.start(wait=False)
        assert t.process.wait(60 * SLOW) != 0
        assert "tern milter needs a listener with protocol: milter" in t.log_text(), t.log_text()
        t.process = None
    t = Tern(CONFIG.replace("{more}", ""), files={"filter.lua": FILTER}, command="milter")
    with t:
        t.command = "serve"
        t.start(wait=False)
        assert t.process.wait(60 * SLOW) != 0
        assert "spool: is missing, and tern serve needs it" in t.log_text(), t.log_text()
        t.process = None


def test_check():
    """`tern check` says which steps are not asked, and does not ask for routes or claims."""
    with Tern(CONFIG.replace("{more}", "").replace("    - lua", "    - auth_file: { path: users.yaml }\n    - lua"), files={"filter.lua": FILTER, "users.yaml": "{}\n"},
              command="milter") as t:
        r = t.cli("check")
        said = r.stdout + r.stderr
        assert re.search(r"tern\.yaml:\d+:7: warning: step auth_file is not asked at hook auth for listener \"mta\" \(protocol: milter\): "
                         r"that is the mail server's, it logs its clients in, and steps see as whom; it does nothing there", said), said
        assert "goes nowhere" not in said and "accepts no recipient" not in said and "step lua" not in said and said.count("warning") == 2, said


# ---- other people's ----

MILTERTEST = r"""
conn = mt.connect("inet:PORT@127.0.0.1")
if conn == nil then error("no connection") end
if mt.conninfo(conn, "client.example", "192.0.2.1") ~= nil then error("conninfo") end
if mt.getreply(conn) ~= SMFIR_CONTINUE then error("connect is not continued") end
if mt.helo(conn, "client.example") ~= nil then error("helo") end
if mt.getreply(conn) ~= SMFIR_CONTINUE then error("helo is not continued") end
mt.macro(conn, SMFIC_MAIL, "i", "ABC123")
if mt.mailfrom(conn, "<new@client.example>") ~= nil then error("mail") end
if mt.getreply(conn) ~= SMFIR_CONTINUE then error("mail is not continued") end
if mt.rcptto(conn, "<nobody@home.example>") ~= nil then error("rcpt") end
if mt.getreply(conn) ~= SMFIR_REPLYCODE then error("an unknown recipient is taken") end
if mt.rcptto(conn, "<moved@x.example>") ~= nil then error("rcpt") end
if mt.getreply(conn) ~= SMFIR_CONTINUE then error("rcpt is not continued") end
if not mt.test_option(conn, SMFIP_NODATA) then
  if mt.data(conn) ~= nil then error("data") end
  if mt.getreply(conn) ~= SMFIR_CONTINUE then error("data is not continued") end
end
if mt.header(conn, "Subject", "top change hold add") ~= nil then error("header") end
if mt.header(conn, "X-Old", "a") ~= nil then error("header") end
if mt.header(conn, "X-Old", "b") ~= nil then error("header") end
if mt.eoh(conn) ~= nil then error("eoh") end
if mt.bodyrandom(conn, 200000) ~= nil then error("body") end
if mt.eom(conn) ~= nil then error("eom") end
if mt.getreply(conn) ~= SMFIR_CONTINUE then error("eom is not continued") end
if not mt.eom_check(conn, MT_RCPTADD, "<there@far.example>") then error("no recipient added") end
if not mt.eom_check(conn, MT_RCPTDELETE, "<moved@x.example>") then error("no recipient deleted") end
if not mt.eom_check(conn, MT_QUARANTINE, "because") then error("no quarantine") end
mt.disconnect(conn)
"""


def test_miltertest():
    """OpenDKIM's own test tool goes through a mail."""
    need("miltertest")
    with server() as t:
        script = t.write("mail.lua", MILTERTEST.replace("PORT", str(t.port)))
        r = subprocess.run(["miltertest", "-s", script], capture_output=True, text=True, timeout=120 * SLOW)
        assert r.returncode == 0 and "error" not in r.stderr, (r.stdout, r.stderr)


def test_the_protocol_text():
    """The commands, responses and bits of the protocol's description, read from it: each is answered as it says."""
    path = need_shared("corpora", "protocols", "milter", "milter-protocol.txt")
    with open(path) as f:
        text = f.read()
    commands = dict(re.findall(r"^'(\w)'\tSMFIC_(\w+)[^\n]*\n\t\t\tExpected response:\s+([^\n]+)", text, re.M) and
                    [(c, (n, e)) for c, n, e in re.findall(r"^'(\w)'\tSMFIC_(\w+)[^\n]*\n\t\t\tExpected response:\s+([^\n]+)", text, re.M)])
    assert sorted(commands) == sorted("ABCDEHLMNORQ"), commands
    actions = sum(int(b, 16) for b, _ in re.findall(r"^(0x\d\d)\tSMFIF_(\w+)", text, re.M))
    steps = sum(int(b, 16) for b, _ in re.findall(r"^(0x\d\d)\tSMFIP_(\w+)", text, re.M))
    assert (actions, steps) == (0x3F, 0x7F)
    data = {"C": b"client.example\0004\x9c\x40192.0.2.1\0", "H": b"client.example\0", "M": b"<a@client.example>\0SIZE=10\0", "R": b"<bob@home.example>\0",
            "L": b"Subject\0x\0", "N": b"", "B": b"body\r\n", "E": b"", "A": b"", "D": b"Mi\0ABC\0", "Q": b""}
    responses = set(re.findall(r"^'(.)'\tSMFIR_", text, re.M))
    with server() as t, Mta(t.port, version=2, actions=actions, steps=steps) as m:
        for c in "CHDMRLNBEADMRAQ":  # as "a typical milter conversation" has it, then an abort with a second mail
            m.send(c.encode(), data[c])
            name, expected = commands[c]
            if expected.startswith("NONE"):
                continue
            if expected.startswith("Close"):
                assert m.is_closed()
                continue
            code, _ = m.read()
            assert code.decode() in responses and code == b"c", (c, name, code)
    seen = set()
    with server() as t:
        for subject in ("add top", "change", "hold", "discard", "count"):
            with Mta(t.port, version=2, actions=actions, steps=steps) as m:
                m.connect(), m.mail(), m.rcpt("<moved@x.example>")
                for code, body in m.whole([("X-Old", "a"), ("X-Old", "b"), ("Subject", subject)]):
                    seen.add(code.decode())
                    end = body.endswith(b"\0") or body == b""
                    assert end, (code, body)
    # `i` came with Sendmail 8.13, after this text.
    assert seen <= responses | {"i"} and seen >= set("+-hmqdyc"), (seen, responses)


if __name__ == "__main__":
    run([f for n, f in sorted(globals().items()) if n.startswith("test_")])
