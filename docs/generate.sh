#!/bin/bash
# generate.sh - puts the reference part of docs/config.md between its markers, from `tern help markdown`.
#
#   docs/generate.sh          writes it
#   docs/generate.sh --check  says whether it is up to date (exit 1 if not)
#
# TERN: the binary (default: build/dev); TERN_MODULE_PATH: its modules.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tern=${TERN:-$here/../build/dev/core/cli/tern}
export TERN_MODULE_PATH=${TERN_MODULE_PATH:-$here/../build/dev/modules}
new=$(mktemp)
trap 'rm -f "$new" "$new.ref"' EXIT
"$tern" help markdown >"$new.ref"
awk -v ref="$new.ref" '
    /^<!-- reference: begin -->$/ { print; print ""; while ((getline line < ref) > 0) print line; skip = 1; next }
    /^<!-- reference: end -->$/ { skip = 0 }
    !skip { print }' "$here/config.md" >"$new"
if [ "${1:-}" = --check ]; then
    diff -u "$here/config.md" "$new"
else
    cat "$new" >"$here/config.md"
fi
