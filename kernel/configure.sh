#!/usr/bin/env bash
# Writes the kernel's configuration and proves that it is what the fragments ask for.
#
#   configure.sh SOURCE BUILD ARCH
#
# SOURCE is the kernel's tree, BUILD the folder for .config (make's O=), ARCH x86_64 or arm64. Takes seconds:
# the way to try an edited fragment before a build. CROSS_COMPILE names another compiler's prefix.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if (($# != 3)); then
    echo "usage: ${0##*/} SOURCE BUILD ARCH" >&2
    exit 2
fi
source=$1 build=$2 arch=$3
fragments=("$here"/fragments/*.config "$here/fragments/$arch"/*.config)

mkdir -p "$build"
kernel_make=(make -C "$source" "O=$build" "ARCH=$arch" "CROSS_COMPILE=${CROSS_COMPILE:-}")

# Everything off, then what the fragments request. The base's own requests (size before speed, and so on)
# give way to ours, as whole lines, so that no choice is made twice.
"${kernel_make[@]}" tinyconfig >&2
awk '
    /^CONFIG_/ { split($0, part, "="); name = part[1] }
    /^# CONFIG_.* is not set$/ { name = $2 }
    { is_option = /^CONFIG_|^# CONFIG_.* is not set$/ }
    FILENAME != base && is_option { requested[name] = 1; print }
    FILENAME == base && is_option && !(name in requested) { print }
' base="$build/.config" "${fragments[@]}" "$build/.config" >"$build/.config.requested"
mv "$build/.config.requested" "$build/.config"
"${kernel_make[@]}" olddefconfig >&2

bash "$here/check.sh" "$build/.config" "${fragments[@]}"
