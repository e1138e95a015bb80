package aggregator

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Events for the loop.
const (
	evSync uint32 = 1 << iota // SyncFct is due
	evAsk                     // somebody asked for Sync, or for the end
	evTrim                    // look whether the buffer can be smaller
)

// maxGroup is how many records the loop takes under one lock, without batches.
const maxGroup = 64

// loop is one life of the goroutine that hands records over.
type loop struct {
	a       *agg
	stop    chan struct{} // closed when it has to end
	giveUp  chan struct{} // closed when it may not drain any longer
	ended   chan struct{} // closed when it has ended
	patient bool          // while draining, failing records are retried
	left    int           // records dropped at the end
	recs    [][]byte      // the group in hand
	counted int           // how many of them are no longer held
	joined  []byte
}

func (l *loop) run() {
	a := l.a
	a.loopID.Store(goid())
	for {
		l.look()
		if l.stopping() {
			break
		}
		a.mu.Lock()
		if a.q.n == 0 && a.events.Load() == 0 {
			a.idle = true
			a.mu.Unlock()
			select {
			case <-a.wake:
			case <-l.stop:
			}
			a.mu.Lock()
			a.idle = false
			a.mu.Unlock()
			continue
		}
		a.mu.Unlock()
		l.gather()
		l.handOver()
	}
	l.drain()
}

func (l *loop) stopping() bool { return isClosed(l.stop) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// look does what timers and callers ask for.
func (l *loop) look() {
	a := l.a
	if a.events.Load() == 0 {
		return
	}
	ev := a.events.Swap(0)
	if ev&evTrim != 0 {
		a.trim()
	}
	if ev&evSync != 0 {
		_ = a.sync(a.context())
	}
	if ev&evAsk != 0 {
		l.answer()
	}
}

// answer runs SyncFct for those who asked, once all that was accepted before
// they did has been handed over.
func (l *loop) answer() {
	a := l.a
	a.mu.Lock()
	over := a.count.accepted.Load() - uint64(a.q.n)
	var due []chan error
	for len(a.syncs) > 0 && a.syncs[0].after <= over {
		due = append(due, a.syncs[0].done)
		a.syncs = a.syncs[1:]
	}
	rest := len(a.syncs) > 0
	a.mu.Unlock()
	if rest {
		a.events.Or(evAsk)
	}
	if len(due) == 0 {
		return
	}
	err := a.sync(a.context())
	for _, done := range due {
		done <- err
	}
}

// gather takes the next records, at most a batch.
func (l *loop) gather() {
	a := l.a
	most, bytes := maxGroup, a.cfg.BatchBytes
	if a.cfg.FctBatch != nil || bytes > 0 {
		most = MaxBatch
		l.await(bytes)
	}
	l.recs = l.recs[:0]
	a.mu.Lock()
	size := 0
	for r := a.q.r; len(l.recs) < min(most, a.q.n); {
		p, next := a.q.at(r)
		if size += len(p); bytes > 0 && size > bytes && len(l.recs) > 0 {
			break
		}
		l.recs = append(l.recs, p)
		r = next
	}
	a.mu.Unlock()
}

// await lets a batch fill for BatchDelay.
func (l *loop) await(bytes int) {
	a := l.a
	full := func() bool {
		return a.heldLen.Load() >= int64(bytes) || a.held.Load() >= MaxBatch || a.waitNb.Load() > 0
	}
	if a.cfg.BatchDelay <= 0 || full() || a.held.Load() == 0 || l.stopping() {
		return
	}
	t := time.NewTimer(a.cfg.BatchDelay)
	defer t.Stop()
	for !full() && a.events.Load() == 0 {
		a.mu.Lock()
		a.idle = true
		a.mu.Unlock()
		select {
		case <-a.wake:
			continue
		case <-t.C:
		case <-l.stop:
		}
		return
	}
}

// handOver hands the gathered records over, and retries what fails.
func (l *loop) handOver() {
	a := l.a
	l.counted = 0
	for done, attempt := 0, 0; done < len(l.recs); {
		n, err := l.call(l.recs[done:], done)
		if n > 0 {
			done += n
			attempt = 0
		}
		if err == nil {
			if !l.batched() {
				l.look()
			}
			continue
		}
		a.fail(err)
		attempt++
		if a.cfg.Retry.Max >= 0 && attempt > a.cfg.Retry.Max {
			l.drop(l.recs[done], err)
			done, attempt = done+1, 0
			continue
		}
		if l.stopping() && !l.patient || !l.pause(a.cfg.Retry.delay(attempt)) {
			l.release(done)
			return
		}
	}
	l.release(len(l.recs))
}

func (l *loop) batched() bool { return l.a.cfg.FctBatch != nil || l.a.cfg.BatchBytes > 0 }

// release frees the memory of the first n gathered records.
func (l *loop) release(n int) {
	a := l.a
	a.mu.Lock()
	q := &a.q
	for range n {
		p, next := q.at(q.r)
		q.r = next
		q.n--
		q.size -= len(p)
	}
	clear(l.recs)
	a.admit()
	a.mu.Unlock()
}

// pause waits before a retry, doing what timers ask for; false when it is to
// be given up.
func (l *loop) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	stop := l.stop
	for {
		select {
		case <-t.C:
			return true
		case <-l.giveUp:
			return false
		case <-stop:
			if !l.patient {
				return false
			}
			stop = nil
		case <-l.a.wake:
			l.syncWhileFailing()
		}
	}
}

// syncWhileFailing runs SyncFct if it is due, though records wait.
func (l *loop) syncWhileFailing() {
	a := l.a
	if a.events.Load()&evSync != 0 {
		a.events.And(^evSync)
		_ = a.sync(a.context())
	}
}

// call hands records to the function that is configured. n is how many of them
// were taken; from is the place of the first in the group.
func (l *loop) call(recs [][]byte, from int) (n int, err error) {
	a := l.a
	switch {
	case a.cfg.FctBatch != nil:
		l.take(from + len(recs))
		err = a.guard("FctBatch", func() error {
			n, err = a.cfg.FctBatch(recs)
			return err
		})
		n = min(max(n, 0), len(recs))
		if err == nil && n < len(recs) {
			err = io.ErrShortWrite
		}
		if err != nil && n == len(recs) {
			a.fail(err)
			err = nil
		}
	case a.cfg.BatchBytes > 0:
		l.joined = l.joined[:0]
		for _, p := range recs {
			l.joined = append(l.joined, p...)
		}
		l.take(from + len(recs))
		if err = a.one(l.joined); err == nil {
			n = len(recs)
		}
	default:
		l.take(from + 1)
		if err = a.one(recs[0]); err == nil {
			n = 1
		}
	}
	for _, p := range recs[:n] {
		a.count.written.Add(1)
		a.count.writtenBytes.Add(uint64(len(p)))
	}
	return n, err
}

// take notes that the group's records up to the n-th are in the writer's
// hands, so that others may come in.
func (l *loop) take(n int) {
	if n <= l.counted {
		return
	}
	a, size := l.a, 0
	for _, p := range l.recs[l.counted:n] {
		size += len(p)
	}
	a.held.Add(-int64(n - l.counted))
	a.heldLen.Add(-int64(size))
	l.counted = n
	if a.waitNb.Load() > 0 {
		a.mu.Lock()
		a.admit()
		a.mu.Unlock()
	}
}

// one hands one piece to FctWriter.
func (a *agg) one(p []byte) (err error) {
	defer a.caught("FctWriter", &err)
	n, err := a.cfg.FctWriter(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}

// drop gives a record up.
func (l *loop) drop(p []byte, why error) {
	a := l.a
	a.count.dropped.Add(1)
	if a.cfg.FctFailed != nil {
		_ = a.guard("FctFailed", func() error {
			a.cfg.FctFailed(p, why)
			return nil
		})
	}
}

// drain hands over what was accepted, then ends the loop.
func (l *loop) drain() {
	a := l.a
	a.mu.Lock()
	a.open = false
	a.refuse(ErrClosedResources)
	a.mu.Unlock()
	for !isClosed(l.giveUp) {
		a.mu.Lock()
		n := a.q.n
		a.mu.Unlock()
		if n == 0 {
			break
		}
		l.gather()
		before := n
		l.handOver()
		a.mu.Lock()
		stuck := a.q.n >= before
		a.mu.Unlock()
		if stuck {
			break
		}
	}
	a.mu.Lock()
	if l.left = a.q.n; l.left > 0 {
		for r, n := a.q.r, a.q.n; n > 0; n-- {
			var p []byte
			p, r = a.q.at(r)
			l.drop(p, ErrLeft)
		}
	}
	a.q = queue{buf: a.q.buf}
	if a.cfg.BufBytes == 0 {
		a.q.buf = nil
	}
	a.held.Store(0)
	a.heldLen.Store(0)
	a.limit = a.cfg.BufWriter
	syncs := a.syncs
	a.syncs = nil
	cancel, calls := a.cancel, a.calls
	a.mu.Unlock()
	a.syncTick.stop()
	a.askTick.stop()
	a.trimTick.stop()
	var err error
	if a.cfg.SyncTimer > 0 || len(syncs) > 0 {
		err = a.sync(context.Background())
	}
	for _, s := range syncs {
		s.done <- err
	}
	cancel()
	calls.Wait()
	a.info("aggregator stopped", "left", l.left)
	a.mu.Lock()
	a.loop = nil
	a.loopID.Store(0)
	a.running.Store(false)
	if a.closed {
		a.q.buf = nil
	}
	a.mu.Unlock()
	a.now.Load().cancel(context.Canceled)
	close(l.ended)
}

// context is what callbacks get.
func (a *agg) context() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ctx
}

// sync runs SyncFct.
func (a *agg) sync(ctx context.Context) (err error) {
	if a.cfg.SyncFct == nil {
		return nil
	}
	a.count.syncs.Add(1)
	a.inSync.Store(true)
	defer a.inSync.Store(false)
	if err = a.guard("SyncFct", func() error {
		a.cfg.SyncFct(ctx)
		return nil
	}); err != nil {
		a.fail(err)
	}
	return err
}

// trim gives memory back after a second in which less than half of the
// buffer's capacity was used.
func (a *agg) trim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limit > a.cfg.BufWriter && a.peak < a.limit/2 {
		a.limit = max(a.limit/2, a.cfg.BufWriter)
		if size := len(a.q.buf) / 2; a.q.n == 0 && size >= firstRing {
			a.q.buf = make([]byte, size)
		}
	}
	a.peak = int(a.held.Load())
}

// PanicError is the error made of a callback's panic.
type PanicError struct {
	Callback string // the field of Config
	Value    any
	Stack    []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("panic in %s: %v\n%s", e.Callback, e.Value, e.Stack)
}

// Unwrap gives the value if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
