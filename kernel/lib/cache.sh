# shellcheck shell=bash disable=SC2034,SC2154 # build.sh and the other parts share their variables
# The cache: finished entries, a pointer to the one for these inputs, one lock, nothing half done.
#
#   NAME/           an entry, complete from the moment it has its name
#   for-KEY         a pointer: the name of the entry for these scripts, fragments, architecture and source
#   source/         the source archive and the EFI stub's package (lib/source.sh)
#   work.*/         a build under way; dead without the lock's holder
#   lock            held while building
#   build-ARCH.log  make's output of the last build

cache_root() { echo "${NANOOS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nanoos}/kernel"; }

# inputs_key ARCH SOURCE_IDENTITY: the hash of all that the result depends on except the source's version, which
# needs the network to be known.
inputs_key() {
    local inputs=("$here"/build.sh "$here"/configure.sh "$here"/check.sh "$here"/lib/*.sh
        "$here"/fragments/*.config "$here/fragments/$1"/*.config)
    { echo "$1 $2" && cd "$here" && sha256sum -- "${inputs[@]#"$here"/}"; } | sha256sum | cut -c1-16
}

# cached_entry POINTER: the entry's folder, if both are there.
cached_entry() {
    local name
    [[ -r $1 ]] && read -r name <"$1" && [[ -r ${1%/*}/$name/manifest.json ]] && echo "${1%/*}/$name"
}

# point POINTER NAME
point() {
    echo "$2" >"$1.new"
    mv "$1.new" "$1"
}

# Children inherit the lock on purpose: it is free only when nothing of a build lives any more.
lock_cache() {
    exec 9>"$1/lock"
    flock -n 9 && return
    say "another build is under way in $1: waiting for it"
    flock 9
}

# Only the lock's holder builds, so a work folder that is here now belongs to nobody.
remove_stale_work() {
    local stale
    for stale in "$1"/work.*; do
        [[ -e $stale ]] || continue
        say "removing $stale, left by a build that broke off"
        rm -rf "$stale"
    done
}
