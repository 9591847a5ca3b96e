"""dkimpeers.py - other people's DKIM, and a DNS server that answers what a test says.

dkimpy, Mail::DKIM and OpenDKIM sign and verify octets with CRLF; none of them asks a name server outside.
"""
import ctypes
import os
import re
import struct
import subprocess
import sys
import tempfile

from dnsserver import DnsServer
from ternlib import SHARED, SLOW, rsa_key


EACH = int(os.environ.get("TERN_EACH_MAIL", "1"))  # of the corpus of messages


class Dns(DnsServer):
    """`txt`: name -> text, a list of texts, "!SERVFAIL", or "!timeout"; other names do not exist, or have `otherwise`."""

    def __init__(self, txt=None, otherwise=None):
        super().__init__()
        self.otherwise = otherwise
        self.txt = {k.lower(): v for k, v in (txt or {}).items()}
        self.asked = []

    def put(self, name, text):
        self.txt[name.lower()] = text

    def answer_to(self, name, number):
        self.asked.append(name)
        value = self.txt.get(name, self.otherwise)
        if value == "!timeout":
            return None
        code = 2 if value == "!SERVFAIL" else 3 if value is None else 0
        texts = [] if code or number != 16 else [value] if isinstance(value, str) else value
        return code, b"".join(self.record(t.encode("utf-8")) for t in texts), len(texts)

    @staticmethod
    def record(text):
        data = b"".join(bytes([len(text[i:i + 255])]) + text[i:i + 255] for i in range(0, max(len(text), 1), 255))
        return b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 300, len(data)) + data


def crlf(data):
    data = data if isinstance(data, bytes) else data.encode()
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def messages():
    """Every mail that Tern takes, with CRLF line ends; a leading "From " line of an mbox left out. With $TERN_EACH_MAIL each n-th."""
    folder = os.path.join(SHARED, "corpora", "messages")
    number = 0
    for path, _, names in sorted(os.walk(folder)):
        for n in sorted(names):
            number += 1
            if number % EACH != 0:
                continue
            with open(os.path.join(path, n), "rb") as f:
                data = re.sub(rb"\r?\n", b"\r\n", f.read())
            if not data.endswith(b"\r\n"):
                data += b"\r\n"
            yield os.path.join(os.path.relpath(path, folder), n), data


def enough(count, least):
    """Whether that many came through, of which `least` must of the whole corpus."""
    return count >= least // EACH - (10 if EACH > 1 else 0)


def from_fields(data):
    return len(re.findall(rb"(?im)^from[ \t]*:", data.split(b"\r\n\r\n")[0]))


class Key:
    """A key pair in files: `pem`, and the record to publish."""

    def __init__(self, folder, name, kind="rsa", bits=2048):
        self.kind = kind
        self.path = os.path.join(folder, name + ".pem")
        if kind == "rsa" and bits == 2048:
            rsa_key(self.path)
        else:
            how = ["-algorithm", "ED25519"] if kind == "ed25519" else ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:%d" % bits]
            subprocess.run(["openssl", "genpkey", *how, "-out", self.path], check=True, capture_output=True, timeout=120 * SLOW)
        os.chmod(self.path, 0o600)
        with open(self.path, "rb") as f:
            self.pem = f.read()
        der = subprocess.run(["openssl", "pkey", "-in", self.path, "-pubout", "-outform", "DER"], check=True,
                             capture_output=True).stdout
        import base64
        self.p = base64.b64encode(der[-32:] if kind == "ed25519" else der).decode()
        self.record = "v=DKIM1; k=%s; p=%s" % (kind, self.p)

    def seed(self):
        """What dkimpy wants of an Ed25519 key: the seed in base64."""
        import base64
        der = subprocess.run(["openssl", "pkey", "-in", self.path, "-outform", "DER"], check=True, capture_output=True).stdout
        return base64.b64encode(der[-32:])


ALL = ((b"relaxed", b"relaxed"), (b"simple", b"simple"), (b"relaxed", b"simple"), (b"simple", b"relaxed"))


class Dkimpy:
    name, kinds, canons = "dkimpy", ("rsa", "ed25519"), ALL

    @staticmethod
    def sign(message, key, domain="example.net", selector="s1", canon=(b"relaxed", b"relaxed"), **more):
        import dkim
        data = dkim.sign(message, selector.encode(), domain.encode(), key.pem if key.kind == "rsa" else key.seed(),
                         canonicalize=canon, signature_algorithm=b"rsa-sha256" if key.kind == "rsa" else b"ed25519-sha256", **more)
        return crlf(data) + message

    @staticmethod
    def verify(message, txt):
        """A verdict for each signature, from the top."""
        import dkim

        def ask(name, timeout=5):
            name = name.decode() if isinstance(name, bytes) else name
            value = txt.get(name.rstrip(".").lower())
            return value.encode() if value else None

        count = len(dkim.DKIM(message).headers) and sum(
            1 for n, _ in dkim.DKIM(message).headers if n.lower() == b"dkim-signature")
        verdicts = []
        for i in range(count):
            try:
                verdicts.append(dkim.DKIM(message, minkey=1024).verify(idx=i, dnsfunc=ask))
            except dkim.DKIMException as e:
                verdicts.append(str(e))
        return verdicts


PERL_SIGN = r"""
use Mail::DKIM::Signer; use Mail::DKIM::PrivateKey;
my ($file, $algorithm, $method, $domain, $selector) = @ARGV;
my $key = Mail::DKIM::PrivateKey->load(File => $file);
my $s = Mail::DKIM::Signer->new(Algorithm => $algorithm, Method => $method, Domain => $domain, Selector => $selector, Key => $key);
binmode STDIN; binmode STDOUT; local $/; my $m = <STDIN>; $s->PRINT($m); $s->CLOSE; my $v = $s->signature->as_string;
$v =~ s/\015?\012/\015\012/g; print $v, "\015\012", $m;
"""
PERL_VERIFY = r"""
use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use Net::DNS;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $ARGV[0], recurse => 1, udp_timeout => 5));
binmode STDIN; local $/; my $m = <STDIN>; my $v = Mail::DKIM::Verifier->new(); $v->PRINT($m); $v->CLOSE;
print join("\n", map { $_->result_detail } $v->signatures), "\n";
"""


PERL_VERIFY_FILES = r"""
use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use Net::DNS;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => shift, recurse => 1, udp_timeout => 5));
local $/; for my $path (@ARGV) { open my $f, '<:raw', $path or die; my $m = <$f>; my $v = Mail::DKIM::Verifier->new();
$v->PRINT($m); $v->CLOSE; my $t = join("|", map { $_->result_detail } $v->signatures); $t =~ tr{\015\012}{  }; print "$t\n"; }
"""


class MailDkim:
    name, kinds, canons = "Mail::DKIM", ("rsa",), ALL  # that of Debian 12 knows no Ed25519

    @staticmethod
    def sign(message, key, domain="example.net", selector="s1", canon=(b"relaxed", b"relaxed")):
        return subprocess.run(["perl", "-e", PERL_SIGN, key.path, "rsa-sha256", b"/".join(canon).decode(), domain, selector],
                              input=message, check=True, capture_output=True, timeout=60 * SLOW).stdout

    @staticmethod
    def verify_files(paths, port):
        """For each file, what it says of each signature."""
        r = subprocess.run(["perl", "-e", PERL_VERIFY_FILES, str(port), *paths], check=True, capture_output=True,
                           timeout=600 * SLOW)
        return [line.split("|") for line in r.stdout.decode().split("\n")[:-1]]

    @staticmethod
    def verify(message, port):
        r = subprocess.run(["perl", "-e", PERL_VERIFY, str(port)], input=message, check=True, capture_output=True,
                           timeout=120 * SLOW)
        return r.stdout.decode().split("\n")[:-1]


class OpenDkim:
    """libopendkim itself; its command line signs with SHA-1 only."""
    name, kinds, canons = "OpenDKIM", ("rsa",), ALL
    lib = None
    OPTION_QUERY, OPTION_INFO, RSA_SHA256, FROM_FILE = 6, 7, 1, 1

    @classmethod
    def library(cls):
        if cls.lib is None:
            cls.lib = ctypes.CDLL("libopendkim.so.11")
            for name in ("dkim_init", "dkim_sign", "dkim_verify"):
                getattr(cls.lib, name).restype = ctypes.c_void_p
            cls.lib.dkim_sig_geterrorstr.restype = ctypes.c_char_p
        return cls.lib

    @classmethod
    def feed(cls, dkim, message):
        head, _, body = message.partition(b"\r\n\r\n")
        for field in re.split(rb"\r\n(?![ \t])", head):
            assert field, "it takes no empty header"
            status = cls.lib.dkim_header(dkim, field, ctypes.c_size_t(len(field)))
            assert status == 0, (status, field)
        status = cls.lib.dkim_eoh(dkim)
        if status == 0 and body:
            cls.lib.dkim_body(dkim, body, ctypes.c_size_t(len(body)))
        return status or cls.lib.dkim_eom(dkim, None)

    @classmethod
    def sign(cls, message, key, domain="example.net", selector="s1", canon=(b"relaxed", b"relaxed")):
        lib, status = cls.library(), ctypes.c_int()
        handle = ctypes.c_void_p(lib.dkim_init(None, None))
        how = [ctypes.c_int(c == b"relaxed") for c in canon]
        dkim = ctypes.c_void_p(lib.dkim_sign(handle, b"test", None, key.pem + b"\0", selector.encode(), domain.encode(), *how,
                                             cls.RSA_SHA256, ctypes.c_ssize_t(-1), ctypes.byref(status)))
        assert dkim.value, status.value
        assert cls.feed(dkim, message) == 0
        out, octets = ctypes.c_char_p(), ctypes.c_size_t()
        assert lib.dkim_getsighdr_d(dkim, ctypes.c_size_t(16), ctypes.byref(out), ctypes.byref(octets)) == 0
        field = b"DKIM-Signature: " + ctypes.string_at(out, octets.value)
        lib.dkim_free(dkim)
        lib.dkim_close(handle)
        return crlf(field) + b"\r\n" + message

    @classmethod
    def verify(cls, message, txt):
        """0 if the signature that it picks is good, else one of its numbers."""
        lib, status = cls.library(), ctypes.c_int()
        handle = ctypes.c_void_p(lib.dkim_init(None, None))
        with tempfile.NamedTemporaryFile("w") as f:
            for name, text in txt.items():
                f.write("%s %s\n" % (name, text))
            f.flush()
            method = ctypes.c_int(cls.FROM_FILE)
            path = f.name.encode()
            assert lib.dkim_options(handle, 1, cls.OPTION_QUERY, ctypes.byref(method), ctypes.c_size_t(4)) == 0
            assert lib.dkim_options(handle, 1, cls.OPTION_INFO, path, ctypes.c_size_t(len(path))) == 0
            dkim = ctypes.c_void_p(lib.dkim_verify(handle, b"test", None, ctypes.byref(status)))
            assert dkim.value, status.value
            result = cls.feed(dkim, message)
        lib.dkim_free(dkim)
        lib.dkim_close(handle)
        return result


def need_peers():
    """Skips the test (exit 77), saying so, when one of them is not installed."""
    try:
        import dkim  # noqa: F401
        import nacl  # noqa: F401
        OpenDkim.library()
        subprocess.run(["perl", "-MMail::DKIM", "-e", "1"], check=True, capture_output=True)
    except (ImportError, OSError, subprocess.CalledProcessError) as e:
        print("SKIP: %s" % e)
        sys.exit(77)
