#!/usr/bin/env python3
"""golden_test.py -- files of every release: read, checked, appended to, by library and companion

test/golden/VERSION/NAME.beck.gz is a file as that version wrote it, NAME.txt what must be read
from it for ever. The text is compared with what the library reads, read-only and after recovery,
and with what tool/beckdump.py reads, which shares no code with it."""
import base64
import glob
import gzip
import json
import os
import re
import subprocess
import sys

from harness import BECK, DUMP, ROOT, build_worker, folders


def unpack(packed, folder):
    path = os.path.join(folder, os.path.basename(packed)[:-3])
    with gzip.open(packed, "rb") as file, open(path, "wb") as out:
        out.write(file.read())
    return path


def golden(program, *words):
    done = subprocess.run([program, *words], capture_output=True, timeout=60)
    assert done.returncode == 0, (words, done.returncode, done.stderr.decode())
    return done.stdout.decode().split("\n")[:-1]


def shown(data):
    """A key, a value or part of a header as golden.c shows it."""
    if data is None:
        return "null"
    rest, total = "", 0xcbf29ce484222325
    if len(data) > 64:
        for byte in data:
            total = (total ^ byte) * 0x100000001b3 & (1 << 64) - 1
        rest, data = "+%d:%016x" % (len(data) - 16, total), data[:16]
    return "'%s'" % "".join(chr(b) if 32 < b < 127 and chr(b) not in "%'" else "%%%02x" % b
                            for b in data) + rest


def companion(path):
    """{partition: [line...]} as the companion reads the file; headers aside, which JSON may not
    be able to show. None when Python lacks a codec."""
    out = subprocess.run([sys.executable, DUMP, "--jsonl", path], capture_output=True, timeout=60)
    if b"compressed: No module" in out.stderr:
        print("note: %s: no companion: %s" % (os.path.basename(path), out.stderr.decode().strip()))
        return None
    assert out.returncode == 0, out.stderr.decode()
    found = {}
    for line in out.stdout.splitlines():
        r = json.loads(line)
        key, value = (base64.b64decode(r[extra]) if extra in r else
                      None if r[name] is None else r[name].encode()
                      for name, extra in (("key", "key_base64"), ("value", "payload_base64")))
        found.setdefault("%s:%d" % (r["topic"], r["partition"]), []).append(
            "%d %d %s %s" % (r["offset"], r["timestamp"], shown(key), shown(value)))
    return found


def by_partition(lines):
    """The same from the text."""
    found, records = {}, None
    for line in lines:
        words = line.split(" ")
        if words[0] == "partition":
            records = []
            found[words[1]] = records
        elif words[0] != "topic":
            records.append(" ".join(words[:4]))
    return {name: records for name, records in found.items() if records}


def appended(lines):
    """The text after `golden append`."""
    out = []

    def close():
        if out and out[-1].split(" ")[0] != "topic":
            last = out[-1].split(" ")[0]
            follow = 0 if last == "partition" else int(last) + 1
            out.extend("%d 1700000000000 'appended' '%s'" % (follow + i, word)
                       for i, word in enumerate(("once", "twice")))

    for line in lines:
        if line.split(" ")[0] in ("topic", "partition"):
            close()
        out.append(line)
    close()
    return out


def same(what, found, wanted):
    if found == wanted:
        return
    for a, b in zip(found, wanted):
        assert a == b, "%s\nread:   %s\nwanted: %s" % (what, a, b)
    raise AssertionError("%s: %d lines read, %d wanted" % (what, len(found), len(wanted)))


def check(packed, program, folder):
    path = unpack(packed, folder)
    with open(path, "rb") as file:
        before = file.read()
    with open(packed[:-len("beck.gz")] + "txt", encoding="ascii") as file:
        wanted = file.read().split("\n")[:-1]
    found = golden(program, "dump", path)
    if "UNSUPPORTED" in found:
        print("note: %s: this build lacks a codec" % packed)
        return 0
    same(packed, found, wanted)
    assert companion(path) in (None, by_partition(wanted)), packed + ": tool/beckdump.py"
    subprocess.run([BECK, "check", path], check=True, stdout=subprocess.DEVNULL)
    with open(path, "rb") as file:
        assert file.read() == before, packed + ": changed by reading"

    same(packed + ", to be written", golden(program, "dump", path, "write"), wanted)
    golden(program, "append", path)
    wanted = appended(wanted)
    same(packed + ", appended to", golden(program, "dump", path), wanted)
    assert companion(path) in (None, by_partition(wanted)), packed + ", appended: tool/beckdump.py"
    subprocess.run([BECK, "check", path], check=True, stdout=subprocess.DEVNULL)
    return len(re.findall(r"^\d", "\n".join(wanted), re.M))


def main():
    folder, other = folders()
    program = build_worker(other, "golden")
    packed = sorted(glob.glob(os.path.join(ROOT, "test", "golden", "*", "*.beck.gz")))
    assert len(packed) >= 3, packed
    records = sum(check(name, program, folder) for name in packed)
    print("note: %d golden files, %d records" % (len(packed), records))


if __name__ == "__main__":
    main()
