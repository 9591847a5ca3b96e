"""milterpeers.py - Sendmail, which asks milters, and OpenDMARC and OpenDKIM, which are some.

Sendmail cannot be installed beside Postfix: packages.sh unpacks it, and it is run on a port of its own as a user without
rights. The others are daemons of their packages, started here by hand.
"""
import os
import pwd
import subprocess

from peers import Process, program
from ternlib import SLOW, can_connect, free_port, skip, wait_for

USER = "nobody"
APART = "/usr/local/lib/tern-tests"


def daemon(name):
    """As it is installed, or as packages.sh has unpacked it."""
    path = os.path.join(APART, name, "usr", "sbin", name)
    return path if os.path.exists(path) else program(name)


def need_milter(name):
    if os.geteuid() != 0 or not os.path.exists(daemon(name)):
        skip("%s is neither installed nor unpacked in %s (tests/support/packages.sh), or this is not root" % (name, APART))


def as_nobody(*words):
    return [program("setpriv"), "--reuid", USER, "--regid", str(pwd.getpwnam(USER).pw_gid), "--clear-groups", *words]


class Sendmail(Process):
    """A Sendmail of its own that sends all it takes to one next hop. `lines`: of sendmail.mc, `mailers` behind them."""
    FOLDER = os.path.join(APART, "sendmail")
    CF = os.path.join(FOLDER, "usr", "share", "sendmail", "cf")

    @classmethod
    def need(cls):
        if os.geteuid() != 0:
            skip("not root: Sendmail is started as another user")
        if not os.path.exists(cls.binary()):
            skip("Sendmail is not unpacked in %s (tests/support/packages.sh)" % cls.FOLDER)

    @classmethod
    def binary(cls):
        return os.path.join(cls.FOLDER, "usr", "libexec", "sendmail", "sendmail")

    MC = """divert(-1)
divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `sendmail.test')dnl
define(`QUEUE_DIR', `{dir}/queue')dnl
define(`STATUS_FILE', `{dir}/statistics')dnl
define(`HELP_FILE', `{dir}/helpfile')dnl
define(`ALIAS_FILE', `{dir}/aliases')dnl
define(`confPID_FILE', `{dir}/pid')dnl
define(`confCW_FILE', `-o {dir}/names')dnl
define(`confCT_FILE', `-o {dir}/trusted')dnl
define(`confSERVICE_SWITCH_FILE', `{dir}/switch')dnl
define(`confHOSTS_FILE', `{dir}/hosts')dnl
define(`confRUN_AS_USER', `{user}')dnl
define(`confTRUSTED_USER', `{user}')dnl
define(`confDEF_USER_ID', ``{user}'')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confPRIVACY_FLAGS', `novrfy')dnl
define(`confTO_IDENT', `0')dnl
define(`confTO_ICONNECT', `15s')dnl
define(`confDELIVERY_MODE', `background')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe')dnl
define(`confQUEUE_LA', `10000')dnl
define(`confREFUSE_LA', `10000')dnl
define(`confLOG_LEVEL', `14')dnl
define(`confMAX_QUEUE_CHILDREN', `4')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {next}')dnl
define(`confALIAS_WAIT', `0')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}')dnl
{lines}
MAILER(`smtp')dnl
"""

    def __init__(self, next_port, lines):
        super().__init__("tern-sendmail-")
        self.port = free_port()
        os.mkdir(os.path.join(self.dir, "queue"), 0o700)
        for name, text in (("aliases", ""), ("helpfile", ""), ("statistics", ""), ("hosts", "127.0.0.1 localhost sendmail.test\n"),
                           ("switch", "hosts files\naliases files\npasswd files\n"),
                           ("sendmail.mc", self.MC.replace("{lines}", lines).replace("{dir}", self.dir).replace("{user}", USER)
                            .replace("{next}", str(next_port)).replace("{port}", str(self.port)))):
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text)
        made = subprocess.run(["m4", "-D_CF_DIR_=%s/" % self.CF, os.path.join(self.CF, "m4", "cf.m4"), "sendmail.mc"], cwd=self.dir,
                              capture_output=True, text=True, timeout=60 * SLOW)
        assert made.returncode == 0, made.stderr
        self.warnings = made.stderr
        with open(os.path.join(self.dir, "sendmail.cf"), "w") as f:
            f.write(made.stdout)
        self.own()

    def own(self):
        """What is in its folder is its user's."""
        user = pwd.getpwnam(USER)
        for name in [".", *os.listdir(self.dir)]:
            os.chown(os.path.join(self.dir, name), user.pw_uid, user.pw_gid)

    def __enter__(self):
        self.start(*self.words("-bD"))
        wait_for(lambda: self.alive() and can_connect(self.port), 30)
        return self

    def words(self, *words):
        """A name of the machine without a dot would keep it waiting for a minute."""
        return as_nobody("env", "LD_PRELOAD=libnss_wrapper.so", "NSS_WRAPPER_HOSTNAME=sendmail.test", "NSS_WRAPPER_HOSTS=%s/hosts" % self.dir,
                         self.binary(), "-C", os.path.join(self.dir, "sendmail.cf"), *words)

    def run(self, *words, **more):
        return subprocess.run(self.words(*words), capture_output=True, text=True, timeout=60 * SLOW, **more)

    def queued(self, kind):
        """The queue's control files: qf waits, hf is in quarantine; [text]."""
        folder = os.path.join(self.dir, "queue")
        got = []
        for n in sorted(os.listdir(folder)):
            if n.startswith(kind):
                try:
                    with open(os.path.join(folder, n), errors="replace") as f:
                        got.append(f.read())
                except FileNotFoundError:
                    pass
        return got


class Milter(Process):
    """A milter of somebody else's, on a port of its own: `config` with {dir} and {port}."""

    def __init__(self, name, config, env=None):
        super().__init__("tern-%s-" % name)
        self.name, self.port, self.extra = name, free_port(), env or {}
        self.conf = os.path.join(self.dir, "conf")
        with open(self.conf, "w") as f:
            f.write(config.replace("{dir}", self.dir).replace("{port}", str(self.port)))
        os.chown(self.dir, pwd.getpwnam(USER).pw_uid, -1)

    def __enter__(self):
        assert self.process is None
        with open(os.path.join(self.dir, "output"), "ab") as out:
            self.process = subprocess.Popen(as_nobody(daemon(self.name), "-f", {"opendkim": "-x"}.get(self.name, "-c"), self.conf), stdout=out, stderr=out, cwd=self.dir,
                                            stdin=subprocess.DEVNULL, env=dict(os.environ, **self.extra))
        wait_for(lambda: self.alive() and can_connect(self.port), 30)
        return self

    def read(self, name):
        try:
            with open(os.path.join(self.dir, name), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""
