#!/usr/bin/env python3
"""permission_test.py -- read-only files, folders and media, other users, closed standard streams

What needs root, another user or a loop device is skipped loudly where it is missing."""
import os
import shutil
import subprocess
import sys
import textwrap

from harness import (BECK, LIBRARY, ROOT, Db, beck, folders, open_to_all, skip)

NOBODY = "setpriv --reuid 65534 --regid 65534 --clear-groups".split()


class Ground:
    def __init__(self):
        self.folder, self.other = folders()
        open_to_all(self.folder), open_to_all(self.other)
        self.beck = shutil.copy(BECK, os.path.join(self.other, "beck"))
        self.path = os.path.join(self.folder, "p.beck")

    def fresh(self, mode=0o644, folder_mode=0o777):
        """A clean file with three records in topic t."""
        os.chmod(self.folder, 0o777)
        if os.path.exists(self.path):
            os.unlink(self.path)
        beck("produce", self.path, "t", data=b"a\nb\nc\n")
        os.chmod(self.path, mode)
        os.chmod(self.folder, folder_mode)

    def run(self, *words, prefix=(), data=b""):
        done = subprocess.run([*prefix, self.beck, *words], input=data, capture_output=True,
                              timeout=30)
        return done.returncode, done.stdout, done.stderr.decode()

    def reads(self, prefix=(), path=None):
        code, out, err = self.run("consume", path or self.path, "t", "-e", "-q", prefix=prefix)
        assert (code, out) == (0, b"a\nb\nc\n"), (code, out, err)

    def refused(self, words, *texts, prefix=()):
        code, out, err = self.run(*words, prefix=prefix, data=b"x\n")
        assert code not in (0, -11, -7) and all(text in err for text in texts), (code, err)


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


# ---- Another user --------------------------------------------------------------------------------

def other_users(g):
    g.fresh(0o644, 0o755)                       # read by all, written by its owner
    before = bytes_of(g.path)
    g.reads(NOBODY)
    g.refused(["produce", g.path, "t"], "no permission to write it", "read-only", prefix=NOBODY)
    assert bytes_of(g.path) == before
    g.refused(["produce", g.folder + "/new.beck", "t"], "cannot make a file in the folder",
              g.folder, prefix=NOBODY)
    g.refused(["consume", g.folder + "/new.beck", "t"], "no such file", prefix=NOBODY)

    g.fresh(0o666, 0o755)                       # a folder without write permission is enough
    code, _, err = g.run("produce", g.path, "t", prefix=NOBODY, data=b"d\n")
    assert code == 0, err

    g.fresh(0o644, 0o333)                       # a folder to write into, not to look into
    code, _, err = g.run("produce", g.folder + "/dropped.beck", "t", prefix=NOBODY, data=b"a\n")
    assert code == 0, err
    os.unlink(g.folder + "/dropped.beck")

    g.fresh(0o600)
    for words in (["consume", g.path, "t", "-e"], ["produce", g.path, "t"], ["stat", g.path]):
        g.refused(words, g.path, "no permission to read it", "user 0", "0600", prefix=NOBODY)

    g.fresh(0o644, 0o700)
    g.refused(["consume", g.path, "t", "-e"], "no permission to enter a folder", prefix=NOBODY)
    os.chmod(g.folder, 0o777)


def reader_beside_writer(g):
    """Another user's reader, in another user namespace, beside a writer."""
    for prefix in (NOBODY, NOBODY + ["unshare", "--user", "--map-root-user"]):
        if subprocess.run(prefix + ["true"], capture_output=True).returncode != 0:
            print("SKIPPED permission_test.py: user namespaces of another user")
            continue
        g.fresh(0o644, 0o755)
        db = Db(g.path)
        topic = db.topic("t")
        reader = subprocess.Popen(prefix + [g.beck, "consume", g.path, "t", "-o", "s@0", "-c", "5",
                                            "-f", "%s\\n", "-q"], stdout=subprocess.PIPE)
        got = [reader.stdout.readline() for _ in range(3)]
        for value in (b"one", b"two"):
            db.append(topic, value)
            got.append(reader.stdout.readline())
        assert reader.wait(10) == 0 and b"".join(got) == b"a\nb\nc\none\ntwo\n", got
        reader.stdout.close()
        db.close()


# ---- Files and media that nobody can write -------------------------------------------------------

def immutable(g):
    g.fresh()
    before = bytes_of(g.path)
    if subprocess.run(["chattr", "+i", g.path], capture_output=True).returncode != 0:
        print("SKIPPED permission_test.py: chattr +i")
        return
    try:
        g.reads()
        g.refused(["produce", g.path, "t"], "no permission to write it", "read-only")
        assert bytes_of(g.path) == before
    finally:
        subprocess.check_call(["chattr", "-i", g.path])


def crash(path):
    """Append and die without closing."""
    code = "import sys, os; sys.path.insert(0, %r); from harness import Db; db = Db(%r); " \
           "db.append(db.topic('t'), b'd'); os._exit(0)" % (os.path.join(ROOT, "test"), path)
    subprocess.check_call([sys.executable, "-c", code])


def check_media(g, script, path, mounted):
    """`script` makes the folder read-only in a mount namespace of its own, then runs its words."""
    enter = ["unshare", "--mount", "sh", "-c", script + ' && exec "$@"', "sh"]
    if subprocess.run(enter + ["true"], capture_output=True).returncode != 0:
        print("SKIPPED permission_test.py: %s" % mounted)
        return
    before = bytes_of(path) if os.path.exists(path) else None
    code, out, err = g.run("consume", path, "t", "-e", "-q", prefix=enter)
    assert code == 0 and out.startswith(b"a\nb\nc\n"), (mounted, code, out, err)
    g.refused(["produce", path, "t"], "the file system is read-only", "may be opened read-only",
              prefix=enter)
    g.refused(["produce", os.path.dirname(path) + "/new.beck", "t"],
              "cannot make a file in the folder", "Read-only file system", prefix=enter)
    code, out, err = g.run("check", path, prefix=enter)
    assert code == 0, (mounted, out, err)
    assert before is None or bytes_of(path) == before


def read_only_media(g):
    for crashed in (False, True):
        g.fresh()
        if crashed:
            crash(g.path)
        check_media(g, "mount --bind %s %s && mount -o remount,ro,bind %s" % ((g.folder,) * 3),
                    g.path, "read-only bind mounts")
        image, there = g.other + "/image", g.other + "/media"
        os.makedirs(there, exist_ok=True)
        subprocess.check_call(["truncate", "-s", "8M", image])
        if shutil.which("mkfs.ext4") is None:
            print("SKIPPED permission_test.py: mkfs.ext4")
            continue
        subprocess.check_call(["mkfs.ext4", "-q", "-F", "-d", g.folder, image])
        check_media(g, "mount -o ro,loop %s %s" % (image, there), there + "/p.beck",
                    "loop devices")
        os.unlink(image)


def bind_mounted(g):
    """One file by two paths, in two mount namespaces: the same locks, the same records."""
    g.fresh()
    db = Db(g.path)
    enter = 'mount --bind %s /mnt && exec "$@"' % g.folder
    prefix = ["unshare", "--mount", "sh", "-c", enter, "sh"]
    if subprocess.run(prefix + ["true"], capture_output=True).returncode != 0:
        print("SKIPPED permission_test.py: mount namespaces")
        return db.close()
    code, out, err = g.run("produce", "/mnt/p.beck", "t", prefix=prefix, data=b"there\n")
    assert code == 0, err
    assert db.append(db.topic("t"), b"here") == 4
    code, out, err = g.run("stat", "/mnt/p.beck", "--json", prefix=prefix)
    assert code == 0 and b'"handles":1' in out.replace(b" ", b""), (out, err)
    db.close()
    assert beck("consume", g.path, "t", "-e", "-q").endswith(b"c\nthere\nhere\n")


# ---- Descriptors 0 to 2 --------------------------------------------------------------------------

LIBRARY_WITHOUT_STREAMS = """
    import os, sys
    sys.path.insert(0, %r)
    from harness import Db
    path, result, closed = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY), sys.argv[3:]
    for number in map(int, closed):
        os.close(number)
    db = Db(path)
    topic = db.topic("t")
    for i in range(50):
        db.append(topic, b"v%%d" %% i)
    for number in map(int, closed):
        try:
            os.write(number, b"printed into the file?" * 1000)
            os.write(result, b"descriptor %%d is open" %% number)
        except OSError:
            pass
    db.close()
    os.write(result, b"done")
"""


def without_streams(g):
    for closed in ("0", "1", "2", "01", "12", "02", "012"):
        g.fresh()
        result = g.other + "/result"
        open(result, "w").close()
        code = textwrap.dedent(LIBRARY_WITHOUT_STREAMS) % os.path.join(ROOT, "test")
        subprocess.run([sys.executable, "-c", code, g.path, result, *closed], timeout=30)
        assert bytes_of(result) == b"done", (closed, bytes_of(result))
        beck("check", g.path)
        # The program: an error or a success, never a byte of its output in the file.
        streams = "".join(" %s&-" % {"0": "<", "1": ">", "2": "2>"}[number] for number in closed)
        for words in ("produce %s t" % g.path, "consume %s t -e" % g.path, "stat %s" % g.path,
                      "produce %s/no/x.beck t" % g.folder):
            subprocess.run(["sh", "-c", "%s %s %s" % (g.beck, words, streams)], timeout=30,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            beck("check", g.path)
        assert beck("consume", g.path, "t", "-e", "-q").startswith(b"a\nb\nc\nv0\n")


def main():
    assert os.path.exists(LIBRARY)
    g = Ground()
    without_streams(g)
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        skip("other users and media need root and setpriv")
    for test in (other_users, reader_beside_writer, immutable, read_only_media, bind_mounted):
        test(g)


if __name__ == "__main__":
    main()
