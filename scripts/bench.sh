#!/usr/bin/env bash
# usage: scripts/bench.sh quick|headline|full [FLAGS of bench run]...
#
# Measures, prints tables, the goals and how long it took, and keeps the results in .cache/bench, a file for each set; bench goals
# and bench report take the newest. After a full run docs/PERFORMANCE.md, its plot and the short form in README.md are
# written anew.
set -u
cd "$(dirname "$0")/.." || exit 1
set=${1:-headline}
shift
mkdir -p .cache/bin .cache/bench
go build -C bench -o ../.cache/bin/bench . || exit 1
if [ "$set" = full ]; then
	scripts/peers/packetstream.sh >/dev/null || echo "the Python reference is left out"
fi
.cache/bin/bench run --set "$set" --out ".cache/bench/$set.json" "$@" || exit 1
# What was measured with flags is not shown as the full run.
if [ "$set" = full ] && [ $# = 0 ]; then
	.cache/bin/bench report --from .cache/bench/full.json --format page --out docs/PERFORMANCE.md || exit 1
	.cache/bin/bench report --from .cache/bench/full.json --format svg --out docs/performance.svg || exit 1
	.cache/bin/bench report --from .cache/bench/full.json --into README.md || exit 1
fi
