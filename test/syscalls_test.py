#!/usr/bin/env python3
"""syscalls_test.py -- what an `os` append and a poll of available records ask of the kernel

strace counts the calls of a short and of a long run; the difference is the steady state. Every
kind of call that appears there has a bound and a reason; a call per append or per poll is none."""
import os
import shutil
import subprocess
import sys

from harness import build_worker, folders

WARM, MILLION = 100000, 1000000
MIB, SEGMENTS = 208 * MILLION / 2**20, 208 * MILLION / 2**24  # 208 bytes a record, with its frame

#   call           at most, per million     because
ALLOWED = {
    "append": {
        "pwrite64": (5 * MIB + 20 * SEGMENTS, "zeros ahead, 256 KiB a write; headers, catalog"),
        "madvise": (1.2 * MIB + 8 * SEGMENTS, "pages populated, a MiB at once; DONTFORK"),
        "mmap": (6 * SEGMENTS, "each segment: to store, to index, to sync"),
        "munmap": (6 * SEGMENTS, "as many"),
        "fallocate": (4 * SEGMENTS, "each segment, and its index"),
        "pwritev2": (3 * SEGMENTS, "each segment: SEAL and ADD in the catalog, stable"),
        "msync": (3 * SEGMENTS, "housekeeping of sealed segments"),
        "statx": (3 * SEGMENTS, "each segment: is the file still there?"),
        "newfstatat": (3 * SEGMENTS, "the same, by an older name"),
        "getrandom": (4 * SEGMENTS, "the salt of each segment"),
        "pread64": (4 * SEGMENTS, "superblock, catalog"),
        "brk": (20, "the allocator"),
        "futex": (20, "start and end"),
    },
    "poll": {
        "mmap": (3 * SEGMENTS, "each segment once"),
        "munmap": (3 * SEGMENTS, "as many"),
        "madvise": (3 * SEGMENTS, "DONTFORK for each mapping"),
        "pread64": (3 * SEGMENTS, "the index of each segment"),
        "newfstatat": (3 * SEGMENTS, "size"),
        "brk": (20, "the allocator"),
        "futex": (20, "start and end"),
    },
}


def count(words, out):
    """{call: how often} of a command."""
    subprocess.check_call(["strace", "-f", "-c", "-o", out, *words])
    found = {}
    for line in open(out, encoding="utf-8"):
        fields = line.split()
        if len(fields) >= 5 and fields[0][0].isdigit() and fields[-1] != "total":
            found[fields[-1]] = int(fields[3])
    return found


def steady(program, what, path, out):
    """Calls for a million more."""
    runs = []
    for n in (WARM, WARM + MILLION):
        if what == "append" and os.path.exists(path):
            os.unlink(path)
        runs.append(count([program, what, path, str(n)], out))
    return {name: n - runs[0].get(name, 0) for name, n in runs[1].items()
            if n > runs[0].get(name, 0)}


def judge(what, calls):
    bad = []
    for name, number in sorted(calls.items(), key=lambda item: -item[1]):
        most, why = ALLOWED[what].get(name, (0, "NOT EXPLAINED"))
        print("%-7s %-12s %6d  at most %5d  %s" % (what, name, number, most, why))
        if number > most:
            bad.append("%d of %s in a million %ss" % (number, name, what))
    return bad


def main():
    if os.environ.get("PORTABLE"):
        return "OS=portable stores nothing through a mapping"
    if shutil.which("strace") is None:
        return "strace is not installed"
    if subprocess.call(["strace", "-o", "/dev/null", "true"], stderr=subprocess.DEVNULL) != 0:
        return "ptrace is not allowed here"
    folder, logs = folders()
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True).stdout
    if kind.strip() not in ("ext2/ext3", "tmpfs"):
        return "%s: there every append is a write" % kind.strip()
    program = build_worker(logs, "steady")
    path, bad = os.path.join(folder, "steady.beck"), []
    for what in ("append", "poll"):
        bad += judge(what, steady(program, what, path, os.path.join(logs, "counts")))
    if bad:
        sys.exit("\n".join(bad))
    return None


reason = main()
if reason:
    print(reason)
    sys.exit(77)
