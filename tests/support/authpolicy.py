"""authpolicy.py - one policy with every module that verifies, signs or judges mail, for tests that send anything through it.

A module that is built is in STEPS or in ELSEWHERE; tests/lint proves it, so that none is forgotten.
"""
import os
import zlib

from dkimpeers import Dns, Key
from spfzone import KINDS, NAMES, wire_data, wire_name
from ternlib import MODULES

# In the order of the policy: module, its options.
STEPS = [
    ("dnsbl", "{ zones: [list.example], exempt: [] }"),
    ("iprev", "{ exempt: [] }"),
    ("spf", "{ exempt: [], header: true, lookup_time: 5s }"),
    ("srs", "{ domain: srs.signer.test, secrets: a secret that nobody knows, classes: [client], local: [far.example] }"),
    ("batv", "{ local: [far.example, client.example], secrets: a secret that nobody knows }"),
    ("domains", "{ networks: [127.0.0.0/8] }"),
    ("rcpt_limit", "{ max: 100 }"),
    ("greylist", "{ delay: 1s }"),
    ("dkim_verify", "{}"),
    ("arc_verify", "{ trusted_sealers: [signer.test] }"),
    ("dmarc", "{ exempt: [], lookup_time: 5s }"),
    ("auth_results", "{}"),
    ("dkim_sign", "{ keys: { table: keys }, folder: '{dir}/keys' }"),
    ("arc_seal", "{ domain: signer.test, selector: s1, key: '{dir}/keys/rsa.pem', classes: [local, relay, forward, client] }"),
]
# Built, and not a step of that policy: why.
ELSEWHERE = {
    "auth_dovecot": "logins", "auth_file": "logins", "auth_http": "logins", "auth_ldap": "logins", "auth_pam": "logins",
    "auth_sql": "logins", "sender_login": "refuses who has not logged in", "relay_authenticated": "claims who has logged in",
    "hello": "the tutorial", "kv_lmdb": "a store", "table_ldap": "a table", "table_sql": "a table", "maildir": "a transport",
    "pipe": "a transport", "routes": "in every policy",
    "submission": "completes headers: what comes out would not be what went in",
    "pregreet": "holds a greeting back", "tarpit": "makes clients wait",
}
CONFIG = """
hostname: mx.test
dns: { servers: ["127.0.0.1:{dns}"], timeout: 10s, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
tables:
  keys: { "*": "signer.test:s1:rsa.pem signer.test:e1:ed25519.pem" }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: all } }
policies:
  all:
{steps}
transports:
  mailboxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf }
routes:
  - { transport: mailboxes }
"""
SIGNER = ("s1._domainkey.signer.test", "e1._domainkey.signer.test")


def steps():
    """Those that are built."""
    return [(name, options) for name, options in STEPS if os.path.exists(os.path.join(MODULES, name + ".so"))]


def config():
    return CONFIG.replace("{steps}", "\n".join("    - %s: %s" % step for step in steps()))


def write_keys(t, folder):
    """The keys that the policy signs with; the DNS names they are published under."""
    keys = Key(folder, "rsa"), Key(folder, "ed25519", "ed25519")
    for k, name in zip(keys, ("rsa.pem", "ed25519.pem")):
        os.chmod(t.write("keys/" + name, k.pem), 0o600)
    return dict(zip(SIGNER, (k.record for k in keys)))


class Anything(Dns):
    """Has an answer of some kind to every question, good or bad, always the same for a name; `txt` comes first."""
    RSA = ("v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFC"
           "jxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToI"
           "MmPSPDdQPNUYckcQ2QIDAQAB")
    KEYS = [RSA, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "v=DKIM1; p=", "v=DKIM1; k=rsa; p=AAAA",
            None, "!SERVFAIL", ["v=DKIM1; t=y; p=AA==", RSA], "\u00fc;;==", "v=DKIM1; h=sha1; " + RSA[9:]]
    POLICIES = ["v=DMARC1; p=none", "v=DMARC1; p=reject; aspf=s; adkim=s; rua=mailto:a@b.example", "v=DMARC1; p=quarantine; pct=50; sp=none",
                None, "!SERVFAIL", "v=DMARC1; psd=y", ["v=DMARC1; p=none", "v=DMARC1; p=reject"], "v=DMARC1", "v=DMARC1; p=\u00fc; t=y; np=reject"]
    SPF = ["v=spf1 ip4:127.0.0.1 -all", "v=spf1 -all", "v=spf1 a mx ptr ~all", "v=spf1 include:%{d2}.inc.example ?all", None, "!SERVFAIL",
           "v=spf1 exists:%{ir}.%{v}._spf.%{d2} redirect=other.example", ["v=spf1 +all", "v=spf1 -all"], "v=spf1 mx:\u00fc", "some text"]
    HOSTS = {1: ["127.0.0.1", "192.0.2.1"], 28: ["::1", "2001:db8::1"], 15: [("10", "mx.host.example"), ("0", ".")],
             12: ["localhost.example", "a.b.host.example"]}

    def answer_to(self, name, number):
        pick = zlib.crc32(name.encode("latin-1"))
        if name.endswith("list.example"):
            return 3, b"", 0
        if name not in self.txt and number == NAMES_TXT:
            rows = self.KEYS if "._domainkey." in name else self.POLICIES if name.startswith("_dmarc.") else self.SPF
            self.put(name, rows[pick % len(rows)])
        if number == NAMES_TXT:
            return super().answer_to(name, number)
        values = self.HOSTS.get(number, [])[pick % 3:]
        rows = [wire_data(NAMES[number], v) for v in values]
        if pick % 7 == 0:
            return 2, b"", 0
        return (0, b"".join(b"\xc0\x0c" + number.to_bytes(2, "big") + b"\0\1\0\0\1\x2c" + len(r).to_bytes(2, "big") + r for r in rows),
                len(rows))


NAMES_TXT = KINDS["TXT"]
