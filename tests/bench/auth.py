"""auth.py - what checking and signing cost: DKIM beside libopendkim in one process, and the accept rate with SPF, DKIM, DMARC and
Authentication-Results by that without them. Called by bench.py.
"""
import base64
import os
import re
import shutil
import statistics
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OCTETS = 4096
# The signers of the accept case: domain, kind of key.
SIGNERS = [("rsa.client.example", "rsa"), ("ed25519.client.example", "ed25519")]
# Steps in front of the policy's others, and behind them: name, options.
FIRST = [("spf", "{ exempt: [] }")]
THEN = [("dkim_verify", "{}"), ("dmarc", "{ exempt: [] }"), ("auth_results", "{}")]


# What is measured: the policy without all this; with a step that only hashes and verifies a signature; with the steps.
KINDS = ["unchecked", "arithmetic", "checked"]


class Key:
    def __init__(self, work, kind):
        self.kind = kind
        self.path = os.path.join(work, kind + ".pem")
        how = ["-algorithm", "ED25519"] if kind == "ed25519" else ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        if not os.path.exists(self.path):
            subprocess.run(["openssl", "genpkey", *how, "-out", self.path], check=True, capture_output=True)
            os.chmod(self.path, 0o600)
        der = subprocess.run(["openssl", "pkey", "-in", self.path, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
        p = base64.b64encode(der[-32:] if kind == "ed25519" else der).decode()
        self.record = "v=DKIM1; k=%s; p=%s" % (kind, p)

    def private(self):
        """As dkimpy wants it."""
        if self.kind == "rsa":
            with open(self.path, "rb") as f:
                return f.read()
        der = subprocess.run(["openssl", "pkey", "-in", self.path, "-outform", "DER"], check=True, capture_output=True).stdout
        return base64.b64encode(der[-32:])


# ---- one process ----

def driver(work):
    """tests/bench/dkim.c, or None where libopendkim's header is not installed."""
    if not os.path.exists("/usr/include/opendkim/dkim.h"):
        print("dkim: left out, libopendkim-dev is not installed", flush=True)
        return None
    path = os.path.join(work, "dkim")
    subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", path, os.path.join(HERE, "dkim.c"),
                    "-I" + os.path.join(ROOT, "core", "include"), "-I" + os.path.join(ROOT, "modules"), "-lopendkim", "-ldl"], check=True)
    return path


def measure_dkim(build, work, rounds, scale):
    """(what, kind, who, microseconds of processor time a message) of each round."""
    path = driver(work)
    if path is None:
        return []
    rsa, ed = Key(work, "rsa"), Key(work, "ed25519")
    out = subprocess.run([path, os.path.join(build, "modules"), rsa.path, ed.path, rsa.record, ed.record, str(OCTETS),
                          str(max(20, 1000 * scale // 100)), str(rounds)], check=True, capture_output=True, text=True).stdout
    print(out, flush=True)
    return [(w[0], w[1], w[2], float(w[3])) for w in map(str.split, out.splitlines())]


def dkim_table(rows):
    out = ["| step | key | Tern, µs | libopendkim, µs | libopendkim / Tern |", "|---|---|---|---|---|"]
    for what in ("verify", "sign"):
        for kind, name in (("rsa", "RSA-2048"), ("ed25519", "Ed25519")):
            tern, other = ([r[3] for r in rows if r[:3] == (what, kind, who)] for who in ("tern", "libopendkim"))
            told = "%.1f | %.2f" % (statistics.median(other), statistics.median(b / a for a, b in zip(tern, other))) if other else "- | -"
            out.append("| `dkim_%s` | %s | %.1f | %s |" % (what, name, statistics.median(tern), told))
    return "\n".join(out)


# ---- the server ----

def modules(build, work):
    """A folder with the build's modules and tests/bench/arithmetic.c."""
    path = os.path.join(work, "modules")
    if not os.path.exists(path):
        shutil.copytree(os.path.join(build, "modules"), path, ignore=lambda _, names: [n for n in names if not n.endswith(".so")])
        subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", os.path.join(path, "arithmetic.so"),
                        os.path.join(HERE, "arithmetic.c"), "-I" + os.path.join(ROOT, "core", "include"), "-lcrypto", "-lsodium"], check=True)
    return path


def there(build, steps):
    return [s for s in steps if os.path.exists(os.path.join(build, "modules", s[0] + ".so"))]


def lines(steps):
    return "".join("    - %s: %s\n" % s for s in steps)


def records(work):
    """What DNS has of the signers: SPF with an include, the key, a DMARC policy; the HELO name's SPF, too."""
    txt = {"client.example": "v=spf1 include:_spf.client.example -all", "_spf.client.example": "v=spf1 ip4:192.0.2.0/24 ip4:127.0.0.0/8 -all",
           "_dmarc.client.example": "v=DMARC1; p=reject"}
    for domain, kind in SIGNERS:
        txt[domain] = txt["client.example"]
        txt["s1._domainkey." + domain] = Key(work, kind).record
    return txt


def write_mails(work):
    """A signed mail of 4 KB of each signer, in files for smtp-source."""
    import dkim
    paths = []
    for domain, kind in SIGNERS:
        header = ("From: Bob Example <foo@%s>\nTo: user@sink.example\nSubject: What we said about the meeting\n"
                  "Date: Mon, 02 Mar 2026 10:00:00 +0000\nMessage-ID: <20260302100000.1234@%s>\nMIME-Version: 1.0\n"
                  "Content-Type: text/plain; charset=utf-8\n\n" % (domain, domain)).replace("\n", "\r\n").encode()
        line = b"A line of a mail as people write them,  with some blanks in it.\r\n"
        key, room = Key(work, kind), OCTETS - len(header)
        for _ in range(2):  # the second time the length of the signature is known
            mail = header + line * (room // len(line))
            field = dkim.sign(mail, b"s1", domain.encode(), key.private(), canonicalize=(b"relaxed", b"relaxed"),
                              signature_algorithm=b"rsa-sha256" if kind == "rsa" else b"ed25519-sha256")
            room = OCTETS - len(header) - len(field)
        paths.append(os.path.join(work, domain + ".eml"))
        with open(paths[-1], "wb") as f:
            f.write((field + mail).replace(b"\r\n", b"\n"))
    return paths


def load(port, paths, sessions, messages):
    """One smtp-source for each signer, at the same time."""
    sources = [subprocess.Popen(["smtp-source", "-s", str(max(1, sessions // len(paths))), "-m", str(messages // len(paths)), "-F", path,
                                 "-f", "foo@" + domain, "-t", "user@sink.example", "-M", "client.example", "-d", "127.0.0.1:%d" % port],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for path, (domain, _) in zip(paths, SIGNERS)]
    for s in sources:
        _, err = s.communicate()
        if s.returncode != 0 or err:
            raise SystemExit("smtp-source: " + err[:500])


def numbers(target):
    """step -> (microseconds, calls), and the counters of what came of the checks."""
    out = subprocess.run([target.binary, "metrics", "-c", target.config], capture_output=True, text=True, env={**os.environ, **target.env}).stdout
    steps, counts = {}, {}
    for line in out.splitlines():
        m = re.match(r'tern_step_microseconds_(sum|count)\{(.*)\} ([\d.e+-]+)', line)
        if m:
            labels = dict(re.findall(r'(\w+)="(.*?)"', m.group(2)))
            steps.setdefault((labels["step"], labels["hook"]), {})[m.group(1)] = float(m.group(3))
        m = re.match(r'(tern_(?:dkim_verify|spf|dmarc)_pass_total) (\d+)', line)
        if m:
            counts[m.group(1)] = int(m.group(2))
    return steps, counts


def means(before, after):
    """(step, hook) -> mean microseconds between two numbers()."""
    found = {}
    for key, row in after.items():
        was = before.get(key, {"sum": 0, "count": 0})
        if row["count"] > was["count"]:
            found[key] = (row["sum"] - was["sum"]) * 1e6 / (row["count"] - was["count"])  # it is in seconds
    return found


def check(counts, n):
    """Every mail has passed every check that is built."""
    if any(count < n for count in counts.values()):
        raise SystemExit("auth: not every mail passed: %s of %d" % (counts, n))


def table(rows, left_out):
    """rows: {"kind", "rate", "cpu", "steps", "alone"}, the rounds of each kind in turn"""
    out = ["| policy | msg/s | CPU s per 1000 | of the rate without | check |", "|---|---|---|---|---|"]
    by = {k: [r for r in rows if r["kind"] == k] for k in KINDS}
    names = ", ".join("`%s`" % s for s, _ in FIRST + THEN if s not in left_out)
    for kind, name in zip(KINDS, ("without", "with SHA-256 and one signature verified, and nothing else", "with " + names)):
        shares = [b["rate"] / a["rate"] for a, b in zip(by["unchecked"], by[kind])]
        out.append("| %s | %.0f | %.3f | %s | %s |" % (name, statistics.median(r["rate"] for r in by[kind]),
                                                       statistics.median(r["cpu"] for r in by[kind]),
                                                       "-" if kind == "unchecked" else "%.2f" % statistics.median(shares),
                                                       ", ".join(sorted({r["check"] for r in by[kind]}))))
    out += ["", "| step | hook | mean µs under that load | mean µs with one session |", "|---|---|---|---|"]
    for kind in KINDS:
        for step, hook in sorted(by[kind][0]["steps"]):
            if step in dict(FIRST + THEN) or step == "arithmetic":
                out.append("| `%s` | %s | %.0f | %.0f |" % (step, hook, statistics.median(r["steps"].get((step, hook), 0) for r in by[kind]),
                                                            statistics.median(r["alone"].get((step, hook), 0) for r in by[kind])))
    if left_out:
        out += ["", "Left out, as they are not built: %s." % ", ".join(left_out)]
    return "\n".join(out)

