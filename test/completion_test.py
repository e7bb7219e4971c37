#!/usr/bin/env python3
"""completion_test.py -- what bash offers behind `beck`, held against the program and its source"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

from harness import BECK, ROOT, beck

SCRIPT = os.path.join(ROOT, "packaging", "completion", "beck")
ASK = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"
_beck; printf '%s\\n' "${COMPREPLY[@]}" """


def offered(*words, folder=None):
    done = subprocess.run(["bash", "-c", ASK, "bash", SCRIPT, BECK, *words], cwd=folder,
                          capture_output=True, timeout=20, check=True)
    assert done.stderr == b"", "completion says: %s" % done.stderr.decode()
    return sorted(done.stdout.decode().split())


def same(found, wanted, what):
    assert sorted(found) == sorted(wanted), "%s: offered %s, wanted %s" % (what, found, wanted)


def commands():
    """The names in the tables of the source, so that the help cannot hide one."""
    text = "".join(open(path, encoding="utf-8").read()
                   for path in glob.glob(os.path.join(ROOT, "shell", "*.c")))
    names = [tuple(name.split()) for name in re.findall(r'\.name = "([a-z ]+)",', text)]
    assert len(names) > 8, "no commands found in shell/"
    return names


def accepted(command, option):
    """Whether the program knows the option; without a file it can do nothing else."""
    done = subprocess.run([BECK, *command, option], capture_output=True, timeout=20,
                          stdin=subprocess.DEVNULL, check=False)
    return b"unknown option" not in done.stderr and b"too many" not in done.stderr


def takes_value(command, option):
    done = subprocess.run([BECK, *command, option], capture_output=True, timeout=20,
                          stdin=subprocess.DEVNULL, check=False)
    return b"needs a value" in done.stderr


def values():
    """What options may be, as the program and the header tell it; --config has not all settings."""
    wrong = subprocess.run([BECK, "topic", "create", "x.beck", "t", "--config", "nothing=1"],
                           capture_output=True, text=True, timeout=20, check=False).stderr
    settings = re.search(r"known are: ([^;]*);", wrong).group(1).split(", ")
    header = open(os.path.join(ROOT, "include", "beck.h"), encoding="utf-8").read()
    codecs = re.findall(r"BECK_COMPRESSION_(\w+) = ", header)
    return {"--sync": ["sync", "os"], "-o": ["beginning", "end"],
            "-z": [c.lower() for c in codecs if c not in ("DEFAULT", "PRODUCER")],
            "--config": [name + "=" for name in settings if name not in ("partitions", "sync")]}


def check_options(command):
    """Every letter and every long option of the source that the program takes here is offered."""
    long_options = set(re.findall(r'\{"([a-z-]+)", (?:no|required|optional)_argument', SOURCES))
    letters = [chr(c) for c in range(33, 127) if chr(c).isalnum()]
    tried = ["-" + c for c in letters] + ["--" + word for word in long_options]
    wanted = [option for option in tried if accepted(command, option)]
    same(offered(*command, "-"), wanted, "beck %s -" % " ".join(command))
    for option in wanted:
        if takes_value(command, option):
            same(offered(*command, option, ""), VALUES.get(option, []), option)
            same(offered(*command, option, "=", ""), VALUES.get(option, []), option + "=")


def check_names(folder):
    """Files first, then the topics that are in the file."""
    path = os.path.join(folder, "my file.beck")
    for topic in ("orders", "offers", "payments"):
        beck("topic", "create", path, topic)
    os.rename(path, os.path.join(folder, "my.beck"))
    same(offered("consume", "", folder=folder), ["my.beck"], "files")
    same(offered("consume", "m", folder=folder), ["my.beck"], "files with m")
    same(offered("consume", "my.beck", "o", folder=folder), ["offers", "orders"], "topics")
    same(offered("consume", "-c", "5", "my.beck", "orders", "p", folder=folder), ["payments"],
         "a second topic")
    same(offered("topic", "delete", "my.beck", "off", folder=folder), ["offers"], "a topic")
    same(offered("stat", "my.beck", "", folder=folder), [], "stat takes one file")
    same(offered("consume", "none.beck", "", folder=folder), [], "topics of no file")
    same(offered("consume", '"my.beck"', "o", folder=folder), ["offers", "orders"], "quotes")
    trap = os.path.join(folder, "trap")
    same(offered("consume", "$(touch %s)" % trap, "", folder=folder), [], "a command is no file")
    assert not os.path.exists(trap), "completion runs what is typed"


def main(folder):
    names = commands()
    same(offered(""), [n[0] for n in names if len(n) == 1], "commands")
    same(offered("help", ""), [n[0] for n in names if len(n) == 1], "help")
    for parent in {n[0] for n in names if len(n) == 2}:
        children = [n[1] for n in names if n[0] == parent and len(n) == 2]
        same(offered(parent, ""), children, parent)
        same(offered("help", parent, ""), children, "help " + parent)
    same(offered("con"), ["consume"], "con")
    same(offered("frobnicate", "-"), [], "no such command")
    same(offered("--"), ["--help", "--version"], "--")
    same(offered("version", ""), [], "version takes nothing")
    codecs = [c for c in VALUES["-z"] if c != "none"] + ["producer", "uncompressed"]
    for words in ("--config",), ("--config", "="):
        setting = ("topic", "alter", "my.beck", "t", *words, "compression.type")
        same(offered(*setting, "="), codecs, "compression.type=")
        same(offered(*setting, "=", ""), codecs, "compression.type= with a cursor behind it")
        same(offered(*setting, "=", "gz"), ["gzip"], "compression.type=gz")
        same(offered(*setting, "=", "gzip", "--par"), ["--partitions"], "behind compression.type")
    same(offered("topic", "alter", "--config", "segment.bytes", "=", ""), [], "segment.bytes=")
    for command in names:
        if command[0] != "help" and (command + ("",))[:1] not in {n[:1] for n in names
                                                                  if len(n) > len(command)}:
            check_options(command)
    check_names(folder)


SOURCES = "".join(open(path, encoding="utf-8").read()
                  for path in sorted(glob.glob(os.path.join(ROOT, "shell", "*.c"))))
if shutil.which("bash") is None:
    print("bash is not installed")
    sys.exit(77)
VALUES = values()
with tempfile.TemporaryDirectory() as place:
    main(place)
