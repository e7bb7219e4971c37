#!/usr/bin/env python3
"""stop_kill.py -- SIGSTOP at random moments, also amid a lock or a sync: who has to wait

A victim appends to partition 0 without a pause and is stopped again and again. Meanwhile readers
of both partitions and a writer of partition 1 must go on; a second writer of partition 0 may wait
as long as the victim holds the lock, and no longer. A stopped leader of a group commit delays
others by little. At the end every acknowledged record is there."""
import os
import signal
import subprocess
import sys
import time

from harness import ROUNDS, Worker, beck, build_worker, folders, now, only_file, seeded
from history import History

STOPS = 2 + ROUNDS          # in each part
PAUSE = 0.35                # seconds a victim stands still
FREE_US = 150000            # others may be late by this much on a busy machine
LEADER_US = 300000          # the leader's share of 100-200 ms, and the machine's
SIZE = 400                  # largest padding of a value
MSYNC = "26"                # of x86-64; elsewhere no stop counts as one amid a sync


class Scene:
    """One file, the victim, and the others, whose logs tell when they did what."""

    def __init__(self, folder, logs, name, topic, victim):
        self.path, self.name, self.topic = folder + "/stop.beck", name, topic
        self.logs = os.path.join(logs, name)
        os.mkdir(self.logs)
        self.workers, self.bad, self.born = {}, [], 0
        self.victim_options = victim
        self.start("victim", "produce", **victim)

    def start(self, role, kind, **options):
        self.born += 1
        log = "%s/%s%d" % (self.logs, role, self.born)
        worker = Worker(kind, self.path, log, [self.topic], segment=1 << 24, size=SIZE, **options)
        self.workers.setdefault(role, []).append(worker)
        return worker

    def victim(self):
        return self.workers["victim"][-1]

    def times(self, role):
        """When each append, or each pass of a reader, ended."""
        found = []
        for worker in self.workers[role]:
            for words in worker.lines(0):
                if words[0] in "AP":
                    found.append(int(words[4 if words[0] == "A" else 1]))
                elif words[0] in "ESG":
                    self.bad.append("%s: %s" % (worker.log, " ".join(words)))
        return sorted(found)

    def finish(self):
        for worker in [w for role in self.workers.values() for w in role]:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        for worker in [w for role in self.workers.values() for w in role]:
            if worker.wait(5) is None:
                self.bad.append("%s is stuck\n%s" % (worker.log, worker.stacks()))
                worker.signal(signal.SIGKILL)
                worker.wait(5)
            elif worker.process.returncode not in (0, -signal.SIGTERM) and not worker.killed:
                self.bad.append("%s ended with %d" % (worker.log, worker.process.returncode))
        only_file(self.path)
        self.check_records()

    def check_records(self):
        """Nothing of what was logged contradicts anything else, or what the file holds."""
        assert b"no problems" in beck("check", self.path)
        audit = Worker("audit", self.path, self.logs + "/z", size=SIZE)
        assert audit.wait(30) == 0, "the audit ended with %s" % audit.process.returncode
        history = History(self.logs)
        assert history.counts["appends acknowledged"] and history.counts["audited records"]
        self.bad += history.explain()


def longest(times, begin, end):
    """The longest silence in [begin, end]."""
    marks = [begin] + [t for t in times if begin < t < end] + [end]
    return max(b - a for a, b in zip(marks, marks[1:]))


def stand_still(victim):
    """Stop the victim; the system call it stands in, "" for none."""
    victim.signal(signal.SIGSTOP)
    while True:
        state = open("/proc/%d/stat" % victim.process.pid).read().rpartition(")")[2].split()[0]
        if state in "TZ":
            break
        time.sleep(0.001)
    try:
        return open("/proc/%d/syscall" % victim.process.pid).read().split()[0]
    except OSError:
        return ""


def settle(scene, roles):
    """Wait until everybody works."""
    end = now() + 5000000
    while any(len(scene.times(role)) < 2 for role in roles):
        assert now() < end, "%s: nobody works: %s" % (scene.name, {
            role: len(scene.times(role)) for role in roles})
        time.sleep(0.01)


def segments(path):
    """How many there are. One more: the stop met a roll, which has the catalog lock as well."""
    return next(line for line in beck("stat", path).split(b"\n") if line.startswith(b"segments"))


def wait_for_same(scene, seconds):
    """Whether the second writer of the victim's partition appends within the time."""
    log, end = scene.workers["same"][0].log + ".0", now() + int(seconds * 1e6)
    size = os.path.getsize(log)
    while os.path.getsize(log) <= size + 60 and now() < end:  # an intent alone is shorter
        time.sleep(0.0005)
    return os.path.getsize(log) > size + 60


def locks(folder, logs, rng):
    """Stops of a writer that mostly holds the partition lock."""
    scene = Scene(folder, logs, "lock", "lock-os-2", {"partition": 0, "batch": 500})
    roles = ("other", "same", "read", "read1")
    scene.start("other", "produce", partition=1, pause=2000)
    scene.start("same", "produce", partition=0, pause=2000)
    scene.start("read", "consume", partition=0, reread=1, pause=500)
    scene.start("read1", "consume", partition=1, reread=1, pause=500)
    settle(scene, roles)
    windows, resumes, tries = [], 0, 0
    while len(windows) < STOPS and tries < 30 * STOPS:
        tries += 1
        time.sleep(rng.random() * 0.01)
        stand_still(scene.victim())
        begin = now()
        if wait_for_same(scene, 0.04):
            scene.victim().signal(signal.SIGCONT)
            continue
        before = segments(scene.path)
        time.sleep(PAUSE)
        end, killed = now(), len(windows) % 3 == 2
        scene.victim().signal(signal.SIGKILL if killed else signal.SIGCONT)
        if not wait_for_same(scene, 2):
            scene.bad.append("lock: the second writer does not go on")
        resumes = max(resumes, now() - end)
        windows.append((begin, end, segments(scene.path) != before))
        if killed:
            scene.victim().wait(5)
            scene.start("victim", "produce", **scene.victim_options)
    scene.finish()
    times, worst = {role: scene.times(role) for role in roles}, {"resumes": resumes}
    for begin, end, rolled in windows:
        for role in ("read", "read1") if rolled else ("read", "read1", "other"):
            worst[role] = max(worst.get(role, 0), longest(times[role], begin, end))
    for role, most in worst.items():
        if most > FREE_US:
            scene.bad.append("lock: %s waited %d ms" % (role, most // 1000))
    if not windows:
        scene.bad.append("lock: no stop met the lock held")
    print("lock: %d stops, %d amid the lock; longest wait: %s" % (tries, len(windows), ", ".join(
        "%s %d ms" % (role, most // 1000) for role, most in worst.items())))
    return scene.bad


def leaders(folder, logs, rng):
    """Stops amid the sync of a group commit."""
    scene = Scene(folder, logs, "sync", "sync-sync-1", {"partition": 0, "batch": 1, "pause": 500})
    for _ in range(3):
        scene.start("peers", "produce", partition=0, batch=1, pause=500)
    settle(scene, ("peers",))
    windows, tries, rolls = [], 0, 0
    while len(windows) < STOPS and tries < 40 * STOPS:
        tries += 1
        time.sleep(rng.random() * 0.01)
        if stand_still(scene.victim()) != MSYNC:
            scene.victim().signal(signal.SIGCONT)
            continue
        begin, before = now(), segments(scene.path)
        time.sleep(PAUSE)
        end, killed = now(), len(windows) % 4 == 3
        scene.victim().signal(signal.SIGKILL if killed else signal.SIGCONT)
        time.sleep(0.15)
        if segments(scene.path) == before:
            windows.append((begin, end))
        else:
            rolls += 1  # the sync before a new segment, made with the lock held
        if killed:
            scene.victim().wait(5)
            scene.start("victim", "produce", **scene.victim_options)
    scene.finish()
    times = scene.times("peers")
    worst = max((longest(times, *window) for window in windows), default=0)
    disk = subprocess.check_output(["stat", "-f", "-c", "%T", folder]).strip() != b"tmpfs"
    if len(windows) < STOPS and disk and os.uname().machine == "x86_64":
        scene.bad.append("sync: too few stops met a sync")
    if worst > LEADER_US:
        scene.bad.append("sync: the others waited %d ms" % (worst // 1000))
    print("sync: %d stops, %d amid a sync, %d amid a roll; longest wait of the others: %d ms" % (
        tries, len(windows), rolls, worst // 1000))
    return scene.bad


def storm(folder, logs, rng):
    """Everybody is stopped and continued at random; nothing is lost."""
    scene = Scene(folder, logs, "storm", "storm-sync-2", {"partition": 0, "batch": 5})
    for number in range(4):
        scene.start("writers", "produce", partition=number % 2, batch=5, seed=number)
    scene.start("readers", "consume", reread=1, pause=2000)
    everybody = [w for role in scene.workers.values() for w in role]
    end, stopped = now() + 500000 * ROUNDS, []
    while now() < end:
        worker = rng.choice(everybody)
        if worker in stopped:
            stopped.remove(worker)
            worker.signal(signal.SIGCONT)
        else:
            stopped.append(worker)
            worker.signal(signal.SIGSTOP)
        time.sleep(rng.random() * 0.01)
    scene.finish()
    print("storm: %d appends" % (len(scene.times("writers")) + len(scene.times("victim"))))
    scene.times("readers")
    return scene.bad


def main():
    folder, logs = folders()
    rng, bad = seeded(), []
    Worker.program = build_worker(logs)
    for part in (locks, leaders, storm):
        place = os.path.join(folder, part.__name__)
        os.mkdir(place)
        bad += part(place, logs, rng)
    if bad:
        print("\n".join(bad[:40]))
        sys.exit(1)


main()
