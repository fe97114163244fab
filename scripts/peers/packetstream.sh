#!/usr/bin/env bash
# Makes the environments of both releases of the Python reference; prints their paths.
cd "$(dirname "$0")/../.." || exit 1
status=0
for release in 20240412 20240630; do
	scripts/venv.sh "packetstream-$release" "testdata/packetstream/peers/requirements-$release.txt" || status=1
done
exit $status
