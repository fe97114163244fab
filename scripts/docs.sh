#!/usr/bin/env bash
# Prints the manual of each package that users may import.
cd "$(dirname "$0")/.." || exit 1
go list ./... | grep -v -e /internal/ -e /cmd/ | while read -r package; do
	printf '==== %s\n\n' "$package"
	go doc -all "$package"
done
