#!/usr/bin/python3
"""The fence around the worker: what a module can no longer do, what the configuration still can, and what the operator is told."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lint"))
from ternlib import BUILD, MODULES, ROOT, Client, Tern, certificates_for, free_port, need, run, wait_for
from test_docs import folder_with_filters

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = """
hostname: mx.test
module_path: {dir}/modules
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ escape: { inside: "{dir}/inside", outside: "{outside}", harmless: {harmless} }, domains: { local: [example.org] } ] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
"""
PLAIN = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { local: [example.org] } ] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
"""


def sanitized():
    with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
        return any(l.startswith("TERN_SANITIZER") and l.rstrip()[-1] != "=" for l in f)


def skip_without():
    need("gcc")
    with Tern(PLAIN).start() as t:
        level = t.status()["sandbox"]
    if sanitized():
        assert level == "off: built with a sanitizer", level
    if not level.startswith("landlock ") or not level.endswith("seccomp"):
        print("SKIP: the sandbox here is \"%s\"" % level)
        sys.exit(77)


class Outside:
    """A folder that no configuration names, not below one that it does."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="tern-outside-")
        with open(os.path.join(self.dir, "secret"), "w") as f:
            f.write("x\n")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir)


def escaping(outside, more="", harmless="true"):
    t = Tern(CONFIG + more, outside=outside, harmless=harmless)
    folder = os.path.join(t.dir, "modules")
    shutil.copytree(MODULES, folder, ignore=lambda d, names: [n for n in names if not n.endswith(".so")])
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I",
                    os.path.join(ROOT, "core", "include"), "-o", os.path.join(folder, "escape.so"),
                    os.path.join(HERE, "escape.c")], check=True)
    for name in os.listdir(folder):
        os.chmod(os.path.join(folder, name), 0o644)
    t.write("inside/there", "x\n")
    return t


def attempts(t):
    c = Client(t.port)
    c.cmd("EHLO client.example")
    c.cmd("MAIL FROM:<a@client.example>")
    code, text = c.cmd("RCPT TO:<alice@example.org>")
    assert code == 550, (code, text)
    return dict(word.split("=", 1) for word in text.replace("\n", " ").replace("5.7.1 ", "").split() if "=" in word)


def test_what_a_module_cannot_do():
    with Outside() as o, escaping(o.dir, "sandbox: required\n", "false").start() as t:
        got = attempts(t)
        want = {"exec": "EPERM", "ptrace": "EPERM", "memory": "EPERM", "unshare": "EPERM", "mount": "EPERM",
                "kill": "EPERM", "keyctl": "EPERM", "read-out": "EACCES", "write-out": "EACCES", "read-in": "ok",
                "write-in": "ok", "home": "EACCES", "shadow": "EACCES"}
        if int(t.status()["sandbox"].split()[1].rstrip(",")) < 6:
            del want["kill"]
        assert {k: got[k] for k in want} == want, got
        assert not os.path.exists(os.path.join(o.dir, "new"))


def test_off():
    """The same module, to see that it is the fence that stops it."""
    with Outside() as o, escaping(o.dir, "sandbox: off\n").start() as t:
        got = attempts(t)
        assert got["exec"] == got["read-out"] == got["write-out"] == got["write-in"] == "ok", got
        assert t.status()["sandbox"] == "off"
        assert "sandbox=off" in t.log_text()


def test_further_folders():
    with Outside() as o, escaping(o.dir, "sandbox_read: [%s]\n" % o.dir).start() as t:
        got = attempts(t)
        assert (got["read-out"], got["write-out"]) == ("ok", "EACCES"), got
    with Outside() as o, escaping(o.dir, "sandbox_write: [%s]\n" % o.dir).start() as t:
        got = attempts(t)
        assert (got["read-out"], got["write-out"]) == ("ok", "ok"), got


def test_mail_goes_through_and_the_level_is_told():
    with Tern(PLAIN + "sandbox: required\n").start() as t:
        assert Client(t.port).mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250
        wait_for(lambda: t.maildir("alice"))
        assert "sandbox   landlock " in t.cli("status").stdout
        assert "sandbox=\"landlock " in t.log_text()
        t.cli("queue", "list")
        assert t.why(wait_for(lambda: " accepted " in t.log_text() and t.log_text()).split(" accepted ")[0].split()[-1])
        with open("/proc/%d/status" % t.worker_pid()) as f:
            status = f.read()
        assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status


def test_reload_beyond_the_fence():
    with Outside() as o, Tern(PLAIN).start() as t:
        table = os.path.join(o.dir, "domains.txt")
        with open(table, "w") as f:
            f.write("example.org\n")
        t.write_config(PLAIN.replace("[example.org]", "{ table: hosted }") +
                       "tables: { hosted: { file: %s } }\n" % table)
        r = t.cli("reload", check=False)
        assert r.returncode != 0 and "needs a restart" in r.stdout + r.stderr and table in r.stdout + r.stderr, r
        t.write_config(PLAIN.replace("{dir}/mail", o.dir))
        r = t.cli("reload", check=False)
        assert r.returncode != 0 and "needs a restart" in r.stdout + r.stderr, r
        assert t.status()["generation"] == 1
        assert Client(t.port).mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250
        # A new file in a folder that is allowed is nothing to be told of, and a restart takes the rest.
        t.write("domains.txt", "example.org\n")
        t.write_config(PLAIN.replace("[example.org]", "{ table: hosted }") + "tables: { hosted: { file: domains.txt } }\n")
        assert t.cli("reload").returncode == 0
        t.write_config(PLAIN.replace("{dir}/mail", o.dir))
        t.stop()
        t.start()
        assert Client(t.port).mail("a@client.example", ["bob@example.org"], "Subject: x\n\nx\n")[0] == 250
        wait_for(lambda: os.path.isdir(os.path.join(o.dir, "bob", "new")) and os.listdir(os.path.join(o.dir, "bob", "new")))


def fenced(name):
    """A configuration of conf/ as it is, but for where it listens and stores, and with the sandbox required."""
    with open(os.path.join(ROOT, "conf", name)) as f:
        config = f.read()
    ports = []

    def elsewhere(m):
        ports.append(free_port())
        return 'bind: "127.0.0.1:%d"' % ports[-1]
    config = re.sub(r'bind: (\["[^,]*"(, "[^,]*")*\]|"[^"]*")', elsewhere, config)
    config = re.sub(r"^spool:.*$", "sandbox: required", config, flags=re.M)
    config = re.sub(r"(\.\./\.\.)?/var/(mail|lib/tern/kv)", r"{dir}/\2", config)
    t = Tern(config, port=ports[0])
    folder_with_filters(t.dir)
    os.makedirs(os.path.join(t.dir, "lib", "tern"))
    certificates_for(config, t.dir)
    return t


def test_examples_work_inside():
    """Each file of conf/ starts within the fence, talks with a client, and ends; no step trips over it."""
    names = sorted(n for n in os.listdir(os.path.join(ROOT, "conf")) if n.endswith(".yaml"))
    assert len(names) >= 5, names
    for name in names:
        with fenced(name) as t:
            t.start()
            assert t.status()["sandbox"].startswith("landlock "), (name, t.status())
            c = Client(t.port)
            assert c.cmd("EHLO client.example")[0] == 250, name
            code, text = c.cmd("MAIL FROM:<alice@example.org>")
            assert code in (250, 530), (name, code, text)  # 530: STARTTLS, or AUTH, first
            if code == 250:
                code, text = c.cmd("RCPT TO:<alice@example.org>")
                assert code in (250, 450, 451, 550), (name, code, text)
            c.close()
            assert t.stop() == 0, name
            log = t.log_text()
            assert "step_error" not in log and "Permission denied" not in log, (name, log)


if __name__ == "__main__":
    skip_without()
    run([test_what_a_module_cannot_do, test_off, test_further_folders, test_mail_goes_through_and_the_level_is_told,
         test_reload_beyond_the_fence, test_examples_work_inside])
