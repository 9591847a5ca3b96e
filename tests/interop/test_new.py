#!/usr/bin/python3
"""`tern new filter NAME` end to end: the skeleton passes its own test, fails it when it is broken, and refuses mail."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BINARY, MODULES, SLOW, Client, Tern, run

CONFIG = """
hostname: mx.test
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org] }
    - lua: { script: "{filter}" }
transports: { boxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [{ class: local, transport: boxes }]
"""


def tern(folder, *words):
    return subprocess.run([BINARY, *words], cwd=folder, env=dict(os.environ, TERN_MODULE_PATH=MODULES),
                          capture_output=True, text=True, timeout=60 * SLOW)


class Folder:
    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="tern-new-")
        os.chmod(self.path, 0o755)
        return self.path

    def __exit__(self, *unused):
        shutil.rmtree(self.path, ignore_errors=True)


def test_filter_passes_its_own_test():
    with Folder() as folder:
        r = tern(folder, "new", "filter", "no_spam")
        assert r.returncode == 0, r.stderr
        written = [line for line in r.stdout.splitlines() if line.startswith("no_spam/")]
        assert sorted(written) == ["no_spam/no_spam.lua", "no_spam/no_spam.smtpt"], r.stdout
        command = [line for line in r.stdout.splitlines() if line.startswith("next: tern ")][0][len("next: tern "):]
        r = tern(folder, *command.split())
        assert r.returncode == 0 and "2 passed, 0 failed" in r.stdout, (r.stdout, r.stderr)


def test_a_broken_filter_fails_it():
    with Folder() as folder:
        assert tern(folder, "new", "filter", "no_spam").returncode == 0
        path = os.path.join(folder, "no_spam", "no_spam.lua")
        text = open(path).read()
        assert "tern.reject(550" in text
        open(path, "w").write(text.replace("tern.reject(550", "tern.defer(450").replace("5.7.1", "4.7.1"))
        r = tern(folder, "test", "no_spam/no_spam.smtpt")
        assert r.returncode == 1, r.stdout
        assert 'expected "550 5.7.1 Mail from junk.example is not taken here", the server said "450 4.7.1' in r.stderr, r.stderr


def test_never_over_anything():
    with Folder() as folder:
        assert tern(folder, "new", "filter", "no_spam").returncode == 0
        r = tern(folder, "new", "filter", "no_spam")
        assert r.returncode == 1 and "no_spam" in r.stderr, r.stderr


def test_filter_in_the_server():
    with Folder() as folder:
        assert tern(folder, "new", "filter", "no_spam").returncode == 0
        with Tern(CONFIG, filter=os.path.join(folder, "no_spam", "no_spam.lua")).start() as t:
            c = Client(t.port)
            code, text = c.mail("a@spam.example", ["you@example.org"], "x\n")
            assert code == 550 and "Mail from spam.example is not taken here" in text, (code, text)
            code, text = c.mail("a@friend.example", ["you@example.org"], "x\n", helo=None)
            assert code == 250, (code, text)
            c.close()


if __name__ == "__main__":
    run([test_filter_passes_its_own_test, test_a_broken_filter_fails_it, test_never_over_anything,
         test_filter_in_the_server])
