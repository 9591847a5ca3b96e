"""results.py - mails sent one behind the other to a server whose script writes what it reads of results into X-Result."""
import re

from ternlib import Client, queue_id, wait_for


class Session:
    """send() gives each mail's result, as `read` makes it of the field's text; `ident` is its queue id."""

    def __init__(self, tern, read):
        self.tern = tern
        self.read = read
        self.client = Client(tern.port)
        self.client.cmd("EHLO client.example")

    def send(self, message):
        code, text = self.client.mail("bob@example.net", ["alice@example.org"], message, helo=None)
        assert code == 250, (code, text)
        self.ident = queue_id(text)
        mail = wait_for(lambda: next((m for m in self.tern.maildir("alice") if self.ident.encode() in m), None), 20)
        return self.read(re.search(rb"^X-Result: (.*?)\r\n(?![ \t])", mail, re.M | re.S).group(1).decode())
