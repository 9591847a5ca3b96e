"""ternlib.py - starts the real tern binary for a test: free ports, a temporary folder, stopped by pid.

Standard library only. Everything is bounded in time; nothing leaves the loopback.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TERN_BUILD", os.path.join(ROOT, "build", "dev")))
BINARY = os.path.join(BUILD, "core", "cli", "tern")
MODULES = os.path.join(BUILD, "modules")
SHARED = os.environ.get("TERN_SHARED", os.path.join(os.path.dirname(ROOT), "shared"))
os.environ.setdefault("SMARTHOST_PASSWORD", "correct horse")  # conf/smarthost.yaml
SLOW = int(os.environ.get("TERN_SLOW", "1"))  # sanitizers: waits are multiplied


def fill(config, *values):
    """Puts values for the %s of a configuration, which may hold %{user} and {port}, too."""
    for value in values:
        config = config.replace("%s", value, 1)
    return config


def certificates_for(config, folder):
    """Makes the files that `certificates:` of a configuration names below `folder`, for its hostname."""
    name = (re.findall(r"^hostname: *(\S+)", config, re.M) + ["mx.test"])[0]
    for cert, key in re.findall(r"cert: *([\w./-]+), *key: *([\w./-]+)", config):
        for path in (cert, key):
            os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:" + name, "-keyout", os.path.join(folder, key),
                        "-out", os.path.join(folder, cert)], check=True, capture_output=True, timeout=60 * SLOW)


PORTS = range(10000, 32000)  # below those that the kernel gives to connections, and to other tests by chance only


def free_port():
    for _ in range(1000):
        port = random.choice(PORTS)
        with socket.socket() as s, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
            try:
                s.bind(("127.0.0.1", port))
                u.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


def wait_for(what, seconds=10, every=0.02):
    """Calls what() until it is true; raises after `seconds`."""
    end = time.monotonic() + seconds * SLOW
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (seconds, getattr(what, "__doc__", None) or what))
        time.sleep(every)


def freeze(pid):
    """SIGSTOP, and waits until no thread of the process runs any more: on a busy machine that takes a while."""
    def stopped():
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/stat" % (pid, task)) as f:
                if f.read().rsplit(")", 1)[1].split()[0] not in "Tt":
                    return False
        return True
    os.kill(pid, signal.SIGSTOP)
    wait_for(stopped)


def can_connect(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


class Tern:
    """One server in a folder of its own. `config` is YAML text; {port}, {dir} and others are filled in."""

    def __init__(self, config, files=None, command="serve", **values):
        self.command = command
        self.dir = tempfile.mkdtemp(prefix="tern-test-")
        os.chmod(self.dir, 0o755)
        self.port = values.pop("port", None) or free_port()
        self.config = os.path.join(self.dir, "tern.yaml")
        self.log = os.path.join(self.dir, "log")
        self.values = dict(values, port=self.port, dir=self.dir)
        self.process = None
        for name, text in (files or {}).items():
            self.write(name, text)
        self.write_config(config)
        # As root the worker would want a user of its own; one test of its own looks at that.
        self.rules = self.write("supervisor.conf", "user root\nsockets %s\n" % self.dir)
        os.chmod(self.rules, 0o600)

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)
        return path

    def write_config(self, config):
        for key, value in self.values.items():
            config = config.replace("{%s}" % key, str(value))
        if "spool:" not in config and self.command == "serve":
            config += "\nspool: { path: %s/spool, min_free: 1MB }\n" % self.dir
        self.write("tern.yaml", config)

    def env(self):
        known = "suppressions=%s:print_suppressions=0" % os.path.join(ROOT, "tests", "support", "lsan.supp")
        return dict({"LSAN_OPTIONS": known}, **dict(os.environ, TERN_MODULE_PATH=MODULES, TERN_CONFIG=self.config))

    def start(self, wait=True, wrap=()):
        log = open(self.log, "ab")
        self.process = subprocess.Popen([*wrap, BINARY, self.command, "-c", self.config, "-s", self.rules],
                                        stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env())
        log.close()
        if wait:
            wait_for(self.is_up, 20)
            # It greets a moment before its control socket is there.
            wait_for(lambda: self.cli("status", check=False).returncode == 0, 20)
        return self

    def is_up(self):
        """the server greets"""
        if self.process.poll() is not None:
            raise AssertionError("tern ended with %s:\n%s" % (self.process.returncode, self.log_text()))
        return can_connect(self.port)

    def worker_pid(self):
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            pids = f.read().split()
        return int(pids[0]) if pids else None

    def stop(self, sig=signal.SIGTERM, seconds=60):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("tern did not stop:\n" + self.log_text()[-4000:])
        code, self.process = self.process.returncode, None
        return code

    def log_text(self):
        """A thread of its own writes the log: waits (bounded) until it has said nothing more for a moment."""
        text = self.log_now()
        for _ in range(20):
            time.sleep(0.03 * SLOW)
            before, text = text, self.log_now()
            if text == before:
                break
        return text

    def log_now(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def cli(self, *words, check=True, input=None):
        r = subprocess.run([BINARY, words[0], "-c", self.config, *words[1:]], capture_output=True, text=True,
                           env=self.env(), timeout=120 * SLOW, input=input)
        if check and r.returncode != 0:
            raise AssertionError("tern %s: %d\n%s%s" % (" ".join(words), r.returncode, r.stdout, r.stderr))
        return r

    def queue(self):
        return [json.loads(line) for line in self.cli("queue", "--json", "list").stdout.splitlines()]

    def status(self):
        return json.loads(self.cli("status", "--json").stdout)

    def metric(self, name):
        for line in self.cli("metrics").stdout.splitlines():
            if line.startswith(name + " ") or line.startswith(name + "{"):
                return float(line.rsplit(" ", 1)[1])
        return None

    def why(self, ident):
        return [json.loads(line) for line in self.cli("why", "--json", ident).stdout.splitlines()]

    def maildir(self, *parts):
        """Messages in DIR/mail/<parts>/new, as octets."""
        folder = os.path.join(self.dir, "mail", *parts, "new")
        try:
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            return []
        return [open(os.path.join(folder, n), "rb").read() for n in names]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        failed = kind is not None
        try:
            self.stop()
        finally:
            text = self.log_text()
            if failed or "Sanitizer" in text:
                said = "".join(traceback.format_exception(kind, value, trace)) if failed else ""
                sys.stderr.write(said[-4000:])  # first: whoever keeps only the beginning sees why
                sys.stderr.write("---- log of tern\n%s\n----\n" % text[-8000:])
            if "Sanitizer" in text and not failed:
                raise AssertionError("a sanitizer spoke up in the server's log")
            if not os.environ.get("TERN_KEEP"):
                shutil.rmtree(self.dir, ignore_errors=True)


class Client:
    """A raw SMTP client: sends octets, reads replies."""

    def __init__(self, port, host="127.0.0.1", greet=True, source=None):
        self.sock = socket.create_connection((host, port), 30 * SLOW, (source, 0) if source else None)
        self.sock.settimeout(60 * SLOW)
        self.rest = b""
        self.banner = self.reply() if greet else None

    def line(self):
        while b"\n" not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("closed, with %r unread" % self.rest)
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return line.rstrip(b"\r").decode("utf-8", "replace")

    def reply(self):
        """(code, text) of one reply, lines joined by newline."""
        lines = []
        while True:
            line = self.line()
            lines.append(line[4:])
            if line[3:4] != "-":
                return int(line[:3]), "\n".join(lines)

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def cmd(self, text):
        self.send(text.encode() + b"\r\n" if isinstance(text, str) else text + b"\r\n")
        return self.reply()

    def mail(self, sender, rcpts, body, helo="client.example"):
        """One whole transaction; the last reply. Refused recipients are skipped."""
        if helo:
            self.cmd("EHLO " + helo)
        last = self.cmd("MAIL FROM:<%s>" % sender)
        if last[0] != 250:
            return last
        codes = [self.cmd("RCPT TO:<%s>" % r) for r in rcpts]
        if not any(c == 250 for c, _ in codes):
            self.cmd("RSET")
            return codes[-1]
        assert self.cmd("DATA")[0] == 354
        self.send(dotted(body) + b".\r\n")
        return self.reply()

    def close(self):
        self.sock.close()


def dotted(body):
    """CRLF line ends and stuffed dots."""
    body = body if isinstance(body, bytes) else body.encode()
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    return b"".join((b"." + l if l.startswith(b".") else l) + b"\r\n" for l in lines)


def queue_id(text):
    return text.rsplit(" ", 1)[-1]


def skip(why):
    """Ends one test of run(), or outside of it the file."""
    print("SKIP: %s" % why, flush=True)
    sys.exit(77)


def need(*programs):
    """Skips the test, saying so, when a program is missing."""
    for p in programs:
        if shutil.which(p, path=os.environ["PATH"] + ":/usr/sbin:/usr/lib/postfix/sbin") is None:
            skip("%s is not installed" % p)


def need_shared(*parts):
    path = os.path.join(SHARED, *parts)
    if not os.path.exists(path):
        skip("%s is not there" % path)
    return path


def run(tests):
    """Runs functions by name, prints a line each and the count; for the end of a test file. 77: all were skipped."""
    only = sys.argv[1:]
    failed = skipped = done = 0
    for test in tests:
        if only and test.__name__ not in only:
            continue
        done += 1
        start = time.monotonic()
        try:
            test()
            print("ok   %s (%.1f s)" % (test.__name__, time.monotonic() - start), flush=True)
        except SystemExit as e:
            if e.code != 77:
                raise
            skipped += 1
            print("skip %s" % test.__name__, flush=True)
        except Exception:
            failed += 1
            traceback.print_exc()
            print("FAIL %s" % test.__name__, flush=True)
    passed = done - failed - skipped
    print("%d passed, %d failed" % (passed, failed) + (", %d skipped" % skipped if skipped else ""), flush=True)
    sys.exit(1 if failed else 77 if skipped and not passed else 0)
