"""locals.py - a server as root would run it: a worker without rights, tern-local, and users that only its processes know.

libnss-wrapper answers for the C library's getpwnam() and its like: no user of the machine is needed, or made.
"""
import glob
import os
import shutil

from ternlib import Tern

ROWS = [("root", 0, 0), ("toor", 0, 0), ("wheel", 61001, 0), ("low", 501, 501), ("mta", 60999, 60999), ("alice", 61002, 61002),
        ("bob", 61003, 61003), ("vmail", 61004, 61004)]
WRAPPER = "libnss_wrapper.so"
if os.geteuid() != 0:
    SKIP = "tern-local becomes other users: needs root"
elif not glob.glob("/usr/lib/*/" + WRAPPER):
    SKIP = "libnss-wrapper is not installed"
else:
    SKIP = None


class Users:
    """passwd and group of a test, and the homes."""

    def __init__(self, folder):
        self.folder = folder
        lines = ["%s:x:%d:%d::%s:/bin/sh\n" % (n, u, g, self.home(n)) for n, u, g in ROWS]
        self.put("passwd", "".join(lines))
        self.put("group", "".join("g%d:x:%d:\n" % (g, g) for g in sorted({g for _, _, g in ROWS})))
        os.makedirs(os.path.join(folder, "home"))
        for name, uid, gid in ROWS:
            if name != "mta":
                os.mkdir(self.home(name), 0o700)
                os.chown(self.home(name), uid, gid)

    def put(self, name, text):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(text)

    def home(self, name):
        return os.path.join(self.folder, "home", name)

    def ids(self, name):
        return next((u, g) for n, u, g in ROWS if n == name)


class LocalTern(Tern):
    """A Tern whose worker is the user mta, and whose supervisor.conf has `rules` more."""

    def __init__(self, config, rules="", files=None, **values):
        super().__init__(config, files, **values)
        self.values = {k: str(v).replace("{dir}", self.dir) for k, v in self.values.items()}
        self.write_config(config)
        self.users = Users(self.dir)
        with open(self.rules, "w") as f:
            f.write("user mta\n" + ("" if "restart_ms" in rules else "restart_ms 50 1000\n") + rules.replace("{dir}", self.dir))
        self.make("spool", "mta")
        self.preload = [WRAPPER]
        self.more_env = {}

    def make(self, name, user):
        path = os.path.join(self.dir, name)
        os.makedirs(path, 0o700, exist_ok=True)
        os.chown(path, *self.users.ids(user))
        return path

    def env(self):
        env = super().env()
        asan = env.get("ASAN_OPTIONS", "")
        return dict(env, LD_PRELOAD=" ".join(self.preload), NSS_WRAPPER_PASSWD=os.path.join(self.dir, "passwd"),
                    NSS_WRAPPER_DISABLE_DEEPBIND="1", UID_WRAPPER_DISABLE_DEEPBIND="1",  # which no sanitizer likes
                    NSS_WRAPPER_GROUP=os.path.join(self.dir, "group"), **self.more_env,
                    ASAN_OPTIONS=(asan + ":" if asan else "") + "verify_asan_link_order=0")

    def children(self):
        """{pid: name} of what the supervisor has started."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            pids = [int(p) for p in f.read().split()]
        names = {}
        for pid in pids:
            try:
                with open("/proc/%d/comm" % pid) as f:
                    names[pid] = f.read().strip()
            except FileNotFoundError:
                pass
        return names

    def worker_pid(self):
        return next((p for p, n in self.children().items() if n != "tern-local"), None)

    def local_pid(self):
        return next((p for p, n in self.children().items() if n == "tern-local"), None)
