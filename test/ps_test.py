#!/usr/bin/env python3
"""ps_test.py -- beck ps beside real processes: blocked, stopped, killed, reading what was deleted

What `beck ps --json` prints is checked against its schema each time. The last part scribbles over
the shared memory of a file while ps runs."""
import hashlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time

from harness import (BECK, LIBRARY, ROOT, ROUNDS, Worker, beck, build_worker, folders, only_file,
                     seeded)

STATES = ("alive", "stopped", "dead")
ON_PARTITION = {"lock", "sync_leader", "wait_lock", "wait_sync"}
TYPES = ON_PARTITION | {"opening", "closing", "catalog_lock", "file_sync", "pin",
                        "wait_catalog_lock", "wait_records"}
CLAIM = {"type": str, "topic": (str, None), "topic_id": (int, None), "partition": (int, None),
         "partitions": (int, None), "segment": (int, None), "from": (int, None),
         "to": (int, None), "held_back_bytes": int, "holder": (int, None)}
HANDLE = {"slot": (int, None), "pid": (int, None), "other_pid_namespace": bool,
          "program": (str, None), "state": str, "opened_at": (int, None), "claims": list}
AREA, SLOTS, SLOT = 65536, 65536 + 32768, 128
READER = """
import sys
sys.path.insert(0, sys.argv[1])
import beck_ctypes
db = beck_ctypes.open(sys.argv[2])
first = next(db.consume(sys.argv[3]))
print(first.offset, flush=True)
sys.stdin.read()
"""


def fits(value, schema):
    """Exactly the fields of the schema, each of its type."""
    assert value.keys() == schema.keys(), value
    for name, kinds in schema.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        kinds = tuple(type(None) if kind is None else kind for kind in kinds)
        assert type(value[name]) in kinds, (name, value)


def parse(text):
    handles = json.loads(text)
    for handle in handles:
        fits(handle, HANDLE)
        assert handle["state"] in STATES, handle
        for claim in handle["claims"]:
            fits(claim, CLAIM)
            assert claim["type"] in TYPES, claim
            assert claim["type"] not in ON_PARTITION or claim["topic_id"] is not None, claim
            assert claim["partition"] is None or claim["topic_id"] is not None, claim
            assert claim["type"] != "pin" or claim["segment"] is not None, claim
    slots = [1024 if h["slot"] is None else h["slot"] for h in handles]
    assert slots == sorted(set(slots)), slots
    return handles


def ps(path):
    start = time.monotonic()
    handles = parse(beck("ps", path, "--json"))
    assert time.monotonic() - start < 5, "ps waited for somebody"
    return handles


def of(handles, pid):
    found = [h for h in handles if h["pid"] == pid]
    assert len(found) <= 1, found
    return found[0] if found else None


def claim_of(handle, kind):
    found = [c for c in (handle or {"claims": []})["claims"] if c["type"] == kind]
    return found[0] if found else None


def until(what, path, good, seconds=20):
    """The first list for which `good` gives something: that, and the list."""
    end = time.monotonic() + seconds
    while True:
        handles = ps(path)
        found = good(handles)
        if found:
            return found, handles
        assert time.monotonic() < end, "%s: %s" % (what, json.dumps(handles, indent=1))
        time.sleep(0.002)


def line_of(path, pid):
    """The columns of one process in what a pipe gets."""
    for line in beck("ps", path).decode().splitlines():
        columns = line.split("\t")
        assert len(columns) == 6, line
        if columns[1] == str(pid):
            return columns
    return None


def stop(process):
    process.send_signal(signal.SIGSTOP)
    while True:
        with open("/proc/%d/stat" % process.pid) as file:
            if file.read().rpartition(")")[2].split()[0] in "TZ":
                return
        time.sleep(0.001)


def stop_amid_lock(path, worker, rng):
    """Stop the worker while it has the lock of its partition, but is not in a roll, which has the
    catalog's as well; its handle as ps shows it."""
    for _ in range(3000):
        time.sleep(rng.random() * 0.01)
        stop(worker.process)
        handle = of(ps(path), worker.process.pid)
        if [claim["type"] for claim in handle["claims"]] == ["lock"]:
            return handle
        worker.process.send_signal(signal.SIGCONT)
    raise AssertionError("no stop met the lock held")


def consumers(path):
    """A blocked consumer of one partition, and one of three."""
    beck("topic", "create", path, "one")
    beck("topic", "create", path, "three", "--partitions", "3")
    before = time.time() * 1000
    blocked = [subprocess.Popen([BECK, "consume", path, topic], stdout=subprocess.DEVNULL)
               for topic in ("one", "three")]
    wait, handles = until("a blocked consumer", path, lambda handles: claim_of(
        of(handles, blocked[0].pid), "wait_records"))
    assert wait["topic"] == "one" and wait["partition"] == 0 and wait["holder"] is None, wait
    handle = of(handles, blocked[0].pid)
    assert handle["state"] == "alive" and handle["program"] == "beck", handle
    assert before - 2000 < handle["opened_at"] < time.time() * 1000 + 2000, handle
    wait, _ = until("three partitions", path, lambda handles: claim_of(
        of(handles, blocked[1].pid), "wait_records"))
    assert wait["topic"] is None and wait["partitions"] == 3, wait
    while not line_of(path, blocked[0].pid)[5].startswith("waits for records in one:0"):
        time.sleep(0.002)
    stop(blocked[0])
    assert of(ps(path), blocked[0].pid)["state"] == "stopped"
    assert line_of(path, blocked[0].pid)[3] == "stopped"
    for process in blocked:
        process.kill()
        process.wait()
    assert ps(path) == [], "the dead who left nothing are listed"
    print("a blocked consumer: ok")


def stopped_and_killed(path, logs, rng):
    """Who waits for whom, and what a kill leaves."""
    holder = Worker("produce", path, logs + "/holder", ["lock-os-1"], partition=0, batch=500,
                    size=400, segment=1 << 26)
    until("the producer", path, lambda handles: of(handles, holder.process.pid))
    stopped = stop_amid_lock(path, holder, rng)
    assert stopped["state"] == "stopped", stopped
    lock = claim_of(stopped, "lock")
    assert lock["topic"] == "lock-os-1" and lock["partition"] == 0, lock

    waiter = Worker("produce", path, logs + "/waiter", ["lock-os-1"], partition=0)
    wait, _ = until("the waiter", path, lambda handles: claim_of(
        of(handles, waiter.process.pid), "wait_lock"))
    assert wait["topic"] == "lock-os-1" and wait["partition"] == 0, wait
    assert wait["holder"] == stopped["slot"], wait
    says = "waits for the lock of lock-os-1:0 (slot %d, stopped)" % stopped["slot"]
    end = time.monotonic() + 20
    while line_of(path, waiter.process.pid)[5] != says:
        assert time.monotonic() < end, line_of(path, waiter.process.pid)
        time.sleep(0.002)
    start = time.monotonic()
    metrics = beck("stat", path, "--prometheus").decode()
    assert time.monotonic() - start < 5 and 'state="stopped"} 1\n' in metrics, metrics

    # The waiter is gone, the holder is killed where it stood: its lock is left.
    waiter.signal(signal.SIGKILL)
    waiter.wait(5)
    bystander = subprocess.Popen([BECK, "produce", path, "other"], stdin=subprocess.PIPE)
    until("the bystander", path, lambda handles: of(handles, bystander.pid))
    holder.signal(signal.SIGKILL)
    holder.wait(5)
    dead = of(ps(path), holder.process.pid)
    assert dead["state"] == "dead" and claim_of(dead, "lock")["topic"] == "lock-os-1", dead
    assert "left the lock of lock-os-1:0" in line_of(path, holder.process.pid)[5]
    heir = Worker("produce", path, logs + "/heir", ["lock-os-1"], partition=0, life=3)
    assert heir.wait(10) == 0
    assert of(ps(path), holder.process.pid) is None, "a settled dead one is listed"
    bystander.stdin.close()
    assert bystander.wait(10) == 0
    assert ps(path) == []
    assert b"no problems" in beck("check", path)
    print("a stopped one, its waiter, a killed one: ok")


def pinned(path):
    """A reader of a deleted topic keeps its space, and ps and stat say so."""
    records = b"".join(b"%06d\n" % n for n in range(5000))
    beck("produce", path, "gone", "-q", data=records)
    reader = subprocess.Popen([sys.executable, "-c", READER, os.path.join(ROOT, "example"), path,
                               "gone"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=dict(os.environ, BECK_LIB=LIBRARY))
    assert reader.stdout.readline() == b"0\n"
    pin = claim_of(of(ps(path), reader.pid), "pin")
    assert pin["topic"] == "gone" and pin["from"] == 0 and pin["held_back_bytes"] == 0, pin
    beck("topic", "delete", path, "gone")
    handle = of(ps(path), reader.pid)
    after = claim_of(handle, "pin")
    assert after["topic"] == "gone" and after["segment"] == pin["segment"], after
    assert after["held_back_bytes"] >= 16384 and after["to"] == pin["to"], after
    assert ", which was deleted: holds back " in line_of(path, reader.pid)[5]
    stat = json.loads(beck("stat", path, "--json"))
    assert stat["retired_bytes"] == after["held_back_bytes"], stat
    held = [h for h in stat["held_back"] if h["pid"] == reader.pid]
    assert len(held) == 1 and held[0]["topic"] == "gone", stat
    assert held[0]["bytes"] == stat["retired_bytes"] and held[0]["slot"] == handle["slot"], stat
    reader.stdin.close()
    assert reader.wait(10) == 0
    beck("topic", "create", path, "room")  # whoever takes the catalog's lock frees
    assert json.loads(beck("stat", path, "--json"))["retired_bytes"] == 0
    print("a reader of what was deleted: ok")


def another_namespace(path):
    """The pid of a process in another pid namespace is not shown as one of ours."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run(unshare + ["true"], stderr=subprocess.DEVNULL).returncode != 0:
        print("another pid namespace: not tested, unshare --pid is not allowed here")
        return
    inside = subprocess.Popen(unshare + [BECK, "consume", path, "one"],
                              stdout=subprocess.DEVNULL)
    handle, _ = until("one in another namespace", path, lambda handles: next(
        (h for h in handles if h["program"] == "beck"), None))
    assert handle["other_pid_namespace"] and handle["pid"] == 1, handle
    columns = beck("ps", path).decode().rstrip("\n").split("\t")
    assert columns[1] == "-" and "pid 1 of another pid namespace" in columns[5], columns
    inside.kill()
    inside.wait()
    until("its end", path, lambda handles: not handles)
    print("another pid namespace: ok")


def nobody(path):
    """With nobody there a person reads that; a pipe gets nothing, JSON an empty array."""
    beck("topic", "create", path, "nobody")
    master, slave = pty.openpty()
    subprocess.run([BECK, "ps", path], stdout=slave, check=True)
    os.close(slave)
    assert os.read(master, 1000) == b"nobody has it open for writing\r\n"
    os.close(master)
    assert beck("ps", path) == b"" and ps(path) == []


def nothing_changes(path):
    """Looking writes nothing: not into a clean file, and not into one that is open."""
    def state():
        with open(path, "rb") as file:
            return hashlib.md5(file.read()).hexdigest(), os.stat(path).st_mtime_ns
    for is_open in (False, True):
        holder = is_open and subprocess.Popen([BECK, "produce", path, "one"],
                                              stdin=subprocess.PIPE)
        if holder:
            until("the holder", path, lambda handles, pid=holder.pid: claim_of(
                of(handles, pid), "opening") is None and of(handles, pid))
            time.sleep(0.2)
        before = state()
        beck("ps", path)
        beck("ps", path, "--json")
        beck("stat", path)
        assert state() == before, "a look changed the file"
        if holder:
            holder.stdin.close()
            holder.wait()
    print("looking writes nothing: ok")


def storm(path, logs, rng):
    """Looks at a file where everything goes on at once, and processes are killed."""
    born, looks, seen = 0, 0, set()

    def start():
        nonlocal born
        born += 1
        kind = rng.choice(("produce", "consume", "churn"))
        topics = [] if kind == "churn" else ["a-sync-2", "b-os-3"]
        return Worker(kind, path, "%s/storm%d" % (logs, born), topics, seed=born, batch=20,
                      pause=500, segment=32768)
    workers = [start() for _ in range(6)]
    until("somebody", path, lambda handles: handles)
    end = time.monotonic() + 0.5 * ROUNDS
    while time.monotonic() < end:
        seen |= {(h["state"], c["type"]) for h in ps(path) for c in h["claims"]}
        looks += 1
        if rng.random() < 0.1:
            at = rng.randrange(len(workers))
            workers[at].signal(signal.SIGKILL)
            workers[at].wait(5)
            workers[at] = start()
    for worker in workers:
        worker.signal(signal.SIGTERM)
    for worker in workers:
        assert worker.wait(10) in (0, -signal.SIGTERM), worker.log  # also before it could begin
    left = ps(path)  # of those who were ended before they could close, if they were the last
    assert all(h["state"] == "dead" for h in left), left
    beck("produce", path, "another", "-q", data=b"x\n")
    assert ps(path) == [], "what the dead left is settled by who opens the file next"
    assert b"no problems" in beck("check", path)
    assert len(seen) >= 3, seen
    print("a storm: %d looks, %d processes, %d kinds of claims" % (looks, born, len(seen)))


def scribble(path, rng):
    """Whatever lies in the shared memory, ps ends as a program should and prints what it knows."""
    beck("topic", "create", path, "lock-os-1")
    idle = subprocess.Popen([BECK, "produce", path, "lock-os-1"], stdin=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)
    until("the holder of the scribbled file", path, lambda handles: of(handles, idle.pid))
    stop(idle)
    good = bad = 0
    with open(path, "r+b", buffering=0) as file:
        for _ in range(40 * ROUNDS):
            for _ in range(rng.randrange(1, 20)):
                at = rng.choice((AREA + 24 + rng.randrange(4096), SLOTS + rng.randrange(8 * SLOT),
                                 AREA + rng.randrange(163840)))
                file.seek(at // 8 * 8 if at >= AREA + 24 else AREA + 24)
                file.write(rng.choice((rng.randbytes(8), bytes(8), b"\xff" * 8,
                                       rng.randrange(64).to_bytes(8, "little"))))
            for words in (["ps", path, "--json"], ["ps", path]):
                done = subprocess.run([BECK, *words], capture_output=True, timeout=30)
                assert done.returncode in (0, 1), (done.returncode, done.stderr)
                good, bad = good + (done.returncode == 0), bad + done.returncode
                if done.returncode == 0 and "--json" in words:
                    parse(done.stdout)
    idle.kill()
    idle.wait()
    assert good > 0, "every look failed"
    print("scribbled shared memory: %d looks, %d refused" % (good + bad, bad))


def main():
    folder, logs = folders()
    rng = seeded()
    Worker.program = build_worker(logs)
    path = folder + "/ps.beck"
    nobody(logs + "/nobody.beck")
    consumers(path)
    stopped_and_killed(path, logs, rng)
    pinned(path)
    another_namespace(path)
    nothing_changes(path)
    storm(path, logs, rng)
    only_file(path)
    scribble(logs + "/scribbled.beck", rng)
    shutil.rmtree(os.path.dirname(folder), ignore_errors=True)


main()
