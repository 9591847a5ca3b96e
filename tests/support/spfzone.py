"""spfzone.py - a DNS server for a zone in memory, in the form of the openspf suite.

A zone: name -> list of {type: value} and "TIMEOUT". A question that only TIMEOUT is left for, or whose aliases run in a
circle, gets SERVFAIL.
"""
import socket
import struct

from dnsserver import DnsServer

KINDS = {"A": 1, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
NAMES = {v: k for k, v in KINDS.items()}


class ServFail(Exception):
    pass


class Zone:
    def __init__(self, rows=None):
        self.rows = {}
        self.fails = set()
        for name, values in (rows or {}).items():
            has_txt = any(isinstance(v, dict) and "TXT" in v for v in values)
            for value in values:
                if value == "TIMEOUT":
                    self.fails.add(name.lower())
                    continue
                kind, data = next(iter(value.items()))
                if (kind == "SPF" and has_txt) or data == "NONE":
                    continue
                self.put(name, "TXT" if kind == "SPF" else kind, data)

    def put(self, name, kind, data):
        self.rows.setdefault((name.lower(), kind), []).append(data)

    def find(self, name, kind):
        """(aliases, values); ServFail."""
        aliases, name = [], name.lower().rstrip(".")
        while True:
            values = self.rows.get((name, kind))
            if values:
                return aliases, values
            alias = self.rows.get((name, "CNAME"))
            if name in self.fails or len(aliases) > 8:
                raise ServFail(name)
            if not alias:
                return aliases, []
            aliases.append((name, alias[0].rstrip(".")))
            name = alias[0].lower().rstrip(".")

    def exists(self, name):
        return any(n == name.lower() for n, _ in self.rows)


def wire_name(name):
    labels = [l.encode("latin-1") for l in name.rstrip(".").split(".") if l]
    return b"".join(bytes([len(l)]) + l for l in labels) + b"\0"


def wire_text(value):
    pieces = [p if isinstance(p, bytes) else p.encode("utf-8") for p in (value if isinstance(value, list) else [value])]
    pieces = [p[i:i + 255] for p in pieces for i in range(0, max(len(p), 1), 255)]
    return b"".join(bytes([len(p)]) + p for p in pieces)


def wire_data(kind, value):
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "MX":
        return struct.pack(">H", int(value[0])) + wire_name(value[1])
    return wire_text(value) if kind == "TXT" else wire_name(value)


class Server(DnsServer):
    """`zone` may be changed while it serves. silent: names that get no answer at all."""

    def __init__(self, zone=None):
        super().__init__()
        self.zone = zone or Zone()
        self.silent = set()
        self.asked = []
        self.ttl = 60

    def answer_to(self, name, number):
        kind = NAMES.get(number)
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        try:
            aliases, values = self.zone.find(name, kind)
        except ServFail:
            return 2, b"", 0
        rows = [(n, "CNAME", to) for n, to in aliases] + [(aliases[-1][1] if aliases else name, kind, v) for v in values]
        records = b""
        for owner, k, value in rows:
            data = wire_data(k, value)
            records += wire_name(owner) + struct.pack(">HHIH", KINDS[k], 1, self.ttl, len(data)) + data
        return 0 if rows or self.zone.exists(name) else 3, records, len(rows)
