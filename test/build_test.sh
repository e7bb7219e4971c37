#!/bin/sh
# build_test.sh -- what the release offers others: symbols, names, a header for C and C++, hardening
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
version=$(sed -n 's/^#define BECK_VERSION "\(.*\)"/\1/p' beck.h)
readelf -d "$lib.so" | grep -q 'SONAME.*\[libbeck.so.0\]' || fail "libbeck.so has another SONAME"
test "$(readlink "$lib.so")" = libbeck.so.0 || fail "libbeck.so is no link to libbeck.so.0"
test "$(readlink "$lib.so.0")" = "libbeck.so.$version" || fail "libbeck.so.0 is not $version"

# ---- The header, in every language it may be included from ----
echo '#include "beck.h"' > header.c
cp header.c header.cc
for std in c99 c11; do
    for compiler in gcc clang; do
        command -v $compiler > one || continue
        $compiler -std=$std -pedantic -Wall -Wextra -Werror -Wstrict-prototypes -Wundef \
            -fvisibility=hidden -fsyntax-only header.c || fail "beck.h is not $std for $compiler"
    done
done
cat > program.cc << 'END'
#include "beck.h"
#include <cstring>
int main()
{
    beck *db = NULL;
    beck_topic *topic = NULL;
    beck_record record = beck_record();
    record.value = "x";
    record.value_size = 1;
    record.partition = BECK_ANY_PARTITION;
    record.timestamp = BECK_NO_TIMESTAMP;
    int rc = beck_open("header.beck", NULL, &db);
    if (rc == BECK_OK) rc = beck_topic_open(db, "t", NULL, &topic);
    if (rc == BECK_OK) rc = beck_append(topic, &record, NULL);
    int closed = beck_close(db);
    if (std::strcmp(beck_status_name(BECK_CORRUPT), "CORRUPT") != 0) return 2;
    return rc != BECK_OK || closed != BECK_OK || beck_version_number() != BECK_VERSION_NUMBER;
}
END
for compiler in g++ clang++; do
    command -v $compiler > one || continue
    for std in 11 14 17 20; do
        $compiler -std=c++$std -pedantic -Wall -Wextra -Wold-style-cast -Wconversion -Wundef \
            -Werror -fvisibility=hidden -fsyntax-only program.cc ||
            fail "beck.h is not C++$std for $compiler"
    done
done
g++ -std=c++11 -fvisibility=hidden program.cc "$lib.so" -o program || fail "C++ does not link"
LD_LIBRARY_PATH=${lib%/*} ./program || fail "a C++ program with libbeck.so: exit code $?"

# Somebody else's library that holds beck.c, without codecs, and hides all but what it says.
gcc -std=c11 -Wall -Wextra -Werror -fPIC -fvisibility=hidden -shared -pthread -I. \
    "${lib%/*}/beck.c" -o hidden.so || fail "beck.c without codecs gives warnings"
symbols -D --defined-only hidden.so | grep '^beck_' && fail "-fvisibility=hidden hides too little"
gcc -std=c11 -fPIC -fvisibility=hidden -DBECK_API='__attribute__((visibility("default")))' \
    -shared -pthread -I. "${lib%/*}/beck.c" -o shown.so
symbols -D --defined-only shown.so | diff declared - || fail "BECK_API does not reach a function"

# ---- Hardening, as the ELF headers tell it ----
for file in "$lib.so" "$BECK"; do
    readelf -Wld "$file" > elf
    grep -q GNU_RELRO elf || fail "$file: no RELRO"
    grep -Eq 'BIND_NOW|FLAGS_1.*NOW' elf || fail "$file: symbols are bound late"
    grep -q 'GNU_STACK.* RW ' elf || fail "$file: the stack is executable"
    grep -q 'LOAD.* RWE ' elf && fail "$file: memory to write and to execute"
    grep -Eq 'RPATH|RUNPATH' elf && fail "$file: a path to libraries"
    grep -q TEXTREL elf && fail "$file: relocations in the text"
done
readelf -h "$BECK" | grep -q 'Type:.*DYN' && readelf -d "$BECK" | grep -q 'FLAGS_1.*PIE' ||
    fail "beck is not position-independent"
readelf -Ws "$BECK" | grep -q '__stack_chk_fail' || fail "beck has no stack protector"
readelf -Ws "$BECK" | grep -q '_chk@' || fail "beck is built without _FORTIFY_SOURCE"
test "$(uname -m)" != x86_64 || readelf -n "${lib%/*}/beck.o" | grep -q IBT ||
    fail "beck.o: no branch protection"
test "$failures" -eq 0
