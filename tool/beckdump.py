#!/usr/bin/env python3
"""beckdump.py -- read a closed or crashed beck file: an executable companion of doc/FORMAT.md

    beckdump.py FILE                        the structure: superblock, catalog, partitions, segments
    beckdump.py FILE --catalog              every catalog entry
    beckdump.py FILE TOPIC [-p PARTITION]   every value and a newline, by partition, then offset
    beckdump.py FILE [TOPIC] --jsonl        one JSON object a record
    beckdump.py FILE TOPIC [-p N] --batches the Kafka batches, byte for byte

Damage goes to stderr as `damage: TOPIC PARTITION [FROM, TO): reason`, and the exit code is 2.
A file that cannot be read, or a wrong call, exits with 1. Nothing is ever written. The numbers in
headings are the sections of FORMAT.md. No length read from the file is trusted.
"""
import argparse
import base64
import ctypes
import json
import os
import stat
import struct
import sys
import uuid
import zlib
from collections import defaultdict, namedtuple

BLOCK = 16384
FIRST_BLOCK = 14             # where segments may begin
FIRST_FRAME = 64             # position of the first frame of a segment
BATCH_MIN = 61
BATCH_MAX = 256 << 20        # the format names no bound; this one keeps memory bounded
SEGMENT_MAX = 1 << 32        # positions have four bytes
USER_TOPICS = 16             # smaller topic ids are reserved
EVERYTHING = 1 << 64         # above every offset: all records are durable

class Unreadable(Exception):
    """The file, or the part that was asked for, cannot be read."""

class Malformed(Exception):
    """A batch whose CRC is right, but whose records make no sense."""

# ---- CRC32C: two tables of 65536 entries take four bytes a step ----------------------------------

def crc_tables():
    """The byte table, and the tables of the low and high half of a 32-bit word."""
    byte = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        byte.append(value)
    halves = []
    for shift in (0, 16):
        table = [0] * 65536
        for bit in range(16):
            crc = 1 << bit + shift
            for _ in range(4):
                crc = byte[crc & 255] ^ crc >> 8
            for low in range(1 << bit):      # the CRC is linear: a bit more is an xor more
                table[1 << bit | low] = table[low] ^ crc
        halves.append(table)
    return byte, halves[0], halves[1]

BYTE, LOW, HIGH = crc_tables()

def crc32c(data):
    """The Castagnoli CRC of `data`."""
    crc, view, whole = 0xFFFFFFFF, memoryview(data), len(data) & ~3
    for start in range(0, whole, 65536):
        count = min(65536, whole - start) // 4
        for word in struct.unpack_from('<%dI' % count, view, start):
            word ^= crc
            crc = LOW[word & 65535] ^ HIGH[word >> 16]
    for value in view[whole:]:
        crc = BYTE[(crc ^ value) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

# ---- 1, 2: file and superblock -------------------------------------------------------------------

class File:
    """Bytes of the file; those behind its end are zeros."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable('not a regular file')
        self.size, self.inode = status.st_size, status.st_ino

    def read(self, at, size):
        """Exactly `size` bytes from `at`; only what is in the file costs a read."""
        return os.pread(self.fd, max(0, min(size, self.size - at)), at).ljust(size, b'\0')

    def birth(self):
        """Birth time of the inode as (seconds, nanoseconds), (0, 0) when unknown."""
        buffer = ctypes.create_string_buffer(256)
        try:
            rc = ctypes.CDLL(None).statx(self.fd, b'', 0x1000, 0x800, buffer)
        except (AttributeError, OSError):
            rc = -1
        known = rc == 0 and struct.unpack_from('<I', buffer)[0] & 0x800
        return struct.unpack_from('=qI', buffer, 80) if known else (0, 0)

Superblock = namedtuple(
    'Superblock', 'magic version block_size compatible read_only incompatible application sequence '
    'uuid state salt segment block blocks inode birth_s birth_ns zero boot catalog_next '
    'root_base zeros crc')
SUPERBLOCK = struct.Struct('<16s6IQ16sIIQIIQqII16sQQ108sI')

def read_superblock(file):
    """The valid copy with the higher sequence, and a line that says which copies are valid."""
    raws = [file.read(at, SUPERBLOCK.size) for at in (0, BLOCK)]
    copies = [Superblock._make(SUPERBLOCK.unpack(raw)) for raw in raws]
    valid = [copy.magic == b'beck format 1\0\r\n' and copy.crc == crc32c(raw[:252])
             for copy, raw in zip(copies, raws)]
    if not any(valid):
        empty = not any(map(any, raws))
        raise Unreadable('no beck file yet: empty' if empty else 'no valid superblock')
    which = max((i for i in (0, 1) if valid[i]), key=lambda i: (copies[i].sequence, -i))
    block = copies[which]
    if block.version != 1 or block.block_size != BLOCK or block.incompatible:
        raise Unreadable('a newer format: version %d, block size %d, incompatible features %#x'
                         % (block.version, block.block_size, block.incompatible))
    if block.state not in (1, 2):
        raise Unreadable('superblock with unknown state %d' % block.state)
    other = 'valid, sequence %d' % copies[1 - which].sequence if valid[1 - which] else 'not valid'
    return block, 'copy %s, sequence %d; the other is %s' % ('AB'[which], block.sequence, other)

def page_cache_kept(file, block):
    """Section 6: whether this is still the boot and the inode of the crash."""
    try:
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as boot:
            boot_id = uuid.UUID(boot.read().strip()).bytes
    except (OSError, ValueError):
        return False
    birth = (block.birth_s, block.birth_ns)
    return boot_id == block.boot and file.inode == block.inode and (
        block.birth_s == 0 or birth == file.birth())

# ---- 3: segments and frames ----------------------------------------------------------------------

class Segment:
    """A segment as the catalog describes it, and what later entries said about it."""

    def __init__(self, add):
        self.id, self.topic, self.partition, self.salt, self.base, self.block, self.blocks = add
        self.seal = self.tail = self.retire = self.free = None     # the last entry of each type
        if self.block < FIRST_BLOCK or self.blocks == 0:
            raise Unreadable('catalog: segment %d at block %d, %d blocks'
                             % (self.id, self.block, self.blocks))

    def gone(self):
        """No records are in it any more."""
        return bool(self.free or self.retire or self.seal and not self.seal.kept)

    def extent(self):
        """The blocks it holds, as [from, to)."""
        return self.block, self.block + (self.seal.kept if self.seal else self.blocks)

    def limit(self):
        """The position that no frame may cross."""
        first, end = self.extent()
        limit = min((end - first) * BLOCK, SEGMENT_MAX)
        return min(limit, self.seal.end) if self.seal else limit

Frame = namedtuple('Frame', 'segment position chain stable guard base next end batch')
Gap = namedtuple('Gap', 'start end reason')

class Frames:
    """Sections 3.1 and 3.2: find intact frames."""

    def __init__(self, file):
        self.file = file

    def at(self, segment, position, limit, expected):
        """The intact frame at `position`, or None; its chain is not compared."""
        if position + 16 + BATCH_MIN > limit:
            return None
        start = segment.block * BLOCK + position
        head = self.file.read(start, 37)
        length, guard, chain, stable, base, inner = struct.unpack_from('<4I', head) + \
            struct.unpack_from('>qI', head, 16)
        if length < BATCH_MIN or length != inner + 12 or head[32] != 2 or base < expected or \
                position + 16 + length > limit:
            return None
        covered = struct.pack('<QI4I', segment.id, segment.salt, position, length, chain, stable)
        if guard != crc32c(covered + head[16:37]):
            return None
        if length > BATCH_MAX:
            raise Unreadable('segment %d: a batch of %d bytes is more than this tool takes'
                             % (segment.id, length))
        batch = self.file.read(start + 16, length)
        crc, last_delta = struct.unpack_from('>I2xi', batch, 17)
        if last_delta < 0 or crc != crc32c(memoryview(batch)[21:]):
            return None
        end = position + 16 + length + 7 & ~7
        following = base + last_delta + 1
        return Frame(segment, position, chain, stable, guard, base, following, end, batch)

    def after(self, segment, position, limit, expected):
        """The first intact frame behind `position`: each multiple of 8 with magic 2 is tried."""
        start = segment.block * BLOCK
        step, end = 1 << 20, min(limit, max(0, self.file.size - start))
        for at in range(position + 8 + 32, end, step):
            data = self.file.read(start + at, min(step, end - at))
            found = data.find(2)
            while found >= 0:
                if (at + found) % 8 == 0:
                    frame = self.at(segment, at + found - 32, limit, expected)
                    if frame:
                        return frame
                found = data.find(2, found + 1)
        return None

    def all(self, segment, limit):
        """Every intact frame of a segment, found by trying positions wherever the walk breaks."""
        position, expected = FIRST_FRAME, segment.base
        while True:
            frame = self.at(segment, position, limit, expected) or \
                self.after(segment, position, limit, expected)
            if not frame:
                return
            yield frame
            position, expected = frame.end, frame.next

def index_note(file, segment, frames):
    """Section 3.3: check the index of a sealed segment; a wrong one does no harm."""
    seal = segment.seal
    if not seal.index:
        return 'no index'
    start, room = segment.block * BLOCK + seal.index, (segment.extent()[1] - segment.block) * BLOCK
    magic, count, ident, salt, _, crc, head_crc = struct.unpack('<4sIQIIII', file.read(start, 32))
    if magic != b'bidx' or head_crc != crc32c(file.read(start, 28)) or ident != segment.id or \
            salt != segment.salt or seal.index % 8 or seal.index < seal.end or \
            32 + 16 * count != seal.index_length or seal.index + seal.index_length > room:
        return 'wrong index (ignored)'
    if start + seal.index_length > file.size or crc != crc32c(file.read(start + 32, 16 * count)):
        return 'wrong index entries (ignored)'
    expected, last, newest = [], None, -1 << 63
    for frame in frames:
        if last is None or frame.position >= last + 4096:
            last = frame.position
            delta = frame.base - segment.base & 0xFFFFFFFF
            expected.append(struct.pack('<IIq', delta, last, newest))
        newest = max(newest, struct.unpack_from('>q', frame.batch, 35)[0])
    agrees = b''.join(expected) == file.read(start + 32, 16 * count)
    return 'index of %d entries, %s' % (count, 'right' if agrees else 'differs from the frames')

# ---- 4: batches and records ----------------------------------------------------------------------

Record = namedtuple('Record', 'offset timestamp key value headers')

def varint(data, at, size=5):
    """A zig-zag number of at most `size` bytes at `at`, and the position behind it."""
    byte = data[at]
    if byte < 128:
        return byte >> 1 ^ -(byte & 1), at + 1
    number = 0
    for i in range(size):
        byte = data[at + i]
        number |= (byte & 127) << 7 * i
        if byte < 128:
            return number >> 1 ^ -(number & 1), at + i + 1
    raise Malformed('a number is too long')

def field(data, at):
    """Bytes with a length before them (None for -1), and the position behind them."""
    size, at = varint(data, at)
    if size < 0:
        if size == -1:
            return None, at
        raise Malformed('a length below -1')
    if size > len(data) - at:
        raise Malformed('a field is longer than the batch')
    return data[at:at + size], at + size

def read_headers(data, at):
    """The headers of a record as (name, value) pairs, and the position behind them."""
    count, at = varint(data, at)
    if not 0 <= count <= len(data) - at:
        raise Malformed('%d headers' % count)
    headers = []
    for _ in range(count):
        name, at = field(data, at)
        value, at = field(data, at)
        if name is None:
            raise Malformed('a header without name')
        headers.append((name, value))
    return headers, at

def unsnappy(data):
    """Snappy in the blocks of snappy-java, or raw."""
    import snappy
    if data[:8] != b'\x82SNAPPY\0':
        return snappy.uncompress(data)
    out, at = b'', 16
    while at < len(data):
        size = int.from_bytes(data[at:at + 4], 'big')
        out += snappy.uncompress(data[at + 4:at + 4 + size])
        at += 4 + size
    return out

def decompress(codec, data):
    """What a codec made smaller; gzip is Python's own, the others are modules one may have."""
    try:
        if codec == 1:
            return zlib.decompress(data, 31)
        if codec == 2:
            return unsnappy(data)
        if codec == 3:
            import lz4.frame
            return lz4.frame.decompress(data)
        if codec == 4:
            import zstandard
            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except ImportError as error:
        raise Unreadable('compressed: %s' % error) from None
    except Exception as error:           # each module has its own
        raise Malformed('does not decompress: %s' % error) from None
    raise Malformed('compressed with codec %d' % codec)

def read_records(frame):
    """Yield the records of a batch; Malformed at the first that makes no sense."""
    data, at, previous = frame.batch, BATCH_MIN, -1
    attributes, last_delta, first_time, max_time = struct.unpack_from('>Hiqq', data, 21)
    if attributes & 7:
        data = data[:BATCH_MIN] + decompress(attributes & 7, data[BATCH_MIN:])
    try:
        for _ in range(struct.unpack_from('>i', data, 57)[0]):
            size, at = varint(data, at)
            end = at + size
            time, at = varint(data, at + 1, 10)
            delta, at = varint(data, at)
            key, at = field(data, at)
            value, at = field(data, at)
            headers, at = read_headers(data, at) if data[at] else ((), at + 1)
            if at != end or not previous < delta <= last_delta:
                raise Malformed('a record has a wrong length or offset')
            previous = delta
            yield Record(frame.base + delta, max_time if attributes & 8 else first_time + time,
                         key, value, headers)
    except IndexError:
        raise Malformed('the records run out of the batch') from None
    if at != len(data):
        raise Malformed('bytes behind the last record')

# ---- 5: catalog ----------------------------------------------------------------------------------

ENTRY_TYPES = {
    1: (struct.Struct('<QIIIII'), namedtuple('LINK', 'next salt block blocks prev_end prev_guard')),
    2: (struct.Struct('<QIHH'), namedtuple('TOPIC', 'topic partitions name settings')),
    3: (struct.Struct('<Q'), namedtuple('DELETE', 'topic')),
    4: (struct.Struct('<QQIIQII'),
        namedtuple('ADD', 'segment topic partition salt base block blocks')),
    5: (struct.Struct('<QQQqIIII'),
        namedtuple('SEAL', 'segment next stable max_time end index index_length kept')),
    6: (struct.Struct('<QQ'), namedtuple('RETIRE', 'segment next')),
    7: (struct.Struct('<Q'), namedtuple('FREE', 'segment')),
    8: (struct.Struct('<QQqIIQI'),
        namedtuple('TAIL', 'segment next max_time end chain topic partition')),
    9: (struct.Struct('<QQ'), namedtuple('IDS', 'topic segment')),
}

def text(data):
    """Bytes for people: what is not UTF-8 or not printable is escaped."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode()
                   for c in data.decode('utf-8', 'backslashreplace'))

def parse_entry(data):
    """One catalog entry as a tuple named after its type."""
    layout, kind = ENTRY_TYPES.get(data[0] if data else 0, (None, None))
    if layout is None:
        raise Unreadable('catalog: entry of unknown type %d' % (data[0] if data else 0))
    size = 4 + layout.size
    if len(data) < size:
        raise Unreadable('catalog: %s entry of %d bytes' % (kind.__name__, len(data)))
    entry, rest = kind._make(layout.unpack_from(data, 4)), data[size:]
    if kind.__name__ == 'TOPIC':
        size += entry.name + entry.settings
        entry = entry._replace(name=rest[:entry.name], settings=rest[entry.name:])
    if len(data) != size or data[1:4] != b'\0\0\0':
        raise Unreadable('catalog: %s entry of %d bytes, flags %s'
                         % (kind.__name__, len(data), data[1:4].hex()))
    return entry

class Catalog:
    """The state that the entries add up to."""

    def __init__(self, frames, block):
        self.log = []                # (catalog segment id, offset, entry)
        self.chain = []              # the catalog's own segments, the spare included
        self.topics = {}             # topic id -> TOPIC
        self.segments = {}           # segment id -> Segment, in order of ADD
        self.ends = defaultdict(int)  # (topic id, partition) -> its last known next offset
        self.frames = frames
        self.root = block

    def read(self):
        """Walk the chain of segments from the root to the end."""
        root = self.root
        link, before, expected = ((root.segment, root.salt, root.block, root.blocks), (0, 0),
                                  root.root_base)
        while link and link[0]:
            segment = Segment((link[0], 0, 0, link[1], expected, link[2], link[3]))
            if any(segment.id == other.id for other in self.chain):
                raise Unreadable('catalog: segment %d links back' % segment.id)
            self.chain.append(segment)
            link, before, expected = self.read_segment(segment, before, expected)
        if expected < root.catalog_next:
            raise Unreadable('catalog: it ends at entry %d, but %d were stable'
                             % (expected, root.catalog_next))
        self.check()

    def read_segment(self, segment, before, expected):
        """Apply the entries of one segment; where the next is, and where this one ended."""
        position, chain, link, limit = FIRST_FRAME, 0, None, segment.limit()
        while True:
            frame = self.frames.at(segment, position, limit, expected)
            if frame is None or frame.chain != chain:
                break
            for entry in self.frame_entries(frame):
                if link is None:
                    self.check_first(segment, entry, before)
                if type(entry).__name__ == 'LINK':
                    link = entry
                else:
                    self.apply(entry)
            position, chain, expected = frame.end, frame.guard, frame.next
        if link is None and segment is self.chain[0]:
            raise Unreadable('catalog: no intact frame in its first segment')
        # A frame is stable before the next is written: an intact one beyond proves damage.
        if self.frames.after(segment, position, limit, expected):
            raise Unreadable('catalog: damage in segment %d at position %d'
                             % (segment.id, position))
        return link, (position, chain), expected

    @staticmethod
    def check_first(segment, entry, before):
        """The first entry of a segment is a LINK that repeats where the segment before ended."""
        if type(entry).__name__ != 'LINK':
            raise Unreadable('catalog: segment %d does not begin with LINK' % segment.id)
        if (entry.prev_end, entry.prev_guard) != before:
            raise Unreadable('catalog: segment %d does not follow on the one before' % segment.id)

    def frame_entries(self, frame):
        """The entries of one batch, all of them or an error."""
        try:
            records = list(read_records(frame))
        except Malformed as error:
            raise Unreadable('catalog: %s' % error) from None
        if not records or any(r.key is not None or r.value is None for r in records):
            raise Unreadable('catalog: records that are no entries')
        entries = [parse_entry(record.value) for record in records]
        self.log += [(frame.segment.id, r.offset, e) for r, e in zip(records, entries)]
        return entries

    def known(self, segment_id):
        """The segment that an entry speaks of."""
        if segment_id not in self.segments:
            raise Unreadable('catalog: segment %d was never added' % segment_id)
        return self.segments[segment_id]

    def apply(self, entry):
        """Change the state as one entry says."""
        kind = type(entry).__name__
        if kind == 'TOPIC':
            self.topics[entry.topic] = entry
        elif kind == 'DELETE':
            self.topics.pop(entry.topic, None)
        elif kind == 'ADD':
            if entry.segment in self.segments:
                raise Unreadable('catalog: segment %d added twice' % entry.segment)
            self.segments[entry.segment] = Segment(entry)
        elif kind == 'TAIL' and entry.segment == 0:
            self.ends[entry.topic, entry.partition] = entry.next
        elif kind in ('SEAL', 'RETIRE', 'FREE', 'TAIL'):
            segment = self.known(entry.segment)
            setattr(segment, kind.lower(), entry)
            if kind != 'FREE':
                where = segment.topic, segment.partition
                known = self.ends[where] if kind == 'RETIRE' else 0
                self.ends[where] = max(known, entry.next)
            if segment.seal and segment.seal.kept > segment.blocks:
                raise Unreadable('catalog: segment %d keeps more blocks than it has' % segment.id)

    def check(self):
        """Segments that are not free do not overlap; only the last of a partition is unsealed."""
        used = sorted(s.extent() + (s.id,) for s in self.chain + list(self.segments.values())
                      if not s.free and s.extent()[0] < s.extent()[1])
        for one, two in zip(used, used[1:]):
            if two[0] < one[1]:
                raise Unreadable('catalog: segments %d and %d overlap' % (one[2], two[2]))
        for partition in self.partitions().values():
            for one, two in zip(partition, partition[1:]):
                if not one.seal or two.base < one.base:
                    raise Unreadable('catalog: segment %d cannot follow %d' % (two.id, one.id))

    def partitions(self):
        """(topic id, partition) -> its segments that have records or will get some, in order."""
        result = {where: [] for where in self.ends if self.is_topic(where[0])}
        for segment in self.segments.values():
            if self.is_topic(segment.topic):
                live = result.setdefault((segment.topic, segment.partition), [])
                if not segment.gone():
                    live.append(segment)
        return dict(sorted(result.items()))

    def is_topic(self, ident):
        """Topics exist from TOPIC to DELETE; reserved ones need no TOPIC."""
        return ident in self.topics or ident < USER_TOPICS

    def name(self, ident):
        """The name of a topic for people."""
        return text(self.topics[ident].name) if ident in self.topics else '#%d' % ident

# ---- 6: reading a partition ----------------------------------------------------------------------

class Reader:
    """Walks the segments of one partition and tells frames from damage."""

    def __init__(self, beck, where, segments):
        self.beck, self.segments = beck, segments
        self.next = segments[0].base if segments else beck.catalog.ends.get(where, 0)
        self.begin, self.ended = self.next, False

    def durable(self):
        """The offset below which everything was on stable storage."""
        if self.beck.block.state == 1:
            return EVERYTHING
        durable = 0
        for segment in self.segments:
            durable = max(durable, segment.tail.next if segment.tail else 0,
                          segment.seal.stable if segment.seal else 0)
            if segment.seal and segment.seal.stable >= segment.seal.next:
                continue
            for frame in self.beck.frames.all(segment, segment.limit()):
                durable = max(durable, frame.stable and segment.base + frame.stable - 1,
                              frame.next if self.beck.cache_kept else 0)
        return durable

    def events(self):
        """Yield every Frame and every Gap, in order of offset."""
        durable = self.durable()
        for segment in self.segments:
            if segment.base > self.next:
                yield Gap(self.next, segment.base, 'lost before segment %d' % segment.id)
                self.next = segment.base
            yield from self.segment_events(segment, durable)
            if self.ended:
                return

    def segment_events(self, segment, durable):
        """The events of one segment; sets `ended` when the partition ends inside it."""
        end, position, chain = self.end_of(segment), FIRST_FRAME, 0
        last = segment.seal or (segment.tail if durable == EVERYTHING else None)
        if not last and durable == EVERYTHING:
            yield Gap(self.next, self.next, 'segment %d has no TAIL in a clean file' % segment.id)
            durable = 0
        known = last.next if last else durable
        while position < end:
            frame = self.beck.frames.at(segment, position, end, self.next)
            if frame is None or frame.chain != chain:
                if self.next < durable:
                    frame = self.beck.frames.after(segment, position, end, self.next)
                if frame is None or self.next >= durable or frame.base > durable:
                    break  # the end, or a hole that reaches above what is durable
                yield Gap(self.next, frame.base, 'damage in segment %d from position %d to %d'
                          % (segment.id, position, frame.position))
            yield frame
            position, chain, self.next = frame.end, frame.guard, frame.next
        lost = min(known, durable)
        if self.next < lost:
            yield Gap(self.next, lost, 'damage in segment %d from position %d'
                      % (segment.id, position))
            self.next = lost
        if last and self.next > known:
            yield Gap(self.next, self.next, 'segment %d goes on behind its end' % segment.id)
        self.ended = self.next < known

    def end_of(self, segment):
        """The position where the frames of a segment end, as far as the catalog knows."""
        if not segment.seal and segment.tail and self.beck.block.state == 1:
            return min(segment.limit(), segment.tail.end)
        return segment.limit()

class Beck:
    """An opened file: superblock, catalog and the damage seen so far."""

    def __init__(self, path):
        self.file = File(path)
        self.block, self.copies = read_superblock(self.file)
        self.cache_kept = self.block.state == 2 and page_cache_kept(self.file, self.block)
        self.frames = Frames(self.file)
        self.catalog = Catalog(self.frames, self.block)
        self.damaged = False

    def damage(self, where, start, end, reason):
        """Report a range of records that are not coming."""
        sys.stdout.flush()
        name = self.catalog.name(where[0])
        print('damage: %s %d [%d, %d): %s' % (name, where[1], start, end, reason), file=sys.stderr)
        self.damaged = True

    def records(self, where, reader, on_frame=None):
        """Every record of a partition; damage is reported on the way."""
        for event in reader.events():
            if isinstance(event, Gap):
                self.damage(where, *event)
                continue
            if on_frame:
                on_frame(event)
            following = event.base
            try:
                for record in read_records(event):
                    yield record
                    following = record.offset + 1
            except Malformed as error:
                self.damage(where, following, event.next, str(error))

# ---- Output --------------------------------------------------------------------------------------

def print_entries(beck):
    """--catalog: a line for each entry."""
    for segment, offset, entry in beck.catalog.log:
        values = ('%s=%s' % (name, repr(text(value)) if isinstance(value, bytes) else value)
                  for name, value in entry._asdict().items())
        print('%d (segment %d) %s %s' % (offset, segment, type(entry).__name__, ' '.join(values)))

def print_structure(beck):
    """Superblock, catalog, and each partition with its segments."""
    block, catalog = beck.block, beck.catalog
    print('file %s, %d bytes, %s' % (uuid.UUID(bytes=block.uuid), beck.file.size,
                                     {1: 'clean', 2: 'unclean'}[block.state]))
    print('superblock %s' % beck.copies)
    print('features %#x, read-only %#x, incompatible %#x; application %#x'
          % (block.compatible, block.read_only, block.incompatible, block.application))
    if block.state == 2:
        print('unclean since inode %d, boot %s: page cache %s' % (
            block.inode, uuid.UUID(bytes=block.boot), 'kept' if beck.cache_kept else 'may be lost'))
    print('catalog %d entries' % len(catalog.log))
    for segment in catalog.chain:
        print('  segment %d: blocks [%d, %d)' % ((segment.id,) + segment.extent()))
    topics = {ident: [] for ident in catalog.topics}
    for where, segments in catalog.partitions().items():
        topics.setdefault(where[0], []).append((where, segments))
    for ident, partitions in sorted(topics.items()):
        topic = catalog.topics.get(ident)
        print('topic %s: id %d' % (catalog.name(ident), ident) + (', %d partitions, settings %r' % (
            topic.partitions, text(topic.settings)) if topic else ''))
        for where, segments in partitions:
            print_partition(beck, where, segments)

def print_partition(beck, where, segments):
    """The range of a partition and its segments; reads everything, so that damage is found."""
    seen = defaultdict(list)             # segment id -> its frames, without the records

    def on_frame(frame):
        seen[frame.segment.id].append(frame._replace(batch=frame.batch[:BATCH_MIN]))

    reader = Reader(beck, where, segments)
    count = sum(1 for _ in beck.records(where, reader, on_frame))
    print('  partition %d: offsets [%d, %d), %d records' % (
        where[1], reader.begin, reader.next, count))
    for segment in segments:
        frames = seen[segment.id]
        state = 'not sealed'
        if segment.seal:
            state = 'sealed, ' + index_note(beck.file, segment, frames)
        print('    segment %d: blocks [%d, %d), base offset %d, %d frames to position %d, %s'
              % ((segment.id,) + segment.extent() + (
                  segment.base, len(frames), frames[-1].end if frames else FIRST_FRAME, state)))

def json_bytes(data):
    """Bytes as a JSON string or null, and whether that loses something."""
    if data is None:
        return None, False
    try:
        return data.decode(), False
    except UnicodeDecodeError:
        return data.decode('utf-8', 'replace'), True

def json_line(topic, partition, record):
    """One record as a line of JSON."""
    line = {'topic': topic, 'partition': partition, 'offset': record.offset,
            'timestamp': record.timestamp,
            'headers': [[json_bytes(n)[0], json_bytes(v)[0]] for n, v in record.headers]}
    for name, extra, data in (('key', 'key_base64', record.key),
                              ('value', 'payload_base64', record.value)):
        line[name], lossy = json_bytes(data)
        if lossy:
            line[extra] = base64.b64encode(data).decode()
    return json.dumps(line).encode() + b'\n'

def chosen(beck, options):
    """The partitions that the call asks for."""
    partitions, catalog = beck.catalog.partitions(), beck.catalog
    if options.topic is None:
        return partitions
    name = os.fsencode(options.topic)
    idents = [ident for ident, topic in catalog.topics.items() if topic.name == name]
    if not idents:
        raise Unreadable('no topic %s' % text(name))
    count = catalog.topics[idents[-1]].partitions
    if options.partition is not None and not 0 <= options.partition < count:
        raise Unreadable('topic %s has %d partitions' % (text(name), count))
    return {where: segments for where, segments in partitions.items()
            if where[0] == idents[-1] and options.partition in (None, where[1])}

def print_records(beck, options):
    """Values, or JSON, of the chosen partitions."""
    write = sys.stdout.buffer.write
    for where, segments in chosen(beck, options).items():
        topic = beck.catalog.topics.get(where[0])
        name = json_bytes(topic.name)[0] if topic else beck.catalog.name(where[0])
        for record in beck.records(where, Reader(beck, where, segments)):
            if options.jsonl:
                write(json_line(name, where[1], record))
            else:
                write((record.value or b'') + b'\n')

def print_batches(beck, options):
    """The batches of the chosen partitions as they are, which is what Kafka keeps in its logs."""
    for where, segments in chosen(beck, options).items():
        for event in Reader(beck, where, segments).events():
            if isinstance(event, Gap):
                beck.damage(where, *event)
            else:
                sys.stdout.buffer.write(event.batch)

def parse_options():
    """The command line."""
    parser = argparse.ArgumentParser(description='Print a closed or crashed beck file.')
    parser.add_argument('file')
    parser.add_argument('topic', nargs='?')
    parser.add_argument('-p', '--partition', type=int)
    parser.add_argument('--jsonl', action='store_true', help='one JSON object a record')
    parser.add_argument('--batches', action='store_true', help='raw Kafka batches')
    parser.add_argument('--catalog', action='store_true', help='every catalog entry')
    options = parser.parse_args()
    if options.partition is not None and options.topic is None:
        parser.error('-p needs a TOPIC')
    return options

def run():
    """Do what the command line asks; the exit code."""
    options = parse_options()
    beck = Beck(options.file)
    try:
        beck.catalog.read()
    except Unreadable:
        if options.catalog:
            print_entries(beck)          # as far as it can be read
        raise
    if options.catalog:
        print_entries(beck)
    elif options.batches:
        print_batches(beck, options)
    elif options.topic is not None or options.jsonl:
        print_records(beck, options)
    else:
        print_structure(beck)
    sys.stdout.flush()
    return 2 if beck.damaged else 0

def main():
    """Run, and turn errors into exit codes."""
    sys.stdout.reconfigure(errors='backslashreplace')
    try:
        return run()
    except SystemExit as wrong:              # argparse exits with 2, which here means damage
        return 1 if wrong.code else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Unreadable, OSError) as error:
        print('beckdump: %s' % error, file=sys.stderr)
        return 1

if __name__ == '__main__':
    sys.exit(main())
