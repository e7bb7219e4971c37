# usage.sh -- command lines that are wrong: nothing is done, exit code 64
. "$BECK_ROOT/test/shell/common"
echo x | beck produce a.beck t
md5sum a.beck > before
session <<'END'
beck frobnicate
beck cosume a.beck t
beck topic
beck topic lst a.beck
beck topic frobnicate
beck --frob
beck a.beck
beck version x
beck --force produce a.beck t
beck topic --force create a.beck t

# What other programs call it.
for word in cat tail read get write append add put send; do beck $word; done
for word in ls info status verify fsck; do beck $word; done
for word in create alter list describe delete; do beck $word a.beck; done
beck help produce consume
beck help topic create | head -1
beck help frobnicate
beck help topic frobnicate

# Too few and too many names.
beck produce
beck produce a.beck
beck produce a.beck t u
beck consume a.beck
beck topic create a.beck
beck topic list
beck topic list a.beck t
beck topic describe a.beck t u
beck topic delete a.beck
beck stat
beck stat a.beck b.beck
beck check

# Names the wrong way round; nothing is made. What FILE is called wins where both are there.
beck produce t a.beck
beck consume t a.beck
beck topic delete t a.beck
beck produce - t
beck stat -
cp a.beck t; beck produce t a.beck < /dev/null; rm t

# Options that are not there, lack a value or have one too many.
beck produce a.beck t -x
beck produce a.beck t --frob
beck produce a.beck t --frob=1
beck produce a.beck t --syn os
beck topic create a.beck u --part=3
beck topic list a.beck --forc
beck produce a.beck t -k
beck produce a.beck t --sync
beck consume a.beck t -eZ
beck consume a.beck t --unchecked=yes
beck topic list a.beck --jsonn
beck topic delete a.beck t --now
beck stat a.beck -q

# Values that are wrong.
beck produce a.beck t -p -1
beck produce a.beck t -p 1024
beck produce a.beck t -p one
beck produce a.beck t -p 1x
beck produce a.beck t -H no-value
beck produce a.beck t -H =v
beck produce a.beck t -K ''
beck produce a.beck t -D '\q'
beck produce a.beck t -D '\x4'
beck produce a.beck t --sync never
beck produce a.beck t -K : -k key
beck consume a.beck t -o
beck consume a.beck t -o middle
beck consume a.beck t -o 1.5
beck consume a.beck t -o stored
beck consume a.beck t -o latest
beck consume a.beck t -o earliest
beck consume a.beck t -o 99999999999999999999
beck consume a.beck t -o s@yesterday
beck consume a.beck t -o e@-1
beck consume a.beck t -o s@1795183540
beck consume a.beck t -o e@100000000
beck consume a.beck t -o e@99999999999
beck consume a.beck t -e -o s@99999999
beck consume a.beck t -o e@100000000000
beck consume a.beck t -o 1 -o -1
beck consume a.beck t -c 0
beck consume a.beck t -c -5
beck consume a.beck t -c many
beck consume a.beck t -p 9999
beck consume a.beck t -f '%x'
beck consume a.beck t -f '100%'
beck consume a.beck t -f '\d'
beck consume a.beck t -f %s -J
beck consume a.beck t -J -K :
beck consume a.beck t -f %s -D :
beck topic create a.beck u --partitions 0
beck topic create a.beck u --partitions 1025
beck topic create a.beck u --partitions two
beck topic create a.beck u --sync maybe
beck topic create a.beck u --config segment.bytes
beck topic create a.beck u --config segment.bytes=big
beck topic create a.beck u --config segment.size=1
beck topic create a.beck u --config flush.ms=-1
beck topic alter a.beck t
beck check a.beck -q --json

md5sum --quiet -c before

# What a name holds does nothing to the terminal.
esc=$(printf 'a\033[31m\302\2331m\177\377\303\244\nb')
beck consume "$esc" t
beck topic describe a.beck "$esc"
beck "$esc"
END
