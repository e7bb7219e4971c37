#!/bin/sh
# lint_test.sh -- each lint passes a good tree and finds each breach planted in it
cd "$TMPDIR" || exit 1
failures=0

# plant: a small tree without a breach
plant() {
    rm -rf tree
    mkdir -p tree/src tree/shell tree/test
    printf '# rank\n0 low the floor\n1 os the seam\n1 os_linux the system\n2 high the roof\n' \
        > tree/src/LAYERS
    printf '#include <stdint.h>\n' > tree/src/low.h
    printf '#include "low.h"\n' > tree/src/os.h
    printf '/* os_linux.c -- the system */\n#include "os.h"\n' > tree/src/os_linux.c
    printf '#include <errno.h>\nint e = errno;\n' >> tree/src/os_linux.c
    printf '/* high.c -- the roof */\n#include "os.h"\n#include "beck.h"\n' > tree/src/high.c
    printf '/*\n *  [H1] it holds\n */\n' >> tree/src/high.c
    printf 'ASSERT(x); /* [H1], never errno */\nint a = map[N2];\n' >> tree/src/high.c
    printf '#include "beck.h"\n#include <unistd.h>\n' > tree/shell/main.c
    printf '/* [H1] */\n' > tree/test/high_test.c
    mkdir -p tree/include tree/doc
    printf 'X(LOST, -7, "it is lost", RETRY)\n' > tree/include/beck.h
    printf '<!-- from here on made by tool/check-errors -->\n' > tree/doc/ERRORS.md
    for title in 'Of whatever status fits' 'In front of these, to say where' \
        'Of the program, on standard error' 'Of the program, for wrong usage (exit code 64)'; do
        printf '\n### %s\n\n' "$title"
    done >> tree/doc/ERRORS.md
}

# finds LINT TEXT: the lint fails on the tree and says so with this text
finds() {
    if "$BECK_TOOL/$1" tree > out 2>&1 || ! grep -qF "$2" out; then
        echo "$1 did not find: $2"
        cat out
        failures=$((failures + 1))
    fi
    plant
}

plant
for lint in check-layers check-style check-invariants check-errors; do
    "$BECK_TOOL/$lint" tree || { echo "$lint refuses a good tree"; failures=$((failures + 1)); }
done

echo '#include "high.h"' >> tree/src/low.h
finds check-layers 'src/low.h: includes high.h, which is not below it'
echo '#include "os_linux.h"' >> tree/src/os.h
finds check-layers 'src/os.h: includes os_linux.h, which is not below it'
echo '#include <unistd.h>' >> tree/src/high.c
finds check-layers 'src/high.c: includes <unistd.h>'
echo '#include "low.h"' >> tree/shell/main.c
finds check-layers 'shell/main.c: includes low.h; only beck.h is public'
sed -i 1d tree/src/high.c
finds check-layers 'src/high.c:1: must be /* high.c -- the roof */'
touch tree/src/stray.c
finds check-layers 'src/stray.c: not in src/LAYERS'
echo '3 ghost nothing' >> tree/src/LAYERS
finds check-layers 'no file for ghost'
echo '0 low the floor' >> tree/src/LAYERS
finds check-layers 'ranks must not fall'

printf '%0101d\n' 0 >> tree/src/high.c
finds check-style 'src/high.c:9: over 100 columns'
printf '\tint a;\n' >> tree/src/high.c
finds check-style 'src/high.c:9: tab'
printf 'int a; \n' >> tree/src/high.c
finds check-style 'src/high.c:9: trailing blank'
{ echo '{'; yes 'x;' | head -70; echo '}'; } >> tree/src/high.c
"$BECK_TOOL/check-style" tree || failures=$((failures + 1))
{ echo '{'; yes 'x;' | head -71; echo '}'; } >> tree/src/high.c
finds check-style 'function over 70 lines'
yes '' | head -992 >> tree/src/high.c
"$BECK_TOOL/check-style" tree || failures=$((failures + 1))
echo >> tree/src/high.c
finds check-style 'file over 1000 lines'
cp tree/src/high.c tree/test/high.c
finds check-style 'test/high.c: same name as src/high.c'
echo 'strcpy(a, b);' >> tree/shell/main.c
finds check-style 'shell/main.c:3: banned call'
echo 'return errno;' >> tree/src/high.c
finds check-style 'src/high.c:9: errno outside os'

echo 'return err_set(BECK_LOST, "%s is lost", "a" "b");' >> tree/src/high.c
finds check-errors '+- _ is lost'
echo 'return usage_error(self, "odd");' >> tree/shell/main.c
finds check-errors '+- odd'

echo ' *  [H2] nobody keeps it' >> tree/src/high.c
finds check-invariants '[H2] is kept nowhere'
printf ' *  [H2] nobody tests it\nASSERT(y); /* [H2] */\n' >> tree/src/high.c
finds check-invariants '[H2] is tested nowhere'
echo 'ASSERT(y); /* [H9] */' >> tree/src/high.c
finds check-invariants '[H9] is stated nowhere'
echo ' *  [H1] it holds again' >> tree/src/high.c
finds check-invariants '[H1] was stated before'

test "$failures" -eq 0
