#!/usr/bin/env bash
# What build.sh answers without building: the cache's state, wrong use, missing tools, a full disk. Needs no kernel
# source and no network, takes a moment.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export NANOOS_CACHE=$folder/cache NANOOS_NO_INSTALL=1
failures=0

# expect EXIT NAME PATTERN… -- COMMAND…: every pattern must be in stderr, and stdout must be empty.
expect() {
    local exit=$1 name=$2 got=0 patterns=() pattern
    shift 2
    while [[ $1 != -- ]]; do patterns+=("$1") && shift; done
    shift
    "$@" >"$folder/out" 2>"$folder/err" || got=$?
    for pattern in ${patterns[@]+"${patterns[@]}"}; do
        grep -qF -- "$pattern" "$folder/err" || got="$got, no \"$pattern\""
    done
    if [[ $got == "$exit" && ! -s $folder/out ]]; then
        echo "ok   $name"
    else
        echo "FAIL $name: exit $got, expected $exit" && cat "$folder/err" "$folder/out"
        failures=$((failures + 1))
    fi
}

expect 3 "an empty cache: --print-dir builds nothing" -- bash "$here/../build.sh" --print-dir
[[ ! -e $NANOOS_CACHE ]] || { echo "FAIL --print-dir left something in the cache" && failures=$((failures + 1)); }
expect 2 "an unknown option" "unknown option: --sorce" -- bash "$here/../build.sh" --sorce x
expect 1 "an unknown architecture" "no such architecture: mips" "x86_64, arm64" -- bash "$here/../build.sh" --arch mips
expect 1 "a source that is not there" "no kernel source at /nonexistent" -- bash "$here/../build.sh" --source /nonexistent

# A machine without flex and depmod: everything else of this one.
mkdir "$folder/bin"
IFS=: read -ra path <<<"$PATH:/usr/sbin:/sbin"
for directory in "${path[@]}"; do
    ln -sf "$directory"/* "$folder/bin/" 2>/dev/null || true
done
rm -f "$folder/bin"/{flex,lex}
expect 1 "a missing tool is named with its package" "flex (Debian: flex)" "sudo apt-get install flex" -- \
    env PATH="$folder/bin" bash "$here/../build.sh"

# The folder works wherever it is copied, and the key is that of its content.
cp -r "$here/.." "$folder/elsewhere"
expect 3 "a copy of the folder elsewhere" -- bash "$folder/elsewhere/build.sh" --print-dir

((failures == 0)) || { echo "$failures failed" && exit 1; }
