#!/bin/sh
# Fetches the jar that the real Java server of the event-stream RPC protocol runs on, if it is not there, and prints the
# directory it is in. The server itself is one source file, which java compiles as it starts it.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
pom=$root/rpc/eventstream/testdata/peers/server/pom.xml
lib=$root/.cache/peers/eventstream-java
if ! cmp -s "$pom" "$lib/pom.xml"; then
	rm -rf "$lib"
	mkdir -p "$lib"
	mvn --quiet --batch-mode --file "$pom" dependency:copy-dependencies -DoutputDirectory="$lib" >&2
	cp "$pom" "$lib/pom.xml"
fi
echo "$lib"
