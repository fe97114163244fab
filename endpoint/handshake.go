package endpoint

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

// Handshake is what a child has to say of itself before Start returns: that it was started by us, by a secret of this
// one start, and that it has the version and the features that are needed. It says so in its HELLO, for which both ends
// have the extensions of the protocol; calls of the child's are rejected before. See Greeting for the child's side.
type Handshake struct {
	// Version is the version of the application's own protocol, which the child must have too.
	Version uint64
	// Features are what the child must be able to do. It may say more: see Child.Features.
	Features []string
	// Timeout bounds the handshake, by default DefaultHandshakeTimeout.
	Timeout time.Duration
}

// CookieVariable is the environment variable in which a child finds the secret that it has to say in a Handshake. Stdio
// and ServeStdio take it away from the environment, since it is not meant for the child's own children.
const CookieVariable = "PACKETSTREAM_COOKIE"

// Why a handshake has failed: the Reason of a HandshakeError.
var (
	// ErrCookie says that the child does not know the secret, so that it was meant for another parent.
	ErrCookie = errors.New("it does not know the cookie")
	// ErrVersion says that the child has another version.
	ErrVersion = errors.New("it has another version")
	// ErrFeature says that the child lacks a feature.
	ErrFeature = errors.New("it lacks a feature")
	// ErrGarbage says that what the child sent is no packet. The error quotes it.
	ErrGarbage = errors.New("it does not speak packets")
	// ErrNoHandshake says that the child speaks packets and knows of no handshake.
	ErrNoHandshake = errors.New("it knows of no handshake")
	// ErrNoGreeting says that the child has said nothing in time.
	ErrNoGreeting = errors.New("it has not said who it is in time")
	// ErrEnded says that the child, or the connection, has ended before.
	ErrEnded = errors.New("it has ended")
)

// HandshakeError says why a child that was started is not used. It was killed.
type HandshakeError struct {
	// Reason is one of ErrCookie, ErrVersion, ErrFeature, ErrGarbage, ErrNoHandshake, ErrNoGreeting and ErrEnded, or
	// wraps it.
	Reason error
	// Exit is what was known of the child when it failed, before it was killed.
	Exit *ExitError
}

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("endpoint: handshake: %v; %v", e.Reason, e.Exit)
}

// Unwrap returns Reason and Exit.
func (e *HandshakeError) Unwrap() []error { return []error{e.Reason, e.Exit} }

// Greeting returns what a child that was started with a Handshake says of itself, for pconn.Options.Cookie: the cookie of
// CookieVariable, a version, and features, which have no spaces or line ends in them. Without it Stdio and ServeStdio
// say the version 0 and no features. In a process that was started without a Handshake it is nil, which says nothing.
//
// In bytes it is the cookie, a line end, the version in decimal, a line end, and the features with spaces between
// them.
func Greeting(version uint64, features ...string) []byte {
	cookie := os.Getenv(CookieVariable)
	if cookie == "" {
		return nil
	}
	return fmt.Appendf(nil, "%s\n%d\n%s", cookie, version, strings.Join(features, " "))
}

// greet makes the options of a child's own connection say who it is.
func greet(opts *pconn.Options) (*pconn.Options, error) {
	if os.Getenv(CookieVariable) == "" {
		return opts, nil
	}
	var o pconn.Options
	if opts != nil {
		o = *opts
	}
	if o.Cookie == nil {
		o.Cookie = Greeting(0)
	}
	return &o, os.Unsetenv(CookieVariable)
}

// vetting is the parent's side of a Handshake.
type vetting struct {
	want   Handshake
	cookie string
	good   chan struct{} // closed when the child has said what it should

	// mu guards features, which are set before good is closed.
	mu       sync.Mutex
	features []string
}

// newVetting chooses the secret and tells the command, or takes away the one that this process was started with.
func newVetting(cmd *exec.Cmd, want *Handshake) *vetting {
	if want == nil {
		setVariable(cmd, CookieVariable, "")
		return nil
	}
	h := &vetting{want: *want, cookie: rand.Text(), good: make(chan struct{})}
	if h.want.Timeout == 0 {
		h.want.Timeout = DefaultHandshakeTimeout
	}
	setVariable(cmd, CookieVariable, h.cookie)
	return h
}

// setVariable sets a variable in a command's environment, or takes it away if it is there and the value is empty.
func setVariable(cmd *exec.Cmd, name, value string) {
	if _, set := os.LookupEnv(name); value == "" && !set && cmd.Env == nil {
		return
	}
	env := slices.DeleteFunc(cmd.Environ(), func(s string) bool { return strings.HasPrefix(s, name+"=") })
	if value != "" {
		env = append(env, name+"="+value)
	}
	cmd.Env = env
}

// require makes the connection one of which the child's HELLO is asked.
func (h *vetting) require(o *pconn.Options) {
	if h == nil {
		return
	}
	o.Extensions = pconn.ExtensionsRequired
	also := o.VerifyCookie
	o.VerifyCookie = func(greeting []byte) error {
		err := h.verify(string(greeting))
		if err == nil && also != nil {
			err = also(greeting)
		}
		if err == nil {
			h.passed()
		}
		return err
	}
}

// verify looks at a Greeting.
func (h *vetting) verify(greeting string) error {
	cookie, rest, _ := strings.Cut(greeting, "\n")
	if subtle.ConstantTimeCompare([]byte(cookie), []byte(h.cookie)) != 1 {
		return ErrCookie
	}
	said, list, _ := strings.Cut(rest, "\n")
	version, err := strconv.ParseUint(said, 10, 64)
	if err != nil || version != h.want.Version {
		return fmt.Errorf("%w: %.20q, not %d", ErrVersion, said, h.want.Version)
	}
	features := strings.Fields(list)
	for _, f := range h.want.Features {
		if !slices.Contains(features, f) {
			return fmt.Errorf("%w: %s", ErrFeature, f)
		}
	}
	h.mu.Lock()
	h.features = features
	h.mu.Unlock()
	return nil
}

// passed notes that the child has said what it should. It may say it twice: by its HELLO and by its answer to ours.
func (h *vetting) passed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !isClosed(h.good) {
		close(h.good)
	}
}

// shake waits for the handshake, if there is to be one, and kills a child that fails in it.
func (c *Child) shake(ctx context.Context) error {
	h := c.vetting
	if h == nil {
		return nil
	}
	timer := time.NewTimer(h.want.Timeout)
	defer timer.Stop()
	var failure error
	select {
	case <-h.good:
		return nil
	case <-c.Conn.Done():
		failure = c.handshakeError(c.Conn.Err())
	case <-timer.C:
		failure = c.handshakeError(nil)
	case <-ctx.Done():
		failure = ctx.Err()
	}
	_ = c.Signal(syscall.SIGKILL) // it may have ended
	_ = c.Close()                 // failure says more
	return failure
}

// handshakeError says why a handshake has failed, after the end of the connection or, without an err, of the time for
// it.
func (c *Child) handshakeError(err error) error {
	var garbage *pconn.ProtocolError
	reason := ErrEnded
	switch text := c.Conn.Text(); {
	case err == nil && text != nil:
		reason = fmt.Errorf("%w, it begins %q", ErrGarbage, text)
	case err == nil:
		reason = fmt.Errorf("%w: %v", ErrNoGreeting, c.vetting.want.Timeout)
	case errors.As(err, &garbage) || text != nil:
		reason = ErrGarbage
	case errors.Is(err, pconn.ErrNoExtensions):
		reason = ErrNoHandshake
	case errors.Is(err, pconn.ErrCookie):
		reason = c.notAccepted(err)
	}
	var exit *ExitError
	if !errors.As(err, &exit) {
		exit = c.exitError(err)
	}
	return &HandshakeError{Reason: reason, Exit: exit}
}

// notAccepted returns what verify said.
func (c *Child) notAccepted(err error) error {
	for _, reason := range []error{ErrVersion, ErrFeature} {
		if errors.Is(err, reason) {
			return reason
		}
	}
	return ErrCookie
}

// Features returns what the child has said that it can do in a Handshake, or nil without one.
func (c *Child) Features() []string {
	if c.vetting == nil {
		return nil
	}
	c.vetting.mu.Lock()
	defer c.vetting.mu.Unlock()
	return slices.Clone(c.vetting.features)
}
