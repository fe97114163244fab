#!/usr/bin/env bash
# usage: scripts/system-peer.sh PROGRAM PACKAGE
#
# Makes sure of a live peer that is a program of the system, and prints its path. With CI=true, as root, where apt-get is, a
# missing one is installed from the distribution's PACKAGE; what is installed on a person's machine is that
# person's affair. If it is not to be had, the exit status is 1.
set -u
program=$1 package=$2
cd "$(dirname "$0")/.." || exit 1
PATH=$PATH:/usr/sbin
mkdir -p .cache/peers || exit 1
log=.cache/peers/$program.log

absent() {
	echo "live peer $program is absent: $1" >&2
	exit 1
}

command -v "$program" && exit 0
hint="it is not on the PATH (on Debian: apt-get install $package)"
[ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || absent "$hint"

echo "installing $package for the live peer $program" >&2
export DEBIAN_FRONTEND=noninteractive
if ! { timeout -k 10 200 apt-get update -qq && timeout -k 10 600 apt-get install -qq --no-install-recommends "$package"; } \
	>"$log" 2>&1 </dev/null; then
	absent "apt-get install $package failed, see $log: $(grep '^E:' "$log" | tail -n 1)"
fi
command -v "$program" || absent "the package $package has no such program"
