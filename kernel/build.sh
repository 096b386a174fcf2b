#!/usr/bin/env bash
# Builds NanoOS' kernel into the cache, or finds it there, and prints its folder.
#
#   build.sh [--source DIR|TARBALL] [--arch x86_64|arm64] [--jobs N] [--update] [--print-dir]
#
#   --source     build this kernel source instead of Debian's
#   --arch       default: this machine's
#   --jobs       default: one per processor
#   --update     look for a newer source than that of the cached kernel
#   --print-dir  only print the folder; exit 3 if it is not built yet
#
# stdout: the folder, nothing else. NANOOS_CACHE moves the cache; NANOOS_NO_INSTALL=1 forbids to install
# missing build tools; CROSS_COMPILE names another compiler's prefix. README.md describes the folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib/say.sh
. "$here/lib/say.sh"
# shellcheck source=lib/arch.sh
. "$here/lib/arch.sh"
# shellcheck source=lib/cache.sh
. "$here/lib/cache.sh"
# shellcheck source=lib/tools.sh
. "$here/lib/tools.sh"
# shellcheck source=lib/apt.sh
. "$here/lib/apt.sh"
# shellcheck source=lib/source.sh
. "$here/lib/source.sh"
# shellcheck source=lib/compile.sh
. "$here/lib/compile.sh"

arch=$(uname -m)
arch=${arch/aarch64/arm64}
jobs=$(nproc)
given='' update=0 print_only=0

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$here/build.sh" >&2
    exit "$1"
}
while (($#)); do
    case $1 in
        --source | --arch | --jobs)
            (($# >= 2)) || die "$1 needs a value"
            case $1 in --source) given=$2 ;; --arch) arch=$2 ;; --jobs) jobs=$2 ;; esac
            shift 2
            ;;
        --update) update=1 && shift ;;
        --print-dir) print_only=1 && shift ;;
        --help | -h) usage 0 ;;
        *) say "unknown option: $1" && usage 2 ;;
    esac
done
[[ $jobs =~ ^[1-9][0-9]*$ ]] || die "--jobs takes a number, not $jobs"
set_arch "$arch"

# The cache answers first: no lock, no network.
cache=$(cache_root)
identity=''
[[ -z $given ]] || identity=$(given_identity "$given")
key=$(inputs_key "$arch" "$identity")
pointer=$cache/for-$key
if ! ((update)) && entry=$(cached_entry "$pointer"); then
    echo "$entry"
    exit 0
fi
if ((print_only)); then
    if entry=$(cached_entry "$pointer"); then echo "$entry" && exit 0; fi
    exit 3
fi

require_tools
mkdir -p "$cache"
lock_cache "$cache"
if ! ((update)) && entry=$(cached_entry "$pointer"); then
    say "the other build made it"
    echo "$entry"
    exit 0
fi
remove_stale_work "$cache"
require_space "$cache"

work=$(mktemp -d "$cache/work.XXXXXX")
make_pid=''
clean_up() {
    [[ -z $make_pid ]] || kill "$make_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Which source? From here on an unchanged one may still turn out to be built already.
source_tree='' source_archive='' source_version='' fresh=0
if [[ -n $given ]]; then
    source_given "$given" "$identity"
elif ! ((update)) && source_kept "$cache/source"; then
    :
elif source_debian "$work" || source_kernel_org "$work"; then
    fresh=1
elif source_kept "$cache/source"; then
    say "no newer source can be had now"
else
    die "no kernel source: neither Debian's archive nor kernel.org could be reached" \
        "repair the network, or give a kernel tree or tarball by --source"
fi
((!fresh)) || keep_source "$cache/source"
entry_key=$(echo "$key $source_kind $source_version $source_sha256" | sha256sum | cut -c1-12)
name=linux-${source_version:-given}-$arch-$entry_key
if [[ -r $cache/$name/manifest.json ]]; then
    say "$name is built already"
    point "$pointer" "$name"
    echo "$cache/$name"
    exit 0
fi

# Build it.
build=$work/build entry=$work/entry log=$cache/build-$arch.log
mkdir -p "$build" "$entry"
: >"$log"
find_stub "$work" "$cache/source" "$entry/stub.efi"
unpack_source "$work/source"
source_version=${source_version:-$(make -s -C "$source_tree" kernelversion)}
reproducible_environment
say "configuring Linux $source_version for $arch"
bash "$here/configure.sh" "$source_tree" "$build" "$arch" 2>"$work/configure.log" || {
    grep '^check.sh:' "$work/configure.log" >&2 || tail -n 20 "$work/configure.log" >&2
    die "the configuration is not what the fragments ask for (above)"
}
compile "$build" "$log" "$jobs"
install_entry "$build" "$entry" "$log"
write_manifest "$entry"

# Give it its name: from this moment it exists, whole.
sync -f "$entry"
mv -T "$entry" "$cache/$name"
point "$pointer" "$name"
say "$name: vmlinuz $(stat -c %s "$cache/$name/vmlinuz") bytes," \
    "$(find "$cache/$name/lib" -name '*.ko' | wc -l) modules"
echo "$cache/$name"
