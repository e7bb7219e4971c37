# produce.sh -- what becomes of standard input
. "$BECK_ROOT/test/shell/common"
show='%p:%o key=%k(%K) value=%s(%S) %h\n'
session <<'END'
# The file and the topic are created. Every line is a record, an empty one too, and the last one
# without a newline.
printf 'one\n\nthree' | beck produce a.beck lines
beck consume a.beck lines -e -f "$show"
printf '' | beck produce a.beck nothing
beck consume a.beck nothing -e

# Keys: split off, fixed, missing, empty.
printf 'k1:v1\nk2:v:2\nno key\n:v4\nk5:\n' | beck produce a.beck split -K :
beck consume a.beck split -e -f "$show"
printf 'k=>v\nk=v\n' | beck produce a.beck arrow -K '=>'
beck consume a.beck arrow -e -f "$show"
printf 'a\nb\n' | beck produce a.beck fixed -k 'all the same'
beck consume a.beck fixed -e -f "$show"
echo value | beck produce a.beck empty-key -k ''
beck consume a.beck empty-key -e -f "$show"

# -Z: empty is null. Without it empty stays empty.
printf 'k1:\n:v2\n:\n' | beck produce a.beck null -K : -Z
beck consume a.beck null -e -f "$show"
printf 'k1:\n:v2\n:\n' | beck produce a.beck empty -K :
beck consume a.beck empty -e -f "$show"

# Headers.
echo x | beck produce a.beck headers -H source=shop -H 'note=a = b' -H none=
beck consume a.beck headers -e -f "$show"

# Separators of more than one byte, of bytes that are no text, and one cut by the end of input.
printf 'a--b-c----d' | beck produce a.beck dashes -D --
beck consume a.beck dashes -e -f "$show"
printf 'line 1\nline 2\0second' | beck produce a.beck zero -D '\0'
beck consume a.beck zero -e -D '|'; echo
printf 'k\tv\002' | beck produce a.beck tabs -K '\t' -D '\x02'
beck consume a.beck tabs -e -f "$show"

# Options may follow the names; "--" ends them.
echo dash | beck produce -q a.beck -- -p
beck consume a.beck -e -- -p

# The class of a new topic; an existing one keeps its own.
echo 1 | beck produce a.beck fast --sync os
echo 2 | beck produce a.beck fast --sync sync
beck topic list a.beck | grep fast | cut -f 1,3,5

# Options that an existing topic does not follow are told, and not with -q.
echo 3 | beck produce a.beck lines --sync os
echo 3 | beck produce a.beck lines --sync os -q
beck topic create a.beck packed --config compression.type=gzip
echo 1 | beck produce a.beck packed -z none
echo 2 | beck produce a.beck packed -z gzip
echo 3 | beck produce a.beck packed -q -z none

# Many records, large and small.
{ letters 300000 x; echo; letters 900000 y; echo; seq 100000; } > input
beck produce a.beck many < input
beck consume a.beck many -e | cmp - input
END
