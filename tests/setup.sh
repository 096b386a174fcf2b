# shellcheck shell=bash
# What the tests need of a machine, found and installed. Sourced by tests/run, which runs in the root of the repository.

# A tool, or a file where a package has no tool, and its Debian package.
readonly TEST_TOOLS="
gcc gcc
qemu-system-x86_64 qemu-system-x86
qemu-img qemu-utils
mcopy mtools
objcopy binutils
unsquashfs squashfs-tools
rdsquashfs squashfs-tools-ng
/usr/lib/systemd/boot/efi/linuxx64.efi.stub systemd-boot-efi
docker-registry docker-registry
docker docker.io
dockerd docker.io
podman podman
/usr/bin/fuse-overlayfs fuse-overlayfs
htpasswd apache2-utils
openssl openssl
curl curl
gzip gzip
skopeo skopeo
umoci umoci
mmdebstrap mmdebstrap
sgdisk gdisk
fsck.vfat dosfstools
mkfs.ext4 e2fsprogs
ip iproute2
dnsmasq dnsmasq-base
chronyd chrony
radvd radvd
depmod kmod
cpio cpio
setpriv util-linux
unshare util-linux
mount mount
taskset util-linux
kill procps
tar tar
xz xz-utils
zstd zstd
shellcheck shellcheck
git git
python3 python3
pip3 python3-pip
javac openjdk-17-jdk-headless
/usr/share/java/tomcat10-servlet-api.jar libtomcat10-java
mvn maven
/usr/share/maven-repo/org/apache/maven/plugins/maven-compiler-plugin libmaven-compiler-plugin-java
/usr/share/maven-repo/org/apache/maven/plugins/maven-jar-plugin libmaven-jar-plugin-java
/usr/share/maven-repo/org/apache/maven/plugins/maven-resources-plugin libmaven-resources-plugin-java
/usr/share/maven-repo/org/apache/maven/plugins/maven-surefire-plugin libsurefire-java
go golang-go
/etc/ssl/certs/ca-certificates.crt ca-certificates
"

# The version of cargo-deny that deny.toml is written for.
readonly CARGO_DENY=0.20.2
# Where programs lie that Debian does not have; the user's own ~/.cargo/bin stays as it is.
readonly TOOLS_DIR=${NANOOS_CACHE:-$HOME/.cache/nanoos}/tools

PATH=$PATH:$TOOLS_DIR/bin:/usr/sbin:/sbin # a user's lacks sbin, where sgdisk is

missing_packages() {
    local tool package
    while read -r tool package; do
        [[ -z $tool || -e $tool ]] || type -P "$tool" >/dev/null || echo "$package"
    done <<<"$TEST_TOOLS"
    compgen -G '/usr/share/*/OVMF_CODE*' >/dev/null || compgen -G '/usr/share/*/*/OVMF_CODE*' >/dev/null || echo ovmf
    # Debian keeps what a virtual environment is made with in a package of its own.
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    [[ -e /usr/include/stdio.h || -e /usr/include/$(uname -m)-linux-gnu/sys/cdefs.h ]] || echo libc6-dev
    has_musl || printf '%s\n' rustc-web rust-web-src musl-dev
    kernel_packages
}

# The promised size of init is that with musl; init/build.sh finds it in these two places.
has_musl() {
    local target libdir
    target=$(uname -m)-unknown-linux-musl
    libdir=$(rustc --print target-libdir --target "$target" 2>/dev/null) && [[ -d $libdir ]] && return
    [[ -x /usr/bin/rustc && -e /usr/lib/$(uname -m)-linux-musl/libc.a ]] &&
        [[ -d $(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library ]]
}

# What kernel/build.sh asks for, unless the kernel is built already.
kernel_packages() {
    kernel/build.sh --print-dir >/dev/null 2>&1 ||
        bash -c 'cd kernel/lib && . ./say.sh && . ./arch.sh && . ./tools.sh &&
            set_arch "$(uname -m | sed s/aarch64/arm64/)" && missing_tools | cut -d" " -f1'
}

# Parts of Rust that a minimal toolchain lacks.
missing_components() {
    cargo fmt --version >/dev/null 2>&1 || echo rustfmt
    cargo clippy --version >/dev/null 2>&1 || echo clippy
}

# Everything that is missing, one a line, as what to do about it.
missing() {
    local packages components
    command -v cargo >/dev/null || { echo "Rust: https://rustup.rs"; return; }
    packages=$(missing_packages | sort -u | paste -sd' ')
    components=$(missing_components | paste -sd' ')
    [[ -z $packages ]] || echo "sudo apt-get install --no-install-recommends $packages"
    [[ -z $components ]] || echo "rustup component add $components"
    cargo deny --version >/dev/null 2>&1 || echo "cargo install --locked cargo-deny@$CARGO_DENY"
}

# Installs what is missing and can be installed, and names the rest: nothing starts before all is there.
set_up() {
    local packages rest
    if [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
        packages=$(missing_packages | sort -u | paste -sd' ')
        # shellcheck disable=SC2086 # a list
        [[ -z $packages ]] || install_packages $packages
    fi
    rest=$(missing)
    if [[ $rest == "cargo install "* ]]; then
        echo "installing cargo-deny $CARGO_DENY into $TOOLS_DIR, some 3 minutes, once"
        cargo install --locked --quiet --root "$TOOLS_DIR" "cargo-deny@$CARGO_DENY"
        rest=$(missing)
    fi
    [[ -z $rest ]] || { printf 'tests/run: this machine lacks what the tests need:\n%s\n' "$rest" >&2; exit 1; }
}

readonly APT_INSTALL=(apt-get -y --no-install-recommends -o DPkg::Lock::Timeout=600)

# Installs packages with apt-get, as root.
install_packages() {
    echo "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=600 -qq update
    "${APT_INSTALL[@]}" -qq install "$@" || install_with_older_qemu_utils "$@"
}

# A machine that has qemu-utils from backports cannot take the stable release's qemu-system-x86: they conflict. Both
# from the release's own suite then.
install_with_older_qemu_utils() {
    local package codename packages=()
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    for package in "$@"; do
        [[ $package == qemu-utils ]] || packages+=("$package")
    done
    echo "once more, with the QEMU tools of $codename itself"
    "${APT_INSTALL[@]}" --allow-downgrades install "${packages[@]}" "qemu-utils/$codename"
}
