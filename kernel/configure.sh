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
# shellcheck source=lib/say.sh
. "$here/lib/say.sh"
# shellcheck source=lib/arch.sh
. "$here/lib/arch.sh"
source=$1 build=$2
set_arch "$3"
fragments=("$here"/fragments/*.config "$here/fragments/$arch"/*.config)

mkdir -p "$build"
kernel_make=(make -C "$source" "O=$build" "ARCH=$arch" "CROSS_COMPILE=$CROSS_COMPILE")

# This is make tinyconfig with the fragments as further requests: everything is off that neither asks for. So an
# option that shows up because another is on does not start at Kconfig's default, which is made for distributions.
# tinyconfig's own requests (size before speed, and so on) give way to ours, which come last: of a choice made
# twice, Kconfig takes the last.
shopt -s nullglob
awk '
    /^CONFIG_/ { split($0, part, "="); name = part[1] }
    /^# CONFIG_.* is not set$/ { name = $2 }
    { is_option = /^CONFIG_|^# CONFIG_.* is not set$/ }
    !tiny && is_option { requested[name] = 1; ours = ours $0 "\n" }
    tiny && is_option && !(name in requested) { print }
    END { printf "%s", ours }
' "${fragments[@]}" tiny=1 "$source"/kernel/configs/tiny*.config "$source/arch/$kernel_arch"/configs/tiny*.config \
    >"$build/requested.config"
KCONFIG_ALLCONFIG=$build/requested.config "${kernel_make[@]}" allnoconfig >&2

bash "$here/check.sh" "$build/.config" "${fragments[@]}"
