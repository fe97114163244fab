#!/bin/sh
# Makes the venv with the real Python client of the event-stream RPC protocol, if it is not there, and prints its path.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
peers=$root/rpc/eventstream/testdata/peers
venv=$root/.cache/peers/eventstream-python
if ! cmp -s "$peers/requirements.txt" "$venv/requirements.txt"; then
	rm -rf "$venv"
	mkdir -p "$root/.cache/peers"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$peers/requirements.txt" >&2
	cp "$peers/requirements.txt" "$venv/requirements.txt"
fi
echo "$venv"
