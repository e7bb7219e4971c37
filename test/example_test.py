#!/usr/bin/env python3
"""example_test.py -- the C example in two processes, and every promise of the Python binding"""
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["BECK_ROOT"], "example"))
sys.dont_write_bytecode = True
import beck_ctypes as beck  # noqa: E402, it lies where the line above says

BECK = os.environ["BECK"]
PRODUCE_CONSUME = os.path.join(os.environ["BECK_EXAMPLE"], "produce_consume")
LIMIT = 20  # seconds


class Example(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "a.beck")

    def shell(self, *words, text=b""):
        return subprocess.run([BECK, *words], input=text, stdout=subprocess.PIPE, timeout=LIMIT,
                              check=True).stdout.decode()


class ProduceConsume(Example):
    def test_two_processes_at_once(self):
        consumer = subprocess.Popen([PRODUCE_CONSUME, "consume", self.path, "4"],
                                    stdout=subprocess.PIPE)
        self.addCleanup(consumer.stdout.close)
        self.addCleanup(consumer.kill)
        words = [PRODUCE_CONSUME, "produce", self.path, "4"]
        said = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=LIMIT).stdout
        lines = consumer.communicate(timeout=LIMIT)[0].decode().splitlines()
        self.assertEqual(consumer.returncode, 0)
        self.assertIn(b"appended 'order 3' of customer-0 at offset 2\n", said)
        self.assertIn(b"appended 4 payments from offset 0 on\n", said)
        first = [line for line in lines if line.startswith("orders:1:")]
        self.assertEqual(first, ["orders:1:0 order 0 key customer-0 source=web shop",
                                 "orders:1:1 order 1 key customer-1 source=web shop",
                                 "orders:1:2 order 3 key customer-0 source=web shop"])
        self.assertIn("orders:0:0 order 2 key customer-2 source=web shop", lines)
        self.assertEqual(lines[4:], ["payments:0:%d payment %d" % (i, i) for i in range(4)])

    def test_errors_say_what_to_do(self):
        run = subprocess.run([PRODUCE_CONSUME, "produce", "/", "1"], stderr=subprocess.PIPE)
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"[INVALID: change the call]", run.stderr)
        self.assertEqual(subprocess.call([PRODUCE_CONSUME, "produce", self.path, "0"],
                                         stderr=subprocess.DEVNULL), 64)


class Binding(Example):
    def test_it_shows_itself(self):
        words = [sys.executable, beck.__file__, self.path]
        out = subprocess.run(words, stdout=subprocess.PIPE, timeout=LIMIT, check=True).stdout
        self.assertEqual(out.decode().splitlines(), [
            "orders:0:0 b'42' = b'paid' [('source', b'shop'), ('trace', None)]",
            "orders:0:1 b'43' = b'open' []",
            "orders:0:2 b'42' = None []",
            "orders:0:3 b'43' = b'' []",
            "error: there is no topic order (NOT_FOUND)",
            "check: ([], 4)"])

    def test_bytes_null_and_empty_stay_what_they_are(self):
        headers = [("h", b""), ("h", None), ("\u00e9", b"\0")]
        records = [(b"v\0w", b"\xff\0", headers, 1234567890123),
                   (None, None), (b"", b""), (b"x" * 100000,)]
        with beck.open(self.path) as db:
            topic = db.topic("t", sync="os")
            self.assertEqual(topic.append_batch(records), 0)
            self.assertEqual(topic.append_batch(records[:1], sync="sync"), 4)
            got = list(db.consume("t", timeout_ms=0))
        self.assertEqual([(r.value, r.key) for r in got[:4]],
                         [(r[0], r[1] if len(r) > 1 else None) for r in records])
        self.assertEqual((got[0].headers, got[0].timestamp), records[0][2:])
        self.assertEqual([r.offset for r in got], [0, 1, 2, 3, 4])
        self.assertEqual(self.shell("consume", self.path, "t", "-e", "-f", "%S %K;"),
                         "3 2;-1 -1;0 0;100000 -1;3 2;")

    def test_starts_and_seek(self):
        self.shell("produce", self.path, "t", text=b"a\nb\nc\nd\n")
        with beck.open(self.path) as db:
            def values(**start):
                return b"".join(r.value for r in db.consume("t", timeout_ms=0, **start))
            self.assertEqual(values(), b"abcd")
            self.assertEqual(values(start="end"), b"")
            self.assertEqual(values(start="offset", start_value=2), b"cd")
            self.assertEqual(values(start="last", start_value=3, partitions=[0]), b"bcd")
            self.assertEqual(values(start="time", start_value=0), b"abcd")
            consumer = db.consume("t", timeout_ms=0, max_records=2)
            self.assertEqual(next(consumer).value, b"a")
            consumer.seek("t", 0, 3)
            self.assertEqual([r.value for r in consumer], [b"d"])
            consumer.close()
            with self.assertRaises(ValueError):
                next(consumer)

    def test_errors_are_exceptions(self):
        with self.assertRaises(beck.BeckError) as missing:
            beck.open(self.path, beck.NO_CREATE)
        self.assertEqual(missing.exception.status, "NOT_FOUND")
        self.assertIn("a.beck", str(missing.exception))
        db = beck.open(self.path)
        topic = db.topic("t", max_message_bytes=1000)
        for status, call in (("INVALID", lambda: db.topic("a b")),
                             ("INVALID", lambda: topic.append(b"", partition=1)),
                             ("TOO_LARGE", lambda: topic.append(b"x" * 1001)),
                             ("RANGE", lambda: db.consume("t").seek("t", 0, 1)),
                             ("NOT_FOUND", lambda: db.consume("t", partitions=[7])),
                             ("NOT_FOUND", lambda: db.delete_topic("u"))):
            with self.assertRaises(beck.BeckError) as error:
                call()
            self.assertEqual(error.exception.status, status, error.exception)
        db.delete_topic("t")
        with self.assertRaises(beck.BeckError) as error:
            topic.append(b"")
        self.assertEqual(error.exception.status, "DELETED")
        db.close()
        with self.assertRaises(ValueError):
            db.sync()

    def test_readonly_changes_nothing(self):
        self.shell("produce", self.path, "t", text=b"a\n")
        with open(self.path, "rb") as f:
            before = f.read()
        with beck.open(self.path, beck.READONLY) as db:
            self.assertEqual([r.value for r in db.consume("t", timeout_ms=0)], [b"a"])
            with self.assertRaises(beck.BeckError) as error:
                db.topic("t").append(b"b")
            self.assertEqual(error.exception.status, "READONLY")
        with open(self.path, "rb") as f:
            self.assertEqual(f.read(), before)

    def test_damage_is_a_gap_and_a_finding(self):
        for value in (b"first", b"second", b"third"):
            self.shell("produce", self.path, "t", text=value)
        with open(self.path, "r+b") as f:
            f.seek(f.read().index(b"second"))
            f.write(b"S")
        with beck.open(self.path) as db:
            got = list(db.consume("t", timeout_ms=0))
            findings, records = db.check()
        self.assertEqual([r.value for r in got if isinstance(r, beck.Record)], [b"first", b"third"])
        self.assertEqual(got[1], beck.Gap("t", 0, 1, 2, "corrupt"))
        self.assertEqual(len(findings), 1, findings)
        self.assertIn("t:0", findings[0])

    def test_waits_for_other_processes(self):
        with beck.open(self.path) as db:
            db.topic("t")
            consumer = db.consume("t", timeout_ms=-1)
            words = ["produce", self.path, "t"]
            later = threading.Timer(0.2, self.shell, words, {"text": b"now\n"})
            later.start()
            self.assertEqual(next(consumer).value, b"now")
            later.join()

    def test_ctrl_c_ends_a_wait(self):
        with beck.open(self.path) as db:
            db.topic("t")
            consumer = db.consume("t", timeout_ms=-1)
            previous = signal.signal(signal.SIGINT, signal.default_int_handler)
            self.addCleanup(signal.signal, signal.SIGINT, previous)
            later = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
            start = time.monotonic()
            later.start()
            with self.assertRaises(KeyboardInterrupt):
                next(consumer)
            self.assertLess(time.monotonic() - start, LIMIT)
            later.join()


unittest.main(verbosity=0)
