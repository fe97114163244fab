#!/usr/bin/env bash
# Makes sure of OpenSSH's server and client, which tests of ssh: start for themselves, and prints where links to them
# are.
cd "$(dirname "$0")/../.." || exit 1
dir=$PWD/.cache/peers/sshd
mkdir -p "${dir%/*}" || exit 1

absent() {
	rm -rf "$dir"
	printf '%s\n' "$1" >"$dir.absent"
	echo "live peer sshd is absent: $1" >&2
	exit 1
}

hint='not on the PATH (on Debian: apt-get install openssh-server openssh-client)'
server=$(scripts/system-peer.sh sshd openssh-server) || absent "sshd is $hint"
client=$(scripts/system-peer.sh ssh openssh-client) || absent "ssh is $hint"
keygen=$(scripts/system-peer.sh ssh-keygen openssh-client) || absent "ssh-keygen is $hint"
# What the server of root needs where none was started by the system.
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd || absent "/run/sshd cannot be made"
mkdir -p "$dir" && rm -f "$dir.absent" || exit 1
ln -sfn "$server" "$dir/sshd"
ln -sfn "$client" "$dir/ssh"
ln -sfn "$keygen" "$dir/ssh-keygen"
echo "$dir"
