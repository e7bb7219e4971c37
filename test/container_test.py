#!/usr/bin/env python3
"""container_test.py -- containers that share one file: namespaces of their own, kill -9, SIGSTOP

Each container has its own user, pid, mount, uts, ipc, network and time namespace; its clocks are
days away, its first process is 1, the folder is mounted at another path, one of them belongs to
another user and one has no /proc. One appends while others consume. SEED= repeats the choices,
KEEP=folder keeps the file and the logs."""
import os
import shutil
import signal
import statistics
import subprocess
import time

from harness import (BECK, ROUNDS, Db, Worker, beck, build_worker, contents, folders, only_file,
                     open_to_all, seeded, skip)

TOPICS = ("t-os-3", "t-sync-3")  # class and partitions, as worker.c reads a name
TAKEN_MS = 1000      # to go on after a death: a look is due every 100 ms
WOKEN_MS = 30        # median; without a wake-up across containers it would be 50
LOOKS = (4, 40)      # wake-ups of an idle consumer in a second: a look every 100 ms, no more
TOOK = []            # milliseconds of appends after a death
SPACES = "--user --map-root-user --pid --fork --kill-child --mount --uts --ipc --net".split()
ENTER = 'mount --bind "$0" /mnt && exec "$@"'
ENTER_BLIND = 'mount --bind "$0" /mnt && mount -t tmpfs none /proc && exec "$@"'
# The first process of the container lives; what it started is killed from inside.
ENTER_AND_KILL = 'mount --bind "$0" /mnt; "$@" & sleep 0.4; kill -9 $!; wait; exec sleep 60'


class Place:
    """Where containers meet: a folder that everybody may enter, on the host and as /mnt."""

    def __init__(self):
        self.folder, self.logs = folders()
        for path in (self.folder, self.logs):
            open_to_all(path)
        self.path = os.path.join(self.folder, "shared.beck")
        self.beck = shutil.copy(BECK, os.path.join(self.logs, "beck"))
        Worker.program = build_worker(self.logs)
        self.time = ["--time"] if self.runs(["--time"]) else None

    def runs(self, more):
        return subprocess.run(["unshare", *SPACES, *more, "sh", "-c", ENTER, self.folder, "true"],
                              capture_output=True).returncode == 0

    def container(self, days, stranger=False, enter=ENTER):
        """The words that start a program in a container, as its process 1."""
        words = ["unshare", *SPACES]
        if self.time and days:
            words += ["--time", "--monotonic", str(days * 86400), "--boottime", str(days * 90000)]
        if enter != ENTER_BLIND:
            words += ["--mount-proc"]
        if stranger and os.getuid() == 0:
            words = "setpriv --reuid 65534 --regid 65534 --clear-groups".split() + words
        return words + ["sh", "-c", enter, self.folder]

    def work(self, kind, name, topics, prefix, **options):
        """A worker in a container. Its log is outside of the shared folder."""
        log = os.path.join(self.logs, name)
        return Worker(kind, "/mnt/shared.beck", log, topics, prefix=prefix, **options)


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(child) for child in file.read().split()]


def inside(process, deadline=5):
    """The host's number of the process 1 in a container, once it runs what it was started for."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            for pid in children(process.pid):
                with open("/proc/%d/status" % pid) as status:
                    found = dict(line.split(":\t", 1) for line in status if ":\t" in line)
                if found["Name"].strip() not in ("unshare", "sh", "setpriv", "mount"):
                    assert found["NSpid"].split()[-1] == "1", found["NSpid"]
                    return pid
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.01)
    raise AssertionError("the container did not start: %s" % process.args)


def switches(pid):
    with open("/proc/%d/status" % pid) as file:
        return int([line for line in file if line.startswith("voluntary_ctxt")][0].split()[1])


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited %d s in vain" % seconds
        time.sleep(0.01)


def acknowledged(worker):
    return sum(1 for words in worker.lines(0) if words[0] == "A")


def timed_append(db, topic, partition):
    """Append from the host; it must not take long, whoever died."""
    start = time.monotonic()
    db.append(topic, b"host", partition)
    took = 1000 * (time.monotonic() - start)
    assert took < TAKEN_MS, "an append took %d ms" % took
    TOOK.append(took)


def check_logs(place, workers):
    """Every acknowledged record is there, at its offset; nobody was refused anything."""
    found, bad, sum_ = contents(place.path, TOPICS), [], 0
    for worker in workers:
        asked = {}
        for words in worker.lines(0):
            if words[0] == "I":
                asked[words[1]] = words
            elif words[0] == "A":
                seq, topic, partition = asked[words[1]][1:4]
                value = found[topic, int(partition)][int(words[2])]
                mine = "%s %s.0 %s 0 " % (topic, os.path.basename(worker.log), seq)
                if not value.startswith(mine.encode()):
                    bad.append("%s seq %s: offset %s holds %r" % (worker.log, seq, words[2], value))
                sum_ += 1
            elif words[0] in "ESG":
                bad.append("%s: %s" % (worker.log, " ".join(words)))
    assert not bad, "\n".join(bad[:10])
    only_file(place.path)
    return sum_


def end(worker, number=signal.SIGKILL):
    """Kill a container as a whole: its process 1."""
    pid = inside(worker.process)
    os.kill(pid, number)
    worker.process.wait(10)
    worker.ended = True


# ---- What is tested ------------------------------------------------------------------------------

def wake_ups(place):
    """A line produced in one container is printed in another: the kernel woke it, not a look."""
    words = [place.beck, "consume", "/mnt/shared.beck", "wake", "-o", "end", "-f", "%s\\n", "-q"]
    reader = subprocess.Popen(place.container(400) + words, stdout=subprocess.PIPE)
    writer = subprocess.Popen(place.container(3, True) + [place.beck, "produce", "/mnt/shared.beck",
                                                          "wake"], stdin=subprocess.PIPE)
    inside(writer), inside(reader)
    time.sleep(0.5)
    late = []
    for i in range(60):
        start = time.monotonic()
        writer.stdin.write(b"%d\n" % i)
        writer.stdin.flush()
        assert int(reader.stdout.readline()) == i
        late.append(1000 * (time.monotonic() - start))
        time.sleep(0.013)
    for process in (writer, reader):
        process.kill()
        process.wait()
        (process.stdin or process.stdout).close()
    median = statistics.median(late)
    assert median < WOKEN_MS, "woken after %.1f ms" % median
    print("woken in %.2f ms (median)" % median)


def idle(place):
    """Waiting in a shifted time namespace neither spins nor sleeps for days."""
    for topics in (["wake"], ["wake", TOPICS[0]]):  # one futex, several at once
        words = [place.beck, "consume", "/mnt/shared.beck", *topics, "-o", "end", "-q"]
        process = subprocess.Popen(place.container(500) + words, stdout=subprocess.DEVNULL)
        pid = inside(process)
        time.sleep(0.4)
        before = switches(pid)
        time.sleep(1)
        woken = switches(pid) - before
        process.kill()
        process.wait()
        assert LOOKS[0] <= woken <= LOOKS[1], "%d wake-ups in a second of idling" % woken


def round_of_deaths(place, rng, number):
    """Producers and a consumer in containers; deaths inside, of all of it, of one that stands."""
    name = TOPICS[number % 2]
    db = Db(place.path)
    topic = db.topic(name)
    options = {"segment": 16384, "pause": rng.choice((0, 300, 2000)), "size": 100}

    def produce(log, **how):
        return place.work("produce", log + str(number), [name], partition=0, **options, **how)

    reader = place.work("consume", "c%d" % number, [name], place.container(7), pause=1000)
    inner = produce("i", prefix=place.container(40, enter=ENTER_AND_KILL))
    whole = produce("w", prefix=place.container(0, True))
    blind = produce("b", prefix=place.container(900, enter=ENTER_BLIND))
    wait_for(lambda: all(acknowledged(w) > 5 for w in (inner, whole, blind)))
    inside(inner.process)                                # killed from inside: process 1 sleeps now
    timed_append(db, topic, 0)
    end(whole)
    timed_append(db, topic, 0)

    standing = inside(blind.process)                     # anywhere, perhaps with the lock
    os.kill(standing, signal.SIGSTOP)
    timed_append(db, topic, 1)
    late = subprocess.run(place.container(20) + [place.beck, "consume", "/mnt/shared.beck", name,
                                                 "-e", "-q"], stdout=subprocess.DEVNULL, timeout=10)
    assert late.returncode == 0
    os.kill(standing, signal.SIGKILL)
    timed_append(db, topic, 0)
    blind.process.wait(10)
    assert reader.alive()
    rows = len(reader.lines(0))
    timed_append(db, topic, 0)
    wait_for(lambda: len(reader.lines(0)) > rows)
    if rng.random() < 0.5:                               # nobody left: the next one recovers
        db.close()
    end(reader)
    inner.process.kill()
    inner.process.wait(10)
    if db.handle:
        db.close()
    beck("check", place.path)
    return [inner, whole, blind, reader]


def all_dead(place, number):
    """Nobody survives; a container without /proc is the first to open the file."""
    name = TOPICS[number % 2]
    a = place.work("produce", "x%d" % number, [name], place.container(1), partition=2, pause=300)
    b = place.work("produce", "y%d" % number, [name], place.container(2, True), partition=2)
    wait_for(lambda: acknowledged(a) > 20 and acknowledged(b) > 20)
    end(a)
    end(b)
    done = subprocess.run(place.container(30, enter=ENTER_BLIND) + [
        place.beck, "produce", "/mnt/shared.beck", name, "-p", "2"], input=b"first\n",
        capture_output=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    beck("check", place.path)
    return [a, b]


def main():
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        skip("unshare and setpriv of util-linux are missing")
    rng, place = seeded(), Place()
    if not place.runs([]):
        skip("this user may not make user and pid namespaces")
    if place.time is None:
        print("SKIPPED container_test.py: time namespaces: the clocks are those of the host")
    db = Db(place.path)
    os.chmod(place.path, 0o666)
    db.topic("wake", 1, 2), db.topic(TOPICS[0], 3, 2), db.topic(TOPICS[1], 3, 1)
    db.close()
    wake_ups(place)
    idle(place)
    workers = []
    for number in range(min(ROUNDS, 12)):
        workers += round_of_deaths(place, rng, number)
        workers += all_dead(place, number)
    print("%d acknowledged records, all there; slowest append after a death: %d ms" % (
        check_logs(place, workers), max(TOOK)))


if __name__ == "__main__":
    try:
        main()
    finally:
        for child in children(os.getpid()):  # with an unshare dies its container
            os.kill(child, signal.SIGKILL)
