# shellcheck shell=bash disable=SC2034,SC2154 # build.sh and the other parts share their variables
# An apt of our own: Debian's signed packages, without touching the machine's apt. It has its own sources, lists,
# cache and (empty) package database in one folder; it shares the machine's Debian keyring, mirror and proxy.

readonly DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The suites that carry Linux 6.12 whatever Debian the machine runs; its own are asked as well.
readonly SUITES="bookworm bookworm-security bookworm-backports"

apt_is_usable() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && [[ -r $DEBIAN_KEYRING ]]
}

# The machine's Debian mirrors and suites, as "URI SUITE"; nothing for other vendors' archives.
machine_suites() {
    # The dollar signs are apt's.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
        sed 's,/ , ,' | grep -E '/debian(-security)? [a-z-]+$' | sort -u || true
}

# apt_open FOLDER: makes the private apt there and fetches the package lists.
apt_open() {
    local root=$1 mirror security suite uri
    mkdir -p "$root"/{lists/partial,archives/partial,parts}
    : >"$root/status"

    local machine
    machine=$(machine_suites)
    mirror=$(awk '$1 ~ /\/debian$/ { print $1; exit }' <<<"$machine")
    security=$(awk '$1 ~ /\/debian-security$/ { print $1; exit }' <<<"$machine")
    mirror=${mirror:-http://deb.debian.org/debian}
    security=${security:-http://deb.debian.org/debian-security}
    {
        echo "$machine"
        for suite in $SUITES; do
            uri=$mirror
            [[ $suite != *-security ]] || uri=$security
            echo "$uri $suite"
        done
    } | sort -u | awk -v keyring="$DEBIAN_KEYRING" 'NF == 2 {
        print "deb [signed-by=" keyring "] " $1 " " $2 " main"
    }' >"$root/sources.list"

    # Of the machine's settings only how it reaches the network (proxies, time-outs), and whether it takes
    # dated snapshots; never one that would accept unsigned data.
    {
        apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries|Check-Valid-Until|Check-Date)\b' || true
        cat <<-END
			Acquire::AllowInsecureRepositories "false";
			Acquire::Languages "none";
			APT::Get::AllowUnauthenticated "false";
			APT::Architecture "$debian_arch";
			APT::Architectures { "$debian_arch"; };
			APT::Sandbox::User "$(id -un)";
			Dir::State "$root";
			Dir::State::lists "$root/lists";
			Dir::State::status "$root/status";
			Dir::Cache "$root";
			Dir::Cache::archives "$root/archives";
			Dir::Etc::main "/dev/null";
			Dir::Etc::parts "$root/parts";
			Dir::Etc::sourcelist "$root/sources.list";
			Dir::Etc::sourceparts "$root/parts";
			Dir::Etc::preferences "/dev/null";
			Dir::Etc::preferencesparts "$root/parts";
		END
    } >"$root/apt.conf"
    apt_root=$root

    # One unreachable suite need not matter: what counts is whether the package is found and signed.
    apt_run apt-get update >"$root/update.log" 2>&1 || true
}

# APT_CONFIG is read before /etc/apt; the folder of parts that it names replaces the machine's.
apt_run() { APT_CONFIG=$apt_root/apt.conf "$@"; }

# apt_download PACKAGE FOLDER: leaves the package's .deb there, verified by apt; prints its path.
apt_download() {
    local package=$1 folder=$2 log=$apt_root/download.log
    (cd "$folder" && apt_run apt-get download "$package") >"$log" 2>&1 || {
        say "apt could not download $package: $(grep -hE '^[EW]:' "$log" "$apt_root/update.log" | head -n 3 | paste -sd' ')"
        return 1
    }
    find "$folder" -maxdepth 1 -name "${package}_*.deb" -print -quit
}
