#!/usr/bin/env bash
# Asserts that every option which the fragments request is in the final config, with the requested value.
#
#   check.sh CONFIG FRAGMENT…
#
# Kconfig drops a request in silence when its dependencies are not met. Here each one is an error that names
# the option, its fragment and what became of it; so is an option that two lines request. Exit: 0 all took,
# 1 some did not, 2 wrong usage.
set -euo pipefail

if (($# < 2)); then
    echo "usage: ${0##*/} CONFIG FRAGMENT…" >&2
    exit 2
fi
for file in "$@"; do
    [[ -r $file ]] || { echo "${0##*/}: cannot read $file" >&2; exit 2; }
done

# In both files a line is either `CONFIG_X=value` or `# CONFIG_X is not set`; an option that is absent from
# the final config is as good as not set.
awk '
    function fail(text) { print "check.sh: " text > "/dev/stderr"; failed++ }
    function place() { return FILENAME ":" FNR }

    /^CONFIG_[A-Za-z0-9_]+=/ {
        name = substr($0, 1, index($0, "=") - 1)
        value = substr($0, index($0, "=") + 1)
    }
    /^# CONFIG_[A-Za-z0-9_]+ is not set$/ { name = $2; value = "n" }
    /^CONFIG_[A-Za-z0-9_]+=|^# CONFIG_[A-Za-z0-9_]+ is not set$/ {
        if (FILENAME == config) { final[name] = value; next }
        if (value == "") fail(place() ": " name " is requested without a value")
        else if (name in wanted) {
            relation = wanted[name] == value ? "again" : "with another value (" value ", before: " wanted[name] ")"
            fail(place() ": " name " is requested " relation "; first in " where[name])
        } else { wanted[name] = value; where[name] = place(); order[++count] = name }
        next
    }
    FILENAME != config && !/^#/ && !/^[ \t]*$/ {
        fail(place() ": neither an option nor a comment: " $0)
    }
    FILENAME != config && /CONFIG_[A-Za-z0-9_]+ is not set/ {
        fail(place() ": looks like a request but is not in its form: " $0)
    }
    END {
        for (i = 1; i <= count; i++) {
            name = order[i]
            became = name in final ? final[name] : "n"
            if (became == wanted[name]) continue
            fail(where[name] ": " name "=" wanted[name] " did not take: it is " \
                 (name in final ? became : "absent (its dependencies are not met, or the name is unknown)"))
        }
        if (failed) { print "check.sh: " failed " of " count " requests failed" > "/dev/stderr"; exit 1 }
        print "check.sh: all " count " requested options took" > "/dev/stderr"
    }
' config="$1" "$@"
