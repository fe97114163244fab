#!/usr/bin/env bash
# usage: scripts/venv.sh NAME REQUIREMENTS
#
# Makes the Python environment of the live peer NAME in .cache/peers/NAME from a file of pinned
# requirements, and prints its path. Does nothing if it is there already and the file is the same. If it cannot
# be made, the reason goes to standard error and into .cache/peers/NAME.absent, where
# the tests that skip find it, and the exit status is 1.
set -u
name=$1 requirements=$2
cd "$(dirname "$0")/.." || exit 1
peers=$PWD/.cache/peers
dir=$peers/$name
log=$peers/$name.log
mkdir -p "$peers" || exit 1

absent() {
	rm -rf "$dir"
	printf '%s\n' "$1" >"$dir.absent"
	echo "live peer $name is absent: $1" >&2
	exit 1
}

# One at a time: two test runs may share this checkout.
if command -v flock >/dev/null; then
	exec 9>"$dir.lock"
	flock -w 600 9 || absent "another run has been making it for 10 minutes"
fi

stamp=$(cksum <"$requirements") || absent "$requirements cannot be read"
if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ] && "$dir/bin/python" -c '' 2>/dev/null; then
	echo "$dir"
	exit 0
fi

# A version manager's python3.11 may be there and not run.
python=
for candidate in python3.11 python3; do
	if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		python=$candidate
		break
	fi
done
[ -n "$python" ] || absent "neither python3.11 nor a python3 of at least 3.11 is on the PATH"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
	absent "$python has no venv module (on Debian and Ubuntu: apt-get install python3-venv)"

echo "making the live peer $name with $("$python" --version)" >&2
rm -rf "$dir" "$dir.absent"
if ! timeout -k 10 120 "$python" -m venv "$dir" >"$log" 2>&1; then
	absent "$python -m venv failed, see .cache/peers/$name.log"
fi
if ! timeout -k 10 600 "$dir/bin/python" -m pip --disable-pip-version-check --retries 2 --timeout 20 \
	install --quiet --requirement "$requirements" >>"$log" 2>&1; then
	absent "pip install --requirement $requirements failed, see .cache/peers/$name.log: $(grep -i error "$log" | tail -n 1)"
fi
echo "$stamp" >"$dir/stamp"
echo "$dir"
