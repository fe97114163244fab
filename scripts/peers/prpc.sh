#!/bin/sh
# Makes the Python environment in which the kit's programs run the original pRpc, once, and prints where
# it is. The library itself is on no package index: PRPC_LIB names a checkout of its repository.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/.cache/peers/prpc
requirements=$root/rpc/prpc/testdata/peers/requirements.txt

if ! cmp -s "$requirements" "$dir/requirements.txt"; then
	rm -rf "$dir"
	python3 -m venv "$dir" >&2
	"$dir/bin/python" -m pip --quiet --disable-pip-version-check install -r "$requirements" >&2
	cp "$requirements" "$dir/requirements.txt"
fi
echo "$dir"
