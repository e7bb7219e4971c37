#!/usr/bin/env python3
"""without_test.py -- appending, reading and dying where a kernel or a container forbids calls

test/without.c forbids one use of a system call at a time by a seccomp filter, with each errno that
older kernels and container profiles give. Under each: a new file, producers and consumers killed
at random, all acknowledged records there; and, where the development build is at hand, the unit
tests of the modules next to the system. What cannot be replaced says so."""
import os
import signal
import subprocess
import sys
import time

from harness import BECK, BUILD, ROUNDS, Worker, beck, build_worker, folders, seeded

FORBIDDEN = [
    "fallocate=ENOSYS", "fallocate=EOPNOTSUPP", "fallocate=EPERM", "statx=ENOSYS", "statx=EPERM",
    "pwritev2=ENOSYS", "pwritev2=EPERM", "pwritev2=EOPNOTSUPP", "pwritev2=EINVAL",
    "futex_waitv=ENOSYS", "futex_waitv=EPERM", "sync_file_range=ENOSYS", "getrandom=ENOSYS",
    "getrandom=EPERM", "madvise=EPERM", "madvise-dontfork=EINVAL", "madvise-wipeonfork=EINVAL",
    "madvise-populate=EINVAL", "o_direct=EINVAL", "ioctl=EPERM",
    "memfd_create=ENOSYS"]
UNITS = ["coord_test", "file_test", "partition_test", "reader_test", "api_fork",
         "api_memory"]
# Tests that count or intercept the very call that is forbidden.
COUNTED = {"pwritev2": {"file_test"}}
TOPICS = ["w-sync-1", "w-os-2"]


def storm(path, log, rng, wrapper):
    """Producers and consumers, killed; what was acknowledged must be there."""
    workers = []

    def start(kind):
        worker = Worker(kind, path, "%s-%d" % (log, len(workers)), TOPICS, prefix=wrapper, batch=5,
                        size=50, pause=1000, segment=16384, seed=rng.randrange(1 << 30))
        workers.append(worker)
        return worker
    running = [start(kind) for kind in ("produce", "produce", "consume")]
    for _ in range(4):
        time.sleep(0.03 + rng.random() * 0.05)
        victim = running.pop(rng.randrange(len(running)))
        victim.signal(signal.SIGKILL)
        victim.wait(5)
        running.append(start(victim.kind))
    for worker in running:
        worker.signal(signal.SIGTERM)
        # -SIGTERM: it was ended before it had begun
        assert worker.wait(10) in (0, -signal.SIGTERM), "%s ended with %s" % (
            worker.log, worker.process.returncode)
    acknowledged = 0
    for worker in workers:
        lines = worker.lines(0) + worker.lines(99)
        assert not [w for w in lines if w[0] in "SEG"], [w for w in lines if w[0] in "SEG"]
        acknowledged += sum(w[0] == "A" for w in lines)
    return acknowledged


def count_batches(path, wrapper):
    """How many batches producers put into the file, by their first records."""
    out = subprocess.run(wrapper + [BECK, "consume", path, *TOPICS, "-e", "-q", "-f", "%s\\n"],
                         capture_output=True, timeout=30)
    assert out.returncode == 0, out.stderr
    return sum(line.split(b" ")[3] == b"0" for line in out.stdout.splitlines())


def scenario(name, folder, logs, rng, program):
    wrapper = [program, name, "--"]
    path = os.path.join(folder, name + ".beck")
    acknowledged = storm(path, os.path.join(logs, name), rng, wrapper)
    found = count_batches(path, wrapper)
    assert acknowledged > 5, "only %d appends" % acknowledged
    # A batch may be there although its producer was killed before it could say so.
    assert acknowledged <= found <= acknowledged + 8, "%d acknowledged, %d found" % (
        acknowledged, found)
    said = subprocess.run(wrapper + [BECK, "check", path], capture_output=True, timeout=30)
    assert b"no problems" in said.stdout, said
    os.unlink(path)
    return acknowledged


def unit_tests(name, program):
    """The unit tests of the development build, as far as it is there."""
    ran = 0
    for unit in UNITS:
        path = os.path.join(BUILD, "gcc-plain", "test", unit)
        if not os.path.exists(path) or unit in COUNTED.get(name.split("=")[0], ()):
            continue
        done = subprocess.run([program, name, "--", path], capture_output=True, timeout=60,
                              env=dict(os.environ, CK_VERBOSITY="normal", SEED="1"))
        assert done.returncode == 0, "%s without %s:\n%s" % (
            unit, name, done.stdout.decode(errors="replace")[-2000:])
        ran += 1
    return ran


def locks_cannot_be_replaced(folder, program):
    for call in ("ofd-setlk=EINVAL", "ofd-setlk=EPERM", "ofd-getlk=ENOSYS"):
        path = os.path.join(folder, "locks.beck")
        done = subprocess.run([program, call, "--", BECK, "produce", path, "t"], input=b"x\n",
                              capture_output=True)
        assert done.returncode == 1 and b"open file description locks" in done.stderr, done


def main():
    folder, logs = folders()
    rng, program = seeded(), build_worker(logs, "run_without")
    Worker.program = build_worker(logs)
    if subprocess.call([program, "statx=ENOSYS", "--", "true"]) != 0:
        print("seccomp filters are not allowed here")
        sys.exit(77)
    locks_cannot_be_replaced(folder, program)
    chosen = FORBIDDEN if ROUNDS >= 10 else rng.sample(FORBIDDEN, 6)
    tried = set()
    for name in chosen:
        try:
            acknowledged = scenario(name, folder, logs, rng, program)
            first = ROUNDS >= 10 and name.split("=")[0] not in tried
            units = unit_tests(name, program) if first else 0
            tried.add(name.split("=")[0])
        except AssertionError as why:
            sys.exit("without %s: %s" % (name, why))
        print("without %-28s %4d appends, %d unit tests" % (name, acknowledged, units), flush=True)


main()
