# shellcheck shell=bash
# Speaking to the person at the terminal: everything on stderr, stdout belongs to the result.

say() { printf 'kernel: %s\n' "$*" >&2; }

# die SENTENCE…: what went wrong, where, and what to do, one sentence a line.
die() {
    printf 'kernel: error: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf 'kernel:        %s\n' "$@" >&2
    exit 1
}

# elapsed SECONDS: "4 min 05 s".
elapsed() {
    if (($1 < 60)); then printf '%d s' "$1"; else printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); fi
}
