#!/usr/bin/env bash
# check.sh must catch, name and refuse whatever of the fragments is not in the final config. Needs no kernel
# source, takes a moment.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
check=$here/../check.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
failures=0

# expect EXIT NAME PATTERN…: runs the check over config and the fragments here; every pattern must be in
# its message.
expect() {
    local exit=$1 name=$2 got=0 pattern
    shift 2
    bash "$check" config ./*.config >message 2>&1 || got=$?
    if ((got != exit)); then
        echo "FAIL $name: exit $got, expected $exit" && cat message && failures=$((failures + 1))
        return
    fi
    for pattern in "$@"; do
        grep -qF -- "$pattern" message && continue
        echo "FAIL $name: no \"$pattern\" in:" && cat message && failures=$((failures + 1))
        return
    done
    echo "ok   $name"
}

cat >config <<'END'
# Linux/x86 6.12 Kernel Configuration
CONFIG_MODULES=y
CONFIG_VIRTIO_NET=m
# CONFIG_VT is not set
CONFIG_NR_CPUS=1024
CONFIG_LSM="landlock"
CONFIG_NETDEVICES=y
END

fragment() { cat >"$1.config"; }
fragment core <<'END'
# A reason.
CONFIG_MODULES=y
# CONFIG_VT is not set
# CONFIG_NEVER_HEARD_OF is not set
CONFIG_NR_CPUS=1024
CONFIG_LSM="landlock"
END
fragment net <<'END'
CONFIG_VIRTIO_NET=m
END
expect 0 "all took" "all 6 requested options took"

fragment net <<'END'
CONFIG_VIRTIO_NET=m
CONFIG_ENA_ETHERNET=m
END
expect 1 "a dropped option" "./net.config:2: CONFIG_ENA_ETHERNET=m did not take: it is absent"

fragment net <<'END'
CONFIG_VIRTIO_NET=y
END
expect 1 "built in became a module" "./net.config:1: CONFIG_VIRTIO_NET=y did not take: it is m"

fragment net <<'END'
# CONFIG_NETDEVICES is not set
END
expect 1 "an unwanted option came back" "./net.config:1: CONFIG_NETDEVICES=n did not take: it is y"

fragment net <<'END'
CONFIG_VIRTIO_NET=m
END
fragment numbers <<'END'
CONFIG_LOG_BUF_SHIFT=17
END
expect 1 "a number" "CONFIG_LOG_BUF_SHIFT=17 did not take"
rm numbers.config

fragment twice <<'END'
CONFIG_VIRTIO_NET=m
END
expect 1 "the same request in two fragments" "./twice.config:1: CONFIG_VIRTIO_NET is requested again; first in ./net.config:1"

fragment twice <<'END'
CONFIG_VT=y
END
expect 1 "two fragments that contradict each other" \
    "./twice.config:1: CONFIG_VT is requested with another value (y, before: n); first in ./core.config:3"

fragment twice <<'END'
CONFIG_MODULE_SIG is not set
END
expect 1 "a request in the wrong form" "./twice.config:1: neither an option nor a comment"

fragment twice <<'END'
#CONFIG_MODULE_SIG is not set
END
expect 1 "a comment that looks like a request" "./twice.config:1: looks like a request"
rm twice.config

# Every fragment of the repository: each group under a heading, no option twice. The final config plays
# no part here, so only the messages about the fragments' own form count.
for arch in x86_64 arm64; do
    bash "$check" /dev/null "$here"/../fragments/*.config "$here/../fragments/$arch"/*.config 2>&1 |
        grep -v -e 'did not take' -e 'requests failed' && failures=$((failures + 1)) || echo "ok   the form of $arch's fragments"
done
for file in "$here"/../fragments/*.config "$here"/../fragments/*/*.config; do
    awk 'BEGIN { blank = 1 }
        /^CONFIG_|^# CONFIG_[A-Z0-9_a-z]+ is not set$/ { if (blank) { print FILENAME ":" FNR ": a group without a heading"; bad = 1 } blank = 0; next }
        /^#/ { blank = 0; next }
        /^$/ { blank = 1 }
        END { exit bad }' "$file" || failures=$((failures + 1))
done

((failures == 0)) || { echo "$failures failed" && exit 1; }
