#!/usr/bin/env bash
# usage: [BENCH=regexp] [COUNT=1] [PACKAGES=...] scripts/bench-go.sh
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck disable=SC2086 # several packages may be named
timeout -k 10 2h go test -run '^$' -bench "${BENCH:-.}" -benchmem -count "${COUNT:-1}" -timeout 2h ${PACKAGES:-./...} |
	grep -v 'no test files$'
exit "${PIPESTATUS[0]}"
