package aggregator

import (
	"context"
	"sync"
	"time"
)

// epoch is the context of one run, from New or the last Stop to the next. It is
// not one of package context's because Err has to follow either of two parents.
type epoch struct {
	base context.Context // New's

	mu   sync.Mutex
	ctx  context.Context // Start's, nil before
	free bool            // does not end with its parents
	done chan struct{}   // made when somebody asks
	err  error

	unwatch func() bool // New's watch over its context
}

func newEpoch(ctx, base context.Context) *epoch {
	return &epoch{base: base, ctx: ctx}
}

// cancel ends the epoch; the first reason stays.
func (e *epoch) cancel(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end(err)
}

func (e *epoch) end(err error) {
	if e.err == nil {
		e.err = err
		if e.done == nil {
			e.done = closedChan
		} else {
			close(e.done)
		}
		if e.unwatch != nil {
			e.unwatch()
		}
	}
}

// adopt puts Start's context under an epoch that has none yet.
func (e *epoch) adopt(ctx context.Context) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx != nil || e.err != nil {
		return false
	}
	e.ctx = ctx
	return true
}

// Err ends the epoch itself when a parent has ended and its watcher has not come
// round to it yet, so that it is never behind its parents.
func (e *epoch) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.look()
}

func (e *epoch) look() error {
	if e.err == nil && !e.free {
		if e.ctx != nil && e.ctx.Err() != nil {
			e.end(e.ctx.Err())
		} else if err := e.base.Err(); err != nil {
			e.end(err)
		}
	}
	return e.err
}

func (e *epoch) Done() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.look() == nil && e.done == nil {
		e.done = make(chan struct{})
	}
	return e.done
}

func (e *epoch) Deadline() (t time.Time, ok bool) {
	if e.free {
		return t, false
	}
	t, ok = e.base.Deadline()
	if ctx := e.started(); ctx != nil {
		if t2, ok2 := ctx.Deadline(); ok2 && (!ok || t2.Before(t)) {
			t, ok = t2, true
		}
	}
	return t, ok
}

func (e *epoch) Value(key any) any {
	if ctx := e.started(); ctx != nil {
		if v := ctx.Value(key); v != nil {
			return v
		}
	}
	return e.base.Value(key)
}

func (e *epoch) started() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ctx
}

func (a *agg) Deadline() (time.Time, bool) {
	if !a.ok() {
		return time.Time{}, false
	}
	return a.now.Load().Deadline()
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (a *agg) Done() <-chan struct{} {
	if !a.ok() {
		return closedChan
	}
	return a.now.Load().Done()
}

func (a *agg) Err() error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	return a.now.Load().Err()
}

func (a *agg) Value(key any) any {
	if !a.ok() {
		return nil
	}
	return a.now.Load().Value(key)
}
