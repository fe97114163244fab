# Every target is one line or one script; CI runs make test and nothing else.

.PHONY: demo test test-long lint bench bench-full bench-quick bench-compare bench-go fuzz soak cover docs clean

demo: # two processes talk over pipes; needs only Go
	@go run ./cmd/packetstream demo

test: # what everybody runs before a commit, and CI
	@scripts/test.sh

test-long: # COUNT=n PACKAGES=...: everything many times, and the tests that take long
	@scripts/test-long.sh

lint: # gofmt, vet, staticcheck, revive, misspell
	@scripts/lint.sh

bench: # beside the bare system calls and four other libraries, in 4 minutes
	@scripts/bench.sh headline

bench-full: # beside everything, in half an hour; writes docs/PERFORMANCE.md and its plot
	@scripts/bench.sh full

bench-quick: # a first look, in a minute
	@scripts/bench.sh quick

bench-compare: # BASE=rev ROUNDS=n CELLS=16x1,... PEERS=...: this revision beside another, by benchstat
	@scripts/bench-compare.sh

bench-go: # BENCH=regexp COUNT=n PACKAGES=...: the packages' own benchmarks
	@scripts/bench-go.sh

fuzz: # SECONDS_EACH=n SECONDS_ALL=n: every fuzz target in turn
	@scripts/fuzz.sh

soak: # SOAK=10m: the tests that run for as long as they are told
	@scripts/soak.sh

cover: # coverage of each package, and the least that is asked of some
	@scripts/cover.sh

docs: # the manual of each package, as text
	@scripts/docs.sh

clean: # everything that the other targets made
	@rm -rf .cache bin cover.out
