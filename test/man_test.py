#!/usr/bin/env python3
"""man_test.py -- the manual pages say all that the help and the header say, and nothing else"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

from harness import BECK, LIBRARY, ROOT, beck

HEADER = os.path.join(ROOT, "include", "beck.h")


def run(*command):
    env = dict(os.environ, MANWIDTH="200", LC_ALL="C.UTF-8", MAN_KEEP_FORMATTING="")
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)


def shown(page):
    """A page as a reader sees it, in one line."""
    done = run("man", "--warnings", "-l", page)
    assert done.returncode == 0 and done.stderr == "", "%s: %s" % (page, done.stderr)
    return re.sub(r"\s+", " ", re.sub(r".\x08", "", done.stdout))


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


def check_sections(page):
    """What belongs to every command stands under OPTIONS, and how it ends under EXIT STATUS."""
    text = shown(page)
    for section, words in (("OPTIONS", "--force"), ("EXIT STATUS", "64 wrong usage")):
        part = re.search(r" %s (.*?) (?:COMMANDS|SEE ALSO) " % section, text)
        assert part and words in part.group(1), "beck.1 has no %s with %s" % (section, words)
    assert "--force" not in text[text.index(" EXIT STATUS "):], "--force is no exit status"
    assert re.search(r" 20\d\d-\d\d-\d\d ", text), "no date"


def check_form(pages):
    """Nothing to complain about for groff, mandoc and the index of man."""
    for page in pages:
        done = run("groff", "-man", "-Tutf8", "-ww", "-z", page)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        name = os.path.basename(page).rsplit(".", 1)[0]
        index = run("lexgrog", page).stdout
        assert '"%s - ' % name in index, "%s: no NAME for the index: %s" % (page, index)
    if shutil.which("mandoc"):
        found = run("mandoc", "-T", "lint", "-W", "warning", *pages).stdout
        assert not found, found


def check_shell(page):
    """Every word of every help, in its order."""
    text = shown(page)
    sources = [open(path, encoding="utf-8").read()
               for path in glob.glob(os.path.join(ROOT, "shell", "*.c"))]
    names = [name for s in sources for name in re.findall(r'\.name = "([a-z ]+)",', s)]
    assert "topic create" in names, "no commands found in shell/"
    for name in names:
        assert " beck %s " % name in text, "beck.1 does not tell of beck " + name
        told = beck("help", *name.split()).decode().split("\n\n", 1)[1]
        for part in re.split(r"\n\n+|\n(?=  )", told):
            words = one_line(re.sub(r"^(Usage|Examples):\s*", "", part))
            for line in part.split("\n") if "Usage:" in part else [words]:
                wanted = one_line(line.replace("Usage:", ""))
                assert wanted in text, "beck.1, %s: lost: %s" % (name, wanted)
    for part in beck("help").decode().split("\n\n")[1:]:
        for line in part.split("\n"):
            words = one_line(re.sub(r"^(Usage|Commands|Options|Examples)[^:]*:", "", line))
            assert words in text, "beck.1 lost: " + words


def header_lines(source):
    """What a line of the header says, as pieces that must be found; not its conditionals."""
    source = source[source.index("\n", source.index("/* beck.h")):]
    source = re.sub(r"#define BECK_STATUS_LIST.*?\n\n", "", source, flags=re.S)
    source = re.sub(r"enum beck_status \{.*?\};", "", source, flags=re.S)
    for line in source.split("\n"):
        if re.match(r"#(?!define BECK_\w+ )|extern \"C\"|\}|enum \w+ \{", line):
            continue
        line = re.sub(r"-{4,}", "", line.replace("BECK_API ", ""))
        line = re.sub(r"^ \* ?( *- )?", " ", line)
        for piece in re.split(r"/\*|\*/|[`]", line):
            yield one_line(piece)


def check_library(page):
    """Every line of the header is there, and every name that is there is in the header."""
    text, source = shown(page), open(HEADER, encoding="utf-8").read()
    folded = text.lower().replace("`", "")
    for line in header_lines(source):
        piece = re.sub(r"^(\w+ = -?\w+),$", r"\1", line).lower()
        assert piece in folded or piece.rstrip(",") in folded, "beck.3 lost: " + line
    rows = re.findall(r'X\((\w+), (-?\d+), "([^"]*)",\s*(\w+)\)', source)
    assert len(rows) > 20, "no status codes found in the header"
    for name, value, words, kind in rows:
        wanted = "BECK_%s = %s %s (BECK_CLASS_%s)" % (name, value, words, kind)
        assert wanted in text, "beck.3 lost: " + wanted
    known = source + " ".join("BECK_" + row[0] for row in rows)
    strangers = set(re.findall(r"\b(?:beck|BECK)_\w*\w", text)) - set(re.findall(r"\w+", known))
    assert not strangers, "beck.3 tells of %s, the header does not" % sorted(strangers)


def check_single(folder):
    """A page for every symbol of the library, with its declaration; and no page but for these."""
    source = open(HEADER, encoding="utf-8").read()
    plain = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
    exported = run("nm", "-D", "--defined-only", LIBRARY).stdout
    functions = set(re.findall(r" T (\w+)", exported))
    types = set(re.findall(r"^(?:typedef struct|enum) (\w+) \{", plain, re.M))
    types |= set(re.findall(r"typedef \w+ \(\*(\w+)\)", plain))
    assert len(functions) > 20 and len(types) > 10, "too little was found"
    pages = {os.path.basename(path)[:-2] for path in glob.glob(os.path.join(folder, "*.3"))}
    assert pages == functions | types | {"beck"}, "differs: %s" % sorted(
        pages ^ (functions | types | {"beck"}))
    for name in functions:
        prototype = re.search(r"BECK_API ([^;]*\b%s\([^;]*;)" % name, plain).group(1)
        text = shown(os.path.join(folder, name + ".3"))
        assert one_line(prototype) in text, "%s.3 lost its prototype" % name


def main(folder):
    made = subprocess.run([os.path.join(ROOT, "tool", "man"), BECK, HEADER, folder], check=False)
    assert made.returncode == 0, "tool/man failed"
    pages = sorted(glob.glob(os.path.join(folder, "*.[13]")))
    check_form(pages)
    check_sections(os.path.join(folder, "beck.1"))
    check_shell(os.path.join(folder, "beck.1"))
    check_library(os.path.join(folder, "beck.3"))
    check_single(folder)


for needed in ("man", "groff", "lexgrog"):
    if shutil.which(needed) is None:
        print(needed + " is not installed (man-db, groff-base)")
        sys.exit(77)
with tempfile.TemporaryDirectory() as place:
    main(place)
