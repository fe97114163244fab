//go:build !race

package mushroom_test

const underRace = false
