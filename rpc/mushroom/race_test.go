//go:build race

package mushroom_test

// underRace tells that memory is measured with the race detector's own.
const underRace = true
