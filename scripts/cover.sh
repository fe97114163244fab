#!/usr/bin/env bash
# Prints each package's coverage, and fails where it is below what is asked of the package. The
# profile is left in cover.out for go tool cover -html=cover.out.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
timeout -k 10 1800 go test -timeout 15m -coverprofile=cover.out ./... | awk '
	BEGIN { least["packet"] = 95; least["pconn"] = 85 }
	/coverage: [0-9.]+%/ && $1 != "FAIL" {
		match($0, /coverage: [0-9.]+/)
		percent = substr($0, RSTART + 10, RLENGTH - 10)
		name = $1 == "ok" ? $2 : $1
		sub(/^github.com\/packetstream\/packetstream\//, "", name)
		low = name in least && percent + 0 < least[name]
		printf "%6.1f %%  %s%s\n", percent, name, low ? ", of which at least " least[name] " % is asked" : ""
		bad = bad || low
		next
	}
	/no test files/ { next }
	{ print }
	END { exit bad }'
