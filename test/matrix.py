#!/usr/bin/env python3
"""matrix.py [--all] [KIND...] -- file systems x classes x what can happen on them, as a table

Each cell is pass, FAIL or skip; what failed and why something was skipped follows the table. After
every cell the acknowledged records are there, in their place, and no others; `beck check` finds no
problem; and no process was ended by a signal that was not ours: a store into a page for which
there is no space ends a process by SIGBUS. --all adds variants of the file systems. SECONDS=
lengthens the storm of `kill -9`; SEED= repeats the choices; CELL= runs one kind of cell."""
import collections
import os
import shutil
import signal
import subprocess
import sys
import time

import filesystems
from filesystems import FileSystem, Missing
from harness import BECK, Worker, beck, build_worker, contents, folders, seeded, value_of

SECONDS = float(os.environ.get("SECONDS") or 1)
SIZE = 120
FULL = {"FULL"}


class Cell:
    """One cell: a file system, a class of topics and the processes at work in it."""

    count = 0

    def __init__(self, fs, kind, logs, rng):
        Cell.count += 1
        self.fs, self.kind, self.logs, self.rng = fs, kind, logs, rng
        self.number, self.workers, self.processes = Cell.count, [], []
        self.topics = ["m-%s-2" % kind, "n-%s-1" % kind]

    # ---- Processes --------------------------------------------------------------------------

    def worker(self, path, role="produce", **options):
        log = "%s/%d-%s%d" % (self.logs, self.number, role[0], len(self.workers))
        options.setdefault("batch", self.rng.choice((1, 5, 30)))
        options.setdefault("segment", self.rng.choice((16384, 1 << 20)))
        worker = Worker(role, path, log, self.topics, seed=self.rng.randrange(1 << 30),
                        size=SIZE, **options)
        self.workers.append(worker)
        worker.path = path
        return worker

    def end(self, worker, number):
        worker.signal(number)
        code = worker.wait(20)
        assert code is not None, "%s is stuck\n%s" % (worker.log, worker.stacks())
        fine = (0, -number) if number == signal.SIGKILL else (0,)
        assert code in fine, "%s ended with %d" % (worker.log, code)

    def end_all(self, number=signal.SIGTERM):
        for worker in self.workers:
            if worker.alive():
                self.end(worker, number)
        for worker in self.workers:
            code = worker.process.returncode
            assert code == 0 or (worker.killed and code == -signal.SIGKILL), \
                "%s ended with %s" % (worker.log, code)

    def abandon(self):
        for worker in self.workers:
            worker.signal(signal.SIGKILL)
            worker.wait(5)
        for process in self.processes:
            process.kill()
            process.wait()

    def beck(self, *words, data=None, ok=(0,), says=None):
        """Run the program; (exit code, what it printed). It never ends by a signal."""
        done = subprocess.run([BECK, *words], input=data, capture_output=True, timeout=60)
        said = (done.stdout + done.stderr).decode(errors="replace")[-600:]
        assert done.returncode in ok, "beck %s: exit %d: %s" % (words[0], done.returncode, said)
        if says and done.returncode != 0:
            assert any(s in said for s in says), "beck %s: %s" % (words[0], said)
        return done.returncode, done.stdout

    def produce(self, path, values, ok=(0,), says=("disk", "full", "space", "No space")):
        return self.beck("produce", path, self.topics[0], "--sync", self.kind,
                         data="".join(v + "\n" for v in values).encode(), ok=ok, says=says)[0]

    # ---- Judging ----------------------------------------------------------------------------

    def outcomes(self, path):
        """{(producer, seq): (topic, partition, count, offset or status or None)} of the logs."""
        found = {}
        for worker in self.workers:
            if worker.path != path:
                continue
            for words in worker.lines(99):
                assert words[0] != "S" or words[1] in FULL, "%s: %s" % (worker.log, " ".join(words))
            for words in worker.lines(0):
                name = os.path.basename(worker.log) + ".0"
                if words[0] == "I":
                    found[name, int(words[1])] = [words[2], int(words[3]), int(words[4]), None]
                elif words[0] == "A":
                    found[name, int(words[1])][3] = int(words[2])
                elif words[0] == "E":
                    assert words[2] in FULL, "%s: %s" % (worker.log, " ".join(words))
                    found[name, int(words[1])][3] = words[2]
                elif words[0] in "SG":
                    assert words[1] in FULL, "%s: %s" % (worker.log, " ".join(words))
        return found

    def judge(self, path, gone=()):
        """The file holds what was acknowledged and nothing that was refused or never meant."""
        code, said = self.beck("check", path)
        assert b"no problems" in said, "beck check: %s" % said[-400:].decode()
        topics = [t for t in self.topics if t not in gone]
        listed = self.beck("topic", "list", path)[1].decode()
        topics = [t for t in topics if t in listed]
        outcomes, placed = self.outcomes(path), {}
        for (topic, partition), values in contents(path, topics).items():
            for offset, value in enumerate(values):
                words = value.split(b" ")
                if words[0] == b"plain":
                    continue
                key, index = (words[1].decode(), int(words[2])), int(words[3])
                meant = outcomes.get(key)
                assert meant is not None, "%s:%d@%d was never meant" % (topic, partition, offset)
                want = value_of(topic, key[0], key[1], index, meant[2], SIZE)
                assert value == want, "%s:%d@%d is not what was meant" % (topic, partition, offset)
                placed.setdefault(key, []).append(offset - index)
        acknowledged = refused = 0
        for key, (topic, _, count, outcome) in outcomes.items():
            if topic in gone:
                continue
            got = placed.get(key)
            if isinstance(outcome, int):
                acknowledged += 1
                assert got == [outcome] * count, "%s was acknowledged at %d and found at %s" % (
                    key, outcome, got)
            elif outcome is not None:
                refused += 1
                assert got is None, "%s was refused and is there" % (key,)
        return acknowledged, refused


# ---- What can happen -----------------------------------------------------------------------------

def normal(cell):
    """Many processes append and read, and are killed."""
    path = cell.fs.path("normal.beck")
    end = time.monotonic() + SECONDS
    roles = ("produce", "produce", "produce", "consume", "consume")
    for role in roles:
        cell.worker(path, role, pause=2000)
    while time.monotonic() < end:
        time.sleep(cell.rng.random() * 0.1)
        victim = cell.rng.choice([w for w in cell.workers if w.alive()])
        cell.end(victim, signal.SIGKILL)
        cell.worker(path, victim.kind, pause=2000)
    cell.end_all(cell.rng.choice((signal.SIGTERM, signal.SIGKILL)))
    assert cell.judge(path)[0] > 10


def full_append(cell):
    """The disk fills up under producers; deleting a topic lets them go on."""
    path = cell.fs.path("append.beck")
    cell.topics.append("fat-os-1")
    fat = "\n".join("plain %d %s" % (i, "x" * 1000) for i in range(4000))
    cell.beck("produce", path, "fat-os-1", "--sync", "os", data=fat.encode())
    cell.topics.pop()
    reader = cell.worker(path, "consume", pause=2000)
    producers = [cell.worker(path, pause=100, batch=30, segment=1 << 18) for _ in range(3)]
    time.sleep(0.2)
    cell.fs.fill()
    deadline = time.monotonic() + 40
    while any(p.alive() for p in producers) and time.monotonic() < deadline:
        cell.fs.fill()
        time.sleep(0.05)
    alive = [p.log for p in producers if p.alive()]
    assert not alive, "still appending on a full disk: %s" % alive
    victim = cell.worker(path, pause=100)  # is refused, or dies trying
    time.sleep(0.05)
    cell.end(victim, signal.SIGKILL)
    assert reader.alive(), "the reader ended"
    cell.beck("topic", "delete", path, "fat-os-1")
    again = cell.worker(path, life=20, batch=1)
    assert again.wait(20) == 0
    got = [w for w in again.lines(0) if w[0] == "A"]
    assert len(got) == 20, "after deleting a topic %d of 20 appends worked: %s" % (
        len(got), again.lines(0)[-2:] + again.lines(99))
    cell.end_all()
    judged = cell.judge(path)
    assert judged[1] > 0, "no append was refused"
    cell.fs.drain()
    more = cell.worker(path, life=20)
    assert more.wait(20) == 0
    assert cell.judge(path)[0] >= judged[0] + 20


def full_create(cell):
    """No room for a new file: an error, and later a file."""
    path = cell.fs.path("create.beck")
    cell.fs.fill()
    assert cell.produce(path, ["plain 0"], ok=(1,)) == 1
    cell.fs.drain()
    cell.produce(path, ["plain 1"])
    cell.judge(path)
    assert cell.beck("consume", path, cell.topics[0], "-e")[1] == b"plain 1\n"


def crashed(cell, name):
    """A file whose users were all killed."""
    path = cell.fs.path(name)
    for _ in range(3):
        cell.worker(path, pause=500)
    time.sleep(0.25)
    cell.end_all(signal.SIGKILL)
    return path


def full_open(cell):
    """Files that were there before the disk was full are opened, read and perhaps written."""
    clean = cell.fs.path("clean.beck")
    worker = cell.worker(clean, life=50)
    assert worker.wait(20) == 0
    unclean = crashed(cell, "unclean.beck")
    cell.fs.fill()
    for path in (unclean, clean):
        cell.beck("stat", path)
        cell.beck("consume", path, cell.topics[0], "-e", "-q")
        cell.judge(path)
        worker = cell.worker(path, life=5, batch=1)
        assert worker.wait(20) == 0
        # A clean file has given back all space it did not need.
        assert path == clean or not [w for w in worker.lines(99) if w[0] == "S"], \
            "not opened: %s" % worker.lines(99)
        cell.judge(path)
    cell.fs.drain()
    for path in (unclean, clean):
        assert cell.worker(path, life=20).wait(20) == 0
        cell.judge(path)


def copies(cell):
    """All ways to copy, of a clean file: the copy takes less space than it will need."""
    for how in (cell.fs.sparse_copy, cell.fs.reflink_copy, cell.fs.snapshot):
        try:
            yield how("copied.beck", how.__name__ + ("" if how == cell.fs.snapshot else ".beck"))
        except Missing:
            pass


def full_copy(cell):
    """A sparse copy, a reflinked copy and a snapshot on a full disk: opened, or refused as FULL."""
    original = cell.fs.path("copied.beck")
    cell.produce(original, ["plain %d" % i for i in range(100)])
    want = b"".join(b"plain %d\n" % i for i in range(100))
    paths = list(copies(cell)) + [original]
    cell.fs.fill()
    for path in paths:
        code, said = cell.beck("consume", path, cell.topics[0], "-e", "-q", ok=(0, 1),
                               says=("disk", "full", "space"))
        assert code == 1 or said == want, "%s: %r" % (path, said[-200:])
        cell.produce(path, ["plain full"], ok=(0, 1))
        cell.beck("stat", path, ok=(0, 1), says=("disk", "full", "space"))
    cell.fs.drain()
    for path in paths:
        code, said = cell.beck("consume", path, cell.topics[0], "-e", "-q")
        assert said[:len(want)] == want, "%s: %r" % (path, said[-200:])
        cell.produce(path, ["plain end"])
        cell.beck("check", path)
    opened_copies(cell, paths)


def opened_copies(cell, paths):
    """Copies opened while there was room for what they share keep it."""
    if cell.fs.kind.startswith("btrfs"):  # a plain copy is copied on every write: DURABILITY.md
        paths = [p for p in paths if "sparse" not in p]
    consumers = []
    for path in paths:
        consumers.append(subprocess.Popen([BECK, "consume", path, cell.topics[0], "-q"],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        cell.processes.append(consumers[-1])
    time.sleep(0.3)
    cell.fs.fill()
    for path in paths:
        cell.produce(path, ["plain beside"], ok=(0, 1))
    time.sleep(0.3)
    for path, consumer in zip(paths, consumers):
        assert consumer.poll() is None, "%s: consumer ended with %s: %s" % (
            path, consumer.returncode, consumer.stderr.read()[-300:])
        consumer.terminate()
        consumer.wait(10)
    cell.fs.drain()
    for path in paths:
        cell.beck("check", path)


def full_share(cell):
    """Copied by reflink or snapshotted while in use; then the file itself fills the disk."""
    path = cell.fs.path("share.beck")
    cell.beck("topic", "create", path, cell.topics[0], "--partitions", "2", "--sync", cell.kind)
    cell.produce(path, ["plain first"])
    reader = cell.worker(path, "consume", pause=2000)
    consumer = subprocess.Popen([BECK, "consume", path, cell.topics[0], "-q"],
                                stdout=subprocess.DEVNULL)
    cell.processes.append(consumer)
    producers = [cell.worker(path, pause=1000) for _ in range(2)]
    time.sleep(0.2)
    cell.fs.settle()
    how = cell.fs.snapshot if cell.fs.kind.startswith("btrfs") else cell.fs.reflink_copy
    how("share.beck", "snapshot.beck")
    cell.fs.leave(24)
    lines = "".join("plain %d %s\n" % (i, "x" * 2000) for i in range(1000)).encode()
    for _ in range(100):
        code = cell.beck("produce", path, cell.topics[0], data=lines, ok=(0, 1))[0]
        cell.fs.settle()
        assert reader.alive() and consumer.poll() is None, "a reader ended: %s, %s" % (
            reader.process.returncode, consumer.returncode)
        if code == 1:
            break
    assert code == 1, "the disk was never full"
    time.sleep(0.3)
    assert reader.alive() and consumer.poll() is None, "a reader ended"
    for producer in producers:
        producer.signal(signal.SIGTERM)
    cell.end_all()
    consumer.terminate()
    assert consumer.wait(10) in (0, -signal.SIGTERM, 128 + signal.SIGTERM), consumer.returncode
    cell.fs.drain()
    cell.judge(path)


def full_join(cell):
    """Shared blocks and no room at all: who opens the file beside others is refused."""
    path = cell.fs.path("join.beck")
    cell.produce(path, ["plain first"])
    consumer = subprocess.Popen([BECK, "consume", path, cell.topics[0], "-q"],
                                stdout=subprocess.DEVNULL)
    cell.processes.append(consumer)
    time.sleep(0.2)
    consumer.send_signal(signal.SIGSTOP)  # or it stores, while there is room
    cell.fs.settle()
    how = cell.fs.snapshot if cell.fs.kind.startswith("btrfs") else cell.fs.reflink_copy
    how("join.beck", "snapshot.beck")
    cell.fs.fill()
    assert cell.produce(path, ["plain refused"], ok=(1,)) == 1
    assert cell.beck("consume", path, cell.topics[0], "-e", "-q")[1] == b"plain first\n"
    cell.fs.drain()
    consumer.send_signal(signal.SIGCONT)
    cell.produce(path, ["plain last"])
    time.sleep(0.2)
    assert consumer.poll() is None, "the consumer ended with %s" % consumer.returncode
    consumer.terminate()
    consumer.wait(10)
    cell.judge(path)


def full_wait(cell):
    """Consumers wait in poll while the disk is full, and are woken afterwards."""
    path = cell.fs.path("wait.beck")
    cell.produce(path, ["plain first"])
    out = os.path.join(cell.logs, "wait%d" % cell.number)
    with open(out, "wb") as file:
        consumer = subprocess.Popen([BECK, "consume", path, *cell.topics[:1]], stdout=file)
    cell.processes.append(consumer)
    time.sleep(0.2)
    cell.fs.fill()
    for _ in range(4):  # flags are stored ten times a second
        cell.fs.settle()
        time.sleep(0.15)
        assert consumer.poll() is None, "the consumer ended with %s" % consumer.returncode
    refused = cell.produce(path, ["plain refused?"], ok=(0, 1))
    cell.fs.drain()
    cell.produce(path, ["plain last"])
    deadline = time.monotonic() + 5
    want = b"plain first\n" + (b"" if refused else b"plain refused?\n") + b"plain last\n"
    while open(out, "rb").read() != want and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open(out, "rb").read() == want, open(out, "rb").read()
    consumer.terminate()
    consumer.wait(10)
    cell.judge(path)


def readonly(cell):
    """A clean and an unclean file on a medium that cannot be written."""
    clean = cell.fs.path("clean.beck")
    assert cell.worker(clean, life=50).wait(20) == 0
    unclean = crashed(cell, "unclean.beck")
    cell.fs.readonly(True)
    try:
        for path in (clean, unclean):
            before = open(path, "rb").read()
            cell.judge(path)
            cell.beck("stat", path)
            code, _ = cell.beck("produce", path, cell.topics[0], data=b"x\n", ok=(1,),
                                says=("Read-only", "read-only"))
            assert open(path, "rb").read() == before, "bytes of %s changed" % path
    finally:
        cell.fs.readonly(False)
    for path in (clean, unclean):
        assert cell.worker(path, life=20).wait(20) == 0
        cell.judge(path)


SCENARIOS = [normal, full_append, full_create, full_open, full_copy, full_share, full_join,
             full_wait, readonly]


# ---- The table -----------------------------------------------------------------------------------

def run_cell(fs, kind, scenario, logs, rng):
    """pass, or FAIL and why."""
    cell = Cell(fs, kind, logs, rng)
    try:
        scenario(cell)
        return "pass", None
    except Missing as why:
        return "skip", str(why)
    except (AssertionError, OSError, subprocess.SubprocessError) as why:
        return "FAIL", "%s: %s" % (type(why).__name__, why) if str(why) else repr(why)
    finally:
        cell.abandon()
        fs.clear()


def run_row(kind, top, logs, rng, only):
    """{(class, scenario): (result, why)} of one file system."""
    results, fs = {}, None
    try:
        fs, reason = FileSystem(kind, top), None
    except Missing as why:
        fs, reason = None, str(why)
    for name in ("sync", "os"):
        for scenario in SCENARIOS:
            if only and scenario.__name__ != only:
                continue
            result = ("skip", reason) if fs is None else run_cell(fs, name, scenario, logs, rng)
            results[name, scenario.__name__] = result
    if fs:
        fs.close()
    return results


def main(arguments):
    reason = filesystems.private_mounts()
    if reason:
        print("SKIPPED, nothing was tested: %s" % reason)
        return 0
    kinds = [a for a in arguments if not a.startswith("-")] or list(filesystems.USUAL)
    if "--all" in arguments:
        kinds = list(filesystems.KINDS)
    rng, (top, logs), only = seeded(), folders(), os.environ.get("CELL")
    Worker.program = build_worker(logs)
    names = [s.__name__ for s in SCENARIOS if not only or s.__name__ == only]
    width = max(len(k) for k in kinds)
    print("%-*s class %s" % (width, "", " ".join("%-11s" % n for n in names)))
    notes, failed = collections.OrderedDict(), 0
    for kind in kinds:
        results = run_row(kind, top, logs, rng, only)
        for name in ("sync", "os"):
            cells = [results[name, n] for n in names]
            print("%-*s %-5s %s" % (width, kind, name, " ".join("%-11s" % c[0] for c in cells)),
                  flush=True)
            for scenario, (result, why) in zip(names, cells):
                failed += result == "FAIL"
                if why:
                    notes.setdefault((result, why), []).append("%s/%s/%s" % (kind, name, scenario))
    for (result, why), where in notes.items():
        print("%s %s: %s" % ("SKIPPED" if result == "skip" else result, ", ".join(where), why))
    if not failed and not os.environ.get("KEEP"):
        shutil.rmtree(os.path.dirname(top), ignore_errors=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
