# readme.sh -- the program README.md shows works, and what it points to is there; its terminal
# sessions are for session_test.py
. "$BECK_ROOT/test/shell/common"
build=${BECK%/*}
# The first block of that language in README.md.
block() {
    sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/{/^\`\`\`/d;p}" "$BECK_ROOT/README.md"
}
block c > orders.c
session <<'END'
cc -Wall -Wextra -Werror -I"$build" orders.c -L"$build" -lbeck -Wl,-rpath,"$build" -o orders
./orders
./orders
beck consume shop.beck orders -e -K = | tail -1
END
# The files it points to are there.
for file in $(grep -o '][(][^)]*' "$BECK_ROOT/README.md" | cut -c 3-); do
    test -f "$BECK_ROOT/$file" || echo "README.md points to $file, which is not there"
done
