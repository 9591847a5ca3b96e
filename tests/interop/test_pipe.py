#!/usr/bin/python3
"""The pipe transport: a command as a user, its exit status, what an address can put into its arguments, and commands that misbehave."""
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from locals import SKIP, LocalTern
from ternlib import BINARY, SLOW, Client, Tern, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
retry: { min: 1s, max: 1s, factor: 100, jitter: 0 }
policies:
  inbound:
    - domains: { local: [example.org] }
transports:
  program: { type: pipe, command: [{words}], user: "{as}"{options} }
routes:
  - { class: local, transport: program }
"""
# Writes what it was given below its home, by which user; argv as lines of repr.
SHOW = """#!/usr/bin/python3
import os, sys
mail = sys.stdin.buffer.read()
folder = "{dir}/home/" + {0: "root", 61002: "alice", 61003: "bob", 61004: "vmail"}[os.getuid()]
with open(folder + "/argv.new", "w") as f:
    f.write(repr((sys.argv[1:], dict(os.environ), os.getuid(), os.getgid(), os.getgroups(), os.getcwd(),
                  sorted(os.listdir("/proc/self/fd")), open("/proc/self/status").read())))
with open(folder + "/mail", "wb") as f:
    f.write(mail)
os.rename(folder + "/argv.new", folder + "/argv")
"""
BODY = "Subject: x\n\nhello\n.dot\n"


def server(script, *args, user="alice", options="", rules="commands {dir}/bin/command\n", config=CONFIG):
    words = ", ".join('"%s"' % w for w in ("{dir}/bin/command",) + args)
    t = LocalTern(config, rules=rules, words=words, options=options, **{"as": user})
    t.write("bin/command", script.replace("{dir}", t.dir))
    os.chmod(os.path.join(t.dir, "bin", "command"), 0o755)
    return t


def send(t, rcpt="alice@example.org", sender="a@client.example", body=BODY):
    c = Client(t.port)
    code, text = c.mail(sender, [rcpt], body)
    c.close()
    assert code == 250, (rcpt, code, text)


def shown(t, user="alice"):
    path = os.path.join(t.users.home(user), "argv")
    wait_for(lambda: os.path.exists(path), 20)
    with open(path) as f:
        got = eval(f.read())
    with open(os.path.join(t.users.home(user), "mail"), "rb") as f:
        return got, f.read()


def said(t, *words):
    """the log says so"""
    wait_for(lambda: any(all(w in line for w in words) for line in t.log_now().splitlines()), 30)


def whole(path):
    """What stands in it; None while its line has no end, as another try may be writing it."""
    try:
        with open(path) as f:
            text = f.read()
    except FileNotFoundError:
        return None
    return text if text.endswith("\n") else None


def settled(t):
    """the queue is empty"""
    return t.queue() == []


def test_as_the_user():
    with server(SHOW, "-f", "%{sender}", "--", "%{recipient}", "%{user}/%{local}/%{extension}/%{domain}", "%{id}", "$HOME", "",
                options=', environment: { LANG: C, WHO: "-%{user}" }').start() as t:
        send(t, "Bob+Lists@EXAMPLE.org")
        (argv, env, uid, gid, groups, cwd, fds, status), mail = shown(t)
        assert argv[:5] == ["-f", "a@client.example", "--", "Bob+Lists@" + argv[3].split("@")[1], "bob/Bob+Lists/Lists/example.org"], argv
        assert len(argv[5]) > 8 and argv[6:] == ["$HOME", ""], argv
        env.pop("LC_CTYPE", None)  # Python's own
        assert env == {"LANG": "C", "WHO": "-bob"}, env
        assert (uid, gid) == t.users.ids("alice") and groups == [gid] and cwd == t.users.home("alice")
        assert fds == ["0", "1", "2", "3", "4"], fds  # it opened two itself
        assert "NoNewPrivs:\t1" in status and status.count("0000000000000000") >= 5, status
        for line in status.splitlines():
            if line.startswith("Cap") and not line.startswith("CapBnd"):
                assert line.endswith("\t" + "0" * 16), line
        assert mail == b"Return-Path: <a@client.example>\nDelivered-To: %s\n" % argv[3].encode() + mail.split(b"\n", 2)[2], mail
        assert mail.endswith(b"Subject: x\n\nhello\n.dot\n") and b"\r" not in mail
        wait_for(lambda: settled(t), 20)
        said(t, " delivered ", "bin/command took it")


def test_options():
    with server(SHOW, options=", line_ends: crlf, head: false, delimiter: '-'", user="%{user}").start() as t:
        send(t, "bob-x@example.org")
        _, mail = shown(t, "bob")
        assert b"Return-Path" not in mail and mail.startswith(b"Received:") and mail.count(b"\r\n") == mail.count(b"\n"), mail
    with server("#!/bin/sh\necho 0123456789 >&2; exit 69\n", options=", max_output: 4").start() as t:
        send(t, sender="")
        said(t, " bounced ", 'status 69): 0123"')


EXITS = [(64, "5.3.3"), (65, "5.6.0"), (66, "5.3.0"), (67, "5.1.1"), (68, "5.1.2"), (69, "5.3.0"), (70, "5.3.0"), (71, "4.3.0"),
         (72, "5.3.0"), (73, "5.2.0"), (74, "5.3.0"), (75, "4.3.0"), (76, "5.5.0"), (77, "5.7.0"), (78, "5.3.5"), (1, "5.3.0"),
         (255, "5.3.0")]


def test_exit_status():
    """sysexits.h, in one server: the status is the local part."""
    with server("#!/bin/sh\ncat >/dev/null\necho \"no $1\" >&2\nexit $1\n", "%{user}").start() as t:
        for status, _ in EXITS:
            send(t, "%d@example.org" % status, sender="")
        for status, code in EXITS:
            what = " bounced " if code[0] == "5" else " deferred "
            said(t, what, "to=%d@example.org" % status, "%s0 %s " % (("55" if code[0] == "5" else "45")[:2], code) if code[0] == "5"
                 else "451 %s " % code, "(status %d): no %d" % (status, status))
        assert sorted(m["id"] for m in t.queue()) and len(t.queue()) == 2, t.queue()  # 71 and 75


def test_codes_of_its_own():
    rows = [("5.7.1 we do not like it", 77, "550 5.7.1 "), ("4.2.2 full", 75, "452 4.2.2 "), ("4.2.2 lies", 77, "550 5.7.0 "),
            ("5.7.1", 77, "550 5.7.1 "), ("5.7.1x", 77, "550 5.7.0 "), ("5.7777.1 x", 77, "550 5.7.0 ")]
    for text, status, want in rows:
        with server("#!/bin/sh\necho '%s'\nexit %d\n" % (text, status)).start() as t:
            send(t, sender="")
            said(t, "reply=", want)


def test_what_the_sender_hears():
    with server("#!/bin/sh\nprintf 'a line\\nanother\\033[1m \\377\\n' >&2\nexit 67\n",
                config=CONFIG.replace("- { class", "- { class: local, address: [carol@example.org], transport: people }\n  - { class")
                .replace("transports:", 'transports:\n  people: { type: maildir, path: "%{home}/Maildir", user: bob }')).start() as t:
        send(t, sender="carol@example.org")
        new = os.path.join(t.users.home("bob"), "Maildir", "new")
        name = wait_for(lambda: os.path.isdir(new) and os.listdir(new), 30)[0]
        with open(os.path.join(new, name), "rb") as f:
            notice = f.read()
        assert b"5.1.1" in notice and b"a line another" in notice and b"\x1b" not in notice and b"\xff" not in notice, notice


def test_injection():
    """One argument stays one, octet for octet; what would be an option is refused; there is no shell."""
    hostile = ['";touch${IFS}x"', '"a b"', '"$(id)"', '"`id`"', '"a;b"', '"a|b"', '"a&b"', '"a>b"', '"*"', '"a\'b"', '"a\\"b"',
               '"~root"', '"a--b"', '"$HOME"']
    with server(SHOW, "%{local}", "x%{local}", "%{user}").start() as t:
        for local in hostile:
            path = os.path.join(t.users.home("alice"), "argv")
            if os.path.exists(path):
                os.unlink(path)
            send(t, local + "@example.org", sender="")
            (argv, env, *_), _ = shown(t)
            plain = local[1:-1].replace('\\"', '"')
            assert argv == [plain, "x" + plain, plain.lower()], (local, argv)
        assert sorted(os.listdir(t.dir)) == sorted(set(os.listdir(t.dir)) - {"x"})
    for local in ('"-f"', "-f", '"-oQ/tmp"', '"--"'):
        with server(SHOW, "%{local}").start() as t:
            send(t, local + "@example.org", sender="")
            said(t, " bounced ", "550 5.1.3 This address cannot be given to a command")
            assert not os.path.exists(os.path.join(t.users.home("alice"), "argv"))
    with server(SHOW, "--to=%{local}", "-%{user}").start() as t:  # the operator's own dash
        send(t, "-f@example.org", sender="")
        assert shown(t)[0][0] == ["--to=-f", "--f"]
    for local in ('"../bob"', '"/etc/x"', '"-x"', "nosuch", "root", "low", '".x"'):
        with server(SHOW, user="%{user}").start() as t:
            send(t, local + "@example.org", sender="")
            said(t, " bounced ", "550 5.1.")


def test_not_allowed():
    """The configuration is the worker's; what may run is the supervisor's."""
    for rules in ("", "commands {dir}/bin/comman {dir}/bin /bin/sh\n"):
        with server(SHOW, rules=rules).start() as t:
            send(t)
            said(t, " deferred ", "451 4.3.5 the program is not among the `commands` of supervisor.conf")
            assert len(t.queue()) == 1
    with server(SHOW, user="low").start() as t:
        send(t)
        said(t, " deferred ", "451 4.3.5 user low: the user's number is below uid_min")
    with server("#!/nonexistent/interpreter\n").start() as t:
        send(t)
        said(t, " deferred ", "451 4.3.5 ", "bin/command cannot be run: No such file")
    with server(SHOW) as t:
        os.chmod(os.path.join(t.dir, "bin", "command"), 0o644)
        t.start()
        send(t)
        said(t, " deferred ", "cannot be run: Permission denied")


def test_config():
    for change, key in ((('"{dir}/bin/command"', '"command"'), "command: expected the absolute path"),
                        (('"{dir}/bin/command"', '"/bin/%{user}"'), "command: expected the absolute path"),
                        (('user: "{as}"', "user: root"), "user: expected whom"), (('user: "{as}"', 'user: ""'), "user: expected whom"),
                        (("{options}", ', environment: { "A B": x }'), "environment: \"A B\" is no name"),
                        (("{options}", ", environment: { LD_PRELOAD: /x.so }"), "environment: \"LD_PRELOAD\" can make a program"),
                        (("{options}", ", environment: { A: '%{home}' }"), "environment: \"%{home}\" is none of"),
                        (('"{dir}/bin/command"', '"/bin/x", "%{recipients}"'), "command: \"%{recipients}\" is none of")):
        with server(SHOW, config=CONFIG.replace("{words}", '"{dir}/bin/command"').replace(*change)) as t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and key in r.stdout + r.stderr, (key, r.stdout, r.stderr)


NEEDS = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound, auth: allowed, auth_plaintext: true } }
policies:
  inbound:
    - auth_pam: { service: tern }
    - domains: { local: [example.org], recipients: [alice@example.org] }
transports:
  program: { type: pipe, command: ["{dir}/bin/command", "x"], user: "{as}" }
  own: { type: maildir, path: "%{home}/Maildir", user: "{of}" }
routes:
  - { class: local, transport: program }
"""


def test_check_knows_the_rules():
    """What supervisor.conf does not allow is said by `tern check` and at the start, not only when the first mail comes."""
    command, service = "not among the `commands` of supervisor.conf", "not among those of `pam` in supervisor.conf"
    low, nobody = "the user's number is below uid_min", "there is no such user"
    allowed = "commands {dir}/bin/command\npam tern\n"
    for rules, who, of, said_ in ((allowed, "alice", "%{user}", []), (allowed, "%{user}", "alice", []),
                                  ("", "alice", "%{user}", [command, service]), (allowed, "low", "nosuch", [low, nobody]),
                                  (allowed + "uid_min 70000\n", "alice", "%{local}", [low]),
                                  ("commands {dir}/bin\npam ter tern2\n", "alice", "alice", [command, service])):
        with LocalTern(NEEDS, rules=rules, of=of, **{"as": who}) as t:
            r = t.cli("check", "-s", t.rules)
            found = sorted(w for w in (command, service, low, nobody) if w in r.stderr)
            assert found == sorted(said_) and r.stderr.count("warning") == len(said_), (rules, who, of, r.stderr)
            if said_ == [low, nobody]:
                assert "transport program.user: tern-local will not do it: \"low\"" in r.stderr, r.stderr
                t.start()
                assert low in t.log_text() and nobody in t.log_text()


def test_check_without_the_rules():
    """Rules that cannot be read are nobody's mistake; those that nobody could start with are."""
    with LocalTern(NEEDS, of="low", **{"as": "nosuch"}) as t:
        own = t.users.ids("alice")
        r = subprocess.run([BINARY, "check", "-c", t.config, "-s", t.rules], capture_output=True, text=True, env=t.env(),
                           preexec_fn=lambda: (os.setgroups([]), os.setgid(own[1]), os.setuid(own[0])), timeout=60 * SLOW)
        assert r.returncode == 0 and "tern-local" not in r.stderr and "supervisor.conf" not in r.stderr, (r.stdout, r.stderr)
        assert "there is no such user" in t.cli("check", "-s", t.rules).stderr
        with open(t.rules, "w") as f:
            f.write("commands bin\n")
        r = t.cli("check", "-s", t.rules, check=False)
        assert r.returncode == 1 and ":1: expected absolute paths" in r.stderr, (r.stdout, r.stderr)
        r = t.cli("check", "-s", t.rules + ".gone", check=False)
        assert r.returncode == 1 and "No such file" in r.stderr, (r.stdout, r.stderr)


def test_hangs():
    """It is ended in time, with all of its group, and the mail is tried again."""
    with server("#!/bin/sh\necho $$ > {dir}/home/alice/pid\nsleep 600 & echo $! > {dir}/home/alice/child\nwait\n",
                options=", timeout: %ds" % SLOW).start() as t:
        send(t)
        said(t, " deferred ", "451 4.3.0 the command took too long, and was ended")
        for name in ("pid", "child"):
            pid = int(wait_for(lambda: whole(os.path.join(t.users.home("alice"), name))))  # by another try, if that one was too slow

            def gone():
                """the command and what it started have ended"""
                try:
                    with open("/proc/%d/stat" % pid) as f:
                        return f.read().split(")")[1].split()[0] in "ZX"
                except (FileNotFoundError, ProcessLookupError):
                    return True
            wait_for(gone, 10)
        assert len(t.queue()) == 1


def test_delivery_timeout():
    """The bound of every module's transport, whatever it says of its own."""
    with server("#!/bin/sh\nsleep 30\n", options=", timeout: 60s, delivery_timeout: 1s").start() as t:
        send(t)
        said(t, " deferred ", "451 4.3.0 no time was left for this recipient")  # it wants its own timeout whole
    with server("#!/bin/sh\nsleep 3\n", options=", timeout: 60s, delivery_timeout: 10m").start() as t:
        send(t)
        said(t, " delivered ")
    with server("#!/bin/sh\n", options=", delivery_timeout: 2h") as t:
        r = t.cli("check", check=False)
        assert r.returncode != 0 and "delivery_timeout" in r.stderr + r.stdout, r


def test_floods():
    """Ten megabytes of output neither stop it nor get anywhere."""
    with server("#!/usr/bin/python3\nimport sys\nsys.stdin.read()\nfor i in range(160):\n    sys.stdout.write('y' * 65536)\n").start() as t:
        send(t)
        said(t, " delivered ", "took it: " + "y" * 300 + '"')
        assert "y" * 301 not in t.log_text()
        wait_for(lambda: settled(t), 20)


def test_ignores_its_input():
    """What it does not read it does not want: the status counts, for a mail above any buffer, too."""
    big = "Subject: big\n\n" + "z" * 70 + "\n" + ("y" * 70 + "\n") * 20000
    for script, word in (("#!/bin/sh\nexit 0\n", " delivered "), ("#!/bin/sh\nexec <&-\nsleep 0.3\nexit 0\n", " delivered "),
                         ("#!/bin/sh\nexit 67\n", " bounced ")):
        with server(script).start() as t:
            send(t, body=big, sender="")
            said(t, word)
            wait_for(lambda: settled(t), 20)


def test_leaves_a_daemon():
    """One that keeps the pipes open is not waited for."""
    script = ("#!/usr/bin/python3\nimport os, time\nprint('gone', flush=True)\nif os.fork() == 0:\n    os.setsid()\n"
              "    open('{dir}/home/alice/daemon', 'w').write(str(os.getpid()))\n    time.sleep(600)\n")
    with server(script, options=", timeout: 60s").start() as t:
        start = time.monotonic()
        send(t)
        said(t, " delivered ", "took it: gone")
        assert time.monotonic() - start < 50 * SLOW
        daemon = os.path.join(t.users.home("alice"), "daemon")
        wait_for(lambda: os.path.exists(daemon) and os.path.getsize(daemon) > 0)
        with open(daemon) as f:
            os.kill(int(f.read()), signal.SIGKILL)


def test_dies():
    with server("#!/bin/sh\nkill -SEGV $$\n").start() as t:
        send(t)
        said(t, " deferred ", "was ended by signal 11")
        assert len(t.queue()) == 1


def test_stopped():
    """A user stops the process that works for him: it hears no timer, and keeps a place of those for all for ever."""
    script = ("#!/bin/sh\nif [ -e {dir}/home/alice/once ]; then cat > {dir}/home/alice/mail; exit 0; fi\n"
              "echo $PPID > {dir}/home/alice/once\nkill -STOP $PPID\nexit 0\n")
    with server(script, options=", timeout: %ds" % (2 * SLOW)).start() as t:
        send(t)
        pid = int(wait_for(lambda: whole(os.path.join(t.users.home("alice"), "once"))))
        said(t, "works for user alice, does not end in time")
        wait_for(lambda: not os.path.exists("/proc/%d" % pid), 20)
        wait_for(lambda: settled(t), 60)
        with open(os.path.join(t.users.home("alice"), "mail")) as f:
            assert f.read().endswith("hello\n.dot\n")


def test_many_at_once():
    """Each to its own command, none lost, none twice."""
    with server("#!/bin/sh\ncat >> {dir}/home/alice/$1\n", "%{user}").start() as t:
        c = Client(t.port)
        for n in range(60):
            assert c.mail("", ["n%d@example.org" % n], "Subject: %d\n\nx\n" % n, helo=None if n else "x.example")[0] == 250
        wait_for(lambda: settled(t), 60)
        for n in range(60):
            with open(os.path.join(t.users.home("alice"), "n%d" % n)) as f:
                assert f.read().count("Subject: %d\n" % n) == 1
        c.close()


def test_killed_in_the_midst():
    """tern-local and the child both die while the command runs: the mail is tried again, the command was ended."""
    script = ("#!/bin/sh\nif [ -e {dir}/home/alice/once ]; then cat > {dir}/home/alice/mail; exit 0; fi\n"
              "echo $PPID > {dir}/home/alice/once\nexec sleep 600\n")
    with server(script).start() as t:
        send(t)
        child = int(wait_for(lambda: whole(os.path.join(t.users.home("alice"), "once"))))
        os.kill(t.local_pid(), signal.SIGKILL)
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it was quicker
        said(t, " deferred ", "451 4.3.0 tern-local ended without an answer")
        mail = os.path.join(t.users.home("alice"), "mail")
        wait_for(lambda: os.path.exists(mail) and settled(t), 30)
        with open(mail) as f:
            assert f.read().endswith(BODY)


def test_without_root():
    """There is one user, and he may be named; anybody else is refused."""
    wrap = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    if subprocess.run([*wrap, "test", "-x", BINARY]).returncode != 0:
        print("     nobody may not run %s: left out" % BINARY)
        return
    two = ', user: nobody }\n  other: { type: pipe, command: [/bin/cat], user: daemon }\nroutes:\n  - { address: [x@example.org], transport: other }'
    config = CONFIG.replace("{words}", "/bin/cat").replace(', user: "{as}"{options} }\nroutes:', two)
    with Tern(config) as t:
        with open(t.rules, "w") as f:
            f.write("commands /bin/cat\n")
        for path in (t.dir, t.rules, t.config):
            os.chown(path, 65534, 65534)
        t.start(wrap=wrap)
        send(t)
        said(t, " delivered ", "/bin/cat took it")
        send(t, "x@example.org")
        said(t, " deferred ", "451 4.3.5 user daemon: without root there is but one user")


if __name__ == "__main__":
    if SKIP:
        print("SKIP: " + SKIP)
        sys.exit(77)
    run([test_as_the_user, test_options, test_exit_status, test_codes_of_its_own, test_what_the_sender_hears, test_injection,
         test_not_allowed, test_config, test_check_knows_the_rules, test_check_without_the_rules, test_hangs, test_delivery_timeout, test_floods, test_ignores_its_input, test_leaves_a_daemon, test_dies,
         test_stopped, test_many_at_once, test_killed_in_the_midst, test_without_root])
