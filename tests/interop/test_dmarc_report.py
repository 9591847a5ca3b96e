#!/usr/bin/python3
"""`tern dmarc report`: what others report, read from all forms it comes in; each file of the corpora, compared with what Python reads there."""
import base64
import email
import glob
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BINARY, SLOW, need_shared, run

FOLDER = tempfile.mkdtemp(prefix="tern-dmarc-")

# Each file of dmarc/reports-* that is no aggregate report, and what is said of it. All others must be read.
REJECTED = {
    "reports-mail-auth/tlsrpt/rpt02.eml": "carries no aggregate report",  # plain JSON in a part: a TLS report
    "reports-mail-auth/tlsrpt/rpt02.json": "no report: neither XML",
    "reports-mail-auth/arf/001.eml": "carries no aggregate report",  # ARF: about single mails
    "reports-mail-auth/arf/002.eml": "carries no aggregate report",
    "reports-mail-auth/arf/004.eml": "carries no aggregate report",
    "reports-mail-auth/arf/005.eml": "carries no aggregate report",
    "reports-mox/tlsreports/example.eml": "it is JSON, as TLS reports are",
    "reports-mox/dsn/domains.conf": "no report: neither XML",  # no reports at all
    "reports-mox/dsn/mox.conf": "no report: neither XML",
    "reports-parsedmarc/failure/_Netease_DMARC_Failure_Report__Rent_Reminder.eml": "carries no aggregate report",
    "reports-parsedmarc/failure/exim_plain_text_only_no_arf_part.eml": "carries no aggregate report",
    "reports-parsedmarc/smtp_tls/smtp_tls.json": "no report: neither XML",
    "reports-parsedmarc/smtp_tls/mail.ru.json": "no report: neither XML",
}


def report(*words, status=0, stdin=None):
    r = subprocess.run([BINARY, "dmarc", "report", *words], capture_output=True, timeout=120 * SLOW, input=stdin)
    assert r.returncode == status, (words, r.returncode, r.stderr)
    return r.stdout.decode(), r.stderr.decode()


def read(path, status=0):
    return json.loads(report("--json", path, status=status)[0])


def write(name, octets):
    path = os.path.join(FOLDER, name)
    with open(path, "wb") as f:
        f.write(octets)
    return path


def record(ip="192.0.2.1", count=1, disposition="none", dkim="pass", spf="fail", domain="example.org", more=""):
    return ("<record><row><source_ip>%s</source_ip><count>%d</count><policy_evaluated><disposition>%s</disposition><dkim>%s</dkim><spf>%s</spf>"
            "</policy_evaluated></row><identifiers><header_from>%s</header_from></identifiers><auth_results>%s</auth_results></record>"
            % (ip, count, disposition, dkim, spf, domain, more))


def xml(*records, org="reporter.example", ident="1", domain="example.org", head='<?xml version="1.0"?>'):
    return (head + "<feedback><report_metadata><org_name>%s</org_name><email>d@reporter.example</email><report_id>%s</report_id><date_range>"
            "<begin>1700006400</begin><end>1700092799</end></date_range></report_metadata><policy_published><domain>%s</domain><p>reject</p>"
            "</policy_published>%s</feedback>" % (org, ident, domain, "".join(records))).encode()


def zipped(*members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, octets in members:
            z.writestr(name, octets)
    return out.getvalue()


# ---- the corpora ----

def octets_of_report(path):
    """The XML, found by Python alone."""
    with open(path, "rb") as f:
        octets = f.read()
    if path.endswith(".eml"):
        for part in email.message_from_bytes(octets).walk():
            octets = part.get_payload(decode=True) or b""
            if octets[:2] == b"\x1f\x8b" or octets[:2] == b"PK":
                break
    if octets[:2] == b"\x1f\x8b":
        octets = gzip.decompress(octets)
    if octets[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(octets)) as z:
            octets = z.read(z.namelist()[0])
    return re.sub(rb"</?xs:schema[^>]*>", b"", octets)


def facts(path):
    tree = ElementTree.fromstring(octets_of_report(path))
    for e in tree.iter():
        e.tag = re.sub(r"\{.*\}", "", e.tag)
    text = lambda e, p: (e.findtext(p) or "").strip()
    rows = []
    for r in tree.findall("record"):
        ids = r.find("identifiers") if r.find("identifiers") is not None else r.find("identities")
        rows.append((text(r, "row/source_ip"), int(text(r, "row/count")), text(r, "row/policy_evaluated/disposition").lower(),
                     text(r, "row/policy_evaluated/dkim").lower(), text(r, "row/policy_evaluated/spf").lower(), text(ids, "header_from").lower(),
                     text(ids, "envelope_from"),
                     [(text(d, "domain").lower(), text(d, "selector"), text(d, "result").lower()) for d in r.findall("auth_results/dkim")],
                     [(text(d, "domain").lower(), text(d, "scope"), text(d, "result").lower()) for d in r.findall("auth_results/spf")],
                     [(text(d, "type"), text(d, "comment")) for d in r.findall("row/policy_evaluated/reason")]))
    return (text(tree, "report_metadata/org_name"), text(tree, "report_metadata/report_id"), int(text(tree, "report_metadata/date_range/begin")),
            int(text(tree, "report_metadata/date_range/end")), text(tree, "policy_published/domain").lower(), text(tree, "policy_published/p").lower(), rows)


def facts_of_tern(r):
    rows = [(x["source_ip"], x["count"], x["disposition"], x["dkim"], x["spf"], x["header_from"], x["envelope_from"],
             [(d["domain"], d["selector"], d["result"]) for d in x["auth_dkim"]], [(d["domain"], d["scope"], d["result"]) for d in x["auth_spf"]],
             [(d["type"], d["comment"]) for d in x["reasons"]]) for x in r["records"]]
    return (r["org_name"], r["report_id"], r["begin"], r["end"], r["policy"]["domain"], r["policy"]["p"], rows)


def test_corpora():
    root = need_shared("corpora", "dmarc")
    files = sorted(f for d in glob.glob(os.path.join(root, "reports-*")) for f in glob.glob(os.path.join(d, "**"), recursive=True) if os.path.isfile(f))
    wanted = lambda name: not (name.endswith(".json") and os.path.exists(os.path.join(root, name[:-5] + ".eml"))
                               or name.startswith("reports-mail-auth/") and name.endswith(".json"))  # the parsed form of what stands beside it
    names = [n for n in (os.path.relpath(f, root) for f in files) if wanted(n) or n in REJECTED]
    assert len(names) > 25 and set(REJECTED) <= set(names), set(REJECTED) - set(names)
    for name in names:
        path = os.path.join(root, name)
        if name in REJECTED:
            out = read(path, status=1)
            assert out["reports"] == [] and REJECTED[name] in out["rejected"][0]["reason"], (name, out)
            continue
        out = read(path)
        assert out["rejected"] == [] and len(out["reports"]) == 1, (name, out)
        assert facts_of_tern(out["reports"][0]) == facts(path), (name, facts_of_tern(out["reports"][0]), facts(path))


# ---- forms ----

def mail(parts, line_end=b"\n"):
    m = MIMEMultipart()
    m["From"], m["To"], m["Subject"] = "d@reporter.example", "rua@example.org", "Report domain: example.org Submitter: reporter.example Report-ID: <1>"
    m.attach(MIMEText("This is an aggregate report.\n"))
    for p in parts:
        m.attach(p)
    return m.as_bytes().replace(b"\n", line_end)


def attached(octets, subtype, name):
    p = MIMEApplication(octets, _subtype=subtype)
    p.add_header("Content-Disposition", "attachment", filename=name)
    return p


def test_forms():
    x = xml(record(count=7))
    quoted = b'From: d@reporter.example\nMIME-Version: 1.0\nContent-Type: text/xml; name="r.xml"\nContent-Transfer-Encoding: quoted-printable\n\n' + \
        x.replace(b"=", b"=3D").replace(b"<record>", b"=\n<record>")
    whole = b"From: d@reporter.example\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(gzip.compress(x))
    forms = {
        "plain.xml": x, "x.gz": gzip.compress(x), "two-members.gz": gzip.compress(x[:300]) + gzip.compress(x[300:]), "with-rubbish.gz": gzip.compress(x) + b"\0\0\0",
        "x.zip": zipped(("r.xml", x)), "with-others.zip": zipped(("__MACOSX/._r.xml", b"\0\5"), ("notes.txt", b"hello"), ("r.XML", x)),
        "stored.zip": None, "utf-16.xml": x.decode().encode("utf-16"),
        "gzip.eml": mail([attached(gzip.compress(x), "gzip", "reporter.example!example.org!1!2.xml.gz")]),
        "crlf.eml": mail([attached(zipped(("r.xml", x)), "zip", "r.zip")], b"\r\n"),
        "octets.eml": mail([attached(gzip.compress(x), "octet-stream", "report")]), "mbox.eml": b"From d@reporter.example Sat Jan  3 01:05:34 1996\n" + mail([attached(x, "xml", "r.xml")]),
        "quoted.eml": quoted, "whole.eml": whole,
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        z.writestr("r.xml", x)
    forms["stored.zip"] = out.getvalue()
    for name, octets in forms.items():
        r = read(write(name, octets))
        assert [x["count"] for x in r["reports"][0]["records"]] == [7] and r["reports"][0]["policy"]["domain"] == "example.org", name
    assert json.loads(report("--json", "-", stdin=forms["x.gz"])[0])["reports"][0]["file"] == "-"


def test_hostile():
    laughs = "<!DOCTYPE f [<!ENTITY a0 'ha'>%s]>" % "".join("<!ENTITY a%d '%s'>" % (i, ("&a%d;" % (i - 1)) * 10) for i in range(1, 10))
    secret = write("secret", b"the-secret-of-this-machine")
    external = "<!DOCTYPE f [<!ENTITY x SYSTEM 'file://%s'>]>" % secret
    # 70 MB of blanks: 70 KB compressed
    bomb = b"<feedback>" + b" " * (70 << 20) + xml(record(), head="")[10:]
    many = zipped(*[("%d.xml" % i, b"x") for i in range(101)])
    deep = b"<feedback>" + b"<a>" * 100000
    names = xml(record(), *["<x%d/>" % i for i in range(200000)])
    auths = xml(*[record(more="<dkim/>" * 100 + "<spf/>" * 100)] * 10000)
    rows = {
        "names.gz": (gzip.compress(names), "line 1: its XML takes more than"), "auths.gz": (gzip.compress(auths), "line 1: what it says takes more than"),
        "laughs.xml": (xml(record(domain="&a9;"), head=laughs), "DOCTYPE"), "external.xml": (xml(record(domain="&x;"), head=external), "DOCTYPE"),
        "bomb.gz": (gzip.compress(bomb, 9), "expands to more"), "bomb.zip": (zipped(("r.xml", bomb)), "expands to more"),
        "many.zip": (many, "too many files"), "many-100.zip": (zipped(*[("%d.xml" % i, xml(record())) for i in range(100)]), None),
        "empty.zip": (zipped(), "zip"), "cut.zip": (zipped(("r.xml", xml(record())))[:-10], "no zip"), "deep.xml": (deep, "nested deeper"),
        "nothing": (b"", "no report"), "nul": (b"\0" * 100, "no report"), "huge": (b"<" + b"x" * (25 << 20), "more than"),
        "text.eml": (b"From: a@b.example\nSubject: x\n\nhello\n", "carries no aggregate report"),
        "gz-in-gz.gz": (gzip.compress(gzip.compress(xml(record()))), "no good XML"),
    }
    for name, (octets, wrong) in rows.items():
        r = read(write(name, octets), status=0 if wrong is None else 1)
        assert wrong is None or (r["reports"] == [] and wrong in r["rejected"][0]["reason"]), (name, r)
        assert "the-secret" not in json.dumps(r)
    _, said = report(os.path.join(FOLDER, "absent"), status=1)
    assert "absent: No such file" in said, said
    report(status=2)
    report("--what", "x", status=2)


def test_json_is_written_as_it_is_made():
    """It takes no more memory than the report itself; under a sanitizer there is nothing to compare."""
    path = write("long.gz", gzip.compress(xml(*[record(more="<dkim/>" * 100 + "<spf/>" * 100)] * 2000)))

    def memory(*words):
        child = subprocess.Popen([BINARY, "dmarc", "report", *words], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return usage.ru_maxrss

    assert len(read(path)["reports"][0]["records"][1999]["auth_spf"]) == 100
    if SLOW == 1:
        table, as_json = memory(path), memory("--json", path)
        assert as_json < table * 1.4, (table, as_json)


def test_table():
    a = write("a.xml", xml(record("192.0.2.1", 5, more="<dkim><domain>example.org</domain><result>pass</result></dkim>"), record("192.0.2.9", 1, "reject", "fail", "fail")))
    b = write("b.xml", xml(record("192.0.2.1", 7), ident="2"))
    other = write("other.xml", xml(record("2001:db8::1", 2, domain="other.example"), domain="other.example", org="evil\u009b31m\u202egro"))
    out, said = report(a, b, other, a)
    assert said == "" and out.count("already read: not counted again") == 1, out
    assert "example.org: 13 messages, 12 passed DMARC, 1 failed" in out and "other.example: 2 messages, 2 passed DMARC, 0 failed" in out, out
    lines = [x.split() for x in out.splitlines() if x.startswith("   ")]
    assert ["12", "192.0.2.1", "none", "pass", "fail", "example.org", "dkim=example.org"] in lines, lines
    assert ["1", "192.0.2.9", "reject", "fail", "fail", "example.org", "-"] in lines, lines
    assert "evil?31m?gro" in out and "\u009b" not in out and "\u202e" not in out
    # A file that is none spoils the status, not the rest.
    out, said = report(a, write("none", b"x"), status=1)
    assert "example.org: 6 messages" in out and "none: it is no report" in said


if __name__ == "__main__":
    try:
        run([test_forms, test_hostile, test_json_is_written_as_it_is_made, test_table, test_corpora])
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
