#!/usr/bin/env bash
# usage: BASE=rev [ROUNDS=10] [CELLS=16x1,16x64,...] [PEERS=packetstream,...] scripts/bench-compare.sh
#
# Measures the library of this checkout beside that of another revision, round by round in turns, and prints what
# benchstat makes of it. The benchmark program is this checkout's in both cases; only the library differs.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
base=${BASE:?say with which revision to compare: make bench-compare BASE=main}
cells=${CELLS:-16x1,16x64,1024x64,65536x1,65536x64,1048576x1}
peers=${PEERS:-packetstream,packetstream-into,packetstream-nb,packetstream-nbi}
dir=$root/.cache/bench/compare
rm -rf "$dir"
mkdir -p "$dir"
git worktree prune
git worktree add --quiet --detach "$dir/base" "$base" || exit 1
trap 'git worktree remove --force "$dir/base"' EXIT

cp bench/go.sum "$dir/go.sum"
go mod edit -print -replace "github.com/packetstream/packetstream=$dir/base" bench/go.mod >"$dir/go.mod" || exit 1
go build -C bench -o "$dir/head.bin" . || exit 1
go build -C bench -mod=mod -modfile "$dir/go.mod" -o "$dir/base.bin" . || exit 1

# measure WHICH ROUND
measure() {
	"$dir/$1.bin" run --set quick --rounds 1 --cells "$cells" --peers "$peers" --out "$dir/$1.json" >/dev/null 2>"$dir/$1.log" &&
		"$dir/$1.bin" report --from "$dir/$1.json" --format gobench >>"$dir/$1.txt" || { cat "$dir/$1.log"; exit 1; }
}
for round in $(seq "${ROUNDS:-10}"); do
	printf '\rround %d of %d' "$round" "${ROUNDS:-10}" >&2
	# Who begins takes turns too.
	if [ $((round % 2)) = 0 ]; then order="base head"; else order="head base"; fi
	for which in $order; do measure "$which"; done
done
echo >&2
cd bench && go tool benchstat "base=$dir/base.txt" "head=$dir/head.txt"
