#!/usr/bin/env bash
# Makes what drives a browser in the test of mushroom's page, and prints its path. The browser itself is the system's
# chromium.
cd "$(dirname "$0")/../.." || exit 1
package=$PWD/internal/mushroomdemo/testdata/browser/package.json
dir=$PWD/.cache/peers/mushroom-browser
mkdir -p "${dir%/*}" || exit 1

absent() {
	printf '%s\n' "$1" >"$dir.absent"
	echo "live peer mushroom-browser is absent: $1" >&2
	exit 1
}

# One at a time: two test runs may share this checkout.
if command -v flock >/dev/null; then
	exec 9>"$dir.lock"
	flock -w 600 9 || absent "another run has been making it for 10 minutes"
fi
if ! cmp -s "$package" "$dir/pinned.json"; then
	rm -rf "$dir" "$dir.absent" "$dir.part"
	command -v npm >/dev/null || absent "npm is not on the PATH (on Debian and Ubuntu: apt-get install npm)"
	mkdir "$dir.part"
	cp "$package" "$dir.part/package.json"
	if ! { timeout -k 10 300 npm install --prefix "$dir.part" --silent --no-audit --no-fund --ignore-scripts &&
		cp "$package" "$dir.part/pinned.json" && mv "$dir.part" "$dir"; } >"$dir.log" 2>&1; then
		absent "npm install failed, see .cache/peers/mushroom-browser.log: $(grep -i err "$dir.log" | tail -n 1)"
	fi
fi
echo "$dir"
