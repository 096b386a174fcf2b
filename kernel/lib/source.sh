# shellcheck shell=bash disable=SC2034,SC2154 # build.sh and the other parts share their variables
# Where the kernel's source comes from: what the caller names, Debian's signed package, kernel.org. Each way
# sets source_kind, source_version, source_sha256 and source_archive (or source_tree, for a folder).
#
# The archive in use is kept in the cache's folder source/, one at a time, beside the EFI stub's package: with
# it, a build after an edit of the fragments needs no network. Nothing else of a build is kept.

readonly DEBIAN_PACKAGE=linux-source-6.12

# The last resort, for machines without Debian's apt. The checksum stands in kernel.org's signed list
# (https://cdn.kernel.org/pub/linux/kernel/v6.x/sha256sums.asc) and, for example, in OpenWrt.
readonly KERNEL_ORG_VERSION=6.12.80
readonly KERNEL_ORG_SHA256=c92591d896e79ecddbc3319136f0c2f855e832b397de7593f013ad7590a43e53
readonly KERNEL_ORG_URL=https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-$KERNEL_ORG_VERSION.tar.xz

sha256_of() { sha256sum -- "$1" | cut -d' ' -f1; }

# given_identity PATH: what distinguishes a source that the caller names. A tree is known by the names, sizes
# and times of its files: hashing 1.5 GB at each call would be felt.
given_identity() {
    if [[ -d $1 ]]; then
        (cd "$1" && find . -name .git -prune -o -type f -printf '%P %s %T@\n') | LC_ALL=C sort | sha256sum | cut -d' ' -f1
    elif [[ -f $1 ]]; then
        sha256_of "$1"
    else
        die "no kernel source at $1" "--source takes a kernel tree, or a tarball of one"
    fi
}

source_given() {
    local path=$1
    source_kind=given
    source_sha256=$2
    if [[ -d $path ]]; then
        [[ -f $path/Kbuild && -f $path/MAINTAINERS ]] || die "$path is not a kernel source tree (no Kbuild, no MAINTAINERS)"
        [[ ! -e $path/.config && ! -d $path/include/config ]] ||
            die "the tree $path holds a configuration or build of its own" "clean it:  make -C $path mrproper"
        source_tree=$(cd "$path" && pwd)
    else
        source_archive=$path
    fi
}

# source_kept FOLDER: the archive that an earlier build left; fails if there is none, or if it is damaged.
source_kept() {
    local kept=$1/kept file
    [[ -r $kept ]] || return 1
    read -r source_kind source_version source_sha256 file <"$kept" || return 1
    source_archive=$1/$file
    [[ -r $source_archive && $(sha256_of "$source_archive") == "$source_sha256" ]] || return 1
    say "source: $file, kept in the cache (--update looks for a newer one)"
}

# keep_source FOLDER: moves the fresh archive there, in the place of an older one.
keep_source() {
    local file=${source_archive##*/} folder=$1
    mkdir -p "$folder"
    find "$folder" -maxdepth 1 -type f \( -name 'linux-*' -o -name kept \) -delete
    mv -- "$source_archive" "$folder/$file"
    source_archive=$folder/$file
    printf '%s %s %s %s\n' "$source_kind" "$source_version" "$source_sha256" "$file" >"$folder/kept.new"
    mv "$folder/kept.new" "$folder/kept"
}

source_debian() {
    local work=$1
    if ! apt_is_usable; then
        say "Debian's package can't be had here (apt-get, dpkg-deb or $DEBIAN_KEYRING is missing)"
        return 1
    fi
    say "asking Debian's archive for $DEBIAN_PACKAGE (a private apt, the machine's stays as it is)"
    [[ -n ${apt_root:-} ]] || apt_open "$work/apt"
    source_archive=$(apt_download "$DEBIAN_PACKAGE" "$work") || return 1
    source_kind=debian
    source_version=$(dpkg-deb --field "$source_archive" Version)
    source_sha256=$(sha256_of "$source_archive")
    say "source: $DEBIAN_PACKAGE $source_version, signed by Debian"
}

source_kernel_org() {
    local work=$1
    source_archive=$work/${KERNEL_ORG_URL##*/}
    say "downloading $KERNEL_ORG_URL"
    if command -v curl >/dev/null; then
        curl -fsSL --retry 3 -o "$source_archive" "$KERNEL_ORG_URL" || return 1
    elif command -v wget >/dev/null; then
        wget -q -O "$source_archive" "$KERNEL_ORG_URL" || return 1
    else
        say "neither curl nor wget is here to download it"
        return 1
    fi
    source_kind=kernel.org
    source_version=$KERNEL_ORG_VERSION
    source_sha256=$(sha256_of "$source_archive")
    [[ $source_sha256 == "$KERNEL_ORG_SHA256" ]] ||
        die "$KERNEL_ORG_URL has the SHA-256 $source_sha256, not $KERNEL_ORG_SHA256: it is not what was pinned" \
            "don't use it; give a source that you trust by --source"
}

# unpack_source FOLDER: sets source_tree.
unpack_source() {
    local folder=$1
    [[ -z ${source_tree:-} ]] || return 0
    say "unpacking ${source_archive##*/}"
    mkdir -p "$folder"
    case $source_archive in
        *.deb) dpkg-deb --fsys-tarfile "$source_archive" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
            tar -xJ -C "$folder" --strip-components=1 ;;
        *) tar -x -C "$folder" --strip-components=1 -f "$source_archive" ;;
    esac
    source_tree=$folder
    [[ -f $folder/Kbuild ]] || die "${source_archive} holds no kernel source (no Kbuild in its top folder)"
}

# find_stub WORK KEPT OUT: the EFI stub that turns the kernel into a UKI, from the package in Debian's archive, from
# an earlier download, from this machine.
find_stub() {
    local work=$1 kept=$2 out=$3 package installed=/usr/lib/systemd/boot/efi/$stub_name
    package=$(find "$kept" -maxdepth 1 -name "systemd-boot-efi_*_$debian_arch.deb" -print -quit 2>/dev/null || true)
    if { [[ -z $package ]] || ((update)); } && apt_is_usable; then
        [[ -n ${apt_root:-} ]] || apt_open "$work/apt"
        mkdir -p "$work/stub" "$kept"
        if apt_download systemd-boot-efi "$work/stub" >"$work/stub.path"; then
            [[ -z $package ]] || rm -f "$package"
            mv "$(cat "$work/stub.path")" "$kept/"
            package=$(find "$kept" -maxdepth 1 -name "systemd-boot-efi_*_$debian_arch.deb" -print -quit)
        fi
    fi
    if [[ -n $package ]]; then
        dpkg-deb -x "$package" "$work/stub.unpacked"
        cp "$work/stub.unpacked$installed" "$out"
    elif [[ -r $installed ]]; then
        say "EFI stub: $installed of this machine"
        cp "$installed" "$out"
    else
        die "no EFI stub: Debian's archive did not give systemd-boot-efi, and $installed is not here" \
            "install it:  sudo apt-get install systemd-boot-efi"
    fi
    chmod 644 "$out"
}
