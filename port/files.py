#!/usr/bin/env python3
"""files.py MACHINE... -- files of one kind of machine: read, appended to and recovered on others

Each machine's programs stand in build/port/MACHINE and run under qemu-user; this machine's own are
`native`. test/worker/golden.c has its own clock and chance, so that the same work gives the same
bytes. New files are compared byte by byte, all but the space that nothing owns, which keeps what
processes shared there; older ones, whose segments stand where such space was, by what
tool/beckdump.py says of every entry and every batch."""
import filecmp
import glob
import gzip
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "test"))
from harness import BUILD, DUMP, ROOT, ROUNDS, folders, seeded  # noqa: E402

BLOCK, HEAP = 16384, 14


class Machine:
    def __init__(self, name, number):
        folder = os.path.join(BUILD, "port", name)
        emulator = [] if name == "native" else ["qemu-" + name]
        self.name, self.number = name, number
        self.golden = emulator + [os.path.join(folder, "golden")]
        self.beck = emulator + [os.path.join(folder, "beck")]

    def run(self, *words):
        done = subprocess.run([*self.golden, *words], capture_output=True, timeout=120)
        assert done.returncode == 0, (self.name, words, done.returncode, done.stderr.decode())
        return done.stdout

    def dump(self, path, *write):
        return self.run("dump", path, *write)


def beckdump(path, *words):
    return subprocess.run([sys.executable, DUMP, path, *words], capture_output=True,
                          check=True).stdout


def owned(path):
    """The blocks that the catalog gives to somebody, and the superblocks: [from, to) in bytes."""
    text = beckdump(path)
    blocks = re.findall(rb"blocks \[(\d+), (\d+)\)", text)
    return [(0, HEAP * BLOCK)] + [(int(a) * BLOCK, int(b) * BLOCK) for a, b in blocks]


def same_bytes(one, other):
    if one == other:
        return
    with open(one, "rb") as file:
        a = file.read()
    with open(other, "rb") as file:
        b = file.read()
    assert len(a) == len(b) and owned(one) == owned(other), (one, len(a), other, len(b))
    for start, end in owned(one):
        assert a[start:end] == b[start:end], (one, other, "differ in", start, end)


def unchanged(path, work):
    """What `work` says; the file must keep every byte."""
    shutil.copy(path, path + ".before")
    result = work()
    assert filecmp.cmp(path, path + ".before", shallow=False), path
    os.unlink(path + ".before")
    return result


def clean_files(machines, folder):
    """Made, read, checked and appended to, in every direction."""
    paths = {m: os.path.join(folder, m.name + ".full") for m in machines}
    for m in machines:
        m.run("make", "full", paths[m])
        same_bytes(paths[machines[0]], paths[m])
    text = machines[0].dump(paths[machines[0]])
    wanted = None
    for m in machines:
        for n in machines:
            path = os.path.join(folder, "both")
            shutil.copy(paths[m], path)
            assert unchanged(path, lambda: n.dump(path)) == text, (m.name, n.name)
            subprocess.run([*n.beck, "check", path], check=True, stdout=subprocess.DEVNULL)
            n.run("append", path)
            assert wanted is None or m.dump(path) == wanted, (m.name, n.name)
            entries = beckdump(path, "--catalog") + beckdump(path)
            if wanted is None:
                wanted, wanted_entries = m.dump(path), entries
                assert len(wanted) > len(text)
            assert entries == wanted_entries, (m.name, n.name)
            os.unlink(path)


def crashed_files(machines, folder):
    """Left by a crash on one, recovered on another: in place, where the page cache and the boot are
    the same, and as a copy, which is what another computer gets."""
    wanted, full = None, os.path.join(folder, machines[-1].name + ".full")
    for m in machines:
        path = shutil.copy(full, os.path.join(folder, m.name + ".crashed"))
        m.run("leave", path)
        text = machines[0].dump(path)
        assert wanted in (None, text), m.name
        wanted = text
        for n in machines:
            copy = path + ".copy"
            shutil.copy(path, copy)
            assert unchanged(copy, lambda: n.dump(copy)) == text, (m.name, n.name, "as a copy")
            assert n.dump(copy, "write") == text, (m.name, n.name, "copy recovered")
            again = shutil.copy(full, os.path.join(folder, m.name + ".again"))
            m.run("leave", again)
            assert unchanged(again, lambda: n.dump(again)) == text, (m.name, n.name, "in place")
            assert n.dump(again, "write") == text, (m.name, n.name, "recovered")
            os.unlink(again)
            os.unlink(copy)


def many_hands(machines, folder, random):
    """One file goes from hand to hand; some crash. What was appended stays."""
    path, reads = os.path.join(folder, "hands"), 0
    shutil.copy(os.path.join(folder, random.choice(machines).name + ".full"), path)
    lines = machines[0].dump(path).count(b"\n")
    partitions = len(re.findall(rb"^partition ", machines[0].dump(path), re.M))
    for _ in range(4 * ROUNDS):
        m = random.choice(machines)
        m.run(random.choice(("append", "crash")), path)
        lines += 2 * partitions
        if random.random() < 0.4:
            shutil.copy(path, path + ".moved")
            os.replace(path + ".moved", path)
        reader = random.choice(machines)
        text = unchanged(path, lambda: reader.dump(path))
        assert text.count(b"\n") == lines, (m.name, reader.name, text.count(b"\n"), lines)
        reads += 1
    return reads


def golden_files(machines, folder):
    """What releases wrote, read by every machine; codecs are another library's, and not there."""
    for packed in glob.glob(os.path.join(ROOT, "test", "golden", "*", "*.beck.gz")):
        with open(packed[:-len("beck.gz")] + "txt", "rb") as file:
            text = file.read().replace(b"segment 16777216", b"segment 32768")  # as BECK_TINY has it
        for m in machines if "codecs" not in packed else ():
            path = os.path.join(folder, "golden")
            with gzip.open(packed) as file, open(path, "wb") as out:
                out.write(file.read())
            assert unchanged(path, lambda: m.dump(path)) == text, (packed, m.name)
            assert m.dump(path, "write") == text, (packed, m.name)


def at_the_same_time(machines, folder):
    """The area in memory is in the byte order of whoever made it: who has another is told so, at
    once, and harms nobody; who has the same one joins."""
    path = os.path.join(folder, "shared")
    for m in machines:
        for n in machines:
            one = subprocess.Popen([*m.beck, "produce", path, "t", "--sync", "os"],
                                   stdin=subprocess.PIPE)
            one.stdin.write(b"one\n")
            one.stdin.flush()
            until = time.monotonic() + 20
            while b"one\n" not in subprocess.run([*m.beck, "consume", path, "t", "-e", "-q"],
                                                 capture_output=True).stdout:
                assert time.monotonic() < until
            two = subprocess.run([*n.beck, "produce", path, "t"], input=b"two\n" * 500,
                                 capture_output=True, timeout=60)
            read = subprocess.run([*n.beck, "consume", path, "t", "-e", "-q"], capture_output=True,
                                  timeout=60)
            joins = (m.name == "s390x") == (n.name == "s390x")
            for done in (two, read):
                assert (done.returncode == 0) == joins, (m.name, n.name, done)
                assert joins or b"incompatible build" in done.stderr, done
            one.stdin.close()
            assert one.wait(20) == 0, (m.name, n.name)
            wanted = b"one\n" + b"two\n" * (500 if joins else 0)
            assert m.run("dump", path).count(b"\n") == wanted.count(b"\n") + 2
            os.unlink(path)


def main(names):
    random = seeded()
    folder, _ = folders()
    machines = [Machine(name, i) for i, name in enumerate(["native", *names])]
    clean_files(machines, folder)
    crashed_files(machines, folder)
    golden_files(machines, folder)
    at_the_same_time(machines, folder)
    reads = many_hands(machines, folder, random)
    print("note: %d kinds of machines, %d hand-overs" % (len(machines), reads))


if __name__ == "__main__":
    main(sys.argv[1:] or os.environ["PORTS"].split())
