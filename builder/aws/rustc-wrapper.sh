#!/bin/sh
# What cargo calls instead of rustc (.cargo/config.toml): rustc, with one more flag for the generated clients of AWS.
#
# aws-sdk-ec2 has 700 operations, of which we use 20. With -Zhint-mostly-unused rustc makes machine code of those only, where
# they are used, and takes 5.2 GiB instead of 6.5, and two thirds of the time. The flag is not stable yet: a rustc that lacks
# it is called without it, and does the same with more memory.
set -eu

case " $* " in
*' --crate-name aws_sdk_'*)
    if RUSTC_BOOTSTRAP=1 "$1" -Zhelp 2>/dev/null | grep -q hint-mostly-unused; then
        RUSTC_BOOTSTRAP=1 exec "$@" -Zhint-mostly-unused
    fi
    ;;
esac
exec "$@"
