#!/usr/bin/env bash
# Makes what drives a browser in the test of mushroom's page, and prints its path. The browser itself is the system's
# chromium.
cd "$(dirname "$0")/../.." || exit 1
package=$PWD/internal/mushroomdemo/testdata/browser/package.json
dir=$PWD/.cache/peers/mushroom-browser
if ! cmp -s "$package" "$dir/pinned.json"; then
	mkdir -p "${dir%/*}"
	rm -rf "$dir" "$dir.absent" "$dir.part"
	mkdir "$dir.part"
	cp "$package" "$dir.part/package.json"
	if ! { timeout -k 10 300 npm install --prefix "$dir.part" --silent --no-audit --no-fund --ignore-scripts &&
		cp "$package" "$dir.part/pinned.json" && mv "$dir.part" "$dir"; } >"$dir.log" 2>&1; then
		echo "npm install failed, see .cache/peers/mushroom-browser.log" >"$dir.absent"
		exit 1
	fi
fi
echo "$dir"
