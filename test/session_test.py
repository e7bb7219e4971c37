#!/usr/bin/env python3
"""session_test.py -- the terminal sessions of README.md and doc/TUTORIAL.md, letter by letter

Each page is typed into real terminals: a shell for every name behind ```console. Lines that begin
with "$ " are typed and a lone ^C is the key; everything on the screen, prompts included, must be
what the page shows. Only durations and rates may differ. A block of C becomes the file that the
line before it names."""
import os
import pty
import re
import select
import shutil
import signal
import sys
import tempfile
import time
import unittest

ROOT, BECK = os.environ["BECK_ROOT"], os.environ["BECK"]
LIMIT = 10  # seconds for one command
TIMES = re.compile(r"in [0-9.]+ s( \(\d+ records/s\))?")


class Terminal:
    """A shell on a terminal of its own, and what its screen should show."""

    def __init__(self, folder):
        self.screen, self.wanted = "", "$ "
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(folder)
            # As at a desk: Python ignores SIGPIPE, and what runs in the background SIGINT.
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            env = {"PATH": os.path.dirname(BECK) + ":" + os.environ["PATH"], "TERM": "dumb",
                   "PS1": "$ ", "COLUMNS": "100", "HOME": folder, "LC_ALL": "C.UTF-8"}
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "--noediting"], env)
        self.pid = pid
        self.settle()

    def same(self):
        return TIMES.sub("TIME", self.screen) == TIMES.sub("TIME", self.wanted)

    def settle(self):
        """Read until the screen shows what it should; whether it does, and nothing follows."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            quiet = 0.1 if self.same() else end - time.monotonic()
            if select.select([self.fd], [], [], quiet)[0]:
                try:
                    self.screen += os.read(self.fd, 65536).decode().replace("\r\n", "\n")
                except OSError:
                    return self.same()
            elif self.same():
                return True
            if len(self.screen) > 2 * len(self.wanted) + 4096:
                return False
        return False

    def type(self, line):
        os.write(self.fd, b"\x03" if line == "^C" else line[2:].encode() + b"\n")

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def blocks(page):
    """The fenced blocks of a page as (kind, rest of the fence line, line before it, lines)."""
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        lines = iter(file.read().split("\n"))
    before = ""
    for line in lines:
        if line.startswith("```"):
            kind, _, name = line[3:].partition(" ")
            body = []
            for inner in lines:
                if inner.startswith("```"):
                    break
                body.append(inner)
            yield kind, name, before, body
        if line:
            before = line


def steps(page):
    """What happens in which terminal: (name, typed or None, what is printed until the next)."""
    for kind, name, before, body in blocks(page):
        named = re.search(r"`([a-z_]+\.c)`", before)
        if kind == "c" and named:
            yield "write", named.group(1), "\n".join(body) + "\n"
        if kind != "console":
            continue
        typed, printed = None, []
        for line in body:
            if line.startswith("$ ") or line == "^C":
                if typed or printed:
                    yield name, typed, printed
                typed, printed = line, []
            else:
                printed.append(line)
        yield name, typed, printed


class Session(unittest.TestCase):
    def replay(self, page):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        terminals, count = {}, 0
        todo = list(steps(page))
        for number, (name, typed, printed) in enumerate(todo):
            if name == "write":
                with open(os.path.join(folder, typed), "w", encoding="utf-8") as file:
                    file.write(printed)
                continue
            if name not in terminals:
                terminals[name] = Terminal(folder)
                self.addCleanup(terminals[name].close)
            terminal = terminals[name]
            # A command that prints more, or is interrupted, later on is still running.
            later = next((step for step in todo[number + 1:] if step[0] == name), None)
            runs_on = later is not None and (later[1] is None or later[1] == "^C")
            if typed:
                terminal.type(typed)
                terminal.wanted += typed.removeprefix("$ ") + "\n"
            terminal.wanted += "".join(line + "\n" for line in printed)
            if not runs_on:
                terminal.wanted += "$ "
            count += 1
            self.assertTrue(terminal.settle(), "%s: after %r the terminal shows\n%s\ninstead of\n%s"
                            % (page, typed, terminal.screen, terminal.wanted))
        self.assertGreater(count, 0)
        print("%s: %d steps in %d terminals, as shown" % (page, count, len(terminals)))

    def test_readme(self):
        self.replay("README.md")

    def test_tutorial(self):
        self.replay("doc/TUTORIAL.md")


if __name__ == "__main__":
    if shutil.which("bash") is None:
        print("there is no bash")
        sys.exit(77)
    unittest.main()
