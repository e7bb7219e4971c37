# stat_check.sh -- what a file holds and whether it is whole
. "$BECK_ROOT/test/shell/common"
session <<'END'
seq 3 | beck produce a.beck t
seq 5 | beck produce a.beck u --sync os
beck stat a.beck | steady
beck stat a.beck --json | steady
beck check a.beck
beck check a.beck -q
beck check a.beck --json

# Several files: a line for each, and the worst exit code.
echo x | beck produce b.beck t
beck check a.beck b.beck
beck check a.beck b.beck --json | cut -c 1-40
beck check none.beck b.beck
echo 'no beck file' > text; beck check text b.beck -q
rm b.beck text

# Looking changes nothing.
md5sum a.beck > before
beck stat a.beck > /dev/null; beck check -q a.beck; beck topic list a.beck > /dev/null
beck consume a.beck t u -e -q | wc -l
md5sum --quiet -c before

# While it is open for writing.
mkfifo pipe
beck produce a.beck t < pipe & exec 4> pipe
echo 4 >&4; until beck consume a.beck t -e | grep -q 4; do sleep 0.02; done
beck stat a.beck | grep -E 'handles|clean'
beck check a.beck
exec 4>&-; wait
beck stat a.beck | grep -E 'handles|clean'

# How fast it grows: nothing does here. The first column is the time.
beck stat a.beck 0.05 2 | cut -f2-
beck stat a.beck 0.05 1 --json | grep -o '"records_per_second":[0-9.]*'
beck stat a.beck 0.05 0
beck stat a.beck 1e9
beck stat a.beck -1
beck stat a.beck 1 1 --prometheus

# For Prometheus.
beck stat a.beck --prometheus | grep -v '^#' | grep topic=
beck stat a.beck --prometheus | grep _records_total

# One file all the time.
ls
END
