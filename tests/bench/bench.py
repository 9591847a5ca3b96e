#!/usr/bin/python3
"""bench.py - Tern beside Postfix and the raw smtp-sink ceiling, in the same run, interleaved.

    tests/bench/bench.py                 all cases, 5 rounds
    tests/bench/bench.py accept-4k-100   one case    [--rounds N] [--scale PERCENT] [--json FILE] [--write]

Every target is as durable as it ships (smtp-sink stores nothing), logs, and takes its load on the loopback. Tern runs
domains, dnsbl (a DNS server of this script answers), greylist (known triplet) and a Lua script on `message` that reads headers. After each run
every message must be in the queue, or at the sink. CPU is that of the target's whole process tree, reaped children included. Medians, and
medians of the ratios of one round. --write puts the tables into docs/performance.md.

The cases idle-10000 and idle-10000-tls are of Tern alone (idle.py): what an idle session costs, and how soon a new client is greeted.
The cases dkim and auth-4k-100 (auth.py): DKIM beside libopendkim, and what checking SPF, DKIM, DMARC leaves of the accept rate.
"""
import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

import auth
import idle

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("TERN_BUILD", os.path.join(ROOT, "build", "release"))
PATH = os.environ["PATH"] + ":/usr/sbin:/usr/lib/postfix/sbin"
os.environ["PATH"] = PATH
HZ = os.sysconf("SC_CLK_TCK")

# name: (kind, message octets, sessions, messages, one session sends many)
CASES = {
    "accept-4k-100": ("accept", 4096, 100, 10000, True),
    "accept-4k-20": ("accept", 4096, 20, 6000, True),
    "accept-64k-100": ("accept", 65536, 100, 3000, True),
    "accept-64k-20": ("accept", 65536, 20, 3000, True),
    "accept-4k-100-single": ("accept", 4096, 100, 4000, False),
    "refused-100": ("refused", 0, 100, 6000, False),
    "relay-4k-100": ("relay", 4096, 100, 3000, True),
    "relay-4k-20": ("relay", 4096, 20, 3000, True),
    "relay-64k-100": ("relay", 65536, 100, 2000, True),
    "relay-64k-20": ("relay", 65536, 20, 2000, True),
    "starttls-4k-100": ("starttls", 4096, 100, 4000, False),
}
# name: (how its clients come, sessions). Once each: memory does not vary.
IDLE = {
    "idle-10000": ("plain", 10000),
    "idle-10000-tls": ("starttls", 10000),
}
# name: (sessions, messages); None: in a process of its own.
AUTH = {
    "dkim": None,
    "auth-4k-100": (100, 10000),
}
# Slower targets get fewer messages, so that no run takes long; rates are per second anyway.
SHARE = {"smtp-sink": 1.0, "tern": 1.0, "postfix": 0.3}


# Started by root smtp-sink wants to become somebody else.
SMTP_SINK = ["smtp-sink"] + (["-u", "nobody"] if os.geteuid() == 0 else [])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("nothing listens on port %d" % port)


class Dns(threading.Thread):
    """Answers NXDOMAIN with a TTL to everything but the TXT records it is given."""

    def __init__(self):
        super().__init__(daemon=True)
        self.txt = {}
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.asked = 0
        self.start()

    def run(self):
        while True:
            data, peer = self.sock.recvfrom(4096)
            end, labels = 12, []
            while data[end]:
                labels.append(data[end + 1:end + 1 + data[end]].decode("latin-1").lower())
                end += data[end] + 1
            question = data[12:end + 5]
            text = self.txt.get(".".join(labels), "").encode()
            if text and data[end + 1:end + 3] == b"\0\x10":
                rdata = b"".join(bytes([len(text[i:i + 255])]) + text[i:i + 255] for i in range(0, len(text), 255))
                self.sock.sendto(data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"\xc0\x0c"
                                 + struct.pack(">HHIH", 16, 1, 3600, len(rdata)) + rdata, peer)
                continue
            soa = b"\0" + struct.pack(">HHIH", 6, 1, 300, 22) + b"\0\0" + struct.pack(">IIIII", 1, 300, 300, 300, 300)
            self.sock.sendto(data[:2] + b"\x81\x83\0\1\0\0\0\1\0\0" + question + soa, peer)
            self.asked += 1


class Target:
    """A process tree with its CPU."""

    def __init__(self, work, sink_port):
        self.dir = tempfile.mkdtemp(prefix=self.name + "-", dir=work)
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        self.sink_port = sink_port
        self.tree = None

    def launch(self, *command, **env):
        # /proc counts by samples of the clock where a process ends early; a control group misses nothing.
        self.group = "/sys/fs/cgroup/cpuacct/tern-bench-%d-%s" % (os.getpid(), self.name)
        try:
            os.makedirs(self.group, exist_ok=True)
            env["TERN_BENCH_CGROUP"] = self.group
        except OSError:
            self.group = None
        self.log = open(os.path.join(self.dir, "out"), "wb")
        self.tree = subprocess.Popen([sys.executable, os.path.join(HERE, "subreap.py"), *command], stdin=subprocess.PIPE,
                                     stdout=self.log, stderr=self.log, env={**os.environ, **env}, start_new_session=True)
        wait_port(self.port)

    def cpu(self):
        """Seconds of user and system time of the tree."""
        if self.group:
            with open(os.path.join(self.group, "cpuacct.usage")) as f:
                return int(f.read()) / 1e9
        stat, kids = {}, {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % pid) as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            stat[int(pid)] = sum(map(int, fields[11:15]))
            kids.setdefault(int(fields[1]), []).append(int(pid))
        total, todo = 0, [self.tree.pid]
        while todo:
            pid = todo.pop()
            total += stat.get(pid, 0)
            todo += kids.get(pid, [])
        return total / HZ

    def stop(self):
        self.tree.stdin.close()
        try:
            self.tree.wait(60)
        except subprocess.TimeoutExpired:
            self.tree.kill()
        self.log.close()
        if self.group:
            os.rmdir(self.group)
        shutil.rmtree(self.dir, ignore_errors=True)


class SmtpSink(Target):
    name = "smtp-sink"

    def start(self, mode):
        if mode != "accept":
            return False
        self.launch(*SMTP_SINK, "-c", "127.0.0.1:%d" % self.port, "2000")
        return True

    def queued(self):
        return None


class Postfix(Target):
    """The Debian package at good settings: enough processes, no name look-ups, one queue folder level more, connection cache."""
    name = "postfix"

    def start(self, mode):
        conf = os.path.join(self.dir, "etc")
        for d in ("etc", "spool", "data", "log"):
            os.makedirs(os.path.join(self.dir, d))
        shutil.chown(os.path.join(self.dir, "data"), "postfix")
        hold = "check_client_access static:HOLD, " if mode != "relay" else ""
        with open(os.path.join(conf, "main.cf"), "w") as f:
            f.write("""compatibility_level = 3.6
queue_directory = {d}/spool
data_directory = {d}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.bench.example
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
maillog_file = {d}/log/mail.log
maillog_file_prefixes = /
default_process_limit = 220
smtp_dns_support_level = disabled
smtp_host_lookup = native
relayhost = [127.0.0.1]:{sink}
disable_dns_lookups = yes
biff = no
smtpd_recipient_restrictions = check_recipient_access inline:{{reject@sink.example=REJECT}}, {hold}permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_event_limit_exceptions = 127.0.0.0/8
in_flow_delay = 0
max_use = 10000
qmgr_message_active_limit = 50000
default_destination_concurrency_limit = 100
initial_destination_concurrency = 100
default_destination_concurrency_failed_cohort_limit = 100
smtp_connection_cache_destinations = [127.0.0.1]:{sink}
hash_queue_depth = 2
""".format(d=self.dir, sink=self.sink_port, hold=hold))
            if mode == "starttls":
                f.write("smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {0}/cert.pem\nsmtpd_tls_key_file = {0}/key.pem\n"
                        "tls_random_source = dev:/dev/urandom\n".format(os.path.dirname(self.dir)))
        rows = ["127.0.0.1:%d inet n - n - 220 smtpd" % self.port, "pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup",
                "qmgr unix n - n 300 1 qmgr", "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce",
                "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce", "verify unix - - n - 1 verify",
                "flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap", "smtp unix - - n - - smtp",
                "relay unix - - n - - smtp", "showq unix n - n - - showq", "error unix - - n - - error", "retry unix - - n - - error",
                "discard unix - - n - - discard", "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache",
                "postlog unix-dgram n - n - 1 postlogd", "tlsmgr unix - - n 1000? 1 tlsmgr"]
        with open(os.path.join(conf, "master.cf"), "w") as f:
            f.write("\n".join(rows) + "\n")
        if os.path.exists("/etc/postfix/dynamicmaps.cf"):
            shutil.copy("/etc/postfix/dynamicmaps.cf", conf)
        self.launch("postfix", "-c", conf, "start")
        return True

    def queued(self):
        n = 0
        for q in ("incoming", "active", "deferred", "hold"):
            for _, _, files in os.walk(os.path.join(self.dir, "spool", q)):
                n += len(files)
        return n

    def stop(self):
        subprocess.run(["postfix", "-c", os.path.join(self.dir, "etc"), "stop"], capture_output=True)
        super().stop()


class Tern(Target):
    name = "tern"
    CONFIG = """hostname: mx.bench.example
spool: {{ path: {d}/spool }}
delivery: {delivery}
dns: {{ servers: ["127.0.0.1:{dns}"] }}
log: {{ file: {d}/log }}
limits: {{ sessions: 20000, sessions_per_address: 20000, messages: 0 }}
{tls}listeners: {{ mx: {{ bind: "127.0.0.1:{port}", policy: inbound, tls: "{may}" }} }}
policies:
  inbound:
    - dnsbl: {{ zones: [bl.bench.example], exempt: [192.0.2.0/24] }}
{first}    - domains: {{ relay: [sink.example], relay_recipients: [user@sink.example] }}
    - greylist: {{ delay: 1s, retry: 1h }}
{then}    - lua: {{ script: look.lua }}
routes:
  - {{ class: relay, transport: smtp, to: ["127.0.0.1:{sink}"] }}
"""
    SCRIPT = """local tern = require "tern"
tern.on("message", function(txn)
  if (txn:header("Subject") or ""):find("lottery") or not txn:header("From") and txn:header("X-Bad") then
    return tern.reject(550, "5.7.1", "No")
  end
end)
"""
    first = then = ""  # lines of the policy
    senders = ["foo@client.example"]

    def start(self, mode):
        config = os.path.join(self.dir, "tern.yaml")
        tls = "certificates: [{{ cert: {0}/cert.pem, key: {0}/key.pem }}]\n".format(os.path.dirname(self.dir))
        for name, text in (("tern.yaml", self.CONFIG.format(d=self.dir, port=self.port, sink=self.sink_port, dns=DNS.port,
                                                           delivery="true" if mode == "relay" else "false",
                                                           first=self.first, then=self.then,
                                                           tls=tls if mode == "starttls" else "",
                                                           may="starttls" if mode == "starttls" else "off")),
                           ("look.lua", self.SCRIPT), ("supervisor.conf", "user root\n")):
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text)
            os.chmod(f.name, 0o600)
        self.config = config
        self.binary = os.path.join(BUILD, "core", "cli", "tern")
        self.env = {"TERN_MODULE_PATH": os.path.join(BUILD, "modules")}
        self.launch(self.binary, "serve", "-c", config, "-s", os.path.join(self.dir, "supervisor.conf"), **self.env)
        self.learn()
        return True

    def learn(self):
        """The triplet is put off once, and passes a second later: from then on it is known."""
        import smtplib
        for want in (451, 250):
            for sender in self.senders:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as s:
                    s.helo("client.example")
                    s.mail(sender)
                    code, text = s.rcpt("user@sink.example")
                    assert code == want, (code, text)
            time.sleep(1.1)

    def status(self):
        out = subprocess.run([self.binary, "status", "--json", "-c", self.config], capture_output=True, text=True,
                             env={**os.environ, **self.env})
        return json.loads(out.stdout)

    def queued(self):
        return self.status()["queued"]

    def worker(self):
        """Its process: below the supervisor, which is below subreap.py."""
        pid = self.tree.pid
        for _ in range(2):
            with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
                pid = int(f.read().split()[0])
        return pid


class TernUnchecked(Tern):
    senders = ["foo@" + domain for domain, _ in auth.SIGNERS]


class TernArithmetic(TernUnchecked):
    then = "    - arithmetic: {}\n"

    def launch(self, *words, **env):
        super().launch(*words, **{**env, "TERN_MODULE_PATH": auth.modules(BUILD, os.path.dirname(self.dir))})


class TernChecked(TernUnchecked):
    first, then = auth.lines(auth.there(BUILD, auth.FIRST)), auth.lines(auth.there(BUILD, auth.THEN))


def make_certificate(work):
    """The key and certificate that both servers use: ECDSA P-256, as public authorities sign most today."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                    "/CN=mx.bench.example", "-keyout", os.path.join(work, "key.pem"), "-out", os.path.join(work, "cert.pem")],
                   check=True, capture_output=True)


class Sink:
    """smtp-sink as next hop; it counts."""

    def __init__(self, work):
        self.port = free_port()
        self.out = tempfile.TemporaryFile(dir=work)
        self.p = subprocess.Popen([*SMTP_SINK, "-c", "127.0.0.1:%d" % self.port, "2000"], stdout=self.out, stderr=self.out,
                                  stdin=subprocess.DEVNULL)
        wait_port(self.port)

    def count(self):
        """The last "mesg=N" line it wrote."""
        size = self.out.seek(0, 2)
        self.out.seek(max(0, size - 200))
        text = self.out.read().decode(errors="replace")
        numbers = [w for w in text.replace("\r", " ").replace("=", " ").split() if w.isdigit()]
        return int(numbers[-1]) if numbers else 0

    def stop(self):
        self.p.terminate()
        self.p.wait()


def source(target, octets, sessions, messages, many):
    command = ["smtp-source", "-s", str(sessions), "-m", str(messages), "-l", str(octets), "-f", "foo@client.example",
               "-t", "user@sink.example", "-M", "client.example"]
    r = subprocess.run(command + (["-d"] if many else []) + ["127.0.0.1:%d" % target.port], capture_output=True, text=True)
    if r.returncode != 0 or r.stderr:
        raise SystemExit("smtp-source against %s: %s" % (target.name, r.stderr[:500]))


def measure(kind, target_class, case, work, scale):
    _, octets, sessions, messages, many = case
    n = max(sessions * 2, int(messages * SHARE[target_class.name] * scale / 100))
    sink = Sink(work) if kind == "relay" else None
    target = target_class(work, sink.port if sink else 9)
    if not target.start("accept" if kind == "refused" else kind):
        if sink:
            sink.stop()
        shutil.rmtree(target.dir, ignore_errors=True)
        return None
    try:
        before = target.queued()
        cpu, begin = target.cpu(), time.monotonic()
        if kind in ("refused", "starttls"):
            rcpt = "reject@sink.example" if kind == "refused" else "user@sink.example"
            r = subprocess.run([os.path.join(work, "sessions"), kind, str(target.port), str(sessions), str(n), rcpt, str(octets)],
                               capture_output=True, text=True)
            if target.name != "smtp-sink" and r.returncode != 0:
                raise SystemExit("%s: %s" % (target.name, r.stdout + r.stderr))
        else:
            source(target, octets, sessions, n, many)
        if kind == "relay":
            end = time.monotonic() + 300
            while (target.queued() or 0) > 0 and time.monotonic() < end:
                time.sleep(0.02)
        took = time.monotonic() - begin
        used = target.cpu() - cpu
        check = "-"
        if kind in ("accept", "starttls") and before is not None:
            got = target.queued() - before
            check = "all queued" if got == n else "LOST %d" % (n - got)
        if kind == "relay":
            left = target.queued()
            deadline = time.monotonic() + 5
            while sink.count() < n and time.monotonic() < deadline:
                time.sleep(0.1)
            check = "all at the sink" if left == 0 and sink.count() >= n else "LOST: %d left, %d at the sink" % (left, sink.count())
        return {"rate": n / took, "cpu": used / n * 1000, "n": n, "check": check}
    finally:
        target.stop()
        if sink:
            sink.stop()


def measure_auth(name, work, paths, kind, scale):
    """One round of one policy: all mails at the load of the case, then some by one session."""
    sessions, messages = AUTH[name]
    n = max(sessions * 2, messages * scale // 100) // 2 * 2
    target = {"unchecked": TernUnchecked, "arithmetic": TernArithmetic, "checked": TernChecked}[kind](work, 9)
    target.start("accept")
    try:
        auth.load(target.port, paths, 2, 40)  # DNS answers and keys
        first, _ = auth.numbers(target)
        cpu, begin = target.cpu(), time.monotonic()
        auth.load(target.port, paths, sessions, n)
        took, used = time.monotonic() - begin, target.cpu() - cpu
        loaded, counts = auth.numbers(target)
        for path in paths:
            auth.load(target.port, [path], 1, 200)
        alone, _ = auth.numbers(target)
        if kind == "checked":
            auth.check(counts, n)
        got = target.queued() - 40 - 200 * len(paths)
        return {"kind": kind, "rate": n / took, "cpu": used / n * 1000, "steps": auth.means(first, loaded),
                "alone": auth.means(loaded, alone), "check": "all queued" if got == n else "LOST %d" % (n - got)}
    finally:
        target.stop()


def run_auth(name, work, a):
    """(the table, whether mail was lost)"""
    if AUTH[name] is None:
        rows = auth.measure_dkim(BUILD, work, a.rounds, a.scale)
        return auth.dkim_table(rows) if rows else "", False
    left_out = [s for s, _ in auth.FIRST + auth.THEN if (s, _) not in auth.there(BUILD, auth.FIRST + auth.THEN)]
    DNS.txt.update(auth.records(work))
    paths, rows = auth.write_mails(work), []
    for i in range(a.rounds):
        for kind in auth.KINDS[::-1] if i % 2 else auth.KINDS:
            got = measure_auth(name, work, paths, kind, a.scale)
            print("%-22s %d %-10s %8.0f msg/s %7.3f s CPU per 1000  %s" % (
                name, i, kind, got["rate"], got["cpu"], got["check"]), flush=True)
            rows.append(got)
    return auth.table(rows, left_out), any("LOST" in r["check"] for r in rows)


def measure_idle(name, work):
    kind, count = IDLE[name]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < count + 1200:
        print("%-22s left out: at most %d descriptors a process here" % (name, hard), flush=True)
        return None
    target = Tern(work, 9)
    target.start("starttls" if kind == "starttls" else "accept")
    try:
        got = idle.measure(target.port, target.worker(), count, kind)
    finally:
        target.stop()
    print("%-22s %6.2f KB each; a new client is greeted within %.2f ms, at worst %.2f ms" % (
        name, got["kb"], got["greeted_ms"], got["greeted_worst_ms"]), flush=True)
    return {"case": name, **got}


def idle_table(rows):
    out = ["| sessions | KB each | with pages of files | new client greeted: median ms | worst of %d, ms | KB of the worker before |" % idle.GREETED, "|---|---|---|---|---|---|"]
    for r in rows:
        out.append("| %d, %s | %.2f | %.2f | %.2f | %.2f | %d |" % (r["sessions"], "by TLS 1.3" if r["case"].endswith("-tls") else "plain", r["kb"], r["pss_kb"],
                                                              r["greeted_ms"], r["greeted_worst_ms"], r["before_kb"]))
    return "\n".join(out)


def other_cpu():
    with open("/proc/stat") as f:
        v = list(map(int, f.readline().split()[1:9]))
    return sum(v) - v[3] - v[4], sum(v)


def table(case, rows):
    out = ["### %s" % case, "", "| target | msg/s | CPU s per 1000 | rate / Postfix | rate / smtp-sink | CPU / Postfix | check |", "|---|---|---|---|---|---|---|"]
    by = {t: [r for r in rows if r["target"] == t] for t in ("smtp-sink", "postfix", "tern")}

    def ratio(t, other, key):
        pairs = [a[key] / b[key] for a, b in zip(by[t], by[other]) if b[key] > 0]
        return "%.2f" % statistics.median(pairs) if pairs and t != other else "-"
    for t, got in by.items():
        if got:
            out.append("| %s | %.0f | %.3f | %s | %s | %s | %s |" % (
                t, statistics.median(r["rate"] for r in got), statistics.median(r["cpu"] for r in got), ratio(t, "postfix", "rate"),
                ratio(t, "smtp-sink", "rate"), ratio(t, "postfix", "cpu"), ", ".join(sorted({r["check"] for r in got}))))
    return "\n".join(out)


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((l.split(":", 1)[1].strip() for l in f if l.startswith("model name")), "?")
    mem = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return "%d cores (%s), %.0f GB, Linux %s" % (os.cpu_count(), model, mem, os.uname().release)


def main():
    global DNS
    p = argparse.ArgumentParser()
    p.add_argument("cases", nargs="*", default=[*CASES, *IDLE, *AUTH])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--scale", type=int, default=100, help="percent of the messages")
    p.add_argument("--json")
    p.add_argument("--write", action="store_true")
    a = p.parse_args()
    DNS = Dns()
    work = tempfile.mkdtemp(prefix="tern-bench-", dir="/var/tmp")
    os.chmod(work, 0o755)
    tables = []
    idles, auths = [], []
    everything = []
    failed = False
    try:
        subprocess.run(["cc", "-O2", "-pthread", "-o", os.path.join(work, "sessions"), os.path.join(HERE, "sessions.c"), "-lgnutls"],
                       check=True)
        make_certificate(work)
        for name in a.cases:
            if name in IDLE:
                idles += filter(None, [measure_idle(name, work)])
                continue
            if name in AUTH:
                text, lost = run_auth(name, work, a)
                failed |= lost
                auths += [("dkim" if AUTH[name] is None else "auth", text)] if text else []
                print("\n" + text + "\n", flush=True)
                continue
            rows = []
            for i in range(a.rounds):
                targets = [SmtpSink, Postfix, Tern]
                for t in targets[:1] + (targets[1:] if i % 2 == 0 else targets[:0:-1]):
                    busy = other_cpu()
                    got = measure(CASES[name][0], t, CASES[name], work, a.scale)
                    if got is None:
                        continue
                    rows.append({"case": name, "round": i, "target": t.name, **got})
                    failed |= "LOST" in got["check"]
                    print("%-22s %d %-10s %8.0f msg/s %7.3f s CPU per 1000  %s" % (name, i, t.name, got["rate"], got["cpu"], got["check"]), flush=True)
            everything += rows
            tables.append(table(name, rows))
            print("\n" + tables[-1] + "\n", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if idles:
        print("\n" + idle_table(idles) + "\n", flush=True)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(everything + idles, f)
    if a.write and tables:
        version = subprocess.run(["postconf", "-d", "-h", "mail_version"], capture_output=True, text=True).stdout.strip()
        write("bench", "Postfix %s from its Debian package. %d rounds, interleaved; medians." % (version, a.rounds), tables)
    for mark, text in auths if a.write else []:
        write(mark, "%d rounds, interleaved; medians." % a.rounds, [text])
    if a.write and idles:
        write("idle", "PSS of the worker, %d s behind the last greeting." % idle.SETTLE_S, [idle_table(idles)])
    sys.exit(1 if failed else 0)


def write(mark, facts, tables):
    """What stands between the marks in docs/performance.md; those that were not measured stay as they are."""
    path = os.path.join(ROOT, "docs", "performance.md")
    with open(path) as f:
        text = f.read()
    begin, end = "<!-- %s: begin -->" % mark, "<!-- %s: end -->" % mark
    head, tail = text[:text.index(begin) + len(begin)], text[text.index(end):]
    facts = "Machine: %s. %s. %s" % (machine(), time.strftime("%Y-%m-%d"), facts)
    with open(path, "w") as f:
        f.write(head + "\n" + facts + "\n\n" + "\n\n".join(tables) + "\n" + tail)


if __name__ == "__main__":
    main()
