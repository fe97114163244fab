package share

import (
	"strconv"
	"sync"

	"github.com/packetstream/packetstream/pconn"
)

// Key is the metadata key that names the connection which a request or a stream came from, to a child that may ask back.
const Key = "packetstream-connection"

// Back returns the metadata of a question to whoever has sent a request: a child's handler puts it, with what else the
// question may have, into the request that it makes, or the stream that it opens, on the connection it was asked by. It is
// nil where nobody shares the child, which then has but one to ask.
func Back(asked pconn.Metadata) pconn.Metadata {
	name, named := asked.Lookup(Key)
	if !named {
		return nil
	}
	return pconn.Metadata{{Key: Key, Value: name}}
}

// without returns the metadata without the names of connections.
func without(md pconn.Metadata) pconn.Metadata {
	if _, named := md.Lookup(Key); !named {
		return md
	}
	var rest pconn.Metadata
	for _, f := range md {
		if f.Key != Key {
			rest = append(rest, f)
		}
	}
	return rest
}

// names are what the connections are called that have asked for something and are not over.
type names struct {
	closed  chan struct{}
	waiting sync.WaitGroup // for the goroutines that wait for the ends of connections, or for close

	// mu guards the rest.
	mu     sync.Mutex
	ending bool
	last   uint64
	byConn map[*pconn.Conn]string
	byName map[string]*pconn.Conn
}

func newNames() *names {
	return &names{closed: make(chan struct{}), byConn: make(map[*pconn.Conn]string), byName: make(map[string]*pconn.Conn)}
}

// of returns a connection's name. No two ever have the same.
func (n *names) of(conn *pconn.Conn) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, named := n.byConn[conn]
	if named || n.ending {
		return name
	}
	n.last++
	name = strconv.FormatUint(n.last, 10)
	n.byConn[conn], n.byName[name] = name, conn
	n.waiting.Go(func() {
		select {
		case <-conn.Done():
		case <-n.closed:
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.byConn, conn)
		delete(n.byName, name)
	})
	return name
}

// conn returns the connection of a name, or nil if it is over.
func (n *names) conn(name string) *pconn.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byName[name]
}

// close forgets all. It may be called more than once.
func (n *names) close() {
	n.mu.Lock()
	if !n.ending {
		n.ending = true
		close(n.closed)
	}
	n.mu.Unlock()
	n.waiting.Wait()
}
