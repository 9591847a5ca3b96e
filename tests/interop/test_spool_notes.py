#!/usr/bin/python3
"""What steps noted travels with the message: through the queue, past a kill -9, to route, deliver and result."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import Client, Tern, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
split: false
policies:
  inbound:
    - domains: { local: [here.example] }
    - lua: { script: notes.lua }
transports:
  right: { type: maildir, path: "{dir}/mail/right/%{user}" }
  wrong: { type: maildir, path: "{dir}/mail/wrong/%{user}" }
routes:
  - { class: local, transport: wrong }
"""
SCRIPT = """local tern = require "tern"
tern.tag { name = "session_tag" }
tern.tag { name = "rcpt_tag" }
tern.tag { name = "group_tag" }
tern.on("connect", function(session)
  session.vars.text, session.vars.over = "from connect", "old"
  session:tag("session_tag")
end)
tern.on("mail", function(txn)
  txn.vars.number, txn.vars.yes, txn.vars.over = 42.5, true, "newer"
end)
tern.on("rcpt", function(txn, rcpt)
  if rcpt.local_part == "tagged" then
    txn:tag("rcpt_tag")
  end
end)
tern.on("message", function(txn)
  txn.vars.over = "newest"
  txn:tag("group_tag")
end)

local function check(message, rcpts)
  local v = message.vars
  local tagged = rcpts[1].local_part == "tagged"
  local good = v.text == "from connect" and v.number == 42.5 and v.yes == true and v.over == "newest"
      and message:has_tag("session_tag") and message:has_tag("group_tag")
      and message:has_tag("rcpt_tag") == tagged and message.session.helo == "client.example"
      and message.session.client == "127.0.0.1" and rcpts[1].class == "local"
  tern.log.info("text " .. tostring(v.text) .. " number " .. tostring(v.number) .. " yes " .. tostring(v.yes)
      .. " over " .. tostring(v.over) .. " tags " .. tostring(message:has_tag("session_tag"))
      .. tostring(message:has_tag("group_tag")) .. tostring(message:has_tag("rcpt_tag")))
  return good
end
tern.on("route", function(message, rcpts)
  if check(message, rcpts) then
    return tern.route { transport = "right" }
  end
end)
tern.on("deliver", function(message, rcpts)
  if not check(message, rcpts) then
    return tern.reject(550, "5.3.0", "the notes are gone")
  end
end)
tern.on("result", function(message, rcpts)
  tern.log.info("result " .. tostring(check(message, rcpts)))
end)
"""


def send(t):
    c = Client(t.port)
    code, text = c.mail("a@client.example", ["tagged@here.example", "plain@here.example"], "Subject: x\n\nbody\n")
    c.close()
    assert code == 250, (code, text)


def arrived(t):
    wait_for(lambda: t.maildir("right", "tagged") and t.maildir("right", "plain"))
    wait_for(lambda: t.log_text().count("result true") == 2)
    assert "result false" not in t.log_text()


def test_notes_travel():
    with Tern(CONFIG, files={"notes.lua": SCRIPT}).start() as t:
        send(t)
        arrived(t)


def test_notes_outlive_the_server():
    with Tern(CONFIG + "delivery: false\n", files={"notes.lua": SCRIPT}).start() as t:
        send(t)
        assert len(t.queue()) == 2  # two groups: their tags differ
        t.stop(signal.SIGKILL)
        t.write_config(CONFIG)
        t.start()
        arrived(t)


if __name__ == "__main__":
    run([test_notes_travel, test_notes_outlive_the_server])
