package aggregator

import "context"

// waiter is a goroutine that waits for room for its record.
type waiter struct {
	p    []byte
	next *waiter
	done chan error // one token: the record was taken (nil), or will not be
	in   bool       // it is in the list
}

// waiter gives one to use; they are kept by the aggregator, not the process,
// since a channel belongs to the testing/synctest bubble it was made in.
func (a *agg) waiter(p []byte) *waiter {
	w, ok := a.waiters.Get().(*waiter)
	if !ok {
		w = &waiter{done: make(chan error, 1)}
	}
	w.p, w.in = p, true
	return w
}

func (a *agg) Write(p []byte) (int, error) { return a.write(context.Background(), p, true) }

func (a *agg) TryWrite(p []byte) (int, error) { return a.write(context.Background(), p, false) }

func (a *agg) WriteContext(ctx context.Context, p []byte) (int, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if ctx.Err() != nil {
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
		return 0, ErrTooLong
	}
	a.mu.Lock()
	if !a.open {
		a.mu.Unlock()
		return 0, ErrClosedResources
	}
	if a.first == nil && a.room(len(p)) {
		a.accept(p)
		rouse := a.idle
		a.idle = false
		a.mu.Unlock()
		if rouse {
			a.poke()
		}
		return len(p), nil
	}
	if !wait {
		a.mu.Unlock()
		a.count.full.Add(1)
		return 0, ErrFull
	}
	if a.inSync.Load() && goid() == a.loopID.Load() {
		// SyncFct writes: only this goroutine could make room.
		a.mu.Unlock()
		return 0, ErrFull
	}
	w := a.waiter(p)
	if a.lastWait == nil {
		a.first = w
	} else {
		a.lastWait.next = w
	}
	a.lastWait = w
	a.waitNb.Add(1)
	a.waitLen.Add(int64(len(p)))
	a.mu.Unlock()
	return a.await(ctx, w, len(p))
}

// await waits until the record of w was taken, or will not be.
func (a *agg) await(ctx context.Context, w *waiter, n int) (int, error) {
	var err error
	select {
	case err = <-w.done:
	case <-ctx.Done():
		a.mu.Lock()
		if w.in {
			a.unlist(w)
			a.mu.Unlock()
			err = ctx.Err()
		} else {
			a.mu.Unlock()
			err = <-w.done // it was decided meanwhile
		}
	}
	w.p = nil
	a.waiters.Put(w)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// unlist takes w out of the list.
func (a *agg) unlist(w *waiter) {
	var before *waiter
	for at := a.first; at != w; at = at.next {
		before = at
	}
	if before == nil {
		a.first = w.next
	} else {
		before.next = w.next
	}
	if a.lastWait == w {
		a.lastWait = before
	}
	a.left(w)
}

// left notes that w is in the list no more.
func (a *agg) left(w *waiter) {
	w.in, w.next = false, nil
	a.waitNb.Add(-1)
	a.waitLen.Add(-int64(len(w.p)))
}

// room reports whether a record of n bytes may come in, making the ring and
// the limit bigger where that is allowed.
func (a *agg) room(n int) bool {
	held := int(a.held.Load())
	a.peak = max(a.peak, held+1)
	if held >= a.limit {
		if a.limit >= a.cfg.BufMax {
			return false
		}
		a.limit = min(2*a.limit, a.cfg.BufMax)
	}
	if a.cfg.BufBytes > 0 {
		return a.q.fits(n)
	}
	if most := a.cfg.BufMaxSize; most > 0 && a.heldLen.Load()+int64(n) > int64(most) && held > 0 {
		return false
	}
	if !a.q.fits(n) {
		a.q.grow(max(2*len(a.q.buf), 4*(header+n), firstRing))
	}
	return true
}

// firstRing is the size of the first ring that is not fixed.
const firstRing = 256

// accept takes the record; it fits.
func (a *agg) accept(p []byte) {
	a.q.push(p)
	a.held.Add(1)
	a.heldLen.Add(int64(len(p)))
	a.count.accepted.Add(1)
	a.count.acceptedBytes.Add(uint64(len(p)))
}

// admit takes the records of those who waited longest, while they fit.
func (a *agg) admit() {
	for w := a.first; w != nil && a.room(len(w.p)); w = a.first {
		a.accept(w.p)
		a.first = w.next
		if a.first == nil {
			a.lastWait = nil
		}
		a.left(w)
		w.done <- nil
	}
}

// refuse sends those who wait away.
func (a *agg) refuse(err error) {
	for w := a.first; w != nil; w = a.first {
		a.first = w.next
		a.left(w)
		w.done <- err
	}
	a.lastWait = nil
}

// poke wakes the loop.
func (a *agg) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
