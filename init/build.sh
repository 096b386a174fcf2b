#!/usr/bin/env bash
# Builds packages of this workspace as small static programs: init, and whatever runs in its place or beside it.
#
#   init/build.sh [--arch x86_64|aarch64] --target-dir DIR PACKAGE...
#
# Prints a line `PACKAGE<TAB>PATH` for each package and a last line `flavour<TAB>musl|glibc`; progress goes to stderr.
#
# The C library is chosen here, the first of these that the machine has:
#   1. rustup's musl target             (rustup target add x86_64-unknown-linux-musl)
#   2. Debian's rustc-web, rust-web-src and musl-dev: the standard library is built from source, for size
#   3. static glibc, about twice the size
# NANOOS_LIBC=rustup-musl|debian-musl|glibc takes one of them and no other.
set -euo pipefail

workspace=$(cd "$(dirname "$0")/.." && pwd)
arch=$(uname -m)
target_dir=
packages=()

fail() {
    printf 'init/build.sh: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --arch) arch=${2:?--arch needs a value} && shift 2 ;;
    --target-dir) target_dir=${2:?--target-dir needs a value} && shift 2 ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" && exit ;;
    -*) fail "unknown option $1 (see --help)" ;;
    *) packages+=("$1") && shift ;;
    esac
done
[ -n "$target_dir" ] || fail "--target-dir DIR is missing (see --help)"
[ ${#packages[@]} -gt 0 ] || fail "no PACKAGE given (see --help)"

# An outer cargo (builder's build script) leaves its own settings in the environment; they must not reach this build.
while IFS='=' read -r name _; do
    case $name in
    CARGO_HOME | CARGO_NET_* | CARGO_HTTP_* | CARGO_REGISTRIES_* | CARGO_TERM_*) ;;
    CARGO | CARGO_* | RUSTC | RUSTC_* | RUSTFLAGS | RUSTDOC* | TARGET | HOST | OUT_DIR | NUM_JOBS | OPT_LEVEL | PROFILE | DEBUG)
        unset "$name"
        ;;
    esac
done < <(env)

# The triplet of Debian's musl-dev, which is also where its library lies.
musl_dir=/usr/lib/$arch-linux-musl
# Cross builds use the cross compiler's name, native ones whatever gcc is.
gcc=gcc
[ "$arch" = "$(uname -m)" ] || gcc=$arch-linux-gnu-gcc

has_rustup_musl() {
    local libdir
    libdir=$(rustc --print target-libdir --target "$arch-unknown-linux-musl" 2>/dev/null) && [ -d "$libdir" ]
}

has_debian_musl() {
    [ -x /usr/bin/rustc ] && [ -e "$musl_dir/libc.a" ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]
}

cargo_build() {
    local args=(build --manifest-path "$workspace/Cargo.toml" --profile init --target-dir "$target_dir" "$@")
    for package in "${packages[@]}"; do args+=(--package "$package"); done
    cargo "${args[@]}" >&2
}

# Paths of the building machine stay out of the binary: the same source gives the same bytes anywhere.
remap="--remap-path-prefix=$workspace=/nanoos --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"

with_rustup_musl() {
    target=$arch-unknown-linux-musl
    RUSTFLAGS="$remap" cargo_build --target "$target"
}

# Debian has a rustc with its standard library's source, but not one built for musl: it is built here. Its linker is gcc
# told to look first where musl-dev lies. The standard library asks an unwinder for backtraces; glibc's does not link
# with musl, and a program that aborts on panic has no use for one: functions that find no frames take its place.
with_debian_musl() {
    target=$arch-unknown-linux-musl
    local tools=$target_dir/musl-tools
    mkdir -p "$tools"
    printf '#!/bin/sh\nexec %s -B%s -L%s "$@"\n' "$gcc" "$musl_dir" "$musl_dir" >"$tools/cc"
    chmod +x "$tools/cc"
    "$gcc" -Os -ffreestanding -ffunction-sections -x c -c -o "$tools/unwind.o" - <<'C'
int _Unwind_Backtrace(void *callback, void *data) { (void)callback, (void)data; return 5; /* _URC_END_OF_STACK */ }
unsigned long _Unwind_GetIP(void *context) { (void)context; return 0; }
unsigned long _Unwind_GetCFA(void *context) { (void)context; return 0; }
void *_Unwind_FindEnclosingFunction(void *code) { (void)code; return 0; }
C
    rm -f "$tools/libunwind.a"
    ar rcD "$tools/libunwind.a" "$tools/unwind.o"
    local linker
    linker=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$target")_LINKER
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 "$linker=$tools/cc"
    RUSTFLAGS="$remap -C target-feature=+crt-static -C link-self-contained=no -L $musl_dir -L $tools" \
        cargo_build --target "$target" -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
}

with_glibc() {
    target=$arch-unknown-linux-gnu
    RUSTFLAGS="$remap -C target-feature=+crt-static" cargo_build --target "$target"
}

choice=${NANOOS_LIBC:-}
if [ -z "$choice" ]; then
    if has_rustup_musl; then choice=rustup-musl
    elif has_debian_musl; then choice=debian-musl
    else choice=glibc; fi
fi
case $choice in
rustup-musl) has_rustup_musl || fail "no musl target: rustup target add $arch-unknown-linux-musl" ;;
debian-musl) has_debian_musl || fail "no musl: apt-get install rustc-web rust-web-src musl-dev" ;;
glibc) ;;
*) fail "NANOOS_LIBC=$choice is none of rustup-musl, debian-musl, glibc" ;;
esac

mkdir -p "$target_dir"
target_dir=$(cd "$target_dir" && pwd)
"with_${choice//-/_}"

for package in "${packages[@]}"; do
    program=$target_dir/$target/init/$package
    [ -x "$program" ] || fail "$package built, but $program is not there: is the package's program named as the package?"
    printf '%s\t%s\n' "$package" "$program"
done
printf 'flavour\t%s\n' "${choice##*-}"
