#!/bin/sh
# crash_short.sh -- the simulator for a moment, and twice the same from the same seed
set -eu
"$SIM/crash" --images "${IMAGES:-60000}" --keep "$TMPDIR"
"$SIM/crash" --run 7 --trace 1 > /dev/null 2> "$TMPDIR/first" || cat "$TMPDIR/first"
"$SIM/crash" --run 7 --trace 1 > /dev/null 2> "$TMPDIR/second"
cmp "$TMPDIR/first" "$TMPDIR/second"
