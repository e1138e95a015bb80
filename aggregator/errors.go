package aggregator

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// PanicError is a callback's panic, or its runtime.Goexit, as an error.
type PanicError struct {
	Callback string // FctWriter, FctBatch, FctFailed, SyncFct, AsyncFct, PanicHandler or logger
	Value    any    // what was given to panic
	Stack    []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("panic in %s: %v\n%s", e.Callback, e.Value, e.Stack)
}

// Unwrap is the value given to panic where that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

var errGoexit = errors.New("runtime.Goexit called")

// leftError says that n records were not written, and why.
func leftError(n int, cause error) error {
	if cause == nil {
		return fmt.Errorf("%d %w", n, ErrLeft)
	}
	return fmt.Errorf("%d %w: %w", n, ErrLeft, cause)
}

// errorLog keeps the newest errors.
type errorLog struct {
	mu   sync.Mutex
	ring []error
	next int
}

func (l *errorLog) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < MaxErrors {
		l.ring = append(l.ring, err)
		return
	}
	l.ring[l.next] = err
	l.next = (l.next + 1) % MaxErrors
}

func (l *errorLog) list() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(append([]error(nil), l.ring[l.next:]...), l.ring[:l.next]...)
}

func (l *errorLog) last() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) == 0 {
		return nil
	}
	return l.ring[(l.next+len(l.ring)-1)%len(l.ring)]
}

func (l *errorLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.next = nil, 0
}

func (a *agg) ErrorsLast() error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	return a.errs.last()
}

func (a *agg) ErrorsList() []error {
	if !a.ok() {
		return []error{ErrInvalidInstance}
	}
	return a.errs.list()
}

func (a *agg) SetLoggerError(f func(msg string, err ...error)) {
	switch {
	case !a.ok():
	case f == nil:
		a.logErr.Store(nil)
	default:
		a.logErr.Store(&f)
	}
}

func (a *agg) SetLoggerInfo(f func(msg string, arg ...any)) {
	switch {
	case !a.ok():
	case f == nil:
		a.logInf.Store(nil)
	default:
		a.logInf.Store(&f)
	}
}

// note counts and keeps an error, and tells the logger of it.
func (a *agg) note(msg string, err error) {
	a.count.errors.Add(1)
	a.errs.add(err)
	if f := a.logErr.Load(); f != nil {
		_ = a.guard("logger", func() { (*f)(msg, err) })
	}
}

func (a *agg) info(msg string) {
	if f := a.logInf.Load(); f != nil {
		_ = a.guard("logger", func() { (*f)(msg) })
	}
}

// guard calls f, and turns its panic into an error.
func (a *agg) guard(callback string, f func()) (err error) {
	inLoop := callback != "AsyncFct"
	if inLoop {
		a.guarded.Add(1)
	}
	returned := false
	defer func() {
		if inLoop {
			a.guarded.Add(-1)
		}
		if !returned {
			err = a.panicked(callback, recover())
		}
	}()
	f()
	returned = true
	return nil
}

// panicked keeps a panic that was just recovered; a nil v was a Goexit.
func (a *agg) panicked(callback string, v any) error {
	if v == nil {
		v = errGoexit
	}
	err := &PanicError{Callback: callback, Value: v, Stack: debug.Stack()}
	a.count.panics.Add(1)
	switch callback {
	case "logger", "PanicHandler": // do not ask again what has just failed
		a.count.errors.Add(1)
		a.errs.add(err)
		return err
	}
	if h := a.cfg.PanicHandler; h != nil {
		_ = a.guard("PanicHandler", func() { h(v, err.Stack) })
	}
	a.note("panic in "+callback, err)
	return err
}
