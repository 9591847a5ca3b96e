#!/usr/bin/python3
"""The SMTP dialogues of Exim's own tests, where their subject is the protocol, are held with Tern.

exim_dialogues.tsv says of each script whether it is run, with which configuration, and why not; and each reply code that
is another one here, with the RFC's section. Texts do not count. The scripts stay outside of the repository (GPL).

Begins early: it waits for long.
"""
import os
import re
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, free_port, need_shared, run

HERE = os.path.dirname(os.path.abspath(__file__))
EXIM = need_shared("corpora", "smtp", "exim")
OTHER = "127.0.0.3"  # what the scripts call HOSTIPV4: the machine's address beside the loopback
PACE = 1 + 2 * SLOW  # time-outs and pauses of theirs are so much longer here: many are held at once, maybe on a busy machine
PLAIN = dict(listener="", top="", steps="- domains: { networks: [127.0.0.0/8] }", files={})
JUDGE = """
local tern = require "tern"
for _, name in ipairs { "no", "later" } do tern.tag { name = name } end
local says = { usery = "later", userz = "no", bad1 = "no", bad2 = "no" }
tern.on("rcpt", function(txn, rcpt)
  if says[rcpt.local_part] then txn:tag(says[rcpt.local_part]) end
end)
tern.on("queue", function(txn)
  if txn:has_tag("no") then return tern.reject(550, "5.7.1", "no") end
  if txn:has_tag("later") then return tern.defer(450, "4.7.1", "later") end
end)
"""
CERTIFICATES = "certificates: [{ cert: mx.pem, key: mx.key }]\n"
USERS = 'userx: "{PLAIN}secret"\nuser: "{PLAIN}secret"\nusery: "{PLAIN}ab?"\n'
ONCE_LOGGED_IN = dict(listener=", auth_plaintext: true", steps="- auth_file: { path: users.yaml }\n    - relay_authenticated",
                      files={"users.yaml": USERS})
CONFIGS = {  # what Exim's configuration said there, in our words
    "plain": {},
    "five recipients": dict(steps="- rcpt_limit: { max: 5 }\n    " + PLAIN["steps"]),
    "64 KB": dict(top="limits: { message_size: 64KB }\n"),
    "three errors": dict(top="limits: { errors: 3 }\n"),
    "one error": dict(top="limits: { errors: 1 }\n"),
    "two seconds": dict(top="timeouts: { command: {2s}, line: {2s}, data_start: {2s}, data_block: {2s} }\n"),
    "users": dict(ONCE_LOGGED_IN, steps=ONCE_LOGGED_IN["steps"] + "\n    " + PLAIN["steps"]),
    "users alone": ONCE_LOGGED_IN,
    "users, four errors": dict(ONCE_LOGGED_IN, top="limits: { errors: 4 }\n"),
    "etrn": dict(listener=", etrn: [127.0.0.0/8]"),
    "tls": dict(listener=", tls: starttls", top=CERTIFICATES),
    "tls, 2 s": dict(listener=", tls: starttls", top=CERTIFICATES + "timeouts: { tls: {2s} }\n"),
    "tls, the first address": dict(listener=", tls: starttls", top=CERTIFICATES, steps="- domains: { networks: [127.0.0.1/32] }"),
    "tls relays": dict(listener=", tls: starttls", top=CERTIFICATES,
                       steps='- domains: { networks: [127.0.0.0/8], when: "session.tls" }'),
    "tls and implicit": dict(listener=", tls: starttls", implicit=True, top=CERTIFICATES),
    "implicit": dict(listener=", tls: implicit", top=CERTIFICATES),
    "proxy": dict(listener=", proxy: [%s]" % OTHER, top="timeouts: { proxy: {2s} }\n"),
    "xclient": dict(listener=", xclient: [%s]" % OTHER),
    "prdr": dict(top="split: false\n", steps=PLAIN["steps"] + "\n    - lua: { script: judge.lua }", files={"judge.lua": JUDGE}),
    "42 messages": dict(top="limits: { messages: 42 }\n"),
    "no number of messages": dict(top="limits: { messages: 0 }\n"),
    "without LIMITS": dict(listener=", withhold: [LIMITS]"),
    "wait": dict(steps="- tarpit: { rcpt: 2s }\n    " + PLAIN["steps"]),
}
CONFIG = """hostname: mx.test
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound%s }%s
%spolicies:
  inbound:
    %s
routes: [{ class: client, discard: "a test" }]
"""


def server(name):
    c = dict(PLAIN, **CONFIGS[name])
    implicit, port = "", free_port()
    if c.get("implicit"):
        implicit = '\n  implicit: { bind: "127.0.0.1:%d", policy: inbound, tls: implicit }' % port
    t = Tern(CONFIG % (c["listener"], implicit, c["top"].replace("{2s}", "%ds" % (2 * PACE)), c["steps"]), files=c["files"])
    if c["files"].get("users.yaml"):
        os.chmod(os.path.join(t.dir, "users.yaml"), 0o600)
    if "certificates" in c["top"]:
        from ternlib import certificates_for
        certificates_for(open(t.config).read(), t.dir)
    t.implicit = port if implicit else t.port
    t.start(wait=not c["listener"].startswith(", tls: implicit"))
    if c["listener"].startswith(", tls: implicit"):
        from ternlib import wait_for
        wait_for(lambda: t.cli("status", check=False).returncode == 0, 20)
    return t


# ---- the scripts -------------------------------------------------------------------------


def read(*parts):
    with open(os.path.join(EXIM, *parts), encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def dialogues(name):
    """[(kind, address, lines)]: `client` blocks with what they expect, and what `exim -bs` and `-bh` read."""
    found, written, block = [], {}, None
    for line in read("scripts", name).rstrip("\n").split("\n"):
        if block is not None:
            if line.strip() == "****":
                block = None
            elif line != "++++":
                block.append(line)
            continue
        write = re.match(r"write (\S+) +(\d+)x(\d+)", line)
        if write:  # so many lines of so many octets, the line end among them
            written[write[1]] = "\n".join(["x" * (int(write[3]) - 1)] * int(write[2]))
            block = []
        elif re.match(r"client", line):
            block = []
            found.append(("client", line, block))
        elif re.match(r"(\d+ +)?(sudo +)?exim", line):
            block = []
            if re.search(r" -b[sh]\b", line):
                found.append(("stdin", line, block))
        elif re.match(r"server", line):
            block = []
    return found, written


def sessions(name, waits):
    """The replies that Exim gave on standard output, as (code, keywords), a list for each session."""
    found, text = [], ""
    try:
        text = read("stdout", name.split("/")[-1])
    except FileNotFoundError:
        pass
    for line in text.split("\n"):
        m = re.match(r"(\d{3})([ -]|$)(.*)", line)
        if not m:
            continue
        if m[1] == "220" and (not found or "XCLIENT" not in m[3]):
            found.append([])
        if found and not (found[-1] and found[-1][-1] == "421") and m[2] != "-":
            found[-1].append(m[1])
    for session in found:
        if not waits and session[-1] == "421":
            session.pop()  # said at the end of standard input
    return found


def said(text):
    text = text.replace("HOSTIPV4", OTHER).replace("HOSTNAME", "test.ex").replace("CALLER", "caller").replace("V4NET", "10")
    text = text.replace("starttls_wait", "starttls")
    # An address without brackets is none (RFC 5321 4.1.2); their tests write it, to test something else.
    return "\\r\\n".join(re.sub(r"(?i)^(mail from|rcpt to): *([^<\s]\S*)$", r"\1:<\2>", part) for part in text.split("\\r\\n"))


def octets(text):
    def one(m):
        return {b"r": b"\r", b"n": b"\n"}.get(m[1]) or bytes([int(m[1][1:], 16)])
    return re.sub(rb"\\(r|n|x[0-9A-Fa-f]{2})", one, text.encode("utf-8", "surrogateescape"))


# ---- talking -----------------------------------------------------------------------------


KEYWORDS = ("SIZE", "8BITMIME", "PIPELINING", "CHUNKING", "STARTTLS", "LIMITS", "SMTPUTF8", "PRDR", "XCLIENT")


class Talk(Client):
    """Reads replies; "closed" when there are no more, "silent" when none came in time."""

    def __init__(self, port, source, tls=False):
        self.sock = socket.create_connection(("127.0.0.1", port), 30 * SLOW, source_address=(source, 0))
        self.rest, self.keywords = b"", []
        self.sock.settimeout(20 * SLOW)
        if tls:
            self.encrypt()

    def encrypt(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)

    def code(self):
        try:
            code, text = self.reply()
        except socket.timeout:
            return "silent"
        except (EOFError, OSError, ValueError):
            return "closed"
        self.keywords += [line.split(" ")[0].upper() for line in text.split("\n")[1:]]
        return str(code)

    def say(self, data):
        try:
            self.send(data)
        except OSError:
            pass


def expected(group, after_ehlo):
    """What a run of ??? lines asks for: ([code or its beginning], [keywords])."""
    codes, keywords, greeted = [], [], group[0].startswith("??? 220")
    for token in group:
        token = token.lstrip("?").strip()
        keyword = re.match(r"2\d\d-(\S+)", token)
        if keyword and keyword[1] in KEYWORDS:
            keywords.append(keyword[1])
        if token.startswith("*"):
            codes.append("closed")
        elif not re.match(r"\d{3}-", token) or (token is group[-1][4:].strip() and not codes):
            codes.append(re.match(r"\d*", token)[0])
    if after_ehlo and len(group) > greeted and "closed" not in codes:  # whatever the number of its lines
        codes = ["220"] * greeted + [group[-1].lstrip("?").strip()[:3]]
    return codes, keywords


def hold_client(t, line, lines, written):
    """One `client` block; [(expected, got)]."""
    source = OTHER if "HOSTIPV4" in line else "127.0.0.1"
    implicit = "-tls-on-connect" in line
    c = Talk(t.implicit if implicit else t.port, source, tls=implicit)
    pairs, group, last = [], [], ""

    def settle():
        nonlocal group
        if not group:
            return
        codes, keywords = expected(group, re.match(r"(?i)(ehlo|helo|xclient)\b", last) and "\\r\\n" not in last)
        c.keywords = []
        pairs.extend((want, c.code()) for want in codes)
        pairs.extend((keyword, keyword if keyword in c.keywords else "not announced") for keyword in keywords)
        group = []
        if last.lower() == "starttls" and pairs[-1][1] == "220":
            c.encrypt()

    for text in lines:
        if text.startswith("???"):
            group.append(text)
            continue
        settle()
        if text.startswith("+++"):
            time.sleep(int(text.split()[1]) * PACE)
        elif text.startswith("<<< "):
            c.say(written[text[4:].strip()].encode() + b"\r\n")
        elif text.startswith(">>> "):
            c.say(octets(said(text[4:])))
        else:
            last = text
            c.say(octets(said(text)) + b"\r\n")
    settle()
    c.close()
    return pairs


def hold_stdin(t, line, lines, wanted, grow):
    """What was standard input of `exim -bs`, a command at a time; [(expected, got)]."""
    source = OTHER if "HOSTIPV4" in line else "127.0.0.1"
    c = Talk(t.port, source)
    lines = [said(l) for l in lines]
    while lines and lines[0].startswith(":"):
        what, value = lines.pop(0)[1:].split(":", 1)
        if what == "sleep":
            time.sleep(int(value) * PACE)
        else:
            c.say(octets(value))
    got, body, skip = [c.code()], None, False
    for text in lines:
        if got[-1] in ("closed", "silent") or len(got) > len(wanted) + 20:
            break
        if skip:
            skip = text != "."
        elif body is None:
            c.say(octets(text) + b"\r\n")
            got.append(c.code())
            want = (wanted + [""] * len(got))[len(got) - 1]
            body = [] if got[-1] == want == "354" else None
            if want == "354" and body is None:  # there is no text to send, and no reply to it
                skip = True
                del wanted[len(got)]
            elif want != "354" and got[-1] == "354":
                c.say(b".\r\n")
                c.code()
        elif text == ".":
            data = b"".join(octets(l) + b"\r\n" for l in body)
            while grow and data and len(data) < grow:
                data += data
            c.say(data + b".\r\n")
            got.append(c.code())
            body = None
        else:
            body.append(text)
    while len(got) < len(wanted) and got[-1] not in ("closed", "silent"):  # time-outs
        got.append(c.code())
    c.close()
    pairs = list(zip(wanted + ["nothing"] * (len(got) - len(wanted)), got))
    return [p for p in pairs if p != ("nothing", "closed")]


# ---- the table ---------------------------------------------------------------------------


def table():
    with open(os.path.join(HERE, "exim_dialogues.tsv"), encoding="utf-8") as f:
        rows = [l.rstrip("\n").split("\t") for l in f if l.strip() and not l.startswith("#")]
    for row in rows:
        assert len(row) == 4 and all(row), row
    return rows


def scripts():
    top = os.path.join(EXIM, "scripts")
    return sorted(os.path.join(d, n) for d in os.listdir(top) for n in os.listdir(os.path.join(top, d)))


def test_the_table_is_whole():
    """Each script has its row, each row its script."""
    rows = table()
    names = [r[0] for r in rows if "#" not in r[0]]
    assert sorted(names) == scripts(), sorted(set(names) ^ set(scripts()))
    assert all(r[1] in ("run", "out", "client") or (r[1] == "differs" and "#" in r[0]) for r in rows)
    assert not [r for r in rows if r[1] == "run" and r[2] not in CONFIGS]
    assert sum(r[1] == "run" for r in rows) >= 40


def hold(t, script, rows):
    """Holds what the row of `script` is about; [(key, what differs)] and how many dialogues."""
    name, _, only = script.partition("#")
    found, written = dialogues(name)
    outputs, differs, count, read_so_far = sessions(name, t.name == "two seconds"), [], 0, 0
    assert sum(d[0] == "stdin" for d in found) in (len(outputs), 0), "%s: %d answers" % (name, len(outputs))
    for n, (kind, line, lines) in enumerate(found, 1):
        if kind == "stdin":
            wanted = outputs[read_so_far]
            read_so_far += 1
        if str(n) != only and (only or "%s#%d" % (name, n) in rows):
            continue  # left out, or held with another configuration
        grow = 70000 if t.name == "64 KB" else 0
        pairs = hold_client(t, line, lines, written) if kind == "client" else hold_stdin(t, line, lines, wanted, grow)
        count += 1
        differs += [("%s#%d.%d" % (name, n, at), "%s>%s" % (want, got))
                    for at, (want, got) in enumerate(pairs, 1) if not got.startswith(want)]
    return differs, count


def test_dialogues():
    rows = {r[0]: r for r in table()}
    differs, count = [], 0

    def hold_all(config):
        scripts_of_it = [r[0] for r in rows.values() if r[1] == "run" and r[2] == config]
        if not scripts_of_it:
            return []
        with server(config) as t:
            t.name = config
            return [hold(t, script, rows) for script in scripts_of_it]

    with ThreadPoolExecutor(8) as pool:
        for more, held in sum(pool.map(hold_all, CONFIGS), []):
            differs += more
            count += held
    known = [(r[0], r[2]) for r in rows.values() if r[1] == "differs" and rows[r[0].split("#")[0]][1] == "run"]
    assert sorted(differs) == sorted(known), "\nnot in the table:%s\nnot so any more:%s" % tuple(
        "".join("\n%s\tdiffers\t%s" % d for d in sorted(set(a) - set(b))) for a, b in ((differs, known), (known, differs)))
    print("     %d dialogues held, %d replies differ" % (count, len(differs)))


if __name__ == "__main__":
    run([test_the_table_is_whole, test_dialogues])
