# damage.sh -- a flipped byte is an error for its record, and for no other
. "$BECK_ROOT/test/shell/common"
flip() {
    python3 - "$1" "$2" << 'END'
import sys
path, text = sys.argv[1], sys.argv[2].encode()
with open(path, "r+b") as f:
    at = f.read().index(text)
    f.seek(at)
    f.write(bytes([text[0] ^ 1]))
END
}
count() {
    python3 -c '
import json, sys
checked = json.load(sys.stdin)
print(len(checked["findings"]), checked["finished"])'
}
session <<'END'
for v in first second third fourth; do echo the $v value | beck produce a.beck t; done
flip a.beck 'the second value'
beck consume a.beck t -e
beck consume a.beck t -e -q
beck consume a.beck t -e -o 2
beck check a.beck | sed -E 's/(position|byte|at) [0-9]+/\1 N/g'; beck check -q a.beck
beck check a.beck --json | count
# Unchecked: a value is given as its bytes are.
beck consume a.beck t -c 4 --unchecked
# Appending goes on behind it.
echo the fifth value | beck produce a.beck t
beck consume a.beck t -e -q -o -1
flip a.beck 'the third value'
beck consume a.beck t -e
END
