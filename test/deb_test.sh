#!/bin/sh
# deb_test.sh -- the Debian packages: built, looked over by lintian, installed, used and removed
#
# They are installed into a folder, with a copy of what this machine knows of its packages: their
# dependencies are checked, and nothing outside the folder changes.
skip() {
    echo "$1"
    exit 77
}
test "${ROUNDS:-3}" -ge 10 || skip "only make check-all builds the packages (ROUNDS=10)"
for tool in dpkg-buildpackage dh lintian; do
    command -v $tool > /dev/null || skip "$tool is not installed (dpkg-dev, debhelper, lintian)"
done
as_root=
test "$(id -u)" -eq 0 || { command -v fakeroot > /dev/null && as_root=fakeroot; } ||
    skip "needs root or fakeroot"

failures=0
fail() {
    echo "$1"
    failures=$((failures + 1))
}

cd "$TMPDIR" || exit 1
make -C "$BECK_ROOT" BUILD="$PWD/build" deb > built 2>&1 || { cat built; exit 1; }
grep -E '(dpkg-shlibdeps|dh_missing): warning' built && fail "see the warnings"
# No bug of Debian asks for the package yet.
lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs \
    build/deb/*.changes > linted 2>&1 || fail "lintian: $(cat linted)"

root=$PWD/root
library=$root/usr/lib/$(cc -print-multiarch)
mkdir -p "$root/var/lib" && cp -r /var/lib/dpkg "$root/var/lib/" || exit 1
find "$root" -name 'lock*' -delete
install_in_root() {
    $as_root dpkg --root="$root" --log="$PWD/log" --no-triggers --path-include="/usr/share/*" "$@" \
        > dpkg.out 2>&1 || { cat dpkg.out; fail "dpkg $*"; }
}
install_in_root -i build/deb/libbeck0_*.deb build/deb/libbeck-dev_*.deb build/deb/beck_*.deb

export LD_LIBRARY_PATH="$library"
installed=$root/usr/bin/beck
echo hello | "$installed" produce a.beck t || fail "the installed beck produces nothing"
test "$("$installed" consume a.beck t -e)" = hello || fail "the installed beck reads nothing"
readelf -d "$installed" | grep -q 'NEEDED.*libbeck.so.0' || fail "beck holds a library"
for file in "$installed" "$library/libbeck.so.0"; do
    readelf -d "$file" | grep -q NOW || fail "$file is not hardened"
done
for page in man1/beck.1 man3/beck.3 man3/beck_append.3; do
    gzip -t "$root/usr/share/man/$page.gz" || fail "$page is not installed"
done

export PKG_CONFIG_LIBDIR="$library/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
use=$BECK_ROOT/test/installed
cc -Wall -Wextra "$use/use.c" $(pkg-config --cflags --libs beck) -o used || fail "libbeck-dev: C"
./used use.beck compiled > said || fail "a program built with libbeck-dev: exit code $?"
if command -v cmake > /dev/null; then
    cmake -S "$use" -B cmake -DCMAKE_PREFIX_PATH="$root/usr" > made 2>&1 &&
        cmake --build cmake >> made 2>&1 && cmake/cxx-shared use.beck cmake > said ||
        { cat made; fail "libbeck-dev: CMake"; }
fi

install_in_root -P beck libbeck-dev libbeck0
left=$(find "$root" -path "$root/var/lib/dpkg" -prune -o ! -type d -print)
test -z "$left" || fail "removing leaves $left"
grep -q '^Package: libbeck0$' "$root/var/lib/dpkg/status" && fail "dpkg still knows libbeck0"
test "$failures" -eq 0
