#!/usr/bin/python3
"""Runs every .smtpt file of tests/dialogue through `tern test`: each must pass whole, and those in bad/ must fail
with the lines they want ("# want: ..." at their end)."""
import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from ternlib import BINARY, MODULES, SLOW, run


def tern_test(files, cwd):
    return subprocess.run([BINARY, "test", *files], env=dict(os.environ, TERN_MODULE_PATH=MODULES), cwd=cwd,
                          timeout=120 * SLOW, capture_output=True, text=True)


def test_good():
    files = sorted(glob.glob(os.path.join(HERE, "*.smtpt"))
                   + glob.glob(os.path.join(HERE, "..", "..", "lua", "examples", "*.smtpt")))
    assert files
    r = tern_test(files, HERE)
    sys.stdout.write(r.stdout)
    assert r.returncode == 0, r.stderr


def test_bad():
    folder = os.path.join(HERE, "bad")
    files = sorted(os.listdir(folder))
    assert len(files) > 20
    wrong = []
    for name in files:
        with open(os.path.join(folder, name)) as f:
            want = "".join(line[len("# want: "):] for line in f if line.startswith("# want: "))
        r = tern_test([name], folder)
        if r.returncode != 1 or r.stderr != want or not r.stdout.endswith("0 passed, 1 failed\n"):
            wrong.append("%s: status %d\nwant %ssaid %s%s" % (name, r.returncode, want, r.stderr, r.stdout))
    assert not wrong, "\n".join(wrong)


def test_one_bad_does_not_hide_the_others():
    """Every file runs; the sum counts all of them."""
    good = tern_test(["greylist.smtpt"], HERE).stdout.splitlines()
    r = tern_test(["bad/word.smtpt", "greylist.smtpt", "no-such.smtpt", "bad/reply.smtpt"], HERE)
    assert r.returncode == 1
    assert "no-such.smtpt: cannot be read" in r.stderr, r.stderr
    assert good[0] in r.stdout.splitlines(), r.stdout
    assert r.stdout.endswith(good[1].replace("0 failed", "3 failed") + "\n"), r.stdout


def test_a_file_that_is_not_there_is_no_success():
    r = tern_test(["no-such.smtpt"], HERE)
    assert r.returncode == 1 and r.stdout == "0 passed, 1 failed\n", (r.returncode, r.stdout)


if __name__ == "__main__":
    run([test_good, test_bad, test_one_bad_does_not_hide_the_others, test_a_file_that_is_not_there_is_no_success])
