#!/usr/bin/python3
"""tern milter behind a real Postfix: what the policy says reaches the client, what it does reaches the next hop."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from peers import Postfix, Sink, program
from ternlib import SLOW, Client, Tern, need, run, wait_for

CONFIG = """
hostname: mx.test
control: {dir}/control
log: { decisions: {dir}/decisions }
temp: {dir}
listeners: { postfix: { protocol: milter, bind: ["127.0.0.1:{port}", "unix:{dir}/milter"], policy: inbound } }
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


if __name__ == "__main__":
    run([f for n, f in sorted(globals().items()) if n.startswith("test_")])
