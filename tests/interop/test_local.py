#!/usr/bin/python3
"""tern-local: mail delivered as the mailbox's user, by the one process that may become somebody else, and what it refuses."""
import os
import signal
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from locals import SKIP, LocalTern, Users
from ternlib import SLOW, Client, freeze, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
retry: { min: 1s, max: 1s, factor: 100, jitter: 0 }
policies:
  inbound:
    - domains: { local: [example.org] }
transports:
  mailboxes: { type: maildir, path: "{path}", user: "{as}" }
routes:
  - { class: local, transport: mailboxes }
"""


def server(path="%{home}/Maildir", user="%{user}", rules="", config=CONFIG, **values):
    return LocalTern(config, rules=rules, path=path, **{"as": user}, **values)


def send(t, rcpt, sender="a@client.example", body="Subject: x\n\nhello\n.dot\n"):
    c = Client(t.port)
    code, text = c.mail(sender, [rcpt], body)
    c.close()
    assert code == 250, (rcpt, code, text)


def mails(t, user):
    folder = os.path.join(t.users.home(user), "Maildir", "new")
    try:
        return [os.path.join(folder, n) for n in sorted(os.listdir(folder))]
    except FileNotFoundError:
        return []


def logged(t, *words):
    """the log says so"""
    return all(w in t.log_now() for w in words)


def deferred(t, text):
    wait_for(lambda: logged(t, " deferred ", text), 20)
    assert len(t.queue()) == 1


def proc_status(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict((k, v.strip()) for k, v in (line.split(":", 1) for line in f))


def test_each_as_himself():
    """Two users, homes that nobody else may enter: each file is its user's, and so is what was made on the way."""
    with server().start() as t:
        send(t, "alice@example.org")
        send(t, "Bob+Lists@example.org")
        for user, address in (("alice", "alice"), ("bob", "Bob+Lists")):
            path = wait_for(lambda: mails(t, user), 20)[0]
            st, folder = os.stat(path), os.stat(os.path.dirname(path))
            assert (st.st_uid, st.st_gid) == t.users.ids(user), (user, st)
            assert stat.S_IMODE(st.st_mode) == 0o600 and stat.S_IMODE(folder.st_mode) == 0o700
            assert folder.st_uid == st.st_uid
            assert stat.S_IMODE(os.stat(t.users.home(user)).st_mode) == 0o700
            with open(path, "rb") as f:
                mail = f.read()
            assert mail.startswith(b"Return-Path: <a@client.example>\nDelivered-To: %s@" % address.encode()), mail
            assert mail.endswith(b"Subject: x\n\nhello\n.dot\n") and b"\r" not in mail, mail
            assert os.listdir(os.path.join(t.users.home(user), "Maildir", "tmp")) == []
        wait_for(lambda: t.queue() == [], 20)


def test_what_it_keeps():
    """Two capabilities in every set, none to be had by a program, no_new_privs; the worker is not root."""
    with server().start() as t:
        assert t.local_pid() is None, "started though nobody asked"
        send(t, "alice@example.org")
        wait_for(lambda: mails(t, "alice"), 20)
        status = proc_status(t.local_pid())
        two = "%016x" % (1 << 6 | 1 << 7)  # CAP_SETGID, CAP_SETUID
        for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert status[key] == two, (key, status[key])
        assert status["NoNewPrivs"] == "1"
        names = set(os.path.basename(l.split()[-1]).split(".so")[0] for l in open("/proc/%d/maps" % t.local_pid()) if ".so" in l)
        assert not names & {"libssl", "liblua5.4", "libyaml-0", "libpam", "libcares", "libuv"}, names
        fds = os.listdir("/proc/%d/fd" % t.local_pid())
        assert len(fds) <= 6, fds
        worker = proc_status(t.worker_pid())
        assert worker["Uid"].split()[0] == str(t.users.ids("mta")[0]) and worker["CapEff"] == "0" * 16, worker
        if t.status()["sandbox"].endswith("seccomp"):
            assert worker["Seccomp"] == "2" and worker["NoNewPrivs"] == "1"


def test_fixed_user_and_folders():
    with server("{dir}/vmail/%{domain}/%{user}", "vmail", rules="mailboxes {dir}/vmail\n") as t:
        t.make("vmail", "vmail")
        t.start()
        send(t, "carol@example.org")
        new = os.path.join(t.dir, "vmail", "example.org", "carol", "new")
        wait_for(lambda: os.path.isdir(new) and os.listdir(new), 20)
        assert os.stat(os.path.join(new, os.listdir(new)[0])).st_uid == t.users.ids("vmail")[0]


def test_folder_that_is_not_allowed():
    """Below no home and no folder of `mailboxes`: it waits, and the log says for what."""
    with server("{dir}/vmail/%{user}", "vmail") as t:
        t.make("vmail", "vmail")
        t.start()
        send(t, "carol@example.org")
        deferred(t, "neither in the home of vmail nor below a folder of `mailboxes`")
        assert os.listdir(os.path.join(t.dir, "vmail")) == []


def test_anothers_mailbox():
    """Alice's mail does not get into Bob's home, whatever the configuration says, and nothing there is changed."""
    for path, said in (("{dir}/home/bob/Maildir", "neither in the home of alice"),
                       ("%{home}/../bob/Maildir", "neither in the home of alice")):
        with server(path, "alice").start() as t:
            send(t, "x@example.org")
            deferred(t, said)
            assert os.listdir(t.users.home("bob")) == []
    with server("{dir}/home/bob/Maildir", "alice", rules="mailboxes {dir}/home\n").start() as t:
        send(t, "x@example.org")
        deferred(t, "Permission denied")  # the system's own answer, where the rules allow too much
        assert os.listdir(t.users.home("bob")) == []


def test_root_and_small_numbers():
    rows = [("%{user}", "root", "", "5.1.1"), ("%{user}", "toor", "", "5.1.1"), ("%{user}", "wheel", "", "5.1.1"),
            ("%{user}", "low", "", "5.1.1"), ("%{user}", "nosuch", "", "5.1.1")]
    for user, rcpt, rules, code in rows:
        with server(user=user, rules=rules).start() as t:
            send(t, rcpt + "@example.org", sender="")
            wait_for(lambda: logged(t, " bounced ", code), 20)
            assert mails(t, rcpt) == []
    for user, said in (("toor", "root, and whoever is of its group"), ("wheel", "root, and whoever is of its group"),
                       ("low", "below uid_min of supervisor.conf"), ("nosuch", "there is no user nosuch")):
        with server(user=user).start() as t:
            send(t, "x@example.org")
            deferred(t, said)
    with server(user="low", rules="uid_min 500\n").start() as t:
        send(t, "x@example.org")
        wait_for(lambda: mails(t, "low"), 20)
    with server(user="alice", rules="uid_min 70000\n").start() as t:
        send(t, "x@example.org")
        deferred(t, "below uid_min of supervisor.conf")


def test_config():
    """What could never work is said before anything is started."""
    rows = [(CONFIG.replace(', user: "{as}"', ""), "transport mailboxes.path: %{home} is that of `user`, which is not given"),
            (CONFIG.replace("{as}", "root"), "transport mailboxes.user: root gets no mail")]
    for config, said in rows:
        with server(config=config) as t:
            r = t.cli("check", check=False)
            assert r.returncode == 1 and said in r.stdout + r.stderr, r


def test_killed():
    """tern-local dies: what it had begun is tried again, and it is there again. Its children finish by themselves."""
    with server().start() as t:
        send(t, "alice@example.org")
        wait_for(lambda: len(mails(t, "alice")) == 1, 20)
        for tries in range(1, 6):
            first = t.local_pid()
            freeze(first)
            send(t, "alice@example.org", body="Subject: more\n\nx\n")
            time.sleep(0.5 * tries * SLOW)  # the request waits in the socket of a process that does not run; on a busy machine later
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: t.log_now().count("tern-local was ended by signal 9") == tries)
            wait_for(lambda: len(mails(t, "alice")) == tries + 1, 30)
            wait_for(lambda: t.queue() == [], 20)
            assert t.local_pid() not in (None, first)
            assert len(mails(t, "alice")) == tries + 1
            if " deferred " in t.log_text():
                break
        assert " deferred " in t.log_text()


def test_worker_killed():
    """A new worker has the same tern-local."""
    with server().start() as t:
        send(t, "alice@example.org")
        wait_for(lambda: mails(t, "alice"), 20)
        local, worker = t.local_pid(), t.worker_pid()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: t.worker_pid() not in (None, worker) and t.is_up(), 20)
        wait_for(lambda: t.cli("status", check=False).returncode == 0, 20)
        send(t, "bob@example.org")
        wait_for(lambda: mails(t, "bob"), 20)
        assert t.local_pid() == local


def test_a_big_one():
    """Far above what a pipe holds, and what a block is: octet for octet."""
    body = "Subject: big\n\n" + "".join("%07d %s\n" % (i, "y" * (i % 90)) for i in range(60000))
    with server().start() as t:
        send(t, "alice@example.org", body=body)
        path = wait_for(lambda: mails(t, "alice"), 60)[0]
        with open(path) as f:
            assert f.read().endswith(body)


def test_it_ends_with_the_server():
    with server() as t:
        t.start()
        send(t, "alice@example.org")
        wait_for(lambda: mails(t, "alice"), 20)
        pid = t.local_pid()
        assert t.stop() == 0

        def gone():
            """tern-local has ended"""
            try:
                return proc_status(pid)["State"][0] in "ZX"
            except (FileNotFoundError, ProcessLookupError):
                return True
        wait_for(gone, 10)


if __name__ == "__main__":
    if SKIP:
        print("SKIP: " + SKIP)
        sys.exit(77)
    run([test_each_as_himself, test_what_it_keeps, test_fixed_user_and_folders, test_folder_that_is_not_allowed,
         test_anothers_mailbox, test_root_and_small_numbers,
         test_config, test_killed, test_worker_killed, test_a_big_one,
         test_it_ends_with_the_server])
