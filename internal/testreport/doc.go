// Command testreport digests what go test -json prints.
//
//	go test -json ./... | tee unit.json | testreport -follow
//	testreport -ci -allow testdata/peers-may-be-absent.txt steps.json unit.json
//
// With -follow it reads standard input as it comes and prints a line for each package and the output
// of each test that failed. Without it it reads the files named, one after another, and prints the
// closing summary: the line
//
//	12 passed, 0 failed, 3 skipped
//
// alone, then what failed, what was skipped, and which live peers were absent. A test announces
// an absent peer by a skip whose message begins "live peer absent: NAME: why".
//
// What is counted are the tests that have no subtests, and a test with subtests only if it failed or was
// skipped by itself. A test that did not finish has failed, and so has a package that failed
// without a failed test in it. With -ci a skip counts as failed unless its peer's name matches a line of
// the allow file; such a line may be a pattern as in path.Match.
//
// The exit status is 0 if nothing failed, 1 if something did, and 2 if the input could not be read.
package main
