# overview.sh -- what beck tells about itself
. "$BECK_ROOT/test/shell/common"
session <<'END'
beck
beck --version | head -1
beck version | head -1
beck help produce
beck help consume
beck topic --help
beck help topic create
beck topic alter --help
beck help topic list
beck help topic describe
beck help topic delete
beck help stat
beck help ps
beck check a.beck --help
beck help help
beck help version
END
test "$(beck --help)" = "$(beck)" || echo "beck --help is something else"
test "$(beck help)" = "$(beck)" || echo "beck help is something else"
# Every command that is listed can be explained.
for command in $(beck | sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    beck help "$command" | head -1 | grep -q "^beck $command -- " || echo "no help for $command"
done
