#!/bin/sh
# static_test.sh -- the program by musl: needs no library, and says what the other one says
command -v musl-gcc > /dev/null || { echo "musl-gcc is not installed (musl-tools)"; exit 77; }
cd "$BECK_ROOT" || exit 1
build=${BECK%/*} static=${BECK%/*}/beck-static failures=0
make -s static BUILD="$build" > "$TMPDIR/made" 2>&1 || { cat "$TMPDIR/made"; exit 1; }
grep -i warning "$TMPDIR/made" && exit 1
readelf -Wld "$static" | grep -Eq 'INTERP|NEEDED' && { echo "$static needs a library"; exit 1; }

# says PROGRAM NAME: what a script of the shell prints when PROGRAM is beck, into PROGRAM/NAME.out
says() {
    mkdir "$TMPDIR/$1/$2" && cd "$TMPDIR/$1/$2" || exit 1
    BECK=$TMPDIR/$1/beck TMPDIR=$PWD sh "$BECK_ROOT/test/shell/$2.sh" 2>&1 |
        sed '/^compression: /d' > "../$2.out"
}

# The static program has no codecs; what is about them is not for it.
for program in release static; do
    mkdir "$TMPDIR/$program" || exit 1
    cp -P "$build"/beck.h "$build"/libbeck.* "$TMPDIR/$program" || exit 1
done
ln -s "$BECK" "$TMPDIR/release/beck" && ln -s "$static" "$TMPDIR/static/beck" || exit 1
scripts=usage.sh # all of them in make check-all
test "${ROUNDS:-3}" -lt 10 || scripts=$(cd test/shell && grep -LE 'gzip|snappy|lz4|zstd' ./*.sh)
for name in $(basename -s .sh $scripts); do
    says release "$name" & says static "$name"
    wait
    test -s "$TMPDIR/static/$name.out" || failures=$((failures + 1))
    diff "$TMPDIR/release/$name.out" "$TMPDIR/static/$name.out" && continue
    echo "beck-static: test/shell/$name.sh prints something else: >"
    failures=$((failures + 1))
done

# What one writes the other reads.
cd "$TMPDIR" && cat "$BECK_ROOT/LICENSE" "$BECK_ROOT/README.md" > both || exit 1
"$BECK" produce a.beck t < "$BECK_ROOT/LICENSE" && "$static" consume a.beck t -e > all &&
    "$static" produce a.beck t < "$BECK_ROOT/README.md" && "$BECK" consume a.beck t -e > all &&
    cmp both all && "$static" check a.beck -q || failures=$((failures + 1))
test "$failures" -eq 0
