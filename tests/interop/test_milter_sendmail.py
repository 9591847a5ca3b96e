#!/usr/bin/python3
"""tern milter behind a real Sendmail: what it asks and tells, what its client hears, what reaches the next hop."""
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from milterpeers import Sendmail
from peers import Sink
from ternlib import ROOT, SLOW, Client, Tern, free_port, need, run, wait_for
from test_milter import CONFIG, FILTER, TRACE, arrived, check_connections, check_params, compare_edits, send, server, stages, traced

Sendmail.need()
INET = "INPUT_MAIL_FILTER(`tern', `S=inet:%d@127.0.0.1, F=T, T=S:60s;R:60s;E:10m')dnl"
UNIX = "INPUT_MAIL_FILTER(`tern', `S=local:%s/milter, F=T, T=S:60s;R:60s;E:10m')dnl"


def sendmail(tern, sink, more="", unix=False):
    return Sendmail(sink.port, (UNIX % tern.dir if unix else INET % tern.port) + "\n" + more)


def test_one_mail():
    """By both kinds of socket: a field that the next hop sees, refusals at RCPT, at DATA and at the end, codes and texts as they were given:
    Sendmail puts the address in front of a text at RCPT."""
    for unix in (False, True):
        with Sink() as sink, server(CONFIG.replace("socket_group: postfix", "socket_group: nogroup")) as t, sendmail(t, sink, unix=unix) as p:
            assert send(p)[0] == 250
            data = arrived(sink, "alice@example.org")[0].data.decode()
            assert re.search(r"^X-Tern: checked true\r$", data, re.M), data
            c = Client(p.port)
            c.cmd("EHLO client.example")
            c.cmd("MAIL FROM:<a@client.example>")
            code, text = c.cmd("RCPT TO:<nobody@example.org>")
            assert code == 550 and text.startswith("5.1.1 <nobody@example.org>... No such user here, 50% sure ["), (code, text)
            code, text = c.cmd("RCPT TO:<slow@example.org>")
            assert code == 450 and text.startswith("4.2.1 <slow@example.org>... Come back ["), (code, text)
            assert c.cmd("RCPT TO:<bob@example.org>")[0] == 250
            c.cmd("DATA")
            c.send(b"Subject: two\r\n\r\nx\r\n.\r\n")
            assert c.reply()[0] == 250
            c.close()
            assert [m.rcpts for m in arrived(sink, "bob@example.org")] == [["bob@example.org"]]
            code, text = send(p, body="Subject: refuse me\n\nx\n")
            assert code == 550 and text.startswith("5.7.3 A bad subject"), (code, text)
            code, text = send(p, body="Subject: wait\n\nx\n")
            assert code == 451 and text.startswith("4.7.3 A subject for later"), (code, text)
            ident = re.search(r"\[(\w+)\]", text).group(1)
            assert any(r["steps"] for r in t.why(ident)), t.why(ident)
            assert "error - milter" not in t.log_text() and "warning - milter" not in t.log_text(), t.log_text()


def test_edits_are_those_of_tern_itself():
    compare_edits(sendmail)


def test_one_connection_after_the_other():
    check_connections(sendmail)


def test_what_the_client_wants_to_be_told():
    check_params(sendmail)



# Where the client hears of a refusal. What is refused before RCPT is kept until then (DESIGN 3.2); `now` says it at once,
# which Sendmail does in its own way.
LATER = {"connect": "rcpt", "ehlo": "rcpt", "mail": "rcpt", "rcpt": "rcpt", "data": "data", "message": "dot", "queue": "dot"}
NOW = {("connect", "reject"): ("connect", 554, "sendmail.test ESMTP not accepting messages"), ("connect", "defer"): ("mail", 451, "4.3.2 Please try again later"),
       ("connect", "close"): ("connect", 421, "4.7.0 sendmail.test closing connection"),
       ("ehlo", "reject"): ("mail", 550, "5.7.1 trace rejects at ehlo ["), ("ehlo", "defer"): ("mail", 451, "4.7.1 trace defers at ehlo ["),
       ("ehlo", "close"): ("ehlo", 421, "4.7.0 trace closes at ehlo"),
       ("mail", "reject"): ("mail", 550, "5.7.1 <a@client.example>... trace rejects at mail ["), ("mail", "defer"): ("mail", 451, "4.7.1 trace defers at mail [")}


def test_refused_at_each_stage():
    """reject, defer and close at each hook by a C module and a Lua script; kept until RCPT, and with refuse_at: now."""
    need("gcc")
    import test_hooks
    with Sink() as sink:
        for kind in ("c", "lua"):
            with traced(kind, {}) as t, sendmail(t, sink) as p:
                def ask(acts, extra=""):
                    t.write_config(TRACE.replace("{steps}", test_hooks.step(kind, acts, extra)))
                    t.cli("reload")
                    return stages(p)
                for hook, heard in LATER.items():
                    for act, code in (("reject", 550), ("defer", 451), ("close", 421)):
                        if act == "close" and hook in ("message", "queue"):
                            continue  # CLOSE is none of their answers
                        got = ask({hook: act})
                        if act == "close" and hook in ("connect", "ehlo"):
                            assert got[:2] == NOW[hook, act][:2] and got[2].startswith(NOW[hook, act][2]), (kind, hook, act, got)
                        else:
                            stage = hook if act == "close" else heard
                            assert got[0] == stage and got[1] == code and "trace %ss at %s" % (act, hook) in got[2], (kind, hook, act, got)
                for (hook, act), want in NOW.items():
                    got = ask({hook: act}, ", refuse_at: now")
                    assert got[:2] == want[:2] and got[2].startswith(want[2]), (kind, hook, act, got)
                assert ask({"sign": "defer"})[:2] == ("dot", 451)
                assert ask({})[1] == 250


def test_recipients():
    """The sender rewritten, recipients rewritten, expanded and added, one whose copy nobody gets: whom Sendmail sends to."""
    need("gcc")
    for kind in ("c", "lua"):
        with Sink() as sink, traced(kind, {"mail": "rewrite", "rcpt": "expand", "message": "add"}) as t, sendmail(t, sink) as p:
            assert send(p, rcpts=["bob@home.example"])[0] == 250
            wait_for(lambda: sorted(r for m in sink.mails for r in m.rcpts) == ["added@home.example", "one@home.example", "two@home.example"], 30)
            assert {m.sender for m in sink.mails} == {"rewritten@home.example"}
        with Sink() as sink, traced(kind, {"rcpt": "discard"}) as t, sendmail(t, sink) as p:
            assert send(p, rcpts=["bob@home.example"])[0] == 250
            wait_for(lambda: " discarded " in t.log_text(), 30)
            assert not p.queued("qf") and not p.queued("hf") and not sink.mails


def test_hold_and_discard():
    """HOLD is in Sendmail's quarantine with its reason, until somebody lets it go; DISCARD is 250 and nothing arrives."""
    with Sink() as sink, server() as t, sendmail(t, sink) as p:
        assert send(p, body="Subject: hold this\n\nx\n")[0] == 250
        held = wait_for(lambda: p.queued("hf"), 20)
        assert len(held) == 1 and re.search(r"^q ?smells of ham$", held[0], re.M), held
        listed = p.run("-bp", "-qQ").stdout
        assert "QUARANTINE: smells of ham" in listed and "alice@example.org" in listed, listed
        assert send(p, body="Subject: lose this\n\nx\n")[0] == 250
        assert send(p, rcpts=["last@example.org"])[0] == 250
        arrived(sink, "last@example.org")
        assert len(sink.mails) == 1 and len(p.queued("hf")) == 1, (sink.mails, p.queued(""))
        held_line = r" held client=127\.0\.0\.1 .*mta_id=(\w+) .*reason=\"smells of ham\""
        log = wait_for(lambda: (lambda log: log if re.search(held_line, log) and " discarded " in log and " accepted " in log else None)(t.log_text()))
        ident = re.search(r" held .*mta_id=(\w+)", log).group(1)
        for words in (("-qQ", "-Q", "-qI" + ident), ("-qI" + ident,)):  # as docs/milter.md has it
            r = p.run(*words)
            assert r.returncode == 0, r
        arrived(sink, "alice@example.org")


BAD = r"""
local tern = require "tern"
tern.on("rcpt", function(txn, rcpt)
  if rcpt.local_part == "broken" then error("oh") end
  if rcpt.local_part == "slow" then local answer = tern.dns("slower.example", "A") end
end)
tern.on("message", function(txn)
  if txn:header("Subject") == "slow" then local answer = tern.dns("slow.example", "A") return tern.reject(550, "5.7.1", "looked for long") end
end)
"""


def test_no_answer():
    """F=T: without Tern mail is put off, and taken when it is back; a step that fails; steps that take long, at RCPT longer than Sendmail waits."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, Sink() as sink:
        silent.bind(("127.0.0.1", 0))
        # R= is well beyond the 10 s after which Sendmail hears that we are at work, and the step takes well beyond R=.
        config = CONFIG.replace("temp:", 'dns: { servers: ["127.0.0.1:%d"], tries: 1, timeout: 22s }\ntemp:' % silent.getsockname()[1])
        config = config.replace("filter.lua }", "filter.lua, timeout: 2m }")
        with server(config, files={"filter.lua": BAD}) as t, Sendmail(sink.port, INET.replace("R:60s", "R:16s") % t.port) as p:
            code, text = send(p, rcpts=["broken@example.org"])
            assert code == 451 and text.startswith("4.3.0 temporary failure"), (code, text)
            code, text = send(p, body="Subject: slow\n\nx\n")  # Sendmail hears that we are at work
            assert code == 550 and text.startswith("5.7.1 looked for long"), (code, text)
            code, text = send(p, rcpts=["slow@example.org"])  # and here it does not listen: R= must be long enough
            assert code == 451 and text.startswith("4.3.2 "), (code, text)
            old = Client(p.port)
            old.cmd("EHLO client.example")
            assert old.cmd("MAIL FROM:<a@client.example>")[0] == 250 and old.cmd("RCPT TO:<bob@example.org>")[0] == 250
            os.kill(t.worker_pid(), signal.SIGKILL)
            code, text = old.cmd("RCPT TO:<carol@example.org>")
            assert code == 451 and text.startswith("4.3.2 "), (code, text)
            old.close()
            wait_for(lambda: send(p)[0] == 250, 30)  # the supervisor has started another
            assert t.stop() == 0
            code, text = send(p)
            assert code == 451 and text.startswith("4.3.2 "), (code, text)
            wait_for(lambda: not p.queued("qf"), 30)
            t.start()
            assert send(p, rcpts=["back@example.org"])[0] == 250
            arrived(sink, "back@example.org")


TELL = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local s = txn.session
  txn:add_header("X-Told", table.concat({ s.client, s.helo, s.user or "nobody", s.tls and s.tls_version or "clear", s.tls and s.tls_cipher or "clear",
    s.vars.mta_name or "-", s.vars.mta_daemon or "-", s.vars.mta_version or "-", txn.vars.mta_id or "-", s.tls_subject or "-" }, "|"))
end)
"""
TLS = """define(`confSERVER_CERT', `{dir}/cert.pem')dnl
define(`confSERVER_KEY', `{dir}/key.pem')dnl
define(`confCACERT', `{dir}/cert.pem')dnl
define(`confCACERT_PATH', `{dir}')dnl
define(`confAUTH_MECHANISMS', `EXTERNAL')dnl
TRUST_AUTH_MECH(`EXTERNAL')dnl
"""


def test_what_sendmail_tells():
    """Client, greeting, TLS, login, names and queue id as steps see them, by IPv6, too; what Sendmail writes as xtext is decoded."""
    need("openssl")
    with Sink() as sink, server(files={"filter.lua": TELL}) as t:
        six = free_port()
        p = Sendmail(sink.port, TLS + INET % t.port + "\nDAEMON_OPTIONS(`Name=MTA6, Family=inet6, Addr=::1, Port=%d')dnl" % six)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=Carol X",
                        "-keyout", p.dir + "/key.pem", "-out", p.dir + "/cert.pem"], check=True, capture_output=True, timeout=60 * SLOW)
        p.own()
        with p:
            def told(rcpt):
                return re.search(r"^X-Told: (.*)\r$", arrived(sink, rcpt)[0].data.decode(), re.M).group(1).split("|")
            assert send(p)[0] == 250
            got = told("alice@example.org")
            assert got[:7] == ["127.0.0.1", "client.example", "nobody", "clear", "clear", "sendmail.test", "MTA"] and got[9] == "-", got
            wait_for(lambda: "mta_id=" + got[8] in t.log_text())
            assert re.match(r"8\.\d+", got[7]) and got[8].encode() in arrived(sink, "alice@example.org")[0].data, got
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(p.dir + "/cert.pem", p.dir + "/key.pem")
            with smtplib.SMTP("127.0.0.1", p.port, "tls.example", 60 * SLOW) as c:
                c.ehlo()
                c.mail("later@client.example")
                c.rset()
                c.starttls(context=context)
                c.ehlo()
                # It gives SASL the subject as it writes it, "Carol+20X", and that once more to its milters.
                assert c.docmd("AUTH EXTERNAL", "=")[0] == 235
                c.sendmail("a@client.example", ["three@example.org"], "Subject: x\r\n\r\nx\r\n")
            got = told("three@example.org")
            assert got[:3] == ["127.0.0.1", "tls.example", "/CN=Carol+20X"] and got[3].startswith("TLSv1.") and got[9] == "/CN=Carol X", got
            c = Client(six, host="::1")
            assert c.mail("a@client.example", ["six@example.org"], "Subject: x\n\nx\n")[0] == 250
            c.close()
            got = told("six@example.org")
            assert got[0] == "::1" and got[6] == "MTA6", got


def test_mail_of_local_users():
    """A program that speaks SMTP with `sendmail -bs` is asked about as a client without an address; `sendmail -f` by itself asks nobody."""
    with Sink() as sink, server(files={"filter.lua": TELL.replace("s.client,", 's.client or "none",')}) as t, sendmail(t, sink) as p, \
            subprocess.Popen(p.words("-bs"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as q:
        def reply():
            for line in q.stdout:
                if line[3:4] != b"-":
                    return line
        assert reply().startswith(b"220")
        for line in ("EHLO local.example", "MAIL FROM:<a@client.example>", "RCPT TO:<one@example.org>", "DATA", "Subject: x\r\n\r\nx\r\n.", "QUIT"):
            q.stdin.write(line.encode() + b"\r\n")
            q.stdin.flush()
            assert reply()[:1] in b"23", line
        assert b"X-Told: unix|local.example|nobody|clear" in arrived(sink, "one@example.org")[0].data
        assert p.run("-f", "a@client.example", "two@example.org", input="Subject: x\n\nx\n").returncode == 0
        assert b"X-Told" not in arrived(sink, "two@example.org")[0].data


def test_what_is_found_out():
    """spf, dkim_verify, dmarc and auth_results on what Sendmail tells; dkim_sign's signature holds behind Sendmail's own changes."""
    from dkimpeers import Dkimpy, Key, need_peers
    from spfzone import Server, Zone
    need_peers()
    config = CONFIG.replace("    - lua: { script: filter.lua }\n", """    - spf: { exempt: [] }
    - dkim_verify
    - dmarc: { enforce: true, exempt: [] }
    - auth_results
    - dkim_sign: { selector: s1, key: "s1.pem", missing_key: skip }
""").replace("temp:", 'dns: { servers: ["127.0.0.1:{dns}"], timeout: 20s, tries: 1 }\ntemp:')
    with tempfile.TemporaryDirectory() as folder, Sink() as sink:
        k = Key(folder, "s1")
        zone = Zone({"example.net": [{"TXT": "v=spf1 ip4:127.0.0.2 -all"}], "_dmarc.example.net": [{"TXT": "v=DMARC1; p=reject"}],
                     "s1._domainkey.example.net": [{"TXT": k.record}]})
        with Server(zone) as dns:
            t = Tern(config, files={}, command="milter", dns=dns.port)
            os.chmod(t.write("s1.pem", k.pem), 0o600)
            with t.start(), sendmail(t, sink) as p:
                plain = b"From: Bob <bob@example.net>\r\nTo:   alice@example.org,\r\n  carol@example.org\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n" \
                        b"Message-ID: <1@example.net>\r\nSubject:  a\r\n fold\r\nAuthentication-Results: mx.test; dmarc=pass header.from=bank.example\r\n" \
                        b"Authentication-Results: other.example; spf=none\r\n\r\nHello\r\n\r\n.x\r\n"
                def say(source, rcpt, mail):
                    c = Client(p.port, source=source)
                    c.cmd("EHLO client.example")
                    got = c.mail("bob@example.net", [rcpt], mail, helo=None)
                    c.close()
                    return got
                code, text = say("127.0.0.3", "no@example.org", plain)
                assert code == 550 and "DMARC" in text.upper(), (code, text)
                for source, mail, want in (("127.0.0.2", plain, ["spf=pass", "dkim=none", "dmarc=pass"]),
                                           ("127.0.0.3", Dkimpy.sign(plain, k), ["spf=fail", "dkim=pass", "dmarc=pass"])):
                    rcpt = "to-%s@example.org" % source[-1]
                    assert say(source, rcpt, mail)[0] == 250, source
                    data = arrived(sink, rcpt)[0].data
                    head = re.sub(r"\r\n[ \t]+", " ", data.decode().split("\r\n\r\n")[0])
                    fields = [f for f in head.split("\r\n") if f.lower().startswith("authentication-results:")]
                    assert len(fields) == 2 and fields[1].endswith("other.example; spf=none"), fields
                    assert fields[0].startswith("Authentication-Results: mx.test;") and all(w in fields[0] for w in want), fields
                    assert data.startswith(b"DKIM-Signature:"), data
                    assert Dkimpy.verify(data, {"s1._domainkey.example.net": k.record})[0] is True, data



def test_the_page():
    """docs/milter.md: its own configuration and its lines of sendmail.mc, with a mail in and one out."""
    from dkimpeers import Dkimpy, Dns, Key, need_peers
    need_peers()
    with open(os.path.join(ROOT, "docs", "milter.md")) as f:
        page = f.read()
    config = re.search(r"```yaml\n(.*?)```", page, re.S).group(1)
    lines = re.findall(r"^    (\w+\(`.*\)dnl)$", page[page.index("### Sendmail"):page.index("## What is asked")], re.M)
    assert len(lines) == 3, lines
    second, msa = free_port(), free_port()
    config = config.replace(":8891", ":{port}").replace(":8892", ":{second}").replace("/var/lib/tern/", "{dir}/")
    config += 'temp: {dir}\ndns: { servers: ["127.0.0.1:{dns}"], timeout: 20s, tries: 1 }\n'
    with tempfile.TemporaryDirectory() as folder, Dns({}) as dns, Sink() as sink:
        k = Key(folder, "s1")
        t = Tern(config, files={"filters/attachments.lua": FILTER}, command="milter", second=second, dns=dns.port)
        os.makedirs(t.dir + "/keys")
        os.chmod(t.write("keys/example.net.pem", k.pem), 0o600)
        mc = "\n".join(lines).replace("8891@", "%d@" % t.port).replace("8892@", "%d@" % second).replace("Port=587, M=Ea", "Addr=127.0.0.1, Port=%d, M=E" % msa)
        assert "8891" not in mc and "587" not in mc, mc
        with t.start(), Sendmail(sink.port, mc) as p:
            assert send(p, body="Subject: refuse me\n\nx\n")[0] == 250  # in shadow it is none
            assert b"DKIM-Signature" not in arrived(sink, "alice@example.org")[0].data
            c = Client(msa)
            assert c.mail("bob@example.net", ["carol@example.org"], "From: bob@example.net\nSubject: out\n\nx\n")[0] == 250
            c.close()
            data = arrived(sink, "carol@example.org")[0].data
            assert Dkimpy.verify(data, {"s1._domainkey.example.net": k.record})[0] is True, data


if __name__ == "__main__":
    run([f for n, f in sorted(globals().items()) if n.startswith("test_")])
