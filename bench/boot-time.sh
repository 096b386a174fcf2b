#!/bin/bash
# How long a machine takes from the kernel's start to its program: with our kernel, and with Debian's stock cloud kernel
# under the same init, one after the other in turn.
#
#   bench/boot-time.sh [--runs N] [--firmware uefi|direct]
#
# Times are the kernel's own stamps of two records of its log: "Run /init" (it starts PID 1) and one that the program
# writes first of all. The machine boots quietly, as it does for a user; the program prints the log (tests/probe).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=bench/probe-image.sh
. bench/probe-image.sh

runs=5 firmware=uefi
while (($#)); do
    case $1 in
        --runs) runs=${2:?--runs needs a number}; shift ;;
        --firmware) firmware=${2:?--firmware needs a value}; shift ;;
        -h | --help) usage; exit ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
begin "$runs"

# Boots a disk once and prints two numbers in microseconds: kernel to PID 1, PID 1 to program.
measure() {
    local console=$work/console
    timeout 600 qemu/boot.sh "$1" --firmware "$firmware" >"$console" 2>&1 </dev/null ||
        { cat "$console" >&2; die "a machine did not end well (its console is above)"; }
    tr -d '\r' <"$console" | awk '
        $1 == "kmsg" && /Run \/init as init process/ { init = $2 }
        $1 == "kmsg" && /probe: runs/ { program = $2 }
        END { if (!init || !program) exit 1; print init, program - init }' ||
        { cat "$console" >&2; die "the console has no time stamps"; }
}

# The middle one of the numbers in a column: FILE COLUMN
median() {
    awk -v column="$2" '{ print $column }' "$1" | sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

row() {
    awk -v name="$1" -v a="$2" -v b="$3" 'BEGIN { printf "%-22s %9.1f ms %9.1f ms %12.1f\n", name, a / 1000, b / 1000, b / a }'
}

ours=$(kernel/build.sh)
stock=$(tests/stock-kernel)
release=$(basename "$stock"/lib/modules/*)
make_image kernel-log
cargo build --quiet --package builder
builder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/builder
"$builder" "oci:$work/image" -o "$work/ours.raw"
"$builder" --kernel "$stock" "oci:$work/image" -o "$work/stock.raw"

for ((run = 1; run <= runs; run++)); do
    for kernel in ours stock; do
        echo "run $run of $runs: $kernel" >&2
        measure "$work/$kernel.raw" >>"$work/$kernel.times"
    done
done

printf '\nOurs: Linux %s; stock: Debian, %s. Medians of %d boots each, firmware %s.\n' \
    "$(basename "$ours"/lib/modules/*)" "$release" "$runs" "$firmware"
printf 'Load of the host: %s\n\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
printf '%-22s %12s %12s %12s\n' "" ours stock stock/ours
for column in 1 2; do
    names=("" "kernel to PID 1" "PID 1 to program")
    row "${names[column]}" "$(median "$work/ours.times" "$column")" "$(median "$work/stock.times" "$column")"
done
