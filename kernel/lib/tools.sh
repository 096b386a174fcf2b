# shellcheck shell=bash disable=SC2034,SC2154 # build.sh and the other parts share their variables
# What the build needs of the machine, checked before anything is downloaded.

# Command and Debian package. perl generates assembly of ciphers; xz unpacks the source; zstd compresses
# the kernel.
readonly TOOLS="
gcc gcc
make make
ld binutils
flex flex
bison bison
bc bc
perl perl
awk mawk
tar tar
xz xz-utils
zstd zstd
depmod kmod
flock util-linux
setpriv util-linux
sha256sum coreutils
find findutils
cmp diffutils
"

# Prints the Debian packages of what is missing, one a line with its tool, as "package tool".
missing_tools() {
    local tool package
    # kmod lives in /usr/sbin, which a user's PATH lacks.
    local PATH=$PATH:/usr/sbin:/sbin
    while read -r tool package; do
        [[ -z $tool ]] || command -v "$tool" >/dev/null || echo "$package $tool"
    done <<<"$TOOLS"
    # Kbuild's own programs run on this machine and need its headers; objtool reads ELF by libelf.
    header_exists stdio.h || echo "libc6-dev stdio.h"
    header_exists gelf.h || echo "libelf-dev gelf.h"
    [[ -z $CROSS_COMPILE ]] || command -v "${CROSS_COMPILE}gcc" >/dev/null || echo "$cross_package ${CROSS_COMPILE}gcc"
}

header_exists() {
    ! command -v gcc >/dev/null || echo "#include <$1>" | gcc -E -xc -o /dev/null - 2>/dev/null
}

require_tools() {
    local missing packages
    missing=$(missing_tools)
    [[ -n $missing ]] || return 0
    packages=$(cut -d' ' -f1 <<<"$missing" | sort -u | tr '\n' ' ')
    packages=${packages% }
    say "the build needs what this machine lacks: $(awk '{ printf "%s%s (Debian: %s)", separator, $2, $1; separator = ", " }' <<<"$missing")"
    if [[ ${NANOOS_NO_INSTALL:-} != 1 && $EUID == 0 ]] && command -v apt-get >/dev/null; then
        install_packages "$packages"
        missing=$(missing_tools)
        [[ -z $missing ]] || die "still missing after the installation: ${missing//$'\n'/, }"
    else
        die "build tools are missing" "install them:  sudo apt-get install $packages"
    fi
}

install_packages() {
    local log
    log=$(mktemp)
    say "installing $1 (NANOOS_NO_INSTALL=1 forbids it)"
    # Word splitting of the package list is meant.
    # shellcheck disable=SC2086
    if ! { apt-get -o DPkg::Lock::Timeout=600 update &&
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends $1; } \
        </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get could not install $1 (its last lines are above, all of it is in $log)" \
            "repair that, or install them another way, and run this again"
    fi
    rm -f "$log"
}

# The unpacked source takes 1.8 GB, the build tree 1 GB, the archive 0.2 GB.
readonly NEEDED_MIB=3500

require_space() {
    local free_mib
    free_mib=$(($(df --output=avail -k "$1" | tail -n 1) / 1024))
    ((free_mib >= NEEDED_MIB)) ||
        die "$1 has $free_mib MiB free, a kernel build needs $NEEDED_MIB MiB there for a while" \
            "free some space, or set NANOOS_CACHE to a folder on a larger disk"
}
