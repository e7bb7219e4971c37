#!/usr/bin/env python3
"""stat_test.py -- beck stat: the metrics are what Prometheus reads, JSON has its schema, the rates
are those of the producer, a thousand topics are quick, and looking changes nothing

The parser of the text exposition format below is strict: https://prometheus.io/docs/instrumenting/
exposition_formats says what it takes. promtool, where it is installed, has to agree."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

from harness import BECK, ROUNDS, Db, Worker, beck, build_worker, folders

TOPICS = 1000
QUICK = 1.0  # seconds for one look at a thousand topics
NUMBERS = """file_bytes used_bytes topics_bytes catalog_bytes coordination_bytes retired_bytes
             free_bytes catalog_sequence topics partitions segments handles clean poisoned
             format_version application_id taken_at""".split()
OF_TOPIC = {"topic": str, "partitions": int, "segments": int, "records": int, "unstable": int,
            "data_bytes": int, "bytes": int, "share": float, "sync": str}
RATES = {"records_per_second": float, "bytes_per_second": float}


# ---- The format of Prometheus ----

def labels_of(text):
    """{name="value",...} as a dict; every escape is one of three, no name stands twice."""
    labels, at = {}, 0
    while at < len(text):
        match = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)').match(
            text, at)
        assert match, "labels: %r" % text[at:]
        assert match[1] not in labels, "twice: %s" % match[1]
        labels[match[1]] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), match[2])
        at = match.end()
    assert not text.endswith(","), text
    return labels


def parse_metrics(data):
    """{(name, labels): value} and {name: type}."""
    text = data.decode("utf-8")  # anything else is an error
    assert text.endswith("\n"), "the last line has no end"
    samples, types, helps, family = {}, {}, {}, None
    for line in text[:-1].split("\n"):
        words = line.split(" ", 3)
        if line.startswith("#"):
            assert len(words) == 4 and words[1] in ("HELP", "TYPE"), line
            assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", words[2]), line
            if words[1] == "HELP":
                assert words[2] not in helps, "HELP twice: " + line
                helps[words[2]], family = words[3], words[2]
                assert "\\" not in words[3], line
            else:
                assert words[2] == family and words[2] not in types, "TYPE out of place: " + line
                assert words[3] in ("counter", "gauge"), line
                types[words[2]] = words[3]
            continue
        match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} ([0-9]+)", line)
        assert match, "sample: %r" % line
        assert match[1] == family and family in types, "not in one group: " + line
        key = (match[1], tuple(sorted(labels_of(match[2]).items())))
        assert key not in samples, "twice: " + line
        samples[key] = int(match[3])
    for name, kind in types.items():
        assert name.startswith("beck_") and name.islower(), name
        assert (kind == "counter") == name.endswith("_total"), (name, kind)
    assert helps.keys() == types.keys()
    return samples, types


def value_in(samples, name, **labels):
    found = [value for (metric, has), value in samples.items()
             if metric == name and labels.items() <= dict(has).items()]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def promtool(data):
    if shutil.which("promtool") is None:
        print("promtool: not installed, the parser of this test has to do")
        return
    done = subprocess.run(["promtool", "check", "metrics"], input=data, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def metrics(folder):
    """Every number of the file, under names that have to be escaped."""
    for name in (b"plain.beck", b'qu"o\\te\nd.beck', b"not\xff\xc3(utf8.beck", "\u00e9\u4e16.beck"):
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        beck("topic", "create", path, "a.b-c_d", "--partitions", "2", "--sync", "os")
        beck("produce", path, "a.b-c_d", "-q", "-p", "1", data=b"x\n" * 7)
        data = beck("stat", path, "--prometheus")
        samples, types = parse_metrics(data)
        promtool(data)
        as_utf8 = "".join(c if not "\udc80" <= c <= "\udcff" else "\ufffd"
                          for c in os.fsdecode(path))
        assert {dict(labels)["file"] for _, labels in samples} == {as_utf8}, as_utf8
        stat = json.loads(beck("stat", path, "--json"))
        assert value_in(samples, "beck_file_bytes") == stat["file_bytes"]
        for use in "topics catalog coordination retired free".split():
            assert value_in(samples, "beck_space_bytes", use=use) == stat[use + "_bytes"]
        assert value_in(samples, "beck_records_total", topic="a.b-c_d", partition="1") == 7
        assert value_in(samples, "beck_records_total", topic="a.b-c_d", partition="0") == 0
        assert value_in(samples, "beck_topic_info", topic="a.b-c_d", sync="os") == 1
        assert value_in(samples, "beck_info", uuid=stat["uuid"]) == 1
        assert value_in(samples, "beck_clean") == 1
        assert value_in(samples, "beck_handles", state="alive") == 0
        assert types["beck_records_total"] == "counter" and types["beck_data_bytes"] == "gauge"
    print("metrics: %d samples of %d kinds" % (len(samples), len(types)))


def strictness():
    """The parser refuses what Prometheus refuses."""
    head = "# HELP beck_x words\n# TYPE beck_x gauge\n"
    parse_metrics((head + 'beck_x{a="b\\"\\\\\\n",c="d"} 1\n').encode())
    for bad in (head + 'beck_x{a="b"} 1', 'beck_x{a="b"} 1\n', head + 'beck_x{a="b"} one\n',
                head + 'beck_x{a="b",a="c"} 1\n', head + 'beck_x{a="b\\t"} 1\n',
                head + 'beck_x{a="b"c="d"} 1\n', head + 'beck_x{a="b"} 1\nbeck_x{a="b"} 2\n',
                head + 'beck_y{a="b"} 1\n', head + head, head + 'beck_x{a="b",} 1\n',
                "# TYPE beck_x gauge\n", "# HELP beck_x_total w\n# TYPE beck_x_total gauge\n",
                head + '\nbeck_x{a="b"} 1\n'):
        try:
            parse_metrics(bad.encode())
        except AssertionError:
            continue
        raise AssertionError("taken: %r" % bad)


# ---- JSON ----

def check_json(stat, rates):
    extra = {"uuid", "by_topic", "held_back"}
    assert stat.keys() == extra | set(NUMBERS), stat.keys() ^ (extra | set(NUMBERS))
    assert all(type(stat[name]) is int for name in NUMBERS), stat
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", stat["uuid"])
    schema = dict(OF_TOPIC, **RATES) if rates else OF_TOPIC
    for topic in stat["by_topic"]:
        assert topic.keys() == schema.keys(), topic
        assert all(type(topic[name]) is kind for name, kind in schema.items()), topic
        assert topic["data_bytes"] <= topic["bytes"] and topic["sync"] in ("sync", "os"), topic
    assert len(stat["by_topic"]) == stat["topics"]
    assert sum(t["partitions"] for t in stat["by_topic"]) == stat["partitions"]
    assert sum(t["segments"] for t in stat["by_topic"]) == stat["segments"]
    assert sum(t["bytes"] for t in stat["by_topic"]) == stat["topics_bytes"]


# ---- Rates ----

def rates(folder):
    """A producer of known speed; the rates add up to what it appended."""
    path = folder + "/rates.beck"
    beck("topic", "create", path, "quiet")
    db = Db(path)
    topic = db.topic("busy", 1, 2)
    looks = subprocess.Popen([BECK, "stat", path, "0.2", "8", "--json"], stdout=subprocess.PIPE)
    text = subprocess.Popen([BECK, "stat", path, "0.2", "8"], stdout=subprocess.PIPE)
    time.sleep(0.1)
    sent, end = 0, time.monotonic() + 1.2
    while time.monotonic() < end:
        db.append(topic, b"v" * 100)
        sent += 1
        time.sleep(0.002)
    stats = [json.loads(line) for line in looks.communicate(timeout=30)[0].splitlines()]
    lines = [line.split("\t") for line in text.communicate(timeout=30)[0].decode().splitlines()]
    assert len(stats) == 8
    for stat in stats:
        check_json(stat, True)
    busy = [s["by_topic"][0] for s in stats]
    quiet = [s["by_topic"][1] for s in stats]
    assert {t["topic"] for t in busy} == {"busy"} and busy[-1]["records"] == sent
    assert all(t["records_per_second"] == t["bytes_per_second"] == 0 for t in quiet)
    assert busy[-1]["records_per_second"] == 0, "it goes on after the end"
    # Each rate belongs to its own span of time.
    for before, now, was, is_ in zip(stats, stats[1:], busy, busy[1:]):
        seconds = (now["taken_at"] - before["taken_at"]) / 1000
        got = is_["records_per_second"] * seconds
        want = is_["records"] - was["records"]
        assert abs(got - want) <= 1 + 0.1 * want, (got, want)
        assert is_["bytes_per_second"] >= 100 * is_["records_per_second"]
        assert is_["bytes_per_second"] <= 300 * is_["records_per_second"]
    # As text: the time, a line for a topic that moved, and one for all in each round.
    assert all(len(line) == 6 for line in lines), lines
    assert len([line for line in lines if line[1] == "(all)"]) == 8
    assert {line[1] for line in lines} == {"busy", "(all)"}
    assert lines[-1][1] == "(all)" and lines[-1][2] == "0.0" and lines[-1][4] == str(sent)
    db.close()
    print("rates: %d records" % sent)


def churn(path, logs):
    """While topics come and go, what is printed together belongs together."""
    Worker.program = build_worker(logs)
    workers = [Worker("churn", path, "%s/churn%d" % (logs, n), [], seed=n, batch=20, pause=200)
               for n in range(3)]
    end, looks = time.monotonic() + 0.3 * ROUNDS, 0
    while not os.path.exists(path):
        time.sleep(0.01)
    while time.monotonic() < end:
        check_json(json.loads(beck("stat", path, "--json")), False)
        parse_metrics(beck("stat", path, "--prometheus"))
        looks += 2
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.wait(10) in (0, -signal.SIGTERM), worker.log
    print("churn: %d looks" % looks)


# ---- Many topics ----

def thousand(folder):
    path = folder + "/many.beck"
    db = Db(path)
    for n in range(TOPICS):
        topic = db.topic("topic-%d" % n, 1, 2)
        if n % 10 == 0:
            db.append(topic, b"x")
    while_open = quick(path)
    db.close()
    with open(path, "rb") as file:
        before = hashlib.md5(file.read()).digest()
    closed = quick(path)
    with open(path, "rb") as file:
        assert hashlib.md5(file.read()).digest() == before, "a look changed the file"
    assert os.listdir(folder) == ["many.beck"]
    print("%d topics: %.0f ms while it is open, %.0f ms closed" % (
        TOPICS, 1000 * while_open, 1000 * closed))


def quick(path):
    """The longest look; all of them agree."""
    longest, seen = 0, []
    for words in ([], ["--json"], ["--prometheus"]):
        start = time.monotonic()
        seen.append(beck("stat", path, *words))
        longest = max(longest, time.monotonic() - start)
    assert longest < QUICK, "%.2f s" % longest
    stat = json.loads(seen[1])
    check_json(stat, False)
    assert stat["topics"] == TOPICS and sum(t["records"] for t in stat["by_topic"]) == TOPICS // 10
    samples, _ = parse_metrics(seen[2])
    assert sum(value for (name, _), value in samples.items()
               if name == "beck_records_total") == TOPICS // 10
    rows = seen[0].decode().split("\n\n")[1].splitlines()
    assert len(rows) == TOPICS and all(len(row.split("\t")) == 9 for row in rows)
    return longest


def main():
    folder, logs = folders()
    strictness()
    metrics(logs)
    rates(logs)
    churn(logs + "/churn.beck", logs)
    thousand(folder)
    shutil.rmtree(os.path.dirname(folder), ignore_errors=True)


main()
