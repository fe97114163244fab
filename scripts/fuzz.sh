#!/usr/bin/env bash
# Fuzzes every Fuzz target for SECONDS_EACH seconds or so (4), all of them for about SECONDS_ALL (120) at most.
# With FUZZ_LOG=FILE each target's end is written there as a test event.
#
# Targets are given a number of executions, not a time, because Go 1.26's fuzzing now and then
# reports its own deadline as a failure (go.dev/issue/75804).
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
each=${SECONDS_EACH:-4} all=${SECONDS_ALL:-120}
log=${FUZZ_LOG:-/dev/null}
case $log in /*) ;; *) log=$root/$log ;; esac
mkdir -p .cache/fuzz

now() { echo "${EPOCHREALTIME/[.,]/}"; } # in microseconds

record() { printf '{"Action":"%s","Package":"%s","Test":"fuzzing %s"}\n' "$1" "$2" "$3" >>"$log"; }

# fuzz PACKAGE DIR BINARY TARGET COUNT LIMIT
fuzz() {
	(cd "$2" && exec timeout -k 10 "$6" "$3" -test.run='^$' -test.fuzz="^$4\$" -test.fuzztime="$5x" \
		-test.fuzzminimizetime=500x -test.parallel=2 -test.fuzzcachedir="$root/.cache/fuzz/cache/$1") >"$root/.cache/fuzz/output" 2>&1
}

# target PACKAGE DIR BINARY TARGET runs the target with ever more executions until its time is spent.
target() {
	local start took count=300 done=0 spent=0 budget=$((each * 1000000))
	while [ $spent -lt $((budget * 6 / 10)) ]; do
		start=$(now)
		if ! fuzz "$@" $count $((each * 10 + 60)); then
			printf 'FAIL           %s %s\n' "$1" "$4"
			cat .cache/fuzz/output
			return 1
		fi
		took=$(($(now) - start))
		spent=$((spent + took)) done=$((done + count))
		# A short run tells little of the speed, since most of it is the start.
		count=$((count * (budget - spent) / took))
		[ $count -ge 300 ] || count=300
		[ $count -le $((done * 10)) ] || count=$((done * 10))
	done
	printf 'ok   %7.1fs  %s %s: %d executions\n' "${spent}e-6" "$1" "$4" $done
}

targets=()
status=0
while read -r package dir; do
	grep -qs '^func Fuzz' "$dir"/*_test.go || continue
	binary=$root/.cache/fuzz/${package//\//_}.test
	if ! timeout -k 10 300 go test -c -fuzz=Fuzz -o "$binary" "$package" || [ ! -x "$binary" ]; then
		echo "FAIL $package: its tests do not build"
		record fail "$package" build
		status=1
		continue
	fi
	while read -r name; do
		targets+=("$package $dir $binary $name")
	done < <(cd "$dir" && timeout 60 "$binary" -test.list '^Fuzz')
done < <(go list -f '{{.ImportPath}} {{.Dir}}' ./...)

if [ ${#targets[@]} -gt 0 ] && [ $((${#targets[@]} * each)) -gt "$all" ]; then
	each=$((all / ${#targets[@]}))
	[ $each -ge 1 ] || each=1
fi
for line in "${targets[@]}"; do
	read -r package dir binary name <<<"$line"
	if target "$package" "$dir" "$binary" "$name"; then
		record pass "$package" "$name"
	else
		record fail "$package" "$name"
		status=1
	fi
done
printf '%s\n' "${targets[@]}" | awk 'NF {print $1}' | sort -u | while read -r package; do
	printf '{"Action":"pass","Package":"%s"}\n' "$package" >>"$log"
done
exit $status
