# shellcheck shell=bash
# What the benchmarks of a boot have in common. Sourced by them, from the root of the tree.

# The comment at the top of the script that runs.
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
die() { echo "bench/${0##*/}: $*" >&2; exit 1; }

# Checks what is needed, and makes $work, a directory that goes with the script: begin RUNS
begin() {
    [[ $1 =~ ^[1-9][0-9]*$ ]] || die "--runs takes a number, not $1"
    command -v umoci >/dev/null || die "umoci is missing (Debian package umoci)"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
}

# Makes an image, $work/image, of tests/probe alone: make_image ARGUMENT...
make_image() {
    local program word words=()
    program=$(init/build.sh --target-dir target/static probe | awk -F '\t' '$1 == "probe" { print $2 }')
    umoci init --layout "$work/image"
    umoci new --image "$work/image:latest"
    # Not `umoci insert`: version 0.4.7 writes a tar without padding and end.
    tar -C "$(dirname "$program")" --owner 0 --group 0 -cf "$work/layer.tar" probe
    umoci raw add-layer --image "$work/image:latest" "$work/layer.tar"
    for word in "$@"; do words+=(--config.cmd "$word"); done
    umoci config --image "$work/image:latest" --config.entrypoint /probe "${words[@]}"
}
