#!/usr/bin/python3
"""What an operator reads: who decided what and why it failed, slips of the pen, a folder that is not ours, no server."""
import os
import pwd
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BINARY, MODULES, ROOT, SLOW, Client, Tern, queue_id, run, wait_for

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
dns: { servers: ["127.0.0.1:9"], timeout: 100ms, tries: 1 }
policies:
  inbound:
    - dnsbl: { zones: [list.example.org], exempt: [], on_error: skip }
    - domains: { local: [example.org], recipients: [alice@example.org] }
    - lua: { script: s.lua }
transports:
  boxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { class: local, transport: boxes }
"""
SCRIPT = '''local tern = require "tern"
tern.on("message", function(txn)
  local subject = txn:header("Subject") or ""
  tern.note("subject", subject .. "\\27]0;owned\\7\\nforged\\0end")
  if subject:find("boom") then error("boom") end
  if subject:find("odd") then return tern.hold("looks odd") end
end)
'''


def send(t, subject):
    c = Client(t.port)
    code, text = c.mail("a@client.example", ["alice@example.org"], "Subject: %s\n\nx\n" % subject)
    c.close()
    return code, text


def tern(*words):
    return subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=60 * SLOW,
                          env=dict(os.environ, TERN_MODULE_PATH=MODULES))


def why(t, ident):
    wait_for(lambda: t.cli("why", ident, check=False).returncode == 0)
    return t.cli("why", ident).stdout


def test_why_says_what_failed_who_claimed_and_why_it_is_held():
    with Tern(CONFIG, files={"s.lua": SCRIPT}).start() as t:
        code, text = send(t, "boom")
        assert code == 451, text
        told = why(t, text[text.rindex("[") + 1:-1])
        assert "error: s.lua:5: boom" in told, told
        assert "claim local" in told, told
        code, text = send(t, "odd")
        assert code == 250, text
        assert "HOLD     looks odd" in why(t, queue_id(text)), why(t, queue_id(text))


def test_nothing_of_a_client_steers_the_terminal():
    """Neither in the log nor in `why` nor in `queue show`; and a NUL hides nothing."""
    with Tern(CONFIG, files={"s.lua": SCRIPT}).start() as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        assert c.cmd("MAIL FROM:<a\u009b2J\u0085@client.example> SMTPUTF8")[0] == 250
        assert c.cmd("RCPT TO:<alice@example.org>")[0] == 250
        assert c.cmd("DATA")[0] == 354
        c.send("Subject: odd \x1b]0;owned\x07\u009b2J\u2028\x00end\r\nX-Last: field\r\n\r\nx\r\n.\r\n")
        code, text = c.reply()
        c.close()
        assert code == 250, text
        ident = queue_id(text)
        told, shown = why(t, ident), t.cli("queue", "show", ident).stdout
        logged = wait_for(lambda: " accepted " in t.log_text() and t.log_text())
        for said in (told, shown, t.cli("queue", "list").stdout, logged):
            assert not any(bad in said for bad in "\x00\x07\x1b\x85\x9b\u2028"), ascii(said)
            assert "a\\xc2\\x9b2J\\xc2\\x85@client.example" in said, said
        assert "\\xc2\\x9b2J\\xe2\\x80\\xa8 end\\x1b]0;owned\\x07\\x0aforged\\x00end\n" in told, told
        assert "Subject: odd \\x1b]0;owned\\x07\\xc2\\x9b2J\\xe2\\x80\\xa8\\x00end\nX-Last: field\n" in shown, shown


def test_a_list_that_does_not_answer_is_named():
    with Tern(CONFIG, files={"s.lua": SCRIPT}).start() as t:
        c = Client(t.port)
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<a@client.example>")
        c.cmd("RCPT TO:<alice@example.org>")
        c.cmd("QUIT")
        c.close()
        records = wait_for(lambda: [line for line in open_all(os.path.join(t.dir, "spool", "decisions")) if '"connect"' in line and line.endswith("\n")])
        assert "list.example.org" in records[0] and "no answer" in records[0], records
        assert "no list could be asked: list.example.org: " in records[0], records
        wait_for(lambda: "no list could be asked: list.example.org: " in t.log_text())


def open_all(folder):
    if not os.path.isdir(folder):
        return []
    return [line for name in sorted(os.listdir(folder)) for line in open(os.path.join(folder, name))]


def test_a_slip_in_the_name_of_a_module():
    t = Tern(CONFIG.replace("domains:", "domians:"), files={"s.lua": SCRIPT})
    r = t.cli("check", check=False)
    assert r.returncode == 1 and "did you mean domains?" in r.stderr, r.stderr
    shutil.rmtree(t.dir)


def test_no_server_and_no_folder():
    t = Tern(CONFIG, files={"s.lua": SCRIPT})
    r = t.cli("status", check=False)
    assert r.returncode == 75 and "is it running" in r.stderr, r.stderr
    r = t.cli("queue", "fsck", check=False)
    assert r.returncode == 1 and "No such file" in r.stderr, (r.returncode, r.stderr)
    assert not os.path.exists(os.path.join(t.dir, "spool"))
    os.mkdir(os.path.join(t.dir, "spool"))  # made for a server that was never started: nothing of root's in it
    r = t.cli("queue", "fsck", check=False)
    assert r.returncode == 1 and "no queue" in r.stderr, (r.returncode, r.stdout, r.stderr)
    assert os.listdir(os.path.join(t.dir, "spool")) == []
    shutil.rmtree(t.dir)


def test_a_spool_of_somebody_else():
    if os.geteuid() != 0:
        print("     needs root")
        return
    if subprocess.run(["test", "-r", os.path.join(MODULES, "domains.so")], user="nobody").returncode != 0:
        print("     the user nobody cannot read %s" % MODULES)
        return
    uid = pwd.getpwnam("nobody").pw_uid
    for there, wanted in ((True, "chown -R %d" % uid), (False, "install -d -o %d -m 700 " % uid)):
        t = Tern(CONFIG, files={"s.lua": SCRIPT})
        if there:
            os.mkdir(os.path.join(t.dir, "spool"), 0o755)
        t.write("supervisor.conf", "user nobody\n")
        t.start(wait=False)
        assert t.process.wait(30 * SLOW) == 1
        text = t.log_text()
        assert wanted in text and "cannot make a segment" not in text, text
        shutil.rmtree(t.dir)


def test_fsck_by_root_leaves_all_to_the_server():
    if os.geteuid() != 0:
        print("     needs root")
        return
    if subprocess.run(["test", "-x", BINARY], user="nobody").returncode != 0:
        print("     the user nobody cannot run %s" % BINARY)
        return
    uid = pwd.getpwnam("nobody").pw_uid
    t = Tern(CONFIG, files={"s.lua": SCRIPT})
    spool = os.path.join(t.dir, "spool")
    os.mkdir(spool, 0o700)
    open(os.path.join(spool, "lock"), "w").close()  # as of a server that ended early
    os.chown(os.path.join(spool, "lock"), uid, -1)
    os.chown(spool, uid, -1)
    for words in (("queue", "fsck"), ("queue", "fsck", "--repair")):
        r = t.cli(*words, check=False)
        assert r.returncode == 0 and "0 findings" in r.stdout, (r.stdout, r.stderr)
    made = os.listdir(spool)
    assert "big" in made and all(os.lstat(os.path.join(spool, n)).st_uid == uid for n in made), made
    shutil.rmtree(t.dir)


def ask_as(t, user, group, *words):
    return subprocess.run([BINARY, words[0], "-c", t.config, *words[1:]], capture_output=True, text=True, env=t.env(),
                          user=user, group=group, extra_groups=[], timeout=60 * SLOW)


def test_who_may_read_and_who_may_change():
    """The control socket: its group reads, root and the server's own user change, others hear whom to ask as."""
    if os.geteuid() != 0:
        print("     needs root")
        return
    if subprocess.run(["test", "-x", BINARY], user="nobody").returncode != 0:
        print("     the user nobody cannot run %s" % BINARY)
        return
    with Tern(CONFIG, files={"s.lua": SCRIPT}).start() as t:
        _, text = send(t, "odd")
        ident = queue_id(text)
        spool = os.path.join(t.dir, "spool")
        os.chmod(spool, 0o711)  # so that it is the socket that says yes or no
        r = ask_as(t, "nobody", "nogroup", "status")
        assert r.returncode == 75 and "ask as root or as the user it runs as" in r.stderr, (r.returncode, r.stderr)
        assert ask_as(t, "nobody", 0, "status").returncode == 0
        assert ident in ask_as(t, "nobody", 0, "queue", "list").stdout
        for words in (("queue", "release", ident), ("queue", "delete", ident), ("reload",)):
            r = ask_as(t, "nobody", 0, *words)
            assert r.returncode != 0 and "root" in r.stderr + r.stdout, (words, r.returncode, r.stdout, r.stderr)
        assert len(t.queue()) == 1
        assert t.cli("queue", "release", ident).returncode == 0


def test_help_finds_keys_sections_modules():
    for word, wanted in (("hostname", "Name in the banner"), ("limits", "limits.errors"), ("limits.errors", "default 20"),
                         ("timeout", "steps.timeout"), ("steps", "steps.when"), ("smtp", "smtp.connections_max"),
                         ("greylist.delay", "1s to 1d, default 5m"), ("maildir", "maildir.line_ends"),
                         ("routes", "routes.rules[].pattern"), ("kv_lmdb", "kv.size_max"), ("spf.fail", "one of next | reject, default next")):
        r = tern("help", word)
        assert r.returncode == 0 and wanted in r.stdout, (word, r.stdout, r.stderr)
    r = tern("help", "nonsense")
    assert r.returncode == 1 and "tern help all" in r.stderr, r.stderr


SLIPS = """
hostname: mx.test
listeners:
  a: { bind: "127.0.0.1:{port}", policy: inbound }
  b: { bind: "127.0.0.1:1", policy: outbound }
tables: { hosted: { file: hosted.txt } }
policies:
  inbound:
    - dnsbl: { zones: [list.example.org] }
    - domains: { local: { table: hosted }, recipients: [alice@example.org], networks: [10.0.0.0/8, 192.168.0.0/16] }
  outbound:
    - domains: { relay: [example.net] }
    - dkim_sign: { selector: s1, key: "keys/%{domain}.pem", missing_key: skip }
transports:
  boxes: { type: maildir, path: "{dir}/mail/%{user}" }
routes:
  - { class: local, transport: boxes }
  - { class: [relay, client], transport: smtp }
"""


def test_check_tells_what_people_get_wrong():
    """Once each, by its place, and nothing else: no line of the log, no second mistake that is none."""
    rows = [
        ("", "", 0, ""),
        ("127.0.0.1:1\"", "127.0.0.1:{port}\"", 1, '5:14: error: bind: listener "a" (line 4) has the address 127.0.0.1:{port} already'),
        ("{ table: hosted }", "hosted", 0, '10:25: warning: this is a list with the entry "hosted"; the table of that name is { table: hosted }'),
        ("class: local, t", "class: client, t", 0, "10:25: warning: no rule of routes: takes class local, nor names a domain, address or "
         "pattern: what is claimed here would wait for ever"),
        ("class: local, t", "domain: { table: hosted }, t", 0, ""),
        ("[relay, client]", "[client]", 0, "12:25: warning: no rule of routes: takes class relay, nor names a domain, address or pattern: "
         "what is claimed here would wait for ever"),
        ("10.0.0.0/8", "0.0.0.0/0", 0, "10:87: warning: domains.networks: this is the whole Internet: who connects may send to anybody, "
         "which is an open relay"),
        ("10.0.0.0/8", '"::/0"', 0, "10:87: warning: domains.networks: this is the whole Internet: who connects may send to anybody, "
         "which is an open relay"),
        ("[list.example.org]", '["https://list.example.org"]', 1,
         '9:23: error: dnsbl.zones: "https://list.example.org" is no domain name such as zen.spamhaus.org'),
        ("hosted.txt", "hostd.txt", 1, "6:27: error: cannot read the table {dir}/hostd.txt: No such file or directory"),
        ("boxes }", "boxxes }", 1, '17:32: error: routes.rules[0].transport: there is no transport "boxxes" in transports:'),
        ("%{user}", "%{mailbox}", 1, '15:33: error: transport boxes.path: "%{mailbox}" is no variable; there are %{user}, %{local}, '
         '%{domain}, and %{home} at the beginning'),
        ("%{user}", "%u", 0, '15:33: warning: transport boxes.path: "%u" stands for itself; variables are %{user}, %{local}, '
         '%{domain}, and %{home} at the beginning'),
        ("%{domain}.pem", "%{sender}.pem", 1, '13:39: error: dkim_sign.key: "%{sender}.pem": there is %{domain} only'),
        ("boxes:", 'home: { type: smtp, to: [h.example], tls: verify, auth: { user: u, password: !env TERN_UNSET_X } }\n  boxes:', 1,
         "15:80: error: environment variable TERN_UNSET_X is not set"),
    ]
    for before, after, status, wanted in rows:
        assert before in SLIPS, before
        t = Tern(SLIPS.replace(before, after, 1), files={"hosted.txt": "example.org\n"})
        r = t.cli("check", check=False)
        said = r.stderr.replace(t.dir + "/tern.yaml", "tern.yaml").replace(t.dir, "{dir}").replace(str(t.port), "{port}").splitlines()
        shutil.rmtree(t.dir)
        want = ["tern.yaml:" + wanted] * (wanted != "") + ["tern.yaml: 1 error"] * status
        assert r.returncode == status and said == want, "%s -> %s:\n  %s\nwanted\n  %s" % (before, after, said, want)


def test_check_of_what_is_hardly_a_configuration():
    """Sections that are missing, or are something else than they should be: an error, and no more."""
    routes = "routes: [ { class: local, transport: lmtp, to: [h.example] } ]\n"
    step = "policies: { inbound: [ domains: { local: [example.org] } ] }\n"
    for text in (routes, routes + "policies: [ domains ]\n", routes + "policies: x\n", routes + "policies:\n",
                 routes + "policies: { inbound: { domains: { local: [a] } } }\n", step + "routes: { class: local }\n", step + "routes: x\n",
                 step + "routes: [ local, [ { class: local } ], { class: { local: x } } ]\n", routes + "policies: { inbound: [ [ domains ], spf: ] }\n"):
        t = Tern('listeners: { a: { bind: "127.0.0.1:1", policy: inbound } }\n' + text)
        r = t.cli("check", check=False)
        shutil.rmtree(t.dir)
        assert r.returncode == 1 and "error: " in r.stderr, (text, r.returncode, r.stderr)


def test_how_commands_are_used():
    """COMMAND --help is no mistake; what a command does not know it refuses; a file that cannot be read says why."""
    for command in ("serve", "milter", "check", "hooks", "reload", "status", "metrics", "queue", "why", "test", "new", "passwd",
                    "dkim", "dmarc", "help"):
        for word in ("--help", "-h"):
            r = tern(command, word)
            assert r.returncode == 0 and r.stderr.startswith("usage: tern " + command), (command, word, r.returncode, r.stderr)
        assert "\n  %-8s " % command in tern("help").stdout, command
        r = tern(command, "--no-such")
        assert r.returncode == 2 and "usage: tern " + command in r.stderr, (command, r.returncode, r.stderr)
    for words in (("check", "--json"), ("metrics", "--json"), ("reload", "--json"), ("test", "-c", "x.yaml", "x.smtpt"), ("serve", "now")):
        r = tern(*words)
        assert r.returncode == 2 and "usage: tern " + words[0] in r.stderr, (words, r.returncode, r.stderr)
    r = tern("test", "/nonexistent.smtpt")
    assert r.returncode == 1 and "/nonexistent.smtpt: cannot be read: No such file" in r.stderr, r.stderr
    with open(os.path.join(ROOT, "core", "include", "tern", "module.h")) as f:
        abi = [line.split()[2] for line in f if line.startswith(("#define TERN_ABI_MAJOR ", "#define TERN_ABI_MINOR "))]
    assert tern("--version").stdout.rstrip().endswith("module ABI " + ".".join(abi)), abi


def test_the_unit_is_one():
    if shutil.which("systemd-analyze") is None:
        print("     systemd-analyze is not installed")
        return
    for unit in ("tern.service", "tern-milter.service"):
        r = subprocess.run(["systemd-analyze", "verify", os.path.join(ROOT, "contrib", unit)], capture_output=True,
                           text=True, timeout=60 * SLOW)
        wrong = [line for line in r.stderr.splitlines() if unit in line and "is not executable" not in line]
        assert not wrong, wrong


if __name__ == "__main__":
    run([test_why_says_what_failed_who_claimed_and_why_it_is_held, test_nothing_of_a_client_steers_the_terminal,
         test_a_list_that_does_not_answer_is_named,
         test_a_slip_in_the_name_of_a_module, test_no_server_and_no_folder, test_a_spool_of_somebody_else,
         test_fsck_by_root_leaves_all_to_the_server, test_who_may_read_and_who_may_change,
         test_help_finds_keys_sections_modules, test_check_tells_what_people_get_wrong,
         test_check_of_what_is_hardly_a_configuration, test_how_commands_are_used, test_the_unit_is_one])
