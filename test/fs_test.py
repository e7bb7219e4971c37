#!/usr/bin/env python3
"""fs_test.py -- real file systems: a short matrix, flags and copies on btrfs, FUSE refused

`make check` takes a few cells of the matrix; with ROUNDS of 10 and more (check-all) it is all of
them on the usual file systems. `make matrix` has the variants too."""
import os
import signal
import shutil
import subprocess
import sys
import time

import filesystems
import matrix
from filesystems import FileSystem, Missing
from harness import BECK, ROUNDS, Worker, beck, build_worker, folders


def refused(path):
    """A file system that beck refuses, with the reason and the way out; and no file is made."""
    done = subprocess.run([BECK, "produce", path, "t"], input=b"hello\n", capture_output=True)
    said = done.stderr.decode()
    assert done.returncode == 1, (done.returncode, said)
    for words in ("FUSE", "0x65735546", "--force", "ext4, xfs, btrfs or tmpfs"):
        assert words in said, said
    assert not os.path.exists(path), "a file was made all the same"
    beck("produce", "--force", path, "t", data=b"hello\n")
    assert beck("consume", path, "t", "-e", "--force") == b"hello\n"
    assert b"no problems" in beck("check", path, "--force")
    for words in (["consume", path, "t", "-e"], ["stat", path], ["topic", "list", path]):
        assert b"FUSE" in subprocess.run([BECK, *words], capture_output=True).stderr, words


def fuse(top):
    image, at = os.path.join(top, "image"), os.path.join(top, "fuse")
    os.makedirs(at)
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    filesystems.run("mkfs.ext4", "-q", "-F", image)
    if not os.path.exists("/dev/fuse"):
        raise Missing("no /dev/fuse")
    filesystems.run("fuse2fs", "-o", "fakeroot", image, at)
    try:
        assert os.path.ismount(at)
        refused(os.path.join(at, "a.beck"))
    finally:
        filesystems.run("umount", at)


def btrfs(top):
    """New files are not copied on write; a plain copy is, and then leaves the disk some room."""
    fs = FileSystem("btrfs", os.path.join(top, "flags"))
    path, copy = fs.path("a.beck"), fs.path("b.beck")
    beck("produce", path, "t", data=b"first\n")
    flags = subprocess.run(["lsattr", path], capture_output=True, text=True).stdout.split()[0]
    assert "C" in flags, "a new file is copied on write: %s" % flags
    shutil.copyfile(path, copy)
    consumer = subprocess.Popen([BECK, "consume", copy, "t"], stdout=subprocess.DEVNULL)
    lines = b"".join(b"%d %s\n" % (i, os.urandom(500).hex().encode()) for i in range(5000))
    code = rounds = 0
    try:
        while code == 0 and rounds < 100:
            code = subprocess.run([BECK, "produce", copy, "t", "--sync", "os"], input=lines,
                                  capture_output=True).returncode
            rounds += 1
            fs.settle()
            assert consumer.poll() is None, "the consumer ended with %s" % consumer.returncode
        assert code == 1, "the last producer ended with %d, after %d" % (code, rounds)
        stat = os.statvfs(fs.folder)
        assert stat.f_bavail * stat.f_frsize > 4 << 20, "the disk is full"
        assert b"copied on write" in subprocess.run(
            [BECK, "produce", copy, "t"], input=lines, capture_output=True).stderr
        beck("check", copy)
    finally:
        consumer.send_signal(signal.SIGTERM)
        consumer.wait(10)


def without_proc(top):
    """No /proc: no boot id, and the path has to do for reading around the page cache."""
    path, log = os.path.join(top, "noproc.beck"), os.path.join(top, "noproc")
    filesystems.run("mount", "-t", "tmpfs", "none", "/proc")
    try:
        worker = Worker("produce", path, log, ["p-sync-1", "p-os-1"], batch=5, size=50, seed=7)
        time.sleep(0.5)
        worker.signal(signal.SIGKILL)
        worker.wait(5)
        acknowledged = [w for w in worker.lines(0) if w[0] == "A"]
        assert len(acknowledged) > 10
        for flags in ([], ["-q"]):
            beck("consume", path, "p-sync-1", "p-os-1", "-e", *flags)
        assert b"no problems" in beck("check", path)
    finally:
        filesystems.run("umount", "/proc")


def main():
    reason = filesystems.private_mounts()
    if reason:
        print(reason)
        return 77
    top = folders()[0]
    Worker.program = build_worker(top)
    for test in (fuse, btrfs, without_proc):
        try:
            if test is not without_proc and os.environ.get("PORTABLE"):
                raise Missing("OS=portable knows no file systems")
            test(top)
            print("pass %s" % test.__name__, flush=True)
        except Missing as why:
            print("SKIPPED %s: %s" % (test.__name__, why))
    if ROUNDS < 10:
        os.environ["CELL"] = "full_copy"
        return matrix.main(["tmpfs", "xfs"])
    return matrix.main([])


sys.exit(main())
