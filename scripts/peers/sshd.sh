#!/usr/bin/env bash
# Finds OpenSSH's server and client, which tests of ssh: start for themselves, and prints where links to them are. CI as root
# installs them where it can; anywhere else that is for whoever owns the machine.
cd "$(dirname "$0")/../.." || exit 1
dir=$PWD/.cache/peers/sshd
mkdir -p "${dir%/*}" || exit 1
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin

absent() {
	rm -rf "$dir"
	printf '%s\n' "$1" >"$dir.absent"
	echo "live peer sshd is absent: $1" >&2
	exit 1
}

if ! { command -v sshd && command -v ssh; } >/dev/null &&
	[ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	DEBIAN_FRONTEND=noninteractive timeout -k 10 300 sh -c \
		'apt-get update -q && apt-get install -q -y --no-install-recommends openssh-server openssh-client' >"$dir.log" 2>&1
fi
for program in sshd ssh ssh-keygen; do
	command -v $program >/dev/null ||
		absent "$program is not on the PATH (on Debian and Ubuntu: apt-get install openssh-server openssh-client)"
done
# What the server of root needs where none was started by the system.
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd || absent "/run/sshd cannot be made"
mkdir -p "$dir" && rm -f "$dir.absent" || exit 1
for program in sshd ssh ssh-keygen; do
	ln -sfn "$(command -v $program)" "$dir/$program"
done
echo "$dir"
