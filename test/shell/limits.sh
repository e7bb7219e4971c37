# limits.sh -- records that are too large, and offsets that are not there
. "$BECK_ROOT/test/shell/common"
sizes='%o %K %S\n'
session <<'END'
# The default limit: ten mebibytes of value.
letters 10485760 v | beck produce a.beck t
letters 10600000 v | beck produce a.beck t
letters 25000000 v | beck produce a.beck t
beck consume a.beck t -e -f "$sizes"

# What stands before a record that is refused is appended, what follows is not.
beck topic create a.beck small --config max.message.bytes=1000
{ echo before; letters 1000 v; echo; echo after; } | beck produce a.beck small
beck consume a.beck small -e
letters 990 v | beck produce a.beck small -H "h=$(letters 100 h)"
printf 'first;%s;third' "$(letters 5000 v)" | beck produce a.beck small -D ';'
letters 900 v | beck produce a.beck small
beck consume a.beck small -e -f "$sizes"
{ letters 65537 k; echo :v; } | beck produce a.beck t -K :
# Many small ones are several batches.
seq 1000 | beck produce a.beck small; beck consume a.beck small -e -o -1
# The limit can be raised.
beck topic alter a.beck small --config max.message.bytes=10000
letters 5000 v | beck produce a.beck small; beck consume a.beck small -e -o -1 -f '%S\n'

# Keys: 64 KiB.
{ letters 65536 k; echo :v; } | beck produce a.beck keys -K :
{ letters 65537 k; echo :v; } | beck produce a.beck keys -K :
beck consume a.beck keys -e -f "$sizes"

# A limit on the size of files is an error like a full disk, and what was appended stays.
(ulimit -f 4000; seq 400000 | sed 's/$/ and more/' | beck produce b.beck t) 2> err
sed 's/[0-9][0-9]*/N/g' err
test "$(beck consume b.beck t -e | wc -l)" = "$(sed -n 's/^beck: \([0-9]*\) lines are.*/\1/p' err)"
(ulimit -f 100; echo x | beck produce new.beck t)

# Records of several partitions are several batches, of which some may be there.
beck topic create c.beck t --partitions 2
(ulimit -f 4000; seq 400000 | sed 's/.*/&:&/' | beck produce c.beck t -K :) 2> err
sed 's/[0-9][0-9]*/N/g' err

# Offsets.
seq 3 | beck produce a.beck three
beck consume a.beck three -e -o 3
beck consume a.beck three -e -o 4
beck consume a.beck three -e -o 9223372036854775806
beck consume a.beck three -e -o 9223372036854775807
beck consume a.beck three -e -o -9223372036854775806

beck check a.beck -q
END
