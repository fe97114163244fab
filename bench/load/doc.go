// Package load keeps calls in flight on connections and measures what they cost.
//
// A [Load] is a number of callers that call one behind another, each with a payload of its own, and check each answer,
// its length and its content. [Measure] runs one in this process against an answering process: callers start,
// warm up, and go on while usage is read on both ends at the beginning and at the end of the measured time, so that nothing
// is started or stopped within it.
package load
