#!/usr/bin/python3
"""What a reader relies on without looking: layers, sizes, essays, exported symbols; and that the documents are true."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import authpolicy
from ternlib import BINARY, BUILD, MODULES, ROOT, SHARED, certificates_for, run

LAYERS = [["base"], ["net", "config", "mime", "local"], ["tls", "dns", "sasl", "state"], ["smtp", "spool", "milter"], ["queue", "module"],
          ["delivery", "lua"], ["server"], ["cli"]]
LAYER = {folder: n for n, folders in enumerate(LAYERS) for folder in folders}
FUNCTION_MAX, FILE_MAX, HEADER_MAX = 70, 800, 250
TOO_LONG = {
    "core/include/tern/module.h",  # the ABI: one header, so that a module's author reads one file
    "core/spool/internal.h",       # what ten files of the writer share, with the locks of each function
    "tests/unit/client_rows.h",    # a table
    "tests/support/simdisk.c",     # a disk
}


def files(*patterns):
    out = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", *patterns], capture_output=True, check=True).stdout
    return [f for f in out.decode().split("\0") if f and os.path.exists(os.path.join(ROOT, f))]


def sources(folder, *endings):
    return [f for e in endings or (".c", ".h") for f in files("%s/**%s" % (folder, e), "%s/*%s" % (folder, e))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def tell(wrong):
    assert not wrong, "\n  " + "\n  ".join(wrong)


def includes(path):
    return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', read(path), re.M)


def test_layers():
    """A folder includes itself and lower layers; folders of one layer do not know each other."""
    wrong = []
    for path in set(sources("core")):
        folder = path.split("/")[1]
        if folder == "include":
            continue
        for kind, name in includes(path):
            target = name.split("/")[0]
            if kind == '"' and target == folder:
                continue
            if kind == '"' and target not in LAYER:
                wrong.append("%s: \"%s\" does not name its folder" % (path, name))
            elif target in LAYER and "/" in name and LAYER[target] >= LAYER[folder]:
                wrong.append("%s: %s is not below" % (path, name))
    tell(wrong)


def test_abi_header_stands_alone():
    tell(["core/include/tern/module.h: " + name for kind, name in includes("core/include/tern/module.h")
          if kind == '"' or "/" in name])


def test_modules_see_the_public_headers_only():
    wrong = []
    for path in set(sources("modules")):
        for kind, name in includes(path):
            own = kind == '"' and os.path.exists(os.path.join(ROOT, os.path.dirname(path), name))
            if kind == '"' and not own or kind == "<" and name.split("/")[0] in LAYER:
                wrong.append("%s: %s" % (path, name))
    tell(wrong)


def functions(text):
    """(name, first line, lines, body) of each function: its head begins in column 0, so does its last brace."""
    lines = text.split("\n")
    for n, line in enumerate(lines):
        if line != "{":
            continue
        head = n - 1
        while head > 0 and not re.match(r"[A-Za-z_]", lines[head]):
            head -= 1
        end = next((i for i in range(n, len(lines)) if lines[i] == "}"), n)
        name = re.findall(r"(\w+)\(", lines[head])
        yield (name[0] if name else "?"), head + 1, end - head + 1, lines[n:end + 1]


def is_flat(body):
    """A switch or a table, row by row: long, but nothing to keep in mind."""
    rows = [l for l in body if re.match(r"\s*(case|default)\b|\s*[{\"]|\s*\w+,$|\s*(TERN|X)_?\w*\(", l)]
    return len(rows) * 2 > len(body)


def test_sizes():
    wrong = []
    for path in sorted(set(sources("core") + sources("modules") + sources("tests"))):
        if path.startswith("tests/abi/v"):
            continue
        text = read(path)
        count = text.count("\n")
        most = HEADER_MAX if path.endswith(".h") else FILE_MAX
        if count > most and path not in TOO_LONG:
            wrong.append("%s: %d lines, at most %d" % (path, count, most))
        for name, line, length, body in functions(text):
            if length > FUNCTION_MAX and not is_flat(body):
                wrong.append("%s:%d: %s() has %d lines, at most %d" % (path, line, name, length, FUNCTION_MAX))
        if not path.startswith("tests/"):
            wrong += ["%s:%d: longer than 120 columns" % (path, n) for n, l in enumerate(text.split("\n"), 1) if len(l) > 120]
    tell(wrong)


def test_essays():
    """Every file says who may use it and what it is for."""
    wrong = []
    for path in sorted(set(sources("core") + sources("modules") + sources("tests"))):
        if path.startswith(("tests/abi/v", "tests/unit/bad_modules")):
            continue
        text = read(path)
        if not text.startswith("/* SPDX-License-Identifier: Apache-2.0 */\n"):
            wrong.append("%s: no SPDX line" % path)
        header = os.path.join(ROOT, path[:-2] + ".h")
        told = path.endswith(".c") and os.path.exists(header)  # its header tells
        told = told or path.endswith(".c") and re.search(r'#include "\w+/(private|internal|\w+_private)\.h"', text)
        if text.count("\n") > 40 and not told and not text.split("\n", 1)[1].startswith("/*"):
            wrong.append("%s: no essay" % path)
    tell(wrong)


def test_nothing_is_left_for_later():
    wrong = []
    for path in files("core", "modules", "conf", "lua", "tests", "cmake", "check", "try", "CMakeLists.txt"):
        if path == "tests/lint/test_lint.py" or "corpus" in path or path.endswith((".so", ".bin")):
            continue
        try:
            text = read(path)
        except UnicodeDecodeError:
            continue
        wrong += ["%s:%d: %s" % (path, n, l.strip()) for n, l in enumerate(text.split("\n"), 1)
                  if re.search(r"\b(TODO|FIXME|XXX)\b", l)]
    tell(wrong)


def vectors():
    """Domains, selectors and names of files that only the vectors of DKIM, ARC, SPF, DMARC and SRS know."""
    folder = os.path.join(SHARED, "corpora", "dkim")
    found = set()
    for path, _, names in os.walk(folder):
        for n in names:
            with open(os.path.join(path, n), encoding="latin-1") as f:
                text = f.read()
            found.update(os.path.splitext(n)[:1])
            found.update(re.findall(r"\bd=\s*([\w.-]+\.\w+)", text))
            found.update(re.findall(r"([\w-]+)\._domainkey", text))
            found.update("s=" + s for s in re.findall(r"\bs=\s*([\w.-]+)", text))
            found.update(re.findall(r"_domainkey\.([\w.-]+)", text))
    for n in ("arc-validation.part.yml", "arc-sign.part.yml"):
        with open(os.path.join(SHARED, "corpora", "arc", n)) as f:
            text = f.read()
        found.update(re.findall(r"(?m)^  ([\w.-]+)\._domainkey\.([\w.-]+):", text)[0])
        found.update("s=" + s for s in re.findall(r"\bs=([\w.-]+)", text))
        found.update(re.findall(r"\b([\w-]+(?:\.[\w-]+)*\.example\.org)\b", text))
        found.update(re.findall(r"(?m)^  (\w+):$", text))
    with open(os.path.join(SHARED, "corpora", "spf", "rfc7208-tests.part.yml")) as f:
        found.update(re.findall(r'(?m)^  "?([\w.-]+\.\w+)"?:$', f.read()))
    with open(os.path.join(SHARED, "corpora", "vectors", "srs", "postsrsd.tsv")) as f:
        found.update(re.findall(r"[@=]([\w-]+\.\w+)", f.read()))
    for path, _, names in os.walk(os.path.join(SHARED, "corpora", "dmarc")):
        for n in names if "vectors" in path or "spamassassin" in path else ():
            with open(os.path.join(path, n), encoding="latin-1") as f:
                text = f.read()
            found.update(re.findall(r"(?m)^From: .*@([\w.-]+\.\w+)", text))
            found.update(re.findall(r'"_dmarc\.([\w.-]+)": \{', text))
    # Words of English and of the protocol, and the names that are for examples, are anybody's.
    return {v for v in found if len(v) > 3 and re.search(r"[._0-9]", v)
            and not re.match(r"((mail|mx|smtp)\.)?example\.(org|net|com)$", v)}


def test_no_vector_is_known():
    """The product passes the suites by what it does, not by knowing them."""
    if not os.path.isdir(os.path.join(SHARED, "corpora", "dkim")):
        print("     left out: no corpora")
        return
    known = vectors()
    assert len(known) > 30, known
    wrong = []
    for path in sorted(set(sources("core") + sources("modules"))):
        words = set(re.findall(r"[\w.-]+|s=[\w.-]+", re.sub(r"(?m)^ ?(/?\*.*)$", "", read(path))))
        wrong += ["%s: %s" % (path, v) for v in known if v in words]
    tell(wrong)


def test_every_module_meets_the_corpora():
    """The mails of the corpora go through each module that has to do with mail (interop/test_auth_corpora)."""
    there = {path.split("/")[1] for path in files("modules/*/*.c")} - {"lib"}
    known = [n for n, _ in authpolicy.STEPS] + list(authpolicy.ELSEWHERE)
    tell(["modules/%s is neither in STEPS nor in ELSEWHERE of tests/support/authpolicy.py" % m for m in sorted(there - set(known))]
         + ["tests/support/authpolicy.py: %s stands there twice" % n for n in sorted({n for n in known if known.count(n) > 1})])


# ---- what was built ----

def exported(path):
    out = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    # The sanitizers' own and the linker's are nobody's to hide.
    return [n for n in (l.split()[-1] for l in out.splitlines()) if not re.match(
        r"_?_?(asan|ubsan|tsan|sancov|sanitizer|lsan)|_init$|_fini$|_edata|_end$|__bss_start|_IO_stdin_used|__data_start|data_start", n)]


def sanitized():
    with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
        return re.search(r"^TERN_SANITIZER[^=]*=.+$", f.read(), re.M) is not None


def test_exported_symbols():
    if sanitized():
        print("     a sanitizer exports what it likes: left out")
        return
    modules = glob.glob(os.path.join(MODULES, "*.so"))
    assert modules
    tell(["%s exports %s" % (m, " ".join(exported(m))) for m in modules if exported(m) != ["tern_module_entry"]])
    # Copy relocations of libc (stdout, optind) are data of libc's, not functions of ours.
    ours = [n for n in exported(BINARY) if "@" not in n]
    assert ours == [], "tern exports " + " ".join(ours[:20])


# ---- what is written about it ----

def tern(*words, **env):
    return subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, TERN_MODULE_PATH=MODULES, **env))


def documents():
    return files("README.md", "docs/*.md", "docs/**/*.md")


def blocks(path):
    """(line, language and words behind it, the line before, text) of each fenced block."""
    lines, at = read(path).split("\n"), 0
    while at < len(lines):
        m = re.match(r"```(\w+)(.*)$", lines[at])
        if m is None:
            at += 1
            if lines[at - 1].startswith("```"):
                at = next((i for i in range(at, len(lines)) if lines[i].startswith("```")), len(lines)) + 1
            continue
        end = next(i for i in range(at + 1, len(lines)) if lines[i].startswith("```"))
        before = next((l for l in reversed(lines[:at]) if l.strip()), "")
        yield at + 1, m.group(1), m.group(2).strip(), before, "\n".join(lines[at + 1:end]) + "\n"
        at = end + 1


def is_excerpt(words, before):
    return "excerpt" in words or "excerpt" in before.lower()


def users_for(config, folder):
    """The operator's own users.yaml, if the configuration names one."""
    if "path: users.yaml" in config:
        with open(os.path.join(folder, "users.yaml"), "w") as f:
            f.write("alice@example.org: '!'\n")
        os.chmod(os.path.join(folder, "users.yaml"), 0o600)


def test_examples_pass_check():
    """As they are installed: what they name is installed with them."""
    with tempfile.TemporaryDirectory() as prefix:
        r = subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        etc = os.path.join(prefix, "etc", "tern")
        shutil.copytree(os.path.join(ROOT, "conf"), etc, dirs_exist_ok=True)
        examples = [f for f in sorted(glob.glob(etc + "/**/*.yaml", recursive=True))
                    if any(l.startswith("listeners:") for l in open(f))]
        assert examples
        wrong = []
        for path in examples:
            for table in re.findall(r"file: *\"?([\w.-]+\.txt)", open(path).read()):
                open(os.path.join(etc, table), "a").close()  # the operator's own
            users_for(open(path).read(), etc)
            certificates_for(open(path).read(), etc)
            r = tern("check", "-c", path)
            if r.returncode != 0:
                wrong.append("conf/%s: %s" % (os.path.relpath(path, etc), (r.stdout + r.stderr).strip()))
        print("     %d examples" % len(examples))
        tell(wrong)


def test_an_upgrade_keeps_what_the_operator_wrote():
    with tempfile.TemporaryDirectory() as prefix:
        etc = os.path.join(prefix, "etc", "tern")
        own = [os.path.join(etc, "tern.yaml"), os.path.join(etc, "filters", "attachments.lua")]
        for again in (False, True):
            r = subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], capture_output=True, text=True)
            assert r.returncode == 0, r.stderr
            for path in own:
                assert os.path.exists(path) and (open(path).read() == "mine\n") == again, path
                with open(path, "w") as f:
                    f.write("mine\n")
        os.unlink(own[0])
        r = subprocess.run(["cmake", "--install", BUILD], capture_output=True, text=True, env=dict(os.environ, DESTDIR=prefix + "/root"))
        assert r.returncode == 0, r.stderr
        assert glob.glob(prefix + "/root/**/etc/tern/tern.yaml", recursive=True) and not os.path.exists(own[0])


def test_the_configuration_is_looked_for_where_it_is_installed():
    """Also below /opt, for which GNUInstallDirs has a folder of its own in /etc."""
    with tempfile.TemporaryDirectory() as folder:
        r = subprocess.run(["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DBUILD_TESTING=OFF", "-DCMAKE_INSTALL_PREFIX=/opt/tern"],
                           capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        ninja = open(os.path.join(folder, "build.ninja")).read()
        found = set(re.findall(r'TERN_SYSCONF_DIR=\\"([^"\\]+)\\"', ninja))
        assert found == {"/opt/tern/etc/tern"}, found


def test_yaml_blocks():
    """A block that is a whole configuration passes `tern check`; a part says that it is an excerpt, or is YAML."""
    wrong, whole = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for path in documents():
            for line, language, words, before, text in blocks(path):
                if language not in ("yaml", "yml") or is_excerpt(words, before):
                    continue
                if not (re.search(r"^listeners:", text, re.M) and re.search(r"^spool:|protocol: milter", text, re.M)):
                    continue
                whole += 1
                file = os.path.join(folder, "tern.yaml")
                with open(file, "w") as f:
                    f.write(text)
                for script in re.findall(r"script: *\"?([\w/.-]+\.lua)", text):
                    place = os.path.join(folder, script.lstrip("/"))
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    known = [f for f in files("*.lua") if f.endswith("/" + os.path.basename(script))]
                    with open(place, "w") as f:
                        f.write(read(known[0]) if known else "")
                for table in re.findall(r"file: *\"?([\w.-]+\.txt)", text):
                    open(os.path.join(folder, table), "a").close()
                for secret in re.findall(r"!file ([\w.-]+)", text):
                    with open(os.path.join(folder, secret), "w") as f:
                        f.write("a secret that nobody knows\n")
                certificates_for(text, folder)
                users_for(text, folder)
                r = tern("check", "-c", file)
                if r.returncode != 0:
                    wrong.append("%s:%d: %s" % (path, line, (r.stdout + r.stderr).strip()))
    print("     %d whole configurations" % whole)
    tell(wrong)


def compiles(text):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "block.c")
        with open(source, "w") as f:
            f.write(text)
        return subprocess.run(["cc", "-std=gnu17", "-fsyntax-only", "-Wall", "-Wno-unused", "-I",
                               os.path.join(ROOT, "core", "include"), source], capture_output=True, text=True)


def test_c_blocks_compile():
    wrong, count = [], 0
    for path in documents():
        for line, language, words, before, text in blocks(path):
            if language != "c" or is_excerpt(words, before):
                continue
            count += 1
            prefix = "" if "#include" in text else "#include <tern/module.h>\n#include <string.h>\n#include <stdlib.h>\n"
            r = compiles(prefix + text)
            if r.returncode != 0:
                wrong.append("%s:%d: %s" % (path, line, r.stderr.split("\n")[0]))
    print("     %d blocks" % count)
    tell(wrong)


def test_lua_blocks_parse():
    wrong, count = [], 0
    for path in documents():
        for line, language, words, before, text in blocks(path):
            if language != "lua" or is_excerpt(words, before):
                continue
            count += 1
            luac = subprocess.run(["luac5.4", "-p", "-"], input=text, capture_output=True, text=True)
            if luac.returncode != 0:
                wrong.append("%s:%d: %s" % (path, line, luac.stderr.strip()))
    print("     %d blocks" % count)
    tell(wrong)


def test_shell_blocks_parse():
    wrong = []
    for path in documents():
        for line, language, words, before, text in blocks(path):
            if language in ("sh", "bash", "shell", "console"):
                text = re.sub(r"^\$ ", "", text, flags=re.M) if language != "console" else "\n".join(
                    l[2:] for l in text.split("\n") if l.startswith(("$ ", "# ")))
                r = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
                if r.returncode != 0:
                    wrong.append("%s:%d: %s" % (path, line, r.stderr.strip()))
                for command in re.findall(r"^(?:\./|/\S*/)?(tern) ([a-z]+)", text, re.M):
                    if command[1] != "help" and command[1] not in tern("help").stdout:
                        wrong.append("%s:%d: there is no tern %s" % (path, line, command[1]))
    tell(wrong)


def test_links_lead_somewhere():
    wrong = []
    for path in documents():
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(path)):
            if not re.match(r"[a-z]+:", target) and not os.path.exists(os.path.join(ROOT, os.path.dirname(path), target)):
                wrong.append("%s: %s" % (path, target))
    tell(wrong)


def named_file(name):
    """The file that a row of docs/features.md means: unit/test_x, interop/test_x, dialogue/x, or a path."""
    for pattern in (name, "tests/" + name, "tests/%s.c" % name, "tests/%s.py" % name, "tests/%s.smtpt" % name,
                    "tests/dialogue/%s.smtpt" % name.split("/")[-1]):
        found = [f for f in glob.glob(os.path.join(ROOT, pattern)) if os.path.isfile(f)]
        if found:
            return found[0]
    return None


def test_features_name_tests_that_exist():
    """Each `folder/file: word` in the last column is there, and so is the word."""
    wrong, count = [], 0
    for n, line in enumerate(read("docs/features.md").split("\n"), 1):
        cells = line.strip().strip("|").split("|")
        if not line.startswith("|") or len(cells) < 3:
            continue
        if cells[1].strip() == "works" and "`" not in cells[-1] and "itself" not in cells[-1] and "by hand" not in cells[-1]:
            wrong.append("docs/features.md:%d: works, but names no test" % n)
        for name in re.findall(r"`([\w./-]+/[\w.*-]+)(?:: [^`]*)?`", cells[-1]):
            count += 1
            if named_file(name.lstrip("./")) is None and not glob.glob(os.path.join(ROOT, name)):
                wrong.append("docs/features.md:%d: there is no %s" % (n, name))
        for name, word in re.findall(r"`([\w./-]+/[\w.-]+): (\w+)`", cells[-1]):
            path = named_file(name)
            if path is not None and word not in open(path, encoding="utf-8").read():
                wrong.append("docs/features.md:%d: there is no %s in %s" % (n, word, name))
    print("     %d names" % count)
    tell(wrong)


if __name__ == "__main__":
    run([test_layers, test_abi_header_stands_alone, test_modules_see_the_public_headers_only, test_sizes, test_essays,
         test_nothing_is_left_for_later, test_no_vector_is_known, test_every_module_meets_the_corpora,
         test_exported_symbols, test_examples_pass_check, test_an_upgrade_keeps_what_the_operator_wrote,
         test_the_configuration_is_looked_for_where_it_is_installed, test_yaml_blocks,
         test_c_blocks_compile, test_lua_blocks_parse, test_shell_blocks_parse, test_links_lead_somewhere,
         test_features_name_tests_that_exist])
