"""crowd.py -- many workers on one file, round after round, and the judgement of each round

A round begins with begin() and ends with judge(). The logs of a round are a history of their own:
what the last audit found is what the next history begins with. What is done to the workers is
noted in the log `n.0`, for the judgement and for whoever looks for the cause of an anomaly."""
import os
import shutil
import signal
import subprocess

from harness import Worker, beck, now
from history import History


class Crowd:
    def __init__(self, path, logs, size, tolerated=()):
        self.path, self.top, self.size, self.tolerated = path, logs, size, tolerated
        self.born = self.kills = self.rounds = 0
        self.running, self.bad, self.last_audit = [], [], None
        self.begin()

    def wrong(self, text, *values):
        self.bad.append(text % values)

    # ---- Rounds ------------------------------------------------------------------------------

    def begin(self, path=None):
        """A new round, perhaps on another file, about which nothing is known."""
        if path:
            self.path, self.last_audit = path, None
        self.rounds += 1
        self.logs = os.path.join(self.top, "round%d" % self.rounds)
        os.mkdir(self.logs)
        if self.last_audit:
            with open(self.last_audit, encoding="latin-1") as audit:
                text = audit.read()
            with open(os.path.join(self.logs, "known.0"), "w", encoding="latin-1") as known:
                known.write(text.replace("U audit", "U known", 1))
            shutil.rmtree(os.path.dirname(self.last_audit))
            self.last_audit = None

    def note(self, text, *values):
        self.write("N %d %s" % (now(), text % values))

    def write(self, line):
        with open(os.path.join(self.logs, "n.0"), "a", encoding="latin-1") as log:
            log.write(line + "\n")

    def audit(self, path=None, name="z", prefix=(), **options):
        """Read all there is; the log of it is a part of the history."""
        log = os.path.join(self.logs, name)
        worker = Worker("audit", path or self.path, log, (), prefix, size=self.size, **options)
        if worker.wait(120) != 0:
            self.wrong("the audit %s ended with %s\n%s", name, worker.process.returncode,
                       worker.stacks())
            worker.signal(signal.SIGKILL)
        return log + ".0"

    def judge(self, **arguments):
        """The last audit, and what is wrong with the history."""
        self.last_audit = self.audit()
        history = History(self.logs, tolerated=self.tolerated, **arguments)
        self.bad += history.explain()
        return history

    # ---- Workers -----------------------------------------------------------------------------

    def spawn(self, kind, topics, prefix=(), program=None, **options):
        self.born += 1
        log = "%s/%s%d" % (self.logs, kind[0], self.born)
        worker = Worker(kind, self.path, log, topics, prefix, program, size=self.size, **options)
        worker.name, worker.stopped = os.path.basename(log), False
        self.running.append(worker)
        return worker

    def bury(self, worker, code):
        if code is None:
            self.wrong("%s is stuck: %s\n%s", worker.log, worker.words, worker.stacks())
            worker.signal(signal.SIGKILL)
            worker.wait(5)
        elif code not in (0, -signal.SIGTERM) and not (worker.killed and code == -signal.SIGKILL):
            self.wrong("%s ended with %d", worker.log, code)
        self.running.remove(worker)
        self.write("N %d ended %s" % (worker.ended or now(), worker.name))

    def bury_the_dead(self):
        for worker in [w for w in self.running if not w.alive()]:
            self.bury(worker, worker.process.returncode)

    def kill(self, victims):
        """All at once, then wait for all."""
        for worker in victims:
            worker.signal(signal.SIGKILL)
        self.note("kill %s", " ".join(w.name for w in victims))
        for worker in victims:
            self.bury(worker, worker.wait(60))
        self.kills += len(victims)

    def dismiss(self, seconds=30):
        """Everybody is asked to leave."""
        for worker in self.running:
            worker.signal(signal.SIGTERM)
        for worker in list(self.running):
            self.bury(worker, worker.wait(seconds))

    def delete(self, topic):
        start = now()
        self.write("D %s %d" % (topic, start))
        try:
            beck("topic", "delete", self.path, topic)
            self.write("d %s OK %d" % (topic, now()))
        except (AssertionError, subprocess.SubprocessError) as why:
            self.write("d %s UNKNOWN %d" % (topic, now()))
            self.wrong("%s", why)
