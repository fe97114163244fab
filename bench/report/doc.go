// Package report makes tables, goals, a plot and a page of what was measured.
//
// Machines are noisy: figures of one round are compared with figures of the same round only. A ratio is the
// median, over the rounds, of the ratios within each.
package report
