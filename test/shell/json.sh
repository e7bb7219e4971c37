# json.sh -- kcat's envelope, whatever the bytes are
. "$BECK_ROOT/test/shell/common"
count() {
    python3 -c 'import json, sys; print(len([json.loads(line) for line in sys.stdin]))'
}
decode() {
    python3 -c '
import base64, json, sys
print(base64.b64decode(json.load(sys.stdin)["payload_base64"]))'
}
session <<'END'
printf 'k:v\n' | beck produce a.beck t -K : -H a=1 -H 'b='
printf 'no key\n' | beck produce a.beck t
printf '\n' | beck produce a.beck t -k x -Z
printf '"quoted" \\ \t \001 \177 \303\251 \342\202\254 \360\237\230\200\n' | beck produce a.beck t
printf '\377\376 cut \303\n' | beck produce a.beck t
printf 'bad key\200:fine\n' | beck produce a.beck t -K :
printf 'overlong \300\200 surrogate \355\240\200 large \364\220\200\200' | beck produce a.beck t
printf 'x' | beck produce a.beck t -H "bytes=$(printf '\377')"
beck consume a.beck t -e -J | steady
beck consume a.beck t -e -J | count
# The bytes themselves stay in payload_base64.
beck consume a.beck t -e -J -o 4 -c 1 | decode
beck consume a.beck t -e -J -o end
END
