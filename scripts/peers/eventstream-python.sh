#!/usr/bin/env bash
# Makes the environment with the real Python client of the event-stream RPC protocol; prints its path.
cd "$(dirname "$0")/../.." || exit 1
exec scripts/venv.sh eventstream-python rpc/eventstream/testdata/peers/requirements.txt
