"""filesystems.py -- small file systems to test on: made, filled, copied on, mounted read-only

Everything is mounted in a mount namespace of this process, so that nothing is left when it ends,
however it ends: call private_mounts() first."""
import os
import shutil
import subprocess
import sys


class Missing(Exception):
    """Why a file system or a way to copy is not there."""


def private_mounts():
    """Go on in a mount namespace of one's own; says why not when that is impossible."""
    if os.environ.get("BECK_PRIVATE_MOUNTS"):
        return None
    if os.geteuid() != 0:
        return "mounting needs root"
    if subprocess.call(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL) != 0:
        return "unshare --mount is not allowed here"
    os.environ["BECK_PRIVATE_MOUNTS"] = "1"
    os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])


def run(*words):
    if shutil.which(words[0]) is None:
        raise Missing("%s is not installed" % words[0])
    done = subprocess.run(words, capture_output=True)
    if done.returncode != 0:
        raise Missing("%s: %s" % (" ".join(words[:2]),
                                  done.stderr.decode(errors="replace").strip()[-200:]))


#   name          MiB  how it is made, and mounted
KINDS = {
    "ext4":      (64, ["mkfs.ext4", "-q", "-F", "-m", "0"], ""),
    "xfs":       (320, ["mkfs.xfs", "-q", "-f"], ""),
    "btrfs":     (256, ["mkfs.btrfs", "-q", "-f"], ""),
    "tmpfs":     (64, None, "size=64m"),
    "overlayfs": (64, ["mkfs.ext4", "-q", "-F", "-m", "0"], ""),
    "ext4-1k":   (64, ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "1024"], ""),
    "ext4-bigalloc": (96, ["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "bigalloc", "-C", "65536"],
                      ""),
    "ext2":      (64, ["mkfs.ext2", "-q", "-F", "-m", "0"], ""),  # has no fallocate
    "xfs-noreflink": (320, ["mkfs.xfs", "-q", "-f", "-m", "reflink=0"], ""),
    "btrfs-zstd": (256, ["mkfs.btrfs", "-q", "-f"], "compress-force=zstd"),
}
USUAL = ["ext4", "xfs", "btrfs", "tmpfs", "overlayfs"]


class FileSystem:
    """One mounted file system; `folder` is where files go."""

    def __init__(self, kind, top):
        self.kind, self.top = kind, os.path.join(top, kind)
        size, make, options = KINDS[kind]
        self.mount_point = os.path.join(self.top, "mount")
        os.makedirs(self.mount_point)
        if make is None:
            run("mount", "-t", kind, "-o", options, "none", self.mount_point)
        else:
            image = os.path.join(self.top, "image")
            with open(image, "wb") as file:
                file.truncate(size << 20)
            run(*make, image)
            at = self.mount_point if kind != "overlayfs" else os.path.join(self.top, "disk")
            os.makedirs(at, exist_ok=True)
            run("mount", "-o", "loop" + ("," + options if options else ""), image, at)
            os.unlink(image)  # the loop device keeps it, until the mount ends
        if kind == "overlayfs":
            parts = [os.path.join(self.top, "disk", name) for name in ("lower", "upper", "work")]
            for part in parts:
                os.mkdir(part)
            run("mount", "-t", "overlay", "-o", "lowerdir=%s,upperdir=%s,workdir=%s" % tuple(parts),
                "none", self.mount_point)
        self.folder = os.path.join(self.mount_point, "db")
        if kind.startswith("btrfs"):  # so that it can be snapshotted
            run("btrfs", "subvolume", "create", self.folder)
        else:
            os.mkdir(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def close(self):
        for at in (self.mount_point, os.path.join(self.top, "disk")):
            if os.path.ismount(at):
                subprocess.call(["umount", "--lazy", at])

    # ---- Space ------------------------------------------------------------------------------

    def leave(self, megabytes):
        """Leave about so much room."""
        stat = os.statvfs(self.mount_point)
        room = stat.f_bavail * stat.f_frsize - (megabytes << 20)
        if room > 0:
            with open(os.path.join(self.mount_point, "ballast"), "wb") as file:
                os.posix_fallocate(file.fileno(), 0, room)
        self.settle()

    def fill(self):
        """Leave no room for anything, by a file beside the others."""
        noise = os.urandom(1 << 20)  # some compress
        with open(os.path.join(self.mount_point, "ballast"), "ab", buffering=0) as file:
            size, step = file.tell(), 64 << 20
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step
                except OSError:
                    step //= 2
            full = 0
            while full < 3:  # some find room again when all is on the device
                for step in (1 << 20, 4096):
                    try:
                        while True:
                            size += os.pwrite(file.fileno(), noise[:step], size)
                            full = 0
                    except OSError:
                        pass
                full += 1
                self.settle()

    def drain(self):
        """Take the ballast away."""
        try:
            os.unlink(os.path.join(self.mount_point, "ballast"))
        except FileNotFoundError:
            pass
        self.settle()

    def settle(self):
        """All pages clean: the next store has to ask the file system again."""
        fd = os.open(self.mount_point, os.O_RDONLY)
        try:
            subprocess.call(["sync", "-f", self.mount_point])
        finally:
            os.close(fd)

    def clear(self):
        self.drain()
        for top in (self.mount_point, self.folder):
            for name in os.listdir(top):
                path = os.path.join(top, name)
                if os.path.isdir(path) and path != self.folder and name.startswith("snapshot"):
                    run("btrfs", "subvolume", "delete", path)
                elif os.path.isfile(path):
                    os.unlink(path)
        self.settle()

    # ---- Copies -----------------------------------------------------------------------------

    def sparse_copy(self, name, to):
        run("cp", "--sparse=always", "--reflink=never", self.path(name), self.path(to))
        return self.path(to)

    def reflink_copy(self, name, to):
        open(self.path(to), "wb").close()
        if self.kind.startswith("btrfs"):  # the flag has to be that of the original
            run("chattr", "+C", self.path(to))
        try:
            run("cp", "--reflink=always", self.path(name), self.path(to))
        except Missing:
            os.unlink(self.path(to))
            raise Missing("no reflinked copies there")
        return self.path(to)

    def snapshot(self, name, to):
        if not self.kind.startswith("btrfs"):
            raise Missing("no snapshots")
        run("btrfs", "subvolume", "snapshot", self.folder, os.path.join(self.mount_point, to))
        return os.path.join(self.mount_point, to, name)

    # ---- Read-only --------------------------------------------------------------------------

    def readonly(self, yes):
        self.settle()
        run("mount", "-o", "remount," + ("ro" if yes else "rw"), self.mount_point)


class FailingDisk(FileSystem):
    """A file system in an image on a tmpfs. When others fill that, writes to the device fail."""

    # Blocks of a page each, and no request of more (see attach): what a loop device writes in part
    # it calls written. And a journal: without one, a sync may succeed while metadata are lost.
    KINDS = {"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-J", "size=4", "-E",
                      "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
             "xfs": ["mkfs.xfs", "-q", "-f", "-s", "size=4096"]}
    SIZES = {"xfs": 320}  # MiB

    def __init__(self, kind, top):
        self.kind, self.top = kind, os.path.join(top, kind + "-failing")
        size = self.SIZES.get(kind, 128)
        self.under, self.mount_point = (os.path.join(self.top, n) for n in ("under", "mount"))
        os.makedirs(self.under)
        os.makedirs(self.mount_point)
        # There is room for all of the device: it fails when somebody else takes it, and only then.
        run("mount", "-t", "tmpfs", "-o", "size=%dm" % (size + 16), "none", self.under)
        with open(os.path.join(self.under, "image"), "wb") as file:
            file.truncate(size << 20)
        run(*self.KINDS[kind], os.path.join(self.under, "image"))
        self.attach()
        self.folder = os.path.join(self.mount_point, "db")
        os.mkdir(self.folder)

    def attach(self):
        run("mount", "-o", "loop", os.path.join(self.under, "image"), self.mount_point)
        source = subprocess.check_output(["findmnt", "-n", "-o", "SOURCE", self.mount_point])
        device = os.path.basename(source.decode().strip())
        with open("/sys/block/%s/queue/max_sectors_kb" % device, "w", encoding="ascii") as file:
            file.write("4")

    def fail(self):
        """From now on what is written where nothing was written before does not arrive."""
        with open(os.path.join(self.under, "ballast"), "ab", buffering=0) as file:
            for step in (1 << 20, 4096):
                try:
                    while True:
                        file.write(bytes(step))
                except OSError:
                    pass

    def heal(self):
        if os.path.exists(os.path.join(self.under, "ballast")):
            os.unlink(os.path.join(self.under, "ballast"))

    def read_only(self):
        """Some file systems give up after an error."""
        return bool(os.statvfs(self.mount_point).f_flag & os.ST_RDONLY) or not os.access(
            self.folder, os.W_OK)

    def reattach(self):
        """Nothing is left in the page cache: what is read now was on the device."""
        run("umount", self.mount_point)
        self.attach()

    def close(self):
        for at in (self.mount_point, self.under):
            if os.path.ismount(at):
                subprocess.call(["umount", "--lazy", at])


class SnapshotDisk(FileSystem):
    """A file system in an image on an xfs, where the image can be cloned at one moment: a clone is
    what a power loss would have left on the device, had it no cache of its own."""

    KINDS = {"ext4": (128, ["mkfs.ext4", "-q", "-F", "-m", "0"], "loop"),
             "xfs": (320, ["mkfs.xfs", "-q", "-f"], "loop,nouuid")}

    def __init__(self, kind, top):
        self.kind, self.top = kind, os.path.join(top, kind + "-snapshots")
        size, make, self.options = self.KINDS[kind]
        self.under, self.mount_point, self.crashed = (
            os.path.join(self.top, n) for n in ("under", "mount", "crashed"))
        for folder in (self.under, self.mount_point, self.crashed):
            os.makedirs(folder)
        outer = os.path.join(self.top, "outer")
        with open(outer, "wb") as file:
            file.truncate(3 * size + 320 << 20)
        run("mkfs.xfs", "-q", "-f", "-m", "reflink=1", outer)
        run("mount", "-o", "loop", outer, self.under)
        os.unlink(outer)
        self.image, self.clone = (os.path.join(self.under, n) for n in ("image", "clone"))
        with open(self.image, "wb") as file:
            file.truncate(size << 20)
        run(*make, self.image)
        run("mount", "-o", self.options, self.image, self.mount_point)
        self.folder = os.path.join(self.mount_point, "db")
        os.mkdir(self.folder)

    def power_loss(self):
        """Mount what would be there after a power loss now; the folder of the files in it."""
        run("cp", "--reflink=always", self.image, self.clone)
        run("mount", "-o", self.options, self.clone, self.crashed)
        return os.path.join(self.crashed, "db")

    def forget(self):
        run("umount", self.crashed)
        os.unlink(self.clone)

    def close(self):
        for at in (self.crashed, self.mount_point, self.under):
            if os.path.ismount(at):
                subprocess.call(["umount", "--lazy", at])
