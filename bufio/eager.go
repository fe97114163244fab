package bufio

// eagerness is how an Input looks at a descriptor again before it waits for it. To go to sleep and be woken costs more
// than all else in the way of a short message, and so who expects an answer at once looks for about as long as both
// ends would take for that. It is kept up while it pays: a peer that takes longer, or has no core to run on meanwhile,
// costs some looks now and then.
type eagerness struct {
	failures int // more or less: what pays takes two back
	skip     int // waits to come without a look
	awake    int // turns taken since it slept
	lately   int // after how many turns came what was waited for lately, times latelyOf

	// Of the wait under way. Each look is further from the last than that was from the one before, by pace turns of
	// other goroutines.
	pace    int // 0: it does not look
	gap     int
	turns   int
	asked   bool // whether to look is settled
	looking bool // it is one of the lookers
	bulk    bool // what came before it was bulk, and so may be what comes

	beside bool // what is waited for comes beside bulk
}

const (
	// maxTurns is how many turns of other goroutines one wait takes: where there are none to run, 0.12 ms. It has to be
	// long enough for a peer that sleeps to be found, who may then stay awake too.
	maxTurns = 800

	// paidTurns is within how many something has to be found for the looks to have cost no more than two ends' sleep
	// would have. What takes longer is better slept for. Bulk is not: it takes both ends longer, and calls of 64 KiB, one at
	// a time, take a tenth to a fifth less time if it is looked for to the end, for the same processor time.
	paidTurns = 400

	// Before what is awaited comes there is no point in a look: so the first is after firstQuarters of the turns after which it came lately,
	// and not even the read before all looks is made. What comes sooner counts for a quarter of that, what comes later for a
	// latelyOf-th. For two ends wait for each other, and each that looks late is why the other has to wait for longer: with the mean
	// and all of it they would slow each other down without end.
	latelyOf      = 16
	firstQuarters = 3

	// maxAwake is how many turns are taken between two sleeps, however well it pays. While every processor has a goroutine to
	// run, the runtime asks what else has come only every 10 ms, and other connections would wait for so long.
	maxAwake = 16 * maxTurns

	// So many failures are free. Each further one doubles the waits without a look, up to some hundreds: with one call
	// at a time that are ten milliseconds.
	freeFailures = 4
	maxFailures  = freeFailures + 8
)

// begin settles whether to look during the wait that begins. pace is that of BeforeWait.
func (e *eagerness) begin(pace int) {
	e.leave()
	e.asked, e.pace, e.gap, e.turns = true, pace, 0, 0
	switch {
	case pace > 0 && e.awake >= maxAwake:
		e.awake, e.pace = 0, 0
	case pace > 0 && e.skip > 0:
		e.skip--
		e.awake, e.pace = 0, 0
	case pace > 0:
		e.join()
	}
}

// besideBulk says whether what is waited for comes beside bulk. Until then it was slept for, perhaps, for reasons that are
// none any more.
func (e *eagerness) besideBulk(on bool) {
	if on && !e.beside {
		e.failures, e.skip = 0, 0
	}
	e.beside = on
}

func (e *eagerness) join() {
	e.looking = lookers.join()
	if !e.looking {
		e.awake, e.pace = 0, 0
	}
}

// leave ends the looks of a wait, if there are any.
func (e *eagerness) leave() {
	if e.looking {
		e.looking = false
		lookers.leave()
	}
}

// next returns how many turns other goroutines are to have before the next look, or 0 if there is to be none.
func (e *eagerness) next() int {
	switch {
	case e.pace == 0:
		return 0
	case lookers.tooMany():
		e.leave()
		e.awake, e.pace = 0, 0
		return 0
	case e.turns >= maxTurns:
		e.failed()
		return 0
	}
	e.gap += e.pace
	n := e.gap
	if first := e.first(); e.turns == 0 && first > 0 {
		n = first
	}
	e.turns += n
	e.awake += n
	return n
}

// first returns after how many turns the first look pays, or 0 if what came lately came at once. For bulk, and beside it, that says
// nothing; nor where looks fail, as they do if both ends share a processor: there what was found soon was so since the system
// has let the peer run meanwhile.
func (e *eagerness) first() int {
	if e.failures > 0 || e.bulk || e.beside {
		return 0
	}
	return e.lately * firstQuarters / (4 * latelyOf)
}

// comesLater says whether a wait that begins may leave out the read before the looks, since it would find nothing.
func (e *eagerness) comesLater() bool { return e.first() > 0 && e.skip == 0 }

// came notes after how many turns something came.
func (e *eagerness) came(turns int) {
	if d := turns*latelyOf - e.lately; d < 0 {
		e.lately += d / 4
	} else {
		e.lately += d / latelyOf
	}
}

// found ends the wait, or the read that did not have to wait.
func (e *eagerness) found() {
	e.leave()
	switch {
	case !e.asked:
		e.came(0)
	case e.pace == 0:
	case e.turns <= paidTurns || e.bulk || e.beside:
		e.failures = max(e.failures-2, 0)
		if !e.bulk && !e.beside {
			e.came(e.turns)
		}
	default:
		e.failed()
	}
	e.asked = false
}

func (e *eagerness) failed() {
	e.leave()
	e.pace, e.awake, e.lately = 0, 0, 0
	e.failures = min(e.failures+1, maxFailures)
	if e.failures > freeFailures {
		e.skip = 1 << (e.failures - freeFailures)
	}
}
