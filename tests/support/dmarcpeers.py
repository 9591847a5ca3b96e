"""dmarcpeers.py - libopendmarc's verdict on a message. It knows RFC 7489 only, and asks no name server here."""
import ctypes
import ctypes.util

OUTCOMES = {14: "none", 15: "pass", 16: "reject", 17: "quarantine", 18: "no policy"}


class Library(ctypes.Structure):
    _fields_ = [("tld_type", ctypes.c_int), ("tld_source_file", ctypes.c_ubyte * 4096), ("nscount", ctypes.c_int),
                ("nsaddr_list", ctypes.c_ubyte * 48)]


class OpenDmarc:
    NAME = "libopendmarc.so.2"
    lib = None

    @classmethod
    def is_there(cls):
        try:
            ctypes.CDLL(cls.NAME)
            return True
        except OSError:
            return False

    def __init__(self, suffixes):
        """`suffixes`: a file in the form of the public suffix list."""
        lib = self.lib = ctypes.CDLL(self.NAME)
        for name in ("opendmarc_policy_connect_init", "opendmarc_policy_connect_shutdown"):
            getattr(lib, name).restype = ctypes.c_void_p
        self.library = Library(1)
        for i, c in enumerate(suffixes.encode()):
            self.library.tld_source_file[i] = c
        assert lib.opendmarc_policy_library_init(ctypes.byref(self.library)) == 0
        assert lib.opendmarc_tld_read_file(suffixes.encode(), b"//", b"*.", b"!") == 0

    def organizational(self, domain):
        room = ctypes.create_string_buffer(256)
        assert self.lib.opendmarc_get_tld(domain.encode(), room, 256) == 0
        return room.value.decode()

    def judge(self, author, records, spf=None, dkim=()):
        """What it would do: none, pass, reject, quarantine, no policy. `records`: domain -> text; spf, dkim: what passes."""
        lib = self.lib
        ctx = ctypes.c_void_p(lib.opendmarc_policy_connect_init(b"192.0.2.1", 4))
        try:
            assert lib.opendmarc_policy_store_from_domain(ctx, author.encode()) == 0
            org = self.organizational(author)
            text = records.get(author) or records.get(org)
            if text is None:
                return "none"
            # Where the record is of the author itself it wants to be told of no other.
            other = None if author in records else org.encode()
            if lib.opendmarc_policy_store_dmarc(ctx, text.encode(), author.encode(), other) != 0:
                return "broken"
            # Behind the record: a signature that was stored before is looked at as if adkim= were r.
            if spf:
                assert lib.opendmarc_policy_store_spf(ctx, spf.encode(), 1, 1, None) == 0
            for d in dkim:
                assert lib.opendmarc_policy_store_dkim(ctx, d.encode(), b"s1", 1, None) == 0
            return OUTCOMES[lib.opendmarc_get_policy_to_enforce(ctx)]
        finally:
            lib.opendmarc_policy_connect_shutdown(ctx)
