#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# make.sh - how tests/abi/v1 was made: the header of ABI 1.0 as it was, the module built from it
# and the trace that it leaves (see tests/unit/test_abi.c).
#
#     tests/abi/make.sh BUILD_FOLDER
#
# Run before 1.0 is released, never after: then a difference is a broken ABI, not an old file.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${1:?usage: make.sh BUILD_FOLDER, with test_abi built in it}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ "$(uname -m)" = x86_64 ] || { echo "make.sh: the kept module is for x86-64" >&2; exit 1; }
mkdir -p "$here/v1/include/tern"
cp "$here/../../core/include/tern/module.h" "$here/v1/include/tern/module.h"
cc -std=gnu17 -O2 -Wall -Wextra -Wno-missing-field-initializers -fvisibility=hidden -shared -fPIC \
    -Wl,--strip-all -I"$here/v1/include" -o "$work/abi_v1.so" "$here/v1/abi_v1.c"
cp "$work/abi_v1.so" "$here/v1/abi_v1.so"
"$build/tests/unit/test_abi" "$work" > "$here/v1/trace.txt"
wc -l "$here/v1/trace.txt"
