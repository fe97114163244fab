#!/usr/bin/env bash
# usage: [COUNT=20] [PACKAGES=...] scripts/test-long.sh
#
# The packages' tests COUNT times over with the race detector, and then the long tests: those in files with the
# build tag long, whose names begin with TestLong, without it.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=.cache/test-long
rm -rf $logs
scripts/peers.sh
packages=${PACKAGES:-./...}

echo "== tests, ${COUNT:-20} times"
# shellcheck disable=SC2086 # several packages may be named
scripts/gotest.sh $logs/repeated.json 3h -race -shuffle=on -count="${COUNT:-20}" -timeout 2h $packages
echo "== long tests"
# shellcheck disable=SC2086
scripts/gotest.sh $logs/long.json 6h -tags=long -run '^TestLong' -count=1 -v -timeout 5h $packages

echo "== summary; the logs are in $logs"
exec .cache/bin/testreport -allow testdata/peers-may-be-absent.txt $logs/*.json
