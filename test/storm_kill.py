#!/usr/bin/env python3
"""storm_kill.py -- producers, consumers and creators of topics under a rain of SIGKILL

ROUNDS rounds on one file. The workers log what they are about to do and what was acknowledged;
after each round the file must hold exactly what the logs allow: acknowledged records once, at their
offset, in order, whole batches, nothing else, and consumers saw the same without a gap. SEED=
repeats the choices (not the timing), KEEP=folder keeps the file and the logs."""
import json
import os
import signal
import subprocess
import sys
import time
import zlib

from harness import (BECK, DUMP, ROUNDS, Worker, beck, build_worker, contents, folders, now,
                     only_file, seeded, value_of)

SECONDS = float(os.environ.get("SECONDS") or 1.5)  # of storm in a round
GENERATION = 3                                     # rounds until the topics are replaced
SIZE = 120                                         # largest padding of a value
LIMIT_US = 1000000                                 # of any append or poll
POPULATION = {"produce": 5, "consume": 3, "churn": 2}


class Storm:
    def __init__(self):
        folder, self.logs = folders()
        self.path, self.random = os.path.join(folder, "storm.beck"), seeded()
        Worker.program = build_worker(self.logs)
        self.born = self.kills = self.records = 0
        self.running, self.past, self.known, self.topics = [], [], {}, []
        self.slowest, self.bad = {}, []

    def wrong(self, text, *values):
        self.bad.append(text % values)

    # ---- The storm ------------------------------------------------------------------------------

    def spawn(self, kind):
        rng = self.random
        self.born += 1
        options = {"seed": rng.randrange(1 << 30), "size": SIZE, "batch": rng.choice((1, 5, 30)),
                   "segment": 16384, "pause": rng.choice((500, 3000, 10000))}
        if rng.random() < 0.3:
            options["life"] = rng.randrange(1, 60)
        if kind == "produce":
            options.update(threads=rng.choice((1, 1, 1, 3)), sync=200)
        if kind == "consume":
            options["readonly"] = int(rng.random() < 0.25)
        topics = rng.sample(self.topics, rng.randrange(1, len(self.topics) + 1))
        worker = Worker(kind, self.path, "%s/%s%d" % (self.logs, kind[0], self.born),
                        [] if kind == "churn" else topics, **options)
        self.running.append(worker)
        return worker

    def fill(self):
        """Bury the dead and start replacements."""
        for worker in [w for w in self.running if not w.alive()]:
            self.bury(worker, worker.process.returncode)
        kinds = [w.kind for w in self.running]
        for kind, count in POPULATION.items():
            for _ in range(count - kinds.count(kind)):
                self.spawn(kind)

    def bury(self, worker, code):
        if code is None:
            self.wrong("%s is stuck: %s\n%s", worker.log, worker.words, worker.stacks())
            worker.signal(signal.SIGKILL)
            worker.wait(5)
        elif code not in (0, -signal.SIGTERM) and not (worker.killed and code == -signal.SIGKILL):
            self.wrong("%s ended with %d", worker.log, code)
        self.running.remove(worker)
        self.past.append(worker)

    def kill(self, victims):
        """All at once, then wait for all."""
        for worker in victims:
            worker.signal(signal.SIGKILL)
        for worker in victims:
            self.bury(worker, worker.wait(5))
        self.kills += len(victims)

    def strike(self):
        rng = self.random
        act = rng.choice(("one", "one", "one", "two", "newborn", "newborn", "closing", "all"))
        if act == "one":
            self.kill([rng.choice(self.running)])
        elif act == "two":
            self.kill(rng.sample(self.running, 2))
        elif act == "newborn":
            newborn = self.spawn(rng.choice(list(POPULATION)))
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
        for worker in self.running:
            worker.signal(signal.SIGTERM)
        for worker in list(self.running):
            self.bury(worker, worker.wait(10))
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

    def took(self, what, microseconds, who):
        if microseconds > self.slowest.get(what, (0, ""))[0]:
            self.slowest[what] = (microseconds, who)
        if microseconds > LIMIT_US and what not in ("open", "close"):
            self.wrong("%s: %s took %d ms", who, what, microseconds // 1000)

    def judge_common(self, worker, words):
        if words[0] == "S":
            self.wrong("%s: %s", worker.log, " ".join(words))
        elif words[0] == "L":
            self.took(words[1], int(words[2]), worker.log)

    def read_producer(self, worker, intents, outcome):
        """Collect what one producer meant to do, and how it ended."""
        for thread in range(3):
            name, last = "%s.%d" % (os.path.basename(worker.log), thread), None
            for words in worker.lines(thread):
                self.judge_common(worker, words)
                if words[0] == "I":
                    last = (name, int(words[1]))
                    intents[last] = (words[2], int(words[3]), int(words[4]))
                    start = int(words[5])
                elif words[0] == "A":
                    outcome[last], last = int(words[2]), None
                    self.took("append", int(words[4]) - int(words[3]), name)
                elif words[0] == "E":
                    outcome[last], last = words[2], None
                    self.wrong("%s: append refused: %s", name, " ".join(words))
            if last is not None:
                self.took("append", worker.ended - start, name + " (cut short)")

    def judge_records(self, found):
        intents, outcome, placed, newest = {}, {}, {}, {}
        for worker in self.past:
            if worker.kind == "produce":
                self.read_producer(worker, intents, outcome)
        for place, values in found.items():
            old = self.known.get(place, [])
            if values[:len(old)] != old:
                self.wrong("%s:%d: what it held before has changed", *place)
            for offset in range(len(old), len(values)):
                self.judge_record(place, offset, values[offset], intents, placed, newest)
        for place, old in self.known.items():
            if len(found.get(place, [])) < len(old):
                self.wrong("%s:%d shrank to %d", *place, len(found.get(place, [])))
        for batch, where in placed.items():
            if where[2] != intents[batch][2]:
                self.wrong("%s: %d of %d records", batch, where[2], intents[batch][2])
        for batch, said in outcome.items():
            got = placed.get(batch)
            if isinstance(said, int) and (got is None or got[1] != said):
                self.wrong("%s: acknowledged at %d, found %s; %s", batch, said, got, intents[batch])
            elif isinstance(said, str) and said != "POISONED" and got is not None:
                self.wrong("%s: refused with %s, but there: %s", batch, said, got)
        self.records += len(outcome)
        self.known = found

    def judge_record(self, place, offset, value, intents, placed, newest):
        where = "%s:%d@%d" % (*place, offset)
        try:
            topic, producer, seq, index, count, _ = value.decode().split(" ")
            batch, index = (producer, int(seq)), int(index)
            meant = intents[batch]
        except (ValueError, KeyError):
            self.wrong("%s: never meant: %r", where, value[:80])
            return
        want = value_of(topic, producer, batch[1], index, meant[2], SIZE)
        if value != want or meant[0] != place[0]:
            self.wrong("%s: not what was meant: %r %s", where, value, meant)
        if meant[1] not in (-2, place[1]):
            self.wrong("%s: meant for partition %d", where, meant[1])
        if index == 0 and batch not in placed:
            placed[batch] = (place, offset, 1)
            if newest.get((producer, place), -1) >= batch[1]:
                self.wrong("%s: %s comes after %d", where, batch, newest[producer, place])
            newest[producer, place] = batch[1]
        elif placed.get(batch) == (place, offset - index, index):
            placed[batch] = (place, offset - index, index + 1)
        else:
            self.wrong("%s: record %d of %s, of which %s", where, index, batch, placed.get(batch))

    def judge_consumer(self, worker, found):
        following, start = {}, 0
        for words in worker.lines(0):
            self.judge_common(worker, words)
            if words[0] == "O":
                following, start = {}, words[1]
            elif words[0] == "G":
                self.wrong("%s: %s", worker.log, " ".join(words))
            elif words[0] == "R":
                place, first, count = (words[1], int(words[2])), int(words[3]), int(words[4])
                values = found.get(place, [])[first:first + count]
                want = following.get(place, 0 if start == "0" else first)
                if first != want:
                    self.wrong("%s: %s goes on at %d instead of %d", worker.log, place, first, want)
                if len(values) < count or zlib.crc32(b"".join(values)) != int(words[5]):
                    self.wrong("%s: %s saw something else: %s", worker.log, place, " ".join(words))
                following[place] = first + count

    def judge_churn(self, topics):
        created, gone, possible = {}, {}, set()
        for worker in self.past:
            for words in worker.lines(0) if worker.kind == "churn" else []:
                self.judge_common(worker, words)
                if words[0] == "C":
                    possible.add(words[1])
                elif words[0] == "c" and words[2] == "OK":
                    created[words[1]] = worker.log
                elif words[0] == "D":
                    created.pop(words[1], None)
                elif words[0] == "d" and words[2] == "OK":
                    gone[words[1]] = worker.log
        own = {t for t in topics if t.startswith("own-")}
        for name in own - possible:
            self.wrong("topic %s was never created", name)
        for name in own & set(gone):
            self.wrong("topic %s was deleted (%s)", name, gone[name])
        for name in set(t for t in created if t.startswith("own-")) - own:
            self.wrong("topic %s is missing (%s)", name, created[name])

    def judge(self, crashed):
        dumped = self.dump() if crashed and self.random.random() < 0.7 else None
        said = beck("check", self.path, ok=(0, 2))
        if b"no problems" not in said:
            self.wrong("beck check: %s", said[-1000:].decode())
        topics = [t["topic"] for t in json.loads(beck("topic", "list", self.path, "--json"))]
        found = dict(contents(self.path, topics))
        if dumped is not None and dumped != found:
            for place in set(dumped) | set(found):
                if dumped.get(place, []) != found.get(place, []):
                    self.wrong("beckdump has %d records of %s, beck consume %d",
                               len(dumped.get(place, [])), place, len(found.get(place, [])))
        for (topic, partition), values in list(found.items()):
            if topic not in self.topics:
                if not all(v.startswith(topic.encode() + b" ") for v in values):
                    self.wrong("foreign records in %s:%d", topic, partition)
                del found[topic, partition]
        self.judge_records(found)
        self.judge_churn(topics)
        for worker in self.past:
            if worker.kind == "consume":
                self.judge_consumer(worker, found)
            for words in worker.lines(99):
                self.judge_common(worker, words)
        return [t for t in topics if t not in self.topics]

    def round(self, number):
        old = []
        if number % GENERATION == 0:
            old, self.known = self.topics, {}
            self.topics = ["g%d-%s-%d" % (number, kind, partitions)
                           for kind in ("sync", "os") for partitions in (1, 4)]
        self.past = []
        self.fill()
        for topic in old:  # deleted while the workers run
            beck("topic", "delete", self.path, topic)
        self.rage()
        crashed = self.calm()
        left = self.judge(crashed)
        only_file(self.path)
        if self.bad:
            print("round %d:" % number)
            print("\n".join(self.bad[:40]))
            sys.exit(1)
        for topic in left:
            beck("topic", "delete", self.path, topic)
        for worker in self.past:
            for thread in (0, 1, 2, 99):
                if os.path.exists("%s.%d" % (worker.log, thread)):
                    os.unlink("%s.%d" % (worker.log, thread))


def main():
    storm = Storm()
    try:
        for number in range(ROUNDS):
            storm.round(number)
    finally:
        storm.kill(list(storm.running))
    print("%d rounds, %d processes, %d killed, %d appends acknowledged; slowest: %s" % (
        ROUNDS, storm.born, storm.kills, storm.records,
        ", ".join("%s %d ms (%s)" % (what, took // 1000, os.path.basename(who))
                  for what, (took, who) in sorted(storm.slowest.items()))))


main()
