#!/usr/bin/python3
"""auth_pam: PAM, asked by a process of tern-local's, with pam_wrapper's services: right, wrong, unknown, stopped, slow, rubbish, injection."""
import concurrent.futures
import glob
import os
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from locals import SKIP, LocalTern
from ternlib import BUILD, SLOW, freeze, run, wait_for
from test_auth_backends import INJECTION, UNKNOWN, WRONG, b64, hello, login

MATRIX = (glob.glob("/usr/lib/*/pam_wrapper/pam_matrix.so") + ["/nonexistent"])[0]
CONFIG = """
hostname: mx.test
delivery: false
auth: { delay: 0 }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: submission, auth_plaintext: true } }
policies:
  submission:
    - auth_pam: { %s }
    - domains: { local: [example.org], recipients: [alice@example.org] }
routes: [{ class: local, transport: smtp, to: ["127.0.0.1:25"] }]
"""
PASSWD = "alice:open sesame:tern\nbob:pass word:tern\na'b:quote:tern\no*:star:tern\ngr\u00fcn:\u00fc\u00f6:tern\nother:x:elsewhere\n"
RIGHT = [("alice", "open sesame"), ("bob", "pass word"), ("gr\u00fcn", "\u00fc\u00f6"), ("a'b", "quote"), ("o*", "star")]


def sweep():
    """pam_wrapper has 62 names for its folders, and clears one of a process that was killed only if its pid is in there already."""
    for path in glob.glob("/tmp/pam.?"):
        try:
            if os.stat(path).st_uid == os.geteuid() and time.time() - os.stat(path).st_mtime > 300:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # somebody else was faster


def server(services=None, options="cache: 0, request_timeout: 20s", rules="pam tern\n", config=CONFIG):
    """services: {name: text} for the folder that PAM reads instead of /etc/pam.d."""
    sweep()
    t = LocalTern(config.replace("%s", options), rules=rules)
    matrix = "auth required %s passdb={dir}/matrix\naccount required %s passdb={dir}/matrix\n" % (MATRIX, MATRIX)
    for name, text in dict({"tern": matrix}, **(services or {})).items():
        t.write("pam.d/" + name, text.replace("{dir}", t.dir))
    t.write("matrix", PASSWD)
    t.preload.append("libpam_wrapper.so")
    t.more_env = {"PAM_WRAPPER": "1", "PAM_WRAPPER_SERVICE_DIR": os.path.join(t.dir, "pam.d")}
    return t


def script(t, name, text):
    path = t.write(name, "#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


def test_right_wrong_unknown_injection():
    with server().start() as t:
        # One after the other: pam_wrapper has but 62 names for its folders, and processes take them from each other.
        for mechanism in ("PLAIN", "LOGIN", "PLAIN-later"):
            for user, password in RIGHT:
                assert login(t, user, password, mechanism) == 235, (mechanism, user)
            for user, password in WRONG + UNKNOWN:
                assert login(t, user, password, mechanism) == 535, (mechanism, user, password)
            for user, password in INJECTION:
                assert login(t, user, password, mechanism) in (535, 501), (mechanism, user, password)
        assert login(t, "other", "x") == 535, "the account is for another service"
        assert login(t, "alice", "") == 535 and login(t, "a" * 300, "x") == 535 and login(t, "alice", "x" * 2000) == 535


def test_injection_reaches_nothing():
    """Names with line ends, quotes and NUL, and passwords with them: a no, or 501 where the grammar forbids it."""
    with server().start() as t:
        for user in ("alice\nbob", "alice\r\n", "alice\x01", "alice:x", "../alice", "alice'", 'alice"', "$(id)"):
            assert login(t, user, "open sesame") in (535, 501), user
        c = hello(t)
        for raw in ("\0alice\0open sesame\0", "\0ali\0ce\0open sesame", "\0alice\0open\0sesame", "alice\0alice\0open sesame\0x"):
            assert c.cmd("AUTH PLAIN " + b64(raw))[0] in (501, 535), repr(raw)
        assert login(t, "alice", "open sesame", client=c) == 235
        c.close()
        assert "open sesame" not in t.log_text()


def test_cache():
    with server(options="cache: 1m").start() as t:
        assert login(t, "alice", "open sesame") == 235
        t.write("matrix", PASSWD.replace("open sesame", "two"))
        assert login(t, "alice", "open sesame") == 235, "remembered"
        assert login(t, "alice", "two") == 235 and login(t, "alice", "three") == 535
    with server().start() as t:
        assert login(t, "alice", "open sesame") == 235
        t.write("matrix", PASSWD.replace("open sesame", "two"))
        assert login(t, "alice", "open sesame") == 535 and login(t, "alice", "two") == 235


def test_domain():
    with server(options="cache: 0, domain: example.org").start() as t:
        assert login(t, "alice@example.org", "open sesame") == 235 and login(t, "alice@EXAMPLE.ORG", "open sesame") == 235
        assert login(t, "alice", "open sesame") == 235
        assert login(t, "alice@example.com", "open sesame") == 535 and login(t, "@example.org", "open sesame") == 535


def test_what_pam_sees():
    """The user, the client's address, the password; no capability, whoever it is asked as; nothing of the server's."""
    for rules, uid in (("pam tern\n", 0), ("pam tern\npam_user alice\n", 61002)):
        with server(rules=rules) as t:
            see = script(t, "see", "read -r secret\n{ echo \"$PAM_USER/$PAM_RHOST/$secret/$PAM_SERVICE\"; id -u; cat /proc/self/status; "
                                   "ls /proc/self/fd | wc -l; } > %s/out/seen.new && mv %s/out/seen.new %s/out/seen\n" % (t.dir, t.dir, t.dir))
            t.make("out", "alice" if uid else "root")
            t.write("pam.d/tern", "auth required pam_exec.so quiet expose_authtok %s\naccount required pam_permit.so\n" % see)
            t.start()
            assert login(t, "bob", "word") == 235
            with open(os.path.join(t.dir, "out", "seen")) as f:
                lines = f.read().splitlines()
            assert lines[0] == "bob/127.0.0.1/word/tern", lines[0]
            assert lines[1] == str(uid), lines[1]
            for line in lines:
                if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb")):
                    assert line.endswith("\t" + "0" * 16), line
                if line.startswith("NoNewPrivs"):
                    assert line.endswith("\t1")
            assert int(lines[-1]) <= 5, lines[-1]


def test_account():
    """The right password of one who may not log in is a no."""
    for module, code in (("pam_deny.so", 535), ("pam_permit.so", 235), ("nosuch.so", 454)):
        with server({"tern": "auth required pam_permit.so\naccount required %s\n" % module}).start() as t:
            assert login(t, "alice", "x") == code, module


def test_not_allowed():
    """The configuration is the worker's; which services there are is the supervisor's word."""
    for rules in ("", "pam elsewhere tern2\n"):
        with server(rules=rules).start() as t:
            assert login(t, "alice", "open sesame") == 454
            wait_for(lambda: "the service is not among those of `pam` in supervisor.conf" in t.log_now(), 10)
    for service in ("../tern", ".tern", "a/b", ""):
        with server(options="service: '%s'" % service) as t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and "service: expected the name of a file in /etc/pam.d" in r.stdout + r.stderr, r
    with server({"other": "auth required pam_permit.so\naccount required pam_permit.so\n"}, "service: other", "pam tern other\n").start() as t:
        assert login(t, "anybody", "x") == 235
    with server(options="service: missing", rules="pam missing\n").start() as t:
        assert login(t, "alice", "open sesame") in (454, 535)


def test_rubbish():
    """Modules that fail, crash, talk, fork, print or exit: never a yes, and the next question is answered."""
    rows = [("auth required %s/nosuch.so\n", (454, 535)), ("this is no line of PAM\n", (454, 535)), ("", (454, 535)),
            ("auth required pam_exec.so quiet {dir}/crash\n", (454, 535)), ("auth required pam_exec.so quiet {dir}/no\n", (454, 535)),
            ("auth optional pam_echo.so hello\nauth required pam_deny.so\n", (535,)),
            ("auth optional pam_exec.so stdout {dir}/flood\nauth required pam_deny.so\n", (535, 454)),
            ("auth required pam_exec.so quiet {dir}/leave\n", (235,))]
    for text, codes in rows:
        with server() as t:
            script(t, "crash", "kill -KILL $PPID\n")
            script(t, "no", "exit 1\n")
            script(t, "flood", "head -c 3000000 /dev/zero | tr '\\0' y\n")
            script(t, "leave", "sleep 60 >/dev/null 2>&1 &\n")
            t.write("pam.d/tern", text.replace("{dir}", t.dir) + "account required pam_permit.so\n")
            t.start()
            code = login(t, "alice", "open sesame")
            assert code in codes, (text, code)
            t.write("pam.d/tern", "auth required %s passdb=%s/matrix\naccount required pam_permit.so\n" % (MATRIX, t.dir))
            assert login(t, "alice", "open sesame") == 235, text


def test_slow():
    """454 in time; what hangs is ended; others are answered meanwhile."""
    with server(options="cache: 0, request_timeout: 1s") as t:
        script(t, "hang", "echo $$ > %s/pid.$$\nsleep 600\n" % t.dir)
        t.write("pam.d/tern", "auth [success=1 default=ignore] pam_succeed_if.so quiet user != slow\nauth required pam_exec.so quiet %s/hang\n"
                "auth required %s passdb=%s/matrix\naccount required pam_permit.so\n" % (t.dir, MATRIX, t.dir))
        t.start()
        wait_for(lambda: login(t, "alice", "open sesame") == 235)  # tern-local is there
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            start = time.monotonic()
            slow = [pool.submit(login, t, "slow", "x") for _ in range(3)]
            time.sleep(0.2)
            assert login(t, "slow", "x") in (454, 535)
            assert [f.result() for f in slow] == [454] * 3
            assert time.monotonic() - start < 50 * SLOW
        wait_for(lambda: "PAM did not answer in time" in t.log_now(), 10)
        for name in os.listdir(t.dir):
            if name.startswith("pid."):
                pid = int(name[4:])

                def gone():
                    """what hung has ended"""
                    try:
                        with open("/proc/%d/stat" % pid) as f:
                            return f.read().split(")")[1].split()[0] in "ZX"
                    except (FileNotFoundError, ProcessLookupError):
                        return True
                wait_for(gone, 10)


def test_stopped():
    """tern-local is killed: 454 in the meantime, and it comes back by itself; the session goes on."""
    with server().start() as t:
        c = hello(t)
        assert login(t, "alice", "wrong", client=c) == 535
        first = t.local_pid()
        os.kill(first, signal.SIGKILL)
        codes = {login(t, "alice", "wrong", client=c) for _ in range(3)}
        assert codes <= {454, 535}, codes
        wait_for(lambda: login(t, "alice", "open sesame") == 235, 20)
        assert t.local_pid() not in (None, first)
        assert login(t, "alice", "open sesame", client=c) == 235
        c.close()
    with server(rules="pam tern\nrestart_ms 60000 60000\n").start() as t:
        assert login(t, "alice", "open sesame") == 235
        os.kill(t.local_pid(), signal.SIGKILL)
        wait_for(lambda: t.local_pid() is None, 10)
        assert login(t, "alice", "open sesame") == 454
        wait_for(lambda: "is started again in a moment" in t.log_now(), 10)


def test_hangs_whole():
    """tern-local itself does not answer: 454 when the time is over, and nobody else waits."""
    with server(options="cache: 0, request_timeout: %ds" % SLOW).start() as t:
        wait_for(lambda: login(t, "alice", "open sesame") == 235)
        pid = t.local_pid()
        freeze(pid)
        try:
            start = time.monotonic()
            assert login(t, "alice", "open sesame") == 454
            assert time.monotonic() - start < 40 * SLOW
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: login(t, "alice", "open sesame") == 235, 20)


def test_many_at_once():
    """Nobody gets another's answer."""
    with server().start() as t:
        rows = [("alice", "open sesame", 235), ("alice", "nope", 535), ("bob", "pass word", 235), ("mallory", "x", 535)] * 10
        # 454 is pam_wrapper's: its processes share 62 names. Whoever got that asks again; what is answered is right.
        for _ in range(50):
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                got = list(pool.map(lambda r: login(t, r[0], r[1]), rows))
            assert all(g in (r[2], 454) for r, g in zip(rows, got)), list(zip(rows, got))
            rows = [r for r, g in zip(rows, got) if g == 454]
            if not rows:
                break
        assert not rows, rows


if __name__ == "__main__":
    if SKIP:
        print("SKIP: " + SKIP)
        sys.exit(77)
    for path, package in ((MATRIX, "libpam-wrapper is not installed"), (os.path.join(BUILD, "core", "cli", "tern-pam"), "built without PAM")):
        if not os.path.exists(path):
            print("SKIP: " + package)
            sys.exit(77)
    run([test_right_wrong_unknown_injection, test_injection_reaches_nothing, test_cache, test_domain, test_what_pam_sees, test_account,
         test_not_allowed, test_rubbish, test_slow, test_stopped, test_hangs_whole, test_many_at_once])
