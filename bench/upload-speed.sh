#!/bin/bash
# What an upload costs beside coldsnap's, in one run: `builder publish` and `coldsnap upload` of the same disks, to the same stand-in
# for EBS (tests/ec2).
#
#   bench/upload-speed.sh [--runs N] [--image OCI-DIRECTORY] [--noise MIB] [--latency MS] [--quota N]...
#
# The disks are nginx as the tests made it (tests/run nginx), unless --image names another image, and one with so much noise on it
# beside (1024 MiB; 0 for none); each also rebuilt with another top layer. In turn, each in an account where nothing is: the upload; with
# the first snapshot in place, that of the rebuilt disk. Once for each quota, in blocks a second (1000, EBS's own, and 200).
#
# coldsnap leaves out blocks of zeros here, and is told the parent, which changes nothing in what it sends. "upload" is the time until
# CompleteSnapshot is accepted: for builder with all that it does before, such as looking for an image and checking the disk. "whole" is
# until the snapshot is complete, which both ask three times, builder every 0.2 s after the first time, `coldsnap wait` every 2 s; and
# for builder until the image is registered. coldsnap comes from crates.io, as a release build, once: some minutes and GB. builder is
# target/release's if there is one, else that of the dev profile; NANOOS_BUILDER names another one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=bench/probe-image.sh
. bench/probe-image.sh

readonly COLDSNAP_VERSION=0.12.0
cache=${NANOOS_CACHE:-$HOME/.cache/nanoos}
runs=3 image='' noise=1024 latency=10 quotas=()
while (($#)); do
    case $1 in
        --runs) runs=${2:?--runs needs a number}; shift ;;
        --image) image=${2:?--image needs a directory}; shift ;;
        --noise) noise=${2:?--noise needs a number}; shift ;;
        --latency) latency=${2:?--latency needs a number}; shift ;;
        --quota) quotas+=("${2:?--quota needs a number}"); shift ;;
        -h | --help) usage; exit ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
((${#quotas[@]})) || quotas=(1000 200)
begin "$runs"
stand_in=''
trap '[[ -z $stand_in ]] || kill "$stand_in"; rm -rf "$work"' EXIT
[[ -x /usr/bin/time ]] || die "time is missing (Debian package time)"
command -v jq >/dev/null || die "jq is missing (Debian package jq)"
command -v curl >/dev/null || die "curl is missing (Debian package curl)"
[[ -n $image ]] || image=$(find "$cache/test-images" -maxdepth 1 -name 'nginx-*' | head -n 1)
[[ -d $image ]] || die "there is no image nginx yet: tests/run nginx makes it, or name one with --image"

# Its own directory of cargo's, so that the settings of this workspace are not used for it.
install_coldsnap() {
    coldsnap=$cache/coldsnap/bin/coldsnap
    ! grep -qsF "coldsnap $COLDSNAP_VERSION " "$cache/coldsnap/.crates.toml" || return 0
    # Without optimization of that one crate rustc takes less memory; it does nothing here.
    (cd / && CARGO_TARGET_DIR=$work/coldsnap cargo install --quiet coldsnap --version "$COLDSNAP_VERSION" --locked \
        --root "$cache/coldsnap" --config 'profile.release.package.aws-sdk-ec2.opt-level=0')
}

# Adds what is in $work/top as one more layer: add_top IMAGE
add_top() {
    tar -C "$work/top" --owner 0 --group 0 --mtime @1700000000 -cf "$work/top.tar" .
    umoci raw add-layer --image "$1:latest" "$work/top.tar"
    rm -rf "$work/top" "$work/top.tar"
}

# Makes $work/1/NAME.raw and $work/2/NAME.raw, which builder takes for two versions of the same: make_disks NAME MIB
make_disks() {
    local number
    mkdir -p "$work/1" "$work/2"
    cp -r "$image" "$work/image"
    if (($2)); then
        mkdir -p "$work/top/srv"
        head -c "$2M" /dev/urandom >"$work/top/srv/noise"
        add_top "$work/image"
    fi
    for number in 1 2; do
        cp -r "$work/image" "$work/image$number"
        mkdir -p "$work/top/srv"
        echo "version $number" >"$work/top/srv/version"
        add_top "$work/image$number"
        "$builder" "oci:$work/image$number" -o "$work/$number/$1.raw" 2>"$work/log" || { cat "$work/log" >&2; die "builder failed"; }
    done
    rm -rf "$work"/image "$work"/image[12]
}

# An account where nothing is: begin_account QUOTA
begin_account() {
    rm -f "$work/endpoint"
    "$ec2" --latency-ms "$latency" --put-quota "$1" >"$work/endpoint" &
    stand_in=$!
    until [[ -s $work/endpoint ]]; do
        kill -0 "$stand_in" || die "the stand-in does not start"
        sleep 0.05
    done
    AWS_ENDPOINT_URL=$(cat "$work/endpoint")
    export AWS_ENDPOINT_URL
    rm -rf "$work/cache/aws"
}

end_account() {
    kill "$stand_in"
    wait "$stand_in" || true
    stand_in=''
}

# Runs a command and writes its seconds, those of the processors, and its memory to $work/time: timed OUTPUT COMMAND...
timed() { /usr/bin/time -o "$work/time" -f '%e %U %S %M' "${@:2}" >"$1" 2>"$work/log"; }

# Uploads a disk. The id of its snapshot goes to $work/snapshot, seconds until CompleteSnapshot and until the end to $work/seconds:
# upload TOOL DISK [PARENT]
upload() {
    local access=(--region "$AWS_REGION" --endpoint "$AWS_ENDPOINT_URL") parent=() start
    case $1 in
        coldsnap)
            [[ -z ${3:-} ]] || parent=(--parent-snapshot-id "$3")
            timed "$work/snapshot" "$coldsnap" "${access[@]}" upload --no-progress --omit-zero-blocks "${parent[@]}" "$2" || return
            start=$EPOCHREALTIME
            "$coldsnap" "${access[@]}" wait "$(cat "$work/snapshot")" 2>"$work/log" || return
            awk -v start="$start" -v end="$EPOCHREALTIME" '{ print $1, $1 + end - start }' "$work/time" >"$work/seconds"
            ;;
        builder)
            timed "$work/told" "$builder" publish --json "$2" || return
            jq -r '.regions[].snapshot' "$work/told" >"$work/snapshot"
            # It tells the time of each step.
            { awk '/: wait until .* is complete/ { print $1 }' "$work/log"; cut -d ' ' -f 1 "$work/time"; } | paste -s -d ' ' >"$work/seconds"
            ;;
    esac
}

# Uploads, and adds a line to $work/NAME.TOOL: bytes, requests, refused ones, upload, whole, CPU, memory: measure NAME TOOL DISK [PARENT]
measure() {
    curl -sS -X POST "$AWS_ENDPOINT_URL/_tally" >/dev/null
    if ! upload "${@:2}"; then
        echo "$2 failed: $(tail -n 1 "$work/log" | cut -c 1-300)" >&2
        echo failed >>"$work/$1.$2"
        return
    fi
    curl -sS "$AWS_ENDPOINT_URL/_tally" | jq -r '"\(.block_bytes) \([.requests[]] | add) \([.refused[]] | add // 0)"' |
        paste -d ' ' - "$work/seconds" "$work/time" | awk '{ print $1, $2, $3, $4, $5, $7 + $8, $9 }' >>"$work/$1.$2"
}

# The median of a column of $work/FILE, of the runs that did not fail.
median() {
    awk -v column="$2" '$1 != "failed" { print $column }' "$work/$1" | sort -n |
        awk '{ value[NR] = $1 } END { print NR ? value[int((NR + 1) / 2)] : "nan" }'
}

failures() { grep -c failed "$work/$1" || true; }

# coldsnap's figures, the builder's, and how many times the builder's coldsnap's are: table NAME
table() {
    local column labels=("" "MiB sent" requests "of them refused" "upload, s" "whole, s" "CPU, s" "memory, MiB") units=(1 1048576 1 1 1 1 1 1024)
    for column in 1 2 3 4 5 6 7; do
        awk -v label="${labels[column]}" -v unit="${units[column]}" -v theirs="$(median "$1.coldsnap" "$column")" \
            -v ours="$(median "$1.builder" "$column")" 'BEGIN {
                ratio = theirs == "nan" || ours == "nan" || ours == 0 ? "-" : sprintf("%.2f", theirs / ours)
                printf "  %-16s %10.2f %10.2f %10s\n", label, theirs / unit, ours / unit, ratio }'
    done
    printf '  %-16s %10s %10s\n' "runs that failed" "$(failures "$1.coldsnap")" "$(failures "$1.builder")"
}

cargo build --quiet --package ec2-stand-in
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
ec2=$target/debug/ec2-stand-in
builder=${NANOOS_BUILDER:-$target/release/builder} profile=release
if [[ -n ${NANOOS_BUILDER:-} ]]; then
    profile="as given"
elif [[ ! -x $builder ]]; then
    cargo build --quiet --package builder
    builder=$target/debug/builder profile=dev
fi
install_coldsnap
# Of the user's cache only the kernel is used.
mkdir "$work/cache"
ln -s "$cache/kernel" "$work/cache/kernel"
export NANOOS_CACHE=$work/cache AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
unset AWS_PROFILE AWS_SESSION_TOKEN
disks=(nginx)
make_disks nginx 0
if ((noise)); then
    make_disks noise "$noise"
    disks+=(noise)
fi

for quota in "${quotas[@]}"; do
    for ((run = 1; run <= runs; run++)); do
        for disk in "${disks[@]}"; do
            for tool in coldsnap builder; do
                echo "quota $quota, run $run of $runs: $tool, $disk" >&2
                begin_account "$quota"
                : >"$work/snapshot"
                measure "$disk.$quota.first" "$tool" "$work/1/$disk.raw"
                measure "$disk.$quota.rebuilt" "$tool" "$work/2/$disk.raw" "$(cat "$work/snapshot")"
                end_account
            done
        done
    done
done

printf '\nMedians of %d; builder: %s profile, coldsnap %s: release; latency of a Put: %d ms; load of the host: %s\n' "$runs" "$profile" \
    "$COLDSNAP_VERSION" "$latency" "$(cut -d' ' -f1-3 /proc/loadavg)"
for quota in "${quotas[@]}"; do
    for disk in "${disks[@]}"; do
        for what in first rebuilt; do
            printf '\n%s, %d MiB, %s; quota %d blocks/s\n' "$disk" $(($(stat -c %s "$work/1/$disk.raw") >> 20)) "$what" "$quota"
            printf '  %-16s %10s %10s %10s\n' "" coldsnap builder ratio
            table "$disk.$quota.$what"
        done
    done
done
