#!/usr/bin/env bash
# Builds what lint needs, at the versions of tools/go.mod, into .cache/tools; quick when it is there.
cd "$(dirname "$0")/.." || exit 1
mkdir -p .cache/tools
GOBIN=$PWD/.cache/tools GOFLAGS=-mod=readonly timeout -k 10 600 go -C tools install tool
