#!/usr/bin/env python3
"""many_test.py -- many processes, threads and handles at once: exact content and one file"""
import collections
import os
import subprocess
import threading
import time

from harness import BECK, ROUNDS, Db, Worker, beck, build_worker, contents, folders, only_file

LINES = 500 * ROUNDS


class Watch(threading.Thread):
    """Looks for a second file beside the database until it is left."""

    def __init__(self, path):
        super().__init__()
        self.path, self.over, self.looks, self.bad = path, False, 0, None

    def run(self):
        while not self.over and self.bad is None:
            try:
                only_file(self.path)
            except AssertionError as found:
                self.bad = found
            self.looks += 1
            time.sleep(0.002)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()
        assert self.bad is None and self.looks > 10, (self.bad, self.looks)


def shell(path, topics):
    """4 producers and 4 consumers through pipes; every consumer prints every record, in order."""
    for name in sorted(set(topics)):
        beck("topic", "create", path, name, "--partitions", "2")
    total = 4 * LINES
    form = "%t %p %o %s\\n"
    consumers = [subprocess.Popen([BECK, "consume", path, *sorted(set(topics)), "-c", str(total),
                                   "-f", form], stdout=subprocess.PIPE) for _ in range(4)]
    outputs = [None] * 4

    def listen(i):
        outputs[i] = consumers[i].communicate(timeout=40)[0].decode().splitlines()

    ears = [threading.Thread(target=listen, args=(i,)) for i in range(4)]
    for ear in ears:
        ear.start()
    producers = [subprocess.Popen([BECK, "produce", path, topics[i], "-q", "-K", ":"],
                                  stdin=subprocess.PIPE) for i in range(4)]
    for n in range(LINES):
        for i, producer in enumerate(producers):
            producer.stdin.write(b"%d:%d-%d\n" % (n % 7, i, n))
            if n % 50 == 49:
                producer.stdin.flush()
    for producer in producers:
        producer.communicate(timeout=40)
        assert producer.returncode == 0, producer.returncode
    for ear in ears:
        ear.join()
    for consumer, lines in zip(consumers, outputs):
        assert consumer.returncode == 0, consumer.returncode
        exact(lines, topics)
    final = collections.Counter(beck("consume", path, *set(topics), "-e", "-f", form).decode()
                                .splitlines())
    assert all(collections.Counter(lines) == final for lines in outputs), "two readers differ"


def exact(lines, topics):
    """Every line of every producer once, and in order within its key's partition."""
    place, seen, newest = {}, set(), {}
    for line in lines:
        topic, partition, offset, value = line.split(" ")
        producer, n = map(int, value.split("-"))
        assert topic == topics[producer], line
        assert int(offset) == place.get((topic, partition), 0), "out of order: " + line
        place[topic, partition] = int(offset) + 1
        assert newest.get((producer, partition), -1) < n, "out of order: " + line
        newest[producer, partition] = n
        seen.add((producer, n))
    assert len(lines) == len(seen) == 4 * LINES, (len(lines), len(seen))


def group_commit(path, logs):
    """16 processes append to one partition; each finds its own records where it was told."""
    workers = [Worker("produce", path, "%s/g%d" % (logs, i), ["group-sync-1"], life=20 * ROUNDS,
                      batch=3, partition=0) for i in range(16)]
    for worker in workers:
        assert worker.wait(40) == 0, worker.stacks()
    values, found = contents(path, ["group-sync-1"])["group-sync-1", 0], 0
    for worker in workers:
        for words in worker.lines(0):
            if words[0] == "I":
                intent = words
            elif words[0] == "A":
                for i in range(int(intent[4])):
                    want = "group-sync-1 %s.0 %s %d " % (os.path.basename(worker.log), intent[1], i)
                    assert values[int(words[2]) + i].decode().startswith(want), want
                    found += 1
            else:
                assert words[0] in "TXL", words
    assert found == len(values) >= 16 * 20 * ROUNDS, (found, len(values))


def handles(path):
    """Several handles and threads in one process; closing one leaves the others' locks alone."""
    dbs = [Db(path) for _ in range(4)]
    topics = [db.topic("handles", 2, 1 + i % 2) for i, db in enumerate(dbs)]
    offsets, count = [[] for _ in range(4)], 50 * ROUNDS

    def work(i):
        for n in range(count):
            if i == 3 and n == count // 2:
                dbs[3].close()
                dbs[3] = Db(path)
                topics[3] = dbs[3].topic("handles")
            offsets[i].append(dbs[i].append(topics[i], b"%d-%d" % (i, n), n % 2))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = contents(path, ["handles"])  # another process reads while the handles are open
    assert sum(map(len, found.values())) == 4 * count
    for i, mine in enumerate(offsets):
        assert len(mine) == count, "thread %d failed" % i
        for n, offset in enumerate(mine):
            assert found["handles", n % 2][offset] == b"%d-%d" % (i, n), (i, n, offset)
    assert b"handles 4\n" in beck("stat", path)
    for db in dbs:
        db.close()
    assert b"handles 0\n" in beck("stat", path)


def main():
    folder, logs = folders()
    path = os.path.join(folder, "many.beck")
    Worker.program = build_worker(logs)
    with Watch(path):
        shell(path, ["one"] * 4)
        shell(path, ["four-%d" % i for i in range(4)])
        group_commit(path, logs)
        handles(path)
    assert b"no problems" in beck("check", path)


main()
