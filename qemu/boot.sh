#!/bin/bash
# Boots a disk image in QEMU. See --help; people and the tests both start machines through this script.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: qemu/boot.sh DISK [OPTION]... [-- QEMU ARGUMENT...]

Boots DISK (raw, qcow2, vmdk or vhd) as a machine: the root disk and a blank swap volume on NVMe, a virtio network with
DHCP, the serial console on stdout. DISK itself is never written. Ends when the machine switches itself off.
Ctrl-C presses the machine's power button; a second Ctrl-C cuts the power.

  -p HOST:GUEST[/udp]  forward port HOST of 127.0.0.1 to the machine's port GUEST (may be repeated)
  -m MIB               memory (default 512)
  --smp N              processors (default 2)
  --firmware uefi      boot as a real machine does: firmware, then the disk's EFI program (default)
  --firmware direct    skip the firmware: kernel, initramfs and command line are taken out of the disk's EFI
                       program and started by QEMU
  --swap MIB           size of the blank swap volume (default 1024); 0: none
  --net OPTIONS|none   further options of QEMU's user network, such as net=169.254.169.0/24; none: no network
  --config FILE        the machine's user data, as an instance of EC2 has them: KEY=VALUE lines or JSON, 16 KB at most,
                       packed by gzip or not. An image built with --user-data=never takes none
  --monitor SOCKET     listen at this Unix socket for QMP, QEMU's machine protocol
  -h, --help           this text

KVM is used where it proves to work, emulation elsewhere. The exit status is 0 when the machine switched itself off.
EOF
}

say() { echo "boot.sh: $*" >&2; }
die() { say "$*"; exit 1; }
bad_usage() { say "$*"; say "see qemu/boot.sh --help"; exit 2; }

readonly here=${BASH_SOURCE[0]%/*}
readonly QEMU=qemu-system-x86_64
readonly ESP_TYPE=28732ac11ff8d211ba4b00a0c93ec93b        # EFI system partition, as GPT stores it
readonly ROOT_ARM64_TYPE=45b021b9f01dc341af444c6f280d3fae # root partition of a 64-bit ARM machine
readonly MOST_USER_DATA=16384 # bytes, what EC2 takes and init reads
# CODE and VARS of the firmware, where Debian and Ubuntu, Fedora, Arch, openSUSE and Gentoo put them.
readonly FIRMWARE=(
    /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_VARS_4M.fd
    /usr/share/OVMF/OVMF_CODE.fd /usr/share/OVMF/OVMF_VARS.fd
    /usr/share/edk2/ovmf/OVMF_CODE.fd /usr/share/edk2/ovmf/OVMF_VARS.fd
    /usr/share/edk2/x64/OVMF_CODE.4m.fd /usr/share/edk2/x64/OVMF_VARS.4m.fd
    /usr/share/qemu/ovmf-x86_64-code.bin /usr/share/qemu/ovmf-x86_64-vars.bin
    /usr/share/edk2-ovmf/OVMF_CODE.fd /usr/share/edk2-ovmf/OVMF_VARS.fd
)

disk='' memory=512 processors=2 firmware=uefi swap=1024 network='' config='' monitor=''
forwards=() # PROTOCOL HOST GUEST, one after the other
extra=()    # QEMU's own arguments
tmp='' qemu_pid='' filter_pid='' interrupts=0

parse_arguments() {
    while (($#)); do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --) shift; extra=("$@"); break ;;
            -p | -m | --smp | --firmware | --swap | --net | --config | --monitor)
                (($# > 1)) || bad_usage "$1 needs a value"
                take_option "$1" "$2"
                shift
                ;;
            -*) bad_usage "unknown option $1 (QEMU's own options stand after --)" ;;
            *) [[ -z $disk ]] || bad_usage "one disk at a time: $disk or $1?"; disk=$1 ;;
        esac
        shift
    done
    [[ -n $disk ]] || bad_usage "which disk?"
}

take_option() {
    case $1 in
        -p) take_forward "$2" ;;
        -m) memory=$(whole_number "$@") ;;
        --smp) processors=$(whole_number "$@") ;;
        --firmware) firmware=$2; [[ $2 =~ ^(uefi|direct)$ ]] || bad_usage "--firmware is uefi or direct, not $2" ;;
        --swap) swap=$2; [[ $2 == 0 ]] || swap=$(whole_number "$@") ;;
        --net) network=$2 ;;
        --config) config=$2 ;;
        --monitor) monitor=$2 ;;
    esac
}

whole_number() {
    [[ $2 =~ ^[1-9][0-9]{0,6}$ ]] || bad_usage "$1 takes a whole number above zero, not \"$2\""
    echo "$2"
}

take_forward() {
    local port
    [[ $1 =~ ^([1-9][0-9]{0,4}):([1-9][0-9]{0,4})(/(tcp|udp))?$ ]] ||
        bad_usage "-p takes HOST:GUEST or HOST:GUEST/udp, two port numbers, not \"$1\""
    for port in "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"; do
        ((port < 65536)) || bad_usage "-p $1: there is no port $port"
    done
    forwards+=("${BASH_REMATCH[4]:-tcp}" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}")
}

# Names every missing tool at once. Arguments: TOOL PACKAGE, one after the other.
need_tools() {
    local tools='' packages=''
    while (($#)); do
        if ! command -v "$1" >/dev/null; then
            tools+=" $1" packages+=" $2"
        fi
        shift 2
    done
    [[ -z $tools ]] || die "missing:$tools. On Debian or Ubuntu: apt-get install$packages"
}

# Bytes of a file in hexadecimal: FILE OFFSET COUNT
hex() { od -An -v -tx1 -j "$2" -N "$3" -- "$1" | tr -d ' \n'; }

# An unsigned little-endian number of a file: FILE OFFSET BYTES
number() { od -An -v --endian=little -tu"$3" -j "$2" -N "$3" -- "$1" | tr -d ' \n'; }

disk_format() {
    [[ -e $disk ]] || die "$disk does not exist"
    [[ -f $disk || -b $disk ]] || die "$disk is not a disk image"
    [[ -r $disk ]] || die "$disk may not be read by you"
    case $(hex "$disk" 0 4) in
        514649fb) echo qcow2; return ;;
        4b444d56) echo vmdk; return ;;
        1f8b*) die "$disk is compressed: unpack it first, as with tar -xzf, and boot the disk.raw that was in it" ;;
    esac
    if [[ $(hex "$disk" 512 8) != 4546492050415254 ]]; then
        die "$disk is neither a raw disk or vhd with a GUID partition table nor a qcow2 or vmdk image"
    elif [[ -f $disk && $(hex "$disk" $(($(stat -L -c %s -- "$disk") - 512)) 8) == 636f6e6563746978 ]]; then
        echo vpc # what QEMU calls a vhd
    else
        echo raw
    fi
}

# Byte offset of the first partition of a type on a raw disk; nothing if there is none. RAW TYPE
partition_offset() {
    local table count size entry
    # The header is the disk's second sector (UEFI specification, 5.3.2): where the table lies, how many entries, how long.
    table=$(number "$1" 584 8) count=$(number "$1" 592 4) size=$(number "$1" 596 4)
    for ((entry = 512 * table; count > 0 && size >= 128; count--, entry += size)); do
        case $(hex "$1" "$entry" 16) in
            "$2") echo $((512 * $(number "$1" $((entry + 32)) 8))); return ;;
            00000000000000000000000000000000) return ;; # our tables have no gaps
        esac
    done
}

# The port may still be taken between here and QEMU's start; QEMU then says so in its own words.
check_ports_are_free() {
    local protocol host
    set -- "${forwards[@]}"
    while (($#)); do
        protocol=$1 host=$2
        shift 3
        # proc(5): the local address ends in the port in hexadecimal; state 0A listens, 07 is an open UDP socket.
        if awk -v port="$(printf ':%04X$' "$host")" -v proto="$protocol" \
            '$2 ~ port && $4 == (proto == "tcp" ? "0A" : "07") && $2 ~ /^(0+|0100007F|0+0100007F):/ { found = 1 }
            END { exit !found }' "/proc/net/$protocol" "/proc/net/${protocol}6" 2>/dev/null; then
            die "port $host is in use on this machine; choose another with -p"
        fi
    done
}

# Whether emulated processors run in parallel. Before QEMU 8.1 (its commit deba78709ae8) one of them may execute an
# instruction that another has just replaced: Linux, which patches its own code, then dies of "Oops: int3", measured in
# 4 of 40 boots with four processors. In turn on one thread they never do, and boot as fast.
emulation_threads() {
    if [[ $("$QEMU" --version) =~ version\ ([0-9]+)\.([0-9]+) ]] &&
        ((BASH_REMATCH[1] * 100 + BASH_REMATCH[2] >= 801)); then
        echo multi
    else
        echo single
    fi
}

machine_arguments() {
    local reason
    if reason=$(bash "$here/kvm-works" "$QEMU"); then
        qemu+=(-accel kvm -cpu host)
    else
        say "emulating the processor, which is slow, without KVM: $reason"
        qemu+=(-accel "tcg,thread=$(emulation_threads)" -cpu max)
    fi
    # No SATA controller: machines in the cloud have none either, and Linux probes its empty ports at length.
    qemu+=(-machine "q35,sata=off" -m "$memory" -smp "$processors" -nodefaults -no-user-config -display none)
    qemu+=(-chardev "stdio,id=console,signal=off" -serial chardev:console)
    qemu+=(-device virtio-rng-pci)
}

# QEMU separates options by commas; a comma in a name is doubled.
escaped() { printf '%s' "${1//,/,,}"; }

disk_arguments() {
    local boot_order='' # of the firmware's choices; QEMU's own kernel loader wants the first place for itself
    [[ $firmware != uefi ]] || boot_order=,bootindex=0
    # The places on the bus leave room for a caller's own disks, before and behind these.
    # snapshot=on: writes go to a nameless temporary file.
    qemu+=(-drive "if=none,id=root,format=$1,snapshot=on,file=$(escaped "$(realpath -- "$disk")")")
    qemu+=(-device "nvme,drive=root,serial=nanoos-root,addr=0x10$boot_order")
    if ((swap)); then
        truncate -s "${swap}M" "$tmp/swap"
        qemu+=(-drive "if=none,id=swap,format=raw,cache=unsafe,discard=unmap,file=$(escaped "$tmp/swap")")
        qemu+=(-device "nvme,drive=swap,serial=nanoos-swap,addr=0x11")
    fi
}

network_arguments() {
    local options="user,id=net${network:+,$network}"
    if [[ $network == none ]]; then
        ((${#forwards[@]} == 0)) || bad_usage "-p needs a network, and --net none asks for none"
        return
    fi
    set -- "${forwards[@]}"
    while (($#)); do
        options+=",hostfwd=$1:127.0.0.1:$2-:$3"
        shift 3
    done
    # No ROM: firmware must not try to boot from the network.
    qemu+=(-netdev "$options" -device "virtio-net-pci,netdev=net,romfile=")
}

# In a string of the firmware's tables (init/src/user_data/firmware.rs). They may hold secrets: QEMU reads them from a pipe,
# so that they stand neither in its arguments nor in a file of ours.
config_arguments() {
    local text padding bytes pipe
    [[ -n $config ]] || return 0
    [[ -r $config && ! -d $config ]] || die "--config $config: no file that you may read"
    text=$(head -c "$((MOST_USER_DATA + 1))" -- "$config" | base64 -w 0)
    padding=${text//[^=]/}
    bytes=$((${#text} * 3 / 4 - ${#padding}))
    ((bytes <= MOST_USER_DATA)) || die "--config $config: longer than 16 KB, the most that a machine takes"
    exec {pipe}< <(printf 'nanoos.user-data:%s' "$text")
    qemu+=(-smbios "type=11,path=/dev/fd/$pipe")
}

uefi_arguments() {
    local code vars
    set -- "${FIRMWARE[@]}"
    while (($#)); do
        code=$1 vars=$2
        shift 2
        if [[ -r $code && -r $vars ]]; then
            cp -- "$vars" "$tmp/vars" # firmware writes its settings
            qemu+=(-drive "if=pflash,unit=0,format=raw,readonly=on,file=$code")
            qemu+=(-drive "if=pflash,unit=1,format=raw,file=$(escaped "$tmp/vars")")
            return
        fi
    done
    die "no UEFI firmware for QEMU (OVMF) is installed. On Debian or Ubuntu: apt-get install ovmf"
}

# The same bits as firmware would load, taken out of the EFI program on the disk.
direct_arguments() {
    local esp raw=$disk section
    if [[ $1 == qcow2 || $1 == vmdk ]]; then
        need_tools qemu-img qemu-utils
        raw=$tmp/raw
        qemu-img convert -f "$1" -O raw "$disk" "$raw"
    fi
    esp=$(partition_offset "$raw" "$ESP_TYPE")
    [[ -n $esp ]] || die "$disk has no EFI system partition"
    mcopy -i "$raw@@$esp" ::/EFI/BOOT/BOOTX64.EFI "$tmp/uki" ||
        die "$disk has no \\EFI\\BOOT\\BOOTX64.EFI"
    for section in linux initrd cmdline; do
        objcopy -O binary --only-section=".$section" "$tmp/uki" "$tmp/$section"
        [[ -s $tmp/$section ]] || die "the EFI program on $disk has no section .$section: not a unified kernel image"
    done
    rm -f -- "$tmp/raw"
    qemu+=(-kernel "$tmp/linux" -initrd "$tmp/initrd" -append "$(tr -d '\0\n' <"$tmp/cmdline")")
}

monitor_arguments() {
    mkfifo "$tmp/monitor.in" "$tmp/monitor.out" # a pipe: bash cannot speak to a Unix socket
    qemu+=(-chardev "pipe,id=button,path=$(escaped "$tmp/monitor")" -mon "chardev=button,mode=readline")
    if [[ -n $monitor ]]; then
        qemu+=(-qmp "unix:$(escaped "$monitor"),server=on,wait=off")
    fi
}

interrupted() {
    interrupts=$((interrupts + 1))
    if ((interrupts == 1)); then
        say "pressing the power button; Ctrl-C again cuts the power"
        echo system_powerdown 1<>"$tmp/monitor.in"
    else
        cut_power
    fi
}

cut_power() {
    [[ -z $qemu_pid ]] || kill -TERM "$qemu_pid" 2>/dev/null || true
}

clean_up() {
    trap '' INT TERM HUP
    cut_power
    [[ -z $qemu_pid ]] || wait "$qemu_pid" || true
    exec >&- # ends the filter
    [[ -z $filter_pid ]] || wait "$filter_pid" || true
    [[ -z $tmp ]] || rm -rf -- "$tmp"
}

# Puts a process between QEMU and our stdout. QEMU makes the pipe it writes to non-blocking, for all that share it; and
# firmware clears the screen and moves the cursor home, several times, which would wipe a terminal that the user reads.
spare_stdout() {
    local filter=(cat)
    [[ ! -t 1 ]] || filter=(sed -u -E 's/\x1b\[(2J|[0-9]+;[0-9]+H|=3h)//g')
    exec > >(trap '' INT; exec "${filter[@]}")
    filter_pid=$!
}

run() {
    local status
    trap interrupted INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    # A session of its own, so that Ctrl-C reaches this script alone; and it never outlives this script, even
    # one that is killed.
    setsid setpriv --pdeathsig KILL "${qemu[@]}" </dev/null &
    qemu_pid=$!
    while
        status=0
        wait "$qemu_pid" || status=$?
        kill -0 "$qemu_pid" 2>/dev/null # still there: a signal ended the wait
    do :; done
    if ((status > 128)); then # perhaps a signal's number; the shell remembers QEMU's own status
        status=0
        wait "$qemu_pid" || status=$?
    fi
    qemu_pid=''
    ((interrupts < 2)) || return 130
    return "$status"
}

main() {
    local format
    parse_arguments "$@"
    need_tools "$QEMU" qemu-system-x86 setpriv util-linux setsid util-linux
    [[ $firmware != direct ]] || need_tools mcopy mtools objcopy binutils
    format=$(disk_format)
    if [[ $format =~ ^(raw|vpc)$ && -n $(partition_offset "$disk" "$ROOT_ARM64_TYPE") ]]; then
        die "$disk is for 64-bit ARM, and boot.sh starts x86-64 machines only"
    fi
    check_ports_are_free
    trap clean_up EXIT
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/nanoos-boot.XXXXXX")
    qemu=("$QEMU")
    machine_arguments
    disk_arguments "$format"
    network_arguments
    config_arguments
    "${firmware}_arguments" "$format"
    monitor_arguments
    qemu+=("${extra[@]}")
    spare_stdout
    run
}

main "$@"
