#!/bin/bash
# run.sh - fuzzes all targets, an hour in all unless said: cores at a time, each with its share.
#
#   tests/fuzz/run.sh [--build FOLDER] [--seconds IN_ALL | --each SECONDS] [--jobs N] [--patience SECONDS] [--write] [TARGET...]
#   tests/fuzz/run.sh --keep [--build FOLDER]    inputs that were found and do no harm any more go into the kept corpus
#
# Without --build it builds build/fuzz first. A line for each target, and a table at the end; --write puts
# the table into docs/testing.md. What grows while fuzzing stays in FOLDER/corpus, and the next run goes
# on from there; what is found in FOLDER/findings. An input that takes longer than the patience (30) is tried alone, and is a
# finding unless it ends within 30 s of processor time: beside other work it had only to wait for that. Status 1: something
# was found, or a target did not run.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
kept=$root/tests/fuzz/corpus
page=${TERN_FUZZ_PAGE:-$root/docs/testing.md}
build="" seconds=3600 each="" jobs=$(nproc) patience=30 write=no keep=no wanted=()

usage() { sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
number() { [[ ${1:-} =~ ^[1-9][0-9]{0,6}$ ]] || usage; echo "$1"; }
while [ $# -gt 0 ]; do
    case $1 in
    --build) [ -n "${2:-}" ] || usage; build=$2; shift ;;
    --seconds) seconds=$(number "${2:-}") || exit 2; shift ;;
    --each) each=$(number "${2:-}") || exit 2; shift ;;
    --jobs) jobs=$(number "${2:-}") || exit 2; shift ;;
    --patience) patience=$(number "${2:-}") || exit 2; shift ;;
    --write) write=yes ;;
    --keep) keep=yes ;;
    -*) usage ;;
    *) wanted+=("$1") ;;
    esac
    shift
done
if [ -z "$build" ]; then
    build=$root/build/fuzz
    if ! { cmake -S "$root" --preset fuzz && cmake --build "$build" --target fuzz_targets; } >"${TMPDIR:-/tmp}/tern-fuzz-build.$$" 2>&1; then
        tail -n 40 "${TMPDIR:-/tmp}/tern-fuzz-build.$$"
        exit 1
    fi
    rm -f "${TMPDIR:-/tmp}/tern-fuzz-build.$$"
fi
build=$(cd "$build" && pwd) || exit 1
if ! grep -q '^TERN_FUZZ:BOOL=ON' "$build/CMakeCache.txt" 2>/dev/null; then
    echo "run.sh: $build is no build with libFuzzer: cmake --preset fuzz" >&2
    exit 1
fi

targets=()
for binary in "$build"/tests/fuzz/fuzz_*; do
    name=${binary##*/}
    [ -f "$binary" ] && [ -x "$binary" ] || continue
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then continue; fi
    targets+=("$name")
done
if [ ${#targets[@]} = 0 ]; then
    echo "run.sh: no target ${wanted[*]:-fuzz_*} in $build/tests/fuzz" >&2
    exit 1
fi

keep_one() { # target, finding
    if timeout 120 "$build/tests/fuzz/$1" "$2" >/dev/null 2>&1 </dev/null; then
        local name
        name=found-$(sha256sum "$2" | cut -c1-12)
        mkdir -p "$kept/$1" && mv "$2" "$kept/$1/$name" && echo "ok   $1: kept as tests/fuzz/corpus/$1/$name"
    else
        echo "FAIL $1: still does harm: $2"
        return 1
    fi
}
if [ $keep = yes ]; then
    status=0
    for name in "${targets[@]}"; do
        for finding in "$build/findings/$name"/*; do
            [ -f "$finding" ] || continue
            keep_one "$name" "$finding" || status=1
        done
    done
    exit $status
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/tern-fuzz-XXXXXX")
trap 'rm -rf "$work"' EXIT
[ -n "$each" ] || each=$((seconds * jobs / ${#targets[@]}))
[ "$each" -gt 0 ] || each=1

last() { # name of a figure, log: what libFuzzer said of it last
    sed -n "s|^#[0-9].*[[:space:]]$1: \([0-9]*\).*|\1|p" "$2" | tail -n 1
}
fuzz() { # target: a line for the reader in $work/NAME.line, one of the table in $work/NAME.row
    local name=$1 log=$work/$1.log found begin=$SECONDS status
    mkdir -p "$build/corpus/$name" "$build/findings/$name" "$kept/$name"
    timeout -k 10 $((each * 2 + patience + 1800)) "$build/tests/fuzz/$name" -max_total_time="$each" -rss_limit_mb=4096 -timeout="$patience" \
        -report_slow_units="$patience" -print_final_stats=1 \
        -artifact_prefix="$build/findings/$name/" "$build/corpus/$name" "$kept/$name" >"$log" 2>&1 </dev/null
    status=$?
    local input waited=0
    for input in "$build/findings/$name"/timeout-* "$build/findings/$name"/slow-unit-*; do
        [ -f "$input" ] || continue
        if (ulimit -t 30 && exec timeout 1800 "$build/tests/fuzz/$name" -timeout=1800 -rss_limit_mb=4096 "$input") >/dev/null 2>&1 </dev/null; then
            rm "$input"
            waited=$((waited + 1))
        fi
    done
    found=$(find "$build/findings/$name" -type f | wc -l)
    local runs cov ft corpus
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    cov=$(last cov "$log") ft=$(last ft "$log") corpus=$(last corp "$log")
    local said="$((SECONDS - begin)) s, ${runs:-0} executions, coverage ${cov:-0}, features ${ft:-0}, corpus ${corpus:-0}, findings $found"
    [ $waited = 0 ] || said+=", $waited waited for the processor"
    [ $waited = 0 ] || [ "$found" != 0 ] || [ -z "$runs" ] || status=0
    if [ $status = 0 ] && [ "$found" = 0 ]; then
        echo "ok   $name $said"
    else
        echo "FAIL $name $said (status $status)"
        grep -m 5 -E 'ERROR:|SUMMARY:|Assertion|runtime error' "$log" | sed 's/^/     | /'
        find "$build/findings/$name" -type f | sed 's/^/     | /'
    fi >"$work/$name.line"
    echo "| \`$name\` | $((SECONDS - begin)) | ${runs:-0} | ${cov:-0} | ${ft:-0} | ${corpus:-0} | $found |" >"$work/$name.row"
    cat "$work/$name.line"
}

running=0
for name in "${targets[@]}"; do
    if [ $running -ge "$jobs" ]; then
        wait -n
        running=$((running - 1))
    fi
    fuzz "$name" &
    running=$((running + 1))
done
wait

{
    echo "$SECONDS seconds in all on $jobs of $(nproc) cores, $(date -u +%F), under ASan and UBSan:"
    echo
    echo "| target | seconds | executions | coverage (edges) | features | corpus | findings |"
    echo "| --- | --- | --- | --- | --- | --- | --- |"
    cat "$work"/*.row
} >"$work/table"
echo
cat "$work/table"
if [ $write = yes ]; then
    if ! grep -q '^<!-- fuzz: begin -->$' "$page" || ! grep -q '^<!-- fuzz: end -->$' "$page"; then
        echo "run.sh: $page lost its marks" >&2
        exit 1
    fi
    sed -e '/^<!-- fuzz: begin -->$/,/^<!-- fuzz: end -->$/{/^<!-- fuzz: begin -->$/{p;r '"$work/table"'
d};/^<!-- fuzz: end -->$/p;d}' "$page" >"$work/page" && cat "$work/page" >"$page"
fi
! grep -q '^FAIL' "$work"/*.line
