package aggregator

import (
	"context"
	"runtime"
)

// waiter is a goroutine that waits for room. The loop, or whoever ends the run,
// takes it out of the queue, sets err and signals ready.
type waiter struct {
	p          []byte
	err        error
	ready      chan struct{}
	queued     bool
	prev, next *waiter
}

func (a *agg) Write(p []byte) (int, error) {
	return a.write(nil, p, true) //nolint:staticcheck // nil: no bound
}

func (a *agg) TryWrite(p []byte) (int, error) {
	return a.write(nil, p, false) //nolint:staticcheck // as above
}

func (a *agg) WriteContext(ctx context.Context, p []byte) (int, error) {
	if ctx != nil && ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return a.write(ctx, p, true)
}

func (a *agg) write(ctx context.Context, p []byte, wait bool) (int, error) {
	if !a.ok() {
		return 0, ErrInvalidInstance
	}
	if len(p) == 0 {
		return 0, nil
	}
	if len(p) > a.cfg.MaxRecord {
		a.count.tooLong.Add(1)
		return 0, ErrTooLong
	}
	a.mu.Lock()
	if !a.open || a.run.parentEnded() {
		a.mu.Unlock()
		return 0, ErrClosedResources
	}
	if a.first == nil && a.put(p) {
		wake := a.asleep && (!a.lazy || a.batchFull())
		if wake {
			a.asleep = false
		}
		a.mu.Unlock()
		if wake {
			a.wake <- struct{}{}
		}
		if len(p) >= solo {
			runtime.Gosched() // let the loop have it while the cache has it
		}
		return len(p), nil
	}
	if !wait || a.guarded.Load() > 0 && goid() == a.loopID.Load() {
		a.mu.Unlock()
		a.count.full.Add(1)
		return 0, ErrFull
	}
	return a.wait(ctx, p)
}

// wait queues p behind those that wait already. It is entered with mu held.
func (a *agg) wait(ctx context.Context, p []byte) (int, error) {
	w, _ := a.waiters.Get().(*waiter)
	if w == nil {
		w = &waiter{ready: make(chan struct{}, 1)}
	}
	w.p, w.err, w.queued = p, nil, true
	w.prev, w.next = a.last, nil
	if a.last == nil {
		a.first = w
	} else {
		a.last.next = w
	}
	a.last = w
	a.waiting.Add(pack(1, 0) + uint64(len(p)))
	a.blocked++
	wake := a.asleep
	a.asleep = false
	a.mu.Unlock()
	if wake {
		a.wake <- struct{}{}
	}
	if ctx == nil {
		<-w.ready
	} else {
		select {
		case <-w.ready:
		case <-ctx.Done():
			a.mu.Lock()
			if w.queued {
				a.unqueue(w)
				w.err = ctx.Err()
				w.ready <- struct{}{}
			}
			a.mu.Unlock()
			<-w.ready
		}
	}
	n, err := len(p), w.err
	w.p, w.err = nil, nil
	a.waiters.Put(w)
	if err != nil {
		n = 0
	}
	return n, err
}

// unqueue takes w out of the queue. It is called with mu held.
func (a *agg) unqueue(w *waiter) {
	if w.prev == nil {
		a.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		a.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	a.waiting.Add(-(pack(1, 0) + uint64(len(w.p))))
}

// admit takes in what the oldest waiters hold, as far as there is room. It is
// called with mu held; the caller then wakes those that it gives, without.
func (a *agg) admit() *waiter {
	var in, last *waiter
	for w := a.first; w != nil && a.put(w.p); w = a.first {
		a.unqueue(w)
		if last == nil {
			in = w
		} else {
			last.next = w
		}
		last = w
	}
	return in
}

func wakeAll(w *waiter) {
	for w != nil {
		next := w.next
		w.next = nil
		w.ready <- struct{}{}
		w = next
	}
}

// refuse lets all waiters go empty-handed. It is called with mu held.
func (a *agg) refuse() {
	for w := a.first; w != nil; w = a.first {
		a.unqueue(w)
		w.err = ErrClosedResources
		w.ready <- struct{}{}
	}
}
