#!/usr/bin/env python3
"""history.py [--poisoned] FOLDER -- what the logs of worker.c say, and what of it cannot be true

Every file of the folder is the log of one thread; test/worker/worker.c says which lines there are.
Nothing but these logs is looked at: an append that was begun, refused or acknowledged, and what was
read at which offset. An audit reads every topic that there is from its beginning to its end, last
of all; a look does so earlier. Each anomaly has a name:

    phantom      read, but nobody began to append it
    torn         not the bytes that were appended, or a part of a batch
    duplicated   one batch at two places
    inconsistent two batches at one offset, or another offset than was acknowledged
    misplaced    in another partition than was asked for
    stale        of another life of the topic: it was deleted and created again
    aborted      an append that was refused can be read
    reordered    of one producer, or of appends that followed each other, in the wrong order
    lost         acknowledged, or read before, and no longer there
    unseen       acknowledged before a poll that read to the end, and not seen by it
    skipped      a consumer went on behind records that it was not given, without an event
    repeated     a consumer was given an offset for the second time
    gap          an event tells of a gap that has no cause
    forgotten    stable before a power loss, and not there after it
    believed     acknowledged although somebody had been told that a sync failed
    topic        a topic is there that was deleted, or is not there that was created
    refused      a call failed that must not
"""
import bisect
import collections
import os
import re
import sys

NEVER = 1 << 62
# The outcomes that leave open whether it happened.
OPEN = {"POISONED", "UNKNOWN", "INTERNAL", "DELETED"}
GAP_DELETED, GAP_LOST = "2", "3"


class Batch:
    """One append: what was meant, what the producer was told, and where the batch was read."""

    __slots__ = ("life", "partition", "count", "start", "end", "offset", "status", "stable",
                 "place", "base", "seen", "audited", "reader")

    def __init__(self, life, partition, count, start, stable):
        self.life, self.partition, self.count, self.start = life, partition, count, start
        self.stable = stable  # 1: when acknowledged; 2: it was there when all was made stable
        self.end, self.offset, self.status = NEVER, None, None
        self.place, self.base, self.seen, self.audited, self.reader = None, None, 0, 0, None


class Reader:
    """What the log of one consumer has told so far."""

    def __init__(self, name, kind):
        self.name, self.kind, self.lives, self.positions, self.last = name, kind, {}, {}, {}
        self.reached = {}


class History:
    def __init__(self, folder, poisoned=False, tolerated=()):
        self.poisoned, self.tolerated = poisoned, set(tolerated)
        self.batches, self.known, self.anomalies = {}, {}, []
        self.counts, self.slowest = collections.Counter(), {}
        self.audited, self.looked, self.lives = {}, {}, {}  # place: end; lives of the audit
        self.ends, self.syncs = [], []            # polls that read to the end; syncs of the file
        self.topics = collections.defaultdict(list)  # name: (what, start, end)
        self.stops, self.acts, self.reads = collections.defaultdict(list), [], []
        self.lag, self.ended = (0, ""), {}
        self.crashes = []                         # readers of what a power loss left, from, to
        self.told = NEVER                         # when somebody first knew of a failed sync
        files = [(name, list(self.lines(os.path.join(folder, name))))
                 for name in sorted(os.listdir(folder)) if re.search(r"\.\d+$", name)]
        for name, lines in files:
            self.read_producer(name, lines)
        for name, lines in sorted(files, key=lambda file: kind_of(file[1]) != "known"):
            self.read_consumer(name, lines)
        self.judge()

    @staticmethod
    def lines(path):
        """The words of every whole line: the last may have been cut by a kill."""
        with open(path, encoding="latin-1") as log:
            for line in log:
                if line.endswith("\n"):
                    yield line.split()

    def wrong(self, anomaly, text, *values):
        self.anomalies.append((anomaly, text % values))

    # ---- Producers, and what all threads tell ------------------------------------------------

    def read_producer(self, name, lines):
        lives, batch, topic = {}, None, {}
        usual, copy = kind_of(lines) in ("", "known"), kind_of(lines) == "copy"
        for words in lines:
            kind = words[0]
            if kind == "I":
                life = (words[2], lives.get(words[2], "0"))
                batch = Batch(life, int(words[3]), int(words[4]), int(words[5]),
                              int(len(words) > 6 and words[6] == "sync"))
                self.batches["%s:%s" % (name, words[1])] = batch
            elif kind == "A":
                batch.offset, batch.end = int(words[2]), int(words[4])
                self.took("append", int(words[4]) - int(words[3]), name)
            elif kind == "E":
                batch.status, batch.end = words[2], int(words[4])
                self.counts["appends " + words[2]] += 1
                if words[2] == "POISONED":
                    self.told = min(self.told, batch.end)
                if words[2] not in self.tolerated:
                    self.wrong("refused", "%s: append: %s", name, " ".join(words))
            elif kind == "T":
                lives[words[1]] = words[2]
                if usual:
                    self.topics[words[1]].append(("T", int(words[3]), int(words[4]), words[2]))
            elif kind in "CD":
                topic[kind] = [kind, int(words[2]), NEVER]
                self.topics[words[1]].append(topic[kind])
            elif kind in "cd":
                self.end_of_topic_call(topic[kind.upper()], words, name)
            else:
                self.read_other(name, words, copy)

    def end_of_topic_call(self, call, words, name):
        """A creation or deletion has ended: one that was refused did not happen."""
        call[2] = int(words[3])
        what = "topics created" if call[0] == "C" else "topics deleted"
        self.took("topic", call[2] - call[1], name)
        if words[2] == "OK":
            self.counts[what] += 1
            call[0] += "!"
        elif words[2] in OPEN or words[2] == "IO":
            call[2] = NEVER  # it may happen yet, when somebody recovers the file
        else:
            call[0] = "-"

    def read_other(self, name, words, copy):
        kind = words[0]
        if kind == "S" and copy and words[1] == "CORRUPT":  # where space was being used again
            self.counts["copies with an error"] += 1
        elif kind == "S" and words[1] not in self.tolerated:
            anomaly = "torn" if words[1] == "HOLE" else "refused"
            self.wrong(anomaly, "%s: %s", name, " ".join(words[1:]))
        elif kind == "S":
            self.counts["calls " + words[1]] += 1
        elif kind == "L":
            self.took(words[1], int(words[2]), name)
        elif kind == "Y":
            self.syncs.append((int(words[1]), int(words[2])))
            self.counts["syncs"] += 1
        elif kind == "M":
            self.counts[" ".join(words[1:])] += 1
        elif kind == "N":
            if words[2] == "ended":
                self.ended[words[3]] = int(words[1])
            else:
                self.acts.append((int(words[1]), " ".join(words[2:])))
            if words[2] == "stop":
                self.stops[words[3]].append([int(words[1]), NEVER])
            elif words[2] == "continue" and self.stops[words[3]]:
                self.stops[words[3]][-1][1] = int(words[1])

    def took(self, what, microseconds, who):
        if microseconds > self.slowest.get(what, (0, ""))[0]:
            self.slowest[what] = (microseconds, who)

    # ---- Consumers ---------------------------------------------------------------------------

    def read_consumer(self, name, lines):
        reader, look = Reader(name, ""), {"R": self.read_records, "G": self.read_gap,
                                          "Z": self.read_end, "W": self.read_wrong}
        for words in lines:
            kind = words[0]
            if kind in look:
                look[kind](reader, words)
            elif kind == "T":
                reader.lives[words[1]] = words[2]
                if reader.kind == "audit":
                    self.lives[words[1], words[2]] = True
            elif kind == "U":
                reader.kind = words[1]  # "" is a usual consumer
                if words[1] == "crash":
                    self.crashes.append((reader, int(words[2]), int(words[3])))
                if words[1] != "known" and not name.endswith(".99"):
                    self.counts[{"copy": "copies", "crash": "power losses"}.get(
                        words[1], words[1] + "s")] += 1
            elif kind == "O":
                reader.positions, reader.last = {}, {}
                reader.start, reader.begun = words[1], int(words[2])
                self.counts["consumers"] += 1
            elif kind == "B":
                self.read_begin(reader, words)
        if reader.kind == "audit":
            self.counts["audited records"] += sum(
                end for place, end in self.audited.items() if place[0] in self.lives)

    def place(self, reader, topic, partition):
        return (topic, reader.lives.get(topic, "0")), int(partition)

    def read_begin(self, reader, words):
        """Where a consumer begins in a partition that it found when it was opened."""
        place, position = self.place(reader, words[1], words[2]), int(words[3])
        if reader.start == "0" and position != 0:
            self.wrong("skipped", "%s begins at %d of %s", reader.name, position, spot(place))
        reader.positions[place] = position
        if reader.start == "1":  # at the end: no earlier than what was acknowledged before
            self.ends.append((reader.begun, place, position, reader.name))

    def read_records(self, reader, words):
        place, first = self.place(reader, words[1], words[2]), int(words[3])
        wanted = reader.positions.get(place, 0)
        if first != wanted:
            self.wrong("skipped" if first > wanted else "repeated",
                       "%s was given %s@%d after @%d, by the poll that ended at %s", reader.name,
                       spot(place), first, wanted - 1, words[5])
            reader.last.pop(place, None)
        offset = first
        for run in words[6:]:
            key, index, size, count = split_run(run)
            self.read_run(reader, place, offset, (key, index, size, count))
            offset += size
        self.counts["polls"] += 1
        self.counts["records read"] += offset - first
        reader.reached[place] = offset
        reader.positions[place] = offset
        if not reader.kind and words[6:]:  # without any: only torn ones, which are told apart
            self.reads.append((reader.name, int(words[4]), int(words[5]), words[6:]))
        if reader.kind == "audit":
            self.audited[place] = offset
        if reader.kind == "look":
            self.looked[place] = offset

    def read_run(self, reader, place, offset, run):
        """`size` records of the batch `key`, from its record `index`, at `offset`."""
        key, index, size, count = run
        base, batch, kind = offset - index, self.batches.get(key), reader.kind
        before = reader.last.get(place)
        if index > 0 and before is not None and before != (key, index):
            self.wrong("torn", "%s: %s@%d is record %d of %s, after %s", reader.name, spot(place),
                       offset, index, key, before)
        if index == 0 and before is not None and before[1] < self.count_of(before[0]):
            self.wrong("torn", "%s: %s@%d follows %d of %d records of %s", reader.name,
                       spot(place), offset, before[1], self.count_of(before[0]), before[0])
        reader.last[place] = (key, index + size)
        if batch is None and kind == "known":  # it was there when this history began
            batch = self.batches[key] = Batch(place[0], place[1], count, 0, 2)
            batch.offset, batch.end = base, 0
        if batch is None:
            self.wrong("phantom", "%s: %s@%d is record %d of %s", reader.name, spot(place), offset,
                       index, key)
            batch = self.batches[key] = Batch(place[0], place[1], count, 0, 0)
        if batch.base is None:
            batch.place, batch.base, batch.reader = place, base, reader.name
        elif (batch.place, batch.base) != (place, base):
            self.wrong("duplicated", "%s is at %s@%d (read by %s) and at %s@%d (%s)", key,
                       spot(batch.place), batch.base, batch.reader, spot(place), base, reader.name)
        if index + size > batch.count or count != batch.count:
            self.wrong("torn", "%s: %s@%d has record %d of %d of %s, which has %d", reader.name,
                       spot(place), offset, index + size - 1, count, key, batch.count)
        if kind not in ("copy", "crash"):  # there it may be what the original loses yet
            batch.seen = max(batch.seen, index + size)
        if kind == "audit":
            batch.audited = index + size
        if kind == "look":  # and then it closed the file, which makes everything stable
            batch.stable = 2

    def count_of(self, key):
        return self.batches[key].count if key in self.batches else 0

    def read_gap(self, reader, words):
        place, (start, end, cause) = self.place(reader, words[1], words[2]), words[3:6]
        self.counts["gaps"] += 1
        reader.positions[place] = int(end)
        reader.last.pop(place, None)
        deleted = any(call[0] in ("D", "D!") for call in self.topics[words[1]])
        if not (cause == GAP_DELETED and deleted) and not (cause == GAP_LOST and self.poisoned) \
                and reader.kind != "copy":
            self.wrong("gap", "%s: %s from %s to %s, cause %s", reader.name, spot(place), start,
                       end, cause)

    def read_end(self, reader, words):
        """A poll found nothing more: what was acknowledged before it began was read."""
        self.counts["polls to the end"] += 1
        for place, position in reader.positions.items():
            if not reader.kind or (reader.kind == "look" and not self.poisoned):
                # what an audit, or anybody after a failed sync, does not find is lost or cut off
                self.ends.append((int(words[1]), place, position, reader.name))
            before = reader.last.get(place)
            if before and before[1] < self.count_of(before[0]):
                self.wrong("torn", "%s: %s ends with %d of %d records of %s", reader.name,
                           spot(place), before[1], self.count_of(before[0]), before[0])

    def read_wrong(self, reader, words):
        self.wrong("torn", "%s: %s:%s@%s holds %s", reader.name, *words[1:4], " ".join(words[4:]))

    # ---- Judging -----------------------------------------------------------------------------

    def judge(self):
        by_place = collections.defaultdict(list)
        self.reopened = min((t for t, act in self.acts if act == "reopened"), default=NEVER)
        self.synced = max((t for t, _ in self.syncs if t < self.reopened), default=0)
        self.recovered = self.looked or self.audited
        for key, batch in self.batches.items():
            if self.poisoned and self.cut_off(batch):
                self.counts["unstable appends cut off"] += 1
                continue  # its offsets may have been given to others
            self.judge_batch(key, batch)
            if batch.base is not None:
                by_place[batch.place].append((batch.base, key, batch))
            elif batch.offset is not None and batch.partition >= 0:
                by_place[batch.life, batch.partition].append((batch.offset, key, batch))
        for place, found in by_place.items():
            found.sort(key=lambda entry: entry[0])
            self.judge_order(place, found)
        self.judge_ends(by_place)
        self.judge_topics()
        for crash in self.crashes:
            self.judge_crash(*crash)
        self.measure_lag()
        order = "phantom stale aborted torn inconsistent duplicated lost".split()
        self.anomalies.sort(key=lambda a: order.index(a[0]) if a[0] in order else len(order))

    def judge_batch(self, key, batch):
        kind = "acknowledged" if batch.offset is not None else \
            "unknown" if batch.status is None or batch.status in OPEN else "refused"
        self.counts["appends " + kind] += 1
        if kind == "acknowledged":
            self.counts["records acknowledged"] += batch.count
        name, process = key.rpartition(":")[0], key.rpartition(".")[0]
        if batch.end == NEVER and process in self.ended:
            self.took("append", self.ended[process] - batch.start, name + ", cut short")
        if batch.offset is not None and self.told < batch.start < self.reopened:
            self.wrong("believed", "%s was acknowledged at %d, begun at %d; at %d somebody had "
                       "been told that a sync had failed", key, batch.end, batch.start, self.told)
        if batch.base is not None:
            if kind == "refused":
                self.wrong("aborted", "%s: refused with %s, but %s read it at %s@%d", key,
                           batch.status, batch.reader, spot(batch.place), batch.base)
            if batch.place[0][0] != batch.life[0] or "0" != batch.life[1] != batch.place[0][1]:
                self.wrong("stale", "%s: appended to %s, read by %s at %s@%d", key,
                           "#".join(batch.life), batch.reader, spot(batch.place), batch.base)
            elif batch.partition not in (-2, batch.place[1]):
                self.wrong("misplaced", "%s: meant for partition %d, read at %s@%d", key,
                           batch.partition, spot(batch.place), batch.base)
            if batch.offset is not None and batch.offset != batch.base:
                self.wrong("inconsistent", "%s: acknowledged at %d, read by %s at %s@%d", key,
                           batch.offset, batch.reader, spot(batch.place), batch.base)
        if batch.audited < batch.count and (kind == "acknowledged" or batch.seen > 0):
            self.judge_missing(key, batch)

    def cut_off(self, batch):
        """Was it written, never made stable, and cut off by the recovery after a failed sync?"""
        place = batch.place or (batch.life, batch.partition)
        offset = batch.offset if batch.base is None else batch.base
        stable = batch.stable == 2 or (batch.offset is not None and (
            batch.stable == 1 or batch.end <= self.synced))
        return "-os-" in batch.life[0] and not stable and batch.audited == 0 and \
            batch.start < self.reopened and offset is not None and \
            (place[1] < 0 or offset >= self.recovered.get(place, 0))

    def judge_missing(self, key, batch):
        """Was it in a topic that is still there?"""
        life = batch.place[0] if batch.place else batch.life
        if life not in self.lives and (life[1] != "0" or not self.there(life[0])):
            return
        self.wrong("lost", "%s, %d records for %s:%d, begun at %d, %s, %s; of them the audit read "
                   "%d", key, batch.count, "#".join(life), batch.partition, batch.start,
                   "acknowledged @%d at %d" % (batch.offset, batch.end)
                   if batch.offset is not None else "unknown",
                   "read by %s" % batch.reader if batch.seen else "never read", batch.audited)

    def there(self, topic):
        return any(life[0] == topic for life in self.lives)

    def judge_order(self, place, found):
        newest, before = {}, None
        for base, key, batch in found:
            if before is not None and before[0] + before[2].count > base:
                self.wrong("inconsistent", "%s@%d is of %s and of %s", spot(place), base,
                           before[1], key)
            before = (base, key, batch)
            producer, _, seq = key.rpartition(":")
            if newest.get(producer, -1) >= int(seq):
                self.wrong("reordered", "%s@%d: %s comes after %d", spot(place), base, key,
                           newest[producer])
            newest[producer] = int(seq)
        earliest, whose = NEVER, None
        for base, key, batch in reversed(found):
            if batch.start > earliest:
                self.wrong("reordered", "%s@%d: %s was begun at %d, and %s, which comes later, was "
                           "acknowledged at %d", spot(place), base, key, batch.start, whose,
                           earliest)
            if batch.offset is not None and batch.end < earliest:
                earliest, whose = batch.end, key

    def judge_ends(self, by_place):
        """[end of append] and [the highest offset so far] of each partition, to bisect in."""
        tops = {}
        for place, found in by_place.items():
            times, highest, top = [], [], (0, "", 0)
            for end, offset, key in sorted((b.end, b.offset + b.count, k) for _, k, b in found
                                           if b.offset is not None):
                top = max(top, (offset, key, end))
                times.append(end)
                highest.append(top)
            tops[place] = times, highest
        for time, place, position, who in self.ends:
            times, highest = tops.get(place, ((), ()))
            at = bisect.bisect_left(times, time)
            if at and highest[at - 1][0] > position:
                self.wrong("unseen", "%s found the end of %s at %d, looking since %d; %s had been "
                           "acknowledged at %d", who, spot(place), position, time,
                           *highest[at - 1][1:])

    def judge_crash(self, reader, start, end):
        """After a power loss between `start` and `end` what was stable before is there."""
        synced = max((begun for begun, done in self.syncs if done <= start), default=0)
        gone = {name for name, calls in self.topics.items()
                if any(c[0] in ("D", "D!") and c[1] <= end for c in calls)}
        lives = set(reader.lives.items())
        for key, batch in self.batches.items():
            if batch.offset is None or batch.end > start:
                continue
            place = batch.place or (batch.life, batch.partition)
            # a look (2) may have come later
            stable = batch.stable == 1 or "-sync-" in batch.life[0] or batch.end <= synced
            if not stable or place[1] < 0 or (place[0] not in lives and place[0][0] in gone):
                continue
            if reader.reached.get(place, 0) < batch.offset + batch.count:
                self.wrong("forgotten", "%s was acknowledged at %s@%d at %d, the power was lost at "
                           "%d, and %s found its end at %d", key, spot(place), batch.offset,
                           batch.end, start, reader.name, reader.reached.get(place, 0))

    def judge_topics(self):
        if not self.counts["audits"]:
            return
        for name, calls in self.topics.items():
            births = [c for c in calls if c[0] in ("C", "C!", "T")]
            deaths = [c for c in calls if c[0] in ("D", "D!")]
            if self.there(name):
                if any(d[0] == "D!" and all(b[2] < d[1] for b in births) for d in deaths):
                    self.wrong("topic", "%s was deleted and is there", name)
            elif any(b[0] != "C" and all(d[2] < b[1] for d in deaths) for b in births):
                self.wrong("topic", "%s was created and is not there", name)
            if not deaths and len(set(b[3] for b in births if b[0] == "T")) > 1:
                self.wrong("topic", "%s was created twice, and never deleted", name)

    def measure_lag(self):
        """How late a poll told of a batch that it could have told of, but for stopped processes."""
        for name, start, end, runs in self.reads:
            batch = self.batches.get(split_run(runs[-1])[0])
            if batch is None or batch.offset is None or batch.end >= NEVER:
                continue
            late = end - max(start, batch.end)
            process = name.rpartition(".")[0]
            if late > self.lag[0] and not any(
                    a < end and b > start for a, b in self.stops.get(process, ())):
                self.lag = (late, "%s at %d" % (name, end))

    def explain(self, most=20):
        """The anomalies, and what was done to the processes shortly before."""
        lines = ["%s: %s" % a for a in self.anomalies[:most]]
        if len(self.anomalies) > most:
            lines.append("and %d more" % (len(self.anomalies) - most))
        times = [int(t) for a in self.anomalies[:3] for t in re.findall(r" at (\d{6,})", a[1])]
        near = [a for a in sorted(self.acts) if times and a[0] <= max(times)][-8:]
        return lines + ["at %d: %s" % act for act in near]


def kind_of(lines):
    """What the first line says of a log; "" is that of a usual worker."""
    return lines[0][1] if lines and lines[0][0] == "U" else ""


def split_run(run):
    """producer:seq:index:size:count"""
    key, index, size, count = run.rsplit(":", 3)
    return key, int(index), int(size), int(count)


def spot(place):
    """topic:partition, with the life where it is known"""
    (topic, life), partition = place
    return "%s%s:%d" % (topic, "" if life == "0" else "#" + life, partition)


def main(arguments):
    poisoned = "--poisoned" in arguments
    folder = [a for a in arguments if not a.startswith("--")][0]
    history = History(folder, poisoned, os.environ.get("TOLERATED", "").split())
    for name, count in sorted(history.counts.items()):
        print("%12d %s" % (count, name))
    print("%12.1f ms worst lag (%s)" % (history.lag[0] / 1000, history.lag[1]))
    print("\n".join(history.explain()) or "no anomaly")
    return int(bool(history.anomalies))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
