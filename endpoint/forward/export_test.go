package forward

// Allow reports whether the rules allow an address.
func Allow(r Rules, a Address) bool { return r.allow(a) }
