# testing_your_app.sh -- what doc/TESTING-YOUR-APP.md shows is what happens
. "$BECK_ROOT/test/shell/common"
build=${BECK%/*}
page=$BECK_ROOT/doc/TESTING-YOUR-APP.md
block() {
    sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/{/^\`\`\`/d;p}" "$page"
}
block c > app_test.c
block python > app_test.py
session <<'END'
cc -Wall -Wextra -Werror -I"$build" app_test.c -L"$build" -lbeck -Wl,-rpath,"$build" -o app_test
./app_test
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$BECK_ROOT/example python3 app_test.py 2>&1 | tail -1
END
block console > shown
sed -n 's/^\$ //p' shown > commands
session < commands > happened
diff shown happened && echo "the session: $(wc -l < commands) commands, as shown"
