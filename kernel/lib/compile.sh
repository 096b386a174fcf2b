# shellcheck shell=bash disable=SC2034,SC2154 # build.sh and the other parts share their variables
# From the source tree to an entry.

# Nothing of the machine, the user or the day enters the result: the time is the source's own. Paths don't either,
# Kbuild sees to it (-fmacro-prefix-map).
reproducible_environment() {
    export LC_ALL=C TZ=UTC KBUILD_BUILD_USER=nanoos KBUILD_BUILD_HOST=nanoos KBUILD_BUILD_VERSION=1
    KBUILD_BUILD_TIMESTAMP=$(date -u -r "$source_tree/Makefile" '+%Y-%m-%d %H:%M:%S UTC')
    export KBUILD_BUILD_TIMESTAMP
    unset MAKEFLAGS MFLAGS MAKELEVEL KBUILD_OUTPUT KCFLAGS KAFLAGS KCPPFLAGS
}

# compile BUILD LOG JOBS: runs make in the background and tells now and then how far it is.
compile() {
    local build=$1 log=$2 jobs=$3 start=$SECONDS next=$((SECONDS + 15)) result=0
    say "compiling with $jobs jobs, some 6 to 12 minutes on two cores; make's output: $log"
    # If this script is killed, even by kill -9, make is ended by the kernel and does not go on alone.
    setpriv --pdeathsig TERM \
        make -C "$source_tree" "O=$build" "ARCH=$arch" "-j$jobs" "$image_target" modules </dev/null >>"$log" 2>&1 &
    make_pid=$!
    while kill -0 "$make_pid" 2>/dev/null; do
        sleep 1
        ((SECONDS >= next)) || continue
        next=$((SECONDS + 15))
        say "$(grep -cE '^  (CC|AS)( \[M\])? ' "$log") objects compiled, $(elapsed $((SECONDS - start)))"
    done
    wait "$make_pid" || result=$?
    make_pid=
    if ((result)); then
        grep -nE 'error|Error|\*\*\*' "$log" | head -n 10 >&2 || true
        tail -n 5 "$log" >&2
        die "the kernel did not compile (make's last lines are above, all of it is in $log)"
    fi
    say "compiled in $(elapsed $((SECONDS - start)))"
}

# install_entry BUILD ENTRY LOG
install_entry() {
    local build=$1 entry=$2 log=$3 modules
    release=$(cat "$build/include/config/kernel.release")
    modules=$entry/lib/modules/$release
    cp "$build/$image_path" "$entry/vmlinuz"
    cp "$build/.config" "$entry/config"
    cp "$build/System.map" "$entry/System.map"
    make -C "$source_tree" "O=$build" "ARCH=$arch" INSTALL_MOD_PATH="$entry" INSTALL_MOD_STRIP=1 DEPMOD=true \
        modules_install >>"$log" 2>&1 || die "modules_install failed, see $log"
    rm -f "$modules/build" "$modules/source"
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$entry" "$release"
    # The indexes as text are the contract; kmod's binary forms of them only take space.
    rm -f "$modules"/*.bin "$modules"/modules.{symbols,devname,weakdep}
    find "$entry" -type f -exec chmod 644 {} +
    find "$entry" -type d -exec chmod 755 {} +
}

# write_manifest ENTRY: keys in a fixed order, files by name.
write_manifest() {
    local entry=$1
    {
        printf '{\n  "manifest_version": 1,\n  "release": "%s",\n  "arch": "%s",\n' "$release" "$arch"
        printf '  "source": {"kind": "%s", "version": "%s", "sha256": "%s"},\n' \
            "$source_kind" "$source_version" "$source_sha256"
        printf '  "config_sha256": "%s",\n  "files": {\n' "$(sha256_of "$entry/config")"
        (cd "$entry" && find . -type f ! -name manifest.json -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum --) |
            sed 's/^\([0-9a-f]*\)  \(.*\)$/    "\2": "\1"/; $!s/$/,/'
        printf '  }\n}\n'
    } >"$entry/manifest.json"
}
