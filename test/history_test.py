#!/usr/bin/env python3
"""history_test.py -- the checker of histories: each anomaly made by hand is found, a clean one not

A history is {log: lines}. CLEAN is one that is right; each case changes some of its lines."""
import os
import sys
import tempfile
import time

from history import NEVER, History

# Two producers, a follower that was there from the beginning, and the audit. p.0:1 has two records.
# What was refused, q.0:1, is not there; of what was unknown when q was killed, q.0:2, it is.
CLEAN = {
    "p.0": ["T t-os-2 7 10 10", "I 0 t-os-2 0 1 100 -", "A 0 0 101 110", "I 1 t-os-2 0 2 120 -",
            "A 1 1 121 130", "I 2 t-os-2 1 1 140 -", "A 2 0 141 150", "X"],
    "q.0": ["T t-os-2 7 11 11", "I 0 t-os-2 -2 1 200 -", "A 0 3 201 210",
            "I 1 t-os-2 0 1 220 -", "E 1 FULL 221 222 no space left", "I 2 t-os-2 0 1 230 -"],
    "c.0": ["T t-os-2 7 12 12", "O 0 20", "B t-os-2 0 0", "B t-os-2 1 0",
            "R t-os-2 0 0 100 131 p.0:0:0:1:1 p.0:1:0:1:2", "R t-os-2 0 2 132 133 p.0:1:1:1:2",
            "R t-os-2 1 0 140 151 p.0:2:0:1:1", "Z 160 161", "R t-os-2 0 3 200 211 q.0:0:0:1:1",
            "Z 215 216", "X"],
    "n.0": ["N 90 stop c", "N 91 continue c", "C x-sync-1 300", "c x-sync-1 OK 301",
            "D x-sync-1 302", "d x-sync-1 OK 303"],
    "z.0": ["U audit 0 0", "T t-os-2 7 900 900", "O 0 900", "B t-os-2 0 0", "B t-os-2 1 0",
            "R t-os-2 0 0 901 902 p.0:0:0:1:1 p.0:1:0:2:2 q.0:0:0:1:1 q.0:2:0:1:1",
            "R t-os-2 1 0 903 904 p.0:2:0:1:1", "Z 905 906", "X"],
}
CUT = ["z.0", "q.0:0:0:1:1 q.0:2:0:1:1", ""]  # the last two records of partition 0 are gone
POISON = [["q.0", "E 1 FULL", "E 1 POISONED"], ["p.0", "X", "S POISONED sync"]]

# what: anomalies, changes of CLEAN as [log, old, new], and of the checker's arguments
CASES = [
    ("clean", "", []),
    ("cut line", "", [["q.0", "I 2 t-os-2 0 1 230 -", "I 2 t-os-2 0 1 230 -\nA 2 4 231|"]]),
    ("unknown append that did not happen", "", [["z.0", " q.0:2:0:1:1", ""]]),
    ("acknowledged record is gone from the end", "lost",
     [["z.0", "q.0:0:0:1:1 q.0:2:0:1:1", ""]]),
    ("whole partition is gone", "lost",
     [["z.0", "R t-os-2 1 0 903 904 p.0:2:0:1:1\n", ""]]),
    ("record that was only read is gone", "lost",
     [["c.0", "Z 215 216", "R t-os-2 0 4 240 241 q.0:2:0:1:1"], ["z.0", " q.0:2:0:1:1", ""]]),
    ("hole in the audit", "lost skipped",
     [["z.0", "p.0:1:0:2:2 q.0:0:0:1:1 q.0:2:0:1:1",
       "\nR t-os-2 0 3 901 902 q.0:0:0:1:1 q.0:2:0:1:1"]]),
    ("one value at two offsets", "duplicated", [["z.0", "q.0:2:0:1:1", "q.0:0:0:1:1"]]),
    ("one value in two partitions", "duplicated",
     [["z.0", "904 p.0:2:0:1:1", "904 p.0:2:0:1:1 p.0:0:0:1:1"]]),
    ("another partition", "misplaced", [["p.0", "I 2 t-os-2 1", "I 2 t-os-2 0"]]),
    ("one offset, two values", "inconsistent lost",
     [["c.0", "211 q.0:0:0:1:1", "211 q.0:2:0:1:1"], ["z.0", " q.0:2:0:1:1", ""],
      ["c.0", "Z 215 216\n", ""]]),
    ("acknowledged at another offset", "inconsistent unseen", [["q.0", "A 0 3", "A 0 4"]]),
    ("order of a producer", "reordered",
     [["p.0", "A 0 0", "A 0 2"], ["p.0", "A 1 1", "A 1 0"],
      ["z.0", "p.0:0:0:1:1 p.0:1:0:2:2", "p.0:1:0:2:2 p.0:0:0:1:1"],
      ["c.0", "p.0:0:0:1:1 p.0:1:0:1:2", "p.0:1:0:2:2"],
      ["c.0", "R t-os-2 0 2 132 133 p.0:1:1:1:2", "R t-os-2 0 2 132 133 p.0:0:0:1:1"]]),
    ("order in real time", "reordered unseen",
     [["q.0", "I 0 t-os-2 -2 1 200", "I 0 t-os-2 -2 1 80"],
      ["q.0", "A 0 3 201 210", "A 0 3 81 95"]]),
    ("order inside a batch", "torn duplicated lost",
     [["z.0", "p.0:1:0:2:2", "p.0:1:1:1:2 p.0:1:0:1:2"]]),
    ("another life of the topic", "stale",
     [["q.0", "T t-os-2 7 11 11", "T t-os-2 6 11 11"],
      ["n.0", "D x-sync-1 302", "D t-os-2 5\nD x-sync-1 302"]]),
    ("another topic", "stale", [["q.0", "I 2 t-os-2", "I 2 u-os-2"]]),
    ("bytes that nobody wrote", "torn", [["c.0", "Z 160 161", "W t-os-2 0 3 zzz"]]),
    ("half of a batch at the end", "torn lost",
     [["z.0", "p.0:1:0:2:2 q.0:0:0:1:1 q.0:2:0:1:1", "p.0:1:0:1:2"], ["q.0", "A 0 3 201 210", "X"],
      ["c.0", "R t-os-2 0 3 200 211 q.0:0:0:1:1\nZ 215 216\n", ""]]),
    ("half of a batch amid others", "torn inconsistent duplicated lost",
     [["z.0", "p.0:1:0:2:2", "p.0:1:0:1:2"]]),
    ("refused, but there", "aborted", [["z.0", "q.0:2:0:1:1", "q.0:1:0:1:1"]]),
    ("never begun", "phantom", [["z.0", "q.0:2:0:1:1", "q.0:2:0:1:1 v.0:0:0:1:1"]]),
    ("records left out", "skipped",
     [["c.0", "R t-os-2 0 2 132 133 p.0:1:1:1:2\n", ""], ["c.0", "Z 160 161\n", ""]]),
    ("begins too late", "skipped", [["c.0", "B t-os-2 1 0", "B t-os-2 1 1"],
                                    ["c.0", "R t-os-2 1 0 140 151 p.0:2:0:1:1\n", ""]]),
    ("a consumer that goes back", "repeated",
     [["c.0", "R t-os-2 0 3", "R t-os-2 0 2 134 135 p.0:1:1:1:2\nR t-os-2 0 3"]]),
    ("a gap without a cause", "gap",
     [["c.0", "R t-os-2 0 2 132 133 p.0:1:1:1:2", "G t-os-2 0 2 3 1"]]),
    ("a gap in what is still there", "gap",
     [["c.0", "R t-os-2 0 2 132 133 p.0:1:1:1:2", "G t-os-2 0 2 3 2"]]),
    ("a gap in a topic that is being deleted", "",
     [["c.0", "R t-os-2 0 2 132 133 p.0:1:1:1:2", "G t-os-2 0 2 3 2"],
      ["n.0", "d x-sync-1 OK 303", "d x-sync-1 OK 303\nD t-os-2 140"]]),
    ("acknowledged, and not seen by a poll", "unseen",
     [["c.0", "R t-os-2 1 0 140 151 p.0:2:0:1:1\n", ""]]),
    ("acknowledged while the poll was under way", "",
     [["c.0", "R t-os-2 1 0 140 151 p.0:2:0:1:1\n", ""], ["c.0", "Z 160", "Z 150"],
      ["c.0", "Z 215", "Z 150"]]),
    ("opened at the end, before it", "unseen", [["c.0", "O 0 20", "O 1 160"]]),
    ("deleted, and there", "topic",
     [["z.0", "U audit 0 0", "U audit 0 0\nT x-sync-1 9 800 800\nO 0 800\nB x-sync-1 0 0"]]),
    ("created, and not there", "topic", [["n.0", "d x-sync-1 OK", "d x-sync-1 FULL"]]),
    ("created twice", "topic", [["q.0", "T t-os-2 7 11 11\n", "T t-os-2 7 11 11\nT t-os-2 8 12 12\n"
                                 "T t-os-2 7 13 13\n"]]),
    ("a call that failed", "refused", [["q.0", "E 1 FULL", "E 1 IO"]]),
    ("anything that is said", "refused", [["c.0", "X", "S CORRUPT poll damaged"]]),
    ("cut off by a failed sync", "", POISON + [CUT], {"poisoned": True}),
    ("acknowledged after a failed sync", "believed",
     [["q.0", "E 1 FULL 221 222 no space left", "E 1 POISONED 221 222 a sync failed"],
      ["q.0", "I 2 t-os-2 0 1 230 -", "I 2 t-os-2 0 1 230 -\nA 2 4 231 232"]], {"poisoned": True}),
    ("acknowledged after a failed sync and a new beginning", "",
     [["q.0", "E 1 FULL 221 222 no space left", "E 1 POISONED 221 222 a sync failed"],
      ["n.0", "N 91", "N 229 reopened\nN 91"],
      ["q.0", "I 2 t-os-2 0 1 230 -", "I 2 t-os-2 0 1 230 -\nA 2 4 231 232"]], {"poisoned": True}),
    ("cut off, and its offset given to another", "",
     POISON + [CUT, ["n.0", "N 91", "N 400 reopened\nN 91"],
               ["y.0", "", "U look 0 0\nT t-os-2 7 401 401\nO 0 401\nB t-os-2 0 0\nB t-os-2 1 0\n"
                "R t-os-2 0 0 402 403 p.0:0:0:1:1 p.0:1:0:2:2\nR t-os-2 1 0 403 404 "
                "p.0:2:0:1:1\nZ 405 406"],
               ["v.0", "", "T t-os-2 7 410 410\nI 0 t-os-2 0 1 411 -\nA 0 3 412 413\nY 414 415"],
               ["z.0", "p.0:1:0:2:2 ", "p.0:1:0:2:2 v.0:0:0:1:1"]], {"poisoned": True}),
    ("cut off without one", "lost refused", POISON + [CUT]),
    ("stable by a sync of the file", "lost",
     POISON + [CUT, ["q.0", "E 1", "Y 215 216\nE 1"]], {"poisoned": True}),
    ("stable by its own class", "lost", POISON + [CUT, ["q.0", "1 200 -", "1 200 sync"]],
     {"poisoned": True}),
    ("not the last of the partition", "lost skipped",
     POISON + [["z.0", "q.0:0:0:1:1 q.0:2:0:1:1", "\nR t-os-2 0 4 901 902 q.0:2:0:1:1"]],
     {"poisoned": True}),
    ("in a sync topic", "lost",
     POISON + [CUT] + [[log, "t-os-2", "t-sync-2"] for log in ("p.0", "q.0", "c.0", "z.0")],
     {"poisoned": True}),
    ("what was there before", "",
     [["k.0", "", "U known 0 0\nT t-os-2 7 0 0\nR t-os-2 0 0 0 0 o.0:5:0:1:2\n"
       "R t-os-2 0 1 0 0 o.0:5:1:1:2"]] +
     [["p.0", "A 0 0", "A 0 2"], ["p.0", "A 1 1", "A 1 3"], ["q.0", "A 0 3", "A 0 5"],
      ["c.0", "O 0 20", "O 2 20"], ["c.0", "B t-os-2 0 0", "B t-os-2 0 2"],
      ["c.0", "R t-os-2 0 3", "R t-os-2 0 5"], ["c.0", "R t-os-2 0 2", "R t-os-2 0 4"],
      ["c.0", "R t-os-2 0 0", "R t-os-2 0 2"], ["z.0", "902 p", "902 o.0:5:0:2:2 p"]]),
    ("what was there before is not", "lost",
     [["k.0", "", "U known 0 0\nT t-os-2 7 0 0\nR t-os-2 2 0 0 0 o.0:5:0:9:9"]]),
    ("a copy is a prefix", "",
     [["y.0", "", "U copy 0 0\nT t-os-2 7 0 0\nO 0 500\nB t-os-2 0 0\nR t-os-2 0 0 500 501 "
       "p.0:0:0:1:1 p.0:1:0:2:2\nZ 505 506"]]),
    ("a copy with a hole", "skipped",
     [["y.0", "", "U copy 0 0\nT t-os-2 7 0 0\nO 0 500\nB t-os-2 0 0\nR t-os-2 0 1 500 501 "
       "p.0:1:0:2:2\nZ 505 506"]]),
    ("after a power loss, of an os topic", "",
     [["w.0", "", "U crash 215 217\nT t-os-2 7 0 0\nO 0 500\nB t-os-2 0 0\nR t-os-2 0 0 500 501 "
       "p.0:0:0:1:1\nZ 505 506"]]),
    ("after a power loss, of a sync topic", "forgotten",
     [["w.0", "", "U crash 215 217\nT t-os-2 7 0 0\nO 0 500\nB t-os-2 0 0\nR t-os-2 0 0 500 501 "
       "p.0:0:0:1:1\nZ 505 506"]] +
     [[log, "t-os-2", "t-sync-2"] for log in ("p.0", "q.0", "c.0", "z.0", "w.0")]),
    ("a topic after a power loss", "forgotten",
     [["w.0", "", "U crash 215 217"], ["p.0", "1 140 -", "1 140 sync"]]),
    ("after a power loss, synced", "forgotten",
     [["w.0", "", "U crash 215 217\nT t-os-2 7 0 0\nO 0 500\nB t-os-2 0 0\nR t-os-2 0 0 500 501 "
       "p.0:0:0:1:1\nZ 505 506"], ["c.0", "Z 160", "Y 135 139\nZ 160"]]),
    ("a copy with half of a batch", "torn",
     [["y.0", "", "U copy 0 0\nT t-os-2 7 0 0\nO 0 500\nB t-os-2 0 0\nR t-os-2 0 0 500 501 "
       "p.0:0:0:1:1 p.0:1:0:1:2\nZ 505 506"]]),
]


def write(folder, changes):
    logs = {name: "\n".join(lines) + "\n" for name, lines in CLEAN.items()}
    for log, old, new in changes:
        assert old in logs.get(log, ""), "%s has no %r" % (log, old)
        logs[log] = logs.get(log, "").replace(old, new) if old else new + "\n"
    for name, text in logs.items():
        with open(os.path.join(folder, name), "w", encoding="latin-1") as file:
            file.write(text.replace("|\n", ""))  # where a kill has cut a line


def case(name, wanted, changes, arguments=None):
    with tempfile.TemporaryDirectory() as folder:
        write(folder, changes)
        history = History(folder, tolerated=["FULL", "POISONED"] if arguments else ["FULL"],
                          **(arguments or {}))
    got = set(anomaly for anomaly, _ in history.anomalies)
    if got != set(wanted.split()):
        print("%s: wanted {%s}, got\n    %s" % (name, wanted, "\n    ".join(history.explain())))
        sys.exit(1)
    return history


def speed():
    """A million operations in half a minute is what a long run needs; a tenth is measured."""
    appends = 60000
    with tempfile.TemporaryDirectory() as folder:
        logs = {"p.0": ["T t-os-1 7 0 0"], "c.0": ["T t-os-1 7 0 0", "O 0 1", "B t-os-1 0 0"],
                "z.0": ["U audit 0 0", "T t-os-1 7 9 9", "O 0 9", "B t-os-1 0 0"]}
        for n in range(appends):
            logs["p.0"] += ["I %d t-os-1 0 1 %d -" % (n, 10 * n + 10),
                            "A %d %d %d %d" % (n, n, 10 * n + 11, 10 * n + 12)]
            read = "R t-os-1 0 %d %d %d p.0:%d:0:1:1" % (n, 10 * n + 10, 10 * n + 13, n)
            logs["c.0"].append(read)
            logs["z.0"].append(read)
        for name, lines in logs.items():
            with open(os.path.join(folder, name), "w", encoding="latin-1") as file:
                file.write("\n".join(lines) + "\n")
        start = time.process_time()
        history = History(folder)
        took = time.process_time() - start
    assert not history.anomalies, history.explain()
    operations = appends + history.counts["polls"]
    print("%d operations a second" % (operations / took))
    assert operations / took > 10000, took


def main():
    for row in CASES:
        case(*row)
    history = case(*CASES[0])
    assert history.counts["appends acknowledged"] == 4, history.counts
    assert history.counts["appends refused"] == 1 and history.counts["appends unknown"] == 1
    assert history.counts["records acknowledged"] == 5, history.counts
    assert history.lag[0] == 1 and history.lag[1].startswith("c.0"), history.lag
    assert NEVER > 1 << 60
    print("%d histories" % len(CASES))
    speed()
    return 0


sys.exit(main())
