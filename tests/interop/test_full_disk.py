#!/usr/bin/python3
"""A full disk: a small tmpfs as the spool. 452, nothing half accepted, and mail again once there is room."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import Client, Tern, queue_id, run, wait_for

SIZE = 12 << 20
CONFIG = """
hostname: mx.test
loops: 2
drain: 1s
spool: { path: "{dir}/disk/spool", segment_size: 1MB, min_free: {min_free}, reserve: 512KB, spares: 1 }
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies: { inbound: [ domains: { local: [example.org] } ] }
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
limits: { messages: 0, commands: 100000 }
"""
BODY = "Subject: fills\n\n" + ("x" * 70 + "\n") * 1400


class SmallDisk(Tern):
    """A server whose spool is on a tmpfs of SIZE octets."""

    def __enter__(self):
        self.disk = os.path.join(self.dir, "disk")
        os.mkdir(self.disk)
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d,mode=755" % SIZE, "tmpfs", self.disk],
                           capture_output=True, text=True)
        if r.returncode != 0:
            self.process = None
            super().__exit__(None, None, None)
            print("SKIP: a tmpfs cannot be mounted here: " + r.stderr.strip())
            sys.exit(77)
        return self

    def __exit__(self, *exc):
        try:
            self.stop()
        finally:
            subprocess.run(["umount", "-l", self.disk])
        super().__exit__(*exc)

    def free(self):
        s = os.statvfs(self.disk)
        return s.f_bavail * s.f_frsize


def fill(client):
    """Sends until it is refused; (queue ids accepted, the refusal)."""
    ids = []
    while len(ids) < 1000:
        code, text = client.mail("a@client.example", ["alice@example.org"], BODY, helo=None)
        if code != 250:
            return ids, (code, text)
        ids.append(queue_id(text))
    raise AssertionError("the disk never filled")


def is_452(reply):
    code, text = reply
    return code == 452 and text.startswith("4.3.1")


def test_min_free_and_recovery():
    with SmallDisk(CONFIG + "delivery: false\n", min_free="3MB") as t:
        t.start()
        c = Client(t.port)
        c.cmd("EHLO client.example")
        ids, refusal = fill(c)
        assert is_452(refusal), refusal
        assert len(ids) > 10 and sorted(m["id"] for m in t.queue()) == sorted(ids)
        assert c.cmd("NOOP")[0] == 250, "the session goes on"
        assert is_452(c.cmd("MAIL FROM:<a@client.example>"))
        # Room again: the server notices by itself.
        for ident in ids:
            t.cli("queue", "delete", ident)
        wait_for(lambda: c.cmd("RSET")[0] == 250 and c.cmd("MAIL FROM:<a@client.example>")[0] == 250, 30, every=0.2)
        c.cmd("RSET")
        code, text = c.mail("a@client.example", ["alice@example.org"], BODY, helo=None)
        assert code == 250, text
        assert [m["id"] for m in t.queue()] == [queue_id(text)]


def test_disk_filled_by_somebody_else():
    """The last octet is gone under a running server, in the middle of mail; then it comes back."""
    with SmallDisk(CONFIG + "delivery: false\n", min_free="0") as t:
        t.start()
        c = Client(t.port)
        c.cmd("EHLO client.example")
        code, text = c.mail("a@client.example", ["alice@example.org"], BODY, helo=None)
        assert code == 250, text
        ids = [queue_id(text)]
        hog = os.path.join(t.disk, "hog")
        with open(hog, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 65536)
            except OSError:
                pass
        more, refusal = fill(c)  # what fits into the segment that is there is still taken
        ids += more
        assert refusal[0] in (451, 452) and refusal[1].startswith("4.3."), refusal
        assert sorted(m["id"] for m in t.queue()) == sorted(ids)
        os.unlink(hog)

        def accepted():
            """mail is taken again"""
            code, text = c.mail("a@client.example", ["alice@example.org"], "Subject: back\n\nx\n", helo=None)
            if code == 250:
                ids.append(queue_id(text))
            else:
                c.cmd("RSET")
            return code == 250

        wait_for(accepted, 30, every=0.2)
        # A crash now: what was acknowledged is there, what was refused is not.
        t.stop(signal.SIGKILL)
        t.start()
        wait_for(lambda: sorted(m["id"] for m in t.queue()) == sorted(ids))  # it lists them as it finds them
        c.close()
        assert t.stop() == 0
        fsck = t.cli("queue", "fsck", check=False)
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr


def test_delivery_frees_a_full_disk():
    with SmallDisk(CONFIG + "delivery: false\n", min_free="1MB") as t:
        t.start()
        c = Client(t.port)
        c.cmd("EHLO client.example")
        ids, refusal = fill(c)
        assert is_452(refusal), refusal
        t.write_config(CONFIG)
        t.cli("reload")
        wait_for(lambda: t.queue() == [] and len(t.maildir("alice")) == len(ids), 60, every=0.2)
        c.close()  # one of the old configuration is sent away after `drain`
        c = Client(t.port)
        c.cmd("EHLO client.example")
        wait_for(lambda: c.cmd("RSET")[0] == 250 and c.cmd("MAIL FROM:<a@client.example>")[0] == 250, 30, every=0.2)
        c.close()


if __name__ == "__main__":
    run([test_min_free_and_recovery, test_disk_filled_by_somebody_else, test_delivery_frees_a_full_disk])
