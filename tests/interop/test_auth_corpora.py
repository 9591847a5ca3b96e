#!/usr/bin/python3
"""Every mail of the corpora through every module that verifies, signs or judges mail (support/authpolicy.py).

Each gets a final reply; what is taken comes out as it went in, behind fields that stand on top and are ours; no step
errs, no worker ends, and under sanitizers (TERN_BUILD of that preset) none speaks up.
"""
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import authpolicy
from dkimpeers import Dkimpy, need_peers
from ternlib import SHARED, Client, Tern, need_shared, queue_id, run, wait_for
from test_corpus import as_sent, digest, expected, stuffed

OCTETS_MAX = 2 * 1000 * 1000
OURS = {b"Return-Path", b"Delivered-To", b"Received", b"Received-SPF", b"DKIM-Signature", b"Authentication-Results",
        b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal", b"X-DMARC-Quarantine"}
# Who the mails come from, in turn; "" is what the From field names.
SENDERS = ["s@client.example", "", "s@two.client.example", "@null"]
FOLDER = tempfile.mkdtemp(prefix="tern-auth-")


def files(*parts):
    for path, _, names in sorted(os.walk(os.path.join(SHARED, "corpora", *parts))):
        for n in sorted(names):
            name = os.path.join(path, n)
            if os.path.getsize(name) <= OCTETS_MAX:
                with open(name, "rb") as f:
                    yield os.path.relpath(name, SHARED), f.read()


def arc_mails():
    """(name, octets), and what their DNS has."""
    import yaml
    mails, txt = [], {}
    for name in ("arc-validation.part.yml", "arc-sign.part.yml"):
        with open(os.path.join(SHARED, "corpora", "arc", name), encoding="utf-8") as f:
            for scenario in yaml.safe_load_all(f):
                txt.update({k: v for k, v in (scenario.get("txt-records") or {}).items()})
                mails += [("%s: %s" % (name, k), v["message"].lstrip("\n").encode()) for k, v in scenario["tests"].items()]
    return mails, txt


def fake_dns():
    txt = {}
    with open(os.path.join(SHARED, "corpora", "dkim", "mail-dkim", "FAKE_DNS.dat"), encoding="utf-8") as f:
        for line in f:
            m = re.match(r"([^#\s]\S*)\s+(v=\S.*|k=\S.*|p=\S.*)", line)
            if m:
                txt[m.group(1)] = m.group(2)
    return txt


def sender_of(number, data):
    pick = SENDERS[number % len(SENDERS)]
    m = re.search(rb"(?im)^from:.*?([\w.+-]+@[\w-]+(?:\.[\w-]+)+)", data[:65536])
    return "" if pick == "@null" else pick or (m.group(1).decode("ascii", "ignore") if m else "s@client.example")


def transaction(c, sender, data):
    """The reply at its end; one that is only put off is asked again."""
    assert c.cmd("MAIL FROM:<%s> BODY=8BITMIME" % sender)[0] == 250, sender
    code, text = c.cmd("RCPT TO:<box@home.example>")
    if code != 250:
        assert c.cmd("RSET")[0] == 250
        return code, text
    assert c.cmd("DATA")[0] == 354
    c.send(stuffed(data) + b".\r\n")
    return c.reply()


def send_all(t, mails):
    """(name, octets) each; queue id -> name and octets of those taken."""
    taken, later, wrong = {}, list(enumerate(mails)), []
    c = Client(t.port)
    c.cmd("EHLO client.example")

    def turn():
        """all senders are known to the greylist"""
        rows, later[:] = later[:], []
        for number, (name, data) in rows:
            code, text = transaction(c, sender_of(number, data), data)
            if code == 451 and text.startswith("4.7.1 Greylisted"):
                later.append((number, (name, data)))
            elif code == 250:
                taken[queue_id(text)] = (name, data)
            if code != 451 and (code, text.split(" ")[0]) != expected(data):
                wrong.append((name, code, text))
        return not later

    wait_for(turn, 120, 1)
    assert not wrong, wrong
    assert c.cmd("QUIT")[0] == 221
    return taken


def without_results(mail):
    """Without Authentication-Results in its header: auth_results takes those away that claim to be ours, or are none."""
    header, end, body = mail.partition(b"\r\n\r\n")
    return re.sub(rb"(?im)^authentication-results[ \t]*:.*\r\n(?:[ \t].*\r\n)*", b"", header + b"\r\n") + end + body


def check(name, got, want):
    """`got` is `want` behind fields of ours."""
    if digest(got[len(got) - len(want):]) != digest(want) and re.search(rb"(?im)^authentication-results[ \t]*:", want):
        got, want = without_results(got), without_results(want)
    assert digest(got[len(got) - len(want):]) == digest(want), (name, got[:2000], want[:300])
    top = got[:len(got) - len(want)]
    names = re.findall(rb"(?m)^([A-Za-z-]+):", top)
    assert set(names) <= OURS and names.count(b"Received") == 1 and top.endswith(b"\r\n"), (name, top)
    return names


def step_verdicts(t):
    """step -> verdict -> how often"""
    found = {}
    for line in t.cli("metrics").stdout.splitlines():
        m = re.match(r'tern_step_verdicts_total\{(.*)\} (\d+)', line)
        if m:
            labels = dict(re.findall(r'(\w+)="(.*?)"', m.group(1)))
            row = found.setdefault(labels["step"], {})
            row[labels["verdict"].lower()] = row.get(labels["verdict"].lower(), 0) + int(m.group(2))
    return found


def through(mails, txt):
    """All of them; how many fields of each name were put on top of which mails."""
    with authpolicy.Anything(txt) as dns, Tern(authpolicy.config(), dns=dns.port) as t:
        signer = authpolicy.write_keys(t, FOLDER)
        dns.txt.update(signer)
        t.start()
        pid = t.worker_pid()
        taken = send_all(t, mails)
        folder = os.path.join(t.dir, "mail", "box", "new")
        wait_for(lambda: len(os.listdir(folder)) == len(taken), 120)
        out = {}
        for mail in t.maildir("box"):
            ident = re.search(rb"\sid (\S+)", mail).group(1).decode()
            out[ident] = (mail, check(taken[ident][0], mail, taken[ident][1]))
        assert len(out) == len(taken)
        assert t.worker_pid() == pid, "the worker was started again"
        verdicts = step_verdicts(t)
        assert set(verdicts) >= {n for n, _ in authpolicy.steps()}, verdicts
        assert not [s for s, row in verdicts.items() if row.get("error") or row.get("timeout")], verdicts
        assert t.stop() == 0
        print("     %d of %d taken; steps: %s" % (len(taken), len(mails), ", ".join(sorted(verdicts))))
        return out, signer


def test_messages():
    mails = [(n, as_sent(d)) for n, d in files("messages")]
    assert len(mails) >= 400
    import dkim
    out, signer = through(mails, {})
    signed = [m for m, names in out.values() if names.count(b"DKIM-Signature") == 2]
    assert len(signed) > len(out) // 2, (len(signed), len(out))
    read = 0
    for mail in signed[::20]:  # the two on top are ours; test_dkim_corpora looks at all
        try:
            dkim.DKIM(mail)
        except dkim.MessageFormatError:  # more than dkimpy wants to read
            continue
        read += 1
        assert Dkimpy.verify(mail, signer)[:2] == [True, True], mail[:2000]
    assert read >= 8, read


def test_mails_of_suites():
    """Those of the DKIM, DMARC and ARC material: keys, reports and records among the files are mails of a kind, too."""
    arc, txt = arc_mails()
    mails = [(n, as_sent(d)) for part in ("dkim", "dmarc") for n, d in files(part)] + [(n, as_sent(d)) for n, d in arc]
    assert len(mails) >= 200
    through(mails, dict(fake_dns(), **txt))


def test_as_the_file_is():
    """Lone line ends among them: 554, and the session goes on."""
    through([(n, d if d.endswith(b"\r\n") else d + b"\r\n") for n, d in files("dkim")], fake_dns())


if __name__ == "__main__":
    need_peers()
    need_shared("corpora", "messages")
    try:
        run([test_messages, test_mails_of_suites, test_as_the_file_is])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
