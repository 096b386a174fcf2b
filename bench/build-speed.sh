#!/bin/bash
# How long a build takes beside a yardstick, in one run: `zstd -T0` at the same level over the same bytes.
#
#   bench/build-speed.sh [--runs N] [--image OCI-DIRECTORY] [--release]
#
# Three builds of the image, in turn with the yardstick: full (layers at hand, nothing packed), rebuild (the top layer is another), again
# (nothing is another). Then memory, and the blocks of 512 KiB that differ between the disks of the two top layers. Without --image it
# is nginx as the tests make it (160 MB of files, layers compressed by gzip).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=bench/common.sh
. bench/common.sh

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
for tool in zstd skopeo umoci /usr/bin/time; do
    command -v "$tool" >/dev/null || die "$tool is missing (Debian packages zstd, skopeo, umoci, time)"
done

# The level that the builder uses; the yardstick has the same.
level=$(sed -n 's/^pub const LEVEL: i32 = \([0-9]*\);.*/\1/p' builder/src/pack/blocks.rs)

# Images with one more layer, of which two differ in one small file.
make_images() {
    local number
    if [[ -z $image ]]; then
        cargo test --quiet -p tests --lib -- --ignored make_nginx_layout >/dev/null
        image=$(ls -d "${NANOOS_CACHE:-$HOME/.cache/nanoos}"/test-images/nginx-*/ | head -n 1)
    fi
    for number in 1 2; do
        cp -r "$image" "$work/image$number"
        mkdir -p "$work/top/srv"
        echo "version $number" >"$work/top/srv/version"
        tar -C "$work/top" --owner 0 --group 0 --mtime @1700000000 -cf "$work/top.tar" srv
        umoci raw add-layer --image "$work/image$number:latest" "$work/top.tar"
    done
    # The same bytes for the yardstick: all layers, decompressed.
    umoci raw unpack --rootless --image "$work/image1:latest" "$work/root" >/dev/null
    tar -C "$work/root" -cf "$work/root.tar" .
}

seconds() { /usr/bin/time -f %e -o "$work/time" "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "$1 failed"; }; cat "$work/time"; }
build() { seconds "$builder" "oci:$work/$1" -o "$work/$1.raw"; }
unpack_nothing() { rm -rf "$work/cache/packed"; }
yardstick() { seconds zstd -q -f -T0 "-$level" "$work/root.tar" -o "$work/root.zst"; }

median() { sort -n "$work/$1" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }
row() { awk -v name="$1" -v a="$(median "$2")" -v b="$(median yardstick)" 'BEGIN { printf "%-42s %7.2f s %7.2f\n", name, a, a / b }'; }

if [[ $profile == release ]]; then cargo build --quiet --release --package builder; else cargo build --quiet --package builder; fi
builder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$profile/builder
# The kernel is in the user's cache, and nothing else of that is used.
mkdir -p "$work/cache"
ln -s "${NANOOS_CACHE:-$HOME/.cache/nanoos}/kernel" "$work/cache/kernel"
export NANOOS_CACHE=$work/cache
make_images
build image1 >/dev/null # the initramfs is packed, files are in memory

for ((run = 1; run <= runs; run++)); do
    echo "run $run of $runs" >&2
    yardstick >>"$work/yardstick"
    unpack_nothing
    build image1 >>"$work/full"
    build image2 >>"$work/rebuild" # the first time with this layer, but for the first run
    find "$work/cache/packed" -type f -size -64k -delete
    build image2 >>"$work/rebuild2"
    build image2 >>"$work/again"
done

printf '\nMedians of %d runs, %s profile, load %s. Files: %s bytes.\n\n' "$runs" "$profile" "$(cut -d' ' -f1-3 /proc/loadavg)" "$(stat -c %s "$work/root.tar")"
printf '%-42s %9s %7s\n' "" time "ratio"
row "zstd -T0 -$level" yardstick
row "full build, nothing packed" full
row "rebuild, another top layer" rebuild2
row "again, nothing changed" again
unpack_nothing
/usr/bin/time -f '%M' -o "$work/memory" "$builder" "oci:$work/image1" -o "$work/image1.raw" 2>/dev/null
printf '\npeak memory of a full build: %d MiB\n' $(($(cat "$work/memory") / 1024))
printf 'disk: %d blocks of 512 KiB; with another top layer %d of them differ\n' \
    $(($(stat -c %s "$work/image1.raw") / 524288)) "$(differing_blocks "$work/image1.raw" "$work/image2.raw")"
