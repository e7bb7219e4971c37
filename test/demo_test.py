#!/usr/bin/env python3
"""demo_test.py -- the demo in small: it ends well, and says so when a reader loses a record"""
import os
import shutil
import subprocess
import sys
import tempfile

TOOL = os.environ["BECK_TOOL"]


def run(tool):
    env = dict(os.environ, DEMO_LINES="20000", DEMO_SECONDS="1.5")
    demo = subprocess.run([os.path.join(tool, "demo")], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return demo.returncode, demo.stdout.decode().splitlines()


def check(good, what, lines):
    if not good:
        sys.exit("%s:\n%s" % (what, "\n".join(lines)))


code, lines = run(TOOL)
check(code == 0, "the demo ended with code %d" % code, lines)
check(lines[-1] == "OK: no acknowledged record was lost", "the last line is another", lines)
for start in ("reader 1  handled ", "reader 2  handled "):
    check(any(line.startswith(start) and "none missing, in order" in line for line in lines),
          "no line '%s...'" % start, lines)
check(any(line.startswith("check     2") and line.endswith("no problems") for line in lines),
      "beck check does not tell what it checked", lines)
check(sum("kill -9" in line for line in lines) == 2, "not two processes were killed", lines)

# A reader that leaves out a record must be found out.
with tempfile.TemporaryDirectory() as folder:
    for name in ("demo", "demo_worker.c", "demo_log.c", "demo_log.h"):
        shutil.copy(os.path.join(TOOL, name), folder)
    worker = os.path.join(folder, "demo_worker.c")
    text = open(worker, encoding="utf-8").read()
    bad = text.replace("count > 0) handle(&r, records, count)",
                       "count > 0) handle(&r, records + (count > 1), count - (count > 1))")
    check(bad != text, "demo_worker.c has changed, this test has to follow", [])
    open(worker, "w", encoding="utf-8").write(bad)
    code, lines = run(folder)
check(code == 1, "a lost record was not noticed", lines)
check(lines[-1].startswith("FAILED: reader 1: new records by source"), "the message is another",
      lines)
