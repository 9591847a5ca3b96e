#!/bin/bash
# fresh-root.sh - the README's two commands in a minimal Debian 12 root: mmdebstrap, chroot, no init system.
#
#   tests/support/fresh-root.sh              ./try, then ./check --quick
#   tests/support/fresh-root.sh try|check    one of them
#
# As root, with network (the packages come from this machine's apt sources). KEEP=yes leaves the root;
# ROOT=/dir takes one that was left. What is committed here is cloned into it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
what=${1:-both}
[ "$(id -u)" = 0 ] || { echo "SKIP: chroot and mount need root"; exit 77; }
command -v mmdebstrap >/dev/null || { echo "SKIP: mmdebstrap is not installed"; exit 77; }

root=${ROOT:-}
mounts=()
cleanup() {
    for m in "${mounts[@]}"; do umount -l "$m" 2>/dev/null || true; done
    if [ "${KEEP:-no}" = yes ]; then echo "left: $root"; else rm -rf --one-file-system "$root"; fi
}
trap cleanup EXIT

if [ -z "$root" ]; then
    root=$(mktemp -d /var/tmp/tern-root-XXXXXX)
    chmod 755 "$root"
    # The Debian part of this machine's sources, whatever mirror it names; else the default one.
    sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
    [ -n "$sources" ] || sources="deb http://deb.debian.org/debian bookworm main"
    echo "$sources" | mmdebstrap --quiet --mode=root --variant=minbase --include=ca-certificates bookworm "$root" -
    for f in /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf.d/99*; do
        [ ! -e "$f" ] || cp "$f" "$root/etc/apt/apt.conf.d/"
    done
fi
for m in proc sys dev dev/pts; do
    mkdir -p "$root/$m"
    case $m in
    proc) mount -t proc proc "$root/proc" ;;
    *) mount --bind "/$m" "$root/$m" ;;
    esac
    mounts=("$root/$m" "${mounts[@]}")
done
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
rm -rf "$root/src"
git clone -q --no-hardlinks "$here" "$root/src/tern"
rm -rf "$root/src/tern/.git/hooks" # the clone stands alone

inside() { chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"; }
inside_left() { # processes that a command left behind
    for p in /proc/[0-9]*; do
        [ "$(readlink "$p/root" 2>/dev/null)" = "$root" ] && echo "${p#/proc/} $(tr '\0' ' ' <"$p/cmdline")" || true
    done
}

status=0
run() {
    local begin=$SECONDS
    printf '\n==== %s in %s\n' "$*" "$root"
    (cd / && inside "$@") || status=1
    printf '==== %s: %s s, status so far %s\n' "$*" $((SECONDS - begin)) $status
    local left
    left=$(inside_left)
    [ -z "$left" ] || { printf 'left running:\n%s\n' "$left"; status=1; }
}
# A Tern that goes on has the port: the second says so, takes another, and ends.
beside='/src/tern/try --keep >/tmp/keep.log 2>&1 && /src/tern/try >/tmp/beside.log 2>&1 && grep "^port 2525 is taken (tern, pid" /tmp/beside.log
status=$?; [ $status = 0 ] || cat /tmp/keep.log /tmp/beside.log
pid=$(sed -n "s/^Tern goes on, pid \([0-9]*\),.*/\1/p" /tmp/keep.log)
kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
exit $status'
tries() {
    run /src/tern/try
    run /src/tern/try
    run sh -c "$beside"
}
case $what in
try) tries ;;
check) run /src/tern/check --quick ;;
*) tries; run /src/tern/check --quick ;;
esac
exit $status
