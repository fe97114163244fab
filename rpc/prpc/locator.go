package prpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Method is what the peer may call. Invoke may be called concurrently, and may take its time: that of a unary call begins on the
// goroutine that receives, which goes on on another one when the method does not return at once. Its
// context ends when the call is cancelled or the connection closes, and nobody waits for a result then. A
// result is any value with a msgpack form; an error is answered as
// StatusMethodError, see Fault.
type Method interface {
	Invoke(ctx context.Context, r *Request) (any, error)
}

// MethodFunc is a Method that takes the arguments from the Request itself. Func makes a
// method of a plain function.
type MethodFunc func(ctx context.Context, r *Request) (any, error)

// Invoke calls f.
func (f MethodFunc) Invoke(ctx context.Context, r *Request) (any, error) { return f(ctx, r) }

// Locator finds methods by name. Locate may be called concurrently; it returns ErrMethodNotFound
// for a name it does not have and ErrNotCallable for one that is no method. Any other error tells
// the caller, too, that the method was not found, and is the cause.
type Locator interface {
	Locate(name string, r *Request) (Method, error)
}

// LocatorFunc is a function that is a Locator.
type LocatorFunc func(name string, r *Request) (Method, error)

// Locate calls f.
func (f LocatorFunc) Locate(name string, r *Request) (Method, error) { return f(name, r) }

// Tree names methods. A value is a plain function (see Func), a Method, an
// Object, a Tree below the name, or a Locator for all names below it; parts of names are joined by
// dots. An empty name adds no part: Tree{"": Tree{"ping": f}} has "ping".
type Tree map[string]any

// methodTree is a Tree made ready: every full name with its method.
type methodTree struct {
	methods  map[string]Method
	locators map[string]Locator // by the name above them
}

// NewTree makes a Locator of a tree. Nothing is found in it but what the tree holds.
// It returns an error that names the place of a value that is no method, of a function
// whose parameters or results cannot travel, and of a name that occurs twice.
func NewTree(tree Tree) (Locator, error) {
	t := &methodTree{methods: map[string]Method{}, locators: map[string]Locator{}}
	if err := t.addTree("", tree, 0); err != nil {
		return nil, err
	}
	return t, nil
}

// treeDepth bounds the depth of a tree, so that one that holds itself is found out.
const treeDepth = 100

func (t *methodTree) addTree(prefix string, tree Tree, depth int) error {
	if depth > treeDepth {
		return fmt.Errorf("prpc: tree at %q is too deep, or holds itself", prefix)
	}
	for _, name := range sortedKeys(tree) {
		if err := t.add(join(prefix, name), tree[name], depth); err != nil {
			return err
		}
	}
	return nil
}

// add puts one value under its full name.
func (t *methodTree) add(name string, value any, depth int) error {
	switch v := value.(type) {
	case Tree:
		return t.addTree(name, v, depth+1)
	case map[string]any:
		return t.addTree(name, v, depth+1)
	case Method:
		return t.addMethod(name, v)
	case *ObjectMethods:
		return t.addObject(name, v)
	case Locator:
		if _, taken := t.locators[name]; taken {
			return fmt.Errorf("prpc: two locators at %q", name)
		}
		t.locators[name] = v
		return nil
	case nil:
		return fmt.Errorf("prpc: nothing at %q", name)
	}
	method, err := Func(value)
	if err != nil {
		return fmt.Errorf("prpc: %q: %w", name, err)
	}
	return t.addMethod(name, method)
}

func (t *methodTree) addMethod(name string, m Method) error {
	if _, taken := t.methods[name]; taken {
		return fmt.Errorf("prpc: two methods named %q", name)
	}
	t.methods[name] = m
	return nil
}

func join(prefix, name string) string {
	switch {
	case prefix == "":
		return name
	case name == "":
		return prefix
	default:
		return prefix + "." + name
	}
}

// Locate implements Locator. A full name comes before a locator, and the locator with the
// longest name before others.
func (t *methodTree) Locate(name string, r *Request) (Method, error) {
	if m, ok := t.methods[name]; ok {
		return m, nil
	}
	for prefix := name; len(t.locators) > 0; {
		cut := strings.LastIndexByte(prefix, '.')
		if cut < 0 {
			break
		}
		prefix = prefix[:cut]
		if l, ok := t.locators[prefix]; ok {
			return l.Locate(name[cut+1:], r)
		}
	}
	if l, ok := t.locators[""]; ok {
		return l.Locate(name, r)
	}
	return nil, ErrMethodNotFound
}

var errNotMethod = errors.New("not a function, Method, Object, Tree or Locator")
