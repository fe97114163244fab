#!/usr/bin/env bash
# Makes the Python environment of the original mushroom, server and test client, and fetches its browser client, which
# only the source package of 0.9.17 still carries. Prints both paths.
cd "$(dirname "$0")/../.." || exit 1
dir=$PWD/.cache/peers/mushroom-js

absent() {
	printf '%s\n' "$1" >"$dir.absent"
	echo "live peer mushroom-js is absent: $1" >&2
	exit 1
}

venv=$(scripts/venv.sh mushroom rpc/mushroom/testdata/peers/requirements.txt) ||
	absent "it is fetched with the pip of the live peer mushroom, which is absent"
echo "$venv"

# One at a time: two test runs may share this checkout.
if command -v flock >/dev/null; then
	exec 9>"$dir.lock"
	flock -w 600 9 || absent "another run has been fetching it for 10 minutes"
fi
if [ ! -s "$dir/mushroom.js" ]; then
	part=$dir.part
	rm -rf "$dir" "$dir.absent" "$part"
	mkdir -p "$part"
	if ! { timeout -k 10 300 "$venv/bin/python" -m pip --disable-pip-version-check --retries 2 --timeout 20 \
		download --quiet --no-deps --no-binary mushroom --dest "$part" mushroom==0.9.17 &&
		tar -xzf "$part/mushroom-0.9.17.tar.gz" -C "$part" --strip-components 2 mushroom-0.9.17/js/mushroom.js &&
		rm "$part/mushroom-0.9.17.tar.gz" && mv "$part" "$dir"; } >"$dir.log" 2>&1; then
		absent "its source package could not be had, see .cache/peers/mushroom-js.log: $(grep -i error "$dir.log" | tail -n 1)"
	fi
fi
echo "$dir"
