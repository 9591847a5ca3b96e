#!/usr/bin/python3
"""No configuration of conf/ or of the documents lets a stranger send mail elsewhere, however the address is written."""
import glob
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
sys.path.insert(0, os.path.join(HERE, "..", "lint"))
from ternlib import ROOT, run
from test_docs import blocks, folder_with_filters, read, tern, whole

STRANGER = "203.0.113.9"  # in no `networks` of any example
ELSEWHERE = [
    "<victim@elsewhere.example>",
    "<VICTIM@ELSEWHERE.EXAMPLE>",
    "<victim@elsewhere.example.>",
    "<victim@[203.0.113.5]>",
    "<victim@[IPv6:2001:db8::1]>",
    "<@example.org:victim@elsewhere.example>",
    "<@example.org,@mx.test:victim@elsewhere.example>",
    '<"victim@example.org"@elsewhere.example>',
    "<victim@example.org@elsewhere.example>",
    "<victim%example.org@elsewhere.example>",
    "<victim@example.org.elsewhere.example>",
    "<victim@notexample.org>",
    "<victim@xn--bcher-kva.example>",
    "<elsewhere.example!victim>",
    "<victim%elsewhere.example>",
    "<victim@>",
    "victim@elsewhere.example",
    "<prvs=0461000000=victim@elsewhere.example>",
    "<SRS0=AAAA=AA=elsewhere.example=victim@srs.example.org>",
    "<SRS1=AAAA=elsewhere.example==AAAA=AA=elsewhere.example=victim@srs.example.org>",
    "<victim@elsewhere.example> NOTIFY=NEVER ORCPT=rfc822;alice@example.org",
]
AT_OURS = [  # for a server behind that would follow it
    "<victim%elsewhere.example@example.org>",
    "<elsewhere.example!victim@example.org>",
    '<"victim@elsewhere.example"@example.org>',
    "<victim@elsewhere.example@example.org>",
    "<@example.org:victim%elsewhere.example@example.org>",
]
SENDERS = ["<>", "<a@client.example>", "<alice@example.org>", "<postmaster>"]


def listeners(config):
    """[(name, what it says)]"""
    m = re.search(r"^listeners:(.*?)(?=^[a-z_]+:|\Z)", config, re.M | re.S)
    return re.findall(r"(\w+):\s*\{\s*(?:#[^\n]*\n\s*)?(bind[^}]*)\}", m.group(1))


def greeting(own):
    """As a stranger gets in: whoever wants TLS gets it, or each reply would be the 530 that asks for it."""
    hello = "  C: %s client.example\n  S: 250\n" % ("LHLO" if "protocol: lmtp" in own else "EHLO")
    return hello + ("  C: STARTTLS\n  S: 220\n" + hello if "tls: required" in own else "")


def dialogue(listener, hello, utf8, sender, rcpt):
    return ('test "%s: %s to %s"\n  client %s\n  listener %s\n%s  C: MAIL FROM:%s%s\n  S: ?\n'
            "  C: RCPT TO:%s\n  S: 5\n  queued 0\n" %
            (listener, sender, re.sub(r'"', "'", rcpt), STRANGER, listener, hello, sender, " SMTPUTF8" if utf8 else "", rcpt))


def servers(config):
    """Tables that a server would answer hold this instead."""
    return ["table %s alice@example.org\n" % name for name in re.findall(r"(\w+):\s*\{?\s*(?:sql|ldap):", config)]


def dialogues(config):
    out = []
    for listener, own in listeners(config):
        hello = greeting(own)
        for rcpt in ELSEWHERE + AT_OURS:
            out += [dialogue(listener, hello, False, sender, rcpt) for sender in SENDERS]
        out.append(dialogue(listener, hello, True, "<a@client.example>", "<victim@bücher.example>"))
        out.append(dialogue(listener, hello, True, "<a@client.example>", "<opfer@EXAMPLE.ORG。elsewhere.example>"))
    return out


def try_all(config, where):
    """How many dialogues were held."""
    with tempfile.TemporaryDirectory(prefix="tern-relay-") as d:
        folder_with_filters(d)
        for table in re.findall(r"file: *\"?([\w.-]+\.txt)", config):
            open(os.path.join(d, table), "a").close()
        path = os.path.join(d, "tern.yaml")
        with open(path, "w") as f:
            f.write(config.replace("soft_bounce: true", "soft_bounce: false"))  # 450 for 550
        talks = dialogues(config)
        if not talks and re.search(r"^listeners:", config, re.M) and set(re.findall(r"protocol: (\w+)", config)) == {"milter"}:
            return 0  # the mail server in front decides who may relay
        assert talks, "%s: no listener found" % where
        with open(os.path.join(d, "x.smtpt"), "w") as f:
            f.write("config tern.yaml\n" + "".join(servers(config)) + "".join(talks))
        r = tern("test", os.path.join(d, "x.smtpt"))
        assert r.returncode == 0, "%s:\n%s\n%s%s" % (where, config, r.stdout, r.stderr)
        return len(talks)


def test_example_configurations():
    count = 0
    for name in sorted(glob.glob(os.path.join(ROOT, "conf", "*.yaml"))):
        with open(name) as f:
            count += try_all(f.read(), name)
    print("     %d dialogues" % count)


def test_configurations_of_the_documents():
    count = 0
    own_tests = ("lua.md", "modules.md")  # their scripts and modules are beside them
    pages = sorted([p for p in glob.glob(os.path.join(ROOT, "docs", "**", "*.md"), recursive=True)
                    if os.path.basename(p) not in own_tests] + glob.glob(os.path.join(ROOT, "modules", "*", "README.md")))
    for page in pages:
        for line, text in blocks(read(page), "yaml"):
            if text.startswith("kv:"):
                text = re.sub(r"path: \S+", "path: kv ", text)
            count += try_all(whole(text), "%s:%d" % (page, line))
    print("     %d dialogues" % count)


OPEN = "policies:\n  inbound:\n    - domains: { networks: [0.0.0.0/0] }\n"
DOORS = (  # each lets strangers in at one door; what the others are does not hide it
    "",
    'certificates: [{ cert: a.pem, key: a.key }]\nlisteners: { s: { bind: "127.0.0.1:2525", policy: inbound, tls: required } }\n',
    'certificates: [{ cert: a.pem, key: a.key }]\nlisteners: { s: { bind: "127.0.0.1:2525", policy: inbound, tls: implicit } }\n',
    'listeners: { lmtp: { bind: "127.0.0.1:2524", policy: inbound, protocol: lmtp } }\n',
    'listeners: { mx: { bind: "127.0.0.1:2525", policy: inbound }, lmtp: { bind: "127.0.0.1:2524", policy: closed, protocol: lmtp } }\n',
)


def test_an_open_relay_is_found():
    """The test sees one where there is one."""
    for door in DOORS:
        policies = OPEN + ("    - relay_authenticated\n  closed:\n    - relay_authenticated\n" if "closed" in door else "")
        try:
            try_all(whole(door + policies), "open")
        except AssertionError as e:
            assert "S: 5" in str(e) or "250" in str(e), e
            continue
        raise AssertionError("an open relay was not found: " + door)


if __name__ == "__main__":
    run([test_example_configurations, test_configurations_of_the_documents, test_an_open_relay_is_found])
