#!/bin/bash
# SPDX-License-Identifier: MIT
# What the scripts of this folder share: the cache of kernels and the private look at Debian's suites.
# Sourced, never run.
#
# The cache lies outside the tree, in ${QUARRY_CACHE:-~/.cache/quarry}. An artefact is one folder,
# built in a folder beside its place under a lock of its own and renamed when it is whole: a half-made one
# is never taken, and two callers never build the same thing twice.
#
# A suite that this machine does not have configured is read through a private list of sources with its own
# state: the system's own lists and packages are never touched.
#
#   QUARRY_CACHE     where the cache lies
#   QUARRY_OFFLINE   set: believe the last look at the suites, however old, and download nothing
#   QUARRY_REFRESH   set: look at the suites again now
set -euo pipefail
shopt -s inherit_errexit

# A make above these scripts has its own jobs: theirs are given with -j, and its options are not meant for them.
unset MAKEFLAGS MFLAGS MAKELEVEL

CACHE=${QUARRY_CACHE:-$HOME/.cache/quarry}
CACHE=$(realpath -m "$CACHE")
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# How long a look at a suite is believed, in seconds: one day, so that one day's builds agree.
LOOK_AGE=86400

say() {
	echo "kernels: $*" >&2
}

die() {
	echo "kernels: $*" >&2
	exit 1
}

# The suites that hold a kernel, and what its image's package is called there.
kernel_suites() {
	case $1 in
	6.1) echo bookworm bookworm-security ;;
	6.12) echo bookworm-security ;;
	newest) echo trixie-backports ;;
	toolchain) echo trixie ;;
	*) die "no kernel '$1': 6.1, 6.12 or newest" ;;
	esac
}

kernel_pattern() {
	case $1 in
	6.1) echo '6\.1\.0-[0-9]+' ;;
	6.12) echo '6\.12\.[0-9]+\+deb12' ;;
	newest) echo '[0-9]+\.[0-9]+\.[0-9]+\+deb[0-9]+' ;;
	esac
}

# Where this machine gets Debian from: the same mirror serves the other suites.
mirror_of() {
	local release=$1 fallback=$2 found
	found=$(apt-get indextargets --format "\$(REPO_URI) \$(RELEASE)" 'Created-By: Packages' 2>/dev/null |
		awk -v release="$release" '$2 == release { print $1; exit }') || true
	echo "${found:-$fallback}"
}

suite_line() {
	local uri
	case $1 in
	*-security) uri=$(mirror_of bookworm-security http://deb.debian.org/debian-security) ;;
	*) uri=$(mirror_of bookworm http://deb.debian.org/debian) ;;
	esac
	echo "deb [arch=amd64 signed-by=$KEYRING] $uri $1 main"
}

# apt with the private lists of one kernel: private_apt LABEL apt-get|apt-cache ARGS...
private_apt() {
	local state=$CACHE/apt/$1 tool=$2
	shift 2
	"$tool" -q \
		-o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State="$state" -o Dir::State::Lists="$state/lists" \
		-o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Default-Release= \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# Looks at the suites of one kernel, at most once in LOOK_AGE. A suite that has gone ends the run by name.
look() {
	local label=$1 state=$CACHE/apt/$1 suite suites age
	suites=$(kernel_suites "$label")
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	exec {look_lock}>"$state/lock"
	flock "$look_lock"
	if [[ -e $state/looked ]]; then
		age=$(($(date +%s) - $(stat -c %Y "$state/looked")))
		if [[ -n ${QUARRY_OFFLINE:-} || (-z ${QUARRY_REFRESH:-} && $age -lt $LOOK_AGE) ]]; then
			exec {look_lock}>&-
			return
		fi
	elif [[ -n ${QUARRY_OFFLINE:-} ]]; then
		die "$label was never looked up, and QUARRY_OFFLINE is set"
	fi
	rm -f "$state/looked"
	touch "$state/status"
	for suite in $suites; do
		suite_line "$suite"
	done >"$state/sources.list"
	say "reading $suites"
	private_apt "$label" apt-get update -o APT::Update::Error-Mode=any >"$state/update.log" 2>&1 || {
		cat "$state/update.log" >&2
		die "$label: Debian's suite (one of: $suites) cannot be read: it has gone, or the mirror is away"
	}
	touch "$state/looked"
	exec {look_lock}>&-
}

# The release (uname -r) and the package version of a kernel: the highest image that has headers too.
#   resolve LABEL  sets RELEASE (6.1.0-56-amd64) and VERSION (6.1.192-2)
resolve() {
	local label=$1 name version headers pattern resolved=$CACHE/apt/$1/resolved
	pattern=$(kernel_pattern "$label")
	look "$label"
	if [[ $resolved -nt $CACHE/apt/$label/looked ]]; then
		read -r RELEASE VERSION <"$resolved"
		return
	fi
	RELEASE='' VERSION=''
	while read -r name; do
		version=$(candidate "$label" "$name")
		[[ -n $version ]] || continue
		headers=$(candidate "$label" "${name/image/headers}")
		[[ -n $headers ]] || continue
		if [[ -z $VERSION ]] || dpkg --compare-versions "$version" gt "$VERSION"; then
			VERSION=$version
			RELEASE=${name#linux-image-}
		fi
	done < <(private_apt "$label" apt-cache pkgnames linux-image- |
		grep -Ex "linux-image-$pattern-amd64" | sort -V | tail -n 4)
	[[ -n $RELEASE ]] ||
		die "$label: no linux-image with linux-headers in $(kernel_suites "$label")"
	echo "$RELEASE $VERSION" >"$resolved.$$"
	mv "$resolved.$$" "$resolved"
}

# The version that a private list offers of a package; nothing if it has none.
candidate() {
	private_apt "$1" apt-cache policy "$2" |
		awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

# fetch LABEL FOLDER PACKAGE[=VERSION]...: downloads and unpacks the packages into FOLDER
fetch() {
	local label=$1 folder=$2 deb
	shift 2
	[[ -z ${QUARRY_OFFLINE:-} ]] || die "$label: $* not in the cache, and QUARRY_OFFLINE is set"
	mkdir -p "$folder" "$folder.debs"
	say "downloading $*"
	(cd "$folder.debs" && private_apt "$label" apt-get download "$@" >&2) ||
		die "$label: cannot download $*"
	for deb in "$folder.debs"/*.deb; do
		dpkg -x "$deb" "$folder"
	done
	rm -rf "$folder.debs"
}

# cached KEY FUNCTION ARGS...: prints the folder $CACHE/KEY; when it is not there, FUNCTION TEMP FINAL ARGS...
# makes it in TEMP.
cached() {
	local key=$1 maker=$2 final=$CACHE/$1 temp lock
	shift 2
	if [[ ! -d $final ]]; then
		mkdir -p "$(dirname "$final")" "$CACHE/locks"
		exec {lock}>"$CACHE/locks/${key//\//_}"
		flock -n "$lock" || {
			say "waiting for another maker of $key"
			flock "$lock"
		}
		if [[ ! -d $final ]]; then
			temp=$final.part
			rm -rf "$temp" "$temp.debs"
			mkdir -p "$temp"
			"$maker" "$temp" "$final" "$@" >&2
			mv "$temp" "$final"
			say "made $final"
		fi
		exec {lock}>&-
	fi
	echo "$final"
}
