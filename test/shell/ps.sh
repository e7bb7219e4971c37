# ps.sh -- who has a file open
. "$BECK_ROOT/test/shell/common"
# The pid and for how long differ each time.
hidden() { sed -E 's/^([0-9]+\t)[0-9]+(\t.*\t)[0-9]+(\t[^\t]*)$/\1PID\2AGE\3/'; }
session <<'END'
seq 3 | beck produce a.beck t
beck ps a.beck
beck ps a.beck --json

# Somebody who waits for input, and somebody who waits for records.
mkfifo pipe
beck produce a.beck t < pipe & exec 4> pipe
until beck ps a.beck | grep -q 'nothing now'; do sleep 0.02; done
beck ps a.beck | hidden
beck ps a.beck --json | steady
beck consume a.beck t -q > out & consumer=$!
until beck ps a.beck | grep waits > line; do sleep 0.02; done
hidden < line
kill -STOP $consumer; until beck ps a.beck | grep stopped > line; do sleep 0.02; done
cut -f 1,3,4 line; kill -CONT $consumer
test $(beck ps a.beck | cut -f 2 | grep -c "^$consumer$") = 1
kill -KILL $consumer; wait $consumer 2> /dev/null
until test $(beck ps a.beck | wc -l) = 1; do sleep 0.02; done
# Again and again: the time in front.
beck ps a.beck 0.05 2 | sed -E 's/^[0-9]{13}\t//' | hidden
exec 4>&-; wait
beck ps a.beck

# A file that is none.
beck ps no.beck
beck ps .
echo 'no beck file' > text; beck ps text
: > empty; beck ps empty

# Wrong usage.
beck ps
beck ps a.beck soon
beck ps a.beck 1 none
beck ps a.beck 1 1 1
beck ps a.beck --jsn
END
