# consume.sh -- where reading begins and ends, and what is printed
. "$BECK_ROOT/test/shell/common"
printf 'k0:v0\nk1:v1\nk2:v2\nno key\n' | beck produce a.beck t -K :
echo other | beck produce a.beck u
for i in 0 1 2 3; do
    echo "at $i" | beck produce a.beck times
    sleep 0.02
done
at() {
    beck consume a.beck times -o "$1" -c 1 -f %T
}
session <<'END'
beck consume a.beck t -e

# -o: where to begin.
beck consume a.beck t -e -o beginning
beck consume a.beck t -e -o end
beck consume a.beck t -e -o 2
beck consume a.beck t -e -o 4
beck consume a.beck t -e -o -1
beck consume a.beck t -e -o -100
beck consume a.beck t -e -o 0 -c 1

# -o s@ and e@: from the first record at or after a time, to before the first one at or after it.
beck consume a.beck times -e -o s@$(at 1)
beck consume a.beck times -e -o s@$(($(at 1) + 1))
beck consume a.beck times -o e@$(at 2)
beck consume a.beck times -o s@$(at 1) -o e@$(at 3)
beck consume a.beck times -o e@$(at 0)
beck consume a.beck times -e -o s@9999999999999
beck consume a.beck times -o e@$(($(at 3) + 1))

# -c ends without -e.
beck consume a.beck t -c 2
beck consume a.beck t -c 2 -o 1

# Several topics.
beck consume a.beck u t -e -f '%t %s\n' | sort

# -K and -D; without -K keys are not printed.
beck consume a.beck t -e -K ' -> '
beck consume a.beck t -e -K '\t' -D '\x21\n'

# -f: every token, every escape.
beck consume a.beck t -e -o 1 -c 1 -f '%t %p %o %k %K %s %S %%\n'
beck consume a.beck t -e -o -1 -f '%k|%K|%s|%S\r\n\t\\\0\x41\n' | od -An -c
beck consume a.beck t -e -o 1 -c 1 -f '%T' | grep -cE '^[0-9]{13}$'
beck consume a.beck t -e -f 'x' ; echo

# Nobody has to read to the end.
seq 1000000 | beck produce a.beck long --sync os
beck consume a.beck long | head -2
beck consume a.beck long -e --unchecked | tail -1
beck consume a.beck long -e -q | md5sum
seq 1000000 | md5sum
END
