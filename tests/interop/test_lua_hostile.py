#!/usr/bin/python3
"""A script that never ends: its call fails, and another session of the same loop is served meanwhile.

Runs alone: it measures how soon others are answered.
"""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from noops import Burner, Measured, others_are_served
from ternlib import Client, Tern, run, some

CONFIG = """
hostname: mx.test
loops: 1
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - lua: { script: hostile.lua }
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { class: local, transport: mailboxes }
limits: { errors: 10000, messages: 0, commands: 1000000 }
log: { level: error }
"""
SCRIPT = """local tern = require "tern"
local bad = {
  loop = function() while true do end end,
  sort = function() while true do pcall(table.sort, { 3, 2, 1 }, function() while true do end end) end end,
  gsub = function() while true do pcall(string.gsub, "abc", ".", function() while true do end end) end end,
  memory = function() local s = "x" while true do s = s .. s end end,
  rep = function() local s = ("x"):rep(1000000000) end,
  pattern = function() while true do pcall(string.find, ("a"):rep(1000), (".-"):rep(10) .. "b") end end,
}
tern.on("message", function(txn)
  local f = bad[txn.sender.local_part]
  if f then f() end
end)
"""


def test_hostile():
    with Tern(CONFIG, files={"hostile.lua": SCRIPT}).start() as t:
        for name in ("loop", "sort", "gsub", "memory", "rep", "pattern"):
            others_are_served(name, lambda: measure(t, name))
        assert "hostile.lua:" in t.log_text()
        code, text = Client(t.port).mail("good@client.example", ["alice@example.org"], "Subject: x\n\nx\n")
        assert code == 250, text


def test_a_pipeline_that_burns():
    """Whoever sends five such mails at once gets one call before others have their turn, not five."""
    message = "Subject: x\r\n\r\nx\r\n"
    mail = "MAIL FROM:<sort@client.example>\r\nRCPT TO:<alice@example.org>\r\nBDAT %d LAST\r\n%s" % (len(message), message)
    with Tern(CONFIG, files={"hostile.lua": SCRIPT}).start() as t:
        other = Client(t.port)
        other.cmd("EHLO client.example")
        done = []
        while len(done) < 5 and min(done, default=5) >= 3:  # a busy machine may keep us away for that long
            c = Client(t.port)
            c.cmd("EHLO client.example")
            c.send(mail * 5)
            time.sleep(0.02)
            assert other.cmd("NOOP")[0] == 250
            c.sock.settimeout(0.001)
            try:
                done.append(c.sock.recv(65536).count(b"\r\n451 "))
            except socket.timeout:
                done.append(0)
            c.close()
        print("     calls of five that were over before somebody else's NOOP: %s" % done)
        assert min(done) < 3, done


EACH = """local tern = require "tern"
tern.on("message", function(txn)
  local count = 0
  for name in txn:headers() do count = count + (name == "X" and 1 or 0) end
  return tern.reject(550, "5.7.0", "fields " .. count)
end)
"""


def test_each_field_of_the_longest_header():
    """Ten thousand fields, gone through one by one: the loop is not held until the worker is ended."""
    with Tern(CONFIG, files={"hostile.lua": EACH}).start() as t:
        message = ("X: %s\r\n" % ("x" * 90)) * 10000 + "\r\nx\r\n"
        code, text = Client(t.port).mail("bob@client.example", ["alice@example.org"], message)
        assert code == 550 and text.startswith("5.7.0 fields 10000"), (code, text)


def measure(t, name):
    """NOOPs beside that script."""
    message = "Subject: x\r\n\r\nx\r\n"
    mail = "MAIL FROM:<%s@client.example>\r\nRCPT TO:<alice@example.org>\r\nBDAT %d LAST\r\n%s" % (name, len(message), message)
    burner = Burner(t.port, lambda c: c.cmd("EHLO client.example"), lambda c: c.send(mail),
                    lambda c: [c.reply()[0] for _ in range(3)])
    other = Client(t.port)
    try:
        measured = Measured(t, other, burner, some(50, 10))
    finally:
        burner.end()
    other.close()
    assert all(codes == [250, 250, 451] for codes in burner.codes), (name, burner.codes[:3])
    return measured


if __name__ == "__main__":
    run([test_hostile, test_a_pipeline_that_burns, test_each_field_of_the_longest_header])
