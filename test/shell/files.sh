# files.sh -- files that are missing, no beck files, damaged, or not ours
. "$BECK_ROOT/test/shell/common"
seq 3 | beck produce orders.beck t
echo 'some text' > text
: > empty
head -c 300000 /dev/zero > zeros
mkdir folder closed bin
chmod 555 closed
cp "$BECK" bin
PATH=$PWD/bin:$PATH
head -c 5000 orders.beck > cut.beck
cp orders.beck locked.beck
chmod 444 locked.beck
cp orders.beck secret.beck
chmod 000 secret.beck
ln -s orders.beck link.beck
# As someone who may not do everything.
as_nobody() {
    if [ "$(id -u)" -eq 0 ]; then
        chmod 755 .
        setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
    else
        "$@"
    fi
}
session <<'END'
# Missing: nothing is created, and what was meant is named.
beck consume order.beck t
beck stat ./oders.beck
beck check nothing.beck
beck topic list folder/orders.beck
beck topic delete orders t
beck topic alter missing.beck t --partitions 2
beck produce no/such/folder.beck t
beck produce '' t
beck stat ''
ls -d no order.beck missing.beck 2> /dev/null

# Something else.
beck stat text
beck produce text t
cat text
beck consume folder t
beck produce folder t
beck check /dev/null
beck produce /dev/null t
beck stat cut.beck
beck produce cut.beck t
beck check -q cut.beck

# Empty files become beck files when they are written to, and only then.
beck stat empty
beck consume zeros t -e
echo x | beck produce empty t; beck consume empty t -e
echo x | beck produce zeros t; beck consume zeros t -e

# A link is followed.
beck consume link.beck t -e -c 1

# May be read, not written.
as_nobody beck consume locked.beck t -e
as_nobody beck check locked.beck
as_nobody beck consume locked.beck t -c 1
as_nobody beck produce locked.beck t
as_nobody beck topic create locked.beck u
as_nobody beck topic delete locked.beck t
# May not even be read; no place for a new file.
as_nobody beck stat secret.beck
as_nobody beck consume secret.beck t -e
as_nobody beck produce closed/new.beck t

ls
END
