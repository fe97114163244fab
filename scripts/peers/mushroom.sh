#!/usr/bin/env bash
# Makes the Python environment of the original mushroom, server and test client, and fetches its browser client, which
# only the source package of 0.9.17 still carries. Prints both paths.
cd "$(dirname "$0")/../.." || exit 1
venv=$(scripts/venv.sh mushroom rpc/mushroom/testdata/peers/requirements.txt) || exit 1
echo "$venv"

dir=$PWD/.cache/peers/mushroom-js
if [ ! -s "$dir/mushroom.js" ]; then
	rm -rf "$dir" "$dir.absent"
	part=$dir.part
	rm -rf "$part"
	mkdir -p "$part"
	if ! { timeout -k 10 300 "$venv/bin/python" -m pip --disable-pip-version-check --retries 2 --timeout 20 \
		download --quiet --no-deps --no-binary mushroom --dest "$part" mushroom==0.9.17 &&
		tar -xzf "$part/mushroom-0.9.17.tar.gz" -C "$part" --strip-components 2 mushroom-0.9.17/js/mushroom.js &&
		rm "$part/mushroom-0.9.17.tar.gz" && mv "$part" "$dir"; } >"$dir.log" 2>&1; then
		echo "its source package could not be had, see .cache/peers/mushroom-js.log" >"$dir.absent"
		exit 1
	fi
fi
echo "$dir"
