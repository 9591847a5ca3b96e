#!/usr/bin/python3
"""Aggregate reports: mails are judged, `tern dmarc send` mails what was collected through the server itself, and what arrives validates
against the schema of RFC 9990 and says the numbers that went in."""
import datetime
import email
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from dkimpeers import Dkimpy, Dns, Key, crlf
from peers import Sink
from ternlib import BINARY, ROOT, SLOW, Client, Tern, in_one_day, need, run, wait_for

CONFIG = """
hostname: mx.receiver.example
dns: { servers: ["127.0.0.1:{dns}"], timeout: {wait}, tries: 1 }
limits: { messages: 100000, commands: 100000, errors: 10000, error_delay: 0s }
sandbox: required
listeners:
  mx: { bind: "127.0.0.1:{port}", policy: inbound }
  out: { bind: "127.0.0.1:{out}", policy: outbound }
policies:
  inbound:
    - spf: { exempt: ["192.0.2.1/32"] }
    - domains: { local: [here.example], recipients: [alice@here.example, dmarc@receiver.example] }
    - dkim_verify
    - dmarc: { enforce: true, exempt: ["192.0.2.1/32"], {mode} reports: { path: {dir}/reports, org_name: "Receiver & Co", email: dmarc@receiver.example, submit: "127.0.0.1:{submit}", {more} } }
  outbound:
    - domains: { networks: [127.0.0.0/8] }
    - dkim_sign: { selector: s1, key: "{dir}/receiver.pem" }
transports:
  boxes: { type: maildir, path: "{dir}/mail/%{user}", line_ends: crlf }
  sink: { type: smtp, to: ["127.0.0.1:{sink}"] }
routes:
  - { class: local, transport: boxes }
  - { transport: sink }
"""
REHEARSAL = """
config tern.yaml
dns _dmarc.example.net TXT v=DMARC1; p=reject; rua=mailto:rua@example.net
test "a mail that is judged leaves no row"
  client 203.0.113.9
  C: EHLO client.example
  C: MAIL FROM:<bob@example.net>
  C: RCPT TO:<alice@here.example>
  C: DATA
  message <<
    From: bob@example.net

    hello
  >>
  S: 550
"""
SCHEMA = os.path.join(ROOT, "tests", "support", "dmarc-2.0.xsd")
FOLDER = tempfile.mkdtemp(prefix="tern-dmarc-")
KEYS = {}
DAY = 86400


def key(name):
    if name not in KEYS:
        KEYS[name] = Key(FOLDER, name)
    return KEYS[name]


def zone(more=None):
    return dict({
        "example.net": "v=spf1 ip4:127.0.0.1 -all", "_dmarc.example.net": "v=DMARC1; p=reject; sp=none; adkim=s; rua=mailto:rua@example.net",
        "s1._domainkey.example.net": key("sender").record, "s1._domainkey.receiver.example": key("receiver").record,
        "_dmarc.receiver.example": "v=DMARC1; p=reject",
    }, **(more or {}))


class World:
    """Name server, sink, server; `dns` is a dictionary that may change."""

    def __init__(self, dns=None, more="", submit=None, mode="", start=True, sink=None, wait="10s"):
        need("xmllint")
        from ternlib import free_port
        in_one_day()
        self.dns = Dns(zone(dns))
        self.sink = sink or Sink()
        out = free_port()
        with open(key("receiver").path) as f:
            pem = f.read()
        config = CONFIG.replace("{more}", more).replace("{mode}", mode).replace("{wait}", wait)
        if SLOW > 1:
            config = config.replace("sandbox: required", "sandbox: off")  # sanitizers
        self.tern = Tern(config, files={"receiver.pem": pem}, dns=self.dns.port, sink=self.sink.port, out=out, submit=submit or out)
        os.chmod(os.path.join(self.tern.dir, "receiver.pem"), 0o600)
        self.folder = os.path.join(self.tern.dir, "reports")
        os.mkdir(self.folder, 0o700)
        self.start = start

    def __enter__(self):
        self.dns.__enter__()
        self.sink.__enter__()
        if self.start:
            self.tern.start()
        return self

    def __exit__(self, *error):
        self.tern.__exit__(*error)
        self.sink.__exit__()
        self.dns.__exit__()

    # ---- rows ----

    def mail(self, message, sender="bob@example.net", rcpt="alice@here.example", source=None):
        c = Client(self.tern.port, source=source)
        reply = c.mail(sender, [rcpt], message, helo="client.example.net")
        c.close()
        return reply

    def lines(self, day=None):
        try:
            with open(os.path.join(self.folder, "rows-" + (day or today()))) as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def wait_lines(self, count):
        wait_for(lambda: sum(len(self.lines(name[5:])) for name in self.files()) >= count, 30)
        assert sum(len(self.lines(name[5:])) for name in self.files()) == count

    def files(self):
        return sorted(n for n in os.listdir(self.folder) if n.startswith("rows-"))

    def put(self, lines, days_ago=1):
        with open(os.path.join(self.folder, "rows-" + today(-days_ago)), "a") as f:
            f.write("".join(line + "\n" for line in lines))

    def age(self):
        """What was collected until now is of yesterday."""
        for name in self.files():
            lines = self.lines(name[5:])
            os.unlink(os.path.join(self.folder, name))
            self.put(lines)

    def send(self, *words, status=0):
        r = subprocess.run([BINARY, "dmarc", "send", "-c", self.tern.config, *words], capture_output=True, text=True, env=self.tern.env(), timeout=120 * SLOW)
        assert r.returncode == status, (r.returncode, r.stdout, r.stderr)
        return r.stdout + r.stderr

    def mails(self, count):
        wait_for(lambda: len(self.sink.mails) >= count, 30)
        assert len(self.sink.mails) == count, [m.rcpts for m in self.sink.mails]
        return self.sink.mails


def today(days=0):
    return (datetime.datetime.utcnow() + datetime.timedelta(days=days)).strftime("%Y-%m-%d")


def row(domain="example.net", ip="198.51.100.7", disposition="none", dkim="pass", spf="fail", policy="reject reject reject r r n treewalk -"):
    return "\t".join(["1", domain, policy, "%s %s %s %s" % (ip, disposition, dkim, spf), "- -", "%s bounce.%s -" % (domain, domain),
                      "bounce.%s mfrom fail -" % domain, "%s s1 pass -" % domain])


def reports(mail):
    """[(file name, JSON of `tern dmarc report`)] of the parts of a mail; each validates."""
    found = []
    for part in email.message_from_bytes(mail.data).walk():
        if part.get_content_type() != "application/gzip":
            continue
        path = os.path.join(FOLDER, "report.xml")
        with open(path, "wb") as f:
            f.write(gzip.decompress(part.get_payload(decode=True)))
        r = subprocess.run(["xmllint", "--noout", "--nonet", "--schema", SCHEMA, path], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr + open(path).read()
        r = subprocess.run([BINARY, "dmarc", "report", "--json", path], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        found.append((part.get_filename(), json.loads(r.stdout)["reports"][0]))
    return found


def signed(subject="hello", body="hello\n", more=""):
    return Dkimpy.sign(crlf("From: Bob <bob@example.net>\nSubject: %s\n%s\n%s" % (subject, more, body)), key("sender"))


# ---- the whole way ----

def test_the_whole_way():
    with World() as w:
        w.mail(signed())
        w.mail(signed())
        w.mail(crlf("From: bob@example.net\n\nonly SPF\n"))
        assert w.mail(crlf("From: bob@example.net\n\nforged\n"), sender="x@elsewhere.example")[0] == 550
        w.mail(crlf("From: bob@sub.example.net\n\nforged, but sp=none\n"), sender="x@elsewhere.example")
        w.mail(crlf("From: bob@nobody.example\n\nno record\n"))
        w.wait_lines(5)
        assert w.send() == "" and len(w.sink.mails) == 0  # the day has not ended
        w.age()
        said = w.send("--verbose")
        assert "sending: rua@example.net about example.net" in said
        mail = w.mails(1)[0]
        assert mail.rcpts == ["rua@example.net"] and mail.sender == "dmarc@receiver.example"
        m = email.message_from_bytes(mail.data)
        (name, r), = reports(mail)
        begin = int(datetime.datetime.strptime(today(-1) + "+0000", "%Y-%m-%d%z").timestamp())
        assert (r["begin"], r["end"]) == (begin, begin + DAY - 1) and r["schema"] == "rfc9990"
        assert name == "receiver.example!example.net!%d!%d!%s.xml.gz" % (begin, begin + DAY - 1, r["report_id"]) and re.fullmatch(r"[0-9a-f]{32}", r["report_id"])
        assert re.fullmatch(r"Report Domain: example\.net\s+Submitter: receiver\.example\s+Report-ID: <%s>" % r["report_id"], m["Subject"]), m["Subject"]
        assert m["From"].endswith("<dmarc@receiver.example>") and m["To"] == "<rua@example.net>" and r["report_id"] in m["Message-ID"]
        assert m["Auto-Submitted"] == "auto-generated" and m["MIME-Version"] == "1.0" and r["org_name"] == "Receiver & Co"
        # Mail with reports passes DMARC itself (RFC 9990 3.5.2).
        assert Dkimpy.verify(mail.data, w.dns.txt) == [True]
        p = r["policy"]
        assert (p["domain"], p["p"], p["sp"], p["np"], p["adkim"], p["aspf"], p["testing"], p["discovery_method"]) == \
            ("example.net", "reject", "none", "none", "s", "r", "n", "treewalk"), p
        rows = {(x["header_from"], x["disposition"], x["dkim"], x["spf"]): x for x in r["records"]}
        assert {k: v["count"] for k, v in rows.items()} == {("example.net", "pass", "pass", "pass"): 2, ("example.net", "pass", "fail", "pass"): 1,
                                                            ("example.net", "reject", "fail", "fail"): 1, ("sub.example.net", "none", "fail", "fail"): 1}, rows
        one = rows["example.net", "pass", "pass", "pass"]
        assert one["source_ip"] == "127.0.0.1" and one["envelope_from"] == "example.net" and one["envelope_to"] == ""
        assert one["auth_dkim"] == [{"domain": "example.net", "selector": "s1", "scope": "", "result": "pass", "human_result": ""}], one
        assert [(x["domain"], x["scope"], x["result"]) for x in one["auth_spf"]] == [("example.net", "mfrom", "pass")]
        # What was sent is gone, and a second run on the same day sends nothing.
        assert w.files() == [] and w.send("--verbose") == ""
        w.put([row()])  # of a day that was reported
        assert w.send() == "" and len(w.sink.mails) == 1 and w.files() == []


def test_never_about_reports():
    with World() as w:
        w.mail(signed("Report Domain: here.example Submitter: example.net\n Report-ID: <1>"))
        w.mail(signed("Report domain: here.example; Submitter: example.net"))
        w.mail(signed("x", more="Content-Type: multipart/report; report-type=feedback-report; boundary=b\n"))
        w.mail(signed("x", more="Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=b\n"))
        w.mail(signed("about your report"), rcpt="dmarc@receiver.example")
        # A forged one is one more forgery.
        w.mail(crlf("From: bob@example.net\nSubject: Report Domain: here.example Submitter: example.net\n\nx\n"), sender="x@elsewhere.example")
        w.mail(signed("a Report about Domains"))
        w.wait_lines(2)
        assert sum(" reject fail fail" in x for x in w.lines()) == 1


def test_what_is_not_collected():
    with World({"_dmarc.silent.example": "v=DMARC1; p=none"}) as w:
        w.mail(crlf("From: a@silent.example\n\nno rua\n"))
        w.mail(signed())
        w.wait_lines(1)
    with World(mode="mode: shadow,") as w:
        w.mail(signed())
        w.tern.stop()
        assert w.files() == []
    with World(start=False) as w:
        os.rmdir(w.folder)
        w.tern.write("rehearsal.smtpt", REHEARSAL)
        r = subprocess.run([BINARY, "test", os.path.join(w.tern.dir, "rehearsal.smtpt")], capture_output=True, text=True, env=w.tern.env(), timeout=120 * SLOW)
        assert r.returncode == 0 and "1 passed" in r.stdout + r.stderr, r.stdout + r.stderr
        assert not os.path.exists(w.folder)
        w.tern.start()  # the folder is made, within the sandbox, when there is a row
        w.mail(signed())
        wait_for(lambda: os.path.exists(w.folder), 30)
        w.wait_lines(1)


def test_the_last_rows_are_written_at_the_end():
    with World() as w:
        for _ in range(20):
            w.mail(signed())
        w.tern.stop()
        assert len(w.lines()) == 20


def test_a_day_has_a_bound():
    with World(more="day_size: 4096") as w:
        one = len(row()) and 300
        for _ in range(3 * 4096 // one):
            w.mail(signed())
        wait_for(lambda: w.tern.metric("tern_dmarc_rows_lost_total") or 0 > 0, 30)
        wait_for(lambda: w.tern.metric("tern_dmarc_rows_lost_total") + len(w.lines()) == 3 * 4096 // one, 30)
        size = os.path.getsize(os.path.join(w.folder, w.files()[0]))
        assert 0 < size <= 4096, size
        wait_for(lambda: "reports.day_size is reached" in w.tern.log_text(), 30)


# ---- where reports go: rows are put there by hand ----

def test_destinations():
    dns = {
        "_dmarc.a.example": "v=DMARC1; p=none; rua=mailto:x@vendor.example,mailto:x@refuses.example, mailto:own@a.example,https://a.example/",
        "a.example._report._dmarc.vendor.example": "v=DMARC1",
        "_dmarc.b.example": "v=DMARC1; p=none; rua=mailto:old@moved.example",
        "b.example._report._dmarc.moved.example": "v=DMARC1; rua=mailto:new@moved.example",
        "_dmarc.c.example": "v=DMARC1; p=none; rua=mailto:c@bad.example",
        "c.example._report._dmarc.bad.example": "v=DMARC1; rua=mailto:victim@victim.example",
        "_dmarc.d.example": "v=DMARC1; p=none",  # wants none any more
        "_dmarc.sub.e.example": "v=DMARC1; p=none; rua=mailto:r@other.e.example", "_dmarc.e.example": "v=DMARC1; p=none",  # one organisation
        "_dmarc.f.psd.example": "v=DMARC1; p=none; rua=mailto:victim@g.psd.example", "_dmarc.psd.example": "v=DMARC1; p=none; psd=y",  # two of them
        "_dmarc.h.example": ["v=DMARC1; p=none; rua=mailto:h@h.example", "v=DMARC1; p=reject; rua=mailto:h@h.example"],
        "_dmarc.i.example": "v=DMARC1; p=none; rua=mailto:%0d%0aRCPT@i.example,mailto:i@[127.0.0.1],mailto:i.example",
        "_dmarc.k.example": "v=DMARC1; p=none; rua=mailto:K@K.example,mailto:K@k.EXAMPLE",
        "k.example._report._dmarc.refuses.example": "v=spf1",
    }
    with World(dns, more='sender: "<>", domain: mx.receiver.example, contact: "https://receiver.example/"') as w:
        w.put([row(d) for d in ("a.example", "b.example", "c.example", "d.example", "sub.e.example", "f.psd.example", "gone.example", "h.example",
                                "i.example", "k.example")])
        said = w.send("--dry-run")
        assert "would send: x@vendor.example about a.example" in said and "refuses.example: there is no record" in said, said
        assert len(w.sink.mails) == 0 and len(w.files()) == 1
        w.send()
        got = sorted(m.rcpts[0] for m in w.mails(5))
        assert got == ["K@k.example", "new@moved.example", "own@a.example", "r@other.e.example", "x@vendor.example"], got
        assert all(m.sender == "" for m in w.sink.mails) and w.files() == []
        name, r = reports(w.sink.mails[0])[0]
        assert name.startswith("mx.receiver.example!") and r["extra_contact_info"] == "https://receiver.example/"


def test_one_mail_a_day_per_address():
    dns = {"_dmarc.%s.example" % d: "v=DMARC1; p=none; rua=mailto:all@a.example" for d in "abc"}
    dns.update({"%s.example._report._dmarc.a.example" % d: "v=DMARC1" for d in "bc"})
    with World(dns) as w:
        w.put([row("a.example"), row("b.example"), row("a.example")])
        w.put([row("a.example", ip="2001:db8::1")], days_ago=2)
        w.send()
        (_, a), (_, b) = reports(w.mails(1)[0])
        assert a["policy"]["domain"] == "a.example" and b["policy"]["domain"] == "b.example"
        assert sorted((x["source_ip"], x["count"]) for x in a["records"]) == [("198.51.100.7", 2), ("2001:db8::1", 1)]
        assert a["end"] - a["begin"] == 2 * DAY - 1 and b["end"] - b["begin"] == DAY - 1  # a day that was missed comes along
        # What is found later that day, of whatever domain, waits for the next.
        w.put([row("c.example", ip="192.0.2.77")])
        assert w.send(status=75) == "" and len(w.sink.mails) == 1 and len(w.files()) == 1
        with open(os.path.join(w.folder, "sent")) as f:
            sent = f.read()
        with open(os.path.join(w.folder, "sent"), "w") as f:
            f.write(re.sub(r"(?m)^\d+", str(int(time.time()) - DAY), sent))
        w.send()
        assert [r["policy"]["domain"] for _, r in reports(w.mails(2)[1])] == ["c.example"] and w.files() == []
    with World(dns, more="mails: per_domain") as w:
        w.put([row("a.example"), row("b.example")])
        w.send()
        assert sorted(len(reports(m)) for m in w.mails(2)) == [1, 1]


def test_sizes():
    many = [row("a.example", ip="2001:db8::%x:%x" % (i * 7919 % 65536, i * 104729 % 65536)) for i in range(2000)]
    dns = {"_dmarc.a.example": "v=DMARC1; p=none; rua=mailto:small@a.example!4k,mailto:large@a.example!10m"}
    with World(dns) as w:
        w.put(many)
        assert "small@a.example: the report about a.example is larger than may be sent there" in w.send(status=1)
        mail = w.mails(1)[0]
        assert mail.rcpts == ["large@a.example"] and len(reports(mail)[0][1]["records"]) == 2000
        assert len(w.files()) == 1 and "small@a.example" in w.send(status=1) and len(w.sink.mails) == 1
    with World(dns, more="mail_size: 8KB") as w:
        w.put(many)
        assert w.send(status=1).count("larger than may be sent") == 2


def test_bound_of_parts():
    dns = {"_dmarc.d%d.example" % i: "v=DMARC1; p=none; rua=mailto:all@vendor.example" for i in range(1001)}
    dns.update({"d%d.example._report._dmarc.vendor.example" % i: "v=DMARC1" for i in range(1001)})
    with Sink() as sink, World(dns, submit=sink.port, start=False) as w:
        w.put([row("d%d.example" % i) for i in range(1001)])
        w.send(status=75)
        assert sink.mails[0].data.count(b"Content-Type: application/gzip") == 1000 and len(w.files()) == 1
        with open(os.path.join(w.folder, "sent"), "r+") as f:
            old = re.sub(r"(?m)^\d+", str(int(time.time()) - DAY), f.read())
            f.seek(0)
            f.write(old)
        w.send()
        assert len(sink.mails) == 2 and sink.mails[1].data.count(b"Content-Type: application/gzip") == 1 and w.files() == []


# ---- trouble ----

def test_dns_that_does_not_answer():
    dns = {"_dmarc.a.example": "!SERVFAIL", "_dmarc.b.example": "v=DMARC1; p=none; rua=mailto:b@vendor.example,mailto:b@b.example",
           "b.example._report._dmarc.vendor.example": "!SERVFAIL"}
    with World(dns) as w:
        w.put([row("a.example"), row("b.example")])
        said = w.send(status=75)
        assert "a.example: DNS does not answer" in said and "b@vendor.example: DNS does not say" in said, said
        assert w.mails(1)[0].rcpts == ["b@b.example"] and len(w.files()) == 1
        w.dns.put("_dmarc.a.example", "v=DMARC1; p=none; rua=mailto:a@a.example")
        w.dns.put("b.example._report._dmarc.vendor.example", "v=DMARC1")
        w.send()
        assert sorted(m.rcpts[0] for m in w.mails(3)) == ["a@a.example", "b@b.example", "b@vendor.example"] and w.files() == []


def test_dead_name_servers():
    """Sixteen domains are asked about at a time, each for 20 s at most: who is behind them gets his reports, they get theirs another day."""
    dead = ["d%02d.example" % i for i in range(16)]
    records = {"_dmarc.%s" % d: "!timeout" for d in dead}
    records["_dmarc.later.example"] = "v=DMARC1; p=none; rua=mailto:l@later.example"
    with World(records, wait="60s") as w:
        w.put([row(d) for d in dead + ["later.example"]])
        run = subprocess.Popen([BINARY, "dmarc", "send", "-c", w.tern.config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=w.tern.env())
        wait_for(lambda: len(set(w.dns.asked)) >= 16, 60)
        first = set(list(dict.fromkeys(w.dns.asked))[:16])
        assert first == {"_dmarc." + d for d in dead}, w.dns.asked
        said = run.communicate(timeout=120 * SLOW)[0]
        assert run.returncode == 75 and said.count("DNS does not answer for its record: tried again with the next run") == 16, said
        assert w.mails(1)[0].rcpts == ["l@later.example"] and len(w.files()) == 1
        for d in dead:
            w.dns.put("_dmarc." + d, "v=DMARC1; p=none; rua=mailto:r@" + d)
        w.send()
        assert {m.rcpts[0] for m in w.mails(17)} == {"l@later.example"} | {"r@" + d for d in dead} and w.files() == []


def test_server_that_is_gone_or_refuses():
    from ternlib import free_port
    with World({"_dmarc.a.example": "v=DMARC1; p=none; rua=mailto:a@a.example"}, submit=free_port(), start=False) as w:
        w.put([row("a.example")])
        assert "a@a.example: not sent, tried again with the next run" in w.send(status=75) and len(w.files()) == 1
    with Sink(answers={"a@a.example": "550 5.7.1 relaying denied"}) as refusing:
        with World({"_dmarc.a.example": "v=DMARC1; p=none; rua=mailto:a@a.example,mailto:z@a.example"}, submit=refusing.port, start=False) as w:
            w.put([row("a.example")])
            assert "a@a.example: not sent, tried again with the next run: 550 5.7.1 relaying denied" in w.send(status=1)
            assert [m.rcpts for m in refusing.mails] == [["z@a.example"]] and len(w.files()) == 1


def test_killed_in_the_midst():
    """The sink takes the first mail and lets the second hang: the run is killed there."""
    dns = {"_dmarc.a.example": "v=DMARC1; p=none; rua=" + ",".join("mailto:r%d@a.example" % i for i in range(4))}
    with Sink() as sink, World(dns, submit=sink.port, start=False) as w:
        w.put([row("a.example")])
        first = sink.on_data
        sent = []

        def hang(table, rcpt, usual, real=sink.next_answer):
            if len(sink.mails) == 2 and not sent:
                sent.append(rcpt)
                time.sleep(3600)
            return real(table, rcpt, usual)
        sink.next_answer = hang
        p = subprocess.Popen([BINARY, "dmarc", "send", "-c", w.tern.config], env=w.tern.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(lambda: sent, 60)
        assert "another run is under way" in w.send(status=75)
        p.send_signal(signal.SIGKILL)
        p.wait()
        p.stdout.close()
        assert [m.rcpts for m in sink.mails] == [["r0@a.example"], ["r1@a.example"]] and first is None
        w.send()
        assert [m.rcpts[0] for m in sink.mails] == ["r%d@a.example" % i for i in range(4)] and w.files() == []
        ids = {reports(m)[0][1]["report_id"] for m in sink.mails}
        assert len(ids) == 1  # one report, whoever gets it and however often


def test_journal_and_rows_that_are_torn():
    dns = {"_dmarc.a.example": "v=DMARC1; p=none; rua=mailto:a@a.example,mailto:b@a.example"}
    with Sink() as sink, World(dns, submit=sink.port, start=False) as w:
        w.put([row("a.example"), "", "rubbish", row("a.example")[:40], "2\tb"])
        with open(os.path.join(w.folder, "rows-" + today(-1)), "a") as f:
            f.write(row("a.example")[:60])
        with open(os.path.join(w.folder, "sent"), "w") as f:
            f.write("x\ty\n%d\tb@a.example\ta.example\t%d\n%d\ta@a.ex" % (time.time(), time.time() // DAY, time.time()))
        assert "4 lines of" in w.send()
        assert [m.rcpts for m in sink.mails] == [["a@a.example"]] and reports(sink.mails[0])[0][1]["records"][0]["count"] == 1
        # Links are not followed: the folder is the worker's, the command may be root's.
        os.unlink(os.path.join(w.folder, "sent"))
        os.symlink("/etc/hostname", os.path.join(w.folder, "sent"))
        assert "sent: Too many levels" in w.send(status=1)


def test_kept_for_a_time():
    with Sink() as sink, World({"_dmarc.a.example": "!SERVFAIL"}, submit=sink.port, start=False, more="keep: 2d") as w:
        w.put([row("a.example")], days_ago=1)
        w.put([row("a.example")], days_ago=5)
        w.put([row("a.example")], days_ago=2)
        assert "a day 5 days ago is older than `keep` and given up" in w.send(status=75)
        assert w.files() == ["rows-" + today(-2), "rows-" + today(-1)]
    # More files than are ever looked at, because nobody ran it: the newest count, the others go by and by.
    with Sink() as sink, World({"_dmarc.a.example": "v=DMARC1; p=none; rua=mailto:a@a.example"}, submit=sink.port, start=False, more="keep: 31d") as w:
        for days in range(1, 81):
            w.put([row("a.example")], days_ago=days)
        said = w.send()
        assert said.count("given up") == 33 and reports(sink.mails[0])[0][1]["records"][0]["count"] == 31, said
        assert len(w.files()) == 16 and w.send().count("given up") == 16 and w.files() == []
    # Where nobody runs it the server drops them itself.
    with World(more="keep: 2d") as w:
        for days in (2, 3, 4, 5):
            w.put([row()], days_ago=days)
        w.mail(signed())
        wait_for(lambda: w.lines(), 30)
        wait_for(lambda: w.files() == ["rows-" + today(-n) for n in (3, 2, 0)], 30)
        wait_for(lambda: "rows-%s is older than `keep` and gone" % today(-5) in w.tern.log_text(), 30)


def test_configurations():
    good = "path: reports, org_name: O, email: d@receiver.example"
    base = "hostname: mx.test\nspool: /nowhere\nlisteners: { mx: { bind: \"127.0.0.1:2525\", policy: p } }\npolicies: { p: [ spf, dmarc: { %s } ] }\nroutes: [{ transport: smtp }]\n"
    rows = [("reports: { path: reports, org_name: O }", "email"), ("reports: { %s }" % good.replace("d@", ""), "is no address"),
            ("reports: { %s, sender: x }" % good, "neither an address nor <>"), ("reports: { %s, domain: \"a b\" }" % good, "is no name of a domain"),
            ("reports: { %s, submit: \"192.0.2.1:25\" }" % good, "without TLS"), ("reports: { %s, mails: hourly }" % good, "per_address"),
            ("reports: { %s, keep: 1h }" % good, "keep"), ("reports: [ { %s }, { %s } ]" % (good, good), "reports"), ("reports: { %s, day_size: 1 }" % good, "day_size")]
    for text, says in rows:
        with Tern(base % text) as t:
            assert says in t.cli("check", check=False).stderr, (text, t.cli("check", check=False).stderr)
    with Tern(base % "enforce: true") as t:
        r = t.cli("dmarc", "send", check=False)
    with Tern(base % "enforce: true") as t:
        r = subprocess.run([BINARY, "dmarc", "send", "-c", t.config], capture_output=True, text=True, env=t.env(), timeout=60 * SLOW)
        assert r.returncode == 1 and "no step dmarc has the option reports" in r.stderr, r.stderr
    with Tern(base % ("reports: { %s }" % good)) as t:  # nothing was ever collected
        r = subprocess.run([BINARY, "dmarc", "send", "-c", t.config], capture_output=True, text=True, env=t.env(), timeout=60 * SLOW)
        assert (r.returncode, r.stdout, r.stderr) == (0, "", ""), r.stderr


def test_the_page():
    """The configuration of docs/dmarc-reports.md, and its commands."""
    with open(os.path.join(ROOT, "docs", "dmarc-reports.md")) as f:
        config = re.search(r"```yaml\n(.*?)```", f.read(), re.S).group(1)
    with Tern(config.replace("/var/spool/tern", "{dir}/spool").replace("/var/lib/tern", "{dir}"), files={"mailboxes.txt": "alice@hoster.example\n"}) as t:
        assert t.cli("check").stdout.endswith(": ok\n")
        r = subprocess.run([BINARY, "dmarc", "send", "--dry-run"], capture_output=True, text=True, env=t.env(), timeout=60 * SLOW)
        assert (r.returncode, r.stdout, r.stderr) == (0, "", ""), r


if __name__ == "__main__":
    try:
        run([test_the_whole_way, test_never_about_reports, test_what_is_not_collected, test_the_last_rows_are_written_at_the_end, test_a_day_has_a_bound,
             test_destinations, test_one_mail_a_day_per_address, test_sizes, test_bound_of_parts, test_dns_that_does_not_answer, test_dead_name_servers, test_server_that_is_gone_or_refuses,
             test_killed_in_the_midst, test_journal_and_rows_that_are_torn, test_kept_for_a_time, test_configurations, test_the_page])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
