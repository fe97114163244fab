#!/usr/bin/env bash
# usage: [SOAK=10m] [PACKAGES=...] scripts/soak.sh
#
# The soak tests: those in files with the build tag soak, whose names begin with TestSoak. They go on for
# as long as the environment variable PACKETSTREAM_SOAK says, each.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=.cache/soak
rm -rf $logs
scripts/peers.sh
# shellcheck disable=SC2086 # several packages may be named
PACKETSTREAM_SOAK=${SOAK:-10m} scripts/gotest.sh $logs/soak.json 7d \
	-tags=soak -run '^TestSoak' -count=1 -v -timeout 0 ${PACKAGES:-./...}
echo "== summary; the logs are in $logs"
exec .cache/bin/testreport -allow testdata/peers-may-be-absent.txt $logs/soak.json
