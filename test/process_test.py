#!/usr/bin/env python3
"""process_test.py -- fork from Python, two copies of the library, limits of a process

Each part runs in a process of its own, through example/beck_ctypes.py."""
import _ctypes
import ctypes
import importlib.util
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
import time

from harness import LIBRARY, ROOT, beck, folders

os.environ["BECK_LIB"] = LIBRARY


def module(name="beck_ctypes", library=LIBRARY):
    """example/beck_ctypes.py over its own copy of the library."""
    os.environ["BECK_LIB"] = library
    spec = importlib.util.spec_from_file_location(name, ROOT + "/example/beck_ctypes.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


bk = module()


def child(work, *arguments, leave=os._exit):
    """Fork; the child's exit code must be 0."""
    pid = os.fork()
    if pid == 0:
        try:
            work(*arguments)
            leave(0)
        except SystemExit:
            raise
        except BaseException as error:  # not a line of the parent's may run here
            os.write(2, ("child: %r\n" % error).encode())
            os._exit(1)
    return pid


def joined(pid, status=0):
    got = os.waitpid(pid, 0)[1]
    assert got == status, "the child ended with status %d" % got


def gives(status, function, *arguments):
    try:
        function(*arguments)
    except bk.BeckError as error:
        assert type(error).__name__ == "BeckError" and error.status == status, error
        return str(error)
    raise AssertionError("%s did not give %s" % (function, status))


def values(path, topic="t"):
    with bk.open(path, flags=bk.READONLY) as db:
        return [r.value for r in db.consume(topic, timeout_ms=0)]


def append_own(path, value, count=20):
    with bk.open(path) as db:
        topic = db.topic("t")
        for _ in range(count):
            topic.append(value)


# ---- fork ----------------------------------------------------------------------------------------

def prefork_server(path):
    """Opened in the master; workers find it refused, open their own, some die."""
    db = bk.open(path)
    topic = db.topic("t", sync="os")
    events = db.consume("t", timeout_ms=0)

    def worker(number):
        text = gives("FORKED", topic.append, b"inherited")
        assert "open the file again" in text, text
        gives("FORKED", events.poll, 0)
        gives("FORKED", db.check)
        if number % 2:
            events.close(), db.close()
        append_own(path, b"worker %d" % number)
        if number == 3:
            mine = bk.open(path)
            mine.topic("t").append(b"last words")
            os.kill(os.getpid(), signal.SIGKILL)

    pids = [child(worker, n, leave=sys.exit if n == 2 else os._exit) for n in range(5)]
    for number, pid in enumerate(pids):
        joined(pid, signal.SIGKILL if number == 3 else 0)
        topic.append(b"master")
    assert sum(1 for _ in events) == 5 * 20 + 1 + 5
    db.close()


def pool(path):
    """multiprocessing, forked while threads of the parent append and poll."""
    db = bk.open(path)
    topic, stop, appended = db.topic("t", sync="os"), threading.Event(), [0]

    def append():
        while not stop.is_set():
            topic.append(b"thread")
            appended[0] += 1

    def poll():
        events = db.consume("t")
        while not stop.is_set():
            events.poll(1)

    threads = [threading.Thread(target=append), threading.Thread(target=poll)]
    for thread in threads:
        thread.start()
    workers = [multiprocessing.get_context(kind).Process(target=append_own, args=(path, b"pool"))
               for kind in ("fork", "fork", "fork", "spawn", "fork")]
    for process in workers:
        process.start()
    for process in workers:
        process.join(30)
        assert process.exitcode == 0, process.exitcode
    stop.set()
    for thread in threads:
        thread.join()
    topic.append(b"end")
    db.close()
    got = values(path)
    assert got.count(b"pool") == 100 and got.count(b"thread") == appended[0] and got[-1] == b"end"


def orphan(path):
    """The parent is killed while a child of it lives: nobody waits for the parent."""
    with bk.open(path) as db:
        db.topic("t", sync="os")
        ready, said = os.pipe()

        def parent():
            mine = bk.open(path)
            topic = mine.topic("t")
            if os.fork() == 0:
                os.write(said, b"%9d" % os.getpid())
                time.sleep(20)
                os._exit(0)
            while True:
                topic.append(b"parent")

        pid = child(parent)
        survivor = int(os.read(ready, 9))
        time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        joined(pid, signal.SIGKILL)
        start = time.monotonic()
        db.topic("t").append(b"after")
        took = time.monotonic() - start
        os.kill(survivor, signal.SIGKILL)
        assert took < 1, "took %.3f s" % took
        assert not db.check()[0]
    os.close(ready), os.close(said)


# ---- Two copies of the library -------------------------------------------------------------------

def two_copies(path):
    """Two extensions that bring their own library: as two processes would, in one."""
    other_path = shutil.copy(LIBRARY, os.path.join(os.path.dirname(path), "..", "logs", "other.so"))
    other = module("other_beck", other_path)
    assert other._lib._handle != bk._lib._handle
    a, b = bk.open(path), other.open(path)
    ta, tb = a.topic("t", sync="os"), b.topic("t")
    ca, cb = a.consume("t", timeout_ms=500), b.consume("t", timeout_ms=500)
    for i in range(200):
        (ta if i % 2 else tb).append(b"%d" % i)
        assert next(ca).value == next(cb).value == b"%d" % i

    def inherits_both():
        gives("FORKED", ta.append, b"x")
        try:
            tb.append(b"x")
        except other.BeckError as error:
            assert error.status == "FORKED"
        a.close(), b.close()
        append_own(path, b"child", 1)
        with open("/proc/self/maps") as maps:
            assert path not in maps.read()

    joined(child(inherits_both))
    # Closing one copy drops no lock of the other: another process must join, not recover.
    a.close()

    def joins():
        with bk.open(path) as db:
            assert db.recovery_report == "" and db.topic("t").append(b"joined") == 201

    joined(child(joins))
    assert tb.append(b"still") == 202
    b.close()
    other_handle, other._lib = other._lib._handle, None
    _ctypes.dlclose(other_handle)  # its fork handlers go with it
    joined(child(append_own, path, b"afterwards", 1))
    assert len(values(path)) == 204


# ---- Limits --------------------------------------------------------------------------------------

def descriptors(path):
    """No descriptor left: LIMIT, and nothing is damaged."""
    append_own(path, b"first", 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for new in (path, path + ".new"):
        left = 0
        while True:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            free = [os.open("/dev/null", os.O_RDONLY) for _ in range(left)]
            taken = []
            try:
                while True:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            for fd in free:
                os.close(fd)
            try:
                bk.open(new).close()
                opened = True
            except bk.BeckError as error:
                assert error.status == "LIMIT" and new in str(error), error
                opened = False
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if opened:
                break
            left += 1
        assert 1 <= left <= 4, left
    with bk.open(path + ".new") as db:
        db.topic("t").append(b"x")
    os.unlink(path + ".new")
    assert values(path) == [b"first"] * 3


def address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")


def no_room_for(bytes_, work):
    """Run `work` with so much address space to spare; its BeckError statuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + bytes_, hard))
    try:
        return work()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def mappings(path):
    """No address space to map the next segment: an error or a slower way, nothing lost."""
    for sync in ("os", "sync"):
        name, value = "t-" + sync, b"v" * 20000
        db = bk.open(path)
        topic = db.topic(name, sync=sync)
        topic.append(value)
        acknowledged, refused = [0], []

        def append():
            for _ in range(300):
                try:
                    offset = topic.append(value)
                    acknowledged.append(offset)
                except bk.BeckError as error:
                    refused.append(error.status)

        no_room_for(1 << 20, append)
        assert set(refused) <= {"NOMEM", "UNKNOWN"} and refused, (sync, refused)
        for _ in range(100):
            acknowledged.append(topic.append(value))
        events = db.consume(name, timeout_ms=0)
        events._call("beck_seek", name.encode(), 0, acknowledged[-1])
        gives_nomem = no_room_for(1 << 19, lambda: poll_status(events))
        assert gives_nomem in ("NOMEM", "records"), gives_nomem
        events.seek(name, 0, 0)
        found = {r.offset: r.value for r in events}
        assert all(found[offset] == value for offset in acknowledged), sync
        assert sorted(found) == list(range(len(found)))
        if sync == "os":
            assert len(found) == len(acknowledged)
        assert not db.check()[0]
        status = no_room_for(1 << 14, lambda: open_status(path))
        assert status in ("NOMEM", "opened"), status
        db.close()
        beck("check", path)


def poll_status(events):
    try:
        events.poll(0)
        return "records"
    except bk.BeckError as error:
        return error.status


def open_status(path):
    try:
        bk.open(path).close()
        return "opened"
    except bk.BeckError as error:
        return error.status


def file_size(path):
    """RLIMIT_FSIZE (Python ignores SIGXFSZ): FULL, nothing lost, and room again afterwards."""
    db = bk.open(path)
    topic, count = db.topic("t"), 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, hard))
    try:
        while True:
            topic.append(b"v" * 50000)
            count += 1
    except bk.BeckError as error:
        assert error.status == "FULL", error
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert topic.append(b"more") == count
    db.close()
    assert len(values(path)) == count + 1


def main():
    folder, _ = folders()
    for test in (prefork_server, pool, orphan, two_copies, descriptors, mappings, file_size):
        path = "%s/%s.beck" % (folder, test.__name__)
        joined(child(test, path))
        beck("check", path)


if __name__ == "__main__":
    assert ctypes.sizeof(ctypes.c_void_p) == 8
    main()
