#!/usr/bin/python3
"""tern milter behind a real Postfix: what the policy says reaches the client, what it does reaches the next hop."""
import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Postfix, Sink, program
from ternlib import ROOT, SLOW, Client, Tern, can_connect, free_port, need, run, wait_for

CONFIG = """
hostname: mx.test
control: {dir}/control
log: { decisions: {dir}/decisions }
temp: {dir}
listeners: { postfix: { protocol: milter, bind: ["127.0.0.1:{port}", "unix:{dir}/milter"], socket_group: postfix, policy: inbound } }
policies:
  inbound:
    - lua: { script: filter.lua }
"""
FILTER = r"""
local tern = require "tern"
tern.on("connect", function(session) session.vars.seen = session.client end)
tern.on("ehlo", function(session)
  if session.helo == "bad.example" then return tern.reject(550, "5.7.1", "HELO 100% bad") end
end)
tern.on("mail", function(txn)
  local s = txn.sender.address
  if s:match("^now") then return tern.reject(550, "5.7.9", "No mail from there") end
  if s:match("^later") then return tern.defer(451, "4.7.9", "Sender later") end
end)
tern.on("rcpt", function(txn, rcpt)
  if rcpt.address:match("^nobody") then return tern.reject(550, "5.1.1", "No such user here, 50% sure") end
  if rcpt.address:match("^slow") then return tern.defer(450, "4.2.1", "Come back") end
end)
tern.on("data", function(txn)
  if txn.sender.address:match("^nodata") then return tern.reject(554, "5.7.2", "Not with DATA") end
end)
tern.on("message", function(txn)
  local subject = txn:header("Subject") or ""
  if subject:match("refuse") then return tern.reject(550, "5.7.3", "A bad subject") end
  if subject:match("wait") then return tern.defer(451, "4.7.3", "A subject for later") end
  if subject:match("hold") then return tern.hold("smells of ham") end
  if subject:match("lose") then return tern.discard() end
  txn:add_header("X-Tern", "checked " .. tostring(txn.vars.mta_id ~= nil))
end)
"""


def postfix(tern, sink, more="", where=None):
    return Postfix("smtp", sink.port, "smtpd_milters = %s\nmilter_default_action = tempfail\n%s" %
                   (where or "inet:127.0.0.1:%d" % tern.port, more))


def server(config=CONFIG, files=None, **values):
    return Tern(config, files=files or {"filter.lua": FILTER}, command="milter", **values).start()


def send(p, sender="a@client.example", rcpts=("alice@example.org",), body="Subject: hello\n\nbody\n", **more):
    c = Client(p.port)
    try:
        return c.mail(sender, list(rcpts), body, **more)
    finally:
        c.close()


def arrived(sink, rcpt):
    return wait_for(lambda: sink.got(rcpt), 30)


def test_one_mail():
    """Negotiation, a mail, a header field that the next hop sees; refused at RCPT and at the end."""
    need("postfix")
    with Sink() as sink, server() as t, postfix(t, sink) as p:
        assert send(p)[0] == 250
        data = arrived(sink, "alice@example.org")[0].data.decode()
        assert re.search(r"^X-Tern: checked true\r$", data, re.M), data
        c = Client(p.port)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")
        code, text = c.cmd("RCPT TO:<nobody@example.org>")
        assert code == 550 and text.startswith("5.1.1 No such user here, 50% sure ["), (code, text)
        code, text = c.cmd("RCPT TO:<slow@example.org>")
        assert code == 450 and text.startswith("4.2.1 Come back"), (code, text)
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


# ---- refusals at each stage, by a C module and a script ----

TRACE = CONFIG.replace("    - lua: { script: filter.lua }\n", "{steps}").replace("control:", "module_path: {dir}/modules\ncontrol:")


def traced(kind, acts):
    import test_hooks
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "trace.lua")) as f:
        script = f.read()
    t = Tern(TRACE.replace("{steps}", test_hooks.step(kind, acts)), files={"trace.lua": script}, command="milter")
    folder = os.path.join(t.dir, "modules")
    os.mkdir(folder, 0o755)
    for so in test_hooks.Built.modules():
        os.symlink(so, os.path.join(folder, os.path.basename(so)))
    return t.start()


def stages(p):
    """The first refusal of a mail and the stage that it came at, or the reply at the dot."""
    c = Client(p.port, greet=False)
    try:
        for stage, line in (("connect", None), ("ehlo", "EHLO client.example"), ("mail", "MAIL FROM:<a@client.example>"),
                            ("rcpt", "RCPT TO:<bob@home.example>"), ("data", "DATA")):
            code, text = c.reply() if line is None else c.cmd(line)
            if code >= 400:
                return stage, code, text
        c.send(b"Subject: x\r\nX-Remove: a\r\nX-Remove: b\r\n\r\nHello\r\n.\r\n")
        return ("dot",) + c.reply()
    finally:
        c.close()


# Where it is refused, when it is refused there. What is refused before RCPT is kept until then (DESIGN 3.2).
HEARD = {"connect": "rcpt", "ehlo": "rcpt", "mail": "rcpt", "rcpt": "rcpt", "data": "data", "message": "dot", "queue": "dot"}


def test_refused_at_each_stage():
    """reject, defer and close at each hook, by a C module and a Lua script: code and text as the step said."""
    need("postfix", "gcc")
    with Sink() as sink:
        for kind in ("c", "lua"):
            with traced(kind, {}) as t, postfix(t, sink) as p:
                def ask(acts):
                    import test_hooks
                    t.write_config(TRACE.replace("{steps}", test_hooks.step(kind, acts)))
                    t.cli("reload")
                    return stages(p)
                for hook, heard in HEARD.items():
                    for act, code in (("reject", 550), ("defer", 451), ("close", 421)):
                        if act == "close" and hook in ("message", "queue"):
                            continue  # CLOSE is none of their answers
                        got = ask({hook: act})
                        if act == "close":  # at once, not at RCPT; Postfix ends the session at connect with 421, too
                            heard_here = hook
                        else:
                            heard_here = heard
                        text = "Service unavailable" if (hook, act) == ("connect", "close") else "trace %ss at %s" % (act, hook)
                        assert got[0] == heard_here and got[1] == code and text in got[2], (kind, hook, act, got)
                got = ask({"sign": "defer"})
                assert got[:2] == ("dot", 451), got
                assert ask({})[1] == 250
                assert t.metric("tern_messages_accepted_total") >= 1 and t.metric("tern_replies_total{class=\"5xx\"}") is not None


def test_edits():
    """Header fields added, changed and removed; sender, recipients and subject as the next hop gets them."""
    need("postfix", "gcc")
    body = b"X-Remove: stays\r\nSubject: one\r\nReceived: from far.example by x; Mon, 2 Mar 2026 10:00:00 +0000\r\n" \
           b"X-Remove: goes\r\n\r\nHello\r\n"
    for kind in ("c", "lua"):
        acts = {"mail": "rewrite", "rcpt": "expand", "message": "add"}
        with Sink() as sink, traced(kind, acts) as t, postfix(t, sink) as p:
            c = Client(p.port)
            assert c.mail("a@client.example", ["bob@home.example"], body)[0] == 250
            wait_for(lambda: sorted(r for m in sink.mails for r in m.rcpts) ==
                     ["added@home.example", "one@home.example", "two@home.example"], 30)
            assert {m.sender for m in sink.mails} == {"rewritten@home.example"}
            c.close()
        with Sink() as sink, traced(kind, {"message": "edit", "sign": "header"}) as t, postfix(t, sink) as p:
            c = Client(p.port)
            assert c.mail("a@client.example", ["bob@home.example"], body)[0] == 250
            data = arrived(sink, "bob@home.example")[0].data.decode()
            names = re.findall(r"^([\w-]+): ?(.*?)\r?$", data.split("\r\n\r\n")[0], re.M)
            assert [n for n, _ in names[:3]] == ["X-Signature", "X-Top", "Received"], names
            assert [v for n, v in names if n == "X-Remove"] == ["stays"], names
            assert [v for n, v in names if n == "Subject"] == ["replaced"], names
            assert ("X-Bottom", "last") in names and "from far.example" in data, names
            c.close()


EDITOR = r"""
local tern = require "tern"
local function each(txn, name, f)
  local i = 1
  for word in (txn:header(name) or ""):gmatch("%S+") do f(word) end
end
tern.on("message", function(txn)
  for word in (txn:header("X-Do") or ""):gmatch("%S+") do
    local act, name, nth = word:match("^(%a+),([%w-]+),?(%d*)$")
    nth = tonumber(nth) or 1
    if act == "add" then txn:add_header(name, "on top " .. nth)
    elseif act == "append" then txn:append_header(name, "at the end\r\n\tfolded " .. nth)
    elseif act == "replace" then txn:replace_header(name, "replaced " .. nth, nth)
    elseif act == "remove" then txn:remove_header(name, nth) end
  end
end)
"""


def compare_edits(mta):
    """The same script on the same mails, behind `mta` (tern, sink) and in a server of its own: the header that arrives is equal."""
    orders = ["add,X-A", "add,X-A,1 add,X-B,2 add,X-A,3", "remove,X-R,1 remove,X-R,1", "remove,X-R,3 replace,X-R,2", "replace,X-R,2 remove,X-R,1",
              "append,X-R,4 remove,X-R,1 replace,X-R,3", "add,X-R,9 replace,X-R,1 remove,X-R,2", "add,X-R add,X-R remove,X-R,1",
              "append,X-Z,1 append,X-Z,2 remove,X-Z,1", "remove,X-Do remove,Subject,1 add,Subject", "replace,Subject,1 replace,Subject,1",
              "remove,X-None replace,X-None append,X-New", "remove,X-R,2 add,X-T append,X-E remove,X-T"]
    direct = CONFIG.split("listeners:")[0].replace("control: {dir}/control\n", "") + """
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { networks: [127.0.0.0/8] }, lua: { script: filter.lua } ] }
transports: { far: { type: smtp, to: ["127.0.0.1:{sink}"] } }
routes: [{ transport: far }]
"""
    def fields(data):
        """Without Received and what a server adds by itself."""
        head = data.decode().split("\r\n\r\n")[0]
        head = re.sub(r"\r\n([ \t])", r"~\1", head)
        return [f for f in head.split("\r\n") if not re.match(r"(Received|Date|Message-Id|From):", f, re.I)]
    with Sink() as sink, Tern(direct, files={"filter.lua": EDITOR}, sink=sink.port).start() as d, Sink() as second, \
            server(files={"filter.lua": EDITOR}) as t, mta(t, second) as p:
        for i, order in enumerate(orders):
            body = "X-R: a\nSubject: %d\nX-Do: %s\nX-R:  b\n\twith a fold\nx-r: c\nFrom: a@client.example\n" \
                   "Date: Mon, 2 Mar 2026 10:00:00 +0000\nMessage-Id: <%d@x>\n\nHello\n" % (i, order, i)
            for port in (d.port, p.port):
                c = Client(port)
                assert c.mail("a@client.example", ["r%d@far.example" % i], body)[0] == 250, order
                c.close()
            want, got = (fields(arrived(s, "r%d@far.example" % i)[0].data) for s in (sink, second))
            assert want == got, "%s:\n%s\n%s" % (order, "\n".join(want), "\n".join(got))


def test_edits_are_those_of_tern_itself():
    need("postfix")
    compare_edits(postfix)


# Who is rewritten or expanded keeps NOTIFY and ORCPT, whoever sends the mail on.
MOVED = r"""
local tern = require "tern"
tern.on("mail", function(txn) if txn.sender.address:match("^old") then txn:rewrite_sender("new@client.example") end end)
tern.on("rcpt", function(txn, rcpt)
  if rcpt.local_part == "moved" then rcpt:rewrite("there@far.example") end
  if rcpt.local_part == "list" then rcpt:expand({ "one@far.example", "two@far.example" }) end
end)
tern.on("message", function(txn) if txn:header("Subject") == "add" then txn:add_rcpt("added@far.example") end end)
"""


def check_params(mta):
    with Sink(ehlo=("PIPELINING", "8BITMIME", "DSN")) as sink, server(files={"filter.lua": MOVED}) as t, mta(t, sink) as p:
        c = Client(p.port)
        c.cmd("EHLO client.example")
        assert c.cmd("MAIL FROM:<old@client.example> RET=HDRS ENVID=QQ1")[0] == 250
        for words in ("<moved@example.org> NOTIFY=NEVER ORCPT=rfc822;moved@example.org", "<list@example.org> NOTIFY=FAILURE", "<bob@example.org>"):
            assert c.cmd("RCPT TO:" + words)[0] == 250, words
        assert c.cmd("DATA")[0] == 354
        c.send(b"Subject: add\r\n\r\nx\r\n.\r\n")
        assert c.reply()[0] == 250
        c.close()
        want = {"there": ["NEVER"], "one": ["FAILURE"], "two": ["FAILURE"]}
        wait_for(lambda: sorted(r.split("@")[0] for m in sink.mails for r in m.rcpts) == ["added", "bob", "one", "there", "two"], 30)
        lines = {re.search(r"<(\w+)@", l).group(1): l for l in sink.commands if l.startswith("RCPT")}
        for name, line in lines.items():
            assert re.findall(r"NOTIFY=([\w,]+)", line) in ([want[name]] if name in want else ([], ["SUCCESS,FAILURE,DELAY"])), lines
        assert "ORCPT=rfc822;moved@example.org" in lines["there"], lines
        mail = [l for l in sink.commands if l.startswith("MAIL")]
        assert mail and all("<new@client.example>" in l and "RET=HDRS" in l and "ENVID=QQ1" in l for l in mail), mail


def test_what_the_client_wants_to_be_told():
    need("postfix")
    check_params(postfix)


def test_hold_and_discard():
    """HOLD is in Postfix's hold queue with its reason; DISCARD is 250 and nothing arrives."""
    need("postfix")
    with Sink() as sink, server() as t, postfix(t, sink) as p:
        assert send(p, body="Subject: hold this\n\nx\n")[0] == 250
        queue = lambda: subprocess.run([program("postqueue"), "-c", p.conf, "-p"], capture_output=True, text=True).stdout
        wait_for(lambda: re.search(r"^\w+!", queue(), re.M), 20)
        wait_for(lambda: "milter triggers HOLD action" in p.log_text(), 20)  # which does not tell the reason
        assert send(p, body="Subject: lose this\n\nx\n")[0] == 250
        wait_for(lambda: "discard" in p.log_text(), 20)
        assert send(p, rcpts=["last@example.org"])[0] == 250
        arrived(sink, "last@example.org")
        assert len(sink.mails) == 1
        held = r" held client=127\.0\.0\.1 .*mta_id=\w+ .*reason=\"smells of ham\""
        wait_for(lambda: (lambda log: re.search(held, log) and " discarded " in log and " accepted " in log)(t.log_text()))


# ---- many mails, many connections, reload, stop ----

def check_connections(mta):
    """Mails, RSET and refusals on one connection; several connections at once; more than memory holds."""
    with Sink() as sink, server() as t, mta(t, sink) as p:
        c = Client(p.port)
        c.cmd("EHLO client.example")
        for i in range(3):
            assert c.cmd("MAIL FROM:<a@client.example>")[0] == 250
            assert c.cmd("RCPT TO:<nobody@example.org>")[0] == 550
            assert c.cmd("RCPT TO:<u%d@example.org>" % i)[0] == 250
            assert c.cmd("RSET")[0] == 250
            assert c.cmd("MAIL FROM:<nodata@client.example>")[0] == 250
            assert c.cmd("RCPT TO:<u%d@example.org>" % i)[0] == 250
            assert c.cmd("DATA")[0] == 554
            assert c.cmd("RSET")[0] == 250
            assert c.cmd("MAIL FROM:<now@client.example>")[0] == 250
            code, text = c.cmd("RCPT TO:<u%d@example.org>" % i)
            assert code == 550 and text.startswith("5.7.9 ") and "No mail from there" in text, (code, text)
            assert c.cmd("RSET")[0] == 250
            assert c.mail("a@client.example", ["u%d@example.org" % i], "Subject: %d\n\nx\n" % i, helo=None)[0] == 250
        assert c.cmd("EHLO bad.example")[0] == 250
        assert c.cmd("MAIL FROM:<a@client.example>")[0] == 250
        code, text = c.cmd("RCPT TO:<u@example.org>")
        assert code == 550 and "HELO 100% bad" in text, (code, text)
        c.cmd("RSET")
        assert c.mail("a@client.example", ["late@example.org"], "Subject: x\n\nx\n")[0] == 250
        c.close()
        clients = [Client(p.port) for _ in range(5)]
        for i, c in enumerate(clients):
            c.cmd("EHLO client.example")
            assert c.cmd("MAIL FROM:<a@client.example>")[0] == 250
        for i, c in enumerate(clients):
            assert c.cmd("RCPT TO:<c%d@example.org>" % i)[0] == 250
            assert c.cmd("DATA")[0] == 354
        for i, c in enumerate(clients):
            c.send(b"Subject: %d\r\n\r\n" % i + b"x" * 70 + b"\r\n.\r\n")
        for c in clients:
            assert c.reply()[0] == 250
            c.close()
        big = "Subject: big\n\n" + ("0123456789" * 7 + "\n") * 40000
        assert send(p, rcpts=["big@example.org"], body=big)[0] == 250
        assert len(arrived(sink, "big@example.org")[0].data) > 2800000
        assert not [f for f in os.listdir(t.dir) if f.startswith("body")]
        for r in ["u0", "u1", "u2", "late"] + ["c%d" % i for i in range(5)]:
            arrived(sink, r + "@example.org")
    for word in ("assert", "milter_state", "error - milter", "warning - milter"):
        assert word not in t.log_text()


def test_one_connection_after_the_other():
    need("postfix")
    check_connections(postfix)


def test_reload_and_stop():
    """A session that is open during a reload keeps its policy; without Tern Postfix does what milter_default_action says."""
    need("postfix")
    with Sink() as sink, server() as t, postfix(t, sink) as p:
        old = Client(p.port)
        old.cmd("EHLO client.example")
        old.cmd("MAIL FROM:<a@client.example>")
        t.write("filter.lua", FILTER.replace("No such user here, 50% sure", "Nobody of that name"))
        t.cli("reload")
        assert "50% sure" in old.cmd("RCPT TO:<nobody@example.org>")[1]
        new = Client(p.port)
        new.cmd("EHLO client.example")
        new.cmd("MAIL FROM:<a@client.example>")
        assert "Nobody of that name" in new.cmd("RCPT TO:<nobody@example.org>")[1]
        new.close()
        assert old.cmd("RCPT TO:<old@example.org>")[0] == 250
        old.cmd("DATA")
        old.send(b"Subject: old\r\n\r\nx\r\n.\r\n")
        assert old.reply()[0] == 250
        assert t.stop() == 0
        assert old.cmd("MAIL FROM:<a@client.example>")[0] == 451
        old.close()
        code, text = send(p)
        assert code == 451, (code, text)
        t.start()
        wait_for(lambda: send(p)[0] == 250, 30)


def test_what_postfix_tells():
    """By a unix socket: login, TLS, queue id, the server's name and the address of XCLIENT are what steps see."""
    need("postfix", "openssl")
    script = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local s = txn.session
  txn:add_header("X-Told", table.concat({ s.client, s.helo, s.user or "nobody", s.tls and s.tls_version or "clear", s.tls and s.tls_cipher or "clear",
    s.vars.mta_name or "-", s.vars.mta_daemon or "-", s.vars.mta_version or "-", txn.vars.mta_id or "-" }, "|"))
end)
"""
    def told(sink, rcpt):
        return re.search(r"^X-Told: (.*)\r$", arrived(sink, rcpt)[0].data.decode(), re.M).group(1).split("|")
    with Sink() as sink, server(files={"filter.lua": script}) as t:
        more = "smtpd_authorized_xclient_hosts = 127.0.0.1\nsmtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s/c.pem\n" \
               "smtpd_tls_key_file = %s/k.pem\nmynetworks = 127.0.0.0/8 192.0.2.0/24" % (t.dir, t.dir)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                        "/CN=postfix.test", "-keyout", t.dir + "/k.pem", "-out", t.dir + "/c.pem"], check=True, capture_output=True, timeout=60 * SLOW)
        with postfix(t, sink, more, where="unix:%s/milter" % t.dir) as p:
            assert send(p)[0] == 250
            got = told(sink, "alice@example.org")
            assert got[:5] == ["127.0.0.1", "client.example", "nobody", "clear", "clear"], got
            assert got[5:7] == ["postfix.test", "postfix.test"] or got[5] == "postfix.test", got
            assert got[7].startswith("Postfix 3."), got
            wait_for(lambda: got[8] in p.log_text() and got[8] in t.log_text(), 20)
            c = Client(p.port)
            c.cmd("EHLO proxy.example")
            assert c.cmd("XCLIENT ADDR=192.0.2.77 NAME=far.example LOGIN=carol@example.org")[0] == 220
            assert c.mail("a@client.example", ["two@example.org"], "Subject: x\n\nx\n")[0] == 250
            c.close()
            got = told(sink, "two@example.org")
            assert got[:3] == ["192.0.2.77", "client.example", "carol@example.org"], got
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with smtplib.SMTP("127.0.0.1", p.port, "tls.example", 60 * SLOW) as c:
                c.ehlo()
                c.mail("later@client.example")  # refused at RCPT, and nothing of it is left behind TLS
                c.rset()
                c.starttls(context=context)
                c.sendmail("a@client.example", ["three@example.org"], "Subject: x\r\n\r\nx\r\n")
            got = told(sink, "three@example.org")
            assert got[1] == "tls.example" and got[3].startswith("TLSv1.") and "_" in got[4] or "-" in got[4], got


def test_signed_and_verified():
    """dkim_sign, dkim_verify and spf behind Postfix: what arrives is verified by dkimpy, also with a folded header."""
    need("postfix")
    from dkimpeers import Dkimpy, Dns, Key, need_peers
    need_peers()
    config = CONFIG.replace("    - lua: { script: filter.lua }\n", """    - spf: { networks: [] }
    - dkim_verify
    - dkim_sign: { selector: s1, key: "s1.pem", canonicalization: %s }
""").replace("temp:", 'dns: { servers: ["127.0.0.1:{dns}"], timeout: 20s, tries: 1 }\ntemp:')
    with tempfile.TemporaryDirectory() as folder, Dns({}) as dns:
        k = Key(folder, "s1")
        dns.put("s1._domainkey.example.net", k.record)
        for canon in ("simple/simple", "relaxed/relaxed"):
            with Sink() as sink:
                t = Tern(config.replace("%s", canon).replace("spf: { networks: [] }", "spf"), files={}, command="milter", dns=dns.port)
                os.chmod(t.write("s1.pem", k.pem), 0o600)
                with t.start(), postfix(t, sink) as p:
                    body = "From: Bob <bob@example.net>\nSubject:  two  blanks\n and a fold\nTo:alice@example.org\n" \
                           "Date: Mon, 02 Mar 2026 10:00:00 +0000\nMessage-ID: <1@example.net>\n\nHello  \n\n. x\n\n\n"
                    assert send(p, sender="bob@example.net", body=body)[0] == 250
                    data = arrived(sink, "alice@example.org")[0].data
                    assert data.startswith(b"DKIM-Signature:"), data[:200]
                    assert Dkimpy.verify(data, {"s1._domainkey.example.net": k.record})[0] is True, data
                    # What has just been signed is verified on its way through once more.
                    assert send(p, sender="bob@example.net", rcpts=["again@example.org"], body=data.decode())[0] == 250
                    arrived(sink, "again@example.org")


def test_what_is_found_out():
    """spf, dkim_verify, dmarc and auth_results: the client is who Postfix says, its fields are replaced, DMARC refuses."""
    need("postfix")
    from dkimpeers import Dkimpy, Key, need_peers
    from spfzone import Server, Zone
    need_peers()
    config = CONFIG.replace("    - lua: { script: filter.lua }\n", """    - spf
    - dkim_verify
    - dmarc: { enforce: true }
    - auth_results
    - hello: { greeting: seen }
""").replace("temp:", 'dns: { servers: ["127.0.0.1:{dns}"], timeout: 20s, tries: 1 }\ntemp:')
    with tempfile.TemporaryDirectory() as folder, Sink() as sink:
        k = Key(folder, "s1")
        zone = Zone({"example.net": [{"TXT": "v=spf1 ip4:192.0.2.77 -all"}], "_dmarc.example.net": [{"TXT": "v=DMARC1; p=reject"}],
                     "s1._domainkey.example.net": [{"TXT": k.record}], "client.example": [{"A": "192.0.2.77"}]})
        with Server(zone) as dns, server(config, files={"x": ""}, dns=dns.port) as t, \
                postfix(t, sink, "smtpd_authorized_xclient_hosts = 127.0.0.1\nmynetworks = 127.0.0.0/8 192.0.2.0/24") as p:
            def say(address, rcpt, mail):
                c = Client(p.port)
                c.cmd("EHLO proxy.example")
                assert c.cmd("XCLIENT ADDR=%s" % address)[0] == 220
                got = c.mail("bob@example.net", [rcpt], mail)
                c.close()
                return got
            plain = b"From: Bob <bob@example.net>\r\nTo: alice@example.org\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n" \
                    b"Subject:  a\r\n fold\r\nAuthentication-Results: mx.test; dmarc=pass header.from=bank.example\r\n" \
                    b"Authentication-Results: other.example; spf=none\r\nauthentication-results:\r\n mx.test (evil) 1; spf=pass\r\n\r\nHello\r\n"
            code, text = say("192.0.2.78", "no@example.org", plain)
            assert code == 550 and "DMARC" in text.upper(), (code, text)
            ident = re.search(r"\[(\w+)\]", text).group(1)
            assert "v=DMARC1; p=reject" in t.cli("why", ident).stdout, t.cli("why", ident).stdout
            for address, mail, want in (("192.0.2.77", plain, ["spf=pass", "dkim=none", "dmarc=pass"]),
                                        ("192.0.2.78", Dkimpy.sign(plain, k), ["spf=fail", "dkim=pass", "dmarc=pass"])):
                rcpt = "to-%s@example.org" % address[-2:]
                assert say(address, rcpt, mail)[0] == 250, address
                data = arrived(sink, rcpt)[0].data.decode()
                head = re.sub(r"\r\n[ \t]+", " ", data.split("\r\n\r\n")[0])
                fields = [f for f in head.split("\r\n") if f.lower().startswith("authentication-results:")]
                assert len(fields) == 2 and fields[1].endswith("other.example; spf=none"), fields
                assert fields[0].startswith("Authentication-Results: mx.test;") and all(w in fields[0] for w in want), fields
                if address.endswith("78"):
                    assert Dkimpy.verify(data.encode(), {"s1._domainkey.example.net": k.record})[0] is True, data


def test_mail_of_local_users():
    """non_smtpd_milters: what the sendmail command takes goes through the policy, too."""
    need("postfix")
    with Sink() as sink, server() as t, Postfix("smtp", sink.port, "non_smtpd_milters = inet:127.0.0.1:%d\nmilter_default_action = tempfail\n"
                                                "milter_protocol = 6" % t.port) as p:
        r = subprocess.run([program("sendmail"), "-C", p.conf, "-f", "a@client.example", "local@example.org"], input="Subject: by hand\n\nx\n",
                           capture_output=True, text=True, timeout=60 * SLOW)
        assert r.returncode == 0, r
        data = arrived(sink, "local@example.org")[0].data.decode()
        assert re.search(r"^X-Tern: checked true\r$", data, re.M), data


def test_forwarded_with_srs_and_arc():
    """srs and arc_seal behind Postfix: the sender that the next hop sees is ours, the set is sealed; a bounce comes back."""
    need("postfix")
    from dkimpeers import Key, need_peers
    from spfzone import Server, Zone
    need_peers()
    alias = r"""
local tern = require "tern"
tern.on("rcpt", function(txn, rcpt)
  if rcpt.local_part == "moved" then rcpt:claim("forward") rcpt:rewrite("there@far.example") end
end, { claims = true })
"""
    config = CONFIG.replace("    - lua: { script: filter.lua }\n", """    - spf
    - dkim_verify
    - arc_verify
    - lua: { script: filter.lua }
    - srs: { domain: srs.example.org, secrets: a-long-secret-of-the-test }
    - arc_seal: { domain: example.org, selector: s1, key: s1.pem }
""").replace("temp:", 'dns: { servers: ["127.0.0.1:{dns}"], timeout: 20s, tries: 1 }\ntemp:')
    with tempfile.TemporaryDirectory() as folder, Sink() as sink, Server(Zone({})) as dns:
        k = Key(folder, "s1")
        t = Tern(config, files={"filter.lua": alias}, command="milter", dns=dns.port)
        os.chmod(t.write("s1.pem", k.pem), 0o600)
        with t.start(), postfix(t, sink) as p:
            assert send(p, sender="bob@elsewhere.example", rcpts=["moved@example.org"], body="From: bob@elsewhere.example\nSubject: x\n\nx\n")[0] == 250
            mail = arrived(sink, "there@far.example")[0]
            assert mail.sender.startswith("SRS0=") and mail.sender.endswith("=elsewhere.example=bob@srs.example.org"), mail.sender
            assert [n.lower() for n in re.findall(rb"^(ARC-[\w-]+):", mail.data, re.M)] == \
                [b"arc-seal", b"arc-message-signature", b"arc-authentication-results"], mail.data
            assert send(p, sender="", rcpts=[mail.sender], body="Subject: bounce\n\nx\n")[0] == 250
            arrived(sink, "bob@elsewhere.example")
            code, text = send(p, sender="", rcpts=["SRS0=AAAA=00=elsewhere.example=eve@srs.example.org"], body="Subject: bounce\n\nx\n")
            assert code == 550, (code, text)


def test_a_step_that_waits_longer_than_postfix():
    """Postfix would give up after milter_command_timeout; as it hears every 10 s that we are at work it waits."""
    need("postfix")
    script = r"""
local tern = require "tern"
tern.on("rcpt", function(txn, rcpt)
  local answer, err = tern.dns("slow.example", "A")
  return tern.reject(550, "5.1.1", "looked for long")
end)
"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, Sink() as sink:
        silent.bind(("127.0.0.1", 0))
        config = CONFIG.replace("temp:", 'dns: { servers: ["127.0.0.1:%d"], tries: 1, timeout: 24s }\ntemp:' % silent.getsockname()[1])
        config = config.replace("filter.lua }", "filter.lua, timeout: 2m }")
        with server(config, files={"filter.lua": script}) as t, postfix(t, sink, "milter_command_timeout = 20s") as p:
            c = Client(p.port)
            c.cmd("EHLO client.example")
            c.cmd("MAIL FROM:<a@client.example>")
            code, text = c.cmd("RCPT TO:<bob@example.org>")
            assert code == 550 and "looked for long" in text, (code, text, p.log_text())
            c.close()


def test_the_page():
    """docs/milter.md: its own configuration and its own lines of main.cf and master.cf, with a mail in and one out."""
    need("postfix")
    from dkimpeers import Dkimpy, Dns, Key, need_peers
    need_peers()
    with open(os.path.join(ROOT, "docs", "milter.md")) as f:
        page = f.read()
    config = re.search(r"```yaml\n(.*?)```", page, re.S).group(1)
    main = "".join(l.strip() + "\n" for l in re.search(r"`/etc/postfix/main\.cf`:\n\n((?:    .*\n)+)", page).group(1).splitlines())
    master = re.search(r"submit their mail:\n\n((?:    .*\n)+)", page).group(1)
    second = free_port()
    config = config.replace(":8891", ":{port}").replace(":8892", ":{second}").replace("/var/lib/tern/", "{dir}/")
    assert "{port}" in config and "{second}" in config and config.count("{dir}") == 2
    config += 'temp: {dir}\ndns: { servers: ["127.0.0.1:{dns}"], timeout: 20s, tries: 1 }\n'
    with tempfile.TemporaryDirectory() as folder, Dns({}) as dns, Sink() as sink:
        k = Key(folder, "s1")
        t = Tern(config, files={"filters/attachments.lua": FILTER}, command="milter", second=second, dns=dns.port)
        os.makedirs(t.dir + "/keys")
        os.chmod(t.write("keys/example.net.pem", k.pem), 0o600)
        with t.start(), Postfix("smtp", sink.port, main.replace(":8891", ":%d" % t.port)) as p:
            r = t.cli("check")
            assert "warning" not in r.stdout + r.stderr, r
            # A refusal in shadow is none.
            assert send(p, body="Subject: refuse me\n\nx\n")[0] == 250
            arrived(sink, "alice@example.org")
            port, rows = free_port(), master.replace(":8892", ":%d" % second).splitlines()
            with open(os.path.join(p.conf, "master.cf"), "a") as f:
                f.write("127.0.0.1:%d inet n - n - - smtpd\n%s\n" % (port, rows[1][2:]))
            subprocess.run([program("postfix"), "-c", p.conf, "reload"], check=True, capture_output=True)
            wait_for(lambda: can_connect(port), 20)
            c = Client(port)
            assert c.mail("bob@example.net", ["carol@example.org"], "From: bob@example.net\nSubject: out\n\nx\n")[0] == 250
            c.close()
            data = arrived(sink, "carol@example.org")[0].data
            assert Dkimpy.verify(data, {"s1._domainkey.example.net": k.record})[0] is True, data


if __name__ == "__main__":
    run([f for n, f in sorted(globals().items()) if n.startswith("test_")])
