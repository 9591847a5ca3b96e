"""dnsserver.py - a DNS server that answers what a test says: the socket and the question; the answer is its subclass's."""
import socket
import struct
import threading


class DnsServer:
    """UDP on a free port. answer_to(name in lower case, type number) gives (code, records as octets, how many), or None
    for no answer at all. An answer without records has a SOA, if negative_ttl says how long it may be kept."""
    negative_ttl = 0

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.sock.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(10)
        self.sock.close()

    def serve(self):
        while True:
            packet, peer = self.sock.recvfrom(4096)
            if not packet:
                return
            answer = self.answer(packet) if len(packet) >= 17 else None
            if answer is not None:
                self.sock.sendto(answer, peer)

    def answer(self, packet):
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode("latin-1"))
            at += 1 + packet[at]
        got = self.answer_to(".".join(labels).lower(), struct.unpack(">H", packet[at + 1:at + 3])[0])
        if got is None:
            return None
        code, records, count = got
        soa = b""
        if count == 0 and code in (0, 3) and self.negative_ttl > 0:
            soa = b"\0" + struct.pack(">HHIH", 6, 1, self.negative_ttl, 22) + b"\0\0" + struct.pack(">IIIII", 1, 300, 300, 300, self.negative_ttl)
        return packet[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, count, 1 if soa else 0, 0) + packet[12:at + 5] + records + soa
