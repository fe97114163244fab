#!/bin/sh
# Makes what drives a browser in mushroom's page test, once, and prints where it is. The browser itself
# is the system's chromium.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/.cache/peers/mushroom-browser
package=$root/internal/mushroomdemo/testdata/browser/package.json

if ! cmp -s "$package" "$dir/package.json"; then
	rm -rf "$dir"
	mkdir -p "$dir"
	cp "$package" "$dir/package.json.new"
	npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts \
		"$(node -p "Object.entries(require('$package').dependencies).map(([n, v]) => n + '@' + v).join(' ')")" >&2
	mv "$dir/package.json.new" "$dir/package.json"
fi
echo "$dir"
