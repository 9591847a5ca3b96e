#!/usr/bin/python3
"""Delivery to real and scripted next hops: outcomes, bounces, retries, what a hop offers, hosts and MX, routes."""
import contextlib
import email
import email.policy
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Dovecot, Knot, Silent, Sink, SmtpSink, free_port_on
from ternlib import SLOW, Client, Tern, dotted, free_port, need, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
retry: { min: 1s, max: 1s, factor: 100, jitter: 0, expire: {expire}, expire_bounce: {expire} }
dns: { servers: ["127.0.0.1:{dns}"], timeout: {wait}, tries: 1 }
policies:
  inbound:
{domains}
{steps}
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
{transports}
routes:
  - { domain: [home.example], transport: mailboxes }
{routes}
"""
DOMAINS = """    - domains:
        local: [home.example, dove.example]
        recipients: [sender@home.example, bob@home.example, alice@dove.example, bob@dove.example]
        networks: [127.0.0.0/8]"""
ANYWHERE = "    - domains: { networks: [127.0.0.0/8] }"  # one class, so that one message goes to all
SENDER = "sender@home.example"


def server(transports="", routes="", steps="", files=None, expire="1h", dns=9, domains=DOMAINS, more="",
           wait="10s", **values):
    c = more + CONFIG.replace("{domains}", domains).replace("{steps}", steps).replace("{transports}", transports).replace("{routes}", routes)
    return Tern(c, files=files, expire=expire, dns=dns, wait=wait, **values).start()


def send(t, rcpts, body="Subject: test\n\nhello\n", sender=SENDER):
    """The queue id."""
    c = Client(t.port)
    c.cmd("EHLO client.example")
    assert c.cmd("MAIL FROM:<%s>" % sender)[0] == 250
    for r in rcpts:
        code, text = c.cmd("RCPT TO:<%s>" % r)
        assert code == 250, (r, code, text)
    c.cmd("DATA")
    c.send(dotted(body) + b".\r\n")
    code, text = c.reply()
    c.close()
    assert code == 250, (code, text)
    return queue_id(text)


def idle(t):
    """Twice: a bounce that was made while the list was read stands in the second."""
    wait_for(lambda: t.queue() == [] and t.queue() == [], 30)


def outcomes(t, ident, word):
    """Log lines of that message with that outcome."""
    return [l for l in t.log_text().splitlines() if ident in l and " %s" % word in l]


def notices(t, who="sender"):
    return [email.message_from_bytes(m, policy=email.policy.default) for m in t.maildir(who)]


def statuses(notice):
    """{recipient: (action, status, diagnostic)} of a notice, whose form is checked on the way (RFC 3464, 6522)."""
    assert notice.get_content_type() == "multipart/report", notice["Content-Type"]
    assert notice.get_param("report-type") == "delivery-status"
    parts = list(notice.iter_parts())
    assert [p.get_content_type() for p in parts[:2]] == ["text/plain", "message/delivery-status"] or \
        [p.get_content_type() for p in parts[:2]] == ["text/plain", "message/global-delivery-status"], parts  # RFC 6533
    assert parts[2].get_content_type() in ("text/rfc822-headers", "message/global-headers"), parts[2].get_content_type()
    blocks = parts[1].get_payload()
    if parts[1].get_content_type() == "message/global-delivery-status":  # which email.parser does not know
        rest = blocks[0].get_payload().strip().split("\n\n")
        blocks = blocks[:1] + [email.message_from_string(b, policy=email.policy.default) for b in rest]
    assert blocks[0]["Reporting-MTA"] == "dns; mx.test", blocks[0].items()
    assert notice["Return-Path"] == "<>" and notice["To"] and notice["Date"] and notice["Message-ID"]
    assert notice["Auto-Submitted"] == "auto-replied", notice["Auto-Submitted"]
    return {b["Final-Recipient"].split(";")[1].strip(): (b["Action"], b["Status"], b["Diagnostic-Code"] or "")
            for b in blocks[1:]}


def one_notice(t):
    wait_for(lambda: t.maildir("sender"), 30)
    got = notices(t)
    assert len(got) == 1, got
    return statuses(got[0])


# ---- outcomes ----

def test_three_transports_one_refused_one_deferred():
    """maildir, Dovecot's LMTP, SMTP; 550 for one, 451 once for another: three deliveries, one bounce, one retry."""
    need("dovecot")
    answers = {"no@far.example": "550 5.1.1 No such user", "later@far.example": ["451 4.2.1 Busy", "250 2.1.5 Ok"]}
    with Dovecot("alice") as d, Sink(answers) as sink:
        with server('  dove: { type: lmtp, to: ["127.0.0.1:{lmtp}"] }\n  far: { type: smtp, to: ["127.0.0.1:{smtp}"] }\n',
                    "  - { domain: [dove.example], transport: dove }\n  - { transport: far }\n",
                    domains=ANYWHERE, lmtp=d.port, smtp=sink.port) as t:
            rcpts = ["bob@home.example", "alice@dove.example", "no@far.example", "later@far.example"]
            ident = send(t, rcpts + ["yes@far.example"])
            idle(t)
            assert len(t.maildir("bob")) == 1 and len(d.mailbox("alice")) == 1
            assert len(sink.got("yes@far.example")) == 1 and len(sink.got("later@far.example")) == 1
            assert sink.got("no@far.example") == []
            got = one_notice(t)
            assert list(got) == ["no@far.example"] and got["no@far.example"][:2] == ("failed", "5.1.1"), got
            assert "No such user" in got["no@far.example"][2]
            assert len(outcomes(t, ident, "deferred")) == 1, outcomes(t, ident, "deferred")
            assert len(outcomes(t, ident, "delivered")) == 4
            assert b"Delivered-To: alice@dove.example" in d.mailbox("alice")[0]
            assert d.mailbox("alice")[0].startswith(b"Return-Path: <%s>" % SENDER.encode())


def test_groups_of_one_transaction():
    """split: false: local and foreign recipients in one transaction become messages T and T.2 with one body."""
    with Sink() as sink:
        with server(*FAR, smtp=sink.port, more="split: false\n") as t:
            ident = send(t, ["bob@home.example", "x@far.example"])
            idle(t)
            assert len(t.maildir("bob")) == 1 and len(sink.got("x@far.example")) == 1
            assert t.maildir("bob")[0].split(b"\n\n", 1)[1] == b"hello\n"
            assert outcomes(t, ident, "delivered") and outcomes(t, ident + ".2", "delivered"), t.log_text()


def test_dovecot_refuses_over_a_unix_socket():
    need("dovecot")
    with Dovecot("alice") as d:
        with server('  dove: { type: lmtp, to: ["unix:{socket}"] }\n',
                    "  - { domain: [dove.example], transport: dove }\n", socket=d.socket) as t:
            send(t, ["alice@dove.example", "bob@dove.example"])
            got = one_notice(t)
            assert got["bob@dove.example"][:2] == ("failed", "5.1.1"), got
            assert len(d.mailbox("alice")) == 1
            idle(t)


FAR = '  far: { type: smtp, to: ["127.0.0.1:{smtp}"] }\n', "  - { transport: far }\n"


def test_lmtp_replies_per_recipient():
    dot = {"b@far.example": "552 5.2.2 Full", "c@far.example": ["452 4.2.2 Nearly full", "250 2.0.0 Ok"]}
    with Sink(dot=dot, lmtp=True) as sink:
        with server('  far: { type: lmtp, to: ["127.0.0.1:{smtp}"] }\n', FAR[1], smtp=sink.port) as t:
            ident = send(t, ["a@far.example", "b@far.example", "c@far.example"])
            idle(t)
            got = one_notice(t)
            assert got["b@far.example"][:2] == ("failed", "5.2.2"), got
            assert len(got) == 1
            assert len(outcomes(t, ident, "deferred")) == 1
            # a and c stand in the first mail (LMTP takes all), c alone in the second
            assert [m.rcpts for m in sink.mails][-1] == ["c@far.example"], [m.rcpts for m in sink.mails]


def test_no_bounce_of_a_bounce():
    with Sink({"*": "550 5.1.1 Nobody here"}) as sink:
        with server(*FAR, smtp=sink.port) as t:
            ident = send(t, ["x@far.example"], sender="")
            idle(t)
            assert outcomes(t, ident, "bounced")
            assert t.maildir("sender") == [] and sink.count("MAIL") == 1
            # The notice for a sender that is refused too ends there.
            send(t, ["x@far.example"], sender="gone@far.example")
            wait_for(lambda: sink.count("MAIL FROM:<>") == 1 + 1)
            idle(t)
            assert sink.count("MAIL") == 3, sink.commands


def test_expiry_bounces():
    with Sink({"*": "451 4.7.1 Not now"}) as sink:
        with server(*FAR, smtp=sink.port, expire="%ds" % (6 + SLOW)) as t:  # time for a first try
            ident = send(t, ["x@far.example"])
            got = one_notice(t)
            assert got["x@far.example"][:2] == ("failed", "4.4.7"), got
            assert "Not now" in got["x@far.example"][2]
            assert len(outcomes(t, ident, "expired")) == 1 and len(outcomes(t, ident, "deferred")) >= 1
            idle(t)


def test_soft_bounce():
    """Nothing is refused or returned for good, at both ends."""
    with Sink({"x@far.example": ["550 5.1.1 No such user", "250 2.1.5 Ok"]}) as sink:
        with server(*FAR, smtp=sink.port, more="soft_bounce: true\n") as t:
            c = Client(t.port)
            code, text = c.mail(SENDER, ["nobody@home.example"], "x\n")
            assert 400 <= code < 500 and text.startswith("4."), (code, text)
            ident = send(t, ["x@far.example"])
            assert "No such user" in wait_for(lambda: outcomes(t, ident, "deferred"))[0]
            wait_for(lambda: sink.mails)
            idle(t)
            assert t.maildir("sender") == [] and not outcomes(t, ident, "bounced")


# ---- what the next hop offers ----

def test_extensions_that_are_missing():
    """SIZE, 8BITMIME and SMTPUTF8 refused or absent: a bounce with the right code, nothing converted."""
    with Sink(ehlo=("SIZE 300",)) as sink:
        with server(*FAR, smtp=sink.port) as t:
            c = Client(t.port)
            c.cmd("EHLO me")
            for params, rcpt, body in ((" BODY=8BITMIME", "eight@far.example", b"Subject: x\r\n\r\n\xc3\xa4\r\n"),
                                       (" SMTPUTF8", "utf8@far.example", b"Subject: \xc3\xa4\r\n\r\nx\r\n"),
                                       ("", "size@far.example", b"Subject: x\r\n\r\n" + b"x" * 400 + b"\r\n"),
                                       (" BODY=8BITMIME SMTPUTF8", "said@far.example", b"Subject: x\r\n\r\nx\r\n"),
                                       ("", "seven@far.example", b"Subject: x\r\n\r\nx\r\n")):
                assert c.cmd("MAIL FROM:<%s>%s" % (SENDER, params))[0] == 250
                assert c.cmd("RCPT TO:<%s>" % rcpt)[0] == 250
                assert c.cmd("DATA")[0] == 354
                c.send(body + b".\r\n")
                assert c.reply()[0] == 250
            c.close()
            idle(t)
            got = {}
            for n in notices(t):
                got.update(statuses(n))
            assert {k: v[1] for k, v in got.items()} == {"eight@far.example": "5.6.3", "utf8@far.example": "5.6.7",
                                                        "size@far.example": "5.3.4"}, got
            # Which needs nothing, whatever its client said, needs no bounce.
            assert sorted(m.rcpts for m in sink.mails) == [["said@far.example"], ["seven@far.example"]]
            assert not any("BODY" in m.mail_line or "SMTPUTF8" in m.mail_line for m in sink.mails)


def test_smtputf8_for_the_body_only():
    """UTF-8 in no header and no address: 8BITMIME will do (RFC 6531 3.6). In the header of a part it will not."""
    part = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Description: %s\r\n\r\n\xc3\xb6\r\n--b--\r\n"
    with Sink(ehlo=("8BITMIME",)) as sink:
        with server(*FAR, smtp=sink.port) as t:
            c = Client(t.port)
            c.cmd("EHLO me")
            for params, rcpt, body in ((" BODY=8BITMIME SMTPUTF8", "body@far.example", b"Subject: x\r\n\r\n\xc3\xa4\r\n"),
                                       (" SMTPUTF8", "alone@far.example", b"Subject: x\r\n\r\n\xc3\xa4\r\n"),
                                       (" BODY=8BITMIME SMTPUTF8", "text@far.example", part % b"x"),
                                       (" BODY=8BITMIME SMTPUTF8", "part@far.example", part % b"\xc3\xa4"),
                                       (" BODY=8BITMIME SMTPUTF8", "header@far.example", b"Subject: \xc3\xa4\r\n\r\nx\r\n")):
                assert c.cmd("MAIL FROM:<%s>%s" % (SENDER, params))[0] == 250
                assert c.cmd("RCPT TO:<%s>" % rcpt)[0] == 250
                assert c.cmd("DATA")[0] == 354
                c.send(body + b".\r\n")
                assert c.reply()[0] == 250
            c.close()
            idle(t)
            got = {}
            for n in notices(t):
                got.update(statuses(n))
            assert {k: v[1] for k, v in got.items()} == {"part@far.example": "5.6.7", "header@far.example": "5.6.7"}, got
            assert sorted(m.rcpts[0].split("@")[0] for m in sink.mails) == ["alone", "body", "text"], [m.rcpts for m in sink.mails]
            assert all(m.mail_line.endswith("> BODY=8BITMIME") for m in sink.mails), [m.mail_line for m in sink.mails]


def test_extensions_that_are_there():
    with Sink() as sink:
        with server(*FAR, smtp=sink.port) as t:
            c = Client(t.port)
            c.cmd("EHLO me")
            c.cmd("MAIL FROM:<%s> BODY=8BITMIME SMTPUTF8" % SENDER)
            assert c.cmd("RCPT TO:<ü@far.example>")[0] == 250
            c.cmd("DATA")
            c.send("Subject: ä\r\n\r\nö\r\n..\r\n.\r\n")
            assert c.reply()[0] == 250
            wait_for(lambda: sink.mails)
            m = sink.mails[0]
            assert m.rcpts == ["ü@far.example"] and "SMTPUTF8" in m.mail_line and "BODY=8BITMIME" in m.mail_line
            assert m.data.endswith("Subject: ä\r\n\r\nö\r\n.\r\n".encode()), m.data
            size = int(re.search(r"SIZE=(\d+)", m.mail_line).group(1))
            assert size == len(m.data), (size, len(m.data))


def test_pipelining_on_and_off():
    for ehlo, piped in ((("PIPELINING",), True), ((), False)):
        with Sink(ehlo=ehlo) as sink:
            with server(*FAR, smtp=sink.port) as t:
                send(t, ["r%d@far.example" % i for i in range(5)])
                wait_for(lambda: sink.mails)
                assert len(sink.mails[0].rcpts) == 5
                assert (max(sink.bursts[:8]) > 1) == piped, sink.bursts


def test_peer_that_knows_helo_only():
    with Sink(ehlo=None) as sink:
        with server(*FAR, smtp=sink.port) as t:
            send(t, ["x@far.example"])
            wait_for(lambda: sink.mails)
            assert sink.commands[:3] == ["EHLO mx.test", "HELO mx.test", "MAIL FROM:<%s>" % SENDER], sink.commands


def test_connections_are_reused():
    with Sink() as sink:
        with server('  far: { type: smtp, to: ["127.0.0.1:{smtp}"], connections_max: 1, messages_max: 10, idle: 5m }\n', FAR[1],
                    smtp=sink.port) as t:
            c = Client(t.port)
            for i in range(20):
                assert c.mail(SENDER, ["r%d@far.example" % i], "Subject: x\n\n%d\n" % i, helo=i == 0 and "me")[0] == 250
            idle(t)
            assert len(sink.mails) == 20
            assert 2 <= sink.connections <= 4, sink.connections
            most = max(sum(m.connection == n for m in sink.mails) for n in range(1, sink.connections + 1))
            assert most <= 10, most


def test_peer_that_hangs_up():
    """At DATA: deferred and tried again; the message is not lost."""
    with Sink(drop_after="DATA") as sink:
        with server(*FAR, smtp=sink.port) as t:
            ident = send(t, ["x@far.example"])
            wait_for(lambda: outcomes(t, ident, "deferred"))
            sink.drop_after = None
            wait_for(lambda: sink.mails, 20)
            idle(t)
            assert len(sink.mails) == 1 and t.maildir("sender") == []


def test_greeting_refuses():
    with Sink(banner="554 5.7.1 Go away") as sink:
        with server(*FAR, smtp=sink.port) as t:
            ident = send(t, ["x@far.example"])
            wait_for(lambda: outcomes(t, ident, "deferred") or outcomes(t, ident, "bounced"))
            assert "Go away" in t.log_text()


def test_refusals_at_each_command():
    """MAIL, DATA's end and the greeting, for good: a bounce with the other side's words; for now: tried again."""
    for how in ({"on_mail": "550 5.7.1 Not from you"}, {"on_data": "554 5.7.1 Not from you"}):
        with Sink(**how) as sink, server(*FAR, smtp=sink.port) as t:
            send(t, ["x@far.example", "y@far.example"])
            got = one_notice(t)
            assert sorted(got) == ["x@far.example", "y@far.example"], got
            assert all(v[:2] == ("failed", "5.7.1") and "Not from you" in v[2] for v in got.values()), got
            idle(t)
    for how in ({"on_mail": "421 4.3.2 Shutting down"}, {"on_mail": "451 4.3.0 Later"}, {"on_data": "451 4.3.0 Later"},
                {"banner": "421 4.3.2 Shutting down"}):
        with Sink(**how) as sink, server(*FAR, smtp=sink.port) as t:
            ident = send(t, ["x@far.example"])
            wait_for(lambda: outcomes(t, ident, "deferred"))
            sink.on_mail, sink.on_data, sink.banner = "250 2.1.0 Ok", None, "220 sink.test"
            wait_for(lambda: sink.mails, 20)
            idle(t)
            assert len(sink.mails) == 1 and t.maildir("sender") == []


def test_connection_that_was_closed_while_idle():
    """The next mail goes over a new one at once, and is not deferred."""
    with Sink(idle_close=0.2) as sink:
        with server(*FAR, smtp=sink.port) as t:
            for i in range(3):
                ident = send(t, ["x%d@far.example" % i])
                wait_for(lambda: len(sink.mails) == i + 1)
                idle(t)
                wait_for(lambda: all(s.fileno() < 0 for s in sink.open))
                t.settle()  # it has heard of that
            assert " deferred " not in t.log_text(), ident


def test_many_recipients():
    """100 of a transaction at most (RFC 5321 4.5.3.1.8); each gets it once."""
    rcpts = ["r%d@far.example" % i for i in range(250)]
    with Sink() as sink, server(*FAR, smtp=sink.port) as t:
        send(t, rcpts)
        idle(t)
        assert sorted(r for m in sink.mails for r in m.rcpts) == sorted(rcpts)
        assert sorted(len(m.rcpts) for m in sink.mails) == [50, 100, 100], [len(m.rcpts) for m in sink.mails]


def test_limits_of_a_next_hop():
    """RCPTMAX and MAILMAX (RFC 9422) are kept, in as many transactions and connections as it takes; what is rubbish says nothing."""
    rcpts = ["r%d@far.example" % i for i in range(8)]
    for said, sizes, connections in (("LIMITS RCPTMAX=3 MAILMAX=2", [2, 3, 3], 2), ("LIMITS rcptmax=1", [1] * 8, 1),
                                     ("LIMITS RCPTMAX=8", [8], 1), ("LIMITS RCPTMAX=0 MAILMAX=x RCPTMAX=07", [8], 1)):
        with Sink(ehlo=("PIPELINING", said)) as sink:
            with server('  far: { type: smtp, to: ["127.0.0.1:{smtp}"], connections_max: 1, idle: 5m }\n', FAR[1], smtp=sink.port) as t:
                ident = send(t, rcpts)
                idle(t)
                assert sorted(r for m in sink.mails for r in m.rcpts) == rcpts and outcomes(t, ident, "deferred") == []
                assert sorted(len(m.rcpts) for m in sink.mails) == sizes, (said, [m.rcpts for m in sink.mails])
                assert sink.connections == connections, (said, sink.connections)


def test_some_of_a_hundred_fail():
    answers = {"r%d@far.example" % i: "550 5.1.1 No" for i in range(0, 100, 10)}
    answers.update({"r%d@far.example" % i: ["450 4.2.0 Wait", "250 2.1.5 Ok"] for i in range(5, 100, 10)})
    for ehlo in (("PIPELINING",), ()):
        with Sink(answers, ehlo=ehlo) as sink, server(*FAR, smtp=sink.port) as t:
            send(t, ["r%d@far.example" % i for i in range(100)])
            idle(t)
            assert sorted(len(m.rcpts) for m in sink.mails) == [10, 80], [len(m.rcpts) for m in sink.mails]
            assert len(one_notice(t)) == 10


# ---- hosts ----

def test_fallback_host():
    with Sink() as sink:
        with server('  far: { type: smtp, to: ["127.0.0.1:{closed}"], fallback: ["127.0.0.1:{smtp}"] }\n', FAR[1],
                    smtp=sink.port, closed=free_port()) as t:
            send(t, ["x@far.example"])
            wait_for(lambda: sink.mails)


def test_several_hosts_in_order():
    with Sink() as first, Sink() as second:
        with server('  far: { type: smtp, to: ["127.0.0.1:{a}", "127.0.0.1:{b}"] }\n', FAR[1],
                    a=first.port, b=second.port) as t:
            send(t, ["x@far.example"])
            wait_for(lambda: first.mails)
            assert second.connections == 0


def test_next_host_for_those_put_off():
    """4xx to some recipients, to MAIL, or behind the dot: those, and nobody else, go to the next host in the same attempt (RFC 5321 5.1)."""
    two = '  far: { type: %s, to: ["127.0.0.1:{a}", "127.0.0.1:{b}"] }\n'
    answers = {"b@far.example": "450 4.2.0 Wait", "c@far.example": "550 5.1.1 No", "d@far.example": "451 4.7.1 Greylisted"}
    for lmtp, how, rest in ((False, {"answers": answers}, ["b@far.example", "d@far.example"]),
                            (True, {"dot": answers}, ["b@far.example", "d@far.example"]),
                            (False, {"on_mail": "451 4.3.0 Later"}, None), (False, {"on_mail": "421 4.3.2 Shutting down"}, None),
                            (False, {"on_data": "452 4.3.1 Disk"}, None)):
        with Sink(lmtp=lmtp, **how) as first, Sink(lmtp=lmtp) as second, \
                server(two % ("lmtp" if lmtp else "smtp"), FAR[1], a=first.port, b=second.port) as t:
            rcpts = ["%s@far.example" % r for r in "abcd"]
            ident = send(t, rcpts)
            idle(t)
            assert [m.rcpts for m in second.mails] == [rest or rcpts], (how, [m.rcpts for m in second.mails])
            assert len(first.mails) == (1 if rest else 0) and outcomes(t, ident, "deferred") == [], how
            line = [l for l in outcomes(t, ident, "delivered") if "to=b@far.example" in l][0]
            assert "host=[127.0.0.1]:%d" % second.port in line, line
            if "421" not in str(how):  # that is a connection's matter, and the mail was not put off
                assert 'tried="[127.0.0.1]:%d: 4' % first.port in line, line
                assert "before that: [127.0.0.1]:%d: 4" % first.port in t.cli("why", ident).stdout
            assert len(t.maildir("sender")) == (1 if rest else 0)


def test_last_host_counts():
    """All hosts put it off: each is asked once an attempt, and what the last one said is what is kept."""
    with Sink({"*": "450 4.2.0 First"}) as first, Sink({"*": "451 4.7.1 Second"}) as second, Sink({"*": "450 4.3.2 Third"}) as third:
        with server('  far: { type: smtp, to: ["127.0.0.1:{a}", "127.0.0.1:{b}"], fallback: ["127.0.0.1:{c}", "127.0.0.1:{closed}"] }\n', FAR[1],
                    a=first.port, b=second.port, c=third.port, closed=free_port()) as t:
            t.cli("metrics")
            ident = send(t, ["x@far.example"])
            line = wait_for(lambda: outcomes(t, ident, "deferred"))[0]
            assert "450 4.3.2 Third" in line.split(" reply=")[1], line
            assert "First; " in line and "Second; " in line and "could not connect" in line, line
            third.answers = {}
            wait_for(lambda: third.mails, 20)
            idle(t)
            assert outcomes(t, ident, "delivered") and t.maildir("sender") == []


def test_no_host_answers():
    with server(*FAR, smtp=free_port()) as t:
        ident = send(t, ["x@far.example"])
        line = wait_for(lambda: outcomes(t, ident, "deferred"))[0]
        assert "4.4.1" in line and "451 4.4.1" not in line.split("451 4.4.1", 1)[1], line


def test_connect_timeout():
    """A host that drops SYNs, as its accept queue is full, is given up after `connect_timeout`; 30 s unless said."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            s = stack.enter_context(socket.socket())
            s.setblocking(False)
            s.connect_ex(full.getsockname())
        with server('  far: { type: smtp, to: ["127.0.0.1:{smtp}"], connect_timeout: 200ms }\n', FAR[1],
                    smtp=full.getsockname()[1]) as t:
            began = time.monotonic()
            ident = send(t, ["x@far.example"])
            line = wait_for(lambda: outcomes(t, ident, "deferred"))[0]
            assert "4.4.1" in line, line
            assert time.monotonic() - began < 25 or SLOW > 1


def test_source_address():
    with Sink() as sink:
        with server('  far: { type: smtp, to: ["127.0.0.1:{smtp}"], source: 127.0.0.9 }\n', FAR[1], smtp=sink.port) as t:
            send(t, ["x@far.example"])
            wait_for(lambda: sink.mails)
            assert sink.peers == ["127.0.0.9"], sink.peers


ZONE = """
one MX 10 h2.one
one MX 20 h3.one
h2.one A 127.0.0.2
h3.one A 127.0.0.3
worse MX 10 closed.worse
worse MX 20 h3.one
closed.worse A 127.0.0.4
bare A 127.0.0.2
null MX 0 .
empty TXT "nothing"
noaddress MX 10 empty
ours MX 10 mx
mx A 127.0.0.5
behind MX 20 h2.one
behind MX 10 mx
saved MX 10 h2.one
saved MX 20 mx
half MX 10 x.broken
"""


def test_mx_by_a_real_dns_server():
    need("knotd")
    port = free_port_on(["127.0.0.2", "127.0.0.3", "127.0.0.4"])
    with Knot({"test": ZONE, "broken.test": None, "x.broken": None}) as dns, \
            Sink(host="127.0.0.2", port=port) as two, Sink(host="127.0.0.3", port=port) as three:
        with server("  mx: { type: smtp, port: {smtp} }\n", "  - { transport: mx }\n", smtp=port, dns=dns.port) as t:
            delivered = {"one": two, "worse": three, "bare": two, "saved": two}
            bounced = {"nosuch": "5.1.2", "null": "5.1.10", "empty": "5.4.4", "noaddress": "5.4.4", "ours": "5.4.6",
                       "behind": "5.4.6"}
            ids = {d: send(t, ["x@%s.test" % d]) for d in [*delivered, *bounced, "broken", "half"]}
            for d, sink in delivered.items():
                wait_for(lambda: sink.got("x@%s.test" % d), 20)
            wait_for(lambda: len(t.maildir("sender")) >= len(bounced), 30)
            got = {}
            for n in notices(t):
                got.update(statuses(n))
            assert {k: v[:2] for k, v in got.items()} == {"x@%s.test" % d: ("failed", s) for d, s in bounced.items()}, got
            for d in ("broken", "half"):
                line = wait_for(lambda: outcomes(t, ids[d], "deferred"))[0]
                assert "4.4.3" in line and "SERVFAIL" in line, line
            assert three.got("x@one.test") == []


def test_dns_that_does_not_answer():
    with Silent() as silent:
        with server("", "  - { transport: smtp }\n", dns=silent.port, wait="300ms") as t:
            ident = send(t, ["x@far.test"])
            line = wait_for(lambda: outcomes(t, ident, "deferred"))[0]
            assert "4.4.3" in line and "timeout" in line, line
    with server("", "  - { transport: smtp }\n", dns=free_port()) as t:
        ident = send(t, ["x@far.test"])
        line = wait_for(lambda: outcomes(t, ident, "deferred"))[0]
        assert "4.4.3" in line, line


def test_address_literal():
    port = free_port_on(["127.0.0.2"])
    with Sink(host="127.0.0.2", port=port) as sink:
        with server("  mx: { type: smtp, port: {smtp} }\n", "  - { transport: mx }\n", smtp=port) as t:
            send(t, ["x@[127.0.0.2]"])
            wait_for(lambda: sink.got("x@[127.0.0.2]"))


def test_a_loop_of_two_servers_ends():
    """After 100 Received lines (RFC 5321 6.3): one bounce, and both queues are empty."""
    port = free_port()
    with server(*FAR, smtp=port) as first, server(*FAR, smtp=first.port, port=port) as second:
        send(first, ["x@far.example"])
        wait_for(lambda: first.maildir("sender") or second.maildir("sender"), 60)
        idle(first), idle(second)
        got = notices(first) + notices(second)
        assert len(got) == 1, got
        assert statuses(got[0])["x@far.example"][:2] == ("failed", "5.4.6"), statuses(got[0])
        assert 98 <= (first.log_text() + second.log_text()).count(" delivered to=x@far.example") <= 101


# ---- routes ----

def test_discard_defer_bounce():
    routes = '  - { domain: [drop.example], discard: "a trap" }\n  - { domain: [wait.example], defer: "moving house" }\n' \
             '  - { domain: [back.example], bounce: "closed for good" }\n'
    with server("", routes) as t:
        ident = send(t, ["x@drop.example", "x@wait.example", "x@back.example"])
        got = one_notice(t)
        assert list(got) == ["x@back.example"] and got["x@back.example"][1] == "5.7.1", got
        assert "closed for good" in got["x@back.example"][2]
        wait_for(lambda: outcomes(t, ident, "discarded") and outcomes(t, ident, "deferred"))
        want = {"x@drop.example": "discarded", "x@wait.example": "queued", "x@back.example": "bounced"}
        row = wait_for(lambda: next((m for m in t.queue() if {r["address"]: r["state"] for r in m["rcpts"]} == want), None))
        reply = [r["reply"] for r in row["rcpts"] if r["address"] == "x@wait.example"][0]
        assert "4.3.2" in reply and "moving house" in reply, reply


def test_no_route_waits():
    """A claimed domain without a rule is deferred, whatever the rule without conditions says."""
    with Sink() as sink:
        with server(*FAR, smtp=sink.port) as t:
            ident = send(t, ["alice@dove.example"])
            line = wait_for(lambda: outcomes(t, ident, "deferred"))[0]
            assert "4.4.4" in line and sink.connections == 0, line


LUA_ROUTE = """local tern = require "tern"
tern.on("route", function(message, rcpts)
  for _, rcpt in ipairs(rcpts) do
    if rcpt.domain == "lua.example" then
      return tern.accept { transport = "far", to = { "127.0.0.1:%d" } }
    elseif rcpt.domain == "refuse.example" then
      return tern.reject(550, "5.7.1", "not from here")
    elseif rcpt.domain == "wait.example" then
      return tern.defer(451, "4.3.2", "not now")
    end
  end
end)
"""


def test_routing_from_lua():
    with Sink() as sink:
        with server('  far: { type: smtp, to: ["127.0.0.1:1"] }\n', FAR[1], steps="    - lua: { script: route.lua }\n",
                    files={"route.lua": LUA_ROUTE % sink.port}) as t:
            send(t, ["x@lua.example"])
            wait_for(lambda: sink.mails)
            ident = send(t, ["x@refuse.example", "x@wait.example"])
            got = one_notice(t)
            assert got["x@refuse.example"][1] == "5.7.1" and "not from here" in got["x@refuse.example"][2], got
            assert "not now" in wait_for(lambda: outcomes(t, ident, "deferred"))[0]


def test_postfix_sink_takes_it():
    need("smtp-sink")
    with SmtpSink() as sink:
        with server(*FAR, smtp=sink.port) as t:
            send(t, ["x@far.example", "y@far.example"], "Subject: test\n\n.dot\n..\nend\n")
            idle(t)
            # the sink makes the file before it has the mail
            mail = wait_for(lambda: [m for m in sink.mails() if b"\nend\n" in m])[0]
            assert b"X-Rcpt-Args: <x@far.example>" in mail and b"X-Rcpt-Args: <y@far.example>" in mail, mail
            assert b"\n\n.dot\n..\nend\n" in mail, mail


if __name__ == "__main__":
    run([f for n, f in sorted(globals().items(), key=lambda i: getattr(i[1], "__code__", None) and
                              i[1].__code__.co_firstlineno or 0) if n.startswith("test_")])
