#!/usr/bin/env python3
"""install_test.py -- make install, programs built against what it installed, make uninstall"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from harness import BUILD, ROOT

PREFIX = "/opt/beck"
LIBDIR = PREFIX + "/lib/" + subprocess.check_output(["cc", "-print-multiarch"],
                                                    text=True).strip()
USE = os.path.join(ROOT, "test", "installed")
VERSION = re.search(r'BECK_VERSION "(.*)"',
                    open(os.path.join(ROOT, "include", "beck.h"), encoding="utf-8").read()).group(1)
WARNINGS = ["-Wall", "-Wextra", "-Werror"]


def run(*command, **environment):
    done = subprocess.run(command, env=dict(os.environ, **environment), capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 0, "%s: exit %d\n%s%s" % (
        " ".join(command), done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def make(target, root):
    run("make", "-s", "-C", ROOT, target, "BUILD=" + BUILD, "DESTDIR=" + root,
        "PREFIX=" + PREFIX, "LIBDIR=" + LIBDIR)


def uses(program, root, folder, needs):
    """It runs, says the version, and needs libbeck.so or does not."""
    path = os.path.join(folder, "use.beck")
    told = run(program, path, program, LD_LIBRARY_PATH=root + LIBDIR)
    assert told == "%s %s\n" % (VERSION, program), "%s says: %s" % (program, told)
    found = re.findall(r"NEEDED.*\[(libbeck.*)\]", run("readelf", "-d", program))
    assert found == (["libbeck.so.0"] if needs else []), "%s needs %s" % (program, found)


def with_pkg_config(root, folder):
    places = {"PKG_CONFIG_LIBDIR": root + LIBDIR + "/pkgconfig:" + SYSTEM_PC,
              "PKG_CONFIG_SYSROOT_DIR": root}
    assert run("pkg-config", "--modversion", "beck", **places).strip() == VERSION
    shared = run("pkg-config", "--cflags", "--libs", "beck", **places).split()
    static = run("pkg-config", "--static", "--cflags", "--libs", "beck", **places).split()
    assert "-lbeck" in shared and "-pthread" not in shared, shared
    assert "-pthread" in static, static
    source, copied = os.path.join(USE, "use.c"), os.path.join(folder, "use.cc")
    shutil.copy(source, copied)
    for name, compiler, file, flags, needs in (
            ("c", ["cc", "-std=c99"], source, shared, True),
            ("c++", ["g++", "-std=c++11"], copied, shared, True),
            ("c-static", ["cc", "-std=c99", "-static"], source, static, False),
            ("c++-static", ["g++", "-std=c++11", "-static"], copied, static, False)):
        program = os.path.join(folder, "by-pc-" + name)
        run(*compiler, *WARNINGS, file, "-o", program, *flags)
        uses(program, root, folder, needs)


def with_cmake(root, folder):
    if shutil.which("cmake") is None:
        print("note: install_test: cmake is not installed: find_package(beck) was not tested")
        return
    out = os.path.join(folder, "cmake")
    run("cmake", "-S", USE, "-B", out, "-DCMAKE_PREFIX_PATH=" + root + PREFIX)
    run("cmake", "--build", out)
    for name in ("c-shared", "c-static", "cxx-shared"):
        uses(os.path.join(out, name), root, folder, name.endswith("shared"))


def links(root):
    for link, target in (("libbeck.so", "libbeck.so.0"), ("libbeck.so.0", "libbeck.so." + VERSION)):
        assert os.readlink(os.path.join(root + LIBDIR, link)) == target, link
    assert os.path.isfile(os.path.join(root + LIBDIR, "libbeck.so." + VERSION))


def with_man(root):
    if shutil.which("man"):
        for page in ("beck_append", "beck_record", "3 beck", "1 beck"):
            found = run("man", "-M", root + PREFIX + "/share/man", "-w", *page.split())
            assert page.split()[-1] + "." in found, found


def files(root):
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(root)
                  for name in names)


def main(folder):
    root = os.path.join(folder, "root")
    make("install", root)
    links(root)
    assert run(root + PREFIX + "/bin/beck", "version").startswith("beck %s\n" % VERSION)
    assert os.path.isfile(root + PREFIX + "/share/bash-completion/completions/beck")
    assert os.path.isfile(root + PREFIX + "/share/doc/beck/LICENSE")
    strange = [path for path in files(root) if os.stat(path).st_mode & 0o022]
    assert not strange, "others may write %s" % strange
    for path in files(root):
        if path.endswith((".pc", ".cmake", ".h")):
            text = open(path, encoding="utf-8").read()
            assert folder not in text and BUILD not in text, "%s names a folder of ours" % path
            assert not re.search(r"@\w+@", text), "%s has an unfilled place" % path
    with_man(root)
    with_pkg_config(root, folder)
    with_cmake(root, folder)
    others = [os.path.join(root + PREFIX, "bin", "other"),
              os.path.join(root + PREFIX, "share", "doc", "beck", "notes")]
    for other in others:
        open(other, "w", encoding="utf-8").close()
    make("uninstall", root)
    assert files(root) == others, "make uninstall leaves %s of ours and others" % files(root)
    assert not os.path.exists(root + LIBDIR + "/cmake/beck"), "make uninstall leaves a folder"


if shutil.which("pkg-config") is None or shutil.which("g++") is None:
    print("pkg-config or g++ is not installed")
    sys.exit(77)
SYSTEM_PC = run("pkg-config", "--variable", "pc_path", "pkg-config").strip()
with tempfile.TemporaryDirectory() as place:
    main(place)
