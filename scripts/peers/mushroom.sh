#!/bin/sh
# Makes what mushroom's live tests talk to, once, and prints where it is: the original server and its
# client kit in a Python venv, and the original's browser client, mushroom.js of 0.9.17.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/.cache/peers/mushroom
requirements=$root/rpc/mushroom/testdata/peers/requirements.txt

if ! cmp -s "$requirements" "$dir/requirements.txt"; then
	rm -rf "$dir"
	mkdir -p "$dir"
	python3 -m venv "$dir/venv" >&2
	pip="$dir/venv/bin/python -m pip --quiet --disable-pip-version-check"
	$pip install -r "$requirements" >&2
	# The wheel of 0.9.20 leaves the browser client out; the source package of 0.9.17 has it.
	$pip download --no-deps --no-binary mushroom --dest "$dir" mushroom==0.9.17 >&2
	tar -xzf "$dir/mushroom-0.9.17.tar.gz" -C "$dir" --strip-components 2 mushroom-0.9.17/js/mushroom.js
	rm "$dir/mushroom-0.9.17.tar.gz"
	cp "$requirements" "$dir/requirements.txt"
fi
echo "$dir"
