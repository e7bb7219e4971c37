#!/usr/bin/env python3
"""abi_test.py -- the binary interface is the committed one, and tool/abi sees what breaks it"""
import os
import re
import subprocess
import sys
import tempfile

from harness import LIBRARY, ROOT

TOOL = os.path.join(ROOT, "tool", "abi")
HEADER = os.path.join(ROOT, "include", "beck.h")
MAP = os.path.join(ROOT, "src", "beck.map")


def abi(**places):
    done = subprocess.run([TOOL], capture_output=True, text=True, timeout=30, check=False,
                          env=dict(os.environ, BECK_LIB=LIBRARY) | places)
    assert done.stderr == "", done.stderr
    return done.returncode, done.stdout


def changed(folder, pattern, replacement):
    """tool/abi with a header in which something is different."""
    source = open(HEADER, encoding="utf-8").read()
    text, count = re.subn(pattern, replacement, source, count=1)
    assert count == 1, "beck.h holds no " + pattern
    with open(os.path.join(folder, "beck.h"), "w", encoding="utf-8") as out:
        out.write(text)
    return abi(BECK_HEADER=os.path.join(folder, "beck.h"))


def stub(folder, names):
    """A library with these symbols."""
    source, library = os.path.join(folder, "stub.c"), os.path.join(folder, "libbeck.so")
    with open(source, "w", encoding="utf-8") as out:
        out.writelines("void %s(void) {}\n" % name for name in names)
    subprocess.check_call(["cc", "-shared", "-fPIC", "-Wno-builtin-declaration-mismatch", "-o",
                           library, source, "-Wl,-soname,libbeck.so.0,--version-script=" + MAP])
    return library


def breaks(result, text):
    code, said = result
    assert code == 1 and "BROKEN" in said and text in said and "make abi" in said, (
        "tool/abi did not find: %s\nexit %d\n%s" % (text, code, said))


def grows(result, text, today):
    """Fine with a note; what differs today already (`today`) may be told too."""
    code, said = result
    assert code == today and "new    " + text in said and "make abi" in said, (
        "tool/abi: exit %d where new is fine: %s\n%s" % (code, text, said))


def main(folder):
    today, said = abi()
    print("".join("note: %s\n" % line for line in said.splitlines()), end="")
    grows(changed(folder, r"\} beck_options;", "    uint64_t more;\n} beck_options;"),
          "struct beck_options: new at its end: ", today)
    grows(changed(folder, r"\} beck_topic_info;", "    uint64_t more;\n} beck_topic_info;"),
          "struct beck_topic_info: new at its end: ", today)
    breaks(changed(folder, r"\} beck_record;", "    uint64_t more;\n} beck_record;"),
           "struct beck_record: new at its end: more, but programs step through")
    grows(changed(folder, r"BECK_SYNC_OS = 2\n", "BECK_SYNC_OS = 2,\n    BECK_SYNC_MORE = 77\n"),
          "new: enum BECK_SYNC_MORE", today)
    breaks(changed(folder, r"(struct beck_record \{\n)", r"\1    int32_t first;\n"),
           "struct beck_record: key was at 0")
    breaks(changed(folder, r"    uint32_t key_size;\n", ""), "struct beck_record: ")
    breaks(changed(folder, r"int32_t cause;", "uint32_t cause;"), "struct beck_event_info: cause")
    breaks(changed(folder, r"BECK_SYNC_OS = 2", "BECK_SYNC_OS = 3"), "enum BECK_SYNC_OS")
    breaks(changed(folder, r"X\(IO, -1,", "X(IO, -101,"), "enum BECK_IO: was: = -1; is: = -101")
    breaks(changed(folder, r"BECK_OPEN_FORCE 4u", "BECK_OPEN_FORCE 8u"), "define BECK_OPEN_FORCE")
    breaks(changed(folder, r"beck_sync\(beck \*db\)", "beck_sync(beck *db, int how)"),
           "symbol beck_sync@BECK_0: was: int beck_sync(beck *);")
    listed = subprocess.check_output(["nm", "-D", "--defined-only", LIBRARY], text=True)
    names = sorted(set(re.findall(r" T (\w+)", listed)))
    assert len(names) > 20, "no symbols in " + LIBRARY
    breaks(abi(BECK_LIB=stub(folder, names[1:])), "symbol %s@BECK_0 is gone" % names[0])
    breaks(abi(BECK_LIB=stub(folder, names + ["beck_secret"])), "beck_secret@BECK_0 is exported")
    return today


with tempfile.TemporaryDirectory() as place:
    sys.exit(main(place))
