#!/usr/bin/python3
"""LMTP and PRDR with real clients: one reply for each recipient, and what is on the disk is what was promised."""
import json
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Exim, Postfix
from ternlib import Client, Tern, dotted, free_port, need, queue_id, run, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = """
hostname: mx.test
split: false
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound }
  lmtp: { bind: "127.0.0.1:{lmtp}", protocol: lmtp, policy: inbound }
policies:
  inbound:
    - domains: { local: [example.org] }
    - lua: { script: each.lua }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: mailboxes }]
"""


def server(config=CONFIG, **values):
    with open(os.path.join(HERE, "..", "dialogue", "each.lua")) as f:
        return Tern(config, files={"each.lua": f.read()}, lmtp=free_port(), **values).start()


def test_each_recipient_has_its_reply():
    """By hand, with what the log says of it."""
    with server() as t:
        c = Client(t.values["lmtp"])
        assert c.banner == (220, "mx.test LMTP Tern"), c.banner
        assert c.cmd("LHLO client.example")[0] == 250
        c.cmd("MAIL FROM:<a@client.example>")
        for r in ("later-x", "bob", "no-x", "eve"):
            assert c.cmd("RCPT TO:<%s@example.org>" % r)[0] == 250
        assert c.cmd("DATA")[0] == 354
        c.send(dotted("Subject: hello\n\nx\n") + b".\r\n")
        replies = [c.reply() for _ in range(4)]
        assert [code for code, _ in replies] == [451, 250, 550, 250], replies
        # Durable before the replies: a kill now loses nothing.
        wait_for(lambda: t.maildir("bob") and t.maildir("eve"))
        wait_for(lambda: t.queue() == [])  # a mail is in its folder before the queue knows of it
        assert not t.maildir("no-x") and not t.maildir("later-x")
        assert b"with LMTP id" in t.maildir("bob")[0], t.maildir("bob")
        for line in (r"defer .*to=later-x@example.org", r"reject .*to=no-x@example.org"):
            wait_for(lambda: re.search(line, t.log_text()))
        assert c.cmd("QUIT")[0] == 221
        record = wait_for(lambda: t.why(queue_id(replies[1][1])))[0]
        assert [r["to"] for r in record["refused"]] == ["later-x@example.org", "no-x@example.org"], record
        text = t.cli("why", record["id"]).stdout
        assert re.search(r"reply 550 5.7.1 Not for this one.* <no-x@example.org>", text), text


def taken(t, c, how):
    """Who was taken of four: by DATA, or by two chunks, all commands at once."""
    c.send("".join("%s\r\n" % line for line in ["MAIL FROM:<%s@client.example>" % how] +
                   ["RCPT TO:<%s@example.org>" % r for r in ("later-x", "bob", "no-x", "eve")]))
    assert [c.reply()[0] for _ in range(5)] == [250] * 5
    if how == "data":
        assert c.cmd("DATA")[0] == 354
        c.send(dotted("Subject: %s\n\nx\n" % how) + b".\r\n")
    else:
        c.send("BDAT 15\r\nSubject: bdat\r\nBDAT 5 LAST\r\n\r\nx\r\n")
        assert c.reply()[0] == 250
    replies = [c.reply() for _ in range(4)]
    assert [code for code, _ in replies] == [451, 250, 550, 250], replies


def test_what_was_taken_outlives_a_kill():
    """RFC 2033 4.2, 4.3: who says 250 must not lose it. The server dies with the replies on their way."""
    config = CONFIG.replace('{ type: maildir, path: "{dir}/mail/%{user}" }', '{ type: lmtp, to: ["127.0.0.1:{dead}"] }')
    with server(config, dead=free_port()) as t:
        for how in ("data", "bdat"):
            c = Client(t.values["lmtp"])
            assert c.cmd("LHLO client.example")[0] == 250
            taken(t, c, how)
            worker = t.worker_pid()
            os.kill(worker, signal.SIGKILL)
            c.close()
            wait_for(lambda: t.worker_pid() not in (None, worker), 20)
            wait_for(t.is_up, 20)
            wait_for(lambda: t.cli("status", check=False).returncode == 0, 20)
            left = lambda: [sorted(r["address"] for r in m["rcpts"])
                            for m in (json.loads(t.cli("queue", "--json", "show", m["id"]).stdout) for m in t.queue() if how in m["from"])]
            wait_for(left)  # it lists them as it finds them
            assert left() == [["bob@example.org", "eve@example.org"]], (left(), t.queue())


def test_last_chunk_to_nobody():
    """RFC 2033 4.3: as many replies as RCPT had, so none; what a client sends at once stays in step."""
    with server() as t:
        c = Client(t.values["lmtp"])
        c.send("LHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<x@elsewhere.example>\r\nBDAT 3 LAST\r\nx\r\n"
               "MAIL FROM:<a@client.example>\r\nRCPT TO:<bob@example.org>\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n")
        assert [c.reply()[0] for _ in range(7)] == [250, 250, 550, 250, 250, 250, 221]
        wait_for(lambda: t.maildir("bob"))


def test_port_25_is_not_for_lmtp():
    """RFC 2033 1, 5: what the configuration of a transport may not say a rule of routes: cannot say either."""
    with server(CONFIG.replace("transport: mailboxes", 'transport: lmtp, to: ["127.0.0.1:25", "mx.test:25"]')) as t:
        assert Client(t.port).mail("a@client.example", ["bob@example.org"], "x\n")[0] == 250
        wait_for(lambda: "mx.test:25: LMTP may not use port 25 (RFC 2033)" in t.log_text())
        assert len(t.queue()) == 1


def test_postfix_delivers_by_lmtp():
    """Postfix's lmtp client: each recipient has an outcome of its own."""
    need("postfix")
    with server() as t, Postfix("lmtp", t.values["lmtp"]) as p:
        got = Client(p.port).mail("a@client.example", ["bob@example.org", "no-x@example.org", "later-x@example.org", "eve@example.org"],
                                  "Subject: by lmtp\n\nhello\n")
        assert got[0] == 250, got
        status = lambda who: (re.findall(r"to=<%s@example.org>.* status=(\w+)" % who, p.log_text()) or [None])[0]
        wait_for(lambda: all(status(w) for w in ("bob", "no-x", "later-x", "eve")), 20)
        assert [status(w) for w in ("bob", "no-x", "later-x", "eve")] == ["sent", "bounced", "deferred", "sent"], p.log_text()
        assert "Not for this one" in p.log_text() and "Later for this one" in p.log_text()
        wait_for(lambda: t.maildir("bob") and t.maildir("eve"))
        assert len(t.maildir("bob")) == 1 and not t.maildir("no-x") and not t.maildir("later-x")


def test_exim_delivers_by_lmtp_in_chunks():
    """Exim sends MAIL, RCPT and BDAT LAST at once, and awaits a reply for each recipient that was taken, if any was."""
    if not os.path.exists(os.path.join(Exim.FOLDER, "usr", "sbin", "exim4")) or os.geteuid() != 0:
        print("SKIP: Exim is not unpacked in %s (tests/support/packages.sh), or this is not root" % Exim.FOLDER)
        return
    with server() as t, Exim(t.values["lmtp"], "protocol = lmtp", "hosts_try_chunking = *") as e:
        e.send("a@client.example", ["bob@example.org", "no-x@example.org", "x@elsewhere.example"], "Subject: in chunks\n\nhello\n")
        e.send("a@client.example", ["y@elsewhere.example", "z@elsewhere.example"], "Subject: to nobody\n\nhello\n")
        log = e.log_text()
        assert re.search(r"=> bob@example.org .* K C=", log), log
        assert re.search(r"\*\* no-x@example.org .*after BDAT.*Not for this one", log), log
        for who in "xyz":
            assert re.search(r"\*\* %s@elsewhere.example .*after RCPT.*relaying denied" % who, log), log
        wait_for(lambda: len(t.maildir("bob")) == 1)


def test_exim_asks_for_each():
    """Exim as a client with PRDR: two are delivered, one bounces, one is tried again."""
    if not os.path.exists(os.path.join(Exim.FOLDER, "usr", "sbin", "exim4")) or os.geteuid() != 0:
        print("SKIP: Exim is not unpacked in %s (tests/support/packages.sh), or this is not root" % Exim.FOLDER)
        return
    with server() as t, Exim(t.port, "hosts_try_prdr = *") as e:
        said = e.send("a@client.example", ["bob@example.org", "no-x@example.org", "later-x@example.org", "eve@example.org"],
                      "Subject: by prdr\n\nhello\n")
        log = e.log_text()
        assert re.search(r"=> bob@example.org .*PRDR", log) and re.search(r"[-=]> eve@example.org .*PRDR", log), (said, log)
        assert re.search(r"\*\* no-x@example.org .*Not for this one", log), log
        assert re.search(r"== later-x@example.org .*", log), log
        wait_for(lambda: t.maildir("bob") and t.maildir("eve"))
        assert not t.maildir("no-x") and not t.maildir("later-x")
        # Without it the one that is put off puts off all.
    with server() as t, Exim(t.port, "hosts_try_prdr =") as e:
        e.send("a@client.example", ["bob@example.org", "later-x@example.org"], "Subject: without\n\nhello\n")
        log = e.log_text()
        assert re.search(r"== bob@example.org ", log) and "=>" not in log and not t.maildir("bob"), log


if __name__ == "__main__":
    run([f for n, f in list(globals().items()) if n.startswith("test_")])
