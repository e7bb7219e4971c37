# follow.sh -- waiting for records, and the ways out of it
. "$BECK_ROOT/test/shell/common"
# Waits until a file holds so many lines.
lines() {
    until [ -e "$1" ] && [ "$(wc -l < "$1")" -ge "$2" ]; do sleep 0.02; done
}
session <<'END'
# What a slow pipe holds is visible at once; output is there before the consumer waits.
beck topic create a.beck t
beck consume a.beck t > got & consumer=$!
mkfifo pipe; beck produce a.beck t < pipe & feeder=$!; exec 4> pipe
echo one >&4; lines got 1; cat got
echo two >&4; lines got 2; cat got
exec 4>&-; wait $feeder
# Another producer, another topic's records do not matter.
echo three | beck produce a.beck t; lines got 3; cat got
echo no | beck produce a.beck other

# Ctrl-C and termination end it with everything printed and the file closed.
kill -TERM $consumer; wait $consumer
cat got
beck stat a.beck | grep -E 'handles|clean'
beck consume a.beck t > again & consumer=$!
lines again 3; kill -TERM $consumer; wait $consumer
# So they end a producer, with what it has read appended.
beck produce a.beck t < pipe & producer=$!; exec 4> pipe
printf 'four\nunfinished' >&4; until beck consume a.beck t -e | grep -q four; do sleep 0.02; done
kill -TERM $producer; wait $producer
exec 4>&-
beck consume a.beck t -e -o -1
beck stat a.beck | grep -E 'handles|clean'
# kill -9 leaves no more to do than the next open does.
beck consume a.beck t > killed & consumer=$!
lines killed 4; kill -9 $consumer; wait $consumer 2> /dev/null
echo five | beck produce a.beck t
beck consume a.beck t -e | tail -1
beck check a.beck -q

# -c waits for what is missing.
beck consume a.beck t -c 2 -o 5 > got & consumer=$!
seq 3 | beck produce a.beck t; wait $consumer
cat got
# e@ waits until that time.
now=$(date +%s%3N)
beck consume a.beck t -o s@$((now + 1)) -o e@$((now + 1500)) > got & consumer=$!
sleep 0.02; echo in time | beck produce a.beck t; wait $consumer; echo late | beck produce a.beck t
cat got
# The topic goes away.
beck consume a.beck t > all & consumer=$!
lines all 10; beck topic delete a.beck t; wait $consumer
# Nobody reads the output any more.
seq 10 | beck produce a.beck t
beck consume a.beck t | sed 1q
# Standard output that cannot be written.
beck consume a.beck t -e > /dev/full
beck help > /dev/full
beck consume a.beck t -e >&-
END
