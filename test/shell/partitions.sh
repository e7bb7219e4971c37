# partitions.sh -- where records go and how one partition is read
. "$BECK_ROOT/test/shell/common"
session <<'END'
beck topic create a.beck t --partitions 3
# By key, as Kafka places them: the same key always in the same partition.
for i in 1 2 3; do printf '%s:'$i'\n' apple pear plum fig; done | beck produce a.beck t -K :
beck consume a.beck t -e -f '%p %k %s\n' | sort
# To one that is named, whatever the key.
printf 'apple:4\n' | beck produce a.beck t -K : -p 2
beck consume a.beck t -e -p 2 -f '%p %k %s\n' | tail -1
beck consume a.beck t -e -p 0 -p 2 -p 0 -f '%p\n' | sort -u
# Without a key: spread, in order within each partition.
beck topic create a.beck spread --partitions 2
for i in 1 2 3 4 5 6 7 8; do echo $i | beck produce a.beck spread; done
beck consume a.beck spread -e | sort | tr '\n' ' '; echo
# Every partition has its own offsets; -o and -N count in each.
beck consume a.beck t -e -o -1 -f '%p %k %s\n' | sort
# More partitions later.
beck topic alter a.beck t --partitions 4
echo new | beck produce a.beck t -p 3
beck consume a.beck t -e -p 3 -f '%p %o %s\n'
# What is not there.
echo x | beck produce a.beck t -p 4
beck consume a.beck t -e -p 4
beck consume a.beck t -e -p 1 -p 1023
echo x | beck produce a.beck one
echo x | beck produce a.beck one -p 1
beck consume a.beck t one -e -p 3
END
