#!/usr/bin/env bash
# usage: scripts/lint.sh [gofmt|vet|systems|tools]...   (all of them without arguments)
set -u
cd "$(dirname "$0")/.." || exit 1
tags=long,soak

# Prints the files of the project that match, new ones included.
files() {
	git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
		[ -f "$file" ] && echo "$file"
	done
}

lint_gofmt() {
	local unformatted
	unformatted=$(files '*.go' | xargs -r gofmt -l) || return 1
	[ -z "$unformatted" ] || { echo "gofmt would change:"; echo "$unformatted"; return 1; }
}

lint_vet() { timeout -k 10 600 go vet -tags=$tags ./... && timeout -k 10 600 go -C bench vet ./...; }

# What cannot work on other systems has to build there all the same.
lint_systems() {
	local os status=0
	for os in darwin windows; do
		GOOS=$os timeout -k 10 600 go vet -tags=$tags ./... || { echo "vet fails for $os"; status=1; }
	done
	return $status
}

lint_tools() {
	local status=0 tools=.cache/tools
	scripts/tools.sh || return 1
	timeout -k 10 600 $tools/staticcheck -tags=$tags ./... || status=1
	(cd bench && timeout -k 10 600 ../$tools/staticcheck ./...) || status=1
	timeout -k 10 300 $tools/revive -config tools/revive.toml -set_exit_status ./... || status=1
	files '*.go' '*.md' '*.sh' | xargs -r timeout -k 10 60 $tools/misspell -error || status=1
	return $status
}

status=0
for part in "${@:-all}"; do
	case $part in
	all) lint_gofmt || status=1; lint_vet || status=1; lint_systems || status=1; lint_tools || status=1 ;;
	*) "lint_$part" || status=1 ;;
	esac
done
exit $status
