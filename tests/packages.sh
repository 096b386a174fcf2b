# shellcheck shell=bash
# Installs Debian packages. Sourced by tests/run and .ci/run.

readonly APT_INSTALL=(apt-get -y --no-install-recommends -o DPkg::Lock::Timeout=600)

# Installs packages with apt-get, as root.
install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=600 -qq update
    "${APT_INSTALL[@]}" install "$@" || install_with_older_qemu_utils "$@"
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
