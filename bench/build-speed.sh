#!/bin/bash
# How long a build takes beside a yardstick, in one run: `zstd -T0` at the builder's level over the same bytes.
#
#   bench/build-speed.sh [--runs N] [--image OCI-DIRECTORY] [--release]
#
# Builds of one image in turn with the yardstick: with nothing packed; with another top layer; with nothing changed. Then the memory
# that it takes, and the blocks of 512 KiB in which the disks of the two top layers differ. Without --image it is nginx as the
# tests made it (tests/run nginx).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=bench/probe-image.sh
. bench/probe-image.sh

cache=${NANOOS_CACHE:-$HOME/.cache/nanoos}
runs=5 image='' profile=debug
while (($#)); do
    case $1 in
        --runs) runs=${2:?--runs needs a number}; shift ;;
        --image) image=${2:?--image needs a directory}; shift ;;
        --release) profile=release ;;
        -h | --help) usage; exit ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
begin "$runs"
command -v zstd >/dev/null || die "zstd is missing (Debian package zstd)"
[[ -n $image ]] || image=$(find "$cache/test-images" -maxdepth 1 -name 'nginx-*' | head -n 1)
[[ -d $image ]] || die "there is no image nginx yet: tests/run nginx makes it, or name one with --image"

# The image twice, with one more layer of a small file, and the same bytes for the yardstick.
make_images() {
    local number
    for number in 1 2; do
        cp -r "$image" "$work/image$number"
        mkdir -p "$work/top/srv"
        echo "version $number" >"$work/top/srv/version"
        tar -C "$work/top" --owner 0 --group 0 --mtime @1700000000 -cf "$work/top.tar" srv
        umoci raw add-layer --image "$work/image$number:latest" "$work/top.tar"
    done
    umoci raw unpack --image "$work/image1:latest" "$work/root" >/dev/null
    tar -C "$work/root" -cf "$work/root.tar" .
}

# Runs a command and prints its seconds.
seconds() {
    local start=$EPOCHREALTIME
    "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "$1 failed"; }
    awk -v start="$start" -v end="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", end - start }'
}

build() { seconds "$builder" "oci:$work/$1" -o "$work/$1.raw"; }
yardstick() { seconds zstd -q -f -T0 "-$level" "$work/root.tar" -o "$work/root.zst"; }
forget_all() { rm -rf "$work/cache/packed"; }
forget_top_layer() { find "$work/cache/packed" -type f -size -64k -delete; }

median() { sort -n "$work/$1" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

row() {
    awk -v name="$1" -v a="$(median "$2")" -v zstd="$(median zstd)" -v full="$(median full)" \
        'BEGIN { printf "%-34s %7.2f s %10.2f %12.2f\n", name, a, a / zstd, a / full }'
}

# Blocks of 512 KiB in which two files differ.
differing_blocks() {
    { cmp -l "$1" "$2" || true; } 2>/dev/null | awk '{ blocks[int(($1 - 1) / 524288)] } END { print length(blocks) }'
}

if [[ $profile == release ]]; then cargo build --quiet --release --package builder; else cargo build --quiet --package builder; fi
builder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$profile/builder
level=$(sed -n 's/^pub const LEVEL: i32 = \([0-9]*\);.*/\1/p' builder/src/pack/blocks.rs)
# Of the user's cache only the kernel is used.
mkdir "$work/cache"
ln -s "$cache/kernel" "$work/cache/kernel"
export NANOOS_CACHE=$work/cache
make_images
build image1 >/dev/null # packs the initramfs, and has the files in memory

for ((run = 1; run <= runs; run++)); do
    echo "run $run of $runs" >&2
    yardstick >>"$work/zstd"
    forget_all
    build image1 >>"$work/full"
    forget_top_layer
    build image2 >>"$work/rebuild"
    build image2 >>"$work/again"
done

printf '\nMedians of %d, %s profile; %d MB of files; load of the host: %s\n\n' "$runs" "$profile" \
    $(($(stat -c %s "$work/root.tar") / 1000000)) "$(cut -d' ' -f1-3 /proc/loadavg)"
printf '%-34s %9s %10s %12s\n' "" time "of zstd's" "of the full"
row "zstd -T0 -$level" zstd
row "full build: nothing is packed" full
row "rebuild: another top layer" rebuild
row "again: nothing changed" again
forget_all
"$builder" "oci:$work/image1" -o "$work/image1.raw" 2>/dev/null &
peak=0
while kill -0 $! 2>/dev/null; do
    now=$(awk '/^VmHWM/ { print $2 }' "/proc/$!/status" 2>/dev/null || true)
    ((${now:-0} <= peak)) || peak=$now
    sleep 0.02
done
printf '\nmemory of a full build: %d MiB at most\n' $((peak / 1024))
printf 'disk: %d blocks of 512 KiB, of which %s differ with another top layer\n' \
    $(($(stat -c %s "$work/image1.raw") / 524288)) "$(differing_blocks "$work/image1.raw" "$work/image2.raw")"
