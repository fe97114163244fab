package prpc

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// answerError is a failure with the status and message to answer with.
type answerError struct {
	status  Status
	message string
	cause   error // nil if there is nothing to say about it
}

func (e *answerError) Error() string { return e.message }

// wire returns the error as it travels.
func (e *answerError) wire(serveTrace bool) wireFault {
	var causeType, causeText string
	if e.cause != nil {
		causeType, causeText = causeOf(e.cause)
	}
	f := wireFault{message: e.message, causeType: &causeType, causeText: &causeText}
	if serveTrace {
		trace := traceOf(e)
		f.trace = &trace
	}
	return f
}

// causeOf names the error for the caller.
func causeOf(err error) (causeType, causeText string) {
	var named interface{ CauseType() string }
	var remote *RemoteError
	switch {
	case errors.As(err, &named):
		return named.CauseType(), err.Error()
	case errors.As(err, &remote):
		return "RemoteError", remote.Message
	}
	return errorTypeName(err), err.Error()
}

// errorTypeName is the Go type of an error without its package; types that only hold a text
// or wrap another error say nothing, so the error below them is asked.
func errorTypeName(err error) string {
	for {
		t := reflect.TypeOf(err)
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		name := t.Name()
		if name != "" && strings.ToUpper(name[:1]) == name[:1] {
			return name
		}
		if err = errors.Unwrap(err); err == nil {
			return "Error"
		}
	}
}

// traceOf tells the chain of errors, and the stack of a panic.
func traceOf(e *answerError) string {
	var b strings.Builder
	b.WriteString(e.message)
	for err := e.cause; err != nil; err = errors.Unwrap(err) {
		fmt.Fprintf(&b, "\ncaused by %T: %v", err, err)
	}
	var p *panicError
	if errors.As(e.cause, &p) {
		b.WriteString("\n\n")
		b.Write(p.stack)
	}
	return b.String()
}

// panicError is a panic of a method.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprint(e.value) }

// CauseType tells a panic from an error.
func (e *panicError) CauseType() string { return "panic" }

// mended makes a text one that can travel.
func mended(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
