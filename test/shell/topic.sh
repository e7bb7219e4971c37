# topic.sh -- create, alter, list, describe and delete
. "$BECK_ROOT/test/shell/common"
names() {
    python3 -c 'import json, sys; print([topic["topic"] for topic in json.load(sys.stdin)])'
}
session <<'END'
beck topic create a.beck orders
beck topic create a.beck payments --partitions 3 --sync os --config segment.bytes=65536
beck topic alter a.beck payments --config flush.ms=1000
beck topic create a.beck small --config max.message.bytes=1000 --config sync=os
beck topic list a.beck
printf 'a\nb\n' | beck produce a.beck orders
beck topic list a.beck --json
beck topic describe a.beck
beck topic describe a.beck orders --json | sed 's/"id":[0-9]*/"id":ID/'
beck topic describe a.beck --json | names

beck topic alter a.beck orders --partitions 2 --sync os --config max.message.bytes=2000
beck topic describe a.beck orders
# What is not named stays as it is.
beck topic alter a.beck payments --sync sync
beck topic describe a.beck payments

beck topic delete a.beck orders
beck topic list a.beck | cut -f 1
beck topic create a.beck orders
beck consume a.beck orders -e
beck topic describe a.beck orders --json | sed 's/"id":[0-9]*/"id":ID/'

# Errors.
beck topic create a.beck orders
beck topic delete a.beck order
beck topic alter a.beck order --partitions 2
beck topic describe a.beck order
beck topic alter a.beck payments --partitions 2
beck topic alter a.beck payments
beck topic create a.beck 'a b'
beck topic create a.beck ''
beck topic create a.beck ..
beck topic create a.beck $(letters 250 x)
beck topic create a.beck $(letters 249 x)
beck topic create a.beck big --config segment.bytes=1
beck topic create a.beck big --config max.message.bytes=1
beck topic list a.beck | cut -c 1-20

# Nothing but an empty file.
beck topic create b.beck t
beck topic delete b.beck t
beck topic list b.beck
beck topic list b.beck --json
beck topic describe b.beck
beck topic describe b.beck --json
beck consume b.beck t
END
