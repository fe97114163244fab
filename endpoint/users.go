package endpoint

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/packetstream/packetstream/pconn"
)

// parseUsers reads the names or numbers of users.
func parseUsers(text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	var uids []int
	for name := range strings.SplitSeq(text, ",") {
		number := name
		if _, err := strconv.ParseUint(name, 10, 31); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return nil, fmt.Errorf("allow: %w", err)
			}
			number = u.Uid
		}
		uid, err := strconv.ParseUint(number, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("allow: user %q has no number", name)
		}
		uids = append(uids, int(uid))
	}
	return uids, nil
}

func formatUsers(uids []int) string {
	numbers := make([]string, len(uids))
	for i, uid := range uids {
		numbers[i] = strconv.Itoa(uid)
	}
	return strings.Join(numbers, ",")
}

// checkUser finds a peer that is none of the users. No users are all.
func checkUser(peer pconn.Peer, uids []int) error {
	if uids == nil || peer.HasUID && slices.Contains(uids, peer.UID) {
		return nil
	}
	return &UserError{Peer: peer, Allowed: uids}
}

// UserError says that who is at the other end of a socket is not allowed to be, or not known.
type UserError struct {
	Peer    pconn.Peer
	Allowed []int
}

func (e *UserError) Error() string {
	who := "is not known here"
	if e.Peer.HasUID {
		who = fmt.Sprintf("is %d (process %d)", e.Peer.UID, e.Peer.PID)
	}
	return fmt.Sprintf("endpoint: the peer's user %s; allowed: %s", who, formatUsers(e.Allowed))
}

// Unwrap returns errors.ErrUnsupported where the system does not tell the peer's user.
func (e *UserError) Unwrap() error {
	if e.Peer.HasUID {
		return nil
	}
	return errors.ErrUnsupported
}
