#!/bin/bash
# What init spends its time on, from the kernel's start of PID 1 to the application's: one line for each of its phases.
#
#   bench/init-phases.sh [--runs N] [--wall] [-- BUILDER OPTION...]
#
# Machine time: QEMU counts instructions, two nanoseconds each (-icount), so a loaded host changes nothing; what a disk
# takes to answer comes on top, and the lowest of the runs is the one that waited least. --wall measures by the host's clock instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=bench/probe-image.sh
. bench/probe-image.sh

runs=5 clock=(-icount "shift=1,sleep=off")
while (($#)); do
    case $1 in
        --runs) runs=${2:?--runs needs a number}; shift ;;
        --wall) clock=() ;;
        -h | --help) usage; exit ;;
        --) shift; break ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
begin "$runs"

# Boots once and prints `PHASE MILLISECONDS` lines.
measure() {
    local console=$work/console
    timeout 600 qemu/boot.sh "$work/disk.raw" --firmware direct --smp 1 -m 256 -- "${clock[@]}" >"$console" 2>&1 </dev/null ||
        { cat "$console" >&2; die "a machine did not end well (its console is above)"; }
    tr -d '\r' <"$console" | awk '
        function stamp() { match($0, /[0-9]+\.[0-9]+\]/); return substr($0, RSTART, RLENGTH - 1) * 1000 }
        /Run \/init as init process/ { init = stamp() }
        /nanoos: (drivers|disk|root|network|launch): [0-9.]+ ms/ { sub(/^.*nanoos: /, ""); print $1, $2; next }
        /nanoos: launch: .* runs as process/ { print "PID1-to-program:", stamp() - init }'
}

# A program that ends at once, so that the machine does too.
make_image say up
cargo build --quiet --package builder
builder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/builder
"$builder" -d "$@" "oci:$work/image" -o "$work/disk.raw"
for ((run = 1; run <= runs; run++)); do
    echo "run $run of $runs" >&2
    measure >>"$work/times"
done
printf '\n%-18s %10s %10s   ms, %d boots, %s\n' phase lowest median "$runs" "$([[ ${#clock[@]} == 0 ]] && echo "wall time" || echo "machine time")"
for phase in drivers: disk: root: network: launch: PID1-to-program:; do
    awk -v phase="$phase" '$1 == phase { print $2 }' "$work/times" | sort -n |
        awk -v phase="${phase%:}" '{ value[NR] = $1 } END { printf "%-18s %10.1f %10.1f\n", phase, value[1], value[int((NR + 1) / 2)] }'
done
