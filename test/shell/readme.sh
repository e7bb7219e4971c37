# readme.sh -- what README.md shows is what happens
. "$BECK_ROOT/test/shell/common"
build=${BECK%/*}
# The first block of that language in README.md.
block() {
    sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/{/^\`\`\`/d;p}" "$BECK_ROOT/README.md"
}
block console > shown
sed -n 's/^\$ //p' shown > commands
session < commands > happened
diff shown happened && echo "the session: $(wc -l < commands) commands, as shown"

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
