#!/usr/bin/python3
"""Supervisor and worker: who runs as whom, what is refused at the start, and who follows whom into the grave."""
import os
import pwd
import random
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BINARY, SLOW, Client, Tern, freeze, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
loops: 1
drain: 1s
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { local: [example.org] } ] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
"""
IS_ROOT = os.geteuid() == 0


def as_root(test):
    """Marks a test that needs root to have something to drop."""
    def run_it():
        if IS_ROOT:
            test()
        else:
            print("     needs root: left out")
    run_it.__name__ = test.__name__
    return run_it


def proc_status(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":", 1) for line in f)


def gone(pid):
    """The process has ended; a zombie waits for whoever adopted it."""
    try:
        return proc_status(pid)["State"].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def fails(t, seconds=60):
    """Starts, expects the end; returns (exit status, log)."""
    t.start(wait=False)
    try:
        code = t.process.wait(seconds * SLOW)
    except subprocess.TimeoutExpired:
        raise AssertionError("it runs although it should not:\n" + t.log_text())
    t.process = None
    return code, t.log_text()


def low_port():
    """A free port that only root may bind."""
    while True:
        port = random.randrange(600, 1024)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def rules(t, text):
    with open(t.rules, "w") as f:
        f.write(text)


def own(t, user):
    """What the server writes belongs to the user it becomes."""
    pw = pwd.getpwnam(user)
    for name in ("spool", "mail"):
        path = os.path.join(t.dir, name)
        os.makedirs(path, exist_ok=True)
        os.chown(path, pw.pw_uid, pw.pw_gid)
    return pw


def test_supervisor_killed_takes_the_worker_along_and_can_follow_itself():
    with Tern(CONFIG + "delivery: false\n").start() as t:
        ident = queue_id(Client(t.port).mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[1])
        worker = t.worker_pid()
        start = time.monotonic()
        t.process.kill()
        t.process.wait()
        wait_for(lambda: gone(worker))
        t.start()  # the same ports, the same spool
        assert time.monotonic() - start < 50 * SLOW
        wait_for(lambda: [m["id"] for m in t.queue()] == [ident])


def test_second_server_waits_and_then_says_why():
    """A second server waits for the spool's lock and the address, then says who has them."""
    with Tern(CONFIG).start() as t:
        other = Tern(CONFIG.replace("{port}", str(t.port)).replace("{dir}", t.dir) +
                     "spool: { path: %s/spool, min_free: 1MB }\n" % t.dir, port=t.port)
        with other:
            code, log = fails(other)
            assert code == 1, (code, log)
            assert "spool" in log and ("lock" in log or "another" in log), log
        assert Client(t.port).cmd("NOOP")[0] == 250, "the first one goes on"


def test_port_taken():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        with Tern(CONFIG, port=port) as t:
            code, log = fails(t)
            assert code == 1, code
            assert re.search(r"tern\.yaml:\d+:\d+: listener mx: 127\.0\.0\.1:%d: Address already in use" % port, log), log


def test_config_errors_end_with_1_and_places():
    with Tern(CONFIG.replace("domains: { local", "domains: { lokal") + "limits: { errors: none }\nnonsense: 1\n") as t:
        code, log = fails(t)
        assert code == 1, code
        for word in ("lokal", "errors", "nonsense"):
            assert re.search(r"tern\.yaml:\d+:\d+: error: .*%s" % word, log), log
        r = t.cli("check", check=False)
        assert r.returncode == 1 and "3 errors" in r.stdout + r.stderr, r
    with Tern(CONFIG) as t:
        os.unlink(t.config)
        code, log = fails(t)
        assert code == 1 and "tern.yaml" in log and "No such file" in log, (code, log)
    with Tern("hostname: [\n") as t:
        code, log = fails(t)
        assert code == 1 and re.search(r"tern\.yaml:\d+:\d+: ", log), (code, log)


def test_bad_rules():
    for text, said in (("user\n", "expected one user name"), ("ports 0\n", "expected port numbers"),
                       ("ports 99999\n", "expected port numbers"), ("nonsense\n", "expected user, ports"),
                       ("restart_ms 5 1\n", "expected two numbers")):
        with Tern(CONFIG) as t:
            rules(t, "# a comment\n" + text)
            code, log = fails(t)
            assert code == 1 and "supervisor.conf:2: " in log and said in log, (text, code, log)
    with Tern(CONFIG) as t:
        os.chmod(t.rules, 0o666)
        code, log = fails(t)
        assert code == 1 and "writable by nobody else" in log, (code, log)


@as_root
def test_root_is_dropped_before_anything_is_loaded():
    with Tern(CONFIG) as t:
        rules(t, "user nobody\n")
        pw = own(t, "nobody")
        t.start()
        status = proc_status(t.worker_pid())
        assert status["Uid"].split() == [str(pw.pw_uid)] * 4, status["Uid"]
        assert status["Gid"].split() == [str(pw.pw_gid)] * 4, status["Gid"]
        assert set(status["Groups"].split()) <= {str(pw.pw_gid)}, status["Groups"]
        assert status["NoNewPrivs"].strip() == "1"
        assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0, status["CapEff"]
        assert proc_status(t.process.pid)["Uid"].split() == ["0"] * 4
        assert Client(t.port).mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250
        wait_for(lambda: t.maildir("alice"))
        # What the supervisor kept still works after the worker died.
        worker = t.worker_pid()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: t.worker_pid() not in (None, worker))
        assert Client(t.port).cmd("NOOP")[0] == 250
        assert proc_status(t.worker_pid())["Uid"].split() == [str(pw.pw_uid)] * 4


WITNESS = """
#include <tern/module.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
static void tell(const char *when)
{
    FILE *f = fopen(getenv("TERN_TEST_WITNESS"), "a");

    if (f != NULL) {
        fprintf(f, "%s %d %d\\n", when, (int)geteuid(), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
        fclose(f);
    }
}
__attribute__((constructor)) static void when_loaded(void)
{
    tell("loaded");
}
static int init(const struct tern_api *api, void **ret_state)
{
    (void)api;
    *ret_state = NULL;
    tell("init");
    return 0;
}
static tern_verdict on_mail(tern_call *call, const void *conf)
{
    (void)call;
    (void)conf;
    return TERN_NEXT;
}
static const struct tern_hook hooks[] = { { TERN_HOOK(MAIL, on_mail) }, TERN_HOOKS_END };
TERN_MODULE(.name = "witness", .summary = "Tells as whom it was loaded.", .hooks = hooks, .init = init);
"""


@as_root
def test_no_constructor_runs_as_root():
    """Code of a module that runs before the server has called anything of it."""
    config = CONFIG.replace("[ domains", "[ witness: {}, domains") + "module_path: {dir}/modules\n"
    with Tern(config) as t:
        t.add_modules(witness=WITNESS)
        rules(t, "user nobody\n")
        pw = own(t, "nobody")
        told = os.path.join(t.dir, "mail", "witness")
        os.environ["TERN_TEST_WITNESS"] = told
        try:
            t.start()
        finally:
            del os.environ["TERN_TEST_WITNESS"]
        with open(told) as f:
            lines = f.read().splitlines()
        assert lines == ["loaded %d 1" % pw.pw_uid, "init %d 1" % pw.pw_uid], lines


def test_each_restart_waits_longer():
    with Tern(CONFIG) as t:
        rules(t, "%srestart_ms 50 150\n" % ("user root\n" if IS_ROOT else ""))
        t.start()
        began = time.monotonic()
        for _ in range(4):
            worker = wait_for(lambda: t.status()["pid"])
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda: gone(worker))
            assert Client(t.port).cmd("NOOP")[0] == 250, "the sockets stay open: who comes meanwhile waits"
            wait_for(lambda: t.worker_pid() not in (None, worker))
        waits = re.findall(r"starting it again in (\d+) ms", t.log_text())
        # One that has lived for a minute is a good one, and the next begins at once again.
        assert waits == ["50", "100", "150", "150"] or time.monotonic() - began > 60, waits


@as_root
def test_worker_dies_with_its_supervisor_after_the_change_of_user():
    with Tern(CONFIG) as t:
        rules(t, "user nobody\n")
        own(t, "nobody")
        t.start()
        worker = t.worker_pid()
        freeze(worker)  # cannot notice by itself
        t.process.kill()
        t.process.wait()
        wait_for(lambda: gone(worker))


@as_root
def test_missing_user():
    with Tern(CONFIG) as t:
        rules(t, "user no-such-user-here\n")
        code, log = fails(t)
        assert code == 1 and "there is no user" in log and "useradd --system no-such-user-here" in log, (code, log)


@as_root
def test_low_port_outside_of_the_rules():
    with Tern(CONFIG, port=79) as t:
        rules(t, "user nobody\nports 25\n")
        own(t, "nobody")
        code, log = fails(t)
        assert code == 1 and "port 79 is not among the ports of" in log and "supervisor.conf" in log, (code, log)


@as_root
def test_low_port_within_the_rules():
    port = low_port()
    with Tern(CONFIG, port=port) as t:
        rules(t, "user nobody\nports 24 %d\n" % port)
        own(t, "nobody")
        t.start()
        assert Client(port).cmd("NOOP")[0] == 250


@as_root
def test_without_root():
    """Everything works as a plain user, whose files are his own."""
    pw = pwd.getpwnam("nobody")
    probe = subprocess.run([BINARY, "--version"], user=pw.pw_uid, group=pw.pw_gid, capture_output=True)
    with Tern(CONFIG) as t:
        for root, _, names in os.walk(t.dir):
            for name in [root] + [os.path.join(root, n) for n in names]:
                os.chown(name, pw.pw_uid, pw.pw_gid)
        assert probe.returncode == 0
        t.start(wrap=("setpriv", "--reuid", str(pw.pw_uid), "--regid", str(pw.pw_gid), "--clear-groups"))
        assert proc_status(t.process.pid)["Uid"].split() == [str(pw.pw_uid)] * 4
        assert Client(t.port).mail("a@client.example", ["alice@example.org"], "Subject: x\n\nx\n")[0] == 250
        wait_for(lambda: t.maildir("alice"))
        assert t.stop() == 0


if __name__ == "__main__":
    run([test_supervisor_killed_takes_the_worker_along_and_can_follow_itself,
         test_second_server_waits_and_then_says_why, test_port_taken,
         test_config_errors_end_with_1_and_places, test_bad_rules,
         test_root_is_dropped_before_anything_is_loaded, test_no_constructor_runs_as_root, test_each_restart_waits_longer,
         test_worker_dies_with_its_supervisor_after_the_change_of_user, test_missing_user,
         test_low_port_outside_of_the_rules, test_low_port_within_the_rules, test_without_root])
