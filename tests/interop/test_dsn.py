#!/usr/bin/python3
"""DSN (RFC 3461) from end to end: what NOTIFY, RET, ENVID and ORCPT change in what the sender hears, and what is passed on."""
import email
import email.policy
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import Client, Tern, need, run, wait_for
from peers import Mute, Postfix, Sink

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
retry: { min: {retry}, max: {retry}, factor: 100, jitter: 0, notify_delay: {delay} }
policies:
  inbound:
    - domains: { local: [here.example], relay: [far.example, near.example], recipients: [alice@here.example, bob@here.example] }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
  far: { type: smtp, to: ["127.0.0.1:{sink}"] }
routes:
  - { class: local, transport: mailboxes }
  - { domain: near.example, transport: mailboxes }
  - { class: relay, transport: far }
"""
PLAIN = ("PIPELINING", "8BITMIME", "SIZE 10000000")
ALL = "SUCCESS,FAILURE,DELAY"
BODY = "Subject: a letter\r\nX-Mark: original\r\n\r\nthe text of it\r\n"


def server(sink, retry="1s", delay="4h"):
    return Tern(CONFIG, sink=sink.port, retry=retry, delay=delay).start()


def send(t, rcpts, mail="", sender="alice@here.example", body=BODY):
    """rcpts: {address: parameters}; the codes of MAIL, RCPTs and the end"""
    c = Client(t.port)
    assert "DSN" in c.cmd("EHLO client.example")[1].split("\n")
    codes = [c.cmd("MAIL FROM:<%s>%s" % (sender, mail))[0]]
    codes += [c.cmd("RCPT TO:<%s>%s" % (r, p))[0] for r, p in rcpts.items()]
    if codes[0] == 250 and 250 in codes[1:]:
        assert c.cmd("DATA")[0] == 354
        c.send(body.encode() + b".\r\n")
        codes.append(c.reply()[0])
    c.close()
    return codes


class Notice:
    def __init__(self, octets):
        m = email.message_from_bytes(octets, policy=email.policy.default)
        assert m.get_content_type() == "multipart/report" and m["Auto-Submitted"] == "auto-replied", m
        assert octets.startswith(b"Return-Path: <>"), octets[:60]
        self.subject = m["Subject"]
        text, status, self.original = m.iter_parts()
        self.text = text.get_content()
        assert status.get_content_type() == "message/delivery-status"
        self.message, *self.rcpts = status.get_payload()

    def rcpt(self, address):
        found = [r for r in self.rcpts if r["Final-Recipient"] == "rfc822; " + address]
        assert len(found) == 1, self.rcpts
        return found[0]


def notices(t, count, user="alice"):
    got = wait_for(lambda: [o for o in t.maildir(user) if b"multipart/report" in o][:count] if
                   len([o for o in t.maildir(user) if b"multipart/report" in o]) >= count else None, 20)
    return [Notice(o) for o in got]


def quiet(t, user="alice"):
    """the queue is empty; nothing was told"""
    time.sleep(0.3)
    wait_for(lambda: t.queue() == [], 20)
    time.sleep(0.2)
    return [o for o in t.maildir(user) if b"multipart/report" in o] == []


def test_never_and_success_alone_hear_no_failure():
    with Sink({"*": "550 5.1.1 nobody"}, ehlo=PLAIN) as sink, server(sink) as t:
        for notify in ("NEVER", "SUCCESS", "DELAY", "success,delay"):
            assert send(t, {"x@far.example": " NOTIFY=" + notify}) == [250, 250, 250]
        assert quiet(t)
        assert send(t, {"x@far.example": " NOTIFY=FAILURE", "y@far.example": " NOTIFY=NEVER", "z@far.example": ""}) == [250] * 5
        n = notices(t, 1)[0]
        assert n.subject == "Your message could not be delivered"
        assert sorted(r["Final-Recipient"] for r in n.rcpts) == ["rfc822; x@far.example", "rfc822; z@far.example"]


def test_failure_with_envid_orcpt_and_ret():
    with Sink({"*": "550 5.1.1 nobody"}, ehlo=PLAIN) as sink, server(sink) as t:
        assert send(t, {"x@far.example": " ORCPT=rfc822;first+2Blast@old.example NOTIFY=FAILURE"},
                    " RET=FULL ENVID=QQ+2B314+3D159") == [250, 250, 250]
        n = notices(t, 1)[0]
        assert n.message["Original-Envelope-Id"] == "QQ+314=159"
        r = n.rcpt("x@far.example")
        assert r["Original-Recipient"] == "rfc822; first+last@old.example" and r["Action"] == "failed"
        assert n.original.get_content_type() == "message/rfc822"
        inner = n.original.get_payload()[0]
        assert inner["X-Mark"] == "original" and inner.get_payload().strip() == "the text of it"
        assert send(t, {"y@far.example": ""}, " RET=HDRS") == [250, 250, 250]
        n = notices(t, 2)
        n = [x for x in n if x.rcpts[0]["Final-Recipient"] == "rfc822; y@far.example"][0]
        assert n.original.get_content_type() == "text/rfc822-headers"
        assert n.message["Original-Envelope-Id"] is None and "the text of it" not in str(n.original)


def test_full_in_eight_bits_and_not_above_the_bound():
    with Sink({"*": "550 5.1.1 nobody"}) as sink, server(sink) as t:
        send(t, {"x@far.example": ""}, " RET=FULL BODY=8BITMIME", body="Subject: b\r\n\r\nz\u00fcrich\r\n")
        n = notices(t, 1)[0]
        assert n.original.get_content_type() == "message/rfc822" and "z\u00fcrich".encode() in n.original.as_bytes()
        send(t, {"y@far.example": ""}, " RET=FULL", body="Subject: big\r\n\r\n" + ("x" * 70 + "\r\n") * 4000)
        types = sorted(x.original.get_content_type() for x in notices(t, 2))
        assert types == ["message/rfc822", "text/rfc822-headers"], types


def test_success_in_a_mailbox_is_delivered():
    with Sink() as sink, server(sink) as t:
        assert send(t, {"bob@here.example": " NOTIFY=SUCCESS ORCPT=rfc822;bob@here.example"}, " ENVID=e1 RET=FULL") == [250] * 3
        n = notices(t, 1)[0]
        r = n.rcpt("bob@here.example")
        assert (r["Action"], r["Status"]) == ("delivered", "2.0.0"), r
        assert n.subject == "Your message was delivered" and n.message["Original-Envelope-Id"] == "e1"
        # RFC 3461 4.3: the whole message only where something failed
        assert n.original.get_content_type() == "text/rfc822-headers"
        assert len(t.maildir("bob")) == 1
        send(t, {"bob@here.example": " NOTIFY=SUCCESS"}, sender="")  # nobody to tell
        wait_for(lambda: len(t.maildir("bob")) == 2)
        wait_for(lambda: t.queue() == [], 20)
        assert len(t.maildir("alice")) == 1


def test_success_at_a_server_without_dsn_is_relayed():
    with Sink(ehlo=PLAIN) as sink, server(sink) as t:
        assert send(t, {"x@far.example": " NOTIFY=SUCCESS", "y@far.example": " NOTIFY=FAILURE"}, " ENVID=e2") == [250] * 4
        n = notices(t, 1)[0]
        r = n.rcpt("x@far.example")
        assert (r["Action"], len(n.rcpts)) == ("relayed", 1), n.rcpts
        assert n.subject == "Your message was handed on", n.subject
        assert r["Remote-MTA"].startswith("dns; [127.0.0.1]")
        assert not [c for c in sink.commands if "NOTIFY" in c or "ENVID" in c]


def test_passed_on_where_dsn_is_offered():
    with Sink(ehlo=PLAIN + ("DSN",)) as sink, server(sink) as t:
        assert send(t, {"x@far.example": " NOTIFY=delay,success ORCPT=rfc822;o+2Bo@old.example", "y@far.example": " NOTIFY=Never",
                        "z@far.example": ""}, " ENVID=e+2B3 RET=hdrs") == [250] * 5
        wait_for(lambda: sink.got("x@far.example"))
        mail = [c for c in sink.commands if c.startswith("MAIL")][0]
        assert mail.endswith(" RET=HDRS ENVID=e+2B3"), mail
        rcpts = sorted(c for c in sink.commands if c.startswith("RCPT"))
        assert rcpts == ["RCPT TO:<x@far.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bo@old.example",
                         "RCPT TO:<y@far.example> NOTIFY=NEVER", "RCPT TO:<z@far.example>"], rcpts
        assert quiet(t)  # whoever was told has to say it


def test_delay_is_told_once_to_who_asked():
    with Sink({"*": "451 4.2.1 later"}, ehlo=PLAIN) as sink, server(sink, delay="2s") as t:
        start = time.monotonic()
        assert send(t, {"x@far.example": " NOTIFY=DELAY", "y@far.example": "", "z@far.example": " NOTIFY=FAILURE,DELAY"},
                    " ENVID=e3 RET=FULL") == [250] * 5
        n = notices(t, 1)[0]
        assert time.monotonic() - start >= 1.7
        assert sorted(r["Final-Recipient"] for r in n.rcpts) == ["rfc822; x@far.example", "rfc822; z@far.example"]
        assert {r["Action"] for r in n.rcpts} == {"delayed"} and n.rcpts[0]["Will-Retry-Until"]
        assert n.subject == "Your message is delayed" and n.message["Original-Envelope-Id"] == "e3"
        assert n.original.get_content_type() == "text/rfc822-headers"
        time.sleep(3.5)
        assert len(t.maildir("alice")) == 1


def test_delay_comes_in_time_between_long_waits():
    with Sink({"*": ["451 4.2.1 later"]}, ehlo=PLAIN) as sink, server(sink, retry="1h", delay="1s") as t:
        send(t, {"x@far.example": " NOTIFY=DELAY"})
        assert notices(t, 1)[0].rcpt("x@far.example")["Action"] == "delayed"


def test_one_message_of_every_kind():
    with Sink({"bad@far.example": "550 5.1.1 nobody"}, ehlo=PLAIN) as sink, server(sink) as t:
        assert send(t, {"bad@far.example": " NOTIFY=" + ALL, "good@far.example": " NOTIFY=" + ALL,
                        "bob@near.example": " NOTIFY=" + ALL}) == [250] * 5
        told = lambda: [r for o in t.maildir("alice") for r in Notice(o).rcpts]
        wait_for(lambda: len(told()) >= 3, 20)
        time.sleep(0.3)
        got = {r["Final-Recipient"]: r["Action"] for r in told()}
        assert len(told()) == 3
        assert got == {"rfc822; bad@far.example": "failed", "rfc822; good@far.example": "relayed",
                       "rfc822; bob@near.example": "delivered"}, got


def of_bob(t):
    return [r["Action"] for o in t.maildir("alice") for r in Notice(o).rcpts if "bob@" in r["Final-Recipient"]]


def test_a_report_outlives_kill_9():
    """bob has it, another recipient's server hangs: what is on disk then is that bob has it and that alice is to hear so"""
    with Mute() as hangs, Sink() as sink, server(hangs) as t:
        assert send(t, {"bob@near.example": " NOTIFY=SUCCESS", "x@far.example": " NOTIFY=NEVER"}) == [250] * 4
        wait_for(lambda: "to=bob@near.example" in t.log_now() and len(t.maildir("bob")) == 1, 20)
        want = {"bob@near.example": ("delivered", "owed"), "x@far.example": ("queued", None)}
        queued = wait_for(lambda: next((m for m in t.queue() if {r["address"]: (r["state"], r.get("report")) for r in m["rcpts"]} == want), None))
        assert "(the sender is still to be told)" in t.cli("queue", "show", queued["id"]).stdout
        t.stop(signal.SIGKILL)
        t.values["sink"] = sink.port
        t.write_config(CONFIG)
        t.start()
        wait_for(lambda: of_bob(t), 20)
        wait_for(lambda: t.queue() == [], 20)
        assert of_bob(t) == ["delivered"] and len(t.maildir("bob")) == 1
        assert len(re.findall("delivered to=bob@near", t.log_text())) == 1  # the log and hook result hear of it once


def test_a_report_waits_for_the_policy():
    """policy `generated` puts it off; the server is killed; a policy that takes it tells alice"""
    later = "  generated: [ { lua: { script: later.lua } } ]\n"
    script = 'local tern = require "tern"\ntern.on("queue", function(m) return tern.defer(451, "4.7.0", "not now") end, { answers = { "defer" } })\n'
    with Sink() as sink:
        config = CONFIG.replace("policies:\n", "policies:\n" + later)
        with Tern(config, files={"later.lua": script}, sink=sink.port, retry="1s", delay="4h").start() as t:
            assert send(t, {"bob@near.example": " NOTIFY=SUCCESS"}) == [250] * 3
            wait_for(lambda: "did not take the notice to the sender; tried again" in t.log_now(), 20)
            t.stop(signal.SIGKILL)
            t.write_config(CONFIG)
            t.start()
            for m in t.queue():  # unless it was tried already, as it was started
                t.cli("queue", "retry", m["id"], check=False)
            wait_for(lambda: of_bob(t), 20)
            wait_for(lambda: t.queue() == [], 20)
            assert of_bob(t) == ["delivered"] and len(t.maildir("bob")) == 1


def test_a_delay_waits_for_the_policy():
    """policy `generated` puts off what tells of the delay; the server is killed; a policy that takes it tells alice, once"""
    later = "  generated: [ { lua: { script: later.lua } } ]\n"
    script = 'local tern = require "tern"\ntern.on("queue", function(m) return tern.defer(451, "4.7.0", "not now") end, { answers = { "defer" } })\n'
    with Sink({"*": "451 4.2.1 not yet"}, ehlo=PLAIN) as sink:
        config = CONFIG.replace("policies:\n", "policies:\n" + later)
        with Tern(config, files={"later.lua": script}, sink=sink.port, retry="1s", delay="1s").start() as t:
            assert send(t, {"x@far.example": " NOTIFY=DELAY", "y@far.example": " NOTIFY=FAILURE"}) == [250] * 4
            wait_for(lambda: "did not take the notice to the sender; tried again" in t.log_now(), 20)
            shown = lambda: {r["address"]: (r["state"], r.get("report"), r.get("reply", "")[-7:]) for r in t.queue()[0]["rcpts"]}
            wait_for(lambda: shown()["x@far.example"][1] == "owed", 20)
            assert shown()["x@far.example"] == ("queued", "owed", "not yet"), shown()
            assert shown()["y@far.example"] == ("queued", None, "not yet"), shown()
            t.stop(signal.SIGKILL)
            t.write_config(CONFIG)
            t.start()
            n = notices(t, 1)[0]
            assert [(r["Final-Recipient"], r["Action"]) for r in n.rcpts] == [("rfc822; x@far.example", "delayed")], n.rcpts
            attempts = t.queue()[0]["attempts"]
            wait_for(lambda: t.queue()[0]["attempts"] >= attempts + 2, 20)
            assert shown()["x@far.example"][:2] == ("queued", None) and len(t.maildir("alice")) == 1


def test_postfix_passes_its_wishes_on():
    """what a client of Postfix asks for comes to us by Postfix, and our report goes by it"""
    need("postfix")
    with Sink() as sink, server(sink) as t, Postfix("smtp", t.port) as p:
        c = Client(p.port)
        assert "DSN" in c.cmd("EHLO client.example")[1].split("\n")
        assert c.cmd("MAIL FROM:<alice@here.example> RET=HDRS ENVID=by+2Bpostfix")[0] == 250
        assert c.cmd("RCPT TO:<bob@here.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert@old.example")[0] == 250
        assert c.cmd("DATA")[0] == 354
        c.send(BODY + ".\r\n")
        assert c.reply()[0] == 250
        c.close()
        n = notices(t, 1)[0]
        r = n.rcpt("bob@here.example")
        assert (r["Action"], r["Original-Recipient"]) == ("delivered", "rfc822; robert@old.example"), r
        assert n.message["Original-Envelope-Id"] == "by+postfix"
        assert len(t.maildir("bob")) == 1


def test_bad_parameters():
    rows = [(" RET=ALL", ""), (" RET", ""), (" RET=FULL RET=FULL", ""), (" ENVID=", ""), (" ENVID=a+2b", ""), (" ENVID=a+0A", ""),
            (" ENVID=" + "x" * 101, ""), ("", " NOTIFY"), ("", " NOTIFY=NEVER,SUCCESS"), ("", " NOTIFY=SUCCESS,SUCCESS"),
            ("", " NOTIFY=SUCCESS,"), ("", " NOTIFY=FAIL"), ("", " NOTIFY=NEVER NOTIFY=NEVER"), ("", " ORCPT=x@here.example"),
            ("", " ORCPT=rfc822;"), ("", " ORCPT=;x"), ("", " ORCPT=rfc822;a+0D+0Ab"), ("", " ORCPT=rfc822;" + "x" * 494)]
    with Sink() as sink, server(sink) as t:
        for mail, rcpt in rows:
            codes = send(t, {"bob@here.example": rcpt}, mail)
            assert codes[0 if mail else 1] == 501, (mail, rcpt, codes)
        assert send(t, {"bob@here.example": " ORCPT=rfc822;" + "x" * 493}, " ENVID=" + "x" * 100) == [250] * 3
        assert send(t, {"bob@here.example": " RET=FULL"}, "")[1] == 555
        assert send(t, {"bob@here.example": ""}, " NOTIFY=NEVER")[0] == 555


if __name__ == "__main__":
    run([test_never_and_success_alone_hear_no_failure, test_failure_with_envid_orcpt_and_ret,
         test_full_in_eight_bits_and_not_above_the_bound, test_success_in_a_mailbox_is_delivered,
         test_success_at_a_server_without_dsn_is_relayed, test_passed_on_where_dsn_is_offered,
         test_delay_is_told_once_to_who_asked, test_delay_comes_in_time_between_long_waits, test_one_message_of_every_kind,
         test_a_report_outlives_kill_9, test_a_report_waits_for_the_policy,
         test_a_delay_waits_for_the_policy, test_postfix_passes_its_wishes_on, test_bad_parameters])
