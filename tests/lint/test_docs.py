#!/usr/bin/python3
"""What the documents show is run: configurations are checked, dialogues talked, C built; what they name is there."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import BINARY, MODULES, ROOT, SLOW, certificates_for, need, run

ENV = dict(os.environ, TERN_MODULE_PATH=MODULES)
PARTS = {  # what a fragment lacks is taken from here
    "hostname": "hostname: mx.test\n",
    "spool": "spool: spool\n",
    "listeners": 'listeners: { mx: { bind: "127.0.0.1:2525", policy: inbound } }\n',
    "tables": "tables:\n  hosted: [example.org]\n  mailboxes: [alice@example.org]\n  partners: [partner.example]\n"
              "  customers: { example.org: strict }\n",
    "policies": "policies:\n  inbound:\n    - domains: { local: [example.org], recipients: [alice@example.org] }\n"
                "    - greylist\n    - rcpt_limit\n  outbound:\n    - domains: { networks: [192.0.2.0/24] }\n",
    "transports": "transports:\n  dovecot: { type: lmtp, to: [\"unix:/run/dovecot/lmtp\"] }\n"
                  "  mailboxes: { type: maildir, path: \"mail/%{user}\" }\n",
    "routes": "routes:\n  - { class: local, transport: smtp, to: [\"127.0.0.1:25\"] }\n  - { transport: smtp }\n",
}


def read(*path):
    with open(os.path.join(ROOT, *path)) as f:
        return f.read()


def blocks(text, language):
    """(line, text) of each fenced block of that language."""
    for m in re.finditer(r"^```%s\n(.*?)^```$" % language, text, re.M | re.S):
        yield text[:m.start()].count("\n") + 2, m.group(1)


def tern(*words, cwd=None):
    return subprocess.run([BINARY, *words], capture_output=True, text=True, env=ENV, cwd=cwd, timeout=60 * SLOW)


def whole(fragment):
    own = set(re.findall(r"^([a-z_]+):", fragment, re.M))
    policies = PARTS["policies"]
    if "policies" in own and "inbound:" not in fragment:  # the listener's policy stays
        parts = dict(PARTS, listeners='listeners: { mx: { bind: "127.0.0.1:2525", policy: outbound } }\n')
    else:
        parts = dict(PARTS, policies=policies)
    return fragment + "".join(text for key, text in parts.items() if key not in own)


def check(config, where, folder):
    path = os.path.join(folder, "tern.yaml")
    with open(path, "w") as f:
        f.write(config)
    certificates_for(config, folder)
    r = tern("check", "-c", path)
    assert r.returncode == 0, "%s:\n%s\n%s" % (where, config, r.stderr)


def folder_with_filters(d):
    os.chmod(d, 0o755)
    shutil.copytree(os.path.join(ROOT, "lua", "examples"), os.path.join(d, "filters"))
    for name, text in (("hosted.txt", "example.org\n"), ("mailboxes.txt", "alice@example.org\n"), ("senders.txt", ""),
                       ("aliases.txt", "info@example.org: bob@provider.example\n"), ("srs.secrets", "a secret that nobody knows\n"),
                       ("batv.secrets", "a secret that nobody knows\n"),
                       ("users.yaml", "alice@example.org: '!'\n")):
        with open(os.path.join(d, name), "w") as f:
            f.write(text)
    for base, dirs, files in os.walk(d):
        for n in dirs + files:
            os.chmod(os.path.join(base, n), 0o755 if n in dirs else 0o600 if n == "users.yaml" else 0o644)


def test_example_configurations():
    names = sorted(glob.glob(os.path.join(ROOT, "conf", "*.yaml")))
    assert len(names) >= 5, names
    for name in names:
        with tempfile.TemporaryDirectory(prefix="tern-docs-") as d:
            folder_with_filters(d)
            with open(name) as f:
                check(f.read(), name, d)
            # With the supervisor.conf that the comment on top shows; its users are not those of this machine.
            rules = os.path.join(d, "supervisor.conf")
            with open(rules, "w") as f:
                f.write("".join(line.lstrip("# ") for line in read(name).splitlines(True) if line.startswith("#     ")))
            os.chmod(rules, 0o600)
            r = tern("check", "-c", os.path.join(d, "tern.yaml"), "-s", rules)
            warnings = [w for w in r.stderr.splitlines() if "warning" in w and "there is no such user" not in w]
            assert r.returncode == 0 and not warnings, "%s:\n%s" % (name, r.stderr)
            assert tern("hooks", "-c", os.path.join(d, "tern.yaml")).returncode == 0, name


def test_yaml_blocks():
    count = 0
    pages = [os.path.join(ROOT, "docs", "config.md")] + sorted(glob.glob(os.path.join(ROOT, "modules", "*", "README.md")))
    for page in pages:
        for line, text in blocks(read(page), "yaml"):
            if text.startswith("kv:"):  # opens a store under /var
                text = re.sub(r"path: \S+", "path: kv ", text)
            with tempfile.TemporaryDirectory(prefix="tern-docs-") as d:
                folder_with_filters(d)
                check(whole(text), "%s:%d" % (page, line), d)
            count += 1
    assert count >= 12, count


def test_reference_is_up_to_date():
    r = subprocess.run([os.path.join(ROOT, "docs", "generate.sh"), "--check"], capture_output=True, text=True,
                       env=dict(ENV, TERN=BINARY), timeout=60 * SLOW)
    assert r.returncode == 0, "run docs/generate.sh:\n" + r.stdout + r.stderr


def test_smtpt_blocks():
    count = 0
    for page in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))):
        for line, text in blocks(read(page), "smtpt"):
            if page.endswith("/modules.md"):
                continue  # needs the module of that page: below
            with tempfile.TemporaryDirectory(prefix="tern-docs-") as d:
                with open(os.path.join(d, "x.smtpt"), "w") as f:
                    f.write(text)
                r = tern("test", os.path.join(d, "x.smtpt"))
                assert r.returncode == 0, "%s:%d: %s%s" % (page, line, r.stdout, r.stderr)
            count += 1
    assert count >= 1


def test_every_word_of_tern_test_is_explained():
    words = re.findall(r'^    \{ "([^"]+)", SMTPT_', read("core", "cli", "smtpt.c"), re.M)
    page = read("docs", "testing.md")
    assert len(words) > 15, words
    for word in words + ["config", "clock", "test"]:
        assert "`%s " % word in page or "`%s`" % word in page, word


def test_keys_that_need_a_restart_are_listed():
    page = read("docs", "config.md")
    listed = page[page.index("These keys take effect at the next start"):].split(".\n\n")[0]
    keys = re.findall(r'^        \{ "([a-z._]+)"', read("core", "server", "reload.c"), re.M)
    assert len(keys) > 8, keys
    for key in keys:
        assert "`%s`" % key in listed, key


def test_readmes_name_every_option():
    for folder in sorted(glob.glob(os.path.join(ROOT, "modules", "*", "README.md"))):
        name = os.path.basename(os.path.dirname(folder))
        text = read(folder)
        out = tern("help", name).stdout
        for key, how in re.findall(r"^[a-z_0-9]+\.(?:rules\[\]\.)?([a-z_0-9]+)  \((.*)\)$", out, re.M):
            assert key == "rules" or "`%s`" % key in text, "%s: %s" % (folder, key)
            default = re.search(r"default ([^\[]+)$", how)
            assert not default or default.group(1) in text, "%s: default of %s" % (folder, key)


SETUP = {  # the policy that the dialogue of a module's page is talked with
    "domains": '- domains: { local: [example.org], recipients: [alice@example.org] }',
    "dnsbl": '- dnsbl: { zones: [zen.spamhaus.org] }\n      - domains: { local: [example.org] }',
    "greylist": '- domains: { local: [example.org], recipients: [alice@example.org] }\n      - greylist',
    "rcpt_limit": '- domains: { networks: [192.0.2.0/24] }\n      - rcpt_limit: { max: 1 }',
    "submission": '- domains: { networks: [192.0.2.0/24] }\n      - submission',
    "pregreet": '- pregreet: { refuse_at: now }\n      - domains: { local: [example.org] }',
    "tarpit": '- tarpit: { rcpt: 5s }\n      - domains: { local: [example.org] }',
    "relay_authenticated": '- lua: { script: %s/tests/dialogue/auth.lua }\n      - relay_authenticated' % ROOT,
    "sender_login": '- lua: { script: %s/tests/dialogue/auth.lua }\n      - sender_login\n      - relay_authenticated' % ROOT,
    "auth_results": '- spf\n      - domains: { local: [example.org] }\n      - auth_results',
    "iprev": '- iprev: { permerror: reject }\n      - domains: { local: [example.org] }',
    "dkim_verify": '- domains: { local: [example.org] }\n      - dkim_verify: { temperror: defer }',
    "arc_verify": '- domains: { local: [example.org] }\n      - arc_verify: { temperror: defer }',
    "arc_seal": '- domains: { local: [example.org] }\n      - arc_verify\n      - arc_seal: { domain: a.example, selector: s1, key: /nowhere/arc.pem, classes: [local] }',
    "dkim_sign": '- domains: { networks: [192.0.2.0/24] }\n      - dkim_sign: { selector: s1, key: "/nowhere/%%{domain}.pem" }',
    "spf": '- spf: { fail: reject }\n      - domains: { local: [example.org] }',
    "srs": '- srs: { domain: srs.example.org, secrets: "a secret that nobody knows" }\n      - domains: { local: [example.org] }',
    "dmarc": '- spf\n      - domains: { local: [example.org] }\n      - dkim_verify\n      - dmarc: { enforce: true }',
    "batv": '- batv: { local: [example.org], secrets: "a secret that nobody knows", untagged: refuse }\n      - domains: { local: [example.org] }',
    "hello": '- hello: { forbidden: spammer.example, refuse_at: now }',
}


def dialogue_of(text):
    """The C: and S: lines of the last block behind "## A dialogue", as a test."""
    block = text[text.index("## A dialogue"):].split("```")[1]
    lines = []
    if "C: EHLO" not in block:
        lines.append("C: EHLO client.example")
    for line in block.strip("\n").split("\n"):
        if line.startswith("... five minutes later"):
            lines.append("advance 5m")
        elif line.startswith("S: 220"):
            continue
        elif line[:2] in ("C:", "S:"):
            lines.append(line.replace(" ...", ""))
    return "".join("  %s\n" % line for line in lines)


def test_dialogues_of_modules():
    for name, steps in SETUP.items():
        text = ('config <<\n  hostname: mx1.hoster.example\n  listeners: { mx: { bind: "127.0.0.1:2525", policy: p, auth_plaintext: true } }\n  policies:\n'
                '    p:\n      %s\n  routes: [{ class: local, transport: smtp, to: ["127.0.0.1:25"] }]\n>>\n'
                'dns 1.2.0.192.zen.spamhaus.org A 127.0.0.2\ndns s1._domainkey.example.net TXT TIMEOUT\n'
                'dns example.net TXT v=spf1 ip4:203.0.113.0/24 -all\ndns _dmarc.example.net TXT v=DMARC1; p=reject\ntest "%s"\n%s'
                % (steps, name, dialogue_of(read("modules", name, "README.md"))))
        with tempfile.TemporaryDirectory(prefix="tern-docs-") as d:
            with open(os.path.join(d, "x.smtpt"), "w") as f:
                f.write(text)
            r = tern("test", os.path.join(d, "x.smtpt"))
            assert r.returncode == 0, "%s:\n%s\n%s%s" % (name, text, r.stdout, r.stderr)


def test_example_filters_are_short_and_tried():
    """Under 40 lines each, and run by a test: rows of unit/test_lua_examples, or a .smtpt beside it."""
    names = sorted(glob.glob(os.path.join(ROOT, "lua", "examples", "*.lua")))
    rows = read("tests", "unit", "test_lua_examples.c")
    assert len(names) >= 5, names
    for path in names:
        name = os.path.basename(path)[:-4]
        assert read(path).count("\n") < 40, path
        assert '{ "%s",' % name in rows or os.path.exists(path[:-4] + ".smtpt"), path


def build(folder, name, text):
    with open(os.path.join(folder, name + ".c"), "w") as f:
        f.write(text)
    r = subprocess.run(["cc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-variable",
                        "-shared", "-fPIC", "-I", os.path.join(ROOT, "core", "include"), "-o",
                        os.path.join(folder, name + ".so"), os.path.join(folder, name + ".c")],
                       capture_output=True, text=True, timeout=60 * SLOW)
    assert r.returncode == 0, r.stderr
    os.chmod(os.path.join(folder, name + ".so"), 0o755)


def test_c_blocks_are_built_and_load():
    """Each block of docs/modules.md is a whole module; its name stands in TERN_MODULE."""
    need("cc")
    count = 0
    for line, text in blocks(read("docs", "modules.md"), "c"):
        name = re.search(r'\.name = "([a-z_0-9]+)"', text).group(1)
        with tempfile.TemporaryDirectory(prefix="tern-docs-") as d:
            os.chmod(d, 0o755)
            build(d, name, text)
            for so in glob.glob(os.path.join(MODULES, "*.so")):
                shutil.copy2(so, d) if os.path.basename(so) != name + ".so" else None
            for so in glob.glob(os.path.join(d, "*.so")):
                os.chmod(so, 0o755)
            transport = "tern_transport transport" in text
            steps = "    - %s\n" % name if not transport else ""
            config = whole("module_path: .\npolicies:\n  inbound:\n    - domains: { local: [example.org], recipients: [a@example.org] }\n"
                           + steps + ("transports:\n  t: { type: %s }\n" % name if transport else ""))
            check(config, "docs/modules.md:%d" % line, d)
        count += 1
    assert count >= 4, count


def test_the_first_module_does_what_the_page_says():
    """The blocks of the tutorial together: the C file, the commands that build and install it, its dialogue."""
    need("cc")
    page = read("docs", "modules.md")
    _, code = next(blocks(page, "c"))
    _, commands = next(blocks(page, "console"))
    _, dialogue = next(blocks(page, "smtpt"))
    with tempfile.TemporaryDirectory(prefix="tern-docs-") as d:
        os.chmod(d, 0o755)
        prefix = os.path.join(d, "prefix")
        modules = os.path.join(prefix, "lib", "tern", "modules")
        os.makedirs(modules)
        os.makedirs(os.path.join(prefix, "bin"))
        os.symlink(BINARY, os.path.join(prefix, "bin", "tern"))
        shutil.copytree(os.path.join(ROOT, "core", "include"), os.path.join(prefix, "include"))
        for so in glob.glob(os.path.join(MODULES, "*.so")):
            shutil.copy2(so, modules)
            os.chmod(os.path.join(modules, os.path.basename(so)), 0o755)
        for name, text in (("big_mail.c", code), ("x.smtpt", dialogue)):
            with open(os.path.join(d, name), "w") as f:
                f.write(text)
        assert all(line.startswith("$ ") for line in commands.splitlines()), commands
        env = dict(ENV, TERN_MODULE_PATH=modules)
        script = "".join(line[2:] + "\n" for line in commands.splitlines()).replace("/opt/tern", prefix)
        r = subprocess.run(["sh", "-e"], input=script, capture_output=True, text=True, cwd=d, env=env, timeout=60 * SLOW)
        assert r.returncode == 0 and "big_mail.friends" in r.stdout, r.stdout + r.stderr
        r = subprocess.run([BINARY, "test", os.path.join(d, "x.smtpt")], capture_output=True, text=True, env=env,
                           timeout=60 * SLOW)
        assert r.returncode == 0, r.stdout + r.stderr


def test_files_and_functions_that_are_named_exist():
    sources = {}
    for base, _, files in os.walk(os.path.join(ROOT, "core")):
        for f in files:
            if f.endswith((".c", ".h")):
                sources[os.path.relpath(os.path.join(base, f), os.path.join(ROOT, "core"))] = read(base, f)
    everything = "\n".join(sources.values()) + "".join(read(m) for m in glob.glob(os.path.join(ROOT, "modules/*/*.c")))
    for page in ("docs/architecture.md", "docs/threat-model.md", "docs/modules.md", "docs/features.md"):
        text = read(page).replace("`tests/unit/test_x.c`", "").replace("`tests/interop/test_x.py`", "").replace("`tests/dialogue/x.smtpt`", "")
        for path in set(re.findall(r"`((?:core|tests|docs|conf|modules|lua|contrib)/[\w./-]+\.\w+)`", text)):
            assert path in sources or os.path.exists(os.path.join(ROOT, path)), "%s: %s" % (page, path)
        for path in set(re.findall(r"`((?:base|net|config|mime|dns|state|smtp|spool|queue|module|delivery|lua|server|cli)/\w+\.[ch])`", text)):
            assert path in sources, "%s: %s" % (page, path)
        for name in set(re.findall(r"`(\w+)\(\)`", text)):
            assert re.search(r"\b%s\b" % name, everything), "%s: %s()" % (page, name)


def test_features_name_tests_that_exist():
    """docs/features.md: `unit/test_x: case`, `interop/test_x: function`, `dialogue/x`."""
    text = read("docs", "features.md")
    kinds = {"unit": ".c", "interop": ".py", "crash": "", "lint": ".py", "fuzz": ".c", "dialogue": ".smtpt", "bench": ".py",
             "support": ""}
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert len(rows) > 80
    for row in rows:
        for kind, name, cases in re.findall(r"`(%s)/([\w.*]+)(?:: ([^`]+))?`" % "|".join(kinds), row):
            paths = [p for p in glob.glob(os.path.join(ROOT, "tests", kind, name + "*")) if os.path.isfile(p)]
            assert paths, row
            body = "".join(read(p) for p in paths)
            for case in (cases or "").split(", "):
                case = case.strip().rstrip(".")
                assert case in body, "%s: no \"%s\"" % (row, case)


RFCS = (5321, 2920, 3030, 3207, 3461, 4954, 6152, 6409, 6531, 2033, 9422)
KINDS = {"unit": ".c", "interop": ".py", "crash": "", "lint": ".py", "fuzz": ".c", "dialogue": ".smtpt", "bench": ".py", "support": ""}


def named_test(kind, name):
    """The file of unit/NAME and so on, as text; None if there is none."""
    folder = os.path.join(ROOT, "tests", kind)
    found = [p for p in glob.glob(os.path.join(folder, name + ".*")) if p.endswith((".c", ".py", ".smtpt"))]
    return read(found[0]) if found else None


def test_rfcs_name_tests_that_exist():
    """docs/rfc.md, any table: the file, and behind it the functions (interop, lint) or names of cases (unit)."""
    wrong, count = [], 0
    for n, row in enumerate(read("docs", "rfc.md").split("\n"), 1):
        if not row.startswith("|"):
            continue
        for kind, name, cases in re.findall(r"`(?:tests/)?(%s)/([\w]+)(?:\.\w+)?(?::? ([^`]+))?`" % "|".join(KINDS), row):
            body, count = named_test(kind, name), count + 1
            if body is None:
                wrong.append("%d: no %s/%s" % (n, kind, name))
            whole = body and cases and '"%s"' % cases in body  # the name of one case may have a comma
            for case in (cases or "").split(", ") if body and not whole else ():
                there = "def %s()" % case if kind in ("interop", "lint") else '"%s' % case if kind == "unit" else case
                if case and there not in body:
                    wrong.append("%d: no \"%s\" in %s/%s" % (n, case, kind, name))
        for name in re.findall(r"`(test_\w+)`", row):
            count += 1
            if named_test("unit", name) is None and named_test("interop", name) is None:
                wrong.append("%d: no %s" % (n, name))
        for path in re.findall(r"`((?:core|docs|conf|modules|lua)/[\w./-]+\.\w+)`", row):
            if not os.path.exists(os.path.join(ROOT, path)):
                wrong.append("%d: no %s" % (n, path))
    assert not wrong, "docs/rfc.md:\n  " + "\n  ".join(wrong)
    assert count > 400, count


def test_rfcs_are_whole():
    """Each RFC's table accounts for as many keywords as the RFC has, and each row says what, where, and by which test."""
    page = read("docs", "rfc.md")
    for rfc in RFCS:
        m = re.search(r"^## RFC %d, [^\n]*\n\nKeywords: (\d+)\n(.*?)(?=^## |\Z)" % rfc, page, re.M | re.S)
        assert m, "RFC %d has no table with the number of its keywords" % rfc
        rows = [[c.strip() for c in r.strip("|").split(" | ")] for r in m[2].split("\n") if r.startswith("|")][2:]
        for row in rows:
            assert len(row) == 5 and all(row), "RFC %d: %s" % (rfc, row)
            assert re.fullmatch(r"\d+|-", row[1]), "RFC %d: %s" % (rfc, row)
            assert row[4] == "-" or "`" in row[4], "RFC %d, %s: names no test, and not \"-\"" % (rfc, row[0])
        told = sum(int(row[1]) for row in rows if row[1] != "-")
        assert told == int(m[1]), "RFC %d: %s keywords, and rows for %d" % (rfc, m[1], told)


if __name__ == "__main__":
    run([test_example_configurations, test_yaml_blocks, test_reference_is_up_to_date, test_smtpt_blocks,
         test_every_word_of_tern_test_is_explained, test_keys_that_need_a_restart_are_listed,
         test_readmes_name_every_option, test_dialogues_of_modules, test_example_filters_are_short_and_tried,
         test_c_blocks_are_built_and_load, test_the_first_module_does_what_the_page_says,
         test_files_and_functions_that_are_named_exist, test_features_name_tests_that_exist,
         test_rfcs_name_tests_that_exist, test_rfcs_are_whole])
