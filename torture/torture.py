#!/usr/bin/env python3
"""torture.py [T] -- everything at once that can happen to processes that share a file, for a time T

T is like 40s, 10m or 8h. Rounds of some seconds follow each other; each ends with an audit of the
file and with a judgement of everything that was logged since the last one (test/history.py). In
most rounds many processes produce, consume and churn while nemeses strike at random. Others take
place on a disk that is filled up, or whose device fails.

SEED= repeats the choices (not the timing). NEMESIS=kill,stop,... takes some only. WORKER2= is the
program of another release's worker, which joins. KEEP=folder keeps file and logs."""
import collections
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "test"))
import filesystems
from crowd import Crowd
from filesystems import FailingDisk, FileSystem, Missing, SnapshotDisk
from harness import BECK, BUILD, Worker, beck, folders, now, only_file, seeded

NEMESES = ("kill", "stop", "clock", "full", "poison", "copy", "fork", "builds", "topics", "check",
           "reopen", "readonly", "power")
PASSING = ["DELETED", "NOT_FOUND"]  # what users of a topic that others delete may be told
POPULATION = {"produce": 6, "consume": 4, "churn": 2}
CHURNED = ["%s-os-%d" % (name, n) for name in ("shared", "grow") for n in (1, 2, 3)]
SIZE = 400                          # largest padding of a value
ROUND = 8                           # seconds
FRESH = 4                           # rounds until the file is a new one
TOLD = 60                           # seconds until everybody knows of a failed sync
DAY = 86400


def seconds_of(text):
    unit = {"s": 1, "m": 60, "h": 3600, "d": DAY}.get(text[-1:], 0)
    return float(text[:-1]) * unit if unit else float(text)


class Torture(Crowd):
    def __init__(self, seconds, nemeses):
        folder, logs = folders()
        self.folder, self.random, self.nemeses = folder, seeded(), nemeses
        self.programs = [os.path.join(BUILD, "torture", name) for name in (
            "shared", "static", "clang", "debug", "portable")]
        self.programs = [p for p in self.programs if os.path.exists(p)]
        if os.environ.get("WORKER2"):
            self.programs.append(os.environ["WORKER2"])
        Worker.program = self.programs[0]
        super().__init__(os.path.join(folder, "0.beck"), logs, SIZE)
        self.seconds, self.start, self.files = seconds, time.monotonic(), 0
        self.counts, self.totals, self.lag = collections.Counter(), collections.Counter(), (0, "")
        self.resumes, self.checks, self.topics, self.copies = [], [], [], 0
        self.acts = [(getattr(self, "act_" + name), weight, group) for name, weight, group in (
            ("kill", 6, "kill"), ("kill_some", 2, "kill"), ("kill_all", 1, "kill"),
            ("kill_newborn", 2, "kill"), ("kill_closing", 2, "kill"), ("stop", 5, "stop"),
            ("stop_long", 2, "stop"), ("stop_all", 1, "stop"), ("delete_topic", 1, "topics"),
            ("check", 1, "check"), ("look", 1, "check"), ("copy", 1, "copy"),
            ("rest", 4, None)) if group is None or group in nemeses]

    def has(self, nemesis, chance=1.0):
        return nemesis in self.nemeses and self.random.random() < chance

    # ---- Workers -------------------------------------------------------------------------------

    def call(self, kind, **more):
        """Start one more worker of a random sort."""
        rng = self.random
        options = {"seed": rng.randrange(1 << 30), "batch": rng.choice((1, 5, 30, 300)),
                   "segment": rng.choice((16384, 65536, 1 << 20)), "stubborn": 1, "codecs": 1,
                   "pause": rng.choice((300, 3000, 20000)), "flush": rng.choice((0, 0, 20)),
                   "sync": 200}
        if kind == "produce":
            options["threads"] = rng.choice((1, 1, 1, 3))
        if kind == "consume":
            options["readonly"] = int(self.has("readonly", 0.3))
            options["hold"] = rng.choice((0, 30000))
            options["reread"] = int(rng.random() < 0.1)
        if self.has("reopen", 0.3):
            options.update(again=1, life=rng.randrange(1, 60))
        elif rng.random() < 0.2:
            options["life"] = rng.randrange(1, 200)
        if self.has("fork", 0.2) and kind == "produce":
            options["fork"] = 50
        if self.has("fork", 0.1):
            options["prefork"] = rng.randrange(2, 5)
        prefix, program = [], None
        if self.has("clock", 0.3):
            options["clock"] = 20
        if self.has("clock", 0.15) and self.other_time(DAY):
            days = rng.randrange(1, 1000)
            prefix, options["skew"] = self.other_time(days * DAY), days * DAY * 1000000
            self.counts["clocks of another time namespace"] += 1
        if self.has("builds", 0.6):
            program = rng.choice(self.programs)
            self.counts["workers of build " + os.path.basename(program)] += 1
        options.update(more)
        topics = rng.sample(self.topics, rng.randrange(1, len(self.topics) + 1))
        if kind == "consume" and rng.random() < 0.3:
            topics = [rng.choice(CHURNED)]
        return self.spawn(kind, [] if kind == "churn" else topics, prefix, program, **options)

    @staticmethod
    def other_time(seconds):
        """The words that start a program in a time namespace of its own, when that is allowed."""
        words = ["unshare", "--time", "--monotonic", str(seconds), "--boottime", str(seconds)]
        return words if os.geteuid() == 0 and shutil.which("unshare") else []

    def fill(self, **more):
        self.bury_the_dead()
        kinds = [w.kind for w in self.running]
        for kind, count in POPULATION.items():
            for _ in range(count - kinds.count(kind)):
                self.call(kind, **more)

    def name_topics(self):
        self.topics = ["f%d-%s-%d" % (self.rounds, kind, partitions) for kind in ("sync", "os")
                       for partitions in (1, 4)] + ["f%d-os-48" % self.rounds]

    # ---- Nemeses -------------------------------------------------------------------------------

    def strike(self):
        acts, weights, _ = zip(*self.acts)
        self.random.choices(acts, weights)[0]()

    def struck(self, victims, what):
        self.kill(victims)
        self.counts[what] += 1
        self.counts["processes killed"] += len(victims)

    def act_rest(self):
        time.sleep(self.random.random() * 0.1)

    def act_kill(self):
        self.struck([self.random.choice(self.running)], "kill -9: one")

    def act_kill_some(self):
        count = self.random.randrange(2, len(self.running))
        self.struck(self.random.sample(self.running, count), "kill -9: several")

    def act_kill_all(self):
        if self.random.random() < 0.3:
            self.struck(list(self.running), "kill -9: all (crashes)")

    def act_kill_newborn(self):
        newborn = self.call(self.random.choice(list(POPULATION)))
        time.sleep(self.random.random() * 0.01)
        self.struck([newborn], "kill -9: while opening")

    def act_kill_closing(self):
        victim = self.random.choice(self.running)
        victim.signal(signal.SIGTERM)
        time.sleep(self.random.random() * 0.005)
        self.struck([victim], "kill -9: while closing")

    def stop(self, victims, seconds):
        for worker in victims:
            worker.signal(signal.SIGSTOP)
            self.note("stop %s", worker.name)
            self.resumes.append((time.monotonic() + seconds, worker))

    def act_stop(self):
        self.stop([self.random.choice(self.running)], self.random.random() * 0.05)
        self.counts["stopped, up to 50 ms"] += 1

    def act_stop_long(self):
        count = self.random.randrange(1, 4)
        self.stop(self.random.sample(self.running, count), 0.2 + self.random.random() * 2)
        self.counts["stopped, up to 2.2 s"] += count

    def act_stop_all(self):
        self.stop(list(self.running), self.random.random() * 0.3)
        self.counts["stopped, all"] += 1

    def resume(self, everybody=False):
        for time_, worker in list(self.resumes):
            if everybody or time_ <= time.monotonic():
                self.resumes.remove((time_, worker))
                worker.signal(signal.SIGCONT)
                self.note("continue %s", worker.name)

    def act_delete_topic(self):
        self.resume(True)  # or it waits for somebody who stands still
        self.delete(self.random.choice(self.topics))
        self.counts["topics deleted while used"] += 1

    def delete(self, topic):
        listed = beck("topic", "list", self.path, ok=(0, 1)).decode().split()
        if topic in listed:
            super().delete(topic)

    def act_check(self):
        if len(self.checks) < 2 and os.path.exists(self.path):
            self.checks.append(subprocess.Popen([BECK, "check", self.path], stdout=subprocess.PIPE,
                                                stderr=subprocess.STDOUT))
            self.counts["beck check amid it"] += 1

    def act_look(self):
        """People look: that takes no lock and does not wait."""
        if os.path.exists(self.path):
            beck("ps", self.path, ok=(0, 1))
            self.counts["beck ps amid it"] += 1

    def reap_checks(self, all_of_them=False):
        for process in list(self.checks):
            if all_of_them or process.poll() is not None:
                said = process.communicate(timeout=120)[0].decode(errors="replace")
                self.checks.remove(process)
                if process.returncode not in (0, 1):
                    self.wrong("beck check: exit %d %s", process.returncode, said[-500:])
                elif process.returncode == 1 and "no such" not in said.lower():
                    self.wrong("beck check: %s", said[-500:])

    def act_copy(self):
        """A copy of the file in use opens, and holds a prefix of every partition."""
        if not os.path.exists(self.path) or os.path.getsize(self.path) > 256 << 20:
            return
        self.copies += 1
        copy = os.path.join(self.top, "copy.beck")
        if subprocess.call(["cp", self.random.choice(("--sparse=auto", "--sparse=always")),
                            self.path, copy]) == 0:
            self.audit(copy, "y%d" % self.copies, copy=1, readonly=int(self.random.random() < 0.3))
        os.unlink(copy)

    # ---- Rounds --------------------------------------------------------------------------------

    def rage(self, seconds, **more):
        end = now() + int(seconds * 1e6)
        while now() < end and not self.bad:
            self.fill(**more)
            only_file(self.path)
            self.reap_checks()
            time.sleep(self.random.random() * 0.08)
            self.resume()
            self.strike()
            self.show()

    def calm(self):
        """Everybody is continued, and killed or asked to leave; was it a crash?"""
        self.resume(True)
        crash = "kill" in self.nemeses and self.random.random() < 0.6
        if crash:
            self.struck(list(self.running), "kill -9: all (crashes)")
        else:
            self.dismiss(90)
        self.reap_checks(True)
        if crash and self.has("readonly", 0.3):
            self.audit(name="x", copy=2, readonly=1)
            self.counts["crashed file opened read-only"] += 1

    def verdict(self, passing=(), **arguments):
        """Judge; these statuses are what somebody may have been told."""
        self.tolerated = PASSING + list(passing)
        history = self.judge(**arguments)
        self.totals.update(history.counts)
        self.lag = max(self.lag, history.lag)
        if not self.bad:
            self.check_file(self.path, lossy=arguments.get("poisoned"))
            only_file(self.path)

    def check_file(self, path, lossy):
        """Indexes are not synced: a reader does without one that did not arrive on the device."""
        *findings, summary = beck("check", path, ok=(0, 2)).decode().splitlines()
        lost = [line for line in findings if line.endswith("is damaged (it is only a help)")]
        self.counts["indexes that were not on the device"] += len(lost)
        if len(lost) < len(findings) or lost and not lossy:
            self.wrong("beck check: %s", "\n".join(findings[-10:] + [summary]))

    def round_storm(self, seconds):
        if self.files == 0 or self.rounds % FRESH == 0:
            self.new_file(self.folder)
            self.name_topics()
        else:
            self.begin()
        self.rage(seconds)
        self.calm()
        self.verdict()

    def new_file(self, folder):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        self.files += 1
        self.begin(os.path.join(folder, "%d.beck" % self.files))

    def round_full(self, seconds):
        """The disk is full and has room, by turns. Without root: no file may grow."""
        kind = self.random.choice(("ext4", "xfs"))
        disk = FileSystem(kind, self.top) if os.environ.get("BECK_PRIVATE_MOUNTS") else None
        try:
            self.new_file(disk.folder if disk else self.folder)
            self.name_topics()
            if disk:
                self.fill_up(disk, seconds, kind)
            else:
                self.rage(seconds, fsize=self.random.randrange(1, 16) << 20)
                self.counts["rounds with RLIMIT_FSIZE"] += 1
                self.files = 0
            self.calm()
            self.verdict(["FULL"])
        finally:
            self.close(disk)

    def fill_up(self, disk, seconds, kind):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.bad:
            self.rage(self.random.random())
            self.note("full")
            disk.fill()
            self.counts["disks full (%s)" % kind] += 1
            self.rage(self.random.random() * 1.5)
            self.note("room")
            disk.drain()

    def close(self, disk):
        """Nothing of this file goes into the next round; one with a violation is kept."""
        if disk and self.bad and os.path.exists(self.path):
            shutil.copy(self.path, self.logs)
        if disk:
            disk.close()
            shutil.rmtree(disk.top, ignore_errors=True)
        self.files = self.files if self.bad else 0

    def round_power(self, seconds):
        """The power fails, again and again: a clone of the device is what it would leave."""
        kind = self.random.choice(list(SnapshotDisk.KINDS))
        disk = SnapshotDisk(kind, self.top)
        try:
            self.new_file(disk.folder)
            self.name_topics()
            end, number = time.monotonic() + seconds, 0
            while time.monotonic() < end and not self.bad:
                number += 1
                self.rage(0.1 + self.random.random())
                self.power_loss(disk, number)
                self.counts["power losses (%s)" % kind] += 1
            self.calm()
            self.verdict()
        finally:
            self.close(disk)

    def power_loss(self, disk, number):
        start = now()
        folder = disk.power_loss()
        path = os.path.join(folder, os.path.basename(self.path))
        if os.path.exists(path):
            self.audit(path, "w%d" % number, prefix=self.another_boot(), **{
                "copy": 3, "from": start, "to": now()})
            self.check_file(path, lossy=True)
        disk.forget()

    def another_boot(self):
        """The words that start a program on a machine that was started since."""
        boot = os.path.join(self.top, "boot_id")
        with open(boot, "w", encoding="ascii") as file:
            file.write("%s\n" % uuid.UUID(int=self.random.getrandbits(128)))
        return ["unshare", "--mount", "sh", "-c",
                'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', boot]

    def round_poison(self, seconds):
        """Syncs fail: all are told, nothing is acknowledged. Opened again, alone, it goes on."""
        kind = self.random.choice(list(FailingDisk.KINDS))
        disk = FailingDisk(kind, self.top)
        try:
            self.new_file(disk.folder)
            self.name_topics()
            self.rage(seconds * 0.4 * self.random.random() + 0.5)
            if not self.bad:
                self.poison(disk, kind)
        except Missing:  # there is nothing left that could be mounted, and nothing to judge
            self.counts["devices that did not come back (%s)" % kind] += 1
        finally:
            self.close(disk)

    def poison(self, disk, kind):
        self.resume(True)
        self.fill(again=0, life=0)
        self.note("the device fails")
        disk.fail()
        time.sleep(self.random.random())
        if self.random.random() < 0.5:  # a sync may succeed again, and must not be believed
            self.note("the device is well")
            disk.heal()
        if self.random.random() < 0.5:
            self.see_everybody_told()
        self.calm()
        disk.heal()
        boot = []
        if disk.read_only() or self.random.random() < 0.5:
            disk.reattach()
            boot = self.another_boot()  # or it would be taken for a page cache that was never lost
        self.note("reopened")
        self.audit(name="x", prefix=boot, copy=2)
        after = self.call("produce", life=30, again=0, prefork=0, fork=0)
        if after.wait(30) != 0:
            self.wrong("%s: appending on the disk that is well again: ended with %s", after.log,
                       after.process.returncode)
        self.bury_the_dead()
        disk.reattach()
        told = len(self.told())
        self.verdict(["FULL", "POISONED", "IO", "READONLY", "UNKNOWN"], poisoned=True)
        self.counts["poisonings (%s)" % kind if told else "failed devices nobody met"] += 1
        self.counts["processes told of poison"] += told

    def told(self):
        """The names of the processes that know of a failed sync."""
        names = set()
        for name in os.listdir(self.logs):
            with open(os.path.join(self.logs, name), encoding="latin-1") as log:
                if " POISONED " in log.read():
                    names.add(name.split(".")[0])
        return names

    def see_everybody_told(self):
        """Once one has been told, all who write are."""
        end = time.monotonic() + TOLD
        while not self.told() and time.monotonic() < end:
            time.sleep(0.05)
        if not self.told():
            return
        end, waiting = time.monotonic() + TOLD, True
        while waiting and time.monotonic() < end:
            time.sleep(0.05)
            told = self.told()
            waiting = [w for w in self.running
                       if w.kind != "consume" and w.alive() and w.name not in told]
        for worker in waiting:
            self.wrong("%s was never told of the failed sync\n%s", worker.log, worker.stacks())

    # ---- The run -------------------------------------------------------------------------------

    def show(self, last=False):
        if sys.stdout.isatty():
            left = max(0, self.seconds - (time.monotonic() - self.start))
            print("\r%4d s left, round %d, %d appends, %d records read, %d processes killed " % (
                left, self.rounds, self.totals["appends acknowledged"],
                self.totals["records read"], self.kills), end="\n" if last else "", flush=True)

    def run(self):
        kinds = [self.round_storm, self.round_poison, self.round_full, self.round_power,
                 self.round_storm, self.round_storm]
        disks = [k for k in kinds if k.__name__.replace("round_", "") in self.nemeses]
        alone = len(disks) == len(set(self.nemeses))  # nothing but disks is asked for
        kinds = disks if alone else [k for k in kinds if k == self.round_storm or k in disks]
        number = 0
        length = min(ROUND, self.seconds / 6)
        while kinds and not self.bad and (
                time.monotonic() - self.start < self.seconds or number < 4):
            kind = kinds[number % len(kinds)]
            number += 1
            try:
                kind(length)
            except Missing as why:  # a program that makes file systems, most likely
                print("SKIPPED %s: %s" % (kind.__name__, why))
                kinds = [k for k in kinds if k != kind]
            self.show()
        self.show(last=True)

    def report(self):
        for title, counts in (("operations", self.totals), ("nemeses", self.counts)):
            print("%s:" % title)
            for name, count in sorted(counts.items()):
                print("%12d  %s" % (count, name))
        print("%12.1f  ms: worst time from acknowledged to seen" % (self.lag[0] / 1000))
        print("%12d  processes, %d rounds, %d s" % (
            self.born, self.rounds, time.monotonic() - self.start))


def main(arguments):
    nemeses = [n for n in os.environ.get("NEMESIS", "").split(",") if n] or list(NEMESES)
    unknown = set(nemeses) - set(NEMESES)
    if unknown or len(arguments) > 1:
        print("usage: torture.py [T], with NEMESIS= some of %s" % ",".join(NEMESES))
        return 2
    why = filesystems.private_mounts() if {"full", "poison", "power"} & set(nemeses) else None
    if why:
        print("SKIPPED power losses and failing devices: %s" % why)
        nemeses = [n for n in nemeses if n not in ("poison", "power")]
    if not nemeses:
        return 77
    os.environ["SEED"] = os.environ.get("SEED") or str(time.time_ns() % 1000000)
    torture = Torture(seconds_of(arguments[0] if arguments else "40s"), nemeses)
    try:
        torture.run()
    finally:
        torture.resume(True)
        for worker in torture.running:
            worker.signal(signal.SIGKILL)
    torture.report()
    if torture.bad:
        print("\n".join(torture.bad[:40]))
        print("VIOLATION in round %d, SEED=%s; logs in %s, the file was %s" % (
            torture.rounds, os.environ["SEED"], torture.logs, torture.path))
        return 1
    if not os.environ.get("KEEP"):
        shutil.rmtree(os.path.dirname(torture.folder), ignore_errors=True)
    print("0 violations")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
