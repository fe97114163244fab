package pconn

import "github.com/packetstream/packetstream/packet/frame"

// Field is one key and value of a Metadata. Keys are text, of the application's choice; those that
// begin with ":" are reserved.
type Field = frame.Pair

// Metadata is what goes with a request or response beside its payload: keys and values in order, in
// which a key may stand any number of times. It reaches peers that have the extensions. Both ends keep to
// 64 KiB of it in one packet, to which each field counts with 32 bytes more than its key and value have.
//
// A Metadata that was passed in must not be changed until the call returns; one that was received is the
// receiver's own.
type Metadata []Field
