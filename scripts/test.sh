#!/usr/bin/env bash
# Runs every check, says what it is doing and how long it took, and ends with a summary. It needs
# Go; live tests need Python too, and are skipped by name without it. With CI=true a skipped test is a
# failure unless testdata/peers-may-be-absent.txt allows its peer to be absent.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=.cache/test
rm -rf $logs
mkdir -p $logs

child=
trap 'kill $child 2>/dev/null; exit 130' INT TERM

now() { echo "${EPOCHREALTIME/[.,]/}"; } # in microseconds

# record OUTCOME NAME writes a step's end as a test event, so that the summary counts it.
record() {
	printf '{"Action":"%s","Package":"make test","Test":"%s"}\n' "$1" "$2" >>$logs/steps.json
}

# check NAME LIMIT COMMAND... runs one check, for at most LIMIT seconds.
check() {
	local name=$1 limit=$2 start took status outcome=pass
	shift 2
	echo "== $name"
	start=$(now)
	timeout -k 10 "$limit" "$@" &
	child=$!
	wait $child
	status=$?
	took=$(($(now) - start))
	[ $status = 0 ] || outcome=fail
	[ $status != 124 ] || echo "stopped after $limit seconds"
	printf '== %s: %s, %d.%d s\n' "$name" $outcome $((took / 1000000)) $((took / 100000 % 10))
	return $status
}

# step is a check that counts as one test.
step() {
	if check "$@"; then record pass "$1"; else record fail "$1"; fi
}

# logged LOG NAME LIMIT COMMAND... is a check whose tests are in LOG. It counts by itself only if it fails without a failed test.
logged() {
	local log=$1
	shift
	check "$@" || grep -qs '"Action":"fail"' "$log" || record fail "$1"
}

step gofmt 60 scripts/lint.sh gofmt
step vet 600 scripts/lint.sh vet
step 'vet for macOS and Windows' 900 scripts/lint.sh systems
step 'staticcheck, revive, misspell' 900 scripts/lint.sh tools
step build 600 go build ./...
step 'live peers' 3600 scripts/peers.sh
# Golden vectors, examples and live interop are tests like all others.
logged $logs/unit.json tests 700 scripts/gotest.sh $logs/unit.json 690 -shuffle=on -timeout 10m ./...
logged $logs/race.json 'tests with the race detector' 1500 \
	scripts/gotest.sh $logs/race.json 1490 -race -shuffle=on -timeout 15m ./...
logged $logs/bench.json 'tests of the benchmark' 300 env MODULE=bench \
	scripts/gotest.sh $logs/bench.json 290 -shuffle=on -timeout 4m ./...
logged $logs/fuzz.json 'fuzzing, a little' 600 env FUZZ_LOG=$logs/fuzz.json scripts/fuzz.sh

printf '{"Action":"pass","Package":"make test"}\n' >>$logs/steps.json
args=(-allow testdata/peers-may-be-absent.txt)
if [ "${CI:-}" = true ]; then
	args+=(-ci)
fi
echo "== summary, after $((SECONDS / 60)) min $((SECONDS % 60)) s; the logs are in $logs"
exec .cache/bin/testreport "${args[@]}" $logs/*.json
