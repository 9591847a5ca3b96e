#!/usr/bin/python3
"""DKIM by other people's material: the suites of Mail::DKIM, dkimpy and SpamAssassin, from their files; and every mail of the
messages corpus signed by Tern and verified by the others, and the other way round.

What differs from a suite stands here with its reason.
"""
import base64
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dkimpy, Dns, Key, MailDkim, OpenDkim, crlf, enough, from_fields, messages, need_peers
from peers import Postfix, Sink
from ternlib import SHARED, SLOW, Client, Tern, need, need_shared, queue_id, run, wait_for

VERIFY = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: {wait}, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - dkim_verify
    - lua: { script: tell.lua }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf } }
routes: [{ class: local, transport: boxes }]
"""
TELL = r"""
local tern = require "tern"
tern.on("message", function(txn)
  local r = txn.results
  local text = r.dkim .. " [" .. r.dkim_domains .. "] " .. r.dkim_detail
  txn:add_header("X-Result", (text:gsub("; ", ";\\r\\n ")))
end)
"""
SIGN = """
hostname: mx.test
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: outbound } }
policies:
  outbound:
    - domains: { networks: [127.0.0.0/8] }
    - lua: { script: edit.lua }
    - dkim_sign: { by: sender, selector: s1, key: "keys/%{domain}", {options} }
transports: { far: { type: smtp, to: ["127.0.0.1:{sink}"] } }
routes: [{ transport: far }]
"""
EDIT = """
local tern = require "tern"
tern.on("message", function(txn)
  txn:append_header("X-Below", "the last")
  txn:add_header("X-Above", "the first")
end)
"""
FOLDER = tempfile.mkdtemp(prefix="tern-dkim-")
DKIM = os.path.join(SHARED, "corpora", "dkim")
_key = []


def key():
    if not _key:
        _key.append(Key(FOLDER, "rsa"))
    return _key[0]


def read(*parts):
    with open(os.path.join(DKIM, *parts), "rb") as f:
        return f.read()


def send_all(t, mails, sender, rcpt):
    """(name, octets) each; name -> queue id of those taken."""
    taken = {}
    c = Client(t.port)
    c.cmd("EHLO client.example")
    for name, data in mails:
        code, text = c.mail(sender, [rcpt], data, helo=None)
        if code == 250:
            taken[name] = queue_id(text)
    c.close()
    return taken


def results(mails, txt, otherwise=None, wait="20s"):
    """name -> (result, domains, detail) of dkim_verify."""
    with Dns(txt, otherwise) as dns, Tern(VERIFY, files={"tell.lua": TELL}, dns=dns.port, wait=wait) as t:
        t.start()
        taken = send_all(t, mails, "bob@example.net", "alice@example.org")
        folder = os.path.join(t.dir, "mail", "alice", "new")
        wait_for(lambda: not taken or os.path.isdir(folder) and len(os.listdir(folder)) == len(taken), 120)
        found = {}
        for mail in t.maildir("alice"):
            field = re.search(rb"^X-Result: (.*?)\r\n(?![ \t])", mail, re.M | re.S).group(1).decode("utf-8", "replace")
            ident = re.search(rb" id (\S+)", mail).group(1).decode()
            found[ident] = re.match(r"(\w+) \[(.*?)\] (.*)", field, re.S).groups()
        return {name: found[ident] for name, ident in taken.items()}


def fake_dns():
    txt = {}
    for line in read("mail-dkim", "FAKE_DNS.dat").decode().splitlines():
        m = re.match(r"(\S+)\s+(.*)", line)
        if m and not line.startswith("#") and m.group(2) != "NXDOMAIN":
            value = m.group(2)
            txt[m.group(1)] = {"~~Query timed out~~": "!timeout", "~~SERVFAIL~~": "!SERVFAIL", '""': ""}.get(value, value)
    return txt


SHA1 = "rsa-sha1 must not verify any more (RFC 8301 3.1)"
DRAFT = "of a draft before RFC 4871: v= is not 1, or not there"
MAIL_DKIM = {  # what Tern says instead of what the suite wants, and why
    "mine_ietf01_2.txt": ("neutral", DRAFT), "mine_ietf01_3.txt": ("neutral", DRAFT), "mine_ietf05_1.txt": ("neutral", DRAFT),
    "good_ietf01_2.txt": ("neutral", DRAFT), "bad_ietf01_1.txt": ("neutral", DRAFT), "bad_ietf01_2.txt": ("neutral", DRAFT),
    "bad_1.txt": ("neutral", DRAFT), "no_body_1.txt": ("neutral", DRAFT), "multiple_1.txt": ("neutral", DRAFT),
    "good_rfc4871_4.txt": ("permerror", SHA1), "multiple_2.txt": ("permerror", SHA1), "good_qp_2.txt": ("permerror", SHA1),
    "goodkey_1.txt": ("permerror", SHA1), "goodkey_2.txt": ("permerror", SHA1),
}


def test_mail_dkim():
    need_shared("corpora", "dkim")
    wanted = {}
    for line in read("mail-dkim", "expected.tsv").decode().splitlines():
        name, want = line.split("\t")[:2]
        # DomainKeys and drafts before the standard: other protocols.
        if not line.startswith("#") and "_dk_" not in name and "ietf00" not in name:
            wanted[name] = want
    assert len(wanted) >= 20
    # Some of its names get no answer.
    got = results([(n, crlf(read("mail-dkim", "corpus", n))) for n in wanted], fake_dns(), wait="%ds" % (5 + SLOW))
    wrong = []
    for name, want in wanted.items():
        result, _, detail = got[name]
        allowed = {"pass": ["pass"], "fail": ["fail"], "invalid": ["permerror", "neutral", "policy", "temperror"]}[want]
        if name in MAIL_DKIM:
            allowed = [MAIL_DKIM[name][0]]
        if result not in allowed:
            wrong.append("%s: want %s, got %s: %s" % (name, want, result, detail))
    assert not wrong, "\n".join(wrong)


def record(name):
    return " ".join(read("dkimpy", name).decode().split("\n")).strip()


def test_dkimpy_samples():
    """RFC 6376's and RFC 8463's message, and what dkimpy's own tests verify."""
    need_shared("corpora", "dkim")
    import nacl.signing
    seed = base64.b64decode(read("dkimpy", "rfc8032_7_1.key"))
    public = base64.b64encode(bytes(nacl.signing.SigningKey(seed).verify_key)).decode()
    football = {"test._domainkey.football.example.com": record("test.txt"),
                "brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; p=" + public}
    mails = {n: crlf(read("dkimpy", n)) for n in ("rfc6376.signed.msg", "rfc6376.signed.rsa.msg", "rfc6376.w1258.msg",
                                                  "test.message.baddomain", "ed25519test2.msg")}
    mails["changed"] = mails["rfc6376.signed.msg"].replace(b"Joe.\r\n", b"Jo.\r\n")
    got = results(mails.items(), dict(football, **{"sed._domainkey.test.ex": record("eximtest.dns")}))
    assert got["rfc6376.signed.msg"][:2] == ("pass", "football.example.com"), got
    assert got["rfc6376.signed.msg"][2].count("dkim=pass") == 2, got
    assert got["rfc6376.signed.rsa.msg"][0] == "pass", got
    assert got["rfc6376.w1258.msg"][0] == "none", got
    assert got["test.message.baddomain"][0] == "neutral", got
    assert got["ed25519test2.msg"][:2] == ("pass", "test.ex"), got
    assert got["changed"][0] == "fail", got


def test_dkimpy_records():
    """One message, by each key in each of the forms that the suite publishes it in."""
    need_shared("corpora", "dkim")
    message = crlf(read("dkimpy", "test.message"))
    rows = [("test.private", "test.txt", "pass"), ("test.private", "test2.txt", "pass"),
            ("test.private", "test_bad.txt", None), ("test.private", "badk.txt", "permerror"),
            ("test.private", "badversion.txt", "permerror"), ("test.private", "test_tlsrpt.txt", "permerror"),
            ("1024_testkey.key", "1024_testkey_wo_markers.pub.txt", "pass"),
            ("1024_testkey.key", "1024_testkey_wo_markers.pub.rsa.txt", "pass"),
            ("2048_testkey.key", "2048_testkey_wo_markers.pub.txt", "pass"),
            ("2048_testkey.key", "2048_testkey_wo_markers.pub.rsa.txt", "pass"),
            ("2048_testkey_PKCS8.key", "2048_testkey_PKCS8.key.pub.txt", "pass")]
    import dkim
    mails, txt = [], {}
    for n, (pem, text, _) in enumerate(rows):
        domain = "d%d.example.com" % n
        mails.append((n, crlf(dkim.sign(message, b"test", domain.encode(), read("dkimpy", pem))) + message))
        txt["test._domainkey." + domain] = record(text)
    got = results(mails, txt)
    wrong = ["%s %s: %s" % (rows[n][1], rows[n][2], got[n]) for n in got
             if (got[n][0] != rows[n][2] if rows[n][2] else got[n][0] == "pass")]
    assert len(got) == len(rows) and not wrong, "\n".join(wrong)


def test_spamassassin():
    """Their keys are gone: another key stands for all, so that what is left to fail is the last check of all."""
    need_shared("corpora", "dkim")
    folder = os.path.join(DKIM, "spamassassin")
    mails = [(n, crlf(read("spamassassin", n))) for n in sorted(os.listdir(folder))]
    got = results(mails, {}, key().record)
    wrong = []
    for name, (result, domains, detail) in got.items():
        reached = "the header was changed, or the key is another" in detail
        if domains or result == "pass" or "-pass-" in name and not reached and name not in SPAMASSASSIN:
            wrong.append("%s: %s %s" % (name, result, detail))
    assert len(got) >= 15 and not wrong, "\n".join(wrong)


SPAMASSASSIN = {"test-pass-01.msg": SHA1}


# ---- the messages corpus ----

def signs_and_verifies(peer, data, check):
    """Whether the peer can read the mail at all: it signs, and takes its own signature."""
    try:
        return check(peer.sign(data, key()))
    except Exception:
        return False


def by_dkimpy(mail):
    try:
        return Dkimpy.verify(mail, TXT)[:1] == [True]
    except Exception:  # it reads no header with NUL in it, and the like
        return False


def by_opendkim(mail):
    try:
        return OpenDkim.verify(mail, TXT) == 0
    except AssertionError:
        return False


TXT = {}


def signed_by_tern(mails, options):
    """name -> what the next hop gets."""
    with Sink() as sink, Tern(SIGN.replace("{options}", options), files={"edit.lua": EDIT}, sink=sink.port) as t:
        os.chmod(t.write("keys/example.net", key().pem), 0o600)
        t.start()
        taken = send_all(t, mails, "bob@example.net", "alice@far.example")
        wait_for(lambda: len(sink.mails) >= len(taken), 300)
        found = {re.search(rb" id (\S+)", m.data).group(1).decode(): m.data for m in sink.mails}
        return {name: found[ident] for name, ident in taken.items()}


def test_messages_from_tern():
    """Each mail, edited and signed by Tern, verifies; where one of the others does not, it takes no signature of its own either."""
    need_shared("corpora", "messages")
    TXT["s1._domainkey.example.net"] = key().record
    mails = list(messages())
    for canon in ("relaxed/relaxed", "simple/simple"):
        got = signed_by_tern(mails, "canonicalization: " + canon)
        signed = {n: m for n, m in got.items() if re.match(rb"DKIM-Signature:", m)}
        unsigned = [n for n in got if n not in signed and from_fields(dict(mails)[n]) == 1]
        assert enough(len(got), 300) and enough(len(signed), 250) and not unsigned, (len(got), len(signed), unsigned)
        wrong, blind = [], 0
        files = []
        for name, mail in signed.items():
            for peer, check in ((Dkimpy, by_dkimpy), (OpenDkim, by_opendkim)):
                if not check(mail):
                    ours = signs_and_verifies(peer, dict(mails)[name], check)
                    blind += not ours
                    wrong += ["%s: %s" % (peer.name, name)] if ours else []
            path = os.path.join(FOLDER, "m%d" % len(files))
            with open(path, "wb") as f:
                f.write(mail)
            files.append((name, path))
        with Dns(TXT) as dns:
            for (name, _), verdicts in zip(files, MailDkim.verify_files([p for _, p in files], dns.port)):
                wrong += [] if verdicts[:1] == ["pass"] else ["Mail::DKIM: %s: %s" % (name, verdicts)]
        print("     %s: %d mails, %d signed, %d that a verifier cannot read" % (canon, len(got), len(signed), blind))
        assert not wrong and blind <= 60, "\n".join(wrong)


def test_messages_to_tern():
    """Each mail as the others sign it verifies in Tern, where it does in themselves and has one From."""
    need_shared("corpora", "messages")
    TXT["s1._domainkey.example.net"] = key().record
    for peer, check in ((Dkimpy, by_dkimpy), (OpenDkim, by_opendkim)):
        mails = []
        for name, data in messages():
            try:
                mail = peer.sign(data, key())
            except Exception:
                continue
            if check(mail):
                mails.append((name, mail))
        got = results(mails, TXT)
        several = [n for n, r in got.items() if "several From" in r[2] or "has no From" in r[2]]
        wrong = ["%s: %s" % (n, r[2]) for n, r in got.items() if "example.net" not in r[1].split() and n not in several]
        print("     %s: %d mails" % (peer.name, len(got)))
        assert enough(len(got), 250) and len(several) <= 10 and not wrong, "\n".join(wrong)


def is_kept_by_postfix(data):
    """It breaks long lines, and ends a header at a line that is no field."""
    lines = data.split(b"\r\n\r\n")[0].split(b"\r\n")
    fields = all(re.match(rb"[!-9;-~]+:|[ \t]+\S", line) for line in lines)
    return fields and b"\0" not in data and max(map(len, data.split(b"\r\n"))) <= 998


def test_tern_postfix_tern():
    """Signed by one Tern, through Postfix, verified by another."""
    need_shared("corpora", "messages")
    need("postfix")
    txt = {"s1._domainkey.example.net": key().record}
    mails = [(n, d) for n, d in messages()
             if from_fields(d) == 1 and is_kept_by_postfix(d)][::3]
    with Dns(txt) as dns, Tern(VERIFY, files={"tell.lua": TELL}, dns=dns.port, wait="10s") as second, \
            Postfix("smtp", second.port, "local_header_rewrite_clients =\n") as p:
        second.start()
        with Tern(SIGN.replace("{options}", ""), files={"edit.lua": EDIT}, sink=p.port) as first:
            os.chmod(first.write("keys/example.net", key().pem), 0o600)
            first.start()
            taken = send_all(first, mails, "bob@example.net", "alice@example.org")
            folder = os.path.join(second.dir, "mail", "alice", "new")
            wait_for(lambda: os.path.isdir(folder) and len(os.listdir(folder)) >= len(taken), 120)
        wrong = []
        for mail in second.maildir("alice"):
            field = re.search(rb"^X-Result: (.*?)\r\n(?![ \t])", mail, re.M | re.S).group(1).decode("utf-8", "replace")
            if "example.net" not in re.search(r"\[(.*?)\]", field).group(1).split():
                ident = re.search(rb"by mx\.test with \S+ id (\S+)", mail.split(b"Above")[-1]).group(1).decode()
                wrong.append("%s: %s" % ([n for n in taken if taken[n] == ident], field))
        print("     %d mails" % len(taken))
        assert enough(len(taken), 60) and not wrong, "\n".join(wrong)


if __name__ == "__main__":
    need_peers()
    try:
        run([test_mail_dkim, test_dkimpy_samples, test_dkimpy_records, test_spamassassin,
             test_messages_from_tern, test_messages_to_tern, test_tern_postfix_tern])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
