#!/usr/bin/python3
"""A script decides who logs in: right, wrong, unknown user, stopped, slow, rubbish, injection; and one that leads an exchange."""
import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from logins import HOSTILE, b64, code, greeted, login, plain, unb64
from ternlib import SLOW, Tern, run, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = """
hostname: mx.test
delivery: false
auth: { delay: 0 }
dns: { servers: ["127.0.0.1:{dns}"], timeout: 60s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: submission, auth_plaintext: true } }
tables: { users: { file: users } }
policies:
  submission:
    - lua: { script: who.lua, name: who, users: { table: users }, timeout: 1500ms }
    - domains: { local: [example.org], recipients: [alice@example.org] }
routes: [{ class: local, transport: smtp, to: ["127.0.0.1:25"] }]
"""
WHO = """
local tern = require "tern"
local opt = tern.options { users = tern.table { doc = "User and password." } }
tern.on("auth", function(session, credentials)
  local password = opt.users:find(credentials.user)
  local how = credentials.password
  if how == "an error" then error("broken") end
  if how == "put off" then return tern.defer("not now") end
  if how == "slow" then tern.dns("slow.example") return tern.accept() end
  if how == "endless" then while true do end end
  if how == "greedy" then return tern.accept(string.rep("x", 1000000000)) end
  if how == "a word" then return "yes" end
  if how == "a number" then return 235 end
  if how == "true" then return true end
  if how == "a hold" then return tern.hold("why not") end
  if how == "somebody" then return tern.accept("a\\nb") end
  if how == "kv is asked" then return tern.kv.get("yes") end
  if not password then return nil end
  if password == credentials.password then return tern.accept() end
  return tern.reject("no")
end)
"""
USERS = "alice: se cret\no'brien: geheim\na*: star\n"


class Silent:
    """A DNS server that never answers."""

    def __enter__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        return self

    def __exit__(self, *_):
        self.sock.close()


def server(silent, script=WHO, **files):
    return Tern(CONFIG, {"who.lua": script, "users": USERS, **files}, dns=silent.port).start()


def test_verify():
    with Silent() as silent, server(silent) as t:
        for user, password in (("alice", "se cret"), ("o'brien", "geheim"), ("a*", "star")):
            assert code(t, user, password) == 235 and login(t, user, password)[0] == 235, user
        for user, password in (("alice", "se cre"), ("alice", "geheim"), ("alice", "x" * 600), ("ALICE", "x"), ("nobody", "se cret")):
            assert code(t, user, password) == 535, (user, password)
        for user in HOSTILE:
            if user != "a*":
                assert code(t, user, "se cret") == 535, user
        assert code(t, b"alice\nx", "se cret") in (501, 535) and code(t, b"al\0ice", "se cret") in (501, 535)
        assert "se cret" not in t.log_text() and "geheim" not in t.log_text()


def test_stopped_slow_and_rubbish():
    """Whatever a script does but accept lets nobody in, and what it could not find out is a 454."""
    with Silent() as silent, server(silent) as t:
        for how in ("an error", "put off", "slow", "endless", "greedy", "a word", "a number", "true", "a hold", "somebody"):
            c = greeted(t)
            began = time.monotonic()
            got = plain(t, "alice", how, c)[0]
            assert got == 454, (how, got)
            assert time.monotonic() - began < 30 * SLOW, how
            assert c.cmd("NOOP")[0] == 250
            c.close()
        assert code(t, "alice", "kv is asked") == 535
        assert code(t, "alice", "se cret") == 235
        os.unlink(os.path.join(t.dir, "users"))  # what was read of it stays
        assert [code(t, "alice", "se cret"), code(t, "alice", "x")] == [235, 535]


# ---- an exchange ----

def exchange(**options):
    with open(os.path.join(HERE, "..", "dialogue", "auth_exchange.lua")) as f:
        script = f.read()
    t = Tern("""
hostname: mx.test
delivery: false
auth: { delay: 0 }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: submission, auth_plaintext: true } }
policies:
  submission:
    - lua: { script: sums.lua, name: sums, sums: {sums}, timeout: 1s }
    - relay_authenticated
routes: [{ transport: smtp, to: ["127.0.0.1:25"] }]
""", {"sums.lua": script}, **options)
    return t.start()


def answer(text):
    """To "2 + 2?" """
    return b64(str(sum(int(n) for n in unb64(text).decode().rstrip("?").split(" + "))))


def test_exchange():
    with exchange(sums=3) as t:
        for wrong_at in (None, 1, 2, 3):
            c = greeted(t)
            assert "AUTH X-SUMS" in c.words
            reply = c.cmd("AUTH X-SUMS")
            assert reply == (334, b64("Who are you?"))
            reply = c.cmd(b64("alice"))
            for n in (1, 2, 3):
                assert reply[0] == 334, reply
                if n == 2:
                    time.sleep(1.3)  # the client's time is not the step's
                reply = c.cmd(answer(reply[1]) if n != wrong_at else b64("0"))
                if n == wrong_at:
                    break
            assert reply[0] == (235 if wrong_at is None else 535), (wrong_at, reply)
            assert c.cmd("NOOP")[0] == 250
            c.close()
        wait_for(lambda: "mechanism=X-SUMS user=alice@example.org result=ok" in t.log_text(), 10)


def test_exchange_that_is_left():
    """Cancelled or hung up, in one write with what was asked before: nothing is left behind, others go on."""
    with exchange(sums=3) as t:
        for said in ("AUTH X-SUMS\r\n*\r\n", "AUTH X-SUMS YWxpY2U=\r\n*\r\n", "AUTH X-SUMS YWxpY2U=\r\nMg==\r\n*\r\n",
                     "AUTH X-SUMS\r\nYWxpY2U=\r\nMg==\r\nNA==\r\n*\r\n"):
            c = greeted(t)
            c.send(said + "NOOP\r\n")
            codes = []
            while not codes or codes[-1] != 250:
                codes.append(c.reply()[0])
            assert codes == [334] * (said.count("\r\n") - 1) + [501, 250], (said, codes)
            c.close()
            for reset in (True, False):
                c = greeted(t)
                c.send(said.replace("*\r\n", ""))
                c.reply()
                if reset:
                    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.close()
        wait_for(lambda: t.status()["sessions"] == 0, 20)
        waiting = [float(line.rsplit(" ", 1)[1]) for line in t.cli("metrics").stdout.splitlines() if line.startswith("tern_calls_waiting")]
        assert waiting in ([], [0.0]), waiting
        c = greeted(t)
        reply = c.cmd("AUTH X-SUMS YWxpY2U=")
        for _ in range(3):
            reply = c.cmd(answer(reply[1]))
        assert reply[0] == 235
        c.close()


def test_exchanges_side_by_side():
    with exchange(sums=2) as t:
        clients = [greeted(t) for _ in range(20)]
        replies = [c.cmd("AUTH X-SUMS " + b64("user%d" % n)) for n, c in enumerate(clients)]
        for _ in range(2):
            replies = [c.cmd(answer(r[1])) if n % 2 else c.cmd(answer(r[1]) if r[0] == 334 and "1 + 1" in unb64(r[1]).decode() else b64("7"))
                       for n, (c, r) in enumerate(zip(clients, replies))]
        assert [r[0] for r in replies] == [535, 235] * 10, replies
        for c in clients:
            c.close()


if __name__ == "__main__":
    run([test_verify, test_stopped_slow_and_rubbish, test_exchange, test_exchange_that_is_left, test_exchanges_side_by_side])
