#!/usr/bin/env python3
"""fault_sync_test.py -- syncs that really fail: a disk image on a small tmpfs that others fill

The device then cannot take what is written back, and the kernel tells the first who asks. Played
with the process that is told going on (poison), and with it being killed before it can say a word;
with another process that had the file open before, and without. Whatever was acknowledged in a
`sync` topic must be on the device at the end, and so must whatever anybody was given to read after
the file was opened again: the image is unmounted and mounted to see what is really there.

A loop device says that a write has succeeded of which its file took only a part. So the worker
looks at the device after each append that was acknowledged; the one record that such a lie may
cost is not counted."""
import itertools
import mmap
import os
import signal
import subprocess
import sys
import time

import filesystems
from filesystems import Missing
from harness import BECK, ROOT, ROUNDS, Db, beck, folders

RECORD = 48 << 10
#        MiB of the image, of the tmpfs that holds it, how it is made, mount options
KINDS = {"ext4": (96, 24, ["mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4"],
                  "loop,errors=continue"),
         "xfs": (320, 112, ["mkfs.xfs", "-q", "-f"], "loop"),
         "btrfs": (256, 48, ["mkfs.btrfs", "-q", "-f", "-m", "single"], "loop")}


class Image:
    """A file system in a file on a tmpfs of its own."""

    def __init__(self, kind, top):
        size, room, make, self.options = KINDS[kind]
        self.disk, self.at = os.path.join(top, "disk"), os.path.join(top, "mount")
        for folder in (self.disk, self.at):
            os.makedirs(folder)
        filesystems.run("mount", "-t", "tmpfs", "-o", "size=%dm" % room, "none", self.disk)
        self.image = os.path.join(self.disk, "image")
        with open(self.image, "wb") as file:
            file.truncate(size << 20)
        filesystems.run(*make, self.image)
        self.mount()

    def mount(self):
        filesystems.run("mount", "-o", self.options, self.image, self.at)

    def fill(self, leave):
        """Take the room of the tmpfs but `leave` bytes: then the device has none for new blocks."""
        subprocess.call(["sync", "-f", self.at])
        with open(os.path.join(self.disk, "ballast"), "wb", buffering=0) as file:
            for step in (1 << 20, 4096):
                try:
                    while True:
                        file.write(b"x" * step)
                except OSError:
                    pass
            file.truncate(max(0, file.tell() - leave))

    def power_loss(self):
        """All that the device does not have is gone."""
        for _ in range(50):
            if subprocess.call(["umount", self.at], stderr=subprocess.DEVNULL) == 0:
                break
            time.sleep(0.1)
        assert not os.path.ismount(self.at), "still busy"
        self.mount()

    def give_back(self):
        ballast = os.path.join(self.disk, "ballast")
        if os.path.exists(ballast):
            os.unlink(ballast)

    def close(self):
        for at in (self.at, self.disk):
            subprocess.call(["umount", "--lazy", at], stderr=subprocess.DEVNULL)


# ---- What the processes do -----------------------------------------------------------------------

def value(who, number):
    return (b"%s %d " % (who.encode(), number)).ljust(RECORD, b"%c" % (97 + number % 26))


def append(db, topic, who, number):
    db.append(topic, value(who, number))
    print("A %s %d" % (who, number), flush=True)


def on_device(path, wanted):
    """Does the device, around the page cache, hold these bytes?"""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        size = -(-os.fstat(fd).st_size // 4096) * 4096
        pages = mmap.mmap(-1, size)
        os.preadv(fd, [pages], 0)
        return pages.find(wanted) >= 0
    finally:
        os.close(fd)


def worker(who, path, count):
    """Wait for a line, append, and say so; until one fails."""
    db = Db(path)
    topic = db.topic("t", sync=1)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        for number in range(count):
            append(db, topic, who, number)
            if not on_device(path, value(who, number)):
                print("L %s %d" % (who, number), flush=True)
            time.sleep(0.02 if who == "watcher" else 0)
    except OSError as error:
        print("E %s" % error, flush=True)
    code = db.lib.beck_close(db.handle)
    print("closed %d" % code, flush=True)


def start(who, path, count, preload=None):
    env = dict(os.environ, LD_PRELOAD=preload) if preload else os.environ
    process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "worker", who, path,
                                str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    assert process.stdout.readline() == b"ready\n"
    return process


def finish(process):
    out = process.communicate(b"go\n", timeout=60)[0].decode()
    lines = [line.split(" ", 1) for line in out.splitlines()]
    acknowledged, lies, errors = ([rest for word, rest in lines if word == w] for w in "ALE")
    assert len(lies) <= 1 and lies in ([], acknowledged[-1:]), "not synced: %s" % lies
    return acknowledged[:len(acknowledged) - len(lies)], errors


def contents(path):
    """{"who number": offset} of what can be read, each whole and once."""
    found = {}
    out = beck("consume", path, "t", "-e", "-q", "-f", "%o %s\\n", ok=(0,))
    for line in out.split(b"\n")[:-1]:
        offset, who, number, rest = line.split(b" ", 3)
        name = who.decode() + " " + number.decode()
        assert name not in found, "%s is there twice" % name
        assert len(who) + len(number) + len(rest) + 2 == RECORD and not rest.strip(rest[:1]), name
        found[name] = int(offset)
    assert sorted(found.values()) == list(range(len(found))), "holes: %s" % sorted(found.values())
    return found


def must_have(found, names, when):
    lost = [name for name in names if name not in found]
    assert not lost, "%s: lost %s" % (when, lost)


# ---- One cell ------------------------------------------------------------------------------------

def open_again(image, path):
    """Open alone, append and read; False: only after the file system was mounted anew."""
    done = subprocess.run([BECK, "produce", path, "t"], input=value("again", 0) + b"\n",
                          capture_output=True)
    said = done.stderr.decode()
    if done.returncode == 0:
        return True
    assert done.returncode == 1 and said, (done.returncode, said)
    return False


def play(image, path, leave, killed, watched, preload):
    first = start("first", path, 20)
    acknowledged, errors = finish(first)
    assert len(acknowledged) == 20 and not errors, errors
    watcher = start("watcher", path, 40) if watched else None
    leader = start("leader", path, 4000, preload if killed else None)
    image.fill(leave)
    more, errors = finish(leader)
    acknowledged += more
    if killed:
        assert leader.returncode == -signal.SIGKILL, "no sync failed: %s" % errors
    else:
        assert errors and ("-5 " in errors[0] or "-1 " in errors[0]), errors
        assert leader.returncode == 0
    said = errors
    if watched:
        more, errors = finish(watcher)
        acknowledged += more
        assert watcher.returncode == 0
        said = said + errors
        if not killed:
            assert errors and "-5 " in errors[0], "it went on after a failed sync: %s" % errors
    image.give_back()
    same_mount = open_again(image, path)
    if not same_mount:  # the file system itself gave up
        image.power_loss()
        assert open_again(image, path), "it does not open"
    acknowledged.append("again 0")
    seen = contents(path)
    must_have(seen, acknowledged, "opened again")
    image.power_loss()
    there = contents(path)
    must_have(there, list(seen) + acknowledged, "after a power loss")
    assert {name: there[name] for name in seen} == seen, "offsets moved"
    findings = beck("check", path, ok=(0, 2)).splitlines()[:-1]
    assert all(line.endswith(b"(it is only a help)") for line in findings), findings
    beck("produce", path, "t", data=value("last", 0) + b"\n")
    must_have(contents(path), list(seen) + ["last 0"], "appended")
    return "%d acknowledged, %d there%s; %s" % (
        len(acknowledged), len(there), "" if same_mount else ", mounted anew",
        said[0].split(": ", 1)[-1][:60] if said else "-")


def main():
    reason = filesystems.private_mounts()
    if reason or os.environ.get("PORTABLE"):
        print(reason or "OS=portable cannot read around the page cache")
        return 77
    top, logs = folders()
    preload = os.path.join(logs, "die_at_error.so")
    subprocess.check_call([os.environ.get("CC") or "cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o",
                           preload, os.path.join(ROOT, "test/worker/die_at_error.c"), "-ldl"])
    full = ROUNDS >= 10
    for kind, leave, killed, watched in itertools.product(
            KINDS if full else ["ext4", "xfs"], (0, 2 << 20) if full else (2 << 20,), (False, True),
            (False, True) if full else (True,)):
        if kind == "btrfs" and leave > 0:
            continue
        words = "%s, %d MiB left%s%s" % (kind, leave >> 20, ", killed" if killed else "",
                                         ", watched" if watched else "")
        image = None
        try:
            image = Image(kind, os.path.join(top, words.replace(", ", "-").replace(" ", "-")))
            said = play(image, image.at + "/a.beck", leave, killed, watched, preload)
            print("pass %s: %s" % (words, said), flush=True)
        except Missing as why:
            print("SKIPPED %s: %s" % (words, why), flush=True)
        finally:
            if image:
                image.close()
    return 0


if sys.argv[1:2] == ["worker"]:
    worker(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    sys.exit(main())
