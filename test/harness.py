"""harness.py -- what tests with many processes share: places, the worker, its logs, the library"""
import collections
import ctypes
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BECK = os.environ.get("BECK") or os.path.join(ROOT, "build", "beck")
LIBRARY = os.environ.get("BECK_LIB") or os.path.join(ROOT, "build", "libbeck.so")
BUILD = os.path.dirname(BECK)
DUMP = os.path.join(os.environ.get("BECK_TOOL") or os.path.join(ROOT, "tool"), "beckdump.py")
ROUNDS = int(os.environ.get("ROUNDS") or 3)


def folders():
    """A folder that holds the database alone, and one for everything else. KEEP= names where."""
    top = os.environ.get("KEEP") or tempfile.mkdtemp(prefix="beck-many-")
    paths = [os.path.join(top, name) for name in ("db", "logs")]
    for path in paths:
        os.makedirs(path)
    return paths


def skip(reason):
    """End the test as skipped; test/run says why."""
    print(reason, flush=True)
    sys.exit(77)


def open_to_all(path):
    """Let every user enter this folder, as far as the folders above it are ours."""
    os.chmod(path, 0o777)
    while os.path.dirname(path) not in ("/", "/tmp", path):
        path = os.path.dirname(path)
        if os.stat(path).st_uid == os.getuid():
            os.chmod(path, os.stat(path).st_mode | 0o055)


def seeded():
    """A random generator whose seed is printed; SEED= repeats it."""
    seed = int(os.environ.get("SEED") or time.time_ns() % 1000000)
    print("SEED=%d" % seed, flush=True)
    return random.Random(seed)


def build_worker(folder, name="worker"):
    """Compile test/worker/NAME.c against the library."""
    program = os.path.join(folder, name)
    source = os.path.join(ROOT, "test", "worker", name + ".c")
    subprocess.check_call([os.environ.get("CC") or "cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-g",
                           "-pthread", "-I" + BUILD, "-o", program, source,
                           "-L" + BUILD, "-lbeck", "-Wl,-rpath," + BUILD])
    return program


def beck(*arguments, data=None, ok=(0,)):
    """Run the shell; its standard output. Any other exit code than `ok` is a failure."""
    done = subprocess.run([BECK, *arguments], input=data, capture_output=True, timeout=60)
    assert done.returncode in ok, "beck %s: exit %d\n%s%s" % (
        " ".join(arguments), done.returncode, done.stdout[-2000:].decode(errors="replace"),
        done.stderr[-2000:].decode(errors="replace"))
    return done.stdout


def now():
    """Microseconds on the clock of the workers' logs."""
    return time.monotonic_ns() // 1000


class Worker:
    """A running worker.c; its end, and the time of its end, are noted."""

    program = None

    def __init__(self, kind, path, log, topics=(), prefix=(), program=None, **options):
        words = ["topic=" + t for t in topics] + ["%s=%s" % item for item in options.items()]
        self.kind, self.log, self.killed, self.ended = kind, log, False, None
        self.words = [kind] + words
        self.process = subprocess.Popen([*prefix, program or Worker.program, kind, path, log,
                                         *words])

    def alive(self):
        if self.ended is None and self.process.poll() is not None:
            self.ended = now()
        return self.ended is None

    def signal(self, number):
        self.killed = self.killed or number == signal.SIGKILL
        if self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, seconds):
        """Wait for its end; the exit code, or None when it goes on: then it is stuck."""
        try:
            code = self.process.wait(seconds)
            self.ended = self.ended or now()
            return code
        except subprocess.TimeoutExpired:
            return None

    def stacks(self):
        """Where a stuck worker is, as far as this machine can tell."""
        try:
            return subprocess.run(["gdb", "-p", str(self.process.pid), "-batch", "-ex",
                                   "thread apply all bt 12"], capture_output=True,
                                  timeout=30).stdout.decode(errors="replace")
        except (OSError, subprocess.TimeoutExpired):
            return "no gdb"

    def lines(self, thread):
        """The words of every whole line of one log; the last may have been cut by a kill."""
        try:
            with open("%s.%d" % (self.log, thread), encoding="latin-1") as log:
                text = log.read()
        except FileNotFoundError:
            return []
        return [line.split(" ") for line in text.split("\n")[:-1]]


def value_of(topic, producer, seq, index, count, size):
    """The value worker.c appends, as bytes."""
    head = "%s %s %d %d %d " % (topic, producer, seq, index, count)
    pad = (seq * 7919 + index * 104729) % size
    return (head + chr(97 + (seq + index) % 26) * pad).encode()


def contents(path, topics):
    """{(topic, partition): [value...]} as `beck consume` tells it; offsets must count from 0."""
    found = collections.defaultdict(list)
    if topics:
        out = beck("consume", path, *topics, "-e", "-q", "-f", "%t %p %o %s\\n")
        for line in out.split(b"\n")[:-1]:
            topic, partition, offset, value = line.split(b" ", 3)
            values = found[topic.decode(), int(partition)]
            assert int(offset) == len(values), "offset %s of %s:%s follows %d" % (
                offset, topic, partition, len(values) - 1)
            values.append(value)
    return found


def only_file(path):
    """No second file beside the database."""
    found = os.listdir(os.path.dirname(path))
    assert found in ([], [os.path.basename(path)]), "files beside the database: %s" % found


# ---- The library through ctypes ------------------------------------------------------------------

class Record(ctypes.Structure):
    _fields_ = [("key", ctypes.c_char_p), ("value", ctypes.c_char_p), ("headers", ctypes.c_void_p),
                ("key_size", ctypes.c_uint32), ("value_size", ctypes.c_uint32),
                ("header_count", ctypes.c_uint32), ("partition", ctypes.c_int32),
                ("timestamp", ctypes.c_int64), ("offset", ctypes.c_int64),
                ("topic", ctypes.c_char_p)]


class TopicConfig(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t)] + [(name, ctypes.c_uint32) for name in (
        "partitions", "sync", "max_message_bytes", "segment_bytes", "flush_ms")]


class Db:
    """One handle. Enough of the library for appending; calls that fail raise."""

    def __init__(self, path):
        self.lib, self.handle = ctypes.CDLL(LIBRARY), ctypes.c_void_p()
        self.lib.beck_errmsg.restype = ctypes.c_char_p
        self.call("beck_open", path.encode(), None, ctypes.byref(self.handle))

    def call(self, name, *arguments):
        code = getattr(self.lib, name)(*arguments)
        if code < 0:
            raise OSError("%s: %d %s" % (name, code, self.lib.beck_errmsg(self.handle).decode()))
        return code

    def topic(self, name, partitions=1, sync=0):
        """Open a topic; sync 1 = sync, 2 = os."""
        config = TopicConfig(ctypes.sizeof(TopicConfig), partitions, sync)
        topic = ctypes.c_void_p()
        self.call("beck_topic_open", self.handle, name.encode(), ctypes.byref(config),
                  ctypes.byref(topic))
        return topic

    def append(self, topic, value, partition=0):
        """Append one record; its offset."""
        record, offset = Record(), ctypes.c_int64()
        record.value, record.value_size, record.partition = value, len(value), partition
        self.call("beck_append", topic, ctypes.byref(record), ctypes.byref(offset))
        return offset.value

    def close(self):
        handle, self.handle = self.handle, ctypes.c_void_p()
        code = self.lib.beck_close(handle)
        assert code == 0, "beck_close: %d" % code
