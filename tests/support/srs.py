"""srs.py - other people's SRS: postsrsd as a server on loopback, Mail::SRS by its command."""
import os
import socket
import subprocess

from peers import Process, program
from ternlib import SLOW, can_connect, free_port, wait_for


class Postsrsd(Process):
    """postsrsd 1, with its two tables over TCP."""

    def __init__(self, domain, secrets, *options):
        super().__init__("tern-postsrsd-")
        file = os.path.join(self.dir, "secrets")
        with open(file, "w") as f:
            f.write(secrets)
        self.ports = {"forward": free_port(), "reverse": free_port()}
        self.start(program("postsrsd"), "-4", "-l127.0.0.1", "-s" + file, "-d" + domain, "-f%d" % self.ports["forward"],
                   "-r%d" % self.ports["reverse"], *options)
        for port in self.ports.values():
            wait_for(lambda: can_connect(port), 20)

    def ask(self, table, address):
        """The address it answers with; None: it does not change it."""
        with socket.create_connection(("127.0.0.1", self.ports[table]), 20 * SLOW) as s:
            s.sendall(b"get " + address.encode() + b"\n")
            code, text = s.makefile().readline().strip().split(" ", 1)
        return text if code == "200" else None


def mail_srs(secret, questions, separator="="):
    """What Mail::SRS makes of them: (address, domain) forward, (address, None) reverse; None: it dies of it."""
    script = r"""use Mail::SRS; my $s = new Mail::SRS(Secret => [$ARGV[0]], Separator => $ARGV[1]); while (<STDIN>) { chomp;
        my ($a, $d) = split /\t/; my $r = eval { $d ? $s->forward($a, $d) : $s->reverse($a) }; print defined $r ? $r : "-", "\n" }"""
    r = subprocess.run(["perl", "-e", script, secret, separator], input="".join("%s\t%s\n" % (a, d or "") for a, d in questions),
                       capture_output=True, text=True, timeout=60 * SLOW, check=True)
    return [None if line == "-" else line for line in r.stdout.splitlines()]
