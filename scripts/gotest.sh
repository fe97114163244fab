#!/usr/bin/env bash
# usage: [MODULE=.] scripts/gotest.sh LOG LIMIT ARGS...
#
# Runs go test with ARGS, shows packages as they end and what failed, keeps the events in LOG for the
# closing summary, and stops everything after LIMIT (as timeout takes it). The exit status is go test's.
set -u
cd "$(dirname "$0")/.." || exit 1
log=$1 limit=$2
shift 2
mkdir -p "$(dirname "$log")" .cache/bin
go build -o .cache/bin/testreport ./internal/testreport || exit 1

: >"$log" # else tail may come first, and finds nothing to follow
timeout -k 10 "$limit" go test -C "${MODULE:-.}" -json "$@" >"$log" 2>&1 &
child=$!
trap 'kill "$child" 2>/dev/null; wait "$child"; exit 130' INT TERM
tail -n +1 -f -s 0.2 --pid="$child" "$log" | .cache/bin/testreport -follow
wait "$child"
status=$?
if [ $status = 124 ]; then
	echo "stopped after the time limit of $limit"
fi
exit $status
