#!/usr/bin/env python3
"""storm_kill.py -- producers, consumers and creators of topics under a rain of SIGKILL

ROUNDS rounds on one file. The workers log what they are about to do, what was acknowledged and what
they read; after each round nothing of that may contradict anything else or what the file holds, see
history.py. SEED= repeats the choices (not the timing), KEEP=folder keeps the file and the logs."""
import json
import os
import signal
import subprocess
import sys
import time

from crowd import Crowd
from harness import (BECK, DUMP, ROUNDS, Worker, beck, build_worker, contents, folders, now,
                     only_file, seeded)

SECONDS = float(os.environ.get("SECONDS") or 1.5)  # of storm in a round
GENERATION = 3                                     # rounds until the topics are replaced
SIZE = 120                                         # largest padding of a value
LIMIT_US = 1000000                                 # of any append or poll
POPULATION = {"produce": 5, "consume": 3, "churn": 2}
PASSING = ("DELETED", "NOT_FOUND")                 # what users of a shared topic may be told


class Storm(Crowd):
    def __init__(self):
        folder, logs = folders()
        self.random = seeded()
        Worker.program = build_worker(logs)
        super().__init__(os.path.join(folder, "storm.beck"), logs, SIZE, PASSING)
        self.records, self.topics, self.slowest = 0, [], {}

    # ---- The storm ------------------------------------------------------------------------------

    def call(self, kind):
        """Start one more."""
        rng = self.random
        options = {"seed": rng.randrange(1 << 30), "batch": rng.choice((1, 5, 30)),
                   "segment": 16384, "pause": rng.choice((500, 3000, 10000))}
        if rng.random() < 0.3:
            options["life"] = rng.randrange(1, 60)
        if kind == "produce":
            options.update(threads=rng.choice((1, 1, 1, 3)), sync=200)
        if kind == "consume":
            options["readonly"] = int(rng.random() < 0.25)
        topics = rng.sample(self.topics, rng.randrange(1, len(self.topics) + 1))
        return self.spawn(kind, [] if kind == "churn" else topics, **options)

    def fill(self):
        """Bury the dead and start replacements."""
        self.bury_the_dead()
        kinds = [w.kind for w in self.running]
        for kind, count in POPULATION.items():
            for _ in range(count - kinds.count(kind)):
                self.call(kind)

    def strike(self):
        rng = self.random
        act = rng.choice(("one", "one", "one", "two", "newborn", "newborn", "closing", "all"))
        if act == "one":
            self.kill([rng.choice(self.running)])
        elif act == "two":
            self.kill(rng.sample(self.running, 2))
        elif act == "newborn":
            newborn = self.call(rng.choice(list(POPULATION)))
            time.sleep(rng.random() * 0.01)
            self.kill([newborn])
        elif act == "closing":
            victim = rng.choice(self.running)
            victim.signal(signal.SIGTERM)
            time.sleep(rng.random() * 0.005)
            self.kill([victim])
        elif rng.random() < 0.3:
            self.kill(list(self.running))

    def rage(self):
        end, checker = now() + int(SECONDS * 1e6), None
        while now() < end:
            self.fill()
            only_file(self.path)
            time.sleep(self.random.random() * 0.06)
            self.strike()
            if checker is None and os.path.exists(self.path) and self.random.random() < 0.1:
                checker = subprocess.Popen([BECK, "check", self.path], stdout=subprocess.PIPE)
        if checker is not None:
            said = checker.communicate(timeout=30)[0]
            if checker.returncode != 0:
                self.wrong("beck check amid the storm: exit %d %s", checker.returncode, said[-500:])

    def calm(self):
        """The end of a round: everybody is killed, or everybody is asked to leave."""
        if self.random.random() < 0.6:
            self.kill(list(self.running))
            return True
        self.dismiss()
        return False

    # ---- Judging --------------------------------------------------------------------------------

    def dump(self):
        """What the independent reader makes of the crashed file, before anybody opens it."""
        done = subprocess.run([sys.executable, DUMP, self.path, "--jsonl"], capture_output=True,
                              timeout=60)
        if done.returncode != 0:
            self.wrong("beckdump: exit %d %s", done.returncode, done.stderr[-500:])
        found = {}
        for line in done.stdout.splitlines():
            r = json.loads(line)
            found.setdefault((r["topic"], r["partition"]), []).append(r["value"].encode())
        return found

    def compare(self, dumped):
        """The program sees what the independent reader saw."""
        topics = [t["topic"] for t in json.loads(beck("topic", "list", self.path, "--json"))]
        found = contents(self.path, topics)
        for place in set(dumped) | set(found):
            if dumped.get(place, []) != found.get(place, []):
                self.wrong("beckdump has %d records of %s, beck consume %d",
                           len(dumped.get(place, [])), place, len(found.get(place, [])))

    def verdict(self, crashed):
        dumped = self.dump() if crashed and self.random.random() < 0.7 else None
        said = beck("check", self.path, ok=(0, 2))
        if b"no problems" not in said:
            self.wrong("beck check: %s", said[-1000:].decode())
        if dumped is not None:
            self.compare(dumped)
        history = self.judge()
        self.records += history.counts["appends acknowledged"]
        for what, (took, who) in history.slowest.items():
            self.slowest[what] = max(self.slowest.get(what, (0, "")), (took, who))
            if took > LIMIT_US and what not in ("open", "close"):
                self.wrong("%s: %s took %d ms", who, what, took // 1000)

    def round(self, number):
        old = []
        if number % GENERATION == 0:
            old = self.topics
            self.topics = ["g%d-%s-%d" % (number, kind, partitions)
                           for kind in ("sync", "os") for partitions in (1, 4)]
        self.fill()
        for topic in old:  # deleted while the workers run
            self.delete(topic)
        self.rage()
        self.verdict(self.calm())
        only_file(self.path)
        if self.bad:
            print("round %d, logs in %s:" % (number, self.logs))
            print("\n".join(self.bad[:40]))
            sys.exit(1)
        self.begin()
        for topic in json.loads(beck("topic", "list", self.path, "--json")):
            if topic["topic"] not in self.topics:
                self.delete(topic["topic"])


def main():
    storm = Storm()
    try:
        for number in range(ROUNDS):
            storm.round(number)
    finally:
        storm.kill(list(storm.running))
    print("%d rounds, %d processes, %d killed, %d appends acknowledged; slowest: %s" % (
        ROUNDS, storm.born, storm.kills, storm.records,
        ", ".join("%s %d ms (%s)" % (what, took // 1000, who)
                  for what, (took, who) in sorted(storm.slowest.items()))))


main()
