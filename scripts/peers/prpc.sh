#!/usr/bin/env bash
# Makes the Python environment in which the pRpc kit's programs run the original library, and prints its path.
# The library itself is on no package index: PRPC_LIB names a checkout of its repository. Without
# that nothing is made, and the tests are skipped.
cd "$(dirname "$0")/../.." || exit 1
[ -n "${PRPC_LIB:-}" ] || exit 0
scripts/venv.sh prpc rpc/prpc/testdata/peers/requirements.txt
