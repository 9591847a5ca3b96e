#!/usr/bin/python3
"""Modules and scripts that burn: the watchdog ends a loop that hangs, and a script costs its own call, and nobody else's.

Runs alone: it measures how soon others are answered, and the watchdog.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from noops import Burner, Measured, others_are_served
from ternlib import SLOW, Client, run, some, wait_for
from test_misbehaviour import SOURCE, cut_off, named, provoke, sanitized, server


def test_hang_of_the_loop_is_ended_by_the_watchdog():
    if sanitized():
        print("     no watchdog under sanitizers")
        return
    with server("    - naughty: {}", watchdog="2s", naughty=SOURCE) as t:
        for n, how in enumerate(("spin", "sleep")):
            start = time.monotonic()
            assert cut_off(lambda: provoke(t, how + "@example.org"))
            assert time.monotonic() - start < 60 * SLOW
            wait_for(lambda: len(named(t, "has not moved for")) == n + 1)
            wait_for(lambda: len(named(t, "when the loop hung", "hook=rcpt", "step=naughty")) == n + 1)
            wait_for(lambda: Client(t.port).cmd("NOOP")[0] == 250)


HOSTILE = {
    "loop": "while true do end",
    "pcall": "while true do pcall(function() while true do end end) end",
    "sort": "local t = {} for i = 1, 1000 do t[i] = i end "
            "table.sort(t, function(a, b) pcall(function() while true do end end) return a < b end)",
    "gsub": "(('x'):rep(1000)):gsub('x', function() pcall(function() while true do end end) end)",
    "huge": "local s = 'x' while true do s = s .. s end",
    "rep": "local s = ('x'):rep(1 << 30)",
    "pattern": "local s = ('a'):rep(30000) return s:find(('a*'):rep(20) .. 'b')",
    "recursion": "local function f() return 1 + f() end f()",
    "coroutine": "while true do coroutine.wrap(function() while true do end end)() end",
    "table": "local t = {} while true do t[#t + 1] = {} end",
}


NOOPS = some(50, 10)
# The others burn in test_lua_hostile, too.
ONLY_HERE = ("pcall", "huge", "recursion", "coroutine", "table")


def measure(t, other, who):
    """NOOPs of one session while another runs the script over and over."""
    def prepare(c):
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")

    burner = Burner(t.port, prepare, lambda c: c.send("RCPT TO:<%s@example.org>\r\n" % who), lambda c: c.reply()[0])
    try:
        measured = Measured(t, other, burner, NOOPS)
    finally:
        burner.end()
    assert set(burner.codes) == {451}, (who, burner.codes[:5])
    return measured


def test_scripts_that_burn_hurt_only_their_call():
    body = "\n".join('  if to == "%s@example.org" then %s end' % (k, v if not v.startswith("local s = ('a')") and not
                     v.startswith("((") else "do " + v + " end") for k, v in HOSTILE.items())
    script = 'local tern = require "tern"\ntern.on("rcpt", function(txn, rcpt)\n  local to = rcpt.address\n%s\nend)\n' % body
    with server("    - lua: { script: burn.lua }", "limits: { errors: 10000, commands: 1000000 }\nlog: { level: error }\n", files={"burn.lua": script}) as t:
        other = Client(t.port)
        other.cmd("EHLO client.example")
        assert provoke(t, "alice@example.org")[1][0] == 250
        for who in some(tuple(HOSTILE), ONLY_HERE):
            others_are_served(who, lambda: measure(t, other, who), by_steps=who == "pattern")
        wait_for(lambda: named(t, "burn.lua:"))  # an error of a script has its line


if __name__ == "__main__":
    run([test_hang_of_the_loop_is_ended_by_the_watchdog, test_scripts_that_burn_hurt_only_their_call])
