"""arcpeers.py - other people's ARC: dkimpy and Mail::DKIM seal and verify octets with CRLF; and chains made by hand."""
import base64
import hashlib
import re
import subprocess
import sys

from dkimpeers import crlf
from ternlib import SLOW


class Dkimpy:
    name = "dkimpy"

    @staticmethod
    def seal(message, key, domain, results, selector="s1", cv="none"):
        """The message with one more set. `results`: what stands behind the authserv-id."""
        import dkim
        field = crlf("Authentication-Results: mx.%s; arc=%s; %s\n" % (domain, cv, results))
        fields = dkim.arc_sign(field + message, selector.encode(), domain.encode(), key.pem, b"mx." + domain.encode(),
                               include_headers=[b"from", b"to", b"subject", b"date", b"message-id"])
        assert fields, "it did not seal"
        return crlf(b"".join(f.rstrip(b"\r\n") + b"\r\n" for f in fields)) + message

    @staticmethod
    def verify(message, txt):
        """("pass", ...); None for one that ended: then the second word says so."""
        import dkim

        def ask(name, timeout=5):
            name = name.decode() if isinstance(name, bytes) else name
            value = txt.get(name.rstrip(".").lower())
            return value.encode() if value else None

        cv, _, reason = dkim.ARC(message).verify(dnsfunc=ask)
        return cv.decode() if cv else None, reason


PERL_SEAL = r"""
use Mail::DKIM::ARC::Signer;
my ($file, $domain, $selector, $chain) = @ARGV;
my $s = Mail::DKIM::ARC::Signer->new(Algorithm => 'rsa-sha256', Chain => $chain, Domain => $domain, SrvId => "mx.$domain",
    Selector => $selector, KeyFile => $file, Headers => 'from:to:subject:date:message-id');
binmode STDIN; binmode STDOUT; local $/; my $m = <STDIN>; $s->PRINT($m); $s->CLOSE;
die $s->{result} . ': ' . ($s->{details} // '') unless $s->result eq 'sealed';
my @f = $s->as_strings(); for (@f) { s/\015?\012/\015\012/g; s/(\015\012)*\z/\015\012/; print } print $m;
"""
PERL_VERIFY = r"""
use Mail::DKIM::ARC::Verifier; use Mail::DKIM::DNS; use Net::DNS;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $ARGV[0], recurse => 1, udp_timeout => 5));
binmode STDIN; local $/; my $m = <STDIN>; my $v = Mail::DKIM::ARC::Verifier->new(); $v->PRINT($m); $v->CLOSE;
print $v->result, "\n", $v->result_detail, "\n";
"""


PERL_VERIFY_FILES = r"""
use Mail::DKIM::ARC::Verifier; use Mail::DKIM::DNS; use Net::DNS;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => shift, recurse => 1, udp_timeout => 5));
local $/; for my $path (@ARGV) { open my $f, '<:raw', $path or die; my $m = <$f>; my $v = Mail::DKIM::ARC::Verifier->new();
$v->PRINT($m); $v->CLOSE; my $t = $v->result_detail; $t =~ tr{\015\012}{  }; print "$t\n"; }
"""


class MailDkim:
    name = "Mail::DKIM"

    @staticmethod
    def verify_files(paths, port):
        r = subprocess.run(["perl", "-e", PERL_VERIFY_FILES, str(port), *paths], check=True, capture_output=True, timeout=600 * SLOW)
        return r.stdout.decode("latin-1").split("\n")[:-1]

    @staticmethod
    def seal(message, key, domain, results, selector="s1", cv="none"):
        field = crlf("Authentication-Results: mx.%s; arc=%s; %s\n" % (domain, cv, results))
        r = subprocess.run(["perl", "-e", PERL_SEAL, key.path, domain, selector, cv], input=field + message, check=True,
                           capture_output=True, timeout=60 * SLOW)
        return r.stdout.replace(field, b"", 1)

    @staticmethod
    def verify(message, port):
        r = subprocess.run(["perl", "-e", PERL_VERIFY, str(port)], input=message, check=True, capture_output=True,
                           timeout=120 * SLOW)
        return tuple(r.stdout.decode().split("\n")[:2])


# ---- by hand: whatever tags, signed with Ed25519 ----

NAMES = ("ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal")


def unfolded(field):
    """Relaxed."""
    name, value = field.split(b":", 1)
    value = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name.strip().lower() + b":" + value


def body_hash(body):
    body = re.sub(rb"(\r\n)*$", b"", body) + b"\r\n"
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def tag_list(tags, drop):
    return "; ".join("%s=%s" % t for t in tags.items() if t[0] not in drop and t[1] is not None)


class Chain:
    """Sets by one Ed25519 key, with tags of the test's own; `message` grows."""

    def __init__(self, key, message, selector="e1"):
        import nacl.signing
        self.sign = nacl.signing.SigningKey(base64.b64decode(key.seed())).sign
        self.message = message
        self.selector = selector
        self.sealed = []  # fields, the oldest first
        self.count = 0

    def b(self, *fields):
        digest = hashlib.sha256(b"\r\n".join(unfolded(f) for f in fields)).digest()
        return base64.b64encode(self.sign(digest).signature).decode()

    def ams(self, domain, n, tags, drop):
        head, _, body = self.message.partition(b"\r\n\r\n")
        all_tags = dict({"i": n, "a": "ed25519-sha256", "c": "relaxed/simple", "d": domain, "s": self.selector,
                         "h": "From:Subject", "bh": body_hash(body)}, **tags)
        found = [re.findall(rb"(?ims)^%s[ \t]*:.*?(?=\r\n[^ \t]|\Z)" % name.strip().encode(), head)
                 for name in str(all_tags["h"] or "").split(":") if name.strip()]
        text = "ARC-Message-Signature: " + tag_list(all_tags, drop) + "; b="
        return (text + self.b(*[f[-1] for f in found if f], text.encode())).encode()

    def add(self, domain="list.example", results="mx.list.example; spf=pass; dkim=pass; dmarc=pass", cv=None, n=None,
            ams=None, seal=None, drop=(), alone=False):
        """One more set; ams, seal: tags instead of ours. alone: the seal is of its own set only."""
        self.count += 1
        n = self.count if n is None else n
        aar = ("ARC-Authentication-Results: i=%s; %s" % (n, results)).encode()
        signature = self.ams(domain, n, ams or {}, drop)
        tags = dict({"i": n, "a": "ed25519-sha256", "cv": cv or ("none" if n == 1 else "pass"), "d": domain, "s": self.selector},
                    **(seal or {}))
        text = "ARC-Seal: " + tag_list(tags, drop) + "; b="
        before = [] if alone else self.sealed
        text += self.b(*before, aar, signature, text.encode())
        self.sealed += [aar, signature, text.encode()]
        self.message = b"\r\n".join([text.encode(), signature, aar, self.message])
        return self

    def edit(self, old, new):
        """What the next one has changed before it seals."""
        assert old in self.message
        self.message = self.message.replace(old, new)
        return self


def need_peers():
    """Skips the test (exit 77), saying so, when one of them is not installed."""
    try:
        import authres  # noqa: F401
        import dkim  # noqa: F401
        import nacl  # noqa: F401
        subprocess.run(["perl", "-MMail::DKIM::ARC::Signer", "-e", "1"], check=True, capture_output=True)
    except (ImportError, OSError, subprocess.CalledProcessError) as e:
        print("SKIP: %s" % e)
        sys.exit(77)
