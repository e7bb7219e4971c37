#!/bin/sh
# build_test.sh -- what the release offers others: its symbols, its name, a header for C99 and C++
lib=${BECK_LIB%.so}
failures=0
fail() {
    echo "$1"
    failures=$((failures + 1))
}
symbols() {
    nm "$@" | sed -n 's/.* [TDBRVW] \([^@]*\).*/\1/p' | sort
}

cd "$TMPDIR" || exit 1
cp "${lib%/*}/beck.h" .
sed -n 's/^BECK_API .*[ *]\(beck_[a-z_0-9]*\)(.*/\1/p' beck.h | sort > declared
test -s declared || fail "no function is declared in beck.h"
symbols -D --defined-only "$lib.so" > shared
symbols -g --defined-only "$lib.a" > static
diff declared shared || fail "libbeck.so: < declared only, > exported only"
diff declared static || fail "libbeck.a: < declared only, > exported only"
readelf -d "$lib.so" | grep -q 'SONAME.*\[libbeck.so.0\]' || fail "libbeck.so has another SONAME"

echo '#include "beck.h"' > header.c
gcc -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only header.c || fail "beck.h is not C99"
cp header.c header.cc
echo 'int main() { return beck_version_number() != BECK_VERSION_NUMBER; }' >> header.cc
g++ -Wall -Wextra -Werror header.cc "$lib.so" -o header || fail "beck.h is not C++"
LD_LIBRARY_PATH=${lib%/*} ./header || fail "header and library are of different versions"
test "$failures" -eq 0
