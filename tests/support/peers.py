"""peers.py - what Tern talks to in interop tests: a scripted SMTP sink, Postfix's smtp-sink, Dovecot, a DNS server.

Each is a context manager: started on a free loopback port in a folder of its own, stopped by pid.
"""
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ternlib import SLOW, can_connect, free_port, skip, wait_for

SBIN = os.environ["PATH"] + ":/usr/sbin:/usr/lib/postfix/sbin"


def program(name):
    return shutil.which(name, path=SBIN) or name


def free_port_on(hosts):
    """A port that is free on every one of these loopback addresses."""
    for _ in range(50):
        port = free_port()
        try:
            for h in hosts:
                with socket.socket() as s:
                    s.bind((h, port))
            return port
        except OSError:
            continue
    raise AssertionError("no port is free on %s" % hosts)


class Mail:
    def __init__(self, connection, mail_line):
        self.connection, self.mail_line = connection, mail_line
        self.rcpts, self.data = [], b""
        self.sender = mail_line[mail_line.index("<") + 1:mail_line.index(">")]


class Sink:
    """A scripted SMTP or LMTP server.

    `answers`: what a recipient's RCPT gets, or, with `dot`, its reply at the dot: text, or a list used up one by one
    (the last stays). `ehlo`: the keywords, None: EHLO is refused with 500. `on_mail`, `on_data`, `banner`: texts.
    """

    def __init__(self, answers=None, ehlo=("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 10000000"), lmtp=False, dot=None,
                 host="127.0.0.1", port=0, banner="220 sink.test ESMTP", on_mail="250 2.1.0 Ok", on_data=None,
                 drop_after=None, idle_close=None):
        copy = lambda table: {k: list(v) if isinstance(v, list) else v for k, v in (table or {}).items()}
        self.answers, self.dot, self.ehlo, self.lmtp = copy(answers), copy(dot), ehlo, lmtp
        self.banner, self.on_mail, self.on_data, self.drop_after = banner, on_mail, on_data, drop_after
        self.idle_close = idle_close
        self.mails, self.commands, self.connections, self.peers = [], [], 0, []
        self.bursts = []  # commands that came in one piece
        self.lock = threading.Lock()
        self.open = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(100)
        self.host, self.port = self.listener.getsockname()
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for s in self.open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.thread.join(5)

    def accept(self):
        while True:
            try:
                s, peer = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open.append(s)
                self.peers.append(peer[0])
                number = self.connections
            threading.Thread(target=self.serve, args=(s, number), daemon=True).start()

    def next_answer(self, table, rcpt, usual):
        with self.lock:
            a = table.get(rcpt, table.get("*", usual))
            if isinstance(a, list):
                return a.pop(0) if len(a) > 1 else a[0]
            return a

    def serve(self, s, number):
        try:
            self.talk(s, number)
        except (OSError, EOFError):
            pass
        finally:
            s.close()

    def talk(self, s, number):
        rest = b""
        say = lambda text: s.sendall(text.encode() + b"\r\n")
        say(self.banner)
        mail = None
        while True:
            while b"\r\n" not in rest:
                data = s.recv(65536)
                if not data:
                    return
                rest += data
                self.bursts.append(rest.count(b"\r\n"))
            line, rest = rest.split(b"\r\n", 1)
            text = line.decode("utf-8", "replace")
            verb = text.split(":")[0].split(" ")[0].upper()
            with self.lock:
                self.commands.append(text)
            if self.drop_after == verb:
                return
            if verb in ("EHLO", "LHLO"):
                if self.ehlo is None or (verb == "LHLO") != self.lmtp:
                    say("500 5.5.2 What?")
                else:
                    words = ["sink.test"] + list(self.ehlo)
                    for i, w in enumerate(words):
                        say("250%s%s" % ("-" if i + 1 < len(words) else " ", w))
            elif verb == "HELO":
                say("250 sink.test")
            elif verb == "MAIL":
                say(self.on_mail)
                mail = Mail(number, text) if self.on_mail.startswith("2") else None
            elif verb == "RCPT":
                rcpt = text[text.index("<") + 1:text.rindex(">")]
                answer = self.next_answer(self.answers, rcpt, "250 2.1.5 Ok") if mail else "503 5.5.1 MAIL first"
                if answer.startswith("2"):
                    mail.rcpts.append(rcpt)
                say(answer)
            elif verb == "DATA":
                if not mail or not mail.rcpts:
                    say("554 5.5.1 No valid recipients")
                    continue
                say("354 Go on")
                while not rest.startswith(b".\r\n") and b"\r\n.\r\n" not in rest:
                    data = s.recv(262144)
                    if not data:
                        return
                    rest += data
                if rest.startswith(b".\r\n"):
                    body, rest = b"", rest[3:]
                else:
                    at = rest.index(b"\r\n.\r\n") + 2
                    body, rest = rest[:at], rest[at + 3:]
                mail.data = b"".join(l[1:] if l.startswith(b".") else l for l in body.splitlines(True)) \
                    if b"\r" not in body.replace(b"\r\n", b"") and b"\n" not in body.replace(b"\r\n", b"") else unstuff(body)
                replies = [self.next_answer(self.dot, r, self.on_data or "250 2.0.0 Taken") for r in mail.rcpts]
                if not self.lmtp:
                    replies = [self.on_data or "250 2.0.0 Taken"]
                if any(r.startswith("2") for r in replies):
                    with self.lock:
                        self.mails.append(mail)
                for r in replies:
                    say(r)
                mail = None
                if self.idle_close is not None:
                    s.settimeout(self.idle_close)
            elif verb == "QUIT":
                say("221 2.0.0 Bye")
                return
            elif verb == "RSET":
                mail = None
                say("250 2.0.0 Ok")
            else:
                say("250 2.0.0 Ok")

    def got(self, rcpt):
        with self.lock:
            return [m for m in self.mails if rcpt in m.rcpts]

    def count(self, verb):
        with self.lock:
            return sum(c.upper().startswith(verb) for c in self.commands)


def unstuff(body):
    lines = body.split(b"\r\n")
    return b"\r\n".join(l[1:] if l.startswith(b".") else l for l in lines)


class Process:
    """A child in a temporary folder."""

    def __init__(self, prefix):
        self.dir = tempfile.mkdtemp(prefix=prefix)
        os.chmod(self.dir, 0o755)
        self.process = None

    def start(self, *words, cwd=None):
        out = open(os.path.join(self.dir, "output"), "ab")
        self.process = subprocess.Popen(list(words), stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                        cwd=cwd or self.dir)
        out.close()

    def output(self):
        with open(os.path.join(self.dir, "output"), errors="replace") as f:
            return f.read()

    def alive(self):
        if self.process.poll() is not None:
            raise AssertionError("%s ended:\n%s" % (type(self).__name__, self.output()))
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20 * SLOW)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class SmtpSink(Process):
    """Postfix's smtp-sink, which keeps each mail in a file."""

    def __init__(self, *options):
        super().__init__("tern-sink-")
        self.port = free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.mail = os.path.join(self.dir, "mail")
        os.mkdir(self.mail)
        if user:
            os.chown(self.mail, pwd.getpwnam("nobody").pw_uid, -1)
        self.start(program("smtp-sink"), *user, *options, "-d", "mail/%M.", "127.0.0.1:%d" % self.port, "100")
        wait_for(lambda: self.alive() and can_connect(self.port), 20)

    def mails(self):
        """The files, as octets: X- lines of the sink, then the mail."""
        got = []
        for n in sorted(os.listdir(self.mail)):
            with open(os.path.join(self.mail, n), "rb") as f:
                got.append(f.read())
        return got


class Dovecot(Process):
    """Dovecot's LMTP on a port and a unix socket; mailboxes are Maildirs of an unprivileged user."""

    CONFIG = """
protocols = lmtp
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
info_log_path = {dir}/dovecot.log
ssl = no
listen = 127.0.0.1
default_login_user = {user}
default_internal_user = {user}
default_internal_group = {group}
first_valid_uid = 1
mail_location = maildir:{dir}/mail/%n
auth_mechanisms = plain
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {dir}/users
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""

    def __init__(self, *users):
        super().__init__("tern-dovecot-")
        self.port = free_port()
        mail_user = pwd.getpwnam("mail" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
        internal = pwd.getpwnam("dovecot" if os.geteuid() == 0 else mail_user.pw_name)
        for d in ("run", "state", "mail"):
            os.mkdir(os.path.join(self.dir, d), 0o755)
        if os.geteuid() == 0:
            os.chown(os.path.join(self.dir, "mail"), mail_user.pw_uid, mail_user.pw_gid)
        with open(os.path.join(self.dir, "users"), "w") as f:
            for u in users:
                f.write("%s::%d:%d::%s/mail/%s::\n" % (u, mail_user.pw_uid, mail_user.pw_gid, self.dir, u))
        import grp
        config = self.CONFIG.format(dir=self.dir, port=self.port, user=internal.pw_name,
                                    group=grp.getgrgid(internal.pw_gid).gr_name)
        path = os.path.join(self.dir, "dovecot.conf")
        with open(path, "w") as f:
            f.write(config)
        self.start(program("dovecot"), "-F", "-c", path)
        wait_for(lambda: self.alive() and can_connect(self.port), 30)
        self.socket = os.path.join(self.dir, "run", "lmtp")

    def mailbox(self, user):
        folder = os.path.join(self.dir, "mail", user, "new")
        try:
            return [open(os.path.join(folder, n), "rb").read() for n in sorted(os.listdir(folder))]
        except FileNotFoundError:
            return []


class Postfix(Process):
    """A Postfix of its own that sends all it takes to one next hop: `transport` is lmtp or smtp, `more` further lines of
    main.cf."""

    def __init__(self, transport, port, more=""):
        if os.geteuid() != 0:
            skip("Postfix is started by root alone")
        super().__init__("tern-postfix-")
        self.port = free_port()
        self.conf = os.path.join(self.dir, "etc")
        for d in ("etc", "spool", "data", "log"):
            os.makedirs(os.path.join(self.dir, d))
        shutil.chown(os.path.join(self.dir, "data"), "postfix")
        self.log = os.path.join(self.dir, "log", "mail.log")
        text = """compatibility_level = 3.6
queue_directory = {d}/spool
data_directory = {d}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
maillog_file = {d}/log/mail.log
maillog_file_prefixes = /
smtp_dns_support_level = disabled
disable_dns_lookups = yes
biff = no
smtpd_peername_lookup = no
default_transport = {t}:[127.0.0.1]:{p}
relay_transport = {t}:[127.0.0.1]:{p}
smtpd_recipient_restrictions = permit_mynetworks, reject
""".format(d=self.dir, t=transport, p=port)
        # A key twice is a warning of each process, postlogd's too, which waits for itself for ever if its queue is full.
        own = [l.split("=")[0].strip() for l in more.splitlines()]
        text = "".join(l + "\n" for l in text.splitlines() if l.split("=")[0].strip() not in own) + more + "\n"
        with open(os.path.join(self.conf, "main.cf"), "w") as f:
            f.write(text)
        rows = ["127.0.0.1:%d inet n - n - 20 smtpd" % self.port, "pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup",
                "qmgr unix n - n 300 1 qmgr", "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce",
                "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce", "verify unix - - n - 1 verify",
                "flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap", "smtp unix - - n - - smtp",
                "lmtp unix - - n - - lmtp", "relay unix - - n - - smtp", "showq unix n - n - - showq",
                "error unix - - n - - error", "retry unix - - n - - error", "discard unix - - n - - discard",
                "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache", "postlog unix-dgram n - n - 1 postlogd",
                "tlsmgr unix - - n 1000? 1 tlsmgr"]
        with open(os.path.join(self.conf, "master.cf"), "w") as f:
            f.write("\n".join(rows) + "\n")
        if os.path.exists("/etc/postfix/dynamicmaps.cf"):
            shutil.copy("/etc/postfix/dynamicmaps.cf", self.conf)
        # Whoever reads a main.cf of the last second waits, in case that it is still being written.
        os.utime(os.path.join(self.conf, "main.cf"), (time.time() - 10,) * 2)
        # What `postfix start` does, without half a second of looking whether all is as it was installed.
        open(self.log, "w").close()  # master and postlogd both would make it, and whoever comes second dies
        os.chmod(self.log, 0o600)
        for d in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace", "pid"):
            self.folder(d, 0o700)
        self.folder("maildrop", 0o1730, "postdrop")
        self.folder("public", 0o2710, "postdrop")
        subprocess.run(["/usr/lib/postfix/sbin/master", "-w", "-c", self.conf], check=True, capture_output=True, timeout=60 * SLOW,
                       env=dict(os.environ, MAIL_CONFIG=self.conf, MAIL_LOGTAG="postfix"))
        wait_for(lambda: can_connect(self.port), 20)

    def folder(self, name, mode, group=None):
        path = os.path.join(self.dir, "spool", name)
        os.mkdir(path)
        if name != "pid":
            shutil.chown(path, "postfix", group)
        os.chmod(path, mode if name != "pid" else 0o755)

    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def __exit__(self, *rest):
        subprocess.run([program("postfix"), "-c", self.conf, "stop"], capture_output=True, timeout=60 * SLOW)
        super().__exit__(*rest)


class Exim:
    """Exim as a client, run by hand for each mail: unpacked from its package by packages.sh, as it cannot be installed beside
    Postfix. `options`: of its smtp transport."""
    FOLDER = "/usr/local/lib/tern-tests/exim4"

    def __init__(self, port, *options):
        self.dir = tempfile.mkdtemp(prefix="tern-exim-")
        os.chmod(self.dir, 0o755)
        self.binary = os.path.join(self.FOLDER, "usr", "sbin", "exim4")
        for name, text in (("passwd", "root:x:0:0:root:/root:/bin/sh\nDebian-exim:x:104:108::/:/usr/sbin/nologin\n"
                                      "nobody:x:65534:65534::/:/usr/sbin/nologin\n"),
                           ("group", "root:x:0:\nmail:x:8:\nDebian-exim:x:108:\nnogroup:x:65534:\n"), ("exim.conf", """
exim_path = {binary}
spool_directory = {dir}/spool
log_file_path = {dir}/log-%s
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
primary_hostname = exim.test
exim_user = 104
exim_group = 108
never_users =
deliver_drop_privilege = true
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {port}
  hosts_avoid_tls = *
  {options}
begin retry
* * F,1h,10m
""".format(binary=self.binary, dir=self.dir, port=port, options="\n  ".join(options)))):
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text)
        os.mkdir(os.path.join(self.dir, "spool"))
        os.chown(os.path.join(self.dir, "spool"), 104, 108)
        os.chown(self.dir, 104, 108)

    def env(self):
        return dict(os.environ, LD_PRELOAD="libnss_wrapper.so", NSS_WRAPPER_PASSWD=os.path.join(self.dir, "passwd"),
                    NSS_WRAPPER_GROUP=os.path.join(self.dir, "group"))

    def send(self, sender, rcpts, body):
        """Delivers in the foreground; what Exim says of it."""
        r = subprocess.run([self.binary, "-C", os.path.join(self.dir, "exim.conf"), "-odf", "-oi", "-f", sender, *rcpts], input=body,
                           text=True, capture_output=True, env=self.env(), timeout=60 * SLOW)
        return r.stdout + r.stderr

    def expand(self, texts):
        """What Exim's string expansion makes of each."""
        r = subprocess.run([self.binary, "-C", os.path.join(self.dir, "exim.conf"), "-be", *texts], text=True, capture_output=True,
                           env=self.env(), timeout=60 * SLOW)
        assert r.returncode == 0, r.stderr
        return r.stdout.splitlines()

    def log_text(self):
        try:
            with open(os.path.join(self.dir, "log-main"), errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)


class Knot(Process):
    """Knot DNS with zones given as text; a zone whose text is None answers SERVFAIL."""

    def __init__(self, zones):
        super().__init__("tern-knot-")
        self.port = free_port()
        conf = 'server:\n  rundir: "%s"\n  listen: "127.0.0.1@%d"\n  udp-workers: 1\n  tcp-workers: 1\n' \
               '  background-workers: 1\n' % (self.dir, self.port)
        conf += 'database:\n  storage: "%s/db"\nlog:\n  - target: stderr\n    any: warning\n' % self.dir
        conf += 'template:\n  - id: default\n    storage: "%s"\n    zonefile-sync: -1\n    journal-content: none\nzone:\n' % self.dir
        for name, text in zones.items():
            conf += '  - domain: %s\n    file: "%s.zone"\n' % (name, name)
            if text is not None:
                with open(os.path.join(self.dir, name + ".zone"), "w") as f:
                    f.write("$ORIGIN %s.\n$TTL 5\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\n%s\n"
                            % (name, text))
        path = os.path.join(self.dir, "knot.conf")
        with open(path, "w") as f:
            f.write(conf)
        self.start(program("knotd"), "-c", path)
        wait_for(lambda: self.alive() and can_connect(self.port), 30)
        first = next(n for n, t in zones.items() if t is not None)
        wait_for(lambda: self.answers(first), 30)

    def answers(self, name):
        """the zone is loaded"""
        q = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
        q += b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\x00\x00\x06\x00\x01"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.5)
            s.sendto(q, ("127.0.0.1", self.port))
            try:
                a = s.recv(512)
            except OSError:
                return False
            return len(a) > 12 and a[3] & 15 == 0 and a[7] > 0


class Postgres(Process):
    """PostgreSQL with its socket in a folder of its own, and a free port; as a user without rights."""

    def __init__(self, sql="", password="geheim"):
        super().__init__("tern-pg-")
        self.port, self.password = free_port(), password
        self.bin = self.folder()
        self.data = os.path.join(self.dir, "data")
        self.user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.words = ["setpriv", "--reuid=" + self.user, "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        secret = os.path.join(self.dir, "secret")
        with open(secret, "w") as f:
            f.write(password + "\n")
        if os.geteuid() == 0:
            for path in (self.dir, secret):
                os.chown(path, pwd.getpwnam(self.user).pw_uid, -1)
        self.call("initdb", "-D", self.data, "-U", "tern", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8",
                  "--locale=C", "--no-sync", "--no-instructions")
        self.go()
        if sql:
            self.sql(sql)

    @staticmethod
    def folder():
        """Where Debian has initdb and postgres; None: not installed."""
        import glob
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
        return os.path.dirname(found[-1]) if found else None

    def call(self, name, *words, input=None):
        r = subprocess.run([*self.words, os.path.join(self.bin, name), *words], capture_output=True, text=True, cwd=self.dir,
                           input=input, timeout=120 * SLOW, env=dict(os.environ, PGPASSWORD=self.password, HOME=self.dir))
        if r.returncode != 0:
            raise AssertionError("%s: %s%s" % (name, r.stdout, r.stderr))
        return r.stdout

    def go(self):
        self.start(*self.words, os.path.join(self.bin, "postgres"), "-D", self.data, "-k", self.dir, "-p", str(self.port),
                   "-h", "127.0.0.1", "-F", "-c", "shared_buffers=1MB", "-c", "max_connections=20")
        wait_for(self.answers, 60)

    def answers(self):
        """PostgreSQL answers"""
        self.alive()
        try:
            return self.sql("SELECT 1") == "1\n"
        except AssertionError:
            return False

    def sql(self, text):
        return self.call("psql", "-h", self.dir, "-p", str(self.port), "-U", "tern", "-d", "postgres", "-qAtX",
                         "-v", "ON_ERROR_STOP=1", input=text)

    def connect(self, host=None):
        """A connection string of libpq."""
        return "host=%s port=%d user=tern dbname=postgres password=%s" % (host or self.dir, self.port, self.password)

    def stop(self):
        self.process.send_signal(signal.SIGINT)  # "fast": it does not wait for its clients
        self.process.wait(60 * SLOW)


class Slapd(Process):
    """OpenLDAP's server below dc=test, on a free port and a unix socket, with STARTTLS and ldaps; as a user without rights."""

    CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {dir}/pid
argsfile {dir}/args
TLSCACertificateFile {dir}/ca.pem
TLSCertificateFile {dir}/ca.pem
TLSCertificateKeyFile {dir}/key.pem
allow bind_anon_cred bind_anon_dn
database mdb
suffix "dc=test"
rootdn "cn=root,dc=test"
rootpw {password}
directory {dir}/data
maxsize 10485760
dbnosync
index mail eq
access to attrs=userPassword by dn="cn=reader,dc=test" read by anonymous auth by * none
access to * by * read
"""
    ROOT = "dn: dc=test\nobjectClass: domain\ndc: test\n"

    def __init__(self, ldif="", password="geheim"):
        super().__init__("tern-slapd-")
        self.port, self.tls_port, self.password = free_port(), free_port(), password
        self.socket = os.path.join(self.dir, "socket")
        self.ca = os.path.join(self.dir, "ca.pem")
        self.words = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "ca.pem"],
                       cwd=self.dir, check=True, capture_output=True)
        os.mkdir(os.path.join(self.dir, "data"))
        with open(os.path.join(self.dir, "slapd.conf"), "w") as f:
            f.write(self.CONFIG.format(dir=self.dir, password=password))
        if os.geteuid() == 0:
            for name in (".", "data", "key.pem", "slapd.conf"):
                os.chown(os.path.join(self.dir, name), pwd.getpwnam("nobody").pw_uid, -1)
        os.chmod(self.ca, 0o644)
        self.go()
        self.add(self.ROOT + "\n" + ldif)

    def go(self):
        from urllib.parse import quote
        self.start(*self.words, program("slapd"), "-d", "config,stats" if os.environ.get("TERN_PEERS_LOUD") else "0", "-f", os.path.join(self.dir, "slapd.conf"), "-h",
                   "ldap://127.0.0.1:%d ldaps://127.0.0.1:%d ldapi://%s" % (self.port, self.tls_port, quote(self.socket, "")))
        wait_for(lambda: self.alive() and can_connect(self.port) and can_connect(self.tls_port), 30)

    def uri(self, kind="ldap"):
        from urllib.parse import quote
        return {"ldap": "ldap://127.0.0.1:%d" % self.port, "ldaps": "ldaps://127.0.0.1:%d" % self.tls_port,
                "ldapi": "ldapi://" + quote(self.socket, "")}[kind]

    def add(self, ldif):
        r = subprocess.run(["ldapadd", "-x", "-H", self.uri(), "-D", "cn=root,dc=test", "-w", self.password], input=ldif,
                           capture_output=True, text=True, timeout=60 * SLOW)
        if r.returncode != 0:
            raise AssertionError("ldapadd: " + r.stderr)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60 * SLOW)


class Mute:
    """A TCP port that takes connections and says `words` (nothing: b"") to each, then listens for ever."""

    def __init__(self, words=b"", close=False):
        self.words, self.close, self.open = words, close, []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
                s.sendall(self.words)
                if self.close:
                    s.close()
                else:
                    self.open.append(s)
            except OSError:
                if self.listener.fileno() < 0:
                    return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for s in self.open:
            s.close()


class Silent:
    """A UDP port that takes questions and never answers."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


class DovecotAuth(Process):
    """Dovecot's auth server alone, with its client socket; `users`: name -> stored password (with a scheme)."""

    CONFIG = """
protocols = lmtp
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
ssl = no
listen = 127.0.0.1
default_login_user = {user}
default_internal_user = {user}
default_internal_group = {group}
first_valid_uid = 1
auth_mechanisms = plain login scram-sha-256 cram-md5
auth_failure_delay = 0
auth_cache_size = 0
auth_username_chars =
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {dir}/users
}}
userdb {{
  driver = static
  args = uid=1000 gid=1000 home=/nowhere
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0600
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""

    def __init__(self, users):
        super().__init__("tern-dovecot-")
        import grp
        own = pwd.getpwuid(os.geteuid())
        internal = pwd.getpwnam("dovecot") if os.geteuid() == 0 else own
        for d in ("run", "state"):
            os.mkdir(os.path.join(self.dir, d), 0o755)
        with open(os.path.join(self.dir, "users"), "w") as f:
            for name, stored in users.items():
                f.write("%s:%s::::::\n" % (name, stored))
        os.chmod(os.path.join(self.dir, "users"), 0o644)
        self.conf = os.path.join(self.dir, "dovecot.conf")
        with open(self.conf, "w") as f:
            f.write(self.CONFIG.format(dir=self.dir, user=internal.pw_name, group=grp.getgrgid(internal.pw_gid).gr_name))
        self.socket = os.path.join(self.dir, "run", "auth-client")
        self.begin()

    def begin(self):
        self.start(program("dovecot"), "-F", "-c", self.conf)
        wait_for(lambda: self.alive() and self.greets(), 30)

    def greets(self):
        """the auth server greets"""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(self.socket)
                return s.recv(100).startswith(b"VERSION")
        except OSError:
            return False

    def end(self):
        """The auth process too, which would serve who is connected to its end."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            children = [int(pid) for pid in f.read().split()]
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20 * SLOW)
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class UnixServer:
    """A unix socket on which `talk(connection)` speaks, in a thread for each connection."""

    def __init__(self, talk):
        self.dir = tempfile.mkdtemp(prefix="tern-unix-")
        os.chmod(self.dir, 0o755)
        self.socket = os.path.join(self.dir, "s")
        self.talk, self.connections = talk, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket)
        os.chmod(self.socket, 0o666)
        self.listener.listen(100)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        try:
            self.talk(s)
        except (OSError, EOFError):
            pass
        finally:
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        shutil.rmtree(self.dir, ignore_errors=True)
