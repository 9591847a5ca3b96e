"""ternlib.py - starts the real tern binary for a test: free ports, a temporary folder, stopped by pid.

Standard library only. Everything is bounded in time; nothing leaves the loopback.
"""
import faulthandler
import fcntl
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
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TERN_BUILD", os.path.join(ROOT, "build", "dev")))
BINARY = os.path.join(BUILD, "core", "cli", "tern")
MODULES = os.path.join(BUILD, "modules")
SHARED = os.environ.get("TERN_SHARED", os.path.join(os.path.dirname(ROOT), "shared"))
os.environ.setdefault("SMARTHOST_PASSWORD", "correct horse")  # conf/smarthost.yaml
SLOW = int(os.environ.get("TERN_SLOW", "1"))  # sanitizers: waits are multiplied
QUICK = bool(os.environ.get("TERN_QUICK"))


def some(whole, quick):
    """How often something is repeated: `quick` under ./check --quick, where less of it shows the same."""
    return quick if QUICK else whole


def build_has(pattern):
    """Whether the build's configuration has such a line."""
    with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
        return re.search(pattern, f.read(), re.M) is not None


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


PORTS = range(10000, 32000)  # below those that the kernel gives to connections


class Reserved:
    """Ports that nobody else of these tests is given until this process ends, bound or not: each is a locked octet of one file."""

    file = None
    mine = set()
    lock = threading.Lock()

    @classmethod
    def take(cls, port):
        with cls.lock:
            if cls.file is None:
                path = os.path.join(tempfile.gettempdir(), "tern-test-ports-%d" % os.geteuid())
                cls.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if port in cls.mine:
                return False
            try:
                fcntl.lockf(cls.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except OSError:
                return False
            cls.mine.add(port)
            return True


def free_port():
    for _ in range(1000):
        port = random.choice(PORTS)
        if not Reserved.take(port):
            continue
        with socket.socket() as s, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
            try:
                s.bind(("127.0.0.1", port))
                u.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


LEAST_WAIT_S = 60  # a limit is for what never comes, on whatever machine; how soon something comes is for clocks to say


def wait_for(what, seconds=10, every=None):
    """Calls what() until it is true; raises after `seconds`, or a minute if that is longer. It looks again after `every`
    seconds; by itself after 0.02, then less and less often, to 0.1: a look is often a process, and others want the processor."""
    seconds = max(seconds, LEAST_WAIT_S) * SLOW
    end = time.monotonic() + seconds
    pause = every or 0.02
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (seconds, getattr(what, "__doc__", None) or what))
        time.sleep(pause)
        pause = every or min(pause * 1.2, 0.1)


def states(pid):
    """What each thread of a process does, as letters of proc(5); none: it is gone."""
    found = []
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            fd = os.open("/proc/%d/task/%s/stat" % (pid, task), os.O_RDONLY)
            try:
                found.append(os.read(fd, 512).rpartition(b") ")[2][:1].decode())
            finally:
                os.close(fd)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(p) for p in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_gone(pid):
    """The process has ended; a zombie waits for whoever adopted it."""
    return all(s in "ZX" for s in states(pid))


def freeze(pid):
    """SIGSTOP, and waits until no thread of the process runs any more: on a busy machine that takes a while."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: all(s in "Tt" for s in states(pid)))


def in_one_day(seconds=60):
    """For a test that names the day: if midnight UTC is nearer than that, it is waited for."""
    left = 86400 - time.time() % 86400
    if left < seconds * SLOW:
        time.sleep(left + 1)


def soon_once(seconds, what, times=5):
    """Whether what() takes less than `seconds` in one of some tries: what is delayed on purpose never does, a busy machine at times."""
    took = []
    while len(took) < times:
        began = time.monotonic()
        what()
        took.append(time.monotonic() - began)
        if took[-1] < seconds:
            return True
    print("     took %s s" % ", ".join("%.2f" % s for s in took), flush=True)
    return False


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
            # It greets a moment before its control socket is there; and whoever saw it greet is to be gone.
            wait_for(self.can_be_asked, 20)
            time.sleep(0.01 * SLOW)
        return self

    def can_be_asked(self):
        """its control socket is there"""
        text = self.config_text()
        path = re.search(r"^control: *(/\S+)", text, re.M) or re.search(r"^spool: *{ *path: *(/[^\s,}]+)", text, re.M)
        if path is None:
            return self.cli("status", check=False).returncode == 0
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(path.group(1) + ("" if path.group(0).startswith("control") else "/control")) == 0

    def config_text(self):
        with open(self.config) as f:
            return f.read()

    def is_up(self):
        """the server greets"""
        if self.process.poll() is not None:
            raise AssertionError("tern ended with %s:\n%s" % (self.process.returncode, self.log_text()))
        return can_connect(self.port)

    def worker_pid(self):
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            pids = f.read().split()
        return int(pids[0]) if pids else None

    def at_work(self):
        """a thread of the server wants to run, waits for the disk or was stopped: it has not dealt yet with what it was given"""
        if self.process is None:
            return False
        found, more = [], [self.process.pid]
        while more:
            found += more
            more = [c for pid in more for c in children(pid)]
        return any(s in "RDTt" for pid in found for s in states(pid))

    def settle(self, seconds=20):
        """Waits until no thread of it is at work, in three looks one behind the other; no longer than that: a step may never end."""
        looks, end = 0, time.monotonic() + seconds * SLOW
        while looks < 3 and time.monotonic() < end:
            looks = 0 if self.at_work() else looks + 1
            time.sleep(0.005)

    def stop(self, sig=signal.SIGTERM, seconds=60):
        """The exit status, once the processes that it had started are gone, too."""
        if self.process is None:
            return None
        started = children(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("tern did not stop:\n" + self.log_text()[-4000:])
        end = time.monotonic() + 20 * SLOW
        while not all(is_gone(pid) for pid in started) and time.monotonic() < end:
            time.sleep(0.01)
        code, self.process = self.process.returncode, None
        return code

    def log_text(self):
        """A thread of its own writes the log: waits (bounded) until nobody is at work, and it has said nothing more for a moment."""
        text, end = self.log_now(), time.monotonic() + 10 * SLOW
        while True:
            time.sleep(0.03 * SLOW)
            self.settle(2)
            before, text = text, self.log_now()
            if (text == before and not self.at_work()) or time.monotonic() > end:
                return text

    def log_now(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def cli(self, *words, check=True, input=None):
        """`tern words`. With `check` it has to succeed: once a worker that has just begun can be asked, and the record is written."""
        end = time.monotonic() + LEAST_WAIT_S * SLOW
        while True:
            r = subprocess.run([BINARY, words[0], "-c", self.config, *words[1:]], capture_output=True, text=True,
                               env=self.env(), timeout=120 * SLOW, input=input)
            later = (75, 1) if words[0] == "why" else (75,)
            running = self.process is not None and self.process.poll() is None
            if not check or r.returncode not in later or not running or time.monotonic() > end:
                break
            time.sleep(0.05)
        if check and r.returncode != 0:
            raise AssertionError("tern %s: %d\n%s%s" % (" ".join(words), r.returncode, r.stdout, r.stderr))
        return r

    def queue(self):
        return [json.loads(line) for line in self.cli("queue", "--json", "list").stdout.splitlines()]

    def status(self):
        return json.loads(self.cli("status", "--json").stdout)

    def metric(self, name):
        self.settle(2)  # what it has just answered may not be counted yet
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

    def add_modules(self, **sources):
        """Makes {dir}/modules: those that are shipped, and one of each C source."""
        folder = os.path.join(self.dir, "modules")
        os.mkdir(folder)
        for name in os.listdir(MODULES):
            if name.endswith(".so"):
                shutil.copy(os.path.join(MODULES, name), folder)
        for name, text in sources.items():
            path = self.write(name + ".c", text)
            subprocess.run(["cc", "-std=gnu17", "-Wall", "-shared", "-fPIC", "-I", os.path.join(ROOT, "core", "include"),
                            "-o", os.path.join(folder, name + ".so"), path], check=True)
            os.chmod(os.path.join(folder, name + ".so"), 0o644)

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


rsa_keys = 0


def rsa_key(path, number=None):
    """Writes an RSA key of 2048 bits: of that number, or one that this process has not had yet. As each takes half a second to
    make, what ./check runs shares them, in $TERN_KEYS."""
    global rsa_keys
    if number is None:
        number, rsa_keys = rsa_keys, rsa_keys + 1
    kept = os.path.join(os.environ["TERN_KEYS"], "rsa%d" % number) if "TERN_KEYS" in os.environ else path
    with open(kept, "a") as lock:
        os.chmod(kept, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept == path or os.path.getsize(kept) == 0:
            subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", kept], check=True,
                           capture_output=True, timeout=120 * SLOW)
    if kept != path:
        shutil.copy(kept, path)


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


class Ended(BaseException):
    """Whoever started the file has lost patience."""


def on_term(number, frame):
    signal.signal(number, signal.SIG_IGN)  # what was started is still to be ended
    faulthandler.dump_traceback()
    raise Ended("it took too long and was told to end (SIGTERM)")


def where(e):
    """One line of an exception: the line of the test that it came by, and what it says."""
    here = os.path.dirname(os.path.abspath(__file__))
    frames = traceback.extract_tb(e.__traceback__)
    own = [f for f in frames if os.path.dirname(os.path.abspath(f.filename)) != here] or frames
    last = "%s:%d: " % (os.path.basename(own[-1].filename), own[-1].lineno) if own else ""
    said = " ".join(str(e).split()) or (own[-1].line if own else "")
    return "%s%s: %s" % (last, type(e).__name__, said[:600])


def run(tests):
    """Runs functions by name, prints a line each and the count; for the end of a test file. 77: all were skipped.

    A line of one that fails says why (./check shows those first); so does that of one who hangs, when it is told to end."""
    only = sys.argv[1:]
    failed = skipped = done = 0
    signal.signal(signal.SIGTERM, on_term)
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
        except (Exception, Ended) as e:
            failed += 1
            traceback.print_exc()
            print("FAIL %s: %s" % (test.__name__, where(e)), flush=True)
            if isinstance(e, Ended):
                break
    passed = done - failed - skipped
    print("%d passed, %d failed" % (passed, failed) + (", %d skipped" % skipped if skipped else ""), flush=True)
    sys.exit(1 if failed else 77 if skipped and not passed else 0)
