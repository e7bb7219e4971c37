#!/usr/bin/env python3
"""beck_ctypes.py -- beck from Python, with nothing but ctypes and libbeck.so

    import beck_ctypes as beck
    with beck.open("orders.beck") as db:
        db.topic("orders", partitions=2).append(b"paid", key=b"42", headers=[("source", b"shop")])
        for event in db.consume("orders", start="beginning", timeout_ms=0):
            print(event.offset, event.key, event.value)

The structures below follow beck.h. Errors become BeckError, whose
`status` is a name such as "NOT_FOUND"; None as key or value is null. Run as a program it shows all
of this on a file of its own. The library is the one BECK_LIB names, else libbeck.so.0."""
import collections
import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64
from ctypes import c_void_p

READONLY, NO_CREATE = 1, 2  # flags of open
ANY_PARTITION = -1
EVENT = 1
SLICE_MS = 500  # Python handles signals, such as Ctrl-C, between two polls
SYNC_CLASSES = {None: 0, "sync": 1, "os": 2}
CODECS = (None, "none", "gzip", "snappy", "lz4", "zstd")
STARTS = {"beginning": 0, "end": 1, "offset": 2, "last": 3, "time": 4}
CAUSES = (None, "corrupt", "deleted", "lost")


class _Sized(ctypes.Structure):
    """An option struct: its first field is its size, and zero is the default of the others."""

    def __init__(self, **fields):
        super().__init__(size=ctypes.sizeof(self), **fields)


_CLOCK = ctypes.CFUNCTYPE(c_int64, c_void_p)


class _Options(_Sized):
    _fields_ = [("size", c_size_t), ("flags", c_uint32), ("busy_timeout_ms", c_uint32),
                ("application_id", c_uint32), ("file_mode", c_uint32), ("clock", _CLOCK),
                ("clock_context", c_void_p)]


class _TopicConfig(_Sized):
    _fields_ = [("size", c_size_t), ("partitions", c_uint32), ("sync", c_uint32),
                ("max_message_bytes", c_uint32), ("segment_bytes", c_uint32),
                ("flush_ms", c_uint32), ("compression", c_uint32)]


class _AppendOptions(_Sized):
    _fields_ = [("size", c_size_t), ("sync", c_uint32), ("compression", c_uint32)]


class _Header(ctypes.Structure):
    _fields_ = [("name", c_void_p), ("value", c_void_p), ("name_size", c_uint32),
                ("value_size", c_uint32)]


class _Record(ctypes.Structure):
    _fields_ = [("key", c_void_p), ("value", c_void_p), ("headers", POINTER(_Header)),
                ("key_size", c_uint32), ("value_size", c_uint32), ("header_count", c_uint32),
                ("partition", c_int32), ("timestamp", c_int64), ("offset", c_int64),
                ("topic", c_char_p)]


class _ConsumerConfig(_Sized):
    _fields_ = [("size", c_size_t), ("topics", POINTER(c_char_p)), ("topic_count", c_size_t),
                ("partitions", POINTER(c_int32)), ("partition_count", c_size_t),
                ("start", c_uint32), ("flags", c_uint32), ("start_value", c_int64)]


class _EventInfo(_Sized):
    _fields_ = [("size", c_size_t), ("type", c_int32), ("cause", c_int32),
                ("topic", c_char_p), ("partition", c_int32), ("reserved", c_int32),
                ("from_", c_int64), ("to", c_int64)]


class _CheckSummary(_Sized):
    _fields_ = [("size", c_size_t)]
    _fields_ += [(name, c_uint64)
                 for name in "records batches segments bytes findings unread".split()]


_FINDING = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p)


def _load():
    """BECK_LIB, the installed library, or the one that `make` built beside this folder."""
    built = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../build/libbeck.so.0")
    named = os.environ.get("BECK_LIB")
    for path in [named] if named else ["libbeck.so.0", built]:
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            why = error
    raise OSError("%s: run `make` or `make install`, or set BECK_LIB to libbeck.so.0" % why)


_lib = _load()


def _declare(name, result, *arguments):
    function = getattr(_lib, name)
    function.restype, function.argtypes = result, arguments


for _text in ("status_text", "status_name"):
    _declare("beck_" + _text, c_char_p, c_int)
_declare("beck_errmsg", c_char_p, c_void_p)
_declare("beck_recovery_report", c_char_p, c_void_p)
_declare("beck_open", c_int, c_char_p, POINTER(_Options), POINTER(c_void_p))
_declare("beck_close", c_int, c_void_p)
_declare("beck_sync", c_int, c_void_p)
_declare("beck_topic_delete", c_int, c_void_p, c_char_p)
_declare("beck_topic_open", c_int, c_void_p, c_char_p, POINTER(_TopicConfig), POINTER(c_void_p))
_declare("beck_append_with", c_int, c_void_p, c_int32, POINTER(_Record), c_size_t,
         POINTER(_AppendOptions), POINTER(c_int64))
_declare("beck_consumer_open", c_int, c_void_p, POINTER(_ConsumerConfig), POINTER(c_void_p))
_declare("beck_consumer_close", None, c_void_p)
_declare("beck_poll", c_int, c_void_p, c_size_t, c_int32, POINTER(POINTER(_Record)),
         POINTER(c_size_t))
_declare("beck_event", c_int, c_void_p, POINTER(_EventInfo))
_declare("beck_seek", c_int, c_void_p, c_char_p, c_int32, c_int64)
_declare("beck_check", c_int, c_void_p, _FINDING, c_void_p, c_void_p, POINTER(_CheckSummary))


class BeckError(Exception):
    def __init__(self, rc, message):
        self.status = _lib.beck_status_name(rc).decode()
        super().__init__("%s (%s)" % (message, self.status))


Record = collections.namedtuple("Record", "topic partition offset timestamp key value headers")
Gap = collections.namedtuple("Gap", "topic partition start end cause")


def _bytes(address, size):
    return None if address is None else ctypes.string_at(address, size)


def _record(r):
    headers = [(_bytes(h.name, h.name_size).decode(), _bytes(h.value, h.value_size))
               for h in r.headers[:r.header_count]]
    return Record(r.topic.decode(), r.partition, r.offset, r.timestamp, _bytes(r.key, r.key_size),
                  _bytes(r.value, r.value_size), headers)


class Database:
    """One handle on one file. open() makes it, close() or the end of `with` ends it."""

    def __init__(self, path, flags=0, clock=None, **options):
        """`clock`, if given, returns the time in milliseconds since 1970."""
        self._handle = c_void_p()
        self._clock = _CLOCK(lambda _: clock()) if clock else _CLOCK()
        options = _Options(flags=flags, clock=self._clock, **options)
        rc = _lib.beck_open(os.fsencode(path), byref(options), byref(self._handle))
        if rc < 0:
            message = _lib.beck_errmsg(self._handle).decode()
            _lib.beck_close(self._handle)  # a failed open leaves a handle for its message
            self._handle = None
            raise BeckError(rc, message)
        self.recovery_report = _lib.beck_recovery_report(self._handle).decode()

    def call(self, function, *arguments):
        if not self._handle:
            raise ValueError("the file is closed")
        rc = getattr(_lib, function)(*arguments)
        if rc < 0:
            raise BeckError(rc, _lib.beck_errmsg(self._handle).decode())
        return rc

    def topic(self, name, sync=None, **config):
        """Open a topic for appending; created with `config` when it is missing."""
        config, topic = _TopicConfig(sync=SYNC_CLASSES[sync], **config), c_void_p()
        self.call("beck_topic_open", self._handle, name.encode(), byref(config), byref(topic))
        return Topic(self, topic)

    def delete_topic(self, name):
        self.call("beck_topic_delete", self._handle, name.encode())

    def consume(self, *topics, **config):
        return Consumer(self, topics, **config)

    def sync(self):
        self.call("beck_sync", self._handle)

    def check(self):
        """The problems that are in the file, and how many records are."""
        findings, summary = [], _CheckSummary()
        note = _FINDING(lambda _, finding: findings.append(finding.decode()) or 0)
        try:
            self.call("beck_check", self._handle, note, None, None, byref(summary))
        except BeckError:
            if not findings:
                raise
        return findings, summary.records

    def close(self):
        handle, self._handle = self._handle, None
        rc = _lib.beck_close(handle) if handle else 0
        if rc < 0:
            raise BeckError(rc, _lib.beck_status_text(rc).decode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


open = Database  # as the module's name reads: beck.open(...)


class Topic:
    def __init__(self, db, handle):
        self._db, self._handle = db, handle

    def append(self, value, key=None, headers=(), timestamp=0, partition=ANY_PARTITION):
        """Append one record; returns its offset."""
        return self.append_batch([(value, key, headers, timestamp)], partition)

    def append_batch(self, records, partition=ANY_PARTITION, sync=None,
                     compression=None):
        """Append tuples (value, key, headers, timestamp) or shorter; the first one's offset."""
        options = _AppendOptions(sync=SYNC_CLASSES[sync], compression=CODECS.index(compression))
        array, keep, base = (_Record * len(records))(), [], c_int64()
        for r, (value, key, headers, timestamp) in zip(array, map(_complete, records)):
            r.value, r.value_size = _borrow(value, keep)
            r.key, r.key_size = _borrow(key, keep)
            r.headers = _headers(headers, keep)
            r.header_count, r.timestamp = len(headers), timestamp
        self._db.call("beck_append_with", self._handle, partition, array, len(records),
                      byref(options), byref(base))
        return base.value


def _complete(record):
    return tuple(record) + (None, None, (), 0)[len(record):]


def _borrow(data, keep):
    """Address and size of bytes that live as long as `keep`; None is null, b"" is empty."""
    if data is None:
        return None, 0
    if isinstance(data, str):
        raise TypeError("keys and values are bytes: encode() the text %.40r" % data)
    data = bytes(data)
    keep.append(c_char_p(data))
    return ctypes.cast(keep[-1], c_void_p), len(data)


def _headers(headers, keep):
    array = (_Header * len(headers))()
    for h, (name, value) in zip(array, headers):
        h.name, h.name_size = _borrow(name.encode(), keep)
        h.value, h.value_size = _borrow(value, keep)
    keep.append(array)
    return ctypes.cast(array, POINTER(_Header))


class Consumer:
    """Iterates over Record and Gap; ends when nothing came for timeout_ms (-1: never)."""

    def __init__(self, db, topics, start="beginning", start_value=0, partitions=None,
                 timeout_ms=-1, max_records=1000):
        self._db, self._handle = db, c_void_p()
        self.timeout_ms, self.max_records = timeout_ms, max_records
        self._waiting = collections.deque()
        config = _ConsumerConfig(start=STARTS[start], start_value=start_value)
        config.topics = (c_char_p * len(topics))(*[name.encode() for name in topics])
        config.topic_count = len(topics)
        if partitions is not None:
            config.partitions = (c_int32 * len(partitions))(*partitions)
            config.partition_count = len(partitions)
        db.call("beck_consumer_open", db._handle, byref(config), byref(self._handle))

    def __iter__(self):
        return self

    def __next__(self):
        left = self.timeout_ms
        while not self._waiting:
            span = min(left, SLICE_MS) if left >= 0 else SLICE_MS
            self._waiting = self.poll(span)
            if not self._waiting and left >= 0:
                left -= span
                if left <= 0:
                    raise StopIteration
        return self._waiting.popleft()

    def poll(self, timeout_ms):
        """What one poll gives, perhaps nothing: Records of one partition, or one Gap."""
        records, count = POINTER(_Record)(), c_size_t()
        rc = self._call("beck_poll", self.max_records, timeout_ms, byref(records),
                        byref(count))
        if rc != EVENT:
            return collections.deque(map(_record, records[:count.value]))
        event = _EventInfo()
        self._call("beck_event", byref(event))
        return collections.deque([Gap(event.topic.decode(), event.partition, event.from_, event.to,
                                      CAUSES[event.cause])])

    def seek(self, topic, partition, offset):
        self._waiting.clear()
        self._call("beck_seek", topic.encode(), partition, offset)

    def close(self):
        if self._handle and self._db._handle:  # closing the file closes its consumers
            _lib.beck_consumer_close(self._handle)
        self._handle = None

    def _call(self, function, *arguments):
        if not self._handle:
            raise ValueError("the consumer is closed")
        return self._db.call(function, self._handle, *arguments)


def main(path):
    with open(path) as db:
        orders = db.topic("orders", partitions=2)
        orders.append(b"paid", key=b"42", headers=[("source", b"shop"), ("trace", None)])
        orders.append_batch([(b"open", b"43"), (None, b"42"), (b"", b"43")])
        for r in db.consume("orders", timeout_ms=0):
            print("%s:%d:%d %s = %s %s" % (*r[:3], r.key, r.value, r.headers))
        try:
            db.consume("order")
        except BeckError as error:
            print("error:", error)
        print("check:", db.check())


if __name__ == "__main__":
    import sys
    main(sys.argv[1] if len(sys.argv) == 2 else sys.exit("usage: beck_ctypes.py FILE"))
