#!/usr/bin/env bash
# Fetches the jar that the real Java server of the event-stream RPC protocol runs on; prints the directory
# it is in. The server itself is one source file, which java compiles as it starts it.
set -u
cd "$(dirname "$0")/../.." || exit 1
pom=rpc/eventstream/testdata/peers/server/pom.xml
peers=$PWD/.cache/peers
dir=$peers/eventstream-java
mkdir -p "$peers" || exit 1

absent() {
	rm -rf "$dir"
	printf '%s\n' "$1" >"$dir.absent"
	echo "live peer eventstream-java is absent: $1" >&2
	exit 1
}

# One at a time: two test runs may share this checkout.
if command -v flock >/dev/null; then
	exec 9>"$dir.lock"
	flock -w 600 9 || absent "another run has been fetching it for 10 minutes"
fi

if cmp -s "$pom" "$dir/pom.xml"; then
	echo "$dir"
	exit 0
fi
command -v java >/dev/null || absent "java is not on the PATH"
command -v mvn >/dev/null || absent "mvn is not on the PATH"
echo "fetching the live peer eventstream-java" >&2
rm -rf "$dir" "$dir.absent"
mkdir -p "$dir"
if ! timeout -k 10 600 mvn --quiet --batch-mode --file "$pom" \
	dependency:copy-dependencies -DoutputDirectory="$dir" >"$dir.log" 2>&1; then
	absent "mvn dependency:copy-dependencies failed, see .cache/peers/eventstream-java.log"
fi
cp "$pom" "$dir/pom.xml"
echo "$dir"
