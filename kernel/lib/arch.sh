# shellcheck shell=bash disable=SC2034
# What differs between architectures, as a table of variables. Another architecture is another case here
# and a folder of fragments.

set_arch() {
    arch=$1
    case $arch in
        x86_64)
            kernel_arch=x86
            image_target=bzImage
            image_path=arch/x86/boot/bzImage
            stub_name=linuxx64.efi.stub
            debian_arch=amd64
            cross_prefix=x86_64-linux-gnu-
            cross_package=gcc-x86-64-linux-gnu
            ;;
        arm64)
            kernel_arch=arm64
            # EFI_ZBOOT: a PE file that unpacks itself, as x86's bzImage does.
            image_target=vmlinuz.efi
            image_path=arch/arm64/boot/vmlinuz.efi
            stub_name=linuxaa64.efi.stub
            debian_arch=arm64
            cross_prefix=aarch64-linux-gnu-
            cross_package=gcc-aarch64-linux-gnu
            ;;
        *) die "no such architecture: $arch" "known: x86_64, arm64" ;;
    esac
    case $(uname -m) in
        "$arch") native=1 ;;
        aarch64) [[ $arch == arm64 ]] && native=1 || native=0 ;;
        *) native=0 ;;
    esac
    if ((native)); then
        CROSS_COMPILE=${CROSS_COMPILE:-}
    else
        CROSS_COMPILE=${CROSS_COMPILE:-$cross_prefix}
    fi
    export CROSS_COMPILE
}
