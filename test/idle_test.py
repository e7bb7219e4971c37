#!/usr/bin/env python3
"""idle_test.py -- a waiting consumer costs nothing and wakes at once, in whatever way it waits"""
import os
import select
import statistics
import subprocess
import sys
import time

from harness import BECK, Db, beck, folders

CPU_MS = 20          # of user and system time in two seconds
SWITCHES = 12        # voluntary context switches a second
WAKE_MS = 20         # median from before the append to the line in the pipe
TRIES = 50


def spent(pid):
    """CPU milliseconds and voluntary context switches so far."""
    with open("/proc/%d/schedstat" % pid) as file:
        nanoseconds = int(file.read().split()[0])
    with open("/proc/%d/status" % pid) as file:
        switches = [line.split()[1] for line in file if line.startswith("voluntary")]
    return nanoseconds / 1e6, int(switches[0])


def read_line(pipe, want):
    assert select.select([pipe], [], [], 5)[0], "nothing came for " + repr(want)
    line = os.read(pipe.fileno(), 1000)
    assert line == want, (line, want)


def watch(path, topic, partitions, sync):
    beck("topic", "create", path, topic, "--partitions", str(partitions))
    db = Db(path)
    handle = db.topic(topic, partitions, sync)
    consumer = subprocess.Popen([BECK, "consume", path, topic, "-f", "%p %o %s\\n"],
                                stdout=subprocess.PIPE)
    try:
        db.append(handle, b"first", partitions - 1)
        read_line(consumer.stdout, b"%d 0 first\n" % (partitions - 1))
        time.sleep(0.3)
        before = spent(consumer.pid)
        time.sleep(2)
        cpu, switches = (after - b for after, b in zip(spent(consumer.pid), before))
        wakes, offsets = [], {partitions - 1: 1}
        for n in range(TRIES):
            partition = n * 37 % partitions
            offset = offsets.get(partition, 0)
            offsets[partition] = offset + 1
            start = time.perf_counter()
            assert db.append(handle, b"n%d" % n, partition) == offset
            read_line(consumer.stdout, b"%d %d n%d\n" % (partition, offset, n))
            wakes.append((time.perf_counter() - start) * 1000)
            time.sleep(0.003)  # asleep again
        assert consumer.poll() is None, "the consumer ended"
    finally:
        consumer.kill()
        consumer.wait()
    db.close()
    median = statistics.median(wakes)
    print("%s, %d partitions: %.1f ms CPU and %d switches in 2 s idle; wakes in %.2f ms, at most "
          "%.2f" % (topic, partitions, cpu, switches, median, max(wakes)))
    assert cpu < CPU_MS, "an idle consumer used %.1f ms" % cpu
    assert switches <= 2 * SWITCHES, "an idle consumer woke %d times" % switches
    assert median < WAKE_MS, "woke after %.1f ms" % median


def main():
    if os.environ.get("PORTABLE"):
        print("OS=portable looks hundreds of times a second instead of sleeping in the kernel")
        sys.exit(77)
    path = os.path.join(folders()[0], "idle.beck")
    watch(path, "one", 1, 0)      # futex_waitv
    watch(path, "many", 200, 0)   # more than it takes: the bell


main()
