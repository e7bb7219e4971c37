#!/usr/bin/env python3
"""compress_test.py -- compressed batches: read by another implementation, unknown, missing, damaged

The other implementation is kafka-python (Debian: python3-kafka python3-lz4 python3-snappy
python3-zstandard); without it that test says so and is left out."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT, BECK = os.environ["BECK_ROOT"], os.environ["BECK"]
sys.path.insert(0, os.environ["BECK_TOOL"])
sys.dont_write_bytecode = True
import beckdump  # noqa: E402, it lies where the line above says

CODECS = ["gzip", "snappy", "lz4", "zstd"]
LINES = [b"%d:the value of record %d, of record %d" % (i % 7, i, i) for i in range(5000)]
# Reads batches from standard input with kafka-python; prints codec, then key and value of each.
READER = """
import json, sys
from kafka.record import MemoryRecords
records, lines, codecs = MemoryRecords(sys.stdin.buffer.read()), [], set()
while records.has_next():
    batch = records.next_batch()
    assert batch.validate_crc()
    codecs.add(batch.compression_type)
    lines += [(r.offset, r.key.decode(), r.value.decode(), [(n, v.decode()) for n, v in r.headers])
              for r in batch]
print(json.dumps([sorted(codecs), lines]))
"""


def run(*words, data=b"", beck=BECK):
    done = subprocess.run([beck, *words], input=data, capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def python_with_kafka():
    for python in ("python3", "/usr/bin/python3"):
        probe = "import kafka.record, lz4.frame, snappy, zstandard"
        if subprocess.call([python, "-c", probe], stderr=subprocess.DEVNULL) == 0:
            return python
    return None


def built_in():
    words = run("version")[1].decode().split("compression:")[1]
    return [codec for codec in CODECS if "no " + codec not in words]


class Compressed(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.path = folder.name, os.path.join(folder.name, "a.beck")

    def produce(self, codec):
        words = ["produce", self.path, codec, "-z", codec, "-K", ":", "-H", "h=x"]
        self.assertEqual(run(*words, data=b"\n".join(LINES) + b"\n"), (0, b"", ""))

    def frames(self, topic):
        """The frames of a topic's first segment."""
        dump = beckdump.Beck(self.path)
        dump.catalog.read()
        for where, segments in dump.catalog.partitions().items():
            if dump.catalog.topics[where[0]].name == topic.encode():
                return list(dump.frames.all(segments[0], segments[0].limit()))
        return None

    def rewrite(self, topic, change):
        """Change the first batch of a topic and make all checksums right again; the offset behind
        that batch."""
        frames, guard = self.frames(topic), 0
        with open(self.path, "r+b") as file:
            for number, frame in enumerate(frames):
                batch, segment = bytearray(frame.batch), frame.segment
                if number == 0:
                    change(batch)
                    struct.pack_into(">I", batch, 17, beckdump.crc32c(bytes(batch[21:])))
                place = struct.pack("<QI4I", segment.id, segment.salt, frame.position, len(batch),
                                    guard, frame.stable)
                chain, guard = guard, beckdump.crc32c(place + bytes(batch[:21]))
                file.seek(segment.block * 16384 + frame.position)
                file.write(struct.pack("<4I", len(batch), guard, chain, frame.stable) + batch)
        return frames[0].next

    def test_another_implementation_reads_them(self):
        python = python_with_kafka()
        if python is None:
            self.skipTest("kafka-python, lz4, snappy and zstandard are not installed")
        for codec in built_in():
            self.produce(codec)
            dump = [sys.executable, os.path.join(os.environ["BECK_TOOL"], "beckdump.py"), self.path,
                    codec, "--batches"]
            batches = subprocess.run(dump, stdout=subprocess.PIPE, check=True).stdout
            said = subprocess.run([python, "-c", READER], input=batches, stdout=subprocess.PIPE,
                                  check=True).stdout
            codecs, records = json.loads(said)
            self.assertIn(CODECS.index(codec) + 1, codecs)
            self.assertEqual(len(records), len(LINES))
            for i, (offset, key, value, headers) in enumerate(records):
                self.assertEqual((offset, ("%s:%s" % (key, value)).encode()), (i, LINES[i]))
                self.assertEqual(headers, [["h", "x"]])

    def test_a_codec_of_the_future_is_named_and_can_be_skipped(self):
        codec = built_in()[0]
        self.produce(codec)
        run("produce", self.path, codec, data=b"plain\n")

        def unknown(batch):
            batch[22] = 6
        following = self.rewrite(codec, unknown)
        code, out, err = run("consume", self.path, codec, "-e")
        self.assertEqual((code, out), (1, b""))
        self.assertIn("%s:0: batch at offset 0: compression codec 6 is unknown" % codec, err)
        code, out, _ = run("consume", self.path, codec, "-e", "-o", str(following))
        self.assertEqual((code, out.count(b"\n")), (0, 5001 - following))
        code, out, err = run("check", self.path)
        self.assertEqual(code, 0, err)
        self.assertIn(b"1 batch could not be decompressed", out)

    def test_what_does_not_decompress_is_damage(self):
        for codec in built_in():
            self.produce(codec)

            def garble(batch):
                batch[100:110] = b"\xff" * 10
                batch[70:80] = b"\xff" * 10
            following = self.rewrite(codec, garble)
            code, out, err = run("consume", self.path, codec, "-e")
            self.assertEqual((code, out.count(b"\n")), (2, 5000 - following))
            self.assertIn("%s:0: records 0 to %d are missing (damaged)" % (codec, following - 1),
                          err)
            code, out, err = run("check", self.path)
            self.assertEqual(code, 2)
            self.assertIn("what %s compressed is damaged" % codec, (out + err.encode()).decode())
            os.remove(self.path)

    def test_a_build_without_codecs_says_what_is_missing(self):
        for codec in built_in():
            self.produce(codec)
        build = os.path.join(self.folder, "build")
        make = ["make", "-s", "-C", ROOT, "BUILD=" + build, "CODECS=", "CFLAGS=-O0"]
        subprocess.run(make + [build + "/beck"], check=True, capture_output=True)
        bare = os.path.join(build, "beck")
        for codec in built_in():
            for words in (["produce", self.path, "t", "-z", codec],
                          ["topic", "create", self.path, "t", "--config",
                           "compression.type=" + codec],
                          ["consume", self.path, codec, "-e"]):
                code, out, err = run(*words, data=b"x\n", beck=bare)
                self.assertEqual((code, out), (1, b""), words)
                self.assertIn("built without %s: build it again where" % codec, err)
        code, out, err = run("check", self.path, beck=bare)
        self.assertEqual(code, 0, err)
        self.assertIn(b"batches could not be decompressed", out)


if __name__ == "__main__":
    unittest.main()
