#!/bin/sh
# dist_test.sh -- the release archives: the same bytes every time, complete, without strangers
cd "$TMPDIR" || exit 1
version=$(sed -n 's/^#define BECK_VERSION "\(.*\)"/\1/p' "$BECK_ROOT/include/beck.h")
top=beck-$version
single=beck-amalgamation-$version
failures=0
fail() {
    echo "$1"
    failures=$((failures + 1))
}

# dist SOURCES BUILD: the archives of a source tree
dist() {
    mkdir "$2" && cp "${BECK%/*}/beck.c" "${BECK%/*}/beck.h" "$2" || exit 1
    "$1/tool/dist" "$version" "$2" > said 2>&1 || { cat said; exit 1; }
}

dist "$BECK_ROOT" first
tar xzf "first/$top.tar.gz" || exit 1
find "$top" -exec touch -d 2001-01-01 {} +
umask 077
sleep 1 # gzip would keep the time in seconds
mkdir -p "$top/build/shell" "$top/debian/tmp" "$top/test/__pycache__"
touch "$top/mine.beck" "$top/build/shell/a.o" "$top/debian/tmp/a" "$top/test/__pycache__/a.pyc"
dist "$top" second # from the archive itself, where there is no git, at another time
umask 022
for name in "$top" "$single"; do
    cmp "first/$name.tar.gz" "second/$name.tar.gz" || fail "$name.tar.gz is not reproducible"
    tar tvzf "first/$name.tar.gz" | grep -Ev '^-rw(xr-x|-r--)r-[-x] 0/0|^-rwxr-xr-x 0/0' &&
        fail "$name.tar.gz: owners or modes of this machine"
    tar tzf "first/$name.tar.gz" | LC_ALL=C sort -c || fail "$name.tar.gz is not sorted"
    tar tzf "first/$name.tar.gz" | grep -E "/build/|\.beck$|__pycache__|\.git/|^/|^[^b]" &&
        fail "$name.tar.gz holds what is no source"
done
for file in Makefile LICENSE src/LAYERS include/beck.h packaging/packaging.mk test/run .ci/run; do
    test -f "$top/$file" || fail "$top.tar.gz lacks $file"
done
head -1 "$BECK_ROOT/packaging/debian/changelog" | grep -q "^beck ($version-[0-9]*) " ||
    fail "packaging/debian/changelog is not of version $version"

# The lines that its README shows make a library and a program.
tar xzf "first/$single.tar.gz" && cd "$single" || exit 1
sed -n 's/^    //p' README | sed 's/-O2/-O0 -Werror -Wall/' > lines
test "$(wc -l < lines)" -eq 2 || fail "README of the amalgamation: $(wc -l < lines) lines to type"
sh -e lines || fail "the lines of the amalgamation's README do not work"
test "$(./beck version | head -1)" = "beck $version" || fail "the amalgamation's beck does not run"
test "$failures" -eq 0
